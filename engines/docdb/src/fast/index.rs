//! Where each document is: a sharded map in memory, sixteen bytes an entry.

use std::sync::{PoisonError, RwLock};

use hashbrown::{HashMap, hash_map::Entry};

/// Records are read in units of so many bytes, so that the index need not know their exact length.
pub const UNIT_BYTES: usize = 64;
const SEGMENT_BITS: u32 = 20;
/// The number of a segment at most.
pub const SEGMENT_MAX: u32 = (1 << SEGMENT_BITS) - 1;
const OFFSET_BITS: u32 = 26;
const UNITS_BITS: u32 = 18;

/// Where a record is: segment, offset in it, and how many units it takes; 20, 26 and 18 bits of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location(u64);

impl Location {
    /// The location of a record of `bytes` bytes, which must be one that [`Self::checked`] takes.
    pub fn new(segment: u32, offset: u32, bytes: usize) -> Self {
        match Self::checked(segment, offset as usize, bytes) {
            Some(location) => location,
            None => panic!("segment {segment}, offset {offset}, {bytes} bytes: no record is written there"),
        }
    }

    /// The location of a record of `bytes` bytes, if the segment is below 2^20, the offset below 2^26 and the bytes below
    /// 2^24: of bytes that were read, which may be anything.
    pub fn checked(segment: u32, offset: usize, bytes: usize) -> Option<Self> {
        let (offset, units) = (offset as u64, bytes.div_ceil(UNIT_BYTES) as u64);
        let fits = segment >> SEGMENT_BITS == 0 && offset >> OFFSET_BITS == 0 && units >> UNITS_BITS == 0;
        fits.then(|| Self(u64::from(segment) << (OFFSET_BITS + UNITS_BITS) | offset << UNITS_BITS | units))
    }

    /// The segment.
    pub const fn segment(self) -> u32 {
        (self.0 >> (OFFSET_BITS + UNITS_BITS)) as u32
    }

    /// The record's offset in its segment.
    pub const fn offset(self) -> u64 {
        self.0 >> UNITS_BITS & ((1 << OFFSET_BITS) - 1)
    }

    /// Bytes to read: the record's, rounded up.
    pub const fn bytes(self) -> usize {
        (self.0 & ((1 << UNITS_BITS) - 1)) as usize * UNIT_BYTES
    }
}

type Shard = RwLock<HashMap<u64, Location>>;

/// A map from id to location for each database.
#[derive(Debug)]
pub struct Index {
    databases: Box<[Box<[Shard]>]>,
}

impl Index {
    /// An empty index.
    pub fn new(databases: u16, shards: usize) -> Self {
        let shards = || (0..shards.max(1)).map(|_| RwLock::default()).collect();
        Self { databases: (0..databases).map(|_| shards()).collect() }
    }

    /// How many databases there are.
    pub fn databases(&self) -> usize {
        self.databases.len()
    }

    fn shard(&self, database: u16, id: u64) -> &Shard {
        let shards = &self.databases[usize::from(database)];
        &shards[(id % shards.len() as u64) as usize]
    }

    /// Where `id` is.
    pub fn get(&self, database: u16, id: u64) -> Option<Location> {
        self.shard(database, id).read().unwrap_or_else(PoisonError::into_inner).get(&id).copied()
    }

    /// Notes where `id` is; returns where it was.
    pub fn set(&self, database: u16, id: u64, location: Location) -> Option<Location> {
        self.shard(database, id).write().unwrap_or_else(PoisonError::into_inner).insert(id, location)
    }

    /// Forgets `id`; returns where it was.
    pub fn remove(&self, database: u16, id: u64) -> Option<Location> {
        self.shard(database, id).write().unwrap_or_else(PoisonError::into_inner).remove(&id)
    }

    /// Notes that `id` was moved, unless it is no longer where it was moved from.
    pub fn relocate(&self, database: u16, id: u64, from: Location, to: Location) -> bool {
        match self.shard(database, id).write().unwrap_or_else(PoisonError::into_inner).entry(id) {
            Entry::Occupied(mut entry) if *entry.get() == from => {
                entry.insert(to);
                true
            }
            _ => false,
        }
    }

    /// How many documents there are.
    pub fn count(&self) -> usize {
        let shards = self.databases.iter().flat_map(|shards| shards.iter());
        shards.map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }
}
