//! What an expression can be while compiling.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use indexmap::IndexMap;

use super::builtins::Builtin;
use super::scope::ScopeId;
use crate::data::{Schema, Spec};
use crate::graph::{Size, Value as GraphValue};
use crate::program::SlotId;
use crate::source::Span;
use crate::syntax::{Block, Param, TypeExpr, Unit};

/// A value at one of three times: static (everything but `Tensor` and `Clock`), host or tensor (both `Tensor`; the scope tells).
#[derive(Clone)]
pub enum Value {
    /// Fits everywhere and reports nothing further.
    Error,
    None,
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(Arc<str>),
    Quantity(f64, Unit),
    Range(Box<(Value, Value)>),
    /// A whole number that holds symbols, such as the rows of a batch.
    Size(Size),
    List(Rc<Vec<Value>>),
    Record(Rc<Record>),
    Tensor(Tensor),
    /// A named tensor that persists; read where it is used as a value.
    Cell(SlotId),
    Function(Rc<Closure>),
    Builtin(&'static Builtin),
    /// A call that lacks exactly its leading argument: what stands on the right of `|>`.
    Partial(Rc<Partial>),
    /// Functions, modules, nets or views, applied one after the other.
    Chain(Rc<Vec<Value>>),
    /// `module` or curried `view` before its first parenthesis.
    Template(Rc<Template>),
    /// The same with its settings bound: a definition without weights, or a view.
    Definition(Rc<Definition>),
    Net(Net),
    Tree(Rc<Tree>),
    Optimizer(Rc<Optimizer>),
    Data(Rc<DataSet>),
    Split(Rc<Split>),
    Batches(Rc<Batches>),
    Clock,
    Namespace(usize),
    /// A field name in `by:`, `per:`, `stratified:`.
    FieldName(Arc<str>),
}

pub type Record = IndexMap<Arc<str>, Value>;

/// A value inside a graph under construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tensor {
    pub scope: ScopeId,
    pub value: GraphValue,
    /// Takes the element type of what it meets: host numbers.
    pub weak: bool,
}

/// A function with the names it can see.
pub struct Closure {
    pub name: Arc<str>,
    pub params: Vec<Param>,
    pub result: Option<TypeExpr>,
    pub body: Arc<Block>,
    pub env: Env,
    pub is_flow: bool,
}

impl Closure {
    /// A function of the clock: where a number is needed, it is called with the clock of its step.
    pub fn is_schedule(&self) -> bool {
        self.params.len() == 1 && &*self.params[0].name.text == "now"
    }
}

pub struct Partial {
    pub callee: Value,
    pub callee_span: Span,
    pub arguments: Vec<Given>,
}

/// An evaluated argument.
#[derive(Clone)]
pub struct Given {
    pub name: Option<crate::syntax::Name>,
    pub value: Value,
    pub span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateKind {
    Module,
    View,
    Optimizer,
}

impl TemplateKind {
    pub fn words(self) -> &'static str {
        match self {
            TemplateKind::Module => "a module",
            TemplateKind::View => "a view",
            TemplateKind::Optimizer => "an optimizer",
        }
    }
}

/// A curried declaration: settings first, inputs later.
pub struct Template {
    pub kind: TemplateKind,
    pub name: Arc<str>,
    pub params: Vec<Param>,
    pub inputs: Vec<Param>,
    pub result: Option<TypeExpr>,
    pub body: Arc<Block>,
    pub env: Env,
}

pub struct Definition {
    pub template: Rc<Template>,
    /// Holds the settings.
    pub env: Env,
    /// The net that it becomes never learns.
    pub frozen: bool,
}

/// Something with weights, and how it is to be used.
#[derive(Clone)]
pub struct Net {
    pub instance: InstanceId,
    pub frozen: bool,
    /// Overrides the mode of the place of the call.
    pub training: Option<bool>,
    /// Weights to use instead of its own.
    pub with: Option<Rc<Tree>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId(pub usize);

/// A net: a module with its own weights, or other nets one after the other.
pub struct Instance {
    pub path: String,
    pub kind: InstanceKind,
    /// Weights and buffers of its own body, by name, in order of declaration.
    pub cells: IndexMap<Arc<str>, SlotId>,
    pub children: IndexMap<Arc<str>, InstanceId>,
    /// The instance whose values it starts from.
    pub copy_of: Option<InstanceId>,
    /// The outermost instance that owns it.
    pub root: InstanceId,
    pub span: Span,
}

#[derive(Clone)]
pub enum InstanceKind {
    Module(Rc<Definition>),
    Chain(Vec<Value>),
}

/// Weights as values, by path below the net, in order.
#[derive(Clone, Default)]
pub struct Tree {
    pub leaves: IndexMap<String, Leaf>,
}

#[derive(Clone)]
pub struct Leaf {
    /// The slot it was read from, if it is one.
    pub slot: Option<SlotId>,
    pub value: Tensor,
}

/// An update rule with its settings.
pub struct Optimizer {
    pub definition: Rc<Definition>,
    /// Two `using` clauses that name the same value share its memory.
    pub id: usize,
}

pub struct DataSet {
    pub name: Arc<str>,
    pub spec: Rc<Spec>,
    pub schema: Rc<Schema>,
    pub span: Span,
}

pub struct Split {
    pub data: Rc<DataSet>,
    pub split: String,
}

pub struct Batches {
    pub split: Rc<Split>,
    pub batch: usize,
    /// Of the number of rows.
    pub span: Span,
    /// Of the whole source, `digits.train.batches(64)`.
    pub whole: Span,
}

/// Names in sight, innermost frame first.
#[derive(Clone)]
pub struct Env(Rc<Frame>);

struct Frame {
    names: RefCell<HashMap<Arc<str>, Value>>,
    parent: Option<Env>,
    module: usize,
    settings: Cell<bool>,
}

impl Env {
    /// The outermost frame of a file.
    pub fn module(module: usize) -> Env {
        Env(Rc::new(Frame { names: RefCell::default(), parent: None, module, settings: Cell::new(false) }))
    }

