//! CIFAR-10's binary files: records of a label byte, then 32x32 red, green and blue bytes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fault::count;
use super::file::{locate, read};
use super::options::needed;
use super::pictures::Wanted;
use super::stored::Stored;
use super::{Column, DataError, Field, Opened, Options, Schema};

const SIDE: usize = 32;
const PICTURE: usize = 3 * SIDE * SIDE;
const RECORD: usize = 1 + PICTURE;

pub fn open(options: &Options, folder: &Path) -> Result<Opened, DataError> {
    let wanted = Wanted::read(options)?;
    let root = locate(folder, needed(options, "folder")?);
    std::fs::read_dir(&root).map_err(|error| DataError::io(&root, &error))?;
    let classes = classes(&root)?;
    let limit = if classes.is_empty() { 10 } else { classes.len() };
    let mut train: Vec<PathBuf> = (1..=5).filter_map(|n| present(&root, &format!("data_batch_{n}.bin"))).collect();
    train.extend(present(&root, "train.bin"));
    if train.is_empty() {
        return Err(DataError::missing(&root, "holds neither `data_batch_1.bin` nor `train.bin`")
            .help("unpack `cifar-10-binary.tar.gz` and name the folder `cifar-10-batches-bin`"));
    }
    let test = present(&root, "test_batch.bin").or_else(|| present(&root, "test.bin"));
    let mut parts = vec![("train", train)];
    parts.extend(test.map(|path| ("test", vec![path])));

    let (mut splits, mut images, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    for (name, paths) in parts {
        let (mut bytes, mut classes) = (Vec::new(), Vec::new());
        for path in paths {
            records(&path, limit, &mut bytes, &mut classes)?;
        }
        splits.push((name.to_string(), Some(classes.len())));
        images.push(wanted.deliver(bytes, (SIDE, SIDE), 255.0));
        labels.push(Column::I64(classes));
    }
    let fields = vec![wanted.field([3, SIDE, SIDE]), Field::label(limit, classes)];
    Ok(Arc::new(Stored::new(Schema { fields, splits }, vec![images, labels])?))
}

/// The file, or the same packed with gzip.
fn present(root: &Path, name: &str) -> Option<PathBuf> {
    [root.join(name), root.join(format!("{name}.gz"))].into_iter().find(|path| path.exists())
}

/// Names of the classes, a line each, where the folder has them.
fn classes(root: &Path) -> Result<Vec<String>, DataError> {
    let Some(path) = ["batches.meta.txt", "classes.txt"].iter().find_map(|name| present(root, name)) else {
        return Ok(Vec::new());
    };
    let text = String::from_utf8(read(&path)?).map_err(|_| DataError::corrupt(&path, "is not text in UTF-8"))?;
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(String::from).collect())
}

fn records(path: &Path, limit: usize, bytes: &mut Vec<u8>, labels: &mut Vec<i64>) -> Result<(), DataError> {
    let file = read(path)?;
    if !file.len().is_multiple_of(RECORD) {
        return Err(DataError::corrupt(
            path,
            format_args!(
                "is cut: records have {} bytes, it holds {} ({} records and {} bytes)",
                count(RECORD),
                count(file.len()),
                file.len() / RECORD,
                file.len() % RECORD
            ),
        )
        .help("fetch it again"));
    }
    for (at, record) in file.as_chunks::<RECORD>().0.iter().enumerate() {
        if record[0] as usize >= limit {
            return Err(DataError::corrupt(
                path,
                format_args!("has the label {} in record {at}, there are {limit} classes", record[0]),
            )
            .help("check that the file is CIFAR-10's binary version"));
        }
        labels.push(record[0] as i64);
        bytes.extend_from_slice(&record[1..]);
    }
    Ok(())
}
