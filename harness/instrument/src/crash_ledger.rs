//! The ledger of acknowledgements: what each client was told, in a mapped file that outlives the process.
//!
//! A client notes an operation before it begins and again when it is answered. The note lies in the page cache as soon as
//! the store instruction is done, so the end of the process, whatever kind of end, takes none of it. Each client has a file
//! of its own, whose order is the order of its operations; of each at most the last operation is in flight.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use uplift_model::crash::LEDGER_BEGUN_AT;

use crate::clock;

/// A file grows and is mapped by so many bytes at a time.
const CHUNK_BYTES: usize = 256 << 10;
const RECORD_BYTES: usize = size_of::<Record>();
const RECORDS_EACH: usize = CHUNK_BYTES / RECORD_BYTES;

/// One operation as it lies in the file. Zeros end the file.
#[repr(C)]
struct Record {
    key: AtomicU64,
    value: AtomicU64,
    ended_ns: AtomicU64,
    kind: AtomicU32,
    state: AtomicU32,
}

const _: () = assert!(std::mem::offset_of!(Record, state) as u64 == LEDGER_BEGUN_AT);

const BEGUN: u32 = 1;
const ACKNOWLEDGED: u32 = 2;
const REFUSED: u32 = 3;
const UNKNOWN: u32 = 4;

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was acknowledged: its effect must survive what the target's durability says.
    Acknowledged,
    /// It was answered and changed nothing.
    Refused,
    /// It failed, and whether it had an effect is open.
    Unknown,
}

/// What one client writes. It holds one operation at a time.
#[derive(Debug)]
pub struct LedgerWriter {
    file: File,
    path: PathBuf,
    /// The chunk that is mapped, and its number.
    chunk: NonNull<Record>,
    number: usize,
    /// The next record of the chunk.
    next: usize,
}

// SAFETY: the mapping belongs to this value alone, and a mapping is no thread's own.
unsafe impl Send for LedgerWriter {}

impl LedgerWriter {
    /// The ledger of client `client` in `folder`, which is made where it is missing.
    ///
    /// # Errors
    /// Where the file cannot be created or has no room.
    pub fn create(folder: &Path, client: usize) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let path = file_of(folder, client);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        let chunk = map(&file, 0)?;
        Ok(Self { file, path, chunk, number: 0, next: 0 })
    }

    /// Notes that an operation begins: `kind`, `key` and `value` mean what the target wants.
    ///
    /// # Panics
    /// Where the file system has no room for the next records: what is not noted cannot be audited.
    #[inline]
    pub fn begin(&mut self, kind: u32, key: u64, value: u64) {
        if self.next == RECORDS_EACH {
            self.grow();
        }
        let record = self.record();
        record.key.store(key, Ordering::Relaxed);
        record.value.store(value, Ordering::Relaxed);
        record.kind.store(kind, Ordering::Relaxed);
        // Last: a record without a state was never begun.
        record.state.store(BEGUN, Ordering::Release);
    }

    /// Notes how the operation that was begun last has ended.
    #[inline]
    pub fn end(&mut self, end: End) {
        debug_assert!(self.next < RECORDS_EACH, "no operation was begun");
        let record = self.record();
        record.ended_ns.store(clock::now_ns(), Ordering::Relaxed);
        let state = match end {
            End::Acknowledged => ACKNOWLEDGED,
            End::Refused => REFUSED,
            End::Unknown => UNKNOWN,
        };
        record.state.store(state, Ordering::Release);
        self.next += 1;
    }

    #[inline]
    fn record(&self) -> &Record {
        // SAFETY: `next` is below RECORDS_EACH here, and the chunk is mapped as long as this value lives.
        unsafe { self.chunk.add(self.next).as_ref() }
    }

    #[cold]
    fn grow(&mut self) {
        self.number += 1;
        let grown = map(&self.file, self.number).unwrap_or_else(|error| {
            panic!("the ledger `{}` has no room for another record: {error}", self.path.display())
        });
        unmap(self.chunk);
        self.chunk = grown;
        self.next = 0;
    }
}

