//! Bound trees to a program: runs everything static and is left with step graphs and the statements between them.
//!
//! In: parsed files with their names bound, and settings. Out: a [`Program`] and every mistake of the user.
//! Never here: a tensor's numbers, a device, a clock, a file other than a data set's schema. After this phase nobody
//! reports a shape error.

mod arguments;
mod builtins;
mod calls;
mod control;
mod data;
mod draws;
mod expressions;
mod finish;
mod flow;
mod index;
mod loops;
mod measures;
mod minimize;
mod nets;
mod operators;
mod products;
mod questions;
mod report;
mod rounds;
mod scope;
mod signatures;
mod slots;
mod statements;
mod trained;
#[cfg(test)]
mod tests;
mod value;
mod views;
mod writes;

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::diagnostics::{Diagnostic, Frame};
use crate::graph::{DType, OriginId, Type};
use crate::program::{FlowInfo, FlowValue, Narrow, Origin, Program, Slot, Source};
use crate::resolve::Modules;
use crate::source::{SourceMap, Span};

use flow::Draft;
use scope::{Scope, ScopeId};
use value::{Env, Instance, InstanceId, Tensor, Value};

pub use builtins::{documentation as builtin_documentation, names as builtin_names};

/// Limits that end a program that would elaborate for ever.
const CALLS_DEEP: usize = 120;
const NODES_MADE: usize = 2_000_000;
const ROUNDS_MADE: usize = 5_000_000;

/// What the command line decides.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `--set name=value`: text as written, read against the type of the `param`.
    pub set: Vec<(String, String)>,
    /// The default float: f32, or f64 by `--dtype f64`.
    pub float: DType,
    /// Tensors from outside, by name (`ssl eval --in`).
    pub given: Vec<(String, Type)>,
    /// Stands for the file's statements: only this `test` is elaborated.
    pub test: Option<usize>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { set: Vec::new(), float: DType::F32, given: Vec::new(), test: None }
    }
}

/// What the last expression of the file is: how `ssl eval` finds its result among the program's values.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Static: printed as it is.
    Text(String),
    Tensor(FlowValue),
    Record(Vec<(String, Outcome)>),
    List(Vec<Outcome>),
    Nothing,
}

/// A program with the value of its last expression.
pub struct Elaborated {
    pub program: Program,
    pub outcome: Outcome,
    /// Where the tensors of [`Settings::given`] go before the first statement runs.
    pub given: Vec<(String, FlowValue)>,
}

/// Elaborates the entry file of `modules`. The program is whole only if no diagnostic is an error.
pub fn elaborate(modules: &Modules, sources: &SourceMap, settings: &Settings) -> (Elaborated, Vec<Diagnostic>) {
    let mut elaborator = Elaborator::new(modules, sources, settings);
    let value = elaborator.entry();
    elaborator.finish(value)
}

