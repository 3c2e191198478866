//! Drafts to a program: every graph gets its final outputs.

use std::path::PathBuf;
use std::sync::Arc;

use super::flow::Draft;
use super::loops::LoopDraft;
use super::scope::{ScopeId, ScopeKind};
use super::value::{Env, InstanceId, Value};
use super::{Elaborated, Elaborator, Outcome};
use crate::diagnostics::Diagnostic;
use crate::graph::Value as GraphValue;
use crate::program::{Call, Formal, Host, Loop, Program, SlotId, SlotKind, Statement, Step, Symbol, Variant};
use crate::syntax::{Expr, Name, StatementKind, TypeExpr};

impl Elaborator<'_> {
    pub fn finish(mut self, value: Value) -> (Elaborated, Vec<Diagnostic>) {
        let outcome = self.outcome(&value);
        self.end_compute();
        let drafts = std::mem::take(&mut self.drafts).into_iter().flatten().collect();
        let body = self.statements(drafts);
        let modules = self.modules;
        let name = &self.sources.file(modules.modules[modules.entry].file.source).name;
        let stem = std::path::Path::new(name).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let program = Program {
            name: stem.unwrap_or_else(|| "program".into()),
            slots: self.slots,
            sources: self.data_sources,
            body,
            values: self.flow_values,
            settings: self.resolved_params.into_iter().collect(),
            origins: self.origins,
        };
        let given = self.given.into_iter().map(|(name, flow, _)| (name, flow)).collect();
        (Elaborated { program, outcome, given }, self.diagnostics)
    }

    fn outcome(&mut self, value: &Value) -> Outcome {
        let span = crate::source::Span::new(crate::source::SourceId(0), 0, 0);
        match self.settle(value.clone(), span) {
            Value::Tensor(tensor) => Outcome::Tensor(self.export_any(tensor)),
            Value::Record(record) => {
                Outcome::Record(record.iter().map(|(key, value)| (key.to_string(), self.outcome(value))).collect())
            }
            Value::List(items) => {
                let is_tensor = |item: &Value| matches!(item, Value::Tensor(_) | Value::List(_) | Value::Record(_));
                if items.iter().any(is_tensor) {
                    Outcome::List(items.iter().map(|item| self.outcome(item)).collect())
                } else {
                    Outcome::Text(self.static_text(&Value::List(items)))
                }
            }
            Value::Tree(tree) => {
                let leaves = tree.leaves.iter().map(|(key, leaf)| (key.clone(), leaf.value)).collect::<Vec<_>>();
                Outcome::Record(
                    leaves.into_iter().map(|(key, tensor)| (key, Outcome::Tensor(self.export_any(tensor)))).collect(),
                )
            }
            value @ (Value::Net(_) | Value::Chain(_)) => {
                let leaves = self.leaves(&value);
                let tree = self.tree(leaves, span);
                self.outcome(&Value::Tree(std::rc::Rc::new(tree)))
            }
            Value::None | Value::Error => Outcome::Nothing,
            other => Outcome::Text(self.static_text(&other)),
        }
    }

    fn statements(&mut self, drafts: Vec<Draft>) -> Vec<Statement> {
        drafts.into_iter().filter_map(|draft| self.statement_of(draft)).collect()
    }

    fn statement_of(&mut self, draft: Draft) -> Option<Statement> {
        Some(match draft {
            Draft::DeclareNet(id) => {
                let slots = self.root_slots(id);
                if slots.is_empty() {
                    return None;
                }
                Statement::Declare(slots)
            }
            Draft::DeclareSlots(slots) => Statement::Declare(slots),
            Draft::Compute(scope) => {
                let call = self.call_of(scope, &[]);
                if call.results.is_empty() && call.step.commits.is_empty() {
                    return None;
                }
                Statement::Compute(call)
            }
            Draft::Loop(draft) => Statement::Loop(self.loop_of(*draft)),
            Draft::If { condition, then, otherwise } => {
                Statement::If { condition, then: self.statements(then), otherwise: self.statements(otherwise) }
            }
            Draft::Repeat { count, index, body } => Statement::Repeat { count, index, body: self.statements(body) },
            Draft::Until(condition) => Statement::Until(condition),
            Draft::Set { target, value } => Statement::Set { target, value },
            Draft::Scope { name, seed, body } => Statement::Scope { name, seed, body: self.statements(body) },
            Draft::Report(rows) => Statement::Report { rows },
            Draft::Assert { condition, text, why, facts, span } => {
                Statement::Assert { condition, text, why, facts, span }
            }
            Draft::Save { value, path, span } => {
                Statement::Save { slots: self.named_slots(&value), path: PathBuf::from(path), span }
            }
            Draft::Load { value, path, span } => {
                Statement::Load { slots: self.named_slots(&value), path: PathBuf::from(path), span }
            }
        })
    }

    fn named_slots(&self, value: &Value) -> Vec<(String, SlotId)> {
        self.leaves(value).into_iter().collect()
    }

    fn loop_of(&mut self, draft: LoopDraft) -> Loop {
        let trained: Vec<SlotId> = self.scopes[draft.scope.0].trained.keys().copied().collect();
        let trains = self.trained_nets(&trained);
        let call = self.call_of(draft.scope, &trained);
        let variants = draft.variants.into_iter();
        let variants = variants.map(|(rows, scope)| Variant { rows, call: self.call_of(scope, &[]) }).collect();
        Loop {
            name: draft.name,
            kind: draft.kind,
            call,
            variants,
            feeds: draft.feeds,
            length: draft.length,
            on_nan: draft.on_nan,
            logged: draft.logged,
            measured: draft.measured,
            collected: draft.collected,
            trains,
            span: draft.span,
        }
    }

    /// The first name of each trained weight's path, with the number of numbers behind it.
    fn trained_nets(&self, trained: &[SlotId]) -> Vec<(String, usize)> {
        let mut nets = indexmap::IndexMap::<String, usize>::new();
        for slot in trained {
            let root = self.root_of(*slot);
            let slot = &self.slots[slot.0 as usize];
            let count: i64 = slot.ty.shape.iter().filter_map(crate::graph::Size::as_known).product();
            let name = root.map_or(slot.path.clone(), |root| self.instance(root).path.clone());
            *nets.entry(name).or_insert(0) += count as usize;
        }
        nets.into_iter().collect()
    }

    fn call_of(&mut self, id: ScopeId, trained: &[SlotId]) -> Call {
        let commits = self.commits_of(id, trained);
        let host = self.host_of(id);
        let scope = &mut self.scopes[id.0];
        let yields: Vec<GraphValue> = scope.yields.iter().map(|(value, _)| *value).collect();
        let results = scope.yields.iter().map(|(_, flow)| *flow).collect();
        let symbols =
            scope.feeds.iter().map(|feed| Symbol { name: feed.symbol.clone(), witness: feed.batch }).collect();
        let step = Step {
            name: scope.name.clone(),
            inputs: std::mem::take(&mut scope.inputs),
            host,
            formals: Vec::new(),
            logs: std::mem::take(&mut scope.logs).into_iter().map(|(name, tensor)| (name, tensor.value)).collect(),
            measures: std::mem::take(&mut scope.measures),
            collects: std::mem::take(&mut scope.collects)
                .into_iter()
                .map(|(name, tensor)| (name, tensor.value))
                .collect(),
            yields,
            symbols,
            guards: std::mem::take(&mut scope.guards),
            narrow: scope.narrow,
            answers: std::mem::take(&mut scope.answers),
            commits,
            graph: std::mem::take(&mut scope.builder).finish(std::mem::take(&mut scope.watched)),
        };
        let formals: Vec<(SlotId, SlotKind)> = scope.formals.clone();
        let flows = scope.flows.clone();
        let formals_named =
            formals.iter().map(|(slot, kind)| (self.slots[slot.0 as usize].path.clone(), *kind)).collect();
        let step = Step { formals: formals_named, ..step };
        Call { step: Arc::new(step), slots: formals.into_iter().map(|(slot, _)| slot).collect(), flows, results }
    }

    /// What a step leaves behind: buffers only of nets that it trains.
    fn commits_of(&mut self, id: ScopeId, trained: &[SlotId]) -> Vec<(Formal, GraphValue)> {
        let written: Vec<(SlotId, GraphValue, bool)> = self.scopes[id.0]
            .current
            .iter()
            .filter(|(_, state)| state.written.is_some())
            .map(|(slot, state)| (*slot, state.value, state.by_module))
            .collect();
        let owners: Vec<InstanceId> = trained.iter().filter_map(|slot| self.root_of(*slot)).collect();
        let is_step = self.scopes[id.0].kind == ScopeKind::Step;
        let mut commits = Vec::new();
        for (slot, value, by_module) in written {
            let trained = is_step && self.root_of(slot).is_some_and(|root| owners.contains(&root));
            if !by_module || trained {
                commits.push((self.formal_of(id, slot), value));
            }
        }
        commits
    }

    fn root_of(&self, slot: SlotId) -> Option<InstanceId> {
        self.slot_roots.get(&slot).copied()
    }

    fn host_of(&mut self, id: ScopeId) -> Host {
        let Some(host) = self.scopes[id.0].host else { return Host::default() };
        let scope = &mut self.scopes[host.0];
        let outputs = std::mem::take(&mut scope.host_outputs);
        Host {
            graph: std::mem::take(&mut scope.builder).finish(outputs),
            inputs: std::mem::take(&mut scope.host_inputs),
        }
    }

    /// A setting: from the command line if given there, else its default.
    pub fn param(
        &mut self,
        name: &Name,
        ty: Option<&TypeExpr>,
        value: Option<&Expr>,
        env: &Env,
        module: usize,
    ) -> Value {
        let given = (module == self.modules.entry)
            .then(|| self.settings.set.iter().rev().find(|(have, _)| *have == *name.text).map(|(_, text)| text.clone()))
            .flatten();
        let errors = self.diagnostics.len();
        let is_given = given.is_some();
        let value = match (given, value) {
            (Some(text), _) => read_setting(&text, ty),
            (None, Some(value)) => self.expr(value, env),
            (None, None) => self.fail_help(
                crate::diagnostics::Code::UnknownSetting,
                name.span,
                format!("the setting `{}` has no value", name.text),
                "no default",
                format!("give it with `--set {}=…`", name.text),
            ),
        };
        let fitted = match ty {
            Some(ty) if !value.is_error() => {
                self.fit(ty, value, env, &mut super::signatures::Bound::default(), name.span)
            }
            _ => value,
        };
        if let (true, Value::Float(x)) = (is_given, &fitted)
            && !x.is_finite()
        {
            let headline = format!("the setting `{}` is not finite", name.text);
            self.fail(crate::diagnostics::Code::BadValue, name.span, headline, format!("is {x}"));
        }
        if is_given && let Some(fault) = self.diagnostics.get_mut(errors) {
            fault.help = Some(format!("change what `--set` or the file of settings gives `{}`", name.text));
        }
        let text = self.static_text(&fitted);
        self.resolved_params.insert(name.text.to_string(), text);
        fitted
    }

    /// Functions and modules that nobody calls are still held against their own signature.
    pub fn check_uncalled(&mut self) {
        let modules = self.modules;
        for statement in &modules.modules[modules.entry].file.statements {
            if let StatementKind::Param { name, .. } = &statement.kind {
                self.global(modules.entry, &name.text, name.span);
            }
        }
    }
}

/// The text of `--set name=text`, read as the type of the `param` asks.
fn read_setting(text: &str, ty: Option<&TypeExpr>) -> Value {
    let wants = match ty.map(|ty| &ty.kind) {
        Some(crate::syntax::TypeKind::Name(name)) => &**name,
        Some(crate::syntax::TypeKind::Words(_)) => "string",
        _ => "",
    };
    let text = text.trim();
    if text.starts_with('[')
        && let Ok(items) = serde_yaml::from_str::<Vec<serde_yaml::Value>>(text)
    {
        let texts = items.iter().map(|item| match item {
            serde_yaml::Value::String(text) => text.clone(),
            other => serde_yaml::to_string(other).unwrap_or_default(),
        });
        return Value::list(texts.map(|text| read_setting(&text, None)).collect());
    }
    match wants {
        "string" | "text" => Value::Text(text.trim_matches('"').into()),
        _ => match text {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "none" => Value::None,
            _ => match (text.replace('_', "").parse::<i64>(), text.replace('_', "").parse::<f64>()) {
                (Ok(n), _) => Value::Int(n),
                (_, Ok(x)) => Value::Float(x),
                _ => Value::Text(text.trim_matches('"').into()),
            },
        },
    }
}
