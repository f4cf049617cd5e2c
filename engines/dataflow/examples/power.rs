//! The engine on a file system that loses power: what `engines/power-loss.sh` calls.
//!
//! - `power write ENGINE DIRECTORY JOURNAL ROUND`: votes until it is ended, and appends to JOURNAL, which is on another file
//!   system, how many votes of which client were acknowledged.
//! - `power check ENGINE DIRECTORY JOURNAL`: opens the engine and holds it, view included, against the journal.
//!
//! ENGINE is `log`, `log-sqlite`, `sqlite-wal`, `sqlite-after-ack` or `sqlite-thread`.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write as _,
    path::Path,
    process::ExitCode,
    thread,
};

use dataflow_engine::{
    check::{Told, check},
    engine::{Engine, Packets},
    persist::Storage,
    row::{Article, Vote, user},
    settings::{Mode, Settings},
};
use uplift_instrument::timeline::EventLog;

const ARTICLES: u32 = 50;
const CLIENTS: u16 = 4;
const PACKET_VOTES: u64 = 20;

fn open(engine: &str, directory: &Path) -> Result<Engine, String> {
    let durability = match engine {
        "log" => Mode::Log,
        "log-sqlite" => Mode::LogSqliteNosync,
        "sqlite-wal" => Mode::SqliteWal,
        "sqlite-after-ack" => Mode::SqliteCheckpointAfterAck,
        "sqlite-thread" => Mode::SqliteCheckpointThread,
        other => return Err(format!("`{other}` is no engine of this program")),
    };
    // Small pages, packets and checkpoints: many of each within a round.
    let settings = Settings {
        durability,
        shards: 2,
        max_batch: PACKET_VOTES as u32,
        page_size: 512,
        checkpoint_rows: 150,
        ..Settings::default()
    };
    fs::create_dir_all(directory).map_err(|error| format!("could not create `{}`: {error}", directory.display()))?;
    let opened = Engine::open(directory, &settings, &Storage::real(), &EventLog::default());
    opened.map(|(engine, _)| engine).map_err(|error| error.to_string())
}

fn insert_articles(engine: &Engine) -> bool {
    let titles: Vec<String> = (0..ARTICLES).map(|id| format!("title {id}")).collect();
    engine.insert_articles(titles.iter().zip(0..).map(|(title, id)| Article { id, title })).is_ok()
}

fn write(engine: &str, directory: &Path, journal: &Path, round: u64) -> Result<(), String> {
    let engine = open(engine, directory)?;
    let journal = OpenOptions::new().append(true).create(true).open(journal).map_err(|error| error.to_string())?;
    if !insert_articles(&engine) {
        return Ok(());
    }
    let (engine, journal) = (&engine, &journal);
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            // Clients of their own in each round: none votes twice for what it was not told of.
            let client = round as u16 * CLIENTS + number;
            scope.spawn(move || {
                let mut packets = Packets::new(engine);
                for packet in 1u64.. {
                    for sequence in (packet - 1) * PACKET_VOTES..packet * PACKET_VOTES {
                        let article = (sequence * 7 + u64::from(client)) as u32 % ARTICLES;
                        packets.add(engine, Vote { article, user: user(client, sequence) });
                    }
                    let acknowledged = format!("{client} {}\n", packet * PACKET_VOTES);
                    // The power is gone, or the process is about to be.
                    if packets.send(engine).is_err() || (&mut &*journal).write_all(acknowledged.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(())
}

fn check_against(engine: &str, directory: &Path, journal: &Path) -> Result<(), String> {
    let text = fs::read_to_string(journal).unwrap_or_default();
    let mut told: BTreeMap<u16, Told> = BTreeMap::new();
    // The last line may be cut off: its writer was killed.
    let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')?.split_once(' '));
    for (client, votes) in whole {
        if let (Ok(client), Ok(votes)) = (client.parse(), votes.parse::<u64>()) {
            let entry = told.entry(client).or_insert(Told { acknowledged: 0, unanswered_max: 1 << 40 });
            entry.acknowledged = entry.acknowledged.max(votes);
        }
    }
    // Those that voted and were told nothing yet.
    let last = told.keys().next_back().copied().unwrap_or_default();
    for client in 0..=last + 2 * CLIENTS {
        told.entry(client).or_insert(Told { acknowledged: 0, unanswered_max: 1 << 40 });
    }
    let opened = open(engine, directory).map_err(|error| format!("it does not open: {error}"))?;
    let acknowledged: u64 = told.values().map(|told| told.acknowledged).sum();
    let articles = if acknowledged > 0 { ARTICLES } else { 0 };
    let outcome = check(&opened, articles, &told).map_err(|error| error.to_string())?;
    if !outcome.passed {
        return Err(outcome.detail);
    }
    println!("{engine}: {acknowledged} acknowledged votes, none lost or doubled");
    opened.close().map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["write", engine, directory, journal, round] => match round.parse() {
            Ok(round) => write(engine, Path::new(directory), Path::new(journal), round),
            Err(_) => Err(format!("`{round}` is no number of a round")),
        },
        ["check", engine, directory, journal] => check_against(engine, Path::new(directory), Path::new(journal)),
        _ => Err("write ENGINE DIRECTORY JOURNAL ROUND | check ENGINE DIRECTORY JOURNAL".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("power: {why}");
            ExitCode::FAILURE
        }
    }
}
