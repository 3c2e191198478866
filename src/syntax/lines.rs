//! The newline rule, ahead of the grammar.
//!
//! A small scanner knows strings, comments and brackets and writes a copy of equal length in which comments and the
//! newlines that only join two lines are blanks. Offsets stay true, and in the grammar a newline ends a statement.

use crate::diagnostics::{Code, Diagnostic};
use crate::source::{SourceId, Span};

/// Stands in the copy where a statement was taken out.
pub const BROKEN: u8 = 1;

/// Nesting deeper than this is refused before the grammar recurses.
pub const MAX_DEPTH: usize = 200;

/// What the scanner makes of a text.
pub struct Lines {
    /// As long as the text.
    pub copy: Vec<u8>,
    /// From `#` to the end of the line, in order of place.
    pub comments: Vec<std::ops::Range<usize>>,
    pub faults: Vec<Diagnostic>,
    /// How deep brackets are nested.
    pub depth: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Word,
    /// Numbers, strings and whatever else is a value.
    Other,
    Open,
    Close,
    /// An operator, comma or bar.
    Mark,
    Newline,
}

#[derive(Clone, Copy, Debug)]
struct Token {
    kind: Kind,
    start: usize,
    end: usize,
}

/// Longest first, so that `...` is not read as `..`.
const MARKS: &[&str] = &[
    "...", "..", "|>", "||", "&&", "==", "!=", "<=", ">=", "<-", "<+", "->", "//", "**", "+=", "-=", "*=", "/=", ",",
    ":", "=", "~", "|", "+", "-", "*", "/", "%", "@", "^", "<", ">", ".", "!",
];
/// Marks that continue the line before them.
const LEADING: &[&str] = &[
    "|>", "||", "&&", "==", "!=", "<=", ">=", "<-", "<+", "->", "//", "**", ",", "=", "~", "+", "*", "/", "%", "@",
    "^", "<", ">", ".",
];
/// Words that continue the line before them.
const LEADING_WORDS: &[&str] = &["over", "using", "where", "else", "and", "or", "has", "except"];
/// Words after which a line goes on.
const TRAILING_WORDS: &[&str] = &["and", "or", "not", "in", "has", "over", "using", "where", "else", "except"];
/// Words that begin a statement: where one stands at the left of an open bracket, the bracket was forgotten.
const STATEMENT_WORDS: &[&str] = &[
    "use",
    "param",
    "type",
    "data",
    "view",
    "net",
    "module",
    "fn",
    "flow",
    "optimizer",
    "weight",
    "state",
    "pool",
    "train",
    "pass",
    "step",
    "sweep",
    "study",
    "test",
    "let",
    "var",
    "for",
    "repeat",
    "flywheel",
    "until",
    "run",
    "choose",
    "yield",
    "minimize",
    "emit",
    "log",
    "measure",
    "collect",
    "report",
    "assert",
    "save",
    "load",
];

pub fn scan(source: SourceId, text: &str) -> Lines {
    let mut scanner =
        Scanner { source, text, copy: text.as_bytes().to_vec(), comments: Vec::new(), faults: Vec::new() };
    let tokens = scanner.tokens();
    let depth = scanner.brackets(&tokens);
    scanner.join_lines(&tokens);
    Lines { copy: scanner.copy, comments: scanner.comments, faults: scanner.faults, depth }
}

struct Scanner<'a> {
    source: SourceId,
    text: &'a str,
    copy: Vec<u8>,
    comments: Vec<std::ops::Range<usize>>,
    faults: Vec<Diagnostic>,
}

