//! Ops whose positions are data and sampling of images: values, refusals, differences and single rows.

use candle_core::{DType as Stored, Tensor};

use super::build::axis_attr;
use super::image::{CROP_RESIZE, CROP_RESIZE_GRADIENT, WARP, WARP_GRADIENT};
use super::index::{ONE_HOT, SCATTER_ADD, SCATTER_ADD_ALONG, SCATTER_SET, SORT, TAKE, TAKE_ALONG};
use super::testing::{check_gradients, evaluate, flat, sample, samples, try_evaluate};
use super::tests::{check_rows, size_attr, sizes};
use super::*;
use crate::graph::{Attr, Bindings, DType, Size};
use crate::kernels;

fn positions(values: &[i64], shape: &[usize]) -> Tensor {
    kernels::tensor(values.to_vec(), shape).unwrap()
}

fn dtype(tensor: &Tensor) -> DType {
    match tensor.dtype() {
        Stored::I64 => DType::I64,
        Stored::F32 => DType::F32,
        _ => DType::F64,
    }
}

/// A graph of one application, with one of its results as its output.
fn one(op: &'static Op, operands: &[Tensor], attrs: Attrs, out: u16) -> Graph {
    let mut builder = Builder::new();
    let input = |x: &Tensor| builder.input("x", Type::new(dtype(x), sizes(x.dims())));
    let inputs: Vec<Value> = operands.iter().map(input).collect();
    let value = builder.must(op, &inputs, attrs);
    builder.finish(vec![Value { out, ..value }])
}

fn value(op: &'static Op, operands: &[Tensor], attrs: Attrs, out: u16) -> Tensor {
    evaluate(&one(op, operands, attrs, out), operands, &Bindings::new()).remove(0)
}

fn refusal(op: &'static Op, operands: &[Tensor], attrs: Attrs) -> String {
    try_evaluate(&one(op, operands, attrs, 0), operands, &Bindings::new()).unwrap_err().to_string()
}

fn check(op: &'static Op, operands: &[Tensor], attrs: Attrs) {
    check_gradients(&one(op, operands, attrs, 0), operands);
}

fn rows(op: &'static Op, operands: &[Tensor], attrs: Attrs) {
    let types: Vec<DType> = operands.iter().map(dtype).collect();
    check_rows(op, operands, &types, attrs);
}

#[test]
fn slices_are_taken_along_any_axis() {
    let x = positions(&(0..24).collect::<Vec<_>>(), &[2, 3, 4]);
    for axis in 0..3 {
        let index = positions(&[1, 0, 1, 1], &[2, 2]);
        let taken = value(&TAKE, &[x.clone(), index.clone()], axis_attr(axis), 0);
        let want = x.index_select(&index.flatten_all().unwrap(), axis).unwrap();
        assert_eq!(taken.rank(), 4);
        assert_eq!(flat(&taken), flat(&want));
    }
    let row = value(&TAKE, &[x.clone(), positions(&[1], &[])], axis_attr(0), 0);
    assert_eq!(row.dims(), [3, 4]);
    assert_eq!(flat(&row)[0], 12.0);
    let none = value(&TAKE, &[x, positions(&[], &[0])], axis_attr(1), 0);
    assert_eq!(none.dims(), [2, 0, 4]);
}

#[test]
fn positions_out_of_range_are_named() {
    let x = sample(&[3, 2], 1, 0.0, 1.0);
    for (at, place) in [(3, 1), (-1, 1)] {
        let index = positions(&[0, at], &[2]);
        let want = format!("take: index {at} at position {place} is out of range, the axis has size 3");
        assert!(refusal(&TAKE, &[x.clone(), index.clone()], axis_attr(0)).contains(&want));
        let updates = sample(&[2, 2], 2, 0.0, 1.0);
        for op in [&SCATTER_ADD, &SCATTER_SET] {
            let fault = refusal(op, &[x.clone(), index.clone(), updates.clone()], axis_attr(0));
            assert!(fault.contains(&format!("{}: index {at} at position {place}", op.name)), "{fault}");
        }
        let along = positions(&[0, at], &[1, 2]);
        assert!(refusal(&TAKE_ALONG, &[x.clone(), along], axis_attr(0)).contains("take_along: index"));
        let classes = Attrs::none().with("classes", Attr::Size(Size::known(3))).with("dtype", Attr::DType(DType::F32));
        assert!(refusal(&ONE_HOT, &[index], classes).contains("one_hot: index"));
    }
    let twice = [x, positions(&[2, 0, 2], &[3]), sample(&[3, 2], 2, 0.0, 1.0)];
    let fault = refusal(&SCATTER_SET, &twice, axis_attr(0));
    assert!(fault.contains("index 2 stands at positions 0 and 2"), "{fault}");
}

