//! The counters that every Redis and every PostgreSQL has: what they did while throughput fell.
//!
//! They describe and never decide. What a service of another version does not tell is absent with the reason.

use crate::{
    counters::{CounterRule, Per},
    settings::Protocol,
};

/// Statistics of background writing, of the log and of this database, as lines `name:value`. The columns of the views
/// differ between versions, so the query names none.
const POSTGRES: &str = "SELECT string_agg(key || ':' || value, E'\\n') FROM ( \
    SELECT (jsonb_each_text(to_jsonb(b))).* FROM pg_stat_bgwriter b \
    UNION ALL SELECT (jsonb_each_text(to_jsonb(w))).* FROM pg_stat_wal w \
    UNION ALL SELECT (jsonb_each_text(to_jsonb(d))).* FROM pg_stat_database d WHERE datname = current_database()) s";

/// Field, whether it grows, whether it counts bytes, and what goes on while it moves.
type Row = (&'static str, bool, bool, Option<&'static str>);

const OF_POSTGRES: [Row; 10] = [
    ("checkpoints_timed", true, false, Some("a checkpoint was running")),
    ("checkpoints_req", true, false, Some("a checkpoint was running")),
    ("buffers_checkpoint", true, false, Some("a checkpoint was running")),
    ("buffers_backend", true, false, Some("clients wrote dirty buffers themselves")),
    ("wal_bytes", true, true, None),
    ("wal_fpi", true, false, Some("whole pages went to the log, as after a checkpoint")),
    ("wal_buffers_full", true, false, Some("the log's buffers were full")),
    ("blks_read", true, false, None),
    ("temp_bytes", true, true, Some("queries spilled to temporary files")),
    ("deadlocks", true, false, Some("there was a deadlock")),
];

const OF_REDIS: [Row; 8] = [
    ("expired_keys", true, false, Some("keys expired")),
    ("evicted_keys", true, false, Some("keys were evicted")),
    ("aof_delayed_fsync", true, false, Some("writes waited for a sync of the append-only file")),
    ("aof_rewrite_in_progress", false, false, Some("the append-only file was rewritten")),
    ("rdb_bgsave_in_progress", false, false, Some("a snapshot was saved")),
    ("total_forks", true, false, Some("the server forked")),
    ("used_memory", false, true, None),
    ("keyspace_misses", true, false, None),
];

/// Those of a protocol.
pub fn of(protocol: Protocol) -> impl Iterator<Item = (&'static str, CounterRule)> {
    let rows: &[Row] = match protocol {
        Protocol::Postgres => &OF_POSTGRES,
        Protocol::Redis => &OF_REDIS,
        Protocol::Http | Protocol::Lines | Protocol::Helper => &[],
    };
    rows.iter().map(move |&(name, grows, bytes, means)| {
        let (info, sql, field) = match protocol {
            Protocol::Redis => (Some(name.to_owned()), None, None),
            _ => (None, Some(POSTGRES.to_owned()), Some(name.to_owned())),
        };
        let per = if grows { Per::Total } else { Per::Gauge };
        (name, CounterRule { info, sql, field, bytes, per, means: means.map(str::to_owned), ..CounterRule::default() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_rules_like_any_other() {
        for protocol in [Protocol::Postgres, Protocol::Redis] {
            assert!(of(protocol).count() > 5);
            for (name, rule) in of(protocol) {
                rule.check(name, protocol).unwrap_or_else(|error| panic!("{name}: {}", error.message));
            }
        }
        assert_eq!(of(Protocol::Http).count(), 0);
    }
}
