//! `ssl export`: a net of a run as a file that other libraries load.

use std::collections::BTreeMap;
use std::path::PathBuf;

use candle_core::Tensor;

use super::{FAILED, Output, WRONG, print};
use crate::diagnostics::{Code, Diagnostic, nearest};
use crate::run::{files, weights_of};

#[derive(clap::Args)]
#[command(after_help = "Example: ssl export runs/barlow_twins encoder encoder.safetensors\n\n\
                        The names of the tensors are those of the net, as torchvision, timm and Hugging Face have them for \
                        theirs:\n\
                        in Python, net.load_state_dict(safetensors.torch.load_file(\"encoder.safetensors\"))")]
pub struct Args {
    /// The folder of a run.
    run: PathBuf,
    /// A net of the pipeline, or a part of one: `encoder`, `encoder.layer4`.
    net: String,
    /// The .safetensors file to write; what stands there is replaced.
    file: PathBuf,
}

pub fn main(args: &Args, output: &Output) -> u8 {
    match export(args) {
        Ok(count) => {
            print(&format!("{count} tensors of `{}` in {}\n", args.net, args.file.display()));
            0
        }
        Err((fault, code)) => {
            output.plain(&fault);
            code
        }
    }
}

fn export(args: &Args) -> Result<usize, (Box<Diagnostic>, u8)> {
    let weights: BTreeMap<String, Tensor> =
        weights_of(&args.run).map_err(|fault| (fault, FAILED))?.into_iter().collect();
    let below = format!("{}.", args.net.trim_end_matches('.'));
    let of_net =
        weights.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(&below)?.to_string(), tensor.clone())));
    let tensors: Vec<(String, Tensor)> = of_net.collect();
    if tensors.is_empty() {
        return Err((unknown(&args.net, weights.keys().map(String::as_str)), WRONG));
    }
    if args.file.extension().is_none_or(|ending| ending != "safetensors") {
        let headline = format!("`{}` is no .safetensors file", args.file.display());
        let help = "write to `NAME.safetensors`, which PyTorch, timm and Hugging Face load";
        return Err((Box::new(Diagnostic::error(Code::BadValue, headline).help(help)), WRONG));
    }
    let of_run = |name: &str| files::read_text(&args.run.join(name)).map_err(|fault| (fault, FAILED));
    let program = blake3::hash(of_run("pipeline.ssl")?.as_bytes()).to_hex().to_string();
    let facts = [("net", args.net.clone()), ("settings", of_run("settings.yaml")?), ("pipeline_blake3", program)];
    files::write_safetensors(&args.file, &tensors, &facts).map_err(|fault| (fault, FAILED))?;
    Ok(tensors.len())
}

fn unknown<'a>(net: &str, names: impl Iterator<Item = &'a str>) -> Box<Diagnostic> {
    let mut nets: Vec<&str> = names.filter_map(|name| name.split_once('.').map(|(net, _)| net)).collect();
    nets.dedup();
    let help = match nearest(net, nets.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("it has {}", nets.iter().map(|net| format!("`{net}`")).collect::<Vec<_>>().join(", ")),
    };
    Box::new(Diagnostic::error(Code::UnknownName, format!("the run has no net `{net}`")).help(help))
}
