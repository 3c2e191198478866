//! The innermost loops of convolution: small products whose sums stay in registers, for processors with AVX2 and FMA.
//!
//! Channels lie in groups of eight, `[groups, pixels, 8]`, so that one vector holds a group of one pixel.

use std::arch::x86_64::*;

/// Channels in one vector.
pub const LANES: usize = 8;
/// Outputs that one product with packed weights covers.
pub const PANEL: usize = 16;

/// Whether the processor runs the functions of this file.
pub fn available() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

/// The part of lent memory that starts at a cache line, so that no vector straddles two; [`LINE`] elements more than
/// needed have to be lent.
pub fn aligned(memory: &mut [f32]) -> &mut [f32] {
    let start = memory.as_ptr().align_offset(64).min(LINE).min(memory.len());
    &mut memory[start..]
}

/// Elements of a cache line.
pub const LINE: usize = 16;

/// Eight rows become eight columns.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub fn transpose(rows: [__m256; 8]) -> [__m256; 8] {
    let [a, b, c, d, e, f, g, h] = rows;
    let (ab, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    let (cd, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    let (ef, ef_high) = (_mm256_unpacklo_ps(e, f), _mm256_unpackhi_ps(e, f));
    let (gh, gh_high) = (_mm256_unpacklo_ps(g, h), _mm256_unpackhi_ps(g, h));
    let quads = [
        (_mm256_shuffle_ps::<0x44>(ab, cd), _mm256_shuffle_ps::<0x44>(ef, gh)),
        (_mm256_shuffle_ps::<0xEE>(ab, cd), _mm256_shuffle_ps::<0xEE>(ef, gh)),
        (_mm256_shuffle_ps::<0x44>(ab_high, cd_high), _mm256_shuffle_ps::<0x44>(ef_high, gh_high)),
        (_mm256_shuffle_ps::<0xEE>(ab_high, cd_high), _mm256_shuffle_ps::<0xEE>(ef_high, gh_high)),
    ];
    let low = quads.map(|(left, right)| _mm256_permute2f128_ps::<0x20>(left, right));
    let high = quads.map(|(left, right)| _mm256_permute2f128_ps::<0x31>(left, right));
    [low[0], low[1], low[2], low[3], high[0], high[1], high[2], high[3]]
}

/// `out[pixel][16] = sum over channels of a[pixel][channel] * b[channel][16]` for `pixels` up to 6.
///
/// # Safety
/// The processor has AVX2 and FMA. `a` is `[channels / 8, pitch]` with eight channels of each pixel side by side, `b` is
/// `[channels, 16]`, `out` is `[pixels, 16]` and nobody else's.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn pixels(pixels: usize, channels: usize, a: *const f32, pitch: usize, b: *const f32, out: *mut f32) {
    // SAFETY: by contract.
    unsafe {
        match pixels {
            1 => rows::<1>(channels, a, pitch, b, out),
            2 => rows::<2>(channels, a, pitch, b, out),
            3 => rows::<3>(channels, a, pitch, b, out),
            4 => rows::<4>(channels, a, pitch, b, out),
            5 => rows::<5>(channels, a, pitch, b, out),
            _ => rows::<6>(channels, a, pitch, b, out),
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn rows<const R: usize>(channels: usize, a: *const f32, pitch: usize, b: *const f32, out: *mut f32) {
    let mut sums = [[_mm256_setzero_ps(); 2]; R];
    let (mut a, mut b) = (a, b);
    // SAFETY: by contract of `pixels`.
    unsafe {
        for _ in 0..channels / LANES {
            for lane in 0..LANES {
                step(&mut sums, a.add(lane), b.add(lane * PANEL));
            }
            (a, b) = (a.add(pitch), b.add(LANES * PANEL));
        }
        for lane in 0..channels % LANES {
            step(&mut sums, a.add(lane), b.add(lane * PANEL));
        }
        for (row, [left, right]) in sums.into_iter().enumerate() {
            _mm256_storeu_ps(out.add(row * PANEL), left);
            _mm256_storeu_ps(out.add(row * PANEL + LANES), right);
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn step<const R: usize>(sums: &mut [[__m256; 2]; R], a: *const f32, b: *const f32) {
    // SAFETY: by contract of `pixels`.
    unsafe {
        let (left, right) = (_mm256_loadu_ps(b), _mm256_loadu_ps(b.add(LANES)));
        for (row, sums) in sums.iter_mut().enumerate() {
            let a = _mm256_broadcast_ss(&*a.add(row * LANES));
            *sums = [_mm256_fmadd_ps(a, left, sums[0]), _mm256_fmadd_ps(a, right, sums[1])];
        }
    }
}

/// Rows that [`add_outer`] covers.
pub const OUTER_ROWS: usize = 6;

/// `out[row][group * 8 + lane] = sum over pixels of a[pixel][row] * b[group][pixel][lane]` for six rows and one or two
/// groups, added to what is there if that is to be kept.
///
/// # Safety
/// The processor has AVX2 and FMA. Pixels of `a` and `b` are 8 elements apart, groups of `b` are `pitch` apart; `out` has
/// six rows, `row` apart, of eight columns for each group, and is nobody else's.
#[allow(clippy::too_many_arguments)]
#[target_feature(enable = "avx2,fma")]
pub unsafe fn add_outer(
    groups: usize,
    pixels: usize,
    a: *const f32,
    b: *const f32,
    pitch: usize,
    out: *mut f32,
    row: usize,
    keep: bool,
) {
    // SAFETY: by contract.
    unsafe {
        if groups == 1 {
            outer::<1>(pixels, a, b, pitch, out, row, keep)
        } else {
            outer::<2>(pixels, a, b, pitch, out, row, keep)
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn outer<const G: usize>(
    pixels: usize,
    a: *const f32,
    b: *const f32,
    pitch: usize,
    out: *mut f32,
    row: usize,
    keep: bool,
) {
    let mut sums = [[_mm256_setzero_ps(); G]; OUTER_ROWS];
    // SAFETY: by contract of `add_outer`.
    unsafe {
        for pixel in 0..pixels {
            let (a, b) = (a.add(pixel * LANES), b.add(pixel * LANES));
            let columns: [__m256; G] = std::array::from_fn(|group| _mm256_loadu_ps(b.add(group * pitch)));
            for (row, sums) in sums.iter_mut().enumerate() {
                let a = _mm256_broadcast_ss(&*a.add(row));
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = _mm256_fmadd_ps(a, column, *sum);
                }
            }
        }
        for (at, sums) in sums.into_iter().enumerate() {
            for (group, sum) in sums.into_iter().enumerate() {
                let place = out.add(at * row + group * LANES);
                let sum = if keep { _mm256_add_ps(_mm256_loadu_ps(place), sum) } else { sum };
                _mm256_storeu_ps(place, sum);
            }
        }
    }
}

/// Rows of one product of [`add_panel`], and how far apart its weights of one term are.
pub const ROWS: usize = 6;

/// `out[row][16] = sum over terms of a[term][row] * b[term][16]` for `rows` up to 6, added to what is there if that is to
/// be kept.
///
/// # Safety
/// The processor has AVX2 and FMA. `a` is `[terms, 6]`, `b` is `[terms, 16]`; the rows of `out` are `row` apart and nobody
/// else's.
#[allow(clippy::too_many_arguments)]
#[target_feature(enable = "avx2,fma")]
pub unsafe fn add_panel(
    rows: usize,
    terms: usize,
    a: *const f32,
    b: *const f32,
    out: *mut f32,
    row: usize,
    keep: bool,
) {
    // SAFETY: by contract.
    unsafe {
        match rows {
            1 => panel::<1>(terms, a, b, out, row, keep),
            2 => panel::<2>(terms, a, b, out, row, keep),
            3 => panel::<3>(terms, a, b, out, row, keep),
            4 => panel::<4>(terms, a, b, out, row, keep),
            5 => panel::<5>(terms, a, b, out, row, keep),
            _ => panel::<6>(terms, a, b, out, row, keep),
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn panel<const R: usize>(terms: usize, a: *const f32, b: *const f32, out: *mut f32, row: usize, keep: bool) {
    let mut sums = [[_mm256_setzero_ps(); 2]; R];
    // SAFETY: by contract of `add_panel`.
    unsafe {
        for term in 0..terms {
            let (a, b) = (a.add(term * ROWS), b.add(term * PANEL));
            let (left, right) = (_mm256_loadu_ps(b), _mm256_loadu_ps(b.add(LANES)));
            for (row, sums) in sums.iter_mut().enumerate() {
                let a = _mm256_broadcast_ss(&*a.add(row));
                *sums = [_mm256_fmadd_ps(a, left, sums[0]), _mm256_fmadd_ps(a, right, sums[1])];
            }
        }
        for (at, sums) in sums.into_iter().enumerate() {
            for (half, sum) in sums.into_iter().enumerate() {
                let place = out.add(at * row + half * LANES);
                let sum = if keep { _mm256_add_ps(_mm256_loadu_ps(place), sum) } else { sum };
                _mm256_storeu_ps(place, sum);
            }
        }
    }
}

/// Copies every element, or every second one, to `to`.
///
/// # Safety
/// The processor has AVX2, `step` is 1 or 2, and `from` has as many elements as that takes.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn copy_steps(from: &[f32], step: usize, to: &mut [f32]) {
    debug_assert!(to.is_empty() || (to.len() - 1) * step < from.len());
    let (from, out, mut at) = (from.as_ptr(), to.as_mut_ptr(), 0);
    // SAFETY: by contract; eight elements take as many as lie between the first and the last.
    unsafe {
        while at + LANES <= to.len() {
            let place = from.add(at * step);
            let eight = if step == 1 {
                _mm256_loadu_ps(place)
            } else {
                // Elements 0, 2, 4, 6 of the first eight, and 1, 3, 5, 7 of the eight that end with the last one needed.
                let both = _mm256_shuffle_ps::<0xD8>(_mm256_loadu_ps(place), _mm256_loadu_ps(place.add(LANES - 1)));
                _mm256_castpd_ps(_mm256_permute4x64_pd::<0xD8>(_mm256_castps_pd(both)))
            };
            _mm256_storeu_ps(out.add(at), eight);
            at += LANES;
        }
        while at < to.len() {
            *out.add(at) = *from.add(at * step);
            at += 1;
        }
    }
}
