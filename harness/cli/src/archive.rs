//! What is kept across runs, beside the folder with the runs: calibrations and the history.

use std::{
    fs::OpenOptions,
    io::Write as _,
    path::{Path, PathBuf},
};

use uplift_engine::{optional_file::read_optional, store::write_whole};
use uplift_model::{
    calibration::{CALIBRATION_SCHEMA, Calibration, Calibrations},
    history::{HISTORY_SCHEMA, HistoryEntry},
    run::PlannedScenario,
};

use crate::error::CliError;

const CALIBRATIONS_FILE: &str = "calibration.json";
const HISTORY_FILE: &str = "history.jsonl";

/// The folder that holds `out`: `results` for `results/runs`.
pub fn beside(out: &Path) -> PathBuf {
    match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// The file with the history.
pub fn history_file(out: &Path) -> PathBuf {
    beside(out).join(HISTORY_FILE)
}

fn unreadable(path: &Path, error: impl std::fmt::Display) -> CliError {
    CliError::environment(format!("`{}` cannot be read: {error}", path.display()), "remove or repair the file")
}

fn unwritable(path: &Path, error: impl std::fmt::Display) -> CliError {
    CliError::environment(format!("`{}` cannot be written: {error}", path.display()), "")
}

/// The stored calibrations; none where there is no file.
pub fn calibrations(out: &Path) -> Result<Vec<Calibration>, CliError> {
    let path = beside(out).join(CALIBRATIONS_FILE);
    let Some(text) = read_optional(&path).map_err(|error| unreadable(&path, error))? else { return Ok(Vec::new()) };
    let stored: Calibrations = serde_json::from_str(&text).map_err(|error| unreadable(&path, error))?;
    if stored.schema > CALIBRATION_SCHEMA {
        return Err(unreadable(&path, format!("schema {} is newer than {CALIBRATION_SCHEMA}", stored.schema)));
    }
    Ok(stored.entries)
}

/// Stores calibrations in place of older ones of the same machine, scenario and variant; returns where.
pub fn store_calibrations(out: &Path, new: &[Calibration]) -> Result<PathBuf, CliError> {
    let mut entries = calibrations(out)?;
    let key = |one: &Calibration| (one.machine.clone(), one.scenario.clone(), one.variant.clone());
    entries.retain(|old| !new.iter().any(|one| key(one) == key(old)));
    entries.extend(new.iter().cloned());
    entries.sort_by_key(key);
    let path = beside(out).join(CALIBRATIONS_FILE);
    let stored = Calibrations { schema: CALIBRATION_SCHEMA, entries };
    let text = serde_json::to_string_pretty(&stored).map_err(|error| unwritable(&path, error))? + "\n";
    write_whole(&path, text.as_bytes()).map_err(|error| unwritable(&path, error))?;
    Ok(path)
}

/// The calibration that speaks for a scenario on this machine: of the baseline where there is one, else the newest.
pub fn calibration_for<'a>(
    known: &'a [Calibration],
    planned: &PlannedScenario,
    machine: Option<&str>,
) -> Option<&'a Calibration> {
    let shape = uplift_analysis::shape::of(&planned.scenario);
    known
        .iter()
        .filter(|one| machine.is_some() && one.machine.as_deref() == machine)
        .filter(|one| one.scenario == planned.scenario.name && one.shape == shape)
        .max_by_key(|one| (planned.variants.first() == Some(&one.variant), one.measured_unix_s))
}

/// Appends to the history, synced.
pub fn append_history(out: &Path, entries: &[HistoryEntry]) -> Result<(), CliError> {
    let path = history_file(out);
    let mut text = String::new();
    for entry in entries {
        text.push_str(&serde_json::to_string(entry).map_err(|error| unwritable(&path, error))?);
        text.push('\n');
    }
    let file = OpenOptions::new().create(true).append(true).open(&path);
    file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_data()))
        .map_err(|error| unwritable(&path, error))
}

/// The history, and a warning where its last line was cut off.
pub fn history(out: &Path) -> Result<(Vec<HistoryEntry>, Option<String>), CliError> {
    let path = history_file(out);
    let Some(text) = read_optional(&path).map_err(|error| unreadable(&path, error))? else {
        return Ok((Vec::new(), None));
    };
    let mut entries = Vec::new();
    let mut warning = None;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if !line.ends_with('\n') {
            warning = Some(format!("the last line of `{}` is cut off and left out", path.display()));
            break;
        }
        let entry: HistoryEntry =
            serde_json::from_str(line).map_err(|error| unreadable(&path, format!("line {}: {error}", number + 1)))?;
        if entry.schema > HISTORY_SCHEMA {
            let message = format!("line {}: schema {} is newer than {HISTORY_SCHEMA}", number + 1, entry.schema);
            return Err(unreadable(&path, message));
        }
        entries.push(entry);
    }
    Ok((entries, warning))
}
