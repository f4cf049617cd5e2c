//! `log+sqlite-nosync`: the log makes rows durable; SQLite, without sync or journal, is an index of them.
//!
//! After a crash the index may be anything, broken included: it is trusted only where the shard was closed in order,
//! and is filled anew from the log otherwise. A mark beside it holds the log's last sequence number. It is written when
//! the index and its name are synced, and its removal is synced before the index is written again: no loss of power
//! leaves a mark beside an index that it does not speak of.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use engine_disk::Disk;
use uplift_model::Durability;

use super::{
    Persist, PersistError, Place, Recovered, Stored,
    database::{Database, Pragmas},
    log_only::{append_synced, open_log, votes_of},
    place,
};
use crate::{
    log::{Log, record::HEADER_BYTES},
    row::{Table, Vote},
    shard::{activity::Activity, inbox::Group},
};

/// Neither journal nor sync: nothing of it survives on its own account.
pub(super) const NOSYNC: Pragmas =
    Pragmas { journal_mode: "OFF", synchronous: "OFF", locking_mode: "EXCLUSIVE", wal_autocheckpoint: 0 };

/// Rows that are filled into the index in one transaction.
const FILL_ROWS: u32 = 100_000;

/// The log first, then SQLite.
#[derive(Debug)]
pub struct LogSqliteNosync {
    log: Log,
    index: Database,
    mark: PathBuf,
    directory: PathBuf,
    disk: Arc<dyn Disk>,
}

impl LogSqliteNosync {
    pub(super) fn open(
        place: &Place<'_>,
        each: &mut dyn FnMut(Table, &[u8]),
    ) -> Result<(Box<dyn Persist>, Recovered), PersistError> {
        let disk = &place.storage.disk;
        let mark = place.file("index-is-whole");
        let sequence_at_close = read_mark(&**disk, &mark);
        remove_if_there(&**disk, &mark)?;
        // Where there was none too: whoever removed it may have been killed before the removal was synced.
        disk.sync_directory(place.directory)
            .map_err(PersistError::io(format!("syncing `{}`", place.directory.display())))?;
        if sequence_at_close.is_none() {
            for extension in ["db", "db-journal", "db-wal", "db-shm"] {
                remove_if_there(&**disk, &place.file(extension))?;
            }
        }
        let mut index = Database::open(place, NOSYNC)?;
        let mut filler = Filler { group: empty_group(), error: None };
        let fill = sequence_at_close.is_none();
        let mut activity = Activity::detached();
        let (log, mut recovered) = open_log(place, &mut |table, rows| {
            each(table, rows);
            if fill {
                filler.add(table, rows, &mut index, &mut activity);
            }
        })?;
        filler.flush(&mut index, &mut activity);
        if let Some(error) = filler.error {
            return Err(error);
        }
        if let Some(sequence) = sequence_at_close
            && sequence != log.last_sequence()
        {
            // The log went on without the index, or was cut: begin again without the mark.
            drop((log, index));
            return Self::open(place, &mut |_, _| {});
        }
        recovered.rebuilt_index = fill && recovered.rows > 0;
        let (directory, disk) = (place.directory.to_owned(), Arc::clone(disk));
        Ok((Box::new(Self { log, index, mark, directory, disk }), recovered))
    }

    fn write_mark(&self) -> io::Result<()> {
        let mark = self.disk.open(&self.mark, true)?;
        mark.write_all_at(self.log.last_sequence().to_string().as_bytes(), 0)?;
        mark.sync_data()?;
        self.disk.sync_directory(&self.directory)
    }
}

/// The sequence number of a mark; a torn one has none that the log ends with.
fn read_mark(disk: &dyn Disk, mark: &Path) -> Option<u64> {
    let text = disk.open(mark, false).and_then(|file| file.read_all()).ok()?;
    std::str::from_utf8(&text).ok()?.parse().ok()
}

fn remove_if_there(disk: &dyn Disk, path: &Path) -> Result<(), PersistError> {
    match disk.remove(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(PersistError::Io { doing: format!("removing `{}`", path.display()), error }),
    }
}

fn empty_group() -> Group {
    Group { number: 0, table: Table::Vote, bytes: vec![0; HEADER_BYTES], rows: 0, packets: 1, first_ns: 0 }
}

/// Fills the index from the log in large transactions.
struct Filler {
    group: Group,
    error: Option<PersistError>,
}

impl Filler {
    fn add(&mut self, table: Table, rows: &[u8], index: &mut Database, activity: &mut Activity) {
        if self.group.table != table || self.group.rows >= FILL_ROWS {
            self.flush(index, activity);
            self.group.table = table;
        }
        self.group.bytes.extend_from_slice(rows);
        self.group.rows += match table {
            Table::Vote => crate::row::votes(rows).count(),
            Table::Article => crate::row::articles(rows).count(),
        } as u32;
    }

    fn flush(&mut self, index: &mut Database, activity: &mut Activity) {
        if self.group.rows > 0 && self.error.is_none() {
            self.error = index.insert(&self.group, activity).err();
        }
        self.group.bytes.truncate(HEADER_BYTES);
        self.group.rows = 0;
    }
}

impl Persist for LogSqliteNosync {
    fn persist(&mut self, group: &mut Group, activity: &mut Activity) -> Result<(), PersistError> {
        Ok(append_synced(&mut self.log, group, activity)?)
    }

    fn acknowledged(&mut self, group: &Group, activity: &mut Activity) -> Result<(), PersistError> {
        self.log.release();
        self.index.insert(group, activity).map(drop)
    }

    fn close(&mut self, _: &mut Activity) -> Result<(), PersistError> {
        self.index.sync_file(&*self.disk)?;
        let failed = || PersistError::io(format!("writing `{}`", self.mark.display()));
        // The index's name before the mark's.
        self.disk.sync_directory(&self.directory).map_err(failed())?;
        self.write_mark().map_err(failed())?;
        Ok(self.log.close(&*self.disk)?)
    }

    fn places(&self) -> &'static [&'static str] {
        &[place::LOG, place::SQLITE]
    }

    fn read_back(&mut self, each: &mut dyn FnMut(&'static str, Vote)) -> Result<(), PersistError> {
        votes_of(&self.log, &mut |vote| each(place::LOG, vote))?;
        self.index.votes(&mut |vote| each(place::SQLITE, vote)).map(drop)
    }

    fn stored(&self) -> Stored {
        Stored { log_bytes: Some(self.log.bytes()), ..self.index.stored() }
    }

    fn in_force(&self) -> BTreeMap<String, String> {
        self.index.in_force().clone()
    }

    fn survives(&self) -> Durability {
        Durability::PowerLoss
    }
}
