//! What is written in the brackets of a source or transform, against the table's row.

use std::fmt;

use super::fault::suggestion;
use super::{DataError, Options, Param, ParamKind, Setting};
use crate::diagnostics::{Code, nearest};

/// What is wrong with the options as written; the caller knows the places.
#[derive(Clone, Debug, PartialEq)]
pub enum OptionError {
    Unknown {
        name: String,
        help: String,
    },
    Missing {
        name: &'static str,
        kind: ParamKind,
    },
    WrongKind {
        name: String,
        expected: &'static str,
        found: &'static str,
    },
    /// `given` values without a name, where at most `most` can stand.
    TooMany {
        given: usize,
        most: usize,
    },
    Twice {
        name: String,
    },
}

impl OptionError {
    pub fn code(&self) -> Code {
        match self {
            OptionError::Unknown { .. } => Code::UnknownArgument,
            OptionError::Missing { .. } | OptionError::TooMany { .. } | OptionError::Twice { .. } => {
                Code::ArgumentCount
            }
            OptionError::WrongKind { .. } => Code::TypeMismatch,
        }
    }

    /// The option at fault, to find its place.
    pub fn option(&self) -> Option<&str> {
        match self {
            OptionError::Unknown { name, .. } | OptionError::WrongKind { name, .. } | OptionError::Twice { name } => {
                Some(name)
            }
            OptionError::Missing { .. } | OptionError::TooMany { .. } => None,
        }
    }

    pub fn help(&self) -> Option<String> {
        match self {
            OptionError::Unknown { help, .. } => Some(help.clone()),
            OptionError::Missing { name, kind: ParamKind::Files } => {
                Some(format!("write `field: \"file\"` for each of the {name}"))
            }
            OptionError::Missing { name, kind: ParamKind::Amounts } => {
                Some(format!("write `name: records` or `name: share` for each of the {name}"))
            }
            OptionError::Missing { name, kind } => Some(format!("add `{name}:` with {}", kind.words())),
            OptionError::Twice { name } => Some(format!("leave one `{name}` out")),
            OptionError::WrongKind { .. } | OptionError::TooMany { .. } => None,
        }
    }
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OptionError::Unknown { name, .. } => write!(f, "there is no option `{name}`"),
            OptionError::Missing { name, .. } => write!(f, "`{name}` is missing"),
            OptionError::WrongKind { name, expected, found } => {
                write!(f, "`{name}` must be {expected}, this is {found}")
            }
            OptionError::TooMany { given, most } => {
                write!(f, "at most {most} values can stand here without a name, these are {given}")
            }
            OptionError::Twice { name } => write!(f, "`{name}` is given twice"),
        }
    }
}

impl ParamKind {
    pub fn words(self) -> &'static str {
        match self {
            ParamKind::Int => "a whole number",
            ParamKind::Float => "a number",
            ParamKind::Bool => "`true` or `false`",
            ParamKind::Text => "a text",
            ParamKind::Field => "a name",
            ParamKind::List => "a list",
            ParamKind::Range => "a range",
            ParamKind::Amount | ParamKind::Amounts => "a number of records or a share",
            ParamKind::Files => "the path of a file",
        }
    }

    /// Names that the table does not know are entries of this parameter.
    fn open_ended(self) -> bool {
        matches!(self, ParamKind::Amounts | ParamKind::Files)
    }

    /// The setting as this kind stores it; none when it is of another kind.
    fn accept(self, setting: Setting) -> Option<Setting> {
        match (self, setting) {
            (ParamKind::Float, Setting::Int(n)) => Some(Setting::Float(n as f64)),
            (ParamKind::Field, Setting::Text(name)) => Some(Setting::Field(name)),
            (ParamKind::Int, it @ Setting::Int(_))
            | (ParamKind::Float, it @ Setting::Float(_))
            | (ParamKind::Bool, it @ Setting::Bool(_))
            | (ParamKind::Text | ParamKind::Files, it @ Setting::Text(_))
            | (ParamKind::Field, it @ Setting::Field(_))
            | (ParamKind::List, it @ Setting::List(_))
            | (ParamKind::Range, it @ Setting::Range(..))
            | (ParamKind::Amount | ParamKind::Amounts, it @ (Setting::Int(_) | Setting::Float(_))) => Some(it),
            _ => None,
        }
    }
}

impl Setting {
    pub fn words(&self) -> &'static str {
        match self {
            Setting::Int(_) => "a whole number",
            Setting::Float(_) => "a number with a fraction",
            Setting::Bool(_) => "true or false",
            Setting::Text(_) => "a text",
            Setting::Field(_) => "a name",
            Setting::List(_) => "a list",
            Setting::Range(..) => "a range",
        }
    }
}

