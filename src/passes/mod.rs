//! From an elaborated step to the step that is planned: a list of functions from graph to graph.
//!
//! In: a step with `map_rows` and `grad` nodes. Out: a step of primitives that computes the same numbers with fewer
//! nodes. Never here: a rewrite that changes a floating point result unasked (`precision` is asked for), a decision about
//! order, memory or devices.

mod drop_unused;
mod fold_constants;
mod fuse;
mod lift;
mod precision;
mod share_common;
mod simplify;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::convert::Infallible;
use std::fmt;

use crate::gradient::{self, GradientError};
use crate::graph::rewrite::{ValueMap, map_regions};
use crate::graph::verify::{Fault, verify};
use crate::graph::{Graph, OriginId, Value};
use crate::ops::Mismatch;
use crate::ops::scan::SCAN;
use crate::program::{Input, Measure, Narrow, Step};

pub(crate) use fuse::exponent;
pub use fuse::fuse;
#[cfg(test)]
pub(crate) use fuse::fuse_graph;
pub(crate) use share_common::Expression;

/// One rewrite of a whole graph.
pub struct Pass {
    pub name: &'static str,
    pub about: &'static str,
    run: fn(&Subject<'_>) -> Result<Rewritten, PassError>,
}

/// In order. Nothing shares, folds or simplifies before `gradient`: equal expressions are different variables to `grad`.
pub static PASSES: &[Pass] = &[
    Pass {
        name: "lift",
        about: "write `map_rows` as ops on whole batches, ahead of the step where possible",
        run: lift::run,
    },
    Pass { name: "gradient", about: "replace each `grad` by its backward graph", run: expand_gradients },
    Pass {
        name: "precision",
        about: "round the operands of products, backward ones too, where the step asks for it",
        run: precision::run,
    },
    Pass { name: "fold_constants", about: "compute what depends on small constants only", run: fold_constants::run },
    Pass { name: "simplify", about: "leave out what changes nothing", run: simplify::run },
    Pass { name: "share_common", about: "compute equal expressions once", run: share_common::run },
    Pass { name: "drop_unused", about: "leave out what nobody reads", run: drop_unused::run },
];

/// What a pass sees.
pub(crate) struct Subject<'a> {
    pub graph: &'a Graph,
    /// Values that are read when the graph has run.
    pub roots: &'a [Value],
    /// Inputs that the loader has before the step begins.
    pub ahead: &'a HashSet<Value>,
    /// To what operands of products are to be rounded.
    pub narrow: Option<Narrow>,
}

/// The new graph and where each old value went; none is the old graph as it is.
pub(crate) type Rewritten = Option<(Graph, ValueMap)>;

#[derive(Clone, Debug)]
pub enum PassError {
    Gradient(GradientError),
    /// An op of a view cannot work on a batch, and why.
    Lift {
        node: String,
        op: &'static str,
        why: String,
        origin: OriginId,
    },
    /// A rewrite built something that does not fit.
    Rewrite {
        pass: &'static str,
        node: String,
        fault: Mismatch,
    },
    /// The verifier's objection to what a pass made.
    Broken {
        pass: &'static str,
        fault: Fault,
    },
}

impl PassError {
    /// The node of the program that the pass stopped at.
    pub fn origin(&self) -> OriginId {
        match self {
            PassError::Gradient(
                GradientError::NoRule { origin, .. }
                | GradientError::Loss { origin, .. }
                | GradientError::Rule { origin, .. },
            ) => *origin,
            PassError::Lift { origin, .. } => *origin,
            PassError::Rewrite { .. } | PassError::Broken { .. } => OriginId(0),
        }
    }
}

impl fmt::Display for PassError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PassError::Gradient(error) => write!(f, "{error}"),
            PassError::Lift { node, op, why, .. } => write!(f, "`{node}` cannot work on a batch, {op}: {why}"),
            PassError::Rewrite { pass, node, fault } => write!(f, "{pass} at `{node}`: {}", fault.headline),
            PassError::Broken { pass, fault } => write!(f, "after {pass}: {fault}"),
        }
    }
}

impl std::error::Error for PassError {}

impl From<GradientError> for PassError {
    fn from(error: GradientError) -> PassError {
        PassError::Gradient(error)
    }
}

impl From<Infallible> for PassError {
    fn from(never: Infallible) -> PassError {
        match never {}
    }
}

/// Runs all passes over a step and over what is computed after it.
pub fn compile(step: &Step) -> Result<Step, PassError> {
    compile_with(step, PASSES)
}

