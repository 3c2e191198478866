//! Everything that a run says, as one closed enum.
//!
//! In: facts from the runtime, as they happen. Out: JSON lines in the run folder ([`Journal`]) and lines or bars on a
//! terminal ([`Terminal`]). Never here: a tensor, a decision, a clock read for any other purpose than telling the time.

mod journal;
mod table;
mod terminal;

use serde::{Deserialize, Serialize};

pub use journal::Journal;
pub use table::{count, duration, quantity, size, table};
pub use terminal::{Style, Terminal, report_table};

/// What a run says. Serialised names are a promise to those who read `events.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    RunStarted {
        name: String,
        /// None when nothing is written.
        folder: Option<String>,
        seed: u64,
        threads: usize,
        device: String,
        version: String,
    },
    StageStarted {
        stage: String,
        kind: StageKind,
        /// Nets that learn here, with their numbers of weights.
        trains: Vec<(String, usize)>,
        /// Records of the first source; none without data, or for an endless stream.
        records: Option<usize>,
        batch: Option<usize>,
        epochs: u64,
        steps: u64,
        /// Of one step.
        flops: f64,
        /// Bytes that the plan needs at its worst moment, what outlives the step included.
        predicted: u64,
    },
    /// The values that one step logged.
    Logged {
        stage: String,
        step: u64,
        values: Vec<(String, Number)>,
    },
    /// Where a stage stands; not more often than a reader can follow.
    Progressed {
        stage: String,
        epoch: u64,
        epochs: u64,
        step: u64,
        steps: u64,
        rows_per_second: f64,
        seconds_left: f64,
        values: Vec<(String, Number)>,
    },
    EpochEnded {
        stage: String,
        epoch: u64,
        epochs: u64,
        seconds: f64,
        rows_per_second: f64,
        seconds_left: f64,
        /// Means of the logged values over the epoch.
        values: Vec<(String, Number)>,
        /// Of the last step of a `train`, for each output of a net that is a table.
        spreads: Vec<Spread>,
    },
    StageEnded {
        stage: String,
        kind: StageKind,
        steps: u64,
        rows: u64,
        seconds: f64,
        /// Of these, spent waiting for batches.
        waited: f64,
        predicted: u64,
        /// Growth of the process at its worst moment since the stage began, where the system tells.
        measured: Option<u64>,
        /// Logged and measured values at the end.
        values: Vec<(String, Number)>,
        interrupted: bool,
    },
    Saved {
        what: String,
        path: String,
    },
    /// Something that a reader of the log should know, and that stops nothing.
    Noticed {
        stage: String,
        text: String,
    },
    Loaded {
        what: String,
        path: String,
        /// Whether the file had nothing else.
        whole: bool,
    },
    /// One row of the final report.
    Reported {
        /// Rounds and arms around the statement, from outside.
        place: Vec<String>,
        rows: Vec<(String, Shown)>,
    },
    Profiled {
        /// (wall time of steps without the loader - time inside kernels) / wall time.
        overhead: f64,
        wall: f64,
        inside: f64,
        instructions: u64,
        ops: Vec<ProfileRow>,
        lines: Vec<ProfileRow>,
    },
    Failed {
        code: String,
        headline: String,
    },
    RunEnded {
        seconds: f64,
        interrupted: bool,
    },
}

/// How far the rows of what a net gives differ: a collapse shows here first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub name: String,
    pub dimensions: usize,
    /// The deviation of a dimension over rows of length 1, the mean over dimensions; of evenly spread rows it is
    /// 1 / sqrt(dimensions).
    pub deviation: Number,
    /// The exponential of the entropy of the singular values (RankMe, Garrido et al. 2023): at most `dimensions`.
    pub rank: Number,
    /// Of the mean of the softmax of rows, in nats: ln(dimensions) where all are used alike.
    pub entropy: Number,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageKind {
    Train,
    Pass,
}

/// A number that JSON may not know: infinities and NaN are written as words.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "serde_json::Value", try_from = "serde_json::Value")]
pub struct Number(pub f64);

impl From<Number> for serde_json::Value {
    fn from(number: Number) -> serde_json::Value {
        match serde_json::Number::from_f64(number.0) {
            Some(finite) => finite.into(),
            None => number.0.to_string().into(),
        }
    }
}

impl TryFrom<serde_json::Value> for Number {
    type Error = String;

    fn try_from(value: serde_json::Value) -> Result<Number, String> {
        let number = match &value {
            serde_json::Value::String(word) => word.parse().ok(),
            other => other.as_f64(),
        };
        number.map(Number).ok_or_else(|| format!("{value} is not a number"))
    }
}

/// A value of a report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Shown {
    Number(Number),
    Flag(bool),
    Numbers(Vec<Number>),
    /// A tensor of more axes, along its first.
    Parts(Vec<Shown>),
    /// Also what is too large to show: its type.
    Text(String),
}

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Shown::Number(number) => f.write_str(&quantity(number.0)),
            Shown::Flag(flag) => write!(f, "{flag}"),
            Shown::Numbers(numbers) => {
                let numbers: Vec<String> = numbers.iter().map(|number| quantity(number.0)).collect();
                write!(f, "[{}]", numbers.join(", "))
            }
            Shown::Parts(parts) => {
                let parts: Vec<String> = parts.iter().map(Shown::to_string).collect();
                write!(f, "[{}]", parts.join(", "))
            }
            Shown::Text(text) => f.write_str(text),
        }
    }
}

/// Time inside kernels, by op or by source line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProfileRow {
    pub name: String,
    pub calls: u64,
    pub seconds: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_back_from_their_line() {
        let values = vec![("loss".to_owned(), Number(0.5)), ("spread".to_owned(), Number(f64::INFINITY))];
        let event = Event::Logged { stage: "pretrain".into(), step: 3, values };
        let line = serde_json::to_string(&event).unwrap();
        assert_eq!(line, r#"{"event":"logged","stage":"pretrain","step":3,"values":[["loss",0.5],["spread","inf"]]}"#);
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
    }

    #[test]
    fn shown_values_are_read_back() {
        for shown in [Shown::Number(Number(2.0)), Shown::Flag(true), Shown::Numbers(vec![Number(1.5)])] {
            let text = serde_json::to_string(&shown).unwrap();
            assert_eq!(serde_json::from_str::<Shown>(&text).unwrap(), shown);
        }
    }
}
