//! What the target asks of a provider beyond duroxide's own trait.

use std::{collections::BTreeMap, fs::File, os::unix::fs::FileExt as _, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use duroxide::{
    Client as DuroxideClient, ClientError, ErrorDetails, EventKind, OrchestrationStatus,
    providers::{Provider as DuroxideProvider, ProviderAdmin, ProviderError},
};
use uplift_sdk::{Durability, Samples, TargetError};

use crate::failure;

/// How one orchestration ended: its output, or the index of a failure category.
pub type Ended = Result<String, u8>;

/// An orchestration as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The output of the execution that completed.
    pub output: String,
    /// Completion events in the history; one, if all is well.
    pub completions: u64,
}

/// A provider that has been set up.
#[async_trait]
pub trait Engine: Send + Sync {
    /// For duroxide's runtime and client.
    fn provider(&self) -> Arc<dyn DuroxideProvider>;

    /// The settings in force that belong to the provider.
    fn effective(&self) -> BTreeMap<String, String>;

    /// What an acknowledged orchestration survives.
    fn durability(&self) -> Durability;

    /// Waits for the end of an orchestration as the setting `completion` has it.
    async fn wait(&self, client: &DuroxideClient, instance: &str, timeout: Duration) -> Ended {
        poll_for_end(client, instance, timeout).await
    }

    /// The completed orchestrations among `instances`.
    async fn completed(&self, instances: &[String]) -> Result<BTreeMap<String, Stored>, TargetError>;

    /// Writes down the provider's counters.
    async fn sample(&self, samples: &mut Samples);

    /// Processes outside the agent that work for the provider.
    fn processes(&self) -> Vec<u32> {
        Vec::new()
    }

    /// Why what works for the provider outside the agent cannot be watched, where that is so.
    fn unobservable_work(&self) -> Option<String> {
        None
    }

    /// Called once, when duroxide's runtime has stopped.
    async fn close(&self) {}
}

/// The completed orchestrations among `instances`, as a provider tells each.
pub async fn completed<P: DuroxideProvider + ProviderAdmin>(
    provider: &P,
    instances: &[String],
) -> Result<BTreeMap<String, Stored>, TargetError> {
    let mut completed = BTreeMap::new();
    for instance in instances {
        let stored = stored(provider, instance)
            .await
            .map_err(|error| TargetError::engine("reading back completed orchestrations", error))?;
        if let Some(stored) = stored {
            completed.insert(instance.clone(), stored);
        }
    }
    Ok(completed)
}

async fn stored<P: DuroxideProvider + ProviderAdmin>(
    provider: &P,
    instance: &str,
) -> Result<Option<Stored>, ProviderError> {
    let info = match provider.get_instance_info(instance).await {
        Ok(info) if info.status == "Completed" => info,
        Ok(_) => return Ok(None),
        // A provider's word for an instance that it does not have.
        Err(error) if !error.is_retryable() => return Ok(None),
        Err(error) => return Err(error),
    };
    let history = provider.read(instance).await?;
    let is_end = |kind: &EventKind| matches!(kind, EventKind::OrchestrationCompleted { .. });
    let completions = history.iter().filter(|event| is_end(&event.kind)).count() as u64;
    Ok(Some(Stored { output: info.output.unwrap_or_default(), completions }))
}

/// Waits with duroxide's client, which polls.
pub async fn poll_for_end(client: &DuroxideClient, instance: &str, timeout: Duration) -> Ended {
    match client.wait_for_orchestration(instance, timeout).await {
        Ok(OrchestrationStatus::Completed { output, .. }) => Ok(output),
        Ok(OrchestrationStatus::Failed { details, .. }) => Err(match details {
            ErrorDetails::Infrastructure { .. } => failure::INFRASTRUCTURE,
            ErrorDetails::Configuration { .. } => failure::CONFIGURATION,
            ErrorDetails::Application { .. } => failure::APPLICATION,
            ErrorDetails::Poison { .. } => failure::POISON,
        }),
        Ok(_) | Err(ClientError::Timeout) => Err(failure::TIMEOUT),
        Err(_) => Err(failure::CLIENT),
    }
}

/// The number of write transactions of a database file, from its WAL index: the 32-bit counter `iChange` at offset 8 of
/// its header, which every committed write transaction increments (SQLite's file format, "WAL-Index Header").
pub fn wal_transactions(database: &Path) -> Option<u32> {
    let mut counter = [0; 4];
    File::open(database.with_extension("db-shm")).ok()?.read_exact_at(&mut counter, 8).ok()?;
    Some(u32::from_ne_bytes(counter))
}
