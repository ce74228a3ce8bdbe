//! What a scan reads: the sources of its shards, which series each of them has, and their blocks.
//!
//! This is the only file of the read path that knows how files and caches are asked. A *source* is a file or a shard's
//! cache; sources are numbered shard after shard, within a shard oldest first, so that of equal times the source with
//! the greater number wins.

mod series;

use std::cell::OnceCell;
use std::cmp::Reverse;
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use hashbrown::HashMap;

pub use self::series::SeriesStream;
use self::series::{Feed, Twin};
use super::select::matching_positions;
use crate::cache::{Newest, Older};
use crate::compact::file::ShardFile;
use crate::compact::tombstone::{Tombstone, masks};
use crate::disk::Disk;
use crate::error::Result;
use crate::index::active::SeriesPosition;
use crate::index::tag_filter::TagMatcher;
use crate::model::{Column, Field, FieldType, Rows, TimeRange, Value};
use crate::pace::Pace;
use crate::scan::request::TagFilter;
use crate::shard::{CacheView, ShardView};
use crate::tsm::{BlockEntry, ColumnSummary, FieldId, KeySet, Statistics, TsmReader, UnlistedBlocks, Wanted};

/// The spans of time in which rows of a series are deleted in a file.
pub type Masks = Rc<dyn Fn(&[u8]) -> Vec<TimeRange>>;

/// The sources of one shard. Cheap to clone.
pub struct ShardSources<D: Disk> {
    /// Oldest first.
    pub files: Vec<FileSource<D>>,
    /// Newer than all files.
    pub cache: CacheView,
}

/// A file of a shard.
pub struct FileSource<D: Disk> {
    pub reader: TsmReader<D>,
    /// `None`: nothing is deleted in it.
    pub masks: Option<Masks>,
    /// Keeps the file from being removed while it is read.
    pub held: Option<Rc<ShardFile<D>>>,
}

impl<D: Disk> Clone for ShardSources<D> {
    fn clone(&self) -> Self {
        Self { files: self.files.clone(), cache: self.cache.clone() }
    }
}

impl<D: Disk> Clone for FileSource<D> {
    fn clone(&self) -> Self {
        Self { reader: self.reader.clone(), masks: self.masks.clone(), held: self.held.clone() }
    }
}

impl<D: Disk> ShardSources<D> {
    /// Files alone, oldest first.
    pub fn of_files(files: Vec<FileSource<D>>) -> Self {
        Self { files, cache: CacheView::new() }
    }

    /// The sources of these shards that may have rows within `time`; opens their files.
    pub async fn open_all(views: Vec<ShardView<D>>, time: TimeRange) -> Result<Vec<Self>> {
        let mut shards = Vec::with_capacity(views.len());
        for view in views {
            let mut files = Vec::with_capacity(view.files.len());
            for file in view.files.iter().filter(|file| file.time_range().overlaps(&time)) {
                let id = file.entry.id;
                let masking: Vec<Rc<Tombstone>> =
                    view.tombstones.iter().filter(|tombstone| tombstone.masks_file(id)).cloned().collect();
                let masks: Option<Masks> = (!masking.is_empty())
                    .then(|| Rc::new(move |key: &[u8]| masks(&masking, id, key).collect()) as Masks);
                files.push(FileSource { reader: file.reader().await?, masks, held: Some(file.clone()) });
            }
            shards.push(Self { files, cache: view.cache });
        }
        Ok(shards)
    }
}

impl<D: Disk> FileSource<D> {
    /// A span that holds all its timestamps.
    pub fn span(&self) -> TimeRange {
        file_span(&self.reader)
    }

    fn masks_of(&self, key: &[u8]) -> Vec<TimeRange> {
        self.masks.as_ref().map_or_else(Vec::new, |masks| masks(key))
    }
}

/// A series in one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Occurrence {
    pub source: u32,
    /// The series' position in the source.
    pub position: u32,
}

/// A series, and where it occurs, oldest source first.
#[derive(Debug, Clone)]
pub struct FoundSeries {
    /// Canonical.
    pub key: Vec<u8>,
    pub occurrences: Vec<Found>,
}

