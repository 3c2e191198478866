//! The loop inside a graph: one region, applied once for each row of what it walks over.
//!
//! A scan carries values from one round to the next. Its operands are, in this order, the carries as they begin, the
//! sequences (each of which gives a round its row), the constants of the body and the constants of the condition; the
//! body takes carries, rows and constants and gives the new carries and a row of each output. Its results are the last
//! carries, the outputs stacked, with a condition the count of rounds that were run, and, for each carry named by
//! `history`, what it was before each round: what a gradient needs to walk back.

use candle_core::{Result, Tensor, bail};
use smallvec::SmallVec;

use super::check::{NO_COST, misfit};
use super::*;
use crate::graph::{Attr, DType, Size};

pub const OPS: &[&Op] = &[&SCAN];

pub static SCAN: Op = Op {
    name: "scan",
    doc: "Applies its region once for each row of the sequences, first to last or, with `reverse`, last to first, and \
          hands the carries on. A second region is asked before each round whether to end; rows of rounds that were not \
          run are 0.",
    signature: "(carry: any[..s], …, sequence: any[n, ..r], …, constant: any, …) -> (any[..s], …, any[n, ..t], …)",
    attrs: &[
        ("carries", AttrKind::Int),
        ("sequences", AttrKind::Int),
        ("constants", AttrKind::Int),
        ("length", AttrKind::Size),
        ("reverse", AttrKind::Bool),
        ("history", AttrKind::Ints),
    ],
    infer,
    gradient: Gradient::Structural,
    rows: Rows::Mixed("a loop is lifted with its region"),
    kernel: |_| bail!("`scan` is run by the executor, which has the plan of its region"),
    flops: NO_COST,
    domain: Domain::Special("has a region"),
    examples: &["scan(0.0, [1.0, 2.0, 4.0], |sum, x| sum + x, carries: 1, sequences: 1, constants: 0, length: 3, \
         reverse: false, history: []) == 7.0"],
};

/// What the operands and results of a scan are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    pub carries: usize,
    pub sequences: usize,
    /// Of the body; those of the condition follow them.
    pub constants: usize,
    /// Rows that the body gives besides the carries.
    pub outputs: usize,
    /// There is a condition.
    pub until: bool,
    pub reverse: bool,
}

impl Form {
    /// None where the attributes are not those of a scan.
    pub fn of(attrs: &Attrs, regions: &[Graph]) -> Option<Form> {
        Form::read(attrs, regions.first()?.outputs.len(), regions.len() == 2)
    }

    /// The same where only the number of values that the body gives is known, and whether there is a condition.
    pub fn read(attrs: &Attrs, given: usize, until: bool) -> Option<Form> {
        let count = |name| usize::try_from(attrs.int(name)?).ok();
        let carries = count("carries")?;
        Some(Form {
            carries,
            sequences: count("sequences")?,
            constants: count("constants")?,
            outputs: given.checked_sub(carries)?,
            until,
            reverse: attrs.flag("reverse"),
        })
    }

    /// Operands of the body.
    pub fn body_inputs(&self) -> usize {
        self.carries + self.sequences + self.constants
    }

    /// The place of the first history among the results.
    pub fn first_history(&self) -> usize {
        self.carries + self.outputs + usize::from(self.until)
    }
}

/// How many rounds there are at most.
pub fn length(attrs: &Attrs) -> Option<Size> {
    match attrs.get("length")? {
        Attr::Size(size) => Some(size.clone()),
        Attr::Int(size) => Some(Size::known(*size)),
        _ => None,
    }
}

/// The carries whose history is kept.
pub fn kept(attrs: &Attrs) -> Vec<usize> {
    attrs.ints("history").unwrap_or_default().iter().filter_map(|at| usize::try_from(*at).ok()).collect()
}

