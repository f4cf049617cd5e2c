//! An acknowledgement is given where the setting says and nowhere else: a disk holds one kind of call up, and meanwhile
//! the packet is acknowledged or is not.

use std::{
    io,
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::harness::{insert_articles, vote};
use crate::simulated_vfs::SimulatedVfs;
use dataflow_engine::{
    engine::{Engine, Packets},
    persist::Storage,
    settings::{CheckpointMode, Mode, Settings, State},
};
use engine_disk::{Disk, DiskFile, DiskLock, SimulatedDisk};
use uplift_instrument::timeline::EventLog;

const ARTICLES: u32 = 50;
const PACKET_VOTES: u64 = 20;
/// What an acknowledgement that comes too early has to show itself.
const PAUSE: Duration = Duration::from_millis(30);
/// When an acknowledgement is taken for held up: it comes at once or never.
const PATIENCE: Duration = Duration::from_secs(60);

/// The call that is held up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Write,
    Sync,
}

/// Holds up one call of the files whose names end in a suffix.
#[derive(Debug)]
struct Gate {
    suffix: &'static str,
    call: Call,
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    closed: bool,
    entered: bool,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap()
    }

    fn close(&self) {
        self.state().closed = true;
    }

    fn open(&self) {
        self.state().closed = false;
        self.changed.notify_all();
    }

    fn is_entered(&self) -> bool {
        self.state().entered
    }

    fn wait_until_entered(&self) {
        let mut state = self.state();
        while !state.entered {
            state = self.changed.wait(state).unwrap();
        }
    }

    fn pass(&self, call: Call) {
        let mut state = self.state();
        while call == self.call && state.closed {
            state.entered = true;
            self.changed.notify_all();
            state = self.changed.wait(state).unwrap();
        }
    }
}

#[derive(Debug)]
struct GatedDisk {
    disk: SimulatedDisk,
    gate: Arc<Gate>,
}

impl Disk for GatedDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(path, create)?;
        if path.to_string_lossy().ends_with(self.gate.suffix) {
            return Ok(Arc::new(GatedFile { file, gate: Arc::clone(&self.gate) }));
        }
        Ok(file)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.disk.list(directory)
    }

    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        self.disk.create_directory(directory)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.disk.sync_directory(directory)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.disk.lock(path)
    }
}

#[derive(Debug)]
struct GatedFile {
    file: Arc<dyn DiskFile>,
    gate: Arc<Gate>,
}

impl DiskFile for GatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.gate.pass(Call::Write);
        self.file.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.gate.pass(Call::Sync);
        self.file.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.file.set_length(length)
    }
}

/// Packets sent and acknowledged while a call is held up: one is sent, or more until one makes the call.
fn while_held_up(settings: &Settings, suffix: &'static str, call: Call, one: bool) -> (u64, u64) {
    let directory = Path::new("/data");
    let gate = Arc::new(Gate { suffix, call, state: Mutex::default(), changed: Condvar::new() });
    let disk: Arc<dyn Disk> = Arc::new(GatedDisk { disk: SimulatedDisk::new(), gate: Arc::clone(&gate) });
    disk.create_directory(directory).unwrap();
    let vfs = SimulatedVfs::over(Arc::clone(&disk));
    let storage = Storage { disk, sqlite_vfs: Some(vfs.name().to_owned()) };
    let (engine, _) = Engine::open(directory, settings, &storage, &EventLog::default()).unwrap();
    insert_articles(&engine, ARTICLES);
    engine.settle().unwrap();
    gate.close();
    let (sent, answered) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut packets = Packets::new(&engine);
            loop {
                let number = sent.fetch_add(1, Ordering::SeqCst);
                for sequence in number * PACKET_VOTES..(number + 1) * PACKET_VOTES {
                    packets.add(&engine, vote(0, sequence, ARTICLES));
                }
                packets.send(&engine).unwrap();
                answered.fetch_add(1, Ordering::SeqCst);
                if one || gate.is_entered() {
                    return;
                }
            }
        });
        gate.wait_until_entered();
        thread::sleep(PAUSE);
        let begun = Instant::now();
        while one && answered.load(Ordering::SeqCst) == 0 && begun.elapsed() < PATIENCE {
            thread::yield_now();
        }
        let seen = (sent.load(Ordering::SeqCst), answered.load(Ordering::SeqCst));
        gate.open();
        seen
    })
}

/// One packet is acknowledged while the call is held up.
fn comes_before(settings: &Settings, suffix: &'static str, call: Call) {
    let seen = while_held_up(settings, suffix, call, true);
    assert_eq!(seen, (1, 1), "{settings:?}: an acknowledgement does not wait for {call:?} of `{suffix}`");
}

/// The packet that makes the call is not acknowledged while it is held up, those before it are.
fn comes_after(settings: &Settings, suffix: &'static str, call: Call) {
    let (sent, answered) = while_held_up(settings, suffix, call, false);
    assert_eq!(answered, sent - 1, "{settings:?}: an acknowledgement waits for {call:?} of `{suffix}`");
}

/// A checkpoint is due with every packet.
fn way(durability: Mode) -> Settings {
    Settings {
        durability,
        max_batch: PACKET_VOTES as u32,
        page_size: 512,
        checkpoint_rows: PACKET_VOTES as u32,
        ..Settings::default()
    }
}

#[test]
fn the_logs_come_after_the_logs_sync() {
    comes_after(&way(Mode::Log), ".log", Call::Sync);
    comes_after(&way(Mode::LogSqliteNosync), ".log", Call::Sync);
    comes_before(&way(Mode::LogSqliteNosync), ".db", Call::Write);
}

#[test]
fn sqlites_comes_after_the_commit_and_its_automatic_checkpoint() {
    comes_after(&way(Mode::SqliteWal), ".db-wal", Call::Sync);
    comes_after(&way(Mode::SqliteWal), ".db", Call::Sync);
}

#[test]
fn a_manual_checkpoint_comes_after_it() {
    comes_after(&way(Mode::SqliteCheckpointAfterAck), ".db-wal", Call::Sync);
    comes_before(&way(Mode::SqliteCheckpointAfterAck), ".db", Call::Sync);
    for checkpoint_mode in
        [CheckpointMode::Passive, CheckpointMode::Full, CheckpointMode::Restart, CheckpointMode::Truncate]
    {
        let settings = Settings { checkpoint_mode, ..way(Mode::SqliteCheckpointThread) };
        comes_after(&settings, ".db-wal", Call::Sync);
        comes_before(&settings, ".db", Call::Sync);
    }
}

#[test]
fn none_waits_for_nothing() {
    comes_before(&Settings { state: Some(State::Sqlite), ..way(Mode::None) }, ".db", Call::Write);
}
