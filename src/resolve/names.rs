//! Every name in every body: bound, or reported with what it might have meant.
//!
//! The check is lexical: a name is bound by a parameter, a size in a signature, a pattern, a statement before it, or at the
//! top level of its file. It knows no values, so what stands behind a `.` or before a `:` is not looked at.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::{Modules, library_names, walk};
use crate::diagnostics::{Code, Diagnostic, nearest};
use crate::source::Span;
use crate::syntax::{File, Name, Pattern, Statement, StatementKind, UsePath, Used};

/// Names that are used and never bound. `builtins` are the names that the compiler gives.
pub fn check_names(modules: &Modules, builtins: &[&str]) -> Vec<Diagnostic> {
    let builtins: HashSet<&str> = builtins.iter().copied().collect();
    let mut found = Vec::new();
    for at in 0..modules.modules.len() {
        let mut checker = Checker::new(modules, at, &builtins);
        checker.file();
        found.extend(checker.finish());
    }
    found
}

/// What a predicate of `over` and `using … where` may ask of a weight.
pub(super) const PREDICATE: &[&str] = &["rank", "path", "name", "size"];
/// Words of the language that are read as names.
const WORDS: &[&str] = &["every", "lowest", "highest"];
/// What other languages call it.
const FOREIGN: &[(&str, &str)] = &[
    ("None", "none"),
    ("null", "none"),
    ("nil", "none"),
    ("True", "true"),
    ("False", "false"),
    ("print", "report"),
    ("self", "the name of the net"),
];

pub(super) struct Checker<'a> {
    modules: &'a Modules,
    at: usize,
    builtins: &'a HashSet<&'a str>,
    /// Names of the bodies around, innermost last.
    scopes: Vec<HashSet<Arc<str>>>,
    /// Names of the file that have a value once all lines are run, with their places.
    top: HashMap<Arc<str>, Span>,
    /// Those of them that have one at this line.
    ready: HashSet<Arc<str>>,
    /// Inside a body that runs later: every name of the file has a value then.
    pub later: usize,
    /// Names of the axes of sweeps and studies, which stand behind `axis:`.
    pub axes: HashSet<Arc<str>>,
    /// Places that could not be read; what is named there may be bound there.
    pub unread: Vec<Span>,
    unknown: Vec<(Arc<str>, Diagnostic)>,
}

