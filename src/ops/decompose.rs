//! Factors of matrices, and what is solved with them. The matrices stand on the last two axes, their number on those before.
//!
//! All are computed in f64 on the host, whatever the device. Where a matrix has no such factor, or NaN or an infinity in
//! it, its result is NaN.

use super::linalg::MATMUL;
use super::*;
use crate::diagnostics::Code;
use crate::graph::{Attr, Size};
use crate::kernels::factor;

/// That operand 0 is floats in square matrices.
fn square(infer: &Infer<'_>, op: &str) -> Result<(), Mismatch> {
    let x = infer.types[0];
    infer.float(op, 0)?;
    infer.rank(op, 0, 2, true)?;
    let (m, n) = (&x.shape[x.rank() - 2], &x.shape[x.rank() - 1]);
    if m == n {
        return Ok(());
    }
    Err(super::fit::mismatch(
        Code::ShapeMismatch,
        format!("{op} needs square matrices, {m} and {n} must be equal"),
        vec![(0, format!("{x}: the last two sizes are {m} and {n}"))],
    ))
}

/// That operand 1 has as many rows as the square matrices of operand 0, and is of their kind and number.
fn sides(infer: &Infer<'_>, op: &str) -> Result<Types, Mismatch> {
    let [a, b] = infer.operands(op)?;
    square(infer, op)?;
    infer.same_dtype(0, 1)?;
    infer.rank(op, 1, a.rank(), false)?;
    (0..a.rank() - 1).try_for_each(|at| infer.equal((0, at), (1, at)))?;
    Ok(Types::from_elem(b.clone(), 1))
}

fn factored(
    call: &Call<'_>,
    of: impl Fn(&[candle_core::Tensor]) -> candle_core::Result<Vec<candle_core::Tensor>>,
) -> candle_core::Result<Results> {
    of(call.inputs).map(Results::from_vec)
}

fn product(rule: &mut Builder, a: Value, b: Value) -> Value {
    rule.must(&MATMUL, &[a, b], Attrs::none())
}

pub static CHOLESKY: Op = Op {
    name: "cholesky",
    doc: "The lower triangle `l` with `l @ l.T == (x + x.T) / 2` and a positive diagonal, for each matrix that is positive \
          definite.",
    signature: "(x: float[..b, n, n]) -> float[..b, n, n]",
    attrs: &[],
    infer: |infer| {
        let [x] = infer.operands("cholesky")?;
        square(infer, "cholesky")?;
        Ok(Types::from_elem(x.clone(), 1))
    },
    // x = l l.T   x' = sym(l^-T phi(l.T l') l^-1)   phi: the lower triangle, its diagonal halved
    gradient: Gradient::Rule(|vjp| {
        let Some(dl) = vjp.cotangents[0] else { return vec![None] };
        let l = vjp.result(0);
        let rule = &mut *vjp.builder;
        let dl = triangle(rule, dl, false);
        let l_t = rule.transpose(l);
        let whole = product(rule, l_t, dl);
        let (kept, above) = (triangle(rule, whole, false), triangle(rule, whole, true));
        let on_diagonal = triangle(rule, above, false);
        let half = rule.scale(on_diagonal, -0.5);
        let phi = rule.add(kept, half);
        let upper = Attrs::none().with("upper", Attr::Bool(true));
        let left = rule.must(&TRIANGULAR_SOLVE, &[l_t, phi], upper.clone());
        let turned = rule.transpose(left);
        let both = rule.must(&TRIANGULAR_SOLVE, &[l_t, turned], upper);
        vec![Some(symmetric(rule, both))]
    }),
    rows: Rows::Leading,
    kernel: |call| factored(call, factor::cholesky),
    flops: Flops(|cost| per_entry(cost) / 3.0, "n / 3 a number of the matrices"),
    domain: Domain::Special("matrices that are positive definite"),
    examples: &["cholesky([[4.0, 2.0], [2.0, 5.0]]) == [[2.0, 0.0], [1.0, 2.0]]"],
};

pub static TRIANGULAR_SOLVE: Op = Op {
    name: "triangular_solve",
    doc: "The `x` with `a @ x == b` for triangular `a`: only its upper or its lower triangle is read.",
    signature: "(a: float[..b, n, n], b: float[..b, n, m]) -> float[..b, n, m]",
    attrs: &[("upper", AttrKind::Bool)],
    infer: |infer| sides(infer, "triangular_solve"),
    // b' = a^-T x'   a' = -triangle(b' x.T)
    gradient: Gradient::Rule(|vjp| {
        let upper = vjp.attrs().flag("upper");
        solved(vjp, &TRIANGULAR_SOLVE, Attrs::none().with("upper", Attr::Bool(!upper)), Some(upper))
    }),
    rows: Rows::Leading,
    kernel: |call| {
        let upper = call.attrs.flag("upper");
        factored(call, |x| factor::triangular_solve(x, upper))
    },
    flops: Flops(|cost| row_length(cost) * cost.results[0].count() as f64, "n a number of the result"),
    domain: Domain::Special("triangles with a diagonal away from 0"),
    examples: &["triangular_solve([[2.0, 9.0], [1.0, 4.0]], [[2.0], [9.0]], upper: false) == [[1.0], [2.0]]"],
};

