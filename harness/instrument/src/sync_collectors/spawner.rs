//! A thread that starts programs, so that they inherit what the thread has and the rest of the process has not.

use std::{
    io,
    process::{Child, Command},
    sync::mpsc::{self, Sender},
    thread::{self, JoinHandle},
};

use parking_lot::Mutex;
use uplift_model::Problem;

enum Order {
    Spawn(Box<Command>, Sender<io::Result<Child>>),
    Call(Box<dyn FnOnce() + Send>),
}

/// The thread. It ends when this is dropped.
pub struct Spawner {
    orders: Option<Mutex<Sender<Order>>>,
    thread: Option<JoinHandle<()>>,
}

impl Spawner {
    /// Starts the thread, which first carries out `prepare`; returns what that gives.
    ///
    /// # Errors
    /// That of `prepare`, or that there is no thread.
    pub fn start<T: Send + 'static>(
        prepare: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<(Self, T), Problem> {
        let (orders, received) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || {
                let prepared = prepare();
                let failed = prepared.is_err();
                if tell.send(prepared).is_err() || failed {
                    return;
                }
                drop(tell);
                for order in received {
                    match order {
                        Order::Spawn(mut command, answer) => {
                            let _ = answer.send(command.spawn());
                        }
                        Order::Call(call) => call(),
                    }
                }
            })
            .map_err(|error| {
                Problem::new("the thread that starts programs could not be started").because(error.to_string())
            })?;
        let prepared = told.recv().map_err(|_| Problem::new("the thread that starts programs ended"))??;
        Ok((Self { orders: Some(Mutex::new(orders)), thread: Some(thread) }, prepared))
    }

    fn send(&self, order: Order) -> io::Result<()> {
        let gone = || io::Error::other("the thread that starts programs ended");
        let orders = self.orders.as_ref().ok_or_else(gone)?.lock();
        orders.send(order).map_err(|_| gone())
    }

    /// Starts a program on the thread.
    pub fn spawn(&self, command: Command) -> io::Result<Child> {
        let (answer, answered) = mpsc::channel();
        self.send(Order::Spawn(Box::new(command), answer))?;
        answered.recv().map_err(|_| io::Error::other("the thread that starts programs ended"))?
    }

    /// Carries `call` out on the thread.
    pub fn call<T: Send + 'static>(&self, call: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let (answer, answered) = mpsc::channel();
        self.send(Order::Call(Box::new(move || {
            let _ = answer.send(call());
        })))?;
        answered.recv().map_err(|_| io::Error::other("the thread that starts programs ended"))
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
