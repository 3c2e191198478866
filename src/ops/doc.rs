//! The primitives as a page: what `ssl doc ops` prints and `docs/ops.md` holds.

use super::{FAMILIES, Gradient, Op, Rows};

/// All families, in Markdown.
pub fn page() -> String {
    let mut text = String::from(
        "# Primitives\n\n\
         What graphs are made of. Each is one block in `src/ops/`: its types, its gradient, its kernel, what it costs. All\n\
         run on the CPU and, built with `--features cuda`, on CUDA devices. The cost is in floating point operations.\n",
    );
    for (family, ops) in FAMILIES {
        text.push_str(&format!("\n## {family}\n"));
        ops.iter().for_each(|op| text.push_str(&entry(op)));
    }
    text
}

/// One op, as in the page.
pub fn entry(op: &Op) -> String {
    let mut text = format!("\n### {}\n\n`{}{}`\n\n{}\n", op.name, op.name, op.signature, op.doc);
    text.push_str(&format!("\n- gradient: {}\n", gradient(op)));
    text.push_str(&format!("- rows: {}\n- cost: {}\n", rows(op), op.flops.1));
    op.examples.iter().for_each(|example| text.push_str(&format!("- `{example}`\n")));
    text
}

fn gradient(op: &Op) -> String {
    match op.gradient {
        Gradient::Rule(_) => "yes".into(),
        Gradient::Except(at, why, _) => format!("yes, but for operand {at}: {why}"),
        Gradient::Zero(why) => format!("zero: {why}"),
        Gradient::None(why) => format!("none: {why}"),
        Gradient::Structural => "part of the gradient pass".into(),
    }
}

fn rows(op: &Op) -> String {
    match op.rows {
        Rows::Leading => "any leading axes".into(),
        Rows::Rule(_) => "its own rule".into(),
        Rows::Mixed(why) => format!("not lifted: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `ssl doc ops > docs/ops.md` makes the page again.
    #[test]
    fn the_page_in_docs_is_current() {
        assert!(page() == include_str!("../../docs/ops.md"), "docs/ops.md is old: write it with `ssl doc ops`");
    }
}
