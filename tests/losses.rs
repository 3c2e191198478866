//! Losses and their gradients against PyTorch and LightlySSL, through `ssl eval`.
//!
//! The numbers and the calls stand in `fixtures/losses/`. f64 is held to 1e-10. f32 is held to 1e-5 of the f64 numbers
//! where PyTorch's own f32 keeps to 1e-6 of them: elsewhere (two rows standardised with a tiny eps, whose gradients
//! cancel) f32 itself has no such digits.

mod support;

use std::collections::HashMap;

use candle_core::{DType, Tensor};
use serde::Deserialize;
use ssl::source::library_files;
use support::formula::Input;
use support::{error, eval_record, fixture, numbers};

#[derive(Deserialize)]
struct Case {
    case: String,
    #[serde(rename = "use")]
    import: String,
    call: String,
    inputs: Vec<Input>,
    value: Vec<f64>,
    gradients: HashMap<String, Vec<f64>>,
    error_f32: HashMap<String, f64>,
}

impl Case {
    /// One record with the loss as `value` and the gradient of its sum for each name in `gradients`.
    fn program(&self) -> String {
        let whole = if self.value.len() == 1 { "value" } else { "sum(value)" };
        let mut fields = vec!["value".to_string()];
        fields.extend(self.names().map(|name| format!("d_{name}: grad({whole}, {name})")));
        format!("use {}\nlet value = {}\n{{ {}, }}", self.import, self.call, fields.join(", "))
    }

    /// Inputs with a gradient, in the order of the call.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.inputs.iter().map(|input| input.name.as_str()).filter(|name| self.gradients.contains_key(*name))
    }

    fn given(&self) -> Vec<(&str, Tensor)> {
        self.inputs.iter().map(|input| (input.name.as_str(), input.tensor(&self.case))).collect()
    }

    /// What is out of bounds in one element type, in words.
    fn faults(&self, dtype: DType) -> Vec<String> {
        let got = eval_record(&self.program(), &self.given(), dtype);
        let wanted = self.names().map(|name| (format!("d_{name}"), name, &self.gradients[name]));
        let wanted = std::iter::once(("value".to_string(), "value", &self.value)).chain(wanted);
        let mut faults = Vec::new();
        for (field, name, reference) in wanted {
            let bound = match dtype {
                DType::F64 => 1e-10,
                _ if self.error_f32[name] > 1e-6 => continue,
                _ => 1e-5,
            };
            let off = error(&numbers(&got[&field]), reference);
            // A NaN is a fault too.
            if off.is_nan() || off > bound {
                faults.push(format!("{}: {field} of {} in {dtype:?} is off by {off:.1e}", self.case, self.call));
            }
        }
        faults
    }
}

