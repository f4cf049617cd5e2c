//! The process is killed under load, again and again, on one database: nothing that was acknowledged is lost, and
//! nothing comes to a second result.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use duroxide::{
    ActivityContext, Client, EventKind, OrchestrationContext, OrchestrationRegistry,
    providers::{Provider as _, ProviderAdmin as _},
    runtime::{Runtime, RuntimeOptions, registry::ActivityRegistry},
};
use duroxide_grouped::{GroupedProvider, Options, Synchronous};

const DIRECTORY: &str = "GROUPED_CRASH_DIRECTORY";
const SHARDS: &str = "GROUPED_CRASH_SHARDS";
const CLIENTS: usize = 8;
const FOREVER: Duration = Duration::from_secs(24 * 3600);

fn open(directory: &Path, shards: usize) -> Arc<GroupedProvider> {
    // What must survive here is the end of the process.
    let options = Options { synchronous: Synchronous::Normal, shards, ..Options::default() };
    Arc::new(GroupedProvider::open(directory, options).unwrap())
}

/// Every execution of an activity has a result that no other has, so that one that is run again shows.
async fn run(provider: &Arc<GroupedProvider>) -> Arc<Runtime> {
    let process = std::process::id();
    let count = Arc::new(AtomicU64::new(0));
    let activities = ActivityRegistry::builder()
        .register("Stamp", move |_: ActivityContext, _: String| {
            let number = count.fetch_add(1, Ordering::Relaxed);
            async move { Ok(format!("{process}.{number}")) }
        })
        .build();
    let orchestrations = OrchestrationRegistry::builder()
        .register("Child", |context: OrchestrationContext, _: String| async move {
            context.schedule_activity("Stamp", "").await
        })
        .register("Stamps", |context: OrchestrationContext, input: String| async move {
            let first = context.schedule_activity("Stamp", "").await?;
            let rest = (0..3).map(|_| context.schedule_activity("Stamp", "")).collect();
            let rest: Result<Vec<String>, String> = context.join(rest).await.into_iter().collect();
            // A name of its own, so that with several files the child may live in another.
            let child = context.schedule_sub_orchestration_with_id("Child", format!("child-of-{input}"), "").await?;
            Ok(format!("{first} {} {child}", rest?.join(" ")))
        })
        .build();
    let options = RuntimeOptions { orchestration_concurrency: 4, worker_concurrency: 4, ..RuntimeOptions::default() };
    Runtime::start_with_options(Arc::clone(provider) as _, activities, orchestrations, options).await
}

/// Not a test: the process that is killed. It says what was acknowledged to it.
#[test]
#[ignore = "the other tests of this file start it"]
fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let shards = std::env::var(SHARDS).unwrap().parse().unwrap();
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    tokio.block_on(async move {
        let provider = open(Path::new(&directory), shards);
        let _runtime = run(&provider).await;
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let provider = Arc::clone(&provider);
                tokio::spawn(async move {
                    let process = std::process::id();
                    for number in 0u64.. {
                        let instance = format!("i-{process}-{client}-{number}");
                        let starter = Client::new(Arc::clone(&provider) as _);
                        starter.start_orchestration(&instance, "Stamps", &instance).await.unwrap();
                        say(&format!("started {instance}"));
                        let ended = provider.wait_for_end(&instance, FOREVER).await.unwrap().unwrap();
                        assert!(ended.completed, "{ended:?}");
                        say(&format!("ended {instance} {}", ended.output.unwrap()));
                    }
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
    });
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "GROUPED {line}").and_then(|()| out.flush());
}

