//! The agents that send the load, where they are others than the one that keeps the system, and whether they kept up.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// A start is late where the agent, which waited for it, began it so long after.
pub const LATE_NS: u64 = 1_000_000;

/// One agent that sent a part of the load, over the turns that count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadAgent {
    /// Its clients.
    pub clients: u32,
    /// The machine that it ran on, where that is not the harness's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The CPUs that it could use, by number; those that it was held to where `held`.
    pub cpus: Vec<u32>,
    /// Whether it was held to CPUs that the system was not on.
    pub held: bool,
    /// Operations that it attempted.
    pub attempts: u64,
    /// Wall time of its turns.
    pub wall_ns: u64,
    /// CPU time of it.
    pub cpu_ns: u64,
    /// How long its threads were ready to run and had no CPU; absent: the kernel does not count it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_ns: Option<u64>,
    /// Starts that a client waited for: of turns, and of arrivals of an open load that were not due yet.
    pub starts: u64,
    /// Those that were late by more than [`LATE_NS`]: no answer was awaited, so the lateness is this agent's.
    pub late_starts: u64,
    /// How far its clock was ahead of the keeper's, as round trips showed.
    pub clock_offset_ns: i64,
    /// By how much that may be wrong: half of the fastest round trips.
    pub clock_error_ns: u64,
}

/// Above this share of the CPU time that load agents could have, they may be what was measured.
const BUSY_SHARE: f64 = 0.9;
/// Above this share of starts that were late the intended starts were not kept.
const LATE_SHARE: f64 = 0.01;

/// Above this share of the time of their clients, these waited for a CPU of the load agents.
const QUEUED_SHARE: f64 = 0.1;

/// Why the figures of a trial may be those of its load generator; `None`: nothing says so.
pub fn saturation(agents: &[LoadAgent]) -> Option<String> {
    let mut said = Vec::new();
    for (share, cpus, place) in busy(agents) {
        if share > BUSY_SHARE {
            let at = place.map_or_else(String::new, |place| format!(" of {place}"));
            let cpus = if cpus == 1 { "the one CPU".to_owned() } else { format!("the {cpus} CPUs") };
            said.push(format!("the load agents used {:.0} % of {cpus}{at} that they could have", share * 100.0));
        }
    }
    let (late, starts) = agents.iter().fold((0, 0), |(late, all), one| (late + one.late_starts, all + one.starts));
    // Few starts tell nothing: those of turns come once for each client.
    let clients: u64 = agents.iter().map(|agent| u64::from(agent.clients)).sum();
    if late as f64 > LATE_SHARE * starts as f64 && starts > 2 * clients {
        said.push(format!(
            "{late} of {starts} starts that clients waited for were more than {} ms late, because the load agents did not get a CPU in time",
            LATE_NS / 1_000_000
        ));
    }
    let (queued_ns, client_ns) = agents.iter().fold((0, 0.0), |(queued, all), agent| {
        (queued + agent.queued_ns.unwrap_or(0), all + f64::from(agent.clients) * agent.wall_ns as f64)
    });
    if said.is_empty() && queued_ns as f64 > QUEUED_SHARE * client_ns {
        let share = 100.0 * queued_ns as f64 / client_ns;
        said.push(format!("clients of the load agents were ready and waited for a CPU for {share:.0} % of the time"));
    }
    (!said.is_empty()).then(|| said.join("; "))
}

/// For each set of CPUs that load agents shared: the share of its time that they used, how many it has, and where.
fn busy(agents: &[LoadAgent]) -> Vec<(f64, usize, Option<&str>)> {
    let sets: BTreeSet<(Option<&str>, &[u32])> =
        agents.iter().map(|agent| (agent.place.as_deref(), agent.cpus.as_slice())).collect();
    let mut shares = Vec::new();
    for (place, cpus) in sets {
        let members = || agents.iter().filter(|agent| agent.place.as_deref() == place && agent.cpus == cpus);
        let clients: usize = members().map(|agent| agent.clients as usize).sum();
        let wall_ns = members().map(|agent| agent.wall_ns).max().unwrap_or(0);
        let cpu_ns: u64 = members().map(|agent| agent.cpu_ns).sum();
        // A client is one thread.
        let usable = cpus.len().min(clients);
        let could_ns = usable as f64 * wall_ns as f64;
        if could_ns > 0.0 {
            shares.push((cpu_ns as f64 / could_ns, usable, place));
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(cpu_ms: u64, cpus: &[u32]) -> LoadAgent {
        LoadAgent {
            clients: 4,
            place: None,
            cpus: cpus.to_vec(),
            held: true,
            attempts: 100,
            wall_ns: 1_000_000_000,
            cpu_ns: cpu_ms * 1_000_000,
            queued_ns: None,
            starts: 4,
            late_starts: 0,
            clock_offset_ns: 0,
            clock_error_ns: 10_000,
        }
    }

    #[test]
    fn agents_that_share_a_cpu_are_busy_together() {
        assert_eq!(saturation(&[agent(450, &[1]), agent(440, &[1])]), None);
        let said = saturation(&[agent(480, &[1]), agent(470, &[1])]).unwrap();
        assert_eq!(said, "the load agents used 95 % of the one CPU that they could have");
        assert_eq!(saturation(&[agent(950, &[1, 2]), agent(0, &[1, 2])]), None);
        assert!(saturation(&[agent(950, &[1]), agent(100, &[2])]).is_some(), "one of two is enough");
        // Elsewhere the same number is another CPU.
        let there = LoadAgent { place: Some("n2".to_owned()), ..agent(480, &[1]) };
        assert_eq!(saturation(&[agent(480, &[1]), there]), None);
    }

    #[test]
    fn clients_that_wait_for_a_cpu_are_said() {
        let queued = |ms: u64| saturation(&[LoadAgent { queued_ns: Some(ms * 1_000_000), ..agent(500, &[0, 1]) }]);
        assert_eq!(queued(390), None);
        assert!(queued(410).unwrap().contains("waited for a CPU for 10 %"));
    }

    #[test]
    fn late_starts_are_the_generators() {
        let late = |late_starts, starts| saturation(&[LoadAgent { late_starts, starts, ..agent(10, &[1]) }]);
        assert_eq!(late(9, 1_000), None);
        assert!(late(11, 1_000).unwrap().starts_with("11 of 1000 starts"));
        assert_eq!(late(4, 4), None, "one start for each client is no series");
    }
}
