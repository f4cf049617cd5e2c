//! What the connections to one database share: its locks, and the shared memory of its write-ahead log.

use std::ffi::c_int;

use rusqlite::ffi;

use super::RegionPointer;

const SLOTS: usize = ffi::SQLITE_SHM_NLOCK as usize;

/// The locks and shared memory of one file.
#[derive(Default)]
pub struct Node {
    /// Connections at SHARED or above.
    readers: u32,
    /// Whether one is at RESERVED or above; it alone changes what follows.
    reserved: bool,
    /// Whether that one lets no new reader in.
    pending: bool,
    regions: Vec<Region>,
    slots: [Slot; SLOTS],
    mappers: u32,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    shared: u32,
    exclusive: bool,
}

/// What one connection holds of the slots, as bits.
#[derive(Clone, Copy, Default)]
pub struct Held {
    shared: u32,
    exclusive: u32,
}

impl Node {
    /// Raises a connection's lock from `level` to `wanted` (SHARED, RESERVED or EXCLUSIVE).
    ///
    /// The new level, and whether that is what was wanted.
    pub const fn lock(&mut self, level: c_int, wanted: c_int) -> (c_int, bool) {
        if level >= wanted {
            return (level, true);
        }
        if wanted == ffi::SQLITE_LOCK_SHARED {
            if self.pending {
                return (level, false);
            }
            self.readers += 1;
            return (ffi::SQLITE_LOCK_SHARED, true);
        }
        if level < ffi::SQLITE_LOCK_RESERVED && self.reserved {
            return (level, false);
        }
        self.reserved = true;
        if wanted == ffi::SQLITE_LOCK_RESERVED {
            return (ffi::SQLITE_LOCK_RESERVED, true);
        }
        self.pending = true;
        if self.readers > 1 { (ffi::SQLITE_LOCK_PENDING, false) } else { (ffi::SQLITE_LOCK_EXCLUSIVE, true) }
    }

    /// Lowers a connection's lock from `level` to `wanted` (SHARED or NONE).
    pub const fn unlock(&mut self, level: c_int, wanted: c_int) -> c_int {
        if level <= wanted {
            return level;
        }
        if level >= ffi::SQLITE_LOCK_RESERVED {
            (self.reserved, self.pending) = (false, false);
        }
        if wanted == ffi::SQLITE_LOCK_NONE {
            self.readers -= 1;
        }
        wanted
    }

    /// Whether a connection means to write.
    pub const fn is_reserved(&self) -> bool {
        self.reserved
    }

    /// One more connection uses the shared memory.
    pub const fn attach(&mut self) {
        self.mappers += 1;
    }

    /// A connection that held `held` uses it no longer; with the last one it is gone.
    pub fn detach(&mut self, held: &mut Held) {
        self.unlock_slots(held, 0, SLOTS);
        self.mappers -= 1;
        if self.mappers == 0 {
            self.regions.clear();
        }
    }

    /// Region `index`, made of zeros where it is missing and `extend` says so, else null.
    pub fn region(&mut self, index: usize, bytes: usize, extend: bool) -> RegionPointer {
        while extend && self.regions.len() <= index {
            self.regions.push(Region::zeros(bytes));
        }
        self.regions.get(index).map_or(std::ptr::null_mut(), |region| region.0.cast())
    }

    /// Takes the slots `first` to `first + count` for a connection, all or none; whether it could.
    pub fn lock_slots(&mut self, held: &mut Held, first: usize, count: usize, exclusive: bool) -> bool {
        let mask = ((1 << count) - 1) << first;
        let slots = &mut self.slots[first..first + count];
        if exclusive {
            if slots.iter().any(|slot| slot.exclusive || slot.shared > 0) {
                return false;
            }
            slots.iter_mut().for_each(|slot| slot.exclusive = true);
            held.exclusive |= mask;
        } else if held.shared & mask == 0 {
            if slots.iter().any(|slot| slot.exclusive) {
                return false;
            }
            slots.iter_mut().for_each(|slot| slot.shared += 1);
            held.shared |= mask;
        }
        true
    }

    /// Gives back what a connection holds of the slots `first` to `first + count`.
    pub fn unlock_slots(&mut self, held: &mut Held, first: usize, count: usize) {
        for (index, slot) in self.slots.iter_mut().enumerate().skip(first).take(count) {
            let bit = 1 << index;
            if held.shared & bit != 0 {
                slot.shared -= 1;
            }
            if held.exclusive & bit != 0 {
                slot.exclusive = false;
            }
            held.shared &= !bit;
            held.exclusive &= !bit;
        }
    }
}

/// Memory that SQLite reads and writes from several threads, under rules of its own.
struct Region(*mut [u64]);

// SAFETY: the memory is reached through the pointer alone, which only SQLite follows.
unsafe impl Send for Region {}

impl Region {
    fn zeros(bytes: usize) -> Self {
        Self(Box::into_raw(vec![0; bytes.div_ceil(size_of::<u64>())].into_boxed_slice()))
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: it was a box; whoever mapped it has detached.
        unsafe { drop(Box::from_raw(self.0)) };
    }
}
