//! Turns: what the orchestration dispatchers fetch, acknowledge, abandon.

use std::{collections::HashMap, sync::Arc, time::Duration};

use duroxide::{
    Event, EventKind,
    providers::{ExecutionMetadata, KvEntry, ProviderError, ScheduledActivityIdentifier},
};
use rusqlite::{OptionalExtension as _, params};

use super::{Message, NewTask, Store, text};
use crate::{
    clock,
    completion::Finished,
    error,
    recent::History,
    schema::{KIND_COMPLETION, KIND_QUEUED_EVENT, KIND_START},
    token::TurnToken,
};

const FETCH: &str = "fetch_orchestration_item";
const ACK: &str = "ack_orchestration_item";
const ABANDON: &str = "abandon_orchestration_item";
const RENEW: &str = "renew_orchestration_item_lock";

/// The due time of a turn that only a new message can bring about.
const NEVER: i64 = i64::MAX;

/// Versions of duroxide whose executions a dispatcher can continue, packed so that they compare as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRange {
    min: i64,
    max: i64,
}

impl VersionRange {
    /// Every version.
    pub const ALL: Self = Self { min: i64::MIN, max: i64::MAX };

    pub fn new(min: &semver::Version, max: &semver::Version) -> Self {
        Self { min: pack(min), max: pack(max) }
    }
}

/// Whether the execution is over.
fn ended(metadata: &ExecutionMetadata) -> bool {
    matches!(metadata.status.as_deref(), Some("Completed" | "Failed" | "ContinuedAsNew"))
}

/// 21 bits for each part.
pub fn pack(version: &semver::Version) -> i64 {
    [version.major, version.minor, version.patch]
        .iter()
        .fold(0, |packed, part| (packed << 21) | i64::try_from(*part).unwrap_or(i64::MAX).min((1 << 21) - 1))
}

/// A turn, as text: its caller makes sense of it.
#[derive(Debug)]
pub struct FetchedTurn {
    pub token: TurnToken,
    /// Name, version, current execution, where the instance has them.
    pub instance: Option<(String, Option<String>, i64)>,
    /// Events of the current execution.
    pub history: FetchedHistory,
    /// Work items as JSON.
    pub messages: Vec<String>,
    /// The most often that one of the messages has been fetched.
    pub attempts: u32,
    pub kv: HashMap<String, KvEntry>,
    /// The newest execution that the file knows, for instances that have no row.
    pub latest_execution: i64,
}

/// A history on its way to a dispatcher.
#[derive(Debug)]
pub enum FetchedHistory {
    /// As it was kept in memory.
    Kept(Arc<Vec<Event>>),
    /// As JSON, from the file.
    Json(Vec<String>),
}

/// What a turn came to.
pub struct TurnEnd {
    pub execution: i64,
    /// The new events with their JSON.
    pub events: Vec<(Event, String)>,
    /// What the new events do to the key-value store, in order.
    pub kv: Vec<KvChange>,
    /// The last custom status that was set, or cleared.
    pub custom_status: Option<Option<String>>,
    pub tasks: Vec<NewTask>,
    pub messages: Vec<Message>,
    pub metadata: ExecutionMetadata,
    pub cancelled: Vec<ScheduledActivityIdentifier>,
}

/// A change of the key-value store.
pub enum KvChange {
    Set { key: String, value: String, updated_at_ms: u64 },
    Clear { key: String },
    ClearAll,
}

impl Store {
    /// Locks the next turn that is due. `claim` is asked once there is one: whoever wants it may have been served by
    /// another shard meanwhile.
    pub fn fetch_turn(
        &mut self,
        lock_for: Duration,
        versions: VersionRange,
        claim: &dyn Fn() -> bool,
    ) -> Result<Option<FetchedTurn>, ProviderError> {
        loop {
            let now = self.tick();
            let Some((instance, known)) = self.next_turn(now, versions).map_err(error::sqlite(FETCH))? else {
                return Ok(None);
            };
            if known.is_none() && !self.can_start(&instance, now)? {
                continue;
            }
            if !claim() {
                return Ok(None);
            }
            let until = now.saturating_add(clock::micros(lock_for));
            return self.lock_turn(instance, known, now, until).map(Some).map_err(error::sqlite(FETCH));
        }
    }

