//! What this provider promises beyond duroxide's contract: waking at once, losing nothing, sharing commits, one owner.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Waker},
    time::Duration,
};

use duroxide::{
    ActivityContext, Client, Event, EventKind, OrchestrationContext, OrchestrationRegistry,
    providers::{ExecutionMetadata, Provider, ScheduledActivityIdentifier, SessionFetchConfig, TagFilter, WorkItem},
    runtime::{Runtime, RuntimeOptions, registry::ActivityRegistry},
};
use duroxide_grouped::{GroupedProvider, OpenError, Options, Synchronous};

/// Longer than any test: what needs it does not end.
const FOREVER: Duration = Duration::from_secs(24 * 3600);
const LOCK: Duration = FOREVER;

fn options() -> Options {
    // Nothing is found by looking again now and then.
    Options { synchronous: Synchronous::Normal, recheck_interval: FOREVER, ..Options::default() }
}

fn open(directory: &Path, options: Options) -> Arc<GroupedProvider> {
    Arc::new(GroupedProvider::open(directory, options).unwrap())
}

fn start(instance: &str) -> WorkItem {
    WorkItem::StartOrchestration {
        instance: instance.to_owned(),
        orchestration: "Test".to_owned(),
        input: String::new(),
        version: Some("1.0.0".to_owned()),
        parent_instance: None,
        parent_id: None,
        parent_execution_id: None,
        execution_id: 1,
    }
}

fn activity(instance: &str, id: u64) -> WorkItem {
    WorkItem::ActivityExecute {
        instance: instance.to_owned(),
        execution_id: 1,
        id,
        name: "Test".to_owned(),
        input: String::new(),
        session_id: None,
        tag: None,
    }
}

fn started(instance: &str, event: u64) -> Event {
    let kind = EventKind::OrchestrationStarted {
        name: "Test".to_owned(),
        version: "1.0.0".to_owned(),
        input: String::new(),
        parent_instance: None,
        parent_id: None,
        parent_execution_id: None,
        carry_forward_events: None,
        initial_custom_status: None,
    };
    Event::with_event_id(event, instance, 1, None, kind)
}

#[tokio::test]
async fn a_waiting_dispatcher_is_woken_by_the_commit_that_brings_work() {
    for shards in [1, 3] {
        let directory = tempfile::tempdir().unwrap();
        let provider = open(directory.path(), Options { shards, ..options() });
        let dispatcher = Arc::clone(&provider);
        let turn = tokio::spawn(async move { dispatcher.fetch_orchestration_item(LOCK, FOREVER, None).await });
        let worker = Arc::clone(&provider);
        let task =
            tokio::spawn(async move { worker.fetch_work_item(LOCK, FOREVER, None, &TagFilter::default()).await });
        tokio::task::yield_now().await;
        provider.enqueue_for_orchestrator(start("a"), None).await.unwrap();
        provider.enqueue_for_worker(activity("a", 2)).await.unwrap();
        assert_eq!(turn.await.unwrap().unwrap().unwrap().0.instance, "a");
        assert!(task.await.unwrap().unwrap().is_some());
    }
}

#[tokio::test]
async fn a_waiting_dispatcher_is_woken_when_a_message_becomes_visible() {
    let directory = tempfile::tempdir().unwrap();
    let provider = open(directory.path(), options());
    provider.enqueue_for_orchestrator(start("a"), Some(Duration::from_millis(80))).await.unwrap();
    let at_once = provider.fetch_orchestration_item(LOCK, Duration::ZERO, None).await.unwrap();
    assert!(at_once.is_none(), "it is not visible yet");
    assert!(provider.fetch_orchestration_item(LOCK, FOREVER, None).await.unwrap().is_some());
}

#[tokio::test]
async fn a_waiting_dispatcher_finds_what_became_visible_while_the_database_was_closed() {
    let directory = tempfile::tempdir().unwrap();
    let provider = open(directory.path(), options());
    provider.enqueue_for_orchestrator(start("a"), Some(Duration::from_millis(80))).await.unwrap();
    drop(provider);
    let provider = open(directory.path(), options());
    assert!(provider.fetch_orchestration_item(LOCK, FOREVER, None).await.unwrap().is_some());
}

