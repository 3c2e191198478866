//! Computes what depends on small constants only.
//!
//! `c = op constant constant`  becomes  `c = constant`

use smallvec::SmallVec;

use crate::graph::rewrite::{Results, rewrite};
use crate::graph::{Attr, Attrs, Builder, Node, Size, Type, Value};
use crate::ops::Concrete;
use crate::ops::literal::{Literal, evaluate};
use crate::ops::structure::CONSTANT;

use super::{PassError, Rewritten, Subject};

/// No larger constant is made: a graph stays readable, and large tables are inputs.
const LIMIT: usize = 64;

/// Ops that work element by element: on operands that repeat one number they need that number only, whatever the size.
const ELEMENTWISE: &[&str] = &[
    "neg",
    "abs",
    "sign",
    "exp",
    "log",
    "log1p",
    "expm1",
    "sqrt",
    "rsqrt",
    "recip",
    "sin",
    "cos",
    "tanh",
    "erf",
    "floor",
    "ceil",
    "round",
    "is_finite",
    "not",
    "cast",
    "add",
    "sub",
    "mul",
    "div",
    "pow",
    "maximum",
    "minimum",
    "floor_div",
    "remainder",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "and",
    "or",
    "select",
];

pub(super) fn run(subject: &Subject<'_>) -> Result<Rewritten, PassError> {
    let done = rewrite::<PassError>(subject.graph, |rewriter, _, node, operands| {
        match fold(&rewriter.builder, node, operands) {
            Some(constants) => Ok(append(&mut rewriter.builder, node, constants)),
            None => Ok(rewriter.copy(node, operands)),
        }
    })?;
    Ok(Some(done))
}

fn append(builder: &mut Builder, node: &Node, constants: Vec<Vec<f64>>) -> Results {
    (builder.origin, builder.section) = (node.origin, node.section);
    let made = constants.into_iter().zip(&node.types).map(|(values, ty)| {
        let attrs = Attrs::none()
            .with("values", Attr::Floats(values))
            .with("dtype", Attr::DType(ty.dtype))
            .with("shape", Attr::Sizes(ty.shape.to_vec()));
        let types = [ty.clone()].into_iter().collect();
        builder.named(node.name.clone()).append(&CONSTANT, &[], attrs, Vec::new(), types)
    });
    made.collect()
}

/// The values of a node's results, if whole numbers among them are exact as f64.
fn fold(builder: &Builder, node: &Node, operands: &[Value]) -> Option<Vec<Vec<f64>>> {
    let folded = folded(builder, node, operands)?;
    let exact =
        |(values, ty): (&Vec<f64>, &Type)| ty.dtype.is_float() || values.iter().all(|x| x.abs() < (1u64 << 53) as f64);
    folded.iter().zip(&node.types).all(exact).then_some(folded)
}

/// One number where it is repeated, else row-major.
fn folded(builder: &Builder, node: &Node, operands: &[Value]) -> Option<Vec<Vec<f64>>> {
    if node.op.name == "size" {
        return Some(vec![vec![size_of(node)?]]);
    }
    if operands.is_empty() || !node.regions.is_empty() {
        return None;
    }
    let constants: SmallVec<[&[f64]; 4]> =
        operands.iter().map(|operand| constant_values(builder, *operand)).collect::<Option<_>>()?;
    if let Some(values) = fold_repeated(node, &constants, builder, operands) {
        return Some(vec![values]);
    }
    let literals = operands.iter().zip(&constants).map(|(operand, values)| literal(builder, *operand, values));
    let literals: Vec<Literal> = literals.collect::<Option<_>>()?;
    let results: Vec<Concrete> = node.types.iter().map(small).collect::<Option<_>>()?;
    let attrs = node.attrs.bind(&Default::default())?;
    let folded = evaluate(node.op, &attrs, &literals, &results)?;
    Some(folded.into_iter().map(|literal| literal.values).collect())
}

fn size_of(node: &Node) -> Option<f64> {
    match node.attrs.get("size")? {
        Attr::Size(size) => size.as_known().filter(|n| n.unsigned_abs() < 1 << 53).map(|n| n as f64),
        _ => None,
    }
}

fn constant_values(builder: &Builder, value: Value) -> Option<&[f64]> {
    let node = builder.graph().node(value.node);
    if node.op == &CONSTANT { node.attrs.floats("values") } else { None }
}

/// `op (repeat a) (repeat b) = repeat (op a b)`, and a repeated number in another shape is that number repeated.
fn fold_repeated(node: &Node, constants: &[&[f64]], builder: &Builder, operands: &[Value]) -> Option<Vec<f64>> {
    if constants.iter().any(|values| values.len() != 1) || node.types.len() != 1 {
        return None;
    }
    if matches!(node.op.name, "reshape" | "broadcast" | "permute" | "flip") {
        return Some(constants[0].to_vec());
    }
    if !ELEMENTWISE.contains(&node.op.name) {
        return None;
    }
    let scalars: Vec<Literal> = operands
        .iter()
        .zip(constants)
        .map(|(operand, values)| Literal {
            dtype: builder.ty(*operand).dtype,
            shape: Vec::new(),
            values: values.to_vec(),
        })
        .collect();
    let attrs = node.attrs.bind(&Default::default())?;
    let result = Concrete { dtype: node.types[0].dtype, shape: Vec::new() };
    evaluate(node.op, &attrs, &scalars, &[result]).map(|mut folded| folded.remove(0).values)
}

/// The type in numbers, if it is known and small.
fn small(ty: &crate::graph::Type) -> Option<Concrete> {
    let known = |size: &Size| size.as_known().and_then(|n| usize::try_from(n).ok());
    let shape: Vec<usize> = ty.shape.iter().map(known).collect::<Option<_>>()?;
    let count = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size))?;
    (count <= LIMIT).then_some(Concrete { dtype: ty.dtype, shape })
}

fn literal(builder: &Builder, value: Value, values: &[f64]) -> Option<Literal> {
    let concrete = small(builder.ty(value))?;
    let count = concrete.count();
    let values = match values {
        [only] => vec![*only; count],
        many if many.len() == count => many.to_vec(),
        _ => return None,
    };
    Some(Literal { dtype: concrete.dtype, shape: concrete.shape, values })
}
