//! Copies that move elements without computing: broadcast, permute, slice, pad, concatenate, flip.
//!
//! Most are one strided read: an output in row-major order whose element at `[i, j, …]` comes from
//! `start + i * strides[0] + j * strides[1] + …` of the input.

use std::mem::MaybeUninit;

use candle_core::{Result, Tensor, WithDType};

use super::{Elements, copy, on_cpu, par, tensor, with_element};

/// Where the elements of an output come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    pub start: isize,
    pub sizes: Vec<usize>,
    pub strides: Vec<isize>,
}

impl Reading {
    /// All of a contiguous input in its own order.
    pub fn all(shape: &[usize]) -> Reading {
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis] as isize;
        }
        Reading { start: 0, sizes: shape.to_vec(), strides }
    }

    /// Without axes of size 1 and with neighbours merged where one continues the other.
    fn merged(&self) -> Reading {
        let mut merged = Reading { start: self.start, sizes: Vec::new(), strides: Vec::new() };
        for (size, stride) in self.sizes.iter().zip(&self.strides) {
            if *size == 1 {
                continue;
            }
            match (merged.sizes.last_mut(), merged.strides.last_mut()) {
                (Some(last), Some(step)) if *step == stride * *size as isize => {
                    *last *= size;
                    *step = *stride;
                }
                _ => {
                    merged.sizes.push(*size);
                    merged.strides.push(*stride);
                }
            }
        }
        if merged.sizes.is_empty() {
            merged.sizes.push(1);
            merged.strides.push(1);
        }
        merged
    }

    /// Where row `at` begins, a row being the innermost `depth` axes.
    fn row_start(&self, at: usize, depth: usize) -> isize {
        let mut rest = at;
        let mut start = self.start;
        for axis in (0..self.sizes.len() - depth).rev() {
            start += (rest % self.sizes[axis]) as isize * self.strides[axis];
            rest /= self.sizes[axis];
        }
        start
    }
}

/// Side of the squares in which a transposition proceeds: lines of both sides stay in the first cache.
const TILE: usize = 16;

/// The elements of `x` in the order that `reading` gives.
pub fn read<T: Copy + Send + Sync>(x: &[T], reading: &Reading) -> Vec<T> {
    let reading = reading.merged();
    let count = reading.sizes.iter().product();
    let depth = reading.sizes.len();
    let (length, step) = (reading.sizes[depth - 1], reading.strides[depth - 1]);
    if count == 0 {
        return Vec::new();
    }
    if depth >= 2 && step > 1 && reading.strides[depth - 2] == 1 && reading.sizes[depth - 2] >= 4 {
        return transpose(x, &reading, count);
    }
    let unit = (par::BLOCK / length).max(1) * length;
    par::build(count, unit, |first, out| {
        for (at, row) in out.chunks_mut(length).enumerate() {
            let start = reading.row_start(first / length + at, 1) as usize;
            match step {
                1 => copy(row, &x[start..start + row.len()]),
                0 => row.fill(MaybeUninit::new(x[start])),
                _ => {
                    for (at, place) in row.iter_mut().enumerate() {
                        place.write(x[(start as isize + at as isize * step) as usize]);
                    }
                }
            }
        }
    })
}

/// Reads planes whose rows lie in the columns of the input.
fn transpose<T: Copy + Send + Sync>(x: &[T], reading: &Reading, count: usize) -> Vec<T> {
    let depth = reading.sizes.len();
    let (high, wide, step) = (reading.sizes[depth - 2], reading.sizes[depth - 1], reading.strides[depth - 1] as usize);
    // Bands of a plane rather than planes: one large plane is work for all threads.
    let band = (par::BLOCK / wide).clamp(TILE, high.max(TILE)).next_multiple_of(TILE).min(high);
    let bands = high.div_ceil(band);
    let mut out: Vec<T> = Vec::with_capacity(count);
    let places = std::sync::atomic::AtomicPtr::new(out.as_mut_ptr());
    par::for_blocks(count / (high * wide) * bands, (par::BLOCK / (band * wide)).max(1), |units| {
        for unit in units {
            let (plane, from) = (unit / bands, unit % bands * band);
            let rows = band.min(high - from);
            let begin = places.load(std::sync::atomic::Ordering::Relaxed);
            // SAFETY: units write disjoint ranges of rows, all inside the capacity of `count` elements.
            let out = unsafe {
                std::slice::from_raw_parts_mut(
                    begin.add(plane * high * wide + from * wide).cast::<MaybeUninit<T>>(),
                    rows * wide,
                )
            };
            let start = reading.row_start(plane, 2) as usize + from;
            for row in (0..rows).step_by(TILE) {
                for column in (0..wide).step_by(TILE) {
                    for r in row..(row + TILE).min(rows) {
                        for c in column..(column + TILE).min(wide) {
                            out[r * wide + c].write(x[start + r + c * step]);
                        }
                    }
                }
            }
        }
    });
    // SAFETY: the units above cover every row of every plane.
    unsafe { out.set_len(count) };
    out
}

