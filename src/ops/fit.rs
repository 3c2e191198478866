//! What the blocks of indexing, linear algebra, convolution and images ask of their operands, and how they say what
//! does not fit.

use super::{Infer, Mismatch};
use crate::diagnostics::Code;
use crate::graph::{DType, Overflow, Size, Type};

pub(super) fn mismatch(code: Code, headline: impl Into<String>, facts: Vec<(usize, String)>) -> Mismatch {
    Mismatch { code, headline: headline.into(), facts, help: None }
}

pub(super) fn overflow(_: Overflow) -> Mismatch {
    mismatch(Code::SizeOverflow, "a size does not fit into 63 bits", Vec::new())
}

/// An attribute that is missing or does not make sense.
pub(super) fn bad(text: impl Into<String>) -> Mismatch {
    mismatch(Code::BadValue, text, Vec::new())
}

impl Infer<'_> {
    /// The operands, if there are as many as the op takes.
    pub(super) fn operands<const N: usize>(&self, op: &str) -> Result<[&Type; N], Mismatch> {
        <[&Type; N]>::try_from(self.types).map_err(|_| {
            mismatch(
                Code::ArgumentCount,
                format!("{op} takes {N} operand{}, here are {}", if N == 1 { "" } else { "s" }, self.types.len()),
                Vec::new(),
            )
        })
    }

    pub(super) fn float(&self, op: &str, at: usize) -> Result<(), Mismatch> {
        let ty = self.types[at];
        if ty.dtype.is_float() {
            return Ok(());
        }
        let fact = format!("{ty}: elements are {}", ty.dtype.name());
        Err(mismatch(Code::ElementType, format!("{op} needs floats, not {}", ty.dtype.name()), vec![(at, fact)]))
    }

    /// Operands whose elements are of one type.
    pub(super) fn same_dtype(&self, a: usize, b: usize) -> Result<(), Mismatch> {
        let (x, y) = (self.types[a], self.types[b]);
        if x.dtype == y.dtype {
            return Ok(());
        }
        let fact = |ty: &Type| format!("{ty}: elements are {}", ty.dtype.name());
        Err(mismatch(
            Code::ElementType,
            format!("element types do not fit, {} and {} must be equal", x.dtype.name(), y.dtype.name()),
            vec![(a, fact(x)), (b, fact(y))],
        ))
    }

    pub(super) fn index(&self, op: &str, at: usize) -> Result<(), Mismatch> {
        let ty = self.types[at];
        if ty.dtype == DType::I64 {
            return Ok(());
        }
        let fact = format!("{ty}: elements are {}", ty.dtype.name());
        Err(mismatch(
            Code::ElementType,
            format!("{op} needs an index of int, not {}", ty.dtype.name()),
            vec![(at, fact)],
        ))
    }

    /// That operand `at` has exactly `rank` axes, or at least as many where there may be leading ones.
    pub(super) fn rank(&self, op: &str, at: usize, rank: usize, leading: bool) -> Result<(), Mismatch> {
        let ty = self.types[at];
        let fits = if leading { ty.rank() >= rank } else { ty.rank() == rank };
        if fits {
            return Ok(());
        }
        let axes = |count: usize| if count == 1 { "1 axis".to_string() } else { format!("{count} axes") };
        let least = if leading { "at least " } else { "" };
        Err(mismatch(
            Code::ShapeMismatch,
            format!("{op} needs {least}{}, not {}", axes(rank), ty.rank()),
            vec![(at, format!("{ty}: {}", axes(ty.rank())))],
        ))
    }

    /// That a size of operand `a` equals a size of operand `b`.
    pub(super) fn equal(&self, (a, i): (usize, usize), (b, j): (usize, usize)) -> Result<(), Mismatch> {
        let (x, y) = (&self.types[a].shape[i], &self.types[b].shape[j]);
        if x == y {
            return Ok(());
        }
        let fact = |at: usize, axis: usize| {
            (
                at,
                format!(
                    "{}: {} size is {}",
                    self.types[at],
                    super::check::place(axis, self.types[at].rank()),
                    self.types[at].shape[axis]
                ),
            )
        };
        Err(mismatch(
            Code::ShapeMismatch,
            format!("shapes do not fit, {x} and {y} must be equal"),
            vec![fact(a, i), fact(b, j)],
        ))
    }

    /// That operand `at` has this size, and why.
    pub(super) fn size(&self, (at, axis): (usize, usize), wanted: &Size, why: &str) -> Result<(), Mismatch> {
        let ty = self.types[at];
        let have = &ty.shape[axis];
        if have == wanted {
            return Ok(());
        }
        Err(mismatch(
            Code::ShapeMismatch,
            format!("shapes do not fit, {have} must be {wanted}, {why}"),
            vec![(at, format!("{ty}: {} size is {have}", which(axis)))],
        ))
    }

    /// The attribute `axis`, which is one of operand 0.
    pub(super) fn axis(&self, op: &str) -> Result<usize, Mismatch> {
        let ty = self.types[0];
        match self.attrs.int("axis").and_then(|axis| usize::try_from(axis).ok()) {
            Some(axis) if axis < ty.rank() => Ok(axis),
            _ => {
                let axis = self.attrs.int("axis").map_or("missing".to_string(), |axis| axis.to_string());
                Err(mismatch(
                    Code::IndexRange,
                    format!("{op} has axis {axis}, which is not one of 0..{}", ty.rank()),
                    vec![(0, format!("{ty}: {} axes", ty.rank()))],
                ))
            }
        }
    }

    /// An attribute of `N` whole numbers that are at least `least`.
    pub(super) fn numbers<const N: usize>(&self, op: &str, name: &str, least: i64) -> Result<[usize; N], Mismatch> {
        let given = self.attrs.ints(name).unwrap_or(&[]);
        let numbers = <[i64; N]>::try_from(given)
            .map_err(|_| bad(format!("{op} needs {N} numbers as {name}, here are {}", given.len())))?;
        match numbers.iter().find(|number| **number < least || **number > u32::MAX as i64) {
            Some(number) => Err(bad(format!("{op} has {number} in {name}, at least {least} is needed"))),
            None => Ok(numbers.map(|number| number as usize)),
        }
    }

    /// An attribute of two sizes.
    pub(super) fn two_sizes(&self, op: &str, name: &str) -> Result<[Size; 2], Mismatch> {
        let given = self.attrs.sizes(name).unwrap_or(&[]);
        <[Size; 2]>::try_from(given.to_vec())
            .map_err(|_| bad(format!("{op} needs two sizes as {name}, here are {}", given.len())))
    }

    /// An attribute of one size.
    pub(super) fn one_size(&self, op: &str, name: &str) -> Result<Size, Mismatch> {
        match self.attrs.get(name) {
            Some(crate::graph::Attr::Size(size)) => Ok(size.clone()),
            Some(crate::graph::Attr::Int(size)) => Ok(Size::known(*size)),
            _ => Err(bad(format!("{op} needs a size as {name}"))),
        }
    }
}

/// `first`, `second`, … `5th`.
pub(super) fn which(axis: usize) -> String {
    match axis {
        0 => "first".into(),
        1 => "second".into(),
        2 => "third".into(),
        3 => "fourth".into(),
        more => format!("{}th", more + 1),
    }
}

/// The product of sizes of a tensor that exists.
///
/// # Panics
///
/// Where it does not fit into 63 bits, which no tensor's number of elements exceeds.
pub(super) fn product(sizes: &[Size]) -> Size {
    let product = sizes.iter().try_fold(Size::known(1), |product, size| product.mul(size));
    product.unwrap_or_else(|_| panic!("internal: a rule multiplied sizes that do not fit into 63 bits"))
}
