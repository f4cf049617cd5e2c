//! The write path of the provider: sixteen orchestrations are started at once and share transactions, in memory where the
//! machine has a folder there.

use std::{path::Path, sync::Arc, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use duroxide::Client;
use duroxide_grouped::{GroupedProvider, Options};

const AT_ONCE: u64 = 16;

fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a folder for a database")
}

fn starting(criterion: &mut Criterion) {
    let folder = folder();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let provider = {
        let _within = runtime.enter();
        Arc::new(GroupedProvider::open(folder.path(), Options::default()).expect("a new database"))
    };
    let mut number = 0;
    criterion.bench_function("grouped_start", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                let started: Vec<_> = (0..AT_ONCE)
                    .map(|_| {
                        number += 1;
                        let (provider, instance) = (Arc::clone(&provider), format!("instance-{number}"));
                        tokio::spawn(async move {
                            Client::new(provider).start_orchestration(&instance, "Nothing", "").await
                        })
                    })
                    .collect();
                for one in started {
                    one.await.expect("it is not aborted").expect("it is started");
                }
            });
        });
    });
}

criterion_group! {
    name = benches;
    // Short: what is compared are whole runs, interleaved with those of another build.
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = starting
}
criterion_main!(benches);
