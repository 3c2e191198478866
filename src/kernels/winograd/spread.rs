//! Between planes and transformed tiles: what the points of all tiles of some lines are, and what comes back from them.
//!
//! A *line* is one row of tiles of one image. Lines of the same image share a band, so that no pixel is moved twice.

use std::arch::x86_64::*;
use std::ops::Range;

use super::bands::{Place, gather, scatter};
use super::transforms::{POINTS, SPAN, STEP, cotangent, input, output};
use crate::kernels::matmul::Shared;
use crate::kernels::micro::{LANES, LINE, PANEL, aligned};

/// The tiles of an output plane.
#[derive(Clone, Copy)]
pub struct Grid {
    pub down: usize,
    pub across: usize,
}

impl Grid {
    pub fn of(height: usize, width: usize) -> Grid {
        Grid { down: height.div_ceil(STEP), across: width.div_ceil(STEP) }
    }

    /// Lines cut where the image changes: the image, its lines, and the first line counted from the start of the range.
    fn for_images(&self, lines: Range<usize>, mut work: impl FnMut(usize, Range<usize>, usize)) {
        let mut at = lines.start;
        while at < lines.end {
            let (image, line) = (at / self.down, at % self.down);
            let end = self.down.min(line + lines.end - at);
            work(image, line..end, at - lines.start);
            at += end - line;
        }
    }

    /// Elements of a band that holds up to `lines` lines of one image, and of its transform in one direction.
    pub fn band(&self, lines: usize) -> usize {
        let margin = SPAN - STEP;
        let pitch = self.across * STEP + margin;
        ((self.down.min(lines) * STEP + margin) * pitch + pitch * SPAN) * LANES + LINE
    }
}

/// Planes `[images, channels, height, width]` and the zeros above and left of each.
#[derive(Clone, Copy)]
pub struct Planes<'a> {
    pub data: &'a [f32],
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    pub top: usize,
    pub left: usize,
}

/// Transformed tiles `[36, strips, groups, tiles of a strip, 8]`: what a product reads of a strip is in one piece. A group
/// is eight channels, or fewer with the first ones of the next group behind them.
#[derive(Clone, Copy)]
pub struct Points {
    first: Shared<f32>,
    shape: Shape,
    /// Elements from one of the 36 points to the next.
    point: usize,
}

#[derive(Clone, Copy)]
pub struct Shape {
    pub channels: usize,
    /// Channels of a group.
    pub group: usize,
    pub tiles: usize,
    /// Tiles of a strip.
    pub strip: usize,
}

impl Shape {
    pub fn groups(&self) -> usize {
        self.channels.div_ceil(self.group)
    }

    /// Elements from point to point: one cache line off a power of two, so that the 36 streams do not evict each other.
    fn point(&self) -> usize {
        self.groups() * self.tiles.next_multiple_of(self.strip) * LANES + LINE
    }

    pub fn elements(&self) -> usize {
        self.point() * POINTS + LINE
    }
}

impl Points {
    pub fn new(memory: &mut [f32], shape: Shape) -> Points {
        let memory = aligned(memory);
        assert!(memory.len() >= shape.point() * POINTS);
        Points { first: Shared::new(memory), shape, point: shape.point() }
    }

    /// How far the groups of a strip are apart.
    pub fn pitch(&self) -> usize {
        self.shape.strip * LANES
    }

    /// # Safety
    /// The memory is alive, and there are such points.
    pub unsafe fn at(&self, point: usize, group: usize, tile: usize) -> *mut f32 {
        let (Shape { strip, .. }, groups) = (self.shape, self.shape.groups());
        let at = ((tile / strip * groups + group) * strip + tile % strip) * LANES;
        debug_assert!(point < POINTS && group < groups && at < self.point);
        // SAFETY: by contract.
        unsafe { self.first.at(point * self.point + at) }
    }
}

/// Transforms the input under some lines; the first of their tiles is number `tile` of the points.
///
/// # Safety
/// The processor has AVX2 and FMA, and these tiles are nobody else's.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn spread_input(x: &Planes, grid: Grid, lines: Range<usize>, tile: usize, points: Points, band: &mut [f32]) {
    // SAFETY: by contract.
    unsafe { spread(x, grid, lines, tile, points, band, |d: [__m256; SPAN]| input(d)) }
}

