//! Passes from graph text to graph text, evaluated before and after.

use candle_core::Tensor;

use super::*;
use crate::graph::print::{print, print_graph};
use crate::graph::read::{read, read_graph};
use crate::graph::{Bindings, Section};
use crate::ops::testing::{evaluate, flat, sample};

fn pass(name: &str) -> &'static [Pass] {
    let at = PASSES.iter().position(|pass| pass.name == name).expect("a pass of that name");
    &PASSES[at..=at]
}

fn graph(text: &str) -> Graph {
    read_graph(text).unwrap_or_else(|fault| panic!("{fault}"))
}

fn run(passes: &[Pass], graph: &Graph) -> Graph {
    compile_graph_with(graph, passes).unwrap_or_else(|fault| panic!("{fault}"))
}

/// Text without indentation.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
}

/// Runs passes, and compares the text, and the numbers bit for bit.
fn becomes(passes: &[Pass], before: &str, after: &str, inputs: &[Tensor]) {
    let graph = graph(before);
    let rewritten = run(passes, &graph);
    let printed = print_graph(&rewritten);
    assert_eq!(lines(&printed), lines(after), "\n{printed}");
    same_numbers(&graph, &rewritten, inputs);
}

fn same_numbers(before: &Graph, after: &Graph, inputs: &[Tensor]) {
    let bindings = Bindings::from([("B".into(), 3)]);
    let old = evaluate(before, inputs, &bindings);
    let new = evaluate(after, inputs, &bindings);
    assert_eq!(old.len(), new.len());
    for (old, new) in old.iter().zip(&new) {
        assert_eq!(old.dims(), new.dims());
        let bits = |tensor: &Tensor| flat(tensor).into_iter().map(f64::to_bits).collect::<Vec<_>>();
        assert_eq!(bits(old), bits(new));
    }
}

/// A pass, and then what nobody reads is left out.
fn tidied(name: &str) -> Vec<Pass> {
    let of = |pass: &Pass| Pass { name: pass.name, about: pass.about, run: pass.run };
    vec![of(&pass(name)[0]), of(&pass("drop_unused")[0])]
}

#[test]
fn constants_are_computed() {
    becomes(
        &tidied("fold_constants"),
        "x : f32[B, 2] = input
        a : f32[2] = constant [1.0, 2.0]
        b : f32[2] = constant 0.5
        c : f32[2] = div a b
        d : f32[B, 2] = broadcast c axes=[1]
        n : int[] = size size=7
        f : f32[] = cast n
        g : f32[] = sqrt f
        h : f32[B, 2] = broadcast g axes=[]
        k : f32[B, 2] = add d h
        y : f32[B, 2] = add x k
        -> y",
        "x : f32[B, 2] = input
        c : f32[2] = constant [2.0, 4.0]
        d : f32[B, 2] = broadcast c axes=[1]
        h : f32[B, 2] = constant 2.6457512378692627
        k : f32[B, 2] = add d h
        y : f32[B, 2] = add x k
        -> y",
        &[sample(&[3, 2], 1, -1.0, 1.0).to_dtype(candle_core::DType::F32).expect("f32")],
    );
}

#[test]
fn sizes_that_are_not_known_stay() {
    becomes(
        &tidied("fold_constants"),
        "x : f64[B] = input
        n : int[] = size size=B
        f : f64[] = cast n
        s : f64[] = sum x axes=[0]
        m : f64[] = div s f
        -> m",
        "x : f64[B] = input
        n : int[] = size size=B
        f : f64[] = cast n
        s : f64[] = sum x axes=[0]
        m : f64[] = div s f
        -> m",
        &[sample(&[3], 1, -1.0, 1.0)],
    );
}

#[test]
fn what_would_be_no_number_or_large_is_left_to_the_step() {
    let text = "zero : f64[] = constant 0.0
        one : f64[] = constant 1.0
        q : f64[] = div one zero
        a : f64[100] = constant 2.0
        i : int[100] = iota size=100
        f : f64[100] = cast i
        b : f64[100] = mul a f
        -> q, b";
    let after = run(pass("fold_constants"), &graph(text));
    let ops: Vec<&str> = after.nodes().map(|(_, node)| node.op.name).collect();
    assert_eq!(ops.iter().filter(|op| **op == "div").count(), 1);
    assert_eq!(ops.iter().filter(|op| **op == "mul").count(), 1);
}

