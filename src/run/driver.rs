//! The loop of a `train` or `pass`: batches read ahead, steps executed, what they say passed on.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use candle_core::Tensor;

use crate::diagnostics::{Code, Diagnostic};
use crate::events::{Event, Number, StageKind};
use crate::graph::Bindings;
use crate::plan::Plan;
use crate::program::{Call, Formal, Input, Length, Loop, LoopKind, OnNan, SlotKind, Step};

use super::batch::{Batch, Feeder};
use super::executor::{Registers, execute, observe};
use super::fault::{self, Fault};
use super::host::Clock;
use super::interpreter::Runtime;
use super::key::{LoopKeys, Place};
use super::measure::Running;
use super::notices::Notices;
use super::profile::Account;
use super::stage::{Given, Prepared, bind_witnesses, check_memory, predicted};
use super::trace::{Culprit, Guard, Source, all_finite, culprit, made_by};
use super::watch;
use super::{health, host, memory, store};

/// Time between two events of progress.
const PROGRESS: Duration = Duration::from_millis(200);

/// How a loop goes on: what stays the same from step to step.
struct Course<'a> {
    looped: &'a Loop,
    /// The loop's step, then its variants.
    versions: Vec<Version<'a>>,
    keys: LoopKeys,
    steps: u64,
    epochs: u64,
    steps_per_epoch: u64,
}

/// One elaboration of a loop's body with what it is called with.
struct Version<'a> {
    call: &'a Call,
    prepared: Arc<Prepared>,
    flows: Vec<Tensor>,
}

impl Course<'_> {
    /// The step that names what the loop says.
    fn said(&self) -> &Step {
        &self.versions[0].prepared.step
    }
}

/// What has come of it so far.
struct Tally<'a> {
    begun: Instant,
    epoch_begun: Instant,
    told: Instant,
    done: u64,
    rows: u64,
    epoch_rows: u64,
    waited: Duration,
    stepping: Duration,
    /// Last values of the logs.
    last: Vec<f64>,
    /// Sums over the epoch.
    sums: Vec<f64>,
    epoch_steps: u64,
    collected: Vec<Vec<Tensor>>,
    measures: Vec<Running<'a>>,
    notices: Notices,
    accounts: BTreeMap<usize, (Arc<Plan>, Account)>,
    interrupted: bool,
}

impl<'a> Tally<'a> {
    fn new(step: &'a Step) -> Tally<'a> {
        let now = Instant::now();
        Tally {
            begun: now,
            epoch_begun: now,
            told: now,
            done: 0,
            rows: 0,
            epoch_rows: 0,
            waited: Duration::ZERO,
            stepping: Duration::ZERO,
            last: Vec::new(),
            sums: vec![0.0; step.logs.len()],
            epoch_steps: 0,
            collected: vec![Vec::new(); step.collects.len()],
            measures: step.measures.iter().map(Running::new).collect(),
            notices: Notices::default(),
            accounts: BTreeMap::new(),
            interrupted: false,
        }
    }

    fn rows_per_second(&self) -> f64 {
        self.rows as f64 / self.begun.elapsed().as_secs_f64().max(1e-9)
    }

    fn seconds_left(&self, steps: u64) -> f64 {
        let each = self.begun.elapsed().as_secs_f64() / self.done.max(1) as f64;
        each * steps.saturating_sub(self.done) as f64
    }
}

impl Runtime<'_> {
    /// Runs a loop to its end, or to an interruption. Returns whether it was interrupted.
    pub(super) fn run_loop(&mut self, looped: &Loop, place: &Place) -> Result<bool, Fault> {
        let placed = |fault| fault::placed(fault, looped.span, "in this loop");
        let keys = place.enter_loop(&looped.name);
        let calls = std::iter::once(&looped.call).chain(looped.variants.iter().map(|variant| &variant.call));
        let versions = calls.map(|call| self.version(call)).collect::<Result<Vec<_>, Fault>>()?;
        let bound = |version: &Version<'_>| {
            (version.prepared.clone(), self.loop_bindings(&version.prepared.step, &version.flows))
        };
        let fed = versions.iter().map(bound).collect();
        let sets = looped.feeds.iter().map(|feed| self.open(feed.source)).collect::<Result<_, _>>().map_err(placed)?;
        let mut feeder = Feeder::new(self.program, looped, fed, sets, keys, &self.device)?;
        let (epochs, steps) = length(&looped.length, feeder.steps_per_epoch());
        let steps_per_epoch = feeder.steps_per_epoch().unwrap_or(steps).max(1);
        let course = Course { looped, versions, keys, steps, epochs, steps_per_epoch };

