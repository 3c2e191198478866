//! Forms that are written seldom: ranges with steps, spreads, patterns of lambdas, values that name themselves.

use super::{grouped, show, statement, told};
use crate::source::SourceId;
use crate::syntax::*;

#[test]
fn ranges_with_steps_and_spread_arguments() {
    assert_eq!(grouped("0..n + 1 step 2 * k"), "(0..(Add n 1) step (Multiply 2 k))");
    assert_eq!(
        grouped("x[0..16 step 2, .. step 3, -k.. step 2]"),
        "x[(0..16 step 2) (.. step 3) ((Negate k).. step 2)]"
    );
    assert_eq!(grouped("x[..b + 1 step 2]"), "x[(..(Add b 1) step 2)]");
    assert_eq!(grouped("step.count + 0..step step step"), "((Add step.count 0)..step step step)");
    assert_eq!(grouped("f(a, ..xs, ..base.more, c: 1)"), "f(a ..xs ..base.more c:1)");
    assert!(told("let a = b step 2").contains("only a range has a `step`"));
}

#[test]
fn a_lambda_takes_its_arguments_apart() {
    assert_eq!(grouped("|{ a, b: c }, (x, y), [z]| a + z"), "(|{ a, b: c } (x, y) [z]| (Add a z))");
    assert_eq!(grouped("rows.map(|{ tokens, target }| { tokens })"), "rows.map((|{ tokens, target }| tokens))");
}

#[test]
fn what_is_said_names_itself() {
    let said = |text: &str| match statement(text) {
        StatementKind::Say { name: None, value, .. } => show(&value),
        other => panic!("{other:?}"),
    };
    assert_eq!(said("log loss"), "{loss}");
    assert_eq!(said("measure a.b, c"), "{a.b c}");
    assert_eq!(said("collect mean(x)"), "{mean(x)}");
    assert_eq!(said("report round, best = 2 * x, len(y)"), "{round best:(Multiply 2 x) len(y)}");
    assert_eq!(said("report a + b"), "(Add a b)");
    assert_eq!(said("report 1"), "1");
    assert!(told("log a + b").contains("an entry of a record needs a name"));
    for text in ["log in xs", "measure and b", "log(x), y"] {
        assert!(!matches!(parse(SourceId(0), text).0.statements[0].kind, StatementKind::Say { .. }), "{text}");
    }
}

#[test]
fn streams_and_retries_hand_over_their_block() {
    assert_eq!(grouped("stream { i }.take(3)"), "stream((|| i)).take(3)");
    assert_eq!(grouped("stream as i { x: i }"), "stream((|i| {x:i}))");
    assert_eq!(grouped("retry 2 * n { f(x) }"), "retry((Multiply 2 n) (|| f(x)))");
    assert_eq!(grouped("stream + retry(3)"), "(Add stream retry(3))");
}

#[test]
fn imports_take_other_names() {
    let StatementKind::Use { names, alias, .. } = statement("use std.eval.{knn as near, accuracy}") else { panic!() };
    assert_eq!(names.iter().map(|used| &*used.bound().text).collect::<Vec<_>>(), ["near", "accuracy"]);
    assert!(alias.is_none());
    for text in ["use std.eval as l", "use std.eval.knn as l", "use \"./a.ssl\" as l"] {
        let StatementKind::Use { alias, .. } = statement(text) else { panic!() };
        assert_eq!(alias.map(|name| name.text.to_string()).as_deref(), Some("l"), "{text}");
    }
    let StatementKind::Use { names, .. } = statement("use \"./a.ssl\".b as l") else { panic!() };
    assert_eq!(&*names[0].bound().text, "l");
}
