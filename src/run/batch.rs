//! Batches made ahead of the step: rows chosen, fields read, the loader's part of the step run on blocks of rows by all
//! threads.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use candle_core::{Device, Tensor};

use crate::data::order::{FeedSize, Short, Zip};
use crate::data::{Column, DataError, Opened};
use crate::diagnostics::{Code, Diagnostic};
use crate::graph::{Bindings, DType, Size, Type};
use crate::kernels::par;
use crate::ops::Concrete;
use crate::plan::{Plan, Program as Instructions};
use crate::program::{Input, Loop, LoopKind, Program};

use super::executor::{Registers, execute};
use super::fault::{self, Fault};
use super::key::LoopKeys;
use super::stage::{Prepared, bind_sizes};
use super::store;

/// Rows that one worker takes at a time. Fixed, so that nothing depends on the number of threads.
const BLOCK_ROWS: usize = 16;

/// What one step gets from its sources.
pub struct Batch {
    /// Which of the loop's elaborations it is for.
    pub version: usize,
    pub plan: Arc<Plan>,
    /// Parallel to the step's inputs: fields, ids and indices that the step itself reads.
    pub inputs: Vec<Option<Tensor>>,
    /// Parallel to the loader's outputs.
    pub passed: Vec<Tensor>,
    /// Of the first feed.
    pub rows: usize,
}

/// Makes the batches of one loop.
pub struct Feeder<'a> {
    program: &'a Program,
    looped: &'a Loop,
    /// The loop's step, then its variants.
    versions: Vec<Version>,
    sets: Vec<Opened>,
    counts: Vec<usize>,
    zip: Zip,
    keys: LoopKeys,
    device: Device,
}

/// One elaboration of a loop's body, ready to be fed.
struct Version {
    /// The rows of each feed that it alone is for.
    rows: Option<Vec<usize>>,
    prepared: Arc<Prepared>,
    /// Symbols that do not depend on the batch.
    bindings: Bindings,
    by_rows: bool,
    /// Some field's records differ in size, so that each is a block of its own.
    ragged: bool,
}

impl Version {
    fn new(looped: &Loop, rows: Option<Vec<usize>>, prepared: Arc<Prepared>, bindings: Bindings) -> Version {
        let symbols: Vec<&str> = looped.feeds.iter().map(|feed| &*feed.symbol).collect();
        let by_rows = splits_by_rows(&prepared, &symbols);
        let mut version = Version { rows, prepared, bindings, by_rows, ragged: false };
        version.ragged = (0..version.prepared.step.inputs.len()).any(|at| version.open_sizes(at));
        version
    }

    /// Whether an input is a field of which the records have sizes of their own.
    fn open_sizes(&self, at: usize) -> bool {
        let step = &self.prepared.step;
        matches!(step.inputs[at], Input::Field { .. })
            && step.graph.ty(step.graph.inputs[at]).shape.iter().skip(1).any(|size| size.bind(&self.bindings).is_none())
    }

    /// How the rows of all feeds are cut: every feed into the same number of blocks.
    fn blocks(&self, rows: &[Vec<usize>]) -> Vec<Vec<Range<usize>>> {
        let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
        let shortest = rows.iter().map(Vec::len).min().unwrap_or(0);
        let block = if self.ragged { 1 } else { BLOCK_ROWS };
        let count = if self.by_rows { longest.div_ceil(block).min(shortest).max(1) } else { 1 };
        (0..count)
            .map(|at| rows.iter().map(|rows| at * rows.len() / count..(at + 1) * rows.len() / count).collect())
            .collect()
    }
}

