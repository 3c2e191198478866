//! Numbers computed between steps, from the clock and from values of the flow.

use candle_core::Tensor;

use crate::diagnostics::{Code, Diagnostic};
use crate::graph::scalar::{self, Scalar};
use crate::program::{ClockField, Host, HostInput};

use super::fault::{self, Fault};
use super::store;

/// Where a loop stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    pub step: u64,
    pub epoch: u64,
    pub steps: u64,
    pub epochs: u64,
    pub steps_per_epoch: u64,
}

impl Clock {
    fn field(&self, field: ClockField) -> f64 {
        match field {
            ClockField::Step => self.step as f64,
            ClockField::Epoch => self.epoch as f64,
            ClockField::Progress => self.step as f64 / self.steps.max(1) as f64,
            ClockField::Steps => self.steps as f64,
            ClockField::Epochs => self.epochs as f64,
            ClockField::StepsPerEpoch => self.steps_per_epoch as f64,
        }
    }
}

/// The outputs of a step's host graph.
pub fn evaluate(host: &Host, clock: &Clock, flows: &[Tensor]) -> Result<Vec<f64>, Fault> {
    if host.graph.outputs.is_empty() {
        return Ok(Vec::new());
    }
    let mut inputs: Vec<Scalar> = Vec::with_capacity(host.inputs.len());
    for input in &host.inputs {
        inputs.push(match input {
            HostInput::Clock(field) => Scalar::Float(clock.field(*field)),
            HostInput::Flow(n) => match flows.get(*n) {
                Some(tensor) => Scalar::Float(store::number(tensor)?),
                None => return Err(fault::internal("a host number needs a value that the call does not give")),
            },
        });
    }
    let outputs = scalar::evaluate(&host.graph, &inputs).map_err(|fault| {
        Box::new(Diagnostic::error(Code::BadValue, format!("a number of the clock cannot be computed, {fault}")))
    })?;
    Ok(outputs.iter().map(|output| output.as_float()).collect())
}