/// A schedule, by its address, in one step.
type ScheduleKey = (*const value::Closure, Option<ScopeId>);
/// An op over scalars of a clock: scope, op, operands, attributes as text.
type HostKey = (ScopeId, &'static str, Vec<crate::graph::Value>, String);

pub(crate) struct Elaborator<'a> {
    pub modules: &'a Modules,
    pub sources: &'a SourceMap,
    pub settings: &'a Settings,
    pub float: DType,
    /// To what operands of products are rounded, in the file or the loop at hand.
    pub narrow: Option<Narrow>,
    /// By what a loss is multiplied, and its gradients divided, in the file or the loop at hand.
    pub loss_scale: Option<f64>,
    pub diagnostics: Vec<Diagnostic>,
    reported: HashSet<(crate::diagnostics::Code, Span)>,
    /// Calls of the user inside which the library was at a loss.
    blamed: HashSet<Span>,
    /// A recursion without end was met and reported; true until its first call is left.
    too_deep: bool,
    /// Rounds of static loops and calls so far.
    rounds: usize,

    /// Top-level names as far as they have been evaluated.
    globals: HashMap<(usize, Arc<str>), Value>,
    /// Top-level names that are being evaluated.
    evaluating: Vec<(usize, Arc<str>)>,
    module_envs: Vec<Env>,
    resolved_params: IndexMap<String, String>,

    scopes: Vec<Scope>,
    scope_stack: Vec<ScopeId>,
    /// The scope of the flow statement at hand, if it has made a tensor.
    open_compute: Option<ScopeId>,
    /// Statements that follow the open graph.
    readers: Vec<Draft>,
    holder: Option<ScopeId>,
    exports: HashMap<(ScopeId, crate::graph::Value), FlowValue>,
    flow_tensors: HashMap<FlowValue, Tensor>,
    pub flow_values: Vec<FlowInfo>,
    statement_name: Option<String>,

    drafts: Vec<Vec<Draft>>,
    slots: Vec<Slot>,
    slot_paths: HashMap<String, u32>,
    instances: Vec<Instance>,
    /// The outermost net that owns each weight and buffer.
    slot_roots: HashMap<crate::program::SlotId, InstanceId>,
    instance_paths: HashMap<String, u32>,
    data_sources: Vec<Source>,
    optimizers: usize,
    /// The optimiser's body that is running, and the weight it is for.
    rule: Option<(usize, crate::program::SlotId)>,
    /// Memory of (optimiser value, weight, name).
    rule_slots: HashMap<(usize, crate::program::SlotId, Arc<str>), crate::program::SlotId>,
    /// What the body of the loop at hand assigns by `<-`.
    assigned_nets: Vec<Value>,
    /// Splits that some `pass` reads, and where.
    pass_reads: Vec<(Rc<crate::data::Spec>, String, Span)>,
    /// Columns that were read already.
    column_cache: Vec<((Rc<crate::data::Spec>, String), Value)>,
    /// The loop whose sources are evaluated is a `train`.
    training_loop: bool,
    /// The expression of a `measure` is evaluated.
    measuring: bool,
    /// The option `clip` of the loop at hand.
    clip: Option<f64>,
    /// Splits that some `train` reads, and where.
    train_reads: Vec<(Rc<crate::data::Spec>, String, Span)>,

    /// Calls from the user's line to the place at hand.
    pub calls: Vec<Frame>,
    call_stack_id: u32,
    call_stack_ids: u32,
    origins: Vec<Origin>,
    origin_ids: HashMap<(Span, u32), OriginId>,
    nodes_made: usize,

    /// Where draws stand: names, callees, unrolled indices.
    path: Vec<String>,
    ordinals: Vec<HashMap<String, u32>>,
    /// How many `~` lead to the place at hand.
    drawing: u32,
    /// The module bodies that are running.
    module_stack: Vec<nets::ModuleFrame>,
    /// True inside `train`, unless a call says otherwise.
    training: bool,
    /// Frozen nets read their weights through `stop`.
    frozen: bool,
    /// Weights given by `with`.
    overrides: Vec<HashMap<crate::program::SlotId, Tensor>>,
    /// Tensors that stand for settings given from outside.
    given: Vec<(String, FlowValue, Tensor)>,
    /// Names of the flows that are running: nets declared inside are named below them.
    flow_names: Vec<String>,
    /// How often each flow was called: later calls get a number.
    flow_calls: HashMap<String, u32>,
    /// `var`s that the run writes.
    flow_vars: HashSet<FlowValue>,
    /// Values of schedules by closure and step; the closure is kept so that its address stays its own.
    schedules: HashMap<ScheduleKey, (Rc<value::Closure>, Value)>,
    /// Scalars of clocks: equal ones are one.
    host_nodes: HashMap<HostKey, crate::graph::Value>,
    yielded: Vec<Option<Value>>,
}

