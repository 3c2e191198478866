//! Steps made ready: passes applied once, plans kept for each binding of their symbols, inputs gathered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use candle_core::{Device, Tensor};

use crate::diagnostics::{Code, Diagnostic};
use crate::graph::{Bindings, Size, Type};
use crate::plan::Plan;
use crate::program::{Guard, Input, Origin, Program, SlotId, Step};

use super::executor::Registers;
use super::fault::{self, Fault};
use super::store::Store;
use super::{memory, store};
use crate::events::size as events_size;

/// A step after the passes, with its plans so far.
pub struct Prepared {
    /// As it is executed: chains may be fused.
    pub step: Step,
    /// As it is shown, and searched for what went wrong.
    pub plain: Step,
    plans: Mutex<HashMap<Bound, Arc<Plan>>>,
}

/// Symbols with their numbers, sorted.
type Bound = Vec<(Arc<str>, i64)>;

impl Prepared {
    pub fn new(step: &Step, origins: &[Origin], fused: bool) -> Result<Prepared, Fault> {
        let plain = super::passes::compile(step, origins)?;
        let step = if fused { crate::passes::fuse(plain.clone()) } else { plain.clone() };
        Ok(Prepared { step, plain, plans: Mutex::default() })
    }

    /// The plan for one binding of the symbols, which must be what the step was elaborated for.
    pub fn plan(&self, bindings: &Bindings, origins: &[Origin]) -> Result<Arc<Plan>, Fault> {
        self.check_guards(bindings)?;
        self.part_plan(bindings, origins)
    }

    /// The plan for some of the rows of a batch: what the loader runs on a block of them.
    pub fn part_plan(&self, bindings: &Bindings, origins: &[Origin]) -> Result<Arc<Plan>, Fault> {
        let mut key: Vec<(Arc<str>, i64)> = bindings.iter().map(|(name, n)| (name.clone(), *n)).collect();
        key.sort();
        let mut plans = self.plans.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(plan) = plans.get(&key) {
            return Ok(plan.clone());
        }
        let plan = Arc::new(crate::plan::plan(&self.step, bindings).map_err(|error| fault::plan(origins, &error))?);
        plans.insert(key, plan.clone());
        Ok(plan)
    }

    /// What the graph assumed of its symbols.
    fn check_guards(&self, bindings: &Bindings) -> Result<(), Fault> {
        let broken = self.step.guards.iter().find_map(|guard| {
            let have = *bindings.get(guard.symbol())?;
            (!guard.holds(have)).then_some((guard, have))
        });
        let Some((guard, have)) = broken else { return Ok(()) };
        let (symbol, (how, needed)) = match guard {
            Guard::Equal(symbol, n) => (symbol, ("exactly", n)),
            Guard::AtLeast(symbol, n) => (symbol, ("at least", n)),
            Guard::Divides(n, symbol) => (symbol, ("a multiple of", n)),
        };
        Err(Box::new(
            Diagnostic::error(
                Code::NotYet,
                format!("`{}` was compiled for {how} {needed} rows ({symbol}), and meets {have}", self.step.name),
            )
            .help(format!("choose a batch and a number of records for which every batch has {how} {needed} rows")),
        ))
    }
}

/// Binds the symbols that a type shares with a tensor.
pub fn bind_sizes(bindings: &mut Bindings, ty: &Type, dims: &[usize]) {
    for (size, have) in ty.shape.iter().zip(dims) {
        if let [symbol] = size.symbols().as_slice()
            && *size == Size::symbol(symbol.clone())
        {
            bindings.entry(symbol.clone()).or_insert(*have as i64);
        }
    }
}

/// Symbols that nothing else binds have the number that the compiler took for them.
pub fn bind_witnesses(bindings: &mut Bindings, step: &Step) {
    for symbol in &step.symbols {
        if let Some(witness) = symbol.witness {
            bindings.entry(symbol.name.clone()).or_insert(witness);
        }
    }
}

/// Where the inputs of one step come from.
pub struct Given<'a> {
    pub store: &'a Store,
    pub slots: &'a [SlotId],
    /// Fields, ids and indices by position; the rest is empty.
    pub batch: &'a [Option<Tensor>],
    pub host: &'a [f64],
    pub flows: &'a [Tensor],
    pub step_key: [u32; 2],
    pub epoch_key: [u32; 2],
    /// By name: what comes from outside.
    pub named: Option<&'a HashMap<String, Tensor>>,
    pub device: &'a Device,
}

