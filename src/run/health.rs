//! How well the nets of a step are: where its loss stands when they say nothing, found by running the step with their
//! outputs exchanged, and how far what they say differs from row to row.
//!
//! `ln K` for scores of K classes, `ln(2N - 1)` for a contrast of N pairs, the number of dimensions for a cross-correlation,
//! -1 for a cosine: nothing here knows them, each follows from the step's own graph.

use std::collections::HashSet;

use candle_core::{Device, Tensor};

use crate::events::Spread;
use crate::kernels::factor;
use crate::plan::{Plan, Register};
use crate::program::Step;

use super::executor::{Registers, apply};
use super::store;

/// How near a loss is to such a value to be taken for it, relative to the larger of the value and 1.
const NEAR: f64 = 1e-3;

pub fn is_near(loss: f64, value: f64) -> bool {
    (loss - value).abs() <= NEAR * value.abs().max(1.0)
}

/// The loss of a step when every number that its nets give is 1; none where it does not depend on what they give. Only
/// what lies between the outputs of the nets and the loss is computed.
pub fn silent_loss(step: &Step, plan: &Plan, fresh: &dyn Fn() -> Option<Registers>, device: &Device) -> Option<f64> {
    let head = Head::of(step, plan)?;
    let equal = head.loss(fresh()?, device, &|count| vec![1.0; count])?;
    let varied = head.loss(fresh()?, device, &waves)?;
    (equal.is_finite() && !is_near(varied, equal)).then_some(equal)
}

/// Numbers of which no two rows are equal: multiples of the golden ratio, cut to their fractions.
fn waves(count: usize) -> Vec<f32> {
    (0..count).map(|at| ((at as u32).wrapping_mul(0x9E37_79B9) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
}

/// The instructions behind the outputs of nets that lead to the loss.
struct Head<'a> {
    plan: &'a Plan,
    loss: Register,
    work: Vec<(usize, Work)>,
}

/// What becomes of an instruction: which of its results are outputs of nets, and whether others are wanted too.
struct Work {
    answers: Vec<bool>,
    computed: bool,
}

impl Head<'_> {
    fn of<'a>(step: &Step, plan: &'a Plan) -> Option<Head<'a>> {
        let answers: HashSet<(&str, usize)> =
            step.answers.iter().map(|answer| (&*step.graph.node(answer.node).name, answer.out as usize)).collect();
        let (_, loss) = plan.logs.iter().find(|(name, _)| name == "loss")?;
        let mut needed: HashSet<Register> = [*loss].into();
        let mut work = Vec::new();
        for (at, instruction) in plan.step.instructions.iter().enumerate().rev() {
            let results = || instruction.outputs.iter().zip(&instruction.results).enumerate();
            if !results().any(|(_, (register, _))| needed.contains(register)) {
                continue;
            }
            let answers: Vec<bool> = results()
                .map(|(out, (_, ty))| {
                    ty.dtype.is_float() && !ty.shape.is_empty() && answers.contains(&(&*instruction.name, out))
                })
                .collect();
            let computed = results().any(|(out, (register, _))| !answers[out] && needed.contains(register));
            needed.retain(|register| !instruction.outputs.contains(register));
            if computed {
                needed.extend(&instruction.inputs);
            }
            work.push((at, Work { answers, computed }));
        }
        work.reverse();
        work.iter().any(|(_, work)| work.answers.contains(&true)).then_some(Head { plan, loss: *loss, work })
    }

    fn loss(&self, mut registers: Registers, device: &Device, numbers: &dyn Fn(usize) -> Vec<f32>) -> Option<f64> {
        for (at, work) in &self.work {
            let instruction = &self.plan.step.instructions[*at];
            if work.computed {
                let inputs = instruction.inputs.iter().map(|register| registers.get(*register).cloned());
                let results = apply(instruction, &inputs.collect::<Option<Vec<_>>>()?, device).ok()?;
                instruction.outputs.iter().zip(results).for_each(|(register, result)| registers.put(*register, result));
            }
            let results = instruction.outputs.iter().zip(&instruction.results);
            for ((register, ty), _) in results.zip(&work.answers).filter(|(_, answer)| **answer) {
                let other = Tensor::from_vec(numbers(ty.count()), ty.shape.as_slice(), &Device::Cpu);
                let other = other.and_then(|other| other.to_dtype(crate::kernels::stored(ty.dtype))?.to_device(device));
                registers.put(*register, other.ok()?);
            }
        }
        store::number(registers.get(self.loss)?).ok()
    }
}

