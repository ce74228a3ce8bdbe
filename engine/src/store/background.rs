//! Background work in steps: snapshots, merges, and the removal of replaced files.
//!
//! What is done first: a snapshot when memory or the WAL asks for it, then the merge under way, then a new plan; last of all
//! files are read again.

use std::rc::Rc;

use super::{Step, Store};
use crate::codec::Temperature;
use crate::compact::file::ShardFile;
use crate::compact::manifest::{FileEntry, Manifest};
use crate::compact::merge::Merge;
use crate::compact::plan::{LEVEL_FULL, LEVEL_SNAPSHOT, Plan, ShardFacts, plan};
use crate::compact::snapshot::write_snapshot;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::limits::COMPACTION_FILES_MAX;
use crate::model::ShardId;
use crate::shard::{FileSet, Shard};
use crate::tsm::FileMeta;

/// A cold shard that is nearly full is made full after so long.
const OVERDUE_NS: u64 = 4 * 3600 * 1_000_000_000;
/// Without anything to wait for, a look around after so long.
const IDLE_NS: u64 = 60 * 1_000_000_000;
/// A WAL that nothing was written to for so long, and that nothing needs, gives its room back.
const WAL_REST_NS: u64 = 10 * 1_000_000_000;
/// Of the live WAL's limit, above this part the shard that holds it back is snapshotted.
const WAL_PART_MAX: (u64, u64) = (3, 4);

/// Rows per series below which a snapshot waits for more: a block costs as much by itself as some hundred rows do, when it
/// is written and again when it is merged.
const SPARSE_ROWS: u64 = 512;
/// So many times the usual bytes of rows are held then.
const SPARSE_FACTOR: u64 = 4;

/// A merge under way.
pub(super) struct Running<D: Disk> {
    pub shard: Rc<Shard<D>>,
    pub merge: Merge<D>,
    /// Bytes of its files.
    pub bytes_total: u64,
    /// Ids of the files it merges.
    inputs: Vec<u64>,
    id: u64,
    level: u8,
}

impl<D: Disk> Store<D> {
    /// Does a bounded piece of background work: about `budget` bytes of a merge, or one snapshot. An error concerns one
    /// piece of work; the next call goes on with another, or tries again.
    pub async fn background_step(&self, now_ns: u64, budget: u64) -> Result<Step> {
        if self.0.is_closing.get() {
            return Err(Error::Closed);
        }
        self.0.background_seen.set(self.0.background.count());
        // Caches and files stay as they are: the WAL has what the next start needs.
        if self.refusal().is_some() {
            return Ok(Step::IdleUntil(now_ns.saturating_add(IDLE_NS)));
        }
        self.watch(self.step(now_ns, budget).await)
    }

    async fn step(&self, now_ns: u64, budget: u64) -> Result<Step> {
        let inner = &*self.0;
        inner.now_ns.set(inner.now_ns.get().max(now_ns));
        let _inside = inner.structure.enter().await;
        self.remove_replaced().await?;
        if let Some(shard) = self.pressing() {
            self.snapshot(&shard).await?;
            return Ok(Step::More);
        }
        if let Some(shard) = self.gone_cold(now_ns) {
            match self.combines(&shard) {
                true => self.combine(&shard).await?,
                false => self.snapshot(&shard).await?,
            }
            return Ok(Step::More);
        }
        if self.merge_step(budget).await? || self.start_merge(now_ns).await? {
            return Ok(Step::More);
        }
        if self.rest_wal(now_ns).await? {
            return Ok(Step::More);
        }
        if self.scrub(now_ns).await {
            return Ok(Step::More);
        }
        Ok(Step::IdleUntil(self.next_due(now_ns)))
    }

    /// The merge under way: its shard, bytes read and bytes of all its files.
    pub fn merge_progress(&self) -> Option<(ShardId, u64, u64)> {
        let running = self.0.running.borrow();
        running
            .as_ref()
            .map(|running| (running.shard.id, running.merge.counts.bytes_read, running.bytes_total))
    }

