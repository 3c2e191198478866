//! Products of matrices: fixed blocks of the output, each one single-threaded `gemm` call.
//!
//! The blocks depend on the sizes only, so the bits of a result do not depend on the number of threads. Operands may be
//! any Candle views: a transposed or sliced matrix is read through its strides, without a copy.

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::ops::Range;

use candle_core::{Result, Storage, Tensor, WithDType};

use super::par;

/// The element types that have a matrix product.
pub trait Real: WithDType + Default + std::ops::AddAssign {
    const ONE: Self;
    const MINUS_INFINITY: Self;

    fn not_a_number(self) -> bool;

    /// The values where they are f32, for kernels that know no other type.
    fn single(_values: &[Self]) -> Option<&[f32]> {
        None
    }

    /// The adjoint of [`Real::single`].
    fn from_single(_values: Vec<f32>) -> Option<Vec<Self>> {
        None
    }
}

impl Real for f32 {
    const ONE: f32 = 1.0;
    const MINUS_INFINITY: f32 = f32::NEG_INFINITY;

    fn not_a_number(self) -> bool {
        self.is_nan()
    }

    fn single(values: &[f32]) -> Option<&[f32]> {
        Some(values)
    }

    fn from_single(values: Vec<f32>) -> Option<Vec<f32>> {
        Some(values)
    }
}

impl Real for f64 {
    const ONE: f64 = 1.0;
    const MINUS_INFINITY: f64 = f64::NEG_INFINITY;

    fn not_a_number(self) -> bool {
        self.is_nan()
    }
}

/// Runs a body with a type parameter bound to the float type behind a Candle dtype.
macro_rules! with_real {
    ($dtype:expr, $element:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $element = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $element = f64;
                $body
            }
            other => candle_core::bail!("floats are needed, these are {other:?}"),
        }
    };
}
pub(crate) use with_real;

/// A matrix in memory that someone else keeps alive: its first element and the steps between rows and between columns.
#[derive(Clone, Copy)]
pub struct View<T> {
    pub first: *const T,
    pub row: isize,
    pub column: isize,
}

impl<T> View<T> {
    pub fn rows(data: &[T], row: usize) -> View<T> {
        View { first: data.as_ptr(), row: row as isize, column: 1 }
    }

    pub fn transposed(self) -> View<T> {
        View { first: self.first, row: self.column, column: self.row }
    }

    /// # Safety
    /// The element has to lie in the same allocation.
    pub unsafe fn at(self, row: usize, column: usize) -> View<T> {
        // SAFETY: by contract.
        let first = unsafe { self.first.offset(row as isize * self.row + column as isize * self.column) };
        View { first, ..self }
    }
}

/// A place for results that several blocks write at the same time, each its own part.
#[derive(Clone, Copy)]
pub struct Shared<T>(*mut T);

// SAFETY: whoever makes one promises that blocks write disjoint parts of it.
unsafe impl<T: Send> Send for Shared<T> {}
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub fn new(out: &mut [T]) -> Shared<T> {
        Shared(out.as_mut_ptr())
    }

    /// A place that nobody has written to yet, so each part has to be written before it is read.
    pub fn unwritten(out: &mut [MaybeUninit<T>]) -> Shared<T> {
        Shared(out.as_mut_ptr().cast())
    }

    /// # Safety
    /// `at` lies within the slice it was made from, which is still alive.
    pub unsafe fn at(self, at: usize) -> *mut T {
        // SAFETY: by contract.
        unsafe { self.0.add(at) }
    }

    /// # Safety
    /// The range lies within the slice it was made from, which is still alive, and nobody else uses it meanwhile.
    pub unsafe fn part<'a>(self, range: Range<usize>) -> &'a mut [T] {
        // SAFETY: by contract.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(range.start), range.len()) }
    }
}

