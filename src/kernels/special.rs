//! The gamma function's relatives, in f64.

/// `ln |gamma(x)|`: infinite at 0 and at negative whole numbers.
pub fn lgamma(x: f64) -> f64 {
    libm::lgamma(x)
}

/// Where the asymptotic series start: eight terms are exact to the last place from here on.
const FAR: f64 = 16.0;
/// Below the negative of this, reaching [`FAR`] step by step takes too long.
const STEPS: f64 = 1e6;
/// The Bernoulli numbers of even order from the second.
const BERNOULLI: [f64; 8] =
    [1.0 / 6.0, -1.0 / 30.0, 1.0 / 42.0, -1.0 / 30.0, 5.0 / 66.0, -691.0 / 2730.0, 7.0 / 6.0, -3617.0 / 510.0];

/// The derivative of `order` of the digamma function, which is itself order 0. NaN below -1e6, and at order 0 where it has a
/// pole below 0; at 0 that is minus infinity. Poles of higher orders are infinite.
pub fn polygamma(order: u32, x: f64) -> f64 {
    if x.is_nan() || x < -STEPS {
        return f64::NAN;
    }
    if order == 0 { digamma(x) } else { higher(order, x) }
}

/// `psi(x) = psi(x + 1) - 1 / x` until the series holds (DLMF 5.5.2, 5.11.2).
fn digamma(x: f64) -> f64 {
    if x <= 0.0 && x == x.floor() {
        return if x == 0.0 { f64::NEG_INFINITY.copysign(-x.signum()) } else { f64::NAN };
    }
    let (mut far, mut before) = (x, 0.0);
    while far < FAR {
        before += 1.0 / far;
        far += 1.0;
    }
    let mut series = 0.0;
    for (at, number) in BERNOULLI.iter().enumerate().rev() {
        series = (series + number / (2.0 * (at as f64 + 1.0))) / (far * far);
    }
    far.ln() - 0.5 / far - series - before
}

/// `(-1)^(m + 1) m! zeta(m + 1, x)`, Hurwitz's zeta by the formula of Euler and Maclaurin (DLMF 25.11.5).
fn higher(order: u32, x: f64) -> f64 {
    let power = order as i32 + 1;
    let s = f64::from(power);
    let (mut far, mut sum) = (x, 0.0);
    while far < FAR + s {
        sum += far.powi(-power);
        far += 1.0;
    }
    sum += far.powi(1 - power) / (s - 1.0) + 0.5 * far.powi(-power);
    // s (s + 1) … (s + 2 k - 2) / (2 k)! of term k
    let mut factor = s / 2.0;
    for (at, number) in BERNOULLI.iter().enumerate() {
        let k = at as f64 + 1.0;
        sum += number * factor * far.powi(-power - 2 * at as i32 - 1);
        factor *= (s + 2.0 * k - 1.0) * (s + 2.0 * k) / ((2.0 * k + 1.0) * (2.0 * k + 2.0));
    }
    let factorial: f64 = (1..=order).map(f64::from).product();
    if order % 2 == 1 { factorial * sum } else { -factorial * sum }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of SciPy 1.14.
    #[test]
    fn they_are_those_of_the_tables() {
        let near = |value: f64, wanted: f64| {
            assert!((value - wanted).abs() <= 1e-13 * wanted.abs().max(1.0), "{value} is not {wanted}");
        };
        near(polygamma(0, 1.0), -0.577_215_664_901_532_9);
        near(polygamma(0, 0.25), -4.227_453_533_376_265);
        near(polygamma(0, -1.5), 0.703_156_640_645_243_2);
        near(polygamma(0, 50.0), 3.901_989_673_427_892);
        near(polygamma(1, 1.0), std::f64::consts::PI.powi(2) / 6.0);
        near(polygamma(1, -0.5), std::f64::consts::PI.powi(2) / 2.0 + 4.0);
        near(polygamma(2, 1.0), -2.404_113_806_319_188_5);
        near(polygamma(3, 0.5), std::f64::consts::PI.powi(4));
        near(lgamma(0.5), std::f64::consts::PI.sqrt().ln());
        assert!(polygamma(0, 0.0) == f64::NEG_INFINITY && polygamma(0, -2.0).is_nan());
        assert!(polygamma(1, 0.0) == f64::INFINITY && lgamma(-1.0) == f64::INFINITY);
    }
}
