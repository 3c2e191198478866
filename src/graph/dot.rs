//! A step as a drawing for Graphviz: a box a node, a frame a section.

use std::fmt::Write;

use crate::ops::INPUT;
use crate::program::{Input, Step};

use super::print::{reference, section_name, types_text};
use super::{NodeId, Section, Value};

pub fn dot(step: &Step) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "digraph {} {{", quoted(&step.name));
    out.push_str("  rankdir=TB;\n  node [shape=box, style=filled, fillcolor=white, fontname=\"sans-serif\"];\n");
    for section in [Section::Loader, Section::Forward, Section::Backward, Section::Update] {
        cluster(&mut out, step, section);
    }
    for (value, input) in step.graph.inputs.iter().zip(&step.inputs) {
        let (fill, shape) = match input {
            Input::Slot(_) => ("#ffe8c2", "ellipse"),
            Input::Field { .. } | Input::Given(_) => ("#d9ecff", "ellipse"),
            _ => ("#eeeeee", "ellipse"),
        };
        let label = format!("{}\\n{}", escaped(step.graph.name(*value)), step.graph.ty(*value));
        let _ = writeln!(out, "  n{} [label=\"{label}\", shape={shape}, fillcolor=\"{fill}\"];", value.node.index());
    }
    for (id, node) in step.graph.nodes() {
        for operand in &node.operands {
            let _ = writeln!(out, "  n{} -> n{};", operand.node.index(), id.index());
        }
    }
    ends(&mut out, step);
    out.push_str("}\n");
    out
}

fn cluster(out: &mut String, step: &Step, section: Section) {
    let nodes: Vec<(NodeId, &super::Node)> =
        step.graph.nodes().filter(|(_, node)| node.section == section && node.op != &INPUT).collect();
    if nodes.is_empty() {
        return;
    }
    let name = section_name(section);
    let _ = writeln!(out, "  subgraph cluster_{name} {{\n    label=\"{name}\";\n    color=gray;");
    for (id, node) in nodes {
        let label = format!("{}\\n{}\\n{}", escaped(&node.name), node.op.name, types_text(&node.types));
        let _ = writeln!(out, "    n{} [label=\"{label}\"];", id.index());
    }
    out.push_str("  }\n");
}

/// What is read when the step is done: a box with rounded corners behind each value.
fn ends(out: &mut String, step: &Step) {
    let mut end = |label: String, value: Value| {
        let at = out.len();
        let label = escaped(&label);
        let _ = writeln!(out, "  end{at} [label=\"{label}\", style=\"rounded,filled\", fillcolor=\"#e2f5dc\"];");
        let _ = writeln!(
            out,
            "  n{} -> end{at} [label=\"{}\"];",
            value.node.index(),
            escaped(&reference(&step.graph, value))
        );
    };
    for (formal, value) in &step.commits {
        let path = step.formals.get(formal.0).map_or("", |(path, _)| path);
        end(format!("{path} <-"), *value);
    }
    step.logs.iter().for_each(|(name, value)| end(format!("log {name}"), *value));
    for measure in &step.measures {
        measure.statistics.iter().for_each(|(_, value)| end(format!("measure {}", measure.name), *value));
    }
    step.collects.iter().for_each(|(name, value)| end(format!("collect {name}"), *value));
    step.yields.iter().enumerate().for_each(|(at, value)| end(format!("result {at}"), *value));
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}
