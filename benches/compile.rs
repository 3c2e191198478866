//! How long compiling takes, beside the limits that it is held to: `ssl check` of the pipelines, a large program of DINO,
//! and chains of 10,000 and of 100,000 nodes, where linear work takes ten times as long.
//!
//! `cargo bench --bench compile`. The best of several rounds counts, and where the system tells it, the time in which this
//! thread had a core: what else the machine does is no part of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ssl::cli::{Inputs, compile as elaborated};
use ssl::graph::print::print;
use ssl::graph::read::read;
use ssl::graph::verify::verify;
use ssl::graph::{Attrs, Bindings, Builder, DType, Section, Size, Type, Value};
use ssl::ops::structure::GRAD;
use ssl::passes::{PASSES, compile, compile_with};
use ssl::plan::plan;
use ssl::program::{Formal, Input, SlotKind, Statement, Step};
use ssl::resolve;
use ssl::source::{Disk, SourceMap};

const CHECK: Duration = Duration::from_millis(50);
const DINO: Duration = Duration::from_secs(1);
const CHAIN: Duration = Duration::from_secs(3);

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn limit(name: &str, time: Duration, limit: Duration) {
    let said = if time < limit { "holds" } else { "IS MISSED" };
    println!("{name:<44} {:>9.1} ms, the limit of {} ms {said}\n", ms(time), limit.as_millis());
}

/// The time in which this thread had a core so far.
fn on_core() -> Option<Duration> {
    // The system brings its count up to date when a thread yields.
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// The shortest of some rounds, with its result.
fn best<T>(rounds: usize, mut work: impl FnMut() -> T) -> (Duration, T) {
    let mut timed = || {
        let (begun, before) = (Instant::now(), on_core());
        let result = work();
        let time = before.zip(on_core()).map_or(begun.elapsed(), |(before, after)| after - before);
        (time, result)
    };
    let first = timed();
    (1..rounds).map(|_| timed()).fold(first, |a, b| if b.0 < a.0 { b } else { a })
}

fn said<T>(name: &str, nodes: usize, (time, result): (Duration, T)) -> (Duration, T) {
    println!("  {name:<16} {nodes:>7} nodes {:>9.1} ms {:>7.2} us a node", ms(time), ms(time) * 1e3 / nodes as f64);
    (time, result)
}

fn main() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    checks(&root.join("pipelines"));
    dino(&root.join("benches/dino.ssl"));
    chains();
}

/// What `ssl check` does, and the process from its start to its end by the clock on the wall.
fn checks(folder: &Path) {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("the pipelines").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    for file in files {
        let wall = (0..10).map(|_| {
            let begun = Instant::now();
            let mut command = Command::new(env!("CARGO_BIN_EXE_ssl"));
            let status = command.arg("check").arg(&file).stdout(Stdio::null()).status().expect("the binary starts");
            assert!(status.success(), "{} is checked", file.display());
            begun.elapsed()
        });
        println!("  the process                                {:>9.1} ms", ms(wall.min().expect("ten runs")));
        let inputs = Inputs { file: file.clone(), ..Inputs::default() };
        let (text, _) = best(10, || {
            let text = std::fs::read_to_string(&file).expect("a pipeline");
            let mut sources = SourceMap::default();
            let entry = sources.add("pipeline.ssl", None, text);
            resolve::load(entry, &mut sources, &Disk)
        });
        println!("  text to trees, with the library            {:>9.1} ms", ms(text));
        let (all, compiled) =
            best(10, || elaborated(&inputs).unwrap_or_else(|refused| panic!("{:#?}", refused.diagnostics)));
        println!("  trees to steps                             {:>9.1} ms", ms(all.saturating_sub(text)));
        let mut steps = Vec::new();
        steps_of(&compiled.elaborated.program.body, &mut steps);
        let (passes, nodes) = best(10, || {
            let compiled = steps.iter().map(|step| compile(step).unwrap_or_else(|fault| panic!("{fault}")));
            compiled.map(|step| step.graph.len()).sum::<usize>()
        });
        println!("  passes of {} steps, {nodes} nodes             {:>9.1} ms", steps.len(), ms(passes));
        let name = file.file_name().expect("a file").to_string_lossy();
        limit(&format!("ssl check {name}"), all + passes, CHECK);
    }
}

