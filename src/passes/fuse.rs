//! Chains of elementwise operations become one node each, which is computed in one pass over memory.
//!
//! `d = sub x m`, `q = mul d d`, `s = sum q`  becomes  `s = fused x mean { … }`, and `m = broadcast mean` vanishes into it.
//!
//! It runs on a compiled step just before it is planned for the CPU; what `ssl graph` shows is the step without it. A group
//! holds operations over one shape that are connected and have the same *level*: the number of borders between groups on
//! the longest way to them. A way that leaves a group crosses a border, so none comes back, and groups have an order.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use petgraph::unionfind::UnionFind;
use smallvec::SmallVec;

use crate::graph::rewrite::{Results, ValueMap, results_of};
use crate::graph::{Attrs, Builder, DType, Graph, Node, NodeId, Section, Shape, Value};
use crate::ops::CONSTANT;
use crate::ops::elementwise::POW;
use crate::ops::fused::{FUSED, in_tiles};
use crate::ops::reduce::SUM;
use crate::ops::shape::BROADCAST;
use crate::ops::structure::INPUT;
use crate::program::Step;

/// Operations of a group at most: what a tile interpreter keeps in the cache.
const MOST: usize = 48;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Works on every place of its shape.
    Chain,
    /// A sum of such.
    Fold,
    /// Costs nothing inside a group: something small, spread.
    Spread,
    Other,
}

/// The step with its chains fused.
pub fn fuse(step: Step) -> Step {
    let roots: HashSet<Value> = step.roots().into_iter().collect();
    let seen: HashSet<Value> = step.answers.iter().copied().collect();
    match fuse_graph(&step.graph, &roots, &seen) {
        Some((graph, values)) => super::remap(step, graph, &values),
        None => step,
    }
}

/// The graph with its chains fused; none if there is no chain. `roots` are read when it has run; `seen` are not read inside
/// the group that makes them, so that they can be looked at and exchanged.
pub(crate) fn fuse_graph(graph: &Graph, roots: &HashSet<Value>, seen: &HashSet<Value>) -> Option<(Graph, ValueMap)> {
    let groups = Groups::find(graph, roots, seen);
    (!groups.members.is_empty()).then(|| groups.write())
}

fn is_chain(graph: &Graph, node: &Node) -> bool {
    let [ty] = node.types.as_slice() else { return false };
    let known = |dtype| matches!(dtype, DType::F32 | DType::Bool);
    let fits = |value: &Value| known(graph.ty(*value).dtype) && graph.ty(*value).shape == ty.shape;
    let power = node.op != &POW || exponent(graph, node.operands[1]).is_some();
    known(ty.dtype) && ty.rank() > 0 && in_tiles(node.op).is_some() && power && node.operands.iter().all(fits)
}

/// The number behind a constant, spread or not.
pub fn exponent(graph: &Graph, value: Value) -> Option<f64> {
    let node = graph.node(value.node);
    if node.op == &BROADCAST {
        return exponent(graph, node.operands[0]);
    }
    match node.attrs.floats("values") {
        Some([number]) if node.op == &CONSTANT => Some(*number),
        _ => None,
    }
}

fn kind(graph: &Graph, node: &Node) -> Kind {
    let known = matches!(node.types.first().map(|ty| ty.dtype), Some(DType::F32 | DType::Bool));
    let splat = node.op == &CONSTANT && node.attrs.floats("values").is_some_and(|values| values.len() == 1);
    if known && (node.op == &BROADCAST || splat) {
        Kind::Spread
    } else if is_chain(graph, node) {
        Kind::Chain
    } else if node.op == &SUM && known && node.attrs.ints("axes").is_some_and(|axes| !axes.is_empty()) {
        Kind::Fold
    } else {
        Kind::Other
    }
}

struct Groups<'a> {
    graph: &'a Graph,
    roots: &'a HashSet<Value>,
    kinds: Vec<Kind>,
    /// By node: the group that it belongs to.
    of: Vec<Option<usize>>,
    /// In order of the graph.
    members: Vec<Vec<NodeId>>,
}

