//! Windows over planes: maximum with its position, sum, and their adjoints. Each plane is one task.

use super::matmul::{Real, Shared};
use super::par;

/// The sizes of one pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    pub planes: usize,
    pub height: usize,
    pub width: usize,
    pub window: [usize; 2],
    pub stride: [usize; 2],
    /// Top, bottom, left, right.
    pub padding: [usize; 4],
    pub out_height: usize,
    pub out_width: usize,
}

impl Windows {
    pub fn plane(&self) -> usize {
        self.height * self.width
    }

    pub fn pixels(&self) -> usize {
        self.out_height * self.out_width
    }

    /// The rows (axis 0) or columns (axis 1) of the plane that output `at` of that axis covers.
    fn span(&self, axis: usize, at: usize) -> std::ops::Range<usize> {
        let (before, size) = if axis == 0 { (self.padding[0], self.height) } else { (self.padding[2], self.width) };
        let start = at * self.stride[axis];
        start.saturating_sub(before)..(start + self.window[axis]).saturating_sub(before).min(size)
    }

    fn for_planes(&self, work: impl Fn(usize) + Sync) {
        par::for_blocks(self.planes, self.planes.div_ceil(64), |range| range.for_each(&work));
    }
}

/// The largest value of each window and its flat position in the plane: the first of equals, and a NaN if there is one.
pub fn max<T: Real>(g: &Windows, x: &[T]) -> (Vec<T>, Vec<i64>) {
    let count = g.planes * g.pixels();
    let (mut values, mut positions) = (vec![T::MINUS_INFINITY; count], vec![0i64; count]);
    let (to_values, to_positions) = (Shared::new(&mut values), Shared::new(&mut positions));
    g.for_planes(|plane| {
        let x = &x[plane * g.plane()..(plane + 1) * g.plane()];
        let place = plane * g.pixels()..(plane + 1) * g.pixels();
        // SAFETY: each plane has its own part of the results.
        let (values, positions) = unsafe { (to_values.part(place.clone()), to_positions.part(place)) };
        for row in 0..g.out_height {
            for column in 0..g.out_width {
                let (rows, columns) = (g.span(0, row), g.span(1, column));
                let first = rows.start * g.width + columns.start;
                let (mut best, mut at) = (x[first], first);
                for y in rows {
                    let start = y * g.width + columns.start;
                    for (along, x) in x[start..y * g.width + columns.end].iter().enumerate() {
                        if !best.not_a_number() && (*x > best || x.not_a_number()) {
                            (best, at) = (*x, start + along);
                        }
                    }
                }
                values[row * g.out_width + column] = best;
                positions[row * g.out_width + column] = at as i64;
            }
        }
    });
    (values, positions)
}

/// The adjoint of [`max`] for the values: each goes to the position it came from.
pub fn max_gradient<T: Real>(g: &Windows, dy: &[T], positions: &[i64]) -> candle_core::Result<Vec<T>> {
    super::index::check("max_pool2d_gradient", positions, g.plane())?;
    let mut dx = vec![T::default(); g.planes * g.plane()];
    let out = Shared::new(&mut dx);
    g.for_planes(|plane| {
        // SAFETY: each plane has its own part of the result.
        let dx = unsafe { out.part(plane * g.plane()..(plane + 1) * g.plane()) };
        let place = plane * g.pixels()..(plane + 1) * g.pixels();
        for (dy, at) in dy[place.clone()].iter().zip(&positions[place]) {
            dx[*at as usize] += *dy;
        }
    });
    Ok(dx)
}

/// The sum of each window; what lies outside of the plane is 0.
pub fn sum<T: Real>(g: &Windows, x: &[T]) -> Vec<T> {
    let mut y = vec![T::default(); g.planes * g.pixels()];
    let out = Shared::new(&mut y);
    g.for_planes(|plane| {
        let x = &x[plane * g.plane()..(plane + 1) * g.plane()];
        // SAFETY: each plane has its own part of the result.
        let y = unsafe { out.part(plane * g.pixels()..(plane + 1) * g.pixels()) };
        for row in 0..g.out_height {
            for column in 0..g.out_width {
                let (rows, columns) = (g.span(0, row), g.span(1, column));
                let mut sum = T::default();
                for line in rows {
                    x[line * g.width..][columns.clone()].iter().for_each(|x| sum += *x);
                }
                y[row * g.out_width + column] = sum;
            }
        }
    });
    y
}

/// The adjoint of [`sum`].
pub fn sum_gradient<T: Real>(g: &Windows, dy: &[T]) -> Vec<T> {
    let mut dx = vec![T::default(); g.planes * g.plane()];
    let out = Shared::new(&mut dx);
    g.for_planes(|plane| {
        let dy = &dy[plane * g.pixels()..(plane + 1) * g.pixels()];
        // SAFETY: each plane has its own part of the result.
        let dx = unsafe { out.part(plane * g.plane()..(plane + 1) * g.plane()) };
        for row in 0..g.out_height {
            for column in 0..g.out_width {
                let (rows, columns) = (g.span(0, row), g.span(1, column));
                for line in rows {
                    let dy = dy[row * g.out_width + column];
                    dx[line * g.width..][columns.clone()].iter_mut().for_each(|x| *x += dy);
                }
            }
        }
    });
    dx
}
