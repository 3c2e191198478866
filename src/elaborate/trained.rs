//! Which weights a `minimize` trains, and what stands in the way of those that it should train.

use std::collections::{HashMap, HashSet};

use indexmap::IndexMap;

use super::Elaborator;
use super::scope::{ScopeId, ScopeKind, SlotState};
use super::value::{Env, Tensor, Value};
use crate::diagnostics::{Code, Diagnostic};
use crate::gradient::{self, Reason};
use crate::graph::Value as GraphValue;
use crate::ops;
use crate::program::{SlotId, SlotKind};
use crate::source::Span;
use crate::syntax::{Expr, Selection};

impl Elaborator<'_> {
    /// What learns: `over`, or all that the gradient reaches, minus what the same step assigns.
    pub(super) fn trained_slots(
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
    pub(super) fn follows_one_of(&self, step: ScopeId, slot: SlotId, trained: &HashSet<SlotId>) -> Option<SlotId> {
        let (_, followed) = self.scopes[step.0].follows.get(&slot)?;
        followed.iter().copied().find(|leader| trained.contains(leader))
    }

    /// A weight that the step assigns from what it trains follows that, and is not trained beside it.
    pub(super) fn report_teacher(&mut self, step: ScopeId, slot: SlotId, trained: &HashSet<SlotId>) {
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

    pub(super) fn check_not_frozen(&mut self, value: &Value, span: Span) -> Option<()> {
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
    pub(super) fn selected(&mut self, value: &Value, selection: &Selection, env: &Env) -> Option<Vec<SlotId>> {
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
    pub(super) fn matches_filter(&mut self, slot: SlotId, filter: Option<&Expr>, env: &Env) -> Option<bool> {
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
    pub(super) fn cannot_reach(
        &mut self,
        step: ScopeId,
        reach: &gradient::Reach,
        span: Span,
        over: Option<(&Value, Span)>,
    ) {
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
            format!("no gradient flows this way through `{op}`: {why}")
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

    pub(super) fn check_stale(
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
}

/// Whether the loss depends on a weight, be it on the value that it had before this step changed it: that loss is stale, and
/// `check_stale` says so.
fn depends(reach: &gradient::Reach, state: &SlotState) -> bool {
    reach.reached(state.value) || (state.written.is_some() && state.read.is_some_and(|read| reach.reached(read)))
}
