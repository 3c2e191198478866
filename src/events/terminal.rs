//! Events for a person: bars where standard error is a terminal, lines at sensible times elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::table::{count, duration, quantity, size, table};
use super::{Event, Number, ProfileRow, Shown, StageKind};

/// The longest silence between two lines of progress when no bar can be drawn.
const SILENCE: Duration = Duration::from_secs(20);

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A bar that is redrawn.
    Bar,
    Lines,
    /// Reports and failures only.
    Quiet,
}

impl Style {
    /// A bar only where somebody watches.
    pub fn detect(quiet: bool) -> Style {
        match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Style::Quiet,
            (false, true) => Style::Bar,
            (false, false) => Style::Lines,
        }
    }
}

/// Progress goes to standard error; the final report, which is the result, to `results`.
pub struct Terminal<R, P> {
    style: Style,
    results: R,
    progress: P,
    bar: Option<ProgressBar>,
    spoke: Instant,
    reports: Vec<Report>,
}

/// Rounds and arms around a report, and its values by name.
pub type Report = (Vec<String>, Vec<(String, Shown)>);

impl<R: Write, P: Write> Terminal<R, P> {
    pub fn new(style: Style, results: R, progress: P) -> Terminal<R, P> {
        Terminal { style, results, progress, bar: None, spoke: Instant::now(), reports: Vec::new() }
    }

    pub fn show(&mut self, event: &Event) {
        match event {
            Event::Reported { place, rows } => self.reports.push((place.clone(), rows.clone())),
            Event::RunEnded { seconds, interrupted } => self.end(*seconds, *interrupted),
            Event::Failed { .. } => self.report(),
            Event::Profiled { overhead, wall, inside, instructions, ops, lines } => {
                self.profile(*overhead, *wall, *inside, *instructions, ops, lines);
            }
            _ if self.style == Style::Quiet => {}
            Event::RunStarted { folder, seed, threads, device, .. } => {
                let folder = folder.as_ref().map(|folder| format!("{folder}  ")).unwrap_or_default();
                self.line(&format!("{folder}seed {seed}, {threads} threads, {device}"));
            }
            Event::StageStarted { .. } => self.stage_started(event),
            Event::Progressed { .. } => self.progressed(event),
            Event::EpochEnded { .. } => self.epoch_ended(event),
            Event::StageEnded { .. } => self.stage_ended(event),
            Event::Saved { what, path } => self.line(&format!("  saved {what} to {path}")),
            Event::Noticed { text, .. } => self.line(&format!("  note: {text}")),
            Event::Loaded { what, path, .. } => self.line(&format!("  loaded {what} from {path}")),
            Event::Logged { .. } => {}
        }
    }

    fn line(&mut self, text: &str) {
        self.spoke = Instant::now();
        match &self.bar {
            Some(bar) => bar.println(text),
            // A closed standard error must not end a run.
            None => drop(writeln!(self.progress, "{text}")),
        }
    }

    fn stage_started(&mut self, event: &Event) {
        let Event::StageStarted { stage, kind, trains, records, batch, epochs, steps, flops, predicted } = event else {
            return;
        };
        let mut facts = Vec::new();
        if !trains.is_empty() {
            let nets = trains.iter().map(|(net, weights)| format!("{net} ({} weights)", count(*weights as u64)));
            facts.push(nets.collect::<Vec<_>>().join(", "));
        }
        if let (Some(records), Some(batch)) = (records, batch) {
            facts.push(format!("{} records in batches of {batch}", count(*records as u64)));
        }
        facts.push(match kind {
            StageKind::Train if *epochs > 1 => format!("{epochs} epochs, {} steps", count(*steps)),
            _ => format!("{} steps", count(*steps)),
        });
        if *flops > 1e6 {
            facts.push(format!("{} GFLOP a step", quantity(flops / 1e9)));
        }
        facts.push(format!("{} by plan", size(*predicted)));
        let word = match kind {
            StageKind::Train => "train",
            StageKind::Pass => "pass",
        };
        self.line(&format!("{word} {stage}: {}", facts.join("; ")));
        if self.style == Style::Bar {
            let bar = ProgressBar::with_draw_target(Some(*steps), ProgressDrawTarget::stderr_with_hz(8));
            if let Ok(style) = ProgressStyle::with_template("  {bar:28} {pos}/{len}  {msg}") {
                bar.set_style(style.progress_chars("━╸ "));
            }
            self.bar = Some(bar);
        }
    }

    fn progressed(&mut self, event: &Event) {
        let Event::Progressed { epoch, epochs, step, steps, rows_per_second, seconds_left, values, .. } = event else {
            return;
        };
        let rest =
            format!("{}{} rows/s, {} left", named(values), quantity(rows_per_second.round()), duration(*seconds_left));
        if let Some(bar) = &self.bar {
            bar.set_position(*step);
            bar.set_message(rest);
        } else if self.spoke.elapsed() > SILENCE {
            self.line(&format!("  epoch {}/{epochs}, step {step}/{steps}: {rest}", epoch + 1));
        }
    }

    fn epoch_ended(&mut self, event: &Event) {
        let Event::EpochEnded { epoch, epochs, rows_per_second, seconds_left, values, .. } = event else { return };
        // Many short epochs would flood the screen.
        let last = epoch + 1 == *epochs;
        if *epochs > 40 && !last && self.spoke.elapsed() < Duration::from_secs(5) {
            return;
        }
        self.line(&format!(
            "  epoch {}/{epochs}: {}{} rows/s, {} left",
            epoch + 1,
            named(values),
            quantity(rows_per_second.round()),
            duration(*seconds_left)
        ));
    }

