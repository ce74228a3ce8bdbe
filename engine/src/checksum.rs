//! The one checksum of everything on disk: crc32c.

/// Of these bytes.
pub fn of(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// Whether it is that of these bytes. Under the feature `fuzz` always, so that damaged bytes reach the code behind it,
/// which must take any.
pub fn is(bytes: &[u8], checksum: u32) -> bool {
    cfg!(feature = "fuzz") || of(bytes) == checksum
}
