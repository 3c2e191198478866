//! The stages of a program, for the verbs that show them.

use std::sync::Arc;

use crate::diagnostics::Diagnostic;
use crate::graph::Bindings;
use crate::program::{Length, Loop, LoopKind, Program, Statement, Step};
use crate::run::compile_step;

/// One step of a program, with where it stands.
pub struct Stage<'a> {
    pub step: &'a Arc<Step>,
    /// None for a computation of the flow.
    pub looped: Option<&'a Loop>,
    /// Flows, rounds and branches around it, from outside.
    pub around: Vec<String>,
}

impl Stage<'_> {
    pub fn name(&self) -> &str {
        self.looped.map_or(&self.step.name, |looped| &looped.name)
    }

    /// `train`, `pass` or `compute`.
    pub fn word(&self) -> &'static str {
        match self.looped.map(|looped| looped.kind) {
            Some(LoopKind::Train) => "train",
            Some(LoopKind::Pass) => "pass",
            None => "compute",
        }
    }

    /// The step after the passes.
    pub fn compiled(&self, program: &Program) -> Result<Step, Box<Diagnostic>> {
        compile_step(self.step, &program.origins)
    }

    /// The step as the CPU runs it.
    pub fn fused(&self, program: &Program) -> Result<Step, Box<Diagnostic>> {
        self.compiled(program).map(crate::passes::fuse)
    }

    /// The numbers of an ordinary batch.
    pub fn bindings(&self) -> Bindings {
        let witnesses = self.step.symbols.iter().filter_map(|symbol| Some((symbol.name.clone(), symbol.witness?)));
        let feeds = self.looped.iter().flat_map(|looped| &looped.feeds);
        witnesses.chain(feeds.map(|feed| (feed.symbol.clone(), feed.batch as i64))).collect()
    }

    /// Records of the first feed, as far as the source knows.
    pub fn records(&self, program: &Program) -> Option<usize> {
        let feed = self.looped?.feeds.first()?;
        let set = crate::data::open(&program.sources.get(feed.source.0)?.spec).ok()?;
        set.schema().splits.iter().find(|(name, _)| *name == feed.split)?.1
    }

    /// Epochs and steps; none where the data does not tell how many there are.
    pub fn length(&self, program: &Program) -> Option<(u64, u64)> {
        let Some(looped) = self.looped else { return Some((1, 1)) };
        let batch = looped.feeds.first().map_or(1, |feed| feed.batch.max(1));
        let each = match (looped.feeds.is_empty(), looped.kind) {
            (true, _) => None,
            (false, LoopKind::Train) => Some((self.records(program)? / batch) as u64),
            (false, LoopKind::Pass) => Some(self.records(program)?.div_ceil(batch) as u64),
        };
        Some(match (&looped.length, each) {
            (Length::Epochs(epochs), Some(each)) => (*epochs, epochs * each),
            (Length::Epochs(epochs), None) => (*epochs, *epochs),
            (Length::Steps(steps), Some(each)) => (steps.div_ceil(each.max(1)), *steps),
            (Length::Steps(steps), None) => (1, *steps),
        })
    }
}

/// Every stage in order, each step that several statements share once for each of them.
pub fn stages(program: &Program) -> Vec<Stage<'_>> {
    let mut found = Vec::new();
    walk(&program.body, &mut Vec::new(), &mut found);
    found
}

fn walk<'a>(body: &'a [Statement], around: &mut Vec<String>, found: &mut Vec<Stage<'a>>) {
    for statement in body {
        let mut inside = |name: String, body: &'a [Statement]| {
            around.push(name);
            walk(body, around, found);
            around.pop();
        };
        match statement {
            Statement::Compute(call) => {
                found.push(Stage { step: &call.step, looped: None, around: around.clone() });
            }
            Statement::Loop(looped) => {
                found.push(Stage { step: &looped.call.step, looped: Some(looped), around: around.clone() });
            }
            Statement::If { then, otherwise, .. } => {
                inside("if".into(), then);
                inside("else".into(), otherwise);
            }
            Statement::Repeat { count, body, .. } => {
                inside(count.map_or("repeat".into(), |count| format!("repeat {count}")), body);
            }
            Statement::Scope { name, body, .. } => inside(name.clone(), body),
            _ => {}
        }
    }
}
