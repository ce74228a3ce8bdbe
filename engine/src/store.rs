//! One core's shards and their WAL: open, replay, write, delete, background work, close.
//!
//! [`Store`] is a cheap-clone handle of one core; it never leaves it. Three kinds of task use it:
//!
//! * **requests**: `write`, `delete`, `view`, the field calls. A write is durable when it answers.
//! * **the commit loop**, one task for the store's life: takes all waiting writes, makes them durable with one WAL write,
//!   puts them into the caches in the order they came, and answers.
//! * **the background**, one task: [`Store::background_step`] until it says `IdleUntil`, then sleep until that time or
//!   until [`Store::background_wanted`] answers. Each step gives way often (`pace::Pace`).
//!
//! A write: `unknown_fields` → (registrar's core) `register_fields` → `learn_fields` → `write`.

mod background;
mod combine;
mod commit;
mod delete;
mod replay;
mod scrubbing;
mod shard_stats;
mod sweep;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use hashbrown::{HashMap, HashSet};

use crate::compact::file::ShardFile;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::index::fields::{FieldDefinition, FieldTypeConflict, FieldTypes};
use crate::index::registrar::{Damages, Registrar};
use crate::journal::{Damage, JournalOptions, Progress, ReplayReport};
use crate::model::{Batch, ShardGroupId, ShardId, TimeRange};
use crate::pace::Pace;
use crate::pool::{PoolLimits, Pools};
use crate::scan::request::{ShardRef, TagFilter};
use crate::shard::{CacheSize, Shard, ShardView};
use crate::stats::Stats;
use crate::tsm::BlockCache;
use crate::wait::{Gate, Signal};
use crate::wal::{Wal, WalOptions};
use background::Running;
use commit::Pending;
use replay::Orphan;
use scrubbing::Scrubbing;
pub use sweep::{LiveShards, Swept};

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
    /// Whether this core decides the field types of a group.
    pub is_registrar: Rc<dyn Fn(ShardGroupId) -> bool>,
    pub pools: PoolLimits,
    /// A shard's cache is snapshotted when the core's caches exceed this (the node's total divided by the cores).
    pub cache_snapshot_bytes: u64,
    /// A shard without writes for so long is snapshotted.
    pub cache_cold_ns: u64,
    /// A shard without writes for so long is compacted fully if an eighth of it is not.
    pub full_cold_ns: u64,
    /// Above this the live WAL makes the shard that pins its oldest segment snapshot.
    pub wal_bytes_max: u64,
    /// Length of a WAL segment.
    pub wal_segment_bytes: u64,
    /// Told how far the reading of a WAL is, record by record.
    pub on_replay: Rc<dyn Fn(u64, Progress)>,
    /// Full compactions may use the slower, denser codec.
    pub cold_codec: bool,
    /// All files are read again so long after the last time; 0: never.
    pub scrub_interval_ns: u64,
}

impl StoreOptions {
    /// Defaults for a core with `bytes` of memory and WAL `wal_id`, owning every shard asked for.
    pub fn new(wal_id: u64, bytes: u64) -> Self {
        Self {
            wal_id,
            wal_ids_replayed: vec![wal_id],
            shards: Vec::new(),
            placement: Rc::new(|_| Placement::Here),
            is_registrar: Rc::new(|_| true),
            pools: PoolLimits::split(bytes),
            cache_snapshot_bytes: 25 << 20,
            cache_cold_ns: 5_000_000_000,
            full_cold_ns: 10_000_000_000,
            wal_bytes_max: 256 << 20,
            wal_segment_bytes: JournalOptions::preallocated().segment_bytes,
            on_replay: Rc::new(|_, _| {}),
            cold_codec: false,
            scrub_interval_ns: 0,
        }
    }
}

