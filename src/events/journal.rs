//! Events as JSON lines in a file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Event;

/// How long a line may stay in memory: a crash loses no more than this.
const LINGER: Duration = Duration::from_secs(1);

/// `events.jsonl`: one event a line, with the seconds since the run began.
pub struct Journal {
    file: BufWriter<File>,
    begun: Instant,
    flushed: Instant,
}

#[derive(Serialize)]
struct Line<'a> {
    at: f64,
    #[serde(flatten)]
    event: &'a Event,
}

impl Journal {
    pub fn create(path: &Path) -> io::Result<Journal> {
        let file = BufWriter::new(File::create(path)?);
        Ok(Journal { file, begun: Instant::now(), flushed: Instant::now() })
    }

    pub fn write(&mut self, event: &Event) -> io::Result<()> {
        let at = (self.begun.elapsed().as_secs_f64() * 1e3).round() / 1e3;
        serde_json::to_writer(&mut self.file, &Line { at, event })?;
        self.file.write_all(b"\n")?;
        if self.flushed.elapsed() > LINGER || !matches!(event, Event::Logged { .. }) {
            self.file.flush()?;
            self.flushed = Instant::now();
        }
        Ok(())
    }
}
