//! Statistics of batches merged into those of the whole data set, and the rest of a measure run once on them.

use candle_core::{Device, Tensor};

use crate::graph::Bindings;
use crate::kernels::stored;
use crate::program::{Measure, Program, Statistic};

use super::executor::{Registers, execute};
use super::fault::{self, Fault};

/// One statistic over the batches so far. Floats are merged in f64, so that thousands of batches cost no digit.
struct Merged {
    statistic: Statistic,
    tensor: Option<Tensor>,
}

impl Merged {
    fn add(&mut self, batch: &Tensor) -> candle_core::Result<()> {
        let batch = batch.to_device(&Device::Cpu)?;
        let batch = if batch.dtype().is_float() { batch.to_dtype(candle_core::DType::F64)? } else { batch };
        self.tensor = Some(match (&self.tensor, self.statistic) {
            (None, _) => batch,
            (Some(sum), Statistic::Sum) => (sum + batch)?,
            (Some(least), Statistic::Min) => least.minimum(&batch)?,
            (Some(most), Statistic::Max) => most.maximum(&batch)?,
        });
        Ok(())
    }
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
        for (merged, tensor) in self.merged.iter_mut().zip(batch) {
            merged.add(tensor).map_err(|error| fault::candle("a measure could not be merged", &error))?;
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
