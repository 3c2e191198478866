//! What the compiler itself gives to programs: the primitives under their names, and what needs the compiler's knowledge.
//!
//! Everything else is library code. A row of a table is a builtin; a family file holds its rows and their functions.

mod images;
mod later;
mod learning;
mod lists;
mod math;
mod matrices;
mod reductions;
mod shapes;

use super::Elaborator;
use super::value::{Given, Tensor, Value};
use crate::diagnostics::Code;
use crate::graph::Size;
use crate::source::Span;

/// One builtin.
pub struct Builtin {
    pub name: &'static str,
    /// In order; `?` at the end marks what may be left out, `*` the rest of the positional arguments.
    pub params: &'static [&'static str],
    pub doc: &'static str,
    pub call: fn(&mut Elaborator<'_>, &Args) -> Value,
}

/// Every builtin, by family.
fn families() -> [&'static [Builtin]; 8] {
    [math::ROWS, matrices::ROWS, reductions::ROWS, shapes::ROWS, lists::ROWS, images::ROWS, learning::ROWS, later::ROWS]
}

pub fn find(name: &str) -> Option<&'static Builtin> {
    families().into_iter().flatten().find(|row| row.name == name).or_else(|| source_row(name))
}

/// The names of all builtins, the sources of data among them.
pub fn names() -> Vec<&'static str> {
    let sources = crate::data::sources().iter().map(|row| row.name);
    families().into_iter().flatten().map(|row| row.name).chain(sources).chain(["none", "training", "index"]).collect()
}

/// Name, parameters and a sentence for each builtin, by family.
pub fn documentation() -> Vec<(&'static str, &'static [&'static str], &'static str)> {
    families().into_iter().flatten().map(|row| (row.name, row.params, row.doc)).collect()
}

/// A source of data is called like a function.
fn source_row(name: &str) -> Option<&'static Builtin> {
    static ROWS: std::sync::OnceLock<Vec<Builtin>> = std::sync::OnceLock::new();
    let rows = ROWS.get_or_init(|| {
        let row = |row: &'static crate::data::Entry<crate::data::SourceFn>| Builtin {
            name: row.name,
            params: &["*"],
            doc: row.doc,
            call: |_, _| Value::Error,
        };
        crate::data::sources().iter().map(row).collect()
    });
    rows.iter().find(|row| row.name == name)
}

/// Arguments of a call, by parameter.
pub struct Args {
    pub given: Vec<Option<Given>>,
    /// What `*` took.
    pub rest: Vec<Given>,
    pub span: Span,
}

impl Args {
    pub fn has(&self, at: usize) -> bool {
        self.given.get(at).is_some_and(|given| given.as_ref().is_some_and(|given| !matches!(given.value, Value::None)))
    }

    pub fn value(&self, at: usize) -> Value {
        self.given.get(at).and_then(|given| given.as_ref()).map_or(Value::None, |given| given.value.clone())
    }

    pub fn span_of(&self, at: usize) -> Span {
        self.given.get(at).and_then(|given| given.as_ref()).map_or(self.span, |given| given.span)
    }

    pub fn spans(&self) -> Vec<Span> {
        (0..self.given.len()).map(|at| self.span_of(at)).collect()
    }
}

