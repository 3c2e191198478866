//! Chains that are fused give the numbers of their operations: elementwise ones bit for bit, sums up to rounding.

use std::collections::HashSet;

use candle_core::{Device, Tensor};

use super::executor::{Registers, execute};
use crate::graph::{Attr, Attrs, Bindings, Builder, DType, Graph, Size, Type, Value};
use crate::kernels::par;
use crate::ops::{Op, elementwise as e, fused, logic as l, reduce, shape};
use crate::passes::fuse_graph;
use crate::plan::plan_graph;

/// A small generator: the same graphs on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % count
    }

    fn number(&mut self) -> f32 {
        self.below(2001) as f32 / 1000.0 - 1.0
    }
}

/// A graph of chains over one shape with spread operands and sums, and tensors for its inputs.
fn random(dice: &mut Dice) -> (Graph, Vec<Tensor>) {
    let rank = 1 + dice.below(4);
    let sizes: Vec<usize> = (0..rank).map(|_| [1, 2, 3, 5, 8, 17, 40][dice.below(7)]).collect();
    let known = |sizes: &[usize]| sizes.iter().map(|size| Size::known(*size as i64)).collect::<Vec<_>>();
    let whole = known(&sizes);
    let mut builder = Builder::new();
    let mut inputs = Vec::new();
    let mut input = |builder: &mut Builder, sizes: &[usize], dice: &mut Dice| {
        let numbers: Vec<f32> = (0..sizes.iter().product()).map(|_| dice.number()).collect();
        inputs.push(Tensor::from_vec(numbers, sizes, &Device::Cpu).expect("a tensor"));
        builder.input("x", Type::new(DType::F32, known(sizes)))
    };
    let mut values = vec![input(&mut builder, &sizes, dice), input(&mut builder, &sizes, dice)];
    let mut small = Vec::new();
    for _ in 0..3 {
        let axes: Vec<usize> = (0..rank).filter(|_| dice.below(2) == 0).collect();
        let part: Vec<usize> = axes.iter().map(|axis| if dice.below(6) == 0 { 1 } else { sizes[*axis] }).collect();
        small.push((input(&mut builder, &part, dice), axes));
    }
    let mut outputs = Vec::new();
    for _ in 0..3 + dice.below(12) {
        let any = |dice: &mut Dice, values: &[Value]| values[dice.below(values.len())];
        let (a, b) = (any(dice, &values), any(dice, &values));
        let unary: &[&'static Op] = &[&e::NEG, &e::ABS, &e::TANH, &e::EXP, &e::SIGN, &e::ERF];
        let binary: &[&'static Op] = &[&e::ADD, &e::SUB, &e::MUL, &e::MAXIMUM, &e::MINIMUM];
        let made = match dice.below(8) {
            0 => builder.must(unary[dice.below(unary.len())], &[a], Attrs::none()),
            1 | 2 => builder.must(binary[dice.below(binary.len())], &[a, b], Attrs::none()),
            3 => {
                let (from, axes) = small[dice.below(small.len())].clone();
                let spread = builder.broadcast(from, &whole, &axes);
                builder.must(binary[dice.below(binary.len())], &[a, spread], Attrs::none())
            }
            4 => {
                let chosen = builder.must(&l::LE, &[a, b], Attrs::none());
                builder.must(&l::SELECT, &[chosen, b, a], Attrs::none())
            }
            5 => builder.must(&reduce::ACCUMULATE, &[a, b, a], Attrs::none()),
            6 => {
                let axes: Vec<usize> = (0..rank).filter(|_| dice.below(2) == 0).collect();
                let sum = builder.sum(a, &axes);
                outputs.push(sum);
                let kept: Vec<usize> = (0..rank).filter(|axis| !axes.contains(axis)).collect();
                let scaled = builder.scale(sum, 0.01);
                builder.broadcast(scaled, &whole, &kept)
            }
            _ => builder.scale(a, 0.5),
        };
        values.push(made);
        if dice.below(5) == 0 {
            outputs.push(made);
        }
    }
    outputs.extend(values.last());
    (builder.finish(outputs), inputs)
}

fn run(graph: &Graph, inputs: &[Tensor]) -> Vec<Vec<f32>> {
    let program = plan_graph(graph, &Bindings::new()).expect("a plan");
    let mut registers = Registers::new(&program);
    for (at, register) in &program.inputs {
        registers.put(*register, inputs[*at].clone());
    }
    execute(&program, &mut registers, &Device::Cpu, None).expect("it runs");
    let numbers = |tensor: &Tensor| tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>()).expect("numbers");
    program.outputs.iter().map(|register| numbers(registers.get(*register).expect("a result"))).collect()
}

fn fused_form(graph: &Graph) -> Option<Graph> {
    let roots: HashSet<Value> = graph.outputs.iter().chain(&graph.inputs).copied().collect();
    fuse_graph(graph, &roots, &HashSet::new()).map(|(graph, _)| graph)
}

#[test]
fn random_chains_give_the_same_numbers() {
    let mut dice = Dice(7);
    let (mut fused, mut tiled) = (0, 0);
    for round in 0..400 {
        let (graph, inputs) = random(&mut dice);
        let Some(other) = fused_form(&graph) else { continue };
        crate::graph::verify::verify(&other).unwrap_or_else(|fault| panic!("round {round}: {fault}"));
        fused += 1;
        let program = plan_graph(&other, &Bindings::new()).expect("a plan");
        tiled += program.instructions.iter().filter(|one| one.tile.is_some()).count();
        let (want, have) = (run(&graph, &inputs), run(&other, &inputs));
        for (out, (want, have)) in want.iter().zip(&have).enumerate() {
            let scale = want.iter().fold(1.0f32, |most, number| most.max(number.abs()));
            for (want, have) in want.iter().zip(have) {
                let near = (want - have).abs() <= 2e-5 * scale || want.is_nan() && have.is_nan() || want == have;
                assert!(
                    near,
                    "round {round}, output {out}: {want} and {have}\n{}",
                    crate::graph::print::print_graph(&other)
                );
            }
        }
        let threads = par::with_threads(1, || run(&other, &inputs));
        let bits = |all: &[Vec<f32>]| all.iter().flatten().map(|number| number.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&have), bits(&threads), "round {round}: threads change bits");
    }
    assert!(fused > 300 && tiled > 300, "{fused} graphs with {tiled} chains");
}

