//! The files of a provider with the threads that serve them.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use duroxide::{Event, providers::ProviderError};
use rusqlite::Connection;

use crate::{
    Stats,
    ahead::{FetchRequest, Wants},
    command::{self, Command},
    completion::Completions,
    error,
    fetch::Held,
    options::{InForce, OpenError, Options},
    queue::Queue,
    reader::{self, Reading},
    recent::Recent,
    schema::{self, Found},
    sessions::Sessions,
    shard::{ShardNumber, shard_of},
    shard_queue::{Counts, ShardQueue},
    store::{FetchedTask, Store},
    writer::{Writer, WriterContext},
};

/// Everything that is open.
pub struct Database {
    pub options: Options,
    pub in_force: InForce,
    pub sessions: Arc<Sessions>,
    pub completions: Arc<Completions>,
    pub wants: Wants,
    files: Vec<PathBuf>,
    /// One for each shard.
    recent: Vec<Arc<Recent>>,
    lanes: Arc<Vec<Arc<ShardQueue>>>,
    readers: Vec<Arc<Queue<Reading>>>,
    threads: Vec<JoinHandle<()>>,
    /// Held while the files are open.
    _lock: File,
}

impl Database {
    pub fn open(directory: &Path, options: Options) -> Result<Self, OpenError> {
        options.validate()?;
        let name = || directory.display().to_string();
        let io = |error| OpenError::Io { directory: name(), error };
        let sqlite = |error| OpenError::Sqlite { directory: name(), error };
        fs::create_dir_all(directory).map_err(io)?;
        let lock = lock(directory)?;
        let sessions = Arc::new(Sessions::default());
        let completions = Arc::new(Completions::default());
        let files: Vec<PathBuf> =
            (0..options.shards).map(|number| directory.join(format!("shard-{number}.db"))).collect();
        let recent: Vec<Arc<Recent>> = files.iter().map(|_| Arc::default()).collect();
        let mut stores: Vec<Vec<Store>> = Vec::new();
        for (number, file) in files.iter().enumerate() {
            let open = || Store::open(file, &options, number, Arc::clone(&sessions), Arc::clone(&recent[number]));
            let mut first = open().map_err(sqlite)?;
            match schema::prepare(first.connection_mut(), number, options.shards).map_err(sqlite)? {
                Found::Ready => {}
                Found::Foreign(state) => return Err(OpenError::Foreign { directory: name(), state }),
            }
            let others = (1..options.writers()).map(|_| open()).collect::<Result<Vec<_>, _>>().map_err(sqlite)?;
            stores.push(std::iter::once(first).chain(others).collect());
        }
        forget_settled(&mut stores).map_err(sqlite)?;
        let in_force = read_back(&stores, &options, directory)?;

        let lanes: Arc<Vec<_>> = Arc::new((0..options.shards).map(|_| Arc::new(ShardQueue::new())).collect());
        let mut database = Self {
            options,
            in_force,
            sessions,
            completions,
            wants: Wants::default(),
            readers: files.iter().map(|_| Arc::new(Queue::new())).collect(),
            files,
            recent,
            lanes,
            threads: Vec::new(),
            _lock: lock,
        };
        database.start(stores, directory)?;
        Ok(database)
    }

    fn start(&mut self, stores: Vec<Vec<Store>>, directory: &Path) -> Result<(), OpenError> {
        let io = |error| OpenError::Io { directory: directory.display().to_string(), error };
        let sqlite = |error| OpenError::Sqlite { directory: directory.display().to_string(), error };
        for (shard, stores) in stores.into_iter().enumerate() {
            for store in stores {
                let surroundings = WriterContext {
                    shard,
                    options: self.options.clone(),
                    lanes: Arc::downgrade(&self.lanes),
                    completions: Arc::clone(&self.completions),
                };
                let writer = Writer::new(store, Arc::clone(&self.lanes[shard]), surroundings).map_err(sqlite)?;
                let thread = std::thread::Builder::new().name(format!("grouped-w{shard}"));
                self.threads.push(thread.spawn(move || writer.run()).map_err(io)?);
            }
            let connection = schema::open_reader(&self.files[shard], &self.options).map_err(sqlite)?;
            let queue = Arc::clone(&self.readers[shard]);
            let thread = std::thread::Builder::new().name(format!("grouped-r{shard}"));
            self.threads.push(thread.spawn(move || reader::run(connection, &queue)).map_err(io)?);
        }
        Ok(())
    }

