//! One core's shards and their WAL: open, replay, write, delete, background work, close.
//!
//! [`Store`] is a cheap-clone handle of one core; it never leaves it. Three kinds of task use it:
//!
//! * **requests**: `write`, `delete`, `view`, the field calls. A write is durable when it answers.
//! * **the commit loop**, one task for the store's life: takes all waiting writes, makes them durable with one WAL write,
//!   puts them into the caches in the order they came, and answers.
//! * **the background**, one task: [`Store::background_step`] until it says `IdleUntil`, then sleep until that time or
//!   until [`Store::background_wanted`] answers. Each step gives way often (`compact::Pace`).
//!
//! A write: `unknown_fields` → (registrar's core) `register_fields` → `learn_fields` → `write`.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use hashbrown::HashMap;

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::index::fields::{FieldDefinition, FieldTypeConflict, FieldTypes};
use crate::limits::COMMIT_BYTES_MAX;
use crate::model::{Batch, ShardGroupId, ShardId, TimeRange};
use crate::pool::{PoolLimits, Pools, Reservation};
use crate::scan::request::{ShardRef, TagFilter};
use crate::shard::{Shard, ShardView};
use crate::stats::Stats;
use crate::wait::Signal;

/// Where a shard named in a WAL lives now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// On this core.
    Here,
    /// On another core of this node.
    Elsewhere,
    /// Nowhere: it was dropped, or moved to another node.
    Gone,
}

/// How a core's store is opened.
pub struct StoreOptions {
    /// The WAL this core writes: `wal/<wal id>`. Never two stores with the same.
    pub wal_id: u64,
    /// WALs this core replays at start: its own, and those of former cores that no present core writes.
    pub wal_ids_replayed: Vec<u64>,
    /// Shards this core owns. Their folders are read when they are first needed.
    pub shards: Vec<ShardRef>,
    /// Decides about a WAL entry's shard.
    pub placement: Rc<dyn Fn(ShardRef) -> Placement>,
    pub pools: PoolLimits,
    /// A shard's cache is snapshotted when the core's caches exceed this (the node's total divided by the cores).
    pub cache_snapshot_bytes: u64,
    /// A shard without writes for so long is snapshotted.
    pub cache_cold_ns: u64,
    /// A shard without writes for so long is compacted fully if an eighth of it is not.
    pub full_cold_ns: u64,
    /// Above this the live WAL makes the shard that pins its oldest segment snapshot.
    pub wal_bytes_max: u64,
    /// Full compactions may use the slower, denser codec.
    pub cold_codec: bool,
}

impl StoreOptions {
    /// Defaults for a core with `bytes` of memory and WAL `wal_id`, owning every shard asked for.
    pub fn new(wal_id: u64, bytes: u64) -> Self {
        Self {
            wal_id,
            wal_ids_replayed: vec![wal_id],
            shards: Vec::new(),
            placement: Rc::new(|_| Placement::Here),
            pools: PoolLimits::split(bytes),
            cache_snapshot_bytes: 25 << 20,
            cache_cold_ns: 5_000_000_000,
            full_cold_ns: 10_000_000_000,
            wal_bytes_max: 256 << 20,
            cold_codec: false,
        }
    }
}

/// A batch for one shard of this core.
pub struct ShardWrite {
    pub shard: ShardId,
    pub group: ShardGroupId,
    pub batch: Batch,
}

/// What became of one [`ShardWrite`]; the rows not dropped are durable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteOutcome {
    /// Rows dropped.
    pub dropped: u32,
    /// The first dropped row's position in the batch, and why it was.
    pub first: Option<(u32, DropReason)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DropReason {
    FieldTypeConflict(FieldTypeConflict),
    /// The shard's cache or a limit of its index is exhausted.
    Full,
}

/// Entries of this core's WALs whose shards live on other cores now: to be handed to their owners with
/// [`Store::adopt`] before the node serves; then [`Store::release_foreign`].
pub struct ForeignEntry {
    pub shard: ShardRef,
    /// The WAL it stands in and its place there.
    pub wal_id: u64,
    pub sequence: u64,
    /// As it stands in the WAL.
    pub body: Vec<u8>,
}

/// What is deleted in the given shards: rows of `measurement` (`None`: all) whose series pass `series`, within `time`.
#[derive(Debug, Clone, PartialEq)]
pub struct DeleteRequest {
    pub shards: Vec<ShardRef>,
    pub measurement: Option<Vec<u8>>,
    pub series: Option<TagFilter>,
    pub time: TimeRange,
}

/// What a background step says about the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There is more to do now.
    More,
    /// Nothing to do before this time, unless [`Store::background_wanted`] answers.
    IdleUntil(u64),
}

