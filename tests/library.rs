//! Every `test` block of the library, and of what can be computed by hand, in `spec/values/`.

use std::path::PathBuf;

use ssl::diagnostics::{Diagnostic, Format, Severity, render};
use ssl::elaborate::{Settings, elaborate};
use ssl::resolve::{Modules, load};
use ssl::run::{RunOptions, run};
use ssl::source::{Disk, SourceMap, library_files};
use ssl::syntax::StatementKind;

fn text(diagnostic: &Diagnostic, sources: &SourceMap) -> String {
    render(diagnostic, sources, Format::Human { colour: false })
}

/// What is wrong with one test block, as the user would read it.
fn faults(modules: &Modules, sources: &SourceMap, test: usize) -> Vec<String> {
    let settings = Settings { test: Some(test), ..Settings::default() };
    let (elaborated, found) = elaborate(modules, sources, &settings);
    let errors: Vec<String> =
        found.iter().filter(|one| one.severity == Severity::Error).map(|one| text(one, sources)).collect();
    if !errors.is_empty() {
        return errors;
    }
    match run(&elaborated.program, &RunOptions::default(), &mut |_| {}) {
        Ok(_) => Vec::new(),
        Err(diagnostic) => vec![text(&diagnostic, sources)],
    }
}

/// The faults of all `test` blocks of a file whose path or name contains `only`, and how many there are.
fn of_file(path: &str, folder: Option<PathBuf>, source: String, only: &str) -> (usize, Vec<String>) {
    let mut sources = SourceMap::default();
    let entry = sources.add(path, folder, source);
    let (modules, found) = load(entry, &mut sources, &Disk);
    let mut broken: Vec<String> = found.iter().map(|one| text(one, &sources)).collect();
    let mut count = 0;
    for (at, statement) in modules.modules[modules.entry].file.statements.iter().enumerate() {
        let StatementKind::Test { name, .. } = &statement.kind else { continue };
        if !path.contains(only) && !name.text.contains(only) {
            continue;
        }
        count += 1;
        broken.extend(faults(&modules, &sources, at).iter().map(|fault| format!("{path}: {}\n{fault}", name.text)));
    }
    (count, broken)
}

#[test]
fn every_example_of_the_library_holds() {
    let only = std::env::var("SSL_TEST").unwrap_or_default();
    let (mut count, mut broken) = (0, Vec::new());
    for (path, source) in library_files() {
        let (tests, faults) = of_file(&format!("std/{path}"), None, source.to_string(), &only);
        count += tests;
        broken.extend(faults);
    }
    assert!(broken.is_empty(), "{} of {count} examples\n{}", broken.len(), broken.join("\n"));
    assert!(count > 100 || !only.is_empty(), "only {count} examples were found");
}

#[test]
fn values_that_papers_give_hold() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/spec/values");
    let (mut count, mut broken) = (0, Vec::new());
    for entry in std::fs::read_dir(&folder).expect("the folder of values") {
        let path = entry.expect("an entry of the folder").path();
        let source = std::fs::read_to_string(&path).expect("a readable file");
        let (tests, faults) = of_file(&path.display().to_string(), Some(folder.clone()), source, "");
        count += tests;
        broken.extend(faults);
    }
    assert!(broken.is_empty(), "{} of {count} values\n{}", broken.len(), broken.join("\n"));
    assert!(count > 0, "no values were found");
}
