//! What the tests against fixtures share. In come a fixture file and a fragment of the language; out go the tensors that
//! the fragment gives. Never a tolerance: each test states its own.

// Each test crate uses its own part of this module.
#![allow(dead_code)]

pub mod fences;
pub mod formula;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;

use candle_core::{DType, Device, Tensor};
use serde::de::DeserializeOwned;

/// Reads `tests/fixtures/NAME`.
pub fn fixture<T: DeserializeOwned>(name: &str) -> T {
    let text = fixture_text(name);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub fn fixture_text(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The value of a fragment whose last expression is a tensor.
pub fn eval(program: &str, given: &[(&str, Tensor)], dtype: DType) -> Tensor {
    let fields = eval_record(program, given, dtype);
    let [(_, value)]: [(String, Tensor); 1] =
        fields.into_iter().collect::<Vec<_>>().try_into().expect("a tensor is written under one name");
    value
}

/// The fields of a fragment whose last expression is a record of tensors.
///
/// Floats in `given` are handed over in `dtype`, and the fragment computes in it.
pub fn eval_record(program: &str, given: &[(&str, Tensor)], dtype: DType) -> HashMap<String, Tensor> {
    let folder = tempfile::tempdir().expect("a folder for inputs and outputs");
    let out = folder.path().join("out.safetensors");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ssl"));
    command.arg("eval").arg("--dtype").arg(name_of(dtype));
    for (name, tensor) in given {
        let tensor = if tensor.dtype().is_float() { tensor.to_dtype(dtype) } else { Ok(tensor.clone()) };
        let path = folder.path().join(format!("{name}.npy"));
        tensor.and_then(|tensor| tensor.write_npy(&path)).expect("an input is written");
        command.arg("--in").arg(format!("{name}={}", path.display()));
    }
    let run = command.arg("--out").arg(&out).arg(program).output().expect("the binary starts");
    assert!(run.status.success(), "{program}\n{}", String::from_utf8_lossy(&run.stderr));
    candle_core::safetensors::load(&out, &Device::Cpu).expect("the output is read")
}

fn name_of(dtype: DType) -> &'static str {
    match dtype {
        DType::F64 => "f64",
        DType::F32 => "f32",
        other => panic!("fragments compute in f32 or f64, not in {other:?}"),
    }
}

/// Row-major, whatever the element type.
pub fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).and_then(|t| t.flatten_all()).and_then(|t| t.to_vec1()).expect("a tensor of numbers")
}

/// `max|a - b| / max|b|`, or `max|a|` where `b` is zero throughout.
pub fn error(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "as many numbers as the fixture has");
    // `f64::max` drops a NaN on either side, and a NaN must not vanish.
    let larger = |m: f64, x: f64| if m.is_nan() || x.is_nan() { f64::NAN } else { m.max(x) };
    let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, larger);
    let apart = largest(&mut a.iter().zip(b).map(|(a, b)| (a - b).abs()));
    let scale = largest(&mut b.iter().map(|b| b.abs()));
    if scale == 0.0 { apart } else { apart / scale }
}

#[test]
fn a_nan_is_an_error_and_a_zero_reference_is_absolute() {
    assert!(error(&[1.0, f64::NAN, 2.0], &[1.0, 1.0, 2.0]).is_nan());
    assert_eq!(error(&[0.0, -0.5], &[0.0, 0.0]), 0.5);
    assert_eq!(error(&[1.0, -3.0], &[1.0, -4.0]), 0.25);
}
