//! Arithmetic, comparison and logic over static numbers, sizes, host scalars, tensors and weight trees.

use super::Elaborator;
use super::value::{Leaf, Tensor, Tree, Value};
use crate::diagnostics::{Code, Diagnostic};
use crate::graph::{Attr, Attrs, DType, Shape, Size};
use crate::ops::{self, Op};
use crate::source::Span;
use crate::syntax::{BinaryOp, UnaryOp};

impl BinaryOp {
    fn sign(self) -> &'static str {
        match self {
            BinaryOp::Or => "or",
            BinaryOp::And => "and",
            BinaryOp::Equal => "==",
            BinaryOp::NotEqual => "!=",
            BinaryOp::Less => "<",
            BinaryOp::LessEqual => "<=",
            BinaryOp::Greater => ">",
            BinaryOp::GreaterEqual => ">=",
            BinaryOp::Has => "has",
            BinaryOp::Add => "+",
            BinaryOp::Subtract => "-",
            BinaryOp::Multiply => "*",
            BinaryOp::Divide => "/",
            BinaryOp::FloorDivide => "//",
            BinaryOp::Remainder => "%",
            BinaryOp::MatMul => "@",
            BinaryOp::Power => "^",
        }
    }

    fn op(self) -> Option<&'static Op> {
        Some(match self {
            BinaryOp::Or => &ops::elementwise::OR,
            BinaryOp::And => &ops::elementwise::AND,
            BinaryOp::Equal => &ops::elementwise::EQ,
            BinaryOp::NotEqual => &ops::elementwise::NE,
            BinaryOp::Less => &ops::elementwise::LT,
            BinaryOp::LessEqual => &ops::elementwise::LE,
            BinaryOp::Greater => &ops::elementwise::GT,
            BinaryOp::GreaterEqual => &ops::elementwise::GE,
            BinaryOp::Add => &ops::elementwise::ADD,
            BinaryOp::Subtract => &ops::elementwise::SUB,
            BinaryOp::Multiply => &ops::elementwise::MUL,
            BinaryOp::Divide => &ops::elementwise::DIV,
            BinaryOp::FloorDivide => &ops::elementwise::FLOOR_DIV,
            BinaryOp::Remainder => &ops::elementwise::REMAINDER,
            BinaryOp::Power => &ops::elementwise::POW,
            BinaryOp::Has | BinaryOp::MatMul => return None,
        })
    }

    fn is_logic(self) -> bool {
        matches!(self, BinaryOp::Or | BinaryOp::And)
    }

    fn is_comparison(self) -> bool {
        use BinaryOp::*;
        matches!(self, Equal | NotEqual | Less | LessEqual | Greater | GreaterEqual)
    }
}

