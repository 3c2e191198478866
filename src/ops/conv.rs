//! Convolution over two axes with its adjoints. Each is linear in either operand, and the three are each other's
//! gradients, so any order of differentiation stays among them.
//!
//! Attributes of all three: `stride` and `dilation` for rows and columns, `padding` with zeros at top, bottom, left and
//! right, `groups` of channels that do not meet.

use candle_core::{Device, Tensor};

use super::fit::{bad, overflow, product};
use super::*;
use crate::graph::{Attr, Shape, Size};
use crate::kernels::conv::{self, Geometry};
use crate::kernels::matmul::with_real;
use crate::kernels::{Elements, contiguous, on_cpu, portable};

pub use super::pool::{MAX_POOL2D, MAX_POOL2D_GRADIENT, SUM_POOL2D, SUM_POOL2D_GRADIENT};

pub const OPS: &[&Op] = &[
    &CONV2D,
    &CONV2D_INPUT_GRADIENT,
    &CONV2D_WEIGHT_GRADIENT,
    &MAX_POOL2D,
    &MAX_POOL2D_GRADIENT,
    &SUM_POOL2D,
    &SUM_POOL2D_GRADIENT,
];

pub static CONV2D: Op = Op {
    name: "conv2d",
    doc: "Cross-correlation of images with weights.",
    signature: "(x: float[n, c, h, w], w: float[o, c / groups, kh, kw]) -> float[n, o, oh, ow]",
    attrs: &[
        ("stride", AttrKind::Ints),
        ("padding", AttrKind::Ints),
        ("dilation", AttrKind::Ints),
        ("groups", AttrKind::Int),
    ],
    infer: |infer| {
        let [x, w] = infer.operands("conv2d")?;
        common(infer, "conv2d")?;
        let steps = Steps::read(infer, "conv2d")?;
        let wanted = w.shape[1].mul(&Size::known(steps.groups as i64)).map_err(overflow)?;
        infer.size((0, 1), &wanted, "the channels that the weights take in all groups")?;
        steps.divides(infer, (1, 0))?;
        let [height, width] = steps.out(infer, "conv2d", [&x.shape[2], &x.shape[3]], known_kernel(infer, w)?)?;
        Ok(Types::from_elem(x.with_shape([x.shape[0].clone(), w.shape[0].clone(), height, width]), 1))
    },
    gradient: Gradient::Rule(|vjp| {
        let Some(dy) = vjp.cotangents[0] else { return vec![None, None] };
        let (x, w, attrs) = (vjp.operand(0), vjp.operand(1), vjp.attrs());
        let rule = &mut *vjp.builder;
        let dx = input_gradient(rule, dy, w, &attrs, x);
        vec![Some(dx), Some(weight_gradient(rule, x, dy, &attrs, w))]
    }),
    rows: Rows::Rule(|lift| {
        let (x, w) = (lift.operands[0], lift.operands[1]);
        if let Some(w) = same_for_all_rows(lift.builder, w) {
            let rule = &mut *lift.builder;
            let (shape, x) = (rule.ty(x).shape.clone(), joined(rule, x));
            let y = rule.apply(&CONV2D, &[x, w], lift.attrs.clone())?;
            return Ok(parted(lift.builder, y, &shape[..2]));
        }
        let attrs = grouped(lift, "conv2d")?;
        let rule = &mut *lift.builder;
        let (x, w) = (rows_in_channels(rule, x), joined(rule, w));
        let y = rule.apply(&CONV2D, &[x, w], attrs)?;
        Ok(rows_from_channels(lift.builder, y, lift.rows))
    }),
    kernel: |call| {
        let (x, w) = (&contiguous(&call.inputs[0])?, &contiguous(&call.inputs[1])?);
        let y = &call.results[0].shape;
        let g = geometry(call.attrs, x.dims(), w.dims(), y);
        if !on_cpu(x) {
            return Ok(Results::from_elem(portable::conv2d(&g, x, w)?, 1));
        }
        with_real!(x.dtype(), T => {
            let out = conv::forward::<T>(&g, &Elements::of(x)?, &Elements::of(w)?);
            Ok(Results::from_elem(Tensor::from_vec(out, y.as_slice(), &Device::Cpu)?, 1))
        })
    },
    flops: Flops(
        |cost| multiplications(&cost.inputs[1].shape, &cost.results[0].shape),
        "2 for each weight of a filter and each number of the result",
    ),
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["conv2d([[[[1.0, 2.0], [3.0, 4.0]]]], [[[[1.0, 10.0]]]], stride: [1, 1], padding: [0, 0, 0, 0], \
         dilation: [1, 1], groups: 1) == [[[[21.0], [43.0]]]]"],
};

