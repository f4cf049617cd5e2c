//! One queue for each database, served in turn by a number of workers.

use std::{
    collections::VecDeque,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use uplift_instrument::stage::thread as span;

use crate::{
    error::{StoreError, StoreErrorKind},
    stages,
    store::{Operation, Reply, Request},
};

/// A request that waits, with the place for its answer.
struct Job {
    operation: Operation,
    id: u64,
    document: Vec<u8>,
    answer: Arc<Answer>,
}

/// A result, and the document that was read.
type Done = (Result<Reply, StoreError>, Vec<u8>);

/// Where a caller waits for its answer.
#[derive(Default)]
struct Answer {
    state: Mutex<Option<Done>>,
    ready: Condvar,
}

/// Queues and workers.
pub struct Scheduler {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    queues: Mutex<Queues>,
    work: Condvar,
    limit: usize,
}

struct Queues {
    jobs: Vec<VecDeque<Job>>,
    /// The database whose turn it is.
    next: usize,
    waiting: usize,
    waiting_most: usize,
    /// Sum over requests of how many waited when they came.
    waiting_sum: u64,
    requests: u64,
    refused: u64,
    stop: bool,
}

/// What a scheduler counted.
#[derive(Clone, Copy, Debug)]
pub struct SchedulerStatistics {
    /// Worker threads.
    pub workers: usize,
    /// Requests that wait now.
    pub waiting: usize,
    /// Most that ever waited.
    pub waiting_most: usize,
    /// Sum over requests of how many waited when they came.
    pub waiting_sum: u64,
    /// Requests taken.
    pub requests: u64,
    /// Requests refused because their queue was full.
    pub refused: u64,
}

/// What carries a request out: database, request, place for the document read.
pub type Execute = dyn Fn(Request<'_>, &mut Vec<u8>) -> Result<Reply, StoreError> + Send + Sync;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Scheduler {
    /// Starts `workers` threads over `databases` queues of at most `limit` requests each.
    ///
    /// # Errors
    /// When a thread could not be started.
    pub fn start(databases: u16, workers: usize, limit: usize, execute: Arc<Execute>) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared {
            queues: Mutex::new(Queues {
                jobs: (0..databases).map(|_| VecDeque::new()).collect(),
                next: 0,
                waiting: 0,
                waiting_most: 0,
                waiting_sum: 0,
                requests: 0,
                refused: 0,
                stop: false,
            }),
            work: Condvar::new(),
            limit,
        });
        let mut scheduler = Self { shared, workers: Vec::with_capacity(workers) };
        for index in 0..workers {
            let (shared, execute) = (Arc::clone(&scheduler.shared), Arc::clone(&execute));
            let worker = thread::Builder::new()
                .name(format!("scheduler-{index}"))
                .spawn(move || work(&shared, &*execute))
                .map_err(|error| StoreError::engine("starting a scheduler worker", error))?;
            scheduler.workers.push(worker);
        }
        Ok(scheduler)
    }

    /// Queues a request and waits until a worker has carried it out.
    ///
    /// # Errors
    /// [`StoreErrorKind::QueueFull`] when the database's queue is at its limit; else what the worker's work said.
    pub fn submit(&self, request: Request<'_>, document: &mut Vec<u8>) -> Result<Reply, StoreError> {
        thread_local! {
            static ANSWER: Arc<Answer> = Arc::default();
        }
        document.clear();
        ANSWER.with(|answer| {
            let mut queues = lock(&self.shared.queues);
            if queues.stop {
                return Err(StoreError::new("queueing a request", StoreErrorKind::Closed));
            }
            let database = usize::from(request.database);
            let databases = queues.jobs.len();
            let Some(queue) = queues.jobs.get_mut(database) else {
                let why = format!("there is no database {database}; they are numbered from 0 to {}", databases - 1);
                return Err(StoreError::new("queueing a request", StoreErrorKind::Refused(why)));
            };
            if queue.len() >= self.shared.limit {
                queues.refused += 1;
                let kind = StoreErrorKind::QueueFull { limit: self.shared.limit };
                return Err(StoreError::new("queueing a request", kind));
            }
            queue.push_back(Job {
                operation: request.operation,
                id: request.id,
                document: request.document.to_vec(),
                answer: Arc::clone(answer),
            });
            queues.waiting_sum += queues.waiting as u64;
            queues.requests += 1;
            queues.waiting += 1;
            queues.waiting_most = queues.waiting_most.max(queues.waiting);
            drop(queues);
            self.shared.work.notify_one();

            let _answer = span::wait(stages::ANSWER);
            let mut state = lock(&answer.state);
            loop {
                if let Some((result, read)) = state.take() {
                    *document = read;
                    return result;
                }
                state = answer.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        })
    }

    /// What was counted.
    pub fn statistics(&self) -> SchedulerStatistics {
        let queues = lock(&self.shared.queues);
        SchedulerStatistics {
            workers: self.workers.len(),
            waiting: queues.waiting,
            waiting_most: queues.waiting_most,
            waiting_sum: queues.waiting_sum,
            requests: queues.requests,
            refused: queues.refused,
        }
    }
}

impl Drop for Scheduler {
    /// Carries out what is queued, then ends the workers.
    fn drop(&mut self) {
        lock(&self.shared.queues).stop = true;
        self.shared.work.notify_all();
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

fn work(shared: &Shared, execute: &Execute) {
    span::attach("scheduler");
    let _queue = span::wait(stages::QUEUE);
    let mut queues = lock(&shared.queues);
    loop {
        while queues.waiting == 0 {
            if queues.stop {
                return;
            }
            queues = shared.work.wait(queues).unwrap_or_else(PoisonError::into_inner);
        }
        let databases = queues.jobs.len();
        let turn = queues.next;
        let found = (0..databases).map(|step| (turn + step) % databases).find(|&index| !queues.jobs[index].is_empty());
        let Some((database, job)) = found.and_then(|index| queues.jobs[index].pop_front().map(|job| (index, job)))
        else {
            continue;
        };
        queues.next = (database + 1) % databases;
        queues.waiting -= 1;
        drop(queues);

        let mut read = Vec::new();
        let request =
            Request { operation: job.operation, database: database as u16, id: job.id, document: &job.document };
        let engine = span::process(stages::ENGINE);
        // Who waits for the answer is to have one, and the worker goes on.
        let carried_out = panic::catch_unwind(AssertUnwindSafe(|| execute(request, &mut read)));
        let result = carried_out.unwrap_or_else(|_| Err(StoreError::panicked("carrying out a request")));
        drop(engine);
        let reply = span::process(stages::REPLY);
        *lock(&job.answer.state) = Some((result, read));
        job.answer.ready.notify_one();
        drop(reply);

        queues = lock(&shared.queues);
    }
}
