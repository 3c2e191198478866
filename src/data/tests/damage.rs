//! Files cut and changed at random: an error that names the file, or data that agrees with its schema; never a panic.

use std::path::Path;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

use super::*;
use crate::kernels::philox::{fold_index, word};

/// A copy of `file` with damage number `trial`: cut, bytes changed, bytes put in, or all three.
fn damaged(file: &[u8], trial: i64) -> Vec<u8> {
    let key = fold_index([11, 12], trial);
    let draw = |at: u64, below: usize| word(key, at) as usize % below.max(1);
    let mut bytes = file.to_vec();
    if trial % 3 != 1 {
        bytes.truncate(draw(0, file.len() + 1));
    }
    if trial % 3 != 0 {
        for change in 0..1 + draw(1, 4) as u64 {
            // Headers are where a change does most.
            let reach = if draw(2 + 3 * change, 2) == 0 { bytes.len().min(160) } else { bytes.len() };
            let at = draw(3 + 3 * change, reach);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = word(key, 4 + 3 * change) as u8;
            }
        }
    }
    if trial % 5 == 0 {
        let at = draw(40, bytes.len() + 1);
        bytes.splice(at..at, (0..draw(41, 9)).map(|n| n as u8));
    }
    bytes
}

/// Opens and reads everything there is.
fn exercise(spec: &Spec) -> Result<(), DataError> {
    let data = open(spec)?;
    for (split, count) in &data.schema().splits {
        let rows: Vec<usize> = (0..count.unwrap_or(0)).collect();
        for field in &data.schema().fields {
            let column = data.read(split, &field.name, &rows)?;
            let mut elements = 0;
            for row in &rows {
                elements += data.sizes(split, &field.name, *row)?.iter().product::<usize>();
            }
            assert_eq!((column.len(), column.dtype()), (elements, field.dtype), "{}", field.name);
            if let (Some(limit), Column::I64(values)) = (field.limit, &column) {
                assert!(values.iter().all(|value| (0..limit as i64).contains(value)));
            }
        }
    }
    Ok(())
}

/// Damages `file` many times; every fault must name it. Returns how many copies were refused.
fn refused(name: &str, file: &[u8], trials: i64, spec: impl Fn(&Path, &str) -> Spec) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let mut refused = 0;
    for trial in 0..trials {
        // Another name each time, since what was opened is remembered by name.
        let name = format!("{trial}-{name}");
        let path = folder.path().join(&name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, damaged(file, trial)).unwrap();
        if let Err(error) = exercise(&spec(folder.path(), &name)) {
            refused += 1;
            assert!(error.headline.contains(&format!("{trial}-")) || error.code.number() == "E0311", "{error}");
        }
    }
    refused
}

#[test]
fn damaged_tables_and_tensors_are_refused() {
    let idx = super::pictures::idx(&[4, 3, 3], &[7; 36]);
    assert!(refused("a", &idx, 300, |f, n| spec(f, "idx", vec![words(n)], vec![])) > 200);
    let npy = super::files::npy("<f4", "(4, 3)", &[1; 48]);
    assert!(refused("a.npy", &npy, 300, |f, n| spec(f, "npy", vec![], vec![("label", words(n))])) > 150);
    let tensors = super::files::safetensors();
    assert!(refused("a.st", &tensors, 300, |f, n| spec(f, "safetensors", vec![words(n)], vec![])) > 150);
    let csv = b"a,b,c\n1,2,x\n3,4,\"y z\"\n5,6.5,w\n7,1e3,w\n";
    let refused_tables = refused("a.csv", csv, 300, |f, n| spec(f, "csv", vec![words(n)], vec![("label", name("c"))]));
    assert!(refused_tables > 50);
}

#[test]
fn damaged_archives_are_refused() {
    use std::io::Write;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&super::pictures::idx(&[40], &(0..40).collect::<Vec<u8>>())).unwrap();
    let labels = packed.finish().unwrap();
    let images = super::pictures::idx(&[40, 2, 2], &[9; 160]);
    let count = refused("l.gz", &labels, 300, |folder, name| {
        std::fs::write(folder.join("images"), &images).unwrap();
        spec(folder, "idx", vec![words("images"), words(name)], vec![])
    });
    assert!(count > 250, "{count}");
}

#[test]
fn damaged_pictures_are_refused_or_read() {
    let noise = RgbImage::from_fn(17, 13, |x, y| Rgb([(x * 37 + y * 91) as u8, (x * y) as u8, (x ^ y) as u8]));
    for (format, extension) in [(ImageFormat::Png, "png"), (ImageFormat::Jpeg, "jpg")] {
        let mut file = std::io::Cursor::new(Vec::new());
        DynamicImage::ImageRgb8(noise.clone()).write_to(&mut file, format).unwrap();
        let named = format!("set/a.{extension}");
        let count = refused(&named, file.get_ref(), 200, |folder, name| {
            let set = name.split('/').next().unwrap();
            spec(folder, "images", vec![words(set)], vec![("size", int(8))])
        });
        assert!(count > 60, "{count} of {extension}");
    }
}

#[test]
fn damaged_records_are_refused() {
    let file: Vec<u8> = (0..2).flat_map(|n| [vec![n], vec![40 * n; 3072]].concat()).collect();
    let count = refused("set/train.bin", &file, 60, |folder, name| {
        let set = name.split('/').next().unwrap();
        spec(folder, "cifar10", vec![words(set)], vec![])
    });
    assert!(count > 30, "{count}");
}
