//! Ops that move elements without computing.

use super::check::{self, NO_COST, misfit, one, result};
use super::*;
use crate::diagnostics::Code;
use crate::graph::{Attr, Size};
use crate::kernels::layout;

pub const OPS: &[&Op] = &[&RESHAPE, &PERMUTE, &BROADCAST, &SLICE, &PAD, &CONCAT, &FLIP];

type Inferred = Result<Types, Mismatch>;

/// An attribute of sizes with the rows in front.
fn lead_sizes(attrs: &Attrs, name: &str, lead: Size) -> Attr {
    Attr::Sizes(std::iter::once(lead).chain(attrs.sizes(name).unwrap_or(&[]).iter().cloned()).collect())
}

/// An attribute of integers with one in front.
fn lead_ints(attrs: &Attrs, name: &str, lead: i64) -> Attr {
    Attr::Ints(std::iter::once(lead).chain(attrs.ints(name).unwrap_or(&[]).iter().copied()).collect())
}

/// Axes one further in, behind that of the rows.
fn lead_axes(attrs: &Attrs) -> Attr {
    let axes = attrs.ints("axes").unwrap_or(&[]).iter().map(|axis| axis + 1);
    Attr::Ints(std::iter::once(0).chain(axes).collect())
}

pub static RESHAPE: Op = Op {
    name: "reshape",
    doc: "Another shape of as many elements, in the same row-major order.",
    signature: "(x: any[..s]) -> any[..shape]",
    attrs: &[("shape", AttrKind::Sizes)],
    infer: infer_reshape,
    gradient: Gradient::Rule(|vjp| {
        let shape = vjp.ty(vjp.operand(0)).shape;
        vec![vjp.cotangents[0].map(|g| vjp.builder.reshape(g, &shape))]
    }),
    rows: Rows::Rule(|lift| {
        let attrs = Attrs::none().with("shape", lead_sizes(lift.attrs, "shape", lift.rows.clone()));
        lift.builder.apply(&RESHAPE, lift.operands, attrs)
    }),
    kernel: |call| result(layout::reshape(&call.inputs[0], &call.results[0].shape)),
    flops: NO_COST,
    domain: Domain::Special("the shape is an attribute"),
    examples: &["reshape([1.0, 2.0], [2, 1]) == [[1.0], [2.0]]"],
};

fn infer_reshape(infer: &Infer<'_>) -> Inferred {
    let [x] = check::operands(infer)?;
    let shape = check::sizes(infer, "shape")?;
    let (have, want) = (check::count(&x.shape)?, check::count(shape)?);
    if have != want {
        return Err(misfit(Code::ShapeMismatch, format!("{have} elements do not fill a shape of {want}"))
            .fact(0, format!("{x}: has {have} elements")));
    }
    one(x.with_shape(shape.iter().cloned()))
}

pub static PERMUTE: Op = Op {
    name: "permute",
    doc: "The axes in another order: axis `i` of the result is axis `axes[i]` of the operand.",
    signature: "(x: any[..s]) -> any[..s in the order of axes]",
    attrs: &[("axes", AttrKind::Ints)],
    infer: |infer| {
        let [x] = check::operands(infer)?;
        let axes = check::axes(infer, "axes", 0)?;
        check::for_each_axis(&axes, "axes", 0, x)?;
        one(x.with_shape(axes.iter().map(|axis| x.shape[*axis].clone())))
    },
    gradient: Gradient::Rule(|vjp| {
        let attrs = vjp.attrs();
        let axes = attrs.ints("axes").unwrap_or(&[]);
        let mut back = vec![0; axes.len()];
        axes.iter().enumerate().for_each(|(to, from)| back[*from as usize] = to);
        vec![vjp.cotangents[0].map(|g| vjp.builder.permute(g, &back))]
    }),
    rows: Rows::Rule(|lift| {
        let attrs = Attrs::none().with("axes", lead_axes(lift.attrs));
        lift.builder.apply(&PERMUTE, lift.operands, attrs)
    }),
    kernel: |call| result(layout::permute(&call.inputs[0], &check::numbers(call.attrs, "axes")?)),
    flops: NO_COST,
    domain: Domain::Special("the order is an attribute"),
    examples: &["[[1.0, 2.0]].T == [[1.0], [2.0]]"],
};

