//! Runs a list of instructions over Candle tensors.

use std::time::Instant;

use candle_core::{Device, Tensor};

use crate::kernels::tile;
use crate::ops::fused::FUSED;
use crate::ops::scan::{self, Form};
use crate::ops::{Call, Results};
use crate::plan::{Instruction, Program, Register};

use super::profile::Account;

/// The tensors of a running program; an empty register frees its tensor.
#[derive(Default)]
pub struct Registers(Vec<Option<Tensor>>);

impl Registers {
    pub fn new(program: &Program) -> Registers {
        Registers(vec![None; program.registers])
    }

    pub fn put(&mut self, register: Register, tensor: Tensor) {
        self.0[register.0 as usize] = Some(tensor);
    }

    pub fn empty(&mut self, register: Register) {
        self.0[register.0 as usize] = None;
    }

    pub fn get(&self, register: Register) -> Option<&Tensor> {
        self.0[register.0 as usize].as_ref()
    }
}

/// An instruction that could not be carried out.
#[derive(Debug)]
pub struct Failed {
    /// Its place in the program.
    pub at: usize,
    pub error: candle_core::Error,
}

/// Runs all instructions. The registers hold the inputs before and the outputs after.
pub fn execute(
    program: &Program,
    registers: &mut Registers,
    device: &Device,
    account: Option<&mut Account>,
) -> Result<(), Failed> {
    match account {
        None => run::<false>(program, registers, device, &mut |_, _, _: &mut [Tensor]| {}),
        Some(account) => {
            account.instructions += program.instructions.len() as u64;
            account.runs += 1;
            let nanos = account.nanos(program.instructions.len());
            run::<true>(program, registers, device, &mut |at, taken, _: &mut [Tensor]| nanos[at] += taken)
        }
    }
}

/// The same, showing the results of each instruction, which may be exchanged, before anything is freed.
pub fn observe(
    program: &Program,
    registers: &mut Registers,
    device: &Device,
    seen: &mut dyn FnMut(usize, &mut [Tensor]),
) -> Result<(), Failed> {
    run::<false>(program, registers, device, &mut |at, _, results: &mut [Tensor]| seen(at, results))
}

/// `seen` gets the place of each instruction, the nanoseconds of its kernel where `TIMED`, and its results.
fn run<const TIMED: bool>(
    program: &Program,
    registers: &mut Registers,
    device: &Device,
    seen: &mut impl FnMut(usize, u64, &mut [Tensor]),
) -> Result<(), Failed> {
    // One vector for all calls: what an instruction costs besides its kernel is a few reference counts.
    let mut inputs: Vec<Tensor> = Vec::with_capacity(8);
    for (at, instruction) in program.instructions.iter().enumerate() {
        for register in &instruction.inputs {
            match &registers.0[register.0 as usize] {
                Some(tensor) => inputs.push(tensor.clone()),
                None => return Err(missing(at, *register)),
            }
        }
        let begun = TIMED.then(Instant::now);
        let mut results = apply(instruction, &inputs, device).map_err(|error| Failed { at, error })?;
        let taken = begun.map_or(0, |begun| begun.elapsed().as_nanos() as u64);
        if results.len() != instruction.outputs.len() {
            let error = candle_core::Error::Msg(format!(
                "`{}` gave {} results instead of {}",
                instruction.op.name,
                results.len(),
                instruction.outputs.len()
            ));
            return Err(Failed { at, error });
        }
        debug_assert!(
            results.iter().zip(&instruction.results).all(|(have, want)| have.dims() == want.shape),
            "`{}` gave a result of another shape than its type says",
            instruction.op.name
        );
        seen(at, taken, &mut results);
        inputs.clear();
        for (register, result) in instruction.outputs.iter().zip(results) {
            registers.0[register.0 as usize] = Some(result);
        }
        for register in &instruction.free {
            registers.0[register.0 as usize] = None;
        }
    }
    Ok(())
}

/// The results of one instruction.
pub(super) fn apply(instruction: &Instruction, inputs: &[Tensor], device: &Device) -> candle_core::Result<Results> {
    let call = Call { attrs: &instruction.attrs, inputs, results: &instruction.results, device };
    if let Some(tile) = instruction.tile.as_ref().filter(|_| device.is_cpu()) {
        return Ok(tile::run(tile, inputs)?.into());
    }
    if instruction.op == &FUSED {
        return Ok(region(&instruction.regions[0], inputs, device)?.into());
    }
    let [body, until @ ..] = instruction.regions.as_slice() else { return (instruction.op.kernel)(&call) };
    let attrs = &instruction.attrs;
    let form = Form::read(attrs, body.outputs.len(), !until.is_empty());
    let length = attrs.int("length").and_then(|length| usize::try_from(length).ok());
    let (Some(form), Some(length)) = (form, length) else { candle_core::bail!("`scan` without its attributes") };
    let mut ended = |inputs: &[Tensor]| match until.first() {
        Some(until) => Ok(region(until, inputs, device)?[0].to_scalar::<u8>()? != 0),
        None => Ok(false),
    };
    let mut round = |inputs: &[Tensor]| region(body, inputs, device);
    scan::run(form, &scan::kept(attrs), length, inputs, &instruction.results, &mut round, &mut ended)
}

/// A region from its inputs to its outputs.
fn region(program: &Program, inputs: &[Tensor], device: &Device) -> candle_core::Result<Vec<Tensor>> {
    let mut registers = Registers::new(program);
    for (at, register) in &program.inputs {
        registers.put(*register, inputs[*at].clone());
    }
    execute(program, &mut registers, device, None).map_err(|failed| failed.error)?;
    let lost = || candle_core::Error::Msg("a region lost a result".into());
    program.outputs.iter().map(|register| registers.get(*register).cloned().ok_or_else(lost)).collect()
}

fn missing(at: usize, register: Register) -> Failed {
    Failed { at, error: candle_core::Error::Msg(format!("register {} is empty", register.0)) }
}
