//! `ssl check`: compile, report, run nothing.

use std::path::PathBuf;

use rayon::prelude::*;

use super::{Inputs, Output, WRONG, compile};
use crate::diagnostics::Diagnostic;

#[derive(clap::Args)]
#[command(after_help = "Example: ssl check pipelines/*.ssl --set epochs=5")]
pub struct Args {
    /// The files to check.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Give a `param` another value; may be repeated.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
}

pub fn main(args: &Args, output: &Output) -> u8 {
    let mut code = 0;
    for file in &args.files {
        let inputs = Inputs { file: file.clone(), set: args.set.clone(), settings: None };
        match compile(&inputs) {
            Ok(compiled) => {
                output.all(&compiled.warnings, &compiled.sources);
                if let Err(fault) = passes(&compiled) {
                    output.diagnostic(&fault, &compiled.sources);
                    code = WRONG;
                }
            }
            Err(refused) => {
                output.all(&refused.diagnostics, &refused.sources);
                code = WRONG;
            }
        }
    }
    code
}

/// What the passes refuse, a run would refuse: a view that cannot work on a batch, an op without a gradient.
fn passes(compiled: &super::Compiled) -> Result<(), Box<Diagnostic>> {
    let program = &compiled.elaborated.program;
    let refused: Vec<_> =
        super::stages::stages(program).par_iter().map(|stage| stage.compiled(program).map(drop)).collect();
    refused.into_iter().collect()
}
