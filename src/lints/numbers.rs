//! Numbers that come out other than they were meant.

use super::{Finding, Seen};
use crate::graph::{Node, NodeId, Size, Value};
use crate::ops::Op;
use crate::ops::elementwise::{
    ADD, AND, DIV, EQ, EXP, GE, GT, LE, LOG, LT, MUL, NE, NEG, NOT, OR, POW, RECIP, RSQRT, SELECT, SQRT, SUB,
};
use crate::ops::reduce::SUM;
use crate::ops::shape::{BROADCAST, RESHAPE};
use crate::program::{Input, Program};

/// Up to here a threshold is one that keeps something from 0.
const NEAR_ZERO: f64 = 0.01;

/// A difference of equal values on the way to a loss: a student that is its own target.
pub fn compared_with_itself(_: &Program, seen: &Seen<'_>) -> Vec<Finding> {
    let differences = seen.graph.nodes().filter(|(id, node)| node.op == &SUB && seen.is_learned(*id));
    let equal = differences.filter(|(_, node)| seen.equal(node.operands[0], node.operands[1]));
    let finding = |(_, node): (NodeId, &Node)| Finding {
        origin: node.origin,
        headline: format!("the loss of `{}` compares a value with itself", seen.looped.name),
        fact: "both sides are computed from the same weights and the same input".into(),
        help: "compare with another view, or with another net: `copy(net)` has its own weights",
    };
    equal.map(finding).collect()
}

/// What a value is repeated from, and whether that adds to its size.
fn repeated(seen: &Seen<'_>, value: Value) -> Option<Value> {
    let node = seen.graph.node(value.node);
    let wider = |node: &Node| {
        let from = &seen.graph.ty(node.operands[0]).shape;
        let from: Vec<&Size> = from.iter().filter(|size| !size.is(1)).collect();
        let to: Vec<&Size> = node.types[0].shape.iter().filter(|size| !size.is(1)).collect();
        !from.is_empty() && from.len() < to.len()
    };
    (node.op == &BROADCAST && wider(node)).then(|| node.operands[0])
}

/// Whether a value is made of the batch alone, without what is learned.
fn is_data(seen: &Seen<'_>, value: Value) -> bool {
    let fields = seen.graph.inputs.iter().zip(&seen.looped.call.step.inputs);
    let fields: Vec<NodeId> =
        fields.filter(|(_, input)| matches!(input, Input::Field { .. })).map(|(value, _)| value.node).collect();
    !seen.is_learned(value.node) && seen.sources(value).iter().any(|id| fields.contains(id))
}

/// An output of a net minus, or times, numbers of the data, each repeated for all rows of the other.
pub fn both_repeated(_: &Program, seen: &Seen<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (id, node) in seen.graph.nodes().filter(|(_, node)| node.op == &SUB || node.op == &MUL) {
        let sides = [repeated(seen, node.operands[0]), repeated(seen, node.operands[1])];
        let [Some(a), Some(b)] = sides else { continue };
        let rows = node.types[0].shape.iter().filter(|size| size.as_known().is_none());
        let rows: Vec<&Size> = rows.collect();
        let pairs = rows.iter().enumerate().any(|(at, size)| rows[..at].contains(size));
        let learned = |value: Value| seen.is_learned(value.node);
        if pairs && seen.is_learned(id) && (learned(a) && is_data(seen, b) || learned(b) && is_data(seen, a)) {
            let ty = |value: Value| seen.graph.ty(value).to_string();
            let word = if node.op == &SUB { "minus" } else { "times" };
            found.push(Finding {
                origin: node.origin,
                headline: format!("{} {word} {} pairs every row with every other", ty(a), ty(b)),
                fact: format!("becomes {}", node.types[0]),
                help: "give both the same shape first, such as `prediction[:, 0]` or `label[:, new]`",
            });
        }
    }
    found
}

/// The operand of which an op has no finite value or slope somewhere.
fn risky(seen: &Seen<'_>, node: &Node) -> Option<Value> {
    let first: [&Op; 4] = [&LOG, &SQRT, &RSQRT, &RECIP];
    if first.contains(&node.op) {
        return Some(node.operands[0]);
    }
    let fraction = node.op == &POW && constant(seen, node.operands[1]).is_some_and(|power| power < 1.0);
    (node.op == &DIV).then(|| node.operands[1]).or(fraction.then(|| node.operands[0]))
}

/// What a value is in another shape.
fn bare(seen: &Seen<'_>, mut value: Value) -> Value {
    loop {
        let node = seen.graph.node(value.node);
        if node.op != &BROADCAST && node.op != &RESHAPE {
            return value;
        }
        value = node.operands[0];
    }
}

