//! The whole engine, SQLite included, on a disk that forgets what was not synced: power is lost before and after every
//! sync of every way, and every acknowledged vote of a durable way is there once, with a view that equals a recount.
//!
//! `UPLIFT_SOAK=1` loses power after every single write as well, in every manner of [`Loss`].

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

use crate::harness::{insert_articles, vote};
use crate::simulated_vfs::SimulatedVfs;
use dataflow_engine::{
    check::{Told, check},
    engine::{Engine, EngineError, Packets},
    persist::Storage,
    row::{Article, client_and_sequence},
    settings::{CheckpointMode, Mode, Settings, State},
};
use engine_disk::{Call, Disk, Fault, Loss, SimulatedDisk};
use uplift_instrument::timeline::EventLog;
use uplift_model::Durability;

const DIRECTORY: &str = "/data";
const ARTICLES: u32 = 50;
const CLIENTS: u16 = 3;
const PACKET_VOTES: u64 = 20;

/// A simulated disk with SQLite on it.
struct Rig {
    disk: SimulatedDisk,
    vfs: SimulatedVfs,
}

impl Rig {
    fn on(disk: SimulatedDisk) -> Self {
        let vfs = SimulatedVfs::over(Arc::new(disk.clone()));
        Self { disk, vfs }
    }

    fn new() -> Self {
        let disk = SimulatedDisk::new();
        disk.create_directory(Path::new(DIRECTORY)).unwrap();
        Self::on(disk)
    }

    /// What a loss of power leaves.
    fn after(&self, point: usize, loss: Loss) -> Self {
        Self::on(self.disk.after_power_loss(point, loss))
    }

    fn open(&self, settings: &Settings) -> Result<Engine, EngineError> {
        let storage = Storage { disk: Arc::new(self.disk.clone()), sqlite_vfs: Some(self.vfs.name().to_owned()) };
        Engine::open(Path::new(DIRECTORY), settings, &storage, &EventLog::default()).map(|(engine, _)| engine)
    }

    /// How often a checkpoint, or a close, made the database itself durable.
    fn syncs_of_databases(&self) -> usize {
        let files = self.disk.files();
        let databases = files.keys().filter(|path| path.extension().is_some_and(|extension| extension == "db"));
        databases.map(|path| self.disk.syncs_of(path)).sum()
    }
}

/// What was told to whom when, as the number of acts of the disk.
struct History {
    /// When the articles were acknowledged.
    articles: usize,
    /// Client, votes so far, when.
    votes: Vec<(u16, u64, usize)>,
    /// Votes that each client sent in the end.
    sent: u64,
}

impl History {
    fn articles(&self, point: usize) -> u32 {
        if self.articles <= point { ARTICLES } else { 0 }
    }

    fn told(&self, point: usize) -> BTreeMap<u16, Told> {
        let acknowledged = |client: u16| {
            let answered = self.votes.iter().filter(|&&(who, _, acts)| who == client && acts <= point);
            answered.map(|&(_, votes, _)| votes).max().unwrap_or(0)
        };
        // Answers are noted a moment after they are given, so more than one packet may be beyond.
        (0..CLIENTS)
            .map(|client| (client, Told { acknowledged: acknowledged(client), unanswered_max: self.sent }))
            .collect()
    }
}

/// Lets the clients vote; for each packet of each client how many acts of the disk there were when it had its answer.
fn vote_and_note(engine: &Engine, disk: &SimulatedDisk, packets: std::ops::Range<u64>) -> Vec<(u16, u64, usize)> {
    let answered = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (answered, packets) = (&answered, packets.clone());
            scope.spawn(move || {
                let mut packet = Packets::new(engine);
                for number in packets {
                    for sequence in number * PACKET_VOTES..(number + 1) * PACKET_VOTES {
                        packet.add(engine, vote(client, sequence, ARTICLES));
                    }
                    packet.send(engine).unwrap();
                    let acts = disk.acts();
                    answered.lock().unwrap().push((client, (number + 1) * PACKET_VOTES, acts));
                }
            });
        }
    });
    answered.into_inner().unwrap()
}

