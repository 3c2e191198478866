//! Expressions, patterns and types.

use super::{Doc, Formatter, INDENT, join, text};
use crate::syntax::tree::*;

impl Formatter<'_> {
    pub(super) fn expr(&self, expr: &Expr) -> Doc {
        match &expr.kind {
            ExprKind::Int(_) | ExprKind::Float(_) | ExprKind::Bool(_) | ExprKind::Text(_) | ExprKind::Error => {
                text(self.source(expr.span))
            }
            ExprKind::Quantity(..) => {
                let source = self.source(expr.span);
                text(source.split_whitespace().collect::<Vec<_>>().join(" "))
            }
            ExprKind::Name(name) => text(&**name),
            ExprKind::List(items) => self.list(items, expr),
            ExprKind::Comprehension { .. } => self.comprehension(expr),
            ExprKind::Record(items) => self.record(items, expr.span, false),
            ExprKind::Block(block) => self.block(block).group(),
            ExprKind::Lambda { params, body } => self.lambda(params, body),
            ExprKind::Unary(UnaryOp::Negate, value) => Doc::all([text("-"), self.expr(value)]),
            ExprKind::Unary(UnaryOp::Not, value) => Doc::all([text("not "), self.expr(value)]),
            ExprKind::Binary { .. } | ExprKind::Pipe { .. } => self.operators(expr),
            ExprKind::Call { callee, arguments } => self.call(expr, callee, arguments),
            ExprKind::Index { base, items } => {
                let base = self.expr(base);
                let items = items.iter().map(|item| self.index_item(item)).collect();
                Doc::all([base, text("["), join(items, &text(", ")), text("]")])
            }
            ExprKind::Field { base, name } => Doc::all([self.expr(base), text(format!(".{}", name.text))]),
            ExprKind::Range { start, end, step } => {
                let start = start.as_ref().map_or_else(Doc::nothing, |start| self.expr(start));
                let end = end.as_ref().map_or_else(Doc::nothing, |end| self.expr(end));
                let step = step.as_ref().map_or_else(Doc::nothing, |step| Doc::all([text(" step "), self.expr(step)]));
                Doc::all([start, text(".."), end, step])
            }
            ExprKind::If { .. } => self.if_expr(expr).group(),
            ExprKind::Paren(inner) => self.paren(inner, expr),
        }
    }

    /// Numbers fill their lines, other items stand one a line where they do not fit on one.
    fn list(&self, items: &[Expr], list: &Expr) -> Doc {
        let brackets = if self.begins_with(list.span, "(") { ("(", ")") } else { ("[", "]") };
        let end = list.span.end.saturating_sub(1);
        let comments = self.comments.get(self.next.get()).is_some_and(|comment| comment.span.start < end);
        if items.len() > 1 && !comments && items.iter().all(is_number) {
            let filled = items.iter().enumerate().map(|(at, item)| {
                let line = if at == 0 { Doc::soft() } else { Doc::all([text(","), Doc::line()]) };
                (line, self.expr(item))
            });
            let filled = Doc::fill(filled.collect());
            return Doc::all([text(brackets.0), filled.nest(INDENT), text(brackets.1)]);
        }
        self.entries(brackets, items, end, |item| item.span.start, |item| self.expr(item))
    }

    /// `(a)` or, where a list stands inside without its own brackets, `(a, b)`.
    fn paren(&self, inner: &Expr, paren: &Expr) -> Doc {
        if matches!(inner.kind, ExprKind::List(_)) && inner.span == paren.span {
            let ExprKind::List(items) = &inner.kind else { return Doc::nothing() };
            if let [only] = items.as_slice() {
                return Doc::all([text("("), self.expr(only), text(",)")]);
            }
            return self.list(items, inner);
        }
        Doc::all([text("("), self.expr(inner).nest(1), text(")")])
    }

    /// `[item for x in xs for y in ys if cond]`
    fn comprehension(&self, whole: &Expr) -> Doc {
        let mut clauses = Vec::new();
        let mut current = whole;
        let item = loop {
            match &current.kind {
                ExprKind::Comprehension { item, pattern, over, filter } if current.span == whole.span => {
                    clauses.push((pattern, over, filter));
                    current = item;
                }
                ExprKind::Call { callee, arguments } if callee.span == whole.span && arguments.len() == 1 => {
                    current = &arguments[0].value;
                }
                _ => break current,
            }
        };
        let mut docs = vec![self.expr(item)];
        for (pattern, over, filter) in clauses {
            docs.push(self.gap(pattern.span().start, Doc::line()));
            docs.push(text("for "));
            docs.push(self.zipped(pattern, over));
            if let Some(filter) = filter {
                docs.push(self.gap(filter.span.start, Doc::line()));
                docs.push(Doc::all([text("if "), self.expr(filter)]));
            }
        }
        let closing = self.closing_gap(whole.span.end.saturating_sub(1), Doc::soft());
        let inner = Doc::all([Doc::soft(), Doc::all(docs)]).nest(INDENT);
        Doc::all([text("["), inner, closing, text("]")]).group()
    }

    /// `x in xs` or `x, y in xs, ys`
    pub(super) fn zipped(&self, pattern: &Pattern, over: &Expr) -> Doc {
        let names = match pattern {
            Pattern::List { items, span } if !self.begins_with(*span, "[") && !self.begins_with(*span, "(") => {
                join(items.iter().map(|item| self.pattern(item)).collect(), &text(", "))
            }
            _ => self.pattern(pattern),
        };
        let over = match &over.kind {
            ExprKind::Call { callee, arguments } if callee.span == over.span => {
                join(arguments.iter().map(|argument| self.expr(&argument.value)).collect(), &text(", "))
            }
            _ => self.expr(over),
        };
        Doc::all([names, text(" in "), over])
    }

    fn lambda(&self, params: &[Param], body: &Block) -> Doc {
        let params = params.iter().map(|param| match &param.pattern {
            Some(pattern) => self.pattern(pattern),
            None => self.param(param),
        });
        let params = params.collect();
        let body = if self.begins_with(body.span, "{") { self.block(body).group() } else { self.value_of(body) };
        Doc::all([text("|"), join(params, &text(", ")), text("| "), body])
    }

    /// The expression of a block that was written without braces.
    pub(super) fn value_of(&self, body: &Block) -> Doc {
        match body.statements.first().map(|statement| &statement.kind) {
            Some(StatementKind::Expr(value)) => self.expr(value),
            _ => Doc::nothing(),
        }
    }

    fn call(&self, whole: &Expr, callee: &Expr, arguments: &[Argument]) -> Doc {
        if callee.span == whole.span {
            return self.comprehension(whole);
        }
        let (head, after) = (self.expr(callee), callee.span.end as usize);
        let parenthesised = self.text.get(after..).is_some_and(|rest| rest.trim_start().starts_with('('));
        let bare: Vec<Doc> = match (parenthesised, arguments) {
            (false, [Argument { value: Expr { kind: ExprKind::Lambda { params, body }, span }, .. }]) => {
                if self.begins_with(*span, "|") {
                    vec![text(" "), self.expr(&arguments[0].value)]
                } else {
                    // `stream as i { … }`
                    let index = params.first().map_or(String::new(), |param| format!(" as {}", param.name.text));
                    vec![text(format!("{index} ")), self.block(body).group()]
                }
            }
            // `every 5 epochs { … }`, `retry 100 { … }`
            (false, [amount, rest @ ..]) => {
                let mut docs = vec![text(" "), self.expr(&amount.value)];
                for argument in rest {
                    if let ExprKind::Lambda { body, .. } = &argument.value.kind {
                        docs.extend([text(" "), self.block(body).group()]);
                    }
                }
                docs
            }
            (true, [first @ .., last]) if is_lambda(&last.value) && last.value.span.end == whole.span.end => {
                let end = last.value.span.start;
                vec![self.arguments(first, end), text(" "), self.expr(&last.value)]
            }
            _ => vec![self.arguments(arguments, whole.span.end.saturating_sub(1))],
        };
        Doc::all([head, Doc::all(bare)])
    }

    /// `(a, name: b)`; a function with a block, a list or a record at the end stays on the line of the bracket.
    pub(super) fn arguments(&self, arguments: &[Argument], end: u32) -> Doc {
        let start_of =
            |argument: &Argument| argument.name.as_ref().map_or(argument.value.span.start, |name| name.span.start);
        let comments = self.comments.get(self.next.get()).is_some_and(|comment| {
            let first = arguments.first().map_or(end, start_of);
            let last = arguments.last().map_or(end, start_of);
            comment.span.start < last.max(first)
        });
        if let ([first @ .., last], false) = (arguments, comments)
            && self.hugs(&last.value, first.is_empty())
        {
            let first: Vec<Doc> =
                first.iter().map(|argument| Doc::all([self.argument(argument), text(", ")])).collect();
            if !first.iter().any(Doc::must_break) {
                let last = self.argument(last);
                let closing = self.closing_gap(end, Doc::nothing());
                return Doc::all([text("("), Doc::all(first), last, closing, text(")")]);
            }
            let docs = Doc::all(first.into_iter().map(|doc| Doc::all([Doc::soft(), doc])));
            let inner = Doc::all([docs, Doc::soft(), self.argument(last)]).nest(INDENT).broken();
            return Doc::all([text("("), inner, Doc::soft(), text(")")]).group();
        }
        self.entries(("(", ")"), arguments, end, start_of, |argument| self.argument(argument))
    }

    fn hugs(&self, value: &Expr, alone: bool) -> bool {
        match &value.kind {
            ExprKind::Lambda { body, .. } => self.begins_with(body.span, "{"),
            ExprKind::List(_)
            | ExprKind::Comprehension { .. }
            | ExprKind::Record(_)
            | ExprKind::Block(_)
            | ExprKind::Call { .. } => alone,
            _ => false,
        }
    }

    fn argument(&self, argument: &Argument) -> Doc {
        match &argument.name {
            Some(name) => Doc::all([text(format!("{}: ", name.text)), self.expr(&argument.value)]),
            None if argument.spread => Doc::all([text(".."), self.expr(&argument.value)]),
            None => self.expr(&argument.value),
        }
    }

    fn index_item(&self, item: &IndexItem) -> Doc {
        match item {
            IndexItem::Value(value) => self.expr(value),
            IndexItem::All(_) => text(":"),
            IndexItem::Rest(_) => text("..."),
            IndexItem::New(_) => text("new"),
        }
    }

    /// `if … { … } else if … { … } else { … }`, its blocks on one line or none of them.
    fn if_expr(&self, expr: &Expr) -> Doc {
        let ExprKind::If { condition, then, otherwise } = &expr.kind else { return self.expr(expr) };
        let mut docs = vec![text("if "), self.expr(condition), text(" "), self.block(then)];
        if let Some(block) = otherwise {
            // A comment behind `}` stays in front of the `else`.
            docs.push(self.gap(block.span.start, text(" ")));
            docs.push(text("else "));
            match block.statements.first().map(|statement| &statement.kind) {
                Some(StatementKind::Expr(nested)) if !self.begins_with(block.span, "{") => {
                    docs.push(self.if_expr(nested))
                }
                _ => docs.push(self.block(block)),
            }
        }
        Doc::all(docs)
    }

    /// A chain of operators of one strength: all on one line, or each operand on its own.
    fn operators(&self, expr: &Expr) -> Doc {
        if let ExprKind::Binary { op: BinaryOp::Power, left, right, .. } = &expr.kind {
            return Doc::all([self.expr(left), text("^"), self.expr(right)]);
        }
        if let ExprKind::Binary { op: BinaryOp::Has, left, right, .. } = &expr.kind
            && right.span.start < left.span.start
        {
            return Doc::all([self.expr(right), text(" in "), self.expr(left)]);
        }
        let strength = strength(expr);
        let mut links = Vec::new();
        let mut first = expr;
        while let Some((operator, place, left, right)) =
            link(first).filter(|_| Some(strength) == Some(self::strength(first)))
        {
            links.push((operator, place, right));
            first = left;
        }
        let mut docs = vec![self.expr(first)];
        for (operator, place, right) in links.into_iter().rev() {
            // A line that begins with `-` would be a statement of its own.
            if operator == "-" {
                docs.push(text(" -"));
                docs.push(self.gap(right.span.start, Doc::line()));
            } else {
                docs.push(self.gap(place, Doc::line()));
                docs.push(text(format!("{operator} ")));
            }
            docs.push(self.expr(right));
        }
        let mut docs = docs.into_iter();
        let first = docs.next().unwrap_or_else(Doc::nothing);
        Doc::all([first, Doc::all(docs).nest(INDENT)]).group()
    }

    pub(super) fn pattern(&self, pattern: &Pattern) -> Doc {
        match pattern {
            Pattern::Name(name) => text(&*name.text),
            Pattern::Record { fields, span } => {
                let start_of = |field: &(Name, Name)| field.0.span.start;
                self.entries(("{", "}"), fields, span.end.saturating_sub(1), start_of, |(field, bound)| {
                    text(if field.span == bound.span {
                        field.text.to_string()
                    } else {
                        format!("{}: {}", field.text, bound.text)
                    })
                })
            }
            Pattern::List { items, span } => {
                let (open, close) = if self.begins_with(*span, "(") { ("(", ")") } else { ("[", "]") };
                let items = items.iter().map(|item| self.pattern(item)).collect();
                Doc::all([text(open), join(items, &text(", ")), text(close)])
            }
        }
    }

    pub(super) fn type_expr(&self, ty: &TypeExpr) -> Doc {
        let end = ty.span.end.saturating_sub(1);
        let field = |(name, ty): &(Name, TypeExpr)| Doc::all([text(format!("{}: ", name.text)), self.type_expr(ty)]);
        match &ty.kind {
            TypeKind::Name(name) => text(&**name),
            TypeKind::Words(words) => {
                let words = words.iter().map(|word| text(self.source(word.span))).collect();
                join(words, &text(" | "))
            }
            TypeKind::Arrow(from, to) => Doc::all([self.type_expr(from), text(" -> "), self.type_expr(to)]),
            TypeKind::Bounded { element, limit } => {
                Doc::all([text(format!("{}<", element.text)), self.expr(limit), text(">")])
            }
            TypeKind::Tensor { element, limit, sizes } => {
                let element = element.as_ref().map_or(String::new(), |name| name.text.to_string());
                let limit = limit.as_ref().map(|limit| Doc::all([text("<"), self.expr(limit), text(">")]));
                let sizes = sizes.iter().map(|size| match size {
                    SizeExpr::Size(size) => self.expr(size),
                    SizeExpr::Rest(name) => text(format!("..{}", name.text)),
                });
                let sizes = join(sizes.collect(), &text(", "));
                Doc::all([text(element), limit.unwrap_or_else(Doc::nothing), text("["), sizes, text("]")])
            }
            TypeKind::Record(fields) => self.entries(("{", "}"), fields, end, |(name, _)| name.span.start, field),
            TypeKind::Extended { base, fields } => {
                let base = Doc::all([text(".."), self.expr(base)]);
                let fields = fields.iter().map(field);
                let entries = std::iter::once(base).chain(fields).collect();
                let between = Doc::all([text(","), Doc::line()]);
                Doc::all([
                    text("{"),
                    Doc::all([Doc::line(), join(entries, &between)]).nest(INDENT),
                    Doc::line(),
                    text("}"),
                ])
                .group()
            }
        }
    }

    pub(super) fn param(&self, param: &Param) -> Doc {
        let mut docs = vec![text(&*param.name.text)];
        if let Some(ty) = &param.ty {
            docs.extend([text(": "), self.type_expr(ty)]);
        }
        if let Some(default) = &param.default {
            docs.extend([text(" = "), self.expr(default)]);
        }
        Doc::all(docs)
    }
}