pub static CONV2D_INPUT_GRADIENT: Op = Op {
    name: "conv2d_input_gradient",
    doc: "The adjoint of `conv2d` for the images, whose height and width are `size`. Also the transposed convolution.",
    signature: "(dy: float[n, o, oh, ow], w: float[o, c / groups, kh, kw]) -> float[n, c, h, w]",
    attrs: &[
        ("stride", AttrKind::Ints),
        ("padding", AttrKind::Ints),
        ("dilation", AttrKind::Ints),
        ("groups", AttrKind::Int),
        ("size", AttrKind::Sizes),
    ],
    infer: |infer| {
        let op = "conv2d_input_gradient";
        let [dy, w] = infer.operands(op)?;
        common(infer, op)?;
        infer.equal((0, 1), (1, 0))?;
        let steps = Steps::read(infer, op)?;
        steps.divides(infer, (1, 0))?;
        let [height, width] = infer.two_sizes(op, "size")?;
        steps.agrees(infer, op, 0, [&height, &width], known_kernel(infer, w)?)?;
        let channels = w.shape[1].mul(&Size::known(steps.groups as i64)).map_err(overflow)?;
        Ok(Types::from_elem(dy.with_shape([dy.shape[0].clone(), channels, height, width]), 1))
    },
    gradient: Gradient::Rule(|vjp| {
        let Some(g) = vjp.cotangents[0] else { return vec![None, None] };
        let (dy, w, attrs) = (vjp.operand(0), vjp.operand(1), steps_only(&vjp.attrs()));
        let rule = &mut *vjp.builder;
        let to_dy = rule.must(&CONV2D, &[g, w], attrs.clone());
        vec![Some(to_dy), Some(weight_gradient(rule, g, dy, &attrs, w))]
    }),
    rows: Rows::Rule(|lift| {
        let (dy, w) = (lift.operands[0], lift.operands[1]);
        if let Some(w) = same_for_all_rows(lift.builder, w) {
            let rule = &mut *lift.builder;
            let (shape, dy) = (rule.ty(dy).shape.clone(), joined(rule, dy));
            let dx = rule.apply(&CONV2D_INPUT_GRADIENT, &[dy, w], lift.attrs.clone())?;
            return Ok(parted(lift.builder, dx, &shape[..2]));
        }
        let attrs = grouped(lift, "conv2d_input_gradient")?;
        let rule = &mut *lift.builder;
        let (dy, w) = (rows_in_channels(rule, dy), joined(rule, w));
        let dx = rule.apply(&CONV2D_INPUT_GRADIENT, &[dy, w], attrs)?;
        Ok(rows_from_channels(lift.builder, dx, lift.rows))
    }),
    kernel: |call| {
        let (dy, w) = (&contiguous(&call.inputs[0])?, &contiguous(&call.inputs[1])?);
        let x = &call.results[0].shape;
        let g = geometry(call.attrs, x, w.dims(), dy.dims());
        if !on_cpu(dy) {
            return Ok(Results::from_elem(portable::conv2d_input_gradient(&g, dy, w)?, 1));
        }
        with_real!(dy.dtype(), T => {
            let out = conv::input_gradient::<T>(&g, &Elements::of(dy)?, &Elements::of(w)?);
            Ok(Results::from_elem(Tensor::from_vec(out, x.as_slice(), &Device::Cpu)?, 1))
        })
    },
    flops: Flops(
        |cost| multiplications(&cost.inputs[1].shape, &cost.inputs[0].shape),
        "2 for each weight of a filter and each number of dy",
    ),
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["conv2d_input_gradient([[[[1.0]]]], [[[[2.0, 3.0]]]], stride: [1, 1], padding: [0, 0, 0, 0], \
         dilation: [1, 1], groups: 1, size: [1, 2]) == [[[[2.0, 3.0]]]]"],
};

