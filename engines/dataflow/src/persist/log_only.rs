//! `log`: our own log and nothing else.

use std::{collections::BTreeMap, sync::Arc};

use engine_disk::Disk;
use uplift_model::Durability;

use super::{Persist, PersistError, Place, Recovered, Stored, place};
use crate::{
    log::{Log, LogError, record::Record},
    row::{self, Table, Vote},
    shard::{
        activity::{Activity, Stage},
        inbox::Group,
    },
};

/// Rows are appended to the log and synced; they are read from it when the shard is opened.
#[derive(Debug)]
pub struct LogOnly {
    log: Log,
    disk: Arc<dyn Disk>,
}

impl LogOnly {
    pub(super) fn open(
        place: &Place<'_>,
        each: &mut dyn FnMut(Table, &[u8]),
    ) -> Result<(Box<dyn Persist>, Recovered), PersistError> {
        let (log, recovered) = open_log(place, each)?;
        Ok((Box::new(Self { log, disk: Arc::clone(&place.storage.disk) }), recovered))
    }
}

/// Opens a shard's log.
pub(super) fn open_log(place: &Place<'_>, each: &mut dyn FnMut(Table, &[u8])) -> Result<(Log, Recovered), LogError> {
    let identity = (u32::from(place.shard), u32::from(place.settings.shards));
    let mut give = |record: &Record<'_>| each(record.table, &record.rows_encoded());
    let (mut log, found) = Log::open(&*place.storage.disk, &place.file("log"), identity, &mut give)?;
    log.write_in(place.settings.log_format);
    Ok((log, Recovered { rows: found.rows, tail: found.tail, closed: found.closed, rebuilt_index: false }))
}

/// Appends a merged packet and syncs it.
pub(super) fn append_synced(log: &mut Log, group: &mut Group, activity: &mut Activity) -> Result<(), LogError> {
    activity.enter(Stage::Write);
    log.append(&mut group.bytes, group.table, group.rows)?;
    activity.enter(Stage::Sync);
    log.sync()
}

/// Reads the votes of a log.
pub(super) fn votes_of(log: &Log, each: &mut dyn FnMut(Vote)) -> Result<(), LogError> {
    log.read_again(&mut |record| {
        if record.table == Table::Vote {
            row::votes(&record.rows_encoded()).for_each(&mut *each);
        }
    })
    .map(drop)
}

impl Persist for LogOnly {
    fn persist(&mut self, group: &mut Group, activity: &mut Activity) -> Result<(), PersistError> {
        Ok(append_synced(&mut self.log, group, activity)?)
    }

    fn acknowledged(&mut self, _: &Group, _: &mut Activity) -> Result<(), PersistError> {
        self.log.release();
        Ok(())
    }

    fn close(&mut self, _: &mut Activity) -> Result<(), PersistError> {
        Ok(self.log.close(&*self.disk)?)
    }

    fn places(&self) -> &'static [&'static str] {
        &[place::LOG]
    }

    fn read_back(&mut self, each: &mut dyn FnMut(&'static str, Vote)) -> Result<(), PersistError> {
        Ok(votes_of(&self.log, &mut |vote| each(place::LOG, vote))?)
    }

    fn stored(&self) -> Stored {
        Stored { log_bytes: Some(self.log.bytes()), ..Stored::default() }
    }

    fn in_force(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("log_format".to_owned(), self.log.format().name().to_owned())])
    }

    fn survives(&self) -> Durability {
        Durability::PowerLoss
    }
}
