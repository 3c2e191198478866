//! The dataflow graph of one step: typed nodes over petgraph.
//!
//! In: op applications, appended by the [`Builder`] in topological order. Out: a graph that can be verified, printed,
//! read back and rewritten by building a new one. Never here: a tensor, a device, a clock, a user's mistake.

mod cursor;
pub mod dot;
pub mod hash;
pub mod print;
pub mod read;
pub mod rewrite;
pub mod scalar;
pub mod size;
pub mod types;
pub mod verify;
#[cfg(test)]
mod tests;
pub mod yaml;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use petgraph::graph::{DiGraph, NodeIndex};
use smallvec::SmallVec;

pub use size::{Bindings, Overflow, Size};
pub use types::{Attr, Attrs, DType, Shape, Type};

use crate::ops::{Mismatch, Op};

pub type NodeId = NodeIndex<u32>;

/// One result of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value {
    pub node: NodeId,
    pub out: u16,
}

/// Where a node came from: an entry of a table that the elaborator keeps (call chain, span). 0 is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct OriginId(pub u32);

/// The part of a step that a node belongs to; printing and profiles group by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Section {
    /// Per sample, ahead of the step.
    Loader,
    #[default]
    Forward,
    Backward,
    Update,
}

#[derive(Clone, Debug)]
pub struct Node {
    pub op: &'static Op,
    pub attrs: Attrs,
    pub operands: SmallVec<[Value; 4]>,
    pub types: SmallVec<[Type; 1]>,
    /// Closed sub-graphs (`map_rows`, later `scan`): what they use comes in as their inputs.
    pub regions: Vec<Graph>,
    pub origin: OriginId,
    /// Unique in its graph.
    pub name: Arc<str>,
    pub section: Section,
}

/// Nodes in topological order. Inputs are nodes of op `input`; edges mirror `operands` and carry the operand's position.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    dag: DiGraph<Node, u16, u32>,
    pub inputs: Vec<Value>,
    pub outputs: Vec<Value>,
}

impl Graph {
    pub fn node(&self, id: NodeId) -> &Node {
        &self.dag[id]
    }

    /// The petgraph view: for order, search and drawing.
    pub fn dag(&self) -> &DiGraph<Node, u16, u32> {
        &self.dag
    }

    /// Every node, operands before users.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> {
        self.dag.node_indices().map(|id| (id, &self.dag[id]))
    }

    pub fn len(&self) -> usize {
        self.dag.node_count()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn ty(&self, value: Value) -> &Type {
        &self.dag[value.node].types[value.out as usize]
    }

    pub fn name(&self, value: Value) -> &str {
        &self.dag[value.node].name
    }
}

/// The only writer of graphs.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    graph: Graph,
    names: HashSet<Arc<str>>,
    /// The last number that was given to a repeated name.
    counts: HashMap<Arc<str>, u32>,
    /// Given to every node that is appended.
    pub origin: OriginId,
    pub section: Section,
    /// Name for the next node; otherwise it is named after its op.
    next_name: Option<Arc<str>>,
}

impl Builder {
    pub fn new() -> Builder {
        Builder::default()
    }

    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    pub fn ty(&self, value: Value) -> &Type {
        self.graph.ty(value)
    }

    /// Names the next node that is appended.
    pub fn named(&mut self, name: impl Into<Arc<str>>) -> &mut Builder {
        self.next_name = Some(name.into());
        self
    }

    /// Gives a node another name, for example the name to which the user bound it.
    pub fn rename(&mut self, value: Value, name: &str) {
        let unique = self.unique(name.into());
        self.graph.dag[value.node].name = unique;
    }

    pub fn input(&mut self, name: impl Into<Arc<str>>, ty: Type) -> Value {
        let name = name.into();
        let value =
            self.named(name).append(&crate::ops::INPUT, &[], Attrs::none(), Vec::new(), [ty].into_iter().collect());
        self.graph.inputs.push(value);
        value
    }

    /// Appends an application of `op`, whose block computes the result types or says what does not fit.
    pub fn apply(&mut self, op: &'static Op, operands: &[Value], attrs: Attrs) -> Result<Value, Mismatch> {
        self.apply_with(op, operands, attrs, Vec::new())
    }

    pub fn apply_with(
        &mut self,
        op: &'static Op,
        operands: &[Value],
        attrs: Attrs,
        regions: Vec<Graph>,
    ) -> Result<Value, Mismatch> {
        let types: SmallVec<[&Type; 4]> = operands.iter().map(|value| self.graph.ty(*value)).collect();
        let results = (op.infer)(&crate::ops::Infer { types: &types, attrs: &attrs, regions: &regions })?;
        drop(types);
        Ok(self.append(op, operands, attrs, regions, results))
    }

    /// Appends a node with its types as they are: for passes that copy nodes, and for reading a graph back.
    pub fn append(
        &mut self,
        op: &'static Op,
        operands: &[Value],
        attrs: Attrs,
        regions: Vec<Graph>,
        types: SmallVec<[Type; 1]>,
    ) -> Value {
        let wanted = self.next_name.take().unwrap_or_else(|| op.name.into());
        let name = self.unique(wanted);
        let node = Node {
            op,
            attrs,
            operands: operands.iter().copied().collect(),
            types,
            regions,
            origin: self.origin,
            name,
            section: self.section,
        };
        let id = self.graph.dag.add_node(node);
        for (at, operand) in operands.iter().enumerate() {
            debug_assert!(operand.node < id, "operands come before their users");
            self.graph.dag.add_edge(operand.node, id, at as u16);
        }
        Value { node: id, out: 0 }
    }

    /// Copies a node of another graph, its operands given in terms of this one, keeping name, origin and section.
    pub fn copy(&mut self, node: &Node, operands: &[Value]) -> Value {
        let (origin, section) = (self.origin, self.section);
        (self.origin, self.section) = (node.origin, node.section);
        let value = self.named(node.name.clone()).append(
            node.op,
            operands,
            node.attrs.clone(),
            node.regions.clone(),
            node.types.clone(),
        );
        if std::ptr::eq(node.op, &crate::ops::INPUT) {
            self.graph.inputs.push(value);
        }
        (self.origin, self.section) = (origin, section);
        value
    }

    pub fn finish(mut self, outputs: Vec<Value>) -> Graph {
        self.graph.outputs = outputs;
        self.graph
    }

    /// `h`, `h_1`, `h_2`, … in order of creation; a taken `h_1` counts on from `h`, so that copies do not grow tails.
    fn unique(&mut self, wanted: Arc<str>) -> Arc<str> {
        if self.names.insert(wanted.clone()) {
            return wanted;
        }
        let stem: Arc<str> = stem(&wanted).into();
        loop {
            let count = self.counts.entry(stem.clone()).or_insert(0);
            *count += 1;
            let name: Arc<str> = format!("{stem}_{count}").into();
            if self.names.insert(name.clone()) {
                return name;
            }
        }
    }
}

/// A name without the number that makes it unique.
fn stem(name: &str) -> &str {
    let numbered = |number: &str| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    match name.rsplit_once('_') {
        Some((stem, number)) if !stem.is_empty() && numbered(number) => stem,
        _ => name,
    }
}
