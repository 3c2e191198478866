//! Loops that fold axes away.
//!
//! Axes next to each other that are both kept or both folded act as one; groups are folded from the inner to the outer,
//! each as `[outer, fold, inner]`. The grouping of additions depends on the shape alone.

use candle_core::{Result, Tensor, WithDType, bail};

use super::elementwise::{avx2, larger, smaller};
use super::{Elements, contiguous, copy, on_cpu, par, tensor};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    Sum,
    Prod,
    Max,
    Min,
}

/// Independent accumulators of a row: two vectors' worth, so that additions do not wait for each other.
const LANES: usize = 32;
/// Rows or groups of lanes that are folded one after the other; beyond, halves fold separately to keep rounding small.
const RUN: usize = 64;

/// One way to combine numbers.
trait Combine<T>: Copy + Sync {
    fn start(self) -> T;
    fn combine(self, a: T, b: T) -> T;
}

/// A neutral element and a function.
#[derive(Clone, Copy)]
struct With<T, F>(T, F);

impl<T: Copy + Sync, F: Fn(T, T) -> T + Copy + Sync> Combine<T> for With<T, F> {
    #[inline(always)]
    fn start(self) -> T {
        self.0
    }

    #[inline(always)]
    fn combine(self, a: T, b: T) -> T {
        (self.1)(a, b)
    }
}

