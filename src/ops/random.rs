//! Draws from keys. A key is two words; what is drawn depends on the key and the place in the result alone.

use super::check::{self, NO_COST, misfit, one, one_each, result};
use super::*;
use crate::diagnostics::Code;
use crate::graph::{DType, Size};
use crate::kernels::philox::{self, Draw};

pub const OPS: &[&Op] = &[&FOLD_KEY, &FOLD_INDEX, &UNIFORM, &NORMAL, &BITS, &PERMUTATION];

const SPECIAL: Domain = Domain::Special("operands are keys");

/// The leading sizes of a tensor of keys.
fn keys(at: usize, key: &Type) -> Result<&[Size], Mismatch> {
    check::element(at, key, &[DType::U32], "u32")?;
    match key.shape.split_last() {
        Some((last, leading)) if last.is(2) => Ok(leading),
        _ => {
            Err(misfit(Code::ShapeMismatch, "a key has two words").fact(at, format!("{key}: the last size is to be 2")))
        }
    }
}

/// `[..b, ..shape]` for keys `[..b, 2]`.
fn drawn(infer: &Infer<'_>, dtype: DType) -> Result<Types, Mismatch> {
    let [key] = check::operands(infer)?;
    let sizes = [keys(0, key)?, check::sizes(infer, "shape")?].concat();
    one(Type::new(dtype, sizes))
}

fn drawn_float(infer: &Infer<'_>) -> Result<Types, Mismatch> {
    let dtype = infer.attrs.dtype("dtype").ok_or_else(|| check::missing("dtype"))?;
    if !dtype.is_float() {
        return Err(misfit(Code::ElementType, format!("float elements are drawn, not {}", dtype.name())));
    }
    drawn(infer, dtype)
}

fn draw(call: &Call<'_>, kind: Draw) -> candle_core::Result<Results> {
    let each = check::numbers(call.attrs, "shape")?.iter().product();
    result(philox::draw(&call.inputs[0], kind, call.results[0].dtype, &call.results[0].shape, each))
}

pub static FOLD_KEY: Op = Op {
    name: "fold_key",
    doc: "The key of a named place, from the key of what surrounds it.",
    signature: "(key: u32[..b, 2]) -> u32[..b, 2]",
    attrs: &[("path", AttrKind::Text)],
    infer: |infer| {
        let [key] = check::operands(infer)?;
        keys(0, key)?;
        infer.attrs.text("path").ok_or_else(|| check::missing("path"))?;
        one(key.clone())
    },
    gradient: Gradient::None("a key"),
    rows: Rows::Leading,
    kernel: |call| result(philox::fold_paths(&call.inputs[0], call.attrs.text("path").unwrap_or(""))),
    flops: NO_COST,
    domain: SPECIAL,
    examples: &["fold_key([1, 2], path: \"a\") == fold_key([1, 2], path: \"a\")"],
};

pub static FOLD_INDEX: Op = Op {
    name: "fold_index",
    doc: "The keys of numbered places: of steps, of records. Keys may lead: each then serves the indices below it.",
    signature: "(key: u32[..b, 2], index: int[..b, ..s]) -> u32[..b, ..s, 2]",
    attrs: &[],
    infer: |infer| {
        let [key, index] = check::operands(infer)?;
        let leading = keys(0, key)?;
        check::element(1, index, &[DType::I64], "int")?;
        if index.shape.get(..leading.len()) != Some(leading) {
            return Err(misfit(Code::ShapeMismatch, "the indices do not lie below the keys")
                .fact(0, format!("{key}"))
                .fact(1, format!("{index}: the first sizes are to be those of the keys")));
        }
        one(Type::new(DType::U32, index.shape.iter().cloned().chain([Size::known(2)])))
    },
    gradient: Gradient::None("a key"),
    rows: Rows::Leading,
    kernel: |call| result(philox::fold_indices(&call.inputs[0], &call.inputs[1])),
    flops: NO_COST,
    domain: SPECIAL,
    examples: &["fold_index([1, 2], [3, 4]) == fold_index([1, 2], [3, 4])"],
};

pub static UNIFORM: Op = Op {
    name: "uniform",
    doc: "Numbers drawn evenly from 0 up to, not including, 1.",
    signature: "(key: u32[..b, 2]) -> float[..b, ..shape]",
    attrs: &[("shape", AttrKind::Sizes), ("dtype", AttrKind::DType)],
    infer: drawn_float,
    gradient: Gradient::Zero("a draw"),
    rows: Rows::Leading,
    kernel: |call| draw(call, Draw::Uniform),
    flops: Flops(|cost| 10.0 * one_each(cost), "10 a number of the result"),
    domain: SPECIAL,
    examples: &["floor(uniform([1, 2], shape: [3], dtype: f64)) == [0.0, 0.0, 0.0]"],
};

pub static NORMAL: Op = Op {
    name: "normal",
    doc: "Numbers drawn from the normal distribution of mean 0 and deviation 1.",
    signature: "(key: u32[..b, 2]) -> float[..b, ..shape]",
    attrs: &[("shape", AttrKind::Sizes), ("dtype", AttrKind::DType)],
    infer: drawn_float,
    gradient: Gradient::Zero("a draw"),
    rows: Rows::Leading,
    kernel: |call| draw(call, Draw::Normal),
    flops: Flops(|cost| 40.0 * one_each(cost), "40 a number of the result"),
    domain: SPECIAL,
    examples: &["is_finite(normal([1, 2], shape: [2], dtype: f64)) == [true, true]"],
};

pub static BITS: Op = Op {
    name: "bits",
    doc: "Words of 32 random bits.",
    signature: "(key: u32[..b, 2]) -> u32[..b, ..shape]",
    attrs: &[("shape", AttrKind::Sizes)],
    infer: |infer| drawn(infer, DType::U32),
    gradient: Gradient::None("integer result"),
    rows: Rows::Leading,
    kernel: |call| draw(call, Draw::Bits),
    flops: Flops(|cost| 10.0 * one_each(cost), "10 a number of the result"),
    domain: SPECIAL,
    examples: &["bits([1, 2], shape: [2]) == bits([1, 2], shape: [2])"],
};

pub static PERMUTATION: Op = Op {
    name: "permutation",
    doc: "The positions below a size in random order.",
    signature: "(key: u32[..b, 2]) -> int[..b, size]",
    attrs: &[("size", AttrKind::Size)],
    infer: |infer| {
        let [key] = check::operands(infer)?;
        let size = check::size(infer, "size")?;
        one(Type::new(DType::I64, keys(0, key)?.iter().cloned().chain([size])))
    },
    gradient: Gradient::None("integer result"),
    rows: Rows::Leading,
    kernel: |call| {
        let size = check::one_number(call.attrs, "size")?;
        result(philox::permutation(&call.inputs[0], size, &call.results[0].shape))
    },
    flops: NO_COST,
    domain: SPECIAL,
    examples: &["sort(cast(permutation([1, 2], size: 3), f64), axis: 0)[0] == [0.0, 1.0, 2.0]"],
};