/// Where a series occurs.
#[derive(Debug, Clone)]
pub struct Found {
    pub occurrence: Occurrence,
    /// Where its blocks stand, if finding it told; else they are looked up when needed.
    pub blocks: Option<UnlistedBlocks>,
}

impl FoundSeries {
    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.key.len() + 64 + size_of::<Found>() * self.occurrences.len() + self.blocks_bytes()
    }

    /// Of them, what [`forget_blocks`](Self::forget_blocks) lets go.
    pub fn blocks_bytes(&self) -> usize {
        self.occurrences.iter().filter_map(|found| found.blocks.as_ref()).map(UnlistedBlocks::bytes).sum()
    }

    /// Lets the blocks go: they are looked up again when needed.
    pub fn forget_blocks(&mut self) {
        self.occurrences.iter_mut().for_each(|found| found.blocks = None);
    }
}

/// A block of one series in one source: known, not read.
#[derive(Debug, Clone)]
pub struct Block {
    pub time_min: i64,
    pub time_max: i64,
    pub rows: usize,
    source: u32,
    body: Body,
}

#[derive(Debug, Clone)]
enum Body {
    /// Rows of a cache, as they were when listed.
    Cached(Rc<Rows>),
    /// Rows of a cache from the block's first time to its last, as they are when read.
    CachedOlder { position: SeriesPosition },
    File {
        /// All of the occurrence; this one is at `at`, and those up to `end` will be wanted as well.
        entries: Rc<[BlockEntry]>,
        at: u32,
        end: u32,
        /// By field.
        summaries: OnceCell<Rc<[ColumnSummary]>>,
    },
}

/// The blocks of an occurrence in time order, and the spans of time deleted in its source.
pub struct Listed {
    pub blocks: Vec<Block>,
    /// Where blocks lie that are not listed, before those that are.
    pub older: Option<TimeRange>,
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

/// What is going to be read of the series that are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// All their blocks.
    Everything,
    /// The oldest blocks, mostly no others; or none.
    Oldest,
    Newest,
}

/// Nanoseconds, about, that a field of a file takes.
const FIELD_NS: u64 = 150;

/// The same for listing a block.
const LISTED_NS: u64 = 100;

/// The same for a column of a block that is read, and for each of its values one.
const COLUMN_READ_NS: u64 = 60;

/// The same for passing over all blocks in a page that are older than the newest.
const NEWEST_LISTED_NS: u64 = 2_000;

/// See the module's head. One per scan.
pub struct Sources<D: Disk> {
    measurement: Vec<u8>,
    list: Vec<Source<D>>,
    pub pace: Pace,
}

enum Source<D: Disk> {
    File {
        file: FileSource<D>,
        /// The measurement's fields: name → numbers, mostly one.
        fields: HashMap<Vec<u8>, Vec<FieldId>>,
        names: HashMap<FieldId, Vec<u8>>,
    },
    Cache(CacheView),
}

impl<D: Disk> Sources<D> {
    /// Those that may have rows of the measurement within `time`.
    pub async fn open(shards: Vec<ShardSources<D>>, measurement: &[u8], time: TimeRange) -> Result<Self> {
        let (mut list, pace) = (Vec::new(), Pace::new());
        for shard in shards {
            for file in shard.files {
                if !file.span().overlaps(&time) {
                    continue;
                }
                let schema = file.reader.schema().await?;
                if schema.measurement(measurement).is_none() {
                    continue;
                }
                let mut fields: HashMap<Vec<u8>, Vec<FieldId>> = HashMap::new();
                let mut names = HashMap::new();
                for (number, name, _) in schema.fields_of(measurement) {
                    fields.entry(name.to_vec()).or_default().push(number);
                    names.insert(number, name.to_vec());
                    pace.spent(FIELD_NS).await;
                }
                list.push(Source::File { file, fields, names });
            }
            if !shard.cache.is_empty() && shard.cache.time_range().overlaps(&time) {
                list.push(Source::Cache(shard.cache));
            }
        }
        Ok(Self { measurement: measurement.to_vec(), list, pace })
    }

