//! `ssl eval`: a fragment of a program on arrays from files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType as Stored, Tensor};
use serde_json::{Map, Value as Json};

use super::compile::{Machine, settings_file};
use super::{Compiled, INTERRUPTED, Output, WRONG, compile_text, failure, print, run};
use crate::diagnostics::{Code, Diagnostic};
use crate::elaborate::{Outcome, Settings};
use crate::graph::{DType, Size, Type};
use crate::run::{self as runtime, RunOptions, files};
use crate::source::{SourceId, SourceMap};
use crate::syntax::{StatementKind, parse};

#[derive(clap::Args)]
#[command(after_help = "Example: ssl eval --in a=a.npy --in b=b.npy --out g.npy \\\n           \
                  'grad(mean((a - b)^2), a)'")]
pub struct Args {
    /// The fragment; its last expression is the value.
    program: String,
    /// Give a name an array: `NAME=FILE.npy` or `NAME=FILE.safetensors:KEY`; may be repeated.
    #[arg(long = "in", value_name = "NAME=FILE")]
    inputs: Vec<String>,
    /// Write the value to an .npy or .safetensors file; the fields of a record become its tensors.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print the value as JSON.
    #[arg(long)]
    json: bool,
    /// What every random draw is made from.
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// The element type of floats: f32 or f64.
    #[arg(long, default_value = "f32", value_name = "TYPE", value_parser = ["f32", "f64"])]
    dtype: String,
    /// Take the nets of a run, with the weights that it ended with.
    #[arg(long, value_name = "RUN")]
    run: Option<PathBuf>,
    #[command(flatten)]
    machine: Machine,
}

pub fn main(args: &Args, output: &Output) -> u8 {
    let mut sources = SourceMap::default();
    match evaluate(args, output, &mut sources) {
        Ok(code) => code,
        Err((fault, code)) => {
            output.diagnostic(&fault, &sources);
            code
        }
    }
}

type Failed = (Box<Diagnostic>, u8);

fn evaluate(args: &Args, output: &Output, sources: &mut SourceMap) -> Result<u8, Failed> {
    let (threads, device) = args.machine.start().map_err(|fault| (fault, WRONG))?;
    let failed = |fault: Box<Diagnostic>| {
        let code = failure(&fault);
        (fault, code)
    };
    let given = args.inputs.iter().map(|text| input(text)).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    for (at, (name, _)) in given.iter().enumerate() {
        if given[..at].iter().any(|(before, _)| before == name) {
            let fault = Diagnostic::error(Code::DefinedTwice, format!("`--in {name}=…` is given twice"));
            return Err((Box::new(fault.help("give each name one file")), WRONG));
        }
    }
    let float = if args.dtype == "f64" { DType::F64 } else { DType::F32 };
    let mut settings = Settings { float, ..Settings::default() };
    settings.given = given.iter().map(|(name, tensor)| (name.clone(), type_of(tensor, float))).collect();
    let mut weights = HashMap::new();
    let mut text = args.program.clone();
    if let Some(run) = &args.run {
        weights = runtime::weights_of(run).map_err(failed)?;
        settings.set = settings_file(&run.join("settings.yaml")).map_err(failed)?;
        text = format!("{}{text}", declarations(run).map_err(failed)?);
    }
    let compiled = match compile_text("eval.ssl", std::env::current_dir().ok(), text, settings) {
        Ok(compiled) => compiled,
        Err(refused) => {
            output.all(&refused.diagnostics, &refused.sources);
            return Ok(WRONG);
        }
    };
    let Compiled { elaborated, warnings, sources: texts, .. } = compiled;
    *sources = texts;
    output.all(&warnings, sources);
    let given = elaborated.given.iter().filter_map(|(name, flow)| {
        given.iter().find(|(have, _)| have == name).map(|(_, tensor)| (*flow, tensor.clone()))
    });
    let options = RunOptions {
        seed: args.seed,
        threads,
        device,
        weights: Arc::new(weights),
        given: given.collect(),
        interrupt: run::interrupt(),
        ..RunOptions::default()
    };
    let outcome = runtime::run(&elaborated.program, &options, &mut |event| output.loaded(event)).map_err(failed)?;
    if outcome.interrupted {
        return Ok(INTERRUPTED);
    }
    let value = settle(&elaborated.outcome, &outcome).map_err(failed)?;
    write(args, &value).map_err(failed)?;
    Ok(0)
}

