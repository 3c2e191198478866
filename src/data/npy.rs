//! NumPy's `.npy` files: a magic text, a version, a header that is a Python dictionary, then the elements.

use std::path::Path;
use std::sync::Arc;

use super::fault::{count, suggestion};
use super::file::{array, locate, read};
use super::options::others;
use super::safetensors::{Plain, plain};
use super::stored::Stored;
use super::{Column, DataError, Field, Opened, Options, Schema, Setting, source};

/// A tensor as stored in a file: first axis records.
pub struct Array {
    pub name: String,
    pub shape: Vec<usize>,
    pub values: Column,
}

pub fn open(options: &Options, folder: &Path) -> Result<Opened, DataError> {
    let params = source("npy").map_or(&[][..], |entry| entry.params);
    let mut arrays: Vec<Array> = Vec::new();
    for (name, setting) in others(options, params) {
        let Setting::Text(written) = setting else {
            return Err(DataError::value(format!("`{name}` must be the path of a file")));
        };
        let path = locate(folder, written);
        let (shape, values) = parse(&path, &read(&path)?)?;
        if shape.is_empty() {
            return Err(DataError::wrong_size(&path, "holds a single number, not records")
                .help("the first size of every field is the number of records"));
        }
        if let Some(first) = arrays.first()
            && first.shape.first() != shape.first()
        {
            let sizes = format!("`{}` is {:?}, `{name}` is {shape:?}", first.name, first.shape);
            return Err(DataError::wrong_size(&path, format_args!("has another number of records: {sizes}"))
                .help("the first size of every field is the number of records"));
        }
        arrays.push(Array { name: name.into(), shape, values });
    }
    let path = locate(folder, "");
    columns(&path, arrays)
}

/// Fields of equal length as one split, `train`.
pub fn columns(path: &Path, arrays: Vec<Array>) -> Result<Opened, DataError> {
    let Some(first) = arrays.first() else {
        return Err(DataError::missing(path, "has no fields").help("name at least one"));
    };
    let records = first.shape.first().copied();
    for array in &arrays {
        let same = array.shape.first().copied() == records;
        if !same || array.shape.is_empty() {
            return Err(DataError::wrong_size(
                path,
                format_args!(
                    "has fields of unequal length: `{}` is {:?}, `{}` is {:?}",
                    first.name, first.shape, array.name, array.shape
                ),
            )
            .help("the first size of every field is the number of records"));
        }
    }
    if records == Some(0) {
        return Err(DataError::missing(path, "holds no records").help("write at least one"));
    }
    let fields = arrays.iter().map(field).collect::<Result<_, _>>()?;
    let schema = Schema { fields, splits: vec![("train".into(), records)] };
    let buffers = arrays.into_iter().map(|array| vec![array.values]).collect();
    Ok(Arc::new(Stored::new(schema, buffers)?))
}

/// Whole numbers under the name `label` are classes.
fn field(array: &Array) -> Result<Field, DataError> {
    match &array.values {
        Column::I64(values) if array.name == "label" && array.shape.len() == 1 => {
            let (low, top) = values.iter().fold((0, 0), |(low, top), value| (low.min(*value), top.max(*value)));
            if low < 0 {
                return Err(DataError::value(format!("`label` holds {low}; labels count from 0"))
                    .help("give the field another name if it is no class"));
            }
            let limit = usize::try_from(top).ok().and_then(|top| top.checked_add(1));
            let limit = limit.ok_or_else(|| DataError::value(format!("`label` holds {top}")))?;
            Ok(Field::label(limit, Vec::new()))
        }
        values => Ok(Field::values(&array.name, values.dtype(), array.shape[1..].iter().copied())),
    }
}

/// Shape and elements of a file.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<(Vec<usize>, Column), DataError> {
    let cut = || DataError::corrupt(path, "is cut within its header").help("write it again with `numpy.save`");
    if !bytes.starts_with(b"\x93NUMPY") {
        return Err(DataError::corrupt(path, "is no .npy file: it must begin with `\\x93NUMPY`")
            .help("write it with `numpy.save`; a .npz is an archive of several"));
    }
    let version = *bytes.get(6).ok_or_else(cut)?;
    let (start, length): (usize, usize) = if version == 1 {
        (10, u16::from_le_bytes(array(bytes, 8).ok_or_else(cut)?) as usize)
    } else {
        (12, u32::from_le_bytes(array(bytes, 8).ok_or_else(cut)?) as usize)
    };
    let header = bytes.get(start..start.saturating_add(length)).ok_or_else(cut)?;
    let header = String::from_utf8_lossy(header);
    let entry = |key: &str| {
        entry(&header, key).ok_or_else(|| {
            DataError::corrupt(path, format_args!("has no `{key}` in its header"))
                .help("write it again with `numpy.save`")
        })
    };
    let descr = entry("descr")?.trim_matches(['\'', '"']).to_string();
    if entry("fortran_order")?.starts_with("True") {
        return Err(DataError::corrupt(path, "is stored by columns")
            .help("write it with `numpy.save(file, numpy.ascontiguousarray(x))`"));
    }
    let shape = shape(&entry("shape")?).ok_or_else(|| DataError::corrupt(path, "has no readable shape"))?;
    let kind = kind(path, &descr)?;
    let body = &bytes[start + length..];
    let expected = shape.iter().try_fold(kind.width(), |product: usize, size| product.checked_mul(*size));
    if expected != Some(body.len()) {
        let expected = expected.map_or("more bytes than memory".into(), |bytes| format!("{} bytes", count(bytes)));
        return Err(DataError::corrupt(
            path,
            format_args!("is cut or too long: {shape:?} elements need {expected}, it holds {}", count(body.len())),
        )
        .help("write it again with `numpy.save`"));
    }
    Ok((shape, plain(kind, body)))
}

/// The text after `'key':`, up to the comma outside brackets.
fn entry(header: &str, key: &str) -> Option<String> {
    let at = header.find(&format!("'{key}'")).or_else(|| header.find(&format!("\"{key}\"")))?;
    let rest = header.get(at + key.len() + 2..)?.trim_start().strip_prefix(':')?;
    let mut depth = 0;
    let value: String = rest
        .chars()
        .take_while(|letter| {
            depth += i32::from(*letter == '(') - i32::from(*letter == ')');
            depth > 0 || !matches!(letter, ',' | '}')
        })
        .collect();
    Some(value.trim().to_string())
}

fn shape(text: &str) -> Option<Vec<usize>> {
    let inner = text.strip_prefix('(')?.strip_suffix(')')?;
    inner.split(',').map(str::trim).filter(|size| !size.is_empty()).map(|size| size.parse().ok()).collect()
}

fn kind(path: &Path, descr: &str) -> Result<Plain, DataError> {
    let known = [
        ("<f2", Plain::F16),
        ("<f4", Plain::F32),
        ("<f8", Plain::F64),
        ("|i1", Plain::I8),
        ("<i2", Plain::I16),
        ("<i4", Plain::I32),
        ("<i8", Plain::I64),
        ("|u1", Plain::U8),
        ("<u2", Plain::U16),
        ("<u4", Plain::U32),
        ("|b1", Plain::U8),
    ];
    known.iter().find(|(name, _)| *name == descr).map(|(_, kind)| *kind).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        DataError::corrupt(path, format_args!("has elements of the kind `{descr}`, which is not read"))
            .help(format!("write it with `.astype(\"float32\")`; {}", suggestion("", &names)))
    })
}
