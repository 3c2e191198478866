//! What blocks ask of operands and attributes while types are inferred, and the facts they state where the answer is no.

use super::{Flops, Infer, Mismatch};
use crate::diagnostics::Code;
use crate::graph::{Attr, DType, Overflow, Size, Type};

/// A misfit with its headline.
pub fn misfit(code: Code, headline: impl Into<String>) -> Mismatch {
    Mismatch { code, headline: headline.into(), facts: Vec::new(), help: None }
}

impl Mismatch {
    /// Adds what is so about one operand.
    pub fn fact(mut self, operand: usize, text: impl Into<String>) -> Mismatch {
        self.facts.push((operand, text.into()));
        self
    }

    pub fn help(mut self, text: impl Into<String>) -> Mismatch {
        self.help = Some(text.into());
        self
    }
}

/// The operands, if there are `N`.
pub fn operands<'a, const N: usize>(infer: &Infer<'a>) -> Result<[&'a Type; N], Mismatch> {
    infer.types.try_into().map_err(|_| {
        let plural = if N == 1 { "" } else { "s" };
        misfit(Code::ArgumentCount, format!("{N} operand{plural} needed, {} given", infer.types.len()))
    })
}

/// At least one operand, all of one type.
pub fn alike<'a>(infer: &Infer<'a>) -> Result<&'a Type, Mismatch> {
    let first = *infer.types.first().ok_or_else(|| misfit(Code::ArgumentCount, "an operand is needed"))?;
    (1..infer.types.len()).try_for_each(|at| same_type((0, first), (at, infer.types[at])))?;
    Ok(first)
}

/// Operands, with their positions, that need equal element types and shapes.
pub fn same_type(a: (usize, &Type), b: (usize, &Type)) -> Result<(), Mismatch> {
    if a.1.dtype != b.1.dtype {
        let headline = format!("element types do not fit, {} and {}", a.1.dtype.name(), b.1.dtype.name());
        return Err(misfit(Code::ElementType, headline)
            .fact(a.0, format!("{}", a.1))
            .fact(b.0, format!("{}", b.1))
            .help("cast one of them"));
    }
    same_shape(a, b)
}

/// Operands, with their positions, that need equal shapes.
pub fn same_shape(a: (usize, &Type), b: (usize, &Type)) -> Result<(), Mismatch> {
    if a.1.rank() != b.1.rank() {
        let headline = format!("shapes do not fit, {} and {} axes", a.1.rank(), b.1.rank());
        let (left, right) = (format!("{} has {} axes", a.1, a.1.rank()), format!("{} has {} axes", b.1, b.1.rank()));
        return Err(misfit(Code::ShapeMismatch, headline).fact(a.0, left).fact(b.0, right));
    }
    match a.1.shape.iter().zip(&b.1.shape).position(|(a, b)| a != b) {
        None => Ok(()),
        Some(axis) => Err(unequal_sizes((a.0, a.1, axis), (b.0, b.1, axis))),
    }
}

/// Two sizes, each by operand, type and axis, that should be equal.
pub fn unequal_sizes(a: (usize, &Type, usize), b: (usize, &Type, usize)) -> Mismatch {
    let (left, right) = (&a.1.shape[a.2], &b.1.shape[b.2]);
    misfit(Code::ShapeMismatch, format!("shapes do not fit, {left} and {right} must be equal"))
        .fact(a.0, format!("{}: {} size is {left}", a.1, place(a.2, a.1.rank())))
        .fact(b.0, format!("{}: {} size is {right}", b.1, place(b.2, b.1.rank())))
}

/// `first`, `last`, `third`.
pub fn place(axis: usize, rank: usize) -> String {
    const WORDS: [&str; 6] = ["first", "second", "third", "fourth", "fifth", "sixth"];
    match axis {
        0 => "first".into(),
        _ if axis + 1 == rank => "last".into(),
        _ => WORDS.get(axis).map_or_else(|| format!("axis {axis}'s"), |word| word.to_string()),
    }
}

/// Requires one of a set of element types, named in words.
pub fn element(at: usize, ty: &Type, allowed: &[DType], words: &str) -> Result<(), Mismatch> {
    if allowed.contains(&ty.dtype) {
        return Ok(());
    }
    let fault = misfit(Code::ElementType, format!("{words} elements needed, {} given", ty.dtype.name()));
    let fault = fault.fact(at, format!("{ty}"));
    Err(match (words, ty.dtype) {
        ("float", DType::I64 | DType::Bool | DType::U8) => fault.help("cast it to float"),
        _ => fault,
    })
}

pub const FLOATS: &[DType] = &[DType::F32, DType::F64];
pub const NUMBERS: &[DType] = &[DType::F32, DType::F64, DType::I64];

pub fn float(at: usize, ty: &Type) -> Result<(), Mismatch> {
    element(at, ty, FLOATS, "float")
}

pub fn number(at: usize, ty: &Type) -> Result<(), Mismatch> {
    element(at, ty, NUMBERS, "float or int")
}

pub fn boolean(at: usize, ty: &Type) -> Result<(), Mismatch> {
    element(at, ty, &[DType::Bool], "bool")
}

/// An attribute that the block lists but the application lacks: a bug of whoever built it.
pub fn missing(name: &str) -> Mismatch {
    misfit(Code::Internal, format!("attribute `{name}` is missing"))
}

