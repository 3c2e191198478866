//! Time of the passes, the plan and the text form on long chains, a graph of 10,000 nodes beside one of 100,000: linear
//! work takes ten times as long.
//!
//! `cargo bench --bench compile`.

use std::time::Instant;

use ssl::graph::print::print;
use ssl::graph::read::read;
use ssl::graph::verify::verify;
use ssl::graph::{Attrs, Bindings, Builder, DType, Section, Size, Type, Value};
use ssl::ops::structure::GRAD;
use ssl::passes::compile;
use ssl::plan::plan;
use ssl::program::{Formal, Input, SlotKind, Step};

/// A loss over a chain of about `nodes / 3` ops, its gradient, an update.
fn step(nodes: usize) -> Step {
    let mut builder = Builder::new();
    let ty = Type::new(DType::F32, [Size::known(16)]);
    let w = builder.input("w", ty);
    let mut h = w;
    for at in 0..nodes / 6 {
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

fn timed<T>(name: &str, nodes: usize, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    let seconds = start.elapsed().as_secs_f64();
    println!("{name:<10} {nodes:>7} nodes {:>9.1} ms {:>7.2} us a node", seconds * 1e3, seconds * 1e6 / nodes as f64);
    result
}

#[allow(clippy::result_large_err)]
fn main() {
    for size in [10_000, 100_000] {
        let step = step(size);
        let compiled = timed("passes", size, || compile(&step)).unwrap_or_else(|fault| panic!("{fault}"));
        let nodes = compiled.graph.len();
        timed("verify", nodes, || verify(&compiled.graph)).unwrap_or_else(|fault| panic!("{fault}"));
        let planned =
            timed("plan", nodes, || plan(&compiled, &Bindings::new())).unwrap_or_else(|fault| panic!("{fault}"));
        let text = timed("print", nodes, || print(&compiled));
        let back = timed("read", nodes, || read(&text)).unwrap_or_else(|fault| panic!("{fault}"));
        assert_eq!(back.graph.len(), nodes);
        println!("{} instructions, {} registers\n", planned.step.instructions.len(), planned.step.registers);
    }
}
