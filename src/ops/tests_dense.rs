//! Matrix products, eigenvectors, convolution and pooling: against plain loops, differences and single rows.

use candle_core::{DType as Stored, Device, Tensor};

use super::conv::{CONV2D, CONV2D_INPUT_GRADIENT, CONV2D_WEIGHT_GRADIENT};
use super::linalg::{EIGH, MATMUL};
use super::pool::{MAX_POOL2D, MAX_POOL2D_GRADIENT, SUM_POOL2D, SUM_POOL2D_GRADIENT};
use super::testing::{apply_to, check_gradients, differentiate, evaluate, flat, sample, samples};
use super::tests::{check, check_rows, size_attr, sizes};
use super::*;
use crate::graph::{Attr, Bindings, DType, Size};
use crate::kernels::conv::{self, Geometry};
use crate::kernels::{self, matmul, par, pool, portable};

/// Images, channels, height, width, outputs, groups; then kernel, stride, padding, dilation.
type Case = ([usize; 6], [usize; 2], [usize; 2], [usize; 4], [usize; 2]);

const CASES: &[Case] = &[
    ([2, 3, 5, 6, 4, 1], [3, 3], [1, 1], [1, 1, 1, 1], [1, 1]),
    ([3, 2, 7, 5, 3, 1], [3, 2], [2, 2], [1, 0, 0, 1], [1, 1]),
    ([1, 4, 8, 7, 6, 2], [3, 3], [2, 1], [2, 1, 0, 2], [1, 2]),
    ([2, 3, 6, 6, 6, 3], [2, 3], [1, 3], [0, 0, 1, 1], [2, 1]),
    ([2, 4, 4, 5, 4, 4], [3, 3], [1, 1], [1, 1, 1, 1], [1, 1]),
    ([2, 3, 9, 9, 3, 3], [3, 3], [2, 2], [1, 1, 1, 1], [2, 2]),
    ([2, 3, 4, 4, 5, 1], [1, 1], [1, 1], [0, 0, 0, 0], [1, 1]),
    ([2, 4, 5, 5, 2, 2], [1, 1], [2, 2], [0, 0, 0, 0], [1, 1]),
    ([1, 1, 1, 1, 1, 1], [1, 1], [1, 1], [0, 0, 0, 0], [1, 1]),
    ([1, 2, 1, 9, 2, 1], [1, 5], [1, 4], [0, 0, 2, 3], [1, 1]),
    ([2, 1, 14, 14, 3, 1], [3, 3], [2, 2], [1, 1, 1, 1], [1, 1]),
    ([7, 2, 2, 2, 3, 1], [2, 2], [3, 3], [1, 1, 1, 1], [1, 1]),
];

fn geometry((sizes, kernel, stride, padding, dilation): Case) -> Geometry {
    let [images, channels, height, width, outputs, groups] = sizes;
    let out = |size: usize, at: usize| {
        (size + padding[2 * at] + padding[2 * at + 1] - (kernel[at] - 1) * dilation[at] - 1) / stride[at] + 1
    };
    Geometry {
        images,
        channels,
        height,
        width,
        outputs,
        kernel,
        stride,
        padding,
        dilation,
        groups,
        out_height: out(height, 0),
        out_width: out(width, 1),
    }
}

fn numbers(of: &[usize]) -> Attr {
    Attr::Ints(of.iter().map(|n| *n as i64).collect())
}

fn attrs(g: &Geometry) -> Attrs {
    Attrs::none()
        .with("stride", numbers(&g.stride))
        .with("padding", numbers(&g.padding))
        .with("dilation", numbers(&g.dilation))
        .with("groups", Attr::Int(g.groups as i64))
}

fn shapes(g: &Geometry) -> [Vec<usize>; 3] {
    [
        vec![g.images, g.channels, g.height, g.width],
        vec![g.outputs, g.channels / g.groups, g.kernel[0], g.kernel[1]],
        vec![g.images, g.outputs, g.out_height, g.out_width],
    ]
}