pub fn sizes<'a>(infer: &Infer<'a>, name: &str) -> Result<&'a [Size], Mismatch> {
    infer.attrs.sizes(name).ok_or_else(|| missing(name))
}

pub fn size(infer: &Infer<'_>, name: &str) -> Result<Size, Mismatch> {
    match infer.attrs.get(name) {
        Some(Attr::Size(size)) => Ok(size.clone()),
        Some(Attr::Int(n)) => Ok(Size::known(*n)),
        _ => Err(missing(name)),
    }
}

pub fn ints<'a>(infer: &Infer<'a>, name: &str) -> Result<&'a [i64], Mismatch> {
    infer.attrs.ints(name).ok_or_else(|| missing(name))
}

/// An axis of operand `at`, counted from 0.
pub fn axis(infer: &Infer<'_>, name: &str, at: usize) -> Result<usize, Mismatch> {
    let axis = infer.attrs.int(name).ok_or_else(|| missing(name))?;
    in_rank(axis, at, infer.types[at])
}

/// Different axes of operand `at`, counted from 0.
pub fn axes(infer: &Infer<'_>, name: &str, at: usize) -> Result<Vec<usize>, Mismatch> {
    let mut found = Vec::new();
    for axis in ints(infer, name)? {
        let axis = in_rank(*axis, at, infer.types[at])?;
        if found.contains(&axis) {
            return Err(misfit(Code::BadValue, format!("axis {axis} is named twice")));
        }
        found.push(axis);
    }
    Ok(found)
}

fn in_rank(axis: i64, at: usize, ty: &Type) -> Result<usize, Mismatch> {
    usize::try_from(axis).ok().filter(|axis| *axis < ty.rank()).ok_or_else(|| {
        misfit(Code::BadValue, format!("there is no axis {axis}"))
            .fact(at, format!("{ty}: axes are counted from 0, and it has {}", ty.rank()))
    })
}

/// An attribute with one entry for each axis of operand `at`.
pub fn for_each_axis<T>(entries: &[T], name: &str, at: usize, ty: &Type) -> Result<(), Mismatch> {
    if entries.len() == ty.rank() {
        return Ok(());
    }
    let headline = format!("`{name}` needs {} entries, {} given", ty.rank(), entries.len());
    Err(misfit(Code::BadValue, headline).fact(at, format!("{ty}: one entry for each axis")))
}

/// The error of a size that grows out of 63 bits.
pub fn overflow(_: Overflow) -> Mismatch {
    misfit(Code::SizeOverflow, "a size does not fit into 63 bits")
}

/// The number of elements.
pub fn count(shape: &[Size]) -> Result<Size, Mismatch> {
    shape.iter().try_fold(Size::known(1), |product, size| product.mul(size)).map_err(overflow)
}

/// One result.
pub fn one(ty: Type) -> Result<super::Types, Mismatch> {
    Ok([ty].into_iter().collect())
}

/// What a kernel that makes one tensor returns.
pub fn result(tensor: candle_core::Result<candle_core::Tensor>) -> candle_core::Result<super::Results> {
    Ok([tensor?].into_iter().collect())
}

/// Integers of an attribute as a kernel needs them, sizes in numbers by now.
pub fn numbers(attrs: &crate::graph::Attrs, name: &str) -> candle_core::Result<Vec<usize>> {
    let ints = attrs.ints(name).ok_or_else(|| candle_core::Error::msg(format!("attribute `{name}` is missing")))?;
    let numbers: Option<Vec<usize>> = ints.iter().map(|n| usize::try_from(*n).ok()).collect();
    numbers.ok_or_else(|| candle_core::Error::msg(format!("attribute `{name}` holds a negative number: {ints:?}")))
}

/// One integer of an attribute as a kernel needs it.
pub fn one_number(attrs: &crate::graph::Attrs, name: &str) -> candle_core::Result<usize> {
    let number = attrs.int(name).and_then(|n| usize::try_from(n).ok());
    number.ok_or_else(|| candle_core::Error::msg(format!("attribute `{name}` is missing or negative")))
}

/// The application with every axis of the attributes `axis` and `axes` one further in, which is all that lifting to rows
/// changes where only axes are named.
pub fn shifted_axes(attrs: &crate::graph::Attrs) -> crate::graph::Attrs {
    let shift = |(name, value): &(&'static str, Attr)| match (*name, value) {
        ("axis", Attr::Int(axis)) => (*name, Attr::Int(axis + 1)),
        ("axes", Attr::Ints(axes)) => (*name, Attr::Ints(axes.iter().map(|axis| axis + 1).collect())),
        _ => (*name, value.clone()),
    };
    crate::graph::Attrs(attrs.0.iter().map(shift).collect())
}

/// One for each element of the first result.
pub const ONE_EACH: Flops = Flops(one_each, "1 a number of the result");

/// One for each element of the first operand.
pub const ONE_EACH_INPUT: Flops =
    Flops(|cost| cost.inputs.first().map_or(0.0, |input| input.count() as f64), "1 a number of the operand");

/// Nothing is computed.
pub const NO_COST: Flops = Flops(|_| 0.0, "none");

/// The elements of the first result.
pub fn one_each(cost: &super::Cost<'_>) -> f64 {
    cost.results.first().map_or(0.0, |result| result.count() as f64)
}
