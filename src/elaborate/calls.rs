//! Calls: functions, curried declarations, compositions, pipes, and the fields of values.

use std::rc::Rc;
use std::sync::Arc;

use super::value::{
    Closure, Definition, Env, Given, InstanceId, Net, Optimizer, Partial, Template, TemplateKind, Value,
};
use super::{CALLS_DEEP, Elaborator, NODES_MADE, ROUNDS_MADE};
use crate::diagnostics::{Code, Diagnostic};
use crate::source::Span;
use crate::syntax::{Argument, Expr, ExprKind, Name};

/// How a function without a name is called in messages.
pub const LAMBDA: &str = "|…|";

impl Elaborator<'_> {
    pub fn call_expr(&mut self, callee: &Expr, arguments: &[Argument], span: Span, env: &Env) -> Value {
        if let ExprKind::Field { base, name } = &callee.kind {
            let receiver = self.expr(base, env);
            if receiver.is_error() {
                self.evaluate_arguments(arguments, env);
                return Value::Error;
            }
            if let Some(result) = self.method(&receiver, name, arguments, span, env) {
                return result;
            }
            let callee_value = self.field(receiver, base.span, name);
            let given = self.evaluate_arguments(arguments, env);
            return self.call(callee_value, given, callee.span, span);
        }
        // The `zip` and `concat` of a comprehension are not written, and mean the compiler's own whatever the file names so.
        let unwritten = callee.span == span;
        let value = match &callee.kind {
            ExprKind::Name(name) if unwritten => super::builtins::find(name).map_or(Value::Error, Value::Builtin),
            _ => self.expr(callee, env),
        };
        if let (true, Value::Builtin(builtin)) = (unwritten && arguments.len() == 1, &value)
            && builtin.name == "concat"
        {
            return self.joined_lists(value, &arguments[0], span, env);
        }
        let given = match &value {
            Value::Builtin(builtin) => match crate::data::source(builtin.name) {
                Some(row) => self.data_arguments(row.params, arguments, env),
                None => self.evaluate_arguments(arguments, env),
            },
            _ => self.evaluate_arguments(arguments, env),
        };
        self.call(value, given, callee.span, span)
    }

    /// The lists of an outer `for`, one behind the other; where they are tensors, their concatenation.
    fn joined_lists(&mut self, concat: Value, lists: &Argument, span: Span, env: &Env) -> Value {
        let value = self.expr(&lists.value, env);
        if let Value::List(parts) = &value
            && parts.iter().all(|part| matches!(part, Value::List(_)))
        {
            let items = parts.iter().flat_map(|part| match part {
                Value::List(items) => items.as_ref().clone(),
                _ => Vec::new(),
            });
            return Value::list(items.collect());
        }
        self.call(concat, vec![Given { name: None, value, span }], span, span)
    }

    /// Calls anything that can be called.
    pub fn call(&mut self, callee: Value, given: Vec<Given>, callee_span: Span, span: Span) -> Value {
        if !self.has_fuel(span) {
            return Value::Error;
        }
        match callee {
            Value::Error => Value::Error,
            Value::Function(closure) => self.call_closure(&closure, given, span),
            Value::Builtin(builtin) => self.call_builtin(builtin, given, span),
            Value::Partial(partial) => self.call_partial(&partial, given, span),
            Value::Chain(parts) => self.call_chain(&parts, given, callee_span, span),
            Value::Template(template) => self.bind_template(&template, given, span),
            Value::Definition(definition) => self.call_definition(&definition, given, callee_span, span),
            Value::Net(net) => self.call_net(&net, given, span),
            other => {
                let what = self.describe(&other);
                self.fail(Code::NotCallable, callee_span, format!("{what} cannot be called"), what)
            }
        }
    }

    fn has_fuel(&mut self, span: Span) -> bool {
        if self.too_deep {
            return false;
        }
        if self.calls.len() >= CALLS_DEEP {
            self.report_depth(span);
            return false;
        }
        if self.nodes_made >= NODES_MADE {
            self.fail_help(
                Code::RecursionLimit,
                span,
                format!("the graph has more than {NODES_MADE} nodes"),
                "too much is unrolled here",
                "loop over tensors instead of unrolling",
            );
            return false;
        }
        self.take_rounds(1, span)
    }

    /// Counts rounds of loops and calls, which need not leave a node behind; false once there are too many.
    pub fn take_rounds(&mut self, count: usize, span: Span) -> bool {
        self.rounds = self.rounds.saturating_add(count);
        if self.rounds <= ROUNDS_MADE {
            return true;
        }
        if !self.too_deep {
            let calls = self.calls.clone();
            self.calls.truncate(3);
            self.fail_help(
                Code::RecursionLimit,
                span,
                "compiling takes more than 5,000,000 calls and rounds of loops",
                "too much is unrolled here",
                "do with fewer rounds, or compute with tensors instead of a loop",
            );
            self.calls = calls;
        }
        // Whatever runs is left at once, and what comes after has as much to spend again.
        self.too_deep = !self.calls.is_empty();
        self.rounds = 0;
        false
    }

    /// Calls that go too deep: what calls itself is what was called most often.
    fn report_depth(&mut self, span: Span) {
        let calls = std::mem::take(&mut self.calls);
        let count = |name: &str| calls.iter().filter(|frame| frame.callee == name).count();
        let most = calls.iter().map(|frame| count(&frame.callee)).max().unwrap_or(0);
        let repeated = calls.iter().find(|frame| count(&frame.callee) == most).map(|frame| frame.callee.clone());
        let repeated = repeated.unwrap_or_default();
        let place = calls.iter().rfind(|frame| frame.callee == repeated).map_or(span, |frame| frame.span);
        // The chain would repeat itself; its beginning tells enough.
        self.calls = calls[..calls.len().min(3)].to_vec();
        self.fail_help(
            Code::RecursionLimit,
            place,
            format!("calls of `{repeated}` go more than {CALLS_DEEP} deep"),
            "calls itself again here",
            "end the recursion with an `if` on a static condition; a `for` may have more rounds",
        );
        self.calls = calls;
        self.too_deep = true;
    }

    pub fn call_closure(&mut self, closure: &Rc<Closure>, given: Vec<Given>, span: Span) -> Value {
        let env = closure.env.child();
        if !self.bind_arguments(&closure.name, &closure.params, given, &env, span) {
            return Value::Error;
        }
        let closure = closure.clone();
        let run = |this: &mut Self| {
            let value =
                if closure.is_flow { this.flow_body(&closure, &env, span) } else { this.block(&closure.body, &env) };
            this.fit_result(&closure, value, &env)
        };
        // A function without a name adds nothing to the place of a draw.
        if &*closure.name == LAMBDA {
            return self.in_call(LAMBDA, span, run);
        }
        let segment = self.ordinal(&closure.name);
        self.in_call(&closure.name.clone(), span, |this| this.in_path(segment, run))
    }

    fn fit_result(&mut self, closure: &Closure, value: Value, env: &Env) -> Value {
        match &closure.result {
            Some(ty) => {
                let place = closure.body.statements.last().map_or(closure.body.span, |last| last.span);
                self.fit(ty, value, env, &mut super::signatures::Bound::default(), place)
            }
            None => value,
        }
    }

    fn call_partial(&mut self, partial: &Partial, given: Vec<Given>, span: Span) -> Value {
        let arguments = given.into_iter().chain(partial.arguments.iter().cloned()).collect();
        self.call(partial.callee.clone(), arguments, partial.callee_span, span)
    }

    fn call_chain(&mut self, parts: &[Value], given: Vec<Given>, callee_span: Span, span: Span) -> Value {
        if let Some(parts) = self.as_view_chain(parts) {
            return self.apply_view(&parts, given, span);
        }
        let mut given = given;
        for part in parts {
            let value = self.call(part.clone(), given, callee_span, span);
            given = vec![Given { name: None, value, span }];
        }
        given.pop().map_or(Value::None, |given| given.value)
    }

    /// Settings of a `module`, `view` or `optimizer`.
    fn bind_template(&mut self, template: &Rc<Template>, given: Vec<Given>, span: Span) -> Value {
        let env = template.env.child();
        env.mark_settings();
        if !self.bind_arguments(&template.name, &template.params, given, &env, span) {
            return Value::Error;
        }
        let definition = Rc::new(Definition { template: template.clone(), env, frozen: false });
        match template.kind {
            TemplateKind::Optimizer => {
                self.optimizers += 1;
                Value::Optimizer(Rc::new(Optimizer { definition, id: self.optimizers }))
            }
            _ => Value::Definition(definition),
        }
    }

    fn call_definition(
        &mut self,
        definition: &Rc<Definition>,
        given: Vec<Given>,
        callee_span: Span,
        span: Span,
    ) -> Value {
        match definition.template.kind {
            TemplateKind::View => self.apply_view(&[Value::Definition(definition.clone())], given, span),
            TemplateKind::Optimizer => self.fail_help(
                Code::NotCallable,
                callee_span,
                "an optimizer is not called",
                "an optimizer",
                "name it after `using` in a `minimize`",
            ),
            TemplateKind::Module => match self.anonymous_child(definition, span) {
                Some(net) => self.call_net(&net, given, span),
                None => {
                    let name = &definition.template.name;
                    self.fail_help(
                        Code::NotAllowedHere,
                        callee_span,
                        format!("`{name}(…)` is a definition, it has no weights yet"),
                        "applied outside a net",
                        format!("name it: `net {name} = {name}(…)`"),
                    )
                }
            },
        }
    }

    /// Runs a module's body on its instance.
    pub fn call_instance(
        &mut self,
        id: InstanceId,
        definition: &Rc<Definition>,
        given: Vec<Given>,
        span: Span,
    ) -> Value {
        let template = definition.template.clone();
        let env = definition.env.child();
        if !self.bind_arguments(&template.name, &template.inputs, given, &env, span) {
            return Value::Error;
        }
        let segment = self.ordinal(&template.name);
        self.in_call(&template.name.clone(), span, |this| {
            this.in_path(segment, |this| {
                this.enter_module(id);
                let value = this.block(&template.body, &env);
                this.leave_module();
                match &template.result {
                    Some(ty) => {
                        let place = template.body.statements.last().map_or(template.body.span, |last| last.span);
                        this.fit(ty, value, &env, &mut super::signatures::Bound::default(), place)
                    }
                    None => value,
                }
            })
        })
    }

    /// `left |> right`: application when `left` is a value, composition when it is something to call.
    pub fn pipe(&mut self, left: &Expr, right: &Expr, span: Span, env: &Env) -> Value {
        let value = self.expr(left, env);
        let stage = self.pipe_stage(right, env);
        if value.is_error() || stage.is_error() {
            return Value::Error;
        }
        if is_callable(&value) {
            let mut parts = chain_parts(value);
            parts.extend(chain_parts(stage));
            return Value::Chain(Rc::new(parts));
        }
        let stage = self.default_template(stage, right.span);
        self.call(stage, vec![Given { name: None, value, span: left.span }], right.span, span)
    }

    /// The right side of `|>`: a call that lacks exactly its leading argument waits for it.
    fn pipe_stage(&mut self, right: &Expr, env: &Env) -> Value {
        let ExprKind::Call { callee, arguments } = &right.kind else { return self.expr(right, env) };
        if matches!(callee.kind, ExprKind::Field { .. }) {
            return self.expr(right, env);
        }
        let callee_value = self.expr(callee, env);
        let given = self.evaluate_arguments(arguments, env);
        let waits = match &callee_value {
            Value::Builtin(_) => true,
            Value::Function(closure) => lacks_leading(closure, &given),
            _ => false,
        };
        if waits {
            let partial = Partial { callee: callee_value, callee_span: callee.span, arguments: given };
            return Value::Partial(Rc::new(partial));
        }
        self.call(callee_value, given, callee.span, right.span)
    }

    /// A module or view named without its settings has its defaults.
    pub fn default_template(&mut self, value: Value, span: Span) -> Value {
        match value {
            Value::Template(template) if template.kind != TemplateKind::Optimizer => {
                self.bind_template(&template, Vec::new(), span)
            }
            other => other,
        }
    }

    /// `value.name` without a call.
    pub fn field(&mut self, value: Value, span: Span, name: &Name) -> Value {
        let text = &*name.text;
        match (&value, text) {
            (Value::Error, _) => Value::Error,
            (Value::Record(record), _) => match record.get(text) {
                Some(value) => value.clone(),
                None => {
                    let known: Vec<Arc<str>> = record.keys().cloned().collect();
                    self.unknown_field("the record", text, name.span, known.iter().map(|n| &**n))
                }
            },
            (Value::Clock, _) => self.clock_field(text, name.span),
            (Value::Net(net), _) => self.net_field(net.clone(), name),
            (Value::Chain(_) | Value::List(_), "weights" | "state") => self.group_field(&value, name),
            (Value::Chain(_), "infer") => self.infer(value),
            (Value::Tree(tree), _) => self.tree_field(tree.clone(), name),
            (Value::Data(data), _) => self.data_field(data.clone(), name),
            (Value::Split(split), _) => self.split_field(split.clone(), name),
            (Value::Range(ends), "start") => ends.0.clone(),
            (Value::Range(ends), "end") => ends.1.clone(),
            (Value::Namespace(module), _) => match self.global(*module, &name.text, name.span) {
                Some(value) => value,
                None => {
                    if let Some(fault) = self.not_importable(*module, &name.text, name.span) {
                        return fault;
                    }
                    let known: Vec<Arc<str>> = self.modules.modules[*module].names.keys().cloned().collect();
                    self.unknown_field("the file", text, name.span, known.iter().map(|n| &**n))
                }
            },
            (Value::List(_), "T") => match self.as_tensor(&value, span) {
                Some(tensor) => self.transpose_last(tensor, span),
                None => Value::Error,
            },
            (Value::Tensor(_) | Value::Cell(_), "T") => {
                let settled = self.settle(value, span);
                match settled {
                    Value::Tensor(tensor) => self.transpose_last(tensor, span),
                    other => other,
                }
            }
            (Value::Tensor(_) | Value::Cell(_), _) => {
                let what = self.describe(&value);
                self.unknown_field(&what, text, name.span, ["T"])
            }
            (other, _) => {
                let what = self.describe(other);
                self.unknown_field(&what, text, name.span, [])
            }
        }
    }

    /// Calls that look like `value.name(…)` and are not a field that happens to be callable.
    fn method(
        &mut self,
        receiver: &Value,
        name: &Name,
        arguments: &[Argument],
        span: Span,
        env: &Env,
    ) -> Option<Value> {
        match (receiver, &*name.text) {
            (Value::Net(net), "with") => {
                let given = self.evaluate_arguments(arguments, env);
                Some(self.net_with(net.clone(), given, span))
            }
            (Value::Chain(_) | Value::Net(_), "infer") => {
                let given = self.evaluate_arguments(arguments, env);
                let net = self.infer(receiver.clone());
                Some(self.call(net, given, name.span, span))
            }
            (Value::Data(data), _) if self.data_has_field(data, &name.text) => None,
            (Value::Data(_) | Value::Split(_), _) => {
                Some(self.data_method(receiver.clone(), name, arguments, span, env))
            }
            (Value::Optimizer(_), "update") => {
                let headline = "`update` of an optimizer is not executable yet";
                Some(self.fail(Code::NotYet, name.span, headline, "a look-ahead value"))
            }
            _ => None,
        }
    }

    /// The same net, forced into inference mode.
    fn infer(&mut self, value: Value) -> Value {
        match value {
            Value::Net(net) => Value::Net(Net { training: Some(false), ..net }),
            Value::Chain(parts) => Value::Chain(Rc::new(parts.iter().cloned().map(|part| self.infer(part)).collect())),
            other => other,
        }
    }

    pub fn need_static_text(&mut self, value: &Value, span: Span) -> Option<Arc<str>> {
        match value {
            Value::Text(text) => Some(text.clone()),
            Value::Error => None,
            other => {
                let what = self.describe(other);
                self.report(
                    Diagnostic::error(Code::TypeMismatch, format!("a text is needed, this is {what}"))
                        .label(span, what),
                );
                None
            }
        }
    }
}

