//! Small programs over elements: a chain of elementwise operations with what it reads spread and what it sums, run tile
//! by tile.
//!
//! A tile is a run of neighbouring places of one shape. Each step reads and writes tiles that lie in the first-level
//! cache, so a chain costs one pass over memory whatever its length. Elementwise results are those of the single
//! operations, bit for bit. Sums are taken in f64 over a number of blocks that depends on the shape only and added in
//! their order, so threads change nothing.

use std::mem::MaybeUninit;

use candle_core::{Result, Tensor, bail};

use super::elementwise::{
    Binary, Compare, Unary, avx2, map_into, num_one, num_zero, with_binary, with_unary, zip_into,
};
use super::matmul::{Shared, with_scratch};
use super::{Elements, contiguous, par, tensor};

/// Elements of a tile: a dozen registers of them fit the first-level cache.
const TILE: usize = 1024;
/// Elements of a block without sums.
const BLOCK: usize = 32 * TILE;
/// Blocks that have sums of their own.
const SUMS: usize = 32;

/// Where an operand of a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Register(usize),
    /// An input of type f32 that is read where it lies.
    Input(usize),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Work {
    Unary(Unary),
    Binary(Binary),
    /// 1 where it holds, else 0.
    Compare(Compare),
    /// Of truths as 1 and 0.
    Not,
    And,
    Or,
    /// 1 where the number is not 0.
    Truth,
    Select,
    Square,
    Cube,
}

/// One operation on a tile.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub work: Work,
    pub operands: [Source; 3],
    /// Never the register of an operand.
    pub to: usize,
}

/// How an input comes into a register.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    pub input: usize,
    /// Elements between neighbours along each of [`Program::sizes`]; empty for an input of the whole shape.
    pub strides: Vec<usize>,
    pub to: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    Whole {
        from: Source,
        /// Of truths, a byte each.
        truth: bool,
        shape: Vec<usize>,
    },
    /// The sum over all places of the shape that have the same place in the result.
    Sum {
        from: Source,
        /// As in [`Load`], of the result.
        strides: Vec<usize>,
        shape: Vec<usize>,
    },
}

/// A chain over all places of a shape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// The shape, axes joined where every input and sum allows it.
    pub sizes: Vec<usize>,
    pub constants: Vec<(f32, usize)>,
    /// For each tile, but those without a stride once a block.
    pub loads: Vec<Load>,
    pub steps: Vec<Step>,
    pub registers: usize,
    pub outputs: Vec<Output>,
}

