//! Loops over numbers: what the kernels of op blocks run on the CPU.
//!
//! In: slices behind Candle tensors, with shapes in numbers. Out: vectors that become tensors without a copy. Never here:
//! a graph, a gradient, a user's mistake; and no parallel work outside [`par`].

mod columns;
pub mod conv;
#[cfg(test)]
mod conv_check;
#[cfg(target_arch = "x86_64")]
mod direct;
#[cfg(target_arch = "x86_64")]
mod micro;
#[cfg(target_arch = "x86_64")]
mod winograd;
pub mod depthwise;
pub mod factor;
pub mod fourier;
pub mod elementwise;
pub mod image;
pub mod index;
pub mod layout;
pub mod math;
pub mod matmul;
pub mod par;
pub mod philox;
pub mod pool;
pub mod portable;
pub mod reduce;
pub mod show;
pub mod special;
pub mod tile;

use std::mem::MaybeUninit;
use std::ops::Range;

use candle_core::{Result, Storage, Tensor, WithDType};

use crate::graph::DType;

pub use layout::contiguous;

/// How Candle stores an element type.
pub fn stored(dtype: DType) -> candle_core::DType {
    match dtype {
        DType::F64 => candle_core::DType::F64,
        DType::F32 => candle_core::DType::F32,
        DType::I64 => candle_core::DType::I64,
        DType::U32 => candle_core::DType::U32,
        DType::U8 | DType::Bool => candle_core::DType::U8,
    }
}

/// Runs a body with a type parameter bound to the element type behind a Candle dtype.
macro_rules! with_element {
    ($dtype:expr, $element:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $element = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $element = f64;
                $body
            }
            candle_core::DType::I64 => {
                type $element = i64;
                $body
            }
            candle_core::DType::U32 => {
                type $element = u32;
                $body
            }
            candle_core::DType::U8 => {
                type $element = u8;
                $body
            }
            other => candle_core::bail!("tensors of {other:?} are not used here"),
        }
    };
}
pub(crate) use with_element;

/// The elements of a contiguous tensor on the CPU, readable as long as this lives.
pub struct Elements<'a, T> {
    storage: candle_core::StorageRef<'a>,
    range: Range<usize>,
    element: std::marker::PhantomData<T>,
}

impl<'a, T: WithDType> Elements<'a, T> {
    pub fn of(tensor: &'a Tensor) -> Result<Elements<'a, T>> {
        let (storage, layout) = tensor.storage_and_layout();
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("a contiguous tensor is needed")
        };
        match &*storage {
            Storage::Cpu(cpu) => T::cpu_storage_as_slice(cpu).map(|_| ())?,
            _ => candle_core::bail!("a tensor on the CPU is needed"),
        }
        Ok(Elements { storage, range: start..end, element: std::marker::PhantomData })
    }
}

impl<T: WithDType> std::ops::Deref for Elements<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &*self.storage {
            Storage::Cpu(cpu) => T::cpu_storage_as_slice(cpu).map_or(&[], |all| &all[self.range.clone()]),
            _ => &[],
        }
    }
}

/// Whether the project's own loops apply.
pub fn on_cpu(tensor: &Tensor) -> bool {
    tensor.device().is_cpu()
}

/// A tensor on the CPU that owns `values`.
pub fn tensor<T: WithDType>(values: Vec<T>, shape: &[usize]) -> Result<Tensor> {
    Tensor::from_vec(values, shape, &candle_core::Device::Cpu)
}

/// Writes a slice into places that hold nothing yet; a block copy once compiled.
#[inline(always)]
fn copy<T: Copy>(places: &mut [MaybeUninit<T>], values: &[T]) {
    for (place, value) in places.iter_mut().zip(values) {
        place.write(*value);
    }
}