    pub fn child(&self) -> Env {
        Env(Rc::new(Frame {
            names: RefCell::default(),
            parent: Some(self.clone()),
            module: self.0.module,
            settings: Cell::new(false),
        }))
    }

    pub fn module_index(&self) -> usize {
        self.0.module
    }

    pub fn bind(&self, name: impl Into<Arc<str>>, value: Value) {
        self.0.names.borrow_mut().insert(name.into(), value);
    }

    pub fn get(&self, name: &str) -> Option<Value> {
        let found = self.0.names.borrow().get(name).cloned();
        found.or_else(|| self.0.parent.as_ref()?.get(name))
    }

    /// Only in this frame.
    pub fn own(&self, name: &str) -> Option<Value> {
        self.0.names.borrow().get(name).cloned()
    }

    /// In the frames of the call at hand: its own, and the settings of a curried declaration.
    pub fn get_local(&self, name: &str) -> Option<Value> {
        self.own(name).or_else(|| match &self.0.parent {
            Some(parent) if parent.0.settings.get() => parent.own(name),
            _ => None,
        })
    }

    /// Marks this frame as the settings of a curried declaration.
    pub fn mark_settings(&self) {
        self.0.settings.set(true);
    }

    /// Binds a name again where it was bound; false if it is nowhere.
    pub fn rebind(&self, name: &str, value: &Value) -> bool {
        if let Some(slot) = self.0.names.borrow_mut().get_mut(name) {
            *slot = value.clone();
            return true;
        }
        self.0.parent.as_ref().is_some_and(|parent| parent.rebind(name, value))
    }
}

impl Value {
    pub fn list(items: Vec<Value>) -> Value {
        Value::List(Rc::new(items))
    }

    pub fn record(fields: impl IntoIterator<Item = (Arc<str>, Value)>) -> Value {
        Value::Record(Rc::new(fields.into_iter().collect()))
    }

    pub fn size(size: Size) -> Value {
        size.as_known().map_or(Value::Size(size), Value::Int)
    }

    pub fn is_error(&self) -> bool {
        matches!(self, Value::Error)
    }

    /// Whether an error is in it, as an item or field: what does not fit because of that was reported.
    pub fn holds_error(&self) -> bool {
        match self {
            Value::Error => true,
            Value::List(items) => items.iter().any(Value::holds_error),
            Value::Record(record) => record.values().any(Value::holds_error),
            _ => false,
        }
    }

    /// A static number as a float.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Value::Int(n) => Some(*n as f64),
            Value::Float(x) => Some(*x),
            Value::Size(size) => size.as_known().map(|n| n as f64),
            _ => None,
        }
    }

    pub fn as_size(&self) -> Option<Size> {
        match self {
            Value::Int(n) => Some(Size::known(*n)),
            Value::Size(size) => Some(size.clone()),
            _ => None,
        }
    }

    /// What it is, in words, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Error => "an error",
            Value::None => "none",
            Value::Int(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::Bool(_) => "a truth value",
            Value::Text(_) => "a text",
            Value::Quantity(..) => "a quantity",
            Value::Range(_) => "a range",
            Value::Size(_) => "a size",
            Value::List(_) => "a list",
            Value::Record(_) => "a record",
            Value::Tensor(_) => "a tensor",
            Value::Cell(_) => "a state",
            Value::Function(closure) if closure.is_flow => "a flow",
            Value::Function(_) | Value::Builtin(_) | Value::Partial(_) => "a function",
            Value::Chain(_) => "a composition",
            Value::Template(template) => template.kind.words(),
            Value::Definition(definition) => definition.template.kind.words(),
            Value::Net(_) => "a net",
            Value::Tree(_) => "a tree of weights",
            Value::Optimizer(_) => "an optimizer",
            Value::Data(_) => "a data set",
            Value::Split(_) => "a split of a data set",
            Value::Batches(_) => "batches of a data set",
            Value::Clock => "a clock",
            Value::Namespace(_) => "a file",
            Value::FieldName(_) => "a field",
        }
    }
}
