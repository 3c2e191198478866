//! Windows over the last two axes: their maximum, their sum, and the adjoints.
//!
//! Attributes: `window` and `stride` for rows and columns, `padding` at top, bottom, left and right. A window that
//! would lie in the padding alone does not exist: padding is smaller than the window.

use candle_core::{Device, Tensor};

use super::fit::{bad, mismatch, overflow, product};
use super::*;
use crate::diagnostics::Code;
use crate::graph::{Attr, DType, Size};
use crate::kernels::index;
use crate::kernels::matmul::with_real;
use crate::kernels::pool::{self, Windows};
use crate::kernels::{Elements, contiguous, on_cpu, portable};

const WINDOWS: &[(&str, AttrKind)] =
    &[("window", AttrKind::Ints), ("stride", AttrKind::Ints), ("padding", AttrKind::Ints)];

pub static MAX_POOL2D: Op = Op {
    name: "max_pool2d",
    doc: "The largest element of each window, and where it is: `row * w + column` in the plane. The first of equals \
          counts; padding never does; a NaN wins.",
    signature: "(x: float[..b, h, w]) -> (float[..b, oh, ow], int[..b, oh, ow])",
    attrs: WINDOWS,
    infer: |infer| {
        let values = pooled(infer, "max_pool2d")?;
        let positions = values.with_dtype(DType::I64);
        Ok([values, positions].into_iter().collect())
    },
    gradient: Gradient::Rule(|vjp| {
        let Some(dy) = vjp.cotangents[0] else { return vec![None] };
        let (x, positions) = (vjp.operand(0), vjp.result(1));
        let rule = &mut *vjp.builder;
        let shape = rule.ty(x).shape.clone();
        let size = Attrs::none().with("size", Attr::Sizes(shape[shape.len() - 2..].to_vec()));
        vec![Some(rule.must(&MAX_POOL2D_GRADIENT, &[dy, positions], size))]
    }),
    rows: Rows::Leading,
    kernel: |call| {
        let x = &contiguous(&call.inputs[0])?;
        let y = &call.results[0].shape;
        let g = windows(call.attrs, x.dims(), y);
        if !on_cpu(x) {
            let (values, positions) = portable::max_pool2d(&g, x)?;
            return Ok([values.reshape(y.as_slice())?, positions.reshape(y.as_slice())?].into_iter().collect());
        }
        with_real!(x.dtype(), T => {
            let (values, positions) = pool::max::<T>(&g, &Elements::of(x)?);
            let values = Tensor::from_vec(values, y.as_slice(), &Device::Cpu)?;
            Ok([values, Tensor::from_vec(positions, y.as_slice(), &Device::Cpu)?].into_iter().collect())
        })
    },
    flops: COMPARED,
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &[
        "max_pool2d([[1.0, 5.0], [3.0, 5.0]], window: [2, 2], stride: [2, 2], padding: [0, 0, 0, 0])[0] == [[5.0]]",
        "max_pool2d([[1.0, 5.0], [3.0, 5.0]], window: [2, 2], stride: [2, 2], padding: [0, 0, 0, 0])[1] == [[1]]",
    ],
};

pub static MAX_POOL2D_GRADIENT: Op = Op {
    name: "max_pool2d_gradient",
    doc: "The adjoint of `max_pool2d`: each cotangent goes to the position that its maximum had in a plane of `size`.",
    signature: "(dy: float[..b, oh, ow], index: int[..b, oh, ow]) -> float[..b, h, w]",
    attrs: &[("size", AttrKind::Sizes)],
    infer: |infer| {
        let op = "max_pool2d_gradient";
        let [dy, _] = infer.operands(op)?;
        infer.float(op, 0)?;
        infer.index(op, 1)?;
        infer.rank(op, 0, 2, true)?;
        infer.rank(op, 1, dy.rank(), false)?;
        (0..dy.rank()).try_for_each(|at| infer.equal((0, at), (1, at)))?;
        Ok(Types::from_elem(resized(dy, infer.two_sizes(op, "size")?), 1))
    },
    // The adjoint reads the cotangent where the maxima were.
    gradient: Gradient::Rule(|vjp| {
        let Some(g) = vjp.cotangents[0] else { return vec![None, None] };
        let positions = vjp.operand(1);
        let rule = &mut *vjp.builder;
        let (from, to) = (rule.ty(g).shape.clone(), rule.ty(positions).shape.clone());
        let lead = from.len() - 2;
        let flat =
            |shape: &[Size]| -> Vec<Size> { shape[..lead].iter().cloned().chain([product(&shape[lead..])]).collect() };
        let (planes, places) = (rule.reshape(g, &flat(&from)), rule.reshape(positions, &flat(&to)));
        let along = Attrs::none().with("axis", Attr::Int(lead as i64));
        let taken = rule.must(&super::index::TAKE_ALONG, &[planes, places], along);
        vec![Some(rule.reshape(taken, &to)), None]
    }),
    rows: Rows::Leading,
    kernel: |call| {
        let (dy, positions) = (&contiguous(&call.inputs[0])?, &contiguous(&call.inputs[1])?);
        let x = &call.results[0].shape;
        let g = planes(x, dy.dims());
        if !on_cpu(dy) {
            let flat = positions.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<i64>()?;
            index::check("max_pool2d_gradient", &flat, g.plane())?;
            let dx = portable::max_pool2d_gradient(&g, dy, positions)?.reshape(x.as_slice())?;
            return Ok(Results::from_elem(dx, 1));
        }
        with_real!(dy.dtype(), T => {
            let dx = pool::max_gradient::<T>(&g, &Elements::of(dy)?, &Elements::of(positions)?)?;
            Ok(Results::from_elem(Tensor::from_vec(dx, x.as_slice(), &Device::Cpu)?, 1))
        })
    },
    flops: Flops(|cost| cost.inputs[0].count() as f64, "1 a number of the operand"),
    domain: Domain::Special("positions must be in range"),
    examples: &["max_pool2d_gradient([[2.0]], [[1]], size: [2, 2]) == [[0.0, 2.0], [0.0, 0.0]]"],
};

