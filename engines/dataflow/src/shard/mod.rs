//! A shard of the base tables: its inbox and its writer thread.

pub mod activity;
pub mod inbox;

use std::{
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

use uplift_instrument::clock;

use self::{
    activity::{Activity, Stage},
    inbox::{Failed, Inbox, Work},
};
use crate::{counters::Counters, graph::Graph, persist::Persist, row::Table};

/// What the writer thread owns.
pub struct Writer {
    /// Makes rows durable.
    pub persist: Box<dyn Persist>,
    /// Lets them run to the view.
    pub graph: Graph,
    /// What it does when.
    pub activity: Activity,
    counters: Arc<Counters>,
}

impl Writer {
    /// A writer that has recovered what there was.
    pub fn new(persist: Box<dyn Persist>, graph: Graph, activity: Activity, counters: Arc<Counters>) -> Self {
        Self { persist, graph, activity, counters }
    }

    fn run(mut self, inbox: &Inbox<Self>) {
        clock::precise_timers();
        loop {
            self.activity.enter(Stage::Collect);
            match inbox.next() {
                Work::Group(mut group) => {
                    if inbox.failed().is_some() {
                        continue;
                    }
                    let start_ns = clock::now_ns();
                    if let Err(error) = self.persist.persist(&mut group, &mut self.activity) {
                        inbox.fail(error.to_string());
                        continue;
                    }
                    let took_ns = clock::now_ns() - start_ns;
                    inbox.acknowledge(group.number);
                    self.activity.acknowledged(group.first_ns, group.rows);
                    self.counters.merged(&group, took_ns);
                    self.activity.enter(Stage::Process);
                    self.graph.process(group.table, group.payload());
                    if let Err(error) = self.persist.acknowledged(&group, &mut self.activity) {
                        inbox.fail(error.to_string());
                    }
                    inbox.recycle(group);
                }
                Work::Call(call) => call(&mut self),
                Work::Close => {
                    // What a shard that failed has on disk is for recovery to judge: nothing may say that it is whole.
                    if inbox.failed().is_some() {
                        return;
                    }
                    if let Err(error) = self.persist.close(&mut self.activity) {
                        inbox.fail(error.to_string());
                    }
                    return;
                }
            }
        }
    }
}

/// A running shard. Dropping it ends the writer in order: what was acknowledged is settled first.
pub struct Shard {
    inbox: Arc<Inbox<Writer>>,
    thread: Option<JoinHandle<()>>,
}

impl Shard {
    /// Starts the writer thread.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(index: u16, writer: Writer, inbox: Inbox<Writer>) -> std::io::Result<Self> {
        let inbox = Arc::new(inbox);
        let shared = Arc::clone(&inbox);
        let thread = thread::Builder::new().name(format!("shard-{index}")).spawn(move || {
            // A writer that panics must not leave clients waiting for ever.
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| writer.run(&shared)));
            if outcome.is_err() {
                shared.abandon("its writer thread panicked".to_owned());
            }
        })?;
        Ok(Self { inbox, thread: Some(thread) })
    }

    /// Hands in a packet; what to wait for.
    ///
    /// # Errors
    /// The shard has failed.
    pub fn submit(&self, table: Table, packet: &[u8], rows: u32) -> Result<u64, Failed> {
        self.inbox.submit(table, packet, rows)
    }

    /// Waits until the packet is acknowledged.
    ///
    /// # Errors
    /// The shard has failed.
    pub fn wait(&self, number: u64) -> Result<(), Failed> {
        self.inbox.wait(number)
    }

    /// Calls `call` on the writer thread once every packet so far is through the view, and returns its answer.
    ///
    /// # Errors
    /// The shard has failed.
    pub fn call<R: Send + 'static>(&self, call: impl FnOnce(&mut Writer) -> R + Send + 'static) -> Result<R, Failed> {
        self.begin_call(call).answer()
    }

    /// As [`Shard::call`], without waiting for the answer.
    pub fn begin_call<R: Send + 'static>(&self, call: impl FnOnce(&mut Writer) -> R + Send + 'static) -> Called<'_, R> {
        let (answer, answers) = mpsc::channel();
        self.inbox.call(Box::new(move |writer| {
            let _ = answer.send(call(writer));
        }));
        Called { inbox: &self.inbox, answers }
    }

    /// Ends the writer and waits for it.
    ///
    /// # Errors
    /// What was acknowledged could not be settled.
    pub fn close(mut self) -> Result<(), Failed> {
        self.join();
        self.inbox.failed().map_or(Ok(()), Err)
    }

    fn join(&mut self) {
        self.inbox.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A call that the writer thread has been asked for.
pub struct Called<'a, R> {
    inbox: &'a Inbox<Writer>,
    answers: mpsc::Receiver<R>,
}

impl<R> Called<'_, R> {
    /// Waits for the answer.
    ///
    /// # Errors
    /// The shard has failed.
    pub fn answer(self) -> Result<R, Failed> {
        let answered = self.answers.recv();
        if let Some(failed) = self.inbox.failed() {
            return Err(failed);
        }
        answered.map_err(|_| Failed("its writer thread has ended".to_owned()))
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.join();
    }
}
