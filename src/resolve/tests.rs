//! Imports and names, from texts in memory.

use std::path::PathBuf;

use super::{Binding, Modules, load};
use crate::diagnostics::{Code, Diagnostic, Format, render};
use crate::source::{Memory, SourceMap, library_files};

/// The entry `main.ssl` with files beside it.
fn loaded(entry: &str, beside: &[(&str, &str)]) -> (Modules, Vec<Diagnostic>, SourceMap) {
    let mut sources = SourceMap::default();
    let files = beside.iter().map(|(name, text)| (PathBuf::from("work").join(name), text.to_string()));
    let id = sources.add("work/main.ssl", Some(PathBuf::from("work")), entry);
    let (modules, found) = load(id, &mut sources, &Memory(files.collect()));
    (modules, found, sources)
}

/// What the compiler reports of names.
fn check_names(modules: &Modules) -> Vec<Diagnostic> {
    super::check_names(modules, &crate::elaborate::builtin_names())
}

fn codes(found: &[Diagnostic]) -> Vec<Code> {
    found.iter().map(|diagnostic| diagnostic.code).collect()
}

fn faults(entry: &str, beside: &[(&str, &str)]) -> String {
    let (modules, mut found, sources) = loaded(entry, beside);
    found.extend(check_names(&modules));
    found.iter().map(|diagnostic| render(diagnostic, &sources, Format::Human { colour: false })).collect()
}

/// The names reported in a program, without what surrounds them.
fn unknown(entry: &str) -> Vec<String> {
    let (modules, found, _) = loaded(entry, &[]);
    assert!(found.iter().all(|diagnostic| diagnostic.code == Code::Syntax), "{found:?}");
    let names = check_names(&modules).into_iter();
    names.map(|diagnostic| diagnostic.headline.split('`').nth(1).unwrap_or("").to_string()).collect()
}

#[test]
fn the_library_and_the_pipelines_bind_every_name() {
    let library = library_files().into_iter().map(|(name, text)| (name, text.to_string()));
    let pipelines =
        std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines")).into_iter().flatten().flatten();
    let pipelines = pipelines.filter_map(|entry| {
        Some((entry.file_name().to_string_lossy().into_owned(), std::fs::read_to_string(entry.path()).ok()?))
    });
    for (name, text) in library.chain(pipelines).filter(|(name, _)| name.ends_with(".ssl")) {
        assert_eq!(faults(&text, &[]), "", "{name}");
    }
}

