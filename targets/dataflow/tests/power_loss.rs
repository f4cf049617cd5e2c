//! The whole engine on a disk that forgets what was not synced: with several clients and shards, at many points, every
//! acknowledged vote is there once, and the view equals a recount.

mod harness;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

use harness::vote;
use uplift_dataflow::{
    check::{Told, check},
    engine::{Engine, Packets},
    settings::Settings,
};
use uplift_target::{
    disk::{Disk, Loss, SimulatedDisk},
    timeline::EventLog,
};

const ARTICLES: u32 = 50;
const CLIENTS: u16 = 3;
const PACKETS: u64 = 25;
const PACKET_VOTES: u64 = 9;

fn open(disk: &SimulatedDisk, settings: &Settings) -> Engine {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Engine::open(Path::new("/data"), settings, &disk, &EventLog::default()).unwrap().0
}

/// Lets the clients vote; for each packet of each client how many acts of the disk there were when it had its answer.
fn vote_and_note(engine: &Engine, disk: &SimulatedDisk) -> Vec<(u16, u64, usize)> {
    let answered = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let answered = &answered;
            scope.spawn(move || {
                let mut packets = Packets::new(engine);
                for packet in 0..PACKETS {
                    for sequence in packet * PACKET_VOTES..(packet + 1) * PACKET_VOTES {
                        packets.add(engine, vote(client, sequence, ARTICLES));
                    }
                    packets.send(engine).unwrap();
                    let acts = disk.acts();
                    answered.lock().unwrap().push((client, (packet + 1) * PACKET_VOTES, acts));
                }
            });
        }
    });
    answered.into_inner().unwrap()
}

#[test]
fn every_acknowledged_vote_survives_a_power_loss() {
    for shards in [1, 3] {
        let settings = Settings { shards, max_batch: 20, ..Settings::default() };
        let disk = SimulatedDisk::new();
        disk.create_directory(Path::new("/data")).unwrap();
        let engine = open(&disk, &settings);
        harness::insert_articles(&engine, ARTICLES);
        let begin = disk.acts();
        let answered = vote_and_note(&engine, &disk);
        engine.close().unwrap();

        let points: Vec<usize> = (begin..=disk.acts()).step_by(if soak() { 1 } else { 3 }).collect();
        for (index, &point) in points.iter().enumerate() {
            let loss = match index % 6 {
                0 => Loss::All,
                1 => Loss::TornNewest((index * 37 % 1000) as u16),
                2 => Loss::KeptNewest,
                3 => Loss::Nothing,
                _ => Loss::Some(index as u64),
            };
            let mut told: BTreeMap<u16, Told> = BTreeMap::new();
            for client in 0..CLIENTS {
                let acknowledged = answered.iter().filter(|&&(who, _, acts)| who == client && acts <= point);
                let acknowledged = acknowledged.map(|&(_, votes, _)| votes).max().unwrap_or(0);
                // Answers are noted a moment after they are given, so more than one packet may be beyond.
                told.insert(client, Told { acknowledged, unanswered_max: PACKETS * PACKET_VOTES });
            }
            let after = disk.after_power_loss(point, loss);
            let engine = open(&after, &settings);
            let outcome = check(&engine, ARTICLES, &told).unwrap();
            assert!(outcome.passed, "{shards} shards, after {point} acts, {loss:?}: {}", outcome.detail);
        }
    }
}

/// A full disk: clients hear that their packets failed, nobody is told of what is not there, and the engine opens again.
#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged() {
    let settings = Settings::default();
    let disk = SimulatedDisk::new();
    disk.create_directory(Path::new("/data")).unwrap();
    let engine = open(&disk, &settings);
    harness::insert_articles(&engine, ARTICLES);
    disk.limit_space(Some(2_000));
    let mut packets = Packets::new(&engine);
    let mut acknowledged = 0;
    let failed = loop {
        for sequence in acknowledged..acknowledged + PACKET_VOTES {
            packets.add(&engine, vote(0, sequence, ARTICLES));
        }
        match packets.send(&engine) {
            Ok(()) => acknowledged += PACKET_VOTES,
            Err(failed) => break failed,
        }
    };
    assert!(failed.0.contains("space"), "{failed}");
    assert!(acknowledged > 0);
    assert!(engine.quiesce().is_err(), "a shard that failed stays failed");
    drop(engine);
    disk.limit_space(None);
    let engine = open(&disk, &settings);
    let told = BTreeMap::from([(0, Told { acknowledged, unanswered_max: PACKET_VOTES })]);
    let outcome = check(&engine, ARTICLES, &told).unwrap();
    assert!(outcome.passed, "{}", outcome.detail);
}

fn soak() -> bool {
    std::env::var_os("UPLIFT_SOAK").is_some()
}
