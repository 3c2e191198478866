//! Walks the statements of a program.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use candle_core::{Device, Tensor};

use crate::data::Opened;
use crate::diagnostics::{Code, Diagnostic};
use crate::events::{Event, Number, Shown};
use crate::graph::Bindings;
use crate::program::{
    Call, FlowValue, LoopKind, Program, ReportItem, ReportValue, SlotId, SlotKind, SourceRef, Statement, Step,
};
use crate::program::{Input, SlotKind as Kind};
use crate::source::Span;

use super::fault::{self, Fault};
use super::folder::RunFolder;
use super::key::Place;
use super::profile::Profile;
use super::stage::{Given, Prepared, bind_sizes, bind_witnesses, check_memory, check_room};
use super::{Interrupt, Outcome, RunOptions, Store, files, host, store, weights};

/// Elements of a tensor that a report still shows one by one.
const SHOWN: usize = 64;

/// What a statement says about those after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Next,
    /// An `until` was met: the innermost repeat ends.
    Until,
    Interrupted,
}

/// A running program.
pub struct Runtime<'a> {
    pub(super) program: &'a Program,
    pub(super) options: &'a RunOptions,
    sink: &'a mut dyn FnMut(Event),
    pub(super) store: Store,
    values: Vec<Option<Tensor>>,
    prepared: HashMap<usize, Arc<Prepared>>,
    sets: Vec<Option<Opened>>,
    pub(super) folder: Option<RunFolder>,
    pub(super) device: Device,
    pub(super) profile: Option<Profile>,
    pub(super) interrupt: Interrupt,
    /// Rounds and arms around the current statement, for reports and checkpoints.
    around: Vec<String>,
}

pub(super) fn run(program: &Program, options: &RunOptions, sink: &mut dyn FnMut(Event)) -> Result<Outcome, Fault> {
    let begun = Instant::now();
    let folder = match &options.out {
        Some(out) => Some(RunFolder::create(out, program, options)?),
        None => None,
    };
    let mut runtime = Runtime {
        program,
        options,
        sink,
        store: Store::new(program),
        values: vec![None; program.values.len()],
        prepared: HashMap::new(),
        sets: vec![None; program.sources.len()],
        folder,
        device: options.device.clone(),
        profile: options.profile.then(Profile::default),
        interrupt: options.interrupt.clone(),
        around: Vec::new(),
    };
    for (value, tensor) in &options.given {
        let dtype = program.values[value.0 as usize].ty.dtype;
        let tensor = store::to_device(&store::cast(tensor, dtype)?, &options.device)?;
        runtime.set_value(*value, tensor);
    }
    let result = runtime.whole(begun);
    if let Err(fault) = &result {
        let (code, headline) = (fault.code.number().to_owned(), fault.headline.clone());
        // The fault itself is what the caller hears of; a journal that cannot be written adds nothing.
        let _ = runtime.say_profile();
        let _ = runtime.say(Event::Failed { code, headline });
        let _ = runtime.folder.as_mut().map(|folder| folder.finish("failed"));
    }
    let interrupted = result?;
    let Runtime { store, values, folder, .. } = runtime;
    Ok(Outcome { values, store, folder: folder.map(|folder| folder.path().to_owned()), interrupted })
}