#[tokio::test]
async fn a_waiting_worker_finds_work_whose_lock_ran_out() {
    let directory = tempfile::tempdir().unwrap();
    let recheck_interval = Duration::from_millis(20);
    let provider = open(directory.path(), Options { recheck_interval, ..options() });
    provider.enqueue_for_worker(activity("a", 2)).await.unwrap();
    let short = Duration::from_millis(50);
    let filter = TagFilter::default();
    provider.fetch_work_item(short, FOREVER, None, &filter).await.unwrap().unwrap();
    let (_, _, attempts) = provider.fetch_work_item(LOCK, FOREVER, None, &filter).await.unwrap().unwrap();
    assert_eq!(attempts, 2);
}

/// Dispatchers that stop drop their fetches. What one was about to get must go to somebody else, as new.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_fetch_takes_nothing_with_it() {
    for shards in [1, 2] {
        let directory = tempfile::tempdir().unwrap();
        let provider = open(directory.path(), Options { shards, ..options() });
        for round in 0..200 {
            let instance = format!("round-{round}");
            let dispatcher = Arc::clone(&provider);
            let fetch = tokio::spawn(async move { dispatcher.fetch_orchestration_item(LOCK, FOREVER, None).await });
            let worker = Arc::clone(&provider);
            let task =
                tokio::spawn(async move { worker.fetch_work_item(LOCK, FOREVER, None, &TagFilter::default()).await });
            if round % 2 == 0 {
                tokio::task::yield_now().await;
            }
            let enqueue = provider.enqueue_for_orchestrator(start(&instance), None);
            let aborted = async {
                if round % 3 == 0 {
                    tokio::task::yield_now().await;
                }
                fetch.abort();
                task.abort();
            };
            let (enqueued, ()) = tokio::join!(enqueue, aborted);
            enqueued.unwrap();
            provider.enqueue_for_worker(activity(&instance, 2)).await.unwrap();
            let first = fetch.await;
            let (item, token, attempts) = match first {
                Ok(fetched) => fetched.unwrap().unwrap(),
                Err(_) => provider.fetch_orchestration_item(LOCK, FOREVER, None).await.unwrap().unwrap(),
            };
            assert_eq!((item.instance.as_str(), attempts), (instance.as_str(), 1));
            let done = ExecutionMetadata { status: Some("Completed".to_owned()), ..ExecutionMetadata::default() };
            provider
                .ack_orchestration_item(&token, 1, vec![started(&instance, 1)], vec![], vec![], done, vec![])
                .await
                .unwrap();
            let (_, token, attempts) = match task.await {
                Ok(fetched) => fetched.unwrap().unwrap(),
                Err(_) => provider.fetch_work_item(LOCK, FOREVER, None, &TagFilter::default()).await.unwrap().unwrap(),
            };
            assert_eq!(attempts, 1);
            provider.ack_work_item(&token, None).await.unwrap();
        }
    }
}

fn completed(instance: &str, id: u64) -> WorkItem {
    WorkItem::ActivityCompleted { instance: instance.to_owned(), execution_id: 1, id, result: String::new() }
}

/// Starts an instance with `activities` and hands all of them out; returns their tokens.
async fn fan_out(provider: &GroupedProvider, instance: &str, activities: u64) -> Vec<String> {
    provider.enqueue_for_orchestrator(start(instance), None).await.unwrap();
    let (_, token, _) = provider.fetch_orchestration_item(LOCK, FOREVER, None).await.unwrap().unwrap();
    let tasks = (0..activities).map(|id| activity(instance, 2 + id)).collect();
    let metadata = ExecutionMetadata {
        orchestration_name: Some("Test".to_owned()),
        orchestration_version: Some("1.0.0".to_owned()),
        ..ExecutionMetadata::default()
    };
    let events = vec![started(instance, 1)];
    provider.ack_orchestration_item(&token, 1, events, tasks, vec![], metadata, vec![]).await.unwrap();
    let mut tokens = Vec::new();
    for _ in 0..activities {
        let (_, token, _) =
            provider.fetch_work_item(LOCK, FOREVER, None, &TagFilter::default()).await.unwrap().unwrap();
        tokens.push(token);
    }
    tokens
}

