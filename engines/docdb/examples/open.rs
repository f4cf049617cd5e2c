//! How long it takes to open a store of many small documents, and how much memory each of them needs.
//!
//! `cargo run -p docdb-engine --example open -- 10000000 [directory]`. The documents are written first, which is not
//! timed; then a process of its own opens the store.

use std::{path::Path, process::Command, sync::Arc, thread, time::Instant};

use docdb_engine::{DocumentStore, Operation, Request, classic, fast};
use engine_disk::{Disk, RealDisk};
use uplift_instrument::timeline::EventLog;

fn open(engine: &str, directory: &Path) -> (Box<dyn DocumentStore>, docdb_engine::Recovery) {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    match engine {
        "fast" => {
            let settings = fast::Settings { databases: 1, ..Default::default() };
            let (store, recovery) = fast::Store::open(&disk, directory, &settings, &EventLog::default()).unwrap();
            (Box::new(store), recovery)
        }
        _ => {
            let settings = classic::Settings {
                databases: 1,
                fsync: classic::Fsync::None,
                data_file_fsyncs: 0,
                locking: classic::Locking::ReadWrite,
                workers: 32,
                ..Default::default()
            };
            let (store, recovery) = classic::Store::open(&disk, directory, &settings, &EventLog::default()).unwrap();
            (Box::new(store), recovery)
        }
    }
}

/// Resident memory of this process in bytes, from `/proc/self/statm`.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let count: u64 = arguments.get(1).map_or(1_000_000, |count| count.parse().expect("a number of documents"));
    let root =
        arguments.get(2).cloned().unwrap_or_else(|| std::env::temp_dir().join("docdb-open").display().to_string());
    if let Some(engine) = arguments.get(3) {
        let before = resident_bytes();
        let start = Instant::now();
        let (store, recovery) = open(engine, &Path::new(&root).join(engine));
        let seconds = start.elapsed().as_secs_f64();
        let documents = store.documents().unwrap();
        println!(
            "{engine}: {documents} documents opened in {seconds:.2} s from {:.1} MB of log; {:.1} bytes of memory a document",
            recovery.log_bytes as f64 / 1e6,
            (resident_bytes() - before) as f64 / documents as f64
        );
        return;
    }
    for engine in ["fast", "classic"] {
        let directory = Path::new(&root).join(engine);
        let _ = std::fs::remove_dir_all(&directory);
        let (opened, _) = open(engine, &directory);
        let (store, threads) = (&*opened, 64);
        thread::scope(|scope| {
            for thread in 0..threads {
                scope.spawn(move || {
                    let mut none = Vec::new();
                    for id in (thread..count).step_by(threads as usize) {
                        let document = format!("{{\"id\":{id},\"name\":\"small document\"}}");
                        let request =
                            Request { operation: Operation::Create, database: 0, id, document: document.as_bytes() };
                        store.apply(request, &mut none).unwrap();
                    }
                });
            }
        });
        store.settle().unwrap();
        drop(opened);
        let status = Command::new(std::env::current_exe().unwrap())
            .args([count.to_string(), root.clone(), engine.to_owned()])
            .status()
            .unwrap();
        assert!(status.success());
    }
    std::fs::remove_dir_all(root).unwrap();
}
