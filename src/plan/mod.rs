//! From a compiled step to two lists of instructions over registers, with their cost.
//!
//! In: a step after the passes, and the number behind each symbol. Out: a [`Plan`]: what the loader computes ahead, what
//! the step computes, which register holds what and when it is free again, and what all of it costs. Never here: a
//! tensor, a device, a clock; nothing is executed.

mod fused;
mod liveness;
mod split;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use smallvec::SmallVec;

use crate::graph::{Attrs, Bindings, OriginId, Section};
use crate::ops::{Concrete, Op};
use crate::program::{Formal, Step};

pub use liveness::plan_graph;

/// A place for one tensor while a list of instructions runs. Numbers are dense from 0 in each [`Program`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Register(pub u32);

/// One op application with everything bound.
#[derive(Clone, Debug)]
pub struct Instruction {
    pub op: &'static Op,
    /// Sizes are numbers (`Attrs::bind`).
    pub attrs: Attrs,
    pub inputs: SmallVec<[Register; 4]>,
    /// What a loop runs in each round, its body and the condition that ends it; the operations of a chain.
    pub regions: Vec<Program>,
    /// How a chain of elementwise operations is run tile by tile.
    pub tile: Option<Arc<crate::kernels::tile::Program>>,
    /// One for each result, never one of `inputs`.
    pub outputs: SmallVec<[Register; 2]>,
    /// Parallel to `outputs`.
    pub results: SmallVec<[Concrete; 1]>,
    /// Registers to empty once this instruction is done: operands at their last use, results that nobody uses.
    pub free: SmallVec<[Register; 4]>,
    pub origin: OriginId,
    pub name: Arc<str>,
    pub section: Section,
}

/// Instructions in the order in which they run.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// How many registers there are.
    pub registers: usize,
    /// Position in the graph's inputs (and so in `Step::inputs`), and the register that holds it at the start. Inputs that
    /// the program does not use are absent.
    pub inputs: Vec<(usize, Register)>,
    /// The types of `inputs`, parallel.
    pub input_types: Vec<Concrete>,
    pub instructions: Vec<Instruction>,
    /// Never emptied. The loader's are what it passes to the step; the step's are in no particular use here (see the named
    /// lists of [`Plan`]); for a planned graph they are its outputs in order.
    pub outputs: Vec<Register>,
    pub cost: Cost,
}

/// What one run of a program takes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Floating point operations.
    pub flops: f64,
    /// Bytes read and written by instructions; views move nothing.
    pub bytes: f64,
    /// Bytes alive at the worst moment, inputs included; a view shares the bytes of what it looks at.
    pub peak: u64,
}

/// A step that can be executed.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Runs ahead of the step, once a batch. Its inputs are fields, ids, indices and the epoch key only.
    pub loader: Program,
    pub step: Program,
    /// Where the loader's outputs arrive in the step, parallel to `loader.outputs`.
    pub passed: Vec<Register>,
    /// The lists of the step by the same names, values replaced by registers of `step`.
    pub commits: Vec<(Formal, Register)>,
    pub logs: Vec<(String, Register)>,
    /// For each measure the registers of its statistics, in order.
    pub measures: Vec<Vec<Register>>,
    pub collects: Vec<(String, Register)>,
    pub yields: Vec<Register>,
    /// The graph's own outputs.
    pub outputs: Vec<Register>,
    /// Elements of all weights that the step reads.
    pub parameters: usize,
    /// Bytes of everything that outlives the step: weights, buffers, states, optimiser slots.
    pub held: u64,
}

/// A step that cannot be planned under these bindings.
#[derive(Clone, Debug, PartialEq)]
pub enum PlanError {
    /// A size has no number: the symbol is unbound, or the number is negative or too large.
    Unbound { node: Arc<str>, ty: String, origin: OriginId },
    /// A node that only a pass can expand is still there.
    NotCompiled { node: Arc<str>, op: &'static str, origin: OriginId },
}

impl std::fmt::Display for PlanError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PlanError::Unbound { node, ty, .. } => write!(f, "`{node}` is {ty}, and a size of it has no number"),
            PlanError::NotCompiled { node, op, .. } => write!(f, "`{node}` is a {op}, which a pass must expand first"),
        }
    }
}

impl std::error::Error for PlanError {}

/// Plans a compiled step for one binding of its symbols.
pub fn plan(step: &Step, bindings: &Bindings) -> Result<Plan, PlanError> {
    split::plan_step(step, bindings)
}