#[tokio::test]
async fn completions_wait_for_each_other_and_for_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let provider = open(directory.path(), Options { max_turn_delay: FOREVER, ..options() });
    let fetch = async || provider.fetch_orchestration_item(LOCK, Duration::ZERO, None).await.unwrap();
    let tokens = fan_out(&provider, "a", 4).await;
    for (id, token) in tokens[..3].iter().enumerate() {
        provider.ack_work_item(token, Some(completed("a", 2 + id as u64))).await.unwrap();
        assert!(fetch().await.is_none(), "the others are still to come");
    }
    // Anything else brings the turn about, with the completions that are there.
    let raised = WorkItem::ExternalRaised { instance: "a".to_owned(), name: "e".to_owned(), data: String::new() };
    provider.enqueue_for_orchestrator(raised, None).await.unwrap();
    let (item, token, _) = fetch().await.unwrap();
    assert_eq!(item.messages.len(), 4);
    // The last one waits for nobody. It comes during the turn, and is there when that is over.
    provider.ack_work_item(&tokens[3], Some(completed("a", 5))).await.unwrap();
    assert!(fetch().await.is_none(), "a dispatcher has the turn");
    provider
        .ack_orchestration_item(&token, 1, vec![], vec![], vec![], ExecutionMetadata::default(), vec![])
        .await
        .unwrap();
    let (item, ..) = fetch().await.unwrap();
    assert_eq!(item.messages.len(), 1);

    let tokens = fan_out(&provider, "b", 2).await;
    provider.ack_work_item(&tokens[0], Some(completed("b", 2))).await.unwrap();
    let dispatcher = Arc::clone(&provider);
    let waiting = tokio::spawn(async move { dispatcher.fetch_orchestration_item(LOCK, FOREVER, None).await });
    tokio::task::yield_now().await;
    provider.ack_work_item(&tokens[1], Some(completed("b", 3))).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().unwrap().0.messages.len(), 2);
}

#[tokio::test]
async fn a_completion_waits_no_longer_than_it_may() {
    let directory = tempfile::tempdir().unwrap();
    let provider = open(directory.path(), Options { max_turn_delay: Duration::from_millis(30), ..options() });
    let tokens = fan_out(&provider, "a", 2).await;
    provider.ack_work_item(&tokens[0], Some(completed("a", 2))).await.unwrap();
    let at_once = provider.fetch_orchestration_item(LOCK, Duration::ZERO, None).await.unwrap();
    assert!(at_once.is_none(), "it waits");
    // Nothing else happens: the provider wakes by itself.
    let (item, ..) = provider.fetch_orchestration_item(LOCK, FOREVER, None).await.unwrap().unwrap();
    assert_eq!(item.messages.len(), 1);
}

/// Fetches as a worker does, which waits.
async fn work(provider: &GroupedProvider, lock: Duration) -> (WorkItem, String, u32) {
    provider.fetch_work_item(lock, FOREVER, None, &TagFilter::default()).await.unwrap().unwrap()
}

