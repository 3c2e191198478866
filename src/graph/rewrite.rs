//! Building a graph from another one: what all passes share.

use smallvec::SmallVec;

use super::{Builder, Graph, Node, NodeId, Value};

/// Where each result of an old node is in the new graph.
pub type Results = SmallVec<[Value; 1]>;

/// Old value to new value, dense by node.
#[derive(Clone, Debug, Default)]
pub struct ValueMap {
    nodes: Vec<Results>,
}

impl ValueMap {
    /// A map for a graph's nodes, all dropped as yet.
    pub fn of(graph: &Graph) -> ValueMap {
        ValueMap { nodes: vec![Results::new(); graph.len()] }
    }

    pub fn set(&mut self, node: NodeId, results: Results) {
        self.nodes[node.index()] = results;
    }

    /// None for a node that was dropped.
    pub fn get(&self, value: Value) -> Option<Value> {
        self.nodes.get(value.node.index())?.get(value.out as usize).copied()
    }

    /// Every pair, in order of the old graph.
    pub fn iter(&self) -> impl Iterator<Item = (Value, Value)> + '_ {
        self.nodes.iter().enumerate().flat_map(|(at, results)| {
            let node = NodeId::new(at);
            results.iter().enumerate().map(move |(out, new)| (Value { node, out: out as u16 }, *new))
        })
    }
}

/// A new graph while it is made.
#[derive(Default)]
pub struct Rewriter {
    pub builder: Builder,
    map: ValueMap,
}

impl Rewriter {
    /// Copies a node as it is; the results of the copy.
    pub fn copy(&mut self, node: &Node, operands: &[Value]) -> Results {
        let first = self.builder.copy(node, operands);
        results_of(first.node, node.types.len())
    }
}

pub fn results_of(node: NodeId, count: usize) -> Results {
    (0..count).map(|out| Value { node, out: out as u16 }).collect()
}

/// Calls `each` for every node of `graph`, operands before users, with its operands in the new graph. What `each` returns
/// stands for the node's results; nothing at all drops the node, which must then have no users.
pub fn rewrite<E>(
    graph: &Graph,
    mut each: impl FnMut(&mut Rewriter, NodeId, &Node, &[Value]) -> Result<Results, E>,
) -> Result<(Graph, ValueMap), E> {
    let mut rewriter = Rewriter::default();
    rewriter.map.nodes.reserve(graph.len());
    let mut operands: SmallVec<[Value; 4]> = SmallVec::new();
    for (id, node) in graph.nodes() {
        operands.clear();
        // Fewer than the node has only where its operands were dropped, and then it is dropped too.
        operands.extend(node.operands.iter().filter_map(|old| rewriter.map.get(*old)));
        let results = each(&mut rewriter, id, node, &operands)?;
        rewriter.map.nodes.push(results);
    }
    let Rewriter { builder, map } = rewriter;
    let outputs = graph.outputs.iter().filter_map(|old| map.get(*old)).collect();
    Ok((builder.finish(outputs), map))
}

/// Replaces regions where they stand, by regions of the same inputs and outputs: the nodes around them stay what they are.
pub fn map_regions<E>(
    graph: &mut Graph,
    mut each: impl FnMut(&Node, &Graph) -> Result<Option<Graph>, E>,
) -> Result<bool, E> {
    let mut changed = false;
    for id in graph.dag.node_indices() {
        for at in 0..graph.dag[id].regions.len() {
            if let Some(region) = each(&graph.dag[id], &graph.dag[id].regions[at])? {
                graph.dag[id].regions[at] = region;
                changed = true;
            }
        }
    }
    Ok(changed)
}