impl Runtime<'_> {
    fn whole(&mut self, begun: Instant) -> Result<bool, Fault> {
        let folder = self.folder.as_ref().map(|folder| folder.path().display().to_string());
        self.say(Event::RunStarted {
            name: self.program.name.clone(),
            folder,
            seed: self.options.seed,
            threads: self.options.threads,
            device: device_name(&self.device),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })?;
        let program = self.program;
        let flow = self.statements(&program.body, &Place::new(self.options.seed))?;
        let interrupted = flow == Flow::Interrupted;
        self.say_profile()?;
        self.say(Event::RunEnded { seconds: begun.elapsed().as_secs_f64(), interrupted })?;
        if let Some(folder) = &mut self.folder {
            folder.finish(if interrupted { "interrupted" } else { "done" })?;
        }
        Ok(interrupted)
    }

    fn say_profile(&mut self) -> Result<(), Fault> {
        match self.profile.take() {
            Some(profile) => self.say(profile.event(&*self.options.line)),
            None => Ok(()),
        }
    }

    /// Tells an event to everybody who listens.
    pub(super) fn say(&mut self, event: Event) -> Result<(), Fault> {
        let written = self.folder.as_mut().map_or(Ok(()), |folder| folder.write(&event));
        (self.sink)(event);
        written
    }

    fn statements(&mut self, body: &[Statement], place: &Place) -> Result<Flow, Fault> {
        for statement in body {
            let flow = self.statement(statement, place)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
            // Between stages too: a flow of many small ones must not run on for minutes.
            if self.interrupt.wanted() {
                return Ok(Flow::Interrupted);
            }
        }
        Ok(Flow::Next)
    }

    fn statement(&mut self, statement: &Statement, place: &Place) -> Result<Flow, Fault> {
        match statement {
            Statement::Declare(slots) => self.declare(slots, place)?,
            Statement::Compute(call) => self.compute(call, place)?,
            Statement::Loop(looped) => {
                let interrupted = self.run_loop(looped, place)?;
                if looped.kind == LoopKind::Train {
                    self.checkpoint(&looped.name, &looped.call, place.seed(), interrupted)?;
                }
                if interrupted {
                    return Ok(Flow::Interrupted);
                }
            }
            Statement::If { condition, then, otherwise } => {
                let body = if self.holds(*condition)? { then } else { otherwise };
                return self.statements(body, place);
            }
            Statement::Repeat { count, index, body } => return self.repeat(*count, *index, body, place),
            Statement::Until(condition) => return Ok(if self.holds(*condition)? { Flow::Until } else { Flow::Next }),
            Statement::Set { target, value } => {
                let tensor = self.value(*value)?;
                self.set_value(*target, tensor);
            }
            Statement::Scope { name, seed, body } => {
                self.around.push(name.clone());
                let flow = self.statements(body, &place.scope(name, *seed));
                self.around.pop();
                return flow;
            }
            Statement::Report { rows } => self.report(rows)?,
            Statement::Assert { condition, text, why, facts, span } => {
                self.assert(*condition, text, why.as_deref(), facts, *span)?;
            }
            Statement::Save { slots, path, span } => {
                self.save(slots, path).map_err(|fault| fault::placed(fault, *span, "saved here"))?;
            }
            Statement::Load { slots, path, span } => {
                self.load(slots, path).map_err(|fault| fault::placed(fault, *span, "loaded here"))?;
            }
        }
        Ok(Flow::Next)
    }

    fn declare(&mut self, slots: &[SlotId], place: &Place) -> Result<(), Fault> {
        let values = &self.values;
        let program = self.program;
        let flow = |value: FlowValue| found(program, values, value);
        check_room(program, slots, &self.device)?;
        for slot in slots {
            store::declare(program, &mut self.store, *slot, &flow, &self.options.weights, place, &self.device)?;
        }
        Ok(())
    }

    fn repeat(
        &mut self,
        count: Option<i64>,
        index: Option<FlowValue>,
        body: &[Statement],
        place: &Place,
    ) -> Result<Flow, Fault> {
        let mut round = 0;
        while count.is_none_or(|count| round < count) {
            if let Some(index) = index {
                let dtype = self.program.values[index.0 as usize].ty.dtype;
                let tensor = store::scalar(round as f64, dtype, &self.device)?;
                self.set_value(index, tensor);
            }
            self.around.push(format!("round {round}"));
            let flow = self.statements(body, &place.round(round));
            self.around.pop();
            match flow? {
                Flow::Next => round += 1,
                Flow::Until => break,
                Flow::Interrupted => return Ok(Flow::Interrupted),
            }
        }
        Ok(Flow::Next)
    }

    /// A step run once, without batches.
    fn compute(&mut self, call: &Call, place: &Place) -> Result<(), Fault> {
        let prepared = self.prepared(&call.step)?;
        let step = &prepared.step;
        let flows = self.flow_tensors(&call.flows)?;
        let mut bindings = self.flow_bindings(step, &flows);
        bind_witnesses(&mut bindings, step);
        let plan = prepared.plan(&bindings, &self.program.origins)?;
        check_memory(&plan, &step.name, &self.program.origins, &self.device)?;
        let host = host::evaluate(&step.host, &host::Clock::default(), &flows)?;
        let key = place.compute(&step.name);
        let given = Given {
            store: &self.store,
            slots: &call.slots,
            batch: &[],
            host: &host,
            flows: &flows,
            step_key: key,
            epoch_key: key,
            named: None,
            device: &self.device,
        };
        let (registers, _) = super::single::execute_plan(self.program, step, &plan, &given)?;
        let result = |register| registers.get(register).cloned().ok_or_else(|| fault::internal("a result was lost"));
        let yields = plan.yields.iter().map(|register| result(*register)).collect::<Result<Vec<_>, _>>()?;
        let commits = plan.commits.iter().map(|(formal, register)| Ok((*formal, result(*register)?)));
        let commits = commits.collect::<Result<Vec<_>, Fault>>()?;
        for (value, tensor) in call.results.iter().zip(yields) {
            self.set_value(*value, tensor);
        }
        for (formal, tensor) in commits {
            match call.slots.get(formal.0) {
                Some(slot) => self.store.set(*slot, tensor),
                None => return Err(fault::internal("a step commits to a slot that its call does not bind")),
            }
        }
        Ok(())
    }

    fn report(&mut self, rows: &[ReportItem]) -> Result<(), Fault> {
        let rows = rows.iter().map(|item| {
            let shown = match &item.value {
                ReportValue::Flow(value) => shown(&self.value(*value)?)?,
                ReportValue::Text(text) => Shown::Text(text.clone()),
            };
            Ok((item.name.clone(), shown))
        });
        let rows = rows.collect::<Result<Vec<_>, Fault>>()?;
        self.say(Event::Reported { place: self.around.clone(), rows })
    }

    fn assert(
        &mut self,
        condition: FlowValue,
        text: &str,
        why: Option<&str>,
        facts: &[(String, FlowValue)],
        span: Span,
    ) -> Result<(), Fault> {
        if self.holds(condition)? {
            return Ok(());
        }
        let facts = facts.iter().map(|(name, value)| Ok(format!("{name} = {}", shown(&self.value(*value)?)?)));
        let facts = facts.collect::<Result<Vec<_>, Fault>>()?;
        let label = if facts.is_empty() { "is false".to_owned() } else { facts.join(", ") };
        let mut diagnostic =
            Diagnostic::error(Code::AssertFailed, format!("`{text}` does not hold")).label(span, label);
        if let Some(why) = why {
            diagnostic = diagnostic.help(why);
        }
        Err(Box::new(diagnostic))
    }

    fn save(&mut self, slots: &[(String, SlotId)], path: &Path) -> Result<(), Fault> {
        let tensors = slots.iter().map(|(name, slot)| {
            let tensor = self.store.get(*slot).ok_or_else(|| fault::internal(format!("`{name}` does not live yet")))?;
            Ok((name.clone(), tensor.clone()))
        });
        let tensors = tensors.collect::<Result<Vec<_>, Fault>>()?;
        let replaces = path.exists();
        files::write_safetensors(path, &tensors, &[])?;
        let what = format!("{} tensors{}", tensors.len(), if replaces { " over what stood there" } else { "" });
        self.say(Event::Saved { what, path: path.display().to_string() })
    }

    fn load(&mut self, slots: &[(String, SlotId)], path: &Path) -> Result<(), Fault> {
        let ty = |slot: &SlotId| &self.program.slots[slot.0 as usize].ty;
        let wanted: Vec<_> = slots.iter().map(|(name, slot)| (name.as_str(), ty(slot))).collect();
        let found = weights::find(path, &wanted)?;
        let (what, whole) = (found.summary(), found.is_whole());
        for ((_, slot), tensor) in slots.iter().zip(found.tensors) {
            self.store.set(*slot, store::to_device(&tensor, &self.device)?);
        }
        self.say(Event::Loaded { what, path: path.display().to_string(), whole })
    }

    /// Keeps every slot that is alive, and what this stage's optimisers remember.
    fn checkpoint(&mut self, stage: &str, call: &Call, seed: u64, interrupted: bool) -> Result<(), Fault> {
        let Some(folder) = &mut self.folder else { return Ok(()) };
        let (mut weights, mut optimiser) = (Vec::new(), Vec::new());
        for (slot, path, kind, tensor) in self.store.alive(self.program) {
            match kind {
                SlotKind::Optimiser if call.slots.contains(&slot) => optimiser.push((path.to_owned(), tensor.clone())),
                Kind::Optimiser => {}
                _ => weights.push((path.to_owned(), tensor.clone())),
            }
        }
        let name = self.around.iter().map(String::as_str).chain([stage]).collect::<Vec<_>>().join("/");
        let path = folder.checkpoint(&name, &weights, &optimiser, seed, interrupted)?;
        self.say(Event::Saved { what: format!("{} tensors", weights.len() + optimiser.len()), path })
    }

    /// A step after the passes.
    pub(super) fn prepared(&mut self, step: &Arc<Step>) -> Result<Arc<Prepared>, Fault> {
        let key = Arc::as_ptr(step) as usize;
        if let Some(prepared) = self.prepared.get(&key) {
            return Ok(prepared.clone());
        }
        // Tiles are loops of the CPU, and what is inside a chain cannot be looked at.
        let fused = self.device.is_cpu() && !self.options.check_finite;
        let prepared = Arc::new(Prepared::new(step, &self.program.origins, fused)?);
        if let Some(folder) = &mut self.folder {
            folder.graph(&prepared.plain)?;
        }
        self.prepared.insert(key, prepared.clone());
        Ok(prepared)
    }

    pub(super) fn open(&mut self, source: SourceRef) -> Result<Opened, Fault> {
        if let Some(set) = &self.sets[source.0] {
            return Ok(set.clone());
        }
        let named = &self.program.sources[source.0];
        let set = crate::data::open(&named.spec).map_err(|error| {
            let mut diagnostic = Diagnostic::error(error.code, error.headline);
            diagnostic.help = error.help;
            fault::at_origin(diagnostic, &self.program.origins, named.origin, format!("`{}` is read here", named.name))
        })?;
        self.sets[source.0] = Some(set.clone());
        Ok(set)
    }

    /// The numbers behind symbols that values of the flow bring with them.
    pub(super) fn flow_bindings(&self, step: &Step, flows: &[Tensor]) -> Bindings {
        let mut bindings = Bindings::new();
        for (value, input) in step.graph.inputs.iter().zip(&step.inputs) {
            if let Input::Flow(n) = input
                && let Some(tensor) = flows.get(*n)
            {
                bind_sizes(&mut bindings, step.graph.ty(*value), tensor.dims());
            }
        }
        bindings
    }

    pub(super) fn flow_tensors(&self, values: &[FlowValue]) -> Result<Vec<Tensor>, Fault> {
        values.iter().map(|value| self.value(*value)).collect()
    }

    fn value(&self, value: FlowValue) -> Result<Tensor, Fault> {
        found(self.program, &self.values, value)
    }

    pub(super) fn set_value(&mut self, value: FlowValue, tensor: Tensor) {
        self.values[value.0 as usize] = Some(tensor);
    }

    fn holds(&self, condition: FlowValue) -> Result<bool, Fault> {
        Ok(store::number(&self.value(condition)?)? != 0.0)
    }
}

