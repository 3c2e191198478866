//! `measure name = expression`: exact over the whole data set.
//!
//! The expression is elaborated like any other of the step. Its graph is then cut in two: reductions over the rows of a
//! batch become statistics that merge over batches, and what stands behind them is run once at the end.

mod rows;

use std::collections::HashMap;
use std::sync::Arc;

use super::Elaborator;
use super::scope::ScopeId;
use super::value::{Env, Tensor, Value};
use crate::diagnostics::{Code, Diagnostic};
use crate::graph::{Attr, Attrs, Bindings, Builder, DType, Graph, Node, NodeId, Size, Type, Value as GraphValue};
use crate::ops::elementwise::{CAST, DIV, MUL, SUB};
use crate::ops::linalg::MATMUL;
use crate::ops::shape::{BROADCAST, RESHAPE};
use crate::ops::structure::SIZE;
use crate::ops::{INPUT, reduce};
use crate::program::{Input, Measure, Statistic};
use crate::source::Span;
use crate::syntax::Expr;
use rows::{Rows, product, size_of};

impl Elaborator<'_> {
    pub fn measure(&mut self, step: ScopeId, name: &Arc<str>, expr: &Expr, env: &Env) {
        let outer = std::mem::replace(&mut self.measuring, true);
        let value = self.expr(expr, env);
        self.measuring = outer;
        if value.is_error() {
            return;
        }
        let Some(tensor) = self.as_tensor(&value, expr.span) else {
            self.wrong_kind(&value, "a number", expr.span);
            return;
        };
        let measured = match self.import(tensor, step) {
            Ok(value) => value,
            Err(why) => return self.report_unreachable(why, expr.span),
        };
        let one = self.constant_in(step, &[1.0], Type::scalar(self.float)).value;
        let counts = self.row_counts(step, expr.span);
        let scope = &self.scopes[step.0];
        let symbols: Vec<Arc<str>> = scope.feeds.iter().map(|feed| feed.symbol.clone()).collect();
        let graph = scope.builder.graph();
        let mut cut = Cut {
            graph,
            rows: Rows::of(graph, &symbols, &|at| outlasts_a_batch(&scope.inputs[at])),
            means: &scope.batch_means,
            one,
            counts: &counts,
            statistics: Vec::new(),
            rest: Builder::new(),
            done: HashMap::new(),
        };
        match cut.value(measured) {
            Ok(value) => {
                let measure =
                    Measure { name: name.to_string(), statistics: cut.statistics, rest: cut.rest.finish(vec![value]) };
                self.scope(step).measures.push(measure);
            }
            Err(node) => {
                let origin = graph.node(node).origin;
                self.does_not_decompose(&value, expr.span, origin);
            }
        }
    }

    /// The number of rows of each source as a value of the step.
    fn row_counts(&mut self, step: ScopeId, span: Span) -> Vec<(Arc<str>, GraphValue)> {
        let symbols: Vec<Arc<str>> = self.scopes[step.0].feeds.iter().map(|feed| feed.symbol.clone()).collect();
        let count = |symbol: Arc<str>| {
            let attrs = Attrs::none().with("size", Attr::Size(Size::symbol(symbol.clone())));
            let count = self.apply_in(step, &SIZE, &[], attrs, Vec::new(), span).ok()?;
            Some((symbol, count.value))
        };
        symbols.into_iter().filter_map(count).collect()
    }

    fn does_not_decompose(&mut self, value: &Value, span: Span, origin: crate::graph::OriginId) {
        let what = self.describe(value);
        let headline = "this does not decompose over batches";
        let mut diagnostic = Diagnostic::error(Code::NotAllowedHere, headline).label(span, what);
        if let Some(place) = self.user_place(origin).filter(|place| *place != span) {
            diagnostic = diagnostic.label(place, "this needs the rows of several batches together");
        }
        self.report(diagnostic.help(
            "take `mean`, `sum`, `min`, `max`, `std` or `count` of something with a value for each row; or use `collect` \
             and compute it after the pass, or `mean_over_batches(x)` for a mean of what each batch gives",
        ));
    }

    /// `mean_over_batches(x)`: in a `measure`, `x` stands for its mean over the batches.
    pub fn batch_mean(&mut self, tensor: Tensor, span: Span) -> Value {
        let step = self.scope_stack.first().copied().filter(|_| self.measuring);
        let Some(step) = step else {
            return self.fail_help(
                Code::NotAllowedHere,
                span,
                "`mean_over_batches` stands in a `measure`",
                "not measured here",
                "write `measure name = mean_over_batches(…)`",
            );
        };
        let float = if self.ty(tensor).dtype.is_float() { tensor } else { self.cast(tensor, self.float, span) };
        match self.import(float, step) {
            Ok(value) => {
                self.scope(step).batch_means.push(value);
                Value::Tensor(Tensor { scope: step, value, weak: false })
            }
            Err(why) => {
                self.report_unreachable(why, span);
                Value::Error
            }
        }
    }
}

