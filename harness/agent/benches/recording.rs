//! What the harness itself costs: recording one operation (two timestamps, two histograms, counters), the closed loop, a sync
//! call on no file with the probe and without.
//!
//! To reach: recording at most 60 ns on one thread, at least 10 million empty operations a second and core, at most
//! 120 ns a sync call, at most 50 ns a record of the crash ledger.

use std::{collections::BTreeMap, hint::black_box, thread, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use uplift_agent::{load::Pool, recorder::Recorder};
use uplift_model::{protocol::TurnLength, scenario::Load};
use uplift_sdk::{
    Batch, Check, Client, Drain, Durability, Outcome, Target, TargetError, clock,
    crash_ledger::{End, LedgerWriter},
};

struct Nothing;

impl Target for Nothing {
    fn effective(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    fn durability(&self) -> Durability {
        Durability::None
    }

    fn client(&self, _: usize, _: u64) -> Result<Box<dyn Client + '_>, TargetError> {
        Ok(Box::new(NoWork))
    }

    fn drain(&self) -> Result<Drain, TargetError> {
        Ok(Drain::default())
    }

    fn check(&self) -> Result<Check, TargetError> {
        Ok(Check { passed: true, checked: 1, detail: String::new() })
    }
}

struct NoWork;

impl Client for NoWork {
    fn operate(&mut self, batch: Batch) -> Outcome {
        black_box(Outcome::ok(0).of(batch.operations))
    }
}

fn recording(criterion: &mut Criterion) {
    let mut recorder = Recorder::new(4, 3, 0, 0, true);
    recorder.begin(clock::now_ns());
    criterion.bench_function("record_operation", |bencher| {
        bencher.iter(|| {
            let sent_ns = clock::now_ns();
            let outcome = black_box(Outcome::ok(2).in_group(1));
            recorder.record(outcome, sent_ns, sent_ns, clock::now_ns());
        });
    });
}

fn closed_loop(criterion: &mut Criterion) {
    const OPERATIONS: u64 = 1_000_000;
    let pool =
        Pool::new(Load::Closed { clients: 1, think: None, batch: 1, agents: 0 }, 1, Recorder::new(1, 1, 0, 0, false));
    let mut group = criterion.benchmark_group("closed loop");
    group.throughput(criterion::Throughput::Elements(OPERATIONS));
    thread::scope(|scope| {
        pool.spawn(scope, &Nothing).expect("a client that does nothing is always made");
        group.bench_function("one client, empty operation", |bencher| {
            bencher.iter_custom(|turns| {
                let mut total = Duration::ZERO;
                for _ in 0..turns {
                    let mut done = 0;
                    let mut elapsed_ns = 0;
                    // Turns end by time, as they do in a trial; scaled to a million operations.
                    while done < OPERATIONS {
                        let mut run = pool.run(TurnLength::Nanoseconds(25_000_000)).expect("the client does not panic");
                        let start_ns = run.start_ns;
                        let recorder = run.recorder();
                        elapsed_ns += recorder.last_done_ns - start_ns;
                        done += recorder.cells_mut()[0].ok;
                    }
                    total += Duration::from_nanos((elapsed_ns as f64 * OPERATIONS as f64 / done as f64) as u64);
                }
                total
            });
        });
        pool.close();
    });
}

fn sync_probe(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sync_call");
    group.bench_function("plain", |bencher| {
        // SAFETY: -1 is no descriptor; the call fails and touches nothing.
        bencher.iter(|| unsafe { libc::syscall(libc::SYS_fsync, black_box(-1)) });
    });
    group.bench_function("probed", |bencher| {
        // SAFETY: as above.
        bencher.iter(|| unsafe { libc::fsync(black_box(-1)) });
    });
}

fn crash_ledger(criterion: &mut Criterion) {
    let folder = std::env::temp_dir().join(format!("uplift-bench-ledger-{}", std::process::id()));
    let mut number = 0;
    criterion.bench_function("note one operation in the ledger of a crash (two notes, a timestamp)", |bencher| {
        bencher.iter_custom(|records| {
            // A file of its own for each measurement, so that none of them grows without end.
            number += 1;
            let mut ledger = LedgerWriter::create(&folder, number).expect("the temporary folder can be written");
            let start_ns = clock::now_ns();
            for key in 0..records {
                ledger.begin(1, black_box(key), key);
                ledger.end(End::Acknowledged);
            }
            let took = Duration::from_nanos(clock::now_ns() - start_ns);
            drop(ledger);
            let _ = std::fs::remove_dir_all(&folder);
            took
        });
    });
}

criterion_group! {
    name = benches;
    // Short: what is compared are whole runs, interleaved with those of another build.
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = recording, closed_loop, sync_probe, crash_ledger
}
criterion_main!(benches);
