//! Sampling of images at places that are data.

use candle_core::{Device, Tensor};

use super::fit::{bad, mismatch};
use super::pool::resized;
use super::*;
use crate::diagnostics::Code;
use crate::graph::{Attr, Size};
use crate::kernels::image::{self, Edge, Frame};
use crate::kernels::matmul::with_real;
use crate::kernels::{Elements, contiguous};

pub const OPS: &[&Op] = &[&WARP, &WARP_GRADIENT, &CROP_RESIZE, &CROP_RESIZE_GRADIENT];

/// Why no gradient flows to the places of `warp` and of `crop_resize`.
const MATRIX: &str = "a sample has kinks at every pixel centre, so the map is drawn, not learned";
const BOX: &str = "the pixels under the filter jump as the box moves, so the box is drawn, not learned";

pub static WARP: Op = Op {
    name: "warp",
    doc: "Bilinear samples of the image under an affine map. The pixel in row `i`, column `j` of the result shows the \
          place `(x, y) = matrix @ (j, i, 1)` of the image, where whole numbers are pixel centres and (0, 0) is the \
          centre of the top left pixel. Outside of the image there is 0 (`edge: \"zero\"`) or the nearest pixel \
          (`edge: \"edge\"`). No gradient flows to the matrix: a sample is only piecewise linear in its place, with \
          kinks at every pixel centre, and a view's map is drawn, not learned. A learned map is written with `take` and \
          interpolation weights, which are differentiable. Other devices than the CPU sample on the host.",
    signature: "(image: float[..b, c, h, w], matrix: float[..b, 2, 3]) -> float[..b, c, height, width]",
    attrs: &[("height", AttrKind::Size), ("width", AttrKind::Size), ("edge", AttrKind::Text)],
    infer: |infer| {
        let [image, _] = infer.operands("warp")?;
        matrices(infer, "warp")?;
        let size = [infer.one_size("warp", "height")?, infer.one_size("warp", "width")?];
        Ok(Types::from_elem(resized(image, size), 1))
    },
    gradient: Gradient::Except(1, MATRIX, |vjp| {
        let Some(dy) = vjp.cotangents[0] else { return vec![None, None] };
        let (image, matrix, attrs) = (vjp.operand(0), vjp.operand(1), vjp.attrs());
        let rule = &mut *vjp.builder;
        let edge = attrs.get("edge").cloned().unwrap_or(Attr::Text("zero".into()));
        let attrs = Attrs::none().with("size", last_two(rule, image)).with("edge", edge);
        vec![Some(rule.must(&WARP_GRADIENT, &[dy, matrix], attrs)), None]
    }),
    rows: Rows::Leading,
    kernel: |call| {
        let (given, matrix) = on_host(call)?;
        let y = &call.results[0].shape;
        let (g, edge) = (frame(given.dims(), y), edge(call.attrs));
        with_real!(given.dtype(), T => {
            let out = image::warp::<T>(&g, edge, &Elements::of(&given)?, &Elements::of(&matrix)?);
            Ok(Results::from_elem(Tensor::from_vec(out, y.as_slice(), call.device)?, 1))
        })
    },
    flops: Flops(|cost| 8.0 * cost.results[0].count() as f64, "8 a number of the result"),
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["warp([[[1.0, 2.0]]], [[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]], height: 1, width: 2, edge: \"zero\") \
         == [[[1.5, 1.0]]]"],
};

pub static WARP_GRADIENT: Op = Op {
    name: "warp_gradient",
    doc: "The adjoint of `warp` for an image of `size`. No gradient flows to the matrix, for the reason given there.",
    signature: "(dy: float[..b, c, oh, ow], matrix: float[..b, 2, 3]) -> float[..b, c, h, w]",
    attrs: &[("size", AttrKind::Sizes), ("edge", AttrKind::Text)],
    infer: |infer| {
        let [dy, _] = infer.operands("warp_gradient")?;
        matrices(infer, "warp_gradient")?;
        Ok(Types::from_elem(resized(dy, infer.two_sizes("warp_gradient", "size")?), 1))
    },
    gradient: Gradient::Except(1, MATRIX, |vjp| {
        let Some(g) = vjp.cotangents[0] else { return vec![None, None] };
        let (dy, matrix, attrs) = (vjp.operand(0), vjp.operand(1), vjp.attrs());
        let rule = &mut *vjp.builder;
        let edge = attrs.get("edge").cloned().unwrap_or(Attr::Text("zero".into()));
        let attrs = height_and_width(rule, dy).with("edge", edge);
        vec![Some(rule.must(&WARP, &[g, matrix], attrs)), None]
    }),
    rows: Rows::Leading,
    kernel: |call| {
        let (dy, matrix) = on_host(call)?;
        let x = &call.results[0].shape;
        let (g, edge) = (frame(x, dy.dims()), edge(call.attrs));
        with_real!(dy.dtype(), T => {
            let out = image::warp_gradient::<T>(&g, edge, &Elements::of(&dy)?, &Elements::of(&matrix)?);
            Ok(Results::from_elem(Tensor::from_vec(out, x.as_slice(), call.device)?, 1))
        })
    },
    flops: Flops(|cost| 8.0 * cost.inputs[0].count() as f64, "8 a number of dy"),
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &[
        "warp_gradient([[[1.0]]], [[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]], size: [1, 2], edge: \"zero\") == [[[0.5, 0.5]]]",
    ],
};