fn found(program: &Program, values: &[Option<Tensor>], value: FlowValue) -> Result<Tensor, Fault> {
    values.get(value.0 as usize).cloned().flatten().ok_or_else(|| {
        let name = program.values.get(value.0 as usize).map_or("?", |info| &info.name);
        fault::internal(format!("`{name}` has no value yet"))
    })
}

/// A value as a report shows it.
fn shown(tensor: &Tensor) -> Result<Shown, Fault> {
    Ok(match tensor.rank() {
        0 if tensor.dtype() == candle_core::DType::U8 => Shown::Flag(store::number(tensor)? != 0.0),
        0 => Shown::Number(Number(store::number(tensor)?)),
        1 if tensor.elem_count() <= SHOWN => Shown::Numbers(store::numbers(tensor)?.into_iter().map(Number).collect()),
        _ if tensor.elem_count() <= SHOWN => {
            let parts =
                (0..tensor.dims()[0]).map(|at| tensor.get(at).map_err(|error| fault::candle("a report", &error)));
            Shown::Parts(parts.map(|part| shown(&part?)).collect::<Result<_, Fault>>()?)
        }
        _ => Shown::Text(crate::kernels::show::type_of(tensor)),
    })
}

fn device_name(device: &Device) -> String {
    match device.location() {
        candle_core::DeviceLocation::Cpu => "cpu".into(),
        candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        candle_core::DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}
