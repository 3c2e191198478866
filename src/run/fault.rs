//! Failures of a run as diagnostics: what happened, at which place of the source, and what to do.

use std::path::Path;

use crate::diagnostics::{Code, Diagnostic, Frame};
use crate::graph::OriginId;
use crate::plan::PlanError;
use crate::program::{Origin, Program};
use crate::source::Span;

/// Boxed, since results are passed around often and failures are rare.
pub type Fault = Box<Diagnostic>;

/// Puts the place of a node under a diagnostic, with the calls that lead there.
pub fn at_origin(diagnostic: Diagnostic, origins: &[Origin], origin: OriginId, text: impl Into<String>) -> Fault {
    let Some(Origin { span: Some(span), calls }) = origins.get(origin.0 as usize) else {
        return Box::new(diagnostic);
    };
    let frames = calls.iter().map(|(callee, span)| Frame { callee: callee.to_string(), span: *span }).collect();
    Box::new(diagnostic.label(*span, text).calls(frames))
}

/// A kernel that refused its operands.
pub fn kernel(program: &Program, instruction: &crate::plan::Instruction, error: &candle_core::Error) -> Fault {
    // Candle appends a backtrace after the first line.
    let text = error.to_string();
    let text = text.lines().next().unwrap_or("no reason given");
    let code = if text.contains("out of range") { Code::IndexRange } else { Code::Internal };
    let headline = match code {
        Code::IndexRange => text.to_owned(),
        _ => format!("`{}` could not be computed: {text}", instruction.op.name),
    };
    at_origin(
        Diagnostic::error(code, headline),
        &program.origins,
        instruction.origin,
        format!("in `{}`", instruction.name),
    )
}

/// A failure of Candle outside a kernel: placing a tensor, reading it back.
pub fn candle(what: &str, error: &candle_core::Error) -> Fault {
    let text = error.to_string();
    internal(format!("{what}: {}", text.lines().next().unwrap_or("no reason given")))
}

pub fn plan(origins: &[Origin], error: &PlanError) -> Fault {
    let (PlanError::Unbound { origin, .. } | PlanError::NotCompiled { origin, .. }) = error;
    at_origin(Diagnostic::error(Code::Internal, error.to_string()), origins, *origin, "here")
}

pub fn internal(headline: impl Into<String>) -> Fault {
    Box::new(
        Diagnostic::error(Code::Internal, headline)
            .help("this is a fault of the compiler: please report it with the file that shows it"),
    )
}

/// A file or folder that could not be written.
pub fn write(path: &Path, error: &std::io::Error) -> Fault {
    let help = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            "free some space, or choose another folder with `--out`"
        }
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            "make the folder writable, or choose another with `--out`"
        }
        std::io::ErrorKind::NotFound => "make the folder above it first",
        _ => "choose another folder with `--out`",
    };
    Box::new(
        Diagnostic::error(Code::FileWrite, format!("cannot write `{}`: {}", path.display(), reason(error))).help(help),
    )
}

/// A file that could not be read.
pub fn read(path: &Path, error: &std::io::Error) -> Fault {
    let shown = path.display();
    Box::new(match error.kind() {
        std::io::ErrorKind::NotFound => {
            Diagnostic::error(Code::FileMissing, format!("there is no file `{shown}`")).help("check the path")
        }
        _ => Diagnostic::error(Code::FileMissing, format!("cannot read `{shown}`: {}", reason(error)))
            .help("check the path and its permissions"),
    })
}

/// The system's words without the number of the error.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text).to_owned();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => "no reason given".into(),
    }
}

/// Points a fault at a statement, unless it has a place already.
pub fn placed(mut fault: Fault, span: Span, text: &str) -> Fault {
    if fault.labels.is_empty() {
        *fault = fault.clone().label(span, text);
    }
    fault
}