pub static CROP_RESIZE: Op = Op {
    name: "crop_resize",
    doc: "The part of the image in a box (top, left, height, width; pixels, fractions allowed), resized with a triangle \
          filter that is as wide as the step between samples: bilinear when enlarging, an average when reducing. Pixels \
          outside the box do not count: a box of whole pixels is torchvision's `resized_crop` with antialias. No gradient \
          flows to the box: the number of pixels under the filter jumps as the box moves, so the result is not \
          differentiable there, and a view's box is drawn, not learned. Other devices than the CPU resize on the host.",
    signature: "(image: float[..b, c, h, w], box: float[..b, 4]) -> float[..b, c, height, width]",
    attrs: &[("height", AttrKind::Size), ("width", AttrKind::Size)],
    infer: |infer| {
        let [image, _] = infer.operands("crop_resize")?;
        boxes(infer, "crop_resize")?;
        let size = [infer.one_size("crop_resize", "height")?, infer.one_size("crop_resize", "width")?];
        Ok(Types::from_elem(resized(image, size), 1))
    },
    gradient: Gradient::Except(1, BOX, |vjp| {
        let Some(dy) = vjp.cotangents[0] else { return vec![None, None] };
        let (image, place) = (vjp.operand(0), vjp.operand(1));
        let rule = &mut *vjp.builder;
        let attrs = Attrs::none().with("size", last_two(rule, image));
        vec![Some(rule.must(&CROP_RESIZE_GRADIENT, &[dy, place], attrs)), None]
    }),
    rows: Rows::Leading,
    kernel: |call| {
        let (given, place) = on_host(call)?;
        let y = &call.results[0].shape;
        let g = frame(given.dims(), y);
        with_real!(given.dtype(), T => {
            let place = Elements::<T>::of(&place)?;
            image::check_boxes("crop_resize", &place)?;
            let out = image::crop_resize::<T>(&g, &Elements::of(&given)?, &place);
            Ok(Results::from_elem(Tensor::from_vec(out, y.as_slice(), call.device)?, 1))
        })
    },
    flops: Flops(
        |cost| filtered(&cost.inputs[0].shape, &cost.results[0].shape),
        "2 a pixel under each of the two filters",
    ),
    domain: Domain::Special("boxes must have a positive size"),
    examples: &[
        "crop_resize([[[0.0, 2.0, 4.0, 6.0]]], [0.0, 0.0, 1.0, 4.0], height: 1, width: 4) == [[[0.0, 2.0, 4.0, 6.0]]]",
    ],
};

pub static CROP_RESIZE_GRADIENT: Op = Op {
    name: "crop_resize_gradient",
    doc: "The adjoint of `crop_resize` for an image of `size`. No gradient flows to the box, for the reason given there.",
    signature: "(dy: float[..b, c, oh, ow], box: float[..b, 4]) -> float[..b, c, h, w]",
    attrs: &[("size", AttrKind::Sizes)],
    infer: |infer| {
        let [dy, _] = infer.operands("crop_resize_gradient")?;
        boxes(infer, "crop_resize_gradient")?;
        Ok(Types::from_elem(resized(dy, infer.two_sizes("crop_resize_gradient", "size")?), 1))
    },
    gradient: Gradient::Except(1, BOX, |vjp| {
        let Some(g) = vjp.cotangents[0] else { return vec![None, None] };
        let (dy, place) = (vjp.operand(0), vjp.operand(1));
        let rule = &mut *vjp.builder;
        let attrs = height_and_width(rule, dy);
        vec![Some(rule.must(&CROP_RESIZE, &[g, place], attrs)), None]
    }),
    rows: Rows::Leading,
    kernel: |call| {
        let (dy, place) = on_host(call)?;
        let x = &call.results[0].shape;
        let g = frame(x, dy.dims());
        with_real!(dy.dtype(), T => {
            let place = Elements::<T>::of(&place)?;
            image::check_boxes("crop_resize_gradient", &place)?;
            let out = image::crop_resize_gradient::<T>(&g, &Elements::of(&dy)?, &place);
            Ok(Results::from_elem(Tensor::from_vec(out, x.as_slice(), call.device)?, 1))
        })
    },
    flops: Flops(
        |cost| filtered(&cost.results[0].shape, &cost.inputs[0].shape),
        "2 a pixel under each of the two filters",
    ),
    domain: Domain::Special("boxes must have a positive size"),
    examples: &["crop_resize_gradient([[[3.0]]], [0.0, 1.0, 1.0, 1.0], size: [1, 3]) == [[[0.0, 3.0, 0.0]]]"],
};

