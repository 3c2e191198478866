//! Reads a printed step back. Types are computed anew and compared with what is written, so a changed size, operand or
//! op name is found in its line.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::ops::Infer;
use crate::ops::structure::{CONSTANT, INPUT};
use crate::program::{ClockField, Formal, Guard, Host, HostInput, Input, Measure, SlotKind, Statistic, Step, Symbol};

use super::cursor::Cursor;
use super::print::{SLOT_KINDS, types_text};
use super::{Attr, Attrs, Builder, DType, Graph, NodeId, Section, Type, Value};

/// A text that is no step: the line, from 1, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    pub line: usize,
    pub message: String,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for ReadError {}

/// What one line says, or why it says nothing.
type Said<T> = Result<T, String>;

/// Reads what [`super::print::print`] writes.
pub fn read(text: &str) -> Result<Step, ReadError> {
    let mut reader = Reader { lines: text.lines().collect(), at: 0, step: Step::default(), slots: Vec::new() };
    reader.step().map_err(|message| ReadError { line: reader.at.max(1), message })?;
    Ok(reader.step)
}

/// Reads what [`super::print::print_graph`] writes.
pub fn read_graph(text: &str) -> Result<Graph, ReadError> {
    let mut reader = Reader { lines: text.lines().collect(), at: 0, step: Step::default(), slots: Vec::new() };
    let graph = reader.graph(Section::Forward, Scope::default(), false);
    graph
        .map(|(scope, outputs)| scope.builder.finish(outputs))
        .map_err(|message| ReadError { line: reader.at.max(1), message })
}

/// A graph while it is read.
#[derive(Default)]
struct Scope {
    builder: Builder,
    names: HashMap<String, NodeId>,
}

