//! Data sets that fit in memory: one buffer for each field and split.

use std::sync::OnceLock;

use super::{Column, DataError, Dataset, Schema};
use crate::diagnostics::Code;

/// Makes the buffers of one field, one for each split.
type Load = dyn Fn(usize) -> Result<Vec<Column>, DataError> + Send + Sync;

pub struct Stored {
    schema: Schema,
    /// Where the ids of each split begin.
    starts: Vec<usize>,
    /// One for each field, filled when first read: a check of a program reads no pictures.
    buffers: Vec<OnceLock<Result<Vec<Column>, DataError>>>,
    load: Box<Load>,
}

impl Stored {
    /// `buffers[field][split]`, already there.
    pub fn new(schema: Schema, buffers: Vec<Vec<Column>>) -> Result<Stored, DataError> {
        let absent = |_| Err(DataError::new(Code::Internal, "a field of the data has no buffer"));
        let stored = Stored::later(schema, absent);
        for (field, (cell, columns)) in stored.buffers.iter().zip(buffers).enumerate() {
            stored.check(field, &columns)?;
            let _ = cell.set(Ok(columns));
        }
        Ok(stored)
    }

    /// Buffers that `load` makes when they are first read.
    pub fn later(
        schema: Schema,
        load: impl Fn(usize) -> Result<Vec<Column>, DataError> + Send + Sync + 'static,
    ) -> Stored {
        let counts = schema.splits.iter().map(|(_, count)| count.unwrap_or(0));
        let starts = counts.scan(0, |end, count| Some(std::mem::replace(end, *end + count))).collect();
        let buffers = schema.fields.iter().map(|_| OnceLock::new()).collect();
        Stored { schema, starts, buffers, load: Box::new(load) }
    }

    fn buffer(&self, field: usize, split: usize) -> Result<&Column, DataError> {
        let loaded = self.buffers[field].get_or_init(|| {
            let columns = (self.load)(field)?;
            self.check(field, &columns)?;
            Ok(columns)
        });
        match loaded {
            Ok(columns) => Ok(&columns[split]),
            Err(error) => Err(error.clone()),
        }
    }

    /// Buffers agree with the schema, so that reading cannot go astray.
    fn check(&self, field: usize, columns: &[Column]) -> Result<(), DataError> {
        let field = &self.schema.fields[field];
        let agrees = columns.len() == self.schema.splits.len()
            && columns.iter().zip(&self.schema.splits).all(|(column, (_, count))| {
                let elements = field.width().and_then(|width| width.checked_mul(count.unwrap_or(0)));
                column.dtype() == field.dtype && Some(column.len()) == elements
            });
        if agrees {
            return Ok(());
        }
        Err(DataError::new(Code::Internal, format!("the buffers of `{}` do not agree with the schema", field.name)))
    }
}

impl Dataset for Stored {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn read(&self, split: &str, field: &str, rows: &[usize]) -> Result<Column, DataError> {
        let (split, field) = (self.schema.split_index(split)?, self.schema.field_index(field)?);
        let width = self.schema.fields[field].width().unwrap_or(0);
        self.buffer(field, split)?.gather(width, rows)
    }

    fn ids(&self, split: &str, rows: &[usize]) -> Vec<i64> {
        let start = self.schema.split_index(split).map_or(0, |at| self.starts[at]);
        rows.iter().map(|row| (start + row) as i64).collect()
    }

    fn sizes(&self, _split: &str, field: &str, _row: usize) -> Result<Vec<usize>, DataError> {
        Ok(self.schema.field(field)?.fixed().unwrap_or_default())
    }
}
