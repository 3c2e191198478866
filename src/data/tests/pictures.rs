//! Built-in sets, folders of pictures, IDX and CIFAR files.

use std::path::Path;

use image::{DynamicImage, GrayImage, Luma, Rgb, RgbImage};

use super::*;
use crate::diagnostics::Code;
use crate::graph::DType;

#[test]
fn mnist_is_there() {
    let data = open(&mnist(vec![])).unwrap();
    assert_eq!(data.schema().splits, [("train".to_string(), Some(10_000)), ("test".to_string(), Some(2_000))]);
    let image = data.schema().field("image").unwrap();
    assert_eq!((image.dtype, image.fixed()), (DType::F32, Some(vec![1, 28, 28])));
    assert_eq!(data.schema().field("label").unwrap().limit, Some(10));
    // Labels number 0, 6, 12, … of MNIST.
    assert_eq!(labels(&data, "train")[..8], [5, 1, 3, 6, 1, 3, 6, 7]);
    assert!(tally(&data, "train").iter().all(|records| (850..1200).contains(records)));
    assert!(tally(&data, "test").iter().all(|records| (150..250).contains(records)));
    let values = f32s(data.read("train", "image", &rows(&data, "train")).unwrap());
    let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len() as f64;
    // That of the images at even places; all of MNIST has 0.1307, those at odd places 0.1386.
    assert!((mean - 0.12292).abs() < 1e-4, "{mean}");
    assert_eq!(values.iter().copied().fold(0.0, f32::max), 1.0);
    assert_eq!(data.ids("test", &[0, 5]), [10_000, 10_005]);
}

#[test]
fn mnist_of_half_the_size_is_the_mean_of_four_pixels() {
    let whole = open(&mnist(vec![])).unwrap();
    let half = open(&mnist(vec![("size", int(14))])).unwrap();
    assert_eq!(half.schema().field("image").unwrap().fixed(), Some(vec![1, 14, 14]));
    let (big, small) =
        (whole.read("test", "image", &[3, 700]).unwrap(), half.read("test", "image", &[3, 700]).unwrap());
    let (big, small) = (f32s(big), f32s(small));
    for (at, value) in small.iter().enumerate() {
        let (record, y, x) = (at / 196, at / 14 % 14, at % 14);
        let pixel = |dy, dx| big[record * 784 + (2 * y + dy) * 28 + 2 * x + dx];
        let mean = (pixel(0, 0) + pixel(0, 1) + pixel(1, 0) + pixel(1, 1)) / 4.0;
        assert!((mean - value).abs() < 1e-6, "{at}: {mean} {value}");
    }
}

#[test]
fn raw_pictures_are_bytes() {
    let raw = open(&mnist(vec![("raw", Setting::Bool(true)), ("train", int(50))])).unwrap();
    let float = open(&mnist(vec![("train", int(50))])).unwrap();
    assert_eq!(raw.schema().field("image").unwrap().dtype, DType::U8);
    let Column::U8(bytes) = raw.read("train", "image", &[49]).unwrap() else { panic!("bytes expected") };
    let floats = f32s(float.read("train", "image", &[49]).unwrap());
    assert!(bytes.iter().zip(&floats).all(|(byte, float)| (*byte as f32 / 255.0 - float).abs() < 1e-7));
    assert!(raw.read("train", "image", &[50]).is_err());
}

