//! Small programs from text to trained weights.

use std::path::Path;

use candle_core::Tensor;

use super::*;
use crate::cli::{Compiled, compile_text};
use crate::elaborate::{Outcome as Last, Settings};
use crate::events::Event;
use crate::kernels::par;

/// A linear classifier of the built-in digits. 1,437 images in batches of 100 leave a short batch of 37.
const READOUT: &str = "
use std.net.linear
use std.optim.sgd
data digits = digits()
net readout = linear(10)
train fit(epochs: 2) for { image, label } in digits.train.batches(100) {
  let e: [len(image), 64] ~ normal(0, 0.1)
  let scores = readout(reshape(image, [len(image), 64]) + e)
  minimize mean((scores - one_hot(label, 10))^2) using sgd(lr: 0.1, momentum: 0.9)
}
";

fn compiled(text: &str) -> Compiled {
    match compile_text("readout.ssl", None, text.to_owned(), Settings::default()) {
        Ok(compiled) => compiled,
        Err(refused) => panic!("{:#?}", refused.diagnostics),
    }
}

fn run_text(text: &str, options: &RunOptions) -> (Result<Outcome, Box<Diagnostic>>, Vec<Event>, Compiled) {
    let compiled = compiled(text);
    let mut events = Vec::new();
    let outcome = run(&compiled.elaborated.program, options, &mut |event| events.push(event));
    (outcome, events, compiled)
}

/// Every slot's bits, in order of path.
fn weights(outcome: &Outcome, compiled: &Compiled) -> Vec<(String, Vec<u64>)> {
    let mut all: Vec<(String, Vec<u64>)> = outcome
        .store
        .alive(&compiled.elaborated.program)
        .map(|(_, path, _, tensor)| (path.to_owned(), bits(tensor)))
        .collect();
    all.sort();
    all
}

fn bits(tensor: &Tensor) -> Vec<u64> {
    store::numbers(tensor).unwrap().into_iter().map(f64::to_bits).collect()
}

/// The numbers of the last expression.
fn last(outcome: &Outcome, compiled: &Compiled) -> Vec<f64> {
    match &compiled.elaborated.outcome {
        Last::Tensor(flow) => store::numbers(outcome.values[flow.0 as usize].as_ref().unwrap()).unwrap(),
        other => panic!("{other:?} is no tensor"),
    }
}

fn options(seed: u64) -> RunOptions {
    RunOptions { seed, ..RunOptions::default() }
}

#[test]
fn same_seed_same_bits_for_any_number_of_threads() {
    let trained = |threads: usize, seed: u64| {
        par::with_threads(threads, || {
            let (outcome, _, compiled) = run_text(READOUT, &options(seed));
            weights(&outcome.unwrap(), &compiled)
        })
    };
    let one = trained(1, 3);
    assert!(one.iter().any(|(path, _)| path == "readout.weight"), "{:?}", one.iter().map(|w| &w.0).collect::<Vec<_>>());
    assert_eq!(one, trained(1, 3));
    assert_eq!(one, trained(2, 3));
    assert_eq!(one, trained(5, 3));
    assert_ne!(one, trained(1, 4));
}

