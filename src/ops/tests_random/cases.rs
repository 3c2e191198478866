//! One random application of each op that has a gradient.

use candle_core::{Device, Tensor};

use super::super::tests::{attrs_of, size_attr, sizes};
use super::super::*;
use super::{Case, Random};
use crate::graph::{Attr, DType, Size};

const ANY: (f64, f64) = (-2.0, 2.0);

/// How many operands rules are tried for: those of variadic ops beyond the second are alike.
pub(super) fn operands(op: &Op) -> usize {
    let names = op.signature.split("->").next().unwrap_or_default();
    names.matches(": ").count()
}

fn range(op: &Op) -> (f64, f64) {
    match op.domain {
        Domain::Uniform(low, high) => (low, high),
        Domain::Special(_) => ANY,
    }
}

/// A graph over the given tensors.
fn over(inputs: Vec<Tensor>, of: impl FnOnce(&mut Builder, &[Value]) -> Vec<Value>) -> Case {
    let mut builder = Builder::new();
    let values: Vec<Value> = inputs
        .iter()
        .map(|input| {
            let dtype = if input.dtype() == candle_core::DType::F64 { DType::F64 } else { DType::I64 };
            builder.input("x", Type::new(dtype, sizes(input.dims())))
        })
        .collect();
    let outputs = of(&mut builder, &values);
    Case { graph: builder.finish(outputs), inputs, fixed: Vec::new() }
}

fn one(op: &'static Op, inputs: Vec<Tensor>, attrs: Attrs) -> Case {
    over(inputs, |builder, values| vec![builder.must(op, values, attrs)])
}

fn integers(values: Vec<i64>, shape: &[usize]) -> Tensor {
    Tensor::from_vec(values, shape, &Device::Cpu).expect("a tensor")
}

fn positions(random: &mut Random, shape: &[usize], below: usize) -> Tensor {
    let count = shape.iter().product();
    integers((0..count).map(|_| random.size(0, below - 1) as i64).collect(), shape)
}

fn ints(of: &[usize]) -> Attr {
    Attr::Ints(of.iter().map(|n| *n as i64).collect())
}

/// Some of the axes, in order.
fn some_axes(random: &mut Random, rank: usize) -> Vec<usize> {
    (0..rank).filter(|_| random.yes(0.5)).collect()
}

/// A shape of at least rank 1 without empty axes, and one of its axes.
fn with_axis(random: &mut Random) -> (Vec<usize>, usize) {
    let shape: Vec<usize> = (0..random.size(1, 3)).map(|_| random.size(1, 4)).collect();
    let axis = random.size(0, shape.len() - 1);
    (shape, axis)
}

pub(super) fn case(op: &'static Op, random: &mut Random) -> Case {
    if elementwise::OPS.contains(&op) {
        return each(op, random);
    }
    match op.name {
        "sum" | "max" | "min" | "prod" => {
            let extreme = matches!(op.name, "max" | "min");
            let shape = if extreme { with_axis(random).0 } else { random.shape(3) };
            let axes = some_axes(random, shape.len());
            one(op, vec![random.tensor(&shape, range(op))], build::axes_attr(&axes))
        }
        "cumsum" | "cumprod" => {
            let (shape, axis) = with_axis(random);
            one(op, vec![random.tensor(&shape, ANY)], build::axis_attr(axis))
        }
        "accumulate" => {
            let shape = random.shape(3);
            let count = random.size(2, 4);
            one(op, (0..count).map(|_| random.tensor(&shape, ANY)).collect(), Attrs::none())
        }
        "gradient" | "debug" => {
            let shape = random.shape(3);
            let name = op.attrs[0].0;
            one(op, vec![random.tensor(&shape, ANY)], Attrs::none().with(name, Attr::Text("w".into())))
        }
        "reshape" | "permute" | "broadcast" | "slice" | "pad" | "concat" | "flip" => moved(op, random),
        "take" | "scatter_add" | "scatter_set" | "take_along" | "scatter_add_along" | "sort" => indexed(op, random),
        "matmul" => {
            let batch: Vec<usize> = (0..random.size(0, 2)).map(|_| random.size(1, 3)).collect();
            let [m, k, n] = std::array::from_fn(|_| random.size(1, 5));
            let a = random.tensor(&[&batch[..], &[m, k]].concat(), ANY);
            let b = random.tensor(&[&batch[..], &[k, n]].concat(), ANY);
            one(op, vec![a, b], Attrs::none())
        }
        "cholesky" | "triangular_solve" | "solve" | "logdet" | "eigh" | "svd" => factored(op, random),
        "fft" => {
            let (shape, axis) = with_axis(random);
            let parts = vec![random.tensor(&shape, ANY), random.tensor(&shape, ANY)];
            let inverse = random.yes(0.5);
            over(parts, |builder, x| {
                let attrs = build::axis_attr(axis).with("inverse", Attr::Bool(inverse));
                let re = builder.must(op, x, attrs);
                vec![re, Value { node: re.node, out: 1 }]
            })
        }
        "conv2d" | "conv2d_input_gradient" | "conv2d_weight_gradient" => convolved(op, random),
        "max_pool2d" | "max_pool2d_gradient" | "sum_pool2d" | "sum_pool2d_gradient" => pooled(op, random),
        "warp" | "warp_gradient" | "crop_resize" | "crop_resize_gradient" => sampled(op, random),
        other => panic!("`{other}` has a gradient rule and no random cases: add them here"),
    }
}