#[test]
fn digits_are_there() {
    let data = open(&digits()).unwrap();
    assert_eq!(data.schema().splits, [("train".to_string(), Some(1_437)), ("test".to_string(), Some(360))]);
    assert_eq!(labels(&data, "train")[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let first = f32s(data.read("train", "image", &[0]).unwrap());
    // The first line of the table that the set comes from, over 16.
    assert_eq!(first[..8], [0.0, 0.0, 5.0, 13.0, 9.0, 1.0, 0.0, 0.0].map(|value| value / 16.0));
    assert_eq!(error(&mnist(vec![("train", int(10_001))])).code, Code::BadValue);
    assert_eq!(error(&mnist(vec![("size", int(0))])).code, Code::BadValue);
}

#[test]
fn opening_twice_gives_the_same_handle() {
    let (a, b) = (open(&digits()).unwrap(), open(&digits()).unwrap());
    assert!(Arc::ptr_eq(&a, &b));
    let split = |first: &str, second: &str| digits().then("split", vec![], vec![(first, int(9)), (second, int(9))]);
    let (a, b) = (open(&split("a", "b")).unwrap(), open(&split("b", "a")).unwrap());
    assert_ne!(a.schema(), b.schema());
}

fn colour(width: u32, height: u32, pixel: [u8; 3]) -> DynamicImage {
    DynamicImage::ImageRgb8(RgbImage::from_pixel(width, height, Rgb(pixel)))
}

fn write(folder: &Path, path: &str, picture: &DynamicImage) {
    let path = folder.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    picture.save(path).unwrap();
}

fn images(folder: &Path, named: Vec<(&str, Setting)>) -> Spec {
    spec(folder, "images", vec![words("set")], named)
}

#[test]
fn folders_are_classes_and_splits() {
    let folder = tempfile::tempdir().unwrap();
    for (path, pixel) in [
        ("set/train/cat/b.png", [255, 0, 0]),
        ("set/train/cat/a.png", [0, 255, 0]),
        ("set/train/ape/x.png", [0, 0, 255]),
        ("set/test/dog/y.png", [51, 102, 204]),
    ] {
        write(folder.path(), path, &colour(5, 4, pixel));
    }
    std::fs::write(folder.path().join("set/train/cat/notes.txt"), "not a picture").unwrap();
    let data = open(&images(folder.path(), vec![])).unwrap();
    let label = data.schema().field("label").unwrap();
    assert_eq!((label.limit, &label.classes[..]), (Some(3), &["ape", "cat", "dog"].map(String::from)[..]));
    assert_eq!(data.schema().splits, [("train".to_string(), Some(3)), ("test".to_string(), Some(1))]);
    assert_eq!(labels(&data, "train"), [0, 1, 1]);
    assert_eq!(labels(&data, "test"), [2]);
    assert_eq!(data.schema().field("image").unwrap().fixed(), Some(vec![3, 4, 5]));
    let values = f32s(data.read("train", "image", &[1, 0]).unwrap());
    let plane = |record: usize, channel: usize| values[record * 60 + channel * 20];
    assert_eq!([plane(0, 0), plane(0, 1), plane(0, 2)], [0.0, 1.0, 0.0]);
    assert_eq!([plane(1, 0), plane(1, 1), plane(1, 2)], [0.0, 0.0, 1.0]);
    assert_eq!(data.ids("test", &[0]), [3]);
    assert!(data.decodes());
}

#[test]
fn pictures_of_several_sizes_have_no_size_until_they_are_resized() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "set/a.png", &colour(8, 6, [255, 255, 255]));
    write(folder.path(), "set/b.jpg", &colour(20, 40, [128, 128, 128]));
    let data = open(&images(folder.path(), vec![])).unwrap();
    assert_eq!(data.schema().fields.len(), 1, "pictures without folders have no label");
    assert_eq!(data.schema().field("image").unwrap().shape, [Some(3), None, None]);
    assert_eq!(data.sizes("train", "image", 1).unwrap(), [3, 40, 20]);
    assert_eq!(data.read("train", "image", &[1, 0]).unwrap().len(), 3 * 800 + 3 * 48);
    // Taking them through a split of two folders keeps each record's own size.
    let dealt = open(&images(folder.path(), vec![]).then("split", vec![], vec![("one", int(1))])).unwrap();
    let ids = [dealt.ids("one", &[0])[0], dealt.ids("test", &[0])[0]];
    let sizes = |split| dealt.sizes(split, "image", 0).unwrap().iter().product::<usize>();
    assert_eq!(ids.map(|id| if id == 0 { 144 } else { 2400 }), [sizes("one"), sizes("test")]);

    let data = open(&images(folder.path(), vec![("size", int(10)), ("grey", Setting::Bool(true))])).unwrap();
    assert_eq!(data.schema().field("image").unwrap().fixed(), Some(vec![1, 10, 10]));
    let values = f32s(data.read("train", "image", &[0, 1]).unwrap());
    assert!(values[..100].iter().all(|value| (value - 1.0).abs() < 1e-5));
    assert!(values[100..].iter().all(|value| (value - 0.502).abs() < 0.01));
}

#[test]
fn the_middle_is_cut_out_of_the_longer_side() {
    let folder = tempfile::tempdir().unwrap();
    let stripes = GrayImage::from_fn(30, 10, |x, _| Luma([if (10..20).contains(&x) { 255 } else { 0 }]));
    write(folder.path(), "set/a.png", &DynamicImage::ImageLuma8(stripes));
    let data = open(&images(folder.path(), vec![("size", int(10)), ("raw", Setting::Bool(true))])).unwrap();
    assert_eq!(data.read("train", "image", &[0]).unwrap(), Column::U8(vec![255; 300]));
}

