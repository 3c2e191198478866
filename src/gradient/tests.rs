//! Gradients of composite graphs against finite differences, and what a loss reaches.

use candle_core::Tensor;

use super::*;
use crate::graph::read::read_graph;
use crate::graph::verify::verify;
use crate::graph::{Bindings, Section};
use crate::ops::testing::{evaluate, flat, sample};

fn graph(text: &str) -> Graph {
    read_graph(text).unwrap_or_else(|fault| panic!("{fault}"))
}

fn expanded(graph: &Graph) -> Graph {
    let (graph, _) = expand(graph).unwrap_or_else(|fault| panic!("{fault}"));
    verify(&graph).unwrap_or_else(|fault| panic!("{fault}"));
    graph
}

fn value(graph: &Graph, name: &str) -> Value {
    let node = graph.nodes().find(|(_, node)| &*node.name == name).expect("a node of that name").0;
    Value { node, out: 0 }
}

/// The first output is a function of the inputs, the others are its gradients by each input: compared with differences.
fn gradients_are_right(text: &str, inputs: &[Tensor]) {
    let graph = expanded(&graph(text));
    let run = |inputs: &[Tensor]| evaluate(&graph, inputs, &Bindings::new());
    let outputs = run(inputs);
    assert_eq!(outputs.len(), inputs.len() + 1, "one gradient for each input");
    for (at, input) in inputs.iter().enumerate() {
        let (start, gradient) = (flat(input), flat(&outputs[at + 1]));
        assert_eq!(start.len(), gradient.len());
        for element in 0..start.len() {
            let moved = |by: f64| {
                let mut values = start.clone();
                values[element] += by;
                let mut inputs = inputs.to_vec();
                inputs[at] = crate::kernels::tensor(values, input.dims()).expect("a tensor");
                flat(&run(&inputs)[0])[0]
            };
            let difference = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            let error = (difference - gradient[element]).abs() / 1f64.max(difference.abs());
            assert!(error < 1e-7, "input {at}, element {element}: {} and {difference}", gradient[element]);
        }
    }
}

const NET: &str = "
x : f64[3, 4] = input
w : f64[4, 2] = input
h : f64[3, 2] = matmul x w
t : f64[3, 2] = tanh h
q : f64[3, 2] = mul t h
m : f64[3] = max q axes=[1]
e : f64[3] = exp m
a : f64[] = sum e axes=[0]
b : f64[] = sum q axes=[0, 1]
loss : f64[] = mul a b
";

#[test]
fn gradient_of_a_composite_is_the_limit_of_differences() {
    let text = format!("{NET}g : (f64[3, 4], f64[4, 2]) = grad loss x w\n-> loss, g, g#1");
    gradients_are_right(&text, &[sample(&[3, 4], 1, -1.0, 1.0), sample(&[4, 2], 2, -1.0, 1.0)]);
}

#[test]
fn gradient_of_a_gradient_is_the_limit_of_differences() {
    let text = format!(
        "{NET}g : (f64[3, 4], f64[4, 2]) = grad loss x w
        s : f64[3, 4] = mul g g
        u : f64[4, 2] = sin g#1
        n : f64[] = sum s axes=[0, 1]
        o : f64[] = sum u axes=[0, 1]
        norm : f64[] = add n o
        gg : (f64[3, 4], f64[4, 2]) = grad norm x w
        -> norm, gg, gg#1"
    );
    gradients_are_right(&text, &[sample(&[3, 4], 3, -1.0, 1.0), sample(&[4, 2], 4, -1.0, 1.0)]);
}

#[test]
fn third_order_is_the_limit_of_differences() {
    let text = "
        x : f64[5] = input
        s : f64[5] = sin x
        p : f64[5] = mul s x
        f : f64[] = sum p axes=[0]
        g : f64[5] = grad f x
        gs : f64[5] = mul g s
        h : f64[] = sum gs axes=[0]
        k : f64[5] = grad h x
        ks : f64[5] = mul k k
        l : f64[] = sum ks axes=[0]
        d : f64[5] = grad l x
        -> l, d";
    gradients_are_right(text, &[sample(&[5], 5, -2.0, 2.0)]);
}

