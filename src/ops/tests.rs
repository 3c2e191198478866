//! Every op of every family: complete blocks, gradients against differences, rows against single samples.

use candle_core::Tensor;

use super::testing::{apply_to, check_gradients, evaluate, flat, sample, try_evaluate};
use super::*;
use crate::graph::{Attr, Bindings, DType, Size};
use crate::kernels;

const SHAPES: &[&[usize]] = &[&[], &[1], &[3], &[2, 3], &[2, 1, 3], &[0], &[2, 0, 3], &[4, 1]];

pub(super) fn sizes(shape: &[usize]) -> Vec<Size> {
    shape.iter().map(|size| Size::known(*size as i64)).collect()
}

pub(super) fn size_attr(shape: &[usize]) -> Attr {
    Attr::Sizes(sizes(shape))
}

fn range(op: &Op) -> Option<(f64, f64)> {
    match op.domain {
        Domain::Uniform(low, high) => Some((low, high)),
        Domain::Special(_) => None,
    }
}

/// Checks the gradients of an application at samples of every input shape.
pub(super) fn check(shapes: &[&[usize]], (low, high): (f64, f64), of: impl Fn(&mut Builder, &[Value]) -> Value) {
    let graph = apply_to(shapes, of);
    let inputs: Vec<Tensor> =
        shapes.iter().enumerate().map(|(at, shape)| sample(shape, at as u32 + 1, low, high)).collect();
    check_gradients(&graph, &inputs);
}

#[test]
fn blocks_are_complete() {
    let mut names = std::collections::HashSet::new();
    for op in all() {
        assert!(names.insert(op.name), "{} stands twice", op.name);
        assert!(op.doc.ends_with('.') && !op.doc.contains("  "), "{}: a doc is sentences", op.name);
        assert!(op.signature.contains("->"), "{}: a signature has a result", op.name);
        assert!(!op.examples.is_empty(), "{}: no example", op.name);
        if let Domain::Special(why) = op.domain {
            assert!(!why.is_empty(), "{}: why is the domain special?", op.name);
        }
        assert!(find(op.name).is_some_and(|found| found == op));
    }
    assert!(find("no such op").is_none());
}

#[test]
fn elementwise_gradients_meet_differences() {
    for op in elementwise::OPS.iter().filter(|op| matches!(op.gradient, Gradient::Rule(_))) {
        let Some(range) = range(op) else { continue };
        let two = op.signature.contains("b:");
        for shape in SHAPES {
            let shapes = if two { vec![*shape, *shape] } else { vec![*shape] };
            check(&shapes, range, |builder, operands| builder.must(op, operands, attrs_of(op)));
        }
    }
}

#[test]
fn choices_and_casts_have_gradients() {
    for shape in SHAPES {
        check(&[shape, shape], (-2.0, 2.0), |builder, operands| {
            let condition = builder.gt(operands[0], operands[1]);
            let square = builder.mul(operands[1], operands[1]);
            builder.select(condition, operands[0], square)
        });
        check(&[shape], (-2.0, 2.0), |builder, operands| {
            let single = builder.cast(operands[0], DType::F64);
            let whole = builder.cast(single, DType::I64);
            let back = builder.cast(whole, DType::F64);
            builder.mul(back, operands[0])
        });
    }
}

#[test]
fn folds_have_gradients() {
    let cases: &[(&[usize], &[usize])] = &[
        (&[3], &[0]),
        (&[2, 3], &[0]),
        (&[2, 3], &[1]),
        (&[2, 3, 4], &[0, 2]),
        (&[2, 1, 3], &[1]),
        (&[2, 3], &[0, 1]),
        (&[2, 3], &[]),
        (&[0, 3], &[1]),
    ];
    for op in [&reduce::SUM, &reduce::MAX, &reduce::MIN, &reduce::PROD] {
        for (shape, axes) in cases {
            check(&[shape], range(op).unwrap(), |builder, operands| builder.must(op, operands, build::axes_attr(axes)));
        }
    }
    for (shape, axis) in [(&[4][..], 0), (&[2, 3], 0), (&[2, 3], 1), (&[2, 1, 3], 1), (&[2, 0], 1)] {
        check(&[shape], (-2.0, 2.0), |builder, operands| builder.cumsum(operands[0], axis));
    }
    check(&[&[2, 3][..]; 3], (-2.0, 2.0), |builder, operands| {
        let sum = builder.accumulate(operands);
        builder.mul(sum, operands[0])
    });
}