impl StoreOptions {
    /// Of the core's WAL, and of those it reads.
    fn wal(&self) -> WalOptions {
        let usual = JournalOptions::preallocated();
        let segments_free_min = usual.free_bytes_min / usual.segment_bytes;
        let journal = JournalOptions {
            segment_bytes: self.wal_segment_bytes,
            free_bytes_min: segments_free_min * self.wal_segment_bytes,
            ..usual
        };
        WalOptions { journal, live_bytes_max: self.wal_bytes_max }
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
}

/// Entries of this core's WALs whose shards live on other cores now: to be handed to their owners with
/// [`Store::adopt`] before the node serves; then [`Store::release_foreign`].
pub struct ForeignEntry {
    pub shard: ShardRef,
    /// The WAL it stands in and its place there.
    pub wal_id: u64,
    pub sequence: u64,
    pub kind: EntryKind,
    /// As it stands in the WAL.
    pub body: Vec<u8>,
}

/// What a [`ForeignEntry`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    Write,
    Delete,
    ShardDropped,
}

/// What the start found in one WAL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayedWal {
    pub wal_id: u64,
    /// Damage in it concerns acknowledged writes: a person must hear of it.
    pub report: ReplayReport,
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
    block_cache: Rc<BlockCache>,
    wal: OnceCell<Wal<D>>,
    shards: RefCell<HashMap<ShardId, Rc<Shard<D>>>>,
    /// Shards dropped since the start: writes that were under way must not bring them back.
    dropped: RefCell<HashSet<ShardId>>,
    fields: Rc<RefCell<FieldTypes>>,
    field_damages: Damages,
    registrar: Registrar<D>,
    /// Writes and deletes on their way into the WAL, in order.
    queue: RefCell<VecDeque<Pending>>,
    queued: Signal,
    /// The commit loop has taken something it has not answered yet.
    is_committing: Cell<bool>,
    committed: Signal,
    /// The sequence whose entries are on their way into the caches, some of them in already.
    applying: Cell<Option<u64>>,
    /// Held while the files of a shard, or its generations, change: by a background step and by a delete.
    structure: Gate,
    running: RefCell<Option<Running<D>>>,
    /// The merge is taken out of `running` for a step.
    is_merging: Cell<bool>,
    scrubbing: RefCell<Scrubbing<D>>,
    /// Files no manifest names any more, until their last reader is gone.
    replaced: RefCell<Vec<Rc<ShardFile<D>>>>,
    /// (shard, sequence) in the own WAL of shards that are gone; only during replay.
    unneeded: RefCell<Vec<(ShardId, u64)>>,
    /// WALs of former cores, read and not yet given up.
    orphans: RefCell<Vec<Orphan<D>>>,
    /// Shards whose entries in this core's WAL belong to other cores.
    foreign_shards: RefCell<Vec<ShardId>>,
    /// What all shards' caches hold.
    cached: Cell<CacheSize>,
    background: Signal,
    /// How often `background` had been raised when the last step began.
    background_seen: Cell<u64>,
    room: Signal,
    pace: Pace,
    /// Why nothing is written any more.
    refused: OnceCell<Error>,
    /// Raised when a write or a sync has failed.
    refusal: Signal,
    /// No new writes.
    is_closing: Cell<bool>,
    /// Nothing more at all.
    is_closed: Cell<bool>,
    now_ns: Cell<u64>,
    /// When the own WAL was last written.
    wal_written_at_ns: Cell<u64>,
    /// Of each WAL read at start.
    replays: RefCell<Vec<ReplayedWal>>,
    /// How often what the catalogue says may have changed.
    schema_changes: Cell<u64>,
    stats: RefCell<Stats>,
}

