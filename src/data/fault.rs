//! Facts about files and settings, turned into words.

use std::fmt;
use std::path::Path;

use super::{DataError, Schema};
use crate::diagnostics::{Code, nearest};

impl DataError {
    pub fn new(code: Code, headline: impl Into<String>) -> DataError {
        DataError { code, headline: headline.into(), help: None }
    }

    pub fn help(mut self, text: impl Into<String>) -> DataError {
        self.help = Some(text.into());
        self
    }

    /// E0501: what should be there is not, or holds nothing.
    pub(super) fn missing(path: &Path, what: impl fmt::Display) -> DataError {
        DataError::new(Code::FileMissing, format!("`{}` {what}", path.display()))
    }

    /// E0502: the bytes are not what they should be.
    pub(super) fn corrupt(path: &Path, what: impl fmt::Display) -> DataError {
        DataError::new(Code::FileCorrupt, format!("`{}` {what}", path.display()))
    }

    /// E0503: well formed, but of other sizes than asked for.
    pub(super) fn wrong_size(path: &Path, what: impl fmt::Display) -> DataError {
        DataError::new(Code::FileWrongSize, format!("`{}` {what}", path.display()))
    }

    /// E0311: a setting that no data can meet.
    pub(super) fn value(what: impl Into<String>) -> DataError {
        DataError::new(Code::BadValue, what)
    }

    /// A failure of the operating system while reading.
    pub(super) fn io(path: &Path, error: &std::io::Error) -> DataError {
        use std::io::ErrorKind::*;
        match error.kind() {
            NotFound => {
                let near = beside(path);
                DataError::missing(path, "does not exist").help(match near {
                    Some(near) => format!("did you mean `{}`?", path.with_file_name(near).display()),
                    None => {
                        "check the path: it is relative to the folder of the file in which the data is named".into()
                    }
                })
            }
            PermissionDenied => {
                DataError::missing(path, "may not be read: permission denied").help("make the file readable")
            }
            IsADirectory => DataError::missing(path, "is a folder, a file is needed").help("name a file in it"),
            NotADirectory => DataError::missing(path, "is a file, a folder is needed").help("name the folder"),
            _ => DataError::corrupt(path, format_args!("cannot be read: {error}")),
        }
    }

    pub(super) fn no_split(schema: &Schema, written: &str) -> DataError {
        let names: Vec<&str> = schema.splits.iter().map(|(name, _)| name.as_str()).collect();
        DataError::new(Code::UnknownField, format!("there is no split `{written}`")).help(suggestion(written, &names))
    }

    pub(super) fn no_field(schema: &Schema, written: &str) -> DataError {
        let names: Vec<&str> = schema.fields.iter().map(|field| field.name.as_str()).collect();
        DataError::new(Code::UnknownField, format!("records have no field `{written}`"))
            .help(suggestion(written, &names))
    }
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.headline)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for DataError {}

/// The name of a file in the same folder that was probably meant.
fn beside(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let names = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    let written = path.file_name()?.to_string_lossy();
    nearest(&written, names.iter().map(String::as_str)).map(str::to_owned)
}

/// The known name that was probably meant, else all of them.
pub(super) fn suggestion(written: &str, known: &[&str]) -> String {
    match nearest(written, known.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None if known.is_empty() => "there is none".into(),
        None => format!("known: {}", known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
    }
}

/// `10,000`.
pub(super) fn count(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