#[test]
fn indexing_has_gradients() {
    let x = || sample(&[2, 3, 4], 1, -1.0, 1.0);
    let index = || positions(&[2, 0, 2, 1], &[2, 2]);
    check(&TAKE, &[x(), index()], axis_attr(1));
    check(&TAKE, &[sample(&[3], 1, -1.0, 1.0), positions(&[1], &[])], axis_attr(0));
    for (axis, shape) in [(0, [2, 3, 4]), (1, [2, 2, 4]), (2, [2, 3, 2])] {
        let updates = sample(&shape, 2, -1.0, 1.0);
        let index = positions(&[1, 0], &[2]);
        check(&SCATTER_ADD, &[x(), index.clone(), updates.clone()], axis_attr(axis));
        check(&SCATTER_SET, &[x(), index, updates.clone()], axis_attr(axis));
        let along: Vec<i64> = (0..updates.elem_count() as i64).map(|at| at * 7 % 2).collect();
        let along = positions(&along, &shape);
        check(&TAKE_ALONG, &[x(), along.clone()], axis_attr(axis));
        check(&SCATTER_ADD_ALONG, &[x(), along, updates], axis_attr(axis));
        check(&SORT, &[x()], axis_attr(axis).with("descending", Attr::Bool(axis == 1)));
    }
    let twice = positions(&[1, 1, 0], &[3]);
    check(&SCATTER_ADD, &[sample(&[2], 1, -1.0, 1.0), twice, sample(&[3], 2, -1.0, 1.0)], axis_attr(0));
}

#[test]
fn indexing_works_on_each_row() {
    // Few bits, so that sums are exact whatever their order.
    let whole = |shape: &[usize], seed| {
        let values = samples(shape.iter().product(), seed, -8.0, 8.0).into_iter().map(f64::round).collect();
        kernels::tensor::<f64>(values, shape).unwrap()
    };
    let x = || whole(&[3, 2, 4], 1);
    rows(&TAKE, &[x(), positions(&[0, 1, 1, 1, 0, 0], &[3, 2])], axis_attr(0));
    rows(&TAKE, &[x(), positions(&[3, 1, 2], &[3])], axis_attr(1));
    rows(&TAKE, &[x(), positions(&[3, 1, 2, 0, 0, 1], &[3, 1, 2])], axis_attr(1));
    let index = || positions(&[3, 1, 2, 0, 0, 1], &[3, 2]);
    rows(&SCATTER_ADD, &[x(), index(), whole(&[3, 2, 2], 2)], axis_attr(1));
    rows(&SCATTER_SET, &[x(), index(), whole(&[3, 2, 2], 2)], axis_attr(1));
    let along = || positions(&[1, 0, 1, 1, 0, 0, 1, 1, 1, 0, 0, 1], &[3, 1, 4]);
    rows(&TAKE_ALONG, &[x(), along()], axis_attr(0));
    rows(&SCATTER_ADD_ALONG, &[x(), along(), whole(&[3, 1, 4], 2)], axis_attr(0));
    rows(&SORT, &[x()], axis_attr(1).with("descending", Attr::Bool(true)));
    let classes = Attrs::none().with("classes", Attr::Size(Size::known(4))).with("dtype", Attr::DType(DType::F64));
    rows(&ONE_HOT, &[index()], classes);
}

#[test]
fn sorting_is_stable_and_puts_nan_last() {
    let x = kernels::tensor(vec![2.0, f64::NAN, 1.0, 2.0, f64::NAN, 1.0], &[6]).unwrap();
    let order = |descending| {
        let attrs = axis_attr(0).with("descending", Attr::Bool(descending));
        flat(&value(&SORT, std::slice::from_ref(&x), attrs, 1))
    };
    assert_eq!(order(false), [2.0, 5.0, 0.0, 3.0, 1.0, 4.0]);
    assert_eq!(order(true), [0.0, 3.0, 2.0, 5.0, 1.0, 4.0]);
}

