//! A provider for [duroxide](https://docs.rs/duroxide) that stores state in SQLite and commits many operations at once.
//!
//! duroxide's own SQLite provider runs each operation in a transaction of its own on one of five connections, which
//! then compete for SQLite's single write lock. Here one thread owns each file and is the only one to write. Operations
//! that arrive while a transaction is being committed form the next one, so the number of commits does not grow with
//! the number of callers; nobody ever finds the database locked; and nobody hears of an operation before it is
//! committed. Dispatchers that find no work wait for it inside the provider and are woken by the very commit that
//! brings it, and the commit that acknowledges a worker's activity brings its next one. It knows duroxide and SQLite, and
//! nothing of benchmarks.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use duroxide::{Client, OrchestrationContext, OrchestrationRegistry, runtime::{Runtime, registry::ActivityRegistry}};
//! use duroxide_grouped::{GroupedProvider, Options};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let provider = Arc::new(GroupedProvider::open("orders", Options::default())?);
//! let orchestrations = OrchestrationRegistry::builder()
//!     .register("Hello", |_: OrchestrationContext, name: String| async move { Ok(format!("hello {name}")) })
//!     .build();
//! let runtime =
//!     Runtime::start_with_store(provider.clone(), ActivityRegistry::builder().build(), orchestrations).await;
//! Client::new(provider.clone()).start_orchestration("order-1", "Hello", "world").await?;
//! let ended = provider.wait_for_end("order-1", std::time::Duration::from_secs(5)).await?;
//! assert_eq!(ended.unwrap().output.as_deref(), Some("hello world"));
//! runtime.shutdown(None).await;
//! # Ok(())
//! # }
//! ```
//!
//! # What survives
//!
//! With [`Synchronous::Full`] (the default) an operation that was acknowledged survives a power failure, with
//! [`Synchronous::Normal`] the end of the process. Whatever dispatchers and workers had in hand when the process ended
//! can be fetched as soon as the database is opened again. A database has one owner at a time: a second one is told so
//! when it opens it.
//!
//! # Coming from duroxide's own provider
//!
//! [`import`] makes a database of one that duroxide's SQLite provider has written: what runs goes on, what ended can be
//! read.
//!
//! # Shards
//!
//! With [`Options::shards`] instances are spread over several files, each with a thread of its own. An instance, with
//! the sub-orchestrations that duroxide names after it, lives in one file. A message to an instance of another file
//! goes by way of an outbox: it is committed with the turn that sends it and arrives once. Removing a tree of instances
//! that lie in several files is checked and carried out under the locks of all of them; if the process ends between
//! their commits, the root is still there and the removal can be repeated.

mod admin;
mod ahead;
mod clock;
mod command;
mod completion;
mod convert;
mod database;
mod error;
mod fetch;
mod import;
mod options;
mod pending;
mod provider;
mod queue;
mod reader;
mod recent;
mod relay;
mod schema;
mod sessions;
mod shard;
mod shard_queue;
mod store;
mod token;
mod watch;
mod writer;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use duroxide::providers::ProviderError;

pub use completion::Finished;
pub use import::{ImportError, Imported, import};
pub use options::{InForce, OpenError, Options, Synchronous};
#[cfg(feature = "measurement")]
pub use watch::{WriterPhase, watch_writers};

use database::Database;

/// A duroxide provider that stores state in SQLite and commits many operations at once.
pub struct GroupedProvider {
    database: Database,
}

/// What a provider has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Transactions that were committed, those that only looked for work included.
    pub transactions: u64,
    /// Operations in them.
    pub operations: u64,
    /// Fetches that were given work.
    pub fetches_served: u64,
    /// Of those, fetches that nobody waited for any more, whose work was made available again at once.
    pub fetches_given_back: u64,
}

impl GroupedProvider {
    /// Opens the database in `directory`, or makes one.
    ///
    /// # Errors
    /// An option that cannot work, a database that is in use or of another kind, and what the system and SQLite say.
    pub fn open(directory: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        Ok(Self { database: Database::open(directory.as_ref(), options)? })
    }

    /// The settings in force, read back from SQLite where it has them.
    pub fn in_force(&self) -> &InForce {
        &self.database.in_force
    }

    /// The database files, one for each shard.
    pub fn files(&self) -> &[PathBuf] {
        self.database.files()
    }

    /// What has been done so far.
    pub fn stats(&self) -> Stats {
        self.database.stats()
    }

    /// Forgets the histories of running instances that are kept in memory, so that they are read from the files again.
    /// Only somebody who changes a file behind the provider's back needs this.
    #[cfg(feature = "measurement")]
    pub fn forget_kept(&self) {
        self.database.forget_kept();
    }

    /// Waits until an orchestration has completed or failed, and is told of it by the commit that ends it; no polling.
    /// It need not have been started yet. `None` when `timeout` is over first.
    ///
    /// # Errors
    /// What SQLite says when the state cannot be read.
    pub async fn wait_for_end(&self, instance: &str, timeout: Duration) -> Result<Option<Finished>, ProviderError> {
        struct Tidy<'a>(&'a Database, &'a str);
        impl Drop for Tidy<'_> {
            fn drop(&mut self) {
                self.0.completions.tidy(self.1);
            }
        }
        // Declared first, dropped last: by then the receiver is gone.
        let _tidy = Tidy(&self.database, instance);
        let (announced, certain) = self.database.completions.wait(instance);
        if !certain && let Some(finished) = self.ended(instance).await? {
            return Ok(Some(finished));
        }
        match tokio::time::timeout(timeout, announced).await {
            Ok(Ok(finished)) => Ok(Some(finished)),
            Ok(Err(_)) | Err(_) => Ok(None),
        }
    }

    /// The end of an orchestration, if it has come.
    async fn ended(&self, instance: &str) -> Result<Option<Finished>, ProviderError> {
        let name = instance.to_owned();
        let read = move |connection: &rusqlite::Connection| store::read::instance_info(connection, &name);
        let info = self.database.read("wait_for_end", instance, read).await?;
        Ok(info.filter(|info| matches!(info.status.as_str(), "Completed" | "Failed")).map(|info| Finished {
            completed: info.status == "Completed",
            output: info.output,
            instance: info.instance_id,
        }))
    }
}
