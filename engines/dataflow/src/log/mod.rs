//! The log of one shard: records appended, each synced before its packet is acknowledged.
//!
//! What follows the last sound record was never acknowledged, if it is the torn end of the one write that was under
//! way: it is cut off, and the caller is told what was cut. A flaw with a sound later record behind it is damage to
//! acknowledged rows, and the log does not open. A flaw in the very last record may be either; the caller is told. A log
//! that was closed in order has a note of its end beside it, and does not open where it ends elsewhere.
//!
//! Recovery makes durable what it takes over before anything is acknowledged behind it.

mod json;
pub mod record;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use engine_disk::{Disk, DiskFile, read_note, remove_note, write_note};

use self::record::{Flaw, HEADER_BYTES, Record};
use crate::{row::Table, settings::LogFormat};

/// Bytes of the file's own header: mark, shard u32, shards u32, crc32 u32.
pub const FILE_HEADER_BYTES: usize = 20;
const FILE_MARK: &[u8; 8] = b"UPLIFTL1";
/// How much is read from the file at once.
const READ_BYTES: usize = 1 << 20;
/// How much of the end stays in the page cache, and how much of the rest is released at once.
const KEPT_BYTES: u64 = 1 << 20;

/// A log that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("log `{path}`: {kind}")]
pub struct LogError {
    /// The file.
    pub path: String,
    /// What is wrong.
    pub kind: LogErrorKind,
}

/// What is wrong with a log.
#[derive(Debug, thiserror::Error)]
pub enum LogErrorKind {
    /// The system said no.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file is no log, or that of another shard.
    #[error("{0}")]
    Foreign(String),
    /// It does not end where it was closed.
    #[error(
        "it was closed with {closed} and now has {found}: a part of it is missing or damaged; restore it from a copy"
    )]
    Short {
        /// Where it ended then.
        closed: String,
        /// Where it ends.
        found: String,
    },
    /// Acknowledged rows are damaged.
    #[error("the record at byte {offset} is damaged: {flaw}, and sound records follow it")]
    Damaged {
        /// Where.
        offset: u64,
        /// How.
        flaw: Flaw,
    },
}

/// The end of a log that was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Where it began.
    pub offset: u64,
    /// How long it was.
    pub bytes: u64,
    /// Why it was no record.
    pub flaw: Flaw,
}

impl fmt::Display for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes from byte {} on were cut off: {}", self.bytes, self.offset, self.flaw)
    }
}

/// What was found in a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Sound records.
    pub records: u64,
    /// Rows in them.
    pub rows: u64,
    /// What came after them.
    pub tail: Option<Tail>,
    /// Whether the log was closed in order, so that its end was known.
    pub closed: bool,
}

/// An open log.
#[derive(Debug)]
pub struct Log {
    file: Arc<dyn DiskFile>,
    path: String,
    end: u64,
    /// Where the last record begins.
    last: u64,
    /// The page cache need not hold what lies before.
    released: u64,
    next_sequence: u64,
    /// How the rows of new records are written.
    format: LogFormat,
    /// A record of another format than that of packets, kept for its memory.
    rewritten: Vec<u8>,
}