#[test]
fn what_changes_nothing_goes() {
    becomes(
        &tidied("simplify"),
        "x : f64[2, 3] = input
        c : bool[2, 3] = input
        one : f64[2, 3] = constant 1.0
        zero : f64[2, 3] = constant 0.0
        less : f64[2, 3] = constant -0.0
        a : f64[2, 3] = mul x one
        b : f64[2, 3] = mul one a
        d : f64[2, 3] = sub b zero
        e : f64[2, 3] = add less d
        f : f64[2, 3] = div e one
        g : f64[2, 3] = neg f
        h : f64[2, 3] = neg g
        i : f64[2, 3] = cast h
        j : f64[2, 3] = stop i
        k : f64[2, 3] = select c j j
        l : f64[2, 3] = maximum k k
        m : f64[2, 3] = accumulate l
        n : f64[2, 3] = concat m axis=0
        o : f64[2, 3] = slice n start=[0, 0] stop=[2, 3] step=[1, 1]
        p : f64[2, 3] = broadcast o axes=[0, 1]
        q : f64[2, 3] = flip p axes=[1]
        r : f64[2, 3] = flip q axes=[1]
        s : f64[2, 3] = sum r axes=[]
        y : f64[2, 3] = exp s
        -> y",
        "x : f64[2, 3] = input
        c : bool[2, 3] = input
        y : f64[2, 3] = exp x
        -> y",
        &[
            sample(&[2, 3], 1, -1.0, 1.0),
            Tensor::from_vec(vec![0u8, 1, 0, 1, 1, 0], (2, 3), &candle_core::Device::Cpu).expect("flags"),
        ],
    );
}

#[test]
fn adding_zero_stays_since_it_changes_minus_zero() {
    let text = "x : f64[2] = input
        zero : f64[2] = constant 0.0
        y : f64[2] = add x zero
        -> y";
    let minus = crate::kernels::tensor(vec![-0.0, 1.0], &[2]).expect("a tensor");
    becomes(&tidied("simplify"), text, text, &[minus]);
}

#[test]
fn integers_lose_their_zeros() {
    becomes(
        &tidied("simplify"),
        "x : int[2] = input
        zero : int[2] = constant 0
        y : int[2] = add x zero
        z : int[2] = neg y
        -> z",
        "x : int[2] = input
        z : int[2] = neg x
        -> z",
        &[Tensor::from_vec(vec![3i64, -4], 2, &candle_core::Device::Cpu).expect("integers")],
    );
}

#[test]
fn moves_in_a_row_are_one() {
    becomes(
        &tidied("simplify"),
        "x : f64[2, 3, 4] = input
        a : f64[6, 4] = reshape x
        b : f64[4, 6] = reshape a
        c : f64[3, 4, 2] = permute x axes=[1, 2, 0]
        d : f64[2, 3, 4] = permute c axes=[2, 0, 1]
        e : f64[4, 2, 3] = permute c axes=[1, 2, 0]
        f : f64[5, 2, 3, 4] = broadcast d axes=[1, 2, 3]
        g : f64[5, 7, 2, 3, 4] = broadcast f axes=[0, 2, 3, 4]
        -> b, e, g",
        "x : f64[2, 3, 4] = input
        b : f64[4, 6] = reshape x
        e : f64[4, 2, 3] = permute x axes=[2, 0, 1]
        g : f64[5, 7, 2, 3, 4] = broadcast x axes=[2, 3, 4]
        -> b, e, g",
        &[sample(&[2, 3, 4], 1, -1.0, 1.0)],
    );
}

