//! Leaves out what changes nothing, bit for bit.
//!
//! Operands are simplified before their users, so one walk is enough. `x + 0` stays for floats: it makes 0 of -0.

use crate::graph::rewrite::{Results, rewrite};
use crate::graph::{Attr, Attrs, Builder, Node, Size, Value};
use crate::ops::Mismatch;
use crate::ops::shape::{BROADCAST, PERMUTE, RESHAPE};
use crate::ops::structure::CONSTANT;

use super::{PassError, Rewritten, Subject};

pub(super) fn run(subject: &Subject<'_>) -> Result<Rewritten, PassError> {
    let done = rewrite(subject.graph, |rewriter, _, node, operands| {
        if let Some(same) = same_as_operand(&rewriter.builder, node, operands) {
            return Ok::<_, PassError>([same].into_iter().collect::<Results>());
        }
        let merged = merge(&mut rewriter.builder, node, operands).map_err(|fault| PassError::Rewrite {
            pass: "simplify",
            node: node.name.to_string(),
            fault,
        })?;
        Ok(match merged {
            Some(value) => [value].into_iter().collect(),
            None => rewriter.copy(node, operands),
        })
    })?;
    Ok(Some(done))
}

/// A value that is there already and equals the node's result.
fn same_as_operand(builder: &Builder, node: &Node, operands: &[Value]) -> Option<Value> {
    let same = match (node.op.name, operands) {
        // accumulate(x) = x, concat(x) = x
        ("accumulate" | "concat", [x]) => Some(*x),
        (name, [x]) => same_as_only(builder, name, node, *x),
        (name, [x, y]) => same_as_one_of(builder, name, *x, *y),
        // select(c, x, x) = x
        ("select", [_, x, y]) if x == y => Some(*x),
        // select(true, x, y) = x, select(false, x, y) = y
        ("select", [c, x, y]) => repeated(builder, *c).map(|flag| if flag != 0.0 { *x } else { *y }),
        _ => None,
    };
    // A last guard: nothing may change its type.
    same.filter(|same| node.types.len() == 1 && builder.ty(*same) == &node.types[0])
}

fn same_as_only(builder: &Builder, name: &str, node: &Node, x: Value) -> Option<Value> {
    let inner = builder.graph().node(x.node);
    let ty = builder.ty(x);
    let same = match name {
        // stop(x) = x, once gradients are expanded
        "stop" => true,
        // cast(x) = x, reshape(x) = x to what it is already
        "cast" | "reshape" => ty == &node.types[0],
        // permute(x, [0, 1, …]) = x, broadcast(x, [0, 1, …]) = x to the same shape
        "permute" | "broadcast" => node.attrs.ints("axes").is_some_and(in_order) && ty == &node.types[0],
        // sum(x, []) = x and so on; flip(x, []) = x
        "sum" | "prod" | "max" | "min" | "flip" => node.attrs.ints("axes").is_some_and(|axes| axes.is_empty()),
        // x[0..n] = x
        "slice" => {
            ty == &node.types[0]
                && node.attrs.ints("step").is_some_and(|step| step.iter().all(|step| *step == 1))
                && node.attrs.sizes("start").is_some_and(|start| start.iter().all(|start| start.is(0)))
        }
        // pad(x, 0, 0) = x
        "pad" => {
            let zero = |name| node.attrs.sizes(name).is_some_and(|sizes: &[Size]| sizes.iter().all(|size| size.is(0)));
            ty == &node.types[0] && zero("low") && zero("high")
        }
        _ => false,
    };
    if same {
        return Some(x);
    }
    match (name, inner.op.name) {
        // -(-x) = x, not not x = x
        ("neg", "neg") | ("not", "not") => Some(inner.operands[0]),
        // flip(flip(x)) = x
        ("flip", "flip") if inner.attrs.ints("axes") == node.attrs.ints("axes") => Some(inner.operands[0]),
        // ||x|| = |x|
        ("abs", "abs") => Some(x),
        _ => None,
    }
}

fn in_order(axes: &[i64]) -> bool {
    axes.iter().enumerate().all(|(at, axis)| at as i64 == *axis)
}

fn same_as_one_of(builder: &Builder, name: &str, x: Value, y: Value) -> Option<Value> {
    let is =
        |value: Value, number: f64| repeated(builder, value).is_some_and(|have| have.to_bits() == number.to_bits());
    let float = builder.ty(x).dtype.is_float();
    match name {
        // x * 1 = 1 * x = x
        "mul" if is(y, 1.0) => Some(x),
        "mul" if is(x, 1.0) => Some(y),
        // x / 1 = x
        "div" if is(y, 1.0) => Some(x),
        // x - 0 = x
        "sub" if is(y, 0.0) => Some(x),
        // x + -0.0 = x; for integers x + 0 = 0 + x = x
        "add" if is(y, -0.0) || (!float && is(y, 0.0)) => Some(x),
        "add" if is(x, -0.0) || (!float && is(x, 0.0)) => Some(y),
        // max(x, x) = min(x, x) = x, x and x = x or x = x
        "maximum" | "minimum" | "and" | "or" if x == y => Some(x),
        _ => None,
    }
}

/// The number that a constant repeats.
fn repeated(builder: &Builder, value: Value) -> Option<f64> {
    let node = builder.graph().node(value.node);
    match node.attrs.floats("values") {
        Some([only]) if node.op == &CONSTANT => Some(*only),
        _ => None,
    }
}

/// One node for two.
fn merge(builder: &mut Builder, node: &Node, operands: &[Value]) -> Result<Option<Value>, Mismatch> {
    let [x] = operands else { return Ok(None) };
    let inner = builder.graph().node(x.node);
    if inner.op != node.op {
        return Ok(None);
    }
    let Some(source) = inner.operands.first().copied() else { return Ok(None) };
    let composed = |first: &Attrs, second: &[i64]| -> Option<Vec<i64>> {
        let first = first.ints("axes")?;
        second.iter().map(|axis| first.get(usize::try_from(*axis).ok()?).copied()).collect()
    };
    let (op, attrs) = match node.op.name {
        // reshape(reshape(x, s), t) = reshape(x, t)
        "reshape" => (&RESHAPE, Some(node.attrs.clone())),
        // permute(permute(x, p), q) = permute(x, p after q): output axis i is axis p[q[i]] of x
        "permute" => {
            let axes = node.attrs.ints("axes").and_then(|outer| composed(&inner.attrs, outer));
            (&PERMUTE, axes.map(|axes| Attrs::none().with("axes", Attr::Ints(axes))))
        }
        // broadcast(broadcast(x, a), b): axis i of x goes to b[a[i]]
        "broadcast" => {
            let axes = inner.attrs.ints("axes").and_then(|first| composed(&node.attrs, first));
            let shape = node.attrs.get("shape").cloned();
            let attrs = axes.zip(shape);
            (&BROADCAST, attrs.map(|(axes, shape)| Attrs::none().with("shape", shape).with("axes", Attr::Ints(axes))))
        }
        _ => return Ok(None),
    };
    let Some(attrs) = attrs else { return Ok(None) };
    (builder.origin, builder.section) = (node.origin, node.section);
    let merged = builder.named(node.name.clone()).apply(op, &[source], attrs)?;
    let merged_node = builder.graph().node(merged.node).clone();
    Ok(Some(same_as_only(builder, node.op.name, &merged_node, source).unwrap_or(merged)))
}
