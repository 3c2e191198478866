//! Weights, buffers and states: how they come to be, are read and written.

use std::sync::Arc;

use super::Elaborator;
use super::flow::Draft;
use super::scope::{ScopeId, ScopeKind, SlotState};
use super::value::{Env, InstanceId, Tensor, Value};
use crate::diagnostics::{Code, Diagnostic};
use crate::graph::{Attrs, DType, Type, Value as GraphValue};
use crate::ops;
use crate::program::{Formal, Init, Input, Slot, SlotId, SlotKind};
use crate::source::Span;
use crate::syntax::Cell;

impl Elaborator<'_> {
    /// `weight` or `state` in the body of a module: made at the first call, the same at every later one.
    pub fn module_cell(&mut self, cell: &Cell, kind: SlotKind, env: &Env, span: Span) -> Value {
        let Some(instance) = self.module_stack.last().map(|frame| frame.instance) else { return Value::Error };
        let Some(ty) = self.cell_type(cell, env) else {
            env.bind(cell.name.text.clone(), Value::Error);
            return Value::Error;
        };
        let slot = match self.instance(instance).cells.get(&cell.name.text).copied() {
            Some(slot) => {
                if !self.same_type(slot, &ty, cell.name.span) {
                    return Value::Error;
                }
                slot
            }
            None => match self.new_cell(instance, cell, kind, ty, env, span) {
                Some(slot) => slot,
                None => return Value::Error,
            },
        };
        env.bind(cell.name.text.clone(), Value::Cell(slot));
        Value::None
    }

    fn same_type(&mut self, slot: SlotId, ty: &Type, span: Span) -> bool {
        let have = self.slots[slot.0 as usize].ty.clone();
        if have == *ty {
            return true;
        }
        let path = self.slots[slot.0 as usize].path.clone();
        self.report(
            Diagnostic::error(
                Code::ShapeMismatch,
                format!("shapes do not fit, `{path}` is {have}, this input needs {ty}"),
            )
            .label(span, format!("{ty} here, {have} at its first use"))
            .help("a net keeps the sizes of its first input; use another net for inputs of another size"),
        );
        false
    }

    fn new_cell(
        &mut self,
        instance: InstanceId,
        cell: &Cell,
        kind: SlotKind,
        ty: Type,
        env: &Env,
        span: Span,
    ) -> Option<SlotId> {
        let path = format!("{}.{}", self.instance(instance).path, cell.name.text);
        let init = match self.instance(instance).copy_of {
            Some(original) => {
                let slot = match self.instance(original).cells.get(&cell.name.text).copied() {
                    Some(slot) => slot,
                    None => self.new_cell(original, cell, kind, ty.clone(), env, span)?,
                };
                Init::Copy(slot)
            }
            None => self.draw_init(cell, &ty, env, &path)?,
        };
        let slot = self.new_slot(path, ty, kind, init, span);
        self.own_slot(instance, cell.name.text.clone(), slot);
        Some(slot)
    }

    pub fn own_slot(&mut self, instance: InstanceId, name: Arc<str>, slot: SlotId) {
        let root = self.instance(instance).root;
        self.slot_roots.insert(slot, root);
        self.instances[instance.0].cells.insert(name, slot);
    }

    pub fn new_slot(&mut self, path: String, ty: Type, kind: SlotKind, init: Init, span: Span) -> SlotId {
        let count = self.slot_paths.entry(path.clone()).or_insert(0);
        *count += 1;
        let path = if *count > 1 { format!("{path}-{count}") } else { path };
        let origin = self.origin(span);
        self.slots.push(Slot { path, ty, kind, init, origin });
        SlotId(self.slots.len() as u32 - 1)
    }

    fn cell_type(&mut self, cell: &Cell, env: &Env) -> Option<Type> {
        let (dtype, shape) = match &cell.ty {
            Some(ty) => self.known_sizes(ty, env)?,
            None => (None, Vec::new()),
        };
        if let Some(size) = shape.iter().find(|size| size.as_known().is_none()) {
            self.report(
                Diagnostic::error(Code::WrongTime, format!("`{}` would have the size {size}", cell.name.text))
                    .label(cell.name.span, format!("{size} is not known before the run"))
                    .help("the size of a weight or state cannot depend on the batch"),
            );
            return None;
        }
        Some(Type::new(dtype.unwrap_or(self.float), shape))
    }

    /// The graph that makes a cell's first value from a key.
    fn draw_init(&mut self, cell: &Cell, ty: &Type, env: &Env, path: &str) -> Option<Init> {
        let scope = self.open_scope(ScopeKind::Init, None, path);
        self.key(scope);
        self.scope_stack.push(scope);
        // A weight's draw is keyed by its own path, wherever its module is first called.
        let outer = (std::mem::take(&mut self.path), std::mem::replace(&mut self.ordinals, vec![Default::default()]));
        let value = self.cell_value(cell, ty, env);
        (self.path, self.ordinals) = outer;
        self.scope_stack.pop();
        let value = self.import(value?, scope);
        match value {
            Ok(value) => {
                let builder = std::mem::take(&mut self.scope(scope).builder);
                Some(Init::Draw(builder.finish(vec![value])))
            }
            Err(why) => {
                self.report_unreachable(why, cell.value.span);
                None
            }
        }
    }

    fn cell_value(&mut self, cell: &Cell, ty: &Type, env: &Env) -> Option<Tensor> {
        let value = self.expr(&cell.value, env);
        let value = if cell.draw { self.draw(value, &ty.shape, cell.value.span) } else { value };
        self.cell_tensor(value, ty, cell.value.span)
    }

    /// A value in the type of a cell: numbers are spread over it.
    pub fn cell_tensor(&mut self, value: Value, ty: &Type, span: Span) -> Option<Tensor> {
        if value.is_error() {
            return None;
        }
        let Some(tensor) = self.as_tensor(&value, span) else {
            self.wrong_kind(&value, "a tensor or a number", span);
            return None;
        };
        let have = self.ty(tensor);
        let free = tensor.weak || self.constant_values(tensor).is_some();
        let tensor = if free || have.dtype == ty.dtype || have.dtype.is_float() && ty.dtype.is_float() {
            self.cast(tensor, ty.dtype, span)
        } else {
            self.fail(
                Code::ElementType,
                span,
                format!("{} elements are needed, this is {have}", ty.dtype.name()),
                have.to_string(),
            );
            return None;
        };
        if have.rank() > ty.rank() || have.rank() > 0 && have.shape != ty.shape {
            self.fail(Code::ShapeMismatch, span, format!("{ty} is needed, this is {have}"), have.to_string());
            return None;
        }
        self.broadcast_to(tensor, &ty.shape, span)
    }

    /// `weight` or `state` at file or flow level.
    pub fn flow_cell(&mut self, cell: &Cell, kind: SlotKind, env: &Env, span: Span) -> Value {
        let name = cell.name.text.clone();
        let (value, ty) = match &cell.ty {
            Some(_) => (None, self.cell_type(cell, env)),
            None => {
                let value = self.expr(&cell.value, env);
                let tensor = self.as_tensor(&value, cell.value.span);
                let ty = tensor.map(|tensor| {
                    let ty = self.ty(tensor);
                    if tensor.weak && ty.dtype == DType::F64 { ty.with_dtype(self.float) } else { ty }
                });
                (Some(value), ty)
            }
        };
        let Some(ty) = ty else {
            env.bind(name, Value::Error);
            return Value::Error;
        };
        let path = self.own_path(&name);
        let init = if cell.draw {
            self.draw_init(cell, &ty, env, &path)
        } else {
            let value = match value {
                Some(value) => value,
                None => self.expr(&cell.value, env),
            };
            self.cell_tensor(value, &ty, cell.value.span).map(|tensor| self.flow_init(tensor, &path))
        };
        let Some(init) = init else {
            env.bind(name, Value::Error);
            return Value::Error;
        };
        let slot = self.new_slot(path, ty, kind, init, span);
        self.end_compute();
        self.push_draft(Draft::DeclareSlots(vec![slot]));
        env.bind(name, Value::Cell(slot));
        Value::None
    }

    fn flow_init(&mut self, tensor: Tensor, path: &str) -> Init {
        if let Some(values) = self.constant_values(tensor) {
            let ty = self.ty(tensor);
            return self.constant_init(&values, ty, path);
        }
        Init::Flow(self.export(tensor))
    }

    pub fn constant_init(&mut self, values: &[f64], ty: Type, path: &str) -> Init {
        let scope = self.open_scope(ScopeKind::Init, None, path);
        self.key(scope);
        let value = self.constant_in(scope, values, ty).value;
        let builder = std::mem::take(&mut self.scope(scope).builder);
        Init::Draw(builder.finish(vec![value]))
    }

    /// What a slot holds at this point.
    pub fn read_slot(&mut self, slot: SlotId, span: Span) -> Tensor {
        if let Some(tensor) = self.overrides.iter().rev().find_map(|given| given.get(&slot)) {
            return *tensor;
        }
        let scope = self.slot_scope();
        let value = self.slot_value(scope, slot);
        let tensor = Tensor { scope, value, weak: false };
        if self.frozen && self.slots[slot.0 as usize].kind == SlotKind::Weight {
            return self.stop(tensor, span);
        }
        tensor
    }

    /// The scope that owns slots here: the step, or the flow statement.
    fn slot_scope(&mut self) -> ScopeId {
        let step = self.scope_stack.iter().copied().find(|id| self.scopes[id.0].kind == ScopeKind::Step);
        step.unwrap_or_else(|| {
            if self.scope_stack.is_empty() {
                return self.here();
            }
            let inner = std::mem::take(&mut self.scope_stack);
            let scope = self.here();
            self.scope_stack = inner;
            scope
        })
    }

    fn slot_value(&mut self, scope: ScopeId, slot: SlotId) -> GraphValue {
        if let Some(state) = self.scopes[scope.0].current.get(&slot) {
            return state.value;
        }
        let value = self.slot_input(scope, slot);
        self.scope(scope).current.insert(slot, SlotState { read: Some(value), value, written: None, by_module: false });
        value
    }

    fn slot_input(&mut self, scope: ScopeId, slot: SlotId) -> GraphValue {
        let Slot { path, ty, kind, .. } = self.slots[slot.0 as usize].clone();
        let formal = Formal(self.scopes[scope.0].formals.len());
        self.scope(scope).formals.push((slot, kind));
        self.add_input(scope, &path, ty, Input::Slot(formal))
    }

    pub fn formal_of(&mut self, scope: ScopeId, slot: SlotId) -> Formal {
        if let Some(at) = self.scopes[scope.0].formals.iter().position(|(have, _)| *have == slot) {
            return Formal(at);
        }
        self.slot_input(scope, slot);
        Formal(self.scopes[scope.0].formals.len() - 1)
    }

    /// `slot <- value`: seen by everything after this line; no gradient flows through it.
    pub fn write_slot(&mut self, slot: SlotId, tensor: Tensor, span: Span) {
        let scope = self.slot_scope();
        if self.scope_stack.last().is_some_and(|top| self.scopes[top.0].kind == ScopeKind::Sample) {
            self.fail(Code::NotAllowedHere, span, "a view changes nothing", "written inside a view");
            return;
        }
        if self.scope_stack.last().is_some_and(|top| self.scopes[top.0].kind == ScopeKind::Round) {
            self.fail_help(
                Code::NotAllowedHere,
                span,
                format!("`{}` is written inside a `scan`", self.slots[slot.0 as usize].path),
                "written in every round",
                "carry the value from round to round, and write it behind the loop",
            );
            return;
        }
        let stopped = self.stop(tensor, span);
        let value = match self.import(stopped, scope) {
            Ok(value) => value,
            Err(why) => return self.report_unreachable(why, span),
        };
        let read = self.scopes[scope.0].current.get(&slot).and_then(|state| state.read);
        let by_module = !self.module_stack.is_empty();
        self.scope(scope).current.insert(slot, SlotState { read, value, written: Some(span), by_module });
    }

    pub fn stop(&mut self, tensor: Tensor, span: Span) -> Tensor {
        match self.apply(&ops::structure::STOP, &[tensor], Attrs::none(), span) {
            Ok(stopped) => Tensor { weak: tensor.weak, ..stopped },
            Err(_) => tensor,
        }
    }

    /// The path of a name declared here: below the flows that are running.
    pub fn own_path(&mut self, name: &str) -> String {
        let scope: Vec<&str> = self.flow_names.iter().map(String::as_str).collect();
        if scope.is_empty() { name.to_string() } else { format!("{}.{name}", scope.join(".")) }
    }

    pub fn slot_name(&self, slot: SlotId) -> Arc<str> {
        self.slots[slot.0 as usize].path.as_str().into()
    }
}
