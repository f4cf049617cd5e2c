//! duroxide's `Provider`: turns its types into rows on the caller's thread, and back.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use duroxide::{
    Event, SystemStats,
    providers::{
        DispatcherCapabilityFilter, ExecutionMetadata, OrchestrationItem, Provider, ProviderAdmin, ProviderError,
        ScheduledActivityIdentifier, SessionFetchConfig, TagFilter, WorkItem,
    },
};

use crate::{
    GroupedProvider,
    ahead::FetchRequest,
    clock,
    command::Command,
    convert::{derived, events, message, orchestration_item, task, task_token, turn_token, versions, with_json},
    error,
    fetch::{TaskFetch, TurnFetch},
    pending::fetch,
    shard::shard_of,
    store::{Message, TaskFilter, TurnEnd, read},
};

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
        let (kv, custom_status) = derived(&history_delta);
        let events = with_json(OPERATION, history_delta)?;
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
        match self.database.kept_history(instance) {
            Some(events) => Ok(Arc::unwrap_or_clone(events)),
            None => self.history("read", instance, None).await,
        }
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
        let events = with_json(OPERATION, new_events)?;
        let name = instance.to_owned();
        self.database
            .write(OPERATION, instance, move |store| {
                store.forget_history(&name);
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
        let want = FetchRequest { tags: tag_filter.clone(), lock_for: lock_timeout };
        let ahead = self.database.take_ahead(&want);
        let fetched = match ahead {
            Some(task) => Some(task),
            None => {
                let filter = TaskFilter { session: session.cloned(), tags: tag_filter.clone() };
                let command = |slot| {
                    let filter = filter.clone();
                    Command::FetchTask(TaskFetch { slot, lock_for: lock_timeout, filter, waits: wait.is_some() })
                };
                fetch(&self.database, wait, command).await?
            }
        };
        let Some(mut task) = fetched else { return Ok(None) };
        // Who waits for work is a worker, and will ask for more of it.
        task.token.want = wait.and_then(|_| self.database.wants.number(&want));
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
        let want = token.want.and_then(|number| self.database.wants.get(number));
        let want = want.filter(|_| self.database.is_ahead_worthwhile(&instance));
        self.database
            .give_back(OPERATION, &instance, move |store| {
                store.ack_task(&token, completion)?;
                want.map_or(Ok(()), |want| store.hand_out_ahead(want).map_err(error::sqlite(OPERATION)))
            })
            .await
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
