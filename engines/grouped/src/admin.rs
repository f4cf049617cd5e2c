//! duroxide's `ProviderAdmin`: what operators ask.

use std::sync::mpsc;

use async_trait::async_trait;
use duroxide::{
    Event,
    providers::{
        DeleteInstanceResult, ExecutionInfo, InstanceFilter, InstanceInfo, ProviderAdmin, ProviderError, PruneOptions,
        PruneResult, QueueDepths, SystemMetrics,
    },
};
use tokio::sync::oneshot;

use crate::{
    GroupedProvider,
    command::{Command, Exclusive, Step},
    database::Database,
    error,
    shard::{ShardNumber, shard_of},
    store::{Store, read},
};

/// A transaction on one file that is steered from here.
struct Hold {
    steps: mpsc::Sender<Option<Step>>,
    ended: oneshot::Receiver<Result<(), ProviderError>>,
}

impl Hold {
    async fn begin(database: &Database, operation: &'static str, shard: ShardNumber) -> Result<Self, ProviderError> {
        let (begun, has_begun) = oneshot::channel();
        let (steps, receiver) = mpsc::channel();
        let (ended, has_ended) = oneshot::channel();
        database.push(shard, operation, Command::Exclusive(Exclusive { begun, steps: receiver, ended }))?;
        has_begun.await.unwrap_or_else(|_| Err(error::closed(operation)))?;
        Ok(Self { steps, ended: has_ended })
    }

    async fn step<T: Send + 'static>(
        &self,
        operation: &'static str,
        run: impl FnOnce(&mut Store) -> Result<T, ProviderError> + Send + 'static,
    ) -> Result<T, ProviderError> {
        let (sender, receiver) = oneshot::channel();
        let step: Step = Box::new(move |store| {
            let _ = sender.send(run(store));
        });
        self.steps.send(Some(step)).map_err(|_| error::closed(operation))?;
        receiver.await.unwrap_or_else(|_| Err(error::closed(operation)))
    }

    async fn commit(self, operation: &'static str) -> Result<(), ProviderError> {
        self.steps.send(None).map_err(|_| error::closed(operation))?;
        self.ended.await.unwrap_or_else(|_| Err(error::closed(operation)))
    }
}

impl GroupedProvider {
    /// Removes instances that may lie in several files.
    async fn delete_across(
        &self,
        operation: &'static str,
        doomed: &[String],
        force: bool,
    ) -> Result<DeleteInstanceResult, ProviderError> {
        let shards = self.database.shards();
        let mut holds = Vec::new();
        // In one order for everybody, or two removals could wait for each other.
        for shard in 0..shards {
            holds.push(Hold::begin(&self.database, operation, shard).await?);
        }
        for hold in &holds {
            let doomed = doomed.to_vec();
            hold.step(operation, move |store| store.check_delete(&doomed, force)).await?;
        }
        let mut result = DeleteInstanceResult::default();
        for hold in &holds {
            let doomed = doomed.to_vec();
            let part =
                hold.step(operation, move |store| store.delete(&doomed).map_err(error::sqlite(operation))).await?;
            result.instances_deleted += part.instances_deleted;
            result.executions_deleted += part.executions_deleted;
            result.events_deleted += part.events_deleted;
            result.queue_messages_deleted += part.queue_messages_deleted;
        }
        // The root's file last: while the root is there, the removal can be repeated.
        let last = doomed.first().map_or(0, |root| shard_of(root, shards));
        let root = holds.remove(last);
        for hold in holds {
            hold.commit(operation).await?;
        }
        root.commit(operation).await?;
        Ok(result)
    }

    async fn matching(
        &self,
        operation: &'static str,
        filter: &InstanceFilter,
        only_ended_roots: bool,
    ) -> Result<Vec<String>, ProviderError> {
        if filter.instance_ids.as_ref().is_some_and(Vec::is_empty) {
            return Ok(Vec::new());
        }
        let asked = filter.clone();
        let read = move |connection: &rusqlite::Connection| read::matching(connection, &asked, only_ended_roots);
        let mut found = self.database.read_all(operation, read).await?.concat();
        if let Some(limit) = filter.limit {
            found.truncate(limit as usize);
        }
        Ok(found)
    }

    async fn listed(&self, operation: &'static str, status: Option<&str>) -> Result<Vec<String>, ProviderError> {
        let status = status.map(str::to_owned);
        let read = move |connection: &rusqlite::Connection| read::instances(connection, status.as_deref());
        let mut found = self.database.read_all(operation, read).await?.concat();
        found.sort_by_key(|(created_at, _)| std::cmp::Reverse(*created_at));
        Ok(found.into_iter().map(|(_, instance)| instance).collect())
    }
}

fn not_found(operation: &'static str, instance: &str) -> ProviderError {
    ProviderError::permanent(operation, format!("instance `{instance}` not found"))
}

#[async_trait]
impl ProviderAdmin for GroupedProvider {
    async fn list_instances(&self) -> Result<Vec<String>, ProviderError> {
        self.listed("list_instances", None).await
    }

    async fn list_instances_by_status(&self, status: &str) -> Result<Vec<String>, ProviderError> {
        self.listed("list_instances_by_status", Some(status)).await
    }

    async fn list_executions(&self, instance: &str) -> Result<Vec<u64>, ProviderError> {
        let name = instance.to_owned();
        self.database.read("list_executions", instance, move |connection| read::executions(connection, &name)).await
    }