    /// Lets the WAL of an idle core rest; false when it is too early, or there is nothing to give back.
    async fn rest_wal(&self, now_ns: u64) -> Result<bool> {
        let inner = &*self.0;
        if inner.wal_written_at_ns.get() == 0 {
            // Filled by a former life, before there was a clock.
            inner.wal_written_at_ns.set(now_ns);
        }
        let Some(wal) = inner.wal.get().filter(|wal| wal.can_rest()) else { return Ok(false) };
        if now_ns < inner.wal_written_at_ns.get().saturating_add(WAL_REST_NS) {
            return Ok(false);
        }
        // Should it not succeed, it is not tried again at once.
        inner.wal_written_at_ns.set(now_ns);
        match wal.rest().await {
            Ok(()) | Err(Error::DiskFull { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Answers when there is background work before the time the last step named.
    pub async fn background_wanted(&self) {
        // What was raised during the last step may have come after its look: that counts too.
        self.0.background.after(self.0.background_seen.get()).await;
    }

    /// Whether memory or the WAL asks for a snapshot.
    pub(super) fn is_snapshot_due(&self) -> bool {
        let inner = &*self.0;
        let cached = inner.cached.get();
        let is_sparse = cached.rows < SPARSE_ROWS * cached.series;
        let wanted =
            inner.options.cache_snapshot_bytes.saturating_mul(if is_sparse { SPARSE_FACTOR } else { 1 });
        let cache_max = wanted.min(inner.pools.write.max() / 2);
        cached.row_bytes >= cache_max.max(1)
            || inner.pools.index.used() >= inner.pools.index.max() / 4 * 3
            || inner.wal.get().is_some_and(|wal| {
                wal.live_bytes() > wal.live_bytes_max() / WAL_PART_MAX.1 * WAL_PART_MAX.0
                    && wal.laggard().is_some()
            })
    }

    /// The shard whose snapshot makes room, when memory or the WAL asks for it.
    fn pressing(&self) -> Option<Rc<Shard<D>>> {
        if !self.is_snapshot_due() {
            return None;
        }
        let inner = &*self.0;
        let shards = inner.shards.borrow();
        let laggard = inner.wal.get().and_then(|wal| {
            let is_long = wal.live_bytes() > wal.live_bytes_max() / WAL_PART_MAX.1 * WAL_PART_MAX.0;
            wal.laggard().filter(|_| is_long)
        });
        if let Some(shard) = laggard.and_then(|(shard, _)| shards.get(&shard)) {
            return Some(shard.clone());
        }
        let waiting = shards.values().filter(|shard| shard.needs_snapshot());
        waiting.max_by_key(|shard| shard.charged.get()).cloned()
    }

    /// A shard whose cache was not written to for long enough.
    fn gone_cold(&self, now_ns: u64) -> Option<Rc<Shard<D>>> {
        let inner = &*self.0;
        let shards = inner.shards.borrow();
        let waiting = || shards.values().filter(|shard| shard.needs_snapshot());
        for shard in waiting() {
            if shard.written_at_ns.get() == 0 {
                // Filled by a replay, before there was a clock.
                shard.written_at_ns.set(now_ns);
            }
        }
        waiting()
            .filter(|shard| now_ns >= shard.written_at_ns.get().saturating_add(self.cache_cold_ns(shard)))
            .min_by_key(|shard| (shard.written_at_ns.get(), shard.id))
            .cloned()
    }

    /// Writes a shard's cache to a level-1 file. Call it inside `structure`.
    pub(super) async fn snapshot(&self, shard: &Rc<Shard<D>>) -> Result<()> {
        let inner = &*self.0;
        let set = shard.file_set(&inner.disk, &inner.block_cache).await?;
        if set.files.is_empty() {
            inner.disk.create_dir_all(&shard.folder).await?;
        }
        shard.seal(self.unfinished());
        let cache = shard.cache();
        let mut manifest = (*set.manifest).clone();
        let id = self.next_id(shard, &mut manifest);
        let meta = match cache.sealed() {
            Some(sealed) if !sealed.borrow().is_empty() => {
                let (index, blocks) = (cache.index(), &inner.block_cache);
                write_snapshot(&inner.disk, &shard.path(id), index, sealed, blocks, &inner.pace).await?
            }
            _ => None,
        };
        drop(cache);
        if shard.is_dropped.get() {
            return Ok(());
        }
        if let Some(meta) = &meta {
            manifest.files.push(entry_of(id, LEVEL_SNAPSHOT, meta));
        }
        for (wal_id, sequence) in shard.sealed_through() {
            manifest.set_replayed(wal_id, sequence);
        }
        let next = FileSet::new(manifest, &set.files, &inner.disk, &shard.folder, &inner.block_cache)?;
        shard.prepare(&next, &set).await;
        next.manifest.switch(&inner.disk, &shard.folder).await?;
        self.snapshotted(shard, next, meta).await
    }

    /// Entries of a sequence enter the caches one by one, and a snapshot may run in between: then the sequence is not in
    /// the files yet, and a replay must go through it again.
    pub(super) fn unfinished(&self) -> Option<(u64, u64)> {
        self.0.applying.get().map(|sequence| (self.0.options.wal_id, sequence))
    }

    /// The manifest names files that have all of the sealed generation: lets it and its WAL entries go. `meta` is of the
    /// file it went into.
    pub(super) async fn snapshotted(
        &self,
        shard: &Rc<Shard<D>>,
        files: FileSet<D>,
        meta: Option<FileMeta>,
    ) -> Result<()> {
        let inner = &*self.0;
        let through = shard.sealed_through();
        shard.switch(files, true);
        shard.wants_plan.set(true);
        if shard.is_dropped.get() {
            return inner.disk.remove_dir_all(&shard.folder).await;
        }
        self.charge(shard);
        let own = through.iter().find(|(wal_id, _)| *wal_id == inner.options.wal_id);
        if let (Some(wal), Some((_, sequence))) = (inner.wal.get(), own) {
            wal.snapshotted(shard.id, *sequence);
        }
        let mut stats = inner.stats.borrow_mut();
        stats.snapshots += 1;
        stats.snapshot_rows += meta.map_or(0, |meta| meta.rows);
        stats.snapshot_bytes += meta.map_or(0, |meta| meta.bytes);
        drop(stats);
        inner.room.raise();
        Ok(())
    }

    /// The next file id of a shard; one that a merge under way writes is not given again.
    pub(super) fn next_id(&self, shard: &Shard<D>, manifest: &mut Manifest) -> u64 {
        let running = self.0.running.borrow();
        let taken =
            running.as_ref().filter(|running| running.shard.id == shard.id).map_or(0, |running| running.id);
        let id = manifest.next_file.max(taken + 1);
        manifest.next_file = id + 1;
        id
    }

    /// Goes on with the merge under way; false when there is none.
    async fn merge_step(&self, budget: u64) -> Result<bool> {
        let inner = &*self.0;
        let running = inner.running.borrow_mut().take();
        let Some(mut running) = running else { return Ok(false) };
        inner.is_merging.set(true);
        let stepped = running.merge.step(budget, &inner.pace).await;
        inner.is_merging.set(false);
        match stepped {
            Ok(true) => {
                *inner.running.borrow_mut() = Some(running);
                Ok(true)
            }
            Ok(false) => {
                let files_max = &running.shard.merge_files_max;
                files_max.set((files_max.get() * 2).min(COMPACTION_FILES_MAX));
                self.finish_merge(running).await.map(|()| true)
            }
            Err(Error::Full { .. }) => {
                // The same again with fewer files; three always fit.
                running.shard.merge_files_max.set(running.inputs.len() / 2);
                inner.stats.borrow_mut().compactions_narrowed += 1;
                running.merge.abandon().await?;
                Ok(true)
            }
            Err(error) => {
                // Damage, or a failing disk: the shard is left as it is until something changes in it.
                running.shard.wants_plan.set(false);
                inner.stats.borrow_mut().compaction_errors += 1;
                running.merge.abandon().await?;
                Err(error)
            }
        }
    }

    async fn finish_merge(&self, running: Running<D>) -> Result<()> {
        let inner = &*self.0;
        let Running { shard, merge, inputs, id, level, .. } = running;
        let (meta, counts) = merge.finish().await?;
        let set = shard.file_set(&inner.disk, &inner.block_cache).await?;
        let mut manifest = (*set.manifest).clone();
        manifest.next_file = manifest.next_file.max(id + 1);
        let at = manifest.files.iter().position(|file| inputs.contains(&file.id)).unwrap_or(0);
        manifest.files.retain(|file| !inputs.contains(&file.id));
        if let Some(meta) = &meta {
            manifest.files.insert(at, entry_of(id, level, meta));
        }
        for (_, files) in &mut manifest.tombstones {
            files.retain(|file| !inputs.contains(file));
        }
        manifest.tombstones.retain(|(_, files)| !files.is_empty());
        self.replace_files(&shard, &set, manifest).await?;
        let mut stats = inner.stats.borrow_mut();
        stats.compactions += 1;
        stats.compactions_full += u64::from(level == LEVEL_FULL);
        stats.compaction_bytes_read += counts.bytes_read;
        stats.compaction_bytes_written += meta.map_or(0, |meta| meta.bytes);
        stats.compaction_blocks_copied += counts.blocks_copied;
        stats.compaction_blocks_merged += counts.blocks_merged;
        Ok(())
    }

    /// Switches the manifest; files it no longer names go when their last reader has.
    async fn replace_files(&self, shard: &Rc<Shard<D>>, set: &FileSet<D>, manifest: Manifest) -> Result<()> {
        let inner = &*self.0;
        let next = FileSet::new(manifest, &set.files, &inner.disk, &shard.folder, &inner.block_cache)?;
        shard.prepare(&next, set).await;
        next.manifest.switch(&inner.disk, &shard.folder).await?;
        let mut replaced = inner.replaced.borrow_mut();
        for file in set.files.iter() {
            if !next.manifest.files.iter().any(|entry| entry.id == file.entry.id) {
                replaced.push(file.clone());
            }
        }
        drop(replaced);
        shard.switch(next, false);
        Ok(())
    }

    async fn remove_replaced(&self) -> Result<()> {
        let inner = &*self.0;
        let free: Vec<Rc<ShardFile<D>>> = {
            let mut replaced = inner.replaced.borrow_mut();
            let (free, held) = replaced.drain(..).partition(|file| Rc::strong_count(file) == 1);
            *replaced = held;
            free
        };
        for file in free {
            file.close();
            inner.disk.remove_file(file.path()).await?;
        }
        Ok(())
    }

    /// Looks for a shard that has something to merge and starts it; false when there is none.
    async fn start_merge(&self, now_ns: u64) -> Result<bool> {
        let inner = &*self.0;
        let mut wanting: Vec<_> =
            inner.shards.borrow().values().filter(|shard| shard.wants_plan.get()).cloned().collect();
        wanting.sort_by_key(|shard| shard.id);
        for shard in wanting {
            let set = shard.file_set(&inner.disk, &inner.block_cache).await?;
            if shard.written_at_ns.get() == 0 {
                shard.written_at_ns.set(now_ns);
            }
            let cold_ns = now_ns.saturating_sub(shard.written_at_ns.get());
            let facts = ShardFacts {
                is_cold: cold_ns >= inner.options.full_cold_ns && !shard.needs_snapshot(),
                is_overdue: cold_ns >= OVERDUE_NS,
                files_max: shard.merge_files_max.get(),
            };
            let Some(plan) = plan(&set.facts(), facts) else {
                // Nothing more will come of these files by waiting.
                let is_settled = set.files.len() <= 1 && facts.is_cold || facts.is_overdue;
                shard.wants_plan.set(!is_settled);
                continue;
            };
            self.start_plan(&shard, &set, plan).await?;
            return Ok(true);
        }
        Ok(false)
    }

    async fn start_plan(&self, shard: &Rc<Shard<D>>, set: &FileSet<D>, plan: Plan) -> Result<()> {
        let inner = &*self.0;
        let files = &set.files[plan.start..plan.start + plan.count];
        let inputs: Vec<u64> = files.iter().map(|file| file.entry.id).collect();
        let is_masked =
            inputs.iter().any(|id| set.tombstones.iter().any(|tombstone| tombstone.masks_file(*id)));
        let temperature = match plan.level {
            LEVEL_FULL if inner.options.cold_codec => Temperature::Cold,
            _ => Temperature::Hot,
        };
        let mut manifest = (*set.manifest).clone();
        if let ([file], false) = (files, is_masked)
            && (temperature == Temperature::Hot || file.reader().await?.meta().is_cold)
        {
            // One file that is as it should be: only its standing changes.
            manifest.files[plan.start].level = plan.level;
            return self.replace_files(shard, set, manifest).await;
        }
        let id = self.next_id(shard, &mut manifest);
        let bytes_total = files.iter().map(|file| file.entry.bytes).sum();
        let merge = Merge::start(
            &inner.disk,
            &inner.pools.compaction,
            &inner.block_cache,
            &shard.path(id),
            files,
            set.tombstones.clone(),
            temperature,
        )
        .await;
        let merge = merge.inspect_err(|_| {
            shard.wants_plan.set(false);
            inner.stats.borrow_mut().compaction_errors += 1;
        })?;
        *inner.running.borrow_mut() =
            Some(Running { shard: shard.clone(), merge, bytes_total, inputs, id, level: plan.level });
        Ok(())
    }

    /// When the next shard goes cold, or the WAL may rest.
    fn next_due(&self, now_ns: u64) -> u64 {
        let options = &self.0.options;
        let mut due = now_ns.saturating_add(IDLE_NS);
        for shard in self.0.shards.borrow().values() {
            let written = shard.written_at_ns.get();
            if shard.needs_snapshot() {
                due = due.min(written.saturating_add(self.cache_cold_ns(shard)));
            } else if shard.wants_plan.get() {
                let full = written.saturating_add(options.full_cold_ns);
                let wait = if full > now_ns { full } else { written.saturating_add(OVERDUE_NS) };
                due = due.min(wait.max(now_ns + 1));
            }
        }
        if self.0.wal.get().is_some_and(|wal| wal.can_rest()) {
            due = due.min(self.0.wal_written_at_ns.get().saturating_add(WAL_REST_NS));
        }
        due.min(self.scrub_due().unwrap_or(u64::MAX)).max(now_ns + 1)
    }
}

pub(super) fn entry_of(id: u64, level: u8, meta: &FileMeta) -> FileEntry {
    FileEntry {
        id,
        level,
        bytes: meta.bytes,
        rows: meta.rows,
        time_min: meta.min_time,
        time_max: meta.max_time,
    }
}
