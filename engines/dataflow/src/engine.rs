//! The engine: sharded base tables, their view, and the packets that go in.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, mpsc},
};

use engine_disk::{Disk, DiskLock};
use uplift_instrument::{stage::StageTable, timeline::EventLog};
use uplift_model::{Durability, Histogram};

use crate::{
    counters::Counters,
    graph::{self, Graph},
    memory::{self, CHUNK_BYTES, Preparer},
    persist::{self, PersistError, Place, Recovered, Storage, Stored},
    row::{ARTICLES_MAX, Article, Table, Vote},
    settings::{Settings, State},
    shard::{
        Shard, Writer,
        activity::{Activity, Stage},
        inbox::{Failed, Inbox},
    },
    view::View,
};

/// Why the engine cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A shard's files.
    #[error("shard {shard}: {error}")]
    Persist {
        /// Which.
        shard: u16,
        /// What.
        error: PersistError,
    },
    /// The directory holds the files of another number of shards.
    #[error(
        "the directory holds `{file}`, which is not of {shards} shards; open it with the number that it was made with"
    )]
    OtherShards {
        /// The file.
        file: String,
        /// How many shards were asked for.
        shards: u16,
    },
    /// Somebody else has the directory open.
    #[error(
        "`{directory}` is open already, here or in another process, and has one owner at a time; close it there first"
    )]
    InUse {
        /// The directory.
        directory: String,
    },
    /// The system said no.
    #[error("{doing}: {error}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
    /// Less memory than is to be reserved.
    #[error(
        "`reserve_votes` = {votes} needs {} MiB of memory and {} MiB are available; reserve less", needed >> 20, available >> 20
    )]
    Memory {
        /// What was asked for.
        votes: u64,
        /// Bytes that this takes.
        needed: u64,
        /// Bytes that the system can give.
        available: u64,
    },
    /// A shard has failed.
    #[error(transparent)]
    Failed(#[from] Failed),
    /// A row that no table takes.
    #[error("article {0} cannot be: numbers go up to {max}", max = ARTICLES_MAX - 1)]
    Article(u32),
}

/// The engine, open.
pub struct Engine {
    shards: Vec<Shard>,
    /// Prepares memory as long as the engine is open.
    memory: Option<Preparer>,
    view: Arc<View>,
    counters: Arc<Counters>,
    stages: StageTable,
    in_force: BTreeMap<String, String>,
    survives: Durability,
    /// The last to be dropped: until then nobody else may open the directory.
    _lock: Box<dyn DiskLock>,
}

impl Engine {
    /// Opens the engine on `directory` of `storage`, recovers what is there, and starts the writer threads.
    ///
    /// # Errors
    /// Files that cannot be read or are damaged within what was acknowledged.
    pub fn open(
        directory: &Path,
        settings: &Settings,
        storage: &Storage,
        events: &EventLog,
    ) -> Result<(Self, Vec<Recovered>), EngineError> {
        let lock = lock(directory, &*storage.disk)?;
        refuse_other_shards(directory, settings.shards, &*storage.disk)?;
        let (view, counters) = (Arc::<View>::default(), Arc::<Counters>::default());
        let memory = match settings.state() {
            State::Memory => Some(reserve(settings.reserve_votes.unwrap_or(0))?),
            State::Sqlite => None,
        };
        let chunks = memory.as_ref().map(Preparer::chunks);
        let ready_votes = chunks.map_or(0, |chunks| graph::votes_in(chunks.counts().1));
        let stages = StageTable::new(Stage::NAMES);
        let (mut shards, mut found) = (Vec::new(), Vec::new());
        let (mut in_force, mut survives) = (BTreeMap::new(), Durability::PowerLoss);
        for shard in 0..settings.shards {
            let activity = Activity::new(&stages, &format!("shard-{shard}"), events.clone());
            let mut graph = Graph::new(Arc::clone(&view), settings.shards, chunks.cloned());
            let place = Place {
                directory,
                shard,
                settings,
                storage,
                counters: &counters,
                events,
                elsewhere: &activity.elsewhere,
            };
            let (persist, recovered) = persist::open(&place, &mut |table, rows| graph.process(table, rows))
                .map_err(|error| EngineError::Persist { shard, error })?;
            found.push(recovered);
            in_force = persist.in_force();
            survives = survives.min(persist.survives());
            let inbox = Inbox::new(settings.max_batch, settings.flush_timeout.as_nanos());
            let writer = Writer::new(persist, graph, activity, Arc::clone(&counters));
            let started = Shard::start(shard, writer, inbox)
                .map_err(|error| EngineError::Io { doing: "starting a writer thread", error })?;
            shards.push(started);
        }
        for (key, value) in [
            ("durability", settings.durability.name().to_owned()),
            ("shards", settings.shards.to_string()),
            ("max_batch", settings.max_batch.to_string()),
            ("flush_timeout", settings.flush_timeout.to_string()),
            ("state", if settings.state() == State::Memory { "memory" } else { "sqlite" }.to_owned()),
        ] {
            in_force.insert(key.to_owned(), value);
        }
        if let Some(votes) = settings.reserve_votes {
            // Chunks are whole: there may be room for some more.
            in_force.insert("reserve_votes".to_owned(), votes.min(ready_votes).to_string());
        }
        Ok((Self { shards, memory, view, counters, stages, in_force, survives, _lock: lock }, found))
    }

