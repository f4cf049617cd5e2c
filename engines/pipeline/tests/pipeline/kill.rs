//! A pipeline that is killed at any moment goes on from its checkpoint.
//!
//! The pipeline runs in a process of its own: this very test binary, started again. `UPLIFT_SOAK=1` kills it hundreds of
//! times.

use std::{
    env,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use pipeline_engine::{Fault, JournalMode, LoadMethod, Settings, profile::Profile, transform::TransformKind};
use uplift_model::seed::client_seed;

use crate::bench::{Bench, open, workload};

const CHILD: &str = "UPLIFT_TEST_PIPELINE_IN";
const ROWS: u32 = 20_000;

fn settings(journal_mode: JournalMode) -> Settings {
    Settings {
        load: LoadMethod::Copy,
        partitions: 2,
        batch_rows: 100,
        copy_flush_bytes: 50_000,
        checkpoint_interval_bytes: 100_000,
        journal_mode,
        ..Settings::default()
    }
}

#[test]
fn a_killed_pipeline_goes_on() {
    let workload = workload(Profile::Small, ROWS, TransformKind::Filter);
    if let Some(directory) = env::var_os(CHILD) {
        let journal_mode =
            if env::var_os("UPLIFT_TEST_JOURNAL").is_some() { JournalMode::Delete } else { JournalMode::Wal };
        open(Path::new(&directory), &workload, &settings(journal_mode)).unwrap().run(Fault::None).unwrap();
        return;
    }
    let soak = env::var_os("UPLIFT_SOAK").is_some_and(|value| value == "1");
    let (tables, kills_max) = if soak { (100, 20) } else { (2, 6) };
    let mut kills = 0;
    for table in 0..tables {
        let journal_mode = if table % 2 == 0 { JournalMode::Wal } else { JournalMode::Delete };
        let bench = Bench::new(&workload, &settings(journal_mode));
        for attempt in 0.. {
            let mut command = Command::new(env::current_exe().unwrap());
            command.args(["kill::a_killed_pipeline_goes_on", "--exact"]).env(CHILD, bench.directory());
            if journal_mode == JournalMode::Delete {
                command.env("UPLIFT_TEST_JOURNAL", "1");
            }
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            if attempt < kills_max {
                // Most of these moments fall into the middle of the copy, some before and some after it.
                thread::sleep(Duration::from_micros(client_seed(table, attempt) % 150_000));
                child.kill().unwrap();
            }
            let ended_well = child.wait().unwrap().success();
            bench.assert_prefix();
            if ended_well {
                break;
            }
            kills += 1;
            assert!(attempt < kills_max, "the pipeline that was not killed failed");
        }
        bench.assert_whole();
    }
    assert!(kills > 0, "no pipeline was killed before its end");
}