fn chain_parts(value: Value) -> Vec<Value> {
    match value {
        Value::Chain(parts) => parts.as_ref().clone(),
        other => vec![other],
    }
}

/// Something that waits for an input: on the left of `|>` it composes.
pub fn is_callable(value: &Value) -> bool {
    match value {
        Value::Function(_)
        | Value::Builtin(_)
        | Value::Partial(_)
        | Value::Chain(_)
        | Value::Definition(_)
        | Value::Net(_) => true,
        Value::Template(template) => template.kind != TemplateKind::Optimizer,
        _ => false,
    }
}

/// The parameters without a default that the arguments leave open are exactly one, once the leading one is skipped.
fn lacks_leading(closure: &Closure, given: &[Given]) -> bool {
    let named =
        |param: &crate::syntax::Param| given.iter().any(|g| g.name.as_ref().is_some_and(|n| n.text == param.name.text));
    let positional = given.iter().filter(|g| g.name.is_none()).count();
    let open: Vec<_> = closure.params.iter().filter(|param| !named(param)).collect();
    open.iter().skip(positional).any(|param| param.default.is_none())
        || (open.len() > positional
            && open.first().is_some_and(|param| param.default.is_none())
            && positional < required(&open))
}

fn required(params: &[&crate::syntax::Param]) -> usize {
    params.iter().filter(|param| param.default.is_none()).count()
}
