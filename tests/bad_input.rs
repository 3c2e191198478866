//! Bad input: programs that are wrong, what is said about them, and the same programs with the remedy applied.
//!
//! In: `tests/spec/bad/`. `NAME.ssl` has a fault, `NAME.txt` is all that standard error says of it and the exit code,
//! `NAME.fixed.ssl` passes `ssl check`. A first line such as `# run --set epochs=3` is the verb and its flags; without one
//! the verb is `check`. What they import lies in `beside/`, and `files` makes the data that they read.
//! `SSL_UPDATE=1` writes what is said into the `.txt` files: read it before you keep it.

use std::path::{Path, PathBuf};
use std::process::Command;

use candle_core::{Device, Tensor};
use image::{DynamicImage, RgbImage};

mod support;
use support::fences::{matches, repository};

/// How many mistakes a program makes, where that is not one.
const SEVERAL: [(&str, usize); 4] =
    [("syntax_many", 6), ("syntax_unfinished_line", 2), ("five_mistakes", 5), ("five_mistakes_in_import", 5)];

/// The folder in which the programs run: a copy of theirs, with data.
struct Workplace {
    folder: tempfile::TempDir,
}

impl Workplace {
    fn new() -> Workplace {
        let folder = tempfile::tempdir().expect("a folder for the programs");
        copy(&programs(), folder.path());
        files(folder.path());
        Workplace { folder }
    }

    /// Standard error and the exit code of `ssl` on a program.
    fn say(&self, program: &str, verb: &str, flags: &[String]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ssl"));
        command.args(["--color", "never", verb, program]).args(flags).current_dir(self.folder.path());
        if verb == "run" {
            command.arg("--quiet");
        }
        let output = command.output().expect("the binary starts");
        let said = String::from_utf8(output.stderr).expect("what is said is text");
        let code = output.status.code().map_or("killed by a signal".into(), |code| format!("exit code {code}"));
        format!("{said}{code}\n")
    }
}

fn programs() -> PathBuf {
    repository("tests/spec/bad")
}

/// Every program with a fault, by its name.
fn names() -> Vec<String> {
    let entries = std::fs::read_dir(programs()).expect("the folder of programs").flatten();
    let files = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = files
        .filter_map(|file| Some(file.strip_suffix(".ssl")?.to_owned()))
        .filter(|name| !name.contains('.'))
        .collect();
    names.sort();
    names
}

/// The verb and flags in the first line of a program.
fn command(program: &str) -> (String, Vec<String>) {
    // Not every program is text.
    let bytes = std::fs::read(programs().join(program)).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let words = text.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap_or_default();
    let mut words = words.split_whitespace().map(str::to_owned);
    match words.next() {
        Some(verb) if ["check", "run", "plan", "graph", "fmt"].contains(&verb.as_str()) => (verb, words.collect()),
        _ => ("check".into(), Vec::new()),
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder is made");
    for entry in std::fs::read_dir(from).expect("a folder is read").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a file is copied");
        }
    }
}

/// The data of the programs, whole and damaged.
fn files(folder: &Path) {
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("a folder is made");
        std::fs::write(path, bytes).expect("a file is written");
    };
    let read = |name: &str| std::fs::read(folder.join(name)).expect("a file is read");
    let rows = |count: usize, size: usize| {
        Tensor::arange(0f32, (count * size) as f32, &Device::Cpu)
            .and_then(|all| all.reshape((count, size)))
            .expect("rows")
    };
    for (name, count) in [("rows.npy", 6), ("three.npy", 3)] {
        rows(count, 2).write_npy(folder.join(name)).expect("an array is written");
    }
    let named = |name: &str, tensors: Vec<(&str, Tensor)>| {
        let tensors = tensors.into_iter().collect();
        candle_core::safetensors::save(&tensors, folder.join(name)).expect("tensors are written");
    };
    named("rows.safetensors", vec![("x", rows(6, 2))]);
    let bias = rows(1, 3).squeeze(0).expect("one row");
    named("linear.safetensors", vec![("weight", rows(3, 4)), ("bias", bias.clone())]);
    named("wide.safetensors", vec![("weight", rows(3, 7)), ("bias", bias.clone())]);
    let broken = Tensor::new(&[[1f32, 2., 3., f32::NAN]], &Device::Cpu).and_then(|row| row.repeat((3, 1)));
    named("nan.safetensors", vec![("weight", broken.expect("a row")), ("bias", bias)]);

    let table = |odd: &str| {
        let rows = (0..20).map(|row| {
            let weight = if row == 13 { odd.to_string() } else { format!("{row}.5") };
            format!("{row},{weight},{}\n", if row % 2 == 0 { "cat" } else { "dog" })
        });
        format!("size,weight,kind\n{}", rows.collect::<String>())
    };
    write("table.csv", table("13.5").as_bytes());
    write("words.csv", table("13.S").as_bytes());
    write("ragged.csv", b"size,weight,kind\n1,2.5,cat\n2,dog\n");
    write("empty.csv", b"");
    write("empty.npy", b"");

    let idx = |shape: &[u32], body: &[u8]| {
        let sizes = shape.iter().flat_map(|size| size.to_be_bytes());
        [0, 0, 8, shape.len() as u8].into_iter().chain(sizes).chain(body.iter().copied()).collect::<Vec<u8>>()
    };
    write("images.idx", &idx(&[4, 3, 3], &[7; 36]));
    write("labels.idx", &idx(&[4], &[0, 1, 0, 1]));
    write("labels_short.idx", &idx(&[3], &[0, 1, 0]));
    write("truncated.idx", &idx(&[4, 3, 3], &[7; 20]));
    write("cifar/train.bin", &[0; 3073 * 2]);
    write("cifar/test.bin", &[0; 3073]);
    write("cifar_truncated/train.bin", &[0; 3073 + 500]);
    write("cifar_truncated/test.bin", &[0; 3073]);

    let picture =
        DynamicImage::ImageRgb8(RgbImage::from_fn(6, 5, |x, y| image::Rgb([(x * 40) as u8, (y * 50) as u8, 90])));
    let mut png = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut png, image::ImageFormat::Png).expect("a picture is written");
    let png = png.into_inner();
    for (folder, last) in [("pictures", png.len()), ("pictures_broken", png.len() - 30)] {
        write(&format!("{folder}/a/first.png"), &png);
        write(&format!("{folder}/b/second.png"), &png[..last]);
    }
    std::fs::create_dir_all(folder.join("nothing")).expect("a folder is made");

    for (whole, half) in [("rows.npy", "truncated.npy"), ("rows.safetensors", "truncated.safetensors")] {
        let bytes = read(whole);
        write(half, &bytes[..bytes.len() - 5]);
    }
    write("junk.safetensors", b"these are words, not tensors, and they go on for a while");
    write("beside/not_text.ssl", b"let x = 1\nlet y = \"\xff\xfe\"\n");
    write("beside/words.yaml", b"only words\n");
}

