//! Shapes, constants, gathers and sorts.

use super::{Args, Builtin};
use crate::diagnostics::Code;
use crate::elaborate::Elaborator;
use crate::elaborate::value::{Tensor, Value};
use crate::graph::{Attr, Attrs, DType, Size, Type, Value as GraphValue};
use crate::ops::{self, Op};

pub const ROWS: &[Builtin] = &[
    Builtin {
        name: "reshape",
        params: &["x", "sizes"],
        doc: "the same elements in another shape; one size may be -1",
        call: reshape,
    },
    Builtin {
        name: "transpose",
        params: &["x", "axes?"],
        doc: "axes in another order, reversed by default",
        call: transpose,
    },
    Builtin { name: "broadcast", params: &["x", "sizes"], doc: "repeated to a shape", call: broadcast },
    Builtin {
        name: "concat",
        params: &["list", "axis?"],
        doc: "tensors one after the other along an axis",
        call: concat,
    },
    Builtin { name: "stack", params: &["list", "axis?"], doc: "tensors along a new axis", call: stack },
    Builtin {
        name: "pad",
        params: &["x", "amounts", "value?"],
        doc: "[[before, after], …] for each axis, filled with `value`",
        call: pad,
    },
    Builtin { name: "flip", params: &["x", "axis?"], doc: "reversed along an axis", call: flip },
    Builtin { name: "shape", params: &["x"], doc: "the list of sizes", call: shape },
    Builtin { name: "rank", params: &["x"], doc: "the number of axes", call: rank },
    Builtin {
        name: "zeros",
        params: &["*"],
        doc: "a tensor of zeros of these sizes",
        call: |this, args| this.filled(args, 0.0),
    },
    Builtin {
        name: "ones",
        params: &["*"],
        doc: "a tensor of ones of these sizes",
        call: |this, args| this.filled(args, 1.0),
    },
    Builtin { name: "full", params: &["sizes", "value"], doc: "a tensor of one number", call: full },
    Builtin {
        name: "zeros_like",
        params: &["x"],
        doc: "zeros of the same type",
        call: |this, args| this.like(args, 0.0),
    },
    Builtin {
        name: "ones_like",
        params: &["x"],
        doc: "ones of the same type",
        call: |this, args| this.like(args, 1.0),
    },
    Builtin { name: "eye", params: &["n"], doc: "the identity matrix", call: eye },
    Builtin { name: "iota", params: &["n"], doc: "0, 1, … n - 1", call: iota },
    Builtin { name: "one_hot", params: &["index", "classes"], doc: "1 at the index, 0 elsewhere", call: one_hot },
    Builtin {
        name: "diag",
        params: &["x"],
        doc: "the diagonal of a matrix, or the matrix with this diagonal",
        call: diag,
    },
    Builtin { name: "take", params: &["x", "index", "axis?"], doc: "the items at these places of an axis", call: take },
    Builtin {
        name: "take_along",
        params: &["x", "index", "axis?"],
        doc: "along an axis, another place for each other index",
        call: |this, args| this.indexed(args, &ops::index::TAKE_ALONG, 2),
    },
    Builtin {
        name: "scatter_add",
        params: &["x", "index", "updates", "axis?"],
        doc: "with updates added at these places",
        call: |this, args| this.indexed(args, &ops::index::SCATTER_ADD, 3),
    },
    Builtin {
        name: "scatter_set",
        params: &["x", "index", "updates", "axis?"],
        doc: "with updates put at these places",
        call: |this, args| this.indexed(args, &ops::index::SCATTER_SET, 3),
    },
    Builtin { name: "sort", params: &["x", "axis?", "descending?"], doc: "{ values, indices }, stable", call: sort },
    Builtin { name: "argsort", params: &["x", "axis?", "descending?"], doc: "the indices that sort", call: argsort },
    Builtin {
        name: "top_k",
        params: &["x", "k"],
        doc: "{ values, indices } of the k largest along the last axis",
        call: top_k,
    },
];

fn tensor(result: Result<Tensor, Box<crate::ops::Mismatch>>, this: &mut Elaborator<'_>, args: &Args) -> Value {
    match result {
        Ok(tensor) => Value::Tensor(Tensor { weak: false, ..tensor }),
        Err(mismatch) => this.fail_mismatch(*mismatch, args.span, &args.spans()),
    }
}

