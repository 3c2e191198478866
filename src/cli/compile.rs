//! A file, or a fragment, to a program: what every verb but `explain` begins with.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::diagnostics::{Code, Diagnostic, Severity, nearest};
use crate::elaborate::{self, Elaborated, Settings, elaborate};
use crate::source::{Disk, SourceMap};
use crate::{lints, resolve, run};

/// The file and what is set in it.
#[derive(Args, Clone, Debug, Default)]
pub struct Inputs {
    /// The pipeline.
    pub file: PathBuf,
    /// Give a `param` another value; may be repeated.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// A YAML file of settings; `--set` wins over it.
    #[arg(long, value_name = "FILE.yaml")]
    pub settings: Option<PathBuf>,
}

/// More would only take memory.
const MOST_THREADS: usize = 1024;

/// A program without errors, with the texts it was made from.
pub struct Compiled {
    pub elaborated: Elaborated,
    pub sources: SourceMap,
    /// Of the entry file.
    pub text: String,
    pub warnings: Vec<Diagnostic>,
}

/// What stands in the way of a program, with the texts that it points into.
pub struct Refused {
    pub diagnostics: Vec<Diagnostic>,
    pub sources: SourceMap,
}

impl Refused {
    fn one(diagnostic: Diagnostic) -> Refused {
        Refused { diagnostics: vec![diagnostic], sources: SourceMap::default() }
    }
}

/// Compiles the file of a command line.
pub fn compile(inputs: &Inputs) -> Result<Compiled, Refused> {
    let text = read_program(&inputs.file).map_err(|fault| Refused::one(*fault))?;
    let mut set = match &inputs.settings {
        Some(path) => settings_file(path).map_err(|fault| Refused::one(*fault))?,
        None => Vec::new(),
    };
    set.extend(inputs.set.iter().map(|text| setting(text)).collect::<Result<Vec<_>, _>>().map_err(Refused::one)?);
    let name = inputs.file.display().to_string();
    let folder = inputs.file.parent().map(Path::to_path_buf);
    compile_text(&name, folder, text, Settings { set, ..Settings::default() })
}

/// The text of a program file.
pub fn read_program(path: &Path) -> Result<String, Box<Diagnostic>> {
    let bytes = crate::source::read_bytes(path).map_err(|error| Box::new(missing(path, &error)))?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let headline = format!("`{}` is no UTF-8 text, byte {at}", path.display());
        Box::new(Diagnostic::error(Code::FileCorrupt, headline).help("save it as UTF-8"))
    })
}

/// Compiles a text.
pub fn compile_text(
    name: &str,
    folder: Option<PathBuf>,
    text: String,
    settings: Settings,
) -> Result<Compiled, Refused> {
    let mut sources = SourceMap::default();
    let entry = sources.add(name, folder, text.clone());
    let (modules, mut diagnostics) = resolve::load(entry, &mut sources, &Disk);
    let names = elaborate::builtin_names();
    // What comes from outside stands beside the builtins.
    let given = settings.given.iter().map(|(name, _)| name.as_str());
    let known: Vec<&str> = names.iter().map(|name| &**name).chain(given).collect();
    diagnostics.extend(resolve::check_names(&modules, &known));
    let (elaborated, found) = elaborate(&modules, &sources, &settings);
    for diagnostic in found {
        // A name that is not known is reported once, by whichever phase saw it first.
        let same = |have: &Diagnostic| {
            have.code == diagnostic.code
                && have.labels.first().map(|l| l.span) == diagnostic.labels.first().map(|l| l.span)
        };
        if diagnostic.labels.is_empty() || !diagnostics.iter().any(same) {
            diagnostics.push(diagnostic);
        }
    }
    if diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        return Err(Refused { diagnostics, sources });
    }
    diagnostics.extend(lints::run(&elaborated.program));
    Ok(Compiled { elaborated, sources, text, warnings: diagnostics })
}

fn missing(path: &Path, error: &std::io::Error) -> Diagnostic {
    let shown = path.display();
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let beside: Vec<String> = std::fs::read_dir(folder)
                .map(|entries| {
                    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
                })
                .unwrap_or_default();
            let wanted = path.file_name().unwrap_or_default().to_string_lossy();
            let near = nearest(&wanted, beside.iter().map(String::as_str).filter(|name| name.ends_with(".ssl")));
            let help = near.map_or("check the path".to_owned(), |near| {
                format!("did you mean `{}`?", path.with_file_name(near).display())
            });
            Diagnostic::error(Code::FileMissing, format!("there is no file `{shown}`")).help(help)
        }
        _ => {
            let reason = error.to_string();
            let reason = reason.split(" (os error").next().unwrap_or(&reason).to_lowercase();
            Diagnostic::error(Code::FileMissing, format!("cannot read `{shown}`: {reason}"))
                .help("name a readable file")
        }
    }
}

