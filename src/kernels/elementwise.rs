//! Loops that treat every element alike.

use std::mem::MaybeUninit;

use candle_core::{Result, Tensor, WithDType, bail};

use super::math::Real;
use super::{Elements, contiguous, on_cpu, par, stored, tensor, with_element};
use crate::graph::DType;

/// Whether loops compiled for AVX2 may run.
#[inline]
pub fn avx2() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

#[inline(always)]
fn map_loop<T: Copy, U>(x: &[T], out: &mut [MaybeUninit<U>], f: impl Fn(T) -> U) {
    for (place, x) in out.iter_mut().zip(x) {
        place.write(f(*x));
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn map_avx2<T: Copy, U>(x: &[T], out: &mut [MaybeUninit<U>], f: impl Fn(T) -> U) {
    map_loop(x, out, f);
}

#[inline(always)]
fn zip_loop<T: Copy, S: Copy, U>(a: &[T], b: &[S], out: &mut [MaybeUninit<U>], f: impl Fn(T, S) -> U) {
    for ((place, a), b) in out.iter_mut().zip(a).zip(b) {
        place.write(f(*a, *b));
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn zip_avx2<T: Copy, S: Copy, U>(a: &[T], b: &[S], out: &mut [MaybeUninit<U>], f: impl Fn(T, S) -> U) {
    zip_loop(a, b, out, f);
}

/// `f` of every element, written to places of the same number.
#[inline(always)]
pub fn map_into<T: Copy, U>(x: &[T], out: &mut [MaybeUninit<U>], f: impl Fn(T) -> U) {
    #[cfg(target_arch = "x86_64")]
    if avx2() {
        // SAFETY: the processor has the feature that the function is compiled for.
        return unsafe { map_avx2(x, out, f) };
    }
    map_loop(x, out, f)
}

/// `f` of every pair of elements, written to places of the same number.
#[inline(always)]
pub fn zip_into<T: Copy, S: Copy, U>(a: &[T], b: &[S], out: &mut [MaybeUninit<U>], f: impl Fn(T, S) -> U) {
    #[cfg(target_arch = "x86_64")]
    if avx2() {
        // SAFETY: the processor has the feature that the function is compiled for.
        return unsafe { zip_avx2(a, b, out, f) };
    }
    zip_loop(a, b, out, f)
}

/// `f` of every element.
#[inline(always)]
pub fn map<T: Copy + Sync, U: Copy + Send>(x: &[T], f: impl Fn(T) -> U + Copy + Sync) -> Vec<U> {
    par::build(x.len(), par::BLOCK, |start, out| map_into(&x[start..start + out.len()], out, f))
}

/// `f` of every pair of elements; both slices have the same length.
#[inline(always)]
pub fn zip<T: Copy + Sync, S: Copy + Sync, U: Copy + Send>(
    a: &[T],
    b: &[S],
    f: impl Fn(T, S) -> U + Copy + Sync,
) -> Vec<U> {
    assert_eq!(a.len(), b.len(), "operands of one shape");
    par::build(a.len(), par::BLOCK, |start, out| {
        zip_into(&a[start..start + out.len()], &b[start..start + out.len()], out, f)
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unary {
    Neg,
    Abs,
    Sign,
    Exp,
    Log,
    Log1p,
    Expm1,
    Sqrt,
    Rsqrt,
    Recip,
    Sin,
    Cos,
    Tanh,
    Erf,
    Floor,
    Ceil,
    Round,
}

/// A function of each element, of the element's type.
pub fn unary(x: &Tensor, op: Unary) -> Result<Tensor> {
    if !on_cpu(x) {
        return unary_on_device(x, op);
    }
    match x.dtype() {
        candle_core::DType::F32 => unary_real::<f32>(x, op),
        candle_core::DType::F64 => unary_real::<f64>(x, op),
        candle_core::DType::I64 => unary_int(x, op),
        other => bail!("{op:?} of {other:?} elements"),
    }
}

/// Binds the function of a unary op over an element type.
macro_rules! with_unary {
    ($op:expr, $T:ty, $f:ident => $body:expr) => {{
        use $crate::kernels::elementwise::Unary;
        use $crate::kernels::math::Real;
        let (zero, one): ($T, $T) = (num_zero(), num_one());
        match $op {
            Unary::Neg => with_unary!(@ $f, $body, |x: $T| -x),
            Unary::Abs => with_unary!(@ $f, $body, move |x: $T| if x < zero { -x } else { x + zero }),
            Unary::Sign => with_unary!(@ $f, $body, move |x: $T| {
                let sign = if x < zero { -one } else { x };
                if x > zero { one } else { sign }
            }),
            Unary::Exp => with_unary!(@ $f, $body, <$T as Real>::exp),
            Unary::Log => with_unary!(@ $f, $body, <$T as Real>::log),
            Unary::Log1p => with_unary!(@ $f, $body, <$T as Real>::log1p),
            Unary::Expm1 => with_unary!(@ $f, $body, <$T as Real>::expm1),
            Unary::Sqrt => with_unary!(@ $f, $body, <$T as Real>::sqrt),
            Unary::Rsqrt => with_unary!(@ $f, $body, move |x: $T| one / Real::sqrt(x)),
            Unary::Recip => with_unary!(@ $f, $body, <$T as Real>::recip),
            Unary::Sin => with_unary!(@ $f, $body, <$T as Real>::sin),
            Unary::Cos => with_unary!(@ $f, $body, <$T as Real>::cos),
            Unary::Tanh => with_unary!(@ $f, $body, <$T as Real>::tanh),
            Unary::Erf => with_unary!(@ $f, $body, <$T as Real>::erf),
            Unary::Floor => with_unary!(@ $f, $body, <$T as Real>::floor),
            Unary::Ceil => with_unary!(@ $f, $body, <$T as Real>::ceil),
            Unary::Round => with_unary!(@ $f, $body, <$T as Real>::round),
        }
    }};
    (@ $f:ident, $body:expr, $function:expr) => {{
        let $f = $function;
        $body
    }};
}
pub(crate) use with_unary;

/// Zero and one of an element type, where the type is inferred.
#[inline(always)]
pub(crate) fn num_zero<T: WithDType>() -> T {
    T::zero()
}

#[inline(always)]
pub(crate) fn num_one<T: WithDType>() -> T {
    T::one()
}

fn unary_real<T: Real + std::ops::Neg<Output = T>>(x: &Tensor, op: Unary) -> Result<Tensor> {
    let x = contiguous(x)?;
    let elements = Elements::<T>::of(&x)?;
    let values: &[T] = &elements;
    tensor(with_unary!(op, T, f => map(values, f)), x.dims())
}

fn unary_int(x: &Tensor, op: Unary) -> Result<Tensor> {
    let x = contiguous(x)?;
    let values = Elements::<i64>::of(&x)?;
    let out = match op {
        Unary::Neg => map(&values, i64::wrapping_neg),
        Unary::Abs => map(&values, i64::wrapping_abs),
        Unary::Sign => map(&values, i64::signum),
        _ => bail!("{op:?} of int elements"),
    };
    tensor(out, x.dims())
}

fn unary_on_device(x: &Tensor, op: Unary) -> Result<Tensor> {
    match op {
        Unary::Neg => x.neg(),
        Unary::Abs => x.abs(),
        Unary::Sign => x.sign(),
        Unary::Exp => x.exp(),
        Unary::Log => x.log(),
        Unary::Log1p => (x + 1.0)?.log(),
        Unary::Expm1 => x.exp()? - 1.0,
        Unary::Sqrt => x.sqrt(),
        Unary::Rsqrt => x.sqrt()?.recip(),
        Unary::Recip => x.recip(),
        Unary::Sin => x.sin(),
        Unary::Cos => x.cos(),
        Unary::Tanh => x.tanh(),
        Unary::Erf => x.erf(),
        Unary::Floor => x.floor(),
        Unary::Ceil => x.ceil(),
        // Halves go to the even neighbour: take back the step where rounding went up to an odd number from a half.
        Unary::Round => {
            let up = (x + 0.5)?.floor()?;
            let tie = (&up - x)?.eq(0.5)?;
            let odd = ((&up * 0.5)?.floor()? * 2.0)?.ne(&up)?;
            let back = (tie * odd)?.to_dtype(x.dtype())?;
            up - back
        }
    }
}

/// Whether each element is neither infinite nor NaN.
pub fn is_finite(x: &Tensor) -> Result<Tensor> {
    if !on_cpu(x) {
        // Infinities and NaN are what does not vanish when multiplied by zero.
        return (x * 0.0)?.eq(0.0);
    }
    let x = contiguous(x)?;
    let out = match x.dtype() {
        candle_core::DType::F32 => map(&Elements::<f32>::of(&x)?, |x| x.is_finite() as u8),
        candle_core::DType::F64 => map(&Elements::<f64>::of(&x)?, |x| x.is_finite() as u8),
        _ => vec![1; x.elem_count()],
    };
    tensor(out, x.dims())
}

/// Truth turned round.
pub fn not(x: &Tensor) -> Result<Tensor> {
    if !on_cpu(x) {
        return x.eq(0u8);
    }
    let x = contiguous(x)?;
    tensor(map(&Elements::<u8>::of(&x)?, |x| x ^ 1), x.dims())
}

/// Number conversion as Rust's `as` does it: floats are cut towards zero and saturate, NaN becomes 0.
trait CastTo<U> {
    fn cast(self) -> U;
}

macro_rules! casts {
    ($($from:ty => $($to:ty),*;)*) => {
        $($(impl CastTo<$to> for $from {
            #[inline(always)]
            fn cast(self) -> $to {
                self as $to
            }
        })*)*
    };
}

casts! {
    f32 => f32, f64, i64, u32, u8;
    f64 => f32, f64, i64, u32, u8;
    i64 => f32, f64, i64, u32, u8;
    u32 => f32, f64, i64, u32, u8;
    u8 => f32, f64, i64, u32, u8;
}

/// The elements in another type; what is not zero is true.
pub fn cast(x: &Tensor, to: DType) -> Result<Tensor> {
    if to == DType::Bool {
        if !on_cpu(x) {
            return x.ne(&x.zeros_like()?);
        }
        let x = contiguous(x)?;
        return with_element!(x.dtype(), T => {
            let zero: T = Default::default();
            tensor(map(&Elements::<T>::of(&x)?, |x| (x != zero) as u8), x.dims())
        });
    }
    if x.dtype() == stored(to) {
        return Ok(x.clone());
    }
    if !on_cpu(x) {
        return x.to_dtype(stored(to));
    }
    let x = contiguous(x)?;
    with_element!(x.dtype(), T => with_element!(stored(to), U => {
        tensor(map(&Elements::<T>::of(&x)?, CastTo::<U>::cast), x.dims())
    }))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Maximum,
    Minimum,
    FloorDiv,
    Remainder,
}

/// A function of each pair of elements of the same place, of their type.
pub fn binary(a: &Tensor, b: &Tensor, op: Binary) -> Result<Tensor> {
    if !on_cpu(a) {
        return binary_on_device(a, b, op);
    }
    match a.dtype() {
        candle_core::DType::F32 => binary_real::<f32>(a, b, op),
        candle_core::DType::F64 => binary_real::<f64>(a, b, op),
        candle_core::DType::I64 => binary_int(a, b, op),
        other => bail!("{op:?} of {other:?} elements"),
    }
}

/// Binds the function of a binary op over an element type; `Pow` is the general power.
macro_rules! with_binary {
    ($op:expr, $T:ty, $f:ident => $body:expr) => {{
        use $crate::kernels::elementwise::{Binary, larger, smaller};
        use $crate::kernels::math::Real;
        let (zero, one): ($T, $T) = (num_zero(), num_one());
        match $op {
            Binary::Add => with_unary!(@ $f, $body, |a: $T, b: $T| a + b),
            Binary::Sub => with_unary!(@ $f, $body, |a: $T, b: $T| a - b),
            Binary::Mul => with_unary!(@ $f, $body, |a: $T, b: $T| a * b),
            Binary::Div => with_unary!(@ $f, $body, |a: $T, b: $T| a / b),
            Binary::Pow => with_unary!(@ $f, $body, <$T as Real>::pow),
            Binary::Maximum => with_unary!(@ $f, $body, larger::<$T>),
            Binary::Minimum => with_unary!(@ $f, $body, smaller::<$T>),
            Binary::FloorDiv => with_unary!(@ $f, $body, move |a: $T, b: $T| {
                let rest = a % b;
                let quotient = (a - rest) / b;
                let below = rest != zero && (rest < zero) != (b < zero);
                let floored = if below { quotient - one } else { quotient };
                // The division above is exact up to rounding; what is left of a fraction goes to the nearest integer.
                if Real::finite(floored) { Real::round(floored) } else { floored }
            }),
            Binary::Remainder => with_unary!(@ $f, $body, move |a: $T, b: $T| {
                let rest = a % b;
                if rest != zero && (rest < zero) != (b < zero) { rest + b } else { rest }
            }),
        }
    }};
}
pub(crate) use with_binary;

fn binary_real<T: Real>(a: &Tensor, b: &Tensor, op: Binary) -> Result<Tensor> {
    let (a, b) = (contiguous(a)?, contiguous(b)?);
    let (left, right) = (Elements::<T>::of(&a)?, Elements::<T>::of(&b)?);
    let (x, y): (&[T], &[T]) = (&left, &right);
    if op == Binary::Pow {
        return tensor(pow_real(x, y), a.dims());
    }
    tensor(with_binary!(op, T, f => zip(x, y, f)), a.dims())
}

/// The larger of two, NaN if one of them is.
#[inline(always)]
pub fn larger<T: PartialOrd + Copy>(a: T, b: T) -> T {
    #[allow(clippy::eq_op)]
    let take_left = a > b || a != a;
    if take_left { a } else { b }
}

/// The smaller of two, NaN if one of them is.
#[inline(always)]
pub fn smaller<T: PartialOrd + Copy>(a: T, b: T) -> T {
    #[allow(clippy::eq_op)]
    let take_left = a < b || a != a;
    if take_left { a } else { b }
}

/// Powers. One exponent for all, which is the usual case, needs no general power for 1, 2, 3, 0.5 and -1.
fn pow_real<T: Real>(x: &[T], exponents: &[T]) -> Vec<T> {
    let first = exponents.first().copied().unwrap_or(T::one());
    if exponents.iter().all(|e| *e == first) {
        let number = first.to_f64();
        if number == 1.0 {
            return x.to_vec();
        } else if number == 2.0 {
            return map(x, |x| x * x);
        } else if number == 3.0 {
            return map(x, |x| x * x * x);
        } else if number == 0.5 {
            return map(x, T::sqrt);
        } else if number == -1.0 {
            return map(x, T::recip);
        }
        return map(x, move |x| x.pow(first));
    }
    zip(x, exponents, T::pow)
}

fn binary_int(a: &Tensor, b: &Tensor, op: Binary) -> Result<Tensor> {
    let (a, b) = (contiguous(a)?, contiguous(b)?);
    let (x, y) = (Elements::<i64>::of(&a)?, Elements::<i64>::of(&b)?);
    if matches!(op, Binary::Div | Binary::FloorDiv | Binary::Remainder)
        && let Some(at) = y.iter().position(|y| *y == 0)
    {
        bail!("integer division by zero: element {at} of the divisor is 0")
    }
    if op == Binary::Pow && y.iter().any(|y| *y < 0) {
        bail!("an integer to a negative power")
    }
    let out = match op {
        Binary::Add => zip(&x, &y, i64::wrapping_add),
        Binary::Sub => zip(&x, &y, i64::wrapping_sub),
        Binary::Mul => zip(&x, &y, i64::wrapping_mul),
        Binary::Pow => zip(&x, &y, |a, b| a.wrapping_pow(b.min(u32::MAX as i64) as u32)),
        Binary::Maximum => zip(&x, &y, i64::max),
        Binary::Minimum => zip(&x, &y, i64::min),
        Binary::Div | Binary::FloorDiv => zip(&x, &y, |a, b| {
            let quotient = a.wrapping_div(b);
            if a.wrapping_rem(b) != 0 && (a < 0) != (b < 0) { quotient - 1 } else { quotient }
        }),
        Binary::Remainder => zip(&x, &y, |a, b| {
            let rest = a.wrapping_rem(b);
            if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }
        }),
    };
    tensor(out, a.dims())
}

fn binary_on_device(a: &Tensor, b: &Tensor, op: Binary) -> Result<Tensor> {
    match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Maximum => a.maximum(b),
        Binary::Minimum => a.minimum(b),
        // Candle's power is undefined for negative bases, its integer division cuts: these few run on the host.
        Binary::Pow | Binary::FloorDiv | Binary::Remainder => {
            let host = candle_core::Device::Cpu;
            binary(&a.to_device(&host)?, &b.to_device(&host)?, op)?.to_device(a.device())
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// A comparison of each pair of elements.
pub fn compare(a: &Tensor, b: &Tensor, op: Compare) -> Result<Tensor> {
    if !on_cpu(a) {
        return match op {
            Compare::Eq => a.eq(b),
            Compare::Ne => a.ne(b),
            Compare::Lt => a.lt(b),
            Compare::Le => a.le(b),
            Compare::Gt => a.gt(b),
            Compare::Ge => a.ge(b),
        };
    }
    let (a, b) = (contiguous(a)?, contiguous(b)?);
    with_element!(a.dtype(), T => {
        let (x, y) = (Elements::<T>::of(&a)?, Elements::<T>::of(&b)?);
        tensor(compare_slices::<T>(&x, &y, op), a.dims())
    })
}

fn compare_slices<T: WithDType>(x: &[T], y: &[T], op: Compare) -> Vec<u8> {
    match op {
        Compare::Eq => zip(x, y, |a, b| (a == b) as u8),
        Compare::Ne => zip(x, y, |a, b| (a != b) as u8),
        Compare::Lt => zip(x, y, |a, b| (a < b) as u8),
        Compare::Le => zip(x, y, |a, b| (a <= b) as u8),
        Compare::Gt => zip(x, y, |a, b| (a > b) as u8),
        Compare::Ge => zip(x, y, |a, b| (a >= b) as u8),
    }
}

/// Both.
pub fn and(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if !on_cpu(a) {
        return a * b;
    }
    let (a, b) = (contiguous(a)?, contiguous(b)?);
    tensor(zip(&Elements::<u8>::of(&a)?, &Elements::<u8>::of(&b)?, |a, b| a & b), a.dims())
}

/// At least one.
pub fn or(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if !on_cpu(a) {
        return a.maximum(b);
    }
    let (a, b) = (contiguous(a)?, contiguous(b)?);
    tensor(zip(&Elements::<u8>::of(&a)?, &Elements::<u8>::of(&b)?, |a, b| a | b), a.dims())
}

/// The element of `a` where the condition holds, of `b` elsewhere.
pub fn select(condition: &Tensor, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if !on_cpu(a) {
        return condition.where_cond(a, b);
    }
    let (condition, a, b) = (contiguous(condition)?, contiguous(a)?, contiguous(b)?);
    let chosen = Elements::<u8>::of(&condition)?;
    with_element!(a.dtype(), T => {
        let (x, y) = (Elements::<T>::of(&a)?, Elements::<T>::of(&b)?);
        tensor(select_slices::<T>(&chosen, &x, &y), a.dims())
    })
}

fn select_slices<T: WithDType>(chosen: &[u8], x: &[T], y: &[T]) -> Vec<T> {
    assert!(chosen.len() == x.len() && x.len() == y.len(), "operands of one shape");
    par::build(x.len(), par::BLOCK, |start, out| {
        let range = start..start + out.len();
        let pairs = x[range.clone()].iter().zip(&y[range.clone()]);
        for ((place, chosen), (a, b)) in out.iter_mut().zip(&chosen[range]).zip(pairs) {
            place.write(if *chosen != 0 { *a } else { *b });
        }
    })
}

/// The sum of tensors of one type, in order.
pub fn accumulate(terms: &[Tensor]) -> Result<Tensor> {
    let Some((first, rest)) = terms.split_first() else { bail!("nothing to add up") };
    rest.iter().try_fold(first.clone(), |sum, term| binary(&sum, term, Binary::Add))
}
