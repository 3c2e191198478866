//! `scan(init, over, |carry, x| { carry, out }, until: |carry| …)`: a loop in the graph.

use std::rc::Rc;

use super::Elaborator;
use super::builtins::Args;
use super::scope::{ScopeId, ScopeKind};
use super::value::{Given, Record, Tensor, Value};
use crate::diagnostics::{Code, Diagnostic};
use crate::graph::{Attr, Attrs, DType, Graph, Size, Type, Value as GraphValue};
use crate::ops;
use crate::ops::scan::SCAN;
use crate::source::Span;

/// A loop while its regions are built.
struct Rounds {
    length: Size,
    /// What is carried as it begins, and its form.
    init: Vec<Tensor>,
    carry: Value,
    /// What is walked over, the number of the round last, and its form.
    sequences: Vec<Tensor>,
    item: Value,
}

impl Elaborator<'_> {
    pub fn scan(&mut self, args: &Args) -> Value {
        let Some(rounds) = self.rounds(args) else { return Value::Error };
        let segment = self.ordinal("scan");
        let Some((body, constants, out)) = self.in_path(segment, |this| this.body(args, &rounds)) else {
            return Value::Error;
        };
        let mut operands: Vec<Tensor> = rounds.init.iter().chain(&rounds.sequences).copied().collect();
        operands.extend(&constants);
        let mut regions = vec![body];
        if args.has(3) {
            let Some((condition, others)) = self.condition(args, &rounds) else { return Value::Error };
            operands.extend(others);
            regions.push(condition);
        }
        let attrs = Attrs::none()
            .with("carries", Attr::Int(rounds.init.len() as i64))
            .with("sequences", Attr::Int(rounds.sequences.len() as i64))
            .with("constants", Attr::Int(constants.len() as i64))
            .with("length", Attr::Size(rounds.length.clone()))
            .with("reverse", Attr::Bool(false))
            .with("history", Attr::Ints(Vec::new()));
        let here = self.here();
        let node = match self.apply_in(here, &SCAN, &operands, attrs, regions, args.span) {
            Ok(node) => node,
            Err(mismatch) => return self.fail_mismatch(*mismatch, args.span, &[args.span_of(0)]),
        };
        let mut next = 0;
        let last = self.unflatten(&rounds.carry, node, &mut next);
        let mut fields = vec![("last", last)];
        if let Some(out) = out {
            fields.push(("out", self.unflatten(&out, node, &mut next)));
        }
        if args.has(3) {
            let value = GraphValue { node: node.value.node, out: next };
            fields.push(("count", Value::Tensor(Tensor { value, weak: false, ..node })));
        }
        Value::Record(Rc::new(fields.into_iter().map(|(name, value)| (name.into(), value)).collect::<Record>()))
    }

    /// The carries and sequences of a loop.
    fn rounds(&mut self, args: &Args) -> Option<Rounds> {
        let here = self.here();
        let mut init = Vec::new();
        let start = self.numbers(args.value(0), args.span_of(0));
        let carry = self.flatten(&start, args.span_of(0), &mut init)?;
        let (mut sequences, over) = (Vec::new(), self.numbers(args.value(1), args.span_of(1)));
        let (length, item) = match over.as_size() {
            Some(count) => (count, Value::None),
            None => {
                let item = self.flatten(&over, args.span_of(1), &mut sequences)?;
                (self.common_length(&sequences, args.span_of(1))?, item)
            }
        };
        if length.as_known().is_some_and(|length| length < 0) {
            self.fail(Code::BadValue, args.span_of(1), format!("a loop of {length} rounds"), "negative");
            return None;
        }
        let attrs = Attrs::none().with("size", Attr::Size(length.clone()));
        let numbers = self.apply_in(here, &ops::structure::IOTA, &[], attrs, Vec::new(), args.span);
        sequences.push(numbers.ok()?);
        Some(Rounds { length, init, carry, sequences, item })
    }

    /// A list of numbers is a tensor here, as elsewhere.
    fn numbers(&mut self, value: Value, span: Span) -> Value {
        fn all_numbers(value: &Value) -> bool {
            match value {
                Value::List(items) => items.iter().all(all_numbers),
                other => other.as_number().is_some(),
            }
        }
        match &value {
            Value::List(items) if !items.is_empty() && all_numbers(&value) => {
                self.as_tensor(&value, span).map_or(value, Value::Tensor)
            }
            _ => value,
        }
    }

    fn common_length(&mut self, sequences: &[Tensor], span: Span) -> Option<Size> {
        let mut length: Option<Size> = None;
        for tensor in sequences {
            let ty = self.ty(*tensor);
            let Some(rows) = ty.shape.first().cloned() else {
                self.fail_help(
                    Code::ShapeMismatch,
                    span,
                    "a loop walks over rows, or over a number of rounds known while compiling",
                    format!("{ty} has no rows"),
                    "give a tensor, whose first axis is walked over, or a size",
                );
                return None;
            };
            if length.as_ref().is_some_and(|length| *length != rows) {
                let length = length.unwrap_or_else(|| Size::known(0));
                self.fail(Code::ShapeMismatch, span, format!("{length} rows and {rows} rows are walked over"), "here");
                return None;
            }
            length = Some(rows);
        }
        if length.is_none() {
            self.fail(Code::ShapeMismatch, span, "a loop walks over nothing", "holds no tensor");
        }
        length
    }

    /// A region with one input for each of `operands`.
    fn open_round(&mut self, operands: &[Tensor], rows: bool) -> (ScopeId, Vec<Tensor>) {
        let outer = self.here();
        let scope = self.open_scope(ScopeKind::Round, Some(outer), "scan");
        let inputs = self.round_inputs(scope, operands, rows);
        (scope, inputs)
    }

    fn round_inputs(&mut self, scope: ScopeId, operands: &[Tensor], rows: bool) -> Vec<Tensor> {
        let mut inputs = Vec::with_capacity(operands.len());
        for operand in operands {
            let ty = self.ty(*operand);
            let ty = if rows { Type::new(ty.dtype, ty.shape[1..].iter().cloned()) } else { ty };
            let name = self.scopes[operand.scope.0].builder.graph().name(operand.value).to_string();
            let value = self.scope(scope).builder.input(name, ty);
            inputs.push(Tensor { scope, value, weak: false });
        }
        inputs
    }

    /// The body's region, what it takes from outside, and the form of its output.
    fn body(&mut self, args: &Args, rounds: &Rounds) -> Option<(Graph, Vec<Tensor>, Option<Value>)> {
        let (scope, carries) = self.open_round(&rounds.init, false);
        let rows = self.round_inputs(scope, &rounds.sequences, true);
        let number = *rows.last()?;
        self.scope(scope).round = Some(number.value);
        let carry = place(&rounds.carry, &mut carries.iter());
        let item = match &rounds.item {
            Value::None => Value::Tensor(number),
            item => place(item, &mut rows.iter()),
        };
        self.scope_stack.push(scope);
        let built = self.built(args, rounds, vec![carry, item]);
        self.scope_stack.pop();
        let (outputs, out) = built?;
        let builder = std::mem::take(&mut self.scope(scope).builder);
        let captured = std::mem::take(&mut self.scope(scope).captured);
        Some((builder.finish(outputs), captured, out))
    }

    fn built(&mut self, args: &Args, rounds: &Rounds, given: Vec<Value>) -> Option<(Vec<GraphValue>, Option<Value>)> {
        let span = args.span_of(2);
        let result = self.call_round(args.value(2), given, span)?;
        let named = |record: &Record| record.keys().all(|key| matches!(&**key, "carry" | "out"));
        let (carry, out) = match &result {
            Value::Record(record) if record.contains_key("carry") && named(record) => {
                (record["carry"].clone(), record.get("out").filter(|out| !matches!(out, Value::None)).cloned())
            }
            other => (other.clone(), None),
        };
        let mut after = Vec::new();
        let form = self.flatten(&carry, span, &mut after)?;
        if !same_form(&rounds.carry, &form) {
            let named = |value: &Value| match value {
                Value::Record(fields) => {
                    format!("{{ {} }}", fields.keys().map(|key| &**key).collect::<Vec<_>>().join(", "))
                }
                other => self.describe(other),
            };
            let (before, after) = (named(&rounds.carry), named(&form));
            self.report(
                Diagnostic::error(Code::CarryChanges, format!("a loop carries {before} and hands on {after}"))
                    .label(args.span_of(0), format!("begins as {before}"))
                    .label(span, format!("hands on {after}"))
                    .help("give `{ carry: …, out: … }`, the carry with the fields with which it begins"),
            );
            return None;
        }
        for (before, after) in rounds.init.iter().zip(&mut after) {
            *after = self.handed_on(*before, *after, args)?;
        }
        let mut outputs = after;
        let out = match out {
            Some(out) => Some(self.flatten(&out, span, &mut outputs)?),
            None => None,
        };
        Some((outputs.into_iter().map(|tensor| tensor.value).collect(), out))
    }

    /// A carry has the type with which it begins.
    fn handed_on(&mut self, before: Tensor, after: Tensor, args: &Args) -> Option<Tensor> {
        let (wanted, have) = (self.ty(before), self.ty(after));
        if wanted == have {
            return Some(after);
        }
        let number = |ty: &Type| ty.dtype != DType::Bool;
        if wanted.shape == have.shape
            && before.weak
            && number(&wanted)
            && wanted.dtype.is_float() == have.dtype.is_float()
        {
            return Some(self.cast(after, wanted.dtype, args.span_of(2)));
        }
        let help = match wanted.shape == have.shape {
            true => "begin with an element of the type that the body computes, for example 0.0 instead of 0",
            false => "what is carried keeps its shape from round to round; rows of growing length belong into `out`",
        };
        self.report(
            Diagnostic::error(Code::CarryChanges, format!("a loop carries {wanted} and hands on {have}"))
                .label(args.span_of(0), format!("begins as {wanted}"))
                .label(args.span_of(2), format!("hands on {have}"))
                .help(help),
        );
        None
    }

    fn condition(&mut self, args: &Args, rounds: &Rounds) -> Option<(Graph, Vec<Tensor>)> {
        let span = args.span_of(3);
        let (scope, carries) = self.open_round(&rounds.init, false);
        self.scope_stack.push(scope);
        let carry = place(&rounds.carry, &mut carries.iter());
        let answer = self.call_round(args.value(3), vec![carry], span).and_then(|answer| {
            let tensor = self.as_tensor(&answer, span)?;
            let value = self.import(tensor, scope).ok()?;
            Some(Tensor { scope, value, weak: false })
        });
        self.scope_stack.pop();
        let answer = answer?;
        let ty = self.ty(answer);
        if ty != Type::scalar(DType::Bool) {
            self.fail_help(
                Code::ElementType,
                span,
                format!("`until` gives {ty}, one truth value is needed"),
                ty.to_string(),
                "reduce it, for example by `all(…)` or `any(…)`",
            );
            return None;
        }
        let builder = std::mem::take(&mut self.scope(scope).builder);
        let captured = std::mem::take(&mut self.scope(scope).captured);
        Some((builder.finish(vec![answer.value]), captured))
    }

    fn call_round(&mut self, body: Value, given: Vec<Value>, span: Span) -> Option<Value> {
        let given = given.into_iter().map(|value| Given { name: None, value, span }).collect();
        let errors = self.diagnostics.len();
        let result = self.call(body, given, span, span);
        (!result.is_error() && self.diagnostics.len() == errors).then_some(result)
    }
}

/// The form with tensors in its places.
fn place<'a>(form: &Value, tensors: &mut impl Iterator<Item = &'a Tensor>) -> Value {
    match form {
        Value::List(items) => Value::list(items.iter().map(|item| place(item, tensors)).collect()),
        Value::Record(record) => {
            Value::Record(Rc::new(record.iter().map(|(key, item)| (key.clone(), place(item, tensors))).collect()))
        }
        _ => tensors.next().map_or(Value::Error, |tensor| Value::Tensor(*tensor)),
    }
}

fn same_form(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| same_form(a, b)),
        (Value::Record(a), Value::Record(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a.0 == b.0 && same_form(a.1, b.1))
        }
        (Value::List(_) | Value::Record(_), _) | (_, Value::List(_) | Value::Record(_)) => false,
        _ => true,
    }
}
