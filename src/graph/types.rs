//! Element types, tensor types and attributes.

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use super::size::{Bindings, Size};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    F64,
    F32,
    /// Written `int`.
    I64,
    /// The words of random keys.
    U32,
    /// Stored pictures.
    U8,
    /// Stored as one byte, 0 or 1.
    Bool,
}

impl DType {
    pub const ALL: [DType; 6] = [DType::F64, DType::F32, DType::I64, DType::U32, DType::U8, DType::Bool];

    /// As written in programs and printed graphs.
    pub fn name(self) -> &'static str {
        match self {
            DType::F64 => "f64",
            DType::F32 => "f32",
            DType::I64 => "int",
            DType::U32 => "u32",
            DType::U8 => "u8",
            DType::Bool => "bool",
        }
    }

    pub fn from_name(name: &str) -> Option<DType> {
        DType::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    pub fn is_float(self) -> bool {
        matches!(self, DType::F64 | DType::F32)
    }

    /// Bytes of one element.
    pub fn width(self) -> usize {
        match self {
            DType::F64 | DType::I64 => 8,
            DType::F32 | DType::U32 => 4,
            DType::U8 | DType::Bool => 1,
        }
    }
}

pub type Shape = SmallVec<[Size; 4]>;

/// `f32[B, 128]`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Type {
    pub dtype: DType,
    pub shape: Shape,
}

impl Type {
    pub fn new(dtype: DType, shape: impl IntoIterator<Item = Size>) -> Type {
        Type { dtype, shape: shape.into_iter().collect() }
    }

    pub fn scalar(dtype: DType) -> Type {
        Type { dtype, shape: Shape::new() }
    }

    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    pub fn with_dtype(&self, dtype: DType) -> Type {
        Type { dtype, shape: self.shape.clone() }
    }

    pub fn with_shape(&self, shape: impl IntoIterator<Item = Size>) -> Type {
        Type::new(self.dtype, shape)
    }

    /// The shape in numbers; none when a symbol is unbound.
    pub fn bind(&self, bindings: &Bindings) -> Option<Vec<usize>> {
        self.shape.iter().map(|size| size.bind(bindings).and_then(|n| usize::try_from(n).ok())).collect()
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.dtype.name())?;
        for (at, size) in self.shape.iter().enumerate() {
            write!(f, "{}{size}", if at > 0 { ", " } else { "" })?;
        }
        f.write_str("]")
    }
}

impl fmt::Debug for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An option of an op application: known while compiling, up to symbols.
#[derive(Clone, Debug, PartialEq)]
pub enum Attr {
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(Arc<str>),
    Ints(Vec<i64>),
    Floats(Vec<f64>),
    Size(Size),
    Sizes(Vec<Size>),
    DType(DType),
}

/// Attributes in the order in which the op's block lists them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attrs(pub SmallVec<[(&'static str, Attr); 2]>);

impl Attrs {
    pub fn none() -> Attrs {
        Attrs::default()
    }

    pub fn with(mut self, name: &'static str, value: Attr) -> Attrs {
        self.0.push((name, value));
        self
    }

    /// Gives another value to an attribute that is there.
    pub fn set(&mut self, name: &str, value: Attr) {
        if let Some(place) = self.0.iter_mut().find(|(have, _)| *have == name) {
            place.1 = value;
        }
    }

    pub fn get(&self, name: &str) -> Option<&Attr> {
        self.0.iter().find(|(have, _)| *have == name).map(|(_, value)| value)
    }

    pub fn int(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            Attr::Int(n) => Some(*n),
            Attr::Size(size) => size.as_known(),
            _ => None,
        }
    }

    pub fn float(&self, name: &str) -> Option<f64> {
        match self.get(name)? {
            Attr::Float(x) => Some(*x),
            Attr::Int(n) => Some(*n as f64),
            _ => None,
        }
    }

    pub fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some(Attr::Bool(true)))
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Attr::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        match self.get(name)? {
            Attr::Ints(ints) => Some(ints),
            _ => None,
        }
    }

    pub fn floats(&self, name: &str) -> Option<&[f64]> {
        match self.get(name)? {
            Attr::Floats(floats) => Some(floats),
            _ => None,
        }
    }

    pub fn sizes(&self, name: &str) -> Option<&[Size]> {
        match self.get(name)? {
            Attr::Sizes(sizes) => Some(sizes),
            _ => None,
        }
    }

    pub fn dtype(&self, name: &str) -> Option<DType> {
        match self.get(name)? {
            Attr::DType(dtype) => Some(*dtype),
            _ => None,
        }
    }

    /// The attributes with every size replaced by its number, which is what kernels see; none when a symbol is unbound.
    pub fn bind(&self, bindings: &Bindings) -> Option<Attrs> {
        let bound = self.0.iter().map(|(name, value)| {
            let value = match value {
                Attr::Size(size) => Attr::Int(size.bind(bindings)?),
                Attr::Sizes(sizes) => Attr::Ints(sizes.iter().map(|size| size.bind(bindings)).collect::<Option<_>>()?),
                other => other.clone(),
            };
            Some((*name, value))
        });
        Some(Attrs(bound.collect::<Option<_>>()?))
    }
}