pub static SOLVE: Op = Op {
    name: "solve",
    doc: "The `x` with `a @ x == b`, by elimination with row exchanges. Infinite or NaN where `a` is singular.",
    signature: "(a: float[..b, n, n], b: float[..b, n, m]) -> float[..b, n, m]",
    attrs: &[],
    infer: |infer| sides(infer, "solve"),
    // b' = a^-T x'   a' = -b' x.T
    gradient: Gradient::Rule(|vjp| solved(vjp, &SOLVE, Attrs::none(), None)),
    rows: Rows::Leading,
    kernel: |call| factored(call, factor::solve),
    flops: Flops(
        |cost| per_entry(cost) * 2.0 / 3.0 + 2.0 * row_length(cost) * cost.results[0].count() as f64,
        "2 n / 3 a number of the matrices and 2 n a number of the result",
    ),
    domain: Domain::Special("matrices away from singular ones"),
    examples: &["solve([[0.0, 2.0], [1.0, 1.0]], [[2.0], [4.0]]) == [[3.0], [1.0]]"],
};

pub static LOGDET: Op = Op {
    name: "logdet",
    doc: "The logarithm of the determinant of each matrix: minus infinity where that is 0, NaN where it is negative.",
    signature: "(x: float[..b, n, n]) -> float[..b]",
    attrs: &[],
    infer: |infer| {
        let [x] = infer.operands("logdet")?;
        square(infer, "logdet")?;
        Ok(Types::from_elem(x.with_shape(x.shape[..x.rank() - 2].iter().cloned()), 1))
    },
    // x' = y' x^-T
    gradient: Gradient::Rule(|vjp| {
        let Some(dy) = vjp.cotangents[0] else { return vec![None] };
        let x = vjp.operand(0);
        let rule = &mut *vjp.builder;
        let shape = rule.ty(x).shape.to_vec();
        let lead: Vec<usize> = (0..shape.len() - 2).collect();
        let wide = rule.broadcast(dy, &shape, &lead);
        let scaled = on_diagonal_only(rule, wide, &shape);
        let x_t = rule.transpose(x);
        vec![Some(rule.must(&SOLVE, &[x_t, scaled], Attrs::none()))]
    }),
    rows: Rows::Leading,
    kernel: |call| factored(call, factor::logdet),
    flops: Flops(|cost| per_entry(cost) * 2.0 / 3.0, "2 n / 3 a number of the matrices"),
    domain: Domain::Special("matrices with a positive determinant"),
    examples: &["logdet([[2.0, 0.0], [5.0, 0.5]]) == 0.0"],
};

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
        square(infer, "eigh")?;
        let values = x.with_shape(x.shape[..x.rank() - 1].iter().cloned());
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
        vec![Some(symmetric(rule, whole))]
    }),
    rows: Rows::Leading,
    kernel: |call| factored(call, factor::eigh),
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

