//! Which values a loss depends on differentiably, and what is in the way of the others.

use petgraph::Direction;
use smallvec::{SmallVec, smallvec};

use crate::graph::{Graph, Node, NodeId, OriginId, Value};
use crate::ops::scan::SCAN;
use crate::ops::structure::{GRAD, MAP_ROWS, STOP};
use crate::ops::{Gradient, Op};

/// Why no gradient flows from a loss to a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reason {
    /// A `stop`, by its place.
    Stopped(OriginId),
    /// It is no float itself.
    Integer,
    /// The way leads through an op that is constant almost everywhere, such as one that gives whole numbers; with its place.
    Flat(&'static Op, OriginId),
    /// The way leads through an operand of an op to which its rule lets nothing flow, and why.
    Blind(&'static Op, &'static str),
    /// The loss does not depend on it.
    NotUsed,
}

const OPEN_END: &str = "`until` ends it, and a gradient needs a loop of fixed length";

/// What a node does with the cotangents of its results.
pub(super) enum Flow {
    /// They go on to the operands of type float.
    Through,
    /// They go on inside.
    Region,
    Cut(Reason),
}

pub(super) fn flow(node: &Node) -> Flow {
    let float = node.types.iter().any(|ty| ty.dtype.is_float());
    match node.op.gradient {
        _ if node.op == &STOP => Flow::Cut(Reason::Stopped(node.origin)),
        _ if node.op == &MAP_ROWS => Flow::Region,
        _ if node.op == &GRAD => Flow::Through,
        // The number of rounds is a whole number that depends on the carries.
        _ if node.op == &SCAN && node.regions.len() > 1 => Flow::Cut(Reason::Blind(node.op, OPEN_END)),
        Gradient::Rule(_) | Gradient::Except(..) | Gradient::Structural if float => Flow::Through,
        // Reported when a cotangent arrives: nobody may take the missing rule for zeros.
        Gradient::None(_) if float => Flow::Through,
        _ => Flow::Cut(Reason::Flat(node.op, node.origin)),
    }
}

/// Why nothing flows to one operand of a node that lets cotangents through to the others.
pub(super) fn blind(node: &Node, operand: usize) -> Option<Reason> {
    match node.op.gradient {
        Gradient::Except(at, why, _) if at == operand => Some(Reason::Blind(node.op, why)),
        _ => None,
    }
}

/// The answer for every value of a graph.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// By node, by result: none where a gradient arrives.
    reasons: Vec<SmallVec<[Option<Reason>; 1]>>,
}

impl Reach {
    pub fn reached(&self, value: Value) -> bool {
        self.reason(value).is_none()
    }

    /// None where a gradient arrives, else what is in the way, the nearest to the loss.
    pub fn reason(&self, value: Value) -> Option<Reason> {
        match self.reasons.get(value.node.index()).and_then(|results| results.get(value.out as usize)) {
            Some(reason) => *reason,
            None => Some(Reason::NotUsed),
        }
    }

