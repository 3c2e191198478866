//! The derivative of a loop is a loop that walks back.
//!
//! Each round is computed again from what was carried into it (`history`), and then differentiated: memory grows with
//! the carries alone. The backward loop carries the cotangents of the carries and the sums for what is the same in
//! every round; it is a `scan` like any other, so a second derivative needs nothing more.

use std::convert::Infallible;

use smallvec::SmallVec;

use crate::graph::rewrite::{ValueMap, results_of, rewrite};
use crate::graph::{Attr, Attrs, Builder, Graph, Node, NodeId, Value};
use crate::ops::elementwise::ADD;
use crate::ops::scan::{Form, SCAN, kept, length};
use crate::ops::structure::INPUT;

use super::GradientError;
use super::backward::{Cotangent, cotangents_from};

/// A scan that keeps the history of every carry: its old results stay in their places.
pub(super) fn with_histories(node: &Node) -> Node {
    let mut node = node.clone();
    for region in &mut node.regions {
        *region = regions_with_histories(region);
    }
    let Some(form) = Form::of(&node.attrs, &node.regions) else { return node };
    if !kept(&node.attrs).is_empty() || form.until {
        return node;
    }
    let Some(length) = length(&node.attrs) else { return node };
    let body = &node.regions[0];
    for input in &body.inputs[..form.carries] {
        let ty = body.ty(*input);
        let shape = std::iter::once(length.clone()).chain(ty.shape.iter().cloned());
        node.types.push(ty.with_shape(shape));
    }
    node.attrs.set("history", Attr::Ints((0..form.carries as i64).collect()));
    node
}

fn regions_with_histories(region: &Graph) -> Graph {
    if region.nodes().all(|(_, node)| node.op != &SCAN) {
        return region.clone();
    }
    let done: Result<(Graph, ValueMap), Infallible> = rewrite(region, |rewriter, _, node, operands| {
        let kept = if node.op == &SCAN { with_histories(node) } else { node.clone() };
        Ok(rewriter.copy(&kept, operands))
    });
    match done {
        Ok((graph, _)) => graph,
        Err(never) => match never {},
    }
}

/// The cotangents of a scan's operands, of those that are `wanted`.
pub(super) fn pull(
    builder: &mut Builder,
    id: NodeId,
    arrived: &[Option<Value>],
    wanted: &[bool],
) -> Result<Vec<Option<Value>>, GradientError> {
    let node = builder.graph().node(id).clone();
    let broken = || GradientError::NoRule {
        op: &SCAN,
        why: "its rounds are not kept",
        node: node.name.clone(),
        origin: node.origin,
    };
    let form = Form::of(&node.attrs, &node.regions).ok_or_else(broken)?;
    let back = Backward::new(&node, form, arrived, wanted)?;
    let history = |carry: usize| Value { node: id, out: (form.first_history() + carry) as u16 };
    if node.types.len() != form.first_history() + form.carries {
        return Err(broken());
    }
    let mut operands: Vec<Value> = Vec::new();
    for carry in &back.floats {
        let last = Value { node: id, out: *carry as u16 };
        operands.push(match arrived[*carry] {
            Some(cotangent) => cotangent,
            None => builder.splat_like(0.0, last),
        });
    }
    for constant in &back.constants {
        operands.push(builder.splat_like(0.0, node.operands[*constant]));
    }
    operands.extend((0..form.carries).map(history));
    operands.extend(&node.operands[form.carries..form.carries + form.sequences]);
    operands.extend(back.outputs.iter().filter_map(|output| arrived[form.carries + output]));
    operands.extend(back.histories.iter().filter_map(|carry| arrived[form.first_history() + carry]));
    operands.extend(&node.operands[form.carries + form.sequences..form.body_inputs()]);
    let carried = back.floats.len() + back.constants.len();
    let attrs = Attrs::none()
        .with("carries", Attr::Int(carried as i64))
        .with(
            "sequences",
            Attr::Int((form.carries + form.sequences + back.outputs.len() + back.histories.len()) as i64),
        )
        .with("constants", Attr::Int(form.constants as i64))
        .with("length", Attr::Size(length(&node.attrs).ok_or_else(broken)?))
        .with("reverse", Attr::Bool(!form.reverse))
        // A second derivative walks over this loop as well.
        .with("history", Attr::Ints((0..carried as i64).collect()));
    let name = format!("d_{}", node.name);
    let first = builder
        .named(name)
        .apply_with(&SCAN, &operands, attrs, vec![back.region])
        .map_err(|fault| GradientError::Rule { op: &SCAN, operand: 0, fault: fault.headline, origin: node.origin })?;
    let at = |out: usize| Some(Value { node: first.node, out: out as u16 });
    let mut parts = vec![None; node.operands.len()];
    for (out, carry) in back.floats.iter().enumerate() {
        parts[*carry] = at(out);
    }
    for (out, constant) in back.constants.iter().enumerate() {
        parts[*constant] = at(back.floats.len() + out);
    }
    for (out, sequence) in back.sequences.iter().enumerate() {
        parts[*sequence] = at(carried + out);
    }
    Ok(parts)
}

