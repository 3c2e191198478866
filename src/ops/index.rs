//! Ops whose positions are data: taking and scattering along an axis, sorting, one-hot rows.
//!
//! Positions out of range are an error of the run that names the index, where it stands, and the size of the axis; a
//! negative one is out of range. To say so, positions are read by the host before a kernel on another device starts.

use candle_core::{Device, Tensor};

use super::check::NO_COST;
use super::fit::{bad, mismatch, product};
use super::*;
use crate::diagnostics::Code;
use crate::graph::{Attr, DType, Shape, Size};
use crate::kernels::index::{self, Axis};
use crate::kernels::{Elements, contiguous, on_cpu, stored, with_element};

pub const OPS: &[&Op] = &[&TAKE, &SCATTER_ADD, &SCATTER_SET, &TAKE_ALONG, &SCATTER_ADD_ALONG, &SORT, &ONE_HOT];

const AXIS: &[(&str, AttrKind)] = &[("axis", AttrKind::Int)];

pub static TAKE: Op = Op {
    name: "take",
    doc: "The slices of `x` along an axis at the positions of `index`; the axis is replaced by the axes of `index`.",
    signature: "(x: [..p, n, ..s], index: int[..i]) -> [..p, ..i, ..s]",
    attrs: AXIS,
    infer: |infer| {
        let [x, index] = infer.operands("take")?;
        let axis = infer.axis("take")?;
        infer.index("take", 1)?;
        Ok(Types::from_elem(x.with_shape(replaced(&x.shape, axis, &index.shape)), 1))
    },
    gradient: Gradient::Rule(|vjp| {
        let Some(dy) = vjp.cotangents[0] else { return vec![None, None] };
        let (x, index, attrs) = (vjp.operand(0), vjp.operand(1), vjp.attrs());
        let axis = axis_of(&attrs);
        let rule = &mut *vjp.builder;
        let ty = rule.ty(x).clone();
        let count = product(&rule.ty(index).shape.clone());
        let flat = rule.reshape(index, std::slice::from_ref(&count));
        let dy = rule.reshape(dy, &replaced(&ty.shape, axis, std::slice::from_ref(&count)));
        let zeros = rule.splat(0.0, &ty);
        vec![Some(rule.must(&SCATTER_ADD, &[zeros, flat, dy], attrs)), None]
    }),
    rows: Rows::Rule(|lift| {
        let (x, index, axis) = (lift.operands[0], lift.operands[1], axis_of(lift.attrs) + 1);
        let rule = &mut *lift.builder;
        let (ty, positions) = (rule.ty(x).clone(), rule.ty(index).shape.clone());
        let along = spread(rule, index, &ty.shape, axis);
        let taken = rule.apply(&TAKE_ALONG, &[x, along], with_axis(axis))?;
        Ok(lift.builder.reshape(taken, &replaced(&ty.shape, axis, &positions[1..])))
    }),
    kernel: |call| {
        let (x, index, axis) = (&call.inputs[0], &call.inputs[1], axis_of(call.attrs));
        let shape = &call.results[0].shape;
        let positions = positions("take", index, x.dim(axis)?)?;
        if !on_cpu(x) {
            let flat = contiguous(index)?.flatten_all()?;
            return Ok(Results::from_elem(contiguous(x)?.index_select(&flat, axis)?.reshape(shape.as_slice())?, 1));
        }
        let taken = with_element!(x.dtype(), T => {
            let x = contiguous(x)?;
            let taken = index::take(&Elements::<T>::of(&x)?, Axis::of(x.dims(), axis), &positions);
            Tensor::from_vec(taken, shape.as_slice(), &Device::Cpu)?
        });
        Ok(Results::from_elem(taken, 1))
    },
    flops: NO_COST,
    domain: Domain::Special("positions must be in range"),
    examples: &["take([10.0, 20.0, 30.0], [2, 0], axis: 0) == [30.0, 10.0]"],
};

