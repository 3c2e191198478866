//! Types in signatures: what an argument must be, and the sizes that it binds.

use std::collections::HashMap;
use std::sync::Arc;

use super::Elaborator;
use super::value::{Env, Tensor, Value};
use crate::diagnostics::{Code, Diagnostic, nearest};
use crate::graph::{DType, Size};
use crate::source::Span;
use crate::syntax::{ExprKind, Name, SizeExpr, StatementKind, TypeExpr, TypeKind};

/// Where each size name of a signature was bound: by which argument, and what it says.
#[derive(Default)]
pub struct Bound {
    places: HashMap<Arc<str>, (Span, String)>,
}

impl Elaborator<'_> {
    /// Holds a value against a type; gives it back in the form the type asks for.
    pub fn fit(&mut self, ty: &TypeExpr, value: Value, env: &Env, bound: &mut Bound, span: Span) -> Value {
        if value.is_error() {
            return Value::Error;
        }
        match &ty.kind {
            TypeKind::Name(name) => self.fit_name(name, ty.span, value, env, bound, span),
            TypeKind::Tensor { element, sizes, .. } => {
                self.fit_tensor(element.as_ref(), sizes, value, env, bound, span)
            }
            TypeKind::Bounded { .. } => match self.settle(value, span) {
                value @ (Value::Int(_) | Value::Size(_) | Value::Tensor(_)) => value,
                other => self.wrong_kind(&other, "a whole number", span),
            },
            TypeKind::Words(words) => match &value {
                Value::Text(text) if words.iter().any(|word| word.text == *text) => value,
                Value::Text(text) => {
                    let all = words.iter().map(|word| format!("\"{}\"", word.text)).collect::<Vec<_>>().join(", ");
                    let help = match nearest(text, words.iter().map(|word| &*word.text)) {
                        Some(word) => format!("did you mean \"{word}\"?"),
                        None => format!("choose one of {all}"),
                    };
                    self.fail_help(Code::BadValue, span, format!("\"{text}\" is not one of the choices"), all, help)
                }
                other => self.wrong_kind(other, "one of a few words", span),
            },
            TypeKind::Record(fields) => self.fit_record(fields, value, env, bound, span),
            // The fields of a data set's records: checked where the records are read.
            TypeKind::Arrow(..) | TypeKind::Extended { .. } => value,
        }
    }

    fn fit_name(&mut self, name: &str, at: Span, value: Value, env: &Env, bound: &mut Bound, span: Span) -> Value {
        match (name, value) {
            ("int", value @ (Value::Int(_) | Value::Size(_))) => value,
            ("int", value) => match self.settle(value, span) {
                Value::Tensor(tensor) if self.ty(tensor).rank() == 0 && self.ty(tensor).dtype == DType::I64 => {
                    Value::Tensor(tensor)
                }
                other => self.wrong_kind(&other, "a whole number", span),
            },
            ("float", Value::Int(n)) => Value::Float(n as f64),
            ("float", value @ Value::Float(_)) => value,
            ("float", Value::Size(size)) => Value::Tensor(self.size_tensor(&size, span)),
            ("float", Value::Function(closure)) if closure.is_schedule() => Value::Function(closure),
            ("float", value) => match self.settle(value, span) {
                Value::Tensor(tensor) if self.ty(tensor).rank() == 0 => Value::Tensor(tensor),
                other => self.wrong_kind(&other, "a number", span),
            },
            ("bool", value @ Value::Bool(_)) => value,
            ("bool", other) => self.wrong_kind(&other, "a truth value", span),
            ("string" | "text", value @ Value::Text(_)) => value,
            ("string" | "text", other) => self.wrong_kind(&other, "a text", span),
            ("list", value @ Value::List(_)) => value,
            ("list", Value::Range(ends)) => match self.iterate(Value::Range(ends), span) {
                Some(items) => Value::list(items),
                None => Value::Error,
            },
            ("list", other) => self.wrong_kind(&other, "a list", span),
            ("range", value @ Value::Range(_)) => value,
            ("range", other) => self.wrong_kind(&other, "a range such as `0.1..2.0`", span),
            ("quantity", value @ (Value::Quantity(..) | Value::Int(_) | Value::Float(_))) => value,
            ("quantity", other) => self.wrong_kind(&other, "a number or a quantity such as `5 epochs`", span),
            ("record", value @ Value::Record(_)) => value,
            ("record", other) => self.wrong_kind(&other, "a record", span),
            ("any" | "function" | "net" | "view" | "data" | "module" | "flow", value) => value,
            (alias, value) => match self.type_alias(alias, env) {
                Some(ty) => self.fit(&ty, value, env, bound, span),
                None => {
                    const KNOWN: [&str; 14] = [
                        "int", "float", "bool", "string", "list", "range", "quantity", "record", "function", "net",
                        "view", "data", "module", "any",
                    ];
                    let help = nearest(alias, KNOWN)
                        .map_or("a tensor's type is written `[n, d]`".into(), |name| format!("did you mean `{name}`?"));
                    self.fail_help(Code::UnknownName, at, format!("unknown type `{alias}`"), "no such type", help)
                }
            },
        }
    }

    fn type_alias(&self, name: &str, env: &Env) -> Option<TypeExpr> {
        let module = &self.modules.modules[env.module_index()];
        module.file.statements.iter().find_map(|statement| match &statement.kind {
            StatementKind::Type { name: have, ty } if &*have.text == name => Some(ty.clone()),
            _ => None,
        })
    }

    fn fit_record(
        &mut self,
        fields: &[(Name, TypeExpr)],
        value: Value,
        env: &Env,
        bound: &mut Bound,
        span: Span,
    ) -> Value {
        let Value::Record(record) = &value else { return self.wrong_kind(&value, "a record", span) };
        let mut fitted = record.as_ref().clone();
        for (name, ty) in fields {
            let Some(part) = record.get(&name.text) else {
                let known: Vec<Arc<str>> = record.keys().cloned().collect();
                return self.unknown_field("the record", &name.text, span, known.iter().map(|n| &**n));
            };
            let part = self.fit(ty, part.clone(), env, bound, span);
            fitted.insert(name.text.clone(), part);
        }
        Value::Record(Self::rc(fitted))
    }

    fn fit_tensor(
        &mut self,
        element: Option<&Name>,
        sizes: &[SizeExpr],
        value: Value,
        env: &Env,
        bound: &mut Bound,
        span: Span,
    ) -> Value {
        // A number where a scalar is asked for stays a number: it folds and takes the other side's element type.
        if sizes.is_empty() && element.is_none() && matches!(value, Value::Float(_) | Value::Int(_)) {
            return value;
        }
        let Some(tensor) = self.as_tensor(&value, span) else {
            return self.wrong_kind(&value, "a tensor", span);
        };
        let Some(tensor) = self.fit_element(tensor, element, span) else { return Value::Error };
        if self.fit_sizes(sizes, tensor, env, bound, span) { Value::Tensor(tensor) } else { Value::Error }
    }

    fn fit_element(&mut self, tensor: Tensor, element: Option<&Name>, span: Span) -> Option<Tensor> {
        let ty = self.ty(tensor);
        let wanted = match element {
            None if ty.dtype.is_float() => return Some(tensor),
            None => self.float,
            Some(name) => match DType::from_name(&name.text) {
                Some(DType::F32) if ty.dtype == DType::F64 && self.float == DType::F64 => return Some(tensor),
                Some(dtype) => dtype,
                None => {
                    let known = DType::ALL.map(DType::name);
                    let help = nearest(&name.text, known)
                        .map_or(format!("choose one of {}", known.join(", ")), |n| format!("did you mean `{n}`?"));
                    self.fail_help(
                        Code::UnknownName,
                        name.span,
                        format!("unknown element type `{}`", name.text),
                        "no such element type",
                        help,
                    );
                    return None;
                }
            },
        };
        if ty.dtype == wanted {
            return Some(tensor);
        }
        if tensor.weak || (self.constant_values(tensor).is_some() && wanted.is_float() && ty.dtype == DType::I64) {
            return Some(self.cast(tensor, wanted, span));
        }
        let help = match (ty.dtype, wanted) {
            (DType::U8, _) => "pictures become floats through `scale`".to_string(),
            (_, DType::I64) => "`int(x)` makes whole numbers of it".to_string(),
            (_, dtype) if dtype.is_float() => "`float(x)` makes floats of it".to_string(),
            (_, dtype) => format!("`cast(x, \"{}\")` changes the element type", dtype.name()),
        };
        self.fail_help(
            Code::ElementType,
            span,
            format!("{} elements are needed, this is {ty}", wanted.name()),
            ty.to_string(),
            help,
        );
        None
    }

    /// Unifies the written sizes with a tensor's shape.
    fn fit_sizes(&mut self, sizes: &[SizeExpr], tensor: Tensor, env: &Env, bound: &mut Bound, span: Span) -> bool {
        let ty = self.ty(tensor);
        let rest = sizes.iter().position(|size| matches!(size, SizeExpr::Rest(_)));
        let fits = if rest.is_some() { ty.rank() + 1 >= sizes.len() } else { ty.rank() == sizes.len() };
        if !fits {
            let wanted = written(sizes, self.sources);
            let at_least = if rest.is_some() { "at least " } else { "" };
            let count = sizes.len() - usize::from(rest.is_some());
            self.fail(
                Code::ShapeMismatch,
                span,
                format!("a tensor {wanted} is needed, this is {ty}"),
                format!("{ty}: {} sizes, needed are {at_least}{count}", ty.rank()),
            );
            return false;
        }
        let tail = rest.map_or(0, |at| sizes.len() - at - 1);
        for (at, size) in sizes.iter().enumerate() {
            let ok = match (size, rest) {
                (SizeExpr::Rest(name), _) => {
                    let middle = &ty.shape[at..ty.rank() - tail];
                    self.fit_rest(name, middle, &ty.to_string(), env, bound, span)
                }
                (SizeExpr::Size(expr), rest) => {
                    let axis = if rest.is_some_and(|rest| at > rest) { ty.rank() - (sizes.len() - at) } else { at };
                    self.fit_size(expr, &ty.shape[axis].clone(), axis, &ty.to_string(), env, bound, span)
                }
            };
            if !ok {
                return false;
            }
        }
        true
    }

    #[allow(clippy::too_many_arguments)]
    fn fit_size(
        &mut self,
        expr: &crate::syntax::Expr,
        size: &Size,
        axis: usize,
        ty: &str,
        env: &Env,
        bound: &mut Bound,
        span: Span,
    ) -> bool {
        if let ExprKind::Name(name) = &expr.kind
            && env.get_local(name).is_none()
        {
            env.bind(name.clone(), Value::size(size.clone()));
            bound.places.insert(name.clone(), (span, format!("{ty}: `{name}` is {size}")));
            return true;
        }
        let wanted = self.expr(expr, env);
        let Some(wanted) = wanted.as_size() else {
            self.wrong_kind(&wanted, "a size", expr.span);
            return false;
        };
        if wanted == *size {
            return true;
        }
        let headline = format!("shapes do not fit, {wanted} and {size} must be equal");
        let mut diagnostic = Diagnostic::error(Code::ShapeMismatch, headline)
            .label(span, format!("{ty}: {} size is {size}", ordinal(axis)));
        match &expr.kind {
            ExprKind::Name(name) if bound.places.contains_key(name) => {
                let (place, fact) = &bound.places[name];
                if *place != span {
                    diagnostic = diagnostic.label(*place, fact.clone());
                }
                diagnostic.help = Some(format!("both arguments need the same `{name}`"));
            }
            _ => diagnostic = diagnostic.label(expr.span, format!("{wanted} is needed")),
        }
        self.report(diagnostic);
        false
    }

    fn fit_rest(&mut self, name: &Name, sizes: &[Size], ty: &str, env: &Env, bound: &mut Bound, span: Span) -> bool {
        let Some(have) = env.get_local(&name.text) else {
            env.bind(name.text.clone(), Value::list(sizes.iter().cloned().map(Value::size).collect()));
            bound.places.insert(name.text.clone(), (span, ty.to_string()));
            return true;
        };
        let Value::List(items) = &have else { return true };
        let same = items.len() == sizes.len() && items.iter().zip(sizes).all(|(a, b)| a.as_size().as_ref() == Some(b));
        if !same {
            let mut diagnostic =
                Diagnostic::error(Code::ShapeMismatch, format!("shapes do not fit, `{}` differs", name.text))
                    .label(span, ty.to_string());
            if let Some((place, fact)) = bound.places.get(&name.text) {
                diagnostic = diagnostic.label(*place, fact.clone());
            }
            self.report(diagnostic);
        }
        same
    }

    /// The sizes of a type whose names are all known: the shape of a weight or a draw.
    pub fn known_sizes(&mut self, ty: &TypeExpr, env: &Env) -> Option<(Option<DType>, Vec<Size>)> {
        let (element, sizes) = match &ty.kind {
            TypeKind::Tensor { element, sizes, .. } => (element.as_ref(), sizes),
            TypeKind::Name(name) if &**name == "float" => return Some((None, Vec::new())),
            TypeKind::Name(name) if &**name == "int" => return Some((Some(DType::I64), Vec::new())),
            TypeKind::Name(name) if &**name == "bool" => return Some((Some(DType::Bool), Vec::new())),
            _ => {
                self.fail(Code::TypeMismatch, ty.span, "a shape such as `[n, d]` is needed", "not a tensor's type");
                return None;
            }
        };
        let dtype = match element {
            Some(name) => Some(DType::from_name(&name.text).or_else(|| {
                self.fail(
                    Code::UnknownName,
                    name.span,
                    format!("unknown element type `{}`", name.text),
                    "no such type",
                );
                None
            })?),
            None => None,
        };
        let mut shape = Vec::new();
        for size in sizes {
            match size {
                SizeExpr::Size(expr) => {
                    let value = self.expr(expr, env);
                    let Some(size) = value.as_size() else {
                        self.wrong_kind(&value, "a size", expr.span);
                        return None;
                    };
                    if size.as_known().is_some_and(|n| n < 0) {
                        self.fail(
                            Code::BadValue,
                            expr.span,
                            format!("a size is negative: {size}"),
                            format!("is {size}"),
                        );
                        return None;
                    }
                    shape.push(size);
                }
                SizeExpr::Rest(name) => match env.get(&name.text) {
                    Some(Value::List(items)) => shape.extend(items.iter().filter_map(Value::as_size)),
                    _ => {
                        self.fail(
                            Code::UnknownName,
                            name.span,
                            format!("unknown sizes `..{}`", name.text),
                            "not bound",
                        );
                        return None;
                    }
                },
            }
        }
        Some((dtype, shape))
    }
}

pub fn ordinal(axis: usize) -> String {
    match axis {
        0 => "first".into(),
        1 => "second".into(),
        2 => "third".into(),
        3 => "fourth".into(),
        n => format!("{}th", n + 1),
    }
}

fn written(sizes: &[SizeExpr], sources: &crate::source::SourceMap) -> String {
    let sizes = sizes.iter().map(|size| match size {
        SizeExpr::Size(expr) => sources.text(expr.span).to_string(),
        SizeExpr::Rest(name) => format!("..{}", name.text),
    });
    format!("[{}]", sizes.collect::<Vec<_>>().join(", "))
}