#[test]
fn training_drops_a_short_batch_and_a_pass_keeps_it() {
    let text = format!(
        "{READOUT}
        pass seen for {{ image, label }} in digits.train.batches(100) {{
          let x = reshape(image, [len(image), 64])
          measure rows = sum(ones(len(image)))
          measure total = mean(sum(x, axis: 1))
          measure most = max(x[:, 20])
          collect sums = sum(x, axis: 1)
        }}
        [seen.rows, seen.total, seen.most, mean(seen.sums), len(seen.sums)]"
    );
    let (outcome, events, compiled) = run_text(&text, &options(0));
    let steps: Vec<(u64, u64)> = events
        .iter()
        .filter_map(|event| match event {
            Event::StageEnded { steps, rows, .. } => Some((*steps, *rows)),
            _ => None,
        })
        .collect();
    assert_eq!(steps, [(28, 2800), (15, 1437)]);
    let outcome = outcome.unwrap();
    let numbers: Vec<f64> = match &compiled.elaborated.outcome {
        Last::List(items) => items
            .iter()
            .map(|item| match item {
                Last::Tensor(flow) => store::numbers(outcome.values[flow.0 as usize].as_ref().unwrap()).unwrap()[0],
                Last::Text(text) => text.parse().unwrap(),
                other => panic!("{other:?}"),
            })
            .collect(),
        _ => last(&outcome, &compiled),
    };
    // The mean over all records, whatever the batches, is that of the collected rows.
    assert_eq!(numbers[0], 1437.0);
    assert!((numbers[1] - numbers[3]).abs() < 1e-5 * numbers[3], "{numbers:?}");
    assert_eq!(numbers[2], 1.0);
    assert_eq!(numbers[4], 1437.0);
}

#[test]
fn measures_do_not_depend_on_the_batch() {
    let value = |batch: usize| {
        let text = format!(
            "data digits = digits()
            pass seen for {{ image }} in digits.test.batches({batch}) {{
              let x = image[:, 0, 3, 4]
              measure spread = sqrt(mean(x^2) - mean(x)^2)
            }}
            seen.spread"
        );
        let (outcome, _, compiled) = run_text(&text, &options(0));
        last(&outcome.unwrap(), &compiled)[0]
    };
    let whole = value(360);
    for batch in [1, 7, 100, 359] {
        assert!((value(batch) - whole).abs() < 2e-6, "{batch}: {} {whole}", value(batch));
    }
}

#[test]
fn what_is_not_finite_is_traced_to_its_op() {
    let text = "
use std.net.linear
use std.optim.sgd
data digits = digits()
net readout = linear(10)
train fit(steps: 3) for { image, label } in digits.train.batches(16) {
  let scores = readout(reshape(image, [len(image), 64]))
  let spread = scores - scores
  minimize mean(2 * log(spread)) using sgd(0.1)
}";
    let (outcome, _, compiled) = run_text(text, &options(0));
    let fault = outcome.err().unwrap();
    assert_eq!(fault.code, Code::NotFinite);
    assert_eq!(fault.headline, "`log` gave infinity in step 0 of `fit`");
    let label = &fault.labels[0];
    assert_eq!(compiled.sources.place(label.span).0, 9, "{label:?}");
    assert!(label.text.contains("f32[16, 10], all 0"), "{}", label.text);
}

#[test]
fn a_weight_that_is_not_finite_is_not_committed() {
    let text = "
use std.optim.sgd
weight w: [2] = 1.0
train fit(steps: 3) { minimize sum(w) / 1e-30 using sgd(1e30) }";
    let (outcome, events, _) = run_text(text, &options(0));
    assert_eq!(outcome.err().unwrap().code, Code::NotFinite);
    assert!(!events.iter().any(|event| matches!(event, Event::StageEnded { .. })));
    let allowed = text.replace("steps: 3", "steps: 3, on_nan: \"allow\"");
    let (outcome, _, _) = run_text(&allowed, &options(0));
    assert!(outcome.is_ok(), "{:?}", outcome.err());
}

#[test]
fn a_batch_larger_than_the_split_is_an_error() {
    let text = READOUT.replace("batches(100)", "batches(2000)");
    let found = match compile_text("readout.ssl", None, text, Settings::default()) {
        Err(refused) => refused.diagnostics[0].code,
        Ok(compiled) => {
            let outcome = run(&compiled.elaborated.program, &options(0), &mut |_| {});
            let fault = outcome.err().unwrap();
            assert!(!fault.labels.is_empty());
            fault.code
        }
    };
    assert_eq!(found, Code::BatchTooLarge);
}