fn read_tensor(x: &Tensor, reading: &Reading, shape: &[usize]) -> Result<Tensor> {
    with_element!(x.dtype(), T => tensor(read::<T>(&Elements::<T>::of(x)?, reading), shape))
}

/// A tensor with its elements in row-major order and without gaps; no copy where that is so already.
pub fn contiguous(x: &Tensor) -> Result<Tensor> {
    if x.is_contiguous() || !on_cpu(x) {
        return x.contiguous();
    }
    with_element!(x.dtype(), T => {
        let (storage, layout) = x.storage_and_layout();
        let candle_core::Storage::Cpu(cpu) = &*storage else { return x.contiguous() };
        let strides = layout.stride().iter().map(|stride| *stride as isize).collect();
        let reading = Reading { start: layout.start_offset() as isize, sizes: x.dims().to_vec(), strides };
        tensor(read(T::cpu_storage_as_slice(cpu)?, &reading), x.dims())
    })
}

/// Another shape of the same elements.
pub fn reshape(x: &Tensor, shape: &[usize]) -> Result<Tensor> {
    contiguous(x)?.reshape(shape)
}

/// Output axis `i` is input axis `axes[i]`.
pub fn permute(x: &Tensor, axes: &[usize]) -> Result<Tensor> {
    if !on_cpu(x) {
        return x.permute(axes)?.contiguous();
    }
    let x = contiguous(x)?;
    let all = Reading::all(x.dims());
    let reading = Reading {
        start: 0,
        sizes: axes.iter().map(|axis| all.sizes[*axis]).collect(),
        strides: axes.iter().map(|axis| all.strides[*axis]).collect(),
    };
    read_tensor(&x, &reading, &reading.sizes)
}

/// Repeats a tensor to `shape`; `axes[i]` is the output axis of input axis `i`.
pub fn broadcast(x: &Tensor, shape: &[usize], axes: &[usize]) -> Result<Tensor> {
    if !on_cpu(x) {
        let mut middle = vec![1; shape.len()];
        axes.iter().zip(x.dims()).for_each(|(axis, size)| middle[*axis] = *size);
        return x.reshape(middle)?.broadcast_as(shape)?.contiguous();
    }
    let x = contiguous(x)?;
    if x.dims() == shape {
        return Ok(x);
    }
    let mut reading = Reading { start: 0, sizes: shape.to_vec(), strides: vec![0; shape.len()] };
    let all = Reading::all(x.dims());
    for (at, axis) in axes.iter().enumerate() {
        reading.strides[*axis] = if x.dims()[at] == 1 { 0 } else { all.strides[at] };
    }
    read_tensor(&x, &reading, shape)
}

/// Every `step`-th element from `start` on, along each axis.
pub fn slice(x: &Tensor, start: &[usize], step: &[usize], shape: &[usize]) -> Result<Tensor> {
    if !on_cpu(x) {
        return slice_on_device(x, start, step, shape);
    }
    let x = contiguous(x)?;
    let all = Reading::all(x.dims());
    let reading = Reading {
        start: start.iter().zip(&all.strides).map(|(start, stride)| *start as isize * stride).sum(),
        sizes: shape.to_vec(),
        strides: step.iter().zip(&all.strides).map(|(step, stride)| *step as isize * stride).collect(),
    };
    read_tensor(&x, &reading, shape)
}

