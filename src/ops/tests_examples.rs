//! The examples of every op, read by the language's parser, built of the ops that they name, and evaluated.

use std::collections::HashMap;

use candle_core::Tensor;

use super::testing::{evaluate, flat};
use super::*;
use crate::graph::{Attr, Bindings, DType, Size, Type};
use crate::kernels;
use crate::source::SourceId;
use crate::syntax::{Argument, BinaryOp, Expr, ExprKind, IndexItem, StatementKind, UnaryOp, parse};

type Names = HashMap<std::sync::Arc<str>, Value>;

/// One example on its way to a graph. The results of a node are a list; what is malformed panics with the example's text.
struct Example {
    builder: Builder,
    inputs: Vec<Tensor>,
}

/// A literal: numbers and lists of them.
struct Numbers {
    shape: Vec<usize>,
    values: Vec<f64>,
    dtype: DType,
}

#[test]
fn every_example_is_true() {
    let mut wrong = Vec::new();
    for op in all() {
        assert!(!op.examples.is_empty(), "{}: no example", op.name);
        for text in op.examples {
            if let Err(fault) = std::panic::catch_unwind(|| holds(op, text)) {
                let said = fault.downcast_ref::<String>().cloned();
                wrong.push(format!("{}: {text}: {}", op.name, said.unwrap_or_else(|| "refused".into())));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn holds(op: &'static Op, text: &str) {
    let (file, faults) = parse(SourceId(0), text);
    assert!(faults.is_empty(), "{faults:?}");
    let [statement] = file.statements.as_slice() else { panic!("an example is one equation") };
    let StatementKind::Expr(Expr { kind: ExprKind::Binary { op: BinaryOp::Equal, left, right, .. }, .. }) =
        &statement.kind
    else {
        panic!("an example is an equation")
    };
    let mut example = Example { builder: Builder::new(), inputs: Vec::new() };
    let sides = [left, right].map(|side| example.one(side, &Names::new()));
    let Example { builder, inputs } = example;
    let graph = builder.finish(sides.to_vec());
    let used = |graph: &Graph| graph.nodes().any(|(_, node)| node.op == op);
    assert!(used(&graph), "the op is not in its example");
    let (graph, _) = crate::gradient::expand(&graph).unwrap_or_else(|fault| panic!("{fault}"));
    let found = evaluate(&graph, &inputs, &Bindings::new());
    assert_eq!(found[0].dims(), found[1].dims());
    assert_eq!(found[0].dtype(), found[1].dtype());
    let (have, wanted) = (flat(&found[0]), flat(&found[1]));
    let near = |(have, wanted): (&f64, &f64)| (have - wanted).abs() <= 1e-6 * wanted.abs().max(1.0);
    assert!(have.iter().zip(&wanted).all(near), "{have:?} is not {wanted:?}");
}

impl Example {
    fn one(&mut self, expr: &Expr, names: &Names) -> Value {
        let results = self.results(expr, names);
        let [only] = results.as_slice() else { panic!("one result is needed, there are {}", results.len()) };
        *only
    }

    fn results(&mut self, expr: &Expr, names: &Names) -> Vec<Value> {
        if let Some(numbers) = literal(expr) {
            return vec![self.constant(&numbers)];
        }
        match &expr.kind {
            ExprKind::Name(name) => vec![*names.get(name).unwrap_or_else(|| panic!("unknown name {name}"))],
            ExprKind::Paren(inner) => self.results(inner, names),
            ExprKind::Unary(op, inner) => {
                let name = if *op == UnaryOp::Not { "not" } else { "neg" };
                let value = self.one(inner, names);
                self.apply(name, &[value], Attrs::none(), Vec::new())
            }
            ExprKind::Binary { op, left, right, .. } => {
                let sides = [self.one(left, names), self.one(right, names)];
                let sides = self.met(sides);
                self.apply(operator(*op), &sides, Attrs::none(), Vec::new())
            }
            ExprKind::Field { base, name } if &*name.text == "T" => {
                let value = self.one(base, names);
                vec![self.builder.transpose(value)]
            }
            ExprKind::Index { base, items } => self.index(base, items, names),
            ExprKind::Call { callee, arguments } => self.call(callee, arguments, names),
            other => panic!("an example does not hold {other:?}"),
        }
    }

    fn constant(&mut self, numbers: &Numbers) -> Value {
        let attrs = Attrs::none()
            .with("values", Attr::Floats(numbers.values.clone()))
            .with("dtype", Attr::DType(numbers.dtype))
            .with("shape", tests::size_attr(&numbers.shape));
        self.builder.must(&structure::CONSTANT, &[], attrs)
    }

    fn apply(&mut self, name: &str, operands: &[Value], attrs: Attrs, regions: Vec<Graph>) -> Vec<Value> {
        let op = find(name).unwrap_or_else(|| panic!("there is no op {name}"));
        let made = self.builder.apply_with(op, operands, attrs, regions);
        let first = made.unwrap_or_else(|fault| panic!("{}", fault.headline));
        let results = self.builder.graph().node(first.node).types.len() as u16;
        (0..results).map(|out| Value { node: first.node, out }).collect()
    }

    /// Both operands in the shape of the one with more axes.
    fn met(&mut self, sides: [Value; 2]) -> [Value; 2] {
        let shapes = sides.map(|side| self.builder.ty(side).shape.to_vec());
        let wide = if shapes[0].len() >= shapes[1].len() { shapes[0].clone() } else { shapes[1].clone() };
        sides.map(|side| {
            let rank = self.builder.ty(side).rank();
            let axes: Vec<usize> = (wide.len() - rank..wide.len()).collect();
            self.builder.broadcast(side, &wide, &axes)
        })
    }

    /// `results[1]`, `x[1..3]`
    fn index(&mut self, base: &Expr, items: &[IndexItem], names: &Names) -> Vec<Value> {
        let results = self.results(base, names);
        let [IndexItem::Value(item)] = items else { panic!("one index is read") };
        if let ExprKind::Range { start: Some(start), end: Some(end), step: None } = &item.kind {
            let [start, stop] = [start, end].map(|end| Size::known(number(end) as i64));
            return vec![self.builder.slice_axis(results[0], 0, start, stop)];
        }
        vec![results[number(item) as usize]]
    }

    fn call(&mut self, callee: &Expr, arguments: &[Argument], names: &Names) -> Vec<Value> {
        if let ExprKind::Paren(inner) = &callee.kind {
            return self.applied(inner, arguments);
        }
        let ExprKind::Name(name) = &callee.kind else { panic!("a call names an op") };
        let op = find(name).unwrap_or_else(|| panic!("there is no op {name}"));
        let (mut operands, mut attrs, mut regions) = (Vec::new(), Attrs::none(), Vec::new());
        let mut open = op.attrs.iter();
        for argument in arguments {
            if let ExprKind::Lambda { params, body } = &argument.value.kind {
                let whole = |at: usize| op == &fused::FUSED || op == &scan::SCAN && at == 0;
                let places = operands.iter().enumerate();
                let rows: Vec<Type> = places
                    .map(
                        |(at, operand)| {
                            if whole(at) { self.builder.ty(*operand).clone() } else { self.row_type(*operand) }
                        },
                    )
                    .collect();
                let names = params.iter().map(|param| param.name.text.clone());
                let StatementKind::Expr(value) = &body.statements[0].kind else { panic!("a body is an expression") };
                regions.push(region(names.zip(rows).collect(), value));
            } else if let Some(name) = &argument.name {
                let known =
                    op.attrs.iter().find(|(have, _)| *have == &*name.text || (*have, &*name.text) == ("axes", "axis"));
                let (attr, kind) = known.unwrap_or_else(|| panic!("{} has no {}", op.name, name.text));
                attrs = attrs.with(attr, attribute(*kind, &argument.value));
            } else if operands.len() < operands_of(op) {
                let operand = self.operand(op, operands.len(), &argument.value, names);
                operands.push(operand);
            } else {
                let (attr, kind) = open.next().expect("no more arguments than attributes");
                attrs = attrs.with(attr, attribute(*kind, &argument.value));
            }
        }
        if op == &structure::MAP_ROWS {
            attrs = attrs.with("view", Attr::Text("example".into()));
        }
        self.apply(op.name, &operands, attrs, regions)
    }

    /// Keys are of a type that no literal has.
    fn operand(&mut self, op: &Op, at: usize, expr: &Expr, names: &Names) -> Value {
        match literal(expr) {
            Some(numbers) if at == 0 && op.signature.starts_with("(key:") => {
                self.constant(&Numbers { dtype: DType::U32, ..numbers })
            }
            _ => self.one(expr, names),
        }
    }

    fn row_type(&self, value: Value) -> Type {
        let ty = self.builder.ty(value);
        ty.with_shape(ty.shape[1..].iter().cloned())
    }

    /// `(|x| …)(numbers)`: the numbers come in as inputs.
    fn applied(&mut self, function: &Expr, arguments: &[Argument]) -> Vec<Value> {
        let ExprKind::Lambda { params, body } = &function.kind else { panic!("a function is called") };
        let mut names = Names::new();
        for (param, argument) in params.iter().zip(arguments) {
            let numbers = literal(&argument.value).expect("numbers");
            let ty = Type::new(DType::F64, tests::sizes(&numbers.shape));
            names.insert(param.name.text.clone(), self.builder.input(param.name.text.clone(), ty));
            self.inputs.push(kernels::tensor(numbers.values, numbers.shape.as_slice()).expect("a tensor"));
        }
        let StatementKind::Expr(value) = &body.statements[0].kind else { panic!("a body is an expression") };
        self.results(value, &names)
    }
}

fn region(params: Vec<(std::sync::Arc<str>, Type)>, body: &Expr) -> Graph {
    let mut inner = Example { builder: Builder::new(), inputs: Vec::new() };
    let names = params.into_iter().map(|(name, ty)| (name.clone(), inner.builder.input(name, ty))).collect();
    let value = inner.one(body, &names);
    inner.builder.finish(vec![value])
}

/// How many operands a signature lists before its result; any number where it ends in `…`.
fn operands_of(op: &Op) -> usize {
    let inner = op.signature.split(") ->").next().unwrap_or("").trim_start_matches('(');
    if inner.contains('…') { usize::MAX } else { inner.matches(": ").count() }
}

fn operator(op: BinaryOp) -> &'static str {
    match op {
        BinaryOp::Or => "or",
        BinaryOp::And => "and",
        BinaryOp::Equal => "eq",
        BinaryOp::NotEqual => "ne",
        BinaryOp::Less => "lt",
        BinaryOp::LessEqual => "le",
        BinaryOp::Greater => "gt",
        BinaryOp::GreaterEqual => "ge",
        BinaryOp::Add => "add",
        BinaryOp::Subtract => "sub",
        BinaryOp::Multiply => "mul",
        BinaryOp::Divide => "div",
        BinaryOp::FloorDivide => "floor_div",
        BinaryOp::Remainder => "remainder",
        BinaryOp::MatMul => "matmul",
        BinaryOp::Power => "pow",
        BinaryOp::Has => panic!("no op has a `has`"),
    }
}

fn literal(expr: &Expr) -> Option<Numbers> {
    let scalar = |value: f64, dtype: DType| Some(Numbers { shape: Vec::new(), values: vec![value], dtype });
    match &expr.kind {
        ExprKind::Int(n) => scalar(*n as f64, DType::I64),
        ExprKind::Float(x) => scalar(*x, DType::F64),
        ExprKind::Bool(b) => scalar(f64::from(u8::from(*b)), DType::Bool),
        ExprKind::Unary(UnaryOp::Negate, inner) => {
            let inner = literal(inner).filter(|inner| inner.shape.is_empty())?;
            scalar(-inner.values[0], inner.dtype)
        }
        ExprKind::Binary { op: BinaryOp::Divide, left, right, .. } => {
            let [a, b] = [literal(left)?, literal(right)?];
            (a.shape.is_empty() && b.shape.is_empty()).then(|| scalar(a.values[0] / b.values[0], a.dtype)).flatten()
        }
        ExprKind::List(items) => {
            let items = items.iter().map(literal).collect::<Option<Vec<_>>>()?;
            let first = items.first()?;
            let shape = std::iter::once(items.len()).chain(first.shape.iter().copied()).collect();
            let dtype = first.dtype;
            Some(Numbers { shape, values: items.into_iter().flat_map(|item| item.values).collect(), dtype })
        }
        _ => None,
    }
}

fn number(expr: &Expr) -> f64 {
    literal(expr).expect("a number").values[0]
}

fn attribute(kind: AttrKind, expr: &Expr) -> Attr {
    let numbers = || match &expr.kind {
        ExprKind::List(items) if items.is_empty() => Vec::new(),
        _ => literal(expr).expect("numbers").values,
    };
    match (kind, &expr.kind) {
        (AttrKind::Int, _) => Attr::Int(number(expr) as i64),
        (AttrKind::Float, _) => Attr::Float(number(expr)),
        (AttrKind::Bool, _) => Attr::Bool(number(expr) != 0.0),
        (AttrKind::Text, ExprKind::Text(text)) => Attr::Text(text.clone()),
        (AttrKind::Ints, _) => Attr::Ints(numbers().into_iter().map(|n| n as i64).collect()),
        (AttrKind::Floats, _) => Attr::Floats(numbers()),
        (AttrKind::Size, _) => Attr::Size(Size::known(number(expr) as i64)),
        (AttrKind::Sizes, _) => Attr::Sizes(numbers().into_iter().map(|n| Size::known(n as i64)).collect()),
        (AttrKind::DType, ExprKind::Name(name)) => Attr::DType(match &**name {
            "int" => DType::I64,
            "f64" => DType::F64,
            "f32" => DType::F32,
            "bool" => DType::Bool,
            other => panic!("no element type {other}"),
        }),
        (kind, other) => panic!("{other:?} is no {kind:?}"),
    }
}
