//! duroxide's own stress tests, with every orchestration a success.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use duroxide::{
    provider_stress_tests::{
        StressTestConfig, StressTestResult,
        large_payload::{LargePayloadConfig, run_large_payload_test_with_config},
        parallel_orchestrations::{ProviderStressFactory, run_parallel_orchestrations_test_with_config},
    },
    providers::Provider,
};
use duroxide_grouped::{GroupedProvider, Options};
use tempfile::TempDir;

struct Factory {
    options: Options,
    directories: Mutex<Vec<TempDir>>,
}

impl Factory {
    fn new(options: Options) -> Self {
        Self { options, directories: Mutex::default() }
    }
}

#[async_trait::async_trait]
impl ProviderStressFactory for Factory {
    async fn create_provider(&self) -> Arc<dyn Provider> {
        let directory = tempfile::tempdir().unwrap();
        let provider = GroupedProvider::open(directory.path(), self.options.clone()).unwrap();
        self.directories.lock().unwrap().push(directory);
        Arc::new(provider)
    }
}

/// As long as duroxide's default with `UPLIFT_SOAK=1`, otherwise short.
fn seconds(default: u64) -> u64 {
    if std::env::var_os("UPLIFT_SOAK").is_some_and(|soak| soak == "1") { default } else { 2 }
}

fn all_succeeded(result: &StressTestResult) {
    assert!(result.completed > 0);
    assert_eq!((result.completed, result.failed), (result.launched, 0), "{result:?}");
}

async fn parallel(options: Options) {
    let config = StressTestConfig::default();
    let config = StressTestConfig { duration_secs: seconds(config.duration_secs), ..config };
    let result = run_parallel_orchestrations_test_with_config(&Factory::new(options), config).await.unwrap();
    all_succeeded(&result);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_orchestrations_in_one_file() {
    parallel(Options::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_orchestrations_in_three_files() {
    parallel(Options { shards: 3, max_delay: Duration::from_millis(1), ..Options::default() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_orchestrations_with_five_writers() {
    parallel(Options { writers: 5, max_batch: 1, long_poll: false, ..Options::default() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_payloads() {
    let config = LargePayloadConfig::default();
    let base = StressTestConfig { duration_secs: seconds(config.base.duration_secs), ..config.base };
    let config = LargePayloadConfig { base, ..LargePayloadConfig::default() };
    let result = run_large_payload_test_with_config(&Factory::new(Options::default()), config).await.unwrap();
    all_succeeded(&result);
}
