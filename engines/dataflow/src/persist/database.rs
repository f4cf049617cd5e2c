//! A SQLite database that holds the rows of one shard.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use engine_disk::Disk;
use rusqlite::{Connection, types::ValueRef};
use uplift_model::{Durability, database_durability};

use super::{PersistError, Place, Stored};
use crate::{
    row::{self, Article, Table, VOTE_BYTES, Vote},
    settings::{CheckpointMode, Layout},
    shard::{
        activity::{Activity, Stage},
        inbox::Group,
    },
};

/// How long the writer waits for a lock that a checkpoint holds.
const WRITER_PATIENCE: Duration = Duration::from_secs(60);
/// How many bytes of recovered rows are handed on at once.
const PACKET_BYTES: usize = 4096 * VOTE_BYTES;

/// How a database is opened.
#[derive(Clone, Copy, Debug)]
pub struct Pragmas {
    /// `journal_mode`
    pub journal_mode: &'static str,
    /// `synchronous`
    pub synchronous: &'static str,
    /// `locking_mode`
    pub locking_mode: &'static str,
    /// `wal_autocheckpoint`, in pages; 0: never.
    pub wal_autocheckpoint: u32,
}

/// A connection and what it writes.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
    path: PathBuf,
    layout: Layout,
    in_force: BTreeMap<String, String>,
    key: String,
}

/// What a checkpoint did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpointed {
    /// Whether somebody was in its way.
    pub busy: bool,
    /// Pages in the write-ahead log.
    pub wal_pages: i64,
    /// Those of them that are in the database now.
    pub copied_pages: i64,
}

impl Checkpointed {
    /// Whether every page was copied.
    pub const fn whole(&self) -> bool {
        !self.busy && self.wal_pages == self.copied_pages
    }
}

impl std::fmt::Display for Checkpointed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} pages", self.copied_pages, self.wal_pages)?;
        if self.busy { f.write_str(", busy") } else { Ok(()) }
    }
}

