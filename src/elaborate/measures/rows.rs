//! What the rows of a batch do to the values of a step: which depend on them, and which give each row its own.

use std::sync::Arc;

use crate::graph::{Attr, Graph, Node, NodeId, Size, Type, Value};
use crate::ops::Op;
use crate::ops::index::{SCATTER_ADD, SCATTER_ADD_ALONG, SCATTER_SET, SORT, TAKE, TAKE_ALONG};
use crate::ops::random::PERMUTATION;
use crate::ops::reduce::CUMSUM;
use crate::ops::shape::{FLIP, RESHAPE};
use crate::ops::structure::{GRAD, IOTA, SIZE};

pub struct Rows<'a> {
    graph: &'a Graph,
    symbols: &'a [Arc<str>],
    /// By node: another batch gives another value.
    vary: Vec<bool>,
    /// By node: a row's result depends on other rows of its batch, or on how many there are.
    mixed: Vec<bool>,
}

impl<'a> Rows<'a> {
    /// `lasts` tells of an input, by its position, whether it is the same for every batch.
    pub fn of(graph: &'a Graph, symbols: &'a [Arc<str>], lasts: &dyn Fn(usize) -> bool) -> Rows<'a> {
        let mut rows = Rows { graph, symbols, vary: Vec::new(), mixed: Vec::new() };
        for (id, node) in graph.nodes() {
            let input = graph.inputs.iter().position(|input| input.node == id);
            let own = node.types.iter().any(|ty| rows.carried(ty) > 0)
                || size_of(node).is_some_and(|size| rows.holds(size))
                || input.is_some_and(|at| !lasts(at));
            let vary = own || node.operands.iter().any(|operand| rows.vary[operand.node.index()]);
            let mixed = rows.mixes(node) || node.operands.iter().any(|operand| rows.mixed[operand.node.index()]);
            rows.vary.push(vary);
            rows.mixed.push(mixed);
        }
        rows
    }

    pub fn vary(&self, id: NodeId) -> bool {
        self.vary[id.index()]
    }

    /// Whether a value has rows along one axis, each computed from the row of a record alone.
    pub fn one_by_one(&self, value: Value) -> bool {
        !self.mixed[value.node.index()] && self.carried(self.graph.ty(value)) == 1
    }

    fn holds(&self, size: &Size) -> bool {
        size.symbols().iter().any(|symbol| self.symbols.contains(symbol))
    }

    /// On how many axes rows lie.
    pub fn carried(&self, ty: &Type) -> usize {
        ty.shape.iter().filter(|size| self.holds(size)).count()
    }

    /// Whether a size is a multiple of the rows of one source: over all batches it adds up.
    pub fn counts(&self, size: &Size) -> bool {
        let of =
            |symbol: &Arc<str>| size.div_exact(&Size::symbol(symbol.clone())).is_some_and(|n| n.as_known().is_some());
        matches!(size.symbols().as_slice(), [symbol] if self.symbols.contains(symbol) && of(symbol))
    }

    /// Whether the rows of a value lie along one of these axes.
    pub fn folded(&self, value: Value, axes: &[i64]) -> bool {
        let shape = &self.graph.ty(value).shape;
        axes.iter().any(|axis| shape.get(*axis as usize).is_some_and(|size| self.holds(size)))
    }

    /// Whether a matrix product adds rows up.
    pub fn contracted(&self, node: &Node) -> bool {
        let rank = self.graph.ty(node.operands[1]).rank();
        let last = self.graph.ty(node.operands[0]).rank() as i64 - 1;
        rank >= 2 && self.folded(node.operands[0], &[last]) && self.folded(node.operands[1], &[rank as i64 - 2])
    }

    fn mixes(&self, node: &Node) -> bool {
        let carried = |value: &Value| self.carried(self.graph.ty(*value));
        let most = node.operands.iter().map(carried).max().unwrap_or(0);
        let odd = |size: &Size| self.holds(size) && !self.counts(size);
        let counting =
            [&SIZE, &IOTA, &PERMUTATION].contains(&node.op) && size_of(node).is_some_and(|size| self.holds(size));
        counting
            || node.op == &GRAD && most > 0
            || node.types.iter().any(|ty| self.carried(ty) < most || ty.shape.iter().any(odd))
            || self.moves_rows(node)
            || node.op == &RESHAPE && !self.keeps_rows(node)
    }

    /// Ops along an axis on which the rows lie.
    fn moves_rows(&self, node: &Node) -> bool {
        let along: [&'static Op; 7] =
            [&CUMSUM, &SORT, &TAKE, &TAKE_ALONG, &SCATTER_ADD, &SCATTER_SET, &SCATTER_ADD_ALONG];
        let axes: Vec<i64> = match node.attrs.get("axis") {
            Some(Attr::Int(axis)) if along.contains(&node.op) => vec![*axis],
            _ if node.op == &FLIP => node.attrs.ints("axes").unwrap_or(&[]).to_vec(),
            _ => return false,
        };
        node.operands.first().is_some_and(|x| self.folded(*x, &axes))
    }

    /// As many elements stand before a row as before.
    fn keeps_rows(&self, node: &Node) -> bool {
        let before = |ty: &Type| {
            let at = ty.shape.iter().position(|size| self.holds(size))?;
            product(ty.shape[..at].iter())
        };
        before(self.graph.ty(node.operands[0])) == before(&node.types[0])
    }
}

/// What `size`, `iota` and `permutation` count.
pub fn size_of(node: &Node) -> Option<&Size> {
    match node.attrs.get("size") {
        Some(Attr::Size(size)) => Some(size),
        _ => None,
    }
}

pub fn product<'s>(sizes: impl Iterator<Item = &'s Size>) -> Option<Size> {
    sizes.into_iter().try_fold(Size::known(1), |all, size| all.mul(size)).ok()
}
