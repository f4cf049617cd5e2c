//! One record of what several agents measured: counts add up, histograms merge exactly.

use std::collections::{BTreeMap, BTreeSet};

use uplift_model::{
    Histogram,
    protocol::Sent,
    trial::{Measured, OperationRecord, Slice, TurnRecord},
};

/// A turn: what was asked as the senders counted it, what it took as the keeper did.
pub(super) fn turn(keeper: TurnRecord, sent: &[Sent]) -> TurnRecord {
    let mut response = Histogram::new();
    for one in sent {
        response.merge(&one.response);
    }
    let sum = |of: fn(&TurnRecord) -> u64| sent.iter().map(|one| of(&one.record)).sum::<u64>();
    // What one of them does not know is not known of all.
    let all = |of: fn(&TurnRecord) -> Option<u64>| sent.iter().map(|one| of(&one.record)).collect::<Option<Vec<u64>>>();
    TurnRecord {
        wall_ns: sent.iter().map(|one| one.record.wall_ns).max().unwrap_or(0),
        attempts: sum(|turn| turn.attempts),
        ok: sum(|turn| turn.ok),
        nothing: sum(|turn| turn.nothing),
        failed: sum(|turn| turn.failed),
        unsent: sum(|turn| turn.unsent),
        response_p50_ns: response.quantile(0.5),
        response_max_ns: response.max(),
        busy_ns: all(|turn| turn.busy_ns).map(|busy| busy.into_iter().sum()),
        clients: all(|turn| turn.clients.map(u64::from))
            .and_then(|all| u32::try_from(all.into_iter().sum::<u64>()).ok()),
        window_ns: all(|turn| turn.window_ns).and_then(|windows| windows.into_iter().max()),
        ..keeper
    }
}

/// The report of the keeper with what the senders counted. `turns` are those of all together.
pub(super) fn measured(mut keeper: Measured, turns: Vec<TurnRecord>, senders: Vec<Measured>) -> Measured {
    let kept = turns.get(keeper.dropped_turns as usize..).unwrap_or(&[]);
    keeper.resources.wall_ns = kept.iter().map(|turn| turn.wall_ns).sum();
    keeper.slices = slices(kept, &senders);
    let mut counters: BTreeMap<String, f64> = BTreeMap::new();
    for sender in senders {
        for operation in sender.operations {
            add(&mut keeper.operations, operation);
        }
        for (name, growth) in sender.counters {
            *counters.entry(name).or_insert(0.0) += growth;
        }
        keeper.idle.cpu_ns += sender.idle.cpu_ns;
        if !sender.drain.detail.is_empty() && !keeper.drain.detail.contains(&sender.drain.detail) {
            let before = if keeper.drain.detail.is_empty() { "" } else { "; " };
            keeper.drain.detail.push_str(before);
            keeper.drain.detail.push_str(&sender.drain.detail);
        }
        keeper.load_agents.extend(sender.load_agents);
    }
    // What a sender counts is about itself; what the keeper counts under the same name is not the load's.
    keeper.counters.extend(counters);
    keeper.turns = turns;
    keeper
}

fn add(all: &mut Vec<OperationRecord>, one: OperationRecord) {
    let Some(sum) = all.iter_mut().find(|sum| sum.kind == one.kind && sum.group == one.group) else {
        all.push(one);
        return;
    };
    sum.ok += one.ok;
    for (into, from) in [(&mut sum.nothing, one.nothing), (&mut sum.failed, one.failed)] {
        for (name, count) in from {
            *into.entry(name).or_insert(0) += count;
        }
    }
    sum.response.merge(&one.response);
    for (into, from) in [(&mut sum.service, one.service), (&mut sum.failed_response, one.failed_response)] {
        if let Some(from) = from {
            into.get_or_insert_with(Histogram::new).merge(&from);
        }
    }
}

