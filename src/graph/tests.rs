//! The text form, the verifier, the hash and the host interpreter.

use proptest::prelude::*;

use super::hash::{hash_graph, hash_step};
use super::print::{print, print_graph};
use super::read::{read, read_graph};
use super::scalar::{Scalar, evaluate};
use super::verify::{verify, verify_step};
use super::*;
use crate::program::*;

const STEP: &str = r#"step pretrain {
  symbols
    B = 256
    n
  guards
    B == 256
    8 <= B
    2 | B
  fields
    image : f32[B, 4] = field 0 image
    id : int[B] = ids 0
    at : int[B] = index 0
  weights
    net.linear_0.w : f32[4, 2] = slot 0
    b : f32[2] = slot 2 net.linear_0.b
  buffers
    net.mean = slot 1
  states
    memory : f32[n, 2] = slot 3
  host
    step : f64[] = clock step
    best : f64[] = flow 0
    tau : f64[] = constant 0.996
    s : f64[] = mul step tau
    t : f64[] = maximum s best
    -> t, best
  numbers
    rate : f32[] = host 0
    best : f32[] = host 1
    last : f32[] = flow 1
  keys
    key : u32[2] = step_key
    epoch : u32[2] = epoch_key
  given
    "a b" : f32[3] = given "a b"
  loader
    path : u32[2] = fold_key epoch path="strong#0/angle"
    rows : u32[B, 2] = fold_index path id
    noise : f32[B, 4] = uniform rows shape=[4]
    view : f32[B, 4] = add image noise
  forward
    h : f32[B, 2] = matmul view net.linear_0.w
    wide : f32[B, 2] = broadcast b axes=[1]
    z : f32[B, 2] = add h wide
    sorted : (f32[B, 2], int[B, 2]) = sort z axis=0 descending=true
    double : f32[2*B, 2] = concat z sorted axis=0
    rest : f32[2*B - 1, 2] = slice double start=[1, 0] stop=[2*B, 2] step=[1, 1]
    loss : f32[] = sum rest axes=[0, 1]
    count : int[] = size size=(2*B - 1)
    mask : bool[2] = constant [true, false]
    hits : int[B, 2] = cast z
    right : f32[B] = map_rows z view="right" {
      row : f32[2] = input
      low : f32[] = min row axes=[0]
      -> low
    }
  backward
    d_w : f32[4, 2] = grad loss net.linear_0.w
  update
    slope : f32[4, 2] = gradient d_w slot="net.linear_0.w"
    scale : f32[4, 2] = constant -0.001
    move : f32[4, 2] = mul slope scale
    new : f32[4, 2] = add net.linear_0.w move
    mean : f32[2] = max z axes=[0]
  commits
    net.linear_0.w <- new
    net.mean <- mean
  logs
    loss = loss
    "log 2" = best
  measures
    accuracy = sum hits, min count {
      total : int[2] = input
      rows : int[] = input
      f : f32[] = cast rows
      -> f
    }
  collects
    order = sorted#1
  yields
    z
    sorted#1
  outputs
    loss
    at
    last
    "a b"
    mask
    right
    epoch
    memory
}
"#;

fn step(text: &str) -> Step {
    read(text).unwrap_or_else(|fault| panic!("{fault}"))
}

#[test]
fn a_step_is_read_as_it_is_printed() {
    let step = step(STEP);
    assert_eq!(print(&step), STEP);
    assert_eq!(step.formals[1], ("net.mean".to_string(), SlotKind::Buffer));
    assert_eq!(step.formals[2], ("net.linear_0.b".to_string(), SlotKind::Weight));
    assert_eq!(step.guards.len(), 3);
    assert_eq!(step.commits[1].0, Formal(1));
}

#[test]
fn yaml_and_drawing_hold_every_node() {
    let step = step(STEP);
    let yaml = yaml::yaml(&step).expect("YAML");
    let tree: serde_yaml::Value = serde_yaml::from_str(&yaml).expect("YAML that is read back");
    assert_eq!(tree["nodes"].as_sequence().map(Vec::len), Some(step.graph.len() - step.graph.inputs.len()));
    assert_eq!(tree["inputs"].as_sequence().map(Vec::len), Some(step.inputs.len()));
    let dot = dot::dot(&step);
    for (id, node) in step.graph.nodes() {
        assert!(dot.contains(&format!("n{} [label=", id.index())), "{}", node.name);
    }
    assert_eq!(dot.matches("subgraph cluster_").count(), 4);
    assert_eq!(dot.matches('{').count(), dot.matches('}').count());
}

/// Changes one line of the step: it must be rejected there.
fn rejected(old: &str, new: &str, message: &str) {
    let line = STEP.lines().position(|line| line.contains(old)).expect("the line to change") + 1;
    let text = STEP.replacen(old, new, 1);
    let fault = read(&text).err().unwrap_or_else(|| panic!("`{new}` is taken for `{old}`"));
    assert_eq!(fault.line, line, "{fault}");
    assert!(fault.message.contains(message), "{fault}");
}

