//! A cold cache goes straight into its shard's one file.
//!
//! Of a shard with very many series and few rows of each, a snapshot costs by the series, and so does the merge that
//! follows it some seconds later. Both are one when the shard has gone cold: the sealed generation is merged with the
//! files as their newest neighbour. It is done inside `structure` to its end, so that no delete comes in between; hence the
//! bound on its size. When the files are damaged, or the memory is too little, the cache gets its snapshot all the same.

use std::rc::Rc;

use super::Store;
use super::background::entry_of;
use crate::codec::Temperature;
use crate::compact::merge::Merge;
use crate::compact::plan::{FILES_MIN, FULL_UNFULL_PART, LEVEL_FULL};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::shard::{FileSet, Shard};
use crate::tsm::block::STATISTICS_ROWS_MIN;

/// Rows per series of a cache that is combined: fewer than these. Blocks of so few have no statistics, and cost by the
/// series alone.
const SMALL_ROWS: u64 = STATISTICS_ROWS_MIN as u64;

/// Files of more bytes are left to merges that go step by step.
const FILE_BYTES_MAX: u64 = 128 << 20;

impl<D: Disk> Store<D> {
    /// Whether a cold shard's cache is to be combined with its files.
    pub(super) fn combines(&self, shard: &Shard<D>) -> bool {
        let inner = &*self.0;
        let cached = shard.charged.get();
        if inner.options.cold_codec || cached.rows >= SMALL_ROWS * cached.series {
            return false;
        }
        let Some(set) = shard.known_files() else { return false };
        let files = || set.manifest.files.iter();
        let rows: u64 = files().map(|file| file.rows).sum();
        // As for a full merge: little is not worth rewriting all.
        let is_much = cached.rows > rows / FULL_UNFULL_PART;
        let is_merging = inner.running.borrow().as_ref().is_some_and(|running| running.shard.id == shard.id);
        (1..=FILES_MIN).contains(&set.files.len())
            && files().map(|file| file.bytes).sum::<u64>() <= FILE_BYTES_MAX
            && is_much
            && set.tombstones.is_empty()
            && !is_merging
    }

    /// For how long a shard with a cache must not have been written to until that goes into files.
    pub(super) fn cache_cold_ns(&self, shard: &Shard<D>) -> u64 {
        let options = &self.0.options;
        match self.combines(shard) {
            true => options.full_cold_ns.max(options.cache_cold_ns),
            false => options.cache_cold_ns,
        }
    }

    /// Merges the shard's cache and files into one file. Call it inside `structure`.
    pub(super) async fn combine(&self, shard: &Rc<Shard<D>>) -> Result<()> {
        let inner = &*self.0;
        let set = shard.file_set(&inner.disk, &inner.block_cache).await?;
        shard.seal(self.unfinished());
        let cache = shard.cache();
        let sealed = cache.sealed().filter(|sealed| !sealed.borrow().is_empty()).cloned();
        let Some(sealed) = sealed else { return self.snapshot(shard).await };
        let mut manifest = (*set.manifest).clone();
        let id = self.next_id(shard, &mut manifest);
        let (path, pool, blocks) = (shard.path(id), &inner.pools.compaction, &inner.block_cache);
        let (files, tombstones) = (&set.files, set.tombstones.clone());
        let started =
            Merge::start(&inner.disk, pool, blocks, &path, files, tombstones, Temperature::Hot).await;
        let mut merge = match started {
            Ok(merge) => merge,
            Err(Error::Corrupted { .. }) => return self.snapshot(shard).await,
            Err(error) => return Err(error),
        };
        merge.add_cache(cache.index().clone(), sealed, &inner.pace).await;
        loop {
            match merge.step(u64::MAX, &inner.pace).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    inner.stats.borrow_mut().compaction_errors += 1;
                    merge.abandon().await?;
                    // A failed write or sync is no matter of these files: it is told, and nothing more is written.
                    return match error {
                        Error::Corrupted { .. } | Error::Full { .. } => self.snapshot(shard).await,
                        error => Err(error),
                    };
                }
            }
        }
        let (meta, counts) = match merge.finish().await {
            Err(Error::Corrupted { .. }) => {
                inner.stats.borrow_mut().compaction_errors += 1;
                return self.snapshot(shard).await;
            }
            finished => finished?,
        };
        drop(cache);
        if shard.is_dropped.get() {
            return Ok(());
        }
        manifest.files = meta.iter().map(|meta| entry_of(id, LEVEL_FULL, meta)).collect();
        for (wal_id, sequence) in shard.sealed_through() {
            manifest.set_replayed(wal_id, sequence);
        }
        let next = FileSet::new(manifest, &[], &inner.disk, &shard.folder, &inner.block_cache)?;
        next.manifest.switch(&inner.disk, &shard.folder).await?;
        inner.replaced.borrow_mut().extend(set.files.iter().cloned());
        {
            let mut stats = inner.stats.borrow_mut();
            stats.compactions += 1;
            stats.compactions_full += 1;
            stats.compaction_bytes_read += counts.bytes_read;
            stats.compaction_bytes_written += meta.map_or(0, |meta| meta.bytes);
            stats.compaction_blocks_merged += counts.blocks_merged;
            stats.compaction_blocks_copied += counts.blocks_copied;
        }
        self.snapshotted(shard, next, meta).await
    }
}