    /// The shard that holds `article`.
    #[inline]
    pub fn shard_of(&self, article: u32) -> usize {
        article as usize % self.shards.len()
    }

    /// The shards, by number.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// The view.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Settings in force.
    pub const fn in_force(&self) -> &BTreeMap<String, String> {
        &self.in_force
    }

    /// What an acknowledged packet survives.
    pub const fn survives(&self) -> Durability {
        self.survives
    }

    /// Inserts articles, and returns when they are acknowledged.
    ///
    /// # Errors
    /// A number that no article can have, or a shard that failed.
    pub fn insert_articles<'a>(&self, articles: impl Iterator<Item = Article<'a>>) -> Result<(), EngineError> {
        const PACKET_ROWS: u32 = 1024;
        let mut packets = vec![(Vec::new(), 0u32); self.shards.len()];
        let mut waiting = Vec::new();
        for article in articles {
            if article.id >= ARTICLES_MAX {
                return Err(EngineError::Article(article.id));
            }
            let shard = self.shard_of(article.id);
            let (bytes, rows) = &mut packets[shard];
            article.encode_into(bytes);
            *rows += 1;
            if *rows == PACKET_ROWS {
                waiting.push((shard, self.shards[shard].submit(Table::Article, bytes, *rows)?));
                bytes.clear();
                *rows = 0;
            }
        }
        for (shard, (bytes, rows)) in packets.iter().enumerate() {
            if *rows > 0 {
                waiting.push((shard, self.shards[shard].submit(Table::Article, bytes, *rows)?));
            }
        }
        for (shard, number) in waiting {
            self.shards[shard].wait(number)?;
        }
        Ok(())
    }

    /// Waits until every packet is through the view and nothing happens in the background.
    ///
    /// # Errors
    /// A shard has failed.
    pub fn quiesce(&self) -> Result<(), EngineError> {
        self.on_each(|writer| writer.persist.quiesce())?;
        if let Some(memory) = &self.memory {
            memory.catch_up();
        }
        Ok(())
    }

    /// Does what is still owed for acknowledged rows; for how many rows something was.
    ///
    /// # Errors
    /// A shard has failed.
    pub fn settle(&self) -> Result<u64, EngineError> {
        Ok(self.on_each(|writer| writer.persist.settle(&mut writer.activity))?.into_iter().sum())
    }

    /// The names of the places where votes are stored; "memory" is the base table.
    ///
    /// # Errors
    /// A shard has failed.
    pub fn places(&self) -> Result<Vec<&'static str>, EngineError> {
        let mut places = self.on_each(|writer| {
            let memory = writer.graph.base().map(|_| "memory");
            Ok(writer.persist.places().iter().copied().chain(memory).collect::<Vec<_>>())
        })?;
        Ok(places.pop().unwrap_or_default())
    }

    /// Gives every stored vote to `each`, with the name of the place it is stored in ("memory" for the base table).
    /// Comes after everything acknowledged so far.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn read_back(&self, each: &mut dyn FnMut(&'static str, Vote)) -> Result<(), EngineError> {
        for (shard, running) in self.shards.iter().enumerate() {
            let (sender, chunks) = mpsc::sync_channel(4);
            let called = running.begin_call(move |writer| {
                let mut chunk = Chunk { sender, place: "", votes: Vec::new() };
                writer.persist.read_back(&mut |place, vote| chunk.add(place, vote))?;
                if let Some(base) = writer.graph.base() {
                    base.votes().for_each(|vote| chunk.add("memory", vote));
                }
                chunk.flush();
                Ok(())
            });
            for (place, votes) in chunks {
                votes.into_iter().for_each(|vote| each(place, vote));
            }
            called.answer()?.map_err(|error| EngineError::Persist { shard: shard as u16, error })?;
        }
        Ok(())
    }

    /// How large the files of all shards are together.
    ///
    /// # Errors
    /// A shard has failed.
    pub fn stored(&self) -> Result<Stored, EngineError> {
        let add = |sum: Option<u64>, bytes: Option<u64>| match (sum, bytes) {
            (Some(sum), Some(bytes)) => Some(sum + bytes),
            (sum, bytes) => sum.or(bytes),
        };
        Ok(self.on_each(|writer| Ok(writer.persist.stored()))?.into_iter().fold(Stored::default(), |sum, stored| {
            Stored {
                log_bytes: add(sum.log_bytes, stored.log_bytes),
                database_bytes: add(sum.database_bytes, stored.database_bytes),
                wal_bytes: add(sum.wal_bytes, stored.wal_bytes),
            }
        }))
    }

    /// Memory: of the base tables with the votes in them, and of operators and view.
    ///
    /// # Errors
    /// A shard has failed.
    pub fn memory(&self) -> Result<Memory, EngineError> {
        let parts = self.on_each(|writer| {
            let graph = &writer.graph;
            Ok((graph.base().map(|base| base.memory_bytes()), graph.votes(), graph.memory_bytes()))
        })?;
        let mut memory = Memory { base_bytes: None, votes: 0, article_bytes: self.view.memory_bytes() };
        for (base_bytes, votes, operator_bytes) in parts {
            memory.votes += votes;
            memory.article_bytes += operator_bytes;
            if let Some(bytes) = base_bytes {
                *memory.base_bytes.get_or_insert(0) += bytes;
            }
        }
        Ok(memory)
    }

    /// Times of merged packets and of checkpoints on writer threads.
    ///
    /// # Errors
    /// A shard has failed.
    pub fn distributions(&self) -> Result<BTreeMap<String, Histogram>, EngineError> {
        let mut merged = BTreeMap::<String, Histogram>::new();
        for (packets, checkpoints) in
            self.on_each(|writer| Ok((writer.activity.merged_ns.clone(), writer.activity.checkpoint_ns.clone())))?
        {
            merged.entry("merged_packet".to_owned()).or_default().merge(&packets);
            if !checkpoints.is_empty() {
                merged.entry("checkpoint".to_owned()).or_default().merge(&checkpoints);
            }
        }
        Ok(merged)
    }

    /// Stage clocks and the worst stall begin anew.
    ///
    /// # Errors
    /// A shard has failed.
    pub fn reset_stages(&self) -> Result<(), EngineError> {
        self.stages.reset();
        self.on_each(|writer| {
            writer.activity.reset_worst();
            Ok(())
        })
        .map(drop)
    }

    /// Writes the worst stall of each shard to the timeline.
    ///
    /// # Errors
    /// A shard has failed.
    pub fn report_worst_stalls(&self) -> Result<(), EngineError> {
        self.on_each(|writer| {
            writer.activity.report_worst();
            Ok(())
        })
        .map(drop)
    }

    /// Where the writer threads' time goes.
    pub const fn stages(&self) -> &StageTable {
        &self.stages
    }

    /// Ends the writer threads, having settled everything.
    ///
    /// # Errors
    /// The first shard that failed.
    pub fn close(mut self) -> Result<(), EngineError> {
        for shard in self.shards.drain(..) {
            shard.close()?;
        }
        Ok(())
    }

    fn on_each<R: Send + 'static>(
        &self,
        call: impl Fn(&mut Writer) -> Result<R, PersistError> + Send + Copy + 'static,
    ) -> Result<Vec<R>, EngineError> {
        let mut answers = Vec::new();
        for (shard, running) in self.shards.iter().enumerate() {
            let answer = running.call(call)?;
            answers.push(answer.map_err(|error| EngineError::Persist { shard: shard as u16, error })?);
        }
        Ok(answers)
    }
}