#[test]
fn an_update_may_be_differentiated_through() {
    // One step of descent on w, then the loss after it by the data: the gradient passes through the inner one.
    let text = "
        x : f64[3] = input
        w : f64[3] = input
        p : f64[3] = mul x w
        c : f64[3] = cos p
        inner : f64[] = sum c axes=[0]
        g : f64[3] = grad inner w
        rate : f64[3] = constant 0.1
        move : f64[3] = mul rate g
        v : f64[3] = sub w move
        r : f64[3] = mul v x
        e : f64[3] = exp r
        outer : f64[] = sum e axes=[0]
        d : (f64[3], f64[3]) = grad outer x w
        -> outer, d, d#1";
    gradients_are_right(text, &[sample(&[3], 6, -1.0, 1.0), sample(&[3], 7, -1.0, 1.0)]);
}

#[test]
fn equal_expressions_are_different_variables() {
    let graph = expanded(&graph(
        "a : f64[] = input
        b : f64[] = input
        s : f64[] = add a b
        t : f64[] = add a b
        l : f64[] = mul s t
        g : f64[] = grad l s
        -> g, t",
    ));
    let inputs = [sample(&[], 1, 1.0, 2.0), sample(&[], 2, 1.0, 2.0)];
    let outputs = evaluate(&graph, &inputs, &Bindings::new());
    assert_eq!(flat(&outputs[0]), flat(&outputs[1]));
}

#[test]
fn a_loss_by_itself_is_one_and_by_a_stranger_zero() {
    let graph = expanded(&graph(
        "x : f64[2] = input
        y : f64[3] = input
        l : f64[] = sum x axes=[0]
        g : (f64[], f64[2], f64[3]) = grad l l x y
        -> g, g#1, g#2",
    ));
    let outputs = evaluate(&graph, &[sample(&[2], 1, 0.0, 1.0), sample(&[3], 1, 0.0, 1.0)], &Bindings::new());
    assert_eq!(flat(&outputs[0]), [1.0]);
    assert_eq!(flat(&outputs[1]), [1.0, 1.0]);
    assert_eq!(flat(&outputs[2]), [0.0, 0.0, 0.0]);
}

#[test]
fn every_value_is_summed_once_under_its_name() {
    let before = graph(
        "x : f64[4] = input
        h : f64[4] = tanh x
        a : f64[4] = mul h h
        b : f64[4] = exp h
        c : f64[4] = add a b
        l : f64[] = sum c axes=[0]
        g : f64[4] = grad l x
        -> g",
    );
    let after = expanded(&before);
    let sums: Vec<_> = after.nodes().filter(|(_, node)| node.op.name == "accumulate").collect();
    assert_eq!(sums.len(), 1, "h is the only value with several uses");
    assert_eq!((&*sums[0].1.name, sums[0].1.operands.len()), ("d_h", 3));
    assert_eq!(after.name(after.outputs[0]), "d_x");
    for (_, node) in after.nodes().skip(before.len() - 1) {
        assert_eq!(node.section, Section::Backward, "{}", node.name);
    }
}

#[test]
fn only_what_lies_between_is_visited() {
    let chain = |length: usize| {
        let mut text = String::from("x : f64[4] = input\ny0 : f64[4] = exp x\n");
        (0..length).for_each(|at| text += &format!("y{} : f64[4] = sin y{at}\n", at + 1));
        text += &format!(
            "m : f64[4] = mul y{length} x\nl : f64[] = sum m axes=[0]\ng : f64[4] = grad l y{length}\n-> g, l"
        );
        let before = graph(&text);
        expanded(&before).len() - before.len()
    };
    assert_eq!(chain(1), chain(50));
}

#[test]
fn several_results_flow_back_together() {
    let text = "
        x : f64[6] = input
        s : (f64[6], int[6]) = sort x axis=0 descending=false
        w : f64[6] = constant [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
        p : f64[6] = mul s w
        l : f64[] = sum p axes=[0]
        g : f64[6] = grad l x
        -> l, g";
    gradients_are_right(text, &[sample(&[6], 9, -1.0, 1.0)]);
}

#[test]
fn a_region_that_takes_a_gradient_is_expanded_inside() {
    let graph = graph(
        "x : f64[3, 2] = input
        g : f64[3, 2] = map_rows x view=\"v\" {
          r : f64[2] = input
          s : f64[2] = sin r
          l : f64[] = sum s axes=[0]
          d : f64[2] = grad l r
          -> d
        }
        c : f64[3, 2] = cos x
        -> g, c",
    );
    assert!(has_grad(&graph));
    let graph = expanded(&graph);
    assert!(!has_grad(&graph));
    let outputs = evaluate(&graph, &[sample(&[3, 2], 1, -1.0, 1.0)], &Bindings::new());
    assert_eq!(flat(&outputs[0]), flat(&outputs[1]));
}

