//! What the documents say is what the command does.
//!
//! In: `README.md`, `docs/language.md` and the other pages. Their programs are compiled and run, their transcripts compared,
//! their links followed. The transcript of the main job takes minutes; `.ci/run` times it apart.

mod support;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ssl::cli::compile_text;
use ssl::diagnostics::Code;
use ssl::elaborate::Settings;
use ssl::run::{self, RunOptions};
use support::fences::{Fence, fences, matches, read, repository};

/// Runs a program of a page; what it says if it does not end well.
fn fault(fence: &Fence, run_it: bool) -> Option<String> {
    let compiled = match compile_text("page.ssl", Some(repository("docs")), fence.text.clone(), Settings::default()) {
        Ok(compiled) => compiled,
        Err(refused) => {
            let lines = refused.diagnostics.iter().map(|found| {
                let place = found.labels.first().map(|label| refused.sources.place(label.span).0);
                format!("  {} at line {} of the block: {}", found.code.number(), place.unwrap_or(0), found.headline)
            });
            return Some(lines.collect::<Vec<_>>().join("\n"));
        }
    };
    if let Some(warning) = compiled.warnings.first() {
        return Some(format!("  {}: {}", warning.code.number(), warning.headline));
    }
    if !run_it {
        return None;
    }
    let outcome = run::run(&compiled.elaborated.program, &RunOptions::default(), &mut |_| {});
    outcome.err().map(|fault| {
        let place = fault.labels.first().map(|label| compiled.sources.place(label.span).0);
        format!("  {} at line {} of the block: {}", fault.code.number(), place.unwrap_or(0), fault.headline)
    })
}

/// The code of a program that a page shows as wrong.
fn raises(fence: &Fence, number: &str) -> Option<String> {
    let code = Code::ALL.iter().find(|code| code.number() == number)?;
    match compile_text("page.ssl", Some(repository("docs")), fence.text.clone(), Settings::default()) {
        Ok(_) => Some(format!("  raises nothing, {number} is promised")),
        Err(refused) => {
            let found: Vec<Code> = refused.diagnostics.iter().map(|found| found.code).collect();
            (found != [*code]).then(|| format!("  raises {found:?}, {number} is promised"))
        }
    }
}

/// Blocks `ssl` are run, `ssl compiled` only compiled, `ssl fails E0301` refused with that code.
fn programs(page: &str) {
    let mut faults = Vec::new();
    let mut seen = 0;
    for fence in fences(&read(page)) {
        let words: Vec<&str> = fence.info.split(' ').collect();
        let fault = match words.as_slice() {
            ["ssl"] => fault(&fence, true),
            ["ssl", "compiled"] => fault(&fence, false),
            ["ssl", "fails", number] => raises(&fence, number),
            ["ssl", ..] => Some(format!("  a block of unknown kind `{}`", fence.info)),
            _ => continue,
        };
        seen += 1;
        faults.extend(fault.map(|fault| format!("{page}:{}\n{fault}", fence.line)));
    }
    assert!(seen > 0, "{page} shows no program");
    assert!(faults.is_empty(), "\n{}", faults.join("\n\n"));
}

#[test]
fn programs_of_the_language_page_run() {
    programs("docs/language.md");
}

#[test]
fn programs_of_the_readme_compile() {
    programs("README.md");
}

#[test]
fn the_excerpt_of_the_architecture_page_is_in_the_pipeline() {
    let page = fences(&read("docs/architecture.md"));
    let excerpt = page.iter().find(|fence| fence.info == "text").expect("the page follows a pipeline");
    assert!(read("pipelines/byol.ssl").contains(&excerpt.text), "pipelines/byol.ssl no longer holds\n{}", excerpt.text);
}

#[test]
fn programs_of_the_guide_to_contributing_compile() {
    programs("CONTRIBUTING.md");
}

#[test]
fn the_pipeline_of_the_readme_is_the_file() {
    let page = fences(&read("README.md"));
    let shown = page.iter().find(|fence| fence.info == "ssl compiled").expect("the README shows a pipeline");
    assert_eq!(shown.text, read("pipelines/barlow_twins.ssl"));
}

#[test]
fn the_table_of_pipelines_names_each() {
    let page = read("README.md");
    for entry in std::fs::read_dir(repository("pipelines")).expect("the folder of pipelines").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".ssl") {
            assert!(page.contains(&format!("(pipelines/{name})")), "the README does not name pipelines/{name}");
        }
    }
}