/// The slices that all senders filled, at their place in the keeper's turns: each agent counts from when it was ready.
fn slices(kept: &[TurnRecord], senders: &[Measured]) -> Vec<Slice> {
    let mut sums: BTreeMap<(usize, u64), (Slice, usize)> = BTreeMap::new();
    for sender in senders {
        let own = sender.turns.get(sender.dropped_turns as usize..).unwrap_or(&[]);
        let mut seen = BTreeSet::new();
        for slice in &sender.slices {
            let Some(turn) = own.iter().rposition(|turn| turn.start_ns <= slice.start_ns) else { continue };
            let (Some(since), Some(there)) = (slice.start_ns.checked_sub(own[turn].start_ns), kept.get(turn)) else {
                continue;
            };
            let number = since.checked_div(slice.duration_ns).unwrap_or(0);
            if !seen.insert((turn, number)) {
                continue;
            }
            let empty = Slice { start_ns: there.start_ns + since, ok: 0, response_max_ns: 0, ..*slice };
            let (sum, filled) = sums.entry((turn, number)).or_insert((empty, 0));
            sum.ok += slice.ok;
            sum.response_max_ns = sum.response_max_ns.max(slice.response_max_ns);
            *filled += 1;
        }
    }
    sums.into_values().filter(|(_, filled)| *filled == senders.len()).map(|(slice, _)| slice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(ok: u64, wall_ns: u64) -> TurnRecord {
        serde_json::from_value(serde_json::json!({
            "index": 0, "start_ns": 50, "wall_ns": wall_ns, "attempts": ok, "ok": ok, "nothing": 0, "failed": 0,
            "unsent": 1, "cpu_ns": 7, "sync_calls": 0, "quiesce_ns": 0, "busy_ns": 2 * wall_ns, "clients": 2,
        }))
        .unwrap()
    }

    fn histogram(values: &[u64]) -> Histogram {
        let mut histogram = Histogram::new();
        values.iter().for_each(|&value| histogram.record_n(value, 1));
        histogram
    }

    #[test]
    fn a_turn_of_several_agents_is_the_sum_of_theirs() {
        let keeper = TurnRecord { sync_calls: 9, cpu_ns: 3, busy_ns: Some(0), clients: Some(0), ..record(0, 0) };
        let (one, two): (Vec<u64>, Vec<u64>) = ((1..=50).collect(), (51..=101).collect());
        let sent = [
            Sent { record: record(50, 1_000), response: histogram(&one) },
            Sent { record: record(51, 1_200), response: histogram(&two) },
        ];
        let merged = turn(keeper, &sent);
        assert_eq!((merged.ok, merged.attempts, merged.unsent, merged.wall_ns), (101, 101, 2, 1_200));
        assert_eq!((merged.sync_calls, merged.cpu_ns, merged.clients, merged.busy_ns), (9, 3, Some(4), Some(4_400)));
        let all: Vec<u64> = (1..=101).collect();
        assert_eq!((merged.response_p50_ns, merged.response_max_ns), (histogram(&all).quantile(0.5), Some(101)));
        // Operations ÷ base is what it would have been in one agent: clients × operations ÷ summed busy time.
        assert!((merged.base_ns() - 1_100.0).abs() < 1e-9);
    }

    #[test]
    fn operations_of_a_kind_are_added_and_others_kept() {
        let one = |kind: &str, values: &[u64]| OperationRecord {
            kind: kind.to_owned(),
            group: None,
            ok: values.len() as u64,
            nothing: BTreeMap::new(),
            failed: BTreeMap::from([("timeout".to_owned(), 1)]),
            response: histogram(values),
            service: None,
            failed_response: Some(histogram(&[5])),
        };
        let mut all = Vec::new();
        for operation in [one("get", &[1, 2]), one("set", &[9]), one("get", &[3])] {
            add(&mut all, operation);
        }
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].ok, all[0].failed["timeout"], all[0].response.count()), (3, 2, 3));
        assert_eq!(all[0].failed_response.as_ref().unwrap().count(), 2);
        assert!(all[0].service.is_none());
    }
}
