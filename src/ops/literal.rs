//! Small tensors as plain numbers, and ops applied to them: what the constant folder computes with.

use candle_core::{DType as Stored, Device, Tensor};

use crate::graph::{Attrs, DType};

use super::{Call, Concrete, Op};

/// A small tensor: row-major, integers and booleans as floats.
#[derive(Clone, Debug, PartialEq)]
pub struct Literal {
    pub dtype: DType,
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

/// Integers up to here are floats without loss.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The results of `op`, by its own kernel on the CPU, so that folding changes no bit. None where the kernel objects (the
/// executor then says it, with its place) or a result is no plain number.
pub fn evaluate(op: &Op, attrs: &Attrs, operands: &[Literal], results: &[Concrete]) -> Option<Vec<Literal>> {
    let inputs: Vec<Tensor> = operands.iter().map(to_tensor).collect::<Option<_>>()?;
    let call = Call { attrs, inputs: &inputs, results, device: &Device::Cpu };
    let outputs = (op.kernel)(&call).ok()?;
    if outputs.len() != results.len() {
        return None;
    }
    outputs.iter().zip(results).map(|(tensor, concrete)| from_tensor(tensor, concrete)).collect()
}

fn stored(dtype: DType) -> Stored {
    match dtype {
        DType::F64 => Stored::F64,
        DType::F32 => Stored::F32,
        DType::I64 => Stored::I64,
        DType::U32 => Stored::U32,
        DType::U8 | DType::Bool => Stored::U8,
    }
}

fn to_tensor(literal: &Literal) -> Option<Tensor> {
    let tensor = Tensor::from_vec(literal.values.clone(), literal.shape.as_slice(), &Device::Cpu).ok()?;
    tensor.to_dtype(stored(literal.dtype)).ok()
}

fn from_tensor(tensor: &Tensor, concrete: &Concrete) -> Option<Literal> {
    if tensor.dims() != concrete.shape.as_slice() || tensor.dtype() != stored(concrete.dtype) {
        return None;
    }
    let flat = tensor.flatten_all().ok()?;
    let values = match concrete.dtype {
        DType::I64 => flat.to_vec1::<i64>().ok()?.into_iter().map(|n| n as f64).collect(),
        _ => flat.to_dtype(Stored::F64).ok()?.to_vec1::<f64>().ok()?,
    };
    let plain = |x: &f64| x.is_finite() && (concrete.dtype.is_float() || x.abs() < EXACT);
    values.iter().all(plain).then(|| Literal { dtype: concrete.dtype, shape: concrete.shape.clone(), values })
}
