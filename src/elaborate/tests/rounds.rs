//! `scan`: what it refuses, each at its place.

use super::{fails, refused};
use crate::diagnostics::Code;

#[test]
fn what_is_carried_keeps_its_type() {
    for body in [
        "scan(zeros(2), zeros(5, 2), |place, step| concat([place, step]))",
        "scan({ a: zeros(2) }, 3, |pair, i| { b: pair.a })",
        "scan(zeros(2), 3, |x, i| [x, x])",
        "scan([1, 2], 3, |x, i| 0.5 * x)",
    ] {
        let faults = refused(&format!("let walk = {body}"));
        assert!(faults.iter().all(|fault| fault.code == Code::CarryChanges), "{body}: {faults:?}");
        assert_eq!(faults.len(), 1, "{body}");
    }
}

#[test]
fn what_is_walked_over_has_rows_of_one_number() {
    assert_eq!(fails("let walk = scan(0.0, 1.5, |x, row| x + row)", Code::ShapeMismatch), "1.5");
    let two = "{ a: zeros(3), b: zeros(4) }";
    assert_eq!(fails(&format!("let walk = scan(0.0, {two}, |x, row| x)"), Code::ShapeMismatch), two);
    assert_eq!(fails("let walk = scan(0.0, -1, |x, i| x)", Code::BadValue), "-1");
    assert_eq!(fails("let walk = scan(0.0, 3, |x, i| x, until: |x| x)", Code::ElementType), "|x| x");
}

#[test]
fn a_round_changes_nothing_outside() {
    let text = "state count: int = 0\ntrain t(steps: 1) {\n  let walk = scan(0.0, 3, |x, i| {\n    count <- count + 1\n    x\n  })\n  \
                log last = walk.last\n}";
    assert_eq!(fails(text, Code::NotAllowedHere), "count <- count + 1");
}

#[test]
fn no_gradient_flows_through_a_loop_without_a_fixed_length() {
    let text = "use std.optim.sgd\nweight w: [2] = 1.0\ntrain t(steps: 1) {\n  \
                let grown = scan(ones(2), 5, |x, i| x * w, until: |x| sum(x) > 9)\n  minimize sum(grown.last) using sgd(0.1)\n}";
    let faults = refused(text);
    assert!(faults.iter().any(|fault| fault.code == Code::CannotReach), "{faults:?}");
    assert!(faults.iter().any(|fault| format!("{fault:?}").contains("`until` ends it")), "{faults:?}");
}
