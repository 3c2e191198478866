//! Expressions: precedence, calls, indices, literals.

use std::sync::{Arc, LazyLock};

use pest::iterators::Pair;
use pest::pratt_parser::{Assoc, Op, PrattParser};

use super::{Builder, MAX_DEPTH, Parts, Rule, has};
use crate::diagnostics::{Code, Diagnostic};
use crate::source::Span;
use crate::syntax::tree::*;

/// Loosest first, as in `docs/language.md`.
static PRECEDENCE: LazyLock<PrattParser<Rule>> = LazyLock::new(|| {
    let left = |rule| Op::infix(rule, Assoc::Left);
    PrattParser::new()
        .op(left(Rule::pipe))
        .op(left(Rule::or) | left(Rule::slip_or))
        .op(left(Rule::and) | left(Rule::slip_and))
        .op(Op::prefix(Rule::not) | Op::prefix(Rule::slip_not))
        .op(left(Rule::equal)
            | left(Rule::not_equal)
            | left(Rule::less)
            | left(Rule::less_equal)
            | left(Rule::greater)
            | left(Rule::greater_equal)
            | left(Rule::has)
            | left(Rule::is_in))
        .op(left(Rule::range) | left(Rule::stepped))
        .op(left(Rule::plus) | left(Rule::minus))
        .op(left(Rule::times) | left(Rule::divide) | left(Rule::floor_divide) | left(Rule::remainder))
        .op(left(Rule::matmul))
        .op(Op::prefix(Rule::negate))
        .op(Op::infix(Rule::power, Assoc::Right) | Op::infix(Rule::slip_power, Assoc::Right))
});

/// More operators than this in one expression would make a tree too deep to walk.
const MAX_OPERATORS: usize = 2 * MAX_DEPTH;

