//! `ssl plan`: what a run would take, stage by stage.

use super::stages::stages;
use super::{Inputs, Output, WRONG, compile, print};
use crate::diagnostics::Diagnostic;
use crate::events::{count, quantity, size, table};
use crate::plan::{PlanError, plan};
use crate::program::Program;

#[derive(clap::Args)]
#[command(after_help = "Example: ssl plan pipeline.ssl --set batch=512")]
pub struct Args {
    #[command(flatten)]
    inputs: Inputs,
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
    match shown(&compiled.elaborated.program) {
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

const HEAD: [&str; 9] = ["stage", "kind", "batch", "epochs", "steps", "weights", "GFLOP/step", "GFLOP", "memory"];

fn shown(program: &Program) -> Result<String, Box<Diagnostic>> {
    let mut rows = Vec::new();
    let mut total = 0.0;
    for stage in stages(program) {
        let step = stage.fused(program)?;
        let name: Vec<&str> = stage.around.iter().map(String::as_str).chain([stage.name()]).collect();
        let length = stage.length(program);
        let batch = stage.looped.and_then(|looped| looped.feeds.first()).map(|feed| feed.batch.to_string());
        let number = |n: Option<u64>| n.map_or("?".to_owned(), count);
        let mut row = vec![
            name.join(" / "),
            stage.word().to_owned(),
            batch.unwrap_or_default(),
            number(length.map(|(epochs, _)| epochs)),
            number(length.map(|(_, steps)| steps)),
        ];
        match plan(&step, &stage.bindings()) {
            Ok(plan) => {
                let flops = plan.step.cost.flops + plan.loader.cost.flops;
                let all = length.map(|(_, steps)| steps as f64 * flops);
                total += all.unwrap_or(0.0);
                row.push(count(plan.parameters as u64));
                row.push(quantity(flops / 1e9));
                row.push(all.map_or("?".into(), |all| quantity(all / 1e9)));
                row.push(size(plan.step.cost.peak + plan.loader.cost.peak));
            }
            // A size that only the run knows: of a collected matrix, say.
            Err(PlanError::Unbound { .. }) => row.extend(["?", "?", "?", "?"].map(str::to_owned)),
            Err(error) => {
                let headline = format!("`{}` cannot be planned: {error}", step.name);
                return Err(Box::new(Diagnostic::error(crate::diagnostics::Code::Internal, headline)));
            }
        }
        rows.push(row);
    }
    let sizes: u64 = program
        .slots
        .iter()
        .filter_map(|slot| {
            let shape = slot.ty.bind(&Default::default())?;
            Some((shape.iter().product::<usize>() * slot.ty.dtype.width()) as u64)
        })
        .sum();
    Ok(format!(
        "{}\n  {} GFLOP in all, as far as the plan knows; {} in {} slots\n",
        table(&HEAD, &rows),
        quantity(total / 1e9),
        size(sizes),
        program.slots.len()
    ))
}
