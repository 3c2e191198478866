//! The folder of a run: `runs/NAME`, `runs/NAME-2`, …; nothing is ever overwritten unsaid.
//!
//! ```text
//! pipeline.ssl   settings.yaml   graph/*.txt   events.jsonl   report.json
//! checkpoints/<stage>/   weights.safetensors   optimiser.safetensors   state.json
//! ```

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde::Serialize;

use crate::events::{Event, Journal, Shown};
use crate::program::{Program, Step};

use super::RunOptions;
use super::fault::{self, Fault};
use super::files::{sync, write_safetensors, write_text};

pub struct RunFolder {
    path: PathBuf,
    journal: Journal,
    report: Report,
    graphs: HashSet<String>,
}

/// What `report.json` holds.
#[derive(Default, Serialize)]
struct Report {
    name: String,
    seed: u64,
    status: String,
    reports: Vec<ReportRow>,
    stages: Vec<Event>,
}

#[derive(Serialize)]
struct ReportRow {
    place: Vec<String>,
    values: serde_json::Map<String, serde_json::Value>,
}

/// What `state.json` of a checkpoint holds.
#[derive(Serialize)]
struct State<'a> {
    stage: &'a str,
    seed: u64,
    interrupted: bool,
    weights: usize,
    optimiser: usize,
    version: &'static str,
}

