//! Rules that the manual states in a sentence.

use super::{fails, holds};
use crate::diagnostics::Code;

#[test]
fn a_name_of_the_file_hides_a_builtin_from_its_line_on() {
    holds(
        "assert sum([1, 2]) == 3
        let exp = 3
        assert exp + 1 == 4
        let log = |x| x + 1
        assert log(1) == 2
        let step = 5
        let view = step + 1
        let data = [step, view]
        assert data == [5, 6] and data[0] == 5",
    );
}

#[test]
fn a_function_named_like_one_of_the_library_is_the_files_own() {
    holds(
        "fn mean(x) { 7.0 }
        fn normalize(x, by) { x / by }
        assert mean([1.0, 3.0]) == 7.0
        assert near(normalize([2.0], 4.0), [0.5])
        # What the library itself calls is its own.
        assert near(std([1.0, 3.0]), 1.0)
        assert near(variance([1.0, 3.0]), 1.0)",
    );
}

#[test]
fn a_let_in_a_block_ends_with_it_and_a_var_is_bound_again_through_it() {
    holds(
        "let a = 1
        var b = 1
        let inner = if true { let a = 2;  b = b + a;  a } else { 0 }
        assert a == 1 and inner == 2 and b == 3
        fn f(x) {
          var y = x
          for i in 0..3 { let x = 10;  if i > 0 { y = y + x } }
          y + x
        }
        assert f(1) == 22
        let block = { let a = 5;  let c = a + 1;  c * a }
        assert block == 30 and a == 1",
    );
    fails("let a = { let hidden = 3;  hidden }\nlet b = hidden", Code::UnknownName);
    fails("let a = 1\nfn f() { missing = 2 }\nlet b = f()", Code::UnknownName);
}