#[test]
fn what_does_not_fit_is_rejected_with_its_line() {
    rejected("h : f32[B, 2] = matmul view", "h : f32[B, 3] = matmul view", "matmul gives f32[B, 2]");
    rejected("matmul view net", "matmul image_2 net", "there is no `image_2`");
    rejected("sorted : (f32[B, 2]", "sorted : (f32[B, 2], f32[2]", "sort gives");
    rejected("= sum rest", "= sun rest", "there is no op `sun`; the nearest is `su");
    rejected("axis=0 descending", "axes=0 descending", "no attribute `axes`");
    rejected("constant -0.001", "constant -0.00x", "no number");
    rejected("z : f32[B, 2] = add", "h : f32[B, 2] = add", "name of another node");
    rejected("image : f32[B, 4]", "image : f33[B, 4]", "no element type `f33`");
    rejected("net.linear_0.w <- new", "net.linear_9.w <- new", "there is no slot");
    rejected("clock step", "clock stop", "the clock has no `stop`");
    rejected("sum hits, min count", "mean hits, min count", "no statistic");
    rejected("order = sorted#1", "order = sorted#2", "no result 2");
    rejected("8 <= B", "8 < B", "missing");
    rejected(
        "mask : bool[2] = constant [true, false]",
        "mask : bool[2] = constant [true, 2]",
        "neither true nor false",
    );
    rejected("low : f32[] = min row axes=[0]", "low : f32[] = min row axes=[1]", "");
}

#[test]
fn what_is_no_step_is_rejected() {
    for text in
        ["", "graph x {\n}", "step x {", "step x {\n  forward\n    y : f32[] =\n}", "step x {\n  later\n    y\n}"]
    {
        assert!(read(text).is_err(), "{text}");
    }
    assert!(read(&STEP.replace("= slot 3", "= slot 4000000000")).is_err());
    assert!(read(&STEP.replace("= slot 3", "= slot 7")).is_err(), "a slot in between is missing");
    assert!(read(&format!("{STEP}step y {{\n}}\n")).is_err());
}

#[test]
fn a_changed_text_is_rejected_or_another_step() {
    let hash = hash_step(&step(STEP));
    let lines: Vec<&str> = STEP.lines().collect();
    let mut changed = 0;
    for at in 0..lines.len() {
        let words: Vec<&str> = lines[at].split(' ').collect();
        for (place, word) in words.iter().enumerate().filter(|(_, word)| !word.is_empty()) {
            for other in ["h", "z", "view", "image", "sub", "exp", "3", "f32[B,", "7],", "axes=[1]"] {
                if *word == other {
                    continue;
                }
                let mut line = words.clone();
                line[place] = other;
                let line = line.join(" ");
                let mut text = lines.clone();
                text[at] = &line;
                if let Ok(other) = read(&text.join("\n")) {
                    let same = hash_step(&other) == hash;
                    // The name of a node, the first word of its line, is no part of what a step is.
                    let name = at == 0 || words[..place].iter().all(|word| word.is_empty());
                    assert!(!same || name || print(&other) == STEP, "{}", line);
                    changed += 1;
                }
            }
        }
    }
    assert!(changed > 10, "some changes give another step");
}

#[test]
fn the_hash_sees_what_matters_and_no_names() {
    let hash = hash_step(&step(STEP));
    let of = |old: &str, new: &str| hash_step(&step(&STEP.replace(old, new)));
    assert_eq!(of("sorted", "ranked"), hash);
    assert_ne!(of("strong#0/angle", "strong#1/angle"), hash);
    assert_ne!(of("0.996", "0.99"), hash);
    assert_ne!(of("constant -0.001", "constant -0.002"), hash);
    assert_ne!(of("slope scale", "scale slope"), hash);
    assert_ne!(of("net.linear_0.b", "net.linear_0.c"), hash);
    assert_ne!(of("B == 256", "B == 255"), hash);
}

#[test]
fn equal_expressions_that_are_two_nodes_hash_as_two() {
    let graph = |of: &str| {
        let text = format!(
            "a : f64[] = input\ns : f64[] = exp a\nt : f64[] = exp a\nl : f64[] = mul s t\ng : f64[] = grad l {of}\n-> g"
        );
        hash_graph(&read_graph(&text).unwrap_or_else(|fault| panic!("{fault}")))
    };
    assert_ne!(graph("s"), graph("a"));
    let one = read_graph("a : f64[] = input\ns : f64[] = exp a\nl : f64[] = mul s s\n-> l").expect("a graph");
    let two = read_graph("a : f64[] = input\ns : f64[] = exp a\nt : f64[] = exp a\nl : f64[] = mul s t\n-> l");
    assert_ne!(hash_graph(&one), hash_graph(&two.expect("a graph")));
}

