//! Statements of bodies: functions, modules, views, steps and flows share them.

use std::rc::Rc;
use std::sync::Arc;

use super::Elaborator;
use super::scope::ScopeKind;
use super::value::{Closure, Definition, Env, Template, TemplateKind, Value};
use crate::diagnostics::{Code, Diagnostic, nearest};
use crate::graph::DType;
use crate::program::{Narrow, SlotKind};
use crate::source::Span;
use crate::syntax::{
    Block, Expr, ExprKind, Function, LoopWord, Param, Pattern, SayWord, Statement, StatementKind, TypeExpr, ViewForm,
};

impl Elaborator<'_> {
    /// Runs a body; its value is that of its last expression.
    pub fn block(&mut self, block: &Block, env: &Env) -> Value {
        let mut value = Value::None;
        for statement in &block.statements {
            if self.has_yielded() || self.too_deep {
                break;
            }
            value = self.statement(statement, env);
        }
        value
    }

    pub fn statement(&mut self, statement: &Statement, env: &Env) -> Value {
        let span = statement.span;
        match &statement.kind {
            StatementKind::Expr(expr) => return self.expr(expr, env),
            StatementKind::Let { mutable: _, pattern, ty, draw, value } => {
                self.let_statement(pattern, ty.as_ref(), *draw, value, env);
            }
            StatementKind::Rebind { name, value } => {
                let value = self.named_value(&name.text, value, env);
                self.rebind(&name.text, value, name.span, env);
            }
            StatementKind::For { pattern, over, filter, body } => {
                self.for_statement(pattern, over, filter.as_ref(), body, env)
            }
            StatementKind::State(cell) if self.rule.is_some() => self.rule_state(cell, env, span),
            StatementKind::Weight(cell) if !self.module_stack.is_empty() => {
                self.module_cell(cell, SlotKind::Weight, env, span);
            }
            StatementKind::State(cell) if !self.module_stack.is_empty() => {
                self.module_cell(cell, SlotKind::Buffer, env, span);
            }
            StatementKind::Weight(cell) if self.at_flow_level() => {
                self.flow_cell(cell, SlotKind::Weight, env, span);
            }
            StatementKind::State(cell) if self.at_flow_level() => {
                self.flow_cell(cell, SlotKind::State, env, span);
            }
            StatementKind::Write { target, add, value } => self.write_statement(target, *add, value, span, env),
            StatementKind::Assert { condition, why } => self.assert_statement(condition, why.as_ref(), span, env),
            StatementKind::Yield(value) => {
                let value = self.expr(value, env);
                match self.yielded.last_mut() {
                    Some(slot) => *slot = Some(value.clone()),
                    None => {
                        self.fail(Code::NotAllowedHere, span, "`yield` stands in a flow or a sweep", "not inside one");
                    }
                }
                return value;
            }
            StatementKind::Minimize { loss, over, using } => self.minimize(loss, over, using, span, env),
            StatementKind::Say { word, name, value } => self.say(*word, name.as_ref(), value, span, env),
            StatementKind::Fn(function) => {
                let value = closure(function, env, false);
                env.bind(function.name.text.clone(), value);
            }
            StatementKind::Flow(function) => {
                let value = closure(function, env, true);
                env.bind(function.name.text.clone(), value);
            }
            StatementKind::Module { .. } | StatementKind::View(..) | StatementKind::Optimizer { .. } => {
                if let Some((name, value)) = self.declaration(statement, env) {
                    env.bind(name, value);
                }
            }
            StatementKind::Net { name, ty, value } => self.net_statement(name, ty.as_ref(), value, env),
            StatementKind::Data { name, params, value } => self.data_statement(name, params.as_deref(), value, env),
            StatementKind::Loop { .. }
            | StatementKind::Sweep { .. }
            | StatementKind::Repeat { .. }
            | StatementKind::Until(_)
            | StatementKind::Save { .. }
            | StatementKind::Load { .. }
                if self.at_flow_level() =>
            {
                return self.flow_statement(statement, env);
            }
            StatementKind::Pool { name, .. } => {
                env.bind(name.text.clone(), Value::Error);
                self.not_yet("pool", span);
            }
            StatementKind::Flywheel { name, .. } => {
                env.bind(name.text.clone(), Value::Error);
                self.not_yet("flywheel", span);
            }
            StatementKind::Choose { name, .. } => {
                env.bind(name.text.clone(), Value::Error);
                self.not_yet("choose", span);
            }
            StatementKind::Emit { .. } => self.not_yet("emit", span),
            StatementKind::Run { .. } => self.not_yet("run", span),
            StatementKind::Study { .. } if self.at_flow_level() => self.not_yet("study", span),
            StatementKind::Use { .. }
            | StatementKind::Option { .. }
            | StatementKind::Param { .. }
            | StatementKind::Type { .. }
            | StatementKind::Test { .. } => {}
            StatementKind::Error => return Value::Error,
            other => {
                let word = statement_word(other);
                self.fail_help(
                    Code::NotAllowedHere,
                    span,
                    format!("`{word}` does not stand here"),
                    "inside a body",
                    format!("move the `{word}` to the level of the file or of a flow"),
                );
            }
        }
        Value::None
    }

    pub fn at_flow_level(&self) -> bool {
        self.scope_stack.is_empty()
    }

    /// The `option`s of the entry file, which hold before its first line. One on the command line wins.
    pub fn options(&mut self, statements: &[Statement]) {
        let mut earlier: Vec<&crate::syntax::Name> = Vec::new();
        for statement in statements {
            let StatementKind::Option { name, value } = &statement.kind else { continue };
            if let Some(first) = earlier.iter().find(|first| first.text == name.text) {
                self.diagnostics.push(
                    Diagnostic::error(Code::DefinedTwice, format!("the option `{}` is given twice", name.text))
                        .label(name.span, "again here")
                        .label(first.span, "first here")
                        .help("keep one of them"),
                );
                continue;
            }
            earlier.push(name);
            match (&*name.text, &value.kind) {
                ("precision", ExprKind::Name(word)) if &**word == "f64" => self.float = DType::F64,
                ("precision", _) => self.narrow = self.precision(value),
                ("loss_scale", _) => self.loss_scale = self.scale(value),
                _ => {
                    let help = match nearest(&name.text, ["precision", "loss_scale"]) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => "there are `precision` and `loss_scale`".into(),
                    };
                    let headline = format!("there is no option `{}`", name.text);
                    self.fail_help(Code::UnknownSetting, name.span, headline, "not an option", help);
                }
            }
        }
    }

    /// `bf16` or `f16`; `f32` is none of them.
    pub fn precision(&mut self, value: &Expr) -> Option<Narrow> {
        let word = match &value.kind {
            ExprKind::Name(word) => &**word,
            _ => "",
        };
        let narrow = Narrow::from_name(word);
        if narrow.is_none() && word != "f32" {
            let headline = "a precision is `f32`, `bf16` or `f16`, and `f64` for a whole file";
            self.fail_help(Code::BadValue, value.span, headline, "not a precision", "write `precision: bf16`");
        }
        narrow
    }

    /// The factor of a loss: a power of two loses no digit.
    pub fn scale(&mut self, value: &Expr) -> Option<f64> {
        let number = match &value.kind {
            ExprKind::Int(number) => Some(*number as f64),
            ExprKind::Float(number) => Some(*number),
            _ => None,
        };
        let scale = number.filter(|scale| *scale >= 1.0 && scale.log2().fract() == 0.0);
        if scale.is_none() {
            let headline = "a loss is scaled by a power of two";
            self.fail_help(Code::BadValue, value.span, headline, "not a power of two", "write `loss_scale: 65536`");
        }
        scale
    }

    pub fn not_yet(&mut self, word: &str, span: Span) {
        self.fail_help(
            Code::NotYet,
            span,
            format!("`{word}` is read and checked, but cannot run yet"),
            "not executable yet",
            "remove it to run the rest of the file",
        );
    }

    fn let_statement(&mut self, pattern: &Pattern, ty: Option<&TypeExpr>, draw: bool, value: &Expr, env: &Env) {
        if let Pattern::Name(name) = pattern {
            let bound = if draw {
                self.in_path(name.text.to_string(), |this| this.drawn_value(ty, value, env))
            } else {
                let bound = self.named_value(&name.text, value, env);
                // A `let` is what stands there at its line: what a state or weight holds now, whatever is written later.
                let bound = match bound {
                    Value::Cell(slot) => Value::Tensor(self.read_slot(slot, value.span)),
                    other => other,
                };
                match ty {
                    Some(ty) => self.fit(ty, bound, env, &mut super::signatures::Bound::default(), value.span),
                    None => bound,
                }
            };
            self.name_value(&bound, &name.text);
            env.bind(name.text.clone(), bound);
            return;
        }
        let bound = self.expr(value, env);
        self.bind_pattern(pattern, bound, env);
    }

    fn drawn_value(&mut self, ty: Option<&TypeExpr>, value: &Expr, env: &Env) -> Value {
        let (dtype, shape) = match ty {
            Some(ty) => match self.known_sizes(ty, env) {
                Some(known) => known,
                None => return Value::Error,
            },
            None => (None, Vec::new()),
        };
        let distribution = self.expr(value, env);
        let drawn = self.draw(distribution, &shape, value.span);
        if let (Some(_), Value::Tensor(tensor)) = (ty, &drawn)
            && self.ty(*tensor).shape[..] != shape[..]
        {
            let drawn = self.ty(*tensor);
            return self.fail_help(
                Code::ShapeMismatch,
                value.span,
                format!("the draw is {drawn}, its type asks for another shape"),
                drawn.to_string(),
                "a distribution is a function of the sizes and gives a tensor of them",
            );
        }
        match (drawn, dtype) {
            (Value::Tensor(tensor), Some(dtype)) => Value::Tensor(self.cast(tensor, dtype, value.span)),
            (drawn, _) => drawn,
        }
    }

    /// The value of a statement that gives it a name: the name is part of the path of draws and weights in it.
    pub fn named_value(&mut self, name: &Arc<str>, value: &Expr, env: &Env) -> Value {
        let bound = self.in_path(name.to_string(), |this| this.expr(value, env));
        self.adopt(bound, name, value.span)
    }

    /// The graph shows a value under the name that the program gives it.
    fn name_value(&mut self, value: &Value, name: &str) {
        let Value::Tensor(tensor) = value else { return };
        let scope = &self.scopes[tensor.scope.0];
        let node = scope.builder.graph().node(tensor.value.node);
        let is_input = *node.op == crate::ops::INPUT;
        if !scope.closed && !is_input && *node.name == *node.op.name {
            self.scope(tensor.scope).builder.rename(tensor.value, name);
        }
    }

    fn rebind(&mut self, name: &Arc<str>, value: Value, span: Span, env: &Env) {
        if self.set_flow_var(name, &value, span, env) {
            return;
        }
        self.name_value(&value, name);
        if !env.rebind(name, &value) {
            self.report(
                Diagnostic::error(Code::UnknownName, format!("`{name}` is not a `var` in sight"))
                    .label(span, "not bound before")
                    .help(format!("write `let {name} = …`, or `var {name} = …` before the loop")),
            );
        }
    }

    fn for_statement(&mut self, pattern: &Pattern, over: &Expr, filter: Option<&Expr>, body: &Block, env: &Env) {
        let source = self.expr(over, env);
        let Some(values) = self.iterate(source, over.span) else { return };
        for (at, value) in values.into_iter().enumerate() {
            let inner = env.child();
            self.bind_pattern(pattern, value, &inner);
            if let Some(filter) = filter {
                match self.expr(filter, &inner) {
                    Value::Bool(true) => {}
                    Value::Bool(false) => continue,
                    Value::Error => return,
                    other => {
                        self.not_static_condition(&other, filter.span);
                        return;
                    }
                }
            }
            let errors = self.diagnostics.len();
            self.in_path(format!("[{at}]"), |this| this.block(body, &inner));
            // The same mistake in every round is one mistake.
            if self.diagnostics.len() > errors {
                return;
            }
        }
    }

    fn assert_statement(&mut self, condition: &Expr, why: Option<&Expr>, span: Span, env: &Env) {
        if self.scope_stack.is_empty() && self.calls.iter().all(|frame| self.is_flow_name(&frame.callee)) {
            return self.flow_assert(condition, why, span, env);
        }
        let value = self.expr(condition, env);
        match self.settle(value, condition.span) {
            Value::Bool(true) | Value::Error => {}
            Value::Bool(false) => {
                let why = why.map(|why| self.expr(why, env));
                let headline = match why {
                    Some(Value::Text(text)) => text.to_string(),
                    _ => format!("`{}` does not hold", self.sources.text(condition.span)),
                };
                self.fail(Code::BadValue, condition.span, headline, "required here");
            }
            Value::Tensor(_) if self.scope_stack.is_empty() => self.flow_assert(condition, why, span, env),
            other => {
                let what = self.describe(&other);
                self.fail_help(
                    Code::WrongTime,
                    condition.span,
                    "an `assert` in a step needs a condition known while compiling",
                    what,
                    "`log` or `measure` the value, and assert after the step",
                );
            }
        }
    }

    fn say(&mut self, word: SayWord, name: Option<&crate::syntax::Name>, value: &Expr, span: Span, env: &Env) {
        if word == SayWord::Report {
            return self.report_statement(name, value, env);
        }
        let step = self.scope_stack.first().copied().filter(|id| self.scopes[id.0].kind == ScopeKind::Step);
        let Some(step) = step else {
            self.fail_help(
                Code::NotAllowedHere,
                span,
                "only a `train` or `pass` logs, measures and collects",
                "outside a step",
                "use `report { name: value }` in a flow",
            );
            return;
        };
        let items: Vec<(Arc<str>, &Expr)> = match (name, &value.kind) {
            (Some(name), _) => vec![(name.text.clone(), value)],
            (None, ExprKind::Record(items)) => items.iter().filter_map(record_item).collect(),
            (None, _) => match value.own_name() {
                Some(name) => vec![(name.clone(), value)],
                None => {
                    self.fail(Code::Syntax, span, "what is logged needs a name", "write `log name = value`");
                    return;
                }
            },
        };
        for (name, expr) in items {
            self.scope(step).broken.push(name.clone());
            match word {
                SayWord::Log => self.log(step, &name, expr, env),
                SayWord::Measure => self.measure(step, &name, expr, env),
                _ => self.collect(step, &name, expr, env),
            }
        }
    }

    fn log(&mut self, step: super::scope::ScopeId, name: &Arc<str>, expr: &Expr, env: &Env) {
        let words = ["a number", "`log` takes one number", "reduce it, such as `mean(x)`"];
        let Some(tensor) = self.one_number(expr, words, env) else { return };
        let dtype = self.float;
        let tensor = self.cast(strong(tensor), dtype, expr.span);
        match self.import(tensor, step) {
            Ok(value) => {
                let tensor = super::value::Tensor { scope: step, value, weak: false };
                let logs = &mut self.scope(step).logs;
                // A `minimize` has said its loss already.
                if !logs.iter().any(|(have, logged)| **have == **name && logged.value == value) {
                    logs.push((name.to_string(), tensor));
                }
            }
            Err(why) => self.report_unreachable(why, expr.span),
        }
    }

    fn collect(&mut self, step: super::scope::ScopeId, name: &Arc<str>, expr: &Expr, env: &Env) {
        let value = self.expr(expr, env);
        if value.is_error() {
            return;
        }
        let Some(tensor) = self.as_tensor(&value, expr.span) else {
            self.wrong_kind(&value, "a tensor", expr.span);
            return;
        };
        let ty = self.ty(tensor);
        let symbol = self.scopes[step.0].feeds.first().map(|feed| crate::graph::Size::symbol(feed.symbol.clone()));
        if ty.rank() == 0 || symbol.is_none() || symbol != ty.shape.first().cloned() {
            self.fail_help(
                Code::ShapeMismatch,
                expr.span,
                format!("`collect` gathers rows, this is {ty}"),
                ty.to_string(),
                "its first size must be the batch's",
            );
            return;
        }
        self.scope(step).collects.push((name.to_string(), tensor));
    }

    /// A named declaration whose order does not matter.
    pub fn declaration(&mut self, statement: &Statement, env: &Env) -> Option<(Arc<str>, Value)> {
        let template = |kind,
                        name: &crate::syntax::Name,
                        params: &[Param],
                        inputs: &[Param],
                        result: &Option<TypeExpr>,
                        body: Arc<Block>| {
            Rc::new(Template {
                kind,
                name: name.text.clone(),
                params: params.to_vec(),
                inputs: inputs.to_vec(),
                result: result.clone(),
                body,
                env: env.clone(),
            })
        };
        Some(match &statement.kind {
            StatementKind::Fn(function) => (function.name.text.clone(), closure(function, env, false)),
            StatementKind::Flow(function) => (function.name.text.clone(), closure(function, env, true)),
            StatementKind::Module { name, params, inputs, result, body } => {
                let body = Arc::new(body.clone());
                (name.text.clone(), Value::Template(template(TemplateKind::Module, name, params, inputs, result, body)))
            }
            StatementKind::Optimizer { name, params, inputs, clock, body } => {
                let clock =
                    clock.clone().map(|name| Param { span: name.span, name, pattern: None, ty: None, default: None });
                let inputs: Vec<Param> = inputs.iter().cloned().chain(clock).collect();
                let body = Arc::new(body.clone());
                (
                    name.text.clone(),
                    Value::Template(template(TemplateKind::Optimizer, name, params, &inputs, &None, body)),
                )
            }
            StatementKind::View(function, ViewForm::Body) => {
                let (name, body) = (&function.name, function.body.clone());
                let value = if function.inputs.is_empty() {
                    let template = template(TemplateKind::View, name, &[], &function.params, &function.result, body);
                    Value::Definition(Rc::new(Definition { template, env: env.child(), frozen: false }))
                } else {
                    Value::Template(template(
                        TemplateKind::View,
                        name,
                        &function.params,
                        &function.inputs,
                        &function.result,
                        body,
                    ))
                };
                (name.text.clone(), value)
            }
            StatementKind::View(function, ViewForm::Value) => {
                let segment = function.name.text.to_string();
                let value = self.in_path(segment, |this| this.block(&function.body, &env.child()));
                (function.name.text.clone(), self.named_view(value, &function.name))
            }
            _ => return None,
        })
    }
}