fn reshape(this: &mut Elaborator<'_>, args: &Args) -> Value {
    let Some(x) = this.tensor_arg(args, 0) else { return Value::Error };
    let ty = this.ty(x);
    let list = match args.value(1) {
        Value::List(items) => items.as_ref().clone(),
        other => vec![other],
    };
    let open = list.iter().position(|item| matches!(item, Value::Int(-1)));
    let known: Vec<Value> = list.iter().filter(|item| !matches!(item, Value::Int(-1))).cloned().collect();
    let Some(mut sizes) = this.sizes_of(&Value::list(known), args.span_of(1)) else { return Value::Error };
    if list.iter().filter(|item| matches!(item, Value::Int(-1))).count() > 1 {
        let headline = "one size may be -1, here are several";
        return this.fail(Code::BadValue, args.span_of(1), headline, "which is which cannot be told");
    }
    if let Some(at) = open {
        let product = |sizes: &[Size]| sizes.iter().try_fold(Size::known(1), |p, size| p.mul(size)).ok();
        let rest = product(&ty.shape).zip(product(&sizes)).and_then(|(all, rest)| all.div_exact(&rest));
        match rest {
            Some(size) => sizes.insert(at, size),
            None => {
                return this.fail(
                    Code::ShapeMismatch,
                    args.span_of(1),
                    format!("{ty} has no such shape"),
                    "-1 cannot be told",
                );
            }
        }
    }
    let attrs = Attrs::none().with("shape", Attr::Sizes(sizes));
    let result = this.apply(&ops::shape::RESHAPE, &[x], attrs, args.span);
    tensor(result, this, args)
}

fn transpose(this: &mut Elaborator<'_>, args: &Args) -> Value {
    let Some(x) = this.tensor_arg(args, 0) else { return Value::Error };
    let rank = this.ty(x).rank();
    let reversed: Vec<i64> = (0..rank as i64).rev().collect();
    let Some(axes) = this.ints_arg(args, 1, &reversed) else { return Value::Error };
    let axes: Option<Vec<i64>> =
        axes.iter().map(|axis| this.axis_of(*axis, rank, args.span_of(1)).map(|a| a as i64)).collect();
    match axes {
        Some(axes) => this.permute(x, axes, args.span),
        None => Value::Error,
    }
}

fn broadcast(this: &mut Elaborator<'_>, args: &Args) -> Value {
    let Some(x) = this.tensor_arg(args, 0) else { return Value::Error };
    let Some(sizes) = this.sizes_of(&args.value(1), args.span_of(1)) else { return Value::Error };
    let ty = this.ty(x);
    if ty.rank() > sizes.len() {
        return this.fail(
            Code::ShapeMismatch,
            args.span_of(0),
            format!("{ty} has more sizes than asked for"),
            ty.to_string(),
        );
    }
    this.broadcast_to(x, &sizes, args.span).map_or(Value::Error, Value::Tensor)
}

fn items(this: &mut Elaborator<'_>, args: &Args) -> Option<Vec<Value>> {
    match args.value(0) {
        Value::List(items) => Some(items.as_ref().clone()),
        value @ (Value::Tensor(_) | Value::Cell(_)) => this.iterate(value, args.span_of(0)),
        other => {
            this.wrong_kind(&other, "a list of tensors", args.span_of(0));
            None
        }
    }
}

fn concat(this: &mut Elaborator<'_>, args: &Args) -> Value {
    let Some(items) = items(this, args) else { return Value::Error };
    let span = args.span_of(0);
    let mut tensors = Vec::new();
    for item in &items {
        match this.as_tensor(item, span) {
            Some(tensor) => tensors.push(tensor),
            None => return this.wrong_kind(item, "a tensor", span),
        }
    }
    let Some(first) = tensors.first() else {
        return this.fail(Code::BadValue, span, "an empty list is no tensor", "nothing to join");
    };
    let rank = this.ty(*first).rank();
    let Some(axis) = this.int_arg(args, 1, 0) else { return Value::Error };
    let Some(axis) = this.axis_of(axis, rank, args.span_of(1)) else { return Value::Error };
    let dtypes: Vec<DType> = tensors.iter().map(|tensor| this.ty(*tensor).dtype).collect();
    if dtypes.iter().any(|dtype| *dtype != dtypes[0]) {
        let float = this.float;
        tensors = tensors.into_iter().map(|tensor| this.cast(tensor, float, span)).collect();
    }
    this.concat(&tensors, axis as i64, args.span)
}