impl Log {
    /// Opens the log `path` of shard `shard` of `shards`, or makes it, and gives every record in it to `each`.
    ///
    /// # Errors
    /// A file that cannot be read, is another shard's, does not end where it was closed, or is damaged within what was
    /// acknowledged.
    pub fn open(
        disk: &dyn Disk,
        path: &Path,
        (shard, shards): (u32, u32),
        each: &mut dyn FnMut(&Record<'_>),
    ) -> Result<(Self, Found), LogError> {
        let failed = |kind: LogErrorKind| LogError { path: path.display().to_string(), kind };
        let io_failed = |error: io::Error| failed(error.into());
        let file = disk.open(path, true).map_err(io_failed)?;
        let header = file_header(shard, shards);
        let mut log = Self::at_start(file, path.display().to_string());
        let length = log.file.length().map_err(io_failed)?;
        let mut present = [0; FILE_HEADER_BYTES];
        let read = log.file.read_at(&mut present, 0).map_err(io_failed)?;
        let begun = read < FILE_HEADER_BYTES || (present != header && length == FILE_HEADER_BYTES as u64);
        let note = note(path);
        let closed = read_note(disk, &note).map_err(io_failed)?;
        if !begun && present != header {
            let message = format!("it is not the log of shard {shard} of {shards}, or its header is damaged");
            return Err(failed(LogErrorKind::Foreign(message)));
        }
        let mut found = Found { closed: closed.is_some(), ..Found::default() };
        let flaw = if begun { None } else { log.scan(length, &mut found, each).map_err(failed)? };
        if let Some(closed) = closed.filter(|closed| begun || *closed != log.describe_end()) {
            let found = if begun { "no records".to_owned() } else { log.describe_end() };
            return Err(failed(LogErrorKind::Short { closed, found }));
        }
        if let Some(flaw) = flaw {
            let mut tail =
                vec![0; usize::try_from(length - log.end).map_err(|error| io_failed(io::Error::other(error)))?];
            log.file.read_exact_at(&mut tail, log.end).map_err(io_failed)?;
            if record::holds_later_record(&tail[1..], log.next_sequence) {
                return Err(failed(LogErrorKind::Damaged { offset: log.end, flaw }));
            }
            found.tail = Some(Tail { offset: log.end, bytes: tail.len() as u64, flaw });
        }
        log.take_over(&header, begun || flaw.is_some()).map_err(io_failed)?;
        // The name too: whoever made the file may have been killed before that.
        remove_note(disk, &note).map_err(io_failed)?;
        log.released = log.end;
        Ok((log, found))
    }

    /// Cuts off what is no record, and makes the rest durable: whoever wrote the last record may have been killed before its
    /// sync, or its sync may have failed, and then no other sync writes it unless it is written again. What is before it
    /// was synced before it was written.
    fn take_over(&self, header: &[u8], cut: bool) -> io::Result<()> {
        if cut {
            self.file.set_length(if self.end > FILE_HEADER_BYTES as u64 { self.end } else { 0 })?;
        }
        let mut last = header.to_vec();
        if self.last > 0 {
            last.resize(usize::try_from(self.end - self.last).map_err(io::Error::other)?, 0);
            self.file.read_exact_at(&mut last, self.last)?;
        }
        self.file.write_all_at(&last, self.last)?;
        self.file.sync_data()
    }

    /// Notes that the log was closed and where it ends. Nothing may have failed, and nothing may be written afterwards.
    ///
    /// # Errors
    /// What the system says. Nothing is lost by it but the check.
    pub fn close(&self, disk: &dyn Disk) -> Result<(), LogError> {
        write_note(disk, &note(Path::new(&self.path)), &self.describe_end()).map_err(|error| self.failed(error))
    }

    fn describe_end(&self) -> String {
        format!("{} records in {} bytes", self.last_sequence(), self.end)
    }

    fn at_start(file: Arc<dyn DiskFile>, path: String) -> Self {
        Self {
            file,
            path,
            end: FILE_HEADER_BYTES as u64,
            last: 0,
            released: 0,
            next_sequence: 1,
            format: LogFormat::Binary,
            rewritten: Vec::new(),
        }
    }

    /// Reads records from the beginning to `length` or the first flaw, which is returned.
    fn scan(
        &mut self,
        length: u64,
        found: &mut Found,
        each: &mut dyn FnMut(&Record<'_>),
    ) -> Result<Option<Flaw>, LogErrorKind> {
        let mut window = Window { file: &*self.file, buffer: Vec::new(), start: self.end, length };
        while self.end < length {
            let whole = match record::length(window.bytes(self.end, HEADER_BYTES)?) {
                Ok(whole) => whole,
                Err(flaw) => return Ok(Some(flaw)),
            };
            match record::parse(window.bytes(self.end, whole)?) {
                Ok(record) if record.sequence == self.next_sequence => {
                    each(&record);
                    found.records += 1;
                    found.rows += u64::from(record.rows);
                    self.last = self.end;
                    self.end += record.length() as u64;
                    self.next_sequence += 1;
                }
                Ok(_) => return Ok(Some(Flaw::Sequence)),
                Err(flaw) => return Ok(Some(flaw)),
            }
        }
        Ok(None)
    }

    /// Writes the rows of all records from now on in `format`. A log may hold records of several formats.
    pub const fn write_in(&mut self, format: LogFormat) {
        self.format = format;
    }

    /// Writes a record whose payload is `bytes[HEADER_BYTES..]`; its header is filled in. It is durable after
    /// [`Log::sync`].
    ///
    /// # Errors
    /// What the system says. The log must then not be written to again: what it holds is unknown.
    pub fn append(&mut self, bytes: &mut [u8], table: Table, rows: u32) -> Result<(), LogError> {
        let mut rewritten = std::mem::take(&mut self.rewritten);
        let record = match self.format {
            LogFormat::Binary => bytes,
            LogFormat::Json => {
                rewritten.clear();
                rewritten.resize(HEADER_BYTES, 0);
                json::encode(table, &bytes[HEADER_BYTES..], &mut rewritten);
                &mut rewritten
            }
        };
        record::seal(record, table, self.format, rows, self.next_sequence);
        let written = self.file.write_all_at(record, self.end).map(|()| record.len() as u64);
        self.rewritten = rewritten;
        self.end += written.map_err(|error| self.failed(error))?;
        self.next_sequence += 1;
        Ok(())
    }

    /// Makes all records so far survive a loss of power.
    ///
    /// # Errors
    /// What the system says. The log must then not be written to or synced again.
    pub fn sync(&self) -> Result<(), LogError> {
        self.file.sync_data().map_err(|error| self.failed(error))
    }

    /// Lets the page cache forget what is synced, but for the end: it is read again only when the log is opened, and
    /// pages that are used again cost less than new ones.
    pub fn release(&mut self) {
        let end = self.end.saturating_sub(KEPT_BYTES);
        if end >= self.released + KEPT_BYTES {
            self.file.release(self.released, end - self.released);
            self.released = end;
        }
    }

    /// How the rows of new records are written.
    pub const fn format(&self) -> LogFormat {
        self.format
    }

    /// Its length, in bytes.
    pub const fn bytes(&self) -> u64 {
        self.end
    }

    /// The number of the last record; 0 where there is none.
    pub const fn last_sequence(&self) -> u64 {
        self.next_sequence - 1
    }

    /// Reads the file again and gives every record to `each`.
    ///
    /// # Errors
    /// What the system says, or a record that is no longer sound.
    pub fn read_again(&self, each: &mut dyn FnMut(&Record<'_>)) -> Result<Found, LogError> {
        let mut reader = Self::at_start(Arc::clone(&self.file), self.path.clone());
        let mut found = Found::default();
        let flaw =
            reader.scan(self.end, &mut found, each).map_err(|kind| LogError { path: self.path.clone(), kind })?;
        match flaw {
            None => Ok(found),
            Some(flaw) => {
                Err(LogError { path: self.path.clone(), kind: LogErrorKind::Damaged { offset: reader.end, flaw } })
            }
        }
    }

    fn failed(&self, error: io::Error) -> LogError {
        LogError { path: self.path.clone(), kind: error.into() }
    }
}

/// The path of the note of an orderly close of the log `path`.
fn note(path: &Path) -> PathBuf {
    path.with_added_extension("closed")
}

fn file_header(shard: u32, shards: u32) -> [u8; FILE_HEADER_BYTES] {
    let mut header = [0; FILE_HEADER_BYTES];
    header[..8].copy_from_slice(FILE_MARK);
    header[8..12].copy_from_slice(&shard.to_le_bytes());
    header[12..16].copy_from_slice(&shards.to_le_bytes());
    let checksum = crc32fast::hash(&header[..16]);
    header[16..].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// A part of a file in memory, moved on as it is read.
struct Window<'a> {
    file: &'a dyn DiskFile,
    buffer: Vec<u8>,
    /// Offset of the buffer in the file.
    start: u64,
    length: u64,
}

impl Window<'_> {
    /// The bytes `at..at + wanted` of the file, fewer where it ends before. `at` never goes back.
    fn bytes(&mut self, at: u64, wanted: usize) -> io::Result<&[u8]> {
        let wanted = wanted.min((self.length - at) as usize);
        let mut skip = (at - self.start) as usize;
        if skip + wanted > self.buffer.len() {
            self.buffer.drain(..skip.min(self.buffer.len()));
            self.start = at;
            skip = 0;
            let have = self.buffer.len();
            let want = wanted.max(READ_BYTES).min((self.length - at) as usize);
            self.buffer.resize(want, 0);
            self.file.read_exact_at(&mut self.buffer[have..], at + have as u64)?;
        }
        Ok(&self.buffer[skip..skip + wanted])
    }
}
