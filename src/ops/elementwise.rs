//! Ops that treat every element alike. Operands have one shape: broadcasts and casts are nodes of their own.

use super::check::{self, ONE_EACH, one, result};
use super::*;
use crate::kernels::elementwise::{self as loops, Binary, Unary};
use crate::program::Narrow;

pub use super::logic::{AND, EQ, GE, GT, IS_FINITE, LE, LT, NE, NOT, OR, SELECT};
pub use super::special::{LGAMMA, POLYGAMMA};

pub const OPS: &[&Op] = &[
    &NEG, &ABS, &SIGN, &EXP, &LOG, &LOG1P, &EXPM1, &SQRT, &RSQRT, &RECIP, &SIN, &COS, &TANH, &ERF, &LGAMMA, &POLYGAMMA,
    &NARROW, &FLOOR, &CEIL, &ROUND, &IS_FINITE, &NOT, &CAST, &ADD, &SUB, &MUL, &DIV, &POW, &MAXIMUM, &MINIMUM,
    &FLOOR_DIV, &REMAINDER, &EQ, &NE, &LT, &LE, &GT, &GE, &AND, &OR, &SELECT,
];

type Inferred = Result<Types, Mismatch>;

fn unary_float(infer: &Infer<'_>) -> Inferred {
    let [x] = check::operands(infer)?;
    check::float(0, x)?;
    one(x.clone())
}

fn unary_number(infer: &Infer<'_>) -> Inferred {
    let [x] = check::operands(infer)?;
    check::number(0, x)?;
    one(x.clone())
}

fn binary_number(infer: &Infer<'_>) -> Inferred {
    let [a, b] = check::operands(infer)?;
    check::number(0, a)?;
    check::same_type((0, a), (1, b))?;
    one(a.clone())
}

fn unary(call: &Call<'_>, op: Unary) -> candle_core::Result<Results> {
    result(loops::unary(&call.inputs[0], op))
}

fn binary(call: &Call<'_>, op: Binary) -> candle_core::Result<Results> {
    result(loops::binary(&call.inputs[0], &call.inputs[1], op))
}

/// The rule of `y = f(x)` where the cotangent is a function of the builder, `x`, `y` and the cotangent of `y`.
fn through(vjp: &mut Vjp<'_>, of: impl Fn(&mut Builder, Value, Value, Value) -> Value) -> Vec<Option<Value>> {
    let (x, y) = (vjp.operand(0), vjp.result(0));
    let cotangent = vjp.cotangents[0].map(|g| of(vjp.builder, x, y, g));
    vec![cotangent]
}

/// The same for `y = f(a, b)`, with a cotangent for each operand.
fn through_two(
    vjp: &mut Vjp<'_>,
    of: impl Fn(&mut Builder, [Value; 2], Value, Value) -> (Value, Value),
) -> Vec<Option<Value>> {
    let (operands, y) = ([vjp.operand(0), vjp.operand(1)], vjp.result(0));
    match vjp.cotangents[0] {
        None => vec![None, None],
        Some(g) => {
            let (a, b) = of(vjp.builder, operands, y, g);
            vec![Some(a), Some(b)]
        }
    }
}

pub static NEG: Op = Op {
    name: "neg",
    doc: "The number with its sign changed.",
    signature: "(x: number[..s]) -> number[..s]",
    attrs: &[],
    infer: unary_number,
    gradient: Gradient::Rule(|vjp| through(vjp, |b, _, _, g| b.neg(g))),
    rows: Rows::Leading,
    kernel: |call| unary(call, Unary::Neg),
    flops: ONE_EACH,
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["-[1.0, -2.0] == [-1.0, 2.0]"],
};