fn id(item: &WorkItem) -> u64 {
    match item {
        WorkItem::ActivityExecute { id, .. } => *id,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_acknowledgement_brings_the_next_activity() {
    let directory = tempfile::tempdir().unwrap();
    let provider = open(directory.path(), options());
    for number in 2..5 {
        provider.enqueue_for_worker(activity("a", number)).await.unwrap();
    }
    let (item, mut token, _) = work(&provider, LOCK).await;
    assert_eq!(id(&item), 2);
    for number in 3..5 {
        provider.ack_work_item(&token, None).await.unwrap();
        let before = provider.stats();
        let (item, next, attempts) = work(&provider, LOCK).await;
        assert_eq!((id(&item), attempts), (number, 1));
        let after = provider.stats();
        assert_eq!(after.transactions, before.transactions, "it was there already");
        assert_eq!(after.fetches_served, before.fetches_served + 1);
        token = next;
    }
    provider.ack_work_item(&token, None).await.unwrap();
    assert!(provider.fetch_work_item(LOCK, Duration::ZERO, None, &TagFilter::default()).await.unwrap().is_none());
}

/// Handed out ahead, and nobody comes for it: who asks otherwise gets it as if it had never been fetched.
#[tokio::test]
async fn what_nobody_comes_for_goes_back() {
    let directory = tempfile::tempdir().unwrap();
    let provider = open(directory.path(), options());
    for number in 2..4 {
        provider.enqueue_for_worker(activity("a", number)).await.unwrap();
    }
    let (_, token, _) = work(&provider, LOCK).await;
    provider.ack_work_item(&token, None).await.unwrap();
    let (item, token, attempts) = work(&provider, LOCK / 2).await;
    assert_eq!((id(&item), attempts), (3, 1));

    // The same where the provider is closed meanwhile.
    provider.enqueue_for_worker(activity("a", 4)).await.unwrap();
    provider.enqueue_for_worker(activity("a", 5)).await.unwrap();
    provider.ack_work_item(&token, None).await.unwrap();
    let (_, token, _) = work(&provider, LOCK).await;
    provider.ack_work_item(&token, None).await.unwrap();
    drop(provider);
    let provider = open(directory.path(), options());
    let (item, _, attempts) = work(&provider, LOCK).await;
    assert_eq!((id(&item), attempts), (5, 1));
}

#[tokio::test]
async fn what_was_cancelled_is_not_handed_out_ahead() {
    let directory = tempfile::tempdir().unwrap();
    let provider = open(directory.path(), options());
    provider.enqueue_for_orchestrator(start("a"), None).await.unwrap();
    let (_, turn, _) = provider.fetch_orchestration_item(LOCK, FOREVER, None).await.unwrap().unwrap();
    for number in 2..4 {
        provider.enqueue_for_worker(activity("a", number)).await.unwrap();
    }
    let (_, token, _) = work(&provider, LOCK).await;
    provider.ack_work_item(&token, None).await.unwrap();
    let cancelled = ScheduledActivityIdentifier { instance: "a".to_owned(), execution_id: 1, activity_id: 3 };
    let events = vec![started("a", 1)];
    provider
        .ack_orchestration_item(&turn, 1, events, vec![], vec![], ExecutionMetadata::default(), vec![cancelled])
        .await
        .unwrap();
    assert!(provider.fetch_work_item(LOCK, Duration::ZERO, None, &TagFilter::default()).await.unwrap().is_none());
}

/// A session's activity belongs to whoever has the session: it is not handed out ahead, nor is one that came after it.
#[tokio::test]
async fn sessions_are_not_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let provider = open(directory.path(), options());
    for (number, session) in [(2, None), (3, Some("s")), (4, None)] {
        let mut item = activity("a", number);
        if let WorkItem::ActivityExecute { session_id, .. } = &mut item {
            *session_id = session.map(str::to_owned);
        }
        provider.enqueue_for_worker(item).await.unwrap();
    }
    let session = SessionFetchConfig { owner_id: "worker".to_owned(), lock_timeout: LOCK };
    let filter = TagFilter::default();
    for number in 2..5 {
        let fetch = provider.fetch_work_item(LOCK, FOREVER, Some(&session), &filter);
        let (item, token, _) = fetch.await.unwrap().unwrap();
        assert_eq!(id(&item), number);
        provider.ack_work_item(&token, None).await.unwrap();
    }
}

/// A fetch that fails after it has written leaves nothing of itself in the transaction that it shares with others.
#[tokio::test]
async fn a_failed_fetch_undoes_itself_only() {
    let directory = tempfile::tempdir().unwrap();
    let provider = open(directory.path(), options());
    provider.enqueue_for_orchestrator(start("a"), None).await.unwrap();
    provider.enqueue_for_worker(activity("a", 2)).await.unwrap();
    let other = rusqlite::Connection::open(&provider.files()[0]).unwrap();
    // More than a count of attempts can be, which shows when the rows have been updated.
    other.execute_batch("UPDATE inbox SET attempts = 5000000000; UPDATE tasks SET attempts = 5000000000").unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // The writer takes the first and waits for the lock; the others form a batch meanwhile.
    let filter = TagFilter::default();
    let mut first = provider.enqueue_for_orchestrator(start("b"), Some(FOREVER));
    let mut before = provider.enqueue_for_orchestrator(start("c"), Some(FOREVER));
    let mut turn = provider.fetch_orchestration_item(LOCK, FOREVER, None);
    let mut task = provider.fetch_work_item(LOCK, FOREVER, None, &filter);
    let mut after = provider.enqueue_for_orchestrator(start("d"), Some(FOREVER));
    let context = &mut Context::from_waker(Waker::noop());
    assert!(first.as_mut().poll(context).is_pending() && before.as_mut().poll(context).is_pending());
    assert!(turn.as_mut().poll(context).is_pending() && task.as_mut().poll(context).is_pending());
    assert!(after.as_mut().poll(context).is_pending());
    other.execute_batch("COMMIT").unwrap();
    assert!(turn.await.is_err() && task.await.is_err());
    first.await.unwrap();
    before.await.unwrap();
    after.await.unwrap();
    let count = |sql: &str| -> i64 { other.query_row(sql, [], |row| row.get(0)).unwrap() };
    assert_eq!(count("SELECT COUNT(*) FROM inbox"), 4);
    for table in ["inbox", "turns", "tasks"] {
        assert_eq!(count(&format!("SELECT COUNT(*) FROM {table} WHERE token IS NOT NULL")), 0, "{table}");
    }
}

/// While another connection holds the write lock, operations pile up; then one commit serves them all, but for those
/// that the writer had taken before.
#[tokio::test]
async fn operations_that_wait_share_a_commit() {
    const OPERATIONS: u64 = 64;
    let directory = tempfile::tempdir().unwrap();
    let provider = open(directory.path(), options());
    let before = provider.stats();
    let blocker = rusqlite::Connection::open(&provider.files()[0]).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut waiting = Vec::new();
    for number in 0..OPERATIONS {
        let mut enqueue = provider.enqueue_for_orchestrator(start(&format!("i-{number}")), None);
        // The first poll puts it into the writer's queue.
        let polled = enqueue.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending(), "nothing can be committed yet");
        waiting.push(enqueue);
    }
    blocker.execute_batch("COMMIT").unwrap();
    for enqueue in waiting {
        enqueue.await.unwrap();
    }
    let after = provider.stats();
    assert_eq!(after.operations - before.operations, OPERATIONS);
    let transactions = after.transactions - before.transactions;
    assert!(transactions <= 2, "{transactions} transactions");
}

