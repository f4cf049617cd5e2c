//! What can be read from one file. Every function is one look at the state of the last commit.

use std::collections::{HashMap, HashSet};

use duroxide::{
    Event, EventKind, SystemStats,
    providers::{ExecutionInfo, InstanceFilter, InstanceInfo, ProviderError, QueueDepths, SystemMetrics},
};
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};

use crate::{clock, error};

/// Instances that a bulk operation takes on where its caller does not say.
const BULK_LIMIT: u32 = 1000;

type Found<T> = rusqlite::Result<T>;

fn rows<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    read: impl FnMut(&Row<'_>) -> Found<T>,
) -> Found<Vec<T>> {
    connection.prepare_cached(sql)?.query_map(parameters, read)?.collect()
}

fn row<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    read: impl FnOnce(&Row<'_>) -> Found<T>,
) -> Found<Option<T>> {
    connection.prepare_cached(sql)?.query_row(parameters, read).optional()
}

/// The events of an execution as JSON, or of the newest.
pub fn history(connection: &Connection, instance: &str, execution: Option<u64>) -> Found<Vec<String>> {
    let execution = match execution {
        Some(execution) => execution as i64,
        None => latest_execution(connection, instance)? as i64,
    };
    let sql = "SELECT data FROM history WHERE instance = ?1 AND execution = ?2 ORDER BY event";
    rows(connection, sql, params![instance, execution], |row| row.get(0))
}

/// The number of the newest execution; 1 where there is none.
pub fn latest_execution(connection: &Connection, instance: &str) -> Found<u64> {
    let sql = "SELECT COALESCE(MAX(execution), 1) FROM executions WHERE instance = ?1";
    connection.prepare_cached(sql)?.query_row([instance], |row| row.get::<_, i64>(0)).map(|number| number as u64)
}

/// The custom status with its version, if that is newer than `seen`.
pub fn custom_status(connection: &Connection, instance: &str, seen: u64) -> Found<Option<(Option<String>, u64)>> {
    let sql = "SELECT custom_status, custom_status_version FROM instances
               WHERE instance = ?1 AND custom_status_version > ?2";
    row(connection, sql, params![instance, seen as i64], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))
}

/// The value of a key.
pub fn kv_value(connection: &Connection, instance: &str, key: &str) -> Found<Option<String>> {
    let sql = "SELECT value FROM kv_delta WHERE instance = ?1 AND key = ?2";
    if let Some(changed) = row(connection, sql, [instance, key], |row| row.get(0))? {
        return Ok(changed);
    }
    row(connection, "SELECT value FROM kv_store WHERE instance = ?1 AND key = ?2", [instance, key], |row| row.get(0))
}

/// All keys with their values.
pub fn kv_values(connection: &Connection, instance: &str) -> Found<HashMap<String, String>> {
    let sql = "SELECT key, value FROM kv_store s WHERE instance = ?1
                   AND NOT EXISTS (SELECT 1 FROM kv_delta d WHERE d.instance = s.instance AND d.key = s.key)
               UNION ALL SELECT key, value FROM kv_delta WHERE instance = ?1 AND value IS NOT NULL";
    Ok(rows(connection, sql, [instance], |row| Ok((row.get(0)?, row.get(1)?)))?.into_iter().collect())
}

/// How large an instance has become.
pub fn instance_stats(connection: &Connection, instance: &str) -> Result<Option<SystemStats>, ProviderError> {
    const OPERATION: &str = "get_instance_stats";
    let sqlite = error::sqlite(OPERATION);
    let sql = "SELECT execution FROM instances WHERE instance = ?1";
    let Some(execution) = row(connection, sql, [instance], |row| row.get::<_, i64>(0)).map_err(&sqlite)? else {
        return Ok(None);
    };
    let events = history(connection, instance, Some(execution as u64)).map_err(&sqlite)?;
    let carried = match events.first() {
        None => 0,
        Some(first) => {
            let first: Event = serde_json::from_str(first).map_err(error::json(OPERATION, "the first event"))?;
            match first.kind {
                EventKind::OrchestrationStarted { carry_forward_events: Some(events), .. } => events.len(),
                _ => 0,
            }
        }
    };
    let values = kv_values(connection, instance).map_err(&sqlite)?;
    Ok(Some(SystemStats {
        history_event_count: events.len() as u64,
        history_size_bytes: events.iter().map(String::len).sum::<usize>() as u64,
        queue_pending_count: carried as u64,
        kv_user_key_count: values.len() as u64,
        kv_total_value_bytes: values.values().map(String::len).sum::<usize>() as u64,
    }))
}

