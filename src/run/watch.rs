//! Weights that stand still: what the first steps of a `train` show about gradients and updates.

use std::collections::HashSet;

use candle_core::{DType, Device, Tensor};

use crate::kernels::Elements;
use crate::ops::structure::GRADIENT;
use crate::plan::Program;
use crate::program::{Formal, SlotKind, Step};

use super::fault::{self, Fault};

/// Steps that are looked at: enough for a warm-up that begins at 0, and for a last layer that begins at zeros.
pub const STEPS: u64 = 5;

/// Names that are told.
const TOLD: usize = 8;

/// What has not yet been seen to move.
#[derive(Default)]
pub struct Watch {
    /// Slots of which every gradient was exactly 0.
    flat: Option<HashSet<String>>,
    /// Weights that no step has changed.
    still: Option<HashSet<String>>,
}

impl Watch {
    /// The gradients of one step, by slot.
    pub fn gradients(&mut self, zero: HashSet<String>) {
        keep(&mut self.flat, zero);
    }

    /// What one step did to weights: `unchanged` are those that it commits as they were.
    pub fn commits(&mut self, unchanged: HashSet<String>) {
        keep(&mut self.still, unchanged);
    }

    /// What to say after the last of the steps.
    pub fn findings(self, steps: u64) -> Vec<String> {
        let flat = sorted(self.flat);
        let still: Vec<String> = sorted(self.still).into_iter().filter(|name| !flat.contains(name)).collect();
        let mut found = Vec::new();
        if !flat.is_empty() {
            found.push(format!("the gradient of {} was exactly 0 in the first {steps} steps", listed(&flat)));
        }
        if !still.is_empty() {
            found.push(format!("{} did not change in the first {steps} steps", listed(&still)));
        }
        found
    }
}

fn keep(known: &mut Option<HashSet<String>>, now: HashSet<String>) {
    *known = Some(match known.take() {
        Some(before) => before.intersection(&now).cloned().collect(),
        None => now,
    });
}

fn sorted(names: Option<HashSet<String>>) -> Vec<String> {
    let mut names: Vec<String> = names.unwrap_or_default().into_iter().collect();
    names.sort();
    names
}

fn listed(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(TOLD).map(|name| format!("`{name}`")).collect();
    let more = names.len().saturating_sub(TOLD);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

/// Notes the slot of a gradient that is exactly 0, or takes one out that is not.
pub fn note_gradient(program: &Program, at: usize, results: &[Tensor], zero: &mut HashSet<String>) {
    let instruction = &program.instructions[at];
    if instruction.op != &GRADIENT {
        return;
    }
    let flat = results.iter().all(|tensor| is_zero(tensor).unwrap_or(false));
    if let (true, Some(slot)) = (flat, instruction.attrs.text("slot")) {
        zero.insert(slot.to_string());
    }
}

/// The weights that a step commits as it found them.
pub fn unchanged<'a>(
    step: &Step,
    commits: &[(Formal, Tensor)],
    held: impl Fn(Formal) -> Option<&'a Tensor>,
) -> Result<HashSet<String>, Fault> {
    let mut names = HashSet::new();
    for (formal, tensor) in commits {
        let Some((name, SlotKind::Weight)) = step.formals.get(formal.0) else { continue };
        let Some(before) = held(*formal) else { continue };
        if equal(tensor, before).map_err(|error| fault::candle("a weight could not be read", &error))? {
            names.insert(name.clone());
        }
    }
    Ok(names)
}

/// Ends at the first number that is not 0, which is mostly the first.
fn is_zero(tensor: &Tensor) -> candle_core::Result<bool> {
    let tensor = tensor.to_device(&Device::Cpu)?.contiguous()?;
    Ok(match tensor.dtype() {
        DType::F32 => Elements::<f32>::of(&tensor)?.iter().all(|x| *x == 0.0),
        DType::F64 => Elements::<f64>::of(&tensor)?.iter().all(|x| *x == 0.0),
        _ => false,
    })
}

fn equal(a: &Tensor, b: &Tensor) -> candle_core::Result<bool> {
    let host = |x: &Tensor| x.to_device(&Device::Cpu)?.contiguous();
    let (a, b) = (host(a)?, host(b)?);
    Ok(match a.dtype() {
        DType::F32 => Elements::<f32>::of(&a)?[..] == Elements::<f32>::of(&b)?[..],
        DType::F64 => Elements::<f64>::of(&a)?[..] == Elements::<f64>::of(&b)?[..],
        _ => false,
    })
}
