//! The provider of the crate `duroxide-grouped`.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use duroxide::{Client as DuroxideClient, providers::Provider as DuroxideProvider};
use duroxide_grouped::{GroupedProvider, Options};
use uplift_sdk::{Durability, Samples, TargetError, durability, model::duration::HumanDuration};

use crate::{
    engine::{self, Ended, Engine, Stored},
    failure,
    settings::{Completion, Settings},
};

pub struct Grouped {
    provider: Arc<GroupedProvider>,
    completion: Completion,
}

impl Grouped {
    pub fn open(settings: &Settings, data_dir: &Path) -> Result<Self, TargetError> {
        let defaults = Options::default();
        let options = Options {
            synchronous: settings.grouped_synchronous().unwrap_or(defaults.synchronous),
            max_batch: settings.max_batch.map_or(defaults.max_batch, |most| most as usize),
            max_delay: settings.max_delay.map_or(defaults.max_delay, Duration::from),
            max_turn_delay: settings.max_turn_delay.map_or(defaults.max_turn_delay, Duration::from),
            shards: settings.shards.map_or(defaults.shards, |shards| shards as usize),
            writers: settings.writers.map_or(defaults.writers, |writers| writers as usize),
            immediate: settings.immediate.unwrap_or(defaults.immediate),
            long_poll: settings.long_poll.unwrap_or(defaults.long_poll),
            hand_ahead: settings.hand_ahead.unwrap_or(defaults.hand_ahead),
            sync_fetches: settings.sync_fetches.unwrap_or(defaults.sync_fetches),
            wal_autocheckpoint: settings.wal_autocheckpoint,
            cache_size_kib: settings.cache_size_kib,
            ..defaults
        };
        let provider = GroupedProvider::open(data_dir.join("orchestration"), options)
            .map_err(|error| TargetError::engine("opening the grouped provider", error))?;
        Ok(Self { provider: Arc::new(provider), completion: settings.completion })
    }
}

#[async_trait]
impl Engine for Grouped {
    fn provider(&self) -> Arc<dyn DuroxideProvider> {
        Arc::clone(&self.provider) as _
    }

    fn effective(&self) -> BTreeMap<String, String> {
        let in_force = self.provider.in_force();
        [
            ("provider", "grouped".to_owned()),
            ("storage", "file".to_owned()),
            ("synchronous", in_force.synchronous.word().to_owned()),
            ("journal_mode", in_force.journal_mode.clone()),
            ("wal_autocheckpoint", in_force.wal_autocheckpoint.to_string()),
            ("cache_size_kib", in_force.cache_size_kib.to_string()),
            ("max_batch", in_force.max_batch.to_string()),
            ("max_delay", HumanDuration(in_force.max_delay).to_string()),
            ("max_turn_delay", HumanDuration(in_force.max_turn_delay).to_string()),
            ("shards", in_force.shards.to_string()),
            ("writers", in_force.writers.to_string()),
            ("immediate", in_force.immediate.to_string()),
            ("long_poll", in_force.long_poll.to_string()),
            ("hand_ahead", in_force.hand_ahead.to_string()),
            ("sync_fetches", in_force.sync_fetches.to_string()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    fn durability(&self) -> Durability {
        let in_force = self.provider.in_force();
        durability::sqlite(&in_force.journal_mode, in_force.synchronous.word())
    }

    async fn wait(&self, client: &DuroxideClient, instance: &str, timeout: Duration) -> Ended {
        match self.completion {
            Completion::Poll => engine::poll_for_end(client, instance, timeout).await,
            Completion::Notify => match self.provider.wait_for_end(instance, timeout).await {
                Ok(Some(ended)) if ended.completed => Ok(ended.output.unwrap_or_default()),
                // What failed is in the history; duroxide's client reads it there.
                Ok(Some(_)) => engine::poll_for_end(client, instance, timeout).await,
                Ok(None) => Err(failure::TIMEOUT),
                Err(_) => Err(failure::CLIENT),
            },
        }
    }

    async fn completed(&self, instances: &[String]) -> Result<BTreeMap<String, Stored>, TargetError> {
        engine::completed(&*self.provider, instances).await
    }

    async fn sample(&self, samples: &mut Samples) {
        let stats = self.provider.stats();
        samples.counter("group_transactions", stats.transactions as f64);
        samples.counter("group_operations", stats.operations as f64);
        let counts: Option<Vec<u32>> =
            self.provider.files().iter().map(|file| engine::wal_transactions(file)).collect();
        if let Some(counts) = counts {
            samples.counter("write_transactions", counts.iter().map(|count| f64::from(*count)).sum());
        }
    }
}
