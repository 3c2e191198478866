//! Warnings about programs that are right by the rules and hardly what was meant.
//!
//! In: an elaborated program. Out: warnings, each with a page of its own. Never here: an error, a name of a method or loss, a
//! change of anything. A lint reads graphs, so that it finds its pattern however it was written down; one row of the table
//! and a page are all that it takes.

mod learned;
mod numbers;
mod seen;

use std::collections::HashSet;

use crate::diagnostics::{Code, Diagnostic};
use crate::graph::OriginId;
use crate::program::{Program, Statement};

pub use seen::{Backward, Seen};

/// What a lint has found: where, and in what words.
pub struct Finding {
    pub origin: OriginId,
    pub headline: String,
    /// At the place.
    pub fact: String,
    pub help: &'static str,
}

struct Lint {
    code: Code,
    run: fn(&Program, &Seen<'_>) -> Vec<Finding>,
}

const LINTS: &[Lint] = &[
    Lint { code: Code::NeverTrained, run: learned::never_trained },
    Lint { code: Code::OwnTeacher, run: learned::own_teacher },
    Lint { code: Code::ComparedWithItself, run: numbers::compared_with_itself },
    Lint { code: Code::BothRepeated, run: numbers::both_repeated },
    Lint { code: Code::NanBySelect, run: numbers::nan_by_select },
    Lint { code: Code::RootAtZero, run: numbers::root_at_zero },
];

/// All warnings of a program, in order of its loops. A place is told once for each lint.
pub fn run(program: &Program) -> Vec<Diagnostic> {
    let mut loops = Vec::new();
    collect(&program.body, &mut loops);
    let mut told = HashSet::new();
    let mut warnings = Vec::new();
    for looped in loops {
        let seen = Seen::new(looped);
        for lint in LINTS {
            for finding in (lint.run)(program, &seen) {
                let Some(warning) = placed(program, lint.code, finding) else { continue };
                if told.insert((lint.code, warning.labels[0].span)) {
                    warnings.push(warning);
                }
            }
        }
    }
    warnings
}

/// Every loop of a flow, inner ones too.
fn collect<'a>(statements: &'a [Statement], loops: &mut Vec<&'a crate::program::Loop>) {
    for statement in statements {
        match statement {
            Statement::Loop(looped) => loops.push(looped),
            Statement::If { then, otherwise, .. } => {
                collect(then, loops);
                collect(otherwise, loops);
            }
            Statement::Repeat { body, .. } | Statement::Scope { body, .. } => collect(body, loops),
            _ => {}
        }
    }
}

/// At the user's own line: what the library does there is said in words.
fn placed(program: &Program, code: Code, finding: Finding) -> Option<Diagnostic> {
    let origin = program.origins.get(finding.origin.0 as usize)?;
    let span = origin.calls.first().map(|(_, span)| *span).or(origin.span)?;
    let within = origin.calls.last().map(|(callee, _)| format!(", in `{callee}`")).unwrap_or_default();
    let fact = format!("{}{within}", finding.fact);
    Some(Diagnostic::warning(code, finding.headline).label(span, fact).help(finding.help))
}
