//! Where a record stands, as a number: a whole record in the place of another is damage too.

/// A checksum of the place at byte `offset` of the file with this number.
pub fn checksum(file: u64, offset: u64) -> u32 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&file.to_le_bytes());
    bytes[8..].copy_from_slice(&offset.to_le_bytes());
    crc32fast::hash(&bytes)
}
