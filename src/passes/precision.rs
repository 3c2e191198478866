//! Rounds the operands of products to a shorter float; what they give, and all else, stays as it is.
//!
//! It comes after gradients are expanded, so that backward products round their cotangents too, as PyTorch's autocast does.

use crate::graph::rewrite::rewrite;
use crate::graph::{Attr, Attrs};
use crate::ops::conv::{CONV2D, CONV2D_INPUT_GRADIENT, CONV2D_WEIGHT_GRADIENT};
use crate::ops::elementwise::NARROW;
use crate::ops::linalg::MATMUL;

use super::{PassError, Rewritten, Subject};

pub(super) fn run(subject: &Subject<'_>) -> Result<Rewritten, PassError> {
    let Some(narrow) = subject.narrow else { return Ok(None) };
    let products = [&MATMUL, &CONV2D, &CONV2D_INPUT_GRADIENT, &CONV2D_WEIGHT_GRADIENT];
    let done = rewrite(subject.graph, |rewriter, _, node, operands| {
        if !products.contains(&node.op) {
            return Ok::<_, PassError>(rewriter.copy(node, operands));
        }
        rewriter.builder.section = node.section;
        rewriter.builder.origin = node.origin;
        let attrs = Attrs::none().with("to", Attr::Text(narrow.name().into()));
        let rounded: Vec<_> =
            operands.iter().map(|operand| rewriter.builder.must(&NARROW, &[*operand], attrs.clone())).collect();
        Ok(rewriter.copy(node, &rounded))
    })?;
    Ok(Some(done))
}
