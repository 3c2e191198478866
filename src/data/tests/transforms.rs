//! Splitting, taking, shuffling, thinning, standardising.

use std::collections::HashSet;

use super::*;
use crate::diagnostics::Code;

fn ids(data: &Opened, split: &str) -> Vec<i64> {
    data.ids(split, &rows(data, split))
}

fn counts(data: &Opened) -> Vec<(&str, usize)> {
    data.schema().splits.iter().map(|(name, count)| (name.as_str(), count.unwrap())).collect()
}

#[test]
fn a_split_deals_out_every_record_once() {
    let data = open(&digits().then("split", vec![], vec![("train", float(0.8)), ("val", int(97))])).unwrap();
    assert_eq!(counts(&data), [("train", 1438), ("val", 97), ("test", 262)]);
    let all: HashSet<i64> = ["train", "val", "test"].iter().flat_map(|split| ids(&data, split)).collect();
    assert_eq!(all, (0..1797).collect());
    // Ids lead to the same record as in the source.
    let source = open(&digits()).unwrap();
    for (row, id) in ids(&data, "val").into_iter().enumerate() {
        let (split, at) = if id < 1437 { ("train", id) } else { ("test", id - 1437) };
        let image = |data: &Opened, split: &str, row: usize| data.read(split, "image", &[row]).unwrap();
        assert_eq!(image(&data, "val", row), image(&source, split, at as usize));
    }
    let batch = f32s(data.read("val", "image", &rows(&data, "val")).unwrap());
    let single: Vec<f32> =
        rows(&data, "val").iter().flat_map(|r| f32s(data.read("val", "image", &[*r]).unwrap())).collect();
    assert_eq!(batch, single, "records of several splits come in the order asked for");
}

#[test]
fn seeds_decide_the_split() {
    let train = |seed| {
        let split = digits().then("split", vec![], vec![("train", int(500)), ("seed", int(seed))]);
        ids(&open(&split).unwrap(), "train")
    };
    assert_ne!(train(0), train(1));
    assert_ne!(train(0), train(-1));
    assert_eq!(train(3), train(3));
}

#[test]
fn strata_keep_the_shares_of_the_classes() {
    let split = vec![("train", float(0.5)), ("val", int(100)), ("stratified", name("label"))];
    let data = open(&digits().then("split", vec![], split)).unwrap();
    let whole: Vec<usize> = {
        let source = open(&digits()).unwrap();
        tally(&source, "train").iter().zip(tally(&source, "test")).map(|(a, b)| a + b).collect()
    };
    for (split, count) in counts(&data) {
        for (class, records) in tally(&data, split).into_iter().enumerate() {
            let expected = whole[class] as f64 * count as f64 / 1797.0;
            assert!((records as f64 - expected).abs() <= 1.0, "{split} {class}: {records} for {expected}");
        }
    }
}

#[test]
fn splits_that_cannot_be_made_are_explained() {
    let split = |named| error(&digits().then("split", vec![], named));
    let failed = split(vec![("train", int(1000)), ("val", int(1000))]);
    assert_eq!(failed.code, Code::BadValue);
    assert_eq!(failed.headline, "2,000 records are asked for, there are 1,797");
    assert!(split(vec![("train", float(0.8)), ("val", float(0.3))]).headline.contains("add up to 1.100"));
    assert!(split(vec![("train", int(0))]).headline.contains("`train` is 0"));
    assert!(split(vec![("train", float(1.5))]).headline.contains("`train` is 1.5"));
    assert!(split(vec![("train", float(f64::NAN))]).headline.contains("neither"));
    let failed = split(vec![("train", int(9)), ("stratified", name("lable"))]);
    assert_eq!(failed.help.as_deref(), Some("did you mean `label`?"));
    assert!(split(vec![("train", int(9)), ("stratified", name("image"))]).headline.contains("is no class label"));
    // Shares that add up leave no rest.
    let data = open(&digits().then("split", vec![], vec![("a", float(0.3)), ("b", float(0.7))])).unwrap();
    assert_eq!(counts(&data), [("a", 539), ("b", 1258)]);
}

#[test]
fn one_split_can_be_dealt_out_alone() {
    let split = digits().then("split", vec![], vec![("train", int(1000)), ("val", int(437)), ("on", name("train"))]);
    let data = open(&split).unwrap();
    assert_eq!(counts(&data), [("train", 1000), ("val", 437), ("test", 360)]);
    assert!(ids(&data, "val").into_iter().all(|id| id < 1437));
    assert_eq!(ids(&data, "test"), (1437..1797).collect::<Vec<_>>());
}

#[test]
fn taking_is_the_beginning_or_a_draw() {
    let take = |positional, named| open(&digits().then("take", positional, named)).unwrap();
    let data = take(vec![int(5)], vec![]);
    assert_eq!((ids(&data, "train"), ids(&data, "test")), (vec![0, 1, 2, 3, 4], vec![1437, 1438, 1439, 1440, 1441]));
    let data = take(vec![], vec![("train", int(7))]);
    assert_eq!(counts(&data), [("train", 7), ("test", 360)]);
    let data = take(vec![int(3)], vec![("on", name("test"))]);
    assert_eq!(counts(&data), [("train", 1437), ("test", 3)]);
    let drawn = take(vec![], vec![("train", int(100)), ("seed", int(1))]);
    assert_ne!(ids(&drawn, "train"), (0..100).collect::<Vec<_>>());
    let data = take(vec![float(0.5)], vec![]);
    assert_eq!(counts(&data), [("train", 719), ("test", 180)]);
}