/// The elements of an input.
enum Given<'a> {
    Numbers(Elements<'a, f32>),
    Truths(Elements<'a, u8>),
}

/// Where a result is written.
enum Place {
    Numbers(Shared<f32>),
    Truths(Shared<u8>),
    /// For each block the sums of the whole result.
    Sums(Shared<f64>),
}

impl Program {
    fn count(&self) -> usize {
        self.sizes.iter().product()
    }

    /// Places that one block covers: whole tiles.
    fn block(&self) -> usize {
        let sums = self.outputs.iter().any(|output| matches!(output, Output::Sum { .. }));
        match sums {
            true => self.count().div_ceil(SUMS).next_multiple_of(TILE).max(BLOCK),
            false => BLOCK,
        }
    }

    /// Numbers that private sums of all blocks take.
    pub fn sum_elements(&self) -> usize {
        let blocks = self.count().div_ceil(self.block().max(1));
        let sum = |output: &Output| match output {
            Output::Sum { shape, .. } => shape.iter().product::<usize>(),
            Output::Whole { .. } => 0,
        };
        blocks * self.outputs.iter().map(sum).sum::<usize>()
    }
}

/// The results of a program over its inputs.
pub fn run(program: &Program, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    let inputs: Vec<Tensor> = inputs.iter().map(contiguous).collect::<Result<_>>()?;
    let given = inputs.iter().map(|input| match input.dtype() {
        candle_core::DType::F32 => Ok(Given::Numbers(Elements::of(input)?)),
        candle_core::DType::U8 => Ok(Given::Truths(Elements::of(input)?)),
        other => bail!("a tile of {other:?}"),
    });
    let given = given.collect::<Result<Vec<_>>>()?;
    let (count, block) = (program.count(), program.block());
    let blocks = count.div_ceil(block);
    let (mut numbers, mut truths, mut sums) = (Vec::new(), Vec::new(), Vec::new());
    for output in &program.outputs {
        match output {
            Output::Whole { truth: false, .. } => numbers.push(Vec::<f32>::with_capacity(count)),
            Output::Whole { truth: true, .. } => truths.push(Vec::<u8>::with_capacity(count)),
            Output::Sum { shape, .. } => sums.push(vec![0.0f64; blocks * shape.iter().product::<usize>()]),
        }
    }
    {
        let (mut numbers, mut truths, mut sums) = (numbers.iter_mut(), truths.iter_mut(), sums.iter_mut());
        let places = program.outputs.iter().filter_map(|output| match output {
            Output::Whole { truth: false, .. } => {
                numbers.next().map(|place| Place::Numbers(Shared::unwritten(&mut place.spare_capacity_mut()[..count])))
            }
            Output::Whole { truth: true, .. } => {
                truths.next().map(|place| Place::Truths(Shared::unwritten(&mut place.spare_capacity_mut()[..count])))
            }
            Output::Sum { .. } => sums.next().map(|place| Place::Sums(Shared::new(place))),
        });
        let places: Vec<Place> = places.collect();
        par::for_blocks(blocks, 1, |range| {
            with_scratch(program.registers * TILE, |scratch: &mut [f32]| {
                let scratch = Scratch { registers: scratch.as_mut_ptr(), count: program.registers };
                for at in range {
                    Block { program, given: &given, places: &places, scratch, at }.run(block, count);
                }
            });
        });
    }
    let (mut numbers, mut truths, mut sums) = (numbers.into_iter(), truths.into_iter(), sums.into_iter());
    let results = program.outputs.iter().map(|output| match output {
        Output::Whole { truth: false, shape, .. } => {
            // SAFETY: the tiles of all blocks cover the whole.
            tensor(unsafe { written(numbers.next().unwrap_or_default(), count) }, shape)
        }
        Output::Whole { truth: true, shape, .. } => {
            // SAFETY: as above.
            tensor(unsafe { written(truths.next().unwrap_or_default(), count) }, shape)
        }
        Output::Sum { shape, .. } => tensor(added(&sums.next().unwrap_or_default(), shape), shape),
    });
    results.collect()
}

/// The numbers that the blocks have written.
///
/// # Safety
/// The first `count` places of the room were written.
unsafe fn written<T>(mut room: Vec<T>, count: usize) -> Vec<T> {
    debug_assert!(count <= room.capacity());
    // SAFETY: by contract.
    unsafe { room.set_len(count) };
    room
}

/// The sums of all blocks, in order.
fn added(sums: &[f64], shape: &[usize]) -> Vec<f32> {
    let count = shape.iter().product::<usize>();
    if count == 0 {
        return Vec::new();
    }
    let mut total = vec![0.0f64; count];
    for block in sums.chunks_exact(count) {
        total.iter_mut().zip(block).for_each(|(total, part)| *total += part);
    }
    total.into_iter().map(|number| number as f32).collect()
}

/// The registers of one task, a tile each.
#[derive(Clone, Copy)]
struct Scratch {
    registers: *mut f32,
    count: usize,
}

impl Scratch {
    fn read<'a>(self, at: usize, length: usize) -> &'a [f32] {
        debug_assert!(at < self.count && length <= TILE);
        // SAFETY: the register lies in the scratch; a step never reads the register that it writes.
        unsafe { std::slice::from_raw_parts(self.registers.add(at * TILE), length) }
    }

    fn write<'a>(self, at: usize, length: usize) -> &'a mut [MaybeUninit<f32>] {
        debug_assert!(at < self.count && length <= TILE);
        // SAFETY: as above; numbers have no invalid bits.
        unsafe { std::slice::from_raw_parts_mut(self.registers.add(at * TILE).cast(), length) }
    }

    fn fill(self, at: usize, value: f32) {
        self.write(at, TILE).fill(MaybeUninit::new(value));
    }
}

struct Block<'a> {
    program: &'a Program,
    given: &'a [Given<'a>],
    places: &'a [Place],
    scratch: Scratch,
    at: usize,
}