/// Articles and votes in `rounds` rounds, each closed in order, of `packets` packets from each client.
fn history(rig: &Rig, settings: &Settings, rounds: u64, packets: u64) -> History {
    let mut history = History { articles: 0, votes: Vec::new(), sent: rounds * packets * PACKET_VOTES };
    for round in 0..rounds {
        let engine = rig.open(settings).unwrap();
        if round == 0 {
            insert_articles(&engine, ARTICLES);
            history.articles = rig.disk.acts();
        }
        let syncs_before = rig.syncs_of_databases();
        history.votes.extend(vote_and_note(&engine, &rig.disk, round * packets..(round + 1) * packets));
        engine.settle().unwrap();
        if engine.in_force().get("journal_mode").is_some_and(|mode| mode == "wal") {
            assert!(rig.syncs_of_databases() > syncs_before, "no checkpoint was among what is tested: {settings:?}");
        }
        engine.close().unwrap();
    }
    history
}

/// The moments at which power is lost: before and after every sync, or after every act.
fn points(disk: &SimulatedDisk) -> Vec<usize> {
    if soak() {
        return (0..=disk.acts()).collect();
    }
    let around = disk.sync_points().into_iter().flat_map(|point| [point, point + 1]);
    around.chain([disk.acts()]).collect::<BTreeSet<usize>>().into_iter().collect()
}

/// What becomes of the writes that were not synced, at one of these moments.
fn losses(index: usize) -> Vec<Loss> {
    let all = [
        Loss::All,
        Loss::Some(index as u64),
        Loss::TornNewest((index * 37 % 1000) as u16),
        Loss::KeptNewest,
        Loss::Nothing,
        Loss::Sectors(index as u64),
    ];
    if soak() { all.to_vec() } else { vec![all[0], all[1 + index % 5]] }
}

fn survives(settings: Settings, rounds: u64, packets: u64) {
    let rig = Rig::new();
    let history = history(&rig, &settings, rounds, packets);
    let points = points(&rig.disk);
    let mut count = 0;
    for (index, &point) in points.iter().enumerate() {
        for loss in losses(index) {
            let after = rig.after(point, loss);
            let what = || format!("{settings:?}, after {point} acts, {loss:?}");
            let engine = after.open(&settings).unwrap_or_else(|error| panic!("{}: {error}", what()));
            assert_eq!(engine.survives(), Durability::PowerLoss);
            let outcome = check(&engine, history.articles(point), &history.told(point)).unwrap();
            assert!(outcome.passed, "{}: {}", what(), outcome.detail);
            count += 1;
        }
    }
    println!(
        "{} {}: {count} losses of power around {} syncs and {} acts, no acknowledged vote lost or doubled of {}",
        settings.durability.name(),
        settings.checkpoint_mode.name(),
        rig.disk.sync_points().len(),
        rig.disk.acts(),
        history.sent * u64::from(CLIENTS),
    );
}

/// Small pages and packets of their own: many syncs.
fn way(durability: Mode) -> Settings {
    Settings { durability, max_batch: PACKET_VOTES as u32, page_size: 512, checkpoint_rows: 150, ..Settings::default() }
}

fn thread(checkpoint_mode: CheckpointMode) -> Settings {
    Settings { checkpoint_mode, ..way(Mode::SqliteCheckpointThread) }
}

#[test]
fn log() {
    survives(way(Mode::Log), 2, 20);
    survives(Settings { shards: 3, ..way(Mode::Log) }, 2, 8);
}

/// Long enough for 1000 pages, after which SQLite checkpoints by itself.
#[test]
fn sqlite_wal() {
    survives(way(Mode::SqliteWal), 1, 40);
}

#[test]
fn sqlite_checkpoint_after_ack() {
    survives(way(Mode::SqliteCheckpointAfterAck), 2, 8);
}

#[test]
fn sqlite_checkpoint_thread_passive() {
    survives(thread(CheckpointMode::Passive), 2, 8);
}

#[test]
fn sqlite_checkpoint_thread_full() {
    survives(thread(CheckpointMode::Full), 2, 8);
}

#[test]
fn sqlite_checkpoint_thread_restart() {
    survives(thread(CheckpointMode::Restart), 2, 8);
}

#[test]
fn sqlite_checkpoint_thread_truncate() {
    survives(thread(CheckpointMode::Truncate), 2, 8);
}

/// The index is believed only where its mark is: closed in order, both are there after any loss, or neither is.
#[test]
fn log_sqlite_nosync() {
    survives(way(Mode::LogSqliteNosync), 3, 8);
}