impl<'a> Checker<'a> {
    fn new(modules: &'a Modules, at: usize, builtins: &'a HashSet<&'a str>) -> Checker<'a> {
        Checker {
            modules,
            at,
            builtins,
            scopes: Vec::new(),
            top: HashMap::new(),
            ready: HashSet::new(),
            later: 0,
            axes: HashSet::new(),
            unread: Vec::new(),
            unknown: Vec::new(),
        }
    }

    /// The statements of the file, in order.
    fn file(&mut self) {
        let file: &File = &self.modules.modules[self.at].file;
        for statement in &file.statements {
            for name in bound_by(&statement.kind) {
                self.top.entry(name.text.clone()).or_insert(name.span);
                if is_free_of_order(&statement.kind) {
                    self.ready.insert(name.text.clone());
                }
            }
        }
        self.ready.extend(file.statements.iter().filter_map(|statement| namespace(&statement.kind)));
        walk::axes_of(&file.statements, &mut self.axes);
        for statement in &file.statements {
            walk::statement(self, statement);
            self.ready.extend(bound_by(&statement.kind).into_iter().map(|name| name.text.clone()));
        }
    }

    /// The faults, each name once.
    fn finish(self) -> Vec<Diagnostic> {
        let text = &self.modules.modules[self.at].text;
        let unread: HashSet<&str> =
            self.unread.iter().flat_map(|span| words(text.get(span.range()).unwrap_or(""))).collect();
        let mut seen = HashSet::new();
        let known = self.unknown.into_iter().filter(|(name, _)| !unread.contains(&**name) && seen.insert(name.clone()));
        known.map(|(_, diagnostic)| diagnostic).collect()
    }

    pub fn inside(&mut self, visit: impl FnOnce(&mut Self)) {
        self.scopes.push(HashSet::new());
        visit(self);
        self.scopes.pop();
    }

    /// Binds a name in the body at hand; at the level of the file its line does.
    pub fn bind(&mut self, name: &Arc<str>) {
        self.scopes.last_mut().unwrap_or(&mut self.ready).insert(name.clone());
    }

    pub fn bind_word(&mut self, name: &str) {
        self.bind(&Arc::from(name));
    }

    pub fn bind_pattern(&mut self, pattern: &Pattern) {
        names_of(pattern).into_iter().for_each(|name| self.bind(&name.text));
    }

    /// The statements of a body: names that are free of order first, the others at their line.
    pub fn statements(&mut self, statements: &[Statement]) {
        for statement in statements.iter().filter(|statement| is_free_of_order(&statement.kind)) {
            bound_by(&statement.kind).into_iter().for_each(|name| self.bind(&name.text));
        }
        for statement in statements {
            walk::statement(self, statement);
            bound_by(&statement.kind).into_iter().for_each(|name| self.bind(&name.text));
        }
    }

    pub fn is_bound(&self, name: &str) -> bool {
        self.scopes.iter().any(|scope| scope.contains(name))
            || self.top.contains_key(name)
            || self.modules.modules[self.at].names.contains_key(name)
            || self.is_given(name)
    }

    /// Whether the prelude or the compiler gives the name.
    fn is_given(&self, name: &str) -> bool {
        let prelude =
            self.modules.prelude.is_some_and(|prelude| self.modules.modules[prelude].names.contains_key(name));
        prelude || self.builtins.contains(name) || WORDS.contains(&name)
    }

    /// A name that stands for a value.
    pub fn name(&mut self, name: &Arc<str>, span: Span) {
        if self.scopes.iter().any(|scope| scope.contains(name)) || self.ready.contains(name) || self.is_given(name) {
            return;
        }
        if let Some(place) = self.top.get(name) {
            if self.later == 0 {
                let fault = Diagnostic::error(Code::UnknownName, format!("`{name}` is used before its line"))
                    .label(span, "used here")
                    .label(*place, "defined here")
                    .help("a file runs from top to bottom: move the definition up");
                self.unknown.push((name.clone(), fault));
            }
        } else if !self.modules.modules[self.at].names.contains_key(name) {
            let mut fault = Diagnostic::error(Code::UnknownName, format!("unknown name `{name}`"))
                .label(span, "not defined before this line");
            let help = self.remedy(name);
            fault.help = Some(help.unwrap_or_else(|| "define it above this line, or import it with `use`".into()));
            self.unknown.push((name.clone(), fault));
        }
    }

    /// What the name might have meant.
    fn remedy(&self, name: &str) -> Option<String> {
        if let Some((_, ours)) = FOREIGN.iter().find(|(theirs, _)| *theirs == name) {
            return Some(format!("write {}", if ours.contains(' ') { ours.to_string() } else { format!("`{ours}`") }));
        }
        let library = library_names();
        if let Some((folder, have)) = library.iter().find(|(folder, have)| have == name && folder != "prelude") {
            return Some(format!("add `use std.{}.{{{have}}}`", folder.replace('/', ".")));
        }
        let module = &self.modules.modules[self.at];
        let prelude = self.modules.prelude.map(|prelude| &self.modules.modules[prelude].names);
        let near = self.scopes.iter().flatten().map(|name| &**name);
        let near = near.chain(self.top.keys().chain(module.names.keys()).map(|name| &**name));
        if let Some(near) = nearest(name, near) {
            return Some(format!("did you mean `{near}`?"));
        }
        let given = prelude.into_iter().flat_map(|names| names.keys()).map(|name| &**name);
        if let Some(near) = nearest(name, given.chain(self.builtins.iter().copied())) {
            return Some(format!("did you mean `{near}`?"));
        }
        let near =
            nearest(name, library.iter().filter(|(folder, _)| folder != "prelude").map(|(_, name)| name.as_str()))?;
        let (folder, _) = library.iter().find(|(_, have)| have == near)?;
        Some(format!("did you mean `{near}`? add `use std.{}.{{{near}}}`", folder.replace('/', ".")))
    }
}

/// The names that a statement binds for the statements after it.
pub(super) fn bound_by(kind: &StatementKind) -> Vec<&Name> {
    match kind {
        StatementKind::Let { pattern, .. } => names_of(pattern),
        StatementKind::Choose { name, .. } | StatementKind::Flywheel { name, .. } => vec![name],
        StatementKind::Use { names, alias: Some(alias), .. } if names.is_empty() => vec![alias],
        StatementKind::Use { path: UsePath::Library(path), names, .. } if names.is_empty() => {
            path.last().into_iter().collect()
        }
        StatementKind::Use { names, .. } => names.iter().map(Used::bound).collect(),
        other => super::declared(other).into_iter().collect(),
    }
}

/// `use "./worlds.ssl"` binds `worlds`, whether the file could be read or not.
fn namespace(kind: &StatementKind) -> Option<Arc<str>> {
    match kind {
        StatementKind::Use { path: UsePath::File(file), names, alias: None } if names.is_empty() => {
            Path::new(&*file.text).file_stem().map(|stem| stem.to_string_lossy().into())
        }
        _ => None,
    }
}

pub(super) fn names_of(pattern: &Pattern) -> Vec<&Name> {
    match pattern {
        Pattern::Name(name) => vec![name],
        Pattern::Record { fields, .. } => fields.iter().map(|(_, bound)| bound).collect(),
        Pattern::List { items, .. } => items.iter().flat_map(names_of).collect(),
    }
}

/// Definitions that may stand in any order.
fn is_free_of_order(kind: &StatementKind) -> bool {
    use StatementKind::*;
    matches!(
        kind,
        Use { .. } | Param { .. } | Fn(_) | Module { .. } | View(..) | Flow(_) | Optimizer { .. } | Type { .. }
    )
}

pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|char: char| !(char.is_ascii_alphanumeric() || char == '_')).filter(|word| !word.is_empty())
}
