//! Which nodes the loader computes ahead, and which the step.

use std::collections::{HashMap, HashSet};

use crate::graph::{Bindings, Graph, NodeId, Section, Value};
use crate::ops::{Concrete, INPUT};
use crate::passes::is_ahead;
use crate::program::{Input, SlotKind, Step};

use super::liveness::{LastUse, bytes, schedule, used_values};
use super::{Plan, PlanError, Register};

pub(super) fn plan_step(step: &Step, bindings: &Bindings) -> Result<Plan, PlanError> {
    let graph = &step.graph;
    let roots = step.roots();
    let ahead = loader_nodes(step);
    let (loader_nodes, step_nodes) = divide(graph, &ahead, &roots);

    let needed = used_values(graph, &step_nodes, &roots);
    let passed = passed_values(graph, &loader_nodes, &needed);
    let loader_start = inputs_among(graph, &used_values(graph, &loader_nodes, &[]));
    let start: Vec<Value> = loader_start.iter().map(|(_, value)| *value).collect();
    let (mut loader, loader_registers) = schedule(graph, &loader_nodes, &start, &passed, bindings)?;
    loader.inputs = loader_start.iter().map(|(at, value)| (*at, loader_registers[value])).collect();
    loader.outputs = passed.iter().map(|value| loader_registers[value]).collect();

    let step_start = inputs_among(graph, &needed);
    let start: Vec<Value> = step_start.iter().map(|(_, value)| *value).chain(passed.iter().copied()).collect();
    let (mut program, registers) = schedule(graph, &step_nodes, &start, &roots, bindings)?;
    program.inputs = step_start.iter().map(|(at, value)| (*at, registers[value])).collect();
    program.input_types.truncate(program.inputs.len());
    program.outputs = roots.iter().map(|value| registers[value]).collect();

    let named = |list: &[(String, Value)]| -> Vec<(String, Register)> {
        list.iter().map(|(name, value)| (name.clone(), registers[value])).collect()
    };
    let (parameters, held) = slots(step, bindings)?;
    Ok(Plan {
        passed: passed.iter().map(|value| registers[value]).collect(),
        commits: step.commits.iter().map(|(formal, value)| (*formal, registers[value])).collect(),
        logs: named(&step.logs),
        measures: step
            .measures
            .iter()
            .map(|measure| measure.statistics.iter().map(|(_, value)| registers[value]).collect())
            .collect(),
        collects: named(&step.collects),
        yields: step.yields.iter().map(|value| registers[value]).collect(),
        outputs: graph.outputs.iter().map(|value| registers[value]).collect(),
        parameters,
        held,
        loader,
        step: program,
    })
}

/// Nodes of section `Loader` all of whose operands are there ahead of the step.
fn loader_nodes(step: &Step) -> HashSet<NodeId> {
    let graph = &step.graph;
    let mut there: HashSet<NodeId> = graph
        .inputs
        .iter()
        .zip(&step.inputs)
        .filter(|(_, input)| is_ahead(input))
        .map(|(value, _)| value.node)
        .collect();
    let mut ahead = HashSet::new();
    for (id, node) in graph.nodes().filter(|(_, node)| node.op != &INPUT) {
        let ready = node.operands.iter().all(|operand| there.contains(&operand.node));
        if node.operands.is_empty() || (ready && node.section == Section::Loader) {
            there.insert(id);
        }
        if ready && node.section == Section::Loader && !node.operands.is_empty() {
            ahead.insert(id);
        }
    }
    ahead
}

/// The nodes of both lists, in order. What has no operands (constants, sizes) is computed wherever it is used.
fn divide(graph: &Graph, ahead: &HashSet<NodeId>, roots: &[Value]) -> (Vec<NodeId>, Vec<NodeId>) {
    let mut used_ahead = HashSet::new();
    let mut used_in_step: HashSet<NodeId> = roots.iter().map(|value| value.node).collect();
    for (id, node) in graph.nodes() {
        let users = if ahead.contains(&id) { &mut used_ahead } else { &mut used_in_step };
        users.extend(node.operands.iter().map(|operand| operand.node));
    }
    let (mut loader, mut step) = (Vec::new(), Vec::new());
    for (id, node) in graph.nodes().filter(|(_, node)| node.op != &INPUT) {
        if ahead.contains(&id) || (node.operands.is_empty() && used_ahead.contains(&id)) {
            loader.push(id);
        }
        if !ahead.contains(&id) && (!node.operands.is_empty() || used_in_step.contains(&id)) {
            step.push(id);
        }
    }
    (loader, step)
}

/// What the loader computes and the step needs, in order.
fn passed_values(graph: &Graph, loader: &[NodeId], needed: &HashMap<Value, LastUse>) -> Vec<Value> {
    let mut passed = Vec::new();
    for id in loader.iter().filter(|id| !graph.node(**id).operands.is_empty()) {
        let outs = 0..graph.node(*id).types.len() as u16;
        passed.extend(outs.map(|out| Value { node: *id, out }).filter(|value| needed.contains_key(value)));
    }
    passed
}

fn inputs_among(graph: &Graph, used: &HashMap<Value, LastUse>) -> Vec<(usize, Value)> {
    graph.inputs.iter().copied().enumerate().filter(|(_, value)| used.contains_key(value)).collect()
}

/// Elements of the weights, and bytes of all slots, that the step reads.
fn slots(step: &Step, bindings: &Bindings) -> Result<(usize, u64), PlanError> {
    let (mut parameters, mut held) = (0, 0);
    let mut seen = HashSet::new();
    for (value, input) in step.graph.inputs.iter().zip(&step.inputs) {
        let Input::Slot(formal) = input else { continue };
        if !seen.insert(*formal) {
            continue;
        }
        let ty = step.graph.ty(*value);
        let node = step.graph.node(value.node);
        let unbound = || PlanError::Unbound { node: node.name.clone(), ty: ty.to_string(), origin: node.origin };
        let concrete = Concrete { dtype: ty.dtype, shape: ty.bind(bindings).ok_or_else(unbound)? };
        held += bytes(&concrete);
        if step.formals.get(formal.0).is_some_and(|(_, kind)| *kind == SlotKind::Weight) {
            parameters += concrete.count();
        }
    }
    Ok((parameters, held))
}
