//! Diagnostics as text for a terminal (miette) and as JSON lines for tools.

use std::sync::Arc;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, MietteError, MietteSpanContents, Report,
    SourceCode, SourceSpan, SpanContents,
};
use serde_json::{Value, json};

use super::{Diagnostic, Label, Severity};
use crate::source::{SourceId, SourceMap, Span};

/// How diagnostics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// With colours when the terminal has them.
    Human {
        colour: bool,
    },
    Json,
}

/// The width to which text is wrapped, whatever the terminal: the same fault is the same text everywhere.
const WIDTH: usize = 100;

/// One diagnostic as text, ending in a newline.
pub fn render(diagnostic: &Diagnostic, sources: &SourceMap, format: Format) -> String {
    match format {
        Format::Human { colour } => human(diagnostic, sources, colour),
        Format::Json => format!("{}\n", as_json(diagnostic, sources)),
    }
}

/// Headline, the lines it speaks of, the calls that lead there, one remedy.
fn human(diagnostic: &Diagnostic, sources: &SourceMap, colour: bool) -> String {
    let code = diagnostic.code.number();
    let (word, paint) = match diagnostic.severity {
        Severity::Error => ("error", "\u{1b}[1;31m"),
        Severity::Warning => ("warning", "\u{1b}[1;33m"),
    };
    let (on, bold, off) = if colour { (paint, "\u{1b}[1m", "\u{1b}[0m") } else { ("", "", "") };
    let mut text = format!("{on}{word}[{code}]{off}{bold}: {}{off}\n", diagnostic.headline);
    for (source, labels) in by_source(&diagnostic.labels) {
        text += &snippet(source, &labels, sources, colour);
    }
    // Innermost first, so that the last line is the user's own.
    for frame in diagnostic.calls.iter().rev() {
        text += &format!("   in `{}`, called from {}\n", frame.callee, place(frame.span, sources));
    }
    if let Some(help) = &diagnostic.help {
        text += &wrapped("   help: ", help);
    }
    text
}

/// The labels of each source, the source of the first label first.
fn by_source(labels: &[Label]) -> Vec<(SourceId, Vec<&Label>)> {
    let mut groups: Vec<(SourceId, Vec<&Label>)> = Vec::new();
    for label in labels {
        match groups.iter_mut().find(|(source, _)| *source == label.span.source) {
            Some((_, group)) => group.push(label),
            None => groups.push((label.span.source, vec![label])),
        }
    }
    groups
}

/// The lines of one source with the labels below them.
fn snippet(source: SourceId, labels: &[&Label], sources: &SourceMap, colour: bool) -> String {
    let file = sources.file(source);
    let spans = labels.iter().enumerate().map(|(at, label)| {
        let (start, length) = on_characters(&file.text, label.span);
        let text = Some(label.text.clone());
        match at {
            0 => LabeledSpan::new_primary_with_span(text, (start, length)),
            _ => LabeledSpan::new_with_span(text, (start, length)),
        }
    });
    let fault = MietteDiagnostic::new("").with_labels(spans);
    let report = Report::new(fault).with_source_code(WholeLines { name: file.name.clone(), text: file.text.clone() });
    let mut theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    theme.characters.vbar_break = '│';
    let handler = GraphicalReportHandler::new_themed(theme).with_width(WIDTH).with_context_lines(1).with_links(false);
    let mut text = String::new();
    if handler.render_report(&mut text, report.as_ref()).is_err() {
        return format!("   at {}\n", labels.first().map_or(String::new(), |label| place(label.span, sources)));
    }
    // The frame's own headline and footer give way to the ones around it.
    let lines = text.lines().skip_while(|line| !line.contains('╭'));
    let kept = lines.filter(|line| !plain(line).trim().chars().all(|c| matches!(c, '╰' | '─')));
    kept.map(|line| format!("{}\n", line.trim_end())).collect()
}

/// A text of which a snippet shows the lines of its labels, whole, and no others.
struct WholeLines {
    name: String,
    text: Arc<str>,
}

impl SourceCode for WholeLines {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let (first, last) = (span.offset().min(self.text.len()), (span.offset() + span.len()).min(self.text.len()));
        let line_start = self.text[..first].rfind('\n').map_or(0, |at| at + 1);
        // Without context the question is for the place alone.
        let place_only = before == 0 && after == 0;
        let start = if place_only { first } else { line_start };
        let end = if place_only { last } else { self.text[last..].find('\n').map_or(self.text.len(), |at| last + at) };
        let line = self.text[..start].matches('\n').count();
        let column = self.text[line_start..start].chars().count();
        let shown = &self.text[start..end];
        let covered = SourceSpan::from((start, shown.len()));
        let lines = shown.matches('\n').count() + 1;
        let contents = MietteSpanContents::new_named(self.name.clone(), shown.as_bytes(), covered, line, column, lines);
        Ok(Box::new(contents))
    }
}