/// Options in the order of the table, defaults filled in, then the open-ended ones as written. What is not given and has
/// the default `none` is absent.
pub fn read_options(
    params: &'static [Param],
    positional: Vec<Setting>,
    named: Vec<(String, Setting)>,
) -> Result<Options, OptionError> {
    let plain: Vec<&Param> = params.iter().filter(|param| !param.kind.open_ended()).collect();
    let open = params.iter().find(|param| param.kind.open_ended());
    if positional.len() > plain.len() {
        return Err(OptionError::TooMany { given: positional.len(), most: plain.len() });
    }
    let by_place = positional.into_iter().zip(&plain).map(|(setting, param)| (param.name.to_string(), setting));
    let (mut known, mut others) = (Options::new(), Options::new());
    for (name, setting) in by_place.chain(named) {
        let listed = plain.iter().find(|param| param.name == name).copied();
        let Some(param) = listed.or(open) else {
            return Err(unknown(&name, &plain));
        };
        let setting = accept(param, &name, setting, &plain)?;
        let options = if listed.is_some() { &mut known } else { &mut others };
        if options.insert(name.clone(), setting).is_some() {
            return Err(OptionError::Twice { name });
        }
    }
    let mut options = Options::new();
    for param in plain {
        if let Some(setting) = known.swap_remove(param.name) {
            options.insert(param.name.into(), setting);
        } else if let Some(setting) = default(param)? {
            options.insert(param.name.into(), setting);
        }
    }
    match open {
        Some(param) if param.default.is_none() && others.is_empty() => {
            return Err(OptionError::Missing { name: param.name, kind: param.kind });
        }
        _ => options.extend(others),
    }
    Ok(options)
}

fn unknown(name: &str, plain: &[&Param]) -> OptionError {
    let names: Vec<&str> = plain.iter().map(|param| param.name).collect();
    OptionError::Unknown { name: name.into(), help: suggestion(name, &names) }
}

fn accept(param: &Param, name: &str, setting: Setting, plain: &[&Param]) -> Result<Setting, OptionError> {
    let found = setting.words();
    param.kind.accept(setting).ok_or_else(|| {
        // Where any name may stand, a slip in the name of a listed option shows as a value of the wrong kind.
        if param.kind.open_ended() && nearest(name, plain.iter().map(|param| param.name)).is_some() {
            return unknown(name, plain);
        }
        OptionError::WrongKind { name: name.into(), expected: param.kind.words(), found }
    })
}

/// The default as written in the table.
fn default(param: &Param) -> Result<Option<Setting>, OptionError> {
    let Some(text) = param.default else {
        return Err(OptionError::Missing { name: param.name, kind: param.kind });
    };
    if text == "none" {
        return Ok(None);
    }
    let setting = match param.kind {
        ParamKind::Int => text.parse().ok().map(Setting::Int),
        ParamKind::Float => text.parse().ok().map(Setting::Float),
        ParamKind::Bool => text.parse().ok().map(Setting::Bool),
        ParamKind::Text | ParamKind::Files => Some(Setting::Text(text.trim_matches('"').into())),
        ParamKind::Field => Some(Setting::Field(text.into())),
        ParamKind::Amount | ParamKind::Amounts => {
            text.parse().map(Setting::Int).ok().or(text.parse().map(Setting::Float).ok())
        }
        ParamKind::List | ParamKind::Range => None,
    };
    Ok(setting)
}

// How sources and transforms ask for what was read.

pub(super) fn int(options: &Options, name: &str) -> Option<i64> {
    match options.get(name)? {
        Setting::Int(n) => Some(*n),
        _ => None,
    }
}

pub(super) fn float(options: &Options, name: &str) -> Option<f64> {
    match options.get(name)? {
        Setting::Float(x) => Some(*x),
        Setting::Int(n) => Some(*n as f64),
        _ => None,
    }
}

pub(super) fn flag(options: &Options, name: &str) -> bool {
    matches!(options.get(name), Some(Setting::Bool(true)))
}

pub(super) fn text<'a>(options: &'a Options, name: &str) -> Option<&'a str> {
    match options.get(name)? {
        Setting::Text(text) | Setting::Field(text) => Some(text),
        _ => None,
    }
}

/// A text that the table demands; its absence means that the options were not read by [`read_options`].
pub(super) fn needed<'a>(options: &'a Options, name: &str) -> Result<&'a str, DataError> {
    text(options, name).ok_or_else(|| DataError::value(format!("`{name}` is missing")))
}

/// A seed of any sign, as the bits of a key.
pub(super) fn seed(options: &Options) -> u64 {
    int(options, "seed").unwrap_or(0) as u64
}

/// A number of at least one, such as a size.
pub(super) fn positive(options: &Options, name: &str, most: usize) -> Result<Option<usize>, DataError> {
    let Some(n) = int(options, name) else { return Ok(None) };
    match usize::try_from(n) {
        Ok(n) if (1..=most).contains(&n) => Ok(Some(n)),
        _ => Err(DataError::value(format!("`{name}` must be between 1 and {most}, this is {n}"))),
    }
}

/// Entries of the open-ended parameter: all that the table does not list.
pub(super) fn others<'a>(
    options: &'a Options,
    params: &'static [Param],
) -> impl Iterator<Item = (&'a str, &'a Setting)> {
    options
        .iter()
        .filter(|(name, _)| !params.iter().any(|param| param.name == name.as_str() && !param.kind.open_ended()))
        .map(|(name, setting)| (name.as_str(), setting))
}