#[test]
fn elementwise_chains_are_the_same_bits() {
    let sizes = [Size::known(3), Size::known(700)];
    let mut builder = Builder::new();
    let ty = Type::new(DType::F32, sizes.clone());
    let (x, row) = (builder.input("x", ty), builder.input("row", Type::new(DType::F32, [Size::known(700)])));
    let spread = builder.broadcast(row, &sizes, &[1]);
    let mut value = builder.must(&e::MUL, &[x, spread], Attrs::none());
    for op in [&e::EXP, &e::TANH, &e::ERF, &e::EXPM1, &e::ROUND, &e::SIGN] {
        let next = builder.must(op, &[value], Attrs::none());
        value = builder.must(&e::ADD, &[next, x], Attrs::none());
    }
    let negative = builder.must(&l::LT, &[value, x], Attrs::none());
    let value = builder.must(&l::SELECT, &[negative, value, spread], Attrs::none());
    let graph = builder.finish(vec![value]);
    let other = fused_form(&graph).expect("a chain");
    assert!(other.nodes().any(|(_, node)| node.op == &fused::FUSED));
    assert!(other.nodes().all(|(_, node)| node.op != &shape::BROADCAST), "what is spread is read where it is");
    let mut dice = Dice(1);
    let numbers = |count: usize, dice: &mut Dice| (0..count).map(|_| 3.0 * dice.number()).collect::<Vec<f32>>();
    let inputs = [
        Tensor::from_vec(numbers(2100, &mut dice), (3, 700), &Device::Cpu).expect("a tensor"),
        Tensor::from_vec(numbers(700, &mut dice), 700, &Device::Cpu).expect("a tensor"),
    ];
    assert_eq!(run(&graph, &inputs), run(&other, &inputs));
}

/// A way out of a group and back must not make one group of both ends.
#[test]
fn groups_have_an_order() {
    let sizes = [Size::known(4), Size::known(6)];
    let mut builder = Builder::new();
    let x = builder.input("x", Type::new(DType::F32, sizes.clone()));
    let squared = builder.must(&e::MUL, &[x, x], Attrs::none());
    let attrs = Attrs::none().with("axes", Attr::Ints(vec![1]));
    let sum = builder.must(&reduce::SUM, &[squared], attrs);
    let root = builder.must(&e::SQRT, &[sum], Attrs::none());
    let spread = builder.broadcast(root, &sizes, &[0]);
    let unit = builder.must(&e::DIV, &[squared, spread], Attrs::none());
    let both = builder.must(&e::ADD, &[unit, squared], Attrs::none());
    let graph = builder.finish(vec![both]);
    let other = fused_form(&graph).expect("chains");
    assert_eq!(other.nodes().filter(|(_, node)| node.op == &fused::FUSED).count(), 2);
    let input =
        Tensor::from_vec((1..25).map(|n| n as f32).collect::<Vec<_>>(), (4, 6), &Device::Cpu).expect("a tensor");
    let (want, have) = (run(&graph, std::slice::from_ref(&input)), run(&other, std::slice::from_ref(&input)));
    want[0].iter().zip(&have[0]).for_each(|(want, have)| assert!((want - have).abs() < 1e-4 * want.abs()));
}
