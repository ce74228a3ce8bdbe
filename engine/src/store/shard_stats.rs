//! What single shards hold.

use std::collections::BTreeSet;

use super::Store;
use crate::disk::Disk;
use crate::error::Result;
use crate::scan::request::ShardRef;
use crate::stats::ShardStats;

impl<D: Disk> Store<D> {
    /// Of each of these shards; those that are dropped meanwhile are left out. Opens their files.
    pub async fn shard_stats(&self, shards: &[ShardRef]) -> Result<Vec<ShardStats>> {
        let inner = &*self.0;
        let mut all = Vec::with_capacity(shards.len());
        for shard in shards {
            if inner.dropped.borrow().contains(&shard.shard) {
                continue;
            }
            let shard = self.shard(*shard);
            let set = shard.file_set(&inner.disk, &inner.block_cache).await?;
            let cache = shard.cache();
            let size = cache.size();
            let mut names: BTreeSet<Vec<u8>> = BTreeSet::new();
            let mut series = 0;
            if !cache.is_empty() {
                names.extend(cache.measurements());
                series = cache.index().borrow().len() as u64;
            }
            for file in set.files.iter() {
                let reader = file.reader().await?;
                series = series.max(u64::from(reader.meta().series));
                let schema = reader.schema().await?;
                names.extend(schema.measurement_names().into_iter().map(<[u8]>::to_vec));
            }
            all.push(ShardStats {
                shard: shard.id,
                folder: shard.folder.clone(),
                writes: shard.writes.get(),
                cache_bytes_now: size.row_bytes + size.index_bytes,
                tsm_files_now: set.files.len() as u64,
                tsm_bytes_now: set.files.iter().map(|file| file.entry.bytes).sum(),
                series_now: series,
                measurements: names.into_iter().collect(),
            });
        }
        Ok(all)
    }
}
