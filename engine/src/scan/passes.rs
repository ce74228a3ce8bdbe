//! The rows of a tag set with more series than memory has room for at once, in the order of time all the same.
//!
//! Its series are walked again and again. Each pass keeps the rows that come next after those handed out, as many as half
//! of the free budget holds. Rows that come later are passed over, mostly without reading them, and found again by a later
//! pass. Memory so depends on the budget alone; the work, on how many budgets full of rows there are.

use std::collections::BinaryHeap;
use std::rc::Rc;

use super::gather::RowAt;
use super::projection::OutputRows;
use super::request::{ScanChunk, ScanGroup, TagFilter};
use super::rows::{CHUNK_ROWS, Keys, Reading, SeriesRows, directed, gathered};
use super::source::{FoundSeries, Reads, Sources};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::model::TimeRange;

/// Rows put in order, or copied, between two looks at whether to give way.
const STEP_ROWS: usize = 1024;
/// Nanoseconds, about, that a row takes to be put in order.
const ORDERED_NS: u64 = 100;
/// Nanoseconds, about, that a series takes of which nothing is read.
const WALKED_NS: u64 = 1_000;
/// Bytes a kept row takes beside its values: its place, twice while a pass is brought to order.
const PLACE_BYTES: u64 = 2 * size_of::<Kept>() as u64;
/// Bytes the key of a series takes beside its text, and those a chunk does.
const KEY_BYTES: u64 = 64;
const CHUNK_BYTES: u64 = 256;
/// Share of the free budget that a pass fills.
const BUDGET_SHARE: u64 = 2;

/// A place in the order of a tag set's rows: directed time, then series key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    pub time: i64,
    pub key: Vec<u8>,
}

/// A row of the pass at hand. The order is that of the rows; no two have the same time and series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Kept {
    time: i64,
    /// Number of the series within the pass.
    series: u32,
    chunk: u32,
    row: u32,
}

/// See the module's head. One per tag set.
pub struct Passes {
    /// Where the next pass begins, behind this; `None`: at the first row.
    after: Option<Position>,
    /// Rows were left to a later pass.
    is_more: bool,
    pass: Pass,
    /// Rows of the pass in order, last first.
    ordered: Vec<Kept>,
}

/// The rows of one pass, so far.
#[derive(Default)]
struct Pass {
    kept: BinaryHeap<Kept>,
    chunks: Vec<Rc<OutputRows>>,
    /// Of chunks and keys, what is not kept any more included.
    bytes: u64,
    /// Series of kept rows by their numbers, and how many each has.
    series: Vec<(u32, Rc<Vec<u8>>, u32)>,
    /// Counted against the budget.
    held: u64,
    /// Rows beyond the last one kept were passed over.
    is_cut: bool,
}

impl Passes {
    /// All rows behind `after`.
    pub fn new(after: Option<Position>) -> Self {
        Self { after, is_more: true, pass: Pass::default(), ordered: Vec::new() }
    }

    /// The next chunk of at most `rows_max` rows; `None` at the end. `series_max`: see the request.
    pub async fn next<D: Disk>(
        &mut self,
        reading: &Reading<'_, D>,
        filter: Option<&TagFilter>,
        series_max: u64,
        group: &ScanGroup,
        rows_max: u64,
    ) -> Result<Option<ScanChunk>> {
        if self.ordered.is_empty() {
            self.pass.drop_all(reading);
            if !self.is_more || rows_max == 0 {
                return Ok(None);
            }
            self.run(reading, filter, series_max).await?;
        }
        let wanted = (CHUNK_ROWS as u64).min(rows_max) as usize;
        let rows: Vec<Kept> = (0..wanted).map_while(|_| self.ordered.pop()).collect();
        let Some(last) = rows.last() else { return Ok(None) };
        self.after = Some(Position { time: last.time, key: self.pass.key(last.series).to_vec() });
        let mut keys = Keys::default();
        let series = rows.iter().map(|row| keys.position(row.series, self.pass.key(row.series))).collect();
        let places: Vec<RowAt> = rows.iter().map(|row| (row.chunk, row.row)).collect();
        let rows = gathered(&self.pass.chunks, &places);
        Ok(Some(ScanChunk::Rows {
            group: group.clone(),
            times: rows.times,
            columns: rows.columns,
            series,
            series_keys: keys.keys,
        }))
    }