#[test]
fn run_folders_are_never_overwritten() {
    let out = tempfile::tempdir().unwrap();
    let options = RunOptions { out: Some(out.path().to_owned()), source: READOUT.into(), ..options(5) };
    let names: Vec<String> = (0..3)
        .map(|_| {
            let (outcome, _, _) = run_text(READOUT, &options);
            let folder = outcome.unwrap().folder.unwrap();
            folder.file_name().unwrap().to_string_lossy().into_owned()
        })
        .collect();
    assert_eq!(names, ["readout", "readout-2", "readout-3"]);
    let read = |path: &str| std::fs::read_to_string(out.path().join("readout").join(path)).unwrap();
    assert_eq!(read("pipeline.ssl"), READOUT);
    assert!(read("settings.yaml").contains("seed: 5"));
    assert!(read("graph/fit.txt").contains("readout"));
    let report: serde_json::Value = serde_json::from_str(&read("report.json")).unwrap();
    assert_eq!(report["status"], "done");
    let events = read("events.jsonl");
    let first: Event = serde_json::from_str(events.lines().next().unwrap()).unwrap();
    assert!(matches!(first, Event::RunStarted { seed: 5, .. }));
    assert_eq!(events.lines().filter(|line| line.contains(r#""event":"logged""#)).count(), 28);
}

#[test]
fn checkpoints_hold_what_was_trained() {
    let out = tempfile::tempdir().unwrap();
    let options = RunOptions { out: Some(out.path().to_owned()), ..options(0) };
    let (outcome, _, compiled) = run_text(READOUT, &options);
    let outcome = outcome.unwrap();
    let folder = outcome.folder.clone().unwrap();
    let read = weights_of(&folder).unwrap();
    for (_, path, kind, tensor) in outcome.store.alive(&compiled.elaborated.program) {
        if kind != crate::program::SlotKind::Optimiser {
            assert_eq!(bits(&read[path]), bits(tensor), "{path}");
        }
    }
    let optimiser = files::read_safetensors(&folder.join("checkpoints/fit/optimiser.safetensors")).unwrap();
    assert_eq!(optimiser.len(), 2, "a velocity for weight and bias: {:?}", optimiser.keys().collect::<Vec<_>>());
    let state = std::fs::read_to_string(folder.join("checkpoints/fit/state.json")).unwrap();
    assert!(state.contains(r#""stage": "fit""#));

    // The same program begins where the other ended.
    let given = RunOptions { weights: Arc::new(read), ..super::tests::options(0) };
    let idle = "use std.net.linear\nnet readout = linear(10)\nlet y = readout(ones(1, 64))\nreport { y: sum(y) }";
    let (again, _, idle) = run_text(idle, &given);
    let tensor = |outcome: &Outcome, compiled: &Compiled| {
        let all = weights(outcome, compiled);
        all.into_iter().find(|(path, _)| path == "readout.weight").unwrap()
    };
    assert_eq!(tensor(&again.unwrap(), &idle), tensor(&outcome, &compiled));
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error() {
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("runs");
    std::fs::write(&file, "in the way").unwrap();
    let options = RunOptions { out: Some(file), ..options(0) };
    let (outcome, _, _) = run_text("ones(2)", &options);
    let fault = outcome.err().unwrap();
    assert_eq!(fault.code, Code::FileWrite);
    assert!(fault.help.is_some());
}

#[test]
fn an_interruption_keeps_what_was_reached() {
    let out = tempfile::tempdir().unwrap();
    let interrupt = Interrupt::default();
    let options = RunOptions { out: Some(out.path().to_owned()), interrupt: interrupt.clone(), ..options(0) };
    let compiled = compiled(READOUT);
    let mut steps = 0;
    let outcome = run(&compiled.elaborated.program, &options, &mut |event| {
        if matches!(event, Event::Logged { step: 4, .. }) {
            interrupt.ask();
        }
        steps += usize::from(matches!(event, Event::Logged { .. }));
    });
    let outcome = outcome.unwrap();
    assert!(outcome.interrupted);
    assert_eq!(steps, 5);
    let folder = outcome.folder.unwrap();
    assert!(weights_of(&folder).unwrap().contains_key("readout.weight"));
    let report = std::fs::read_to_string(folder.join("report.json")).unwrap();
    assert!(report.contains(r#""status": "interrupted""#));
}

#[test]
fn an_assert_shows_its_facts() {
    let (outcome, _, compiled) = run_text("let total = sum(ones(3))\nassert total > 3.5, \"three ones\"", &options(0));
    let fault = outcome.err().unwrap();
    assert_eq!((fault.code, fault.help.as_deref()), (Code::AssertFailed, Some("three ones")));
    assert_eq!(fault.headline, "`total > 3.5` does not hold");
    assert_eq!(compiled.sources.place(fault.labels[0].span).0, 2);
    assert!(fault.labels[0].text.contains("total = 3"), "{}", fault.labels[0].text);
}

#[test]
fn arrays_in_files_are_read_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npy");
    let tensor = Tensor::arange(0f32, 12f32, &Device::Cpu).unwrap().reshape((3, 4)).unwrap();
    for dtype in [candle_core::DType::F32, candle_core::DType::F64, candle_core::DType::I64] {
        let tensor = tensor.to_dtype(dtype).unwrap();
        files::write_npy(&path, &tensor).unwrap();
        let read = files::read_npy(&path).unwrap();
        assert_eq!((read.dtype(), read.dims()), (dtype, [3, 4].as_slice()));
        assert_eq!(bits(&read), bits(&tensor));
    }
    let bytes = std::fs::read(&path).unwrap();
    let code = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        files::read_npy(&path).unwrap_err().code
    };
    for length in [0, 5, 9, 40, 128, bytes.len() - 1] {
        assert_eq!(code(&bytes[..length]), Code::FileCorrupt, "{length} bytes");
    }
    assert_eq!(code(&[bytes.as_slice(), b"more"].concat()), Code::FileCorrupt);
    assert_eq!(files::read_npy(Path::new("nowhere.npy")).unwrap_err().code, Code::FileMissing);

    let path = folder.path().join("x.safetensors");
    files::write_safetensors(&path, &[("first".into(), tensor.clone())], &[]).unwrap();
    assert_eq!(bits(&files::read_tensor(&path, "first").unwrap()), bits(&tensor));
    let shown = path.display().to_string();
    assert_eq!(bits(&files::read_argument(&shown).unwrap()), bits(&tensor));
    let fault = files::read_argument(&format!("{shown}:frist")).unwrap_err();
    assert_eq!((fault.code, fault.help.as_deref()), (Code::FileWrongSize, Some("did you mean `first`?")));
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
    assert_eq!(files::read_safetensors(&path).unwrap_err().code, Code::FileCorrupt);
}

#[test]
fn a_device_that_is_not_there_is_an_error() {
    assert!(device("cpu").unwrap().is_cpu());
    for name in ["gpu", "cuda:x", "cuda:99"] {
        assert_eq!(device(name).err().unwrap().code, Code::DeviceMissing, "{name}");
    }
}

#[test]
fn profiles_account_for_the_kernels() {
    let options = RunOptions { profile: true, ..options(0) };
    let (outcome, events, _) = run_text(READOUT, &options);
    outcome.unwrap();
    let profile = events.iter().find(|event| matches!(event, Event::Profiled { .. })).unwrap();
    let Event::Profiled { overhead, wall, inside, ops, .. } = profile else { return };
    assert!((0.0..1.0).contains(overhead) && inside <= wall);
    assert!(ops.iter().any(|row| row.name == "matmul" && row.calls >= 28));
}

#[test]
fn a_step_read_from_text_gives_the_same_bits() {
    let compiled = compiled(READOUT);
    let looped = compiled.elaborated.program.body.iter().find_map(|statement| match statement {
        crate::program::Statement::Loop(looped) => Some(looped),
        _ => None,
    });
    let step = compile_step(&looped.unwrap().call.step, &compiled.elaborated.program.origins).unwrap();
    let read = crate::graph::read::read(&crate::graph::print::print(&step)).unwrap();
    let mut inputs = HashMap::new();
    for (at, value) in step.graph.inputs.iter().enumerate() {
        let ty = step.graph.ty(*value);
        let shape: Vec<usize> = ty.bind(&[("B".into(), 12)].into()).unwrap();
        let count = shape.iter().product::<usize>();
        // Labels stay below ten.
        let numbers: Vec<f64> = (0..count).map(|n| ((n * 7 + at) % 10) as f64).collect();
        let tensor = Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap();
        inputs.insert(step.graph.name(*value).to_owned(), store::cast(&tensor, ty.dtype).unwrap());
    }
    let results = |step| -> Vec<(String, Vec<u64>)> {
        run_step(step, &inputs).unwrap().iter().map(|(name, tensor)| (name.clone(), bits(tensor))).collect()
    };
    let have = results(&step);
    assert!(have.len() >= 3);
    assert_eq!(have, results(&read));
}

fn notices(events: &[Event]) -> Vec<String> {
    let text = |event: &Event| match event {
        Event::Noticed { text, .. } => Some(text.clone()),
        _ => None,
    };
    events.iter().filter_map(text).collect()
}

#[test]
fn a_loss_where_equal_outputs_put_it_is_named_whatever_it_is_called() {
    let program = |start: &str, rate: &str| {
        format!(
            "
use std.optim.sgd
module scores() (x: [n, d]) -> [n, 10] {{
  weight w: [d, 10] {start}
  x @ w
}}
data digits = digits()
net f = scores()
train fit(epochs: 2) for {{ image, label }} in digits.train.batches(100) {{
  let s = f(reshape(image, [len(image), 64]))
  minimize mean(log(sum(exp(s), axis: 1)) - sum(s * one_hot(label, 10), axis: 1)) using sgd({rate})
}}"
        )
    };
    let (_, events, _) = run_text(&program("= 0.0", "0.0"), &RunOptions::default());
    let said = notices(&events);
    assert!(said[0].starts_with("`f.w` did not change"), "{said:?}");
    assert!(said[1].starts_with("the loss stays at 2.303, which"), "{said:?}");
    let (_, events, _) = run_text(&program("~ normal(0, 0.01)", "0.1"), &RunOptions::default());
    assert_eq!(notices(&events), Vec::<String>::new());
}

#[test]
fn weights_without_a_gradient_are_named_and_scaling_helps_short_floats() {
    let program = |scale: &str| {
        format!(
            "
use std.net.linear
use std.optim.sgd
data digits = digits()
net f = linear(10)
train fit(steps: 6, precision: f16{scale}) for {{ image }} in digits.train.batches(10) {{
  minimize 1e-9 * mean(f(reshape(image, [len(image), 64]))^2) using sgd(1e6)
}}"
        )
    };
    let (_, events, _) = run_text(&program(", loss_scale: 1"), &RunOptions::default());
    let said = notices(&events);
    assert!(said[0].starts_with("the gradient of `f.weight` was exactly 0 in the first 5 steps"), "{said:?}");
    let (_, events, _) = run_text(&program(""), &RunOptions::default());
    assert_eq!(notices(&events), Vec::<String>::new());
}

#[test]
fn checking_every_result_stops_where_a_step_alone_would_go_on() {
    let text = "
use std.net.linear
use std.optim.sgd
data digits = digits()
net f = linear(2)
train fit(steps: 2) for { image } in digits.train.batches(50) {
  let y = f(reshape(image, [len(image), 64]))
  let bad = log(y - y - 1.0)
  minimize mean(select(bad > 0.0, y, y^2)) using sgd(0.1)
}";
    assert!(run_text(text, &RunOptions::default()).0.is_ok());
    let options = RunOptions { check_finite: true, ..RunOptions::default() };
    let fault = run_text(text, &options).0.err().expect("a logarithm of a negative number");
    assert!(fault.headline.contains("gave NaN in step 0 of `fit`"), "{}", fault.headline);
}
