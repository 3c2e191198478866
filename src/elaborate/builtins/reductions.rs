//! Reductions, and the elementwise maximum and minimum that share their names.

use super::{Args, Builtin};
use crate::diagnostics::Code;
use crate::elaborate::Elaborator;
use crate::elaborate::operators::Meeting;
use crate::elaborate::value::{Tensor, Value};
use crate::graph::{Attr, Attrs, DType, Size};
use crate::ops::{Op, elementwise, reduce};
use crate::source::Span;

const REDUCTION: &[&str] = &["x", "axis?", "keep?", "where?"];

pub const ROWS: &[Builtin] = &[
    Builtin {
        name: "sum",
        params: REDUCTION,
        doc: "the sum over `axis` (all by default)",
        call: |this, args| this.reduction(args, &reduce::SUM, 0.0),
    },
    Builtin {
        name: "prod",
        params: REDUCTION,
        doc: "the product over `axis`",
        call: |this, args| this.reduction(args, &reduce::PROD, 1.0),
    },
    Builtin {
        name: "max",
        params: &["x", "b?", "axis?", "keep?", "where?"],
        doc: "the maximum over `axis`, or of two tensors",
        call: |this, args| this.extreme(args, true),
    },
    Builtin {
        name: "min",
        params: &["x", "b?", "axis?", "keep?", "where?"],
        doc: "the minimum over `axis`, or of two tensors",
        call: |this, args| this.extreme(args, false),
    },
    Builtin {
        name: "any",
        params: REDUCTION,
        doc: "whether one holds",
        call: |this, args| this.quantifier(args, &reduce::MAX),
    },
    Builtin {
        name: "all",
        params: REDUCTION,
        doc: "whether all hold",
        call: |this, args| this.quantifier(args, &reduce::MIN),
    },
    Builtin {
        name: "argmax",
        params: &["x", "axis?"],
        doc: "the place of the largest, the first of equals",
        call: |this, args| this.arg_extreme(args, &reduce::ARGMAX),
    },
    Builtin {
        name: "argmin",
        params: &["x", "axis?"],
        doc: "the place of the smallest, the first of equals",
        call: |this, args| this.arg_extreme(args, &reduce::ARGMIN),
    },
    Builtin {
        name: "count",
        params: &["x", "axis?", "where?"],
        doc: "how many elements lie along `axis` (all by default), or how many of them `where` selects",
        call: |this, args| this.count(args),
    },
    Builtin {
        name: "mean_over_batches",
        params: &["x"],
        doc: "in a `measure`: the mean of what each batch gives, whatever its number of rows",
        call: |this, args| match this.tensor_arg(args, 0) {
            Some(tensor) => this.batch_mean(tensor, args.span),
            None => Value::Error,
        },
    },
    Builtin {
        name: "cumsum",
        params: &["x", "axis?"],
        doc: "running sums along `axis`, the last by default",
        call: |this, args| this.running(args, &reduce::CUMSUM),
    },
    Builtin {
        name: "cumprod",
        params: &["x", "axis?"],
        doc: "running products along `axis`, the last by default",
        call: |this, args| this.running(args, &reduce::CUMPROD),
    },
];

