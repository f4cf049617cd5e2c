//! The write path of both stores, without a disk: in memory where the machine has a folder there.

use std::{hint::black_box, path::Path, sync::Arc, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use docdb_engine::{DocumentStore, Operation, Request, classic, fast};
use engine_disk::{Disk, RealDisk};
use uplift_instrument::timeline::EventLog;

const DOCUMENTS: u64 = 1_000;
const DOCUMENT: &[u8] = br#"{"name":"a document of some length","value":123456789,"tags":["one","two","three"]}"#;

fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a folder for a store")
}

fn store(name: &str, directory: &Path) -> Box<dyn DocumentStore> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let events = EventLog::default();
    if name == "fast" {
        let settings = fast::Settings { databases: 1, ..Default::default() };
        return Box::new(fast::Store::open(&disk, directory, &settings, &events).expect("a new store").0);
    }
    let settings = classic::Settings { databases: 1, ..Default::default() };
    Box::new(classic::Store::open(&disk, directory, &settings, &events).expect("a new store").0)
}

fn writing(criterion: &mut Criterion) {
    for name in ["classic", "fast"] {
        let folder = folder();
        let store = store(name, folder.path());
        let apply = |operation, id| {
            let request = Request { operation, database: 0, id, document: DOCUMENT };
            store.apply(request, &mut Vec::new()).expect("a write")
        };
        for id in 0..DOCUMENTS {
            apply(Operation::Create, id);
        }
        let mut next = 0;
        criterion.bench_function(&format!("docdb_{name}_update"), |bencher| {
            bencher.iter(|| {
                next = (next + 1) % DOCUMENTS;
                apply(Operation::Update, black_box(next))
            });
        });
    }
}

criterion_group! {
    name = benches;
    // Short: what is compared are whole runs, interleaved with those of another build.
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = writing
}
criterion_main!(benches);