    async fn read_history_with_execution_id(
        &self,
        instance: &str,
        execution_id: u64,
    ) -> Result<Vec<Event>, ProviderError> {
        self.history("read_history_with_execution_id", instance, Some(execution_id)).await
    }

    async fn read_history(&self, instance: &str) -> Result<Vec<Event>, ProviderError> {
        self.history("read_history", instance, None).await
    }

    async fn latest_execution_id(&self, instance: &str) -> Result<u64, ProviderError> {
        let name = instance.to_owned();
        let read = move |connection: &rusqlite::Connection| read::latest_execution(connection, &name);
        self.database.read("latest_execution_id", instance, read).await
    }

    async fn get_instance_info(&self, instance: &str) -> Result<InstanceInfo, ProviderError> {
        const OPERATION: &str = "get_instance_info";
        let name = instance.to_owned();
        let read = move |connection: &rusqlite::Connection| read::instance_info(connection, &name);
        self.database.read(OPERATION, instance, read).await?.ok_or_else(|| not_found(OPERATION, instance))
    }

    async fn get_execution_info(&self, instance: &str, execution_id: u64) -> Result<ExecutionInfo, ProviderError> {
        const OPERATION: &str = "get_execution_info";
        let name = instance.to_owned();
        let read = move |connection: &rusqlite::Connection| read::execution_info(connection, &name, execution_id);
        self.database.read(OPERATION, instance, read).await?.ok_or_else(|| {
            ProviderError::permanent(OPERATION, format!("execution {execution_id} of instance `{instance}` not found"))
        })
    }

    async fn get_system_metrics(&self) -> Result<SystemMetrics, ProviderError> {
        let parts = self.database.read_all("get_system_metrics", read::system_metrics).await?;
        Ok(parts.into_iter().fold(SystemMetrics::default(), |sum, part| SystemMetrics {
            total_instances: sum.total_instances + part.total_instances,
            total_executions: sum.total_executions + part.total_executions,
            running_instances: sum.running_instances + part.running_instances,
            completed_instances: sum.completed_instances + part.completed_instances,
            failed_instances: sum.failed_instances + part.failed_instances,
            total_events: sum.total_events + part.total_events,
        }))
    }

    async fn get_queue_depths(&self) -> Result<QueueDepths, ProviderError> {
        let parts = self.database.read_all("get_queue_depths", read::queue_depths).await?;
        Ok(parts.into_iter().fold(QueueDepths::default(), |sum, part| QueueDepths {
            orchestrator_queue: sum.orchestrator_queue + part.orchestrator_queue,
            worker_queue: sum.worker_queue + part.worker_queue,
            timer_queue: 0,
        }))
    }

    async fn list_children(&self, instance_id: &str) -> Result<Vec<String>, ProviderError> {
        let name = instance_id.to_owned();
        let read = move |connection: &rusqlite::Connection| read::children(connection, &name);
        Ok(self.database.read_all("list_children", read).await?.concat())
    }

    async fn get_parent_id(&self, instance_id: &str) -> Result<Option<String>, ProviderError> {
        const OPERATION: &str = "get_parent_id";
        let name = instance_id.to_owned();
        let read = move |connection: &rusqlite::Connection| read::parent(connection, &name);
        self.database.read(OPERATION, instance_id, read).await?.ok_or_else(|| not_found(OPERATION, instance_id))
    }

    async fn delete_instances_atomic(
        &self,
        ids: &[String],
        force: bool,
    ) -> Result<DeleteInstanceResult, ProviderError> {
        const OPERATION: &str = "delete_instances_atomic";
        let Some(first) = ids.first() else { return Ok(DeleteInstanceResult::default()) };
        if self.database.shards() > 1 {
            return self.delete_across(OPERATION, ids, force).await;
        }
        let doomed = ids.to_vec();
        self.database
            .write(OPERATION, first, move |store| {
                store.check_delete(&doomed, force)?;
                store.delete(&doomed).map_err(error::sqlite(OPERATION))
            })
            .await
    }

    async fn delete_instance_bulk(&self, filter: InstanceFilter) -> Result<DeleteInstanceResult, ProviderError> {
        let mut result = DeleteInstanceResult::default();
        for root in self.matching("delete_instance_bulk", &filter, true).await? {
            let tree = self.get_instance_tree(&root).await?;
            let part = self.delete_instances_atomic(&tree.all_ids, true).await?;
            result.instances_deleted += part.instances_deleted;
            result.executions_deleted += part.executions_deleted;
            result.events_deleted += part.events_deleted;
            result.queue_messages_deleted += part.queue_messages_deleted;
        }
        Ok(result)
    }

    async fn prune_executions(&self, instance_id: &str, options: PruneOptions) -> Result<PruneResult, ProviderError> {
        let name = instance_id.to_owned();
        self.database.write("prune_executions", instance_id, move |store| store.prune(&name, &options)).await
    }

    async fn prune_executions_bulk(
        &self,
        filter: InstanceFilter,
        options: PruneOptions,
    ) -> Result<PruneResult, ProviderError> {
        let mut result = PruneResult::default();
        for instance in self.matching("prune_executions_bulk", &filter, false).await? {
            let part = self.prune_executions(&instance, options.clone()).await?;
            result.instances_processed += part.instances_processed;
            result.executions_deleted += part.executions_deleted;
            result.events_deleted += part.events_deleted;
        }
        Ok(result)
    }
}
