//! Factors of matrices, what is solved with them, and Fourier transforms.

use super::{Args, Builtin};
use crate::elaborate::Elaborator;
use crate::elaborate::value::{Tensor, Value};
use crate::graph::{Attr, Attrs, Size, Value as GraphValue};
use crate::ops::{self, Op, linalg};

pub const ROWS: &[Builtin] = &[
    Builtin {
        name: "cholesky",
        params: &["x"],
        doc: "the lower triangle l with l @ l.T equal to a positive definite x",
        call: |this, args| named(this, &linalg::CHOLESKY, 1, Attrs::none(), args, &[]),
    },
    Builtin {
        name: "triangular_solve",
        params: &["a", "b", "upper?"],
        doc: "x with a @ x == b, of which only one triangle is read, the lower by default",
        call: triangular_solve,
    },
    Builtin {
        name: "solve",
        params: &["a", "b"],
        doc: "x with a @ x == b; b may be a vector",
        call: |this, args| solved(this, &linalg::SOLVE, Attrs::none(), args),
    },
    Builtin {
        name: "logdet",
        params: &["x"],
        doc: "the logarithm of the determinant",
        call: |this, args| named(this, &linalg::LOGDET, 1, Attrs::none(), args, &[]),
    },
    Builtin {
        name: "eigh",
        params: &["x"],
        doc: "{ values, vectors } of a symmetric matrix, values ascending, vectors in columns",
        call: |this, args| named(this, &linalg::EIGH, 1, Attrs::none(), args, &["values", "vectors"]),
    },
    Builtin {
        name: "svd",
        params: &["x"],
        doc: "{ u, s, vh } with x == u @ diag(s) @ vh, s descending",
        call: |this, args| named(this, &linalg::SVD, 1, Attrs::none(), args, &["u", "s", "vh"]),
    },
    Builtin {
        name: "fft_op",
        params: &["re", "im", "axis?", "inverse?"],
        doc: "{ re, im } of the discrete Fourier transform along `axis`, divided by nothing",
        call: fft,
    },
];

/// Applies an op to the first `count` arguments; several results make a record of these names.
fn named(
    this: &mut Elaborator<'_>,
    op: &'static Op,
    count: usize,
    attrs: Attrs,
    args: &Args,
    names: &[&'static str],
) -> Value {
    let Some(operands) = (0..count).map(|at| this.float_arg(args, at)).collect::<Option<Vec<Tensor>>>() else {
        return Value::Error;
    };
    match this.apply(op, &operands, attrs, args.span) {
        Ok(first) if names.is_empty() => Value::Tensor(first),
        Ok(first) => Value::record((0u16..).zip(names).map(|(out, name)| {
            let result = Tensor { value: GraphValue { node: first.value.node, out }, ..first };
            ((*name).into(), Value::Tensor(result))
        })),
        Err(mismatch) => this.fail_mismatch(*mismatch, args.span, &args.spans()),
    }
}

fn triangular_solve(this: &mut Elaborator<'_>, args: &Args) -> Value {
    let Some(upper) = this.flag_arg(args, 2) else { return Value::Error };
    solved(this, &linalg::TRIANGULAR_SOLVE, Attrs::none().with("upper", Attr::Bool(upper)), args)
}

/// `b` is a matrix, or a vector that counts as one column.
fn solved(this: &mut Elaborator<'_>, op: &'static Op, attrs: Attrs, args: &Args) -> Value {
    let (Some(a), Some(b)) = (this.float_arg(args, 0), this.float_arg(args, 1)) else { return Value::Error };
    let shape = this.ty(b).shape.to_vec();
    let reshaped = |this: &mut Elaborator<'_>, x: Tensor, shape: &[Size]| {
        let attrs = Attrs::none().with("shape", Attr::Sizes(shape.to_vec()));
        this.apply(&ops::shape::RESHAPE, &[x], attrs, args.span)
    };
    let result = if shape.len() + 1 == this.ty(a).rank() {
        let column: Vec<Size> = shape.iter().cloned().chain([Size::known(1)]).collect();
        reshaped(this, b, &column)
            .and_then(|b| this.apply(op, &[a, b], attrs, args.span))
            .and_then(|x| reshaped(this, x, &shape))
    } else {
        this.apply(op, &[a, b], attrs, args.span)
    };
    match result {
        Ok(x) => Value::Tensor(x),
        Err(mismatch) => this.fail_mismatch(*mismatch, args.span, &args.spans()),
    }
}

fn fft(this: &mut Elaborator<'_>, args: &Args) -> Value {
    let Some(re) = this.float_arg(args, 0) else { return Value::Error };
    let (Some(axis), Some(inverse)) = (this.int_arg(args, 2, -1), this.flag_arg(args, 3)) else {
        return Value::Error;
    };
    let rank = this.ty(re).rank();
    let Some(axis) = this.axis_of(axis, rank, args.span_of(2)) else { return Value::Error };
    let attrs = Attrs::none().with("axis", Attr::Int(axis as i64)).with("inverse", Attr::Bool(inverse));
    named(this, &ops::fourier::FFT, 2, attrs, args, &["re", "im"])
}
