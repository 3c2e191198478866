//! `train` and `pass`: one step over batches, and the loop around it.

use std::sync::Arc;

use super::Elaborator;
use super::flow::Draft;
use super::minimize::assigned_targets;
use super::scope::{FeedScope, ScopeId, ScopeKind};
use super::value::{Batches, Env, Record, Tensor, Value};
use crate::diagnostics::{Code, Diagnostic};
use crate::graph::hash::hash_graph;
use crate::graph::{DType, Size, Type};
use crate::program::{Feed, FlowValue, Guard, Input, Length, LoopKind, Measure, OnNan, SlotKind, SourceRef};
use crate::source::Span;
use crate::syntax::{Argument, Block, LoopSource, LoopWord, Name, Unit};

/// A loop whose step is elaborated.
pub struct LoopDraft {
    pub name: String,
    pub kind: LoopKind,
    pub scope: ScopeId,
    /// The body for other sizes of batches: rows of each feed, and the step.
    pub variants: Vec<(Vec<usize>, ScopeId)>,
    pub feeds: Vec<Feed>,
    pub length: Length,
    pub on_nan: OnNan,
    pub logged: Vec<(String, FlowValue)>,
    pub measured: Vec<(String, FlowValue)>,
    pub collected: Vec<(String, FlowValue)>,
    pub span: Span,
}

/// Options of a loop as written.
struct Options {
    length: Option<Length>,
    clip: Option<f64>,
    on_nan: OnNan,
}

/// What a loop runs: its header and its body.
struct LoopBody<'a> {
    name: &'a Name,
    kind: LoopKind,
    clock: Option<&'a Name>,
    sources: &'a [LoopSource],
    batches: &'a [std::rc::Rc<Batches>],
    body: &'a Block,
    clip: Option<f64>,
}

/// The rows that the feeds of a loop have together, the most frequent first. A `train` leaves a short last batch out; in a
/// `pass` each feed has one.
fn batch_shapes(kind: LoopKind, batches: &[std::rc::Rc<Batches>]) -> Vec<Vec<usize>> {
    let whole: Vec<usize> = batches.iter().map(|batch| batch.batch).collect();
    let counts: Option<Vec<usize>> = batches.iter().map(|batch| batch.split.count()).collect();
    let (LoopKind::Pass, Some(counts)) = (kind, counts.filter(|counts| counts.iter().all(|count| *count > 0))) else {
        return vec![whole];
    };
    let first = batches.first().map_or(0, |batch| counts[0].div_ceil(batch.batch));
    let rows = |step: usize| -> Vec<usize> {
        let feeds = whole.iter().zip(&counts);
        feeds.map(|(batch, count)| (count - step % count.div_ceil(*batch) * batch).min(*batch)).collect()
    };
    let mut shapes: indexmap::IndexMap<Vec<usize>, usize> = indexmap::IndexMap::new();
    (0..first).for_each(|step| *shapes.entry(rows(step)).or_insert(0) += 1);
    shapes.sort_by(|_, a, _, b| b.cmp(a));
    if shapes.is_empty() { vec![whole] } else { shapes.into_keys().collect() }
}

const OPTIONS: [&str; 6] = ["epochs", "steps", "clip", "on_nan", "precision", "loss_scale"];

