//! `ssl doc`: what is built in, as a page.

use super::{Output, WRONG, print};
use crate::diagnostics::{Code, Diagnostic, nearest};
use crate::ops;

#[derive(clap::Args)]
#[command(after_help = "Example: ssl doc ops\n         ssl doc ops matmul")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// The primitives: signature, gradient, cost, examples.
    Ops {
        /// Only this one.
        name: Option<String>,
    },
}

pub fn main(args: &Args, output: &Output) -> u8 {
    let What::Ops { name } = &args.what;
    let Some(name) = name else {
        print(&ops::doc::page());
        return 0;
    };
    match ops::find(name) {
        Some(op) => {
            print(ops::doc::entry(op).trim_start());
            0
        }
        None => {
            let help = match nearest(name, ops::all().map(|op| op.name)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`ssl doc ops` lists all".into(),
            };
            output.plain(&Diagnostic::error(Code::UnknownName, format!("there is no op `{name}`")).help(help));
            WRONG
        }
    }
}
