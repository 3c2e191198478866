//! Where the time of steps goes: inside kernels, by op and by source line, and outside them.

use std::collections::HashMap;
use std::time::Duration;

use crate::events::{Event, ProfileRow};
use crate::graph::OriginId;
use crate::plan::Program;

/// Rows that a table shows.
const ROWS: usize = 25;

/// Kernel times of one program, place by place.
#[derive(Default)]
pub struct Account {
    nanos: Vec<u64>,
    pub runs: u64,
    pub instructions: u64,
}

impl Account {
    /// Time inside kernels so far.
    pub fn inside(&self) -> Duration {
        Duration::from_nanos(self.nanos.iter().sum())
    }

    pub(super) fn nanos(&mut self, instructions: usize) -> &mut [u64] {
        self.nanos.resize(instructions, 0);
        &mut self.nanos
    }
}

/// What a whole run spent.
#[derive(Default)]
pub struct Profile {
    ops: HashMap<&'static str, (u64, u64)>,
    origins: HashMap<OriginId, (u64, u64)>,
    wall: Duration,
    inside: u64,
    instructions: u64,
}

impl Profile {
    /// Adds the account of one program, and the wall time of its steps without the loader.
    pub fn add(&mut self, program: &Program, account: &Account, wall: Duration) {
        for (instruction, nanos) in program.instructions.iter().zip(&account.nanos) {
            for row in
                [self.ops.entry(instruction.op.name).or_default(), self.origins.entry(instruction.origin).or_default()]
            {
                row.0 += account.runs;
                row.1 += nanos;
            }
            self.inside += nanos;
        }
        self.wall += wall;
        self.instructions += account.instructions;
    }

    /// `line` names the source line of an origin.
    pub fn event(&self, line: &dyn Fn(OriginId) -> Option<String>) -> Event {
        let mut by_line: HashMap<String, (u64, u64)> = HashMap::new();
        for (origin, (calls, nanos)) in &self.origins {
            let row = by_line.entry(line(*origin).unwrap_or_else(|| "(compiler)".into())).or_default();
            row.0 += calls;
            row.1 += nanos;
        }
        let (wall, inside) = (self.wall.as_secs_f64(), self.inside as f64 * 1e-9);
        Event::Profiled {
            overhead: if wall > 0.0 { ((wall - inside) / wall).max(0.0) } else { 0.0 },
            wall,
            inside,
            instructions: self.instructions,
            ops: rows(self.ops.iter().map(|(op, row)| ((*op).to_owned(), *row))),
            lines: rows(by_line.into_iter()),
        }
    }
}

/// The rows that took longest.
fn rows(found: impl Iterator<Item = (String, (u64, u64))>) -> Vec<ProfileRow> {
    let mut rows: Vec<ProfileRow> =
        found.map(|(name, (calls, nanos))| ProfileRow { name, calls, seconds: nanos as f64 * 1e-9 }).collect();
    rows.sort_by(|a, b| b.seconds.total_cmp(&a.seconds).then_with(|| a.name.cmp(&b.name)));
    rows.truncate(ROWS);
    rows
}
