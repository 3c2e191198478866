//! What lints look at: the step of a loop, which values are equal, and which lie between the trained weights and a loss.

use std::collections::{HashMap, HashSet};

use crate::graph::{Graph, NodeId, Value};
use crate::ops::structure::{GRAD, INPUT, STOP};
use crate::passes::Expression;
use crate::program::{Input, Loop, SlotId};

/// One gradient that a step takes.
pub struct Backward {
    pub loss: Value,
    /// Nodes through which the loss depends on what it is differentiated by.
    pub path: HashSet<NodeId>,
    /// Slots that the loss depends on without a `stop` between.
    pub reached: HashSet<SlotId>,
}

pub struct Seen<'a> {
    pub looped: &'a Loop,
    pub graph: &'a Graph,
    pub backward: Vec<Backward>,
    /// For each node, the first that computes the same. A `stop` computes what it stops.
    same: Vec<NodeId>,
}

impl<'a> Seen<'a> {
    pub fn new(looped: &'a Loop) -> Seen<'a> {
        let graph = &looped.call.step.graph;
        let grads = graph.nodes().filter(|(_, node)| node.op == &GRAD);
        let backward = grads.map(|(_, node)| Self::backward(looped, graph, node.operands[0], &node.operands[1..]));
        Seen { looped, graph, backward: backward.collect(), same: classes(graph) }
    }

    fn backward(looped: &Loop, graph: &Graph, loss: Value, of: &[Value]) -> Backward {
        let mut above = HashSet::new();
        let mut open = vec![loss.node];
        while let Some(id) = open.pop() {
            if above.insert(id) && graph.node(id).op != &STOP {
                open.extend(graph.node(id).operands.iter().map(|operand| operand.node));
            }
        }
        let slots: HashMap<NodeId, SlotId> = graph
            .inputs
            .iter()
            .zip(&looped.call.step.inputs)
            .filter_map(|(value, input)| match input {
                Input::Slot(formal) => Some((value.node, *looped.call.slots.get(formal.0)?)),
                _ => None,
            })
            .collect();
        let reached = above.iter().filter_map(|id| slots.get(id).copied()).collect();
        let mut path: HashSet<NodeId> = of.iter().map(|value| value.node).filter(|id| above.contains(id)).collect();
        for (id, node) in graph.nodes() {
            if above.contains(&id)
                && node.op != &STOP
                && node.operands.iter().any(|operand| path.contains(&operand.node))
            {
                path.insert(id);
            }
        }
        Backward { loss, path, reached }
    }

    /// Whether two values are equal by what they are computed from.
    pub fn equal(&self, a: Value, b: Value) -> bool {
        a.out == b.out && self.same[a.node.index()] == self.same[b.node.index()]
    }

    /// Whether a loss depends on a node by way of trained weights.
    pub fn is_learned(&self, id: NodeId) -> bool {
        self.backward.iter().any(|backward| backward.path.contains(&id))
    }

    /// What a value is computed from, itself included.
    pub fn sources(&self, value: Value) -> HashSet<NodeId> {
        let mut found = HashSet::new();
        let mut open = vec![value.node];
        while let Some(id) = open.pop() {
            if found.insert(id) {
                open.extend(self.graph.node(id).operands.iter().map(|operand| operand.node));
            }
        }
        found
    }
}

fn classes(graph: &Graph) -> Vec<NodeId> {
    let mut known: HashMap<Expression, NodeId> = HashMap::with_capacity(graph.len());
    let mut same: Vec<NodeId> = Vec::with_capacity(graph.len());
    for (id, node) in graph.nodes() {
        let operands: Vec<Value> =
            node.operands.iter().map(|operand| Value { node: same[operand.node.index()], out: operand.out }).collect();
        same.push(if node.op == &STOP {
            operands[0].node
        } else if node.op == &INPUT || !node.regions.is_empty() {
            id
        } else {
            *known.entry(Expression::of(node, &operands)).or_insert(id)
        });
    }
    same
}
