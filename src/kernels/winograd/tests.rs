use crate::kernels::conv_check::{Case, Three, assert_near, assert_same_bits, geometry};

const WINOGRAD: Three = [super::forward, super::input_gradient, super::weight_gradient];

/// `[images, channels, height, width, outputs]` and the padding.
const CASES: [([usize; 5], [usize; 4]); 13] = [
    ([2, 64, 32, 32, 64], [1; 4]),
    ([3, 3, 9, 7, 20], [1, 0, 2, 1]),
    ([5, 33, 5, 13, 17], [0, 2, 1, 2]),
    ([1, 8, 3, 3, 1], [0; 4]),
    ([9, 70, 1, 1, 40], [1; 4]),
    ([7, 24, 2, 3, 8], [2; 4]),
    ([2, 128, 16, 16, 128], [1; 4]),
    ([3, 130, 7, 7, 65], [1; 4]),
    ([4, 256, 8, 8, 256], [1; 4]),
    ([65, 512, 4, 4, 260], [1; 4]),
    ([2, 372, 9, 11, 360], [2, 0, 0, 1]),
    ([1, 5, 70, 41, 16], [2, 1, 0, 1]),
    ([70, 16, 4, 4, 16], [1, 1, 0, 2]),
];

fn case(([images, channels, height, width, outputs], padding): ([usize; 5], [usize; 4])) -> Case {
    ([images, channels, height, width, outputs, 1], [3, 3], [1, 1], padding, [1, 1])
}

#[test]
fn results_are_near_exact_sums() {
    for case in CASES.map(case) {
        assert!(super::possible(&geometry(case)));
        assert_near(case, WINOGRAD, 2e-4);
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    for at in [0, 2, 7, 8, 10] {
        assert_same_bits(case(CASES[at]), WINOGRAD);
    }
}
