//! Draws: each belongs to its place, made of the names and calls that lead to it.

use super::Elaborator;
use super::scope::ScopeKind;
use super::value::{Given, Tensor, Value};
use crate::diagnostics::Code;
use crate::graph::{Attr, Attrs, Size, Value as GraphValue};
use crate::ops::{self, Op};
use crate::source::Span;

impl Elaborator<'_> {
    /// `~ distribution`: calls the distribution with the shape, under the place's key.
    pub fn draw(&mut self, distribution: Value, shape: &[Size], span: Span) -> Value {
        match &distribution {
            Value::Error => Value::Error,
            Value::Function(_) | Value::Builtin(_) | Value::Partial(_) => {
                let sizes = Value::list(shape.iter().cloned().map(Value::size).collect());
                self.drawing += 1;
                let value = self.call(distribution, vec![Given { name: None, value: sizes, span }], span, span);
                self.drawing -= 1;
                value
            }
            other => {
                let other = other.clone();
                self.wrong_kind(&other, "a distribution such as `normal(0, 1)`", span)
            }
        }
    }

    /// The key of this place, folded from the scope's key and the path of names that leads here.
    fn place_key(&mut self, what: &str, span: Span) -> Option<Tensor> {
        if self.drawing == 0 {
            self.fail_help(
                Code::NotAllowedHere,
                span,
                "a random number is drawn outside a draw",
                "no `~` leads here",
                "write `let e: [n] ~ normal(0, 1)`",
            );
            return None;
        }
        let scope = self.here();
        let key = self.key(scope);
        let ordinal = self.ordinal(what);
        let segments = self.path.iter().chain(std::iter::once(&ordinal)).cloned().collect::<Vec<_>>();
        let path = if self.scopes[scope.0].kind == ScopeKind::Init { ordinal } else { segments.join("/") };
        let attrs = Attrs::none().with("path", Attr::Text(path.into()));
        self.build(scope, &ops::random::FOLD_KEY, &[key], attrs, span)
    }

    fn build(
        &mut self,
        scope: super::scope::ScopeId,
        op: &'static Op,
        operands: &[GraphValue],
        attrs: Attrs,
        span: Span,
    ) -> Option<Tensor> {
        let operands: Vec<Tensor> = operands.iter().map(|value| Tensor { scope, value: *value, weak: false }).collect();
        match self.apply_in(scope, op, &operands, attrs, Vec::new(), span) {
            Ok(tensor) => Some(tensor),
            Err(mismatch) => {
                self.fail_mismatch(*mismatch, span, &[]);
                None
            }
        }
    }

    /// `random_uniform(shape)` and `random_normal(shape)`.
    pub fn random_floats(&mut self, op: &'static Op, shape: Vec<Size>, span: Span) -> Value {
        let Some(key) = self.place_key(op.name, span) else { return Value::Error };
        let attrs = Attrs::none().with("shape", Attr::Sizes(shape)).with("dtype", Attr::DType(self.float));
        match self.build(key.scope, op, &[key.value], attrs, span) {
            Some(tensor) => Value::Tensor(tensor),
            None => Value::Error,
        }
    }

    /// `random_permutation(n)`.
    pub fn random_permutation(&mut self, size: Size, span: Span) -> Value {
        let Some(key) = self.place_key("permutation", span) else { return Value::Error };
        let attrs = Attrs::none().with("size", Attr::Size(size));
        match self.build(key.scope, &ops::random::PERMUTATION, &[key.value], attrs, span) {
            Some(tensor) => Value::Tensor(tensor),
            None => Value::Error,
        }
    }
}
