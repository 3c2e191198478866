//! Computes equal expressions once.
//!
//! `a = op x k=1`, `b = op x k=1`  becomes  `a`, `a`
//!
//! Draws are values of a key and a path, both operands or attributes here, so draws of different places stay apart.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use smallvec::SmallVec;

use crate::graph::rewrite::{Results, rewrite};
use crate::graph::{Attr, Attrs, Node, Section, Type, Value};
use crate::ops::Op;
use crate::ops::structure::{GRADIENT, INPUT};

use super::{PassError, Rewritten, Subject};

pub(super) fn run(subject: &Subject<'_>) -> Result<Rewritten, PassError> {
    let mut known: HashMap<Expression, Results> = HashMap::with_capacity(subject.graph.len());
    let done = rewrite::<PassError>(subject.graph, |rewriter, _, node, operands| {
        // Inputs are what they are; a marker stands for the slot that it names; regions are compared by nobody.
        if node.op == &INPUT || node.op == &GRADIENT || !node.regions.is_empty() {
            return Ok(rewriter.copy(node, operands));
        }
        let expression = Expression::of(node, operands);
        if let Some(have) = known.get(&expression) {
            return Ok(have.clone());
        }
        let results = rewriter.copy(node, operands);
        known.insert(expression, results.clone());
        Ok(results)
    })?;
    Ok(Some(done))
}

/// What makes two nodes equal.
pub(crate) struct Expression {
    op: &'static Op,
    attrs: Attrs,
    operands: SmallVec<[Value; 4]>,
    types: SmallVec<[Type; 1]>,
    /// What is computed ahead of the step is not merged with what is computed in it.
    ahead: bool,
}

impl Expression {
    pub(crate) fn of(node: &Node, operands: &[Value]) -> Expression {
        Expression {
            op: node.op,
            attrs: node.attrs.clone(),
            operands: operands.iter().copied().collect(),
            types: node.types.clone(),
            ahead: node.section == Section::Loader,
        }
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Expression) -> bool {
        self.op == other.op
            && self.ahead == other.ahead
            && self.operands == other.operands
            && self.attrs.0.len() == other.attrs.0.len()
            && self.attrs.0.iter().zip(&other.attrs.0).all(|(a, b)| a.0 == b.0 && same_attr(&a.1, &b.1))
            && self.types == other.types
    }
}

impl Eq for Expression {}

/// Floats by their bits: 0.0 and -0.0 are different constants, a NaN is itself.
fn same_attr(a: &Attr, b: &Attr) -> bool {
    match (a, b) {
        (Attr::Float(a), Attr::Float(b)) => a.to_bits() == b.to_bits(),
        (Attr::Floats(a), Attr::Floats(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
        }
        (a, b) => a == b,
    }
}

impl Hash for Expression {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::ptr::hash(self.op, state);
        self.ahead.hash(state);
        self.operands.hash(state);
        for (name, attr) in &self.attrs.0 {
            name.hash(state);
            match attr {
                Attr::Int(n) => n.hash(state),
                Attr::Float(x) => x.to_bits().hash(state),
                Attr::Bool(flag) => flag.hash(state),
                Attr::Text(text) => text.hash(state),
                Attr::Ints(ints) => ints.hash(state),
                Attr::Floats(floats) => floats.iter().for_each(|x| x.to_bits().hash(state)),
                Attr::Size(size) => size.hash(state),
                Attr::Sizes(sizes) => sizes.hash(state),
                Attr::DType(dtype) => dtype.hash(state),
            }
        }
    }
}