pub static SUM_POOL2D: Op = Op {
    name: "sum_pool2d",
    doc: "The sum of each window; padding counts as 0.",
    signature: "(x: float[..b, h, w]) -> float[..b, oh, ow]",
    attrs: WINDOWS,
    infer: |infer| Ok(Types::from_elem(pooled(infer, "sum_pool2d")?, 1)),
    gradient: Gradient::Rule(|vjp| {
        let Some(dy) = vjp.cotangents[0] else { return vec![None] };
        let (x, attrs) = (vjp.operand(0), vjp.attrs());
        let rule = &mut *vjp.builder;
        let shape = rule.ty(x).shape.clone();
        let attrs = attrs.with("size", Attr::Sizes(shape[shape.len() - 2..].to_vec()));
        vec![Some(rule.must(&SUM_POOL2D_GRADIENT, &[dy], attrs))]
    }),
    rows: Rows::Leading,
    kernel: |call| {
        let x = &contiguous(&call.inputs[0])?;
        let y = &call.results[0].shape;
        let g = windows(call.attrs, x.dims(), y);
        if !on_cpu(x) {
            return Ok(Results::from_elem(portable::sum_pool2d(&g, x)?.reshape(y.as_slice())?, 1));
        }
        with_real!(x.dtype(), T => {
            let sums = pool::sum::<T>(&g, &Elements::of(x)?);
            Ok(Results::from_elem(Tensor::from_vec(sums, y.as_slice(), &Device::Cpu)?, 1))
        })
    },
    flops: COMPARED,
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &[
        "sum_pool2d([[1.0, 2.0], [3.0, 4.0]], window: [2, 2], stride: [2, 2], padding: [0, 0, 0, 0]) == [[10.0]]",
    ],
};

pub static SUM_POOL2D_GRADIENT: Op = Op {
    name: "sum_pool2d_gradient",
    doc: "The adjoint of `sum_pool2d` for planes of `size`.",
    signature: "(dy: float[..b, oh, ow]) -> float[..b, h, w]",
    attrs: &[
        ("window", AttrKind::Ints),
        ("stride", AttrKind::Ints),
        ("padding", AttrKind::Ints),
        ("size", AttrKind::Sizes),
    ],
    infer: |infer| {
        let op = "sum_pool2d_gradient";
        let [dy] = infer.operands(op)?;
        infer.float(op, 0)?;
        infer.rank(op, 0, 2, true)?;
        let size = infer.two_sizes(op, "size")?;
        let out = out_sizes(infer, op, [&size[0], &size[1]])?;
        let why = format!("the output of windows over {} by {} pixels", size[0], size[1]);
        (0..2).try_for_each(|axis| infer.size((0, dy.rank() - 2 + axis), &out[axis], &why))?;
        Ok(Types::from_elem(resized(dy, size), 1))
    },
    gradient: Gradient::Rule(|vjp| {
        let Some(g) = vjp.cotangents[0] else { return vec![None] };
        let attrs = vjp.attrs();
        let attrs = Attrs(attrs.0.into_iter().filter(|(name, _)| *name != "size").collect());
        vec![Some(vjp.builder.must(&SUM_POOL2D, &[g], attrs))]
    }),
    rows: Rows::Leading,
    kernel: |call| {
        let dy = &contiguous(&call.inputs[0])?;
        let x = &call.results[0].shape;
        let g = windows(call.attrs, x, dy.dims());
        if !on_cpu(dy) {
            return Ok(Results::from_elem(portable::sum_pool2d_gradient(&g, dy)?.reshape(x.as_slice())?, 1));
        }
        with_real!(dy.dtype(), T => {
            let dx = pool::sum_gradient::<T>(&g, &Elements::of(dy)?);
            Ok(Results::from_elem(Tensor::from_vec(dx, x.as_slice(), &Device::Cpu)?, 1))
        })
    },
    flops: Flops(
        |cost| {
            let [height, width]: [usize; 2] = read(cost.attrs, "window");
            (cost.inputs[0].count() * height * width) as f64
        },
        "1 for each number and each place of the window",
    ),
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["sum_pool2d_gradient([[2.0]], window: [1, 2], stride: [1, 2], padding: [0, 0, 0, 0], size: [1, 3]) \
         == [[2.0, 2.0, 0.0]]"],
};

