//! Counts the requests that a store is working on.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use docdb_engine::{DocumentStore, Reply, Request, Statistics, StoreError};

/// A store whose requests are counted as they come and go.
pub struct Counted {
    store: Arc<dyn DocumentStore>,
    now: AtomicU64,
    most: AtomicU64,
    sum: AtomicU64,
    requests: AtomicU64,
}

impl Counted {
    /// Counts the requests of `store`.
    pub fn new(store: Arc<dyn DocumentStore>) -> Self {
        Self {
            store,
            now: AtomicU64::new(0),
            most: AtomicU64::new(0),
            sum: AtomicU64::new(0),
            requests: AtomicU64::new(0),
        }
    }
}

impl DocumentStore for Counted {
    fn apply(&self, request: Request<'_>, document: &mut Vec<u8>) -> Result<Reply, StoreError> {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        self.sum.fetch_add(now, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        let result = self.store.apply(request, document);
        self.now.fetch_sub(1, Ordering::Relaxed);
        result
    }

    fn load(&self, database: u16, documents: &[(u64, Vec<u8>)]) -> Result<(), StoreError> {
        self.store.load(database, documents)
    }

    fn settle(&self) -> Result<(), StoreError> {
        self.store.settle()
    }

    fn statistics(&self) -> Statistics {
        let mut statistics = self.store.statistics();
        statistics.gauges.insert("in_flight_max", self.most.load(Ordering::Relaxed) as f64);
        statistics.counters.insert("in_flight_sum", self.sum.load(Ordering::Relaxed) as f64);
        statistics.counters.insert("requests", self.requests.load(Ordering::Relaxed) as f64);
        statistics
    }

    fn documents(&self) -> Result<u64, StoreError> {
        self.store.documents()
    }
}
