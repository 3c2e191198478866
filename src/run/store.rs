//! What outlives a step: the tensors of all slots, and how tensors reach a device and come back.

use std::collections::HashMap;

use candle_core::{Device, Tensor};

use crate::graph::{Bindings, DType, Type};
use crate::kernels::stored;
use crate::program::{Init, Program, SlotId, SlotKind};

use super::executor::{Registers, execute};
use super::fault::{self, Fault};
use super::key::Place;

/// Tensors by slot.
#[derive(Clone, Debug, Default)]
pub struct Store {
    tensors: Vec<Option<Tensor>>,
}

impl Store {
    pub fn new(program: &Program) -> Store {
        Store { tensors: vec![None; program.slots.len()] }
    }

    pub fn get(&self, slot: SlotId) -> Option<&Tensor> {
        self.tensors.get(slot.0 as usize)?.as_ref()
    }

    pub fn set(&mut self, slot: SlotId, tensor: Tensor) {
        let at = slot.0 as usize;
        if at >= self.tensors.len() {
            self.tensors.resize(at + 1, None);
        }
        self.tensors[at] = Some(tensor);
    }

    /// The slots that are alive, with their paths, in order of declaration.
    pub fn alive<'a>(&'a self, program: &'a Program) -> impl Iterator<Item = (SlotId, &'a str, SlotKind, &'a Tensor)> {
        program.slots.iter().zip(&self.tensors).enumerate().filter_map(|(at, (slot, tensor))| {
            tensor.as_ref().map(|tensor| (SlotId(at as u32), slot.path.as_str(), slot.kind, tensor))
        })
    }
}

/// Brings a slot to life. `given` holds tensors by path that stand instead of the first draw.
pub fn declare(
    program: &Program,
    store: &mut Store,
    slot: SlotId,
    flow: &dyn Fn(crate::program::FlowValue) -> Result<Tensor, Fault>,
    given: &HashMap<String, Tensor>,
    place: &Place,
    device: &Device,
) -> Result<(), Fault> {
    let info = &program.slots[slot.0 as usize];
    let tensor = match (given.get(&info.path), &info.init) {
        (Some(tensor), _) => {
            fits(&info.path, tensor, &info.ty)?;
            to_device(&cast(tensor, info.ty.dtype)?, device)?
        }
        (None, Init::Draw(graph)) => {
            let graph = super::passes::compile_graph(graph, &program.origins)?;
            let plan =
                crate::plan::plan_graph(&graph, &Bindings::new()).map_err(|e| fault::plan(&program.origins, &e))?;
            let mut registers = Registers::new(&plan);
            let key = key_tensor(place.slot(&info.path), device)?;
            for (_, register) in &plan.inputs {
                registers.put(*register, key.clone());
            }
            execute(&plan, &mut registers, device, None)
                .map_err(|failed| fault::kernel(program, &plan.instructions[failed.at], &failed.error))?;
            let drawn = plan.outputs.first().and_then(|register| registers.get(*register)).cloned();
            drawn.ok_or_else(|| fault::internal(format!("the first value of `{}` has no graph output", info.path)))?
        }
        (None, Init::Copy(other)) => store
            .get(*other)
            .cloned()
            .ok_or_else(|| fault::internal(format!("`{}` is copied from a slot that does not live yet", info.path)))?,
        (None, Init::Flow(value)) => to_device(&cast(&flow(*value)?, info.ty.dtype)?, device)?,
    };
    store.set(slot, tensor);
    Ok(())
}

/// Whether a tensor from outside can stand for a slot or input.
pub fn fits(name: &str, tensor: &Tensor, ty: &Type) -> Result<(), Fault> {
    let same = tensor.rank() == ty.rank()
        && tensor.dims().iter().zip(&ty.shape).all(|(have, want)| want.as_known().is_none_or(|n| n == *have as i64));
    if same {
        return Ok(());
    }
    let have: Vec<String> = tensor.dims().iter().map(usize::to_string).collect();
    Err(Box::new(
        crate::diagnostics::Diagnostic::error(
            crate::diagnostics::Code::FileWrongSize,
            format!("`{name}` is {ty}, but the file has [{}]", have.join(", ")),
        )
        .help("give a tensor of the size that the program declares"),
    ))
}

pub fn cast(tensor: &Tensor, dtype: DType) -> Result<Tensor, Fault> {
    if tensor.dtype() == stored(dtype) {
        return Ok(tensor.clone());
    }
    tensor.to_dtype(stored(dtype)).map_err(|error| fault::candle("a tensor could not be converted", &error))
}

pub fn to_device(tensor: &Tensor, device: &Device) -> Result<Tensor, Fault> {
    tensor.to_device(device).map_err(|error| fault::candle("a tensor could not be placed", &error))
}

pub fn key_tensor(key: [u32; 2], device: &Device) -> Result<Tensor, Fault> {
    Tensor::from_slice(&key, 2, device).map_err(|error| fault::candle("a key could not be placed", &error))
}

/// A tensor of rank 0.
pub fn scalar(value: f64, dtype: DType, device: &Device) -> Result<Tensor, Fault> {
    let tensor = match dtype {
        DType::F64 => Tensor::new(value, device),
        DType::F32 => Tensor::new(value as f32, device),
        DType::I64 => Tensor::new(value as i64, device),
        DType::U32 => Tensor::new(value as u32, device),
        DType::U8 | DType::Bool => Tensor::new(value as u8, device),
    };
    tensor.map_err(|error| fault::candle("a number could not be placed", &error))
}

/// The one element of a tensor of rank 0.
pub fn number(tensor: &Tensor) -> Result<f64, Fault> {
    let read = || match tensor.dtype() {
        candle_core::DType::F64 => tensor.to_scalar::<f64>(),
        candle_core::DType::F32 => tensor.to_scalar::<f32>().map(f64::from),
        candle_core::DType::I64 => tensor.to_scalar::<i64>().map(|n| n as f64),
        candle_core::DType::U32 => tensor.to_scalar::<u32>().map(f64::from),
        _ => tensor.to_dtype(candle_core::DType::F64)?.to_scalar::<f64>(),
    };
    read().map_err(|error| fault::candle("a number could not be read", &error))
}

/// All elements in row-major order, as f64.
pub fn numbers(tensor: &Tensor) -> Result<Vec<f64>, Fault> {
    let read = || tensor.flatten_all()?.to_device(&Device::Cpu)?.to_dtype(candle_core::DType::F64)?.to_vec1::<f64>();
    read().map_err(|error| fault::candle("a tensor could not be read", &error))
}
