//! Upper bounds of this crate, each with its reason. What a configuration may change stands in `StoreOptions`.

/// Most bytes of batches one group commit takes from the queue. A 64 KiB write costs what a 4 KiB one does; beyond
/// some MiB a larger group only makes the first waiter wait longer.
pub const COMMIT_BYTES_MAX: usize = 4 << 20;

/// Most bytes of rows the cache of one shard may address: row addresses are 32 bits.
pub const CACHE_GENERATION_BYTES_MAX: u64 = 3 << 30;

/// Field definitions one (shard group, measurement) may have. Beyond it a new field is refused: a client is writing
/// values into field names.
pub const FIELDS_PER_MEASUREMENT_MAX: usize = 1 << 20;

/// Units of background work (bytes handled, about a nanosecond or less each) between two yields: keeps a step of
/// background work well under a millisecond.
pub const PACE_UNITS: u64 = 200_000;

/// Of these units between two questions whether the turn is over.
pub const PACE_ASKED_UNITS: u64 = 4_000;

/// Files one compaction merges at most: bounds its memory, a block of each is held.
pub const COMPACTION_FILES_MAX: usize = 16;

/// Series that are sorted in one go by the active index; at about 100 ns each this is under a millisecond.
pub const SORT_RUN_MAX: usize = 4096;

const _: () = assert!(COMMIT_BYTES_MAX < CACHE_GENERATION_BYTES_MAX as usize);
