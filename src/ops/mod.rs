//! The primitives: one block an op, with everything that is known about it.
//!
//! In: a family file a kind of op. Out: the table [`FAMILIES`], from which the builder, the verifier, the gradient pass, the
//! executor, `ssl doc ops` and the tests are driven. Never here: a loss, a layer or a method; those are library code.

pub mod structure;
pub mod elementwise;
pub mod logic;
pub mod reduce;
pub mod shape;
pub mod index;
pub mod linalg;
pub mod decompose;
pub mod fourier;
pub mod special;
pub mod conv;
pub mod pool;
pub mod image;
pub mod random;
pub mod scan;
pub mod fused;

pub mod build;
pub mod check;
pub mod doc;
mod fit;
pub mod literal;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_dense;
#[cfg(test)]
mod tests_examples;
#[cfg(test)]
mod tests_places;
#[cfg(test)]
mod tests_random;

use std::collections::HashMap;
use std::sync::OnceLock;

use smallvec::SmallVec;

pub use structure::{CONSTANT, INPUT};

use crate::diagnostics::Code;
use crate::graph::{Attrs, Builder, Graph, NodeId, Type, Value};

/// Every family in order, with the ops that it consists of.
pub static FAMILIES: &[(&str, &[&Op])] = &[
    ("structure", structure::OPS),
    ("elementwise", elementwise::OPS),
    ("reduce", reduce::OPS),
    ("shape", shape::OPS),
    ("index", index::OPS),
    ("linalg", linalg::OPS),
    ("fourier", fourier::OPS),
    ("conv", conv::OPS),
    ("image", image::OPS),
    ("random", random::OPS),
    ("control", scan::OPS),
    ("fused", fused::OPS),
];

/// Every op, family by family.
pub fn all() -> impl Iterator<Item = &'static Op> {
    FAMILIES.iter().flat_map(|(_, ops)| ops.iter().copied())
}

/// The op of a name.
pub fn find(name: &str) -> Option<&'static Op> {
    static BY_NAME: OnceLock<HashMap<&'static str, &'static Op>> = OnceLock::new();
    BY_NAME.get_or_init(|| all().map(|op| (op.name, op)).collect()).get(name).copied()
}

/// One primitive.
pub struct Op {
    /// As printed in graphs, and as called in the language where `surface` says so.
    pub name: &'static str,
    pub doc: &'static str,
    /// In the language's notation: `(a: float[..s], b: float[..s]) -> float[..s]`.
    pub signature: &'static str,
    /// The attributes in order, with their kind: what reading a printed graph goes by.
    pub attrs: &'static [(&'static str, AttrKind)],
    /// Result types from operand types and attributes, or what does not fit.
    pub infer: fn(&Infer<'_>) -> Result<Types, Mismatch>,
    pub gradient: Gradient,
    /// What becomes of the op when every operand may get a leading axis of rows.
    pub rows: Rows,
    pub kernel: Kernel,
    pub flops: Flops,
    /// Where random inputs of tests are drawn from.
    pub domain: Domain,
    /// Equations in the language that the tests evaluate: `exp([0.0, 1.0]) == [1.0, 2.7182817]`.
    pub examples: &'static [&'static str],
}

pub type Types = SmallVec<[Type; 1]>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttrKind {
    Int,
    Float,
    Bool,
    Text,
    Ints,
    Floats,
    Size,
    Sizes,
    DType,
}

/// What an op sees while types are computed.
pub struct Infer<'a> {
    pub types: &'a [&'a Type],
    pub attrs: &'a Attrs,
    pub regions: &'a [Graph],
}

/// Operands that do not fit: facts, each about one operand. The elaborator turns them into places.
#[derive(Clone, Debug)]
pub struct Mismatch {
    pub code: Code,
    /// Stands alone: `shapes do not fit, 784 and 128 must be equal`.
    pub headline: String,
    /// Operand position and what is so about it.
    pub facts: Vec<(usize, String)>,
    pub help: Option<String>,
}

pub enum Gradient {
    /// One cotangent an operand; none where nothing flows to it.
    Rule(fn(&mut Vjp<'_>) -> Vec<Option<Value>>),
    /// The rule where nothing flows to the operand of type float at one position, and why.
    Except(usize, &'static str, fn(&mut Vjp<'_>) -> Vec<Option<Value>>),
    /// Zero almost everywhere, and why: `piecewise constant`.
    Zero(&'static str),
    /// There is none, and why: `integer result`.
    None(&'static str),
    /// Passes through or is expanded by the gradient pass itself (`input`, `stop`, `grad`, `map_rows`).
    Structural,
}

/// A node of which the cotangents of the results are known, while its rule is run.
pub struct Vjp<'a> {
    pub builder: &'a mut Builder,
    pub node: NodeId,
    pub cotangents: &'a [Option<Value>],
}

impl Vjp<'_> {
    pub fn operand(&self, at: usize) -> Value {
        self.builder.graph().node(self.node).operands[at]
    }

    pub fn result(&self, at: u16) -> Value {
        Value { node: self.node, out: at }
    }

    pub fn attrs(&self) -> Attrs {
        self.builder.graph().node(self.node).attrs.clone()
    }

    pub fn ty(&self, value: Value) -> Type {
        self.builder.ty(value).clone()
    }
}

/// How an op is lifted from one sample to a batch of rows. All operands have the leading axis by then (the lifting pass
/// broadcasts those that do not depend on the row).
pub enum Rows {
    /// Works on any leading axes with the attributes it has: elementwise ops, `matmul`, draws.
    Leading,
    /// Builds the lifted application from lifted operands.
    Rule(fn(&mut Lift<'_>) -> Result<Value, Mismatch>),
    /// Cannot be lifted, and why.
    Mixed(&'static str),
}

pub struct Lift<'a> {
    pub builder: &'a mut Builder,
    pub operands: &'a [Value],
    pub attrs: &'a Attrs,
    /// The number of rows.
    pub rows: &'a crate::graph::Size,
}

/// Sizes are numbers by now.
pub struct Call<'a> {
    pub attrs: &'a Attrs,
    pub inputs: &'a [candle_core::Tensor],
    /// Result types, shapes in numbers.
    pub results: &'a [Concrete],
    pub device: &'a candle_core::Device,
}

/// A type whose sizes are numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concrete {
    pub dtype: crate::graph::DType,
    pub shape: Vec<usize>,
}

impl Concrete {
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

pub type Results = SmallVec<[candle_core::Tensor; 1]>;

/// The reference kernel: Candle on any device; on the CPU it may go through the project's own loops.
pub type Kernel = fn(&Call<'_>) -> candle_core::Result<Results>;

/// Floating point operations of one application: counted, and in words.
pub struct Flops(pub fn(&Cost<'_>) -> f64, pub &'static str);

pub struct Cost<'a> {
    pub attrs: &'a Attrs,
    pub inputs: &'a [Concrete],
    pub results: &'a [Concrete],
}

/// The range of random test inputs, per operand kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Domain {
    /// Floats in the range.
    Uniform(f64, f64),
    /// Tested by hand-written cases only, and why.
    Special(&'static str),
}

impl PartialEq for Op {
    fn eq(&self, other: &Op) -> bool {
        std::ptr::eq(self, other)
    }
}

impl std::fmt::Debug for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}