impl<D: Disk> Store<D> {
    /// Opens the store and replays its WALs. The second value: entries that belong to other cores.
    pub async fn open(disk: D, options: StoreOptions) -> Result<(Self, Vec<ForeignEntry>)> {
        let pools = Pools::new(options.pools);
        let shards = options.shards.iter().map(|shard| (shard.shard, Rc::new(Shard::new(*shard)))).collect();
        let fields = Rc::new(RefCell::new(FieldTypes::new()));
        let field_damages = Damages::default();
        let store = Self(Rc::new(Inner {
            block_cache: BlockCache::new(options.pools.block_cache_bytes as usize),
            registrar: Registrar::new(disk.clone(), fields.clone(), field_damages.clone()),
            disk,
            options,
            pools,
            wal: OnceCell::new(),
            shards: RefCell::new(shards),
            dropped: RefCell::new(HashSet::new()),
            fields,
            field_damages,
            queue: RefCell::new(VecDeque::new()),
            queued: Signal::new(),
            is_committing: Cell::new(false),
            committed: Signal::new(),
            applying: Cell::new(None),
            structure: Gate::new(),
            running: RefCell::new(None),
            is_merging: Cell::new(false),
            scrubbing: RefCell::default(),
            replaced: RefCell::new(Vec::new()),
            unneeded: RefCell::new(Vec::new()),
            orphans: RefCell::new(Vec::new()),
            foreign_shards: RefCell::new(Vec::new()),
            cached: Cell::default(),
            background: Signal::new(),
            background_seen: Cell::new(0),
            room: Signal::new(),
            pace: Pace::new(),
            refused: OnceCell::new(),
            refusal: Signal::new(),
            is_closing: Cell::new(false),
            is_closed: Cell::new(false),
            now_ns: Cell::new(0),
            wal_written_at_ns: Cell::new(0),
            replays: RefCell::new(Vec::new()),
            schema_changes: Cell::new(0),
            stats: RefCell::new(Stats::default()),
        }));
        let foreign = store.replay().await?;
        Ok((store, foreign))
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
        if let Some(refusal) = self.refusal() {
            return Err(refusal);
        }
        self.watch(self.0.registrar.register(group, &asked).await)
    }

    /// Takes over the registrar's answer.
    pub fn learn_fields(&self, group: ShardGroupId, definitions: &[FieldDefinition]) {
        self.0.fields.borrow_mut().learn(group, definitions);
    }

    /// On every core after DROP MEASUREMENT; on the registrar core durable when it answers. Rows are deleted by
    /// [`Store::delete`] first.
    pub async fn forget_measurement(&self, group: ShardGroupId, measurement: &[u8]) -> Result<()> {
        if (self.0.options.is_registrar)(group) {
            return self.watch(self.0.registrar.forget(group, measurement).await);
        }
        self.0.fields.borrow_mut().forget_measurement(group, measurement);
        Ok(())
    }

    /// The shard, made when this core sees it for the first time.
    fn shard(&self, shard: ShardRef) -> Rc<Shard<D>> {
        self.0.shards.borrow_mut().entry(shard.shard).or_insert_with(|| Rc::new(Shard::new(shard))).clone()
    }

    /// A number that grows whenever series, fields or tag keys may have come or gone: what was learned of them at
    /// the same number still holds.
    pub fn schema_changes(&self) -> u64 {
        self.0.schema_changes.get()
    }

    fn note_schema_change(&self) {
        self.0.schema_changes.set(self.0.schema_changes.get() + 1);
    }

    /// What a scan reads of these shards; shards this core does not have are left out.
    pub async fn views(&self, shards: &[ShardRef]) -> Result<Vec<ShardView<D>>> {
        let mut views = Vec::with_capacity(shards.len());
        for shard in shards {
            let shard = self.0.shards.borrow().get(&shard.shard).cloned();
            if let Some(shard) = shard {
                views.push(shard.view(&self.0.disk, &self.0.block_cache).await?);
            }
        }
        Ok(views)
    }

