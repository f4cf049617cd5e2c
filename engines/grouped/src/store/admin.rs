//! Removal of instances, of old executions.

use std::collections::HashSet;

use duroxide::providers::{DeleteInstanceResult, ProviderError, PruneOptions, PruneResult};
use rusqlite::{OptionalExtension as _, params, params_from_iter};

use super::{Store, read::parameter_marks};
use crate::{clock, error};

const DELETE: &str = "delete_instances_atomic";
const PRUNE: &str = "prune_executions";

impl Store {
    /// Checks that `doomed` may be removed as far as this file can tell: those of them that live here have ended (or
    /// `force`), and nobody here has one of them as a parent and stays.
    pub fn check_delete(&self, doomed: &[String], force: bool) -> Result<(), ProviderError> {
        let sqlite = error::sqlite(DELETE);
        let marks = parameter_marks(doomed.len());
        if !force {
            let running = self
                .connection
                .prepare(&format!(
                    "SELECT i.instance FROM instances i
                     JOIN executions e ON e.instance = i.instance AND e.execution = i.execution
                     WHERE e.status = 'Running' AND i.instance IN ({marks}) LIMIT 1"
                ))
                .and_then(|mut statement| {
                    statement.query_row(params_from_iter(doomed), |row| row.get::<_, String>(0)).optional()
                })
                .map_err(&sqlite)?;
            if let Some(instance) = running {
                let message = format!("instance `{instance}` is running; cancel it first, or force its removal");
                return Err(ProviderError::permanent(DELETE, message));
            }
        }
        let children = self
            .connection
            .prepare(&format!("SELECT parent, instance FROM instances WHERE parent IN ({marks})"))
            .and_then(|mut statement| {
                statement
                    .query_map(params_from_iter(doomed), |row| {
                        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
                    })?
                    .collect::<Result<Vec<_>, _>>()
            })
            .map_err(&sqlite)?;
        let doomed: HashSet<&String> = doomed.iter().collect();
        match children.into_iter().find(|(_, child)| !doomed.contains(child)) {
            None => Ok(()),
            Some((parent, child)) => {
                let message = format!("instance `{parent}` has a child `{child}` that is to stay; get its tree again");
                Err(ProviderError::permanent(DELETE, message))
            }
        }
    }

    /// Removes all that this file holds of `doomed`.
    pub fn delete(&mut self, doomed: &[String]) -> rusqlite::Result<DeleteInstanceResult> {
        let mut result = DeleteInstanceResult::default();
        for instance in doomed {
            self.forget_history(instance);
            let remove = |table: &str| -> rusqlite::Result<u64> {
                let removed =
                    self.statement(&format!("DELETE FROM {table} WHERE instance = ?1"))?.execute([instance])?;
                Ok(removed as u64)
            };
            result.events_deleted += remove("history")?;
            result.executions_deleted += remove("executions")?;
            result.queue_messages_deleted += remove("inbox")? + remove("tasks")?;
            // Without its row here a turn in hand cannot be acknowledged, so nothing comes back.
            remove("turns")?;
            remove("kv_store")?;
            remove("kv_delta")?;
            result.instances_deleted += remove("instances")?;
            self.effects.removed.push(instance.clone());
        }
        Ok(result)
    }

    /// Removes ended executions of an instance but its current one.
    pub fn prune(&self, instance: &str, options: &PruneOptions) -> Result<PruneResult, ProviderError> {
        let sqlite = error::sqlite(PRUNE);
        let current: Option<i64> = self
            .statement("SELECT execution FROM instances WHERE instance = ?1")
            .and_then(|mut statement| statement.query_row([instance], |row| row.get(0)).optional())
            .map_err(&sqlite)?;
        let Some(current) = current else {
            return Err(ProviderError::permanent(PRUNE, format!("instance `{instance}` not found")));
        };
        let before = options.completed_before.map_or(i64::MAX, clock::from_millis);
        let old: Vec<i64> = self
            .statement(
                "SELECT execution FROM executions WHERE instance = ?1 AND execution <> ?2 AND status <> 'Running'
                 AND (?3 = 9223372036854775807 OR completed_at < ?3)
                 AND execution NOT IN
                     (SELECT execution FROM executions WHERE instance = ?1 ORDER BY execution DESC LIMIT ?4)",
            )
            .and_then(|mut statement| {
                let keep = options.keep_last.unwrap_or(0);
                statement.query_map(params![instance, current, before, keep], |row| row.get(0))?.collect()
            })
            .map_err(&sqlite)?;
        let mut result = PruneResult { instances_processed: 1, ..PruneResult::default() };
        for execution in old {
            let remove = |table: &str| {
                self.statement(&format!("DELETE FROM {table} WHERE instance = ?1 AND execution = ?2"))
                    .and_then(|mut statement| statement.execute(params![instance, execution]))
                    .map(|removed| removed as u64)
                    .map_err(&sqlite)
            };
            result.events_deleted += remove("history")?;
            result.executions_deleted += remove("executions")?;
        }
        Ok(result)
    }
}
