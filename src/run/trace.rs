//! Finding what made a number that is not finite: a step is run again from its inputs, one instruction at a time.

use std::collections::{HashMap, HashSet};

use candle_core::{Device, Tensor};

use crate::graph::OriginId;
use crate::kernels::show::summary;
use crate::kernels::{Elements, par};
use crate::ops::CONSTANT;
use crate::ops::fused::FUSED;
use crate::plan::{Instruction, Program, Register};

use super::executor::{Registers, apply};
use super::stage::is_float;
use super::store::numbers;

/// Elements that one block of the check covers.
const BLOCK: usize = 64 * 1024;

/// Whether every element is finite. What is no float always is.
pub fn all_finite(tensor: &Tensor) -> candle_core::Result<bool> {
    if !is_float(tensor) {
        return Ok(true);
    }
    if !tensor.device().is_cpu() {
        // 0 * x is 0 where x is finite, NaN elsewhere.
        let sum = (tensor * 0.0)?.sum_all()?.to_dtype(candle_core::DType::F64)?.to_scalar::<f64>()?;
        return Ok(sum == 0.0);
    }
    let tensor = tensor.contiguous()?;
    macro_rules! check {
        ($element:ty) => {{
            let elements = Elements::<$element>::of(&tensor)?;
            let elements: &[$element] = &elements;
            par::fold_blocks(
                elements.len(),
                BLOCK,
                // Without a branch, so that the loop is vectorised.
                |range| elements[range].iter().fold(true, |finite, x| finite & x.is_finite()),
                |a, b| a & b,
            )
            .unwrap_or(true)
        }};
    }
    Ok(match tensor.dtype() {
        candle_core::DType::F64 => check!(f64),
        candle_core::DType::F32 => check!(f32),
        _ => true,
    })
}

fn has_nan(tensor: &Tensor) -> bool {
    is_float(tensor) && numbers(tensor).is_ok_and(|numbers| numbers.iter().any(|x| x.is_nan()))
}

/// What made the first number that is not finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Culprit {
    /// Name of the node, and its op; none for what came into the step.
    pub node: Option<(String, &'static str)>,
    /// `NaN` or `infinity`.
    pub gave: &'static str,
    pub origin: OriginId,
    /// Name, type and range of each operand.
    pub operands: Vec<String>,
    /// The input, by its position, that was not finite already.
    pub input: Option<Source>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Position in the step's inputs.
    Input(usize),
    /// Position in what the loader passes.
    Passed(usize),
}

/// What a value was when the step was run again.
#[derive(Clone, Copy)]
struct Made {
    /// None for inputs.
    by: Option<usize>,
    finite: bool,
    nan: bool,
}

/// Runs `program` again and walks from the first of `roots` that is not finite back to where that began. `fresh` gives the
/// registers as they were at the start, `named` the names of what was in them.
pub fn culprit(
    program: &Program,
    passed: &[Register],
    fresh: &dyn Fn() -> Option<Registers>,
    named: &HashMap<Register, String>,
    roots: &[Register],
    device: &Device,
) -> Option<Culprit> {
    let history = replay(program, fresh()?, device);
    let start = roots.iter().find_map(|root| {
        let made = history.last.get(root)?;
        (!made.finite).then_some((*root, *made))
    });
    let (mut register, mut made) = start?;
    loop {
        let Some(at) = made.by else {
            let source = program
                .inputs
                .iter()
                .find(|(_, have)| *have == register)
                .map(|(position, _)| Source::Input(*position))
                .or_else(|| passed.iter().position(|have| *have == register).map(Source::Passed));
            return Some(Culprit {
                node: None,
                gave: gave(&made),
                origin: OriginId::default(),
                operands: Vec::new(),
                input: source,
            });
        };
        let operands = &history.operands[at];
        let bad = || operands.iter().enumerate().filter(|(_, operand)| !operand.finite);
        // NaN comes from NaN where there is one, otherwise from an infinity.
        let next = bad().find(|(_, operand)| operand.nan).or_else(|| bad().next());
        match next {
            // A constant that is infinite on purpose is not where things went wrong, but where it is used is.
            Some((_, operand)) if is_constant(program, operand) => {
                return Some(describe(program, at, &made, fresh, named, device));
            }
            Some((position, operand)) => {
                register = program.instructions[at].inputs[position];
                made = *operand;
            }
            None => return Some(describe(program, at, &made, fresh, named, device)),
        }
    }
}

fn gave(made: &Made) -> &'static str {
    if made.nan { "NaN" } else { "infinity" }
}

fn is_constant(program: &Program, made: &Made) -> bool {
    made.by.is_some_and(|at| program.instructions[at].inputs.is_empty())
}

/// What instruction `at` made, which was the first that was not finite.
pub fn made_by(
    program: &Program,
    at: usize,
    fresh: &dyn Fn() -> Option<Registers>,
    named: &HashMap<Register, String>,
    device: &Device,
) -> Culprit {
    let mut nan = false;
    if let Some(mut registers) = fresh() {
        let seen = &mut |now, results: &[Tensor]| nan |= now == at && results.iter().any(has_nan);
        step_through(program, &mut registers, device, at + 1, seen);
    }
    describe(program, at, &Made { by: Some(at), finite: false, nan }, fresh, named, device)
}

/// Looks at results as they are made. An infinity that a program writes down, as masks do, may be passed on; NaN may not.
pub struct Guard<'a> {
    program: &'a Program,
    /// Registers with an infinity that was written down.
    meant: HashSet<Register>,
}

