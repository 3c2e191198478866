//! What a run says by itself about how it goes: weights that stand still, losses and outputs that say nothing.

use crate::events::{Spread, quantity};

use super::health;
use super::watch::Watch;

/// What one loop has shown so far.
#[derive(Default)]
pub struct Notices {
    /// The first steps.
    pub watch: Watch,
    /// The loss when the nets say nothing, until it has been told that the loss stays there.
    pub silent: Option<f64>,
    /// How far the rows of outputs differ in the last step of the epoch.
    pub spreads: Vec<Spread>,
    /// An output has been named whose rows do not differ.
    flat_told: bool,
}

impl Notices {
    /// What to say after an epoch with a mean loss; each thing once.
    pub fn after_epoch(&mut self, loss: Option<f64>) -> Option<String> {
        if let (Some(silent), Some(loss)) = (self.silent, loss)
            && health::is_near(loss, silent)
        {
            (self.silent, self.flat_told) = (None, true);
            return Some(format!(
                "the loss stays at {}, which it is when all outputs of the nets are equal: they have collapsed, or nothing \
                 is learned{}",
                quantity(silent),
                told(&self.spreads)
            ));
        }
        let flat: Vec<Spread> = self.spreads.iter().filter(|spread| health::is_flat(spread)).cloned().collect();
        if flat.is_empty() || std::mem::replace(&mut self.flat_told, true) {
            return None;
        }
        Some(format!("outputs hardly differ from row to row{}", told(&flat)))
    }
}

/// What the spreads say, to follow a sentence.
fn told(spreads: &[Spread]) -> String {
    let one = |spread: &Spread| {
        let size = spread.dimensions as f64;
        format!(
            "; `{}`: deviation {} where {} is even, effective rank {} of {size}, entropy of assignments {} of {}",
            spread.name,
            quantity(spread.deviation.0),
            quantity(1.0 / size.sqrt()),
            quantity(spread.rank.0),
            quantity(spread.entropy.0),
            quantity(size.ln()),
        )
    };
    spreads.iter().map(one).collect()
}