/// A mark must not outlive the index that it was written for: power is lost under load, the index is filled anew and closed
/// in order, and power is lost again at any moment of that.
#[test]
fn a_mark_speaks_of_the_index_that_is_there() {
    let settings = way(Mode::LogSqliteNosync);
    let first = Rig::new();
    let history = history(&first, &settings, 1, 4);
    let acts = first.disk.acts();
    let under_load = history.articles.midpoint(acts);
    let told = history.told(under_load);
    let rig = first.after(under_load, Loss::Nothing);
    rig.open(&settings).unwrap().close().unwrap();
    for point in 0..=rig.disk.acts() {
        for seed in 0..12 {
            let after = rig.after(point, Loss::Some(seed));
            let outcome = check(&after.open(&settings).unwrap(), ARTICLES, &told).unwrap();
            assert!(outcome.passed, "after {point} acts, seed {seed}: {}", outcome.detail);
        }
    }
}

/// A process is killed at any moment, its files are opened again, and then the power goes: what the first process left
/// unsynced, names included, must not take with it what was acknowledged afterwards.
#[test]
fn a_kill_and_then_a_loss_of_power() {
    for durability in [Mode::Log, Mode::SqliteCheckpointAfterAck, Mode::LogSqliteNosync] {
        let settings = way(durability);
        let first = Rig::new();
        let history = history(&first, &settings, 1, 2);
        for point in 0..=first.disk.acts() {
            let killed = Rig::on(first.disk.after_kill(point));
            let engine = killed.open(&settings).unwrap();
            insert_articles(&engine, ARTICLES);
            let mut packets = Packets::new(&engine);
            (0..PACKET_VOTES).for_each(|sequence| packets.add(&engine, vote(CLIENTS, sequence, ARTICLES)));
            packets.send(&engine).unwrap();
            let acts = killed.disk.acts();
            drop(engine);
            let mut told = history.told(point);
            told.insert(CLIENTS, Told { acknowledged: PACKET_VOTES, unanswered_max: 0 });
            let after = killed.after(acts, Loss::All);
            let outcome = check(&after.open(&settings).unwrap(), ARTICLES, &told).unwrap();
            assert!(outcome.passed, "{durability:?}, killed after {point} acts: {}", outcome.detail);
        }
    }
}

/// A call of each kind fails once, or it and all after it, at every number: whatever was acknowledged is there after a loss of
/// power, after a kill and after a close, each time with more acknowledged behind it.
#[test]
fn every_call_that_fails() {
    let checkpoints = |mode| Settings { checkpoint_rows: 30, ..way(mode) };
    for settings in [
        way(Mode::Log),
        way(Mode::LogSqliteNosync),
        way(Mode::SqliteWal),
        checkpoints(Mode::SqliteCheckpointAfterAck),
        checkpoints(Mode::SqliteCheckpointThread),
    ] {
        let durability = settings.durability;
        let clean = Rig::new();
        assert!(vote_until_it_fails(&clean, &settings, "no call fails", &mut None).is_some());
        let mut cases = 0;
        for call in Call::ALL {
            for first in 0..clean.disk.calls(call) {
                for for_ever in [false, true] {
                    let what = format!("{durability:?}, {call:?} {first} fails, for ever: {for_ever}");
                    let rig = Rig::new();
                    rig.disk.fail(Fault { call, first, for_ever });
                    let mut acts = None;
                    let acknowledged = vote_until_it_fails(&rig, &settings, &what, &mut acts);
                    // The engine is closed by now; before that its process could have been killed, or power lost.
                    let acts = acts.unwrap_or_else(|| rig.disk.acts());
                    rig.disk.heal();
                    let killed = Rig::on(rig.disk.after_kill(acts));
                    for rig in [rig.after(acts, Loss::All), killed, rig] {
                        goes_on(&rig, &settings, acknowledged, &what);
                        cases += 1;
                    }
                }
            }
        }
        println!("{durability:?}: {cases} engines with a failing call, nothing lost");
    }
}