const COMPARED: Flops = Flops(
    |cost| {
        let [height, width]: [usize; 2] = read(cost.attrs, "window");
        (cost.results[0].count() * height * width) as f64
    },
    "1 for each number of the result and each place of the window",
);

/// The size of one axis of an output: `floor((size + padding - window) / stride) + 1`.
pub(super) fn out_size(
    infer: &Infer<'_>,
    op: &str,
    size: &Size,
    window: usize,
    stride: usize,
    padding: [usize; 2],
) -> Result<Size, Mismatch> {
    let room = (padding[0] + padding[1]) as i64 - window as i64;
    let free = size.add(&Size::known(room)).map_err(overflow)?;
    if free.as_known().is_some_and(|free| free < 0) {
        let fact = infer.types.first().map(|ty| (0, format!("{ty}: {size} pixels")));
        return Err(mismatch(
            Code::ShapeMismatch,
            format!(
                "{op} has a window of {window}, larger than the {} pixels that {size} and the padding make",
                room + window as i64 + size.as_known().unwrap_or(0)
            ),
            fact.into_iter().collect(),
        ));
    }
    let steps = free.div_floor(&Size::known(stride as i64)).ok_or_else(|| bad(format!("{op} has a stride of 0")))?;
    steps.add(&Size::known(1)).map_err(overflow)
}

fn out_sizes(infer: &Infer<'_>, op: &str, size: [&Size; 2]) -> Result<[Size; 2], Mismatch> {
    let window = infer.numbers::<2>(op, "window", 1)?;
    let stride = infer.numbers::<2>(op, "stride", 1)?;
    let padding = infer.numbers::<4>(op, "padding", 0)?;
    if let Some(at) = (0..4).find(|at| padding[*at] >= window[at / 2]) {
        return Err(bad(format!(
            "{op} has padding {}, which must be smaller than the window of {}",
            padding[at],
            window[at / 2]
        )));
    }
    let axis =
        |at: usize| out_size(infer, op, size[at], window[at], stride[at], [padding[2 * at], padding[2 * at + 1]]);
    Ok([axis(0)?, axis(1)?])
}

/// The type of what windows over the operand give.
fn pooled(infer: &Infer<'_>, op: &str) -> Result<Type, Mismatch> {
    let [x] = infer.operands(op)?;
    infer.float(op, 0)?;
    infer.rank(op, 0, 2, true)?;
    let lead = x.rank() - 2;
    Ok(resized(x, out_sizes(infer, op, [&x.shape[lead], &x.shape[lead + 1]])?))
}

/// The type with other last two sizes.
pub(super) fn resized(ty: &Type, size: [Size; 2]) -> Type {
    ty.with_shape(ty.shape[..ty.rank() - 2].iter().cloned().chain(size))
}

/// An attribute of numbers that `infer` has checked.
pub(super) fn read<const N: usize>(attrs: &Attrs, name: &str) -> [usize; N] {
    let given = attrs.ints(name).unwrap_or(&[]);
    std::array::from_fn(|at| given.get(at).map_or(0, |number| (*number).max(0) as usize))
}

fn planes(x: &[usize], y: &[usize]) -> Windows {
    let lead = x.len() - 2;
    Windows {
        planes: x[..lead].iter().product(),
        height: x[lead],
        width: x[lead + 1],
        window: [1, 1],
        stride: [1, 1],
        padding: [0; 4],
        out_height: y[lead],
        out_width: y[lead + 1],
    }
}

fn windows(attrs: &Attrs, x: &[usize], y: &[usize]) -> Windows {
    Windows {
        window: read(attrs, "window"),
        stride: read(attrs, "stride"),
        padding: read(attrs, "padding"),
        ..planes(x, y)
    }
}