impl<'a> Feeder<'a> {
    pub fn new(
        program: &'a Program,
        looped: &'a Loop,
        versions: Vec<(Arc<Prepared>, Bindings)>,
        sets: Vec<Opened>,
        keys: LoopKeys,
        device: &Device,
    ) -> Result<Feeder<'a>, Fault> {
        let counts: Vec<usize> = looped
            .feeds
            .iter()
            .zip(&sets)
            .map(|(feed, set)| split_count(set, &feed.split).map_err(|e| data(looped, e)))
            .collect::<Result<_, _>>()?;
        let sizes = looped.feeds.iter().zip(&counts);
        let sizes = sizes.map(|(feed, count)| FeedSize { count: *count, batch: feed.batch, shuffle: feed.shuffle });
        let short = match looped.kind {
            LoopKind::Train => Short::Drop,
            LoopKind::Pass => Short::Keep,
        };
        let zip = Zip::new(keys.base, sizes.collect(), short).map_err(|error| data(looped, error))?;
        let rows = std::iter::once(None).chain(looped.variants.iter().map(|variant| Some(variant.rows.clone())));
        let versions = rows.zip(versions);
        let versions =
            versions.map(|(rows, (prepared, bindings))| Version::new(looped, rows, prepared, bindings)).collect();
        Ok(Feeder { program, looped, versions, sets, counts, zip, keys, device: device.clone() })
    }

    /// Batches of one pass over the first feed.
    pub fn steps_per_epoch(&self) -> Option<u64> {
        self.zip.steps_per_epoch()
    }

    /// Records of the first feed.
    pub fn records(&self) -> Option<usize> {
        self.counts.first().copied()
    }

    /// The batch of step number `step`, which counts from 0 over all epochs.
    pub fn batch(&mut self, step: u64) -> Result<Batch, Fault> {
        let rows: Vec<Vec<usize>> = self.zip.rows(step).into_iter().map(<[usize]>::to_vec).collect();
        let epoch = self.steps_per_epoch().map_or(0, |steps| step / steps.max(1));
        let at = self.version_for(&rows);
        let version = &self.versions[at];
        let plan = self.whole_plan(version, &rows)?;
        let blocks = version.blocks(&rows);
        let parts = self.parts(version, &rows, &blocks, &plan, epoch)?;
        let join = |tensors: Vec<Tensor>, want: Option<&[usize]>| self.join(tensors, want);
        let mut inputs = vec![None; version.prepared.step.inputs.len()];
        for (at, _) in &plan.step.inputs {
            let tensors: Vec<Tensor> = parts.iter().filter_map(|part| part.inputs[*at].clone()).collect();
            if !tensors.is_empty() {
                inputs[*at] = Some(join(tensors, None)?);
            }
        }
        let types = output_types(&plan.loader);
        let passed = (0..plan.loader.outputs.len())
            .map(|out| {
                let tensors = parts.iter().map(|part| part.passed[out].clone()).collect();
                join(tensors, types[out].map(|concrete| concrete.shape.as_slice()))
            })
            .collect::<Result<_, _>>()?;
        Ok(Batch { version: at, plan, inputs, passed, rows: rows.first().map_or(0, Vec::len) })
    }

    /// The variant that is for these rows alone, else the loop's own step.
    fn version_for(&self, rows: &[Vec<usize>]) -> usize {
        let lengths: Vec<usize> = rows.iter().map(Vec::len).collect();
        self.versions.iter().position(|version| version.rows.as_ref() == Some(&lengths)).unwrap_or(0)
    }

    /// All blocks, each read and run by whichever thread is free.
    fn parts(
        &self,
        version: &Version,
        rows: &[Vec<usize>],
        blocks: &[Vec<Range<usize>>],
        plan: &Plan,
        epoch: u64,
    ) -> Result<Vec<Part>, Fault> {
        if let [block] = blocks {
            return Ok(vec![self.part(version, rows, block, plan, epoch)?]);
        }
        let done: Vec<Mutex<Option<Result<Part, Fault>>>> = blocks.iter().map(|_| Mutex::new(None)).collect();
        par::for_blocks(blocks.len(), 1, |range| {
            for at in range {
                let part = self.part(version, rows, &blocks[at], plan, epoch);
                *done[at].lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(part);
            }
        });
        done.into_iter()
            .map(|cell| {
                let part = cell.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
                part.unwrap_or_else(|| Err(fault::internal("a block of a batch was not made")))
            })
            .collect()
    }

    fn part(
        &self,
        version: &Version,
        rows: &[Vec<usize>],
        block: &[Range<usize>],
        whole: &Plan,
        epoch: u64,
    ) -> Result<Part, Fault> {
        let bindings = self.bindings_of(version, rows, block)?;
        let plan = version.prepared.part_plan(&bindings, &self.program.origins)?;
        let step = &version.prepared.step;
        let mut inputs: Vec<Option<Tensor>> = vec![None; step.inputs.len()];
        let wanted = plan.loader.inputs.iter().chain(&whole.step.inputs).map(|(at, _)| *at);
        for at in wanted {
            if inputs[at].is_none() {
                inputs[at] = self.input(version, at, rows, block, epoch)?;
            }
        }
        let device = &Device::Cpu;
        let mut registers = Registers::new(&plan.loader);
        for (at, register) in &plan.loader.inputs {
            match &inputs[*at] {
                Some(tensor) => registers.put(*register, tensor.clone()),
                None => return Err(fault::internal("the loader needs what only a step knows")),
            }
        }
        execute(&plan.loader, &mut registers, device, None)
            .map_err(|failed| fault::kernel(self.program, &plan.loader.instructions[failed.at], &failed.error))?;
        let passed = plan.loader.outputs.iter().map(|register| registers.get(*register).cloned()).collect();
        let passed: Option<Vec<Tensor>> = passed;
        Ok(Part { inputs, passed: passed.ok_or_else(|| fault::internal("the loader lost a result"))? })
    }

    /// The tensor of one input for some rows; none for inputs that do not come from a source.
    fn input(
        &self,
        version: &Version,
        at: usize,
        rows: &[Vec<usize>],
        block: &[Range<usize>],
        epoch: u64,
    ) -> Result<Option<Tensor>, Fault> {
        let step = &version.prepared.step;
        let rows_of = |feed: usize| &rows[feed][block[feed].clone()];
        let made = match &step.inputs[at] {
            Input::Field { feed, field } => {
                let (rows, looped) = (rows_of(*feed), &self.looped.feeds[*feed]);
                let set = &self.sets[*feed];
                let column = set.read(&looped.split, field, rows).map_err(|error| data(self.looped, error))?;
                let ty = step.graph.ty(step.graph.inputs[at]);
                let dims = self.field_dims(version, *feed, field, ty, rows)?;
                column_tensor(column, ty.dtype, &dims)
            }
            Input::Ids { feed } => {
                let (rows, looped) = (rows_of(*feed), &self.looped.feeds[*feed]);
                Tensor::from_vec(self.sets[*feed].ids(&looped.split, rows), rows.len(), &Device::Cpu)
            }
            Input::Index { feed } => {
                let rows = rows_of(*feed);
                let index: Vec<i64> = rows.iter().map(|row| *row as i64).collect();
                Tensor::from_vec(index, rows.len(), &Device::Cpu)
            }
            Input::EpochKey => return store::key_tensor(self.keys.epoch(epoch), &Device::Cpu).map(Some),
            _ => return Ok(None),
        };
        made.map(Some).map_err(|error| {
            let name = step.graph.name(step.graph.inputs[at]);
            let error = error.to_string();
            let reason = error.lines().next().unwrap_or_default();
            let headline = format!("records do not have the size that `{name}` was compiled for: {reason}");
            fault::placed(Box::new(Diagnostic::error(Code::FileWrongSize, headline)), self.looped.span, "read here")
        })
    }

    /// The sizes of a field for some rows: those of its type, and where it leaves one open, those of the record.
    fn field_dims(
        &self,
        version: &Version,
        feed: usize,
        field: &str,
        ty: &Type,
        rows: &[usize],
    ) -> Result<Vec<usize>, Fault> {
        let known: Option<Vec<usize>> =
            ty.shape.iter().skip(1).map(|size| size.bind(&version.bindings).map(|n| n as usize)).collect();
        let rest = match (known, rows.first()) {
            (Some(known), _) => known,
            (None, Some(row)) => self.sets[feed]
                .sizes(&self.looped.feeds[feed].split, field, *row)
                .map_err(|error| data(self.looped, error))?,
            (None, None) => vec![0; ty.rank().saturating_sub(1)],
        };
        Ok(std::iter::once(rows.len()).chain(rest).collect())
    }

    /// The numbers behind the symbols for some rows of each feed.
    fn bindings_of(&self, version: &Version, rows: &[Vec<usize>], block: &[Range<usize>]) -> Result<Bindings, Fault> {
        let mut bindings = version.bindings.clone();
        for (feed, range) in self.looped.feeds.iter().zip(block) {
            bindings.insert(feed.symbol.clone(), range.len() as i64);
        }
        if version.ragged {
            let step = &version.prepared.step;
            for (at, input) in step.inputs.iter().enumerate() {
                let Input::Field { feed, field } = input else { continue };
                let ty = step.graph.ty(step.graph.inputs[at]);
                let dims = self.field_dims(version, *feed, field, ty, &rows[*feed][block[*feed].clone()])?;
                bind_sizes(&mut bindings, ty, &dims);
            }
        }
        Ok(bindings)
    }

    fn whole_plan(&self, version: &Version, rows: &[Vec<usize>]) -> Result<Arc<Plan>, Fault> {
        let whole: Vec<Range<usize>> = rows.iter().map(|rows| 0..rows.len()).collect();
        let bindings = self.bindings_of(version, rows, &whole)?;
        version.prepared.plan(&bindings, &self.program.origins)
    }

    /// The plan of the first step: what a stage costs is told before it starts.
    pub fn first_plan(&mut self) -> Result<Arc<Plan>, Fault> {
        let rows: Vec<Vec<usize>> = self.zip.rows(0).into_iter().map(<[usize]>::to_vec).collect();
        self.whole_plan(&self.versions[self.version_for(&rows)], &rows)
    }

    /// Blocks one after the other, on the device. What has the size of the whole already does not depend on the rows.
    fn join(&self, tensors: Vec<Tensor>, want: Option<&[usize]>) -> Result<Tensor, Fault> {
        let joined = match tensors.as_slice() {
            [one] => Ok(one.clone()),
            [first, ..] if want == Some(first.dims()) => Ok(first.clone()),
            _ => Tensor::cat(&tensors, 0),
        };
        let joined = joined.and_then(|tensor| tensor.to_device(&self.device));
        joined.map_err(|error| fault::candle("the blocks of a batch could not be joined", &error))
    }
}

