//! Philox 4x32-10, the generator of every random number, and the maps from its words to draws.
//!
//! A key is two words; a counter is four. What the words of a counter mean:
//!
//! | word | draws | folding a path | folding an index |
//! | --- | --- | --- | --- |
//! | 0, 1 | number of the block, low word first | the first eight bytes of the path's BLAKE3 hash, little end first | the index, low word first |
//! | 2 | 0 | 1 | 2 |
//! | 3 | 0 | 0 | 0 |
//!
//! A block gives four words. In a draw, element `i` takes word `i % 4` of block `i / 4`; an f64 element takes words
//! `2 * (i % 2)` (low) and the one after it (high) of block `i / 2`. So an element depends on key and place alone, never on how
//! many are drawn or on how many keys are drawn with. Folding gives the block's first two words as the new key.
//!
//! `uniform`: the upper 24 (f64: 53) bits over 2^24 (2^53). `normal`: the inverse of the normal distribution function
//! by Wichura's rational approximations (algorithm AS 241), with a logarithm made of `+ - * /` here. Only these four and
//! the square root are used, all exactly rounded, and nothing is contracted, so every machine draws the same bits.

use std::mem::MaybeUninit;

use candle_core::{Device, Result, Tensor};

use super::elementwise::{avx2, map_into};
use super::{Elements, contiguous, par, tensor};
use crate::graph::DType;

pub type Key = [u32; 2];

/// The purpose of a block, word 2 of its counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Draw = 0,
    Path = 1,
    Index = 2,
}

/// One block: four words from a counter and a key.
#[inline(always)]
pub fn philox(counter: [u32; 4], key: Key) -> [u32; 4] {
    let ([mut a, mut b, mut c, mut d], [mut k, mut l]) = (counter, key);
    for _ in 0..10 {
        let left = a as u64 * 0xd251_1f53;
        let right = c as u64 * 0xcd9e_8d57;
        (a, b, c, d) = ((right >> 32) as u32 ^ b ^ k, right as u32, (left >> 32) as u32 ^ d ^ l, left as u32);
        k = k.wrapping_add(0x9e37_79b9);
        l = l.wrapping_add(0xbb67_ae85);
    }
    [a, b, c, d]
}

fn block(key: Key, number: u64, purpose: Purpose) -> [u32; 4] {
    philox([number as u32, (number >> 32) as u32, purpose as u32, 0], key)
}

/// The key of a place in the program.
pub fn fold_path(key: Key, path: &str) -> Key {
    let hash = blake3::hash(path.as_bytes());
    let mut number = [0; 8];
    number.copy_from_slice(&hash.as_bytes()[..8]);
    let [a, b, ..] = block(key, u64::from_le_bytes(number), Purpose::Path);
    [a, b]
}

/// The key of a step, a record, an iteration.
pub fn fold_index(key: Key, index: i64) -> Key {
    let [a, b, ..] = block(key, index as u64, Purpose::Index);
    [a, b]
}

/// Word number `at` of a draw.
pub fn word(key: Key, at: u64) -> u32 {
    block(key, at / 4, Purpose::Draw)[(at % 4) as usize]
}

/// 24 bits in [0, 1).
#[inline(always)]
pub fn unit_f32(word: u32) -> f32 {
    (word >> 8) as i32 as f32 * (1.0 / 16_777_216.0)
}