impl Scanner<'_> {
    fn span(&self, start: usize, end: usize) -> Span {
        Span::new(self.source, start, end)
    }

    /// Cuts the text into tokens; comments, carriage returns and a byte order mark become blanks in the copy.
    fn tokens(&mut self) -> Vec<Token> {
        let bytes = self.text.as_bytes();
        let mut tokens = Vec::new();
        let mut at = 0;
        if self.text.starts_with('\u{feff}') {
            self.copy[..3].fill(b' ');
            at = 3;
        }
        while at < bytes.len() {
            let start = at;
            let kind = match bytes[at] {
                b' ' | b'\t' | b'\r' => {
                    self.copy[at] = if bytes[at] == b'\r' { b' ' } else { bytes[at] };
                    at += 1;
                    continue;
                }
                // A control character that the copy gives a meaning of its own.
                BROKEN => {
                    self.copy[at] = b'?';
                    at += 1;
                    Kind::Other
                }
                b'#' => {
                    at = line_end(bytes, at);
                    self.comments.push(start..trim_end(bytes, start, at));
                    self.copy[start..at].fill(b' ');
                    continue;
                }
                b'\n' | b';' => {
                    at += 1;
                    Kind::Newline
                }
                b'"' => {
                    at = self.string(start);
                    Kind::Other
                }
                b'(' | b'[' | b'{' => {
                    at += 1;
                    Kind::Open
                }
                b')' | b']' | b'}' => {
                    at += 1;
                    Kind::Close
                }
                byte if byte.is_ascii_alphabetic() || byte == b'_' => {
                    at = span_of(bytes, at, |b| b.is_ascii_alphanumeric() || b == b'_');
                    Kind::Word
                }
                byte if byte.is_ascii_digit() => {
                    at = number_end(bytes, at);
                    Kind::Other
                }
                _ => match MARKS.iter().find(|mark| self.text[at..].starts_with(**mark)) {
                    Some(mark) => {
                        at += mark.len();
                        Kind::Mark
                    }
                    None => {
                        at += self.text[at..].chars().next().map_or(1, char::len_utf8);
                        Kind::Other
                    }
                },
            };
            tokens.push(Token { kind, start, end: at });
        }
        tokens
    }

    /// The end of the string that starts at `start`; one that is not closed on its line is reported and closed there.
    fn string(&mut self, start: usize) -> usize {
        let bytes = self.text.as_bytes();
        let mut at = start + 1;
        while at < bytes.len() && bytes[at] != b'\n' {
            match bytes[at] {
                b'"' => return at + 1,
                b'\\' if at + 1 < bytes.len() && bytes[at + 1] != b'\n' => at += 2,
                _ => at += 1,
            }
        }
        let at = trim_end(bytes, start, at.min(bytes.len()));
        self.faults.push(
            Diagnostic::error(Code::Syntax, "a text is not closed")
                .label(self.span(start, at), "starts here and runs to the end of the line")
                .help("close it with `\"` on the same line; a quote inside is `\\\"`"),
        );
        // A closed text of the same length, so that the statement around it can still be read.
        if at > start + 1 {
            let last = (start + 1..at).rev().find(|&i| self.text.is_char_boundary(i)).unwrap_or(start + 1);
            self.copy[last..at].fill(b'"');
            self.copy[last + 1..at].fill(b' ');
            if self.copy[last - 1] == b'\\' {
                self.copy[last - 1] = b' ';
            }
        } else {
            self.copy[start] = b'?';
        }
        at
    }

    /// Reports brackets that do not match and takes the statements around them out. Gives the depth of nesting.
    fn brackets(&mut self, tokens: &[Token]) -> usize {
        let mut open: Vec<Token> = Vec::new();
        // `|x| |y| …` and `a -> b -> …` nest without brackets.
        let mut chained = 0;
        let mut deepest = 0;
        let mut balanced = true;
        for token in tokens {
            match token.kind {
                Kind::Open => open.push(*token),
                Kind::Close => match open.pop() {
                    Some(opener) if self.partners(opener, *token) => {}
                    _ => {
                        balanced = false;
                        break;
                    }
                },
                _ => {}
            }
            chained = match self.word(token) {
                "|" | "->" => chained + 1,
                "," => 0,
                _ if matches!(token.kind, Kind::Open | Kind::Close | Kind::Newline) => 0,
                _ => chained,
            };
            deepest = deepest.max(open.len() + chained);
            if open.len().max(chained) > MAX_DEPTH {
                self.too_deep(*token);
                return 0;
            }
        }
        if !balanced || !open.is_empty() {
            self.repair(tokens);
        }
        deepest
    }

    fn partners(&self, opener: Token, closer: Token) -> bool {
        let bytes = self.text.as_bytes();
        matches!((bytes[opener.start], bytes[closer.start]), (b'(', b')') | (b'[', b']') | (b'{', b'}'))
    }

    fn too_deep(&mut self, token: Token) {
        let fault = Diagnostic::error(Code::Nesting, format!("this is nested more than {MAX_DEPTH} deep"))
            .label(self.span(token.start, token.end), format!("level {} begins here", MAX_DEPTH + 1))
            .help("name inner parts with `let`");
        self.faults.push(fault);
        blank(&mut self.copy, 0..self.text.len());
    }

    /// An unclosed bracket ends where a statement word stands at or left of the indentation of its line.
    fn repair(&mut self, tokens: &[Token]) {
        let mut open: Vec<Token> = Vec::new();
        for (at, token) in tokens.iter().enumerate() {
            if self.starts_statement(tokens, at) {
                let indent = self.indent(token.start);
                while let Some(opener) = open.last().copied() {
                    if indent > self.indent(opener.start) {
                        break;
                    }
                    open.pop();
                    let outer = open.iter().all(|other| indent > self.indent(other.start));
                    self.unclosed(opener, token.start, outer);
                }
            }
            match token.kind {
                Kind::Open => open.push(*token),
                Kind::Close => match open.last().copied() {
                    Some(opener) if self.partners(opener, *token) => {
                        open.pop();
                    }
                    Some(opener) => {
                        if let Some(depth) = open.iter().rposition(|other| self.partners(*other, *token)) {
                            self.forgotten(open.split_off(depth + 1), open[depth], *token);
                            open.pop();
                        } else {
                            self.wrong_closer(opener, *token);
                        }
                    }
                    None => self.stray_closer(*token),
                },
                _ => {}
            }
        }
        for opener in open.into_iter().rev() {
            let end = trim_end(self.text.as_bytes(), opener.end, self.text.len());
            self.unclosed(opener, end, true);
        }
    }

    fn starts_statement(&self, tokens: &[Token], at: usize) -> bool {
        let token = tokens[at];
        token.kind == Kind::Word
            && at > 0
            && tokens[at - 1].kind == Kind::Newline
            && STATEMENT_WORDS.contains(&&self.text[token.start..token.end])
            && !matches!(self.text.as_bytes().get(token.end), Some(b':' | b',' | b'.' | b'('))
    }

    fn indent(&self, at: usize) -> usize {
        let line = self.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        self.text[line..].bytes().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
    }

    fn unclosed(&mut self, opener: Token, end: usize, blank: bool) {
        let bracket = &self.text[opener.start..opener.end];
        let closer = match bracket {
            "(" => ")",
            "[" => "]",
            _ => "}",
        };
        let stop = trim_end(self.text.as_bytes(), opener.end, end);
        self.faults.push(
            Diagnostic::error(Code::Syntax, format!("`{bracket}` is never closed"))
                .label(self.span(opener.start, opener.end), "opened here")
                .label(
                    self.span(stop.saturating_sub(1).max(opener.start), stop),
                    format!("`{closer}` is missing after this"),
                )
                .help(format!("add `{closer}`")),
        );
        if blank {
            self.blank_line_from(opener.start, end);
        }
    }

    /// The closer belongs to `partner`, further out: what is open inside it was forgotten.
    fn forgotten(&mut self, inner: Vec<Token>, partner: Token, closer: Token) {
        for opener in inner.into_iter().rev() {
            self.unclosed(opener, closer.start, true);
        }
        if &self.text[closer.start..closer.end] != "}" {
            let end = line_end(self.text.as_bytes(), closer.end);
            self.blank_line_from(partner.start, end);
        }
    }

    fn wrong_closer(&mut self, opener: Token, closer: Token) {
        let (open, close) = (&self.text[opener.start..opener.end], &self.text[closer.start..closer.end]);
        self.faults.push(
            Diagnostic::error(Code::Syntax, format!("`{close}` does not close `{open}`"))
                .label(self.span(closer.start, closer.end), "found here")
                .label(self.span(opener.start, opener.end), "opened here")
                .help("close the inner bracket first, or remove this one"),
        );
        self.copy[closer.start] = b' ';
    }

    fn stray_closer(&mut self, closer: Token) {
        let close = &self.text[closer.start..closer.end];
        self.faults.push(
            Diagnostic::error(Code::Syntax, format!("`{close}` closes nothing"))
                .label(self.span(closer.start, closer.end), "no bracket is open here")
                .help("remove it"),
        );
        self.copy[closer.start] = b' ';
    }

    /// Takes everything from the start of the line of `from` up to `to` out of the copy.
    fn blank_line_from(&mut self, from: usize, to: usize) {
        let line = self.text[..from].rfind('\n').map_or(0, |newline| newline + 1);
        let first = line + self.indent(from);
        // What stands before the first statement of the line, such as `fn f() {`, may hold an opener of its own.
        blank(&mut self.copy, first..to);
        if to > first + 1 {
            self.copy[to - 1] = b'\n';
        }
    }

    /// Newlines that join two lines become blanks.
    fn join_lines(&mut self, tokens: &[Token]) {
        let kept = self.kept(tokens);
        let tokens = kept.as_slice();
        let mut open: Vec<u8> = Vec::new();
        let mut bounded: Option<usize> = None;
        for (at, token) in tokens.iter().enumerate() {
            let byte = self.copy[token.start];
            match token.kind {
                Kind::Open => open.push(byte),
                Kind::Close => {
                    open.pop();
                }
                Kind::Mark if self.opens_limit(tokens, at) => bounded = Some(at),
                Kind::Newline if byte == b'\n' => {
                    let inside = matches!(open.last(), Some(b'(' | b'['));
                    if inside || self.joins(tokens, at, bounded) {
                        self.copy[token.start] = b' ';
                    }
                    bounded = None;
                }
                _ => {}
            }
        }
    }

    /// The tokens that are still in the copy; a place where something was taken out counts as a value.
    fn kept(&self, tokens: &[Token]) -> Vec<Token> {
        let bytes = self.text.as_bytes();
        let kept = tokens.iter().filter_map(|token| match self.copy[token.start] {
            BROKEN => Some(Token { kind: Kind::Other, ..*token }),
            byte if byte == bytes[token.start] => Some(*token),
            _ => None,
        });
        kept.collect()
    }

    /// `int<` directly behind a word opens the bound of an integer type, whose `>` is no operator.
    fn opens_limit(&self, tokens: &[Token], at: usize) -> bool {
        let token = tokens[at];
        &self.text[token.start..token.end] == "<"
            && at > 0
            && tokens[at - 1].kind == Kind::Word
            && tokens[at - 1].end == token.start
            && matches!(&self.text[tokens[at - 1].start..token.start], "int" | "u8" | "u32" | "i64")
    }

    fn joins(&self, tokens: &[Token], at: usize, bounded: Option<usize>) -> bool {
        // Blank and comment lines are looked through.
        let next = tokens[at + 1..].iter().find(|token| self.copy_of(token) != b"\n");
        let last = tokens[..at].iter().rposition(|token| token.kind != Kind::Newline || self.copy_of(token) == b";");
        let Some(last) = last else { return true };
        let leads = next.is_some_and(|token| {
            self.leads(token)
                || self.word(token) == "|" && self.text[token.end..].trim_start_matches(' ').starts_with('"')
                || self.word(token) == "for" && self.is_loop_header(tokens, last)
        });
        leads || self.trails(tokens, last, bounded.is_some())
    }

    fn word(&self, token: &Token) -> &str {
        &self.text[token.start..token.end]
    }

    /// Whether the line that ends at this token is a `train`, `pass` or `step` that still lacks its `for` and body.
    fn is_loop_header(&self, tokens: &[Token], last: usize) -> bool {
        let mut depth = 0usize;
        let mut first = last + 1;
        for at in (0..=last).rev() {
            match tokens[at].kind {
                Kind::Close if self.word(&tokens[at]) == "}" && depth == 0 => return false,
                Kind::Close => depth += 1,
                Kind::Open if depth == 0 => break,
                Kind::Open => depth -= 1,
                Kind::Newline if depth == 0 && self.copy[tokens[at].start] != b' ' => break,
                Kind::Newline => continue,
                Kind::Word if depth == 0 && self.word(&tokens[at]) == "for" => return false,
                _ => {}
            }
            first = at;
        }
        let named = tokens.get(first + 1).is_some_and(|token| token.kind == Kind::Word);
        named && first < last && matches!(self.word(&tokens[first]), "train" | "pass" | "step")
    }

    /// Whether a token at the start of a line continues the line before.
    fn leads(&self, token: &Token) -> bool {
        let word = &self.text[token.start..token.end];
        match token.kind {
            Kind::Close => true,
            Kind::Mark => LEADING.contains(&word),
            // `where(c, …)` is a call, `where rank >= 2` goes on.
            Kind::Word => LEADING_WORDS.contains(&word) && self.text.as_bytes().get(token.end) != Some(&b'('),
            _ => false,
        }
    }

    /// Whether a line that ends in this token goes on.
    fn trails(&self, tokens: &[Token], at: usize, bounded: bool) -> bool {
        let word = &self.text[tokens[at].start..tokens[at].end];
        match tokens[at].kind {
            Kind::Open => true,
            Kind::Mark => !(word == ">" && bounded),
            Kind::Word => TRAILING_WORDS.contains(&word) && !self.is_field(tokens, at),
            _ => false,
        }
    }

    fn copy_of(&self, token: &Token) -> &[u8] {
        &self.copy[token.start..token.end]
    }

    /// After a dot any word is a name.
    fn is_field(&self, tokens: &[Token], at: usize) -> bool {
        at > 0 && &self.text[tokens[at - 1].start..tokens[at - 1].end] == "."
    }
}

