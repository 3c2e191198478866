//! `minimize`: which weights, their gradients, and the optimiser's rule for each.

use std::rc::Rc;

use indexmap::IndexMap;

use super::Elaborator;
use super::scope::{ScopeId, ScopeKind};
use super::value::{Env, Given, Optimizer, Tensor, Value};
use crate::diagnostics::{Code, Diagnostic};
use crate::gradient::{self};
use crate::graph::{Attr, Attrs, DType, Section, Type, Value as GraphValue};
use crate::ops;
use crate::program::{ClockField, Init, Narrow, SlotId, SlotKind};

/// As PyTorch's `GradScaler` begins.
const USUAL_SCALE: f64 = 65536.0;
use crate::source::Span;
use crate::syntax::{Block, Expr, ExprKind, Selection, Statement, StatementKind};

impl Elaborator<'_> {
    pub fn minimize(&mut self, loss: &Expr, over: &[Selection], using: &[Selection], span: Span, env: &Env) {
        let Some(step) = self.scope_stack.first().copied().filter(|id| self.scopes[id.0].kind == ScopeKind::Step)
        else {
            self.fail_help(
                Code::NotAllowedHere,
                span,
                "`minimize` stands in a `train`",
                "outside a step",
                "write `train fit(epochs: 10) for { image } in data.train.batches(256) { … }` around it",
            );
            return;
        };
        if !self.training {
            self.fail_help(
                Code::NotAllowedHere,
                span,
                "a `pass` learns nothing",
                "`minimize` in a `pass`",
                "make it a `train`",
            );
            return;
        }
        let value = self.named_value(&"loss".into(), loss, env);
        let Some(tensor) = self.loss_tensor(value, loss.span, step) else { return };
        if using.is_empty() {
            self.fail_help(
                Code::ArgumentCount,
                span,
                "`minimize` needs an optimiser",
                "no `using`",
                "add `using adam(lr: 1e-3)`",
            );
            return;
        }
        let reach = gradient::reach(self.scopes[step.0].builder.graph(), tensor.value);
        let Some(slots) = self.trained_slots(step, over, &reach, loss.span, env) else { return };
        if !self.check_stale(step, &slots, &reach, loss.span) {
            return;
        }
        let Some(gradients) = self.gradients(step, tensor, &slots, span) else { return };
        let gradients = self.clipped(gradients, span);
        self.scope(step).builder.section = Section::Update;
        self.update(step, &slots, gradients, using, span, env);
        self.scope(step).builder.section = Section::Forward;
        let name = if self.scopes[step.0].logs.iter().any(|(name, _)| name == "loss") { None } else { Some("loss") };
        if let Some(name) = name {
            self.scope(step).logs.insert(0, (name.into(), tensor));
        }
    }

    fn loss_tensor(&mut self, value: Value, span: Span, step: ScopeId) -> Option<Tensor> {
        if value.is_error() {
            return None;
        }
        let Some(tensor) = self.as_tensor(&value, span) else {
            self.wrong_kind(&value, "a loss", span);
            return None;
        };
        let ty = self.ty(tensor);
        if ty.rank() != 0 {
            self.fail_help(
                Code::ShapeMismatch,
                span,
                format!("a loss is one number, this is {ty}"),
                ty.to_string(),
                "reduce it, such as `mean(x)`",
            );
            return None;
        }
        if !ty.dtype.is_float() {
            self.fail(Code::ElementType, span, format!("a loss is a float, this is {ty}"), ty.to_string());
            return None;
        }
        match self.import(tensor, step) {
            Ok(value) => Some(Tensor { scope: step, value, weak: false }),
            Err(why) => {
                self.report_unreachable(why, span);
                None
            }
        }
    }

    /// One marked gradient for each weight.
    fn gradients(
        &mut self,
        step: ScopeId,
        loss: Tensor,
        slots: &IndexMap<SlotId, GraphValue>,
        span: Span,
    ) -> Option<Vec<Tensor>> {
        self.scope(step).builder.section = Section::Backward;
        let of: Vec<Tensor> = slots.values().map(|value| Tensor { scope: step, value: *value, weak: false }).collect();
        let scale = self.scale_of_loss();
        let loss = scale.map_or(loss, |scale| self.times(loss, scale));
        let operands: Vec<Tensor> = std::iter::once(loss).chain(of).collect();
        let grad = match self.apply(&ops::structure::GRAD, &operands, Attrs::none(), span) {
            Ok(grad) => grad,
            Err(mismatch) => {
                self.fail_mismatch(*mismatch, span, &[]);
                return None;
            }
        };
        let mut gradients = Vec::new();
        for (at, slot) in slots.keys().enumerate() {
            let value = GraphValue { node: grad.value.node, out: at as u16 };
            let path = self.slot_name(*slot);
            let attrs = Attrs::none().with("slot", Attr::Text(path.clone()));
            let gradient = Tensor { value, ..grad };
            let gradient = scale.map_or(gradient, |scale| self.times(gradient, 1.0 / scale));
            self.scope(step).builder.named(format!("d_{path}"));
            match self.apply(&ops::structure::GRADIENT, &[gradient], attrs, span) {
                Ok(tensor) => gradients.push(tensor),
                Err(mismatch) => {
                    self.fail_mismatch(*mismatch, span, &[]);
                    return None;
                }
            }
        }
        Some(gradients)
    }

    /// What the loss is multiplied by before its gradient is taken: f16 holds nothing below 6e-8.
    fn scale_of_loss(&self) -> Option<f64> {
        let usual = (self.narrow == Some(Narrow::F16)).then_some(USUAL_SCALE);
        self.loss_scale.or(usual).filter(|scale| *scale != 1.0)
    }

    /// A tensor of the step at hand times a number.
    fn times(&mut self, tensor: Tensor, factor: f64) -> Tensor {
        let value = self.scope(tensor.scope).builder.scale(tensor.value, factor);
        Tensor { value, ..tensor }
    }

    /// Scales all gradients so that their common norm is at most `clip`.
    fn clipped(&mut self, gradients: Vec<Tensor>, span: Span) -> Vec<Tensor> {
        let Some(limit) = self.clip else { return gradients };
        let mut arguments = Vec::new();
        for gradient in &gradients {
            arguments.push(Value::Tensor(*gradient));
        }
        let Some(clip) = self.global(self.modules.entry, &"clip_gradients".into(), span) else { return gradients };
        let given = [Value::list(arguments), Value::Float(limit)];
        let given = given.into_iter().map(|value| Given { name: None, value, span }).collect();
        let Value::List(items) = self.call(clip, given, span, span) else { return gradients };
        let clipped: Vec<Tensor> = items
            .iter()
            .filter_map(|item| match item {
                Value::Tensor(tensor) => Some(*tensor),
                _ => None,
            })
            .collect();
        if clipped.len() == gradients.len() { clipped } else { gradients }
    }

    fn update(
        &mut self,
        step: ScopeId,
        slots: &IndexMap<SlotId, GraphValue>,
        gradients: Vec<Tensor>,
        using: &[Selection],
        span: Span,
        env: &Env,
    ) {
        let mut rules = Vec::new();
        for selection in using {
            let value = self.expr(&selection.value, env);
            match self.as_optimizer(value, selection.value.span) {
                Some(rule) => rules.push((rule, selection)),
                None => return,
            }
        }
        for ((slot, value), gradient) in slots.iter().zip(gradients) {
            let mut chosen: Vec<&(Rc<Optimizer>, &Selection)> = Vec::new();
            for rule in &rules {
                match self.matches_filter(*slot, rule.1.filter.as_ref(), env) {
                    Some(true) => chosen.push(rule),
                    Some(false) => {}
                    None => return,
                }
            }
            let path = self.slots[slot.0 as usize].path.clone();
            match chosen.as_slice() {
                [(rule, selection)] => {
                    let rule = rule.clone();
                    self.apply_rule(step, *slot, *value, gradient, &rule, selection.value.span);
                    self.scope(step).trained.insert(*slot, span);
                }
                [] => {
                    self.fail_help(
                        Code::EmptySelection,
                        span,
                        format!("no optimiser is for `{path}`"),
                        "its `where`s leave it out",
                        "the `where`s of `using` must divide the weights among them",
                    );
                    return;
                }
                [_, second, ..] => {
                    let place = second.1.value.span;
                    self.report(
                        Diagnostic::error(Code::TwoOptimisers, format!("two optimisers are for `{path}`"))
                            .label(chosen[0].1.value.span, "one")
                            .label(place, "the other")
                            .help("the `where`s of `using` must divide the weights among them"),
                    );
                    return;
                }
            }
        }
    }

    fn as_optimizer(&mut self, value: Value, span: Span) -> Option<Rc<Optimizer>> {
        match value {
            Value::Optimizer(optimizer) => Some(optimizer),
            Value::Template(template) if template.kind == super::value::TemplateKind::Optimizer => {
                let value = self.call(Value::Template(template), Vec::new(), span, span);
                self.as_optimizer(value, span)
            }
            Value::Error => None,
            other => {
                self.wrong_kind(&other, "an optimiser such as `adam(1e-3)`", span);
                None
            }
        }
    }

    /// The optimiser's body for one weight.
    fn apply_rule(
        &mut self,
        step: ScopeId,
        slot: SlotId,
        weight: GraphValue,
        gradient: Tensor,
        rule: &Optimizer,
        span: Span,
    ) {
        let template = rule.definition.template.clone();
        let env = rule.definition.env.child();
        let weight = Tensor { scope: step, value: weight, weak: false };
        let mut given = vec![Value::Tensor(weight), Value::Tensor(gradient)];
        if template.inputs.len() > 2 {
            given.push(Value::Clock);
        }
        for (param, value) in template.inputs.iter().zip(given) {
            env.bind(param.name.text.clone(), value);
        }
        if let Some(count) = self.update_count(span) {
            env.bind("t", Value::Tensor(count));
        }
        let name = template.name.to_string();
        let path = self.slots[slot.0 as usize].path.clone();
        let new = self.in_call(&name, span, |this| {
            this.in_path(path.clone(), |this| {
                let outer = this.rule.replace((rule.id, slot));
                let value = this.block(&template.body, &env);
                this.rule = outer;
                value
            })
        });
        let ty = self.slots[slot.0 as usize].ty.clone();
        if let Some(tensor) = self.cell_tensor(new, &ty, span) {
            self.write_slot(slot, tensor, span);
        }
    }

    /// What an optimiser remembers of one weight.
    pub fn rule_state(&mut self, cell: &crate::syntax::Cell, env: &Env, span: Span) {
        let Some((rule, weight)) = self.rule else { return };
        let path = format!("{}.{}", self.slots[weight.0 as usize].path, cell.name.text);
        let value = self.expr(&cell.value, env);
        let tensor = self.as_tensor(&value, cell.value.span);
        let Some((tensor, values)) = tensor.and_then(|tensor| Some((tensor, self.constant_values(tensor)?))) else {
            self.fail_help(
                Code::WrongTime,
                cell.value.span,
                "an optimiser's memory starts from a constant",
                "depends on the step",
                "start from `zeros_like(w)` and write it with `<-`",
            );
            env.bind(cell.name.text.clone(), Value::Error);
            return;
        };
        let mut ty = self.ty(tensor);
        if tensor.weak && ty.dtype != DType::Bool {
            ty = Type::new(self.float, ty.shape);
        }
        let key = (rule, weight, cell.name.text.clone());
        let slot = match self.rule_slots.get(&key) {
            Some(slot) => *slot,
            None => {
                let init: Init = self.constant_init(&values, ty.clone(), &path);
                let slot = self.new_slot(path, ty, SlotKind::Optimiser, init, span);
                self.rule_slots.insert(key, slot);
                slot
            }
        };
        env.bind(cell.name.text.clone(), Value::Cell(slot));
    }

    /// How often a weight has been updated, this time included.
    fn update_count(&mut self, span: Span) -> Option<Tensor> {
        let step = self.clock(ClockField::Step, "step")?;
        let spans = [span, span];
        match self.binary(crate::syntax::BinaryOp::Add, Value::Tensor(step), Value::Int(1), spans, span) {
            Value::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// The nets and states that a body assigns by `<-`, as far as their targets can be told before it runs.
    pub fn find_assigned(&mut self, targets: &[Expr], env: &Env) {
        self.assigned_nets.clear();
        for target in targets {
            let before = (self.diagnostics.len(), (self.reported.clone(), self.blamed.clone()));
            if root_name(target).is_some_and(|name| env.get(name).is_some()) {
                let value = self.expr(target, env);
                if matches!(value, Value::Net(_) | Value::Chain(_) | Value::List(_) | Value::Record(_) | Value::Cell(_))
                {
                    self.assigned_nets.push(value);
                }
            }
            self.diagnostics.truncate(before.0);
            (self.reported, self.blamed) = before.1;
        }
    }
}

fn root_name(expr: &Expr) -> Option<&str> {
    match &expr.kind {
        ExprKind::Name(name) => Some(name),
        ExprKind::Field { base, .. } | ExprKind::Index { base, .. } => root_name(base),
        _ => None,
    }
}

/// The targets of every `<-` in a body.
pub fn assigned_targets(body: &Block) -> Vec<Expr> {
    fn walk(statements: &[Statement], found: &mut Vec<Expr>) {
        for statement in statements {
            match &statement.kind {
                StatementKind::Write { target, .. } => found.push(target.clone()),
                StatementKind::For { body, .. } => walk(&body.statements, found),
                StatementKind::Expr(Expr { kind: ExprKind::If { then, otherwise, .. }, .. }) => {
                    walk(&then.statements, found);
                    otherwise.iter().for_each(|block| walk(&block.statements, found));
                }
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    walk(&body.statements, &mut found);
    found
}
