//! Between weights `[outputs, channels, 3, 3]` and their points.

use std::arch::x86_64::*;

use super::transforms::{POINTS, SPAN, weight, weight_gradient};
use crate::kernels::micro::{LANES, LINE, PANEL, transpose};

/// Taps of the kernel.
const TAPS: usize = 9;
/// Elements of eight neighbouring kernels.
const EIGHT: usize = LANES * TAPS;

/// Weights `[rows, columns, 3, 3]`.
#[derive(Clone, Copy)]
pub struct Weights<'a> {
    pub data: &'a [f32],
    pub rows: usize,
    pub columns: usize,
    /// The adjoint's: columns are its outputs, rows its channels, and the taps come in reverse.
    pub flipped: bool,
}

impl Weights<'_> {
    pub fn outputs(&self) -> usize {
        if self.flipped { self.columns } else { self.rows }
    }

    pub fn channels(&self) -> usize {
        if self.flipped { self.rows } else { self.columns }
    }

    /// Elements from point to point of one panel: one cache line off a power of two, as between the points of tiles.
    pub fn point(&self) -> usize {
        self.channels() * PANEL + LINE
    }

    /// Elements of the points of one panel.
    pub fn panel(&self) -> usize {
        POINTS * self.point()
    }

    /// Up to eight kernels of a row, from a column on; what lies past the end of the row is 0.
    fn eight(&self, row: usize, column: usize) -> [f32; EIGHT] {
        let count = LANES.min(self.columns - column) * TAPS;
        let start = (row * self.columns + column) * TAPS;
        let mut found = [0.0; EIGHT];
        if count == EIGHT {
            found.copy_from_slice(&self.data[start..start + EIGHT]);
        } else {
            found[..count].copy_from_slice(&self.data[start..start + count]);
        }
        found
    }
}

/// The points `[36, channels, 16]` of the panel of outputs that starts at `output`. Outputs past the end get numbers that
/// nobody reads.
#[target_feature(enable = "avx2,fma")]
pub fn spread_panel(w: &Weights, output: usize, points: &mut [f32]) {
    for half in (output..w.outputs().min(output + PANEL)).step_by(LANES) {
        let at = half - output;
        if w.flipped {
            for row in 0..w.rows {
                let taps = adjoint_taps(&w.eight(row, half));
                spread_taps(taps, &mut points[row * PANEL + at..], w.point());
            }
        } else {
            for column in (0..w.columns).step_by(LANES) {
                let rows = std::array::from_fn(|lane| w.eight((half + lane).min(w.rows - 1), column));
                let kernels = kernel_taps(&rows);
                for (lane, taps) in kernels.into_iter().take(w.columns - column).enumerate() {
                    spread_taps(taps, &mut points[(column + lane) * PANEL + at..], w.point());
                }
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn load(eight: &[f32]) -> __m256 {
    let eight = &eight[..LANES];
    // SAFETY: the slice has eight elements.
    unsafe { _mm256_loadu_ps(eight.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn store(value: __m256, eight: &mut [f32]) {
    let eight = &mut eight[..LANES];
    // SAFETY: the slice has eight elements.
    unsafe { _mm256_storeu_ps(eight.as_mut_ptr(), value) }
}

/// The nine taps of each of eight columns, over eight rows.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn kernel_taps(rows: &[[f32; EIGHT]; LANES]) -> [[__m256; TAPS]; LANES] {
    let mut taps = [[_mm256_setzero_ps(); TAPS]; LANES];
    for at in (0..EIGHT).step_by(LANES) {
        let columns = transpose(std::array::from_fn(|lane| load(&rows[lane][at..])));
        for (lane, column) in columns.into_iter().enumerate() {
            taps[(at + lane) / TAPS][(at + lane) % TAPS] = column;
        }
    }
    taps
}

/// The nine taps of one row over eight columns, last tap first.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn adjoint_taps(kernels: &[f32; EIGHT]) -> [__m256; TAPS] {
    let first = transpose(std::array::from_fn(|lane| load(&kernels[lane * TAPS..])));
    let last: [f32; LANES] = std::array::from_fn(|lane| kernels[lane * TAPS + TAPS - 1]);
    let last = load(&last);
    std::array::from_fn(|tap| if tap == 0 { last } else { first[TAPS - 1 - tap] })
}

/// Writes the 36 points of a kernel, `point` elements apart.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn spread_taps(taps: [__m256; TAPS], points: &mut [f32], point: usize) {
    let columns: [[__m256; SPAN]; 3] =
        std::array::from_fn(|column| weight([taps[column], taps[3 + column], taps[6 + column]]));
    for row in 0..SPAN {
        let line = weight([columns[0][row], columns[1][row], columns[2][row]]);
        for (column, value) in line.into_iter().enumerate() {
            store(value, &mut points[(row * SPAN + column) * point..]);
        }
    }
}

/// The gradient `[channels, 3, 3]` of one output from its sums `[36, .., row]`, of which the points are `point` elements
/// apart.
#[target_feature(enable = "avx2,fma")]
pub fn collect_gradient(sums: &[f32], point: usize, gradient: &mut [f32]) {
    for (group, gradient) in gradient.chunks_mut(EIGHT).enumerate() {
        let at = |row: usize, column: usize| load(&sums[(row * SPAN + column) * point + group * LANES..]);
        let columns: [[__m256; 3]; SPAN] =
            std::array::from_fn(|column| weight_gradient(std::array::from_fn(|row| at(row, column))));
        let mut taps = [[0.0; LANES]; TAPS];
        for row in 0..3 {
            let line = weight_gradient(std::array::from_fn(|column| columns[column][row]));
            for (column, value) in line.into_iter().enumerate() {
                store(value, &mut taps[row * 3 + column]);
            }
        }
        for (lane, kernel) in gradient.chunks_mut(TAPS).enumerate() {
            kernel.iter_mut().zip(&taps).for_each(|(weight, tap)| *weight = tap[lane]);
        }
    }
}