/// One core's store.
pub struct Store<D: Disk>(Rc<Inner<D>>);

impl<D: Disk> Clone for Store<D> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Inner<D: Disk> {
    disk: D,
    options: StoreOptions,
    pools: Pools,
    shards: RefCell<HashMap<ShardId, Rc<Shard>>>,
    fields: RefCell<FieldTypes>,
    queue: RefCell<VecDeque<Pending>>,
    queued: Signal,
    background: Signal,
    room: Signal,
    is_closing: Cell<bool>,
    failed: RefCell<Option<Error>>,
    now_ns: Cell<u64>,
    stats: RefCell<Stats>,
}

/// One call of `write` on its way through the commit loop.
struct Pending {
    writes: Vec<ShardWrite>,
    refused: Vec<Vec<bool>>,
    bytes: usize,
    room: Reservation,
    answer: Rc<Answer>,
}

#[derive(Default)]
struct Answer {
    result: RefCell<Option<Result<()>>>,
    given: Signal,
}

impl<D: Disk> Store<D> {
    /// Opens the store and replays its WALs. The second value: entries that belong to other cores.
    pub async fn open(disk: D, options: StoreOptions) -> Result<(Self, Vec<ForeignEntry>)> {
        let pools = Pools::new(options.pools);
        let shards = options.shards.iter().map(|shard| (shard.shard, Rc::new(Shard::new(*shard)))).collect();
        let store = Self(Rc::new(Inner {
            disk,
            options,
            pools,
            shards: RefCell::new(shards),
            fields: RefCell::new(FieldTypes::new()),
            queue: RefCell::new(VecDeque::new()),
            queued: Signal::new(),
            background: Signal::new(),
            room: Signal::new(),
            is_closing: Cell::new(false),
            failed: RefCell::new(None),
            now_ns: Cell::new(0),
            stats: RefCell::new(Stats::default()),
        }));
        Ok((store, Vec::new()))
    }

    /// Takes over entries another core found for shards of this one. Durable when it answers.
    pub async fn adopt(&self, entries: Vec<ForeignEntry>) -> Result<()> {
        if entries.is_empty() { Ok(()) } else { Err(Error::Closed) }
    }

    /// All owners have adopted what this core's WALs held for them: lets the old WALs go.
    pub async fn release_foreign(&self) -> Result<()> {
        Ok(())
    }

    /// The fields of a batch this core does not know the types of: what to ask the group's registrar before `write`.
    pub fn unknown_fields(&self, group: ShardGroupId, batch: &Batch) -> Vec<FieldDefinition> {
        self.0.fields.borrow().unknown(group, batch)
    }

    /// On the group's registrar core: decides types (first arrival wins) and answers those that hold, in the order asked.
    /// New ones are durable when it answers.
    pub async fn register_fields(
        &self,
        group: ShardGroupId,
        asked: Vec<FieldDefinition>,
    ) -> Result<Vec<FieldDefinition>> {
        let (answer, _new) = self.0.fields.borrow_mut().register(group, &asked);
        Ok(answer)
    }

    /// Takes over the registrar's answer.
    pub fn learn_fields(&self, group: ShardGroupId, definitions: &[FieldDefinition]) {
        self.0.fields.borrow_mut().learn(group, definitions);
    }

    /// On every core after DROP MEASUREMENT; on the registrar core durable when it answers. Rows are deleted by
    /// [`Store::delete`] first.
    pub async fn forget_measurement(&self, group: ShardGroupId, measurement: &[u8]) -> Result<()> {
        self.0.fields.borrow_mut().forget_measurement(group, measurement);
        Ok(())
    }