pub static ABS: Op = Op {
    name: "abs",
    doc: "The distance from 0. The gradient at 0 is 0.",
    signature: "(x: number[..s]) -> number[..s]",
    attrs: &[],
    infer: unary_number,
    gradient: Gradient::Rule(|vjp| {
        through(vjp, |b, x, _, g| {
            let sign = b.sign(x);
            b.mul(g, sign)
        })
    }),
    rows: Rows::Leading,
    kernel: |call| unary(call, Unary::Abs),
    flops: ONE_EACH,
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["abs([1.0, -2.0]) == [1.0, 2.0]"],
};

pub static SIGN: Op = Op {
    name: "sign",
    doc: "-1, 0 or 1.",
    signature: "(x: number[..s]) -> number[..s]",
    attrs: &[],
    infer: unary_number,
    gradient: Gradient::Zero("piecewise constant"),
    rows: Rows::Leading,
    kernel: |call| unary(call, Unary::Sign),
    flops: ONE_EACH,
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["sign([3.0, 0.0, -2.0]) == [1.0, 0.0, -1.0]"],
};

pub static EXP: Op = Op {
    name: "exp",
    doc: "e raised to each element.",
    signature: "(x: float[..s]) -> float[..s]",
    attrs: &[],
    infer: unary_float,
    gradient: Gradient::Rule(|vjp| through(vjp, |b, _, y, g| b.mul(g, y))),
    rows: Rows::Leading,
    kernel: |call| unary(call, Unary::Exp),
    flops: ONE_EACH,
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["exp([0.0, 1.0]) == [1.0, 2.7182817]"],
};

pub static LOG: Op = Op {
    name: "log",
    doc: "The natural logarithm.",
    signature: "(x: float[..s]) -> float[..s]",
    attrs: &[],
    infer: unary_float,
    gradient: Gradient::Rule(|vjp| through(vjp, |b, x, _, g| b.div(g, x))),
    rows: Rows::Leading,
    kernel: |call| unary(call, Unary::Log),
    flops: ONE_EACH,
    domain: Domain::Uniform(0.5, 3.0),
    examples: &["log([1.0, 2.7182817]) == [0.0, 1.0]"],
};

pub static LOG1P: Op = Op {
    name: "log1p",
    doc: "The natural logarithm of 1 + x, exact for small x.",
    signature: "(x: float[..s]) -> float[..s]",
    attrs: &[],
    infer: unary_float,
    gradient: Gradient::Rule(|vjp| {
        through(vjp, |b, x, _, g| {
            let one = b.splat_like(1.0, x);
            let sum = b.add(x, one);
            b.div(g, sum)
        })
    }),
    rows: Rows::Leading,
    kernel: |call| unary(call, Unary::Log1p),
    flops: ONE_EACH,
    domain: Domain::Uniform(-0.5, 2.0),
    examples: &["log1p([0.0, 1.7182817]) == [0.0, 1.0]"],
};

pub static EXPM1: Op = Op {
    name: "expm1",
    doc: "e raised to each element, less 1, exact for small x.",
    signature: "(x: float[..s]) -> float[..s]",
    attrs: &[],
    infer: unary_float,
    gradient: Gradient::Rule(|vjp| {
        through(vjp, |b, _, y, g| {
            let one = b.splat_like(1.0, y);
            let exp = b.add(y, one);
            b.mul(g, exp)
        })
    }),
    rows: Rows::Leading,
    kernel: |call| unary(call, Unary::Expm1),
    flops: ONE_EACH,
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["expm1([0.0, 1.0]) == [0.0, 1.7182817]"],
};

pub static SQRT: Op = Op {
    name: "sqrt",
    doc: "The square root.",
    signature: "(x: float[..s]) -> float[..s]",
    attrs: &[],
    infer: unary_float,
    gradient: Gradient::Rule(|vjp| {
        through(vjp, |b, _, y, g| {
            let half = b.scale(g, 0.5);
            b.div(half, y)
        })
    }),
    rows: Rows::Leading,
    kernel: |call| unary(call, Unary::Sqrt),
    flops: ONE_EACH,
    domain: Domain::Uniform(0.5, 3.0),
    examples: &["sqrt([4.0, 9.0]) == [2.0, 3.0]"],
};

