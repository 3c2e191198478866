//! Two-dimensional convolution and its two adjoints: the sizes, the choice of an algorithm, and the phases that several
//! algorithms share.
//!
//! A *phase* holds the pixels of a padded plane whose coordinates leave the same remainders by the stride. Within one
//! phase neighbouring outputs read neighbouring inputs, so every later copy is a run of whole rows.

use std::sync::atomic::{AtomicBool, Ordering};

use super::matmul::{Real, with_scratch};
use super::{columns, depthwise};
#[cfg(target_arch = "x86_64")]
use super::{direct, micro, winograd};

/// The sizes of one convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    pub images: usize,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    pub outputs: usize,
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    /// Top, bottom, left, right.
    pub padding: [usize; 4],
    pub dilation: [usize; 2],
    pub groups: usize,
    pub out_height: usize,
    pub out_width: usize,
}

/// Whether results have to be those of direct sums.
static EXACT: AtomicBool = AtomicBool::new(false);

/// Whether convolutions are computed by direct sums only. Winograd's algorithm, which is faster for 3x3 kernels, has
/// errors some ten times as large. For the whole process.
pub fn set_exact(exact: bool) {
    EXACT.store(exact, Ordering::Relaxed);
}

/// What computes a convolution.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    /// Nothing to sum: zeros.
    Nothing,
    Depthwise,
    Columns,
    Direct,
    Winograd,
}

/// The three convolutions, of which each is the adjoint of the other two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Forward,
    InputGradient,
    WeightGradient,
}

fn choose<T: Real>(g: &Geometry, way: Way) -> Algorithm {
    if g.images * g.channels * g.outputs * g.plane() * g.pixels() * g.taps() == 0 {
        return Algorithm::Nothing;
    }
    if g.per_group().0 == 1 && g.groups > 1 && !g.pointwise() {
        return Algorithm::Depthwise;
    }
    #[cfg(target_arch = "x86_64")]
    if T::single(&[]).is_some() && micro::available() {
        return choose_fast(g, way);
    }
    let _ = way;
    Algorithm::Columns
}

#[cfg(target_arch = "x86_64")]
fn choose_fast(g: &Geometry, way: Way) -> Algorithm {
    if !EXACT.load(Ordering::Relaxed) && winograd::possible(g) && winograd_pays(g, way) {
        return Algorithm::Winograd;
    }
    match way {
        Way::Forward => Algorithm::Direct,
        // Packing the cotangents costs more than it saves where few channels share them (3 channels: 6.7 ms against 3.7) and
        // where rows are not whole vectors (5x5 on 14x14: 12.2 against 11.0).
        Way::InputGradient if g.stride == [1, 1] && g.per_group().0 >= 16 && g.width.is_multiple_of(4) => {
            Algorithm::Direct
        }
        _ => Algorithm::Columns,
    }
}

/// Where Winograd's algorithm is the faster one. Measured in ms on two cores, batch 64, against the direct sums (forward,
/// input, weights): 4 to 16 channels, 32x32: 0.9, 1.4, 1.7 against 1.3, 1.9, 2.0; but 3 to 64: 2.1, 3.7, 4.1 against 2.2,
/// 3.5, 2.7. Planes of 3x3: 1.2, 0.9, 1.2 against 1.9, 2.0, 2.5; but 2x2, of which a tile is three quarters empty, 12, 14, 17
/// against 12, 13, 12. With 512 channels and 8 tiles the gradient of the weights takes 8.9 against 4.9: there are more
/// weights to transform than tiles.
#[cfg(target_arch = "x86_64")]
fn winograd_pays(g: &Geometry, way: Way) -> bool {
    let tiles = g.out_height.div_ceil(4) * g.out_width.div_ceil(4);
    let enough = if way == Way::WeightGradient { 24 } else { 2 };
    g.channels.min(g.outputs) >= 4 && 16 * tiles <= 3 * g.pixels() && g.images * tiles >= enough
}

