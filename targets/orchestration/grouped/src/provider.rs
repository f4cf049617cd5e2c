//! duroxide's `Provider`: turns its types into rows on the caller's thread, and back.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use duroxide::{
    Event, EventKind, SystemStats,
    providers::{
        DispatcherCapabilityFilter, ExecutionMetadata, OrchestrationItem, Provider, ProviderAdmin, ProviderError,
        ScheduledActivityIdentifier, SessionFetchConfig, TagFilter, WorkItem,
    },
};
use tokio::sync::oneshot;

use crate::{
    GroupedProvider, clock,
    command::{self, Command},
    database::Database,
    error,
    fetch::{Answer, Held, Slot, TaskFetch, TurnFetch},
    schema::{KIND_OTHER, KIND_QUEUED_EVENT, KIND_START},
    shard::{ShardNumber, shard_of},
    store::{FetchedTurn, KvChange, Message, NewTask, TaskFilter, TurnEnd, VersionRange, read},
    token::{TaskToken, TurnToken},
};

/// A fetch under way. Dropped before its answer has been taken, it sees to it that no work is lost with it.
struct Pending<'a, T: Held> {
    database: &'a Database,
    slot: Arc<Slot<T>>,
    answer: oneshot::Receiver<Answer<T>>,
    taken: bool,
}

/// Fetches from whichever shard has work.
async fn fetch<T: Held>(
    database: &Database,
    wait: Option<Duration>,
    command: impl Fn(Arc<Slot<T>>) -> Command + Send + Sync,
) -> Answer<T> {
    let shards: Vec<ShardNumber> = (0..database.shards()).collect();
    if wait.is_some() || shards.len() == 1 {
        return Pending::start(database, &shards, command)?.finish(wait).await;
    }
    // Nobody waits, so the shards can be asked in the order of what they have had longest.
    let oldest = database.read_all(T::OPERATION, |connection| read::oldest_due(connection, T::IS_TURN)).await?;
    let mut shards: Vec<_> =
        oldest.into_iter().enumerate().filter_map(|(shard, due_at)| Some((due_at?, shard))).collect();
    shards.sort_unstable();
    for (_, shard) in shards {
        if let Some(held) = Pending::start(database, &[shard], &command)?.finish(None).await? {
            return Ok(Some(held));
        }
    }
    Ok(None)
}

impl<'a, T: Held> Pending<'a, T> {
    fn start(
        database: &'a Database,
        shards: &[ShardNumber],
        command: impl Fn(Arc<Slot<T>>) -> Command,
    ) -> Result<Self, ProviderError> {
        let (slot, answer) = Slot::new(shards.len());
        let pending = Self { database, slot, answer, taken: false };
        for shard in shards {
            database.push(*shard, T::OPERATION, command(Arc::clone(&pending.slot)))?;
        }
        Ok(pending)
    }

    async fn finish(mut self, wait: Option<Duration>) -> Answer<T> {
        if let Some(wait) = wait {
            match tokio::time::timeout(wait, &mut self.answer).await {
                Ok(answer) => return self.take(answer),
                // Nobody found anything, and now nobody will.
                Err(_) if self.slot.claim() => return self.take(Ok(Ok(None))),
                // It was claimed this moment: the answer comes with the commit that is under way.
                Err(_) => {}
            }
        }
        let answer = (&mut self.answer).await;
        self.take(answer)
    }

    fn take(&mut self, answer: Result<Answer<T>, oneshot::error::RecvError>) -> Answer<T> {
        self.taken = true;
        answer.unwrap_or_else(|_| Err(error::closed(T::OPERATION)))
    }
}

impl<T: Held> Drop for Pending<'_, T> {
    fn drop(&mut self) {
        if self.taken || self.slot.claim() {
            return;
        }
        // Somebody has claimed it. From here on a writer finds nobody to give the answer to and takes it back itself.
        self.answer.close();
        if let Ok(Ok(Some(held))) = self.answer.try_recv() {
            let shard = shard_of(held.instance(), self.database.shards());
            let (release, _) = command::operation(T::OPERATION, move |store| held.release(store));
            let _ = self.database.push(shard, T::OPERATION, Command::Return(release));
        }
    }
}

/// Which versions a dispatcher can continue; `None` if that is none.
fn versions(filter: Option<&DispatcherCapabilityFilter>) -> Option<VersionRange> {
    match filter {
        None => Some(VersionRange::ALL),
        // duroxide's contract knows one range for now: the first.
        Some(filter) => {
            filter.supported_duroxide_versions.first().map(|range| VersionRange::new(&range.min, &range.max))
        }
    }
}