#[test]
fn equal_expressions_are_computed_once() {
    becomes(
        pass("share_common"),
        "x : f64[2] = input
        a : f64[2] = exp x
        b : f64[2] = exp x
        p : f64[2] = constant 0.0
        m : f64[2] = constant -0.0
        c : f64[2] = add a p
        d : f64[2] = add b p
        e : f64[2] = add b m
        f : f64[2] = mul c d
        g : f64[2] = mul f e
        -> g",
        "x : f64[2] = input
        a : f64[2] = exp x
        p : f64[2] = constant 0.0
        m : f64[2] = constant -0.0
        c : f64[2] = add a p
        e : f64[2] = add a m
        f : f64[2] = mul c c
        g : f64[2] = mul f e
        -> g",
        &[sample(&[2], 1, -1.0, 1.0)],
    );
}

#[test]
fn draws_of_different_places_stay_apart() {
    let text = "key : u32[2] = input
        a : u32[2] = fold_key key path=\"loss/noise\"
        b : u32[2] = fold_key key path=\"loss/noise#1\"
        c : u32[2] = fold_key key path=\"loss/noise\"
        u : f32[4] = uniform a
        v : f32[4] = uniform b
        w : f32[4] = uniform c
        uv : f32[4] = sub u v
        uw : f32[4] = sub u w
        -> uv, uw";
    let key = Tensor::from_vec(vec![1u32, 2], 2, &candle_core::Device::Cpu).expect("a key");
    let before = graph(text);
    let after = run(pass("share_common"), &before);
    assert_eq!(after.nodes().filter(|(_, node)| node.op.name == "uniform").count(), 2);
    same_numbers(&before, &after, &[key]);
}

#[test]
fn nobody_reads_it_so_it_goes() {
    becomes(
        pass("drop_unused"),
        "x : f64[2] = input
        a : f64[2] = exp x
        b : f64[2] = sin a
        c : f64[2] = cos a
        -> c",
        "x : f64[2] = input
        a : f64[2] = exp x
        c : f64[2] = cos a
        -> c",
        &[sample(&[2], 1, -1.0, 1.0)],
    );
}

const VIEWS: &str = "
x : f64[B, 2, 3] = input
shift : f64[B] = input
y : f64[B, 3] = map_rows x shift view=\"strong\" {
  row : f64[2, 3] = input
  by : f64[] = input
  scale : f64[3] = constant [1.0, 2.0, 3.0]
  double : f64[3] = mul scale scale
  low : f64[3] = max row axes=[0]
  all : f64[3] = broadcast by axes=[]
  moved : f64[3] = add low all
  turned : f64[3, 2] = permute row axes=[1, 0]
  part : f64[3, 1] = slice turned start=[0, 1] stop=[3, 2] step=[1, 1]
  flat : f64[3] = reshape part
  both : f64[3] = mul moved flat
  out : f64[3] = mul both double
  -> out
}
-> y";

#[test]
fn rows_are_lifted() {
    let before = graph(VIEWS);
    let after = run(pass("lift"), &before);
    assert!(after.nodes().all(|(_, node)| node.op.name != "map_rows"));
    assert!(print_graph(&after).contains("low : f64[B, 3] = max x axes=[1]"));
    same_numbers(&before, &after, &[sample(&[3, 2, 3], 1, -1.0, 1.0), sample(&[3], 2, -1.0, 1.0)]);
}

#[test]
fn rows_of_rows_and_gradients_of_rows_are_lifted() {
    let before = graph(
        "x : f64[3, 2, 4] = input
        y : f64[3, 2] = map_rows x view=\"outer\" {
          r : f64[2, 4] = input
          t : f64[2] = map_rows r view=\"inner\" {
            q : f64[4] = input
            c : f64[4] = cos q
            s : f64[] = sum c axes=[0]
            -> s
          }
          e : f64[2] = exp t
          -> e
        }
        -> y",
    );
    let after = run(pass("lift"), &before);
    same_numbers(&before, &after, &[sample(&[3, 2, 4], 1, -1.0, 1.0)]);

    let per_sample = graph(
        "x : f64[3, 4] = input
        g : f64[3, 4] = map_rows x view=\"v\" {
          q : f64[4] = input
          c : f64[4] = sin q
          s : f64[] = sum c axes=[0]
          d : f64[4] = grad s q
          -> d
        }
        c : f64[3, 4] = cos x
        -> g, c",
    );
    let outputs = evaluate(&run(PASSES, &per_sample), &[sample(&[3, 4], 1, -1.0, 1.0)], &Bindings::new());
    assert_eq!(flat(&outputs[0]), flat(&outputs[1]));
}

