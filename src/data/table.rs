//! Tables of text: CSV files with a header line.

use std::path::Path;
use std::sync::Arc;

use super::fault::{count, suggestion};
use super::file::{locate, read};
use super::options::{needed, text};
use super::stored::Stored;
use super::{Column, DataError, Field, Opened, Options, Schema, Setting};
use crate::graph::DType;

/// Cells that say that there is no value.
const MISSING: [&str; 7] = ["", "NA", "N/A", "NaN", "nan", "null", "?"];

/// The cells of the columns that are used, by column; rows with line numbers of the file.
struct Cells<'a> {
    path: &'a Path,
    names: Vec<String>,
    columns: Vec<Vec<String>>,
    lines: Vec<u64>,
}

/// What a column becomes.
enum Values {
    Numbers(Vec<f64>),
    Classes { names: Vec<String>, values: Vec<i64> },
}

pub fn open(options: &Options, folder: &Path) -> Result<Opened, DataError> {
    let path = locate(folder, needed(options, "file")?);
    let mut cells = Cells::read(&path, options)?;
    let special = |name: &str| -> Result<Option<usize>, DataError> {
        text(options, name).map(|written| cells.column(written)).transpose()
    };
    let (label, target) = (special("label")?, special("target")?);
    let mut used = cells.chosen(options)?;
    used.retain(|at| Some(*at) != label && Some(*at) != target);
    let read: Vec<usize> = used.iter().copied().chain(label).chain(target).collect();
    if read.is_empty() {
        return Err(DataError::missing(&path, "has no column that is used").help("name some in `columns:`"));
    }
    cells.settle_missing(&read, text(options, "missing").unwrap_or("error"))?;

    let records = cells.lines.len();
    let (mut fields, mut buffers, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
    for at in used {
        match cells.values(at)? {
            Values::Numbers(values) => numbers.push(values),
            Values::Classes { names, values } => {
                let field = Field { name: cells.field_name(at, &fields), ..Field::label(names.len(), names) };
                fields.push(field);
                buffers.push(Column::I64(values));
            }
        }
    }
    if !numbers.is_empty() {
        fields.insert(0, Field::values("x", DType::F32, [numbers.len()]));
        let rows = (0..records).flat_map(|row| numbers.iter().map(move |column| column[row] as f32));
        buffers.insert(0, Column::F32(rows.collect()));
    }
    if let Some(at) = label {
        let (names, values) = cells.classes(at);
        fields.push(Field::label(names.len(), names));
        buffers.push(Column::I64(values));
    }
    if let Some(at) = target {
        let Values::Numbers(values) = cells.values(at)? else {
            return Err(DataError::value(format!("`{}` holds text, a target is a number", cells.names[at]))
                .help("name a column of classes with `label:`"));
        };
        fields.push(Field::values("target", DType::F32, []));
        buffers.push(Column::F32(values.into_iter().map(|value| value as f32).collect()));
    }
    let schema = Schema { fields, splits: vec![("train".into(), Some(records))] };
    Ok(Arc::new(Stored::new(schema, buffers.into_iter().map(|column| vec![column]).collect())?))
}

impl<'a> Cells<'a> {
    fn read(path: &'a Path, options: &Options) -> Result<Cells<'a>, DataError> {
        let bytes = read(path)?;
        let separator = match text(options, "separator").unwrap_or(",").as_bytes() {
            [byte] => *byte,
            _ => return Err(DataError::value("`separator` must be one character")),
        };
        let mut reader = csv::ReaderBuilder::new().delimiter(separator).from_reader(bytes.as_slice());
        let fault = |error: csv::Error| match error.kind() {
            csv::ErrorKind::UnequalLengths { pos, expected_len, len } => DataError::wrong_size(
                path,
                format_args!(
                    "has {len} cells in line {}, its header has {expected_len}",
                    pos.as_ref().map_or(0, |pos| pos.line())
                ),
            )
            .help("add or remove cells, or quote those that contain the separator"),
            csv::ErrorKind::Utf8 { pos, .. } => DataError::corrupt(
                path,
                format_args!("is not text in UTF-8 in line {}", pos.as_ref().map_or(0, |pos| pos.line())),
            )
            .help("convert it to UTF-8"),
            _ => DataError::corrupt(path, format_args!("cannot be read as a table: {error}")),
        };
        let header = reader.headers().map_err(fault)?;
        let names: Vec<String> =
            header.iter().map(|name| name.trim().trim_start_matches('\u{feff}').to_string()).collect();
        let mut cells = Cells { path, columns: vec![Vec::new(); names.len()], names, lines: Vec::new() };
        for record in reader.records() {
            let record = record.map_err(fault)?;
            cells.lines.push(record.position().map_or(0, |position| position.line()));
            for (column, cell) in cells.columns.iter_mut().zip(record.iter()) {
                column.push(cell.trim().to_string());
            }
        }
        if cells.lines.is_empty() {
            return Err(DataError::missing(path, "has a header line and no records").help("add a line for each record"));
        }
        Ok(cells)
    }

    fn column(&self, written: &str) -> Result<usize, DataError> {
        self.names.iter().position(|name| name == written).ok_or_else(|| {
            let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
            DataError::wrong_size(self.path, format_args!("has no column `{written}`"))
                .help(suggestion(written, &names))
        })
    }

    /// The columns in `columns:`, else all.
    fn chosen(&self, options: &Options) -> Result<Vec<usize>, DataError> {
        let Some(Setting::List(names)) = options.get("columns") else {
            return Ok((0..self.names.len()).collect());
        };
        let name = |setting: &Setting| match setting {
            Setting::Text(name) | Setting::Field(name) => self.column(name),
            _ => Err(DataError::value("`columns` must be a list of names")),
        };
        names.iter().map(name).collect()
    }

    /// Records with empty cells: an error, or left out.
    fn settle_missing(&mut self, read: &[usize], how: &str) -> Result<(), DataError> {
        let empty = |row: usize| read.iter().copied().find(|at| MISSING.contains(&self.columns[*at][row].as_str()));
        let keep: Vec<bool> = match how {
            "skip" => (0..self.lines.len()).map(|row| empty(row).is_none()).collect(),
            "error" => {
                let found = (0..self.lines.len()).find_map(|row| Some((row, empty(row)?)));
                let Some((row, at)) = found else { return Ok(()) };
                let missing = (0..self.lines.len()).filter(|row| empty(*row).is_some()).count();
                return Err(self
                    .bad_cell(row, at, "is empty")
                    .help(format!("`missing: \"skip\"` leaves out the {} records with empty cells", count(missing))));
            }
            other => {
                return Err(DataError::value(format!("`missing` is \"{other}\", it must be \"error\" or \"skip\"")));
            }
        };
        if !keep.contains(&true) {
            return Err(DataError::missing(self.path, "has empty cells in every record")
                .help("name columns without gaps in `columns:`"));
        }
        let kept = |row: &mut usize| std::mem::replace(row, *row + 1);
        let mut row = 0;
        self.lines.retain(|_| keep[kept(&mut row)]);
        for column in &mut self.columns {
            let mut row = 0;
            column.retain(|_| keep[kept(&mut row)]);
        }
        Ok(())
    }

    /// Where a cell is and what is wrong with it.
    fn bad_cell(&self, row: usize, at: usize, what: &str) -> DataError {
        let (line, name) = (self.lines[row], &self.names[at]);
        DataError::corrupt(self.path, format_args!("{what} in line {line}, column `{name}`"))
    }

    /// Numbers where most cells are numbers: the others are then faults, not a reason to read a column as text.
    fn values(&self, at: usize) -> Result<Values, DataError> {
        let parsed: Vec<Option<f64>> =
            self.columns[at].iter().map(|cell| cell.parse().ok().filter(|value: &f64| value.is_finite())).collect();
        let numbers = parsed.iter().flatten().count();
        if numbers * 2 <= parsed.len() {
            let (names, values) = self.classes(at);
            return Ok(Values::Classes { names, values });
        }
        match parsed.iter().position(Option::is_none) {
            Some(row) => {
                let what = format!("has `{}` where a finite number is expected", self.columns[at][row]);
                Err(self.bad_cell(row, at, &what).help("correct the cell, or choose `columns:` without this one"))
            }
            None => Ok(Values::Numbers(parsed.into_iter().flatten().collect())),
        }
    }

    /// Distinct cells in order (of size where all are numbers), and the place of each cell among them.
    fn classes(&self, at: usize) -> (Vec<String>, Vec<i64>) {
        let mut names = self.columns[at].clone();
        names.sort();
        names.dedup();
        let sizes: Option<Vec<f64>> = names.iter().map(|name| name.parse().ok()).collect();
        if let Some(sizes) = sizes {
            let mut paired: Vec<(f64, String)> = sizes.into_iter().zip(names).collect();
            paired.sort_by(|a, b| a.0.total_cmp(&b.0));
            names = paired.into_iter().map(|(_, name)| name).collect();
        }
        let places: std::collections::HashMap<&str, i64> =
            names.iter().enumerate().map(|(place, name)| (name.as_str(), place as i64)).collect();
        let values = self.columns[at].iter().map(|cell| places[cell.as_str()]).collect();
        (names, values)
    }

    /// The column's name as the language can write it, unlike those before it.
    fn field_name(&self, at: usize, fields: &[Field]) -> String {
        let written = self.names[at].chars().map(|letter| if letter.is_alphanumeric() { letter } else { '_' });
        let mut name: String = written.collect();
        if name.is_empty() || name.starts_with(|letter: char| letter.is_ascii_digit()) {
            name.insert(0, '_');
        }
        while ["x", "label", "target"].contains(&name.as_str()) || fields.iter().any(|field| field.name == name) {
            name.push('_');
        }
        name
    }
}
