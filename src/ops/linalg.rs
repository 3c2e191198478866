//! Products of matrices, which stand on the last two axes; their factors are in [`super::decompose`].

use super::*;
use crate::diagnostics::Code;
use crate::kernels::{contiguous, on_cpu};

pub use super::decompose::{CHOLESKY, EIGH, LOGDET, SOLVE, SVD, TRIANGULAR_SOLVE};

pub const OPS: &[&Op] = &[&MATMUL, &CHOLESKY, &TRIANGULAR_SOLVE, &SOLVE, &LOGDET, &EIGH, &SVD];

pub static MATMUL: Op = Op {
    name: "matmul",
    doc: "The matrix product of each pair of matrices. Operands may be views: a permuted one is read where it is.",
    signature: "(a: float[..b, m, k], b: float[..b, k, n]) -> float[..b, m, n]",
    attrs: &[],
    infer: |infer| {
        let [a, b] = infer.operands("matmul")?;
        infer.float("matmul", 0)?;
        infer.same_dtype(0, 1)?;
        infer.rank("matmul", 0, 2, true)?;
        infer.rank("matmul", 1, a.rank(), false)?;
        let lead = a.rank() - 2;
        (0..lead).try_for_each(|at| infer.equal((0, at), (1, at)))?;
        inner(a, b)?;
        let shape = a.shape[..lead + 1].iter().chain(&b.shape[lead + 1..]).cloned();
        Ok(Types::from_elem(a.with_shape(shape), 1))
    },
    // y = a @ b   a' = y' @ b.T   b' = a.T @ y'
    gradient: Gradient::Rule(|vjp| {
        let Some(dy) = vjp.cotangents[0] else { return vec![None, None] };
        let (a, b) = (vjp.operand(0), vjp.operand(1));
        let rule = &mut *vjp.builder;
        let (a_t, b_t) = (rule.transpose(a), rule.transpose(b));
        let da = rule.must(&MATMUL, &[dy, b_t], Attrs::none());
        vec![Some(da), Some(rule.must(&MATMUL, &[a_t, dy], Attrs::none()))]
    }),
    rows: Rows::Leading,
    kernel: |call| {
        let (a, b) = (&call.inputs[0], &call.inputs[1]);
        let product =
            if on_cpu(a) { crate::kernels::matmul::matmul(a, b)? } else { contiguous(a)?.matmul(&contiguous(b)?)? };
        Ok(Results::from_elem(product, 1))
    },
    flops: Flops(
        |cost| {
            let terms = cost.inputs[0].shape.last().copied().unwrap_or(0);
            2.0 * terms as f64 * cost.results[0].count() as f64
        },
        "2 k a number of the result",
    ),
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &["matmul([[1.0, 2.0], [3.0, 4.0]], [[1.0], [10.0]]) == [[21.0], [43.0]]"],
};

/// The last size of the left operand meets the second-to-last of the right.
fn inner(a: &Type, b: &Type) -> Result<(), Mismatch> {
    let lead = a.rank() - 2;
    let (x, y) = (&a.shape[lead + 1], &b.shape[lead]);
    if x == y {
        return Ok(());
    }
    let second = if b.rank() == 2 { "first" } else { "second-to-last" };
    Err(super::fit::mismatch(
        Code::ShapeMismatch,
        format!("shapes do not fit, {x} and {y} must be equal"),
        vec![(0, format!("{a}: last size is {x}")), (1, format!("{b}: {second} size is {y}"))],
    ))
}
