//! A stage clock for the calling thread, so that code deep within an engine needs none handed down.
//!
//! A target installs its table, its threads attach themselves by name, and whatever runs on them opens spans. On a thread
//! without a clock, and in a process without a table, a span costs one look at a thread's own variable.

use std::{cell::RefCell, marker::PhantomData};

use parking_lot::Mutex;

use super::{StageClock, StageTable, State};

/// The table of the process: an agent has one target.
static TABLE: Mutex<Option<StageTable>> = Mutex::new(None);

thread_local! {
    static CLOCK: RefCell<Option<StageClock>> = const { RefCell::new(None) };
}

/// Makes `table` the one that threads attach themselves to from now on.
pub fn install(table: &StageTable) {
    *TABLE.lock() = Some(table.clone());
}

/// Gives the calling thread a clock of the installed table, under the name `worker`, until the thread ends. Does nothing
/// where no table is installed or the thread has a clock.
pub fn attach(worker: &str) {
    CLOCK.with_borrow_mut(|clock| {
        if clock.is_none() {
            *clock = TABLE.lock().as_ref().map(|table| table.clock(worker));
        }
    });
}

/// The calling thread is at work in `stage` until the span is dropped; then it does again what it did before.
#[inline]
pub fn process(stage: usize) -> Span {
    Span::enter(Some((stage, false)))
}

/// The calling thread waits for a neighbour, within `stage`, until the span is dropped.
#[inline]
pub fn wait(stage: usize) -> Span {
    Span::enter(Some((stage, true)))
}

/// From now on the calling thread is at work in `stage`, without an end: for code that says what it goes on to.
#[inline]
pub fn now_processing(stage: usize) {
    now(Some((stage, false)));
}

/// From now on the calling thread waits for a neighbour, within `stage`.
#[inline]
pub fn now_waiting(stage: usize) {
    now(Some((stage, true)));
}

fn now(state: State) {
    CLOCK.with_borrow_mut(|clock| clock.as_mut().map(|clock| clock.switch(state)));
}

/// A span of the thread that opened it.
#[derive(Debug)]
#[must_use = "a span ends when it is dropped"]
pub struct Span {
    /// What the thread did before; `None` where it has no clock.
    before: Option<State>,
    /// It must be dropped on its own thread.
    not_send: PhantomData<*const ()>,
}

impl Span {
    #[inline]
    fn enter(state: State) -> Self {
        let before = CLOCK.with_borrow_mut(|clock| clock.as_mut().map(|clock| clock.switch(state)));
        Self { before, not_send: PhantomData }
    }
}

impl Drop for Span {
    #[inline]
    fn drop(&mut self) {
        if let Some(before) = self.before {
            // A thread that ends may have dropped its clock already.
            let _ = CLOCK.try_with(|clock| {
                if let Some(clock) = clock.borrow_mut().as_mut() {
                    clock.switch(before);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{thread::sleep, time::Duration};

    use super::*;

    #[test]
    fn spans_nest_and_a_thread_without_a_clock_has_none() {
        drop(process(0));
        let table = StageTable::new(&["request", "lock"]);
        install(&table);
        std::thread::spawn(|| {
            attach("client");
            attach("another name changes nothing");
            let _request = process(0);
            sleep(Duration::from_millis(3));
            {
                let _lock = wait(1);
                sleep(Duration::from_millis(5));
            }
            sleep(Duration::from_millis(3));
        })
        .join()
        .unwrap();
        let records = table.records();
        assert_eq!(records.len(), 2, "{records:?}");
        assert!(records.iter().all(|record| record.worker.as_deref() == Some("client")));
        assert!(records[0].process_ns >= 6_000_000 && records[0].wait_ns == 0, "{records:?}");
        assert!(records[1].wait_ns >= 5_000_000 && records[1].process_ns == 0, "{records:?}");
        assert!(records[0].process_ns + records[1].wait_ns <= records[0].wall_ns.unwrap());
    }
}
