//! Ops that fold axes: sums, products, extremes, running sums.

use super::check::{self, ONE_EACH, ONE_EACH_INPUT, one, one_each, result};
use super::*;
use crate::graph::{DType, Size};
use crate::kernels::elementwise as loops;
use crate::kernels::reduce::{self, Fold};

pub const OPS: &[&Op] = &[&SUM, &MAX, &MIN, &PROD, &ARGMAX, &ARGMIN, &CUMSUM, &CUMPROD, &ACCUMULATE];

const AXES: &[(&str, AttrKind)] = &[("axes", AttrKind::Ints)];
const AXIS: &[(&str, AttrKind)] = &[("axis", AttrKind::Int)];

/// The operand without the folded axes.
fn without_axes(infer: &Infer<'_>) -> Result<Types, Mismatch> {
    let [x] = check::operands(infer)?;
    check::number(0, x)?;
    let axes = check::axes(infer, "axes", 0)?;
    let kept = x.shape.iter().enumerate().filter(|(axis, _)| !axes.contains(axis));
    one(x.with_shape(kept.map(|(_, size)| size.clone())))
}

fn fold(call: &Call<'_>, op: Fold) -> candle_core::Result<Results> {
    result(reduce::fold(&call.inputs[0], &check::numbers(call.attrs, "axes")?, op))
}

/// The position along an axis.
fn positions(infer: &Infer<'_>) -> Result<Types, Mismatch> {
    let [x] = check::operands(infer)?;
    check::number(0, x)?;
    let mut ty = x.with_dtype(DType::I64);
    ty.shape.remove(check::axis(infer, "axis", 0)?);
    one(ty)
}

fn arg(call: &Call<'_>, largest: bool) -> candle_core::Result<Results> {
    result(reduce::arg(&call.inputs[0], check::one_number(call.attrs, "axis")?, largest))
}

/// Lifts by counting axes one further in.
fn shift(lift: &mut Lift<'_>, op: &'static Op) -> Result<Value, Mismatch> {
    lift.builder.apply(op, lift.operands, check::shifted_axes(lift.attrs))
}

/// The folded axes of the node of a rule and the shape of its operand.
fn folded(vjp: &Vjp<'_>) -> (Vec<usize>, Vec<Size>) {
    let axes = vjp.attrs().ints("axes").unwrap_or(&[]).iter().map(|axis| *axis as usize).collect();
    (axes, vjp.ty(vjp.operand(0)).shape.to_vec())
}

pub static SUM: Op = Op {
    name: "sum",
    doc: "The sum over axes; 0 over none.",
    signature: "(x: number[..s]) -> number[..s without axes]",
    attrs: AXES,
    infer: without_axes,
    gradient: Gradient::Rule(|vjp| {
        let (axes, shape) = folded(vjp);
        vec![vjp.cotangents[0].map(|g| vjp.builder.spread(g, &shape, &axes))]
    }),
    rows: Rows::Rule(|lift| shift(lift, &SUM)),
    kernel: |call| fold(call, Fold::Sum),
    flops: ONE_EACH_INPUT,
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["sum([[1.0, 2.0], [3.0, 4.0]], axis: 0) == [4.0, 6.0]"],
};

pub static MAX: Op = Op {
    name: "max",
    doc: "The largest element over axes, NaN if there is one. Equal elements share the gradient.",
    signature: "(x: number[..s]) -> number[..s without axes]",
    attrs: AXES,
    infer: without_axes,
    gradient: Gradient::Rule(extreme_rule),
    rows: Rows::Rule(|lift| shift(lift, &MAX)),
    kernel: |call| fold(call, Fold::Max),
    flops: ONE_EACH_INPUT,
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["max([[1.0, 2.0], [3.0, 0.0]], axis: 0) == [3.0, 2.0]"],
};

pub static MIN: Op = Op {
    name: "min",
    doc: "The smallest element over axes, NaN if there is one. Equal elements share the gradient.",
    signature: "(x: number[..s]) -> number[..s without axes]",
    attrs: AXES,
    infer: without_axes,
    gradient: Gradient::Rule(extreme_rule),
    rows: Rows::Rule(|lift| shift(lift, &MIN)),
    kernel: |call| fold(call, Fold::Min),
    flops: ONE_EACH_INPUT,
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["min([[1.0, 2.0], [3.0, 0.0]], axis: 0) == [1.0, 0.0]"],
};