/// The body of the backward loop, and what its places stand for.
struct Backward {
    region: Graph,
    /// Carries that have cotangents.
    floats: Vec<usize>,
    /// Outputs of which a cotangent arrived.
    outputs: Vec<usize>,
    /// Carries of whose history a cotangent arrived: what a second derivative brings.
    histories: Vec<usize>,
    /// Operands that are the same in every round and those that give a row to each, where a cotangent is wanted.
    constants: Vec<usize>,
    sequences: Vec<usize>,
}

impl Backward {
    fn new(node: &Node, form: Form, arrived: &[Option<Value>], wanted: &[bool]) -> Result<Backward, GradientError> {
        let body = &node.regions[0];
        let float = |at: &usize| body.ty(body.inputs[*at]).dtype.is_float();
        let floats: Vec<usize> = (0..form.carries).filter(float).collect();
        let outputs = (0..form.outputs).filter(|output| arrived[form.carries + output].is_some()).collect::<Vec<_>>();
        let arrives = |carry: &usize| arrived.get(form.first_history() + carry).is_some_and(Option::is_some);
        let histories: Vec<usize> = floats.iter().copied().filter(arrives).collect();
        let asked = |at: &usize| float(at) && wanted[*at];
        let sequences: Vec<usize> = (form.carries..form.carries + form.sequences).filter(asked).collect();
        let constants: Vec<usize> = (form.carries + form.sequences..form.body_inputs()).filter(asked).collect();

        let mut builder = Builder::new();
        let mut input = |name: String, of: Value| builder.input(name, body.ty(of).clone());
        let d = |of: Value| format!("d_{}", body.name(of));
        let d_carries: Vec<Value> = floats.iter().map(|at| input(d(body.outputs[*at]), body.outputs[*at])).collect();
        let sums: Vec<Value> = constants.iter().map(|at| input(d(body.inputs[*at]), body.inputs[*at])).collect();
        let varying = form.carries + form.sequences;
        let mut given: Vec<Value> =
            body.inputs[..varying].iter().map(|of| input(body.name(*of).to_owned(), *of)).collect();
        let output = |output: &usize| body.outputs[form.carries + output];
        let d_outputs: Vec<Value> = outputs.iter().map(|at| input(d(output(at)), output(at))).collect();
        let d_histories: Vec<Value> = histories.iter().map(|at| input(d(body.inputs[*at]), body.inputs[*at])).collect();
        given.extend(body.inputs[varying..].iter().map(|of| input(body.name(*of).to_owned(), *of)));

        let inside = inline(&mut builder, body, &given);
        let at = |of: Value| inside[of.node.index()][of.out as usize];
        let mut seeds: Vec<(Value, Value)> = Vec::new();
        seeds.extend(floats.iter().zip(&d_carries).map(|(carry, d)| (at(body.outputs[*carry]), *d)));
        seeds.extend(outputs.iter().zip(&d_outputs).map(|(place, d)| (at(output(place)), *d)));
        seeds.extend(histories.iter().zip(&d_histories).map(|(carry, d)| (given[*carry], *d)));
        let of: Vec<Value> = floats.iter().chain(&constants).chain(&sequences).map(|at| given[*at]).collect();
        let found = cotangents_from(&mut builder, &seeds, &of, node.origin)?;
        let mut results = Vec::with_capacity(of.len());
        for (place, (cotangent, of)) in found.iter().zip(&of).enumerate() {
            let sum = place.checked_sub(floats.len()).and_then(|place| sums.get(place));
            results.push(match (sum, cotangent) {
                (Some(sum), Cotangent::Zero(_)) => *sum,
                (Some(sum), Cotangent::Dense(part)) => builder.must(&ADD, &[*sum, *part], Attrs::none()),
                (None, cotangent) => cotangent.dense(&mut builder, *of, node.origin)?,
            });
        }
        Ok(Backward { region: builder.finish(results), floats, outputs, histories, constants, sequences })
    }
}

/// Copies the nodes of a region, its inputs given.
fn inline(builder: &mut Builder, region: &Graph, given: &[Value]) -> Vec<SmallVec<[Value; 1]>> {
    let mut inside: Vec<SmallVec<[Value; 1]>> = vec![SmallVec::new(); region.len()];
    for (input, value) in region.inputs.iter().zip(given) {
        inside[input.node.index()].push(*value);
    }
    for (id, node) in region.nodes().filter(|(_, node)| node.op != &INPUT) {
        let operands: SmallVec<[Value; 4]> =
            node.operands.iter().map(|of| inside[of.node.index()][of.out as usize]).collect();
        let first = builder.copy(node, &operands);
        inside[id.index()] = results_of(first.node, node.types.len());
    }
    inside
}
