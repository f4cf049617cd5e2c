//! What lies behind a change of throughput: the share and the size of what was slow.

use uplift_model::verdict::{Distribution, ScenarioVerdict, Status};

use super::place::place;
use crate::document::{Record, Section};

/// The share of slow rounds, and the share and size of slow processes; empty where throughput was not compared.
pub fn section(verdict: &ScenarioVerdict, names: [&str; 2]) -> Section {
    let mut section = Section::new(place(&verdict.name, "slow"), "Slow rounds and processes").untitled().detailed();
    let Some(metric) = verdict.metrics.iter().find(|metric| metric.distribution.is_some()) else { return section };
    let Some(distribution) = metric.distribution.as_ref().filter(|_| verdict.status == Status::Compared) else {
        return section;
    };
    let note = section.prose(words(distribution, verdict.blocks, names));
    note.brief().record(Record::metric(&verdict.name, &metric.metric));
    section
}

fn words(distribution: &Distribution, blocks: u32, names: [&str; 2]) -> String {
    let share = |share: f64| match 100.0 * share {
        0.0 => "none".to_owned(),
        percent if percent < 1.0 => format!("{percent:.1} %"),
        percent => format!("{percent:.0} %"),
    };
    let [a, b] = names;
    let rounds = distribution.slow_rounds.map(share);
    let processes = [0, 1].map(|side| match distribution.slow_processes[side] {
        0 => format!("none of `{}`", names[side]),
        count => format!(
            "{count} of {blocks} of `{}`, by {:.0} % in the mean",
            names[side],
            -100.0 * distribution.slow_size[side]
        ),
    });
    format!(
        "Slow rounds, far below the median round of their own process: {} of `{a}`, {} of `{b}`. Slow processes, far from what the others of their variant show: {}; {}.",
        rounds[0], rounds[1], processes[0], processes[1]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_and_size_are_said() {
        let distribution = Distribution {
            shift: Vec::new(),
            slow_rounds: [0.0, 0.104],
            slow_processes: [0, 2],
            slow_size: [0.0, -0.3],
        };
        let words = words(&distribution, 20, ["baseline", "fast"]);
        assert!(words.contains("none of `baseline`, 10 % of `fast`."), "{words}");
        assert!(words.ends_with("none of `baseline`; 2 of 20 of `fast`, by 30 % in the mean."), "{words}");
    }
}
