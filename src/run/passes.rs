//! The passes between an elaborated step and its plans.

use crate::diagnostics::{Code, Diagnostic};
use crate::program::{Origin, Step};

use super::fault::Fault;

/// A step ready to be planned.
pub fn compile(step: &Step, _origins: &[Origin]) -> Result<Step, Fault> {
    crate::passes::compile(step).map_err(|error| Box::new(Diagnostic::error(Code::Internal, error.to_string())))
}

/// The text form of a step.
pub fn printed(step: &Step) -> String {
    crate::graph::print::print(step)
}
