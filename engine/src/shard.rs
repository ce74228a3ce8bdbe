//! One shard on its owning core: active series, cache generations, and the set of TSM files.
//!
//! For readers, [`Shard::view`] is the one entrance. A [`ShardView`] stays consistent for as long as it is held: files
//! that a compaction replaces stay readable, rows that a snapshot moves into a file stay in the view's caches, and what
//! arrives later is seen or not seen series by series, never half a row. Sources, oldest first: the files in their order,
//! then the cache. Of equal timestamps the later source's field wins.
//!
//! Rows deleted are gone from the cache when the delete answers; in files they are masked by tombstones:
//! [`ShardView::masks`] gives the spans of one series in one file.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::cache::{Cache, Entered, Inserted, Newest, Part, ReusedRows, newest};
use crate::compact::file::{ShardFile, file_name, is_file_name};
use crate::compact::manifest::Manifest;
use crate::compact::ordering::in_order;
use crate::compact::plan::FileFacts;
use crate::compact::snapshot::read_rest;
use crate::compact::tombstone::{Tombstone, masks};
use crate::disk::Disk;
use crate::error::Result;
use crate::index::active::{ActiveIndex, SeriesPosition, sorted_positions};
use crate::limits::COMPACTION_FILES_MAX;
use crate::model::{Batch, FieldType, Rows, ShardGroupId, ShardId, TimeRange, series_key};
use crate::pace::Pace;
use crate::scan::request::ShardRef;
use crate::stats::ShardWrites;
use crate::tsm::BlockCache;
use crate::wait::Gate;

/// Series of the hot generation that are moved to a smaller index in one go; beyond it the move waits for a quieter time.
const MOVED_SERIES_MAX: u64 = 20_000;

/// One per shard owned by this core.
pub struct Shard<D: Disk> {
    pub(crate) id: ShardId,
    pub(crate) group: ShardGroupId,
    pub(crate) folder: String,
    cache: RefCell<CacheView>,
    /// Up to which sequence of which WAL entries are in the hot generation, and in the sealed one.
    hot_through: RefCell<Vec<(u64, u64)>>,
    sealed_through: RefCell<Vec<(u64, u64)>>,
    /// Read when first needed.
    files: RefCell<Option<FileSet<D>>>,
    /// `files` has tombstones that the manifest on the disk has not.
    is_ahead: Cell<bool>,
    /// Somebody has asked for its rows since the start.
    is_read: Cell<bool>,
    reading: Gate,
    /// When the last write came, on the clock given to the store.
    pub(crate) written_at_ns: Cell<u64>,
    /// Its files may need merging.
    pub(crate) wants_plan: Cell<bool>,
    /// Files of a merge that fit into its memory, as far as was seen.
    pub(crate) merge_files_max: Cell<usize>,
    pub(crate) is_dropped: Cell<bool>,
    /// What the pools count for it.
    pub(crate) charged: Cell<CacheSize>,
    pub(crate) writes: Cell<ShardWrites>,
}

/// The files of a shard, their order and their deletes, at one moment. Cheap to clone.
pub struct FileSet<D: Disk> {
    pub(crate) manifest: Rc<Manifest>,
    /// Oldest first, as in the manifest.
    pub files: Rc<Vec<Rc<ShardFile<D>>>>,
    pub tombstones: Rc<Vec<Rc<Tombstone>>>,
}

impl<D: Disk> Clone for FileSet<D> {
    fn clone(&self) -> Self {
        Self {
            manifest: self.manifest.clone(),
            files: self.files.clone(),
            tombstones: self.tombstones.clone(),
        }
    }
}

/// The rows of a shard that are not in files: what scans read, series by series.
#[derive(Clone)]
pub struct CacheView {
    index: Rc<RefCell<ActiveIndex>>,
    sealed: Option<Rc<RefCell<Cache>>>,
    hot: Rc<RefCell<Cache>>,
}

/// What caches hold: rows, the series they belong to, and the memory of rows and of the active index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct CacheSize {
    pub row_bytes: u64,
    pub index_bytes: u64,
    pub rows: u64,
    /// A series with rows in two generations counts twice.
    pub series: u64,
}

/// What a scan reads of one shard.
pub struct ShardView<D: Disk> {
    pub shard: ShardRef,
    /// Oldest first; [`ShardFile::reader`] opens one.
    pub files: Rc<Vec<Rc<ShardFile<D>>>>,
    pub tombstones: Rc<Vec<Rc<Tombstone>>>,
    /// Newer than all files.
    pub cache: CacheView,
}

