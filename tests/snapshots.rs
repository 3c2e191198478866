//! How compiled programs are printed: small programs that each show one idea, at every stage, and the training steps of
//! the pipelines.
//!
//! The text is meant to be read: what a change here shows is what a person sees in `ssl graph`.

use std::path::{Path, PathBuf};
use std::process::Command;

use ssl::cli::{Inputs, compile};
use ssl::graph::print::print;
use ssl::passes::{PASSES, compile_with};
use ssl::program::{Program, Statement, Step};

/// What `ssl graph` prints of one stage.
fn graph(path: &Path, stage: &str, level: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ssl"));
    let output = command.arg("graph").arg(path).args(["--stage", stage, "--level", level]).output();
    let output = output.expect("the binary starts");
    assert!(output.status.success(), "{}\n{}", path.display(), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("a graph is text")
}

fn program(path: &Path) -> Program {
    let inputs = Inputs { file: path.to_owned(), ..Inputs::default() };
    compile(&inputs)
        .unwrap_or_else(|refused| panic!("{}: {:#?}", path.display(), refused.diagnostics))
        .elaborated
        .program
}

/// The step of the only `train` or `pass`, or of the first.
fn looped(program: &Program) -> &Step {
    let found = program.body.iter().find_map(|statement| match statement {
        Statement::Loop(looped) => Some(&looped.call.step),
        _ => None,
    });
    found.expect("a `train` or a `pass`")
}

/// The step with its gradients written out, and nothing else done to it.
fn with_gradients(step: &Step) -> String {
    let upto = PASSES.iter().position(|pass| pass.name == "gradient").expect("a pass that writes gradients");
    print(&compile_with(step, &PASSES[..=upto]).unwrap_or_else(|fault| panic!("{fault}")))
}

/// Compares with `snapshots/NAME.snap`.
fn compare(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

fn folder(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn programs(path: &str) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(folder(path)).expect("a folder of programs");
    let mut found: Vec<(String, PathBuf)> = entries
        .map(|entry| entry.expect("an entry").path())
        .map(|path| (path.file_stem().expect("a name").to_string_lossy().into_owned(), path))
        .collect();
    found.sort();
    found
}

#[test]
fn every_stage_of_a_teaching_program() {
    let programs = programs("tests/spec/teaching");
    assert!(programs.len() >= 12, "only {} programs", programs.len());
    for (name, path) in programs {
        let text = std::fs::read_to_string(&path).expect("a program");
        let program = program(&path);
        let step = looped(&program);
        let stages = [
            ("the program", text),
            ("the step as written", graph(&path, &step.name, "step")),
            ("with its gradients", with_gradients(step)),
            ("after the passes", graph(&path, &step.name, "grad")),
            ("the plan", graph(&path, &step.name, "plan")),
        ];
        let text: Vec<String> = stages.iter().map(|(head, text)| format!("# {head}\n\n{text}")).collect();
        compare(&name, &text.join("\n"));
    }
}

#[test]
fn the_training_step_of_a_pipeline() {
    let programs = programs("pipelines");
    assert!(programs.len() >= 5, "only {} pipelines", programs.len());
    for (name, path) in programs {
        let stage = looped(&program(&path)).name.clone();
        compare(&format!("pipeline_{name}"), &graph(&path, &stage, "grad"));
    }
}