/// Votes of one client that were acknowledged, `None` where not even the articles were; `acts` is when it was left.
fn vote_until_it_fails(rig: &Rig, settings: &Settings, what: &str, acts: &mut Option<usize>) -> Option<u64> {
    let engine = rig.open(settings).ok()?;
    let titles: Vec<String> = (0..ARTICLES).map(|id| format!("title {id}")).collect();
    engine.insert_articles(titles.iter().zip(0..).map(|(title, id)| Article { id, title })).ok()?;
    let (mut packets, mut acknowledged) = (Packets::new(&engine), 0);
    for number in 0..6 {
        let of_packet = number * PACKET_VOTES..(number + 1) * PACKET_VOTES;
        of_packet.for_each(|sequence| packets.add(&engine, vote(0, sequence, ARTICLES)));
        match packets.send(&engine) {
            Ok(()) => acknowledged = (number + 1) * PACKET_VOTES,
            Err(_) => {
                assert!(packets.send(&engine).is_ok(), "{what}: nothing is left to send");
                let late = (0..PACKET_VOTES).map(|sequence| vote(1, sequence, ARTICLES));
                late.for_each(|vote| packets.add(&engine, vote));
                assert!(packets.send(&engine).is_err(), "{what}: a shard that failed acknowledges nothing more");
                break;
            }
        }
    }
    *acts = Some(rig.disk.acts());
    Some(acknowledged)
}

fn goes_on(rig: &Rig, settings: &Settings, acknowledged: Option<u64>, what: &str) {
    let open = |rig: &Rig| rig.open(settings).unwrap_or_else(|error| panic!("{what}: {error}"));
    let engine = open(rig);
    let mut told =
        BTreeMap::from([(0, Told { acknowledged: acknowledged.unwrap_or(0), unanswered_max: 6 * PACKET_VOTES })]);
    let articles = if acknowledged.is_some() { ARTICLES } else { 0 };
    let outcome = check(&engine, articles, &told).unwrap();
    assert!(outcome.passed, "{what}: {}", outcome.detail);
    insert_articles(&engine, ARTICLES);
    let mut packets = Packets::new(&engine);
    (0..PACKET_VOTES).for_each(|sequence| packets.add(&engine, vote(CLIENTS, sequence, ARTICLES)));
    packets.send(&engine).unwrap();
    told.insert(CLIENTS, Told { acknowledged: PACKET_VOTES, unanswered_max: 0 });
    let lost = rig.after(rig.disk.acts(), Loss::All);
    drop(engine);
    for rig in [&lost, rig] {
        let outcome = check(&open(rig), ARTICLES, &told).unwrap();
        assert!(outcome.passed, "{what}, and more: {}", outcome.detail);
    }
}

#[test]
fn a_directory_has_one_owner() {
    for durability in [Mode::Log, Mode::SqliteWal, Mode::LogSqliteNosync, Mode::None] {
        let rig = Rig::new();
        let engine = rig.open(&way(durability)).unwrap();
        let refused = rig.open(&way(durability)).err().expect("a second owner");
        assert!(matches!(refused, EngineError::InUse { .. }), "{refused}");
        engine.close().unwrap();
        rig.open(&way(durability)).unwrap();
    }
}

/// The same for the mark of an index: a process is killed while it takes the mark away, the next one finds none and fills
/// the index anew, and the power goes. The mark must not come back beside an index that it does not speak of.
#[test]
fn a_mark_that_was_removed_stays_removed() {
    let settings = way(Mode::LogSqliteNosync);
    let first = Rig::new();
    let history = history(&first, &settings, 1, 2);
    let closed = first.disk.acts();
    let _open = first.open(&settings).unwrap();
    for kill in closed..=first.disk.acts() {
        let killed = Rig::on(first.disk.after_kill(kill));
        killed.open(&settings).unwrap().close().unwrap();
        for point in kill..=killed.disk.acts() {
            for seed in 0..12 {
                let after = killed.after(point, Loss::Some(seed));
                let outcome = check(&after.open(&settings).unwrap(), ARTICLES, &history.told(closed)).unwrap();
                assert!(outcome.passed, "killed after {kill} acts, {point}, seed {seed}: {}", outcome.detail);
            }
        }
    }
}