#[test]
fn long_scatters_meet_loops() {
    for (before, size, after, count) in [(1, 50, 300, 400), (7, 5, 1, 30), (1, 3, 1, 100_000), (40, 300, 9, 70)] {
        let at: Vec<i64> = (0..count as i64).map(|at| at * 31 % size as i64).collect();
        let x = sample(&[before, size, after], 1, -1.0, 1.0);
        let updates = sample(&[before, count, after], 2, -1.0, 1.0);
        let (mut want, terms) = (flat(&x), flat(&updates));
        for (i, term) in terms.iter().enumerate() {
            let (b, k, a) = (i / (count * after), i / after % count, i % after);
            want[(b * size + at[k] as usize) * after + a] += term;
        }
        let sum = value(&SCATTER_ADD, &[x, positions(&at, &[count]), updates], axis_attr(1), 0);
        assert_eq!(flat(&sum), want);
    }
}

fn warp_attrs(height: usize, width: usize, edge: &str) -> Attrs {
    let size = |size: usize| Attr::Size(Size::known(size as i64));
    Attrs::none().with("height", size(height)).with("width", size(width)).with("edge", Attr::Text(edge.into()))
}

fn tensor(values: &[f64], shape: &[usize]) -> Tensor {
    kernels::tensor(values.to_vec(), shape).unwrap()
}