pub static BROADCAST: Op = Op {
    name: "broadcast",
    doc: "Repeats to a shape: axis `i` of the operand becomes axis `axes[i]`, and either has its size or is 1.",
    signature: "(x: any[..s]) -> any[..shape]",
    attrs: &[("shape", AttrKind::Sizes), ("axes", AttrKind::Ints)],
    infer: infer_broadcast,
    gradient: Gradient::Rule(broadcast_rule),
    rows: Rows::Rule(|lift| {
        let attrs = Attrs::none()
            .with("shape", lead_sizes(lift.attrs, "shape", lift.rows.clone()))
            .with("axes", lead_axes(lift.attrs));
        lift.builder.apply(&BROADCAST, lift.operands, attrs)
    }),
    kernel: |call| {
        let axes = check::numbers(call.attrs, "axes")?;
        result(layout::broadcast(&call.inputs[0], &call.results[0].shape, &axes))
    },
    flops: NO_COST,
    domain: Domain::Special("the shape is an attribute"),
    examples: &["[1.0, 2.0] + [[0.0, 0.0], [1.0, 1.0]] == [[1.0, 2.0], [2.0, 3.0]]"],
};

fn infer_broadcast(infer: &Infer<'_>) -> Inferred {
    let [x] = check::operands(infer)?;
    let (shape, axes) = (check::sizes(infer, "shape")?, check::ints(infer, "axes")?);
    check::for_each_axis(axes, "axes", 0, x)?;
    let in_order = axes.windows(2).all(|pair| pair[0] < pair[1]);
    let in_shape = axes.iter().all(|axis| usize::try_from(*axis).is_ok_and(|axis| axis < shape.len()));
    if !in_order || !in_shape {
        let headline = format!("axes {axes:?} are not axes of a shape with {} in increasing order", shape.len());
        return Err(misfit(Code::BadValue, headline));
    }
    for (at, axis) in axes.iter().enumerate() {
        let (have, want) = (&x.shape[at], &shape[*axis as usize]);
        if have != want && !have.is(1) {
            return Err(misfit(Code::ShapeMismatch, format!("shapes do not fit, {have} and {want} must be equal"))
                .fact(0, format!("{x}: {} size is {have}, not {want} and not 1", check::place(at, x.rank()))));
        }
    }
    one(x.with_shape(shape.iter().cloned()))
}

/// Sums over the axes along which the operand was repeated.
fn broadcast_rule(vjp: &mut Vjp<'_>) -> Vec<Option<Value>> {
    let attrs = vjp.attrs();
    let axes = attrs.ints("axes").unwrap_or(&[]);
    let (from, to) = (vjp.ty(vjp.operand(0)).shape, vjp.ty(vjp.result(0)).shape);
    let source = |axis: usize| axes.iter().position(|have| *have as usize == axis);
    let repeated = |axis: &usize| source(*axis).is_none_or(|at| from[at] != to[*axis]);
    let summed: Vec<usize> = (0..to.len()).filter(repeated).collect();
    let cotangent = vjp.cotangents[0].map(|g| {
        let sum = if summed.is_empty() { g } else { vjp.builder.sum(g, &summed) };
        vjp.builder.reshape(sum, &from)
    });
    vec![cotangent]
}

pub static SLICE: Op = Op {
    name: "slice",
    doc: "Every `step`-th element from `start` up to, not including, `stop` along each axis.",
    signature: "(x: any[..s]) -> any[..(stop - start) / step rounded up]",
    attrs: &[("start", AttrKind::Sizes), ("stop", AttrKind::Sizes), ("step", AttrKind::Ints)],
    infer: infer_slice,
    gradient: Gradient::Rule(slice_rule),
    rows: Rows::Rule(|lift| {
        let attrs = Attrs::none()
            .with("start", lead_sizes(lift.attrs, "start", Size::known(0)))
            .with("stop", lead_sizes(lift.attrs, "stop", lift.rows.clone()))
            .with("step", lead_ints(lift.attrs, "step", 1));
        lift.builder.apply(&SLICE, lift.operands, attrs)
    }),
    kernel: |call| {
        let (start, step) = (check::numbers(call.attrs, "start")?, check::numbers(call.attrs, "step")?);
        let (result_shape, have) = (&call.results[0].shape, call.inputs[0].dims());
        for axis in 0..have.len() {
            let last = start[axis] + result_shape[axis].saturating_sub(1) * step[axis];
            if result_shape[axis] > 0 && last >= have[axis] {
                candle_core::bail!("a slice reaches element {last} of axis {axis}, which has {}", have[axis])
            }
        }
        result(layout::slice(&call.inputs[0], &start, &step, result_shape))
    },
    flops: NO_COST,
    domain: Domain::Special("the bounds are attributes"),
    examples: &["[1.0, 2.0, 3.0, 4.0][1..3] == [2.0, 3.0]"],
};

