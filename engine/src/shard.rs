//! One shard on its owning core: active series, cache generations, and the set of TSM files.
//!
//! For readers, [`Shard::view`] is the one entrance. A [`ShardView`] is taken without waiting and stays consistent for as
//! long as it is held: files that a compaction replaces stay readable, rows that a snapshot moves into a file stay in
//! the view's caches, and what arrives later is seen or not seen series by series, never half a row. Sources, oldest
//! first: the files in their order, then the cache. Of equal timestamps the later source's field wins.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::cache::Cache;
use crate::compact::Pace;
use crate::index::active::{ActiveIndex, SeriesPosition, sorted_positions};
use crate::model::{FieldType, Rows, ShardGroupId, ShardId, TimeRange, series_key};
use crate::scan::request::ShardRef;

/// One per shard owned by this core.
pub struct Shard {
    pub(crate) id: ShardId,
    pub(crate) group: ShardGroupId,
    cache: RefCell<CacheView>,
    /// When the last write came, on the clock given to the store; 0 before the first.
    pub(crate) written_at_ns: Cell<u64>,
    pub(crate) is_dropped: Cell<bool>,
}

/// The rows of a shard that are not in files: what scans read, series by series.
#[derive(Clone)]
pub struct CacheView {
    index: Rc<RefCell<ActiveIndex>>,
    sealed: Option<Rc<RefCell<Cache>>>,
    hot: Rc<RefCell<Cache>>,
}

/// What a scan reads of one shard.
pub struct ShardView {
    pub shard: ShardRef,
    pub cache: CacheView,
}

impl CacheView {
    pub(crate) fn new() -> Self {
        Self {
            index: Rc::new(RefCell::new(ActiveIndex::new())),
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
    pub fn of_measurement<'a>(
        &self,
        sorted: &'a [SeriesPosition],
        measurement: &[u8],
    ) -> Vec<SeriesPosition> {
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
    /// there are none.
    pub fn read(
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

    /// Fields of a measurement in the cache with their types, sorted. Fields whose rows were deleted may still stand.
    pub fn fields_of(&self, measurement: &[u8]) -> Vec<(Vec<u8>, FieldType)> {
        self.index.borrow().fields_of(measurement)
    }
}

impl Shard {
    pub(crate) fn new(shard: ShardRef) -> Self {
        Self {
            id: shard.shard,
            group: shard.group,
            cache: RefCell::new(CacheView::new()),
            written_at_ns: Cell::new(0),
            is_dropped: Cell::new(false),
        }
    }

    pub fn reference(&self) -> ShardRef {
        ShardRef { shard: self.id, group: self.group }
    }

    /// What a scan reads: see the module's head.
    pub async fn view(&self) -> crate::Result<ShardView> {
        Ok(ShardView { shard: self.reference(), cache: self.cache.borrow().clone() })
    }

    /// Puts a batch into the hot cache; `refused` as in [`Cache::insert`].
    pub(crate) fn insert(&self, batch: &crate::model::Batch, refused: &[bool]) -> crate::cache::Inserted {
        let cache = self.cache.borrow();
        let mut index = cache.index.borrow_mut();
        cache.hot.borrow_mut().insert(&mut index, batch, refused)
    }
}