impl Builder<'_> {
    pub(super) fn expr(&self, pair: Pair<'_, Rule>) -> Expr {
        let span = self.span(&pair);
        match pair.as_rule() {
            Rule::expr | Rule::head | Rule::bound | Rule::upper => {}
            _ => return self.operand(pair),
        }
        let mut inner = pair.clone().into_inner();
        if let (Some(only), None) = (inner.next(), inner.next()) {
            return self.operand(only);
        }
        if pair.clone().into_inner().count() > 2 * MAX_OPERATORS {
            self.report(self.too_long(span));
            return Expr { kind: ExprKind::Error, span };
        }
        PRECEDENCE
            .map_primary(|operand| self.operand(operand))
            .map_prefix(|operator, value| self.prefix(operator, value))
            .map_infix(|left, operator, right| self.infix(left, operator, right))
            .parse(pair.into_inner())
    }

    fn prefix(&self, operator: Pair<'_, Rule>, value: Expr) -> Expr {
        let span = self.span(&operator).to(value.span);
        let op = match operator.as_rule() {
            Rule::negate => UnaryOp::Negate,
            rule => {
                if rule == Rule::slip_not {
                    self.slip_operator(&operator, "not");
                }
                UnaryOp::Not
            }
        };
        Expr { kind: ExprKind::Unary(op, Box::new(value)), span }
    }

    fn infix(&self, left: Expr, operator: Pair<'_, Rule>, right: Expr) -> Expr {
        let span = left.span.to(right.span);
        let op_span = self.span(&operator);
        if operator.as_rule() == Rule::stepped {
            return self.stepped(left, right, op_span);
        }
        let (left, right) = (Box::new(left), Box::new(right));
        let op = match operator.as_rule() {
            Rule::pipe => return Expr { kind: ExprKind::Pipe { left, right }, span },
            Rule::range => {
                return Expr { kind: ExprKind::Range { start: Some(left), end: Some(right), step: None }, span };
            }
            // `i in list` is `list has i`.
            Rule::is_in => {
                let kind = ExprKind::Binary { op: BinaryOp::Has, op_span, left: right, right: left };
                return Expr { kind, span };
            }
            rule => self.binary(rule, &operator),
        };
        if is_comparison(op)
            && let ExprKind::Binary { op: first, right: middle, .. } = &left.kind
            && is_comparison(*first)
        {
            self.comparison_chain(*first, middle.span, op_span);
        }
        Expr { kind: ExprKind::Binary { op, op_span, left, right }, span }
    }

    /// `0..10 step 2`
    fn stepped(&self, left: Expr, right: Expr, word: Span) -> Expr {
        let span = left.span.to(right.span);
        match left.kind {
            ExprKind::Range { start, end, step: None } => {
                Expr { kind: ExprKind::Range { start, end, step: Some(Box::new(right)) }, span }
            }
            _ => {
                self.report(
                    Diagnostic::error(Code::Syntax, "only a range has a `step`")
                        .label(word, "behind something else")
                        .help("write `first..last step 2`"),
                );
                Expr { kind: ExprKind::Error, span }
            }
        }
    }

    fn binary(&self, rule: Rule, operator: &Pair<'_, Rule>) -> BinaryOp {
        match rule {
            Rule::slip_or => self.slip_operator(operator, "or"),
            Rule::slip_and => self.slip_operator(operator, "and"),
            Rule::slip_power => self.slip_operator(operator, "^"),
            _ => {}
        }
        match rule {
            Rule::or | Rule::slip_or => BinaryOp::Or,
            Rule::and | Rule::slip_and => BinaryOp::And,
            Rule::equal => BinaryOp::Equal,
            Rule::not_equal => BinaryOp::NotEqual,
            Rule::less => BinaryOp::Less,
            Rule::less_equal => BinaryOp::LessEqual,
            Rule::greater => BinaryOp::Greater,
            Rule::greater_equal => BinaryOp::GreaterEqual,
            Rule::has => BinaryOp::Has,
            Rule::plus => BinaryOp::Add,
            Rule::minus => BinaryOp::Subtract,
            Rule::times => BinaryOp::Multiply,
            Rule::divide => BinaryOp::Divide,
            Rule::floor_divide => BinaryOp::FloorDivide,
            Rule::remainder => BinaryOp::Remainder,
            Rule::matmul => BinaryOp::MatMul,
            _ => BinaryOp::Power,
        }
    }

    fn comparison_chain(&self, first: BinaryOp, middle: Span, second: Span) {
        let between = &self.text[middle.range()];
        let again = &self.text[second.range()];
        let what = if first == BinaryOp::Equal { "`==` compares two values" } else { "a comparison has two sides" };
        self.report(
            Diagnostic::error(Code::Syntax, "comparisons cannot be chained")
                .label(second, format!("{what}; this is a second comparison"))
                .help(format!("write `… and {between} {again} …`")),
        );
    }

    fn operand(&self, pair: Pair<'_, Rule>) -> Expr {
        let span = self.span(&pair);
        match pair.as_rule() {
            Rule::postfixed | Rule::head_postfixed => self.postfixed(pair),
            Rule::if_ => self.if_expr(pair),
            Rule::lambda => self.lambda(pair),
            Rule::every => self.every(pair).unwrap_or(Expr { kind: ExprKind::Error, span }),
            Rule::retry => self.retry(pair).unwrap_or(Expr { kind: ExprKind::Error, span }),
            Rule::stream => self.stream(pair).unwrap_or(Expr { kind: ExprKind::Error, span }),
            Rule::braces => self.braces_value(pair),
            Rule::expr | Rule::head | Rule::bound => self.expr(pair),
            _ => Expr { kind: self.atom(pair).unwrap_or(ExprKind::Error), span },
        }
    }

    fn postfixed(&self, pair: Pair<'_, Rule>) -> Expr {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        let Some(first) = parts.next() else { return Expr { kind: ExprKind::Error, span } };
        if parts.items.len() > MAX_OPERATORS {
            self.report(self.too_long(span));
            return Expr { kind: ExprKind::Error, span };
        }
        let mut value = self.operand(first);
        while let Some(part) = parts.next() {
            value = self.postfix(value, part);
        }
        value
    }

    pub(super) fn postfix(&self, base: Expr, part: Pair<'_, Rule>) -> Expr {
        let span = base.span.to(self.span(&part));
        let kind = match part.as_rule() {
            Rule::field_access => match Parts::of(part).next() {
                Some(word) => ExprKind::Field { base: Box::new(base), name: self.name(&word) },
                None => ExprKind::Error,
            },
            Rule::index => {
                let mut parts = Parts::of(part);
                let items = std::iter::from_fn(|| parts.next()).map(|item| self.index_item(item)).collect();
                ExprKind::Index { base: Box::new(base), items }
            }
            Rule::trailing => self.trailing(base, part),
            _ => {
                let arguments = part.into_inner().next().map(|p| self.arguments(p)).unwrap_or_default();
                ExprKind::Call { callee: Box::new(base), arguments }
            }
        };
        Expr { kind, span }
    }

    /// `generate(300) |i| { … }` hands the function to the call as its last argument.
    fn trailing(&self, base: Expr, part: Pair<'_, Rule>) -> ExprKind {
        let value = self.lambda(part);
        let argument = Argument::plain(value);
        match base.kind {
            ExprKind::Call { callee, mut arguments } => {
                arguments.push(argument);
                ExprKind::Call { callee, arguments }
            }
            kind => {
                let callee = Box::new(Expr { kind, span: base.span });
                ExprKind::Call { callee, arguments: vec![argument] }
            }
        }
    }

    /// `word … { … }` hands the block to the call as a function, whose parameter `as name` gives.
    fn with_body(&self, callee: Expr, before: Option<Expr>, index: Option<Name>, body: Pair<'_, Rule>) -> ExprKind {
        let mut span = self.span(&body);
        let param = index.map(|name| {
            span = name.span.to(span);
            Param { span: name.span, name, pattern: None, ty: None, default: None }
        });
        let params = param.into_iter().collect();
        let value = Expr { kind: ExprKind::Lambda { params, body: self.body(body) }, span };
        let arguments = before.into_iter().chain([value]).map(Argument::plain).collect();
        ExprKind::Call { callee: Box::new(callee), arguments }
    }

    /// The word at the start of a construct, as the name of what it calls.
    fn word_callee(&self, word: &str, span: Span) -> Expr {
        Expr { kind: ExprKind::Name(word.into()), span: Span { end: span.start + word.len() as u32, ..span } }
    }

    /// `stream { … }` is an endless source, each record the value of the block.
    fn stream(&self, pair: Pair<'_, Rule>) -> Option<Expr> {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        let index = parts.take(Rule::clock).and_then(|clock| self.clock(clock));
        let kind = self.with_body(self.word_callee("stream", span), None, index, parts.next()?);
        Some(Expr { kind, span })
    }

    /// `retry 100 { … until condition … }` draws again until the condition holds.
    fn retry(&self, pair: Pair<'_, Rule>) -> Option<Expr> {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        let count = self.expr(parts.next()?);
        let kind = self.with_body(self.word_callee("retry", span), Some(count), None, parts.next()?);
        Some(Expr { kind, span })
    }

    /// `every 5 epochs` is `every(5 epochs)`, and `every 5 epochs { … }` hands it the block as well.
    fn every(&self, pair: Pair<'_, Rule>) -> Option<Expr> {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        let amount = self.operand(parts.next()?);
        let callee = self.word_callee("every", span);
        let kind = match parts.next() {
            Some(body) => self.with_body(callee, Some(amount), None, body),
            None => ExprKind::Call { callee: Box::new(callee), arguments: vec![Argument::plain(amount)] },
        };
        Some(Expr { kind, span })
    }

    pub(super) fn arguments(&self, pair: Pair<'_, Rule>) -> Vec<Argument> {
        let arguments = Parts::of(pair).take_all(Rule::argument).into_iter().filter_map(|argument| {
            let inner = argument.into_inner().next()?;
            if inner.as_rule() == Rule::expr {
                return Some(Argument::plain(self.expr(inner)));
            }
            if inner.as_rule() == Rule::spread {
                let value = self.expr(Parts::of(inner).next()?);
                return Some(Argument { name: None, value, spread: true });
            }
            if inner.as_rule() == Rule::slip_named {
                self.slip_named(&inner);
            }
            let mut parts = Parts::of(inner);
            let name = Some(self.name(&parts.next()?));
            Some(Argument { name, value: self.expr(parts.next()?), spread: false })
        });
        arguments.collect()
    }

    fn index_item(&self, pair: Pair<'_, Rule>) -> IndexItem {
        let span = self.span(&pair);
        match pair.as_rule() {
            Rule::all => IndexItem::All(span),
            Rule::rest => IndexItem::Rest(span),
            Rule::new_axis => IndexItem::New(span),
            Rule::upto => {
                let mut parts = Parts::of(pair);
                let end = parts.take(Rule::upper).map(|p| Box::new(self.expr(p)));
                let step = self.stride(&mut parts);
                IndexItem::Value(Expr { kind: ExprKind::Range { start: None, end, step }, span })
            }
            _ => {
                let open = has(&pair, Rule::open_end);
                let mut parts = Parts::of(pair);
                let value = parts.next().map(|p| self.expr(p)).unwrap_or(Expr { kind: ExprKind::Error, span });
                if !open {
                    return IndexItem::Value(value);
                }
                parts.take(Rule::open_end);
                let step = self.stride(&mut parts);
                let start = Some(Box::new(value));
                IndexItem::Value(Expr { kind: ExprKind::Range { start, end: None, step }, span })
            }
        }
    }

    fn stride(&self, parts: &mut Parts<'_>) -> Option<Box<Expr>> {
        parts.take(Rule::stride).and_then(|p| Parts::of(p).next()).map(|p| Box::new(self.expr(p)))
    }

    fn if_expr(&self, pair: Pair<'_, Rule>) -> Expr {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        let mut branches = Vec::new();
        let mut otherwise = None;
        while let Some(part) = parts.next() {
            if part.as_rule() == Rule::braces {
                otherwise = Some(self.block(part));
            } else if let Some(body) = parts.next() {
                branches.push((self.expr(part), self.block(body)));
            }
        }
        if branches.len() > MAX_DEPTH {
            self.report(self.too_long(span));
            return Expr { kind: ExprKind::Error, span };
        }
        // `else if` is an `else` whose block is the next `if`.
        let mut result = Expr { kind: ExprKind::Error, span };
        for (at, (condition, then)) in branches.into_iter().enumerate().rev() {
            let start = if at == 0 { span.start } else { condition.span.start.saturating_sub(3) };
            let span = Span { start, ..span };
            let (condition, then) = (Box::new(condition), Arc::new(then));
            let kind = ExprKind::If { condition, then, otherwise: otherwise.take().map(Arc::new) };
            result = Expr { kind, span };
            if at > 0 {
                otherwise = Some(super::statements::block_of_expr(result.clone()));
            }
        }
        result
    }

    fn lambda(&self, pair: Pair<'_, Rule>) -> Expr {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        let params = parts.take_all(Rule::lambda_param).into_iter().filter_map(|param| {
            let span = self.span(&param);
            let mut parts = Parts::of(param);
            let first = parts.next()?;
            let name = self.name(&first);
            let pattern = if first.as_rule() == Rule::name { None } else { Some(self.pattern(first)?) };
            Some(Param { name, pattern, ty: parts.next().map(|ty| self.type_expr(ty)), default: None, span })
        });
        let params = params.collect();
        match parts.next() {
            Some(body) => Expr { kind: ExprKind::Lambda { params, body: self.body(body) }, span },
            None => Expr { kind: ExprKind::Error, span },
        }
    }

    fn atom(&self, pair: Pair<'_, Rule>) -> Option<ExprKind> {
        let span = self.span(&pair);
        let text = pair.as_str().trim_end();
        Some(match pair.as_rule() {
            Rule::name => ExprKind::Name(text.into()),
            Rule::bool_ => ExprKind::Bool(text == "true"),
            Rule::number => self.number(text, span),
            Rule::text => ExprKind::Text(self.text(pair).text),
            Rule::slip_text => {
                self.slip_text(text, span);
                ExprKind::Text(text.trim_matches('\'').into())
            }
            Rule::quantity => {
                let mut parts = Parts::of(pair);
                let amount = parts.next()?.as_str().replace('_', "").parse().ok()?;
                ExprKind::Quantity(amount, unit(parts.next()?.as_str()))
            }
            Rule::slip_unit => {
                self.slip_unit(pair);
                ExprKind::Error
            }
            Rule::paren => self.paren(pair)?,
            Rule::list => self.list(pair)?,
            _ => return None,
        })
    }

    fn number(&self, text: &str, span: Span) -> ExprKind {
        let digits = text.replace('_', "");
        if digits.contains(['.', 'e', 'E']) {
            return digits.parse().map_or(ExprKind::Error, ExprKind::Float);
        }
        digits.parse().map_or_else(
            |_| {
                self.report(
                    Diagnostic::error(Code::Syntax, "this whole number is too large")
                        .label(span, format!("the largest is {}", i64::MAX))
                        .help("write it with a point or an exponent, such as `1e20`"),
                );
                ExprKind::Error
            },
            ExprKind::Int,
        )
    }

    /// `(a)` is kept; `(a, b)` is a list in parentheses.
    fn paren(&self, pair: Pair<'_, Rule>) -> Option<ExprKind> {
        let span = self.span(&pair);
        let tuple = has(&pair, Rule::comma);
        let mut values: Vec<Expr> = Parts::of(pair).take_all(Rule::expr).into_iter().map(|p| self.expr(p)).collect();
        let inner = if tuple { Expr { kind: ExprKind::List(values), span } } else { values.pop()? };
        Some(ExprKind::Paren(Box::new(inner)))
    }

    fn list(&self, pair: Pair<'_, Rule>) -> Option<ExprKind> {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        let items: Vec<Expr> = parts.take_all(Rule::expr).into_iter().map(|p| self.expr(p)).collect();
        let clauses = parts.take_all(Rule::clause);
        if clauses.is_empty() {
            return Some(ExprKind::List(items));
        }
        let mut value = items.into_iter().next()?;
        let last = clauses.len() - 1;
        // Several `for` give one list: each outer one joins the lists of the inner.
        for (at, clause) in clauses.into_iter().enumerate().rev() {
            let kind = self.clause(value, clause)?;
            value = Expr { kind, span };
            if at < last {
                value = joined(value, span);
            }
        }
        Some(value.kind)
    }

    fn clause(&self, item: Expr, clause: Pair<'_, Rule>) -> Option<ExprKind> {
        let mut parts = Parts::of(clause);
        let patterns = parts.take_all(Rule::pattern);
        let overs = parts.take_all(Rule::expr);
        let (pattern, over) = self.zipped(patterns, overs)?;
        let filter = parts.take(Rule::clause_filter).and_then(|p| Parts::of(p).next());
        let filter = filter.map(|p| Box::new(self.expr(p)));
        Some(ExprKind::Comprehension { item: Box::new(item), pattern, over: Box::new(over), filter })
    }

    /// A text without quotes and with its escapes resolved.
    pub(super) fn text(&self, pair: Pair<'_, Rule>) -> Text {
        let span = self.span(&pair);
        let raw = pair.as_str().trim_end();
        let raw = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(raw);
        let mut text = String::with_capacity(raw.len());
        let mut chars = raw.char_indices();
        while let Some((at, char)) = chars.next() {
            match (char, if char == '\\' { chars.next() } else { None }) {
                ('\\', Some((_, 'n'))) => text.push('\n'),
                ('\\', Some((_, 't'))) => text.push('\t'),
                ('\\', Some((_, escaped @ ('"' | '\\')))) => text.push(escaped),
                ('\\', Some((_, other))) => self.unknown_escape(span.start as usize + 1 + at, other),
                (char, _) => text.push(char),
            }
        }
        Text { text: text.into(), span }
    }

    fn unknown_escape(&self, at: usize, other: char) {
        let span = Span::new(self.source, at, at + 1 + other.len_utf8());
        self.report(
            Diagnostic::error(Code::Syntax, format!("`\\{other}` means nothing in a text"))
                .label(span, "unknown escape")
                .help("the escapes are `\\n`, `\\t`, `\\\"` and `\\\\`"),
        );
    }
}

/// The concatenation of a list of lists.
fn joined(lists: Expr, span: Span) -> Expr {
    let callee = Box::new(Expr { kind: ExprKind::Name("concat".into()), span });
    Expr { kind: ExprKind::Call { callee, arguments: vec![Argument::plain(lists)] }, span }
}

fn is_comparison(op: BinaryOp) -> bool {
    use BinaryOp::*;
    matches!(op, Equal | NotEqual | Less | LessEqual | Greater | GreaterEqual)
}

fn unit(word: &str) -> Unit {
    match word.trim_end() {
        "steps" => Unit::Steps,
        "epochs" | "epoch" => Unit::Epochs,
        "rounds" | "round" => Unit::Rounds,
        "seconds" | "second" | "sec" | "s" => Unit::Seconds,
        "minutes" | "minute" | "min" => Unit::Minutes,
        "hours" | "hour" | "h" => Unit::Hours,
        "KiB" => Unit::KiB,
        "MiB" => Unit::MiB,
        "GiB" => Unit::GiB,
        _ => Unit::Bytes,
    }
}