/// Takes a range out of the copy, leaving one mark for the grammar; newlines go too.
pub fn blank(copy: &mut [u8], range: std::ops::Range<usize>) {
    if range.is_empty() {
        return;
    }
    copy[range.clone()].fill(b' ');
    copy[range.start] = BROKEN;
}

fn line_end(bytes: &[u8], from: usize) -> usize {
    span_of(bytes, from, |byte| byte != b'\n')
}

fn span_of(bytes: &[u8], from: usize, belongs: impl Fn(u8) -> bool) -> usize {
    bytes[from..].iter().position(|byte| !belongs(*byte)).map_or(bytes.len(), |length| from + length)
}

fn trim_end(bytes: &[u8], from: usize, to: usize) -> usize {
    bytes[from..to].iter().rposition(|byte| !byte.is_ascii_whitespace()).map_or(from, |last| from + last + 1)
}

/// `0.6..1.0` is two numbers: a dot belongs to a number only before a digit.
fn number_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while at < bytes.len() {
        let fraction = bytes[at] == b'.' && bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
        let exponent = matches!(bytes[at], b'+' | b'-')
            && matches!(bytes[at - 1], b'e' | b'E')
            && bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
        if !(bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_' || fraction || exponent) {
            break;
        }
        at += 1;
    }
    at
}