pub static SCATTER_ADD: Op = Op {
    name: "scatter_add",
    doc: "`x` with slices of `updates` added along an axis at the positions of `index`; a position may occur again.",
    signature: "(x: [..p, n, ..s], index: int[k], updates: [..p, k, ..s]) -> [..p, n, ..s]",
    attrs: AXIS,
    infer: |infer| {
        numeric(infer, "scatter_add")?;
        scattered(infer, "scatter_add")
    },
    gradient: Gradient::Rule(|vjp| {
        let Some(dy) = vjp.cotangents[0] else { return vec![None; 3] };
        let (index, attrs) = (vjp.operand(1), vjp.attrs());
        let updates = vjp.builder.must(&TAKE, &[dy, index], attrs);
        vec![Some(dy), None, Some(updates)]
    }),
    rows: Rows::Rule(|lift| {
        let (x, index, updates) = (lift.operands[0], lift.operands[1], lift.operands[2]);
        let axis = axis_of(lift.attrs) + 1;
        let rule = &mut *lift.builder;
        let shape = rule.ty(x).shape.clone();
        let along = spread(rule, index, &shape, axis);
        rule.apply(&SCATTER_ADD_ALONG, &[x, along, updates], with_axis(axis))
    }),
    kernel: |call| {
        let (x, index, updates) = (&call.inputs[0], &call.inputs[1], &call.inputs[2]);
        let axis = axis_of(call.attrs);
        let positions = positions("scatter_add", index, x.dim(axis)?)?;
        if !on_cpu(x) {
            let sum = contiguous(x)?.index_add(&contiguous(index)?, &contiguous(updates)?, axis)?;
            return Ok(Results::from_elem(sum, 1));
        }
        let (x, updates) = (contiguous(x)?, contiguous(updates)?);
        macro_rules! add {
            ($element:ty, $put:expr) => {{
                let mut out = Elements::<$element>::of(&x)?.to_vec();
                let updates = Elements::<$element>::of(&updates)?;
                index::scatter(&mut out, Axis::of(x.dims(), axis), &positions, &updates, $put);
                Tensor::from_vec(out, x.dims(), &Device::Cpu)?
            }};
        }
        let sum = match x.dtype() {
            candle_core::DType::F32 => add!(f32, |x, u| *x += u),
            candle_core::DType::F64 => add!(f64, |x, u| *x += u),
            _ => add!(i64, |x, u| *x = x.wrapping_add(u)),
        };
        Ok(Results::from_elem(sum, 1))
    },
    flops: Flops(|cost| cost.inputs[2].count() as f64, "1 a number that is added"),
    domain: Domain::Special("positions must be in range"),
    examples: &["scatter_add([1.0, 1.0, 1.0], [2, 0, 2], [5.0, 6.0, 7.0], axis: 0) == [7.0, 1.0, 13.0]"],
};

pub static SCATTER_SET: Op = Op {
    name: "scatter_set",
    doc: "`x` with slices of `updates` instead of its own along an axis at the positions of `index`. No position may \
          occur twice: which one would win is not said anywhere.",
    signature: "(x: [..p, n, ..s], index: int[k], updates: [..p, k, ..s]) -> [..p, n, ..s]",
    attrs: AXIS,
    infer: |infer| scattered(infer, "scatter_set"),
    gradient: Gradient::Rule(|vjp| {
        let Some(dy) = vjp.cotangents[0] else { return vec![None; 3] };
        let (index, updates, attrs) = (vjp.operand(1), vjp.operand(2), vjp.attrs());
        let rule = &mut *vjp.builder;
        let ty = rule.ty(updates).clone();
        let zeros = rule.splat(0.0, &ty);
        let x = rule.must(&SCATTER_SET, &[dy, index, zeros], attrs.clone());
        let updates = rule.must(&TAKE, &[dy, index], attrs);
        vec![Some(x), None, Some(updates)]
    }),
    // What is written is summed into zeros and replaces `x` where a count of writes, found the same way, is not 0.
    rows: Rows::Rule(|lift| {
        let (x, index, updates) = (lift.operands[0], lift.operands[1], lift.operands[2]);
        let axis = axis_of(lift.attrs) + 1;
        let rule = &mut *lift.builder;
        let (ty, written) = (rule.ty(x).clone(), rule.ty(updates).clone());
        if !(ty.dtype.is_float() || ty.dtype == DType::I64) {
            return Err(bad(format!("scatter_set of {} cannot be done for each row", ty.dtype.name())));
        }
        let along = spread(rule, index, &ty.shape, axis);
        let (zeros, ones) = (rule.splat(0.0, &ty), rule.splat(1.0, &written));
        let count = rule.apply(&SCATTER_ADD_ALONG, &[zeros, along, ones], with_axis(axis))?;
        let sum = rule.apply(&SCATTER_ADD_ALONG, &[zeros, along, updates], with_axis(axis))?;
        let kept = rule.eq(count, zeros);
        Ok(rule.select(kept, x, sum))
    }),
    kernel: |call| {
        let (x, index, updates) = (&call.inputs[0], &call.inputs[1], &call.inputs[2]);
        let axis = axis_of(call.attrs);
        let size = x.dim(axis)?;
        let positions = positions("scatter_set", index, size)?;
        index::check_distinct("scatter_set", &positions, size)?;
        let (x, updates) = (contiguous(x)?, contiguous(updates)?);
        if !on_cpu(&x) {
            let mut line = vec![1; updates.rank()];
            line[axis] = positions.len();
            let along = contiguous(&contiguous(index)?.reshape(line)?.broadcast_as(updates.dims())?)?;
            return Ok(Results::from_elem(x.scatter(&along, &updates, axis)?, 1));
        }
        let set = with_element!(x.dtype(), T => {
            let mut out = Elements::<T>::of(&x)?.to_vec();
            let updates = Elements::<T>::of(&updates)?;
            index::scatter(&mut out, Axis::of(x.dims(), axis), &positions, &updates, |x, u| *x = u);
            Tensor::from_vec(out, x.dims(), &Device::Cpu)?
        });
        Ok(Results::from_elem(set, 1))
    },
    flops: NO_COST,
    domain: Domain::Special("positions must be in range and distinct"),
    examples: &["scatter_set([1.0, 2.0, 3.0], [2, 0], [5.0, 6.0], axis: 0) == [6.0, 2.0, 5.0]"],
};