#[test]
fn a_loss_must_be_a_float_scalar() {
    let mut builder = crate::graph::Builder::new();
    let x = builder.input("x", Type::new(crate::graph::DType::F64, [crate::graph::Size::known(2)]));
    let fault = cotangents(&mut builder, x, &[x], OriginId(7)).expect_err("a vector has no gradient");
    assert!(matches!(fault, GradientError::Loss { origin: OriginId(7), .. }), "{fault}");
}

/// Stops carry origins, which text does not have: the graph is built by hand.
fn with_stops() -> Graph {
    let mut builder = crate::graph::Builder::new();
    let ty = Type::new(crate::graph::DType::F64, [crate::graph::Size::known(2)]);
    let w = builder.input("w", ty.clone());
    let v = builder.input("v", ty.clone());
    builder.input("unused", ty);
    let f = builder.floor(v);
    builder.origin = OriginId(1);
    let a = builder.stop(w);
    builder.origin = OriginId(2);
    let b = builder.stop(w);
    builder.origin = OriginId(3);
    let ab = builder.mul(a, b);
    let c = builder.add(ab, f);
    let free = builder.mul(c, c);
    builder.named("loss");
    let loss = builder.sum(free, &[0]);
    builder.finish(vec![loss])
}

#[test]
fn each_stop_in_the_way_is_named() {
    let graph = with_stops();
    let reach = reach(&graph, graph.outputs[0]);
    assert_eq!(
        reach.obstacles(&graph, value(&graph, "w")),
        [Reason::Stopped(OriginId(1)), Reason::Stopped(OriginId(2))]
    );
    assert!(!reach.reached(value(&graph, "w")));
    assert!(matches!(reach.obstacles(&graph, value(&graph, "v"))[..], [Reason::Flat(op, _)] if op.name == "floor"));
    assert_eq!(reach.obstacles(&graph, value(&graph, "unused")), [Reason::NotUsed]);
    assert!(reach.reached(value(&graph, "add")));
    assert_eq!(reach.obstacles(&graph, value(&graph, "add")), []);
}

#[test]
fn integers_are_not_reached() {
    let graph = graph(
        "x : f64[3] = input
        y : f64[3] = input
        n : int[3] = cast x
        m : f64[3] = cast n
        p : f64[3] = mul m y
        l : f64[] = sum p axes=[0]
        -> l",
    );
    let reach = reach(&graph, graph.outputs[0]);
    assert!(matches!(reach.obstacles(&graph, value(&graph, "x"))[..], [Reason::Flat(op, _)] if op.name == "cast"));
    assert_eq!(reach.reason(value(&graph, "n")), Some(Reason::Integer));
    assert!(reach.reached(value(&graph, "m")) && reach.reached(value(&graph, "y")));
}

#[test]
fn a_region_lets_through_what_its_body_does() {
    let graph = graph(
        "x : f64[3, 2] = input
        y : f64[3, 2] = input
        g : f64[3] = map_rows x y view=\"v\" {
          r : f64[2] = input
          q : f64[2] = input
          s : f64[2] = stop q
          p : f64[2] = mul r s
          l : f64[] = sum p axes=[0]
          -> l
        }
        t : f64[] = sum g axes=[0]
        -> t",
    );
    let reach = reach(&graph, graph.outputs[0]);
    assert!(reach.reached(value(&graph, "x")));
    assert_eq!(reach.obstacles(&graph, value(&graph, "y")), [Reason::Stopped(OriginId(0))]);
}

#[test]
fn zeros_say_why() {
    let mut builder = crate::graph::Builder::new();
    let x = builder.input("x", Type::scalar(crate::graph::DType::F64));
    let y = builder.input("y", Type::scalar(crate::graph::DType::F64));
    let z = builder.input("z", Type::scalar(crate::graph::DType::F64));
    builder.origin = OriginId(4);
    let stopped = builder.stop(x);
    let loss = builder.mul(stopped, y);
    let found = cotangents(&mut builder, loss, &[x, y, z], OriginId(0)).expect("a gradient");
    assert_eq!(found[0], Cotangent::Zero(Reason::Stopped(OriginId(4))));
    assert!(matches!(found[1], Cotangent::Dense(_)));
    assert_eq!(found[2], Cotangent::Zero(Reason::NotUsed));
}
