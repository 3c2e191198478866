//! The passes between an elaborated step and its plans.

use crate::diagnostics::{Code, Diagnostic};
use crate::graph::Graph;
use crate::passes;
use crate::program::{Origin, Step};

use super::fault::{self, Fault};

/// A step ready to be planned.
pub fn compile(step: &Step, origins: &[Origin]) -> Result<Step, Fault> {
    passes::compile(step).map_err(|error| refused(&error, origins))
}

/// A graph without a loader, ready to be planned.
pub fn compile_graph(graph: &Graph, origins: &[Origin]) -> Result<Graph, Fault> {
    passes::compile_graph(graph).map_err(|error| refused(&error, origins))
}

fn refused(error: &passes::PassError, origins: &[Origin]) -> Fault {
    let code = match error {
        passes::PassError::Lift { .. } => Code::NotAView,
        _ => Code::Internal,
    };
    fault::at_origin(Diagnostic::error(code, error.to_string()), origins, error.origin(), "here")
}

/// The text form of a step.
pub fn printed(step: &Step) -> String {
    crate::graph::print::print(step)
}
