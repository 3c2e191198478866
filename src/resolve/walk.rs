//! Where names stand in a statement, and which of its parts bind them.

use std::collections::HashSet;
use std::sync::Arc;

use super::names::{Checker, PREDICATE};
use crate::syntax::*;

pub(super) fn statement(checker: &mut Checker<'_>, statement: &Statement) {
    match &statement.kind {
        StatementKind::Error => checker.unread.push(statement.span),
        StatementKind::Use { .. } | StatementKind::Type { .. } => {}
        StatementKind::Option { value, .. } => word_or_expr(checker, value),
        StatementKind::Param { value, .. } => optional(checker, value.as_ref()),
        StatementKind::Data { params, value, .. } => checker.inside(|checker| {
            signature(checker, params.as_deref().unwrap_or(&[]), &[], None);
            expr(checker, value);
        }),
        StatementKind::Net { value, .. } => expr(checker, value),
        StatementKind::View(view, ViewForm::Value) if view.params.is_empty() => block(checker, &view.body),
        StatementKind::View(function, _) | StatementKind::Fn(function) | StatementKind::Flow(function) => {
            body(checker, &function.params, &function.inputs, function.result.as_ref(), &[], &function.body);
        }
        StatementKind::Module { params, inputs, result, body: inner, .. } => {
            body(checker, params, inputs, result.as_ref(), &[], inner);
        }
        StatementKind::Optimizer { params, inputs, clock, body: inner, .. } => {
            let clock = clock.as_ref().map_or("t", |clock| &*clock.text);
            body(checker, params, inputs, None, &["t", clock], inner);
        }
        StatementKind::Weight(cell) | StatementKind::State(cell) => {
            if let Some(ty) = &cell.ty {
                sizes(checker, ty, false);
            }
            expr(checker, &cell.value);
        }
        StatementKind::Pool { arguments, .. } => options(checker, arguments),
        StatementKind::Test { body, .. } => later(checker, |checker| block(checker, body)),
        _ => stage(checker, &statement.kind),
    }
}

fn stage(checker: &mut Checker<'_>, kind: &StatementKind) {
    match kind {
        StatementKind::Loop { options: given, clock, sources, body, .. } => {
            sources.iter().for_each(|source| expr(checker, &source.source));
            checker.inside(|checker| {
                clock.iter().for_each(|clock| checker.bind(&clock.text));
                options(checker, given);
                sources.iter().for_each(|source| checker.bind_pattern(&source.pattern));
                checker.statements(&body.statements);
            });
        }
        StatementKind::Sweep { axes, body, .. } => checker.inside(|checker| {
            axes_into(checker, axes);
            checker.statements(&body.statements);
        }),
        StatementKind::Study { axes, table, body } => later(checker, |checker| {
            checker.inside(|checker| {
                axes_into(checker, axes);
                table.iter().for_each(|table| checker.bind(&table.text));
                checker.statements(&body.statements);
            });
        }),
        StatementKind::For { pattern, over, filter, body } => {
            expr(checker, over);
            checker.inside(|checker| {
                checker.bind_pattern(pattern);
                optional(checker, filter.as_ref());
                checker.statements(&body.statements);
            });
        }
        StatementKind::Repeat { count, index, body } => {
            optional(checker, count.as_ref());
            indexed(checker, index.as_ref(), body);
        }
        StatementKind::Flywheel { options: given, index, body, .. } => {
            options(checker, given);
            indexed(checker, index.as_ref(), body);
        }
        _ => effect(checker, kind),
    }
}

fn effect(checker: &mut Checker<'_>, kind: &StatementKind) {
    match kind {
        StatementKind::Let { pattern, ty, draw, value, .. } => {
            // A function may name what is defined after it: it is called later.
            expr(checker, value);
            if let Some(ty) = ty {
                sizes(checker, ty, !draw);
            }
            checker.bind_pattern(pattern);
        }
        StatementKind::Rebind { name, value } => {
            expr(checker, value);
            checker.name(&name.text, name.span);
        }
        StatementKind::Write { target, value, .. } => {
            expr(checker, value);
            expr(checker, target);
        }
        StatementKind::Until(value) | StatementKind::Yield(value) | StatementKind::Expr(value) => expr(checker, value),
        StatementKind::Choose { value, .. } | StatementKind::Say { value, .. } => expr(checker, value),
        StatementKind::Run { step, amount } => {
            expr(checker, step);
            optional(checker, amount.as_ref());
        }
        StatementKind::Minimize { loss, over, using } => {
            expr(checker, loss);
            for selection in over.iter().chain(using) {
                expr(checker, &selection.value);
                optional(checker, selection.except.as_ref());
                if let Some(filter) = &selection.filter {
                    predicate(checker, |checker| expr(checker, filter));
                }
            }
        }
        StatementKind::Emit { pool, value, filter } => {
            expr(checker, pool);
            expr(checker, value);
            checker.inside(|checker| {
                fields_of(checker, value);
                optional(checker, filter.as_ref());
            });
        }
        StatementKind::Assert { condition, why } => {
            expr(checker, condition);
            optional(checker, why.as_ref());
        }
        StatementKind::Save { value, path } | StatementKind::Load { target: value, path } => {
            expr(checker, value);
            expr(checker, path);
        }
        _ => {}
    }
}

