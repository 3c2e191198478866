//! Gradient rules against central differences at random shapes, and the self-check that a wrong rule is seen.
//!
//! The seed is another in each run and stands in every message; `SSL_SEED=N` repeats a run, `SSL_CASES=10000` makes it longer.

mod cases;

use candle_core::Tensor;

use super::testing::{differentiate_with, evaluate, flat};
use super::{Gradient, Op, all};
use crate::graph::{Bindings, Builder, Graph, Value};
use crate::kernels;
use crate::kernels::philox;

/// Directions that each case is tried in.
const DIRECTIONS: usize = 4;
/// One case in so many is compared entry by entry.
const WHOLE: u64 = 10;
/// Relative to the larger norm.
const TOLERANCE: f64 = 1e-6;

/// One application under test: a graph, where it is evaluated, and which inputs stay where they are.
pub(super) struct Case {
    graph: Graph,
    inputs: Vec<Tensor>,
    /// Inputs through which no gradient flows, by the op's own statement.
    fixed: Vec<usize>,
}

/// Random numbers of one case.
pub(super) struct Random {
    key: [u32; 2],
    at: u64,
}

impl Random {
    fn new(seed: u64, op: &str, case: u64) -> Random {
        let name = op.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        let mixed = name ^ case.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Random { key: [mixed as u32, (mixed >> 32) as u32], at: 0 }
    }

    fn unit(&mut self) -> f64 {
        self.at += 1;
        f64::from(philox::unit_f32(philox::word(self.key, self.at)))
    }

    /// `low..=high`.
    fn size(&mut self, low: usize, high: usize) -> usize {
        low + (self.unit() * (high - low + 1) as f64) as usize
    }

    fn yes(&mut self, chance: f64) -> bool {
        self.unit() < chance
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.size(0, of.len() - 1)]
    }

    fn shuffled(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for at in (1..n).rev() {
            order.swap(at, self.size(0, at));
        }
        order
    }

    /// Numbers in a range, no two closer than 1e-3 and none closer than that to 0: no tie, no kink.
    fn apart(&mut self, count: usize, (low, high): (f64, f64)) -> Vec<f64> {
        let step = (high - low) / count.max(1) as f64;
        let places = self.shuffled(count);
        let jitter = |this: &mut Random| 0.25 + 0.5 * this.unit();
        places
            .into_iter()
            .map(|place| low + step * (place as f64 + jitter(self)))
            .map(|x| if x.abs() < 2e-3 { x + 4e-3 } else { x })
            .collect()
    }

    fn tensor(&mut self, shape: &[usize], range: (f64, f64)) -> Tensor {
        let values = self.apart(shape.iter().product(), range);
        kernels::tensor(values, shape).expect("a tensor")
    }

    /// Any rank up to `most`, sizes of 1 often, empty ones now and then.
    fn shape(&mut self, most: usize) -> Vec<usize> {
        let rank = self.size(0, most);
        (0..rank).map(|_| if self.yes(0.03) { 0 } else { self.pick(&[1, 1, 2, 3, 4]) }).collect()
    }
}

/// What is done to a rule's cotangent to see whether it is noticed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mutation {
    Negated,
    Doubled,
    Zeroed,
    /// The first entry instead of the sum over what was broadcast.
    NotSummed,
}

type Alter<'a> = &'a dyn Fn(&mut Builder, &'static Op, usize, Value) -> Value;

/// What does not agree in a case.
fn fault(case: &Case, random: &mut Random, whole: bool, alter: Alter<'_>) -> Option<String> {
    let none = Bindings::new();
    let (gradient, of_inputs) = differentiate_with(&case.graph, alter);
    let outputs = evaluate(&case.graph, &case.inputs, &none);
    let seeds: Vec<Tensor> = outputs.iter().map(|output| random.tensor(output.dims(), (0.5, 1.5))).collect();
    let value = |inputs: &[Tensor]| -> f64 {
        let outputs = evaluate(&case.graph, inputs, &none);
        let of = |(y, w): (&Tensor, &Tensor)| flat(y).iter().zip(flat(w)).map(|(y, w)| y * w).sum::<f64>();
        outputs.iter().zip(&seeds).map(of).sum()
    };
    let mut rules = evaluate(&gradient, &[&case.inputs[..], &seeds[..]].concat(), &none).into_iter();
    let starts: Vec<Vec<f64>> = case.inputs.iter().map(flat).collect();
    let moves = |at: usize| case.inputs[at].dtype() == candle_core::DType::F64 && !case.fixed.contains(&at);
    let rules: Vec<Vec<f64>> = (0..case.inputs.len())
        .map(|at| match of_inputs[at].and_then(|_| rules.next()) {
            Some(rule) => flat(&rule),
            None => vec![0.0; starts[at].len()],
        })
        .collect();
    let slope = |direction: &[Vec<f64>]| -> f64 {
        let step = 1e-5;
        let moved = |by: f64| {
            let inputs: Vec<Tensor> = (0..case.inputs.len())
                .map(|at| {
                    if !moves(at) {
                        return case.inputs[at].clone();
                    }
                    let values = starts[at].iter().zip(&direction[at]).map(|(x, d)| x + by * d).collect();
                    kernels::tensor(values, case.inputs[at].dims()).expect("a tensor")
                })
                .collect();
            value(&inputs)
        };
        (moved(step) - moved(-step)) / (2.0 * step)
    };
    let norm = |of: &[Vec<f64>]| of.iter().flatten().map(|x| x * x).sum::<f64>().sqrt();
    let mut directions: Vec<Vec<Vec<f64>>> = (0..DIRECTIONS)
        .map(|_| starts.iter().map(|start| start.iter().map(|_| 2.0 * random.unit() - 1.0).collect()).collect())
        .collect();
    if whole {
        for (at, entry) in
            (0..starts.len()).filter(|at| moves(*at)).flat_map(|at| (0..starts[at].len()).map(move |e| (at, e)))
        {
            let mut one: Vec<Vec<f64>> = starts.iter().map(|start| vec![0.0; start.len()]).collect();
            one[at][entry] = 1.0;
            directions.push(one);
        }
    }
    // Rounding of the value itself, divided by the step, stays below the tolerance.
    let floor = 1e-4 * value(&case.inputs).abs();
    directions.iter().find_map(|direction| {
        let difference = slope(direction);
        let pairs = rules.iter().zip(direction).enumerate().filter(|(at, _)| moves(*at));
        let rule: f64 = pairs.map(|(_, (rule, d))| rule.iter().zip(d).map(|(r, d)| r * d).sum::<f64>()).sum();
        let scale = (norm(&rules) * norm(direction)).max(difference.abs()).max(floor).max(1e-12);
        let off = (rule - difference).abs() / scale;
        // A NaN is a fault too.
        (off.is_nan() || off > TOLERANCE).then(|| format!("the rule says {rule}, the difference {difference}"))
    })
}

fn seed() -> u64 {
    let given = std::env::var("SSL_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(0, |now| now.as_nanos() as u64 % 1_000_000_007)
    })
}

