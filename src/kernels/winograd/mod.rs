//! Convolution with 3x3 kernels at stride 1 by Winograd's F(4x4, 3x3): tiles of 6x6 inputs and the weights are mapped to
//! 36 points, where each tile's sum over channels is a product of matrices, a quarter of the direct multiplications.
//!
//! In: contiguous f32 planes. Out: the same bits for any number of threads; errors some ten times those of direct sums.
//! Never here: another kernel size, stride or element type.

mod bands;
mod gradient;
mod spread;
#[cfg(test)]
mod tests;
mod transforms;
mod weights;

use std::ops::Range;

use super::conv::Geometry;
use super::matmul::with_scratch;
use super::micro::{self, LANES, LINE, PANEL, aligned};
use super::par;
use spread::{Grid, Planes, Points, Results, Shape, Sums, collect, spread_input};
use transforms::POINTS;
use weights::{Weights, spread_panel};

pub use gradient::weight_gradient;

/// Elements of the points of a block of tiles: what stays in the second-level cache.
const BLOCK: usize = 36 * 48 * 64;
/// Tiles of a block, at least and at most.
const TILES: Range<usize> = 24..96;
/// Tiles of a strip: what the innermost loop covers.
const STRIP: usize = 6;
/// Weights from which all tiles are transformed first, and threads share out panels of outputs: each panel of weights is
/// then used while it is in the cache, and the points of all weights are never in memory.
const WIDE: usize = 1 << 17;

/// Whether this algorithm can do the convolution.
pub fn possible(g: &Geometry) -> bool {
    g.kernel == [3, 3]
        && g.stride == [1, 1]
        && g.dilation == [1, 1]
        && g.groups == 1
        && g.padding.iter().all(|zeros| *zeros <= 2)
        && g.out_width <= 1024
        && micro::available()
}

/// `x: [n, c, h, w]`, `w: [o, c, 3, 3]` to `[n, o, oh, ow]`.
pub fn forward(g: &Geometry, x: &[f32], w: &[f32]) -> Vec<f32> {
    let [top, _, left, _] = g.padding;
    let x = Planes { data: x, channels: g.channels, height: g.height, width: g.width, top, left };
    let w = Weights { data: w, rows: g.outputs, columns: g.channels, flipped: false };
    convolve(g.images, x, w, g.out_height, g.out_width)
}

/// The adjoint for the images, `dy: [n, o, oh, ow]` to `[n, c, h, w]`: a convolution with flipped kernels, and with what
/// the padding leaves of two zeros at each side.
pub fn input_gradient(g: &Geometry, dy: &[f32], w: &[f32]) -> Vec<f32> {
    let [top, _, left, _] = g.padding.map(|zeros| 2 - zeros);
    let dy = Planes { data: dy, channels: g.outputs, height: g.out_height, width: g.out_width, top, left };
    let w = Weights { data: w, rows: g.outputs, columns: g.channels, flipped: true };
    convolve(g.images, dy, w, g.height, g.width)
}

fn convolve(images: usize, x: Planes, w: Weights, height: usize, width: usize) -> Vec<f32> {
    debug_assert!(micro::available());
    let outputs = w.outputs();
    // SAFETY: the blocks of lines and the panels of outputs cover the result.
    unsafe {
        par::build_shared(images * outputs * height * width, |y| {
            let results = Results { first: y, outputs, height, width };
            let job = Job { images, x, w, grid: Grid::of(height, width), results };
            if outputs * x.channels >= WIDE { job.by_outputs() } else { job.by_tiles() }
        })
    }
}

struct Job<'a> {
    images: usize,
    x: Planes<'a>,
    w: Weights<'a>,
    grid: Grid,
    results: Results,
}

