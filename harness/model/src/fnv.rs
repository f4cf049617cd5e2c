//! The hash that seeds and digests in records are made with.

/// FNV-1a (Fowler, Noll, Vo), 64 bits: tells names apart, the same on every machine. Seeds of stored runs and the digests
/// of machines in their records are made with it, which is why no library's digest takes its place.
pub const fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut index = 0;
    while index < bytes.len() {
        hash = (hash ^ bytes[index] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        index += 1;
    }
    hash
}