impl<'a> Groups<'a> {
    fn find(graph: &'a Graph, roots: &'a HashSet<Value>, seen: &HashSet<Value>) -> Groups<'a> {
        let kinds: Vec<Kind> = graph.nodes().map(|(_, node)| kind(graph, node)).collect();
        let mut levels = vec![0u32; graph.len()];
        let mut joined: UnionFind<u32> = UnionFind::new(graph.len());
        let mut sizes = vec![1usize; graph.len()];
        for (id, node) in graph.nodes() {
            let meets = |value: &Value| {
                let from = graph.node(value.node);
                kinds[value.node.index()] == Kind::Chain
                    && !seen.contains(value)
                    && matches!(kinds[id.index()], Kind::Chain | Kind::Fold)
                    // The loader's rows come in blocks of any length, and a sum's rounding follows the tiles.
                    && (kinds[id.index()] == Kind::Chain || node.section != Section::Loader)
                    && place(graph, from) == place(graph, node)
                    && (from.section == Section::Loader) == (node.section == Section::Loader)
            };
            let step = |value: &Value| {
                let leaves = matches!(kinds[value.node.index()], Kind::Chain | Kind::Fold) && !meets(value);
                levels[value.node.index()] + u32::from(leaves)
            };
            let mut level = node.operands.iter().map(step).max().unwrap_or(0);
            // A group that is full is left like any other.
            let near = |level: u32| {
                node.operands
                    .iter()
                    .filter(move |value| meets(value))
                    .map(move |value| (value.node.index() as u32, level))
            };
            let root = |joined: &UnionFind<u32>, at: u32| joined.find(at) as usize;
            let mut around: Vec<usize> = near(level)
                .filter(|(at, level)| levels[*at as usize] == *level)
                .map(|(at, _)| root(&joined, at))
                .collect();
            around.sort_unstable();
            around.dedup();
            if around.iter().map(|at| sizes[*at]).sum::<usize>() >= MOST {
                level += 1;
                around.clear();
            }
            levels[id.index()] = level;
            let total = 1 + around.iter().map(|at| sizes[*at]).sum::<usize>();
            for at in around {
                joined.union(at as u32, id.index() as u32);
            }
            sizes[root(&joined, id.index() as u32)] = total;
        }
        let mut groups = Groups { graph, roots, kinds, of: vec![None; graph.len()], members: Vec::new() };
        groups.collect(&joined);
        groups
    }

    /// Groups that are worth it: several operations, or one on something spread.
    fn collect(&mut self, joined: &UnionFind<u32>) {
        let mut together: HashMap<u32, Vec<NodeId>> = HashMap::new();
        let mut order = Vec::new();
        for (id, _) in self.graph.nodes() {
            if matches!(self.kinds[id.index()], Kind::Chain | Kind::Fold) {
                let root = joined.find(id.index() as u32);
                let members = together.entry(root).or_default();
                if members.is_empty() {
                    order.push(root);
                }
                members.push(id);
            }
        }
        for root in order {
            let members = together.remove(&root).unwrap_or_default();
            let spread = |id: &NodeId| {
                self.kinds[id.index()] == Kind::Chain
                    && self.graph.node(*id).operands.iter().any(|value| self.kinds[value.node.index()] == Kind::Spread)
            };
            if members.len() > 1 || members.iter().any(spread) {
                members.iter().for_each(|id| self.of[id.index()] = Some(self.members.len()));
                self.members.push(members);
            }
        }
    }

    /// The graph with a node for each group.
    fn write(&self) -> (Graph, ValueMap) {
        let needed = self.needed();
        let mut writer = Writer { groups: self, builder: Builder::new(), values: ValueMap::of(self.graph) };
        for unit in self.order(&needed) {
            match unit {
                Unit::Node(id) => writer.node(id),
                Unit::Group(at) => writer.group(at),
            }
        }
        let outputs = self.graph.outputs.iter().filter_map(|old| writer.values.get(*old)).collect();
        (writer.builder.finish(outputs), writer.values)
    }

    /// The nodes outside groups that somebody outside groups reads, inputs of the graph among them.
    fn needed(&self) -> Vec<bool> {
        let mut needed = vec![false; self.graph.len()];
        for (id, node) in self.graph.nodes() {
            needed[id.index()] = node.op == &INPUT || self.kinds[id.index()] != Kind::Spread;
        }
        self.roots.iter().for_each(|root| needed[root.node.index()] = true);
        for (id, node) in self.graph.nodes().rev() {
            let read = needed[id.index()] && self.of[id.index()].is_none();
            node.operands.iter().filter(|_| read).for_each(|operand| needed[operand.node.index()] = true);
        }
        needed
    }

    /// What a unit waits for, groups written as their first member.
    fn waits_for(&self, members: &[NodeId]) -> Vec<Value> {
        let inside: HashSet<NodeId> = members.iter().copied().collect();
        let mut waits = Vec::new();
        for id in members {
            for value in self.graph.node(*id).operands.iter().filter(|value| !inside.contains(&value.node)) {
                if self.of[id.index()].is_some() && self.kinds[value.node.index()] == Kind::Spread {
                    waits.extend(self.behind(*value));
                } else {
                    waits.push(*value);
                }
            }
        }
        waits
    }

    /// What is spread, unless it is a constant.
    fn behind(&self, spread: Value) -> Option<Value> {
        let node = self.graph.node(spread.node);
        let from = node.operands.first()?;
        (self.graph.node(from.node).op != &CONSTANT).then_some(*from)
    }

    /// Units such that each comes after what it waits for, otherwise as the graph has them.
    fn order(&self, needed: &[bool]) -> Vec<Unit> {
        let nodes =
            self.graph.nodes().map(|(id, _)| id).filter(|id| self.of[id.index()].is_none() && needed[id.index()]);
        let mut units: Vec<(usize, Unit)> = nodes.map(|id| (id.index(), Unit::Node(id))).collect();
        let last = |at: usize| self.members[at].last().map_or(0, |id| id.index());
        units.extend((0..self.members.len()).map(|at| (last(at), Unit::Group(at))));
        let place: HashMap<Unit, usize> = units.iter().enumerate().map(|(at, (_, unit))| (*unit, at)).collect();
        let unit_of = |value: Value| match self.of[value.node.index()] {
            Some(group) => Unit::Group(group),
            None => Unit::Node(value.node),
        };
        let mut users: Vec<Vec<usize>> = vec![Vec::new(); units.len()];
        let mut missing = vec![0usize; units.len()];
        for (at, (_, unit)) in units.iter().enumerate() {
            let members = match unit {
                Unit::Node(id) => std::slice::from_ref(id),
                Unit::Group(group) => &self.members[*group],
            };
            let mut from: Vec<usize> =
                self.waits_for(members).into_iter().filter_map(|value| place.get(&unit_of(value)).copied()).collect();
            from.sort_unstable();
            from.dedup();
            missing[at] = from.len();
            from.into_iter().for_each(|from| users[from].push(at));
        }
        let ready = (0..units.len()).filter(|at| missing[*at] == 0).map(|at| Reverse((units[at].0, at)));
        let mut ready: BinaryHeap<_> = ready.collect();
        let mut order = Vec::with_capacity(units.len());
        while let Some(Reverse((_, at))) = ready.pop() {
            order.push(units[at].1);
            for user in &users[at] {
                missing[*user] -= 1;
                if missing[*user] == 0 {
                    ready.push(Reverse((units[*user].0, *user)));
                }
            }
        }
        debug_assert_eq!(order.len(), units.len(), "groups have an order");
        order
    }
}