    /// Writes batches; durable when it answers, one outcome per write. Writes enter in the order of the calls' first
    /// polls. `Error::Full`: the write pool has no room, nothing was written, the caller may try again after
    /// [`Store::write_room`]. `Error::ReadOnly`, `Error::DiskFull`: nothing was acknowledged.
    pub async fn write(&self, writes: Vec<ShardWrite>, now_ns: u64) -> Result<Vec<WriteOutcome>> {
        let inner = &*self.0;
        if inner.is_closing.get() {
            return Err(Error::Closed);
        }
        if let Some(error) = inner.failed.borrow().clone() {
            return Err(error);
        }
        inner.now_ns.set(inner.now_ns.get().max(now_ns));
        let bytes: usize = writes.iter().map(|write| write.batch.as_bytes().len()).sum();
        let room = inner.pools.write.reserve(bytes as u64).inspect_err(|_| {
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
        let answer = Rc::new(Answer::default());
        inner.queue.borrow_mut().push_back(Pending { writes, refused, bytes, room, answer: answer.clone() });
        inner.queued.raise();
        answer.given.until(|| answer.result.borrow().is_some()).await;
        let result = answer.result.borrow_mut().take();
        result.unwrap_or(Err(Error::Closed))?;
        Ok(outcomes)
    }

    /// Answers when the write pool may have room again.
    pub async fn write_room(&self) {
        let seen = self.0.room.count();
        if self.0.pools.write.is_full() {
            self.0.background.raise();
            self.0.room.after(seen).await;
        }
    }

    /// Group commit; a task of its own for the store's whole life. Ends after [`Store::close`] has begun and the
    /// queue is empty.
    pub async fn commit_loop(&self) {
        let inner = &*self.0;
        loop {
            inner.queued.until(|| !inner.queue.borrow().is_empty() || inner.is_closing.get()).await;
            let mut group: Vec<Pending> = Vec::new();
            {
                let mut queue = inner.queue.borrow_mut();
                let mut bytes = 0;
                while let Some(next) = queue.front() {
                    if !group.is_empty() && bytes + next.bytes > COMMIT_BYTES_MAX {
                        break;
                    }
                    bytes += next.bytes;
                    group.extend(queue.pop_front());
                }
            }
            if group.is_empty() {
                return;
            }
            for pending in group {
                self.apply(&pending);
                drop(pending.room);
                *pending.answer.result.borrow_mut() = Some(Ok(()));
                pending.answer.given.raise();
                futures_lite::future::yield_now().await;
            }
        }
    }

    fn apply(&self, pending: &Pending) {
        let inner = &*self.0;
        for (write, refused) in pending.writes.iter().zip(&pending.refused) {
            let shard = self.shard(ShardRef { shard: write.shard, group: write.group });
            let inserted = shard.insert(&write.batch, refused);
            shard.written_at_ns.set(inner.now_ns.get());
            let mut stats = inner.stats.borrow_mut();
            stats.batches_written += 1;
            stats.points_written += inserted.rows;
            stats.values_written += inserted.values;
            stats.points_dropped += inserted.refused;
        }
    }

    /// The shard, made when this core sees it for the first time.
    pub(crate) fn shard(&self, shard: ShardRef) -> Rc<Shard> {
        self.0.shards.borrow_mut().entry(shard.shard).or_insert_with(|| Rc::new(Shard::new(shard))).clone()
    }

    /// What a scan reads of these shards; shards without any data here are left out.
    pub async fn views(&self, shards: &[ShardRef]) -> Result<Vec<ShardView>> {
        let mut views = Vec::with_capacity(shards.len());
        for shard in shards {
            views.push(self.shard(*shard).view().await?);
        }
        Ok(views)
    }

    /// Deletes; masked in every later scan when it answers, and durable. Space comes back in the background.
    pub async fn delete(&self, request: DeleteRequest, now_ns: u64) -> Result<()> {
        self.0.now_ns.set(self.0.now_ns.get().max(now_ns));
        let _ = request;
        Err(Error::Invalid("delete".to_owned()))
    }

    /// Removes a shard with all its data; its WAL entries are skipped at replay because `placement` says `Gone`.
    pub async fn drop_shard(&self, shard: ShardRef) -> Result<()> {
        if let Some(shard) = self.0.shards.borrow_mut().remove(&shard.shard) {
            shard.is_dropped.set(true);
        }
        self.0.disk.remove_dir_all(&format!("data/{}/{}", shard.group, shard.shard)).await
    }

    /// Does a bounded piece of background work: at most about `budget` bytes of a merge, or one snapshot. Errors that
    /// concern one shard only are counted and do not stop the others.
    pub async fn background_step(&self, now_ns: u64, budget: u64) -> Result<Step> {
        self.0.now_ns.set(self.0.now_ns.get().max(now_ns));
        let _ = budget;
        Ok(Step::IdleUntil(now_ns + 1_000_000_000))
    }

    /// Answers when there is background work before the time the last step named.
    pub async fn background_wanted(&self) {
        let seen = self.0.background.count();
        self.0.background.after(seen).await;
    }

    pub fn stats(&self) -> Stats {
        let inner = &*self.0;
        let mut stats = *inner.stats.borrow();
        stats.shards_now = inner.shards.borrow().len() as u64;
        stats.write_pool_used_now = inner.pools.write.used();
        stats.write_pool_max_now = inner.pools.write.max();
        stats
    }

    /// The core's pools, for scans and counters.
    pub fn pools(&self) -> &Pools {
        &self.0.pools
    }

    /// Takes no more writes, lets the commit loop end, and with `snapshot` writes all caches to files, so that the next
    /// start has nothing to replay.
    pub async fn close(&self, snapshot: bool) -> Result<()> {
        let _ = snapshot;
        self.0.is_closing.set(true);
        self.0.queued.raise();
        Ok(())
    }
}
