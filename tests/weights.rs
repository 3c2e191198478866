//! The weights and buffers of the library's nets have the names and shapes of torchvision (residual nets) and timm (vision
//! transformers), as `fixtures/weights/` lists them.

mod support;

use std::collections::BTreeSet;

use ssl::diagnostics::{Format, Severity, render};
use ssl::elaborate::{Settings, elaborate};
use ssl::resolve::load;
use ssl::source::{Disk, SourceMap};
use support::fixture_text;

/// `name [sizes]` of each weight and buffer after the net met one picture; nothing is computed.
fn entries(net: &str, side: usize) -> BTreeSet<String> {
    let program =
        format!("use std.net.{net}\nnet f = {net}(classes: 1000)\nlet scores = f(zeros(1, 3, {side}, {side}))\n");
    let mut sources = SourceMap::default();
    let entry = sources.add("weights.ssl", None, program);
    let (modules, _) = load(entry, &mut sources, &Disk);
    let (elaborated, found) = elaborate(&modules, &sources, &Settings::default());
    let errors = found.iter().filter(|one| one.severity == Severity::Error);
    let errors: Vec<String> = errors.map(|one| render(one, &sources, Format::Human { colour: false })).collect();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
    let entry = |slot: &ssl::program::Slot| {
        let sizes: Vec<String> = slot.ty.shape.iter().map(|size| size.to_string()).collect();
        slot.path.strip_prefix("f.").map(|name| format!("{name} [{}]", sizes.join(", ")))
    };
    elaborated.program.slots.iter().filter_map(entry).collect()
}

fn agrees(net: &str, side: usize) {
    let text = fixture_text(&format!("weights/{net}.txt"));
    let wanted: BTreeSet<String> = text.lines().map(str::to_string).collect();
    let have = entries(net, side);
    let missing: Vec<_> = wanted.difference(&have).collect();
    let unexpected: Vec<_> = have.difference(&wanted).collect();
    assert!(missing.is_empty() && unexpected.is_empty(), "{net}: missing {missing:?}, unexpected {unexpected:?}");
}

#[test]
fn residual_nets_carry_the_names_of_torchvision() {
    ["resnet18", "resnet34", "resnet50"].into_iter().for_each(|net| agrees(net, 64));
}

#[test]
fn vision_transformers_carry_the_names_of_timm() {
    ["vit_tiny", "vit_small", "vit_base", "vit_large"].into_iter().for_each(|net| agrees(net, 224));
}
