//! Products and decompositions of matrices, which stand on the last two axes.

use super::*;
use crate::diagnostics::Code;
use crate::graph::Size;
use crate::kernels::{contiguous, on_cpu};

pub const OPS: &[&Op] = &[&MATMUL, &EIGH];

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

pub static EIGH: Op = Op {
    name: "eigh",
    doc: "Eigenvalues, ascending, and eigenvectors, in columns, of `(x + x.T) / 2` for each matrix. Computed in f64 on \
          the host. The component of largest magnitude of each vector is positive. The gradient takes eigenvalues \
          whose difference is within rounding of the largest magnitude as equal, and lets nothing flow between their \
          vectors: right for whatever does not depend on the choice of vectors among equals.",
    signature: "(x: float[..b, n, n]) -> (float[..b, n], float[..b, n, n])",
    attrs: &[],
    infer: |infer| {
        let [x] = infer.operands("eigh")?;
        infer.float("eigh", 0)?;
        infer.rank("eigh", 0, 2, true)?;
        let (rows, columns) = (x.rank() - 2, x.rank() - 1);
        if x.shape[rows] != x.shape[columns] {
            let (m, n) = (&x.shape[rows], &x.shape[columns]);
            return Err(super::fit::mismatch(
                Code::ShapeMismatch,
                format!("eigh needs square matrices, {m} and {n} must be equal"),
                vec![(0, format!("{x}: the last two sizes are {m} and {n}"))],
            ));
        }
        let values = x.with_shape(x.shape[..columns].iter().cloned());
        Ok([values, x.clone()].into_iter().collect())
    },
    // x = v diag(w) v.T   x' = sym(v (diag(w') + F * (v.T v')) v.T)   F_ij = 1 / (w_j - w_i), 0 where equal
    gradient: Gradient::Rule(|vjp| {
        let (x, w, v) = (vjp.operand(0), vjp.result(0), vjp.result(1));
        let (dw, dv) = (vjp.cotangents[0], vjp.cotangents[1]);
        let rule = &mut *vjp.builder;
        let shape = rule.ty(x).shape.clone();
        let v_t = rule.transpose(v);
        let on_diagonal = dw.map(|dw| diagonal(rule, dw, &shape));
        let between = dv.map(|dv| {
            let mixed = rule.must(&MATMUL, &[v_t, dv], Attrs::none());
            let inverse = inverse_gaps(rule, w, &shape);
            rule.mul(inverse, mixed)
        });
        let inside = match (on_diagonal, between) {
            (Some(a), Some(b)) => rule.add(a, b),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => return vec![None],
        };
        let left = rule.must(&MATMUL, &[v, inside], Attrs::none());
        let whole = rule.must(&MATMUL, &[left, v_t], Attrs::none());
        let flipped = rule.transpose(whole);
        let twice = rule.add(whole, flipped);
        let ty = rule.ty(twice).clone();
        let half = rule.splat(0.5, &ty);
        vec![Some(rule.mul(twice, half))]
    }),
    rows: Rows::Leading,
    kernel: |call| {
        let (values, vectors) = crate::kernels::eigh::eigh(&contiguous(&call.inputs[0])?)?;
        Ok([values, vectors].into_iter().collect())
    },
    flops: Flops(
        |cost| {
            let n = cost.inputs[0].shape.last().copied().unwrap_or(0) as f64;
            9.0 * n * cost.inputs[0].count() as f64
        },
        "9 n a number of the matrices",
    ),
    domain: Domain::Special("vectors are differentiable only where eigenvalues differ"),
    examples: &["eigh([[2.0, 0.0], [0.0, 1.0]])[0] == [1.0, 2.0]"],
};

/// `[..b, n]` on the diagonal of `[..b, n, n]`.
fn diagonal(rule: &mut Builder, w: Value, shape: &[Size]) -> Value {
    let (rows, columns) = (shape.len() - 2, shape.len() - 1);
    let axes: Vec<usize> = (0..columns).collect();
    let line = rule.iota(shape[rows].clone());
    let row = rule.broadcast(line, shape, &[rows]);
    let column = rule.broadcast(line, shape, &[columns]);
    let same = rule.eq(row, column);
    let w = rule.broadcast(w, shape, &axes);
    let ty = rule.ty(w).clone();
    let zeros = rule.splat(0.0, &ty);
    rule.select(same, w, zeros)
}

/// `1 / (w_j - w_i)`, and 0 where the two are equal up to rounding.
fn inverse_gaps(rule: &mut Builder, w: Value, shape: &[Size]) -> Value {
    let (rows, columns) = (shape.len() - 2, shape.len() - 1);
    let lead: Vec<usize> = (0..rows).collect();
    let down: Vec<usize> = (0..columns).collect();
    let across: Vec<usize> = lead.iter().copied().chain([columns]).collect();
    let (w_i, w_j) = (rule.broadcast(w, shape, &down), rule.broadcast(w, shape, &across));
    let gap = rule.sub(w_j, w_i);
    let ty = rule.ty(gap).clone();
    let size = rule.abs(w);
    let largest = rule.max(size, &[rows]);
    let largest = rule.broadcast(largest, shape, &lead);
    let rounding = if ty.dtype == crate::graph::DType::F64 { 1e-12 } else { 1e-6 };
    let rounding = rule.splat(rounding, &ty);
    let least = rule.mul(largest, rounding);
    let width = rule.abs(gap);
    let equal = rule.le(width, least);
    let (zeros, ones) = (rule.splat(0.0, &ty), rule.splat(1.0, &ty));
    let safe = rule.select(equal, ones, gap);
    let inverse = rule.div(ones, safe);
    rule.select(equal, zeros, inverse)
}
