//! Control flow between steps: branches, rounds, sweeps and the `var`s that they bind again.

use std::rc::Rc;
use std::sync::Arc;

use super::Elaborator;
use super::flow::Draft;
use super::value::{Env, Tensor, Value};
use crate::diagnostics::Code;
use crate::graph::{DType, Type};
use crate::program::FlowValue;
use crate::source::Span;
use crate::syntax::{Block, Expr, ExprKind, Name, StatementKind};

impl Elaborator<'_> {
    /// A condition or other single number of the flow, as a value between steps.
    pub(super) fn flow_scalar(&mut self, expr: &Expr, env: &Env) -> Option<FlowValue> {
        let help = "reduce it, such as `all(x)` or `mean(x)`";
        let tensor = self.one_number(expr, ["a condition", "one value is needed", help], env)?;
        Some(self.export_any(tensor))
    }

    /// As `export`, and also for constants, which have no stage of their own.
    pub fn export_any(&mut self, tensor: Tensor) -> FlowValue {
        let here = self.here();
        match self.import(tensor, here) {
            Ok(value) if self.constant_values(tensor).is_some() => {
                self.export(Tensor { scope: here, value, weak: tensor.weak })
            }
            _ => self.export(tensor),
        }
    }

    pub fn flow_if(
        &mut self,
        condition: Tensor,
        then: &Block,
        otherwise: Option<&Block>,
        span: Span,
        env: &Env,
    ) -> Value {
        let condition = self.export_any(condition);
        self.end_compute();
        self.open_flow_vars(then, env);
        if let Some(block) = otherwise {
            self.open_flow_vars(block, env);
        }
        let (then_value, then) = self.branch(then, env);
        let (else_value, otherwise) = otherwise.map_or((Value::None, Vec::new()), |block| self.branch(block, env));
        self.push_draft(Draft::If { condition, then, otherwise });
        let is_value = |value: &Value| !matches!(value, Value::None | Value::Error);
        if is_value(&then_value) && is_value(&else_value) {
            return self.fail_help(
                Code::WrongTime,
                span,
                "an `if` that the run decides chooses statements, it has no value",
                "its condition is known only once the program runs",
                "take `select(condition, a, b)`, or a `var` that both branches bind",
            );
        }
        Value::None
    }

    /// The value of a block and what it does.
    fn branch(&mut self, block: &Block, env: &Env) -> (Value, Vec<Draft>) {
        self.drafts.push(Vec::new());
        let value = self.flow_statements(&block.statements, &env.child());
        self.end_compute();
        (value, self.drafts.pop().unwrap_or_default())
    }

    pub(super) fn repeat(&mut self, count: Option<&Expr>, index: Option<&Name>, body: &Block, env: &Env) {
        let count = match count {
            None => None,
            Some(expr) => {
                let value = self.expr(expr, env);
                match self.witness_of(&value, expr.span) {
                    Some(n) => Some(n),
                    None => {
                        self.wrong_kind(&value, "a number of rounds", expr.span);
                        return;
                    }
                }
            }
        };
        self.end_compute();
        self.open_flow_vars(body, env);
        let inner = env.child();
        let index = index.map(|name| {
            let flow = self.new_flow_value(&name.text, Type::scalar(DType::I64));
            let tensor = self.flow_tensor(flow);
            inner.bind(name.text.clone(), Value::Tensor(tensor));
            flow
        });
        let (_, body) = self.branch(body, &inner);
        self.push_draft(Draft::Repeat { count, index, body });
    }

    /// `var`s that a host loop or branch binds again become places that the run writes.
    fn open_flow_vars(&mut self, block: &Block, env: &Env) {
        for name in rebound(block) {
            let Some(value) = env.get(&name.text) else { continue };
            if self.flow_var(&value).is_some() {
                continue;
            }
            let Some(tensor) = self.as_tensor(&value, name.span) else { continue };
            let start = self.export_any(tensor);
            let ty = self.flow_values[start.0 as usize].ty.clone();
            let place = self.new_flow_value(&name.text, ty);
            self.flow_vars.insert(place);
            self.end_compute();
            self.push_draft(Draft::Set { target: place, value: start });
            let tensor = self.flow_tensor(place);
            env.rebind(&name.text, &Value::Tensor(tensor));
        }
    }

    fn flow_var(&self, value: &Value) -> Option<FlowValue> {
        let Value::Tensor(tensor) = value else { return None };
        self.exports.get(&(tensor.scope, tensor.value)).copied().filter(|flow| self.flow_vars.contains(flow))
    }

    /// Binds a `var` of the flow again while the run decides how often; false if the name is an ordinary one.
    pub fn set_flow_var(&mut self, name: &str, value: &Value, span: Span, env: &Env) -> bool {
        let Some(target) = env.get(name).and_then(|have| self.flow_var(&have)) else { return false };
        let Some(tensor) = self.as_tensor(value, span) else {
            self.wrong_kind(value, "a number or a tensor", span);
            return true;
        };
        let wanted = self.flow_values[target.0 as usize].ty.clone();
        let Some(tensor) = self.cell_tensor(Value::Tensor(tensor), &wanted, span) else { return true };
        let value = self.export_any(tensor);
        self.end_compute();
        self.push_draft(Draft::Set { target, value });
        true
    }

    /// Every arm of a sweep is elaborated; the table's columns stack what the arms yield.
    pub(super) fn sweep(&mut self, name: &Name, axes: &[crate::syntax::Axis], body: &Block, env: &Env) {
        let mut arms: Vec<Vec<(Arc<str>, Value)>> = vec![Vec::new()];
        let mut shown = Vec::new();
        for axis in axes {
            let value = self.expr(&axis.value, env);
            let values = if axis.fixed { Some(vec![value]) } else { self.iterate(value, axis.value.span) };
            let Some(values) = values else { return };
            if !axis.fixed {
                shown.push((axis.name.text.clone(), values.clone()));
            }
            arms = arms
                .into_iter()
                .flat_map(|arm| {
                    let name = axis.name.text.clone();
                    values
                        .iter()
                        .map(move |value| [arm.clone(), vec![(name.clone(), value.clone())]].concat())
                        .collect::<Vec<_>>()
                })
                .collect();
        }
        let mut yields = Vec::new();
        for arm in &arms {
            let inner = env.child();
            let mut label = Vec::new();
            let mut seed = None;
            for (axis, value) in arm {
                inner.bind(axis.clone(), value.clone());
                label.push(format!("{axis}={}", self.static_text(value)));
                if &**axis == "seed" {
                    seed = value.as_number().map(|n| n as u64);
                }
            }
            self.end_compute();
            self.drafts.push(Vec::new());
            self.yielded.push(None);
            // In parentheses, which the keys of draws leave out: arms draw alike.
            self.flow_names.push(format!("{}({})", name.text, label.join(",")));
            let calls = std::mem::take(&mut self.flow_calls);
            let value = self.flow_statements(&body.statements, &inner);
            self.flow_calls = calls;
            self.flow_names.pop();
            let value = self.yielded.pop().flatten().unwrap_or(value);
            self.end_compute();
            let body = self.drafts.pop().unwrap_or_default();
            self.push_draft(Draft::Scope { name: format!("{}({})", name.text, label.join(",")), seed, body });
            yields.push(value);
        }
        let table = self.table(&shown, &yields, name.span);
        env.bind(name.text.clone(), table);
    }

    fn table(&mut self, axes: &[(Arc<str>, Vec<Value>)], yields: &[Value], span: Span) -> Value {
        let Some(Value::Record(first)) = yields.first() else { return Value::Error };
        let sizes: Vec<crate::graph::Size> = axes.iter().map(|(_, values)| (values.len() as i64).into()).collect();
        let mut columns = super::value::Record::new();
        for key in first.keys() {
            let cells: Vec<Value> = yields
                .iter()
                .map(|row| match row {
                    Value::Record(record) => record.get(key).cloned().unwrap_or(Value::Error),
                    _ => Value::Error,
                })
                .collect();
            let column = match self.stack(&cells, 0, span) {
                Value::Tensor(tensor) => {
                    let rest = self.ty(tensor).shape[1..].to_vec();
                    Value::Tensor(self.reshape_to(tensor, &[sizes.clone(), rest].concat(), span))
                }
                other => other,
            };
            columns.insert(key.clone(), column);
        }
        Value::Record(Rc::new(columns))
    }
}

/// Names that a block binds again, in itself or in blocks inside it.
fn rebound(block: &Block) -> Vec<Name> {
    let mut names = Vec::new();
    for statement in &block.statements {
        match &statement.kind {
            StatementKind::Rebind { name, .. } => names.push(name.clone()),
            StatementKind::For { body, .. } | StatementKind::Repeat { body, .. } => names.extend(rebound(body)),
            StatementKind::Expr(Expr { kind: ExprKind::If { then, otherwise, .. }, .. }) => {
                names.extend(rebound(then));
                names.extend(otherwise.iter().flat_map(|block| rebound(block)));
            }
            _ => {}
        }
    }
    names
}
