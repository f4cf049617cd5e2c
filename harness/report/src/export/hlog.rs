//! HdrHistogram interval log, version 1.3: response times, one line for each operation kind of each trial, tagged
//! `scenario/variant/kind`. Time stamps are seconds since the run began; the maximum is in milliseconds.

use std::fmt::Write as _;

use uplift_analysis::pairing::kept;

use super::{Selection, groups};
use crate::ReportInput;

pub fn export(input: &ReportInput<'_>, selection: &Selection) -> Option<String> {
    let begun_ns = input.run.started_unix_s * 1_000_000_000;
    let mut lines = Vec::new();
    for (_, variant, trials) in groups(input, selection) {
        for (_, trial) in trials {
            let Some(measured) = &trial.measured else { continue };
            let seconds = kept(trial).iter().map(|turn| turn.wall_ns).sum::<u64>() as f64 / 1e9;
            for operation in measured.operations.iter().filter(|operation| !operation.response.is_empty()) {
                let group = operation.group.as_ref().map_or_else(String::new, |group| format!("/{group}"));
                let tag = tag(&format!("{}/{variant}/{}{group}", trial.scenario, operation.kind));
                let max_ms = operation.response.max().unwrap_or_default() as f64 / 1e6;
                // A histogram that cannot be written would have stopped the trial from being recorded.
                let Ok(encoded) = operation.response.to_base64() else { continue };
                lines.push((
                    trial.started_unix_ns.saturating_sub(begun_ns),
                    format!("Tag={tag},{{}},{seconds:.3},{max_ms:.3},{encoded}"),
                ));
            }
        }
    }
    if lines.is_empty() {
        return None;
    }
    // Readers expect the order of time.
    lines.sort();
    let begun = input.run.started_unix_s;
    let mut text = format!(
        "#[uplift run {}: response times in nanoseconds]\n#[Histogram log format version 1.3]\n#[StartTime: {begun}.000 (seconds since epoch)]\n\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
        input.run.id
    );
    for (start_ns, line) in lines {
        let _ = writeln!(text, "{}", line.replacen("{}", &format!("{:.3}", start_ns as f64 / 1e9), 1));
    }
    Some(text)
}

/// A tag holds no comma, space or line break.
fn tag(text: &str) -> String {
    text.chars().map(|c| if c == ',' || c.is_whitespace() { '_' } else { c }).collect()
}
