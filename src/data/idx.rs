//! IDX files: four bytes that say element type and rank, a big-endian size for each axis, then the elements.

use std::path::Path;
use std::sync::Arc;

use super::fault::count;
use super::file::{array, locate, read};
use super::options::{needed, text};
use super::pictures::Wanted;
use super::stored::Stored;
use super::{Column, DataError, Field, Opened, Options, Schema};
use crate::diagnostics::Code;

pub struct Idx {
    pub shape: Vec<usize>,
    pub values: Column,
}

/// Takes a file's bytes apart; `path` is for the messages.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Idx, DataError> {
    let [0, 0, kind, rank] = array(bytes, 0).ok_or_else(|| short(path, 4, bytes.len()))? else {
        return Err(DataError::corrupt(path, "is no IDX file: it must begin with two zero bytes")
            .help("IDX files are those of MNIST, `…-idx3-ubyte` and `…-idx1-ubyte`"));
    };
    let width = match kind {
        0x08 | 0x09 => 1,
        0x0b => 2,
        0x0c | 0x0d => 4,
        0x0e => 8,
        _ => return Err(DataError::corrupt(path, format_args!("has the element type {kind:#04x}, which IDX has not"))),
    };
    let mut shape = Vec::new();
    for axis in 0..rank as usize {
        let header = 4 + 4 * rank as usize;
        let size = array(bytes, 4 + 4 * axis).ok_or_else(|| short(path, header, bytes.len()))?;
        shape.push(u32::from_be_bytes(size) as usize);
    }
    let body = &bytes[4 + 4 * shape.len()..];
    let expected = shape.iter().try_fold(width, |product: usize, size| product.checked_mul(*size));
    if expected != Some(body.len()) {
        let expected = expected.map_or("more bytes than memory".into(), |bytes| format!("{} bytes", count(bytes)));
        return Err(DataError::corrupt(
            path,
            format_args!("is cut or too long: {shape:?} elements need {expected}, it holds {}", count(body.len())),
        )
        .help("fetch it again"));
    }
    Ok(Idx { shape, values: elements(kind, body) })
}

fn short(path: &Path, expected: usize, found: usize) -> DataError {
    DataError::corrupt(path, format_args!("is cut: its header needs {expected} bytes, it holds {found}"))
        .help("fetch it again")
}

fn elements(kind: u8, body: &[u8]) -> Column {
    let (pairs, quads) = (body.as_chunks::<2>().0, body.as_chunks::<4>().0);
    match kind {
        0x09 => Column::I64(body.iter().map(|byte| *byte as i8 as i64).collect()),
        0x0b => Column::I64(pairs.iter().map(|b| i16::from_be_bytes(*b) as i64).collect()),
        0x0c => Column::I64(quads.iter().map(|b| i32::from_be_bytes(*b) as i64).collect()),
        0x0d => Column::F32(quads.iter().map(|b| f32::from_be_bytes(*b)).collect()),
        0x0e => Column::F64(body.as_chunks::<8>().0.iter().map(|b| f64::from_be_bytes(*b)).collect()),
        _ => Column::U8(body.to_vec()),
    }
}

/// Labels as numbers, one a record.
pub fn labels(path: &Path, idx: Idx) -> Result<Vec<i64>, DataError> {
    if idx.shape.len() != 1 {
        return Err(DataError::wrong_size(path, format_args!("holds {:?}, labels are one a record", idx.shape)));
    }
    let values = match idx.values {
        Column::U8(values) => values.into_iter().map(i64::from).collect(),
        Column::I64(values) => values,
        Column::F32(_) | Column::F64(_) => {
            return Err(DataError::corrupt(path, "holds floats, labels are whole numbers"));
        }
    };
    match values.iter().position(|label| *label < 0) {
        Some(at) => Err(DataError::corrupt(path, format_args!("has the label {} at record {at}", values[at]))),
        None => Ok(values),
    }
}