impl Job<'_> {
    /// Lines of a block of about `tiles` tiles.
    fn lines(&self, tiles: usize) -> usize {
        (tiles / self.grid.across).max(1)
    }

    fn all_lines(&self) -> usize {
        self.images * self.grid.down
    }

    fn block(&self) -> usize {
        self.lines((BLOCK / POINTS / self.x.channels).clamp(TILES.start, TILES.end))
    }

    fn shape(&self, lines: usize) -> Shape {
        Shape { channels: self.x.channels, group: LANES, tiles: lines * self.grid.across, strip: STRIP }
    }

    fn panel(&self, at: usize) -> Range<usize> {
        at * PANEL..self.w.outputs().min((at + 1) * PANEL)
    }

    /// Blocks of tiles, each with all outputs.
    fn by_tiles(&self) {
        let (panels, size) = (self.w.outputs().div_ceil(PANEL), self.w.panel());
        let lines = self.block();
        let shape = self.shape(lines);
        with_scratch(panels * size + LINE, |weights: &mut [f32]| {
            let weights = &mut aligned(weights)[..panels * size];
            par::fill_blocks(weights, size, |start, points| {
                // SAFETY: `convolve` is called where the processor has the features.
                unsafe { spread_panel(&self.w, start / size * PANEL, points) }
            });
            let weights = &*weights;
            par::for_blocks(self.all_lines(), lines, |lines| {
                with_scratch(shape.elements(), |memory: &mut [f32]| {
                    let points = Points::new(memory, shape);
                    with_scratch(self.grid.band(lines.len()), |band: &mut [f32]| {
                        // SAFETY: the points are this block's own; for the features see above.
                        unsafe { spread_input(&self.x, self.grid, lines.clone(), 0, points, band) };
                        for (at, weights) in weights.chunks(size).enumerate() {
                            self.finish(points, 0, lines.clone(), weights, self.panel(at), band);
                        }
                    });
                });
            });
        });
    }

    /// All tiles first, then panels of outputs.
    fn by_outputs(&self) {
        let (panels, size) = (self.w.outputs().div_ceil(PANEL), self.w.panel());
        // Whole strips.
        let (all, lines) = (self.all_lines(), self.lines(TILES.end).next_multiple_of(STRIP));
        let shape = self.shape(all);
        with_scratch(shape.elements(), |memory: &mut [f32]| {
            let points = Points::new(memory, shape);
            par::for_blocks(all, self.lines(8), |lines| {
                with_scratch(self.grid.band(lines.len()), |band: &mut [f32]| {
                    let first = lines.start * self.grid.across;
                    // SAFETY: each block has its own tiles; `convolve` is called where the processor has the features.
                    unsafe { spread_input(&self.x, self.grid, lines, first, points, band) };
                });
            });
            par::for_blocks(panels, 1, |panel| {
                with_scratch(size + LINE, |weights: &mut [f32]| {
                    let weights = &mut aligned(weights)[..size];
                    // SAFETY: for the features see above.
                    unsafe { spread_panel(&self.w, panel.start * PANEL, weights) };
                    with_scratch(self.grid.band(lines), |band: &mut [f32]| {
                        for start in (0..all).step_by(lines) {
                            let (first, end) = (start * self.grid.across, all.min(start + lines));
                            self.finish(points, first, start..end, weights, self.panel(panel.start), band);
                        }
                    });
                });
            });
        });
    }

    /// The outputs of one panel for the tiles of some lines, of which the first is tile number `first` of the points.
    fn finish(
        &self,
        points: Points,
        first: usize,
        lines: Range<usize>,
        weights: &[f32],
        outputs: Range<usize>,
        band: &mut [f32],
    ) {
        let tiles = lines.len() * self.grid.across;
        let step = Sums::step(tiles);
        with_scratch(step * POINTS + LINE, |sums: &mut [f32]| {
            let sums = &mut aligned(sums)[..step * POINTS];
            for point in 0..POINTS {
                let weights = &weights[point * self.w.point()..];
                let sums = &mut sums[point * step..(point + 1) * step];
                let mut tile = 0;
                while tile < tiles {
                    let count = (tiles - tile).min(STRIP - (first + tile) % STRIP);
                    // SAFETY: the tiles are among the points, the panel has 16 weights for each channel, and the sums
                    // have room for these tiles; `convolve` is called where the processor has the features.
                    unsafe {
                        let a = points.at(point, 0, first + tile);
                        let out = sums[tile * PANEL..].as_mut_ptr();
                        micro::pixels(count, self.x.channels, a, points.pitch(), weights.as_ptr(), out);
                    }
                    tile += count;
                }
            }
            // SAFETY: these lines of these outputs are this call's; for the features see above.
            unsafe { collect(Sums { data: sums, point: step }, self.grid, lines, outputs, self.results, band) };
        });
    }
}
