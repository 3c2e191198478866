//! Convolution, pooling and the geometry of pictures, under the names that the library builds on.

use super::{Args, Builtin};
use crate::elaborate::Elaborator;
use crate::elaborate::value::{Tensor, Value};
use crate::graph::{Attr, Attrs};
use crate::ops::{self, Op};

pub const ROWS: &[Builtin] = &[
    Builtin {
        name: "conv2d_op",
        params: &["x", "w", "stride?", "padding?", "dilation?", "groups?"],
        doc: "2-d convolution of [n, c, h, w] with [o, c / groups, kh, kw]; padding is top, bottom, left, right",
        call: conv2d,
    },
    Builtin {
        name: "max_pool2d_op",
        params: &["x", "window?", "stride?", "padding?"],
        doc: "the maximum of each window",
        call: |this, args| this.pool(args, &ops::pool::MAX_POOL2D),
    },
    Builtin {
        name: "sum_pool2d_op",
        params: &["x", "window?", "stride?", "padding?"],
        doc: "the sum of each window, zeros outside",
        call: |this, args| this.pool(args, &ops::pool::SUM_POOL2D),
    },
    Builtin {
        name: "warp",
        params: &["image", "matrix", "height", "width", "edge?"],
        doc: "bilinear samples where the matrix [2, 3] sends the output's pixel centres (x, y)",
        call: warp,
    },
    Builtin {
        name: "crop_resize",
        params: &["image", "box", "height", "width"],
        doc: "the box [top, left, height, width] in pixels, scaled with antialiasing",
        call: crop_resize,
    },
];

fn finish(this: &mut Elaborator<'_>, op: &'static Op, operands: &[Tensor], attrs: Attrs, args: &Args) -> Value {
    match this.apply(op, operands, attrs, args.span) {
        Ok(tensor) => Value::Tensor(tensor),
        Err(mismatch) => this.fail_mismatch(*mismatch, args.span, &args.spans()),
    }
}

fn conv2d(this: &mut Elaborator<'_>, args: &Args) -> Value {
    let (Some(x), Some(w)) = (this.float_arg(args, 0), this.float_arg(args, 1)) else { return Value::Error };
    let (Some(stride), Some(padding), Some(dilation), Some(groups)) = (
        this.ints_arg(args, 2, &[1, 1]),
        this.ints_arg(args, 3, &[0; 4]),
        this.ints_arg(args, 4, &[1, 1]),
        this.int_arg(args, 5, 1),
    ) else {
        return Value::Error;
    };
    let attrs = Attrs::none()
        .with("stride", Attr::Ints(stride))
        .with("padding", Attr::Ints(padding))
        .with("dilation", Attr::Ints(dilation))
        .with("groups", Attr::Int(groups));
    finish(this, &ops::conv::CONV2D, &[x, w], attrs, args)
}

impl Elaborator<'_> {
    fn pool(&mut self, args: &Args, op: &'static Op) -> Value {
        let Some(x) = self.float_arg(args, 0) else { return Value::Error };
        let (Some(window), Some(padding)) = (self.ints_arg(args, 1, &[2, 2]), self.ints_arg(args, 3, &[0; 4])) else {
            return Value::Error;
        };
        let Some(stride) = self.ints_arg(args, 2, &window) else { return Value::Error };
        let attrs = Attrs::none()
            .with("window", Attr::Ints(window))
            .with("stride", Attr::Ints(stride))
            .with("padding", Attr::Ints(padding));
        finish(self, op, &[x], attrs, args)
    }
}

fn warp(this: &mut Elaborator<'_>, args: &Args) -> Value {
    let (Some(image), Some(matrix)) = (this.float_arg(args, 0), this.float_arg(args, 1)) else { return Value::Error };
    let (Some(height), Some(width)) = (this.size_arg(args, 2), this.size_arg(args, 3)) else { return Value::Error };
    let edge = match args.value(4) {
        Value::None => "zero".into(),
        other => match this.need_static_text(&other, args.span_of(4)) {
            Some(edge) => edge,
            None => return Value::Error,
        },
    };
    let attrs = Attrs::none()
        .with("height", Attr::Size(height))
        .with("width", Attr::Size(width))
        .with("edge", Attr::Text(edge));
    finish(this, &ops::image::WARP, &[image, matrix], attrs, args)
}

fn crop_resize(this: &mut Elaborator<'_>, args: &Args) -> Value {
    let (Some(image), Some(place)) = (this.float_arg(args, 0), this.float_arg(args, 1)) else { return Value::Error };
    let (Some(height), Some(width)) = (this.size_arg(args, 2), this.size_arg(args, 3)) else { return Value::Error };
    let attrs = Attrs::none().with("height", Attr::Size(height)).with("width", Attr::Size(width));
    finish(this, &ops::image::CROP_RESIZE, &[image, place], attrs, args)
}
