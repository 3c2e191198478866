//! A failure of the grammar in plain words: what was found, what was expected, one remedy.

use pest::error::{Error, ErrorVariant, InputLocation};

use super::Rule;
use crate::diagnostics::{Code, Diagnostic};
use crate::source::{SourceId, Span};
use crate::syntax::lines::BROKEN;

/// A failure with its place.
pub struct Described {
    pub place: usize,
    /// Where the line ends whose statement was never finished, though it asks to go on below.
    pub line_ends: Option<usize>,
    pub fault: Diagnostic,
}

/// Where the grammar failed, and the diagnostic for it.
pub fn describe(source: SourceId, text: &str, copy: &str, error: &Error<Rule>) -> Described {
    let place = match error.location {
        InputLocation::Pos(at) | InputLocation::Span((at, _)) => at.min(text.len()),
    };
    let expected = match &error.variant {
        ErrorVariant::ParsingError { positives, .. } => positives.as_slice(),
        ErrorVariant::CustomError { .. } => &[],
    };
    let (mut place, mut found) = (place, Found::at(copy, place));
    let line_ends = unfinished(text, copy, place, found.token);
    if let Some(end) = line_ends {
        place = end;
        found = Found { words: "the end of the line".into(), token: "", length: 0, empty: true, remark: None };
    }
    let statement = Around { before: before(copy, place), word: first_word(before(copy, place)) };
    let wanted = wanted(expected);
    let headline = match (&found.remark, wanted.as_str()) {
        (Some(remark), _) => remark.clone(),
        (None, "") => format!("{} does not belong here", found.words),
        (None, wanted) => format!("expected {wanted}, found {}", found.words),
    };
    let label = match statement.word {
        Some(word) if is_statement_word(word) => format!("in this `{word}`"),
        _ => "found here".to_string(),
    };
    // At the end of a line the place to point at is what stands before it.
    let range = if found.empty { end_of(copy, place) } else { place..place + found.length };
    let mut fault = Diagnostic::error(Code::Syntax, headline).label(Span::new(source, range.start, range.end), label);
    let help = remedy(&statement, &found, expected).unwrap_or_else(|| match found.empty {
        true => "finish the line".into(),
        false => format!("remove `{}`, or write what is missing before it", found.token),
    });
    fault = fault.help(help);
    Described { place, line_ends, fault }
}

/// Where the line above `place` ends, if that line ends with an operator and the one of `place` begins a statement.
fn unfinished(text: &str, copy: &str, place: usize, token: &str) -> Option<usize> {
    let line = text.get(..place)?.rfind('\n')? + 1;
    // The statement's word may have been read as a name.
    let word = text[line..place].split_whitespace().next().unwrap_or(token);
    let head = copy.get(..line)?.trim_end_matches(|c: char| c.is_whitespace() || c == BROKEN as char);
    let joined = copy.as_bytes()[line - 1] != b'\n' && head.ends_with(is_operator);
    (joined && is_statement_word(word)).then(|| text[head.len()..].find('\n').map(|at| head.len() + at)).flatten()
}

/// What stands where the grammar failed.
struct Found<'a> {
    words: String,
    token: &'a str,
    length: usize,
    /// A line or the file ends here.
    empty: bool,
    /// A headline that says more than what was expected.
    remark: Option<String>,
}

impl<'a> Found<'a> {
    fn at(copy: &'a str, place: usize) -> Found<'a> {
        let rest = copy.get(place..).unwrap_or("");
        let token = token(rest);
        let mut found = Found { words: format!("`{token}`"), token, length: token.len(), empty: false, remark: None };
        let first = token.chars().next();
        match first {
            None => (found.words, found.empty) = ("the end of the file".to_string(), true),
            Some('\n') => (found.words, found.empty) = ("the end of the line".to_string(), true),
            Some(';') => (found.words, found.empty) = ("the end of the statement".to_string(), true),
            Some('"') => found.words = format!("the text {token}"),
            Some(digit) if digit.is_ascii_digit() => {
                found.words = format!("the number `{token}`");
                if token.contains(|c: char| c.is_ascii_alphabetic()) {
                    found.remark = Some(format!("`{token}` is neither a number nor a name"));
                }
            }
            Some(quote @ ('“' | '”' | '‘' | '’' | '`')) => {
                found.remark = Some(format!("`{quote}` is not a quote of the language"));
            }
            Some(other) if !other.is_ascii() || matches!(other, '$' | '?' | '\\' | '&') => {
                found.remark = Some(format!("`{other}` means nothing here"));
            }
            Some(_) if is_reserved(token) => found.words = format!("the word `{token}`"),
            Some(_) => {}
        }
        found
    }
}

fn token(rest: &str) -> &str {
    let Some(first) = rest.chars().next() else { return "" };
    let length = if first.is_ascii_alphanumeric() || first == '_' {
        rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len())
    } else if first == '"' {
        rest[1..].find('"').map_or(1, |at| at + 2)
    } else {
        let two = ["->", "<-", "<+", "|>", "==", "!=", "<=", ">=", "..", "//", ":=", "=>", "++", "--", "::"];
        two.iter().find(|mark| rest.starts_with(**mark)).map_or(first.len_utf8(), |mark| mark.len())
    };
    &rest[..length]
}

