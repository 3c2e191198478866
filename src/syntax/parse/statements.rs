//! Statements and what they are made of: parameters, patterns, axes, selections.

use std::sync::Arc;

use pest::iterators::Pair;

use super::{Builder, Parts, Rule, has};
use crate::source::Span;
use crate::syntax::tree::*;

impl Builder<'_> {
    pub(super) fn statement(&self, pair: Pair<'_, Rule>) -> Statement {
        let span = self.span(&pair);
        let doc = self.doc_above(span.start as usize);
        let unread = has(&pair, Rule::broken).then(|| self.unread(&pair));
        let kind = pair.into_inner().next().and_then(|inner| self.statement_kind(inner));
        Statement { kind: kind.unwrap_or(StatementKind::Error), span: unread.unwrap_or(span), doc }
    }

    /// The place that recovery took out: from its mark over the blanks behind it.
    fn unread(&self, pair: &Pair<'_, Rule>) -> Span {
        let (start, end) = (pair.as_span().start(), pair.as_span().end());
        let rest = pair.get_input().get(end..).unwrap_or("");
        let blanks = rest.len() - rest.trim_start_matches(' ').len();
        let length = self.text.get(start..end + blanks).map_or(1, |text| text.trim_end().len());
        Span::new(self.source, start, start + length)
    }

    fn statement_kind(&self, pair: Pair<'_, Rule>) -> Option<StatementKind> {
        match pair.as_rule() {
            Rule::broken => None,
            Rule::use_
            | Rule::option
            | Rule::param
            | Rule::type_def
            | Rule::data
            | Rule::net
            | Rule::weight
            | Rule::state
            | Rule::pool => self.declaration(pair),
            Rule::view | Rule::module | Rule::function | Rule::flow | Rule::optimizer => self.callable(pair),
            Rule::loop_ | Rule::sweep | Rule::let_sweep | Rule::study | Rule::test => self.stage(pair),
            Rule::let_
            | Rule::rebind
            | Rule::for_
            | Rule::repeat_
            | Rule::flywheel
            | Rule::until_
            | Rule::run
            | Rule::choose
            | Rule::yield_ => self.control(pair),
            Rule::slip_import | Rule::slip_return | Rule::slip_update => self.slip_statement(pair),
            _ => self.effect(pair),
        }
    }

    fn declaration(&self, pair: Pair<'_, Rule>) -> Option<StatementKind> {
        let rule = pair.as_rule();
        let draw = has(&pair, Rule::tilde);
        let mut parts = Parts::of(pair);
        if rule == Rule::use_ {
            return self.use_statement(parts);
        }
        let name = self.name(&parts.next()?);
        Some(match rule {
            Rule::param => StatementKind::Param {
                name,
                ty: self.annotation(&mut parts),
                value: parts.next().map(|p| self.expr(p)),
            },
            Rule::option => StatementKind::Option { name, value: self.expr(parts.next()?) },
            Rule::type_def => StatementKind::Type { name, ty: self.type_expr(parts.next()?) },
            Rule::data => {
                let params = parts.take(Rule::params).map(|params| self.params(params));
                StatementKind::Data { name, params, value: self.data_value(parts.next()?)? }
            }
            Rule::net => StatementKind::Net { name, ty: self.annotation(&mut parts), value: self.expr(parts.next()?) },
            Rule::pool => {
                let arguments = parts.take(Rule::arguments).map(|p| self.arguments(p)).unwrap_or_default();
                StatementKind::Pool { name, arguments, schema: self.annotation(&mut parts) }
            }
            _ => {
                let cell = Cell { name, ty: self.annotation(&mut parts), draw, value: self.expr(parts.next()?) };
                if rule == Rule::weight { StatementKind::Weight(cell) } else { StatementKind::State(cell) }
            }
        })
    }

    fn use_statement(&self, mut parts: Parts<'_>) -> Option<StatementKind> {
        let path = match parts.take(Rule::text) {
            Some(text) => UsePath::File(self.text(text)),
            None => UsePath::Library(parts.next()?.into_inner().map(|word| self.name(&word)).collect()),
        };
        let names = match parts.take(Rule::name_list) {
            Some(list) => Parts::of(list).take_all(Rule::used),
            None => parts.take_all(Rule::used),
        };
        let names = names.into_iter().filter_map(|used| self.used(used)).collect();
        let alias = parts.take(Rule::alias).and_then(|alias| self.clock(alias));
        Some(StatementKind::Use { path, names, alias })
    }

    fn used(&self, pair: Pair<'_, Rule>) -> Option<Used> {
        let mut parts = Parts::of(pair);
        let name = self.name(&parts.next()?);
        Some(Used { name, alias: parts.take(Rule::alias).and_then(|alias| self.clock(alias)) })
    }

    /// An expression, or a body of its own.
    fn data_value(&self, pair: Pair<'_, Rule>) -> Option<Expr> {
        let span = self.span(&pair);
        match pair.as_rule() {
            Rule::braces => Some(Expr { kind: ExprKind::Block(Arc::new(self.block(pair))), span }),
            _ => Some(self.expr(pair)),
        }
    }

    fn callable(&self, pair: Pair<'_, Rule>) -> Option<StatementKind> {
        let rule = pair.as_rule();
        let whole = self.span(&pair);
        let mut parts = Parts::of(pair);
        if let Some(slip) = parts.take(Rule::slip_def) {
            self.slip_def(&slip);
        }
        let name = self.name(&parts.next()?);
        let params = parts.take(Rule::params).map(|p| self.params(p)).unwrap_or_default();
        if rule == Rule::view && parts.items.peek().is_some_and(|next| next.as_rule() == Rule::expr) {
            let value = self.expr(parts.next()?);
            let body = Arc::new(block_of_expr(value));
            let function = Function { name, params, inputs: Vec::new(), result: None, body };
            return Some(StatementKind::View(function, ViewForm::Value));
        }
        let inputs = parts.take(Rule::params).map(|p| self.params(p));
        let result = parts.take(Rule::result).map(|p| self.result(p));
        let clock = parts.take(Rule::clock).and_then(|p| self.clock(p));
        let body = parts.next().map_or(Block { statements: Vec::new(), span: whole }, |p| self.block(p));
        Some(match rule {
            Rule::module => StatementKind::Module { name, params, inputs: inputs.unwrap_or_default(), result, body },
            Rule::optimizer => {
                StatementKind::Optimizer { name, params, inputs: inputs.unwrap_or_default(), clock, body }
            }
            _ => {
                let inputs = inputs.unwrap_or_default();
                let function = Function { name, params, inputs, result, body: Arc::new(body) };
                match rule {
                    Rule::view => StatementKind::View(function, ViewForm::Body),
                    Rule::flow => StatementKind::Flow(function),
                    _ => StatementKind::Fn(function),
                }
            }
        })
    }

    fn stage(&self, pair: Pair<'_, Rule>) -> Option<StatementKind> {
        let rule = pair.as_rule();
        let end = self.span(&pair).end as usize;
        let word = pair.clone().into_inner().next().map(|first| first.as_rule());
        let mut parts = Parts::of(pair);
        match rule {
            Rule::loop_ => {
                let word = match word? {
                    Rule::kw_train => LoopWord::Train,
                    Rule::kw_pass => LoopWord::Pass,
                    _ => LoopWord::Step,
                };
                let name = self.name(&parts.next()?);
                let options = parts.take(Rule::arguments).map(|p| self.arguments(p)).unwrap_or_default();
                let clock = parts.take(Rule::clock).and_then(|p| self.clock(p));
                let sources = parts.take_all(Rule::source).into_iter().filter_map(|p| self.source(p)).collect();
                Some(StatementKind::Loop { word, name, options, clock, sources, body: self.block(parts.next()?) })
            }
            Rule::sweep | Rule::let_sweep => {
                let name = self.name(&parts.next()?);
                let axes = self.axes(parts.next()?);
                Some(StatementKind::Sweep { name, axes, body: self.block(parts.next()?) })
            }
            Rule::study => {
                let axes = self.axes(parts.next()?);
                let table = parts.take(Rule::clock).and_then(|p| self.clock(p));
                let nothing = Block { statements: Vec::new(), span: Span::new(self.source, end, end) };
                Some(StatementKind::Study { axes, table, body: parts.next().map_or(nothing, |p| self.block(p)) })
            }
            _ => Some(StatementKind::Test { name: self.text(parts.next()?), body: self.block(parts.next()?) }),
        }
    }

    fn source(&self, pair: Pair<'_, Rule>) -> Option<LoopSource> {
        let mut parts = Parts::of(pair);
        Some(LoopSource { pattern: self.pattern(parts.next()?)?, source: self.expr(parts.next()?) })
    }

    pub(super) fn clock(&self, pair: Pair<'_, Rule>) -> Option<Name> {
        Parts::of(pair).next().map(|name| self.name(&name))
    }

    fn axes(&self, pair: Pair<'_, Rule>) -> Vec<Axis> {
        let axes = Parts::of(pair).take_all(Rule::axis).into_iter().filter_map(|axis| {
            let fixed = has(&axis, Rule::colon);
            let mut parts = Parts::of(axis);
            Some(Axis { name: self.name(&parts.next()?), fixed, value: self.expr(parts.next()?) })
        });
        axes.collect()
    }

    fn control(&self, pair: Pair<'_, Rule>) -> Option<StatementKind> {
        let rule = pair.as_rule();
        let mutable = has(&pair, Rule::kw_var);
        let draw = has(&pair, Rule::tilde) || has(&pair, Rule::kw_in);
        let mut parts = Parts::of(pair);
        Some(match rule {
            Rule::let_ => {
                let pattern = self.pattern(parts.next()?)?;
                let ty = self.annotation(&mut parts);
                StatementKind::Let { mutable, pattern, ty, draw, value: self.expr(parts.next()?) }
            }
            Rule::rebind => StatementKind::Rebind { name: self.name(&parts.next()?), value: self.expr(parts.next()?) },
            Rule::for_ => {
                let patterns = parts.take_all(Rule::pattern);
                let heads = parts.take_all(Rule::head);
                let (pattern, over) = self.zipped(patterns, heads)?;
                let filter = parts.take(Rule::filter_head).and_then(|p| Parts::of(p).next()).map(|p| self.expr(p));
                StatementKind::For { pattern, over, filter, body: self.block(parts.next()?) }
            }
            Rule::repeat_ => {
                let count = parts.take(Rule::head).map(|p| self.expr(p));
                let index = parts.take(Rule::clock).and_then(|p| self.clock(p));
                StatementKind::Repeat { count, index, body: self.block(parts.next()?) }
            }
            Rule::flywheel => {
                let name = self.name(&parts.next()?);
                let options = parts.take(Rule::arguments).map(|p| self.arguments(p)).unwrap_or_default();
                let index = parts.take(Rule::clock).and_then(|p| self.clock(p));
                StatementKind::Flywheel { name, options, index, body: self.block(parts.next()?) }
            }
            Rule::until_ => StatementKind::Until(self.expr(parts.next()?)),
            Rule::run => {
                StatementKind::Run { step: self.expr(parts.next()?), amount: parts.next().map(|p| self.expr(p)) }
            }
            Rule::choose => {
                StatementKind::Choose { name: self.name(&parts.next()?), draw, value: self.expr(parts.next()?) }
            }
            _ => StatementKind::Yield(self.expr(parts.next()?)),
        })
    }

    fn effect(&self, pair: Pair<'_, Rule>) -> Option<StatementKind> {
        let rule = pair.as_rule();
        let word = pair.clone().into_inner().next().map(|first| first.as_rule());
        let mut parts = Parts::of(pair);
        Some(match rule {
            Rule::minimize => {
                let loss = self.expr(parts.next()?);
                let (mut over, mut using) = (Vec::new(), Vec::new());
                while let Some(part) = parts.next() {
                    let list = if part.as_rule() == Rule::over { &mut over } else { &mut using };
                    let selections = Parts::of(part).take_all(Rule::selection).into_iter();
                    list.extend(selections.filter_map(|p| self.selection(p)));
                }
                StatementKind::Minimize { loss, over, using }
            }
            Rule::emit => {
                let pool = self.emit_pool(parts.next()?)?;
                let value = self.expr(parts.next()?);
                StatementKind::Emit { pool, value, filter: self.filter(&mut parts) }
            }
            Rule::say | Rule::report => {
                let word = match word? {
                    Rule::kw_log => SayWord::Log,
                    Rule::kw_measure => SayWord::Measure,
                    Rule::kw_collect => SayWord::Collect,
                    _ => SayWord::Report,
                };
                self.said(word, parts)?
            }
            Rule::assert_ => {
                StatementKind::Assert { condition: self.expr(parts.next()?), why: parts.next().map(|p| self.expr(p)) }
            }
            Rule::save => StatementKind::Save { value: self.expr(parts.next()?), path: self.expr(parts.next()?) },
            Rule::load => StatementKind::Load { target: self.expr(parts.next()?), path: self.expr(parts.next()?) },
            _ => self.action(parts)?,
        })
    }

    /// `{ a, b }`, `name = value`, or several of them and of values that name themselves.
    fn said(&self, word: SayWord, mut parts: Parts<'_>) -> Option<StatementKind> {
        if let Some(record) = parts.take(Rule::record_value) {
            let value = self.braces_value(record.into_inner().next()?);
            return Some(StatementKind::Say { word, name: None, value });
        }
        let said = parts.take_all(Rule::said);
        let mut items: Vec<(Option<Name>, Expr)> = said.into_iter().filter_map(|said| self.said_item(said)).collect();
        // One `name = value` keeps its name; a report of one value may be any expression, such as a record.
        if items.len() == 1 && (items[0].0.is_some() || word == SayWord::Report) {
            let (name, value) = items.pop()?;
            return Some(StatementKind::Say { word, name, value });
        }
        let span = items.first()?.1.span;
        let span = items.first()?.0.as_ref().map_or(span, |name| name.span).to(items.last()?.1.span);
        let entries = items.into_iter().map(|(name, value)| match name {
            Some(name) => Some(RecordItem::Field { name, value }),
            None if value.own_name().is_some() => Some(RecordItem::Pun(value)),
            None => {
                self.nameless(value.span);
                None
            }
        });
        let kind = entries.collect::<Option<Vec<_>>>().map_or(ExprKind::Error, ExprKind::Record);
        Some(StatementKind::Say { word, name: None, value: Expr { kind, span } })
    }

    fn said_item(&self, pair: Pair<'_, Rule>) -> Option<(Option<Name>, Expr)> {
        let mut parts = Parts::of(pair);
        let name = parts.take(Rule::word).map(|name| self.name(&name));
        Some((name, self.expr(parts.next()?)))
    }

    /// `value`, `target <- value`, `target <+ value`
    fn action(&self, mut parts: Parts<'_>) -> Option<StatementKind> {
        let target = self.expr(parts.next()?);
        let Some(operator) = parts.next() else { return Some(StatementKind::Expr(target)) };
        let add = operator.as_rule() == Rule::add_write;
        Some(StatementKind::Write { target, add, value: self.expr(parts.next()?) })
    }

    fn selection(&self, pair: Pair<'_, Rule>) -> Option<Selection> {
        let mut parts = Parts::of(pair);
        let value = self.expr(parts.next()?);
        let except = parts.take(Rule::except).and_then(|p| Parts::of(p).next()).map(|p| self.expr(p));
        Some(Selection { value, except, filter: self.filter(&mut parts) })
    }

    fn filter(&self, parts: &mut Parts<'_>) -> Option<Expr> {
        parts.take(Rule::filter).and_then(|p| Parts::of(p).next()).map(|p| self.expr(p))
    }

    fn emit_pool(&self, pair: Pair<'_, Rule>) -> Option<Expr> {
        let mut parts = Parts::of(pair);
        let first = parts.next()?;
        let mut pool = Expr { span: self.span(&first), kind: ExprKind::Name(first.as_str().trim_end().into()) };
        while let Some(part) = parts.next() {
            pool = self.postfix(pool, part);
        }
        Some(pool)
    }

    pub(super) fn params(&self, pair: Pair<'_, Rule>) -> Vec<Param> {
        let params = Parts::of(pair).take_all(Rule::param_item).into_iter().filter_map(|item| {
            let span = self.span(&item);
            let mut parts = Parts::of(item);
            let name = self.name(&parts.next()?);
            let ty = self.annotation(&mut parts);
            Some(Param { name, pattern: None, ty, default: parts.next().map(|p| self.expr(p)), span })
        });
        params.collect()
    }

    pub(super) fn annotation(&self, parts: &mut Parts<'_>) -> Option<TypeExpr> {
        parts.take(Rule::annotation).and_then(|p| Parts::of(p).next()).map(|p| self.type_expr(p))
    }

    fn result(&self, pair: Pair<'_, Rule>) -> TypeExpr {
        let span = self.span(&pair);
        match Parts::of(pair).next() {
            Some(ty) => self.type_expr(ty),
            None => TypeExpr { kind: TypeKind::Record(Vec::new()), span },
        }
    }

    pub(super) fn pattern(&self, pair: Pair<'_, Rule>) -> Option<Pattern> {
        let inner = if pair.as_rule() == Rule::pattern { pair.into_inner().next()? } else { pair };
        let span = self.span(&inner);
        Some(match inner.as_rule() {
            Rule::record_pattern => {
                let fields = Parts::of(inner).take_all(Rule::pattern_field).into_iter().filter_map(|field| {
                    let mut parts = Parts::of(field);
                    let field = self.name(&parts.next()?);
                    let bound = parts.next().map_or_else(|| field.clone(), |name| self.name(&name));
                    Some((field, bound))
                });
                Pattern::Record { fields: fields.collect(), span }
            }
            Rule::list_pattern | Rule::tuple_pattern => {
                let items = Parts::of(inner).take_all(Rule::pattern).into_iter().filter_map(|p| self.pattern(p));
                Pattern::List { items: items.collect(), span }
            }
            _ => Pattern::Name(self.name(&inner)),
        })
    }

    /// `x, y in xs, ys` walks both at once: the pattern `[x, y]` over `zip(xs, ys)`.
    pub(super) fn zipped(&self, patterns: Vec<Pair<'_, Rule>>, overs: Vec<Pair<'_, Rule>>) -> Option<(Pattern, Expr)> {
        let mut patterns: Vec<Pattern> = patterns.into_iter().filter_map(|p| self.pattern(p)).collect();
        let mut overs: Vec<Expr> = overs.into_iter().map(|p| self.expr(p)).collect();
        let pattern_span = patterns.first()?.span().to(patterns.last()?.span());
        let pattern = match patterns.len() {
            1 => patterns.pop()?,
            _ => Pattern::List { items: patterns, span: pattern_span },
        };
        if overs.len() == 1 {
            return Some((pattern, overs.pop()?));
        }
        let span = overs.first()?.span.to(overs.last()?.span);
        let callee = Box::new(Expr { kind: ExprKind::Name("zip".into()), span });
        let arguments = overs.into_iter().map(Argument::plain).collect();
        Some((pattern, Expr { kind: ExprKind::Call { callee, arguments }, span }))
    }
}

/// A block whose value is one expression.
pub(super) fn block_of_expr(value: Expr) -> Block {
    let span = value.span;
    Block { statements: vec![Statement { kind: StatementKind::Expr(value), span, doc: None }], span }
}
