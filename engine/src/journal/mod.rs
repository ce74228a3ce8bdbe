//! The append log: segments of checksummed records. Used by the WAL, the catalogue and the types of fields.
//! Drawn in docs/formats/journal.md.
//!
//! - [`Replay`] reads a folder's records back in order and tells a torn tail from damage; [`Replay::finish`] turns
//!   into the [`Journal`] that goes on where it ended.
//! - [`Journal::append`] answers when the record is durable. One record is in flight at a time; callers that wait
//!   meanwhile put what they have into one [`Record`] (that is group commit, and the WAL does it).
//! - A segment is either preallocated (zeroed once, recycled by rename: the WAL, where latency counts) or grows.
//!
//! What must hold:
//! 1. A block with acknowledged bytes is never written again while its segment is live.
//! 2. A segment's name is durable before its first record is written.
//! 3. After a failed write or sync the journal is read-only; only a full disk can be tried again, in a new segment.
//! 4. Segments go oldest first, so that a missing sequence is always damage and never a release.

mod record;
mod replay;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

pub use record::{RECORD_BYTES_MAX, RECORD_HEADER_BYTES, Record};
pub use replay::{Damage, Progress, Replay, ReplayReport, Replayed};
pub use segment::SegmentId;
pub use writer::{Appended, Journal};

/// Sequence of the first record of a new journal.
pub const FIRST_SEQUENCE: u64 = 1;

/// Segments wait in the folder `quarantine` for a person, at most this many; beyond it the oldest goes. A disk that
/// rots faster has its facts in the log already.
pub const QUARANTINED_SEGMENTS_MAX: usize = 16;

/// Name of the folder, inside the journal's, that keeps damaged segments once they are released.
pub(crate) const QUARANTINE: &str = "quarantine";

/// When bodies are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    Never,
    /// While it makes bodies smaller by [`record::RATIO_MIN`]; tried again now and then.
    WhenItPays,
}

/// How a journal lays out its segments.
#[derive(Debug, Clone, Copy)]
pub struct JournalOptions {
    /// Length of a preallocated segment; a growing one is rolled when it would pass this. Multiple of the block.
    pub segment_bytes: u64,
    pub is_preallocated: bool,
    pub spare_segments_max: usize,
    pub compression: Compression,
    /// A new segment leaves this much room on the disk, so that what frees the journal can still be written.
    pub free_bytes_min: u64,
}

impl JournalOptions {
    /// For many records a second. 8 MiB: long enough that a roll is rare (at 100 MB/s one in 80 ms), short enough that
    /// zeroing one takes about 10 ms, and that a released one gives room back soon.
    pub const fn preallocated() -> Self {
        Self {
            segment_bytes: 8 * 1024 * 1024,
            is_preallocated: true,
            spare_segments_max: 2,
            // A scrape of TSBS points shrinks to a third, for 0.15 to 0.22 us of CPU a point; all the rest of an append
            // takes 0.03. A disk that is slow enough to be worth it is the exception.
            compression: Compression::Never,
            free_bytes_min: 32 * 1024 * 1024,
        }
    }

    /// For few and small records: costs no room ahead.
    pub const fn growing() -> Self {
        Self {
            segment_bytes: 4 * 1024 * 1024,
            is_preallocated: false,
            spare_segments_max: 0,
            compression: Compression::Never,
            free_bytes_min: 0,
        }
    }
}