    /// Removes a shard with all its data. What the WAL still holds of it is skipped at replay: `placement` says `Gone`.
    pub async fn drop_shard(&self, shard: ShardRef) -> Result<()> {
        let inner = &*self.0;
        let Some(dropped) = inner.shards.borrow_mut().remove(&shard.shard) else { return Ok(()) };
        inner.dropped.borrow_mut().insert(shard.shard);
        dropped.is_dropped.set(true);
        self.note_schema_change();
        let _inside = inner.structure.enter().await;
        self.abandon_merge_of(shard.shard).await?;
        self.uncharge(&dropped);
        if let Some(wal) = inner.wal.get() {
            wal.forget_shard(shard.shard);
        }
        inner.stats.borrow_mut().shards_dropped += 1;
        inner.room.raise();
        self.watch(inner.disk.remove_dir_all(&dropped.folder).await)
    }

    /// What the start found in each WAL it read, damage above all.
    pub fn replays(&self) -> Vec<ReplayedWal> {
        self.0.replays.borrow().clone()
    }

    /// Damages found in journals of field types since the last call: a person must hear of them.
    pub fn take_damages(&self) -> Vec<Damage> {
        self.0.field_damages.take()
    }

    pub fn stats(&self) -> Stats {
        let inner = &*self.0;
        let mut stats = *inner.stats.borrow();
        let shards = inner.shards.borrow();
        stats.shards_now = shards.len() as u64;
        for shard in shards.values() {
            let cache = shard.cache();
            let size = cache.size();
            stats.cache_rows_now += size.rows;
            stats.cache_bytes_now += size.row_bytes;
            stats.index_bytes_now += size.index_bytes;
            stats.series_active_now += cache.index().borrow().len() as u64;
            if let Some(set) = shard.known_files() {
                stats.shards_open_now += u64::from(set.files.iter().any(|file| file.is_open()));
                stats.tsm_files_now += set.files.len() as u64;
                stats.tsm_bytes_now += set.files.iter().map(|file| file.entry.bytes).sum::<u64>();
                stats.tombstones_now += set.tombstones.len() as u64;
            }
        }
        let pools = &inner.pools;
        stats.write_pool_used_now = pools.write.used();
        stats.write_pool_max_now = pools.write.max();
        stats.write_pool_refused = pools.write.history().1;
        stats.index_pool_used_now = pools.index.used();
        stats.index_pool_max_now = pools.index.max();
        stats.index_pool_refused = pools.index.history().1;
        stats.query_pool_used_now = pools.query.used();
        stats.query_pool_max_now = pools.query.max();
        stats.query_pool_refused = pools.query.history().1;
        stats.compaction_pool_used_now = pools.compaction.used();
        stats.compaction_pool_max_now = pools.compaction.max();
        stats.compaction_pool_peak_now = pools.compaction.history().0;
        stats.block_cache_bytes_now = inner.block_cache.bytes() as u64;
        stats.block_cache_max_now = pools.block_cache.max();
        (stats.block_cache_hits, stats.block_cache_misses) = inner.block_cache.hits_and_misses();
        stats.compactions_now = u64::from(inner.is_merging.get() || inner.running.borrow().is_some());
        let queue = inner.queue.borrow();
        stats.commit_queue_now = queue.len() as u64;
        stats.commit_queue_bytes_now = queue.iter().map(Pending::bytes).sum();
        if let Some(wal) = inner.wal.get() {
            let wal = wal.stats();
            stats.wal_writes = wal.records;
            stats.wal_bytes = wal.entry_bytes;
            stats.wal_bytes_now = wal.live_bytes_now;
            stats.wal_bytes_max_now = inner.options.wal_bytes_max;
            stats.wal_segments_now = wal.segments_now;
            stats.wal_spares_now = wal.spares_now;
        }
        stats
    }

    /// The core's pools, for scans and counters.
    pub fn pools(&self) -> &Pools {
        &self.0.pools
    }

    /// Why no write is taken any more, if so: reads go on, a restart replays.
    pub fn refusal(&self) -> Option<Error> {
        self.0.refused.get().cloned().or_else(|| self.0.wal.get().and_then(Wal::refusal))
    }

