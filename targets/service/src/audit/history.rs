//! TPC-B: each transaction that was acknowledged has its row in the history, and balances are the sums of its rows.

use std::{collections::BTreeMap, sync::Arc};

use uplift_sdk::{Audit, crash_ledger::Ledger, seed::client_seed};

use crate::{
    driver::{Options, ask_once},
    pgbench::{Pgbench, builtin, replay::Replay},
    plan::Plan,
    settings::Protocol,
};

/// One row of the history: account, teller, branch, and what was added to them.
type Row = [i64; 4];

/// Without a separator between rows an answer of many is one text.
const ROWS: &str = "SELECT string_agg(aid || ',' || tid || ',' || bid || ',' || delta, ' ') FROM pgbench_history";
/// What every script that writes adds to an account is in the history.
const SUMS: &str = "SELECT (SELECT coalesce(sum(abalance), 0) FROM pgbench_accounts) = \
    (SELECT coalesce(sum(delta), 0) FROM pgbench_history)";

/// Whether the transactions of these scripts can be told from the history.
///
/// # Errors
/// Why not.
pub fn can_be_read_back(pgbench: &Pgbench) -> Result<(), String> {
    if !pgbench.initialize {
        return Err("with `initialize = false` nobody knows what the history held before".to_owned());
    }
    if let Some((name, _)) = pgbench.scripts.iter().find(|(_, rule)| rule.builtin.is_none()) {
        return Err(format!(
            "what the script `{name}` leaves is not known; the built-in scripts are read back ({})",
            builtin::NAMES.join(", ")
        ));
    }
    if !pgbench.scripts.is_empty()
        && pgbench.scripts.values().all(|rule| rule.builtin.as_deref() == Some("select-only"))
    {
        return Err("none of its scripts writes anything".to_owned());
    }
    Ok(())
}

/// Counts the rows of the history against what was acknowledged.
pub fn audit(
    pgbench: &Pgbench,
    plan: &Plan,
    options: &Options,
    seed: u64,
    ledger: &Ledger,
    audit: &mut Audit,
) -> Result<(), String> {
    // Of each row: when it was acknowledged, for each time that it was; and how often it may be there besides.
    let mut told: BTreeMap<Row, (Vec<u64>, u64)> = BTreeMap::new();
    let scripts = Arc::new(plan.scripts.clone());
    let variables = pgbench.given_variables(seed);
    let (mut acknowledged, mut in_flight) = (0, 0);
    for (index, entries) in ledger.clients.iter().enumerate() {
        let mut replay = Replay::new(Arc::clone(&scripts), &variables, index, client_seed(seed, index));
        for entry in entries {
            let (script, drawn) = replay.transaction(entry.key)?;
            if !scripts[script].writes() {
                continue;
            }
            let of = |name: &str| match drawn.get(name).map(ToString::to_string).and_then(|text| text.parse().ok()) {
                Some(number) => Ok(number),
                None => Err(format!("the script `{}` has no number `{name}`", scripts[script].name)),
            };
            let row: Row = [of("aid")?, of("tid")?, of("bid")?, of("delta")?];
            let known = told.entry(row).or_default();
            match entry.acknowledged_ns() {
                Some(ns) => {
                    acknowledged += 1;
                    known.0.push(ns);
                }
                None => {
                    in_flight += 1;
                    known.1 += 1;
                }
            }
        }
    }
    (audit.acknowledged, audit.in_flight) = (acknowledged, in_flight);
    let mut found: BTreeMap<Row, u64> = BTreeMap::new();
    let text = match ask_once(Protocol::Postgres, ROWS, options) {
        Ok(text) => text,
        Err(why) => {
            audit.wrong += 1;
            audit.note(|| format!("the history cannot be read: {why}"));
            return Ok(());
        }
    };
    for text in text.split_whitespace() {
        let numbers: Vec<i64> = text.split(',').filter_map(|number| number.parse().ok()).collect();
        let row = Row::try_from(numbers).map_err(|_| format!("`{text}` is no row of the history"))?;
        *found.entry(row).or_default() += 1;
    }
    for (row, (times, open)) in &mut told {
        let there = found.remove(row).unwrap_or(0);
        times.sort_unstable();
        for ns in times.iter().skip(there as usize) {
            audit.note(|| format!("a transaction was acknowledged and is not in the history: {}", shown(row)));
            audit.note_lost(*ns, ledger.cut_ns);
        }
        let most = times.len() as u64 + *open;
        if there > most {
            audit.twice += there - most;
            audit.note(|| format!("a transaction is in the history {there} times: {}", shown(row)));
        }
    }
    for (row, times) in found {
        audit.wrong += times;
        audit.note(|| format!("the history has a row that no transaction wrote: {}", shown(&row)));
    }
    match ask_once(Protocol::Postgres, SUMS, options) {
        Ok(text) if text == "t" => {}
        said => {
            audit.wrong += 1;
            let said = said.unwrap_or_else(|why| why);
            audit.note(|| {
                format!("balances of accounts are not the sum of the history of scale {}: {said}", pgbench.scale)
            });
        }
    }
    Ok(())
}

fn shown([aid, tid, bid, delta]: &Row) -> String {
    format!("account {aid}, teller {tid}, branch {bid}, {delta:+}")
}