#[test]
fn a_name_comes_from_the_library_by_its_file_or_by_a_name_in_it() {
    let (modules, found, sources) = loaded("use std.eval.linear_probe\nuse std.eval.{accuracy, knn}\n", &[]);
    assert_eq!(codes(&found), []);
    let from = |name: &str| match &modules.modules[modules.entry].names[name] {
        Binding::Imported { module, .. } => sources.file(modules.modules[*module].file.source).name.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(from("linear_probe"), "std/eval/linear_probe.ssl");
    assert_eq!(from("knn"), "std/eval/knn.ssl");
    assert_eq!(from("accuracy"), "std/eval.ssl");
}

#[test]
fn a_file_beside_is_a_namespace_or_gives_names() {
    let beside = [("worlds.ssl", "fn mazes(n: int) { n }\n")];
    let (modules, found, _) =
        loaded("use \"./worlds.ssl\"\nuse \"./worlds.ssl\" {mazes}\nlet a = worlds.mazes(1)\n", &beside);
    assert_eq!(codes(&found), []);
    let names = &modules.modules[modules.entry].names;
    assert!(matches!(names["worlds"], Binding::Namespace { .. }));
    assert!(matches!(names["mazes"], Binding::Imported { .. }));
    assert_eq!(check_names(&modules).len(), 0);
}

#[test]
fn a_file_that_two_import_is_read_once() {
    let beside = [("a.ssl", "use \"./b.ssl\" {f}\nfn g(x) { f(x) }\n"), ("b.ssl", "fn f(x) { x }\n")];
    let (modules, found, sources) = loaded("use \"./a.ssl\" {g}\nuse \"./sub/../b.ssl\" {f}\n", &beside);
    assert_eq!(codes(&found), []);
    let named = modules.modules.iter().filter(|module| sources.file(module.file.source).name.ends_with("b.ssl"));
    assert_eq!(named.count(), 1);
}

#[test]
fn an_unknown_import_is_reported_with_its_neighbour() {
    insta::assert_snapshot!(faults("use std.eval.{linear_prob}\n", &[]), @r#"
    error[E0204]: `std.eval` has no `linear_prob`
       ╭─[work/main.ssl:1:15]
     1 │ use std.eval.{linear_prob}
       │               ─────┬─────
       │                    ╰── not in the library
       help: did you mean `linear_probe`?
    "#);
}

#[test]
fn an_import_from_the_wrong_place_is_told_the_right_one() {
    insta::assert_snapshot!(faults("use std.net.adamw\n", &[]), @r#"
    error[E0204]: `std.net` has no `adamw`
       ╭─[work/main.ssl:1:13]
     1 │ use std.net.adamw
       │             ──┬──
       │               ╰── not in the library
       help: it is in another place: `use std.optim.adamw`
    "#);
}

#[test]
fn a_name_that_a_file_lacks() {
    insta::assert_snapshot!(faults("use \"./worlds.ssl\" {maze}\n", &[("worlds.ssl", "fn mazes(n: int) { n }\n")]), @r#"
    error[E0204]: `./worlds.ssl` has no `maze`
       ╭─[work/main.ssl:1:21]
     1 │ use "./worlds.ssl" {maze}
       │                     ──┬─
       │                       ╰── not in that file
       help: did you mean `mazes`?
    "#);
}

#[test]
fn a_missing_file_is_reported_once() {
    insta::assert_snapshot!(faults("use \"./worlds.ssl\"\nlet a = worlds_.f\nlet b = worlds.f\n", &[]), @r#"
    error[E0501]: cannot read `work/worlds.ssl`: there is no such file
       ╭─[work/main.ssl:1:5]
     1 │ use "./worlds.ssl"
       │     ───────┬──────
       │            ╰── imported here
       help: check the path: it is relative to the file in which it stands
    error[E0201]: unknown name `worlds_`
       ╭─[work/main.ssl:2:9]
     2 │ let a = worlds_.f
       │         ───┬───
       │            ╰── not defined before this line
       help: did you mean `worlds`?
    "#);
}

#[test]
fn files_that_import_each_other() {
    let beside = [("a.ssl", "use \"./b.ssl\" {g}\nfn f(x) { x }\n"), ("b.ssl", "use \"./a.ssl\" {f}\nfn g(x) { x }\n")];
    insta::assert_snapshot!(faults("use \"./a.ssl\" {f}\n", &beside), @r#"
    error[E0205]: files import each other: work/a.ssl → work/b.ssl → work/a.ssl
       ╭─[work/b.ssl:1:5]
     1 │ use "./a.ssl" {f}
       │     ────┬────
       │         ╰── closes the circle
       ╭─[work/a.ssl:1:5]
     1 │ use "./b.ssl" {g}
       │     ────┬────
       │         ╰── on the way
       help: move what both need into a third file
    "#);
}

#[test]
fn a_name_defined_twice() {
    insta::assert_snapshot!(faults("fn f(x) { x }\nlet a = 1\nnet f = a\n", &[]), @r#"
    error[E0206]: `f` is defined twice
       ╭─[work/main.ssl:1:4]
     1 │ fn f(x) { x }
       │    ┬
       │    ╰── first here
       ╭─[work/main.ssl:3:5]
     3 │ net f = a
       │     ┬
       │     ╰── again here
       help: give one of them another name
    "#);
}

#[test]
fn a_file_that_imports_itself() {
    let (_, found, _) = loaded("use \"./main.ssl\"\n", &[]);
    assert_eq!(codes(&found), [Code::ImportCycle]);
}

#[test]
fn faults_of_an_imported_file_are_reported_there() {
    let (_, found, sources) = loaded("use \"./a.ssl\" {f}\n", &[("a.ssl", "fn f(x) { x }\nlet = 3\n")]);
    assert_eq!(codes(&found), [Code::Syntax]);
    assert_eq!(sources.file(found[0].labels[0].span.source).name, "work/a.ssl");
}

#[test]
fn names_of_bodies() {
    assert_eq!(unknown("fn f(x: [n, 2 * d], y: [d, ..s]) -> [n, k] { let z = x * n * d * k;  z + y + w }\n"), ["w"]);
    assert_eq!(
        unknown("module m(out: int) (x: [n, d]) -> [n, out] { weight w: [out, d] ~ normal(0, 1);  x @ w.T + b }\n"),
        ["b"]
    );
    assert_eq!(unknown("module m(out: int) (x) { weight w: [out, q] = 0;  w }\n"), ["q"]);
    assert_eq!(
        unknown("optimizer sgd(lr = 1) (w, g) { state m = zeros_like(w);  m <- m + g * t;  w - lr * m * now.step }\n"),
        ["now"]
    );
    assert_eq!(unknown("optimizer sgd(lr = 1) (w, g) as now { w - lr * g * now.step }\n"), [""; 0]);
    assert_eq!(unknown("view v(image: [c, h, w]) { image + c * h * w + e }\n"), ["e"]);
    assert_eq!(
        unknown(
            "let f = |x, y| { let z = x + y;  z + q }\nlet g = [i * j for i in 0..3 for { j, k: l } in 0..i if l > k]\n"
        ),
        ["q", "k"]
    );
    assert_eq!(unknown("data noisy(sigma: float) = mnist(sigma).map(|r| r.x + sigma + tau)\n"), ["tau"]);
    assert_eq!(unknown("if training { let a = 1;  log(a) } else { log(a) }\n"), ["a"]);
    assert_eq!(unknown("var a = 1\na = a + 1\nb = 2\n"), ["b"]);
    assert_eq!(unknown("let { u, v: w } = mnist()\nlet [p, [q, r]] = u + w + p\nlet s = v\n"), ["p", "v"]);
}

#[test]
fn names_of_steps_and_flows() {
    let program = "data d = mnist()\nnet f = d\nlet opt = f\n\
        train fit(epochs: 3, precision: bf16) as now for { image, label: y }, z in d.train.batches(3) {\n";
    let faulty = unknown(&program.replace("}, z in", "} in d, z in").replace("{\n",
        "{\n  minimize f(image) + y + z over f where rank >= 2 and path has \"x\" using opt(lr: now.step) where size > 2\n  log p = path\n}\nlet e = fit.loss + now\n"));
    assert_eq!(faulty, ["path", "now"]);
    assert_eq!(
        unknown(
            "let p = 1\npool kept (role: training): { x: float }\npass w for o in p { emit kept { ..o, score: p, o.deep } where score + deep > 2 }\n"
        ),
        [""; 0]
    );
    assert_eq!(
        unknown(
            "sweep arm(lr in [1, 2], seed in 0..3) { yield { lr } }\nlet a = sum(arm.x, axis: seed) + sum(arm.x, axis: sead)\n"
        ),
        ["sead"]
    );
    assert_eq!(unknown("repeat 3 as i { log(i) }\nflywheel w(rounds: 3) as r { until r > 2 }\nlet a = i\n"), ["i"]);
    assert_eq!(
        unknown("let d = mnist().split(stratified: label).top(3, by: score).sort(by: |r| r.score + s)\n"),
        ["s"]
    );
    assert_eq!(
        unknown("net n = 1\nlet w = n.weights.where(path >= 2)\nlet v = n.weights.filter(path >= 2)\n"),
        ["path"]
    );
    assert_eq!(unknown("for x, y in [1], [2] { log(x + y + z) }\n"), ["z"]);
    assert_eq!(unknown("study (arm in [1], seed in 0..5) as r { assert r.at(arm: 1) > arm + seed + s }\n"), ["s"]);
}

#[test]
fn definitions_stand_in_any_order_and_values_in_theirs() {
    assert_eq!(unknown("let a = f(1)\nfn f(x) { x + b }\nlet b = 2\n"), [""; 0]);
    insta::assert_snapshot!(faults("let a = b\nlet b = 2\n", &[]), @r#"
    error[E0201]: `b` is used before its line
       ╭─[work/main.ssl:1:9]
     1 │ let a = b
       │         ┬
       │         ╰── used here
     2 │ let b = 2
       │     ┬
       │     ╰── defined here
       help: a file runs from top to bottom: move the definition up
    "#);
    assert_eq!(unknown("test \"later\" { assert near(b, 2) }\nlet b = 2\n"), [""; 0]);
    assert_eq!(unknown("flow g() { let a = h(1)\n  fn h(x) { x }\n  a + c\n}\n"), ["c"]);
}

#[test]
fn remedies() {
    insta::assert_snapshot!(faults("net backbone = mnist()\nlet a = bakcbone\n", &[]), @r#"
    error[E0201]: unknown name `bakcbone`
       ╭─[work/main.ssl:2:9]
     2 │ let a = bakcbone
       │         ────┬───
       │             ╰── not defined before this line
       help: did you mean `backbone`?
    "#);
    insta::assert_snapshot!(faults("let a = linear_probe(1, 2)\n", &[]), @r#"
    error[E0201]: unknown name `linear_probe`
       ╭─[work/main.ssl:1:9]
     1 │ let a = linear_probe(1, 2)
       │         ──────┬─────
       │               ╰── not defined before this line
       help: add `use std.eval.{linear_probe}`
    "#);
    insta::assert_snapshot!(faults("let a = linear_prob(1, 2)\n", &[]), @r#"
    error[E0201]: unknown name `linear_prob`
       ╭─[work/main.ssl:1:9]
     1 │ let a = linear_prob(1, 2)
       │         ─────┬─────
       │              ╰── not defined before this line
       help: did you mean `linear_probe`? add `use std.eval.{linear_probe}`
    "#);
    insta::assert_snapshot!(faults("let a = sofmax(None)\n", &[]), @r#"
    error[E0201]: unknown name `sofmax`
       ╭─[work/main.ssl:1:9]
     1 │ let a = sofmax(None)
       │         ───┬──
       │            ╰── not defined before this line
       help: did you mean `softmax`?
    error[E0201]: unknown name `None`
       ╭─[work/main.ssl:1:16]
     1 │ let a = sofmax(None)
       │                ──┬─
       │                  ╰── not defined before this line
       help: write `none`
    "#);
}

#[test]
fn what_could_not_be_read_may_have_bound_a_name() {
    assert_eq!(unknown("let a = = 3\nlet b = a + c\n"), ["c"]);
    assert_eq!(unknown("fn f(x) {\n  let y = x +* 2\n  y + z\n}\n"), ["z"]);
}

#[test]
fn a_name_is_reported_once_in_a_file() {
    assert_eq!(unknown("let a = mse_(1)\nlet b = mse_(2)\n"), ["mse_"]);
}