/// Votes on their way from a writer thread, of one place.
struct Chunk {
    sender: mpsc::SyncSender<(&'static str, Vec<Vote>)>,
    place: &'static str,
    votes: Vec<Vote>,
}

impl Chunk {
    const VOTES: usize = 1 << 16;

    fn add(&mut self, place: &'static str, vote: Vote) {
        if self.place != place || self.votes.len() == Self::VOTES {
            self.flush();
            self.place = place;
        }
        self.votes.push(vote);
    }

    fn flush(&mut self) {
        // Who no longer listens has failed otherwise and says so.
        let _ = self.sender.send((self.place, std::mem::take(&mut self.votes)));
    }
}

/// Memory of an engine, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Base tables of votes with their index; absent where they are in SQLite.
    pub base_bytes: Option<usize>,
    /// Votes that ran through the graph.
    pub votes: u64,
    /// Count, join and view, which grow with the articles.
    pub article_bytes: usize,
}

/// Memory of `votes` votes, there at once. More than there is would end the process, and with no word.
fn reserve(votes: u64) -> Result<Preparer, EngineError> {
    let chunks = graph::chunks_of(votes);
    let needed = chunks as u64 * CHUNK_BYTES as u64;
    if let Some(available) = memory::available()
        && needed > available
    {
        return Err(EngineError::Memory { votes, needed, available });
    }
    Preparer::start(chunks)
        .map_err(|error| EngineError::Io { doing: "starting the thread that prepares memory", error })
}

