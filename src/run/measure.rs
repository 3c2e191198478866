//! Statistics of batches merged into those of the whole data set, and the rest of a measure run once on them.

use candle_core::{Device, Tensor};

use crate::graph::Bindings;
use crate::kernels::stored;
use crate::program::{Measure, Program, Statistic};

use super::executor::{Registers, execute};
use super::fault::{self, Fault};

/// One statistic over the batches so far.
struct Merged {
    statistic: Statistic,
    tensor: Option<Tensor>,
}

impl Merged {
    fn add(&mut self, batch: &Tensor, means: Option<Means>) -> candle_core::Result<()> {
        self.tensor = Some(match (&self.tensor, self.statistic) {
            (None, _) => batch.clone(),
            (Some(sum), Statistic::Sum) => (sum + batch)?,
            (Some(least), Statistic::Min) => least.minimum(batch)?,
            (Some(most), Statistic::Max) => most.maximum(batch)?,
            (Some(squares), Statistic::Squares) => match means {
                Some(means) => (squares + batch)?.add(&means.between()?)?,
                None => (squares + batch)?,
            },
        });
        Ok(())
    }
}

/// Sum and count of the batches so far, and of one more.
struct Means {
    so_far: [Tensor; 2],
    batch: [Tensor; 2],
}

impl Means {
    /// Squared distances within two parts add up to those within the whole, less what lies between their means (Chan, Golub
    /// and LeVeque, 1979): `(mean a - mean b)^2 * a * b / (a + b)`. No large squares cancel.
    fn between(&self) -> candle_core::Result<Tensor> {
        let float = |tensor: &Tensor| tensor.to_dtype(candle_core::DType::F64);
        let (a, b) = (float(&self.so_far[1])?, float(&self.batch[1])?);
        let mean = |[sum, count]: &[Tensor; 2]| float(sum)?.broadcast_div(&float(count)?);
        let apart = (mean(&self.so_far)? - mean(&self.batch)?)?.sqr()?;
        apart.broadcast_mul(&((&a * &b)? / (&a + &b)?)?)
    }
}

/// Merged on the CPU and, if it holds floats, in f64, so that thousands of batches cost no digit.
fn wide(batch: &Tensor) -> candle_core::Result<Tensor> {
    let batch = batch.to_device(&Device::Cpu)?;
    if batch.dtype().is_float() { batch.to_dtype(candle_core::DType::F64) } else { Ok(batch) }
}

/// One measure of a running loop.
pub struct Running<'a> {
    measure: &'a Measure,
    merged: Vec<Merged>,
}

impl<'a> Running<'a> {
    pub fn new(measure: &'a Measure) -> Running<'a> {
        let empty = |statistic: &Statistic| Merged { statistic: *statistic, tensor: None };
        Running { measure, merged: measure.statistics.iter().map(|(statistic, _)| empty(statistic)).collect() }
    }

    pub fn name(&self) -> &str {
        &self.measure.name
    }

    /// Adds the statistics of one batch, in the order of the measure.
    pub fn add(&mut self, batch: &[Tensor]) -> Result<(), Fault> {
        self.merge(batch).map_err(|error| fault::candle("a measure could not be merged", &error))
    }

    fn merge(&mut self, batch: &[Tensor]) -> candle_core::Result<()> {
        let batch = batch.iter().map(wide).collect::<candle_core::Result<Vec<_>>>()?;
        let before: Vec<Option<Tensor>> = self.merged.iter().map(|merged| merged.tensor.clone()).collect();
        for (at, (merged, tensor)) in self.merged.iter_mut().zip(&batch).enumerate() {
            let means = match (merged.statistic, at.checked_sub(2)) {
                (Statistic::Squares, Some(sum)) => match (&before[sum], &before[sum + 1]) {
                    (Some(total), Some(count)) => Some(Means {
                        so_far: [total.clone(), count.clone()],
                        batch: [batch[sum].clone(), batch[sum + 1].clone()],
                    }),
                    _ => None,
                },
                _ => None,
            };
            merged.add(tensor, means)?;
        }
        Ok(())
    }

    /// The value over all batches; none when there was no batch.
    pub fn finish(&self, program: &Program, device: &Device) -> Result<Option<Tensor>, Fault> {
        let Some(statistics) = self.merged.iter().map(|merged| merged.tensor.as_ref()).collect::<Option<Vec<_>>>()
        else {
            return Ok(None);
        };
        let plan = crate::plan::plan_graph(&self.measure.rest, &Bindings::new())
            .map_err(|error| fault::plan(&program.origins, &error))?;
        let mut registers = Registers::new(&plan);
        for (at, register) in &plan.inputs {
            let Some(statistic) = statistics.get(*at) else {
                return Err(fault::internal(format!("`{}` needs more statistics than it takes", self.measure.name)));
            };
            let dtype = stored(self.measure.rest.ty(self.measure.rest.inputs[*at]).dtype);
            let placed = statistic.to_dtype(dtype).and_then(|tensor| tensor.to_device(device));
            registers.put(*register, placed.map_err(|error| fault::candle("a measure could not be placed", &error))?);
        }
        execute(&plan, &mut registers, device, None)
            .map_err(|failed| fault::kernel(program, &plan.instructions[failed.at], &failed.error))?;
        Ok(plan.outputs.first().and_then(|register| registers.get(*register)).cloned())
    }
}