struct Reader<'a> {
    lines: Vec<&'a str>,
    /// Lines taken so far: the number of the line at hand.
    at: usize,
    step: Step,
    /// Slots by number, in any order until all are known.
    slots: Vec<Option<(String, SlotKind)>>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<&'a str> {
        while let Some(line) = self.lines.get(self.at) {
            self.at += 1;
            if !line.trim().is_empty() {
                return Some(line);
            }
        }
        None
    }

    fn step(&mut self) -> Said<()> {
        let first = self.next().ok_or("the text is empty")?;
        let mut cursor = Cursor::new(first);
        cursor.keyword("step")?;
        self.step.name = cursor.word()?;
        cursor.expect("{")?;
        cursor.end()?;
        let mut scope = Scope::default();
        let mut section = None;
        loop {
            let line = self.next().ok_or("the step has no end: `}` is missing")?;
            if line == "}" {
                break;
            }
            match line.strip_prefix("  ") {
                Some(head) if !head.starts_with(' ') => {
                    section = Some(head.trim_end());
                    if head.trim_end() == "host" {
                        self.host()?;
                    }
                }
                Some(_) => {
                    let section = section.ok_or("a line before the first section")?;
                    self.line(section, line.trim(), &mut scope)?;
                }
                None => return Err(format!("`{}` belongs to no section", line.trim())),
            }
        }
        if self.next().is_some() {
            return Err("the step has ended before".into());
        }
        let outputs = std::mem::take(&mut self.step.graph.outputs);
        self.step.graph = scope.builder.finish(outputs);
        self.step.formals = self.formals()?;
        super::verify::verify_step(&self.step).map_err(|fault| fault.to_string())
    }

    fn formals(&self) -> Said<Vec<(String, SlotKind)>> {
        let numbered = self.slots.iter().enumerate();
        numbered.map(|(at, slot)| slot.clone().ok_or_else(|| format!("slot {at} is missing"))).collect()
    }

    fn line(&mut self, section: &str, line: &'a str, scope: &mut Scope) -> Said<()> {
        let cursor = &mut Cursor::new(line);
        if let Some((kind, _)) = SLOT_KINDS.iter().find(|(_, head)| *head == section) {
            return self.slot(*kind, cursor, scope);
        }
        match section {
            "symbols" => self.step.symbols.push(symbol(cursor)?),
            "guards" => self.step.guards.push(guard(cursor)?),
            "fields" | "numbers" | "keys" | "given" => {
                let name = cursor.word()?;
                cursor.expect(":")?;
                let ty = cursor.ty()?;
                cursor.expect("=")?;
                self.step.inputs.push(input_kind(cursor)?);
                scope.input(&name, ty)?;
            }
            "loader" => self.node(Section::Loader, cursor, scope)?,
            "forward" => self.node(Section::Forward, cursor, scope)?,
            "backward" => self.node(Section::Backward, cursor, scope)?,
            "update" => self.node(Section::Update, cursor, scope)?,
            "commits" => {
                let path = cursor.word()?;
                cursor.expect("<-")?;
                let known = self.slots.iter().position(|slot| slot.as_ref().is_some_and(|(have, _)| *have == path));
                let formal = Formal(known.ok_or_else(|| format!("there is no slot `{path}`"))?);
                self.step.commits.push((formal, scope.value(cursor)?));
            }
            "logs" => self.step.logs.push(named(cursor, scope)?),
            "collects" => self.step.collects.push(named(cursor, scope)?),
            "yields" => self.step.yields.push(scope.value(cursor)?),
            "outputs" => self.step.graph.outputs.push(scope.value(cursor)?),
            "measures" => return self.measure(cursor, scope),
            other => return Err(format!("there is no section `{other}`")),
        }
        if matches!(section, "loader" | "forward" | "backward" | "update") { Ok(()) } else { cursor.end() }
    }

    /// `path : type = slot 0`, `name : type = slot 0 path`, or `path = slot 0` for one that is only written.
    fn slot(&mut self, kind: SlotKind, cursor: &mut Cursor<'_>, scope: &mut Scope) -> Said<()> {
        let name = cursor.word()?;
        let ty = if cursor.eat(":") { Some(cursor.ty()?) } else { None };
        cursor.expect("=")?;
        cursor.keyword("slot")?;
        let number: usize = cursor.number()?;
        let path = if cursor.done() { name.clone() } else { cursor.word()? };
        cursor.end()?;
        // No step has more slots than its text has lines.
        if number > self.lines.len() {
            return Err(format!("slot {number} is out of all order"));
        }
        if self.slots.len() <= number {
            self.slots.resize(number + 1, None);
        }
        match &self.slots[number] {
            Some((have, _)) if *have != path => return Err(format!("slot {number} is `{have}` already")),
            _ => self.slots[number] = Some((path, kind)),
        }
        if let Some(ty) = ty {
            self.step.inputs.push(Input::Slot(Formal(number)));
            scope.input(&name, ty)?;
        }
        Ok(())
    }

    fn host(&mut self) -> Said<()> {
        let mut inputs = Vec::new();
        let mut scope = Scope::default();
        while let Some(line) = self.next() {
            let cursor = &mut Cursor::new(line);
            let Some((name, ty, from)) = host_input(cursor)? else {
                // The first node: the graph begins with this line.
                self.at -= 1;
                break;
            };
            inputs.push(from);
            scope.input(&name, ty)?;
        }
        let (scope, outputs) = self.graph(Section::Forward, scope, false)?;
        self.step.host = Host { graph: scope.builder.finish(outputs), inputs };
        Ok(())
    }

    fn measure(&mut self, cursor: &mut Cursor<'_>, scope: &mut Scope) -> Said<()> {
        let name = cursor.word()?;
        cursor.expect("=")?;
        let mut statistics = Vec::new();
        while !cursor.eat("{") {
            if !statistics.is_empty() {
                cursor.expect(",")?;
            }
            let kind = match cursor.word()?.as_str() {
                "sum" => Statistic::Sum,
                "min" => Statistic::Min,
                "max" => Statistic::Max,
                "squares" => Statistic::Squares,
                other => return Err(format!("`{other}` is no statistic: sum, min, max, squares")),
            };
            statistics.push((kind, scope.value(cursor)?));
        }
        cursor.end()?;
        let (rest, outputs) = self.graph(Section::Forward, Scope::default(), true)?;
        self.step.measures.push(Measure { name, statistics, rest: rest.builder.finish(outputs) });
        Ok(())
    }

    /// Nodes up to `-> outputs`, and the bracket after it if the graph stands in brackets.
    fn graph(&mut self, section: Section, mut scope: Scope, brackets: bool) -> Said<(Scope, Vec<Value>)> {
        loop {
            let line = self.next().ok_or("the graph has no end: `->` is missing")?.trim();
            let cursor = &mut Cursor::new(line);
            if !cursor.eat("->") {
                self.node(section, cursor, &mut scope)?;
                continue;
            }
            let mut outputs = Vec::new();
            while !cursor.done() {
                if !outputs.is_empty() {
                    cursor.expect(",")?;
                }
                outputs.push(scope.value(cursor)?);
            }
            if brackets && !self.next().is_some_and(|line| line.trim().starts_with('}')) {
                return Err("`}` is missing".into());
            }
            return Ok((scope, outputs));
        }
    }

    /// `name : type = op operands attr=value`, with regions on the lines after it.
    fn node(&mut self, section: Section, cursor: &mut Cursor<'a>, scope: &mut Scope) -> Said<()> {
        let name = cursor.word()?;
        cursor.expect(":")?;
        let types = cursor.types()?;
        cursor.expect("=")?;
        let op_name = cursor.word()?;
        if op_name == INPUT.name {
            cursor.end()?;
            let [ty] = types.as_slice() else { return Err("an input has one type".into()) };
            return scope.input(&name, ty.clone());
        }
        let op = crate::ops::find(&op_name);
        let op = op.ok_or_else(|| unknown_op(&op_name))?;
        let operands = if op == &CONSTANT { SmallVec::new() } else { scope.operands(cursor)? };
        let attrs = if op == &CONSTANT { constant_attrs(cursor, &types)? } else { read_attrs(op, cursor, &types)? };
        let mut regions = Vec::new();
        while cursor.eat("{") {
            cursor.end()?;
            let (inner, outputs) = self.graph(section, Scope::default(), false)?;
            regions.push(inner.builder.finish(outputs));
            let close = self.next().ok_or("`}` is missing")?;
            *cursor = Cursor::new(close.trim());
            cursor.expect("}")?;
        }
        cursor.end()?;
        scope.append(section, &name, op, &operands, attrs, regions, types)
    }
}