fn stack(this: &mut Elaborator<'_>, args: &Args) -> Value {
    let Some(items) = items(this, args) else { return Value::Error };
    let Some(axis) = this.int_arg(args, 1, 0) else { return Value::Error };
    let rank =
        items.first().and_then(|item| this.as_tensor(item, args.span)).map_or(0, |tensor| this.ty(tensor).rank());
    let axis = if axis < 0 { axis + rank as i64 + 1 } else { axis };
    match usize::try_from(axis) {
        Ok(axis) if axis <= rank => this.stack(&items, axis, args.span_of(0)),
        _ => this.fail(
            Code::IndexRange,
            args.span_of(1),
            format!("axis {axis} is out of range"),
            format!("the tensors have {rank}"),
        ),
    }
}

fn pad(this: &mut Elaborator<'_>, args: &Args) -> Value {
    let Some(x) = this.tensor_arg(args, 0) else { return Value::Error };
    let Some(value) = this.number_arg(args, 2, 0.0) else { return Value::Error };
    let rank = this.ty(x).rank();
    let span = args.span_of(1);
    let Value::List(pairs) = args.value(1) else { return this.wrong_kind(&args.value(1), "a list of pairs", span) };
    if pairs.len() != rank {
        return this.fail(
            Code::ArgumentCount,
            span,
            format!("{} pairs for {rank} axes", pairs.len()),
            "one pair for each axis",
        );
    }
    let (mut low, mut high) = (Vec::new(), Vec::new());
    for pair in pairs.iter() {
        match this.sizes_of(pair, span).as_deref() {
            Some([before, after]) => {
                low.push(before.clone());
                high.push(after.clone());
            }
            Some(_) => return this.fail(Code::ArgumentCount, span, "a pair has two numbers", "[before, after]"),
            None => return Value::Error,
        }
    }
    let attrs = Attrs::none()
        .with("low", Attr::Sizes(low))
        .with("high", Attr::Sizes(high))
        .with("inner", Attr::Ints(vec![0; rank]))
        .with("value", Attr::Float(value));
    let result = this.apply(&ops::shape::PAD, &[x], attrs, args.span);
    tensor(result, this, args)
}

fn flip(this: &mut Elaborator<'_>, args: &Args) -> Value {
    let Some(x) = this.tensor_arg(args, 0) else { return Value::Error };
    let Some(axis) = this.int_arg(args, 1, -1) else { return Value::Error };
    let rank = this.ty(x).rank();
    let Some(axis) = this.axis_of(axis, rank, args.span_of(1)) else { return Value::Error };
    let result =
        this.apply(&ops::shape::FLIP, &[x], Attrs::none().with("axes", Attr::Ints(vec![axis as i64])), args.span);
    tensor(result, this, args)
}

fn shape(this: &mut Elaborator<'_>, args: &Args) -> Value {
    let Some(x) = this.tensor_arg(args, 0) else { return Value::Error };
    Value::list(this.ty(x).shape.iter().cloned().map(Value::size).collect())
}

fn rank(this: &mut Elaborator<'_>, args: &Args) -> Value {
    let Some(x) = this.tensor_arg(args, 0) else { return Value::Error };
    Value::Int(this.ty(x).rank() as i64)
}