/// Runs the child until it has said `ends` times that an orchestration ended, then kills it. Adds what it said.
fn load_and_kill(directory: &Path, shards: usize, ends: usize, said: &mut BTreeMap<String, Option<String>>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(SHARDS, shards.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut seen = 0;
    // After the kill what was said before is still in the pipe.
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        // libtest writes the name of the test in front of the first line.
        let Some((_, line)) = line.split_once("GROUPED ") else { continue };
        if let Some(instance) = line.strip_prefix("started ") {
            said.entry(instance.to_owned()).or_default();
        } else if let Some((instance, output)) = line.strip_prefix("ended ").and_then(|rest| rest.split_once(' ')) {
            said.insert(instance.to_owned(), Some(output.to_owned()));
            seen += 1;
            if seen == ends {
                child.kill().unwrap();
            }
        }
    }
    child.wait().unwrap();
    assert!(seen >= ends, "the child ended by itself after {seen}");
}

/// The results that an instance's history records, in the order in which they were scheduled.
async fn recorded(provider: &GroupedProvider, instance: &str) -> (usize, Vec<String>) {
    let history = provider.read(instance).await.unwrap();
    let completions =
        history.iter().filter(|event| matches!(event.kind, EventKind::OrchestrationCompleted { .. })).count();
    let mut results: Vec<(u64, String)> = history
        .into_iter()
        .filter_map(|event| match event.kind {
            EventKind::ActivityCompleted { result } | EventKind::SubOrchestrationCompleted { result } => {
                Some((event.source_event_id.unwrap(), result))
            }
            _ => None,
        })
        .collect();
    results.sort();
    (completions, results.into_iter().map(|(_, result)| result).collect())
}

/// Everything that was said since the last check is as it was said, and what had not ended goes on, and ends. Returns
/// each with its output.
async fn check(directory: &Path, shards: usize, said: BTreeMap<String, Option<String>>) -> BTreeMap<String, String> {
    let provider = open(directory, shards);
    let ended = said.iter().filter_map(|(instance, output)| Some((instance, output.as_ref()?)));
    check_ended(&provider, ended).await;
    let runtime = run(&provider).await;
    let mut outputs = BTreeMap::new();
    for (instance, output) in said {
        let ended = provider.wait_for_end(&instance, FOREVER).await.unwrap().unwrap();
        assert!(ended.completed, "{ended:?}");
        let ended = ended.output.unwrap();
        assert_eq!(output.unwrap_or_else(|| ended.clone()), ended, "{instance} came to a second result");
        outputs.insert(instance, ended);
    }
    runtime.shutdown(None).await;
    outputs
}

/// Each of `ended` is completed, once, with this output and with a history that leads to it.
async fn check_ended(provider: &GroupedProvider, ended: impl Iterator<Item = (&String, &String)>) {
    for (instance, output) in ended {
        let info = provider.get_instance_info(instance).await.unwrap();
        assert_eq!((info.status.as_str(), info.output.as_ref()), ("Completed", Some(output)), "{instance}");
        let (completions, results) = recorded(provider, instance).await;
        assert_eq!(completions, 1, "{instance}");
        assert_eq!(&results.join(" "), output, "{instance}");
    }
}

/// Rounds from one look at everything that ever ended to the next.
const LOOK_AT_ALL_EVERY: usize = 20;

fn kill_again_and_again(shards: usize, rounds: usize) {
    let rounds = if std::env::var_os("UPLIFT_SOAK").is_some_and(|soak| soak == "1") { rounds * 40 } else { rounds };
    let directory = tempfile::tempdir().unwrap();
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut known = BTreeMap::new();
    for round in 0..rounds {
        let mut said = BTreeMap::new();
        // At another moment each time: a few orchestrations after the start, or many.
        load_and_kill(directory.path(), shards, 1 + round * 37 % 120, &mut said);
        known.extend(tokio.block_on(check(directory.path(), shards, said)));
        if round % LOOK_AT_ALL_EVERY == 0 || round + 1 == rounds {
            tokio.block_on(async { check_ended(&open(directory.path(), shards), known.iter()).await });
        }
    }
    assert!(known.len() >= rounds);
    println!(
        "{rounds} kills with {shards} files: {} orchestrations, none lost, none with a second result",
        known.len()
    );
}

#[test]
fn killed_under_load_with_one_file() {
    kill_again_and_again(1, 5);
}

#[test]
fn killed_under_load_with_three_files() {
    kill_again_and_again(3, 4);
}
