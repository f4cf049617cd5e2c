//! The provider on a file system that loses power: what `engines/power-loss.sh` calls.
//!
//! - `power write ENGINE DIRECTORY JOURNAL ROUND`: enqueues activities until it is ended, and appends to JOURNAL, which is on
//!   another file system, each that was acknowledged. Every third is fetched too, which is committed without a sync.
//! - `power check ENGINE DIRECTORY JOURNAL`: opens the database and checks it against the journal.
//!
//! ENGINE is `grouped` or `grouped-sharded`.

use std::{
    collections::BTreeSet,
    error::Error,
    fs::{self, OpenOptions},
    io::Write as _,
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use duroxide::providers::{Provider as _, TagFilter, WorkItem};
use duroxide_grouped::{GroupedProvider, Options};

const CALLERS: u64 = 4;
const FOREVER: Duration = Duration::from_secs(24 * 3600);

type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

fn open(engine: &str, directory: &Path) -> Result<GroupedProvider, Box<dyn Error + Send + Sync>> {
    // Checkpoints and logs that are begun anew within a round.
    let shards = if engine == "grouped-sharded" { 3 } else { 1 };
    let options = Options { shards, wal_autocheckpoint: 100, hand_ahead: false, ..Options::default() };
    Ok(GroupedProvider::open(directory, options)?)
}

fn activity(number: u64) -> WorkItem {
    WorkItem::ActivityExecute {
        instance: format!("instance-{}", number % 7),
        execution_id: 1,
        id: number,
        name: "Power".to_owned(),
        input: "x".repeat((number % 600) as usize),
        session_id: None,
        tag: None,
    }
}

async fn write(engine: &str, directory: &Path, journal: &Path, round: u64) -> Outcome {
    let provider = Arc::new(open(engine, directory)?);
    let journal = Arc::new(OpenOptions::new().append(true).create(true).open(journal)?);
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let (provider, journal) = (Arc::clone(&provider), Arc::clone(&journal));
        callers.spawn(async move {
            for step in 0.. {
                let number = (round << 32) + step * CALLERS + caller;
                // The power is gone, or the process is about to be.
                if provider.enqueue_for_worker(activity(number)).await.is_err()
                    || (&*journal).write_all(format!("{number}\n").as_bytes()).is_err()
                {
                    return;
                }
                if step % 3 == 0 {
                    let _ = provider.fetch_work_item(FOREVER, Duration::ZERO, None, &TagFilter::default()).await;
                }
            }
        });
    }
    callers.join_all().await;
    Ok(())
}

async fn check(engine: &str, directory: &Path, journal: &Path) -> Outcome {
    let text = fs::read_to_string(journal).unwrap_or_default();
    // The last line may be cut off: its writer was killed.
    let acknowledged: BTreeSet<u64> =
        text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')?.parse().ok()).collect();
    let provider = open(engine, directory)?;
    let mut found = BTreeSet::new();
    while let Some((item, ..)) = provider.fetch_work_item(FOREVER, Duration::ZERO, None, &TagFilter::default()).await? {
        if let WorkItem::ActivityExecute { id, .. } = item
            && !found.insert(id)
        {
            return Err(format!("activity {id} is there twice").into());
        }
    }
    let lost = acknowledged.difference(&found).count();
    if lost > 0 {
        return Err(format!("{lost} of {} acknowledged activities are lost", acknowledged.len()).into());
    }
    println!("{engine}: {} acknowledged activities, none lost", acknowledged.len());
    Ok(())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["write", engine, directory, journal, round] => match round.parse() {
            Ok(round) => write(engine, Path::new(directory), Path::new(journal), round).await,
            Err(_) => Err(format!("`{round}` is no number of a round").into()),
        },
        ["check", engine, directory, journal] => check(engine, Path::new(directory), Path::new(journal)).await,
        _ => Err("write ENGINE DIRECTORY JOURNAL ROUND | check ENGINE DIRECTORY JOURNAL".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("power: {why}");
            ExitCode::FAILURE
        }
    }
}