fn infer(infer: &Infer<'_>) -> std::result::Result<Types, Mismatch> {
    let internal = |text: &str| misfit(Code::Internal, format!("scan: {text}"));
    let form = Form::of(infer.attrs, infer.regions).ok_or_else(|| internal("attributes or regions are missing"))?;
    let body = &infer.regions[0];
    let length = length(infer.attrs).ok_or_else(|| internal("it has no length"))?;
    if body.inputs.len() != form.body_inputs() || infer.types.len() < form.body_inputs() {
        return Err(internal("the body takes another number of operands"));
    }
    for (at, (ty, input)) in infer.types.iter().zip(&body.inputs).enumerate() {
        let wanted = body.ty(*input);
        let walked = (form.carries..form.carries + form.sequences).contains(&at);
        let have = if walked { row(at, ty, &length)? } else { (*ty).clone() };
        if have != *wanted {
            return Err(misfit(Code::ShapeMismatch, format!("the loop takes {wanted}")).fact(at, format!("{have}")));
        }
    }
    for at in 0..form.carries {
        let (before, after) = (infer.types[at], body.ty(body.outputs[at]));
        if before != after {
            return Err(misfit(Code::CarryChanges, format!("a loop carries {before} and hands on {after}"))
                .fact(at, format!("{before}"))
                .help("what is carried keeps its shape and element type from round to round"));
        }
    }
    if let [_, condition] = infer.regions {
        let given = (0..form.carries).chain(form.body_inputs()..infer.types.len()).map(|at| infer.types[at]);
        let fits = given.eq(condition.inputs.iter().map(|input| condition.ty(*input)));
        let [answer] = condition.outputs[..] else { return Err(internal("the condition gives one value")) };
        if !fits || *condition.ty(answer) != Type::scalar(DType::Bool) {
            return Err(internal("the condition takes the carries and gives one bool"));
        }
    }
    let stacked = |ty: &Type| ty.with_shape(std::iter::once(length.clone()).chain(ty.shape.iter().cloned()));
    let mut results: Types = infer.types[..form.carries].iter().map(|ty| (*ty).clone()).collect();
    results.extend(body.outputs[form.carries..].iter().map(|output| stacked(body.ty(*output))));
    results.extend(form.until.then(|| Type::scalar(DType::I64)));
    for at in kept(infer.attrs) {
        let carry = infer.types[..form.carries].get(at).ok_or_else(|| internal("a history of no carry"))?;
        results.push(stacked(carry));
    }
    Ok(results)
}

/// One row of a sequence.
fn row(at: usize, ty: &Type, length: &Size) -> std::result::Result<Type, Mismatch> {
    match ty.shape.split_first() {
        Some((first, rest)) if first == length => Ok(ty.with_shape(rest.iter().cloned())),
        _ => Err(misfit(Code::ShapeMismatch, format!("a loop of {length} rounds needs {length} rows"))
            .fact(at, format!("{ty}"))),
    }
}

/// Runs a scan whose region is run by `body` and whose condition by `until`: both from tensors to tensors.
pub fn run(
    form: Form,
    kept: &[usize],
    length: usize,
    inputs: &[Tensor],
    results: &[Concrete],
    body: &mut dyn FnMut(&[Tensor]) -> Result<Vec<Tensor>>,
    until: &mut dyn FnMut(&[Tensor]) -> Result<bool>,
) -> Result<Results> {
    let (given, others) = inputs.split_at(form.body_inputs());
    let (mut carries, rest) = (given[..form.carries].to_vec(), &given[form.carries..]);
    let (sequences, constants) = rest.split_at(form.sequences);
    let mut stacks = vec![Vec::with_capacity(length); form.outputs + kept.len()];
    let mut count = 0;
    for round in 0..length {
        if form.until && until(&[&carries[..], others].concat())? {
            break;
        }
        let at = if form.reverse { length - 1 - round } else { round };
        for (stack, carry) in stacks[form.outputs..].iter_mut().zip(kept) {
            stack.push(carries[*carry].clone());
        }
        let mut operands = std::mem::take(&mut carries);
        for sequence in sequences {
            operands.push(sequence.get(at)?);
        }
        operands.extend_from_slice(constants);
        carries = body(&operands)?;
        let rows = carries.split_off(form.carries);
        rows.into_iter().zip(&mut stacks).for_each(|(row, stack)| stack.push(row));
        count += 1;
    }
    let mut done: SmallVec<[Tensor; 1]> = carries.into_iter().map(|carry| carry.contiguous()).collect::<Result<_>>()?;
    for (at, stack) in stacks.into_iter().enumerate() {
        if form.until && at == form.outputs {
            done.push(Tensor::new(count as i64, inputs_device(inputs)?)?);
        }
        let result = done.len();
        done.push(stacked(stack, &results[result], form.reverse, inputs)?);
    }
    if form.until && kept.is_empty() {
        done.push(Tensor::new(count as i64, inputs_device(inputs)?)?);
    }
    Ok(done)
}

fn inputs_device(inputs: &[Tensor]) -> Result<&candle_core::Device> {
    inputs.first().map_or(Ok(&candle_core::Device::Cpu), |tensor| Ok(tensor.device()))
}

/// Rows in the order of the sequence; those that no round gave are 0.
fn stacked(mut rows: Vec<Tensor>, result: &Concrete, reverse: bool, inputs: &[Tensor]) -> Result<Tensor> {
    let (dtype, device) = (crate::kernels::stored(result.dtype), inputs_device(inputs)?);
    let missing = result.shape[0] - rows.len();
    if reverse {
        rows.reverse();
    }
    if rows.is_empty() {
        return Tensor::zeros(result.shape.as_slice(), dtype, device);
    }
    let have = Tensor::stack(&rows, 0)?;
    if missing == 0 {
        return have.contiguous();
    }
    let mut shape = result.shape.clone();
    shape[0] = missing;
    let zeros = Tensor::zeros(shape.as_slice(), dtype, device)?;
    let parts = if reverse { [zeros, have] } else { [have, zeros] };
    Tensor::cat(&parts, 0)?.contiguous()
}