pub static TAKE_ALONG: Op = Op {
    name: "take_along",
    doc: "For each place of `index` the element of `x` at that position of the axis and at the same other coordinates.",
    signature: "(x: [..p, n, ..s], index: int[..p, k, ..s]) -> [..p, k, ..s]",
    attrs: AXIS,
    infer: |infer| {
        let [x, index] = infer.operands("take_along")?;
        let axis = infer.axis("take_along")?;
        infer.index("take_along", 1)?;
        like_but(infer, "take_along", 1, axis)?;
        Ok(Types::from_elem(x.with_shape(index.shape.iter().cloned()), 1))
    },
    gradient: Gradient::Rule(|vjp| {
        let Some(dy) = vjp.cotangents[0] else { return vec![None, None] };
        let (x, index, attrs) = (vjp.operand(0), vjp.operand(1), vjp.attrs());
        let rule = &mut *vjp.builder;
        let ty = rule.ty(x).clone();
        let zeros = rule.splat(0.0, &ty);
        vec![Some(rule.must(&SCATTER_ADD_ALONG, &[zeros, index, dy], attrs)), None]
    }),
    rows: Rows::Rule(|lift| lift.builder.apply(&TAKE_ALONG, lift.operands, with_axis(axis_of(lift.attrs) + 1))),
    kernel: |call| {
        let (x, index, axis) = (contiguous(&call.inputs[0])?, contiguous(&call.inputs[1])?, axis_of(call.attrs));
        let positions = positions("take_along", &index, x.dim(axis)?)?;
        if !on_cpu(&x) {
            return Ok(Results::from_elem(x.gather(&index, axis)?, 1));
        }
        let taken = with_element!(x.dtype(), T => {
            let count = index.dim(axis)?;
            let taken = index::take_along(&Elements::<T>::of(&x)?, Axis::of(x.dims(), axis), &positions, count);
            Tensor::from_vec(taken, index.dims(), &Device::Cpu)?
        });
        Ok(Results::from_elem(taken, 1))
    },
    flops: NO_COST,
    domain: Domain::Special("positions must be in range"),
    examples: &["take_along([[1.0, 2.0], [3.0, 4.0]], [[1], [0]], axis: 1) == [[2.0], [3.0]]"],
};

