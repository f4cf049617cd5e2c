//! Every way to be durable: votes go in from several clients, come out of the view, survive a close, and pass the check.

use std::collections::BTreeMap;

use crate::harness::{engine_in, insert_articles, settings_of_all_modes, vote_from_clients};
use dataflow_engine::{
    check::{Told, check},
    engine::{Engine, EngineError, Packets},
    persist::Storage,
    row::Vote,
    settings::{Layout, Mode, Settings, State},
};
use uplift_instrument::timeline::EventLog;
use uplift_model::Durability;

const ARTICLES: u32 = 100;
const CLIENTS: u16 = 4;
const PACKETS: u64 = 30;
const PACKET_VOTES: u64 = 70;

fn told(rounds: u64) -> BTreeMap<u16, Told> {
    let told = Told { acknowledged: rounds * PACKETS * PACKET_VOTES, unanswered_max: 0 };
    (0..CLIENTS).map(|client| (client, told)).collect()
}

fn assert_whole(engine: &Engine, rounds: u64, what: &str) {
    let outcome = check(engine, ARTICLES, &told(rounds)).unwrap();
    assert!(outcome.passed, "{what}: {}", outcome.detail);
    assert_eq!(outcome.checked, rounds * u64::from(CLIENTS) * PACKETS * PACKET_VOTES + u64::from(ARTICLES));
}

#[test]
fn every_way_keeps_votes_once_and_across_a_close() {
    for settings in settings_of_all_modes() {
        let what = format!("{settings:?}");
        let directory = tempfile::tempdir().unwrap();
        let (engine, found) = engine_in(directory.path(), &settings);
        assert!(found.iter().all(|recovered| recovered.rows == 0 && recovered.tail.is_none()));
        insert_articles(&engine, ARTICLES);
        vote_from_clients(&engine, ARTICLES, CLIENTS, 0, PACKETS, PACKET_VOTES);
        assert_whole(&engine, 1, &what);
        engine.close().unwrap();

        let (engine, found) = engine_in(directory.path(), &settings);
        let rows: u64 = found.iter().map(|recovered| recovered.rows).sum();
        if engine.survives() == Durability::None && settings.state() == State::Memory {
            assert_eq!(rows, 0, "{what}");
            continue;
        }
        assert_eq!(rows, u64::from(CLIENTS) * PACKETS * PACKET_VOTES + u64::from(ARTICLES), "{what}");
        assert!(found.iter().all(|recovered| recovered.tail.is_none() && !recovered.rebuilt_index), "{what}");
        assert_whole(&engine, 1, &what);
        vote_from_clients(&engine, ARTICLES, CLIENTS, 1, PACKETS, PACKET_VOTES);
        assert_whole(&engine, 2, &what);
        engine.close().unwrap();
    }
}

#[test]
fn settings_are_read_back_from_sqlite() {
    let in_force = |settings: Settings| {
        let directory = tempfile::tempdir().unwrap();
        let (engine, _) = engine_in(directory.path(), &settings);
        (engine.in_force().clone(), engine.survives())
    };
    let (wal, survives) = in_force(Settings { durability: Mode::SqliteWal, page_size: 8192, ..Settings::default() });
    for (key, value) in [
        ("journal_mode", "wal"),
        ("synchronous", "FULL"),
        ("locking_mode", "exclusive"),
        ("wal_autocheckpoint", "1000"),
        ("page_size", "8192"),
    ] {
        assert_eq!(wal[key], value, "{key}");
    }
    assert_eq!(survives, Durability::PowerLoss);

    let (thread, survives) = in_force(Settings { durability: Mode::SqliteCheckpointThread, ..Settings::default() });
    assert_eq!((&*thread["locking_mode"], &*thread["wal_autocheckpoint"]), ("normal", "0"));
    assert_eq!(survives, Durability::PowerLoss);

    let (nosync, survives) = in_force(Settings { durability: Mode::LogSqliteNosync, ..Settings::default() });
    assert_eq!((&*nosync["journal_mode"], &*nosync["synchronous"]), ("off", "OFF"));
    assert_eq!(survives, Durability::PowerLoss, "the log is what makes it durable");

    let (none, survives) =
        in_force(Settings { durability: Mode::None, state: Some(State::Sqlite), ..Settings::default() });
    assert_eq!((&*none["journal_mode"], survives), ("off", Durability::None));
    let (log, _) = in_force(Settings::default());
    assert!(!log.contains_key("journal_mode"));
}