/// Rows and dimensions from which a spread is computed: enough to tell, and a few milliseconds.
const LOOKED_AT: usize = 256;

/// Below this share of 1 / sqrt(d) the normalised rows of an output are as good as equal.
const FLAT: f64 = 0.02;

/// Whether rows of an output are as good as equal.
pub fn is_flat(spread: &Spread) -> bool {
    spread.deviation.0 * (spread.dimensions as f64).sqrt() < FLAT
}

/// How far the rows of what nets give differ. `seen` are the results of one instruction, by its name.
pub fn spreads(step: &Step, name: &str, seen: &[Tensor], found: &mut Vec<Spread>) {
    let answers = step.answers.iter().filter(|answer| &*step.graph.node(answer.node).name == name);
    for answer in answers {
        let result = seen.get(answer.out as usize).filter(|result| result.dtype().is_float() && result.rank() == 2);
        if let Some(Ok(Some(spread))) = result.map(|result| spread(name, result)) {
            found.push(spread);
        }
    }
}

fn spread(name: &str, rows: &Tensor) -> candle_core::Result<Option<Spread>> {
    let (count, dimensions) = rows.dims2()?;
    if count < 2 || dimensions < 2 {
        return Ok(None);
    }
    let rows = rows.narrow(0, 0, count.min(LOOKED_AT))?.to_device(&Device::Cpu)?.to_dtype(candle_core::DType::F64)?;
    let norm = rows.sqr()?.sum_keepdim(1)?.sqrt()?.maximum(1e-12)?;
    let unit = rows.broadcast_div(&norm)?;
    let deviation =
        unit.broadcast_sub(&unit.mean_keepdim(0)?)?.sqr()?.mean(0)?.sqrt()?.mean_all()?.to_scalar::<f64>()?;
    let narrow = rows.narrow(1, 0, dimensions.min(LOOKED_AT))?.contiguous()?;
    let rank = entropy(&factor::singular_values(&narrow)?).exp();
    let assigned = candle_nn::ops::softmax(&rows, 1)?.mean(0)?.to_vec1::<f64>()?;
    Ok(Some(Spread {
        name: name.to_owned(),
        dimensions,
        deviation: crate::events::Number(deviation),
        rank: crate::events::Number(rank),
        entropy: crate::events::Number(entropy(&assigned)),
    }))
}

/// Of numbers that are made to sum to 1.
fn entropy(numbers: &[f64]) -> f64 {
    let sum = numbers.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    numbers.iter().map(|number| number / sum).filter(|share| *share > 0.0).map(|share| -share * share.ln()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: Vec<f32>, shape: (usize, usize)) -> Spread {
        let rows = Tensor::from_vec(rows, shape, &Device::Cpu).expect("a tensor");
        spread("z", &rows).expect("a spread").expect("rows")
    }

    #[test]
    fn equal_rows_are_flat_and_an_identity_is_even() {
        let equal = of([1.0, 2.0, 3.0, 4.0].repeat(8), (8, 4));
        assert!(is_flat(&equal) && (equal.rank.0 - 1.0).abs() < 1e-6, "{equal:?}");
        let mut identity = vec![0.0; 64];
        (0..8).for_each(|at| identity[at * 9] = 3.0);
        let even = of(identity, (8, 8));
        // A coordinate is 1 in one of eight rows: its variance is 1/8 - 1/64.
        assert!((even.deviation.0 - (7.0f64 / 64.0).sqrt()).abs() < 1e-6 && !is_flat(&even), "{even:?}");
        assert!((even.rank.0 - 8.0).abs() < 1e-6 && (even.entropy.0 - 8.0f64.ln()).abs() < 1e-6, "{even:?}");
    }
}
