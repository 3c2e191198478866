//! What learns, and from where it starts.

use std::collections::{BTreeMap, HashSet};

use super::{Finding, Seen, collect};
use crate::graph::OriginId;
use crate::ops::structure::GRADIENT;
use crate::program::{Init, Program, SlotId, SlotKind, Statement};

/// The first name of a path.
fn net(path: &str) -> &str {
    path.split('.').next().unwrap_or(path)
}

/// The layer of a weight: its path without the last name.
fn layer(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(layer, _)| layer)
}

/// Slots that some statement of a program changes or fills.
fn changed(program: &Program) -> HashSet<SlotId> {
    let mut loops = Vec::new();
    collect(&program.body, &mut loops);
    let of_loops = loops.iter().flat_map(|looped| {
        looped.call.step.commits.iter().filter_map(|(formal, _)| looped.call.slots.get(formal.0).copied())
    });
    let mut slots: HashSet<SlotId> = of_loops.collect();
    others(&program.body, &mut slots);
    slots
}

/// What is written outside of loops.
fn others(statements: &[Statement], slots: &mut HashSet<SlotId>) {
    for statement in statements {
        match statement {
            Statement::Load { slots: loaded, .. } => slots.extend(loaded.iter().map(|(_, slot)| *slot)),
            Statement::Compute(call) => {
                slots.extend(call.step.commits.iter().filter_map(|(formal, _)| call.slots.get(formal.0).copied()))
            }
            Statement::If { then, otherwise, .. } => {
                others(then, slots);
                others(otherwise, slots);
            }
            Statement::Repeat { body, .. } | Statement::Scope { body, .. } => others(body, slots),
            _ => {}
        }
    }
}

/// A net that the loss runs through, that nothing trains and that nothing filled.
pub fn never_trained(program: &Program, seen: &Seen<'_>) -> Vec<Finding> {
    if seen.backward.is_empty() || !takes_updates(seen) {
        return Vec::new();
    }
    let changed = changed(program);
    // A layer of which one weight is trained was chosen from: `over net where rank >= 2`.
    let trained: HashSet<&str> = changed.iter().map(|slot| layer(&program.slots[slot.0 as usize].path)).collect();
    let whole: HashSet<&str> = changed.iter().map(|slot| net(&program.slots[slot.0 as usize].path)).collect();
    let mut nets: BTreeMap<&str, OriginId> = BTreeMap::new();
    for slot in seen.backward.iter().flat_map(|backward| &backward.reached) {
        let info = &program.slots[slot.0 as usize];
        let drawn = matches!(info.init, Init::Draw(_));
        if info.kind == SlotKind::Weight && drawn && !trained.contains(layer(&info.path)) {
            // A net of which nothing is trained is told by its own name.
            let name = if whole.contains(net(&info.path)) { layer(&info.path) } else { net(&info.path) };
            nets.entry(name).or_insert(info.origin);
        }
    }
    let finding = |(net, origin): (&str, OriginId)| Finding {
        origin,
        headline: format!("the loss of `{}` runs through `{net}`, which nothing trains", seen.looped.name),
        fact: format!("`{net}` keeps its first draw"),
        help: "name it in `over`, or write `freeze(net)` or `stop(…)` where that is meant",
    };
    nets.into_iter().map(finding).collect()
}

/// Whether the step trains: a gradient alone is a question.
fn takes_updates(seen: &Seen<'_>) -> bool {
    seen.graph.nodes().any(|(_, node)| node.op == &GRADIENT)
}

/// A net that a step moves towards a trained one, and that began elsewhere.
pub fn own_teacher(program: &Program, seen: &Seen<'_>) -> Vec<Finding> {
    let step = &seen.looped.call.step;
    let slot_of = |formal: usize| seen.looped.call.slots.get(formal).copied();
    let inputs: Vec<_> = seen.graph.inputs.iter().zip(&step.inputs).collect();
    let trained: HashSet<SlotId> = step
        .graph
        .nodes()
        .filter(|(_, node)| node.op == &GRADIENT)
        .filter_map(|(_, node)| node.attrs.text("slot").map(str::to_owned))
        .filter_map(|path| step.formals.iter().position(|(name, _)| *name == path).and_then(slot_of))
        .collect();
    let mut filled = HashSet::new();
    others(&program.body, &mut filled);
    let mut found: BTreeMap<String, Finding> = BTreeMap::new();
    for (formal, value) in &step.commits {
        let Some(slot) = slot_of(formal.0) else { continue };
        let info = &program.slots[slot.0 as usize];
        if info.kind != SlotKind::Weight
            || trained.contains(&slot)
            || filled.contains(&slot)
            || !matches!(info.init, Init::Draw(_))
        {
            continue;
        }
        let sources = seen.sources(*value);
        let read: Vec<SlotId> = inputs
            .iter()
            .filter(|(value, _)| sources.contains(&value.node))
            .filter_map(|(_, input)| match input {
                crate::program::Input::Slot(formal) => slot_of(formal.0),
                _ => None,
            })
            .collect();
        let follows_itself = read.contains(&slot);
        let student = read.iter().find(|other| trained.contains(*other) && **other != slot);
        // The weights of the step before are what an average keeps; a plain copy of them needs no first value.
        if let (true, Some(student)) = (follows_itself, student) {
            let (own, other) = (net(&info.path), net(&program.slots[student.0 as usize].path));
            found.entry(own.to_string()).or_insert_with(|| Finding {
                origin: info.origin,
                headline: format!("`{own}` follows `{other}`, but begins with a draw of its own"),
                fact: "drawn here".into(),
                help: "begin equal: `net teacher = copy(student)`",
            });
        }
    }
    found.into_values().collect()
}