pub static SCATTER_ADD_ALONG: Op = Op {
    name: "scatter_add_along",
    doc: "`x` with each element of `updates` added at the position of the axis that `index` has in the same place: the \
          adjoint of `take_along`.",
    signature: "(x: [..p, n, ..s], index: int[..p, k, ..s], updates: [..p, k, ..s]) -> [..p, n, ..s]",
    attrs: AXIS,
    infer: |infer| {
        let [x, index, updates] = infer.operands("scatter_add_along")?;
        numeric(infer, "scatter_add_along")?;
        let axis = infer.axis("scatter_add_along")?;
        infer.index("scatter_add_along", 1)?;
        infer.same_dtype(0, 2)?;
        like_but(infer, "scatter_add_along", 1, axis)?;
        infer.rank("scatter_add_along", 2, index.rank(), false)?;
        (0..updates.rank()).try_for_each(|at| infer.equal((1, at), (2, at)))?;
        Ok(Types::from_elem(x.clone(), 1))
    },
    gradient: Gradient::Rule(|vjp| {
        let Some(dy) = vjp.cotangents[0] else { return vec![None; 3] };
        let (index, attrs) = (vjp.operand(1), vjp.attrs());
        let updates = vjp.builder.must(&TAKE_ALONG, &[dy, index], attrs);
        vec![Some(dy), None, Some(updates)]
    }),
    rows: Rows::Rule(|lift| lift.builder.apply(&SCATTER_ADD_ALONG, lift.operands, with_axis(axis_of(lift.attrs) + 1))),
    kernel: |call| {
        let (x, index) = (contiguous(&call.inputs[0])?, contiguous(&call.inputs[1])?);
        let (updates, axis) = (contiguous(&call.inputs[2])?, axis_of(call.attrs));
        let positions = positions("scatter_add_along", &index, x.dim(axis)?)?;
        if !on_cpu(&x) {
            return Ok(Results::from_elem(x.scatter_add(&index, &updates, axis)?, 1));
        }
        let count = index.dim(axis)?;
        macro_rules! add {
            ($element:ty, $put:expr) => {{
                let mut out = Elements::<$element>::of(&x)?.to_vec();
                let updates = Elements::<$element>::of(&updates)?;
                index::scatter_along(&mut out, Axis::of(x.dims(), axis), &positions, &updates, count, $put);
                Tensor::from_vec(out, x.dims(), &Device::Cpu)?
            }};
        }
        let sum = match x.dtype() {
            candle_core::DType::F32 => add!(f32, |x, u| *x += u),
            candle_core::DType::F64 => add!(f64, |x, u| *x += u),
            _ => add!(i64, |x, u| *x = x.wrapping_add(u)),
        };
        Ok(Results::from_elem(sum, 1))
    },
    flops: Flops(|cost| cost.inputs[2].count() as f64, "1 a number that is added"),
    domain: Domain::Special("positions must be in range"),
    examples: &["scatter_add_along([[0.0, 0.0]], [[1, 1]], [[2.0, 3.0]], axis: 1) == [[0.0, 5.0]]"],
};

pub static SORT: Op = Op {
    name: "sort",
    doc: "The elements in order along an axis, and the positions they had. Equal elements keep their order in either \
          direction; NaN comes last. Other devices than the CPU sort on the host.",
    signature: "(x: [..s]) -> ([..s], int[..s])",
    attrs: &[("axis", AttrKind::Int), ("descending", AttrKind::Bool)],
    infer: |infer| {
        let [x] = infer.operands("sort")?;
        infer.axis("sort")?;
        Ok([x.clone(), x.with_dtype(DType::I64)].into_iter().collect())
    },
    gradient: Gradient::Rule(|vjp| {
        let Some(dy) = vjp.cotangents[0] else { return vec![None] };
        let (x, positions, axis) = (vjp.operand(0), vjp.result(1), axis_of(&vjp.attrs()));
        let rule = &mut *vjp.builder;
        let ty = rule.ty(x).clone();
        let zeros = rule.splat(0.0, &ty);
        vec![Some(rule.must(&SCATTER_ADD_ALONG, &[zeros, positions, dy], with_axis(axis)))]
    }),
    rows: Rows::Rule(|lift| {
        let attrs = with_axis(axis_of(lift.attrs) + 1).with("descending", Attr::Bool(lift.attrs.flag("descending")));
        lift.builder.apply(&SORT, lift.operands, attrs)
    }),
    kernel: |call| {
        let (x, axis) = (contiguous(&call.inputs[0].to_device(&Device::Cpu)?)?, axis_of(call.attrs));
        let (values, positions) = with_element!(x.dtype(), T => {
            let elements = Elements::<T>::of(&x)?;
            let (values, positions) = index::sort(&elements, Axis::of(x.dims(), axis), call.attrs.flag("descending"));
            (Tensor::from_vec(values, x.dims(), call.device)?, Tensor::from_vec(positions, x.dims(), call.device)?)
        });
        Ok([values, positions].into_iter().collect())
    },
    flops: Flops(
        |cost| {
            let count = cost.inputs[0].count() as f64;
            count * count.max(2.0).log2()
        },
        "n log n of all numbers",
    ),
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &[
        "sort([3.0, 1.0, 2.0], axis: 0)[0] == [1.0, 2.0, 3.0]",
        "sort([3.0, 1.0, 2.0], axis: 0)[1] == [1, 2, 0]",
    ],
};