        memory::reset_peak();
        let held = memory::held();
        let plan = feeder.first_plan().map_err(placed)?;
        check_memory(&plan, &looped.name, &self.program.origins, &self.device).map_err(placed)?;
        self.say_started(&course, &feeder, &plan)?;

        let mut tally = Tally::new(course.said());
        if looped.feeds.is_empty() {
            // Nothing is read, so a thread that reads ahead would only cost a hand-over a step.
            self.steps(&course, &mut |step| feeder.batch(step), &mut tally).map_err(placed)?;
        } else {
            self.steps_ahead(&course, feeder, &mut tally).map_err(placed)?;
        }
        self.finish(&course, tally, &plan, held).map_err(placed)
    }

    fn version<'c>(&mut self, call: &'c Call) -> Result<Version<'c>, Fault> {
        Ok(Version { call, prepared: self.prepared(&call.step)?, flows: self.flow_tensors(&call.flows)? })
    }

    fn loop_bindings(&self, step: &Step, flows: &[Tensor]) -> Bindings {
        let mut bindings = self.flow_bindings(step, flows);
        bind_witnesses(&mut bindings, step);
        bindings
    }

    fn say_started(&mut self, course: &Course<'_>, feeder: &Feeder<'_>, plan: &Plan) -> Result<(), Fault> {
        let looped = course.looped;
        self.say(Event::StageStarted {
            stage: looped.name.clone(),
            kind: kind(looped.kind),
            trains: looped.trains.clone(),
            records: feeder.records(),
            batch: looped.feeds.first().map(|feed| feed.batch),
            epochs: course.epochs,
            steps: course.steps,
            flops: plan.step.cost.flops + plan.loader.cost.flops,
            predicted: predicted(plan),
        })
    }

    /// Steps over batches that a thread of their own makes.
    fn steps_ahead<'s>(
        &mut self,
        course: &'s Course<'s>,
        mut feeder: Feeder<'_>,
        tally: &mut Tally<'s>,
    ) -> Result<(), Fault> {
        // Batches are handed over one by one, so at most one is made ahead of the one in use.
        let (sender, receiver) = sync_channel::<Result<Batch, Fault>>(0);
        let steps = course.steps;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for step in 0..steps {
                    let batch = feeder.batch(step);
                    let failed = batch.is_err();
                    // The receiver is gone when the loop ended early.
                    if sender.send(batch).is_err() || failed {
                        return;
                    }
                }
            });
            // Moved in, so that the receiver ends with the loop, and the sender with it.
            let receiver = receiver;
            let early = || fault::internal("the thread that makes batches ended early");
            self.steps(course, &mut |_| receiver.recv().map_err(|_| early()).flatten(), tally)
        })
    }

    /// Takes batches until there are no more, or somebody asks to stop.
    fn steps<'s>(
        &mut self,
        course: &'s Course<'s>,
        batches: &mut dyn FnMut(u64) -> Result<Batch, Fault>,
        tally: &mut Tally<'s>,
    ) -> Result<(), Fault> {
        for step in 0..course.steps {
            let asked = Instant::now();
            let batch = batches(step);
            tally.waited += asked.elapsed();
            let batch = batch?;
            let begun = Instant::now();
            self.step(course, &batch, step, tally)?;
            tally.stepping += begun.elapsed();
            self.tell(course, step, batch.rows as u64, tally)?;
            if self.interrupt.wanted() {
                tally.interrupted = true;
                break;
            }
        }
        Ok(())
    }

    /// One step: nothing is committed unless all that is checked is finite.
    fn step<'s>(
        &mut self,
        course: &'s Course<'s>,
        batch: &Batch,
        step: u64,
        tally: &mut Tally<'s>,
    ) -> Result<(), Fault> {
        let version = &course.versions[batch.version];
        let (looped, compiled, plan) = (course.looped, &version.prepared.step, &batch.plan);
        let clock = clock(course, step);
        let host = host::evaluate(&compiled.host, &clock, &version.flows)?;
        let given = Given {
            store: &self.store,
            slots: &version.call.slots,
            batch: &batch.inputs,
            host: &host,
            flows: &version.flows,
            step_key: course.keys.step(step),
            epoch_key: course.keys.epoch(step / course.steps_per_epoch),
            named: None,
            device: &self.device,
        };
        let mut registers = given.registers(compiled, plan, &batch.passed)?;
        let watching = self.watches(looped, step);
        if watching && step == 0 {
            let fresh = || given.registers(compiled, plan, &batch.passed).ok();
            tally.notices.silent = health::silent_loss(compiled, plan, &fresh, &self.device);
        }
        let last = ends(course, step) && looped.kind == LoopKind::Train && !compiled.answers.is_empty();
        let spreading = last && self.profile.is_none();
        if watching || spreading || self.options.check_finite {
            let spreading = spreading.then_some(compiled);
            let suspect = self.observe(plan, &mut registers, watching, spreading, tally)?;
            if let Some(at) = suspect {
                return Err(self.not_finite(course, batch, step, &given, Some(at)));
            }
        } else {
            let account = self.profile.is_some().then(|| {
                let entry = tally.accounts.entry(Arc::as_ptr(plan) as usize);
                &mut entry.or_insert_with(|| (plan.clone(), Account::default())).1
            });
            execute(&plan.step, &mut registers, &self.device, account)
                .map_err(|failed| fault::kernel(self.program, &plan.step.instructions[failed.at], &failed.error))?;
        }

        let result = |register| registers.get(register).cloned().ok_or_else(|| fault::internal("a result was lost"));
        let logs = plan.logs.iter().map(|(_, register)| result(*register)).collect::<Result<Vec<_>, _>>()?;
        let logs = logs.iter().map(store::number).collect::<Result<Vec<_>, _>>()?;
        let commits = plan.commits.iter().map(|(formal, register)| Ok((*formal, result(*register)?)));
        let commits = commits.collect::<Result<Vec<_>, Fault>>()?;
        if looped.on_nan == OnNan::Stop {
            let whole =
                |tensor: &Tensor| all_finite(tensor).map_err(|e| fault::candle("a weight could not be read", &e));
            let mut finite = logs.iter().all(|value| value.is_finite());
            for (formal, tensor) in &commits {
                let kind = compiled.formals.get(formal.0).map(|(_, kind)| *kind);
                finite = finite && (!matches!(kind, Some(SlotKind::Weight | SlotKind::Buffer)) || whole(tensor)?);
            }
            if !finite {
                return Err(self.not_finite(course, batch, step, &given, None));
            }
        }
        for (at, registers) in plan.measures.iter().enumerate() {
            let statistics = registers.iter().map(|register| result(*register)).collect::<Result<Vec<_>, _>>()?;
            tally.measures[at].add(&statistics)?;
        }
        for (at, (_, register)) in plan.collects.iter().enumerate() {
            tally.collected[at].push(result(*register)?);
        }
        if watching {
            let held = |formal: Formal| version.call.slots.get(formal.0).and_then(|slot| self.store.get(*slot));
            tally.notices.watch.commits(watch::unchanged(compiled, &commits, held)?);
        }
        tally.sums.iter_mut().zip(&logs).for_each(|(sum, value)| *sum += value);
        tally.last = logs;
        for (formal, tensor) in commits {
            match version.call.slots.get(formal.0) {
                Some(slot) => self.store.set(*slot, tensor),
                None => return Err(fault::internal("a step commits to a slot that its call does not bind")),
            }
        }
        Ok(())
    }

    /// Whether a step is one of those that are looked at. The profile's times are those of undisturbed steps.
    fn watches(&self, looped: &Loop, step: u64) -> bool {
        looped.kind == LoopKind::Train && step < watch::STEPS && self.profile.is_none()
    }

    /// Executes a step and looks at its gradients, and for what is not finite. Returns the instruction that made that.
    fn observe(
        &self,
        plan: &Plan,
        registers: &mut Registers,
        watching: bool,
        spreading: Option<&Step>,
        tally: &mut Tally<'_>,
    ) -> Result<Option<usize>, Fault> {
        let mut zero = HashSet::new();
        let mut guard = Guard::new(&plan.step);
        let mut suspect = None;
        observe(&plan.step, registers, &self.device, &mut |at, results| {
            if watching {
                watch::note_gradient(&plan.step, at, results, &mut zero);
            }
            if let Some(step) = spreading {
                health::spreads(step, &plan.step.instructions[at].name, results, &mut tally.notices.spreads);
            }
            if self.options.check_finite && suspect.is_none() && guard.objects(at, results) {
                suspect = Some(at);
            }
        })
        .map_err(|failed| fault::kernel(self.program, &plan.step.instructions[failed.at], &failed.error))?;
        if watching {
            tally.notices.watch.gradients(zero);
        }
        Ok(suspect)
    }

    /// The diagnostic for a step with a result that is not finite: the step is run again to see where that began, unless the
    /// instruction is known.
    fn not_finite(
        &self,
        course: &Course<'_>,
        batch: &Batch,
        step: u64,
        given: &Given<'_>,
        known: Option<usize>,
    ) -> Fault {
        let (compiled, plan) = (&course.versions[batch.version].prepared.step, &batch.plan);
        let logs = plan.logs.iter().map(|(_, register)| *register);
        let roots: Vec<_> = logs.chain(plan.commits.iter().map(|(_, register)| *register)).collect();
        let fresh = || given.registers(compiled, plan, &batch.passed).ok();
        let names = plan.step.inputs.iter().map(|(at, register)| {
            let value = compiled.graph.inputs[*at];
            (*register, compiled.graph.name(value).to_string())
        });
        let names = names.collect();
        let found = match known {
            Some(at) => Some(made_by(&plan.step, at, &fresh, &names, &self.device)),
            None => culprit(&plan.step, &plan.passed, &fresh, &names, &roots, &self.device),
        };
        let place = format!("in step {step} of `{}`", course.looped.name);
        let help = |range: &str| match step {
            0 => range.to_string(),
            _ => format!("lower the learning rate, or {range}"),
        };
        match found {
            Some(Culprit { node: Some((name, op)), gave, origin, operands, .. }) => {
                let called = if name == op { format!("`{op}`") } else { format!("`{op}` (`{name}`)") };
                let headline = format!("{called} gave {gave} {place}");
                let facts = if operands.is_empty() { "no operands".into() } else { operands.join("; ") };
                let diagnostic = Diagnostic::error(Code::NotFinite, headline).help(help(range_of(op)));
                fault::at_origin(diagnostic, &self.program.origins, origin, format!("gave {gave} from {facts}"))
            }
            Some(Culprit { input: Some(source), gave, .. }) => {
                let (name, origin) = source_name(compiled, plan, source);
                let headline = format!("{name} holds {gave} {place}");
                let is_schedule = matches!(source, Source::Input(at) if matches!(compiled.inputs[at], Input::Host(_)));
                let help = match is_schedule {
                    true => "make it finite at every step; the first is step 0",
                    false => "check the values that come in",
                };
                let diagnostic = Diagnostic::error(Code::NotFinite, headline).help(help);
                fault::at_origin(diagnostic, &self.program.origins, origin, format!("holds {gave}"))
            }
            _ => Box::new(
                Diagnostic::error(Code::NotFinite, format!("a result is not finite {place}")).help(help(range_of(""))),
            ),
        }
    }

    /// Counts a step and says what is worth saying.
    fn tell(&mut self, course: &Course<'_>, step: u64, rows: u64, tally: &mut Tally<'_>) -> Result<(), Fault> {
        tally.done += 1;
        tally.epoch_steps += 1;
        tally.rows += rows;
        tally.epoch_rows += rows;
        if tally.done == watch::STEPS {
            self.say_findings(course, tally)?;
        }
        let stage = &course.looped.name;
        let logs = &course.said().logs;
        let named = |values: &mut dyn Iterator<Item = f64>| -> Vec<(String, Number)> {
            logs.iter().zip(values).map(|((name, _), value)| (name.clone(), Number(value))).collect()
        };
        if !logs.is_empty() {
            let values = named(&mut tally.last.iter().copied());
            self.say(Event::Logged { stage: stage.clone(), step, values })?;
        }
        let epoch = step / course.steps_per_epoch;
        if ends(course, step) && course.looped.kind == LoopKind::Train && !course.looped.feeds.is_empty() {
            let steps = tally.epoch_steps as f64;
            let seconds = tally.epoch_begun.elapsed().as_secs_f64();
            let event = Event::EpochEnded {
                stage: stage.clone(),
                epoch,
                epochs: course.epochs,
                seconds,
                rows_per_second: tally.epoch_rows as f64 / seconds.max(1e-9),
                seconds_left: tally.seconds_left(course.steps),
                values: named(&mut tally.sums.iter().map(|sum| sum / steps)),
                spreads: tally.notices.spreads.clone(),
            };
            self.say(event)?;
            let loss = logs.iter().position(|(name, _)| name == "loss").map(|at| tally.sums[at] / steps);
            if let Some(text) = tally.notices.after_epoch(loss) {
                self.say(Event::Noticed { stage: stage.clone(), text })?;
            }
            tally.notices.spreads.clear();
            tally.epoch_begun = Instant::now();
            (tally.epoch_rows, tally.epoch_steps) = (0, 0);
            tally.sums.fill(0.0);
        } else if tally.told.elapsed() > PROGRESS {
            tally.told = Instant::now();
            self.say(Event::Progressed {
                stage: stage.clone(),
                epoch,
                epochs: course.epochs,
                step: step + 1,
                steps: course.steps,
                rows_per_second: tally.rows_per_second(),
                seconds_left: tally.seconds_left(course.steps),
                values: named(&mut tally.last.iter().copied()),
            })?;
        }
        Ok(())
    }

    /// Says what stood still in the first steps.
    fn say_findings(&mut self, course: &Course<'_>, tally: &mut Tally<'_>) -> Result<(), Fault> {
        for text in std::mem::take(&mut tally.notices.watch).findings(tally.done) {
            self.say(Event::Noticed { stage: course.looped.name.clone(), text })?;
        }
        Ok(())
    }

    /// Hands the results of a loop to the flow.
    fn finish(
        &mut self,
        course: &Course<'_>,
        mut tally: Tally<'_>,
        plan: &Plan,
        held: Option<u64>,
    ) -> Result<bool, Fault> {
        let looped = course.looped;
        let mut values = Vec::new();
        for ((name, _), value) in course.said().logs.iter().zip(&tally.last) {
            values.push((name.clone(), Number(*value)));
            for (_, flow) in looped.logged.iter().filter(|(logged, _)| logged == name) {
                let dtype = self.program.values[flow.0 as usize].ty.dtype;
                let tensor = store::scalar(*value, dtype, &self.device)?;
                self.set_value(*flow, tensor);
            }
        }
        for running in &tally.measures {
            let Some(tensor) = running.finish(self.program, &self.device)? else { continue };
            if tensor.rank() == 0 {
                values.push((running.name().to_owned(), Number(store::number(&tensor)?)));
            }
            for (_, flow) in looped.measured.iter().filter(|(measured, _)| measured == running.name()) {
                self.set_value(*flow, tensor.clone());
            }
        }
        for ((name, _), parts) in course.said().collects.iter().zip(&tally.collected) {
            if parts.is_empty() {
                continue;
            }
            let whole = Tensor::cat(parts, 0).map_err(|e| fault::candle("collected rows could not be joined", &e))?;
            for (_, flow) in looped.collected.iter().filter(|(collected, _)| collected == name) {
                self.set_value(*flow, whole.clone());
            }
        }
        if tally.done > 2 && tally.done < watch::STEPS {
            self.say_findings(course, &mut tally)?;
        }
        if let Some(profile) = &mut self.profile {
            // The wall time is that of all steps together; it is added once.
            let mut wall = tally.stepping;
            for (plan, account) in tally.accounts.values() {
                profile.add(&plan.step, account, std::mem::take(&mut wall));
            }
        }
        self.say(Event::StageEnded {
            stage: looped.name.clone(),
            kind: kind(looped.kind),
            steps: tally.done,
            rows: tally.rows,
            seconds: tally.begun.elapsed().as_secs_f64(),
            waited: tally.waited.as_secs_f64(),
            predicted: predicted(plan),
            measured: memory::peak().zip(held).map(|(peak, held)| peak.saturating_sub(held) + plan.held),
            values,
            interrupted: tally.interrupted,
        })?;
        Ok(tally.interrupted)
    }
}

