//! Files and the names at their top level: what each `use` brings in.
//!
//! In: the entry file. Out: every file that it needs, parsed, with its top-level names bound. Never here: a value, a type
//! or a size.

mod names;
mod walk;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;
use rayon::prelude::*;

use crate::diagnostics::{Code, Diagnostic, nearest};
use crate::source::{Files, SourceId, SourceMap, Span, library_file, library_files};
use crate::syntax::{File, Name, StatementKind, Text, UsePath, Used, parse};

pub use names::check_names;

/// The entry file and what it imports, each once.
pub struct Modules {
    pub modules: Vec<Module>,
    pub entry: usize,
    /// The library's `prelude.ssl`, whose names are visible everywhere.
    pub prelude: Option<usize>,
}

pub struct Module {
    pub file: File,
    pub text: Arc<str>,
    pub names: IndexMap<Arc<str>, Binding>,
}

#[derive(Clone, Debug)]
pub enum Binding {
    /// The statement of this file.
    Declaration(usize),
    /// A name of another file, and the place of the `use`.
    Imported { module: usize, name: Arc<str>, span: Span },
    /// A whole file under one name.
    Namespace { module: usize },
    /// What the compiler gives, under another name.
    Builtin { name: Arc<str> },
    /// A `use` that brought nothing, which was reported: what is made from the name stays unsaid.
    Nothing,
}

/// Parses the entry and, transitively, what it imports.
pub fn load(entry: SourceId, sources: &mut SourceMap, files: &dyn Files) -> (Modules, Vec<Diagnostic>) {
    let entry_name = sources.file(entry).name.clone();
    let mut loader = Loader {
        entry_name,
        sources,
        files,
        modules: Vec::new(),
        by_name: IndexMap::new(),
        loading: Vec::new(),
        diagnostics: Vec::new(),
        ahead: HashMap::new(),
    };
    loader.read_ahead(entry);
    let prelude = loader.library("prelude.ssl");
    let entry = loader.module(entry);
    (Modules { modules: loader.modules, entry, prelude }, loader.diagnostics)
}

struct Loader<'a> {
    entry_name: String,
    sources: &'a mut SourceMap,
    files: &'a dyn Files,
    modules: Vec<Module>,
    /// Files by the name under which they are shown.
    by_name: IndexMap<String, usize>,
    /// Files whose imports are being read, with the `use` that led there.
    loading: Vec<(usize, Option<Span>)>,
    diagnostics: Vec<Diagnostic>,
    /// Library files by path that are parsed and not yet asked for.
    ahead: HashMap<String, (SourceId, Parsed)>,
}

type Parsed = (File, Vec<Diagnostic>);

