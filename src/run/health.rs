//! Where a loss stands when its nets say nothing, found by running a step with their outputs exchanged.
//!
//! `ln K` for scores of K classes, `ln(2N - 1)` for a contrast of N pairs, the number of dimensions for a cross-correlation,
//! -1 for a cosine: nothing here knows them, each follows from the step's own graph.

use std::collections::HashSet;

use candle_core::{Device, Tensor};

use crate::plan::Plan;
use crate::program::Step;

use super::executor::{Registers, observe};
use super::store;

/// How near a loss is to such a value to be taken for it, relative to the larger of the value and 1.
const NEAR: f64 = 1e-3;

pub fn is_near(loss: f64, value: f64) -> bool {
    (loss - value).abs() <= NEAR * value.abs().max(1.0)
}

/// The loss of a step when every number that its nets give is 1; none where it does not depend on what they give.
pub fn silent_loss(step: &Step, plan: &Plan, fresh: &dyn Fn() -> Option<Registers>, device: &Device) -> Option<f64> {
    let equal = loss_with(step, plan, fresh()?, device, &|answer| answer.ones_like())?;
    let varied = loss_with(step, plan, fresh()?, device, &waves)?;
    (equal.is_finite() && !is_near(varied, equal)).then_some(equal)
}

/// Numbers of which no two rows are equal.
fn waves(like: &Tensor) -> candle_core::Result<Tensor> {
    let numbers = (0..like.elem_count()).map(|at| (at as f64 * 1.618_033_988_7).sin()).collect::<Vec<_>>();
    Tensor::from_vec(numbers, like.dims(), &Device::Cpu)?.to_dtype(like.dtype())?.to_device(like.device())
}

fn loss_with(
    step: &Step,
    plan: &Plan,
    mut registers: Registers,
    device: &Device,
    instead: &dyn Fn(&Tensor) -> candle_core::Result<Tensor>,
) -> Option<f64> {
    let answers: HashSet<(&str, usize)> =
        step.answers.iter().map(|answer| (&*step.graph.node(answer.node).name, answer.out as usize)).collect();
    let (_, loss) = plan.logs.iter().find(|(name, _)| name == "loss")?;
    let mut exchange = |at: usize, results: &mut [Tensor]| {
        let name = &*plan.step.instructions[at].name;
        for (out, result) in results.iter_mut().enumerate() {
            let answers = result.dtype().is_float() && result.rank() > 0 && answers.contains(&(name, out));
            if let (true, Ok(other)) = (answers, instead(result)) {
                *result = other;
            }
        }
    };
    observe(&plan.step, &mut registers, device, &mut exchange).ok()?;
    store::number(registers.get(*loss)?).ok()
}
