//! The rows of one tag set, merged by time and series key.
//!
//! Two ways, by what is asked for (a third are [`super::passes`], where there are too many series for one merge):
//! * [`top`] for a small limit: series after series, keeping the best rows only. A series whose next row cannot be among
//!   them is not read, so that the first row of a million series costs a few blocks, and memory for the limit's rows;
//! * [`Merge`] for everything else: all series of the tag set at once, each opened when the merge comes to its first
//!   row. Where their blocks do not fit into the budget together, each keeps less of its block and reads it again.
//!
//! Rows of equal times come in ascending order of their series' keys, in both directions.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;

use super::budget::Budget;
use super::cursor::{Cursor, Piece, Unread};
use super::filter::take_rows;
use super::gather::{RowAt, gather};
use super::projection::{OutputRows, Projection, SeriesProjection};
use super::request::{ScanChunk, ScanGroup};
use super::source::{FoundSeries, Sources};
use crate::disk::Disk;
use crate::error::Result;
use crate::model::{Column, Rows, TimeRange};

/// Rows of a chunk, about: large enough to amortise a message, small enough for the first cache levels.
pub const CHUNK_ROWS: usize = 1024;
/// The greatest limit that is answered by keeping the best rows of all series.
pub const TOP_ROWS_MAX: u64 = 4096;
/// Fewest rows of a block that a merge keeps per series when memory is short: a block is read at most 64 times.
const KEPT_ROWS_MIN: u64 = 16;
/// Units of work per value brought into an answer.
const ROW_UNITS: u64 = 8;
/// The same per piece of a series, and per column of it, however few rows it has.
const PIECE_UNITS: u64 = 500;
const COLUMN_UNITS: u64 = 40;

/// What all series of a scan are read by.
pub struct Reading<'a, D: Disk> {
    pub sources: &'a Sources<D>,
    pub projection: &'a Projection,
    pub time: TimeRange,
    pub descending: bool,
    pub budget: &'a Budget,
}

#[inline]
pub(super) fn directed(time: i64, descending: bool) -> i64 {
    if descending { !time } else { time }
}

/// One series being read.
pub(super) struct SeriesRows {
    pub(super) key: Rc<Vec<u8>>,
    cursor: Cursor,
    projection: SeriesProjection,
    /// Stored rows that come next, of which too many were read.
    rest: Option<Rows>,
}

impl SeriesRows {
    /// `None` when no row of the series can pass. `rows_wanted`: that many may be all that are read.
    pub(super) fn open<D: Disk>(
        reading: &Reading<'_, D>,
        found: FoundSeries,
        rows_wanted: usize,
    ) -> Option<Self> {
        let projection = reading.projection.for_series(&found.key)?;
        let Reading { sources, time, descending, .. } = *reading;
        let cursor = Cursor::new(sources, found.occurrences, time, descending, rows_wanted);
        Some(Self { key: Rc::new(found.key), cursor, projection, rest: None })
    }

    pub(super) async fn bound<D: Disk>(&mut self, reading: &Reading<'_, D>) -> Result<Option<i64>> {
        let rest = self.rest.as_ref().and_then(|rest| match reading.descending {
            true => rest.times.last(),
            false => rest.times.first(),
        });
        let bound = match rest {
            Some(time) => Some(*time),
            None => self.cursor.bound(reading.sources, &self.key, &reading.projection.wanted).await?,
        };
        Ok(bound.map(|time| directed(time, reading.descending)))
    }

