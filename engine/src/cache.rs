//! Rows in memory that are not yet in TSM files: one generation of one shard.
//!
//! A shard's *hot* generation takes the writes; a snapshot *seals* it and starts another, which shares the
//! [`ActiveIndex`] (positions of series and shapes mean the same in both). A sealed generation does not change; it ends
//! when its TSM file is in the manifest and no reader holds it.
//!
//! Per series the rows stand in order of arrival in a chain of chunks of one arena, each chunk larger than the one before
//! (32 B to 4 KiB of rows), so that a series of one row costs little and a busy one is read in long runs:
//!
//!     page, 64 KiB     [ chunk | chunk | … ]
//!     chunk            u32 next chunk (0: none), u32 bytes used, its top bit set in a long one, rows
//!     long chunk       from 640 B on: before the rows the chunk before (u32, and four bytes of nothing), the greatest
//!                      timestamp before (i64), the least and the greatest timestamp in it (i64 each, once it is full);
//!                      the rows begin anew: it can be read, or passed over, by itself
//!     row              varint shape + 1, zigzag change of the timestamp's difference to the row before,
//!                      varint length of the values, values as they stood in the batch (docs/formats/batch.md)
//!
//! Inserting touches the series' list head and the end of its last chunk: two cache misses, waited for in groups of rows.

mod lists;
mod newest;
mod read;
mod scattered;
mod transposed;

use crate::index::active::{ActiveIndex, NO_POSITION, SeriesPosition, ShapePosition};
use crate::limits::CACHE_GENERATION_BYTES_MAX;
use crate::model::batch::copy_values;
use crate::model::varint::{take_varint, varint_length, write_varint, zigzag};
use crate::model::{Batch, TimeRange};
use crate::prefetch::prefetch;
use lists::Lists;
pub use newest::{Newest, Older, newest};
pub use read::{Part, Walk};
pub use transposed::ReusedRows;

const PAGE_BITS: u32 = 16;
const PAGE_BYTES: usize = 1 << PAGE_BITS;
const CHUNK_HEADER_BYTES: usize = 8;
const LONG_HEADER_BYTES: usize = 40;
/// Chunks of so many bytes are long ones.
const LONG_CHUNK_BYTES: usize = 640;
const CHUNK_BYTES_MIN: usize = 40;
const CHUNK_BYTES_MAX: usize = 4096;
/// Rows whose lists are asked of memory together.
const APPENDED_TOGETHER: usize = 16;
/// Most bytes of a row before its values: three varints.
const ROW_HEADER_MAX: usize = 5 + 10 + 5;

/// One generation of one shard's cache.
#[derive(Debug)]
pub struct Cache {
    lists: Lists,
    pages: Vec<Vec<u8>>,
    page_bytes: u64,
    /// Bytes given out of the last page.
    page_used: usize,
    /// Timestamps of first rows are kept as differences to this.
    base_time: i64,
    rows: u64,
    series: u64,
    /// Rows by shape position; shorter than the index when the newest shapes have no rows here.
    shape_rows: Vec<u64>,
    time_min: i64,
    time_max: i64,
    /// Least and greatest version of the batches in it.
    versions: Option<(Version, Version)>,
    entered: Entered,
}

/// Series and shapes that got their first row in a generation.
#[derive(Debug, Default)]
pub struct Entered {
    pub series: Vec<SeriesPosition>,
    pub shapes: Vec<ShapePosition>,
}

/// (hybrid clock, node) of a batch.
type Version = (u64, u64);

/// The rows of one series.
#[derive(Debug, Clone, Copy, Default)]
struct RowList {
    last_time: i64,
    last_step: i64,
    /// Address of the first and the last chunk; 0 is none (address 0 is never given out).
    head: u32,
    tail: u32,
    tail_used: u32,
    tail_bytes: u32,
    /// Where the last row stands in the last chunk.
    last_row: u32,
    /// Rows, and in the top bit whether they are out of order or repeat a timestamp.
    rows: u32,
}

impl RowList {
    fn rows(&self) -> usize {
        (self.rows & !OUT_OF_ORDER) as usize
    }

    fn is_out_of_order(&self) -> bool {
        self.rows & OUT_OF_ORDER != 0
    }

    fn has_long_tail(&self) -> bool {
        self.tail_bytes as usize >= LONG_CHUNK_BYTES
    }
}

const OUT_OF_ORDER: u32 = 1 << 31;
/// In the used bytes of a chunk.
const LONG: u32 = 1 << 31;