/// Instances with the time they were made, newest first.
pub fn instances(connection: &Connection, status: Option<&str>) -> Found<Vec<(i64, String)>> {
    let sql = "SELECT i.created_at, i.instance FROM instances i
               LEFT JOIN executions e ON e.instance = i.instance AND e.execution = i.execution
               WHERE ?1 IS NULL OR e.status = ?1 ORDER BY i.created_at DESC";
    rows(connection, sql, [status], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// The numbers of an instance's executions, oldest first.
pub fn executions(connection: &Connection, instance: &str) -> Found<Vec<u64>> {
    let sql = "SELECT execution FROM executions WHERE instance = ?1 ORDER BY execution";
    rows(connection, sql, [instance], |row| Ok(row.get::<_, i64>(0)? as u64))
}

/// What is known of an instance.
pub fn instance_info(connection: &Connection, instance: &str) -> Found<Option<InstanceInfo>> {
    let sql =
        "SELECT i.instance, i.name, i.version, i.execution, i.created_at, i.updated_at, i.parent, e.status, e.output
               FROM instances i LEFT JOIN executions e ON e.instance = i.instance AND e.execution = i.execution
               WHERE i.instance = ?1";
    row(connection, sql, [instance], |row| {
        Ok(InstanceInfo {
            instance_id: row.get(0)?,
            orchestration_name: row.get(1)?,
            orchestration_version: row.get::<_, Option<String>>(2)?.unwrap_or_else(|| "unknown".to_owned()),
            current_execution_id: row.get::<_, i64>(3)? as u64,
            created_at: clock::to_millis(row.get(4)?),
            updated_at: clock::to_millis(row.get(5)?),
            parent_instance_id: row.get(6)?,
            status: row.get::<_, Option<String>>(7)?.unwrap_or_else(|| "Unknown".to_owned()),
            output: row.get(8)?,
        })
    })
}

/// What is known of an execution.
pub fn execution_info(connection: &Connection, instance: &str, execution: u64) -> Found<Option<ExecutionInfo>> {
    let sql = "SELECT status, output, started_at, completed_at,
                   (SELECT COUNT(*) FROM history h WHERE h.instance = e.instance AND h.execution = e.execution)
               FROM executions e WHERE instance = ?1 AND execution = ?2";
    row(connection, sql, params![instance, execution as i64], |row| {
        Ok(ExecutionInfo {
            execution_id: execution,
            status: row.get(0)?,
            output: row.get(1)?,
            started_at: clock::to_millis(row.get(2)?),
            completed_at: row.get::<_, Option<i64>>(3)?.map(clock::to_millis),
            event_count: row.get::<_, i64>(4)? as usize,
        })
    })
}

/// Counts over the whole file.
pub fn system_metrics(connection: &Connection) -> Found<SystemMetrics> {
    let sql = "SELECT COUNT(*), COUNT(*) FILTER (WHERE e.status = 'Running'),
                   COUNT(*) FILTER (WHERE e.status = 'Completed'), COUNT(*) FILTER (WHERE e.status = 'Failed'),
                   (SELECT COUNT(*) FROM executions), (SELECT COUNT(*) FROM history)
               FROM instances i LEFT JOIN executions e ON e.instance = i.instance AND e.execution = i.execution";
    connection.prepare_cached(sql)?.query_row([], |row| {
        let count = |index| row.get::<_, i64>(index).map(|count| count as u64);
        Ok(SystemMetrics {
            total_instances: count(0)?,
            running_instances: count(1)?,
            completed_instances: count(2)?,
            failed_instances: count(3)?,
            total_executions: count(4)?,
            total_events: count(5)?,
        })
    })
}

/// Messages and activities that nobody has in hand.
pub fn queue_depths(connection: &Connection) -> Found<QueueDepths> {
    let sql =
        "SELECT (SELECT COUNT(*) FROM inbox WHERE token IS NULL), (SELECT COUNT(*) FROM tasks WHERE token IS NULL)";
    connection.prepare_cached(sql)?.query_row([], |row| {
        Ok(QueueDepths {
            orchestrator_queue: row.get::<_, i64>(0)? as usize,
            worker_queue: row.get::<_, i64>(1)? as usize,
            timer_queue: 0,
        })
    })
}

/// The sessions that have activities to carry out.
pub fn sessions_with_work(connection: &Connection) -> Found<HashSet<String>> {
    connection
        .prepare_cached("SELECT DISTINCT session FROM tasks WHERE session IS NOT NULL")?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// When the oldest turn, or the oldest activity, became due that can be fetched now.
pub fn oldest_due(connection: &Connection, turns: bool) -> Found<Option<i64>> {
    let sql = if turns {
        "SELECT MIN(due_at) FROM turns WHERE due_at <= ?1"
    } else {
        "SELECT MIN(due_at) FROM tasks WHERE due_at <= ?1"
    };
    // A moment ahead: writers hand out times faster than the clock where they must.
    let now = clock::now_us() + 1000;
    connection.prepare_cached(sql)?.query_row([now], |row| row.get(0))
}

/// The instances whose parent is `instance`.
pub fn children(connection: &Connection, instance: &str) -> Found<Vec<String>> {
    rows(connection, "SELECT instance FROM instances WHERE parent = ?1 ORDER BY instance", [instance], |row| row.get(0))
}

/// The parent of an instance; `None` if there is no such instance.
pub fn parent(connection: &Connection, instance: &str) -> Found<Option<Option<String>>> {
    row(connection, "SELECT parent FROM instances WHERE instance = ?1", [instance], |row| row.get(0))
}

/// The instances that a bulk operation is for: all, or only roots that have ended.
pub fn matching(connection: &Connection, filter: &InstanceFilter, only_ended_roots: bool) -> Found<Vec<String>> {
    let mut sql = "SELECT i.instance FROM instances i
         LEFT JOIN executions e ON e.instance = i.instance AND e.execution = i.execution WHERE 1"
        .to_owned();
    if only_ended_roots {
        sql += " AND i.parent IS NULL AND e.status IN ('Completed', 'Failed', 'ContinuedAsNew')";
    }
    if let Some(before) = filter.completed_before {
        sql += &format!(" AND e.completed_at < {}", clock::from_millis(before));
    }
    let names = filter.instance_ids.as_deref();
    if let Some(names) = names {
        sql += &format!(" AND i.instance IN ({})", parameter_marks(names.len()));
    }
    sql += &format!(" LIMIT {}", filter.limit.unwrap_or(BULK_LIMIT));
    connection.prepare(&sql)?.query_map(params_from_iter(names.unwrap_or_default()), |row| row.get(0))?.collect()
}

/// "?,?,?"
pub fn parameter_marks(count: usize) -> String {
    vec!["?"; count].join(",")
}