/// Images, and one thing of the given last sizes for each.
fn images(infer: &Infer<'_>, op: &str, last: &[i64], why: &str) -> Result<(), Mismatch> {
    infer.float(op, 0)?;
    infer.same_dtype(0, 1)?;
    infer.rank(op, 0, 3, true)?;
    let lead = infer.types[0].rank() - 3;
    infer.rank(op, 1, lead + last.len(), false)?;
    (0..lead).try_for_each(|at| infer.equal((0, at), (1, at)))?;
    last.iter().enumerate().try_for_each(|(at, size)| infer.size((1, lead + at), &Size::known(*size), why))
}

fn matrices(infer: &Infer<'_>, op: &str) -> Result<(), Mismatch> {
    images(infer, op, &[2, 3], "a matrix has 2 rows and 3 columns")?;
    match infer.attrs.text("edge") {
        Some("zero" | "edge") => Ok(()),
        Some(other) => Err(bad(format!("{op} has edge \"{other}\", which must be \"zero\" or \"edge\""))),
        None => Err(bad(format!("{op} needs an edge, \"zero\" or \"edge\""))),
    }
}

fn boxes(infer: &Infer<'_>, op: &str) -> Result<(), Mismatch> {
    images(infer, op, &[4], "a box is top, left, height and width")?;
    let ty = infer.types[0];
    let empty = ty.shape[ty.rank() - 2..].iter().any(|size| size.is(0));
    if empty {
        let fact = vec![(0, format!("{ty}: an image without pixels"))];
        return Err(mismatch(Code::ShapeMismatch, format!("{op} needs images that have pixels"), fact));
    }
    Ok(())
}

fn last_two(rule: &Builder, image: Value) -> Attr {
    let shape = rule.ty(image).shape.clone();
    Attr::Sizes(shape[shape.len() - 2..].to_vec())
}

fn height_and_width(rule: &Builder, dy: Value) -> Attrs {
    let shape = rule.ty(dy).shape.clone();
    let size = |back: usize| Attr::Size(shape[shape.len() - back].clone());
    Attrs::none().with("height", size(2)).with("width", size(1))
}

fn edge(attrs: &Attrs) -> Edge {
    if attrs.text("edge") == Some("edge") { Edge::Nearest } else { Edge::Zero }
}

/// Both operands where the loops are.
fn on_host(call: &Call<'_>) -> candle_core::Result<(Tensor, Tensor)> {
    let host = |at: usize| contiguous(&call.inputs[at].to_device(&Device::Cpu)?);
    Ok((host(0)?, host(1)?))
}

fn frame(x: &[usize], y: &[usize]) -> Frame {
    let lead = x.len() - 3;
    Frame {
        samples: x[..lead].iter().product(),
        channels: x[lead],
        height: x[lead + 1],
        width: x[lead + 2],
        out_height: y[lead + 1],
        out_width: y[lead + 2],
    }
}

/// Two filters in turn, each about two samples wide for a box of the whole image.
fn filtered(x: &[usize], y: &[usize]) -> f64 {
    let rank = x.len();
    let planes: usize = x[..rank - 2].iter().product();
    let narrow = x[rank - 2] * y[rank - 1];
    let wide = 2.0 * (x[rank - 1] as f64 / y[rank - 1].max(1) as f64).max(1.0);
    let tall = 2.0 * (x[rank - 2] as f64 / y[rank - 2].max(1) as f64).max(1.0);
    2.0 * planes as f64 * (narrow as f64 * wide + (y[rank - 2] * y[rank - 1]) as f64 * tall)
}
