//! The flow: statements between steps, in the order in which they run.

use std::rc::Rc;
use std::sync::Arc;

use super::Elaborator;
use super::loops::LoopDraft;
use super::scope::{ScopeId, ScopeKind, SlotState};
use super::value::{Closure, Env, InstanceId, Tensor, Value};
use crate::diagnostics::{Code, Diagnostic};
use crate::graph::{DType, Type};
use crate::program::{FlowValue, ReportItem, ReportValue, SlotId};
use crate::resolve::Binding;
use crate::source::Span;
use crate::syntax::{Expr, ExprKind, Name, SayWord, Statement, StatementKind, TypeExpr};

/// A statement of the program whose graphs may still grow outputs.
pub enum Draft {
    DeclareNet(InstanceId),
    DeclareSlots(Vec<SlotId>),
    Compute(ScopeId),
    Loop(Box<LoopDraft>),
    If { condition: FlowValue, then: Vec<Draft>, otherwise: Vec<Draft> },
    Repeat { count: Option<i64>, index: Option<FlowValue>, body: Vec<Draft> },
    Until(FlowValue),
    Set { target: FlowValue, value: FlowValue },
    Scope { name: String, seed: Option<u64>, body: Vec<Draft> },
    Report(Vec<ReportItem>),
    Assert { condition: FlowValue, text: String, why: Option<String>, facts: Vec<(String, FlowValue)>, span: Span },
    Save { value: Value, path: String, span: Span },
    Load { value: Value, path: String, span: Span },
}