    /// Everything that is in the way between `value` and the loss, in order of the graph: each `stop` that would have to
    /// go. Empty where a gradient arrives. `graph` is the one that was walked.
    pub fn obstacles(&self, graph: &Graph, value: Value) -> Vec<Reason> {
        match self.reason(value) {
            None => return Vec::new(),
            Some(Reason::NotUsed) => return vec![Reason::NotUsed],
            Some(_) if !graph.ty(value).dtype.is_float() => return vec![Reason::Integer],
            Some(_) => {}
        }
        let mut found = self.cuts_above(graph, value);
        found.sort_by_key(|(id, _)| *id);
        let mut reasons: Vec<Reason> = Vec::new();
        for (_, reason) in found {
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        reasons
    }

    /// The first cut on every way from `value` towards the loss.
    fn cuts_above(&self, graph: &Graph, value: Value) -> Vec<(NodeId, Reason)> {
        let mut seen = vec![false; graph.len()];
        let mut cuts = Vec::new();
        let mut stack: Vec<(NodeId, Option<u16>)> = vec![(value.node, Some(value.out))];
        while let Some((from, out)) = stack.pop() {
            for user in graph.dag().neighbors_directed(from, Direction::Outgoing) {
                let node = graph.node(user);
                let uses = |operand: &Value| operand.node == from && out.is_none_or(|out| operand.out == out);
                let uses: Vec<usize> = (0..node.operands.len()).filter(|at| uses(&node.operands[*at])).collect();
                if seen[user.index()] || !self.used(user) || uses.is_empty() {
                    continue;
                }
                // Another way may lead to the same node through an operand that passes.
                if uses.iter().all(|at| blind(node, *at).is_some()) {
                    cuts.extend(blind(node, uses[0]).map(|reason| (user, reason)));
                    continue;
                }
                seen[user.index()] = true;
                match flow(node) {
                    Flow::Cut(reason) => cuts.push((user, reason)),
                    Flow::Region => {
                        cuts.extend(self.reason(value).map(|reason| (user, reason)));
                        stack.push((user, None));
                    }
                    Flow::Through => stack.push((user, None)),
                }
            }
        }
        cuts
    }

    fn used(&self, id: NodeId) -> bool {
        self.reasons.get(id.index()).is_some_and(|results| results.iter().any(|have| *have != Some(Reason::NotUsed)))
    }

    /// The best way through any result of a node: a gradient, else the first thing in the way.
    fn best(&self, id: NodeId) -> Option<Reason> {
        let results = &self.reasons[id.index()];
        match results.iter().any(Option::is_none) {
            true => None,
            false => results.iter().flatten().find(|reason| **reason != Reason::NotUsed).copied(),
        }
    }

    /// Keeps the better of what is known of a value and what one more use of it says.
    fn note(&mut self, graph: &Graph, value: Value, reason: Option<Reason>) {
        let reason = match reason {
            None if !graph.ty(value).dtype.is_float() => Some(Reason::Integer),
            reason => reason,
        };
        let have = &mut self.reasons[value.node.index()][value.out as usize];
        if reason.is_none() || *have == Some(Reason::NotUsed) {
            *have = reason;
        }
    }
}

/// Walks once over the graph, which may still hold `grad` and `map_rows`. What a `grad` was taken of and by counts as
/// reached: its result depends on both in general.
pub fn reach(graph: &Graph, loss: Value) -> Reach {
    reach_from(graph, &[(loss, None)])
}

fn reach_from(graph: &Graph, roots: &[(Value, Option<Reason>)]) -> Reach {
    let unused = |node: &Node| smallvec![Some(Reason::NotUsed); node.types.len()];
    let mut reach = Reach { reasons: graph.nodes().map(|(_, node)| unused(node)).collect() };
    for (root, reason) in roots {
        reach.note(graph, *root, *reason);
    }
    for (id, node) in graph.nodes().rev() {
        if !reach.used(id) {
            continue;
        }
        let best = reach.best(id);
        match flow(node) {
            Flow::Region => {
                for (operand, reason) in through_region(node, reach.reasons[id.index()].clone()) {
                    reach.note(graph, operand, reason);
                }
            }
            Flow::Through => {
                for (at, operand) in node.operands.iter().enumerate() {
                    reach.note(graph, *operand, best.or_else(|| blind(node, at)));
                }
            }
            Flow::Cut(reason) => {
                node.operands.iter().for_each(|operand| reach.note(graph, *operand, best.or(Some(reason))));
            }
        }
    }
    reach
}

fn through_region(node: &Node, results: SmallVec<[Option<Reason>; 1]>) -> Vec<(Value, Option<Reason>)> {
    let Some(region) = node.regions.first() else { return Vec::new() };
    let roots: Vec<_> = region.outputs.iter().copied().zip(results).collect();
    let inner = reach_from(region, &roots);
    node.operands.iter().zip(&region.inputs).map(|(operand, input)| (*operand, inner.reason(*input))).collect()
}