/// Votes that were acknowledged and are stored nowhere; all of them where the engine does not open.
fn lost(rig: &Rig, settings: &Settings, told: &BTreeMap<u16, Told>) -> u64 {
    let acknowledged = |told: &BTreeMap<u16, Told>| told.values().map(|told| told.acknowledged).sum::<u64>();
    let Ok(engine) = rig.open(settings) else { return acknowledged(told) };
    let mut stored = BTreeSet::new();
    let read = engine.read_back(&mut |_, vote| {
        let (client, sequence) = client_and_sequence(vote.user);
        if sequence < told[&client].acknowledged {
            stored.insert((client, sequence));
        }
    });
    if read.is_err() { acknowledged(told) } else { acknowledged(told) - stored.len() as u64 }
}

/// A way that promises nothing says so, and is measured: what was acknowledged is lost.
#[test]
fn none_loses_what_it_acknowledged() {
    for state in [State::Memory, State::Sqlite] {
        let settings = Settings { state: Some(state), ..way(Mode::None) };
        let rig = Rig::new();
        let history = history(&rig, &settings, 1, 8);
        assert_eq!(rig.open(&settings).unwrap().survives(), Durability::None);
        let (mut acknowledged, mut gone) = (0, 0);
        for (index, point) in (0..=rig.disk.acts()).enumerate() {
            for loss in losses(index) {
                let told = history.told(point);
                acknowledged += told.values().map(|told| told.acknowledged).sum::<u64>();
                gone += lost(&rig.after(point, loss), &settings, &told);
            }
        }
        println!("none, state {state:?}: {gone} of {acknowledged} acknowledged votes lost, over all losses of power");
        assert!(gone > 0, "{state:?}");
    }
}

/// The counter-test: on a disk that only says that it syncs, no way is durable, and these tests see it.
#[test]
fn a_disk_that_lies_about_syncs_is_found_out() {
    for durability in [Mode::Log, Mode::SqliteWal, Mode::SqliteCheckpointThread, Mode::LogSqliteNosync] {
        let settings = way(durability);
        let rig = Rig::new();
        let engine = rig.open(&settings).unwrap();
        insert_articles(&engine, ARTICLES);
        rig.disk.ignore_syncs();
        let votes = vote_and_note(&engine, &rig.disk, 0..4);
        engine.close().unwrap();
        let history = History { articles: 0, votes, sent: 4 * PACKET_VOTES };
        let point = rig.disk.acts();
        let told = history.told(point);
        let after = rig.after(point, Loss::All);
        let outcome = check(&after.open(&settings).unwrap(), ARTICLES, &told).unwrap();
        assert!(!outcome.passed && outcome.detail.contains("acknowledged and is not stored"), "{}", outcome.detail);
        let sent = u64::from(CLIENTS) * history.sent;
        assert_eq!(lost(&after, &settings, &told), sent, "{durability:?}: nothing was synced");
    }
}

/// A full disk: clients hear that their packets failed, nobody is told of what is not there, and the engine opens again.
#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged() {
    let logs = [Mode::Log, Mode::LogSqliteNosync].map(|mode| (mode, (1_000..3_000).step_by(100).collect::<Vec<u64>>()));
    let others = [Mode::SqliteWal, Mode::SqliteCheckpointAfterAck].map(|mode| (mode, vec![100_000]));
    let cases = logs.into_iter().chain(others);
    for (durability, space) in cases.flat_map(|(mode, spaces)| spaces.into_iter().map(move |space| (mode, space))) {
        let settings = Settings { checkpoint_rows: 40, ..way(durability) };
        let rig = Rig::new();
        let engine = rig.open(&settings).unwrap();
        insert_articles(&engine, ARTICLES);
        // What follows the acknowledgement of the articles needs its space.
        engine.quiesce().unwrap();
        rig.disk.limit_space(Some(space));
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
        assert!(failed.0.contains("space") || failed.0.contains("full"), "{failed}");
        assert!(acknowledged > 0);
        assert!(engine.quiesce().is_err(), "a shard that failed stays failed");
        drop(engine);
        rig.disk.limit_space(None);
        let engine = rig.open(&settings).unwrap();
        let told = BTreeMap::from([(0, Told { acknowledged, unanswered_max: PACKET_VOTES })]);
        let outcome = check(&engine, ARTICLES, &told).unwrap();
        assert!(outcome.passed, "{durability:?}, {space} bytes: {}", outcome.detail);
    }
}

fn soak() -> bool {
    std::env::var_os("UPLIFT_SOAK").is_some()
}
