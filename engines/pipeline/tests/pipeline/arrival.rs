//! Every row arrives, once and unchanged, on every way through the pipeline.

use pipeline_engine::{
    DestinationKind, Fault, JournalMode, LoadMethod, Settings, TableLayout, TransformEngine, WalLevel, Workload,
    frame::Compression, profile::Profile, transform::TransformKind,
};

use crate::bench::{Bench, workload};

const PROFILES: [(Profile, u32); 3] = [(Profile::Small, 2_503), (Profile::Medium, 701), (Profile::Large, 37)];

fn settings() -> Settings {
    Settings { batch_rows: 100, copy_flush_bytes: 50_000, max_inflight_batches: 2, ..Settings::default() }
}

#[test]
fn through_every_destination_and_load_method() {
    for (profile, rows) in PROFILES {
        for destination in [DestinationKind::Sqlite, DestinationKind::File] {
            for (load, partitions) in [(LoadMethod::Insert, 1), (LoadMethod::Copy, 1), (LoadMethod::Copy, 3)] {
                let settings = Settings { destination, load, partitions, ..settings() };
                let bench = Bench::new(&workload(profile, rows, TransformKind::None), &settings);
                bench.job.run(Fault::None).unwrap_or_else(|error| panic!("{profile:?} {settings:?}: {error}"));
                bench.assert_whole();
            }
        }
    }
}

#[test]
fn through_every_compression_transform_and_engine() {
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        for transform in [TransformKind::None, TransformKind::Project, TransformKind::Filter] {
            for transform_engine in [TransformEngine::Native, TransformEngine::Wasm] {
                // Each job compiles the module, which takes longer than everything else here.
                let by_module = transform_engine == TransformEngine::Wasm;
                if by_module && (compression != Compression::Zstd || !cfg!(feature = "wasm")) {
                    continue;
                }
                let settings = Settings { compression, transform_engine, partitions: 2, ..settings() };
                let bench = Bench::new(&workload(Profile::Small, 1_203, transform), &settings);
                bench.job.run(Fault::None).unwrap_or_else(|error| panic!("{transform:?} {settings:?}: {error}"));
                bench.assert_whole();
            }
        }
    }
}

/// Tables smaller than a batch, than the number of partitions, and of exactly one batch.
#[test]
fn tables_of_odd_sizes() {
    for rows in [1, 2, 3, 99, 100, 101, 400] {
        let settings = Settings { partitions: 4, ..settings() };
        let bench = Bench::new(&workload(Profile::Small, rows, TransformKind::Filter), &settings);
        bench.job.run(Fault::None).unwrap();
        bench.assert_whole();
    }
}

/// A checkpoint interval makes as many commits as the bytes demand, and no interval exactly one.
#[test]
fn commits_follow_the_interval() {
    let commits = |checkpoint_interval_bytes| {
        let settings = Settings { checkpoint_interval_bytes, ..settings() };
        let bench = Bench::new(&workload(Profile::Medium, 1_000, TransformKind::None), &settings);
        bench.job.run(Fault::None).unwrap();
        bench.assert_whole();
        bench.job.counts.commits.load(std::sync::atomic::Ordering::Relaxed)
    };
    assert_eq!(commits(0), 1);
    // A batch has about 168 kB, so that every second one completes an interval, and the last commit is empty.
    assert_eq!(commits(250_000), 6);
}

/// What SQLite says about itself is what was asked for.
#[test]
fn settings_are_in_force() {
    let settings = Settings { journal_mode: JournalMode::Delete, page_size: 16_384, ..settings() };
    let bench = Bench::new(&workload(Profile::Small, 10, TransformKind::None), &settings);
    let effective = bench.job.store.effective().unwrap();
    assert_eq!(effective["journal_mode"], "delete");
    assert_eq!(effective["page_size"], "16384");
    assert_eq!(effective["synchronous"], "FULL");
}

/// The values of settings that cannot be are named, alone and with the workload.
#[test]
fn settings_that_cannot_be_are_refused() {
    let workload = workload(Profile::Small, 10, TransformKind::None);
    let refused =
        |settings: Settings| settings.check().and_then(|()| settings.suits(&workload)).expect_err("it was taken").key;
    assert_eq!(refused(Settings { partitions: 0, ..settings() }), "partitions");
    assert_eq!(refused(Settings { page_size: 1_000, ..settings() }), "page_size");
    assert_eq!(refused(Settings { syncs_per_commit: 2, ..settings() }), "syncs_per_commit");
    assert_eq!(refused(Settings { table_layout: TableLayout::Partitioned, ..settings() }), "table_layout");
    assert_eq!(refused(Settings { wal_level: WalLevel::Minimal, ..settings() }), "wal_level");
    let two_in_one =
        Settings { destination: DestinationKind::Postgres, partitions: 2, wal_level: WalLevel::Minimal, ..settings() };
    assert_eq!(refused(two_in_one), "wal_level");
    assert_eq!(refused(Settings { load: LoadMethod::PsqlText, ..settings() }), "load");
    assert_eq!(refused(Settings { fault: Fault::TransformTrap, ..settings() }), "fault");
    assert!(Workload { rows: Some(0), ..workload.clone() }.check().is_err());
}

/// Plain files sync as often as they are told for each commit, and their records are not taken for rows.
#[test]
fn plain_files_sync_as_often_as_they_are_told() {
    let syncs = |syncs_per_commit| {
        let destination = DestinationKind::File;
        let settings = Settings { destination, syncs_per_commit, checkpoint_interval_bytes: 250_000, ..settings() };
        let bench = Bench::new(&workload(Profile::Medium, 1_000, TransformKind::None), &settings);
        bench.job.run(Fault::None).unwrap();
        bench.assert_whole();
        let commits = bench.job.counts.commits.load(std::sync::atomic::Ordering::Relaxed) as usize;
        let records = std::fs::read_to_string(bench.directory().join("rows/commits-0")).unwrap_or_default();
        (commits, records.lines().count())
    };
    let (commits, records) = syncs(1);
    assert_eq!((commits > 1, records), (true, 0));
    let (commits, records) = syncs(4);
    assert_eq!(records, commits * 3);
}