/// Calls `work` with the places in `x`, `w` and `y` of every product that a convolution sums.
fn each_product(g: &Geometry, mut work: impl FnMut(usize, usize, usize)) {
    let (channels, outputs) = (g.channels / g.groups, g.outputs / g.groups);
    for n in 0..g.images {
        for o in 0..g.outputs {
            for oh in 0..g.out_height {
                for ow in 0..g.out_width {
                    for c in 0..channels {
                        for kh in 0..g.kernel[0] {
                            for kw in 0..g.kernel[1] {
                                let row = (oh * g.stride[0] + kh * g.dilation[0]).wrapping_sub(g.padding[0]);
                                let column = (ow * g.stride[1] + kw * g.dilation[1]).wrapping_sub(g.padding[2]);
                                if row < g.height && column < g.width {
                                    let channel = o / outputs * channels + c;
                                    work(
                                        ((n * g.channels + channel) * g.height + row) * g.width + column,
                                        ((o * channels + c) * g.kernel[0] + kh) * g.kernel[1] + kw,
                                        ((n * g.outputs + o) * g.out_height + oh) * g.out_width + ow,
                                    );
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn near(found: &[f64], wanted: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what}: elements");
    for (at, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        assert!((found - wanted).abs() <= tolerance * wanted.abs().max(1.0), "{what}, {at}: {found}, not {wanted}");
    }
}

#[test]
fn convolution_meets_seven_loops() {
    for case in CASES.iter().copied().chain([
        ([3, 8, 40, 33, 5, 1], [3, 3], [1, 1], [1, 1, 1, 1], [1, 1]),
        ([70, 3, 7, 7, 4, 1], [3, 3], [2, 2], [1, 1, 1, 1], [1, 1]),
        // Wide weights, with channels that the blocks do not divide.
        ([3, 180, 3, 3, 165, 1], [3, 3], [2, 1], [1, 0, 1, 1], [1, 1]),
        ([2, 3, 70, 40, 3, 3], [5, 3], [2, 3], [2, 2, 1, 1], [1, 2]),
    ]) {
        let g = geometry(case);
        let [x, w, dy] = shapes(&g).map(|shape| samples(shape.iter().product(), shape.len() as u32, -1.0, 1.0));
        let (mut y, mut dx, mut dw) = (vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; w.len()]);
        each_product(&g, |i, k, o| {
            y[o] += x[i] * w[k];
            dx[i] += dy[o] * w[k];
            dw[k] += x[i] * dy[o];
        });
        let what = |name: &str| format!("{name} of {g:?}");
        near(&conv::forward(&g, &x, &w), &y, 1e-11, &what("forward"));
        near(&conv::input_gradient(&g, &dy, &w), &dx, 1e-11, &what("input gradient"));
        near(&conv::weight_gradient(&g, &x, &dy), &dw, 1e-11, &what("weight gradient"));
        let [sx, sw, sy] = shapes(&g);
        let tensor = |values: &[f64], shape: &[usize]| kernels::tensor(values.to_vec(), shape).unwrap();
        let (tx, tw, ty) = (tensor(&x, &sx), tensor(&w, &sw), tensor(&dy, &sy));
        near(&flat(&portable::conv2d(&g, &tx, &tw).unwrap()), &y, 1e-11, &what("composed forward"));
        let composed = portable::conv2d_input_gradient(&g, &ty, &tw).unwrap();
        near(&flat(&composed), &dx, 1e-11, &what("composed input gradient"));
        let composed = portable::conv2d_weight_gradient(&g, &tx, &ty).unwrap();
        near(&flat(&composed), &dw, 1e-11, &what("composed weight gradient"));
    }
}

#[test]
fn convolutions_have_gradients_of_any_order() {
    for g in CASES.iter().copied().map(geometry).filter(|g| g.images * g.channels * g.height * g.width < 200) {
        let [x, w, dy] = shapes(&g);
        check(&[&x, &w], (-1.0, 1.0), |builder, operands| builder.must(&CONV2D, operands, attrs(&g)));
        check(&[&dy, &w], (-1.0, 1.0), |builder, operands| {
            let attrs = attrs(&g).with("size", size_attr(&[g.height, g.width]));
            builder.must(&CONV2D_INPUT_GRADIENT, operands, attrs)
        });
        check(&[&x, &dy], (-1.0, 1.0), |builder, operands| {
            builder.must(&CONV2D_WEIGHT_GRADIENT, operands, attrs(&g).with("kernel", numbers(&g.kernel)))
        });
    }
}

#[test]
fn convolution_of_rows_has_weights_for_each_row() {
    let rows = 3;
    let types = &[DType::F64; 2];
    for g in CASES.iter().copied().map(geometry) {
        let lead = |shape: &Vec<usize>, seed| {
            let shape: Vec<usize> = std::iter::once(rows).chain(shape.iter().copied()).collect();
            // Few bits, so that every sum is exact whatever its order.
            let values = samples(shape.iter().product(), seed, -8.0, 8.0).into_iter().map(f64::round);
            kernels::tensor(values.collect(), &shape).unwrap()
        };
        let [x, w, dy] = shapes(&g);
        let (x, w, dy) = (lead(&x, 1), lead(&w, 2), lead(&dy, 3));
        check_rows(&CONV2D, &[x.clone(), w.clone()], types, attrs(&g));
        let with_size = attrs(&g).with("size", size_attr(&[g.height, g.width]));
        check_rows(&CONV2D_INPUT_GRADIENT, &[dy.clone(), w], types, with_size);
        check_rows(&CONV2D_WEIGHT_GRADIENT, &[x, dy], types, attrs(&g).with("kernel", numbers(&g.kernel)));
    }
}

#[test]
fn weights_shared_by_rows_stay_one_convolution() {
    let mut builder = Builder::new();
    let known = |shape: &[usize]| Type::new(DType::F64, sizes(shape));
    let rows = Size::symbol("B");
    let x = std::iter::once(rows.clone()).chain(sizes(&[2, 3, 5, 5]));
    let x = builder.input("x", Type::new(DType::F64, x));
    let w = builder.input("w", known(&[4, 3, 3, 3]));
    let shape: Vec<Size> = std::iter::once(rows.clone()).chain(sizes(&[4, 3, 3, 3])).collect();
    let repeated = builder.broadcast(w, &shape, &[1, 2, 3, 4]);
    let attrs = attrs(&geometry(CASES[0]));
    let Rows::Rule(rule) = &CONV2D.rows else { panic!("conv2d is lifted by a rule") };
    let y = rule(&mut Lift { builder: &mut builder, operands: &[x, repeated], attrs: &attrs, rows: &rows }).unwrap();
    assert_eq!(builder.ty(y).to_string(), "f64[B, 2, 4, 5, 5]");
    let other = std::iter::once(rows.clone()).chain(sizes(&[4, 3, 3, 3]));
    let other = builder.input("other", Type::new(DType::F64, other));
    let lift = &mut Lift { builder: &mut builder, operands: &[x, other], attrs: &attrs, rows: &rows };
    assert!(rule(lift).unwrap_err().headline.contains("here it is B"));
}

#[test]
fn misfits_of_convolution_are_facts() {
    let fault = |x: &[usize], w: &[usize], groups: i64| {
        let mut builder = Builder::new();
        let x = builder.input("x", Type::new(DType::F32, sizes(x)));
        let w = builder.input("w", Type::new(DType::F32, sizes(w)));
        let mut attrs = attrs(&geometry(CASES[6]));
        attrs.0.pop();
        builder.apply(&CONV2D, &[x, w], attrs.with("groups", Attr::Int(groups))).unwrap_err()
    };
    let wrong = fault(&[1, 3, 5, 5], &[4, 2, 1, 1], 1);
    assert_eq!(wrong.headline, "shapes do not fit, 3 must be 2, the channels that the weights take in all groups");
    assert_eq!(wrong.facts, [(0, "f32[1, 3, 5, 5]: second size is 3".into())]);
    assert_eq!(fault(&[1, 4, 5, 5], &[3, 2, 1, 1], 2).headline, "2 groups do not divide 3");
    assert_eq!(
        fault(&[1, 3, 5, 5], &[4, 3, 7, 1], 1).headline,
        "conv2d has a window of 7, larger than the 5 pixels that 5 and the padding make"
    );
    assert_eq!(fault(&[1, 3, 5], &[4, 3, 1, 1], 1).headline, "conv2d needs 4 axes, not 3");
}

#[test]
fn bits_do_not_depend_on_threads() {
    let bits = |threads| {
        par::with_threads(threads, || {
            let mut found: Vec<u32> = Vec::new();
            let f32s = |count, seed| samples(count, seed, -1.0, 1.0).into_iter().map(|x| x as f32).collect::<Vec<_>>();
            for case in [
                ([64, 8, 14, 14, 16, 1], [3, 3], [2, 2], [1, 1, 1, 1], [1, 1]),
                ([5, 8, 32, 32, 8, 8], [3, 3], [1, 1], [1, 1, 1, 1], [1, 1]),
                ([9, 16, 8, 8, 16, 1], [1, 1], [1, 1], [0; 4], [1, 1]),
            ] {
                let g = geometry(case);
                let [x, w, dy] = shapes(&g).map(|shape| f32s(shape.iter().product(), 1));
                found.extend(conv::forward(&g, &x, &w).iter().map(|x| x.to_bits()));
                found.extend(conv::input_gradient(&g, &dy, &w).iter().map(|x| x.to_bits()));
                found.extend(conv::weight_gradient(&g, &x, &dy).iter().map(|x| x.to_bits()));
            }
            for (m, k, n) in [(130, 200, 300), (8, 9000, 8), (257, 65, 129)] {
                let a = kernels::tensor(f32s(m * k, 2), &[m, k]).unwrap();
                let b = kernels::tensor(f32s(n * k, 3), &[n, k]).unwrap().t().unwrap();
                let product = matmul::matmul(&a, &b).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
                found.extend(product.iter().map(|x| x.to_bits()));
            }
            found
        })
    };
    let one = bits(1);
    assert!(one == bits(2) && one == bits(5));
}

#[test]
fn products_of_views_meet_loops() {
    for (batch, m, k, n) in
        [(1, 1, 1, 1), (3, 2, 5, 4), (2, 130, 70, 150), (1, 5, 9000, 3), (2, 3, 0, 4), (0, 2, 3, 4), (1, 0, 3, 2)]
    {
        let a = sample(&[batch, k, m], 1, -1.0, 1.0).transpose(1, 2).unwrap();
        let b = sample(&[n, batch, k + 1], 2, -1.0, 1.0).narrow(2, 1, k).unwrap().permute((1, 2, 0)).unwrap();
        let (rows, columns) = (flat(&a), flat(&b));
        let mut wanted = vec![0.0; batch * m * n];
        for (at, wanted) in wanted.iter_mut().enumerate() {
            let (i, row, column) = (at / (m * n), at / n % m, at % n);
            *wanted = (0..k).map(|t| rows[(i * m + row) * k + t] * columns[(i * k + t) * n + column]).sum();
        }
        let product = matmul::matmul(&a, &b).unwrap();
        assert_eq!(product.dims(), [batch, m, n]);
        near(&flat(&product), &wanted, 1e-11, "product");
    }
}

#[test]
fn products_have_gradients_and_rows() {
    for (a, b) in [([2, 3], [3, 4]), ([1, 1], [1, 1]), ([3, 1], [1, 2])] {
        check(&[&a, &b], (-1.0, 1.0), |builder, operands| builder.must(&MATMUL, operands, Attrs::none()));
    }
    check(&[&[2, 2, 3], &[2, 3, 1]], (-1.0, 1.0), |builder, operands| builder.must(&MATMUL, operands, Attrs::none()));
    let operands = [sample(&[3, 2, 4], 1, -1.0, 1.0), sample(&[3, 4, 5], 2, -1.0, 1.0)];
    check_rows(&MATMUL, &operands, &[DType::F64; 2], Attrs::none());
    let mut builder = Builder::new();
    let a = builder.input("a", Type::new(DType::F32, [Size::symbol("B"), Size::known(784)]));
    let b = builder.input("b", Type::new(DType::F32, sizes(&[128, 10])));
    let fault = builder.apply(&MATMUL, &[a, b], Attrs::none()).unwrap_err();
    assert_eq!(fault.headline, "shapes do not fit, 784 and 128 must be equal");
    assert_eq!(
        fault.facts,
        [(0, "f32[B, 784]: last size is 784".into()), (1, "f32[128, 10]: first size is 128".into())]
    );
}

fn eigh(x: &candle_core::Tensor) -> (candle_core::Tensor, candle_core::Tensor) {
    let [w, v] = kernels::factor::eigh(std::slice::from_ref(x)).unwrap().try_into().unwrap();
    (w, v)
}

#[test]
fn eigenvectors_rebuild_the_matrix() {
    for (batch, n) in [(1, 1), (3, 4), (2, 17)] {
        for dtype in [Stored::F64, Stored::F32] {
            let x = sample(&[batch, n, n], 1, -1.0, 1.0).to_dtype(dtype).unwrap();
            let (w, v) = eigh(&x);
            let symmetric = ((&x + x.transpose(1, 2).unwrap()).unwrap() * 0.5).unwrap();
            let rebuilt = v.broadcast_mul(&w.unsqueeze(1).unwrap()).unwrap();
            let rebuilt = rebuilt.matmul(&v.transpose(1, 2).unwrap().contiguous().unwrap()).unwrap();
            near(&flat(&rebuilt), &flat(&symmetric), if dtype == Stored::F64 { 1e-12 } else { 1e-5 }, "rebuilt");
            assert!(flat(&w).chunks(n).all(|w| w.is_sorted()));
            for column in flat(&v.transpose(1, 2).unwrap().contiguous().unwrap()).chunks(n) {
                let largest = column.iter().copied().fold(0.0f64, |a, b| if b.abs() > a.abs() { b } else { a });
                assert!(largest > 0.0, "the largest component is positive");
            }
        }
    }
    let x = kernels::tensor(vec![1.0, f64::NAN, 0.0, 1.0], &[1, 2, 2]).unwrap();
    let (w, v) = eigh(&x);
    assert!(flat(&w).iter().chain(&flat(&v)).all(|x| x.is_nan()));
}

/// `v f(w) v.T`, which does not depend on the signs and the choice of eigenvectors.
fn function_of_matrix(builder: &mut Builder, x: Value) -> Value {
    let w = builder.must(&EIGH, &[x], Attrs::none());
    let v = Value { out: 1, ..w };
    let shape = builder.ty(v).shape.clone();
    let lead = shape.len() - 2;
    let axes: Vec<usize> = (0..lead).chain([lead + 1]).collect();
    let f = builder.sin(w);
    let f = builder.broadcast(f, &shape, &axes);
    let scaled = builder.mul(v, f);
    let v_t = builder.transpose(v);
    builder.must(&MATMUL, &[scaled, v_t], Attrs::none())
}

#[test]
fn eigenvectors_have_gradients() {
    for shape in [&[3, 3][..], &[1, 1], &[2, 3, 3]] {
        check(&[shape], (-2.0, 2.0), |builder, operands| function_of_matrix(builder, operands[0]));
        check(&[shape], (-2.0, 2.0), |builder, operands| {
            let w = builder.must(&EIGH, operands, Attrs::none());
            builder.mul(w, w)
        });
    }
    check_rows(&EIGH, &[sample(&[3, 4, 4], 1, -1.0, 1.0)], &[DType::F64], Attrs::none());
}

#[test]
fn equal_eigenvalues_give_finite_gradients() {
    let graph = apply_to(&[&[3, 3]], |builder, operands| {
        let w = builder.must(&EIGH, operands, Attrs::none());
        let v = Value { out: 1, ..w };
        let v_t = builder.transpose(v);
        builder.must(&MATMUL, &[v, v_t], Attrs::none())
    });
    let (gradient, _) = differentiate(&graph);
    let identity = kernels::tensor(vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], &[3, 3]).unwrap();
    let found = evaluate(&gradient, &[identity, sample(&[3, 3], 1, -1.0, 1.0)], &Bindings::new());
    near(&flat(&found[0]), &[0.0; 9], 1e-9, "v v.T is the identity whatever x");
}

fn windows(window: [usize; 2], stride: [usize; 2], padding: [usize; 4]) -> Attrs {
    Attrs::none().with("window", numbers(&window)).with("stride", numbers(&stride)).with("padding", numbers(&padding))
}

/// Shape, window, stride, padding.
type Pool = (&'static [usize], [usize; 2], [usize; 2], [usize; 4]);

const POOLS: &[Pool] = &[
    (&[4, 4], [2, 2], [2, 2], [0; 4]),
    (&[2, 5, 7], [3, 2], [2, 3], [1, 2, 0, 1]),
    (&[2, 3, 6, 5], [3, 3], [1, 2], [1, 1, 1, 1]),
    (&[1, 1], [1, 1], [1, 1], [0; 4]),
    (&[3, 1], [2, 1], [3, 1], [0, 1, 0, 0]),
];

#[test]
fn pools_have_gradients_and_rows() {
    for (shape, window, stride, padding) in POOLS.iter().copied() {
        let attrs = || windows(window, stride, padding);
        check(&[shape], (-2.0, 2.0), |builder, operands| builder.must(&MAX_POOL2D, operands, attrs()));
        check(&[shape], (-2.0, 2.0), |builder, operands| builder.must(&SUM_POOL2D, operands, attrs()));
        let size = || size_attr(&shape[shape.len() - 2..]);
        let out = apply_to(&[shape], |builder, operands| builder.must(&SUM_POOL2D, operands, attrs()));
        let out = out.ty(out.outputs[0]).bind(&Bindings::new()).unwrap();
        check(&[&out], (-2.0, 2.0), |builder, operands| {
            builder.must(&SUM_POOL2D_GRADIENT, operands, attrs().with("size", size()))
        });
        let lead = |shape: &[usize]| [&[3], shape].concat();
        check_rows(&MAX_POOL2D, &[sample(&lead(shape), 1, -2.0, 2.0)], &[DType::F64], attrs());
        check_rows(&SUM_POOL2D, &[sample(&lead(shape), 1, -2.0, 2.0)], &[DType::F64], attrs());
        let dy = sample(&lead(&out), 2, -2.0, 2.0);
        let adjoint = attrs().with("size", size());
        check_rows(&SUM_POOL2D_GRADIENT, std::slice::from_ref(&dy), &[DType::F64], adjoint);
        let places = Tensor::zeros(lead(&out), Stored::I64, &Device::Cpu).unwrap();
        let size = Attrs::none().with("size", size());
        check_rows(&MAX_POOL2D_GRADIENT, &[dy, places], &[DType::F64, DType::I64], size);
    }
}

#[test]
fn composed_pools_meet_loops() {
    for (shape, window, stride, padding) in POOLS.iter().copied() {
        let out = apply_to(&[shape], |builder, operands| {
            builder.must(&SUM_POOL2D, operands, windows(window, stride, padding))
        });
        let out = out.ty(out.outputs[0]).bind(&Bindings::new()).unwrap();
        let lead = shape.len() - 2;
        let g = pool::Windows {
            planes: shape[..lead].iter().product(),
            height: shape[lead],
            width: shape[lead + 1],
            window,
            stride,
            padding,
            out_height: out[lead],
            out_width: out[lead + 1],
        };
        // Few values, so that there are ties; all below 0, so that padding must not win.
        let x: Vec<f64> = samples(shape.iter().product(), 1, -3.0, 0.0).into_iter().map(|x| x.floor() - 1.0).collect();
        let tensor = kernels::tensor(x.clone(), shape).unwrap();
        let (values, places) = pool::max(&g, &x);
        let (composed, at) = portable::max_pool2d(&g, &tensor).unwrap();
        near(&flat(&composed), &values, 0.0, "largest");
        assert_eq!(at.flatten_all().unwrap().to_vec1::<i64>().unwrap(), places);
        near(&flat(&portable::sum_pool2d(&g, &tensor).unwrap()), &pool::sum(&g, &x), 1e-12, "sum");
        let dy = sample(&out, 2, -1.0, 1.0);
        let composed = portable::sum_pool2d_gradient(&g, &dy).unwrap();
        near(&flat(&composed), &pool::sum_gradient(&g, &flat(&dy)), 1e-12, "adjoint of the sum");
        let composed = portable::max_pool2d_gradient(&g, &dy, &at).unwrap();
        near(&flat(&composed), &pool::max_gradient(&g, &flat(&dy), &places).unwrap(), 1e-12, "adjoint of the largest");
    }
}

#[test]
fn ties_and_nan_of_the_largest() {
    let g = pool::Windows {
        planes: 1,
        height: 2,
        width: 4,
        window: [2, 2],
        stride: [2, 2],
        padding: [0; 4],
        out_height: 1,
        out_width: 2,
    };
    let (values, places) = pool::max(&g, &[1.0, 5.0, f64::NAN, 9.0, 5.0, 5.0, 2.0, f64::NAN]);
    assert_eq!((values[0], places), (5.0, vec![1, 2]));
    assert!(values[1].is_nan());
    let fault = pool::max_gradient(&g, &[1.0, 1.0], &[0, 8]).unwrap_err().to_string();
    assert!(fault.contains("index 8 at position 1 is out of range, the axis has size 8"), "{fault}");
}

#[test]
fn gradients_reach_through_a_pool_of_a_convolution() {
    let g = geometry(CASES[0]);
    let [x, w, _] = shapes(&g);
    let graph = apply_to(&[&x, &w], |builder, operands| {
        let y = builder.must(&CONV2D, operands, attrs(&g));
        let y = builder.must(&MAX_POOL2D, &[y], windows([2, 2], [2, 2], [0; 4]));
        builder.tanh(y)
    });
    check_gradients(&graph, &[sample(&x, 1, -1.0, 1.0), sample(&w, 2, -1.0, 1.0)]);
}
