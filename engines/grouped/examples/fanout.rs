//! Runs orchestrations that fan out to five activities, and says how many of them were done in how many transactions.
//!
//! `cargo run -p duroxide-grouped --example fanout -- [DIRECTORY [SECONDS [MAX_DELAY_US [off|normal|full]]]]`

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use duroxide::{
    ActivityContext, Client, OrchestrationContext, OrchestrationRegistry,
    runtime::{Runtime, RuntimeOptions, registry::ActivityRegistry},
};
use duroxide_grouped::{GroupedProvider, Options, Synchronous};

/// Orchestrations in flight.
const CLIENTS: usize = 20;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().unwrap_or_else(|| "fanout-data".to_owned());
    let seconds: u64 = arguments.next().map_or(Ok(3), |seconds| seconds.parse())?;
    let max_delay = Duration::from_micros(arguments.next().map_or(Ok(0), |delay| delay.parse())?);
    let synchronous = match arguments.next().as_deref() {
        Some("off") => Synchronous::Off,
        Some("full") => Synchronous::Full,
        _ => Synchronous::Normal,
    };

    let options = Options { synchronous, max_delay, ..Options::default() };
    let provider = Arc::new(GroupedProvider::open(&directory, options)?);
    let activities = ActivityRegistry::builder()
        .register("Square", |_: ActivityContext, input: String| async move {
            let number: u64 = input.parse().map_err(|_| format!("`{input}` is not a number"))?;
            Ok((number * number).to_string())
        })
        .build();
    let orchestrations = OrchestrationRegistry::builder()
        .register("SumOfSquares", |context: OrchestrationContext, _: String| async move {
            let squares = (1..=5).map(|number| context.schedule_activity("Square", number.to_string())).collect();
            let squares: Result<Vec<String>, String> = context.join(squares).await.into_iter().collect();
            Ok(squares?.iter().filter_map(|square| square.parse::<u64>().ok()).sum::<u64>().to_string())
        })
        .build();
    let dispatchers =
        RuntimeOptions { orchestration_concurrency: 4, worker_concurrency: 8, ..RuntimeOptions::default() };
    let runtime = Runtime::start_with_options(provider.clone(), activities, orchestrations, dispatchers).await;

    let began = Instant::now();
    let ends = began + Duration::from_secs(seconds);
    let done = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (provider, done) = (Arc::clone(&provider), Arc::clone(&done));
            let run = std::process::id();
            tokio::spawn(async move {
                for number in 0.. {
                    if Instant::now() >= ends {
                        break;
                    }
                    let instance = format!("sum-{run}-{client}-{number}");
                    Client::new(provider.clone()).start_orchestration(&instance, "SumOfSquares", "").await.unwrap();
                    let ended = provider.wait_for_end(&instance, Duration::from_secs(60)).await.unwrap().unwrap();
                    assert_eq!(ended.output.as_deref(), Some("55"));
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for client in clients {
        client.await?;
    }
    let done = done.load(Ordering::Relaxed);
    let stats = provider.stats();
    println!(
        "{done} orchestrations, {:.0} a second, in {} transactions of {:.1} operations",
        done as f64 / began.elapsed().as_secs_f64(),
        stats.transactions,
        stats.operations as f64 / stats.transactions as f64
    );
    runtime.shutdown(None).await;
    Ok(())
}