impl Block<'_> {
    fn run(&self, block: usize, count: usize) {
        #[cfg(target_arch = "x86_64")]
        if avx2() {
            // SAFETY: the processor has the feature that the function is compiled for.
            return unsafe { self.run_avx2(block, count) };
        }
        self.run_loop(block, count)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn run_avx2(&self, block: usize, count: usize) {
        self.run_loop(block, count)
    }

    #[inline(always)]
    fn run_loop(&self, block: usize, count: usize) {
        let program = self.program;
        for (value, to) in &program.constants {
            self.scratch.fill(*to, *value);
        }
        for load in program.loads.iter().filter(|load| is_splat(load)) {
            let value = match &self.given[load.input] {
                Given::Numbers(numbers) => numbers.first().copied().unwrap_or_default(),
                Given::Truths(truths) => truths.first().map_or(0.0, |truth| f32::from(*truth)),
            };
            self.scratch.fill(load.to, value);
        }
        let end = count.min((self.at + 1) * block);
        for start in (self.at * block..end).step_by(TILE) {
            self.tile(start, TILE.min(end - start));
        }
    }

    #[inline(always)]
    fn tile(&self, start: usize, length: usize) {
        let program = self.program;
        for load in program.loads.iter().filter(|load| !is_splat(load)) {
            let to = self.scratch.write(load.to, length);
            match &self.given[load.input] {
                Given::Numbers(numbers) => spread(&program.sizes, load, numbers, start, to, |number| number),
                Given::Truths(truths) => spread(&program.sizes, load, truths, start, to, f32::from),
            }
        }
        for step in &program.steps {
            self.step(step, start, length);
        }
        for (output, place) in program.outputs.iter().zip(self.places) {
            match (output, place) {
                (Output::Whole { from, .. }, Place::Numbers(place)) => {
                    // SAFETY: each tile has its own places.
                    let place = unsafe { place.part(start..start + length) };
                    place.copy_from_slice(self.source(*from, start, length));
                }
                (Output::Whole { from, .. }, Place::Truths(place)) => {
                    // SAFETY: each tile has its own places.
                    let place = unsafe { place.part(start..start + length) };
                    let truths = self.source(*from, start, length);
                    place.iter_mut().zip(truths).for_each(|(place, truth)| *place = (*truth != 0.0) as u8);
                }
                (Output::Sum { from, strides, shape }, Place::Sums(place)) => {
                    let size = shape.iter().product::<usize>();
                    // SAFETY: each block has its own sums.
                    let sums = unsafe { place.part(self.at * size..(self.at + 1) * size) };
                    add(&program.sizes, strides, self.source(*from, start, length), start, sums);
                }
                _ => debug_assert!(false, "places are made for their outputs"),
            }
        }
    }

    #[inline(always)]
    fn source(&self, source: Source, start: usize, length: usize) -> &[f32] {
        match source {
            Source::Register(at) => self.scratch.read(at, length),
            Source::Input(input) => match &self.given[input] {
                Given::Numbers(numbers) => &numbers[start..start + length],
                Given::Truths(_) => &[],
            },
        }
    }

    #[inline(always)]
    fn step(&self, step: &Step, start: usize, length: usize) {
        debug_assert!(step.operands.iter().all(|operand| *operand != Source::Register(step.to)));
        let to = self.scratch.write(step.to, length);
        let [a, b, c] = step.operands.map(|operand| self.source(operand, start, length));
        match step.work {
            Work::Unary(op) => with_unary!(op, f32, f => map_into(a, to, f)),
            Work::Binary(op) => with_binary!(op, f32, f => zip_into(a, b, to, f)),
            Work::Compare(op) => compare(op, a, b, to),
            Work::Not => map_into(a, to, |a| 1.0 - a),
            Work::And => zip_into(a, b, to, |a, b| a * b),
            Work::Or => zip_into(a, b, to, f32::max),
            Work::Truth => map_into(a, to, |a| f32::from(a != 0.0)),
            Work::Square => map_into(a, to, |a| a * a),
            Work::Cube => map_into(a, to, |a| a * a * a),
            Work::Select => select(a, b, c, to),
        }
    }
}

fn is_splat(load: &Load) -> bool {
    !load.strides.is_empty() && load.strides.iter().all(|stride| *stride == 0)
}

