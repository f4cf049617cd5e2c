//! Where time goes: a provider whose calls are timed, and the names of the stages.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use duroxide::{
    Event, SystemStats,
    providers::{
        DispatcherCapabilityFilter, ExecutionMetadata, OrchestrationItem, Provider, ProviderAdmin, ProviderError,
        ScheduledActivityIdentifier, SessionFetchConfig, TagFilter, WorkItem,
    },
};
use duroxide_grouped::WriterPhase;
use uplift_sdk::stage::{StageTable, thread as span};

/// Names of the stages, in the order of the constants.
pub const NAMES: [&str; 15] = [
    "start",
    "end",
    "fetch turn",
    "ack turn",
    "fetch activity",
    "ack activity",
    "enqueue",
    "read",
    "renew lock",
    "other call",
    "queue",
    "gather",
    "transaction",
    "commit",
    "wake",
];

/// Starting an orchestration.
pub const START: usize = 0;
/// Waiting for its end.
pub const END: usize = 1;
const FETCH_TURN: usize = 2;
const ACK_TURN: usize = 3;
const FETCH_ACTIVITY: usize = 4;
const ACK_ACTIVITY: usize = 5;
const ENQUEUE: usize = 6;
const READ: usize = 7;
const RENEW: usize = 8;
const OTHER: usize = 9;
const QUEUE: usize = 10;
const GATHER: usize = 11;
const TRANSACTION: usize = 12;
const COMMIT: usize = 13;
const WAKE: usize = 14;

/// Whoever starts orchestrations and waits for them.
pub const CALLER: &str = "caller";
/// Calls of the provider that are under way at a time.
const CALLS: &str = "provider calls";

/// Lets the writer threads of the grouped provider say what they do. Before the provider is opened.
pub fn watch_writers(stages: &StageTable) {
    span::install(stages);
    duroxide_grouped::watch_writers(|doing| {
        span::attach("writer");
        match doing {
            WriterPhase::Waiting => span::now_waiting(QUEUE),
            WriterPhase::Gathering => span::now_waiting(GATHER),
            WriterPhase::Transaction => span::now_processing(TRANSACTION),
            WriterPhase::Committing => span::now_processing(COMMIT),
            WriterPhase::Telling => span::now_processing(WAKE),
        }
    });
}

/// A provider whose calls are timed: at work while they are polled, waiting in between.
pub struct Timed {
    inner: Arc<dyn Provider>,
    stages: StageTable,
}

impl Timed {
    /// Times the calls of `inner`.
    pub const fn new(inner: Arc<dyn Provider>, stages: StageTable) -> Self {
        Self { inner, stages }
    }
}

/// A call of the inner provider, whose future is on the heap already.
macro_rules! timed {
    ($self:ident, $stage:expr, $call:expr) => {
        $self.stages.timed(CALLS, $stage, $call).await
    };
}

#[async_trait]
impl Provider for Timed {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn version(&self) -> &str {
        self.inner.version()
    }

    async fn fetch_orchestration_item(
        &self,
        lock_timeout: Duration,
        poll_timeout: Duration,
        filter: Option<&DispatcherCapabilityFilter>,
    ) -> Result<Option<(OrchestrationItem, String, u32)>, ProviderError> {
        timed!(self, FETCH_TURN, self.inner.fetch_orchestration_item(lock_timeout, poll_timeout, filter))
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
        let call = self.inner.ack_orchestration_item(
            lock_token,
            execution_id,
            history_delta,
            worker_items,
            orchestrator_items,
            metadata,
            cancelled_activities,
        );
        timed!(self, ACK_TURN, call)
    }

    async fn abandon_orchestration_item(
        &self,
        lock_token: &str,
        delay: Option<Duration>,
        ignore_attempt: bool,
    ) -> Result<(), ProviderError> {
        timed!(self, OTHER, self.inner.abandon_orchestration_item(lock_token, delay, ignore_attempt))
    }