fn infer_slice(infer: &Infer<'_>) -> Inferred {
    let [x] = check::operands(infer)?;
    let (start, stop) = (check::sizes(infer, "start")?, check::sizes(infer, "stop")?);
    let step = check::ints(infer, "step")?;
    check::for_each_axis(start, "start", 0, x)?;
    check::for_each_axis(stop, "stop", 0, x)?;
    check::for_each_axis(step, "step", 0, x)?;
    let mut sizes = Vec::with_capacity(x.rank());
    for (axis, size) in x.shape.iter().enumerate() {
        if step[axis] < 1 {
            return Err(misfit(Code::BadValue, format!("a step of {} goes nowhere", step[axis])));
        }
        let length = stop[axis].sub(&start[axis]).map_err(check::overflow)?;
        let beyond = size.sub(&stop[axis]).map_err(check::overflow)?;
        let negative = |size: &Size| size.as_known().is_some_and(|n| n < 0);
        if negative(&length) || negative(&beyond) || negative(&start[axis]) {
            let headline = format!("there is no part {}..{} of {size} elements", start[axis], stop[axis]);
            return Err(misfit(Code::IndexRange, headline)
                .fact(0, format!("{x}: {} size is {size}", check::place(axis, x.rank()))));
        }
        let rounded = length.add(&Size::known(step[axis] - 1)).map_err(check::overflow)?;
        sizes.push(rounded.div_floor(&Size::known(step[axis])).unwrap_or(length));
    }
    one(x.with_shape(sizes))
}

/// Puts the cotangent back to where it was taken, zeros around and between.
fn slice_rule(vjp: &mut Vjp<'_>) -> Vec<Option<Value>> {
    let attrs = vjp.attrs();
    let (start, step) = (attrs.sizes("start").unwrap_or(&[]), attrs.ints("step").unwrap_or(&[]));
    let (from, to) = (vjp.ty(vjp.operand(0)), vjp.ty(vjp.result(0)));
    let cotangent = vjp.cotangents[0].map(|g| {
        if to.shape.iter().any(|size| size.is(0)) {
            return vjp.builder.splat(0.0, &from);
        }
        let high = (0..from.rank()).map(|axis| {
            // What is left of the axis behind the last element taken.
            let before = to.shape[axis].sub(&Size::known(1))?.mul(&Size::known(step[axis]))?.add(&start[axis])?;
            from.shape[axis].sub(&before)?.sub(&Size::known(1))
        });
        let high: Vec<Size> = high.map(|size| within(size, "slice")).collect();
        let inner: Vec<i64> = step.iter().map(|step| step - 1).collect();
        let padded = vjp.builder.pad(g, start, &high, &inner, 0.0);
        // Sizes that only agree as numbers are written as the operand has them.
        vjp.builder.reshape(padded, &from.shape)
    });
    vec![cotangent]
}

/// A size that the forward op already computed with.
fn within(size: Result<Size, crate::graph::Overflow>, op: &str) -> Size {
    size.unwrap_or_else(|_| panic!("internal: a size of `{op}` overflows in its gradient only"))
}

pub static PAD: Op = Op {
    name: "pad",
    doc: "A value around a tensor, `low` times before and `high` times after it, and `inner` times between its elements.",
    signature: "(x: any[..s]) -> any[..low + s + (s - 1) * inner + high]",
    attrs: &[
        ("low", AttrKind::Sizes),
        ("high", AttrKind::Sizes),
        ("inner", AttrKind::Ints),
        ("value", AttrKind::Float),
    ],
    infer: infer_pad,
    gradient: Gradient::Rule(pad_rule),
    rows: Rows::Rule(|lift| {
        let attrs = Attrs::none()
            .with("low", lead_sizes(lift.attrs, "low", Size::known(0)))
            .with("high", lead_sizes(lift.attrs, "high", Size::known(0)))
            .with("inner", lead_ints(lift.attrs, "inner", 0))
            .with("value", Attr::Float(lift.attrs.float("value").unwrap_or(0.0)));
        lift.builder.apply(&PAD, lift.operands, attrs)
    }),
    kernel: |call| {
        let (low, inner) = (check::numbers(call.attrs, "low")?, check::numbers(call.attrs, "inner")?);
        let value = call.attrs.float("value").unwrap_or(0.0);
        result(layout::pad(&call.inputs[0], &low, &inner, &call.results[0].shape, value))
    },
    flops: NO_COST,
    domain: Domain::Special("the widths are attributes"),
    examples: &["pad([1.0], low: [1], high: [2], inner: [0], value: 0.0) == [0.0, 1.0, 0.0, 0.0]"],
};

fn infer_pad(infer: &Infer<'_>) -> Inferred {
    let [x] = check::operands(infer)?;
    let (low, high) = (check::sizes(infer, "low")?, check::sizes(infer, "high")?);
    let inner = check::ints(infer, "inner")?;
    check::for_each_axis(low, "low", 0, x)?;
    check::for_each_axis(high, "high", 0, x)?;
    check::for_each_axis(inner, "inner", 0, x)?;
    let mut sizes = Vec::with_capacity(x.rank());
    for (axis, size) in x.shape.iter().enumerate() {
        let negative = |size: &Size| size.as_known().is_some_and(|n| n < 0);
        if negative(&low[axis]) || negative(&high[axis]) || inner[axis] < 0 {
            return Err(misfit(Code::BadValue, format!("a padding of axis {axis} is negative")));
        }
        let total = || {
            let spread = if size.is(0) { size.clone() } else { size.sub(&Size::known(1))?.mul(&inner[axis].into())? };
            low[axis].add(&high[axis])?.add(size)?.add(&spread)
        };
        sizes.push(total().map_err(check::overflow)?);
    }
    one(x.with_shape(sizes))
}