impl Given<'_> {
    /// The tensor of input number `at`.
    pub fn tensor(&self, step: &Step, at: usize) -> Result<Tensor, Fault> {
        let ty = step.graph.ty(step.graph.inputs[at]);
        let found = match &step.inputs[at] {
            Input::Slot(formal) => self.slots.get(formal.0).and_then(|slot| self.store.get(*slot)).cloned(),
            Input::Field { .. } | Input::Ids { .. } | Input::Index { .. } => self.batch.get(at).cloned().flatten(),
            Input::Host(n) => match self.host.get(*n) {
                Some(number) => Some(store::scalar(*number, ty.dtype, self.device)?),
                None => None,
            },
            Input::Flow(n) => match self.flows.get(*n) {
                Some(tensor) => Some(store::to_device(&store::cast(tensor, ty.dtype)?, self.device)?),
                None => None,
            },
            Input::StepKey => Some(store::key_tensor(self.step_key, self.device)?),
            Input::EpochKey => Some(store::key_tensor(self.epoch_key, self.device)?),
            Input::Given(name) => match self.named.and_then(|named| named.get(name)) {
                Some(tensor) => {
                    store::fits(name, tensor, ty)?;
                    Some(store::to_device(&store::cast(tensor, ty.dtype)?, self.device)?)
                }
                None => None,
            },
        };
        found.ok_or_else(|| {
            fault::internal(format!(
                "input `{}` of `{}` has no value",
                step.graph.name(step.graph.inputs[at]),
                step.name
            ))
        })
    }

    /// Registers that hold the inputs of the step and what the loader passed.
    pub fn registers(&self, step: &Step, plan: &Plan, passed: &[Tensor]) -> Result<Registers, Fault> {
        let mut registers = Registers::new(&plan.step);
        for (at, register) in &plan.step.inputs {
            registers.put(*register, self.tensor(step, *at)?);
        }
        for (register, tensor) in plan.passed.iter().zip(passed) {
            registers.put(*register, tensor.clone());
        }
        Ok(registers)
    }
}

/// Refuses weights and states that do not fit the memory that is left, naming the largest.
pub fn check_room(program: &Program, slots: &[SlotId], device: &Device) -> Result<(), Fault> {
    let Some(available) = device.is_cpu().then(memory::available).flatten() else { return Ok(()) };
    let bytes = |slot: &SlotId| {
        let ty = &program.slots[slot.0 as usize].ty;
        let sizes = ty.shape.iter().filter_map(Size::as_known).map(|size| size.max(0) as u64);
        sizes.fold(ty.dtype.width() as u64, u64::saturating_mul)
    };
    let needed = slots.iter().map(bytes).fold(0, u64::saturating_add);
    if needed <= available {
        return Ok(());
    }
    let Some(largest) = slots.iter().max_by_key(|slot| bytes(slot)) else { return Ok(()) };
    let slot = &program.slots[largest.0 as usize];
    let headline = format!("weights need {} of memory, {} are left", events_size(needed), events_size(available));
    let diagnostic = Diagnostic::error(Code::OutOfMemory, headline).help(format!(
        "take smaller sizes; the largest is `{}`, {}",
        slot.path,
        events_size(bytes(largest))
    ));
    Err(fault::at_origin(diagnostic, &program.origins, slot.origin, "the largest is made here"))
}

/// Refuses a plan that does not fit the memory that is left, naming what fills it.
pub fn check_memory(plan: &Plan, name: &str, origins: &[Origin], device: &Device) -> Result<(), Fault> {
    let needed = predicted(plan);
    let Some(available) = device.is_cpu().then(memory::available).flatten() else { return Ok(()) };
    if needed <= available.saturating_add(plan.held) {
        return Ok(());
    }
    let mut largest: Vec<(u64, usize)> = plan
        .step
        .instructions
        .iter()
        .enumerate()
        .map(|(at, instruction)| {
            let bytes = |concrete: &crate::ops::Concrete| (concrete.count() * concrete.dtype.width()) as u64;
            (instruction.results.iter().map(bytes).sum(), at)
        })
        .collect();
    largest.sort_by_key(|(bytes, at)| (std::cmp::Reverse(*bytes), *at));
    let named: Vec<String> = largest
        .iter()
        .take(3)
        .map(|(bytes, at)| format!("`{}` {}", plan.step.instructions[*at].name, events_size(*bytes)))
        .collect();
    let diagnostic = Diagnostic::error(
        Code::OutOfMemory,
        format!("`{name}` needs {} of memory, {} are left", events_size(needed), events_size(available)),
    )
    .help(format!("take a smaller batch or smaller sizes; the largest tensors are {}", named.join(", ")));
    let origin = largest.first().map(|(_, at)| plan.step.instructions[*at].origin).unwrap_or_default();
    Err(fault::at_origin(diagnostic, origins, origin, "the largest tensor is made here"))
}

/// Bytes at the worst moment, and one batch more that is made ahead.
pub fn predicted(plan: &Plan) -> u64 {
    plan.step.cost.peak.saturating_add(plan.loader.cost.peak)
}

/// The element types that may hold NaN.
pub fn is_float(tensor: &Tensor) -> bool {
    tensor.dtype().is_float()
}
