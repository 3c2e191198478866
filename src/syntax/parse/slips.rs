//! Habits from other languages: read as what was meant, and reported with the spelling of this one.

use pest::iterators::Pair;

use super::{Builder, Parts, Rule};
use crate::diagnostics::{Code, Diagnostic, nearest};
use crate::source::Span;
use crate::syntax::tree::*;

/// The units as they are listed in a message.
const UNITS: &[&str] = &["steps", "epochs", "rounds", "s", "min", "h", "KiB", "MiB", "GiB"];

impl Builder<'_> {
    pub(super) fn slip_statement(&self, pair: Pair<'_, Rule>) -> Option<StatementKind> {
        let span = self.span(&pair);
        let rule = pair.as_rule();
        let mut parts = Parts::of(pair);
        match rule {
            Rule::slip_import => {
                self.slip(span, "`import` is not a word of the language", "brings names in")
                    .help("write `use std.eval.{knn}` or `use \"./my.ssl\"`")
                    .tell(self);
                None
            }
            Rule::slip_return => {
                self.slip(span, "`return` is not a word of the language", "leaves early")
                    .help("the last expression of a body is its value")
                    .tell(self);
                parts.next().map(|value| StatementKind::Expr(self.expr(value)))
            }
            _ => {
                let name = self.name(&parts.next()?);
                let operator = parts.next()?;
                let sign = operator.as_str().trim_end().trim_end_matches('=').to_string();
                let value = self.expr(parts.next()?);
                let place = self.span(&operator);
                self.slip(place, format!("`{sign}=` is not an operator of the language"), "changes a value in place")
                    .help(format!(
                        "write `{0} = {0} {sign} …` for a `var`, `{0} <- {0} {sign} …` for a `state`",
                        name.text
                    ))
                    .tell(self);
                Some(StatementKind::Rebind { name, value })
            }
        }
    }

    pub(super) fn slip_def(&self, word: &Pair<'_, Rule>) {
        let written = word.as_str().trim_end();
        self.slip(self.span(word), format!("`{written}` is not a word of the language"), "declares a function")
            .help("write `fn`")
            .tell(self);
    }

    pub(super) fn slip_operator(&self, operator: &Pair<'_, Rule>, instead: &str) {
        let written = operator.as_str().trim_end();
        self.slip(self.span(operator), format!("`{written}` is not an operator of the language"), "found here")
            .help(format!("write `{instead}`"))
            .tell(self);
    }

    pub(super) fn slip_named(&self, argument: &Pair<'_, Rule>) {
        let mut inner = argument.clone().into_inner();
        let (Some(name), Some(eq)) = (inner.next(), inner.next()) else { return };
        self.slip(self.span(&eq), "a named argument is written with `:`", "`=` names a value or gives a default")
            .help(format!("write `{}: …`", name.as_str().trim_end()))
            .tell(self);
    }

    pub(super) fn slip_text(&self, text: &str, span: Span) {
        let inner = text.trim_matches('\'');
        self.slip(span, "a text stands in double quotes", "in single quotes")
            .help(format!("write `\"{inner}\"`"))
            .tell(self);
    }

    pub(super) fn slip_unit(&self, pair: Pair<'_, Rule>) {
        let mut parts = Parts::of(pair);
        let (Some(number), Some(word)) = (parts.next(), parts.next()) else { return };
        let unit = word.as_str().trim_end();
        let fault = self.slip(self.span(&word), format!("`{unit}` is not a unit"), "stands behind a number");
        let help = match nearest(unit, UNITS.iter().copied()) {
            Some(known) => format!("did you mean `{} {known}`?", number.as_str().trim_end()),
            None if unit == "step" => "write `1 steps`".to_string(),
            None => format!("the units are {}; or an operator or comma is missing", UNITS.join(", ")),
        };
        fault.help(help).tell(self);
    }

    fn slip(&self, span: Span, headline: impl Into<String>, label: &str) -> Diagnostic {
        Diagnostic::error(Code::Syntax, headline).label(span, label)
    }
}

impl Diagnostic {
    fn tell(self, builder: &Builder<'_>) {
        builder.report(self);
    }
}
