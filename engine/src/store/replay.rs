//! Start: what the WALs hold that is in no file goes back into the caches.
//!
//! The own WAL first, then those of former cores: what was adopted from a former core's WAL before a crash is in files,
//! and its manifest says so. Entries of shards that other cores own now are handed out; they stay in this core's WALs until
//! [`Store::release_foreign`].

use super::{EntryKind, ForeignEntry, Placement, ReplayedWal, Store};
use crate::compact::tombstone::{Tombstone, predicate_from_bytes};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::index::registrar::read_types;
use crate::journal::ReplayReport;
use crate::limits::CACHE_GENERATION_BYTES_MAX;
use crate::model::{Batch, ShardId};
use crate::scan::request::ShardRef;
use crate::wal::{Entry, WalReplay};

/// A former core's WAL, read to its end.
pub(super) struct Orphan<D: Disk> {
    wal_id: u64,
    replay: WalReplay<D>,
}

impl<D: Disk> Store<D> {
    pub(super) async fn replay(&self) -> Result<Vec<ForeignEntry>> {
        let inner = &*self.0;
        let mut foreign = Vec::new();
        let own = inner.options.wal_id;
        let replay = self.read_wal(own, &mut foreign).await?;
        let known = self.highest_known(own).await?;
        let (wal, report) = replay.finish(known).await?;
        self.note_replay(own, &report);
        for shard in inner.shards.borrow().values() {
            if let Some(set) = shard.known_files() {
                wal.snapshotted(shard.id, set.manifest.replayed_up_to(own));
            }
        }
        for (shard, sequence) in inner.unneeded.take() {
            wal.snapshotted(shard, sequence);
        }
        *inner.foreign_shards.borrow_mut() = foreign.iter().map(|entry| entry.shard.shard).collect();
        let _ = inner.wal.set(wal);
        let orphan_ids: Vec<u64> =
            inner.options.wal_ids_replayed.iter().copied().filter(|wal_id| *wal_id != own).collect();
        for wal_id in orphan_ids {
            let replay = self.read_wal(wal_id, &mut foreign).await?;
            self.note_replay(wal_id, replay.report());
            inner.orphans.borrow_mut().push(Orphan { wal_id, replay });
        }
        // Entries of a former core's WAL get durable in files: this core's WAL does not have them.
        self.snapshot_adopted().await?;
        if foreign.is_empty() {
            self.release_foreign().await?;
        }
        Ok(foreign)
    }

    fn note_replay(&self, wal_id: u64, report: &ReplayReport) {
        let inner = &*self.0;
        let mut stats = inner.stats.borrow_mut();
        stats.wal_records_replayed += report.records;
        stats.wal_damages += report.damages.len() as u64 + report.damages_unlisted;
        inner.replays.borrow_mut().push(ReplayedWal { wal_id, report: report.clone() });
    }

    /// Reads one WAL to its end.
    async fn read_wal(&self, wal_id: u64, foreign: &mut Vec<ForeignEntry>) -> Result<WalReplay<D>> {
        let inner = &*self.0;
        let mut replay = WalReplay::open(inner.disk.clone(), wal_id, inner.options.wal()).await?;
        let mut copied = Vec::new();
        while let Some(group) = replay.next().await? {
            let sequence = group.sequence;
            for entry in &group.entries {
                let shard = ShardRef { shard: entry.shard(), group: entry.group() };
                let (kind, body) = match entry {
                    Entry::Write { batch, .. } => (EntryKind::Write, *batch),
                    Entry::Delete { body, .. } => (EntryKind::Delete, *body),
                    Entry::ShardDropped { .. } => (EntryKind::ShardDropped, &[][..]),
                };
                inner.stats.borrow_mut().wal_entries_replayed += 1;
                match (inner.options.placement)(shard) {
                    Placement::Here => {
                        copied.clear();
                        copied.extend_from_slice(body);
                        copied = self.replay_entry(shard, kind, copied, wal_id, sequence).await?;
                    }
                    Placement::Elsewhere => {
                        foreign.push(ForeignEntry { shard, wal_id, sequence, kind, body: body.to_vec() });
                    }
                    Placement::Gone if wal_id == inner.options.wal_id => {
                        inner.unneeded.borrow_mut().push((shard.shard, sequence));
                    }
                    Placement::Gone => {}
                }
            }
            self.make_room().await?;
            (inner.options.on_replay)(wal_id, replay.progress());
            // What the next segment's reading asked for goes to the disk now.
            futures_lite::future::yield_now().await;
        }
        (inner.options.on_replay)(wal_id, replay.progress());
        Ok(replay)
    }