    #[expect(clippy::type_complexity, reason = "a row")]
    fn next_turn(
        &self,
        now: i64,
        versions: VersionRange,
    ) -> rusqlite::Result<Option<(String, Option<(String, Option<String>, i64)>)>> {
        self.statement(
            "SELECT t.instance, i.name, i.version, i.execution FROM turns t
             LEFT JOIN instances i ON i.instance = t.instance
             LEFT JOIN executions e ON e.instance = i.instance AND e.execution = i.execution
             WHERE t.due_at <= ?1 AND (e.pinned_version IS NULL OR e.pinned_version BETWEEN ?2 AND ?3)
             ORDER BY t.due_at LIMIT 1",
        )?
        .query_row([now, versions.min, versions.max], |row| {
            let known = match row.get::<_, Option<String>>(1)? {
                Some(name) => Some((name, row.get(2)?, row.get(3)?)),
                None => None,
            };
            Ok((row.get(0)?, known))
        })
        .optional()
    }

    /// Whether an instance without a row has what a turn needs: a message that starts it, or a history that has
    /// started. Where it has not, its messages wait for one (a cancellation may overtake the start), unless they are
    /// nothing but queued events, which duroxide says are dropped.
    fn can_start(&self, instance: &str, now: i64) -> Result<bool, ProviderError> {
        let sqlite = error::sqlite(FETCH);
        let (starts, others): (i64, i64) = self
            .statement(
                "SELECT COUNT(*) FILTER (WHERE kind = ?3), COUNT(*) FILTER (WHERE kind <> ?4) FROM inbox
                 WHERE instance = ?1 AND visible_at <= ?2",
            )
            .and_then(|mut statement| {
                statement.query_row(params![instance, now, KIND_START, KIND_QUEUED_EVENT], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
            })
            .map_err(&sqlite)?;
        if starts > 0 || self.history_has_started(instance).map_err(&sqlite)? {
            return Ok(true);
        }
        if others == 0 {
            tracing::warn!(instance, "dropping queued events that came before their orchestration started");
            self.statement("DELETE FROM inbox WHERE instance = ?1 AND visible_at <= ?2")
                .and_then(|mut statement| statement.execute(params![instance, now]))
                .map_err(&sqlite)?;
        }
        self.settle_turn(instance, now).map_err(&sqlite)?;
        Ok(false)
    }

    fn history_has_started(&self, instance: &str) -> rusqlite::Result<bool> {
        let execution = self.latest_execution(instance)?;
        let events = self.history(instance, execution)?;
        Ok(events.iter().any(|event| {
            serde_json::from_str::<Event>(event)
                .is_ok_and(|event| matches!(event.kind, EventKind::OrchestrationStarted { .. }))
        }))
    }

    /// Puts off a turn that cannot run until its next message becomes visible, or comes.
    fn settle_turn(&self, instance: &str, now: i64) -> rusqlite::Result<()> {
        let next: Option<Option<i64>> = self
            .statement(
                "SELECT MIN(visible_at) FILTER (WHERE visible_at > ?2) FROM inbox WHERE instance = ?1 HAVING COUNT(*) > 0",
            )?
            .query_row(params![instance, now], |row| row.get(0))
            .optional()?;
        match next {
            None => self.statement("DELETE FROM turns WHERE instance = ?1")?.execute([instance])?,
            Some(next) => self
                .statement("UPDATE turns SET token = NULL, due_at = ?2 WHERE instance = ?1")?
                .execute(params![instance, next.unwrap_or(NEVER)])?,
        };
        Ok(())
    }

    fn lock_turn(
        &mut self,
        instance: String,
        known: Option<(String, Option<String>, i64)>,
        now: i64,
        until: i64,
    ) -> rusqlite::Result<FetchedTurn> {
        let nonce = self.nonce();
        self.statement("UPDATE turns SET token = ?2, due_at = ?3 WHERE instance = ?1")?
            .execute(params![instance, nonce, until])?;
        let mut messages: Vec<(i64, String, u32)> = self
            .statement(
                "UPDATE inbox SET token = ?2, attempts = attempts + 1 WHERE instance = ?1 AND visible_at <= ?3
                 RETURNING number, item, attempts",
            )?
            .query_map(params![instance, nonce, now], |row| Ok((row.get(0)?, text(row, 1)?, row.get(2)?)))?
            .collect::<Result<_, _>>()?;
        // RETURNING promises no order.
        messages.sort_unstable_by_key(|(number, ..)| *number);
        let execution = match &known {
            Some((_, _, execution)) => *execution,
            None => self.latest_execution(&instance)?,
        };
        let kept = self.recent.as_ref().and_then(|recent| recent.get(&instance));
        let history = match kept.filter(|kept| kept.execution == execution) {
            Some(kept) => FetchedHistory::Kept(kept.events),
            None => FetchedHistory::Json(self.history(&instance, execution)?),
        };
        Ok(FetchedTurn {
            history,
            attempts: messages.iter().map(|(_, _, attempts)| *attempts).max().unwrap_or(0),
            messages: messages.into_iter().map(|(_, item, _)| item).collect(),
            kv: self.kv_snapshot(&instance)?,
            instance: known,
            token: TurnToken { nonce, instance },
            latest_execution: execution,
        })
    }

    fn latest_execution(&self, instance: &str) -> rusqlite::Result<i64> {
        self.statement("SELECT COALESCE(MAX(execution), 1) FROM executions WHERE instance = ?1")?
            .query_row([instance], |row| row.get(0))
    }

    fn history(&self, instance: &str, execution: i64) -> rusqlite::Result<Vec<String>> {
        self.statement("SELECT data FROM history WHERE instance = ?1 AND execution = ?2 ORDER BY event")?
            .query_map(params![instance, execution], |row| text(row, 0))?
            .collect()
    }

    fn kv_snapshot(&self, instance: &str) -> rusqlite::Result<HashMap<String, KvEntry>> {
        self.statement("SELECT key, value, updated_at_ms FROM kv_store WHERE instance = ?1")?
            .query_map([instance], |row| {
                let entry = KvEntry { value: row.get(1)?, last_updated_at_ms: row.get::<_, i64>(2)? as u64 };
                Ok((row.get(0)?, entry))
            })?
            .collect()
    }

    /// Writes down what a turn came to and releases it.
    pub fn ack_turn(&mut self, token: &TurnToken, mut end: TurnEnd) -> Result<(), ProviderError> {
        let sqlite = error::sqlite(ACK);
        let now = self.tick();
        if self.turn_until(token).map_err(&sqlite)?.is_none_or(|until| until <= now) {
            return Err(error::not_locked(ACK, &token.to_string()));
        }
        let instance = token.instance.as_str();
        self.statement("DELETE FROM inbox WHERE instance = ?1 AND token = ?2")
            .and_then(|mut statement| statement.execute(params![instance, token.nonce]))
            .map_err(&sqlite)?;
        self.write_execution(instance, &end, now).map_err(&sqlite)?;
        let before = self.recent.as_ref().and_then(|recent| recent.take(instance));
        self.append(ACK, instance, end.execution, &end.events)?;
        self.change_kv(instance, &end, now).map_err(&sqlite)?;
        for task in std::mem::take(&mut end.tasks) {
            self.add_task(&task).map_err(&sqlite)?;
        }
        for activity in &end.cancelled {
            self.cancel_task(activity).map_err(&sqlite)?;
        }
        for message in std::mem::take(&mut end.messages) {
            self.send(message).map_err(&sqlite)?;
        }
        self.release_turn(instance).map_err(&sqlite)?;
        let status = end.metadata.status.as_deref();
        let is_over = matches!(status, Some("Completed" | "Failed"));
        if self.recent.is_some() && !is_over {
            let bytes = end.events.iter().map(|(_, json)| json.len()).sum();
            let events = end.events.into_iter().map(|(event, _)| event).collect();
            let kept = History::extended(before, end.execution, events, bytes);
            self.effects.histories.extend(kept.map(|kept| (token.instance.clone(), kept)));
        }
        if is_over {
            self.effects.finished.push(Finished {
                instance: token.instance.clone(),
                completed: status == Some("Completed"),
                output: end.metadata.output,
            });
        }
        Ok(())
    }

    /// When the lock runs out, if `token` is the newest for its instance.
    fn turn_until(&self, token: &TurnToken) -> rusqlite::Result<Option<i64>> {
        self.statement("SELECT due_at FROM turns WHERE instance = ?1 AND token = ?2")?
            .query_row(params![token.instance, token.nonce], |row| row.get(0))
            .optional()
    }

    fn write_execution(&self, instance: &str, end: &TurnEnd, now: i64) -> rusqlite::Result<()> {
        let metadata = &end.metadata;
        if let (Some(name), Some(version)) = (&metadata.orchestration_name, &metadata.orchestration_version) {
            self.statement(
                "INSERT INTO instances (instance, name, version, execution, parent, created_at, updated_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)
                 ON CONFLICT (instance) DO UPDATE SET name = excluded.name, version = excluded.version,
                     execution = MAX(execution, excluded.execution), updated_at = excluded.updated_at",
            )?
            .execute(params![instance, name, version, end.execution, metadata.parent_instance_id, now])?;
        } else {
            self.statement(
                "UPDATE instances SET execution = ?2, updated_at = ?3 WHERE instance = ?1 AND execution < ?2",
            )?
            .execute(params![instance, end.execution, now])?;
        }
        if let Some(status) = &end.custom_status {
            self.statement(
                "UPDATE instances SET custom_status = ?2, custom_status_version = custom_status_version + 1
                 WHERE instance = ?1",
            )?
            .execute(params![instance, status])?;
        }
        let completed_at = ended(metadata).then_some(now);
        let pinned = metadata.pinned_duroxide_version.as_ref().map(pack);
        self.statement(
            "INSERT INTO executions (instance, execution, status, output, pinned_version, started_at, completed_at)
             VALUES (?1, ?2, COALESCE(?3, 'Running'), ?4, ?5, ?6, ?7)
             ON CONFLICT (instance, execution) DO UPDATE SET
                 status = COALESCE(?3, status), output = CASE WHEN ?3 IS NULL THEN output ELSE ?4 END,
                 pinned_version = COALESCE(?5, pinned_version), completed_at = COALESCE(?7, completed_at)
                 WHERE ?3 IS NOT NULL OR ?5 IS NOT NULL",
        )?
        .execute(params![
            instance,
            end.execution,
            metadata.status,
            metadata.output,
            pinned,
            now,
            completed_at
        ])?;
        Ok(())
    }

    fn change_kv(&self, instance: &str, end: &TurnEnd, now: i64) -> rusqlite::Result<()> {
        let now_ms = now / 1000;
        let change = "INSERT INTO kv_delta (instance, key, value, updated_at_ms) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (instance, key) DO UPDATE SET value = excluded.value, updated_at_ms = excluded.updated_at_ms";
        for kv in &end.kv {
            match kv {
                KvChange::Set { key, value, updated_at_ms } => {
                    self.statement(change)?.execute(params![instance, key, value, *updated_at_ms as i64])?;
                }
                KvChange::Clear { key } => {
                    self.statement(change)?.execute(params![instance, key, None::<String>, now_ms])?;
                }
                KvChange::ClearAll => {
                    self.statement("UPDATE kv_delta SET value = NULL, updated_at_ms = ?2 WHERE instance = ?1")?
                        .execute(params![instance, now_ms])?;
                    self.statement(
                        "INSERT OR IGNORE INTO kv_delta (instance, key, value, updated_at_ms)
                         SELECT instance, key, NULL, ?2 FROM kv_store WHERE instance = ?1",
                    )?
                    .execute(params![instance, now_ms])?;
                }
            }
        }
        if ended(&end.metadata) {
            self.fold_kv(instance)?;
        }
        Ok(())
    }

    /// Makes the changes of the execution that ended part of what the next one starts with.
    fn fold_kv(&self, instance: &str) -> rusqlite::Result<()> {
        let changed: bool = self
            .statement("SELECT EXISTS (SELECT 1 FROM kv_delta WHERE instance = ?1)")?
            .query_row([instance], |row| row.get(0))?;
        if !changed {
            return Ok(());
        }
        for sql in [
            "INSERT OR REPLACE INTO kv_store (instance, key, value, updated_at_ms)
             SELECT instance, key, value, updated_at_ms FROM kv_delta WHERE instance = ?1 AND value IS NOT NULL",
            "DELETE FROM kv_store WHERE instance = ?1
             AND key IN (SELECT key FROM kv_delta WHERE instance = ?1 AND value IS NULL)",
            "DELETE FROM kv_delta WHERE instance = ?1",
        ] {
            self.statement(sql)?.execute([instance])?;
        }
        Ok(())
    }

    /// Lets the instance have its next turn, when it has one.
    fn release_turn(&mut self, instance: &str) -> rusqlite::Result<()> {
        let delay_us = self.turn_delay_us(instance)?;
        let next: Option<i64> = self
            .statement("SELECT MIN(visible_at + CASE kind WHEN ?2 THEN ?3 ELSE 0 END) FROM inbox WHERE instance = ?1")?
            .query_row(params![instance, KIND_COMPLETION, delay_us], |row| row.get(0))?;
        match next {
            None => {
                self.statement("DELETE FROM turns WHERE instance = ?1")?.execute([instance])?;
            }
            Some(due_at) => {
                self.statement("UPDATE turns SET token = NULL, due_at = ?2 WHERE instance = ?1")?
                    .execute(params![instance, due_at])?;
                self.announce_turn(due_at);
            }
        }
        Ok(())
    }

    /// Gives a turn back. Its messages become visible after `delay`.
    pub fn abandon_turn(
        &mut self,
        token: &TurnToken,
        delay: Option<Duration>,
        ignore_attempt: bool,
    ) -> Result<(), ProviderError> {
        let sqlite = error::sqlite(ABANDON);
        if self.turn_until(token).map_err(&sqlite)?.is_none() {
            return Err(error::not_locked(ABANDON, &token.to_string()));
        }
        let visible_at = delay.map(|delay| self.tick().saturating_add(clock::micros(delay)));
        self.statement(
            "UPDATE inbox SET token = NULL, visible_at = COALESCE(?3, visible_at), attempts = MAX(0, attempts - ?4)
             WHERE instance = ?1 AND token = ?2",
        )
        .and_then(|mut statement| {
            statement.execute(params![token.instance, token.nonce, visible_at, i64::from(ignore_attempt)])
        })
        .map_err(&sqlite)?;
        self.release_turn(&token.instance).map_err(&sqlite)
    }

    /// Extends the lock of a turn.
    pub fn renew_turn(&mut self, token: &TurnToken, extend_for: Duration) -> Result<(), ProviderError> {
        let now = self.tick();
        let renewed = self
            .statement("UPDATE turns SET due_at = ?3 WHERE instance = ?1 AND token = ?2 AND due_at > ?4")
            .and_then(|mut statement| {
                let until = now.saturating_add(clock::micros(extend_for));
                statement.execute(params![token.instance, token.nonce, until, now])
            })
            .map_err(error::sqlite(RENEW))?;
        if renewed == 0 { Err(error::not_locked(RENEW, &token.to_string())) } else { Ok(()) }
    }

    /// Looks again at an instance whose history was written from outside a turn.
    pub fn reconsider_turn(&mut self, instance: &str) -> rusqlite::Result<()> {
        let waits: bool = self
            .statement("SELECT EXISTS (SELECT 1 FROM turns WHERE instance = ?1 AND token IS NULL)")?
            .query_row([instance], |row| row.get(0))?;
        if waits { self.release_turn(instance) } else { Ok(()) }
    }
}
