//! Functions of the language that are read and checked, and cannot run yet: each says so where it is called.

use super::Builtin;
use crate::elaborate::value::Value;

pub const ROWS: &[Builtin] = &[
    later("generate", "A source written in the language: `generate(300) |i| { … }`. Cannot run yet."),
    later("stream", "An endless source: `stream as i { … }`. Cannot run yet."),
    later("retry", "Draws again until a condition holds: `retry 100 { … until … }`. Cannot run yet."),
];

const fn later(name: &'static str, doc: &'static str) -> Builtin {
    Builtin { name, params: &["*"], doc, call: |_, _| Value::Error }
}
