//! Batches of a loop: rows chosen by [`order`](super::order), read, stacked into tensors.
//!
//! Sources that decode files are read ahead on a thread of their own; what lies in memory is gathered when it is asked
//! for. Either way the batches are the same.

use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};

use super::order::{FeedSize, Short, Zip};
use super::{Column, DataError, Dataset, Opened};
use crate::diagnostics::Code;
use crate::kernels::philox::Key;

/// Batches read ahead: enough to hide one that takes long, few enough to be small beside a step.
const AHEAD: usize = 2;

/// One feed of a loop: which records, and which of their fields.
#[derive(Clone)]
pub struct FeedPlan {
    pub data: Opened,
    pub split: String,
    /// No other field is read.
    pub fields: Vec<String>,
    pub batch: usize,
    pub shuffle: bool,
}

#[derive(Clone, Debug)]
pub struct Batch {
    /// Counts from 0 over all epochs.
    pub step: u64,
    /// One for each feed of the loop.
    pub feeds: Vec<FeedBatch>,
}

#[derive(Clone, Debug)]
pub struct FeedBatch {
    pub rows: usize,
    /// In the order of the plan.
    pub fields: Vec<(String, FieldBatch)>,
    /// Stable through transforms: what views fold into their keys.
    pub ids: Vec<i64>,
    /// Positions in the split: what `index` means.
    pub index: Vec<i64>,
}

/// A field of the rows of a batch.
#[derive(Clone, Debug)]
pub enum FieldBatch {
    /// Rows are the leading axis.
    Stacked(Tensor),
    /// Records of several sizes: only a view can bring them together.
    Rows(Vec<Tensor>),
}

impl FeedBatch {
    pub fn field(&self, name: &str) -> Option<&FieldBatch> {
        self.fields.iter().find(|(have, _)| have == name).map(|(_, field)| field)
    }

    /// `int[B]`.
    pub fn ids(&self) -> Result<Tensor, DataError> {
        tensor(Column::I64(self.ids.clone()), &[self.rows])
    }

    /// `int[B]`.
    pub fn index(&self) -> Result<Tensor, DataError> {
        tensor(Column::I64(self.index.clone()), &[self.rows])
    }
}

impl FieldBatch {
    /// All rows as one tensor.
    pub fn stacked(&self, field: &str) -> Result<&Tensor, DataError> {
        match self {
            FieldBatch::Stacked(tensor) => Ok(tensor),
            FieldBatch::Rows(_) => {
                Err(DataError::new(Code::FileWrongSize, format!("records have `{field}` in several sizes"))
                    .help("crop or resize it in a view, or give the source a `size:`"))
            }
        }
    }
}

/// The batches of some steps, in order.
pub struct Loader {
    source: Source,
    steps_per_epoch: Option<u64>,
    waited: Duration,
}

enum Source {
    Direct { reader: Reader, steps: Range<u64> },
    Ahead { batches: Option<Receiver<Result<Batch, DataError>>>, thread: Option<JoinHandle<()>> },
}

struct Reader {
    feeds: Vec<FeedPlan>,
    zip: Zip,
}

impl Loader {
    /// Batches of `steps`; step 0 is the first of the first epoch. Fails where a split has too few records for a batch.
    pub fn new(key: Key, feeds: Vec<FeedPlan>, short: Short, steps: Range<u64>) -> Result<Loader, DataError> {
        let sizes = feeds.iter().map(size).collect::<Result<_, _>>()?;
        let zip = Zip::new(key, sizes, short)?;
        let steps_per_epoch = zip.steps_per_epoch();
        let decodes = feeds.iter().any(|feed| feed.data.decodes());
        let reader = Reader { feeds, zip };
        let source = if decodes { Source::ahead(reader, steps)? } else { Source::Direct { reader, steps } };
        Ok(Loader { source, steps_per_epoch, waited: Duration::ZERO })
    }

    /// Batches of one pass over the first feed; none without a feed.
    pub fn steps_per_epoch(&self) -> Option<u64> {
        self.steps_per_epoch
    }

    /// How long callers have waited for batches so far.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

impl Iterator for Loader {
    type Item = Result<Batch, DataError>;

