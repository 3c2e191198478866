//! What the compiler says to its user: facts with places, rendered for a terminal or as JSON.
//!
//! In: facts found by a phase. Out: text on standard error. Never here: finding anything out about a program.

mod catalogue;
mod render;

use crate::source::Span;

pub use catalogue::{Code, page};
pub use render::{Format, render};

/// One thing that is wrong, or looks wrong.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    pub code: Code,
    pub severity: Severity,
    /// Stands alone on a narrow screen; lower case, no full stop.
    pub headline: String,
    /// The facts that disagree, each at its own place; the first is where the fault is reported.
    pub labels: Vec<Label>,
    /// The calls that lead from the user's line to the first label, outermost first.
    pub calls: Vec<Frame>,
    /// One remedy, as an instruction.
    pub help: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
}

#[derive(Clone, Debug)]
pub struct Label {
    pub span: Span,
    pub text: String,
}

/// One call on the way from the user's line into a library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What is called, such as `mlp`.
    pub callee: String,
    pub span: Span,
}

impl Diagnostic {
    pub fn error(code: Code, headline: impl Into<String>) -> Diagnostic {
        Diagnostic {
            code,
            severity: Severity::Error,
            headline: headline.into(),
            labels: Vec::new(),
            calls: Vec::new(),
            help: None,
        }
    }

    pub fn warning(code: Code, headline: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, headline) }
    }

    pub fn label(mut self, span: Span, text: impl Into<String>) -> Diagnostic {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    pub fn help(mut self, text: impl Into<String>) -> Diagnostic {
        self.help = Some(text.into());
        self
    }

    pub fn calls(mut self, calls: Vec<Frame>) -> Diagnostic {
        self.calls = calls;
        self
    }
}

/// `did you mean …`: the known name nearest to the one written, if one is near.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(written, name), name))
        // A word of one letter is near to every other, one of four to many that are two changes away.
        .filter(|(distance, name)| {
            let shorter = written.len().min(name.len());
            *distance < shorter && *distance <= (1 + shorter / 4).min((1 + shorter) / 3)
        })
        .min()
        .map(|(_, name)| name)
}
