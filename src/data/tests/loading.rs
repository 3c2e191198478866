//! Batches as tensors, read directly and ahead.

use super::*;
use crate::data::loader::{Batch, FeedPlan, FieldBatch, Loader};
use crate::data::order::Short;
use crate::diagnostics::Code;
use image::{Rgb, RgbImage};

fn feed(data: &Opened, split: &str, batch: usize) -> FeedPlan {
    let fields = data.schema().fields.iter().map(|field| field.name.clone()).collect();
    FeedPlan { data: data.clone(), split: split.into(), fields, batch, shuffle: true }
}

fn all(loader: Loader) -> Vec<Batch> {
    loader.map(Result::unwrap).collect()
}

#[test]
fn an_epoch_holds_every_record_once() {
    let data = open(&digits()).unwrap();
    let loader = Loader::new([1, 2], vec![feed(&data, "test", 50)], Short::Keep, 0..8).unwrap();
    assert_eq!(loader.steps_per_epoch(), Some(8));
    let batches = all(loader);
    assert_eq!(batches.len(), 8);
    assert_eq!(batches[7].feeds[0].rows, 10);
    let mut ids: Vec<i64> = batches.iter().flat_map(|batch| batch.feeds[0].ids.clone()).collect();
    ids.sort();
    assert_eq!(ids, (1437..1797).collect::<Vec<_>>());
    let first = &batches[0].feeds[0];
    let image = first.field("image").unwrap().stacked("image").unwrap();
    assert_eq!(image.dims(), [50, 1, 8, 8]);
    // A row of a batch is the record that its index names.
    let index = first.index[17] as usize;
    let row = image.get(17).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(row, f32s(data.read("test", "image", &[index]).unwrap()));
    assert_eq!(first.ids[17], 1437 + first.index[17]);
    let label = first.field("label").unwrap().stacked("label").unwrap().to_vec1::<i64>().unwrap();
    assert_eq!(label[17], labels(&data, "test")[index]);
    assert_eq!(first.index().unwrap().dims(), [50]);
}

#[test]
fn two_feeds_are_zipped() {
    let data = open(&digits()).unwrap();
    let feeds = vec![feed(&data, "train", 100), feed(&data, "train", 100), feed(&data, "test", 7)];
    let batches = all(Loader::new([1, 2], feeds, Short::Drop, 0..60).unwrap());
    assert_eq!(batches.len(), 60);
    assert!(batches.iter().all(|batch| batch.feeds[0].ids != batch.feeds[1].ids && batch.feeds[2].rows == 7));
}

#[test]
fn a_loop_can_begin_anywhere() {
    let data = open(&digits()).unwrap();
    let load = |steps| all(Loader::new([4, 4], vec![feed(&data, "train", 64)], Short::Drop, steps).unwrap());
    let (whole, rest) = (load(0..50), load(30..50));
    for (a, b) in whole[30..].iter().zip(&rest) {
        assert_eq!((a.step, &a.feeds[0].ids), (b.step, &b.feeds[0].ids));
    }
}

#[test]
fn batches_larger_than_the_split_and_fields_that_are_not_there_are_errors() {
    let data = open(&digits()).unwrap();
    let failed = Loader::new([0, 0], vec![feed(&data, "test", 361)], Short::Drop, 0..1).err().unwrap();
    assert_eq!(failed.code, Code::BatchTooLarge);
    let plan = FeedPlan { fields: vec!["imag".into()], ..feed(&data, "test", 1) };
    let failed = Loader::new([0, 0], vec![plan], Short::Drop, 0..1).err().unwrap();
    assert_eq!(failed.help.as_deref(), Some("did you mean `image`?"));
    let plan = FeedPlan { split: "tset".into(), ..feed(&data, "test", 1) };
    assert!(Loader::new([0, 0], vec![plan], Short::Drop, 0..1).is_err());
}

/// Pictures `n` wide and `n` high for `n` in 1 to 9, or all of one size.
fn folder(vary: bool) -> (tempfile::TempDir, Spec) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("set")).unwrap();
    for n in 1..10u32 {
        let side = if vary { n } else { 4 };
        let path = folder.path().join(format!("set/{n}.png"));
        RgbImage::from_pixel(side, side, Rgb([n as u8; 3])).save(path).unwrap();
    }
    let spec = spec(folder.path(), "images", vec![words("set")], vec![("raw", Setting::Bool(true))]);
    (folder, spec)
}

#[test]
fn files_are_read_ahead_in_the_same_order() {
    let (_folder, spec) = folder(false);
    let data = open(&spec).unwrap();
    let batches = all(Loader::new([7, 7], vec![feed(&data, "train", 4)], Short::Keep, 0..9).unwrap());
    assert_eq!(batches.len(), 9);
    for batch in &batches {
        let feed = &batch.feeds[0];
        let image = feed.field("image").unwrap().stacked("image").unwrap();
        let first: Vec<u8> =
            image.flatten_from(1).unwrap().narrow(1, 0, 1).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(first, feed.ids.iter().map(|id| *id as u8 + 1).collect::<Vec<_>>());
    }
    // A loop that ends early leaves no thread behind that would wait for ever.
    let mut loader = Loader::new([7, 7], vec![feed(&data, "train", 4)], Short::Keep, 0..1_000_000).unwrap();
    assert!(loader.next().is_some());
    drop(loader);
}

#[test]
fn records_of_several_sizes_come_one_by_one() {
    let (_folder, spec) = folder(true);
    let data = open(&spec).unwrap();
    let batches = all(Loader::new([7, 7], vec![feed(&data, "train", 9)], Short::Keep, 0..1).unwrap());
    let feed = &batches[0].feeds[0];
    let FieldBatch::Rows(rows) = feed.field("image").unwrap() else { panic!("rows expected") };
    for (row, id) in rows.iter().zip(&feed.ids) {
        let side = *id as usize + 1;
        assert_eq!(row.dims(), [3, side, side]);
        assert!(row.flatten_all().unwrap().to_vec1::<u8>().unwrap().iter().all(|value| *value == side as u8));
    }
    assert!(feed.field("image").unwrap().stacked("image").unwrap_err().help.unwrap().contains("crop or resize"));
}

#[test]
fn a_file_that_breaks_while_it_is_read_ends_the_loop_with_its_name() {
    let (folder, spec) = folder(false);
    let data = open(&spec).unwrap();
    std::fs::write(folder.path().join("set/5.png"), b"gone").unwrap();
    let mut loader = Loader::new([7, 7], vec![feed(&data, "train", 3)], Short::Keep, 0..100).unwrap();
    let failed = loader.find_map(Result::err).unwrap();
    assert!(failed.headline.contains("5.png`"), "{failed}");
    assert!(loader.next().is_none());
}