    /// Applies one entry, unless the shard's files have it; hands the memory back.
    async fn replay_entry(
        &self,
        shard: ShardRef,
        kind: EntryKind,
        mut body: Vec<u8>,
        wal_id: u64,
        sequence: u64,
    ) -> Result<Vec<u8>> {
        let inner = &*self.0;
        let shard = self.shard(shard);
        let set = shard.file_set(&inner.disk, &inner.block_cache).await?;
        if sequence <= set.manifest.replayed_up_to(wal_id) {
            return Ok(body);
        }
        let malformed = |what: &str| Error::Corrupted {
            file: crate::wal::folder(wal_id),
            offset: 0,
            what: format!("record {sequence}: {what}"),
        };
        match kind {
            EntryKind::Write => {
                let batch = Batch::from_bytes(body).map_err(|error| malformed(error.0))?;
                if !inner.fields.borrow().knows_group(shard.group) {
                    read_types(&inner.disk, &inner.fields, &inner.field_damages, shard.group).await?;
                }
                let verdict = inner.fields.borrow().check(shard.group, &batch);
                // `make_room` keeps the caches far below what a generation takes: rows it does not take now, it never
                // took, and they were not acknowledged.
                shard.insert(&batch, &verdict.refused, wal_id, sequence);
                self.charge(&shard);
                body = batch.into_bytes();
            }
            EntryKind::Delete => {
                let predicate = predicate_from_bytes(&body)?;
                let tombstone = Tombstone::new(predicate, Vec::new())?;
                shard.note_through(wal_id, sequence);
                self.delete_from_cache(&shard, &tombstone).await;
                self.mask_files(&shard, &tombstone.predicate).await?;
            }
            EntryKind::ShardDropped => {
                self.uncharge(&shard);
                inner.shards.borrow_mut().remove(&shard.id);
            }
        }
        Ok(body)
    }

    /// A WAL need not fit into the cache: snapshots the largest shard when it does not. Only when all entries of a
    /// sequence are applied: a manifest says of whole sequences that they are in files.
    async fn make_room(&self) -> Result<()> {
        let inner = &*self.0;
        while inner.cached.get().row_bytes > inner.pools.write.max().min(CACHE_GENERATION_BYTES_MAX) / 2 {
            let largest = inner.shards.borrow().values().max_by_key(|shard| shard.charged.get()).cloned();
            let Some(largest) = largest.filter(|shard| shard.needs_snapshot()) else { return Ok(()) };
            self.snapshot(&largest).await?;
        }
        Ok(())
    }

    /// The highest sequence of a WAL that any manifest of this core names.
    async fn highest_known(&self, wal_id: u64) -> Result<u64> {
        let inner = &*self.0;
        let shards: Vec<_> = inner.shards.borrow().values().cloned().collect();
        let mut known = 0;
        for shard in shards {
            let set = shard.file_set(&inner.disk, &inner.block_cache).await?;
            known = known.max(set.manifest.replayed_up_to(wal_id));
        }
        Ok(known)
    }

    async fn snapshot_adopted(&self) -> Result<()> {
        let inner = &*self.0;
        let own = inner.options.wal_id;
        let shards: Vec<_> = inner.shards.borrow().values().cloned().collect();
        for shard in shards.iter().filter(|shard| shard.has_rows_of_other_wals(own)) {
            self.snapshot(shard).await?;
        }
        Ok(())
    }

    /// Takes over entries another core found for shards of this one. Durable when it answers.
    pub async fn adopt(&self, entries: Vec<ForeignEntry>) -> Result<()> {
        let _inside = self.0.structure.enter().await;
        for record in entries.chunk_by(|a, b| (a.wal_id, a.sequence) == (b.wal_id, b.sequence)) {
            for ForeignEntry { shard, wal_id, sequence, kind, body } in record {
                self.replay_entry(*shard, *kind, body.clone(), *wal_id, *sequence).await?;
            }
            self.make_room().await?;
        }
        self.note_schema_change();
        self.snapshot_adopted().await
    }

    /// All owners have adopted what this core's WALs held for them: lets the old WALs go.
    pub async fn release_foreign(&self) -> Result<()> {
        let inner = &*self.0;
        let shards: Vec<ShardId> = inner.foreign_shards.take();
        if let Some(wal) = inner.wal.get() {
            for shard in shards {
                wal.forget_shard(shard);
            }
        }
        let orphans: Vec<_> = inner.orphans.borrow_mut().drain(..).collect();
        for orphan in orphans {
            let known = self.highest_known(orphan.wal_id).await?;
            orphan.replay.retire(known).await?;
        }
        Ok(())
    }
}