/// A step whose view draws from the epoch's key and the record's id, and one whose view needs the step.
const STEP: &str = "step pretrain {
  symbols
    B = 4
  fields
    image : f32[B, 2, 3] = field 0 image
    id : int[B] = ids 0
  weights
    net.w : f32[3, 3] = slot 0
  keys
    epoch : u32[2] = epoch_key
    key : u32[2] = step_key
  forward
    path : u32[2] = fold_key epoch path=\"a/noise\"
    rows : u32[B, 2] = fold_index path id
    a : f32[B, 2, 3] = map_rows image rows view=\"noisy\" {
      x : f32[2, 3] = input
      k : u32[2] = input
      n : f32[2, 3] = uniform k
      y : f32[2, 3] = add x n
      -> y
    }
    late : u32[2] = fold_key key path=\"b/noise\"
    rows_1 : u32[B, 2] = fold_index late id
    b : f32[B, 2, 3] = map_rows a rows_1 view=\"noisy\" {
      x : f32[2, 3] = input
      k : u32[2] = input
      n : f32[2, 3] = uniform k
      y : f32[2, 3] = add x n
      -> y
    }
    flat : f32[2*B, 3] = reshape b
    h : f32[2*B, 3] = matmul flat net.w
    s : f32[] = sum h axes=[0, 1]
    stopped : f32[] = stop s
    loss : f32[] = mul s s
  backward
    g : f32[3, 3] = grad loss net.w
    marked : f32[3, 3] = gradient g slot=\"net.w\"
  update
    rate : f32[3, 3] = constant 0.1
    move : f32[3, 3] = mul marked rate
    new : f32[3, 3] = sub net.w move
  commits
    net.w <- new
  logs
    loss = loss
}
";

fn step(text: &str) -> Step {
    read(text).unwrap_or_else(|fault| panic!("{fault}"))
}

#[test]
fn views_of_fields_run_ahead_of_the_step() {
    let compiled = compile(&step(STEP)).unwrap_or_else(|fault| panic!("{fault}"));
    let sections: Vec<(&str, Section)> = compiled.graph.nodes().map(|(_, node)| (&*node.name, node.section)).collect();
    let of = |name: &str| sections.iter().find(|(have, _)| *have == name).map(|(_, section)| *section);
    for ahead in ["path", "rows", "a"] {
        assert_eq!(of(ahead), Some(Section::Loader), "{ahead}");
    }
    for inside in ["late", "rows_1", "b", "h", "loss"] {
        assert_eq!(of(inside), Some(Section::Forward), "{inside}");
    }
    assert_eq!(of("stopped"), None, "nobody reads it");
    assert!(!gradient::has_grad(&compiled.graph));
}

#[test]
fn a_compiled_step_is_read_back() {
    let compiled = compile(&step(STEP)).unwrap_or_else(|fault| panic!("{fault}"));
    let text = print(&compiled);
    assert_eq!(print(&step(&text)), text);
}

#[test]
fn compiling_twice_is_compiling_once() {
    let once = compile(&step(STEP)).unwrap_or_else(|fault| panic!("{fault}"));
    let twice = compile(&once).unwrap_or_else(|fault| panic!("{fault}"));
    assert_eq!(print(&twice), print(&once));
}

#[test]
fn the_plan_divides_loader_and_step() {
    let compiled = compile(&step(STEP)).unwrap_or_else(|fault| panic!("{fault}"));
    let plan = crate::plan::plan(&compiled, &Bindings::from([("B".into(), 4)])).expect("a plan");
    assert!(plan.loader.instructions.iter().all(|instruction| instruction.section == Section::Loader));
    assert_eq!(plan.passed.len(), plan.loader.outputs.len());
    assert_eq!(plan.parameters, 9);
    assert_eq!(plan.held, 36);
    assert!(plan.step.instructions.iter().all(|instruction| instruction.section != Section::Loader));
    assert_eq!(plan.commits.len(), 1);
}