impl RunFolder {
    /// Makes the first free folder for the program, with its source and settings.
    pub fn create(out: &Path, program: &Program, options: &RunOptions) -> Result<RunFolder, Fault> {
        fs::create_dir_all(out).map_err(|error| fault::write(out, &error))?;
        let name = if program.name.is_empty() { "run" } else { &program.name };
        let path = first_free(out, name)?;
        let make = |path: PathBuf| fs::create_dir(&path).map_err(|error| fault::write(&path, &error));
        make(path.join("graph"))?;
        make(path.join("checkpoints"))?;
        write_text(&path.join("pipeline.ssl"), &options.source)?;
        write_text(&path.join("settings.yaml"), &settings(program, options))?;
        let events = path.join("events.jsonl");
        let journal = Journal::create(&events).map_err(|error| fault::write(&events, &error))?;
        let report = Report { name: name.into(), seed: options.seed, status: "running".into(), ..Report::default() };
        Ok(RunFolder { path, journal, report, graphs: HashSet::new() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn write(&mut self, event: &Event) -> Result<(), Fault> {
        match event {
            Event::Reported { place, rows } => {
                let json = |shown: &Shown| serde_json::to_value(shown).unwrap_or_default();
                let values = rows.iter().map(|(name, shown)| (name.clone(), json(shown))).collect();
                self.report.reports.push(ReportRow { place: place.clone(), values });
            }
            Event::StageEnded { .. } => self.report.stages.push(event.clone()),
            _ => {}
        }
        self.journal.write(event).map_err(|error| fault::write(&self.path.join("events.jsonl"), &error))
    }

    /// Keeps the printed form of a step, under its name.
    pub fn graph(&mut self, step: &Step) -> Result<(), Fault> {
        let base = file_name(&step.name);
        let free = |name: &String| !self.graphs.contains(name);
        let name = std::iter::once(base.clone()).chain((2..).map(|n| format!("{base}-{n}"))).find(free).unwrap_or(base);
        write_text(&self.path.join("graph").join(format!("{name}.txt")), &super::passes::printed(step))?;
        self.graphs.insert(name);
        Ok(())
    }

    /// Writes a checkpoint into a temporary folder, brings it to the disk and renames it: at any moment the folder of that
    /// name is whole. A stage that runs again, in another round, takes the place of its predecessor.
    pub fn checkpoint(
        &mut self,
        stage: &str,
        weights: &[(String, Tensor)],
        optimiser: &[(String, Tensor)],
        seed: u64,
        interrupted: bool,
    ) -> Result<String, Fault> {
        let checkpoints = self.path.join("checkpoints");
        let name = file_name(stage);
        let (part, whole, old) = (
            checkpoints.join(format!(".{name}.part")),
            checkpoints.join(&name),
            checkpoints.join(format!(".{name}.old")),
        );
        let io = |path: &Path, result: std::io::Result<()>| result.map_err(|error| fault::write(path, &error));
        let _ = fs::remove_dir_all(&part);
        io(&part, fs::create_dir(&part))?;
        let state = State {
            stage,
            seed,
            interrupted,
            weights: weights.len(),
            optimiser: optimiser.len(),
            version: env!("CARGO_PKG_VERSION"),
        };
        let state = serde_json::to_string_pretty(&state)
            .map_err(|error| fault::write(&part.join("state.json"), &error.into()))?;
        let written = write_safetensors(&part.join("weights.safetensors"), weights, &[])
            .and_then(|()| write_safetensors(&part.join("optimiser.safetensors"), optimiser, &[]))
            .and_then(|()| write_text(&part.join("state.json"), &(state + "\n")));
        if let Err(fault) = written {
            let _ = fs::remove_dir_all(&part);
            return Err(fault);
        }
        io(&part, sync(&part))?;
        if whole.exists() {
            let _ = fs::remove_dir_all(&old);
            io(&whole, fs::rename(&whole, &old))?;
        }
        io(&whole, fs::rename(&part, &whole))?;
        io(&checkpoints, sync(&checkpoints))?;
        let _ = fs::remove_dir_all(&old);
        Ok(whole.display().to_string())
    }

    /// Writes the report. Called once, at the end.
    pub fn finish(&mut self, status: &str) -> Result<(), Fault> {
        self.report.status = status.into();
        let path = self.path.join("report.json");
        let text = serde_json::to_string_pretty(&self.report).map_err(|error| fault::write(&path, &error.into()))?;
        write_text(&path, &(text + "\n"))
    }
}

/// Makes `name`, or `name-2`, `name-3`, … where those exist already. Two runs that start at once get two folders.
fn first_free(out: &Path, name: &str) -> Result<PathBuf, Fault> {
    let mut number = 1;
    loop {
        let path = out.join(if number == 1 { name.to_owned() } else { format!("{name}-{number}") });
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(fault::write(&path, &error)),
        }
    }
}

/// Settings as resolved, and what else decides the result.
fn settings(program: &Program, options: &RunOptions) -> String {
    let mut all = serde_yaml::Mapping::new();
    all.insert("seed".into(), options.seed.into());
    let values = program.settings.iter().map(|(name, value)| {
        // A value is kept as YAML understands it: a number stays a number.
        let value = serde_yaml::from_str(value).unwrap_or_else(|_| value.as_str().into());
        (serde_yaml::Value::from(name.as_str()), value)
    });
    all.insert("settings".into(), serde_yaml::Value::Mapping(values.collect()));
    serde_yaml::to_string(&all).unwrap_or_default()
}

/// A name that every file system takes.
fn file_name(name: &str) -> String {
    let keep = |c: char| if c.is_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '-' };
    let text: String = name.chars().map(keep).collect();
    let text = text.trim_matches(['-', '.']).to_owned();
    if text.is_empty() { "step".into() } else { text }
}

/// The weights of a run: those of its newest checkpoint.
pub fn weights_of(run: &Path) -> Result<std::collections::HashMap<String, Tensor>, Fault> {
    let checkpoints = run.join("checkpoints");
    let entries = fs::read_dir(&checkpoints).map_err(|error| fault::read(&checkpoints, &error))?;
    let mut found: Vec<(std::time::SystemTime, PathBuf)> = entries
        .flatten()
        .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
        .map(|entry| entry.path().join("weights.safetensors"))
        .filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path)))
        .collect();
    found.sort();
    match found.last() {
        Some((_, path)) => super::files::read_safetensors(path),
        None => Err(fault::read(&checkpoints.join("…/weights.safetensors"), &std::io::ErrorKind::NotFound.into())),
    }
}
