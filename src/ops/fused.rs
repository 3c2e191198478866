//! A chain of elementwise operations as one: what the pass `fuse` makes of a step before it is planned.

use candle_core::bail;

use super::check::{NO_COST, misfit};
use super::*;

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
