//! The library's nets against torchvision, timm and Hugging Face, through `ssl eval`.
//!
//! The numbers stand in `fixtures/nets/`; `fixtures/nets.py` says how weights are filled and what is stored of a tensor.
//! In f32 outputs and buffers are held to 1e-4 and gradients to 1e-3, in f64 all of them to 1e-8. A net at full size is
//! compared in f32 only.

mod support;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use serde::Deserialize;
use support::fences::repository;
use support::formula::{Input, unit};
use support::{error, eval_record, fixture, numbers};

/// A tensor, and what belongs to it in either mode: its gradient, or the buffer after a step.
#[derive(Deserialize)]
struct Row {
    #[serde(flatten)]
    tensor: Input,
    offset: Option<f64>,
    infer: Option<Vec<f64>>,
    train: Option<Vec<f64>>,
}

#[derive(Deserialize)]
struct Case {
    case: String,
    seed: u64,
    #[serde(rename = "use")]
    import: String,
    net: String,
    /// The arguments of the net's call.
    call: String,
    full: bool,
    /// By mode.
    output: BTreeMap<String, Vec<f64>>,
    inputs: Vec<Row>,
    weights: Vec<Row>,
}

impl Row {
    fn name(&self) -> &str {
        &self.tensor.name
    }

    fn filled(&self, seed: &str, dtype: DType) -> Tensor {
        let tensor = self.tensor.tensor(seed);
        if !self.tensor.is_float() {
            return tensor;
        }
        let moved = tensor.affine(1.0, self.offset.unwrap_or(0.0));
        moved.and_then(|tensor| tensor.to_dtype(dtype)).expect("floats are moved and rounded")
    }

    fn stored(&self, mode: &str) -> Option<&[f64]> {
        if mode == "train" { self.train.as_deref() } else { self.infer.as_deref() }
    }
}

/// The weights of a case as a file in a folder.
fn written(weights: &[Row], seed: &str, dtype: DType, folder: &Path) -> PathBuf {
    let path = folder.join("weights.safetensors");
    let filled = weights.iter().map(|row| (row.name().to_string(), row.filled(seed, dtype)));
    candle_core::safetensors::save(&filled.collect::<HashMap<_, _>>(), &path).expect("the weights are written");
    path
}

impl Case {
    fn seed(&self) -> String {
        format!("{}/{}", self.case, self.seed)
    }

    /// A record of the output, the gradients of weights and of inputs, and the buffers, in training after one step.
    fn program(&self, mode: &str, weights: &Path) -> String {
        let Case { import, net, call, .. } = self;
        let training = mode == "train";
        let learned = self.inputs.iter().filter(|row| row.stored(mode).is_some());
        let given: Vec<String> = learned.map(|row| format!("{0}: grad(loss, {0})", row.name())).collect();
        let mut lines = vec![
            format!("use {import}"),
            format!("net f = {net}"),
            format!("load f from \"{}\"", weights.display()),
            format!("let y = f({call}, training: {training})"),
            "let loss = sum(y * probe)".into(),
            "let d = grad(loss, f.weights)".into(),
            format!("let given = {{ {} }}", given.join(", ")),
        ];
        if training {
            lines.insert(0, "use std.optim.sgd".into());
            lines.push(format!("train once(steps: 1) {{ minimize sum(f({call}) * probe) over f using sgd(0.0) }}"));
        }
        lines.push("{ y, d, given, state: f.state }".into());
        lines.join("\n")
    }

    /// What is out of bounds in one element type, in words.
    fn faults(&self, dtype: DType) -> Vec<String> {
        let seed = self.seed();
        let folder = tempfile::tempdir().expect("a folder for the weights");
        let path = written(&self.weights, &seed, dtype, folder.path());
        let given: Vec<_> = self.inputs.iter().map(|row| (row.name(), row.filled(&seed, dtype))).collect();
        let mut faults = Vec::new();
        for (mode, output) in &self.output {
            let got = eval_record(&self.program(mode, &path), &given, dtype);
            let mut check = |name: &str, fields: &[String], stored: &[f64], many: usize| {
                let Some(field) = fields.iter().find(|field| got.contains_key(*field)) else {
                    return faults.push(format!("{seed} has no {name}"));
                };
                let gradient = !field.starts_with("state.") && name != "output";
                let bound = match dtype {
                    DType::F64 => 1e-8,
                    _ if gradient => 1e-3,
                    _ => 1e-4,
                };
                let [norm, entries] = apart(&numbers(&got[field]), stored, &format!("{seed}/{name}"), many);
                // A NaN is a fault too.
                if [norm, entries].iter().any(|off| off.is_nan() || *off > bound) {
                    let off = format!("off by {norm:.1e} in its norm and {entries:.1e} in its entries");
                    faults.push(format!("{seed}: {field} in {dtype:?} ({mode}) is {off}"));
                }
            };
            check("output", &["y".into()], output, 64);
            for row in self.inputs.iter().chain(&self.weights) {
                let name = row.name();
                if let Some(stored) = row.stored(mode) {
                    let fields = ["d", "given", "state"].map(|part| format!("{part}.{name}"));
                    check(name, &fields, stored, 8);
                }
            }
        }
        faults
    }
}