pub static ONE_HOT: Op = Op {
    name: "one_hot",
    doc: "A last axis that is 1 at the position of the index and 0 elsewhere.",
    signature: "(index: int[..s]) -> [..s, classes]",
    attrs: &[("classes", AttrKind::Size), ("dtype", AttrKind::DType)],
    infer: |infer| {
        let [index] = infer.operands("one_hot")?;
        infer.index("one_hot", 0)?;
        let classes = infer.one_size("one_hot", "classes")?;
        let dtype = infer.attrs.dtype("dtype").ok_or_else(|| bad("one_hot needs an element type as dtype"))?;
        let mut ty = index.with_dtype(dtype);
        ty.shape.push(classes);
        Ok(Types::from_elem(ty, 1))
    },
    gradient: Gradient::Zero("an index is a whole number"),
    rows: Rows::Leading,
    kernel: |call| {
        let result = &call.results[0];
        let classes = result.shape[result.shape.len() - 1];
        let positions = positions("one_hot", &call.inputs[0], classes)?;
        let dtype = stored(result.dtype);
        let out = with_element!(dtype, T => {
            let mut out = vec![0 as T; positions.len() * classes];
            for (row, at) in positions.iter().enumerate() {
                out[row * classes + *at as usize] = 1 as T;
            }
            Tensor::from_vec(out, result.shape.as_slice(), call.device)?
        });
        Ok(Results::from_elem(out, 1))
    },
    flops: NO_COST,
    domain: Domain::Special("positions must be in range"),
    examples: &["one_hot([1, 0], classes: 3, dtype: f64) == [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]"],
};

/// The axis that `infer` has found to be one of the operand's.
fn axis_of(attrs: &Attrs) -> usize {
    attrs.int("axis").and_then(|axis| usize::try_from(axis).ok()).unwrap_or(0)
}

fn with_axis(axis: usize) -> Attrs {
    Attrs::none().with("axis", Attr::Int(axis as i64))
}

/// The shape with one axis replaced by others.
fn replaced(shape: &[Size], axis: usize, by: &[Size]) -> Shape {
    shape[..axis].iter().chain(by).chain(&shape[axis + 1..]).cloned().collect()
}

/// The positions of each row `[rows, ..i]`, repeated over all other axes of `shape`: what `take_along` reads. `axis` and
/// `shape` count the axis of rows.
fn spread(rule: &mut Builder, index: Value, shape: &[Size], axis: usize) -> Value {
    let positions = rule.ty(index).shape.clone();
    let count = product(&positions[1..]);
    let flat = rule.reshape(index, &[positions[0].clone(), count.clone()]);
    rule.broadcast(flat, &replaced(shape, axis, &[count]), &[0, axis])
}

/// The positions, read by the host and in range.
fn positions(op: &str, index: &Tensor, size: usize) -> candle_core::Result<Vec<i64>> {
    let positions = index.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<i64>()?;
    index::check(op, &positions, size)?;
    Ok(positions)
}

fn numeric(infer: &Infer<'_>, op: &str) -> Result<(), Mismatch> {
    match infer.types.first() {
        Some(ty) if !ty.dtype.is_float() && ty.dtype != DType::I64 => Err(mismatch(
            Code::ElementType,
            format!("{op} needs numbers, not {}", ty.dtype.name()),
            vec![(0, format!("{ty}: elements are {}", ty.dtype.name()))],
        )),
        _ => Ok(()),
    }
}

/// Types of `(x, index: int[k], updates)` where `updates` is like `x` but for the axis, which has `k`.
fn scattered(infer: &Infer<'_>, op: &str) -> Result<Types, Mismatch> {
    let [x, _, _] = infer.operands(op)?;
    let axis = infer.axis(op)?;
    infer.index(op, 1)?;
    infer.rank(op, 1, 1, false)?;
    infer.same_dtype(0, 2)?;
    like_but(infer, op, 2, axis)?;
    infer.equal((1, 0), (2, axis))?;
    Ok(Types::from_elem(x.clone(), 1))
}

/// That an operand has the sizes of the first but for one axis.
fn like_but(infer: &Infer<'_>, op: &str, at: usize, axis: usize) -> Result<(), Mismatch> {
    let rank = infer.types[0].rank();
    infer.rank(op, at, rank, false)?;
    (0..rank).filter(|other| *other != axis).try_for_each(|other| infer.equal((0, other), (at, other)))
}
