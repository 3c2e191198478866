//! One method of the builder for each primitive that gradient rules, lifting and passes write with.
//!
//! In: values that fit, by the rule's own doing. Out: appended nodes. Never here: a user's mistake; a misfit is a bug of
//! the rule and stops the program with the rule's facts.

use super::{elementwise, random, reduce, shape, structure};
use crate::graph::{Attr, Attrs, Builder, DType, Size, Type, Value};
use crate::ops::Op;

impl Builder {
    /// Appends an application that fits.
    ///
    /// # Panics
    ///
    /// Where it does not, which is a bug of the rule that wrote it.
    pub fn must(&mut self, op: &'static Op, operands: &[Value], attrs: Attrs) -> Value {
        match self.apply(op, operands, attrs) {
            Ok(value) => value,
            Err(fault) => panic!("internal: `{}` was built of what does not fit: {fault:?}", op.name),
        }
    }

    fn plain(&mut self, op: &'static Op, operands: &[Value]) -> Value {
        self.must(op, operands, Attrs::none())
    }
}

/// Methods for ops that have no attributes.
macro_rules! plain {
    ($($method:ident($($operand:ident),*) = $op:expr;)*) => {
        impl Builder {
            $(pub fn $method(&mut self, $($operand: Value),*) -> Value {
                self.plain(&$op, &[$($operand),*])
            })*
        }
    };
}

plain! {
    stop(x) = structure::STOP;
    neg(x) = elementwise::NEG;
    abs(x) = elementwise::ABS;
    sign(x) = elementwise::SIGN;
    exp(x) = elementwise::EXP;
    log(x) = elementwise::LOG;
    log1p(x) = elementwise::LOG1P;
    expm1(x) = elementwise::EXPM1;
    sqrt(x) = elementwise::SQRT;
    rsqrt(x) = elementwise::RSQRT;
    recip(x) = elementwise::RECIP;
    sin(x) = elementwise::SIN;
    cos(x) = elementwise::COS;
    tanh(x) = elementwise::TANH;
    erf(x) = elementwise::ERF;
    floor(x) = elementwise::FLOOR;
    ceil(x) = elementwise::CEIL;
    round(x) = elementwise::ROUND;
    is_finite(x) = elementwise::IS_FINITE;
    not(x) = elementwise::NOT;
    add(a, b) = elementwise::ADD;
    sub(a, b) = elementwise::SUB;
    mul(a, b) = elementwise::MUL;
    div(a, b) = elementwise::DIV;
    pow(a, b) = elementwise::POW;
    maximum(a, b) = elementwise::MAXIMUM;
    minimum(a, b) = elementwise::MINIMUM;
    floor_div(a, b) = elementwise::FLOOR_DIV;
    remainder(a, b) = elementwise::REMAINDER;
    eq(a, b) = elementwise::EQ;
    ne(a, b) = elementwise::NE;
    lt(a, b) = elementwise::LT;
    le(a, b) = elementwise::LE;
    gt(a, b) = elementwise::GT;
    ge(a, b) = elementwise::GE;
    and(a, b) = elementwise::AND;
    or(a, b) = elementwise::OR;
    select(condition, a, b) = elementwise::SELECT;
}

impl Builder {
    /// A tensor of one value, of another value's type.
    pub fn splat(&mut self, value: f64, ty: &Type) -> Value {
        let attrs = Attrs::none().with("values", Attr::Floats(vec![value]));
        let attrs = attrs.with("dtype", Attr::DType(ty.dtype)).with("shape", Attr::Sizes(ty.shape.to_vec()));
        self.must(&structure::CONSTANT, &[], attrs)
    }

    /// A number.
    pub fn constant(&mut self, value: f64, dtype: DType) -> Value {
        self.splat(value, &Type::scalar(dtype))
    }

    /// A tensor of one value, of the type of `like`.
    pub fn splat_like(&mut self, value: f64, like: Value) -> Value {
        let ty = self.ty(like).clone();
        self.splat(value, &ty)
    }

    /// Every element times a number.
    pub fn scale(&mut self, x: Value, factor: f64) -> Value {
        let factor = self.splat_like(factor, x);
        self.mul(x, factor)
    }

    /// `0, 1, …` below `size`.
    pub fn iota(&mut self, size: Size) -> Value {
        self.must(&structure::IOTA, &[], Attrs::none().with("size", Attr::Size(size)))
    }

    /// A size as a number of the graph.
    pub fn size(&mut self, size: Size) -> Value {
        self.must(&structure::SIZE, &[], Attrs::none().with("size", Attr::Size(size)))
    }

    /// The elements in another type; the value itself where it has that type.
    pub fn cast(&mut self, x: Value, dtype: DType) -> Value {
        if self.ty(x).dtype == dtype {
            return x;
        }
        self.must(&elementwise::CAST, &[x], Attrs::none().with("dtype", Attr::DType(dtype)))
    }

    fn fold(&mut self, op: &'static Op, x: Value, axes: &[usize]) -> Value {
        self.must(op, &[x], axes_attr(axes))
    }

