//! The agents that sent the load, over the trials of a scenario: where they were, and whether they kept up.

use uplift_model::{
    load_agent::{self, LoadAgent},
    trial::{Measured, Trial},
};

/// Where load and system were, in a sentence; `None` where one agent did everything.
pub fn words<'a>(trials: impl Iterator<Item = &'a Trial>) -> Option<String> {
    let measured = trials.filter_map(|trial| trial.measured.as_ref()).find(|one| !one.load_agents.is_empty())?;
    let agents = &measured.load_agents;
    let count = match agents.len() {
        1 => "1 load agent".to_owned(),
        several => format!("{several} load agents"),
    };
    Some(format!(
        "the load came from {count} {}; what the system used holds none of theirs",
        place_words(measured, agents)
    ))
}

fn place_words(measured: &Measured, agents: &[LoadAgent]) -> String {
    let mut places: Vec<&str> = agents.iter().filter_map(|agent| agent.place.as_deref()).collect();
    places.sort_unstable();
    places.dedup();
    let clocks = || {
        let error_ns = agents.iter().map(|agent| agent.clock_error_ns).max().unwrap_or(0);
        if error_ns == 0 {
            return String::new();
        }
        format!(", started at one moment to within {:.0} µs", error_ns as f64 / 1e3)
    };
    match (agents.first(), places.is_empty()) {
        (_, false) => format!("on {}{}", places.join(", "), clocks()),
        (Some(agent), _) if agent.held => {
            format!("held to {}, the system to {}", cpus(&agent.cpus), cpus(&measured.system_cpus))
        }
        _ => format!("that share their CPUs with the system{}", clocks()),
    }
}

fn cpus(numbers: &[u32]) -> String {
    let list: Vec<String> = numbers.iter().map(u32::to_string).collect();
    format!("CPU{} {}", if numbers.len() == 1 { "" } else { "s" }, list.join(", "))
}

/// Why the figures may be those of the load generator: what most trials say, and how many of them.
pub fn saturation<'a>(trials: impl Iterator<Item = &'a Trial>) -> Option<String> {
    let with_agents: Vec<&Measured> =
        trials.filter_map(|trial| trial.measured.as_ref()).filter(|one| !one.load_agents.is_empty()).collect();
    let said: Vec<String> =
        with_agents.iter().filter_map(|measured| load_agent::saturation(&measured.load_agents)).collect();
    let first = said.first()?;
    Some(format!("in {} of {} trials (in the first of them {first})", said.len(), with_agents.len()))
}
