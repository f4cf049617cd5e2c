//! The write path of the log: a record of a hundred votes is sealed, written and synced, in memory where the machine has a
//! folder there.

use std::{hint::black_box, path::Path, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use dataflow_engine::{
    log::{Log, record::HEADER_BYTES},
    row::{Table, Vote},
};
use engine_disk::RealDisk;

const VOTES: u64 = 100;

fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a folder for a log")
}

fn append(criterion: &mut Criterion) {
    let folder = folder();
    let (mut log, _) = Log::open(&RealDisk, &folder.path().join("shard.log"), (0, 1), &mut |_| {}).expect("a new log");
    let mut bytes = vec![0; HEADER_BYTES];
    bytes.extend((0..VOTES).flat_map(|user| Vote { article: 7, user }.encode()));
    criterion.bench_function("dataflow_log_append", |bencher| {
        bencher.iter(|| {
            log.append(black_box(&mut bytes), Table::Vote, VOTES as u32).expect("a record");
            log.sync().expect("a sync");
        });
    });
}

criterion_group! {
    name = benches;
    // Short: what is compared are whole runs, interleaved with those of another build.
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = append
}
criterion_main!(benches);
