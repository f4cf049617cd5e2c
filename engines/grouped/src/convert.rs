//! duroxide's types as rows, and back.

use std::{collections::HashMap, sync::Arc};

use duroxide::{
    Event, EventKind,
    providers::{DispatcherCapabilityFilter, OrchestrationItem, ProviderError, WorkItem},
};

use crate::{
    error,
    fetch::Held,
    schema::{KIND_COMPLETION, KIND_OTHER, KIND_QUEUED_EVENT, KIND_START},
    store::{FetchedHistory, FetchedTurn, KvChange, Message, NewTask, VersionRange},
    token::{TaskToken, TurnToken},
};

/// Which versions a dispatcher can continue; `None` if that is none.
pub fn versions(filter: Option<&DispatcherCapabilityFilter>) -> Option<VersionRange> {
    match filter {
        None => Some(VersionRange::ALL),
        // duroxide's contract knows one range for now: the first.
        Some(filter) => {
            filter.supported_duroxide_versions.first().map(|range| VersionRange::new(&range.min, &range.max))
        }
    }
}

/// Makes sense of a turn.
pub fn orchestration_item(turn: FetchedTurn) -> Result<(OrchestrationItem, String, u32), ProviderError> {
    let messages: Vec<WorkItem> = turn.messages.iter().filter_map(|item| serde_json::from_str(item).ok()).collect();
    let history: Result<Vec<Event>, _> = match turn.history {
        FetchedHistory::Kept(events) => Ok(Arc::unwrap_or_clone(events)),
        FetchedHistory::Json(events) => events.iter().map(|event| serde_json::from_str(event)).collect(),
    };
    let (name, version, execution) = match turn.instance {
        Some(known) => known,
        None => {
            let (name, version) = starting(history.as_deref().unwrap_or_default(), &messages).ok_or_else(|| {
                ProviderError::permanent(FetchedTurn::OPERATION, "a turn that nothing starts was fetched")
            })?;
            (name, version, turn.latest_execution)
        }
    };
    let (history, history_error, kv_snapshot) = match history {
        Ok(history) => (history, None, turn.kv),
        Err(error) => {
            (Vec::new(), Some(format!("could not read history of execution {execution}: {error}")), HashMap::new())
        }
    };
    let item = OrchestrationItem {
        instance: turn.token.instance.clone(),
        orchestration_name: name,
        execution_id: execution as u64,
        version: version.unwrap_or_else(|| "unknown".to_owned()),
        history,
        messages,
        history_error,
        kv_snapshot,
    };
    Ok((item, turn.token.to_string(), turn.attempts))
}

/// Name and version of an instance that has no row yet: from its history, or from the message that starts it.
pub fn starting(history: &[Event], messages: &[WorkItem]) -> Option<(String, Option<String>)> {
    let recorded = history.iter().find_map(|event| match &event.kind {
        EventKind::OrchestrationStarted { name, version, .. } => Some((name.clone(), Some(version.clone()))),
        _ => None,
    });
    recorded.or_else(|| {
        messages.iter().find_map(|message| match message {
            WorkItem::StartOrchestration { orchestration, version, .. }
            | WorkItem::ContinueAsNew { orchestration, version, .. } => Some((orchestration.clone(), version.clone())),
            _ => None,
        })
    })
}

/// A work item as a message to the instance that it is for; `None` for those that go to workers.
pub fn message(operation: &'static str, item: &WorkItem) -> Result<Option<Message>, ProviderError> {
    let (instance, kind) = match item {
        WorkItem::StartOrchestration { instance, .. } | WorkItem::ContinueAsNew { instance, .. } => {
            (instance, KIND_START)
        }
        WorkItem::QueueMessage { instance, .. } => (instance, KIND_QUEUED_EVENT),
        WorkItem::ActivityCompleted { instance, .. } | WorkItem::ActivityFailed { instance, .. } => {
            (instance, KIND_COMPLETION)
        }
        WorkItem::TimerFired { instance, .. }
        | WorkItem::ExternalRaised { instance, .. }
        | WorkItem::CancelInstance { instance, .. } => (instance, KIND_OTHER),
        WorkItem::SubOrchCompleted { parent_instance, .. } | WorkItem::SubOrchFailed { parent_instance, .. } => {
            (parent_instance, KIND_OTHER)
        }
        _ => return Ok(None),
    };
    Ok(Some(Message { instance: instance.clone(), kind, item: to_json(operation, item)?, visible_at: None }))
}

pub fn task(operation: &'static str, item: &WorkItem) -> Result<NewTask, ProviderError> {
    let json = to_json(operation, item)?;
    Ok(match item {
        WorkItem::ActivityExecute { instance, execution_id, id, session_id, tag, .. } => NewTask {
            instance: instance.clone(),
            execution: *execution_id as i64,
            activity: *id as i64,
            session: session_id.clone(),
            tag: tag.clone(),
            item: json,
        },
        _ => NewTask { instance: String::new(), execution: 0, activity: 0, session: None, tag: None, item: json },
    })
}

pub fn to_json(operation: &'static str, item: &impl serde::Serialize) -> Result<String, ProviderError> {
    serde_json::to_string(item)
        .map_err(|error| ProviderError::permanent(operation, format!("cannot be written as JSON: {error}")))
}

pub fn with_json(operation: &'static str, events: Vec<Event>) -> Result<Vec<(Event, String)>, ProviderError> {
    let with_json = |event| to_json(operation, &event).map(|json| (event, json));
    events.into_iter().map(with_json).collect()
}

/// What new events mean for the state that is kept beside the history.
pub fn derived(events: &[Event]) -> (Vec<KvChange>, Option<Option<String>>) {
    let mut kv = Vec::new();
    let mut custom_status = None;
    for event in events {
        match &event.kind {
            EventKind::KeyValueSet { key, value, last_updated_at_ms } => {
                let (key, value) = (key.clone(), value.clone());
                kv.push(KvChange::Set { key, value, updated_at_ms: *last_updated_at_ms });
            }
            EventKind::KeyValueCleared { key } => kv.push(KvChange::Clear { key: key.clone() }),
            EventKind::KeyValuesCleared => kv.push(KvChange::ClearAll),
            EventKind::CustomStatusUpdated { status } => custom_status = Some(status.clone()),
            _ => {}
        }
    }
    (kv, custom_status)
}

pub fn events(operation: &'static str, history: &[String]) -> Result<Vec<Event>, ProviderError> {
    history.iter().map(|event| serde_json::from_str(event).map_err(error::json(operation, "an event"))).collect()
}

pub fn turn_token(operation: &'static str, token: &str) -> Result<TurnToken, ProviderError> {
    TurnToken::parse(token).ok_or_else(|| error::not_locked(operation, token))
}

pub fn task_token(operation: &'static str, token: &str) -> Result<TaskToken, ProviderError> {
    TaskToken::parse(token).ok_or_else(|| error::not_locked(operation, token))
}