/// Inputs of a step that are the same for every batch of a `pass`.
fn outlasts_a_batch(input: &Input) -> bool {
    matches!(input, Input::Slot(_) | Input::Flow(_) | Input::Given(_))
}

/// A step's graph on its way to statistics and a rest.
struct Cut<'a> {
    graph: &'a Graph,
    rows: Rows<'a>,
    means: &'a [GraphValue],
    /// A constant of the step.
    one: GraphValue,
    /// The rows of each source, in the step.
    counts: &'a [(Arc<str>, GraphValue)],
    statistics: Vec<(Statistic, GraphValue)>,
    rest: Builder,
    /// Values of the step in terms of the rest.
    done: HashMap<GraphValue, GraphValue>,
}

impl Cut<'_> {
    fn node(&self, value: GraphValue) -> &Node {
        self.graph.node(value.node)
    }

    /// A value of the step as one of the rest; else the node that stands in the way.
    fn value(&mut self, value: GraphValue) -> Result<GraphValue, NodeId> {
        if let Some(done) = self.done.get(&value) {
            return Ok(*done);
        }
        let made = self.made(value)?;
        self.done.insert(value, made);
        Ok(made)
    }

    fn made(&mut self, value: GraphValue) -> Result<GraphValue, NodeId> {
        let node = self.graph.node(value.node);
        if self.means.contains(&value) {
            return Ok(self.batch_mean(value));
        }
        if !self.rows.vary(value.node) {
            return self.lasting(value, node);
        }
        if let Some(statistic) = self.reduction(value) {
            return Ok(statistic);
        }
        let carried = node.types.iter().any(|ty| self.rows.carried(ty) > 0);
        if carried || [&INPUT, &SIZE].contains(&node.op) || !node.regions.is_empty() {
            return Err(value.node);
        }
        let operands = node.operands.iter().map(|operand| self.value(*operand)).collect::<Result<Vec<_>, _>>()?;
        let copy = self.rest.copy(node, &operands);
        Ok(GraphValue { node: copy.node, out: value.out })
    }

    fn batch_mean(&mut self, value: GraphValue) -> GraphValue {
        let shape = self.graph.ty(value).shape.clone();
        let sum = self.statistic(Statistic::Sum, value);
        let batches = self.statistic(Statistic::Sum, self.one);
        let batches = self.rest.broadcast(batches, &shape, &[]);
        self.rest.div(sum, batches)
    }

    /// What is the same for every batch.
    fn lasting(&mut self, value: GraphValue, node: &Node) -> Result<GraphValue, NodeId> {
        if node.operands.is_empty() && node.op != &INPUT {
            return Ok(self.rest.copy(node, &[]));
        }
        match self.graph.ty(value).dtype {
            DType::Bool => Err(value.node),
            _ => Ok(self.statistic(Statistic::Max, value)),
        }
    }

    /// Reductions over rows, and their number.
    fn reduction(&mut self, value: GraphValue) -> Option<GraphValue> {
        let node = self.graph.node(value.node);
        if node.op == &SIZE {
            let size = size_of(node)?;
            if self.rows.counts(size) {
                return Some(self.statistic(Statistic::Sum, value));
            }
            return self.linear(size);
        }
        if node.op == &MATMUL {
            let adds_rows = self.rows.carried(self.graph.ty(value)) == 0
                && self.rows.contracted(node)
                && node.operands.iter().all(|operand| self.rows.one_by_one(*operand));
            return adds_rows.then(|| self.statistic(Statistic::Sum, value));
        }
        let kind = match node.op {
            op if op == &reduce::SUM => Statistic::Sum,
            op if op == &reduce::MAX => Statistic::Max,
            op if op == &reduce::MIN => Statistic::Min,
            _ => return None,
        };
        let x = node.operands[0];
        if !self.rows.folded(x, node.attrs.ints("axes")?) {
            return None;
        }
        if self.rows.one_by_one(x) {
            return Some(self.statistic(kind, value));
        }
        if kind == Statistic::Sum { self.squares(value) } else { None }
    }

    /// `3 * B + 1` and the like: of the rows of all batches.
    fn linear(&mut self, size: &Size) -> Option<GraphValue> {
        let [symbol] = <[Arc<str>; 1]>::try_from(size.symbols()).ok()?;
        let rows = self.counts.iter().find(|(have, _)| *have == symbol)?.1;
        let at = |n: i64| size.bind(&Bindings::from([(symbol.clone(), n)]));
        let (start, slope) = (at(0)?, at(1)?.checked_sub(at(0)?)?);
        if [2, 3, 1000, 1001].iter().any(|n| at(*n) != slope.checked_mul(*n).and_then(|x| x.checked_add(start))) {
            return None;
        }
        let total = self.statistic(Statistic::Sum, rows);
        let slope = self.rest.constant(slope as f64, DType::I64);
        let start = self.rest.constant(start as f64, DType::I64);
        let scaled = self.rest.mul(total, slope);
        Some(self.rest.add(scaled, start))
    }

    /// `sum((v - mean(v))^2)`, with the same axes in both: the deviations of batches merge by their sums and counts.
    fn squares(&mut self, value: GraphValue) -> Option<GraphValue> {
        let node = self.graph.node(value.node);
        let square = self.node(node.operands[0]);
        let [a, b] = square.operands.as_slice() else { return None };
        if square.op != &MUL || a != b || self.node(*a).op != &SUB {
            return None;
        }
        let (v, mean) = (self.node(*a).operands[0], self.node(*a).operands[1]);
        let mean = self.behind(mean, &[&BROADCAST, &RESHAPE]);
        if self.node(mean).op != &DIV {
            return None;
        }
        let sum = self.behind(self.node(mean).operands[0], &[&RESHAPE]);
        let count = self.behind(self.node(mean).operands[1], &[&BROADCAST, &CAST]);
        let axes = node.attrs.ints("axes")?;
        let sums = self.node(sum);
        let same = sums.op == &reduce::SUM && sums.operands[0] == v && sums.attrs.ints("axes") == Some(axes);
        let sizes = &self.graph.ty(v).shape;
        let elements = product(axes.iter().filter_map(|axis| sizes.get(*axis as usize)))?;
        let counted = self.node(count).op == &SIZE && size_of(self.node(count)) == Some(&elements);
        if !same || !counted || !self.rows.one_by_one(v) {
            return None;
        }
        self.statistic(Statistic::Sum, sum);
        self.statistic(Statistic::Sum, count);
        Some(self.statistic(Statistic::Squares, value))
    }

    /// What stands behind nodes of these ops.
    fn behind(&self, value: GraphValue, ops: &[&'static crate::ops::Op]) -> GraphValue {
        let mut value = value;
        while ops.contains(&self.node(value).op) {
            value = self.node(value).operands[0];
        }
        value
    }

    fn statistic(&mut self, kind: Statistic, value: GraphValue) -> GraphValue {
        self.statistics.push((kind, value));
        let name = format!("statistic_{}", self.statistics.len());
        self.rest.input(name, self.graph.ty(value).clone())
    }
}
