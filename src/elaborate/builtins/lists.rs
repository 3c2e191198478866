//! Lists and questions about values, all known while compiling.

use super::{Args, Builtin};
use crate::diagnostics::Code;
use crate::elaborate::Elaborator;
use crate::elaborate::value::{Given, Value};

pub const ROWS: &[Builtin] = &[
    Builtin { name: "len", params: &["x"], doc: "the length of a list, or the first size of a tensor", call: len },
    Builtin { name: "map", params: &["list", "function"], doc: "the function of each item", call: map },
    Builtin {
        name: "filter",
        params: &["list", "function"],
        doc: "the items for which the function holds",
        call: filter,
    },
    Builtin { name: "zip", params: &["*"], doc: "lists side by side: a list of lists", call: zip },
    Builtin { name: "enumerate", params: &["list"], doc: "pairs of place and item", call: enumerate },
    Builtin {
        name: "is_list",
        params: &["x"],
        doc: "whether it is a list",
        call: |_, args| Value::Bool(matches!(args.value(0), Value::List(_))),
    },
    Builtin {
        name: "is_number",
        params: &["x"],
        doc: "whether it is a number known while compiling",
        call: |_, args| Value::Bool(args.value(0).as_number().is_some()),
    },
    Builtin {
        name: "is_none",
        params: &["x"],
        doc: "whether it is `none`",
        call: |_, args| Value::Bool(matches!(args.value(0), Value::None)),
    },
    Builtin {
        name: "type_name",
        params: &["x"],
        doc: "what it is, in words",
        call: |_, args| Value::Text(args.value(0).kind().into()),
    },
];

fn list(this: &mut Elaborator<'_>, args: &Args, at: usize) -> Option<Vec<Value>> {
    this.iterate(args.value(at), args.span_of(at))
}

fn len(this: &mut Elaborator<'_>, args: &Args) -> Value {
    match args.value(0) {
        Value::List(items) => Value::Int(items.len() as i64),
        Value::Record(record) => Value::Int(record.len() as i64),
        Value::Text(text) => Value::Int(text.chars().count() as i64),
        value @ Value::Range(_) => {
            this.iterate(value, args.span).map_or(Value::Error, |items| Value::Int(items.len() as i64))
        }
        _ => {
            let Some(tensor) = this.tensor_arg(args, 0) else { return Value::Error };
            match this.ty(tensor).shape.first() {
                Some(size) => Value::size(size.clone()),
                None => this.wrong_kind(&args.value(0), "a list or a tensor with an axis", args.span_of(0)),
            }
        }
    }
}

fn call_each(this: &mut Elaborator<'_>, function: &Value, item: Value, args: &Args) -> Value {
    let span = args.span_of(1);
    this.call(function.clone(), vec![Given { name: None, value: item, span }], span, args.span)
}

fn map(this: &mut Elaborator<'_>, args: &Args) -> Value {
    let Some(items) = list(this, args, 0) else { return Value::Error };
    let function = args.value(1);
    Value::list(items.into_iter().map(|item| call_each(this, &function, item, args)).collect())
}

fn filter(this: &mut Elaborator<'_>, args: &Args) -> Value {
    let Some(items) = list(this, args, 0) else { return Value::Error };
    let function = args.value(1);
    let mut kept = Vec::new();
    for item in items {
        match call_each(this, &function, item.clone(), args) {
            Value::Bool(true) => kept.push(item),
            Value::Bool(false) => {}
            Value::Error => return Value::Error,
            other => return this.not_static_condition(&other, args.span_of(1)),
        }
    }
    Value::list(kept)
}

fn zip(this: &mut Elaborator<'_>, args: &Args) -> Value {
    let mut columns = Vec::new();
    for given in &args.rest {
        match this.iterate(given.value.clone(), given.span) {
            Some(items) => columns.push(items),
            None => return Value::Error,
        }
    }
    let rows = columns.first().map_or(0, Vec::len);
    if let Some(at) = columns.iter().position(|column| column.len() != rows) {
        let (span, have) = (args.rest[at].span, columns[at].len());
        let headline = format!("lists that are walked through together have {rows} and {have} items");
        return this.fail(Code::ArgumentCount, span, headline, format!("{have} items"));
    }
    Value::list((0..rows).map(|row| Value::list(columns.iter().map(|column| column[row].clone()).collect())).collect())
}

fn enumerate(this: &mut Elaborator<'_>, args: &Args) -> Value {
    let Some(items) = list(this, args, 0) else { return Value::Error };
    Value::list(
        items.into_iter().enumerate().map(|(at, item)| Value::list(vec![Value::Int(at as i64), item])).collect(),
    )
}
