//! Expressions: one function a kind, the same for static, host and tensor values.

use std::rc::Rc;
use std::sync::Arc;

use super::Elaborator;
use super::value::{Closure, Env, Record, Tensor, Value};
use crate::diagnostics::Code;
use crate::graph::{Attr, Attrs, DType, Size, Type};
use crate::ops;
use crate::program::ClockField;
use crate::source::Span;
use crate::syntax::{Block, Expr, ExprKind, Param, Pattern, RecordItem};

impl Elaborator<'_> {
    pub fn expr(&mut self, expr: &Expr, env: &Env) -> Value {
        match &expr.kind {
            ExprKind::Int(n) => Value::Int(*n),
            ExprKind::Float(x) => Value::Float(*x),
            ExprKind::Bool(b) => Value::Bool(*b),
            ExprKind::Text(text) => Value::Text(text.clone()),
            ExprKind::Quantity(x, unit) => Value::Quantity(*x, *unit),
            ExprKind::Name(name) => self.name(name, expr.span, env),
            ExprKind::List(items) => Value::list(items.iter().map(|item| self.expr(item, env)).collect()),
            ExprKind::Comprehension { item, pattern, over, filter } => {
                self.comprehension(item, pattern, over, filter.as_deref(), env)
            }
            ExprKind::Record(items) => self.record(items, env),
            ExprKind::Block(block) => self.block(block, &env.child()),
            ExprKind::Lambda { params, body } => self.lambda(params, body, env),
            ExprKind::Unary(op, inner) => {
                let value = self.expr(inner, env);
                self.unary(*op, value, inner.span, expr.span)
            }
            ExprKind::Binary { op, left, right, .. } => {
                let (a, b) = (self.expr(left, env), self.expr(right, env));
                self.binary(*op, a, b, [left.span, right.span], expr.span)
            }
            ExprKind::Pipe { left, right } => self.pipe(left, right, expr.span, env),
            ExprKind::Call { callee, arguments } => self.call_expr(callee, arguments, expr.span, env),
            ExprKind::Index { base, items } => self.index_expr(base, items, expr.span, env),
            ExprKind::Field { base, name } => {
                let base_value = self.expr(base, env);
                self.field(base_value, base.span, name)
            }
            ExprKind::Range { start, end, step: None } => self.range(start.as_deref(), end.as_deref(), expr.span, env),
            ExprKind::Range { start, end, step: Some(step) } => {
                let range = self.range(start.as_deref(), end.as_deref(), expr.span, env);
                self.every_nth(range, step, expr.span, env)
            }
            ExprKind::If { condition, then, otherwise } => self.if_expr(condition, then, otherwise.as_deref(), env),
            ExprKind::Paren(inner) => self.expr(inner, env),
            ExprKind::Error => Value::Error,
        }
    }

    fn name(&mut self, name: &Arc<str>, span: Span, env: &Env) -> Value {
        if let Some(value) = env.get(name) {
            return value;
        }
        match self.global(env.module_index(), name, span) {
            Some(value) => value,
            None => match &**name {
                "none" => Value::None,
                "training" => Value::Bool(self.training),
                "index" => self.row_index(span),
                _ => {
                    if let Some(fault) = self.not_importable(env.module_index(), name, span) {
                        return fault;
                    }
                    self.fail(Code::UnknownName, span, format!("unknown name `{name}`"), "not defined before this line")
                }
            },
        }
    }

    pub fn lambda(&mut self, params: &[Param], body: &Arc<Block>, env: &Env) -> Value {
        Value::Function(Rc::new(Closure {
            name: super::calls::LAMBDA.into(),
            params: params.to_vec(),
            result: None,
            body: body.clone(),
            env: env.clone(),
            is_flow: false,
        }))
    }

    fn range(&mut self, start: Option<&Expr>, end: Option<&Expr>, span: Span, env: &Env) -> Value {
        let (Some(start), Some(end)) = (start, end) else {
            return self.fail(Code::NotAllowedHere, span, "an open range stands only in an index", "has no end here");
        };
        let (a, b) = (self.expr(start, env), self.expr(end, env));
        if a.is_error() || b.is_error() {
            return Value::Error;
        }
        for (value, place) in [(&a, start.span), (&b, end.span)] {
            if value.as_number().is_none() && value.as_size().is_none() {
                let what = self.describe(value);
                return self.fail(
                    Code::TypeMismatch,
                    place,
                    "the ends of a range are numbers known while compiling",
                    what,
                );
            }
        }
        Value::Range(Box::new((a, b)))
    }

    /// `0..10 step 2` is the list of its numbers.
    pub fn every_nth(&mut self, range: Value, step: &Expr, span: Span, env: &Env) -> Value {
        let by = self.expr(step, env);
        if range.is_error() || by.is_error() {
            return Value::Error;
        }
        let Some(by) = self.witness_of(&by, step.span) else {
            return self.wrong_kind(&by, "a whole number known while compiling", step.span);
        };
        if by < 1 {
            return self.fail(Code::BadValue, step.span, "a `step` is at least 1", format!("is {by}"));
        }
        match self.iterate(range, span) {
            Some(items) => Value::list(items.into_iter().step_by(by as usize).collect()),
            None => Value::Error,
        }
    }

    fn record(&mut self, items: &[RecordItem], env: &Env) -> Value {
        let mut record = Record::new();
        let mut tree: Option<super::value::Tree> = None;
        for item in items {
            match item {
                RecordItem::Field { name, value } => {
                    let value = self.named_value(&name.text, value, env);
                    record.insert(name.text.clone(), value);
                }
                RecordItem::Pun(expr) => match expr.own_name() {
                    Some(name) => {
                        let value = self.expr(expr, env);
                        record.insert(name.clone(), value);
                    }
                    None => {
                        self.fail(Code::Syntax, expr.span, "a record's item needs a name", "write `name: value`");
                    }
                },
                RecordItem::Spread(expr) => match self.expr(expr, env) {
                    Value::Record(base) => record.extend(base.iter().map(|(k, v)| (k.clone(), v.clone()))),
                    Value::Tree(leaves) => tree.get_or_insert_default().leaves.extend(leaves.leaves.clone()),
                    Value::Error => {}
                    other => {
                        let what = self.describe(&other);
                        self.fail(Code::TypeMismatch, expr.span, "`..` spreads a record or a tree of weights", what);
                    }
                },
            }
        }
        match tree {
            Some(tree) if record.is_empty() => Value::Tree(Rc::new(tree)),
            _ => Value::Record(Rc::new(record)),
        }
    }

    fn comprehension(
        &mut self,
        item: &Expr,
        pattern: &Pattern,
        over: &Expr,
        filter: Option<&Expr>,
        env: &Env,
    ) -> Value {
        let source = self.expr(over, env);
        let over_tensor = matches!(source, Value::Tensor(_) | Value::Cell(_));
        let Some(values) = self.iterate(source, over.span) else { return Value::Error };
        let mut results = Vec::new();
        let errors = self.diagnostics.len();
        for (at, value) in values.into_iter().enumerate() {
            // The same mistake in every round is one mistake.
            if self.diagnostics.len() > errors {
                return Value::Error;
            }
            let inner = env.child();
            self.bind_pattern(pattern, value, &inner);
            if let Some(filter) = filter {
                match self.expr(filter, &inner) {
                    Value::Bool(true) => {}
                    Value::Bool(false) => continue,
                    Value::Error => return Value::Error,
                    other => return self.not_static_condition(&other, filter.span),
                }
            }
            let result = self.in_path(format!("[{at}]"), |this| this.expr(item, &inner));
            results.push(result);
        }
        if over_tensor && results.iter().all(|value| matches!(value, Value::Tensor(_))) {
            return self.stack(&results, 0, over.span);
        }
        Value::list(results)
    }

    /// The items of a list, a range, or a tensor's leading axis.
    pub fn iterate(&mut self, source: Value, span: Span) -> Option<Vec<Value>> {
        match self.settle(source, span) {
            Value::List(items) => Some(items.as_ref().clone()),
            Value::Range(ends) => {
                let ends = (self.witness_of(&ends.0, span), self.witness_of(&ends.1, span));
                let (Some(a), Some(b)) = ends else {
                    self.fail(
                        Code::TypeMismatch,
                        span,
                        "only a range of whole numbers can be walked through",
                        "not whole",
                    );
                    return None;
                };
                let rounds = b.saturating_sub(a);
                if rounds > 100_000 {
                    self.fail(
                        Code::RecursionLimit,
                        span,
                        format!("{rounds} rounds are too many to unroll"),
                        "each round is unrolled into the graph",
                    );
                    return None;
                }
                if !self.take_rounds(rounds.max(0) as usize, span) {
                    return None;
                }
                Some((a..b).map(Value::Int).collect())
            }
            Value::Record(record) => Some(record.values().cloned().collect()),
            Value::Tensor(tensor) => {
                let ty = self.ty(tensor);
                let Some(rows) = ty.shape.first().and_then(|size| self.witness(size, span)) else {
                    self.fail(
                        Code::TypeMismatch,
                        span,
                        "a tensor without axes cannot be walked through",
                        ty.to_string(),
                    );
                    return None;
                };
                Some((0..rows).map(|row| self.row(tensor, row, span)).collect())
            }
            Value::Error => None,
            other => {
                let what = self.describe(&other);
                self.fail(Code::TypeMismatch, span, "only lists, ranges and tensors can be walked through", what);
                None
            }
        }
    }

    pub fn bind_pattern(&mut self, pattern: &Pattern, value: Value, env: &Env) {
        match pattern {
            Pattern::Name(name) => env.bind(name.text.clone(), value),
            Pattern::Record { fields, span } => {
                for (field, bound) in fields {
                    let part = match &value {
                        Value::Error => Value::Error,
                        Value::Record(record) => match record.get(&field.text) {
                            Some(value) => value.clone(),
                            None => {
                                let known: Vec<Arc<str>> = record.keys().cloned().collect();
                                self.unknown_field("the record", &field.text, field.span, known.iter().map(|n| &**n))
                            }
                        },
                        other => {
                            let what = self.describe(other);
                            self.fail(Code::TypeMismatch, *span, "`{ … }` takes a record apart", what)
                        }
                    };
                    env.bind(bound.text.clone(), part);
                }
            }
            Pattern::List { items, span } => {
                let Some(values) = self.iterate(value, *span) else {
                    items.iter().for_each(|item| self.bind_pattern(item, Value::Error, env));
                    return;
                };
                if values.len() != items.len() {
                    self.fail(
                        Code::ArgumentCount,
                        *span,
                        format!("{} names for {} values", items.len(), values.len()),
                        format!("{} names", items.len()),
                    );
                }
                let padded = values.into_iter().chain(std::iter::repeat(Value::Error));
                for (item, value) in items.iter().zip(padded) {
                    self.bind_pattern(item, value, env);
                }
            }
        }
    }

    fn if_expr(&mut self, condition: &Expr, then: &Block, otherwise: Option<&Block>, env: &Env) -> Value {
        let value = self.expr(condition, env);
        match self.settle(value, condition.span) {
            Value::Bool(true) => self.block(then, &env.child()),
            Value::Bool(false) => otherwise.map_or(Value::None, |block| self.block(block, &env.child())),
            Value::Error => Value::Error,
            Value::Tensor(tensor) if self.scope_stack.is_empty() && self.ty(tensor).rank() == 0 => {
                self.flow_if(tensor, then, otherwise, condition.span, env)
            }
            other => self.not_static_condition(&other, condition.span),
        }
    }

    pub fn not_static_condition(&mut self, value: &Value, span: Span) -> Value {
        let what = self.describe(value);
        self.fail_help(
            Code::WrongTime,
            span,
            "`if` needs a condition known while compiling or between steps",
            what,
            "for a tensor use `select(c, a, b)`",
        )
    }

    /// What a value is where it is used: cells are read, schedules called with the clock.
    pub fn settle(&mut self, value: Value, span: Span) -> Value {
        match value {
            Value::Cell(slot) => Value::Tensor(self.read_slot(slot, span)),
            Value::Function(closure) if closure.is_schedule() && self.has_clock() => self.scheduled(&closure, span),
            other => other,
        }
    }

    /// A schedule's value at the clock of the step at hand; the same schedule is computed once.
    fn scheduled(&mut self, closure: &Rc<Closure>, span: Span) -> Value {
        let step = self.scope_stack.first().copied();
        let key = (Rc::as_ptr(closure), step);
        if let Some((_, value)) = self.schedules.get(&key) {
            return value.clone();
        }
        let given = vec![super::value::Given { name: None, value: Value::Clock, span }];
        let result = self.call_closure(closure, given, span);
        let value = self.settle(result, span);
        self.schedules.insert(key, (closure.clone(), value.clone()));
        value
    }

    fn has_clock(&self) -> bool {
        self.scope_stack.iter().any(|id| self.scopes[id.0].host.is_some())
    }

    /// An expression that must be one number; else what is said: the kind that is wanted, the headline, the remedy.
    pub fn one_number(&mut self, expr: &Expr, [kind, headline, help]: [&str; 3], env: &Env) -> Option<Tensor> {
        let value = self.expr(expr, env);
        if value.is_error() {
            return None;
        }
        let Some(tensor) = self.as_tensor(&value, expr.span) else {
            self.wrong_kind(&value, kind, expr.span);
            return None;
        };
        let ty = self.ty(tensor);
        if ty.rank() != 0 {
            let headline = format!("{headline}, this is {ty}");
            self.fail_help(Code::ShapeMismatch, expr.span, headline, ty.to_string(), help);
            return None;
        }
        Some(tensor)
    }

    /// Constants are kept as f64, which holds whole numbers below 2^53.
    fn check_exact(&mut self, n: f64, span: Span) {
        if n.abs() >= (1u64 << 53) as f64 {
            self.fail_help(
                Code::SizeOverflow,
                span,
                format!("{n} is too large for a constant of a tensor"),
                "whole numbers from 2^53 on would be rounded",
                "read it from a file",
            );
        }
    }

    /// A value as a tensor: numbers become constants, lists of numbers vectors and matrices.
    pub fn as_tensor(&mut self, value: &Value, span: Span) -> Option<Tensor> {
        match self.settle(value.clone(), span) {
            Value::Tensor(tensor) => Some(tensor),
            Value::Int(n) => {
                self.check_exact(n as f64, span);
                Some(self.number(n as f64, DType::I64))
            }
            Value::Float(x) => Some(self.number(x, DType::F64)),
            Value::Bool(b) => Some(self.number(f64::from(u8::from(b)), DType::Bool)),
            Value::Size(size) => Some(self.size_tensor(&size, span)),
            Value::List(items) => self.list_tensor(&items, span),
            Value::Range(ends) => {
                let (start, stop) = (self.witness_of(&ends.0, span)?, self.witness_of(&ends.1, span)?);
                let items: Vec<Value> = (start..stop).map(Value::Int).collect();
                self.list_tensor(&items, span)
            }
            _ => None,
        }
    }

    /// A weak scalar, with the clock's scalars if only those are in sight.
    fn number(&mut self, x: f64, dtype: DType) -> Tensor {
        // A weak float is held in the default float unless it meets an f64; its value is kept in f64 in the attribute.
        let scope = self.here();
        let dtype = if dtype == DType::F64 { self.float } else { dtype };
        Tensor { weak: true, ..self.constant_in(scope, &[x], Type::scalar(dtype)) }
    }

    fn list_tensor(&mut self, items: &[Value], span: Span) -> Option<Tensor> {
        if let Some((shape, values, dtype)) = literal(items) {
            if dtype == DType::I64 {
                let largest = values.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
                self.check_exact(largest, span);
            }
            let dtype = if dtype == DType::F64 { self.float } else { dtype };
            let ty = Type::new(dtype, shape.into_iter().map(Size::known));
            let scope = self.here();
            return Some(Tensor { weak: false, ..self.constant_in(scope, &values, ty) });
        }
        match self.stack(items, 0, span) {
            Value::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    pub fn size_tensor(&mut self, size: &Size, span: Span) -> Tensor {
        let attrs = Attrs::none().with("size", Attr::Size(size.clone()));
        let scope = self.here();
        match self.apply_in(scope, &ops::structure::SIZE, &[], attrs, Vec::new(), span) {
            Ok(tensor) => Tensor { weak: true, ..tensor },
            Err(_) => self.constant_in(scope, &[0.0], Type::scalar(DType::I64)),
        }
    }

    pub fn clock_field(&mut self, name: &str, span: Span) -> Value {
        let known = ClockField::ALL;
        match known.iter().find(|(_, have)| *have == name) {
            Some((field, name)) => match self.clock(*field, name) {
                Some(tensor) => Value::Tensor(tensor),
                None => self.fail(Code::WrongTime, span, "there is no clock here", "a clock runs only in a `train`"),
            },
            None => self.unknown_field("the clock", name, span, known.iter().map(|(_, name)| *name)),
        }
    }

    /// The position of each row of the batch in its data set.
    fn row_index(&mut self, span: Span) -> Value {
        let Some(scope) = self.scope_stack.first().copied().filter(|id| !self.scopes[id.0].feeds.is_empty()) else {
            return self.fail(
                Code::NotAllowedHere,
                span,
                "`index` is known only in a loop over batches",
                "no batch here",
            );
        };
        Value::Tensor(self.feed_index(scope, 0))
    }

    /// Reports that a value is not what the place asks for.
    pub fn wrong_kind(&mut self, value: &Value, wanted: &str, span: Span) -> Value {
        if value.holds_error() {
            return Value::Error;
        }
        let what = self.describe(value);
        self.fail_help(
            Code::TypeMismatch,
            span,
            format!("{wanted} is needed, this is {what}"),
            what,
            format!("give {wanted} here"),
        )
    }
}

/// A nested list of numbers as shape, values and element type.
fn literal(items: &[Value]) -> Option<(Vec<i64>, Vec<f64>, DType)> {
    let mut dtype = DType::Bool;
    let mut values = Vec::new();
    let mut inner: Option<Vec<i64>> = None;
    for item in items {
        let (shape, mut numbers, kind) = match item {
            Value::Int(n) => (Vec::new(), vec![*n as f64], DType::I64),
            Value::Float(x) => (Vec::new(), vec![*x], DType::F64),
            Value::Bool(b) => (Vec::new(), vec![f64::from(u8::from(*b))], DType::Bool),
            Value::List(items) => literal(items)?,
            _ => return None,
        };
        if inner.as_ref().is_some_and(|have| *have != shape) {
            return None;
        }
        inner = Some(shape);
        values.append(&mut numbers);
        dtype = match (dtype, kind) {
            (DType::F64, _) | (_, DType::F64) => DType::F64,
            (DType::I64, _) | (_, DType::I64) => DType::I64,
            _ => DType::Bool,
        };
    }
    if items.is_empty() {
        dtype = DType::F64;
    }
    let shape = [vec![items.len() as i64], inner.unwrap_or_default()].concat();
    Some((shape, values, dtype))
}
