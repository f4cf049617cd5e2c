//! The switch of a disk's power: who asks the disk for something comes by here.

use std::sync::mpsc::Sender;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::disk::{Disk, Errno};

/// What the disk does wrong, and to which call, counted from 1 since the load began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub kind: FaultKind,
    /// To which call.
    pub nth: u64,
    /// Whether to all calls after it as well.
    pub for_ever: bool,
}

/// What a disk can do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A sync fails with EIO, and its pages count as clean.
    FailedSync,
    /// A write fails with ENOSPC.
    FullDisk,
    /// A write takes half of its bytes.
    ShortWrite,
}

impl Fault {
    const fn hits(self, kind: FaultKind, call: u64) -> bool {
        self.kind as u8 == kind as u8 && (call == self.nth || self.for_ever && call > self.nth)
    }
}

/// Whether the disk works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Power {
    On,
    /// It is gone, and whoever asks waits until those who die are dead.
    Going,
    /// It is gone: EIO.
    Off,
}

/// The disk and its switch.
#[derive(Debug)]
pub struct State {
    pub disk: Disk,
    power: Power,
    /// When the power went, by the monotonic clock.
    pub cut_ns: Option<u64>,
    /// The sync call at which the load ends, whether its power goes then, and who is told.
    at_sync: Option<(u64, bool, Sender<()>)>,
    is_released: bool,
    pub syncs: u64,
    pub writes: u64,
    pub fault: Option<Fault>,
}

/// The switch.
#[derive(Debug)]
pub struct Switch {
    state: Mutex<State>,
    released: Condvar,
}

impl Switch {
    pub fn new(disk: Disk) -> Self {
        let state = State {
            disk,
            power: Power::On,
            cut_ns: None,
            at_sync: None,
            is_released: false,
            syncs: 0,
            writes: 0,
            fault: None,
        };
        Self { state: Mutex::new(state), released: Condvar::new() }
    }

    /// The state, whether there is power or not.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// The state, for a request of the kernel.
    pub fn enter(&self) -> Result<MutexGuard<'_, State>, Errno> {
        let mut state = self.state();
        while state.power == Power::Going {
            self.released.wait(&mut state);
        }
        if state.power == Power::Off { Err(libc::EIO) } else { Ok(state) }
    }

    /// A sync call of `number`.
    pub fn sync(&self, number: u64) -> Result<(), Errno> {
        let mut state = self.enter()?;
        state.syncs += 1;
        let call = state.syncs;
        if let Some((_, power, told)) = state.at_sync.take_if(|(nth, ..)| *nth == call) {
            if power {
                state.go();
            }
            let _ = told.send(());
            // The caller is to die in this call.
            while !state.is_released {
                self.released.wait(&mut state);
            }
            return Err(libc::EIO);
        }
        if state.fault.is_some_and(|fault| fault.hits(FaultKind::FailedSync, call)) {
            state.disk.fail_sync(number);
            return Err(libc::EIO);
        }
        state.disk.sync(number)
    }

    /// A write; how many bytes were taken.
    pub fn write(&self, number: u64, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
        let mut state = self.enter()?;
        state.writes += 1;
        let call = state.writes;
        let hits = |kind| state.fault.is_some_and(|fault| fault.hits(kind, call));
        if hits(FaultKind::FullDisk) {
            return Err(libc::ENOSPC);
        }
        let taken = if hits(FaultKind::ShortWrite) { bytes.len().div_ceil(2) } else { bytes.len() };
        state.disk.write(number, offset, &bytes[..taken])?;
        Ok(taken)
    }

    /// The load begins: everything so far is durable, counts begin at zero.
    pub fn begin(&self, at_sync: Option<(u64, bool, Sender<()>)>, fault: Option<Fault>) {
        let mut state = self.state();
        state.disk.settle();
        (state.syncs, state.writes) = (0, 0);
        (state.at_sync, state.fault) = (at_sync, fault);
        (state.power, state.cut_ns, state.is_released) = (Power::On, None, false);
    }

    /// The power goes, if it is not gone.
    pub fn cut(&self) {
        self.state().go();
    }

    /// Those who were to die are dead or dying: who waits is answered.
    pub fn release(&self) {
        let mut state = self.state();
        state.is_released = true;
        if state.power == Power::Going {
            state.power = Power::Off;
        }
        self.released.notify_all();
    }

    /// The power is back; nothing goes wrong any more.
    pub fn restore(&self, change: impl FnOnce(&mut Disk)) {
        let mut state = self.state();
        change(&mut state.disk);
        (state.power, state.fault, state.at_sync) = (Power::On, None, None);
    }
}

impl State {
    fn go(&mut self) {
        if self.power == Power::On {
            self.power = Power::Going;
            self.cut_ns = Some(monotonic_ns());
        }
    }
}

fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec, and CLOCK_MONOTONIC exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