/// A turn that breaks a rule is undone alone, with the operations around it committed.
#[tokio::test]
async fn one_failed_operation_undoes_itself_only() {
    let directory = tempfile::tempdir().unwrap();
    let provider = open(directory.path(), options());
    let mut tokens = Vec::new();
    for number in 0..10 {
        provider.enqueue_for_orchestrator(start(&format!("i-{number}")), None).await.unwrap();
        let (item, token, _) = provider.fetch_orchestration_item(LOCK, FOREVER, None).await.unwrap().unwrap();
        tokens.push((item.instance, token));
    }
    let acks = tokens.into_iter().enumerate().map(|(number, (instance, token))| {
        let provider = Arc::clone(&provider);
        tokio::spawn(async move {
            // Every third writes the same event twice, after a task that must not stay.
            let second = if number % 3 == 0 { 1 } else { 2 };
            let events = vec![started(&instance, 1), started(&instance, second)];
            let tasks = vec![activity(&instance, 7)];
            let metadata = ExecutionMetadata::default();
            provider.ack_orchestration_item(&token, 1, events, tasks, vec![], metadata, vec![]).await.is_ok()
        })
    });
    for (number, ack) in acks.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(ack.await.unwrap(), number % 3 != 0, "ack {number}");
        let history = provider.read(&format!("i-{number}")).await.unwrap();
        assert_eq!(history.len(), if number % 3 == 0 { 0 } else { 2 });
    }
    let depths = provider.as_management_capability().unwrap().get_queue_depths().await.unwrap();
    assert_eq!(depths.worker_queue, 6);
}