fn unknown_op(name: &str) -> String {
    let known = crate::ops::all().map(|op| op.name);
    let near = known.max_by(|a, b| strsim::jaro(name, a).total_cmp(&strsim::jaro(name, b)));
    match near {
        Some(near) => format!("there is no op `{name}`; the nearest is `{near}`"),
        None => format!("there is no op `{name}`"),
    }
}

impl Scope {
    fn claim(&mut self, name: &str) -> Said<()> {
        match self.names.contains_key(name) {
            true => Err(format!("`{name}` is the name of another node")),
            false => Ok(()),
        }
    }

    fn input(&mut self, name: &str, ty: Type) -> Said<()> {
        self.claim(name)?;
        let value = self.builder.input(name, ty);
        self.names.insert(name.into(), value.node);
        Ok(())
    }

    fn value(&self, cursor: &mut Cursor<'_>) -> Said<Value> {
        let name = cursor.word()?;
        let out: u16 = if cursor.eat("#") { cursor.number()? } else { 0 };
        let node = *self.names.get(&name).ok_or_else(|| format!("there is no `{name}` before this line"))?;
        match (out as usize) < self.builder.graph().node(node).types.len() {
            true => Ok(Value { node, out }),
            false => Err(format!("`{name}` has no result {out}")),
        }
    }

    fn operands(&self, cursor: &mut Cursor<'_>) -> Said<SmallVec<[Value; 4]>> {
        let mut operands = SmallVec::new();
        while !cursor.done() && !cursor.at("{") && !cursor.at_attr() {
            operands.push(self.value(cursor)?);
        }
        Ok(operands)
    }

    #[allow(clippy::too_many_arguments)]
    fn append(
        &mut self,
        section: Section,
        name: &str,
        op: &'static crate::ops::Op,
        operands: &[Value],
        attrs: Attrs,
        regions: Vec<Graph>,
        types: SmallVec<[Type; 1]>,
    ) -> Said<()> {
        self.claim(name)?;
        let operand_types: Vec<&Type> = operands.iter().map(|operand| self.builder.ty(*operand)).collect();
        let inferred = (op.infer)(&Infer { types: &operand_types, attrs: &attrs, regions: &regions })
            .map_err(|mismatch| mismatch.headline)?;
        if inferred != types {
            let (have, written) = (types_text(&inferred), types_text(&types));
            return Err(format!("{} gives {have}, but {written} is written", op.name));
        }
        self.builder.section = section;
        let value = self.builder.named(name).append(op, operands, attrs, regions, types);
        self.names.insert(name.into(), value.node);
        Ok(())
    }
}

fn symbol(cursor: &mut Cursor<'_>) -> Said<Symbol> {
    let name: Arc<str> = cursor.word()?.into();
    let witness = if cursor.eat("=") { Some(cursor.number()?) } else { None };
    Ok(Symbol { name, witness })
}