pub static CONV2D_WEIGHT_GRADIENT: Op = Op {
    name: "conv2d_weight_gradient",
    doc: "The adjoint of `conv2d` for the weights, whose last two sizes are `kernel`.",
    signature: "(x: float[n, c, h, w], dy: float[n, o, oh, ow]) -> float[o, c / groups, kh, kw]",
    attrs: &[
        ("stride", AttrKind::Ints),
        ("padding", AttrKind::Ints),
        ("dilation", AttrKind::Ints),
        ("groups", AttrKind::Int),
        ("kernel", AttrKind::Ints),
    ],
    infer: |infer| {
        let op = "conv2d_weight_gradient";
        let [x, dy] = infer.operands(op)?;
        common(infer, op)?;
        infer.equal((0, 0), (1, 0))?;
        let steps = Steps::read(infer, op)?;
        steps.divides(infer, (0, 1))?;
        steps.divides(infer, (1, 1))?;
        let kernel = infer.numbers::<2>(op, "kernel", 1)?;
        steps.agrees(infer, op, 1, [&x.shape[2], &x.shape[3]], kernel)?;
        let channels = x.shape[1].div_floor(&Size::known(steps.groups as i64)).ok_or_else(|| bad("groups is 0"))?;
        let [height, width] = kernel.map(|size| Size::known(size as i64));
        Ok(Types::from_elem(x.with_shape([dy.shape[1].clone(), channels, height, width]), 1))
    },
    gradient: Gradient::Rule(|vjp| {
        let Some(g) = vjp.cotangents[0] else { return vec![None, None] };
        let (x, dy, attrs) = (vjp.operand(0), vjp.operand(1), steps_only(&vjp.attrs()));
        let rule = &mut *vjp.builder;
        let dx = input_gradient(rule, dy, g, &attrs, x);
        vec![Some(dx), Some(rule.must(&CONV2D, &[x, g], attrs))]
    }),
    rows: Rows::Rule(|lift| {
        let attrs = grouped(lift, "conv2d_weight_gradient")?;
        let rule = &mut *lift.builder;
        let outputs = rule.ty(lift.operands[1]).shape.clone()[2].clone();
        let (x, dy) = (rows_in_channels(rule, lift.operands[0]), rows_in_channels(rule, lift.operands[1]));
        let dw = rule.apply(&CONV2D_WEIGHT_GRADIENT, &[x, dy], attrs)?;
        Ok(parted(lift.builder, dw, &[lift.rows.clone(), outputs]))
    }),
    kernel: |call| {
        let (x, dy) = (&contiguous(&call.inputs[0])?, &contiguous(&call.inputs[1])?);
        let w = &call.results[0].shape;
        let g = geometry(call.attrs, x.dims(), w, dy.dims());
        if !on_cpu(x) {
            return Ok(Results::from_elem(portable::conv2d_weight_gradient(&g, x, dy)?, 1));
        }
        with_real!(x.dtype(), T => {
            let out = conv::weight_gradient::<T>(&g, &Elements::of(x)?, &Elements::of(dy)?);
            Ok(Results::from_elem(Tensor::from_vec(out, w.as_slice(), &Device::Cpu)?, 1))
        })
    },
    flops: Flops(
        |cost| multiplications(&cost.results[0].shape, &cost.inputs[1].shape),
        "2 for each weight of a filter and each number of dy",
    ),
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["conv2d_weight_gradient([[[[2.0, 3.0]]]], [[[[10.0]]]], stride: [1, 1], padding: [0, 0, 0, 0], \
         dilation: [1, 1], groups: 1, kernel: [1, 2]) == [[[[20.0, 30.0]]]]"],
};

/// The attributes that all three have.
struct Steps {
    stride: [usize; 2],
    padding: [usize; 4],
    dilation: [usize; 2],
    groups: usize,
}

