//! The pages of the catalogue: each shows a program that raises its code, and one that raises nothing.
//!
//! In: `docs/errors/`. A block `ssl warns` is taken with just one warning, `ssl fails` is refused by the compiler, `ssl fails when run` by a run, and `ssl fails when
//! run on cuda:0` by a run on that device; each with just the code of its page. A block `ssl works` runs to its end.

mod support;

use std::path::Path;
use std::process::Command;

use candle_core::{Device, Tensor};
use ssl::cli::compile_text;
use ssl::diagnostics::{Code, page};
use ssl::elaborate::Settings;
use ssl::run::{self, RunOptions};
use support::fences::{Fence, fences, read, repository};

/// Codes that no program is known to raise.
const WITHOUT_PROGRAM: [Code; 1] = [Code::Internal];

fn chapter(number: &str) {
    let codes: Vec<Code> = Code::ALL.iter().copied().filter(|code| code.number().starts_with(number)).collect();
    assert!(!codes.is_empty(), "{number} has no codes");
    let faults: Vec<String> = codes.iter().flat_map(|code| faults(*code)).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n\n"));
}

/// What is wrong with a page, each fault with its line.
fn faults(code: Code) -> Vec<String> {
    let text = read(&format!("docs/errors/{}.md", code.number()));
    assert_eq!(page(code), text, "the page that the binary prints");
    let mut faults = Vec::new();
    if text.lines().next() != Some(&format!("# {} {}", code.number(), code.name())) {
        faults.push(format!("{}.md does not begin with its number and name", code.number()));
    }
    let folder = tempfile::tempdir().expect("a folder for the programs");
    files(folder.path());
    let (mut fails, mut works) = (0, 0);
    for fence in fences(&text) {
        let fault = match fence.info.as_str() {
            "ssl fails" => {
                fails += 1;
                raises(code, compiled(&fence, folder.path()))
            }
            "ssl warns" => {
                fails += 1;
                raises(code, warned(&fence, folder.path()))
            }
            "ssl fails when run" => {
                fails += 1;
                raises(code, ran(&fence, folder.path(), "cpu"))
            }
            "ssl fails when run on cuda:0" => {
                fails += 1;
                // With a card the program runs; the page is about machines without one.
                if run::device("cuda:0").is_ok() { None } else { raises(code, ran(&fence, folder.path(), "cuda:0")) }
            }
            "ssl works" => {
                works += 1;
                silent(&fence, folder.path())
            }
            other => Some(format!("a block of unknown kind `{other}`")),
        };
        faults.extend(fault.map(|fault| format!("{}.md:{}: {fault}", code.number(), fence.line)));
    }
    let wanted = if WITHOUT_PROGRAM.contains(&code) { 0 } else { 1 };
    if fails != wanted || works != wanted {
        faults.push(format!("{}.md has {fails} programs that fail and {works} that work", code.number()));
    }
    faults
}

/// Diagnostics as code and headline.
type Raised = Vec<(Code, String)>;

fn raises(code: Code, raised: Raised) -> Option<String> {
    match raised.as_slice() {
        [(only, _)] if *only == code => None,
        [] => Some("the program raises nothing".into()),
        several => {
            let lines: Vec<String> =
                several.iter().map(|(code, text)| format!("  {}: {text}", code.number())).collect();
            Some(format!("the program raises\n{}", lines.join("\n")))
        }
    }
}

fn compile(fence: &Fence, folder: &Path) -> Result<ssl::cli::Compiled, Raised> {
    let name = folder.join("main.ssl").display().to_string();
    let compiled = compile_text(&name, Some(folder.to_path_buf()), fence.text.clone(), Settings::default());
    compiled.map_err(|refused| refused.diagnostics.into_iter().map(|found| (found.code, found.headline)).collect())
}

/// What the compiler remarks about a program that it takes.
fn warned(fence: &Fence, folder: &Path) -> Raised {
    match compile(fence, folder) {
        Ok(compiled) => compiled.warnings.into_iter().map(|found| (found.code, found.headline)).collect(),
        Err(raised) => raised,
    }
}

fn compiled(fence: &Fence, folder: &Path) -> Raised {
    match compile(fence, folder) {
        Ok(compiled) => compiled.warnings.into_iter().map(|found| (found.code, found.headline)).collect(),
        Err(raised) => raised,
    }
}

/// What a run of the program says; the compiler must not object.
fn ran(fence: &Fence, folder: &Path, device: &str) -> Raised {
    let compiled = match compile(fence, folder) {
        Ok(compiled) => compiled,
        Err(raised) => return raised,
    };
    let result = run::device(device).and_then(|device| {
        let options = RunOptions { device, ..RunOptions::default() };
        run::run(&compiled.elaborated.program, &options, &mut |_| {})
    });
    result.err().map(|fault| (fault.code, fault.headline)).into_iter().collect()
}

/// Through the binary, in a folder of its own: `save` writes to the current folder.
fn silent(fence: &Fence, folder: &Path) -> Option<String> {
    let file = folder.join("main.ssl");
    std::fs::write(&file, &fence.text).expect("the program is written");
    let run = Command::new(env!("CARGO_BIN_EXE_ssl"))
        .args(["run", "--quiet", "main.ssl"])
        .current_dir(folder)
        .output()
        .expect("the binary starts");
    let said = String::from_utf8_lossy(&run.stderr);
    if run.status.success() && said.is_empty() { None } else { Some(format!("the program that works says\n{said}")) }
}

/// What the programs of the pages read.
fn files(folder: &Path) {
    let rows = |count: usize| Tensor::arange(0f32, (count * 2) as f32, &Device::Cpu)?.reshape((count, 2));
    for (name, count) in [("three.npy", 3), ("four.npy", 4), ("whole.npy", 6)] {
        rows(count).and_then(|rows: Tensor| rows.write_npy(folder.join(name))).expect("an array is written");
    }
    let whole = std::fs::read(folder.join("whole.npy")).expect("an array is read");
    std::fs::write(folder.join("broken.npy"), &whole[..whole.len() - 5]).expect("half an array is written");
}

#[test]
fn pages_of_syntax_show_their_code() {
    chapter("E01");
}

#[test]
fn pages_of_names_show_their_code() {
    chapter("E02");
}

#[test]
fn pages_of_types_and_sizes_show_their_code() {
    chapter("E03");
}

#[test]
fn pages_of_learning_show_their_code() {
    chapter("E04");
}

#[test]
fn pages_of_files_show_their_code() {
    chapter("E05");
}

#[test]
fn pages_of_runs_show_their_code() {
    chapter("E06");
}

#[test]
fn pages_of_the_compiler_itself_show_their_code() {
    chapter("E07");
    chapter("W08");
    chapter("E09");
}

#[test]
fn every_page_belongs_to_a_code() {
    for entry in std::fs::read_dir(repository("docs/errors")).expect("the folder of pages").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let known = Code::ALL.iter().any(|code| name == format!("{}.md", code.number()));
        assert!(known, "docs/errors/{name} explains no code");
    }
}