fn strong(tensor: super::value::Tensor) -> super::value::Tensor {
    super::value::Tensor { weak: false, ..tensor }
}

fn record_item(item: &crate::syntax::RecordItem) -> Option<(Arc<str>, &Expr)> {
    match item {
        crate::syntax::RecordItem::Field { name, value } => Some((name.text.clone(), value)),
        crate::syntax::RecordItem::Pun(expr) => Some((expr.own_name()?.clone(), expr)),
        crate::syntax::RecordItem::Spread(_) => None,
    }
}

fn closure(function: &Function, env: &Env, is_flow: bool) -> Value {
    Value::Function(Rc::new(Closure {
        name: function.name.text.clone(),
        params: function.params.clone(),
        result: function.result.clone(),
        body: function.body.clone(),
        env: env.clone(),
        is_flow,
    }))
}

fn statement_word(kind: &StatementKind) -> &'static str {
    match kind {
        StatementKind::Weight(_) => "weight",
        StatementKind::State(_) => "state",
        StatementKind::Loop { word: LoopWord::Train, .. } => "train",
        StatementKind::Loop { word: LoopWord::Pass, .. } => "pass",
        StatementKind::Loop { word: LoopWord::Step, .. } => "step",
        StatementKind::Sweep { .. } => "sweep",
        StatementKind::Study { .. } => "study",
        StatementKind::Repeat { .. } => "repeat",
        StatementKind::Until(_) => "until",
        StatementKind::Save { .. } => "save",
        StatementKind::Load { .. } => "load",
        _ => "this statement",
    }
}