/// `dx = g * m / sum(m)` where `m` is 1 at the elements that are the extreme.
fn extreme_rule(vjp: &mut Vjp<'_>) -> Vec<Option<Value>> {
    let (axes, shape) = folded(vjp);
    let (x, y) = (vjp.operand(0), vjp.result(0));
    let dtype = vjp.ty(x).dtype;
    let b = &mut *vjp.builder;
    let cotangent = vjp.cotangents[0].map(|g| {
        let extreme = b.spread(y, &shape, &axes);
        let is_extreme = b.eq(x, extreme);
        let mask = b.cast(is_extreme, dtype);
        let count = b.sum(mask, &axes);
        let share = b.div(g, count);
        let share = b.spread(share, &shape, &axes);
        b.mul(mask, share)
    });
    vec![cotangent]
}

pub static PROD: Op = Op {
    name: "prod",
    doc: "The product over axes; 1 over none. Its gradient is right at zeros too, its second gradient only where at most \
          one element of a product is 0.",
    signature: "(x: number[..s]) -> number[..s without axes]",
    attrs: AXES,
    infer: without_axes,
    gradient: Gradient::Rule(prod_rule),
    rows: Rows::Rule(|lift| shift(lift, &PROD)),
    kernel: |call| fold(call, Fold::Prod),
    flops: ONE_EACH_INPUT,
    domain: Domain::Uniform(0.5, 2.0),
    examples: &["prod([[1.0, 2.0], [3.0, 4.0]], axis: 0) == [3.0, 8.0]"],
};

/// The product of the others: `p / x` where nothing is 0, and `p` at a single 0, with `p` the product of what is not 0.
fn prod_rule(vjp: &mut Vjp<'_>) -> Vec<Option<Value>> {
    let (axes, shape) = folded(vjp);
    let x = vjp.operand(0);
    let dtype = vjp.ty(x).dtype;
    let b = &mut *vjp.builder;
    let cotangent = vjp.cotangents[0].map(|g| {
        let (zero, one) = (b.splat_like(0.0, x), b.splat_like(1.0, x));
        let is_zero = b.eq(x, zero);
        let filled = b.select(is_zero, one, x);
        let product = b.prod(filled, &axes);
        let product = b.mul(product, g);
        let product = b.spread(product, &shape, &axes);
        let mask = b.cast(is_zero, dtype);
        let zeros = b.sum(mask, &axes);
        let zeros = b.spread(zeros, &shape, &axes);
        let others = b.sub(zeros, mask);
        let alone = b.eq(others, zero);
        let quotient = b.div(product, filled);
        b.select(alone, quotient, zero)
    });
    vec![cotangent]
}

pub static ARGMAX: Op = Op {
    name: "argmax",
    doc: "The first position of the largest element along an axis; NaN counts as the largest.",
    signature: "(x: number[..s]) -> int[..s without axis]",
    attrs: AXIS,
    infer: positions,
    gradient: Gradient::None("integer result"),
    rows: Rows::Rule(|lift| shift(lift, &ARGMAX)),
    kernel: |call| arg(call, true),
    flops: ONE_EACH_INPUT,
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["argmax([[1.0, 5.0, 2.0]], axis: 1) == [1]"],
};

pub static ARGMIN: Op = Op {
    name: "argmin",
    doc: "The first position of the smallest element along an axis; NaN counts as the smallest.",
    signature: "(x: number[..s]) -> int[..s without axis]",
    attrs: AXIS,
    infer: positions,
    gradient: Gradient::None("integer result"),
    rows: Rows::Rule(|lift| shift(lift, &ARGMIN)),
    kernel: |call| arg(call, false),
    flops: ONE_EACH_INPUT,
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["argmin([[1.0, 5.0, 0.5]], axis: 1) == [2]"],
};