/// `out = a @ b`, or `out += a @ b`, on the calling thread. The rows of `out` are `row` elements apart.
///
/// # Safety
/// `a` is `m` by `k`, `b` is `k` by `n`, `out` is `m` by `n`, all alive, and nobody else writes to `out`.
#[allow(clippy::too_many_arguments)]
pub unsafe fn product<T: Real>(
    m: usize,
    n: usize,
    k: usize,
    out: *mut T,
    row: usize,
    add: bool,
    a: View<T>,
    b: View<T>,
) {
    let keep = if add { T::ONE } else { T::default() };
    // SAFETY: the sizes and steps describe live memory by contract.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out,
            1,
            row as isize,
            add,
            a.first,
            a.column,
            a.row,
            b.first,
            b.column,
            b.row,
            keep,
            T::ONE,
            false,
            false,
            false,
            gemm::Parallelism::None,
        )
    }
}

thread_local! {
    static SCRATCH: RefCell<Vec<Vec<u64>>> = const { RefCell::new(Vec::new()) };
}

/// Lends working memory that the thread keeps for the next call, since fresh pages cost as much as the arithmetic. What
/// is in it is arbitrary.
pub fn with_scratch<T: Real, R>(count: usize, work: impl FnOnce(&mut [T]) -> R) -> R {
    let words = (count * size_of::<T>()).div_ceil(8);
    let mut memory = SCRATCH.with(|kept| kept.borrow_mut().pop()).unwrap_or_default();
    if memory.len() < words {
        memory.resize(words, 0);
    }
    // SAFETY: `u64` is aligned for f32 and f64, every bit pattern is a value of them, and the words are enough.
    let lent = unsafe { std::slice::from_raw_parts_mut(memory.as_mut_ptr().cast::<T>(), count) };
    let result = work(lent);
    SCRATCH.with(|kept| kept.borrow_mut().push(memory));
    result
}

/// Rows and columns of the output, and terms of the sums, that one block covers.
struct Cut {
    rows: usize,
    columns: usize,
    terms: usize,
}

/// Multiplications below which cutting further costs more than it hides.
const SMALL: usize = 1 << 21;
const WANTED_BLOCKS: usize = 16;

/// Halves the longer side until there are enough blocks for any number of cores that such a product can use. A small
/// result of very long sums is cut along the sums instead.
fn cut(m: usize, n: usize, k: usize) -> Cut {
    let (mut rows, mut columns, mut terms) = (m, n, k);
    let mut blocks = 1;
    while blocks < WANTED_BLOCKS && rows * columns * k > SMALL {
        if columns >= 2 * rows && columns > 96 {
            columns = columns.div_ceil(2).next_multiple_of(48);
        } else if rows > 64 {
            rows = rows.div_ceil(2).next_multiple_of(16);
        } else if columns > 96 {
            columns = columns.div_ceil(2).next_multiple_of(48);
        } else {
            break;
        }
        blocks = m.div_ceil(rows) * n.div_ceil(columns);
    }
    if blocks < 4 {
        while terms > 2048 && k.div_ceil(terms) < WANTED_BLOCKS {
            terms = terms.div_ceil(2);
        }
    }
    Cut { rows, columns, terms }
}

/// Element offsets of the matrices of a batch.
fn offsets(shape: &[usize], strides: &[usize], start: usize) -> Vec<usize> {
    let mut found = vec![start];
    for (size, stride) in shape.iter().zip(strides) {
        found = found.iter().flat_map(|base| (0..*size).map(move |at| base + at * stride)).collect();
    }
    found
}

/// `[..b, m, k] @ [..b, k, n]`, equal leading sizes, any strides, on the CPU.
pub fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    with_real!(a.dtype(), T => batched::<T>(a, b))
}

