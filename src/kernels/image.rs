//! Bilinear sampling under an affine map, and resizing of a box with a triangle filter, with their adjoints for the
//! image. Each sample is one task.

use super::matmul::{Real, Shared, with_scratch};
use super::par;

/// Sizes of a batch of images and of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub samples: usize,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    pub out_height: usize,
    pub out_width: usize,
}

impl Frame {
    fn image(&self) -> usize {
        self.channels * self.height * self.width
    }

    fn out(&self) -> usize {
        self.channels * self.out_height * self.out_width
    }

    /// Calls `work` with each sample and its part of `out`, which is `each` elements for a sample.
    fn for_samples<T: Real>(&self, out: &mut [T], each: usize, work: impl Fn(usize, &mut [T]) + Sync) {
        let shared = Shared::new(out);
        par::for_blocks(self.samples, self.samples.div_ceil(64), |range| {
            for sample in range {
                // SAFETY: each sample has its own part.
                work(sample, unsafe { shared.part(sample * each..(sample + 1) * each) });
            }
        });
    }
}

/// What a place outside of the image has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    Zero,
    /// The nearest pixel of the image.
    Nearest,
}

/// Up to four pixels and their weights.
type Corners = ([(usize, f64); 4], usize);

/// The pixels that surround a place, in coordinates where pixel centres are whole numbers.
fn corners(g: &Frame, edge: Edge, x: f64, y: f64) -> Corners {
    let mut found = ([(0, 0.0); 4], 0);
    if !(x.is_finite() && y.is_finite()) || g.height * g.width == 0 {
        return found;
    }
    let (right, bottom) = ((g.width - 1) as f64, (g.height - 1) as f64);
    let (x, y) = match edge {
        Edge::Nearest => (x.clamp(0.0, right), y.clamp(0.0, bottom)),
        Edge::Zero if x <= -1.0 || y <= -1.0 || x >= right + 1.0 || y >= bottom + 1.0 => return found,
        Edge::Zero => (x, y),
    };
    let (left, top) = (x.floor(), y.floor());
    for (row, down) in [(top, 1.0 - (y - top)), (top + 1.0, y - top)] {
        for (column, across) in [(left, 1.0 - (x - left)), (left + 1.0, x - left)] {
            let inside = row >= 0.0 && row <= bottom && column >= 0.0 && column <= right;
            if inside && down * across != 0.0 {
                found.0[found.1] = (row as usize * g.width + column as usize, down * across);
                found.1 += 1;
            }
        }
    }
    found
}

/// Calls `work` with each pixel of the result and the pixels of the image that it is made of.
fn for_places<T: Real>(g: &Frame, edge: Edge, matrix: &[T], mut work: impl FnMut(usize, &[(usize, f64)])) {
    let m: [f64; 6] = std::array::from_fn(|at| matrix[at].to_f64());
    for row in 0..g.out_height {
        for column in 0..g.out_width {
            let (x, y) = (column as f64, row as f64);
            let (pixels, count) = corners(g, edge, m[0] * x + m[1] * y + m[2], m[3] * x + m[4] * y + m[5]);
            work(row * g.out_width + column, &pixels[..count]);
        }
    }
}

/// `image: [samples, c, h, w]`, `matrix: [samples, 2, 3]` to `[samples, c, oh, ow]`.
pub fn warp<T: Real>(g: &Frame, edge: Edge, image: &[T], matrix: &[T]) -> Vec<T> {
    let mut out = vec![T::default(); g.samples * g.out()];
    g.for_samples(&mut out, g.out(), |sample, out| {
        let image = &image[sample * g.image()..(sample + 1) * g.image()];
        for_places(g, edge, &matrix[sample * 6..sample * 6 + 6], |place, pixels| {
            for channel in 0..g.channels {
                let plane = &image[channel * g.height * g.width..];
                let sum: f64 = pixels.iter().map(|(at, weight)| plane[*at].to_f64() * weight).sum();
                out[channel * g.out_height * g.out_width + place] = T::from_f64(sum);
            }
        });
    });
    out
}

/// The adjoint of [`warp`] for the image.
pub fn warp_gradient<T: Real>(g: &Frame, edge: Edge, dy: &[T], matrix: &[T]) -> Vec<T> {
    let mut image = vec![T::default(); g.samples * g.image()];
    g.for_samples(&mut image, g.image(), |sample, image| {
        let dy = &dy[sample * g.out()..(sample + 1) * g.out()];
        for_places(g, edge, &matrix[sample * 6..sample * 6 + 6], |place, pixels| {
            for channel in 0..g.channels {
                let dy = dy[channel * g.out_height * g.out_width + place].to_f64();
                for (at, weight) in pixels {
                    image[channel * g.height * g.width + at] += T::from_f64(dy * weight);
                }
            }
        });
    });
    image
}

/// For each output of one axis: the first input that it is made of, and where its weights stand.
struct Filter<T> {
    spans: Vec<(usize, std::ops::Range<usize>)>,
    weights: Vec<T>,
}

