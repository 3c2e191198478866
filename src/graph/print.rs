//! A step as text: one node a line, under its name in the source, read back by [`super::read`].
//!
//! Names and order come from the program alone, so an unrelated change leaves the text as it is. What follows from the
//! printed type is not printed again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write;

use crate::ops::structure::{CONSTANT, INPUT};
use crate::program::{ClockField, Guard, HostInput, Input, SlotKind, Statistic, Step};

use super::{Attr, DType, Graph, Node, NodeId, Section, Size, Type, Value};

/// The whole step.
pub fn print(step: &Step) -> String {
    let mut text = Text::default();
    text.line(0, &format!("step {} {{", word(&step.name)));
    header(&mut text, step);
    nodes(&mut text, &step.graph);
    results(&mut text, step);
    text.line(0, "}");
    text.0
}

/// A graph alone, as the regions of a step are printed: its inputs, its nodes, its outputs.
pub fn print_graph(graph: &Graph) -> String {
    let mut text = Text::default();
    region(&mut text, graph, 0);
    text.0
}

pub(super) fn section_name(section: Section) -> &'static str {
    match section {
        Section::Loader => "loader",
        Section::Forward => "forward",
        Section::Backward => "backward",
        Section::Update => "update",
    }
}

pub(super) const SLOT_KINDS: [(SlotKind, &str); 4] = [
    (SlotKind::Weight, "weights"),
    (SlotKind::Buffer, "buffers"),
    (SlotKind::State, "states"),
    (SlotKind::Optimiser, "optimiser"),
];

#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, depth: usize, line: &str) {
        let _ = writeln!(self.0, "{:1$}{line}", "", depth * 2);
    }

    /// A headed block; nothing for no lines.
    fn block(&mut self, head: &str, lines: impl IntoIterator<Item = String>) {
        let mut lines = lines.into_iter().peekable();
        if lines.peek().is_some() {
            self.line(1, head);
            lines.for_each(|line| self.line(2, &line));
        }
    }
}

fn header(text: &mut Text, step: &Step) {
    text.block(
        "symbols",
        step.symbols.iter().map(|symbol| match symbol.witness {
            Some(n) => format!("{} = {n}", symbol.name),
            None => symbol.name.to_string(),
        }),
    );
    text.block("guards", step.guards.iter().map(guard_text));
    let inputs: Vec<(Value, &Input)> = step.graph.inputs.iter().copied().zip(&step.inputs).collect();
    let of_kind = |wanted: &dyn Fn(&Input) -> bool| -> Vec<String> {
        let chosen = inputs.iter().filter(|(_, input)| wanted(input));
        chosen.map(|(value, input)| input_line(step, *value, input)).collect()
    };
    let fields = |input: &Input| matches!(input, Input::Field { .. } | Input::Ids { .. } | Input::Index { .. });
    text.block("fields", of_kind(&fields));
    for (kind, head) in SLOT_KINDS {
        text.block(head, slot_lines(step, &inputs, kind));
    }
    if !step.host.graph.is_empty() || !step.host.graph.outputs.is_empty() {
        text.line(1, "host");
        host(text, step);
    }
    text.block("numbers", of_kind(&|input| matches!(input, Input::Host(_) | Input::Flow(_))));
    text.block("keys", of_kind(&|input| matches!(input, Input::StepKey | Input::EpochKey)));
    text.block("given", of_kind(&|input| matches!(input, Input::Given(_))));
}

pub(super) fn guard_text(guard: &Guard) -> String {
    match guard {
        Guard::Equal(name, n) => format!("{name} == {n}"),
        Guard::AtLeast(name, n) => format!("{n} <= {name}"),
        Guard::Divides(n, name) => format!("{n} | {name}"),
    }
}

/// What an input stands for.
pub(super) fn input_text(step: &Step, name: &str, input: &Input) -> String {
    match input {
        Input::Field { feed, field } => format!("field {feed} {}", word(field)),
        Input::Ids { feed } => format!("ids {feed}"),
        Input::Index { feed } => format!("index {feed}"),
        Input::Slot(formal) => match step.formals.get(formal.0) {
            Some((path, _)) if path != name => format!("slot {} {}", formal.0, word(path)),
            _ => format!("slot {}", formal.0),
        },
        Input::Host(at) => format!("host {at}"),
        Input::Flow(at) => format!("flow {at}"),
        Input::StepKey => "step_key".into(),
        Input::EpochKey => "epoch_key".into(),
        Input::Given(name) => format!("given {}", word(name)),
    }
}

fn input_line(step: &Step, value: Value, input: &Input) -> String {
    let name = step.graph.name(value);
    format!("{} : {} = {}", word(name), step.graph.ty(value), input_text(step, name, input))
}

