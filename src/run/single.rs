//! One step from named arrays to named arrays: no loader, no flow, no run folder.

use std::collections::HashMap;

use candle_core::{Device, Tensor};

use crate::graph::Bindings;
use crate::plan::Plan;
use crate::program::{Input, Program, Step};

use super::executor::{Registers, execute};
use super::fault::{self, Fault};
use super::host::{self, Clock};
use super::key::Place;
use super::stage::{Given, Prepared, bind_sizes, bind_witnesses};
use super::store::{self, Store};

/// Runs the loader's part and the step's on whole batches. Also returns what the loader passed.
pub fn execute_plan(
    program: &Program,
    step: &Step,
    plan: &Plan,
    given: &Given<'_>,
) -> Result<(Registers, Vec<Tensor>), Fault> {
    let mut ahead = Registers::new(&plan.loader);
    for (at, register) in &plan.loader.inputs {
        ahead.put(*register, given.tensor(step, *at)?);
    }
    execute(&plan.loader, &mut ahead, given.device, None)
        .map_err(|failed| fault::kernel(program, &plan.loader.instructions[failed.at], &failed.error))?;
    let passed: Option<Vec<Tensor>> =
        plan.loader.outputs.iter().map(|register| ahead.get(*register).cloned()).collect();
    let passed = passed.ok_or_else(|| fault::internal("the loader lost a result"))?;
    let mut registers = given.registers(step, plan, &passed)?;
    execute(&plan.step, &mut registers, given.device, None)
        .map_err(|failed| fault::kernel(program, &plan.step.instructions[failed.at], &failed.error))?;
    Ok((registers, passed))
}

/// Runs one step on tensors given by the names of its inputs. Keys that are not given come from seed 0; host numbers that
/// are not given are computed for the first step of a loop of one.
///
/// The results carry the names of what they are: a commit that of its formal, the others their own; graph outputs
/// without a name that of their node.
pub fn run_step(step: &Step, inputs: &HashMap<String, Tensor>) -> Result<Vec<(String, Tensor)>, Fault> {
    let program = Program::default();
    let prepared = Prepared::new(step, &program.origins, true)?;
    let step = &prepared.step;
    let device = Device::Cpu;
    let mut bindings = Bindings::new();
    for value in &step.graph.inputs {
        if let Some(tensor) = inputs.get(step.graph.name(*value)) {
            store::fits(step.graph.name(*value), tensor, step.graph.ty(*value))?;
            bind_sizes(&mut bindings, step.graph.ty(*value), tensor.dims());
        }
    }
    bind_witnesses(&mut bindings, step);
    let plan = prepared.plan(&bindings, &program.origins)?;
    let named: HashMap<String, Tensor> = inputs.clone();
    let whole = by_name(step);
    let clock = Clock { step: 0, epoch: 0, steps: 1, epochs: 1, steps_per_epoch: 1 };
    let host = if step.inputs.iter().any(|input| matches!(input, Input::Host(_))) {
        host::evaluate(&step.host, &clock, &[]).unwrap_or_default()
    } else {
        Vec::new()
    };
    let key = Place::new(0).compute(&step.name);
    let given = Given {
        store: &Store::default(),
        slots: &[],
        batch: &[],
        host: &host,
        flows: &[],
        step_key: key,
        epoch_key: key,
        named: Some(&named),
        device: &device,
    };
    let (registers, _) = execute_plan(&program, &whole(&named), &plan, &given)?;
    let named = plan
        .commits
        .iter()
        .map(|(formal, register)| (step.formals.get(formal.0).map_or("?", |(name, _)| name).to_owned(), *register))
        .chain(plan.logs.iter().cloned())
        .chain(plan.collects.iter().cloned())
        .chain(plan.yields.iter().zip(&step.yields).map(|(r, value)| (step.graph.name(*value).to_owned(), *r)))
        .chain(plan.outputs.iter().zip(&step.graph.outputs).map(|(r, value)| (step.graph.name(*value).to_owned(), *r)));
    named
        .map(|(name, register)| {
            let tensor = registers.get(register).cloned().ok_or_else(|| fault::internal("a result was lost"))?;
            Ok((name, tensor))
        })
        .collect()
}

/// The step with every input that is given by name read from there.
fn by_name(step: &Step) -> impl Fn(&HashMap<String, Tensor>) -> Step {
    let step = step.clone();
    move |named| {
        let mut step = step.clone();
        for (value, input) in step.graph.inputs.iter().zip(&mut step.inputs) {
            let name = step.graph.name(*value);
            if named.contains_key(name) {
                *input = Input::Given(name.to_owned());
            }
        }
        step
    }
}