pub static SVD: Op = Op {
    name: "svd",
    doc: "Singular vectors `u` in columns, singular values `s`, descending, and singular vectors `vh` in rows, `k = min(m, n)` \
          of them, with `x == u @ diag(s) @ vh`. The component of largest magnitude of each column of `u` is positive. The \
          gradient takes singular values whose squares differ by no more than rounding as equal, and lets nothing flow \
          between their vectors, as that of `eigh`; none flows through the vectors of a value that is 0.",
    signature: "(x: float[..b, m, n]) -> (float[..b, m, k], float[..b, k], float[..b, k, n])",
    attrs: &[],
    infer: |infer| {
        let [x] = infer.operands("svd")?;
        infer.float("svd", 0)?;
        infer.rank("svd", 0, 2, true)?;
        let (lead, [m, n]) = (&x.shape[..x.rank() - 2], [&x.shape[x.rank() - 2], &x.shape[x.rank() - 1]]);
        let k = match (m.as_known(), n.as_known()) {
            (Some(rows), Some(columns)) => {
                if rows < columns {
                    m
                } else {
                    n
                }
            }
            _ if m == n => n,
            _ => {
                return Err(super::fit::mismatch(
                    Code::ShapeMismatch,
                    format!("svd needs matrices of known sizes, here they are {m} and {n}"),
                    vec![(0, format!("{x}: the smaller of {m} and {n} is not known"))],
                ));
            }
        };
        let of = |sizes: &[&Size]| x.with_shape(lead.iter().chain(sizes.iter().copied()).cloned());
        Ok([of(&[m, k]), of(&[k]), of(&[k, n])].into_iter().collect())
    },
    // J = F * (u.T u' - its transpose)   K = F * (v.T v' - its transpose)   F_ij = 1 / (s_j^2 - s_i^2), 0 where equal
    // x' = u (diag(s') + J diag(s) + diag(s) K) v.T + (u' - u u.T u') / s v.T + u / s (v'.T - (v'.T v) v.T)
    gradient: Gradient::Rule(|vjp| {
        let (u, s, vh) = (vjp.result(0), vjp.result(1), vjp.result(2));
        let [du, ds, dvh] = [0, 1, 2].map(|at| vjp.cotangents[at]);
        let rule = &mut *vjp.builder;
        let (u_t, v) = (rule.transpose(u), rule.transpose(vh));
        let lead = rule.ty(s).rank() - 1;
        let k = rule.ty(s).shape[lead].clone();
        let shape: Vec<Size> = rule.ty(s).shape.iter().cloned().chain([k]).collect();
        let squares = rule.mul(s, s);
        let inverse = inverse_or_zero(rule, s);
        let (mut inside, mut whole) = (Vec::new(), Vec::new());
        inside.extend(ds.map(|ds| diagonal(rule, ds, &shape)));
        if let Some(du) = du {
            let mixed = product(rule, u_t, du);
            let turned = between(rule, mixed, squares, &shape);
            inside.push(columns_times(rule, turned, s));
            let along = product(rule, u, mixed);
            let rest = rule.sub(du, along);
            let rest = columns_times(rule, rest, inverse);
            whole.push(product(rule, rest, vh));
        }
        if let Some(dvh) = dvh {
            let mixed = product(rule, dvh, v);
            let mixed_t = rule.transpose(mixed);
            let turned = between(rule, mixed_t, squares, &shape);
            inside.push(rows_times(rule, turned, s));
            let along = product(rule, mixed, vh);
            let rest = rule.sub(dvh, along);
            let rest = rows_times(rule, rest, inverse);
            whole.push(product(rule, u, rest));
        }
        if !inside.is_empty() {
            let inside = rule.accumulate(&inside);
            let left = product(rule, u, inside);
            whole.push(product(rule, left, vh));
        }
        vec![(!whole.is_empty()).then(|| rule.accumulate(&whole))]
    }),
    rows: Rows::Leading,
    kernel: |call| factored(call, factor::svd),
    flops: Flops(
        |cost| {
            let k = cost.results[1].shape.last().copied().unwrap_or(0) as f64;
            20.0 * k * cost.inputs[0].count() as f64
        },
        "20 k a number of the matrices",
    ),
    domain: Domain::Special("vectors are differentiable only where singular values differ"),
    examples: &["svd([[0.0, 3.0], [2.0, 0.0]])[1] == [3.0, 2.0]"],
};

/// `n` for each number of the square matrices.
fn per_entry(cost: &Cost<'_>) -> f64 {
    row_length(cost) * cost.inputs[0].count() as f64
}

fn row_length(cost: &Cost<'_>) -> f64 {
    cost.inputs[0].shape.last().copied().unwrap_or(0) as f64
}

/// The cotangents of both sides of `a @ x == b`, where `op` solves with the transposed matrix.
fn solved(vjp: &mut Vjp<'_>, op: &'static Op, attrs: Attrs, upper: Option<bool>) -> Vec<Option<Value>> {
    let Some(dx) = vjp.cotangents[0] else { return vec![None, None] };
    let (a, x) = (vjp.operand(0), vjp.result(0));
    let rule = &mut *vjp.builder;
    let (a_t, x_t) = (rule.transpose(a), rule.transpose(x));
    let db = rule.must(op, &[a_t, dx], attrs);
    let outer = product(rule, db, x_t);
    let outer = upper.map_or(outer, |upper| triangle(rule, outer, upper));
    vec![Some(rule.neg(outer)), Some(db)]
}

/// `(x + x.T) / 2`.
fn symmetric(rule: &mut Builder, x: Value) -> Value {
    let flipped = rule.transpose(x);
    let twice = rule.add(x, flipped);
    rule.scale(twice, 0.5)
}

