//! A run depends on the program, its settings and the seed, and on nothing else: weights and everything logged are the same
//! bits for one thread and for two, and in a second run.
//!
//! Threads are a matter of the whole process, so each run is one of the binary.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a run leaves: files by name with their bytes, and its report.
struct Left {
    files: BTreeMap<String, Vec<u8>>,
    /// Losses and reports without what was timed.
    said: Vec<String>,
}

/// A program in a folder of its own.
struct Subject {
    name: &'static str,
    folder: tempfile::TempDir,
    file: PathBuf,
    settings: &'static [&'static str],
}

impl Subject {
    fn new(name: &'static str, text: &str, settings: &'static [&'static str]) -> Subject {
        let folder = tempfile::tempdir().expect("a folder for runs");
        let file = folder.path().join(format!("{name}.ssl"));
        std::fs::write(&file, text).expect("a program is written");
        Subject { name, folder, file, settings }
    }

    /// A pipeline with a few epochs of a part of its data; what it asserts takes more.
    fn pipeline(name: &'static str) -> Subject {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("pipelines/{name}.ssl"));
        let text = std::fs::read_to_string(path).expect("a pipeline");
        let whole = "data digits = mnist(size: 14)";
        assert!(text.contains(whole), "{name} reads other data than it did");
        let text = text.replace(whole, &format!("{whole}.take(150)"));
        let (upto, _) = text.split_once("\nassert").expect("an assert at the end");
        Subject::new(name, &upto.replace("labels_per_class: 10", "labels_per_class: 3"), &["epochs=2", "batch=33"])
    }

    fn run(&self, run: &str, threads: usize, seed: u64) -> Left {
        let out = self.folder.path().join(run);
        let mut command = Command::new(env!("CARGO_BIN_EXE_ssl"));
        command.arg("run").arg(&self.file).arg("--quiet").arg("--out").arg(&out);
        command.args(["--threads", &threads.to_string(), "--seed", &seed.to_string()]);
        for setting in self.settings {
            command.args(["--set", setting]);
        }
        let output = command.output().expect("the binary starts");
        assert!(output.status.success(), "{}: {}", self.name, String::from_utf8_lossy(&output.stderr));
        let out = out.join(self.name);
        let mut files = BTreeMap::new();
        gather(&out.join("checkpoints"), &out, &mut files);
        gather(&out.join("graph"), &out, &mut files);
        Left { files, said: said(&out.join("events.jsonl")) }
    }

    /// Two threads against one, the same again, and another seed.
    fn holds(&self) {
        let one = self.run("one", 1, 3);
        assert!(one.files.keys().any(|name| name.ends_with("weights.safetensors")), "{} keeps weights", self.name);
        assert!(one.said.iter().any(|line| line.contains("loss")), "{} says a loss", self.name);
        let two = self.run("two", 2, 3);
        self.same(&one, &two, "one thread and two");
        let again = self.run("again", 2, 3);
        self.same(&two, &again, "a run and another");
        let other = self.run("other", 2, 4);
        for (name, bytes) in one.files.iter().filter(|(name, _)| name.ends_with("weights.safetensors")) {
            assert!(other.files[name] != *bytes, "{}: {name} does not depend on the seed", self.name);
        }
        assert!(one.said != other.said, "{}: another seed says the same", self.name);
    }

    fn same(&self, a: &Left, b: &Left, what: &str) {
        let names: Vec<&String> = a.files.keys().collect();
        assert_eq!(names, b.files.keys().collect::<Vec<_>>(), "{}: {what} leave other files", self.name);
        for (name, bytes) in &a.files {
            assert!(b.files[name] == *bytes, "{}: {name} differs between {what}", self.name);
        }
        for (one, other) in a.said.iter().zip(&b.said) {
            assert_eq!(one, other, "{}: {what} say something else", self.name);
        }
        assert_eq!(a.said.len(), b.said.len(), "{}: {what} say more or less", self.name);
    }
}

/// Every file below a folder, named from `root`.
fn gather(folder: &Path, root: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the run") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            gather(&path, root, files);
        } else {
            let name = path.strip_prefix(root).expect("a file of the run").display().to_string();
            files.insert(name, std::fs::read(&path).expect("a file"));
        }
    }
}

/// What the journal holds of the run's own numbers: logs and reports, without the seconds at which they were written.
fn said(events: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(events).expect("a journal");
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON"));
    let said = lines.filter_map(|mut event: serde_json::Value| {
        let told = matches!(event["event"].as_str(), Some("logged" | "reported"));
        event.as_object_mut().expect("an event has fields").shift_remove("at").expect("an event has a time");
        told.then(|| event.to_string())
    });
    said.collect()
}

#[test]
fn barlow_twins() {
    Subject::pipeline("barlow_twins").holds();
}

#[test]
fn byol() {
    Subject::pipeline("byol").holds();
}

#[test]
fn simclr() {
    Subject::pipeline("simclr").holds();
}

#[test]
fn supervised() {
    Subject::pipeline("supervised").holds();
}

#[test]
fn vicreg() {
    Subject::pipeline("vicreg").holds();
}

/// Ten steps with views and dropout, of batches that two does not divide.
fn ten_steps(name: &'static str, net: &str, optimiser: &str) -> Subject {
    let text = format!(
        "use std.net.{{linear, dropout}}
use std.net.{name}.{name}
use std.view.{{crop, maybe, noise}}
use std.loss.cross_entropy
use std.optim.{{adamw, sgd}}
data digits = mnist()
view weak = crop(12, area: 0.5..1.0) |> maybe(0.5, noise(0.1))
net body = {net}
net head = linear(10)
net drop = dropout(0.2)
train fit(steps: 10) for {{ image, label }} in digits.train.batches(7) {{
  minimize cross_entropy(head(drop(body(weak(image)))), label) using {optimiser}
}}
"
    );
    Subject::new(name, &text, &[])
}

// One of many weights keeps no memory of them: most of its time would be that of writing it.
#[test]
fn resnet18() {
    ten_steps("resnet18", "resnet18(stem: \"cifar\")", "sgd(0.01)").holds();
}

#[test]
fn vit_tiny() {
    ten_steps("vit_tiny", "vit_tiny(patch: 4)", "adamw(1e-3, weight_decay: 0.05)").holds();
}
