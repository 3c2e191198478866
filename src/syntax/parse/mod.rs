//! Text to tree: the newline pass, the grammar, and blank-and-try-again when a statement cannot be read.

mod expressions;
mod messages;
mod records;
mod recover;
mod slips;
mod statements;
mod types;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use pest::Parser;
use pest::iterators::{Pair, Pairs};

use super::lines::{self, Lines, MAX_DEPTH};
use super::tree::*;
use crate::diagnostics::{Code, Diagnostic};
use crate::source::{SourceId, Span};

#[derive(pest_derive::Parser)]
#[grammar = "../grammar/ssl.pest"]
struct Grammar;

/// How many statements are taken out of one file before the rest is given up.
const MAX_RETRIES: usize = 20;
/// The stack for one file: the grammar recurses a few dozen frames for each of [`MAX_DEPTH`] levels.
const STACK: usize = 256 << 20;
/// Nesting up to here fits the stack of any thread.
const SHALLOW: usize = 8;

/// Reads one file. What cannot be read is reported and becomes an error node.
pub fn parse(source: SourceId, text: &str) -> (File, Vec<Diagnostic>) {
    let lines = lines::scan(source, text);
    if lines.depth <= SHALLOW {
        return read(source, text, lines);
    }
    let whole = Span::new(source, 0, text.len());
    std::thread::scope(|scope| {
        let reader = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, || read(source, text, lines));
        match reader.map(|thread| thread.join()) {
            Ok(Ok(result)) => result,
            _ => {
                let fault = Diagnostic::error(Code::Internal, "the parser could not run").label(whole, "in this file");
                (File { source, statements: Vec::new(), comments: Vec::new() }, vec![fault])
            }
        }
    })
}

fn read(source: SourceId, text: &str, lines: Lines) -> (File, Vec<Diagnostic>) {
    let Lines { mut copy, comments, mut faults, .. } = lines;
    for attempt in 0..=MAX_RETRIES {
        let readable = String::from_utf8(copy).unwrap_or_else(|_| " ".repeat(text.len()));
        let error = match Grammar::parse(Rule::file, &readable) {
            Ok(pairs) => {
                let builder = Builder::new(source, text, comments);
                let statements = builder.file(pairs);
                return builder.finish(statements, faults);
            }
            Err(error) => error,
        };
        let messages::Described { place, line_ends, fault } = messages::describe(source, text, &readable, &error);
        let told = faults.iter().any(|known| recover::same_line(text, known, place));
        let mut taken = recover::statement_around(&readable, place);
        copy = readable.into_bytes();
        if let Some(end) = line_ends {
            // The line below is a statement of its own.
            copy[end] = b'\n';
            taken.end = taken.end.min(end);
        }
        if attempt + 1 < MAX_RETRIES {
            lines::blank(&mut copy, taken);
        } else {
            lines::blank(&mut copy, 0..text.len());
        }
        if !told {
            faults.push(fault);
        }
    }
    let whole = Span::new(source, 0, text.len());
    let statements = vec![Statement { kind: StatementKind::Error, span: whole, doc: None }];
    (File { source, statements, comments: Vec::new() }, faults)
}

/// Makes the tree of a file that the grammar has read.
struct Builder<'a> {
    source: SourceId,
    text: &'a str,
    comments: Vec<std::ops::Range<usize>>,
    /// Which comments stand above a statement as its doc.
    docs: RefCell<BTreeSet<usize>>,
    faults: RefCell<Vec<Diagnostic>>,
}

