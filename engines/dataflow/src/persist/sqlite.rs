//! The ways in which SQLite's write-ahead log is what makes rows durable. They differ in who checkpoints when.

use std::{collections::BTreeMap, sync::Arc};

use uplift_instrument::clock;
use uplift_model::Durability;

use super::{
    Persist, PersistError, Place, Recovered, Stored,
    checkpoint_thread::CheckpointThread,
    database::{Database, Pragmas},
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

/// Who checkpoints when.
pub(super) trait Checkpoints: Send + Sized {
    /// How the database is opened.
    const PRAGMAS: Pragmas;

    /// For `database`, which was just opened.
    fn start(place: &Place<'_>, database: &Database) -> Result<Self, PersistError>;

    /// The transaction with `rows` rows is committed and not acknowledged yet; its commit ran from `begin_ns` to `end_ns`.
    fn committed(&mut self, database: &Database, rows: u64, (begin_ns, end_ns): (u64, u64), activity: &mut Activity) {
        let _ = (database, rows, begin_ns, end_ns, activity);
    }

    /// `rows` rows were acknowledged.
    fn acknowledged(&mut self, database: &Database, rows: u64, activity: &mut Activity) -> Result<(), PersistError> {
        let _ = (database, rows, activity);
        Ok(())
    }

    /// Waits for checkpoints in the background.
    fn quiesce(&mut self) -> Result<(), PersistError> {
        Ok(())
    }

    /// Checkpoints what is owed; for how many rows.
    fn settle(&mut self, database: &Database, activity: &mut Activity) -> Result<u64, PersistError> {
        let _ = (database, activity);
        Ok(0)
    }

    /// Settings of its own that are in force.
    fn in_force(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

/// Rows are durable when SQLite has committed them; `C` checkpoints.
#[derive(Debug)]
pub(super) struct Sqlite<C> {
    // First, so that a thread of it is gone before the database is closed.
    checkpoints: C,
    database: Database,
}

impl<C: Checkpoints + 'static> Sqlite<C> {
    pub(super) fn open(
        place: &Place<'_>,
        each: &mut dyn FnMut(Table, &[u8]),
    ) -> Result<(Box<dyn Persist>, Recovered), PersistError> {
        let database = Database::open(place, C::PRAGMAS)?;
        let rows = database.rows(each)?;
        let checkpoints = C::start(place, &database)?;
        Ok((Box::new(Self { checkpoints, database }), Recovered { rows, ..Recovered::default() }))
    }
}

impl<C: Checkpoints> Persist for Sqlite<C> {
    fn persist(&mut self, group: &mut Group, activity: &mut Activity) -> Result<(), PersistError> {
        let commit_ns = self.database.insert(group, activity)?;
        self.checkpoints.committed(&self.database, u64::from(group.rows), commit_ns, activity);
        Ok(())
    }

    fn acknowledged(&mut self, group: &Group, activity: &mut Activity) -> Result<(), PersistError> {
        self.checkpoints.acknowledged(&self.database, u64::from(group.rows), activity)
    }

    fn quiesce(&mut self) -> Result<(), PersistError> {
        self.checkpoints.quiesce()
    }

    fn settle(&mut self, activity: &mut Activity) -> Result<u64, PersistError> {
        self.checkpoints.settle(&self.database, activity)
    }

    fn places(&self) -> &'static [&'static str] {
        &[place::SQLITE]
    }

    fn read_back(&mut self, each: &mut dyn FnMut(&'static str, Vote)) -> Result<(), PersistError> {
        self.database.votes(&mut |vote| each(place::SQLITE, vote)).map(drop)
    }

    fn stored(&self) -> Stored {
        self.database.stored()
    }

    fn in_force(&self) -> BTreeMap<String, String> {
        let mut in_force = self.database.in_force().clone();
        in_force.extend(self.checkpoints.in_force().into_iter().map(|(key, value)| (key.to_owned(), value)));
        in_force
    }

    fn survives(&self) -> Durability {
        self.database.survives()
    }
}

/// Checkpoints happen within commits, when the write-ahead log has 1000 pages.
#[derive(Debug)]
pub(super) struct Automatic {
    counters: Arc<Counters>,
    stamp: Option<(i64, i64)>,
    rows_since: u64,
}

impl Checkpoints for Automatic {
    const PRAGMAS: Pragmas = Pragmas { wal_autocheckpoint: AUTOCHECKPOINT_PAGES, ..EXCLUSIVE };

    fn start(place: &Place<'_>, database: &Database) -> Result<Self, PersistError> {
        Ok(Self { counters: Arc::clone(place.counters), stamp: database.written_stamp(), rows_since: 0 })
    }

    fn committed(&mut self, database: &Database, rows: u64, (begin_ns, end_ns): (u64, u64), activity: &mut Activity) {
        self.rows_since += rows;
        let stamp = database.written_stamp();
        if stamp != self.stamp {
            self.stamp = stamp;
            self.counters.checkpoint(end_ns - begin_ns, true);
            let detail = format!("automatic, within a commit, {} rows after the last", self.rows_since);
            activity.checkpoint_within_commit(begin_ns, end_ns, detail);
            self.rows_since = 0;
        }
    }
}

/// When a manual checkpoint is due.
#[derive(Debug)]
struct Due {
    checkpoint_rows: u64,
    rows_since: u64,
}

impl Due {
    fn new(place: &Place<'_>) -> Self {
        Self { checkpoint_rows: u64::from(place.settings.checkpoint_rows), rows_since: 0 }
    }

    /// Counts rows; whether the checkpoint is due.
    const fn count(&mut self, rows: u64) -> bool {
        self.rows_since += rows;
        self.rows_since >= self.checkpoint_rows
    }

    /// Begins anew; how many rows there were.
    fn take(&mut self) -> u64 {
        std::mem::take(&mut self.rows_since)
    }

    fn in_force(&self) -> (&'static str, String) {
        ("checkpoint_rows", self.checkpoint_rows.to_string())
    }
}

/// The writer checkpoints after acknowledging, when `checkpoint_rows` rows have come.
#[derive(Debug)]
pub(super) struct AfterAck {
    counters: Arc<Counters>,
    due: Due,
}

impl AfterAck {
    fn checkpoint(&mut self, database: &Database, activity: &mut Activity) -> Result<(), PersistError> {
        let start_ns = activity.enter(Stage::Checkpoint);
        // Nobody else has the database open: passive copies everything.
        let done = database.checkpoint(CheckpointMode::Passive)?;
        let end_ns = clock::now_ns();
        self.counters.checkpoint(end_ns - start_ns, done.whole());
        activity.checkpoint(start_ns, end_ns, format!("passive, after acknowledging, {done}"));
        Ok(())
    }
}

impl Checkpoints for AfterAck {
    const PRAGMAS: Pragmas = EXCLUSIVE;

    fn start(place: &Place<'_>, _: &Database) -> Result<Self, PersistError> {
        Ok(Self { counters: Arc::clone(place.counters), due: Due::new(place) })
    }

    fn acknowledged(&mut self, database: &Database, rows: u64, activity: &mut Activity) -> Result<(), PersistError> {
        if self.due.count(rows) { self.settle(database, activity).map(drop) } else { Ok(()) }
    }

    fn settle(&mut self, database: &Database, activity: &mut Activity) -> Result<u64, PersistError> {
        let owed = self.due.take();
        if owed > 0 {
            self.checkpoint(database, activity)?;
        }
        Ok(owed)
    }

    fn in_force(&self) -> Vec<(&'static str, String)> {
        vec![self.due.in_force()]
    }
}

/// Another thread checkpoints on a connection of its own, when the writer says that `checkpoint_rows` rows have come.
#[derive(Debug)]
pub(super) struct InThread {
    thread: CheckpointThread,
    mode: CheckpointMode,
    due: Due,
}

impl Checkpoints for InThread {
    // Exclusive locking would keep the second connection out.
    const PRAGMAS: Pragmas = Pragmas { locking_mode: "NORMAL", ..EXCLUSIVE };

    fn start(place: &Place<'_>, database: &Database) -> Result<Self, PersistError> {
        let mode = place.settings.checkpoint_mode;
        let thread = CheckpointThread::start(place, database.path(), mode)?;
        Ok(Self { thread, mode, due: Due::new(place) })
    }

    fn acknowledged(&mut self, _: &Database, rows: u64, _: &mut Activity) -> Result<(), PersistError> {
        if self.due.count(rows) {
            self.due.take();
            self.thread.ask()?;
        }
        Ok(())
    }

    fn quiesce(&mut self) -> Result<(), PersistError> {
        self.thread.wait()
    }

    fn settle(&mut self, _: &Database, activity: &mut Activity) -> Result<u64, PersistError> {
        let owed = self.due.take();
        activity.enter(Stage::Checkpoint);
        if owed > 0 {
            self.thread.ask()?;
        }
        self.thread.wait()?;
        Ok(owed)
    }

    fn in_force(&self) -> Vec<(&'static str, String)> {
        vec![self.due.in_force(), ("checkpoint_mode", self.mode.name().to_owned())]
    }
}
