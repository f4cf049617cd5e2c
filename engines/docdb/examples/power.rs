//! The stores on a file system that loses power: what `engines/power-loss.sh` calls.
//!
//! - `power write ENGINE DIRECTORY JOURNAL ROUND`: writes until it is ended, and appends to JOURNAL, which is on another file
//!   system, each write that was acknowledged.
//! - `power check ENGINE DIRECTORY JOURNAL`: opens the store and checks it against the journal.
//! - `power cut MOUNT`: lets the ext4 file system that is mounted there lose power: nothing that was not synced gets to it any
//!   more, not even its own journal.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::fd::AsRawFd as _,
    path::Path,
    process::ExitCode,
    sync::Arc,
    thread,
};

use docdb_engine::{DocumentStore, Operation, Recovery, Reply, Request, StoreError, classic, fast};
use engine_disk::{Disk, RealDisk};
use uplift_instrument::timeline::EventLog;

const THREADS: u64 = 4;
const IDS_EACH: u64 = 50;
/// `EXT4_IOC_SHUTDOWN`, `_IOR('X', 125, __u32)`, of linux/ext4.h.
const EXT4_IOC_SHUTDOWN: libc::c_ulong = 0x8004_587d;
/// Without writing the file system's journal first.
const NOLOGFLUSH: u32 = 2;

fn open(engine: &str, directory: &Path) -> Result<(Box<dyn DocumentStore>, Recovery), StoreError> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let events = EventLog::default();
    let fast = |segment_bytes_max, prepare| fast::Settings {
        databases: 1,
        segment_bytes_max,
        prepare,
        ..fast::Settings::default()
    };
    let classic = |fsync, data_file_fsyncs, locking| classic::Settings {
        databases: 1,
        fsync,
        data_file_fsyncs,
        locking,
        segment_bytes_max: 60_000,
        ..classic::Settings::default()
    };
    let group = classic::Fsync::Group { interval: std::time::Duration::from_millis(1), records_max: 100 };
    let as_fast = |settings: fast::Settings| {
        fast::Store::open(&disk, directory, &settings, &events).map(|(store, found)| (Box::new(store) as _, found))
    };
    let as_classic = |settings: classic::Settings| {
        classic::Store::open(&disk, directory, &settings, &events).map(|(store, found)| (Box::new(store) as _, found))
    };
    match engine {
        "fast" => as_fast(fast(fast::SEGMENT_BYTES_MAX, true)),
        "fast-small" => as_fast(fast(20_000, true)),
        "fast-unprepared" => as_fast(fast(20_000, false)),
        "classic" => as_classic(classic(classic::Fsync::Always, 2, classic::Locking::Exclusive)),
        _ => as_classic(classic(group, 0, classic::Locking::ReadWrite)),
    }
}

/// What an id holds: the number of its newest write, 0 for none.
fn read(store: &dyn DocumentStore, id: u64) -> Result<u64, String> {
    let mut found = Vec::new();
    let request = Request { operation: Operation::Read, database: 0, id, document: b"" };
    match store.apply(request, &mut found) {
        Ok(Reply::Done) => {
            let text = String::from_utf8_lossy(&found);
            let number = text.strip_prefix("{\"number\":").and_then(|rest| rest.split(',').next());
            number.and_then(|number| number.parse().ok()).ok_or_else(|| format!("id {id} holds `{text}`"))
        }
        Ok(_) => Ok(0),
        Err(error) => Err(format!("id {id}: {error}")),
    }
}

fn write(engine: &str, directory: &Path, journal: &Path, round: u64) -> Result<(), String> {
    let (store, _) = open(engine, directory).map_err(|error| error.to_string())?;
    let journal = OpenOptions::new().append(true).create(true).open(journal).map_err(|error| error.to_string())?;
    let (store, journal) = (&*store, &journal);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                for step in 1u64.. {
                    let id = thread * IDS_EACH + step % IDS_EACH;
                    let number = (round << 32) + step;
                    let text = format!("{{\"number\":{number},\"text\":\"{}\"}}", "t".repeat((step % 600) as usize));
                    let create = Request { operation: Operation::Create, database: 0, id, document: text.as_bytes() };
                    let done = match store.apply(create, &mut Vec::new()) {
                        Ok(Reply::Conflict) => {
                            store.apply(Request { operation: Operation::Update, ..create }, &mut Vec::new())
                        }
                        done => done,
                    };
                    // The power is gone, or the process is about to be.
                    if done.is_err() || (&mut &*journal).write_all(format!("{id} {number}\n").as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(())
}

fn check(engine: &str, directory: &Path, journal: &Path) -> Result<(), String> {
    let text = fs::read_to_string(journal).unwrap_or_default();
    let mut newest = BTreeMap::new();
    for (id, number) in text.lines().filter_map(|line| line.split_once(' ')) {
        if let (Ok(id), Ok(number)) = (id.parse::<u64>(), number.parse::<u64>()) {
            newest.insert(id, number);
        }
    }
    let (store, recovery) = open(engine, directory).map_err(|error| format!("it does not open: {error}"))?;
    for (&id, &number) in &newest {
        let found = read(&*store, id)?;
        if found < number {
            return Err(format!("id {id} holds write {found}, write {number} was acknowledged"));
        }
    }
    let (acknowledged, dropped) = (text.lines().count(), recovery.dropped_bytes);
    println!("{engine}: {acknowledged} acknowledged writes, none lost; {dropped} bytes at the end were no records");
    Ok(())
}

fn cut(mount: &Path) -> Result<(), String> {
    let failed = |error: io::Error| format!("could not cut the power of `{}`: {error}", mount.display());
    let directory = File::open(mount).map_err(failed)?;
    let flags = NOLOGFLUSH;
    // SAFETY: the call reads one number, which outlives it.
    if unsafe { libc::ioctl(directory.as_raw_fd(), EXT4_IOC_SHUTDOWN as _, &raw const flags) } != 0 {
        return Err(failed(io::Error::last_os_error()));
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["write", engine, directory, journal, round] => match round.parse() {
            Ok(round) => write(engine, Path::new(directory), Path::new(journal), round),
            Err(_) => Err(format!("`{round}` is no number of a round")),
        },
        ["check", engine, directory, journal] => check(engine, Path::new(directory), Path::new(journal)),
        ["cut", mount] => cut(Path::new(mount)),
        _ => Err("write ENGINE DIRECTORY JOURNAL ROUND | check ENGINE DIRECTORY JOURNAL | cut MOUNT".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("power: {why}");
            ExitCode::FAILURE
        }
    }
}
