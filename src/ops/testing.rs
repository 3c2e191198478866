//! Evaluation of graphs node by node, for tests of ops, rules and passes.

use std::collections::HashMap;

use candle_core::{Device, Tensor};

use super::{Call, Concrete, Gradient, INPUT, Op, Vjp, fused, scan, structure};
use crate::graph::{Bindings, Builder, DType, Graph, NodeId, Size, Type, Value};

/// The outputs of a graph by the reference kernels, on the CPU.
pub fn evaluate(graph: &Graph, inputs: &[Tensor], bindings: &Bindings) -> Vec<Tensor> {
    try_evaluate(graph, inputs, bindings).unwrap_or_else(|fault| panic!("{fault}"))
}

/// The same, with what a kernel refuses.
pub fn try_evaluate(graph: &Graph, inputs: &[Tensor], bindings: &Bindings) -> candle_core::Result<Vec<Tensor>> {
    assert_eq!(graph.inputs.len(), inputs.len(), "one tensor for each input");
    let mut values: HashMap<Value, Tensor> = graph.inputs.iter().copied().zip(inputs.iter().cloned()).collect();
    for (id, node) in graph.nodes() {
        if node.op == &INPUT {
            continue;
        }
        let operands: Vec<Tensor> = node.operands.iter().map(|operand| values[operand].clone()).collect();
        let concrete =
            |ty: &Type| Concrete { dtype: ty.dtype, shape: ty.bind(bindings).expect("every symbol is bound") };
        let types: Vec<Concrete> = node.types.iter().map(concrete).collect();
        let results = if node.op == &structure::MAP_ROWS {
            map_rows(&node.regions[0], &operands, bindings)?
        } else if node.op == &fused::FUSED {
            try_evaluate(&node.regions[0], &operands, bindings)?
        } else if node.op == &scan::SCAN {
            let attrs = node.attrs.bind(bindings).expect("every symbol is bound");
            let form = scan::Form::of(&attrs, &node.regions).expect("a scan");
            let length = attrs.int("length").expect("a length") as usize;
            let mut body = |inputs: &[Tensor]| try_evaluate(&node.regions[0], inputs, bindings);
            let mut until =
                |inputs: &[Tensor]| Ok(try_evaluate(&node.regions[1], inputs, bindings)?[0].to_scalar::<u8>()? != 0);
            scan::run(form, &scan::kept(&attrs), length, &operands, &types, &mut body, &mut until)?.to_vec()
        } else {
            let attrs = node.attrs.bind(bindings).expect("every symbol is bound");
            let call = Call { attrs: &attrs, inputs: &operands, results: &types, device: &Device::Cpu };
            (node.op.kernel)(&call)
                .map_err(|fault| candle_core::Error::msg(format!("{}: {fault}", node.name)))?
                .to_vec()
        };
        assert_eq!(results.len(), types.len(), "{}: results of the kernel", node.name);
        for (out, (result, ty)) in results.into_iter().zip(&types).enumerate() {
            assert_eq!(result.dims(), ty.shape, "{}: shape of the kernel's result", node.name);
            assert_eq!(result.dtype(), crate::kernels::stored(ty.dtype), "{}: element type", node.name);
            assert!(result.is_contiguous(), "{}: layout of the kernel's result", node.name);
            values.insert(Value { node: id, out: out as u16 }, result);
        }
    }
    Ok(graph.outputs.iter().map(|output| values[output].clone()).collect())
}

/// The region row by row: what `map_rows` means.
fn map_rows(region: &Graph, operands: &[Tensor], bindings: &Bindings) -> candle_core::Result<Vec<Tensor>> {
    let rows = operands[0].dim(0)?;
    let mut results = vec![Vec::new(); region.outputs.len()];
    for row in 0..rows {
        let inputs =
            operands.iter().map(|operand| operand.get(row)?.contiguous()).collect::<candle_core::Result<Vec<_>>>()?;
        let outputs = try_evaluate(region, &inputs, bindings)?;
        outputs.into_iter().zip(&mut results).for_each(|(output, results)| results.push(output));
    }
    results.iter().map(|rows| Tensor::stack(rows, 0)).collect()
}