/// The statement up to the place of the failure.
struct Around<'a> {
    before: &'a str,
    word: Option<&'a str>,
}

fn before(copy: &str, place: usize) -> &str {
    let head = copy.get(..place).unwrap_or("");
    let start = head.rfind(['\n', ';', '{']).map_or(0, |at| at + 1);
    head[start..].trim()
}

fn first_word(statement: &str) -> Option<&str> {
    let word = statement.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next()?;
    (!word.is_empty()).then_some(word)
}

fn end_of(copy: &str, place: usize) -> std::ops::Range<usize> {
    let head = copy.get(..place).unwrap_or("").trim_end_matches(|c: char| c.is_whitespace() || c == BROKEN as char);
    let last = head.char_indices().next_back().map_or(0, |(at, _)| at);
    last..head.len().max(last + 1).min(copy.len())
}

/// The expected things in words, the most telling first, at most three.
fn wanted(expected: &[Rule]) -> String {
    let wants = |rule: &Rule| expected.contains(rule);
    // Behind a whole expression nearly everything may follow, and nearly anything may begin one: that is no news.
    let noise = |rule: Rule| match rule {
        Rule::bar | Rule::open_paren | Rule::open_bracket | Rule::sizes | Rule::arrow => true,
        Rule::name => wants(&Rule::pattern),
        Rule::colon | Rule::eq => wants(&Rule::comma) && (wants(&Rule::close_paren) || wants(&Rule::close_brace)),
        _ => false,
    };
    let said = |noisy: bool| {
        let kept = expected.iter().filter(move |rule| noisy || !noise(**rule));
        let mut words: Vec<(u8, &str)> = kept.filter_map(|rule| phrase(*rule)).collect();
        words.sort();
        words.dedup();
        words
    };
    let quiet = said(false);
    let words = if quiet.is_empty() { said(true) } else { quiet };
    let best = words.first().map_or(0, |(rank, _)| *rank);
    if best == OPERATOR {
        return "an operator or the end of the statement".to_string();
    }
    let words: Vec<&str> = words.iter().filter(|(rank, _)| *rank < best + 10).map(|(_, word)| *word).take(3).collect();
    match words.as_slice() {
        [] => String::new(),
        [only] => only.to_string(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// The rank of what may follow any expression.
const OPERATOR: u8 = 30;

/// A rule in words, with its rank: marks and single words first, whole constructs next, operators last.
fn phrase(rule: Rule) -> Option<(u8, &'static str)> {
    use Rule::*;
    Some(match rule {
        open_brace | braces | record_value => (3, "`{`"),
        close_brace => (2, "`}`"),
        open_paren | params | axes => (4, "`(`"),
        close_paren => (1, "`)`"),
        close_bracket => (1, "`]`"),
        sizes => (24, "`[`"),
        comma | item_sep => (2, "`,`"),
        colon => (3, "`:`"),
        eq => (3, "`=`"),
        tilde => (3, "`~`"),
        arrow | result => (5, "`->`"),
        bar => (3, "`|`"),
        kw_in => (3, "`in`"),
        kw_as | clock => (6, "`as`"),
        kw_for | clause => (6, "`for`"),
        kw_to => (3, "`to`"),
        kw_from => (3, "`from`"),
        kw_else => (7, "`else`"),
        annotation => (5, "`:` and a type"),
        name | word | lambda_param => (10, "a name"),
        pattern | source => (10, "a name or `{ … }`"),
        text => (12, "a text in quotes"),
        library_path => (12, "a path such as `std.loss`"),
        type_expr | plain_type | type_name | named_type => (10, "a type"),
        expr | head | postfixed | head_postfixed | bound | number | quantity | list | paren | lambda | argument
        | selection | emit_pool | if_ | bool_ => (10, "an expression"),
        index_value | upto | all | rest | new_axis => (12, "an index"),
        statement => (14, "a statement"),
        size_rest => (14, "a size"),
        axis => (10, "a name with `in` or `:`"),
        param_item => (10, "a parameter"),
        spread | field | type_field | pattern_field => (16, "an entry"),
        pipe | or | and | equal | plus | times | power | field_access | call | index | write => {
            (OPERATOR, "an operator")
        }
        over => (32, "`over`"),
        using => (33, "`using`"),
        filter => (34, "`where`"),
        EOI => (40, "the end of the statement"),
        _ => return None,
    })
}

fn remedy(around: &Around<'_>, found: &Found<'_>, expected: &[Rule]) -> Option<String> {
    let word = around.word.unwrap_or("");
    let wants = |rule| expected.contains(&rule);
    let last = around.before.chars().next_back();
    Some(match found.token {
        "`" | "“" | "”" | "‘" | "’" => "a text stands in straight double quotes: `\"…\"`".into(),
        "=" if matches!(word, "if" | "assert" | "until") => "compare with `==`".into(),
        "=" if around.before.contains(['.', '[']) && word != "let" && word != "var" => {
            "a net, a state or a part of one is written with `<-`".into()
        }
        "{" if word == "test" => "write `test \"name\" { … }`".into(),
        "=" if matches!(around.before, "let" | "var") => format!("write `{word} name = value`"),
        ":=" => "write `=`".into(),
        "=>" => "a function is written `|x| …`".into(),
        "++" | "--" => "write `x = x + 1`".into(),
        "::" => "names of a library are joined by `.`".into(),
        ":" if opens_block(word) => format!("the body of `{word}` stands in braces: `{word} … {{ … }}`"),
        "elif" | "elseif" | "elsif" => "write `else if`".into(),
        "else" => "`else` follows the `}` of its `if`".into(),
        "while" => "write `repeat { … until … }`".into(),
        "class" => "a definition with weights is a `module`".into(),
        "}" | ")" | "]" if last.is_some_and(is_operator) => format!("something is missing behind `{}`", last?),
        _ if found.remark.is_some() && found.token.starts_with(|c: char| c.is_ascii_digit()) => {
            let digits = found.token.find(|c: char| c.is_ascii_alphabetic())?;
            let (number, name) = found.token.split_at(digits);
            format!(
                "write `{number} {name}` for a quantity, `{number} * {name}` for a product; a name begins with a letter"
            )
        }
        _ if found.remark.is_some() => "remove it; texts stand in double quotes, comments behind `#`".into(),
        token if is_reserved(token) && wants(Rule::name) => {
            format!("`{token}` is a word of the language; take another name")
        }
        _ if (wants(Rule::open_brace) || wants(Rule::braces)) && opens_block(word) => {
            format!("the body of `{word}` stands in braces: `{word} … {{ … }}`")
        }
        _ if wants(Rule::kw_in) && word == "for" => "write `for x in xs { … }`".into(),
        _ if found.empty && last.is_some_and(is_operator) => format!("something is missing behind `{}`", last?),
        _ if wants(Rule::type_expr) || wants(Rule::named_type) => {
            "a type is `int`, `float`, `bool`, `string`, `list`, or sizes such as `[n, d]`".into()
        }
        _ if matches!(word, "log" | "measure" | "collect") && wants(Rule::eq) && !wants(Rule::comma) => {
            let name = around.before.split_whitespace().nth(1).unwrap_or("name");
            format!("write `{word} {name} = value`, or a record: `{word} {{ {name} }}`")
        }
        _ if matches!(word, "sweep" | "study") && wants(Rule::kw_in) => "write `name in [values]`".into(),
        _ if around.before.contains("->") && wants(Rule::colon) && found.token == "}" => {
            "the type of the result stands between `->` and the body".into()
        }
        _ if matches!(word, "let" | "var") && wants(Rule::eq) && !wants(Rule::comma) => {
            format!("write `{word} name = value`")
        }
        _ if word == "param" && wants(Rule::eq) => "write `param name: type = value`".into(),
        _ if matches!(word, "weight" | "state") && wants(Rule::eq) => {
            format!("say how it begins: `{word} name: [sizes] = value`, or `~ distribution`")
        }
        _ if matches!(word, "fn" | "flow" | "module" | "view") && wants(Rule::params) => {
            format!("write `{word} name(parameters) {{ … }}`")
        }
        _ if !found.empty && wants(Rule::comma) => "a comma is missing, or a bracket is not closed".into(),
        _ if !found.empty && (wants(Rule::plus) || wants(Rule::field_access)) => {
            "an operator is missing, or a new line: a statement ends with its line".into()
        }
        _ => return None,
    })
}

fn is_operator(char: char) -> bool {
    "+-*/%@^=<>|~,:.".contains(char)
}

fn opens_block(word: &str) -> bool {
    matches!(
        word,
        "if" | "for"
            | "fn"
            | "module"
            | "flow"
            | "optimizer"
            | "train"
            | "pass"
            | "step"
            | "sweep"
            | "repeat"
            | "flywheel"
            | "test"
            | "view"
            | "else"
    )
}

fn is_reserved(word: &str) -> bool {
    matches!(word, "if" | "else" | "and" | "or" | "not" | "true" | "false" | "for" | "let" | "var")
}

fn is_statement_word(word: &str) -> bool {
    opens_block(word)
        || matches!(
            word,
            "use"
                | "param"
                | "type"
                | "data"
                | "net"
                | "weight"
                | "state"
                | "pool"
                | "study"
                | "let"
                | "var"
                | "until"
                | "run"
                | "choose"
                | "yield"
                | "minimize"
                | "emit"
                | "log"
                | "measure"
                | "collect"
                | "report"
                | "assert"
                | "save"
                | "load"
        )
}
