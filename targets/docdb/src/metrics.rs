//! The target's own metrics.

use uplift_sdk::{Better, Derivation, DerivedMetric, MetricClass, Unit, metric};

/// What the target adds to what every target has.
pub fn all() -> Vec<DerivedMetric> {
    use Better::{Higher, Lower, Neither};
    use Derivation::{Gauge, Per, PerOperation, PerSecond};
    vec![
        metric(
            "writes_per_second",
            Unit::CountPerSecond,
            Higher,
            MetricClass::Time,
            "creates, updates and deletes a second that changed something",
            "writes",
            PerSecond,
        ),
        metric(
            "in_flight_mean",
            Unit::Count,
            Neither,
            MetricClass::Info,
            "requests that the store works on when one comes, that one included",
            "in_flight_sum",
            Per("requests".into()),
        ),
        metric(
            "in_flight_max",
            Unit::Count,
            Neither,
            MetricClass::Info,
            "most requests that the store ever worked on at once",
            "in_flight_max",
            Gauge,
        ),
        metric(
            "at_risk_writes_max",
            Unit::Count,
            Lower,
            MetricClass::Info,
            "most acknowledged writes that a loss of power would have lost at one moment, of one database",
            "at_risk_max",
            Gauge,
        ),
        metric(
            "at_risk_writes_mean",
            Unit::Count,
            Lower,
            MetricClass::Info,
            "acknowledged writes that a loss of power would have lost, of one database, mean over acknowledgements; with \
             `ack = \"buffered\"` a kill of the process loses them too",
            "at_risk_sum",
            Per("at_risk_looks".into()),
        ),
        metric(
            "queue_depth_mean",
            Unit::Count,
            Neither,
            MetricClass::Info,
            "requests that wait in the scheduler's queues when one comes",
            "queue_depth_sum",
            Per("queued".into()),
        ),
        metric(
            "queue_depth_max",
            Unit::Count,
            Neither,
            MetricClass::Info,
            "most requests that ever waited in the scheduler's queues",
            "queue_depth_max",
            Gauge,
        ),
        metric(
            "records_per_batch",
            Unit::Count,
            Neither,
            MetricClass::Info,
            "writes that one sync of the log made durable",
            "batch_records",
            Per("batches".into()),
        ),
        metric(
            "sync_limit",
            Unit::CountPerSecond,
            Higher,
            MetricClass::Info,
            "writes a second if the log were synced without a pause: group size reached times syncs a second of this \
             disk, both of this run; where there are several logs, of all",
            "batch_records",
            Per("sync_busy_seconds".into()),
        ),
        metric(
            "share_of_limit",
            Unit::Ratio,
            Higher,
            MetricClass::Info,
            "writes a second as a share of `sync_limit`: the share of the time in which the log was being synced",
            "sync_busy_seconds",
            PerSecond,
        ),
        metric(
            "wal_growth",
            Unit::BytesPerSecond,
            Neither,
            MetricClass::Info,
            "bytes appended to the log a second",
            "wal_bytes",
            PerSecond,
        ),
        metric(
            "wal_bytes_per_op",
            Unit::BytesPerOp,
            Lower,
            MetricClass::Info,
            "bytes appended to the log for each successful operation",
            "wal_bytes",
            PerOperation,
        ),
        metric(
            "data_file_bytes_per_op",
            Unit::BytesPerOp,
            Lower,
            MetricClass::Info,
            "bytes appended to the data file for each successful operation",
            "data_file_bytes",
            PerOperation,
        ),
    ]
}
