//! Safetensors files: the header's length, a JSON header, then the elements of every tensor.

use std::path::Path;

use serde_json::Value;

use super::file::{array, locate, read};
use super::npy::{Array, columns};
use super::options::needed;
use super::{Column, DataError, Opened, Options};
use crate::data::fault::count;

/// Little-endian numbers as files hold them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plain {
    F16,
    BF16,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
}

impl Plain {
    pub fn width(self) -> usize {
        match self {
            Plain::I8 | Plain::U8 => 1,
            Plain::F16 | Plain::BF16 | Plain::I16 | Plain::U16 => 2,
            Plain::F32 | Plain::I32 | Plain::U32 => 4,
            Plain::F64 | Plain::I64 => 8,
        }
    }

    fn from_name(name: &str) -> Option<Plain> {
        Some(match name {
            "F16" => Plain::F16,
            "BF16" => Plain::BF16,
            "F32" => Plain::F32,
            "F64" => Plain::F64,
            "I8" => Plain::I8,
            "I16" => Plain::I16,
            "I32" => Plain::I32,
            "I64" => Plain::I64,
            "U8" | "BOOL" => Plain::U8,
            "U16" => Plain::U16,
            "U32" => Plain::U32,
            _ => return None,
        })
    }
}

/// Elements in the nearest type that holds them all; incomplete ones at the end are left out.
pub fn plain(kind: Plain, body: &[u8]) -> Column {
    let (pairs, quads, eights) = (body.as_chunks::<2>().0, body.as_chunks::<4>().0, body.as_chunks::<8>().0);
    match kind {
        Plain::F16 => Column::F32(pairs.iter().map(|b| half(u16::from_le_bytes(*b))).collect()),
        Plain::BF16 => {
            Column::F32(pairs.iter().map(|b| f32::from_bits((u16::from_le_bytes(*b) as u32) << 16)).collect())
        }
        Plain::F32 => Column::F32(quads.iter().map(|b| f32::from_le_bytes(*b)).collect()),
        Plain::F64 => Column::F64(eights.iter().map(|b| f64::from_le_bytes(*b)).collect()),
        Plain::I8 => Column::I64(body.iter().map(|b| *b as i8 as i64).collect()),
        Plain::I16 => Column::I64(pairs.iter().map(|b| i16::from_le_bytes(*b) as i64).collect()),
        Plain::I32 => Column::I64(quads.iter().map(|b| i32::from_le_bytes(*b) as i64).collect()),
        Plain::I64 => Column::I64(eights.iter().map(|b| i64::from_le_bytes(*b)).collect()),
        Plain::U8 => Column::U8(body.to_vec()),
        Plain::U16 => Column::I64(pairs.iter().map(|b| u16::from_le_bytes(*b) as i64).collect()),
        Plain::U32 => Column::I64(quads.iter().map(|b| u32::from_le_bytes(*b) as i64).collect()),
    }
}

/// IEEE half precision: sign, five bits of exponent, ten of fraction.
fn half(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = ((bits >> 10) & 0x1f, (bits & 0x3ff) as f32 / 1024.0);
    match exponent {
        0 => sign * fraction * (-14f32).exp2(),
        31 if fraction == 0.0 => sign * f32::INFINITY,
        31 => f32::NAN,
        _ => sign * (1.0 + fraction) * (exponent as f32 - 15.0).exp2(),
    }
}

pub fn open(options: &Options, folder: &Path) -> Result<Opened, DataError> {
    let path = locate(folder, needed(options, "file")?);
    let arrays = parse(&path, &read(&path)?)?;
    columns(&path, arrays)
}

/// Every tensor, sorted by name.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<Array>, DataError> {
    let bad = |what: String| DataError::corrupt(path, what).help("check that it is a whole safetensors file");
    let length = array(bytes, 0).map(u64::from_le_bytes).ok_or_else(|| bad("is cut within its header".into()))?;
    let end = usize::try_from(length).ok().and_then(|length| length.checked_add(8)).unwrap_or(usize::MAX);
    let header = bytes.get(8..end).ok_or_else(|| {
        bad(format!("is cut or no safetensors file: its header would need {length} bytes, it holds {}", bytes.len()))
    })?;
    let header: Value = serde_json::from_slice(header).map_err(|error| bad(format!("has a bad header: {error}")))?;
    let entries = header.as_object().ok_or_else(|| bad("has a header that is no JSON object".into()))?;
    let body = &bytes[end..];
    let mut arrays = Vec::new();
    for (name, entry) in entries.iter().filter(|(name, _)| *name != "__metadata__") {
        let array = tensor(name, entry, body).ok_or_else(|| {
            let end = entry.get("data_offsets").and_then(|offsets| offsets.get(1)).and_then(Value::as_u64);
            match end.filter(|end| *end > body.len() as u64) {
                Some(end) => bad(format!(
                    "is cut: `{name}` ends at byte {} of the elements, it holds {}",
                    count(end as usize),
                    count(body.len())
                )),
                None => bad(format!("has a bad entry for `{name}`: {entry}")),
            }
        })?;
        arrays.push(array);
    }
    arrays.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(arrays)
}

fn tensor(name: &str, entry: &Value, body: &[u8]) -> Option<Array> {
    let kind = Plain::from_name(entry.get("dtype")?.as_str()?)?;
    let sizes = |value: &Value| -> Option<Vec<usize>> {
        value.as_array()?.iter().map(|size| usize::try_from(size.as_u64()?).ok()).collect()
    };
    let shape = sizes(entry.get("shape")?)?;
    let offsets = sizes(entry.get("data_offsets")?)?;
    let [start, end] = offsets[..] else { return None };
    let elements = body.get(start..end)?;
    let expected = shape.iter().try_fold(kind.width(), |product: usize, size| product.checked_mul(*size))?;
    let values = plain(kind, elements);
    (expected == elements.len()).then(|| Array { name: name.into(), shape, values })
}

#[cfg(test)]
mod tests {
    use super::half;

    #[test]
    fn half_precision_is_read() {
        for (bits, value) in
            [(0x3c00, 1.0), (0xc000, -2.0), (0x3555, 0.333_251_95), (0x7bff, 65504.0), (0x0001, 5.960_464_5e-8)]
        {
            assert_eq!(half(bits), value, "{bits:#06x}");
        }
        assert!(half(0x7c00).is_infinite() && half(0x7e00).is_nan());
    }
}
