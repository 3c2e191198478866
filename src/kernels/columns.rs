//! Convolution and its two adjoints for any element type and processor: phases are unrolled to columns, and columns meet
//! the weights in a matrix product.
//!
//! Work is cut into blocks of images and channel groups that depend on the shape only.

use std::ops::Range;

use super::conv::{Geometry, join, split};
use super::matmul::{Real, Shared, View, add_in_order, product, with_scratch};
use super::par;

/// Elements that a copy in chunks may touch past the end of what it copies.
const SLACK: usize = 8;
/// Output pixels that one matrix product covers: its columns stay in the second-level cache.
const TILE: usize = 256;
/// Private sums of the weight gradient, unless they would fill the memory.
const SUMS: usize = 16;
const SUM_ELEMENTS: usize = 8 << 20;
/// Weights of a group from which copies cost more than reading the cotangents once for each block of channels.
const WIDE: usize = 1 << 18;
/// Blocks of input channels that wide weights are cut into.
const CHANNEL_BLOCKS: usize = 8;

impl Geometry {
    /// Images that share one matrix product.
    fn images_at_once(&self) -> usize {
        (TILE / self.pixels().max(1)).clamp(1, self.images.max(1))
    }
}

/// Copies `count` elements in whole chunks: up to [`SLACK`] - 1 elements past the end are read and written.
///
/// # Safety
/// Both places are live for `count + SLACK` elements and do not overlap.
unsafe fn copy_chunks<T: Real>(from: *const T, to: *mut T, count: usize) {
    let mut at = 0;
    while at < count {
        // SAFETY: by contract.
        unsafe { std::ptr::copy_nonoverlapping(from.add(at), to.add(at), SLACK) };
        at += SLACK;
    }
}

fn add_run<T: Real>(to: &mut [T], from: &[T]) {
    let (mut to, mut from) = (to.chunks_exact_mut(4), from.chunks_exact(4));
    for (to, from) in to.by_ref().zip(from.by_ref()) {
        for lane in 0..4 {
            to[lane] += from[lane];
        }
    }
    to.into_remainder().iter_mut().zip(from.remainder()).for_each(|(to, from)| *to += *from);
}

/// The part of the output that one matrix product covers: rows of pixels of neighbouring images.
#[derive(Clone, Copy)]
struct Tile {
    /// First image, counted from the start of the block, and number of images.
    image: usize,
    images: usize,
    /// First row of pixels and number of rows.
    row: usize,
    rows: usize,
}

impl Tile {
    fn pixels(&self, g: &Geometry) -> usize {
        self.images * self.rows * g.out_width
    }
}

/// The tiles of a block of images: one of whole images, or several of rows where an image is large.
fn tiles(g: &Geometry, images: usize) -> Vec<Tile> {
    let rows = if images > 1 { g.out_height } else { (TILE / g.out_width.max(1)).clamp(1, g.out_height.max(1)) };
    (0..g.out_height)
        .step_by(rows)
        .map(|row| Tile { image: 0, images, row, rows: rows.min(g.out_height - row) })
        .collect()
}

/// Columns `[channels * taps, pixels]` of a tile from the phases `[images, channels, phases]`.
fn unroll<T: Real>(g: &Geometry, channels: usize, tile: Tile, phases: &[T], columns: &mut [T]) {
    let (taps, pitch) = (g.taps(), g.phase()[1]);
    let each = g.phases();
    let mut to = 0;
    for channel in 0..channels {
        for tap in 0..taps {
            let offset = g.tap(tap) + tile.row * pitch;
            for image in tile.image..tile.image + tile.images {
                let from = (image * channels + channel) * each + offset;
                for row in 0..tile.rows {
                    let start = from + row * pitch;
                    debug_assert!(start + g.out_width + SLACK <= phases.len());
                    debug_assert!(to + g.out_width + SLACK <= columns.len());
                    // SAFETY: both buffers have `SLACK` elements past the last run. Runs are written in ascending order,
                    // so what is written past the end of one is overwritten by the next.
                    unsafe { copy_chunks(phases.as_ptr().add(start), columns.as_mut_ptr().add(to), g.out_width) };
                    to += g.out_width;
                }
            }
        }
    }
}

