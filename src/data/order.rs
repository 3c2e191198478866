//! In which order records are read: a function of a key and counts, of nothing else.
//!
//! A pass over a feed visits every record once; its order does not depend on the batch size. The first feed of a loop
//! defines the epoch. The others go round at their own pace, each pass shuffled anew, and each feed has its own key, so the
//! same source named twice is drawn twice.

use std::ops::Range;

use super::DataError;
use super::fault::count;
use crate::diagnostics::Code;
use crate::kernels::philox::{Key, fold_index, fold_path, word};

/// The key of a draw named by a seed that the user wrote.
pub fn draw_key(seed: u64, name: &str) -> Key {
    fold_path([seed as u32, (seed >> 32) as u32], name)
}

/// The order of the records in an epoch whose key is `key`.
pub fn epoch_order(key: Key, count: usize, shuffle: bool) -> Vec<usize> {
    if shuffle { permutation(key, count) } else { (0..count).collect() }
}

/// Fisher and Yates: every order of `0..count` is equally likely, up to what 64 bits can tell apart.
pub fn permutation(key: Key, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        let at = 2 * last as u64;
        let bits = (word(key, at) as u64) << 32 | word(key, at + 1) as u64;
        // The high half of the product is a number in 0..=last.
        let pick = ((bits as u128 * (last as u128 + 1)) >> 64) as usize;
        order.swap(last, pick);
    }
    order
}

/// What becomes of the records that do not fill the last batch of a pass over a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Short {
    /// Left out of this pass: what training does.
    Drop,
    /// A batch of fewer rows: what evaluation does.
    Keep,
}

/// Batches of one pass over `count` records.
pub fn batches_per_pass(count: usize, batch: usize, short: Short) -> usize {
    match short {
        Short::Drop => count / batch.max(1),
        Short::Keep => count.div_ceil(batch.max(1)),
    }
}

/// Batches of `order`, in order.
pub fn batches(order: &[usize], batch: usize, short: Short) -> impl Iterator<Item = &[usize]> {
    let full = batches_per_pass(order.len(), batch, short);
    order.chunks(batch.max(1)).take(full)
}

/// Where batch number `at` of a pass lies in its order.
pub fn batch_range(count: usize, batch: usize, at: usize) -> Range<usize> {
    (at * batch).min(count)..((at + 1) * batch).min(count)
}

/// One feed of a loop, as far as its order goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedSize {
    pub count: usize,
    pub batch: usize,
    pub shuffle: bool,
}

/// The key of one pass over one feed of a loop.
pub fn pass_key(loop_key: Key, feed: usize, pass: u64) -> Key {
    fold_index(fold_index(fold_path(loop_key, "order"), feed as i64), pass as i64)
}

/// The rows of every step of a loop over zipped feeds. Any step can be asked for, so a run resumes anywhere; the order
/// of the current pass is kept.
#[derive(Clone, Debug)]
pub struct Zip {
    key: Key,
    short: Short,
    feeds: Vec<FeedSize>,
    /// Of each feed: the pass whose order is kept, and the order.
    orders: Vec<Option<(u64, Vec<usize>)>>,
}

impl Zip {
    /// Fails where a feed has no batch to give.
    pub fn new(key: Key, feeds: Vec<FeedSize>, short: Short) -> Result<Zip, DataError> {
        for feed in &feeds {
            check(feed, short)?;
        }
        let orders = vec![None; feeds.len()];
        Ok(Zip { key, short, feeds, orders })
    }

    /// Steps of an epoch: batches of one pass over the first feed. Without a feed there is no epoch.
    pub fn steps_per_epoch(&self) -> Option<u64> {
        self.feeds.first().map(|feed| batches_per_pass(feed.count, feed.batch, self.short) as u64)
    }

    /// The positions in its split that each feed reads at `step`, which counts from 0 over all epochs.
    pub fn rows(&mut self, step: u64) -> Vec<&[usize]> {
        for (at, feed) in self.feeds.iter().enumerate() {
            let pass = step / batches_per_pass(feed.count, feed.batch, self.short).max(1) as u64;
            if self.orders[at].as_ref().is_none_or(|(kept, _)| *kept != pass) {
                let order = epoch_order(pass_key(self.key, at, pass), feed.count, feed.shuffle);
                self.orders[at] = Some((pass, order));
            }
        }
        let rows = self.feeds.iter().zip(&self.orders).map(|(feed, order)| {
            let batches = batches_per_pass(feed.count, feed.batch, self.short).max(1) as u64;
            let range = batch_range(feed.count, feed.batch, (step % batches) as usize);
            order.as_ref().map_or(&[][..], |(_, order)| &order[range])
        });
        rows.collect()
    }
}

