//! What is kept across runs, beside the folder with the runs: calibrations and the history.

use std::{
    fs::OpenOptions,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use uplift_engine::{
    history_file::{History, Wanted, read_history},
    optional_file::read_optional,
    store::write_whole,
};
use uplift_model::{
    calibration::{CALIBRATION_SCHEMA, Calibration, Calibrations},
    history::HistoryEntry,
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
    CliError::environment(format!("could not read `{}`: {error}", path.display()), "remove or repair the file")
}

fn unwritable(path: &Path, error: impl std::fmt::Display) -> CliError {
    CliError::environment(format!("could not write `{}`: {error}", path.display()), "")
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
    let mut append = || -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).read(true).open(&path)?;
        // A line that a crash or a full disk has cut is ended first: what is appended stays readable.
        let mut last = [b'\n'];
        if file.seek(SeekFrom::End(0))? > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        if last != [b'\n'] {
            text.insert(0, '\n');
        }
        file.write_all(text.as_bytes())?;
        file.sync_data()
    };
    append().map_err(|error| unwritable(&path, error))
}

/// Reads of the history what was asked for, as [`read_history`] does; the warning says which lines are no entries.
pub fn history(out: &Path, wanted: Wanted<'_>) -> Result<(History, Option<String>), CliError> {
    let path = history_file(out);
    let history = read_history(&path, wanted).map_err(|error| unreadable(&path, error))?;
    let (torn, first_torn) = (history.torn, history.first_torn);
    let warning = (torn > 0).then(|| {
        let path = path.display();
        match torn {
            1 => format!("`{path}`: line {first_torn} is cut off, as a crash or a full disk leaves it; it is left out"),
            _ => format!("`{path}`: {torn} lines are cut off, the first is line {first_torn}; they are left out"),
        }
    });
    Ok((history, warning))
}
