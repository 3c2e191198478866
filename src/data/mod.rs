//! Files and generators to batches.
//!
//! In: a [`Spec`], which names a source of the table and the transforms after it. Out: a [`Dataset`] with a schema,
//! splits and records, and batches of it in a reproducible order. Never here: a graph, a net, a label reaching anything
//! that did not ask for it.

mod fault;
mod open;
pub mod options;
mod sources;
mod transforms;

mod column;
mod select;
mod stored;

mod built_in;
mod cifar;
mod file;
mod idx;
mod images;
mod npy;
mod pictures;
mod resize;
mod safetensors;
mod table;

pub mod loader;
pub mod order;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use crate::graph::DType;

pub use npy::parse as read_npy;
pub use open::open;
pub use options::{OptionError, read_options};
pub use sources::{SourceFn, source, sources};
pub use transforms::{TransformFn, transform, transforms};

/// A source and what is done to it, as written: everything the loader needs to open it.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// A row of the table of sources: `mnist`, `images`, `idx`, …
    pub source: String,
    pub options: Options,
    /// In order.
    pub transforms: Vec<Transform>,
    /// Where relative paths begin: the folder of the file in which the source is named.
    pub folder: PathBuf,
}

/// `.split(train: 0.8, seed: 1)`: a row of the table of transforms with its options.
#[derive(Clone, Debug, PartialEq)]
pub struct Transform {
    pub name: String,
    pub options: Options,
}

/// Options by name, positional ones already named by the table.
pub type Options = indexmap::IndexMap<String, Setting>;

#[derive(Clone, Debug, PartialEq)]
pub enum Setting {
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    /// A bare name in `by:`, `per:`, `stratified:`.
    Field(String),
    List(Vec<Setting>),
    Range(f64, f64),
}

/// What a data set holds: known before anything is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    pub fields: Vec<Field>,
    /// Name and number of records (none for an endless stream), in order.
    pub splits: Vec<(String, Option<usize>)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub name: String,
    pub dtype: DType,
    /// Of one record; none where records differ (pictures of several sizes): a view must crop or resize them.
    pub shape: Vec<Option<usize>>,
    /// Integers below this: class labels.
    pub limit: Option<usize>,
    /// Names of the classes, where the source has them.
    pub classes: Vec<String>,
}

/// What went wrong with data, in terms of files and records.
#[derive(Clone, Debug)]
pub struct DataError {
    pub code: crate::diagnostics::Code,
    pub headline: String,
    pub help: Option<String>,
}

/// One row of the table of sources or transforms: what can be written and how options are read.
pub struct Entry<F: 'static> {
    pub name: &'static str,
    pub doc: &'static str,
    pub params: &'static [Param],
    pub run: F,
}

pub struct Param {
    pub name: &'static str,
    pub kind: ParamKind,
    /// As written; none when it must be given.
    pub default: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    Int,
    Float,
    Bool,
    Text,
    Field,
    List,
    Range,
    /// An integer counts records, a float is a share.
    Amount,
    /// Any number of named amounts follow (`train: 0.8, test: 600`).
    Amounts,
    /// Any number of named files follow (`x: "x.npy", label: "y.npy"`).
    Files,
}

/// A data set that is open: schema and records.
pub type Opened = Arc<dyn Dataset>;

pub trait Dataset: Send + Sync {
    fn schema(&self) -> &Schema;

    /// The records `rows` (positions in the split) of one field, as one buffer, row after row.
    fn read(&self, split: &str, field: &str, rows: &[usize]) -> Result<Column, DataError>;

    /// The stable ids of records: unchanged by shuffling, taking and splitting.
    fn ids(&self, split: &str, rows: &[usize]) -> Vec<i64>;

    /// The sizes of one field of one record: those of the schema, and where the schema leaves one open, this record's.
    fn sizes(&self, split: &str, field: &str, row: usize) -> Result<Vec<usize>, DataError>;

    /// Reading works through files: worth doing ahead of the step, on a thread of its own.
    fn decodes(&self) -> bool {
        false
    }
}

/// Values of one field for some records, row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    U8(Vec<u8>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
}
