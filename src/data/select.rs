//! Splitting, taking, shuffling: another choice and order of the same records.

use super::{Column, DataError, Dataset, Opened, Schema};
use crate::diagnostics::Code;

/// A record of the data set below: number of its split, position in it.
pub type Place = (u32, usize);

/// New splits made of the records of the data set below, which keep their ids.
pub struct Selected {
    base: Opened,
    schema: Schema,
    splits: Vec<Vec<Place>>,
}

impl Selected {
    pub fn new(base: Opened, splits: Vec<(String, Vec<Place>)>) -> Selected {
        let counts = splits.iter().map(|(name, places)| (name.clone(), Some(places.len()))).collect();
        let schema = Schema { fields: base.schema().fields.clone(), splits: counts };
        Selected { base, schema, splits: splits.into_iter().map(|(_, places)| places).collect() }
    }

    fn places(&self, split: &str, rows: &[usize]) -> Result<Vec<Place>, DataError> {
        let places = &self.splits[self.schema.split_index(split)?];
        rows.iter()
            .map(|row| places.get(*row).copied())
            .collect::<Option<_>>()
            .ok_or_else(|| DataError::new(Code::IndexRange, format!("`{split}` has {} records", places.len())))
    }

    fn base_split(&self, at: u32) -> &str {
        &self.base.schema().splits[at as usize].0
    }
}

/// The places of each split of `base`, in order: where every selection starts.
pub fn all(base: &dyn Dataset) -> Result<Vec<(String, Vec<Place>)>, DataError> {
    let splits = base.schema().splits.iter().enumerate();
    splits
        .map(|(at, (name, count))| match count {
            Some(count) => Ok((name.clone(), (0..*count).map(|row| (at as u32, row)).collect())),
            None => Err(DataError::value(format!("`{name}` has no end")).help("take a number of records first")),
        })
        .collect()
}

/// One field of some records, whichever splits they are in.
pub fn read_places(base: &dyn Dataset, field: &str, places: &[Place]) -> Result<Column, DataError> {
    let split = |at: u32| base.schema().splits[at as usize].0.as_str();
    let Some((first, _)) = places.first() else {
        return Column::zeros(base.schema().field(field)?.dtype, 0);
    };
    if places.iter().all(|(at, _)| at == first) {
        let rows: Vec<usize> = places.iter().map(|(_, row)| *row).collect();
        return base.read(split(*first), field, &rows);
    }
    let mut ends = Vec::with_capacity(places.len());
    let mut end = 0;
    for (at, row) in places {
        end += base.sizes(split(*at), field, *row)?.iter().product::<usize>();
        ends.push(end);
    }
    let mut column = Column::zeros(base.schema().field(field)?.dtype, end)?;
    for at in 0..base.schema().splits.len() as u32 {
        let mine: Vec<usize> = (0..places.len()).filter(|position| places[*position].0 == at).collect();
        let rows: Vec<usize> = mine.iter().map(|position| places[*position].1).collect();
        let part = base.read(split(at), field, &rows)?;
        let mut from = 0;
        for position in mine {
            let start = if position == 0 { 0 } else { ends[position - 1] };
            column.put(start, &part, from, ends[position] - start)?;
            from += ends[position] - start;
        }
    }
    Ok(column)
}

impl Dataset for Selected {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn read(&self, split: &str, field: &str, rows: &[usize]) -> Result<Column, DataError> {
        read_places(&*self.base, field, &self.places(split, rows)?)
    }

    fn ids(&self, split: &str, rows: &[usize]) -> Vec<i64> {
        let places = self.places(split, rows).unwrap_or_default();
        places.iter().flat_map(|(at, row)| self.base.ids(self.base_split(*at), &[*row])).collect()
    }

    fn sizes(&self, split: &str, field: &str, row: usize) -> Result<Vec<usize>, DataError> {
        let (at, row) = self.places(split, &[row])?.first().copied().unwrap_or_default();
        self.base.sizes(self.base_split(at), field, row)
    }

    fn decodes(&self) -> bool {
        self.base.decodes()
    }
}
