//! A future whose polls and pauses are timed apart.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use super::StageClock;

/// A future that tells a stage clock when it works and when it waits.
#[derive(Debug)]
pub struct Timed<F> {
    clock: StageClock,
    stage: usize,
    future: F,
}

impl<F> Timed<F> {
    pub(super) const fn new(clock: StageClock, stage: usize, future: F) -> Self {
        Self { clock, stage, future }
    }
}

impl<F: Future + Unpin> Future for Timed<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { clock, stage, future } = self.get_mut();
        clock.process(*stage);
        let polled = Pin::new(future).poll(context);
        match polled {
            Poll::Pending => clock.wait(*stage),
            Poll::Ready(_) => clock.leave(),
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::{
        task::Waker,
        thread,
        time::{Duration, Instant},
    };

    use super::*;
    use crate::stage::StageTable;

    /// Works for a while, is not ready once, and works again.
    struct Twice(bool);

    impl Future for Twice {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(2) {}
            if std::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
        }
    }

    #[test]
    fn polls_are_work_and_what_lies_between_is_waiting() {
        let table = StageTable::new(&["fetch"]);
        let mut future = table.timed("calls", 0, Twice(false));
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut future).poll(&mut context).is_pending());
        thread::sleep(Duration::from_millis(10));
        assert!(Pin::new(&mut future).poll(&mut context).is_ready());
        drop(future);
        let records = table.records();
        assert!(records[0].process_ns >= 4_000_000 && records[0].wait_ns >= 10_000_000, "{records:?}");
        assert_eq!(records[0].count, 1, "a call is one span, however often it is polled");
    }
}