impl Steps {
    fn read(infer: &Infer<'_>, op: &str) -> Result<Steps, Mismatch> {
        let groups = infer.attrs.int("groups").unwrap_or(0);
        if !(1..=u32::MAX as i64).contains(&groups) {
            return Err(bad(format!("{op} has {groups} groups, at least 1 is needed")));
        }
        Ok(Steps {
            stride: infer.numbers(op, "stride", 1)?,
            padding: infer.numbers(op, "padding", 0)?,
            dilation: infer.numbers(op, "dilation", 1)?,
            groups: groups as usize,
        })
    }

    /// That the groups share a size of an operand equally.
    fn divides(&self, infer: &Infer<'_>, (at, axis): (usize, usize)) -> Result<(), Mismatch> {
        let (ty, groups) = (infer.types[at], Size::known(self.groups as i64));
        if self.groups == 1 || ty.shape[axis].div_exact(&groups).is_some() {
            return Ok(());
        }
        let size = &ty.shape[axis];
        Err(super::fit::mismatch(
            crate::diagnostics::Code::ShapeMismatch,
            format!("{groups} groups do not divide {size}"),
            vec![(at, format!("{ty}: {} size is {size}", super::fit::which(axis)))],
        ))
    }

    /// Height and width of the output.
    fn out(&self, infer: &Infer<'_>, op: &str, size: [&Size; 2], kernel: [usize; 2]) -> Result<[Size; 2], Mismatch> {
        let axis = |at: usize| {
            let window = (kernel[at] - 1) * self.dilation[at] + 1;
            let padding = [self.padding[2 * at], self.padding[2 * at + 1]];
            super::pool::out_size(infer, op, size[at], window, self.stride[at], padding)
        };
        Ok([axis(0)?, axis(1)?])
    }

    /// That the last two sizes of operand `at` are those of the output of a convolution of images of this size.
    fn agrees(
        &self,
        infer: &Infer<'_>,
        op: &str,
        at: usize,
        size: [&Size; 2],
        kernel: [usize; 2],
    ) -> Result<(), Mismatch> {
        let out = self.out(infer, op, size, kernel)?;
        let why = format!("the output of a convolution of {} by {} pixels", size[0], size[1]);
        (0..2).try_for_each(|axis| infer.size((at, 2 + axis), &out[axis], &why))
    }
}

fn common(infer: &Infer<'_>, op: &str) -> Result<(), Mismatch> {
    infer.float(op, 0)?;
    infer.same_dtype(0, 1)?;
    infer.rank(op, 0, 4, false)?;
    infer.rank(op, 1, 4, false)
}

/// The last two sizes of the weights, which have to be numbers: the output's size depends on them.
fn known_kernel(infer: &Infer<'_>, w: &Type) -> Result<[usize; 2], Mismatch> {
    let size = |at: usize| w.shape[at].as_known().filter(|size| *size >= 1).map(|size| size as usize);
    let _ = infer;
    match (size(2), size(3)) {
        (Some(height), Some(width)) => Ok([height, width]),
        _ => Err(super::fit::mismatch(
            crate::diagnostics::Code::ShapeMismatch,
            "the size of a convolution's weights must be known while compiling",
            vec![(1, format!("{w}: the last two sizes are {} and {}", w.shape[2], w.shape[3]))],
        )),
    }
}

/// The attributes of `conv2d` among those of an adjoint.
fn steps_only(attrs: &Attrs) -> Attrs {
    Attrs(attrs.0.iter().filter(|(name, _)| !["size", "kernel"].contains(name)).cloned().collect())
}

fn input_gradient(rule: &mut Builder, dy: Value, w: Value, attrs: &Attrs, x: Value) -> Value {
    let size = rule.ty(x).shape.clone()[2..].to_vec();
    rule.must(&CONV2D_INPUT_GRADIENT, &[dy, w], attrs.clone().with("size", Attr::Sizes(size)))
}

fn weight_gradient(rule: &mut Builder, x: Value, dy: Value, attrs: &Attrs, w: Value) -> Value {
    let kernel = rule.ty(w).shape.clone()[2..].iter().map(|size| size.as_known().unwrap_or(1)).collect();
    rule.must(&CONV2D_WEIGHT_GRADIENT, &[x, dy], attrs.clone().with("kernel", Attr::Ints(kernel)))
}