/// The adjoint of [`unroll`]: adds the columns into the phases.
fn roll<T: Real>(g: &Geometry, tile: Tile, columns: &[T], phases: &mut [T]) {
    let (channels, taps, pitch) = (g.per_group().0, g.taps(), g.phase()[1]);
    let each = g.phases();
    let mut from = 0;
    for channel in 0..channels {
        for tap in 0..taps {
            let offset = g.tap(tap) + tile.row * pitch;
            for image in tile.image..tile.image + tile.images {
                let to = (image * channels + channel) * each + offset;
                for row in 0..tile.rows {
                    let start = to + row * pitch;
                    add_run(&mut phases[start..start + g.out_width], &columns[from..from + g.out_width]);
                    from += g.out_width;
                }
            }
        }
    }
}

/// Copies a tile between `[images, outputs, pixels]`, of which `outputs` starts at the group, and `[outputs, tile]`.
fn for_runs(g: &Geometry, tile: Tile, mut work: impl FnMut(usize, usize, usize)) {
    let (outputs, run) = (g.per_group().1, tile.rows * g.out_width);
    for output in 0..outputs {
        for image in 0..tile.images {
            let whole = ((tile.image + image) * g.outputs + output) * g.pixels() + tile.row * g.out_width;
            work(whole, (output * tile.images + image) * run, run);
        }
    }
}

/// One task: a block of images, and some input channels of one group.
struct Task {
    first: usize,
    images: usize,
    group: usize,
    channels: Range<usize>,
}

fn for_tasks(g: &Geometry, work: impl Fn(Task) + Sync) {
    let at_once = g.images_at_once();
    let blocks = g.images.div_ceil(at_once);
    par::for_blocks(blocks * g.groups, 1, |range| {
        for at in range {
            let first = at / g.groups * at_once;
            let images = at_once.min(g.images - first);
            work(Task { first, images, group: at % g.groups, channels: 0..g.per_group().0 });
        }
    });
}

/// The phases of the images and channels of a task.
fn split_task<T: Real>(g: &Geometry, task: &Task, x: &[T], phases: &mut [T]) {
    let (channels, each) = (task.channels.len(), g.phases());
    let base = task.group * g.per_group().0 + task.channels.start;
    for image in 0..task.images {
        for channel in 0..channels {
            let plane = ((task.first + image) * g.channels + base + channel) * g.plane();
            let at = (image * channels + channel) * each;
            split(g, &x[plane..plane + g.plane()], &mut phases[at..at + each]);
        }
    }
}

/// As [`conv::forward`](super::conv::forward), to `y`.
pub(super) fn forward<T: Real>(g: &Geometry, x: &[T], w: &[T], y: &mut [T]) {
    let ((channels, outputs), depth) = (g.per_group(), g.per_group().0 * g.taps());
    let out = Shared::new(y);
    for_tasks(g, |task| {
        let weights = View::rows(&w[task.group * outputs * depth..], depth);
        let base = (task.first * g.outputs + task.group * outputs) * g.pixels();
        if g.pointwise() {
            for image in 0..task.images {
                let plane = ((task.first + image) * g.channels + task.group * channels) * g.plane();
                // SAFETY: each task has its own images and outputs.
                unsafe {
                    let to = out.at(base + image * g.outputs * g.pixels());
                    product(
                        outputs,
                        g.pixels(),
                        depth,
                        to,
                        g.pixels(),
                        false,
                        weights,
                        View::rows(&x[plane..], g.plane()),
                    );
                }
            }
            return;
        }
        with_scratch(task.images * channels * g.phases() + SLACK, |phases: &mut [T]| {
            split_task(g, &task, x, phases);
            for tile in tiles(g, task.images) {
                let pixels = tile.pixels(g);
                with_scratch(depth * pixels + SLACK, |columns: &mut [T]| {
                    unroll(g, channels, tile, phases, columns);
                    let columns = View::rows(columns, pixels);
                    if tile.images == 1 {
                        // SAFETY: each task has its own images and outputs.
                        unsafe {
                            let to = out.at(base + tile.row * g.out_width);
                            product(outputs, pixels, depth, to, g.pixels(), false, weights, columns);
                        }
                        return;
                    }
                    with_scratch(outputs * pixels, |gathered: &mut [T]| {
                        // SAFETY: the scratch is this task's, and so are its images and outputs.
                        unsafe {
                            product(outputs, pixels, depth, gathered.as_mut_ptr(), pixels, false, weights, columns);
                            for_runs(g, tile, |whole, part, run| {
                                out.part(base + whole..base + whole + run).copy_from_slice(&gathered[part..part + run]);
                            });
                        }
                    });
                });
            }
        });
    });
}

