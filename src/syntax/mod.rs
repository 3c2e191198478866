//! Text to tree and back.
//!
//! In: the text of one file. Out: a [`File`] and a list of diagnostics; the formatter turns a file into text again.
//! Never here: failing. A statement that cannot be read becomes [`StatementKind::Error`] and the rest is still checked.

pub mod tree;
mod format;
mod lines;
mod parse;

pub use format::format;
pub use parse::parse;
pub use tree::*;
