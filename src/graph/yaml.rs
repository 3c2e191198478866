//! A step as YAML, for tools. The text form is the one that is read back.

use serde::Serialize;

use crate::program::{Input, Step};

use super::print::{guard_text, input_text, reference, section_name, shown_attrs, statistic_name};
use super::{Graph, Value};

#[derive(Serialize)]
struct StepDocument {
    step: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    symbols: Vec<SymbolDocument>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    guards: Vec<String>,
    inputs: Vec<InputDocument>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    host: Vec<NodeDocument>,
    nodes: Vec<NodeDocument>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    commits: Vec<NamedDocument>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logs: Vec<NamedDocument>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    measures: Vec<MeasureDocument>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    collects: Vec<NamedDocument>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    yields: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    outputs: Vec<String>,
}

#[derive(Serialize)]
struct SymbolDocument {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    witness: Option<i64>,
}

#[derive(Serialize)]
struct InputDocument {
    name: String,
    r#type: String,
    from: String,
}

#[derive(Serialize)]
struct NodeDocument {
    name: String,
    section: &'static str,
    types: Vec<String>,
    op: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    operands: Vec<String>,
    #[serde(skip_serializing_if = "no_attributes")]
    attributes: std::collections::BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    regions: Vec<GraphDocument>,
}

#[derive(Serialize)]
struct GraphDocument {
    nodes: Vec<NodeDocument>,
    outputs: Vec<String>,
}

#[derive(Serialize)]
struct NamedDocument {
    name: String,
    value: String,
}

#[derive(Serialize)]
struct MeasureDocument {
    name: String,
    statistics: Vec<String>,
    rest: GraphDocument,
}

fn no_attributes(attributes: &std::collections::BTreeMap<&'static str, String>) -> bool {
    attributes.is_empty()
}

/// The step in the order of its nodes.
pub fn yaml(step: &Step) -> Result<String, serde_yaml::Error> {
    let value = |value: &Value| reference(&step.graph, *value);
    let named = |list: &[(String, Value)]| -> Vec<NamedDocument> {
        list.iter().map(|(name, of)| NamedDocument { name: name.clone(), value: value(of) }).collect()
    };
    let inputs = step.graph.inputs.iter().zip(&step.inputs);
    let symbols = step.symbols.iter();
    let commits = step.commits.iter();
    serde_yaml::to_string(&StepDocument {
        step: step.name.clone(),
        symbols: symbols
            .map(|symbol| SymbolDocument { name: symbol.name.to_string(), witness: symbol.witness })
            .collect(),
        guards: step.guards.iter().map(guard_text).collect(),
        inputs: inputs.map(|(value, input)| input_document(step, *value, input)).collect(),
        host: node_documents(&step.host.graph),
        nodes: node_documents(&step.graph).into_iter().filter(|node| node.op != "input").collect(),
        commits: commits
            .map(|(formal, of)| NamedDocument {
                name: step.formals.get(formal.0).map(|(path, _)| path.clone()).unwrap_or_default(),
                value: value(of),
            })
            .collect(),
        logs: named(&step.logs),
        measures: step
            .measures
            .iter()
            .map(|measure| MeasureDocument {
                name: measure.name.clone(),
                statistics: measure
                    .statistics
                    .iter()
                    .map(|(kind, of)| format!("{} {}", statistic_name(*kind), value(of)))
                    .collect(),
                rest: graph_document(&measure.rest),
            })
            .collect(),
        collects: named(&step.collects),
        yields: step.yields.iter().map(value).collect(),
        outputs: step.graph.outputs.iter().map(value).collect(),
    })
}

fn input_document(step: &Step, value: Value, input: &Input) -> InputDocument {
    let name = step.graph.name(value);
    InputDocument { name: name.into(), r#type: step.graph.ty(value).to_string(), from: input_text(step, name, input) }
}

fn graph_document(graph: &Graph) -> GraphDocument {
    GraphDocument {
        nodes: node_documents(graph),
        outputs: graph.outputs.iter().map(|output| reference(graph, *output)).collect(),
    }
}

fn node_documents(graph: &Graph) -> Vec<NodeDocument> {
    let document = |(_, node): (_, &super::Node)| NodeDocument {
        name: node.name.to_string(),
        section: section_name(node.section),
        types: node.types.iter().map(|ty| ty.to_string()).collect(),
        op: node.op.name,
        operands: node.operands.iter().map(|operand| reference(graph, *operand)).collect(),
        attributes: shown_attrs(node).into_iter().collect(),
        regions: node.regions.iter().map(graph_document).collect(),
    };
    graph.nodes().map(document).collect()
}
