//! Reading and writing at positions that are data, and sorting. Positions are checked before anything is read.

use candle_core::Result;

use super::matmul::Shared;
use super::par;

/// A tensor seen as `[before, size, after]` around one axis.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    pub before: usize,
    pub size: usize,
    pub after: usize,
}

impl Axis {
    pub fn of(shape: &[usize], axis: usize) -> Axis {
        Axis { before: shape[..axis].iter().product(), size: shape[axis], after: shape[axis + 1..].iter().product() }
    }
}

/// That every position is one of `0..size`.
pub fn check(op: &str, index: &[i64], size: usize) -> Result<()> {
    match index.iter().position(|at| *at < 0 || *at >= size as i64) {
        None => Ok(()),
        Some(place) => candle_core::bail!(
            "{op}: index {} at position {place} is out of range, the axis has size {size} and positions 0 to {}",
            index[place],
            size as i64 - 1
        ),
    }
}

/// That no position occurs twice.
pub fn check_distinct(op: &str, index: &[i64], size: usize) -> Result<()> {
    check(op, index, size)?;
    let mut seen = vec![None; size];
    for (place, at) in index.iter().enumerate() {
        if let Some(before) = seen[*at as usize].replace(place) {
            candle_core::bail!("{op}: index {at} stands at positions {before} and {place}, each row is written once")
        }
    }
    Ok(())
}

/// Rows of about this many elements make one block.
fn rows_at_once(row: usize) -> usize {
    (par::BLOCK / row.max(1)).max(1)
}

/// The slices of `x` at `index`: `[before, index, after]`.
pub fn take<T: Copy + Default + Send + Sync>(x: &[T], axis: Axis, index: &[i64]) -> Vec<T> {
    let mut out = vec![T::default(); axis.before * index.len() * axis.after];
    let (count, after) = (index.len().max(1), axis.after);
    if !out.is_empty() {
        par::fill_blocks(&mut out, rows_at_once(after) * after, |start, out| {
            for (row, out) in out.chunks_mut(after).enumerate() {
                let at = start / after + row;
                let from = (at / count * axis.size + index[at % count] as usize) * after;
                out.copy_from_slice(&x[from..from + after]);
            }
        });
    }
    out
}

/// Writes `updates: [before, index, after]` into `x` by `put`, in order, so that equal positions have a fixed result.
pub fn scatter<T: Copy + Send + Sync>(
    x: &mut [T],
    axis: Axis,
    index: &[i64],
    updates: &[T],
    put: impl Fn(&mut T, T) + Sync,
) {
    let (slab, row) = (axis.size * axis.after, axis.after);
    if slab == 0 || index.is_empty() {
        return;
    }
    if axis.before > 1 {
        let block = rows_at_once(slab) * slab;
        par::fill_blocks(x, block, |start, x| {
            for (at, x) in x.chunks_mut(slab).enumerate() {
                let from = (start / slab + at) * index.len() * row;
                scatter_slab(x, row, 0..row, index, &updates[from..from + index.len() * row], &put);
            }
        });
        return;
    }
    // One slab: blocks of columns, each of which sees all positions in order.
    let shared = Shared::new(x);
    par::for_blocks(row, (par::BLOCK / index.len()).max(16), |columns| {
        // SAFETY: each block writes its own columns only; the slices of different blocks never meet.
        for (at, from) in index.iter().zip(updates.chunks_exact(row)) {
            let start = *at as usize * row;
            let x = unsafe { shared.part(start + columns.start..start + columns.end) };
            x.iter_mut().zip(&from[columns.clone()]).for_each(|(x, from)| put(x, *from));
        }
    });
}

fn scatter_slab<T: Copy>(
    x: &mut [T],
    row: usize,
    columns: std::ops::Range<usize>,
    index: &[i64],
    updates: &[T],
    put: &impl Fn(&mut T, T),
) {
    for (at, from) in index.iter().zip(updates.chunks_exact(row)) {
        let x = &mut x[*at as usize * row..][columns.clone()];
        x.iter_mut().zip(&from[columns.clone()]).for_each(|(x, from)| put(x, *from));
    }
}

/// `x[before, index[before, k, after], after]`: `index` has `count` positions along the axis.
pub fn take_along<T: Copy + Default + Send + Sync>(x: &[T], axis: Axis, index: &[i64], count: usize) -> Vec<T> {
    let mut out = vec![T::default(); index.len()];
    par::fill_blocks(&mut out, par::BLOCK, |start, out| {
        for (at, out) in out.iter_mut().enumerate().map(|(at, out)| (start + at, out)) {
            let (before, after) = (at / (count * axis.after), at % axis.after);
            *out = x[(before * axis.size + index[at] as usize) * axis.after + after];
        }
    });
    out
}

/// Writes `updates` into `x` by `put` at the places that [`take_along`] reads, in order of position.
pub fn scatter_along<T: Copy + Send + Sync>(
    x: &mut [T],
    axis: Axis,
    index: &[i64],
    updates: &[T],
    count: usize,
    put: impl Fn(&mut T, T) + Sync,
) {
    let slab = axis.size * axis.after;
    if slab == 0 || count == 0 {
        return;
    }
    par::fill_blocks(x, rows_at_once(slab) * slab, |start, x| {
        for (at, x) in x.chunks_mut(slab).enumerate() {
            let from = (start / slab + at) * count * axis.after;
            for place in 0..count * axis.after {
                let at = index[from + place] as usize * axis.after + place % axis.after;
                put(&mut x[at], updates[from + place]);
            }
        }
    });
}

/// Sorts along the axis: values and the positions they had. Equal elements keep their order, whichever the direction,
/// and NaN comes last.
pub fn sort<T: Copy + Default + Send + Sync + PartialOrd>(x: &[T], axis: Axis, descending: bool) -> (Vec<T>, Vec<i64>) {
    let (mut values, mut positions) = (vec![T::default(); x.len()], vec![0i64; x.len()]);
    let (to_values, to_positions) = (Shared::new(&mut values), Shared::new(&mut positions));
    let rows = axis.before * axis.after;
    par::for_blocks(rows, rows_at_once(axis.size), |range| {
        let mut order: Vec<usize> = Vec::new();
        for row in range {
            let start = row / axis.after * axis.size * axis.after + row % axis.after;
            let value = |at: usize| x[start + at * axis.after];
            order.clear();
            order.extend(0..axis.size);
            order.sort_by(|a, b| compare(value(*a), value(*b), descending));
            for (to, from) in order.iter().enumerate() {
                let place = start + to * axis.after;
                // SAFETY: each row writes its own places.
                unsafe {
                    *to_values.at(place) = value(*from);
                    *to_positions.at(place) = *from as i64;
                }
            }
        }
    });
    (values, positions)
}

#[allow(clippy::eq_op)]
fn compare<T: PartialOrd>(a: T, b: T, descending: bool) -> std::cmp::Ordering {
    let nan = |x: &T| x.partial_cmp(x).is_none();
    match a.partial_cmp(&b) {
        Some(order) if descending => order.reverse(),
        Some(order) => order,
        None => nan(&a).cmp(&nan(&b)),
    }
}