    async fn read(&self, instance: &str) -> Result<Vec<Event>, ProviderError> {
        timed!(self, READ, self.inner.read(instance))
    }

    async fn read_with_execution(&self, instance: &str, execution_id: u64) -> Result<Vec<Event>, ProviderError> {
        timed!(self, READ, self.inner.read_with_execution(instance, execution_id))
    }

    async fn append_with_execution(
        &self,
        instance: &str,
        execution_id: u64,
        new_events: Vec<Event>,
    ) -> Result<(), ProviderError> {
        timed!(self, OTHER, self.inner.append_with_execution(instance, execution_id, new_events))
    }

    async fn enqueue_for_worker(&self, item: WorkItem) -> Result<(), ProviderError> {
        timed!(self, ENQUEUE, self.inner.enqueue_for_worker(item))
    }

    async fn fetch_work_item(
        &self,
        lock_timeout: Duration,
        poll_timeout: Duration,
        session: Option<&SessionFetchConfig>,
        tag_filter: &TagFilter,
    ) -> Result<Option<(WorkItem, String, u32)>, ProviderError> {
        timed!(self, FETCH_ACTIVITY, self.inner.fetch_work_item(lock_timeout, poll_timeout, session, tag_filter))
    }

    async fn ack_work_item(&self, token: &str, completion: Option<WorkItem>) -> Result<(), ProviderError> {
        timed!(self, ACK_ACTIVITY, self.inner.ack_work_item(token, completion))
    }

    async fn renew_work_item_lock(&self, token: &str, extend_for: Duration) -> Result<(), ProviderError> {
        timed!(self, RENEW, self.inner.renew_work_item_lock(token, extend_for))
    }

    async fn renew_session_lock(
        &self,
        owner_ids: &[&str],
        extend_for: Duration,
        idle_timeout: Duration,
    ) -> Result<usize, ProviderError> {
        timed!(self, RENEW, self.inner.renew_session_lock(owner_ids, extend_for, idle_timeout))
    }

    async fn cleanup_orphaned_sessions(&self, idle_timeout: Duration) -> Result<usize, ProviderError> {
        timed!(self, OTHER, self.inner.cleanup_orphaned_sessions(idle_timeout))
    }

    async fn abandon_work_item(
        &self,
        token: &str,
        delay: Option<Duration>,
        ignore_attempt: bool,
    ) -> Result<(), ProviderError> {
        timed!(self, OTHER, self.inner.abandon_work_item(token, delay, ignore_attempt))
    }

    async fn renew_orchestration_item_lock(&self, token: &str, extend_for: Duration) -> Result<(), ProviderError> {
        timed!(self, RENEW, self.inner.renew_orchestration_item_lock(token, extend_for))
    }

    async fn enqueue_for_orchestrator(&self, item: WorkItem, delay: Option<Duration>) -> Result<(), ProviderError> {
        timed!(self, ENQUEUE, self.inner.enqueue_for_orchestrator(item, delay))
    }

    fn as_management_capability(&self) -> Option<&dyn ProviderAdmin> {
        self.inner.as_management_capability()
    }

    async fn get_custom_status(
        &self,
        instance: &str,
        last_seen_version: u64,
    ) -> Result<Option<(Option<String>, u64)>, ProviderError> {
        timed!(self, READ, self.inner.get_custom_status(instance, last_seen_version))
    }

    async fn get_kv_value(&self, instance: &str, key: &str) -> Result<Option<String>, ProviderError> {
        timed!(self, READ, self.inner.get_kv_value(instance, key))
    }

    async fn get_kv_all_values(&self, instance: &str) -> Result<HashMap<String, String>, ProviderError> {
        timed!(self, READ, self.inner.get_kv_all_values(instance))
    }

    async fn get_instance_stats(&self, instance: &str) -> Result<Option<SystemStats>, ProviderError> {
        timed!(self, READ, self.inner.get_instance_stats(instance))
    }
}