pub static RSQRT: Op = Op {
    name: "rsqrt",
    doc: "1 over the square root.",
    signature: "(x: float[..s]) -> float[..s]",
    attrs: &[],
    infer: unary_float,
    gradient: Gradient::Rule(|vjp| {
        through(vjp, |b, _, y, g| {
            let square = b.mul(y, y);
            let cube = b.mul(square, y);
            let half = b.scale(g, -0.5);
            b.mul(half, cube)
        })
    }),
    rows: Rows::Leading,
    kernel: |call| unary(call, Unary::Rsqrt),
    flops: ONE_EACH,
    domain: Domain::Uniform(0.5, 3.0),
    examples: &["rsqrt([4.0, 16.0]) == [0.5, 0.25]"],
};

pub static RECIP: Op = Op {
    name: "recip",
    doc: "1 over each element.",
    signature: "(x: float[..s]) -> float[..s]",
    attrs: &[],
    infer: unary_float,
    gradient: Gradient::Rule(|vjp| {
        through(vjp, |b, _, y, g| {
            let square = b.mul(y, y);
            let minus = b.neg(g);
            b.mul(minus, square)
        })
    }),
    rows: Rows::Leading,
    kernel: |call| unary(call, Unary::Recip),
    flops: ONE_EACH,
    domain: Domain::Uniform(0.5, 3.0),
    examples: &["recip([2.0, 4.0]) == [0.5, 0.25]"],
};

pub static SIN: Op = Op {
    name: "sin",
    doc: "The sine of an angle in radians.",
    signature: "(x: float[..s]) -> float[..s]",
    attrs: &[],
    infer: unary_float,
    gradient: Gradient::Rule(|vjp| {
        through(vjp, |b, x, _, g| {
            let cos = b.cos(x);
            b.mul(g, cos)
        })
    }),
    rows: Rows::Leading,
    kernel: |call| unary(call, Unary::Sin),
    flops: ONE_EACH,
    domain: Domain::Uniform(-3.0, 3.0),
    examples: &["sin([0.0]) == [0.0]"],
};

pub static COS: Op = Op {
    name: "cos",
    doc: "The cosine of an angle in radians.",
    signature: "(x: float[..s]) -> float[..s]",
    attrs: &[],
    infer: unary_float,
    gradient: Gradient::Rule(|vjp| {
        through(vjp, |b, x, _, g| {
            let sin = b.sin(x);
            let minus = b.neg(g);
            b.mul(minus, sin)
        })
    }),
    rows: Rows::Leading,
    kernel: |call| unary(call, Unary::Cos),
    flops: ONE_EACH,
    domain: Domain::Uniform(-3.0, 3.0),
    examples: &["cos([0.0]) == [1.0]"],
};

pub static TANH: Op = Op {
    name: "tanh",
    doc: "The hyperbolic tangent.",
    signature: "(x: float[..s]) -> float[..s]",
    attrs: &[],
    infer: unary_float,
    gradient: Gradient::Rule(|vjp| {
        through(vjp, |b, _, y, g| {
            let square = b.mul(y, y);
            let one = b.splat_like(1.0, y);
            let slope = b.sub(one, square);
            b.mul(g, slope)
        })
    }),
    rows: Rows::Leading,
    kernel: |call| unary(call, Unary::Tanh),
    flops: ONE_EACH,
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["tanh([0.0]) == [0.0]"],
};

pub static ERF: Op = Op {
    name: "erf",
    doc: "The error function.",
    signature: "(x: float[..s]) -> float[..s]",
    attrs: &[],
    infer: unary_float,
    gradient: Gradient::Rule(|vjp| {
        through(vjp, |b, x, _, g| {
            let square = b.mul(x, x);
            let minus = b.neg(square);
            let bell = b.exp(minus);
            let scaled = b.scale(g, std::f64::consts::FRAC_2_SQRT_PI);
            b.mul(scaled, bell)
        })
    }),
    rows: Rows::Leading,
    kernel: |call| unary(call, Unary::Erf),
    flops: ONE_EACH,
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["erf([0.0]) == [0.0]"],
};

