//! The interpreter of host graphs: scalars in f64, i64 and bool, before each step. It needs no tensor.

use crate::ops::INPUT;

use super::{DType, Graph, Node, Value};

/// A host number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    Float(f64),
    Int(i64),
    Bool(bool),
}

impl Scalar {
    pub fn as_float(self) -> f64 {
        match self {
            Scalar::Float(x) => x,
            Scalar::Int(n) => n as f64,
            Scalar::Bool(flag) => f64::from(u8::from(flag)),
        }
    }

    /// As a tensor element of this type would hold it.
    pub fn cast(self, dtype: DType) -> Result<Scalar, String> {
        Ok(match (dtype, self) {
            (DType::F64, x) => Scalar::Float(x.as_float()),
            (DType::F32, x) => Scalar::Float(f64::from(x.as_float() as f32)),
            (DType::Bool, Scalar::Bool(flag)) => Scalar::Bool(flag),
            (DType::Bool, x) => Scalar::Bool(x.as_float() != 0.0),
            (DType::I64 | DType::U32 | DType::U8, Scalar::Float(x)) => {
                let limit = match dtype {
                    DType::U8 => 0.0..256.0,
                    DType::U32 => 0.0..4_294_967_296.0,
                    _ => -9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0,
                };
                if !limit.contains(&x.trunc()) {
                    return Err(format!("{x} does not fit into {}", dtype.name()));
                }
                Scalar::Int(x as i64)
            }
            (DType::I64 | DType::U32 | DType::U8, Scalar::Int(n)) => Scalar::Int(n),
            (DType::I64 | DType::U32 | DType::U8, Scalar::Bool(flag)) => Scalar::Int(i64::from(flag)),
        })
    }
}

/// The outputs of a host graph; `inputs` in order of its own. An error names the node.
pub fn evaluate(graph: &Graph, inputs: &[Scalar]) -> Result<Vec<Scalar>, String> {
    if inputs.len() != graph.inputs.len() {
        return Err(format!("{} numbers are given for {} inputs", inputs.len(), graph.inputs.len()));
    }
    let mut values: Vec<Scalar> = vec![Scalar::Int(0); graph.len()];
    for (input, scalar) in graph.inputs.iter().zip(inputs) {
        values[input.node.index()] = scalar.cast(graph.ty(*input).dtype)?;
    }
    for (id, node) in graph.nodes().filter(|(_, node)| node.op != &INPUT) {
        let operands: Vec<Scalar> = node.operands.iter().map(|operand| values[operand.node.index()]).collect();
        let result = apply(node, &operands).and_then(|result| rounded(result, node));
        values[id.index()] = result.map_err(|fault| format!("`{}`: {fault}", node.name))?;
    }
    Ok(graph.outputs.iter().map(|output: &Value| values[output.node.index()]).collect())
}

/// f32 results are rounded as a tensor's would be.
fn rounded(result: Scalar, node: &Node) -> Result<Scalar, String> {
    match (node.types.as_slice(), result) {
        ([ty], _) if ty.rank() != 0 => Err(format!("a host number has no axes, this is {ty}")),
        ([ty], Scalar::Float(_)) if ty.dtype == DType::F32 => result.cast(DType::F32),
        ([_], _) => Ok(result),
        _ => Err(format!("{} has no host form", node.op.name)),
    }
}

fn apply(node: &Node, operands: &[Scalar]) -> Result<Scalar, String> {
    let name = node.op.name;
    match operands {
        [] => constant(node),
        [x] => match name {
            "cast" => x.cast(node.attrs.dtype("dtype").or(node.types.first().map(|ty| ty.dtype)).unwrap_or(DType::F64)),
            // Scalars have no axes, so these leave the number as it is.
            "stop" | "reshape" | "broadcast" | "permute" | "sum" | "prod" | "max" | "min" | "accumulate" => Ok(*x),
            _ => unary(name, *x),
        },
        [x, y] if name == "accumulate" => binary("add", *x, *y),
        [x, y] => binary(name, *x, *y),
        [Scalar::Bool(c), x, y] if name == "select" => Ok(if *c { *x } else { *y }),
        [first, rest @ ..] if name == "accumulate" => rest.iter().try_fold(*first, |sum, x| binary("add", sum, *x)),
        _ => Err(format!("{name} has no host form")),
    }
}

fn constant(node: &Node) -> Result<Scalar, String> {
    let dtype = node.types.first().map_or(DType::F64, |ty| ty.dtype);
    match (node.op.name, node.attrs.floats("values")) {
        ("constant", Some([x])) => Scalar::Float(*x).cast(dtype),
        ("size", _) => node.attrs.int("size").map(Scalar::Int).ok_or_else(|| "a size has no number here".into()),
        (name, _) => Err(format!("{name} has no host form")),
    }
}

