//! Views: what is done to one sample, applied to a batch as one `map_rows`.

use std::rc::Rc;

use super::Elaborator;
use super::scope::{ScopeId, ScopeKind};
use super::value::{Definition, Env, Given, Record, Template, TemplateKind, Tensor, Value};
use crate::diagnostics::{Code, Diagnostic};
use crate::graph::{Attr, Attrs, Section, Size, Type, Value as GraphValue};
use crate::ops;
use crate::source::Span;
use crate::syntax::Name;

impl Elaborator<'_> {
    /// The parts of a composition, if it is a view: something in it is, and nothing has weights.
    pub fn as_view_chain(&self, parts: &[Value]) -> Option<Vec<Value>> {
        let is_view = |part: &Value| match part {
            Value::Definition(definition) => definition.template.kind == TemplateKind::View,
            Value::Template(template) => template.kind == TemplateKind::View,
            Value::Chain(parts) => self.as_view_chain(parts).is_some(),
            _ => false,
        };
        let has_weights = |part: &Value| matches!(part, Value::Net(_));
        (parts.iter().any(is_view) && !parts.iter().any(has_weights)).then(|| parts.to_vec())
    }

    /// `view strong = …`: the composition under a name, which keys its draws.
    pub fn named_view(&mut self, value: Value, name: &Name) -> Value {
        let parts = match self.default_template(value, name.span) {
            Value::Chain(parts) => parts.as_ref().clone(),
            value @ (Value::Definition(_) | Value::Function(_) | Value::Partial(_) | Value::Builtin(_)) => vec![value],
            value @ (Value::List(_) | Value::Error) => return value,
            other => return self.wrong_kind(&other, "a view", name.span),
        };
        let env = Env::module(self.modules.entry);
        env.bind("parts", Value::list(parts));
        let template = Template {
            kind: TemplateKind::View,
            name: name.text.clone(),
            params: Vec::new(),
            inputs: Vec::new(),
            result: None,
            body: std::sync::Arc::new(crate::syntax::Block { statements: Vec::new(), span: name.span }),
            env: env.clone(),
        };
        Value::Definition(Rc::new(Definition { template: Rc::new(template), env, frozen: false }))
    }

    /// Applies views one after the other: to a sample inside a view, to every row of a batch elsewhere.
    pub fn apply_view(&mut self, parts: &[Value], given: Vec<Given>, span: Span) -> Value {
        let name = view_name(parts);
        let segment = self.ordinal(&name);
        if let Some(top) = self.scope_stack.last()
            && self.scopes[top.0].kind == ScopeKind::Sample
        {
            return self.in_path(segment, |this| this.apply_parts(parts, given, span));
        }
        if self.is_one_sample(parts, &given) {
            return self.in_path(segment, |this| this.apply_parts(parts, given, span));
        }
        let mut samples = Vec::new();
        for argument in &given {
            match self.batch_tensor(&argument.value, &name, argument.span) {
                Some(tensor) => samples.push((tensor, argument)),
                None => return Value::Error,
            }
        }
        let Some((first, _)) = samples.first() else {
            return self.fail(
                Code::ArgumentCount,
                span,
                format!("the view `{name}` needs a sample"),
                "nothing is given",
            );
        };
        let rows = self.ty(*first).shape[0].clone();
        let outer = self.here();
        let region = self.open_scope(ScopeKind::Sample, Some(outer), name.clone());
        self.key(region);
        let mut inner = Vec::new();
        for (tensor, argument) in &samples {
            let ty = self.ty(*tensor);
            let sample = Type::new(ty.dtype, ty.shape[1..].iter().cloned());
            let label = self.scopes[tensor.scope.0].builder.graph().name(tensor.value).to_string();
            let value = self.scope(region).builder.input(label, sample);
            let value = Value::Tensor(Tensor { scope: region, value, weak: false });
            inner.push(Given { name: argument.name.clone(), value, span: argument.span });
        }
        self.scope_stack.push(region);
        let errors = self.diagnostics.len();
        let result = self.in_path(segment, |this| this.apply_parts(parts, inner, span));
        let mut outputs = Vec::new();
        let shape = if self.diagnostics.len() > errors { None } else { self.flatten(&result, span, &mut outputs) };
        self.scope_stack.pop();
        let Some(shape) = shape else { return Value::Error };
        let outputs: Vec<GraphValue> = outputs.into_iter().map(|tensor| tensor.value).collect();
        let builder = std::mem::take(&mut self.scope(region).builder);
        let captured = std::mem::take(&mut self.scope(region).captured);
        let graph = builder.finish(outputs);
        let Some(keys) = self.row_keys(outer, &rows, span) else { return Value::Error };
        let mut operands = vec![keys];
        operands.extend(samples.iter().map(|(tensor, _)| *tensor));
        for tensor in captured {
            // What the view took from outside is the same for every row.
            let mut shape = self.ty(tensor).shape.to_vec();
            shape.insert(0, rows.clone());
            match self.broadcast_to(tensor, &shape, span) {
                Some(tensor) => operands.push(tensor),
                None => return Value::Error,
            }
        }
        let attrs = Attrs::none().with("view", Attr::Text(name.as_str().into()));
        let section = self.scopes[outer.0].builder.section;
        self.scope(outer).builder.section = Section::Loader;
        let applied = self.apply_in(outer, &ops::structure::MAP_ROWS, &operands, attrs, vec![graph], span);
        self.scope(outer).builder.section = section;
        match applied {
            Ok(node) => self.unflatten(&shape, node, &mut 0),
            Err(mismatch) => self.fail_mismatch(*mismatch, span, &[]),
        }
    }

    /// A tensor of the rank that the view asks of a sample is one sample, not a batch.
    fn is_one_sample(&mut self, parts: &[Value], given: &[Given]) -> bool {
        let Some(wanted) = parts.first().and_then(sample_rank) else { return false };
        let Some(first) = given.first() else { return false };
        match self.as_tensor(&first.value, first.span) {
            Some(tensor) => self.ty(tensor).rank() == wanted,
            None => false,
        }
    }

    /// The tensor a view is applied to must be a batch of samples.
    fn batch_tensor(&mut self, value: &Value, name: &str, span: Span) -> Option<Tensor> {
        let tensor = match self.settle(value.clone(), span) {
            Value::Error => return None,
            Value::Tensor(tensor) => tensor,
            other => {
                let what = self.describe(&other);
                self.report(
                    Diagnostic::error(
                        Code::NotAView,
                        format!("the view `{name}` takes a batch of samples, this is {what}"),
                    )
                    .label(span, what),
                );
                return None;
            }
        };
        let ty = self.ty(tensor);
        if ty.rank() == 0 {
            self.report(
                Diagnostic::error(Code::NotAView, format!("the view `{name}` takes a batch of samples, this is {ty}"))
                    .label(span, ty.to_string())
                    .help("give it a field of the batch, such as `image`"),
            );
            return None;
        }
        Some(tensor)
    }

    fn apply_parts(&mut self, parts: &[Value], given: Vec<Given>, span: Span) -> Value {
        let mut given = given;
        for part in parts {
            let value = match part {
                Value::Definition(definition) => match named_parts(definition) {
                    Some(parts) => self.apply_parts(&parts, given, span),
                    None => self.call_view_body(definition, given, span),
                },
                Value::Chain(parts) => self.apply_parts(parts, given, span),
                other => {
                    let other = self.default_template(other.clone(), span);
                    self.call(other, given, span, span)
                }
            };
            if value.is_error() {
                return Value::Error;
            }
            given = vec![Given { name: None, value, span }];
        }
        given.pop().map_or(Value::None, |given| given.value)
    }

    fn call_view_body(&mut self, definition: &Rc<Definition>, given: Vec<Given>, span: Span) -> Value {
        let template = definition.template.clone();
        let env = definition.env.child();
        for (argument, param) in given.iter().zip(&template.inputs) {
            if !self.sample_fits(argument, param, &template.name) {
                return Value::Error;
            }
        }
        if !self.bind_arguments(&template.name, &template.inputs, given, &env, span) {
            return Value::Error;
        }
        let segment = self.ordinal(&template.name);
        self.in_call(&template.name.clone(), span, |this| {
            this.in_path(segment, |this| this.block(&template.body, &env))
        })
    }

    /// A sample of another rank than the view asks for is a mistake of kind, not of size.
    fn sample_fits(&mut self, argument: &Given, param: &crate::syntax::Param, view: &str) -> bool {
        let Value::Tensor(tensor) = &argument.value else { return true };
        let ty = self.ty(*tensor);
        let Some(crate::syntax::TypeExpr { kind: crate::syntax::TypeKind::Tensor { sizes, .. }, .. }) = &param.ty
        else {
            return true;
        };
        let open = sizes.iter().any(|size| matches!(size, crate::syntax::SizeExpr::Rest(_)));
        if open || sizes.len() == ty.rank() {
            return true;
        }
        let text = param.ty.as_ref().map(|ty| self.sources.text(ty.span).to_string()).unwrap_or_default();
        self.report(
            Diagnostic::error(Code::NotAView, format!("the view `{view}` takes samples {text}, this sample is {ty}"))
                .label(argument.span, format!("one sample is {ty}"))
                .help("give it a field of that kind, such as a picture"),
        );
        false
    }

    /// One key for each row: the epoch's key and the record's id, or the step's key and the row's number.
    fn row_keys(&mut self, scope: ScopeId, rows: &Size, span: Span) -> Option<Tensor> {
        let feed = self.scopes[scope.0].feeds.iter().position(|feed| Size::symbol(feed.symbol.clone()) == *rows);
        let section = std::mem::replace(&mut self.scope(scope).builder.section, Section::Loader);
        let (key, ids) = match feed {
            Some(feed) => (self.epoch_key(scope), self.feed_ids(scope, feed)),
            None => {
                let key = self.key(scope);
                let attrs = Attrs::none().with("size", Attr::Size(rows.clone()));
                let ids = self.scope(scope).builder.apply(&ops::structure::IOTA, &[], attrs).ok()?;
                (key, ids)
            }
        };
        let operands = [key, ids].map(|value| Tensor { scope, value, weak: false });
        let keys = self.apply_in(scope, &ops::random::FOLD_INDEX, &operands, Attrs::none(), Vec::new(), span);
        self.scope(scope).builder.section = section;
        keys.ok()
    }

    /// The tensors of a view's result, and the result with places for them.
    pub(super) fn flatten(&mut self, value: &Value, span: Span, outputs: &mut Vec<Tensor>) -> Option<Value> {
        Some(match self.settle(value.clone(), span) {
            Value::List(items) => {
                let items: Option<Vec<Value>> = items.iter().map(|item| self.flatten(item, span, outputs)).collect();
                Value::list(items?)
            }
            Value::Record(record) => {
                let mut fields = Record::new();
                for (key, item) in record.iter() {
                    let item = self.flatten(item, span, outputs)?;
                    fields.insert(key.clone(), item);
                }
                Value::Record(Rc::new(fields))
            }
            Value::Error => return None,
            other => {
                let Some(tensor) = self.as_tensor(&other, span) else {
                    self.wrong_kind(&other, "a tensor", span);
                    return None;
                };
                let here = self.here();
                let value = self.import(tensor, here).ok()?;
                let tensor = Tensor { scope: here, value, weak: false };
                outputs.push(tensor);
                Value::Tensor(tensor)
            }
        })
    }

    pub(super) fn unflatten(&self, shape: &Value, node: Tensor, next: &mut u16) -> Value {
        match shape {
            Value::List(items) => Value::list(items.iter().map(|item| self.unflatten(item, node, next)).collect()),
            Value::Record(record) => Value::Record(Rc::new(
                record.iter().map(|(key, item)| (key.clone(), self.unflatten(item, node, next))).collect(),
            )),
            _ => {
                let value = GraphValue { node: node.value.node, out: *next };
                *next += 1;
                Value::Tensor(Tensor { value, weak: false, ..node })
            }
        }
    }
}

