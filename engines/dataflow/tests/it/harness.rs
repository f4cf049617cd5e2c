//! An engine under test, and clients that know what they were told.

use std::{path::Path, thread};

use dataflow_engine::{
    engine::{Engine, Packets},
    persist::{Recovered, Storage},
    row::{Article, Vote, user},
    settings::{CheckpointMode, Layout, Mode, Settings, State},
};
use uplift_instrument::timeline::EventLog;

/// Every value of `durability`, every checkpoint mode, both layouts and states, one and three shards.
pub fn settings_of_all_modes() -> Vec<Settings> {
    let base = Settings { checkpoint_rows: 500, ..Settings::default() };
    let mode = |durability: Mode| Settings { durability, ..base.clone() };
    let thread = |checkpoint_mode: CheckpointMode| Settings {
        durability: Mode::SqliteCheckpointThread,
        checkpoint_mode,
        ..base.clone()
    };
    vec![
        mode(Mode::Log),
        Settings { shards: 3, max_batch: 100, ..base.clone() },
        mode(Mode::SqliteWal),
        Settings { shards: 3, layout: Layout::Columns, state: Some(State::Memory), ..mode(Mode::SqliteWal) },
        mode(Mode::SqliteCheckpointAfterAck),
        thread(CheckpointMode::Passive),
        thread(CheckpointMode::Full),
        thread(CheckpointMode::Restart),
        thread(CheckpointMode::Truncate),
        mode(Mode::LogSqliteNosync),
        Settings { shards: 2, ..mode(Mode::LogSqliteNosync) },
        mode(Mode::None),
        Settings { state: Some(State::Sqlite), ..mode(Mode::None) },
    ]
}

/// Opens an engine on the real disk.
pub fn engine_in(directory: &Path, settings: &Settings) -> (Engine, Vec<Recovered>) {
    Engine::open(directory, settings, &Storage::real(), &EventLog::default()).unwrap()
}

/// Articles 0 to `count`.
pub fn insert_articles(engine: &Engine, count: u32) {
    let titles: Vec<String> = (0..count).map(|id| format!("title {id}")).collect();
    engine.insert_articles(titles.iter().zip(0..).map(|(title, id)| Article { id, title })).unwrap();
}

/// Lets each client send `packets` packets of `votes` votes and wait for each; `round` of that before were sent before.
pub fn vote_from_clients(engine: &Engine, articles: u32, clients: u16, round: u64, packets: u64, votes: u64) {
    thread::scope(|scope| {
        for client in 0..clients {
            scope.spawn(move || {
                let mut packet = Packets::new(engine);
                for number in round * packets..(round + 1) * packets {
                    for sequence in number * votes..(number + 1) * votes {
                        packet.add(engine, vote(client, sequence, articles));
                    }
                    packet.send(engine).unwrap();
                }
            });
        }
    });
}

/// Vote `sequence` of a client: for an article that client and number fix.
pub fn vote(client: u16, sequence: u64, articles: u32) -> Vote {
    let mixed = (sequence + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(u32::from(client));
    Vote { article: (mixed >> 40) as u32 % articles, user: user(client, sequence) }
}
