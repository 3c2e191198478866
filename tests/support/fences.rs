//! Fenced blocks of Markdown. In comes a page; out come its blocks, each with the words behind its fence and its line.

use std::path::{Path, PathBuf};

/// One fenced block.
#[derive(Clone, Debug)]
pub struct Fence {
    /// What stands behind the backticks: `ssl fails`.
    pub info: String,
    pub text: String,
    /// Of the opening backticks, from 1.
    pub line: usize,
}

/// The blocks of a page in order. A block that is not closed is a fault of the page.
pub fn fences(page: &str) -> Vec<Fence> {
    let mut found = Vec::new();
    let mut open: Option<Fence> = None;
    for (at, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(info), None) => open = Some(Fence { info: info.trim().into(), text: String::new(), line: at + 1 }),
            (Some(_), Some(fence)) => found.push(fence),
            (None, Some(mut fence)) => {
                fence.text.push_str(line);
                fence.text.push('\n');
                open = Some(fence);
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "the block of line {} is not closed", open.map_or(0, |fence| fence.line));
    found
}

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub fn read(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Whether `shown` is what was printed, where `…` stands for any text within a line and, alone, for any lines.
pub fn matches(shown: &str, printed: &str) -> bool {
    let shown: Vec<&str> = shown.trim_end().lines().collect();
    let printed: Vec<&str> = printed.trim_end().lines().collect();
    lines_match(&shown, &printed)
}

fn lines_match(shown: &[&str], printed: &[&str]) -> bool {
    match (shown.split_first(), printed.split_first()) {
        (None, None) => true,
        (Some((&("…" | "    …"), rest)), _) => {
            (0..=printed.len()).any(|skipped| lines_match(rest, &printed[skipped..]))
        }
        (Some((line, rest)), Some((other, others))) => line_matches(line, other) && lines_match(rest, others),
        _ => false,
    }
}

fn line_matches(shown: &str, printed: &str) -> bool {
    let (shown, printed) = (shown.trim_end(), printed.trim_end());
    match shown.split_once('…') {
        None => shown == printed,
        Some((head, tail)) => match printed.strip_prefix(head) {
            None => false,
            Some(rest) => {
                rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| line_matches(tail, &rest[at..]))
            }
        },
    }
}

#[test]
fn a_transcript_may_leave_out_lines_and_parts_of_lines() {
    assert!(matches("a\n…\nd … ms\n", "a\nb\nc\nd 12.5 ms"));
    assert!(matches("a\n    …\n", "a\n"));
    assert!(!matches("a\n…\ne\n", "a\nb\nc\n"));
    assert!(!matches("a … c", "a b d"));
    assert!(!matches("a\n", "a\nb\n"));
    assert!(matches("  loss  …", "  loss  0.25"));
}

#[test]
fn blocks_are_found_with_their_words_and_lines() {
    let found = fences("text\n```ssl fails\nlet x = 1\n```\n\n```\nplain\n```\n");
    assert_eq!(found.len(), 2);
    assert_eq!((found[0].info.as_str(), found[0].text.as_str(), found[0].line), ("ssl fails", "let x = 1\n", 2));
    assert_eq!(found[1].info, "");
}