/// A row that is appended next: the series and shape it has here, its bytes and the number of its values.
#[derive(Debug, Clone, Copy, Default)]
struct Placed<'a> {
    position: SeriesPosition,
    shape: ShapePosition,
    timestamp: i64,
    bytes: &'a [u8],
    values: u32,
}

/// What an insert did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Inserted {
    pub rows: u64,
    pub values: u64,
    /// Rows left out because their shape is refused.
    pub refused: u64,
    /// Rows left out because the generation or its index takes no more.
    pub full: u64,
}

impl Default for Cache {
    fn default() -> Self {
        Self::new()
    }
}

impl Cache {
    pub fn new() -> Self {
        Self {
            lists: Lists::default(),
            pages: Vec::new(),
            page_bytes: 0,
            page_used: 0,
            base_time: 0,
            rows: 0,
            series: 0,
            shape_rows: Vec::new(),
            time_min: i64::MAX,
            time_max: i64::MIN,
            versions: None,
            entered: Entered::default(),
        }
    }

    /// Those that entered with the last insert. Call it after each.
    pub fn take_entered(&mut self) -> Entered {
        std::mem::take(&mut self.entered)
    }

    /// The least and the greatest version of the batches in it.
    pub fn versions(&self) -> ((u64, u64), (u64, u64)) {
        self.versions.unwrap_or_default()
    }

