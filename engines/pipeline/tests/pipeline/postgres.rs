//! The same with a PostgreSQL server; skipped, with the fix, where there is none.

use std::{fs, os::unix::fs::MetadataExt as _};

use pipeline_engine::{
    DestinationKind, Fault, LoadMethod, Settings, SourceKind, TableLayout, Toast, WalLevel, error::ErrorKind,
    frame::Compression, profile::Profile, transform::TransformKind,
};

use crate::bench::{Bench, SmallDisk, workload};

fn settings() -> Settings {
    Settings {
        destination: DestinationKind::Postgres,
        load: LoadMethod::Copy,
        batch_rows: 100,
        copy_flush_bytes: 50_000,
        max_inflight_batches: 2,
        ..Settings::default()
    }
}

#[test]
fn rows_arrive_by_insert_and_copy_with_one_and_more_writers() {
    for (profile, rows) in [(Profile::Small, 2_503), (Profile::Medium, 701), (Profile::Large, 37)] {
        for (load, partitions, writers) in
            [(LoadMethod::Insert, 1, 0), (LoadMethod::Copy, 1, 0), (LoadMethod::Copy, 3, 0), (LoadMethod::Copy, 3, 1)]
        {
            let settings = Settings { load, partitions, writers, ..settings() };
            let workload = workload(profile, rows, TransformKind::None);
            let Some(bench) = Bench::with_postgres(&workload, &settings) else { return };
            bench.job.run(Fault::None).unwrap_or_else(|error| panic!("{profile:?} {settings:?}: {error}"));
            bench.assert_whole();
        }
    }
}

/// What the server says about itself is what was asked for.
#[test]
fn settings_are_in_force() {
    for (toast, name) in [(Toast::Pglz, "pglz"), (Toast::Lz4, "lz4"), (Toast::External, "external")] {
        let settings = Settings { toast, ..settings() };
        let Some(bench) = Bench::with_postgres(&workload(Profile::Small, 1, TransformKind::None), &settings) else {
            return;
        };
        let effective = bench.job.store.effective().unwrap();
        assert_eq!((effective["toast"].as_str(), effective["postgres_fsync"].as_str()), (name, "on"));
    }
}

/// Each writer has a heap of its own, also where it serves several partitions; long texts are stored as was asked for.
#[test]
fn rows_arrive_in_a_partitioned_table() {
    for (load, partitions, writers) in
        [(LoadMethod::Insert, 2, 0), (LoadMethod::Copy, 1, 0), (LoadMethod::Copy, 3, 0), (LoadMethod::Copy, 5, 2)]
    {
        let (table_layout, toast) = (TableLayout::Partitioned, Toast::External);
        let settings = Settings { load, partitions, writers, table_layout, toast, ..settings() };
        let workload = workload(Profile::Large, 37, TransformKind::None);
        let Some(bench) = Bench::with_postgres(&workload, &settings) else { return };
        bench.job.run(Fault::None).unwrap_or_else(|error| panic!("{settings:?}: {error}"));
        bench.assert_whole();
        let effective = bench.job.store.effective().unwrap();
        assert_eq!((effective["table_layout"].as_str(), effective["toast"].as_str()), ("partitioned", "external"));
        let heaps = "SELECT count(DISTINCT tableoid) FROM destination";
        let admin = bench.job.database.as_ref().unwrap().admin();
        let heaps: i64 = admin.query("counting heaps", heaps).unwrap()[0].get(0);
        assert_eq!(heaps, i64::from(settings.writers()));
    }
}

/// What the first transaction writes to a table that it has emptied is in no log, and all of it is there.
#[test]
fn with_a_minimal_log_a_first_load_is_not_logged() {
    let mut logged = Vec::new();
    for wal_level in [WalLevel::Replica, WalLevel::Minimal] {
        for (partitions, table_layout) in [(1, TableLayout::Plain), (2, TableLayout::Partitioned)] {
            let settings = Settings { partitions, table_layout, wal_level, toast: Toast::External, ..settings() };
            let workload = workload(Profile::Large, 300, TransformKind::None);
            let Some(bench) = Bench::with_postgres(&workload, &settings) else { return };
            assert_eq!(bench.job.store.effective().unwrap()["wal_level"], wal_level.name());
            let admin = bench.job.database.as_ref().unwrap().admin();
            let position = || -> i64 {
                let statement = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint";
                admin.query("reading how far the log has come", statement).unwrap()[0].get(0)
            };
            let before = position();
            bench.job.run(Fault::None).unwrap();
            logged.push(position() - before);
            bench.assert_whole();
        }
    }
    // Other tests write to the same servers meanwhile, but far less.
    let value_bytes = 300 * 60_000;
    assert!(logged[..2].iter().all(|&bytes| bytes > value_bytes), "{logged:?}");
    assert!(logged[2..].iter().all(|&bytes| bytes < value_bytes / 2), "{logged:?}");
}

