//! The gradient for the weights, dW = G^T [sum over tiles of (A dy A^T) * (B^T x B)] G.
//!
//! Tiles are taken in rounds. In a round, blocks of tiles are transformed, and then each of the 36 points adds its sums
//! over all tiles of the round; so no thread needs sums of its own, and their order is that of the tiles.

use super::spread::{Grid, Planes, Points, Shape, spread_cotangents, spread_input};
use super::transforms::POINTS;
use super::weights::collect_gradient;
use crate::kernels::conv::Geometry;
use crate::kernels::matmul::{Shared, with_scratch};
use crate::kernels::micro::{self, LANES, LINE, OUTER_ROWS};
use crate::kernels::par;

/// Elements of the points of a round, of input and cotangents together.
const ROUND: usize = 1 << 19;
/// Tiles that are transformed at once.
const TILES: usize = 32;
/// Outputs of a block of sums.
const OUTPUTS: usize = 66;
/// Tiles whose columns stay in the first-level cache while all rows pass.
const NEAR: usize = 120;

/// `x: [n, c, h, w]`, `dy: [n, o, oh, ow]` to `[o, c, 3, 3]`.
pub fn weight_gradient(g: &Geometry, x: &[f32], dy: &[f32]) -> Vec<f32> {
    debug_assert!(micro::available());
    let [top, _, left, _] = g.padding;
    let x = Planes { data: x, channels: g.channels, height: g.height, width: g.width, top, left };
    let dy = Planes { data: dy, channels: g.outputs, height: g.out_height, width: g.out_width, top: 0, left: 0 };
    let grid = Grid::of(g.out_height, g.out_width);
    let lines = g.images * grid.down;
    let wanted = (ROUND / POINTS / (g.channels + g.outputs)).max(64);
    let round = (wanted / grid.across).clamp(1, lines);
    let tiles = round * grid.across;
    let row = g.channels.next_multiple_of(LANES);
    let rows = g.outputs.next_multiple_of(OUTER_ROWS);
    let of_x = Shape { channels: g.channels, group: LANES, tiles, strip: NEAR.min(tiles) };
    let of_dy = Shape { channels: g.outputs, group: OUTER_ROWS, ..of_x };
    let mut dw = vec![0.0; g.outputs * g.channels * 9];
    with_scratch(of_x.elements() + of_dy.elements(), |memory: &mut [f32]| {
        let (for_x, for_dy) = memory.split_at_mut(of_x.elements());
        let points = (Points::new(for_x, of_x), Points::new(for_dy, of_dy));
        let sums = Rows { count: rows, row, point: rows * row + LINE };
        with_scratch(POINTS * sums.point, |memory: &mut [f32]| {
            for start in (0..lines).step_by(round) {
                let lines = start..lines.min(start + round);
                let tiles = lines.len() * grid.across;
                transform(&x, &dy, grid, lines, points);
                add(tiles, points, sums, Shared::new(memory), start > 0);
            }
            par::fill_blocks(&mut dw, g.channels * 9, |at, dw| {
                let from = &memory[at / (g.channels * 9) * row..];
                // SAFETY: this function is called where the processor has the features.
                unsafe { collect_gradient(from, sums.point, dw) }
            });
        });
    });
    dw
}

/// The points of the tiles of some lines.
fn transform(x: &Planes, dy: &Planes, grid: Grid, lines: std::ops::Range<usize>, points: (Points, Points)) {
    let block = (TILES / grid.across).max(1);
    par::for_blocks(lines.len(), block, |range| {
        let first = range.start * grid.across;
        let lines = lines.start + range.start..lines.start + range.end;
        with_scratch(grid.band(block), |band: &mut [f32]| {
            // SAFETY: each block has its own tiles; this is called where the processor has the features.
            unsafe {
                spread_input(x, grid, lines.clone(), first, points.0, band);
                spread_cotangents(dy, grid, lines, first, points.1, band);
            }
        });
    });
}

/// Sums `[36, count, row]`, with room between the points as [`Points`] has.
#[derive(Clone, Copy)]
struct Rows {
    count: usize,
    row: usize,
    point: usize,
}

/// Sums over the tiles of a round, and over what the sums hold already if they are to be kept.
fn add(tiles: usize, (x, dy): (Points, Points), rows: Rows, sums: Shared<f32>, keep: bool) {
    let Rows { count: rows, row, point: step } = rows;
    let blocks = rows.div_ceil(OUTPUTS);
    par::for_blocks(POINTS * blocks, 1, |range| {
        for at in range {
            let (point, first) = (at / blocks, at % blocks * OUTPUTS);
            for tile in (0..tiles).step_by(NEAR) {
                let count = NEAR.min(tiles - tile);
                for group in (0..row / LANES).step_by(2) {
                    let groups = (row / LANES - group).min(2);
                    for output in (first..rows.min(first + OUTPUTS)).step_by(OUTER_ROWS) {
                        // SAFETY: points and sums have room for whole groups of outputs and channels; each task has its
                        // own point and outputs; this is called where the processor has the features.
                        unsafe {
                            let a = dy.at(point, output / OUTER_ROWS, tile);
                            let b = x.at(point, group, tile);
                            let out = sums.at(point * step + output * row + group * LANES);
                            micro::add_outer(groups, count, a, b, x.pitch(), out, row, keep || tile > 0);
                        }
                    }
                }
            }
        }
    });
}
