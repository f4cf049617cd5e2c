//! What runs left behind when their machine died: a program of the user's looks at it.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf};

use serde::Deserialize;
use uplift_sdk::{
    Audit, OpenContext, Recovered, TargetError,
    crash_ledger::{Ledger, State},
};

use crate::{
    invocation::{Streams, Surroundings},
    run::{Watch, ending, run},
    settings::{Settings, Workload},
    words::Placeholders,
};

/// The variable that names the list of runs.
const LEDGER_VARIABLE: &str = "UPLIFT_LEDGER";

/// What is left, as it lies there: the program that verifies opens it.
pub struct Left {
    pub workload: Workload,
    pub settings: Settings,
    pub context: OpenContext,
}

/// What the program prints.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Found {
    lost: Vec<u64>,
    wrong: u64,
    twice: u64,
    detail: Option<String>,
}

impl Recovered for Left {
    fn audit(&self, ledger: &Ledger) -> Result<Audit, TargetError> {
        let failed = |why: String| TargetError::engine("verifying what runs left", why);
        let line = self.workload.verify.as_deref().unwrap_or_default();
        let list = self.context.data_dir.join("uplift-ledger");
        fs::write(&list, text_of(ledger)).map_err(|error| TargetError::new("writing the list of runs", error))?;
        let mut env = self.settings.env.clone();
        env.insert(LEDGER_VARIABLE.to_owned(), list.display().to_string());
        let dir = self.settings.dir.as_ref().map(PathBuf::from);
        let surroundings = Surroundings { shell: self.workload.shell.clone(), env, dir };
        let block = self.context.data_dir.join("block");
        let filled = Placeholders { data: &block, block: &block, seed: self.context.seed, run: 0 };
        let streams = Streams { input: None, output: "pipe" };
        let mut command = surroundings.command(line, &filled, streams).map_err(failed)?;
        let watch = Watch { timeout: self.workload.timeout.0, keeps_stdout: true };
        let ended = run(watch, || command.spawn())
            .map_err(|error| failed(format!("`{line}` could not be started: {error}")))?;
        let mut audit = Audit { acknowledged: ledger.acknowledged(), in_flight: ledger.open(), ..Audit::default() };
        let (code, words) = ending(ended.status);
        if ended.timed_out || code != Some(0) {
            audit.wrong = 1;
            audit.note(|| format!("`{line}` ended with {words}: {}", ended.stderr.end()));
            return Ok(audit);
        }
        let found: Found = serde_json::from_slice(ended.stdout.kept()).map_err(|error| {
            failed(format!("`{line}` must print a JSON object such as {{\"lost\": [3], \"wrong\": 0}}: {error}"))
        })?;
        let told: BTreeMap<u64, u64> = ledger
            .clients
            .iter()
            .flatten()
            .filter_map(|entry| entry.acknowledged_ns().map(|ns| (entry.key, ns)))
            .collect();
        for run in &found.lost {
            match told.get(run) {
                Some(ns) => audit.note_lost(*ns, ledger.cut_ns),
                None => {
                    return Err(failed(format!("`{line}` says that run {run} is lost, which was not acknowledged")));
                }
            }
        }
        (audit.wrong, audit.twice) = (found.wrong, found.twice);
        if !audit.is_clean() {
            audit.note(|| found.detail.unwrap_or_else(|| format!("`{line}` says so")));
        }
        Ok(audit)
    }
}

fn text_of(ledger: &Ledger) -> String {
    let mut text = String::new();
    for entry in ledger.clients.iter().flatten() {
        let state = if entry.state == State::Open { "open" } else { "acknowledged" };
        let _ = writeln!(text, "{} {state}", entry.key);
    }
    text
}