/// 53 bits in [0, 1).
#[inline(always)]
pub fn unit_f64(low: u32, high: u32) -> f64 {
    (((high as u64) << 32 | low as u64) >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
}

/// The natural logarithm of a positive normal number.
#[inline(always)]
fn log_f32(x: f32) -> f32 {
    let bits = x.to_bits();
    // The mantissa lies between sqrt(1/2) and sqrt(2), so that the series below is short.
    let shifted = bits.wrapping_sub(0x3f35_04f3);
    let exponent = (shifted as i32) >> 23;
    let mantissa = f32::from_bits(bits.wrapping_sub((exponent as u32) << 23));
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let z = s * s;
    let series = 1.0 + z * (1.0 / 3.0 + z * (1.0 / 5.0 + z * (1.0 / 7.0 + z * (1.0 / 9.0))));
    exponent as f32 * std::f32::consts::LN_2 + 2.0 * s * series
}

#[inline(always)]
fn log_f64(x: f64) -> f64 {
    let bits = x.to_bits();
    let shifted = bits.wrapping_sub(0x3fe6_a09e_667f_3bcd);
    let exponent = (shifted as i64) >> 52;
    let mantissa = f64::from_bits(bits.wrapping_sub((exponent as u64) << 52));
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let z = s * s;
    let mut series = 1.0 / 25.0;
    for odd in (0..12).rev() {
        series = series * z + 1.0 / (2 * odd + 1) as f64;
    }
    exponent as f64 * std::f64::consts::LN_2 + 2.0 * s * series
}

macro_rules! horner {
    ($x:expr, $highest:expr $(, $next:expr)*) => {{
        let value = $highest;
        $(let value = value * $x + $next;)*
        value
    }};
}

/// A standard normal number: one bit for the sign, 31 for the tail probability.
#[inline(always)]
pub fn normal_f32(word: u32) -> f32 {
    // In (0, 1/2): half of a unit is added so that zero does not occur.
    // By way of i32, which vectors convert at once.
    let tail = ((word & 0x7fff_ffff) as i32 as f32 + 0.5) * (1.0 / 4_294_967_296.0);
    let q = 0.5 - tail;
    let r = 0.180625 - q * q;
    let centre = q * horner!(r, 59.109_375f32, 159.291_13, 50.434_27, 3.387_132_7)
        / horner!(r, 67.187_56f32, 78.757_76, 17.895_17, 1.0);
    let root = (-log_f32(tail)).sqrt();
    let r = root - 1.6;
    let middle = horner!(r, 0.170_238_21f32, 1.306_728_5, 2.756_815_4, 1.423_437_3)
        / horner!(r, 0.120_211_33f32, 0.737_001_64, 1.0);
    let magnitude = if q <= 0.425 { centre } else { middle };
    f32::from_bits(magnitude.to_bits() ^ (word & 0x8000_0000))
}

/// A standard normal number: one bit for the sign, 63 for the tail probability.
#[inline(always)]
pub fn normal_f64(low: u32, high: u32) -> f64 {
    let bits = (high as u64) << 32 | low as u64;
    let tail = ((bits & 0x7fff_ffff_ffff_ffff) as f64 + 0.5) * (1.0 / 18_446_744_073_709_551_616.0);
    let q = 0.5 - tail;
    let magnitude = if q <= 0.425 { centre_f64(q) } else { tail_f64((-log_f64(tail)).sqrt()) };
    if bits >> 63 == 0 { magnitude } else { -magnitude }
}

fn centre_f64(q: f64) -> f64 {
    let r = 0.180625 - q * q;
    let over = horner!(
        r,
        2_509.080_928_730_122_7,
        33_430.575_583_588_13,
        67_265.770_927_008_7,
        45_921.953_931_549_87,
        13_731.693_765_509_46,
        1_971.590_950_306_551_3,
        133.141_667_891_784_38,
        3.387_132_872_796_366_5
    );
    let under = horner!(
        r,
        5_226.495_278_852_854,
        28_729.085_735_721_943,
        39_307.895_800_092_71,
        21_213.794_301_586_597,
        5_394.196_021_424_751,
        687.187_007_492_057_9,
        42.313_330_701_600_91,
        1.0
    );
    q * over / under
}

fn tail_f64(root: f64) -> f64 {
    if root <= 5.0 {
        let r = root - 1.6;
        let over = horner!(
            r,
            7.745_450_142_783_414e-4,
            0.022_723_844_989_269_184,
            0.241_780_725_177_450_6,
            1.270_458_252_452_368_4,
            3.647_848_324_763_204_5,
            5.769_497_221_460_691,
            4.630_337_846_156_546,
            1.423_437_110_749_683_5
        );
        let under = horner!(
            r,
            1.050_750_071_644_416_9e-9,
            5.475_938_084_995_345e-4,
            0.015_198_666_563_616_457,
            0.148_103_976_427_480_08,
            0.689_767_334_985_1,
            1.676_384_830_183_803_8,
            2.053_191_626_637_759,
            1.0
        );
        over / under
    } else {
        let r = root - 5.0;
        let over = horner!(
            r,
            2.010_334_399_292_288_1e-7,
            2.711_555_568_743_487_6e-5,
            0.001_242_660_947_388_078_4,
            0.026_532_189_526_576_124,
            0.296_560_571_828_504_87,
            1.784_826_539_917_291_3,
            5.463_784_911_164_114,
            6.657_904_643_501_103
        );
        let under = horner!(
            r,
            2.044_263_103_389_939_8e-15,
            1.421_511_758_316_446e-7,
            1.846_318_317_510_054_8e-5,
            7.868_691_311_456_133e-4,
            0.014_875_361_290_850_615,
            0.136_929_880_922_735_8,
            0.599_832_206_555_888,
            1.0
        );
        over / under
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draw {
    Bits,
    Uniform,
    Normal,
}

/// Every key in a tensor `[…, 2]`.
fn keys(tensor: &Tensor) -> Result<Vec<Key>> {
    let host = contiguous(&tensor.to_device(&Device::Cpu)?)?;
    let words = Elements::<u32>::of(&host)?;
    Ok(words.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect())
}

/// Elements handed to a worker at a time; with it every worker begins at the start of a block of Philox.
const BLOCK: usize = par::BLOCK / 4;
/// Blocks of Philox that are computed side by side, a vector of each word.
const LANES: usize = 8;
/// Words that are made before they are turned into numbers.
const BUFFER: usize = 64 * 4 * LANES;

#[inline(always)]
fn words_loop(key: Key, first: u64, out: &mut [u32]) {
    let mut groups = out.chunks_exact_mut(4 * LANES);
    let mut number = first;
    for group in &mut groups {
        let (mut a, mut b, mut c, mut d) = ([0; LANES], [0; LANES], [Purpose::Draw as u32; LANES], [0; LANES]);
        for lane in 0..LANES {
            let number = number + lane as u64;
            (a[lane], b[lane]) = (number as u32, (number >> 32) as u32);
        }
        let [mut k, mut l] = key;
        for _ in 0..10 {
            for lane in 0..LANES {
                let (left, right) = (a[lane] as u64 * 0xd251_1f53, c[lane] as u64 * 0xcd9e_8d57);
                a[lane] = (right >> 32) as u32 ^ b[lane] ^ k;
                b[lane] = right as u32;
                c[lane] = (left >> 32) as u32 ^ d[lane] ^ l;
                d[lane] = left as u32;
            }
            k = k.wrapping_add(0x9e37_79b9);
            l = l.wrapping_add(0xbb67_ae85);
        }
        for (lane, words) in group.chunks_exact_mut(4).enumerate() {
            words.copy_from_slice(&[a[lane], b[lane], c[lane], d[lane]]);
        }
        number += LANES as u64;
    }
    for (at, words) in groups.into_remainder().chunks_mut(4).enumerate() {
        words.copy_from_slice(&block(key, number + at as u64, Purpose::Draw)[..words.len()]);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn words_avx2(key: Key, first: u64, out: &mut [u32]) {
    words_loop(key, first, out);
}

/// The words of a draw from block number `first` on.
fn words(key: Key, first: u64, out: &mut [u32]) {
    #[cfg(target_arch = "x86_64")]
    if avx2() {
        // SAFETY: the processor has the feature that the function is compiled for.
        return unsafe { words_avx2(key, first, out) };
    }
    words_loop(key, first, out)
}

/// `each` element of the draws of all keys; `of` turns `per` words into each of some elements.
fn fill<T: Copy + Send>(
    keys: &[Key],
    each: usize,
    per: usize,
    of: impl Fn(&[u32], &mut [MaybeUninit<T>]) + Sync,
) -> Vec<T> {
    let one = |key: Key, start: usize, out: &mut [MaybeUninit<T>]| {
        let mut buffer = [0; BUFFER];
        for (at, places) in out.chunks_mut(BUFFER / per).enumerate() {
            let words_here = &mut buffer[..places.len() * per];
            words(key, ((start + at * (BUFFER / per)) * per / 4) as u64, words_here);
            of(words_here, places);
        }
    };
    if let [key] = keys {
        return par::build(each, BLOCK, |start, out| one(*key, start, out));
    }
    if each == 0 {
        return Vec::new();
    }
    let unit = (BLOCK / each).max(1) * each;
    par::build(keys.len() * each, unit, |start, out| {
        for (at, row) in out.chunks_mut(each).enumerate() {
            one(keys[start / each + at], 0, row);
        }
    })
}

/// Numbers of one word each.
fn singles<T: Copy + Send>(keys: &[Key], each: usize, of: impl Fn(u32) -> T + Copy + Sync) -> Vec<T> {
    fill(keys, each, 1, |words, places| map_into(words, places, of))
}

/// Numbers of two words each, the low one first.
fn pairs(keys: &[Key], each: usize, of: impl Fn(u32, u32) -> f64 + Sync) -> Vec<f64> {
    fill(keys, each, 2, |words, places| {
        for (place, pair) in places.iter_mut().zip(words.chunks_exact(2)) {
            place.write(of(pair[0], pair[1]));
        }
    })
}

/// A draw of `shape`, whose leading sizes are those of the keys and whose last `each` elements belong to one key.
pub fn draw(key: &Tensor, draw: Draw, dtype: DType, shape: &[usize], each: usize) -> Result<Tensor> {
    let keys = keys(key)?;
    let drawn = match (draw, dtype) {
        (Draw::Bits, _) => tensor(singles(&keys, each, |word| word), shape),
        (Draw::Uniform, DType::F64) => tensor(pairs(&keys, each, unit_f64), shape),
        (Draw::Uniform, _) => tensor(singles(&keys, each, unit_f32), shape),
        (Draw::Normal, DType::F64) => tensor(pairs(&keys, each, normal_f64), shape),
        (Draw::Normal, _) => tensor(singles(&keys, each, normal_f32), shape),
    }?;
    drawn.to_device(key.device())
}

/// Positions `0..size` in random order for each key: sorted by 64 random bits each, by position where these agree.
pub fn permutation(key: &Tensor, size: usize, shape: &[usize]) -> Result<Tensor> {
    let mut out = Vec::with_capacity(shape.iter().product());
    for key in keys(key)? {
        let mut order: Vec<(u64, i64)> = (0..size as u64)
            .map(|at| {
                let words = block(key, at / 2, Purpose::Draw);
                let [low, high] = if at % 2 == 0 { [words[0], words[1]] } else { [words[2], words[3]] };
                ((high as u64) << 32 | low as u64, at as i64)
            })
            .collect();
        order.sort_unstable();
        out.extend(order.into_iter().map(|(_, at)| at));
    }
    tensor(out, shape)?.to_device(key.device())
}

/// Folds a path into every key.
pub fn fold_paths(key: &Tensor, path: &str) -> Result<Tensor> {
    let folded = keys(key)?.into_iter().flat_map(|key| fold_path(key, path)).collect();
    tensor(folded, key.dims())?.to_device(key.device())
}

/// Folds indices into keys. The leading sizes of the keys are the first sizes of the indices; each key serves all indices
/// below it.
pub fn fold_indices(key: &Tensor, index: &Tensor) -> Result<Tensor> {
    let keys = keys(key)?;
    let host = contiguous(&index.to_device(&Device::Cpu)?)?;
    let indices = Elements::<i64>::of(&host)?;
    let each = (indices.len() / keys.len().max(1)).max(1);
    let folded = keys.iter().zip(indices.chunks(each));
    let folded = folded.flat_map(|(key, indices)| indices.iter().flat_map(|index| fold_index(*key, *index)));
    let shape = [index.dims(), &[2]].concat();
    tensor(folded.collect(), &shape)?.to_device(key.device())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_vectors_are_met() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
        let pi = [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344];
        assert_eq!(philox(pi, [0xa4093822, 0x299f31d0]), [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]);
    }

    #[test]
    fn normals_invert_the_distribution_function() {
        let below = |x: f64| 0.5 * candle_core::cpu::erf::erfc_f64(x / std::f64::consts::SQRT_2);
        for step in 0..4000u64 {
            let word = (step * 1_073_741 + 17) as u32;
            let tail = ((word & 0x7fff_ffff) as f64 + 0.5) / 4_294_967_296.0;
            let have = below(normal_f32(word & 0x7fff_ffff) as f64);
            assert!((have / tail - 1.0).abs() < 1e-5, "{word}: {have} {tail}");
            assert_eq!(normal_f32(word ^ 1 << 31), -normal_f32(word));
        }
        for exponent in 0..62 {
            for low in [0u32, 12_345, u32::MAX] {
                let bits = (1u64 << exponent | low as u64) & 0x7fff_ffff_ffff_ffff;
                let tail = (bits as f64 + 0.5) / 18_446_744_073_709_551_616.0;
                let have = below(normal_f64(bits as u32, (bits >> 32) as u32));
                assert!((have / tail - 1.0).abs() < 1e-12, "{bits}: {have} {tail}");
            }
        }
        // The words of the tails: the largest magnitudes that can be drawn.
        assert!((6.0..6.5).contains(&normal_f32(0)));
        assert!((9.0..9.3).contains(&normal_f64(0, 0)));
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let values = singles(&[[1, 2]], 200_000, normal_f32);
        let mean = |power: i32| values.iter().map(|x| (*x as f64).powi(power)).sum::<f64>() / values.len() as f64;
        assert!(mean(1).abs() < 0.01 && (mean(2) - 1.0).abs() < 0.02);
        assert!(mean(3).abs() < 0.04 && (mean(4) - 3.0).abs() < 0.1);
        let values = singles(&[[1, 2]], 200_000, unit_f32);
        assert!(values.iter().all(|x| (0.0..1.0).contains(x)));
        assert!((values.iter().map(|x| *x as f64).sum::<f64>() / 200_000.0 - 0.5).abs() < 0.003);
    }

    #[test]
    fn elements_depend_on_key_and_place_alone() {
        let keys: Vec<u32> = (0..10).map(|n| n * 77).collect();
        let batch = tensor(keys.clone(), &[5, 2]).unwrap();
        for (kind, dtype) in [(Draw::Uniform, DType::F32), (Draw::Normal, DType::F32), (Draw::Normal, DType::F64)] {
            let all = draw(&batch, kind, dtype, &[5, 7], 7).unwrap();
            for row in 0..5 {
                let alone = tensor(keys[2 * row..2 * row + 2].to_vec(), &[2]).unwrap();
                // A longer draw begins with the shorter one.
                let alone = draw(&alone, kind, dtype, &[9], 9).unwrap().narrow(0, 0, 7).unwrap();
                let same = all.get(row).unwrap().eq(&alone).unwrap();
                assert_eq!(same.to_vec1::<u8>().unwrap(), [1; 7]);
            }
        }
        let words = singles(&[[3, 4]], 20_001, |word| word);
        for at in [0, 6, 31, 32, 2047, 2048, 8191, 8192, 19_999, 20_000] {
            assert_eq!(words[at], word([3, 4], at as u64));
        }
        let numbers = pairs(&[[3, 4]], 10_000, unit_f64);
        for at in [0, 1, 1023, 1024, 8192, 9999] {
            assert_eq!(numbers[at], unit_f64(words[2 * at], words[2 * at + 1]));
        }
    }

    #[test]
    fn draws_do_not_depend_on_threads() {
        let draw = |threads| par::with_threads(threads, || singles(&[[9, 9]], 100_001, normal_f32));
        assert_eq!(draw(1), draw(3));
    }

    #[test]
    fn permutations_hold_every_position_once() {
        let key = tensor(vec![1u32, 2, 3, 4], &[2, 2]).unwrap();
        let orders = permutation(&key, 100, &[2, 100]).unwrap().to_vec2::<i64>().unwrap();
        assert_ne!(orders[0], orders[1]);
        for mut order in orders {
            assert_ne!(order, (0..100).collect::<Vec<_>>());
            order.sort();
            assert_eq!(order, (0..100).collect::<Vec<_>>());
        }
    }

    #[test]
    fn folding_tells_paths_and_indices_apart() {
        let key = [5, 6];
        assert_ne!(fold_path(key, "za/angle"), fold_path(key, "zb/angle"));
        assert_ne!(fold_index(key, 0), fold_index(key, 1));
        assert_ne!(fold_index(key, 1), fold_index(key, 1 << 32));
        let keys = tensor(vec![5u32, 6, 7, 8], &[2, 2]).unwrap();
        let index = tensor(vec![1i64, 2, 3, 4], &[2, 2]).unwrap();
        let folded = fold_indices(&keys, &index).unwrap().to_vec3::<u32>().unwrap();
        assert_eq!(folded[1][0], fold_index([7, 8], 3));
        assert_eq!(folded[0][1], fold_index([5, 6], 2));
    }
}
