//! The elementwise ops around the gamma function.

use super::check::{self, ONE_EACH, one};
use super::*;
use crate::graph::Attr;
use crate::kernels::special;

const ORDER: &[(&str, AttrKind)] = &[("order", AttrKind::Int)];
/// Beyond, the factorials in it leave the range of f64.
const HIGHEST: i64 = 100;

fn infer(infer: &Infer<'_>) -> Result<Types, Mismatch> {
    let [x] = check::operands(infer)?;
    check::float(0, x)?;
    one(x.clone())
}

/// In f64 on the host, whatever the elements.
fn each(x: &candle_core::Tensor, of: impl Fn(f64) -> f64) -> candle_core::Result<Results> {
    use candle_core::{DType, Device, Tensor};
    let numbers = x.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    let made = Tensor::from_vec(numbers.into_iter().map(of).collect(), x.dims(), &Device::Cpu)?;
    check::result(made.to_dtype(x.dtype())?.to_device(x.device()))
}

fn polygamma(rule: &mut Builder, x: Value, order: i64) -> Value {
    rule.must(&POLYGAMMA, &[x], Attrs::none().with("order", Attr::Int(order)))
}

pub static LGAMMA: Op = Op {
    name: "lgamma",
    doc: "The logarithm of the magnitude of the gamma function; infinite at 0 and at negative whole numbers.",
    signature: "(x: float[..s]) -> float[..s]",
    attrs: &[],
    infer,
    gradient: Gradient::Rule(|vjp| {
        let x = vjp.operand(0);
        vec![vjp.cotangents[0].map(|g| {
            let slope = polygamma(vjp.builder, x, 0);
            vjp.builder.mul(g, slope)
        })]
    }),
    rows: Rows::Leading,
    kernel: |call| each(&call.inputs[0], special::lgamma),
    flops: ONE_EACH,
    domain: Domain::Uniform(0.2, 4.0),
    examples: &["lgamma([1.0, 3.0, 4.0]) == [0.0, 0.6931472, 1.7917595]"],
};

pub static POLYGAMMA: Op = Op {
    name: "polygamma",
    doc: "The derivative of an order of the digamma function, which is order 0: of the logarithm of the gamma function, the \
          derivative of one order more. NaN below -1e6, where order 0 also has a pole.",
    signature: "(x: float[..s]) -> float[..s]",
    attrs: ORDER,
    infer: |args| {
        let order = args.attrs.int("order").unwrap_or(-1);
        if !(0..=HIGHEST).contains(&order) {
            return Err(super::fit::bad(format!("polygamma has order {order}, one of 0 to {HIGHEST} is needed")));
        }
        infer(args)
    },
    gradient: Gradient::Rule(|vjp| {
        let (x, order) = (vjp.operand(0), vjp.attrs().int("order").unwrap_or(0));
        vec![vjp.cotangents[0].map(|g| {
            let slope = polygamma(vjp.builder, x, order + 1);
            vjp.builder.mul(g, slope)
        })]
    }),
    rows: Rows::Leading,
    kernel: |call| {
        let order = call.attrs.int("order").unwrap_or(0) as u32;
        each(&call.inputs[0], |x| special::polygamma(order, x))
    },
    flops: ONE_EACH,
    domain: Domain::Uniform(0.2, 4.0),
    examples: &["polygamma([1.0], order: 0) == [-0.5772157]", "polygamma([1.0], order: 1) == [1.6449341]"],
};
