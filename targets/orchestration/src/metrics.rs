//! The metrics that orchestrations add to those of every target.

use uplift_sdk::{Better, Derivation, DerivedMetric, MetricClass, Unit, metric};

/// All of them.
pub fn all() -> Vec<DerivedMetric> {
    vec![
        metric(
            "activities_per_second",
            Unit::CountPerSecond,
            Better::Higher,
            MetricClass::Info,
            "activities carried out a second",
            "activities",
            Derivation::PerSecond,
        ),
        metric(
            "write_transactions_per_op",
            Unit::CountPerOp,
            Better::Lower,
            MetricClass::Info,
            "write transactions for each orchestration, from the change counter of SQLite's WAL index or PostgreSQL's transaction ids",
            "write_transactions",
            Derivation::PerOperation,
        ),
        metric(
            "operations_per_transaction",
            Unit::Count,
            Better::Higher,
            MetricClass::Info,
            "provider calls that share a transaction, of the grouped provider",
            "group_operations",
            Derivation::Per("group_transactions".into()),
        ),
        metric(
            "wal_syncs_per_op",
            Unit::CountPerOp,
            Better::Lower,
            MetricClass::Info,
            "syncs of a PostgreSQL cluster's write-ahead log for each orchestration, from pg_stat_wal",
            "wal_syncs",
            Derivation::PerOperation,
        ),
        metric(
            "server_cpu_per_op",
            Unit::NanosecondsPerOp,
            Better::Lower,
            MetricClass::Info,
            "CPU time of a PostgreSQL cluster for each orchestration",
            "server_cpu_ns",
            Derivation::PerOperation,
        ),
        metric(
            "retries_per_op",
            Unit::CountPerOp,
            Better::Lower,
            MetricClass::Info,
            "provider calls that duroxide tried again, for each orchestration, from its tracing events",
            "retries",
            Derivation::PerOperation,
        ),
        metric(
            "lock_errors_per_op",
            Unit::CountPerOp,
            Better::Lower,
            MetricClass::Info,
            "those of them that failed because the database was locked",
            "lock_errors",
            Derivation::PerOperation,
        ),
        metric(
            "backoff_per_op",
            Unit::NanosecondsPerOp,
            Better::Lower,
            MetricClass::Info,
            "time that dispatchers slept in back-off, for each orchestration",
            "backoff_ns",
            Derivation::PerOperation,
        ),
    ]
}
