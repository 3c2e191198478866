//! Rules of the language, each as a small program that states it.

mod batches;
mod data;
mod later;
mod measures;
mod reach;
mod rounds;
mod rules;

use std::path::PathBuf;

use crate::cli::compile_text;
use crate::diagnostics::{Code, Diagnostic};
use crate::elaborate::Settings;
use crate::run::{RunOptions, run};

/// Compiles and runs a program whose `assert`s say what is so.
#[track_caller]
fn holds(text: &str) {
    holds_in(None, text);
}

#[track_caller]
fn holds_in(folder: Option<PathBuf>, text: &str) {
    let compiled = match compile_text("rule.ssl", folder, text.to_owned(), Settings::default()) {
        Ok(compiled) => compiled,
        Err(refused) => panic!("{text}\n{:#?}", refused.diagnostics),
    };
    if let Err(fault) = run(&compiled.elaborated.program, &RunOptions::default(), &mut |_| {}) {
        panic!("{text}\n{fault:#?}");
    }
}

/// What a program is refused for.
#[track_caller]
fn refused(text: &str) -> Vec<Diagnostic> {
    match compile_text("rule.ssl", None, text.to_owned(), Settings::default()) {
        Ok(_) => panic!("{text}\ncompiles"),
        Err(refused) => refused.diagnostics,
    }
}

/// The program is refused with this code alone; what is marked is given back.
#[track_caller]
fn fails(text: &str, code: Code) -> String {
    let found = refused(text);
    assert!(found.iter().all(|fault| fault.code == code), "{text}\n{found:#?}");
    let place = found[0].labels.first().map_or(0..0, |label| label.span.range());
    text.get(place).unwrap_or("").to_string()
}