fn unary(name: &str, x: Scalar) -> Result<Scalar, String> {
    if let (Scalar::Int(n), "neg" | "abs" | "sign" | "floor" | "ceil" | "round") = (x, name) {
        let result = match name {
            "neg" => n.checked_neg(),
            "abs" => n.checked_abs(),
            "sign" => Some(n.signum()),
            _ => Some(n),
        };
        return result.map(Scalar::Int).ok_or_else(|| overflow(name));
    }
    if let (Scalar::Bool(flag), "not") = (x, name) {
        return Ok(Scalar::Bool(!flag));
    }
    let x = x.as_float();
    Ok(Scalar::Float(match name {
        "neg" => -x,
        "abs" => x.abs(),
        "sign" => {
            if x > 0.0 {
                1.0
            } else if x < 0.0 {
                -1.0
            } else {
                x
            }
        }
        "exp" => x.exp(),
        "log" => x.ln(),
        "log1p" => x.ln_1p(),
        "expm1" => x.exp_m1(),
        "sqrt" => x.sqrt(),
        "rsqrt" => 1.0 / x.sqrt(),
        "recip" => 1.0 / x,
        "sin" => x.sin(),
        "cos" => x.cos(),
        "tanh" => x.tanh(),
        "floor" => x.floor(),
        "ceil" => x.ceil(),
        "round" => x.round_ties_even(),
        "is_finite" => return Ok(Scalar::Bool(x.is_finite())),
        _ => return Err(format!("{name} has no host form")),
    }))
}

fn overflow(name: &str) -> String {
    format!("{name} of integers gives a number too large")
}

fn binary(name: &str, x: Scalar, y: Scalar) -> Result<Scalar, String> {
    match (x, y) {
        (Scalar::Bool(x), Scalar::Bool(y)) => match name {
            "and" => Ok(Scalar::Bool(x && y)),
            "or" => Ok(Scalar::Bool(x || y)),
            "eq" => Ok(Scalar::Bool(x == y)),
            "ne" => Ok(Scalar::Bool(x != y)),
            _ => Err(format!("{name} has no form for booleans")),
        },
        (Scalar::Int(x), Scalar::Int(y)) => integers(name, x, y),
        _ => floats(name, x.as_float(), y.as_float()),
    }
}

fn integers(name: &str, x: i64, y: i64) -> Result<Scalar, String> {
    if let Some(result) = compare(name, x.partial_cmp(&y)) {
        return Ok(Scalar::Bool(result));
    }
    if y == 0 && matches!(name, "div" | "floor_div" | "remainder") {
        return Err("division by zero".into());
    }
    let result = match name {
        "add" => x.checked_add(y),
        "sub" => x.checked_sub(y),
        "mul" => x.checked_mul(y),
        // Floor semantics: the remainder has the sign of the divisor.
        "floor_div" => x.checked_div(y).map(|q| if x % y != 0 && (x < 0) != (y < 0) { q - 1 } else { q }),
        "remainder" => x.checked_rem(y).map(|r| if r != 0 && (r < 0) != (y < 0) { r + y } else { r }),
        "div" => x.checked_div(y),
        "maximum" => Some(x.max(y)),
        "minimum" => Some(x.min(y)),
        "pow" => u32::try_from(y).ok().and_then(|y| x.checked_pow(y)),
        _ => return Err(format!("{name} has no form for integers")),
    };
    result.map(Scalar::Int).ok_or_else(|| overflow(name))
}

fn floats(name: &str, x: f64, y: f64) -> Result<Scalar, String> {
    // No order with a NaN: all comparisons but `ne` are false then.
    if let Some(result) = compare(name, x.partial_cmp(&y)) {
        return Ok(Scalar::Bool(result));
    }
    let unordered = x.is_nan() || y.is_nan();
    Ok(Scalar::Float(match name {
        "add" => x + y,
        "sub" => x - y,
        "mul" => x * y,
        "div" => x / y,
        "pow" => x.powf(y),
        "maximum" | "minimum" if unordered => f64::NAN,
        "maximum" => x.max(y),
        "minimum" => x.min(y),
        "floor_div" => (x / y).floor(),
        "remainder" => x - (x / y).floor() * y,
        _ => return Err(format!("{name} has no host form")),
    }))
}

fn compare(name: &str, order: Option<std::cmp::Ordering>) -> Option<bool> {
    use std::cmp::Ordering::{Equal, Greater, Less};
    Some(match name {
        "eq" => order == Some(Equal),
        "ne" => order != Some(Equal),
        "lt" => order == Some(Less),
        "le" => matches!(order, Some(Less | Equal)),
        "gt" => order == Some(Greater),
        "ge" => matches!(order, Some(Greater | Equal)),
        _ => return None,
    })
}
