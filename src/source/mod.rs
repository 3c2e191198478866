//! Where text comes from: files on disk, files in memory, the embedded library.
//!
//! In: a path or a name such as `std.net.mlp`. Out: text with an id, and spans into it.
//! Never here: any knowledge of the syntax.

mod library;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use library::{library_file, library_files};

/// A file of a compilation, by its place in the [`SourceMap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub u32);

/// A range of bytes in one source.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    pub source: SourceId,
    pub start: u32,
    pub end: u32,
}

impl Span {
    pub fn new(source: SourceId, start: usize, end: usize) -> Span {
        Span { source, start: start as u32, end: end as u32 }
    }

    /// The smallest span that covers both.
    pub fn to(self, other: Span) -> Span {
        Span { source: self.source, start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl std::fmt::Debug for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}..{}", self.source.0, self.start, self.end)
    }
}

/// One text, with the name under which it is shown.
#[derive(Debug)]
pub struct SourceFile {
    /// As the user wrote it (`pipelines/mine.ssl`), or `std/net/mlp.ssl` for the library.
    pub name: String,
    /// Where files named inside it are looked up; none for the library.
    pub folder: Option<PathBuf>,
    pub text: Arc<str>,
}

impl SourceFile {
    pub fn is_library(&self) -> bool {
        self.name.starts_with("std/")
    }
}

/// All texts of one compilation.
#[derive(Debug, Default)]
pub struct SourceMap {
    files: Vec<SourceFile>,
}

impl SourceMap {
    pub fn add(&mut self, name: impl Into<String>, folder: Option<PathBuf>, text: impl Into<Arc<str>>) -> SourceId {
        self.files.push(SourceFile { name: name.into(), folder, text: text.into() });
        SourceId(self.files.len() as u32 - 1)
    }

    pub fn file(&self, id: SourceId) -> &SourceFile {
        &self.files[id.0 as usize]
    }

    pub fn find(&self, name: &str) -> Option<SourceId> {
        self.files.iter().position(|file| file.name == name).map(|at| SourceId(at as u32))
    }

    pub fn text(&self, span: Span) -> &str {
        &self.file(span.source).text[span.range()]
    }

    /// Line and column, both from 1; the column counts characters.
    pub fn place(&self, span: Span) -> (usize, usize) {
        let before = &self.file(span.source).text[..span.start as usize];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        (line, column)
    }
}

/// `a/./b/../c` is `a/c`: the same file has one name.
pub fn normal(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir if parts.file_name().is_some() => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    if parts.as_os_str().is_empty() { PathBuf::from(".") } else { parts }
}

/// What the compiler reads files through: the disk, or a table in a test or an editor.
pub trait Files {
    fn read(&self, path: &Path) -> std::io::Result<String>;
}

/// The bytes of a regular file. A pipe or a device would be waited for without end.
pub fn read_bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    let kind = std::fs::metadata(path)?.file_type();
    if !kind.is_file() && !kind.is_dir() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    std::fs::read(path)
}

/// The text of a regular file.
pub fn read_text(path: &Path) -> std::io::Result<String> {
    String::from_utf8(read_bytes(path)?).map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))
}

/// The disk.
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> std::io::Result<String> {
        read_text(path)
    }
}

/// Files in memory, by path.
#[derive(Default)]
pub struct Memory(pub HashMap<PathBuf, String>);

impl Files for Memory {
    fn read(&self, path: &Path) -> std::io::Result<String> {
        self.0.get(path).cloned().ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }
}
