//! Where packets of one shard wait, are merged, and are acknowledged.
//!
//! Clients append their packets to the newest group; the writer takes the oldest. While it makes one group durable the
//! next fills, so that a group holds what arrived during the last sync. A client waits for its group's number.

use std::{
    collections::VecDeque,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use uplift_instrument::clock;

use crate::{
    log::record::{HEADER_BYTES, PAYLOAD_BYTES_MAX},
    row::Table,
};

/// A merged packet.
#[derive(Debug)]
pub struct Group {
    /// Its number, from 1 without gaps.
    pub number: u64,
    /// The table of its rows.
    pub table: Table,
    /// Room for a record's header, then the encoded rows.
    pub bytes: Vec<u8>,
    /// How many rows.
    pub rows: u32,
    /// How many packets.
    pub packets: u32,
    /// When the first of them arrived.
    pub first_ns: u64,
}

impl Group {
    /// The encoded rows.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[HEADER_BYTES..]
    }
}

/// What the writer is to do next.
pub enum Work<W> {
    /// Make this group durable.
    Group(Group),
    /// Call this.
    Call(Call<W>),
    /// Nothing will come any more.
    Close,
}

/// Something to be done by the writer thread.
pub type Call<W> = Box<dyn FnOnce(&mut W) + Send>;

/// The shard can take no more packets, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shard has failed: {0}")]
pub struct Failed(pub String);

/// Condition variables of waiting clients, by group number: those of the next group sleep on while one is acknowledged.
const GATES: usize = 4;

/// The inbox of a writer `W`.
pub struct Inbox<W> {
    state: Mutex<State<W>>,
    work: Condvar,
    acknowledged: AtomicU64,
    gates: [Condvar; GATES],
    batch_rows_max: u32,
    flush_timeout_ns: u64,
}

struct State<W> {
    groups: VecDeque<Group>,
    calls: VecDeque<Call<W>>,
    spare: Vec<Vec<u8>>,
    newest: u64,
    writer_waits: bool,
    failed: Option<Failed>,
    closed: bool,
    /// The writer thread is no more: nothing will answer a call.
    abandoned: bool,
}