fn agrees(loss: &str) {
    let cases: Vec<Case> = fixture(&format!("losses/{loss}.json"));
    assert!(cases.len() >= 3, "at least three shapes");
    let faults: Vec<String> =
        cases.iter().flat_map(|case| [DType::F64, DType::F32].map(|dtype| case.faults(dtype))).flatten().collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// A test for each fixture, and the list of them.
macro_rules! losses {
    ($($test:ident: $loss:literal,)*) => {
        const LOSSES: &[&str] = &[$($loss),*];
        $(
            #[test]
            fn $test() {
                agrees($loss);
            }
        )*
    };
}

losses! {
    barlow_twins_is_that_of_lightly: "barlow_twins",
    capi_is_that_of_lightly: "capi",
    co2_is_that_of_lightly: "co2",
    dcl_is_that_of_lightly: "dcl",
    dclw_is_that_of_lightly: "dclw",
    dense_cl_is_that_of_lightly: "dense_cl",
    detcon_is_that_of_lightly: "detcon",
    detcon_b_is_that_of_lightly: "detcon_b",
    dino_is_that_of_lightly: "dino",
    frossl_is_that_of_lightly: "frossl",
    hypersphere_is_that_of_lightly: "hypersphere",
    ibot_is_that_of_lightly: "ibot",
    info_nce_is_that_of_lightly: "info_nce",
    koleo_is_that_of_lightly: "koleo",
    lejepa_is_that_of_lightly: "lejepa",
    macl_is_that_of_lightly: "macl",
    mmcr_is_that_of_lightly: "mmcr",
    msn_is_that_of_lightly: "msn",
    negative_cosine_is_that_of_lightly: "negative_cosine",
    nt_xent_is_that_of_lightly: "nt_xent",
    pmsn_is_that_of_lightly: "pmsn",
    sigreg_is_that_of_lightly: "sigreg",
    sinkhorn_is_that_of_lightly: "sinkhorn",
    smog_is_that_of_lightly: "smog",
    the_groups_of_smog_move_as_in_lightly: "smog_groups",
    swav_is_that_of_lightly: "swav",
    tico_is_that_of_lightly: "tico",
    vicreg_is_that_of_lightly: "vicreg",
    vicregl_is_that_of_lightly: "vicregl",
    w_mse_is_that_of_lightly: "w_mse",
    the_centre_of_dino_moves_as_in_lightly: "dino_center",
    the_centre_of_ibot_moves_as_in_lightly: "ibot_center",
    the_covariance_of_tico_moves_as_in_lightly: "tico_covariance",
    binary_cross_entropy_is_that_of_pytorch: "binary_cross_entropy",
    binary_cross_entropy_with_logits_is_that_of_pytorch: "binary_cross_entropy_with_logits",
    cross_entropy_is_that_of_pytorch: "cross_entropy",
    distillation_is_that_of_pytorch: "distillation",
    kl_div_is_that_of_pytorch: "kl_div",
    l1_is_that_of_pytorch: "l1",
    mse_is_that_of_pytorch: "mse",
    smooth_l1_is_that_of_pytorch: "smooth_l1",
    all4one_is_that_of_its_paper: "all4one",
    data2vec_is_that_of_its_paper: "data2vec",
    deepcluster_v2_is_that_of_its_paper: "deepcluster_v2",
    dpo_is_that_of_its_paper: "dpo",
    emp_ssl_is_that_of_its_paper: "emp_ssl",
    i_jepa_is_that_of_its_paper: "i_jepa",
    mae_is_that_of_its_paper: "mae",
    nearest_is_that_of_its_paper: "nearest",
    nnclr_is_that_of_its_paper: "nnclr",
    ressl_is_that_of_its_paper: "ressl",
    simmim_is_that_of_its_paper: "simmim",
    sup_con_is_that_of_its_paper: "sup_con",
    vibcreg_is_that_of_its_paper: "vibcreg",
}

#[test]
fn every_fixture_is_read() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/losses");
    for entry in std::fs::read_dir(folder).expect("the folder of the fixtures") {
        let path = entry.expect("an entry of it").path();
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name");
        assert!(LOSSES.contains(&name), "no test reads {name}");
    }
}

/// Without this, a fixture in which f32 is nowhere well conditioned would pass unseen.
#[test]
fn every_loss_is_held_in_f32_on_three_cases_and_on_two_rows() {
    for loss in LOSSES {
        let cases: Vec<Case> = fixture(&format!("losses/{loss}.json"));
        let held: Vec<&Case> = cases.iter().filter(|case| case.error_f32.values().all(|&off| off <= 1e-6)).collect();
        assert!(held.len() >= 3, "{loss}");
        assert!(held.iter().any(|case| case.inputs[0].shape[0] == 2), "{loss} has no case with two rows");
    }
}

/// The file of the library that `std.loss.NAME` stands in.
fn library_text(import: &str) -> &'static str {
    let name = import.split('.').nth(2).expect("std.loss.NAME");
    let path = format!("loss/{name}.ssl");
    library_files().into_iter().find(|(file, _)| *file == path).expect("a loss has a file of its name").1
}

/// Nothing in the compiler knows a loss by name: its text under another name is the same function, bit for bit.
#[test]
fn a_loss_copied_under_another_name_gives_the_same_bits() {
    let losses = ["barlow_twins", "nt_xent", "vicreg", "negative_cosine", "dino", "dino_center", "cross_entropy"];
    for loss in losses.into_iter().chain(["swav", "msn", "w_mse", "mmcr"]) {
        for case in fixture::<Vec<Case>>(&format!("losses/{loss}.json")) {
            let library = case.program();
            let text = library_text(&case.import);
            let copied = library.replacen(&format!("use {}", case.import), text, 1).replace(loss, "my_own");
            for dtype in [DType::F64, DType::F32] {
                let wanted = eval_record(&library, &case.given(), dtype);
                let got = eval_record(&copied, &case.given(), dtype);
                for (name, tensor) in wanted {
                    let bits = |tensor: &Tensor| numbers(tensor).iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                    assert_eq!(bits(&tensor), bits(&got[&name]), "{}: {name} in {dtype:?}", case.case);
                }
            }
        }
    }
}
