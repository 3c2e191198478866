//! Eigenvalues and eigenvectors of symmetric matrices, in f64.

use candle_core::{Result, Tensor};
use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd;
use faer::{Mat, Par};

use super::matmul::Shared;
use super::par;

/// The eigenvalues, ascending, and the eigenvectors, in columns, of `(x + x.T) / 2` for each matrix `[n, n]` of a
/// contiguous batch. In each vector the component of largest magnitude (the first of equals) is positive, which makes
/// the result unique where the eigenvalues differ. A matrix with NaN or infinity in it has NaN as its result.
pub fn eigh(x: &Tensor) -> Result<(Tensor, Tensor)> {
    let dims = x.dims().to_vec();
    let n = dims[dims.len() - 1];
    let batch: usize = dims[..dims.len() - 2].iter().product();
    let given = x.to_device(&candle_core::Device::Cpu)?.to_dtype(candle_core::DType::F64)?;
    let given = given.flatten_all()?.to_vec1::<f64>()?;
    let (mut values, mut vectors) = (vec![0.0; batch * n], vec![0.0; batch * n * n]);
    if n > 0 {
        let (shared_values, shared_vectors) = (Shared::new(&mut values), Shared::new(&mut vectors));
        par::for_blocks(batch, 1, |range| {
            for at in range {
                // SAFETY: each matrix has its own part of the results.
                let (values, vectors) = unsafe {
                    (shared_values.part(at * n..(at + 1) * n), shared_vectors.part(at * n * n..(at + 1) * n * n))
                };
                one(&given[at * n * n..(at + 1) * n * n], n, values, vectors);
            }
        });
    }
    let back = |numbers: Vec<f64>, shape: &[usize]| {
        Tensor::from_vec(numbers, shape, &candle_core::Device::Cpu)?.to_dtype(x.dtype())?.to_device(x.device())
    };
    Ok((back(values, &dims[..dims.len() - 1])?, back(vectors, &dims)?))
}

fn one(x: &[f64], n: usize, values: &mut [f64], vectors: &mut [f64]) {
    let matrix = Mat::from_fn(n, n, |i, j| 0.5 * x[i * n + j] + 0.5 * x[j * n + i]);
    let (mut s, mut u) = (Diag::<f64>::zeros(n), Mat::<f64>::zeros(n, n));
    let need = evd::self_adjoint_evd_scratch::<f64>(n, evd::ComputeEigenvectors::Yes, Par::Seq, Default::default());
    let finite = x.iter().all(|v| v.is_finite());
    let done = finite
        && evd::self_adjoint_evd(
            matrix.as_ref(),
            s.as_mut(),
            Some(u.as_mut()),
            Par::Seq,
            MemStack::new(&mut MemBuffer::new(need)),
            Default::default(),
        )
        .is_ok();
    if !done {
        values.fill(f64::NAN);
        vectors.fill(f64::NAN);
        return;
    }
    for j in 0..n {
        values[j] = s[j];
        let largest = (0..n).fold(0, |best, i| if u[(i, j)].abs() > u[(best, j)].abs() { i } else { best });
        let sign = if u[(largest, j)] < 0.0 { -1.0 } else { 1.0 };
        for i in 0..n {
            vectors[i * n + j] = sign * u[(i, j)];
        }
    }
}