pub static FLOOR: Op = Op {
    name: "floor",
    doc: "The nearest integer below.",
    signature: "(x: float[..s]) -> float[..s]",
    attrs: &[],
    infer: unary_float,
    gradient: Gradient::Zero("piecewise constant"),
    rows: Rows::Leading,
    kernel: |call| unary(call, Unary::Floor),
    flops: ONE_EACH,
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["floor([1.5, -1.5]) == [1.0, -2.0]"],
};

pub static CEIL: Op = Op {
    name: "ceil",
    doc: "The nearest integer above.",
    signature: "(x: float[..s]) -> float[..s]",
    attrs: &[],
    infer: unary_float,
    gradient: Gradient::Zero("piecewise constant"),
    rows: Rows::Leading,
    kernel: |call| unary(call, Unary::Ceil),
    flops: ONE_EACH,
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["ceil([1.5, -1.5]) == [2.0, -1.0]"],
};

pub static ROUND: Op = Op {
    name: "round",
    doc: "The nearest integer, the even one for a half.",
    signature: "(x: float[..s]) -> float[..s]",
    attrs: &[],
    infer: unary_float,
    gradient: Gradient::Zero("piecewise constant"),
    rows: Rows::Leading,
    kernel: |call| unary(call, Unary::Round),
    flops: ONE_EACH,
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["round([0.5, 1.5, -1.2]) == [0.0, 2.0, -1.0]"],
};

pub static CAST: Op = Op {
    name: "cast",
    doc: "The elements in another type: floats are cut towards zero on the way to integers, what is not zero is true.",
    signature: "(x: any[..s]) -> any[..s]",
    attrs: &[("dtype", AttrKind::DType)],
    infer: |infer| {
        let [x] = check::operands(infer)?;
        one(x.with_dtype(infer.attrs.dtype("dtype").ok_or_else(|| check::missing("dtype"))?))
    },
    gradient: Gradient::Rule(cast_rule),
    rows: Rows::Leading,
    kernel: |call| result(loops::cast(&call.inputs[0], call.results[0].dtype)),
    flops: ONE_EACH,
    domain: Domain::Special("the target is an attribute"),
    examples: &["cast([1.7, -1.7], int) == [1, -1]"],
};

fn cast_rule(vjp: &mut Vjp<'_>) -> Vec<Option<Value>> {
    let (from, to) = (vjp.ty(vjp.operand(0)).dtype, vjp.ty(vjp.result(0)).dtype);
    let flows = from.is_float() && to.is_float();
    let cotangent = vjp.cotangents[0].filter(|_| flows).map(|g| vjp.builder.cast(g, from));
    vec![cotangent]
}

pub static NARROW: Op = Op {
    name: "narrow",
    doc: "The nearest numbers that a shorter float can hold, of `bf16` or `f16`, in the type as before; halves to even.",
    signature: "(x: float[..s]) -> float[..s]",
    attrs: &[("to", AttrKind::Text)],
    infer: |infer| {
        let to = infer.attrs.text("to").ok_or_else(|| check::missing("to"))?;
        if Narrow::from_name(to).is_none() {
            return Err(super::fit::bad(format!("narrow has \"{to}\", one of bf16 and f16 is needed")));
        }
        unary_float(infer)
    },
    gradient: Gradient::Zero("piecewise constant"),
    rows: Rows::Leading,
    kernel: |call| {
        let to = match call.attrs.text("to").and_then(Narrow::from_name) {
            Some(Narrow::F16) => candle_core::DType::F16,
            _ => candle_core::DType::BF16,
        };
        result(call.inputs[0].to_dtype(to)?.to_dtype(call.inputs[0].dtype()))
    },
    flops: ONE_EACH,
    domain: Domain::Special("the target is an attribute"),
    examples: &[
        "narrow([1.001, 1.005], to: \"bf16\") == [1.0, 1.0078125]",
        "narrow([1e-9, 0.1], to: \"f16\") == [0.0, 0.099975586]",
    ],
};