/// The weights before lifting repeated them for each row, if that is what they are.
fn same_for_all_rows(builder: &Builder, w: Value) -> Option<Value> {
    let node = builder.graph().node(w.node);
    let rank = builder.ty(w).rank() as i64;
    let fits = node.op == &super::shape::BROADCAST && node.attrs.ints("axes")?.iter().copied().eq(1..rank);
    let source = *node.operands.first()?;
    (fits && builder.ty(source).shape[..] == builder.ty(w).shape[1..]).then_some(source)
}

/// Rows as groups of channels: each row has its own weights, so their channels never meet.
fn grouped(lift: &Lift<'_>, op: &str) -> Result<Attrs, Mismatch> {
    let Some(rows) = lift.rows.as_known() else {
        return Err(bad(format!(
            "{op} with other weights for each row needs a number of rows known while compiling, here it is {}",
            lift.rows
        )));
    };
    let groups = lift.attrs.int("groups").unwrap_or(1).checked_mul(rows);
    let groups = groups.ok_or_else(|| bad(format!("{op} has too many groups")))?;
    let attrs = lift.attrs.0.iter().map(|(name, value)| {
        let value = if *name == "groups" { Attr::Int(groups) } else { value.clone() };
        (*name, value)
    });
    Ok(Attrs(attrs.collect()))
}

/// `[r, n, …]` to `[r * n, …]`.
fn joined(rule: &mut Builder, x: Value) -> Value {
    let shape = rule.ty(x).shape.clone();
    let merged = std::iter::once(product(&shape[..2])).chain(shape[2..].iter().cloned()).collect::<Shape>();
    rule.reshape(x, &merged)
}

/// `[r * n, …]` to `[r, n, …]`.
fn parted(rule: &mut Builder, x: Value, lead: &[Size]) -> Value {
    let shape = rule.ty(x).shape.clone();
    let split = lead.iter().chain(&shape[1..]).cloned().collect::<Shape>();
    rule.reshape(x, &split)
}

/// `[r, n, c, h, w]` to `[n, r * c, h, w]`.
fn rows_in_channels(rule: &mut Builder, x: Value) -> Value {
    let shape = rule.ty(x).shape.clone();
    let x = rule.permute(x, &[1, 0, 2, 3, 4]);
    let channels = product(&[shape[0].clone(), shape[2].clone()]);
    let merged = [shape[1].clone(), channels, shape[3].clone(), shape[4].clone()];
    rule.reshape(x, &merged)
}

/// `[n, r * c, h, w]` to `[r, n, c, h, w]`.
fn rows_from_channels(rule: &mut Builder, y: Value, rows: &Size) -> Value {
    let shape = rule.ty(y).shape.clone();
    let channels = shape[1].div_floor(rows).unwrap_or_else(|| Size::known(0));
    let split = [shape[0].clone(), rows.clone(), channels, shape[2].clone(), shape[3].clone()];
    let y = rule.reshape(y, &split);
    rule.permute(y, &[1, 0, 2, 3, 4])
}

/// The sizes for the kernels, from attributes that `infer` has checked.
fn geometry(attrs: &Attrs, x: &[usize], w: &[usize], y: &[usize]) -> Geometry {
    Geometry {
        images: x[0],
        channels: x[1],
        height: x[2],
        width: x[3],
        outputs: y[1],
        kernel: [w[2], w[3]],
        stride: super::pool::read(attrs, "stride"),
        padding: super::pool::read(attrs, "padding"),
        dilation: super::pool::read(attrs, "dilation"),
        groups: attrs.int("groups").map_or(1, |groups| groups.max(1) as usize),
        out_height: y[2],
        out_width: y[3],
    }
}

/// Operations of one direction, from the shapes of weights and output.
fn multiplications(w: &[usize], y: &[usize]) -> f64 {
    2.0 * w[1..].iter().product::<usize>() as f64 * y.iter().product::<usize>() as f64
}