impl Elaborator<'_> {
    pub fn call_builtin(&mut self, builtin: &'static Builtin, given: Vec<Given>, span: Span) -> Value {
        if given.iter().any(|given| given.value.is_error()) {
            return Value::Error;
        }
        if crate::data::sources().iter().any(|row| row.name == builtin.name) {
            return self.open_source(builtin.name, given, span);
        }
        if later::ROWS.iter().any(|row| row.name == builtin.name) {
            self.not_yet(builtin.name, span);
            return Value::Error;
        }
        let Some(args) = self.builtin_args(builtin, given, span) else { return Value::Error };
        (builtin.call)(self, &args)
    }

    fn builtin_args(&mut self, builtin: &'static Builtin, given: Vec<Given>, span: Span) -> Option<Args> {
        let plain = |param: &'static str| param.trim_end_matches('?');
        let mut args = Args { given: builtin.params.iter().map(|_| None).collect(), rest: Vec::new(), span };
        let mut next = 0;
        for argument in given {
            let at = match &argument.name {
                Some(name) => builtin.params.iter().position(|param| plain(param) == &*name.text),
                None => {
                    next += 1;
                    Some(next - 1)
                }
            };
            match (at, &argument.name) {
                (Some(at), _) if builtin.params.get(at).is_some_and(|param| *param != "*") => {
                    args.given[at] = Some(argument)
                }
                (_, None) if builtin.params.last() == Some(&"*") => args.rest.push(argument),
                (_, Some(name)) => {
                    let known: Vec<&str> =
                        builtin.params.iter().map(|param| plain(param)).filter(|param| *param != "*").collect();
                    self.unknown_argument(builtin.name, &name.text, name.span, known);
                    return None;
                }
                _ => {
                    let takes = builtin.params.len();
                    self.fail(
                        Code::ArgumentCount,
                        argument.span,
                        format!("`{}` takes {takes} arguments", builtin.name),
                        "one too many",
                    );
                    return None;
                }
            }
        }
        for (param, value) in builtin.params.iter().zip(&args.given) {
            if value.is_none() && !param.ends_with('?') && *param != "*" {
                self.fail_help(
                    Code::ArgumentCount,
                    span,
                    format!("`{}` needs `{param}`", builtin.name),
                    format!("`{param}` is not given"),
                    format!("add `{param}: …`, or give it by position"),
                );
                return None;
            }
        }
        Some(args)
    }

    // Arguments in the forms that builtins ask for; each reports what does not fit.

    pub fn tensor_arg(&mut self, args: &Args, at: usize) -> Option<Tensor> {
        let value = args.value(at);
        let tensor = self.as_tensor(&value, args.span_of(at));
        if tensor.is_none() {
            self.wrong_kind(&value, "a tensor", args.span_of(at));
        }
        tensor
    }

    pub fn float_arg(&mut self, args: &Args, at: usize) -> Option<Tensor> {
        let tensor = self.tensor_arg(args, at)?;
        Some(if self.ty(tensor).dtype.is_float() { tensor } else { self.cast(tensor, self.float, args.span_of(at)) })
    }

    pub fn int_arg(&mut self, args: &Args, at: usize, default: i64) -> Option<i64> {
        if !args.has(at) {
            return Some(default);
        }
        let value = args.value(at);
        let found = self.witness_of(&value, args.span_of(at));
        if found.is_none() {
            self.wrong_kind(&value, "a whole number known while compiling", args.span_of(at));
        }
        found
    }

    pub fn number_arg(&mut self, args: &Args, at: usize, default: f64) -> Option<f64> {
        if !args.has(at) {
            return Some(default);
        }
        let value = args.value(at);
        if value.as_number().is_none() {
            self.wrong_kind(&value, "a number known while compiling", args.span_of(at));
        }
        value.as_number()
    }

    pub fn flag_arg(&mut self, args: &Args, at: usize) -> Option<bool> {
        match args.value(at) {
            Value::None => Some(false),
            Value::Bool(flag) => Some(flag),
            other => {
                self.wrong_kind(&other, "true or false", args.span_of(at));
                None
            }
        }
    }

    pub fn size_arg(&mut self, args: &Args, at: usize) -> Option<Size> {
        let value = args.value(at);
        let size = value.as_size();
        if size.is_none() {
            self.wrong_kind(&value, "a size", args.span_of(at));
        }
        size
    }

    pub fn sizes_of(&mut self, value: &Value, span: Span) -> Option<Vec<Size>> {
        let items = match value {
            Value::List(items) => items.as_ref().clone(),
            other => vec![other.clone()],
        };
        let known = items.iter().filter_map(|item| item.as_size()?.as_known());
        // Bytes are counted in 63 bits, and no element takes more than eight.
        if known.filter(|n| *n > 0).try_fold(8i64, i64::checked_mul).is_none() {
            let fact = "more elements than 60 bits can count";
            let headline = "the sizes of a tensor multiply to too much";
            self.fail_help(Code::SizeOverflow, span, headline, fact, "take smaller sizes");
            return None;
        }
        items
            .iter()
            .map(|item| match item.as_size() {
                Some(size) if size.as_known().is_none_or(|n| n >= 0) => Some(size),
                Some(size) => {
                    self.fail(Code::BadValue, span, format!("a size is negative: {size}"), "here");
                    None
                }
                None => {
                    self.wrong_kind(item, "a size", span);
                    None
                }
            })
            .collect()
    }

    pub fn ints_arg(&mut self, args: &Args, at: usize, default: &[i64]) -> Option<Vec<i64>> {
        if !args.has(at) {
            return Some(default.to_vec());
        }
        let span = args.span_of(at);
        match args.value(at) {
            Value::List(items) => items
                .iter()
                .map(|item| match self.witness_of(item, span) {
                    Some(n) => Some(n),
                    None => {
                        self.wrong_kind(item, "a whole number", span);
                        None
                    }
                })
                .collect(),
            Value::Int(n) => Some(vec![n; default.len().max(1)]),
            other => {
                self.wrong_kind(&other, "a list of whole numbers", span);
                None
            }
        }
    }

    /// An axis counted from the front, negative ones from the back.
    pub fn axis_of(&mut self, axis: i64, rank: usize, span: Span) -> Option<usize> {
        let place = if axis < 0 { axis + rank as i64 } else { axis };
        match usize::try_from(place) {
            Ok(place) if place < rank => Some(place),
            _ => {
                self.fail(
                    Code::IndexRange,
                    span,
                    format!("axis {axis} is out of range, the tensor has {rank}"),
                    format!("axis {axis}"),
                );
                None
            }
        }
    }
}
