//! A log for each database, so that their syncs run side by side.

use std::{path::Path, sync::Arc};

use engine_disk::Disk;
use uplift_instrument::timeline::EventLog;

use super::{Settings, Store};
use crate::{
    error::{StoreError, StoreErrorKind},
    statistics::Statistics,
    store::{DocumentStore, Recovery, Reply, Request},
};

/// One [`Store`] for each database. A device serves several syncs at once faster than one after the other, and while one
/// log is synced the writers of another are at work; the price is smaller groups.
pub struct Partitioned {
    stores: Vec<Store>,
}

impl Partitioned {
    /// Opens a store for each of the settings' databases, in directories of their own under `directory`.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open(
        disk: &Arc<dyn Disk>,
        directory: &Path,
        settings: &Settings,
        events: &EventLog,
    ) -> Result<(Self, Recovery), StoreError> {
        let own = Settings { databases: 1, ..settings.clone() };
        let mut stores = Vec::new();
        let mut recovery = Recovery::default();
        for number in 1..=settings.databases {
            let (store, found) = Store::open(disk, &directory.join(format!("db{number}")), &own, events)?;
            recovery.add(&found);
            stores.push(store);
        }
        Ok((Self { stores }, recovery))
    }

    fn store(&self, database: u16) -> Result<&Store, StoreError> {
        self.stores.get(usize::from(database)).ok_or_else(|| {
            let why = format!("there is no database {database}; they are numbered from 0 to {}", self.stores.len() - 1);
            StoreError::new("carrying out a request", StoreErrorKind::Refused(why))
        })
    }
}

impl DocumentStore for Partitioned {
    fn apply(&self, request: Request<'_>, document: &mut Vec<u8>) -> Result<Reply, StoreError> {
        self.store(request.database)?.apply(Request { database: 0, ..request }, document)
    }

    fn load(&self, database: u16, documents: &[(u64, Vec<u8>)]) -> Result<(), StoreError> {
        self.store(database)?.load(0, documents)
    }

    fn settle(&self) -> Result<(), StoreError> {
        self.stores.iter().try_for_each(Store::settle)
    }

    fn statistics(&self) -> Statistics {
        let mut statistics = Statistics::default();
        for store in &self.stores {
            statistics.merge(&store.statistics());
        }
        // A mean over the logs, which are synced side by side.
        if let Some(seconds) = statistics.counters.get_mut("sync_busy_seconds") {
            *seconds /= self.stores.len() as f64;
        }
        statistics
    }

    fn documents(&self) -> Result<u64, StoreError> {
        self.stores.iter().map(Store::documents).sum()
    }
}
