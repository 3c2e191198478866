//! `ssl test`: the `test` blocks of files, each a program of its own.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::diagnostics::{Code, Diagnostic};
use crate::elaborate::Settings;
use crate::run::{RunOptions, run};
use crate::source::SourceMap;
use crate::syntax::{StatementKind, parse};

use super::compile::{compile_text, read_program};
use super::{FAILED, Output, WRONG, print};

#[derive(clap::Args)]
#[command(after_help = "Example: ssl test pipelines/\n         ssl test pipeline.ssl --only temperature")]
pub struct Args {
    /// Files with `test` blocks; a folder stands for the .ssl files in it.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Only the blocks with this in their name.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

/// What became of the blocks.
#[derive(Default)]
struct Count {
    passed: usize,
    failed: usize,
}

pub fn main(args: &Args, output: &Output) -> u8 {
    let begun = Instant::now();
    let mut count = Count::default();
    for path in &args.paths {
        let files = match files(path) {
            Ok(files) => files,
            Err(fault) => {
                output.plain(&fault);
                return WRONG;
            }
        };
        for file in files {
            if let Err(fault) = blocks(&file, args, output, &mut count) {
                output.plain(&fault);
                return WRONG;
            }
        }
    }
    let Count { passed, failed } = count;
    if passed + failed == 0 {
        let which = args.only.as_ref().map_or(String::new(), |only| format!(" with `{only}` in its name"));
        let headline = format!("there is no `test` block{which}");
        output.plain(&Diagnostic::error(Code::EmptySelection, headline).help("write `test \"…\" { … }` in the file"));
        return WRONG;
    }
    eprintln!("{passed} passed, {failed} failed, {:.1} s", begun.elapsed().as_secs_f64());
    if failed > 0 { FAILED } else { 0 }
}

/// The files of a path, in order of their names.
fn files(path: &Path) -> Result<Vec<PathBuf>, Box<Diagnostic>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).map_err(|error| {
        Box::new(Diagnostic::error(Code::FileMissing, format!("`{}` cannot be read: {error}", path.display())))
    })?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "ssl"));
    files.sort();
    if files.is_empty() {
        let headline = format!("there is no .ssl file in `{}`", path.display());
        return Err(Box::new(Diagnostic::error(Code::FileMissing, headline).help("give a file, or another folder")));
    }
    Ok(files)
}

fn blocks(path: &Path, args: &Args, output: &Output, count: &mut Count) -> Result<(), Box<Diagnostic>> {
    let text = read_program(path)?;
    let name = path.display().to_string();
    let mut sources = SourceMap::default();
    let source = sources.add(&name, None, text.clone());
    let (file, faults) = parse(source, &text);
    if !faults.is_empty() {
        output.all(&faults, &sources);
        count.failed += 1;
        return Ok(());
    }
    for (at, statement) in file.statements.iter().enumerate() {
        let StatementKind::Test { name: block, .. } = &statement.kind else { continue };
        if args.only.as_ref().is_some_and(|only| !block.text.contains(only.as_str())) {
            continue;
        }
        let begun = Instant::now();
        let holds = block_holds(path, &name, &text, at, output);
        let word = if holds { "ok    " } else { "FAILED" };
        print(&format!("{word} {name}: {} ({:.1} s)\n", block.text, begun.elapsed().as_secs_f64()));
        if holds { count.passed += 1 } else { count.failed += 1 }
    }
    Ok(())
}

fn block_holds(path: &Path, name: &str, text: &str, at: usize, output: &Output) -> bool {
    let settings = Settings { test: Some(at), ..Settings::default() };
    let folder = path.parent().map(Path::to_path_buf);
    let compiled = match compile_text(name, folder, text.to_owned(), settings) {
        Ok(compiled) => compiled,
        Err(refused) => {
            output.all(&refused.diagnostics, &refused.sources);
            return false;
        }
    };
    match run(&compiled.elaborated.program, &RunOptions::default(), &mut |_| {}) {
        Ok(_) => true,
        Err(fault) => {
            output.diagnostic(&fault, &compiled.sources);
            false
        }
    }
}
