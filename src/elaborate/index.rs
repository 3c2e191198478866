//! Indexing: `x[i]`, `x[:, 0]`, `x[-k..]`, `x[..., new]`, gathers, and writes to rows of a state.

use super::Elaborator;
use super::value::{Env, Tensor, Value};
use crate::diagnostics::{Code, Diagnostic};
use crate::graph::{Attr, Attrs, Size, Type};
use crate::ops;
use crate::source::Span;
use crate::syntax::{Expr, ExprKind, IndexItem};

/// One item of an index, evaluated.
enum Item {
    All,
    New,
    At(Size),
    Slice(Size, Size),
    Gather(Tensor, Span),
}

impl Elaborator<'_> {
    pub fn index_expr(&mut self, base: &Expr, items: &[IndexItem], span: Span, env: &Env) -> Value {
        let value = self.expr(base, env);
        match self.settle(value, base.span) {
            Value::Error => Value::Error,
            Value::List(list) => self.index_list(&list, items, span, env),
            Value::Split(split) => self.index_split(&split, items, span, env),
            Value::Tensor(tensor) => self.index_tensor(tensor, items, span, env),
            Value::Range(ends) => match self.iterate(Value::Range(ends), base.span) {
                Some(list) => self.index_list(&list, items, span, env),
                None => Value::Error,
            },
            other => {
                let what = self.describe(&other);
                self.fail(Code::TypeMismatch, base.span, format!("{what} cannot be indexed"), what)
            }
        }
    }

    fn index_list(&mut self, list: &[Value], items: &[IndexItem], span: Span, env: &Env) -> Value {
        let [item] = items else {
            return self.fail(Code::ArgumentCount, span, "a list has one index", format!("{} are given", items.len()));
        };
        let count = list.len() as i64;
        match item {
            IndexItem::All(_) => Value::list(list.to_vec()),
            IndexItem::Rest(at) | IndexItem::New(at) => {
                self.fail(Code::TypeMismatch, *at, "only a tensor takes `...` and `new`", "this is a list")
            }
            IndexItem::Value(Expr { kind: ExprKind::Range { start, end, step }, span }) => {
                let Some((from, to)) = self.bounds(start.as_deref(), end.as_deref(), &Size::known(count), *span, env)
                else {
                    return Value::Error;
                };
                let (from, to) = (from.as_known().unwrap_or(0), to.as_known().unwrap_or(count));
                let part = Value::list(list[from.clamp(0, count) as usize..to.clamp(from, count) as usize].to_vec());
                match step {
                    Some(step) => self.every_nth(part, step, *span, env),
                    None => part,
                }
            }
            IndexItem::Value(expr) => {
                let value = self.expr(expr, env);
                match &value {
                    Value::List(places) => {
                        let items = places.iter().map(|place| self.item_of_list(list, place, expr.span)).collect();
                        Value::list(items)
                    }
                    place => self.item_of_list(list, place, expr.span),
                }
            }
        }
    }

    fn item_of_list(&mut self, list: &[Value], place: &Value, span: Span) -> Value {
        let count = list.len() as i64;
        let Some(at) = self.witness_of(place, span) else {
            return self.wrong_kind(place, "a whole number known while compiling", span);
        };
        let place = if at < 0 { at + count } else { at };
        match usize::try_from(place).ok().and_then(|place| list.get(place)) {
            Some(value) => value.clone(),
            None => self.out_of_range(at, &Size::known(count), span),
        }
    }

    fn out_of_range(&mut self, at: i64, size: &Size, span: Span) -> Value {
        let last = size.as_known().map_or(format!("{size} - 1"), |n| (n - 1).to_string());
        self.fail_help(
            Code::IndexRange,
            span,
            format!("index {at} is out of range, there are {size}"),
            format!("{at} here"),
            format!("indices go from 0 to {last}, or from -{size} to -1"),
        )
    }

    fn index_split(
        &mut self,
        split: &std::rc::Rc<super::value::Split>,
        items: &[IndexItem],
        span: Span,
        env: &Env,
    ) -> Value {
        let Some(count) = split.count() else {
            return self.fail(Code::WrongTime, span, "a stream has no records to index", "no end is known");
        };
        let (start, stop) = match items {
            [IndexItem::All(_)] => (0, count),
            [IndexItem::Value(Expr { kind: ExprKind::Range { start, end, step: None }, span })] => {
                let Some((a, b)) =
                    self.bounds(start.as_deref(), end.as_deref(), &Size::known(count as i64), *span, env)
                else {
                    return Value::Error;
                };
                (a.as_known().unwrap_or(0) as usize, b.as_known().unwrap_or(0) as usize)
            }
            _ => return self.fail(Code::TypeMismatch, span, "records are read with `[:]` or `[a..b]`", "this index"),
        };
        self.columns(split, start, stop, span)
    }

    pub fn index_tensor(&mut self, tensor: Tensor, items: &[IndexItem], span: Span, env: &Env) -> Value {
        let ty = self.ty(tensor);
        let used = items.iter().filter(|item| !matches!(item, IndexItem::New(_) | IndexItem::Rest(_))).count();
        if used > ty.rank() {
            return self.fail(
                Code::ShapeMismatch,
                span,
                format!("{used} indices for {ty}"),
                format!("{ty} has {} sizes", ty.rank()),
            );
        }
        let mut evaluated = Vec::new();
        let mut axis = 0;
        for item in items {
            match item {
                IndexItem::All(_) => evaluated.push(Item::All),
                IndexItem::New(_) => {
                    evaluated.push(Item::New);
                    continue;
                }
                IndexItem::Rest(_) => {
                    let skipped = ty.rank() - used;
                    evaluated.extend((0..skipped).map(|_| Item::All));
                    axis += skipped;
                    continue;
                }
                IndexItem::Value(expr) => match self.index_item(expr, &ty.shape[axis].clone(), env) {
                    Some(item) => evaluated.push(item),
                    None => return Value::Error,
                },
            }
            axis += 1;
        }
        self.apply_index(tensor, evaluated, span)
    }

    fn index_item(&mut self, expr: &Expr, size: &Size, env: &Env) -> Option<Item> {
        if let ExprKind::Range { start, end, step } = &expr.kind {
            let (a, b) = self.bounds(start.as_deref(), end.as_deref(), size, expr.span, env)?;
            let Some(step) = step else { return Some(Item::Slice(a, b)) };
            let range = Value::Range(Box::new((Value::size(a), Value::size(b))));
            let places = self.every_nth(range, step, expr.span, env);
            let index = self.as_tensor(&places, expr.span)?;
            return Some(Item::Gather(index, expr.span));
        }
        let value = self.expr(expr, env);
        match self.settle(value, expr.span) {
            Value::Int(n) => {
                if size.as_known().is_some_and(|size| n >= size || n < -size) {
                    self.out_of_range(n, size, expr.span);
                    return None;
                }
                let at = if n < 0 { size.add(&Size::known(n)).ok()? } else { Size::known(n) };
                Some(Item::At(at))
            }
            Value::Size(at) => Some(Item::At(at)),
            Value::Range(ends) => {
                let (a, b) = (ends.0.as_size()?, ends.1.as_size()?);
                Some(Item::Slice(a, b))
            }
            Value::Error => None,
            other => {
                let tensor = self.as_tensor(&other, expr.span);
                match tensor {
                    Some(tensor) if self.ty(tensor).dtype == crate::graph::DType::I64 => {
                        Some(Item::Gather(tensor, expr.span))
                    }
                    _ => {
                        self.report(
                            Diagnostic::error(Code::ElementType, "an index is a whole number or a tensor of them")
                                .label(expr.span, self.describe(&other))
                                .help("`int(x)` makes whole numbers"),
                        );
                        None
                    }
                }
            }
        }
    }

    /// The ends of a range in an index: missing ones are the axis's, negative ones count from its end.
    fn bounds(
        &mut self,
        start: Option<&Expr>,
        end: Option<&Expr>,
        size: &Size,
        span: Span,
        env: &Env,
    ) -> Option<(Size, Size)> {
        let bound = |this: &mut Self, expr: Option<&Expr>, missing: Size| -> Option<Size> {
            let Some(expr) = expr else { return Some(missing) };
            let value = this.expr(expr, env);
            let Some(at) = value.as_size() else {
                this.wrong_kind(&value, "a whole number known while compiling", expr.span);
                return None;
            };
            Some(if at.as_known().is_some_and(|n| n < 0) { size.add(&at).ok()? } else { at })
        };
        let from = bound(self, start, Size::known(0))?;
        let to = bound(self, end, size.clone())?;
        if let (Some(a), Some(b)) = (from.as_known(), to.as_known()) {
            let limit = size.as_known().unwrap_or(i64::MAX);
            if a < 0 || b < a || b > limit {
                self.fail_help(
                    Code::IndexRange,
                    span,
                    format!("the range {a}..{b} is out of range, there are {size}"),
                    "here",
                    "a range starts at 0 or later and ends at the size at most",
                );
                return None;
            }
        }
        Some((from, to))
    }

    fn apply_index(&mut self, tensor: Tensor, items: Vec<Item>, span: Span) -> Value {
        let gathers: Vec<(Tensor, Span)> = items
            .iter()
            .filter_map(|item| match item {
                Item::Gather(index, span) => Some((*index, *span)),
                _ => None,
            })
            .collect();
        if gathers.len() > 1 {
            return self.pointwise(tensor, &items, &gathers, span);
        }
        let ty = self.ty(tensor);
        let (mut start, mut stop, mut shape) = (Vec::new(), Vec::new(), Vec::new());
        let mut gather = None;
        let mut axis = 0;
        for item in &items {
            let size = ty.shape.get(axis).cloned();
            match (item, size) {
                (Item::New, _) => {
                    shape.push(Size::known(1));
                    continue;
                }
                (Item::All, Some(size)) => {
                    start.push(Size::known(0));
                    stop.push(size.clone());
                    shape.push(size);
                }
                (Item::At(at), _) => {
                    start.push(at.clone());
                    let Ok(next) = at.add(&Size::known(1)) else { return Value::Error };
                    stop.push(next);
                }
                (Item::Slice(a, b), _) => {
                    start.push(a.clone());
                    stop.push(b.clone());
                    let Ok(length) = b.sub(a) else { return Value::Error };
                    shape.push(length);
                }
                (Item::Gather(index, place), Some(size)) => {
                    gather = Some((*index, *place, shape.len()));
                    start.push(Size::known(0));
                    stop.push(size.clone());
                    shape.push(size);
                }
                (_, None) => return Value::Error,
            }
            axis += 1;
        }
        for size in &ty.shape[axis..] {
            start.push(Size::known(0));
            stop.push(size.clone());
            shape.push(size.clone());
        }
        let sliced = if start.iter().all(|size| size.is(0)) && stop == ty.shape.to_vec() {
            tensor
        } else {
            let steps = vec![1; ty.rank()];
            let attrs = Attrs::none()
                .with("start", Attr::Sizes(start))
                .with("stop", Attr::Sizes(stop))
                .with("step", Attr::Ints(steps));
            match self.apply(&ops::shape::SLICE, &[tensor], attrs, span) {
                Ok(result) => result,
                Err(mismatch) => return self.fail_mismatch(*mismatch, span, &[span]),
            }
        };
        let shaped = self.reshape_to(sliced, &shape, span);
        match gather {
            Some((index, place, axis)) => self.take(shaped, index, axis as i64, place),
            None => Value::Tensor(shaped),
        }
    }

    pub fn take(&mut self, tensor: Tensor, index: Tensor, axis: i64, span: Span) -> Value {
        let attrs = Attrs::none().with("axis", Attr::Int(axis));
        match self.apply(&ops::index::TAKE, &[tensor, index], attrs, span) {
            Ok(result) => Value::Tensor(Tensor { weak: false, ..result }),
            Err(mismatch) => self.fail_mismatch(*mismatch, span, &[span, span]),
        }
    }

    /// `x[i, j]` with integer tensors picks one element for each pair: a gather from the flattened leading axes.
    fn pointwise(&mut self, tensor: Tensor, items: &[Item], gathers: &[(Tensor, Span)], span: Span) -> Value {
        if items.len() != gathers.len() {
            return self.fail_help(
                Code::NotYet,
                span,
                "integer tensors mixed with ranges in one index",
                "not executable yet",
                "index in two steps",
            );
        }
        let ty = self.ty(tensor);
        let mut flat = Value::Tensor(gathers[0].0);
        for (axis, (index, place)) in gathers.iter().enumerate().skip(1) {
            let size = Value::size(ty.shape[axis].clone());
            flat = self.binary(crate::syntax::BinaryOp::Multiply, flat, size, [*place; 2], span);
            flat = self.binary(crate::syntax::BinaryOp::Add, flat, Value::Tensor(*index), [*place; 2], span);
        }
        let leading = ty.shape[..gathers.len()].iter().try_fold(Size::known(1), |product, size| product.mul(size));
        let (Value::Tensor(flat), Ok(leading)) = (flat, leading) else { return Value::Error };
        let shape: Vec<Size> = std::iter::once(leading).chain(ty.shape[gathers.len()..].iter().cloned()).collect();
        let reshaped = self.reshape_to(tensor, &shape, span);
        self.take(reshaped, flat, 0, span)
    }

    /// One item of the leading axis.
    pub fn row(&mut self, tensor: Tensor, row: i64, span: Span) -> Value {
        self.apply_index(tensor, vec![Item::At(Size::known(row))], span)
    }

    /// `memory[index] <- value` and `memory[index] <+ value`.
    pub fn write_rows(&mut self, base: &Expr, items: &[IndexItem], add: bool, value: &Expr, span: Span, env: &Env) {
        let place = self.expr(base, env);
        let new = self.expr(value, env);
        let Value::Cell(slot) = place else {
            if !place.is_error() {
                self.wrong_kind(&place, "a state", base.span);
            }
            return;
        };
        let [IndexItem::Value(index)] = items else {
            self.fail(Code::NotYet, span, "rows are written by one index", "not executable yet");
            return;
        };
        let index_value = self.expr(index, env);
        let (Some(index_tensor), Some(new)) =
            (self.as_tensor(&index_value, index.span), self.as_tensor(&new, value.span))
        else {
            return;
        };
        let current = self.read_slot(slot, base.span);
        let ty = self.ty(current);
        let rows: Vec<Size> =
            self.ty(index_tensor).shape.iter().chain(&ty.shape[1.min(ty.rank())..]).cloned().collect();
        let wanted = Type::new(ty.dtype, rows);
        let Some(update) = self.cell_tensor(Value::Tensor(new), &wanted, value.span) else { return };
        let op = if add { &ops::index::SCATTER_ADD } else { &ops::index::SCATTER_SET };
        let attrs = Attrs::none().with("axis", Attr::Int(0));
        match self.apply(op, &[current, index_tensor, update], attrs, span) {
            Ok(tensor) => self.write_slot(slot, tensor, span),
            Err(mismatch) => {
                self.fail_mismatch(*mismatch, span, &[base.span, index.span, value.span]);
            }
        }
    }

    pub fn transpose_last(&mut self, tensor: Tensor, span: Span) -> Value {
        let rank = self.ty(tensor).rank();
        if rank < 2 {
            return Value::Tensor(tensor);
        }
        let mut axes: Vec<i64> = (0..rank as i64).collect();
        axes.swap(rank - 1, rank - 2);
        self.permute(tensor, axes, span)
    }

    pub fn permute(&mut self, tensor: Tensor, axes: Vec<i64>, span: Span) -> Value {
        match self.apply(&ops::shape::PERMUTE, &[tensor], Attrs::none().with("axes", Attr::Ints(axes)), span) {
            Ok(tensor) => Value::Tensor(tensor),
            Err(mismatch) => self.fail_mismatch(*mismatch, span, &[span]),
        }
    }

    /// Tensors of one shape along a new axis.
    pub fn stack(&mut self, items: &[Value], axis: usize, span: Span) -> Value {
        let mut tensors = Vec::new();
        for item in items {
            match self.as_tensor(item, span) {
                Some(tensor) => tensors.push(tensor),
                None if item.is_error() => return Value::Error,
                None => return self.wrong_kind(&item.clone(), "a tensor", span),
            }
        }
        if tensors.is_empty() {
            return self.fail(Code::BadValue, span, "an empty list is no tensor", "nothing to stack");
        }
        let spans = vec![span; tensors.len()];
        let Some(tensors) = self.meet(&tensors, super::operators::Meeting::Same, &spans, span) else {
            return Value::Error;
        };
        let axis = axis.min(self.ty(tensors[0]).rank());
        let ty = self.ty(tensors[0]);
        let weak = tensors.iter().all(|tensor| tensor.weak) && ty.dtype == crate::graph::DType::F64;
        let tensors: Vec<Tensor> = match weak {
            true => tensors.into_iter().map(|tensor| self.cast(tensor, self.float, span)).collect(),
            false => tensors,
        };
        let tensors: Vec<Tensor> = tensors.into_iter().map(|tensor| self.insert_axis(tensor, axis, span)).collect();
        self.concat(&tensors, axis as i64, span)
    }

    pub fn concat(&mut self, tensors: &[Tensor], axis: i64, span: Span) -> Value {
        match self.apply(&ops::shape::CONCAT, tensors, Attrs::none().with("axis", Attr::Int(axis)), span) {
            Ok(tensor) => Value::Tensor(Tensor { weak: false, ..tensor }),
            Err(mismatch) => self.fail_mismatch(*mismatch, span, &vec![span; tensors.len()]),
        }
    }
}