    /// After an error there are no more batches.
    fn next(&mut self) -> Option<Result<Batch, DataError>> {
        let started = Instant::now();
        let batch = match &mut self.source {
            Source::Direct { reader, steps } => steps.next().map(|step| {
                let batch = reader.batch(step);
                if batch.is_err() {
                    *steps = steps.end..steps.end;
                }
                batch
            }),
            Source::Ahead { batches, thread } => match batches.as_ref().map(Receiver::recv) {
                Some(Ok(batch)) => Some(batch),
                // The channel is closed: all steps are read, or the thread has failed.
                _ => thread.take().and_then(|thread| thread.join().err()).map(|_| {
                    Err(DataError::new(Code::Internal, "reading the data failed for a reason that is not known"))
                }),
            },
        };
        self.waited += started.elapsed();
        batch
    }
}

impl Source {
    fn ahead(mut reader: Reader, steps: Range<u64>) -> Result<Source, DataError> {
        let (sender, batches): (SyncSender<Result<Batch, DataError>>, _) = sync_channel(AHEAD);
        let work = move || {
            for step in steps {
                let batch = reader.batch(step);
                let failed = batch.is_err();
                // Nobody listens any more when the loop has ended early.
                if sender.send(batch).is_err() || failed {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("reader".into()).spawn(work).map_err(|error| {
            DataError::new(Code::Internal, format!("a thread to read the data cannot be started: {error}"))
        })?;
        Ok(Source::Ahead { batches: Some(batches), thread: Some(thread) })
    }
}

impl Drop for Source {
    /// Closing the channel first lets the thread end at its next batch.
    fn drop(&mut self) {
        if let Source::Ahead { batches, thread } = self {
            batches.take();
            if let Some(thread) = thread.take() {
                let _ = thread.join();
            }
        }
    }
}

fn size(feed: &FeedPlan) -> Result<FeedSize, DataError> {
    let count = feed.data.schema().count(&feed.split)?;
    let count = count.ok_or_else(|| {
        DataError::value(format!("`{}` has no end", feed.split)).help("take a number of records first")
    })?;
    for field in &feed.fields {
        feed.data.schema().field(field)?;
    }
    Ok(FeedSize { count, batch: feed.batch, shuffle: feed.shuffle })
}

impl Reader {
    fn batch(&mut self, step: u64) -> Result<Batch, DataError> {
        let feeds = self.feeds.iter().zip(self.zip.rows(step)).map(|(feed, rows)| feed_batch(feed, rows));
        Ok(Batch { step, feeds: feeds.collect::<Result<_, _>>()? })
    }
}

fn feed_batch(feed: &FeedPlan, rows: &[usize]) -> Result<FeedBatch, DataError> {
    let mut fields = Vec::with_capacity(feed.fields.len());
    for name in &feed.fields {
        fields.push((name.clone(), field_batch(&*feed.data, &feed.split, name, rows)?));
    }
    Ok(FeedBatch {
        rows: rows.len(),
        fields,
        ids: feed.data.ids(&feed.split, rows),
        index: rows.iter().map(|row| *row as i64).collect(),
    })
}

/// One field of some records, stacked where they agree in size.
pub fn field_batch(data: &dyn Dataset, split: &str, field: &str, rows: &[usize]) -> Result<FieldBatch, DataError> {
    let column = data.read(split, field, rows)?;
    if let Some(sizes) = data.schema().field(field)?.fixed() {
        return Ok(FieldBatch::Stacked(tensor(column, &[&[rows.len()][..], &sizes].concat())?));
    }
    let (mut tensors, mut start) = (Vec::with_capacity(rows.len()), 0);
    for row in rows {
        let sizes = data.sizes(split, field, *row)?;
        let width = sizes.iter().product();
        let mut values = Column::zeros(column.dtype(), width)?;
        values.put(0, &column, start, width)?;
        tensors.push(tensor(values, &sizes)?);
        start += width;
    }
    Ok(FieldBatch::Rows(tensors))
}

/// A tensor on the CPU that owns the values.
pub fn tensor(column: Column, shape: &[usize]) -> Result<Tensor, DataError> {
    let tensor = match column {
        Column::U8(values) => Tensor::from_vec(values, shape, &Device::Cpu),
        Column::I64(values) => Tensor::from_vec(values, shape, &Device::Cpu),
        Column::F32(values) => Tensor::from_vec(values, shape, &Device::Cpu),
        Column::F64(values) => Tensor::from_vec(values, shape, &Device::Cpu),
    };
    tensor.map_err(|error| DataError::new(Code::Internal, format!("records do not make a tensor: {error}")))
}
