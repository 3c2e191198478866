//! `minimize`: which weights, their gradients, and the optimiser's rule for each.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use indexmap::IndexMap;

use super::Elaborator;
use super::scope::{ScopeId, ScopeKind, SlotState};
use super::value::{Env, Given, Optimizer, Tensor, Value};
use crate::diagnostics::{Code, Diagnostic};
use crate::gradient::{self, Reason};
use crate::graph::{Attr, Attrs, DType, Section, Type, Value as GraphValue};
use crate::ops;
use crate::program::{ClockField, Init, SlotId, SlotKind};
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

    /// What learns: `over`, or all that the gradient reaches, minus what the same step assigns.
    fn trained_slots(
        &mut self,
        step: ScopeId,
        over: &[Selection],
        reach: &gradient::Reach,
        span: Span,
        env: &Env,
    ) -> Option<IndexMap<SlotId, GraphValue>> {
        for net in self.assigned_nets.clone() {
            let leaves = self.leaves(&net);
            self.scope(step).assigned.extend(leaves.into_values());
        }
        let assigned: HashSet<SlotId> = self.scopes[step.0].assigned.iter().copied().collect();
        if over.is_empty() {
            let current = self.scopes[step.0].current.clone();
            let reached: IndexMap<SlotId, GraphValue> = current
                .iter()
                .filter(|(slot, _)| self.slots[slot.0 as usize].kind == SlotKind::Weight && !assigned.contains(*slot))
                .filter(|(_, state)| depends(reach, state))
                .map(|(slot, state)| (*slot, state.value))
                .collect();
            if reached.is_empty() {
                self.cannot_reach(step, reach, span, None);
                return None;
            }
            return Some(reached);
        }
        let mut slots = IndexMap::new();
        for selection in over {
            let value = self.expr(&selection.value, env);
            let chosen = self.selected(&value, selection, env)?;
            self.check_not_frozen(&value, selection.value.span)?;
            let mut any = false;
            for slot in chosen {
                let state = self.scopes[step.0].current.get(&slot);
                if let Some(state) = state.filter(|state| depends(reach, state)) {
                    any = true;
                    slots.insert(slot, state.value);
                    self.scope(step).asked.insert(slot, selection.value.span);
                }
            }
            if !any {
                self.cannot_reach(step, reach, span, Some((&value, selection.value.span)));
                return None;
            }
        }
        let trained: HashSet<SlotId> = slots.keys().copied().collect();
        let teacher = slots.keys().copied().find(|slot| self.follows_one_of(step, *slot, &trained).is_some());
        if let Some(teacher) = teacher {
            self.report_teacher(step, teacher, &trained);
            return None;
        }
        Some(slots)
    }

    /// Of the weights from which the step assigns `slot`, one that is trained.
    fn follows_one_of(&self, step: ScopeId, slot: SlotId, trained: &HashSet<SlotId>) -> Option<SlotId> {
        let (_, followed) = self.scopes[step.0].follows.get(&slot)?;
        followed.iter().copied().find(|leader| trained.contains(leader))
    }

    /// A weight that the step assigns from what it trains follows that, and is not trained beside it.
    fn report_teacher(&mut self, step: ScopeId, slot: SlotId, trained: &HashSet<SlotId>) {
        let Some(leader) = self.follows_one_of(step, slot, trained) else { return };
        let Some(place) = self.scopes[step.0].asked.get(&slot).copied() else { return };
        let written = self.scopes[step.0].follows[&slot].0;
        // In the words of `over`, where the path of a weight may lie deeper.
        let named = |slot: SlotId| self.scopes[step.0].asked.get(&slot).map(|place| self.sources.text(*place));
        let (teacher, student) = (named(slot).unwrap_or_default(), named(leader).unwrap_or("what is trained"));
        self.report(
            Diagnostic::error(Code::FrozenTrained, format!("`{teacher}` would be trained, but follows `{student}`"))
                .label(place, "trained here")
                .label(written, format!("assigned from `{student}` here"))
                .help("leave it out of `over`: what a step assigns from other weights is a teacher"),
        );
    }

    /// Notes from which other weights `slot <- tensor` takes its value. A gradient does not count, so an optimiser's update of
    /// one weight follows no other.
    pub fn note_followed(&mut self, slot: SlotId, tensor: Tensor, span: Span) {
        let Some(step) = self.scope_stack.first().copied().filter(|id| self.scopes[id.0].kind == ScopeKind::Step)
        else {
            return;
        };
        if !self.module_stack.is_empty() || self.slots[slot.0 as usize].kind != SlotKind::Weight {
            return;
        }
        let Ok(value) = self.import(tensor, step) else { return };
        let held: HashMap<GraphValue, SlotId> =
            self.scopes[step.0].current.iter().map(|(slot, state)| (state.value, *slot)).collect();
        let graph = self.scopes[step.0].builder.graph();
        let (mut seen, mut stack, mut followed) = (HashSet::new(), vec![value], Vec::new());
        while let Some(value) = stack.pop() {
            match held.get(&value) {
                Some(other) if *other != slot && self.slots[other.0 as usize].kind == SlotKind::Weight => {
                    followed.push(*other);
                }
                Some(_) => {}
                None if seen.insert(value.node) && graph.node(value.node).op != &ops::structure::GRAD => {
                    stack.extend(graph.node(value.node).operands.iter().copied());
                }
                None => {}
            }
        }
        followed.sort_unstable_by_key(|slot| slot.0);
        self.scope(step).follows.insert(slot, (span, followed));
        let trained: HashSet<SlotId> = self.scopes[step.0].trained.keys().copied().collect();
        if trained.contains(&slot) {
            self.report_teacher(step, slot, &trained);
        }
    }

    fn check_not_frozen(&mut self, value: &Value, span: Span) -> Option<()> {
        let frozen = match value {
            Value::Net(net) => net.frozen,
            Value::Chain(parts) => parts.iter().any(|part| matches!(part, Value::Net(net) if net.frozen)),
            _ => false,
        };
        if frozen {
            self.fail_help(
                Code::FrozenTrained,
                span,
                "a frozen net would be trained",
                "frozen by `freeze`",
                "leave it out of `over`, or train a `copy(net)` of it",
            );
            return None;
        }
        Some(())
    }

    /// The slots of one item of `over`, after `except` and `where`.
    fn selected(&mut self, value: &Value, selection: &Selection, env: &Env) -> Option<Vec<SlotId>> {
        if value.is_error() {
            return None;
        }
        let mut leaves = self.weights_of(value);
        if leaves.is_empty() {
            self.fail_help(
                Code::NotTrainable,
                selection.value.span,
                "this has no weights to train",
                self.describe(value),
                "name a net or a weight that the step calls before this line",
            );
            return None;
        }
        if let Some(except) = &selection.except {
            let except_value = self.expr(except, env);
            let out: HashSet<SlotId> = self.leaves(&except_value).into_values().collect();
            leaves.retain(|_, slot| !out.contains(slot));
        }
        let mut chosen = Vec::new();
        for (_, slot) in leaves {
            if self.matches_filter(slot, selection.filter.as_ref(), env)? {
                chosen.push(slot);
            }
        }
        if chosen.is_empty() {
            let place = selection.filter.as_ref().or(selection.except.as_ref()).unwrap_or(&selection.value);
            self.fail(Code::EmptySelection, place.span, "this selects no weight", "matches nothing");
            return None;
        }
        Some(chosen)
    }

    /// `rank >= 2`, `path has "adapter"`: a predicate over one weight.
    fn matches_filter(&mut self, slot: SlotId, filter: Option<&Expr>, env: &Env) -> Option<bool> {
        let Some(filter) = filter else { return Some(true) };
        let weight = self.slots[slot.0 as usize].clone();
        let inner = env.child();
        inner.bind("rank", Value::Int(weight.ty.rank() as i64));
        inner.bind("path", Value::Text(weight.path.as_str().into()));
        inner.bind("name", Value::Text(weight.path.rsplit('.').next().unwrap_or_default().into()));
        let count = weight.ty.shape.iter().filter_map(crate::graph::Size::as_known).product();
        inner.bind("size", Value::Int(count));
        match self.expr(filter, &inner) {
            Value::Bool(matches) => Some(matches),
            Value::Error => None,
            other => {
                self.wrong_kind(&other, "a condition on `rank`, `path`, `name` or `size`", filter.span);
                None
            }
        }
    }

    /// The loss depends on no weight that could be trained: says why, each `stop` at its place.
    fn cannot_reach(&mut self, step: ScopeId, reach: &gradient::Reach, span: Span, over: Option<(&Value, Span)>) {
        let mut diagnostic = match over {
            Some((_, place)) => Diagnostic::error(Code::CannotReach, "the loss cannot reach what it should train")
                .label(span, "this loss")
                .label(place, "no gradient comes here"),
            None => Diagnostic::error(Code::CannotReach, "the loss reaches no weight").label(span, "this loss"),
        };
        let wanted: Option<HashSet<SlotId>> = over.map(|(value, _)| self.weights_of(value).into_values().collect());
        let mut seen = HashSet::new();
        let mut assigned = false;
        let mut flat: Option<(&str, Span)> = None;
        let mut blind = None;
        for (slot, state) in self.scopes[step.0].current.clone() {
            if wanted.as_ref().is_some_and(|wanted| !wanted.contains(&slot)) {
                continue;
            }
            assigned |= self.scopes[step.0].assigned.contains(&slot);
            for reason in reach.obstacles(self.scopes[step.0].builder.graph(), state.value) {
                match reason {
                    Reason::Stopped(origin) => {
                        if let Some(place) = self.user_place(origin)
                            && seen.insert(place)
                        {
                            diagnostic = diagnostic.label(place, "`stop` cuts the gradient here");
                        }
                    }
                    // The first one counts: what comes after it in the loss is whole too.
                    Reason::Flat(op, origin) if flat.is_none() => {
                        flat = self.user_place(origin).map(|place| (op.name, place));
                    }
                    Reason::Blind(op, why) => blind = Some((op.name, why)),
                    _ => {}
                }
            }
        }
        if let Some((op, place)) = flat.filter(|_| seen.is_empty()) {
            diagnostic = diagnostic.label(place, format!("`{op}` has no slope"));
        }
        diagnostic.help = Some(if !seen.is_empty() {
            "remove what cuts the gradient on the way to what should learn".into()
        } else if let Some((op, why)) = blind {
            format!("no gradient flows through `{op}` to where it samples: {why}")
        } else if flat.is_some() {
            "its gradient is zero everywhere: use a smooth function of the scores".into()
        } else if assigned {
            "what the step assigns by `<-` is not trained: compute the loss from what should learn".into()
        } else {
            "compute the loss from a net's output".into()
        });
        self.report(diagnostic);
    }

    /// Where an origin lies in the user's own file, or where it lies at all.
    pub fn user_place(&self, origin: crate::graph::OriginId) -> Option<Span> {
        let origin = &self.origins[origin.0 as usize];
        let own = |span: Span| !self.sources.file(span.source).is_library();
        origin
            .span
            .filter(|span| own(*span))
            .or_else(|| origin.calls.iter().rev().map(|(_, span)| *span).find(|span| own(*span)))
            .or(origin.span)
    }

    fn check_stale(
        &mut self,
        step: ScopeId,
        slots: &IndexMap<SlotId, GraphValue>,
        reach: &gradient::Reach,
        span: Span,
    ) -> bool {
        for (slot, _) in slots {
            let state = self.scopes[step.0].current[slot].clone();
            let Some(written) = state.written else { continue };
            let old = state.read.is_some_and(|read| read != state.value && reach.reached(read));
            if let Some(first) = self.scopes[step.0].trained.get(slot).copied() {
                self.report(
                    Diagnostic::error(
                        Code::TwoOptimisers,
                        format!("`{}` is trained twice in one step", self.slots[slot.0 as usize].path),
                    )
                    .label(span, "a second loss")
                    .label(first, "trained here already")
                    .help("add the losses up and minimize their sum"),
                );
                return false;
            }
            if old {
                self.report(
                    Diagnostic::error(Code::StaleLoss, "stale loss: it was computed before a weight changed")
                        .label(span, "this loss")
                        .label(written, format!("`{}` changes here", self.slots[slot.0 as usize].path))
                        .help("compute the loss after the change, or minimize before it"),
                );
                return false;
            }
        }
        true
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
            self.scope(step).builder.named(format!("d_{path}"));
            match self.apply(&ops::structure::GRADIENT, &[Tensor { value, ..grad }], attrs, span) {
                Ok(tensor) => gradients.push(tensor),
                Err(mismatch) => {
                    self.fail_mismatch(*mismatch, span, &[]);
                    return None;
                }
            }
        }
        Some(gradients)
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

/// Whether the loss depends on a weight, be it on the value that it had before this step changed it: that loss is stale, and
/// `check_stale` says so.
fn depends(reach: &gradient::Reach, state: &SlotState) -> bool {
    reach.reached(state.value) || (state.written.is_some() && state.read.is_some_and(|read| reach.reached(read)))
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
