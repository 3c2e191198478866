//! From the region of a `fused` node to a program over tiles.

use std::collections::HashMap;

use crate::graph::{Bindings, DType, Graph, Node, Value};
use crate::kernels::elementwise::{Binary, Unary};
use crate::kernels::tile::{Load, Output, Program, Source, Step, Work};
use crate::ops::CONSTANT;
use crate::ops::elementwise::{CAST, POW};
use crate::ops::fused::in_tiles;
use crate::ops::reduce::{ACCUMULATE, SUM};
use crate::ops::shape::BROADCAST;
use crate::ops::structure::INPUT;
use crate::passes::exponent;

/// Registers from which tiles leave the cache.
const REGISTERS: usize = 64;
/// Private sums of all blocks together at most.
const SUMS: usize = 4 << 20;

/// None where the region does not fit tiles: it is then run operation by operation.
pub(super) fn program(region: &Graph, bindings: &Bindings) -> Option<Program> {
    let mut maker = Maker::new(region, bindings)?;
    for (_, node) in region.nodes() {
        maker.axes(node)?;
    }
    let joined = maker.join();
    for (id, node) in region.nodes() {
        maker.node(Value { node: id, out: 0 }, node, &joined)?;
    }
    for output in &region.outputs {
        maker.output(*output, &joined)?;
    }
    let Maker { program, .. } = maker;
    let fits = program.registers <= REGISTERS && program.sum_elements() <= SUMS;
    (fits && program.sizes.iter().product::<usize>() > 0).then_some(program)
}

struct Maker<'a> {
    region: &'a Graph,
    bindings: &'a Bindings,
    /// The shape of all places.
    sizes: Vec<usize>,
    /// Strides along that shape of everything that is not of it.
    strides: Vec<Vec<usize>>,
    program: Program,
    held: HashMap<Value, Source>,
    /// The node that reads a value last.
    last: HashMap<Value, usize>,
    free: Vec<usize>,
    /// Registers that hold something for all tiles, or that are filled when a tile begins.
    lasting: Vec<usize>,
}