impl<W> Inbox<W> {
    /// An empty inbox that merges packets up to `batch_rows_max` rows, letting the first wait for `flush_timeout_ns`.
    pub fn new(batch_rows_max: u32, flush_timeout_ns: u64) -> Self {
        Self {
            state: Mutex::new(State {
                groups: VecDeque::new(),
                calls: VecDeque::new(),
                spare: Vec::new(),
                newest: 0,
                writer_waits: false,
                failed: None,
                closed: false,
                abandoned: false,
            }),
            work: Condvar::new(),
            acknowledged: AtomicU64::new(0),
            gates: Default::default(),
            batch_rows_max,
            flush_timeout_ns,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands in a packet of `rows` encoded rows; the number of the group to wait for. A packet is never split: one that
    /// is larger than the largest group is a group of its own.
    ///
    /// # Errors
    /// The shard has failed.
    pub fn submit(&self, table: Table, packet: &[u8], rows: u32) -> Result<u64, Failed> {
        let mut state = self.lock();
        if let Some(failed) = &state.failed {
            return Err(failed.clone());
        }
        let fits = |group: &Group| {
            group.table == table
                && group.rows.saturating_add(rows) <= self.batch_rows_max
                && group.payload().len() + packet.len() <= PAYLOAD_BYTES_MAX
        };
        if !state.groups.back().is_some_and(fits) {
            state.newest += 1;
            let mut bytes = state.spare.pop().unwrap_or_default();
            bytes.clear();
            bytes.resize(HEADER_BYTES, 0);
            let number = state.newest;
            state.groups.push_back(Group { number, table, bytes, rows: 0, packets: 0, first_ns: clock::now_ns() });
        }
        let waiting = state.groups.len();
        let group = state.groups.back_mut().expect("a group was pushed where there was none");
        group.bytes.extend_from_slice(packet);
        group.rows += rows;
        group.packets += 1;
        let (number, first, full) = (group.number, group.packets == 1, group.rows >= self.batch_rows_max);
        // The writer sleeps until something is ready: woken for the first packet, which starts its clock, and for a full group.
        if state.writer_waits && (first || full || waiting > 1) {
            state.writer_waits = false;
            drop(state);
            self.work.notify_one();
        }
        Ok(number)
    }

    /// Waits until group `number` is acknowledged.
    ///
    /// # Errors
    /// The shard has failed before that.
    pub fn wait(&self, number: u64) -> Result<(), Failed> {
        if self.acknowledged.load(Ordering::Acquire) >= number {
            return Ok(());
        }
        let mut state = self.lock();
        loop {
            if self.acknowledged.load(Ordering::Acquire) >= number {
                return Ok(());
            }
            if let Some(failed) = &state.failed {
                return Err(failed.clone());
            }
            state = self.gates[number as usize % GATES].wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What the writer is to do next; sleeps until there is something. Groups come before calls, so that a call sees
    /// every packet that was handed in before it.
    pub fn next(&self) -> Work<W> {
        let mut state = self.lock();
        loop {
            match state.groups.front() {
                None => {
                    if let Some(call) = state.calls.pop_front() {
                        return Work::Call(call);
                    }
                    if state.closed {
                        return Work::Close;
                    }
                    state.writer_waits = true;
                    state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                Some(front) => {
                    let full = front.rows >= self.batch_rows_max || state.groups.len() > 1;
                    let due_ns = front.first_ns + self.flush_timeout_ns;
                    let now_ns = if full || self.flush_timeout_ns == 0 { due_ns } else { clock::now_ns() };
                    // Whoever calls or closes does not wait for packets to merge.
                    if now_ns >= due_ns || !state.calls.is_empty() || state.closed {
                        return Work::Group(state.groups.pop_front().expect("there is a front"));
                    }
                    state.writer_waits = true;
                    let timeout = Duration::from_nanos(due_ns - now_ns);
                    state = self.work.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
            state.writer_waits = false;
        }
    }

    /// Group `number` is as durable as was promised: wakes its clients.
    pub fn acknowledge(&self, number: u64) {
        let state = self.lock();
        self.acknowledged.store(number, Ordering::Release);
        drop(state);
        self.gates[number as usize % GATES].notify_all();
    }

    /// Gives a group's memory back.
    pub fn recycle(&self, group: Group) {
        let mut state = self.lock();
        if state.spare.len() < GATES {
            state.spare.push(group.bytes);
        }
    }

    /// Nothing more can be made durable: every waiting and later packet fails.
    pub fn fail(&self, why: String) {
        let mut state = self.lock();
        state.failed.get_or_insert(Failed(why));
        state.groups.clear();
        drop(state);
        self.gates.iter().for_each(Condvar::notify_all);
    }

    /// Why the shard has failed, where it has.
    pub fn failed(&self) -> Option<Failed> {
        self.lock().failed.clone()
    }

    /// The writer thread has ended early: everything fails, and calls are dropped.
    pub fn abandon(&self, why: String) {
        let mut state = self.lock();
        state.abandoned = true;
        state.calls.clear();
        drop(state);
        self.fail(why);
    }

    /// Lets the writer thread call `call` when all packets so far are through. Dropped where there is no thread.
    pub fn call(&self, call: Call<W>) {
        let mut state = self.lock();
        if !state.abandoned {
            state.calls.push_back(call);
        }
        drop(state);
        self.work.notify_one();
    }

    /// Lets the writer thread end when everything is done.
    pub fn close(&self) {
        self.lock().closed = true;
        self.work.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(work: Work<()>) -> (u64, u32, u32) {
        match work {
            Work::Group(group) => (group.number, group.packets, group.rows),
            _ => panic!("a group was expected"),
        }
    }

    #[test]
    fn packets_merge_up_to_the_batch_and_are_never_split() {
        let inbox: Inbox<()> = Inbox::new(10, u64::MAX / 2);
        let numbers: Vec<u64> = [4, 6, 3, 30, 1]
            .into_iter()
            .map(|count| inbox.submit(Table::Vote, &vec![0; count * 12], count as u32).unwrap())
            .collect();
        assert_eq!(numbers, [1, 1, 2, 3, 4]);
        assert_eq!(rows(inbox.next()), (1, 2, 10));
        assert_eq!(rows(inbox.next()), (2, 1, 3), "not full, but others wait behind it");
        assert_eq!(rows(inbox.next()), (3, 1, 30));
        inbox.close();
        assert_eq!(rows(inbox.next()), (4, 1, 1), "closing does not wait for the timeout");
        assert!(matches!(inbox.next(), Work::Close));
    }

    #[test]
    fn a_group_is_no_longer_than_a_record() {
        let inbox: Inbox<()> = Inbox::new(u32::MAX, 0);
        let half = vec![0; PAYLOAD_BYTES_MAX / 2];
        let numbers = [&half[..], &half[..], &half[..1]].map(|packet| inbox.submit(Table::Article, packet, 1).unwrap());
        assert_eq!(numbers, [1, 1, 2]);
    }

    #[test]
    fn tables_do_not_mix() {
        let inbox: Inbox<()> = Inbox::new(10, 0);
        assert_eq!(inbox.submit(Table::Article, &[0; 6], 1).unwrap(), 1);
        assert_eq!(inbox.submit(Table::Vote, &[0; 12], 1).unwrap(), 2);
    }

    /// No acknowledgement is seen before it is given, and a failure reaches everybody who waits.
    #[test]
    fn clients_wait_for_their_group_and_no_longer() {
        let inbox: Inbox<()> = Inbox::new(1, 0);
        std::thread::scope(|scope| {
            let waiting: Vec<_> = (0..8)
                .map(|_| {
                    let inbox = &inbox;
                    scope.spawn(move || {
                        let number = inbox.submit(Table::Vote, &[0; 12], 1).unwrap();
                        (number, inbox.wait(number))
                    })
                })
                .collect();
            for _ in 0..5 {
                let (number, ..) = rows(inbox.next());
                inbox.acknowledge(number);
            }
            while inbox.lock().newest < 8 {
                std::thread::yield_now();
            }
            inbox.fail("the disk is gone".to_owned());
            for thread in waiting {
                let (number, outcome) = thread.join().unwrap();
                assert_eq!(outcome.is_ok(), number <= 5, "{number}");
            }
        });
        assert_eq!(inbox.submit(Table::Vote, &[0; 12], 1), Err(Failed("the disk is gone".to_owned())));
    }
}