    /// The next rows in the direction of the scan, at most about `rows_max` of them; never empty.
    pub(super) async fn next<D: Disk>(
        &mut self,
        reading: &Reading<'_, D>,
        rows_max: usize,
    ) -> Result<Option<OutputRows>> {
        let wanted = &reading.projection.wanted;
        loop {
            let rest = self.rest.take().map(Piece::Rows);
            let next = match rest {
                Some(rest) => Some(rest),
                None => self.cursor.next(reading.sources, &self.key, wanted).await?,
            };
            let Some(piece) = next else { return Ok(None) };
            let (stored, unread, is_cut) = match piece {
                Piece::Rows(rows) if rows.len() > rows_max && self.projection.filter().is_none() => {
                    let at = if reading.descending { rows.len() - rows_max } else { rows_max };
                    let (before, behind) = (rows.part(0, at), rows.part(at, rows.len()));
                    let (first, rest) = if reading.descending { (behind, before) } else { (before, behind) };
                    self.rest = Some(rest);
                    (first, None, false)
                }
                Piece::Rows(rows) => (rows, None, false),
                Piece::Unread(unread) => {
                    if let Some(filter) = self.projection.filter() {
                        let bounds = |at: usize| {
                            let field = reading.projection.filter_field(at)?;
                            reading.sources.bounds(&unread.block, field)
                        };
                        if !filter.may_pass(&bounds) {
                            continue;
                        }
                    }
                    if rows_max == 1
                        && let Some(row) = self.edge(reading, &unread)
                    {
                        reading.sources.pace.spent(ROW_UNITS * row.columns.len() as u64).await;
                        if unread.block.rows > 1 {
                            self.cursor.put_back(unread, row.times[0]);
                        }
                        return Ok(Some(row));
                    }
                    let (rows, is_cut) = self.read(reading, &unread, rows_max).await?;
                    (rows, Some(unread), is_cut)
                }
            };
            let columns = reading.projection.outputs.len() as u64 + 1;
            let units = PIECE_UNITS + (COLUMN_UNITS + ROW_UNITS * stored.len() as u64) * columns;
            reading.sources.pace.spent(units).await;
            let mut rows = reading.projection.project(&self.projection, stored);
            if rows.is_empty() {
                continue;
            }
            let is_long = rows.len() > rows_max;
            if let Some(unread) = unread
                && (is_cut || is_long)
            {
                if reading.descending {
                    rows.cut(rows.len() - rows_max, rows.len());
                    self.cursor.put_back(unread, rows.times[0]);
                } else {
                    rows.cut(0, rows_max);
                    self.cursor.put_back(unread, rows.times[rows_max - 1]);
                }
            }
            if reading.descending && rows.len() > 1 {
                rows = reversed(&rows);
            }
            return Ok(Some(rows));
        }
    }

    /// The row of an unread block that comes first in the direction, where it is known without reading the block.
    fn edge<D: Disk>(&self, reading: &Reading<'_, D>, unread: &Unread) -> Option<OutputRows> {
        let Reading { sources, projection, descending, .. } = *reading;
        if self.projection.filter().is_some() || !unread.is_whole {
            return None;
        }
        let block = &unread.block;
        if let Some(row) = sources.cached_edge(block, descending) {
            return projection.keeps_every_row(&row).then(|| projection.project(&self.projection, row));
        }
        let time = if descending { block.time_max } else { block.time_min };
        projection.project_one(&self.projection, time, |field| sources.edge_value(block, field, descending))
    }

    /// Reads a block, or of one that no row is filtered out of the `rows_max` rows that come first; whether it has
    /// more.
    async fn read<D: Disk>(
        &self,
        reading: &Reading<'_, D>,
        unread: &Unread,
        rows_max: usize,
    ) -> Result<(Rows, bool)> {
        let wanted = &reading.projection.wanted;
        let is_filtered = self.projection.filter().is_some();
        let rows = self.cursor.read(reading.sources, unread, wanted).await?;
        if rows.len() <= rows_max || is_filtered || !reading.projection.keeps_every_row(&rows) {
            return Ok((rows, false));
        }
        let start = if reading.descending { rows.len() - rows_max } else { 0 };
        Ok((rows.part(start, start + rows_max), true))
    }
}

fn reversed(rows: &OutputRows) -> OutputRows {
    let order: Vec<usize> = (0..rows.len()).rev().collect();
    picked(rows, &order)
}

fn picked(rows: &OutputRows, order: &[usize]) -> OutputRows {
    OutputRows {
        times: order.iter().map(|row| rows.times[*row]).collect(),
        columns: rows.columns.iter().map(|column| take_rows(column, order)).collect(),
    }
}

/// Rows out of several chunks, in the order given.
pub(super) fn gathered(chunks: &[Rc<OutputRows>], order: &[RowAt]) -> OutputRows {
    let times = order.iter().map(|(chunk, row)| chunks[*chunk as usize].times[*row as usize]).collect();
    let columns: Vec<&[Column]> = chunks.iter().map(|chunk| chunk.columns.as_slice()).collect();
    OutputRows { times, columns: gather(&columns, order) }
}

/// Series keys of a chunk's rows, each once.
#[derive(Default)]
pub(super) struct Keys {
    pub(super) keys: Vec<Vec<u8>>,
    /// By number of the series in the tag set: its position in `keys`.
    positions: hashbrown::HashMap<u32, u32>,
}

impl Keys {
    pub(super) fn position(&mut self, series: u32, key: &[u8]) -> u32 {
        *self.positions.entry(series).or_insert_with(|| {
            self.keys.push(key.to_vec());
            self.keys.len() as u32 - 1
        })
    }
}