/// Transforms the cotangents of some lines, as [`spread_input`] does with the input.
///
/// # Safety
/// As there.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn spread_cotangents(
    dy: &Planes,
    grid: Grid,
    lines: Range<usize>,
    tile: usize,
    points: Points,
    band: &mut [f32],
) {
    // SAFETY: by contract.
    unsafe { spread(dy, grid, lines, tile, points, band, |y: [__m256; STEP]| cotangent(y)) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn spread<const N: usize>(
    planes: &Planes,
    grid: Grid,
    lines: Range<usize>,
    tile: usize,
    points: Points,
    band: &mut [f32],
    transform: impl Fn([__m256; N]) -> [__m256; SPAN],
) {
    let pitch = grid.across * STEP + N - STEP;
    let (columns, band) = aligned(band).split_at_mut(pitch * SPAN * LANES);
    let (plane, last) = (planes.height * planes.width, planes.channels - 1);
    grid.for_images(lines, |image, lines, before| {
        let above = lines.start * STEP;
        let rows = lines.len() * STEP + N - STEP;
        let first = above.saturating_sub(planes.top);
        let end = (above + rows).saturating_sub(planes.top).min(planes.height);
        let place = Place {
            first: first * planes.width,
            count: end.saturating_sub(first) * planes.width,
            width: planes.width,
            start: (first + planes.top - above) * pitch + planes.left,
            pitch,
        };
        let band = &mut band[..rows * pitch * LANES];
        // Only the zeros around the pixels have to be written, and they stay for all groups of channels.
        band.fill(0.0);
        for group in 0..points.shape.groups() {
            let start = |lane| (image * planes.channels + last.min(group * points.shape.group + lane)) * plane;
            let sources = std::array::from_fn(|lane| planes.data[start(lane)..start(lane) + plane].as_ptr());
            // SAFETY: the place lies in the planes and in the band; the tiles are this call's by contract.
            unsafe {
                gather(&place, sources, band);
                for line in 0..lines.len() {
                    let rows = band.as_ptr().add(line * STEP * pitch * LANES);
                    down(rows, pitch, columns.as_mut_ptr(), &transform);
                    let tile = tile + (before + line) * grid.across;
                    for at in 0..grid.across {
                        let from = columns.as_ptr().add(at * STEP * SPAN * LANES);
                        across(from, points.at(0, group, tile + at), points.point, &transform);
                    }
                }
            }
        }
    });
}

/// Transforms the columns of a line: `[rows, pitch, 8]` to `[pitch, 6, 8]`.
///
/// # Safety
/// Both places are live.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn down<const N: usize>(
    rows: *const f32,
    pitch: usize,
    columns: *mut f32,
    transform: &impl Fn([__m256; N]) -> [__m256; SPAN],
) {
    for column in 0..pitch {
        // SAFETY: by contract.
        unsafe {
            let pixels = std::array::from_fn(|row| _mm256_loadu_ps(rows.add((row * pitch + column) * LANES)));
            for (at, value) in transform(pixels).into_iter().enumerate() {
                _mm256_storeu_ps(columns.add((column * SPAN + at) * LANES), value);
            }
        }
    }
}

/// Transforms the rows of a tile: `[columns, 6, 8]` to the points, `point` elements apart.
///
/// # Safety
/// Both places are live.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn across<const N: usize>(
    columns: *const f32,
    points: *mut f32,
    point: usize,
    transform: &impl Fn([__m256; N]) -> [__m256; SPAN],
) {
    for row in 0..SPAN {
        // SAFETY: by contract.
        unsafe {
            let from = columns.add(row * LANES);
            let line = std::array::from_fn(|at| _mm256_loadu_ps(from.add(at * SPAN * LANES)));
            for (at, value) in transform(line).into_iter().enumerate() {
                _mm256_storeu_ps(points.add((row * SPAN + at) * point), value);
            }
        }
    }
}

/// Sums at the points of a panel of outputs, `[36, tiles, 16]`.
#[derive(Clone, Copy)]
pub struct Sums<'a> {
    pub data: &'a [f32],
    pub point: usize,
}

impl Sums<'_> {
    pub fn step(tiles: usize) -> usize {
        tiles * PANEL + LINE
    }
}

/// Where results go: planes `[images, outputs, height, width]`.
#[derive(Clone, Copy)]
pub struct Results {
    pub first: Shared<f32>,
    pub outputs: usize,
    pub height: usize,
    pub width: usize,
}

/// Transforms the sums of a panel back and writes its outputs for some lines.
///
/// # Safety
/// The processor has AVX2 and FMA. The results are alive, and these lines of these outputs are nobody else's.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn collect(
    sums: Sums,
    grid: Grid,
    lines: Range<usize>,
    outputs: Range<usize>,
    results: Results,
    band: &mut [f32],
) {
    let pitch = grid.across * STEP;
    let band = aligned(band);
    grid.for_images(lines, |image, lines, before| {
        let above = lines.start * STEP;
        let end = results.height.min(lines.end * STEP);
        let place = Place {
            first: above * results.width,
            count: (end - above) * results.width,
            width: results.width,
            start: 0,
            pitch,
        };
        let band = &mut band[..lines.len() * STEP * pitch * LANES];
        for half in outputs.clone().step_by(LANES) {
            // SAFETY: the sums hold all points of the tiles, the band their pixels; the rest is by contract.
            unsafe {
                for at in 0..lines.len() * grid.across {
                    let tile = before * grid.across + at;
                    let from = sums.data.as_ptr().add(tile * PANEL + half - outputs.start);
                    let to = at / grid.across * STEP * pitch + at % grid.across * STEP;
                    collect_tile(from, sums.point, band.as_mut_ptr().add(to * LANES), pitch);
                }
                let plane = |lane: usize| {
                    let output = (half + lane).min(outputs.end - 1);
                    results.first.at((image * results.outputs + output) * results.height * results.width)
                };
                let planes: [*mut f32; LANES] = std::array::from_fn(plane);
                scatter(&place, band, &planes[..LANES.min(outputs.end - half)]);
            }
        }
    });
}

/// One tile of eight outputs: 36 points to 4 rows of 4 pixels.
///
/// # Safety
/// Both places are live.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn collect_tile(from: *const f32, point: usize, to: *mut f32, pitch: usize) {
    // SAFETY: by contract.
    unsafe {
        let columns: [[__m256; STEP]; SPAN] = std::array::from_fn(|column| {
            output(std::array::from_fn(|row| _mm256_loadu_ps(from.add((row * SPAN + column) * point))))
        });
        for row in 0..STEP {
            let pixels = output(columns.map(|column| column[row]));
            for (at, pixel) in pixels.into_iter().enumerate() {
                _mm256_storeu_ps(to.add((row * pitch + at) * LANES), pixel);
            }
        }
    }
}
