//! What a second thread is worth in the main job of the README: 20 steps with one and with two, by turns.
//!
//! `cargo bench --bench threads`. Each run is one of the binary, since threads are a matter of the process; the best of
//! each counts.

use std::path::Path;
use std::process::Command;

const STEPS: usize = 20;
const ROUNDS: usize = 3;
/// Two threads do at least so many times the steps of one.
const LIMIT: f64 = 1.5;

/// Seconds that the training took, and of these those that it waited for data.
fn run(file: &Path, out: &Path, threads: usize) -> (f64, f64) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ssl"));
    command.arg("run").arg(file).args(["--message-format", "json", "--threads", &threads.to_string()]);
    let output = command.arg("--out").arg(out).output().expect("the binary starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("events are text");
    let events = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("an event"));
    let ended = events.into_iter().find(|event| event["event"] == "stage_ended").expect("a training that ends");
    (ended["seconds"].as_f64().expect("a time"), ended["waited"].as_f64().expect("a time"))
}

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipeline = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/barlow_twins.ssl");
    let text = std::fs::read_to_string(pipeline).expect("a pipeline");
    let (training, _) = text.split_once("net untrained").expect("an evaluation after the training");
    let text = training.replace("(epochs: epochs)", &format!("(steps: {STEPS})"));
    assert_ne!(text, training, "the training has other options than it had");
    let file = folder.path().join("main_job.ssl");
    std::fs::write(&file, text).expect("a program is written");

    let mut best = [f64::INFINITY; 2];
    for _ in 0..ROUNDS {
        for threads in [1, 2] {
            let (seconds, waited) = run(&file, &folder.path().join("runs"), threads);
            println!(
                "{threads} threads: {:>6.1} ms a step, {:>5.1} ms of it waiting for data",
                seconds * 1e3 / STEPS as f64,
                waited * 1e3 / STEPS as f64
            );
            best[threads - 1] = best[threads - 1].min(seconds);
        }
    }
    let ratio = best[0] / best[1];
    let said = if ratio >= LIMIT { "holds" } else { "IS MISSED" };
    println!("two threads do {ratio:.2} times the steps of one; the limit of {LIMIT} {said}");
}