impl Elaborator<'_> {
    fn filled(&mut self, args: &Args, value: f64) -> Value {
        let list = match args.rest.as_slice() {
            [only] => only.value.clone(),
            many => Value::list(many.iter().map(|given| given.value.clone()).collect()),
        };
        let Some(sizes) = self.sizes_of(&list, args.span) else { return Value::Error };
        let here = self.here();
        let origin = self.origin(args.span);
        self.scope(here).builder.origin = origin;
        let ty = Type::new(self.float, sizes);
        Value::Tensor(self.constant_in(here, &[value], ty))
    }

    fn like(&mut self, args: &Args, value: f64) -> Value {
        if let Value::Tree(tree) = args.value(0) {
            return self.map_tree(&tree, |this, tensor| {
                let ty = this.ty(tensor);
                let here = this.here();
                Value::Tensor(this.constant_in(here, &[value], ty))
            });
        }
        let Some(x) = self.tensor_arg(args, 0) else { return Value::Error };
        let ty = self.ty(x);
        let here = self.here();
        Value::Tensor(self.constant_in(here, &[value], ty))
    }

    fn indexed(&mut self, args: &Args, op: &'static Op, axis_at: usize) -> Value {
        let mut operands = Vec::new();
        for at in 0..axis_at {
            match self.tensor_arg(args, at) {
                Some(tensor) => operands.push(tensor),
                None => return Value::Error,
            }
        }
        let ty = self.ty(operands[0]);
        let default = if axis_at == 2 { -1 } else { 0 };
        let Some(axis) = self.int_arg(args, axis_at, default) else { return Value::Error };
        let Some(axis) = self.axis_of(axis, ty.rank(), args.span_of(axis_at)) else { return Value::Error };
        if operands[1].weak {
            operands[1] = self.cast(operands[1], DType::I64, args.span);
        }
        if let Some(updates) = operands.get(2).copied()
            && self.ty(updates).dtype != ty.dtype
        {
            operands[2] = self.cast(updates, ty.dtype, args.span);
        }
        let result = self.apply(op, &operands, Attrs::none().with("axis", Attr::Int(axis as i64)), args.span);
        tensor(result, self, args)
    }

    fn sorted(&mut self, args: &Args, x: Tensor, axis: i64, descending: bool) -> Option<[Value; 2]> {
        let rank = self.ty(x).rank();
        let axis = self.axis_of(axis, rank, args.span)?;
        let attrs = Attrs::none().with("axis", Attr::Int(axis as i64)).with("descending", Attr::Bool(descending));
        match self.apply(&ops::index::SORT, &[x], attrs, args.span) {
            Ok(values) => {
                let values = Tensor { weak: false, ..values };
                let indices = Tensor { value: GraphValue { node: values.value.node, out: 1 }, ..values };
                Some([Value::Tensor(values), Value::Tensor(indices)])
            }
            Err(mismatch) => {
                self.fail_mismatch(*mismatch, args.span, &args.spans());
                None
            }
        }
    }
}

fn full(this: &mut Elaborator<'_>, args: &Args) -> Value {
    let Some(sizes) = this.sizes_of(&args.value(0), args.span_of(0)) else { return Value::Error };
    let Some(value) = this.tensor_arg(args, 1) else { return Value::Error };
    let value =
        if value.weak && this.ty(value).dtype == DType::I64 { this.cast(value, this.float, args.span) } else { value };
    this.broadcast_to(Tensor { weak: false, ..value }, &sizes, args.span).map_or(Value::Error, Value::Tensor)
}

fn eye(this: &mut Elaborator<'_>, args: &Args) -> Value {
    let Some(n) = this.size_arg(args, 0) else { return Value::Error };
    this.identity(n, args)
}

impl Elaborator<'_> {
    fn identity(&mut self, n: Size, args: &Args) -> Value {
        let here = self.here();
        let iota = Attrs::none().with("size", Attr::Size(n.clone()));
        let index = match self.apply_in(here, &ops::structure::IOTA, &[], iota, Vec::new(), args.span) {
            Ok(index) => index,
            Err(mismatch) => return self.fail_mismatch(*mismatch, args.span, &args.spans()),
        };
        self.one_hot_of(index, n, args)
    }

    fn one_hot_of(&mut self, index: Tensor, classes: Size, args: &Args) -> Value {
        let attrs = Attrs::none().with("classes", Attr::Size(classes)).with("dtype", Attr::DType(self.float));
        let result = self.apply(&ops::index::ONE_HOT, &[index], attrs, args.span);
        tensor(result, self, args)
    }
}

fn iota(this: &mut Elaborator<'_>, args: &Args) -> Value {
    let Some(n) = this.size_arg(args, 0) else { return Value::Error };
    let here = this.here();
    let result = this.apply_in(
        here,
        &ops::structure::IOTA,
        &[],
        Attrs::none().with("size", Attr::Size(n)),
        Vec::new(),
        args.span,
    );
    tensor(result, this, args)
}

fn one_hot(this: &mut Elaborator<'_>, args: &Args) -> Value {
    let Some(index) = this.tensor_arg(args, 0) else { return Value::Error };
    let Some(classes) = this.size_arg(args, 1) else { return Value::Error };
    this.one_hot_of(index, classes, args)
}

