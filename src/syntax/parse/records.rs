//! Braces: a block or a record, by what stands inside and where.

use std::sync::Arc;

use pest::iterators::Pair;

use super::statements::block_of_expr;
use super::{Builder, Parts, Rule};
use crate::diagnostics::{Code, Diagnostic};
use crate::source::Span;
use crate::syntax::tree::*;

/// What one pair of braces holds.
struct Contents {
    items: Vec<Item>,
    /// The first comma between or behind items.
    comma: Option<Span>,
    span: Span,
}

enum Item {
    Entry(RecordItem, Span),
    Statement(Statement),
}

impl Builder<'_> {
    /// Braces after a header, `else` or `|…|`.
    pub(super) fn block(&self, pair: Pair<'_, Rule>) -> Block {
        let contents = self.contents(pair);
        let span = contents.span;
        if contents.is_record() && !contents.is_one_value() {
            let record = self.record(contents);
            let statement = Statement { kind: StatementKind::Expr(record), span, doc: None };
            return Block { statements: vec![statement], span };
        }
        Block { statements: self.only_statements(contents), span }
    }

    /// Braces where a value stands.
    pub(super) fn braces_value(&self, pair: Pair<'_, Rule>) -> Expr {
        let contents = self.contents(pair);
        let span = contents.span;
        if contents.items.is_empty() || contents.is_record() || contents.is_one_value() {
            return self.record(contents);
        }
        let statements = self.only_statements(contents);
        Expr { kind: ExprKind::Block(Arc::new(Block { statements, span })), span }
    }

    fn contents(&self, pair: Pair<'_, Rule>) -> Contents {
        let span = self.span(&pair);
        let mut contents = Contents { items: Vec::new(), comma: None, span };
        let mut parts = Parts::of(pair);
        while let Some(part) = parts.next() {
            let span = self.span(&part);
            match part.as_rule() {
                Rule::item_sep => {
                    if let (Some(at), None) = (part.as_str().find(','), contents.comma) {
                        let at = part.as_span().start() + at;
                        contents.comma = Some(Span::new(self.source, at, at + 1));
                    }
                }
                Rule::spread => {
                    if let Some(base) = Parts::of(part).next() {
                        contents.items.push(Item::Entry(RecordItem::Spread(self.expr(base)), span));
                    }
                }
                Rule::field => {
                    let mut parts = Parts::of(part);
                    if let (Some(name), Some(value)) = (parts.next(), parts.next()) {
                        let field = RecordItem::Field { name: self.name(&name), value: self.expr(value) };
                        contents.items.push(Item::Entry(field, span));
                    }
                }
                _ => contents.items.push(Item::Statement(self.statement(part))),
            }
        }
        contents
    }

    /// The record of these contents; what is no entry is reported.
    fn record(&self, contents: Contents) -> Expr {
        let mut entries = Vec::new();
        for item in contents.items {
            match item {
                Item::Entry(entry, _) => entries.push(entry),
                Item::Statement(Statement { kind: StatementKind::Expr(value), .. }) if is_path(&value) => {
                    entries.push(RecordItem::Pun(value));
                }
                Item::Statement(Statement { kind: StatementKind::Error, .. }) => {
                    return Expr { kind: ExprKind::Error, span: contents.span };
                }
                Item::Statement(statement) => {
                    self.nameless(statement.span);
                    return Expr { kind: ExprKind::Error, span: contents.span };
                }
            }
        }
        Expr { kind: ExprKind::Record(entries), span: contents.span }
    }

    fn only_statements(&self, contents: Contents) -> Vec<Statement> {
        let mut statements = Vec::new();
        if let Some(comma) = contents.comma {
            let fault = Diagnostic::error(Code::Syntax, "a comma does not end a statement")
                .label(comma, "between two statements")
                .help("end each statement with a new line or `;`; several values stand in a record: `{ a, b }`");
            self.report(fault);
        }
        for item in contents.items {
            match item {
                Item::Statement(statement) => statements.push(statement),
                Item::Entry(entry, span) => {
                    self.entry_among_statements(&entry, span);
                    statements.push(Statement { kind: StatementKind::Error, span, doc: None });
                }
            }
        }
        statements
    }

    pub(super) fn nameless(&self, span: Span) {
        self.report(
            Diagnostic::error(Code::Syntax, "an entry of a record needs a name")
                .label(span, "this value has none")
                .help("write `name: value`; only `x` and `a.x` name themselves"),
        );
    }

    fn entry_among_statements(&self, entry: &RecordItem, span: Span) {
        let help = match entry {
            RecordItem::Spread(_) => "put braces around the record: `{ ..base, name: value }`".to_string(),
            RecordItem::Field { name, .. } => {
                format!("for a record put braces around it; to name a value write `let {} = …`", name.text)
            }
            RecordItem::Pun(_) => "put braces around the record".to_string(),
        };
        self.report(
            Diagnostic::error(Code::Syntax, "an entry of a record stands among statements")
                .label(span, "not a statement")
                .help(help),
        );
    }
}

impl Contents {
    /// Only entries, or values with a comma.
    fn is_record(&self) -> bool {
        let entries = self.items.iter().any(|item| matches!(item, Item::Entry(..)));
        let statements = || {
            self.items.iter().filter_map(|item| match item {
                Item::Entry(..) => None,
                Item::Statement(statement) => Some(&statement.kind),
            })
        };
        let puns = statements().all(|kind| matches!(kind, StatementKind::Expr(value) if is_path(value)));
        let values = statements().all(|kind| matches!(kind, StatementKind::Expr(_) | StatementKind::Error));
        (entries && puns) || (self.comma.is_some() && values && !self.items.is_empty())
    }

    /// One bare `x` or `a.b`: the value in a block, a record elsewhere.
    fn is_one_value(&self) -> bool {
        self.comma.is_none()
            && matches!(self.items.as_slice(), [Item::Statement(Statement { kind: StatementKind::Expr(value), .. })] if is_path(value))
    }
}

/// `x` or `a.b.c`, which names itself in a record.
fn is_path(value: &Expr) -> bool {
    match &value.kind {
        ExprKind::Name(_) => true,
        ExprKind::Field { base, .. } => is_path(base),
        _ => false,
    }
}

impl Builder<'_> {
    /// The body of a lambda: braces or an expression.
    pub(super) fn body(&self, pair: Pair<'_, Rule>) -> Arc<Block> {
        match pair.as_rule() {
            Rule::braces => Arc::new(self.block(pair)),
            _ => Arc::new(block_of_expr(self.expr(pair))),
        }
    }
}