/// Runs some passes over a step: what a test of one pass calls.
pub fn compile_with(step: &Step, passes: &[Pass]) -> Result<Step, PassError> {
    let mut step = step.clone();
    for pass in passes {
        let ahead: HashSet<Value> = step
            .graph
            .inputs
            .iter()
            .zip(&step.inputs)
            .filter(|(_, input)| is_ahead(input))
            .map(|(value, _)| *value)
            .collect();
        let roots = step.roots();
        let done = (pass.run)(&Subject { graph: &step.graph, roots: &roots, ahead: &ahead, narrow: step.narrow })?;
        let changed = done.is_some();
        if let Some((graph, values)) = done {
            step = remap(step, graph, &values);
        }
        if inside(pass, &mut step.graph, step.narrow)? || changed {
            check(pass, &step.graph)?;
        }
    }
    for measure in &mut step.measures {
        measure.rest = compile_graph_with(&measure.rest, passes)?;
    }
    // What the graph says now is not done twice.
    if passes.iter().any(|pass| pass.name == "precision") {
        step.narrow = None;
    }
    Ok(step)
}

/// Runs all passes over a graph without a loader: how a slot is drawn, the rest of a measure. Its inputs stay all.
pub fn compile_graph(graph: &Graph) -> Result<Graph, PassError> {
    compile_graph_with(graph, PASSES)
}

fn compile_graph_with(graph: &Graph, passes: &[Pass]) -> Result<Graph, PassError> {
    let mut graph = graph.clone();
    for pass in passes {
        let roots: Vec<Value> = graph.outputs.iter().chain(&graph.inputs).copied().collect();
        let done = (pass.run)(&Subject { graph: &graph, roots: &roots, ahead: &HashSet::new(), narrow: None })?;
        let changed = done.is_some();
        if let Some((new, _)) = done {
            graph = new;
        }
        if inside(pass, &mut graph, None)? || changed {
            check(pass, &graph)?;
        }
    }
    Ok(graph)
}

/// Runs a pass over the bodies of loops, whatever their depth. True where one changed.
fn inside(pass: &Pass, graph: &mut Graph, narrow: Option<Narrow>) -> Result<bool, PassError> {
    map_regions(graph, |node, region| {
        if node.op != &SCAN {
            return Ok(None);
        }
        let roots: Vec<Value> = region.outputs.iter().chain(&region.inputs).copied().collect();
        let done = (pass.run)(&Subject { graph: region, roots: &roots, ahead: &HashSet::new(), narrow })?;
        let mut new = done.map(|(graph, _)| graph);
        let mut nested = new.clone().unwrap_or_else(|| region.clone());
        if inside(pass, &mut nested, narrow)? {
            new = Some(nested);
        }
        Ok(new)
    })
}

/// Whether the loader has this input before the step begins.
pub(crate) fn is_ahead(input: &Input) -> bool {
    matches!(input, Input::Field { .. } | Input::Ids { .. } | Input::Index { .. } | Input::EpochKey)
}

fn expand_gradients(subject: &Subject<'_>) -> Result<Rewritten, PassError> {
    if !gradient::has_grad(subject.graph) {
        return Ok(None);
    }
    Ok(Some(gradient::expand_dense(subject.graph)?))
}

fn check(pass: &Pass, graph: &Graph) -> Result<(), PassError> {
    if cfg!(debug_assertions) {
        verify(graph).map_err(|fault| PassError::Broken { pass: pass.name, fault })?;
    }
    Ok(())
}

/// The step with every value replaced. Inputs that were dropped leave its list of inputs.
fn remap(step: Step, graph: Graph, values: &ValueMap) -> Step {
    // Roots are never dropped.
    let at = |value: Value| values.get(value).unwrap_or(value);
    let kinds: std::collections::HashMap<Value, Input> = step
        .graph
        .inputs
        .iter()
        .zip(step.inputs)
        .filter_map(|(old, kind)| values.get(*old).map(|new| (new, kind)))
        .collect();
    let inputs = graph.inputs.iter().filter_map(|value| kinds.get(value).cloned()).collect();
    let named = |list: Vec<(String, Value)>| list.into_iter().map(|(name, value)| (name, at(value))).collect();
    let measures = step.measures.into_iter().map(|measure| Measure {
        statistics: measure.statistics.into_iter().map(|(kind, value)| (kind, at(value))).collect(),
        ..measure
    });
    Step {
        inputs,
        commits: step.commits.into_iter().map(|(formal, value)| (formal, at(value))).collect(),
        logs: named(step.logs),
        measures: measures.collect(),
        collects: named(step.collects),
        yields: step.yields.into_iter().map(at).collect(),
        graph,
        name: step.name,
        host: step.host,
        formals: step.formals,
        symbols: step.symbols,
        guards: step.guards,
        narrow: step.narrow,
        answers: step.answers.into_iter().filter_map(|value| values.get(value)).collect(),
    }
}