/// Takes the directory for this engine alone: two would write over each other.
fn lock(directory: &Path, disk: &dyn Disk) -> Result<Box<dyn DiskLock>, EngineError> {
    disk.lock(&directory.join("lock")).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => EngineError::InUse { directory: directory.display().to_string() },
        _ => EngineError::Io { doing: "locking the data directory", error },
    })
}

fn refuse_other_shards(directory: &Path, shards: u16, disk: &dyn Disk) -> Result<(), EngineError> {
    let ours: Vec<String> = (0..shards).map(|shard| persist::shard_name(shard, shards)).collect();
    let files = disk.list(directory).map_err(|error| EngineError::Io { doing: "listing the data directory", error })?;
    for file in files {
        let stem = file.split('.').next().unwrap_or_default();
        if file.starts_with("shard-") && !ours.iter().any(|name| name == stem) {
            return Err(EngineError::OtherShards { file, shards });
        }
    }
    Ok(())
}

/// Packets of one client under construction, one for each shard.
#[derive(Debug)]
pub struct Packets {
    parts: Vec<(Vec<u8>, u32)>,
    waiting: Vec<(usize, u64)>,
}

impl Packets {
    /// Empty packets for an engine.
    pub fn new(engine: &Engine) -> Self {
        let shards = engine.shards.len();
        Self { parts: vec![(Vec::new(), 0); shards], waiting: Vec::with_capacity(shards) }
    }

    /// Adds a vote, whose article must be below [`ARTICLES_MAX`].
    #[inline]
    pub fn add(&mut self, engine: &Engine, vote: Vote) {
        debug_assert!(vote.article < ARTICLES_MAX);
        let (bytes, rows) = &mut self.parts[engine.shard_of(vote.article)];
        bytes.extend_from_slice(&vote.encode());
        *rows += 1;
    }

    /// Sends the packets and waits until all are acknowledged; they are empty then.
    ///
    /// # Errors
    /// A shard has failed: of the votes in it nothing is known, those of the others may be acknowledged.
    pub fn send(&mut self, engine: &Engine) -> Result<(), Failed> {
        let mut outcome = Ok(());
        for (shard, (bytes, rows)) in self.parts.iter_mut().enumerate() {
            if *rows > 0 {
                match engine.shards[shard].submit(Table::Vote, bytes, *rows) {
                    Ok(number) => self.waiting.push((shard, number)),
                    Err(failed) => outcome = Err(failed),
                }
                bytes.clear();
                *rows = 0;
            }
        }
        for (shard, number) in self.waiting.drain(..) {
            if let Err(failed) = engine.shards[shard].wait(number) {
                outcome = Err(failed);
            }
        }
        outcome
    }
}
