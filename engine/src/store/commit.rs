//! The write path: types checked → queue → one WAL record for all that wait → caches → answers.

use std::cell::RefCell;
use std::rc::Rc;

use super::{DropReason, ShardWrite, Store, WriteOutcome};
use crate::compact::tombstone::Tombstone;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::limits::COMMIT_BYTES_MAX;
use crate::model::ShardId;
use crate::pool::Reservation;
use crate::scan::request::ShardRef;
use crate::wait::Signal;
use crate::wal::Entry;

/// About what a row of a small series takes in a cache beyond its bytes in the batch.
const CACHE_ROW_BYTES: usize = 32;

/// One call on its way through the commit loop.
pub(super) struct Pending {
    work: Work,
    bytes: usize,
    /// Taken from the write pool; given back when the rows are charged as cache.
    room: Option<Reservation>,
    answer: Rc<Answer>,
}

enum Work {
    Write { writes: Vec<ShardWrite>, refused: Vec<Vec<bool>> },
    Delete { shards: Vec<ShardRef>, body: Vec<u8>, tombstone: Tombstone },
}

impl Pending {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes as u64
    }
}

#[derive(Default)]
struct Answer {
    result: RefCell<Option<Result<()>>>,
    given: Signal,
}

impl Answer {
    fn give(&self, result: Result<()>) {
        *self.result.borrow_mut() = Some(result);
        self.given.raise();
    }
}

impl Work {
    /// What the WAL keeps of it. Rows refused for their types go along: a replay refuses them again.
    fn entries<'a>(&'a self, entries: &mut Vec<Entry<'a>>) {
        match self {
            Self::Write { writes, .. } => entries.extend(writes.iter().map(|write| Entry::Write {
                shard: write.shard,
                group: write.group,
                batch: write.batch.as_bytes(),
            })),
            Self::Delete { shards, body, .. } => entries.extend(shards.iter().map(|shard| Entry::Delete {
                shard: shard.shard,
                group: shard.group,
                body,
            })),
        }
    }
}

impl<D: Disk> Store<D> {
    /// Writes batches; durable when it answers, one outcome per write. Writes enter in the order of the calls' first
    /// polls. `Error::Full`: a pool, the WAL or a cache has no room, the caller may try again after
    /// [`Store::write_room`]; of a full cache alone some rows may be there already. `Error::ReadOnly`, `Error::DiskFull`: nothing was acknowledged.
    pub async fn write(&self, writes: Vec<ShardWrite>, now_ns: u64) -> Result<Vec<WriteOutcome>> {
        let inner = &*self.0;
        if inner.is_closing.get() {
            return Err(Error::Closed);
        }
        if let Some(error) = self.refusal() {
            return Err(error);
        }
        if writes.iter().any(|write| inner.dropped.borrow().contains(&write.shard)) {
            return Err(Error::Closed);
        }
        inner.now_ns.set(inner.now_ns.get().max(now_ns));
        let bytes: usize = writes.iter().map(|write| write.batch.as_bytes().len()).sum();
        // In a cache a row takes more than in a batch.
        let rows: usize = writes.iter().map(|write| write.batch.row_count()).sum();
        let room = self.reserve_room(bytes + CACHE_ROW_BYTES * rows).inspect_err(|_| {
            inner.stats.borrow_mut().writes_refused += 1;
            inner.background.raise();
        })?;
        let mut outcomes = Vec::with_capacity(writes.len());
        let mut refused = Vec::with_capacity(writes.len());
        {
            let fields = inner.fields.borrow();
            for write in &writes {
                let verdict = fields.check(write.group, &write.batch);
                outcomes.push(WriteOutcome {
                    dropped: verdict.rows,
                    first: verdict
                        .conflict
                        .map(|conflict| (verdict.first_row, DropReason::FieldTypeConflict(conflict))),
                });
                refused.push(verdict.refused);
            }
        }
        self.enqueue(Work::Write { writes, refused }, bytes, Some(room)).await?;
        Ok(outcomes)
    }

    fn reserve_room(&self, bytes: usize) -> Result<Reservation> {
        if self.0.pools.index.is_full() {
            return Err(self.0.pools.index.refuse());
        }
        self.0.pools.write.reserve(bytes as u64)
    }

    /// Answers when the pools may have room again.
    pub async fn write_room(&self) {
        let inner = &*self.0;
        let seen = inner.room.count();
        if inner.pools.write.is_full() || inner.pools.index.is_full() {
            inner.background.raise();
            inner.room.after(seen).await;
        }
    }

    /// Makes a delete durable and applies it to the caches, in order with the writes.
    pub(super) async fn commit_delete(
        &self,
        shards: Vec<ShardRef>,
        body: Vec<u8>,
        tombstone: Tombstone,
    ) -> Result<()> {
        let bytes = body.len() * shards.len();
        self.enqueue(Work::Delete { shards, body, tombstone }, bytes, None).await
    }

