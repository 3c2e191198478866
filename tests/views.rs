//! Views at fixed parameters against torchvision, through `ssl eval`.
//!
//! The numbers and the calls stand in `fixtures/views.json`; they have ten decimals, so f64 is held to 1e-9 and f32 to 1e-5.

mod support;

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use support::{error, eval, fixture, formula, numbers};

#[derive(Deserialize)]
struct Image {
    name: String,
    shape: Vec<usize>,
}

#[derive(Deserialize)]
struct Case {
    case: String,
    call: String,
    image: Image,
    shape: Vec<usize>,
    output: Vec<f64>,
}

impl Case {
    /// torchvision turns hues in f32, whatever it is given.
    fn bound(&self) -> f64 {
        if self.call.starts_with("adjust_hue") { 1e-5 } else { 1e-9 }
    }

    fn fault(&self, dtype: DType, bound: f64) -> Option<String> {
        let shape = self.image.shape.as_slice();
        let pixels = formula::unit(&self.image.name, shape.iter().product());
        let image = Tensor::from_vec(pixels, shape, &Device::Cpu).expect("as many pixels as the shape says");
        let program = format!(
            "use std.view.{{rotate, blur, flip, vertical_flip, grayscale, solarize}}\n\
             use std.view.{{adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue}}\n{}",
            self.call
        );
        let got = eval(&program, &[("image", image)], dtype);
        if got.dims() != self.shape {
            return Some(format!("{}: {} has the shape {:?}", self.case, self.call, got.dims()));
        }
        let off = error(&numbers(&got), &self.output);
        // A NaN is a fault too.
        (off.is_nan() || off > bound).then(|| format!("{}: {} in {dtype:?} is off by {off:.1e}", self.case, self.call))
    }
}

#[test]
fn views_are_those_of_torchvision() {
    let cases: Vec<Case> = fixture("views.json");
    let faults: Vec<String> = cases
        .iter()
        .flat_map(|case| [case.fault(DType::F64, case.bound()), case.fault(DType::F32, 1e-5)])
        .flatten()
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