pub static CUMSUM: Op = Op {
    name: "cumsum",
    doc: "Running sums along an axis, each with its own element.",
    signature: "(x: number[..s]) -> number[..s]",
    attrs: AXIS,
    infer: |infer| {
        let [x] = check::operands(infer)?;
        check::number(0, x)?;
        check::axis(infer, "axis", 0)?;
        one(x.clone())
    },
    gradient: Gradient::Rule(|vjp| {
        let axis = vjp.attrs().int("axis").unwrap_or(0) as usize;
        let cotangent = vjp.cotangents[0].map(|g| {
            let turned = vjp.builder.flip(g, &[axis]);
            let sums = vjp.builder.cumsum(turned, axis);
            vjp.builder.flip(sums, &[axis])
        });
        vec![cotangent]
    }),
    rows: Rows::Rule(|lift| shift(lift, &CUMSUM)),
    kernel: |call| result(reduce::cumsum(&call.inputs[0], check::one_number(call.attrs, "axis")?)),
    flops: ONE_EACH,
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["cumsum([1.0, 2.0, 3.0], axis: 0) == [1.0, 3.0, 6.0]"],
};

pub static CUMPROD: Op = Op {
    name: "cumprod",
    doc: "Running products along an axis, each with its own element. The gradient is exact where elements are 0; it takes \
          memory and time of the axis' length for each element.",
    signature: "(x: float[..s]) -> float[..s]",
    attrs: AXIS,
    infer: |infer| {
        let [x] = check::operands(infer)?;
        check::float(0, x)?;
        check::axis(infer, "axis", 0)?;
        one(x.clone())
    },
    // x'_i = (the product before i) * sum over j >= i of y'_j * (the product behind i up to j)
    gradient: Gradient::Rule(|vjp| {
        let axis = vjp.attrs().int("axis").unwrap_or(0) as usize;
        let x = vjp.operand(0);
        let cotangent = vjp.cotangents[0].map(|g| products_without(vjp.builder, x, g, axis));
        vec![cotangent]
    }),
    rows: Rows::Rule(|lift| shift(lift, &CUMPROD)),
    kernel: |call| result(reduce::cumprod(&call.inputs[0], check::one_number(call.attrs, "axis")?)),
    flops: ONE_EACH,
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["cumprod([2.0, 3.0, 4.0], axis: 0) == [2.0, 6.0, 24.0]"],
};

/// The cotangent of running products, in a square of the axis: `i` on a new axis at its place, `j` behind it.
fn products_without(rule: &mut Builder, x: Value, g: Value, axis: usize) -> Value {
    let ty = rule.ty(x).clone();
    let size = ty.shape[axis].clone();
    let mut square = ty.shape.to_vec();
    square.insert(axis, size.clone());
    let without = |gone: usize| (0..square.len()).filter(|at| *at != gone).collect::<Vec<_>>();
    let line = rule.iota(size.clone());
    let (i, j) = (rule.broadcast(line, &square, &[axis]), rule.broadcast(line, &square, &[axis + 1]));
    let wide = rule.broadcast(x, &square, &without(axis));
    let ones = rule.splat_like(1.0, wide);
    let behind = rule.gt(j, i);
    let behind = rule.select(behind, wide, ones);
    let behind = rule.must(&CUMPROD, &[behind], Attrs::none().with("axis", crate::graph::Attr::Int(axis as i64 + 1)));
    let g = rule.broadcast(g, &square, &without(axis));
    let terms = rule.mul(g, behind);
    let (reached, zeros) = (rule.ge(j, i), rule.splat_like(0.0, wide));
    let terms = rule.select(reached, terms, zeros);
    let sums = rule.sum(terms, &[axis + 1]);
    let ones = rule.splat_like(1.0, wide);
    let earlier = rule.lt(j, i);
    let earlier = rule.select(earlier, wide, ones);
    let before = rule.prod(earlier, &[axis + 1]);
    rule.mul(before, sums)
}

pub static ACCUMULATE: Op = Op {
    name: "accumulate",
    doc: "The sum of all operands, in order: how cotangents of one value meet.",
    signature: "(a: number[..s], b: number[..s], …) -> number[..s]",
    attrs: &[],
    infer: |infer| {
        let first = check::alike(infer)?;
        check::number(0, first)?;
        one(first.clone())
    },
    gradient: Gradient::Rule(|vjp| {
        let count = vjp.builder.graph().node(vjp.node).operands.len();
        vec![vjp.cotangents[0]; count]
    }),
    rows: Rows::Leading,
    kernel: |call| result(loops::accumulate(call.inputs)),
    flops: Flops(|cost| one_each(cost) * cost.inputs.len().saturating_sub(1) as f64, "1 a number and addition"),
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["accumulate([1.0, 2.0], [3.0, 4.0], [5.0, 6.0]) == [9.0, 12.0]"],
};
