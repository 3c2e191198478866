//! Elementwise functions.

use super::{Args, Builtin};
use crate::diagnostics::Code;
use crate::elaborate::Elaborator;
use crate::elaborate::operators::Meeting;
use crate::elaborate::value::{Tensor, Value};
use crate::graph::{Attr, Attrs, DType};
use crate::kernels::special;
use crate::ops::{Op, elementwise as op};

macro_rules! unary {
    ($name:literal, $op:expr, $fold:expr, $doc:literal) => {
        Builtin { name: $name, params: &["x"], doc: $doc, call: |this, args| this.unary_builtin(args, &$op, $fold) }
    };
}

pub const ROWS: &[Builtin] = &[
    unary!("exp", op::EXP, f64::exp, "e raised to each element"),
    unary!("log", op::LOG, f64::ln, "the natural logarithm"),
    unary!("log1p", op::LOG1P, f64::ln_1p, "log(1 + x), exact near 0"),
    unary!("expm1", op::EXPM1, f64::exp_m1, "exp(x) - 1, exact near 0"),
    unary!("sqrt", op::SQRT, f64::sqrt, "the square root"),
    unary!("rsqrt", op::RSQRT, |x: f64| 1.0 / x.sqrt(), "one over the square root"),
    unary!("sin", op::SIN, f64::sin, "the sine"),
    unary!("cos", op::COS, f64::cos, "the cosine"),
    unary!("tanh", op::TANH, f64::tanh, "the hyperbolic tangent"),
    unary!("erf", op::ERF, erf, "the error function"),
    unary!("lgamma", op::LGAMMA, special::lgamma, "the logarithm of the magnitude of the gamma function"),
    Builtin {
        name: "polygamma",
        params: &["x", "order"],
        doc: "the derivative of this order of the digamma function, which is order 0",
        call: polygamma,
    },
    unary!("floor", op::FLOOR, f64::floor, "rounded down"),
    unary!("ceil", op::CEIL, f64::ceil, "rounded up"),
    unary!("round", op::ROUND, f64::round_ties_even, "rounded to the nearest, halves to even"),
    Builtin {
        name: "abs",
        params: &["x"],
        doc: "the absolute value",
        call: |this, args| this.keeps_ints(args, &op::ABS, f64::abs),
    },
    Builtin {
        name: "sign",
        params: &["x"],
        doc: "-1, 0 or 1",
        call: |this, args| this.keeps_ints(args, &op::SIGN, sign),
    },
    Builtin { name: "is_finite", params: &["x"], doc: "neither infinite nor NaN", call: is_finite },
    Builtin {
        name: "select",
        params: &["condition", "a", "b"],
        doc: "a where the condition holds, else b",
        call: select,
    },
    Builtin { name: "float", params: &["x"], doc: "as floats", call: float },
    Builtin { name: "int", params: &["x"], doc: "as whole numbers, towards zero", call: int },
    Builtin { name: "bool", params: &["x"], doc: "whether not 0", call: bool_ },
    Builtin { name: "cast", params: &["x", "to"], doc: "as another element type, such as \"f64\"", call: cast },
    Builtin {
        name: "lerp",
        params: &["a", "b", "t"],
        doc: "a + (b - a) * t, for tensors and weight trees",
        call: lerp,
    },
];

impl Elaborator<'_> {
    fn unary_builtin(&mut self, args: &Args, op: &'static Op, fold: fn(f64) -> f64) -> Value {
        if let Some(x) = args.value(0).as_number() {
            return Value::Float(fold(x));
        }
        let Some(tensor) = self.tensor_arg(args, 0) else { return Value::Error };
        self.elementwise(op, &[tensor], Meeting::Float, &args.spans(), args.span)
    }

    fn keeps_ints(&mut self, args: &Args, op: &'static Op, fold: fn(f64) -> f64) -> Value {
        match args.value(0) {
            Value::Int(n) => return Value::Int(fold(n as f64) as i64),
            Value::Float(x) => return Value::Float(fold(x)),
            _ => {}
        }
        let Some(tensor) = self.tensor_arg(args, 0) else { return Value::Error };
        self.elementwise(op, &[tensor], Meeting::Number, &args.spans(), args.span)
    }
}

fn polygamma(this: &mut Elaborator<'_>, args: &Args) -> Value {
    let (Some(x), Some(order)) = (this.float_arg(args, 0), this.int_arg(args, 1, 0)) else { return Value::Error };
    match this.apply(&op::POLYGAMMA, &[x], Attrs::none().with("order", Attr::Int(order)), args.span) {
        Ok(tensor) => Value::Tensor(tensor),
        Err(mismatch) => this.fail_mismatch(*mismatch, args.span, &args.spans()),
    }
}

fn sign(x: f64) -> f64 {
    if x > 0.0 {
        1.0
    } else if x < 0.0 {
        -1.0
    } else {
        0.0
    }
}

