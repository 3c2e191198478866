//! What the elaborator hands to the runtime: a tree of statements whose leaves hold step graphs.
//!
//! A step is a pure function; state appears only as its inputs and as the commits at its end. The tree exists because
//! rounds and conditions are decided between steps; everything in it is plain data, printed by `ssl graph`.

use std::path::PathBuf;
use std::sync::Arc;

use crate::graph::{Graph, OriginId, Type, Value};
use crate::source::Span;

/// A whole elaborated file.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The file's name without folder and extension: names the run folder.
    pub name: String,
    pub slots: Vec<Slot>,
    pub sources: Vec<Source>,
    pub body: Vec<Statement>,
    /// One for each [`FlowValue`].
    pub values: Vec<FlowInfo>,
    /// Settings as resolved, in order of declaration: name, value as text.
    pub settings: Vec<(String, String)>,
    /// Where each node came from; [`OriginId`] indexes it, 0 is unknown.
    pub origins: Vec<Origin>,
}

#[derive(Clone, Debug, Default)]
pub struct Origin {
    pub span: Option<Span>,
    /// Calls from the user's line inwards: callee, place of the call.
    pub calls: Vec<(Arc<str>, Span)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotId(pub u32);

/// A tensor that outlives a step: a weight, a buffer, a `state`, what an optimiser remembers.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Made of the names that the user wrote: `backbone.block_0.conv.weight`. Unique.
    pub path: String,
    pub ty: Type,
    pub kind: SlotKind,
    pub init: Init,
    pub origin: OriginId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SlotKind {
    Weight,
    /// Such as a running mean.
    Buffer,
    /// A `state` at file or flow level.
    State,
    /// Belongs to an optimiser.
    Optimiser,
}

#[derive(Clone, Debug)]
pub enum Init {
    /// A graph with the key as its only input (`u32[2]`, folded from the seed and the slot's path) and the tensor as output.
    Draw(Graph),
    /// The value another slot has at that moment.
    Copy(SlotId),
    /// Set by the statement that declares it (a value computed at flow level).
    Flow(FlowValue),
}

/// A tensor known between steps: a metric, a collected matrix, a host number (rank 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowValue(pub u32);

#[derive(Clone, Debug)]
pub struct FlowInfo {
    pub name: String,
    /// Sizes may hold symbols that are bound when the value is made.
    pub ty: Type,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceRef(pub usize);

/// A data set after its transforms: what the loader opens.
#[derive(Clone, Debug)]
pub struct Source {
    pub name: String,
    pub spec: crate::data::Spec,
    pub origin: OriginId,
}

#[derive(Clone, Debug)]
pub enum Statement {
    /// Slots come to life here, each by its `init`.
    Declare(Vec<SlotId>),
    /// Tensors at flow level: a step run once, without batches.
    Compute(Call),
    Loop(Loop),
    If {
        condition: FlowValue,
        then: Vec<Statement>,
        otherwise: Vec<Statement>,
    },
    /// `count` of none repeats until an `Until`.
    Repeat {
        count: Option<i64>,
        index: Option<FlowValue>,
        body: Vec<Statement>,
    },
    Until(FlowValue),
    /// Binds a `var` of the flow again.
    Set {
        target: FlowValue,
        value: FlowValue,
    },
    /// One arm of a sweep, or a called flow: draws inside are keyed by `seed` (if given) and `path`.
    Scope {
        name: String,
        seed: Option<u64>,
        body: Vec<Statement>,
    },
    Report {
        rows: Vec<ReportItem>,
    },
    Assert {
        condition: FlowValue,
        text: String,
        why: Option<String>,
        facts: Vec<(String, FlowValue)>,
        span: Span,
    },
    Save {
        slots: Vec<(String, SlotId)>,
        path: PathBuf,
        span: Span,
    },
    Load {
        slots: Vec<(String, SlotId)>,
        path: PathBuf,
        span: Span,
    },
}

#[derive(Clone, Debug)]
pub struct ReportItem {
    pub name: String,
    pub value: ReportValue,
}

#[derive(Clone, Debug)]
pub enum ReportValue {
    Flow(FlowValue),
    /// Known while compiling.
    Text(String),
}

/// A step with what its formals stand for.
#[derive(Clone, Debug)]
pub struct Call {
    pub step: Arc<Step>,
    /// One for each formal of the step.
    pub slots: Vec<SlotId>,
    /// One for each [`Input::Flow`] of the step, by its number.
    pub flows: Vec<FlowValue>,
    /// Where `yields` go, in order.
    pub results: Vec<FlowValue>,
}

/// `train`, or a `pass` over data.
#[derive(Clone, Debug)]
pub struct Loop {
    pub name: String,
    pub kind: LoopKind,
    pub call: Call,
    /// The same body for batches that its guards shut out, such as the short last one of a `pass`.
    pub variants: Vec<Variant>,
    /// Zipped; the first defines the epoch.
    pub feeds: Vec<Feed>,
    pub length: Length,
    /// Clip gradients to this norm, and so on, are in the graph; these are for the driver.
    pub on_nan: OnNan,
    /// A row of `logs` goes into the flow as the last value of each name after a `train`.
    pub logged: Vec<(String, FlowValue)>,
    pub measured: Vec<(String, FlowValue)>,
    pub collected: Vec<(String, FlowValue)>,
    /// Nets that are trained, with their weight counts: printed at the start.
    pub trains: Vec<(String, usize)>,
    pub span: Span,
}

/// A loop's body elaborated for batches of other sizes; it logs, measures and collects the same.
#[derive(Clone, Debug)]
pub struct Variant {
    /// For each feed.
    pub rows: Vec<usize>,
    pub call: Call,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopKind {
    Train,
    Pass,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnNan {
    Stop,
    Allow,
}

#[derive(Clone, Debug)]
pub enum Length {
    Epochs(u64),
    Steps(u64),
}

/// One source of a loop.
#[derive(Clone, Debug)]
pub struct Feed {
    pub source: SourceRef,
    /// `train`, `test`, …
    pub split: String,
    /// Rows of a batch.
    pub batch: usize,
    /// The symbol that stands for the rows in the step.
    pub symbol: Arc<str>,
    pub shuffle: bool,
}

/// The short floats to which operands of products are rounded, where a program asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Narrow {
    /// Eight bits of exponent, seven of fraction.
    Bf16,
    /// Five bits of exponent, ten of fraction: below 6e-8 all is 0.
    F16,
}

impl Narrow {
    pub const ALL: [Narrow; 2] = [Narrow::Bf16, Narrow::F16];

