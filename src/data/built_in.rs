//! The sets compiled into the binary; `data/NOTICE.md` names their sources and licences.

use std::path::Path;
use std::sync::Arc;

use super::fault::count;
use super::file::unpack;
use super::options::positive;
use super::pictures::Wanted;
use super::stored::Stored;
use super::{Column, DataError, Field, Opened, Options, Schema};
use crate::data::idx;

/// Two splits of pictures and labels, as IDX files packed with gzip.
struct BuiltIn {
    name: &'static str,
    side: usize,
    white: f32,
    splits: [Split; 2],
}

struct Split {
    name: &'static str,
    count: usize,
    images: &'static [u8],
    labels: &'static [u8],
}

macro_rules! packed {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/data/", $name, "-ubyte.gz"))
    };
}

static MNIST: BuiltIn = BuiltIn {
    name: "mnist",
    side: 28,
    white: 255.0,
    splits: [
        Split {
            name: "train",
            count: 10_000,
            images: packed!("mnist/train-images-idx3"),
            labels: packed!("mnist/train-labels-idx1"),
        },
        Split {
            name: "test",
            count: 2_000,
            images: packed!("mnist/t10k-images-idx3"),
            labels: packed!("mnist/t10k-labels-idx1"),
        },
    ],
};

static DIGITS: BuiltIn = BuiltIn {
    name: "digits",
    side: 8,
    white: 16.0,
    splits: [
        Split {
            name: "train",
            count: 1_437,
            images: packed!("digits/train-images-idx3"),
            labels: packed!("digits/train-labels-idx1"),
        },
        Split {
            name: "test",
            count: 360,
            images: packed!("digits/test-images-idx3"),
            labels: packed!("digits/test-labels-idx1"),
        },
    ],
};

pub fn mnist(options: &Options, _: &Path) -> Result<Opened, DataError> {
    MNIST.open(options)
}

pub fn digits(options: &Options, _: &Path) -> Result<Opened, DataError> {
    DIGITS.open(options)
}

impl BuiltIn {
    /// The schema is known without unpacking anything.
    fn open(&'static self, options: &Options) -> Result<Opened, DataError> {
        let wanted = Wanted::read(options)?;
        let mut splits = Vec::new();
        for split in &self.splits {
            let taken = positive(options, split.name, split.count)
                .map_err(|error| error.help(format!("`{}` has {} records built in", self.name, count(split.count))))?;
            splits.push((split.name.to_string(), Some(taken.unwrap_or(split.count))));
        }
        let counts: Vec<usize> = splits.iter().map(|(_, count)| count.unwrap_or(0)).collect();
        let classes = (0..10).map(|digit: u8| digit.to_string()).collect();
        let fields = vec![wanted.field([1, self.side, self.side]), Field::label(10, classes)];
        let load = move |field: usize| {
            let splits = self.splits.iter().zip(&counts);
            splits.map(|(split, count)| self.column(split, *count, field, wanted)).collect()
        };
        Ok(Arc::new(Stored::later(Schema { fields, splits }, load)))
    }

    /// Field 0 is the picture, field 1 the label; the first `count` records of a split.
    fn column(&self, split: &Split, count: usize, field: usize, wanted: Wanted) -> Result<Column, DataError> {
        let path = Path::new(self.name);
        let packed = if field == 0 { split.images } else { split.labels };
        let idx = idx::parse(path, &unpack(path, packed)?)?;
        if field == 1 {
            let mut labels = idx::labels(path, idx)?;
            labels.truncate(count);
            return Ok(Column::I64(labels));
        }
        let Column::U8(mut bytes) = idx.values else {
            return Err(DataError::corrupt(path, "holds no bytes"));
        };
        bytes.truncate(count * self.side * self.side);
        Ok(wanted.deliver(bytes, (self.side, self.side), self.white))
    }
}