impl Database {
    /// Opens the database of a shard, or makes it.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn open(place: &Place<'_>, pragmas: Pragmas) -> Result<Self, PersistError> {
        let path = place.file("db");
        let connection = place.storage.connect(&path).map_err(PersistError::sqlite("opening the database"))?;
        connection.busy_timeout(WRITER_PATIENCE).map_err(PersistError::sqlite("setting the busy timeout"))?;
        // The page size is fixed with the first page, the locking mode must precede the write-ahead log.
        for (pragma, value) in [
            ("page_size", place.settings.page_size.to_string()),
            ("locking_mode", pragmas.locking_mode.to_owned()),
            ("journal_mode", pragmas.journal_mode.to_owned()),
            ("synchronous", pragmas.synchronous.to_owned()),
            ("wal_autocheckpoint", pragmas.wal_autocheckpoint.to_string()),
        ] {
            set(&connection, pragma, &value)?;
        }
        if pragmas.journal_mode == "WAL" {
            empty_log(&connection)?;
        }
        let layout = place.settings.layout;
        connection.execute_batch(schema(layout)).map_err(PersistError::sqlite("making the tables"))?;
        let mut in_force = BTreeMap::new();
        for pragma in ["page_size", "locking_mode", "journal_mode", "synchronous", "wal_autocheckpoint"] {
            in_force.insert(pragma.to_owned(), in_words(pragma, get(&connection, pragma)?));
        }
        // SQLite answers a change of it that failed with the one that stays in force, and that one promises something else.
        let journal_mode = &in_force["journal_mode"];
        if !journal_mode.eq_ignore_ascii_case(pragmas.journal_mode) {
            let why = format!("`{journal_mode}` stays in force; is the disk in order?");
            let doing = format!("setting journal_mode = {} of `{}`", pragmas.journal_mode, path.display());
            return Err(PersistError::Io { doing, error: std::io::Error::other(why) });
        }
        let name = match layout {
            Layout::Serialized => "serialized",
            Layout::Columns => "columns",
        };
        in_force.insert("layout".to_owned(), name.to_owned());
        Ok(Self { connection, path, layout, in_force, key: String::new() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Settings in force, read back.
    pub const fn in_force(&self) -> &BTreeMap<String, String> {
        &self.in_force
    }

    /// What a committed transaction survives under the settings in force.
    pub fn survives(&self) -> Durability {
        let value = |key: &str| self.in_force.get(key).map_or("", String::as_str);
        database_durability::sqlite(value("journal_mode"), value("synchronous"))
    }

    /// Inserts the rows of a merged packet in one transaction. Returns when the commit began, and when it ended.
    ///
    /// # Errors
    /// What SQLite says; the transaction is undone where there is a journal to do so with.
    pub fn insert(&mut self, group: &Group, activity: &mut Activity) -> Result<(u64, u64), PersistError> {
        activity.enter(Stage::Lock);
        self.execute("BEGIN IMMEDIATE", "beginning a transaction")?;
        activity.enter(Stage::Insert);
        if let Err(error) = self.insert_rows(group.table, group.payload()) {
            let _ = self.connection.execute_batch("ROLLBACK");
            return Err(PersistError::Sqlite { doing: "inserting rows", error });
        }
        let begin_ns = activity.enter(Stage::Commit);
        self.execute("COMMIT", "committing")?;
        Ok((begin_ns, uplift_instrument::clock::now_ns()))
    }

    fn execute(&self, sql: &str, doing: &'static str) -> Result<(), PersistError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(PersistError::sqlite(doing))?;
        statement.execute([]).map(drop).map_err(PersistError::sqlite(doing))
    }

    fn insert_rows(&mut self, table: Table, rows: &[u8]) -> rusqlite::Result<()> {
        match (table, self.layout) {
            (Table::Vote, Layout::Serialized) => {
                let mut insert = self.connection.prepare_cached("INSERT INTO vote (row, index_0) VALUES (?1, ?2)")?;
                for bytes in rows.as_chunks::<VOTE_BYTES>().0 {
                    self.key.clear();
                    let _ = write!(self.key, "{}", Vote::decode(bytes).article);
                    insert.execute((bytes.as_slice(), &self.key))?;
                }
            }
            (Table::Vote, Layout::Columns) => {
                let mut insert = self.connection.prepare_cached("INSERT INTO vote (article, user) VALUES (?1, ?2)")?;
                for vote in row::votes(rows) {
                    // SQLite's integers are signed: the bits are kept.
                    insert.execute((vote.article, vote.user as i64))?;
                }
            }
            (Table::Article, _) => {
                let mut insert =
                    self.connection.prepare_cached("INSERT OR IGNORE INTO article (id, title) VALUES (?1, ?2)")?;
                for article in row::articles(rows) {
                    insert.execute((article.id, article.title))?;
                }
            }
        }
        Ok(())
    }

    /// Gives every row to `each`, articles first, in packets; how many rows there are.
    ///
    /// # Errors
    /// What SQLite says, or a row that this layout does not write.
    pub fn rows(&self, each: &mut dyn FnMut(Table, &[u8])) -> Result<u64, PersistError> {
        let failed = || PersistError::sqlite("reading rows");
        let (mut packet, mut count) = (Vec::with_capacity(2 * PACKET_BYTES), 0);
        let mut select = self.connection.prepare("SELECT id, title FROM article").map_err(failed())?;
        let mut rows = select.query([]).map_err(failed())?;
        while let Some(row) = rows.next().map_err(failed())? {
            let title = row.get_ref(1).and_then(|title| Ok(title.as_str()?)).map_err(failed())?;
            Article { id: row.get(0).map_err(failed())?, title }.encode_into(&mut packet);
            count += 1;
            if packet.len() >= PACKET_BYTES {
                each(Table::Article, &packet);
                packet.clear();
            }
        }
        each(Table::Article, &packet);
        packet.clear();
        count += self.votes(&mut |vote| {
            packet.extend_from_slice(&vote.encode());
            if packet.len() >= PACKET_BYTES {
                each(Table::Vote, &packet);
                packet.clear();
            }
        })?;
        each(Table::Vote, &packet);
        Ok(count)
    }

    /// Gives every vote to `each`; how many there are.
    ///
    /// # Errors
    /// What SQLite says, or a row that this layout does not write.
    pub fn votes(&self, each: &mut dyn FnMut(Vote)) -> Result<u64, PersistError> {
        let failed = || PersistError::sqlite("reading votes");
        let sql = match self.layout {
            Layout::Serialized => "SELECT row FROM vote",
            Layout::Columns => "SELECT article, user FROM vote",
        };
        let mut select = self.connection.prepare(sql).map_err(failed())?;
        let mut rows = select.query([]).map_err(failed())?;
        let mut count = 0;
        while let Some(row) = rows.next().map_err(failed())? {
            let vote = match (self.layout, row.get_ref(0).map_err(failed())?) {
                (Layout::Serialized, ValueRef::Blob(bytes)) => bytes.try_into().ok().map(Vote::decode),
                (Layout::Columns, ValueRef::Integer(article)) => Some(Vote {
                    article: u32::try_from(article).unwrap_or(u32::MAX),
                    user: row.get::<_, i64>(1).map_err(failed())? as u64,
                }),
                _ => None,
            };
            let vote = vote.filter(|vote| vote.article < row::ARTICLES_MAX).ok_or(PersistError::Sqlite {
                doing: "reading votes",
                error: rusqlite::Error::InvalidColumnType(0, "row".to_owned(), rusqlite::types::Type::Blob),
            })?;
            each(vote);
            count += 1;
        }
        Ok(count)
    }

    /// Checkpoints.
    ///
    /// # Errors
    /// What SQLite says; that somebody is in the way is no error.
    pub fn checkpoint(&self, mode: CheckpointMode) -> Result<Checkpointed, PersistError> {
        checkpoint(&self.connection, mode)
    }

    /// Makes everything in the file survive a loss of power, whatever the settings are.
    ///
    /// # Errors
    /// What the system says.
    pub fn sync_file(&self, disk: &dyn Disk) -> Result<(), PersistError> {
        // The connection holds no POSIX lock that closing this descriptor could drop: it is called only where the
        // database has a single user.
        disk.open(&self.path, false)
            .and_then(|file| file.sync_data())
            .map_err(PersistError::io(format!("syncing `{}`", self.path.display())))
    }

    /// A stamp that changes when the database file is written, which in WAL mode only a checkpoint does.
    pub fn written_stamp(&self) -> Option<(i64, i64)> {
        // `stat`, not `open`: closing another descriptor of the file would drop the connection's locks.
        fs::metadata(&self.path).ok().map(|data| (data.mtime(), data.mtime_nsec()))
    }

    /// How large the files are.
    pub fn stored(&self) -> Stored {
        let bytes = |path: &Path| fs::metadata(path).ok().map(|data| data.len());
        let mut wal = self.path.clone().into_os_string();
        wal.push("-wal");
        Stored { log_bytes: None, database_bytes: bytes(&self.path), wal_bytes: bytes(Path::new(&wal)) }
    }
}

/// Checkpoints on any connection.
pub fn checkpoint(connection: &Connection, mode: CheckpointMode) -> Result<Checkpointed, PersistError> {
    connection
        .query_row(&format!("PRAGMA wal_checkpoint({})", mode.name()), [], |row| {
            Ok(Checkpointed { busy: row.get::<_, i64>(0)? != 0, wal_pages: row.get(1)?, copied_pages: row.get(2)? })
        })
        .map_err(PersistError::sqlite("checkpointing"))
}

/// Brings all that is in the write-ahead log into the database, syncs that, and begins the log anew. A sync may have failed
/// before the last owner ended: the system dropped what it was to bring to the disk and still shows it, so a log that went
/// on behind it would end there after a loss of power.
fn empty_log(connection: &Connection) -> Result<(), PersistError> {
    let done = checkpoint(connection, CheckpointMode::Truncate)?;
    if done.busy {
        let error = std::io::Error::other("somebody else has the database open");
        return Err(PersistError::Io { doing: "emptying the write-ahead log".to_owned(), error });
    }
    Ok(())
}

const fn schema(layout: Layout) -> &'static str {
    match layout {
        Layout::Serialized => {
            "CREATE TABLE IF NOT EXISTS vote (row BLOB, index_0 TEXT);
             CREATE INDEX IF NOT EXISTS vote_by_article ON vote (index_0);
             CREATE TABLE IF NOT EXISTS article (id INTEGER PRIMARY KEY, title TEXT);"
        }
        Layout::Columns => {
            "CREATE TABLE IF NOT EXISTS vote (article INTEGER, user INTEGER);
             CREATE INDEX IF NOT EXISTS vote_by_article ON vote (article);
             CREATE TABLE IF NOT EXISTS article (id INTEGER PRIMARY KEY, title TEXT);"
        }
    }
}

/// Sets a pragma, and takes its statement to its end. SQLite answers with the new journal mode first and commits it to the
/// file afterwards: who stops at the answer does not hear that the commit failed, and reads the new mode back while the file
/// has the one before. With `DELETE`, `FULL` then loses the newest commit with the power.
fn set(connection: &Connection, pragma: &str, value: &str) -> Result<(), PersistError> {
    let failed = || PersistError::sqlite("setting a pragma");
    let mut statement = connection.prepare(&format!("PRAGMA {pragma} = {value}")).map_err(failed())?;
    let mut rows = statement.query([]).map_err(failed())?;
    while rows.next().map_err(failed())?.is_some() {}
    Ok(())
}

fn get(connection: &Connection, pragma: &str) -> Result<String, PersistError> {
    connection
        .pragma_query_value(None, pragma, |row| {
            Ok(match row.get_ref(0)? {
                ValueRef::Integer(number) => number.to_string(),
                other => other.as_str()?.to_owned(),
            })
        })
        .map_err(PersistError::sqlite("reading a pragma back"))
}

fn in_words(pragma: &str, value: String) -> String {
    match (pragma, value.as_str()) {
        ("synchronous", "0") => "OFF".to_owned(),
        ("synchronous", "1") => "NORMAL".to_owned(),
        ("synchronous", "2") => "FULL".to_owned(),
        ("synchronous", "3") => "EXTRA".to_owned(),
        _ => value,
    }
}
