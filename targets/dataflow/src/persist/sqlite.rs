//! The ways in which SQLite's write-ahead log is what makes rows durable. They differ in who checkpoints when.

use std::{collections::BTreeMap, sync::Arc};

use uplift_target::{Durability, clock};

use super::{
    Persist, PersistError, Place, Recovered, Stored,
    checkpoint_thread::CheckpointThread,
    database::{Checkpointed, Database, Pragmas},
    place,
};
use crate::{
    counters::Counters,
    row::{Table, Vote},
    settings::CheckpointMode,
    shard::{
        activity::{Activity, Stage},
        inbox::Group,
    },
};

/// SQLite's own default, in pages.
const AUTOCHECKPOINT_PAGES: u32 = 1000;

const EXCLUSIVE: Pragmas =
    Pragmas { journal_mode: "WAL", synchronous: "FULL", locking_mode: "EXCLUSIVE", wal_autocheckpoint: 0 };

fn open_database(
    place: &Place<'_>,
    pragmas: Pragmas,
    each: &mut dyn FnMut(Table, &[u8]),
) -> Result<(Database, Recovered), PersistError> {
    let database = Database::open(place, pragmas)?;
    let rows = database.rows(each)?;
    Ok((database, Recovered { rows, ..Recovered::default() }))
}