    pub fn shards(&self) -> usize {
        self.lanes.len()
    }

    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The history of a running instance, if it is kept.
    pub fn kept_history(&self, instance: &str) -> Option<Arc<Vec<Event>>> {
        self.recent[shard_of(instance, self.shards())].get(instance).map(|history| history.events)
    }

    /// Forgets everything that could also be read from the files.
    #[cfg(feature = "measurement")]
    pub fn forget_kept(&self) {
        for recent in &self.recent {
            recent.clear();
        }
    }

    /// Sums of all shards.
    pub fn stats(&self) -> Stats {
        let sum = |count: fn(&Counts) -> &AtomicU64| {
            self.lanes.iter().map(|lane| count(&lane.counts).load(Ordering::Relaxed)).sum()
        };
        Stats {
            transactions: sum(|counts| &counts.transactions),
            operations: sum(|counts| &counts.operations),
            fetches_served: sum(|counts| &counts.fetches_served),
            fetches_given_back: sum(|counts| &counts.fetches_given_back),
        }
    }

    /// Takes back work whose fetch was abandoned.
    pub fn take_back<T: Held>(&self, held: T) {
        self.lanes[shard_of(held.instance(), self.shards())].take_back(held);
    }

    /// An activity that was handed out ahead for such a fetch.
    pub fn take_ahead(&self, want: &FetchRequest) -> Option<FetchedTask> {
        self.lanes.iter().find_map(|lane| {
            let task = lane.ahead.take(want)?;
            lane.counts.fetches_served.fetch_add(1, Ordering::Relaxed);
            Some(task)
        })
    }

    /// Whether an acknowledgement for `instance` should hand out the next activity.
    pub fn is_ahead_worthwhile(&self, instance: &str) -> bool {
        self.options.hand_ahead && self.lanes[shard_of(instance, self.shards())].ahead.is_worthwhile()
    }

    pub fn push(&self, shard: ShardNumber, operation: &'static str, command: Command) -> Result<(), ProviderError> {
        self.lanes[shard].queue.push(command).map_err(|_| error::closed(operation))
    }