pub static ADD: Op = Op {
    name: "add",
    doc: "The sum. Integers wrap around.",
    signature: "(a: number[..s], b: number[..s]) -> number[..s]",
    attrs: &[],
    infer: binary_number,
    gradient: Gradient::Rule(|vjp| through_two(vjp, |_, _, _, g| (g, g))),
    rows: Rows::Leading,
    kernel: |call| binary(call, Binary::Add),
    flops: ONE_EACH,
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["[1.0, 2.0] + [3.0, 4.0] == [4.0, 6.0]"],
};

pub static SUB: Op = Op {
    name: "sub",
    doc: "The difference. Integers wrap around.",
    signature: "(a: number[..s], b: number[..s]) -> number[..s]",
    attrs: &[],
    infer: binary_number,
    gradient: Gradient::Rule(|vjp| through_two(vjp, |b, _, _, g| (g, b.neg(g)))),
    rows: Rows::Leading,
    kernel: |call| binary(call, Binary::Sub),
    flops: ONE_EACH,
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["[1.0, 2.0] - [3.0, 5.0] == [-2.0, -3.0]"],
};

pub static MUL: Op = Op {
    name: "mul",
    doc: "The product. Integers wrap around.",
    signature: "(a: number[..s], b: number[..s]) -> number[..s]",
    attrs: &[],
    infer: binary_number,
    gradient: Gradient::Rule(|vjp| through_two(vjp, |b, [x, y], _, g| (b.mul(g, y), b.mul(g, x)))),
    rows: Rows::Leading,
    kernel: |call| binary(call, Binary::Mul),
    flops: ONE_EACH,
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["[1.0, 2.0] * [3.0, 4.0] == [3.0, 8.0]"],
};

pub static DIV: Op = Op {
    name: "div",
    doc: "The quotient of floats.",
    signature: "(a: float[..s], b: float[..s]) -> float[..s]",
    attrs: &[],
    infer: |infer| {
        let [a, b] = check::operands(infer)?;
        check::float(0, a)?;
        check::same_type((0, a), (1, b))?;
        one(a.clone())
    },
    gradient: Gradient::Rule(|vjp| {
        through_two(vjp, |b, [_, y], z, g| {
            let over = b.div(g, y);
            let minus = b.neg(over);
            (over, b.mul(minus, z))
        })
    }),
    rows: Rows::Leading,
    kernel: |call| binary(call, Binary::Div),
    flops: ONE_EACH,
    domain: Domain::Uniform(0.5, 3.0),
    examples: &["[1.0, 4.0] / [2.0, 8.0] == [0.5, 0.5]"],
};

pub static POW: Op = Op {
    name: "pow",
    doc: "The power; negative bases have integral exponents. The gradient for the base is 0 where the exponent is 0, that for the exponent is 0 where the base is 0 and the exponent is not negative.",
    signature: "(a: number[..s], b: number[..s]) -> number[..s]",
    attrs: &[],
    infer: binary_number,
    gradient: Gradient::Rule(|vjp| through_two(vjp, pow_rule)),
    rows: Rows::Leading,
    kernel: |call| binary(call, Binary::Pow),
    flops: ONE_EACH,
    domain: Domain::Uniform(0.5, 2.0),
    examples: &["[2.0, -3.0]^[3.0, 2.0] == [8.0, 9.0]"],
};

