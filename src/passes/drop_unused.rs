//! Leaves out every node that no root needs, inputs included.

use crate::graph::rewrite::{Results, rewrite};

use super::{PassError, Rewritten, Subject};

pub(super) fn run(subject: &Subject<'_>) -> Result<Rewritten, PassError> {
    let needed = needed_nodes(subject);
    if needed.iter().all(|needed| *needed) {
        return Ok(None);
    }
    let done = rewrite::<PassError>(subject.graph, |rewriter, id, node, operands| {
        Ok(if needed[id.index()] { rewriter.copy(node, operands) } else { Results::new() })
    })?;
    Ok(Some(done))
}

fn needed_nodes(subject: &Subject<'_>) -> Vec<bool> {
    let mut needed = vec![false; subject.graph.len()];
    for root in subject.roots {
        needed[root.node.index()] = true;
    }
    for (id, node) in subject.graph.nodes().rev() {
        if needed[id.index()] {
            node.operands.iter().for_each(|operand| needed[operand.node.index()] = true);
        }
    }
    needed
}