impl<D: Disk> ShardView<D> {
    /// The spans of time in which rows of this series in this file are deleted.
    pub fn masks(&self, file: &ShardFile<D>, key: &[u8]) -> Vec<TimeRange> {
        masks(&self.tombstones, file.entry.id, key).collect()
    }
}

impl CacheView {
    pub(crate) fn new() -> Self {
        Self::expecting(0)
    }

    /// An empty one that will probably have so many series.
    fn expecting(series: usize) -> Self {
        Self {
            index: Rc::new(RefCell::new(ActiveIndex::expecting(series))),
            sealed: None,
            hot: Rc::new(RefCell::new(Cache::new())),
        }
    }

    /// Whether there are no rows at all.
    pub fn is_empty(&self) -> bool {
        self.hot.borrow().is_empty() && self.sealed.as_ref().is_none_or(|cache| cache.borrow().is_empty())
    }

    /// A span that holds all timestamps.
    pub fn time_range(&self) -> TimeRange {
        let hot = self.hot.borrow().time_range();
        match &self.sealed {
            None => hot,
            Some(sealed) => {
                let sealed = sealed.borrow().time_range();
                match (hot.is_empty(), sealed.is_empty()) {
                    (true, _) => sealed,
                    (_, true) => hot,
                    _ => TimeRange::new(hot.start.min(sealed.start), hot.end.max(sealed.end)),
                }
            }
        }
    }

    /// Active series in the order of their keys, as of now; some may have no rows (any more). Positions stay valid for
    /// the life of the view.
    pub async fn sorted(&self, pace: &Pace) -> Rc<Vec<SeriesPosition>> {
        sorted_positions(&self.index, pace).await
    }

    /// The series of one measurement out of [`sorted`](Self::sorted), in the order of their keys.
    pub fn of_measurement(&self, sorted: &[SeriesPosition], measurement: &[u8]) -> Vec<SeriesPosition> {
        let mut escaped = Vec::new();
        series_key::escape_measurement_into(&mut escaped, measurement);
        let index = self.index.borrow();
        // Between `m` and `m,…` other measurements (`m!`) may sort: the bare key stands alone.
        let bare = sorted.partition_point(|&at| index.key(at) < escaped.as_slice());
        let mut found = Vec::new();
        if sorted.get(bare).is_some_and(|&at| index.key(at) == escaped) {
            found.push(sorted[bare]);
        }
        escaped.push(b',');
        let start = sorted.partition_point(|&at| index.key(at) < escaped.as_slice());
        let length = sorted[start..].partition_point(|&at| index.key(at).starts_with(&escaped));
        found.extend_from_slice(&sorted[start..start + length]);
        found
    }

    /// Gives the canonical key of a series to `read`.
    pub fn with_key<T>(&self, position: SeriesPosition, read: impl FnOnce(&[u8]) -> T) -> T {
        read(self.index.borrow().key(position))
    }

    /// An active series by its key.
    pub fn find(&self, key: &[u8]) -> Option<SeriesPosition> {
        self.index.borrow().find(series_key::hash(key), key)
    }

    /// Rows of a series here, duplicates counted.
    pub fn row_count(&self, position: SeriesPosition) -> usize {
        let sealed = self.sealed.as_ref().map_or(0, |cache| cache.borrow().row_count(position));
        sealed + self.hot.borrow().row_count(position)
    }

    /// Rows of a series within `time`, in time order, merged; of the fields in `wanted` only (`None`: all). `None` when
    /// there are none. Gives way in between where many are out of order.
    pub async fn read(
        &self,
        position: SeriesPosition,
        time: TimeRange,
        wanted: Option<&[Vec<u8>]>,
        pace: &Pace,
    ) -> Option<Rows> {
        let caches = || self.sealed.iter().chain([&self.hot]);
        if !caches().any(|cache| cache.borrow().is_long_to_order(position)) {
            return self.read_at_once(position, time, wanted);
        }
        let part = Part { time: Some(time), wanted };
        // All begin before any gives way: what is deleted meanwhile is still read, of all of them.
        let begin = |cache: &Rc<RefCell<Cache>>| {
            let mut rows = ReusedRows::default();
            let walk = cache.borrow().begin_reading(&self.index.borrow(), position, part, &mut rows);
            walk.map(|walk| (cache.clone(), walk, rows))
        };
        let begun: Vec<_> = caches().filter_map(begin).collect();
        let mut all = Rows::default();
        for (cache, walk, mut rows) in begun {
            read_rest(&self.index, &cache, walk, part, &mut rows, pace).await;
            if all.is_empty() {
                all = rows.into_rows();
            } else {
                all.append(&rows);
            }
        }
        let all = in_order(all, pace).await;
        (!all.is_empty()).then_some(all)
    }

