//! The command line: one file a verb.
//!
//! In: arguments. Out: text on standard output and error, and an exit code: 0 good, 1 the pipeline failed, 2 the program
//! or the command is wrong, 130 interrupted. Never here: anything that the library could do.

mod check;
mod compile;
mod doc;
mod eval;
mod explain;
mod export;
mod fmt;
mod graph;
mod plan;
mod run;
mod stages;
mod test;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

pub use compile::{Compiled, Inputs, compile, compile_text};

use crate::diagnostics::{Code, Diagnostic, Format, render};
use crate::events::Event;
use crate::source::SourceMap;

/// The pipeline failed.
const FAILED: u8 = 1;
/// The program is wrong.
const WRONG: u8 = 2;
const INTERRUPTED: u8 = 130;
/// A fault of the compiler, which the panic has described.
const PANICKED: u8 = 101;
/// The stack of the work: calls may go deep, and each may hold a deeply nested expression. Only what is used is taken.
const STACK: usize = 512 << 20;

#[derive(Parser)]
#[command(
    name = "ssl",
    version,
    about = "A language and compiler for self-supervised learning.",
    after_help = "Example: ssl run pipeline.ssl --set epochs=5"
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    /// How diagnostics are written; json is one object a line, and `run` then writes its events so too.
    #[arg(long, global = true, value_enum, default_value = "human", value_name = "FORMAT")]
    message_format: MessageFormat,
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN")]
    color: Colour,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MessageFormat {
    Human,
    Json,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Colour {
    Auto,
    Always,
    Never,
}

#[derive(Subcommand)]
enum Verb {
    /// Run a pipeline: train, evaluate, report, keep everything in a run folder.
    Run(run::Args),
    /// Compile files and report every mistake; nothing runs.
    Check(check::Args),
    /// Show stages, sizes, parameters, operations and peak memory; nothing runs.
    Plan(plan::Args),
    /// Print the compiled graph of each stage.
    Graph(graph::Args),
    /// Run the `test` blocks of files.
    Test(test::Args),
    /// Evaluate a fragment of a program on arrays from files.
    Eval(eval::Args),
    /// Write a net of a run to a file that PyTorch's libraries load.
    Export(export::Args),
    /// Print what is built in: the primitives.
    Doc(doc::Args),
    /// Lay out files in the one way that there is.
    Fmt(fmt::Args),
    /// Explain a code, with an example that raises it and one that does not.
    Explain(explain::Args),
}

/// Parses the arguments of the process and does what they ask.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output { format: cli.format(), events: cli.message_format == MessageFormat::Json };
    let work = || match &cli.verb {
        Verb::Run(args) => run::main(args, &output),
        Verb::Check(args) => check::main(args, &output),
        Verb::Plan(args) => plan::main(args, &output),
        Verb::Graph(args) => graph::main(args, &output),
        Verb::Test(args) => test::main(args, &output),
        Verb::Eval(args) => eval::main(args, &output),
        Verb::Export(args) => export::main(args, &output),
        Verb::Doc(args) => doc::main(args, &output),
        Verb::Fmt(args) => fmt::main(args, &output),
        Verb::Explain(args) => explain::main(args, &output),
    };
    let code = std::thread::scope(|scope| {
        let worker = std::thread::Builder::new().name("main".into()).stack_size(STACK);
        // Without a thread of its own the work has the stack that the system gave.
        worker.spawn_scoped(scope, work).map_or_else(|_| work(), |thread| thread.join().unwrap_or(PANICKED))
    });
    ExitCode::from(code)
}

impl Cli {
    fn format(&self) -> Format {
        let colour = match self.color {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        };
        match self.message_format {
            MessageFormat::Human => Format::Human { colour },
            MessageFormat::Json => Format::Json,
        }
    }
}

/// Where diagnostics go, and how.
pub struct Output {
    format: Format,
    /// Events of a run are lines of JSON on standard output.
    events: bool,
}

impl Output {
    pub fn diagnostic(&self, diagnostic: &Diagnostic, sources: &SourceMap) {
        eprint!("{}", render(diagnostic, sources, self.format));
    }

    pub fn all(&self, diagnostics: &[Diagnostic], sources: &SourceMap) {
        diagnostics.iter().for_each(|diagnostic| self.diagnostic(diagnostic, sources));
    }

    /// A file of weights of which a part was taken: without a journal this is the only place to say so.
    fn loaded(&self, event: Event) {
        if let Event::Loaded { what, path, whole: false } = event {
            eprintln!("loaded {what} from {path}");
        }
    }

    /// A failure without a place in a source.
    pub fn plain(&self, diagnostic: &Diagnostic) {
        self.diagnostic(diagnostic, &SourceMap::default());
    }
}

/// Text on standard output. A reader that has gone away (`| head`) is no failure.
fn print(text: &str) {
    use std::io::Write;
    drop(std::io::stdout().lock().write_all(text.as_bytes()));
}

/// What a failed run means for the exit code.
fn failure(diagnostic: &Diagnostic) -> u8 {
    match diagnostic.code {
        Code::BatchTooLarge | Code::OutOfMemory | Code::DeviceMissing | Code::NotYet => WRONG,
        _ => FAILED,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_consistent_and_every_verb_has_an_example() {
        let command = Cli::command();
        command.clone().debug_assert();
        for verb in command.get_subcommands() {
            let help = verb.get_after_help().map(|text| text.to_string()).unwrap_or_default();
            assert!(help.starts_with("Example"), "`ssl {} --help` has no example", verb.get_name());
        }
    }
}
