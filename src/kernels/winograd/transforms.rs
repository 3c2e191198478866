//! The four linear maps of F(4x4, 3x3) at the points 0, 1, -1, 2, -2 and infinity, each on vectors of eight channels.

use std::arch::x86_64::*;

/// Rows of a tile of the input, and of its transform.
pub const SPAN: usize = 6;
/// Outputs of a tile in one direction.
pub const STEP: usize = 4;
/// Elements of a transformed tile.
pub const POINTS: usize = SPAN * SPAN;

#[inline]
#[target_feature(enable = "avx2,fma")]
fn number(value: f32) -> __m256 {
    _mm256_set1_ps(value)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn plus(a: __m256, b: __m256) -> __m256 {
    _mm256_add_ps(a, b)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn minus(a: __m256, b: __m256) -> __m256 {
    _mm256_sub_ps(a, b)
}

/// `a + factor * b`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn plus_times(a: __m256, factor: f32, b: __m256) -> __m256 {
    _mm256_fmadd_ps(number(factor), b, a)
}

/// B^T: six inputs.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub fn input(d: [__m256; SPAN]) -> [__m256; SPAN] {
    let (even, odd) = (plus_times(d[4], -4.0, d[2]), plus_times(d[3], -4.0, d[1]));
    let (outer, inner) = (minus(d[4], d[2]), minus(d[3], d[1]));
    [
        plus_times(plus_times(d[4], -5.0, d[2]), 4.0, d[0]),
        plus(even, odd),
        minus(even, odd),
        plus_times(outer, 2.0, inner),
        plus_times(outer, -2.0, inner),
        plus_times(plus_times(d[5], -5.0, d[3]), 4.0, d[1]),
    ]
}

/// A^T: the sums at six points to four outputs.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub fn output(m: [__m256; SPAN]) -> [__m256; STEP] {
    let (sum, difference) = (plus(m[1], m[2]), minus(m[1], m[2]));
    let (far_sum, far_difference) = (plus(m[3], m[4]), minus(m[3], m[4]));
    [
        plus(plus(m[0], sum), far_sum),
        plus_times(difference, 2.0, far_difference),
        plus_times(sum, 4.0, far_sum),
        plus(plus_times(difference, 8.0, far_difference), m[5]),
    ]
}

/// A: four cotangents of outputs.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub fn cotangent(y: [__m256; STEP]) -> [__m256; SPAN] {
    let (even, odd) = (plus(y[0], y[2]), plus(y[1], y[3]));
    let far_even = plus_times(y[0], 4.0, y[2]);
    let far_odd = plus_times(plus(y[1], y[1]), 8.0, y[3]);
    [y[0], plus(even, odd), minus(even, odd), plus(far_even, far_odd), minus(far_even, far_odd), y[3]]
}

/// G: three weights.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub fn weight(g: [__m256; 3]) -> [__m256; SPAN] {
    let third = |x| _mm256_mul_ps(number(1.0 / 6.0), x);
    let ends = third(plus(g[0], g[2]));
    let middle = third(g[1]);
    let far = plus_times(third(g[2]), 1.0 / 24.0, g[0]);
    let zero = _mm256_setzero_ps();
    [
        _mm256_mul_ps(number(0.25), g[0]),
        minus(zero, plus(ends, middle)),
        minus(middle, ends),
        plus_times(far, 0.5, middle),
        plus_times(far, -0.5, middle),
        g[2],
    ]
}

/// G^T: the sums at six points to the cotangents of three weights.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub fn weight_gradient(q: [__m256; SPAN]) -> [__m256; 3] {
    let (near, far) = (plus(q[1], q[2]), plus(q[3], q[4]));
    let near_sixth = _mm256_mul_ps(number(-1.0 / 6.0), near);
    let middle = _mm256_mul_ps(number(1.0 / 6.0), minus(q[2], q[1]));
    [
        plus_times(plus_times(near_sixth, 1.0 / 24.0, far), 0.25, q[0]),
        plus_times(middle, 1.0 / 12.0, minus(q[3], q[4])),
        plus(plus_times(near_sixth, 1.0 / 6.0, far), q[5]),
    ]
}
