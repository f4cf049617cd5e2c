//! A database that duroxide's own SQLite provider has written is taken over, and goes on.

use std::{path::Path, sync::Arc, time::Duration};

use duroxide::{
    ActivityContext, Client, OrchestrationContext, OrchestrationRegistry,
    providers::{Provider, ProviderAdmin as _, sqlite::SqliteProvider},
    runtime::{OrchestrationStatus, Runtime, registry::ActivityRegistry},
};
use duroxide_grouped::{GroupedProvider, ImportError, Imported, Options, import};

const PATIENCE: Duration = Duration::from_secs(60);

async fn run(provider: Arc<dyn Provider>) -> Arc<Runtime> {
    let activities = ActivityRegistry::builder()
        .register("Greet", |_: ActivityContext, name: String| async move { Ok(format!("hello {name}")) })
        .build();
    let orchestrations = OrchestrationRegistry::builder()
        .register("Greeting", |context: OrchestrationContext, name: String| async move {
            context.schedule_activity("Greet", name).await
        })
        .register("Waiting", |context: OrchestrationContext, name: String| async move {
            let greeting = context.schedule_activity("Greet", name).await?;
            context.set_kv_value("greeting", greeting.clone());
            context.set_custom_status("waits");
            context.schedule_timer(Duration::from_secs(3)).await;
            Ok(greeting)
        })
        .register("Listening", |context: OrchestrationContext, name: String| async move {
            context.set_custom_status("listens");
            Ok(format!("{name} heard {}", context.schedule_wait("word").await))
        })
        .build();
    Runtime::start_with_store(provider, activities, orchestrations).await
}

async fn bundled(file: &Path) -> Arc<SqliteProvider> {
    Arc::new(SqliteProvider::new(&format!("sqlite:{}?mode=rwc", file.display()), None).await.unwrap())
}

/// One orchestration has ended, two wait for a timer and one for an event, one was never looked at.
async fn written_by_the_bundled_provider(file: &Path) {
    let provider = bundled(file).await;
    let runtime = run(Arc::clone(&provider) as _).await;
    let client = Client::new(Arc::clone(&provider) as _);
    client.start_orchestration("ended", "Greeting", "world").await.unwrap();
    client.wait_for_orchestration("ended", PATIENCE).await.unwrap();
    client.start_orchestration("waits-0", "Waiting", "n0").await.unwrap();
    client.start_orchestration("waits-1", "Waiting", "n1").await.unwrap();
    client.start_orchestration("listens", "Listening", "she").await.unwrap();
    for instance in ["waits-0", "waits-1", "listens"] {
        while provider.get_custom_status(instance, 0).await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    runtime.shutdown(None).await;
    client.start_orchestration("fresh", "Greeting", "later").await.unwrap();
}

async fn output(client: &Client, instance: &str) -> String {
    match client.wait_for_orchestration(instance, PATIENCE).await.unwrap() {
        OrchestrationStatus::Completed { output, .. } => output,
        other => panic!("{instance}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_bundled_provider_has_written_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bundled.db");
    written_by_the_bundled_provider(&file).await;
    for shards in [1, 3] {
        let directory = folder.path().join(format!("grouped-{shards}"));
        let options = Options { shards, ..Options::default() };
        let imported: Imported = import(&file, &directory, &options).unwrap();
        assert_eq!(imported.instances, 4, "the one that nobody looked at is a message yet");
        assert!(imported.messages >= 3, "{imported:?}: two timers and a start");
        assert!(imported.events >= 12, "{imported:?}");
        let refused = import(&file, &directory, &options).unwrap_err();
        assert!(matches!(refused, ImportError::Exists { .. }), "{refused}");

        let provider = Arc::new(GroupedProvider::open(&directory, options).unwrap());
        assert_eq!(provider.get_custom_status("waits-1", 0).await.unwrap(), Some((Some("waits".to_owned()), 1)));
        let runtime = run(Arc::clone(&provider) as _).await;
        let client = Client::new(Arc::clone(&provider) as _);
        assert_eq!(output(&client, "ended").await, "hello world");
        assert_eq!(output(&client, "fresh").await, "hello later");
        client.raise_event("listens", "word", "it").await.unwrap();
        assert_eq!(output(&client, "listens").await, "she heard it");
        assert_eq!(output(&client, "waits-0").await, "hello n0");
        assert_eq!(output(&client, "waits-1").await, "hello n1");
        assert_eq!(provider.list_instances().await.unwrap().len(), 5);
        runtime.shutdown(None).await;
    }
    // The source is as it was.
    let source = bundled(&file).await;
    assert_eq!(source.list_instances().await.unwrap().len(), 4);
}

#[test]
fn what_is_no_database_of_the_bundled_provider_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (missing, other) = (folder.path().join("missing.db"), folder.path().join("other.db"));
    rusqlite::Connection::open(&other).unwrap().execute_batch("CREATE TABLE instances (instance_id TEXT)").unwrap();
    for source in [missing, other] {
        let directory = folder.path().join("new");
        let refused = import(&source, &directory, &Options::default()).unwrap_err();
        assert!(refused.to_string().contains("must be a database of duroxide"), "{refused}");
        assert!(!directory.exists(), "nothing is left of it");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nor beside it");
    }
}
