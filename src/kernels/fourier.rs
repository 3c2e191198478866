//! Discrete Fourier transforms, in f64.

use candle_core::{DType, Device, Result, Tensor};
use rustfft::FftPlanner;
use rustfft::num_complex::Complex;

use super::par;

/// The sums `sum_n x_n exp(-2 pi i k n / N)` along an axis, or with `+` where `inverse`; real and imaginary parts apart.
pub fn fft(re: &Tensor, im: &Tensor, axis: usize, inverse: bool) -> Result<[Tensor; 2]> {
    let lines = |x: &Tensor| {
        let turned = x.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.transpose(axis, x.rank() - 1)?;
        turned.flatten_all()?.to_vec1::<f64>()
    };
    let mut numbers: Vec<Complex<f64>> =
        lines(re)?.into_iter().zip(lines(im)?).map(|(re, im)| Complex { re, im }).collect();
    let length = re.dims()[axis];
    if !numbers.is_empty() {
        let mut planner = FftPlanner::new();
        let plan = if inverse { planner.plan_fft_inverse(length) } else { planner.plan_fft_forward(length) };
        let unit = (par::BLOCK / length).max(1) * length;
        par::fill_blocks(&mut numbers, unit, |_, lines| plan.process(lines));
    }
    let mut turned = re.dims().to_vec();
    let last = turned.len() - 1;
    turned.swap(axis, last);
    let back = |of: fn(&Complex<f64>) -> f64| {
        let made = Tensor::from_vec(numbers.iter().map(of).collect(), turned.as_slice(), &Device::Cpu)?;
        made.transpose(axis, last)?.contiguous()?.to_dtype(re.dtype())?.to_device(re.device())
    };
    Ok([back(|z| z.re)?, back(|z| z.im)?])
}