/// A range that starts and ends between characters and covers at least one, where there is one.
fn on_characters(text: &str, span: Span) -> (usize, usize) {
    let start = floor(text, span.start as usize);
    let next = text[start..].chars().next().map_or(0, char::len_utf8);
    let end = floor(text, span.end as usize).max(start + next);
    // A label covers the line on which it starts; the rest of a long construct would hide it.
    let line = text[start..end].find('\n').filter(|length| *length > 0);
    (start, line.unwrap_or(end - start))
}

fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// A line without colours.
fn plain(line: &str) -> String {
    let mut plain = String::new();
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        if char == '\u{1b}' {
            chars.by_ref().find(|c| *c == 'm');
        } else {
            plain.push(char);
        }
    }
    plain
}

/// `mine.ssl:12:3`
fn place(span: Span, sources: &SourceMap) -> String {
    let (line, column) = sources.place(span);
    format!("{}:{line}:{column}", sources.file(span.source).name)
}

/// Text behind a mark, broken between words, continued below its start.
fn wrapped(mark: &str, text: &str) -> String {
    let indent = " ".repeat(mark.chars().count());
    let mut lines = String::new();
    for (at, paragraph) in text.lines().enumerate() {
        let mut line = if at == 0 { mark.to_string() } else { indent.clone() };
        let mut empty = true;
        for word in paragraph.split(' ') {
            if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
                lines += &format!("{}\n", line.trim_end());
                line = indent.clone();
            } else if !empty {
                line.push(' ');
            }
            line += word;
            empty = false;
        }
        lines += &format!("{}\n", line.trim_end());
    }
    lines
}

fn as_json(diagnostic: &Diagnostic, sources: &SourceMap) -> Value {
    let first = diagnostic.labels.first().map(|label| range(label.span, sources));
    let of_first = |key: &str| first.as_ref().map_or(Value::Null, |range| range[key].clone());
    let labels: Vec<Value> =
        diagnostic.labels.iter().map(|label| with(range(label.span, sources), "text", &label.text)).collect();
    let calls: Vec<Value> =
        diagnostic.calls.iter().map(|frame| with(range(frame.span, sources), "callee", &frame.callee)).collect();
    json!({
        "code": diagnostic.code.number(),
        "name": diagnostic.code.name(),
        "severity": match diagnostic.severity { Severity::Error => "error", Severity::Warning => "warning" },
        "headline": diagnostic.headline,
        "file": of_first("file"),
        "line": of_first("line"),
        "column": of_first("column"),
        "end": of_first("end"),
        "labels": labels,
        "calls": calls,
        "help": diagnostic.help,
    })
}

/// File, line and column of the start, line and column of the end, all from 1.
fn range(span: Span, sources: &SourceMap) -> Value {
    let (line, column) = sources.place(span);
    let (end_line, end_column) = sources.place(Span { start: span.end, ..span });
    let file = &sources.file(span.source).name;
    json!({ "file": file, "line": line, "column": column, "end": { "line": end_line, "column": end_column } })
}