/// `d a = g b a^(b-1)`, `d b = g a^b log a`, each with what multiplies zero taken out.
fn pow_rule(build: &mut Builder, [a, b]: [Value; 2], y: Value, g: Value) -> (Value, Value) {
    let (zero, one) = (build.splat_like(0.0, a), build.splat_like(1.0, a));
    let (lower, flat) = (build.sub(b, one), build.eq(b, zero));
    let power = build.pow(a, lower);
    let slope = build.mul(b, power);
    let slope = build.mul(g, slope);
    let for_base = build.select(flat, zero, slope);
    let (at_zero, not_negative) = (build.eq(a, zero), build.ge(b, zero));
    let vanishes = build.and(at_zero, not_negative);
    let log = build.log(a);
    let slope = build.mul(y, log);
    let slope = build.mul(g, slope);
    (for_base, build.select(vanishes, zero, slope))
}

pub static MAXIMUM: Op = Op {
    name: "maximum",
    doc: "The larger of two, NaN if one is. Equal operands share the gradient.",
    signature: "(a: number[..s], b: number[..s]) -> number[..s]",
    attrs: &[],
    infer: binary_number,
    gradient: Gradient::Rule(|vjp| {
        through_two(vjp, |b, [x, y], _, g| {
            let first = b.gt(x, y);
            let second = b.gt(y, x);
            share(b, first, second, g)
        })
    }),
    rows: Rows::Leading,
    kernel: |call| binary(call, Binary::Maximum),
    flops: ONE_EACH,
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["maximum([1.0, 4.0], [2.0, 3.0]) == [2.0, 4.0]"],
};

pub static MINIMUM: Op = Op {
    name: "minimum",
    doc: "The smaller of two, NaN if one is. Equal operands share the gradient.",
    signature: "(a: number[..s], b: number[..s]) -> number[..s]",
    attrs: &[],
    infer: binary_number,
    gradient: Gradient::Rule(|vjp| {
        through_two(vjp, |b, [x, y], _, g| {
            let first = b.lt(x, y);
            let second = b.lt(y, x);
            share(b, first, second, g)
        })
    }),
    rows: Rows::Leading,
    kernel: |call| binary(call, Binary::Minimum),
    flops: ONE_EACH,
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["minimum([1.0, 4.0], [2.0, 3.0]) == [1.0, 3.0]"],
};

/// All of a cotangent to the operand that was taken, half to each where neither came first.
fn share(b: &mut Builder, first: Value, second: Value, g: Value) -> (Value, Value) {
    let (half, zero) = (b.scale(g, 0.5), b.splat_like(0.0, g));
    let unless_second = b.select(second, zero, half);
    let unless_first = b.select(first, zero, half);
    (b.select(first, g, unless_second), b.select(second, g, unless_first))
}

pub static FLOOR_DIV: Op = Op {
    name: "floor_div",
    doc: "The quotient rounded down; an error where an integer is divided by 0.",
    signature: "(a: number[..s], b: number[..s]) -> number[..s]",
    attrs: &[],
    infer: binary_number,
    gradient: Gradient::Zero("piecewise constant"),
    rows: Rows::Leading,
    kernel: |call| binary(call, Binary::FloorDiv),
    flops: ONE_EACH,
    domain: Domain::Uniform(0.5, 3.0),
    examples: &["[7, -7] // [2, 2] == [3, -4]"],
};

pub static REMAINDER: Op = Op {
    name: "remainder",
    doc: "What `floor_div` leaves, with the divisor's sign; an error where an integer is divided by 0.",
    signature: "(a: number[..s], b: number[..s]) -> number[..s]",
    attrs: &[],
    infer: binary_number,
    gradient: Gradient::Rule(|vjp| {
        through_two(vjp, |b, [x, y], _, g| {
            let whole = b.floor_div(x, y);
            let minus = b.neg(g);
            (g, b.mul(minus, whole))
        })
    }),
    rows: Rows::Leading,
    kernel: |call| binary(call, Binary::Remainder),
    flops: ONE_EACH,
    domain: Domain::Uniform(0.5, 3.0),
    examples: &["[7, -7] % [2, 2] == [1, 1]"],
};