/// Elementwise ops, their operands broadcast to one shape from either side.
fn each(op: &'static Op, random: &mut Random) -> Case {
    let shape = random.shape(3);
    if op.name == "select" {
        let inputs = vec![random.tensor(&shape, ANY), random.tensor(&shape, ANY), random.tensor(&shape, ANY)];
        return over(inputs, |builder, x| {
            let zero = builder.splat_like(0.0, x[0]);
            let condition = builder.gt(x[0], zero);
            vec![builder.select(condition, x[1], x[2])]
        });
    }
    if op.name == "cast" {
        return over(vec![random.tensor(&shape, ANY)], |builder, x| {
            let same = builder.cast(x[0], DType::F64);
            vec![builder.must(op, &[same], Attrs::none().with("dtype", Attr::DType(DType::F64)))]
        });
    }
    if operands(op) == 1 {
        return one(op, vec![random.tensor(&shape, range(op))], attrs_of(op));
    }
    let kept: [Vec<usize>; 2] = std::array::from_fn(|_| (0..shape.len()).filter(|_| random.yes(0.8)).collect());
    // All numbers of both sides at once, so that none are equal across them.
    let of = |kept: &[usize]| kept.iter().map(|axis| shape[*axis]).collect::<Vec<_>>();
    let [left, right] = [of(&kept[0]), of(&kept[1])];
    let counts: [usize; 2] = [left.iter().product(), right.iter().product()];
    let whole_turns = |a: &[f64], b: &[f64]| {
        let near = |a: &f64, b: &f64| (a / b - (a / b).round()).abs() < 1e-3;
        a.iter().any(|a| b.iter().any(|b| near(a, b)))
    };
    let (a, b) = loop {
        let mut values = random.apart(counts[0] + counts[1], range(op));
        let b = values.split_off(counts[0]);
        if op.name != "remainder" || !whole_turns(&values, &b) {
            break (values, b);
        }
    };
    let tensor = |values: Vec<f64>, shape: &[usize]| crate::kernels::tensor(values, shape).expect("a tensor");
    over(vec![tensor(a, &left), tensor(b, &right)], |builder, x| {
        let wide: Vec<Value> = (0..2).map(|at| builder.broadcast(x[at], &sizes(&shape), &kept[at])).collect();
        vec![builder.must(op, &wide, Attrs::none())]
    })
}

fn moved(op: &'static Op, random: &mut Random) -> Case {
    let shape = random.shape(3);
    let rank = shape.len();
    let x = random.tensor(&shape, ANY);
    let attrs = match op.name {
        "reshape" => {
            let mut to = vec![shape.iter().product()];
            to.insert(random.size(0, 1), 1);
            Attrs::none().with("shape", size_attr(&to))
        }
        "permute" => Attrs::none().with("axes", ints(&random.shuffled(rank))),
        "flip" => Attrs::none().with("axes", ints(&some_axes(random, rank))),
        "broadcast" => {
            let mut to = Vec::new();
            let mut axes = Vec::new();
            for size in &shape {
                if random.yes(0.4) {
                    to.push(random.size(1, 3));
                }
                axes.push(to.len());
                to.push(if *size == 1 && random.yes(0.5) { 3 } else { *size });
            }
            to.extend(random.yes(0.5).then_some(2));
            Attrs::none().with("shape", size_attr(&to)).with("axes", ints(&axes))
        }
        "slice" => {
            let start: Vec<usize> = shape.iter().map(|size| random.size(0, *size)).collect();
            let stop: Vec<usize> = start.iter().zip(&shape).map(|(start, size)| random.size(*start, *size)).collect();
            let step: Vec<usize> = shape.iter().map(|_| random.size(1, 3)).collect();
            Attrs::none().with("start", size_attr(&start)).with("stop", size_attr(&stop)).with("step", ints(&step))
        }
        "pad" => {
            let mut amounts = || (0..rank).map(|_| random.size(0, 2)).collect::<Vec<_>>();
            let (low, high, inner) = (amounts(), amounts(), amounts());
            return over(vec![x], |builder, x| {
                let inner: Vec<i64> = inner.iter().map(|n| *n as i64).collect();
                vec![builder.pad(x[0], &sizes(&low), &sizes(&high), &inner, 0.5)]
            });
        }
        _ => {
            let (mut shape, axis) = with_axis(random);
            let parts: Vec<Tensor> = (0..random.size(2, 4))
                .map(|_| {
                    shape[axis] = random.size(0, 3);
                    random.tensor(&shape, ANY)
                })
                .collect();
            return over(parts, |builder, x| vec![builder.concat(x, axis)]);
        }
    };
    one(op, vec![x], attrs)
}

