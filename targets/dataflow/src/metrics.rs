//! The metrics that the dataflow target adds to those of every target.

use uplift_sdk::{Better, Derivation, DerivedMetric, MetricClass, Unit, metric};

fn info(
    name: &'static str,
    unit: Unit,
    better: Better,
    about: &'static str,
    source: &'static str,
    derivation: Derivation,
) -> DerivedMetric {
    metric(name, unit, better, MetricClass::Info, about, source, derivation)
}

/// How much longer things take towards the end of a trial.
fn growth() -> [DerivedMetric; 2] {
    [
        info(
            "checkpoint_growth",
            Unit::Count,
            Better::Lower,
            "how many times as long the last quarter of a trial's checkpoints took as the first quarter did",
            "checkpoint_growth",
            Derivation::Gauge,
        ),
        info(
            "persist_growth",
            Unit::Count,
            Better::Lower,
            "how many times as long the last quarter of a trial's merged packets took to persist as the first quarter did",
            "persist_growth",
            Derivation::Gauge,
        ),
    ]
}

/// All of them.
pub fn all() -> Vec<DerivedMetric> {
    use Better::{Lower, Neither};
    let mut metrics = growth().to_vec();
    metrics.extend([
        info(
            "rows_per_merged_packet",
            Unit::Count,
            Neither,
            "votes of one merged packet: what shares one sync",
            "votes",
            Derivation::Per("merged_packets".into()),
        ),
        info(
            "packets_per_merged_packet",
            Unit::Count,
            Neither,
            "client packets of one merged packet",
            "packets",
            Derivation::Per("merged_packets".into()),
        ),
        info("checkpoints", Unit::Count, Neither, "checkpoints of SQLite", "checkpoints", Derivation::Total),
        info(
            "checkpoints_partial",
            Unit::Count,
            Lower,
            "checkpoints that could not copy every page because the writer was in the way",
            "checkpoints_partial",
            Derivation::Total,
        ),
        info(
            "partial_checkpoint_share",
            Unit::Ratio,
            Lower,
            "share of checkpoints that could not copy every page because the writer was in the way",
            "checkpoints_partial",
            Derivation::Per("checkpoints".into()),
        ),
        info(
            "checkpoint_mean",
            Unit::Nanoseconds,
            Lower,
            "mean duration of a checkpoint; an automatic one is timed with the commit that holds it",
            "checkpoint_ns",
            Derivation::Per("checkpoints".into()),
        ),
        info("log_bytes", Unit::Bytes, Lower, "size of the log at the end", "log_bytes", Derivation::Gauge),
        info(
            "database_bytes",
            Unit::Bytes,
            Lower,
            "size of SQLite's database at the end",
            "database_bytes",
            Derivation::Gauge,
        ),
        info(
            "wal_bytes",
            Unit::Bytes,
            Lower,
            "size of SQLite's write-ahead log at the end",
            "wal_bytes",
            Derivation::Gauge,
        ),
        info(
            "memory_per_vote",
            Unit::Bytes,
            Lower,
            "memory of the base table with its index, for each vote in it",
            "memory_per_vote",
            Derivation::Gauge,
        ),
        info(
            "memory_per_article",
            Unit::Bytes,
            Lower,
            "memory of count, join and view, for each article",
            "memory_per_article",
            Derivation::Gauge,
        ),
        info(
            "recovery_per_million",
            Unit::Nanoseconds,
            Lower,
            "time to open the engine until the view is whole, for each million votes",
            "recovery_ns",
            Derivation::Per("recovered_millions".into()),
        ),
    ]);
    metrics
}
