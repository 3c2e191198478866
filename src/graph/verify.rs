//! What every graph must be: checked between passes, and wherever a graph comes from outside.

use std::collections::HashSet;
use std::fmt;

use petgraph::Direction;
use petgraph::visit::EdgeRef;

use crate::ops::{INPUT, Infer};
use crate::program::{Input, Step};

use super::print::node_line;
use super::{Graph, Node, NodeId, Type, Value};

/// A graph that is none: what is wrong, and the lines around it.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub message: String,
    /// Printed nodes; the one at fault is marked.
    pub lines: Vec<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        self.lines.iter().try_for_each(|line| write!(f, "\n{line}"))
    }
}

impl std::error::Error for Fault {}

/// Types are what the ops say, operands stand before their users, edges mirror operands, names are unique, inputs and
/// outputs exist, regions are graphs themselves.
pub fn verify(graph: &Graph) -> Result<(), Fault> {
    let mut names = HashSet::with_capacity(graph.len());
    for (id, node) in graph.nodes() {
        let checked =
            if names.insert(&node.name) { check_node(graph, id, node) } else { Err("its name is taken".into()) };
        checked.map_err(|message| at(graph, id, &message))?;
        for region in &node.regions {
            verify(region)
                .map_err(|fault| Fault { message: format!("in `{}`: {}", node.name, fault.message), ..fault })?;
        }
    }
    let inputs: HashSet<NodeId> = graph.inputs.iter().map(|value| value.node).collect();
    if inputs.len() != graph.inputs.len() {
        return Err(whole("an input is listed twice"));
    }
    match graph.nodes().find(|(id, node)| (node.op == &INPUT) != inputs.contains(id)) {
        Some((id, _)) => return Err(at(graph, id, "the list of inputs and the nodes of op `input` differ")),
        None if inputs.iter().any(|id| id.index() >= graph.len()) => return Err(whole("an input is not there")),
        None => {}
    }
    match graph.outputs.iter().all(|value| exists(graph, *value)) {
        true => Ok(()),
        false => Err(whole("an output is not there")),
    }
}

/// The graph of a step, and that everything the step says of it is so.
pub fn verify_step(step: &Step) -> Result<(), Fault> {
    verify(&step.graph)?;
    verify(&step.host.graph)
        .map_err(|fault| Fault { message: format!("in the host graph: {}", fault.message), ..fault })?;
    for measure in &step.measures {
        verify(&measure.rest)
            .map_err(|fault| Fault { message: format!("in measure `{}`: {}", measure.name, fault.message), ..fault })?;
        if measure.rest.inputs.len() != measure.statistics.len() {
            return Err(whole(&format!("measure `{}` has other statistics than inputs", measure.name)));
        }
    }
    if step.inputs.len() != step.graph.inputs.len() || step.host.inputs.len() != step.host.graph.inputs.len() {
        return Err(whole("every input has one kind"));
    }
    if let Some(value) = step.roots().into_iter().find(|value| !exists(&step.graph, *value)) {
        return Err(whole(&format!("result {} of node {} is read but not there", value.out, value.node.index())));
    }
    for (value, input) in step.graph.inputs.iter().zip(&step.inputs) {
        let missing = match input {
            Input::Slot(formal) => formal.0 >= step.formals.len(),
            Input::Host(at) => *at >= step.host.graph.outputs.len(),
            _ => false,
        };
        if missing {
            return Err(at(&step.graph, value.node, "what it stands for is not there"));
        }
    }
    check_commits(step)
}

fn check_commits(step: &Step) -> Result<(), Fault> {
    let mut committed = HashSet::new();
    for (formal, value) in &step.commits {
        let Some((path, _)) = step.formals.get(formal.0) else { return Err(whole("a commit has no slot")) };
        if !committed.insert(*formal) {
            return Err(whole(&format!("`{path}` is committed twice")));
        }
        let read = step.graph.inputs.iter().zip(&step.inputs).find(|(_, input)| **input == Input::Slot(*formal));
        let differs = read.map(|(input, _)| step.graph.ty(*input)).filter(|ty| *ty != step.graph.ty(*value));
        if let Some(ty) = differs {
            let message = format!("`{path}` is {ty}, and this is committed to it");
            return Err(at(&step.graph, value.node, &message));
        }
    }
    Ok(())
}

fn exists(graph: &Graph, value: Value) -> bool {
    value.node.index() < graph.len() && (value.out as usize) < graph.node(value.node).types.len()
}

fn check_node(graph: &Graph, id: NodeId, node: &Node) -> Result<(), String> {
    for operand in &node.operands {
        if operand.node >= id {
            return Err("an operand stands after its user".into());
        }
        if !exists(graph, *operand) {
            return Err("an operand is a result that is not there".into());
        }
    }
    let mut edges: Vec<(u16, NodeId)> =
        graph.dag().edges_directed(id, Direction::Incoming).map(|edge| (*edge.weight(), edge.source())).collect();
    edges.sort();
    let mirrored = node.operands.iter().enumerate().map(|(at, operand)| (at as u16, operand.node));
    if !edges.into_iter().eq(mirrored) {
        return Err("its edges are not its operands".into());
    }
    check_types(graph, node)
}

fn check_types(graph: &Graph, node: &Node) -> Result<(), String> {
    if node.op == &INPUT {
        return if node.types.len() == 1 { Ok(()) } else { Err("an input has one type".into()) };
    }
    let types: Vec<&Type> = node.operands.iter().map(|operand| graph.ty(*operand)).collect();
    let inferred = (node.op.infer)(&Infer { types: &types, attrs: &node.attrs, regions: &node.regions })
        .map_err(|mismatch| mismatch.headline)?;
    match inferred == node.types {
        true => Ok(()),
        false => Err(format!("{} gives {}", node.op.name, super::print::types_text(&inferred))),
    }
}

fn whole(message: &str) -> Fault {
    Fault { message: message.into(), lines: Vec::new() }
}

/// The fault with up to three nodes before it and one after.
fn at(graph: &Graph, id: NodeId, message: &str) -> Fault {
    let first = id.index().saturating_sub(3);
    let last = (id.index() + 1).min(graph.len() - 1);
    let line = |index: usize| {
        let mark = if index == id.index() { "> " } else { "  " };
        format!("{mark}{}", node_line(graph, NodeId::new(index)))
    };
    Fault { message: format!("`{}`: {message}", graph.node(id).name), lines: (first..=last).map(line).collect() }
}