impl Loader<'_> {
    fn module(&mut self, source: SourceId) -> usize {
        let text = self.sources.file(source).text.clone();
        self.module_of(source, || parse(source, &text))
    }

    /// Parses the library files that a program will ask for, side by side: a small program spends most of its time on them.
    /// What is not seen here is parsed when it is asked for.
    fn read_ahead(&mut self, entry: SourceId) {
        let mut texts = vec![self.sources.file(entry).text.clone()];
        let mut wanted = vec!["prelude.ssl".to_string()];
        while !texts.is_empty() {
            wanted.extend(texts.iter().flat_map(|text| mentioned(text)));
            let mut found = Vec::new();
            for path in wanted.drain(..) {
                let shown = format!("std/{path}");
                let Some(text) = library_file(&path).filter(|_| shown != self.entry_name) else { continue };
                if !self.ahead.contains_key(&path) && !found.iter().any(|(have, _, _)| *have == path) {
                    found.push((path, text, self.sources.add(shown, None, text)));
                }
            }
            let read: Vec<Parsed> =
                found.par_iter().map(|(_, text, source)| parse(*source, &without_tests(text))).collect();
            texts = found.iter().map(|(_, text, _)| Arc::from(*text)).collect();
            self.ahead.extend(found.into_iter().zip(read).map(|((path, _, source), read)| (path, (source, read))));
        }
    }

    /// A module from what `read` makes of its text.
    fn module_of(&mut self, source: SourceId, read: impl FnOnce() -> Parsed) -> usize {
        let name = self.sources.file(source).name.clone();
        if let Some(at) = self.by_name.get(&name) {
            return *at;
        }
        let text = self.sources.file(source).text.clone();
        let (file, found) = read();
        self.diagnostics.extend(found);
        let at = self.modules.len();
        self.by_name.insert(name, at);
        self.modules.push(Module { file: file.clone(), text, names: IndexMap::new() });
        self.loading.push((at, None));
        for (index, statement) in file.statements.iter().enumerate() {
            match &statement.kind {
                StatementKind::Use { path, names, alias } => self.import(at, path, names, alias.as_ref()),
                other => {
                    if let Some(name) = declared(other) {
                        self.declare(at, name, index);
                    }
                }
            }
        }
        self.loading.pop();
        at
    }

    fn declare(&mut self, module: usize, name: &Name, index: usize) {
        let earlier = match self.modules[module].names.get(&name.text) {
            Some(Binding::Declaration(first)) => {
                declared(&self.modules[module].file.statements[*first].kind).map(|n| n.span)
            }
            Some(Binding::Imported { span, .. }) => Some(*span),
            _ => None,
        };
        if let Some(first) = earlier {
            self.diagnostics.push(
                Diagnostic::error(Code::DefinedTwice, format!("`{}` is defined twice", name.text))
                    .label(name.span, "again here")
                    .label(first, "first here")
                    .help("give one of them another name"),
            );
            return;
        }
        self.modules[module].names.insert(name.text.clone(), Binding::Declaration(index));
    }

    fn import(&mut self, module: usize, path: &UsePath, names: &[Used], alias: Option<&Name>) {
        match path {
            UsePath::File(text) => self.import_file(module, text, names, alias),
            UsePath::Library(segments) => self.import_library(module, segments, names, alias),
        }
    }

    fn bind(&mut self, module: usize, name: &Name, binding: Binding) {
        self.modules[module].names.insert(name.text.clone(), binding);
    }

    /// `use std.net.linear`, `use std.view.{crop, blur as soften}`, `use std.net as nets`.
    fn import_library(&mut self, module: usize, segments: &[Name], names: &[Used], alias: Option<&Name>) {
        let folder: Vec<&str> = segments.iter().skip(1).map(|name| &*name.text).collect();
        // `use std.net` is `use std.net as net`.
        let whole = alias.or(segments.last().filter(|_| segments.len() == 2));
        if let (true, Some(whole)) = (names.is_empty(), whole)
            && let Some(at) = self.library_folder(&folder)
        {
            return self.bind(module, whole, Binding::Namespace { module: at });
        }
        if names.is_empty() {
            let Some((last, before)) = segments.split_last().filter(|(_, before)| !before.is_empty()) else { return };
            let before: Vec<&str> = before.iter().skip(1).map(|name| &*name.text).collect();
            return self.import_name(module, &before, &Used { name: last.clone(), alias: alias.cloned() });
        }
        for name in names {
            self.import_name(module, &folder, name);
        }
    }

    /// A place of the library as one file that holds its names; none where nothing stands there.
    fn library_folder(&mut self, folder: &[&str]) -> Option<usize> {
        let place = folder.join("/");
        let shown = format!("std/{place}/");
        if let Some(at) = self.by_name.get(&shown) {
            return Some(*at);
        }
        let here: Vec<&str> =
            library_names().iter().filter(|(have, _)| *have == place).map(|(_, name)| name.as_str()).collect();
        if here.is_empty() {
            return None;
        }
        let source = self.sources.add(shown.clone(), None, "");
        let at = self.module(source);
        for name in here {
            let name = Name { text: name.into(), span: Span::new(source, 0, 0) };
            self.import_name(at, folder, &Used { name, alias: None });
        }
        Some(at)
    }

    /// `name` of the library's `folder`: declared in `folder.ssl`, in `folder/name.ssl`, or a builtin source of data.
    fn import_name(&mut self, module: usize, folder: &[&str], used: &Used) {
        let name = &used.name;
        let joined = folder.join("/");
        let own = format!("{joined}/{}.ssl", name.text);
        let shared = format!("{joined}.ssl");
        for path in [own, shared] {
            if let Some(found) = self.library(&path)
                && self.modules[found].names.contains_key(&name.text)
            {
                let binding = Binding::Imported { module: found, name: name.text.clone(), span: used.bound().span };
                return self.bind(module, used.bound(), binding);
            }
        }
        let is_source = joined == "data" && crate::data::sources().iter().any(|row| *row.name == *name.text);
        match &used.alias {
            _ if !is_source => {
                self.unknown_import(&joined, name);
                self.bind(module, used.bound(), Binding::Nothing);
            }
            Some(alias) => {
                self.bind(module, alias, Binding::Builtin { name: name.text.clone() });
            }
            None => {}
        }
    }

    fn unknown_import(&mut self, folder: &str, name: &Name) {
        let all = library_names();
        let here = all.iter().filter(|(place, _)| place == folder).map(|(_, name)| name.as_str());
        let elsewhere = || all.iter().find(|(_, have)| *have == *name.text);
        let list = |names: Vec<&str>| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let help = match (nearest(&name.text, here.clone()), elsewhere()) {
            (_, Some((place, have))) if place != "prelude" => {
                format!("it is in another place: `use std.{}.{have}`", place.replace('/', "."))
            }
            (_, Some(_)) => "leave the `use` out: the name is known everywhere".into(),
            (Some(near), None) => format!("did you mean `{near}`?"),
            (None, None) if here.clone().next().is_some() => format!("it has {}", list(here.collect())),
            (None, None) => {
                let mut folders: Vec<&str> =
                    all.iter().map(|(place, _)| place.split('/').next().unwrap_or(place)).collect();
                folders.sort_unstable();
                folders.dedup();
                folders.retain(|folder| *folder != "prelude");
                match nearest(folder.split('/').next().unwrap_or(folder), folders.iter().copied()) {
                    Some(near) if near != folder => format!("did you mean `std.{near}`?"),
                    _ => format!("the library has {}", list(folders)),
                }
            }
        };
        let place = if folder.is_empty() { "std".to_string() } else { format!("std.{}", folder.replace('/', ".")) };
        let diagnostic = Diagnostic::error(Code::UnknownImport, format!("`{place}` has no `{}`", name.text))
            .label(name.span, "not in the library")
            .help(help);
        self.diagnostics.push(diagnostic);
    }

    fn library(&mut self, path: &str) -> Option<usize> {
        let shown = format!("std/{path}");
        if let Some(at) = self.by_name.get(&shown) {
            return Some(*at);
        }
        if let Some((source, parsed)) = self.ahead.remove(path) {
            return Some(self.module_of(source, || parsed));
        }
        let text = library_file(path)?;
        let source = self.sources.add(shown, None, text);
        // Its tests are read where it is the entry itself.
        Some(if self.sources.file(source).name == self.entry_name {
            self.module(source)
        } else {
            self.module_of(source, || parse(source, &without_tests(text)))
        })
    }

    /// `use "./worlds.ssl"`: names of it, or the whole file under its stem.
    fn import_file(&mut self, module: usize, written: &Text, names: &[Used], alias: Option<&Name>) {
        let from = self.modules[module].file.source;
        let folder = self.sources.file(from).folder.clone().unwrap_or_default();
        let path = crate::source::normal(&folder.join(&*written.text));
        let shown = path.to_string_lossy().into_owned();
        if let Some(at) = self.by_name.get(&shown).copied() {
            if let Some(start) = self.loading.iter().position(|(have, _)| *have == at) {
                self.cycle(start, written.span);
                return self.bind_nothing(module, written, names, alias);
            }
            return self.bind_file(module, at, written, names, alias);
        }
        let text = match self.files.read(&path) {
            Ok(text) => text,
            Err(error) => {
                self.unreadable(&shown, written.span, &error);
                return self.bind_nothing(module, written, names, alias);
            }
        };
        let source = self.sources.add(shown, path.parent().map(Path::to_path_buf), text);
        if let Some(last) = self.loading.last_mut() {
            last.1 = Some(written.span);
        }
        let at = self.module(source);
        self.bind_file(module, at, written, names, alias);
    }

    fn unreadable(&mut self, shown: &str, span: Span, error: &std::io::Error) {
        use std::io::ErrorKind;
        let (code, what, help) = match error.kind() {
            ErrorKind::NotFound => (
                Code::FileMissing,
                "there is no such file".to_string(),
                "check the path: it is relative to the file in which it stands",
            ),
            ErrorKind::IsADirectory => (Code::FileMissing, "it is a folder".to_string(), "name a file in it"),
            ErrorKind::InvalidData => (Code::FileCorrupt, "it is no UTF-8 text".to_string(), "save it as UTF-8"),
            _ => (Code::FileMissing, error.to_string(), "make the file readable"),
        };
        self.diagnostics.push(
            Diagnostic::error(code, format!("cannot read `{shown}`: {what}")).label(span, "imported here").help(help),
        );
    }

    fn cycle(&mut self, start: usize, span: Span) {
        let shown = |at: usize| self.sources.file(self.modules[at].file.source).name.clone();
        let mut names: Vec<String> = self.loading[start..].iter().map(|(at, _)| shown(*at)).collect();
        names.push(names[0].clone());
        let mut diagnostic =
            Diagnostic::error(Code::ImportCycle, format!("files import each other: {}", names.join(" → ")))
                .label(span, "closes the circle");
        for (_, place) in &self.loading[start..] {
            if let Some(place) = place.filter(|place| *place != span) {
                diagnostic = diagnostic.label(place, "on the way");
            }
        }
        self.diagnostics.push(diagnostic.help("move what both need into a third file"));
    }

    /// The names of a `use` whose file could not be read.
    fn bind_nothing(&mut self, module: usize, written: &Text, names: &[Used], alias: Option<&Name>) {
        if names.is_empty() {
            self.bind(module, alias.unwrap_or(&stem(written)), Binding::Nothing);
        }
        names.iter().for_each(|used| self.bind(module, used.bound(), Binding::Nothing));
    }

    fn bind_file(&mut self, module: usize, at: usize, written: &Text, names: &[Used], alias: Option<&Name>) {
        if names.is_empty() {
            return self.bind(module, alias.unwrap_or(&stem(written)), Binding::Namespace { module: at });
        }
        for used in names {
            let name = &used.name;
            if self.modules[at].names.contains_key(&name.text) {
                let span = used.bound().span;
                self.bind(module, used.bound(), Binding::Imported { module: at, name: name.text.clone(), span });
                continue;
            }
            self.bind(module, used.bound(), Binding::Nothing);
            if self.modules[at].is_unread(&name.text) {
                continue;
            }
            let known: Vec<Arc<str>> = self.modules[at].names.keys().cloned().collect();
            let mut diagnostic =
                Diagnostic::error(Code::UnknownImport, format!("`{}` has no `{}`", written.text, name.text))
                    .label(name.span, "not in that file");
            diagnostic.help = Some(match nearest(&name.text, known.iter().map(|n| &**n)) {
                Some(near) => format!("did you mean `{near}`?"),
                None if known.is_empty() => "nothing is declared in it: import from another file".into(),
                None => format!("it has {}", known.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")),
            });
            self.diagnostics.push(diagnostic);
        }
    }
}