/// The values that a condition compares.
fn compared(seen: &Seen<'_>, condition: Value) -> Vec<Value> {
    let compares: [&Op; 6] = [&LT, &LE, &GT, &GE, &EQ, &NE];
    let node = seen.graph.node(bare(seen, condition).node);
    if compares.contains(&node.op) {
        // A threshold far above 0 keeps nothing from 0.
        if node.operands.iter().any(|side| constant(seen, *side).is_some_and(|bound| bound > NEAR_ZERO)) {
            return Vec::new();
        }
        return node.operands.iter().map(|side| bare(seen, *side)).collect();
    }
    if node.op == &NOT || node.op == &AND || node.op == &OR {
        return node.operands.iter().flat_map(|side| compared(seen, *side)).collect();
    }
    Vec::new()
}

/// Nodes of a branch up to what chooses for itself, or folds.
fn branch_nodes(seen: &Seen<'_>, branch: Value) -> Vec<NodeId> {
    let through: [&Op; 8] = [&MUL, &DIV, &ADD, &SUB, &NEG, &EXP, &BROADCAST, &RESHAPE];
    let mut found = Vec::new();
    let mut open = vec![branch.node];
    while let Some(id) = open.pop() {
        if found.contains(&id) {
            continue;
        }
        found.push(id);
        if through.contains(&seen.graph.node(id).op) {
            open.extend(seen.graph.node(id).operands.iter().map(|operand| operand.node));
        }
    }
    found
}

/// `select(x > 0, log(x), 0)`: the branch that is not taken still has a gradient, 0 times infinity.
pub fn nan_by_select(_: &Program, seen: &Seen<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (id, node) in seen.graph.nodes().filter(|(_, node)| node.op == &SELECT) {
        let sides = if seen.is_learned(id) { compared(seen, node.operands[0]) } else { Vec::new() };
        if sides.is_empty() {
            continue;
        }
        for at in node.operands[1..].iter().flat_map(|branch| branch_nodes(seen, *branch)) {
            let tried = seen.graph.node(at);
            let operand = risky(seen, tried).map(|operand| bare(seen, operand));
            let unguarded = operand.filter(|x| sides.iter().any(|side| seen.equal(*side, *x)));
            if unguarded.is_some_and(|x| seen.is_learned(x.node)) {
                found.push(Finding {
                    origin: tried.origin,
                    headline: format!("`select` does not keep NaN out of the gradient of `{}`", tried.op.name),
                    fact: "where this is not chosen, its gradient is 0 times infinity".into(),
                    help: "choose the operand first: `log(select(x > 0, x, 1))`",
                });
            }
        }
    }
    found
}

/// The root of a sum of squares, to which nothing is added: its slope at 0 is infinite.
pub fn root_at_zero(_: &Program, seen: &Seen<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (id, node) in seen.graph.nodes() {
        let half = || constant(seen, node.operands[1]) == Some(0.5);
        let root = node.op == &SQRT || node.op == &POW && half();
        if root && seen.is_learned(id) && is_sum_of_squares(seen, node.operands[0]) {
            found.push(Finding {
                origin: node.origin,
                headline: "the root of a sum of squares has an infinite slope where all are 0".into(),
                fact: "its gradient becomes NaN there".into(),
                help: "add a small number under the root: `sqrt(sum(x^2) + 1e-12)`",
            });
        }
    }
    found
}

/// A sum, perhaps divided or with 0 added, of a product of a value with itself.
fn is_sum_of_squares(seen: &Seen<'_>, value: Value) -> bool {
    let node = seen.graph.node(value.node);
    let nothing_added = node.op == &ADD && constant(seen, node.operands[1]) == Some(0.0);
    if node.op == &DIV || node.op == &RESHAPE || node.op == &BROADCAST || nothing_added {
        return is_sum_of_squares(seen, node.operands[0]);
    }
    if node.op != &SUM {
        return false;
    }
    let squared = seen.graph.node(node.operands[0].node);
    if squared.operands.first().is_some_and(|side| is_positive(seen, *side)) {
        return false;
    }
    squared.op == &MUL && seen.equal(squared.operands[0], squared.operands[1])
        || squared.op == &POW && constant(seen, squared.operands[1]) == Some(2.0)
}

/// Exponentials, and their shares of something.
fn is_positive(seen: &Seen<'_>, value: Value) -> bool {
    let node = seen.graph.node(bare(seen, value).node);
    node.op == &EXP || node.op == &DIV && is_positive(seen, node.operands[0])
}

/// The one number that a value holds everywhere, if it is known.
fn constant(seen: &Seen<'_>, value: Value) -> Option<f64> {
    let node = seen.graph.node(bare(seen, value).node);
    match (node.op.name, node.attrs.get("values")) {
        ("constant", Some(crate::graph::Attr::Floats(values))) if values.len() == 1 => Some(values[0]),
        ("cast", _) => constant(seen, node.operands[0]),
        _ => None,
    }
}
