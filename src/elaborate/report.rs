//! Facts into words: how the elaborator's mistakes are put to the user.

use super::Elaborator;
use super::scope::Unreachable;
use super::value::Value;
use crate::diagnostics::{Code, Diagnostic, nearest};
use crate::ops::Mismatch;
use crate::source::Span;

impl Elaborator<'_> {
    /// Adds a diagnostic with the calls that led to it; the same code at the same place once.
    pub fn report(&mut self, diagnostic: Diagnostic) {
        let place = diagnostic.labels.first().map(|label| label.span);
        if let Some(span) = place
            && !self.reported.insert((diagnostic.code, span))
        {
            return;
        }
        let calls = self.calls.clone();
        self.diagnostics.push(diagnostic.calls(calls));
    }

    /// Something was reported already: what follows from it stays unsaid.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == crate::diagnostics::Severity::Error)
    }

    /// The commonest form: one fact at one place. Gives the error value back.
    pub fn fail(&mut self, code: Code, span: Span, headline: impl Into<String>, fact: impl Into<String>) -> Value {
        self.report(Diagnostic::error(code, headline).label(span, fact));
        Value::Error
    }

    pub fn fail_help(
        &mut self,
        code: Code,
        span: Span,
        headline: impl Into<String>,
        fact: impl Into<String>,
        help: impl Into<String>,
    ) -> Value {
        self.report(Diagnostic::error(code, headline).label(span, fact).help(help));
        Value::Error
    }

    /// Operands that do not fit, each fact at its operand's place.
    pub fn fail_mismatch(&mut self, mismatch: Mismatch, span: Span, operands: &[Span]) -> Value {
        let mut diagnostic = Diagnostic::error(mismatch.code, mismatch.headline);
        for (at, fact) in mismatch.facts {
            diagnostic = diagnostic.label(operands.get(at).copied().unwrap_or(span), fact);
        }
        if diagnostic.labels.is_empty() {
            diagnostic = diagnostic.label(span, "here");
        }
        diagnostic.help = mismatch.help;
        self.report(diagnostic);
        Value::Error
    }

    pub fn report_unreachable(&mut self, why: Unreachable, span: Span) {
        let (headline, fact, help) = match why {
            Unreachable::StepEnded => (
                "a tensor of a step is used after the step",
                "lives only inside the step that makes it",
                "`log`, `measure` or `collect` it in the step, and read it by the step's name",
            ),
            Unreachable::InInit => (
                "a weight's start depends on a tensor of the step",
                "known only once the step runs",
                "start the weight from a draw or a number",
            ),
            Unreachable::InHost => (
                "a schedule depends on a tensor of the step",
                "known only once the step runs",
                "compute it from the clock (`now.step`, `now.progress`)",
            ),
        };
        self.report(Diagnostic::error(Code::WrongTime, headline).label(span, fact).help(help));
    }

    pub fn unknown_argument<'n>(
        &mut self,
        callee: &str,
        written: &str,
        span: Span,
        known: impl IntoIterator<Item = &'n str> + Clone,
    ) {
        let mut diagnostic =
            Diagnostic::error(Code::UnknownArgument, format!("`{callee}` has no argument `{written}`"))
                .label(span, "not an argument of it");
        let all: Vec<&str> = known.clone().into_iter().collect();
        diagnostic.help = Some(match nearest(written, known) {
            Some(name) => format!("did you mean `{name}`?"),
            None if all.is_empty() => format!("`{callee}` takes no arguments"),
            None => format!("it takes {}", all.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")),
        });
        self.report(diagnostic);
    }

    pub fn unknown_field<'n>(
        &mut self,
        of: &str,
        written: &str,
        span: Span,
        known: impl IntoIterator<Item = &'n str> + Clone,
    ) -> Value {
        let mut diagnostic = Diagnostic::error(Code::UnknownField, format!("{of} has no field `{written}`"))
            .label(span, "no such field");
        let all: Vec<String> = known.clone().into_iter().map(|name| format!("`{name}`")).collect();
        diagnostic.help = match nearest(written, known) {
            Some(name) => Some(format!("did you mean `{name}`?")),
            None if all.is_empty() => None,
            None => Some(format!("it has {}", all.join(", "))),
        };
        self.report(diagnostic);
        Value::Error
    }

    /// A value in a few words with its type, for facts.
    pub fn describe(&self, value: &Value) -> String {
        match value {
            Value::Tensor(tensor) => self.ty(*tensor).to_string(),
            Value::Cell(slot) => self.slots[slot.0 as usize].ty.to_string(),
            Value::Int(n) => format!("the number {n}"),
            Value::Float(x) => format!("the number {x}"),
            Value::Text(text) => format!("the text \"{text}\""),
            Value::Bool(b) => format!("`{b}`"),
            Value::Size(size) => format!("the size {size}"),
            Value::List(items) => format!("a list of {}", items.len()),
            other => other.kind().to_string(),
        }
    }
}
