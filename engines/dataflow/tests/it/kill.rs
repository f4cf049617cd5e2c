//! `kill -9` under load, again and again on the same files: every acknowledged vote of a durable way is there once.
//!
//! The child is this test binary again. It notes in a file for each client how many votes were acknowledged; what is in
//! the page cache survives the kill. `UPLIFT_SOAK=1` makes hundreds of rounds of it.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::harness::{engine_in, insert_articles, vote};
use dataflow_engine::{
    check::{Told, check},
    engine::Packets,
    settings::{CheckpointMode, Mode, Settings},
};

const ARTICLES: u32 = 500;
const CLIENTS: u16 = 4;
const PACKET_VOTES: u64 = 40;
const DIRECTORY: &str = "UPLIFT_DATAFLOW_KILL_DIRECTORY";
const SETTINGS: &str = "UPLIFT_DATAFLOW_KILL_SETTINGS";
const ROUND: &str = "UPLIFT_DATAFLOW_KILL_ROUND";

fn rounds() -> u64 {
    if soak() { 60 } else { 5 }
}

fn soak() -> bool {
    env::var_os("UPLIFT_SOAK").is_some()
}

fn acknowledged_path(directory: &Path, client: u16) -> PathBuf {
    directory.join(format!("client-{client}"))
}

/// What the killed processes run. As a test of its own it has nothing to do.
#[test]
fn child() {
    let (Some(directory), Ok(settings), Ok(round)) = (env::var_os(DIRECTORY), env::var(SETTINGS), env::var(ROUND))
    else {
        return;
    };
    let directory = PathBuf::from(directory);
    let settings: Settings = serde_json::from_str(&settings).unwrap();
    let round: u16 = round.parse().unwrap();
    let (engine, _) = engine_in(&directory.join("data"), &settings);
    if engine.view().read(ARTICLES - 1).is_none() {
        insert_articles(&engine, ARTICLES);
    }
    fs::write(directory.join("ready"), "").unwrap();
    thread::scope(|scope| {
        for client in round * CLIENTS..(round + 1) * CLIENTS {
            let (engine, noted) = (&engine, File::create(acknowledged_path(&directory, client)).unwrap());
            scope.spawn(move || {
                let mut packets = Packets::new(engine);
                for packet in 0.. {
                    for sequence in packet * PACKET_VOTES..(packet + 1) * PACKET_VOTES {
                        packets.add(engine, vote(client, sequence, ARTICLES));
                    }
                    packets.send(engine).unwrap();
                    noted.write_all_at(&((packet + 1) * PACKET_VOTES).to_le_bytes(), 0).unwrap();
                }
            });
        }
    });
}

/// Starts a child and kills it some time after it is ready, or before.
fn run_and_kill(directory: &Path, settings: &Settings, round: u64) {
    let _ = fs::remove_file(directory.join("ready"));
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "kill::child", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(SETTINGS, serde_json::to_string(settings).unwrap())
        .env(ROUND, round.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mixed = (round + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    // Every fifth is killed while it opens what the last one left.
    let early = mixed.is_multiple_of(5);
    let begun = Instant::now();
    while !early && !directory.join("ready").exists() {
        assert!(child.try_wait().unwrap().is_none(), "the child ended: {:?}", child.wait_with_output().unwrap());
        assert!(begun.elapsed() < Duration::from_secs(120), "the child does not get ready");
        thread::sleep(Duration::from_millis(1));
    }
    thread::sleep(Duration::from_micros(mixed % 60_000));
    child.kill().unwrap();
    child.wait().unwrap();
}

fn told(directory: &Path, rounds: u64) -> BTreeMap<u16, Told> {
    (0..rounds as u16 * CLIENTS)
        .map(|client| {
            let noted = fs::read(acknowledged_path(directory, client)).unwrap_or_default();
            let acknowledged = noted.try_into().map_or(0, u64::from_le_bytes);
            // One packet under way, and one whose acknowledgement was not noted any more.
            (client, Told { acknowledged, unanswered_max: PACKET_VOTES })
        })
        .collect()
}

fn survives(settings: Settings) {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("data")).unwrap();
    for round in 0..rounds() {
        run_and_kill(directory.path(), &settings, round);
        let (engine, found) = engine_in(&directory.path().join("data"), &settings);
        // The first child may have been killed before there were articles.
        let articles = if engine.view().read(ARTICLES - 1).is_some() { ARTICLES } else { 0 };
        let outcome = check(&engine, articles, &told(directory.path(), round + 1)).unwrap();
        assert!(outcome.passed, "round {round}: {} ({found:?})", outcome.detail);
        engine.close().unwrap();
    }
    let told = told(directory.path(), rounds());
    assert!(told.values().map(|told| told.acknowledged).sum::<u64>() > 0, "nothing was ever acknowledged");
}

fn mode(durability: Mode) -> Settings {
    Settings { durability, checkpoint_rows: 2_000, ..Settings::default() }
}

#[test]
fn log() {
    survives(mode(Mode::Log));
}

#[test]
fn log_on_three_shards() {
    survives(Settings { shards: 3, max_batch: 100, ..mode(Mode::Log) });
}

#[test]
fn sqlite_wal() {
    survives(mode(Mode::SqliteWal));
}

#[test]
fn sqlite_checkpoint_after_ack() {
    survives(mode(Mode::SqliteCheckpointAfterAck));
}

#[test]
fn sqlite_checkpoint_thread() {
    // Those that wait for others and those that do not; the long run takes all.
    let modes = [CheckpointMode::Passive, CheckpointMode::Truncate, CheckpointMode::Full, CheckpointMode::Restart];
    for checkpoint_mode in modes.into_iter().take(if soak() { 4 } else { 2 }) {
        survives(Settings { checkpoint_mode, ..mode(Mode::SqliteCheckpointThread) });
    }
}

#[test]
fn log_sqlite_nosync() {
    survives(mode(Mode::LogSqliteNosync));
}

/// A way that promises nothing is told apart: what was acknowledged is gone, and the check says so.
#[test]
fn none_loses_what_it_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("data")).unwrap();
    let settings = mode(Mode::None);
    let lost = (1..20).find_map(|round| {
        run_and_kill(directory.path(), &settings, round);
        let told = told(directory.path(), round + 1);
        (told.values().map(|told| told.acknowledged).sum::<u64>() > 0).then_some(told)
    });
    let (engine, _) = engine_in(&directory.path().join("data"), &settings);
    let outcome = check(&engine, 0, &lost.expect("some child acknowledged something")).unwrap();
    assert!(!outcome.passed && outcome.detail.contains("was acknowledged and is not stored"), "{}", outcome.detail);
}