impl Module {
    /// Whether the name stands in a statement that could not be read, and may be declared there.
    fn is_unread(&self, name: &str) -> bool {
        let unread = self.file.statements.iter().filter(|statement| matches!(statement.kind, StatementKind::Error));
        let texts = unread.filter_map(|statement| self.text.get(statement.span.range()));
        texts.flat_map(names::words).any(|word| word == name)
    }
}

/// The name that `use "./worlds.ssl"` binds.
fn stem(written: &Text) -> Name {
    let stem = Path::new(&*written.text).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    Name { text: stem.unwrap_or_default().as_str().into(), span: written.span }
}

/// The name that a statement gives at the top level of its file.
pub fn declared(kind: &StatementKind) -> Option<&Name> {
    Some(match kind {
        StatementKind::Param { name, .. }
        | StatementKind::Type { name, .. }
        | StatementKind::Data { name, .. }
        | StatementKind::Net { name, .. }
        | StatementKind::Module { name, .. }
        | StatementKind::Optimizer { name, .. }
        | StatementKind::Pool { name, .. }
        | StatementKind::Loop { name, .. }
        | StatementKind::Sweep { name, .. } => name,
        StatementKind::Fn(function) | StatementKind::Flow(function) | StatementKind::View(function, _) => {
            &function.name
        }
        StatementKind::Weight(cell) | StatementKind::State(cell) => &cell.name,
        StatementKind::Let { pattern: crate::syntax::Pattern::Name(name), mutable: false, .. } => name,
        _ => return None,
    })
}

