//! Plans are run register by register: what is read must be there, and the numbers are those of the graph.

use std::collections::HashMap;

use candle_core::{Device, Tensor};

use super::*;
use crate::graph::read::{read, read_graph};
use crate::ops::Call;
use crate::ops::testing::{evaluate, flat, sample};
use crate::passes::compile;

/// Runs a program with nothing in a register once it is freed.
fn run(program: &Program, given: &[(Register, Tensor)]) -> HashMap<Register, Tensor> {
    let mut registers: HashMap<Register, Tensor> = given.iter().cloned().collect();
    for instruction in &program.instructions {
        let inputs: Vec<Tensor> = instruction.inputs.iter().map(|register| registers[register].clone()).collect();
        assert!(instruction.outputs.iter().all(|output| !instruction.inputs.contains(output)));
        let call =
            Call { attrs: &instruction.attrs, inputs: &inputs, results: &instruction.results, device: &Device::Cpu };
        let results = (instruction.op.kernel)(&call).unwrap_or_else(|fault| panic!("{}: {fault}", instruction.name));
        for (register, tensor) in instruction.outputs.iter().zip(results) {
            assert!(registers.insert(*register, tensor).is_none(), "{}: a register in use", instruction.name);
        }
        for register in &instruction.free {
            assert!(registers.remove(register).is_some(), "{}: nothing to free", instruction.name);
        }
    }
    assert!(registers.keys().all(|register| (register.0 as usize) < program.registers));
    registers
}

const CHAIN: &str = "
x : f64[B, 4] = input
unused : f64[2] = input
w : f64[4, 4] = input
a : f64[B, 4] = matmul x w
s : (f64[B, 4], int[B, 4]) = sort a axis=1 descending=false
b : f64[B, 4] = exp s
c : f64[4, B] = reshape b
d : f64[4, B] = sin c
e : f64[4, B] = mul d c
f : f64[4, B] = add e e
-> f, x, f, s#1";

#[test]
fn a_planned_graph_gives_its_numbers() {
    let graph = read_graph(CHAIN).expect("a graph");
    let bindings = Bindings::from([("B".into(), 3)]);
    let inputs = [sample(&[3, 4], 1, -1.0, 1.0), sample(&[2], 2, 0.0, 1.0), sample(&[4, 4], 3, -1.0, 1.0)];
    let program = plan_graph(&graph, &bindings).expect("a plan");
    assert_eq!(program.inputs.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 2], "one input is not used");
    assert_eq!(program.input_types[1].shape, [4, 4]);
    let given: Vec<_> = program.inputs.iter().map(|(at, register)| (*register, inputs[*at].clone())).collect();
    let registers = run(&program, &given);
    let expected = evaluate(&graph, &inputs, &bindings);
    for (output, expected) in program.outputs.iter().zip(&expected) {
        assert_eq!(flat(&registers[output]), flat(expected));
    }
    assert!(registers.len() <= 3, "what is no output is freed: {registers:?}");
}

#[test]
fn memory_is_counted_by_what_is_alive() {
    let graph = read_graph(
        "x : f64[100] = input
        a : f64[100] = exp x
        b : f64[10, 10] = reshape a
        c : f64[10, 10] = sin b
        d : f64[10, 10] = cos c
        -> d",
    )
    .expect("a graph");
    let program = plan_graph(&graph, &Bindings::new()).expect("a plan");
    // Two tensors at a time: what is read and what is written; the reshape has no bytes of its own.
    assert_eq!(program.cost.peak, 1600);
    assert_eq!(program.cost.bytes, 3.0 * 1600.0);
    assert!(program.cost.flops >= 300.0, "three functions of 100 elements");
    assert!(program.registers <= 3);
}

#[test]
fn a_long_chain_needs_few_registers() {
    let mut builder = crate::graph::Builder::new();
    let ty = crate::graph::Type::new(crate::graph::DType::F32, [crate::graph::Size::known(16)]);
    let x = builder.input("x", ty);
    let last = (0..1000).fold(x, |value, _| builder.exp(value));
    let program = plan_graph(&builder.finish(vec![last]), &Bindings::new()).expect("a plan");
    assert_eq!((program.registers, program.instructions.len(), program.cost.peak), (2, 1000, 128));
}

