//! The discrete Fourier transform.

use super::*;
use crate::graph::Attr;

pub const OPS: &[&Op] = &[&FFT];

pub static FFT: Op = Op {
    name: "fft",
    doc: "The sums `sum_n (re_n + i im_n) exp(-2 pi i k n / N)` along an axis, real and imaginary parts apart; `inverse` has \
          the other sign and divides by nothing either. In f64 on the host.",
    signature: "(re: float[..s], im: float[..s]) -> (float[..s], float[..s])",
    attrs: &[("axis", AttrKind::Int), ("inverse", AttrKind::Bool)],
    infer: |infer| {
        let [re, im] = infer.operands("fft")?;
        infer.float("fft", 0)?;
        super::check::same_type((0, re), (1, im))?;
        infer.axis("fft")?;
        Ok([re.clone(), im.clone()].into_iter().collect())
    },
    // The adjoint of a transform is the one with the other sign.
    gradient: Gradient::Rule(|vjp| {
        let [re, im] = [0, 1].map(|at| vjp.cotangents[at]);
        let Some(some) = re.or(im) else { return vec![None, None] };
        let given = vjp.attrs();
        let attrs = build::axis_attr(given.int("axis").unwrap_or(0) as usize);
        let attrs = attrs.with("inverse", Attr::Bool(!given.flag("inverse")));
        let rule = &mut *vjp.builder;
        let none = rule.splat_like(0.0, some);
        let back = rule.must(&FFT, &[re.unwrap_or(none), im.unwrap_or(none)], attrs);
        vec![Some(back), Some(Value { node: back.node, out: 1 })]
    }),
    rows: Rows::Rule(|lift| lift.builder.apply(&FFT, lift.operands, super::check::shifted_axes(lift.attrs))),
    kernel: |call| {
        let axis = super::check::one_number(call.attrs, "axis")?;
        crate::kernels::fourier::fft(&call.inputs[0], &call.inputs[1], axis, call.attrs.flag("inverse"))
            .map(|parts| parts.into_iter().collect())
    },
    flops: Flops(
        |cost| {
            let axis = cost.attrs.int("axis").unwrap_or(0) as usize;
            let length = cost.results[0].shape.get(axis).copied().unwrap_or(1) as f64;
            5.0 * length.max(2.0).log2() * cost.results[0].count() as f64
        },
        "5 log2 n a number of the result",
    ),
    domain: Domain::Uniform(-2.0, 2.0),
    examples: &[
        "fft([1.0, 2.0, 4.0], [0.0, 0.0, 0.0], axis: 0)[0] == [7.0, -2.0, -2.0]",
        "fft([1.0, 1.0], [0.0, 1.0], axis: 0, inverse: true)[1] == [1.0, -1.0]",
    ],
};
