//! Buffers of values: what a field of some records is.

use super::{Column, DataError, Field};
use crate::diagnostics::Code;
use crate::graph::DType;

macro_rules! each {
    ($column:expr, $values:ident => $body:expr) => {
        match $column {
            Column::U8($values) => $body,
            Column::I64($values) => $body,
            Column::F32($values) => $body,
            Column::F64($values) => $body,
        }
    };
}

impl Column {
    /// The elements in a shape of as many.
    pub fn tensor(self, shape: &[usize]) -> candle_core::Result<candle_core::Tensor> {
        let device = &candle_core::Device::Cpu;
        each!(self, values => candle_core::Tensor::from_vec(values, shape, device))
    }

    /// Zeros; none for element types that no source stores.
    pub(super) fn zeros(dtype: DType, count: usize) -> Result<Column, DataError> {
        match dtype {
            DType::U8 => Ok(Column::U8(vec![0; count])),
            DType::I64 => Ok(Column::I64(vec![0; count])),
            DType::F32 => Ok(Column::F32(vec![0.0; count])),
            DType::F64 => Ok(Column::F64(vec![0.0; count])),
            DType::U32 | DType::Bool => {
                Err(DataError::new(Code::Internal, format!("records cannot hold {}", dtype.name())))
            }
        }
    }

    pub fn dtype(&self) -> DType {
        match self {
            Column::U8(_) => DType::U8,
            Column::I64(_) => DType::I64,
            Column::F32(_) => DType::F32,
            Column::F64(_) => DType::F64,
        }
    }

    pub fn len(&self) -> usize {
        each!(self, values => values.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows of `width` elements; a row that is not there is a fault of the caller.
    pub(super) fn gather(&self, width: usize, rows: &[usize]) -> Result<Column, DataError> {
        fn pick<T: Copy>(values: &[T], width: usize, rows: &[usize]) -> Option<Vec<T>> {
            let mut out = Vec::with_capacity(rows.len() * width);
            for row in rows {
                let start = row.checked_mul(width)?;
                out.extend_from_slice(values.get(start..start.checked_add(width)?)?);
            }
            Some(out)
        }
        let picked = match self {
            Column::U8(values) => pick(values, width, rows).map(Column::U8),
            Column::I64(values) => pick(values, width, rows).map(Column::I64),
            Column::F32(values) => pick(values, width, rows).map(Column::F32),
            Column::F64(values) => pick(values, width, rows).map(Column::F64),
        };
        picked.ok_or_else(no_such_row)
    }

    /// Writes `count` elements of `from`, beginning at `start`, to `at`.
    pub(super) fn put(&mut self, at: usize, from: &Column, start: usize, count: usize) -> Result<(), DataError> {
        fn copy<T: Copy>(to: &mut [T], at: usize, from: &[T], start: usize, count: usize) -> Option<()> {
            to.get_mut(at..at + count)?.copy_from_slice(from.get(start..start + count)?);
            Some(())
        }
        let done = match (self, from) {
            (Column::U8(to), Column::U8(from)) => copy(to, at, from, start, count),
            (Column::I64(to), Column::I64(from)) => copy(to, at, from, start, count),
            (Column::F32(to), Column::F32(from)) => copy(to, at, from, start, count),
            (Column::F64(to), Column::F64(from)) => copy(to, at, from, start, count),
            _ => None,
        };
        done.ok_or_else(no_such_row)
    }
}

fn no_such_row() -> DataError {
    DataError::new(Code::IndexRange, "a record beyond the end of the split was asked for")
}

impl Field {
    /// Elements of one record; none where records differ.
    pub fn width(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |product, size| product.checked_mul((*size)?))
    }

    /// The sizes, where all records have the same.
    pub fn fixed(&self) -> Option<Vec<usize>> {
        self.shape.iter().copied().collect()
    }

    /// Class labels below `limit`.
    pub(super) fn label(limit: usize, classes: Vec<String>) -> Field {
        Field { name: "label".into(), dtype: DType::I64, shape: vec![], limit: Some(limit), classes }
    }

    pub(super) fn values(name: impl Into<String>, dtype: DType, shape: impl IntoIterator<Item = usize>) -> Field {
        Field {
            name: name.into(),
            dtype,
            shape: shape.into_iter().map(Some).collect(),
            limit: None,
            classes: Vec::new(),
        }
    }
}

impl super::Schema {
    pub fn field(&self, name: &str) -> Result<&Field, DataError> {
        self.fields.iter().find(|field| field.name == name).ok_or_else(|| DataError::no_field(self, name))
    }

    /// Records of a split; an endless one has no count.
    pub fn count(&self, split: &str) -> Result<Option<usize>, DataError> {
        self.splits
            .iter()
            .find(|(name, _)| name == split)
            .map(|(_, count)| *count)
            .ok_or_else(|| DataError::no_split(self, split))
    }

    pub(super) fn split_index(&self, split: &str) -> Result<usize, DataError> {
        self.splits.iter().position(|(name, _)| name == split).ok_or_else(|| DataError::no_split(self, split))
    }

    pub(super) fn field_index(&self, name: &str) -> Result<usize, DataError> {
        self.fields.iter().position(|field| field.name == name).ok_or_else(|| DataError::no_field(self, name))
    }
}
