use crate::kernels::columns;
use crate::kernels::conv::Geometry;
use crate::kernels::conv_check::{Case, Three, assert_near, assert_same_bits};

/// The direct algorithm where it has the adjoint, and columns for the rest.
const DIRECT: Three = [super::forward, input_gradient, weight_gradient];
const COLUMNS: Three = [forward, input_gradient_by_columns, weight_gradient];

fn input_gradient(g: &Geometry, dy: &[f32], w: &[f32]) -> Vec<f32> {
    if g.stride == [1, 1] { super::input_gradient(g, dy, w) } else { input_gradient_by_columns(g, dy, w) }
}

fn forward(g: &Geometry, x: &[f32], w: &[f32]) -> Vec<f32> {
    let mut y = vec![0.0; g.images * g.outputs * g.out_height * g.out_width];
    columns::forward(g, x, w, &mut y);
    y
}

fn input_gradient_by_columns(g: &Geometry, dy: &[f32], w: &[f32]) -> Vec<f32> {
    let mut dx = vec![0.0; g.images * g.channels * g.height * g.width];
    columns::input_gradient(g, dy, w, &mut dx);
    dx
}

fn weight_gradient(g: &Geometry, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let mut dw = vec![0.0; g.outputs * g.channels / g.groups * g.kernel[0] * g.kernel[1]];
    columns::weight_gradient(g, x, dy, &mut dw);
    dw
}

const CASES: [Case; 24] = [
    ([3, 3, 32, 32, 64, 1], [3, 3], [1, 1], [1; 4], [1, 1]),
    ([4, 1, 28, 28, 32, 1], [3, 3], [1, 1], [1; 4], [1, 1]),
    ([2, 64, 32, 32, 128, 1], [3, 3], [2, 2], [1; 4], [1, 1]),
    ([2, 20, 15, 17, 9, 1], [3, 3], [2, 2], [1, 0, 0, 1], [1, 1]),
    ([3, 64, 32, 32, 64, 1], [1, 1], [1, 1], [0; 4], [1, 1]),
    ([5, 70, 7, 7, 33, 1], [1, 1], [1, 1], [0; 4], [1, 1]),
    ([3, 24, 9, 10, 40, 1], [1, 1], [2, 2], [0; 4], [1, 1]),
    ([2, 300, 8, 8, 20, 1], [1, 1], [2, 2], [0; 4], [1, 1]),
    ([17, 30, 4, 4, 50, 1], [3, 3], [1, 1], [1; 4], [1, 1]),
    ([3, 16, 14, 14, 24, 1], [5, 5], [1, 1], [2; 4], [1, 1]),
    ([2, 3, 33, 29, 10, 1], [7, 7], [2, 2], [3; 4], [1, 1]),
    ([2, 6, 13, 11, 8, 1], [3, 3], [1, 1], [2; 4], [2, 2]),
    ([2, 6, 13, 11, 8, 2], [3, 2], [2, 3], [2, 1, 0, 3], [3, 1]),
    ([3, 32, 8, 8, 16, 4], [3, 3], [1, 1], [1; 4], [1, 1]),
    ([2, 4, 5, 40, 6, 1], [1, 3], [1, 1], [0, 0, 5, 4], [1, 1]),
    ([1, 2, 70, 300, 3, 1], [3, 3], [1, 1], [1; 4], [1, 1]),
    ([9, 5, 1, 1, 7, 1], [1, 1], [1, 1], [0; 4], [1, 1]),
    ([9, 5, 1, 1, 7, 1], [3, 3], [1, 1], [1; 4], [1, 1]),
    ([5, 160, 5, 5, 190, 1], [3, 3], [1, 1], [1; 4], [1, 1]),
    ([2, 512, 4, 4, 64, 1], [3, 3], [2, 2], [1; 4], [1, 1]),
    ([4, 8, 8, 8, 5, 1], [1, 1], [3, 3], [0; 4], [1, 1]),
    ([4, 8, 8, 8, 5, 1], [2, 2], [3, 3], [1, 0, 1, 1], [1, 1]),
    ([2, 6, 12, 16, 7, 1], [5, 1], [1, 1], [0; 4], [1, 1]),
    ([2, 6, 8, 4, 7, 1], [3, 3], [1, 1], [9, 8, 7, 5], [1, 1]),
];

#[test]
fn results_are_near_exact_sums() {
    for case in CASES {
        assert_near(case, DIRECT, 1e-5);
        assert_near(case, COLUMNS, 1e-5);
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    for at in [0, 3, 5, 12, 13, 18] {
        assert_same_bits(CASES[at], DIRECT);
    }
}
