//! Every `test` block of the library, elaborated and run as `ssl test` does.

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

#[test]
fn every_example_of_the_library_holds() {
    let only = std::env::var("SSL_TEST").unwrap_or_default();
    let (mut count, mut broken) = (0, Vec::new());
    for (path, source) in library_files() {
        let mut sources = SourceMap::default();
        let entry = sources.add(format!("std/{path}"), None, source);
        let (modules, found) = load(entry, &mut sources, &Disk);
        broken.extend(found.iter().map(|one| text(one, &sources)));
        let statements = &modules.modules[modules.entry].file.statements;
        for (at, statement) in statements.iter().enumerate() {
            let StatementKind::Test { name, .. } = &statement.kind else { continue };
            if !path.contains(&only) && !name.text.contains(&only) {
                continue;
            }
            count += 1;
            for fault in faults(&modules, &sources, at) {
                broken.push(format!("{path}: {}\n{fault}", name.text));
            }
        }
    }
    assert!(broken.is_empty(), "{} of {count} examples\n{}", broken.len(), broken.join("\n"));
    assert!(count > 100 || !only.is_empty(), "only {count} examples were found");
}
