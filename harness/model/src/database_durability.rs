//! What a commit survives in databases that others made, from what is in force there.
//!
//! The tables are those of docs/TARGETS.md. What a target declares comes from here, so that two targets cannot say
//! different things of one setting.

use crate::Durability;

/// What a commit to a SQLite file survives, by `PRAGMA journal_mode` and `PRAGMA synchronous` as they are read back.
///
/// With `DELETE` the removal of the journal is the commit, and only `EXTRA` syncs the directory that it is removed from: a
/// loss of power brings the journal back, and SQLite undoes the newest commit with it.
pub fn sqlite(journal_mode: &str, synchronous: &str) -> Durability {
    match (journal_mode.to_ascii_lowercase().as_str(), synchronous.to_ascii_uppercase().as_str()) {
        // Without a journal in a file, a process that is killed in a commit leaves half of it.
        ("off" | "memory", _) => Durability::None,
        ("wal" | "truncate" | "persist", "FULL" | "EXTRA" | "2" | "3") | ("delete", "EXTRA" | "3") => {
            Durability::PowerLoss
        }
        _ => Durability::ProcessCrash,
    }
}

/// What a commit in PostgreSQL survives, by the server's settings `fsync`, `synchronous_commit` and `full_page_writes` as a
/// session sees them.
///
/// Without `full_page_writes` a page that was half written when the power went cannot be mended.
pub fn postgres(fsync: &str, synchronous_commit: &str, full_page_writes: &str) -> Durability {
    match (fsync, synchronous_commit, full_page_writes) {
        (_, "off", _) => Durability::Buffered,
        ("on", _, "on") => Durability::PowerLoss,
        _ => Durability::ProcessCrash,
    }
}

/// What a write to Redis survives, by its settings `appendonly`, `appendfsync` and `save`.
///
/// With `everysec` an append waits in the process while the last sync is going on, for up to two seconds, and is acknowledged
/// all the same. With `no` it is written to the system before it is acknowledged.
pub fn redis(appendonly: &str, appendfsync: &str, save: &str) -> Durability {
    match (appendonly, appendfsync) {
        ("yes", "always") => Durability::PowerLoss,
        ("yes", "no") => Durability::ProcessCrash,
        ("yes", _) => Durability::Buffered,
        // Snapshots hold what was there when the last one was made.
        _ if !save.trim().is_empty() => Durability::Buffered,
        _ => Durability::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_of_the_table_for_sqlite() {
        use Durability::{None, PowerLoss, ProcessCrash};
        let rows = [
            ("wal", [ProcessCrash, ProcessCrash, PowerLoss, PowerLoss]),
            ("delete", [ProcessCrash, ProcessCrash, ProcessCrash, PowerLoss]),
            ("truncate", [ProcessCrash, ProcessCrash, PowerLoss, PowerLoss]),
            ("persist", [ProcessCrash, ProcessCrash, PowerLoss, PowerLoss]),
            ("memory", [None; 4]),
            ("off", [None; 4]),
        ];
        for (mode, levels) in rows {
            for (level, survives) in ["OFF", "NORMAL", "FULL", "EXTRA"].into_iter().zip(levels) {
                assert_eq!(sqlite(mode, level), survives, "{mode} and {level}");
            }
        }
        assert_eq!(sqlite("WAL", "full"), PowerLoss);
        assert_eq!(sqlite("unheard of", "FULL"), ProcessCrash);
    }

    #[test]
    fn each_row_of_the_table_for_postgres() {
        use Durability::{Buffered, PowerLoss, ProcessCrash};
        for commit in ["on", "local", "remote_write", "remote_apply"] {
            assert_eq!(postgres("on", commit, "on"), PowerLoss, "{commit}");
            assert_eq!(postgres("on", commit, "off"), ProcessCrash, "{commit}");
            assert_eq!(postgres("off", commit, "on"), ProcessCrash, "{commit}");
        }
        for fsync in ["on", "off"] {
            assert_eq!(postgres(fsync, "off", "on"), Buffered);
        }
        assert_eq!(postgres("", "", ""), ProcessCrash, "what is not known is not promised");
    }

    #[test]
    fn each_row_of_the_table_for_redis() {
        assert_eq!(redis("yes", "always", ""), Durability::PowerLoss);
        assert_eq!(redis("yes", "everysec", ""), Durability::Buffered);
        assert_eq!(redis("yes", "no", ""), Durability::ProcessCrash);
        assert_eq!(redis("no", "always", "3600 1"), Durability::Buffered);
        assert_eq!(redis("no", "always", ""), Durability::None);
        assert_eq!(redis("", "", ""), Durability::None, "what is not known is not promised");
    }
}
