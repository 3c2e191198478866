//! Static questions about sizes that hold symbols: answered by the batches at hand, and noted as guards of their step.

use std::sync::Arc;

use super::Elaborator;
use super::value::Value;
use crate::diagnostics::Code;
use crate::graph::{Bindings, Size};
use crate::program::Guard;
use crate::source::Span;
use crate::syntax::BinaryOp;

impl Elaborator<'_> {
    /// The number behind a size: a guard of the step if it holds symbols.
    pub fn witness(&mut self, size: &Size, span: Span) -> Option<i64> {
        if let Some(n) = size.as_known() {
            return Some(n);
        }
        let found = self.asked(size);
        if found.is_none() {
            self.fail_help(
                Code::WrongTime,
                span,
                format!("the size {size} is not known while compiling"),
                "asked here for its number",
                "fix the number with `take(n)`, or loop with `scan`",
            );
        }
        found
    }

    /// The number that a size has in the batches at hand, none where nobody knows it. The step is then valid for batches of
    /// these sizes only.
    pub fn asked(&mut self, size: &Size) -> Option<i64> {
        let found = self.number_behind(size)?;
        for symbol in size.symbols() {
            self.guard(&symbol, |n| Guard::Equal(symbol.clone(), n));
        }
        Some(found)
    }

    fn number_behind(&self, size: &Size) -> Option<i64> {
        let feeds = self.scopes.iter().flat_map(|scope| &scope.feeds);
        let bindings: Bindings =
            feeds.filter_map(|feed| feed.batch.map(|batch| (feed.symbol.clone(), batch))).collect();
        size.bind(&bindings)
    }

    fn guard(&mut self, symbol: &Arc<str>, guard: impl FnOnce(i64) -> Guard) {
        let owner = self.scopes.iter_mut().rev().find_map(|scope| {
            let batch = scope.feeds.iter().find(|feed| feed.symbol == *symbol)?.batch?;
            Some((scope, batch))
        });
        if let Some((scope, batch)) = owner {
            let guard = guard(batch);
            if !scope.guards.contains(&guard) {
                scope.guards.push(guard);
            }
        }
    }

    /// Whether a batch has at least (or more than) so many rows: where it has, batches of other sizes may have as well.
    pub fn at_least(&mut self, size: &Size, least: i64) -> Option<bool> {
        let found = self.number_behind(size)?;
        match size.symbols().as_slice() {
            [symbol] if found >= least && *size == Size::symbol(symbol.clone()) => {
                self.guard(symbol, |_| Guard::AtLeast(symbol.clone(), least));
            }
            _ => {
                self.asked(size);
            }
        }
        Some(found >= least)
    }

    pub fn witness_of(&mut self, value: &Value, span: Span) -> Option<i64> {
        match value {
            Value::Int(n) => Some(*n),
            Value::Size(size) => self.witness(&size.clone(), span),
            _ => None,
        }
    }

    /// A static question about a size with symbols: answered by the witness.
    pub fn ask_sizes(&mut self, op: BinaryOp, a: &Size, b: &Size, span: Span) -> Option<Value> {
        use BinaryOp::{Greater, GreaterEqual, Less, LessEqual};
        let beyond = |size: &Size, by: i64| size.as_known()?.checked_add(by);
        let question = match op {
            GreaterEqual => beyond(b, 0).map(|least| (a, least, true)),
            Greater => beyond(b, 1).map(|least| (a, least, true)),
            Less => beyond(b, 0).map(|least| (a, least, false)),
            LessEqual => beyond(b, 1).map(|least| (a, least, false)),
            _ => None,
        };
        if let Some((size, least, wanted)) = question
            && let Some(holds) = self.at_least(size, least)
        {
            return Some(Value::Bool(holds == wanted));
        }
        let (a, b) = (self.witness(a, span)?, self.witness(b, span)?);
        self.binary_ints(op, a, b, [span, span], span)
    }
}