    /// Walks all series, and leaves the rows that come next in order.
    async fn run<D: Disk>(
        &mut self,
        reading: &Reading<'_, D>,
        filter: Option<&TagFilter>,
        series_max: u64,
    ) -> Result<()> {
        let bytes_max = reading.budget.free() / BUDGET_SHARE;
        let mut stream = reading.sources.series(filter, Reads::Everything).await?;
        let mut number = 0u32;
        while let Some(found) = stream.next(reading.sources).await? {
            if series_max > 0 && u64::from(number) >= series_max {
                let wanted = u64::from(number) + 1;
                return Err(Error::Limit { name: "max-select-series", wanted, max: series_max });
            }
            self.series(reading, found, number, bytes_max).await?;
            number += 1;
        }
        self.is_more = self.pass.is_cut;
        self.ordered = Vec::with_capacity(self.pass.kept.len());
        while let Some(row) = self.pass.kept.pop() {
            self.ordered.push(row);
            if self.ordered.len().is_multiple_of(STEP_ROWS) {
                reading.sources.pace.spent(STEP_ROWS as u64 * ORDERED_NS).await;
            }
        }
        Ok(())
    }

    /// The rows of the series that may come next.
    async fn series<D: Disk>(
        &mut self,
        reading: &Reading<'_, D>,
        found: FoundSeries,
        number: u32,
        bytes_max: u64,
    ) -> Result<()> {
        reading.sources.pace.spent(WALKED_NS).await;
        let reading = Reading { time: self.time_left(reading, &found.key), ..*reading };
        if reading.time.is_empty() {
            return Ok(());
        }
        let Some(mut series) = SeriesRows::open(&reading, found, usize::MAX) else { return Ok(()) };
        while let Some(bound) = series.bound(&reading).await? {
            if self.pass.is_behind(bound, number) {
                break;
            }
            let Some(mut rows) = series.next(&reading, usize::MAX).await? else { break };
            let all = rows.len();
            let useful = rows
                .times
                .partition_point(|time| !self.pass.is_behind(directed(*time, reading.descending), number));
            rows.cut(0, useful);
            self.pass.add(&reading, number, &series.key, rows);
            self.pass.fit(reading.sources, reading.budget, bytes_max).await?;
            if useful < all {
                break;
            }
        }
        Ok(())
    }

    /// The part of the time in which rows of the series with this key come behind those handed out.
    fn time_left<D: Disk>(&self, reading: &Reading<'_, D>, key: &[u8]) -> TimeRange {
        let Some(after) = &self.after else { return reading.time };
        let time = directed(after.time, reading.descending);
        // Of equal times, the series behind in the order are still to come.
        let is_done = key <= after.key.as_slice();
        let TimeRange { start, end } = reading.time;
        match (reading.descending, is_done) {
            (false, false) => TimeRange::new(start.max(time), end),
            (false, true) => TimeRange::new(start.max(time.saturating_add(1)), end),
            (true, false) => TimeRange::new(start, end.min(time.saturating_add(1))),
            (true, true) => TimeRange::new(start, end.min(time)),
        }
    }

    /// Gives back what is held.
    pub fn finish<D: Disk>(mut self, reading: &Reading<'_, D>) {
        self.pass.drop_all(reading);
    }
}

impl Pass {
    /// Whether a row of the series is passed over: it comes behind what was passed over already.
    fn is_behind(&self, time: i64, series: u32) -> bool {
        self.is_cut && self.kept.peek().is_none_or(|last| (time, series) > (last.time, last.series))
    }

    fn key(&self, series: u32) -> &[u8] {
        let at = self.series.binary_search_by_key(&series, |(number, _, _)| *number);
        at.map_or(&[], |at| self.series[at].1.as_slice())
    }