impl<'a> Builder<'a> {
    fn new(source: SourceId, text: &'a str, comments: Vec<std::ops::Range<usize>>) -> Builder<'a> {
        let (docs, faults) = (RefCell::default(), RefCell::default());
        Builder { source, text, comments, docs, faults }
    }

    fn file(&self, pairs: Pairs<'_, Rule>) -> Vec<Statement> {
        let inner = pairs.flat_map(Pair::into_inner).filter(|pair| pair.as_rule() == Rule::statement);
        inner.map(|pair| self.statement(pair)).collect()
    }

    fn finish(self, statements: Vec<Statement>, mut faults: Vec<Diagnostic>) -> (File, Vec<Diagnostic>) {
        let docs = self.docs.into_inner();
        let plain = self.comments.iter().enumerate().filter(|(at, _)| !docs.contains(at));
        let comments = plain.map(|(_, range)| Comment {
            span: Span::new(self.source, range.start, range.end),
            text: self.text[range.clone()].into(),
            own_line: own_line(self.text, range.start),
        });
        let comments = comments.collect();
        faults.extend(self.faults.into_inner());
        faults.sort_by_key(|fault| fault.labels.first().map(|label| label.span.start));
        (File { source: self.source, statements, comments }, faults)
    }

    /// The `##` lines directly above a statement.
    fn doc_above(&self, start: usize) -> Option<Arc<str>> {
        let mut lines = Vec::new();
        let mut below = start;
        let last = self.comments.partition_point(|range| range.end <= start);
        for at in (0..last).rev() {
            let range = self.comments[at].clone();
            let gap = &self.text[range.end..below];
            let adjacent = gap.trim().is_empty() && gap.matches('\n').count() == 1;
            if !adjacent || !self.text[range.clone()].starts_with("##") || !own_line(self.text, range.start) {
                break;
            }
            let line = self.text[range.clone()].trim_start_matches('#');
            lines.push(line.strip_prefix(' ').unwrap_or(line).trim_end());
            self.docs.borrow_mut().insert(at);
            below = range.start;
        }
        lines.reverse();
        (!lines.is_empty()).then(|| lines.join("\n").into())
    }

    fn report(&self, fault: Diagnostic) {
        self.faults.borrow_mut().push(fault);
    }

    /// The place of a pair without the blanks that the grammar skips behind an absent optional part.
    fn span(&self, pair: &Pair<'_, Rule>) -> Span {
        let start = pair.as_span().start();
        Span::new(self.source, start, start + pair.as_str().trim_end().len())
    }

    fn name(&self, pair: &Pair<'_, Rule>) -> Name {
        Name { text: pair.as_str().trim_end().into(), span: self.span(pair) }
    }

    fn too_long(&self, span: Span) -> Diagnostic {
        Diagnostic::error(Code::Nesting, format!("this is nested or chained more than {MAX_DEPTH} deep"))
            .label(span, "too long to read as one expression")
            .help("name parts of it with `let`")
    }
}

fn own_line(text: &str, start: usize) -> bool {
    text[..start].rsplit('\n').next().is_some_and(|before| before.trim().is_empty())
}

/// The children of a pair that say something; words and marks of the syntax are passed over.
struct Parts<'i> {
    items: std::iter::Peekable<std::vec::IntoIter<Pair<'i, Rule>>>,
}

impl<'i> Parts<'i> {
    fn of(pair: Pair<'i, Rule>) -> Parts<'i> {
        let items: Vec<_> = pair.into_inner().filter(|inner| !is_mark(inner.as_rule())).collect();
        Parts { items: items.into_iter().peekable() }
    }

    fn next(&mut self) -> Option<Pair<'i, Rule>> {
        self.items.next()
    }

    fn take(&mut self, rule: Rule) -> Option<Pair<'i, Rule>> {
        self.items.next_if(|pair| pair.as_rule() == rule)
    }

    fn take_all(&mut self, rule: Rule) -> Vec<Pair<'i, Rule>> {
        std::iter::from_fn(|| self.take(rule)).collect()
    }
}

/// Whether a pair has a direct child of this rule.
fn has(pair: &Pair<'_, Rule>, rule: Rule) -> bool {
    pair.clone().into_inner().any(|inner| inner.as_rule() == rule)
}

fn is_mark(rule: Rule) -> bool {
    use Rule::*;
    matches!(
        rule,
        comma
            | colon
            | eq
            | tilde
            | arrow
            | bar
            | open_brace
            | close_brace
            | open_paren
            | close_paren
            | open_bracket
            | close_bracket
    ) || is_keyword(rule)
}

fn is_keyword(rule: Rule) -> bool {
    use Rule::*;
    matches!(
        rule,
        kw_use
            | kw_option
            | kw_every
            | kw_retry
            | kw_stream
            | kw_param
            | kw_type
            | kw_data
            | kw_view
            | kw_net
            | kw_module
            | kw_fn
            | kw_flow
            | kw_optimizer
            | kw_weight
            | kw_state
            | kw_pool
            | kw_train
            | kw_pass
            | kw_step
            | kw_for
            | kw_in
            | kw_as
            | kw_sweep
            | kw_study
            | kw_test
            | kw_let
            | kw_var
            | kw_repeat
            | kw_flywheel
            | kw_until
            | kw_run
            | kw_choose
            | kw_yield
            | kw_minimize
            | kw_over
            | kw_using
            | kw_except
            | kw_where
            | kw_emit
            | kw_log
            | kw_measure
            | kw_collect
            | kw_report
            | kw_assert
            | kw_save
            | kw_to
            | kw_load
            | kw_from
            | kw_import
            | kw_return
            | kw_if
            | kw_else
    )
}