fn steps_of<'a>(body: &'a [Statement], steps: &mut Vec<&'a Step>) {
    for statement in body {
        match statement {
            Statement::Compute(call) => steps.push(&call.step),
            Statement::Loop(looped) => steps.push(&looped.call.step),
            Statement::If { then, otherwise, .. } => {
                steps_of(then, steps);
                steps_of(otherwise, steps);
            }
            Statement::Repeat { body, .. } | Statement::Scope { body, .. } => steps_of(body, steps),
            _ => {}
        }
    }
}

/// ViT-B, ten crops, two heads: from text to instructions.
fn dino(file: &Path) {
    let inputs = Inputs { file: file.to_owned(), ..Inputs::default() };
    let (elaborate, compiled) =
        best(3, || elaborated(&inputs).unwrap_or_else(|refused| panic!("{:#?}", refused.diagnostics)));
    let step = compiled.elaborated.program.body.iter().find_map(|statement| match statement {
        Statement::Loop(looped) => Some(&looped.call.step),
        _ => None,
    });
    let step = step.expect("a `train`");
    println!("dino.ssl");
    said("elaborate", step.graph.len(), (elaborate, ()));
    let (passes, compiled) = passes(step);
    let bindings: Bindings = [("B".into(), 64)].into();
    let nodes = compiled.graph.len();
    let (planned, _) = said("plan", nodes, best(3, || plan(&compiled, &bindings).unwrap_or_else(|e| panic!("{e}"))));
    limit("from text to plan", elaborate + passes + planned, DINO);
}

/// All passes together, and what each of them adds; nodes are those that are left.
#[allow(clippy::result_large_err)]
fn passes(step: &Step) -> (Duration, Step) {
    let nodes = compile(step).unwrap_or_else(|fault| panic!("{fault}")).graph.len();
    let mut before = Duration::ZERO;
    for upto in 1..=PASSES.len() {
        let (time, _) = best(2, || compile_with(step, &PASSES[..upto]).unwrap_or_else(|fault| panic!("{fault}")));
        said(PASSES[upto - 1].name, nodes, (time.saturating_sub(before), ()));
        before = time;
    }
    said("passes", nodes, best(3, || compile(step).unwrap_or_else(|fault| panic!("{fault}"))))
}

#[allow(clippy::result_large_err)]
fn chains() {
    let mut whole = Vec::new();
    for size in [10_000, 100_000] {
        println!("a chain of {size} nodes");
        let step = chain(size);
        let (mut time, compiled) = passes(&step);
        let nodes = compiled.graph.len();
        said("verify", nodes, best(3, || verify(&compiled.graph).unwrap_or_else(|fault| panic!("{fault}"))));
        let (planning, planned) = said(
            "plan",
            nodes,
            best(3, || plan(&compiled, &Bindings::new()).unwrap_or_else(|fault| panic!("{fault}"))),
        );
        time += planning;
        let (_, text) = said("print", nodes, best(3, || print(&compiled)));
        let (_, back) = said("read", nodes, best(3, || read(&text).unwrap_or_else(|fault| panic!("{fault}"))));
        assert_eq!(back.graph.len(), nodes);
        println!("  {} instructions, {} registers", planned.step.instructions.len(), planned.step.registers);
        whole.push(time);
    }
    println!("ten times the nodes take {:.1} times as long", ms(whole[1]) / ms(whole[0]));
    limit("passes and plan of a chain of 100,000 nodes", whole[1], CHAIN);
}

/// A loss over a chain, its gradient, an update: so many nodes after the passes.
fn chain(nodes: usize) -> Step {
    let mut builder = Builder::new();
    let ty = Type::new(DType::F32, [Size::known(16)]);
    let w = builder.input("w", ty);
    let mut h = w;
    for at in 0..nodes / 5 {
        let next = builder.tanh(h);
        builder.rename(next, &format!("t{at}"));
        h = builder.add(next, w);
    }
    let loss: Value = builder.sum(h, &[0]);
    let applied = builder.apply(&GRAD, &[loss, w], Attrs::none());
    let slope = applied.unwrap_or_else(|fault| panic!("{}", fault.headline));
    builder.section = Section::Update;
    let new = builder.sub(w, slope);
    Step {
        name: "chain".into(),
        graph: builder.finish(Vec::new()),
        inputs: vec![Input::Slot(Formal(0))],
        formals: vec![("w".into(), SlotKind::Weight)],
        commits: vec![(Formal(0), new)],
        logs: vec![("loss".into(), loss)],
        ..Step::default()
    }
}