impl<'a> Elaborator<'a> {
    fn new(modules: &'a Modules, sources: &'a SourceMap, settings: &'a Settings) -> Elaborator<'a> {
        Elaborator {
            modules,
            sources,
            settings,
            float: settings.float,
            narrow: None,
            loss_scale: None,
            diagnostics: Vec::new(),
            reported: HashSet::new(),
            blamed: HashSet::new(),
            too_deep: false,
            rounds: 0,
            globals: HashMap::new(),
            evaluating: Vec::new(),
            module_envs: (0..modules.modules.len()).map(Env::module).collect(),
            resolved_params: IndexMap::new(),
            scopes: Vec::new(),
            scope_stack: Vec::new(),
            open_compute: None,
            readers: Vec::new(),
            holder: None,
            exports: HashMap::new(),
            flow_tensors: HashMap::new(),
            flow_values: Vec::new(),
            statement_name: None,
            drafts: vec![Vec::new()],
            slots: Vec::new(),
            slot_paths: HashMap::new(),
            instances: Vec::new(),
            instance_paths: HashMap::new(),
            data_sources: Vec::new(),
            optimizers: 0,
            rule: None,
            rule_slots: HashMap::new(),
            assigned_nets: Vec::new(),
            column_cache: Vec::new(),
            training_loop: false,
            measuring: false,
            clip: None,
            train_reads: Vec::new(),
            pass_reads: Vec::new(),
            slot_roots: HashMap::new(),
            calls: Vec::new(),
            call_stack_id: 0,
            call_stack_ids: 0,
            origins: vec![Origin::default()],
            origin_ids: HashMap::new(),
            nodes_made: 0,
            path: Vec::new(),
            ordinals: vec![HashMap::new()],
            drawing: 0,
            module_stack: Vec::new(),
            training: false,
            frozen: false,
            overrides: Vec::new(),
            given: Vec::new(),
            flow_names: Vec::new(),
            flow_calls: HashMap::new(),
            flow_vars: HashSet::new(),
            schedules: HashMap::new(),
            host_nodes: HashMap::new(),
            yielded: Vec::new(),
        }
    }

    fn instance(&self, id: InstanceId) -> &Instance {
        &self.instances[id.0]
    }

    /// Runs `body` one call deeper: messages from inside show the way to it.
    fn in_call<T>(&mut self, callee: &str, span: Span, body: impl FnOnce(&mut Self) -> T) -> T {
        self.calls.push(Frame { callee: callee.into(), span });
        self.call_stack_ids += 1;
        let outer = std::mem::replace(&mut self.call_stack_id, self.call_stack_ids);
        let result = body(self);
        self.call_stack_id = outer;
        self.calls.pop();
        self.too_deep &= !self.calls.is_empty();
        result
    }

    /// Runs `body` under one more segment of the draw path.
    fn in_path<T>(&mut self, segment: String, body: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(segment);
        self.ordinals.push(HashMap::new());
        let result = body(self);
        self.ordinals.pop();
        self.path.pop();
        result
    }

    /// `callee#0`, `callee#1`, … within the statement at hand.
    fn ordinal(&mut self, callee: &str) -> String {
        let Some(counts) = self.ordinals.last_mut() else { return callee.to_string() };
        let count = counts.entry(callee.to_string()).or_insert(0);
        let segment = format!("{callee}#{count}");
        *count += 1;
        segment
    }

    fn entry(&mut self) -> Value {
        for (name, ty) in self.settings.given.clone() {
            let flow = self.new_flow_value(&name, ty);
            let tensor = self.flow_tensor(flow);
            self.given.push((name, flow, tensor));
        }
        let module = &self.modules.modules[self.modules.entry];
        self.options(&module.file.statements);
        let env = self.module_envs[self.modules.entry].clone();
        for (name, _, tensor) in &self.given {
            env.bind(name.as_str(), Value::Tensor(Tensor { weak: false, ..*tensor }));
        }
        let value = match self.settings.test {
            Some(test) => self.test_block(module, &env, test),
            None => self.flow_statements(&module.file.statements, &env),
        };
        self.check_uncalled();
        self.check_settings();
        value
    }

    fn test_block(&mut self, module: &crate::resolve::Module, env: &Env, test: usize) -> Value {
        let statements: Vec<_> = module.file.statements.iter().collect();
        match statements.get(test).map(|statement| &statement.kind) {
            Some(crate::syntax::StatementKind::Test { body, .. }) => {
                self.flow_statements(&body.statements, &env.child())
            }
            _ => Value::Error,
        }
    }

    fn rc<T>(value: T) -> Rc<T> {
        Rc::new(value)
    }
}
