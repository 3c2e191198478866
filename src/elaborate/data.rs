//! Data sets as values: sources, splits, transforms, batches, columns.

use std::rc::Rc;
use std::sync::Arc;

use super::Elaborator;
use super::value::{Batches, DataSet, Env, Given, Split, Value};
use crate::data::{self, DataError, OptionError, ParamKind, Setting, Spec, Transform};
use crate::diagnostics::{Code, Diagnostic};
use crate::program::{Source, SourceRef};
use crate::source::Span;
use crate::syntax::{Argument, Expr, ExprKind, Name, Param};

impl Split {
    /// Records, as far as known.
    pub fn count(&self) -> Option<usize> {
        self.data.schema.splits.iter().find(|(name, _)| *name == self.split).and_then(|(_, count)| *count)
    }
}

impl Elaborator<'_> {
    pub fn data_statement(&mut self, name: &Name, params: Option<&[Param]>, value: &Expr, env: &Env) {
        if params.is_some() {
            env.bind(name.text.clone(), Value::Error);
            self.fail_help(
                Code::NotYet,
                name.span,
                "`data` with parameters cannot run yet",
                "not executable yet",
                "write one `data` for each setting",
            );
            return;
        }
        let value = match self.expr(value, env) {
            Value::Data(data) => Value::Data(Rc::new(DataSet {
                name: name.text.clone(),
                spec: data.spec.clone(),
                schema: data.schema.clone(),
                span: name.span,
            })),
            Value::Error => Value::Error,
            other => self.wrong_kind(&other, "a data set such as `mnist()`", value.span),
        };
        env.bind(name.text.clone(), value);
    }

    /// A call of a source of the table: `mnist(size: 14)`.
    pub fn open_source(&mut self, entry: &'static str, given: Vec<Given>, span: Span) -> Value {
        let Some(row) = data::sources().iter().find(|row| row.name == entry) else { return Value::Error };
        let Some((positional, named)) = self.settings_of(&given) else { return Value::Error };
        let options = match data::read_options(row.params, positional, named) {
            Ok(options) => options,
            Err(error) => return self.option_error(entry, error, &given, span),
        };
        let folder = self.sources.file(span.source).folder.clone().unwrap_or_default();
        let spec = Spec { source: entry.into(), options, transforms: Vec::new(), folder };
        self.data_value(entry, spec, span)
    }

    fn data_value(&mut self, name: &str, spec: Spec, span: Span) -> Value {
        match data::open(&spec) {
            Ok(opened) => Value::Data(Rc::new(DataSet {
                name: name.into(),
                spec: Rc::new(spec),
                schema: Rc::new(opened.schema().clone()),
                span,
            })),
            Err(error) => self.data_error(error, span),
        }
    }

    fn data_error(&mut self, error: DataError, span: Span) -> Value {
        let mut diagnostic = Diagnostic::error(error.code, error.headline).label(span, "read here");
        diagnostic.help = error.help;
        self.report(diagnostic);
        Value::Error
    }

    fn option_error(&mut self, callee: &str, error: OptionError, given: &[Given], span: Span) -> Value {
        let place = given
            .iter()
            .find(|g| g.name.as_ref().is_some_and(|name| Some(&*name.text) == error.option()))
            .map_or(span, |g| g.name.as_ref().map_or(g.span, |name| name.span));
        let mut diagnostic = Diagnostic::error(error.code(), format!("`{callee}`: {error}")).label(place, "here");
        diagnostic.help = error.help();
        self.report(diagnostic);
        Value::Error
    }

    /// Static arguments as settings, positional ones first.
    #[allow(clippy::type_complexity)]
    fn settings_of(&mut self, given: &[Given]) -> Option<(Vec<Setting>, Vec<(String, Setting)>)> {
        let (mut positional, mut named) = (Vec::new(), Vec::new());
        for argument in given {
            let setting = self.setting(&argument.value, argument.span)?;
            match &argument.name {
                Some(name) => named.push((name.text.to_string(), setting)),
                None => positional.push(setting),
            }
        }
        Some((positional, named))
    }

    fn setting(&mut self, value: &Value, span: Span) -> Option<Setting> {
        Some(match value {
            Value::Int(n) => Setting::Int(*n),
            Value::Float(x) => Setting::Float(*x),
            Value::Bool(b) => Setting::Bool(*b),
            Value::Text(text) => Setting::Text(text.to_string()),
            Value::FieldName(name) => Setting::Field(name.to_string()),
            Value::List(items) => {
                Setting::List(items.iter().map(|item| self.setting(item, span)).collect::<Option<_>>()?)
            }
            Value::Range(ends) => Setting::Range(ends.0.as_number()?, ends.1.as_number()?),
            Value::Error => return None,
            other => {
                let other = other.clone();
                self.wrong_kind(&other, "a value known while compiling", span);
                return None;
            }
        })
    }

    pub fn data_has_field(&self, data: &DataSet, name: &str) -> bool {
        data.schema.splits.iter().any(|(split, _)| split == name)
    }

    pub fn data_field(&mut self, data: Rc<DataSet>, name: &Name) -> Value {
        if self.data_has_field(&data, &name.text) {
            return Value::Split(Rc::new(Split { data, split: name.text.to_string() }));
        }
        match &*name.text {
            "count" => match data.schema.splits.iter().map(|(_, count)| *count).sum::<Option<usize>>() {
                Some(count) => Value::Int(count as i64),
                None => self.fail(Code::WrongTime, name.span, "the data set has no end", "a stream is not counted"),
            },
            "classes" => self.class_count(&data, name),
            text => {
                let known: Vec<String> = data.schema.splits.iter().map(|(split, _)| split.clone()).collect();
                self.unknown_field(
                    &format!("the data set `{}`", data.name),
                    text,
                    name.span,
                    known.iter().map(String::as_str),
                )
            }
        }
    }

    /// How many classes the labels have.
    fn class_count(&mut self, data: &DataSet, name: &Name) -> Value {
        match data.schema.fields.iter().find_map(|field| field.limit) {
            Some(limit) => Value::Int(limit as i64),
            None => self.fail(Code::UnknownField, name.span, "the data set has no classes", "no label in it"),
        }
    }

    pub fn split_field(&mut self, split: Rc<Split>, name: &Name) -> Value {
        match &*name.text {
            "count" => match split.count() {
                Some(count) => Value::Int(count as i64),
                None => self.fail(Code::WrongTime, name.span, "the split has no end", "a stream is not counted"),
            },
            "classes" => self.class_count(&split.data.clone(), name),
            text => {
                if split.data.schema.fields.iter().any(|field| field.name == text) {
                    return match self.columns(&split, 0, split.count().unwrap_or(0), name.span) {
                        Value::Record(record) => record.get(text).cloned().unwrap_or(Value::Error),
                        other => other,
                    };
                }
                let known: Vec<String> = split.data.schema.fields.iter().map(|field| field.name.clone()).collect();
                let known: Vec<&str> = known.iter().map(String::as_str).chain(["count"]).collect();
                self.unknown_field(&format!("`{}.{}`", split.data.name, split.split), text, name.span, known)
            }
        }
    }

    /// `.batches(256)`, `.take(10, per: label)`, `.split(…)`, …
    pub fn data_method(
        &mut self,
        receiver: Value,
        name: &Name,
        arguments: &[Argument],
        span: Span,
        env: &Env,
    ) -> Value {
        let rows = data::transforms();
        let row = rows.iter().find(|row| row.name == &*name.text);
        let given = self.data_arguments(row.map_or(&[], |row| row.params), arguments, env);
        if &*name.text == "batches" {
            return self.batches(receiver, given, name.span, span);
        }
        let Some(row) = row else {
            let known: Vec<&str> = rows.iter().map(|row| row.name).chain(["batches"]).collect();
            let what = self.describe(&receiver);
            return self.unknown_field(&what, &name.text, name.span, known);
        };
        let (data, split) = match &receiver {
            Value::Data(data) => (data.clone(), None),
            Value::Split(split) => (split.data.clone(), Some(split.split.clone())),
            _ => return Value::Error,
        };
        let Some((positional, named)) = self.settings_of(&given) else { return Value::Error };
        let mut options = match data::read_options(row.params, positional, named) {
            Ok(options) => options,
            Err(error) => return self.option_error(row.name, error, &given, span),
        };
        if let Some(split) = &split {
            options.insert("on".into(), Setting::Field(split.clone()));
        }
        // What one split is dealt out to is a data set of its own.
        let deals = row.name == "split";
        if deals && split.is_some() {
            options.insert("only".into(), Setting::Bool(true));
        }
        let mut spec = data.spec.as_ref().clone();
        spec.transforms.push(Transform { name: row.name.into(), options });
        match (self.data_value(&data.name, spec, span), split) {
            (Value::Data(data), Some(split)) if !deals => Value::Split(Rc::new(Split { data, split })),
            (value, _) => value,
        }
    }

    /// Arguments of a source or transform: where its row asks for a name (`by:`, `label:`, `on:`), a bare one is that of a
    /// field or split, whatever it means elsewhere.
    pub fn data_arguments(&mut self, params: &[data::Param], arguments: &[Argument], env: &Env) -> Vec<Given> {
        let mut given = Vec::new();
        for argument in arguments {
            let asked = argument.name.as_ref().and_then(|name| params.iter().find(|param| param.name == &*name.text));
            match (&argument.value.kind, asked.map(|param| param.kind)) {
                (ExprKind::Name(field), Some(ParamKind::Field)) => {
                    let value = Value::FieldName(field.clone());
                    given.push(Given { name: argument.name.clone(), value, span: argument.value.span });
                }
                _ => given.extend(self.evaluate_arguments(std::slice::from_ref(argument), env)),
            }
        }
        given
    }

    fn batches(&mut self, receiver: Value, given: Vec<Given>, at: Span, span: Span) -> Value {
        let split = match receiver {
            Value::Split(split) => split,
            Value::Data(data) => {
                let known: Vec<String> =
                    data.schema.splits.iter().map(|(name, _)| format!("`{}.{name}`", data.name)).collect();
                return self.fail_help(
                    Code::TypeMismatch,
                    at,
                    "batches are of one split",
                    "a data set with several splits",
                    format!("choose {}", known.join(" or ")),
                );
            }
            _ => return Value::Error,
        };
        let (batch, place) = match given.as_slice() {
            [Given { value: Value::Int(n), span, name }] if name.as_ref().is_none_or(|name| &*name.text == "size") => {
                (*n, *span)
            }
            [Given { value: Value::Error, .. }] => return Value::Error,
            [Given { value, span, .. }] => return self.wrong_kind(&value.clone(), "a whole number of rows", *span),
            _ => {
                return self.fail_help(
                    Code::ArgumentCount,
                    span,
                    "`batches` takes the number of rows",
                    "this call",
                    "write `.batches(64)`",
                );
            }
        };
        if batch < 1 {
            let fact = format!("is {batch}");
            return self.fail_help(
                Code::BadValue,
                place,
                "a batch has at least one row",
                fact,
                "write a number above 0, such as 64",
            );
        }
        Value::Batches(Rc::new(Batches { split, batch: batch as usize, span: place, whole: span }))
    }

    pub fn as_batches(&mut self, value: Value, span: Span) -> Option<Rc<Batches>> {
        let batches = match value {
            Value::Batches(batches) => batches,
            Value::Error => return None,
            Value::Split(split) => {
                self.fail_help(
                    Code::TypeMismatch,
                    span,
                    "a loop walks over batches, this is a split",
                    "no batch size",
                    format!("write `{}.{}.batches(256)`", split.data.name, split.split),
                );
                return None;
            }
            other => {
                self.wrong_kind(&other, "batches such as `digits.train.batches(256)`", span);
                return None;
            }
        };
        if let Some(count) = batches.split.count()
            && count < batches.batch
            && self.training_loop
        {
            let split = format!("{}.{}", batches.split.data.name, batches.split.split);
            self.report(
                Diagnostic::error(
                    Code::BatchTooLarge,
                    format!("a batch of {} is larger than `{split}`", batches.batch),
                )
                .label(batches.span, format!("{} rows a batch", batches.batch))
                .label(batches.split.data.span, format!("`{split}` has {count} records"))
                .help(format!("take at most {count} rows a batch")),
            );
            return None;
        }
        Some(batches)
    }

    pub fn source_ref(&mut self, data: &DataSet) -> SourceRef {
        if let Some(at) = self.data_sources.iter().position(|source| source.spec == *data.spec) {
            return SourceRef(at);
        }
        let origin = self.origin(data.span);
        self.data_sources.push(Source { name: data.name.to_string(), spec: data.spec.as_ref().clone(), origin });
        SourceRef(self.data_sources.len() - 1)
    }

    /// Records as tensors: a pass of its own that collects every field.
    pub fn columns(&mut self, split: &Rc<Split>, start: usize, stop: usize, span: Span) -> Value {
        if !self.at_flow_level() {
            return self.fail_help(
                Code::NotAllowedHere,
                span,
                "records are read outside steps",
                "inside a step",
                "read them before the `train`, or loop over `batches`",
            );
        }
        let all = split.count().unwrap_or(0);
        let split = if start == 0 && stop == all {
            split.clone()
        } else {
            let mut spec = split.data.spec.as_ref().clone();
            let mut options = data::Options::new();
            options.insert("start".into(), Setting::Int(start as i64));
            options.insert("stop".into(), Setting::Int(stop as i64));
            options.insert("on".into(), Setting::Field(split.split.clone()));
            spec.transforms.push(Transform { name: "slice".into(), options });
            match self.data_value(&split.data.name.clone(), spec, span) {
                Value::Data(data) => Rc::new(Split { data, split: split.split.clone() }),
                other => return other,
            }
        };
        let key = (split.data.spec.clone(), split.split.clone());
        if let Some((_, value)) = self.column_cache.iter().find(|(have, _)| have.0 == key.0 && have.1 == key.1) {
            return value.clone();
        }
        let batches =
            Batches { split: split.clone(), batch: 1000.min(split.count().unwrap_or(1).max(1)), span, whole: span };
        let value = self.collect_all(&batches, span);
        self.column_cache.push((key, value.clone()));
        value
    }

    fn collect_all(&mut self, batches: &Batches, span: Span) -> Value {
        let word = crate::syntax::LoopWord::Pass;
        let source = span.source;
        let at = Span { source, start: span.start, end: span.end };
        let name = |text: &str| Name { text: text.into(), span: at };
        let batch: Arc<str> = "batch".into();
        let fields: Vec<Arc<str>> =
            batches.split.data.schema.fields.iter().map(|field| field.name.as_str().into()).collect();
        let field_expr = |field: &Arc<str>| Expr {
            kind: ExprKind::Field {
                base: Box::new(Expr { kind: ExprKind::Name(batch.clone()), span: at }),
                name: name(field),
            },
            span: at,
        };
        let statements = fields.iter().map(|field| crate::syntax::Statement {
            kind: crate::syntax::StatementKind::Say {
                word: crate::syntax::SayWord::Collect,
                name: Some(name(field)),
                value: field_expr(field),
            },
            span: at,
            doc: None,
        });
        let body = crate::syntax::Block { statements: statements.collect(), span: at };
        let label = format!("{}_{}", batches.split.data.name, batches.split.split);
        let env = Env::module(self.modules.entry);
        let value =
            Value::Batches(Rc::new(Batches { split: batches.split.clone(), batch: batches.batch, span, whole: span }));
        env.bind("source", value);
        let sources = [crate::syntax::LoopSource {
            pattern: crate::syntax::Pattern::Name(name("batch")),
            source: Expr { kind: ExprKind::Name("source".into()), span: at },
        }];
        self.end_compute();
        self.loop_statement(word, &name(&label), &[], None, &sources, &body, span, &env);
        env.get(&label).unwrap_or(Value::Error)
    }
}