impl Elaborator<'_> {
    pub fn push_draft(&mut self, draft: Draft) {
        if let Some(list) = self.drafts.last_mut() {
            list.push(draft);
        }
    }

    /// Ends the graph of the flow statement at hand: what follows is another stage.
    pub fn end_compute(&mut self) {
        if let Some(scope) = self.open_compute.take() {
            self.scope(scope).closed = true;
            self.push_draft(Draft::Compute(scope));
        }
        let readers = std::mem::take(&mut self.readers);
        readers.into_iter().for_each(|draft| self.push_draft(draft));
    }

    /// What a net writes into its buffers outside of a step lasts no longer than the statement that calls it.
    fn forget_module_writes(&mut self) {
        let Some(scope) = self.open_compute else { return };
        self.scope(scope).current.retain(|_, state| match (state.by_module, state.read) {
            (true, Some(read)) => {
                *state = SlotState { read: state.read, value: read, written: None, by_module: false };
                true
            }
            (written, _) => !written,
        });
    }

    /// A statement that only reads values: it runs once the graph at hand has run, which may still grow.
    fn push_reader(&mut self, draft: Draft) {
        self.readers.push(draft);
        if self.open_compute.is_none() {
            self.end_compute();
        }
    }

    /// Statements of a file or a flow, in order; the value of the last expression.
    ///
    /// Values that follow each other are one graph, so that a gradient reaches through names; asserts and reports between
    /// them read it after it has run.
    pub fn flow_statements(&mut self, statements: &[Statement], env: &Env) -> Value {
        let mut value = Value::None;
        for statement in statements {
            if self.has_yielded() {
                break;
            }
            let grows = grows_graph(&statement.kind);
            if !grows {
                self.end_compute();
            }
            let outer = self.statement_name.replace(statement_label(statement));
            value = self.statement(statement, env);
            value = self.settle(value, statement.span);
            if !grows {
                self.end_compute();
            }
            self.forget_module_writes();
            self.statement_name = outer;
        }
        value
    }

    pub fn has_yielded(&self) -> bool {
        self.yielded.last().is_some_and(Option::is_some)
    }

    /// The body of a called flow: its nets are its own.
    pub fn flow_body(&mut self, closure: &Rc<Closure>, env: &Env, span: Span) -> Value {
        if !self.at_flow_level() {
            return self.fail_help(
                Code::NotAllowedHere,
                span,
                format!("the flow `{}` is called in a step", closure.name),
                "a flow has effects",
                "call it at the level of the file or of another flow",
            );
        }
        self.end_compute();
        let count = self.flow_calls.entry(closure.name.to_string()).or_insert(0);
        let name = if *count == 0 { closure.name.to_string() } else { format!("{}_{count}", closure.name) };
        *count += 1;
        self.flow_names.push(name);
        self.yielded.push(None);
        let value = self.flow_statements(&closure.body.statements, env);
        let value = self.yielded.pop().flatten().unwrap_or(value);
        self.flow_names.pop();
        value
    }

    pub fn is_flow_name(&self, callee: &str) -> bool {
        self.flow_names
            .iter()
            .any(|name| name == callee || name.rsplit_once('_').is_some_and(|(base, _)| base == callee))
    }

    pub fn flow_statement(&mut self, statement: &Statement, env: &Env) -> Value {
        match &statement.kind {
            StatementKind::Loop { word, name, options, clock, sources, body } => {
                // What the loop says of its precision ends with it.
                let around = (self.narrow, self.loss_scale);
                self.loop_statement(*word, name, options, clock.as_ref(), sources, body, statement.span, env);
                (self.narrow, self.loss_scale) = around;
            }
            StatementKind::Sweep { name, axes, body } => self.sweep(name, axes, body, env),
            StatementKind::Repeat { count, index, body } => self.repeat(count.as_ref(), index.as_ref(), body, env),
            StatementKind::Until(condition) => {
                if let Some(condition) = self.flow_scalar(condition, env) {
                    self.end_compute();
                    self.push_draft(Draft::Until(condition));
                }
            }
            StatementKind::Save { value, path } => self.save_or_load(value, path, statement.span, env, true),
            StatementKind::Load { target, path } => self.save_or_load(target, path, statement.span, env, false),
            _ => {}
        }
        Value::None
    }

    fn save_or_load(&mut self, value: &Expr, path: &Expr, span: Span, env: &Env, save: bool) {
        let net = self.expr(value, env);
        let file = self.expr(path, env);
        let Some(file) = self.need_static_text(&file, path.span) else { return };
        if !matches!(net, Value::Net(_) | Value::Chain(_) | Value::List(_) | Value::Record(_) | Value::Cell(_)) {
            self.wrong_kind(&net, "a net or a state", value.span);
            return;
        }
        if save && !file.ends_with(".safetensors") {
            let headline = format!("`{file}` is no .safetensors file, which is what `save` writes");
            let help = format!("write `\"{}.safetensors\"`", file.rsplit_once('.').map_or(&*file, |(stem, _)| stem));
            self.fail_help(Code::BadValue, path.span, headline, "not its ending", help);
            return;
        }
        self.end_compute();
        let path = file.to_string();
        self.push_draft(if save {
            Draft::Save { value: net, path, span }
        } else {
            Draft::Load { value: net, path, span }
        });
    }

    pub fn net_statement(&mut self, name: &Name, ty: Option<&TypeExpr>, value: &Expr, env: &Env) {
        if !self.at_flow_level() {
            self.fail_help(
                Code::NotAllowedHere,
                name.span,
                "a net is made outside steps",
                "inside a step",
                "move the `net` before the `train`",
            );
            return;
        }
        let path = self.own_path(&name.text);
        let net = self.in_path(name.text.to_string(), |this| this.expr(value, env));
        let net = self.instantiate(net, &path, value.span);
        if let Some(ty) = ty {
            self.pin_net(&net, ty, env);
        }
        env.bind(name.text.clone(), net);
    }

    /// A type written at a net is held by a call on zeros of that shape, which also gives the weights their sizes.
    fn pin_net(&mut self, net: &Value, ty: &TypeExpr, env: &Env) {
        let crate::syntax::TypeKind::Arrow(from, to) = &ty.kind else {
            self.fail(
                Code::TypeMismatch,
                ty.span,
                "the type of a net is written `[n, 3, 32, 32] -> [n, 10]`",
                "not an arrow",
            );
            return;
        };
        let inner = env.child();
        for size in leading_names(from) {
            inner.bind(size.clone(), Value::Size(crate::graph::Size::symbol(size)));
        }
        let Some((dtype, shape)) = self.known_sizes(from, &inner) else { return };
        let scope = self.open_scope(ScopeKind::Compute, None, "type");
        self.scope_stack.push(scope);
        let ty = Type::new(dtype.unwrap_or(self.float), shape);
        let input = self.add_input(scope, "x", ty, crate::program::Input::Given("x".into()));
        let given = super::value::Given {
            name: None,
            value: Value::Tensor(Tensor { scope, value: input, weak: false }),
            span: from.span,
        };
        let result = self.call(net.clone(), vec![given], from.span, from.span);
        self.fit(to, result, &inner, &mut super::signatures::Bound::default(), to.span);
        self.scope_stack.pop();
    }

    /// The value of a top-level name of a file: evaluated when first asked for, unless order matters.
    pub fn global(&mut self, module: usize, name: &Arc<str>, span: Span) -> Option<Value> {
        let key = (module, name.clone());
        if let Some(value) = self.globals.get(&key) {
            return Some(value.clone());
        }
        let modules = self.modules;
        match modules.modules[module].names.get(name) {
            Some(Binding::Imported { module, name, .. }) => self.global(*module, name, span),
            Some(Binding::Namespace { module }) => Some(Value::Namespace(*module)),
            Some(Binding::Builtin { name }) => super::builtins::find(name).map(Value::Builtin),
            Some(Binding::Nothing) => Some(Value::Error),
            Some(Binding::Declaration(at)) => {
                let statement = &modules.modules[module].file.statements[*at];
                if self.evaluating.contains(&key) {
                    let value = self.fail_help(
                        Code::RecursionLimit,
                        span,
                        format!("`{name}` is defined by itself"),
                        "asked for while it is being computed",
                        "break the cycle",
                    );
                    return Some(value);
                }
                self.evaluating.push(key.clone());
                let env = self.module_envs[module].clone();
                let value = match &statement.kind {
                    StatementKind::Param { name, ty, value } => {
                        Some(self.param(name, ty.as_ref(), value.as_ref(), &env, module))
                    }
                    // Constants of a library file; in the entry file order counts, and the line has not run yet.
                    StatementKind::Let { value, draw: false, .. } if module != modules.entry => {
                        Some(self.expr(value, &env))
                    }
                    _ => self.declaration(statement, &env).map(|(_, value)| value),
                };
                self.evaluating.pop();
                match value {
                    Some(value) => {
                        self.globals.insert(key, value.clone());
                        Some(value)
                    }
                    // Its line has not run yet, so the name still means what it means everywhere: `data digits = digits()`.
                    None => self.prelude_or_builtin(module, name, span),
                }
            }
            _ => self.prelude_or_builtin(module, name, span),
        }
    }

    /// A name of another file that only a run of that file gives a value; none where it is something else.
    pub fn not_importable(&mut self, module: usize, name: &Arc<str>, span: Span) -> Option<Value> {
        let (module, name) = match self.modules.modules[module].names.get(name)? {
            Binding::Imported { module, name, .. } => (*module, name),
            _ => (module, name),
        };
        if module == self.modules.entry {
            return None;
        }
        let declaring = &self.modules.modules[module];
        let Some(Binding::Declaration(at)) = declaring.names.get(name) else { return None };
        let word = match declaring.file.statements[*at].kind {
            StatementKind::Data { .. } => "data",
            StatementKind::Net { .. } => "net",
            StatementKind::Weight(_) => "weight",
            StatementKind::State(_) => "state",
            StatementKind::Loop { .. } => "train",
            StatementKind::Sweep { .. } => "sweep",
            _ => return None,
        };
        let from = self.sources.file(declaring.file.source).name.clone();
        let fault = Diagnostic::error(Code::NotAllowedHere, format!("`{name}` cannot be imported from `{from}`"))
            .label(span, format!("a `{word}` is made by a run of its own file"))
            .help(format!("make it in a `fn` or `flow` of `{from}`, and call that here"));
        self.report(fault);
        Some(Value::Error)
    }

    fn prelude_or_builtin(&mut self, module: usize, name: &Arc<str>, span: Span) -> Option<Value> {
        if let Some(prelude) = self.modules.prelude
            && prelude != module
            && self.modules.modules[prelude].names.contains_key(name)
        {
            return self.global(prelude, name, span);
        }
        super::builtins::find(name).map(Value::Builtin)
    }

    pub fn flow_assert(&mut self, condition: &Expr, why: Option<&Expr>, span: Span, env: &Env) {
        let facts = self.assert_facts(condition, env);
        let value = self.expr(condition, env);
        if value.is_error() {
            return;
        }
        let Some(tensor) = self.as_tensor(&value, condition.span) else {
            self.wrong_kind(&value, "a condition", condition.span);
            return;
        };
        let ty = self.ty(tensor);
        if ty.dtype != DType::Bool || ty.rank() != 0 {
            self.fail(
                Code::TypeMismatch,
                condition.span,
                format!("an `assert` needs one truth value, this is {ty}"),
                ty.to_string(),
            );
            return;
        }
        let why = why.and_then(|why| match self.expr(why, env) {
            Value::Text(text) => Some(text.to_string()),
            _ => None,
        });
        let condition_value = self.export_any(tensor);
        let text = self.sources.text(condition.span).to_string();
        self.push_reader(Draft::Assert { condition: condition_value, text, why, facts, span });
    }

    /// The two sides of the comparisons in a condition, shown when it fails.
    fn assert_facts(&mut self, condition: &Expr, env: &Env) -> Vec<(String, FlowValue)> {
        let ExprKind::Binary { left, right, .. } = &condition.kind else { return Vec::new() };
        let mut facts = Vec::new();
        for side in [left, right] {
            // Only what can be read again without running anything again.
            if !matches!(side.kind, ExprKind::Name(_) | ExprKind::Field { .. }) {
                continue;
            }
            let value = self.expr(side, env);
            if let Value::Tensor(tensor) = self.settle(value, side.span)
                && self.ty(tensor).rank() == 0
                && self.ty(tensor).dtype != DType::Bool
            {
                facts.push((self.sources.text(side.span).to_string(), self.export_any(tensor)));
            }
        }
        facts
    }

    pub fn report_statement(&mut self, name: Option<&Name>, value_expr: &Expr, env: &Env) {
        let reported = self.expr(value_expr, env);
        let reported = match (name, reported) {
            (Some(name), value) => Value::record([(name.text.clone(), value)]),
            (None, value @ Value::Record(_)) => value,
            (None, value) => {
                let name = value_expr.own_name().cloned();
                Value::record([(name.unwrap_or_else(|| "value".into()), value)])
            }
        };
        let mut rows = Vec::new();
        self.report_items("", &reported, value_expr.span, &mut rows);
        self.push_reader(Draft::Report(rows));
    }

    fn report_items(&mut self, prefix: &str, value: &Value, span: Span, rows: &mut Vec<ReportItem>) {
        let value = self.settle(value.clone(), span);
        match &value {
            Value::Error => {}
            Value::Record(record) => {
                for (key, value) in record.iter() {
                    let name = if prefix.is_empty() { key.to_string() } else { format!("{prefix}.{key}") };
                    self.report_items(&name, value, span, rows);
                }
            }
            Value::Tensor(tensor) => {
                let flow = self.export_any(*tensor);
                rows.push(ReportItem { name: prefix.into(), value: ReportValue::Flow(flow) });
            }
            other => {
                let text = self.static_text(other);
                rows.push(ReportItem { name: prefix.into(), value: ReportValue::Text(text) });
            }
        }
    }

    pub fn static_text(&self, value: &Value) -> String {
        match value {
            Value::Int(n) => n.to_string(),
            Value::Float(x) => format!("{x:?}"),
            Value::Bool(b) => b.to_string(),
            Value::Text(text) => text.to_string(),
            Value::Size(size) => size.to_string(),
            Value::None => "none".into(),
            Value::List(items) => {
                format!("[{}]", items.iter().map(|v| self.static_text(v)).collect::<Vec<_>>().join(", "))
            }
            other => other.kind().to_string(),
        }
    }

    /// Settings given on the command line that no `param` answers to.
    pub fn check_settings(&mut self) {
        let modules = self.modules;
        let entry = &modules.modules[modules.entry];
        let known: Vec<&Name> = entry
            .file
            .statements
            .iter()
            .filter_map(|statement| match &statement.kind {
                StatementKind::Param { name, .. } => Some(name),
                _ => None,
            })
            .collect();
        for (name, _) in self.settings.set.clone() {
            if known.iter().any(|have| *have.text == *name) {
                continue;
            }
            let mut diagnostic = Diagnostic::error(Code::UnknownSetting, format!("the file has no setting `{name}`"));
            let names: Vec<&str> = known.iter().map(|name| &*name.text).collect();
            let at = Span::new(entry.file.source, 0, 0);
            let place = known.iter().find(|have| crate::diagnostics::nearest(&name, [&*have.text]).is_some());
            diagnostic = match place {
                Some(have) => {
                    diagnostic.label(have.span, "a setting of this file").help(format!("did you mean `{}`?", have.text))
                }
                None if names.is_empty() => diagnostic.label(at, "this file has no `param`"),
                None => diagnostic.label(at, "this file").help(format!("it has {}", names.join(", "))),
            };
            self.report(diagnostic);
        }
    }
}

fn leading_names(ty: &TypeExpr) -> Vec<Arc<str>> {
    let crate::syntax::TypeKind::Tensor { sizes, .. } = &ty.kind else { return Vec::new() };
    sizes
        .iter()
        .filter_map(|size| match size {
            crate::syntax::SizeExpr::Size(Expr { kind: ExprKind::Name(name), .. }) => Some(name.clone()),
            _ => None,
        })
        .collect()
}

/// Whether a statement only adds values to the graph at hand, or reads some.
fn grows_graph(statement: &StatementKind) -> bool {
    matches!(
        statement,
        StatementKind::Let { .. }
            | StatementKind::Rebind { .. }
            | StatementKind::Expr(_)
            | StatementKind::Assert { .. }
            | StatementKind::Say { word: SayWord::Report, .. }
    )
}

fn statement_label(statement: &Statement) -> String {
    match &statement.kind {
        StatementKind::Let { pattern: crate::syntax::Pattern::Name(name), .. } | StatementKind::Rebind { name, .. } => {
            name.text.to_string()
        }
        StatementKind::Assert { .. } => "assert".into(),
        StatementKind::Say { .. } => "report".into(),
        _ => "value".into(),
    }
}
