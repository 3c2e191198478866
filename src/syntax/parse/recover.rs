//! Which part of a text is taken out when it cannot be read.

use std::ops::Range;

use crate::diagnostics::Diagnostic;
use crate::syntax::lines::BROKEN;

/// The innermost statement around a place of the copy that the grammar reads. A statement that was taken out already,
/// or an empty one, gives way to the one around it.
pub fn statement_around(copy: &str, place: usize) -> Range<usize> {
    let bytes = copy.as_bytes();
    let levels = enclosing(bytes, place);
    for (at, start) in levels.iter().enumerate().rev() {
        let end = statement_end(bytes, *start, place, at > 0);
        let first = start + blanks(&bytes[*start..end]);
        let last = first + trimmed(&bytes[first..end]);
        let worth =
            bytes[first..last].iter().any(|byte| !byte.is_ascii_whitespace() && !matches!(*byte, BROKEN | b';'));
        if worth {
            return first..last;
        }
    }
    0..bytes.len()
}

/// Where the statement around `place` starts, at each level of braces, outermost first.
fn enclosing(bytes: &[u8], place: usize) -> Vec<usize> {
    // One entry for each open bracket: the bracket, and where the current statement inside it starts.
    let mut open: Vec<(u8, usize)> = vec![(b'{', 0)];
    let mut at = 0;
    while at < place.min(bytes.len()) {
        match bytes[at] {
            b'"' => {
                at = string_end(bytes, at);
                continue;
            }
            bracket @ (b'(' | b'[' | b'{') => open.push((bracket, at + 1)),
            b')' | b']' | b'}' if open.len() > 1 => {
                open.pop();
            }
            b'\n' | b';' => {
                if let Some((b'{', start)) = open.last_mut() {
                    *start = at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    open.into_iter().filter(|(bracket, _)| *bracket == b'{').map(|(_, start)| start).collect()
}

/// Where the statement that starts at `start` and goes on beyond `place` ends.
fn statement_end(bytes: &[u8], start: usize, place: usize, inside: bool) -> usize {
    let mut depth = 0usize;
    let mut at = start;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at = string_end(bytes, at);
                continue;
            }
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' if depth > 0 => depth -= 1,
            b')' | b']' | b'}' if inside => return at,
            b'\n' | b';' if depth == 0 && at >= place => return at,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != b'\n' {
        match bytes[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at.min(bytes.len())
}

fn blanks(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(bytes.len())
}

fn trimmed(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| !byte.is_ascii_whitespace()).map_or(0, |last| last + 1)
}

/// Whether a fault was already told for the line of `place`, or spans it.
pub fn same_line(text: &str, known: &Diagnostic, place: usize) -> bool {
    let place = place.min(text.len());
    let line_of = |at: usize| text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count();
    let line = line_of(place);
    known.labels.iter().any(|label| line_of(label.span.start as usize) == line)
}