impl<'a> Maker<'a> {
    fn new(region: &'a Graph, bindings: &'a Bindings) -> Option<Maker<'a>> {
        let mut nodes = region.nodes();
        let whole = nodes.find(|(_, node)| !matches!(node.op.name, "input" | "broadcast" | "constant"))?.1;
        let whole = if whole.op == &SUM { region.ty(whole.operands[0]) } else { &whole.types[0] };
        let sizes = whole.bind(bindings)?;
        let mut last = HashMap::new();
        for (id, node) in region.nodes() {
            last.extend(node.operands.iter().map(|operand| (*operand, id.index())));
        }
        // Sums are taken at the end of a tile.
        let summed = region.nodes().filter(|(_, node)| node.op == &SUM).map(|(_, node)| node.operands[0]);
        last.extend(summed.chain(region.outputs.iter().copied()).map(|value| (value, usize::MAX)));
        let program = Program::default();
        Some(Maker {
            region,
            bindings,
            sizes,
            strides: Vec::new(),
            program,
            held: HashMap::new(),
            last,
            free: Vec::new(),
            lasting: Vec::new(),
        })
    }

    /// Notes along which axes a node is spread or summed.
    fn axes(&mut self, node: &Node) -> Option<()> {
        if node.op == &BROADCAST || node.op == &SUM {
            let strides = self.strides_of(node)?;
            self.strides.push(strides);
        }
        Some(())
    }

    /// Elements of the smaller tensor between neighbours along each axis of the whole shape.
    fn strides_of(&self, node: &Node) -> Option<Vec<usize>> {
        let small = if node.op == &SUM { &node.types[0] } else { self.region.ty(node.operands[0]) };
        let small = small.bind(self.bindings)?;
        let axes = node.attrs.ints("axes")?;
        let places: Vec<usize> = match node.op == &SUM {
            true => (0..self.sizes.len()).filter(|axis| !axes.contains(&(*axis as i64))).collect(),
            false => axes.iter().map(|axis| *axis as usize).collect(),
        };
        let mut strides = vec![0; self.sizes.len()];
        let mut step = 1;
        for (size, place) in small.iter().zip(&places).rev() {
            let stride = strides.get_mut(*place)?;
            *stride = if *size == 1 { 0 } else { step };
            step *= size;
        }
        (small.len() == places.len()).then_some(strides)
    }

    /// The last axis of each run of axes that can be walked as one. Axes of size 1 are nothing to walk along.
    fn join(&mut self) -> Vec<usize> {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for axis in (0..self.sizes.len()).filter(|axis| self.sizes[*axis] > 1) {
            let size = self.sizes[axis];
            let follows = |before: usize| self.strides.iter().all(|strides| strides[before] == strides[axis] * size);
            match runs.last_mut() {
                Some((last, run)) if follows(*last) => (*last, *run) = (axis, *run * size),
                _ => runs.push((axis, size)),
            }
        }
        self.program.sizes = runs.iter().map(|(_, size)| *size).collect();
        runs.into_iter().map(|(last, _)| last).collect()
    }

    /// Strides along the joined axes.
    fn joined(&self, strides: &[usize], last: &[usize]) -> Vec<usize> {
        last.iter().map(|axis| strides[*axis]).collect()
    }

    fn register(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.program.registers += 1;
            self.program.registers - 1
        })
    }

    /// Never one that was freed: the steps of a tile before this one would write to it.
    fn lasting_register(&mut self) -> usize {
        self.program.registers += 1;
        self.lasting.push(self.program.registers - 1);
        self.program.registers - 1
    }

    fn node(&mut self, value: Value, node: &Node, joined: &[usize]) -> Option<()> {
        if !self.last.contains_key(&value) || node.op == &SUM {
            return Some(());
        }
        if node.op == &INPUT {
            let input = self.region.inputs.iter().position(|input| *input == value)?;
            return self.input(value, input);
        }
        if node.op == &CONSTANT {
            let to = self.lasting_register();
            self.program.constants.push((exponent(self.region, value)? as f32, to));
            self.held.insert(value, Source::Register(to));
            return Some(());
        }
        if node.op == &BROADCAST {
            return self.spread(value, node, joined);
        }
        self.work(value, node)
    }

    /// An input of the whole shape is read where it lies; others are read by what spreads them.
    fn input(&mut self, value: Value, input: usize) -> Option<()> {
        let ty = self.region.ty(value);
        if ty.bind(self.bindings)? == self.sizes {
            let source = if ty.dtype == DType::Bool {
                let to = self.lasting_register();
                self.program.loads.push(Load { input, strides: Vec::new(), to });
                Source::Register(to)
            } else {
                Source::Input(input)
            };
            self.held.insert(value, source);
        }
        Some(())
    }

    fn spread(&mut self, value: Value, node: &Node, joined: &[usize]) -> Option<()> {
        let from = node.operands[0];
        let to = self.lasting_register();
        if let Some(number) = exponent(self.region, value) {
            self.program.constants.push((number as f32, to));
        } else {
            let input = self.region.inputs.iter().position(|input| *input == from)?;
            let strides = self.joined(&self.strides_of(node)?, joined);
            self.program.loads.push(Load { input, strides, to });
        }
        self.held.insert(value, Source::Register(to));
        Some(())
    }

    fn work(&mut self, value: Value, node: &Node) -> Option<()> {
        let mut operands = Vec::with_capacity(node.operands.len());
        for operand in &node.operands {
            operands.push(*self.held.get(operand)?);
        }
        if node.op == &ACCUMULATE {
            let (first, rest) = operands.split_first()?;
            let mut sum = *first;
            for term in rest {
                let to = self.step(Work::Binary(Binary::Add), &[sum, *term]);
                if let (Source::Register(at), false) = (sum, sum == *first) {
                    self.free.push(at);
                }
                sum = Source::Register(to);
            }
            self.held.insert(value, sum);
            self.release(value, node, if rest.is_empty() { Some(*first) } else { None });
            return Some(());
        }
        let (work, operands) = self.kind_of(node, operands)?;
        let Some(work) = work else {
            // The value as it is.
            self.held.insert(value, operands[0]);
            self.release(value, node, Some(operands[0]));
            return Some(());
        };
        let to = self.step(work, &operands);
        self.held.insert(value, Source::Register(to));
        self.release(value, node, None);
        Some(())
    }

    fn step(&mut self, work: Work, operands: &[Source]) -> usize {
        let to = self.register();
        let operand = |at: usize| operands.get(at).copied().unwrap_or(operands[0]);
        self.program.steps.push(Step { work, operands: [operand(0), operand(1), operand(2)], to });
        to
    }

    /// Frees the registers of results that this node read last, but for one that is handed on.
    fn release(&mut self, value: Value, node: &Node, handed_on: Option<Source>) {
        for (at, operand) in node.operands.iter().enumerate() {
            let repeated = node.operands[..at].contains(operand);
            if self.last.get(operand) == Some(&value.node.index())
                && !repeated
                && let Some(Source::Register(register)) = self.held.get(operand).copied()
                && !self.lasting.contains(&register)
                && handed_on != Some(Source::Register(register))
                && !self.shares(*operand, register)
            {
                self.free.push(register);
            }
        }
    }

    /// Whether another value that is still read lies in the same register.
    fn shares(&self, operand: Value, register: usize) -> bool {
        let now = self.last.get(&operand);
        self.held.iter().any(|(other, source)| {
            *other != operand && *source == Source::Register(register) && self.last.get(other) > now
        })
    }

    /// What a node does; nothing for what is there already.
    fn kind_of(&self, node: &Node, operands: Vec<Source>) -> Option<(Option<Work>, Vec<Source>)> {
        let of = |value: Value| self.region.ty(value).dtype;
        let work = match in_tiles(node.op)? {
            Some(work) => work,
            None if node.op == &CAST => match (of(node.operands[0]), node.types[0].dtype) {
                (DType::F32, DType::Bool) => Work::Truth,
                _ => return Some((None, operands)),
            },
            None if node.op == &POW => {
                let number = exponent(self.region, node.operands[1])?;
                match number {
                    1.0 => return Some((None, operands)),
                    2.0 => Work::Square,
                    3.0 => Work::Cube,
                    0.5 => Work::Unary(Unary::Sqrt),
                    -1.0 => Work::Unary(Unary::Recip),
                    _ => Work::Binary(Binary::Pow),
                }
            }
            None => return None,
        };
        Some((Some(work), operands))
    }

    fn output(&mut self, output: Value, joined: &[usize]) -> Option<()> {
        let node = self.region.node(output.node);
        let shape = node.types[0].bind(self.bindings)?;
        let made = if node.op == &SUM {
            let from = *self.held.get(&node.operands[0])?;
            Output::Sum { from, strides: self.joined(&self.strides_of(node)?, joined), shape }
        } else {
            Output::Whole { from: *self.held.get(&output)?, truth: node.types[0].dtype == DType::Bool, shape }
        };
        self.program.outputs.push(made);
        Some(())
    }
}