    pub fn sum(&mut self, x: Value, axes: &[usize]) -> Value {
        self.fold(&reduce::SUM, x, axes)
    }

    pub fn max(&mut self, x: Value, axes: &[usize]) -> Value {
        self.fold(&reduce::MAX, x, axes)
    }

    pub fn min(&mut self, x: Value, axes: &[usize]) -> Value {
        self.fold(&reduce::MIN, x, axes)
    }

    pub fn prod(&mut self, x: Value, axes: &[usize]) -> Value {
        self.fold(&reduce::PROD, x, axes)
    }

    pub fn cumsum(&mut self, x: Value, axis: usize) -> Value {
        self.must(&reduce::CUMSUM, &[x], axis_attr(axis))
    }

    /// The sum of terms of one type; the term itself where there is one.
    pub fn accumulate(&mut self, terms: &[Value]) -> Value {
        match terms {
            [term] => *term,
            _ => self.plain(&reduce::ACCUMULATE, terms),
        }
    }

    /// Another shape of the same elements; the value itself where it has that shape.
    pub fn reshape(&mut self, x: Value, shape: &[Size]) -> Value {
        if self.ty(x).shape[..] == *shape {
            return x;
        }
        self.must(&shape::RESHAPE, &[x], Attrs::none().with("shape", Attr::Sizes(shape.to_vec())))
    }

    pub fn permute(&mut self, x: Value, axes: &[usize]) -> Value {
        self.must(&shape::PERMUTE, &[x], axes_attr(axes))
    }

    /// The last two axes exchanged.
    pub fn transpose(&mut self, x: Value) -> Value {
        let rank = self.ty(x).rank();
        let mut axes: Vec<usize> = (0..rank).collect();
        axes.swap(rank - 1, rank - 2);
        self.permute(x, &axes)
    }

    /// Repeats a value to `shape`, its axis `i` becoming axis `axes[i]`; the value itself where nothing changes.
    pub fn broadcast(&mut self, x: Value, shape: &[Size], axes: &[usize]) -> Value {
        if self.ty(x).shape[..] == *shape {
            return x;
        }
        let attrs = Attrs::none().with("shape", Attr::Sizes(shape.to_vec()));
        let axes = axes.iter().map(|axis| *axis as i64).collect();
        self.must(&shape::BROADCAST, &[x], attrs.with("axes", Attr::Ints(axes)))
    }

    /// Undoes the shape of a fold: a value without `axes` repeated along them.
    pub fn spread(&mut self, x: Value, shape: &[Size], axes: &[usize]) -> Value {
        let kept: Vec<usize> = (0..shape.len()).filter(|axis| !axes.contains(axis)).collect();
        self.broadcast(x, shape, &kept)
    }

    pub fn slice(&mut self, x: Value, start: &[Size], stop: &[Size], step: &[i64]) -> Value {
        let attrs = Attrs::none().with("start", Attr::Sizes(start.to_vec())).with("stop", Attr::Sizes(stop.to_vec()));
        self.must(&shape::SLICE, &[x], attrs.with("step", Attr::Ints(step.to_vec())))
    }

    /// The part of a value between two places of one axis.
    pub fn slice_axis(&mut self, x: Value, axis: usize, start: Size, stop: Size) -> Value {
        let mut stops = self.ty(x).shape.to_vec();
        let mut starts = vec![Size::known(0); stops.len()];
        (starts[axis], stops[axis]) = (start, stop);
        let step = vec![1; stops.len()];
        self.slice(x, &starts, &stops, &step)
    }

    pub fn pad(&mut self, x: Value, low: &[Size], high: &[Size], inner: &[i64], value: f64) -> Value {
        let attrs = Attrs::none().with("low", Attr::Sizes(low.to_vec())).with("high", Attr::Sizes(high.to_vec()));
        let attrs = attrs.with("inner", Attr::Ints(inner.to_vec())).with("value", Attr::Float(value));
        self.must(&shape::PAD, &[x], attrs)
    }

    pub fn concat(&mut self, parts: &[Value], axis: usize) -> Value {
        self.must(&shape::CONCAT, parts, axis_attr(axis))
    }

    pub fn flip(&mut self, x: Value, axes: &[usize]) -> Value {
        self.must(&shape::FLIP, &[x], axes_attr(axes))
    }

    pub fn fold_key(&mut self, key: Value, path: &str) -> Value {
        self.must(&random::FOLD_KEY, &[key], Attrs::none().with("path", Attr::Text(path.into())))
    }

    pub fn fold_index(&mut self, key: Value, index: Value) -> Value {
        self.plain(&random::FOLD_INDEX, &[key, index])
    }
}

/// The attribute `axes`.
pub fn axes_attr(axes: &[usize]) -> Attrs {
    Attrs::none().with("axes", Attr::Ints(axes.iter().map(|axis| *axis as i64).collect()))
}

/// The attribute `axis`.
pub fn axis_attr(axis: usize) -> Attrs {
    Attrs::none().with("axis", Attr::Int(axis as i64))
}
