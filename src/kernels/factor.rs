//! Factors of matrices and what is solved with them, in f64.
//!
//! Operands are batches of matrices, of which each is treated alone. What has no result is NaN.

use candle_core::{DType, Device, Result, Tensor};
use faer::linalg::triangular_solve::{solve_lower_triangular_in_place, solve_upper_triangular_in_place};
use faer::prelude::Solve;
use faer::{Mat, MatRef, Par, Side};

use super::matmul::Shared;
use super::par;

/// Numbers of one matrix row by row.
type Numbers<'a> = &'a [f64];

/// Calls `one` with each set of matrices of the operands and the places of its results, the shapes of which have the
/// operands' leading sizes. It says whether there is a result.
fn each(
    x: &[Tensor],
    results: &[Vec<usize>],
    one: impl Fn(&[Numbers<'_>], &mut [&mut [f64]]) -> bool + Sync,
) -> Result<Vec<Tensor>> {
    let lead = x[0].rank() - 2;
    let batch: usize = x[0].dims()[..lead].iter().product();
    let given = x.iter().map(|x| x.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>());
    let given = given.collect::<Result<Vec<_>>>()?;
    let sizes: Vec<usize> = results.iter().map(|shape| shape[lead..].iter().product()).collect();
    let mut made: Vec<Vec<f64>> = sizes.iter().map(|size| vec![0.0; batch * size]).collect();
    if given.iter().all(|numbers| !numbers.is_empty()) {
        let shared: Vec<Shared<f64>> = made.iter_mut().map(|numbers| Shared::new(numbers)).collect();
        par::for_blocks(batch, 1, |range| {
            for at in range {
                let part = |all: &'_ Vec<f64>| at * (all.len() / batch)..(at + 1) * (all.len() / batch);
                let operands: Vec<Numbers<'_>> = given.iter().map(|all| &all[part(all)]).collect();
                // SAFETY: each set has its own part of the results.
                let places =
                    shared.iter().zip(&sizes).map(|(all, size)| unsafe { all.part(at * size..(at + 1) * size) });
                let mut places: Vec<&mut [f64]> = places.collect();
                let finite = operands.iter().all(|numbers| numbers.iter().all(|number| number.is_finite()));
                if !(finite && one(&operands, &mut places)) {
                    places.iter_mut().for_each(|place| place.fill(f64::NAN));
                }
            }
        });
    }
    let back = |(numbers, shape): (Vec<f64>, &Vec<usize>)| {
        Tensor::from_vec(numbers, shape.as_slice(), &Device::Cpu)?.to_dtype(x[0].dtype())?.to_device(x[0].device())
    };
    made.into_iter().zip(results).map(back).collect()
}

/// The last two sizes, and the shape of which `of` makes the part behind the leading sizes.
fn sizes(x: &Tensor) -> (usize, usize, impl Fn(&[usize]) -> Vec<usize> + '_) {
    let dims = x.dims();
    let (lead, last) = dims.split_at(dims.len() - 2);
    (last[0], last[1], move |own: &[usize]| [lead, own].concat())
}

fn matrix(numbers: Numbers<'_>, rows: usize, columns: usize) -> MatRef<'_, f64> {
    MatRef::from_row_major_slice(numbers, rows, columns)
}

fn symmetric(x: Numbers<'_>, n: usize) -> Mat<f64> {
    Mat::from_fn(n, n, |i, j| 0.5 * x[i * n + j] + 0.5 * x[j * n + i])
}

/// Writes `[rows, columns]` numbers.
fn write(place: &mut [f64], columns: usize, entry: impl Fn(usize, usize) -> f64) {
    for (at, number) in place.iter_mut().enumerate() {
        *number = entry(at / columns, at % columns);
    }
}

/// The singular values of one matrix of f64, the largest first; empty where there are none.
pub fn singular_values(x: &Tensor) -> Result<Vec<f64>> {
    let (rows, columns) = x.dims2()?;
    let numbers = x.flatten_all()?.to_vec1::<f64>()?;
    if numbers.is_empty() || numbers.iter().any(|number| !number.is_finite()) {
        return Ok(Vec::new());
    }
    Ok(matrix(&numbers, rows, columns).singular_values().unwrap_or_default())
}

/// The sign that makes the component of largest magnitude, the first of equals, of a column positive.
fn sign(u: MatRef<'_, f64>, column: usize) -> f64 {
    let larger = |best: usize, row: usize| if u[(row, column)].abs() > u[(best, column)].abs() { row } else { best };
    if u[((0..u.nrows()).fold(0, larger), column)] < 0.0 { -1.0 } else { 1.0 }
}

/// The lower triangle `l` with `l @ l.T` equal to `(x + x.T) / 2`.
pub fn cholesky(x: &[Tensor]) -> Result<Vec<Tensor>> {
    let (n, _, shape) = sizes(&x[0]);
    each(x, &[shape(&[n, n])], |x, places| {
        let Ok(factor) = symmetric(x[0], n).llt(Side::Lower) else { return false };
        write(places[0], n, |i, j| if j <= i { factor.L()[(i, j)] } else { 0.0 });
        true
    })
}

/// `x` with `a @ x == b`, of which one triangle is read.
pub fn triangular_solve(x: &[Tensor], upper: bool) -> Result<Vec<Tensor>> {
    let (n, m, shape) = sizes(&x[1]);
    each(x, &[shape(&[n, m])], |x, places| {
        let (a, mut b) = (matrix(x[0], n, n), matrix(x[1], n, m).to_owned());
        if upper {
            solve_upper_triangular_in_place(a, b.as_mut(), Par::Seq);
        } else {
            solve_lower_triangular_in_place(a, b.as_mut(), Par::Seq);
        }
        write(places[0], m, |i, j| b[(i, j)]);
        true
    })
}

/// `x` with `a @ x == b`.
pub fn solve(x: &[Tensor]) -> Result<Vec<Tensor>> {
    let (n, m, shape) = sizes(&x[1]);
    each(x, &[shape(&[n, m])], |x, places| {
        let solution = matrix(x[0], n, n).partial_piv_lu().solve(matrix(x[1], n, m));
        write(places[0], m, |i, j| solution[(i, j)]);
        true
    })
}

/// The logarithm of the determinant.
pub fn logdet(x: &[Tensor]) -> Result<Vec<Tensor>> {
    let (n, _, shape) = sizes(&x[0]);
    each(x, &[shape(&[])], |x, places| {
        let factors = matrix(x[0], n, n).partial_piv_lu();
        let pivots: Vec<f64> = (0..n).map(|i| factors.U()[(i, i)]).collect();
        let turned = pivots.iter().filter(|pivot| **pivot < 0.0).count() + exchanges(factors.P().arrays().0);
        let size: f64 = pivots.iter().map(|pivot| pivot.abs().ln()).sum();
        places[0][0] = if turned.is_multiple_of(2) || size == f64::NEG_INFINITY { size } else { f64::NAN };
        true
    })
}

/// How many exchanges make a permutation.
fn exchanges(order: &[usize]) -> usize {
    let mut seen = vec![false; order.len()];
    let mut cycles = 0;
    for start in 0..order.len() {
        if !seen[start] {
            cycles += 1;
            let mut at = start;
            while !seen[at] {
                seen[at] = true;
                at = order[at];
            }
        }
    }
    order.len() - cycles
}

/// The eigenvalues, ascending, and the eigenvectors, in columns, of `(x + x.T) / 2`, which are unique where the eigenvalues
/// differ: in each, the component of largest magnitude is positive.
pub fn eigh(x: &[Tensor]) -> Result<Vec<Tensor>> {
    let (n, _, shape) = sizes(&x[0]);
    each(x, &[shape(&[n]), shape(&[n, n])], |x, places| {
        let Ok(parts) = symmetric(x[0], n).self_adjoint_eigen(Side::Lower) else { return false };
        let (values, vectors) = (parts.S().column_vector(), parts.U());
        write(places[0], n, |_, j| values[j]);
        let signs: Vec<f64> = (0..n).map(|j| sign(vectors, j)).collect();
        write(places[1], n, |i, j| signs[j] * vectors[(i, j)]);
        true
    })
}

/// Left singular vectors in columns, singular values, descending, and right singular vectors in rows.
pub fn svd(x: &[Tensor]) -> Result<Vec<Tensor>> {
    let (m, n, shape) = sizes(&x[0]);
    let k = m.min(n);
    each(x, &[shape(&[m, k]), shape(&[k]), shape(&[k, n])], |x, places| {
        let Ok(parts) = matrix(x[0], m, n).thin_svd() else { return false };
        let (u, s, v) = (parts.U(), parts.S().column_vector(), parts.V());
        let signs: Vec<f64> = (0..k).map(|j| sign(u, j)).collect();
        write(places[0], k, |i, j| signs[j] * u[(i, j)]);
        write(places[1], k, |_, j| s[j]);
        write(places[2], n, |i, j| signs[i] * v[(j, i)]);
        true
    })
}