/// The best rows so far of a tag set, for a small limit.
pub struct Top {
    limit: usize,
    /// Best first: directed time, number of the series, chunk, row.
    kept: Vec<(i64, u32, u32, u32)>,
    chunks: Vec<Rc<OutputRows>>,
    /// Keys of the series that have kept rows, by their numbers.
    keys: Vec<(u32, Rc<Vec<u8>>)>,
    next_series: u32,
    held: u64,
}

/// Chunks of candidates held before the kept rows are copied together.
const TOP_CHUNKS_MAX: usize = 64;

impl Top {
    pub fn new(limit: u64) -> Self {
        let limit = limit as usize;
        Self { limit, kept: Vec::new(), chunks: Vec::new(), keys: Vec::new(), next_series: 0, held: 0 }
    }

    /// The directed time from which on rows of further series are of no use.
    fn worst(&self) -> Option<i64> {
        if self.kept.len() < self.limit { None } else { self.kept.last().map(|row| row.0) }
    }

    /// Considers the next series in key order.
    pub async fn series<D: Disk>(&mut self, reading: &Reading<'_, D>, found: FoundSeries) -> Result<()> {
        let number = self.next_series;
        self.next_series += 1;
        let Some(mut series) = SeriesRows::open(reading, found, self.limit) else { return Ok(()) };
        let mut taken = 0;
        let mut is_known = false;
        while taken < self.limit {
            let Some(bound) = series.bound(reading).await? else { break };
            // On equal times the series that came before wins.
            if self.worst().is_some_and(|worst| bound >= worst) {
                break;
            }
            let Some(mut rows) = series.next(reading, self.limit - taken).await? else { break };
            let useful = match self.worst() {
                None => rows.len(),
                Some(worst) => rows.times.partition_point(|time| directed(*time, reading.descending) < worst),
            };
            let is_last = useful < rows.len();
            rows.cut(0, useful.min(self.limit - taken));
            taken += rows.len();
            if !rows.is_empty() {
                if !is_known {
                    self.keys.push((number, series.key.clone()));
                    is_known = true;
                }
                self.add(reading, number, rows)?;
            }
            if is_last {
                break;
            }
        }
        Ok(())
    }

    fn add<D: Disk>(&mut self, reading: &Reading<'_, D>, series: u32, rows: OutputRows) -> Result<()> {
        let chunk = self.chunks.len() as u32;
        let times = rows.times.iter().enumerate();
        self.kept.extend(
            times.map(|(row, time)| (directed(*time, reading.descending), series, chunk, row as u32)),
        );
        // Both parts are in order: a stable sort merges them.
        self.kept.sort();
        self.kept.truncate(self.limit);
        self.chunks.push(Rc::new(rows));
        if self.chunks.len() > TOP_CHUNKS_MAX {
            self.compact();
        }
        let rows: u64 = self.chunks.iter().map(|chunk| chunk.bytes()).sum();
        reading.budget.change(&mut self.held, rows + 32 * self.kept.len() as u64)
    }

    fn compact(&mut self) {
        let order: Vec<(u32, u32)> = self.kept.iter().map(|row| (row.2, row.3)).collect();
        self.chunks = vec![Rc::new(gathered(&self.chunks, &order))];
        for (at, row) in self.kept.iter_mut().enumerate() {
            (row.2, row.3) = (0, at as u32);
        }
        let mut numbers: Vec<u32> = self.kept.iter().map(|row| row.1).collect();
        numbers.sort_unstable();
        self.keys.retain(|(number, _)| numbers.binary_search(number).is_ok());
    }

    /// Gives back what is held.
    pub fn give_up(self, budget: &Budget) {
        budget.give_back(self.held);
    }

    /// The chunks of the answer.
    pub fn finish(mut self, budget: &Budget, group: &ScanGroup) -> Vec<ScanChunk> {
        budget.give_back(self.held);
        // Mostly one series gave them all.
        let is_one = |chunk: &Rc<OutputRows>| {
            chunk.len() == self.kept.len() && self.kept.iter().zip(0..).all(|(row, at)| row.3 == at)
        };
        if self.chunks.len() != 1 || !is_one(&self.chunks[0]) {
            self.compact();
        }
        let mut chunks = Vec::new();
        let mut rows = self.chunks.pop().map(Rc::unwrap_or_clone).unwrap_or_default();
        let mut start = 0;
        while start < self.kept.len() {
            let end = (start + CHUNK_ROWS).min(self.kept.len());
            let part = if end - start == rows.len() {
                std::mem::take(&mut rows)
            } else {
                let mut part = rows.clone();
                part.cut(start, end);
                part
            };
            let mut keys = Keys::default();
            let series = self.kept[start..end]
                .iter()
                .map(|row| {
                    let at = self.keys.binary_search_by_key(&row.1, |(number, _)| *number);
                    keys.position(row.1, at.map_or(&[], |at| self.keys[at].1.as_slice()))
                })
                .collect();
            chunks.push(ScanChunk::Rows {
                group: group.clone(),
                times: part.times,
                columns: part.columns,
                series,
                series_keys: keys.keys,
            });
            start = end;
        }
        chunks
    }
}

