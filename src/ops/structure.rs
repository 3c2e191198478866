//! What holds a graph together: inputs, constants, markers, regions.

use super::*;

fn no_cost(_: &Cost<'_>) -> f64 {
    0.0
}

fn never_called(call: &Call<'_>) -> candle_core::Result<Results> {
    let _ = call;
    candle_core::bail!("the executor binds inputs itself")
}

pub static INPUT: Op = Op {
    name: "input",
    doc: "A formal of the step: a batch field, a weight, a state, a host number, a key.",
    signature: "() -> any",
    attrs: &[],
    infer: |_| Ok(Types::new()),
    gradient: Gradient::Structural,
    rows: Rows::Leading,
    kernel: never_called,
    flops: no_cost,
    domain: Domain::Special("inputs are given"),
    examples: &[],
};
