//! The structural hash of a graph or step: equal for two that compute the same by the same nodes, whatever their names.
//!
//! Nodes are numbered in the order in which a walk from the results meets them, so neither the order of creation nor
//! nodes that nobody reads change it; two equal expressions that are different nodes stay different.

use std::collections::HashMap;

use blake3::Hasher;

use crate::ops::INPUT;
use crate::program::Step;

use super::print::{attr_text, guard_text, input_text, statistic_name};
use super::{Attr, Graph, Node, NodeId, Section, Value};

/// 32 bytes; two steps with equal ones are taken for the same.
pub type Hash = blake3::Hash;

pub fn hash_step(step: &Step) -> Hash {
    let mut hasher = Hasher::new();
    let kinds = step.graph.inputs.iter().zip(&step.inputs).map(|(value, input)| {
        // Not under the name of the node: under the path that the slot has.
        (value.node, input_text(step, "", input))
    });
    let ahead = |node: &Node| node.section == Section::Loader && node.op != &INPUT;
    let numbers = nodes(&mut hasher, &step.graph, &step.roots(), &kinds.collect(), &ahead);
    let mut read = |head: &str, text: &str, value: Value| {
        put(&mut hasher, head);
        put(&mut hasher, text);
        put(&mut hasher, &reference(&numbers, value));
    };
    step.commits.iter().for_each(|(formal, value)| read("commit", &formal.0.to_string(), *value));
    step.logs.iter().for_each(|(name, value)| read("log", name, *value));
    step.collects.iter().for_each(|(name, value)| read("collect", name, *value));
    step.yields.iter().for_each(|value| read("yield", "", *value));
    step.graph.outputs.iter().for_each(|value| read("output", "", *value));
    for measure in &step.measures {
        measure.statistics.iter().for_each(|(kind, value)| read(statistic_name(*kind), &measure.name, *value));
    }
    for measure in &step.measures {
        put(&mut hasher, hash_graph(&measure.rest).to_hex().as_str());
    }
    put(&mut hasher, hash_graph(&step.host.graph).to_hex().as_str());
    step.host.inputs.iter().for_each(|input| put(&mut hasher, &format!("{input:?}")));
    step.formals.iter().for_each(|(path, kind)| put(&mut hasher, &format!("{kind:?} {path}")));
    step.symbols.iter().for_each(|symbol| put(&mut hasher, &format!("{} {:?}", symbol.name, symbol.witness)));
    step.guards.iter().for_each(|guard| put(&mut hasher, &guard_text(guard)));
    hasher.finalize()
}

/// A graph alone, its inputs by position.
pub fn hash_graph(graph: &Graph) -> Hash {
    let mut hasher = Hasher::new();
    let kinds = graph.inputs.iter().enumerate().map(|(at, value)| (value.node, at.to_string())).collect();
    let numbers = nodes(&mut hasher, graph, &graph.outputs, &kinds, &|_| false);
    graph.outputs.iter().for_each(|value| put(&mut hasher, &reference(&numbers, *value)));
    hasher.finalize()
}

/// With its length, so that no two lists of texts run into each other.
fn put(hasher: &mut Hasher, text: &str) {
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}

fn reference(numbers: &HashMap<NodeId, usize>, value: Value) -> String {
    format!("{} {}", numbers.get(&value.node).copied().unwrap_or(usize::MAX), value.out)
}

/// Hashes every node that the roots need, operands before users; the number of each.
fn nodes(
    hasher: &mut Hasher,
    graph: &Graph,
    roots: &[Value],
    inputs: &HashMap<NodeId, String>,
    ahead: &dyn Fn(&Node) -> bool,
) -> HashMap<NodeId, usize> {
    let mut numbers = HashMap::new();
    let mut stack: Vec<(NodeId, usize)> = Vec::new();
    for root in roots {
        stack.push((root.node, 0));
        while let Some((id, next)) = stack.pop() {
            if numbers.contains_key(&id) {
                continue;
            }
            let node = graph.node(id);
            match node.operands.get(next) {
                Some(operand) => stack.extend([(id, next + 1), (operand.node, 0)]),
                None => {
                    put(hasher, if ahead(node) { "ahead" } else { "" });
                    put_node(hasher, node, inputs.get(&id), &numbers);
                    numbers.insert(id, numbers.len());
                }
            }
        }
    }
    numbers
}

fn put_node(hasher: &mut Hasher, node: &Node, input: Option<&String>, numbers: &HashMap<NodeId, usize>) {
    put(hasher, node.op.name);
    put(hasher, input.map_or("", |kind| kind));
    node.types.iter().for_each(|ty| put(hasher, &ty.to_string()));
    node.operands.iter().for_each(|operand| put(hasher, &reference(numbers, *operand)));
    let mut attrs: Vec<&(&str, Attr)> = node.attrs.0.iter().collect();
    attrs.sort_by_key(|(name, _)| *name);
    for (name, value) in attrs {
        put(hasher, name);
        put(hasher, &attr_text(value));
    }
    node.regions.iter().for_each(|region| put(hasher, hash_graph(region).to_hex().as_str()));
}