    fn stage_ended(&mut self, event: &Event) {
        let Event::StageEnded { stage, seconds, waited, measured, predicted, values, interrupted, .. } = event else {
            return;
        };
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let mut text =
            format!("  {stage} {} after {}", if *interrupted { "stopped" } else { "done" }, duration(*seconds));
        if !values.is_empty() {
            text += &format!(": {}", named(values).trim_end_matches(", "));
        }
        if *seconds > 0.0 && waited / seconds > 0.01 {
            text += &format!("; waited {:.0} % for data", 100.0 * waited / seconds);
        }
        if let Some(measured) = measured {
            text += &format!("; memory {} by plan, {} measured", size(*predicted), size(*measured));
        }
        self.line(&text);
    }

    fn profile(
        &mut self,
        overhead: f64,
        wall: f64,
        inside: f64,
        instructions: u64,
        ops: &[ProfileRow],
        lines: &[ProfileRow],
    ) {
        let mut text = format!(
            "overhead {:.2} % = ({wall:.3} s of steps - {inside:.3} s inside kernels) / {wall:.3} s, {} instructions\n",
            100.0 * overhead,
            count(instructions)
        );
        for (head, rows) in [("op", ops), ("line", lines)] {
            let rows: Vec<Vec<String>> = rows
                .iter()
                .map(|row| {
                    let share = if inside > 0.0 { 100.0 * row.seconds / inside } else { 0.0 };
                    vec![row.name.clone(), count(row.calls), format!("{:.3}", row.seconds), format!("{share:.1}")]
                })
                .collect();
            text += &table(&[head, "calls", "seconds", "%"], &rows);
        }
        drop(write!(self.results, "{text}"));
    }

    fn end(&mut self, seconds: f64, interrupted: bool) {
        self.report();
        if self.style != Style::Quiet {
            let how = if interrupted { "interrupted" } else { "done" };
            self.line(&format!("{how} after {}", duration(seconds)));
        }
    }

    /// The rows of all `report` statements as one table.
    fn report(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let reports = std::mem::take(&mut self.reports);
        let text = report_table(&reports);
        drop(self.results.write_all(text.as_bytes()).and_then(|()| self.results.flush()));
    }
}

/// Reports that stand alone list their values one a line; several with the same columns become one table.
pub fn report_table(reports: &[Report]) -> String {
    let mut text = String::new();
    let mut at = 0;
    while at < reports.len() {
        let names = |index: usize| -> Vec<&str> { reports[index].1.iter().map(|(name, _)| name.as_str()).collect() };
        let depth = reports[at].0.len();
        let end = (at + 1..reports.len())
            .find(|next| names(*next) != names(at) || reports[*next].0.len() != depth)
            .unwrap_or(reports.len());
        if end - at == 1 && depth == 0 {
            let rows: Vec<Vec<String>> =
                reports[at].1.iter().map(|(name, value)| vec![name.clone(), value.to_string()]).collect();
            text += &table(&[], &rows);
        } else {
            let head: Vec<&str> = std::iter::once("").chain(names(at)).collect();
            let rows: Vec<Vec<String>> = reports[at..end]
                .iter()
                .map(|(place, values)| {
                    std::iter::once(place.join(" ")).chain(values.iter().map(|(_, value)| value.to_string())).collect()
                })
                .collect();
            text += &table(&head, &rows);
        }
        at = end;
    }
    text
}

/// `loss 0.53, spread 0.9, `.
fn named(values: &[(String, Number)]) -> String {
    values.iter().map(|(name, value)| format!("{name} {}, ", quantity(value.0))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_a_table() {
        let mut results = Vec::new();
        let mut terminal = Terminal::new(Style::Quiet, &mut results, std::io::sink());
        let rows = vec![
            ("trained.accuracy".to_owned(), Shown::Number(Number(0.93456))),
            ("rounds".to_owned(), Shown::Text("three".into())),
        ];
        terminal.show(&Event::Reported { place: Vec::new(), rows });
        terminal.show(&Event::RunEnded { seconds: 1.0, interrupted: false });
        let text = String::from_utf8(results).unwrap();
        assert_eq!(text, "  trained.accuracy  0.9346\n  rounds             three\n");
    }

    #[test]
    fn rounds_are_rows_of_one_table() {
        let round =
            |at: usize, spl: f64| (vec![format!("round {at}")], vec![("spl".to_owned(), Shown::Number(Number(spl)))]);
        assert_eq!(
            report_table(&[round(0, 0.5), round(1, 0.75)]),
            "              spl\n  round 0  0.5000\n  round 1  0.7500\n"
        );
    }

    #[test]
    fn a_stage_says_what_it_trains() {
        let mut progress = Vec::new();
        let mut terminal = Terminal::new(Style::Lines, std::io::sink(), &mut progress);
        terminal.show(&Event::StageStarted {
            stage: "pretrain".into(),
            kind: StageKind::Train,
            trains: vec![("backbone".into(), 93_024)],
            records: Some(10_000),
            batch: Some(256),
            epochs: 20,
            steps: 780,
            flops: 1.9e9,
            predicted: 120_000_000,
        });
        drop(terminal);
        let text = String::from_utf8(progress).unwrap();
        assert_eq!(
            text,
            "train pretrain: backbone (93_024 weights); 10_000 records in batches of 256; 20 epochs, 780 steps; \
             1.900 GFLOP a step; 120 MB by plan\n"
        );
    }
}