#[test]
fn the_verifier_shows_the_lines_around_the_fault() {
    let mut graph = read_graph("x : f64[2] = input\na : f64[2] = exp x\nb : f64[2] = sin a\n-> b").expect("a graph");
    verify(&graph).expect("a graph");
    let b = graph.outputs[0].node;
    graph.dag[b].types[0] = Type::scalar(DType::F64);
    let fault = verify(&graph).expect_err("a type that is wrong");
    assert!(fault.message.contains("sin gives f64[2]"), "{fault}");
    assert_eq!(fault.lines, ["  x : f64[2] = input", "  a : f64[2] = exp x", "> b : f64[] = sin a"]);

    let mut graph = read_graph("x : f64[2] = input\na : f64[2] = exp x\nb : f64[2] = sin a\n-> b").expect("a graph");
    graph.dag[b].operands[0] = graph.inputs[0];
    assert!(verify(&graph).expect_err("edges that are wrong").message.contains("edges"));
    graph.dag[b].operands[0] = graph.outputs[0];
    assert!(verify(&graph).expect_err("a circle").message.contains("after its user"));

    let mut graph = read_graph("x : f64[2] = input\na : f64[2] = exp x\n-> a").expect("a graph");
    graph.dag[graph.outputs[0].node].name = "x".into();
    assert!(verify(&graph).expect_err("a name twice").message.contains("name"));
    graph.inputs.clear();
    assert!(verify(&graph).is_err());
}

#[test]
fn a_commit_must_fit_its_slot() {
    let mut broken = step(STEP);
    broken.commits[0].1 = broken.commits[1].1;
    assert!(verify_step(&broken).expect_err("another type").message.contains("net.linear_0.w"));
    let mut broken = step(STEP);
    broken.commits[1].0 = Formal(0);
    assert!(verify_step(&broken).is_err(), "committed twice");
}

fn host(text: &str, inputs: &[Scalar]) -> Result<Vec<Scalar>, String> {
    evaluate(&read_graph(text).unwrap_or_else(|fault| panic!("{fault}")), inputs)
}

#[test]
fn a_warm_cosine_is_a_host_graph() {
    let text = "
        progress : f64[] = input
        warm : f64[] = constant 0.1
        up : f64[] = div progress warm
        pi : f64[] = constant 3.141592653589793
        angle : f64[] = mul progress pi
        wave : f64[] = cos angle
        one : f64[] = constant 1.0
        half : f64[] = constant 0.5
        sum : f64[] = add wave one
        down : f64[] = mul sum half
        early : bool[] = lt progress warm
        rate : f64[] = select early up down
        low : f32[] = cast rate
        -> rate, low, early";
    assert_eq!(host(text, &[Scalar::Float(0.05)]).map(|all| all[0]), Ok(Scalar::Float(0.5)));
    assert_eq!(host(text, &[Scalar::Float(1.0)]).map(|all| all[0]), Ok(Scalar::Float(0.0)));
    let late = host(text, &[Scalar::Float(0.4)]).expect("numbers");
    assert_eq!(late[1], Scalar::Float(f64::from(late[0].as_float() as f32)));
    assert_eq!(late[2], Scalar::Bool(false));
}

#[test]
fn host_integers_are_checked_and_floor() {
    let text = "a : int[] = input\nb : int[] = input\nq : int[] = floor_div a b\nr : int[] = remainder a b\n-> q, r";
    let run = |a, b| host(text, &[Scalar::Int(a), Scalar::Int(b)]);
    assert_eq!(run(-7, 2), Ok(vec![Scalar::Int(-4), Scalar::Int(1)]));
    assert_eq!(run(7, -2), Ok(vec![Scalar::Int(-4), Scalar::Int(-1)]));
    assert_eq!(run(-8, 2), Ok(vec![Scalar::Int(-4), Scalar::Int(0)]));
    assert!(run(1, 0).is_err_and(|fault| fault.contains("`q`: division by zero")));
    let text = "a : int[] = input\nb : int[] = mul a a\n-> b";
    assert!(host(text, &[Scalar::Int(i64::MAX)]).is_err_and(|fault| fault.contains("too large")));
    assert!(host(text, &[]).is_err());
    let text = "a : f64[] = input\nb : int[] = cast a\n-> b";
    assert_eq!(host(text, &[Scalar::Float(-2.7)]), Ok(vec![Scalar::Int(-2)]));
    assert!(host(text, &[Scalar::Float(1e300)]).is_err());
    assert!(host(text, &[Scalar::Float(f64::NAN)]).is_err());
}

