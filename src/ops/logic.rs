//! The elementwise ops that compare, and those that work on truth values.

use super::check::{self, ONE_EACH, one, result};
use super::*;
use crate::graph::DType;
use crate::kernels::elementwise::{self as loops, Compare};

type Inferred = Result<Types, Mismatch>;

fn comparison(infer: &Infer<'_>) -> Inferred {
    let [a, b] = check::operands(infer)?;
    check::same_type((0, a), (1, b))?;
    one(a.with_dtype(DType::Bool))
}

fn binary_bool(infer: &Infer<'_>) -> Inferred {
    let [a, b] = check::operands(infer)?;
    check::boolean(0, a)?;
    check::boolean(1, b)?;
    check::same_shape((0, a), (1, b))?;
    one(a.clone())
}

fn compare(call: &Call<'_>, op: Compare) -> candle_core::Result<Results> {
    result(loops::compare(&call.inputs[0], &call.inputs[1], op))
}

pub static IS_FINITE: Op = Op {
    name: "is_finite",
    doc: "Whether an element is neither infinite nor NaN.",
    signature: "(x: float[..s]) -> bool[..s]",
    attrs: &[],
    infer: |infer| {
        let [x] = check::operands(infer)?;
        check::float(0, x)?;
        one(x.with_dtype(DType::Bool))
    },
    gradient: Gradient::None("bool result"),
    rows: Rows::Leading,
    kernel: |call| result(loops::is_finite(&call.inputs[0])),
    flops: ONE_EACH,
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["is_finite([1.0, 1.0 / 0.0]) == [true, false]"],
};

pub static NOT: Op = Op {
    name: "not",
    doc: "Truth turned round.",
    signature: "(x: bool[..s]) -> bool[..s]",
    attrs: &[],
    infer: |infer| {
        let [x] = check::operands(infer)?;
        check::boolean(0, x)?;
        one(x.clone())
    },
    gradient: Gradient::None("bool result"),
    rows: Rows::Leading,
    kernel: |call| result(loops::not(&call.inputs[0])),
    flops: ONE_EACH,
    domain: Domain::Special("bool operands"),
    examples: &["(not [true, false]) == [false, true]"],
};

pub static EQ: Op = Op {
    name: "eq",
    doc: "Whether elements are equal.",
    signature: "(a: any[..s], b: any[..s]) -> bool[..s]",
    attrs: &[],
    infer: comparison,
    gradient: Gradient::None("bool result"),
    rows: Rows::Leading,
    kernel: |call| compare(call, Compare::Eq),
    flops: ONE_EACH,
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["([1.0, 2.0] == [1.0, 3.0]) == [true, false]"],
};

pub static NE: Op = Op {
    name: "ne",
    doc: "Whether elements differ.",
    signature: "(a: any[..s], b: any[..s]) -> bool[..s]",
    attrs: &[],
    infer: comparison,
    gradient: Gradient::None("bool result"),
    rows: Rows::Leading,
    kernel: |call| compare(call, Compare::Ne),
    flops: ONE_EACH,
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["([1.0, 2.0] != [1.0, 3.0]) == [false, true]"],
};

pub static LT: Op = Op {
    name: "lt",
    doc: "Whether the first is smaller.",
    signature: "(a: any[..s], b: any[..s]) -> bool[..s]",
    attrs: &[],
    infer: comparison,
    gradient: Gradient::None("bool result"),
    rows: Rows::Leading,
    kernel: |call| compare(call, Compare::Lt),
    flops: ONE_EACH,
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["([1.0, 3.0] < [2.0, 3.0]) == [true, false]"],
};

pub static LE: Op = Op {
    name: "le",
    doc: "Whether the first is smaller or equal.",
    signature: "(a: any[..s], b: any[..s]) -> bool[..s]",
    attrs: &[],
    infer: comparison,
    gradient: Gradient::None("bool result"),
    rows: Rows::Leading,
    kernel: |call| compare(call, Compare::Le),
    flops: ONE_EACH,
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["([1.0, 3.0] <= [2.0, 2.0]) == [true, false]"],
};

pub static GT: Op = Op {
    name: "gt",
    doc: "Whether the first is larger.",
    signature: "(a: any[..s], b: any[..s]) -> bool[..s]",
    attrs: &[],
    infer: comparison,
    gradient: Gradient::None("bool result"),
    rows: Rows::Leading,
    kernel: |call| compare(call, Compare::Gt),
    flops: ONE_EACH,
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["([3.0, 2.0] > [2.0, 2.0]) == [true, false]"],
};

pub static GE: Op = Op {
    name: "ge",
    doc: "Whether the first is larger or equal.",
    signature: "(a: any[..s], b: any[..s]) -> bool[..s]",
    attrs: &[],
    infer: comparison,
    gradient: Gradient::None("bool result"),
    rows: Rows::Leading,
    kernel: |call| compare(call, Compare::Ge),
    flops: ONE_EACH,
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["([3.0, 1.0] >= [3.0, 2.0]) == [true, false]"],
};

pub static AND: Op = Op {
    name: "and",
    doc: "Whether both hold.",
    signature: "(a: bool[..s], b: bool[..s]) -> bool[..s]",
    attrs: &[],
    infer: binary_bool,
    gradient: Gradient::None("bool result"),
    rows: Rows::Leading,
    kernel: |call| result(loops::and(&call.inputs[0], &call.inputs[1])),
    flops: ONE_EACH,
    domain: Domain::Special("bool operands"),
    examples: &["([true, true] and [true, false]) == [true, false]"],
};

pub static OR: Op = Op {
    name: "or",
    doc: "Whether at least one holds.",
    signature: "(a: bool[..s], b: bool[..s]) -> bool[..s]",
    attrs: &[],
    infer: binary_bool,
    gradient: Gradient::None("bool result"),
    rows: Rows::Leading,
    kernel: |call| result(loops::or(&call.inputs[0], &call.inputs[1])),
    flops: ONE_EACH,
    domain: Domain::Special("bool operands"),
    examples: &["([true, false] or [false, false]) == [true, false]"],
};

pub static SELECT: Op = Op {
    name: "select",
    doc: "The element of `a` where the condition holds, of `b` elsewhere.",
    signature: "(condition: bool[..s], a: any[..s], b: any[..s]) -> any[..s]",
    attrs: &[],
    infer: |infer| {
        let [condition, a, b] = check::operands(infer)?;
        check::boolean(0, condition)?;
        check::same_type((1, a), (2, b))?;
        check::same_shape((0, condition), (1, a))?;
        one(a.clone())
    },
    gradient: Gradient::Rule(select_rule),
    rows: Rows::Leading,
    kernel: |call| result(loops::select(&call.inputs[0], &call.inputs[1], &call.inputs[2])),
    flops: ONE_EACH,
    domain: Domain::Special("a bool operand"),
    examples: &["select([true, false], [1.0, 2.0], [3.0, 4.0]) == [1.0, 4.0]"],
};

fn select_rule(vjp: &mut Vjp<'_>) -> Vec<Option<Value>> {
    let condition = vjp.operand(0);
    let Some(g) = vjp.cotangents[0] else { return vec![None; 3] };
    let zero = vjp.builder.splat_like(0.0, g);
    let a = vjp.builder.select(condition, g, zero);
    let b = vjp.builder.select(condition, zero, g);
    vec![None, Some(a), Some(b)]
}