/// All series of a tag set, merged. See the module's head.
pub struct Merge {
    series: Vec<Merging>,
    /// The next row of each series: directed time, number of the series. Ahead, the time is that of the row before.
    heap: BinaryHeap<Reverse<(i64, u32)>>,
    ahead: bool,
    /// Rows still wanted; ahead, first rows do not count.
    left: u64,
    /// Where those ahead end: rows in the places of rows of this time still come.
    last: Option<i64>,
    rows_max: Option<usize>,
}

struct Merging {
    rows: SeriesRows,
    /// Read and not handed on, from row `at` on.
    chunk: Option<Rc<OutputRows>>,
    at: usize,
    held: u64,
}

/// Bytes a series of a merge takes before anything is read of it.
const SERIES_BYTES: u64 = 400;

impl Merge {
    /// Takes all series of the tag set, in key order. `limit` 0: all rows.
    pub async fn new<D: Disk>(
        reading: &Reading<'_, D>,
        found: Vec<FoundSeries>,
        limit: u64,
        ahead: bool,
    ) -> Result<Self> {
        let mut merge = Self {
            series: Vec::with_capacity(found.len()),
            heap: BinaryHeap::with_capacity(found.len()),
            ahead,
            left: if limit == 0 { u64::MAX } else { limit },
            last: None,
            // Of a single row's sake no block is read whole.
            rows_max: (ahead && limit == 1).then_some(1),
        };
        for found in found {
            let rows_wanted = merge.rows_max.unwrap_or(usize::MAX);
            let Some(mut rows) = SeriesRows::open(reading, found, rows_wanted) else { continue };
            if let Err(error) = reading.budget.take(SERIES_BYTES) {
                merge.finish(reading.budget);
                return Err(error);
            }
            match rows.bound(reading).await? {
                None => reading.budget.give_back(SERIES_BYTES),
                Some(bound) => {
                    let place = if ahead { i64::MIN } else { bound };
                    merge.heap.push(Reverse((place, merge.series.len() as u32)));
                    merge.series.push(Merging { rows, chunk: None, at: 0, held: 0 });
                }
            }
        }
        Ok(merge)
    }

    /// See [`super::request::ScanOutput::Rows`].
    pub fn is_ahead(&self) -> bool {
        self.ahead
    }