fn diag(this: &mut Elaborator<'_>, args: &Args) -> Value {
    let Some(x) = this.tensor_arg(args, 0) else { return Value::Error };
    let ty = this.ty(x);
    let Some(n) = ty.shape.last().cloned() else {
        return this.fail(Code::ShapeMismatch, args.span_of(0), "a single number has no diagonal", ty.to_string());
    };
    let Value::Tensor(eye) = this.identity(n, args) else { return Value::Error };
    let eye = this.cast(eye, ty.dtype, args.span);
    let spans = [args.span_of(0); 2];
    match ty.rank() {
        1 => this.elementwise(
            &ops::elementwise::MUL,
            &[eye, x],
            crate::elaborate::operators::Meeting::Number,
            &spans,
            args.span,
        ),
        _ => {
            let rank = ty.rank();
            let (rows, columns) = (ty.shape[rank - 2].clone(), ty.shape[rank - 1].clone());
            if rows != columns {
                return this.fail(
                    Code::ShapeMismatch,
                    args.span_of(0),
                    format!("shapes do not fit, {rows} and {columns} must be equal"),
                    format!("{ty} is not square"),
                );
            }
            let masked = this.elementwise(
                &ops::elementwise::MUL,
                &[x, eye],
                crate::elaborate::operators::Meeting::Number,
                &spans,
                args.span,
            );
            let Value::Tensor(masked) = masked else { return Value::Error };
            let axes = Attrs::none().with("axes", Attr::Ints(vec![rank as i64 - 1]));
            let result = this.apply(&ops::reduce::SUM, &[masked], axes, args.span);
            tensor(result, this, args)
        }
    }
}

fn take(this: &mut Elaborator<'_>, args: &Args) -> Value {
    let (Some(x), Some(index)) = (this.tensor_arg(args, 0), this.tensor_arg(args, 1)) else { return Value::Error };
    let Some(axis) = this.int_arg(args, 2, 0) else { return Value::Error };
    let rank = this.ty(x).rank();
    let Some(axis) = this.axis_of(axis, rank, args.span_of(2)) else { return Value::Error };
    let ty = this.ty(index);
    if ty.dtype != DType::I64 {
        return this.fail_help(
            Code::ElementType,
            args.span_of(1),
            format!("an index is whole numbers, this is {ty}"),
            ty.to_string(),
            "`int(x)` makes whole numbers",
        );
    }
    this.take(x, index, axis as i64, args.span)
}

fn sort(this: &mut Elaborator<'_>, args: &Args) -> Value {
    let (Some(x), Some(axis), Some(descending)) =
        (this.tensor_arg(args, 0), this.int_arg(args, 1, -1), this.flag_arg(args, 2))
    else {
        return Value::Error;
    };
    match this.sorted(args, x, axis, descending) {
        Some([values, indices]) => Value::record([("values".into(), values), ("indices".into(), indices)]),
        None => Value::Error,
    }
}

fn argsort(this: &mut Elaborator<'_>, args: &Args) -> Value {
    let (Some(x), Some(axis), Some(descending)) =
        (this.tensor_arg(args, 0), this.int_arg(args, 1, -1), this.flag_arg(args, 2))
    else {
        return Value::Error;
    };
    this.sorted(args, x, axis, descending).map_or(Value::Error, |[_, indices]| indices)
}

fn top_k(this: &mut Elaborator<'_>, args: &Args) -> Value {
    let (Some(x), Some(k)) = (this.tensor_arg(args, 0), this.int_arg(args, 1, 1)) else { return Value::Error };
    let ty = this.ty(x);
    if k < 1 || ty.shape.last().and_then(Size::as_known).is_some_and(|n| k > n) {
        return this.fail(
            Code::BadValue,
            args.span_of(1),
            format!("the {k} largest cannot be taken of {ty}"),
            format!("is {k}"),
        );
    }
    let Some(both) = this.sorted(args, x, -1, true) else { return Value::Error };
    let rank = ty.rank();
    let [values, indices] = both.map(|value| {
        let Value::Tensor(sorted) = value else { return Value::Error };
        let mut stop = ty.shape.to_vec();
        stop[rank - 1] = Size::known(k);
        let attrs = Attrs::none()
            .with("start", Attr::Sizes(vec![Size::known(0); rank]))
            .with("stop", Attr::Sizes(stop))
            .with("step", Attr::Ints(vec![1; rank]));
        let result = this.apply(&ops::shape::SLICE, &[sorted], attrs, args.span);
        tensor(result, this, args)
    });
    Value::record([("values".into(), values), ("indices".into(), indices)])
}
