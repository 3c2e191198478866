//! Tree and comments to text, at one width and without options.
//!
//! Comments wait in a queue. Wherever a line may break (between statements, entries, operands and clauses) those that stand
//! before that place are written, so none is lost and each stays with its neighbours.

mod doc;
mod expressions;
mod lists;
mod statements;
#[cfg(test)]
mod tests;

use std::cell::Cell;

use super::tree::*;
use crate::source::Span;
use doc::Doc;

const WIDTH: usize = 120;
const INDENT: usize = 2;

/// The text of a file in its one layout. `text` is what the file was parsed from.
pub fn format(file: &File, text: &str) -> String {
    let formatter = Formatter { text, comments: &file.comments, next: Cell::new(0) };
    let body = formatter.lines(&file.statements, 0, text.len());
    Doc::all([body.opening, Doc::all(body.items)]).print(WIDTH)
}

struct Formatter<'a> {
    text: &'a str,
    comments: &'a [Comment],
    /// The first comment that is not written yet.
    next: Cell<usize>,
}

impl<'a> Formatter<'a> {
    fn source(&self, span: Span) -> &'a str {
        self.text.get(span.range()).unwrap_or("")
    }

    /// The first character that was written for a node.
    fn begins_with(&self, span: Span, mark: &str) -> bool {
        self.text.get(span.start as usize..).is_some_and(|rest| rest.starts_with(mark))
    }

    fn take_comment(&self, before: usize) -> Option<&'a Comment> {
        let comment = self.comments.get(self.next.get()).filter(|comment| (comment.span.start as usize) < before)?;
        self.next.set(self.next.get() + 1);
        Some(comment)
    }

    /// A place where the line may break, with the comments that stand before `place`.
    fn gap(&self, place: u32, line: Doc) -> Doc {
        let (mut behind, mut above) = (Vec::new(), Vec::new());
        while let Some(comment) = self.take_comment(place as usize) {
            if comment.own_line || !above.is_empty() {
                above.push(Doc::text(comment_text(comment)));
                above.push(Doc::hard());
            } else {
                behind.push(trailing(comment));
            }
        }
        if behind.is_empty() && above.is_empty() {
            return line;
        }
        Doc::all([Doc::all(behind), Doc::hard(), Doc::all(above)])
    }

    /// The line before a closing bracket at `place`, with the comments that stand inside before it.
    fn closing_gap(&self, place: u32, line: Doc) -> Doc {
        let mut comments = Vec::new();
        while let Some(comment) = self.take_comment(place as usize) {
            if comment.own_line {
                comments.extend([Doc::hard(), Doc::text(comment_text(comment))]);
            } else {
                comments.push(trailing(comment));
            }
        }
        if comments.is_empty() { line } else { Doc::all([Doc::all(comments).nest(INDENT), line.broken()]) }
    }
}

fn comment_text(comment: &Comment) -> String {
    comment.text.trim_end().to_string()
}

fn trailing(comment: &Comment) -> Doc {
    Doc::suffix(format!("  {}", comment_text(comment)))
}

fn text(text: impl Into<String>) -> Doc {
    Doc::text(text)
}

/// Documents with another between each two.
fn join(docs: Vec<Doc>, between: &Doc) -> Doc {
    let mut joined = Vec::new();
    for (at, doc) in docs.into_iter().enumerate() {
        if at > 0 {
            joined.push(between.clone());
        }
        joined.push(doc);
    }
    Doc::all(joined)
}