fn slice_on_device(x: &Tensor, start: &[usize], step: &[usize], shape: &[usize]) -> Result<Tensor> {
    let mut x = x.clone();
    for axis in 0..shape.len() {
        if shape[axis] == 0 || step[axis] == 1 {
            x = x.narrow(axis, start[axis], shape[axis])?;
        } else {
            let index: Vec<u32> = (0..shape[axis]).map(|at| (start[axis] + at * step[axis]) as u32).collect();
            x = x.contiguous()?.index_select(&Tensor::new(index, x.device())?, axis)?;
        }
    }
    x.contiguous()
}

/// The order turned round along some axes.
pub fn flip(x: &Tensor, axes: &[usize]) -> Result<Tensor> {
    if !on_cpu(x) {
        return x.flip(axes)?.contiguous();
    }
    let x = contiguous(x)?;
    let mut reading = Reading::all(x.dims());
    for axis in axes {
        reading.start += reading.strides[*axis] * (reading.sizes[*axis] as isize - 1);
        reading.strides[*axis] = -reading.strides[*axis];
    }
    read_tensor(&x, &reading, x.dims())
}

/// `value` around the tensor and `inner` times between its neighbours; `low` elements stand before it on each axis.
pub fn pad(x: &Tensor, low: &[usize], inner: &[usize], shape: &[usize], value: f64) -> Result<Tensor> {
    let host = candle_core::Device::Cpu;
    if !on_cpu(x) {
        return pad(&x.to_device(&host)?, low, inner, shape, value)?.to_device(x.device());
    }
    let x = contiguous(x)?;
    with_element!(x.dtype(), T => {
        let values = Elements::<T>::of(&x)?;
        let out = pad_slice::<T>(&values, x.dims(), low, inner, shape, T::from_f64(value));
        tensor(out, shape)
    })
}

fn pad_slice<T: WithDType>(
    x: &[T],
    from: &[usize],
    low: &[usize],
    inner: &[usize],
    shape: &[usize],
    value: T,
) -> Vec<T> {
    let Some(last) = shape.len().checked_sub(1) else { return x.to_vec() };
    let (length, have, step) = (shape[last], from[last], inner[last] + 1);
    let rows_in: usize = from[..last].iter().product();
    let count = shape.iter().product();
    if count == 0 {
        return Vec::new();
    }
    let unit = (par::BLOCK / length).max(1) * length;
    par::build(count, unit, |first, out| {
        for (at, row) in out.chunks_mut(length).enumerate() {
            row.fill(MaybeUninit::new(value));
            let Some(source) = padded_row(first / length + at, &from[..last], low, inner, shape) else { continue };
            if have == 0 || rows_in == 0 {
                continue;
            }
            let source = &x[source * have..(source + 1) * have];
            if step == 1 {
                copy(&mut row[low[last]..low[last] + have], source);
            } else {
                row[low[last]..].iter_mut().step_by(step).zip(source).for_each(|(place, x)| {
                    place.write(*x);
                });
            }
        }
    })
}

/// The input row that lies in an output row, if one does.
fn padded_row(row: usize, from: &[usize], low: &[usize], inner: &[usize], shape: &[usize]) -> Option<usize> {
    let (mut rest, mut source, mut stride) = (row, 0, 1);
    for axis in (0..from.len()).rev() {
        let place = (rest % shape[axis]).checked_sub(low[axis])?;
        rest /= shape[axis];
        let at = place / (inner[axis] + 1);
        if place % (inner[axis] + 1) != 0 || at >= from[axis] {
            return None;
        }
        source += at * stride;
        stride *= from[axis];
    }
    Some(source)
}

/// Tensors one after the other along an axis.
pub fn concat(parts: &[Tensor], axis: usize) -> Result<Tensor> {
    let Some(first) = parts.first() else { candle_core::bail!("nothing to concatenate") };
    if !on_cpu(first) {
        return Tensor::cat(parts, axis);
    }
    let parts = parts.iter().map(contiguous).collect::<Result<Vec<_>>>()?;
    let mut shape = first.dims().to_vec();
    shape[axis] = parts.iter().map(|part| part.dims()[axis]).sum();
    with_element!(first.dtype(), T => {
        let held = parts.iter().map(Elements::<T>::of).collect::<Result<Vec<_>>>()?;
        let outer: usize = shape[..axis].iter().product();
        let slices: Vec<(&[T], usize)> = held.iter().map(|part| (&**part, part.len() / outer.max(1))).collect();
        tensor(concat_slices(&slices, outer), &shape)
    })
}