/// A step made of a list of choices: any list gives one.
fn step_of(choices: &[u16]) -> Step {
    let mut step = Step { name: "random step".into(), ..Step::default() };
    let mut builder = Builder::new();
    let b = Size::symbol("B");
    step.symbols.push(Symbol { name: "B".into(), witness: Some(4) });
    let mut values: Vec<Value> = Vec::new();
    let sections = [Section::Loader, Section::Forward, Section::Backward, Section::Update];
    let names = ["h", "x.y", "a b", "w", "loss", "\"", "1", "step", "forward", "="];
    for (at, choice) in choices.iter().enumerate() {
        let choice = *choice as usize;
        builder.section = sections[choice / 7 % 4];
        builder.named(names[choice / 3 % names.len()]);
        let pick = |skip: usize| values[(choice / 11 + skip) % values.len()];
        if values.is_empty() || choice.is_multiple_of(9) {
            builder.named(names[choice / 3 % names.len()]);
            let ty = Type::new(DType::F64, [b.clone(), Size::known(3)]);
            let path = format!("net.{at}");
            let name =
                if choice.is_multiple_of(2) { path.clone() } else { names[choice / 3 % names.len()].to_string() };
            // The name given before is taken by the input.
            let mut fresh = std::mem::take(&mut builder);
            let value = fresh.input(name, ty);
            builder = fresh;
            let kinds = [SlotKind::Weight, SlotKind::Buffer, SlotKind::State, SlotKind::Optimiser];
            step.formals.push((path, kinds[choice / 5 % 4]));
            step.inputs.push(Input::Slot(Formal(step.formals.len() - 1)));
            values.push(value);
            continue;
        }
        let value = match choice % 9 {
            1 => builder.exp(pick(0)),
            2 => builder.add(pick(0), pick(1)),
            3 => builder.mul(pick(0), pick(3)),
            4 => {
                let back = builder.permute(pick(0), &[1, 0]);
                builder.permute(back, &[1, 0])
            }
            5 => builder.splat_like(f64::from(choice as u16) / 7.0 - 1e3, pick(0)),
            6 => {
                let double = b.add(&b).expect("a size");
                let both = builder.concat(&[pick(0), pick(2)], 0);
                builder.slice_axis(both, 0, b.clone(), double)
            }
            7 => {
                let mut inner = Builder::new();
                let row = inner.input("row", Type::new(DType::F64, [Size::known(3)]));
                let turned = inner.sin(row);
                let region = inner.finish(vec![turned]);
                let attrs = Attrs::none().with("view", Attr::Text(format!("v \"{choice}\"\n").into()));
                let op = &crate::ops::structure::MAP_ROWS;
                builder.apply_with(op, &[pick(0)], attrs, vec![region]).expect("rows")
            }
            _ => {
                let sum = builder.sum(pick(0), &[0, 1]);
                builder.apply(&crate::ops::structure::GRAD, &[sum, pick(0)], Attrs::none()).expect("a gradient")
            }
        };
        values.push(value);
    }
    let last = values.len().saturating_sub(4);
    for (at, value) in values.iter().enumerate().skip(last) {
        match at % 4 {
            0 => step.logs.push((format!("log {at}"), *value)),
            1 => step.yields.push(*value),
            2 => step.collects.push((format!("c{at}"), *value)),
            _ if !step.formals.is_empty() => step.commits.push((Formal(at % step.formals.len()), *value)),
            _ => {}
        }
    }
    step.graph = builder.finish(values.last().copied().into_iter().collect());
    step
}

proptest! {
    #[test]
    fn any_step_is_read_as_it_is_printed(choices in prop::collection::vec(any::<u16>(), 1..60)) {
        let step = step_of(&choices);
        verify_step(&step).unwrap_or_else(|fault| panic!("{fault}"));
        let text = print(&step);
        let back = read(&text).unwrap_or_else(|fault| panic!("{fault}\n{text}"));
        prop_assert_eq!(print(&back), text);
        prop_assert_eq!(hash_step(&back), hash_step(&step));
        prop_assert_eq!(back.formals, step.formals);
    }

    #[test]
    fn any_graph_is_read_as_it_is_printed(choices in prop::collection::vec(any::<u16>(), 1..40)) {
        let graph = step_of(&choices).graph;
        let text = print_graph(&graph);
        let back = read_graph(&text).unwrap_or_else(|fault| panic!("{fault}\n{text}"));
        prop_assert_eq!(print_graph(&back), text);
        prop_assert_eq!(hash_graph(&back), hash_graph(&graph));
    }

    #[test]
    fn no_text_is_a_panic(text in "[ -~\n]{0,200}", place in 0usize..4000, length in 0usize..40) {
        let _ = read(&text);
        let start = place.min(STEP.len());
        let end = (start + length).min(STEP.len());
        let _ = read(&format!("{}{text}{}", &STEP[..start], &STEP[end..]));
    }
}