    /// Takes no more writes: the disk has failed one, of this core or of another.
    pub fn refuse(&self, reason: &Error) {
        let refusal = match reason {
            Error::ReadOnly { .. } => reason.clone(),
            error => Error::ReadOnly { reason: error.to_string() },
        };
        if self.0.refused.set(refusal).is_ok() {
            self.0.refusal.raise();
        }
    }

    /// Answers when no write is taken any more, with the reason.
    pub async fn refused(&self) -> Error {
        self.0.refusal.until(|| self.0.refused.get().is_some()).await;
        self.0.refused.get().cloned().unwrap_or(Error::Closed)
    }

    /// Sees to it that nothing is written after a failed write or sync, wherever it was.
    fn watch<T>(&self, result: Result<T>) -> Result<T> {
        result.inspect_err(|error| {
            if error.is_failed_write() {
                self.refuse(error);
            }
        })
    }

    /// Fails as a write would now: the WAL refuses, a pool is full, or the disk has no room for what follows.
    pub async fn check_writable(&self) -> Result<()> {
        let inner = &*self.0;
        if let Some(refusal) = self.refusal() {
            return Err(refusal);
        }
        if inner.is_closing.get() {
            return Err(Error::Closed);
        }
        for pool in [&inner.pools.write, &inner.pools.index] {
            if pool.is_full() {
                return Err(pool.full());
            }
        }
        let free_bytes = inner.disk.free_bytes().await?;
        match free_bytes < inner.options.wal().journal.free_bytes_min {
            true => Err(Error::DiskFull { free_bytes }),
            false => Ok(()),
        }
    }

    /// Takes no more writes, answers those under way, and with `snapshot` writes all caches to files, so that the next
    /// start has nothing to replay. The commit loop ends.
    pub async fn close(&self, snapshot: bool) -> Result<()> {
        let inner = &*self.0;
        inner.is_closing.set(true);
        inner.committed.until(|| inner.queue.borrow().is_empty() && !inner.is_committing.get()).await;
        let result = self.close_files(snapshot).await;
        inner.is_closed.set(true);
        inner.queued.raise();
        inner.background.raise();
        let closed = match inner.wal.get() {
            Some(wal) => wal.close().await,
            None => Ok(()),
        };
        result.and(closed)
    }

    async fn close_files(&self, snapshot: bool) -> Result<()> {
        let inner = &*self.0;
        let _inside = inner.structure.enter().await;
        let running = inner.running.borrow_mut().take();
        if let Some(running) = running {
            running.merge.abandon().await?;
        }
        if snapshot && self.refusal().is_none() {
            let shards: Vec<_> = inner.shards.borrow().values().cloned().collect();
            for shard in shards.iter().filter(|shard| shard.needs_snapshot()) {
                self.snapshot(shard).await?;
            }
        }
        inner.registrar.close().await
    }

    /// Brings the pools' counters to what a shard uses now.
    fn charge(&self, shard: &Shard<D>) {
        self.change_charge(shard, shard.cache().size());
    }

    fn uncharge(&self, shard: &Shard<D>) {
        self.change_charge(shard, CacheSize::default());
    }

    fn change_charge(&self, shard: &Shard<D>, now: CacheSize) {
        let before = shard.charged.replace(now);
        let inner = &*self.0;
        inner.pools.write.charge(now.row_bytes);
        inner.pools.write.give_back(before.row_bytes);
        inner.pools.index.charge(now.index_bytes);
        inner.pools.index.give_back(before.index_bytes);
        let total = inner.cached.get();
        inner.cached.set(CacheSize {
            rows: total.rows + now.rows - before.rows,
            series: total.series + now.series - before.series,
            row_bytes: total.row_bytes + now.row_bytes - before.row_bytes,
            index_bytes: total.index_bytes + now.index_bytes - before.index_bytes,
        });
    }
}