    /// Carries out an operation in the file of `instance`; back when it is committed.
    pub async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        instance: &str,
        run: impl FnOnce(&mut Store) -> Result<T, ProviderError> + Send + 'static,
    ) -> Result<T, ProviderError> {
        let (run, answer) = command::operation(operation, run);
        self.push(shard_of(instance, self.shards()), operation, Command::Operation(run))?;
        answer.await.unwrap_or_else(|_| Err(error::not_carried_out(operation)))
    }

    /// As [`Database::write`], for an operation that brings back work that was fetched.
    pub async fn give_back<T: Send + 'static>(
        &self,
        operation: &'static str,
        instance: &str,
        run: impl FnOnce(&mut Store) -> Result<T, ProviderError> + Send + 'static,
    ) -> Result<T, ProviderError> {
        let (run, answer) = command::operation(operation, run);
        self.push(shard_of(instance, self.shards()), operation, Command::Return(run))?;
        answer.await.unwrap_or_else(|_| Err(error::not_carried_out(operation)))
    }

    /// Reads from the file of `instance` what is committed.
    pub async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        instance: &str,
        run: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, ProviderError> {
        let run = move |connection: &Connection| run(connection).map_err(error::sqlite(operation));
        self.read_shard(operation, shard_of(instance, self.shards()), run).await
    }

    /// Reads from one file.
    pub async fn read_shard<T: Send + 'static>(
        &self,
        operation: &'static str,
        shard: ShardNumber,
        run: impl FnOnce(&Connection) -> Result<T, ProviderError> + Send + 'static,
    ) -> Result<T, ProviderError> {
        let (reading, answer) = reader::reading(run);
        self.readers[shard].push(reading).map_err(|_| error::closed(operation))?;
        answer.await.unwrap_or_else(|_| Err(error::closed(operation)))
    }

    /// Reads the same from every file.
    pub async fn read_all<T: Send + 'static>(
        &self,
        operation: &'static str,
        run: impl Fn(&Connection) -> rusqlite::Result<T> + Send + Clone + 'static,
    ) -> Result<Vec<T>, ProviderError> {
        let mut results = Vec::new();
        for shard in 0..self.shards() {
            let run = run.clone();
            let run = move |connection: &Connection| run(connection).map_err(error::sqlite(operation));
            results.push(self.read_shard(operation, shard, run).await?);
        }
        Ok(results)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        for lane in self.lanes.iter() {
            lane.queue.close();
        }
        for reader in &self.readers {
            reader.close();
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Takes the lock that keeps other providers out.
fn lock(directory: &Path) -> Result<File, OpenError> {
    let name = directory.display().to_string();
    let io = |error| OpenError::Io { directory: name.clone(), error };
    let file = File::create(directory.join("lock")).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { directory: name }),
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}

/// Forgets messages that came from shards which no longer have them: a crash kept that from being said.
fn forget_settled(stores: &mut [Vec<Store>]) -> rusqlite::Result<()> {
    let offered: Vec<Vec<i64>> = stores
        .iter()
        .map(|stores| Ok(stores[0].outbox()?.into_iter().map(|relay| relay.number).collect()))
        .collect::<rusqlite::Result<_>>()?;
    for stores in stores {
        for (from, offered) in offered.iter().enumerate() {
            let settled: Vec<i64> =
                stores[0].received(from)?.into_iter().filter(|number| !offered.contains(number)).collect();
            stores[0].forget_received(from, &settled)?;
        }
    }
    Ok(())
}

/// Reads the settings back from every connection that writes.
fn read_back(stores: &[Vec<Store>], options: &Options, directory: &Path) -> Result<InForce, OpenError> {
    let mut found = None;
    for store in stores.iter().flatten() {
        let one = schema::read_back(store.connection())
            .map_err(|error| OpenError::Sqlite { directory: directory.display().to_string(), error })?;
        if found.as_ref().is_some_and(|other| *other != one) {
            let state = format!("has connections with different settings: {found:?} and {one:?}");
            return Err(OpenError::Foreign { directory: directory.display().to_string(), state });
        }
        found = Some(one);
    }
    let Some((synchronous, journal_mode, wal_autocheckpoint, cache_size_kib)) = found else {
        unreachable!("there is at least one shard with one writer")
    };
    Ok(InForce {
        synchronous,
        journal_mode,
        wal_autocheckpoint,
        cache_size_kib,
        max_batch: options.max_batch,
        max_delay: options.max_delay,
        max_turn_delay: options.max_turn_delay,
        shards: stores.len(),
        writers: options.writers(),
        immediate: options.is_immediate(),
        long_poll: options.long_poll,
        hand_ahead: options.hand_ahead && options.long_poll,
        sync_fetches: options.sync_fetches,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::NewTask;

    fn task(number: i64) -> NewTask {
        NewTask {
            instance: "i".to_owned(),
            execution: 1,
            activity: number,
            session: None,
            tag: None,
            item: String::new(),
        }
    }

    /// What panics is undone and told so; its neighbours and whoever comes later notice nothing.
    #[tokio::test]
    async fn a_panic_ends_the_operation_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(directory.path(), Options::default()).unwrap();
        let add = |number: i64, panics: bool| {
            database.write("add", "i", move |store| {
                store.add_task(&task(number)).map_err(error::sqlite("add"))?;
                assert!(!panics, "as it was told");
                Ok(())
            })
        };
        for round in 0..3 {
            let (before, panicked, after) =
                tokio::join!(add(3 * round, false), add(3 * round + 1, true), add(3 * round + 2, false));
            before.unwrap();
            assert!(panicked.unwrap_err().to_string().contains("not carried out"));
            after.unwrap();
        }
        let count = |connection: &Connection| connection.query_row("SELECT COUNT(*) FROM tasks", [], |row| row.get(0));
        assert_eq!(database.read::<i64>("count", "i", count).await.unwrap(), 6);

        let panics = |_: &Connection| -> rusqlite::Result<i64> { panic!("as it was told") };
        assert!(database.read("count", "i", panics).await.is_err());
        assert_eq!(database.read::<i64>("count", "i", count).await.unwrap(), 6, "the reader goes on");
    }
}
