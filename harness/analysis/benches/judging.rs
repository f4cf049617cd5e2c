//! The verdicts of a stored run: what `uplift report` takes, and what decides after each block whether to go on.

use std::{fs, hint::black_box, path::Path, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use uplift_analysis::{judge::judge, profile::folded};
use uplift_model::{Trial, run::Run};

fn judging(criterion: &mut Criterion) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../report/tests/data/slower");
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect("a stored run of the tests");
    let run: Run = serde_json::from_str(&read("run.json")).expect("a run");
    let trials: Vec<Trial> =
        read("trials.jsonl").lines().map(|line| serde_json::from_str(line).expect("a trial")).collect();
    criterion.bench_function("judge_run", |bencher| bencher.iter(|| judge(black_box(&run), black_box(&trials))));
}

fn folding(criterion: &mut Criterion) {
    let text: String = (0..5_000)
        .map(|number| {
            format!("client;work;step_{};inner_{};leaf_{} {}\n", number % 7, number % 131, number, 1 + number % 5)
        })
        .collect();
    criterion.bench_function("read_folded", |bencher| bencher.iter(|| folded::merge([black_box(text.as_str())])));
}

criterion_group! {
    name = benches;
    // Short: what is compared are whole runs, interleaved with those of another build.
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = judging, folding
}
criterion_main!(benches);
