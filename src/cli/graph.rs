//! `ssl graph`: the steps of a program as text, YAML or Graphviz.

use clap::ValueEnum;

use super::stages::{Stage, stages};
use super::{Compiled, Inputs, Output, WRONG, compile, print};
use crate::diagnostics::{Code, Diagnostic, nearest};
use crate::graph::{dot, print as text, yaml};
use crate::plan::{self, Plan, Program as Instructions};
use crate::program::Step;

#[derive(clap::Args)]
#[command(after_help = "Example: ssl graph pipeline.ssl --stage pretrain\n         \
                        ssl graph pipeline.ssl --stage pretrain --format dot | dot -Tsvg > step.svg")]
pub struct Args {
    #[command(flatten)]
    inputs: Inputs,
    /// Only this stage.
    #[arg(long, value_name = "NAME")]
    stage: Option<String>,
    #[arg(long, value_enum, default_value = "text")]
    format: Form,
    /// The step as written, after gradients and passes, or as the instructions of its plan.
    #[arg(long, value_enum, default_value = "grad")]
    level: Level,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Text,
    Yaml,
    Dot,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Level {
    Step,
    Grad,
    Plan,
}

pub fn main(args: &Args, output: &Output) -> u8 {
    let compiled = match compile(&args.inputs) {
        Ok(compiled) => compiled,
        Err(refused) => {
            output.all(&refused.diagnostics, &refused.sources);
            return WRONG;
        }
    };
    output.all(&compiled.warnings, &compiled.sources);
    match shown(args, &compiled) {
        Ok(text) => {
            print(&text);
            0
        }
        Err(fault) => {
            output.diagnostic(&fault, &compiled.sources);
            WRONG
        }
    }
}

fn shown(args: &Args, compiled: &Compiled) -> Result<String, Box<Diagnostic>> {
    let program = &compiled.elaborated.program;
    let mut found = stages(program);
    if let Some(wanted) = &args.stage {
        let names: Vec<String> = found.iter().map(|stage| stage.name().to_owned()).collect();
        found.retain(|stage| stage.name() == wanted);
        if found.is_empty() {
            return Err(unknown_stage(wanted, &names));
        }
    }
    // Statements that share a step are one graph.
    let mut steps: Vec<&Stage<'_>> = Vec::new();
    for stage in &found {
        if !steps.iter().any(|have| std::sync::Arc::ptr_eq(have.step, stage.step)) {
            steps.push(stage);
        }
    }
    if args.level == Level::Plan && args.format != Form::Text {
        let headline = "instructions of a plan are printed as text only";
        return Err(Box::new(
            Diagnostic::error(Code::BadValue, headline).help("leave out `--format`, or take `--level grad`"),
        ));
    }
    let texts = steps.iter().map(|stage| {
        let step = match args.level {
            Level::Step => (**stage.step).clone(),
            Level::Grad => stage.compiled(program)?,
            Level::Plan => stage.fused(program)?,
        };
        if args.level == Level::Plan {
            return planned(stage, &step);
        }
        form(args.format, &step)
    });
    Ok(texts.collect::<Result<Vec<_>, _>>()?.join(if args.format == Form::Yaml { "---\n" } else { "\n" }))
}

fn form(form: Form, step: &Step) -> Result<String, Box<Diagnostic>> {
    match form {
        Form::Text => Ok(text::print(step)),
        Form::Dot => Ok(dot::dot(step)),
        Form::Yaml => {
            yaml::yaml(step).map_err(|error| Box::new(Diagnostic::error(Code::Internal, format!("no YAML: {error}"))))
        }
    }
}

fn unknown_stage(wanted: &str, names: &[String]) -> Box<Diagnostic> {
    let help = match nearest(wanted, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
            names.dedup();
            format!("stages are {}", names.join(", "))
        }
    };
    Box::new(Diagnostic::error(Code::UnknownName, format!("there is no stage `{wanted}`")).help(help))
}

/// The two lists of instructions of a step under an ordinary batch.
fn planned(stage: &Stage<'_>, step: &Step) -> Result<String, Box<Diagnostic>> {
    let plan = plan::plan(step, &stage.bindings())
        .map_err(|error| Box::new(Diagnostic::error(Code::Internal, format!("`{}`: {error}", step.name))))?;
    let Plan { loader, step: body, .. } = &plan;
    let mut text = format!("plan {}\n", step.name);
    if !loader.instructions.is_empty() {
        text += &listed("loader", loader);
    }
    text += &listed("step", body);
    Ok(text)
}

/// `r3 : f32[256, 10] = matmul r0 r2   # scores; frees r0`
fn listed(name: &str, program: &Instructions) -> String {
    let mut text = format!(
        "  {name}: {} registers, {} at the worst moment\n",
        program.registers,
        crate::events::size(program.cost.peak)
    );
    for instruction in &program.instructions {
        let outputs = instruction.outputs.iter().zip(&instruction.results).map(|(register, result)| {
            let sizes: Vec<String> = result.shape.iter().map(usize::to_string).collect();
            format!("r{} : {}[{}]", register.0, result.dtype.name(), sizes.join(", "))
        });
        let registers =
            |list: &[plan::Register]| list.iter().map(|r| format!("r{}", r.0)).collect::<Vec<_>>().join(" ");
        text += &format!("    {} = {}", outputs.collect::<Vec<_>>().join(", "), instruction.op.name);
        if !instruction.inputs.is_empty() {
            text += &format!(" {}", registers(&instruction.inputs));
        }
        for region in &instruction.regions {
            let ops: Vec<&str> = region.instructions.iter().map(|inner| inner.op.name).collect();
            text += &format!(" {{ {} }}", ops.join(" "));
        }
        text += &format!("  # {}", instruction.name);
        if !instruction.free.is_empty() {
            text += &format!("; frees {}", registers(&instruction.free));
        }
        text.push('\n');
    }
    text
}