impl Elaborator<'_> {
    /// A list of tensors counts as their stack.
    fn reduced_tensor(&mut self, args: &Args) -> Option<Tensor> {
        self.tensor_arg(args, 0)
    }

    fn axes(&mut self, value: &Value, rank: usize, span: Span) -> Option<Vec<usize>> {
        let list = match value {
            Value::None => return Some((0..rank).collect()),
            Value::List(items) => items.as_ref().clone(),
            other => vec![other.clone()],
        };
        let mut axes = Vec::new();
        for item in list {
            let Some(axis) = self.witness_of(&item, span) else {
                self.wrong_kind(&item, "an axis", span);
                return None;
            };
            axes.push(self.axis_of(axis, rank, span)?);
        }
        axes.sort_unstable();
        axes.dedup();
        Some(axes)
    }

    fn reduction(&mut self, args: &Args, op: &'static Op, neutral: f64) -> Value {
        if let Some(value) = self.static_reduction(args, op) {
            return value;
        }
        let Some(mut tensor) = self.reduced_tensor(args) else { return Value::Error };
        if self.ty(tensor).dtype == DType::Bool {
            tensor = self.cast(tensor, DType::I64, args.span);
        }
        self.reduce(tensor, op, neutral, [args.value(1), args.value(2), args.value(3)], args)
    }

    /// Sums and products of static numbers stay static.
    fn static_reduction(&mut self, args: &Args, op: &'static Op) -> Option<Value> {
        let Value::List(items) = args.value(0) else { return None };
        if items.iter().any(|item| !matches!(item, Value::Int(_) | Value::Float(_) | Value::Size(_))) || args.has(3) {
            return None;
        }
        let (word, start) = match op.name {
            "sum" => (crate::syntax::BinaryOp::Add, 0),
            "prod" => (crate::syntax::BinaryOp::Multiply, 1),
            _ => return None,
        };
        let span = args.span_of(0);
        Some(
            items.iter().fold(Value::Int(start), |total, item| self.binary(word, total, item.clone(), [span; 2], span)),
        )
    }

    /// `[axis, keep, where]` as given.
    fn reduce(&mut self, tensor: Tensor, op: &'static Op, neutral: f64, options: [Value; 3], args: &Args) -> Value {
        let [axis, keep, mask] = options;
        let span = args.span;
        let ty = self.ty(tensor);
        let Some(axes) = self.axes(&axis, ty.rank(), span) else { return Value::Error };
        let keep = match keep {
            Value::None => false,
            Value::Bool(keep) => keep,
            other => return self.wrong_kind(&other, "true or false", span),
        };
        let tensor = match mask {
            Value::None => tensor,
            mask => match self.masked(tensor, mask, neutral, span) {
                Some(tensor) => tensor,
                None => return Value::Error,
            },
        };
        let ty = self.ty(tensor);
        let attrs = Attrs::none().with("axes", Attr::Ints(axes.iter().map(|axis| *axis as i64).collect()));
        let result = if axes.is_empty() {
            tensor
        } else {
            match self.apply(op, &[tensor], attrs, span) {
                Ok(result) => Tensor { weak: tensor.weak, ..result },
                Err(mismatch) => return self.fail_mismatch(*mismatch, span, &args.spans()),
            }
        };
        if !keep {
            return Value::Tensor(result);
        }
        let shape: Vec<Size> = ty
            .shape
            .iter()
            .enumerate()
            .map(|(axis, size)| if axes.contains(&axis) { Size::known(1) } else { size.clone() })
            .collect();
        Value::Tensor(self.reshape_to(result, &shape, span))
    }

    fn count(&mut self, args: &Args) -> Value {
        let Some(tensor) = self.reduced_tensor(args) else { return Value::Error };
        let ty = self.ty(tensor);
        let Some(axes) = self.axes(&args.value(1), ty.rank(), args.span) else { return Value::Error };
        if args.has(2) {
            let Some(mask) = self.tensor_arg(args, 2) else { return Value::Error };
            let Some(mask) = self.broadcast_to(mask, &ty.shape, args.span_of(2)) else { return Value::Error };
            let ones = self.cast(mask, DType::I64, args.span_of(2));
            return self.reduce(ones, &reduce::SUM, 0.0, [args.value(1), Value::None, Value::None], args);
        }
        match axes.iter().try_fold(Size::known(1), |all, axis| all.mul(&ty.shape[*axis])) {
            Ok(size) => Value::size(size),
            Err(_) => self.fail(Code::SizeOverflow, args.span, "a size overflows", "does not fit into 64 bits"),
        }
    }

    /// What `where` leaves out becomes the number that changes nothing.
    fn masked(&mut self, tensor: Tensor, mask: Value, neutral: f64, span: Span) -> Option<Tensor> {
        let mask = self.as_tensor(&mask, span)?;
        let ty = self.ty(tensor);
        let dtype = ty.dtype;
        let here = self.here();
        let neutral = self.constant_in(here, &[neutral], crate::graph::Type::scalar(dtype));
        let shape = self.common_shape(&[tensor, mask], &[span, span])?;
        let tensor = self.broadcast_to(tensor, &shape, span)?;
        let mask = self.broadcast_to(mask, &shape, span)?;
        let neutral = self.broadcast_to(neutral, &shape, span)?;
        match self.apply(&elementwise::SELECT, &[mask, tensor, neutral], Attrs::none(), span) {
            Ok(tensor) => Some(tensor),
            Err(mismatch) => {
                self.fail_mismatch(*mismatch, span, &[span]);
                None
            }
        }
    }

    fn extreme(&mut self, args: &Args, largest: bool) -> Value {
        let (op, fold): (&'static Op, fn(f64, f64) -> f64) = match largest {
            true => (&elementwise::MAXIMUM, f64::max),
            false => (&elementwise::MINIMUM, f64::min),
        };
        if args.has(1) {
            return match (args.value(0), args.value(1)) {
                (Value::Int(a), Value::Int(b)) => Value::Int(if largest { a.max(b) } else { a.min(b) }),
                (a, b) if a.as_number().is_some() && b.as_number().is_some() => {
                    Value::Float(fold(a.as_number().unwrap_or(0.0), b.as_number().unwrap_or(0.0)))
                }
                _ => {
                    let (Some(a), Some(b)) = (self.tensor_arg(args, 0), self.tensor_arg(args, 1)) else {
                        return Value::Error;
                    };
                    self.elementwise(op, &[a, b], Meeting::Number, &args.spans(), args.span)
                }
            };
        }
        if let Value::List(items) = args.value(0)
            && !items.is_empty()
            && items.iter().all(|item| matches!(item, Value::Int(_) | Value::Float(_)))
            && !args.has(2)
        {
            let mut best = items[0].clone();
            for item in items.iter().skip(1) {
                let (a, b) = (best.as_number().unwrap_or(0.0), item.as_number().unwrap_or(0.0));
                if fold(a, b) != a {
                    best = item.clone();
                }
            }
            return best;
        }
        let Some(tensor) = self.reduced_tensor(args) else { return Value::Error };
        let op = if largest { &reduce::MAX } else { &reduce::MIN };
        let neutral = match (self.ty(tensor).dtype.is_float(), largest) {
            (true, true) => f64::NEG_INFINITY,
            (true, false) => f64::INFINITY,
            (false, true) => -(2f64.powi(53)),
            (false, false) => 2f64.powi(53),
        };
        self.reduce(tensor, op, neutral, [args.value(2), args.value(3), args.value(4)], args)
    }

    fn quantifier(&mut self, args: &Args, op: &'static Op) -> Value {
        if let Value::Bool(b) = args.value(0) {
            return Value::Bool(b);
        }
        if let Value::List(items) = args.value(0)
            && items.iter().all(|item| matches!(item, Value::Bool(_)))
        {
            let holds = |item: &Value| matches!(item, Value::Bool(true));
            return Value::Bool(if op.name == "max" { items.iter().any(holds) } else { items.iter().all(holds) });
        }
        let Some(tensor) = self.reduced_tensor(args) else { return Value::Error };
        let ty = self.ty(tensor);
        if ty.dtype != DType::Bool {
            return self.fail_help(
                Code::ElementType,
                args.span_of(0),
                format!("truth values are needed, this is {ty}"),
                ty.to_string(),
                "compare it first, such as `x > 0`",
            );
        }
        let number = self.cast(tensor, DType::I64, args.span);
        let neutral = if op.name == "max" { 0.0 } else { 1.0 };
        match self.reduce(number, op, neutral, [args.value(1), args.value(2), args.value(3)], args) {
            Value::Tensor(result) => {
                let zero = Value::Int(0);
                self.binary(crate::syntax::BinaryOp::NotEqual, Value::Tensor(result), zero, [args.span; 2], args.span)
            }
            other => other,
        }
    }

    fn arg_extreme(&mut self, args: &Args, op: &'static Op) -> Value {
        let Some(tensor) = self.reduced_tensor(args) else { return Value::Error };
        let Some(axis) = self.int_arg(args, 1, -1) else { return Value::Error };
        let rank = self.ty(tensor).rank();
        let Some(axis) = self.axis_of(axis, rank, args.span) else { return Value::Error };
        match self.apply(op, &[tensor], Attrs::none().with("axis", Attr::Int(axis as i64)), args.span) {
            Ok(tensor) => Value::Tensor(Tensor { weak: false, ..tensor }),
            Err(mismatch) => self.fail_mismatch(*mismatch, args.span, &args.spans()),
        }
    }

    fn running(&mut self, args: &Args, op: &'static Op) -> Value {
        let Some(tensor) = self.tensor_arg(args, 0) else { return Value::Error };
        let Some(axis) = self.int_arg(args, 1, -1) else { return Value::Error };
        let rank = self.ty(tensor).rank();
        if rank == 0 {
            let headline = format!("`{}` needs an axis to run along", op.name);
            return self.fail(Code::ShapeMismatch, args.span_of(0), headline, "a single number");
        }
        let Some(axis) = self.axis_of(axis, rank, args.span) else { return Value::Error };
        match self.apply(op, &[tensor], Attrs::none().with("axis", Attr::Int(axis as i64)), args.span) {
            Ok(tensor) => Value::Tensor(tensor),
            Err(mismatch) => self.fail_mismatch(*mismatch, args.span, &args.spans()),
        }
    }
}
