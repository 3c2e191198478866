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
        if self.too_deep {
            return;
        }
        if let Some(span) = diagnostic.labels.first().map(|label| label.span) {
            if !self.reported.insert((diagnostic.code, span)) {
                return;
            }
            // What goes wrong inside the library comes from the user's call, which is named once.
            if let Some(call) = self.call_into_library(span)
                && !self.blamed.insert(call)
            {
                return;
            }
        }
        let calls = self.calls.clone();
        let help = diagnostic.help.clone().unwrap_or_else(|| remedy(diagnostic.code).into());
        self.diagnostics.push(diagnostic.calls(calls).help(help));
    }

    /// The innermost call in the user's own files that led to a place in the library.
    fn call_into_library(&self, place: Span) -> Option<Span> {
        let is_library = |span: Span| self.sources.file(span.source).is_library();
        let own = self.calls.iter().rev().map(|frame| frame.span).find(|span| !is_library(*span));
        own.filter(|_| is_library(place))
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
            None if all.is_empty() => Some("use it as it is: it has no fields".into()),
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

/// What to do about a fault whose place says the rest.
fn remedy(code: Code) -> &'static str {
    match code {
        Code::Syntax => "see `docs/language.md` for how it is written",
        Code::UnknownName => "define it above this line, or import it with `use`",
        Code::UnknownField => "leave the field out",
        Code::ShapeMismatch => {
            "`reshape`, `x[:, new]` and `x.T` change a shape, `x[0]` and `mean(x, axis: 0)` drop a size"
        }
        Code::TypeMismatch => "give a value of the kind that is asked for",
        Code::ArgumentCount => "give each parameter one value",
        Code::NotCallable => "call a function, net, module or view",
        Code::WrongTime => "use what is known while compiling: a number, a size, a `param`",
        Code::ElementType => "`int(x)` makes whole numbers of it, `float(x)` floats",
        Code::IndexRange => "indices go from 0 to one less than the size; -1 is the last",
        Code::SizeOverflow => "use smaller numbers, or floats",
        Code::NotAllowedHere => "move it to where it has a meaning",
        Code::BadValue => "give a value that is allowed",
        Code::RecursionLimit => "do with fewer rounds, or compute with tensors instead of a loop",
        Code::FrozenTrained => "leave it out of `over`, or train a `copy(net)` of it",
        Code::EmptySelection => {
            "name a net or weight that the step calls, and a condition that some of its weights meet"
        }
        Code::NotTrainable => "name a net, a `weight` or a `state`",
        Code::NotAView => "give it a picture, or another field of the kind that it takes",
        Code::NotYet => "leave it out: this version cannot run it",
        _ => "`ssl explain` shows an example that works",
    }
}
