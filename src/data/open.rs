//! From a spec to an open data set.

use std::sync::Mutex;

use super::fault::suggestion;
use super::{DataError, Opened, Options, Spec, source, sources, transform, transforms};
use crate::diagnostics::Code;

/// What was opened in this process. Few entries, each a handle: a list is enough.
static OPENED: Mutex<Vec<(Spec, Opened)>> = Mutex::new(Vec::new());

/// Opens what `spec` says. A spec that was opened before, or the part of it before the last transform, is not read again.
pub fn open(spec: &Spec) -> Result<Opened, DataError> {
    if let Some(opened) = remembered(spec) {
        return Ok(opened);
    }
    let opened = match spec.transforms.split_last() {
        None => {
            let names = || sources().iter().map(|entry| entry.name).collect::<Vec<_>>();
            let entry = source(&spec.source).ok_or_else(|| unknown("source", &spec.source, &names()))?;
            (entry.run)(&spec.options, &spec.folder)?
        }
        Some((last, before)) => {
            let base = open(&Spec { transforms: before.to_vec(), ..spec.clone() })?;
            let names = || transforms().iter().map(|entry| entry.name).collect::<Vec<_>>();
            let entry = transform(&last.name).ok_or_else(|| unknown("transform", &last.name, &names()))?;
            (entry.run)(base, &last.options)?
        }
    };
    Ok(remember(spec, opened))
}

fn unknown(kind: &str, written: &str, known: &[&str]) -> DataError {
    DataError::new(Code::UnknownName, format!("there is no {kind} `{written}`")).help(suggestion(written, known))
}

fn remembered(spec: &Spec) -> Option<Opened> {
    let opened = OPENED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    opened.iter().find(|(known, _)| same(known, spec)).map(|(_, opened)| opened.clone())
}

/// Two threads may open the same spec at once; both get the handle that came first.
fn remember(spec: &Spec, fresh: Opened) -> Opened {
    let mut opened = OPENED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some((_, first)) = opened.iter().find(|(known, _)| same(known, spec)) {
        return first.clone();
    }
    opened.push((spec.clone(), fresh.clone()));
    fresh
}

/// Equal, the order of options included: `split(a: 1, b: 2)` is not `split(b: 2, a: 1)`, though the maps compare equal.
fn same(a: &Spec, b: &Spec) -> bool {
    let in_order = |a: &Options, b: &Options| a.iter().eq(b.iter());
    a.source == b.source
        && a.folder == b.folder
        && in_order(&a.options, &b.options)
        && a.transforms.len() == b.transforms.len()
        && a.transforms.iter().zip(&b.transforms).all(|(a, b)| a.name == b.name && in_order(&a.options, &b.options))
}