impl Drop for LedgerWriter {
    fn drop(&mut self) {
        unmap(self.chunk);
    }
}

fn file_of(folder: &Path, client: usize) -> PathBuf {
    folder.join(format!("client-{client:05}.ledger"))
}

/// Maps chunk `number` of a file, whose room is taken beforehand: a store to a mapping on a full disk would end the process.
fn map(file: &File, number: usize) -> io::Result<NonNull<Record>> {
    let offset = (number * CHUNK_BYTES) as libc::off_t;
    // SAFETY: the descriptor is the file's own.
    let error = unsafe { libc::posix_fallocate(file.as_raw_fd(), offset, CHUNK_BYTES as libc::off_t) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    // SAFETY: a fresh shared mapping of a range of the file that exists.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            CHUNK_BYTES,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            offset,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // A page fault in the middle of an operation would be the operation's. Kernels before 5.14 do not know the advice.
    // SAFETY: the range was mapped above.
    unsafe { libc::madvise(address, CHUNK_BYTES, libc::MADV_POPULATE_WRITE) };
    NonNull::new(address.cast()).ok_or_else(|| io::Error::other("the system mapped the file at address 0"))
}

fn unmap(chunk: NonNull<Record>) {
    // SAFETY: the chunk was mapped with this length and is used by nobody any more.
    unsafe { libc::munmap(chunk.as_ptr().cast(), CHUNK_BYTES) };
}

/// What became of an operation, as far as its client knew at the cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Acknowledged, at this moment of the monotonic clock.
    Acknowledged(u64),
    /// Begun and not answered before the cut, or failed: it may be there or not.
    Open,
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As the client gave it.
    pub kind: u32,
    /// As the client gave it.
    pub key: u64,
    /// As the client gave it.
    pub value: u64,
    /// What became of it.
    pub state: State,
}

impl Entry {
    /// When it was acknowledged, where it was.
    pub const fn acknowledged_ns(&self) -> Option<u64> {
        match self.state {
            State::Acknowledged(ns) => Some(ns),
            State::Open => None,
        }
    }
}

/// What all clients were told before a cut.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// The operations of each client in their order; those that were refused are left out.
    pub clients: Vec<Vec<Entry>>,
    /// When the cut came, on the monotonic clock of the machine.
    pub cut_ns: u64,
}

impl Ledger {
    /// Reads the ledgers in `folder` as they were at `cut_ns`: what was acknowledged after it was not acknowledged.
    ///
    /// # Errors
    /// Where the folder or a file cannot be read; no folder is an empty ledger.
    pub fn read(folder: &Path, cut_ns: u64) -> io::Result<Self> {
        let mut clients = Vec::new();
        if folder.is_dir() {
            // Client numbers are those of the load: a gap is a client that never began.
            while file_of(folder, clients.len()).is_file() {
                clients.push(entries(&fs::read(file_of(folder, clients.len()))?, cut_ns));
            }
        }
        Ok(Self { clients, cut_ns })
    }

    /// How many operations were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.clients.iter().flatten().filter(|entry| entry.acknowledged_ns().is_some()).count() as u64
    }

    /// How many operations may be there or not.
    pub fn open(&self) -> u64 {
        self.clients.iter().flatten().filter(|entry| entry.state == State::Open).count() as u64
    }
}

