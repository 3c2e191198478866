//! Derivatives: a graph with `grad` nodes becomes a graph with backward sections.
//!
//! In: a graph whose `map_rows` are lifted. Out: a graph of primitives without `grad`, and where each old value went.
//! Never here: a rule of an op (those stand in its block), a tensor, a message to the user.
//!
//! `grad` nodes are expanded in order, so an inner one is made of primitives before an outer one walks over it: any order
//! of differentiation works without a further rule.

mod backward;
mod reach;
mod scan;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::graph::rewrite::{ValueMap, rewrite};
use crate::graph::{Graph, OriginId, Type, Value};
use crate::ops::Op;
use crate::ops::scan::SCAN;
use crate::ops::structure::GRAD;

pub use backward::{Cotangent, cotangents};
pub use reach::{Reach, Reason, reach};

/// Why a `grad` cannot be expanded. What the user can cause is said by the elaborator before; these name the node.
#[derive(Clone, Debug, PartialEq)]
pub enum GradientError {
    /// The way from the loss leads through an op without a derivative.
    NoRule { op: &'static Op, why: &'static str, node: Arc<str>, origin: OriginId },
    /// The loss is no float scalar.
    Loss { ty: Type, origin: OriginId },
    /// A rule gave a cotangent that does not fit its operand.
    Rule { op: &'static Op, operand: usize, fault: String, origin: OriginId },
}

impl fmt::Display for GradientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GradientError::NoRule { op, why, node, .. } => {
                write!(f, "`{node}` has no derivative, {}: {why}", op.name)
            }
            GradientError::Loss { ty, .. } => write!(f, "a gradient is taken of a float scalar, this is {ty}"),
            GradientError::Rule { op, operand, fault, .. } => {
                write!(f, "the rule of {} for operand {operand} does not fit: {fault}", op.name)
            }
        }
    }
}

impl std::error::Error for GradientError {}

/// Replaces every `grad` by its backward graph, regions included.
pub fn expand(graph: &Graph) -> Result<(Graph, HashMap<Value, Value>), GradientError> {
    let (graph, values) = expand_dense(graph)?;
    Ok((graph, values.iter().collect()))
}

/// Whether there is anything to expand.
pub fn has_grad(graph: &Graph) -> bool {
    graph.nodes().any(|(_, node)| node.op == &GRAD || node.regions.iter().any(has_grad))
}

pub(crate) fn expand_dense(graph: &Graph) -> Result<(Graph, ValueMap), GradientError> {
    rewrite(graph, |rewriter, _, node, operands| {
        if node.op == &GRAD {
            let [loss, of @ ..] = operands else { return Ok(rewriter.copy(node, operands)) };
            let results = cotangents(&mut rewriter.builder, *loss, of, node.origin)?;
            let dense = results.iter().zip(of);
            return dense.map(|(result, of)| result.dense(&mut rewriter.builder, *of, node.origin)).collect();
        }
        let mut inner = node.clone();
        for region in inner.regions.iter_mut().filter(|region| has_grad(region)) {
            *region = expand_dense(region)?.0;
        }
        if node.op == &SCAN {
            inner = scan::with_histories(&inner);
            let mut results = rewriter.copy(&inner, operands);
            results.truncate(node.types.len());
            return Ok(results);
        }
        if !node.regions.is_empty() {
            return Ok(rewriter.copy(&inner, operands));
        }
        Ok(rewriter.copy(node, operands))
    })
}