#[test]
fn settings_are_read_back() {
    for (asked, shards) in
        [(Synchronous::Off, 1), (Synchronous::Normal, 2), (Synchronous::Full, 1), (Synchronous::Extra, 3)]
    {
        let directory = tempfile::tempdir().unwrap();
        let provider = open(
            directory.path(),
            Options {
                synchronous: asked,
                shards,
                wal_autocheckpoint: 123,
                cache_size_kib: 4567,
                max_batch: 9,
                max_delay: Duration::from_millis(3),
                ..options()
            },
        );
        let in_force = provider.in_force();
        assert_eq!(in_force.synchronous, asked);
        assert_eq!(in_force.journal_mode, "wal");
        assert_eq!((in_force.wal_autocheckpoint, in_force.cache_size_kib), (123, 4567));
        assert_eq!((in_force.max_batch, in_force.max_delay), (9, Duration::from_millis(3)));
        assert_eq!((in_force.shards, provider.files().len()), (shards, shards));
    }
}

#[test]
fn a_database_has_one_owner_and_keeps_its_number_of_shards() {
    let directory = tempfile::tempdir().unwrap();
    let provider = open(directory.path(), Options { shards: 2, ..options() });
    let second = GroupedProvider::open(directory.path(), Options { shards: 2, ..options() });
    assert!(matches!(second, Err(OpenError::InUse { .. })));
    drop(provider);
    for shards in [1, 3] {
        let other = GroupedProvider::open(directory.path(), Options { shards, ..options() });
        let error = other.err().expect("the number differs").to_string();
        assert!(error.contains("has 2 shards"), "{error}");
    }
    open(directory.path(), Options { shards: 2, ..options() });
}

#[test]
fn options_that_cannot_work_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    for (options, name) in [
        (Options { max_batch: 0, ..options() }, "max_batch"),
        (Options { shards: 0, ..options() }, "shards"),
        (Options { shards: 65, ..options() }, "shards"),
        (Options { writers: 0, ..options() }, "writers"),
        (Options { writers: 2, ..options() }, "writers"),
        (Options { recheck_interval: Duration::ZERO, ..options() }, "recheck_interval"),
    ] {
        match GroupedProvider::open(directory.path(), options) {
            Err(OpenError::Option { name: found, .. }) => assert_eq!(found, name),
            other => panic!("{name}: {:?}", other.err()),
        }
    }
}

#[test]
fn a_file_of_another_kind_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = rusqlite::Connection::open(directory.path().join("shard-0.db")).unwrap();
    file.execute_batch("CREATE TABLE theirs (x)").unwrap();
    let error = GroupedProvider::open(directory.path(), options()).err().expect("it is not ours");
    assert!(error.to_string().contains("was not made by this provider"), "{error}");
}

/// What somebody had in hand when the process ended is free as soon as the database is opened, and counted.
#[tokio::test]
async fn work_in_hand_is_free_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let provider = open(directory.path(), options());
    provider.enqueue_for_orchestrator(start("a"), None).await.unwrap();
    provider.enqueue_for_worker(activity("a", 2)).await.unwrap();
    let (_, token, _) = provider.fetch_orchestration_item(LOCK, FOREVER, None).await.unwrap().unwrap();
    provider.fetch_work_item(LOCK, FOREVER, None, &TagFilter::default()).await.unwrap().unwrap();
    drop(provider);
    let provider = open(directory.path(), options());
    let (_, again, attempts) = provider.fetch_orchestration_item(LOCK, FOREVER, None).await.unwrap().unwrap();
    assert_eq!(attempts, 2);
    assert_ne!(token, again);
    let (_, _, attempts) = provider.fetch_work_item(LOCK, FOREVER, None, &TagFilter::default()).await.unwrap().unwrap();
    assert_eq!(attempts, 2);
    let late =
        provider.ack_orchestration_item(&token, 1, vec![], vec![], vec![], ExecutionMetadata::default(), vec![]).await;
    assert!(late.is_err(), "the old owner's lock is gone");
}