const STEP: &str = r#"step s {
  symbols
    B = 4
  fields
    image : f32[B, 3] = field 0 image
    id : int[B] = ids 0
  weights
    w : f32[3] = slot 0
  states
    memory : f32[B] = slot 1
  numbers
    rate : f32[] = flow 0
  keys
    epoch : u32[2] = epoch_key
  loader
    rows : u32[B, 2] = fold_index epoch id
    noise : f32[B, 3] = uniform rows shape=[3]
    half : f32[B, 3] = constant 0.5
    low : f32[B, 3] = mul noise half
    view : f32[B, 3] = add image low
    lost : f32[B, 3] = exp view
  forward
    wide : f32[B, 3] = broadcast w axes=[1]
    h : f32[B, 3] = mul view wide
    half_1 : f32[B, 3] = mul h half
    p : f32[B] = sum half_1 axes=[1]
    loss : f32[] = sum p axes=[0]
    slow : f32[3] = broadcast rate axes=[]
    new : f32[3] = sub w slow
  commits
    w <- new
    memory <- p
  logs
    loss = loss
  measures
    m = sum loss {
      t : f32[] = input
      -> t
    }
  collects
    view = view
}
"#;

#[test]
fn loader_and_step_give_the_numbers_of_the_graph() {
    let step = compile(&read(STEP).unwrap_or_else(|fault| panic!("{fault}"))).unwrap_or_else(|fault| panic!("{fault}"));
    let bindings = Bindings::from([("B".into(), 4)]);
    let plan = plan(&step, &bindings).expect("a plan");
    let f32s = |shape: &[usize], seed| sample(shape, seed, -1.0, 1.0).to_dtype(candle_core::DType::F32).expect("f32");
    let tensor = |input: &crate::program::Input| match input {
        crate::program::Input::Field { .. } => f32s(&[4, 3], 1),
        crate::program::Input::Ids { .. } => Tensor::from_vec(vec![5i64, 9, 2, 7], 4, &Device::Cpu).expect("ids"),
        crate::program::Input::EpochKey => Tensor::from_vec(vec![1u32, 2], 2, &Device::Cpu).expect("a key"),
        crate::program::Input::Slot(Formal(0)) => f32s(&[3], 2),
        _ => f32s(&[], 3),
    };
    let inputs: Vec<Tensor> = step.inputs.iter().map(tensor).collect();
    let given = |program: &Program| -> Vec<(Register, Tensor)> {
        program.inputs.iter().map(|(at, register)| (*register, inputs[*at].clone())).collect()
    };
    let ahead = run(&plan.loader, &given(&plan.loader));
    let mut start = given(&plan.step);
    start.extend(plan.passed.iter().zip(&plan.loader.outputs).map(|(to, from)| (*to, ahead[from].clone())));
    let done = run(&plan.step, &start);

    let mut graph = step.graph.clone();
    graph.outputs = step.roots();
    let expected = evaluate(&graph, &inputs, &bindings);
    let listed =
        plan.commits.iter().map(|(_, register)| register).chain(plan.logs.iter().map(|(_, register)| register));
    let listed = listed.chain(plan.measures.iter().flatten()).chain(plan.collects.iter().map(|(_, register)| register));
    for (register, expected) in listed.zip(&expected) {
        assert_eq!(flat(&done[register]), flat(expected));
    }
    assert_eq!(plan.step.outputs.len(), expected.len());
    assert_eq!((plan.parameters, plan.passed.len()), (3, 1));
    assert!(plan.loader.instructions.iter().any(|instruction| instruction.op.name == "uniform"));
    assert!(plan.step.instructions.iter().all(|instruction| instruction.op.name != "uniform"));
}

#[test]
fn a_size_without_a_number_is_named() {
    let step = compile(&read(STEP).expect("a step")).expect("a compiled step");
    let fault = plan(&step, &Bindings::new()).expect_err("B has no number");
    assert!(matches!(&fault, PlanError::Unbound { ty, .. } if ty.contains('B')), "{fault}");
}

#[test]
fn what_a_pass_must_expand_is_not_planned() {
    let graph = read_graph("x : f64[] = input\ny : f64[] = exp x\ng : f64[] = grad y x\n-> g").expect("a graph");
    let fault = plan_graph(&graph, &Bindings::new()).expect_err("a `grad` is left");
    assert!(matches!(fault, PlanError::NotCompiled { op: "grad", .. }), "{fault}");
}
