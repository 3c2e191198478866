//! Each lint fires on its faulty programs and on nothing else.
//!
//! In: `tests/spec/lints/CODE/`, programs `fault_*.ssl`, which are warned of by just that code, and `good_*.ssl`, which look
//! alike and are not. Some of both were written from the lint's page alone. The pipelines are warned of by nothing.

mod support;

use std::path::{Path, PathBuf};

use ssl::cli::compile_text;
use ssl::diagnostics::Code;
use ssl::elaborate::Settings;
use support::fences::repository;

fn programs(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "ssl"));
    files.sort();
    files
}

/// The numbers of all warnings of a program, or what refused it.
fn warnings(path: &Path) -> Result<Vec<&'static str>, String> {
    let text = std::fs::read_to_string(path).expect("a program is read");
    let name = path.display().to_string();
    match compile_text(&name, path.parent().map(Path::to_path_buf), text, Settings::default()) {
        Ok(compiled) => Ok(compiled.warnings.iter().map(|warning| warning.code.number()).collect()),
        Err(refused) => Err(refused.diagnostics.iter().map(|fault| format!("{}; ", fault.headline)).collect()),
    }
}

#[test]
fn each_lint_fires_on_its_faults_and_on_nothing_alike() {
    let lints = Code::ALL.iter().map(|code| code.number()).filter(|number| number.starts_with('W'));
    let mut wrong = Vec::new();
    for lint in lints {
        let files = programs(&repository("tests/spec/lints").join(lint));
        let (mut faults, mut good) = (0, 0);
        for path in files {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let wanted: Vec<&str> = if name.starts_with("fault") { vec![lint] } else { Vec::new() };
            *(if name.starts_with("fault") { &mut faults } else { &mut good }) += 1;
            match warnings(&path) {
                // A program may have the fault at two places.
                Ok(found) if found.iter().all(|code| wanted == [*code]) && found.is_empty() == wanted.is_empty() => {}
                Ok(found) => wrong.push(format!("{lint}/{name} is warned of by {found:?}, not {wanted:?}")),
                Err(why) => wrong.push(format!("{lint}/{name} is refused: {why}")),
            }
        }
        if faults < 3 || good < 3 {
            wrong.push(format!("{lint} has {faults} faulty and {good} good programs, three of each are needed"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_pipelines_and_the_teaching_programs_are_warned_of_by_nothing() {
    for folder in ["pipelines", "tests/spec/teaching"] {
        for path in programs(&repository(folder)) {
            assert_eq!(warnings(&path), Ok(Vec::new()), "{}", path.display());
        }
    }
}
