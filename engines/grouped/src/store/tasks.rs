//! Activities: what the workers fetch, acknowledge, abandon.

use std::time::Duration;

use duroxide::providers::{ProviderError, ScheduledActivityIdentifier, SessionFetchConfig, TagFilter};
use rusqlite::{OptionalExtension as _, params};

use super::{Message, Store, text};
use crate::{
    ahead::{self, FetchRequest},
    clock, error,
    token::{TaskKey, TaskToken},
};

const FETCH: &str = "fetch_work_item";
const ACK: &str = "ack_work_item";
const ABANDON: &str = "abandon_work_item";
const RENEW: &str = "renew_work_item_lock";

/// Locks from one acknowledgement that hands out nothing ahead to the next, where there are several files.
const ASK_ALL_EVERY: u64 = 4;

/// Activities that are due, oldest first.
const NEXT_TASKS: &str = "SELECT tag, session, instance, execution, activity, number FROM tasks INDEXED BY tasks_due
     WHERE due_at <= ?1 ORDER BY due_at";

/// The key of a row of [`NEXT_TASKS`].
fn task_key(row: &rusqlite::Row<'_>) -> rusqlite::Result<TaskKey> {
    Ok(TaskKey { instance: row.get(2)?, execution: row.get(3)?, activity: row.get(4)?, number: row.get(5)? })
}

/// An activity to carry out.
#[derive(Clone, Debug)]
pub struct NewTask {
    pub instance: String,
    pub execution: i64,
    pub activity: i64,
    pub session: Option<String>,
    pub tag: Option<String>,
    /// The work item as JSON.
    pub item: String,
}

/// Which activities a worker wants.
#[derive(Clone, Debug)]
pub struct TaskFilter {
    /// For whom sessions are claimed; without, only activities that have no session.
    pub session: Option<SessionFetchConfig>,
    pub tags: TagFilter,
}

impl TaskFilter {
    /// Whether it wants exactly what `other` wants.
    pub fn same(&self, other: &Self) -> bool {
        self.tags == other.tags
            && self.session.as_ref().map(|session| &session.owner_id)
                == other.session.as_ref().map(|session| &session.owner_id)
    }
}

/// An activity in somebody's hands.
#[derive(Debug)]
pub struct FetchedTask {
    pub token: TaskToken,
    /// The work item as JSON.
    pub item: String,
    /// How often it has been fetched.
    pub attempts: u32,
}

impl Store {
    /// Makes an activity available.
    pub fn add_task(&mut self, task: &NewTask) -> rusqlite::Result<()> {
        let now = self.tick();
        self.statement(
            "INSERT INTO tasks (instance, execution, activity, number, session, tag, item, due_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?4)",
        )?
        .execute(params![
            task.instance,
            task.execution,
            task.activity,
            now,
            task.session,
            task.tag,
            task.item
        ])?;
        self.announce_task(now);
        Ok(())
    }

    /// Removes an activity, whoever has it in hand.
    pub fn cancel_task(&mut self, activity: &ScheduledActivityIdentifier) -> rusqlite::Result<()> {
        self.statement("DELETE FROM tasks WHERE instance = ?1 AND execution = ?2 AND activity = ?3")?
            .execute(params![activity.instance, activity.execution_id as i64, activity.activity_id as i64])?;
        self.effects.cancelled.push(activity.clone());
        Ok(())
    }

    /// Locks the oldest activity that `filter` wants. `claim` as for turns.
    pub fn fetch_task(
        &mut self,
        lock_for: Duration,
        filter: &TaskFilter,
        claim: &dyn Fn() -> bool,
    ) -> Result<Option<FetchedTask>, ProviderError> {
        let now = self.tick();
        let mut claimed = false;
        let key = loop {
            let Some((key, session)) = self.next_task(now, filter).map_err(error::sqlite(FETCH))? else {
                return Ok(None);
            };
            if !claimed && !claim() {
                return Ok(None);
            }
            claimed = true;
            // Between the look and the claim another shard's writer may have given the session away.
            let ours = match (&session, &filter.session) {
                (Some(session), Some(config)) => self.sessions.claim(session, config, now),
                _ => true,
            };
            if ours {
                break key;
            }
        };
        let until = now.saturating_add(clock::micros(lock_for));
        self.lock_task(key, until).map(Some).map_err(error::sqlite(FETCH))
    }

    fn lock_task(&mut self, key: TaskKey, until: i64) -> rusqlite::Result<FetchedTask> {
        let token = TaskToken { nonce: self.nonce(), want: None, key };
        let (item, attempts) = self
            .statement(
                "UPDATE tasks SET token = ?5, due_at = ?6, attempts = attempts + 1
                 WHERE instance = ?1 AND execution = ?2 AND activity = ?3 AND number = ?4
                 RETURNING item, attempts",
            )
            .and_then(|mut statement| {
                let TaskKey { instance, execution, activity, number } = &token.key;
                statement.query_row(params![instance, execution, activity, number, token.nonce, until], |row| {
                    Ok((text(row, 0)?, row.get(1)?))
                })
            })?;
        Ok(FetchedTask { token, item, attempts })
    }