/// From a table to a table, and from a table into SQLite.
#[test]
fn rows_come_from_a_table() {
    for destination in [DestinationKind::Postgres, DestinationKind::Sqlite] {
        let settings = Settings {
            source: SourceKind::Postgres,
            destination,
            partitions: 2,
            compression: Compression::Lz4,
            ..settings()
        };
        let workload = workload(Profile::Medium, 1_501, TransformKind::Filter);
        let Some(bench) = Bench::with_postgres(&workload, &settings) else { return };
        bench.job.run(Fault::None).unwrap();
        bench.assert_whole();
    }
}

/// Whatever goes wrong with the server: a clear error, exactly the checkpointed rows, no loss and no duplicate.
#[test]
fn faults_are_survived() {
    const ROWS: u32 = 3_000;
    for (fault, load, source) in [
        (Fault::DropMidCopy, LoadMethod::Copy, SourceKind::Generated),
        (Fault::DropMidCopy, LoadMethod::Insert, SourceKind::Generated),
        (Fault::NotNull, LoadMethod::Copy, SourceKind::Generated),
        (Fault::NotNull, LoadMethod::Insert, SourceKind::Generated),
        (Fault::SourceEndsEarly, LoadMethod::Copy, SourceKind::Postgres),
    ] {
        for (partitions, table_layout, wal_level) in [
            (1, TableLayout::Plain, WalLevel::Replica),
            (2, TableLayout::Plain, WalLevel::Replica),
            (2, TableLayout::Partitioned, WalLevel::Replica),
            (2, TableLayout::Partitioned, WalLevel::Minimal),
        ] {
            let settings = Settings {
                load,
                source,
                partitions,
                table_layout,
                wal_level,
                fault,
                fault_at_row: 1_050,
                copy_flush_bytes: 20_000,
                checkpoint_interval_bytes: 100_000,
                ..settings()
            };
            let workload = workload(Profile::Small, ROWS, TransformKind::None);
            let Some(bench) = Bench::with_postgres(&workload, &settings) else { return };
            let error = bench.job.run(fault).expect_err("the fault did not happen");
            let rows = bench.assert_prefix();
            assert!(rows > 0 && rows < u64::from(ROWS), "{rows} rows were committed before `{error}`");
            let clear = match fault {
                Fault::DropMidCopy => matches!(error.kind, ErrorKind::DestinationLost(_)),
                Fault::NotNull => {
                    matches!(&error.kind, ErrorKind::Constraint(message) if message.contains("created_at"))
                }
                _ => matches!(error.kind, ErrorKind::SourceEndedEarly { .. }),
            };
            assert!(clear, "{fault:?} {load:?}: {error}");
            bench.job.run(Fault::None).unwrap();
            bench.assert_whole();
        }
    }
}

/// The table's disk fills up, that of the server's log does not: a clear error, exactly the checkpointed rows, and once
/// there is room again the rest.
#[test]
fn a_full_disk_is_survived() {
    const ROWS: u32 = 8_000;
    let settings = Settings { copy_flush_bytes: 20_000, checkpoint_interval_bytes: 200_000, ..settings() };
    let workload = workload(Profile::Small, ROWS, TransformKind::None);
    let Some(bench) = Bench::with_postgres(&workload, &settings) else { return };
    let Some(database) = bench.job.database.as_ref().filter(|database| database.server().origin() == "own cluster")
    else {
        eprintln!("skipped: only a cluster from this machine's binaries sees this machine's file systems");
        return;
    };
    let user = fs::metadata(format!("/proc/{}", database.server().pid().unwrap())).unwrap().uid();
    let Some(disk) = SmallDisk::mount(&format!("size=2m,mode=0700,uid={user}")) else { return };
    let place = disk.path().display();
    let admin = database.admin();
    admin.batch("making a small tablespace", &format!("CREATE TABLESPACE small LOCATION '{place}'")).unwrap();
    admin.batch("moving the table", "ALTER TABLE destination SET TABLESPACE small").unwrap();
    let error = bench.job.run(Fault::None).expect_err("2 MB cannot hold these rows");
    assert!(matches!(&error.kind, ErrorKind::DiskFull(message) if message.contains("No space left")), "{error}");
    let rows = bench.assert_prefix();
    assert!(rows > 0 && rows < u64::from(ROWS), "{rows} rows were committed before `{error}`");
    disk.resize("64m");
    bench.job.run(Fault::None).unwrap();
    bench.assert_whole();
    admin.batch("giving the disk back", "DROP TABLE destination").unwrap();
    admin.batch("giving the disk back", "DROP TABLESPACE small").unwrap();
}