/// What a block of rows gives.
struct Part {
    inputs: Vec<Option<Tensor>>,
    passed: Vec<Tensor>,
}

/// The types of a program's outputs; none for an output that is an input.
fn output_types(program: &Instructions) -> Vec<Option<&Concrete>> {
    let find = |register| {
        program.instructions.iter().rev().find_map(|instruction| {
            let at = instruction.outputs.iter().position(|have| have == register)?;
            instruction.results.get(at)
        })
    };
    program.outputs.iter().map(find).collect()
}

/// Whether the loader's part may be run on some rows at a time: nothing in it asks how many there are.
fn splits_by_rows(prepared: &Prepared, symbols: &[&str]) -> bool {
    use crate::graph::{Attr, Section};
    let counts = |size: &Size| size.symbols().iter().any(|symbol| symbols.contains(&&**symbol));
    prepared.step.graph.nodes().filter(|(_, node)| node.section == Section::Loader).all(|(_, node)| {
        let asks = matches!(node.op.name, "size" | "iota" | "permutation");
        !asks || !node.attrs.0.iter().any(|(_, attr)| matches!(attr, Attr::Size(size) if counts(size)))
    })
}

fn split_count(set: &Opened, split: &str) -> Result<usize, DataError> {
    match set.schema().splits.iter().find(|(name, _)| name == split) {
        Some((_, Some(count))) => Ok(*count),
        Some((_, None)) => Err(DataError::new(Code::NotYet, "an endless source cannot be run over yet")
            .help("take a number of its records with `.take(n)`")),
        None => Err(DataError::new(Code::UnknownField, format!("there is no split `{split}`"))),
    }
}

/// A failure of data, at the loop that reads it.
pub fn data(looped: &Loop, error: DataError) -> Fault {
    let mut diagnostic = Diagnostic::error(error.code, error.headline);
    diagnostic.help = error.help;
    fault::placed(Box::new(diagnostic), looped.span, "read here")
}

/// Values of a field as a tensor of the element type that the step was compiled for.
fn column_tensor(column: Column, dtype: DType, dims: &[usize]) -> candle_core::Result<Tensor> {
    let tensor = column.tensor(dims)?;
    let want = crate::kernels::stored(dtype);
    if tensor.dtype() == want { Ok(tensor) } else { tensor.to_dtype(want) }
}