    /// The series of the measurement that pass the filter, in the order of their keys.
    pub async fn series(&self, filter: Option<&TagFilter>, reads: Reads) -> Result<SeriesStream<D>> {
        let matcher = TagMatcher::optional(filter)?;
        let mut feeds: Vec<Feed<D>> = self.list.iter().map(|_| Feed::End).collect();
        let mut twins: Vec<Vec<Twin>> = vec![Vec::new(); self.list.len()];
        // Files that are walked, and which series they have.
        let mut walked: Vec<(usize, KeySet)> = Vec::new();
        for at in self.in_order_of(reads) {
            let file = match &self.list[at] {
                Source::Cache(cache) => {
                    let sorted = cache.sorted(&self.pace).await;
                    let positions = cache.of_measurement(&sorted, &self.measurement);
                    feeds[at] = Feed::Cache { positions, next: 0 };
                    continue;
                }
                Source::File { file, .. } => file,
            };
            let set = file.reader.key_set(&self.measurement);
            if let Some(set) = set
                && let Some((other, other_set)) = walked.iter().find(|(_, other)| other.equals(&set))
            {
                let twin = Twin { source: at as u32, first: set.first, walked_first: other_set.first };
                twins[*other].push(twin);
                continue;
            }
            feeds[at] = match matching_positions(&file.reader, &self.measurement, filter, &self.pace).await? {
                None => Feed::all_of(file, &self.measurement, set),
                Some(positions) => Feed::Chosen { positions, next: 0, keys: VecDeque::new() },
            };
            // A walk finds blocks as well: where all are wanted it costs less than looking each of them up.
            if let Some(set) = set
                && (reads != Reads::Everything || matches!(feeds[at], Feed::Chosen { .. }))
            {
                walked.push((at, set));
            }
        }
        SeriesStream::begin(self, feeds, twins, matcher).await
    }