/// Makes sense of a turn.
fn orchestration_item(turn: FetchedTurn) -> Result<(OrchestrationItem, String, u32), ProviderError> {
    let messages: Vec<WorkItem> = turn.messages.iter().filter_map(|item| serde_json::from_str(item).ok()).collect();
    let history: Result<Vec<Event>, _> = turn.history.iter().map(|event| serde_json::from_str(event)).collect();
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
            (Vec::new(), Some(format!("history of execution {execution} cannot be read: {error}")), HashMap::new())
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
fn starting(history: &[Event], messages: &[WorkItem]) -> Option<(String, Option<String>)> {
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
fn message(operation: &'static str, item: &WorkItem) -> Result<Option<Message>, ProviderError> {
    let (instance, kind) = match item {
        WorkItem::StartOrchestration { instance, .. } | WorkItem::ContinueAsNew { instance, .. } => {
            (instance, KIND_START)
        }
        WorkItem::QueueMessage { instance, .. } => (instance, KIND_QUEUED_EVENT),
        WorkItem::ActivityCompleted { instance, .. }
        | WorkItem::ActivityFailed { instance, .. }
        | WorkItem::TimerFired { instance, .. }
        | WorkItem::ExternalRaised { instance, .. }
        | WorkItem::CancelInstance { instance, .. } => (instance, KIND_OTHER),
        WorkItem::SubOrchCompleted { parent_instance, .. } | WorkItem::SubOrchFailed { parent_instance, .. } => {
            (parent_instance, KIND_OTHER)
        }
        _ => return Ok(None),
    };
    Ok(Some(Message { instance: instance.clone(), kind, item: to_json(operation, item)?, visible_at: None }))
}

fn task(operation: &'static str, item: &WorkItem) -> Result<NewTask, ProviderError> {
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

fn to_json(operation: &'static str, item: &impl serde::Serialize) -> Result<String, ProviderError> {
    serde_json::to_string(item)
        .map_err(|error| ProviderError::permanent(operation, format!("cannot be written as JSON: {error}")))
}

fn numbered(operation: &'static str, events: &[Event]) -> Result<Vec<(u64, String)>, ProviderError> {
    events.iter().map(|event| Ok((event.event_id, to_json(operation, event)?))).collect()
}

/// What new events mean for the state that is kept beside the history.
fn derived(events: Vec<Event>) -> (Vec<KvChange>, Option<Option<String>>) {
    let mut kv = Vec::new();
    let mut custom_status = None;
    for event in events {
        match event.kind {
            EventKind::KeyValueSet { key, value, last_updated_at_ms } => {
                kv.push(KvChange::Set { key, value, updated_at_ms: last_updated_at_ms });
            }
            EventKind::KeyValueCleared { key } => kv.push(KvChange::Clear { key }),
            EventKind::KeyValuesCleared => kv.push(KvChange::ClearAll),
            EventKind::CustomStatusUpdated { status } => custom_status = Some(status),
            _ => {}
        }
    }
    (kv, custom_status)
}

fn events(operation: &'static str, history: &[String]) -> Result<Vec<Event>, ProviderError> {
    history.iter().map(|event| serde_json::from_str(event).map_err(error::json(operation, "an event"))).collect()
}

impl GroupedProvider {
    pub(crate) async fn history(
        &self,
        operation: &'static str,
        instance: &str,
        execution: Option<u64>,
    ) -> Result<Vec<Event>, ProviderError> {
        let name = instance.to_owned();
        let read = move |connection: &rusqlite::Connection| read::history(connection, &name, execution);
        events(operation, &self.database.read(operation, instance, read).await?)
    }

    /// How long a fetch waits for work; `None` if it does not.
    fn wait(&self, poll_timeout: Duration) -> Option<Duration> {
        (self.database.options.long_poll && !poll_timeout.is_zero()).then_some(poll_timeout)
    }
}

fn turn_token(operation: &'static str, token: &str) -> Result<TurnToken, ProviderError> {
    TurnToken::parse(token).ok_or_else(|| error::not_locked(operation, token))
}

fn task_token(operation: &'static str, token: &str) -> Result<TaskToken, ProviderError> {
    TaskToken::parse(token).ok_or_else(|| error::not_locked(operation, token))
}

#[async_trait]
impl Provider for GroupedProvider {
    fn name(&self) -> &str {
        "grouped"
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    async fn fetch_orchestration_item(
        &self,
        lock_timeout: Duration,
        poll_timeout: Duration,
        filter: Option<&DispatcherCapabilityFilter>,
    ) -> Result<Option<(OrchestrationItem, String, u32)>, ProviderError> {
        let wait = self.wait(poll_timeout);
        let Some(versions) = versions(filter) else {
            tokio::time::sleep(wait.unwrap_or_default()).await;
            return Ok(None);
        };
        let command =
            |slot| Command::FetchTurn(TurnFetch { slot, lock_for: lock_timeout, versions, waits: wait.is_some() });
        fetch(&self.database, wait, command).await?.map(orchestration_item).transpose()
    }

    async fn ack_orchestration_item(
        &self,
        lock_token: &str,
        execution_id: u64,
        history_delta: Vec<Event>,
        worker_items: Vec<WorkItem>,
        orchestrator_items: Vec<WorkItem>,
        metadata: ExecutionMetadata,
        cancelled_activities: Vec<ScheduledActivityIdentifier>,
    ) -> Result<(), ProviderError> {
        const OPERATION: &str = "ack_orchestration_item";
        let token = turn_token(OPERATION, lock_token)?;
        let events = numbered(OPERATION, &history_delta)?;
        let (kv, custom_status) = derived(history_delta);
        let mut messages = Vec::with_capacity(orchestrator_items.len());
        for item in &orchestrator_items {
            let visible_at = match item {
                WorkItem::TimerFired { fire_at_ms, .. } => Some(clock::from_millis(*fire_at_ms)),
                _ => None,
            };
            messages.extend(message(OPERATION, item)?.map(|message| Message { visible_at, ..message }));
        }
        let end = TurnEnd {
            execution: execution_id as i64,
            events,
            kv,
            custom_status,
            tasks: worker_items.iter().map(|item| task(OPERATION, item)).collect::<Result<_, _>>()?,
            messages,
            metadata,
            cancelled: cancelled_activities,
        };
        let instance = token.instance.clone();
        self.database.give_back(OPERATION, &instance, move |store| store.ack_turn(&token, end)).await
    }

    async fn abandon_orchestration_item(
        &self,
        lock_token: &str,
        delay: Option<Duration>,
        ignore_attempt: bool,
    ) -> Result<(), ProviderError> {
        const OPERATION: &str = "abandon_orchestration_item";
        let token = turn_token(OPERATION, lock_token)?;
        let instance = token.instance.clone();
        self.database
            .give_back(OPERATION, &instance, move |store| store.abandon_turn(&token, delay, ignore_attempt))
            .await
    }

    async fn renew_orchestration_item_lock(&self, token: &str, extend_for: Duration) -> Result<(), ProviderError> {
        const OPERATION: &str = "renew_orchestration_item_lock";
        let token = turn_token(OPERATION, token)?;
        let instance = token.instance.clone();
        self.database.write(OPERATION, &instance, move |store| store.renew_turn(&token, extend_for)).await
    }

    async fn read(&self, instance: &str) -> Result<Vec<Event>, ProviderError> {
        self.history("read", instance, None).await
    }

    async fn read_with_execution(&self, instance: &str, execution_id: u64) -> Result<Vec<Event>, ProviderError> {
        self.history("read_with_execution", instance, Some(execution_id)).await
    }

    async fn append_with_execution(
        &self,
        instance: &str,
        execution_id: u64,
        new_events: Vec<Event>,
    ) -> Result<(), ProviderError> {
        const OPERATION: &str = "append_with_execution";
        let events = numbered(OPERATION, &new_events)?;
        let name = instance.to_owned();
        self.database
            .write(OPERATION, instance, move |store| {
                store.append(OPERATION, &name, execution_id as i64, &events)?;
                store.reconsider_turn(&name).map_err(error::sqlite(OPERATION))
            })
            .await
    }

    async fn enqueue_for_worker(&self, item: WorkItem) -> Result<(), ProviderError> {
        const OPERATION: &str = "enqueue_for_worker";
        let task = task(OPERATION, &item)?;
        let instance = task.instance.clone();
        self.database
            .write(OPERATION, &instance, move |store| store.add_task(&task).map_err(error::sqlite(OPERATION)))
            .await
    }

    async fn fetch_work_item(
        &self,
        lock_timeout: Duration,
        poll_timeout: Duration,
        session: Option<&SessionFetchConfig>,
        tag_filter: &TagFilter,
    ) -> Result<Option<(WorkItem, String, u32)>, ProviderError> {
        const OPERATION: &str = "fetch_work_item";
        let wait = self.wait(poll_timeout);
        if *tag_filter == TagFilter::None {
            tokio::time::sleep(wait.unwrap_or_default()).await;
            return Ok(None);
        }
        let filter = TaskFilter { session: session.cloned(), tags: tag_filter.clone() };
        let command = |slot| {
            let filter = filter.clone();
            Command::FetchTask(TaskFetch { slot, lock_for: lock_timeout, filter, waits: wait.is_some() })
        };
        let Some(task) = fetch(&self.database, wait, command).await? else { return Ok(None) };
        let item = serde_json::from_str(&task.item).map_err(error::json(OPERATION, "a work item"))?;
        Ok(Some((item, task.token.to_string(), task.attempts)))
    }

    async fn ack_work_item(&self, token: &str, completion: Option<WorkItem>) -> Result<(), ProviderError> {
        const OPERATION: &str = "ack_work_item";
        let token = task_token(OPERATION, token)?;
        let completion = match &completion {
            None => None,
            Some(item @ (WorkItem::ActivityCompleted { .. } | WorkItem::ActivityFailed { .. })) => {
                message(OPERATION, item)?
            }
            Some(_) => {
                let rule = "an activity ends with ActivityCompleted or ActivityFailed, nothing else";
                return Err(ProviderError::permanent(OPERATION, rule));
            }
        };
        let instance = token.key.instance.clone();
        self.database.give_back(OPERATION, &instance, move |store| store.ack_task(&token, completion)).await
    }

    async fn renew_work_item_lock(&self, token: &str, extend_for: Duration) -> Result<(), ProviderError> {
        const OPERATION: &str = "renew_work_item_lock";
        let token = task_token(OPERATION, token)?;
        let instance = token.key.instance.clone();
        self.database.write(OPERATION, &instance, move |store| store.renew_task(&token, extend_for)).await
    }

    async fn renew_session_lock(
        &self,
        owner_ids: &[&str],
        extend_for: Duration,
        idle_timeout: Duration,
    ) -> Result<usize, ProviderError> {
        let now = clock::now_us();
        let until = now.saturating_add(clock::micros(extend_for));
        Ok(self.database.sessions.renew(owner_ids, now, until, now.saturating_sub(clock::micros(idle_timeout))))
    }

    async fn cleanup_orphaned_sessions(&self, _idle_timeout: Duration) -> Result<usize, ProviderError> {
        let now = clock::now_us();
        if !self.database.sessions.any_expired(now) {
            return Ok(0);
        }
        let busy = self.database.read_all("cleanup_orphaned_sessions", read::sessions_with_work).await?;
        let has_work = |session: &str| busy.iter().any(|sessions| sessions.contains(session));
        Ok(self.database.sessions.remove_expired(now, has_work))
    }

    async fn abandon_work_item(
        &self,
        token: &str,
        delay: Option<Duration>,
        ignore_attempt: bool,
    ) -> Result<(), ProviderError> {
        const OPERATION: &str = "abandon_work_item";
        let token = task_token(OPERATION, token)?;
        let instance = token.key.instance.clone();
        self.database
            .give_back(OPERATION, &instance, move |store| store.abandon_task(&token, delay, ignore_attempt))
            .await
    }

    async fn enqueue_for_orchestrator(&self, item: WorkItem, delay: Option<Duration>) -> Result<(), ProviderError> {
        const OPERATION: &str = "enqueue_for_orchestrator";
        let Some(mut message) = message(OPERATION, &item)? else {
            return Err(ProviderError::permanent(OPERATION, "an activity to execute goes to the workers"));
        };
        message.visible_at = delay.map(|delay| clock::now_us().saturating_add(clock::micros(delay)));
        let instance = message.instance.clone();
        self.database
            .write(OPERATION, &instance, move |store| store.send(message).map_err(error::sqlite(OPERATION)))
            .await
    }

    fn as_management_capability(&self) -> Option<&dyn ProviderAdmin> {
        Some(self)
    }

    async fn get_custom_status(
        &self,
        instance: &str,
        last_seen_version: u64,
    ) -> Result<Option<(Option<String>, u64)>, ProviderError> {
        let name = instance.to_owned();
        self.database
            .read("get_custom_status", instance, move |connection| {
                read::custom_status(connection, &name, last_seen_version)
            })
            .await
    }

    async fn get_kv_value(&self, instance: &str, key: &str) -> Result<Option<String>, ProviderError> {
        let (name, key) = (instance.to_owned(), key.to_owned());
        self.database.read("get_kv_value", instance, move |connection| read::kv_value(connection, &name, &key)).await
    }

    async fn get_kv_all_values(&self, instance: &str) -> Result<HashMap<String, String>, ProviderError> {
        let name = instance.to_owned();
        self.database.read("get_kv_all_values", instance, move |connection| read::kv_values(connection, &name)).await
    }

    async fn get_instance_stats(&self, instance: &str) -> Result<Option<SystemStats>, ProviderError> {
        let name = instance.to_owned();
        let shard = shard_of(instance, self.database.shards());
        self.database
            .read_shard("get_instance_stats", shard, move |connection| read::instance_stats(connection, &name))
            .await
    }
}
