//! Whatever goes wrong: a clear error, exactly the checkpointed rows, and a resumed run without loss or duplicate.

use std::fs;

use pipeline_engine::{
    Fault, JournalMode, LoadMethod, Settings, error::ErrorKind, profile::Profile, transform::TransformKind,
};
use uplift_model::duration::HumanDuration;

use crate::bench::{Bench, SmallDisk, open, prefix, workload};

const ROWS: u32 = 3_000;
/// The row of each partition at which it goes wrong.
const AT: u64 = 1_050;

fn settings(fault: Fault, partitions: u32) -> Settings {
    Settings {
        load: LoadMethod::Copy,
        batch_rows: 100,
        copy_flush_bytes: 10_000,
        checkpoint_interval_bytes: 20_000,
        max_inflight_batches: 2,
        partitions,
        fault,
        fault_at_row: AT,
        transform_timeout: HumanDuration::from_millis(300),
        ..Settings::default()
    }
}

/// Runs into the fault, looks at what is there, goes on.
fn survive(bench: &Bench, fault: Fault) -> ErrorKind {
    let error = bench.job.run(fault).expect_err("the fault did not happen");
    let rows = bench.assert_prefix();
    assert!(rows > 0 && rows < u64::from(ROWS), "{rows} rows were committed before `{error}`");
    bench.job.run(Fault::None).unwrap();
    bench.assert_whole();
    let positions = bench.job.store.positions().unwrap();
    assert_eq!(positions.values().sum::<u64>(), u64::from(ROWS));
    error.kind
}

#[test]
fn a_null_where_there_must_be_none() {
    for partitions in [1, 2] {
        for journal_mode in [JournalMode::Wal, JournalMode::Delete] {
            let settings = Settings { journal_mode, ..settings(Fault::NotNull, partitions) };
            let bench = Bench::new(&workload(Profile::Small, ROWS, TransformKind::None), &settings);
            let error = survive(&bench, Fault::NotNull);
            assert!(matches!(&error, ErrorKind::Constraint(message) if message.contains("created_at")), "{error}");
        }
    }
}

#[test]
fn a_source_that_ends_early() {
    for partitions in [1, 2] {
        let settings = settings(Fault::SourceEndsEarly, partitions);
        let bench = Bench::new(&workload(Profile::Small, ROWS, TransformKind::Filter), &settings);
        let error = survive(&bench, Fault::SourceEndsEarly);
        let expected_rows = u64::from(ROWS / partitions);
        assert!(
            matches!(error, ErrorKind::SourceEndedEarly { rows: AT, expected, .. } if expected == expected_rows),
            "{error}"
        );
    }
}

#[test]
fn a_database_that_may_not_grow() {
    let settings = settings(Fault::DiskFull, 1);
    let bench = Bench::new(&workload(Profile::Small, ROWS, TransformKind::None), &settings);
    let error = survive(&bench, Fault::DiskFull);
    assert!(matches!(error, ErrorKind::DiskFull(_)), "{error}");
}

/// A real full disk. When there is room again, the run goes on.
#[test]
fn a_disk_that_is_full() {
    let Some(disk) = SmallDisk::mount("size=1m") else { return };
    let settings = Settings { journal_mode: JournalMode::Delete, ..settings(Fault::None, 1) };
    let workload = workload(Profile::Small, ROWS, TransformKind::None);
    let job = open(disk.path(), &workload, &settings).unwrap();
    job.store.reset().unwrap();
    // Something else fills the disk up; 3,000 rows need more than the half that is left.
    fs::write(disk.path().join("ballast"), vec![1; 500_000]).unwrap();
    let error = job.run(Fault::None).expect_err("1 MB cannot hold these rows");
    assert!(matches!(error.kind, ErrorKind::DiskFull(_)), "{error}");
    let positions = job.store.positions().unwrap();
    assert_eq!(job.store.read_back().unwrap(), prefix(&job, &positions));
    assert!((1..u64::from(ROWS)).contains(&positions.values().sum()), "{positions:?}");
    disk.resize("64m");
    job.run(Fault::None).unwrap();
    assert_eq!(job.store.read_back().unwrap(), pipeline_engine::expected(&job.generator, &workload).unwrap().checksum);
}

#[cfg(feature = "wasm")]
#[test]
fn a_transform_that_traps() {
    for partitions in [1, 2] {
        let settings = Settings {
            transform_engine: pipeline_engine::TransformEngine::Wasm,
            ..settings(Fault::TransformTrap, partitions)
        };
        let bench = Bench::new(&workload(Profile::Small, ROWS, TransformKind::Filter), &settings);
        let error = survive(&bench, Fault::TransformTrap);
        assert!(matches!(&error, ErrorKind::TransformTrap(message) if message.contains("unreachable")), "{error}");
    }
}

#[cfg(feature = "wasm")]
#[test]
fn a_transform_that_never_ends() {
    let settings =
        Settings { transform_engine: pipeline_engine::TransformEngine::Wasm, ..settings(Fault::TransformLoop, 2) };
    let bench = Bench::new(&workload(Profile::Small, ROWS, TransformKind::Filter), &settings);
    let error = survive(&bench, Fault::TransformLoop);
    assert!(matches!(error, ErrorKind::TransformTimeout { limit_ms: 300 }), "{error}");
}

/// A run after a complete run finds nothing to do and changes nothing.
#[test]
fn a_second_run_copies_nothing() {
    let bench = Bench::new(&workload(Profile::Small, ROWS, TransformKind::None), &settings(Fault::None, 2));
    bench.job.run(Fault::None).unwrap();
    bench.job.run(Fault::None).unwrap();
    bench.assert_whole();
}