    /// The sources, those that are read first before others.
    fn in_order_of(&self, reads: Reads) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.list.len()).collect();
        if reads == Reads::Newest {
            order.sort_by_key(|&at| match &self.list[at] {
                Source::File { file, .. } => Reverse(file.span().end),
                Source::Cache(_) => Reverse(i64::MAX),
            });
        }
        order
    }

    /// A span that holds all rows of the occurrence.
    pub fn span(&self, occurrence: Occurrence) -> TimeRange {
        match &self.list[occurrence.source as usize] {
            Source::Cache(cache) => cache.time_range(),
            Source::File { file, .. } => file.span(),
        }
    }

    /// The blocks of an occurrence that overlap `time`. `newest`: the last rows will be read first, and maybe no more than
    /// so many; older blocks may be left out.
    pub async fn list(
        &self,
        found: &Found,
        key: &[u8],
        wanted: &[Vec<u8>],
        time: TimeRange,
        newest: Option<usize>,
    ) -> Result<Listed> {
        let Occurrence { source, position } = found.occurrence;
        match &self.list[source as usize] {
            Source::Cache(cache) => {
                let newest = newest.and_then(|rows| cache.newest(position, time, wanted, rows));
                let mut blocks = Vec::new();
                let rows = match newest {
                    None => cache.read(position, time, Some(wanted), &self.pace).await,
                    Some(Newest { rows, older, looked_at }) => {
                        self.pace.spent(8 * looked_at as u64).await;
                        let body = Body::CachedOlder { position };
                        let Older { time_min, time_max, rows: older_rows } = older;
                        blocks.push(Block { time_min, time_max, rows: older_rows, source, body });
                        Some(rows)
                    }
                };
                let cells = rows.as_ref().map_or(0, |rows| rows.len() * (rows.fields.len() + 1));
                self.pace.spent(500 + 20 * cells as u64).await;
                blocks.extend(rows.and_then(|rows| {
                    Some(Block {
                        time_min: *rows.times.first()?,
                        time_max: *rows.times.last()?,
                        rows: rows.len(),
                        source,
                        body: Body::Cached(Rc::new(rows)),
                    })
                }));
                Ok(Listed { blocks, older: None, removed: Vec::new() })
            }
            Source::File { file, .. } => {
                let mut older = None;
                let found: Rc<[BlockEntry]> = match (&found.blocks, newest) {
                    (Some(unlisted), Some(rows)) => {
                        let newest = file.reader.list_newest(unlisted, time, rows).await?;
                        self.pace.spent(NEWEST_LISTED_NS).await;
                        older = newest.older;
                        newest.blocks.into()
                    }
                    (Some(unlisted), None) => {
                        let blocks = file.reader.list(unlisted, time).await?;
                        self.pace.spent(LISTED_NS * blocks.len() as u64).await;
                        blocks.into()
                    }
                    (None, _) => {
                        self.pace.spent(5_000).await;
                        let series = file.reader.series_at(position, time).await?;
                        series.map(|series| series.blocks.into()).unwrap_or_default()
                    }
                };
                let first = found.iter().position(|entry| entry.overlaps(&time)).unwrap_or(found.len());
                let end =
                    found.iter().rposition(|entry| entry.overlaps(&time)).map_or(first, |last| last + 1);
                let blocks = (first..end)
                    .map(|at| Block {
                        time_min: found[at].min_time,
                        time_max: found[at].max_time,
                        rows: found[at].rows as usize,
                        source,
                        body: Body::File {
                            entries: found.clone(),
                            at: at as u32,
                            end: end as u32,
                            summaries: OnceCell::new(),
                        },
                    })
                    .collect();
                Ok(Listed { blocks, older, removed: file.masks_of(key) })
            }
        }
    }

    /// What is known of a column of an unread block: `None` when it says nothing, `Some(None)` when the block does not
    /// have the column.
    pub fn facts(&self, block: &Block, field: &[u8]) -> Option<Option<ColumnFacts>> {
        let (Body::File { entries, at, summaries, .. }, Source::File { file, fields, .. }) =
            (&block.body, &self.list[block.source as usize])
        else {
            return None;
        };
        let entry = &entries[*at as usize];
        let Some(numbers) = fields.get(field) else { return Some(None) };
        let summaries = match summaries.get() {
            Some(summaries) => summaries,
            None => {
                // Damage is reported by the read that follows.
                let mut made = file.reader.summaries(entry).ok()?;
                made.sort_by_key(|summary| summary.field);
                summaries.get_or_init(|| made.into())
            }
        };
        let mut found = numbers.iter().flat_map(|number| {
            let first = summaries.partition_point(|summary| summary.field < *number);
            summaries[first..].iter().take_while(move |summary| summary.field == *number)
        });
        let Some(summary) = found.next() else { return Some(None) };
        // A field that changed its type within one file is for the rows to tell.
        if found.next().is_some() { None } else { Some(Some(ColumnFacts::of(summary))) }
    }

    /// The first or last value of a column of an unread block in a file, if every row has one: `None` when what is known
    /// does not say, `Some(None)` when the block does not have the column.
    pub fn edge_value(&self, block: &Block, field: &[u8], is_last: bool) -> Option<Option<Value>> {
        let Some(facts) = self.facts(block, field)? else { return Some(None) };
        if facts.count != block.rows {
            return None;
        }
        Some(Some(if is_last { facts.last } else { facts.first }?))
    }

    /// The first or last row of an unread block of a cache.
    pub fn cached_edge(&self, block: &Block, is_last: bool) -> Option<Rows> {
        let Body::Cached(rows) = &block.body else { return None };
        let at = if is_last { rows.len().checked_sub(1)? } else { 0 };
        Some(rows.part(at, at + 1))
    }

    /// The first or last row of an unread block, out of what is known of it; `None` when that does not say.
    pub fn edge(&self, block: &Block, wanted: &[Vec<u8>], is_last: bool) -> Option<Rows> {
        if let Some(row) = self.cached_edge(block, is_last) {
            return Some(row);
        }
        let time = if is_last { block.time_max } else { block.time_min };
        let mut rows = Rows { times: vec![time], fields: Vec::new(), columns: Vec::new() };
        for name in wanted {
            let Some(value) = self.edge_value(block, name, is_last)? else { continue };
            rows.fields.push(Field { name: name.clone(), field_type: value.field_type() });
            rows.columns.push(Column::of(&value));
        }
        (!rows.fields.is_empty()).then_some(rows)
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
    pub async fn read(&self, block: &Block, wanted: &[Vec<u8>]) -> Result<Rows> {
        let rows = self.read_at_once(block, wanted).await?;
        self.pace.spent((COLUMN_READ_NS + rows.len() as u64) * (rows.columns.len() as u64 + 1)).await;
        Ok(rows)
    }

    async fn read_at_once(&self, block: &Block, wanted: &[Vec<u8>]) -> Result<Rows> {
        match (&block.body, &self.list[block.source as usize]) {
            (Body::Cached(rows), _) => Ok(Rows::clone(rows)),
            (Body::CachedOlder { position }, Source::Cache(cache)) => {
                let time = TimeRange::new(block.time_min, block.time_max.saturating_add(1));
                let rows = cache.read(*position, time, Some(wanted), &self.pace).await.unwrap_or_default();
                self.pace.spent(500 + 20 * (rows.len() * (rows.fields.len() + 1)) as u64).await;
                Ok(rows)
            }
            (Body::File { entries, at, end, .. }, Source::File { file, fields, names }) => {
                let mut numbers: Vec<FieldId> =
                    wanted.iter().filter_map(|name| fields.get(name)).flatten().copied().collect();
                numbers.sort_unstable();
                let blocks = &entries[*at as usize..*end as usize];
                let read = file.reader.read_first(blocks, Wanted::Fields(&numbers)).await?;
                self.pace.spent(COLUMN_READ_NS * read.columns.len() as u64).await;
                let mut rows = Rows { times: read.times, fields: Vec::new(), columns: Vec::new() };
                for (number, column) in read.columns {
                    let Some(name) = names.get(&number) else { continue };
                    rows.fields.push(Field { name: name.clone(), field_type: column.field_type() });
                    rows.columns.push(column);
                }
                Ok(rows)
            }
            (Body::File { .. }, Source::Cache(_)) | (Body::CachedOlder { .. }, Source::File { .. }) => {
                Ok(Rows::default())
            }
        }
    }

    pub fn file_count(&self) -> u64 {
        self.list.iter().filter(|source| matches!(source, Source::File { .. })).count() as u64
    }

    /// Whether anything is deleted in any file.
    pub fn has_masks(&self) -> bool {
        self.list.iter().any(|source| matches!(source, Source::File { file, .. } if file.masks.is_some()))
    }

    /// Whether any row of the series may be left that no delete masks, as far as the bounds of its blocks tell.
    pub async fn is_alive(&self, series: &FoundSeries) -> Result<bool> {
        for found in &series.occurrences {
            let Source::File { file, .. } = &self.list[found.occurrence.source as usize] else {
                return Ok(true);
            };
            if file.masks_of(&series.key).is_empty() {
                return Ok(true);
            }
            let listed = self.list(found, &series.key, &[], TimeRange::ALL, None).await?;
            if listed.blocks.iter().any(|block| is_left(block, &listed.removed)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Adds the fields a series has values of in files where something is deleted, as far as the bounds of its blocks
    /// tell.
    pub async fn fields_left(
        &self,
        series: &FoundSeries,
        fields: &mut BTreeSet<(Vec<u8>, FieldType)>,
    ) -> Result<()> {
        for found in &series.occurrences {
            let Source::File { file, names, .. } = &self.list[found.occurrence.source as usize] else {
                continue;
            };
            if file.masks.is_none() {
                continue;
            }
            let listed = self.list(found, &series.key, &[], TimeRange::ALL, None).await?;
            for block in listed.blocks.iter().filter(|block| is_left(block, &listed.removed)) {
                let Body::File { entries, at, .. } = &block.body else { continue };
                for summary in file.reader.summaries(&entries[*at as usize])? {
                    if let Some(name) = names.get(&summary.field) {
                        fields.insert((name.clone(), summary.field_type));
                    }
                }
            }
        }
        Ok(())
    }

    /// Rows of a series in caches.
    pub fn cached_rows(&self, series: &FoundSeries) -> u64 {
        let rows =
            series.occurrences.iter().map(|found| match &self.list[found.occurrence.source as usize] {
                Source::Cache(cache) => cache.row_count(found.occurrence.position) as u64,
                Source::File { .. } => 0,
            });
        rows.sum()
    }

    /// Per file of the series: its blocks within `time`, and their bytes.
    pub async fn file_blocks(&self, series: &FoundSeries, time: TimeRange) -> Result<Vec<(u64, u64)>> {
        let mut counts = Vec::new();
        for found in &series.occurrences {
            if let Source::File { .. } = &self.list[found.occurrence.source as usize] {
                let blocks = self.list(found, &series.key, &[], time, None).await?.blocks;
                counts.push((blocks.len() as u64, blocks.iter().map(Block::file_bytes).sum()));
            }
        }
        Ok(counts)
    }

    /// Calls `each` with the key of every series of the measurement that has rows in a cache.
    pub async fn each_cached_key(&self, mut each: impl FnMut(&[u8])) {
        for source in &self.list {
            let Source::Cache(cache) = source else { continue };
            let sorted = cache.sorted(&self.pace).await;
            for position in cache.of_measurement(&sorted, &self.measurement) {
                if cache.row_count(position) > 0 {
                    cache.with_key(position, &mut each);
                }
                self.pace.spent(200).await;
            }
        }
    }

    /// The first values of a tag key in the files, in no order across files; `max` of each file at most.
    pub async fn tag_values_of_files(&self, key: &[u8], max: usize) -> Result<Vec<Vec<u8>>> {
        let mut values = Vec::new();
        for source in &self.list {
            let Source::File { file, .. } = source else { continue };
            let mut found = file.reader.tag_values(&self.measurement, key).await?;
            let mut count = 0;
            while count < max
                && let Some(value) = found.next().await?
            {
                values.push(value.to_vec());
                count += 1;
                self.pace.spent(100).await;
            }
        }
        Ok(values)
    }
}

impl Block {
    /// Its rows, where they need not be read.
    pub fn into_rows(self) -> std::result::Result<Rows, Self> {
        match self.body {
            Body::Cached(rows) => Ok(Rc::unwrap_or_clone(rows)),
            body => Err(Self { body, ..self }),
        }
    }

    /// Bytes of the block in its file.
    pub fn file_bytes(&self) -> u64 {
        match &self.body {
            Body::Cached(_) | Body::CachedOlder { .. } => 0,
            Body::File { entries, at, .. } => entries[*at as usize].data_length,
        }
    }
}

/// Whether no deleted span covers the block whole.
fn is_left(block: &Block, removed: &[TimeRange]) -> bool {
    let end = block.time_max.saturating_add(1);
    !removed.iter().any(|removed| removed.start <= block.time_min && end <= removed.end)
}

fn file_span<D: Disk>(reader: &TsmReader<D>) -> TimeRange {
    let meta = reader.meta();
    TimeRange::new(meta.min_time, meta.max_time.saturating_add(1))
}

impl ColumnFacts {
    fn of(summary: &ColumnSummary) -> Self {
        let mut facts = Self {
            field_type: summary.field_type,
            count: summary.count as usize,
            min: None,
            max: None,
            sum: None,
            first: None,
            last: None,
        };
        macro_rules! fill {
            ($extent:expr, $value:expr) => {{
                facts.min = Some($value($extent.min));
                facts.max = Some($value($extent.max));
                facts.sum = Some($value($extent.sum));
                facts.first = Some($value($extent.first));
                facts.last = Some($value($extent.last));
            }};
        }
        match &summary.statistics {
            Some(Statistics::Float(extent)) => fill!(extent, Value::Float),
            Some(Statistics::Integer(extent)) => fill!(extent, Value::Integer),
            Some(Statistics::Unsigned(extent)) => fill!(extent, Value::Unsigned),
            Some(Statistics::Boolean(extent)) => {
                fill!(extent, Value::Boolean);
                facts.sum = None;
            }
            None => {}
        }
        facts
    }
}

#[cfg(all(test, feature = "sim"))]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests;