/// A triangle as wide as the step between outputs, at least as wide as the step between inputs; weights sum to 1. Pixels
/// that the box does not touch are left out; a box beyond the image shows its nearest row.
fn filter<T: Real>(start: f64, length: f64, out: usize, size: usize) -> Filter<T> {
    // The pixels that the box touches.
    let last = size as f64 - 1.0;
    let first = start.floor().clamp(0.0, last);
    let end = (start + length).ceil().clamp(first + 1.0, size as f64);
    let step = length / out as f64;
    let support = step.max(1.0);
    let (mut spans, mut weights) = (Vec::with_capacity(out), Vec::new());
    for at in 0..out {
        let centre = start + (at as f64 + 0.5) * step;
        let low = (centre - support + 0.5).floor().clamp(first, end - 1.0);
        let high = (centre + support + 0.5).floor().clamp(low + 1.0, end) as usize;
        let low = low as usize;
        let triangle = |pixel: usize| (1.0 - ((pixel as f64 + 0.5 - centre) / support).abs()).max(0.0);
        let total: f64 = (low..high).map(triangle).sum();
        let begin = weights.len();
        if total > 0.0 {
            weights.extend((low..high).map(|pixel| T::from_f64(triangle(pixel) / total)));
            spans.push((low, begin..weights.len()));
        } else {
            weights.push(T::ONE);
            spans.push(((centre - 0.5).round().clamp(first, end - 1.0) as usize, begin..begin + 1));
        }
    }
    Filter { spans, weights }
}

/// The two filters of a sample: rows, columns.
fn filters<T: Real>(g: &Frame, place: &[T]) -> (Filter<T>, Filter<T>) {
    let [top, left, height, width] = std::array::from_fn(|at| place[at].to_f64());
    (filter(top, height, g.out_height, g.height), filter(left, width, g.out_width, g.width))
}

/// That every box has a positive size and finite numbers.
pub fn check_boxes<T: Real>(op: &str, boxes: &[T]) -> candle_core::Result<()> {
    for (at, place) in boxes.chunks_exact(4).enumerate() {
        let numbers: [f64; 4] = std::array::from_fn(|at| place[at].to_f64());
        if !numbers.iter().all(|x| x.is_finite()) || numbers[2] <= 0.0 || numbers[3] <= 0.0 {
            candle_core::bail!(
                "{op}: box {at} is {numbers:?} (top, left, height, width), its numbers must be finite, its sizes positive"
            )
        }
    }
    Ok(())
}

/// `image: [samples, c, h, w]`, `boxes: [samples, 4]` to `[samples, c, oh, ow]`: columns first, then rows.
pub fn crop_resize<T: Real>(g: &Frame, image: &[T], boxes: &[T]) -> Vec<T> {
    let mut out = vec![T::default(); g.samples * g.out()];
    g.for_samples(&mut out, g.out(), |sample, out| {
        let (rows, columns) = filters(g, &boxes[sample * 4..sample * 4 + 4]);
        with_scratch(g.height * g.out_width, |narrow: &mut [T]| {
            for channel in 0..g.channels {
                let plane = &image[sample * g.image() + channel * g.height * g.width..][..g.height * g.width];
                for row in needed(&rows) {
                    let from = &plane[row * g.width..(row + 1) * g.width];
                    let to = &mut narrow[row * g.out_width..(row + 1) * g.out_width];
                    for (to, (first, span)) in to.iter_mut().zip(&columns.spans) {
                        let mut sum = T::default();
                        for (weight, x) in columns.weights[span.clone()].iter().zip(&from[*first..]) {
                            sum += *weight * *x;
                        }
                        *to = sum;
                    }
                }
                let plane = &mut out[channel * g.out_height * g.out_width..][..g.out_height * g.out_width];
                for (to, (first, span)) in plane.chunks_exact_mut(g.out_width.max(1)).zip(&rows.spans) {
                    for (weight, from) in
                        rows.weights[span.clone()].iter().zip(narrow[first * g.out_width..].chunks_exact(g.out_width))
                    {
                        to.iter_mut().zip(from).for_each(|(to, from)| *to += *weight * *from);
                    }
                }
            }
        });
    });
    out
}

/// The rows of the image that some output is made of.
fn needed<T>(rows: &Filter<T>) -> std::ops::Range<usize> {
    let first = rows.spans.iter().map(|(first, _)| *first).min().unwrap_or(0);
    let end = rows.spans.iter().map(|(first, span)| first + span.len()).max().unwrap_or(0);
    first..end
}

/// The adjoint of [`crop_resize`] for the image.
pub fn crop_resize_gradient<T: Real>(g: &Frame, dy: &[T], boxes: &[T]) -> Vec<T> {
    let mut image = vec![T::default(); g.samples * g.image()];
    g.for_samples(&mut image, g.image(), |sample, image| {
        let (rows, columns) = filters(g, &boxes[sample * 4..sample * 4 + 4]);
        with_scratch(g.height * g.out_width, |narrow: &mut [T]| {
            for channel in 0..g.channels {
                narrow.fill(T::default());
                let dy = &dy[sample * g.out() + channel * g.out_height * g.out_width..];
                for (from, (first, span)) in dy.chunks_exact(g.out_width.max(1)).zip(&rows.spans) {
                    for (at, weight) in rows.weights[span.clone()].iter().enumerate() {
                        let to = &mut narrow[(first + at) * g.out_width..][..g.out_width];
                        to.iter_mut().zip(from).for_each(|(to, from)| *to += *weight * *from);
                    }
                }
                let plane = &mut image[channel * g.height * g.width..][..g.height * g.width];
                for row in needed(&rows) {
                    let from = &narrow[row * g.out_width..(row + 1) * g.out_width];
                    let to = &mut plane[row * g.width..(row + 1) * g.width];
                    for (from, (first, span)) in from.iter().zip(&columns.spans) {
                        for (weight, to) in columns.weights[span.clone()].iter().zip(&mut to[*first..]) {
                            *to += *weight * *from;
                        }
                    }
                }
            }
        });
    });
    image
}