/// The check must be able to fail: a vote that nobody was told of, a vote too few, and a view that lies.
#[test]
fn the_check_finds_what_is_wrong() {
    for settings in
        [Settings::default(), Settings { durability: Mode::SqliteWal, layout: Layout::Columns, ..Settings::default() }]
    {
        let directory = tempfile::tempdir().unwrap();
        let (engine, _) = engine_in(directory.path(), &settings);
        insert_articles(&engine, ARTICLES);
        vote_from_clients(&engine, ARTICLES, CLIENTS, 0, PACKETS, PACKET_VOTES);
        let fails = |told: &BTreeMap<u16, Told>, articles| check(&engine, articles, told).unwrap();
        let mut more = told(1);
        more.get_mut(&2).unwrap().acknowledged += 1;
        let outcome = fails(&more, ARTICLES);
        assert!(!outcome.passed && outcome.detail.contains("was acknowledged and is not stored"), "{}", outcome.detail);
        let mut fewer = told(1);
        fewer.get_mut(&2).unwrap().acknowledged -= 1;
        let outcome = fails(&fewer, ARTICLES);
        assert!(!outcome.passed && outcome.detail.contains("beyond the"), "{}", outcome.detail);
        let outcome = fails(&told(1), ARTICLES + 1);
        assert!(!outcome.passed && outcome.detail.contains("is not in the view"), "{}", outcome.detail);

        // The same vote a second time.
        let mut packets = Packets::new(&engine);
        packets.add(&engine, Vote { article: 1, user: 5 });
        packets.send(&engine).unwrap();
        let outcome = fails(&told(1), ARTICLES);
        assert!(!outcome.passed && outcome.detail.contains("is stored twice"), "{}", outcome.detail);
    }
}

#[test]
fn a_directory_of_other_shards_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (engine, _) = engine_in(directory.path(), &Settings { shards: 2, ..Settings::default() });
    engine.close().unwrap();
    let refused = Engine::open(directory.path(), &Settings::default(), &Storage::real(), &EventLog::default());
    assert!(matches!(refused, Err(EngineError::OtherShards { shards: 1, .. })));
}

/// Checkpoints happen where the setting says, and are seen: counted, and on the timeline.
#[test]
fn checkpoints_are_counted_and_on_the_timeline() {
    for (mode, page_size) in
        [(Mode::SqliteWal, 512), (Mode::SqliteCheckpointAfterAck, 4096), (Mode::SqliteCheckpointThread, 4096)]
    {
        let directory = tempfile::tempdir().unwrap();
        let events = EventLog::default();
        let settings = Settings { durability: mode, page_size, checkpoint_rows: 1000, ..Settings::default() };
        let (engine, _) = Engine::open(directory.path(), &settings, &Storage::real(), &events).unwrap();
        vote_from_clients(&engine, ARTICLES, CLIENTS, 0, 20, 500);
        engine.settle().unwrap();
        let checkpoints = engine.counters().checkpoints.load(std::sync::atomic::Ordering::Relaxed);
        let seen = events.events().iter().filter(|event| event.name == "checkpoint").count() as u64;
        assert!(checkpoints > 0, "{mode:?}");
        assert_eq!(seen, checkpoints, "{mode:?}");
        engine.report_worst_stalls().unwrap();
        let stalls: Vec<_> = events.events().into_iter().filter(|event| event.name == "worst stall").collect();
        assert_eq!(stalls.len(), 1);
        assert!(stalls[0].detail.contains("rows waited: "), "{}", stalls[0].detail);
    }
}

/// What is reserved is read back, and more than the machine has is refused before anything is taken.
#[test]
fn memory_is_reserved_as_far_as_there_is_any() {
    let directory = tempfile::tempdir().unwrap();
    let open = |votes| {
        let settings = Settings { durability: Mode::Log, reserve_votes: Some(votes), ..Settings::default() };
        Engine::open(directory.path(), &settings, &Storage::real(), &EventLog::default())
    };
    let (engine, _) = open(1_000_000).unwrap();
    assert_eq!(engine.in_force()["reserve_votes"], "1000000");
    drop(engine);

    let all = u64::from(u32::MAX) - 1;
    let Err(error) = open(all) else { return eprintln!("skipped: this machine has memory for {all} votes") };
    let text = error.to_string();
    assert!(text.starts_with(&format!("`reserve_votes` = {all} needs 65536 MiB of memory and ")), "{text}");
    assert!(text.ends_with(" MiB are available; reserve less"), "{text}");
}
