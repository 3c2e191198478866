//! What holds a graph together: inputs, constants, markers, regions.

use candle_core::{Device, Result, Tensor, bail};

use super::check::{self, NO_COST, misfit, one};
use super::*;
use crate::graph::{DType, Size};
use crate::kernels;

pub const OPS: &[&Op] = &[&INPUT, &CONSTANT, &SIZE, &IOTA, &STOP, &DEBUG, &GRADIENT, &GRAD, &MAP_ROWS];

pub static INPUT: Op = Op {
    name: "input",
    doc: "A formal of the step: a batch field, a weight, a state, a host number, a key.",
    signature: "() -> any",
    attrs: &[],
    infer: |_| Ok(Types::new()),
    gradient: Gradient::Structural,
    rows: Rows::Leading,
    kernel: |_| bail!("the executor binds inputs itself"),
    flops: NO_COST,
    domain: Domain::Special("inputs are given"),
    examples: &["(|x| x)([1.0, 2.0]) == [1.0, 2.0]"],
};

pub static CONSTANT: Op = Op {
    name: "constant",
    doc: "Numbers that are known while compiling: one for all places, or each in row-major order.",
    signature: "() -> any[..shape]",
    attrs: &[("values", AttrKind::Floats), ("dtype", AttrKind::DType), ("shape", AttrKind::Sizes)],
    infer: infer_constant,
    gradient: Gradient::Zero("a constant"),
    rows: Rows::Leading,
    kernel: |call| check::result(constant(call)),
    flops: NO_COST,
    domain: Domain::Special("has no operands"),
    examples: &["[1.0, 2.0] == [1.0, 2.0]"],
};

fn infer_constant(infer: &Infer<'_>) -> std::result::Result<Types, Mismatch> {
    let [] = check::operands(infer)?;
    let shape = check::sizes(infer, "shape")?;
    let dtype = infer.attrs.dtype("dtype").ok_or_else(|| check::missing("dtype"))?;
    let given = infer.attrs.floats("values").ok_or_else(|| check::missing("values"))?.len();
    let count = check::count(shape)?;
    if given != 1 && !count.is(given as i64) {
        return Err(misfit(Code::ShapeMismatch, format!("{given} values do not fill a shape of {count} elements")));
    }
    one(Type::new(dtype, shape.iter().cloned()))
}

fn constant(call: &Call<'_>) -> Result<Tensor> {
    let Some(values) = call.attrs.floats("values") else { bail!("a constant without values") };
    let result = &call.results[0];
    let tensor = match result.dtype {
        DType::F64 => fill(values, result, |x| x),
        DType::F32 => fill(values, result, |x| x as f32),
        DType::I64 => fill(values, result, |x| x as i64),
        DType::U32 => fill(values, result, |x| x as u32),
        DType::U8 => fill(values, result, |x| x as u8),
        DType::Bool => fill(values, result, |x| (x != 0.0) as u8),
    };
    tensor?.to_device(call.device)
}

fn fill<T: candle_core::WithDType>(values: &[f64], result: &Concrete, of: impl Fn(f64) -> T) -> Result<Tensor> {
    let values = match values {
        [value] => vec![of(*value); result.count()],
        _ => values.iter().map(|value| of(*value)).collect(),
    };
    kernels::tensor(values, &result.shape)
}

pub static SIZE: Op = Op {
    name: "size",
    doc: "A size of the step as a number.",
    signature: "() -> int[]",
    attrs: &[("size", AttrKind::Size)],
    infer: |infer| {
        let [] = check::operands(infer)?;
        check::size(infer, "size")?;
        one(Type::scalar(DType::I64))
    },
    gradient: Gradient::None("integer result"),
    rows: Rows::Leading,
    kernel: |call| check::result(Tensor::new(check::one_number(call.attrs, "size")? as i64, call.device)),
    flops: NO_COST,
    domain: Domain::Special("has no operands"),
    examples: &["size(3) == 3"],
};

pub static IOTA: Op = Op {
    name: "iota",
    doc: "The numbers 0, 1, … below a size.",
    signature: "() -> int[size]",
    attrs: &[("size", AttrKind::Size)],
    infer: |infer| {
        let [] = check::operands(infer)?;
        one(Type::new(DType::I64, [check::size(infer, "size")?]))
    },
    gradient: Gradient::None("integer result"),
    rows: Rows::Leading,
    kernel: |call| check::result(iota(check::one_number(call.attrs, "size")?, call.device)),
    flops: NO_COST,
    domain: Domain::Special("has no operands"),
    examples: &["iota(3) == [0, 1, 2]"],
};

fn iota(size: usize, device: &Device) -> Result<Tensor> {
    Tensor::from_vec((0..size as i64).collect(), size, device)
}

pub static STOP: Op = Op {
    name: "stop",
    doc: "The value itself, through which no gradient flows.",
    signature: "(x: any[..s]) -> any[..s]",
    attrs: &[],
    infer: same,
    gradient: Gradient::Structural,
    rows: Rows::Leading,
    kernel: itself,
    flops: NO_COST,
    domain: Domain::Special("the gradient is not that of the function"),
    examples: &["stop([1.0, 2.0]) == [1.0, 2.0]"],
};

