//! Statements.

use super::{Doc, Formatter, INDENT, join, text};
use crate::syntax::tree::*;

impl Formatter<'_> {
    /// A statement with its doc above it.
    pub(super) fn statement(&self, statement: &Statement) -> Doc {
        let body = self.statement_kind(statement);
        let Some(doc) = &statement.doc else { return body };
        let lines = doc.split('\n').map(|line| Doc::all([text(format!("## {line}").trim_end()), Doc::hard()]));
        Doc::all([Doc::all(lines), body])
    }

    fn statement_kind(&self, statement: &Statement) -> Doc {
        match &statement.kind {
            StatementKind::Error => text(self.source(statement.span).trim_end()),
            StatementKind::Expr(value) => self.expr(value),
            StatementKind::Use { path, names, alias } => self.use_statement(path, names, alias.as_ref()),
            StatementKind::Option { name, value } => {
                Doc::all([text(format!("option {}: ", name.text)), self.expr(value)])
            }
            StatementKind::Param { name, ty, value } => self.named("param", name, ty.as_ref(), "=", value.as_ref()),
            StatementKind::Type { name, ty } => Doc::all([text(format!("type {} = ", name.text)), self.type_expr(ty)]),
            StatementKind::Data { name, params, value } => self.data(name, params.as_deref(), value),
            StatementKind::Net { name, ty, value } => self.named("net", name, ty.as_ref(), "=", Some(value)),
            StatementKind::Weight(cell) => self.cell("weight", cell),
            StatementKind::State(cell) => self.cell("state", cell),
            StatementKind::Pool { name, arguments, schema } => self.pool(name, arguments, schema.as_ref()),
            StatementKind::View(function, ViewForm::Value) => self.view_value(function),
            StatementKind::View(function, ViewForm::Body) => self.function("view", function),
            StatementKind::Fn(function) => self.function("fn", function),
            StatementKind::Flow(function) => self.function("flow", function),
            StatementKind::Module { name, params, inputs, result, body } => {
                let header = self.header("module", name, params, inputs, result.as_ref());
                Doc::all([header, text(" "), self.block(body).group()])
            }
            StatementKind::Optimizer { name, params, inputs, clock, body } => {
                let header = self.header("optimizer", name, params, inputs, None);
                Doc::all([header, as_name(clock.as_ref()), text(" "), self.block(body).group()])
            }
            StatementKind::Let { mutable, pattern, ty, draw, value } => {
                let head = Doc::all([text(if *mutable { "var " } else { "let " }), self.pattern(pattern)]);
                self.assigned(head, ty.as_ref(), if *draw { "~" } else { "=" }, value)
            }
            StatementKind::Rebind { name, value } => self.assigned(text(&*name.text), None, "=", value),
            StatementKind::Write { target, add, value } => {
                let target = self.expr(target);
                self.assigned(target, None, if *add { "<+" } else { "<-" }, value)
            }
            _ => self.stage_or_effect(&statement.kind),
        }
    }

    fn stage_or_effect(&self, kind: &StatementKind) -> Doc {
        match kind {
            StatementKind::Loop { word, name, options, clock, sources, body } => {
                let word = match word {
                    LoopWord::Train => "train",
                    LoopWord::Pass => "pass",
                    LoopWord::Step => "step",
                };
                self.loop_statement(word, name, options, clock.as_ref(), sources, body)
            }
            StatementKind::Sweep { name, axes, body } => {
                let end = body.span.start;
                let axes = self.axes(axes, end);
                Doc::all([text(format!("sweep {}", name.text)), axes, text(" "), self.block(body).group()])
            }
            StatementKind::Study { axes, table, body } => {
                let axes = self.axes(axes, body.span.start);
                let head = Doc::all([text("study "), axes, as_name(table.as_ref())]);
                if self.begins_with(body.span, "{") && !body.span.range().is_empty() {
                    return Doc::all([head, text(" "), self.block(body).group()]);
                }
                head
            }
            StatementKind::Test { name, body } => {
                Doc::all([text(format!("test {} ", self.source(name.span))), self.block(body).group()])
            }
            StatementKind::For { pattern, over, filter, body } => {
                let mut docs = vec![text("for "), self.zipped(pattern, over)];
                if let Some(filter) = filter {
                    docs.extend([text(" if "), self.expr(filter)]);
                }
                docs.extend([text(" "), self.block(body).group()]);
                Doc::all(docs)
            }
            StatementKind::Repeat { count, index, body } => {
                let mut docs = vec![text("repeat")];
                if let Some(count) = count {
                    docs.extend([text(" "), self.expr(count)]);
                }
                docs.extend([as_name(index.as_ref()), text(" "), self.block(body).group()]);
                Doc::all(docs)
            }
            StatementKind::Flywheel { name, options, index, body } => {
                let options = self.options(options, body.span.start);
                let head = Doc::all([text(format!("flywheel {}", name.text)), options, as_name(index.as_ref())]);
                Doc::all([head, text(" "), self.block(body).group()])
            }
            _ => self.effect(kind),
        }
    }

    fn effect(&self, kind: &StatementKind) -> Doc {
        match kind {
            StatementKind::Until(condition) => Doc::all([text("until "), self.expr(condition)]),
            StatementKind::Run { step, amount } => {
                let mut docs = vec![text("run "), self.expr(step)];
                if let Some(amount) = amount {
                    docs.extend([text(" for "), self.expr(amount)]);
                }
                Doc::all(docs)
            }
            StatementKind::Choose { name, draw, value } => {
                let sign = if *draw { "in" } else { "=" };
                Doc::all([text(format!("choose {} {sign} ", name.text)), self.expr(value)])
            }
            StatementKind::Yield(value) => Doc::all([text("yield "), self.expr(value)]),
            StatementKind::Minimize { loss, over, using } => self.minimize(loss, over, using),
            StatementKind::Emit { pool, value, filter } => {
                let mut docs = vec![text("emit "), self.expr(pool), text(" "), self.expr(value)];
                if let Some(filter) = filter {
                    let gap = self.gap(filter.span.start, Doc::line());
                    docs.push(Doc::all([gap, text("where "), self.expr(filter)]).nest(INDENT));
                }
                Doc::all(docs).group()
            }
            StatementKind::Say { word, name, value } => {
                let word = match word {
                    SayWord::Log => "log",
                    SayWord::Measure => "measure",
                    SayWord::Collect => "collect",
                    SayWord::Report => "report",
                };
                let name = name.as_ref().map_or(String::new(), |name| format!("{} = ", name.text));
                let value = match &value.kind {
                    ExprKind::Record(items) if !self.begins_with(value.span, "{") => self.said(items),
                    _ => self.expr(value),
                };
                Doc::all([text(format!("{word} {name}")), value])
            }
            StatementKind::Assert { condition, why } => {
                let condition = self.expr(condition);
                let why = why.as_ref().map(|why| {
                    let gap = self.gap(why.span.start, Doc::line());
                    Doc::all([text(","), gap, self.expr(why)]).nest(INDENT)
                });
                Doc::all([text("assert "), condition, why.unwrap_or_else(Doc::nothing)]).group()
            }
            StatementKind::Save { value, path } => {
                Doc::all([text("save "), self.expr(value), text(" to "), self.expr(path)])
            }
            StatementKind::Load { target, path } => {
                Doc::all([text("load "), self.expr(target), text(" from "), self.expr(path)])
            }
            _ => Doc::nothing(),
        }
    }

    fn use_statement(&self, path: &UsePath, names: &[Used], alias: Option<&Name>) -> Doc {
        let path = match path {
            UsePath::File(file) => self.source(file.span).to_string(),
            UsePath::Library(segments) => segments.iter().map(|name| &*name.text).collect::<Vec<_>>().join("."),
        };
        let Some(last) = names.last() else { return Doc::all([text(format!("use {path}")), as_name(alias)]) };
        let end = last.bound().span.end + 1;
        let names = names.iter().map(|used| Doc::all([text(&*used.name.text), as_name(used.alias.as_ref())]));
        let names: Vec<Doc> = names.collect();
        let between = Doc::all([text(","), Doc::line()]);
        let closing = self.closing_gap(end, Doc::soft());
        let inner = Doc::all([Doc::soft(), join(names, &between), Doc::either(",", "")]).nest(INDENT);
        Doc::all([text(format!("use {path}.{{")), inner, closing, text("}")]).group()
    }

    /// `a, b = value`: the entries of a report without braces
    fn said(&self, items: &[RecordItem]) -> Doc {
        let mut docs = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let (name, value) = match item {
                RecordItem::Field { name, value } => (Some(name), value),
                RecordItem::Pun(value) | RecordItem::Spread(value) => (None, value),
            };
            if at > 0 {
                let start = name.map_or(value.span.start, |name| name.span.start);
                docs.extend([text(","), self.gap(start, Doc::line())]);
            }
            docs.extend(name.map(|name| text(format!("{} = ", name.text))));
            docs.push(self.expr(value));
        }
        Doc::all(docs).nest(INDENT).group()
    }

    /// `word name: type = value`
    fn named(&self, word: &str, name: &Name, ty: Option<&TypeExpr>, sign: &str, value: Option<&Expr>) -> Doc {
        let head = text(format!("{word} {}", name.text));
        match value {
            Some(value) => self.assigned(head, ty, sign, value),
            None => Doc::all([head, self.annotation(ty)]),
        }
    }

    fn cell(&self, word: &str, cell: &Cell) -> Doc {
        self.named(word, &cell.name, cell.ty.as_ref(), if cell.draw { "~" } else { "=" }, Some(&cell.value))
    }

    fn assigned(&self, head: Doc, ty: Option<&TypeExpr>, sign: &str, value: &Expr) -> Doc {
        let ty = self.annotation(ty);
        let gap = self.gap(value.span.start, text(" ")).nest(INDENT);
        Doc::all([head, ty, text(format!(" {sign}")), gap, self.expr(value)])
    }

    fn annotation(&self, ty: Option<&TypeExpr>) -> Doc {
        ty.map_or_else(Doc::nothing, |ty| Doc::all([text(": "), self.type_expr(ty)]))
    }

    fn data(&self, name: &Name, params: Option<&[Param]>, value: &Expr) -> Doc {
        let before = self.text.get(name.span.end as usize..value.span.start as usize).unwrap_or("");
        let params = params.map_or_else(Doc::nothing, |params| self.params(params, value.span.start));
        let head = Doc::all([text(format!("data {}", name.text)), params]);
        if before.trim_end().ends_with('=') {
            return self.assigned(head, None, "=", value);
        }
        Doc::all([head, text(" "), self.expr(value)])
    }

    fn pool(&self, name: &Name, arguments: &[Argument], schema: Option<&TypeExpr>) -> Doc {
        let end = schema.map_or(u32::MAX, |schema| schema.span.start);
        let options = if arguments.is_empty() { Doc::nothing() } else { self.arguments(arguments, self.closing(end)) };
        Doc::all([text(format!("pool {}", name.text)), options, self.annotation(schema)])
    }

    fn view_value(&self, view: &Function) -> Doc {
        let start = view.body.span.start;
        let params = if view.params.is_empty() { Doc::nothing() } else { self.params(&view.params, start) };
        Doc::all([text(format!("view {}", view.name.text)), params, text(" = "), self.value_of(&view.body)])
    }

    fn function(&self, word: &str, function: &Function) -> Doc {
        let Function { name, params, inputs, result, body } = function;
        let header = self.header(word, name, params, inputs, result.as_ref());
        Doc::all([header, text(" "), self.block(body).group()])
    }

    /// `word name(params) (inputs) -> result`
    fn header(&self, word: &str, name: &Name, params: &[Param], inputs: &[Param], result: Option<&TypeExpr>) -> Doc {
        let first = inputs.first().map_or(u32::MAX, |input| input.span.start);
        let last = result.map_or(u32::MAX, |result| result.span.start);
        let mut docs = vec![text(format!("{word} {}", name.text)), self.params(params, first.min(last))];
        if !inputs.is_empty() {
            docs.extend([text(" "), self.params(inputs, last)]);
        }
        if let Some(result) = result {
            docs.extend([text(" -> "), self.type_expr(result)]);
        }
        Doc::all(docs)
    }

    fn params(&self, params: &[Param], before: u32) -> Doc {
        let end = match params.last() {
            Some(last) => self.closing(before.min(last.span.end + self.to_closer(last.span.end))),
            None => 0,
        };
        self.entries(("(", ")"), params, end, |param| param.span.start, |param| self.param(param))
    }

    /// How far the closing parenthesis is behind `at`, comments aside.
    fn to_closer(&self, at: u32) -> u32 {
        let mut place = at as usize;
        while let Some(found) = self.text.get(place..).and_then(|rest| rest.find([')', '#'])) {
            place += found;
            if self.text[place..].starts_with(')') {
                return place as u32 - at + 1;
            }
            place = self.text[place..].find('\n').map_or(self.text.len(), |line| place + line);
        }
        0
    }

    /// The place of the closing bracket before `end`.
    fn closing(&self, end: u32) -> u32 {
        let end = (end as usize).min(self.text.len());
        self.text[..end].rfind(')').map_or(end as u32, |at| at as u32)
    }

    fn options(&self, options: &[Argument], before: u32) -> Doc {
        let end = options.last().map_or(before, |last| last.value.span.end);
        if options.is_empty() {
            Doc::nothing()
        } else {
            self.arguments(options, end + self.to_closer(end).saturating_sub(1))
        }
    }

    fn axes(&self, axes: &[Axis], before: u32) -> Doc {
        let end = axes.last().map_or(before, |last| last.value.span.end);
        let end = end + self.to_closer(end).saturating_sub(1);
        self.entries(
            ("(", ")"),
            axes,
            end,
            |axis| axis.name.span.start,
            |axis| {
                let sign = if axis.fixed { ": " } else { " in " };
                Doc::all([text(format!("{}{sign}", axis.name.text)), self.expr(&axis.value)])
            },
        )
    }

    fn loop_statement(
        &self,
        word: &str,
        name: &Name,
        options: &[Argument],
        clock: Option<&Name>,
        sources: &[LoopSource],
        body: &Block,
    ) -> Doc {
        let options = self.options(options, body.span.start);
        let mut head = vec![text(format!("{word} {}", name.text)), options, as_name(clock)];
        if let Some(first) = sources.first() {
            let mut docs = vec![self.gap(first.pattern.span().start, Doc::line()), text("for ")];
            for (at, source) in sources.iter().enumerate() {
                if at > 0 {
                    docs.push(text(","));
                    docs.push(self.gap(source.pattern.span().start, Doc::line()).nest(INDENT));
                }
                docs.extend([self.pattern(&source.pattern), text(" in "), self.expr(&source.source)]);
            }
            head.push(Doc::all(docs).nest(2 * INDENT));
        }
        Doc::all([Doc::all(head).group(), text(" "), self.block(body).group()])
    }

    fn minimize(&self, loss: &Expr, over: &[Selection], using: &[Selection]) -> Doc {
        let mut docs = vec![text("minimize "), self.expr(loss).nest(INDENT)];
        let mut clauses = [("over", over), ("using", using)];
        // In the order in which they were written.
        clauses.sort_by_key(|(_, selections)| selections.first().map(|selection| selection.value.span.start));
        for (word, selections) in clauses.into_iter().filter(|(_, selections)| !selections.is_empty()) {
            docs.push(self.gap(selections[0].value.span.start, Doc::line()).nest(INDENT));
            docs.push(text(format!("{word} ")));
            for (at, selection) in selections.iter().enumerate() {
                if at > 0 {
                    docs.push(text(","));
                    docs.push(self.gap(selection.value.span.start, text(" ")).nest(2 * INDENT));
                }
                docs.push(self.selection(selection).nest(INDENT));
            }
        }
        Doc::all(docs).group()
    }

    fn selection(&self, selection: &Selection) -> Doc {
        let mut docs = vec![self.expr(&selection.value)];
        if let Some(except) = &selection.except {
            docs.extend([text(" except "), self.expr(except)]);
        }
        if let Some(filter) = &selection.filter {
            docs.extend([text(" where "), self.expr(filter)]);
        }
        Doc::all(docs)
    }
}

fn as_name(name: Option<&Name>) -> Doc {
    name.map_or_else(Doc::nothing, |name| text(format!(" as {}", name.text)))
}