    fn add<D: Disk>(&mut self, reading: &Reading<'_, D>, series: u32, key: &Rc<Vec<u8>>, rows: OutputRows) {
        if rows.is_empty() {
            return;
        }
        let added = rows.len() as u32;
        match self.series.last_mut() {
            Some((number, _, count)) if *number == series => *count += added,
            _ => {
                self.series.push((series, key.clone(), added));
                self.bytes += key.len() as u64 + KEY_BYTES;
            }
        }
        // Series of few rows share chunks.
        let is_joined = self.chunks.last().is_some_and(|last| last.len() + rows.len() <= CHUNK_ROWS);
        if !is_joined {
            self.chunks.push(Rc::default());
            self.bytes += CHUNK_BYTES;
        }
        let number = self.chunks.len() as u32 - 1;
        let Some(chunk) = self.chunks.last_mut() else { return };
        let first = chunk.len() as u32;
        self.kept.extend(rows.times.iter().enumerate().map(|(row, time)| Kept {
            time: directed(*time, reading.descending),
            series,
            chunk: number,
            row: first + row as u32,
        }));
        self.bytes += rows.bytes();
        if chunk.is_empty() {
            *chunk = Rc::new(rows);
        } else {
            let chunk = Rc::make_mut(chunk);
            chunk.times.extend_from_slice(&rows.times);
            chunk.columns.iter_mut().zip(&rows.columns).for_each(|(to, from)| to.append(from));
        }
    }

    fn bytes_wanted(&self) -> u64 {
        self.bytes + self.kept.len() as u64 * PLACE_BYTES
    }

    /// Counts what is kept; beyond `bytes_max`, or where the budget has no more, the later half is let go.
    async fn fit<D: Disk>(
        &mut self,
        sources: &Sources<D>,
        budget: &super::budget::Budget,
        bytes_max: u64,
    ) -> Result<()> {
        loop {
            let wanted = self.bytes_wanted();
            let fits = wanted <= bytes_max || self.kept.len() <= 1;
            match if fits { budget.change(&mut self.held, wanted) } else { Ok(()) } {
                Ok(()) if fits => return Ok(()),
                Err(error) if self.kept.len() <= 1 => return Err(error),
                _ => self.halve(sources).await,
            }
        }
    }

    async fn halve<D: Disk>(&mut self, sources: &Sources<D>) {
        let keep = self.kept.len().div_ceil(2).min(self.kept.len() - 1).max(1);
        while self.kept.len() > keep {
            let Some(row) = self.kept.pop() else { break };
            if let Ok(at) = self.series.binary_search_by_key(&row.series, |(number, _, _)| *number) {
                self.series[at].2 -= 1;
            }
            if self.kept.len().is_multiple_of(STEP_ROWS) {
                sources.pace.spent(STEP_ROWS as u64 * ORDERED_NS).await;
            }
        }
        self.is_cut = true;
        self.series.retain(|(_, _, count)| *count > 0);
        // What was let go of goes out of the chunks too.
        let mut kept = std::mem::take(&mut self.kept).into_vec();
        let mut chunks = Vec::with_capacity(kept.len().div_ceil(STEP_ROWS));
        for (number, part) in kept.chunks_mut(STEP_ROWS).enumerate() {
            let places: Vec<RowAt> = part.iter().map(|row| (row.chunk, row.row)).collect();
            chunks.push(Rc::new(gathered(&self.chunks, &places)));
            part.iter_mut().zip(0..).for_each(|(row, at)| (row.chunk, row.row) = (number as u32, at));
            sources.pace.spent(STEP_ROWS as u64 * ORDERED_NS).await;
        }
        self.kept = kept.into();
        self.chunks = chunks;
        let keys: u64 = self.series.iter().map(|(_, key, _)| key.len() as u64 + KEY_BYTES).sum();
        let rows: u64 = self.chunks.iter().map(|chunk| chunk.bytes() + CHUNK_BYTES).sum();
        self.bytes = keys + rows;
    }

    fn drop_all<D: Disk>(&mut self, reading: &Reading<'_, D>) {
        reading.budget.give_back(self.held);
        *self = Self::default();
    }
}
