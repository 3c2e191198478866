//! Optimisers against PyTorch, LightlySSL and timm, through `ssl eval`.
//!
//! The function, the rates and the weights after each step stand in `fixtures/optimisers.json`. The first step shows how
//! memory begins, the second how it goes on, the tenth that nothing drifts; f64 is held to 1e-10, f32 to 1e-5.

mod support;

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use support::formula::Input;
use support::{error, eval_record, fixture, numbers};

#[derive(Deserialize)]
struct Fixture {
    function: String,
    inputs: Vec<Input>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    call: String,
    lr: Vec<f64>,
    steps: Vec<HashMap<String, Vec<f64>>>,
}

impl Fixture {
    fn faults(&self, case: &Case, steps: usize, dtype: DType, bound: f64) -> Vec<String> {
        let name = case.call.split('(').next().unwrap_or_default();
        let program = format!(
            "use std.optim.{name}\n\
             weight w: [3, 4] = w0\n\
             weight b: [4] = b0\n\
             train fit(steps: {steps}) as now {{\n\
             let lr = rates[now.step]\n\
             minimize {} over w, b using {}\n\
             }}\n\
             {{ w, b, }}",
            self.function, case.call
        );
        let rates = Tensor::new(case.lr.as_slice(), &Device::Cpu).expect("ten rates");
        let mut given = vec![("rates", rates)];
        for input in &self.inputs {
            // Where the weights start; what they are called in the program is the weight itself.
            let name = match input.name.as_str() {
                "w" => "w0",
                "b" => "b0",
                other => other,
            };
            given.push((name, input.tensor("optimisers")));
        }
        let got = eval_record(&program, &given, dtype);
        let off = |name: &str| error(&numbers(&got[name]), &case.steps[steps - 1][name]);
        ["w", "b"]
            .into_iter()
            .map(|name| (name, off(name)))
            .filter(|(_, off)| off.is_nan() || *off > bound)
            .map(|(name, off)| format!("{}: {name} after {steps} steps in {dtype:?} is off by {off:.1e}", case.call))
            .collect()
    }
}

#[test]
fn optimisers_are_those_of_the_packages() {
    let fixture: Fixture = fixture("optimisers.json");
    let mut faults = Vec::new();
    for case in &fixture.cases {
        for steps in [1, 2, 10] {
            faults.extend(fixture.faults(case, steps, DType::F64, 1e-10));
        }
        faults.extend(fixture.faults(case, 10, DType::F32, 1e-5));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