    fn read_at_once(
        &self,
        position: SeriesPosition,
        time: TimeRange,
        wanted: Option<&[Vec<u8>]>,
    ) -> Option<Rows> {
        let index = self.index.borrow();
        let hot = self.hot.borrow().read(&index, position, time, wanted);
        let Some(sealed) = &self.sealed else { return hot };
        match (sealed.borrow().read(&index, position, time, wanted), hot) {
            (Some(mut rows), Some(hot)) => {
                rows.append(&hot);
                rows.bring_to_order();
                Some(rows)
            }
            (sealed, hot) => sealed.or(hot),
        }
    }

    /// See [`newest`].
    pub fn newest(
        &self,
        position: SeriesPosition,
        time: TimeRange,
        wanted: &[Vec<u8>],
        rows: usize,
    ) -> Option<Newest> {
        let (index, hot) = (self.index.borrow(), self.hot.borrow());
        match &self.sealed {
            None => newest(&[&hot], &index, position, time, wanted, rows),
            Some(sealed) => newest(&[&sealed.borrow(), &hot], &index, position, time, wanted, rows),
        }
    }

    /// Fields of a measurement that rows in the cache were written with, with their types, sorted.
    pub fn fields_of(&self, measurement: &[u8]) -> Vec<(Vec<u8>, FieldType)> {
        let (hot, sealed) = (self.hot.borrow(), self.sealed.as_ref().map(|cache| cache.borrow()));
        self.index.borrow().fields_of(measurement, |shape| {
            hot.rows_of_shape(shape) + sealed.as_ref().map_or(0, |cache| cache.rows_of_shape(shape)) > 0
        })
    }

