//! `x -> (x - mean) / std`, element by element, with the statistics of one split.

use std::sync::Arc;

use crate::data::options::text;
use crate::data::{Column, DataError, Dataset, Field, Opened, Options, Schema};

/// Records read at a time while fitting.
const BLOCK: usize = 4096;

struct Standardized {
    base: Opened,
    /// By field.
    fitted: Vec<(String, Vec<Scale>)>,
}

/// Of one element.
#[derive(Clone, Copy)]
struct Scale {
    mean: f64,
    deviation: f64,
}

pub fn run(base: Opened, options: &Options) -> Result<Opened, DataError> {
    let split = text(options, "fit").unwrap_or("train");
    let is_vector = |field: &Field| field.dtype.is_float() && field.shape.len() == 1 && field.width().is_some();
    let fields: Vec<&Field> = match text(options, "field") {
        Some(name) => vec![base.schema().field(name)?],
        None => base.schema().fields.iter().filter(|field| is_vector(field)).collect(),
    };
    if fields.is_empty() || !fields.iter().all(|field| is_vector(field)) {
        return Err(
            DataError::value("`standardize` is for vectors of floats").help("use `normalize` in a view for pictures")
        );
    }
    let mut fitted = Vec::new();
    for field in fields {
        fitted.push((field.name.clone(), fit(&*base, split, field)?));
    }
    Ok(Arc::new(Standardized { base, fitted }))
}

/// Two passes in f64: means first, then squared distances from them.
fn fit(base: &dyn Dataset, split: &str, field: &Field) -> Result<Vec<Scale>, DataError> {
    let records = base.schema().count(split)?.filter(|count| *count > 0);
    let records = records.ok_or_else(|| DataError::value(format!("`{split}` has no records to fit on")))?;
    let width = field.width().unwrap_or(0);
    let sum = |term: &dyn Fn(usize, f64) -> f64| -> Result<Vec<f64>, DataError> {
        let mut sums = vec![0f64; width];
        for start in (0..records).step_by(BLOCK) {
            let rows: Vec<usize> = (start..records.min(start + BLOCK)).collect();
            let values = floats(base.read(split, &field.name, &rows)?);
            for (at, value) in values.into_iter().enumerate() {
                sums[at % width] += term(at % width, value);
            }
        }
        Ok(sums)
    };
    let means: Vec<f64> = sum(&|_, value| value)?.into_iter().map(|sum| sum / records as f64).collect();
    let squares = sum(&|at, value| (value - means[at]).powi(2))?;
    let deviations = squares.into_iter().map(|sum| (sum / records as f64).sqrt());
    // An element that never changes is shifted only.
    let deviations = deviations.map(|deviation| if deviation > 1e-12 { deviation } else { 1.0 });
    Ok(means.iter().zip(deviations).map(|(mean, deviation)| Scale { mean: *mean, deviation }).collect())
}

fn floats(column: Column) -> Vec<f64> {
    match column {
        Column::F32(values) => values.into_iter().map(f64::from).collect(),
        Column::F64(values) => values,
        Column::U8(values) => values.into_iter().map(f64::from).collect(),
        Column::I64(values) => values.into_iter().map(|value| value as f64).collect(),
    }
}

impl Dataset for Standardized {
    fn schema(&self) -> &Schema {
        self.base.schema()
    }

    fn read(&self, split: &str, field: &str, rows: &[usize]) -> Result<Column, DataError> {
        let column = self.base.read(split, field, rows)?;
        let Some((_, scales)) = self.fitted.iter().find(|(name, _)| name == field) else { return Ok(column) };
        let scaled = |(at, value): (usize, f64)| {
            let scale = scales[at % scales.len()];
            (value - scale.mean) / scale.deviation
        };
        Ok(match column {
            Column::F64(values) => Column::F64(values.into_iter().enumerate().map(scaled).collect()),
            other => Column::F32(floats(other).into_iter().enumerate().map(|pair| scaled(pair) as f32).collect()),
        })
    }

    fn ids(&self, split: &str, rows: &[usize]) -> Vec<i64> {
        self.base.ids(split, rows)
    }

    fn sizes(&self, split: &str, field: &str, row: usize) -> Result<Vec<usize>, DataError> {
        self.base.sizes(split, field, row)
    }

    fn decodes(&self) -> bool {
        self.base.decodes()
    }
}
