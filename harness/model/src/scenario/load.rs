//! The `[load]` table: how many ask, and when.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Complaint,
    phases::{PHASES_MAX, Phase, mean_rate},
};
use crate::{Table, duration::HumanDuration};

/// The most clients that a scenario may ask for: each is a thread.
const CLIENTS_MAX: u32 = 4096;
/// The most operations of one call: agents make room for all of them.
const BATCH_MAX: u32 = 1_000_000;
/// Operations a second that an open load may ask for: from one in a thousand seconds to one in each nanosecond, the step of
/// the clock. Beyond that the distance between two arrivals is no number of nanoseconds.
pub const RATES: std::ops::RangeInclusive<f64> = 1e-3..=1e9;

/// How operations arrive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "mode", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Load {
    /// Every client sends its next operation when the last one is done.
    Closed {
        /// Threads that send.
        #[serde(default = "one")]
        clients: u32,
        /// Pause of a client between operations.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        think: Option<HumanDuration>,
        /// Operations that a client hands over in one call.
        #[serde(default = "one")]
        batch: u32,
    },
    /// Operations arrive at a rate, whether or not the last ones are done.
    Open {
        /// Operations a second, over all clients.
        rate: f64,
        /// How they are spaced.
        #[serde(default)]
        arrival: Arrival,
        /// Threads that send; more are needed where the target answers slowly.
        #[serde(default = "sixteen")]
        clients: u32,
        /// The most operations that a client hands over in one call.
        #[serde(default = "one")]
        batch: u32,
        /// How long a client may wait to fill such a batch.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        batch_window: Option<HumanDuration>,
        /// Rates that change in the course of a turn; their mean is `rate`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        phases: Vec<Phase>,
    },
}

/// The spacing of arrivals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Arrival {
    /// Equal distances.
    Constant,
    /// Exponential distances: arrivals that know nothing of each other.
    #[default]
    Poisson,
}

/// The table as it is written: flat, so that a complaint about a value knows where the value stands.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LoadFile {
    mode: Option<Mode>,
    clients: Option<u32>,
    think: Option<HumanDuration>,
    batch: Option<u32>,
    rate: Option<f64>,
    arrival: Option<Arrival>,
    batch_window: Option<HumanDuration>,
    phases: Option<Vec<Phase>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    Closed,
    Open,
}

impl LoadFile {
    /// The load that is meant.
    pub(super) fn load(self) -> Result<Load, Complaint> {
        let only_open = "write `mode = \"open\"`, or leave the key out";
        match self.mode {
            Some(Mode::Open) if self.think.is_some() => Err((
                "think",
                "an open load does not pause between operations: they arrive at its rate".to_owned(),
                "write `mode = \"closed\"`, or leave the key out",
            )),
            Some(Mode::Open) => Ok(Load::Open {
                rate: self.rate.or(self.phases.as_deref().map(mean_rate)).ok_or((
                    "mode",
                    "an open load needs a `rate`".to_owned(),
                    "write `rate = 1000`: operations a second, over all clients",
                ))?,
                arrival: self.arrival.unwrap_or_default(),
                clients: self.clients.unwrap_or(sixteen()),
                batch: self.batch.unwrap_or(one()),
                batch_window: self.batch_window,
                phases: self.phases.unwrap_or_default(),
            }),
            None | Some(Mode::Closed) => {
                let of_open = [
                    ("rate", self.rate.is_some()),
                    ("arrival", self.arrival.is_some()),
                    ("batch_window", self.batch_window.is_some()),
                    ("phases", self.phases.is_some()),
                ];
                if let Some((key, _)) = of_open.into_iter().find(|(_, stands)| *stands) {
                    return Err((key, format!("a closed load has no `{key}`"), only_open));
                }
                Ok(Load::Closed {
                    clients: self.clients.unwrap_or(one()),
                    think: self.think,
                    batch: self.batch.unwrap_or(one()),
                })
            }
        }
    }
}

const fn one() -> u32 {
    1
}

const fn sixteen() -> u32 {
    16
}

impl Default for Load {
    fn default() -> Self {
        Self::Closed { clients: 1, think: None, batch: 1 }
    }
}