    /// Memory in use, in bytes, without the active index.
    pub fn bytes(&self) -> u64 {
        self.page_bytes + self.lists.bytes()
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Series that have rows here.
    pub fn series(&self) -> u64 {
        self.series
    }

    /// The span of the timestamps, wider than need be after deletes; empty without rows.
    pub fn time_range(&self) -> TimeRange {
        if self.rows == 0 {
            return TimeRange::new(0, 0);
        }
        TimeRange::new(self.time_min, self.time_max.saturating_add(1))
    }

    /// Adds the rows of a batch whose shapes are not refused (`refused` by the batch's shape position; empty: none is).
    pub fn insert(&mut self, index: &mut ActiveIndex, batch: &Batch, refused: &[bool]) -> Inserted {
        // Series and shapes are looked up once per batch; rows then only follow numbers.
        let mut inserted = Inserted::default();
        let series = index.positions_of(batch);
        let shapes: Vec<Option<(ShapePosition, u32)>> = (0..batch.shape_count() as u32)
            .map(|at| {
                let is_refused = refused.get(at as usize).copied().unwrap_or(false);
                (!is_refused).then(|| {
                    let shape = batch.shape(at);
                    (index.shape_position(shape), shape.field_count() as u32)
                })
            })
            .collect();
        let version = batch.version();
        let (min, max) = self.versions.unwrap_or((version, version));
        self.versions = Some((min.min(version), max.max(version)));
        if self.lists.len() < index.len() {
            self.lists.grow_to(index.len());
        }
        let mut rows = batch.rows();
        let mut group = [Placed::default(); APPENDED_TOGETHER];
        loop {
            let mut count = 0;
            while count < APPENDED_TOGETHER {
                let Some(row) = rows.next() else { break };
                let Some((shape, values)) = shapes[row.shape as usize] else {
                    inserted.refused += 1;
                    continue;
                };
                let position = series[row.series as usize];
                if position == NO_POSITION {
                    inserted.full += 1;
                    continue;
                }
                self.lists.prefetch(position);
                let (timestamp, bytes) = (row.timestamp, row.values);
                group[count] = Placed { position, shape, timestamp, bytes, values };
                count += 1;
            }
            let group = &group[..count];
            if group.is_empty() {
                return inserted;
            }
            for placed in group {
                let list = &self.lists[placed.position];
                if let Some(page) = self.pages.get((list.tail >> PAGE_BITS) as usize) {
                    prefetch(page, (list.tail as usize & (PAGE_BYTES - 1)) + list.tail_used as usize);
                }
            }
            for placed in group {
                if self.append(placed.position, placed.shape, placed.timestamp, placed.bytes) {
                    inserted.rows += 1;
                    inserted.values += u64::from(placed.values);
                } else {
                    inserted.full += 1;
                }
            }
        }
    }

    /// Adds one row; false when the generation can address no more.
    #[inline]
    fn append(
        &mut self,
        position: SeriesPosition,
        shape: ShapePosition,
        timestamp: i64,
        values: &[u8],
    ) -> bool {
        if self.rows == 0 {
            self.base_time = timestamp;
        }
        let mut list = self.lists[position];
        let is_first = list.rows() == 0;
        let mut starts_anew = is_first;
        let former = if is_first { (self.base_time, 0) } else { (list.last_time, list.last_step) };
        let (mut step, mut header) = RowHeader::of(shape, timestamp, former, values.len());
        if list.tail_used as usize + header.length() + values.len() > list.tail_bytes as usize {
            let mut longer = list;
            if !self.add_chunk(&mut longer, ROW_HEADER_MAX + values.len()) {
                return false;
            }
            list = longer;
            if list.has_long_tail() {
                starts_anew = true;
                (step, header) = RowHeader::first(shape, timestamp, self.base_time, values.len());
            }
        }
        let length = header.length() + values.len();
        let page = &mut self.pages[(list.tail >> PAGE_BITS) as usize];
        let start = (list.tail as usize & (PAGE_BYTES - 1)) + list.tail_used as usize;
        let row = &mut page[start..start + length];
        header.write(row);
        copy_values(&mut row[length - values.len()..], values);
        list.last_row = list.tail_used;
        list.tail_used += length as u32;
        if is_first {
            self.series += 1;
            self.entered.series.push(position);
        } else if timestamp <= list.last_time {
            list.rows |= OUT_OF_ORDER;
        }
        // A first row's step is a distance to the base, no step between rows.
        list.last_step = if starts_anew { 0 } else { step };
        list.last_time = timestamp;
        list.rows += 1;
        self.lists[position] = list;
        self.rows += 1;
        if self.shape_rows.len() <= shape as usize {
            self.shape_rows.resize(shape as usize + 1, 0);
        }
        self.shape_rows[shape as usize] += 1;
        if self.shape_rows[shape as usize] == 1 {
            self.entered.shapes.push(shape);
        }
        self.time_min = self.time_min.min(timestamp);
        self.time_max = self.time_max.max(timestamp);
        true
    }

    /// Makes a chunk with room for `length` bytes of rows the list's tail.
    #[inline(never)]
    fn add_chunk(&mut self, list: &mut RowList, length: usize) -> bool {
        let wanted = (2 * list.tail_bytes as usize).clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
        let bytes = wanted.max(CHUNK_HEADER_BYTES + length);
        let is_long = bytes >= LONG_CHUNK_BYTES;
        let bytes = if is_long { bytes.max(LONG_HEADER_BYTES + length) } else { bytes };
        let Some(address) = self.allocate(bytes) else { return false };
        let span = self.tail_span(list);
        if is_long {
            let time_max = self.time_max_of(list, span);
            let chunk = self.chunk_mut(address);
            chunk[4..8].copy_from_slice(&LONG.to_le_bytes());
            chunk[8..12].copy_from_slice(&list.tail.to_le_bytes());
            chunk[16..24].copy_from_slice(&time_max.to_le_bytes());
        }
        if list.tail == 0 {
            list.head = address;
        } else {
            self.close_tail(list, span, address);
        }
        list.tail = address;
        list.tail_used = if is_long { LONG_HEADER_BYTES } else { CHUNK_HEADER_BYTES } as u32;
        list.tail_bytes = bytes as u32;
        true
    }

    /// Writes the head of a tail that is full, with its [`tail_span`](Self::tail_span).
    fn close_tail(&mut self, list: &RowList, span: Option<(i64, i64)>, next: u32) {
        let used = list.tail_used;
        let chunk = self.chunk_mut(list.tail);
        chunk[0..4].copy_from_slice(&next.to_le_bytes());
        match span {
            None => chunk[4..8].copy_from_slice(&used.to_le_bytes()),
            Some((min, max)) => {
                chunk[4..8].copy_from_slice(&(used | LONG).to_le_bytes());
                chunk[24..32].copy_from_slice(&min.to_le_bytes());
                chunk[32..40].copy_from_slice(&max.to_le_bytes());
            }
        }
    }

    /// `bytes` zeroed bytes in one page; their address, never 0.
    fn allocate(&mut self, bytes: usize) -> Option<u32> {
        let has_room = self.pages.last().is_some_and(|page| self.page_used + bytes <= page.len());
        if !has_room {
            if self.pages.is_empty() {
                // Page 0 stays empty, so that no address is 0.
                self.pages.push(Vec::new());
            }
            // Small shards stay small: the first pages are short. One larger than PAGE_BYTES holds a single chunk at
            // its start, so that offsets keep to PAGE_BITS.
            let capacity = PAGE_BYTES.min(512 << self.pages.len().min(16)).max(bytes);
            if self.page_bytes + capacity as u64 > CACHE_GENERATION_BYTES_MAX
                || self.pages.len() >= 1 << (32 - PAGE_BITS)
            {
                return None;
            }
            self.page_bytes += capacity as u64;
            self.pages.push(vec![0; capacity]);
            self.page_used = 0;
        }
        let at = self.pages.len() - 1;
        let start = self.page_used;
        self.page_used += bytes;
        Some((at << PAGE_BITS | start) as u32)
    }

    fn chunk_mut(&mut self, address: u32) -> &mut [u8] {
        &mut self.pages[(address >> PAGE_BITS) as usize][address as usize & (PAGE_BYTES - 1)..]
    }

    fn chunk(&self, address: u32) -> &[u8] {
        &self.pages[(address >> PAGE_BITS) as usize][address as usize & (PAGE_BYTES - 1)..]
    }

    /// Rows of a shape here, duplicates counted.
    pub fn rows_of_shape(&self, shape: ShapePosition) -> u64 {
        self.shape_rows.get(shape as usize).copied().unwrap_or(0)
    }

    /// Rows of a series here, duplicates counted.
    #[inline]
    pub fn row_count(&self, position: SeriesPosition) -> usize {
        self.lists.get(position).map_or(0, RowList::rows)
    }

    /// Takes out the rows of a series within `time`; how many.
    pub fn delete(&mut self, position: SeriesPosition, time: TimeRange) -> u64 {
        let count = self.row_count(position);
        if count == 0 || !time.overlaps(&self.time_range()) {
            return 0;
        }
        let list = self.lists[position];
        let mut kept: Vec<(ShapePosition, i64, Vec<u8>)> = Vec::new();
        let mut shapes: Vec<ShapePosition> = Vec::with_capacity(count);
        self.each_row(list, None, |shape, timestamp, values| {
            shapes.push(shape);
            if !time.contains(timestamp) {
                kept.push((shape, timestamp, values.to_vec()));
            }
        });
        if kept.len() == count {
            return 0;
        }
        // What stays is written anew; the old chunks are lost until the snapshot.
        self.lists[position] = RowList::default();
        self.rows -= count as u64;
        self.series -= 1;
        for shape in shapes {
            self.shape_rows[shape as usize] -= 1;
        }
        let removed = count - kept.len();
        for (shape, timestamp, values) in kept {
            self.append(position, shape, timestamp, &values);
        }
        // It was here before; and positions may mean other series before anybody takes these.
        self.entered = Entered::default();
        removed as u64
    }

    /// Moves to another index with the same shapes, which gets the series that have rows here.
    pub fn move_to(&mut self, from: &ActiveIndex, to: &mut ActiveIndex) {
        let mut lists = Lists::default();
        for (position, list) in self.lists.iter().enumerate() {
            if list.rows() == 0 {
                continue;
            }
            let position = position as SeriesPosition;
            let moved = to.position(from.hash(position), from.key(position));
            debug_assert_eq!(
                moved,
                Some(lists.len() as SeriesPosition),
                "BUG: the other index was not empty"
            );
            lists.push(*list);
        }
        self.lists = lists;
    }
}

#[inline]
fn take(bytes: &mut &[u8]) -> u64 {
    take_varint(bytes).expect("BUG: a row of the cache is malformed")
}

fn le_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// What stands before the values of a row, as numbers: put together in memory and copied from there, the copy would wait
/// for each byte of them.
struct RowHeader {
    shape: u64,
    change: u64,
    values: u64,
}

impl RowHeader {
    /// The header of a row behind one of this time and step, and its step from there.
    #[inline(always)]
    fn of(
        shape: ShapePosition,
        timestamp: i64,
        (time, last_step): (i64, i64),
        values_length: usize,
    ) -> (i64, Self) {
        let step = timestamp.wrapping_sub(time);
        let (shape, change) = (u64::from(shape) + 1, zigzag(step.wrapping_sub(last_step)));
        (step, Self { shape, change, values: values_length as u64 })
    }

