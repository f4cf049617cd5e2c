//! Which file an instance lives in.

/// The index of a shard.
pub type ShardNumber = usize;

/// The shard of `instance` among `shards`.
///
/// Sub-orchestrations that duroxide names itself ("order-7::sub::2") go where their root is, so that a tree's messages
/// seldom cross files.
pub fn shard_of(instance: &str, shards: usize) -> ShardNumber {
    if shards == 1 {
        return 0;
    }
    let root = instance.split("::").next().unwrap_or(instance);
    (fnv1a(root.as_bytes()) % shards as u64) as ShardNumber
}

/// FNV-1a, 64 bits: it must give the same numbers in every version of this crate, which std's hashers do not promise.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        // Test vectors of draft-eastlake-fnv.
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_tree_stays_together_and_roots_spread() {
        assert_eq!(shard_of("order-7", 8), shard_of("order-7::sub::2::sub::1", 8));
        let mut counts = [0; 4];
        for number in 0..4000 {
            counts[shard_of(&format!("order-{number}"), 4)] += 1;
        }
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    }
}