/// A graph with the cotangents of its inputs as outputs: for each output, an input of its type is added that holds the
/// output's cotangent. None where nothing flows to an input.
pub fn differentiate(graph: &Graph) -> (Graph, Vec<Option<Value>>) {
    differentiate_with(graph, &|_, _, _, cotangent| cotangent)
}

/// The same, each cotangent of each operand altered on its way.
pub fn differentiate_with(
    graph: &Graph,
    alter: &dyn Fn(&mut Builder, &'static Op, usize, Value) -> Value,
) -> (Graph, Vec<Option<Value>>) {
    let mut builder = Builder::new();
    let mut map: HashMap<Value, Value> = HashMap::new();
    for (id, node) in graph.nodes() {
        let operands: Vec<Value> = node.operands.iter().map(|operand| map[operand]).collect();
        let copy = builder.copy(node, &operands);
        for out in 0..node.types.len() as u16 {
            map.insert(Value { node: id, out }, Value { node: copy.node, out });
        }
    }
    let copied: Vec<(NodeId, usize)> = builder.graph().nodes().map(|(id, node)| (id, node.types.len())).collect();
    let mut cotangents: HashMap<Value, Vec<Value>> = HashMap::new();
    for output in &graph.outputs {
        let seed = builder.input("seed", graph.ty(*output).clone());
        cotangents.entry(map[output]).or_default().push(seed);
    }
    for (id, results) in copied.into_iter().rev() {
        let of_results: Vec<Option<Value>> = (0..results as u16)
            .map(|out| cotangents.get(&Value { node: id, out }).cloned())
            .map(|terms| terms.map(|terms| builder.accumulate(&terms)))
            .collect();
        let rule = match builder.graph().node(id).op.gradient {
            Gradient::Rule(rule) | Gradient::Except(_, _, rule) => rule,
            _ => {
                if let Some(Some(total)) = of_results.first() {
                    cotangents.insert(Value { node: id, out: 0 }, vec![*total]);
                }
                continue;
            }
        };
        if of_results.iter().all(Option::is_none) {
            continue;
        }
        let operands = builder.graph().node(id).operands.clone();
        let found = rule(&mut Vjp { builder: &mut builder, node: id, cotangents: &of_results });
        assert_eq!(found.len(), operands.len(), "one cotangent for each operand");
        let whole = of_results[0].is_some();
        for (at, (operand, cotangent)) in operands.iter().zip(found).enumerate() {
            let (op, float) = (builder.graph().node(id).op, builder.ty(*operand).dtype.is_float());
            let excepted = matches!(op.gradient, Gradient::Except(except, ..) if except == at);
            let declared = !whole || !float || cotangent.is_none() == excepted;
            assert!(declared, "{}: a float operand without a cotangent is declared by `Except`", op.name);
            if let Some(cotangent) = cotangent {
                let cotangent = alter(&mut builder, op, at, cotangent);
                assert_eq!(builder.ty(cotangent), builder.ty(*operand), "a cotangent has its value's type");
                cotangents.entry(*operand).or_default().push(cotangent);
            }
        }
    }
    let of_inputs: Vec<Option<Value>> =
        graph.inputs.iter().map(|input| cotangents.get(&map[input]).map(|terms| terms[0])).collect();
    let outputs = of_inputs.iter().flatten().copied().collect();
    (builder.finish(outputs), of_inputs)
}

/// Numbers that look random and are the same in every run.
pub fn samples(count: usize, seed: u32, low: f64, high: f64) -> Vec<f64> {
    let unit = |at: u64| crate::kernels::philox::unit_f32(crate::kernels::philox::word([seed, 7], at)) as f64;
    (0..count as u64).map(|at| low + (high - low) * unit(at)).collect()
}

/// An f64 tensor of such numbers.
pub fn sample(shape: &[usize], seed: u32, low: f64, high: f64) -> Tensor {
    crate::kernels::tensor(samples(shape.iter().product(), seed, low, high), shape).expect("a tensor")
}

/// All elements as f64.
pub fn flat(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.flatten_all().and_then(|flat| flat.to_dtype(candle_core::DType::F64));
    flat.and_then(|flat| flat.to_vec1()).expect("elements")
}

/// Compares the gradient rules of a graph over f64 inputs with central differences, at `inputs`, and the rules of the
/// gradient's graph with differences of the gradient.
pub fn check_gradients(graph: &Graph, inputs: &[Tensor]) {
    let gradient = check_first_order(graph, inputs, 1e-6);
    let seeds = graph.outputs.iter().enumerate();
    let seeds = seeds.map(|(at, output)| {
        let shape = graph.ty(*output).bind(&Bindings::new()).expect("sizes in numbers");
        sample(&shape, 100 + at as u32, 0.5, 1.5)
    });
    let with_seeds: Vec<Tensor> = inputs.iter().cloned().chain(seeds).collect();
    check_first_order(&gradient, &with_seeds, 1e-5);
}

fn check_first_order(graph: &Graph, inputs: &[Tensor], tolerance: f64) -> Graph {
    let (gradient, of_inputs) = differentiate(graph);
    let none = Bindings::new();
    let seeds: Vec<Tensor> = evaluate(graph, inputs, &none)
        .iter()
        .enumerate()
        .map(|(at, output)| sample(output.dims(), 100 + at as u32, 0.5, 1.5))
        .collect();
    let value = |inputs: &[Tensor]| -> f64 {
        let outputs = evaluate(graph, inputs, &none);
        outputs
            .iter()
            .zip(&seeds)
            .map(|(y, seed)| flat(y).iter().zip(flat(seed)).map(|(y, w)| y * w).sum::<f64>())
            .sum()
    };
    let all: Vec<Tensor> = inputs.iter().chain(&seeds).cloned().collect();
    let mut rules = evaluate(&gradient, &all, &none).into_iter();
    for (at, input) in inputs.iter().enumerate() {
        if input.dtype() != candle_core::DType::F64 {
            assert!(of_inputs[at].is_none(), "no gradient flows to integers");
            continue;
        }
        let start = flat(input);
        let rule = of_inputs[at].and_then(|_| rules.next()).map_or_else(|| vec![0.0; start.len()], |rule| flat(&rule));
        for (element, rule) in rule.iter().enumerate() {
            let step = 1e-6 * start[element].abs().max(1.0);
            let moved = |by: f64| {
                let mut values = start.clone();
                values[element] += by;
                let mut inputs = inputs.to_vec();
                inputs[at] = crate::kernels::tensor(values, input.dims()).expect("a tensor");
                value(&inputs)
            };
            let difference = (moved(step) - moved(-step)) / (2.0 * step);
            let scale = 1f64.max(difference.abs()).max(rule.abs());
            assert!(
                (rule - difference).abs() < tolerance.max(1e-6) * 10.0 * scale,
                "input {at}, element {element}: rule {rule}, difference {difference}, shape {:?}",
                input.dims()
            );
        }
    }
    gradient
}

/// A graph of one application over f64 inputs of the given shapes.
pub fn apply_to(shapes: &[&[usize]], of: impl Fn(&mut Builder, &[Value]) -> Value) -> Graph {
    let mut builder = Builder::new();
    let ty = |shape: &[usize]| Type::new(DType::F64, shape.iter().map(|size| Size::known(*size as i64)));
    let inputs: Vec<Value> = shapes.iter().map(|shape| builder.input("x", ty(shape))).collect();
    let output = of(&mut builder, &inputs);
    builder.finish(vec![output])
}