fn indexed(op: &'static Op, random: &mut Random) -> Case {
    let (shape, axis) = with_axis(random);
    let x = random.tensor(&shape, ANY);
    let attrs = build::axis_attr(axis);
    let count = random.size(1, 4);
    let mut along = shape.clone();
    along[axis] = count;
    match op.name {
        "sort" => one(op, vec![x], attrs.with("descending", Attr::Bool(random.yes(0.5)))),
        "take" => {
            let index: Vec<usize> = (0..random.size(0, 2)).map(|_| random.size(1, 3)).collect();
            let index = positions(random, &index, shape[axis]);
            one(op, vec![x, index], attrs)
        }
        "take_along" => {
            let index = positions(random, &along, shape[axis]);
            one(op, vec![x, index], attrs)
        }
        "scatter_add_along" => {
            let index = positions(random, &along, shape[axis]);
            let updates = random.tensor(&along, ANY);
            one(op, vec![x, index, updates], attrs)
        }
        _ => {
            let index = if op.name == "scatter_set" {
                // Each place is written once.
                along[axis] = count.min(shape[axis]);
                let places = random.shuffled(shape[axis]).into_iter().map(|place| place as i64);
                integers(places.take(along[axis]).collect(), &[along[axis]])
            } else {
                positions(random, &[count], shape[axis])
            };
            let updates = random.tensor(&along, ANY);
            one(op, vec![x, index, updates], attrs)
        }
    }
}

/// Matrices near a ladder on the diagonal, so that they are positive definite and their spectra have gaps of at least 1; of
/// vectors, the squares, which know no sign.
fn factored(op: &'static Op, random: &mut Random) -> Case {
    let n = random.size(1, 4);
    let batch: Vec<usize> = (0..random.size(0, 1)).map(|_| random.size(1, 2)).collect();
    let columns = if op.name == "svd" { random.size(1, 4) } else { n };
    let mut inputs = vec![random.tensor(&[&batch[..], &[n, columns]].concat(), (-0.3, 0.3))];
    if op.name.ends_with("solve") {
        let right = random.size(1, 3);
        inputs.push(random.tensor(&[&batch[..], &[n, right]].concat(), ANY));
    }
    let attrs = match op.name {
        "triangular_solve" => Attrs::none().with("upper", Attr::Bool(random.yes(0.5))),
        _ => Attrs::none(),
    };
    over(inputs, |builder, x| {
        let shape = builder.ty(x[0]).shape.to_vec();
        let step = |at: usize| if at / columns == at % columns { 3.0 * (1 + at / columns) as f64 } else { 0.0 };
        let ladder = Attrs::none()
            .with("values", Attr::Floats((0..n * columns).map(step).collect()))
            .with("dtype", Attr::DType(DType::F64))
            .with("shape", size_attr(&[n, columns]));
        let ladder = builder.must(&CONSTANT, &[], ladder);
        let ladder = builder.broadcast(ladder, &shape, &[shape.len() - 2, shape.len() - 1]);
        let matrix = builder.add(x[0], ladder);
        let operands: Vec<Value> = [matrix].into_iter().chain(x[1..].iter().copied()).collect();
        let first = builder.must(op, &operands, attrs);
        let results = builder.graph().node(first.node).types.len();
        let result = |out: u16| Value { node: first.node, out };
        let vectors = |builder: &mut Builder, out: u16| builder.mul(result(out), result(out));
        match results {
            1 => vec![first],
            2 => vec![first, vectors(builder, 1)],
            _ => vec![vectors(builder, 0), result(1), vectors(builder, 2)],
        }
    })
}