fn batched<T: Real>(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (stored_a, layout_a) = a.storage_and_layout();
    let (stored_b, layout_b) = b.storage_and_layout();
    let (Storage::Cpu(data_a), Storage::Cpu(data_b)) = (&*stored_a, &*stored_b) else {
        candle_core::bail!("tensors on the CPU are needed")
    };
    let (data_a, data_b) = (T::cpu_storage_as_slice(data_a)?, T::cpu_storage_as_slice(data_b)?);
    let (dims_a, dims_b) = (layout_a.dims(), layout_b.dims());
    let lead = dims_a.len() - 2;
    let (m, k, n) = (dims_a[lead], dims_a[lead + 1], dims_b[lead + 1]);
    let starts_a = offsets(&dims_a[..lead], layout_a.stride(), layout_a.start_offset());
    let starts_b = offsets(&dims_b[..lead], layout_b.stride(), layout_b.start_offset());
    let view = |strides: &[usize]| (strides[lead] as isize, strides[lead + 1] as isize);
    let (steps_a, steps_b) = (view(layout_a.stride()), view(layout_b.stride()));
    let mut out = vec![T::default(); starts_a.len() * m * n];
    if m * n * k > 0 {
        let matrices = Matrices { a: data_a, b: data_b, starts_a, starts_b, steps_a, steps_b, m, n, k };
        matrices.multiply(&mut out);
    }
    let shape: Vec<usize> = dims_a[..lead].iter().copied().chain([m, n]).collect();
    Tensor::from_vec(out, shape, &candle_core::Device::Cpu)
}

struct Matrices<'a, T> {
    a: &'a [T],
    b: &'a [T],
    starts_a: Vec<usize>,
    starts_b: Vec<usize>,
    steps_a: (isize, isize),
    steps_b: (isize, isize),
    m: usize,
    n: usize,
    k: usize,
}

impl<T: Real> Matrices<'_, T> {
    fn a(&self, at: usize) -> View<T> {
        View { first: self.a[self.starts_a[at]..].as_ptr(), row: self.steps_a.0, column: self.steps_a.1 }
    }

    fn b(&self, at: usize) -> View<T> {
        View { first: self.b[self.starts_b[at]..].as_ptr(), row: self.steps_b.0, column: self.steps_b.1 }
    }

    fn multiply(&self, out: &mut [T]) {
        let (m, n, k) = (self.m, self.n, self.k);
        let Cut { rows, columns, terms } = cut(m, n, k);
        if terms < k {
            return self.multiply_long(out, terms);
        }
        let (across, down) = (n.div_ceil(columns), m.div_ceil(rows));
        let tasks = self.starts_a.len() * down * across;
        let group = (SMALL / (rows * columns * k)).clamp(1, tasks.div_ceil(WANTED_BLOCKS).max(1));
        let shared = Shared::new(out);
        par::for_blocks(tasks, group, |range| {
            for task in range {
                let (at, block) = (task / (down * across), task % (down * across));
                let (top, left) = (block / across * rows, block % across * columns);
                let (height, width) = (rows.min(m - top), columns.min(n - left));
                // SAFETY: the views stay within their matrices, and each task has its own block of the output.
                unsafe {
                    let (a, b) = (self.a(at).at(top, 0), self.b(at).at(0, left));
                    product(height, width, k, shared.at(at * m * n + top * n + left), n, false, a, b);
                }
            }
        });
    }

    /// Sums cut into pieces of `terms`, each with its own copy of the result; the copies are added in order.
    fn multiply_long(&self, out: &mut [T], terms: usize) {
        let (m, n, k) = (self.m, self.n, self.k);
        let pieces = k.div_ceil(terms);
        for (at, out) in out.chunks_mut(m * n).enumerate() {
            let mut parts = vec![T::default(); pieces * m * n];
            let shared = Shared::new(&mut parts);
            par::for_blocks(pieces, 1, |range| {
                for piece in range {
                    let from = piece * terms;
                    // SAFETY: as in `multiply`; each piece has its own copy.
                    unsafe {
                        let (a, b) = (self.a(at).at(0, from), self.b(at).at(from, 0));
                        product(m, n, terms.min(k - from), shared.at(piece * m * n), n, false, a, b);
                    }
                }
            });
            add_in_order(out, &parts);
        }
    }
}

/// Adds the equally long parts, first to last, into `out`.
pub fn add_in_order<T: Real>(out: &mut [T], parts: &[T]) {
    let count = out.len();
    if count == 0 {
        return;
    }
    par::fill_blocks(out, par::BLOCK, |start, out| {
        for part in parts.chunks(count) {
            for (sum, term) in out.iter_mut().zip(&part[start..]) {
                *sum += *term;
            }
        }
    });
}