    /// The header of a chunk's first row.
    #[cold]
    fn first(shape: ShapePosition, timestamp: i64, base_time: i64, values_length: usize) -> (i64, Self) {
        Self::of(shape, timestamp, (base_time, 0), values_length)
    }

    /// Its bytes.
    #[inline(always)]
    fn length(&self) -> usize {
        varint_length(self.shape) + varint_length(self.change) + varint_length(self.values)
    }

    /// Writes it to the front of `out`, which has room for it.
    #[inline(always)]
    fn write(&self, out: &mut [u8]) {
        let mut length = 0;
        write_varint(out, &mut length, self.shape);
        write_varint(out, &mut length, self.change);
        write_varint(out, &mut length, self.values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::batch::put_value;
    use crate::model::{BatchBuilder, Column, ColumnData, FieldType, SeriesKey, Value};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Point = (u8, i64, Vec<(u8, i64)>);

    /// Field 0 float, 1 integer, 2 string, 3 boolean, 4 unsigned; the name follows the type.
    fn value(kind: u8, seed: i64) -> Value {
        match kind {
            0 => Value::Float(seed as f64 / 3.0),
            1 => Value::Integer(seed),
            2 => Value::String(vec![b's'; seed.unsigned_abs() as usize % 300]),
            3 => Value::Boolean(seed % 2 == 0),
            _ => Value::Unsigned(seed as u64),
        }
    }

    fn key(series: u8) -> SeriesKey {
        SeriesKey::build(b"m", &[(b"t", &[b'a' + series])])
    }

    fn batch(points: &[Point]) -> Batch {
        let mut builder = BatchBuilder::new();
        for (series, time, fields) in points {
            let key = key(*series);
            let series = builder.add_series(key.hash(), &key.0);
            let names: Vec<[u8; 1]> = fields.iter().map(|(kind, _)| [b'a' + kind]).collect();
            let shape = builder.add_shape(
                b"m",
                fields
                    .iter()
                    .zip(&names)
                    .map(|((kind, seed), name)| (value(*kind, *seed).field_type(), name.as_slice())),
            );
            let mut values = Vec::new();
            for (kind, seed) in fields {
                put_value(&mut values, &value(*kind, *seed));
            }
            builder.add_row(series, shape, *time, &values);
        }
        builder.finish(1, 1)
    }

    fn point() -> impl Strategy<Value = Point> {
        let fields = prop::collection::btree_map(0u8..5, any::<i64>(), 1..4)
            .prop_map(|fields| fields.into_iter().collect::<Vec<_>>());
        (0u8..4, prop_oneof![0i64..40, any::<i64>()], fields)
    }

    /// Rows read in steps, of a span, and the newest alone are those of `want`.
    fn check_parts(
        cache: &Cache,
        index: &ActiveIndex,
        position: SeriesPosition,
        want: &BTreeMap<i64, BTreeMap<u8, Value>>,
    ) -> Result<(), TestCaseError> {
        let mut reused = ReusedRows::default();
        if let Some(mut walk) = cache.begin_reading(index, position, Part::ALL, &mut reused) {
            while !walk.is_at_end() {
                cache.read_on(index, &mut walk, Part::ALL, &mut reused);
            }
        }
        prop_assert_eq!(&reused.times, &want.keys().copied().collect::<Vec<_>>());
        for (field, column) in reused.fields.iter().zip(&reused.columns) {
            let of_field: Vec<_> =
                want.values().map(|row| row.get(&(field.name[0] - b'a')).cloned()).collect();
            prop_assert_eq!((0..column.len()).map(|row| column.get(row)).collect::<Vec<_>>(), of_field);
        }
        let span = TimeRange::new(10, 30);
        let part = cache.read(index, position, span, None).unwrap_or_default();
        prop_assert_eq!(part.times, want.range(10..30).map(|row| *row.0).collect::<Vec<_>>());
        let all: Vec<Vec<u8>> = (b'a'..=b'e').map(|name| vec![name]).collect();
        let all_times = TimeRange { start: i64::MIN, end: i64::MAX };
        for (within, wanted) in [(all_times, usize::MAX), (all_times, 1), (span, usize::MAX), (span, 1)] {
            let newest = newest(&[cache], index, position, within, &all, wanted);
            let Some(Newest { rows, older, .. }) = newest else { continue };
            let there: Vec<i64> = want.range(within.start..within.end).map(|row| *row.0).collect();
            let (before, last) = there.split_at(there.len() - rows.len());
            prop_assert_eq!(&rows.times, last);
            prop_assert!(!last.is_empty());
            prop_assert!(older.time_max < last[0]);
            prop_assert!(before.iter().all(|time| (older.time_min..=older.time_max).contains(time)));
        }
        Ok(())
    }

    proptest! {
        /// What is read equals a map written point by point, with deletes in between.
        #[test]
        fn rows_read_back_merged_and_in_order(
            steps in prop::collection::vec(
                prop_oneof![
                    4 => prop::collection::vec(point(), 1..40).prop_map(Ok),
                    1 => (0u8..4, 0i64..40, 0i64..40).prop_map(Err),
                ],
                1..24,
            ),
        ) {
            let mut index = ActiveIndex::new();
            let mut cache = Cache::new();
            let mut model: BTreeMap<u8, BTreeMap<i64, BTreeMap<u8, Value>>> = BTreeMap::new();
            for step in &steps {
                match step {
                    Ok(points) => {
                        let inserted = cache.insert(&mut index, &batch(points), &[]);
                        prop_assert_eq!(inserted.rows, points.len() as u64);
                        for (series, time, fields) in points {
                            let row = model.entry(*series).or_default().entry(*time).or_default();
                            row.extend(fields.iter().map(|(kind, seed)| (*kind, value(*kind, *seed))));
                        }
                    }
                    Err((series, start, end)) => {
                        let range = TimeRange::new(*start, *end);
                        let key = key(*series);
                        if let Some(position) = index.find(key.hash(), &key.0) {
                            cache.delete(position, range);
                        }
                        model.entry(*series).or_default().retain(|time, _| !range.contains(*time));
                    }
                }
            }
            for series in 0..4u8 {
                let key = key(series);
                let rows = index
                    .find(key.hash(), &key.0)
                    .and_then(|at| cache.read(&index, at, TimeRange { start: i64::MIN, end: i64::MAX }, None))
                    .unwrap_or_default();
                let mut want = model.remove(&series).unwrap_or_default();
                if let Some(position) = index.find(key.hash(), &key.0) {
                    check_parts(&cache, &index, position, &want)?;
                }
                // A half-open range cannot hold the last instant.
                want.remove(&i64::MAX);
                prop_assert_eq!(rows.times.clone(), want.keys().copied().collect::<Vec<_>>());
                for (at, row) in want.values().enumerate() {
                    for (field, column) in rows.fields.iter().zip(&rows.columns) {
                        prop_assert_eq!(column.get(at), row.get(&(field.name[0] - b'a')).cloned());
                    }
                }
            }
        }
    }

    #[test]
    fn a_refused_shape_leaves_its_rows_out() {
        let mut index = ActiveIndex::new();
        let mut cache = Cache::new();
        let points = [(0, 1, vec![(1, 5)]), (0, 2, vec![(0, 5)])];
        let inserted = cache.insert(&mut index, &batch(&points), &[true, false]);
        assert_eq!(inserted, Inserted { rows: 1, values: 1, refused: 1, full: 0 });
        assert_eq!(cache.time_range(), TimeRange::new(2, 3));
    }

    #[test]
    fn only_wanted_fields_and_times_are_read() {
        let mut index = ActiveIndex::new();
        let mut cache = Cache::new();
        let points: Vec<Point> = (0..500).map(|n| (0, n, vec![(0, n), (1, n), (2, n)])).collect();
        cache.insert(&mut index, &batch(&points), &[]);
        let rows = cache.read(&index, 0, TimeRange::new(10, 13), Some(&[b"b".to_vec()])).expect("rows");
        assert_eq!(rows.times, [10, 11, 12]);
        assert_eq!(rows.columns, [Column { data: ColumnData::Integer(vec![10, 11, 12]), present: None }]);
    }

    #[test]
    fn a_row_of_a_series_of_one_row_takes_little() {
        let mut index = ActiveIndex::new();
        let mut cache = Cache::new();
        for n in 0..100_000u32 {
            let key = format!("m,t={n}");
            let mut builder = BatchBuilder::new();
            let series = builder.add_series(crate::model::series_key::hash(key.as_bytes()), key.as_bytes());
            let shape = builder.add_shape(b"m", [(FieldType::Float, b"v".as_slice())].into_iter());
            builder.add_row(series, shape, 1_700_000_000_000_000_000 + i64::from(n), &1.5f64.to_le_bytes());
            cache.insert(&mut index, &builder.finish(1, 1), &[]);
        }
        let per_series = cache.bytes() as f64 / 1e5;
        assert!(per_series < 100.0, "{per_series} B per series");
    }
}