fn is_lambda(value: &Expr) -> bool {
    matches!(value.kind, ExprKind::Lambda { .. })
}

fn is_number(value: &Expr) -> bool {
    match &value.kind {
        ExprKind::Int(_) | ExprKind::Float(_) | ExprKind::Bool(_) => true,
        ExprKind::Unary(UnaryOp::Negate, value) => is_number(value),
        _ => false,
    }
}

/// The last operator of a chain, where it stands, and what it joins.
fn link(expr: &Expr) -> Option<(&'static str, u32, &Expr, &Expr)> {
    match &expr.kind {
        ExprKind::Pipe { left, right } => Some(("|>", right.span.start, left, right)),
        ExprKind::Binary { op, op_span, left, right } => Some((sign(*op), op_span.start, left, right)),
        _ => None,
    }
}

fn sign(op: BinaryOp) -> &'static str {
    match op {
        BinaryOp::Or => "or",
        BinaryOp::And => "and",
        BinaryOp::Equal => "==",
        BinaryOp::NotEqual => "!=",
        BinaryOp::Less => "<",
        BinaryOp::LessEqual => "<=",
        BinaryOp::Greater => ">",
        BinaryOp::GreaterEqual => ">=",
        BinaryOp::Has => "has",
        BinaryOp::Add => "+",
        BinaryOp::Subtract => "-",
        BinaryOp::Multiply => "*",
        BinaryOp::Divide => "/",
        BinaryOp::FloorDivide => "//",
        BinaryOp::Remainder => "%",
        BinaryOp::MatMul => "@",
        BinaryOp::Power => "^",
    }
}

/// Operators of equal strength make one chain.
fn strength(expr: &Expr) -> u8 {
    match &expr.kind {
        ExprKind::Pipe { .. } => 0,
        ExprKind::Binary { op, left, right, .. } => match op {
            BinaryOp::Or => 1,
            BinaryOp::And => 2,
            // `x in xs` is written the other way round and is no link.
            BinaryOp::Has if right.span.start < left.span.start => 9,
            BinaryOp::Add | BinaryOp::Subtract => 4,
            BinaryOp::Multiply | BinaryOp::Divide | BinaryOp::FloorDivide | BinaryOp::Remainder => 5,
            BinaryOp::MatMul => 6,
            BinaryOp::Power => 7,
            _ => 3,
        },
        _ => 8,
    }
}