#[test]
fn taking_by_class_is_balanced() {
    let take = |seed| {
        let named = vec![("per", name("label")), ("on", name("train")), ("seed", int(seed))];
        open(&digits().then("take", vec![int(10)], named)).unwrap()
    };
    assert_eq!(tally(&take(0), "train"), [10; 10]);
    assert_ne!(ids(&take(0), "train"), ids(&take(1), "train"));
    let failed = error(&digits().then("take", vec![], vec![("test", int(1000)), ("per", name("label"))]));
    assert!(failed.help.unwrap().contains("class 0 (0) of `test` has"));
    let failed = error(&digits().then("take", vec![], vec![("trian", int(10))]));
    assert_eq!(failed.help.as_deref(), Some("did you mean `train`?"));
    assert!(error(&digits().then("take", vec![int(400)], vec![])).help.unwrap().contains("`test` has 360 records"));
    assert!(error(&digits().then("take", vec![], vec![])).headline.contains("needs a number"));
}

#[test]
fn a_slice_keeps_what_lies_between() {
    let slice = |start, stop| open(&digits().then("slice", vec![int(start), int(stop)], vec![("on", name("test"))]));
    let data = slice(2, 5).unwrap();
    assert_eq!((ids(&data, "test"), counts(&data)[0]), (vec![1439, 1440, 1441], ("train", 1437)));
    assert_eq!(counts(&slice(350, 9999).unwrap())[1], ("test", 10));
    assert_eq!(counts(&slice(5, 2).unwrap())[1], ("test", 0));
    assert_eq!(slice(-1, 2).err().unwrap().code, Code::BadValue);
}

#[test]
fn shuffling_changes_the_order_alone() {
    let data = open(&digits().then("shuffle", vec![], vec![])).unwrap();
    let mut shuffled = ids(&data, "train");
    assert_ne!(shuffled, (0..1437).collect::<Vec<_>>());
    shuffled.sort();
    assert_eq!(shuffled, (0..1437).collect::<Vec<_>>());
}

#[test]
fn a_long_tail_falls_by_the_ratio() {
    let data = open(&mnist(vec![]).then("long_tail", vec![float(100.0)], vec![("most", int(800))])).unwrap();
    let tally_of = tally(&data, "train");
    let expected: Vec<usize> =
        (0..10).map(|class| (800.0 * 100f64.powf(-(class as f64) / 9.0)).round() as usize).collect();
    assert_eq!(tally_of, expected);
    assert_eq!((tally_of[0], tally_of[9]), (800, 8));
    assert_eq!(counts(&data)[1], ("test", 2000));
    assert!(error(&mnist(vec![]).then("long_tail", vec![float(0.5)], vec![])).headline.contains("at least 1"));
}

#[test]
fn standardised_vectors_have_mean_0_and_deviation_1() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = String::from("a,b,c\n");
    for row in 0..100 {
        text += &format!("{},{},7\n", row * row, 1000.0 - f64::from(row) / 10.0);
    }
    std::fs::write(folder.path().join("t.csv"), text).unwrap();
    let csv = spec(folder.path(), "csv", vec![words("t.csv")], vec![]);
    let data = open(&csv.then("split", vec![], vec![("train", int(60))]).then("standardize", vec![], vec![])).unwrap();
    let values = f32s(data.read("train", "x", &rows(&data, "train")).unwrap());
    for column in 0..3 {
        let of =
            |power: i32| values.iter().skip(column).step_by(3).map(|v| f64::from(*v).powi(power)).sum::<f64>() / 60.0;
        assert!(of(1).abs() < 1e-5, "{column}: mean {}", of(1));
        let deviation = if column == 2 { 0.0 } else { 1.0 };
        assert!((of(2) - deviation).abs() < 1e-5, "{column}: variance {}", of(2));
    }
    let test = f32s(data.read("test", "x", &rows(&data, "test")).unwrap());
    assert!(test.iter().step_by(3).map(|v| f64::from(*v)).sum::<f64>().abs() > 1e-3, "fitted on train alone");
    assert!(error(&digits().then("standardize", vec![], vec![])).headline.contains("vectors of floats"));
    assert_eq!(error(&mnist(vec![]).then("standardize", vec![], vec![("fit", name("trai"))])).code, Code::BadValue);
}

#[test]
fn names_that_are_not_in_the_tables_are_errors() {
    let mut spec = digits();
    spec.source = "mnsit".into();
    assert_eq!(error(&spec).help.as_deref(), Some("did you mean `mnist`?"));
    let mut spec = digits();
    spec.transforms.push(Transform { name: "splt".into(), options: Options::new() });
    assert_eq!(error(&spec).help.as_deref(), Some("did you mean `split`?"));
}