    /// The next chunk of about [`CHUNK_ROWS`] rows; `None` at the end.
    pub async fn next<D: Disk>(
        &mut self,
        reading: &Reading<'_, D>,
        group: &ScanGroup,
    ) -> Result<Option<ScanChunk>> {
        let wanted = if self.ahead { CHUNK_ROWS } else { (CHUNK_ROWS as u64).min(self.left) as usize };
        let mut order: Vec<(u32, u32)> = Vec::with_capacity(wanted);
        let mut chunks: Vec<Rc<OutputRows>> = Vec::new();
        // Per series of this merge, where its present chunk stands in `chunks`.
        let mut places: hashbrown::HashMap<u32, u32> = hashbrown::HashMap::new();
        let mut keys = Keys::default();
        let mut series = Vec::with_capacity(wanted);
        while order.len() < wanted {
            let Some(Reverse((bound, number))) = self.heap.pop() else { break };
            if self.last.is_some_and(|last| bound > last) {
                self.heap.clear();
                break;
            }
            let merging = &mut self.series[number as usize];
            let Some(chunk) = merging.chunk.clone() else {
                places.remove(&number);
                if let Some(time) = self.load(reading, number).await? {
                    // The bound may have been too low: the row takes its true place.
                    self.heap.push(Reverse((if self.ahead { bound } else { time }, number)));
                }
                continue;
            };
            debug_assert!(self.ahead || bound == directed(chunk.times[merging.at], reading.descending));
            let next = self.heap.peek().map(|next| next.0);
            let start = merging.at;
            let wanted = wanted - order.len();
            let end = end_of_run(&chunk.times, start, wanted, next, number, reading.descending, self.ahead);
            let place = *places.entry(number).or_insert_with(|| {
                chunks.push(chunk.clone());
                chunks.len() as u32 - 1
            });
            let key = keys.position(number, &merging.rows.key);
            order.extend((start..end).map(|row| (place, row as u32)));
            series.resize(order.len(), key);
            merging.at = end;
            let row_before = directed(chunk.times[end - 1], reading.descending);
            if self.ahead {
                // The first row of a series does not count.
                let counted = (end - start) as u64 - u64::from(bound == i64::MIN);
                self.left = self.left.saturating_sub(counted);
                if self.left == 0 && self.last.is_none() {
                    let run = end - start > 1;
                    self.last =
                        Some(if run { directed(chunk.times[end - 2], reading.descending) } else { bound });
                }
                if end == chunk.len() {
                    merging.chunk = None;
                }
                self.heap.push(Reverse((row_before, number)));
            } else if end < chunk.len() {
                self.heap.push(Reverse((directed(chunk.times[end], reading.descending), number)));
            } else {
                merging.chunk = None;
                // Where it goes on is known without reading.
                match merging.rows.bound(reading).await? {
                    Some(bound) => self.heap.push(Reverse((bound, number))),
                    None => self.end(reading, number),
                }
            }
        }
        if !self.ahead {
            self.left -= order.len() as u64;
        }
        if order.is_empty() {
            return Ok(None);
        }
        let rows = gathered(&chunks, &order);
        reading.sources.pace.spent(ROW_UNITS * (rows.len() * (rows.columns.len() + 1)) as u64).await;
        Ok(Some(ScanChunk::Rows {
            group: group.clone(),
            times: rows.times,
            columns: rows.columns,
            series,
            series_keys: keys.keys,
        }))
    }

    /// Reads the series' next rows; the directed time of the first, `None` at its end.
    async fn load<D: Disk>(&mut self, reading: &Reading<'_, D>, number: u32) -> Result<Option<i64>> {
        let rows_max = self.rows_max(reading);
        let merging = &mut self.series[number as usize];
        let Some(rows) = merging.rows.next(reading, rows_max).await? else {
            self.end(reading, number);
            return Ok(None);
        };
        reading.budget.change(&mut merging.held, rows.bytes())?;
        let time = directed(rows.times[0], reading.descending);
        merging.chunk = Some(Rc::new(rows));
        merging.at = 0;
        Ok(Some(time))
    }

    /// Rows to keep of a block so that all series' rows fit into half of what is left of the budget.
    fn rows_max<D: Disk>(&mut self, reading: &Reading<'_, D>) -> usize {
        let series = self.series.len().max(1) as u64;
        let row_bytes = 8 + 9 * reading.projection.outputs.len() as u64;
        *self.rows_max.get_or_insert_with(|| {
            let rows = reading.budget.free() / 2 / series / row_bytes;
            // A block read whole is never cut.
            if rows >= CHUNK_ROWS as u64 { usize::MAX } else { rows.max(KEPT_ROWS_MIN) as usize }
        })
    }

    fn end<D: Disk>(&mut self, reading: &Reading<'_, D>, number: u32) {
        let merging = &mut self.series[number as usize];
        reading.budget.give_back(merging.held);
        merging.held = 0;
        merging.chunk = None;
    }

    /// Gives back what the merge still holds.
    pub fn finish(self, budget: &Budget) {
        let held: u64 = self.series.iter().map(|merging| merging.held + SERIES_BYTES).sum();
        budget.give_back(held);
    }
}

/// Where the rows from `start` on that come before another series' next row end; at least one row. `ahead`: see
/// [`super::request::ScanOutput::Rows`].
fn end_of_run(
    times: &[i64],
    start: usize,
    rows_max: usize,
    next: Option<(i64, u32)>,
    number: u32,
    descending: bool,
    ahead: bool,
) -> usize {
    let limit = times.len().min(start + rows_max);
    let Some((time, other)) = next else { return limit };
    // Ahead, a row stands in the place of the one before it.
    let place = |row: usize| times[if ahead && row > start { row - 1 } else { row }];
    let comes_first =
        |row: usize| (ahead && row == start) || (directed(place(row), descending), number) < (time, other);
    if comes_first(limit - 1) {
        return limit;
    }
    // Series mostly take turns row by row.
    let mut step = 1;
    while start + step < limit && comes_first(start + step) {
        step *= 2;
    }
    let low = (start + step / 2).max(start + 1);
    let high = (start + step).min(limit);
    let mut end = low;
    while end < high && comes_first(end) {
        end += 1;
    }
    end
}
