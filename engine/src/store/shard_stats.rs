//! What single shards hold.

use super::Store;
use crate::disk::Disk;
use crate::error::Result;
use crate::model::series_key;
use crate::pace::Pace;
use crate::scan::request::ShardRef;
use crate::stats::{ShardStats, ShardsStats};

/// Nanoseconds, about, that the name of a measurement takes.
const NAME_NS: u64 = 100;

impl<D: Disk> Store<D> {
    /// Of each of these shards; those that are dropped meanwhile are left out. Opens their files.
    pub async fn shard_stats(&self, shards: &[ShardRef]) -> Result<ShardsStats> {
        let inner = &*self.0;
        let pace = Pace::new();
        let mut all = ShardsStats::default();
        for shard in shards {
            if inner.dropped.borrow().contains(&shard.shard) {
                continue;
            }
            let shard = self.shard(*shard);
            let set = shard.file_set(&inner.disk, &inner.block_cache).await?;
            let cache = shard.cache();
            let size = cache.size();
            let mut series = 0;
            if !cache.is_empty() {
                for name in cache.measurements() {
                    all.measurements.insert(series_key::hash(&name));
                    pace.spent(NAME_NS).await;
                }
                series = cache.index().borrow().len() as u64;
            }
            for file in set.files.iter() {
                let reader = file.reader().await?;
                series = series.max(u64::from(reader.meta().series));
                let schema = reader.schema().await?;
                for name in schema.measurement_names() {
                    all.measurements.insert(series_key::hash(name));
                    pace.spent(NAME_NS).await;
                }
            }
            all.shards.push(ShardStats {
                shard: shard.id,
                folder: shard.folder.clone(),
                writes: shard.writes.get(),
                cache_bytes_now: size.row_bytes + size.index_bytes,
                tsm_files_now: set.files.len() as u64,
                tsm_bytes_now: set.files.iter().map(|file| file.entry.bytes).sum(),
                series_now: series,
            });
        }
        Ok(all)
    }
}