    async fn enqueue(&self, work: Work, bytes: usize, room: Option<Reservation>) -> Result<()> {
        let answer = Rc::new(Answer::default());
        self.0.queue.borrow_mut().push_back(Pending { work, bytes, room, answer: answer.clone() });
        self.0.queued.raise();
        answer.given.until(|| answer.result.borrow().is_some()).await;
        let result = answer.result.borrow_mut().take();
        result.unwrap_or(Err(Error::Closed))
    }

    /// Group commit and the WAL's upkeep; a task of its own for the store's whole life. Ends with [`Store::close`].
    pub async fn commit_loop(&self) {
        let Some(wal) = self.0.wal.get() else { return };
        let upkeep = wal.upkeep_loop(|failed| {
            let _ = self.watch::<()>(Err(failed));
        });
        futures_lite::future::zip(self.commit_groups(), upkeep).await;
    }

    async fn commit_groups(&self) {
        let inner = &*self.0;
        loop {
            inner.queued.until(|| !inner.queue.borrow().is_empty() || inner.is_closed.get()).await;
            let group = self.take_group();
            if group.is_empty() {
                return;
            }
            inner.is_committing.set(true);
            self.commit(group).await;
            inner.is_committing.set(false);
            inner.committed.raise();
        }
    }

    fn take_group(&self) -> Vec<Pending> {
        let mut queue = self.0.queue.borrow_mut();
        let mut group: Vec<Pending> = Vec::new();
        let mut bytes = 0;
        while let Some(next) = queue.front() {
            if !group.is_empty() && bytes + next.bytes > COMMIT_BYTES_MAX {
                break;
            }
            bytes += next.bytes;
            group.extend(queue.pop_front());
        }
        group
    }

    async fn commit(&self, group: Vec<Pending>) {
        let inner = &*self.0;
        let mut entries = Vec::new();
        for pending in &group {
            pending.work.entries(&mut entries);
        }
        let appended = match inner.wal.get() {
            _ if entries.is_empty() => Ok(0),
            Some(wal) => self.watch(wal.append(&entries).await),
            None => Err(Error::Closed),
        };
        drop(entries);
        match appended {
            Ok(sequence) => {
                inner.wal_written_at_ns.set(inner.now_ns.get());
                inner.applying.set(Some(sequence));
                let last = group.len() - 1;
                for (at, pending) in group.into_iter().enumerate() {
                    self.apply(pending, sequence, at == last).await;
                }
            }
            Err(error) => {
                // A full WAL needs a snapshot of the shard that holds it back.
                inner.background.raise();
                for pending in group {
                    pending.answer.give(Err(error.clone()));
                }
            }
        }
    }

    /// Puts durable rows into the caches and answers.
    async fn apply(&self, pending: Pending, sequence: u64, is_last: bool) {
        let inner = &*self.0;
        let wal_id = inner.options.wal_id;
        let (mut full, mut is_first_of_shard) = (0, false);
        match &pending.work {
            Work::Write { writes, refused } => {
                for (write, refused) in writes.iter().zip(refused) {
                    if inner.dropped.borrow().contains(&write.shard) {
                        self.forget_in_wal(write.shard);
                        continue;
                    }
                    let shard = self.shard(ShardRef { shard: write.shard, group: write.group });
                    is_first_of_shard |= !shard.needs_snapshot();
                    let (inserted, is_new) = shard.insert(&write.batch, refused, wal_id, sequence);
                    if is_new {
                        self.note_schema_change();
                    }
                    shard.written_at_ns.set(inner.now_ns.get());
                    self.charge(&shard);
                    full += inserted.full;
                    shard.note_write(inserted);
                    let mut stats = inner.stats.borrow_mut();
                    stats.batches_written += 1;
                    stats.points_written += inserted.rows;
                    stats.values_written += inserted.values;
                    stats.points_dropped += inserted.refused;
                    stats.points_full += inserted.full;
                }
            }
            Work::Delete { shards, tombstone, .. } => {
                for shard in shards {
                    if inner.dropped.borrow().contains(&shard.shard) {
                        self.forget_in_wal(shard.shard);
                        continue;
                    }
                    let shard = self.shard(*shard);
                    is_first_of_shard |= !shard.needs_snapshot();
                    shard.note_through(wal_id, sequence);
                    self.delete_from_cache(&shard, tombstone).await;
                }
                self.note_schema_change();
            }
        }
        if is_last {
            inner.applying.set(None);
        }
        drop(pending.room);
        // Rows that no cache took must not be acknowledged, though the WAL has them: a replay may bring them back, as it
        // may with any write that failed.
        pending.answer.give(match full {
            0 => Ok(()),
            _ => Err(Error::Full { what: "the cache of a shard" }),
        });
        // The background sleeps for a long time when it has nothing to wait for: now it has.
        if is_first_of_shard || full > 0 || self.is_snapshot_due() {
            inner.background.raise();
        }
        // A batch may have taken a millisecond: others first.
        futures_lite::future::yield_now().await;
    }

    fn forget_in_wal(&self, shard: ShardId) {
        if let Some(wal) = self.0.wal.get() {
            wal.forget_shard(shard);
        }
    }
}