/// The filter of an `emit` sees the fields of the record that is emitted.
fn fields_of(checker: &mut Checker<'_>, value: &Expr) {
    let ExprKind::Record(items) = &value.kind else { return };
    for item in items {
        match item {
            RecordItem::Field { name, .. } => checker.bind(&name.text),
            RecordItem::Pun(Expr { kind: ExprKind::Field { name, .. }, .. }) => checker.bind(&name.text),
            _ => {}
        }
    }
}

fn indexed(checker: &mut Checker<'_>, index: Option<&Name>, body: &Block) {
    checker.inside(|checker| {
        index.iter().for_each(|index| checker.bind(&index.text));
        checker.statements(&body.statements);
    });
}

fn axes_into(checker: &mut Checker<'_>, axes: &[Axis]) {
    for axis in axes {
        expr(checker, &axis.value);
        checker.bind(&axis.name.text);
    }
}

/// The axes of every sweep and study, however deep.
pub(super) fn axes_of(statements: &[Statement], found: &mut HashSet<Arc<str>>) {
    for statement in statements {
        match &statement.kind {
            StatementKind::Sweep { axes, body, .. } | StatementKind::Study { axes, body, .. } => {
                found.extend(axes.iter().map(|axis| axis.name.text.clone()));
                axes_of(&body.statements, found);
            }
            StatementKind::Flow(flow) => axes_of(&flow.body.statements, found),
            StatementKind::Repeat { body, index, .. } | StatementKind::Flywheel { body, index, .. } => {
                found.extend(index.iter().map(|index| index.text.clone()));
                axes_of(&body.statements, found);
            }
            _ => {}
        }
    }
}

/// The body of a definition, with its signature and the names that the language gives it.
fn body(
    checker: &mut Checker<'_>,
    params: &[Param],
    inputs: &[Param],
    result: Option<&TypeExpr>,
    given: &[&str],
    inner: &Block,
) {
    later(checker, |checker| {
        checker.inside(|checker| {
            signature(checker, params, inputs, result);
            given.iter().for_each(|word| checker.bind_word(word));
            checker.statements(&inner.statements);
        });
    });
}

/// Parameters and the sizes that they mention; then what their types and defaults compute from them.
fn signature(checker: &mut Checker<'_>, params: &[Param], inputs: &[Param], result: Option<&TypeExpr>) {
    let all = || params.iter().chain(inputs);
    for param in all() {
        checker.bind(&param.name.text);
        param.pattern.iter().for_each(|pattern| checker.bind_pattern(pattern));
    }
    let types: Vec<&TypeExpr> = all().filter_map(|param| param.ty.as_ref()).chain(result).collect();
    types.iter().for_each(|ty| bind_sizes(checker, ty));
    types.into_iter().for_each(|ty| sizes(checker, ty, true));
    all().for_each(|param| optional(checker, param.default.as_ref()));
}

/// The sizes of a type: a bare name that is not bound yet is bound here where the type is that of a given value.
fn sizes(checker: &mut Checker<'_>, ty: &TypeExpr, binds: bool) {
    match &ty.kind {
        TypeKind::Name(_) | TypeKind::Words(_) => {}
        TypeKind::Bounded { limit, .. } => size(checker, limit, binds),
        TypeKind::Tensor { limit, sizes, .. } => {
            limit.iter().for_each(|limit| size(checker, limit, binds));
            for item in sizes {
                match item {
                    SizeExpr::Rest(name) if binds => checker.bind(&name.text),
                    SizeExpr::Rest(name) => checker.name(&name.text, name.span),
                    SizeExpr::Size(value) => size(checker, value, binds),
                }
            }
        }
        TypeKind::Record(fields) => fields.iter().for_each(|(_, ty)| sizes(checker, ty, binds)),
        TypeKind::Extended { base, fields } => {
            expr(checker, base);
            fields.iter().for_each(|(_, ty)| sizes(checker, ty, binds));
        }
        TypeKind::Arrow(from, to) => {
            sizes(checker, from, binds);
            sizes(checker, to, binds);
        }
    }
}

/// Binds the bare sizes of a signature ahead of those that compute with them, as in `[2 * d], [d]`.
fn bind_sizes(checker: &mut Checker<'_>, ty: &TypeExpr) {
    match &ty.kind {
        TypeKind::Tensor { sizes, .. } => {
            for item in sizes {
                match item {
                    SizeExpr::Rest(Name { text, .. }) => checker.bind(text),
                    SizeExpr::Size(Expr { kind: ExprKind::Name(text), .. }) => checker.bind(text),
                    SizeExpr::Size(_) => {}
                }
            }
        }
        TypeKind::Record(fields) | TypeKind::Extended { fields, .. } => {
            fields.iter().for_each(|(_, ty)| bind_sizes(checker, ty));
        }
        TypeKind::Arrow(from, to) => {
            bind_sizes(checker, from);
            bind_sizes(checker, to);
        }
        TypeKind::Name(_) | TypeKind::Words(_) | TypeKind::Bounded { .. } => {}
    }
}