fn kind(kind: LoopKind) -> StageKind {
    match kind {
        LoopKind::Train => StageKind::Train,
        LoopKind::Pass => StageKind::Pass,
    }
}

/// Epochs and steps of a loop. Without data, a step is an epoch.
fn length(length: &Length, steps_per_epoch: Option<u64>) -> (u64, u64) {
    match (length, steps_per_epoch) {
        (Length::Epochs(epochs), Some(each)) => (*epochs, epochs * each),
        (Length::Epochs(epochs), None) => (*epochs, *epochs),
        (Length::Steps(steps), Some(each)) => (steps.div_ceil(each.max(1)), *steps),
        (Length::Steps(steps), None) => (1, *steps),
    }
}

/// The clock that host numbers of a step are computed from.
fn clock(course: &Course<'_>, step: u64) -> Clock {
    Clock {
        step,
        epoch: step / course.steps_per_epoch,
        steps: course.steps,
        epochs: course.epochs,
        steps_per_epoch: course.steps_per_epoch,
    }
}

/// What a result that is not finite began with: an input, or what the loader made.
fn source_name(step: &Step, plan: &Plan, source: Source) -> (String, crate::graph::OriginId) {
    match source {
        Source::Input(at) => {
            // A number of the clock has its place where it is computed.
            let Input::Host(n) = step.inputs[at] else {
                let value = step.graph.inputs[at];
                return (format!("`{}`", step.graph.name(value)), step.graph.node(value.node).origin);
            };
            let graph = &step.host.graph;
            let mut node = graph.node(graph.outputs[n].node);
            while let ("cast", Some(operand)) = (node.op.name, node.operands.first()) {
                node = graph.node(operand.node);
            }
            (format!("a schedule, by `{}`,", node.op.name), node.origin)
        }
        Source::Passed(at) => {
            let register = plan.loader.outputs[at];
            let made = plan.loader.instructions.iter().rev().find(|made| made.outputs.contains(&register));
            match made {
                Some(made) => (format!("`{}`, computed by the loader,", made.name), made.origin),
                None => ("what the loader passed".into(), Default::default()),
            }
        }
    }
}

/// How to keep the operands of an op where its result is finite.
fn range_of(op: &str) -> &'static str {
    match op {
        "log" => "keep what it is taken of above 0, as `log(max(x, 1e-8))` does",
        "sqrt" | "rsqrt" => "keep what it is taken of above 0, as `sqrt(x + 1e-8)` does",
        "div" | "recip" => "keep what it is divided by away from 0, as `x / (y + 1e-8)` does",
        _ => "keep its operands in the range where it is finite",
    }
}

/// Whether a step is the last of its epoch or of its loop.
fn ends(course: &Course<'_>, step: u64) -> bool {
    (step + 1).is_multiple_of(course.steps_per_epoch) || step + 1 == course.steps
}