fn concat_slices<T: Copy + Send + Sync>(parts: &[(&[T], usize)], outer: usize) -> Vec<T> {
    let length: usize = parts.iter().map(|(_, length)| length).sum();
    if length == 0 {
        return Vec::new();
    }
    let unit = (par::BLOCK / length).max(1) * length;
    par::build(outer * length, unit, |first, out| {
        for (at, row) in out.chunks_mut(length).enumerate() {
            let mut row = row;
            for (values, width) in parts {
                let from = (first / length + at) * width;
                let (places, rest) = row.split_at_mut(*width);
                copy(places, &values[from..from + width]);
                row = rest;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(shape: &[usize]) -> Tensor {
        tensor((0..shape.iter().product::<usize>()).map(|n| n as f32).collect(), shape).unwrap()
    }

    fn flat(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn permuting_agrees_with_candle() {
        for (shape, axes) in [
            (vec![3, 5], vec![1, 0]),
            (vec![2, 3, 4, 5], vec![0, 2, 3, 1]),
            (vec![2, 3, 4, 5], vec![0, 3, 1, 2]),
            (vec![2, 3, 4, 5], vec![3, 2, 1, 0]),
            (vec![4, 7, 2, 6], vec![0, 2, 1, 3]),
            (vec![300, 400], vec![1, 0]),
            (vec![2, 1, 0], vec![2, 0, 1]),
        ] {
            let x = counted(&shape);
            let want = x.permute(axes.clone()).unwrap().contiguous().unwrap();
            let have = permute(&x, &axes).unwrap();
            assert_eq!((have.dims(), flat(&have)), (want.dims(), flat(&want)), "{shape:?} {axes:?}");
            assert_eq!(flat(&contiguous(&x.permute(axes).unwrap()).unwrap()), flat(&want));
        }
    }

    #[test]
    fn broadcasting_agrees_with_candle() {
        let x = counted(&[3]);
        let want = x.reshape((1, 3, 1, 1)).unwrap().broadcast_as((2, 3, 4, 5)).unwrap().contiguous().unwrap();
        assert_eq!(flat(&broadcast(&x, &[2, 3, 4, 5], &[1]).unwrap()), flat(&want));
        let x = counted(&[3, 1]);
        let want = x.broadcast_as((2, 3, 4)).unwrap().contiguous().unwrap();
        assert_eq!(flat(&broadcast(&x, &[2, 3, 4], &[1, 2]).unwrap()), flat(&want));
        assert_eq!(flat(&broadcast(&counted(&[]), &[2], &[]).unwrap()), [0.0; 2]);
    }

    #[test]
    fn padding_undoes_stepped_slicing() {
        let x = counted(&[4, 7]);
        let part = slice(&x, &[1, 0], &[2, 3], &[2, 3]).unwrap();
        assert_eq!(flat(&part), [7.0, 10.0, 13.0, 21.0, 24.0, 27.0]);
        let back = pad(&part, &[1, 0], &[1, 2], &[4, 7], 0.0).unwrap();
        let want: Vec<f32> = (0..28).map(|n| if (n / 7) % 2 == 1 && n % 7 % 3 == 0 { n as f32 } else { 0.0 }).collect();
        assert_eq!(flat(&back), want);
    }

    #[test]
    fn flipping_and_concatenating() {
        assert_eq!(flat(&flip(&counted(&[2, 3]), &[1]).unwrap()), [2.0, 1.0, 0.0, 5.0, 4.0, 3.0]);
        assert_eq!(flat(&flip(&counted(&[2, 3]), &[0, 1]).unwrap()), [5.0, 4.0, 3.0, 2.0, 1.0, 0.0]);
        let (a, b) = (counted(&[2, 1, 2]), counted(&[2, 3, 2]));
        let want = Tensor::cat(&[&a, &b], 1).unwrap();
        assert_eq!(flat(&concat(&[a, b], 1).unwrap()), flat(&want));
    }
}