fn pad_rule(vjp: &mut Vjp<'_>) -> Vec<Option<Value>> {
    let attrs = vjp.attrs();
    let (low, high) = (attrs.sizes("low").unwrap_or(&[]), attrs.sizes("high").unwrap_or(&[]));
    let inner = attrs.ints("inner").unwrap_or(&[]);
    let (from, to) = (vjp.ty(vjp.operand(0)), vjp.ty(vjp.result(0)));
    let stop: Vec<Size> = to.shape.iter().zip(high).map(|(size, high)| within(size.sub(high), "pad")).collect();
    let step: Vec<i64> = inner.iter().map(|inner| inner + 1).collect();
    let cotangent = vjp.cotangents[0].map(|g| {
        let part = vjp.builder.slice(g, low, &stop, &step);
        vjp.builder.reshape(part, &from.shape)
    });
    vec![cotangent]
}

pub static CONCAT: Op = Op {
    name: "concat",
    doc: "Tensors one after the other along an axis.",
    signature: "(a: any[..s], b: any[..s], …) -> any[..s, sizes along the axis added]",
    attrs: &[("axis", AttrKind::Int)],
    infer: infer_concat,
    gradient: Gradient::Rule(concat_rule),
    rows: Rows::Rule(|lift| lift.builder.apply(&CONCAT, lift.operands, check::shifted_axes(lift.attrs))),
    kernel: |call| result(layout::concat(call.inputs, check::one_number(call.attrs, "axis")?)),
    flops: NO_COST,
    domain: Domain::Special("the axis is an attribute"),
    examples: &["concat([1.0], [2.0, 3.0], axis: 0) == [1.0, 2.0, 3.0]"],
};

fn infer_concat(infer: &Infer<'_>) -> Inferred {
    let Some((first, rest)) = infer.types.split_first() else {
        return Err(misfit(Code::ArgumentCount, "an operand is needed"));
    };
    let axis = check::axis(infer, "axis", 0)?;
    let mut ty = (*first).clone();
    for (at, other) in rest.iter().enumerate() {
        let mut aligned = (*other).clone();
        if aligned.rank() == first.rank() {
            aligned.shape[axis] = first.shape[axis].clone();
        }
        check::same_type((0, first), (at + 1, &aligned))?;
        ty.shape[axis] = ty.shape[axis].add(&other.shape[axis]).map_err(check::overflow)?;
    }
    one(ty)
}

fn concat_rule(vjp: &mut Vjp<'_>) -> Vec<Option<Value>> {
    let axis = vjp.attrs().int("axis").unwrap_or(0) as usize;
    let operands = vjp.builder.graph().node(vjp.node).operands.clone();
    let Some(g) = vjp.cotangents[0] else { return vec![None; operands.len()] };
    let mut start = Size::known(0);
    let part = |operand: &Value| {
        let stop = within(start.add(&vjp.builder.ty(*operand).shape[axis]), "concat");
        let from = std::mem::replace(&mut start, stop.clone());
        Some(vjp.builder.slice_axis(g, axis, from, stop))
    };
    operands.iter().map(part).collect()
}

pub static FLIP: Op = Op {
    name: "flip",
    doc: "The order turned round along axes.",
    signature: "(x: any[..s]) -> any[..s]",
    attrs: &[("axes", AttrKind::Ints)],
    infer: |infer| {
        let [x] = check::operands(infer)?;
        check::axes(infer, "axes", 0)?;
        one(x.clone())
    },
    gradient: Gradient::Rule(|vjp| {
        let attrs = vjp.attrs();
        let axes: Vec<usize> = attrs.ints("axes").unwrap_or(&[]).iter().map(|axis| *axis as usize).collect();
        vec![vjp.cotangents[0].map(|g| vjp.builder.flip(g, &axes))]
    }),
    rows: Rows::Rule(|lift| lift.builder.apply(&FLIP, lift.operands, check::shifted_axes(lift.attrs))),
    kernel: |call| result(layout::flip(&call.inputs[0], &check::numbers(call.attrs, "axes")?)),
    flops: NO_COST,
    domain: Domain::Special("the axes are an attribute"),
    examples: &["flip([1.0, 2.0, 3.0], axis: 0) == [3.0, 2.0, 1.0]"],
};
