//! A chain of elementwise operations as one: what the pass `fuse` makes of a step before it is planned; and which operations
//! tiles know.

use candle_core::bail;

use super::check::{NO_COST, misfit};
use super::elementwise as e;
use super::logic as l;
use super::reduce::ACCUMULATE;
use super::*;
use crate::kernels::elementwise::{Binary, Compare, Unary};
use crate::kernels::tile::Work;

/// What each operation is to a tile. Those that depend on more than their name have none here: a cast may be nothing, a
/// power depends on its exponent, a sum of terms is several steps.
static WORK: &[(&Op, Option<Work>)] = &[
    (&e::NEG, Some(Work::Unary(Unary::Neg))),
    (&e::ABS, Some(Work::Unary(Unary::Abs))),
    (&e::SIGN, Some(Work::Unary(Unary::Sign))),
    (&e::EXP, Some(Work::Unary(Unary::Exp))),
    (&e::LOG, Some(Work::Unary(Unary::Log))),
    (&e::LOG1P, Some(Work::Unary(Unary::Log1p))),
    (&e::EXPM1, Some(Work::Unary(Unary::Expm1))),
    (&e::SQRT, Some(Work::Unary(Unary::Sqrt))),
    (&e::RSQRT, Some(Work::Unary(Unary::Rsqrt))),
    (&e::RECIP, Some(Work::Unary(Unary::Recip))),
    (&e::TANH, Some(Work::Unary(Unary::Tanh))),
    (&e::ERF, Some(Work::Unary(Unary::Erf))),
    (&e::FLOOR, Some(Work::Unary(Unary::Floor))),
    (&e::CEIL, Some(Work::Unary(Unary::Ceil))),
    (&e::ROUND, Some(Work::Unary(Unary::Round))),
    (&e::ADD, Some(Work::Binary(Binary::Add))),
    (&e::SUB, Some(Work::Binary(Binary::Sub))),
    (&e::MUL, Some(Work::Binary(Binary::Mul))),
    (&e::DIV, Some(Work::Binary(Binary::Div))),
    (&e::MAXIMUM, Some(Work::Binary(Binary::Maximum))),
    (&e::MINIMUM, Some(Work::Binary(Binary::Minimum))),
    (&l::EQ, Some(Work::Compare(Compare::Eq))),
    (&l::NE, Some(Work::Compare(Compare::Ne))),
    (&l::LT, Some(Work::Compare(Compare::Lt))),
    (&l::LE, Some(Work::Compare(Compare::Le))),
    (&l::GT, Some(Work::Compare(Compare::Gt))),
    (&l::GE, Some(Work::Compare(Compare::Ge))),
    (&l::NOT, Some(Work::Not)),
    (&l::AND, Some(Work::And)),
    (&l::OR, Some(Work::Or)),
    (&l::SELECT, Some(Work::Select)),
    (&e::CAST, None),
    (&e::POW, None),
    (&ACCUMULATE, None),
];

/// None for an operation that tiles do not know; within, what it is to them if its name says it.
pub fn in_tiles(op: &Op) -> Option<Option<Work>> {
    WORK.iter().find(|(known, _)| *known == op).map(|(_, work)| *work)
}

pub const OPS: &[&Op] = &[&FUSED];

pub static FUSED: Op = Op {
    name: "fused",
    doc: "Its region, whose operations work on every place of one shape: computed tile by tile in one pass over memory. \
          Written by the compiler.",
    signature: "(x: any, …) -> (any, …)",
    attrs: &[],
    infer: |infer| {
        let [region] = infer.regions else { return Err(misfit(Code::Internal, "`fused` needs one region")) };
        if !infer.types.iter().copied().eq(region.inputs.iter().map(|input| region.ty(*input))) {
            return Err(misfit(Code::Internal, "operands do not fit the region"));
        }
        Ok(region.outputs.iter().map(|output| region.ty(*output).clone()).collect())
    },
    gradient: Gradient::Structural,
    rows: Rows::Mixed("made after rows are lifted"),
    kernel: |_| bail!("`fused` is run by the executor, which has the plan of its region"),
    flops: NO_COST,
    domain: Domain::Special("has a region"),
    examples: &["fused([1.0, 2.0], [3.0, 4.0], |a, b| a * b + a) == [4.0, 10.0]"],
};
