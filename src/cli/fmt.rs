//! `ssl fmt`: files in their one layout.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::compile::read_program;
use super::{FAILED, Output, WRONG, failure, print};
use crate::diagnostics::{Code, Diagnostic};
use crate::run::files;
use crate::source::SourceMap;
use crate::syntax::{format, parse};

#[derive(clap::Args)]
#[command(after_help = "Example: ssl fmt pipelines/*.ssl\n         ssl fmt --check pipelines/*.ssl")]
pub struct Args {
    /// The files to lay out; `-` reads standard input and prints.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Change nothing; name the files that would change and end with exit code 1.
    #[arg(long)]
    check: bool,
}

pub fn main(args: &Args, output: &Output) -> u8 {
    args.files.iter().map(|file| laid_out(file, args.check, output)).max().unwrap_or(0)
}

/// A file that cannot be read as a program stays as it is.
fn laid_out(file: &Path, check: bool, output: &Output) -> u8 {
    let piped = file == Path::new("-");
    let text = match if piped { piped_text() } else { read_program(file) } {
        Ok(text) => text,
        Err(fault) => {
            output.plain(&fault);
            return WRONG;
        }
    };
    let mut sources = SourceMap::default();
    let source = sources.add(file.display().to_string(), None, text.clone());
    let (tree, faults) = parse(source, &text);
    if !faults.is_empty() {
        output.all(&faults, &sources);
        return WRONG;
    }
    let formatted = format(&tree, &text);
    match (check, piped) {
        (true, _) if formatted == text => 0,
        (true, _) => {
            print(&format!("{}\n", file.display()));
            FAILED
        }
        (false, true) => {
            print(&formatted);
            0
        }
        (false, false) if formatted == text => 0,
        (false, false) => match files::write_text(file, &formatted) {
            Ok(()) => 0,
            Err(fault) => {
                output.plain(&fault);
                failure(&fault)
            }
        },
    }
}

fn piped_text() -> Result<String, Box<Diagnostic>> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(|error| {
        Box::new(Diagnostic::error(Code::FileCorrupt, format!("standard input cannot be read: {error}")))
    })?;
    Ok(text)
}