fn compare(op: Compare, a: &[f32], b: &[f32], to: &mut [MaybeUninit<f32>]) {
    match op {
        Compare::Eq => zip_into(a, b, to, |a, b| f32::from(a == b)),
        Compare::Ne => zip_into(a, b, to, |a, b| f32::from(a != b)),
        Compare::Lt => zip_into(a, b, to, |a, b| f32::from(a < b)),
        Compare::Le => zip_into(a, b, to, |a, b| f32::from(a <= b)),
        Compare::Gt => zip_into(a, b, to, |a, b| f32::from(a > b)),
        Compare::Ge => zip_into(a, b, to, |a, b| f32::from(a >= b)),
    }
}

#[inline(always)]
fn select(chosen: &[f32], a: &[f32], b: &[f32], to: &mut [MaybeUninit<f32>]) {
    // Chosen by the bits, so that a NaN in the other branch stays there.
    let masks = |chosen: f32| 0u32.wrapping_sub(u32::from(chosen != 0.0));
    let pairs = a.iter().zip(b);
    for ((place, chosen), (a, b)) in to.iter_mut().zip(chosen).zip(pairs) {
        let mask = masks(*chosen);
        place.write(f32::from_bits(a.to_bits() & mask | b.to_bits() & !mask));
    }
}

/// Calls `work` with each run of a tile along the last axis: where it begins in the tile, its length, and the place of its
/// first element by the strides.
#[inline(always)]
fn for_runs(
    sizes: &[usize],
    strides: &[usize],
    start: usize,
    length: usize,
    mut work: impl FnMut(usize, usize, usize),
) {
    let Some((last, outer)) = sizes.split_last() else { return work(0, length, 0) };
    let (mut row, mut column) = (start / last, start % last);
    let mut at = 0;
    while at < length {
        let run = (last - column).min(length - at);
        let (mut place, mut rest) = (column * strides[outer.len()], row);
        for (size, stride) in outer.iter().zip(strides).rev() {
            place += rest % size * stride;
            rest /= size;
        }
        work(at, run, place);
        (at, row, column) = (at + run, row + 1, 0);
    }
}

/// Fills a tile from an input.
#[inline(always)]
fn spread<T: Copy>(
    sizes: &[usize],
    load: &Load,
    from: &[T],
    start: usize,
    to: &mut [MaybeUninit<f32>],
    number: impl Fn(T) -> f32,
) {
    if load.strides.is_empty() {
        let from = &from[start..start + to.len()];
        return to.iter_mut().zip(from).for_each(|(to, from)| *to = MaybeUninit::new(number(*from)));
    }
    let length = to.len();
    let inner = load.strides.last().copied().unwrap_or(0);
    for_runs(sizes, &load.strides, start, length, |at, run, place| {
        let to = &mut to[at..at + run];
        match inner {
            0 => to.fill(MaybeUninit::new(number(from[place]))),
            1 => to
                .iter_mut()
                .zip(&from[place..place + run])
                .for_each(|(to, from)| *to = MaybeUninit::new(number(*from))),
            stride => to
                .iter_mut()
                .zip(from[place..].iter().step_by(stride))
                .for_each(|(to, from)| *to = MaybeUninit::new(number(*from))),
        }
    });
}

/// Adds a tile into sums.
#[inline(always)]
fn add(sizes: &[usize], strides: &[usize], from: &[f32], start: usize, sums: &mut [f64]) {
    let inner = strides.last().copied().unwrap_or(0);
    for_runs(sizes, strides, start, from.len(), |at, run, place| {
        let from = &from[at..at + run];
        match inner {
            0 => sums[place] += total(from),
            1 => sums[place..place + run].iter_mut().zip(from).for_each(|(sum, number)| *sum += f64::from(*number)),
            stride => {
                let places = sums[place..].iter_mut().step_by(stride);
                places.zip(from).for_each(|(sum, number)| *sum += f64::from(*number));
            }
        }
    });
}

/// The sum of a run, in eight lanes.
#[inline(always)]
fn total(from: &[f32]) -> f64 {
    let mut lanes = [0.0f32; 8];
    let parts = from.chunks_exact(8);
    let rest: f32 = parts.remainder().iter().sum();
    for part in parts {
        lanes.iter_mut().zip(part).for_each(|(lane, number)| *lane += number);
    }
    let [a, b, c, d, e, f, g, h] = lanes.map(f64::from);
    ((a + e) + (c + g)) + ((b + f) + (d + h)) + f64::from(rest)
}