/// A file of the library with blanks for its `test` blocks, each other byte at its place.
fn without_tests(text: &str) -> String {
    let mut inside = false;
    let lines = text.split_inclusive('\n').map(|line| {
        inside |= line.starts_with("test \"");
        let read = if inside { " ".repeat(line.trim_end_matches('\n').len()) + "\n" } else { line.to_owned() };
        inside &= line.trim_end() != "}";
        read
    });
    lines.collect()
}

/// Everything that the library declares: folder and name.
pub fn library_names() -> &'static [(String, String)] {
    static NAMES: std::sync::OnceLock<Vec<(String, String)>> = std::sync::OnceLock::new();
    NAMES.get_or_init(|| {
        let mut names = Vec::new();
        for (path, text) in library_files() {
            let (file, _) = parse(SourceId(0), text);
            let stem = path.trim_end_matches(".ssl");
            for name in file.statements.iter().filter_map(|statement| declared(&statement.kind)) {
                let folder = match stem.rsplit_once('/') {
                    Some((folder, last)) if *last == *name.text => folder,
                    _ => stem,
                };
                names.push((folder.to_string(), name.text.to_string()));
            }
        }
        names.extend(crate::data::sources().iter().map(|row| ("data".to_string(), row.name.to_string())));
        names
    })
}

/// Files of the library that the lines `use std.…` of a text may mean.
fn mentioned(text: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for line in text.lines() {
        let Some(path) = line.strip_prefix("use std.") else { continue };
        let (folder, names) = match path.split_once(".{") {
            Some((folder, names)) => (folder, names.split(['}', '#']).next().unwrap_or_default()),
            None => {
                let path = path.split_whitespace().next().unwrap_or_default();
                path.rsplit_once('.').unwrap_or((path, ""))
            }
        };
        let folder = folder.replace('.', "/");
        let own = names.split(',').filter_map(|name| name.split_whitespace().next());
        paths.extend(own.map(|name| format!("{folder}/{name}.ssl")));
        paths.push(format!("{folder}.ssl"));
    }
    paths
}
