//! Deletes: out of the caches at once, out of files by tombstones that readers apply until a merge has.
//!
//! The order: the tombstones come into force in memory; the WAL entry makes the delete durable for the caches, puts it
//! between the writes before and after it, and the rows leave the caches; then the manifests of shards whose files may
//! hold such rows are switched. Rows in caches are newer than those in files: they go last, so that nobody reads an older
//! value of a point at any moment, whatever fails. When the WAL does not take the delete, nothing has happened. When a
//! manifest is not switched, the tombstone holds until a restart, and the next switch of that manifest takes it along.
//! Killed in between, the delete was not acknowledged; a replay does both again, and as a shard's files hold nothing newer
//! than the entries it replays, never too much.

use std::rc::Rc;

use super::{DeleteRequest, Store};
use crate::compact::tombstone::{Predicate, Tombstone, predicate_from_bytes};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::limits::SORT_RUN_MAX;
use crate::model::ShardId;
use crate::shard::{FileSet, Shard};

impl<D: Disk> Store<D> {
    /// Deletes; masked in every later scan when it answers, and durable. Space comes back in the background.
    pub async fn delete(&self, request: DeleteRequest, now_ns: u64) -> Result<()> {
        if self.0.is_closing.get() {
            return Err(Error::Closed);
        }
        if let Some(refusal) = self.refusal() {
            return Err(refusal);
        }
        self.watch(self.delete_rows(request, now_ns).await)
    }

    async fn delete_rows(&self, request: DeleteRequest, now_ns: u64) -> Result<()> {
        let inner = &*self.0;
        inner.now_ns.set(inner.now_ns.get().max(now_ns));
        let predicate =
            Predicate { measurement: request.measurement, series: request.series, time: request.time };
        let mut body = Vec::new();
        predicate.put(&mut body);
        // What could not be read back must not become durable.
        if predicate_from_bytes(&body)? != predicate {
            return Err(Error::Invalid("the condition of the delete is nested too deeply".to_owned()));
        }
        let _inside = inner.structure.enter().await;
        let shards: Vec<_> = request
            .shards
            .iter()
            .filter_map(|shard| inner.shards.borrow().get(&shard.shard).cloned())
            .collect();
        let cached: Vec<_> =
            shards.iter().filter(|shard| !shard.cache().is_empty()).map(|shard| shard.reference()).collect();
        let tombstone = Tombstone::new(predicate.clone(), Vec::new())?;
        let mut masked = Vec::new();
        for shard in &shards {
            match self.masked(shard, &predicate).await {
                Ok(Some((before, next))) => {
                    masked.push((shard, before, shard.is_ahead()));
                    shard.go_ahead(next, true);
                }
                Ok(None) => {}
                Err(error) => {
                    unmask(masked);
                    return Err(error);
                }
            }
        }
        // Also without any cached shard: writes that were called before must not come after.
        if let Err(error) = self.commit_delete(cached, body, tombstone).await {
            unmask(masked);
            return Err(error);
        }
        self.note_schema_change();
        let mut switched = Ok(());
        for (shard, ..) in masked {
            // The other shards all the same: the less is left for a repetition, the better.
            switched = switched.and(self.catch_up(shard).await);
        }
        inner.background.raise();
        switched?;
        inner.stats.borrow_mut().deletes += 1;
        Ok(())
    }

    /// Takes the rows out of a shard's generations, giving way in between.
    pub(super) async fn delete_from_cache(&self, shard: &Shard<D>, tombstone: &Tombstone) {
        let cache = shard.cache();
        let time = tombstone.predicate.time;
        if cache.is_empty() || !cache.time_range().overlaps(&time) {
            return;
        }
        shard.forget_met();
        let count = cache.index().borrow().len();
        for start in (0..count).step_by(SORT_RUN_MAX) {
            let end = count.min(start + SORT_RUN_MAX);
            for position in start as u32..end as u32 {
                if cache.row_count(position) > 0 && cache.with_key(position, |key| tombstone.masks_key(key)) {
                    cache.delete(position, time);
                }
            }
            self.0.pace.spent(200 * (end - start) as u64).await;
        }
        shard.forget_met();
        self.charge(shard);
    }

    /// Adds a tombstone for the files that exist now. Call it before anything else runs.
    pub(super) async fn mask_files(&self, shard: &Shard<D>, predicate: &Predicate) -> Result<()> {
        let Some((_, next)) = self.masked(shard, predicate).await? else { return Ok(()) };
        shard.go_ahead(next, true);
        self.catch_up(shard).await
    }

    /// Switches the manifest to the files in force.
    async fn catch_up(&self, shard: &Shard<D>) -> Result<()> {
        let inner = &*self.0;
        let set = shard.file_set(&inner.disk, &inner.block_cache).await?;
        set.manifest.switch(&inner.disk, &shard.folder).await?;
        shard.switch(set, false);
        shard.wants_plan.set(true);
        Ok(())
    }

    /// The shard's files, and what they are with one tombstone more; `None` when none of them needs it, neither in memory
    /// nor on the disk. Call it inside `structure`, or before anything else runs.
    async fn masked(
        &self,
        shard: &Shard<D>,
        predicate: &Predicate,
    ) -> Result<Option<(FileSet<D>, FileSet<D>)>> {
        let inner = &*self.0;
        let set = shard.file_set(&inner.disk, &inner.block_cache).await?;
        let mut files: Vec<u64> = set
            .files
            .iter()
            .filter(|file| file.time_range().overlaps(&predicate.time))
            .map(|file| file.entry.id)
            .collect();
        files.sort_unstable();
        for known in set.tombstones.iter().filter(|tombstone| tombstone.predicate == *predicate) {
            files.retain(|file| !known.masks_file(*file));
        }
        if files.is_empty() {
            // A repetition of a delete whose manifest was not switched is not done without.
            return Ok(shard.is_ahead().then(|| (set.clone(), set)));
        }
        // A merge under way has read rows that are to go.
        self.abandon_merge_of(shard.id).await?;
        let mut manifest = (*set.manifest).clone();
        manifest.tombstones.push((predicate.clone(), files));
        let next = FileSet::new(manifest, &set.files, &inner.disk, &shard.folder, &inner.block_cache)?;
        Ok(Some((set, next)))
    }

    pub(super) async fn abandon_merge_of(&self, shard: ShardId) -> Result<()> {
        let running = {
            let mut running = self.0.running.borrow_mut();
            if running.as_ref().is_some_and(|running| running.shard.id == shard) {
                running.take()
            } else {
                None
            }
        };
        match running {
            Some(running) => running.merge.abandon().await,
            None => Ok(()),
        }
    }
}

/// Takes tombstones back that came into force in memory alone.
fn unmask<D: Disk>(masked: Vec<(&Rc<Shard<D>>, FileSet<D>, bool)>) {
    for (shard, before, was_ahead) in masked {
        shard.go_ahead(before, was_ahead);
    }
}