    /// Locks the oldest activity for whoever will ask for `want`, if it is one that any such fetch may have. One with a
    /// session may not be passed over either: its turn would never come. Where there are several files, now and then a
    /// worker is left to ask all of them.
    pub fn hand_out_ahead(&mut self, want: FetchRequest) -> rusqlite::Result<()> {
        let ask_all = self.shards > 1 && self.nonce.is_multiple_of(ASK_ALL_EVERY);
        if self.workers_wait || ask_all {
            return Ok(());
        }
        let now = self.tick();
        let wanted = self
            .statement(NEXT_TASKS)?
            .query_row([now], |row| {
                let wanted =
                    row.get_ref(1)?.as_str_or_null()?.is_none() && want.tags.matches(row.get_ref(0)?.as_str_or_null()?);
                if wanted { task_key(row).map(Some) } else { Ok(None) }
            })
            .optional()?
            .flatten();
        if let Some(key) = wanted {
            let lock_for = want.lock_for.saturating_add(ahead::WAIT_MAX);
            let task = self.lock_task(key, now.saturating_add(clock::micros(lock_for)))?;
            self.effects.ahead.push((want, task));
        }
        Ok(())
    }

    fn next_task(&self, now: i64, filter: &TaskFilter) -> rusqlite::Result<Option<(TaskKey, Option<String>)>> {
        let mut statement = self.statement(NEXT_TASKS)?;
        let mut rows = statement.query([now])?;
        self.saw_due.set(false);
        while let Some(row) = rows.next()? {
            self.saw_due.set(true);
            let tag = row.get_ref(0)?.as_str_or_null()?;
            let session = row.get_ref(1)?.as_str_or_null()?;
            let wanted = filter.tags.matches(tag)
                && match (session, &filter.session) {
                    (None, _) => true,
                    (Some(_), None) => false,
                    (Some(session), Some(config)) => self.sessions.claimable(session, &config.owner_id, now),
                };
            if wanted {
                return Ok(Some((task_key(row)?, session.map(str::to_owned))));
            }
        }
        Ok(None)
    }

    /// Removes an activity that was carried out and delivers its completion.
    pub fn ack_task(&mut self, token: &TaskToken, completion: Option<Message>) -> Result<(), ProviderError> {
        let sqlite = error::sqlite(ACK);
        let now = self.tick();
        let removed: Option<Option<String>> = self
            .statement(
                "DELETE FROM tasks WHERE instance = ?1 AND execution = ?2 AND activity = ?3 AND number = ?4
                 AND token = ?5 AND due_at > ?6 RETURNING session",
            )
            .and_then(|mut statement| {
                let TaskKey { instance, execution, activity, number } = &token.key;
                statement
                    .query_row(params![instance, execution, activity, number, token.nonce, now], |row| row.get(0))
                    .optional()
            })
            .map_err(&sqlite)?;
        let Some(session) = removed else { return Err(error::not_locked(ACK, &token.to_string())) };
        if let Some(session) = session {
            self.sessions.touch(&session, now);
        }
        match completion {
            Some(completion) => self.send(completion).map_err(&sqlite),
            None => Ok(()),
        }
    }

    /// Gives an activity back. It can be fetched again after `delay`.
    pub fn abandon_task(
        &mut self,
        token: &TaskToken,
        delay: Option<Duration>,
        ignore_attempt: bool,
    ) -> Result<(), ProviderError> {
        let due_at = match delay {
            Some(delay) => self.tick().saturating_add(clock::micros(delay)),
            // Back to where it stood in the queue.
            None => token.key.number,
        };
        let released = self
            .statement(
                "UPDATE tasks SET token = NULL, due_at = ?6, attempts = MAX(0, attempts - ?7)
                 WHERE instance = ?1 AND execution = ?2 AND activity = ?3 AND number = ?4 AND token = ?5",
            )
            .and_then(|mut statement| {
                let TaskKey { instance, execution, activity, number } = &token.key;
                let ignored = i64::from(ignore_attempt);
                statement.execute(params![instance, execution, activity, number, token.nonce, due_at, ignored])
            })
            .map_err(error::sqlite(ABANDON))?;
        if released == 0 {
            return Err(error::not_locked(ABANDON, &token.to_string()));
        }
        self.announce_task(due_at);
        Ok(())
    }

    /// Extends the lock of an activity.
    pub fn renew_task(&mut self, token: &TaskToken, extend_for: Duration) -> Result<(), ProviderError> {
        let now = self.tick();
        let until = now.saturating_add(clock::micros(extend_for));
        let renewed: Option<Option<String>> = self
            .statement(
                "UPDATE tasks SET due_at = ?6 WHERE instance = ?1 AND execution = ?2 AND activity = ?3
                 AND number = ?4 AND token = ?5 AND due_at > ?7 RETURNING session",
            )
            .and_then(|mut statement| {
                let TaskKey { instance, execution, activity, number } = &token.key;
                statement
                    .query_row(params![instance, execution, activity, number, token.nonce, until, now], |row| {
                        row.get(0)
                    })
                    .optional()
            })
            .map_err(error::sqlite(RENEW))?;
        let Some(session) = renewed else { return Err(error::not_locked(RENEW, &token.to_string())) };
        if let Some(session) = session {
            self.sessions.touch(&session, now);
        }
        Ok(())
    }
}
