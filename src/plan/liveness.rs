//! One list of instructions: registers given out by liveness, and the cost of a run.

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::graph::{Bindings, Graph, Node, NodeId, Value};
use crate::ops::fused::FUSED;
use crate::ops::{Concrete, Cost as OpCost, INPUT};

use super::{Cost, Instruction, PlanError, Program, Register, fused};

/// Plans a graph without a loader: how a slot is drawn, the rest of a measure. Its inputs in order, its outputs in order.
pub fn plan_graph(graph: &Graph, bindings: &Bindings) -> Result<Program, PlanError> {
    let nodes: Vec<NodeId> = graph.nodes().filter(|(_, node)| node.op != &INPUT).map(|(id, _)| id).collect();
    let given: Vec<(usize, Value)> = graph.inputs.iter().copied().enumerate().collect();
    let used = used_values(graph, &nodes, &graph.outputs);
    let given: Vec<(usize, Value)> = given.into_iter().filter(|(_, value)| used.contains_key(value)).collect();
    let start: Vec<Value> = given.iter().map(|(_, value)| *value).collect();
    let (mut program, registers) = schedule(graph, &nodes, &start, &graph.outputs, bindings)?;
    program.inputs = given.iter().map(|(at, value)| (*at, registers[value])).collect();
    program.outputs = graph.outputs.iter().map(|value| registers[value]).collect();
    Ok(program)
}

/// When a value is needed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastUse {
    /// By this instruction of the list.
    At(usize),
    /// By whoever reads the outputs.
    Kept,
}

/// Every value that `nodes` use or that is kept, with its last use.
pub(super) fn used_values(graph: &Graph, nodes: &[NodeId], keep: &[Value]) -> HashMap<Value, LastUse> {
    let mut last = HashMap::new();
    for (at, id) in nodes.iter().enumerate() {
        for operand in &graph.node(*id).operands {
            last.insert(*operand, LastUse::At(at));
        }
    }
    for value in keep {
        last.insert(*value, LastUse::Kept);
    }
    last
}

/// Ops whose result is another look at the operand's bytes.
fn is_view(node: &Node) -> bool {
    matches!(node.op.name, "reshape" | "stop" | "gradient" | "debug")
}

/// Turns `nodes` into instructions. `start` is there before the first one, `keep` must be there after the last.
pub(super) fn schedule(
    graph: &Graph,
    nodes: &[NodeId],
    start: &[Value],
    keep: &[Value],
    bindings: &Bindings,
) -> Result<(Program, HashMap<Value, Register>), PlanError> {
    let last = used_values(graph, nodes, keep);
    let mut scheduler = Scheduler::new(graph, bindings);
    for value in start {
        let concrete = scheduler.concrete(*value)?;
        scheduler.program.input_types.push(concrete.clone());
        scheduler.open(*value, concrete, None);
    }
    for (at, id) in nodes.iter().enumerate() {
        scheduler.instruction(*id, at, &last)?;
    }
    let Scheduler { mut program, registers, memory, .. } = scheduler;
    program.registers = memory.holders.len();
    program.cost.peak = memory.peak;
    Ok((program, registers))
}

struct Scheduler<'a> {
    graph: &'a Graph,
    bindings: &'a Bindings,
    program: Program,
    /// Where each value is or was.
    registers: HashMap<Value, Register>,
    memory: Memory,
}

