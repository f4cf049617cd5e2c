//! A disk that is full: what fails says so, nothing hangs, and what was acknowledged is there.
//!
//! The process has a limit to the size of its files, which the kernel keeps as it would keep the end of a disk.

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use duroxide::providers::{Provider as _, TagFilter, WorkItem};
use duroxide_grouped::{GroupedProvider, Options, Synchronous};

const DIRECTORY: &str = "GROUPED_FULL_DIRECTORY";
/// In the unit of the shell's `ulimit -f`, 512 bytes.
const LIMIT_BLOCKS: u32 = 2048;
const PAYLOAD_BYTES: usize = 2000;
const FOREVER: Duration = Duration::from_secs(24 * 3600);

fn open(directory: &Path) -> Arc<GroupedProvider> {
    let options = Options { synchronous: Synchronous::Full, ..Options::default() };
    Arc::new(GroupedProvider::open(directory, options).unwrap())
}

fn activity(number: u64) -> WorkItem {
    WorkItem::ActivityExecute {
        instance: format!("i-{number}"),
        execution_id: 1,
        id: number,
        name: "Test".to_owned(),
        input: "x".repeat(PAYLOAD_BYTES),
        session_id: None,
        tag: None,
    }
}

/// Not a test: the process whose files have a limit. Says which numbers were acknowledged.
#[test]
#[ignore = "the other test of this file starts it"]
fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    tokio.block_on(async move {
        let provider = open(Path::new(&directory));
        // Somebody waits all the while, and is still served when nothing else can be.
        let worker = Arc::clone(&provider);
        let filter = TagFilter::tags(["never"]);
        let waiting = tokio::spawn(async move { worker.fetch_work_item(FOREVER, FOREVER, None, &filter).await });
        let (mut failed, mut number) = (0, 0);
        while failed < 20 {
            let calls: Vec<_> = (number..number + 8)
                .map(|number| {
                    let provider = Arc::clone(&provider);
                    tokio::spawn(async move { (number, provider.enqueue_for_worker(activity(number)).await) })
                })
                .collect();
            number += 8;
            for call in calls {
                match call.await.unwrap() {
                    (number, Ok(())) => println!("GROUPED {number}"),
                    (_, Err(error)) => {
                        assert!(error.is_retryable(), "{error}");
                        failed += 1;
                    }
                }
            }
        }
        assert!(!waiting.is_finished(), "{:?}", waiting.await);
        // What is there can still be read.
        let depths = provider.as_management_capability().unwrap().get_queue_depths().await.unwrap();
        println!("GROUPED there {}", depths.worker_queue);
        waiting.abort();
    });
}

#[tokio::test]
async fn a_full_disk_loses_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    // The signal that comes with the limit would end the process; the error is what a full disk gives.
    let script = format!("trap '' XFSZ; ulimit -f {LIMIT_BLOCKS}; exec \"$0\" \"$@\"");
    let output = Command::new("sh")
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory.path())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let said: Vec<&str> = text.lines().filter_map(|line| line.split_once("GROUPED ").map(|(_, said)| said)).collect();
    let mut acknowledged: Vec<u64> = said.iter().filter_map(|said| said.parse().ok()).collect();
    let there: usize = said.iter().find_map(|said| said.strip_prefix("there ")).unwrap().parse().unwrap();
    assert!(!acknowledged.is_empty());
    assert_eq!(there, acknowledged.len(), "what failed is not there");

    // With room again, everything works, and everything is there.
    let provider = open(directory.path());
    provider.enqueue_for_worker(activity(u64::MAX >> 1)).await.unwrap();
    acknowledged.push(u64::MAX >> 1);
    let mut found = Vec::new();
    while let Some((item, token, _)) =
        provider.fetch_work_item(FOREVER, Duration::ZERO, None, &TagFilter::default()).await.unwrap()
    {
        let WorkItem::ActivityExecute { id, input, .. } = item else { panic!("{item:?}") };
        assert_eq!(input.len(), PAYLOAD_BYTES);
        found.push(id);
        provider.ack_work_item(&token, None).await.unwrap();
    }
    found.sort_unstable();
    acknowledged.sort_unstable();
    assert_eq!(found, acknowledged);
}
