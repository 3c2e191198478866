//! Nets: definitions that have been given weights, their parts, copies and weight trees.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use indexmap::IndexMap;

use super::Elaborator;
use super::flow::Draft;
use super::value::{Definition, Given, Instance, InstanceId, InstanceKind, Leaf, Net, Record, Tree, Value};
use crate::diagnostics::Code;
use crate::program::{SlotId, SlotKind};
use crate::source::Span;
use crate::syntax::Name;

/// A module body that is running.
pub struct ModuleFrame {
    pub instance: InstanceId,
    /// How many unnamed submodules of each definition this run of the body has met.
    counts: HashMap<Arc<str>, u32>,
}

/// Weights and buffers of something with weights, by path below it.
pub type Leaves = IndexMap<String, SlotId>;

impl Elaborator<'_> {
    pub fn enter_module(&mut self, instance: InstanceId) {
        self.module_stack.push(ModuleFrame { instance, counts: HashMap::new() });
    }

    pub fn leave_module(&mut self) {
        self.module_stack.pop();
    }

    /// The unnamed submodule at this place of the running body: its module's name and a counter.
    pub fn anonymous_child(&mut self, definition: &Rc<Definition>, span: Span) -> Option<Net> {
        let frame = self.module_stack.last_mut()?;
        let name = definition.template.name.clone();
        let count = frame.counts.entry(name.clone()).or_insert(0);
        let key: Arc<str> = format!("{name}_{count}").into();
        *count += 1;
        let parent = frame.instance;
        let id = self.child(parent, &key, InstanceKind::Module(definition.clone()), span);
        Some(Net { frozen: definition.frozen, ..plain(id) })
    }

    fn child(&mut self, parent: InstanceId, key: &Arc<str>, kind: InstanceKind, span: Span) -> InstanceId {
        if let Some(id) = self.instance(parent).children.get(key).copied() {
            return id;
        }
        let path = format!("{}.{key}", self.instance(parent).path);
        let root = self.instance(parent).root;
        let copy_of = self.instance(parent).copy_of.map(|original| self.child(original, key, kind.clone(), span));
        let id = self.push_instance(Instance {
            path,
            kind,
            cells: IndexMap::new(),
            children: IndexMap::new(),
            copy_of,
            root,
            span,
        });
        self.instances[parent.0].children.insert(key.clone(), id);
        id
    }

    fn push_instance(&mut self, instance: Instance) -> InstanceId {
        self.instances.push(instance);
        InstanceId(self.instances.len() - 1)
    }

    /// A new outermost instance, whose weights come to life at this point of the flow.
    fn root(&mut self, path: &str, kind: InstanceKind, copy_of: Option<InstanceId>, span: Span) -> InstanceId {
        let count = self.instance_paths.entry(path.to_string()).or_insert(0);
        *count += 1;
        let path = if *count > 1 { format!("{path}-{count}") } else { path.to_string() };
        let id = InstanceId(self.instances.len());
        self.push_instance(Instance {
            path,
            kind,
            cells: IndexMap::new(),
            children: IndexMap::new(),
            copy_of,
            root: id,
            span,
        });
        self.end_compute();
        self.push_draft(Draft::DeclareNet(id));
        id
    }

    /// `net name = value`: everything in it that is a definition gets weights of its own.
    pub fn instantiate(&mut self, value: Value, path: &str, span: Span) -> Value {
        match self.default_template(value, span) {
            Value::Definition(definition) => {
                let frozen = definition.frozen;
                let instance = self.root(path, InstanceKind::Module(definition), None, span);
                Value::Net(Net { frozen, ..plain(instance) })
            }
            Value::Chain(parts) => {
                let parts = parts.iter().enumerate().map(|(at, part)| match part {
                    Value::Definition(_) | Value::Template(_) => {
                        self.instantiate(part.clone(), &format!("{path}.{at}"), span)
                    }
                    other => other.clone(),
                });
                Value::Chain(Rc::new(parts.collect()))
            }
            Value::List(items) => {
                let items = items.iter().enumerate();
                Value::list(
                    items.map(|(at, item)| self.instantiate(item.clone(), &format!("{path}.{at}"), span)).collect(),
                )
            }
            Value::Record(record) => {
                let fields = record
                    .iter()
                    .map(|(key, value)| (key.clone(), self.instantiate(value.clone(), &format!("{path}.{key}"), span)));
                Value::Record(Rc::new(fields.collect()))
            }
            value @ (Value::Net(_) | Value::Function(_) | Value::Builtin(_) | Value::Partial(_) | Value::Error) => {
                value
            }
            other => self.wrong_kind(&other, "a module or a composition of nets", span),
        }
    }

    /// A definition bound by `let` in a module's body is a submodule of that name.
    pub fn adopt(&mut self, value: Value, name: &str, span: Span) -> Value {
        let Some(parent) = self.module_stack.last().map(|frame| frame.instance) else { return value };
        self.adopt_into(parent, value, name, span)
    }

    fn adopt_into(&mut self, parent: InstanceId, value: Value, name: &str, span: Span) -> Value {
        let key: Arc<str> = name.into();
        match value {
            Value::Definition(definition) if definition.template.kind == super::value::TemplateKind::Module => {
                let frozen = definition.frozen;
                let instance = self.child(parent, &key, InstanceKind::Module(definition), span);
                Value::Net(Net { frozen, ..plain(instance) })
            }
            Value::Chain(parts) if parts.iter().any(|part| matches!(part, Value::Definition(_))) => {
                let group = self.child(parent, &key, InstanceKind::Chain(Vec::new()), span);
                let parts = parts.iter().enumerate();
                let parts =
                    parts.map(|(at, part)| self.adopt_into(group, part.clone(), &at.to_string(), span)).collect();
                Value::Chain(Rc::new(parts))
            }
            Value::List(items) if items.iter().any(|item| matches!(item, Value::Definition(_) | Value::Chain(_))) => {
                let group = self.child(parent, &key, InstanceKind::Chain(Vec::new()), span);
                let items = items.iter().enumerate();
                Value::list(
                    items.map(|(at, item)| self.adopt_into(group, item.clone(), &at.to_string(), span)).collect(),
                )
            }
            Value::Record(record) if record.values().any(|item| matches!(item, Value::Definition(_))) => {
                let group = self.child(parent, &key, InstanceKind::Chain(Vec::new()), span);
                let fields: Record = record
                    .iter()
                    .map(|(key, value)| (key.clone(), self.adopt_into(group, value.clone(), key, span)))
                    .collect();
                Value::Record(Rc::new(fields))
            }
            other => other,
        }
    }

    pub fn call_net(&mut self, net: &Net, mut given: Vec<Given>, span: Span) -> Value {
        let mut training = net.training.unwrap_or(self.training && !net.frozen);
        if let Some(at) = given.iter().position(|g| g.name.as_ref().is_some_and(|name| &*name.text == "training")) {
            let argument = given.remove(at);
            match argument.value {
                Value::Bool(on) => training = on,
                other => return self.wrong_kind(&other, "true or false", argument.span),
            }
        }
        let InstanceKind::Module(definition) = &self.instance(net.instance).kind else { return Value::Error };
        let definition = definition.clone();
        let outer = (self.training, self.frozen);
        self.training = training;
        self.frozen |= net.frozen;
        // Weights come to life in the first call: without one, there is nothing yet that others could stand in for.
        if net.with.is_some() && self.leaves(&Value::Net(net.clone())).is_empty() {
            let ordinals = self.ordinals.clone();
            if self.call_instance(net.instance, &definition, given.clone(), span).is_error() {
                (self.training, self.frozen) = outer;
                return Value::Error;
            }
            self.ordinals = ordinals;
        }
        let overrides = net.with.as_ref().map(|tree| self.override_map(net, tree));
        let overridden = overrides.is_some();
        self.overrides.extend(overrides);
        let modules = std::mem::take(&mut self.module_stack);
        let value = self.call_instance(net.instance, &definition, given, span);
        if let (true, Value::Tensor(answer)) = (modules.is_empty(), &value) {
            self.scope(answer.scope).answers.push(answer.value);
        }
        self.module_stack = modules;
        if overridden {
            self.overrides.pop();
        }
        (self.training, self.frozen) = outer;
        value
    }

    fn override_map(&mut self, net: &Net, tree: &Tree) -> HashMap<SlotId, super::value::Tensor> {
        let leaves = self.leaves(&Value::Net(net.clone()));
        leaves.iter().filter_map(|(key, slot)| Some((*slot, tree.leaves.get(key)?.value))).collect()
    }

    /// Every weight and buffer of a net, a composition, a list or record of nets, or a single cell.
    pub fn leaves(&self, value: &Value) -> Leaves {
        let mut leaves = Leaves::new();
        self.collect_leaves(value, "", &mut leaves);
        leaves
    }

    fn collect_leaves(&self, value: &Value, prefix: &str, leaves: &mut Leaves) {
        let join = |key: &str| if prefix.is_empty() { key.to_string() } else { format!("{prefix}.{key}") };
        match value {
            Value::Net(net) => self.instance_leaves(net.instance, prefix, leaves),
            Value::Cell(slot) => {
                let own = self.slots[slot.0 as usize].path.clone();
                leaves.insert(if prefix.is_empty() { own } else { prefix.to_string() }, *slot);
            }
            Value::Chain(parts) => {
                parts
                    .iter()
                    .enumerate()
                    .for_each(|(at, part)| self.collect_leaves(part, &join(&at.to_string()), leaves));
            }
            Value::List(items) => {
                items
                    .iter()
                    .enumerate()
                    .for_each(|(at, item)| self.collect_leaves(item, &join(&at.to_string()), leaves));
            }
            Value::Record(record) => {
                record.iter().for_each(|(key, item)| self.collect_leaves(item, &join(key), leaves));
            }
            Value::Tree(tree) => {
                leaves.extend(tree.leaves.iter().filter_map(|(key, leaf)| Some((join(key), leaf.slot?))));
            }
            _ => {}
        }
    }

    fn instance_leaves(&self, id: InstanceId, prefix: &str, leaves: &mut Leaves) {
        let instance = self.instance(id);
        let join = |key: &str| if prefix.is_empty() { key.to_string() } else { format!("{prefix}.{key}") };
        for (name, slot) in &instance.cells {
            leaves.insert(join(name), *slot);
        }
        for (name, child) in &instance.children {
            self.instance_leaves(*child, &join(name), leaves);
        }
        if let InstanceKind::Chain(parts) = &instance.kind {
            parts.iter().enumerate().for_each(|(at, part)| self.collect_leaves(part, &join(&at.to_string()), leaves));
        }
    }

    pub fn weights_of(&self, value: &Value) -> Leaves {
        let mut leaves = self.leaves(value);
        leaves.retain(|_, slot| self.slots[slot.0 as usize].kind != SlotKind::Buffer);
        leaves
    }

    /// A tree of the values that slots hold here.
    pub fn tree(&mut self, leaves: Leaves, span: Span) -> Tree {
        let leaves =
            leaves.into_iter().map(|(key, slot)| (key, Leaf { slot: Some(slot), value: self.read_slot(slot, span) }));
        Tree { leaves: leaves.collect() }
    }

    pub fn net_field(&mut self, net: Net, name: &Name) -> Value {
        let value = Value::Net(net.clone());
        match &*name.text {
            "infer" => Value::Net(Net { training: Some(false), ..net }),
            "weights" | "state" => self.group_field(&value, name),
            text => {
                let instance = self.instance(net.instance);
                if let Some(child) = instance.children.get(text) {
                    return self.part(*child, &net);
                }
                if let Some(slot) = instance.cells.get(text) {
                    return Value::Cell(*slot);
                }
                let known: Vec<Arc<str>> = instance.children.keys().chain(instance.cells.keys()).cloned().collect();
                if known.is_empty() && self.has_errors() {
                    return Value::Error;
                }
                if known.is_empty() {
                    return self.fail_help(
                        Code::UnknownField,
                        name.span,
                        format!("the net has no part `{text}` yet"),
                        "its parts are known after its first call",
                        "call it before this line",
                    );
                }
                self.unknown_field("the net", text, name.span, known.iter().map(|n| &**n))
            }
        }
    }

    fn part(&self, child: InstanceId, of: &Net) -> Value {
        let instance = self.instance(child);
        match &instance.kind {
            InstanceKind::Module(_) => Value::Net(Net { instance: child, ..of.clone() }),
            InstanceKind::Chain(_) => Value::list(instance.children.values().map(|id| self.part(*id, of)).collect()),
        }
    }

    pub fn group_field(&mut self, value: &Value, name: &Name) -> Value {
        let mut leaves = self.leaves(value);
        let buffers = &*name.text == "state";
        leaves.retain(|_, slot| (self.slots[slot.0 as usize].kind == SlotKind::Buffer) == buffers);
        if leaves.is_empty() && self.has_errors() {
            return Value::Error;
        }
        if leaves.is_empty() && !buffers {
            return self.fail_help(
                Code::EmptySelection,
                name.span,
                "the net has no weights yet",
                "its weights are known after its first call",
                "call it before this line",
            );
        }
        let tree = self.tree(leaves, name.span);
        Value::Tree(Rc::new(tree))
    }

    pub fn tree_field(&mut self, tree: Rc<Tree>, name: &Name) -> Value {
        if let Some(leaf) = tree.leaves.get(&*name.text) {
            return Value::Tensor(leaf.value);
        }
        let prefix = format!("{}.", name.text);
        let below =
            tree.leaves.iter().filter_map(|(key, leaf)| Some((key.strip_prefix(&prefix)?.to_string(), leaf.clone())));
        let part = Tree { leaves: below.collect() };
        if part.leaves.is_empty() {
            let known: Vec<String> = tree.leaves.keys().cloned().collect();
            return self.unknown_field("the tree of weights", &name.text, name.span, known.iter().map(|n| n.as_str()));
        }
        Value::Tree(Rc::new(part))
    }

    pub fn net_with(&mut self, net: Net, given: Vec<Given>, span: Span) -> Value {
        match given.as_slice() {
            [Given { value: Value::Tree(tree), .. }] => Value::Net(Net { with: Some(tree.clone()), ..net }),
            [Given { value: Value::Error, .. }] => Value::Error,
            [Given { value, span, .. }] => self.wrong_kind(&value.clone(), "a tree of weights", *span),
            _ => self.fail(Code::ArgumentCount, span, "`with` takes one tree of weights", "this call"),
        }
    }

    /// `freeze(net)`: never learns, inference mode.
    pub fn freeze(&mut self, value: Value) -> Value {
        self.map_parts(value, &mut |_, part| match part {
            Value::Net(net) => Value::Net(Net { frozen: true, ..net }),
            // `freeze(mlp([64]))`: what becomes a net later.
            Value::Definition(definition) => {
                let (template, env) = (definition.template.clone(), definition.env.clone());
                Value::Definition(Rc::new(Definition { template, env, frozen: true }))
            }
            other => other,
        })
    }

    fn map_nets(&mut self, value: Value, each: &mut dyn FnMut(&mut Self, Net) -> Value) -> Value {
        self.map_parts(value, &mut |this, part| match part {
            Value::Net(net) => each(this, net),
            other => other,
        })
    }

    /// A value with each part of its chains, lists and records replaced.
    fn map_parts(&mut self, value: Value, each: &mut dyn FnMut(&mut Self, Value) -> Value) -> Value {
        match value {
            Value::Chain(parts) => {
                Value::Chain(Rc::new(parts.iter().map(|part| self.map_parts(part.clone(), each)).collect()))
            }
            Value::List(items) => Value::list(items.iter().map(|item| self.map_parts(item.clone(), each)).collect()),
            Value::Record(record) => {
                let fields: Record =
                    record.iter().map(|(key, item)| (key.clone(), self.map_parts(item.clone(), each))).collect();
                Value::Record(Rc::new(fields))
            }
            other => each(self, other),
        }
    }

    /// `copy(net)`: its own weights, equal at this moment; `fresh(net)`: its own, newly drawn.
    pub fn duplicate(&mut self, value: Value, fresh: bool, span: Span) -> Value {
        if !self.scope_stack.is_empty() {
            let word = if fresh { "fresh" } else { "copy" };
            return self.fail_help(
                Code::NotAllowedHere,
                span,
                format!("`{word}` makes a net, and nets are made outside steps"),
                "inside a step",
                "make it before the `train`, with `net name = …`",
            );
        }
        let word = if fresh { "fresh" } else { "copy" };
        let name = self.path.last().filter(|segment| !segment.contains('#')).cloned();
        self.map_nets(value, &mut |this, net| {
            let InstanceKind::Module(definition) = &this.instance(net.instance).kind else { return Value::Error };
            let definition = definition.clone();
            let original = this.instance(net.instance).path.clone();
            let last = original.rsplit('.').next().unwrap_or(&original);
            let path = match &name {
                Some(name) if name == last => name.clone(),
                Some(name) => format!("{name}.{last}"),
                None => format!("{word}.{original}"),
            };
            let path = this.own_path(&path);
            let copy_of = (!fresh).then_some(net.instance);
            let id = this.root(&path, InstanceKind::Module(definition), copy_of, span);
            if !fresh {
                this.mirror(net.instance, id);
            }
            Value::Net(plain(id))
        })
    }

    /// Gives a copy every weight that its original has by now.
    fn mirror(&mut self, original: InstanceId, copy: InstanceId) {
        let cells: Vec<_> = self.instance(original).cells.iter().map(|(name, slot)| (name.clone(), *slot)).collect();
        for (name, slot) in cells {
            let path = format!("{}.{name}", self.instance(copy).path);
            let (ty, kind, origin) = {
                let slot = &self.slots[slot.0 as usize];
                (slot.ty.clone(), slot.kind, slot.origin)
            };
            self.slots.push(crate::program::Slot { path, ty, kind, init: crate::program::Init::Copy(slot), origin });
            let id = SlotId(self.slots.len() as u32 - 1);
            self.own_slot(copy, name, id);
        }
        let children: Vec<_> = self.instance(original).children.iter().map(|(name, id)| (name.clone(), *id)).collect();
        for (name, child) in children {
            let (kind, span) = (self.instance(child).kind.clone(), self.instance(child).span);
            let id = self.child(copy, &name, kind, span);
            self.mirror(child, id);
        }
    }

    /// Every slot that belongs to an outermost instance, in order of declaration.
    pub fn root_slots(&self, root: InstanceId) -> Vec<SlotId> {
        let mut leaves = Leaves::new();
        self.instance_leaves(root, "", &mut leaves);
        leaves.into_values().collect()
    }
}

fn plain(instance: InstanceId) -> Net {
    Net { instance, frozen: false, training: None, with: None }
}
