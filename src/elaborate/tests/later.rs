//! What is read and checked, and refused at its place when it should run.

use super::{fails, holds, refused};
use crate::diagnostics::Code;

#[test]
fn what_cannot_run_yet_is_named_at_its_place() {
    for (text, place) in [
        ("pool pairs (role: training): { x: [4], y: int }", "pool pairs (role: training): { x: [4], y: int }"),
        ("flywheel f(rounds: 3) as round { report round }", "flywheel f(rounds: 3) as round { report round }"),
        (
            "study (seed in 0..2) as r { assert mean(r.a) > 0.0 }",
            "study (seed in 0..2) as r { assert mean(r.a) > 0.0 }",
        ),
        ("choose width in [8, 16]", "choose width in [8, 16]"),
        (
            "data d = generate(300) |i| { let e: [2] ~ normal(0, 1);  { x: e, y: i % 2 } }",
            "generate(300) |i| { let e: [2] ~ normal(0, 1);  { x: e, y: i % 2 } }",
        ),
        ("data d = stream as i { { x: i } }", "stream as i { { x: i } }"),
        (
            "let x = retry 10 { let e: [] ~ normal(0, 1);  until e > 0;  e }",
            "retry 10 { let e: [] ~ normal(0, 1);  until e > 0;  e }",
        ),
        ("data d(sigma: float) = digits()", "d"),
        ("train t(steps: 2, checkpoint: every 5 epochs) { log x = 1 }", "every 5 epochs"),
    ] {
        assert_eq!(fails(text, Code::NotYet), place, "{text}");
    }
}

#[test]
fn a_step_of_its_own_and_what_drives_it_are_both_named() {
    let text = "weight w: [2] = 1.0\nstep inner { log x = sum(w) }\nrepeat 2 { run inner for 2 steps }";
    let places: Vec<String> = refused(text)
        .iter()
        .map(|fault| {
            assert_eq!(fault.code, Code::NotYet);
            text[fault.labels[0].span.range()].to_string()
        })
        .collect();
    assert_eq!(places, ["step inner { log x = sum(w) }", "run inner for 2 steps"]);
}

#[test]
fn what_follows_a_pool_is_not_a_second_mistake() {
    let text = "data d = digits()\npool seen: { x: [2] }\npass p for { image } in d.test.batches(9) {\n  \
                emit seen { x: image } where 1 > 0\n}\nlet n = seen.count";
    fails(text, Code::NotYet);
}

#[test]
fn ranges_take_steps() {
    holds(
        "assert [i for i in 0..10 step 3] == [0, 3, 6, 9]
        assert len(2..9 step 4) == 2
        let list = [10, 11, 12, 13, 14]
        assert list[0..5 step 2] == [10, 12, 14] and list[1.. step 3] == [11, 14] and list[.. step 4] == [10, 14]
        assert list[..4 step 2] == [10, 12] and list[-3.. step 2] == [12, 14] and list[[0, 4]] == [10, 14]
        let x: [6] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
        assert near(x[1..6 step 2], [1.0, 3.0, 5.0]) and near(x[.. step 4], [0.0, 4.0])
        let m: [2, 4] = [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]]
        assert near(m[:, 0..4 step 3], [[0.0, 3.0], [4.0, 7.0]])
        var total = 0
        for i in 0..7 step 2 { total = total + i }
        assert total == 12",
    );
    assert_eq!(fails("let a = 0..4 step 0", Code::BadValue), "0");
}

#[test]
fn arguments_spread() {
    holds(
        "fn f(a, b, c = 3) { a + 10 * b + 100 * c }
        assert f(..[1, 2]) == 321 and f(1, ..[2, 4]) == 421
        let base = { b: 2, c: 5 }
        assert f(1, ..base) == 521 and f(..{ a: 1, ..base }) == 521 and f(..[1], b: 2) == 321
        assert (1 |> f(..base)) == 521
        assert near(sum(..[[[1.0, 2.0], [3.0, 4.0]]], axis: 0), [4.0, 6.0])
        flow run(lr: float, n: int) { lr * n }
        let recipes = [{ lr: 0.5, n: 2 }, { n: 4, lr: 1.0 }]
        assert [run(..recipe) for recipe in recipes] == [1.0, 4.0]",
    );
    assert_eq!(fails("fn f(a) { a }\nlet x = f(..3)", Code::TypeMismatch), "3");
    fails("fn f(a) { a }\nlet x = f(..{ a: 1, z: 2 })", Code::UnknownArgument);
}

#[test]
fn lambdas_take_records_and_lists_apart() {
    holds(
        "let area = |{ width, height: h }| width * h
        assert area({ width: 2, height: 3 }) == 6
        let swap = |(a, b), c| [b, a, c]
        assert swap([1, 2], 3) == [2, 1, 3]
        fn apply(f, x) { f(x) }
        assert apply(|{ x }| { x, y: x + 1 }, { x: 1 }).y == 2",
    );
    fails("let f = |{ a }| a\nlet x = f({ b: 1 })", Code::UnknownField);
}

#[test]
fn imports_take_other_names() {
    holds(
        "use std.eval.accuracy as share
        use std.stats.{effective_rank as breadth}
        use std.optim as rules
        use std.stats
        use std.data.digits as little
        data d = little()
        assert d.test.count == 360
        assert near(share([[1.0, 0.0], [1.0, 0.0]], [0, 1]), 0.5)
        assert near(breadth([[1.0, 0.0], [-1.0, 0.0]]), 1.0)
        assert near(stats.effective_rank([[1.0, 0.0], [-1.0, 0.0]]), 1.0)
        weight w: [1] = [1.0]
        train t(steps: 1) { minimize sum(w^2) / 2 using rules.sgd(0.5) }
        assert near(w, [0.5])",
    );
    fails("use std.losses as l", Code::UnknownImport);
}

#[test]
fn reports_and_logs_name_themselves() {
    holds(
        "data d = digits()
        let rounds = 3
        report rounds, d.test.count, twice = 2 * rounds, len([1, 2])
        pass p for { image } in d.test.batches(60) {
          let light = mean(image)
          measure light, most = max(image)
          log light
          collect label_free = flatten(image)
        }
        assert p.most > 0.9 and p.light > 0.1 and shape(p.label_free) == [360, 64]",
    );
}