/// `NAME=FILE`.
fn input(text: &str) -> Result<(String, Tensor), Box<Diagnostic>> {
    let Some((name, file)) = text.split_once('=') else {
        return Err(Box::new(
            Diagnostic::error(Code::BadValue, format!("`--in {text}` names no file"))
                .help("write `--in name=file.npy`"),
        ));
    };
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(is_word) {
        return Err(Box::new(
            Diagnostic::error(Code::BadValue, format!("`{name}` is no name that a program could use"))
                .help("write `--in name=file.npy`"),
        ));
    }
    Ok((name.to_owned(), files::read_argument(file)?))
}

/// The type that a program sees: all floats are of the one it computes with.
fn type_of(tensor: &Tensor, float: DType) -> Type {
    let dtype = match tensor.dtype() {
        Stored::U8 => DType::U8,
        Stored::U32 => DType::U32,
        Stored::I64 | Stored::I32 | Stored::I16 => DType::I64,
        _ => float,
    };
    Type::new(dtype, tensor.dims().iter().map(|n| Size::known(*n as i64)))
}

/// What the pipeline of a run declares, without what it does.
fn declarations(run: &Path) -> Result<String, Box<Diagnostic>> {
    let path = run.join("pipeline.ssl");
    let text = files::read_text(&path)?;
    let (file, _) = parse(SourceId(0), &text);
    let declares = |kind: &StatementKind| {
        matches!(
            kind,
            StatementKind::Use { .. }
                | StatementKind::Param { .. }
                | StatementKind::Type { .. }
                | StatementKind::Data { .. }
                | StatementKind::View(..)
                | StatementKind::Net { .. }
                | StatementKind::Module { .. }
                | StatementKind::Fn(_)
                | StatementKind::Flow(_)
                | StatementKind::Optimizer { .. }
                | StatementKind::State(_)
        )
    };
    let kept = file.statements.iter().filter(|statement| declares(&statement.kind));
    Ok(kept.map(|statement| format!("{}\n", &text[statement.span.range()])).collect())
}

/// The value of a fragment.
enum Value {
    Text(String),
    Tensor(Tensor),
    Record(Vec<(String, Value)>),
    List(Vec<Value>),
    Nothing,
}

fn settle(outcome: &Outcome, run: &runtime::Outcome) -> Result<Value, Box<Diagnostic>> {
    Ok(match outcome {
        Outcome::Text(text) => Value::Text(text.clone()),
        Outcome::Tensor(flow) => match run.values.get(flow.0 as usize).cloned().flatten() {
            Some(tensor) => Value::Tensor(tensor),
            None => {
                let headline = "the value of the last expression was not computed";
                return Err(Box::new(Diagnostic::error(Code::Internal, headline)));
            }
        },
        Outcome::Record(fields) => Value::Record(
            fields
                .iter()
                .map(|(name, value)| Ok((name.clone(), settle(value, run)?)))
                .collect::<Result<_, Box<_>>>()?,
        ),
        Outcome::List(items) => Value::List(items.iter().map(|item| settle(item, run)).collect::<Result<_, _>>()?),
        Outcome::Nothing => Value::Nothing,
    })
}

fn write(args: &Args, value: &Value) -> Result<(), Box<Diagnostic>> {
    if let Some(path) = &args.out {
        write_file(path, value)?;
    }
    if args.json {
        print(&format!("{}\n", json(value)?));
    } else if args.out.is_none() {
        print(&human(value, 0));
    }
    Ok(())
}

fn write_file(path: &Path, value: &Value) -> Result<(), Box<Diagnostic>> {
    let mut tensors = Vec::new();
    flatten("", value, &mut tensors)?;
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    match (&*extension, tensors.as_slice()) {
        ("npy", [(_, tensor)]) => files::write_npy(path, tensor),
        ("safetensors", [_, ..]) => files::write_safetensors(path, &tensors, &[]),
        ("npy", tensors) => Err(Box::new(
            Diagnostic::error(
                Code::BadValue,
                format!("an .npy file holds one tensor, the value has {}", tensors.len()),
            )
            .help("write to a .safetensors file"),
        )),
        ("safetensors", []) => Err(Box::new(
            Diagnostic::error(Code::BadValue, "the value has no tensor to write").help("end in an expression"),
        )),
        _ => Err(Box::new(
            Diagnostic::error(Code::BadValue, format!("`{}` is neither .npy nor .safetensors", path.display()))
                .help("write `--out FILE.npy` or `--out FILE.safetensors`"),
        )),
    }
}