impl Elaborator<'_> {
    #[allow(clippy::too_many_arguments)]
    pub fn loop_statement(
        &mut self,
        word: LoopWord,
        name: &Name,
        options: &[Argument],
        clock: Option<&Name>,
        sources: &[LoopSource],
        body: &Block,
        span: Span,
        env: &Env,
    ) {
        env.bind(name.text.clone(), Value::Error);
        if word == LoopWord::Step {
            self.fail_help(
                Code::NotYet,
                span,
                "a named `step` is read and checked, but cannot run yet",
                "not executable yet",
                "write a `train` with its own loop",
            );
            return;
        }
        let kind = if word == LoopWord::Train { LoopKind::Train } else { LoopKind::Pass };
        let options = self.loop_options(options, env);
        self.training_loop = kind == LoopKind::Train;
        let batches: Vec<Option<std::rc::Rc<Batches>>> = sources
            .iter()
            .map(|source| {
                let value = self.expr(&source.source, env);
                self.as_batches(value, source.source.span)
            })
            .collect();
        if batches.iter().any(Option::is_none) {
            return;
        }
        let batches: Vec<_> = batches.into_iter().flatten().collect();
        self.end_compute();
        let body = LoopBody { name, kind, clock, sources, batches: &batches, body, clip: options.clip };
        let shapes = batch_shapes(kind, &batches);
        let errors = self.diagnostics.len();
        let scope = self.loop_body(&body, &shapes[0], env);
        if self.diagnostics.len() == errors {
            let variants = self.variants(&body, scope, &shapes, span, env);
            if self.diagnostics.len() == errors {
                self.end_loop(name, kind, scope, variants, &batches, options, span, env);
            }
        }
    }

    /// Runs the body once, for batches of so many rows.
    fn loop_body(&mut self, looped: &LoopBody<'_>, rows: &[usize], env: &Env) -> ScopeId {
        let scope = self.open_scope(ScopeKind::Step, None, looped.name.text.to_string());
        let host = self.open_scope(ScopeKind::Host, Some(scope), "clock");
        self.scope(scope).host = Some(host);
        let inner = env.child();
        for ((source, batch), rows) in looped.sources.iter().zip(looped.batches).zip(rows) {
            let record = self.feed(scope, batch, *rows);
            self.bind_pattern(&source.pattern, record, &inner);
        }
        if let Some(clock) = looped.clock {
            inner.bind(clock.text.clone(), Value::Clock);
        }
        let assigned = assigned_targets(looped.body);
        self.find_assigned(&assigned, &inner);
        self.clip = looped.clip;
        self.scope_stack.push(scope);
        let outer = std::mem::replace(&mut self.training, looped.kind == LoopKind::Train);
        self.in_path(looped.name.text.to_string(), |this| this.block(looped.body, &inner));
        self.training = outer;
        self.scope_stack.pop();
        scope
    }

    /// The body once more for each size of batch that comes and that the first run shut out by what it asked.
    fn variants(
        &mut self,
        looped: &LoopBody<'_>,
        scope: ScopeId,
        shapes: &[Vec<usize>],
        span: Span,
        env: &Env,
    ) -> Vec<(Vec<usize>, ScopeId)> {
        let mut variants = Vec::new();
        for rows in &shapes[1..] {
            let fits = |guard: &Guard| {
                let mut feeds = self.scopes[scope.0].feeds.iter().zip(rows);
                feeds.all(|(feed, rows)| feed.symbol != *guard.symbol() || guard.holds(*rows as i64))
            };
            if self.scopes[scope.0].guards.iter().all(fits) {
                continue;
            }
            let told: Vec<String> = rows.iter().map(usize::to_string).collect();
            let callee = format!("{} with a last batch of {} rows", looped.name.text, told.join(" and "));
            let errors = self.diagnostics.len();
            let other = self.in_call(&callee, looped.name.span, |this| this.loop_body(looped, rows, env));
            if self.diagnostics.len() > errors {
                break;
            }
            if !self.says_the_same(scope, other) {
                self.fail_help(
                    Code::ShapeMismatch,
                    span,
                    format!("what `{}` says depends on the rows of a batch", looped.name.text),
                    format!("the last batch has {} rows", told.join(" and ")),
                    "choose a batch that divides the data, or say the same for every batch",
                );
                break;
            }
            self.scope(other).name = format!("{}_{}", looped.name.text, told.join("_"));
            self.scope(other).closed = true;
            variants.push((rows.clone(), other));
        }
        variants
    }

    /// Whether two elaborations of a body log, measure and collect the same things.
    fn says_the_same(&self, one: ScopeId, other: ScopeId) -> bool {
        let logs = |id: ScopeId| self.scopes[id.0].logs.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        let collects = |id: ScopeId| {
            let rows = |tensor: &Tensor| (self.ty(*tensor).dtype, self.ty(*tensor).shape[1..].to_vec());
            let all = self.scopes[id.0].collects.iter().map(|(name, tensor)| (name.clone(), rows(tensor)));
            all.collect::<Vec<_>>()
        };
        let measures = |id: ScopeId| {
            let kinds = |measure: &Measure| measure.statistics.iter().map(|(kind, _)| *kind).collect::<Vec<_>>();
            let all = self.scopes[id.0].measures.iter();
            all.map(|measure| (measure.name.clone(), kinds(measure), hash_graph(&measure.rest))).collect::<Vec<_>>()
        };
        logs(one) == logs(other) && collects(one) == collects(other) && measures(one) == measures(other)
    }

    #[allow(clippy::too_many_arguments)]
    fn end_loop(
        &mut self,
        name: &Name,
        kind: LoopKind,
        scope: ScopeId,
        variants: Vec<(Vec<usize>, ScopeId)>,
        batches: &[std::rc::Rc<Batches>],
        options: Options,
        span: Span,
        env: &Env,
    ) {
        if kind == LoopKind::Train && self.scopes[scope.0].trained.is_empty() && !self.writes_state(scope) {
            if self.has_errors() {
                return;
            }
            self.report(
                Diagnostic::error(Code::CannotReach, format!("`train {}` trains nothing", name.text))
                    .label(name.span, "no `minimize` and no `<-` in its body")
                    .help("add `minimize loss using adam(1e-3)`, or make it a `pass`"),
            );
            return;
        }
        self.note_reads(kind, batches);
        let length = match (kind, options.length) {
            (_, Some(length)) => length,
            (LoopKind::Pass, None) => Length::Epochs(1),
            (LoopKind::Train, None) if batches.is_empty() => Length::Steps(1),
            (LoopKind::Train, None) => Length::Epochs(1),
        };
        let feeds = batches
            .iter()
            .enumerate()
            .map(|(at, batch)| Feed {
                source: self.source_of(batch),
                split: batch.split.split.clone(),
                batch: batch.batch,
                symbol: self.scopes[scope.0].feeds[at].symbol.clone(),
                shuffle: kind == LoopKind::Train,
            })
            .collect();
        let scalar = Type::scalar(self.float);
        let mut record = Record::new();
        for name in std::mem::take(&mut self.scope(scope).broken) {
            record.insert(name, Value::Error);
        }
        let mut logged = Vec::new();
        for (log, _) in self.scopes[scope.0].logs.clone() {
            let flow = self.new_flow_value(&format!("{}.{log}", name.text), scalar.clone());
            record.insert(log.as_str().into(), self.host_number(flow));
            logged.push((log, flow));
        }
        let mut measured = Vec::new();
        for measure in self.scopes[scope.0].measures.clone() {
            let ty = measure.rest.ty(measure.rest.outputs[0]).clone();
            let flow = self.new_flow_value(&format!("{}.{}", name.text, measure.name), ty);
            record.insert(measure.name.as_str().into(), self.host_number(flow));
            measured.push((measure.name, flow));
        }
        let mut collected = Vec::new();
        for (collect, tensor) in self.scopes[scope.0].collects.clone() {
            let rows = batches.first().and_then(|batch| batch.split.count()).unwrap_or(0);
            let ty = self.ty(tensor);
            let shape = std::iter::once(Size::known(rows as i64)).chain(ty.shape[1..].iter().cloned());
            let flow = self.new_flow_value(&format!("{}.{collect}", name.text), Type::new(ty.dtype, shape));
            let tensor = self.flow_tensor(flow);
            record.insert(collect.as_str().into(), Value::Tensor(Tensor { weak: false, ..tensor }));
            collected.push((collect, flow));
        }
        env.bind(name.text.clone(), Value::Record(std::rc::Rc::new(record)));
        let optimiser = self.optimiser_slots(scope);
        if !optimiser.is_empty() {
            self.push_draft(Draft::DeclareSlots(optimiser));
        }
        let path = self.own_path(&name.text);
        let draft = LoopDraft {
            name: path,
            kind,
            scope,
            variants,
            feeds,
            length,
            on_nan: options.on_nan,
            logged,
            measured,
            collected,
            span,
        };
        self.push_draft(Draft::Loop(Box::new(draft)));
        self.scope(scope).closed = true;
    }

    /// A split other than the training one that is both trained on and passed over is reported.
    fn note_reads(&mut self, kind: LoopKind, batches: &[std::rc::Rc<Batches>]) {
        for batch in batches {
            let read = (batch.split.data.spec.clone(), batch.split.split.clone(), batch.whole);
            if read.1 == "train" {
                continue;
            }
            let (own, other) = match kind {
                LoopKind::Train => (&mut self.train_reads, &self.pass_reads),
                LoopKind::Pass => (&mut self.pass_reads, &self.train_reads),
            };
            let clash = other.iter().find(|have| have.0 == read.0 && have.1 == read.1).map(|have| have.2);
            own.push(read.clone());
            if let Some(place) = clash {
                let (trained, tested) = if kind == LoopKind::Train { (read.2, place) } else { (place, read.2) };
                let name = format!("{}.{}", batch.split.data.name, read.1);
                self.report(
                    Diagnostic::error(Code::SplitReused, format!("`{name}` is used to train and to test"))
                        .label(trained, "trained on")
                        .label(tested, "tested on")
                        .help(format!("train on `{}.train`", batch.split.data.name)),
                );
            }
        }
    }

    fn host_number(&mut self, flow: FlowValue) -> Value {
        Value::Tensor(self.flow_tensor(flow))
    }

    fn optimiser_slots(&self, scope: ScopeId) -> Vec<crate::program::SlotId> {
        let formals = self.scopes[scope.0].formals.iter();
        formals.filter(|(_, kind)| *kind == SlotKind::Optimiser).map(|(slot, _)| *slot).collect()
    }

    fn writes_state(&self, scope: ScopeId) -> bool {
        self.scopes[scope.0].current.iter().any(|(_, state)| state.written.is_some())
    }

    fn loop_options(&mut self, options: &[Argument], env: &Env) -> Options {
        let mut read = Options { length: None, clip: None, on_nan: OnNan::Stop };
        for option in options {
            if self.option_of_later(option) || self.rounding_option(option) {
                continue;
            }
            let value = self.expr(&option.value, env);
            let name = option.name.as_ref().map(|name| name.text.to_string());
            let span = option.value.span;
            match (name.as_deref(), &value) {
                (_, Value::Error) => {}
                (Some("epochs"), Value::Int(n)) if *n > 0 => read.length = Some(Length::Epochs(*n as u64)),
                (Some("steps"), Value::Int(n)) if *n >= 0 => read.length = Some(Length::Steps(*n as u64)),
                (Some("epochs"), Value::Quantity(n, Unit::Epochs)) | (None, Value::Quantity(n, Unit::Epochs))
                    if *n >= 1.0 =>
                {
                    read.length = Some(Length::Epochs(*n as u64));
                }
                (Some("steps"), Value::Quantity(n, Unit::Steps)) | (None, Value::Quantity(n, Unit::Steps))
                    if *n >= 1.0 =>
                {
                    read.length = Some(Length::Steps(*n as u64));
                }
                (Some("epochs" | "steps"), other) => {
                    let what = self.describe(other);
                    let help = "write a number above 0, such as 10";
                    self.fail_help(Code::BadValue, span, "a positive whole number is needed", what, help);
                }
                (Some("clip"), value) if value.as_number().is_some_and(|x| x > 0.0) => read.clip = value.as_number(),
                (Some("on_nan"), Value::Text(text)) if &**text == "stop" => read.on_nan = OnNan::Stop,
                (Some("on_nan"), Value::Text(text)) if &**text == "allow" => read.on_nan = OnNan::Allow,
                (Some("clip"), other) => {
                    let what = self.describe(other);
                    self.fail(Code::BadValue, span, "`clip` takes a positive number", what);
                }
                (Some("on_nan"), other) => {
                    let what = self.describe(other);
                    self.fail_help(
                        Code::BadValue,
                        span,
                        "`on_nan` is \"stop\" or \"allow\"",
                        what,
                        "write `on_nan: \"stop\"`",
                    );
                }
                (Some(other), _) => {
                    let at = option.name.as_ref().map_or(span, |name| name.span);
                    self.unknown_argument("train", other, at, OPTIONS);
                }
                (None, other) => {
                    let what = self.describe(other);
                    self.fail_help(
                        Code::ArgumentCount,
                        span,
                        "an option of a loop is named",
                        what,
                        "write `epochs: 10` or `steps: 500`",
                    );
                }
            }
        }
        read
    }

    /// `precision: bf16` and `loss_scale: 1024`, which hold in this loop.
    fn rounding_option(&mut self, option: &Argument) -> bool {
        match option.name.as_ref().map_or("", |name| &*name.text) {
            "precision" => self.narrow = self.precision(&option.value),
            "loss_scale" => self.loss_scale = self.scale(&option.value),
            _ => return false,
        }
        true
    }

    /// Options whose values, such as `every 5 epochs`, mean nothing yet.
    fn option_of_later(&mut self, option: &Argument) -> bool {
        let known = option.name.as_ref().map_or("", |name| &*name.text);
        let later = matches!(known, "accumulate" | "checkpoint" | "keep");
        if later {
            self.fail_help(
                Code::NotYet,
                option.value.span,
                format!("the option `{known}` cannot run yet"),
                "not executable yet",
                format!("remove `{known}`"),
            );
        }
        later
    }

    /// The fields of a batch as inputs of the step.
    fn feed(&mut self, scope: ScopeId, batches: &Batches, rows: usize) -> Value {
        let number = self.scopes[scope.0].feeds.len();
        let symbol: Arc<str> = if number == 0 { "B".into() } else { format!("B{}", number + 1).into() };
        let schema = batches.split.data.schema.clone();
        let mut record = Record::new();
        for field in &schema.fields {
            let mut shape = vec![Size::symbol(symbol.clone())];
            let mut known = true;
            for size in &field.shape {
                match size {
                    Some(size) => shape.push(Size::known(*size as i64)),
                    None => known = false,
                }
            }
            if !known {
                continue;
            }
            let ty = Type::new(if field.dtype == DType::F32 { self.float } else { field.dtype }, shape);
            let input = Input::Field { feed: number, field: field.name.clone() };
            let value = self.add_input(scope, &field.name, ty, input);
            record.insert(field.name.as_str().into(), Value::Tensor(Tensor { scope, value, weak: false }));
        }
        let batch = Some(rows as i64);
        self.scope(scope).feeds.push(FeedScope { symbol, batch, ids: None, index: None });
        Value::Record(std::rc::Rc::new(record))
    }

    pub fn feed_ids(&mut self, scope: ScopeId, feed: usize) -> crate::graph::Value {
        if let Some(ids) = self.scopes[scope.0].feeds[feed].ids {
            return ids;
        }
        let rows = Size::symbol(self.scopes[scope.0].feeds[feed].symbol.clone());
        let ids = self.add_input(scope, "id", Type::new(DType::I64, [rows]), Input::Ids { feed });
        self.scope(scope).feeds[feed].ids = Some(ids);
        ids
    }

    pub fn feed_index(&mut self, scope: ScopeId, feed: usize) -> Tensor {
        let value = match self.scopes[scope.0].feeds[feed].index {
            Some(index) => index,
            None => {
                let rows = Size::symbol(self.scopes[scope.0].feeds[feed].symbol.clone());
                let index = self.add_input(scope, "index", Type::new(DType::I64, [rows]), Input::Index { feed });
                self.scope(scope).feeds[feed].index = Some(index);
                index
            }
        };
        Tensor { scope, value, weak: false }
    }

    fn source_of(&mut self, batches: &Batches) -> SourceRef {
        self.source_ref(&batches.split.data)
    }
}
