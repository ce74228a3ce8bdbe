//! What a scan reads: the sources of its shards, which series each of them has, and their blocks.
//!
//! This is the only file of the read path that knows how files and caches are asked. A *source* is a file or a shard's
//! cache; sources are numbered shard after shard, within a shard oldest first, so that of equal times the source with
//! the greater number wins.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::marker::PhantomData;
use std::rc::Rc;

use crate::compact::Pace;
use crate::disk::Disk;
use crate::error::Result;
use crate::index::active::SeriesPosition;
use crate::index::tag_filter::TagMatcher;
use crate::model::{FieldType, Rows, TimeRange, Value};
use crate::scan::request::TagFilter;
use crate::shard::{CacheView, ShardView};

/// A series in one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Occurrence {
    pub source: u32,
    /// The series' position in the source.
    pub position: u32,
}

/// A series, and where it occurs, oldest source first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundSeries {
    /// Canonical.
    pub key: Vec<u8>,
    pub occurrences: Vec<Occurrence>,
}

/// A block of one series in one source: known, not read.
#[derive(Debug, Clone)]
pub struct Block {
    pub time_min: i64,
    pub time_max: i64,
    pub rows: usize,
    body: Body,
}

#[derive(Debug, Clone)]
enum Body {
    /// Rows of a cache, as they were when listed.
    Cached(Rc<Rows>),
}

/// The blocks of an occurrence in time order, and the spans of time deleted in its source.
pub struct Listed {
    pub blocks: Vec<Block>,
    pub removed: Vec<TimeRange>,
}

/// What is known of one column of a block without reading it. `None` where the source does not keep it.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnFacts {
    pub field_type: FieldType,
    /// Rows that have a value.
    pub count: usize,
    pub min: Option<Value>,
    pub max: Option<Value>,
    pub sum: Option<Value>,
    pub first: Option<Value>,
    pub last: Option<Value>,
}

/// See the module's head. One per scan.
pub struct Sources<D: Disk> {
    list: Vec<Source>,
    pub pace: Pace,
    disk: PhantomData<D>,
}

enum Source {
    Cache(CacheView),
}

impl<D: Disk> Sources<D> {
    /// Those that may have rows within `time`.
    pub fn new(views: Vec<ShardView<D>>, time: TimeRange) -> Self {
        let mut list = Vec::new();
        for view in views {
            if !view.cache.is_empty() && view.cache.time_range().overlaps(&time) {
                list.push(Source::Cache(view.cache));
            }
        }
        Self { list, pace: Pace::new(), disk: PhantomData }
    }

    /// The series of a measurement that pass the filter, in the order of their keys.
    pub async fn series(&self, measurement: &[u8], filter: Option<&TagFilter>) -> Result<SeriesStream> {
        let matcher = TagMatcher::optional(filter)?;
        let mut feeds = Vec::with_capacity(self.list.len());
        for source in &self.list {
            feeds.push(match source {
                Source::Cache(cache) => {
                    let sorted = cache.sorted(&self.pace).await;
                    Feed { positions: cache.of_measurement(&sorted, measurement), next: 0 }
                }
            });
        }
        let mut stream = SeriesStream { feeds, matcher, heap: BinaryHeap::new() };
        for source in 0..self.list.len() {
            stream.advance(self, source as u32).await?;
        }
        Ok(stream)
    }

    /// A span that holds all rows of the occurrence.
    pub fn span(&self, occurrence: Occurrence) -> TimeRange {
        match &self.list[occurrence.source as usize] {
            Source::Cache(cache) => cache.time_range(),
        }
    }

    /// The blocks of an occurrence that overlap `time`.
    pub async fn list(
        &self,
        occurrence: Occurrence,
        _key: &[u8],
        wanted: &[Vec<u8>],
        time: TimeRange,
    ) -> Result<Listed> {
        match &self.list[occurrence.source as usize] {
            Source::Cache(cache) => {
                let rows = cache.read(occurrence.position, time, Some(wanted));
                self.pace.spent(64 * rows.as_ref().map_or(0, Rows::len) as u64).await;
                let block = rows.and_then(|rows| {
                    Some(Block {
                        time_min: *rows.times.first()?,
                        time_max: *rows.times.last()?,
                        rows: rows.len(),
                        body: Body::Cached(Rc::new(rows)),
                    })
                });
                Ok(Listed { blocks: block.into_iter().collect(), removed: Vec::new() })
            }
        }
    }

    /// What is known of a column of an unread block: `None` when it says nothing, `Some(None)` when the block does not
    /// have the column.
    pub fn facts(&self, block: &Block, _field: &[u8]) -> Option<Option<ColumnFacts>> {
        match &block.body {
            Body::Cached(_) => None,
        }
    }

    /// Least and greatest value of a block's column as floats, for ruling the block out; `None` when they are not known
    /// for certain (integers beyond 2^53 are no exact floats).
    pub fn bounds(&self, block: &Block, field: &[u8]) -> Option<(f64, f64)> {
        let facts = self.facts(block, field)??;
        let exact = |value: Value| match value {
            Value::Float(value) => Some(value),
            Value::Integer(value) if value.unsigned_abs() < 1 << 53 => Some(value as f64),
            Value::Unsigned(value) if value < 1 << 53 => Some(value as f64),
            _ => None,
        };
        Some((exact(facts.min?)?, exact(facts.max?)?))
    }

    /// The rows of a block, of the wanted fields only.
    pub async fn read(&self, _occurrence: Occurrence, block: &Block, _wanted: &[Vec<u8>]) -> Result<Rows> {
        match &block.body {
            Body::Cached(rows) => Ok(Rows::clone(rows)),
        }
    }
}

/// See [`Sources::series`].
pub struct SeriesStream {
    feeds: Vec<Feed>,
    matcher: TagMatcher,
    /// The next series of each source that has one.
    heap: BinaryHeap<Reverse<(Vec<u8>, Occurrence)>>,
}

/// The series of one source still to come.
struct Feed {
    positions: Vec<SeriesPosition>,
    next: usize,
}

impl SeriesStream {
    pub async fn next<D: Disk>(&mut self, sources: &Sources<D>) -> Result<Option<FoundSeries>> {
        let Some(Reverse((key, occurrence))) = self.heap.pop() else { return Ok(None) };
        self.advance(sources, occurrence.source).await?;
        let mut occurrences = vec![occurrence];
        while let Some(Reverse((other, _))) = self.heap.peek()
            && *other == key
            && let Some(Reverse((_, occurrence))) = self.heap.pop()
        {
            self.advance(sources, occurrence.source).await?;
            occurrences.push(occurrence);
        }
        Ok(Some(FoundSeries { key, occurrences }))
    }

    /// Puts the next series of a source into the heap.
    async fn advance<D: Disk>(&mut self, sources: &Sources<D>, source: u32) -> Result<()> {
        match &sources.list[source as usize] {
            Source::Cache(cache) => {
                let feed = &mut self.feeds[source as usize];
                while let Some(&position) = feed.positions.get(feed.next) {
                    feed.next += 1;
                    sources.pace.spent(100).await;
                    if cache.row_count(position) == 0 {
                        continue;
                    }
                    let key =
                        cache.with_key(position, |key| self.matcher.matches_key(key).then(|| key.to_vec()));
                    if let Some(key) = key {
                        self.heap.push(Reverse((key, Occurrence { source, position })));
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}
