//! Measures are those of the whole data set, whatever the batch.

use super::{fails, holds};
use crate::diagnostics::Code;

/// The same measures for batches that divide the data, that do not, and of everything at once.
#[track_caller]
fn same_for_every_batch(measured: &str, wanted: &str) {
    for batch in [1, 7, 90, 100, 360, 999] {
        holds(&format!(
            "data d = digits()
            let image = d.test.image
            let label = d.test.label
            let wanted = {wanted}
            pass p for {{ image, label }} in d.test.batches({batch}) {{ measure m = {measured} }}
            assert near(p.m, wanted, 2e-5), \"batches of {batch}\""
        ));
    }
}

#[test]
fn reductions_are_those_of_all_rows() {
    let all = "[mean(image), sum(image) / 100.0, min(image), max(image), std(image), variance(image), \
               count(image) / 100.0, norm(image) / 10.0]";
    let each = all.trim_matches(['[', ']']);
    same_for_every_batch(&format!("stack([{each}])"), all);
}

#[test]
fn a_deviation_far_from_zero_keeps_its_digits() {
    same_for_every_batch("std(label + 100_000.0)", "std(label)");
}

#[test]
fn an_axis_or_a_mask_or_a_rest_changes_nothing() {
    same_for_every_batch("mean(std(flatten(image), axis: 0))", "mean(std(flatten(image), axis: 0))");
    same_for_every_batch("mean(image, axis: 0)", "mean(image, axis: 0)");
    same_for_every_batch("max(mean(flatten(image), axis: 1))", "max(mean(flatten(image), axis: 1))");
    same_for_every_batch("std(label, unbiased: true)", "std(label, unbiased: true)");
    same_for_every_batch("mean(label, where: label > 4)", "mean(label, where: label > 4)");
    same_for_every_batch("count(label, where: label > 4) / count(label)", "mean(float(label > 4))");
    same_for_every_batch("sqrt(mean(label^2)) - 2 * mean(label) / len(label) * 0", "sqrt(mean(float(label)^2))");
    same_for_every_batch("sum(label) / len(label)", "mean(label)");
    same_for_every_batch("flatten(image).T @ flatten(image) / len(image)", "flatten(image).T @ flatten(image) / 360");
    same_for_every_batch("any(label > 8) and all(label >= 0)", "1.0");
}

#[test]
fn names_and_functions_are_looked_through() {
    same_for_every_batch("label |> mean", "mean(label)");
    holds(
        "data d = digits()
        fn spread(x) { let m = mean(x);  mean((x - m)^2) }
        fn mean_of_halves(x) { mean(x / 2) }
        pass p for { label } in d.test.batches(77) {
          let m = mean(label)
          measure named = m
          measure own = spread(float(label))
          measure half = mean_of_halves(float(label))
          measure { both: [m, m + 1.0][1], m }
        }
        let label = float(d.test.label)
        assert near(p.named, mean(label)) and near(p.own, variance(label), 2e-5) and near(p.half, mean(label) / 2)
        assert near(p.both, mean(label) + 1) and near(p.m, mean(label))",
    );
}

#[test]
fn a_function_of_the_program_stands_before_the_librarys() {
    holds(
        "data d = digits()
        fn mean(x) { sum(x) * 2 }
        pass p for { label } in d.test.batches(77) { measure m = mean(label) }
        assert p.m == 2 * sum(d.test.label)",
    );
}

#[test]
fn weights_and_values_of_the_flow_may_take_part() {
    holds(
        "use std.net.linear
        data d = digits()
        net f = linear(1)
        let y = f(flatten(d.test.image))
        let scale = max(d.test.image)
        pass p for { image } in d.test.batches(100) {
          measure m = mean(f(flatten(image))) / scale + sum(f.weight^2)
        }
        assert near(p.m, mean(y) / scale + sum(f.weight^2), 1e-4)",
    );
}

#[test]
fn what_mixes_the_rows_of_a_batch_is_refused() {
    for measured in [
        "mean(standardize(flatten(image)))",
        "mean(float(label) / len(label))",
        "flatten(image)",
        "label[0]",
        "mean(label[1..])",
        "mean(cumsum(label))",
        "mean(sort(float(label)).values)",
        "mean(flatten(image) @ flatten(image).T)",
        "std(standardize(float(label)))",
        "prod(label)",
        "mean(float(iota(len(label))))",
        "mean(float(label)) + mean(float(label) - mean(float(label)) / 2)",
    ] {
        fails(
            &format!(
                "data d = digits()\npass p for {{ image, label }} in d.test.batches(100) {{ measure m = {measured} }}"
            ),
            Code::NotAllowedHere,
        );
    }
}

#[test]
fn a_mean_over_batches_says_so() {
    holds(
        "data d = digits()
        pass p for { label } in d.test.batches(100) {
          measure m = mean_over_batches(max(float(label)) * len(label))
          measure n = 2 * mean_over_batches(mean(standardize(float(label))^2)) + mean(label) * 0
        }
        assert near(p.m, 9.0 * (100 + 100 + 100 + 60) / 4) and near(p.n, 2.0, 1e-4)",
    );
    fails(
        "data d = digits()\npass p for { label } in d.test.batches(9) { log m = mean_over_batches(mean(label)) }",
        Code::NotAllowedHere,
    );
}