    pub fn name(self) -> &'static str {
        match self {
            Narrow::Bf16 => "bf16",
            Narrow::F16 => "f16",
        }
    }

    pub fn from_name(name: &str) -> Option<Narrow> {
        Narrow::ALL.into_iter().find(|narrow| narrow.name() == name)
    }
}

/// One compiled step, before passes.
#[derive(Clone, Debug, Default)]
pub struct Step {
    pub name: String,
    pub graph: Graph,
    /// Parallel to `graph.inputs`.
    pub inputs: Vec<Input>,
    /// Scalars computed from the clock before each step; its outputs feed [`Input::Host`] in order.
    pub host: Host,
    /// Names of the formals: paths as the program first bound them.
    pub formals: Vec<(String, SlotKind)>,
    /// At most one for each formal.
    pub commits: Vec<(Formal, Value)>,
    pub logs: Vec<(String, Value)>,
    pub measures: Vec<Measure>,
    pub collects: Vec<(String, Value)>,
    /// Results of a `Compute`.
    pub yields: Vec<Value>,
    pub symbols: Vec<Symbol>,
    pub guards: Vec<Guard>,
    /// To what the passes still have to round the operands of products.
    pub narrow: Option<Narrow>,
    /// What the step's own calls of nets gave.
    pub answers: Vec<Value>,
}

impl Step {
    /// Every value that somebody reads when the step is done, in order, with repetition.
    pub fn roots(&self) -> Vec<Value> {
        let mut roots: Vec<Value> = self.commits.iter().map(|(_, value)| *value).collect();
        roots.extend(self.logs.iter().map(|(_, value)| *value));
        roots.extend(self.measures.iter().flat_map(|measure| &measure.statistics).map(|(_, value)| *value));
        roots.extend(self.collects.iter().map(|(_, value)| *value));
        roots.extend(&self.yields);
        roots.extend(&self.graph.outputs);
        roots
    }
}

/// Position in `formals`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Formal(pub usize);

#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Field of the batch of feed number `feed`.
    Field {
        feed: usize,
        field: String,
    },
    /// The stable record ids of a feed's batch, `int[B]`: views fold them into keys.
    Ids {
        feed: usize,
    },
    /// The positions in the data set, `int[B]`: what `index` means.
    Index {
        feed: usize,
    },
    Slot(Formal),
    /// Output of the host graph.
    Host(usize),
    /// Number in [`Call::flows`].
    Flow(usize),
    /// `u32[2]`, another for each step.
    StepKey,
    /// `u32[2]`, another for each epoch: with a record's id it keys that sample's views.
    EpochKey,
    /// A tensor given from outside (`ssl eval --in`).
    Given(String),
}

/// The host part of a step: a graph of scalars over clock fields, evaluated in f64 and i64 before each step.
#[derive(Clone, Debug, Default)]
pub struct Host {
    pub graph: Graph,
    /// Parallel to `graph.inputs`.
    pub inputs: Vec<HostInput>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum HostInput {
    Clock(ClockField),
    /// Number in [`Call::flows`].
    Flow(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockField {
    /// From 0.
    Step,
    /// From 0, whole.
    Epoch,
    /// From 0 to 1 over the loop.
    Progress,
    Steps,
    Epochs,
    StepsPerEpoch,
}

impl ClockField {
    pub const ALL: [(ClockField, &'static str); 6] = [
        (ClockField::Step, "step"),
        (ClockField::Epoch, "epoch"),
        (ClockField::Progress, "progress"),
        (ClockField::Steps, "steps"),
        (ClockField::Epochs, "epochs"),
        (ClockField::StepsPerEpoch, "steps_per_epoch"),
    ];
}

/// `measure name = expression`: statistics over rows taken on each batch, merged exactly, and a rest run once.
#[derive(Clone, Debug)]
pub struct Measure {
    pub name: String,
    /// Per batch, in the step's graph.
    pub statistics: Vec<(Statistic, Value)>,
    /// From the merged statistics (inputs in order) to the value.
    pub rest: Graph,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// Added up over batches (a `sum`, and the count of rows behind a `mean`).
    Sum,
    Min,
    Max,
    /// Squared distances from the mean of their batch; the two statistics before it are the sum and the count that give
    /// that mean.
    Squares,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Symbol {
    pub name: Arc<str>,
    /// The number it has in ordinary batches; none for a count that is not known yet.
    pub witness: Option<i64>,
}

/// What the graph assumed of a symbol; another binding is elaborated again.
#[derive(Clone, Debug, PartialEq)]
pub enum Guard {
    Equal(Arc<str>, i64),
    AtLeast(Arc<str>, i64),
    Divides(i64, Arc<str>),
}

impl Guard {
    pub fn symbol(&self) -> &Arc<str> {
        match self {
            Guard::Equal(symbol, _) | Guard::AtLeast(symbol, _) | Guard::Divides(_, symbol) => symbol,
        }
    }

    /// Whether it holds for a symbol that is `have`.
    pub fn holds(&self, have: i64) -> bool {
        match self {
            Guard::Equal(_, n) => have == *n,
            Guard::AtLeast(_, n) => have >= *n,
            Guard::Divides(n, _) => *n != 0 && have % n == 0,
        }
    }
}
