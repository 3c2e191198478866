//! What a reader is told of a tensor.

use candle_core::{DType as Stored, Device, Tensor};

use crate::events::quantity;
use crate::graph::{DType, Size, Type};

/// The type, as programs write it.
pub fn type_of(tensor: &Tensor) -> String {
    let dtype = match tensor.dtype() {
        Stored::F64 => DType::F64,
        Stored::F32 => DType::F32,
        Stored::I64 => DType::I64,
        Stored::U32 => DType::U32,
        _ => DType::U8,
    };
    Type::new(dtype, tensor.dims().iter().map(|n| Size::known(*n as i64))).to_string()
}

/// `f32[2, 3], from -1.5 to 3`, with what is not finite counted.
pub fn summary(tensor: &Tensor) -> String {
    let read = || tensor.flatten_all()?.to_device(&Device::Cpu)?.to_dtype(Stored::F64)?.to_vec1::<f64>();
    let range = read().map_or_else(|_| "unreadable".into(), |numbers| range(&numbers));
    format!("{}, {range}", type_of(tensor))
}

fn range(numbers: &[f64]) -> String {
    let finite: Vec<f64> = numbers.iter().copied().filter(|x| x.is_finite()).collect();
    let least = finite.iter().copied().fold(f64::INFINITY, f64::min);
    let most = finite.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut text = match finite.is_empty() {
        true if numbers.is_empty() => "empty".into(),
        true => "nothing finite".into(),
        false if least == most => format!("all {}", quantity(least)),
        false => format!("from {} to {}", quantity(least), quantity(most)),
    };
    let others = numbers.len() - finite.len();
    if others > 0 {
        text += &format!(" ({others} not finite)");
    }
    text
}