fn check(feed: &FeedSize, short: Short) -> Result<(), DataError> {
    if feed.batch == 0 || feed.count == 0 {
        let what = if feed.batch == 0 { "a batch of 0 records" } else { "a split without records" };
        return Err(DataError::new(Code::BatchTooLarge, format!("{what} cannot be trained on or evaluated")));
    }
    if feed.batch > feed.count && short == Short::Drop {
        return Err(DataError::new(
            Code::BatchTooLarge,
            format!("a batch of {} is larger than the data, {} records", count(feed.batch), count(feed.count)),
        )
        .help(format!("ask for batches of at most {}", feed.count)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(mut rows: Vec<usize>) -> Vec<usize> {
        rows.sort();
        rows
    }

    fn feed(count: usize, batch: usize) -> FeedSize {
        FeedSize { count, batch, shuffle: true }
    }

    #[test]
    fn every_record_comes_exactly_once_an_epoch() {
        for (count, batch) in [(1, 1), (10, 3), (10, 10), (7, 8), (1000, 64)] {
            let mut zip = Zip::new([1, 2], vec![feed(count, batch)], Short::Keep).unwrap();
            let steps = zip.steps_per_epoch().unwrap();
            for epoch in 0..3 {
                let rows = (0..steps).flat_map(|step| zip.rows(epoch * steps + step)[0].to_vec()).collect();
                assert_eq!(sorted(rows), (0..count).collect::<Vec<_>>(), "{count} by {batch}");
            }
        }
    }

    #[test]
    fn the_order_does_not_depend_on_the_batch_size() {
        let epoch = |batch| {
            let mut zip = Zip::new([3, 4], vec![feed(60, batch)], Short::Keep).unwrap();
            let steps = zip.steps_per_epoch().unwrap();
            (steps..2 * steps).flat_map(|step| zip.rows(step)[0].to_vec()).collect::<Vec<_>>()
        };
        assert_eq!(epoch(60), epoch(1));
        assert_eq!(epoch(60), epoch(7));
        assert_eq!(epoch(60), epoch_order(pass_key([3, 4], 0, 1), 60, true));
    }

    #[test]
    fn equal_keys_give_equal_orders_and_others_do_not() {
        assert_eq!(epoch_order([1, 1], 50, true), epoch_order([1, 1], 50, true));
        assert_ne!(epoch_order([1, 1], 50, true), epoch_order([1, 2], 50, true));
        assert_ne!(pass_key([1, 1], 0, 0), pass_key([1, 1], 0, 1));
        assert_eq!(epoch_order([1, 1], 5, false), [0, 1, 2, 3, 4]);
        // Pinned: a change of it changes every run that anybody has made.
        assert_eq!(permutation([0, 0], 8), [7, 1, 3, 2, 6, 0, 5, 4]);
    }

    #[test]
    fn all_orders_are_about_equally_likely() {
        let mut seen = std::collections::HashMap::new();
        for pass in 0..6000 {
            *seen.entry(permutation(pass_key([9, 9], 0, pass), 3)).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 6);
        assert!(seen.values().all(|times| (900..1100).contains(times)), "{seen:?}");
    }

    #[test]
    fn a_short_batch_is_dropped_or_kept() {
        let order = epoch_order([0, 0], 10, false);
        let lengths = |short| batches(&order, 4, short).map(<[usize]>::len).collect::<Vec<_>>();
        assert_eq!(lengths(Short::Drop), [4, 4]);
        assert_eq!(lengths(Short::Keep), [4, 4, 2]);
        let mut zip = Zip::new([0, 0], vec![feed(10, 4)], Short::Drop).unwrap();
        assert_eq!(zip.steps_per_epoch(), Some(2));
        assert!((0..20).all(|step| zip.rows(step)[0].len() == 4));
    }

    #[test]
    fn other_feeds_repeat_and_are_shuffled_again() {
        let mut zip = Zip::new([5, 5], vec![feed(100, 10), feed(20, 5)], Short::Drop).unwrap();
        assert_eq!(zip.steps_per_epoch(), Some(10));
        let mut pass = |start: u64| (start..start + 4).flat_map(|step| zip.rows(step)[1].to_vec()).collect::<Vec<_>>();
        let (first, second) = (pass(0), pass(4));
        assert_ne!(first, second);
        assert_eq!(sorted(first), (0..20).collect::<Vec<_>>());
        assert_eq!(sorted(second), (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn the_same_source_twice_is_drawn_independently() {
        let mut zip = Zip::new([5, 5], vec![feed(100, 10), feed(100, 10)], Short::Drop).unwrap();
        for step in 0..10 {
            let rows = zip.rows(step);
            assert_ne!(rows[0], rows[1]);
        }
    }

    #[test]
    fn steps_can_be_asked_for_in_any_order() {
        let mut zip = Zip::new([5, 6], vec![feed(30, 4), feed(9, 3)], Short::Keep).unwrap();
        let steps: Vec<Vec<Vec<usize>>> =
            (0..40).map(|step| zip.rows(step).into_iter().map(<[usize]>::to_vec).collect()).collect();
        for step in [39, 0, 17, 8, 16] {
            assert_eq!(zip.rows(step), steps[step as usize], "step {step}");
        }
    }

    #[test]
    fn a_batch_larger_than_the_data_is_an_error() {
        let error = Zip::new([0, 0], vec![feed(10, 11)], Short::Drop).unwrap_err();
        assert_eq!(error.code, Code::BatchTooLarge);
        assert_eq!(error.headline, "a batch of 11 is larger than the data, 10 records");
        assert!(Zip::new([0, 0], vec![feed(10, 11)], Short::Keep).is_ok());
        assert!(Zip::new([0, 0], vec![feed(0, 1)], Short::Keep).is_err());
        assert!(Zip::new([0, 0], vec![feed(3, 0)], Short::Keep).is_err());
    }
}