async fn run(provider: &Arc<GroupedProvider>) -> Arc<Runtime> {
    let ran = AtomicUsize::new(0);
    let activities = ActivityRegistry::builder()
        .register("Double", move |_: ActivityContext, input: String| {
            ran.fetch_add(1, Ordering::Relaxed);
            async move { Ok((input.parse::<u64>().map_err(|error| error.to_string())? * 2).to_string()) }
        })
        .build();
    let orchestrations = OrchestrationRegistry::builder()
        .register("Child", |context: OrchestrationContext, input: String| async move {
            context.schedule_activity("Double", input).await
        })
        .register("Parent", |context: OrchestrationContext, input: String| async move {
            let mut sum = 0;
            for child in 0..6 {
                let name = format!("{input}-child-{child}");
                let doubled = context.schedule_sub_orchestration_with_id("Child", name, child.to_string()).await?;
                sum += doubled.parse::<u64>().map_err(|error| error.to_string())?;
            }
            Ok(sum.to_string())
        })
        .register("Fails", |_: OrchestrationContext, _: String| async move { Err("as it was told".to_owned()) })
        .build();
    let options =
        RuntimeOptions { dispatcher_min_poll_interval: Duration::from_millis(5), ..RuntimeOptions::default() };
    Runtime::start_with_options(Arc::clone(provider) as _, activities, orchestrations, options).await
}

/// Children with names of their own live in other files than their parent; their starts and ends cross over.
#[tokio::test]
async fn trees_over_several_files_complete() {
    let directory = tempfile::tempdir().unwrap();
    let provider = open(directory.path(), Options { shards: 4, ..Options::default() });
    let runtime = run(&provider).await;
    let client = Client::new(Arc::clone(&provider) as _);
    for number in 0..8 {
        let instance = format!("parent-{number}");
        client.start_orchestration(&instance, "Parent", &instance).await.unwrap();
    }
    for number in 0..8 {
        let ended = provider.wait_for_end(&format!("parent-{number}"), FOREVER).await.unwrap().unwrap();
        assert_eq!((ended.completed, ended.output.as_deref()), (true, Some("30")));
    }
    runtime.shutdown(None).await;
    let admin = provider.as_management_capability().unwrap();
    assert_eq!(admin.list_instances().await.unwrap().len(), 8 * 7);
    assert_eq!(admin.list_children("parent-0").await.unwrap().len(), 6);
    let files: Vec<_> = provider.files().to_vec();
    let deleted = admin.delete_instance("parent-0", false).await.unwrap();
    assert_eq!(deleted.instances_deleted, 7);
    assert_eq!(admin.list_instances().await.unwrap().len(), 7 * 7);
    drop(client);
    drop(provider);
    // Opened again, so that what is still to be forgotten has been.
    drop(open(directory.path(), Options { shards: 4, ..Options::default() }));
    let mut populated = 0;
    for file in files {
        let file = rusqlite::Connection::open(file).unwrap();
        let count = |table: &str| -> i64 {
            file.query_row(&format!("SELECT COUNT(*) FROM {table}"), [], |row| row.get(0)).unwrap()
        };
        assert_eq!(count("inbox") + count("turns") + count("tasks"), 0);
        populated += i64::from(count("instances") > 0);
    }
    assert!(populated > 1, "the tree lies in several files");
}

/// A shard that cannot take messages in is offered them again until it can.
#[tokio::test]
async fn messages_between_files_are_offered_until_they_are_taken() {
    let directory = tempfile::tempdir().unwrap();
    let provider = open(directory.path(), Options { shards: 4, ..Options::default() });
    let other: Vec<_> = provider.files().iter().map(|file| rusqlite::Connection::open(file).unwrap()).collect();
    for file in &other {
        file.execute_batch("CREATE TRIGGER refuse BEFORE INSERT ON received BEGIN SELECT RAISE(ABORT, 'full'); END")
            .unwrap();
    }
    let runtime = run(&provider).await;
    let client = Client::new(Arc::clone(&provider) as _);
    client.start_orchestration("parent", "Parent", "parent").await.unwrap();
    let offered = || -> i64 {
        let count = |file: &rusqlite::Connection| -> i64 {
            file.query_row("SELECT COUNT(*) FROM outbox", [], |row| row.get(0)).unwrap()
        };
        other.iter().map(count).sum()
    };
    while offered() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let transactions = provider.stats().transactions;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let transactions = provider.stats().transactions - transactions;
    assert!(offered() > 0);
    // Ten offers a second, and what dispatchers do that find nothing.
    assert!(transactions < 100, "{transactions} transactions in 0.3 s");
    for file in &other {
        file.execute_batch("DROP TRIGGER refuse").unwrap();
    }
    let ended = provider.wait_for_end("parent", FOREVER).await.unwrap().unwrap();
    assert_eq!((ended.completed, ended.output.as_deref()), (true, Some("30")));
    runtime.shutdown(None).await;
}

