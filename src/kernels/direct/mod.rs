//! Convolution as products of packed weights and packed patches, of which only a block is ever in memory; any kernel,
//! stride, dilation, padding and number of groups. Also the adjoint for the images, where the stride is 1.
//!
//! In: contiguous f32 planes. Out: the same bits for any number of threads, with the errors of direct sums. Never here:
//! another element type.

mod patches;
#[cfg(test)]
mod tests;

use std::ops::Range;

use super::conv::Geometry;
use super::matmul::{Shared, with_scratch};
use super::micro::{self, LINE, PANEL, ROWS, aligned};
use super::par;
use patches::{Lattice, Planes};

/// Pixels of a block of lines: about as many as let the patches stay in the second-level cache.
const PIXELS: usize = 192;
/// Terms of the sums that are packed at once: a panel of them stays in the first-level cache.
const TERMS: usize = 256;

/// Lines of a block: about `pixels` pixels, in whole panels where that is possible.
fn block(columns: usize, pixels: usize) -> usize {
    let unit = (1..=PANEL).find(|lines| (lines * columns).is_multiple_of(PANEL)).unwrap_or(PANEL);
    if unit * columns <= pixels { pixels / (unit * columns) * unit } else { (pixels / columns).max(1) }
}

/// `x: [n, c, h, w]`, `w: [o, c / groups, kh, kw]` to `[n, o, oh, ow]`.
pub fn forward(g: &Geometry, x: &[f32], w: &[f32]) -> Vec<f32> {
    let shifts: Vec<[isize; 2]> = (0..g.taps()).map(|tap| g.shift(tap)).collect();
    let (channels, outputs) = g.per_group();
    Job {
        images: g.images,
        groups: g.groups,
        source: Planes { data: x, channels: g.channels, height: g.height, width: g.width },
        channels,
        outputs,
        weights: Weights { data: w, output: channels, channel: 1, group: outputs * channels },
        lattice: Lattice::new(g.out_height, g.out_width, g.stride, &shifts),
    }
    .run()
}

/// The adjoint for the images, `dy: [n, o, oh, ow]` to `[n, c, h, w]`, where the stride is 1: a convolution whose taps
/// read at the opposite side.
pub fn input_gradient(g: &Geometry, dy: &[f32], w: &[f32]) -> Vec<f32> {
    assert_eq!(g.stride, [1, 1]);
    let shifts: Vec<[isize; 2]> = (0..g.taps()).map(|tap| g.shift(tap).map(|shift| -shift)).collect();
    let (channels, outputs) = g.per_group();
    Job {
        images: g.images,
        groups: g.groups,
        source: Planes { data: dy, channels: g.outputs, height: g.out_height, width: g.out_width },
        channels: outputs,
        outputs: channels,
        weights: Weights { data: w, output: 1, channel: channels, group: outputs * channels },
        lattice: Lattice::new(g.height, g.width, [1, 1], &shifts),
    }
    .run()
}

/// Weights and the steps, in kernels, between outputs, channels and groups.
#[derive(Clone, Copy)]
struct Weights<'a> {
    data: &'a [f32],
    output: usize,
    channel: usize,
    group: usize,
}

/// Outputs `[n, groups * outputs, rows, columns]` of a lattice from planes `[n, groups * channels, ..]`.
struct Job<'a> {
    images: usize,
    groups: usize,
    source: Planes<'a>,
    channels: usize,
    outputs: usize,
    weights: Weights<'a>,
    lattice: Lattice,
}

/// A block of lines of one group, and where its outputs go.
struct Task {
    group: usize,
    lines: Range<usize>,
    /// Whether patches are read from the planes.
    bare: bool,
    /// For each panel where its first output lies in the result, if its pixels are neighbours there.
    places: Vec<Option<usize>>,
    out: Shared<f32>,
}