impl Load {
    /// Threads that send.
    pub const fn clients(&self) -> u32 {
        match self {
            Self::Closed { clients, .. } | Self::Open { clients, .. } => *clients,
        }
    }

    /// The most operations that a client hands over in one call.
    pub const fn batch(&self) -> u32 {
        match self {
            Self::Closed { batch, .. } | Self::Open { batch, .. } => *batch,
        }
    }

    /// Whether response and service time are the same by construction: a closed loop that never pauses.
    pub fn response_is_service(&self) -> bool {
        matches!(self, Self::Closed { .. })
    }

    /// The load with values of its table replaced, all at once. A load that becomes open or closed loses what only the
    /// other kind has.
    ///
    /// # Errors
    /// The key that is wrong, the rule, and the remedy.
    pub fn with(&self, values: &Table) -> Result<Self, (String, String, &'static str)> {
        let help = "scenarios/README.md lists the keys of this table";
        let broken = |error: serde_json::Error| (String::new(), error.to_string(), help);
        let mut table: Table = serde_json::from_value(serde_json::to_value(self).map_err(broken)?).map_err(broken)?;
        let mode = |table: &Table| table.get("mode").cloned();
        if values.contains_key("mode") && mode(values) != mode(&table) {
            for key in ["think", "rate", "arrival", "batch_window", "phases"] {
                table.remove(key);
            }
        }
        table.extend(values.clone());
        // The enum's own reader has no key to blame.
        let file: LoadFile = serde_json::from_value(Value::Object(table)).map_err(broken)?;
        let named = |(key, message, help): Complaint| (key.to_owned(), message, help);
        let load = file.load().map_err(named)?;
        load.validate().map_err(named)?;
        Ok(load)
    }

    pub(super) fn validate(&self) -> Result<(), Complaint> {
        if self.clients() == 0 || self.clients() > CLIENTS_MAX {
            return Err((
                "clients",
                format!("clients must be 1–4096, got {}", self.clients()),
                "write a number between 1 and 4096: each client is a thread",
            ));
        }
        if self.batch() == 0 {
            return Err((
                "batch",
                "a batch of 0 operations sends nothing".to_owned(),
                "write at least 1, or leave the key out",
            ));
        }
        if self.batch() > BATCH_MAX {
            return Err((
                "batch",
                format!("a batch of {} operations is more than {BATCH_MAX}", self.batch()),
                "write a number between 1 and 1000000",
            ));
        }
        if let Self::Open { rate, batch, batch_window, phases, .. } = self {
            validate_phases(phases)?;
            if !RATES.contains(rate) {
                return Err((
                    "rate",
                    format!("{rate:e} operations a second cannot be sent"),
                    "write a number between 0.001 and 1000000000",
                ));
            }
            if batch_window.is_some() && *batch == 1 {
                return Err((
                    "batch_window",
                    "a batch window without a batch has no effect".to_owned(),
                    "write `batch = 1000` or so as well, or leave the window out",
                ));
            }
        }
        Ok(())
    }
}

fn validate_phases(phases: &[Phase]) -> Result<(), Complaint> {
    let help = "write `for = \"10s\"` and rates of at least 0, one of them above";
    if phases.len() > PHASES_MAX {
        return Err(("phases", format!("{} phases; at most {PHASES_MAX} are followed", phases.len()), help));
    }
    for (index, phase) in phases.iter().enumerate() {
        let wrong = |message: String| Err(("phases", format!("phase {}: {message}", index + 1), help));
        if phase.duration.0.is_zero() {
            return wrong("it lasts no time".to_owned());
        }
        let rates = [phase.rate, phase.to.unwrap_or(phase.rate)];
        if let Some(rate) = rates.into_iter().find(|rate| !(*rate == 0.0 || RATES.contains(rate))) {
            return wrong(format!("{rate:e} operations a second cannot be sent"));
        }
    }
    if !phases.is_empty() && mean_rate(phases) <= 0.0 {
        return Err(("phases", "no phase sends anything".to_owned(), help));
    }
    Ok(())
}