impl<'a> Scheduler<'a> {
    fn new(graph: &'a Graph, bindings: &'a Bindings) -> Scheduler<'a> {
        Scheduler { graph, bindings, program: Program::default(), registers: HashMap::new(), memory: Memory::default() }
    }

    fn concrete(&self, value: Value) -> Result<Concrete, PlanError> {
        let ty = self.graph.ty(value);
        match ty.bind(self.bindings) {
            Some(shape) => Ok(Concrete { dtype: ty.dtype, shape }),
            None => Err(self.unbound(value.node)),
        }
    }

    fn unbound(&self, id: NodeId) -> PlanError {
        let node = self.graph.node(id);
        let types: Vec<String> = node.types.iter().map(|ty| ty.to_string()).collect();
        PlanError::Unbound { node: node.name.clone(), ty: types.join(", "), origin: node.origin }
    }

    fn open(&mut self, value: Value, concrete: Concrete, view_of: Option<Register>) -> Register {
        let register = self.memory.open(concrete, view_of);
        self.registers.insert(value, register);
        register
    }

    fn instruction(&mut self, id: NodeId, at: usize, last: &HashMap<Value, LastUse>) -> Result<(), PlanError> {
        let node = self.graph.node(id);
        if matches!(node.op.name, "grad" | "map_rows" | "input") {
            return Err(PlanError::NotCompiled { node: node.name.clone(), op: node.op.name, origin: node.origin });
        }
        let attrs = node.attrs.bind(self.bindings).ok_or_else(|| self.unbound(id))?;
        let inputs: SmallVec<[Register; 4]> = node.operands.iter().map(|value| self.registers[value]).collect();
        let values = (0..node.types.len()).map(|out| Value { node: id, out: out as u16 });
        let results: SmallVec<[Concrete; 1]> =
            values.clone().map(|value| self.concrete(value)).collect::<Result<_, _>>()?;
        let tile = (node.op == &FUSED).then(|| fused::program(&node.regions[0], self.bindings)).flatten();
        let regions = node.regions.iter().map(|region| plan_graph(region, self.bindings));
        let regions = regions.collect::<Result<Vec<Program>, PlanError>>()?;
        self.add_cost(node, &attrs, &inputs, &results, &regions, tile.is_some());
        let view_of = is_view(node).then(|| inputs.first().copied()).flatten();
        let outputs: SmallVec<[Register; 2]> =
            values.clone().zip(&results).map(|(value, concrete)| self.open(value, concrete.clone(), view_of)).collect();
        let mut free: SmallVec<[Register; 4]> = SmallVec::new();
        let operands = node.operands.iter().filter(|value| last.get(value) == Some(&LastUse::At(at))).copied();
        for value in operands.chain(values.filter(|value| !last.contains_key(value))) {
            let register = self.registers[&value];
            if !free.contains(&register) {
                free.push(register);
                self.memory.close(register);
            }
        }
        self.program.instructions.push(Instruction {
            op: node.op,
            attrs,
            inputs,
            regions,
            tile: tile.map(Arc::new),
            outputs,
            results,
            free,
            origin: node.origin,
            name: node.name.clone(),
            section: node.section,
        });
        Ok(())
    }

    fn add_cost(
        &mut self,
        node: &Node,
        attrs: &crate::graph::Attrs,
        inputs: &[Register],
        results: &[Concrete],
        regions: &[Program],
        in_tiles: bool,
    ) {
        let operands: Vec<Concrete> = inputs.iter().map(|register| self.memory.concrete(*register)).collect();
        let cost: &mut Cost = &mut self.program.cost;
        cost.flops += (node.op.flops.0)(&OpCost { attrs, inputs: &operands, results });
        let rounds = attrs.int("length").unwrap_or(1) as f64;
        for region in regions {
            cost.flops += rounds * region.cost.flops;
            if in_tiles {
                continue;
            }
            cost.bytes += rounds * region.cost.bytes;
            self.memory.peak = self.memory.peak.max(self.memory.alive.saturating_add(region.cost.peak));
        }
        if !is_view(node) {
            cost.bytes += operands.iter().chain(results).map(|concrete| bytes(concrete) as f64).sum::<f64>();
        }
    }
}

pub(super) fn bytes(concrete: &Concrete) -> u64 {
    concrete.shape.iter().fold(concrete.dtype.width() as u64, |product, size| product.saturating_mul(*size as u64))
}

/// Which register holds what, and how many bytes are alive.
#[derive(Default)]
struct Memory {
    /// What each register holds, and the block of bytes behind it.
    holders: Vec<Holder>,
    /// Empty registers; the one emptied last is filled first, so that its bytes are still warm.
    empty: Vec<Register>,
    /// Blocks of bytes: how many registers look at each, and its size.
    blocks: Vec<(u32, u64)>,
    alive: u64,
    peak: u64,
}

struct Holder {
    concrete: Concrete,
    block: usize,
}

impl Memory {
    fn concrete(&self, register: Register) -> Concrete {
        self.holders[register.0 as usize].concrete.clone()
    }

    fn open(&mut self, concrete: Concrete, view_of: Option<Register>) -> Register {
        let block = match view_of {
            Some(source) => {
                let block = self.holders[source.0 as usize].block;
                self.blocks[block].0 += 1;
                block
            }
            None => {
                let size = bytes(&concrete);
                self.blocks.push((1, size));
                self.alive = self.alive.saturating_add(size);
                self.peak = self.peak.max(self.alive);
                self.blocks.len() - 1
            }
        };
        let holder = Holder { concrete, block };
        match self.empty.pop() {
            Some(register) => {
                self.holders[register.0 as usize] = holder;
                register
            }
            None => {
                self.holders.push(holder);
                Register(self.holders.len() as u32 - 1)
            }
        }
    }

    fn close(&mut self, register: Register) {
        let (users, size) = &mut self.blocks[self.holders[register.0 as usize].block];
        *users -= 1;
        if *users == 0 {
            self.alive -= *size;
        }
        self.empty.push(register);
    }
}
