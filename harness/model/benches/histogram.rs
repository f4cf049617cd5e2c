//! Latencies of a turn are recorded and histograms of many turns are added up: once for each client and slice.

use std::{hint::black_box, time::Duration};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use uplift_model::Histogram;

/// Latencies between 1 µs and 10 ms, as a disk has them; `seed` gives another thousand.
fn latencies(seed: u64) -> Histogram {
    let mut histogram = Histogram::new();
    let mut state = seed;
    for _ in 0..1_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        histogram.record_n(1_000 + (state >> 33) % 10_000_000, 1);
    }
    histogram
}

fn histogram(criterion: &mut Criterion) {
    let parts: Vec<Histogram> = (0..16).map(latencies).collect();
    criterion.bench_function("histogram_merge", |bencher| {
        bencher.iter_batched(
            Histogram::new,
            |mut sum| {
                parts.iter().for_each(|part| sum.merge(part));
                black_box(sum.quantile(0.99))
            },
            BatchSize::SmallInput,
        );
    });
    criterion.bench_function("histogram_record", |bencher| bencher.iter(|| black_box(latencies(black_box(1)))));
    let text = parts[0].to_base64().expect("it is written");
    criterion.bench_function("histogram_read", |bencher| bencher.iter(|| Histogram::from_base64(black_box(&text))));
}

criterion_group! {
    name = benches;
    // Short: what is compared are whole runs, interleaved with those of another build.
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = histogram
}
criterion_main!(benches);
