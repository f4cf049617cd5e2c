//! Memory for base tables, prepared before it is needed.
//!
//! The first write to a page of new memory costs a fault, and where a host lends the machine its memory, a fault of the
//! host as well: many times what the row itself costs, while the writer thread acknowledges nothing. So a thread of the
//! engine has chunks ready whose pages are there: huge ones, where the system has them. Where rows come faster than a
//! thread can prepare memory for them beside everything else, it is reserved when the engine is opened.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use memmap2::{Advice, MmapMut};

use crate::scheduling;

/// Bytes of a chunk: a huge page of the usual size.
pub const CHUNK_BYTES: usize = 2 << 20;

/// The most chunks that are ready at once, for all tables of an engine together.
pub const AHEAD_MAX: usize = 16;

/// The smallest page that the system may have.
const PAGE_BYTES_MIN: usize = 4096;

/// Bytes that the system can give without taking them from anybody; `None` where it does not say.
pub fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)
}

/// A piece of memory, zeros at first.
#[derive(Debug)]
pub struct Chunk(MmapMut);

impl Chunk {
    /// A chunk whose pages come one by one as they are written.
    ///
    /// # Panics
    /// Where the system has no more memory to give.
    fn new() -> Self {
        Self(MmapMut::map_anon(CHUNK_BYTES).expect("the system gives memory for a base table"))
    }

    /// A chunk whose pages are there.
    fn prepared() -> Self {
        let mut chunk = Self::new();
        // A system that has no huge pages gives small ones.
        let _ = chunk.0.advise(Advice::HugePage);
        // Touched and not populated by advice, which would lock the process's address space for as long as it takes, and
        // with it a writer that takes an unprepared chunk meanwhile.
        chunk.0.iter_mut().step_by(PAGE_BYTES_MIN).for_each(|byte| *byte = 0);
        chunk
    }

    /// Its bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its bytes, to be written.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// Where tables take their chunks from. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Chunks(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// As many are ready as shall be.
    caught_up: Condvar,
}

#[derive(Debug, Default)]
struct State {
    ready: Vec<Chunk>,
    taken: usize,
    closed: bool,
}

impl State {
    /// Whether as many are ready as shall be: never more than are in use, so that small tables stay small.
    fn is_caught_up(&self) -> bool {
        self.ready.len() >= self.taken.min(AHEAD_MAX)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Chunks {
    /// A chunk: a prepared one where there is one.
    ///
    /// # Panics
    /// Where the system has no more memory to give.
    pub fn take(&self) -> Chunk {
        let mut state = self.0.lock();
        state.taken += 1;
        let ready = state.ready.pop();
        drop(state);
        self.0.changed.notify_one();
        ready.unwrap_or_else(Chunk::new)
    }

    /// Chunks that were taken, and those that are ready.
    pub fn counts(&self) -> (usize, usize) {
        let state = self.0.lock();
        (state.taken, state.ready.len())
    }

    fn prepare(&self) {
        // A thread that the system gave no memory is no more: nobody may wait for it.
        let _closes = Closes(&self.0);
        scheduling::can_wait();
        loop {
            let mut state = self.0.lock();
            while !state.closed && state.is_caught_up() {
                self.0.caught_up.notify_all();
                state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.closed {
                return;
            }
            drop(state);
            let chunk = Chunk::prepared();
            self.0.lock().ready.push(chunk);
        }
    }
}

/// Says that nothing more will be prepared, when it is dropped.
struct Closes<'a>(&'a Shared);

impl Drop for Closes<'_> {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.caught_up.notify_all();
    }
}

/// The thread that prepares chunks. Dropping it ends it; chunks can be taken all the same.
#[derive(Debug)]
pub struct Preparer {
    chunks: Chunks,
    thread: Option<JoinHandle<()>>,
}

impl Preparer {
    /// Prepares `reserved` chunks and starts the thread.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(reserved: usize) -> std::io::Result<Self> {
        let chunks = Chunks::default();
        chunks.0.lock().ready = (0..reserved).map(|_| Chunk::prepared()).collect();
        let theirs = chunks.clone();
        let thread = thread::Builder::new().name("memory".to_owned()).spawn(move || theirs.prepare())?;
        Ok(Self { chunks, thread: Some(thread) })
    }

    /// What it prepares.
    pub const fn chunks(&self) -> &Chunks {
        &self.chunks
    }

    /// Waits until it has prepared what it will while nothing is taken. Whoever calls an engine quiet before would have it
    /// fault in up to 32 MiB afterwards, on somebody else's time.
    pub fn catch_up(&self) {
        let mut state = self.chunks.0.lock();
        while !state.is_caught_up() && !state.closed {
            state = self.chunks.0.caught_up.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Preparer {
    fn drop(&mut self) {
        self.chunks.0.lock().closed = true;
        self.chunks.0.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many chunks become ready as are in use, up to the most; all are zeros of the same length and no two the same.
    #[test]
    fn chunks_are_ready_as_far_ahead_as_they_are_used() {
        let preparer = Preparer::start(0).unwrap();
        let mut taken: Vec<Chunk> = Vec::new();
        for number in 1..=AHEAD_MAX + 4 {
            taken.push(preparer.chunks().take());
            preparer.catch_up();
            assert_eq!(preparer.chunks().counts(), (number, number.min(AHEAD_MAX)));
        }
        for (chunk, number) in taken.iter_mut().zip(1..) {
            assert_eq!(chunk.bytes().len(), CHUNK_BYTES);
            assert!(chunk.bytes().iter().all(|&byte| byte == 0));
            chunk.bytes_mut().fill(number);
        }
        for (chunk, number) in taken.iter().zip(1..) {
            assert!(chunk.bytes().iter().all(|&byte| byte == number));
        }
    }

    /// What is reserved is there at once, and is used up before more is prepared.
    #[test]
    fn reserved_chunks_are_there_at_once() {
        let reserved = AHEAD_MAX + 3;
        let preparer = Preparer::start(reserved).unwrap();
        for taken in 0..=3 {
            assert_eq!(preparer.chunks().counts(), (taken, reserved - taken));
            drop(preparer.chunks().take());
        }
    }

    #[test]
    fn without_a_thread_chunks_come_unprepared() {
        let preparer = Preparer::start(0).unwrap();
        let chunks = preparer.chunks().clone();
        drop(preparer);
        for number in 1..4 {
            assert!(chunks.take().bytes().iter().all(|&byte| byte == 0));
            assert_eq!(chunks.counts(), (number, 0));
        }
    }
}
