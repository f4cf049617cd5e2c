//! Sampled stacks of addresses become counted stacks of names.

use std::{collections::HashMap, hint::black_box, time::Duration};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use uplift_profiler::{
    fold::{Folder, Stack},
    interned_stacks::{self, Limits, Names},
    maps,
    symbol::UserSymbols,
};

/// Stacks of addresses within this program, forty frames deep.
fn stacks() -> Vec<Stack> {
    let (modules, _) = maps::modules().expect("the mappings of this process");
    let own = &modules.first().expect("this program is mapped").range;
    let (start, length) = (own.start, own.end - own.start);
    let mut state = 1u64;
    let mut address = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Few of them: programs spend their time in few places.
        start + (state >> 33) % 512 * (length / 512)
    };
    (0..1_000)
        .map(|_| Stack {
            tid: 1,
            kernel: Vec::new(),
            user: (0..40).map(|_| address()).collect(),
            preempted: false,
            other: false,
        })
        .collect()
}

fn folder() -> Folder {
    let (modules, _) = maps::modules().expect("the mappings of this process");
    Folder {
        user: UserSymbols::new(modules),
        kernel: None,
        threads: HashMap::from([(1, "client".to_owned())]),
        names: Names::default(),
    }
}

fn folding(criterion: &mut Criterion) {
    let stacks = stacks();
    let mut known = folder();
    // Names are looked up once.
    known.fold(stacks.iter().map(|stack| (stack, 1)));
    criterion.bench_function("fold_stacks", |bencher| {
        bencher.iter(|| known.fold(black_box(&stacks).iter().map(|stack| (stack, 1))));
    });
    let folded = known.fold(stacks.iter().map(|stack| (stack, 1)));
    criterion.bench_function("write_folded", |bencher| {
        bencher.iter_batched(
            || (),
            |()| interned_stacks::write(&known.names, &[black_box(&folded.stacks)], Limits::MESSAGE),
            BatchSize::SmallInput,
        );
    });
}

criterion_group! {
    name = benches;
    // Short: what is compared are whole runs, interleaved with those of another build.
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = folding
}
criterion_main!(benches);
