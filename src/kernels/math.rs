//! Functions of one number, written so that a loop over them becomes vector instructions.
//!
//! In f32 these are range reductions and polynomials without branches, accurate to two or three units in the last place;
//! in f64 they are the platform's. No product is contracted into an addition, so every processor gets the same bits.
//! Coefficients are those of the Cephes library.

#![allow(clippy::excessive_precision, reason = "coefficients are written as published")]

use candle_core::WithDType;

/// The floating point element types.
pub trait Real: WithDType {
    fn exp(self) -> Self;
    fn log(self) -> Self;
    fn log1p(self) -> Self;
    fn expm1(self) -> Self;
    fn sqrt(self) -> Self;
    fn sin(self) -> Self;
    fn cos(self) -> Self;
    fn tanh(self) -> Self;
    fn erf(self) -> Self;
    fn floor(self) -> Self;
    fn ceil(self) -> Self;
    fn round(self) -> Self;
    fn recip(self) -> Self;
    fn finite(self) -> bool;
    fn pow(self, exponent: Self) -> Self;
}

impl Real for f64 {
    fn exp(self) -> f64 {
        f64::exp(self)
    }

    fn log(self) -> f64 {
        self.ln()
    }

    fn log1p(self) -> f64 {
        self.ln_1p()
    }

    fn expm1(self) -> f64 {
        self.exp_m1()
    }

    fn sqrt(self) -> f64 {
        f64::sqrt(self)
    }

    fn sin(self) -> f64 {
        f64::sin(self)
    }

    fn cos(self) -> f64 {
        f64::cos(self)
    }

    fn tanh(self) -> f64 {
        f64::tanh(self)
    }

    fn erf(self) -> f64 {
        candle_core::cpu::erf::erf_f64(self)
    }

    fn floor(self) -> f64 {
        f64::floor(self)
    }

    fn ceil(self) -> f64 {
        f64::ceil(self)
    }

    fn round(self) -> f64 {
        self.round_ties_even()
    }

    fn recip(self) -> f64 {
        1.0 / self
    }

    fn finite(self) -> bool {
        self.is_finite()
    }

    fn pow(self, exponent: f64) -> f64 {
        self.powf(exponent)
    }
}

impl Real for f32 {
    #[inline(always)]
    fn exp(self) -> f32 {
        exp(self)
    }

    #[inline(always)]
    fn log(self) -> f32 {
        log(self)
    }

    #[inline(always)]
    fn log1p(self) -> f32 {
        log1p(self)
    }

    #[inline(always)]
    fn expm1(self) -> f32 {
        expm1(self)
    }

    #[inline(always)]
    fn sqrt(self) -> f32 {
        f32::sqrt(self)
    }

    fn sin(self) -> f32 {
        f32::sin(self)
    }

    fn cos(self) -> f32 {
        f32::cos(self)
    }

    #[inline(always)]
    fn tanh(self) -> f32 {
        tanh(self)
    }

    #[inline(always)]
    fn erf(self) -> f32 {
        erf(self)
    }

    #[inline(always)]
    fn floor(self) -> f32 {
        f32::floor(self)
    }

    #[inline(always)]
    fn ceil(self) -> f32 {
        f32::ceil(self)
    }

    #[inline(always)]
    fn round(self) -> f32 {
        self.round_ties_even()
    }

    #[inline(always)]
    fn recip(self) -> f32 {
        1.0 / self
    }

    #[inline(always)]
    fn finite(self) -> bool {
        self.is_finite()
    }

    fn pow(self, exponent: f32) -> f32 {
        self.powf(exponent)
    }
}

/// The value of a polynomial, coefficients from the highest power down.
#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut value = coefficients[0];
    for coefficient in &coefficients[1..] {
        value = value * x + coefficient;
    }
    value
}

/// 1.5 * 2^23: added to a small number, it leaves that number rounded to an integer in the low bits.
const ROUNDER: f32 = 12_582_912.0;
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// `(e^r - 1 - r) / r^2` for `r` within half of ln 2.
#[inline(always)]
fn exp_tail(r: f32) -> f32 {
    polynomial(r, [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5])
}

