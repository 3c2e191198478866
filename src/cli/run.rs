//! `ssl run`: a pipeline from its file to its report.

use std::path::PathBuf;
use std::sync::Arc;

use super::compile::{Machine, line_of};
use super::{Compiled, INTERRUPTED, Inputs, Output, WRONG, compile, failure, print};
use crate::events::{Event, Style, Terminal};
use crate::graph::OriginId;
use crate::run::{self, Interrupt, RunOptions};

#[derive(clap::Args)]
#[command(after_help = "Example: ssl run pipeline.ssl --set epochs=5 --seed 1\n         \
                        ssl run pipelines/supervised.ssl --profile")]
pub struct Args {
    #[command(flatten)]
    inputs: Inputs,
    #[command(flatten)]
    machine: Machine,
    /// What every random draw is made from.
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// Where the run's folder is made.
    #[arg(long, default_value = "runs", value_name = "DIR")]
    out: PathBuf,
    /// Time every kernel: the overhead of steps, and tables by op and by source line.
    #[arg(long)]
    profile: bool,
    /// Look at every result in every step, and stop at the first that is NaN or infinite. Each operation then runs alone,
    /// and a step takes about a third longer.
    #[arg(long)]
    check_finite: bool,
    /// Compute every convolution by direct sums: 3x3 kernels otherwise take Winograd's way, which is faster and has errors
    /// some ten times as large (1e-5 to 1e-4 of the results' size).
    #[arg(long)]
    exact_conv: bool,
    /// Print the report and nothing else.
    #[arg(long, short)]
    quiet: bool,
}

pub fn main(args: &Args, output: &Output) -> u8 {
    crate::kernels::conv::set_exact(args.exact_conv);
    let (threads, device) = match args.machine.start() {
        Ok(machine) => machine,
        Err(fault) => {
            output.plain(&fault);
            return WRONG;
        }
    };
    let compiled = match compile(&args.inputs) {
        Ok(compiled) => compiled,
        Err(refused) => {
            output.all(&refused.diagnostics, &refused.sources);
            return WRONG;
        }
    };
    output.all(&compiled.warnings, &compiled.sources);
    let options = RunOptions {
        seed: args.seed,
        threads,
        device,
        out: Some(args.out.clone()),
        source: compiled.text.clone(),
        profile: args.profile,
        check_finite: args.check_finite,
        line: lines(&compiled),
        interrupt: interrupt(),
        ..RunOptions::default()
    };
    let mut terminal = Terminal::new(Style::detect(args.quiet), std::io::stdout(), std::io::stderr());
    let mut sink = |event: Event| {
        if !output.events {
            terminal.show(&event);
        } else if let Ok(line) = serde_json::to_string(&event) {
            print(&format!("{line}\n"));
        }
    };
    match run::run(&compiled.elaborated.program, &options, &mut sink) {
        Ok(outcome) if outcome.interrupted => INTERRUPTED,
        Ok(_) => 0,
        Err(fault) => {
            output.diagnostic(&fault, &compiled.sources);
            failure(&fault)
        }
    }
}

/// The source line of every origin, looked up when the profile is told.
fn lines(compiled: &Compiled) -> Arc<dyn Fn(OriginId) -> Option<String> + Send + Sync> {
    let count = compiled.elaborated.program.origins.len();
    let lines: Vec<Option<String>> = (0..count).map(|at| line_of(compiled, OriginId(at as u32))).collect();
    Arc::new(move |origin: OriginId| lines.get(origin.0 as usize).cloned().flatten())
}

/// The first Ctrl-C ends after the step, the second at once.
pub fn interrupt() -> Interrupt {
    let interrupt = Interrupt::default();
    let asked = interrupt.clone();
    // Without a handler, the system's own ends the process at once: nothing is lost but a checkpoint.
    let _ = ctrlc::set_handler(move || {
        if asked.wanted() {
            std::process::exit(INTERRUPTED as i32);
        }
        asked.ask();
        eprintln!("\nending after this step; press Ctrl-C again to end at once");
    });
    interrupt
}
