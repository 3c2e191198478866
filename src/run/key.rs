//! Random keys: every draw belongs to a place.
//!
//! The key of a seed is its two words, low first. Everything else is folded from it (see `kernels::philox`): the rounds
//! and called flows around a statement from outside, then what is drawn there.
//!
//! | key | folded from the seed by |
//! | --- | --- |
//! | first value of a slot | rounds, `slot`, the slot's path |
//! | a step of a loop | rounds and flows, `loop`, its name, `step`, the step's number |
//! | an epoch of a loop | rounds and flows, `loop`, its name, `epoch`, the epoch's number |
//! | order of a feed | rounds and flows, `loop`, its name, and what `data::order` folds in: feed, pass over it |
//! | a computation of the flow | rounds and flows, `compute`, the step's name |
//!
//! What stands in parentheses in the name of a scope or in a slot's path says which arm of a sweep it is. It is left out,
//! so that arms which differ in anything but the seed draw the same.

use crate::kernels::philox::{Key, fold_index, fold_path};

/// Where the interpreter stands.
#[derive(Clone, Debug)]
pub struct Place {
    seed: u64,
    trail: Vec<Mark>,
}

#[derive(Clone, Debug)]
enum Mark {
    /// A called flow, or the arms of a sweep.
    Flow(String),
    Round(i64),
}

impl Place {
    pub fn new(seed: u64) -> Place {
        Place { seed, trail: Vec::new() }
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Inside a scope.
    pub fn scope(&self, name: &str, seed: Option<u64>) -> Place {
        let mut place = self.clone();
        place.trail.push(Mark::Flow(without_arms(name)));
        place.seed = seed.unwrap_or(self.seed);
        place
    }

    /// Inside a round of a `repeat`.
    pub fn round(&self, index: i64) -> Place {
        let mut place = self.clone();
        place.trail.push(Mark::Round(index));
        place
    }

    fn root(&self) -> Key {
        [self.seed as u32, (self.seed >> 32) as u32]
    }

    fn here(&self) -> Key {
        self.trail.iter().fold(self.root(), |key, mark| match mark {
            Mark::Flow(name) => fold_path(key, name),
            Mark::Round(index) => fold_index(key, *index),
        })
    }

    pub fn slot(&self, path: &str) -> Key {
        // Paths of slots hold the names of flows already.
        let key = self.trail.iter().fold(self.root(), |key, mark| match mark {
            Mark::Flow(_) => key,
            Mark::Round(index) => fold_index(key, *index),
        });
        fold_path(fold_path(key, "slot"), &without_arms(path))
    }

    pub fn compute(&self, name: &str) -> Key {
        fold_path(fold_path(self.here(), "compute"), &without_arms(name))
    }

    pub fn enter_loop(&self, name: &str) -> LoopKeys {
        let base = fold_path(fold_path(self.here(), "loop"), &without_arms(name));
        LoopKeys { base, step: fold_path(base, "step"), epoch: fold_path(base, "epoch") }
    }
}

/// The keys of one entered loop.
#[derive(Clone, Copy, Debug)]
pub struct LoopKeys {
    /// For the order of feeds.
    pub base: Key,
    step: Key,
    epoch: Key,
}

impl LoopKeys {
    pub fn step(&self, step: u64) -> Key {
        fold_index(self.step, step as i64)
    }

    pub fn epoch(&self, epoch: u64) -> Key {
        fold_index(self.epoch, epoch as i64)
    }
}

/// A name without its parts in parentheses.
fn without_arms(name: &str) -> String {
    let mut depth = 0usize;
    let mut text = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 => text.push(character),
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_draw_differently() {
        let place = Place::new(7);
        let keys = [
            place.slot("net.weight"),
            place.round(0).slot("net.weight"),
            place.round(1).slot("net.weight"),
            place.slot("net.bias"),
            place.compute("net.weight"),
            place.enter_loop("fit").step(0),
            place.enter_loop("fit").step(1),
            place.enter_loop("fit").epoch(0),
            place.enter_loop("fit").base,
            place.scope("probe", None).enter_loop("fit").step(0),
            Place::new(7 << 32).slot("net.weight"),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[at + 1..].contains(key), "{at}");
        }
    }

    #[test]
    fn arms_of_a_sweep_are_paired() {
        let place = Place::new(7);
        let arm = |name: &str, seed| place.scope(name, seed).enter_loop("fit").step(3);
        assert_eq!(arm("arm(lr: 0.1)", None), arm("arm(lr: 1.0)", None));
        assert_ne!(arm("arm(seed: 0)", Some(0)), arm("arm(seed: 1)", Some(1)));
        assert_eq!(place.slot("arm(lr: 0.1).net.weight"), place.slot("arm(lr: 1.0).net.weight"));
        assert_eq!(place.enter_loop("arm(lr: 0.1).fit").step(3), place.enter_loop("arm(lr: 1.0).fit").step(3));
        assert_eq!(place.compute("arm(lr: 0.1).e"), place.compute("arm(lr: 1.0).e"));
    }
}
