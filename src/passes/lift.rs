//! `map_rows` becomes ops on whole batches, and what needs nothing of the step moves ahead of it.
//!
//! `y = map_rows xs { x -> g(f(x)) }`  becomes  `h = F xs`, `y = G h`, with F and G the lifted forms of f and g.

use smallvec::SmallVec;

use crate::gradient;
use crate::graph::rewrite::{Results, results_of, rewrite};
use crate::graph::{Attr, Attrs, Builder, Graph, Node, Section, Size, Value};
use crate::ops::scan::{Form, SCAN};
use crate::ops::shape::BROADCAST;
use crate::ops::structure::{INPUT, MAP_ROWS};
use crate::ops::{Lift, Mismatch, Rows};

use super::{PassError, Rewritten, Subject};

pub(super) fn run(subject: &Subject<'_>) -> Result<Rewritten, PassError> {
    let graph = subject.graph;
    let sections = sections(subject);
    let lifted = graph.nodes().any(|(_, node)| node.op == &MAP_ROWS);
    if !lifted && graph.nodes().all(|(id, node)| node.section == sections[id.index()]) {
        return Ok(None);
    }
    let done = rewrite(graph, |rewriter, id, node, operands| {
        let section = sections[id.index()];
        if node.op == &MAP_ROWS {
            let results = inline(&mut rewriter.builder, node, operands, section)?;
            if let [first, ..] = results.as_slice()
                && first.node.index() + 1 == rewriter.builder.graph().len()
            {
                rewriter.builder.rename(*first, &node.name);
            }
            return Ok(results);
        }
        if node.section == section {
            return Ok(rewriter.copy(node, operands));
        }
        Ok::<_, PassError>(rewriter.copy(&Node { section, ..node.clone() }, operands))
    })?;
    Ok(Some(done))
}

/// The section of each node once it is known what can run ahead: a `map_rows` of batch fields, record ids, the epoch's
/// key and constants, with all that it needs. What says `Loader` and needs the step goes back into it.
fn sections(subject: &Subject<'_>) -> Vec<Section> {
    let graph = subject.graph;
    let mut possible = vec![false; graph.len()];
    for (id, node) in graph.nodes() {
        possible[id.index()] = match node.op == &INPUT {
            true => subject.ahead.contains(&Value { node: id, out: 0 }),
            false => node.operands.iter().all(|operand| possible[operand.node.index()]),
        };
    }
    let mut wanted = vec![false; graph.len()];
    for (id, node) in graph.nodes().rev() {
        let here = node.op == &MAP_ROWS || node.section == Section::Loader;
        if possible[id.index()] && (here || wanted[id.index()]) {
            wanted[id.index()] = true;
            node.operands.iter().for_each(|operand| wanted[operand.node.index()] = true);
        }
    }
    let section = |(id, node): (crate::graph::NodeId, &Node)| match node.section {
        section if node.op == &INPUT => section,
        _ if wanted[id.index()] => Section::Loader,
        Section::Loader => Section::Forward,
        section => section,
    };
    graph.nodes().map(section).collect()
}

/// The region of a `map_rows` on all rows at once.
fn inline(builder: &mut Builder, node: &Node, operands: &[Value], section: Section) -> Result<Results, PassError> {
    let fault = |why: &str| PassError::Lift {
        node: node.name.to_string(),
        op: node.op.name,
        why: why.to_string(),
        origin: node.origin,
    };
    let region = node.regions.first().ok_or_else(|| fault("it has no region"))?;
    let rows = operands.first().and_then(|first| builder.ty(*first).shape.first()).cloned();
    let rows = rows.ok_or_else(|| fault("it has no rows"))?;
    let region = &prepare(region)?;
    let mut lifter =
        Lifter { builder, rows, section, place: vec![Results::new(); region.len()], by_row: vec![false; region.len()] };
    for (input, operand) in region.inputs.iter().zip(operands) {
        lifter.place[input.node.index()] = [*operand].into_iter().collect();
        lifter.by_row[input.node.index()] = true;
    }
    lifter.nodes(region)?;
    let outputs = region.outputs.iter();
    outputs.map(|output| lifter.rows_of(*output).map_err(|mismatch| fault(&mismatch.headline))).collect()
}

/// A region whose own regions are lifted and whose gradients are expanded, innermost first.
fn prepare(region: &Graph) -> Result<Graph, PassError> {
    let nested = region.nodes().any(|(_, node)| node.op == &MAP_ROWS);
    let flat = if nested {
        rewrite(region, |rewriter, _, node, operands| match node.op == &MAP_ROWS {
            true => inline(&mut rewriter.builder, node, operands, node.section),
            false => Ok(rewriter.copy(node, operands)),
        })?
        .0
    } else {
        region.clone()
    };
    Ok(if gradient::has_grad(&flat) { gradient::expand_dense(&flat)?.0 } else { flat })
}

struct Lifter<'a> {
    builder: &'a mut Builder,
    rows: Size,
    section: Section,
    /// Where the results of each inner node are.
    place: Vec<Results>,
    /// Whether they have the leading axis.
    by_row: Vec<bool>,
}