#[test]
fn links_lead_to_files() {
    for page in ["README.md", "CONTRIBUTING.md", "docs/language.md", "docs/architecture.md"] {
        let text = read(page);
        let folder = Path::new(page).parent().unwrap_or(Path::new(""));
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty() && !file.starts_with("http") {
                assert!(
                    repository("").join(folder).join(file).exists(),
                    "{page} links to {target}, which is not there"
                );
            }
        }
    }
}

#[test]
fn transcripts_of_the_readme_are_current() {
    let page = fences(&read("README.md"));
    let quick: Vec<&Fence> = page.iter().filter(|fence| fence.info == "console").collect();
    assert!(!quick.is_empty(), "the README has transcripts");
    let workplace = Workplace::new();
    for fence in quick {
        workplace.play(fence, "README.md");
    }
}

#[test]
fn the_main_job_prints_what_the_readme_shows() {
    let page = fences(&read("README.md"));
    let long: Vec<&Fence> = page.iter().filter(|fence| fence.info == "console long").collect();
    assert!(!long.is_empty(), "the README shows the main job");
    let workplace = Workplace::new();
    for fence in long {
        workplace.play(fence, "README.md");
    }
}

/// A folder as a reader has it after cloning: pipelines, and some pictures of their own.
struct Workplace {
    folder: tempfile::TempDir,
}

impl Workplace {
    fn new() -> Workplace {
        let folder = tempfile::tempdir().expect("a folder to work in");
        std::fs::create_dir(folder.path().join("pipelines")).expect("a folder for pipelines");
        for entry in std::fs::read_dir(repository("pipelines")).expect("the folder of pipelines").flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "ssl") {
                let to = folder.path().join("pipelines").join(entry.file_name());
                std::fs::copy(entry.path(), to).expect("a pipeline is copied");
            }
        }
        pictures(&folder.path().join("photos"));
        Workplace { folder }
    }

    /// Types the lines after `$ ` and compares what is printed between them.
    fn play(&self, fence: &Fence, page: &str) {
        let mut blocks: Vec<(String, String)> = Vec::new();
        for line in fence.text.lines() {
            match (line.strip_prefix("$ "), blocks.last_mut()) {
                (Some(command), _) => blocks.push((command.into(), String::new())),
                (None, Some((command, shown))) if shown.is_empty() && command.ends_with('\\') => {
                    command.pop();
                    command.push_str(line.trim_start());
                }
                (None, Some((_, shown))) => {
                    shown.push_str(line);
                    shown.push('\n');
                }
                (None, None) => panic!("{page}:{}: a transcript begins with a command", fence.line),
            }
        }
        for (command, shown) in blocks {
            let printed = self.type_in(&command);
            assert!(
                matches(&shown, &printed),
                "{page}:{}: `{command}` is shown to print\n{shown}\nand prints\n{printed}",
                fence.line
            );
        }
    }

    /// Standard output and error as they come; each line is passed on, so that long jobs can be watched.
    fn type_in(&self, command: &str) -> String {
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_ssl"));
        let beside = binary.parent().map(|folder| folder.display().to_string()).unwrap_or_default();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(format!("exec 2>&1; {command}"))
            .env("PATH", format!("{beside}:{path}"))
            .current_dir(self.folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell starts");
        let mut printed = String::new();
        for line in BufReader::new(child.stdout.take().expect("its output is read")).lines() {
            let line = line.expect("output is text");
            println!("{line}");
            printed.push_str(&line);
            printed.push('\n');
        }
        let status = child.wait().expect("the command ends");
        assert!(status.success(), "`{command}` ends with {status}\n{printed}");
        printed
    }
}

/// Three small pictures of different sizes.
fn pictures(folder: &Path) {
    std::fs::create_dir(folder).expect("a folder for pictures");
    for (at, (width, height)) in [(20, 20), (28, 21), (16, 30)].into_iter().enumerate() {
        let picture = image::GrayImage::from_fn(width, height, |x, y| {
            image::Luma([if x.abs_diff(width / 2) < 3 && y > 2 && y + 3 < height { 255 } else { (at * 10) as u8 }])
        });
        picture.save(folder.join(format!("{at}.png"))).expect("a picture is written");
    }
}