#[test]
fn each_fault_is_said_in_the_words_written_down_for_it() {
    let place = Workplace::new();
    let update = std::env::var_os("SSL_UPDATE").is_some();
    let mut wrong = Vec::new();
    for name in names() {
        let (verb, flags) = command(&format!("{name}.ssl"));
        let said = place.say(&format!("{name}.ssl"), &verb, &flags);
        let path = programs().join(format!("{name}.txt"));
        let wanted = std::fs::read_to_string(&path).unwrap_or_default();
        if matches(&wanted, &said) && !wanted.is_empty() {
            continue;
        }
        if update {
            std::fs::write(path, &said).expect("what is said is kept");
        }
        wrong.push(format!("{name}.ssl says\n{said}instead of\n{wanted}"));
    }
    assert!(update || wrong.is_empty(), "\n{}", wrong.join("\n\n"));
}

#[test]
fn each_fault_is_reported_once_and_with_a_remedy() {
    let mut wrong = Vec::new();
    for name in names() {
        let said = std::fs::read_to_string(programs().join(format!("{name}.txt"))).unwrap_or_default();
        let starts = |mark: &str| said.lines().filter(|line| line.starts_with(mark)).count();
        let wanted = SEVERAL.iter().find(|(several, _)| *several == name).map_or(1, |(_, count)| *count);
        if starts("error[") != wanted {
            wrong.push(format!("{name}.txt has {} errors, the program makes {wanted} mistakes", starts("error[")));
        }
        // A lint may have seen it coming.
        if starts("   help: ") != wanted + starts("warning[") {
            wrong.push(format!("{name}.txt has {} remedies for {wanted} mistakes", starts("   help: ")));
        }
        if !said.ends_with("exit code 1\n") && !said.ends_with("exit code 2\n") {
            wrong.push(format!("{name}.txt ends with neither exit code 1 nor 2"));
        }
        if said.contains("error[E0901]") {
            wrong.push(format!("{name}.txt blames the compiler"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn each_program_passes_with_the_remedy_applied() {
    let place = Workplace::new();
    let mut wrong = Vec::new();
    for name in names() {
        let program = format!("{name}.fixed.ssl");
        if !programs().join(&program).exists() {
            wrong.push(format!("there is no {program}"));
            continue;
        }
        let (verb, flags) = command(&program);
        let said = place.say(&program, &verb, &flags);
        if said != "exit code 0\n" {
            wrong.push(format!("{program} says\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n\n"));
}

#[test]
fn nothing_is_left_of_a_program_that_is_gone() {
    let names = names();
    for entry in std::fs::read_dir(programs()).expect("the folder of programs").flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        let of = file.strip_suffix(".txt").or_else(|| file.strip_suffix(".fixed.ssl")).unwrap_or(&file);
        let known = entry.path().is_dir() || file.ends_with(".fixed.ssl") || file.ends_with(".txt");
        let kept = !known || entry.path().is_dir() || names.iter().any(|name| name == of);
        assert!(kept, "tests/spec/bad/{file} belongs to no program");
    }
}
