//! Losses that reach a weight only through an operand to which no gradient flows.

use super::{holds, refused};
use crate::diagnostics::Code;

#[track_caller]
fn cannot_reach(text: &str, op: &str) {
    let found = refused(text);
    let [fault] = found.as_slice() else { panic!("{text}\n{found:#?}") };
    assert_eq!(fault.code, Code::CannotReach, "{text}\n{fault:#?}");
    assert!(fault.help.as_deref().is_some_and(|help| help.contains(&format!("`{op}`"))), "{fault:#?}");
}

const WARP: &str = "use std.optim.sgd
weight m: [2, 3] = [[1.0, 0.0, 0.1], [0.0, 1.0, 0.1]]
weight b: [4] = [0.0, 0.0, 2.0, 2.0]
weight s: [] = 1.0
let image: [1, 3, 3] = [[[0.0, 1.0, 2.0], [1.0, 2.0, 3.0], [2.0, 3.0, 4.0]]]
";

#[test]
fn the_map_of_a_warp_is_out_of_reach() {
    cannot_reach(
        &format!("{WARP}train t(steps: 1) {{ minimize mean(warp(image, m, 3, 3)^2) using sgd(0.1) }}"),
        "warp",
    );
    cannot_reach(
        &format!("{WARP}train t(steps: 1) {{ minimize mean(exp(warp(image, 2 * m, 3, 3))) over m using sgd(0.1) }}"),
        "warp",
    );
}

#[test]
fn the_box_of_a_crop_is_out_of_reach() {
    cannot_reach(
        &format!("{WARP}train t(steps: 1) {{ minimize mean(crop_resize(image, b, 2, 2)) using sgd(0.1) }}"),
        "crop_resize",
    );
    // Another weight is reached; the one that is asked for is not.
    cannot_reach(
        &format!(
            "{WARP}train t(steps: 1) {{ minimize mean(s * crop_resize(image, b, 2, 2)) over s, b using sgd(0.1) }}"
        ),
        "crop_resize",
    );
}

#[test]
fn the_image_of_a_warp_is_reached_and_the_map_stays() {
    holds(&format!(
        "{WARP}train t(steps: 1) {{ minimize mean(warp(s * image, m, 3, 3)) using sgd(0.1) }}
        assert s < 1.0 and near(m[0], [1.0, 0.0, 0.1])
        let g = grad(mean(warp(s * image, m, 3, 3)), m)
        assert near(g, zeros(2, 3))"
    ));
}

#[test]
fn a_map_that_also_acts_elsewhere_is_reached_there() {
    holds(&format!(
        "{WARP}train t(steps: 1) {{ minimize mean(warp(image, m, 3, 3)) + sum(m) using sgd(0.5) }}
        assert near(m, [[0.5, -0.5, -0.4], [-0.5, 0.5, -0.4]])"
    ));
}
