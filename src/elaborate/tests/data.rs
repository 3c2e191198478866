//! Names of fields and splits in the arguments of sources and transforms.

use super::{fails, holds, holds_in};
use crate::diagnostics::Code;

#[test]
fn a_bare_name_names_a_field_where_one_is_asked_for() {
    holds(
        "data d = digits()
        let label = 3
        let train = \"something else\"
        data few = d.take(10, per: label, on: train)
        assert few.train.count == 100 and few.test.count == 360
        data tail = d.long_tail(10.0, by: label, on: train)
        assert tail.train.count < d.train.count
        data even = d.split(train: 0.5, stratified: label)
        assert even.train.count + even.test.count == 1797
        data mixed = d.shuffle(seed: 1, on: test)
        assert mixed.test.count == 360",
    );
    fails("data d = digits()\ndata e = d.take(10, per: lable)", Code::UnknownField);
}

#[test]
fn a_table_names_its_columns() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("t.csv"), "a,kind,price\n1,x,10\n2,y,20\n3,x,30\n4,y,40\n").unwrap();
    holds_in(
        Some(folder.path().to_owned()),
        "data rows = csv(\"t.csv\", label: kind, target: price)
        assert rows.classes == 2
        data scaled = rows.split(train: 3).standardize(fit: train, field: x)
        assert scaled.train.count == 3
        assert near(mean(scaled.train.x), 0.0, 1e-4)",
    );
}

#[test]
fn one_split_dealt_out_is_a_data_set_of_its_own() {
    holds(
        "data d = digits()
        data parts = d.train.split(a: 1000, b: 0.2, stratified: label)
        assert parts.a.count == 1000 and parts.b.count == 287 and parts.test.count == 150
        assert parts.count == d.train.count
        data halves = d.train.take(100).split(fit: 0.5, check: 0.5, seed: 3)
        assert halves.fit.count == 50 and halves.check.count == 50 and halves.count == 100
        data kept = d.split(train: 1000, val: 437, on: train)
        assert kept.test.count == 360 and kept.count == 1797
        pass look for { label } in halves.check.batches(20) { measure rows = count(label) }
        assert look.rows == 50",
    );
    fails("data d = digits()\ndata p = d.train.split(a: 0.5, b: 0.5)\nlet n = p.test.count", Code::UnknownField);
}