#[test]
fn folders_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |set: &str| spec(folder.path(), "images", vec![words(set)], vec![]);
    let failed = error(&at("nowhere"));
    assert_eq!(failed.code, Code::FileMissing);
    assert!(failed.headline.contains("nowhere` does not exist"), "{failed}");

    std::fs::create_dir_all(folder.path().join("empty")).unwrap();
    assert!(error(&at("empty")).headline.contains("empty` holds no PNG or JPEG file"));

    write(folder.path(), "webp/a/x.png", &colour(2, 2, [0; 3]));
    std::fs::write(folder.path().join("webp/a/y.webp"), b"RIFF").unwrap();
    let failed = error(&at("webp"));
    assert!(failed.headline.contains("y.webp` is of a kind that is not read"), "{failed}");

    write(folder.path(), "bad/a/x.png", &colour(2, 2, [0; 3]));
    std::fs::write(folder.path().join("bad/a/y.png"), b"no picture at all").unwrap();
    let failed = error(&at("bad"));
    assert_eq!(failed.code, Code::FileCorrupt);
    assert!(failed.headline.contains("y.png`"), "{failed}");

    write(folder.path(), "mixed/train/a/x.png", &colour(2, 2, [0; 3]));
    write(folder.path(), "mixed/cats/x.png", &colour(2, 2, [0; 3]));
    assert!(error(&at("mixed")).headline.contains("`train` beside `cats`"));

    write(folder.path(), "stray/a/x.png", &colour(2, 2, [0; 3]));
    write(folder.path(), "stray/y.png", &colour(2, 2, [0; 3]));
    assert!(error(&at("stray")).headline.contains("y.png` lies beside the folders of classes"));
}

#[test]
fn a_picture_cut_in_its_pixels_is_found_when_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let noise = RgbImage::from_fn(40, 40, |x, y| Rgb([(x * 37 + y * 91) as u8, (x * y) as u8, (x ^ y) as u8]));
    write(folder.path(), "set/a.png", &DynamicImage::ImageRgb8(noise));
    let path = folder.path().join("set/a.png");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let data = open(&images(folder.path(), vec![])).unwrap();
    let failed = data.read("train", "image", &[0]).unwrap_err();
    assert_eq!(failed.code, Code::FileCorrupt);
    assert!(failed.headline.contains("a.png`"), "{failed}");
}

/// An IDX file of bytes.
pub fn idx(shape: &[u32], bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, shape.len() as u8];
    file.extend(shape.iter().flat_map(|size| size.to_be_bytes()));
    file.extend(bytes);
    file
}

#[test]
fn idx_files_are_read_plain_and_packed() {
    use std::io::Write;
    let folder = tempfile::tempdir().unwrap();
    let images = idx(&[3, 2, 2], &[0, 51, 102, 255, 1, 2, 3, 4, 5, 6, 7, 8]);
    std::fs::write(folder.path().join("images"), &images).unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&idx(&[3], &[2, 0, 1])).unwrap();
    std::fs::write(folder.path().join("labels.gz"), packed.finish().unwrap()).unwrap();
    let data = open(&spec(folder.path(), "idx", vec![words("images"), words("labels.gz")], vec![])).unwrap();
    assert_eq!(data.schema().field("image").unwrap().fixed(), Some(vec![1, 2, 2]));
    assert_eq!(data.schema().field("label").unwrap().limit, Some(3));
    assert_eq!(f32s(data.read("train", "image", &[0]).unwrap()), [0.0, 0.2, 0.4, 1.0]);
    assert_eq!(labels(&data, "train"), [2, 0, 1]);

    std::fs::write(folder.path().join("two"), idx(&[2], &[0, 1])).unwrap();
    let failed = error(&spec(folder.path(), "idx", vec![words("images"), words("two")], vec![]));
    assert_eq!(failed.code, Code::FileWrongSize);
    assert!(failed.headline.contains("holds 2 labels, `images` holds 3 records"), "{failed}");

    std::fs::write(folder.path().join("cut"), &images[..20]).unwrap();
    let failed = error(&spec(folder.path(), "idx", vec![words("cut")], vec![]));
    assert_eq!(failed.code, Code::FileCorrupt);
    assert!(failed.headline.contains("[3, 2, 2] elements need 12 bytes, it holds 4"), "{failed}");
}

#[test]
fn cifar_batches_are_read_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let record = |label: u8, shade: u8| [vec![label], vec![shade; 1024], vec![0; 1024], vec![255; 1024]].concat();
    let write = |name: &str, records: Vec<u8>| std::fs::write(folder.path().join(name), records).unwrap();
    write("data_batch_2.bin", record(7, 102));
    write("data_batch_1.bin", [record(3, 51), record(9, 0)].concat());
    write("test_batch.bin", record(1, 255));
    // Written in another way, the folder is not taken for the one that is open already.
    let at = |written| spec(folder.path(), "cifar10", vec![words(written)], vec![]);
    let data = open(&at(".")).unwrap();
    assert_eq!(labels(&data, "train"), [3, 9, 7]);
    assert_eq!(labels(&data, "test"), [1]);
    let values = f32s(data.read("train", "image", &[2]).unwrap());
    assert_eq!([values[0], values[1024], values[2048]], [0.4, 0.0, 1.0]);

    write("data_batch_3.bin", record(10, 0));
    assert!(error(&at("./")).headline.contains("has the label 10 in record 0, there are 10 classes"));
    write("data_batch_3.bin", vec![0; 3000]);
    assert!(error(&at("./")).headline.contains("records have 3,073 bytes, it holds 3,000 (0 records and 3000 bytes)"));
}