fn entries(bytes: &[u8], cut_ns: u64) -> Vec<Entry> {
    let word = |record: &[u8], at: usize| u64::from_ne_bytes(record[at..at + 8].try_into().unwrap_or_default());
    let half = |record: &[u8], at: usize| u32::from_ne_bytes(record[at..at + 4].try_into().unwrap_or_default());
    bytes
        .chunks_exact(RECORD_BYTES)
        .map(|record| (record, half(record, 28)))
        .take_while(|(_, state)| *state != 0)
        .filter(|(_, state)| *state != REFUSED)
        .map(|(record, state)| Entry {
            key: word(record, 0),
            value: word(record, 8),
            kind: half(record, 24),
            state: match state {
                ACKNOWLEDGED if word(record, 16) <= cut_ns => State::Acknowledged(word(record, 16)),
                _ => State::Open,
            },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("uplift-ledger-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    #[test]
    fn what_was_noted_is_read_in_order_over_many_chunks() {
        let folder = folder("order");
        let count = RECORDS_EACH as u64 * 2 + 5;
        let mut writer = LedgerWriter::create(&folder, 0).unwrap();
        for number in 0..count {
            writer.begin(number as u32 % 3, number, number * 2);
            writer.end(if number % 7 == 0 { End::Refused } else { End::Acknowledged });
        }
        writer.begin(9, 1, 2);
        // Read while it is still mapped: nothing was flushed or closed.
        let ledger = Ledger::read(&folder, u64::MAX).unwrap();
        let wanted: Vec<u64> = (0..count).filter(|number| number % 7 != 0).collect();
        let client = &ledger.clients[0];
        assert_eq!(client.len(), wanted.len() + 1);
        for (entry, number) in client.iter().zip(&wanted) {
            assert_eq!((entry.kind, entry.key, entry.value), (*number as u32 % 3, *number, number * 2));
            assert!(entry.acknowledged_ns().is_some());
        }
        assert_eq!(client.last().unwrap().state, State::Open, "the last one is in flight");
        assert_eq!((ledger.acknowledged(), ledger.open()), (wanted.len() as u64, 1));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_was_acknowledged_after_the_cut_or_failed_is_open() {
        let folder = folder("cut");
        let mut writer = LedgerWriter::create(&folder, 0).unwrap();
        writer.begin(0, 1, 1);
        writer.end(End::Acknowledged);
        writer.begin(0, 2, 1);
        writer.end(End::Unknown);
        let cut_ns = clock::now_ns();
        writer.begin(0, 3, 1);
        writer.end(End::Acknowledged);
        let ledger = Ledger::read(&folder, cut_ns).unwrap();
        let acknowledged: Vec<bool> = ledger.clients[0].iter().map(|entry| entry.acknowledged_ns().is_some()).collect();
        assert_eq!(acknowledged, [true, false, false]);
        fs::remove_dir_all(folder).unwrap();
    }

    /// The end of a process by SIGKILL in the middle of its work takes nothing that it had noted.
    #[test]
    fn a_killed_process_leaves_its_ledger() {
        let folder = folder("killed");
        let (mut reader, writer) = io::pipe().unwrap();
        // SAFETY: the child calls nothing that may hold a lock of another thread's but the allocator, which `fork` of the C
        // library leaves usable, and ends by a signal.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let mut ledger = LedgerWriter::create(&folder, 0).unwrap();
            for number in 0u64.. {
                ledger.begin(1, number, 0);
                ledger.end(End::Acknowledged);
                if number == 100_000 {
                    io::Write::write_all(&mut &writer, b"x").unwrap();
                }
            }
        }
        io::Read::read_exact(&mut reader, &mut [0]).unwrap();
        // SAFETY: the child is this test's own and not reaped yet.
        unsafe {
            libc::kill(child, libc::SIGKILL);
            libc::waitpid(child, std::ptr::null_mut(), 0);
        }
        let ledger = Ledger::read(&folder, u64::MAX).unwrap();
        assert!(ledger.acknowledged() > 100_000, "{}", ledger.acknowledged());
        let keys = ledger.clients[0].iter().map(|entry| entry.key);
        assert!(keys.eq(0..ledger.clients[0].len() as u64), "without a gap");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn no_folder_is_an_empty_ledger() {
        assert!(Ledger::read(Path::new("/nowhere/at/all"), 1).unwrap().clients.is_empty());
    }
}