#[inline(always)]
fn exp(x: f32) -> f32 {
    // Outside of this range the result is infinite or zero; NaN passes through both comparisons.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUNDER;
    let whole = shifted - ROUNDER;
    let n = shifted.to_bits().wrapping_sub(ROUNDER.to_bits()) as i32;
    let r = x - whole * LN_2_HIGH - whole * LN_2_LOW;
    let power = exp_tail(r) * (r * r) + r + 1.0;
    // Two factors, so that results below the normal range keep their bits.
    let half = n >> 1;
    power * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

#[inline(always)]
fn expm1(x: f32) -> f32 {
    let near = exp_tail(x) * (x * x) + x;
    if x.abs() < 0.34 { near } else { exp(x) - 1.0 }
}

#[inline(always)]
fn log(x: f32) -> f32 {
    let small = x < f32::MIN_POSITIVE;
    let normal = if small { x * 8_388_608.0 } else { x };
    let bits = normal.to_bits();
    let exponent = ((bits >> 23) as i32).wrapping_sub(if small { 126 + 23 } else { 126 });
    let mantissa = f32::from_bits((bits & 0x007f_ffff) | 0x3f00_0000);
    let low = mantissa < std::f32::consts::FRAC_1_SQRT_2;
    let e = if low { exponent.wrapping_sub(1) } else { exponent } as f32;
    let m = if low { mantissa + mantissa } else { mantissa } - 1.0;
    let square = m * m;
    let tail = polynomial(
        m,
        [
            7.037_683_6e-2,
            -1.151_461e-1,
            1.167_699_9e-1,
            -1.242_014_1e-1,
            1.424_932_3e-1,
            -1.666_805_7e-1,
            2.000_071_4e-1,
            -2.499_999_4e-1,
            3.333_333e-1,
        ],
    );
    let value = m + (tail * m * square + e * LN_2_LOW - 0.5 * square) + e * LN_2_HIGH;
    let value = if x == f32::INFINITY { x } else { value };
    let value = if x == 0.0 { f32::NEG_INFINITY } else { value };
    if x >= 0.0 { value } else { f32::NAN }
}

/// Corrects `log(1 + x)` by what the sum lost.
#[inline(always)]
fn log1p(x: f32) -> f32 {
    let sum = 1.0 + x;
    let corrected = log(sum) * (x / (sum - 1.0));
    let value = if sum == 1.0 { x } else { corrected };
    if x == f32::INFINITY { x } else { value }
}

#[inline(always)]
fn tanh(x: f32) -> f32 {
    let square = x * x;
    let tail = polynomial(square, [-5.704_988_7e-3, 2.063_908_9e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328_2e-1]);
    let near = tail * square * x + x;
    let far = (1.0 - 2.0 / (exp(2.0 * x.abs()) + 1.0)).copysign(x);
    if x.abs() < 0.625 { near } else { far }
}

#[inline(always)]
fn erf(x: f32) -> f32 {
    let square = x * x;
    let near = x * polynomial(
        square,
        [
            7.853_861e-5,
            -8.010_194e-4,
            5.188_327_6e-3,
            -2.685_381_2e-2,
            1.128_358_5e-1,
            -3.761_262_6e-1,
            std::f32::consts::FRAC_2_SQRT_PI,
        ],
    );
    let inverse = 1.0 / x.abs();
    let y = inverse * inverse;
    let middle = polynomial(
        y,
        [
            2.326_82e-2,
            -1.387_039_4e-1,
            3.687_424_7e-1,
            -5.824_733e-1,
            6.210_004_6e-1,
            -4.944_515_3e-1,
            3.404_88e-1,
            -2.741_127e-1,
            5.638_259_4e-1,
        ],
    );
    let outer = polynomial(
        y,
        [
            -1.047_766_4e1,
            1.297_72e1,
            -7.495_518_7,
            2.921_019,
            -1.015_265_3,
            4.218_463_4e-1,
            -2.820_767_4e-1,
            5.641_895e-1,
        ],
    );
    let complement = exp(-square) * inverse * if x.abs() < 2.0 { middle } else { outer };
    let far = (1.0 - complement).copysign(x);
    // Beyond 4 the result is 1 in f32, whatever the polynomial gives at infinity.
    let far = if x.abs() > 4.0 { 1f32.copysign(x) } else { far };
    if x.abs() < 1.0 { near } else { far }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest error relative to the exact value, over a sweep of arguments.
    fn worst(f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64, from: f32, to: f32) -> f64 {
        (0..=20_000)
            .map(|n| from + (to - from) * n as f32 / 20_000.0)
            .map(|x| (f(x) as f64, exact(x as f64)))
            .map(|(have, want)| (have - want).abs() / want.abs().max(f32::MIN_POSITIVE as f64))
            .fold(0.0, f64::max)
    }

    #[test]
    fn single_precision_functions_are_accurate() {
        assert!(worst(exp, f64::exp, -87.0, 88.0) < 3e-7);
        assert!(worst(log, f64::ln, 1e-6, 0.9) < 3e-7);
        assert!(worst(log, f64::ln, 1.1, 1e6) < 3e-7);
        assert!(worst(log1p, f64::ln_1p, -0.9, 10.0) < 4e-7);
        assert!(worst(expm1, f64::exp_m1, -5.0, 5.0) < 5e-7);
        assert!(worst(tanh, f64::tanh, -12.0, 12.0) < 4e-7);
        assert!(worst(erf, candle_core::cpu::erf::erf_f64, -6.0, 6.0) < 5e-7);
    }

    #[test]
    fn limits_are_kept() {
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(-100.0) > 0.0);
        assert_eq!(log(0.0), f32::NEG_INFINITY);
        assert_eq!(log(f32::INFINITY), f32::INFINITY);
        assert_eq!(log(1.0), 0.0);
        assert!((log(1e-40) as f64 - (1e-40f32 as f64).ln()).abs() < 1e-4);
        assert_eq!(log1p(-1.0), f32::NEG_INFINITY);
        assert_eq!(log1p(f32::INFINITY), f32::INFINITY);
        assert_eq!(tanh(f32::INFINITY), 1.0);
        assert_eq!(erf(f32::NEG_INFINITY), -1.0);
        assert_eq!(expm1(f32::NEG_INFINITY), -1.0);
        for f in [exp, log, log1p, expm1, tanh, erf] {
            assert!(f(f32::NAN).is_nan());
        }
        assert!(log(-1.0).is_nan());
    }
}