fn size(checker: &mut Checker<'_>, value: &Expr, binds: bool) {
    match &value.kind {
        ExprKind::Name(name) if binds && !checker.is_bound(name) => checker.bind(name),
        _ => expr(checker, value),
    }
}

fn later(checker: &mut Checker<'_>, visit: impl FnOnce(&mut Checker<'_>)) {
    checker.later += 1;
    visit(checker);
    checker.later -= 1;
}

fn block(checker: &mut Checker<'_>, block: &Block) {
    checker.inside(|checker| checker.statements(&block.statements));
}

fn optional(checker: &mut Checker<'_>, value: Option<&Expr>) {
    value.into_iter().for_each(|value| expr(checker, value));
}

/// Options of a stage: a bare word is a word of that option, such as `bf16`.
fn options(checker: &mut Checker<'_>, arguments: &[Argument]) {
    arguments.iter().for_each(|argument| word_or_expr(checker, &argument.value));
}

fn word_or_expr(checker: &mut Checker<'_>, value: &Expr) {
    match &value.kind {
        ExprKind::Name(name) if !checker.is_bound(name) => {}
        _ => expr(checker, value),
    }
}

fn predicate(checker: &mut Checker<'_>, visit: impl FnOnce(&mut Checker<'_>)) {
    checker.inside(|checker| {
        PREDICATE.iter().for_each(|word| checker.bind_word(word));
        visit(checker);
    });
}

fn expr(checker: &mut Checker<'_>, value: &Expr) {
    match &value.kind {
        ExprKind::Error => checker.unread.push(value.span),
        ExprKind::Int(_) | ExprKind::Float(_) | ExprKind::Bool(_) | ExprKind::Text(_) | ExprKind::Quantity(..) => {}
        ExprKind::Name(name) => checker.name(name, value.span),
        ExprKind::List(items) => items.iter().for_each(|item| expr(checker, item)),
        ExprKind::Comprehension { item, pattern, over, filter } => {
            expr(checker, over);
            checker.inside(|checker| {
                checker.bind_pattern(pattern);
                optional(checker, filter.as_deref());
                expr(checker, item);
            });
        }
        ExprKind::Record(items) => items.iter().for_each(|item| match item {
            RecordItem::Field { value, .. } | RecordItem::Pun(value) | RecordItem::Spread(value) => {
                expr(checker, value)
            }
        }),
        ExprKind::Block(inner) => block(checker, inner),
        ExprKind::Lambda { params, body } => later(checker, |checker| {
            checker.inside(|checker| {
                signature(checker, params, &[], None);
                checker.statements(&body.statements);
            });
        }),
        ExprKind::Unary(_, inner) | ExprKind::Paren(inner) => expr(checker, inner),
        ExprKind::Binary { left, right, .. } | ExprKind::Pipe { left, right } => {
            expr(checker, left);
            expr(checker, right);
        }
        ExprKind::Call { callee, arguments } => call(checker, value, callee, arguments),
        ExprKind::Index { base, items } => {
            expr(checker, base);
            for item in items {
                if let IndexItem::Value(value) = item {
                    expr(checker, value);
                }
            }
        }
        ExprKind::Field { base, .. } => expr(checker, base),
        ExprKind::Range { start, end, step } => {
            for part in [start, end, step] {
                optional(checker, part.as_deref());
            }
        }
        ExprKind::If { condition, then, otherwise } => {
            expr(checker, condition);
            block(checker, then);
            otherwise.iter().for_each(|otherwise| block(checker, otherwise));
        }
    }
}

/// A source, or what may be a transform of a data set: a bare name behind their `label:` is a field.
fn reads_data(callee: &Expr) -> bool {
    match &callee.kind {
        ExprKind::Field { .. } => true,
        ExprKind::Name(name) => crate::data::source(name).is_some(),
        _ => false,
    }
}

fn call(checker: &mut Checker<'_>, whole: &Expr, callee: &Expr, arguments: &[Argument]) {
    // The `zip` and `concat` of a comprehension are not written and mean the compiler's own.
    if callee.span != whole.span {
        expr(checker, callee);
    }
    // `net.weights.where(rank >= 2)`
    let selects = matches!(&callee.kind, ExprKind::Field { name, .. } if &*name.text == "where");
    for argument in arguments {
        let name = argument.name.as_ref().map_or("", |name| &*name.text);
        match (&argument.value.kind, name) {
            // A bare name is a field there.
            (ExprKind::Lambda { .. }, "by" | "per" | "stratified" | "fit") => expr(checker, &argument.value),
            (_, "by" | "per" | "stratified" | "fit") => {}
            (ExprKind::Name(_), "on" | "label" | "target" | "field") if reads_data(callee) => {}
            (ExprKind::Name(name), "axis") if checker.axes.contains(name) => {}
            _ if selects => predicate(checker, |checker| expr(checker, &argument.value)),
            _ => expr(checker, &argument.value),
        }
    }
}