impl Elaborator<'_> {
    pub fn binary(&mut self, op: BinaryOp, left: Value, right: Value, spans: [Span; 2], span: Span) -> Value {
        let (left, right) = (self.settle(left, spans[0]), self.settle(right, spans[1]));
        if left.is_error() || right.is_error() {
            return Value::Error;
        }
        if op == BinaryOp::MatMul {
            return self.matmul(left, right, spans, span);
        }
        if let (Value::Tree(_), _) | (_, Value::Tree(_)) = (&left, &right) {
            return self.binary_trees(op, left, right, spans, span);
        }
        let is_tensor = |value: &Value| matches!(value, Value::Tensor(_));
        if !is_tensor(&left) && !is_tensor(&right) {
            if let Some(value) = self.binary_static(op, &left, &right, spans, span) {
                return value;
            }
            let counted = |size: &Value, other: &Value| {
                matches!(size, Value::Size(_)) && (other.as_number().is_some() || matches!(other, Value::Size(_)))
            };
            let tensors = counted(&left, &right) || counted(&right, &left);
            if !tensors && !matches!((&left, &right), (Value::List(_), _) | (_, Value::List(_))) {
                return self.no_such_operation(op, &left, &right, spans);
            }
        }
        let Some(primitive) = op.op() else { return self.no_such_operation(op, &left, &right, spans) };
        let (Some(a), Some(b)) = (self.as_tensor(&left, spans[0]), self.as_tensor(&right, spans[1])) else {
            return self.no_such_operation(op, &left, &right, spans);
        };
        if op == BinaryOp::Power
            && let Some(value) = self.small_power(a, &right, spans, span)
        {
            return value;
        }
        let kind = if op.is_logic() {
            Meeting::Logic
        } else if matches!(op, BinaryOp::Divide) {
            Meeting::Float
        } else if op.is_comparison() {
            Meeting::Same
        } else {
            Meeting::Number
        };
        self.elementwise(primitive, &[a, b], kind, &spans, span)
    }

    /// `x^2` and `x^1` as products: exact, and cheaper than `pow`.
    fn small_power(&mut self, base: Tensor, exponent: &Value, spans: [Span; 2], span: Span) -> Option<Value> {
        if !self.ty(base).dtype.is_float() {
            return None;
        }
        match exponent.as_number()? {
            2.0 => Some(self.elementwise(&ops::elementwise::MUL, &[base, base], Meeting::Number, &[spans[0]; 2], span)),
            1.0 => Some(Value::Tensor(base)),
            _ => None,
        }
    }

    /// Applies an elementwise op after bringing the operands to one element type and one shape.
    pub fn elementwise(
        &mut self,
        op: &'static Op,
        operands: &[Tensor],
        meeting: Meeting,
        spans: &[Span],
        span: Span,
    ) -> Value {
        let Some(operands) = self.meet(operands, meeting, spans, span) else { return Value::Error };
        match self.apply(op, &operands, Attrs::none(), span) {
            Ok(tensor) => Value::Tensor(tensor),
            Err(mismatch) => self.fail_mismatch(*mismatch, span, spans),
        }
    }

    /// One element type, one shape: casts and broadcasts become nodes here, so ops never broadcast.
    pub fn meet(&mut self, operands: &[Tensor], meeting: Meeting, spans: &[Span], span: Span) -> Option<Vec<Tensor>> {
        let dtype = self.meeting_dtype(operands, meeting, spans, span)?;
        let shape = self.common_shape(operands, spans)?;
        operands
            .iter()
            .map(|operand| {
                let operand = self.cast(*operand, dtype, span);
                self.broadcast_to(operand, &shape, span)
            })
            .collect()
    }

    pub(super) fn meeting_dtype(
        &mut self,
        operands: &[Tensor],
        meeting: Meeting,
        spans: &[Span],
        span: Span,
    ) -> Option<DType> {
        if meeting == Meeting::Logic {
            for (operand, place) in operands.iter().zip(spans) {
                let ty = self.ty(*operand);
                if ty.dtype != DType::Bool {
                    self.fail_help(
                        Code::ElementType,
                        *place,
                        format!("`and`, `or` and `not` take truth values, this is {ty}"),
                        format!("{ty}"),
                        "compare it first, such as `x > 0`",
                    );
                    return None;
                }
            }
            return Some(DType::Bool);
        }
        let strong = operands.iter().filter(|t| !t.weak).map(|t| self.ty(*t).dtype).collect::<Vec<_>>();
        let weak = operands.iter().filter(|t| t.weak).map(|t| self.ty(*t).dtype).collect::<Vec<_>>();
        let has = |list: &[DType], dtype| list.contains(&dtype);
        if has(&strong, DType::F32) && has(&strong, DType::F64) {
            let mut diagnostic = Diagnostic::error(Code::ElementType, "f32 meets f64");
            for (operand, place) in operands.iter().zip(spans) {
                diagnostic = diagnostic.label(*place, self.ty(*operand).to_string());
            }
            self.report(diagnostic.help("say which one is meant: `cast(x, \"f64\")` or `cast(x, \"f32\")`"));
            return None;
        }
        if strong.iter().chain(&weak).any(|dtype| *dtype == DType::U32) && !strong.iter().all(|d| *d == DType::U32) {
            self.fail(Code::ElementType, span, "a random key is no number", "keys are only passed to draws");
            return None;
        }
        let float = strong.iter().copied().find(|dtype| dtype.is_float());
        let all_host = strong.is_empty();
        let any_float = float.is_some() || weak.iter().any(|dtype| dtype.is_float());
        Some(match (float, meeting) {
            (Some(float), _) => float,
            (None, _) if all_host && any_float => DType::F64,
            (None, Meeting::Float) if all_host => DType::F64,
            (None, Meeting::Float) => self.float,
            (None, _) if any_float => self.float,
            (None, Meeting::Same) if strong.iter().chain(&weak).all(|dtype| *dtype == DType::Bool) => DType::Bool,
            (None, _) if !strong.is_empty() && strong.iter().all(|dtype| *dtype == DType::U32) => DType::U32,
            (None, _) => DType::I64,
        })
    }

    /// NumPy's broadcasting, and only where a size is 1 or missing on the left.
    pub fn common_shape(&mut self, operands: &[Tensor], spans: &[Span]) -> Option<Shape> {
        let mut shape = Shape::new();
        let mut from: Vec<usize> = Vec::new();
        for (at, operand) in operands.iter().enumerate() {
            let ty = self.ty(*operand);
            while shape.len() < ty.rank() {
                shape.insert(0, Size::known(1));
                from.insert(0, at);
            }
            let offset = shape.len() - ty.rank();
            for (axis, size) in ty.shape.iter().enumerate() {
                let have = &shape[offset + axis];
                if have == size || size.is(1) {
                    continue;
                }
                if have.is(1) {
                    shape[offset + axis] = size.clone();
                    from[offset + axis] = at;
                    continue;
                }
                let other = from[offset + axis];
                let (have, back) = (have.clone(), shape.len() - (offset + axis));
                self.sizes_differ(operands, spans, [(other, have), (at, size.clone())], back);
                return None;
            }
        }
        Some(shape)
    }

    pub(super) fn sizes_differ(&mut self, operands: &[Tensor], spans: &[Span], facts: [(usize, Size); 2], back: usize) {
        let place = |n: usize| match n {
            1 => "last size".to_string(),
            2 => "second-to-last size".to_string(),
            n => format!("size {n} from the right"),
        };
        let headline = format!("shapes do not fit, {} and {} must be equal", facts[0].1, facts[1].1);
        let mut diagnostic = Diagnostic::error(Code::ShapeMismatch, headline);
        for (at, size) in facts {
            let ty = self.ty(operands[at]);
            diagnostic = diagnostic.label(spans[at], format!("{ty}: {} is {size}", place(back)));
        }
        self.report(diagnostic.help("only a size of 1, or one missing on the left, is repeated to fit"));
    }

    pub fn cast(&mut self, tensor: Tensor, dtype: DType, span: Span) -> Tensor {
        let ty = self.ty(tensor);
        if ty.dtype == dtype {
            return tensor;
        }
        if let Some(values) = self.constant_values(tensor) {
            return Tensor { weak: tensor.weak, ..self.constant_in(tensor.scope, &values, ty.with_dtype(dtype)) };
        }
        let attrs = Attrs::none().with("dtype", Attr::DType(dtype));
        match self.apply(&ops::elementwise::CAST, &[tensor], attrs, span) {
            Ok(cast) => Tensor { weak: tensor.weak, ..cast },
            Err(_) => tensor,
        }
    }

    pub fn broadcast_to(&mut self, tensor: Tensor, shape: &[Size], span: Span) -> Option<Tensor> {
        let ty = self.ty(tensor);
        if ty.shape.as_slice() == shape {
            return Some(tensor);
        }
        // A repeated host number is a tensor of the step, in the step's element type.
        let tensor = if tensor.weak && ty.dtype == DType::F64 { self.cast(tensor, self.float, span) } else { tensor };
        let offset = shape.len().checked_sub(ty.rank())?;
        let axes = (0..ty.rank()).map(|axis| (axis + offset) as i64).collect();
        let attrs = Attrs::none().with("shape", Attr::Sizes(shape.to_vec())).with("axes", Attr::Ints(axes));
        let here = self.here();
        match self.apply_in(here, &ops::shape::BROADCAST, &[tensor], attrs, Vec::new(), span) {
            Ok(result) => Some(Tensor { weak: false, ..result }),
            Err(mismatch) => {
                self.fail_mismatch(*mismatch, span, &[span]);
                None
            }
        }
    }

    pub fn unary(&mut self, op: UnaryOp, value: Value, inner: Span, span: Span) -> Value {
        let value = self.settle(value, inner);
        match (op, &value) {
            (_, Value::Error) => Value::Error,
            (UnaryOp::Negate, Value::Int(n)) => match n.checked_neg() {
                Some(n) => Value::Int(n),
                None => self.fail(Code::SizeOverflow, span, "a whole number overflows", "does not fit into 64 bits"),
            },
            (UnaryOp::Negate, Value::Float(x)) => Value::Float(-x),
            (UnaryOp::Negate, Value::Size(size)) => match Size::known(0).sub(size) {
                Ok(size) => Value::size(size),
                Err(_) => self.fail(Code::SizeOverflow, span, "a size overflows", "does not fit into 64 bits"),
            },
            (UnaryOp::Negate, Value::Quantity(x, unit)) => Value::Quantity(-x, *unit),
            (UnaryOp::Negate, Value::Tree(tree)) => {
                let tree = tree.clone();
                self.map_tree(&tree, |this, tensor| {
                    this.elementwise(&ops::elementwise::NEG, &[tensor], Meeting::Number, &[inner], span)
                })
            }
            (UnaryOp::Not, Value::Bool(b)) => Value::Bool(!b),
            (UnaryOp::Not, Value::Tensor(tensor)) => {
                self.elementwise(&ops::elementwise::NOT, &[*tensor], Meeting::Logic, &[inner], span)
            }
            (UnaryOp::Negate, Value::List(_)) => match self.as_tensor(&value, inner) {
                Some(tensor) => self.elementwise(&ops::elementwise::NEG, &[tensor], Meeting::Number, &[inner], span),
                None => Value::Error,
            },
            (UnaryOp::Negate, Value::Tensor(tensor)) => {
                self.elementwise(&ops::elementwise::NEG, &[*tensor], Meeting::Number, &[inner], span)
            }
            _ => {
                let sign = if op == UnaryOp::Not { "not" } else { "-" };
                let what = self.describe(&value);
                self.fail(Code::TypeMismatch, inner, format!("`{sign}` does not apply to {what}"), what)
            }
        }
    }

    fn binary_static(
        &mut self,
        op: BinaryOp,
        left: &Value,
        right: &Value,
        spans: [Span; 2],
        span: Span,
    ) -> Option<Value> {
        use BinaryOp::*;
        Some(match (op, left, right) {
            (Or, Value::Bool(a), Value::Bool(b)) => Value::Bool(*a || *b),
            (And, Value::Bool(a), Value::Bool(b)) => Value::Bool(*a && *b),
            (Equal | NotEqual, a, b) => Value::Bool(self.static_equal(a, b)? == (op == Equal)),
            (Add, Value::Text(a), Value::Text(b)) => Value::Text(format!("{a}{b}").into()),
            (Add, Value::List(a), Value::List(b)) => Value::list(a.iter().chain(b.iter()).cloned().collect()),
            (Has, Value::Text(a), Value::Text(b)) => Value::Bool(a.contains(&**b)),
            (Has, Value::List(items), item) => {
                Value::Bool(items.iter().any(|have| self.static_equal(have, item) == Some(true)))
            }
            (Multiply, Value::Quantity(x, unit), n) | (Multiply, n, Value::Quantity(x, unit)) => {
                Value::Quantity(x * n.as_number()?, *unit)
            }
            (_, Value::Int(a), Value::Int(b)) => self.binary_ints(op, *a, *b, spans, span)?,
            (_, Value::Size(_), Value::Int(_) | Value::Size(_)) | (_, Value::Int(_), Value::Size(_)) => {
                self.binary_sizes(op, &left.as_size()?, &right.as_size()?, spans, span)?
            }
            (op, Value::Size(size), Value::Float(x)) if op.is_comparison() => {
                binary_floats(op, self.witness(&size.clone(), span)? as f64, *x)?
            }
            (op, Value::Float(x), Value::Size(size)) if op.is_comparison() => {
                binary_floats(op, *x, self.witness(&size.clone(), span)? as f64)?
            }
            (_, a, b) => {
                let (x, y) = (a.as_number(), b.as_number());
                match (x, y) {
                    (Some(x), Some(y)) => binary_floats(op, x, y)?,
                    _ => return None,
                }
            }
        })
    }

    pub fn static_equal(&mut self, a: &Value, b: &Value) -> Option<bool> {
        Some(match (a, b) {
            (Value::None, Value::None) => true,
            (Value::None, _) | (_, Value::None) => false,
            (Value::Text(a), Value::Text(b)) => a == b,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Quantity(a, u), Value::Quantity(b, v)) => a == b && u == v,
            (Value::Size(a), Value::Size(b)) if a == b => true,
            (Value::Size(_), Value::Int(_) | Value::Size(_)) | (Value::Int(_), Value::Size(_)) => {
                let difference = a.as_size()?.sub(&b.as_size()?).ok()?;
                self.asked(&difference) == Some(0)
            }
            (Value::List(a), Value::List(b)) => {
                a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| self.static_equal(a, b) == Some(true))
            }
            (Value::Text(_), _) | (_, Value::Text(_)) => false,
            (a, b) => a.as_number()? == b.as_number()?,
        })
    }

    pub fn binary_ints(&mut self, op: BinaryOp, a: i64, b: i64, spans: [Span; 2], span: Span) -> Option<Value> {
        use BinaryOp::*;
        if matches!(op, FloorDivide | Remainder) && b == 0 {
            return Some(self.fail(Code::BadValue, spans[1], "division by zero", "is 0"));
        }
        let checked = match op {
            Add => a.checked_add(b),
            Subtract => a.checked_sub(b),
            Multiply => a.checked_mul(b),
            FloorDivide => a.checked_div_euclid(b).map(|q| if b < 0 && a.rem_euclid(b) != 0 { q - 1 } else { q }),
            Remainder => a.checked_rem(b).map(|r| if r != 0 && (r < 0) != (b < 0) { r + b } else { r }),
            Power if b >= 0 => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
            Divide if b != 0 && a % b == 0 => Some(a / b),
            _ => return binary_floats(op, a as f64, b as f64),
        };
        Some(match checked {
            Some(n) => Value::Int(n),
            None => self.fail_help(
                Code::SizeOverflow,
                span,
                format!("{a} {} {b} overflows", op.sign()),
                "does not fit into 64 bits",
                "use a float, such as `1e20`",
            ),
        })
    }

    fn binary_sizes(&mut self, op: BinaryOp, a: &Size, b: &Size, spans: [Span; 2], span: Span) -> Option<Value> {
        use BinaryOp::*;
        let overflow = |result: Result<Size, crate::graph::Overflow>| result.ok().map(Value::size);
        let value = match op {
            Add => overflow(a.add(b)),
            Subtract => overflow(a.sub(b)),
            Multiply => overflow(a.mul(b)),
            FloorDivide => a.div_floor(b).map(Value::size),
            Divide => match a.div_exact(b) {
                Some(size) => Some(Value::size(size)),
                None => return self.size_fraction(a, b, span),
            },
            _ => return self.ask_sizes(op, a, b, span),
        };
        Some(value.unwrap_or_else(|| match op {
            FloorDivide => self.fail(Code::BadValue, spans[1], "division by zero", "is 0"),
            _ => self.fail(Code::SizeOverflow, span, "a size overflows", "does not fit into 64 bits"),
        }))
    }

    /// `1 / n` and the like: a number once the size is known.
    fn size_fraction(&mut self, a: &Size, b: &Size, span: Span) -> Option<Value> {
        let (a, b) = (self.size_tensor(a, span), self.size_tensor(b, span));
        Some(self.elementwise(&ops::elementwise::DIV, &[a, b], Meeting::Float, &[span, span], span))
    }

    pub(super) fn no_such_operation(&mut self, op: BinaryOp, left: &Value, right: &Value, spans: [Span; 2]) -> Value {
        let (a, b) = (self.describe(left), self.describe(right));
        let headline = format!("`{}` does not apply to {} and {}", op.sign(), a, b);
        self.report(Diagnostic::error(Code::TypeMismatch, headline).label(spans[0], a).label(spans[1], b));
        Value::Error
    }

    fn binary_trees(&mut self, op: BinaryOp, left: Value, right: Value, spans: [Span; 2], span: Span) -> Value {
        let keys = match (&left, &right) {
            (Value::Tree(a), Value::Tree(b)) => {
                if let Some(key) = a.leaves.keys().find(|key| !b.leaves.contains_key(*key)) {
                    let headline = format!("two trees of weights differ, `{key}` is only in one");
                    return self.fail(Code::ShapeMismatch, spans[1], headline, format!("has no `{key}`"));
                }
                a.leaves.keys().cloned().collect::<Vec<_>>()
            }
            (Value::Tree(a), _) | (_, Value::Tree(a)) => a.leaves.keys().cloned().collect(),
            _ => Vec::new(),
        };
        let mut tree = Tree::default();
        for key in keys {
            let side = |value: &Value| match value {
                Value::Tree(tree) => tree.leaves.get(&key).map_or(Value::Error, |leaf| Value::Tensor(leaf.value)),
                other => other.clone(),
            };
            let Value::Tensor(value) = self.binary(op, side(&left), side(&right), spans, span) else {
                return Value::Error;
            };
            tree.leaves.insert(key, Leaf { slot: None, value });
        }
        Value::Tree(Self::rc(tree))
    }

    pub fn map_tree(&mut self, tree: &Tree, mut each: impl FnMut(&mut Self, Tensor) -> Value) -> Value {
        let mut mapped = Tree::default();
        for (key, leaf) in &tree.leaves {
            let Value::Tensor(value) = each(self, leaf.value) else { return Value::Error };
            mapped.leaves.insert(key.clone(), Leaf { slot: None, value });
        }
        Value::Tree(Self::rc(mapped))
    }

    pub fn insert_axis(&mut self, tensor: Tensor, axis: usize, span: Span) -> Tensor {
        let mut shape = self.ty(tensor).shape;
        shape.insert(axis, Size::known(1));
        self.reshape_to(tensor, &shape, span)
    }

    pub fn reshape_to(&mut self, tensor: Tensor, shape: &[Size], span: Span) -> Tensor {
        if self.ty(tensor).shape.as_slice() == shape {
            return tensor;
        }
        let attrs = Attrs::none().with("shape", Attr::Sizes(shape.to_vec()));
        match self.apply(&ops::shape::RESHAPE, &[tensor], attrs, span) {
            Ok(result) => Tensor { weak: tensor.weak, ..result },
            Err(mismatch) => {
                self.fail_mismatch(*mismatch, span, &[span]);
                tensor
            }
        }
    }
}

/// Which element type operands are brought to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meeting {
    /// Truth values only.
    Logic,
    /// Numbers: bools become integers, integers floats where a float is among them.
    Number,
    /// As `Number`, but bools stay bools among themselves.
    Same,
    /// Always floats.
    Float,
}

fn binary_floats(op: BinaryOp, a: f64, b: f64) -> Option<Value> {
    use BinaryOp::*;
    Some(match op {
        Add => Value::Float(a + b),
        Subtract => Value::Float(a - b),
        Multiply => Value::Float(a * b),
        Divide => Value::Float(a / b),
        FloorDivide => Value::Float((a / b).floor()),
        Remainder => Value::Float(a - b * (a / b).floor()),
        Power => Value::Float(a.powf(b)),
        Less => Value::Bool(a < b),
        LessEqual => Value::Bool(a <= b),
        Greater => Value::Bool(a > b),
        GreaterEqual => Value::Bool(a >= b),
        Equal => Value::Bool(a == b),
        NotEqual => Value::Bool(a != b),
        Or | And | Has | MatMul => return None,
    })
}