/// `idx("images", "labels", test_images: …)`.
pub fn open(options: &Options, folder: &Path) -> Result<Opened, DataError> {
    let wanted = Wanted::read(options)?;
    let mut parts = vec![Part::read(folder, "train", needed(options, "images")?, text(options, "labels"), wanted)?];
    match (text(options, "test_images"), text(options, "test_labels")) {
        (Some(images), labels) => parts.push(Part::read(folder, "test", images, labels, wanted)?),
        (None, Some(_)) => return Err(DataError::value("`test_labels` is given without `test_images`")),
        (None, None) => {}
    }
    let first = &parts[0];
    for part in &parts[1..] {
        if part.field != first.field {
            return Err(DataError::wrong_size(
                &locate(folder, text(options, "test_images").unwrap_or_default()),
                format_args!("holds records of {:?}, those to train on are {:?}", part.field.shape, first.field.shape),
            ));
        }
        if part.labels.is_some() != first.labels.is_some() {
            return Err(DataError::value("one split has labels, the other has none")
                .help("give both `labels` and `test_labels`, or neither"));
        }
    }
    dataset(parts).map(|stored| Arc::new(stored) as Opened)
}

/// One split.
struct Part {
    name: &'static str,
    count: usize,
    field: Field,
    values: Column,
    labels: Option<Vec<i64>>,
}

impl Part {
    fn read(
        folder: &Path,
        name: &'static str,
        images: &str,
        labels: Option<&str>,
        wanted: Wanted,
    ) -> Result<Part, DataError> {
        let path = locate(folder, images);
        let idx = parse(&path, &read(&path)?)?;
        let (count_of, field, values) = records(&path, idx, wanted)?;
        let labels = labels.map(|labels| {
            let path = locate(folder, labels);
            let labels = self::labels(&path, parse(&path, &read(&path)?)?)?;
            if labels.len() != count_of {
                let (labels, records) = (count(labels.len()), count(count_of));
                return Err(DataError::wrong_size(
                    &path,
                    format_args!("holds {labels} labels, `{images}` holds {records} records"),
                )
                .help("name the two files that belong together"));
            }
            Ok(labels)
        });
        Ok(Part { name, count: count_of, field, values, labels: labels.transpose()? })
    }
}

/// Count, field and values of the records of a file.
fn records(path: &Path, idx: Idx, wanted: Wanted) -> Result<(usize, Field, Column), DataError> {
    let shape = idx.shape;
    if shape.len() < 2 || shape.len() > 4 || shape.contains(&0) {
        return Err(DataError::wrong_size(
            path,
            format_args!("holds {shape:?}, pictures are [records, height, width]"),
        ));
    }
    let stored = (shape.len() > 2).then(|| (shape[shape.len() - 2], shape[shape.len() - 1]));
    match (idx.values, stored) {
        (Column::U8(bytes), Some(stored)) => {
            let channels = if shape.len() == 4 { shape[1] } else { 1 };
            let field = wanted.field([channels, stored.0, stored.1]);
            Ok((shape[0], field, wanted.deliver(bytes, stored, 255.0)))
        }
        (values, _) if wanted.size.is_none() && !wanted.raw => {
            Ok((shape[0], Field::values("x", values.dtype(), shape[1..].iter().copied()), values))
        }
        _ => Err(DataError::new(Code::BadValue, "`size` and `raw` are for pictures of bytes")
            .help(format!("leave them out: `{}` holds {shape:?}", path.display()))),
    }
}

fn dataset(parts: Vec<Part>) -> Result<Stored, DataError> {
    let mut fields = vec![parts[0].field.clone()];
    let top = parts.iter().flat_map(|part| part.labels.iter().flatten()).max().copied();
    if let Some(top) = top {
        fields.push(Field::label(top as usize + 1, Vec::new()));
    }
    let splits = parts.iter().map(|part| (part.name.to_string(), Some(part.count))).collect();
    let (mut values, mut labels) = (Vec::new(), Vec::new());
    for part in parts {
        values.push(part.values);
        labels.extend(part.labels.map(Column::I64));
    }
    let buffers = if top.is_some() { vec![values, labels] } else { vec![values] };
    Stored::new(Schema { fields, splits }, buffers)
}
