//! Tables and tensors from files.

use std::path::Path;

use super::*;
use crate::diagnostics::Code;
use crate::graph::DType;

fn csv(folder: &Path, text: &str, named: Vec<(&str, Setting)>) -> Result<Opened, DataError> {
    // Each text is another file: what was opened once is remembered by its path.
    let name = format!("{:016x}.csv", text.bytes().fold(7u64, |hash, byte| hash.wrapping_mul(31) + u64::from(byte)));
    std::fs::write(folder.join(&name), text).unwrap();
    open(&spec(folder, "csv", vec![words(&name)], named))
}

#[test]
fn columns_become_numbers_and_classes() {
    let folder = tempfile::tempdir().unwrap();
    let text = "age,job,height,income\n30,cook,1.5,high\n41,smith,2,low\n52,cook,1.75,high\n";
    let data = csv(folder.path(), text, vec![("label", name("income"))]).unwrap();
    let names: Vec<&str> = data.schema().fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["x", "job", "label"]);
    assert_eq!(data.schema().field("x").unwrap().fixed(), Some(vec![2]));
    assert_eq!(data.schema().field("label").unwrap().classes, ["high", "low"]);
    assert_eq!(data.schema().field("job").unwrap().classes, ["cook", "smith"]);
    assert_eq!(f32s(data.read("train", "x", &[0, 2]).unwrap()), [30.0, 1.5, 52.0, 1.75]);
    assert_eq!(labels(&data, "train"), [0, 1, 0]);
    assert_eq!(data.read("train", "job", &[1]).unwrap(), Column::I64(vec![1]));
}

#[test]
fn classes_that_are_numbers_are_sorted_by_size() {
    let folder = tempfile::tempdir().unwrap();
    let data = csv(folder.path(), "a,class\n1,10\n2,9\n3,2\n", vec![("label", name("class"))]).unwrap();
    assert_eq!(data.schema().field("label").unwrap().classes, ["2", "9", "10"]);
    assert_eq!(labels(&data, "train"), [2, 1, 0]);
}

#[test]
fn targets_are_numbers_and_columns_can_be_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let columns = Setting::List(vec![words("b")]);
    let text = "a,b,price\nsome,1,2.5\ntext,2,3.5\n";
    let data = csv(folder.path(), text, vec![("target", name("price")), ("columns", columns)]).unwrap();
    assert_eq!(f32s(data.read("train", "target", &[0, 1]).unwrap()), [2.5, 3.5]);
    assert_eq!(data.schema().fields.len(), 2);
    let failed = csv(folder.path(), text, vec![("target", name("a"))]).err().unwrap();
    assert!(failed.headline.contains("`a` holds text, a target is a number"), "{failed}");
}

#[test]
fn bad_cells_are_named_by_line_and_column() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = String::from("a,b\n");
    for row in 0..20 {
        text += &format!("{row},{}\n", if row == 13 { "1.O" } else { "1.0" });
    }
    let failed = csv(folder.path(), &text, vec![]).err().unwrap();
    assert_eq!(failed.code, Code::FileCorrupt);
    assert!(failed.headline.contains("has `1.O` where a finite number is expected in line 15, column `b`"), "{failed}");

    let failed = csv(folder.path(), "a,b\n1,2\n3,\n5,6\n", vec![]).err().unwrap();
    assert!(failed.headline.contains("is empty in line 3, column `b`"), "{failed}");
    assert!(failed.help.unwrap().contains("1 records with empty cells"));
    let data = csv(folder.path(), "a,b\n1,2\n3,NA\n5,6\n", vec![("missing", words("skip"))]).unwrap();
    assert_eq!(f32s(data.read("train", "x", &[0, 1]).unwrap()), [1.0, 2.0, 5.0, 6.0]);

    let failed = csv(folder.path(), "a,b\n1,2\n3\n", vec![]).err().unwrap();
    assert_eq!(failed.code, Code::FileWrongSize);
    assert!(failed.headline.contains("has 1 cells in line 3, its header has 2"), "{failed}");
    let failed = csv(folder.path(), "a,income\n1,2\n", vec![("label", name("incme"))]).err().unwrap();
    assert_eq!(failed.help.as_deref(), Some("did you mean `income`?"));
    assert_eq!(csv(folder.path(), "a,b\n", vec![]).err().unwrap().code, Code::FileMissing);
    assert_eq!(csv(folder.path(), "", vec![]).err().unwrap().code, Code::FileMissing);
}

