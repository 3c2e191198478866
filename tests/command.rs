//! Verbs and flags of the command line that no other test runs: `ssl test` and `--exact-conv`.

use std::path::Path;
use std::process::{Command, Output};

fn ssl(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ssl"));
    command.args(["--color", "never"]).args(arguments).current_dir(folder).output().expect("the binary starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn test_blocks_pass_and_fail_one_by_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = "test \"holds\" { assert 1 + 1 == 2 }\ntest \"fails\" { assert 1 + 1 == 3 }\n\
                   test \"is wrong\" { assert sum(zeros(2) + zeros(3)) == 0.0 }\n";
    std::fs::write(folder.path().join("a.ssl"), program).expect("a program is written");
    let all = ssl(folder.path(), &["test", "a.ssl"]);
    assert_eq!(all.status.code(), Some(1));
    let lines: Vec<String> =
        text(&all.stdout).lines().map(|line| line.split(" (").next().unwrap_or("").into()).collect();
    assert_eq!(lines, ["ok     a.ssl: holds", "FAILED a.ssl: fails", "FAILED a.ssl: is wrong"]);
    let said = text(&all.stderr);
    assert!(said.contains("`1 + 1 == 3` does not hold") && said.contains("shapes do not fit"), "{said}");
    assert!(said.contains("1 passed, 2 failed"), "{said}");
    assert_eq!(ssl(folder.path(), &["test", ".", "--only", "holds"]).status.code(), Some(0));
}

#[test]
fn files_without_tests_or_that_cannot_be_read_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let none = ssl(folder.path(), &["test", "."]);
    assert_eq!(none.status.code(), Some(2));
    assert!(text(&none.stderr).contains("there is no .ssl file"), "{}", text(&none.stderr));
    std::fs::write(folder.path().join("a.ssl"), "let x = 1\n").expect("a program is written");
    let none = ssl(folder.path(), &["test", "a.ssl", "--only", "loss"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(text(&none.stderr).contains("there is no `test` block with `loss` in its name"), "{}", text(&none.stderr));
    std::fs::write(folder.path().join("a.ssl"), "test \"open\" {\n").expect("a program is written");
    assert_eq!(ssl(folder.path(), &["test", "a.ssl"]).status.code(), Some(1));
    assert_eq!(ssl(folder.path(), &["test", "b.ssl"]).status.code(), Some(2));
}

/// Direct sums and Winograd's: the same losses up to rounding, and not the same bits, so the flag reaches the kernels.
#[test]
fn exact_convolutions_differ_by_rounding_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = "use std.net.conv2d\nuse std.optim.sgd\ndata digits = mnist(size: 14).take(64)\n\
                   net first = conv2d(32, 3, padding: 1)\nnet second = conv2d(32, 3, padding: 1)\n\
                   train fit(steps: 5) for { image } in digits.train.batches(16) {\n  \
                   minimize mean((second(tanh(first(image))) - 0.5)^2) using sgd(0.1)\n}\nreport fit.loss\n";
    std::fs::write(folder.path().join("a.ssl"), program).expect("a program is written");
    let losses = |name: &str, flags: &[&str]| -> Vec<f64> {
        let run = ssl(folder.path(), &[&["run", "a.ssl", "--quiet", "--out", name], flags].concat());
        assert!(run.status.success(), "{}", text(&run.stderr));
        let events = std::fs::read_to_string(folder.path().join(name).join("a/events.jsonl")).expect("a journal");
        let events = events.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        let logged = events.filter(|event| event["event"] == "logged");
        logged.map(|event| event["values"][0][1].as_f64().expect("a loss")).collect()
    };
    let (fast, exact) = (losses("fast", &[]), losses("exact", &["--exact-conv"]));
    assert_eq!(fast.len(), 5);
    for (fast, exact) in fast.iter().zip(&exact) {
        assert!((fast - exact).abs() < 1e-4 * exact.abs(), "{fast} and {exact}");
    }
    #[cfg(target_arch = "x86_64")]
    assert!(!is_x86_feature_detected!("fma") || fast != exact, "the flag changes nothing");
}