/// The slots of one kind in order; those that are only written have no type here.
fn slot_lines(step: &Step, inputs: &[(Value, &Input)], kind: SlotKind) -> Vec<String> {
    let mut lines = Vec::new();
    for (at, (path, _)) in step.formals.iter().enumerate().filter(|(_, (_, have))| *have == kind) {
        let reads = inputs.iter().filter(|(_, input)| matches!(input, Input::Slot(formal) if formal.0 == at));
        let before = lines.len();
        lines.extend(reads.map(|(value, input)| input_line(step, *value, input)));
        if lines.len() == before {
            lines.push(format!("{} = slot {at}", word(path)));
        }
    }
    lines
}

fn host(text: &mut Text, step: &Step) {
    let graph = &step.host.graph;
    for (value, input) in graph.inputs.iter().zip(&step.host.inputs) {
        let from = match input {
            HostInput::Clock(field) => format!("clock {}", clock_name(*field)),
            HostInput::Flow(at) => format!("flow {at}"),
        };
        text.line(2, &format!("{} : {} = {from}", word(graph.name(*value)), graph.ty(*value)));
    }
    body(text, graph, 2);
}

pub(super) fn clock_name(field: ClockField) -> &'static str {
    ClockField::ALL.iter().find(|(have, _)| *have == field).map_or("step", |(_, name)| name)
}

/// The nodes under the names of their sections.
fn nodes(text: &mut Text, graph: &Graph) {
    let mut section = None;
    for id in grouped(graph) {
        let node = graph.node(id);
        if section.replace(node.section) != Some(node.section) {
            text.line(1, section_name(node.section));
        }
        print_node(text, graph, id, 2);
    }
}

/// The nodes without inputs, operands before users, with as few changes of section as a greedy order needs.
pub(super) fn grouped(graph: &Graph) -> Vec<NodeId> {
    const SECTIONS: [Section; 4] = [Section::Loader, Section::Forward, Section::Backward, Section::Update];
    let mut waiting: Vec<usize> = vec![0; graph.len()];
    let mut ready: [BinaryHeap<Reverse<NodeId>>; 4] = Default::default();
    let place = |node: &Node| SECTIONS.iter().position(|section| *section == node.section).unwrap_or(1);
    let inputs: Vec<bool> = graph.nodes().map(|(_, node)| node.op == &INPUT).collect();
    for (id, node) in graph.nodes().filter(|(id, _)| !inputs[id.index()]) {
        waiting[id.index()] = node.operands.iter().filter(|operand| !inputs[operand.node.index()]).count();
        if waiting[id.index()] == 0 {
            ready[place(node)].push(Reverse(id));
        }
    }
    let mut order = Vec::with_capacity(graph.len());
    let mut current = 0;
    loop {
        if ready[current].is_empty() {
            // The section of the first node that can be next.
            let next = (0..4).filter_map(|at| ready[at].peek().map(|Reverse(id)| (*id, at))).min();
            let Some((_, at)) = next else { return order };
            current = at;
        }
        let Some(Reverse(id)) = ready[current].pop() else { return order };
        order.push(id);
        for user in graph.dag().neighbors(id) {
            waiting[user.index()] -= 1;
            if waiting[user.index()] == 0 {
                ready[place(graph.node(user))].push(Reverse(user));
            }
        }
    }
}

fn region(text: &mut Text, graph: &Graph, depth: usize) {
    for value in &graph.inputs {
        text.line(depth, &format!("{} : {} = input", word(graph.name(*value)), graph.ty(*value)));
    }
    body(text, graph, depth);
}

fn body(text: &mut Text, graph: &Graph, depth: usize) {
    for (id, _) in graph.nodes().filter(|(_, node)| node.op != &INPUT) {
        print_node(text, graph, id, depth);
    }
    let outputs: Vec<String> = graph.outputs.iter().map(|value| reference(graph, *value)).collect();
    text.line(depth, format!("-> {}", outputs.join(", ")).trim_end());
}

fn print_node(text: &mut Text, graph: &Graph, id: NodeId, depth: usize) {
    let node = graph.node(id);
    let mut line = node_line(graph, id);
    for inner in &node.regions {
        text.line(depth, &format!("{line} {{"));
        region(text, inner, depth + 1);
        line = "}".into();
    }
    text.line(depth, &line);
}

/// `h : f32[B, 128] = matmul x w`, regions left out.
pub(super) fn node_line(graph: &Graph, id: NodeId) -> String {
    let node = graph.node(id);
    let mut line = format!("{} : {} = {}", word(&node.name), types_text(&node.types), node.op.name);
    for operand in &node.operands {
        let known = operand.node.index() < graph.len();
        let name = if known { reference(graph, *operand) } else { format!("?{}", operand.node.index()) };
        let _ = write!(line, " {name}");
    }
    let attrs = shown_attrs(node);
    if node.op == &CONSTANT && !attrs.is_empty() {
        let _ = write!(line, " {}", attrs[0].1);
    } else {
        attrs.iter().for_each(|(name, value)| {
            let _ = write!(line, " {name}={value}");
        });
    }
    line
}