#[inline(always)]
fn row_loop<T: Copy>(x: &[T], by: impl Combine<T>) -> T {
    let mut lanes = [by.start(); LANES];
    let groups = x.chunks_exact(LANES);
    for (lane, x) in lanes.iter_mut().zip(groups.remainder()) {
        *lane = by.combine(*lane, *x);
    }
    for group in groups {
        for (lane, x) in lanes.iter_mut().zip(group) {
            *lane = by.combine(*lane, *x);
        }
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for at in 0..width {
            lanes[at] = by.combine(lanes[at], lanes[at + width]);
        }
    }
    lanes[0]
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn row_avx2<T: Copy>(x: &[T], by: impl Combine<T>) -> T {
    row_loop(x, by)
}

/// The fold of a row.
#[inline(always)]
fn row<T: Copy>(x: &[T], by: impl Combine<T>) -> T {
    if x.len() > LANES * RUN {
        let half = (x.len() / 2).next_multiple_of(LANES);
        return by.combine(row_part(&x[..half], by), row_part(&x[half..], by));
    }
    #[cfg(target_arch = "x86_64")]
    if avx2() {
        // SAFETY: the processor has the feature that the function is compiled for.
        return unsafe { row_avx2(x, by) };
    }
    row_loop(x, by)
}

fn row_part<T: Copy>(x: &[T], by: impl Combine<T>) -> T {
    row(x, by)
}

#[inline(always)]
fn add_row_loop<T: Copy>(sums: &mut [T], x: &[T], by: impl Combine<T>) {
    for (sum, x) in sums.iter_mut().zip(x) {
        *sum = by.combine(*sum, *x);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn add_row_avx2<T: Copy>(sums: &mut [T], x: &[T], by: impl Combine<T>) {
    add_row_loop(sums, x, by)
}

#[inline(always)]
fn add_row<T: Copy>(sums: &mut [T], x: &[T], by: impl Combine<T>) {
    #[cfg(target_arch = "x86_64")]
    if avx2() {
        // SAFETY: the processor has the feature that the function is compiled for.
        return unsafe { add_row_avx2(sums, x, by) };
    }
    add_row_loop(sums, x, by)
}

/// Folds `rows` rows of which each starts `stride` after the one before; only `sums.len()` columns are read.
fn columns<T: Copy>(x: &[T], rows: usize, stride: usize, sums: &mut [T], by: impl Combine<T>) {
    if rows > RUN {
        let half = rows / 2;
        columns(x, half, stride, sums, by);
        let mut other = vec![by.start(); sums.len()];
        columns(&x[half * stride..], rows - half, stride, &mut other, by);
        return add_row(sums, &other, by);
    }
    let width = sums.len();
    sums.fill(by.start());
    for at in 0..rows {
        add_row(sums, &x[at * stride..at * stride + width], by);
    }
}

/// `[outer, fold, inner]` to `[outer, inner]`.
fn middle<T: Copy + Send + Sync>(x: &[T], outer: usize, fold: usize, inner: usize, by: impl Combine<T>) -> Vec<T> {
    if fold == 1 {
        return x.to_vec();
    }
    if fold == 0 || outer * inner == 0 {
        return vec![by.start(); outer * inner];
    }
    if inner == 1 {
        return rows(x, outer, fold, by);
    }
    // Columns are cut so that their sums stay in the first cache, folded rows so that there is work for every thread.
    let width = inner.min(1024);
    let across = inner.div_ceil(width);
    let depth = (par::BLOCK / width).max(1);
    let deep = fold.div_ceil(depth);
    if deep == 1 {
        return par::build(outer * inner, (par::BLOCK / fold).max(LANES), |start, out| {
            let (mut sums, mut done) = (vec![by.start(); width], 0);
            while done < out.len() {
                let (plane, column) = ((start + done) / inner, (start + done) % inner);
                let count = width.min(inner - column).min(out.len() - done);
                columns(&x[plane * fold * inner + column..], fold, inner, &mut sums[..count], by);
                copy(&mut out[done..done + count], &sums[..count]);
                done += count;
            }
        });
    }
    let units = outer * deep * across;
    let part = |unit: usize| {
        let (plane, column, slab) = (unit / deep / across, unit / deep % across, unit % deep);
        let from = plane * fold * inner + slab * depth * inner + column * width;
        let mut sums = vec![by.start(); width.min(inner - column * width)];
        columns(&x[from..], depth.min(fold - slab * depth), inner, &mut sums, by);
        sums
    };
    // A unit is one column block of one slab; slabs of the same columns follow each other and fold in a tree.
    let mut out = Vec::with_capacity(outer * inner);
    let parts: Vec<Vec<T>> = par::fold_blocks(
        units,
        1,
        |range| range.map(part).collect::<Vec<_>>(),
        |mut left, right| {
            left.extend(right);
            left
        },
    )
    .unwrap_or_default();
    let mut parts = parts.into_iter();
    for _ in 0..outer * across {
        let slabs: Vec<Vec<T>> = parts.by_ref().take(deep).collect();
        let folded = par::fold_tree(slabs, |mut left, right| {
            add_row(&mut left, &right, by);
            left
        });
        out.extend(folded.unwrap_or_default());
    }
    out
}

/// `[outer, fold]` to `[outer]`.
fn rows<T: Copy + Send + Sync>(x: &[T], outer: usize, fold: usize, by: impl Combine<T>) -> Vec<T> {
    if fold <= 2 * par::BLOCK {
        let unit = (par::BLOCK / fold.max(1)).max(1);
        return par::build(outer, unit, |start, out| {
            for (at, place) in out.iter_mut().enumerate() {
                let from = (start + at) * fold;
                place.write(row(&x[from..from + fold], by));
            }
        });
    }
    let long = |at: usize| {
        let x = &x[at * fold..(at + 1) * fold];
        par::fold_blocks(fold, par::BLOCK, |range| row_part(&x[range], by), |a, b| by.combine(a, b))
    };
    (0..outer).map(|at| long(at).unwrap_or(by.start())).collect()
}

/// Sizes of neighbouring axes merged, and whether each group is folded.
fn groups(shape: &[usize], axes: &[usize]) -> Vec<(usize, bool)> {
    let mut groups: Vec<(usize, bool)> = Vec::with_capacity(shape.len());
    for (axis, size) in shape.iter().enumerate() {
        let folded = axes.contains(&axis);
        match groups.last_mut() {
            Some(last) if last.1 == folded => last.0 *= size,
            _ => groups.push((*size, folded)),
        }
    }
    groups
}

fn fold_all<T: Copy + Send + Sync>(x: &[T], shape: &[usize], axes: &[usize], by: impl Combine<T>) -> Vec<T> {
    let mut groups = groups(shape, axes);
    let mut have: Option<Vec<T>> = None;
    while let Some(at) = groups.iter().rposition(|(_, folded)| *folded) {
        let outer: usize = groups[..at].iter().map(|(size, _)| size).product();
        let inner: usize = groups[at + 1..].iter().map(|(size, _)| size).product();
        have = Some(middle(have.as_deref().unwrap_or(x), outer, groups[at].0, inner, by));
        groups.remove(at);
    }
    have.unwrap_or_else(|| x.to_vec())
}

/// Folds the given axes of a tensor away.
pub fn fold(x: &Tensor, axes: &[usize], op: Fold) -> Result<Tensor> {
    let shape = x.dims();
    let kept: Vec<usize> = (0..shape.len()).filter(|axis| !axes.contains(axis)).map(|axis| shape[axis]).collect();
    let nothing = axes.iter().any(|axis| shape[*axis] == 0);
    if nothing && matches!(op, Fold::Max | Fold::Min) && kept.iter().product::<usize>() > 0 {
        bail!("the largest or smallest of no elements: a size of the folded axes is 0")
    }
    if !on_cpu(x) {
        return fold_on_device(x, axes, op, &kept);
    }
    let x = contiguous(x)?;
    match x.dtype() {
        candle_core::DType::F32 => fold_real::<f32>(&x, axes, op, &kept),
        candle_core::DType::F64 => fold_real::<f64>(&x, axes, op, &kept),
        candle_core::DType::I64 => {
            let values = Elements::<i64>::of(&x)?;
            let (x, shape): (&[i64], _) = (&values, shape);
            let out = match op {
                Fold::Sum => fold_all(x, shape, axes, With(0, i64::wrapping_add)),
                Fold::Prod => fold_all(x, shape, axes, With(1, i64::wrapping_mul)),
                Fold::Max => fold_all(x, shape, axes, With(i64::MIN, larger)),
                Fold::Min => fold_all(x, shape, axes, With(i64::MAX, smaller)),
            };
            tensor(out, &kept)
        }
        other => bail!("{op:?} of {other:?} elements"),
    }
}

fn fold_real<T: WithDType>(x: &Tensor, axes: &[usize], op: Fold, kept: &[usize]) -> Result<Tensor> {
    let values = Elements::<T>::of(x)?;
    let shape = x.dims();
    let infinity = T::from_f64(f64::INFINITY);
    let out = match op {
        Fold::Sum => fold_all(&values, shape, axes, With(T::zero(), |a: T, b: T| a + b)),
        Fold::Prod => fold_all(&values, shape, axes, With(T::one(), |a: T, b: T| a * b)),
        Fold::Max => fold_all(&values, shape, axes, With(T::zero() - infinity, larger)),
        Fold::Min => fold_all(&values, shape, axes, With(infinity, smaller)),
    };
    tensor(out, kept)
}

fn fold_on_device(x: &Tensor, axes: &[usize], op: Fold, kept: &[usize]) -> Result<Tensor> {
    let mut sorted = axes.to_vec();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    let fold_axis = |x: Tensor, axis: &usize| match op {
        Fold::Sum => x.sum(*axis),
        Fold::Max => x.max(*axis),
        Fold::Min => x.min(*axis),
        Fold::Prod => {
            let mut product = x.narrow(*axis, 0, 1)?.ones_like()?;
            for at in 0..x.dim(*axis)? {
                product = (product * x.narrow(*axis, at, 1)?)?;
            }
            product.squeeze(*axis)
        }
    };
    sorted.iter().try_fold(x.clone(), fold_axis)?.reshape(kept)
}

/// Sizes before, of and after an axis.
pub fn around(shape: &[usize], axis: usize) -> (usize, usize, usize) {
    (shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product())
}

/// The first index of the largest (or smallest) element along an axis; NaN counts as that.
pub fn arg(x: &Tensor, axis: usize, largest: bool) -> Result<Tensor> {
    if !on_cpu(x) {
        let index = if largest { x.argmax(axis)? } else { x.argmin(axis)? };
        return index.to_dtype(candle_core::DType::I64);
    }
    let x = contiguous(x)?;
    let mut kept = x.dims().to_vec();
    kept.remove(axis);
    let (outer, fold, inner) = around(x.dims(), axis);
    if fold == 0 && outer * inner > 0 {
        bail!("the position of the largest or smallest of no elements: axis {axis} has size 0")
    }
    super::with_element!(x.dtype(), T => {
        let values = Elements::<T>::of(&x)?;
        let values: &[T] = &values;
        let unit = (par::BLOCK / fold.max(1)).max(1);
        let out = par::build(outer * inner, unit, |start, out| {
            for (at, place) in out.iter_mut().enumerate() {
                let (row, column) = ((start + at) / inner, (start + at) % inner);
                place.write(first_best(&values[row * fold * inner + column..], fold, inner, largest));
            }
        });
        tensor(out, &kept)
    })
}

fn first_best<T: WithDType>(x: &[T], count: usize, stride: usize, largest: bool) -> i64 {
    let mut best = 0;
    for at in 1..count {
        let (have, new) = (x[best * stride], x[at * stride]);
        #[allow(clippy::eq_op)]
        let (have_nan, new_nan) = (have != have, new != new);
        let better = if largest { new > have } else { new < have };
        if better || (new_nan && !have_nan) {
            best = at;
        }
    }
    best as i64
}

/// Running sums along an axis.
pub fn cumsum(x: &Tensor, axis: usize) -> Result<Tensor> {
    on_host(x, |x| match x.dtype() {
        candle_core::DType::F32 => running::<f32>(x, axis, |a, b| a + b),
        candle_core::DType::F64 => running::<f64>(x, axis, |a, b| a + b),
        candle_core::DType::I64 => running::<i64>(x, axis, i64::wrapping_add),
        other => bail!("running sums of {other:?} elements"),
    })
}

/// Running products along an axis.
pub fn cumprod(x: &Tensor, axis: usize) -> Result<Tensor> {
    on_host(x, |x| match x.dtype() {
        candle_core::DType::F32 => running::<f32>(x, axis, |a, b| a * b),
        candle_core::DType::F64 => running::<f64>(x, axis, |a, b| a * b),
        other => bail!("running products of {other:?} elements"),
    })
}

/// What has no kernel for other devices, computed on the CPU and sent back.
fn on_host(x: &Tensor, of: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    of(&contiguous(&x.to_device(&candle_core::Device::Cpu)?)?)?.to_device(x.device())
}

fn running<T: WithDType>(x: &Tensor, axis: usize, add: impl Fn(T, T) -> T + Sync) -> Result<Tensor> {
    let (_, length, inner) = around(x.dims(), axis);
    let values = Elements::<T>::of(x)?;
    let values: &[T] = &values;
    let plane = (length * inner).max(1);
    let unit = (par::BLOCK / plane).max(1) * plane;
    let mut out = values.to_vec();
    par::fill_blocks(&mut out, unit, |_, planes| {
        for plane in planes.chunks_mut(plane) {
            for at in inner..plane.len() {
                plane[at] = add(plane[at - inner], plane[at]);
            }
        }
    });
    tensor(out, x.dims())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(shape: &[usize]) -> Tensor {
        let count = shape.iter().product::<usize>();
        let values: Vec<f32> = (0..count).map(|n| ((n * 7919) % 1013) as f32 / 500.0 - 1.0).collect();
        tensor(values, shape).unwrap()
    }

    /// The fold of each group of elements, one element at a time in f64.
    fn plain(x: &Tensor, axes: &[usize], f: impl Fn(f64, f64) -> f64, start: f64) -> Vec<f64> {
        let shape = x.dims();
        let values = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let kept: Vec<usize> = (0..shape.len()).filter(|axis| !axes.contains(axis)).collect();
        let mut out = vec![start; kept.iter().map(|axis| shape[*axis]).product()];
        for (at, value) in values.iter().enumerate() {
            let mut rest = at;
            let mut place = vec![0; shape.len()];
            for axis in (0..shape.len()).rev() {
                place[axis] = rest % shape[axis];
                rest /= shape[axis];
            }
            let to = kept.iter().fold(0, |to, axis| to * shape[*axis] + place[*axis]);
            out[to] = f(out[to], *value as f64);
        }
        out
    }

    #[test]
    fn any_set_of_axes_folds() {
        for shape in [
            vec![5],
            vec![3, 4],
            vec![2, 3, 4, 5],
            vec![2, 1, 70, 3],
            vec![200, 3000],
            vec![3, 70_000],
            vec![2, 3, 5000],
        ] {
            let x = numbers(&shape);
            for mask in 0..1usize << shape.len() {
                let axes: Vec<usize> = (0..shape.len()).filter(|axis| mask >> axis & 1 == 1).collect();
                let check = |op, want: Vec<f64>| {
                    let have = fold(&x, &axes, op).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
                    assert_eq!(have.len(), want.len());
                    for (have, want) in have.iter().zip(&want) {
                        assert!((*have as f64 - want).abs() < 1e-4 * want.abs().max(10.0), "{shape:?} {axes:?} {op:?}");
                    }
                };
                check(Fold::Sum, plain(&x, &axes, |a, b| a + b, 0.0));
                check(Fold::Max, plain(&x, &axes, f64::max, f64::NEG_INFINITY));
                check(Fold::Min, plain(&x, &axes, f64::min, f64::INFINITY));
            }
        }
    }

    #[test]
    fn folds_do_not_depend_on_threads() {
        for (shape, axes) in [(vec![70_001], vec![0]), (vec![9000, 33], vec![0]), (vec![8, 5, 40, 41], vec![0, 2, 3])] {
            let bits = |threads| {
                par::with_threads(threads, || {
                    let sums = fold(&numbers(&shape), &axes, Fold::Sum).unwrap().flatten_all().unwrap();
                    sums.to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect::<Vec<_>>()
                })
            };
            assert_eq!(bits(1), bits(2));
            assert_eq!(bits(1), bits(5));
        }
    }

    #[test]
    fn empty_axes_give_the_neutral_element_or_an_error() {
        let none = Tensor::zeros((0, 2), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
        assert_eq!(fold(&none, &[0], Fold::Sum).unwrap().to_vec1::<f32>().unwrap(), [0.0; 2]);
        let x = Tensor::zeros((3, 0), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
        assert_eq!(fold(&x, &[1], Fold::Sum).unwrap().to_vec1::<f32>().unwrap(), [0.0; 3]);
        assert_eq!(fold(&x, &[1], Fold::Prod).unwrap().to_vec1::<f32>().unwrap(), [1.0; 3]);
        assert!(fold(&x, &[1], Fold::Max).is_err());
        assert_eq!(fold(&x, &[0], Fold::Max).unwrap().dims(), [0]);
    }

    #[test]
    fn nan_is_the_largest_and_the_smallest() {
        let x = tensor(vec![1.0f32, f32::NAN, 3.0], &[3]).unwrap();
        for op in [Fold::Max, Fold::Min] {
            assert!(fold(&x, &[0], op).unwrap().to_scalar::<f32>().unwrap().is_nan());
        }
        assert_eq!(arg(&x, 0, true).unwrap().to_scalar::<i64>().unwrap(), 1);
    }
}