/// The numbers of rows and of columns, at each entry of matrices.
fn places(rule: &mut Builder, shape: &[Size]) -> [Value; 2] {
    let (rows, columns) = (shape.len() - 2, shape.len() - 1);
    let (down, across) = (rule.iota(shape[rows].clone()), rule.iota(shape[columns].clone()));
    [rule.broadcast(down, shape, &[rows]), rule.broadcast(across, shape, &[columns])]
}

/// Zeros below the diagonal, or above.
fn triangle(rule: &mut Builder, x: Value, upper: bool) -> Value {
    let shape = rule.ty(x).shape.to_vec();
    let [row, column] = places(rule, &shape);
    let kept = if upper { rule.le(row, column) } else { rule.le(column, row) };
    let zeros = rule.splat_like(0.0, x);
    rule.select(kept, x, zeros)
}

/// Zeros everywhere but on the diagonal.
fn on_diagonal_only(rule: &mut Builder, x: Value, shape: &[Size]) -> Value {
    let [row, column] = places(rule, shape);
    let same = rule.eq(row, column);
    let zeros = rule.splat_like(0.0, x);
    rule.select(same, x, zeros)
}

/// `[..b, n]` on the diagonal of `[..b, n, n]`.
fn diagonal(rule: &mut Builder, w: Value, shape: &[Size]) -> Value {
    let axes: Vec<usize> = (0..shape.len() - 1).collect();
    let w = rule.broadcast(w, shape, &axes);
    on_diagonal_only(rule, w, shape)
}

/// Each column times its number.
fn columns_times(rule: &mut Builder, x: Value, by: Value) -> Value {
    let shape = rule.ty(x).shape.to_vec();
    let axes: Vec<usize> = (0..shape.len()).filter(|axis| *axis != shape.len() - 2).collect();
    let by = rule.broadcast(by, &shape, &axes);
    rule.mul(x, by)
}

/// Each row times its number.
fn rows_times(rule: &mut Builder, x: Value, by: Value) -> Value {
    let shape = rule.ty(x).shape.to_vec();
    let axes: Vec<usize> = (0..shape.len() - 1).collect();
    let by = rule.broadcast(by, &shape, &axes);
    rule.mul(x, by)
}

/// `(x - x.T) / (w_j - w_i)`, and 0 where the two are equal.
fn between(rule: &mut Builder, x: Value, w: Value, shape: &[Size]) -> Value {
    let flipped = rule.transpose(x);
    let odd = rule.sub(x, flipped);
    let inverse = inverse_gaps(rule, w, shape);
    rule.mul(inverse, odd)
}

/// `1 / w`, and 0 where that is 0 up to rounding of the largest.
fn inverse_or_zero(rule: &mut Builder, w: Value) -> Value {
    let shape = rule.ty(w).shape.to_vec();
    let least = rounding(rule, w, &shape, &(0..shape.len() - 1).collect::<Vec<_>>());
    let size = rule.abs(w);
    let none = rule.le(size, least);
    reciprocal_unless(rule, none, w)
}

/// `1 / (w_j - w_i)`, and 0 where the two are equal up to rounding.
fn inverse_gaps(rule: &mut Builder, w: Value, shape: &[Size]) -> Value {
    let (rows, columns) = (shape.len() - 2, shape.len() - 1);
    let lead: Vec<usize> = (0..rows).collect();
    let down: Vec<usize> = (0..columns).collect();
    let across: Vec<usize> = lead.iter().copied().chain([columns]).collect();
    let (w_i, w_j) = (rule.broadcast(w, shape, &down), rule.broadcast(w, shape, &across));
    let gap = rule.sub(w_j, w_i);
    let least = rounding(rule, w, shape, &lead);
    let width = rule.abs(gap);
    let equal = rule.le(width, least);
    reciprocal_unless(rule, equal, gap)
}

/// What differences of numbers along the last axis of `w` count as none: a rounding of the largest, in `shape`.
fn rounding(rule: &mut Builder, w: Value, shape: &[Size], lead: &[usize]) -> Value {
    let relative = if rule.ty(w).dtype == crate::graph::DType::F64 { 1e-12 } else { 1e-6 };
    let size = rule.abs(w);
    let largest = rule.max(size, &[lead.len()]);
    let least = rule.scale(largest, relative);
    rule.broadcast(least, shape, lead)
}

/// `1 / x`, and 0 where `none` holds.
fn reciprocal_unless(rule: &mut Builder, none: Value, x: Value) -> Value {
    let (zeros, ones) = (rule.splat_like(0.0, x), rule.splat_like(1.0, x));
    let safe = rule.select(none, ones, x);
    let inverse = rule.div(ones, safe);
    rule.select(none, zeros, inverse)
}