impl Lifter<'_> {
    fn nodes(&mut self, region: &Graph) -> Result<(), PassError> {
        for (id, inner) in region.nodes().filter(|(_, inner)| inner.op != &INPUT) {
            let by_row = inner.operands.iter().any(|operand| self.by_row[operand.node.index()]);
            self.by_row[id.index()] = by_row;
            self.place[id.index()] = if by_row { self.lift(inner)? } else { self.keep(inner) };
        }
        Ok(())
    }

    fn at(&self, inner: Value) -> Value {
        self.place[inner.node.index()][inner.out as usize]
    }

    /// The value with the leading axis; repeated if it is the same for all rows.
    fn rows_of(&mut self, inner: Value) -> Result<Value, Mismatch> {
        let value = self.at(inner);
        if self.by_row[inner.node.index()] {
            return Ok(value);
        }
        let ty = self.builder.ty(value).clone();
        let shape: Vec<Size> = [self.rows.clone()].into_iter().chain(ty.shape.iter().cloned()).collect();
        let axes = (1..=ty.rank() as i64).collect();
        let attrs = Attrs::none().with("shape", Attr::Sizes(shape)).with("axes", Attr::Ints(axes));
        self.builder.section = self.section;
        self.builder.apply(&BROADCAST, &[value], attrs)
    }

    /// A node that is the same for all rows.
    fn keep(&mut self, node: &Node) -> Results {
        let operands: SmallVec<[Value; 4]> = node.operands.iter().map(|operand| self.at(*operand)).collect();
        let first = self.builder.copy(&Node { section: self.section, ..node.clone() }, &operands);
        results_of(first.node, node.types.len())
    }

    fn lift(&mut self, node: &Node) -> Result<Results, PassError> {
        if node.op == &SCAN {
            return self.lift_scan(node);
        }
        let before = (self.builder.origin, self.builder.section);
        (self.builder.origin, self.builder.section) = (node.origin, self.section);
        let lifted = self.lifted(node);
        (self.builder.origin, self.builder.section) = before;
        let fault =
            |why: String| PassError::Lift { node: node.name.to_string(), op: node.op.name, why, origin: node.origin };
        let first = lifted.map_err(fault)?;
        for (result, ty) in results_of(first.node, node.types.len()).iter().zip(&node.types) {
            let wanted = ty.with_shape([self.rows.clone()].into_iter().chain(ty.shape.iter().cloned()));
            let have = self.builder.ty(*result);
            if *have != wanted {
                return Err(fault(format!("its lifted form is {have}, not {wanted}")));
            }
        }
        Ok(results_of(first.node, node.types.len()))
    }

    /// A loop of each row is one loop over all rows: its region is lifted, and rounds stay the first axis of sequences.
    fn lift_scan(&mut self, node: &Node) -> Result<Results, PassError> {
        let fault =
            |why: String| PassError::Lift { node: node.name.to_string(), op: node.op.name, why, origin: node.origin };
        let form = Form::of(&node.attrs, &node.regions).ok_or_else(|| fault("it has no region".into()))?;
        if form.until {
            return Err(fault(
                "`until` would end each row at another round; write the view with a fixed length".into(),
            ));
        }
        let walked = form.carries..form.carries + form.sequences;
        let mut operands = Vec::with_capacity(node.operands.len());
        for (at, operand) in node.operands.iter().enumerate() {
            let value = self.rows_of(*operand).map_err(|mismatch| fault(mismatch.headline))?;
            operands.push(if walked.contains(&at) { self.exchange(value) } else { value });
        }
        let body = &prepare(&node.regions[0])?;
        let mut inner = Builder::new();
        let mut lifter = Lifter {
            builder: &mut inner,
            rows: self.rows.clone(),
            section: Section::Forward,
            place: vec![Results::new(); body.len()],
            by_row: vec![false; body.len()],
        };
        for input in &body.inputs {
            let ty = body.ty(*input);
            let shape = std::iter::once(self.rows.clone()).chain(ty.shape.iter().cloned());
            let value = lifter.builder.input(body.name(*input), ty.with_shape(shape));
            lifter.place[input.node.index()] = [value].into_iter().collect();
            lifter.by_row[input.node.index()] = true;
        }
        lifter.nodes(body)?;
        let outputs = body.outputs.iter().map(|output| lifter.rows_of(*output));
        let outputs = outputs.collect::<Result<Vec<_>, _>>().map_err(|mismatch| fault(mismatch.headline))?;
        let region = inner.finish(outputs);
        let before = (self.builder.origin, self.builder.section);
        (self.builder.origin, self.builder.section) = (node.origin, self.section);
        let name = node.name.clone();
        let applied = self.builder.named(name).apply_with(&SCAN, &operands, node.attrs.clone(), vec![region]);
        let results = applied.map(|first| {
            let results = results_of(first.node, node.types.len());
            results
                .iter()
                .enumerate()
                .map(|(at, result)| if at < form.carries { *result } else { self.exchange(*result) })
                .collect()
        });
        (self.builder.origin, self.builder.section) = before;
        results.map_err(|mismatch| fault(mismatch.headline))
    }

    /// The first two axes exchanged.
    fn exchange(&mut self, value: Value) -> Value {
        let rank = self.builder.ty(value).rank();
        let axes: Vec<usize> = [1, 0].into_iter().chain(2..rank).collect();
        self.builder.section = self.section;
        self.builder.permute(value, &axes)
    }

    fn lifted(&mut self, node: &Node) -> Result<Value, String> {
        if !node.regions.is_empty() {
            return Err("it has regions".into());
        }
        let operands = node.operands.iter().map(|operand| self.rows_of(*operand));
        let operands: SmallVec<[Value; 4]> = operands.collect::<Result<_, _>>().map_err(|fault| fault.headline)?;
        let done = match &node.op.rows {
            Rows::Leading => self.builder.named(node.name.clone()).apply(node.op, &operands, node.attrs.clone()),
            Rows::Rule(rule) => {
                let made = self.builder.graph().len();
                let lift =
                    &mut Lift { builder: self.builder, operands: &operands, attrs: &node.attrs, rows: &self.rows };
                let value = rule(lift).map_err(|fault| fault.headline)?;
                if value.node.index() >= made {
                    self.builder.rename(value, &node.name);
                }
                Ok(value)
            }
            Rows::Mixed(why) => return Err(why.to_string()),
        };
        done.map_err(|fault| fault.headline)
    }
}