/// The shape over which a node works.
fn place<'a>(graph: &'a Graph, node: &'a Node) -> &'a Shape {
    match node.op == &SUM {
        true => &graph.ty(node.operands[0]).shape,
        false => &node.types[0].shape,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Unit {
    Node(NodeId),
    Group(usize),
}

struct Writer<'a> {
    groups: &'a Groups<'a>,
    builder: Builder,
    values: ValueMap,
}

impl Writer<'_> {
    fn node(&mut self, id: NodeId) {
        let node = self.groups.graph.node(id);
        let operands: SmallVec<[Value; 4]> = node.operands.iter().filter_map(|value| self.values.get(*value)).collect();
        let first = self.builder.copy(node, &operands);
        self.values.set(id, results_of(first.node, node.types.len()));
    }

    fn group(&mut self, at: usize) {
        let (groups, members) = (self.groups, &self.groups.members[at]);
        let mut region =
            Region { groups, group: at, builder: Builder::new(), inside: HashMap::new(), operands: Vec::new() };
        // Inputs come first in a region.
        members.iter().flat_map(|id| &groups.graph.node(*id).operands).for_each(|value| region.take_in(*value));
        for id in members {
            let node = groups.graph.node(*id);
            let operands: SmallVec<[Value; 4]> = node.operands.iter().map(|value| region.value(*value)).collect();
            let copy = region.builder.copy(node, &operands);
            region.inside.insert(Value { node: *id, out: 0 }, copy);
        }
        let read: Vec<NodeId> = members.iter().copied().filter(|id| groups.is_read(*id, at)).collect();
        let outputs = read.iter().map(|id| region.inside[&Value { node: *id, out: 0 }]).collect();
        let operands: Vec<Value> = region.operands.iter().filter_map(|value| self.values.get(*value)).collect();
        let graph = region.builder.finish(outputs);
        let types = read.iter().map(|id| groups.graph.node(*id).types[0].clone()).collect();
        let Some(last) = read.last() else { return };
        let last = groups.graph.node(*last);
        (self.builder.origin, self.builder.section) = (last.origin, last.section);
        let first = self.builder.named(last.name.clone()).append(&FUSED, &operands, Attrs::none(), vec![graph], types);
        for (out, id) in read.iter().enumerate() {
            let result: Results = [Value { node: first.node, out: out as u16 }].into_iter().collect();
            self.values.set(*id, result);
        }
    }
}