/// As [`conv::input_gradient`](super::conv::input_gradient), to `dx`.
pub(super) fn input_gradient<T: Real>(g: &Geometry, dy: &[T], w: &[T], dx: &mut [T]) {
    let ((channels, outputs), depth) = (g.per_group(), g.per_group().0 * g.taps());
    let out = Shared::new(dx);
    for_tasks(g, |task| {
        let weights = View::rows(&w[task.group * outputs * depth..], depth).transposed();
        let base = (task.first * g.outputs + task.group * outputs) * g.pixels();
        if g.pointwise() {
            for image in 0..task.images {
                let plane = ((task.first + image) * g.channels + task.group * channels) * g.plane();
                let dy = View::rows(&dy[base + image * g.outputs * g.pixels()..], g.pixels());
                // SAFETY: each task has its own images and channels.
                unsafe { product(depth, g.pixels(), outputs, out.at(plane), g.plane(), false, weights, dy) };
            }
            return;
        }
        with_scratch(task.images * channels * g.phases(), |phases: &mut [T]| {
            phases.fill(T::default());
            for tile in tiles(g, task.images) {
                let pixels = tile.pixels(g);
                with_scratch(depth * pixels, |columns: &mut [T]| {
                    with_tile(g, tile, &dy[base..], |dy| {
                        // SAFETY: the scratch is this task's.
                        unsafe { product(depth, pixels, outputs, columns.as_mut_ptr(), pixels, false, weights, dy) };
                    });
                    roll(g, tile, columns, phases);
                });
            }
            for image in 0..task.images {
                for channel in 0..channels {
                    let plane = ((task.first + image) * g.channels + task.group * channels + channel) * g.plane();
                    let at = (image * channels + channel) * g.phases();
                    // SAFETY: each task has its own images and channels.
                    join(g, &phases[at..at + g.phases()], unsafe { out.part(plane..plane + g.plane()) });
                }
            }
        });
    });
}

/// The cotangents `[outputs, tile]` of a tile: where they are if it is one image, else gathered.
fn with_tile<T: Real>(g: &Geometry, tile: Tile, dy: &[T], work: impl FnOnce(View<T>)) {
    if tile.images == 1 {
        return work(View::rows(&dy[tile.image * g.outputs * g.pixels() + tile.row * g.out_width..], g.pixels()));
    }
    let pixels = tile.pixels(g);
    with_scratch(g.per_group().1 * pixels, |gathered: &mut [T]| {
        for_runs(g, tile, |whole, part, run| gathered[part..part + run].copy_from_slice(&dy[whole..whole + run]));
        work(View::rows(gathered, pixels));
    });
}

/// As [`conv::weight_gradient`](super::conv::weight_gradient), to `dw`, which is 0.
pub(super) fn weight_gradient<T: Real>(g: &Geometry, x: &[T], dy: &[T], dw: &mut [T]) {
    let depth = g.per_group().0 * g.taps();
    if !g.pointwise() && g.per_group().1 * depth >= WIDE {
        sum_by_channels(g, x, dy, dw);
    } else {
        sum_by_images(g, x, dy, dw);
    }
}