/// How far the norm is from that which is stored, and how far the largest magnitude and the entries are.
fn apart(all: &[f64], stored: &[f64], name: &str, many: usize) -> [f64; 2] {
    let norm = all.iter().map(|x| x * x).sum::<f64>().sqrt();
    let largest = all.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    let entries: Vec<f64> = if all.len() <= many {
        all.to_vec()
    } else {
        let places = unit(&format!("{name}/places"), many).into_iter().map(|share| share * all.len() as f64);
        places.map(|place| all[place as usize]).collect()
    };
    let (norms, rest) = stored.split_at(1);
    [error(&[norm], norms), error(&[vec![largest], entries].concat(), rest)]
}

fn agree(cases: &[&str]) {
    let faults = cases.iter().flat_map(|name| {
        let case: Case = fixture(&format!("nets/{name}.json"));
        let dtypes: &[DType] = if case.full { &[DType::F32] } else { &[DType::F32, DType::F64] };
        dtypes.iter().flat_map(|dtype| case.faults(*dtype)).collect::<Vec<_>>()
    });
    let faults: Vec<String> = faults.collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

const RESNETS: &[&str] = &["resnet18", "resnet18_narrow", "resnet34_narrow", "resnet50_narrow", "resnet_cifar"];
const VITS: &[&str] = &[
    "vit_tiny",
    "vit_tiny_narrow",
    "vit_small_narrow",
    "vit_base_narrow",
    "vit_large_narrow",
    "vit_mean",
    "vit_registers_larger_image",
    "vit_scaled_smaller_image",
];
const CONVNEXTS: &[&str] = &["convnext_tiny", "convnext_narrow"];
const BERTS: &[&str] = &["bert", "bert_narrow", "bert_tokens"];
const GPT2S: &[&str] = &["gpt2", "gpt2_narrow"];

#[test]
fn residual_nets_are_those_of_torchvision() {
    agree(RESNETS);
}

#[test]
fn vision_transformers_are_those_of_timm() {
    agree(VITS);
}

#[test]
fn convnext_is_that_of_timm() {
    agree(CONVNEXTS);
}

#[test]
fn bert_is_that_of_hugging_face() {
    agree(BERTS);
}

#[test]
fn gpt2_is_that_of_hugging_face() {
    agree(GPT2S);
}

/// Ten steps of training, with the losses before each of them.
#[derive(Deserialize)]
struct Course {
    case: String,
    seed: u64,
    #[serde(rename = "use")]
    import: String,
    net: String,
    rate: f64,
    losses: BTreeMap<String, Vec<f64>>,
    inputs: Vec<Row>,
    weights: Vec<Row>,
}

impl Course {
    /// The losses in one precision, each of the language and of PyTorch.
    fn run(&self, precision: &str) -> Vec<(f64, f64)> {
        let seed = format!("{}/{}", self.case, self.seed);
        let folder = tempfile::tempdir().expect("a folder for the weights");
        let path = written(&self.weights, &seed, DType::F32, folder.path());
        let given: Vec<_> = self.inputs.iter().map(|row| (row.name(), row.filled(&seed, DType::F32))).collect();
        let wanted = &self.losses[precision];
        let mut lines = vec![
            format!("use {}", self.import),
            "use std.optim.sgd".into(),
            "use std.loss.cross_entropy".into(),
            format!("net f = {}", self.net),
            format!("load f from \"{}\"", path.display()),
        ];
        for at in 0..wanted.len() {
            let step = format!("minimize cross_entropy(f(x), label) over f using sgd({})", self.rate);
            lines.push(format!("train s{at}(steps: 1, precision: {precision}) {{ {step} }}"));
        }
        let fields: Vec<String> = (0..wanted.len()).map(|at| format!("l{at}: s{at}.loss")).collect();
        lines.push(format!("{{ {} }}", fields.join(", ")));
        let got = eval_record(&lines.join("\n"), &given, DType::F32);
        wanted.iter().enumerate().map(|(at, wanted)| (numbers(&got[&format!("l{at}")])[0], *wanted)).collect()
    }
}

#[test]
fn training_in_bf16_is_that_of_autocast() {
    for name in ["resnet18_narrow", "vit_tiny_narrow"] {
        let course: Course = fixture(&format!("precision/{name}.json"));
        for (precision, bound) in [("f32", 5e-3), ("bf16", 0.02)] {
            let losses = course.run(precision);
            let off = losses.iter().map(|(got, wanted)| (got - wanted).abs() / wanted.abs()).fold(0.0, f64::max);
            assert!(off < bound, "{name} in {precision} is off by {off:.4}: {losses:?}");
        }
        assert_ne!(course.run("bf16"), course.run("f32"), "{name} rounds nothing");
    }
}

/// Without this, a fixture that no family lists would pass unseen.
#[test]
fn every_fixture_is_in_a_family_and_each_family_has_a_net_at_full_size() {
    let families = [RESNETS, VITS, CONVNEXTS, BERTS, GPT2S];
    let listed: BTreeSet<String> =
        families.iter().flat_map(|names| names.iter()).map(|name| format!("{name}.json")).collect();
    let folder = std::fs::read_dir(repository("tests/fixtures/nets")).expect("the folder of fixtures");
    let there = folder.map(|entry| entry.expect("an entry of the folder").file_name().to_string_lossy().into_owned());
    assert_eq!(there.collect::<BTreeSet<String>>(), listed);
    for names in families {
        let full = names.iter().filter(|name| fixture::<Case>(&format!("nets/{name}.json")).full);
        assert_eq!(full.count(), 1, "{names:?}");
    }
}