pub static DEBUG: Op = Op {
    name: "debug",
    doc: "The operand; each time it is computed, a line on standard error says its name, type, range and how many elements are \
          not finite.",
    signature: "(x: [..s]) -> [..s]",
    attrs: &[("text", AttrKind::Text)],
    infer: |infer| {
        infer.attrs.text("text").ok_or_else(|| check::missing("text"))?;
        same(infer)
    },
    gradient: Gradient::Rule(|vjp| vec![vjp.cotangents[0]]),
    rows: Rows::Leading,
    kernel: |call| {
        let text = call.attrs.text("text").unwrap_or_default();
        eprintln!("debug {text}: {}", crate::kernels::show::summary(&call.inputs[0]));
        itself(call)
    },
    flops: NO_COST,
    domain: Domain::Special("an identity that speaks"),
    examples: &["debug([1.0, 2.0], text: \"x\") == [1.0, 2.0]"],
};

pub static GRADIENT: Op = Op {
    name: "gradient",
    doc: "Marks the gradient of a slot on its way to the optimiser: where accumulation and clipping cut in.",
    signature: "(x: float[..s]) -> float[..s]",
    attrs: &[("slot", AttrKind::Text)],
    infer: |infer| {
        infer.attrs.text("slot").ok_or_else(|| check::missing("slot"))?;
        same(infer)
    },
    gradient: Gradient::Rule(|vjp| vec![vjp.cotangents[0]]),
    rows: Rows::Leading,
    kernel: itself,
    flops: NO_COST,
    domain: Domain::Special("an identity that is named"),
    examples: &["gradient([1.0, 2.0], slot: \"w\") == [1.0, 2.0]"],
};

fn same(infer: &Infer<'_>) -> std::result::Result<Types, Mismatch> {
    let [x] = check::operands(infer)?;
    one(x.clone())
}

fn itself(call: &Call<'_>) -> Result<Results> {
    Ok([call.inputs[0].clone()].into_iter().collect())
}

pub static GRAD: Op = Op {
    name: "grad",
    doc: "The gradient of a scalar with respect to values it was computed from; replaced by its graph before anything runs.",
    signature: "(loss: float[], of: float[..s], …) -> (float[..s], …)",
    attrs: &[],
    infer: infer_grad,
    gradient: Gradient::Structural,
    rows: Rows::Mixed("a gradient is expanded before rows are lifted"),
    kernel: |_| bail!("`grad` is replaced by the graph of the gradient before anything runs"),
    flops: NO_COST,
    domain: Domain::Special("replaced before anything runs"),
    examples: &["(|x| grad(sum(x * x, axis: [0]), x))([3.0, 4.0]) == [6.0, 8.0]"],
};

fn infer_grad(infer: &Infer<'_>) -> std::result::Result<Types, Mismatch> {
    let Some((loss, of)) = infer.types.split_first().filter(|(_, of)| !of.is_empty()) else {
        return Err(misfit(Code::ArgumentCount, "a loss and at least one value are needed"));
    };
    check::float(0, loss)?;
    if loss.rank() > 0 {
        return Err(misfit(Code::ShapeMismatch, "only a single number has a gradient")
            .fact(0, format!("{loss}: has {} axes", loss.rank()))
            .help("reduce it, for example by `mean` or `sum`"));
    }
    of.iter().enumerate().try_for_each(|(at, ty)| check::float(at + 1, ty))?;
    Ok(of.iter().map(|ty| (*ty).clone()).collect())
}

pub static MAP_ROWS: Op = Op {
    name: "map_rows",
    doc: "Applies its region to each row of the operands: what a view is to a batch.",
    signature: "(x: any[n, ..s], …) -> (any[n, ..t], …)",
    attrs: &[("view", AttrKind::Text)],
    infer: infer_map_rows,
    gradient: Gradient::Structural,
    rows: Rows::Mixed("a map inside a map is lifted from the inside out"),
    kernel: |_| bail!("`map_rows` is run by the loader or lifted before anything runs"),
    flops: NO_COST,
    domain: Domain::Special("has a region"),
    examples: &["map_rows([[1.0, 2.0], [3.0, 4.0]], |row| sum(row, axis: [0])) == [3.0, 7.0]"],
};

fn infer_map_rows(infer: &Infer<'_>) -> std::result::Result<Types, Mismatch> {
    let [region] = infer.regions else {
        return Err(misfit(Code::Internal, "`map_rows` needs one region"));
    };
    if infer.types.len() != region.inputs.len() || infer.types.is_empty() {
        let headline = format!("{} operands needed, {} given", region.inputs.len().max(1), infer.types.len());
        return Err(misfit(Code::ArgumentCount, headline));
    }
    let mut rows: Option<&Size> = None;
    for (at, (ty, input)) in infer.types.iter().zip(&region.inputs).enumerate() {
        let Some((size, rest)) = ty.shape.split_first() else {
            return Err(misfit(Code::ShapeMismatch, "a batch needs a leading axis of rows").fact(at, format!("{ty}")));
        };
        if rows.is_some_and(|rows| rows != size) {
            return Err(check::unequal_sizes((0, infer.types[0], 0), (at, ty, 0)));
        }
        rows = Some(size);
        let wanted = region.ty(*input);
        if wanted.dtype != ty.dtype || wanted.shape[..] != *rest {
            return Err(misfit(Code::ShapeMismatch, format!("a row does not fit, {wanted} is needed"))
                .fact(at, format!("{ty}: a row is {}", ty.with_shape(rest.iter().cloned()))));
        }
    }
    let rows = rows.cloned().unwrap_or_else(|| Size::known(0));
    let batch = |ty: &Type| ty.with_shape(std::iter::once(rows.clone()).chain(ty.shape.iter().cloned()));
    Ok(region.outputs.iter().map(|output| batch(region.ty(*output))).collect())
}
