//! Arguments to parameters: by position, then by name, then by default.

use super::Elaborator;
use super::signatures::Bound;
use super::value::{Env, Given, Value};
use crate::diagnostics::{Code, Diagnostic};
use crate::source::Span;
use crate::syntax::{Argument, Expr, ExprKind, Name, Param};

impl Elaborator<'_> {
    pub fn evaluate_arguments(&mut self, arguments: &[Argument], env: &Env) -> Vec<Given> {
        let mut given = Vec::new();
        for argument in arguments {
            let (name, span) = (argument.name.clone(), argument.value.span);
            let value = self.expr(&argument.value, env);
            if argument.spread {
                self.spread(value, span, &mut given);
            } else {
                given.push(Given { name, value, span });
            }
        }
        given
    }

    /// `..value`: the entries of a record by name, the items of a list by position.
    fn spread(&mut self, value: Value, span: Span, given: &mut Vec<Given>) {
        match value {
            Value::Record(record) => given.extend(record.iter().map(|(name, value)| Given {
                name: Some(Name { text: name.clone(), span }),
                value: value.clone(),
                span,
            })),
            Value::List(items) => {
                given.extend(items.iter().map(|value| Given { name: None, value: value.clone(), span }))
            }
            Value::Error => given.push(Given { name: None, value: Value::Error, span }),
            other => {
                self.wrong_kind(&other, "a record or a list to spread", span);
                given.push(Given { name: None, value: Value::Error, span });
            }
        }
    }

    /// Binds every parameter in `env`; false if something did not fit (reported).
    pub fn bind_arguments(&mut self, callee: &str, params: &[Param], given: Vec<Given>, env: &Env, span: Span) -> bool {
        let mut bound = Bound::default();
        let mut slots: Vec<Option<Given>> = params.iter().map(|_| None).collect();
        let mut fits = true;
        let mut next = 0;
        let count = given.iter().filter(|g| g.name.is_none()).count();
        for argument in given {
            let at = match &argument.name {
                Some(name) => match params.iter().position(|param| param.name.text == name.text) {
                    Some(at) => at,
                    None => {
                        let known: Vec<_> = params.iter().map(|param| &*param.name.text).collect();
                        self.unknown_argument(callee, &name.text, name.span, known);
                        fits = false;
                        continue;
                    }
                },
                None => {
                    next += 1;
                    next - 1
                }
            };
            if at >= params.len() {
                self.too_many(callee, params.len(), count, argument.span, span);
                return false;
            }
            if slots[at].is_some() {
                let name = &params[at].name.text;
                self.fail_help(
                    Code::ArgumentCount,
                    argument.span,
                    format!("`{name}` of `{callee}` is given twice"),
                    "again here",
                    "leave one of them out",
                );
                fits = false;
                continue;
            }
            slots[at] = Some(argument);
        }
        for (param, slot) in params.iter().zip(slots) {
            fits &= self.bind_param(callee, param, slot, env, &mut bound, span);
        }
        fits
    }

    fn too_many(&mut self, callee: &str, takes: usize, given: usize, at: Span, span: Span) {
        let headline = format!("`{callee}` takes {}, {given} are given", arguments(takes));
        self.report(
            Diagnostic::error(Code::ArgumentCount, headline)
                .label(at, "one too many")
                .label(span, "this call")
                .help("leave it out"),
        );
    }

    fn bind_param(
        &mut self,
        callee: &str,
        param: &Param,
        given: Option<Given>,
        env: &Env,
        bound: &mut Bound,
        span: Span,
    ) -> bool {
        let (value, place) = match (given, &param.default) {
            (Some(given), _) => (given.value, given.span),
            (None, Some(default)) => {
                let value = self.expr(default, env);
                env.bind(param.name.text.clone(), value);
                // A default may be `none` whatever the type says.
                return true;
            }
            (None, None) => {
                let name = &param.name.text;
                self.report(
                    Diagnostic::error(Code::ArgumentCount, format!("`{callee}` needs `{name}`"))
                        .label(span, format!("`{name}` is not given"))
                        .help(format!("add `{name}: …`, or give it by position")),
                );
                env.bind(param.name.text.clone(), Value::Error);
                return false;
            }
        };
        let optional = matches!(&param.default, Some(Expr { kind: ExprKind::Name(name), .. }) if &**name == "none");
        let value = match &param.ty {
            Some(_) if optional && matches!(value, Value::None) => value,
            Some(ty) => self.fit(ty, value, env, bound, place),
            None => value,
        };
        if let Some(pattern) = &param.pattern {
            self.bind_pattern(pattern, value.clone(), env);
        }
        let fits = !value.is_error();
        env.bind(param.name.text.clone(), value);
        fits
    }
}

fn arguments(count: usize) -> String {
    match count {
        0 => "no arguments".into(),
        1 => "1 argument".into(),
        n => format!("{n} arguments"),
    }
}