/// A `.npy` file as NumPy writes it.
pub fn npy(descr: &str, shape: &str, body: &[u8]) -> Vec<u8> {
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    while !(10 + header.len() + 1).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(body);
    file
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn numpy_files_are_fields() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, file: Vec<u8>| std::fs::write(folder.path().join(name), file).unwrap();
    write("x.npy", npy("<f4", "(2, 3)", &bytes(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])));
    let labels_of = |values: [i64; 2]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
    write("y.npy", npy("<i8", "(2,)", &labels_of([4, 0])));
    let at = |x: &str, y: &str| spec(folder.path(), "npy", vec![], vec![("x", words(x)), ("label", words(y))]);
    let data = open(&at("x.npy", "y.npy")).unwrap();
    assert_eq!(f32s(data.read("train", "x", &[1]).unwrap()), [4.0, 5.0, 6.0]);
    assert_eq!(data.schema().field("label").unwrap().limit, Some(5));

    write("z.npy", npy("<f4", "(3, 3)", &bytes(&[0.0; 9])));
    let failed = error(&at("z.npy", "y.npy"));
    assert_eq!(failed.code, Code::FileWrongSize);
    assert!(failed.headline.contains("`x` is [3, 3], `label` is [2]"), "{failed}");
    write("c.npy", npy("<f4", "(3, 3)", &bytes(&[0.0; 8])));
    let failed = error(&at("c.npy", "y.npy"));
    assert!(failed.headline.contains("[3, 3] elements need 36 bytes, it holds 32"), "{failed}");
    write("o.npy", npy("|O", "(2,)", &[0; 16]));
    assert!(error(&at("o.npy", "y.npy")).headline.contains("elements of the kind `|O`"));
    write("n.npy", npy("<i8", "(2,)", &labels_of([-1, 0])));
    assert!(error(&at("x.npy", "n.npy")).headline.contains("labels count from 0"));
    write("zip.npy", b"PK\x03\x04".to_vec());
    assert!(error(&at("zip.npy", "y.npy")).headline.contains("is no .npy file"));
}

/// A safetensors file of one f32 tensor and a label.
pub fn safetensors() -> Vec<u8> {
    let header = r#"{"__metadata__":{"by":"hand"},"x":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"label":{"dtype":"I32","shape":[2],"data_offsets":[16,24]}}"#;
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(bytes(&[1.0, 2.0, 3.0, 4.0]));
    file.extend([1i32, 2].iter().flat_map(|value| value.to_le_bytes()));
    file
}

#[test]
fn safetensors_are_fields() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.safetensors"), safetensors()).unwrap();
    let data = open(&spec(folder.path(), "safetensors", vec![words("a.safetensors")], vec![])).unwrap();
    assert_eq!(f32s(data.read("train", "x", &[1]).unwrap()), [3.0, 4.0]);
    assert_eq!(labels(&data, "train"), [1, 2]);
    assert_eq!(data.schema().field("x").unwrap().dtype, DType::F32);
    let file = safetensors();
    std::fs::write(folder.path().join("b.safetensors"), &file[..file.len() - 1]).unwrap();
    let failed = error(&spec(folder.path(), "safetensors", vec![words("b.safetensors")], vec![]));
    assert!(failed.headline.contains("is cut: `label` ends at byte 24"), "{failed}");
}