impl<'a> Guard<'a> {
    pub fn new(program: &'a Program) -> Guard<'a> {
        Guard { program, meant: HashSet::new() }
    }

    /// Whether instruction `at` made the first number that is not finite.
    pub fn objects(&mut self, at: usize, results: &[Tensor]) -> bool {
        let instruction = &self.program.instructions[at];
        let written = instruction.inputs.is_empty()
            || writes_infinity(instruction)
            || instruction.inputs.iter().any(|input| self.meant.contains(input));
        let mut objects = false;
        for (register, result) in instruction.outputs.iter().zip(results) {
            self.meant.remove(register);
            if !all_finite(result).unwrap_or(true) {
                objects |= !written || has_nan(result);
                self.meant.insert(*register);
            }
        }
        objects
    }
}

struct History {
    /// What each register held last.
    last: HashMap<Register, Made>,
    /// For each instruction, what its operands were.
    operands: Vec<Vec<Made>>,
}

fn replay(program: &Program, mut registers: Registers, device: &Device) -> History {
    let look = |by: Option<usize>, tensor: &Tensor| {
        let finite = all_finite(tensor).unwrap_or(true);
        Made { by, finite, nan: !finite && has_nan(tensor) }
    };
    let mut last = HashMap::new();
    for at in 0..program.registers {
        let register = Register(at as u32);
        if let Some(tensor) = registers.get(register) {
            last.insert(register, look(None, tensor));
        }
    }
    let mut operands = Vec::new();
    step_through(program, &mut registers, device, program.instructions.len(), &mut |at, results| {
        let instruction = &program.instructions[at];
        operands.push(instruction.inputs.iter().filter_map(|register| last.get(register).copied()).collect());
        for (register, result) in instruction.outputs.iter().zip(results) {
            last.insert(*register, look(Some(at), result));
        }
    });
    History { last, operands }
}

/// Runs the first `count` instructions, showing each one's results. Registers that the last one of them would free stay.
fn step_through(
    program: &Program,
    registers: &mut Registers,
    device: &Device,
    count: usize,
    seen: &mut dyn FnMut(usize, &[Tensor]),
) {
    for (at, instruction) in program.instructions.iter().take(count).enumerate() {
        let inputs: Option<Vec<Tensor>> =
            instruction.inputs.iter().map(|register| registers.get(*register).cloned()).collect();
        let Some(inputs) = inputs else { return };
        let Ok(results) = apply(instruction, &inputs, device) else { return };
        seen(at, &results);
        for (register, result) in instruction.outputs.iter().zip(results) {
            registers.put(*register, result);
        }
        instruction.free.iter().for_each(|register| registers.empty(*register));
    }
}

/// Which of the operations of a chain it was, given the operands of the chain with their names.
fn inside(instruction: &Instruction, given: &[(Tensor, String)], device: &Device) -> Option<Culprit> {
    let region = instruction.regions.first().filter(|_| instruction.op == &FUSED)?;
    let fresh = || {
        let mut registers = Registers::new(region);
        for (at, register) in &region.inputs {
            registers.put(*register, given.get(*at)?.0.clone());
        }
        Some(registers)
    };
    let names = region.inputs.iter().filter_map(|(at, register)| Some((*register, given.get(*at)?.1.clone())));
    let found = culprit(region, &[], &fresh, &names.collect(), &region.outputs, device)?;
    found.node.is_some().then_some(found)
}

/// Whether a chain holds an infinity that a program wrote down.
fn writes_infinity(instruction: &Instruction) -> bool {
    let infinite = |numbers: &[f64]| numbers.iter().any(|number| !number.is_finite());
    let constants =
        instruction.regions.iter().flat_map(|region| &region.instructions).filter(|one| one.op == &CONSTANT);
    constants.into_iter().any(|one| one.attrs.floats("values").is_some_and(infinite))
}

/// The results of an instruction with their names: those of a chain are called as inside it.
fn result_names(instruction: &Instruction) -> Vec<(Register, String)> {
    let region = instruction.regions.first().filter(|_| instruction.op == &FUSED);
    let inner = |out: usize| {
        let register = region?.outputs.get(out)?;
        region?.instructions.iter().rev().find(|one| one.outputs.contains(register)).map(|one| one.name.to_string())
    };
    let name = |out: usize| inner(out).unwrap_or_else(|| instruction.name.to_string());
    instruction.outputs.iter().enumerate().map(|(out, register)| (*register, name(out))).collect()
}

fn describe(
    program: &Program,
    at: usize,
    made: &Made,
    fresh: &dyn Fn() -> Option<Registers>,
    named: &HashMap<Register, String>,
    device: &Device,
) -> Culprit {
    let instruction = &program.instructions[at];
    let (mut operands, mut given) = (Vec::new(), Vec::new());
    if let Some(mut registers) = fresh() {
        let mut names = named.clone();
        step_through(program, &mut registers, device, at, &mut |at, _| {
            names.extend(result_names(&program.instructions[at]));
        });
        for register in &instruction.inputs {
            let Some(tensor) = registers.get(*register) else { continue };
            let name = names.get(register).map(|name| format!("`{name}` ")).unwrap_or_default();
            operands.push(format!("{name}{}", summary(tensor)));
            given.push((tensor.clone(), names.get(register).cloned().unwrap_or_default()));
        }
    }
    if let Some(inner) = inside(instruction, &given, device) {
        return inner;
    }
    Culprit {
        node: Some((instruction.name.to_string(), instruction.op.name)),
        gave: gave(made),
        origin: instruction.origin,
        operands,
        input: None,
    }
}
