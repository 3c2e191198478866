//! Programs that ask how many rows a batch has.

use super::{fails, holds, refused};
use crate::diagnostics::Code;

#[test]
fn a_short_last_batch_of_a_pass_is_elaborated_for_its_own_size() {
    // 360 records in batches of 100 leave 60.
    holds(
        "data d = digits()
        pass p for { label } in d.test.batches(100) {
          let size = if len(label) > 80 { 1.0 } else { 2.0 }
          collect size = size * ones(len(label))
          measure full = sum(size * ones(len(label)))
        }
        assert shape(p.size) == [360]
        assert near(sum(p.size), 300.0 + 2.0 * 60.0) and near(p.full, 420.0)
        assert near(p.size[0], 1.0) and near(p.size[-1], 2.0)",
    );
}

#[test]
fn every_static_question_about_rows_is_answered_for_each_batch() {
    holds(
        "data d = digits()
        pass p for { label } in d.test.batches(100) {
          let n = len(label)
          let same = if n == 100 { 1.0 } else { 0.0 }
          let other = if n != 60 { 1.0 } else { 0.0 }
          let whole = if shape(label) == [100] { 1.0 } else { 0.0 }
          let even = if n % 7 == 2 { 1.0 } else { 0.0 }
          let last = [k for k in 0..n][-1]
          let more = if n > 80.5 { 1.0 } else { 0.0 }
          collect all = stack([x * ones(n) for x in [same, other, whole, even, more, float(last)]], axis: 1)
        }
        let last = p.all[-1]
        assert near(p.all[99], [1.0, 1.0, 1.0, 1.0, 1.0, 99.0])
        assert near(last, [0.0, 0.0, 0.0, 0.0, 0.0, 59.0])",
    );
}

#[test]
fn a_batch_larger_than_the_data_is_one_batch() {
    holds(
        "data d = digits()
        pass p for { label } in d.test.batches(500) {
          collect size = (if len(label) >= 500 { 1.0 } else { 2.0 }) * ones(len(label))
        }
        assert near(sum(p.size), 720.0)",
    );
}

#[test]
fn a_train_drops_its_short_batch_and_asks_as_well() {
    holds(
        "use std.optim.sgd
        data d = digits()
        weight w: [] = 0.0
        train t(epochs: 1) for { label } in d.train.batches(500) {
          let rate = if len(label) > 450 { 1.0 } else { 100.0 }
          let rows = float(len(label))
          minimize rate * w using sgd(1.0)
          log rows
        }
        assert near(w, -2.0) and t.rows == 500.0",
    );
}

#[test]
fn two_sources_have_short_batches_of_their_own() {
    // 360 in batches of 100: 100, 100, 100, 60. 90 in batches of 50: 50, 40, 50, 40.
    holds(
        "data d = digits()
        data few = digits().take(90)
        pass p for { label } in d.test.batches(100), { image } in few.test.batches(50) { log x = 1.0 }
        assert p.x == 1.0",
    );
}

#[test]
fn nets_and_weights_are_the_same_for_every_batch() {
    holds(
        "use std.net.linear
        data d = digits()
        net f = linear(3)
        pass p for { image } in d.test.batches(100) {
          let y = f(flatten(image))
          collect y = if len(image) > 90 { y } else { y + 1.0 }
        }
        let y = f(flatten(d.test.image))
        assert near(p.y[0..300], y[0..300], 1e-4) and near(p.y[300..], y[300..] + 1.0, 1e-4)",
    );
}

#[test]
fn what_a_pass_says_may_not_depend_on_its_last_batch() {
    let text = "data d = digits()
        pass p for { label } in d.test.batches(100) {
          if len(label) > 80 { log a = 1.0 } else { log b = 2.0 }
        }";
    fails(text, Code::ShapeMismatch);
    let found = refused(
        "data d = digits()
        pass p for { label } in d.test.batches(100) {
          let x = if len(label) > 80 { label } else { labels }
          log a = sum(x)
        }",
    );
    assert!(found.iter().all(|fault| fault.code == Code::UnknownName), "{found:?}");
}
