//! Counters of one core's store: plain numbers, read by copying. They only grow, except those called `…_now`.

use std::collections::HashSet;

use crate::model::ShardId;

/// What was written to a shard since its store was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShardWrites {
    pub batches: u64,
    pub points: u64,
    pub values: u64,
    /// Rows refused for a field type conflict.
    pub points_dropped: u64,
    /// Rows that the cache did not take.
    pub points_full: u64,
}

/// What a shard holds, and what was written to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardStats {
    pub shard: ShardId,
    /// Within the data's folder.
    pub folder: String,
    pub writes: ShardWrites,
    pub cache_bytes_now: u64,
    pub tsm_files_now: u64,
    pub tsm_bytes_now: u64,
    /// Of the file or cache that has the most: others may have further ones.
    pub series_now: u64,
}

/// See [`Store::shard_stats`](crate::store::Store::shard_stats).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShardsStats {
    pub shards: Vec<ShardStats>,
    /// Hashes of the names of all their measurements: of millions of names no more is held than it takes to count them.
    pub measurements: HashSet<u64>,
}

/// See the field docs; bytes and counts since the store was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    // writes
    pub batches_written: u64,
    pub points_written: u64,
    pub values_written: u64,
    /// Rows refused for a field type conflict.
    pub points_dropped: u64,
    /// Writes refused because the write pool was full.
    pub writes_refused: u64,
    /// Rows that a cache did not take; their writes were answered with an error.
    pub points_full: u64,
    /// Group commits: one WAL write each.
    pub wal_writes: u64,
    pub wal_bytes: u64,
    pub wal_bytes_now: u64,
    pub wal_segments_now: u64,
    pub wal_spares_now: u64,
    pub wal_bytes_max_now: u64,
    /// Entries read back from WALs at start.
    pub wal_entries_replayed: u64,
    pub wal_records_replayed: u64,
    /// Damages found in WALs at start; [`Store::replays`](crate::store::Store::replays) lists them.
    pub wal_damages: u64,

    // cache
    pub cache_bytes_now: u64,
    pub cache_rows_now: u64,
    pub series_active_now: u64,
    pub index_bytes_now: u64,
    pub write_pool_used_now: u64,
    pub write_pool_max_now: u64,
    /// Reservations refused.
    pub write_pool_refused: u64,
    pub index_pool_used_now: u64,
    pub index_pool_max_now: u64,
    pub index_pool_refused: u64,
    pub query_pool_used_now: u64,
    pub query_pool_max_now: u64,
    pub query_pool_refused: u64,
    pub compaction_pool_used_now: u64,
    pub compaction_pool_max_now: u64,
    /// The most the compaction pool ever held.
    pub compaction_pool_peak_now: u64,
    pub block_cache_bytes_now: u64,
    pub block_cache_max_now: u64,
    pub block_cache_hits: u64,
    pub block_cache_misses: u64,
    /// Writes and deletes waiting for the WAL.
    pub commit_queue_now: u64,
    pub commit_queue_bytes_now: u64,

    // background
    pub snapshots: u64,
    pub snapshot_rows: u64,
    pub snapshot_bytes: u64,
    pub compactions: u64,
    pub compactions_full: u64,
    pub compaction_bytes_read: u64,
    pub compaction_bytes_written: u64,
    /// Blocks taken over by copying their bytes.
    pub compaction_blocks_copied: u64,
    /// Blocks decoded and encoded anew.
    pub compaction_blocks_merged: u64,
    pub compaction_errors: u64,
    /// Merges begun again with fewer files because their memory was not enough.
    pub compactions_narrowed: u64,
    /// Merges under way.
    pub compactions_now: u64,

    // scrub
    /// Rounds through all files.
    pub scrubs: u64,
    pub scrub_files: u64,
    pub scrub_bytes: u64,
    /// Pieces that are damaged or could not be read.
    pub scrub_damaged: u64,

    // files
    pub shards_now: u64,
    pub shards_open_now: u64,
    pub tsm_files_now: u64,
    pub tsm_bytes_now: u64,
    pub tombstones_now: u64,
    pub deletes: u64,
    pub shards_dropped: u64,
}