/// `x: [n, c, h, w]`, `w: [o, c / groups, kh, kw]` to `[n, o, oh, ow]`.
pub fn forward<T: Real>(g: &Geometry, x: &[T], w: &[T]) -> Vec<T> {
    let algorithm = choose::<T>(g, Way::Forward);
    #[cfg(target_arch = "x86_64")]
    if let Some(found) = fast(algorithm, [x, w], |x, w| direct::forward(g, x, w), |x, w| winograd::forward(g, x, w)) {
        return found;
    }
    let mut y = vec![T::default(); g.images * g.outputs * g.pixels()];
    match algorithm {
        Algorithm::Nothing => {}
        Algorithm::Depthwise => depthwise::forward(g, x, w, &mut y),
        _ => columns::forward(g, x, w, &mut y),
    }
    y
}

/// The adjoint for the images: `dy: [n, o, oh, ow]` to `[n, c, h, w]`.
pub fn input_gradient<T: Real>(g: &Geometry, dy: &[T], w: &[T]) -> Vec<T> {
    let algorithm = choose::<T>(g, Way::InputGradient);
    #[cfg(target_arch = "x86_64")]
    if let Some(found) =
        fast(algorithm, [dy, w], |dy, w| direct::input_gradient(g, dy, w), |dy, w| winograd::input_gradient(g, dy, w))
    {
        return found;
    }
    let mut dx = vec![T::default(); g.images * g.channels * g.plane()];
    match algorithm {
        Algorithm::Nothing => {}
        Algorithm::Depthwise => depthwise::input_gradient(g, dy, w, &mut dx),
        _ => columns::input_gradient(g, dy, w, &mut dx),
    }
    dx
}

/// The adjoint for the weights: `x: [n, c, h, w]`, `dy: [n, o, oh, ow]` to `[o, c / groups, kh, kw]`.
pub fn weight_gradient<T: Real>(g: &Geometry, x: &[T], dy: &[T]) -> Vec<T> {
    let algorithm = choose::<T>(g, Way::WeightGradient);
    #[cfg(target_arch = "x86_64")]
    if algorithm == Algorithm::Winograd
        && let (Some(x), Some(dy)) = (T::single(x), T::single(dy))
        && let Some(found) = T::from_single(winograd::weight_gradient(g, x, dy))
    {
        return found;
    }
    let mut dw = vec![T::default(); g.outputs * g.per_group().0 * g.taps()];
    if algorithm != Algorithm::Nothing {
        columns::weight_gradient(g, x, dy, &mut dw);
    }
    dw
}

/// The result of an algorithm for f32, if that is what was chosen.
#[cfg(target_arch = "x86_64")]
fn fast<T: Real>(
    algorithm: Algorithm,
    [a, b]: [&[T]; 2],
    direct: impl FnOnce(&[f32], &[f32]) -> Vec<f32>,
    winograd: impl FnOnce(&[f32], &[f32]) -> Vec<f32>,
) -> Option<Vec<T>> {
    let (a, b) = (T::single(a)?, T::single(b)?);
    match algorithm {
        Algorithm::Direct => T::from_single(direct(a, b)),
        Algorithm::Winograd => T::from_single(winograd(a, b)),
        _ => None,
    }
}

impl Geometry {
    pub(super) fn per_group(&self) -> (usize, usize) {
        (self.channels / self.groups, self.outputs / self.groups)
    }