fn convolved(op: &'static Op, random: &mut Random) -> Case {
    let groups = random.pick(&[1, 1, 2, 3]);
    let (channels, outputs) = (groups * random.size(1, 2), groups * random.size(1, 2));
    let images = random.size(1, 2);
    let kernel = [random.size(1, 3), random.size(1, 3)];
    let stride = [random.size(1, 2), random.size(1, 2)];
    let dilation = [random.size(1, 2), random.size(1, 2)];
    let padding: [usize; 4] = std::array::from_fn(|_| random.size(0, 2));
    let size: [usize; 2] = std::array::from_fn(|at| (kernel[at] - 1) * dilation[at] + random.size(1, 4));
    let out: [usize; 2] = std::array::from_fn(|at| {
        (size[at] + padding[2 * at] + padding[2 * at + 1] - (kernel[at] - 1) * dilation[at] - 1) / stride[at] + 1
    });
    let attrs = Attrs::none()
        .with("stride", ints(&stride))
        .with("padding", ints(&padding))
        .with("dilation", ints(&dilation))
        .with("groups", Attr::Int(groups as i64));
    let x = random.tensor(&[images, channels, size[0], size[1]], ANY);
    let w = random.tensor(&[outputs, channels / groups, kernel[0], kernel[1]], ANY);
    let dy = random.tensor(&[images, outputs, out[0], out[1]], ANY);
    match op.name {
        "conv2d" => one(op, vec![x, w], attrs),
        "conv2d_input_gradient" => one(op, vec![dy, w], attrs.with("size", size_attr(&size))),
        _ => one(op, vec![x, dy], attrs.with("kernel", ints(&kernel))),
    }
}

fn pooled(op: &'static Op, random: &mut Random) -> Case {
    let window = [random.size(1, 3), random.size(1, 3)];
    let stride = [random.size(1, 3), random.size(1, 3)];
    let padding: [usize; 4] = std::array::from_fn(|at| random.size(0, window[at / 2] / 2));
    let size: [usize; 2] = std::array::from_fn(|at| window[at] + random.size(0, 3));
    let lead: Vec<usize> = (0..random.size(0, 2)).map(|_| random.size(1, 2)).collect();
    let attrs =
        Attrs::none().with("window", ints(&window)).with("stride", ints(&stride)).with("padding", ints(&padding));
    let x = random.tensor(&[&lead[..], &size[..]].concat(), ANY);
    let out: [usize; 2] =
        std::array::from_fn(|at| (size[at] + padding[2 * at] + padding[2 * at + 1] - window[at]) / stride[at] + 1);
    let dy_shape = [&lead[..], &out[..]].concat();
    match op.name {
        "max_pool2d" | "sum_pool2d" => one(op, vec![x], attrs),
        "sum_pool2d_gradient" => one(op, vec![random.tensor(&dy_shape, ANY)], attrs.with("size", size_attr(&size))),
        _ => {
            let index = positions(random, &dy_shape, size[0] * size[1]);
            let dy = random.tensor(&dy_shape, ANY);
            one(op, vec![dy, index], Attrs::none().with("size", size_attr(&size)))
        }
    }
}

fn sampled(op: &'static Op, random: &mut Random) -> Case {
    let lead: Vec<usize> = (0..random.size(0, 1)).map(|_| random.size(1, 2)).collect();
    let channels = random.size(1, 2);
    let [size, out]: [[usize; 2]; 2] = std::array::from_fn(|_| [random.size(1, 4), random.size(1, 4)]);
    let image = |of: [usize; 2]| [&lead[..], &[channels, of[0], of[1]]].concat();
    let [height, width] = out.map(|n| Attr::Size(Size::known(n as i64)));
    let edge = Attr::Text(random.pick(&["zero", "edge"]).into());
    let place = if op.name.starts_with("warp") {
        random.tensor(&[&lead[..], &[2, 3]].concat(), ANY)
    } else {
        let corner = random.tensor(&[&lead[..], &[2]].concat(), (0.0, 1.0));
        let extent = random.tensor(&[&lead[..], &[2]].concat(), (0.5, 3.0));
        Tensor::cat(&[corner, extent], lead.len()).expect("a box")
    };
    let (given, attrs) = match op.name {
        "warp" => (image(size), Attrs::none().with("height", height).with("width", width).with("edge", edge)),
        "warp_gradient" => (image(out), Attrs::none().with("size", size_attr(&size)).with("edge", edge)),
        "crop_resize" => (image(size), Attrs::none().with("height", height).with("width", width)),
        _ => (image(out), Attrs::none().with("size", size_attr(&size))),
    };
    let inputs = vec![random.tensor(&given, ANY), place];
    Case { fixed: vec![1], ..one(op, inputs, attrs) }
}