/// Each block of input channels has its own part of the gradient, and sums over all images in order.
fn sum_by_channels<T: Real>(g: &Geometry, x: &[T], dy: &[T], dw: &mut [T]) {
    let ((channels, outputs), taps) = (g.per_group(), g.taps());
    let depth = channels * taps;
    let (block, at_once) = (channels.div_ceil(CHANNEL_BLOCKS), g.images_at_once());
    let blocks = channels.div_ceil(block);
    let shared = Shared::new(dw);
    par::for_blocks(g.groups * blocks, 1, |range| {
        for at in range {
            let (group, start) = (at / blocks, at % blocks * block);
            for first in (0..g.images).step_by(at_once) {
                let images = at_once.min(g.images - first);
                let task = Task { first, images, group, channels: start..channels.min(start + block) };
                // SAFETY: these columns of the gradient are this block's alone.
                unsafe { add_weight_gradient(g, &task, x, dy, shared.at(group * outputs * depth + start * taps)) };
            }
        }
    });
}

/// A fixed number of blocks of images have sums of their own, which are added in order.
fn sum_by_images<T: Real>(g: &Geometry, x: &[T], dy: &[T], dw: &mut [T]) {
    let ((channels, outputs), depth) = (g.per_group(), g.per_group().0 * g.taps());
    let (count, at_once) = (dw.len(), g.images_at_once());
    let sums = (SUM_ELEMENTS / count).clamp(4, SUMS).min(g.images.div_ceil(at_once));
    let images = g.images.div_ceil(sums).next_multiple_of(at_once);
    let sums = g.images.div_ceil(images);
    let direct = channels == 1 && !g.pointwise() && g.groups > 1;
    let mut parts = vec![T::default(); sums * count];
    let shared = Shared::new(&mut parts);
    par::for_blocks(sums * g.groups, 1, |range| {
        for at in range {
            let (block, group) = (at / g.groups, at % g.groups);
            let from = block * count + group * outputs * depth;
            // SAFETY: each block and group has its own part.
            let sum = unsafe { shared.part(from..from + outputs * depth) };
            let end = g.images.min((block + 1) * images);
            for first in (block * images..end).step_by(at_once) {
                let task = Task { first, images: at_once.min(end - first), group, channels: 0..channels };
                if direct {
                    super::depthwise::add_weight_gradient(g, first..first + task.images, group, x, dy, sum);
                } else {
                    // SAFETY: the part is `outputs` by `depth`.
                    unsafe { add_weight_gradient(g, &task, x, dy, sum.as_mut_ptr()) };
                }
            }
        }
    });
    add_in_order(dw, &parts);
}

/// Adds what the images and channels of a task give to the weights of its outputs.
///
/// # Safety
/// `sum` is the place of the task's first channel in the gradient `[outputs, c / groups * taps]` of its group, and
/// nobody else uses the columns of the task's channels.
unsafe fn add_weight_gradient<T: Real>(g: &Geometry, task: &Task, x: &[T], dy: &[T], sum: *mut T) {
    let ((all, outputs), channels) = (g.per_group(), task.channels.len());
    let (row, depth) = (all * g.taps(), channels * g.taps());
    let base = (task.first * g.outputs + task.group * outputs) * g.pixels();
    if g.pointwise() {
        for image in 0..task.images {
            let plane = ((task.first + image) * g.channels + task.group * all + task.channels.start) * g.plane();
            let columns = View::rows(&x[plane..], g.plane()).transposed();
            let dy = View::rows(&dy[base + image * g.outputs * g.pixels()..], g.pixels());
            // SAFETY: by contract; the views lie within their tensors.
            unsafe { product(outputs, depth, g.pixels(), sum, row, true, dy, columns) };
        }
        return;
    }
    with_scratch(task.images * channels * g.phases() + SLACK, |phases: &mut [T]| {
        split_task(g, task, x, phases);
        for tile in tiles(g, task.images) {
            let pixels = tile.pixels(g);
            with_scratch(depth * pixels + SLACK, |columns: &mut [T]| {
                unroll(g, channels, tile, phases, columns);
                let columns = View::rows(columns, pixels).transposed();
                with_tile(g, tile, &dy[base..], |dy| {
                    // SAFETY: by contract; the views lie within their tensors.
                    unsafe { product(outputs, depth, pixels, sum, row, true, dy, columns) };
                });
            });
        }
    });
}
