//! `measure name = expression`: exact over the whole data set.
//!
//! Reductions over rows become statistics that add up over batches; what stands around them is run once at the end.

use std::sync::Arc;

use super::Elaborator;
use super::scope::{ScopeId, ScopeKind};
use super::value::{Env, Tensor, Value};
use crate::diagnostics::Code;
use crate::graph::{Attr, Attrs, Size, Type};
use crate::ops;
use crate::program::{Measure, Statistic};
use crate::source::Span;
use crate::syntax::{Expr, ExprKind};

impl Elaborator<'_> {
    pub fn measure(&mut self, step: ScopeId, name: &Arc<str>, expr: &Expr, env: &Env) {
        let rest = self.open_scope(ScopeKind::Rest, None, name.to_string());
        let mut statistics = Vec::new();
        let value = self.measured(step, rest, expr, env, &mut statistics);
        if value.is_error() {
            return;
        }
        self.scope_stack.push(rest);
        let tensor = self.as_tensor(&value, expr.span);
        self.scope_stack.pop();
        let Some(tensor) = tensor.filter(|tensor| tensor.scope == rest) else {
            self.does_not_decompose(&value, expr.span);
            return;
        };
        let builder = std::mem::take(&mut self.scope(rest).builder);
        let rest = builder.finish(vec![tensor.value]);
        self.scope(step).measures.push(Measure { name: name.to_string(), statistics, rest });
    }

    fn does_not_decompose(&mut self, value: &Value, span: Span) {
        let what = self.describe(value);
        self.fail_help(Code::NotAllowedHere, span, "this does not decompose over batches", what,
            "take `mean`, `sum`, `min`, `max` or `count` of the rows here, or use `collect` and compute it after the pass");
    }

    /// Evaluates arithmetic around reductions in the rest's graph, and the reductions themselves in the step's.
    fn measured(
        &mut self,
        step: ScopeId,
        rest: ScopeId,
        expr: &Expr,
        env: &Env,
        statistics: &mut Vec<(Statistic, crate::graph::Value)>,
    ) -> Value {
        match &expr.kind {
            ExprKind::Paren(inner) => self.measured(step, rest, inner, env, statistics),
            ExprKind::Int(_) | ExprKind::Float(_) => self.expr(expr, env),
            ExprKind::Unary(op, inner) => {
                let value = self.measured(step, rest, inner, env, statistics);
                self.in_rest(rest, |this| this.unary(*op, value, inner.span, expr.span))
            }
            ExprKind::Binary { op, left, right, .. } => {
                let a = self.measured(step, rest, left, env, statistics);
                let b = self.measured(step, rest, right, env, statistics);
                self.in_rest(rest, |this| this.binary(*op, a, b, [left.span, right.span], expr.span))
            }
            ExprKind::Call { callee, arguments } if arguments.iter().all(|argument| argument.name.is_none()) => {
                let name = match &callee.kind {
                    ExprKind::Name(name) => name.clone(),
                    _ => return self.static_or_fail(expr, env),
                };
                match (&*name, arguments.as_slice()) {
                    ("mean" | "sum" | "min" | "max" | "count", [argument]) => {
                        self.statistic(step, rest, &name, &argument.value, env, statistics)
                    }
                    ("sqrt" | "exp" | "log" | "abs", [argument]) => {
                        let value = self.measured(step, rest, &argument.value, env, statistics);
                        let function = self.expr(callee, env);
                        let given = vec![super::value::Given { name: None, value, span: argument.value.span }];
                        self.in_rest(rest, |this| this.call(function, given, callee.span, expr.span))
                    }
                    _ => self.measured_call(step, rest, expr, env, statistics),
                }
            }
            ExprKind::Call { .. } => self.measured_call(step, rest, expr, env, statistics),
            _ => self.static_or_fail(expr, env),
        }
    }

    /// A function of the program: its body is looked through.
    fn measured_call(
        &mut self,
        step: ScopeId,
        rest: ScopeId,
        expr: &Expr,
        env: &Env,
        statistics: &mut Vec<(Statistic, crate::graph::Value)>,
    ) -> Value {
        let ExprKind::Call { callee, arguments } = &expr.kind else { return Value::Error };
        let Value::Function(closure) = self.expr(callee, env) else { return self.static_or_fail(expr, env) };
        let given = self.evaluate_arguments(arguments, env);
        let inner = closure.env.child();
        if !self.bind_arguments(&closure.name, &closure.params, given, &inner, expr.span) {
            return Value::Error;
        }
        let Some((last, before)) = closure.body.statements.split_last() else { return Value::Error };
        self.in_call(&closure.name.clone(), expr.span, |this| {
            for statement in before {
                this.statement(statement, &inner);
            }
            match &last.kind {
                crate::syntax::StatementKind::Expr(value) => this.measured(step, rest, value, &inner, statistics),
                _ => Value::Error,
            }
        })
    }

    fn in_rest(&mut self, rest: ScopeId, body: impl FnOnce(&mut Self) -> Value) -> Value {
        let outer = std::mem::replace(&mut self.scope_stack, vec![rest]);
        let value = body(self);
        self.scope_stack = outer;
        value
    }

    fn static_or_fail(&mut self, expr: &Expr, env: &Env) -> Value {
        let value = self.expr(expr, env);
        if value.is_error() || value.as_number().is_some() {
            return value;
        }
        self.does_not_decompose(&value, expr.span);
        Value::Error
    }

    /// One reduction over all rows, and whatever else its argument has.
    fn statistic(
        &mut self,
        step: ScopeId,
        rest: ScopeId,
        name: &str,
        argument: &Expr,
        env: &Env,
        statistics: &mut Vec<(Statistic, crate::graph::Value)>,
    ) -> Value {
        let value = self.expr(argument, env);
        if value.is_error() {
            return Value::Error;
        }
        let Some(tensor) = self.as_tensor(&value, argument.span) else {
            return self.wrong_kind(&value, "a tensor", argument.span);
        };
        let ty = self.ty(tensor);
        let rows = self.scopes[step.0].feeds.first().map(|feed| Size::symbol(feed.symbol.clone()));
        if ty.rank() == 0 || rows.as_ref() != ty.shape.first() {
            self.does_not_decompose(&value, argument.span);
            return Value::Error;
        }
        let tensor = if ty.dtype.is_float() { tensor } else { self.cast(tensor, self.float, argument.span) };
        let (op, statistic): (&'static ops::Op, _) = match name {
            "min" => (&ops::reduce::MIN, Statistic::Min),
            "max" => (&ops::reduce::MAX, Statistic::Max),
            _ => (&ops::reduce::SUM, Statistic::Sum),
        };
        let axes = Attrs::none().with("axes", Attr::Ints((0..ty.rank() as i64).collect()));
        let counted = if name == "count" { None } else { self.apply(op, &[tensor], axes, argument.span).ok() };
        let mut inputs = Vec::new();
        if let Some(counted) = counted {
            inputs.push(self.merged(step, rest, statistic, counted, statistics, argument.span));
        }
        if matches!(name, "mean" | "count") {
            let count =
                ty.shape.iter().try_fold(Size::known(1), |count, size| count.mul(size)).unwrap_or(Size::known(0));
            let count = self.size_tensor(&count, argument.span);
            let count = self.cast(Tensor { weak: false, ..count }, self.float, argument.span);
            inputs.push(self.merged(step, rest, Statistic::Sum, count, statistics, argument.span));
        }
        match (name, inputs.as_slice()) {
            ("mean", [sum, count]) => {
                let (sum, count) = (Value::Tensor(*sum), Value::Tensor(*count));
                let spans = [argument.span; 2];
                self.in_rest(rest, |this| {
                    this.binary(crate::syntax::BinaryOp::Divide, sum, count, spans, argument.span)
                })
            }
            (_, [only]) => Value::Tensor(*only),
            _ => Value::Error,
        }
    }

    fn merged(
        &mut self,
        step: ScopeId,
        rest: ScopeId,
        statistic: Statistic,
        tensor: Tensor,
        statistics: &mut Vec<(Statistic, crate::graph::Value)>,
        span: Span,
    ) -> Tensor {
        let value = match self.import(tensor, step) {
            Ok(value) => value,
            Err(why) => {
                self.report_unreachable(why, span);
                tensor.value
            }
        };
        statistics.push((statistic, value));
        let ty = Type::scalar(self.float);
        let name = format!("statistic_{}", statistics.len());
        let value = self.scope(rest).builder.input(name, ty);
        Tensor { scope: rest, value, weak: false }
    }
}