/// `B == 256`, `8 <= B`, `2 | B`.
fn guard(cursor: &mut Cursor<'_>) -> Said<Guard> {
    if let Ok(n) = cursor.number::<i64>() {
        let at_least = cursor.eat("<=");
        if !at_least {
            cursor.expect("|")?;
        }
        let name: Arc<str> = cursor.word()?.into();
        return Ok(if at_least { Guard::AtLeast(name, n) } else { Guard::Divides(n, name) });
    }
    let name: Arc<str> = cursor.word()?.into();
    cursor.expect("==")?;
    Ok(Guard::Equal(name, cursor.number()?))
}

fn input_kind(cursor: &mut Cursor<'_>) -> Said<Input> {
    let kind = cursor.word()?;
    Ok(match kind.as_str() {
        "field" => Input::Field { feed: cursor.number()?, field: cursor.word()? },
        "ids" => Input::Ids { feed: cursor.number()? },
        "index" => Input::Index { feed: cursor.number()? },
        "host" => Input::Host(cursor.number()?),
        "flow" => Input::Flow(cursor.number()?),
        "step_key" => Input::StepKey,
        "epoch_key" => Input::EpochKey,
        "given" => Input::Given(cursor.word()?),
        other => return Err(format!("`{other}` is no kind of input")),
    })
}

/// `name : type = clock step` or `name : type = flow 0`; none for a line that is no input.
fn host_input(cursor: &mut Cursor<'_>) -> Said<Option<(String, Type, HostInput)>> {
    if cursor.at("->") {
        return Ok(None);
    }
    let name = cursor.word()?;
    cursor.expect(":")?;
    let ty = cursor.ty()?;
    cursor.expect("=")?;
    let from = match cursor.word()?.as_str() {
        "clock" => HostInput::Clock(clock(&cursor.word()?)?),
        "flow" => HostInput::Flow(cursor.number()?),
        _ => return Ok(None),
    };
    cursor.end()?;
    Ok(Some((name, ty, from)))
}

fn clock(name: &str) -> Said<ClockField> {
    let found = ClockField::ALL.iter().find(|(_, have)| *have == name);
    found.map(|(field, _)| *field).ok_or_else(|| format!("the clock has no `{name}`"))
}

fn named(cursor: &mut Cursor<'_>, scope: &Scope) -> Said<(String, Value)> {
    let name = cursor.word()?;
    cursor.expect("=")?;
    Ok((name, scope.value(cursor)?))
}

/// `constant 0.5`, `constant [1, 2]`: type and shape are those of the result.
fn constant_attrs(cursor: &mut Cursor<'_>, types: &[Type]) -> Said<Attrs> {
    let [ty] = types else { return Err("a constant has one type".into()) };
    let one = |text: &str| -> Said<f64> {
        match (ty.dtype, text) {
            (DType::Bool, "true") => Ok(1.0),
            (DType::Bool, "false") => Ok(0.0),
            (DType::Bool, _) => Err(format!("`{text}` is neither true nor false")),
            _ => text.parse().map_err(|_| format!("`{text}` is no number")),
        }
    };
    let values = match cursor.list() {
        Some(items) => items?.iter().map(|item| one(item)).collect::<Said<Vec<f64>>>()?,
        None => vec![one(cursor.chunk()?)?],
    };
    Ok(Attrs::none()
        .with("values", Attr::Floats(values))
        .with("dtype", Attr::DType(ty.dtype))
        .with("shape", Attr::Sizes(ty.shape.to_vec())))
}

/// The attributes in the order of the op's block; `shape` and `dtype` follow from the type where they are not written.
fn read_attrs(op: &crate::ops::Op, cursor: &mut Cursor<'_>, types: &[Type]) -> Said<Attrs> {
    let mut written: HashMap<&'static str, Attr> = HashMap::new();
    while !cursor.done() && !cursor.at("{") {
        let name = cursor.word()?;
        cursor.expect("=")?;
        let row = op.attrs.iter().find(|(have, _)| *have == name);
        let (name, kind) = row.ok_or_else(|| format!("{} has no attribute `{name}`", op.name))?;
        if written.insert(name, cursor.attr(*kind)?).is_some() {
            return Err(format!("`{name}` is written twice"));
        }
    }
    let mut attrs = Attrs::none();
    for (name, kind) in op.attrs {
        let said = types.first().and_then(|ty| match (*name, kind) {
            ("shape", crate::ops::AttrKind::Sizes) => Some(Attr::Sizes(ty.shape.to_vec())),
            ("dtype", crate::ops::AttrKind::DType) => Some(Attr::DType(ty.dtype)),
            _ => None,
        });
        if let Some(value) = written.remove(name).or(said) {
            attrs = attrs.with(name, value);
        }
    }
    Ok(attrs)
}
