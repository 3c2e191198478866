//! Leaves out every node that no root needs, inputs included, and what a loop computes for nobody.

use std::collections::HashMap;

use crate::graph::rewrite::{Results, rewrite};
use crate::graph::{Attr, Graph, Node, NodeId, Value};
use crate::ops::scan::{Form, SCAN, kept};

use super::{PassError, Rewritten, Subject};

pub(super) fn run(subject: &Subject<'_>) -> Result<Rewritten, PassError> {
    let Needed { nodes, loops } = needed(subject)?;
    if nodes.iter().all(|needed| *needed) && loops.is_empty() {
        return Ok(None);
    }
    let done = rewrite::<PassError>(subject.graph, |rewriter, id, node, operands| {
        if !nodes[id.index()] {
            return Ok(Results::new());
        }
        let Some(smaller) = loops.get(&id) else { return Ok(rewriter.copy(node, operands)) };
        // Operands that were dropped are missing among those of the new graph.
        let mut have = operands.iter();
        let mut of = node.operands.iter().map(|old| nodes[old.node.index()].then(|| have.next()).flatten());
        let chosen: Vec<Value> =
            smaller.operands.iter().filter_map(|keep| of.next()?.filter(|_| *keep)).copied().collect();
        let results = rewriter.copy(&smaller.node, &chosen);
        // What nobody reads may stand anywhere.
        Ok(smaller.results.iter().map(|at| results[at.unwrap_or(0)]).collect())
    })?;
    Ok(Some(done))
}

struct Needed {
    nodes: Vec<bool>,
    loops: HashMap<NodeId, Smaller>,
}

/// A loop without what nobody reads.
struct Smaller {
    node: Node,
    /// Which of the old operands are left.
    operands: Vec<bool>,
    /// Where the old results are.
    results: Vec<Option<usize>>,
}

fn needed(subject: &Subject<'_>) -> Result<Needed, PassError> {
    let mut nodes = vec![false; subject.graph.len()];
    let mut loops = HashMap::new();
    for root in subject.roots {
        nodes[root.node.index()] = true;
    }
    for (id, node) in subject.graph.nodes().rev() {
        if !nodes[id.index()] {
            continue;
        }
        let smaller = if node.op == &SCAN { smaller(subject, id, node, &nodes)? } else { None };
        let read = |at: usize| smaller.as_ref().is_none_or(|smaller| smaller.operands[at]);
        let operands = node.operands.iter().enumerate().filter(|(at, _)| read(*at));
        operands.for_each(|(_, operand)| nodes[operand.node.index()] = true);
        loops.extend(smaller.map(|smaller| (id, smaller)));
    }
    Ok(Needed { nodes, loops })
}

/// The loop without outputs and histories that nobody reads, and without operands that its body then does not read. The
/// nodes behind it are known to be needed or not.
fn smaller(subject: &Subject<'_>, id: NodeId, node: &Node, nodes: &[bool]) -> Result<Option<Smaller>, PassError> {
    let Some(form) = Form::of(&node.attrs, &node.regions) else { return Ok(None) };
    let users = subject.graph.dag().neighbors_directed(id, petgraph::Direction::Outgoing);
    let read: Vec<Value> = users
        .filter(|user| nodes[user.index()])
        .flat_map(|user| subject.graph.node(user).operands.iter().copied())
        .chain(subject.roots.iter().copied())
        .filter(|value| value.node == id)
        .collect();
    let is_read = |out: usize| read.iter().any(|value| value.out as usize == out);
    let history = kept(&node.attrs);
    let outputs: Vec<usize> = (0..form.outputs).filter(|at| is_read(form.carries + at)).collect();
    let kept: Vec<usize> = (0..history.len()).filter(|at| is_read(form.first_history() + at)).collect();
    let mut body = node.regions[0].clone();
    body.outputs =
        (0..form.carries).chain(outputs.iter().map(|at| form.carries + at)).map(|at| body.outputs[at]).collect();
    let inner = inner(&body, form.carries);
    let operands: Vec<bool> =
        (0..node.operands.len()).map(|at| body.inputs.get(at).is_none_or(|input| inner[input.node.index()])).collect();
    if outputs.len() == form.outputs && kept.len() == history.len() && operands.iter().all(|read| *read) {
        return Ok(None);
    }
    let region = rewrite::<PassError>(&body, |rewriter, id, node, operands| {
        Ok(if inner[id.index()] { rewriter.copy(node, operands) } else { Results::new() })
    })?;
    let mut smaller = node.clone();
    smaller.regions[0] = region.0;
    let left = |from: usize, count: usize| operands[from..from + count].iter().filter(|read| **read).count() as i64;
    let names = kept.iter().map(|at| history[*at] as i64).collect();
    smaller.attrs.set("sequences", Attr::Int(left(form.carries, form.sequences)));
    smaller.attrs.set("constants", Attr::Int(left(form.carries + form.sequences, form.constants)));
    smaller.attrs.set("history", Attr::Ints(names));
    let count = form.carries + form.outputs..form.first_history();
    let stays = (0..form.carries)
        .chain(outputs.iter().map(|at| form.carries + at))
        .chain(count)
        .chain(kept.iter().map(|at| form.first_history() + at));
    let mut results = vec![None; node.types.len()];
    smaller.types.clear();
    for (at, old) in stays.enumerate() {
        results[old] = Some(at);
        smaller.types.push(node.types[old].clone());
    }
    Ok(Some(Smaller { node: smaller, operands, results }))
}

/// The nodes of a body that its outputs need; what is carried stays in any case.
fn inner(body: &Graph, carries: usize) -> Vec<bool> {
    let mut needed = vec![false; body.len()];
    let carried = body.inputs.iter().take(carries);
    carried.chain(&body.outputs).for_each(|value| needed[value.node.index()] = true);
    for (id, node) in body.nodes().rev() {
        if needed[id.index()] {
            node.operands.iter().for_each(|operand| needed[operand.node.index()] = true);
        }
    }
    needed
}