    /// Names of the measurements in the cache, each once. Some may have no rows (any more).
    pub fn measurements(&self) -> Vec<Vec<u8>> {
        let index = self.index.borrow();
        let mut names: Vec<Vec<u8>> = index.shapes().iter().map(|shape| shape.measurement.clone()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Takes the rows of a series within `time` out of both generations.
    pub(crate) fn delete(&self, position: SeriesPosition, time: TimeRange) {
        if let Some(sealed) = &self.sealed {
            sealed.borrow_mut().delete(position, time);
        }
        self.hot.borrow_mut().delete(position, time);
    }

    pub(crate) fn index(&self) -> &Rc<RefCell<ActiveIndex>> {
        &self.index
    }

    pub(crate) fn sealed(&self) -> Option<&Rc<RefCell<Cache>>> {
        self.sealed.as_ref()
    }

    /// What both generations hold.
    pub(crate) fn size(&self) -> CacheSize {
        let size_of = |cache: &RefCell<Cache>| {
            let cache = cache.borrow();
            (cache.rows(), cache.series(), cache.bytes())
        };
        let (rows, series, row_bytes) = size_of(&self.hot);
        let sealed = self.sealed.as_ref().map_or((0, 0, 0), |sealed| size_of(sealed));
        CacheSize {
            rows: rows + sealed.0,
            series: series + sealed.1,
            row_bytes: row_bytes + sealed.2,
            index_bytes: self.index.borrow().bytes(),
        }
    }
}

impl<D: Disk> FileSet<D> {
    /// Makes the runtime side of a manifest; files that `before` has open stay so.
    pub(crate) fn new(
        manifest: Manifest,
        before: &[Rc<ShardFile<D>>],
        disk: &D,
        folder: &str,
        cache: &Rc<BlockCache>,
    ) -> Result<Self> {
        let files = manifest
            .files
            .iter()
            .map(|entry| match before.iter().find(|file| file.entry.id == entry.id) {
                Some(file) if file.entry == *entry => file.clone(),
                Some(file) => Rc::new(file.with_entry(*entry)),
                None => Rc::new(ShardFile::new(disk, folder, *entry, cache)),
            })
            .collect();
        let tombstones = Rc::new(manifest.compile_tombstones()?);
        Ok(Self { manifest: Rc::new(manifest), files: Rc::new(files), tombstones })
    }

    /// Opens the files that were not there before. One that cannot be opened is told of by whoever reads it.
    async fn open_new(&self, before: &Self) {
        let is_new = |file: &&Rc<ShardFile<D>>| before.files.iter().all(|old| old.entry.id != file.entry.id);
        for file in self.files.iter().filter(is_new) {
            if let Ok(reader) = file.reader().await {
                let _ = reader.schema().await;
            }
        }
    }

    /// What the plan needs to know.
    pub(crate) fn facts(&self) -> Vec<FileFacts> {
        self.manifest
            .files
            .iter()
            .map(|file| FileFacts {
                level: file.level,
                bytes: file.bytes,
                tombstones: self.tombstones.iter().filter(|tombstone| tombstone.masks_file(file.id)).count(),
            })
            .collect()
    }
}

impl<D: Disk> Shard<D> {
    pub(crate) fn new(shard: ShardRef) -> Self {
        Self {
            id: shard.shard,
            group: shard.group,
            folder: format!("data/{}/{}", shard.group, shard.shard),
            cache: RefCell::new(CacheView::new()),
            hot_through: RefCell::default(),
            sealed_through: RefCell::default(),
            files: RefCell::new(None),
            is_ahead: Cell::new(false),
            is_read: Cell::new(false),
            reading: Gate::new(),
            written_at_ns: Cell::new(0),
            wants_plan: Cell::new(true),
            merge_files_max: Cell::new(COMPACTION_FILES_MAX),
            is_dropped: Cell::new(false),
            charged: Cell::default(),
            writes: Cell::default(),
        }
    }

    /// The path of its file with this id.
    pub(crate) fn path(&self, id: u64) -> String {
        format!("{}/{}", self.folder, file_name(id))
    }

    pub fn reference(&self) -> ShardRef {
        ShardRef { shard: self.id, group: self.group }
    }

    /// What a scan reads: see the module's head.
    pub async fn view(&self, disk: &D, cache: &Rc<BlockCache>) -> Result<ShardView<D>> {
        self.is_read.set(true);
        let set = self.file_set(disk, cache).await?;
        // No wait between the two: a snapshot moves rows from the one to the other in one go.
        Ok(ShardView {
            shard: self.reference(),
            files: set.files,
            tombstones: set.tombstones,
            cache: self.cache.borrow().clone(),
        })
    }

    /// Opens files that the shard is about to have, where it is one that is read: no question waits for it then.
    pub(crate) async fn prepare(&self, next: &FileSet<D>, before: &FileSet<D>) {
        if self.is_read.get() {
            next.open_new(before).await;
        }
    }

    /// The shard's files. At the first call the manifest is read, and what it does not name is removed.
    pub(crate) async fn file_set(&self, disk: &D, cache: &Rc<BlockCache>) -> Result<FileSet<D>> {
        if let Some(set) = self.files.borrow().as_ref() {
            return Ok(set.clone());
        }
        let _inside = self.reading.enter().await;
        if let Some(set) = self.files.borrow().as_ref() {
            return Ok(set.clone());
        }
        let entries = disk.list(&self.folder).await?;
        let manifest = Manifest::read(disk, &self.folder, &entries).await?;
        for entry in &entries {
            let is_named = manifest.files.iter().any(|file| file_name(file.id) == entry.name);
            if is_file_name(&entry.name) && !is_named {
                disk.remove_file(&format!("{}/{}", self.folder, entry.name)).await?;
            }
        }
        let set = FileSet::new(manifest, &[], disk, &self.folder, cache)?;
        *self.files.borrow_mut() = Some(set.clone());
        Ok(set)
    }

    /// The files, when they were read already.
    pub(crate) fn known_files(&self) -> Option<FileSet<D>> {
        self.files.borrow().clone()
    }

    pub(crate) fn cache(&self) -> CacheView {
        self.cache.borrow().clone()
    }

    /// Puts a batch into the hot generation; `refused` as in [`Cache::insert`]. Also whether there may be series, fields or tag
    /// keys now that were not there before.
    pub(crate) fn insert(
        &self,
        batch: &Batch,
        refused: &[bool],
        wal_id: u64,
        sequence: u64,
    ) -> (Inserted, bool) {
        self.note_through(wal_id, sequence);
        let cache = self.cache.borrow();
        let mut index = cache.index.borrow_mut();
        let mut hot = cache.hot.borrow_mut();
        let inserted = hot.insert(&mut index, batch, refused);
        let Entered { series, shapes } = hot.take_entered();
        // A generation begins empty; what it meets has mostly rows in files.
        let mut is_new = false;
        series.into_iter().for_each(|position| is_new |= index.meet_series(position));
        shapes.into_iter().for_each(|position| is_new |= index.meet_shape(position));
        (inserted, is_new)
    }

    /// Something is deleted: series, fields and tag keys may be gone, and would be new if they came again.
    pub(crate) fn forget_met(&self) {
        self.cache.borrow().index.borrow_mut().forget_met();
    }

    /// Counts a batch that was written.
    pub(crate) fn note_write(&self, inserted: Inserted) {
        let mut writes = self.writes.get();
        writes.batches += 1;
        writes.points += inserted.rows;
        writes.values += inserted.values;
        writes.points_dropped += inserted.refused;
        writes.points_full += inserted.full;
        self.writes.set(writes);
    }

    /// An entry of a WAL is applied.
    pub(crate) fn note_through(&self, wal_id: u64, sequence: u64) {
        note_through(&mut self.hot_through.borrow_mut(), wal_id, sequence);
    }

    /// Whether there are rows, or WAL entries applied, that no manifest knows of.
    pub(crate) fn needs_snapshot(&self) -> bool {
        self.cache.borrow().sealed.is_some() || !self.hot_through.borrow().is_empty()
    }

    /// Whether there are rows whose durable copy is in another core's WAL.
    pub(crate) fn has_rows_of_other_wals(&self, own: u64) -> bool {
        let is_other =
            |marks: &RefCell<Vec<(u64, u64)>>| marks.borrow().iter().any(|(wal_id, _)| *wal_id != own);
        is_other(&self.hot_through) || is_other(&self.sealed_through)
    }

    /// Starts a new hot generation, unless one is sealed already (whose snapshot failed). `unfinished`: a WAL and its
    /// sequence of which more entries may come. It counts as being in the new generation, not in the sealed one.
    pub(crate) fn seal(&self, unfinished: Option<(u64, u64)>) {
        let mut cache = self.cache.borrow_mut();
        if cache.sealed.is_some() {
            return;
        }
        cache.sealed = Some(std::mem::take(&mut cache.hot));
        let mut sealed = std::mem::take(&mut *self.hot_through.borrow_mut());
        if let Some((wal_id, sequence)) = unfinished
            && let Some((_, through)) = sealed.iter_mut().find(|mark| **mark == (wal_id, sequence))
        {
            *through = sequence - 1;
            self.note_through(wal_id, sequence);
        }
        *self.sealed_through.borrow_mut() = sealed;
    }

    /// Up to which sequences the sealed generation reaches.
    pub(crate) fn sealed_through(&self) -> Vec<(u64, u64)> {
        self.sealed_through.borrow().clone()
    }

    /// Whether the files in force differ from what the manifest on the disk says.
    pub(crate) fn is_ahead(&self) -> bool {
        self.is_ahead.get()
    }

    /// Tombstones come into force, or out of it, without the manifest on the disk.
    pub(crate) fn go_ahead(&self, set: FileSet<D>, is_ahead: bool) {
        if is_ahead {
            self.forget_met();
        }
        *self.files.borrow_mut() = Some(set);
        self.is_ahead.set(is_ahead);
    }

    /// The manifest was switched: the files change, and with `is_snapshotted` the sealed generation is in them.
    pub(crate) fn switch(&self, set: FileSet<D>, is_snapshotted: bool) {
        self.go_ahead(set, false);
        if is_snapshotted {
            self.sealed_through.borrow_mut().clear();
            let mut cache = self.cache.borrow_mut();
            cache.sealed = None;
            shrink_index(&mut cache);
        }
    }
}

/// Raises a WAL's mark in a list of (WAL id, sequence).
pub(crate) fn note_through(marks: &mut Vec<(u64, u64)>, wal_id: u64, sequence: u64) {
    match marks.iter_mut().find(|(id, _)| *id == wal_id) {
        Some((_, known)) => *known = (*known).max(sequence),
        None => marks.push((wal_id, sequence)),
    }
}

/// Lets quiet series go when they are most of the index. Views keep the old index and generation.
fn shrink_index(cache: &mut CacheView) {
    let (live, all) = (cache.hot.borrow().series(), cache.index.borrow().len() as u64);
    if live == 0 {
        // Those that come next are most likely the same again.
        *cache = CacheView::expecting(all as usize);
        return;
    }
    if live * 2 > all || live > MOVED_SERIES_MAX || Rc::strong_count(&cache.hot) > 1 {
        return;
    }
    let mut successor = cache.index.borrow().successor();
    cache.hot.borrow_mut().move_to(&cache.index.borrow(), &mut successor);
    cache.index = Rc::new(RefCell::new(successor));
}

#[cfg(all(test, feature = "sim"))]
mod tests;
