//! `state <- value`, `state <+ value`, `net <- net`: what a step leaves behind.

use super::Elaborator;
use super::value::{Env, Value};
use crate::diagnostics::Code;
use crate::program::SlotKind;
use crate::source::Span;
use crate::syntax::{Expr, ExprKind};

impl Elaborator<'_> {
    pub(super) fn write_statement(&mut self, target: &Expr, add: bool, value: &Expr, span: Span, env: &Env) {
        if let ExprKind::Index { base, items } = &target.kind {
            return self.write_rows(base, items, add, value, span, env);
        }
        let place = self.expr(target, env);
        let new = self.expr(value, env);
        if place.is_error() || new.is_error() {
            return;
        }
        match place {
            Value::Cell(slot) => {
                let slot_ty = self.slots[slot.0 as usize].clone();
                if slot_ty.kind == SlotKind::Buffer && !self.training {
                    return;
                }
                let new = if add {
                    self.binary(crate::syntax::BinaryOp::Add, Value::Cell(slot), new, [target.span, value.span], span)
                } else {
                    new
                };
                if let Some(tensor) = self.cell_tensor(new, &slot_ty.ty, value.span) {
                    self.note_followed(slot, tensor, span);
                    self.write_slot(slot, tensor, span);
                }
            }
            Value::Net(ref net) if net.frozen => {
                self.fail_help(
                    Code::FrozenTrained,
                    target.span,
                    "a frozen net is written",
                    "frozen",
                    "write to a `copy(net)` instead",
                );
            }
            Value::Net(_) | Value::Chain(_) | Value::List(_) | Value::Record(_) | Value::Tree(_) => {
                self.write_net(&place, new, target.span, value.span, span);
            }
            other => {
                let what = self.describe(&other);
                self.fail_help(
                    Code::NotTrainable,
                    target.span,
                    format!("`<-` writes a state, a weight or a net, this is {what}"),
                    what,
                    "a `var` is bound again with `=`",
                );
            }
        }
    }

    fn write_net(&mut self, place: &Value, new: Value, at: Span, value_span: Span, span: Span) {
        let leaves = self.leaves(place);
        let tree = match &new {
            Value::Tree(tree) => tree.as_ref().clone(),
            other => {
                let from = self.leaves(other);
                if from.is_empty() {
                    self.wrong_kind(&new, "a net or a tree of weights", value_span);
                    return;
                }
                self.tree(from, value_span)
            }
        };
        if leaves.is_empty() {
            self.fail_help(
                Code::EmptySelection,
                at,
                "the net has no weights yet",
                "its weights are known after its first call",
                "call it before this line",
            );
            return;
        }
        for (key, leaf) in &tree.leaves {
            let Some(slot) = leaves.get(key).copied() else {
                self.fail(Code::ShapeMismatch, value_span, format!("the net has no weight `{key}`"), "from here");
                return;
            };
            let ty = self.slots[slot.0 as usize].ty.clone();
            if let Some(tensor) = self.cell_tensor(Value::Tensor(leaf.value), &ty, value_span) {
                self.note_followed(slot, tensor, span);
                self.write_slot(slot, tensor, span);
            }
        }
    }
}