    pub(super) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// The pixel that a tap of output (0, 0) reads.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn shift(&self, tap: usize) -> [isize; 2] {
        let place = [tap / self.kernel[1] * self.dilation[0], tap % self.kernel[1] * self.dilation[1]];
        [place[0] as isize - self.padding[0] as isize, place[1] as isize - self.padding[2] as isize]
    }

    pub(super) fn pixels(&self) -> usize {
        self.out_height * self.out_width
    }

    pub(super) fn plane(&self) -> usize {
        self.height * self.width
    }

    /// Rows and columns of one phase.
    pub(super) fn phase(&self) -> [usize; 2] {
        let reach = |at: usize| (self.kernel[at] - 1) * self.dilation[at] / self.stride[at];
        [self.out_height + reach(0), self.out_width + reach(1)]
    }

    /// Elements of all phases of a plane.
    pub(super) fn phases(&self) -> usize {
        let [rows, columns] = self.phase();
        self.stride[0] * self.stride[1] * rows * columns
    }

    /// Where output (0, 0) of a tap reads within the phases of a plane.
    pub(super) fn tap(&self, tap: usize) -> usize {
        let [rows, columns] = self.phase();
        let (down, right) = (tap / self.kernel[1] * self.dilation[0], tap % self.kernel[1] * self.dilation[1]);
        let phase = down % self.stride[0] * self.stride[1] + right % self.stride[1];
        phase * rows * columns + down / self.stride[0] * columns + right / self.stride[1]
    }

    /// Whether some tap reads the phase.
    fn used(&self, phase: usize) -> bool {
        let wanted = [phase / self.stride[1], phase % self.stride[1]];
        (0..2).all(|at| (0..self.kernel[at]).any(|tap| tap * self.dilation[at] % self.stride[at] == wanted[at]))
    }

    /// Outputs are sums over the channels of the same pixel.
    pub(super) fn pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.padding == [0; 4]
    }

    /// Each row of a phase: its start among the phases, its first column that lies in the plane, how many do, and where
    /// the first is found in the plane.
    fn for_rows(&self, mut work: impl FnMut(usize, usize, usize, usize)) {
        let [rows, columns] = self.phase();
        let [top, _, left, _] = self.padding;
        for phase in (0..self.stride[0] * self.stride[1]).filter(|phase| self.used(*phase)) {
            let (down, right) = (phase / self.stride[1], phase % self.stride[1]);
            let first = left.saturating_sub(right).div_ceil(self.stride[1]).min(columns);
            let end = (self.width + left).saturating_sub(right).div_ceil(self.stride[1]).clamp(first, columns);
            for row in 0..rows {
                let start = (phase * rows + row) * columns;
                let y = row * self.stride[0] + down;
                if y < top || y - top >= self.height || first == end {
                    work(start, 0, 0, 0);
                } else {
                    let x = first * self.stride[1] + right - left;
                    work(start, first, end - first, (y - top) * self.width + x);
                }
            }
        }
    }
}

/// Splits a plane into its phases; what lies in the padding is 0.
pub(super) fn split<T: Real>(g: &Geometry, plane: &[T], phases: &mut [T]) {
    let (columns, step) = (g.phase()[1], g.stride[1]);
    g.for_rows(|start, first, count, from| {
        let row = &mut phases[start..start + columns];
        row[..first].fill(T::default());
        row[first + count..].fill(T::default());
        if step == 1 {
            row[first..first + count].copy_from_slice(&plane[from..from + count]);
        } else if count > 0 {
            let source = plane[from..].iter().step_by(step);
            row[first..first + count].iter_mut().zip(source).for_each(|(to, from)| *to = *from);
        }
    });
}

/// The adjoint of [`split`]: the plane gets what its phases hold.
pub(super) fn join<T: Real>(g: &Geometry, phases: &[T], plane: &mut [T]) {
    plane.fill(T::default());
    g.for_rows(|start, first, count, to| {
        let row = &phases[start + first..start + first + count];
        if count > 0 {
            plane[to..].iter_mut().step_by(g.stride[1]).zip(row).for_each(|(to, from)| *to = *from);
        }
    });
}

/// The phases of one plane, for loops that need no columns.
pub(super) fn with_phases<T: Real, R>(g: &Geometry, plane: &[T], work: impl FnOnce(&[T]) -> R) -> R {
    with_scratch(g.phases(), |phases: &mut [T]| {
        split(g, plane, phases);
        work(phases)
    })
}

/// Collects phases and joins them to a plane.
pub(super) fn collect_phases<T: Real>(g: &Geometry, plane: &mut [T], work: impl FnOnce(&mut [T])) {
    with_scratch(g.phases(), |phases: &mut [T]| {
        phases.fill(T::default());
        work(phases);
        join(g, phases, plane);
    });
}

/// For each tap and row of outputs: the tap, where its run starts among the phases, where among the pixels.
pub(super) fn for_taps(g: &Geometry, mut work: impl FnMut(usize, usize, usize)) {
    let pitch = g.phase()[1];
    for tap in 0..g.taps() {
        let offset = g.tap(tap);
        for row in 0..g.out_height {
            work(tap, offset + row * pitch, row * g.out_width);
        }
    }
}
