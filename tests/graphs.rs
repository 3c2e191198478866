//! The text form of a compiled graph is the graph: what is read back trains the same weights, and a change of the text is
//! refused with its line or trains others.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use candle_core::{DType, Tensor};
use ssl::cli::{Compiled, compile_text};
use ssl::elaborate::Settings;
use ssl::events::Event;
use ssl::graph::print::print;
use ssl::graph::read::read;
use ssl::graph::{Graph, NodeId, Value, dot, yaml};
use ssl::program::{Loop, Program, Statement, Step};
use ssl::run::{RunOptions, compile_step, run};

const PIPELINES: [&str; 5] = ["barlow_twins", "byol", "simclr", "supervised", "vicreg"];

/// A pipeline up to the end of its training: two epochs of two steps of seven images, so that a schedule's warmup and
/// what follows it are both reached.
struct Short {
    program: Program,
    /// The training step after the passes.
    step: Step,
    text: String,
}

impl Short {
    fn new(name: &str) -> Short {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("pipelines").join(format!("{name}.ssl"));
        let text = std::fs::read_to_string(&path).expect("a pipeline");
        let whole = "data digits = mnist(size: 14)";
        assert!(text.contains(whole), "{name} reads other data than it did");
        let (upto, _) = text.split_once("net untrained").expect("an evaluation after the training");
        let text = upto.replace(whole, &format!("{whole}.take(14)"));
        let set = [("epochs", "2"), ("batch", "7")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let settings = Settings { set: set.to_vec(), ..Settings::default() };
        let Compiled { elaborated, .. } = compile_text(&format!("{name}.ssl"), None, text, settings)
            .unwrap_or_else(|refused| panic!("{name}: {:#?}", refused.diagnostics));
        let mut program = elaborated.program;
        // What an exam needs is left out too.
        let end = program.body.iter().position(|statement| matches!(statement, Statement::Loop(_)));
        program.body.truncate(end.expect("a training") + 1);
        let step = compile_step(&training(&mut program).call.step, &[]).expect("a pipeline compiles");
        let text = print(&step);
        Short { program, step, text }
    }

    /// Trains with another step: what is logged in each step, and the bits of every slot in the end.
    fn trained(&self, step: Step) -> Result<Trained, String> {
        let mut program = self.program.clone();
        training(&mut program).call.step = Arc::new(step);
        let mut logged = Vec::new();
        let mut sink = |event: Event| {
            if let Event::Logged { values, .. } = event {
                logged.extend(values.into_iter().map(|(name, number)| (name, number.0.to_bits())));
            }
        };
        let outcome = run(&program, &RunOptions::default(), &mut sink).map_err(|fault| fault.headline)?;
        let slots = outcome.store.alive(&program).map(|(_, path, _, tensor)| (path.to_owned(), bits(tensor))).collect();
        Ok(Trained { logged, slots })
    }
}

fn training(program: &mut Program) -> &mut Loop {
    match program.body.last_mut() {
        Some(Statement::Loop(looped)) => looped,
        _ => panic!("the last statement is the training"),
    }
}

#[derive(PartialEq)]
struct Trained {
    logged: Vec<(String, u64)>,
    slots: Vec<(String, Vec<u64>)>,
}

fn bits(tensor: &Tensor) -> Vec<u64> {
    let numbers = tensor.to_dtype(DType::F64).and_then(|t| t.flatten_all()).and_then(|t| t.to_vec1::<f64>());
    numbers.expect("a slot holds numbers").into_iter().map(f64::to_bits).collect()
}

/// The text does not say which values are outputs of nets. Chains end there, and where they end, sums are rounded.
fn with_answers(mut step: Step, of: &Step) -> Step {
    let find = |name: &str| step.graph.nodes().find(|(_, node)| &*node.name == name).map(|(id, _)| id);
    let answers = of.answers.iter().map(|answer| {
        let node = find(&of.graph.node(answer.node).name).expect("a node of that name");
        Value { node, out: answer.out }
    });
    step.answers = answers.collect();
    step
}

#[test]
fn what_is_read_back_trains_the_same_weights() {
    for name in PIPELINES {
        let short = Short::new(name);
        let back = read(&short.text).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        assert_eq!(print(&back), short.text, "{name} is printed as it was read");
        let back = with_answers(back, &short.step);
        let (compiled, read) = (short.trained(short.step.clone()), short.trained(back));
        let (compiled, read) = (compiled.expect("the step runs"), read.expect("what was read runs"));
        assert_eq!(compiled.logged.iter().filter(|(name, _)| name == "loss").count(), 4, "four steps have a loss");
        assert!(compiled.slots.len() > 30, "{name} trains {} slots", compiled.slots.len());
        assert!(compiled.logged == read.logged, "{name}: another loss");
        for (one, other) in compiled.slots.iter().zip(&read.slots) {
            assert!(one == other, "{name}: other numbers in {}", one.0);
        }
    }
}

#[test]
fn yaml_holds_every_node_and_name() {
    for name in PIPELINES {
        let mut short = Short::new(name);
        let written = (*training(&mut short.program).call.step).clone();
        for step in [&short.step, &written] {
            let text = yaml::yaml(step).expect("a step as YAML");
            let document: serde_yaml::Value = serde_yaml::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
            let list = |key: &str| document[key].as_sequence().cloned().unwrap_or_default();
            let text_of = |value: &serde_yaml::Value| value.as_str().expect("a text").to_owned();
            let (inputs, nodes) = (list("inputs"), list("nodes"));
            assert_eq!(inputs.len() + nodes.len(), step.graph.len(), "{name}: every node once");
            assert_eq!(inputs.len(), step.inputs.len());
            let mut known: HashSet<String> = inputs.iter().map(|input| text_of(&input["name"])).collect();
            for node in &nodes {
                for operand in node["operands"].as_sequence().into_iter().flatten() {
                    let operand = text_of(operand);
                    let of = operand.split('#').next().expect("a name");
                    assert!(known.contains(of), "{name}: `{operand}` stands before its node");
                }
                assert!(known.insert(text_of(&node["name"])), "{name}: two nodes of one name");
            }
            for (key, count) in [("commits", step.commits.len()), ("logs", step.logs.len())] {
                assert_eq!(list(key).len(), count, "{name}: {key}");
                assert!(list(key).iter().all(|row| known.contains(row["value"].as_str().expect("a value"))));
            }
        }
    }
}

/// The statements of a drawing, each without its semicolon; braces and quotes are matched here.
fn statements(drawing: &str) -> Vec<String> {
    let (mut statements, mut current, mut depth, mut quoted, mut escaped) =
        (Vec::new(), String::new(), 0, false, false);
    for c in drawing.chars() {
        if quoted {
            quoted = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            current.push(c);
            continue;
        }
        match c {
            ';' | '{' | '}' => {
                depth += i32::from(c == '{') - i32::from(c == '}');
                assert!(depth >= 0, "a bracket closes nothing");
                statements.push(std::mem::take(&mut current).trim().to_owned());
            }
            c => {
                quoted = c == '"';
                current.push(c);
            }
        }
    }
    assert!(depth == 0 && !quoted && current.trim().is_empty(), "the drawing is closed");
    statements.retain(|statement| !statement.is_empty());
    statements
}

#[test]
fn drawings_are_well_formed() {
    for name in PIPELINES {
        let short = Short::new(name);
        let drawing = dot::dot(&short.step);
        let statements = statements(&drawing);
        assert!(statements[0].starts_with("digraph \""), "{name}: {}", statements[0]);
        let (mut drawn, mut edges) = (HashSet::new(), 0);
        let ids = |text: &str| -> Vec<String> { text.split(" -> ").map(|id| id.trim().to_owned()).collect() };
        for statement in &statements {
            let (head, attributes) =
                statement.split_once(" [").map_or((statement.as_str(), ""), |(head, rest)| (head, rest));
            assert!(attributes.is_empty() || attributes.ends_with(']'), "{name}: {statement}");
            if head.contains(" -> ") {
                assert!(ids(head).iter().all(|id| drawn.contains(id)), "{name}: {statement} joins what is not drawn");
                edges += 1;
            } else if attributes.starts_with("label=") {
                assert!(drawn.insert(head.to_owned()), "{name}: {head} is drawn twice");
            }
        }
        let ends = short.step.roots().len();
        let operands: usize = short.step.graph.nodes().map(|(_, node)| node.operands.len()).sum();
        assert_eq!(drawn.len(), short.step.graph.len() + ends, "{name}: a box a node and a result");
        assert_eq!(edges, operands + ends, "{name}: an arrow an operand and a result");
        for section in ["loader", "forward", "backward", "update"] {
            assert!(statements.contains(&format!("subgraph cluster_{section}")), "{name} has a frame {section}");
        }
    }
}

/// One change of one line.
struct Change {
    line: usize,
    what: String,
    text: String,
    /// The node of that line, if it is one.
    node: Option<Node>,
}

#[derive(Clone)]
struct Node {
    host: bool,
    name: String,
    ty: String,
}

/// A line `name : type = op operands attributes`, taken apart.
struct Line<'a> {
    indent: &'a str,
    name: &'a str,
    ty: &'a str,
    op: &'a str,
    rest: Vec<&'a str>,
}