fn with(mut object: Value, key: &str, value: &str) -> Value {
    object[key] = value.into();
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostics::{Code, Frame};

    const PLAIN: Format = Format::Human { colour: false };

    fn find(sources: &SourceMap, source: SourceId, needle: &str) -> Span {
        let start = sources.file(source).text.find(needle).expect("the needle is in the text");
        Span::new(source, start, start + needle.len())
    }

    fn shapes() -> (SourceMap, Diagnostic) {
        let mut sources = SourceMap::default();
        let mlp = sources.add("mlp.ssl", None, "net a = linear(3)\n\nlet h = x @ w2\n");
        let fault = Diagnostic::error(Code::ShapeMismatch, "shapes do not fit, 784 and 128 must be equal")
            .label(find(&sources, mlp, "x"), "f32[B, 784]: last size is 784")
            .label(find(&sources, mlp, "w2"), "f32[128, 10]: first size is 128")
            .help("multiply by `w1`, which is f32[784, 128]");
        (sources, fault)
    }

    #[test]
    fn two_facts_at_their_places() {
        let (sources, fault) = shapes();
        insta::assert_snapshot!(render(&fault, &sources, PLAIN), @r#"
        error[E0301]: shapes do not fit, 784 and 128 must be equal
           ╭─[mlp.ssl:3:9]
         3 │ let h = x @ w2
           │         ┬   ─┬
           │         │    ╰── f32[128, 10]: first size is 128
           │         ╰── f32[B, 784]: last size is 784
           help: multiply by `w1`, which is f32[784, 128]
        "#);
    }

    #[test]
    fn calls_lead_from_the_library_to_the_users_line() {
        let mut sources = SourceMap::default();
        let user = sources.add("mine.ssl", None, "use std.eval.knn\nlet a = knn(x, y)\n");
        let library = sources.add(
            "std/loss.ssl",
            None,
            "## Mean squared difference.\nfn knn(x: [..s], y: [..s]) -> [] { mean((x - y)^2) }\n",
        );
        let fault = Diagnostic::error(Code::ShapeMismatch, "the size `s` is both 3 and 4")
            .label(find(&sources, library, "x - y"), "3 against 4")
            .label(find(&sources, user, "x, y"), "given here")
            .calls(vec![Frame { callee: "knn".into(), span: find(&sources, user, "knn(x, y)") }]);
        insta::assert_snapshot!(render(&fault, &sources, PLAIN), @r#"
        error[E0301]: the size `s` is both 3 and 4
           ╭─[std/loss.ssl:2:42]
         2 │ fn knn(x: [..s], y: [..s]) -> [] { mean((x - y)^2) }
           │                                          ──┬──
           │                                            ╰── 3 against 4
           ╭─[mine.ssl:2:13]
         2 │ let a = knn(x, y)
           │             ──┬─
           │               ╰── given here
           in `knn`, called from mine.ssl:2:9
        "#);
    }

    #[test]
    fn help_is_wrapped_and_places_may_be_missing() {
        let sources = SourceMap::default();
        let fault = Diagnostic::warning(Code::DeviceMissing, "no graphics card was found").help(
            "say `--device cpu`, or install a driver; a build without the feature `cuda` never looks for one and says so in `ssl --version`",
        );
        insta::assert_snapshot!(render(&fault, &sources, PLAIN), @r#"
        warning[E0604]: no graphics card was found
           help: say `--device cpu`, or install a driver; a build without the feature `cuda` never looks for
                 one and says so in `ssl --version`
        "#);
    }

    #[test]
    fn a_label_over_several_lines_shows_its_first() {
        let mut sources = SourceMap::default();
        let file = sources.add("a.ssl", None, "let ü = f(\n  1,\n  2)\nlet z = ü\n");
        let fault = Diagnostic::error(Code::ArgumentCount, "`f` takes one argument, two are given")
            .label(find(&sources, file, "f(\n  1,\n  2)"), "called here")
            .label(find(&sources, file, "z"), "not known then");
        insta::assert_snapshot!(render(&fault, &sources, PLAIN), @r#"
        error[E0303]: `f` takes one argument, two are given
           ╭─[a.ssl:1:9]
         1 │ let ü = f(
           │         ─┬
           │          ╰── called here
           ╭─[a.ssl:4:5]
         4 │ let z = ü
           │     ┬
           │     ╰── not known then
        "#);
    }

    #[test]
    fn the_end_of_an_empty_file_has_a_place() {
        let mut sources = SourceMap::default();
        let file = sources.add("empty.ssl", None, "");
        let fault = Diagnostic::error(Code::Syntax, "expected a statement").label(Span::new(file, 0, 0), "found here");
        let text = render(&fault, &sources, PLAIN);
        assert!(text.starts_with("error[E0101]: expected a statement\n"), "{text}");
        assert!(text.contains("empty.ssl"), "{text}");
    }

    #[test]
    fn colours_are_only_paint() {
        let (sources, fault) = shapes();
        let painted = render(&fault, &sources, Format::Human { colour: true });
        assert!(painted.contains('\u{1b}'));
        let unpainted: String = painted.lines().map(|line| format!("{}\n", plain(line).trim_end())).collect();
        assert_eq!(unpainted, render(&fault, &sources, PLAIN));
    }

    #[test]
    fn json_is_one_object_on_one_line() {
        let (sources, fault) = shapes();
        insta::assert_snapshot!(render(&fault, &sources, Format::Json), @r#"{"code":"E0301","name":"shape-mismatch","severity":"error","headline":"shapes do not fit, 784 and 128 must be equal","file":"mlp.ssl","line":3,"column":9,"end":{"line":3,"column":10},"labels":[{"file":"mlp.ssl","line":3,"column":9,"end":{"line":3,"column":10},"text":"f32[B, 784]: last size is 784"},{"file":"mlp.ssl","line":3,"column":13,"end":{"line":3,"column":15},"text":"f32[128, 10]: first size is 128"}],"calls":[],"help":"multiply by `w1`, which is f32[784, 128]"}"#);
    }
}