#[test]
fn warps_move_turn_and_stop_at_the_edge() {
    let x = || tensor(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[1, 2, 3]);
    let at = |matrix: &[f64], edge| flat(&value(&WARP, &[x(), tensor(matrix, &[2, 3])], warp_attrs(2, 3, edge), 0));
    assert_eq!(at(&[1.0, 0.0, 0.0, 0.0, 1.0, 0.0], "zero"), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(at(&[1.0, 0.0, 1.0, 0.0, 1.0, 0.0], "zero"), [2.0, 3.0, 0.0, 5.0, 6.0, 0.0]);
    assert_eq!(at(&[1.0, 0.0, 1.0, 0.0, 1.0, 0.0], "edge"), [2.0, 3.0, 3.0, 5.0, 6.0, 6.0]);
    assert_eq!(at(&[1.0, 0.0, -0.5, 0.0, 1.0, 0.0], "zero"), [0.5, 1.5, 2.5, 2.0, 4.5, 5.5]);
    assert_eq!(at(&[-1.0, 0.0, 2.0, 0.0, -1.0, 1.0], "zero"), [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]);
    assert_eq!(at(&[1.0, 0.0, f64::NAN, 0.0, 1.0, 0.0], "edge"), [0.0; 6]);
    assert_eq!(at(&[1.0, 0.0, 1e300, 0.0, 1.0, 0.0], "edge")[..3], [3.0; 3]);
}

/// `<A x, y>` and `<x, A' y>`.
fn adjoint(op: &'static Op, adjoint: &'static Op, x: &Tensor, place: &Tensor, attrs: Attrs, back: Attrs) {
    let y = value(op, &[x.clone(), place.clone()], attrs, 0);
    let seed = sample(y.dims(), 9, -1.0, 1.0);
    let returned = value(adjoint, &[seed.clone(), place.clone()], back, 0);
    let dot = |a: &Tensor, b: &Tensor| flat(a).iter().zip(flat(b)).map(|(a, b)| a * b).sum::<f64>();
    let (left, right) = (dot(&y, &seed), dot(x, &returned));
    assert!((left - right).abs() < 1e-10 * left.abs().max(1.0), "{}: {left} and {right}", op.name);
}

#[test]
fn sampling_has_adjoints() {
    let x = sample(&[2, 3, 9, 7], 1, -1.0, 1.0);
    for edge in ["zero", "edge"] {
        let matrix = sample(&[2, 2, 3], 2, -2.0, 2.0);
        let back = Attrs::none().with("size", size_attr(&[9, 7])).with("edge", Attr::Text(edge.into()));
        adjoint(&WARP, &WARP_GRADIENT, &x, &matrix, warp_attrs(5, 6, edge), back);
    }
    for (height, width) in [(5, 6), (20, 3), (1, 1), (9, 7)] {
        let boxes = tensor(&[0.0, 0.0, 9.0, 7.0, -1.5, 2.25, 6.5, 8.0], &[2, 4]);
        let size = |size: usize| Attr::Size(Size::known(size as i64));
        let attrs = Attrs::none().with("height", size(height)).with("width", size(width));
        let back = Attrs::none().with("size", size_attr(&[9, 7]));
        adjoint(&CROP_RESIZE, &CROP_RESIZE_GRADIENT, &x, &boxes, attrs, back);
    }
}

#[test]
fn sampling_is_linear_in_the_image_to_any_order() {
    let mut builder = Builder::new();
    let image = builder.input("image", Type::new(DType::F64, sizes(&[2, 4, 3])));
    let place = Attrs::none().with("values", Attr::Floats(vec![0.5, -0.25, 2.5, 2.0]));
    let place = place.with("dtype", Attr::DType(DType::F64)).with("shape", size_attr(&[4]));
    let place = builder.must(&structure::CONSTANT, &[], place);
    let matrix = Attrs::none().with("values", Attr::Floats(vec![0.8, 0.3, -0.5, -0.2, 1.1, 0.4]));
    let matrix = matrix.with("dtype", Attr::DType(DType::F64)).with("shape", size_attr(&[2, 3]));
    let matrix = builder.must(&structure::CONSTANT, &[], matrix);
    let size = |size: i64| Attr::Size(Size::known(size));
    let crop = Attrs::none().with("height", size(3)).with("width", size(5));
    let crop = builder.must(&CROP_RESIZE, &[image, place], crop);
    let turned = builder.must(&WARP, &[crop, matrix], warp_attrs(2, 4, "zero"));
    let bent = builder.sin(turned);
    check_gradients(&builder.finish(vec![bent]), &[sample(&[2, 4, 3], 1, -2.0, 2.0)]);
}

#[test]
fn resizing_averages_what_it_reduces() {
    let size = |size: usize| Attr::Size(Size::known(size as i64));
    let attrs = |height, width| Attrs::none().with("height", size(height)).with("width", size(width));
    let line = || tensor(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], &[1, 1, 8]);
    let at = |place: &[f64], width| flat(&value(&CROP_RESIZE, &[line(), tensor(place, &[4])], attrs(1, width), 0));
    assert_eq!(at(&[0.0, 0.0, 1.0, 8.0], 8), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    assert_eq!(at(&[0.0, 2.0, 1.0, 3.0], 3), [2.0, 3.0, 4.0]);
    // A triangle of support 2 around 1, 3, 5, 7: weights 1/8 3/8 3/8 1/8 inside, renormalised at the ends.
    let halves = at(&[0.0, 0.0, 1.0, 8.0], 4);
    for (found, want) in halves.iter().zip([5.0 / 7.0, 2.5, 4.5, 44.0 / 7.0]) {
        assert!((found - want).abs() < 1e-12, "{halves:?}");
    }
    // Enlarging is plain bilinear between pixel centres, and nothing beyond the box counts.
    assert_eq!(at(&[0.0, 0.0, 1.0, 2.0], 4), [0.0, 0.25, 0.75, 1.0]);
    assert_eq!(at(&[0.0, 20.0, 1.0, 2.0], 2), [7.0, 7.0]);
    let fault = refusal(&CROP_RESIZE, &[line(), tensor(&[0.0, 0.0, 0.0, 8.0], &[4])], attrs(1, 2));
    assert!(fault.contains("box 0 is [0.0, 0.0, 0.0, 8.0]"), "{fault}");
}

#[test]
fn sampling_works_on_each_row() {
    let x = sample(&[3, 2, 5, 4], 1, -1.0, 1.0);
    let matrix = sample(&[3, 2, 3], 2, -2.0, 2.0);
    rows(&WARP, &[x.clone(), matrix], warp_attrs(3, 4, "edge"));
    let boxes = tensor(&[0.0, 0.0, 5.0, 4.0, 1.0, 1.0, 2.0, 2.0, -1.0, 0.5, 3.0, 9.0], &[3, 4]);
    let size = |size: i64| Attr::Size(Size::known(size));
    rows(&CROP_RESIZE, &[x, boxes], Attrs::none().with("height", size(3)).with("width", size(6)));
}

#[test]
fn misfits_of_places_are_facts() {
    let mut builder = Builder::new();
    let x = builder.input("x", Type::new(DType::F32, sizes(&[3, 4])));
    let y = builder.input("y", Type::new(DType::F32, sizes(&[2, 5])));
    let index = builder.input("index", Type::new(DType::I64, sizes(&[2])));
    let fault = builder.apply(&TAKE, &[x, x], axis_attr(0)).unwrap_err();
    assert_eq!(fault.headline, "take needs an index of int, not f32");
    let fault = builder.apply(&SCATTER_ADD, &[x, index, y], axis_attr(0)).unwrap_err();
    assert_eq!(fault.headline, "shapes do not fit, 4 and 5 must be equal");
    assert_eq!(fault.facts[1], (2, "f32[2, 5]: last size is 5".into()));
    let fault = builder.apply(&WARP, &[x, y], warp_attrs(1, 1, "wrap")).unwrap_err();
    assert_eq!(fault.headline, "warp needs at least 3 axes, not 2");
}