/// Abramowitz and Stegun 7.1.26 is too coarse for a constant; the series converges for what programs write down.
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return sign(x);
    }
    let (mut term, mut sum, mut n) = (x, x, 0.0);
    while term.abs() > 1e-18 && n < 400.0 {
        n += 1.0;
        term *= -x * x / n;
        sum += term / (2.0 * n + 1.0);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

fn is_finite(this: &mut Elaborator<'_>, args: &Args) -> Value {
    if let Some(x) = args.value(0).as_number() {
        return Value::Bool(x.is_finite());
    }
    let Some(tensor) = this.tensor_arg(args, 0) else { return Value::Error };
    match this.apply(&op::IS_FINITE, &[tensor], Attrs::none(), args.span) {
        Ok(tensor) => Value::Tensor(tensor),
        Err(mismatch) => this.fail_mismatch(*mismatch, args.span, &args.spans()),
    }
}

fn select(this: &mut Elaborator<'_>, args: &Args) -> Value {
    match args.value(0) {
        Value::Bool(true) => return args.value(1),
        Value::Bool(false) => return args.value(2),
        _ => {}
    }
    let (Some(c), Some(a), Some(b)) = (this.tensor_arg(args, 0), this.tensor_arg(args, 1), this.tensor_arg(args, 2))
    else {
        return Value::Error;
    };
    let ty = this.ty(c);
    if ty.dtype != DType::Bool {
        return this.fail_help(
            Code::ElementType,
            args.span_of(0),
            format!("a condition is needed, this is {ty}"),
            ty.to_string(),
            "compare it first, such as `x > 0`",
        );
    }
    let spans = args.spans();
    let Some(branches) = this.meet(&[a, b], Meeting::Same, &spans[1..], args.span) else { return Value::Error };
    this.select_meeting([c, branches[0], branches[1]], &spans, args)
}

impl Elaborator<'_> {
    fn select_meeting(&mut self, [c, a, b]: [Tensor; 3], spans: &[crate::source::Span], args: &Args) -> Value {
        let Some(shape) = self.common_shape(&[c, a, b], spans) else { return Value::Error };
        let mut operands = Vec::new();
        for operand in [c, a, b] {
            match self.broadcast_to(operand, &shape, args.span) {
                Some(operand) => operands.push(operand),
                None => return Value::Error,
            }
        }
        match self.apply(&op::SELECT, &operands, Attrs::none(), args.span) {
            Ok(tensor) => Value::Tensor(Tensor { weak: a.weak && b.weak && tensor.weak, ..tensor }),
            Err(mismatch) => self.fail_mismatch(*mismatch, args.span, spans),
        }
    }
}

fn float(this: &mut Elaborator<'_>, args: &Args) -> Value {
    match args.value(0) {
        Value::Int(n) => Value::Float(n as f64),
        value @ Value::Float(_) => value,
        Value::Bool(b) => Value::Float(f64::from(u8::from(b))),
        _ => {
            let Some(tensor) = this.tensor_arg(args, 0) else { return Value::Error };
            if this.ty(tensor).dtype.is_float() {
                return Value::Tensor(tensor);
            }
            let dtype = if tensor.weak { DType::F64 } else { this.float };
            Value::Tensor(this.cast(tensor, dtype, args.span))
        }
    }
}

fn int(this: &mut Elaborator<'_>, args: &Args) -> Value {
    match args.value(0) {
        value @ (Value::Int(_) | Value::Size(_)) => value,
        Value::Float(x) => Value::Int(x as i64),
        Value::Bool(b) => Value::Int(i64::from(b)),
        _ => {
            let Some(tensor) = this.tensor_arg(args, 0) else { return Value::Error };
            Value::Tensor(this.cast(tensor, DType::I64, args.span))
        }
    }
}

fn bool_(this: &mut Elaborator<'_>, args: &Args) -> Value {
    match args.value(0) {
        value @ Value::Bool(_) => value,
        value if value.as_number().is_some() => Value::Bool(value.as_number() != Some(0.0)),
        value => this.binary(crate::syntax::BinaryOp::NotEqual, value, Value::Int(0), [args.span_of(0); 2], args.span),
    }
}

fn cast(this: &mut Elaborator<'_>, args: &Args) -> Value {
    let Some(name) = this.need_static_text(&args.value(1), args.span_of(1)) else { return Value::Error };
    let Some(dtype) = DType::from_name(&name) else {
        let known = DType::ALL.map(DType::name).join(", ");
        return this.fail_help(
            Code::BadValue,
            args.span_of(1),
            format!("unknown element type \"{name}\""),
            "here",
            format!("choose one of {known}"),
        );
    };
    let Some(tensor) = this.tensor_arg(args, 0) else { return Value::Error };
    let tensor = this.cast(tensor, dtype, args.span);
    Value::Tensor(Tensor { weak: false, ..tensor })
}

fn lerp(this: &mut Elaborator<'_>, args: &Args) -> Value {
    use crate::syntax::BinaryOp;
    let (a, b, t) = (args.value(0), args.value(1), args.value(2));
    let spans = [args.span_of(0), args.span_of(1)];
    let difference = this.binary(BinaryOp::Subtract, b, a.clone(), spans, args.span);
    let part = this.binary(BinaryOp::Multiply, difference, t, [spans[1], args.span_of(2)], args.span);
    this.binary(BinaryOp::Add, a, part, spans, args.span)
}
