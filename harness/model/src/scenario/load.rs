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
/// The most agents of one load: each is a process.
const AGENTS_MAX: u32 = 64;
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
        /// Processes that share the clients and do nothing but ask, apart from the one that keeps the system; absent: that
        /// one asks.
        #[serde(default, skip_serializing_if = "is_zero")]
        agents: u32,
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
        /// Processes that share clients and rate and do nothing but ask, apart from the one that keeps the system; absent:
        /// that one asks.
        #[serde(default, skip_serializing_if = "is_zero")]
        agents: u32,
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
    agents: Option<u32>,
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
                agents: self.agents.unwrap_or_default(),
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
                    agents: self.agents.unwrap_or_default(),
                })
            }
        }
    }
}

const fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_zero(value: &u32) -> bool {
    *value == 0
}

const fn sixteen() -> u32 {
    16
}

impl Default for Load {
    fn default() -> Self {
        Self::Closed { clients: 1, think: None, batch: 1, agents: 0 }
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

    /// Processes that do nothing but ask; 0: the one that keeps the system asks as well.
    pub const fn agents(&self) -> u32 {
        match self {
            Self::Closed { agents, .. } | Self::Open { agents, .. } => *agents,
        }
    }

    /// The clients of agent `number` (from 0) of [`Self::agents`]: all have as many, or one more.
    pub const fn clients_of_agent(&self, number: u32) -> std::ops::Range<u32> {
        let (clients, agents) = (self.clients(), self.agents());
        if agents == 0 {
            return 0..clients;
        }
        let (each, over) = (clients / agents, clients % agents);
        let first = each * number + if number < over { number } else { over };
        first..first + each + if number < over { 1 } else { 0 }
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
        if self.agents() > AGENTS_MAX || self.agents() > self.clients() {
            return Err((
                "agents",
                format!("{} agents cannot share {} clients", self.agents(), self.clients()),
                "write a number between 1 and 64, and not above `clients`; leave it out where one process is to do everything",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_share_all_clients_and_no_client_twice() {
        for (clients, agents) in [(8, 4), (7, 3), (5, 5), (64, 1), (3, 0)] {
            let load = Load::Closed { clients, think: None, batch: 1, agents };
            let all: Vec<u32> = (0..agents.max(1)).flat_map(|number| load.clients_of_agent(number)).collect();
            assert_eq!(all, (0..clients).collect::<Vec<u32>>(), "{clients} over {agents}");
        }
        let table = |agents: u32| serde_json::json!({ "clients": 4, "agents": agents }).as_object().unwrap().clone();
        assert_eq!(Load::default().with(&table(4)).unwrap().agents(), 4);
        let (key, message, _) = Load::default().with(&table(5)).unwrap_err();
        assert_eq!((key.as_str(), message.as_str()), ("agents", "5 agents cannot share 4 clients"));
        let text = serde_json::to_string(&Load::default()).unwrap();
        assert!(!text.contains("agents"), "what is not asked for is not said to older agents: {text}");
    }
}
