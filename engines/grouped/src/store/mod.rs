//! The operations on one database file, as SQL inside a transaction that somebody else begins.
//!
//! Nothing here reads or writes JSON where it can be avoided: the writer thread is what everybody waits for, and the
//! callers have threads of their own.

pub mod admin;
pub mod read;
mod tasks;
mod turns;

use std::{cell::Cell, hash::BuildHasher as _, path::Path, sync::Arc};

use duroxide::{
    Event,
    providers::{ProviderError, ScheduledActivityIdentifier},
};
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, params};

pub use tasks::{FetchedTask, NewTask, TaskFilter};
pub use turns::{FetchedHistory, FetchedTurn, KvChange, TurnEnd, VersionRange, pack};

use crate::{
    ahead::FetchRequest,
    clock,
    completion::Finished,
    options::Options,
    recent::{History, Recent},
    schema,
    sessions::Sessions,
    shard::{ShardNumber, shard_of},
};

/// A text of a row. Bytes that are none are replaced: whoever reads it as JSON notices, and nobody before.
fn text(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<String> {
    Ok(String::from_utf8_lossy(row.get_ref(column)?.as_bytes()?).into_owned())
}

/// A message on its way to an instance.
#[derive(Clone, Debug)]
pub struct Message {
    pub instance: String,
    /// One of the `KIND_…` of [`schema`].
    pub kind: i64,
    /// The work item as JSON.
    pub item: String,
    /// When it may be delivered; at once if this is past.
    pub visible_at: Option<i64>,
}

/// A message of the outbox on its way to another shard.
#[derive(Clone, Debug)]
pub struct Relay {
    pub number: i64,
    pub destination: ShardNumber,
    pub message: Message,
}

/// What an operation means to others once it is committed.
#[derive(Default)]
pub struct Effects {
    /// Some instance has a message that is visible.
    pub turns: bool,
    /// Some activity can be fetched.
    pub tasks: bool,
    /// When something will become visible that is not yet.
    pub due: Vec<i64>,
    /// Instances whose first start was enqueued.
    pub started: Vec<String>,
    /// Instances that were removed.
    pub removed: Vec<String>,
    /// Orchestrations that ended.
    pub finished: Vec<Finished>,
    /// Histories of running instances as they are now.
    pub histories: Vec<(String, History)>,
    /// Messages for other shards.
    pub relays: Vec<Relay>,
    /// Activities that were handed out before anybody asked.
    pub ahead: Vec<(FetchRequest, FetchedTask)>,
    /// Activities that nobody is to carry out any more.
    pub cancelled: Vec<ScheduledActivityIdentifier>,
}

impl Effects {
    /// Adds what another operation of the same transaction means.
    pub fn merge(&mut self, other: Self) {
        self.turns |= other.turns;
        self.tasks |= other.tasks;
        self.due.extend(other.due);
        self.started.extend(other.started);
        self.removed.extend(other.removed);
        self.finished.extend(other.finished);
        self.histories.extend(other.histories);
        self.relays.extend(other.relays);
        self.ahead.extend(other.ahead);
        self.cancelled.extend(other.cancelled);
    }
}

/// One connection that writes to one file.
pub struct Store {
    connection: Connection,
    sessions: Arc<Sessions>,
    /// Not where several writers could overtake each other between a commit and its note here.
    recent: Option<Arc<Recent>>,
    shard: ShardNumber,
    shards: usize,
    /// In microseconds; 0 does not wait.
    max_turn_delay_us: i64,
    /// The newest time handed out; each is handed out once, so that times also give the order of arrival.
    last_us: i64,
    nonce: u64,
    /// Whether the last look for an activity saw any that is due, wanted or not.
    saw_due: Cell<bool>,
    /// Whether workers wait that have found nothing.
    pub workers_wait: bool,
    pub effects: Effects,
}

impl Store {
    pub fn open(
        path: &Path,
        options: &Options,
        shard: ShardNumber,
        sessions: Arc<Sessions>,
        recent: Arc<Recent>,
    ) -> rusqlite::Result<Self> {
        Ok(Self {
            connection: schema::open_writer(path, options)?,
            sessions,
            recent: (options.writers() == 1).then_some(recent),
            shard,
            shards: options.shards,
            max_turn_delay_us: clock::micros(options.max_turn_delay),
            last_us: 0,
            // Random, so that no lock of an earlier owner of the file has the same number.
            nonce: std::hash::RandomState::new().hash_one(path),
            saw_due: Cell::new(false),
            workers_wait: false,
            effects: Effects::default(),
        })
    }

    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    pub fn connection_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Executes a statement that has no parameters and whose rows do not matter.
    pub fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.statement(sql)?.raw_execute().map(drop)
    }

    /// Whether the last look for an activity saw any that is due, for whomever.
    pub fn saw_due_task(&self) -> bool {
        self.saw_due.get()
    }

    fn statement(&self, sql: &str) -> rusqlite::Result<CachedStatement<'_>> {
        self.connection.prepare_cached(sql)
    }

    /// Now, and never twice the same.
    fn tick(&mut self) -> i64 {
        self.last_us = clock::now_us().max(self.last_us + 1);
        self.last_us
    }

    /// A number that no other lock has.
    fn nonce(&mut self) -> i64 {
        self.nonce = self.nonce.wrapping_add(1);
        // 63 bits: tokens are not negative.
        (self.nonce & (u64::MAX >> 1)) as i64
    }

    /// Delivers a message to the inbox of its instance, by way of the outbox if that lives in another shard.
    pub fn send(&mut self, message: Message) -> rusqlite::Result<()> {
        let destination = shard_of(&message.instance, self.shards);
        if destination == self.shard {
            return self.deliver(&message);
        }
        let visible_at = message.visible_at.unwrap_or_default();
        self.statement("INSERT INTO outbox (shard, instance, kind, item, visible_at) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![destination as i64, message.instance, message.kind, message.item, visible_at])?;
        let number = self.connection.last_insert_rowid();
        self.effects.relays.push(Relay { number, destination, message });
        Ok(())
    }

    /// How long the completions of an instance's activities may wait for each other, in microseconds.
    fn turn_delay_us(&self, instance: &str) -> rusqlite::Result<i64> {
        if self.max_turn_delay_us == 0 {
            return Ok(0);
        }
        let any_left: bool = self
            .statement("SELECT EXISTS (SELECT 1 FROM tasks WHERE instance = ?1)")?
            .query_row([instance], |row| row.get(0))?;
        Ok(if any_left { self.max_turn_delay_us } else { 0 })
    }

    fn deliver(&mut self, message: &Message) -> rusqlite::Result<()> {
        let now = self.tick();
        let visible_at = message.visible_at.map_or(now, |at| at.max(now));
        self.statement(
            "INSERT INTO inbox (instance, number, kind, item, visible_at) VALUES
             (?1, MAX(?2, COALESCE((SELECT MAX(number) + 1 FROM inbox WHERE instance = ?1), 0)), ?3, ?4, ?5)",
        )?
        .execute(params![message.instance, now, message.kind, message.item, visible_at])?;
        let turn_delay_us =
            if message.kind == schema::KIND_COMPLETION { self.turn_delay_us(&message.instance)? } else { 0 };
        let due_at = visible_at.saturating_add(turn_delay_us);
        // No row comes back while a dispatcher has the turn: its acknowledgement looks at the inbox.
        let turn: Option<i64> = self
            .statement(
                "INSERT INTO turns (instance, due_at) VALUES (?1, ?2)
                 ON CONFLICT (instance) DO UPDATE SET due_at = MIN(due_at, excluded.due_at) WHERE token IS NULL
                 RETURNING due_at",
            )?
            .query_row(params![message.instance, due_at], |row| row.get(0))
            .optional()?;
        if message.kind == schema::KIND_START && !self.exists(&message.instance)? {
            self.effects.started.push(message.instance.clone());
        }
        // An earlier time was announced when it was written.
        if turn == Some(due_at) {
            self.announce_turn(due_at);
        }
        Ok(())
    }

    fn exists(&self, instance: &str) -> rusqlite::Result<bool> {
        self.statement("SELECT EXISTS (SELECT 1 FROM instances WHERE instance = ?1)")?
            .query_row([instance], |row| row.get(0))
    }

    fn announce_turn(&mut self, due_at: i64) {
        if due_at <= self.last_us {
            self.effects.turns = true;
        } else {
            self.effects.due.push(due_at);
        }
    }

    fn announce_task(&mut self, due_at: i64) {
        if due_at <= self.last_us {
            self.effects.tasks = true;
        } else {
            self.effects.due.push(due_at);
        }
    }

    /// Takes messages from the outbox of shard `from`, each once however often it is offered.
    pub fn receive(&mut self, from: ShardNumber, relays: &[Relay]) -> rusqlite::Result<()> {
        for relay in relays {
            let new = self
                .statement("INSERT OR IGNORE INTO received (shard, number) VALUES (?1, ?2)")?
                .execute([from as i64, relay.number])?;
            if new == 1 {
                self.deliver(&relay.message)?;
            }
        }
        Ok(())
    }

    /// Forgets that messages came from shard `from`, which will not offer them again.
    pub fn forget_received(&mut self, from: ShardNumber, numbers: &[i64]) -> rusqlite::Result<()> {
        for number in numbers {
            self.statement("DELETE FROM received WHERE shard = ?1 AND number = ?2")?.execute([from as i64, *number])?;
        }
        Ok(())
    }

    /// The messages that came from shard `from` and are not yet forgotten.
    pub fn received(&self, from: ShardNumber) -> rusqlite::Result<Vec<i64>> {
        self.statement("SELECT number FROM received WHERE shard = ?1")?
            .query_map([from as i64], |row| row.get(0))?
            .collect()
    }

    /// Forgets messages of the outbox that their shard has.
    pub fn forget(&mut self, numbers: &[i64]) -> rusqlite::Result<()> {
        for number in numbers {
            self.statement("DELETE FROM outbox WHERE number = ?1")?.execute([number])?;
        }
        Ok(())
    }

    /// What the outbox holds, oldest first.
    pub fn outbox(&self) -> rusqlite::Result<Vec<Relay>> {
        self.statement("SELECT number, shard, instance, kind, item, visible_at FROM outbox ORDER BY number")?
            .query_map([], |row| {
                let visible_at: i64 = row.get(5)?;
                Ok(Relay {
                    number: row.get(0)?,
                    destination: row.get::<_, i64>(1)? as ShardNumber,
                    message: Message {
                        instance: row.get(2)?,
                        kind: row.get(3)?,
                        item: row.get(4)?,
                        visible_at: Some(visible_at),
                    },
                })
            })?
            .collect()
    }

    /// The times after now at which something becomes visible or a lock runs out.
    pub fn future(&self) -> rusqlite::Result<Vec<i64>> {
        self.statement(
            "SELECT due_at FROM turns WHERE due_at > ?1 UNION ALL SELECT due_at FROM tasks WHERE due_at > ?1",
        )?
        .query_map([clock::now_us()], |row| row.get(0))?
        .collect()
    }

    /// Forgets what is kept in memory of an instance whose history changes outside of its turns.
    pub fn forget_history(&self, instance: &str) {
        if let Some(recent) = &self.recent {
            recent.take(instance);
        }
    }

    /// Keeps histories that were committed.
    pub fn keep_histories(&self, histories: Vec<(String, History)>) {
        if let Some(recent) = &self.recent {
            recent.keep(histories);
        }
    }

    /// Appends events to an execution.
    ///
    /// # Errors
    /// An event that is there already, or one without a number.
    pub fn append(
        &mut self,
        operation: &'static str,
        instance: &str,
        execution: i64,
        events: &[(Event, String)],
    ) -> Result<(), ProviderError> {
        let sqlite = crate::error::sqlite(operation);
        let mut insert = self
            .statement("INSERT INTO history (instance, execution, event, data) VALUES (?1, ?2, ?3, ?4)")
            .map_err(&sqlite)?;
        for (event, data) in events {
            if event.event_id == 0 {
                return Err(ProviderError::permanent(operation, "event_id is 0; the runtime must set it"));
            }
            insert.execute(params![instance, execution, event.event_id as i64, data]).map_err(&sqlite)?;
        }
        Ok(())
    }
}