fn read_back(database: &Database, each: &mut dyn FnMut(&'static str, Vote)) -> Result<(), PersistError> {
    database.votes(&mut |vote| each(place::SQLITE, vote)).map(drop)
}

/// Checkpoints happen within commits, when the write-ahead log has 1000 pages.
#[derive(Debug)]
pub struct SqliteWal {
    database: Database,
    counters: Arc<Counters>,
    stamp: Option<(i64, i64)>,
    rows_since: u64,
}

impl SqliteWal {
    pub(super) fn open(
        place: &Place<'_>,
        each: &mut dyn FnMut(Table, &[u8]),
    ) -> Result<(Box<dyn Persist>, Recovered), PersistError> {
        let pragmas = Pragmas { wal_autocheckpoint: AUTOCHECKPOINT_PAGES, ..EXCLUSIVE };
        let (database, recovered) = open_database(place, pragmas, each)?;
        let stamp = database.written_stamp();
        Ok((Box::new(Self { database, counters: Arc::clone(place.counters), stamp, rows_since: 0 }), recovered))
    }
}

impl Persist for SqliteWal {
    fn persist(&mut self, group: &mut Group, activity: &mut Activity) -> Result<(), PersistError> {
        let (begin_ns, end_ns) = self.database.insert(group, activity)?;
        self.rows_since += u64::from(group.rows);
        let stamp = self.database.written_stamp();
        if stamp != self.stamp {
            self.stamp = stamp;
            self.counters.checkpoint(end_ns - begin_ns, true);
            let detail = format!("automatic, within a commit, {} rows after the last", self.rows_since);
            activity.checkpoint_within_commit(begin_ns, end_ns, detail);
            self.rows_since = 0;
        }
        Ok(())
    }

    fn places(&self) -> &'static [&'static str] {
        &[place::SQLITE]
    }

    fn read_back(&mut self, each: &mut dyn FnMut(&'static str, Vote)) -> Result<(), PersistError> {
        read_back(&self.database, each)
    }

    fn stored(&self) -> Stored {
        self.database.stored()
    }

    fn in_force(&self) -> BTreeMap<String, String> {
        self.database.in_force().clone()
    }

    fn survives(&self) -> Durability {
        self.database.survives()
    }
}

/// The writer checkpoints after acknowledging, when `checkpoint_rows` rows have come.
#[derive(Debug)]
pub struct SqliteCheckpointAfterAck {
    database: Database,
    counters: Arc<Counters>,
    checkpoint_rows: u64,
    rows_since: u64,
}

impl SqliteCheckpointAfterAck {
    pub(super) fn open(
        place: &Place<'_>,
        each: &mut dyn FnMut(Table, &[u8]),
    ) -> Result<(Box<dyn Persist>, Recovered), PersistError> {
        let (database, recovered) = open_database(place, EXCLUSIVE, each)?;
        let opened = Self {
            database,
            counters: Arc::clone(place.counters),
            checkpoint_rows: u64::from(place.settings.checkpoint_rows),
            rows_since: 0,
        };
        Ok((Box::new(opened), recovered))
    }

    fn checkpoint(&mut self, activity: &mut Activity) -> Result<Checkpointed, PersistError> {
        let start_ns = activity.enter(Stage::Checkpoint);
        // Nobody else has the database open: passive copies everything.
        let done = self.database.checkpoint(CheckpointMode::Passive)?;
        let end_ns = clock::now_ns();
        self.rows_since = 0;
        self.counters.checkpoint(end_ns - start_ns, done.whole());
        activity.checkpoint(start_ns, end_ns, format!("passive, after acknowledging, {done}"));
        Ok(done)
    }
}

impl Persist for SqliteCheckpointAfterAck {
    fn persist(&mut self, group: &mut Group, activity: &mut Activity) -> Result<(), PersistError> {
        self.database.insert(group, activity).map(drop)
    }

    fn acknowledged(&mut self, group: &Group, activity: &mut Activity) -> Result<(), PersistError> {
        self.rows_since += u64::from(group.rows);
        if self.rows_since >= self.checkpoint_rows {
            self.checkpoint(activity)?;
        }
        Ok(())
    }

    fn settle(&mut self, activity: &mut Activity) -> Result<u64, PersistError> {
        let owed = self.rows_since;
        if owed > 0 {
            self.checkpoint(activity)?;
        }
        Ok(owed)
    }

    fn places(&self) -> &'static [&'static str] {
        &[place::SQLITE]
    }

    fn read_back(&mut self, each: &mut dyn FnMut(&'static str, Vote)) -> Result<(), PersistError> {
        read_back(&self.database, each)
    }

    fn stored(&self) -> Stored {
        self.database.stored()
    }

    fn in_force(&self) -> BTreeMap<String, String> {
        let mut in_force = self.database.in_force().clone();
        in_force.insert("checkpoint_rows".to_owned(), self.checkpoint_rows.to_string());
        in_force
    }

    fn survives(&self) -> Durability {
        self.database.survives()
    }
}

/// Another thread checkpoints on a connection of its own, when the writer says that `checkpoint_rows` rows have come.
#[derive(Debug)]
pub struct SqliteCheckpointThread {
    // First, so that it is gone before the database is closed.
    checkpoints: CheckpointThread,
    database: Database,
    mode: CheckpointMode,
    checkpoint_rows: u64,
    rows_since: u64,
}

impl SqliteCheckpointThread {
    pub(super) fn open(
        place: &Place<'_>,
        each: &mut dyn FnMut(Table, &[u8]),
    ) -> Result<(Box<dyn Persist>, Recovered), PersistError> {
        // Exclusive locking would keep the second connection out.
        let (database, recovered) = open_database(place, Pragmas { locking_mode: "NORMAL", ..EXCLUSIVE }, each)?;
        let mode = place.settings.checkpoint_mode;
        let opened = Self {
            checkpoints: CheckpointThread::start(place, database.path(), mode)?,
            database,
            mode,
            checkpoint_rows: u64::from(place.settings.checkpoint_rows),
            rows_since: 0,
        };
        Ok((Box::new(opened), recovered))
    }
}

impl Persist for SqliteCheckpointThread {
    fn persist(&mut self, group: &mut Group, activity: &mut Activity) -> Result<(), PersistError> {
        self.database.insert(group, activity).map(drop)
    }

    fn acknowledged(&mut self, group: &Group, _: &mut Activity) -> Result<(), PersistError> {
        self.rows_since += u64::from(group.rows);
        if self.rows_since >= self.checkpoint_rows {
            self.rows_since = 0;
            self.checkpoints.ask()?;
        }
        Ok(())
    }

    fn quiesce(&mut self) -> Result<(), PersistError> {
        self.checkpoints.wait()
    }

    fn settle(&mut self, activity: &mut Activity) -> Result<u64, PersistError> {
        let owed = std::mem::take(&mut self.rows_since);
        activity.enter(Stage::Checkpoint);
        if owed > 0 {
            self.checkpoints.ask()?;
        }
        self.checkpoints.wait()?;
        Ok(owed)
    }

    fn places(&self) -> &'static [&'static str] {
        &[place::SQLITE]
    }

    fn read_back(&mut self, each: &mut dyn FnMut(&'static str, Vote)) -> Result<(), PersistError> {
        read_back(&self.database, each)
    }

    fn stored(&self) -> Stored {
        self.database.stored()
    }

    fn in_force(&self) -> BTreeMap<String, String> {
        let mut in_force = self.database.in_force().clone();
        in_force.insert("checkpoint_rows".to_owned(), self.checkpoint_rows.to_string());
        in_force.insert("checkpoint_mode".to_owned(), self.mode.name().to_owned());
        in_force
    }

    fn survives(&self) -> Durability {
        self.database.survives()
    }
}