#[test]
fn an_if_is_a_value() {
    holds(
        "fn sign(x) { if x > 0 { 1 } else if x < 0 { -1 } else { 0 } }
        assert [sign(x) for x in [3, -3, 0]] == [1, -1, 0]
        let k = 2 + (if false { 1 } else { 10 })
        assert k == 12
        assert is_none(if false { 1 })
        let parts = { width: if k > 3 { 4 } else { 5 }, name: \"n\" }
        assert parts.width == 4",
    );
    fails("let x = [1.0, 2.0]\nlet e: [2] ~ normal(0, 1)\nlet y = if e > 0 { 1 } else { 2 }", Code::WrongTime);
}

#[test]
fn comprehensions_filter_nest_and_keep_tensors() {
    holds(
        "assert [2 * i for i in 0..6 if i % 2 == 1] == [2, 6, 10]
        assert [[i, j] for i in 0..3 for j in 0..i if i + j != 3] == [[1, 0], [2, 0]]
        assert [a + b for a, b in [1, 2], [10, 20]] == [11, 22]
        assert [n for { n } in [{ n: 1 }, { n: 2 }] if n > 1] == [2]
        let x: [3, 2] = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
        let sums = [sum(row) for row in x]
        assert shape(sums) == [3] and near(sums, [3.0, 7.0, 11.0])
        assert [i for i in 0..3 if false] == []",
    );
}

#[test]
fn a_static_for_walks_lists_together() {
    holds(
        "var total = 0
        for a, b in [1, 2, 3], [10, 20, 30] { total = total + a * b }
        assert total == 140
        for [i, name] in zip([1, 2], [\"a\", \"b\"]) if name != \"a\" { total = i }
        assert total == 2
        for i, x in 0..2, [5, 7] if x > 5 { total = total + i }
        assert total == 3
        for { key, value: v } in [{ key: 1, value: 4 }] { total = key + v }
        assert total == 5
        let zip = 3
        let concat = zip
        assert [i + a for i in 0..2 for a in [10]] == [10, 11]
        for i, [a, b] in 0..2, [[1, 2], [3, 4]] { total = total + i * a * b }
        assert total == 17",
    );
    fails("for a, b in [1, 2], [1] { assert a > 0 }", Code::ArgumentCount);
}

#[test]
fn operators_bind_as_the_manual_says() {
    holds(
        "assert -2^2 == -4 and near(2.0^-1, 0.5) and 2^3^2 == 512
        assert 7 // 2 == 3 and -7 // 2 == -4 and 7 % 3 == 1 and -7 % 3 == 2
        let x: [2, 2] = [[1.0, 2.0], [3.0, 4.0]]
        let w: [2, 2] = [[0.0, 1.0], [1.0, 0.0]]
        assert near(2 * x @ w, [[4.0, 2.0], [8.0, 6.0]])
        assert near(x @ w + x, [[3.0, 3.0], [7.0, 7.0]])
        assert near(x.T[0], [1.0, 3.0])
        assert not false and true or false
        assert \"ab\" has \"a\" and 2 in [1, 2] and not (3 in [1, 2])",
    );
    fails("let a = 1 == 1 == true", Code::Syntax);
}

#[test]
fn lines_go_on_after_an_operator_and_before_one() {
    holds(
        "let a = 1 +
          2
        let b = [1.0, 2.0]
          |> sum
        let c = a == 3
          and b == 3.0
        assert c
        fn f() {
          let x = 3
          -x
        }
        assert f() == -3",
    );
}

#[test]
fn blocks_of_names_are_records() {
    holds(
        "let inner = { deep: { a: 1 } }
        fn one(x) { x }
        fn record(x) { x, y: x + 1 }
        fn kept(x) { { x, } }
        fn pun() { inner.deep, b: 2 }
        assert one(3) == 3 and record(3).y == 4 and kept(3).x == 3 and pun().deep.a == 1
        let more = { ..record(1), y: 9 }
        assert more.x == 1 and more.y == 9
        let { x, y: z } = more
        assert x + z == 10",
    );
}

#[test]
fn sizes_agree_and_do_not_broadcast_in_signatures() {
    holds(
        "fn f(a: [n, d], b: [n, d]) -> [n] { sum(a * b, axis: 1) }
        assert near(f(ones(2, 3), ones(2, 3)), [3.0, 3.0])
        let i: int[2] = [0, 1]
        let x: [2, 2] = [[1.0, 2.0], [3.0, 4.0]]
        assert near(x[i, i], [1.0, 4.0])",
    );
    fails("fn f(a: [n, d], b: [n, d]) { a }\nlet x = f(ones(2, 3), ones(1, 3))", Code::ShapeMismatch);
}

#[test]
fn nets_train_by_mode_and_only_those_in_over_write_their_buffers() {
    holds(
        "use std.optim.sgd
        module counter() (x: [n, d]) -> [n, d] {
          weight w: [d] = 1.0
          state seen: [] = 0.0
          seen <- seen + 1.0
          let by = if training { 2.0 } else { 1.0 }
          by * w * x
        }
        net learns = counter()
        net teaches = counter()
        data d = digits()
        train t(steps: 3) for { image } in d.train.batches(8) {
          let x = flatten(image)
          let still = learns.infer(x)
          log ratio = sum(learns(x)) / sum(still)
          minimize mean((learns(x) - stop(teaches(x)))^2) over learns using sgd(0.0)
        }
        assert near(t.ratio, 2.0)
        assert teaches.seen == 0.0 and learns.seen > 0.0
        pass p for { image } in d.test.batches(90) { measure m = sum(learns(flatten(image))) / sum(flatten(image)) }
        assert near(p.m, 1.0, 1e-4)",
    );
}

#[test]
fn what_is_read_after_a_write_is_new_and_no_gradient_flows_through() {
    holds(
        "use std.optim.sgd
        weight w: [] = 2.0
        state s: [] = 1.0
        train t(steps: 1) {
          let before = s
          s <- s + w
          log before, after = s
          minimize w * s using sgd(1.0)
        }
        assert t.before == 1.0 and t.after == 3.0
        # The derivative of `w * s` is `s`, now 3: nothing through `s <- s + w`.
        assert near(w, -1.0)",
    );
}

#[test]
fn rows_of_a_state_are_set_or_added_to() {
    holds(
        "data d = digits().take(6)
        state seen: [6] = 0.0
        state last: [6] = 0.0
        train t(epochs: 2) for { label } in d.train.batches(3) {
          seen[index] <+ ones(len(label))
          last[index] <- 10.0 * float(label)
        }
        assert near(seen, 2.0 * ones(6)) and near(last, 10.0 * float(d.train.label))",
    );
}

/// A program holds that knows an optimiser which takes 1, 2, 3, … off a weight.
fn counts(program: &str) {
    let optimiser = "optimizer counting(lr = 1.0) (w, g) {
          state n = zeros_like(w)
          n <- n + 1.0
          w - lr * n
        }";
    holds(&format!("{optimiser}\n{program}"));
}

#[test]
fn a_train_entered_again_starts_its_clock_and_memory_anew() {
    counts(
        "weight w: [] = 0.0
        repeat 2 {
          train t(steps: 2) as now { minimize 1.0 * w using counting();  log step = now.step }
          assert t.step == 1.0
        }
        # 1 + 2 each time.
        assert near(w, -6.0)",
    );
}

#[test]
fn an_optimiser_named_twice_is_one_and_written_twice_is_two() {
    counts(
        "weight a: [] = 0.0
        weight b: [2] = 0.0
        let rule = counting()
        train t(steps: 2) {
          minimize a + sum(b) using rule where rank == 0, counting(lr: 10.0) where rank == 1
        }
        assert near(a, -3.0) and near(b, [-30.0, -30.0])",
    );
    fails(
        "use std.optim.sgd\nweight a: [] = 0.0\ntrain t(steps: 1) { minimize a using sgd(1.0) where rank == 1 }",
        Code::EmptySelection,
    );
}

#[test]
fn over_chooses_by_name_rank_and_exception() {
    holds(
        "use std.net.linear
        use std.optim.sgd
        net f = { body: linear(2), head: linear(1) }
        let x = ones(4, 3)
        let first = f.head(f.body(x))
        let body = f.body.weight
        let bias = f.body.bias
        let head = f.head.weight
        train t(steps: 1) {
          minimize mean(f.head(f.body(x))^2) + sum(f.body.weight) over f except f.head where rank >= 2 using sgd(0.1)
        }
        assert near(f.head.weight, head) and near(f.body.bias, bias)
        assert max(abs(f.body.weight - body)) > 0.01",
    );
    fails(
        "use std.optim.sgd\nweight a: [] = 0.0\ntrain t(steps: 1) { minimize a over a where path has \"zz\" using sgd(1.0) }",
        Code::EmptySelection,
    );
}

#[test]
fn lists_of_nets_and_parts_bound_by_let_have_paths() {
    holds(
        "use std.net.linear
        module two() (x: [n, d]) -> [n, d] {
          let stages = [linear(d) for k in 0..2]
          var h = x
          for stage in stages { h = h |> stage }
          let head = linear(d)
          head(h)
        }
        net f = two()
        assert shape(f(ones(1, 3))) == [1, 3]
        assert shape(f.stages[1].weight) == [3, 3] and shape(f.head.bias) == [3]
        assert max(abs(f.stages[0].weight - f.stages[1].weight)) > 0.0
        net experts = [linear(2) for k in 0..3]
        let out = [expert(ones(1, 3)) for expert in experts]
        assert len(out) == 3 and shape(experts[2].weight) == [2, 3]",
    );
}

#[test]
fn a_draw_belongs_to_its_place() {
    let draw = |before: &str| format!("{before}\nlet e: [3] ~ normal(0, 1)\nassert near(e, e)\nlet shown = e");
    holds(&format!(
        "fn one() {{ let e: [3] ~ normal(0, 1);  e }}
        let a = one()
        let b = one()
        assert max(abs(a - b)) > 0.0
        let all = [one() for k in 0..2]
        assert max(abs(all[0] - all[1])) > 0.0
        {}",
        draw("let other = 3")
    ));
}

#[test]
fn an_if_that_the_run_decides_has_no_value() {
    fails("let x: [2] = [1.0, 2.0]\nlet y = if x[0] > 0.0 { 1.0 } else { 2.0 }", Code::WrongTime);
    fails("fn f(a) { if a[0] > 0.0 { a } else { 2 * a } }\nlet x: [2] = [1.0, 2.0]\nlet z = f(x)", Code::WrongTime);
    holds("let x: [2] = [1.0, 2.0]\nvar y = 0.0\nif x[0] > 0.0 { y = 1.0 } else { y = 2.0 }\nassert y == 1.0");
}

#[test]
fn what_is_frozen_before_it_has_a_name_never_learns() {
    let text = "use std.net.linear\nuse std.optim.sgd\nnet f = freeze(linear(3))\nnet g = linear(2)\n\
                train t(steps: 1) { let y = g(f(ones(2, 4))); minimize mean(y^2) over f, g using sgd(0.1) }";
    fails(text, Code::FrozenTrained);
    holds(&text.replace("over f, g", "over g"));
}

#[test]
fn a_constant_is_exact_or_refused() {
    fails("let x: int[2] = [9007199254740993, 1]", Code::SizeOverflow);
    holds(
        "let x: int[1] = [9007199254740991]\nassert x[0] - 1 == 9007199254740990 and x[0] + 2 - 3 == 9007199254740990",
    );
}

#[test]
fn a_draw_has_the_shape_of_its_type() {
    fails("fn flat() { |sizes| zeros(2) }\nlet x: [3] ~ flat()", Code::ShapeMismatch);
}
