//! Every way to set a store up that promises something of its own.

use std::{path::Path, sync::Arc, thread, time::Duration};

use docdb_engine::{
    DocumentStore, Recovery, StoreError,
    classic::{self, Acknowledge, Fsync, Locking},
    fast::{self, Gather},
};
use engine_disk::Disk;
use uplift_instrument::timeline::EventLog;

/// A way to set a store up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Its name, for messages and for child processes.
    pub name: &'static str,
    engine: Engine,
}

#[derive(Clone, Debug)]
enum Engine {
    Classic(classic::Settings),
    Fast(fast::Settings),
    PerDatabase(fast::Settings),
}

/// What tests choose beside the setup.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Databases.
    pub databases: u16,
    /// Length of a log segment of the classic and of the fast store: small, so that checkpoints and compaction happen.
    pub segment_bytes_max: [u64; 2],
    /// How long a batch gathers, and half of how often a timer syncs.
    pub interval: Duration,
}

impl Setup {
    /// Opens the store in `directory` on `disk`.
    pub fn open(
        &self,
        disk: &Arc<dyn Disk>,
        directory: &Path,
    ) -> Result<(Box<dyn DocumentStore>, Recovery), StoreError> {
        let events = EventLog::default();
        Ok(match &self.engine {
            Engine::Classic(settings) => {
                let (store, recovery) = classic::Store::open(disk, directory, settings, &events)?;
                (Box::new(store), recovery)
            }
            Engine::Fast(settings) => {
                let (store, recovery) = fast::Store::open(disk, directory, settings, &events)?;
                (Box::new(store), recovery)
            }
            Engine::PerDatabase(settings) => {
                let (store, recovery) = fast::Partitioned::open(disk, directory, settings, &events)?;
                (Box::new(store), recovery)
            }
        })
    }

    /// Whether what is acknowledged survives a loss of power.
    pub const fn is_durable(&self) -> bool {
        match &self.engine {
            Engine::Classic(settings) => settings.is_durable(),
            Engine::Fast(_) | Engine::PerDatabase(_) => true,
        }
    }

    /// Whether it is one of the fast store's.
    pub const fn is_fast(&self) -> bool {
        !matches!(self.engine, Engine::Classic(_))
    }
}

/// All of them.
pub fn all(size: Size) -> Vec<Setup> {
    let Size { databases, segment_bytes_max, interval } = size;
    let group = Fsync::Group { interval, records_max: 100 };
    let timer = Fsync::Interval((2 * interval).max(Duration::from_millis(1)));
    let classic = |name, fsync, acknowledge, data_file_fsyncs, locking| Setup {
        name,
        engine: Engine::Classic(classic::Settings {
            databases,
            fsync,
            acknowledge,
            data_file_fsyncs,
            locking,
            workers: 2,
            segment_bytes_max: segment_bytes_max[0],
            ..classic::Settings::default()
        }),
    };
    let fast = |gather, prepare| fast::Settings {
        databases,
        index_shards: 2,
        gather,
        segment_bytes_max: segment_bytes_max[1],
        prepare,
    };
    vec![
        classic("always-2-exclusive", Fsync::Always, Acknowledge::Durable, 2, Locking::Exclusive),
        classic("always-1-narrow", Fsync::Always, Acknowledge::Durable, 1, Locking::Narrow),
        classic("always-0-rwlock", Fsync::Always, Acknowledge::Durable, 0, Locking::ReadWrite),
        classic("group-2-rwlock", group, Acknowledge::Durable, 2, Locking::ReadWrite),
        classic("group-1-exclusive", group, Acknowledge::Durable, 1, Locking::Exclusive),
        classic("group-0-narrow", group, Acknowledge::Durable, 0, Locking::Narrow),
        classic("buffered", group, Acknowledge::Buffered, 1, Locking::Exclusive),
        classic("interval", timer, Acknowledge::Durable, 0, Locking::Narrow),
        classic("none", Fsync::None, Acknowledge::Durable, 0, Locking::ReadWrite),
        Setup { name: "fast", engine: Engine::Fast(fast(Gather::Adaptive, true)) },
        Setup { name: "fast-gathered", engine: Engine::Fast(fast(Gather::Always, true)) },
        Setup { name: "fast-ungathered", engine: Engine::Fast(fast(Gather::Never, true)) },
        Setup { name: "fast-unprepared", engine: Engine::Fast(fast(Gather::Always, false)) },
        Setup { name: "fast-per-database", engine: Engine::PerDatabase(fast(Gather::Adaptive, true)) },
    ]
}

/// Runs `test` on each of `setups`, side by side.
#[track_caller]
pub fn on_each(setups: &[Setup], test: impl Fn(&Setup) + Sync) {
    assert!(!setups.is_empty());
    let failed: Vec<&str> = thread::scope(|scope| {
        let test = &test;
        let running: Vec<_> = setups.iter().map(|setup| (setup.name, scope.spawn(move || test(setup)))).collect();
        // What went wrong was printed by the thread itself.
        running.into_iter().filter_map(|(name, thread)| thread.join().is_err().then_some(name)).collect()
    });
    assert!(failed.is_empty(), "failed on {failed:?}");
}