fn view_name(parts: &[Value]) -> String {
    match parts {
        [Value::Definition(definition)] => definition.template.name.to_string(),
        _ => "view".into(),
    }
}

/// The rank that a view asks of its sample, where its signature says it.
fn sample_rank(part: &Value) -> Option<usize> {
    let definition = match part {
        Value::Definition(definition) => definition.template.clone(),
        Value::Template(template) => template.clone(),
        Value::Chain(parts) => return parts.first().and_then(sample_rank),
        _ => return None,
    };
    if let Value::Definition(definition) = part
        && let Some(parts) = named_parts(definition)
    {
        return parts.first().and_then(sample_rank);
    }
    match &definition.inputs.first()?.ty.as_ref()?.kind {
        crate::syntax::TypeKind::Tensor { sizes, .. } => {
            let open = sizes.iter().any(|size| matches!(size, crate::syntax::SizeExpr::Rest(_)));
            (!open).then_some(sizes.len())
        }
        _ => None,
    }
}

/// The parts behind a view that was named as a composition.
fn named_parts(definition: &Definition) -> Option<Vec<Value>> {
    let is_named = definition.template.inputs.is_empty() && definition.template.body.statements.is_empty();
    match definition.env.own("parts") {
        Some(Value::List(parts)) if is_named => Some(parts.as_ref().clone()),
        _ => None,
    }
}