impl<'a> Line<'a> {
    fn new(line: &'a str) -> Option<Line<'a>> {
        let indent = &line[..line.len() - line.trim_start().len()];
        let (name, rest) = line.trim_start().split_once(" : ")?;
        let (ty, rest) = rest.split_once(" = ")?;
        let mut words = rest.split(' ');
        Some(Line { indent, name, ty, op: words.next()?, rest: words.collect() })
    }

    fn text(&self) -> String {
        let words: Vec<&str> = std::iter::once(self.op).chain(self.rest.iter().copied()).collect();
        format!("{}{} : {} = {}", self.indent, self.name, self.ty, words.join(" "))
    }
}

/// Ops that take the same operands and give the same type.
const ALIKE: [&[&str]; 6] = [
    &["add", "sub", "mul", "div", "maximum", "minimum", "pow"],
    &["exp", "sqrt", "tanh", "neg", "sin", "cos", "log", "rsqrt", "abs", "floor", "round", "sign"],
    &["lt", "le", "gt", "ge", "eq", "ne"],
    &["sum", "max", "min"],
    &["and", "or"],
    &["uniform", "normal"],
];

/// A constant in these may hold nothing back, or be lost in rounding, as that against a division by zero.
const BOUNDS: [&str; 3] = ["maximum", "minimum", "add"];

/// Every change of a line that this test knows: an operand, a size, an op, a number or a text of the line.
fn changes_of(line: &Line<'_>, before: &[(&str, &str)], constants: &HashSet<&str>, at: usize) -> Vec<(String, String)> {
    let mut changes = Vec::new();
    let known: HashMap<&str, &str> = before.iter().copied().collect();
    for (place, word) in line.rest.iter().enumerate() {
        let Some(ty) = known.get(word) else { continue };
        if BOUNDS.contains(&line.op) && constants.contains(word) {
            continue;
        }
        let alike: Vec<&str> =
            before.iter().filter(|(name, have)| have == ty && name != word).map(|(n, _)| *n).collect();
        let other = match alike.len() {
            0 => before[at % before.len()].0,
            count => alike[(at * 7 + place) % count],
        };
        let mut rest = line.rest.clone();
        rest[place] = other;
        changes.push((format!("operand {word} -> {other}"), Line { rest, ..*line }.text()));
    }
    if let Some(ty) = other_size(line.ty) {
        changes.push((format!("size {} -> {ty}", line.ty), Line { ty: &ty, rest: line.rest.clone(), ..*line }.text()));
    }
    let alike = ALIKE.iter().find(|family| family.contains(&line.op));
    let op = match alike {
        Some(family) => {
            let own = family.iter().position(|op| *op == line.op).unwrap_or(0);
            family[(own + 1 + at % (family.len() - 1)) % family.len()].to_owned()
        }
        None => format!("{}s", line.op),
    };
    changes.push((format!("op {} -> {op}", line.op), Line { op: &op, rest: line.rest.clone(), ..*line }.text()));
    for (place, word) in line.rest.iter().enumerate() {
        let (name, value) = word.split_once('=').map_or(("", *word), |(name, value)| (name, value));
        let Some(value) = other_value(value) else { continue };
        // The slot that a gradient is marked with is for people.
        if known.contains_key(word) || name == "slot" {
            continue;
        }
        let written = if name.is_empty() { value } else { format!("{name}={value}") };
        let mut rest = line.rest.clone();
        rest[place] = &written;
        changes.push((format!("{word} -> {written}"), Line { rest, ..*line }.text()));
    }
    changes
}

/// The type with one more in its first known size, or a number where only symbols stand.
fn other_size(ty: &str) -> Option<String> {
    let open = ty.find('[')?;
    let digit = ty[open..].find(|c: char| c.is_ascii_digit()).map(|at| open + at);
    match digit {
        Some(at) => {
            let end = ty[at..].find(|c: char| !c.is_ascii_digit()).map_or(ty.len(), |end| at + end);
            let size: u64 = ty[at..end].parse().ok()?;
            Some(format!("{}{}{}", &ty[..at], size + 1, &ty[end..]))
        }
        None if ty[open..].contains('B') => Some(format!("{}{}", &ty[..open], ty[open..].replacen('B', "9", 1))),
        None => Some(format!("{}[1]", &ty[..open])),
    }
}

/// Another number, text or truth value.
fn other_value(value: &str) -> Option<String> {
    if let Ok(number) = value.parse::<i64>() {
        return Some((number + 1).to_string());
    }
    if let Ok(number) = value.parse::<f64>() {
        return Some(format!("{:?}", number + 1.0));
    }
    match value {
        "true" => Some("false".into()),
        "false" => Some("true".into()),
        text if text.starts_with('"') && text.len() > 2 => Some(format!("{}x\"", &text[..text.len() - 1])),
        _ => None,
    }
}

/// About `count` changes, spread over all lines of a step in which a change can be seen.
fn changes(step: &Step, text: &str, count: usize) -> Vec<Change> {
    let lines: Vec<&str> = text.lines().collect();
    let (seen, host_seen) =
        (in_sight(&step.graph, &step.roots()), in_sight(&step.host.graph, &step.host.graph.outputs));
    let mut all = Vec::new();
    // The names before each line with their types: the host has names of its own.
    let mut host = Vec::<(&str, &str)>::new();
    let mut names = Vec::<(&str, &str)>::new();
    let (mut host_constants, mut constants) = (HashSet::new(), HashSet::new());
    let mut section = "";
    for (at, text) in lines.iter().enumerate() {
        if let Some(head) = text.strip_prefix("  ").filter(|head| !head.starts_with(' ')) {
            section = head;
            continue;
        }
        let (before, constants, seen) = match section {
            "host" => (&mut host, &mut host_constants, &host_seen),
            _ => (&mut names, &mut constants, &seen),
        };
        let mut put = |what: String, line: String, node: Option<Node>| {
            let mut changed = lines.clone();
            changed[at] = &line;
            all.push(Change { line: at + 1, what, text: changed.join("\n") + "\n", node });
        };
        if let Some(line) = Line::new(text) {
            if seen.contains(line.name) {
                let own = Node { host: section == "host", name: line.name.into(), ty: line.ty.into() };
                changes_of(&line, before, constants, at)
                    .into_iter()
                    .for_each(|(what, line)| put(what, line, Some(own.clone())));
            }
            before.push((line.name, line.ty));
            if line.op == "constant" {
                constants.insert(line.name);
            }
        } else if let Some((to, from)) = text.split_once(" <- ").or(text.split_once(" = "))
            && let Some((_, ty)) = before.iter().find(|(name, _)| *name == from)
        {
            let alike: Vec<&str> =
                before.iter().filter(|(n, have)| have == ty && *n != from).map(|(n, _)| *n).collect();
            if let Some(other) = alike.get(at % alike.len().max(1)) {
                let line = text.replace(&format!(" {from}"), &format!(" {other}"));
                put(format!("{} {from} -> {other}", to.trim()), line, None);
            }
        }
    }
    let stride = (all.len() / count).max(1);
    all.into_iter().step_by(stride).collect()
}

/// The names of the values that are looked at as they are. What is seen only through a comparison, a rounding, as a bound,
/// as a choice, or as that branch of a choice which is for rare elements, may change without anybody's notice.
fn in_sight(graph: &Graph, roots: &[Value]) -> HashSet<String> {
    let mut seen: HashSet<NodeId> = roots.iter().map(|value| value.node).collect();
    for (id, node) in graph.nodes().rev() {
        let opaque = match node.op.name {
            "lt" | "le" | "gt" | "ge" | "eq" | "ne" | "and" | "or" | "not" | "floor" | "round" | "sign" | "argmax" => {
                true
            }
            "cast" => !node.types[0].dtype.is_float(),
            _ => false,
        };
        if !seen.contains(&id) || opaque {
            continue;
        }
        let hidden = |at: usize, operand: NodeId| match node.op.name {
            "select" => at != 1,
            op => BOUNDS.contains(&op) && graph.node(operand).op.name == "constant",
        };
        let operands = node.operands.iter().enumerate().map(|(at, value)| (at, value.node));
        seen.extend(operands.filter(|(at, operand)| !hidden(*at, *operand)).map(|(_, operand)| operand));
    }
    seen.into_iter().map(|id| graph.node(id).name.to_string()).collect()
}

/// The text with one value among what is logged: a number as it is, of a tensor the sum and that of its squares.
fn watched(text: &str, Node { host, name, ty }: &Node) -> String {
    let logs = |names: &[&str]| -> String { names.iter().map(|name| format!("    {name} = {name}\n")).collect() };
    if *host {
        let outputs = text.lines().find_map(|line| line.strip_prefix("    -> ")).expect("the host gives numbers");
        let number = outputs.split(", ").count();
        return text
            .replacen(&format!("    -> {outputs}\n"), &format!("    -> {outputs}, {name}\n"), 1)
            .replacen("  numbers\n", &format!("  numbers\n    watched : {ty} = host {number}\n"), 1)
            .replacen("  logs\n", &format!("  logs\n{}", logs(&["watched"])), 1);
    }
    let rank = if ty.contains("[]") { 0 } else { ty.split(", ").count() };
    let axes = (0..rank).map(|axis| axis.to_string()).collect::<Vec<_>>().join(", ");
    let sizes = &ty[ty.find('[').expect("sizes")..];
    let nodes = format!(
        "  forward
    watched : f64{sizes} = cast {name}
    watched_square : f64{sizes} = mul watched watched
    watched_sum : f64[] = sum watched axes=[{axes}]
    watched_squares : f64[] = sum watched_square axes=[{axes}]
  commits
"
    );
    text.replacen("  commits\n", &nodes, 1).replacen(
        "  logs\n",
        &format!("  logs\n{}", logs(&["watched_sum", "watched_squares"])),
        1,
    )
}

/// Whether a change leaves the value of its node as it was: a product with 1 that became a quotient, say.
fn equal_value(short: &Short, change: &Change) -> bool {
    let Some(node) = &change.node else { return false };
    let logged = |text: &str| {
        let step = read(&watched(text, node)).unwrap_or_else(|fault| panic!("{}: {fault}", change.what));
        short.trained(step).map(|trained| trained.logged)
    };
    logged(&short.text) == logged(&change.text)
}

fn changes_are_noticed(name: &str) {
    let short = Short::new(name);
    let right = short.trained(short.step.clone()).expect("the step runs");
    let lines = short.text.lines().count();
    let (mut refused, mut other, mut equal) = (0, 0, 0);
    for change in changes(&short.step, &short.text, 120) {
        let place = format!("{name}, line {}, {}", change.line, change.what);
        match read(&change.text) {
            Err(fault) => {
                // A changed type is met where the value is used, never before.
                assert!((change.line..=lines).contains(&fault.line), "{place}: {fault}");
                refused += 1;
            }
            // A run that ends with a fault, such as a number that is not finite, has noticed too.
            Ok(step) => match short.trained(step) {
                Ok(trained) if trained == right => {
                    assert!(equal_value(&short, &change), "{place}: trains the same weights");
                    equal += 1;
                }
                _ => other += 1,
            },
        }
    }
    assert!(refused + other >= 100, "{name}: only {refused} and {other} changes were tried");
    assert!(equal <= 3, "{name}: {equal} changes of equal values say nothing");
}

#[test]
fn a_changed_barlow_twins_is_noticed() {
    changes_are_noticed("barlow_twins");
}

#[test]
fn a_changed_byol_is_noticed() {
    changes_are_noticed("byol");
}

#[test]
fn a_changed_simclr_is_noticed() {
    changes_are_noticed("simclr");
}

#[test]
fn a_changed_supervised_is_noticed() {
    changes_are_noticed("supervised");
}

#[test]
fn a_changed_vicreg_is_noticed() {
    changes_are_noticed("vicreg");
}
