//! Times of matrix products and convolutions, in GFLOP/s of the direct algorithm: the median of several runs.
//!
//! `cargo bench --bench kernels`, with `RAYON_NUM_THREADS` set to the number of threads.

use std::time::Instant;

use candle_core::{Device, Tensor};
use ssl::kernels::conv::{self, Geometry};
use ssl::kernels::{matmul, par};

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|at| ((at * 7919) % 1013) as f32 / 1013.0 - 0.5).collect()
}

/// Median seconds of one run.
fn time<R>(mut work: impl FnMut() -> R) -> f64 {
    std::hint::black_box(work());
    let mut seconds: Vec<f64> = (0..7)
        .map(|_| {
            let start = Instant::now();
            std::hint::black_box(work());
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn line(name: &str, flops: f64, seconds: f64) {
    println!("{name:<44} {:>9.3} ms {:>7.1} GFLOP/s", seconds * 1e3, flops / seconds / 1e9);
}

fn products() -> candle_core::Result<()> {
    for (batch, m, k, n) in [
        (1, 1024, 1024, 1024),
        (1, 256, 1152, 128),
        (1, 256, 128, 256),
        (1, 256, 256, 256),
        (1, 4160, 192, 768),
        (1, 512, 1024, 1024),
        (1, 64, 60000, 64),
        (192, 65, 64, 65),
    ] {
        let a = Tensor::from_vec(numbers(batch * m * k), (batch, m, k), &Device::Cpu)?;
        let b = Tensor::from_vec(numbers(batch * k * n), (batch, k, n), &Device::Cpu)?;
        let flops = 2.0 * (batch * m * k * n) as f64;
        line(&format!("matmul {batch} x {m} {k} {n}"), flops, time(|| matmul::matmul(&a, &b)));
        let b = Tensor::from_vec(numbers(batch * k * n), (batch, n, k), &Device::Cpu)?.transpose(1, 2)?;
        line(&format!("matmul {batch} x {m} {k} {n}, b transposed"), flops, time(|| matmul::matmul(&a, &b)));
    }
    Ok(())
}

/// Images, channels, outputs, height, kernel, stride, groups.
const CONVOLUTIONS: &[[usize; 7]] = &[
    [256, 1, 32, 28, 3, 2, 1],
    [256, 1, 32, 14, 3, 2, 1],
    [256, 32, 64, 14, 3, 2, 1],
    [256, 64, 128, 7, 3, 2, 1],
    [64, 3, 64, 32, 3, 1, 1],
    [64, 64, 64, 32, 3, 1, 1],
    [64, 64, 128, 32, 3, 2, 1],
    [64, 128, 128, 16, 3, 1, 1],
    [64, 128, 256, 16, 3, 2, 1],
    [64, 256, 256, 8, 3, 1, 1],
    [64, 512, 512, 4, 3, 1, 1],
    [64, 64, 128, 32, 1, 2, 1],
    [64, 256, 256, 8, 1, 1, 1],
    [64, 64, 64, 32, 1, 1, 1],
    [64, 128, 128, 16, 3, 1, 128],
    [64, 128, 128, 16, 3, 1, 32],
];

fn main() -> candle_core::Result<()> {
    println!("{} threads", par::threads());
    products()?;
    for [images, channels, outputs, size, kernel, stride, groups] in CONVOLUTIONS.iter().copied() {
        let padding = kernel / 2;
        let out = (size + 2 * padding - kernel) / stride + 1;
        let g = Geometry {
            images,
            channels,
            height: size,
            width: size,
            outputs,
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [padding; 4],
            dilation: [1, 1],
            groups,
            out_height: out,
            out_width: out,
        };
        let x = numbers(images * channels * size * size);
        let w = numbers(outputs * channels / groups * kernel * kernel);
        let dy = numbers(images * outputs * out * out);
        let flops = 2.0 * (dy.len() * channels / groups * kernel * kernel) as f64;
        let name = format!("conv {images} x {channels}->{outputs} {size}x{size} k{kernel} s{stride} g{groups}");
        line(&format!("{name} forward"), flops, time(|| conv::forward(&g, &x, &w)));
        line(&format!("{name} input"), flops, time(|| conv::input_gradient(&g, &dy, &w)));
        line(&format!("{name} weight"), flops, time(|| conv::weight_gradient(&g, &x, &dy)));
    }
    Ok(())
}