impl Job<'_> {
    fn run(&self) -> Vec<f32> {
        debug_assert!(micro::available());
        let weights = self.pack_weights();
        let (all, most) = (self.images * self.lattice.rows, block(self.lattice.columns, PIXELS));
        let bare = self.lattice.bare(&self.source, self.images, most);
        // SAFETY: the blocks of lines and the groups cover the result.
        unsafe {
            par::build_shared(self.images * self.groups * self.outputs * self.pixels(), |out| {
                par::for_blocks(all.div_ceil(most) * self.groups, 1, |range| {
                    for at in range {
                        let (first, group) = (at / self.groups * most, at % self.groups);
                        let lines = first..all.min(first + most);
                        let places = self.places(group, &lines);
                        self.finish(&Task { group, lines, bare, places, out }, &weights);
                    }
                });
            })
        }
    }

    fn pixels(&self) -> usize {
        self.lattice.rows * self.lattice.columns
    }

    /// Terms of a sum.
    fn depth(&self) -> usize {
        self.channels * self.lattice.taps()
    }

    /// Weights `[groups, outputs / 6, channels * taps, 6]`, with zeros for outputs past the end.
    fn pack_weights(&self) -> Vec<f32> {
        let (w, taps) = (self.weights, self.lattice.taps());
        let (size, blocks) = (self.depth() * ROWS, self.outputs.div_ceil(ROWS));
        let mut packed = vec![0.0; self.groups * blocks * size];
        par::fill_blocks(&mut packed, size, |start, packed| {
            let (group, first) = (start / size / blocks, start / size % blocks * ROWS);
            for lane in 0..ROWS.min(self.outputs - first) {
                let kernel = w.group * group + w.output * (first + lane);
                let mut places = packed.iter_mut().skip(lane).step_by(ROWS);
                for channel in 0..self.channels {
                    let kernel = &w.data[(kernel + w.channel * channel) * taps..][..taps];
                    kernel.iter().zip(places.by_ref()).for_each(|(weight, place)| *place = *weight);
                }
            }
        });
        packed
    }

    fn places(&self, group: usize, lines: &Range<usize>) -> Vec<Option<usize>> {
        let (columns, pixels) = (self.lattice.columns, self.pixels());
        let place = |panel: usize| {
            let first = lines.start * columns + panel * PANEL;
            let end = first + PANEL;
            let whole = end <= lines.end * columns && first / pixels == (end - 1) / pixels;
            whole.then(|| self.plane(first / pixels, group, 0) + first % pixels)
        };
        (0..(lines.len() * columns).div_ceil(PANEL)).map(place).collect()
    }

    /// Where a plane of the result starts.
    fn plane(&self, image: usize, group: usize, output: usize) -> usize {
        ((image * self.groups + group) * self.outputs + output) * self.pixels()
    }

    /// All outputs of a task.
    fn finish(&self, task: &Task, weights: &[f32]) {
        let (lattice, panels) = (&self.lattice, task.places.len());
        let together = (TERMS / lattice.taps()).clamp(1, self.channels);
        let base = task.group * self.channels;
        let gathered = if task.places.contains(&None) { panels * self.outputs * PANEL } else { 0 };
        with_scratch(panels * together * lattice.taps() * PANEL + 2 * LINE, |packed: &mut [f32]| {
            let packed = aligned(packed);
            with_scratch(gathered + LINE, |gathered: &mut [f32]| {
                let gathered = aligned(gathered);
                for first in (0..self.channels).step_by(together) {
                    let end = self.channels.min(first + together);
                    let channels = base + first..base + end;
                    if task.bare {
                        lattice.in_planes(&self.source, &channels, &task.lines).pack(packed);
                    } else {
                        with_scratch(lattice.band(channels.len(), &task.lines), |band: &mut [f32]| {
                            lattice.fill(&self.source, &channels, &task.lines, band);
                            lattice.in_band(band, channels.len(), &task.lines).pack(packed);
                        });
                    }
                    let terms = first * lattice.taps()..end * lattice.taps();
                    self.add(task, weights, terms, packed, gathered);
                }
                for panel in (0..panels).filter(|panel| task.places[*panel].is_none()) {
                    let sums = &gathered[panel * self.outputs * PANEL..][..self.outputs * PANEL];
                    self.scatter(task, panel, sums);
                }
            });
        });
    }

    /// Adds some terms of the sums, in the result or else in `gathered`.
    fn add(&self, task: &Task, weights: &[f32], terms: Range<usize>, packed: &[f32], gathered: &mut [f32]) {
        let (blocks, pixels) = (self.outputs.div_ceil(ROWS), self.pixels());
        for (panel, place) in task.places.iter().enumerate() {
            let patches = &packed[panel * terms.len() * PANEL..][..terms.len() * PANEL];
            for at in 0..blocks {
                let output = at * ROWS;
                let first = (task.group * blocks + at) * self.depth() + terms.start;
                let weights = &weights[first * ROWS..][..terms.len() * ROWS];
                // SAFETY: weights and patches hold the terms; these outputs of these pixels are this task's, and a place
                // is given only where sixteen pixels are neighbours; jobs run where the processor has the features.
                unsafe {
                    let (to, row) = match place {
                        Some(place) => (task.out.at(place + output * pixels), pixels),
                        None => (gathered[(panel * self.outputs + output) * PANEL..].as_mut_ptr(), PANEL),
                    };
                    let (a, b) = (weights.as_ptr(), patches.as_ptr());
                    micro::add_panel(ROWS.min(self.outputs - output), terms.len(), a, b, to, row, terms.start > 0);
                }
            }
        }
    }

    /// Writes the outputs `[outputs, 16]` of a panel to where they belong.
    fn scatter(&self, task: &Task, panel: usize, sums: &[f32]) {
        let (columns, pixels) = (self.lattice.columns, self.pixels());
        let (mut at, end) = (task.lines.start * columns + panel * PANEL, task.lines.end * columns);
        let mut lane = 0;
        while lane < PANEL && at < end {
            let run = (PANEL - lane).min(end - at).min(pixels - at % pixels);
            for (output, sums) in sums.chunks_exact(PANEL).enumerate() {
                let to = self.plane(at / pixels, task.group, output) + at % pixels;
                // SAFETY: the pixels lie in their plane, and no other task has them.
                unsafe { task.out.part(to..to + run) }.copy_from_slice(&sums[lane..lane + run]);
            }
            (at, lane) = (at + run, lane + run);
        }
    }
}