/// `name=value`.
fn setting(text: &str) -> Result<(String, String), Diagnostic> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        _ => Err(Diagnostic::error(Code::UnknownSetting, format!("`--set {text}` sets nothing"))
            .help("write `--set name=value`")),
    }
}

/// The settings of a YAML file: a mapping of names, or the `settings.yaml` of a run.
pub fn settings_file(path: &Path) -> Result<Vec<(String, String)>, Box<Diagnostic>> {
    let text = crate::source::read_text(path).map_err(|error| Box::new(missing(path, &error)))?;
    let wrong = |what: String| {
        Box::new(
            Diagnostic::error(Code::FileCorrupt, format!("`{}` {what}", path.display()))
                .help("write one `name: value` a line"),
        )
    };
    let value: serde_yaml::Value =
        serde_yaml::from_str(&text).map_err(|error| wrong(format!("is no YAML: {error}")))?;
    let mapping = match &value {
        serde_yaml::Value::Null => return Ok(Vec::new()),
        serde_yaml::Value::Mapping(mapping) => match mapping.get("settings") {
            Some(serde_yaml::Value::Mapping(inner)) => inner,
            _ => mapping,
        },
        _ => return Err(wrong("is no mapping of names to values".into())),
    };
    mapping
        .iter()
        .map(|(name, value)| {
            let name = name.as_str().ok_or_else(|| wrong("has a name that is no text".into()))?;
            Ok((name.to_owned(), yaml_text(value).ok_or_else(|| wrong(format!("gives `{name}` no plain value")))?))
        })
        .collect()
}

/// A YAML value as it would be written behind `--set`.
fn yaml_text(value: &serde_yaml::Value) -> Option<String> {
    match value {
        serde_yaml::Value::Bool(flag) => Some(flag.to_string()),
        serde_yaml::Value::Number(number) => Some(number.to_string()),
        serde_yaml::Value::String(text) => Some(text.clone()),
        serde_yaml::Value::Sequence(items) => {
            let items: Option<Vec<String>> = items.iter().map(yaml_text).collect();
            Some(format!("[{}]", items?.join(", ")))
        }
        _ => None,
    }
}

/// `file:line` of an origin, at the user's own line where the node stands in the library.
pub fn line_of(compiled: &Compiled, origin: crate::graph::OriginId) -> Option<String> {
    let origin = compiled.elaborated.program.origins.get(origin.0 as usize)?;
    let own = |span: &crate::source::Span| !compiled.sources.file(span.source).is_library();
    let span = origin.calls.iter().map(|(_, span)| *span).rfind(own).filter(|_| origin.span.is_some_and(|s| !own(&s)));
    let span = span.or(origin.span)?;
    Some(format!("{}:{}", compiled.sources.file(span.source).name, compiled.sources.place(span).0))
}

/// The number of workers, and the device, of a command line.
#[derive(Args, Clone, Debug)]
pub struct Machine {
    /// Number of worker threads; results do not depend on it.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// `cpu`, or `cuda:0` in a build with CUDA.
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    pub device: String,
}

impl Machine {
    /// Sets the workers of the process, and opens the device.
    pub fn start(&self) -> Result<(usize, candle_core::Device), Box<Diagnostic>> {
        let threads = match self.threads {
            Some(threads) if !(1..=MOST_THREADS).contains(&threads) => {
                let headline = format!("`--threads {threads}` is not possible");
                let help = format!("give a number from 1 to {MOST_THREADS}; the processor's cores are the default");
                return Err(Box::new(Diagnostic::error(Code::BadValue, headline).help(help)));
            }
            Some(threads) => threads,
            None => std::thread::available_parallelism().map_or(1, |threads| threads.get()),
        };
        crate::kernels::par::set_threads(threads);
        Ok((threads, run::device(&self.device)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_from_yaml() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.yaml");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            settings_file(&path)
        };
        let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        assert_eq!(
            read("epochs: 5\nlr: 0.1\nplain: true\n").unwrap(),
            pairs(&[("epochs", "5"), ("lr", "0.1"), ("plain", "true")])
        );
        assert_eq!(read("seed: 3\nsettings:\n  epochs: 5\n").unwrap(), pairs(&[("epochs", "5")]));
        assert_eq!(read("sizes: [1, 2]\n").unwrap(), pairs(&[("sizes", "[1, 2]")]));
        assert_eq!(read("- 3\n").unwrap_err().code, Code::FileCorrupt);
        assert_eq!(read("a: [\n").unwrap_err().code, Code::FileCorrupt);
        assert_eq!(settings_file(Path::new("nowhere.yaml")).unwrap_err().code, Code::FileMissing);
    }

    #[test]
    fn a_setting_needs_a_name() {
        assert_eq!(setting("lr=0.1").unwrap(), ("lr".into(), "0.1".into()));
        assert_eq!(setting("0.1").unwrap_err().code, Code::UnknownSetting);
        assert_eq!(setting("=0.1").unwrap_err().code, Code::UnknownSetting);
    }
}