/// A crash after the sender's commit leaves a message in the outbox; one after the receiver's leaves it in both places.
/// Either way it arrives once.
#[tokio::test]
async fn messages_between_files_arrive_once_after_a_crash() {
    for already_received in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let shards = Options { shards: 2, ..options() };
        let provider = open(directory.path(), shards.clone());
        let files: Vec<_> = provider.files().to_vec();
        // An instance of the second file.
        let mut number = 0;
        let instance = loop {
            let name = format!("i-{number}");
            provider.enqueue_for_orchestrator(start(&name), None).await.unwrap();
            let second = rusqlite::Connection::open(&files[1]).unwrap();
            let there: i64 =
                second.query_row("SELECT COUNT(*) FROM inbox WHERE instance = ?1", [&name], |row| row.get(0)).unwrap();
            if there == 1 {
                break name;
            }
            number += 1;
        };
        drop(provider);
        for file in &files {
            let file = rusqlite::Connection::open(file).unwrap();
            file.execute_batch("DELETE FROM inbox; DELETE FROM turns;").unwrap();
        }
        let item = serde_json::to_string(&start(&instance)).unwrap();
        rusqlite::Connection::open(&files[0])
            .unwrap()
            .execute(
                "INSERT INTO outbox (number, shard, instance, kind, item, visible_at) VALUES (5, 1, ?1, 1, ?2, 0)",
                [&instance, &item],
            )
            .unwrap();
        if already_received {
            let second = rusqlite::Connection::open(&files[1]).unwrap();
            second.execute_batch("INSERT INTO received (shard, number) VALUES (0, 5)").unwrap();
        }
        let provider = open(directory.path(), shards.clone());
        if !already_received {
            let (item, _, _) = provider.fetch_orchestration_item(LOCK, FOREVER, None).await.unwrap().unwrap();
            assert_eq!((item.instance, item.messages.len()), (instance.clone(), 1));
        }
        // Something else through both files, so that the relay is over with.
        drop(provider);
        let provider = open(directory.path(), shards);
        drop(provider);
        let count = |file: &Path, sql: &str| -> i64 {
            rusqlite::Connection::open(file).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
        };
        assert_eq!(count(&files[1], "SELECT COUNT(*) FROM inbox"), i64::from(!already_received));
    }
}

#[tokio::test]
async fn ends_are_announced() {
    let directory = tempfile::tempdir().unwrap();
    let provider = open(directory.path(), Options::default());
    let runtime = run(&provider).await;
    let client = Client::new(Arc::clone(&provider) as _);

    // Waited for before it is started.
    let early = Arc::clone(&provider);
    let waiting = tokio::spawn(async move { early.wait_for_end("early", FOREVER).await });
    tokio::task::yield_now().await;
    client.start_orchestration("early", "Child", "21").await.unwrap();
    let ended = waiting.await.unwrap().unwrap().unwrap();
    assert_eq!((ended.completed, ended.output.as_deref()), (true, Some("42")));

    // Waited for when it is over, also when it was started again in vain.
    for _ in 0..2 {
        let ended = provider.wait_for_end("early", FOREVER).await.unwrap().unwrap();
        assert_eq!(ended.output.as_deref(), Some("42"));
        client.start_orchestration("early", "Child", "1").await.unwrap();
    }

    client.start_orchestration("failing", "Fails", "").await.unwrap();
    let ended = provider.wait_for_end("failing", FOREVER).await.unwrap().unwrap();
    assert!(!ended.completed);
    assert!(ended.output.unwrap().contains("as it was told"));

    assert_eq!(provider.wait_for_end("never", Duration::from_millis(20)).await.unwrap(), None);
    runtime.shutdown(None).await;
}