/// Tensors with the names by which they are reached; a value that is one tensor is `value`.
fn flatten(name: &str, value: &Value, tensors: &mut Vec<(String, Tensor)>) -> Result<(), Box<Diagnostic>> {
    let below = |inner: &str| if name.is_empty() { inner.to_owned() } else { format!("{name}.{inner}") };
    match value {
        Value::Tensor(tensor) => {
            tensors.push((if name.is_empty() { "value".into() } else { name.into() }, tensor.clone()))
        }
        Value::Record(fields) => fields.iter().try_for_each(|(field, value)| flatten(&below(field), value, tensors))?,
        Value::List(items) => {
            items.iter().enumerate().try_for_each(|(at, value)| flatten(&below(&at.to_string()), value, tensors))?;
        }
        Value::Text(text) => match text.parse::<f64>() {
            // A number known while compiling is a tensor of rank 0 to whoever reads the file.
            Ok(number) => tensors.push((
                if name.is_empty() { "value".into() } else { name.into() },
                Tensor::new(number, &candle_core::Device::Cpu).map_err(|error| internal(&error))?,
            )),
            Err(_) => {
                let headline = format!("`{text}` is text, which a file of tensors cannot hold");
                return Err(Box::new(Diagnostic::error(Code::BadValue, headline).help("use `--json`")));
            }
        },
        Value::Nothing => {}
    }
    Ok(())
}

fn internal(error: &candle_core::Error) -> Box<Diagnostic> {
    let text = error.to_string();
    Box::new(Diagnostic::error(Code::Internal, text.lines().next().unwrap_or("no reason given")))
}

fn json(value: &Value) -> Result<Json, Box<Diagnostic>> {
    Ok(match value {
        Value::Text(text) => serde_json::from_str(text).unwrap_or_else(|_| Json::String(text.clone())),
        Value::Tensor(tensor) => tensor_json(tensor).map_err(|error| internal(&error))?,
        Value::Record(fields) => Json::Object(
            fields
                .iter()
                .map(|(name, value)| Ok((name.clone(), json(value)?)))
                .collect::<Result<Map<_, _>, Box<_>>>()?,
        ),
        Value::List(items) => Json::Array(items.iter().map(json).collect::<Result<_, _>>()?),
        Value::Nothing => Json::Null,
    })
}

fn tensor_json(tensor: &Tensor) -> candle_core::Result<Json> {
    if tensor.rank() > 0 {
        let rows = (0..tensor.dim(0)?).map(|at| tensor_json(&tensor.get(at)?));
        return Ok(Json::Array(rows.collect::<candle_core::Result<_>>()?));
    }
    Ok(match tensor.dtype() {
        Stored::I64 => tensor.to_scalar::<i64>()?.into(),
        Stored::U32 => tensor.to_scalar::<u32>()?.into(),
        Stored::U8 => tensor.to_scalar::<u8>()?.into(),
        // Through its text, so that an f32 is written with its own digits.
        Stored::F32 => float_json(tensor.to_scalar::<f32>()?.to_string()),
        _ => float_json(tensor.to_dtype(Stored::F64)?.to_scalar::<f64>()?.to_string()),
    })
}

fn float_json(text: String) -> Json {
    serde_json::from_str(&text).ok().filter(Json::is_number).unwrap_or(Json::String(text))
}

/// A value for a reader: numbers in full, tensors as Candle draws them.
fn human(value: &Value, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    match value {
        Value::Text(text) => format!("{text}\n"),
        Value::Tensor(tensor) if tensor.rank() == 0 => match tensor_json(tensor) {
            Ok(Json::String(text)) => format!("{text}\n"),
            Ok(number) => format!("{number}\n"),
            Err(error) => format!("{error}\n"),
        },
        Value::Tensor(tensor) => format!("{tensor}\n"),
        Value::Record(fields) => {
            let lines = fields.iter().map(|(name, value)| format!("{indent}{name}: {}", inner(value, depth)));
            lines.collect()
        }
        Value::List(items) => {
            let lines = items.iter().enumerate().map(|(at, value)| format!("{indent}{at}: {}", inner(value, depth)));
            lines.collect()
        }
        Value::Nothing => String::new(),
    }
}

fn inner(value: &Value, depth: usize) -> String {
    let text = human(value, depth + 1);
    if text.trim_end().contains('\n') { format!("\n{text}") } else { text }
}
