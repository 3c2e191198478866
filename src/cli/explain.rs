//! `ssl explain`: the page of a code.

use super::{Output, WRONG, print};
use crate::diagnostics::{Code, Diagnostic, nearest, page};

#[derive(clap::Args)]
#[command(after_help = "Example: ssl explain E0301\n         ssl explain shape-mismatch")]
pub struct Args {
    /// A number such as E0301, or a name such as shape-mismatch; without one, all codes are listed.
    code: Option<String>,
}

pub fn main(args: &Args, output: &Output) -> u8 {
    let Some(code) = &args.code else {
        let rows = Code::ALL.iter().map(|code| format!("{}  {}\n", code.number(), code.name()));
        print(&rows.collect::<String>());
        return 0;
    };
    let written = code.trim();
    let found = Code::ALL.iter().find(|code| {
        code.number().eq_ignore_ascii_case(written) || code.name().eq_ignore_ascii_case(&written.replace('_', "-"))
    });
    match found {
        Some(code) => {
            print(page(*code));
            0
        }
        None => {
            let known = Code::ALL.iter().flat_map(|code| [code.number(), code.name()]);
            let help = match nearest(written, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "codes stand in brackets behind `error`: E0301".into(),
            };
            output.plain(&Diagnostic::error(Code::UnknownName, format!("there is no code `{written}`")).help(help));
            WRONG
        }
    }
}
