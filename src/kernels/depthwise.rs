//! Convolution where each group has one input channel: direct loops over runs of pixels, since there is nothing to sum
//! over channels and a matrix product would only move data.

use std::ops::Range;

use super::conv::{Geometry, collect_phases, for_taps, with_phases};
use super::matmul::{Real, Shared};
use super::par;

/// Plane sizes: of the input, of the output, and the numbers of taps and of outputs for each channel.
fn sizes(g: &Geometry) -> (usize, usize, usize, usize) {
    let taps = g.kernel[0] * g.kernel[1];
    (g.height * g.width, g.out_height * g.out_width, taps, g.outputs / g.groups)
}

/// Calls `work` with each image and channel.
fn for_planes(g: &Geometry, work: impl Fn(usize, usize) + Sync) {
    let planes = g.images * g.channels;
    par::for_blocks(planes, planes.div_ceil(64), |range| {
        range.for_each(|at| work(at / g.channels, at % g.channels));
    });
}

pub(super) fn forward<T: Real>(g: &Geometry, x: &[T], w: &[T], y: &mut [T]) {
    let (plane, pixels, taps, per) = sizes(g);
    let out = Shared::new(y);
    for_planes(g, |image, channel| {
        let from = (image * g.channels + channel) * plane;
        with_phases(g, &x[from..from + plane], |phases| {
            for output in channel * per..(channel + 1) * per {
                let to = (image * g.outputs + output) * pixels;
                // SAFETY: each image and channel has its own planes of the output.
                let y = unsafe { out.part(to..to + pixels) };
                for_taps(g, |tap, start, row| {
                    let weight = w[output * taps + tap];
                    let run = &phases[start..start + g.out_width];
                    y[row..row + g.out_width].iter_mut().zip(run).for_each(|(y, x)| *y += weight * *x);
                });
            }
        });
    });
}

pub(super) fn input_gradient<T: Real>(g: &Geometry, dy: &[T], w: &[T], dx: &mut [T]) {
    let (plane, pixels, taps, per) = sizes(g);
    let out = Shared::new(dx);
    for_planes(g, |image, channel| {
        let to = (image * g.channels + channel) * plane;
        // SAFETY: each image and channel has its own plane of the result.
        collect_phases(g, unsafe { out.part(to..to + plane) }, |phases| {
            for output in channel * per..(channel + 1) * per {
                let dy = &dy[(image * g.outputs + output) * pixels..][..pixels];
                for_taps(g, |tap, start, row| {
                    let weight = w[output * taps + tap];
                    let run = &mut phases[start..start + g.out_width];
                    run.iter_mut().zip(&dy[row..]).for_each(|(x, dy)| *x += weight * *dy);
                });
            }
        });
    });
}

/// Adds the part of some images to the weight gradient of one channel.
pub(super) fn add_weight_gradient<T: Real>(
    g: &Geometry,
    images: Range<usize>,
    channel: usize,
    x: &[T],
    dy: &[T],
    sum: &mut [T],
) {
    let (plane, pixels, taps, per) = sizes(g);
    for image in images {
        let from = (image * g.channels + channel) * plane;
        with_phases(g, &x[from..from + plane], |phases| {
            for output in 0..per {
                let dy = &dy[(image * g.outputs + channel * per + output) * pixels..][..pixels];
                for_taps(g, |tap, start, row| {
                    let runs = phases[start..start + g.out_width].iter().zip(&dy[row..]);
                    sum[output * taps + tap] += dot(runs);
                });
            }
        });
    }
}

fn dot<'a, T: Real>(runs: impl Iterator<Item = (&'a T, &'a T)>) -> T {
    let mut sum = T::default();
    runs.for_each(|(a, b)| sum += *a * *b);
    sum
}
