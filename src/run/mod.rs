//! A program to trained weights: plans executed on Candle, statements walked, everything kept in a run folder.
//!
//! In: a [`Program`] and [`RunOptions`]. Out: [`Event`]s while it runs, values and slots at the end, and a folder that holds
//! source, settings, graphs and checkpoints. Never here: a change of a graph, a type, a user's name for a method.

mod batch;
mod driver;
mod executor;
mod fault;
pub mod files;
mod folder;
mod health;
mod host;
mod interpreter;
mod key;
mod measure;
mod memory;
mod notices;
mod passes;
mod profile;
mod single;
mod stage;
mod store;
mod trace;
mod watch;
mod weights;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_fused;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{Device, Tensor};

use crate::diagnostics::{Code, Diagnostic};
use crate::events::Event;
use crate::graph::OriginId;
use crate::program::{FlowValue, Program};

pub use executor::{Failed, Registers, execute};
pub use folder::{RunFolder, weights_of};
pub use key::Place;
pub use passes::compile as compile_step;
pub use profile::Account;
pub use single::run_step;
pub use store::Store;

/// How a program is run.
#[derive(Clone)]
pub struct RunOptions {
    pub seed: u64,
    /// As told to the pools; only reported here.
    pub threads: usize,
    pub device: Device,
    /// Where run folders are made; none writes nothing.
    pub out: Option<PathBuf>,
    /// The text of the file, copied into the run folder.
    pub source: String,
    /// Tensors by slot path that stand instead of first draws.
    pub weights: Arc<HashMap<String, Tensor>>,
    /// Values of the flow that are there before the first statement.
    pub given: Vec<(FlowValue, Tensor)>,
    pub profile: bool,
    /// Look at the result of every instruction, and stop at the first that is not finite.
    pub check_finite: bool,
    /// `file:line` of an origin, for the profile.
    pub line: Arc<dyn Fn(OriginId) -> Option<String> + Send + Sync>,
    pub interrupt: Interrupt,
}

impl Default for RunOptions {
    fn default() -> RunOptions {
        RunOptions {
            seed: 0,
            threads: crate::kernels::par::threads(),
            device: Device::Cpu,
            out: None,
            source: String::new(),
            weights: Arc::default(),
            given: Vec::new(),
            profile: false,
            check_finite: false,
            line: Arc::new(|_| None),
            interrupt: Interrupt::default(),
        }
    }
}

/// Set by somebody else, looked at after each step.
#[derive(Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a run leaves.
pub struct Outcome {
    /// One for each flow value of the program; none where it was not reached.
    pub values: Vec<Option<Tensor>>,
    pub store: Store,
    pub folder: Option<PathBuf>,
    /// Ended because somebody asked, with what was reached kept.
    pub interrupted: bool,
}

/// Runs a whole program. Every event goes to `sink` and, with a run folder, into its journal.
pub fn run(program: &Program, options: &RunOptions, sink: &mut dyn FnMut(Event)) -> Result<Outcome, Box<Diagnostic>> {
    interpreter::run(program, options, sink)
}

/// The device of a name such as `cpu` or `cuda:0`.
pub fn device(name: &str) -> Result<Device, Box<Diagnostic>> {
    if name == "cpu" {
        return Ok(Device::Cpu);
    }
    let missing = |headline: String, help: &str| Box::new(Diagnostic::error(Code::DeviceMissing, headline).help(help));
    let Some(ordinal) = name.strip_prefix("cuda:").or((name == "cuda").then_some("0")) else {
        return Err(missing(format!("there is no device `{name}`"), "devices are `cpu` and `cuda:0`, `cuda:1`, …"));
    };
    let Ok(ordinal) = ordinal.parse::<usize>() else {
        return Err(missing(format!("`{name}` names no device"), "write the number of the card: `cuda:0`"));
    };
    if !cfg!(feature = "cuda") {
        return Err(missing(
            format!("this `ssl` was built without CUDA, so there is no device `{name}`"),
            "leave out `--device`, or build with `cargo build --release --features cuda`",
        ));
    }
    Device::new_cuda(ordinal).map_err(|error| {
        let error = error.to_string();
        let reason = error.lines().next().unwrap_or("no reason given");
        missing(format!("the device `{name}` cannot be used: {reason}"), "check `nvidia-smi`, or leave out `--device`")
    })
}