fn with_rules() -> impl Iterator<Item = &'static Op> {
    all().filter(|op| matches!(op.gradient, Gradient::Rule(_) | Gradient::Except(..)))
}

fn shapes(case: &Case) -> Vec<Vec<usize>> {
    case.inputs.iter().map(|input| input.dims().to_vec()).collect()
}

#[test]
fn every_gradient_meets_differences_at_random_shapes() {
    let seed = seed();
    let count: u64 = std::env::var("SSL_CASES").ok().and_then(|count| count.parse().ok()).unwrap_or(200);
    println!("seed {seed}, {count} cases for each op");
    let keep: Alter<'_> = &|_, _, _, cotangent| cotangent;
    let mut faults = Vec::new();
    for op in with_rules() {
        for at in 0..count {
            let mut random = Random::new(seed, op.name, at);
            let case = cases::case(op, &mut random);
            if let Some(fault) = fault(&case, &mut random, at % WHOLE == 0, keep) {
                faults.push(format!("{}, case {at}, shapes {:?}: {fault}", op.name, shapes(&case)));
                break;
            }
        }
    }
    assert!(faults.is_empty(), "SSL_SEED={seed}\n{}", faults.join("\n"));
}

/// Each rule, wrong in each operand in each way, must be noticed within a few cases.
#[test]
fn a_wrong_rule_is_noticed() {
    let seed = seed();
    let (mut tried, mut survivors) = (0, Vec::new());
    for op in with_rules() {
        let operands = cases::operands(op);
        for operand in 0..operands {
            let mut mutations = vec![Mutation::Negated, Mutation::Doubled, Mutation::Zeroed];
            if op == &super::shape::BROADCAST {
                mutations.push(Mutation::NotSummed);
            }
            for mutation in mutations {
                match killed(op, operand, mutation, seed) {
                    None => {}
                    Some(true) => tried += 1,
                    Some(false) => {
                        tried += 1;
                        survivors.push(format!("{}, operand {operand}, {mutation:?}", op.name));
                    }
                }
            }
        }
    }
    println!("seed {seed}: {} of {tried} wrong rules are noticed", tried - survivors.len());
    assert!(survivors.is_empty(), "SSL_SEED={seed}: nobody notices\n{}", survivors.join("\n"));
}

/// Whether some case of the op fails with its rule altered; none where nothing ever flows to the operand.
fn killed(op: &'static Op, operand: usize, mutation: Mutation, seed: u64) -> Option<bool> {
    let met = std::cell::Cell::new(false);
    let alter = |builder: &mut Builder, at_op: &'static Op, at: usize, cotangent: Value| {
        if at_op != op || at != operand {
            return cotangent;
        }
        met.set(true);
        match mutation {
            Mutation::Negated => builder.neg(cotangent),
            Mutation::Doubled => builder.add(cotangent, cotangent),
            Mutation::Zeroed => builder.splat_like(0.0, cotangent),
            Mutation::NotSummed => first_entries(builder, cotangent),
        }
    };
    let noticed = (0..40).any(|at| {
        let mut random = Random::new(seed, op.name, at);
        let case = cases::case(op, &mut random);
        fault(&case, &mut random, false, &alter).is_some()
    });
    met.get().then_some(noticed)
}

/// In place of the sum that makes a cotangent, its first term.
fn first_entries(builder: &mut Builder, cotangent: Value) -> Value {
    let node = builder.graph().node(cotangent.node).clone();
    if node.op != &super::reduce::SUM {
        return cotangent;
    }
    let term = node.operands[0];
    let ty = builder.ty(term).clone();
    let axes: Vec<usize> = node.attrs.ints("axes").unwrap_or_default().iter().map(|axis| *axis as usize).collect();
    let mut value = term;
    for (at, axis) in axes.iter().enumerate() {
        if ty.shape[*axis].as_known() == Some(0) {
            return cotangent;
        }
        let axis = axis - at;
        value = builder.slice_axis(value, axis, 0.into(), 1.into());
        let mut shape = builder.ty(value).shape.to_vec();
        shape.remove(axis);
        value = builder.reshape(value, &shape);
    }
    value
}