/// The attributes that the printed types do not say.
pub(super) fn shown_attrs(node: &Node) -> Vec<(&'static str, String)> {
    let shown = node.attrs.0.iter().filter(|(name, value)| !said_by_type(name, value, &node.types));
    let ints = node.op == &CONSTANT && node.types.first().is_some_and(|ty| !ty.dtype.is_float());
    let text = |name: &str, attr: &Attr| match attr {
        Attr::Floats(values) if ints && name == "values" => whole_numbers(values, node.types[0].dtype),
        Attr::Floats(values) if node.op == &CONSTANT && values.len() == 1 => format!("{:?}", values[0]),
        attr => attr_text(attr),
    };
    shown.map(|(name, value)| (*name, text(name, value))).collect()
}

/// `shape` and `dtype` where they are those of the first result.
fn said_by_type(name: &str, value: &Attr, types: &[Type]) -> bool {
    let Some(first) = types.first() else { return false };
    match (name, value) {
        ("shape", Attr::Sizes(sizes)) => sizes.as_slice() == first.shape.as_slice(),
        ("dtype", Attr::DType(dtype)) => *dtype == first.dtype,
        _ => false,
    }
}

fn whole_numbers(values: &[f64], dtype: DType) -> String {
    let number = |x: &f64| match dtype {
        DType::Bool => (*x != 0.0).to_string(),
        _ => format!("{x}"),
    };
    match values {
        [only] => number(only),
        many => format!("[{}]", many.iter().map(number).collect::<Vec<_>>().join(", ")),
    }
}

pub(super) fn attr_text(attr: &Attr) -> String {
    fn list<T>(items: &[T], text: impl Fn(&T) -> String) -> String {
        format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(", "))
    }
    match attr {
        Attr::Int(n) => n.to_string(),
        Attr::Float(x) => format!("{x:?}"),
        Attr::Bool(flag) => flag.to_string(),
        Attr::Text(text) => quoted(text),
        Attr::Ints(ints) => list(ints, |n| n.to_string()),
        Attr::Floats(floats) => list(floats, |x| format!("{x:?}")),
        Attr::Size(size) => size_text(size),
        Attr::Sizes(sizes) => list(sizes, |size| size.to_string()),
        Attr::DType(dtype) => dtype.name().into(),
    }
}

/// In brackets where it holds a space.
fn size_text(size: &Size) -> String {
    let text = size.to_string();
    if text.contains(' ') { format!("({text})") } else { text }
}

pub(super) fn types_text(types: &[Type]) -> String {
    match types {
        [only] => only.to_string(),
        many => format!("({})", many.iter().map(Type::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// The name of a value: that of its node, and which result if not the first.
pub(super) fn reference(graph: &Graph, value: Value) -> String {
    let name = word(graph.name(value));
    if value.out == 0 { name } else { format!("{name}#{}", value.out) }
}

/// A name as it is, or in quotes where it holds anything that could be taken for something else.
pub(super) fn word(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '/' | '-');
    let starts = name.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    if starts && name.chars().all(plain) { name.into() } else { quoted(name) }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

pub(super) fn statistic_name(statistic: Statistic) -> &'static str {
    match statistic {
        Statistic::Sum => "sum",
        Statistic::Min => "min",
        Statistic::Max => "max",
        Statistic::Squares => "squares",
    }
}

fn results(text: &mut Text, step: &Step) {
    let value = |value: &Value| reference(&step.graph, *value);
    let path = |at: usize| step.formals.get(at).map_or(String::new(), |(path, _)| word(path));
    text.block("commits", step.commits.iter().map(|(formal, new)| format!("{} <- {}", path(formal.0), value(new))));
    text.block("logs", step.logs.iter().map(|(name, logged)| format!("{} = {}", word(name), value(logged))));
    if !step.measures.is_empty() {
        text.line(1, "measures");
    }
    for measure in &step.measures {
        let statistics = measure.statistics.iter();
        let statistics: Vec<String> =
            statistics.map(|(kind, over)| format!("{} {}", statistic_name(*kind), value(over))).collect();
        text.line(2, &format!("{} = {} {{", word(&measure.name), statistics.join(", ")));
        region(text, &measure.rest, 3);
        text.line(2, "}");
    }
    text.block("collects", step.collects.iter().map(|(name, rows)| format!("{} = {}", word(name), value(rows))));
    text.block("yields", step.yields.iter().map(value));
    text.block("outputs", step.graph.outputs.iter().map(value));
}