#[test]
fn products_with_zeros_have_gradients() {
    let graph = apply_to(&[&[3, 3]], |builder, operands| builder.prod(operands[0], &[1]));
    let (gradient, _) = testing::differentiate(&graph);
    let x = kernels::tensor(vec![2.0, 3.0, 4.0, 2.0, 0.0, 4.0, 0.0, 0.0, 4.0], &[3, 3]).unwrap();
    let seed = kernels::tensor(vec![1.0, 1.0, 1.0], &[3]).unwrap();
    let found = evaluate(&gradient, &[x, seed], &Bindings::new());
    assert_eq!(flat(&found[0]), [12.0, 8.0, 6.0, 0.0, 8.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn moves_have_gradients() {
    let reshape = |builder: &mut Builder, operands: &[Value]| builder.reshape(operands[0], &sizes(&[3, 2]));
    check(&[&[2, 3]], (-2.0, 2.0), reshape);
    for (shape, axes) in [(&[2, 3][..], &[1, 0][..]), (&[2, 3, 4], &[2, 0, 1]), (&[1, 0], &[1, 0]), (&[], &[])] {
        check(&[shape], (-2.0, 2.0), |builder, operands| builder.permute(operands[0], axes));
    }
    let cases: &[(&[usize], &[usize], &[usize])] = &[
        (&[], &[2, 3], &[]),
        (&[3], &[2, 3], &[1]),
        (&[3], &[2, 3, 4], &[1]),
        (&[1, 3], &[2, 3], &[0, 1]),
        (&[2, 1], &[2, 3, 4], &[0, 2]),
        (&[1], &[1], &[0]),
        (&[1], &[0, 2], &[1]),
    ];
    for (shape, to, axes) in cases {
        check(&[shape], (-2.0, 2.0), |builder, operands| builder.broadcast(operands[0], &sizes(to), axes));
    }
    for axes in [&[0][..], &[1], &[0, 1], &[]] {
        check(&[&[2, 3]], (-2.0, 2.0), |builder, operands| builder.flip(operands[0], axes));
    }
}

#[test]
fn slices_and_paddings_have_gradients() {
    type Case<'a> = (&'a [usize], &'a [usize], &'a [usize], &'a [i64]);
    let cases: &[Case<'_>] = &[
        (&[5], &[1], &[4], &[1]),
        (&[5], &[0], &[5], &[2]),
        (&[6], &[1], &[6], &[3]),
        (&[4, 5], &[1, 0], &[3, 5], &[1, 2]),
        (&[3], &[1], &[1], &[1]),
        (&[1, 4], &[0, 3], &[1, 4], &[2, 3]),
    ];
    for (shape, start, stop, step) in cases {
        check(&[shape], (-2.0, 2.0), |builder, operands| builder.slice(operands[0], &sizes(start), &sizes(stop), step));
    }
    for (shape, low, high, inner) in [
        (&[3][..], &[1][..], &[2][..], &[0][..]),
        (&[3], &[0], &[1], &[2]),
        (&[2, 3], &[1, 0], &[0, 2], &[1, 0]),
        (&[1, 2], &[0, 0], &[0, 0], &[3, 1]),
        (&[0], &[2], &[1], &[0]),
    ] {
        check(&[shape], (-2.0, 2.0), |builder, operands| {
            builder.pad(operands[0], &sizes(low), &sizes(high), inner, 0.5)
        });
    }
    check(&[&[2, 1, 3], &[2, 2, 3], &[2, 0, 3]], (-2.0, 2.0), |builder, operands| builder.concat(operands, 1));
    check(&[&[2]], (-2.0, 2.0), |builder, operands| builder.concat(&[operands[0], operands[0]], 0));
}

/// What an elementwise op has to be told in a test of all of them.
pub(super) fn attrs_of(op: &Op) -> Attrs {
    match op.name {
        "polygamma" => Attrs::none().with("order", Attr::Int(1)),
        _ => Attrs::none(),
    }
}

/// Lifts one application by its rows rule and compares with single samples.
pub(super) fn check_rows(op: &'static Op, operands: &[Tensor], types: &[DType], attrs: Attrs) {
    let rows = operands[0].dim(0).unwrap();
    let inputs = |builder: &mut Builder, lead: bool| -> Vec<Value> {
        let ty = |(tensor, dtype): (&Tensor, &DType)| {
            Type::new(*dtype, sizes(if lead { tensor.dims() } else { &tensor.dims()[1..] }))
        };
        operands.iter().zip(types).map(ty).map(|ty| builder.input("x", ty)).collect()
    };
    let mut single = Builder::new();
    let values = inputs(&mut single, false);
    let value = single.apply(op, &values, attrs.clone()).unwrap();
    let outs = single.graph().node(value.node).types.len() as u16;
    let outputs = |value: Value| (0..outs).map(|out| Value { node: value.node, out }).collect::<Vec<_>>();
    let single = single.finish(outputs(value));
    let mut lifted = Builder::new();
    let values = inputs(&mut lifted, true);
    let value = match &op.rows {
        Rows::Leading => lifted.apply(op, &values, attrs).unwrap(),
        Rows::Rule(rule) => {
            let rows = Size::known(rows as i64);
            rule(&mut Lift { builder: &mut lifted, operands: &values, attrs: &attrs, rows: &rows }).unwrap()
        }
        Rows::Mixed(why) => panic!("{}: {why}", op.name),
    };
    let lifted = lifted.finish(outputs(value));
    let whole = evaluate(&lifted, operands, &Bindings::new());
    for row in 0..rows {
        let inputs: Vec<Tensor> = operands.iter().map(|x| x.get(row).unwrap().contiguous().unwrap()).collect();
        for (whole, alone) in whole.iter().zip(evaluate(&single, &inputs, &Bindings::new())) {
            let row = whole.get(row).unwrap();
            assert_eq!(row.dims(), alone.dims(), "{}", op.name);
            assert_eq!(flat(&row), flat(&alone), "{}", op.name);
        }
    }
}

#[test]
fn lifted_ops_work_on_each_row() {
    let x = || sample(&[3, 2, 4], 1, 0.5, 2.0);
    let f64s = &[DType::F64; 3];
    for op in elementwise::OPS.iter().filter(|op| range(op).is_some()) {
        let operands = if op.signature.contains("b:") { vec![x(), sample(&[3, 2, 4], 2, 0.5, 2.0)] } else { vec![x()] };
        check_rows(op, &operands, f64s, attrs_of(op));
    }
    for op in [&reduce::SUM, &reduce::MAX, &reduce::MIN, &reduce::PROD] {
        for axes in [&[0][..], &[1], &[0, 1]] {
            check_rows(op, &[x()], f64s, build::axes_attr(axes));
        }
    }
    for op in [&reduce::ARGMAX, &reduce::ARGMIN, &reduce::CUMSUM, &reduce::CUMPROD] {
        check_rows(op, &[x()], f64s, build::axis_attr(0));
        check_rows(op, &[x()], f64s, build::axis_attr(1));
    }
    for axis in [0, 1] {
        let attrs = build::axis_attr(axis).with("inverse", Attr::Bool(axis == 1));
        check_rows(&fourier::FFT, &[x(), sample(&[3, 2, 4], 2, 0.5, 2.0)], f64s, attrs);
    }
    check_rows(&reduce::ACCUMULATE, &[x(), x(), x()], f64s, Attrs::none());
    check_rows(&shape::RESHAPE, &[x()], f64s, Attrs::none().with("shape", size_attr(&[8])));
    check_rows(&shape::PERMUTE, &[x()], f64s, build::axes_attr(&[1, 0]));
    let attrs = Attrs::none().with("shape", size_attr(&[2, 5, 4])).with("axes", Attr::Ints(vec![0, 2]));
    check_rows(&shape::BROADCAST, &[x()], f64s, attrs);
    let attrs = Attrs::none().with("start", size_attr(&[0, 1])).with("stop", size_attr(&[1, 4]));
    check_rows(&shape::SLICE, &[x()], f64s, attrs.with("step", Attr::Ints(vec![1, 2])));
    let attrs = Attrs::none().with("low", size_attr(&[1, 0])).with("high", size_attr(&[0, 2]));
    let attrs = attrs.with("inner", Attr::Ints(vec![0, 1])).with("value", Attr::Float(0.25));
    check_rows(&shape::PAD, &[x()], f64s, attrs);
    check_rows(&shape::CONCAT, &[x(), sample(&[3, 2, 1], 3, 0.0, 1.0)], f64s, build::axis_attr(1));
    check_rows(&shape::FLIP, &[x()], f64s, build::axes_attr(&[1]));
}

#[test]
fn lifted_draws_work_on_each_row() {
    let keys = kernels::tensor((0..6u32).map(|n| n * 1001).collect(), &[3, 2]).unwrap();
    let words = &[DType::U32, DType::I64];
    let shape = || Attrs::none().with("shape", size_attr(&[2, 3]));
    for dtype in [DType::F32, DType::F64] {
        let attrs = shape().with("dtype", Attr::DType(dtype));
        check_rows(&random::UNIFORM, std::slice::from_ref(&keys), words, attrs.clone());
        check_rows(&random::NORMAL, std::slice::from_ref(&keys), words, attrs);
    }
    check_rows(&random::BITS, std::slice::from_ref(&keys), words, shape());
    check_rows(
        &random::FOLD_KEY,
        std::slice::from_ref(&keys),
        words,
        Attrs::none().with("path", Attr::Text("za/angle".into())),
    );
    let size = Attrs::none().with("size", Attr::Size(Size::known(5)));
    check_rows(&random::PERMUTATION, std::slice::from_ref(&keys), words, size);
    let index = kernels::tensor((0..6i64).collect(), &[3, 2]).unwrap();
    check_rows(&random::FOLD_INDEX, &[keys, index], words, Attrs::none());
}

/// An application to literal operands.
fn apply(op: &'static Op, operands: &[(Tensor, DType)], attrs: Attrs) -> candle_core::Result<Vec<f64>> {
    let mut builder = Builder::new();
    let inputs: Vec<Value> =
        operands.iter().map(|(tensor, dtype)| builder.input("x", Type::new(*dtype, sizes(tensor.dims())))).collect();
    let output = builder.must(op, &inputs, attrs);
    let tensors: Vec<Tensor> = operands.iter().map(|(tensor, _)| tensor.clone()).collect();
    Ok(flat(&try_evaluate(&builder.finish(vec![output]), &tensors, &Bindings::new())?[0]))
}

fn f32s(values: &[f32]) -> (Tensor, DType) {
    (kernels::tensor(values.to_vec(), &[values.len()]).unwrap(), DType::F32)
}

fn ints(values: &[i64]) -> (Tensor, DType) {
    (kernels::tensor(values.to_vec(), &[values.len()]).unwrap(), DType::I64)
}

#[test]
fn integers_divide_downwards() {
    let (a, b) = (ints(&[7, -7, 7, -7]), ints(&[2, 2, -2, -2]));
    let operands = [a, b];
    assert_eq!(apply(&elementwise::FLOOR_DIV, &operands, Attrs::none()).unwrap(), [3.0, -4.0, -4.0, 3.0]);
    assert_eq!(apply(&elementwise::REMAINDER, &operands, Attrs::none()).unwrap(), [1.0, 1.0, -1.0, -1.0]);
    let fault = apply(&elementwise::FLOOR_DIV, &[ints(&[1, 2]), ints(&[1, 0])], Attrs::none()).unwrap_err();
    assert!(fault.to_string().contains("floor_div: integer division by zero: element 1"), "{fault}");
    let floats = [f32s(&[7.5, -7.5, 1.0]), f32s(&[2.0, 2.0, 0.1])];
    assert_eq!(apply(&elementwise::FLOOR_DIV, &floats, Attrs::none()).unwrap(), [3.0, -4.0, 9.0]);
}

#[test]
fn edges_of_elementwise_ops() {
    let at = |op, x: &[f32]| apply(op, &[f32s(x)], Attrs::none()).unwrap();
    assert_eq!(at(&elementwise::ROUND, &[0.5, 1.5, 2.5, -0.5, -1.5]), [0.0, 2.0, 2.0, 0.0, -2.0]);
    assert_eq!(at(&elementwise::SIGN, &[-3.0, 0.0, 2.0]), [-1.0, 0.0, 1.0]);
    assert_eq!(at(&elementwise::IS_FINITE, &[1.0, f32::INFINITY, f32::NAN]), [1.0, 0.0, 0.0]);
    let pow = |a: &[f32], b: &[f32]| apply(&elementwise::POW, &[f32s(a), f32s(b)], Attrs::none()).unwrap();
    assert_eq!(pow(&[-2.0, -2.0, 0.0, 4.0], &[3.0, 2.0, 0.0, 0.5]), [-8.0, 4.0, 1.0, 2.0]);
    assert_eq!(pow(&[-2.0, 3.0], &[2.0, 2.0]), [4.0, 9.0]);
    assert_eq!(pow(&[-2.0, 4.0], &[-1.0, -1.0]), [-0.5, 0.25]);
    let max = apply(&elementwise::MAXIMUM, &[f32s(&[f32::NAN, 1.0]), f32s(&[1.0, f32::NAN])], Attrs::none()).unwrap();
    assert!(max.iter().all(|x| x.is_nan()));
    let cast = |to| apply(&elementwise::CAST, &[f32s(&[1.9, -1.9, 0.0])], Attrs::none().with("dtype", Attr::DType(to)));
    assert_eq!(cast(DType::I64).unwrap(), [1.0, -1.0, 0.0]);
    assert_eq!(cast(DType::Bool).unwrap(), [1.0, 1.0, 0.0]);
}

/// The gradient of the sum of an application at f64 operands.
fn gradient_at(op: &'static Op, operands: &[&[f64]], attrs: Attrs) -> Vec<Vec<f64>> {
    let shapes: Vec<[usize; 1]> = operands.iter().map(|x| [x.len()]).collect();
    let shapes: Vec<&[usize]> = shapes.iter().map(|shape| &shape[..]).collect();
    let graph = apply_to(&shapes, |builder, inputs| builder.must(op, inputs, attrs.clone()));
    let (gradient, _) = testing::differentiate(&graph);
    let mut inputs: Vec<Tensor> = operands.iter().map(|x| kernels::tensor(x.to_vec(), &[x.len()]).unwrap()).collect();
    let seed = gradient.ty(*gradient.inputs.last().unwrap()).bind(&Bindings::new()).unwrap();
    inputs.push(sample(&seed, 0, 1.0, 1.0));
    evaluate(&gradient, &inputs, &Bindings::new()).iter().map(flat).collect()
}

#[test]
fn gradients_where_functions_are_not_smooth() {
    assert_eq!(gradient_at(&elementwise::ABS, &[&[-1.0, 0.0, 1.0]], Attrs::none())[0], [-1.0, 0.0, 1.0]);
    let ties = gradient_at(&elementwise::MAXIMUM, &[&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]], Attrs::none());
    assert_eq!(ties, [[0.0, 0.5, 1.0], [1.0, 0.5, 0.0]]);
    let ties = gradient_at(&elementwise::MINIMUM, &[&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]], Attrs::none());
    assert_eq!(ties, [[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]]);
    let ties = gradient_at(&reduce::MAX, &[&[4.0, 1.0, 4.0]], build::axes_attr(&[0]));
    assert_eq!(ties[0], [0.5, 0.0, 0.5]);
    let powers = gradient_at(&elementwise::POW, &[&[0.0, 0.0, -2.0, 2.0], &[0.0, 2.0, 2.0, 0.0]], Attrs::none());
    assert_eq!(powers[0], [0.0, 0.0, -4.0, 0.0]);
    assert_eq!(powers[1][..2], [0.0, 0.0]);
    assert!((powers[1][3] - 2f64.ln()).abs() < 1e-12);
}

#[test]
fn misfits_are_facts() {
    let mut builder = Builder::new();
    let wide = builder.input("wide", Type::new(DType::F32, [Size::symbol("B"), Size::known(784)]));
    let narrow = builder.input("narrow", Type::new(DType::F32, [Size::symbol("B"), Size::known(128)]));
    let whole = builder.input("whole", Type::new(DType::I64, [Size::symbol("B")]));
    let fault = builder.apply(&elementwise::ADD, &[wide, narrow], Attrs::none()).unwrap_err();
    assert_eq!(fault.headline, "shapes do not fit, 784 and 128 must be equal");
    assert_eq!(fault.facts[1], (1, "f32[B, 128]: last size is 128".into()));
    let fault = builder.apply(&elementwise::EXP, &[whole], Attrs::none()).unwrap_err();
    assert_eq!(fault.headline, "float elements needed, int given");
    let fault = builder.apply(&reduce::SUM, &[wide], build::axes_attr(&[2])).unwrap_err();
    assert_eq!(fault.headline, "there is no axis 2");
    let attrs = Attrs::none().with("shape", size_attr(&[3]));
    let fault = builder.apply(&shape::RESHAPE, &[wide], attrs).unwrap_err();
    assert_eq!(fault.headline, "784*B elements do not fill a shape of 3");
    let fault = builder.apply(&elementwise::ADD, &[wide], Attrs::none()).unwrap_err();
    assert_eq!(fault.headline, "2 operands needed, 1 given");
}

#[test]
fn symbolic_slices_have_gradients() {
    let mut builder = Builder::new();
    let n = Size::symbol("n");
    let x = builder.input("x", Type::new(DType::F64, [n.clone()]));
    let y = builder.slice(x, &[Size::known(1)], std::slice::from_ref(&n), &[2]);
    let z = builder.concat(&[x, y], 0);
    let (gradient, _) = testing::differentiate(&builder.finish(vec![z]));
    for n in [2i64, 5, 6] {
        let bindings = Bindings::from([("n".into(), n)]);
        let x = sample(&[n as usize], 1, 0.0, 1.0);
        let seed = sample(&[n as usize + n as usize / 2], 1, 1.0, 1.0);
        let found = evaluate(&gradient, &[x, seed], &bindings);
        let want: Vec<f64> = (0..n).map(|at| 1.0 + (at % 2) as f64).collect();
        assert_eq!(flat(&found[0]), want);
    }
}

#[test]
fn rows_of_a_map_are_samples() {
    let mut region = Builder::new();
    let x = region.input("x", Type::new(DType::F32, [Size::known(3)]));
    let sum = region.sum(x, &[0]);
    let region = region.finish(vec![sum]);
    let mut builder = Builder::new();
    let batch = builder.input("batch", Type::new(DType::F32, [Size::symbol("B"), Size::known(3)]));
    let attrs = Attrs::none().with("view", Attr::Text("v".into()));
    let y = builder.apply_with(&structure::MAP_ROWS, &[batch], attrs, vec![region]).unwrap();
    assert_eq!(builder.ty(y).to_string(), "f32[B]");
    let x = kernels::tensor(vec![1f32, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3]).unwrap();
    let sums = evaluate(&builder.finish(vec![y]), &[x], &Bindings::from([("B".into(), 2)]));
    assert_eq!(flat(&sums[0]), [6.0, 15.0]);
}

#[test]
fn constants_sizes_and_positions() {
    let mut builder = Builder::new();
    let values = Attrs::none().with("values", Attr::Floats(vec![1.0, 2.0])).with("dtype", Attr::DType(DType::I64));
    let pair = builder.apply(&structure::CONSTANT, &[], values.clone().with("shape", size_attr(&[2]))).unwrap();
    assert!(builder.apply(&structure::CONSTANT, &[], values.with("shape", size_attr(&[3]))).is_err());
    let (rows, count) = (builder.size(Size::symbol("B")), builder.iota(Size::symbol("B")));
    let splat = builder.splat(0.5, &Type::new(DType::F32, [Size::symbol("B")]));
    let found = evaluate(&builder.finish(vec![pair, rows, count, splat]), &[], &Bindings::from([("B".into(), 3)]));
    let found: Vec<Vec<f64>> = found.iter().map(flat).collect();
    assert_eq!(found, [vec![1.0, 2.0], vec![3.0], vec![0.0, 1.0, 2.0], vec![0.5; 3]]);
}