impl Groups<'_> {
    fn is_read(&self, id: NodeId, group: usize) -> bool {
        let mut users = self.graph.dag().neighbors_directed(id, petgraph::Direction::Outgoing);
        self.roots.contains(&Value { node: id, out: 0 }) || users.any(|user| self.of[user.index()] != Some(group))
    }
}

struct Region<'a> {
    groups: &'a Groups<'a>,
    group: usize,
    builder: Builder,
    inside: HashMap<Value, Value>,
    /// What the inputs stand for.
    operands: Vec<Value>,
}

impl Region<'_> {
    /// Makes an input for what comes from outside; for what is spread, for what is behind it.
    fn take_in(&mut self, value: Value) {
        let groups = self.groups;
        if groups.of[value.node.index()] == Some(self.group) {
            return;
        }
        let outer = match groups.kinds[value.node.index()] {
            Kind::Spread => groups.behind(value),
            _ => Some(value),
        };
        let Some(outer) = outer.filter(|outer| !self.inside.contains_key(outer)) else { return };
        let input = self.builder.input(groups.graph.name(outer), groups.graph.ty(outer).clone());
        self.inside.insert(outer, input);
        self.operands.push(outer);
    }

    fn value(&mut self, value: Value) -> Value {
        if let Some(inside) = self.inside.get(&value) {
            return *inside;
        }
        let node = self.groups.graph.node(value.node);
        let operands: SmallVec<[Value; 4]> = node.operands.iter().map(|operand| self.value(*operand)).collect();
        let copy = self.builder.copy(node, &operands);
        self.inside.insert(value, copy);
        copy
    }
}
