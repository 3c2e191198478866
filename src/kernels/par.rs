//! All parallel work: blocks of a range, filled or folded.
//!
//! In: a count, a block length that depends on shapes only, and the work of one block. Out: the same bits for any number
//! of threads, because no block is cut differently and partial results fold in a fixed tree. Never here: arithmetic.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::Once;

use rayon::prelude::*;

use super::matmul::Shared;

/// Elements that one block of an elementwise loop covers: long enough to hide the cost of handing it out.
pub const BLOCK: usize = 32 * 1024;

static THREADS: Once = Once::new();

/// Sets the number of workers for the whole process. Only the first call has an effect; it has to come before any other
/// thread is started and before the first kernel, since the pools read these numbers once.
pub fn set_threads(threads: usize) {
    let threads = threads.max(1);
    THREADS.call_once(|| {
        // SAFETY: the environment is only written here, once, before other threads exist that could read it.
        unsafe {
            std::env::set_var("RAYON_NUM_THREADS", threads.to_string());
            std::env::set_var("CANDLE_NUM_THREADS", threads.to_string());
        }
        // Fails only when a pool exists already; then its number of threads stands.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    });
}

/// The number of workers.
pub fn threads() -> usize {
    rayon::current_num_threads()
}

/// Runs `work` with its own number of workers: for measuring, and for showing that results do not depend on it.
pub fn with_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
    match rayon::ThreadPoolBuilder::new().num_threads(threads.max(1)).build() {
        Ok(pool) => pool.install(work),
        Err(_) => work(),
    }
}

/// The range of block number `at`.
fn range(at: usize, count: usize, block: usize) -> Range<usize> {
    at * block..count.min((at + 1) * block)
}

/// Calls `work` with each block of `0..count`.
pub fn for_blocks(count: usize, block: usize, work: impl Fn(Range<usize>) + Sync) {
    let block = block.max(1);
    let blocks = count.div_ceil(block);
    if blocks <= 1 {
        if count > 0 {
            work(0..count);
        }
    } else if threads() == 1 {
        (0..blocks).for_each(|at| work(range(at, count, block)));
    } else {
        (0..blocks).into_par_iter().for_each(|at| work(range(at, count, block)));
    }
}

/// Calls `work` with the start of each block of `out` and the block itself.
pub fn fill_blocks<T: Send>(out: &mut [T], block: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    let block = block.max(1);
    if out.len() <= block {
        if !out.is_empty() {
            work(0, out);
        }
    } else if threads() == 1 {
        out.chunks_mut(block).enumerate().for_each(|(at, part)| work(at * block, part));
    } else {
        out.par_chunks_mut(block).enumerate().for_each(|(at, part)| work(at * block, part));
    }
}

/// Makes a vector of `count` elements; `work` writes every element of the block that it is given.
pub fn build<T: Send + Copy>(count: usize, block: usize, work: impl Fn(usize, &mut [MaybeUninit<T>]) + Sync) -> Vec<T> {
    let mut out: Vec<T> = Vec::with_capacity(count);
    fill_blocks(&mut out.spare_capacity_mut()[..count], block, work);
    // SAFETY: the capacity is at least `count`, and the blocks, which cover it, are written by `work` by contract.
    unsafe { out.set_len(count) };
    out
}

/// Makes a vector of `count` elements; `work` writes every element, from as many threads as it likes.
///
/// # Safety
/// `work` does write every element, and reads none before.
pub unsafe fn build_shared<T: Copy>(count: usize, work: impl FnOnce(Shared<T>)) -> Vec<T> {
    let mut out: Vec<T> = Vec::with_capacity(count);
    work(Shared::unwritten(&mut out.spare_capacity_mut()[..count]));
    // SAFETY: the capacity is at least `count`; the rest is by contract.
    unsafe { out.set_len(count) };
    out
}

/// Maps each block of `0..count` and folds the results, neighbours first, in a tree whose form is given by the count of
/// blocks alone. None where there is no block.
pub fn fold_blocks<R: Send>(
    count: usize,
    block: usize,
    map: impl Fn(Range<usize>) -> R + Sync,
    fold: impl Fn(R, R) -> R,
) -> Option<R> {
    let block = block.max(1);
    let blocks = count.div_ceil(block);
    let parts: Vec<R> = if blocks <= 1 || threads() == 1 {
        (0..blocks).map(|at| map(range(at, count, block))).collect()
    } else {
        (0..blocks).into_par_iter().map(|at| map(range(at, count, block))).collect()
    };
    fold_tree(parts, fold)
}

/// Folds neighbours until one is left.
pub fn fold_tree<R>(mut parts: Vec<R>, fold: impl Fn(R, R) -> R) -> Option<R> {
    while parts.len() > 1 {
        let mut halved = Vec::with_capacity(parts.len().div_ceil(2));
        let mut rest = parts.into_iter();
        while let Some(left) = rest.next() {
            halved.push(match rest.next() {
                Some(right) => fold(left, right),
                None => left,
            });
        }
        parts = halved;
    }
    parts.pop()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_the_range_once() {
        for threads in [1, 3] {
            with_threads(threads, || {
                let filled = build(1000, 7, |start, out| {
                    for (at, place) in out.iter_mut().enumerate() {
                        place.write(start + at);
                    }
                });
                assert_eq!(filled, (0..1000).collect::<Vec<_>>());
            });
        }
    }

    #[test]
    fn folding_does_not_depend_on_threads() {
        let terms: Vec<f32> = (0..100_003).map(|n| 1.0 / (1 + n) as f32).collect();
        let sum = |threads| {
            with_threads(threads, || {
                let part = |range: Range<usize>| terms[range].iter().sum::<f32>();
                fold_blocks(terms.len(), 1000, part, |a, b| a + b).map(f32::to_bits)
            })
        };
        assert_eq!(sum(1), sum(2));
        assert_eq!(sum(1), sum(5));
        assert_eq!(fold_blocks(0, 8, |_| 1, |a, b| a + b), None);
    }
}
