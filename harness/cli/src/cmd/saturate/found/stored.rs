//! What a search found, read back from what it left.

use std::time::Duration;

use serde_json::Value;
use uplift_analysis::saturation::Finding;
use uplift_model::{Unit, registry};

use super::{SHOWN, Shown, Step, Timeline};

impl Step {
    /// From its JSON; the error names what is missing.
    pub fn stored(value: &Value) -> Result<Self, String> {
        let rate = value["rate"].as_f64().ok_or("the rate of a step")?;
        let of_rate = |what: &str| format!("{what} at {rate} op/s");
        let diverged = value["trials_diverged"].as_array().ok_or_else(|| of_rate("what became of each trial"))?;
        let findings = diverged.iter().map(|why| match why.as_str() {
            Some(why) => Finding::Diverged(why.to_owned()),
            None => Finding::Sustained,
        });
        let shown = SHOWN.iter().filter_map(|name| {
            let median = value["medians"][name].as_f64()?;
            let end = |index: usize| value["ranges"][name][index].as_f64().unwrap_or(median);
            let unit = registry::find(name).map_or(Unit::Nanoseconds, |entry| entry.unit);
            Some(Shown { name, unit, median, low: end(0), high: end(1) })
        });
        let timeline = &value["timeline"];
        let read = |error: serde_json::Error| of_rate(&format!("a timeline that can be read ({error})"));
        Ok(Self {
            rate,
            sustained: value["sustained"].as_bool().ok_or_else(|| of_rate("whether it was sustained"))?,
            findings: findings.collect(),
            shown: shown.collect(),
            timeline: Timeline {
                slices: serde_json::from_value(timeline["slices"].clone()).map_err(read)?,
                events: serde_json::from_value(timeline["events"].clone()).map_err(read)?,
            },
            took: Duration::ZERO,
        })
    }
}
