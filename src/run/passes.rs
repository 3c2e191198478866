//! The passes between an elaborated step and its plans.

use crate::program::{Origin, Step};

use super::fault::Fault;

/// A step ready to be planned.
pub fn compile(step: &Step, _origins: &[Origin]) -> Result<Step, Fault> {
    Ok(step.clone())
}

/// The text form of a step.
pub fn printed(step: &Step) -> String {
    format!("{step:#?}\n")
}
