//! Entries between brackets, and blocks.

use super::{Doc, Formatter, INDENT, text, trailing};
use crate::source::Span;
use crate::syntax::tree::*;

/// Statements and comments, each with the newline before it.
pub(super) struct Lines {
    /// Comments behind the opening bracket.
    pub opening: Doc,
    pub items: Vec<Doc>,
    pub forced: bool,
}

impl Formatter<'_> {
    /// `open entries close`, on one line or one entry a line. Each entry is given with the place where it starts.
    pub(super) fn entries<T>(
        &self,
        brackets: (&'static str, &'static str),
        entries: &[T],
        end: u32,
        start_of: impl Fn(&T) -> u32,
        doc_of: impl Fn(&T) -> Doc,
    ) -> Doc {
        let edge = || if brackets.0.ends_with('{') { Doc::line() } else { Doc::soft() };
        if entries.is_empty() {
            let comments = self.closing_gap(end, Doc::nothing());
            return if comments.must_break() {
                Doc::all([text(brackets.0), comments, Doc::hard(), text(brackets.1)]).group()
            } else {
                text(format!("{}{}", brackets.0, brackets.1))
            };
        }
        let mut inner = Vec::new();
        for (at, entry) in entries.iter().enumerate() {
            let line = if at == 0 { edge() } else { Doc::line() };
            inner.push(self.gap(start_of(entry), line));
            inner.push(doc_of(entry).rigid());
            inner.push(if at + 1 < entries.len() { text(",") } else { Doc::either(",", "") });
        }
        let closing = self.closing_gap(end, edge());
        Doc::all([text(brackets.0), Doc::all(inner).nest(INDENT), closing, text(brackets.1)]).group()
    }

    /// `{ statements }`: on one line where it was written so and fits, else one statement a line.
    pub(super) fn block(&self, block: &Block) -> Doc {
        if let [Statement { kind: StatementKind::Expr(Expr { kind: ExprKind::Record(items), span }), span: outer, .. }] =
            block.statements.as_slice()
            && *outer == block.span
        {
            return self.record(items, *span, true);
        }
        let (start, end) = (block.span.start as usize + 1, block.span.end.saturating_sub(1) as usize);
        let lines = self.lines(&block.statements, start, end.max(start));
        if block.statements.is_empty() && lines.items.is_empty() && !lines.opening.must_break() {
            return text("{}");
        }
        let first = block.statements.first().map_or(end, |statement| self.start(statement));
        let wanted = self.text.get(start..first).is_some_and(|gap| gap.contains('\n'));
        let items = Doc::all(lines.items).rigid();
        let inner = if wanted || lines.forced { items.broken() } else { items };
        Doc::all([text("{"), lines.opening, Doc::all([Doc::line(), inner]).nest(INDENT), Doc::line(), text("}")])
    }

    /// Statements with the comments before, between and behind them.
    pub(super) fn lines(&self, statements: &[Statement], start: usize, end: usize) -> Lines {
        let mut lines = Lines { opening: Doc::nothing(), items: Vec::new(), forced: false };
        let mut last = start;
        for statement in statements {
            let begin = self.start(statement);
            last = self.comments_into(&mut lines, last, begin);
            self.separate(&mut lines, last, begin, true);
            lines.items.push(self.statement(statement));
            last = statement.span.end as usize;
        }
        self.comments_into(&mut lines, last, end);
        lines
    }

    /// Writes the comments before `until`; gives the place behind the last of them.
    fn comments_into(&self, lines: &mut Lines, mut last: usize, until: usize) -> usize {
        while let Some(comment) = self.take_comment(until) {
            lines.forced = true;
            if comment.own_line {
                self.separate(lines, last, comment.span.start as usize, false);
                lines.items.push(text(super::comment_text(comment)));
            } else if let Some(item) = lines.items.last_mut() {
                *item = Doc::all([std::mem::replace(item, Doc::nothing()), trailing(comment)]);
            } else {
                lines.opening = Doc::all([std::mem::replace(&mut lines.opening, Doc::nothing()), trailing(comment)]);
            }
            last = last.max(comment.span.end as usize);
        }
        last
    }

    /// The end of the line before, and an empty line where there was one.
    fn separate(&self, lines: &mut Lines, last: usize, next: usize, statement: bool) {
        if lines.items.is_empty() {
            return;
        }
        let newlines = self.text.get(last..next).map_or(0, |gap| gap.matches('\n').count());
        if newlines > 1 {
            lines.items.push(Doc::blank());
            lines.forced = true;
        } else if statement {
            lines.items.push(Doc::either("", ";"));
            lines.items.push(Doc::wide());
        } else {
            lines.items.push(Doc::hard());
        }
    }

    /// Where a statement starts, with its doc.
    fn start(&self, statement: &Statement) -> usize {
        let mut start = statement.span.start as usize;
        for _ in 0..statement.doc.as_ref().map_or(0, |doc| doc.split('\n').count()) {
            let line = self.text[..start].rfind('\n').unwrap_or(0);
            start = self.text[..line].rfind("##").unwrap_or(line);
            start = self.text[..start + 1].rfind('\n').map_or(start, |at| at + 1);
        }
        start
    }

    /// `{ entries }`; a single bare name in a block needs its comma to stay a record.
    pub(super) fn record(&self, items: &[RecordItem], span: Span, in_block: bool) -> Doc {
        if let ([RecordItem::Pun(only)], true) = (items, in_block) {
            let name = self.expr(only);
            return Doc::all([text("{ "), name, text(", }")]);
        }
        let start_of = |item: &RecordItem| match item {
            RecordItem::Field { name, .. } => name.span.start,
            RecordItem::Pun(value) => value.span.start,
            RecordItem::Spread(value) => value.span.start.saturating_sub(2),
        };
        let doc = self.entries(("{", "}"), items, span.end.saturating_sub(1), start_of, |item| match item {
            RecordItem::Field { name, value } => Doc::all([text(format!("{}: ", name.text)), self.expr(value)]),
            RecordItem::Pun(value) => self.expr(value),
            RecordItem::Spread(value) => Doc::all([text(".."), self.expr(value)]),
        });
        let wanted = items.first().is_some_and(|first| {
            self.text.get(span.start as usize..start_of(first) as usize).is_some_and(|gap| gap.contains('\n'))
        });
        if wanted { doc.break_open() } else { doc }
    }
}
