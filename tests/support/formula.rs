//! The inputs of the fixtures: `tests/fixtures/formula.py` says how an element follows from its tensor's name and its index,
//! and this is the same. In comes a name and a shape, out goes a tensor; never is an input stored.

use candle_core::{Device, Tensor};
use serde::Deserialize;

/// An input as a fixture names it: floats with a scale, or labels below `classes`.
#[derive(Deserialize)]
pub struct Input {
    pub name: String,
    pub shape: Vec<usize>,
    pub scale: Option<f64>,
    pub classes: Option<u64>,
}

impl Input {
    pub fn is_float(&self) -> bool {
        self.classes.is_none()
    }

    /// The input of one case, whose name is part of the formula; floats are f64.
    pub fn tensor(&self, case: &str) -> Tensor {
        let words = words(&format!("{case}/{}", self.name), self.shape.iter().product());
        let tensor = match self.classes {
            Some(classes) => {
                let labels = words.iter().map(|k| (k % classes) as i64).collect();
                Tensor::from_vec::<_, i64>(labels, self.shape.as_slice(), &Device::Cpu)
            }
            None => {
                let scale = self.scale.unwrap_or(1.0);
                let floats = words.iter().map(|&k| (k as f64 - 524_288.0) / 262_144.0 * scale).collect();
                Tensor::from_vec::<_, f64>(floats, self.shape.as_slice(), &Device::Cpu)
            }
        };
        tensor.expect("as many numbers as the shape says")
    }
}

/// Numbers in `[0, 1)`, for images.
pub fn unit(name: &str, count: usize) -> Vec<f64> {
    words(name, count).into_iter().map(|k| k as f64 / 1_048_576.0).collect()
}

/// `count` integers of 20 bits.
fn words(name: &str, count: usize) -> Vec<u64> {
    let seed = name
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3));
    (1..=count as u64)
        .map(|i| {
            let z = seed.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            (z ^ (z >> 31)) >> 44
        })
        .collect()
}

#[test]
fn the_words_are_those_of_the_script() {
    assert_eq!(words("barlow_twins_0/a", 4), [1015200, 470937, 348057, 304680]);
    assert_eq!(words("views/odd", 3), [224570, 213189, 905624]);
}
