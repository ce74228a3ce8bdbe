//! Reading the rows of a series: all of them, those within a span of time, or some and later more.

use super::scattered::{Place, Scattered};
use super::transposed::{ReusedRows, Transposed};
use super::{
    CHUNK_HEADER_BYTES, Cache, LONG, LONG_HEADER_BYTES, PAGE_BITS, PAGE_BYTES, RowList, le_u32, take,
};
use crate::index::active::{ActiveIndex, SeriesPosition, ShapePosition};
use crate::model::varint::unzigzag;
use crate::model::{Rows, TimeRange};
use crate::prefetch::prefetch;

/// Rows that room is made for when only a part of a series' rows is read.
const ROWS_OF_A_PART: usize = 256;

/// Rows read on between two looks at who else waits: some 50 µs of ten fields.
const ROWS_OF_A_STEP: usize = 1_000;

/// Rows found on, where they are out of order: some 50 µs.
const ROWS_FOUND_IN_A_STEP: usize = 5_000;

/// Nanoseconds, about, that finding one takes.
const FOUND_NS: u64 = 15;

/// Rows out of order that are read and ordered at once: half a millisecond of ten fields.
const ORDERED_AT_ONCE_MAX: usize = 2_048;

/// What is read of a series: rows within a span of time, of some fields (`None`: of all).
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    pub time: Option<TimeRange>,
    pub wanted: Option<&'a [Vec<u8>]>,
}

impl Part<'_> {
    pub const ALL: Part<'static> = Part { time: None, wanted: None };

    fn has(&self, time: i64) -> bool {
        self.time.is_none_or(|span| span.contains(time))
    }
}

/// How far reading a list has come. What is deleted meanwhile is still read.
#[derive(Debug, Clone, Copy)]
pub struct Walk {
    list: RowList,
    /// The next chunk, if there is one.
    address: Option<u32>,
    state: RowState,
    /// Of rows out of order: those found, and those of them that are not read yet.
    found: u32,
    unread: u32,
    ordering_ns: u64,
}

impl Walk {
    /// Whether all rows are read; they are in time order then, and merged.
    pub fn is_at_end(&self) -> bool {
        self.address.is_none() && self.unread == 0
    }

    /// Nanoseconds, about, that went by until rows out of order were found, and their order: before they were read.
    pub fn found_ns(&self) -> u64 {
        FOUND_NS * u64::from(self.found) + self.ordering_ns
    }
}

/// What a row's time is a difference to.
#[derive(Debug, Clone, Copy)]
struct RowState {
    time: i64,
    step: i64,
    starts_anew: bool,
}

/// What the head of a long chunk tells beyond its span.
pub(super) struct LongHead {
    pub before: u32,
    pub time_max_before: i64,
    /// Least and greatest timestamp, once it is full.
    pub span: Option<(i64, i64)>,
}

/// A chunk of a list, without its head.
struct Chunk<'a> {
    rows: &'a [u8],
    next: Option<u32>,
    is_long: bool,
    /// Least and greatest timestamp of a long one that is full.
    span: Option<(i64, i64)>,
}

impl Chunk<'_> {
    /// Whether it may hold rows within `time`.
    fn may_hold(&self, time: TimeRange) -> bool {
        self.span.is_none_or(|(min, max)| min < time.end && max >= time.start)
    }
}

impl Cache {
    /// The rows of a series in time order, merged; of the fields in `wanted` only (`None`: of all), and within `time`.
    /// `None` when there is none. Rows in which every wanted field is absent are left in.
    pub fn read(
        &self,
        index: &ActiveIndex,
        position: SeriesPosition,
        time: TimeRange,
        wanted: Option<&[Vec<u8>]>,
    ) -> Option<Rows> {
        let count = self.row_count(position);
        if count == 0 {
            return None;
        }
        let list = self.lists[position];
        let mut rows = Transposed::new(index.shapes(), wanted, self.room_for(count, time));
        // Most of what a row costs are its values.
        self.each_row(list, Some(time), |shape, timestamp, values| {
            if time.contains(timestamp) {
                rows.push(shape, timestamp, values);
            }
        });
        let mut rows = rows.finish();
        if list.is_out_of_order() {
            rows.bring_to_order();
        }
        (!rows.is_empty()).then_some(rows)
    }

    /// Rows that room is made for, of a list of so many.
    fn room_for(&self, count: usize, time: TimeRange) -> usize {
        let span = self.time_range();
        let is_all = time.start <= span.start && span.end <= time.end;
        if is_all { count } else { count.min(ROWS_OF_A_PART) }
    }

    /// Whether the rows of a series are out of order, and too many to be [`read`](Self::read) at once.
    pub fn is_long_to_order(&self, position: SeriesPosition) -> bool {
        let list = self.lists.get(position);
        list.is_some_and(|list| list.is_out_of_order() && list.rows() > ORDERED_AT_ONCE_MAX)
    }

    /// Asks for the list of a series.
    #[inline]
    pub fn prefetch_list(&self, position: SeriesPosition) {
        self.lists.prefetch(position);
    }

    /// Asks for the first and the last rows of a series, whose list was asked for before.
    #[inline]
    pub fn prefetch_rows(&self, position: SeriesPosition) {
        let Some(list) = self.lists.get(position) else { return };
        for address in [list.head, list.tail, list.tail + 64] {
            if let Some(page) = self.pages.get((address >> PAGE_BITS) as usize) {
                prefetch(page, address as usize & (PAGE_BYTES - 1));
            }
        }
    }

    /// Begins to read a part of the rows of a series, over those read before; `None` when it has no rows.
    pub fn begin_reading(
        &self,
        index: &ActiveIndex,
        position: SeriesPosition,
        part: Part<'_>,
        reused: &mut ReusedRows,
    ) -> Option<Walk> {
        let count = self.row_count(position);
        if count == 0 {
            return None;
        }
        reused.begin(part.time.map_or(count, |time| self.room_for(count, time)));
        let mut walk = self.walk(self.lists[position]);
        if walk.list.is_out_of_order() {
            reused.scattered.begin(count);
        }
        self.read_on(index, &mut walk, part, reused);
        Some(walk)
    }

    /// Reads on for a while.
    pub fn read_on(&self, index: &ActiveIndex, walk: &mut Walk, part: Part<'_>, reused: &mut ReusedRows) {
        if walk.list.is_out_of_order() {
            return self.read_scattered(index, walk, part, reused);
        }
        let mut rows = reused.go_on(index.shapes(), part.wanted);
        let until = rows.len() + ROWS_OF_A_STEP;
        while rows.len() < until
            && self.walk_chunk(walk, part.time, |shape, time, values| {
                if part.has(time) {
                    rows.push(shape, time, values);
                }
            })
        {}
        reused.take_back(rows);
    }

    /// The same for rows out of order: finds all of them and their order, then reads them. Moving what stands in columns
    /// would cost several times as much.
    fn read_scattered(&self, index: &ActiveIndex, walk: &mut Walk, part: Part<'_>, reused: &mut ReusedRows) {
        if walk.address.is_some() {
            let until = walk.found as usize + ROWS_FOUND_IN_A_STEP;
            while walk.address.is_some() && (walk.found as usize) < until {
                self.find_in_chunk(walk, part, &mut reused.scattered);
            }
            if walk.address.is_some() {
                return;
            }
            walk.unread = walk.found;
        }
        if !reused.scattered.is_in_order() {
            walk.ordering_ns += reused.scattered.order_on();
            if !reused.scattered.is_in_order() {
                return;
            }
        }
        let mut rows = reused.go_on(index.shapes(), part.wanted);
        let before = rows.len();
        let from = (walk.found - walk.unread) as usize;
        let step = (walk.unread as usize).min(ROWS_OF_A_STEP);
        for (time, place) in reused.scattered.part(from..from + step) {
            let values = &self.chunk(place.chunk)[place.start as usize..][..place.length as usize];
            rows.push(place.shape, time, values);
        }
        walk.unread -= step as u32;
        reused.take_back(rows);
        // The last row before may be of the time that goes on here.
        reused.rows.merge_from(before.saturating_sub(1));
    }

    /// Notes where the rows of the walk's next chunk lie.
    fn find_in_chunk(&self, walk: &mut Walk, part: Part<'_>, scattered: &mut Scattered) {
        let Some(address) = walk.address else { return };
        let chunk = self.chunk_of(&walk.list, address);
        walk.address = chunk.next;
        if chunk.is_long {
            walk.state = self.first_state();
        }
        let head = if chunk.is_long { LONG_HEADER_BYTES } else { CHUNK_HEADER_BYTES };
        let end = head + chunk.rows.len();
        let mut rows = chunk.rows;
        while !rows.is_empty() {
            let (shape, time, values) = next_row(&mut rows, &mut walk.state);
            if !part.has(time) {
                continue;
            }
            let start = (end - rows.len() - values.len()) as u32;
            scattered.push(time, Place { shape, chunk: address, start, length: values.len() as u32 });
            walk.found += 1;
        }
    }

    /// The rows of a list in order of arrival; some outside `time` (`None`: all are meant) may be left out.
    #[inline]
    pub(super) fn each_row<'a>(
        &'a self,
        list: RowList,
        time: Option<TimeRange>,
        mut row: impl FnMut(ShapePosition, i64, &'a [u8]),
    ) {
        let mut walk = self.walk(list);
        while self.walk_chunk(&mut walk, time, &mut row) {}
    }

    /// Reads a list from the walk's chunk to the one at `last`; some rows outside `time` may be left out.
    pub(super) fn walk_up_to<'a>(
        &'a self,
        mut walk: Walk,
        last: u32,
        time: TimeRange,
        mut row: impl FnMut(ShapePosition, i64, &'a [u8]),
    ) {
        loop {
            let at = walk.address;
            if !self.walk_chunk(&mut walk, Some(time), &mut row) || at == Some(last) {
                return;
            }
        }
    }

    /// What reads a long chunk of a list, with its head; `None` for a short one.
    pub(super) fn long_chunk(&self, list: RowList, address: u32) -> Option<(Walk, LongHead)> {
        let bytes = self.chunk(address);
        if le_u32(bytes, 4) & LONG == 0 {
            return None;
        }
        let walk = Walk { address: Some(address), ..self.walk(list) };
        let span = (address != list.tail).then(|| (le_i64(bytes, 24), le_i64(bytes, 32)));
        Some((walk, LongHead { before: le_u32(bytes, 8), time_max_before: le_i64(bytes, 16), span }))
    }

    /// Shape and values of the row that came last.
    pub(super) fn last_row(&self, list: &RowList) -> (ShapePosition, &[u8]) {
        let mut row = &self.chunk(list.tail)[list.last_row as usize..list.tail_used as usize];
        let (shape, _, values) = next_row(&mut row, &mut self.first_state());
        (shape, values)
    }

    /// The greatest timestamp of a list, the least there is of an empty one; `tail` is its [`tail_span`](Self::tail_span).
    pub(super) fn time_max_of(&self, list: &RowList, tail: Option<(i64, i64)>) -> i64 {
        if !list.is_out_of_order() {
            return if list.rows() == 0 { i64::MIN } else { list.last_time };
        }
        match (tail, self.long_chunk(*list, list.tail)) {
            (Some((_, max)), Some((_, head))) => max.max(head.time_max_before),
            _ => {
                let mut time_max = i64::MIN;
                self.each_row(*list, None, |_, time, _| time_max = time_max.max(time));
                time_max
            }
        }
    }

    pub(super) fn walk(&self, list: RowList) -> Walk {
        let address = (list.rows() > 0).then_some(list.head);
        Walk { list, address, state: self.first_state(), found: 0, unread: 0, ordering_ns: 0 }
    }

    fn first_state(&self) -> RowState {
        RowState { time: self.base_time, step: 0, starts_anew: true }
    }

    /// Reads one chunk of rows, unless none of them is within `time`; false at the end of the list.
    #[inline]
    pub(super) fn walk_chunk<'a>(
        &'a self,
        walk: &mut Walk,
        time: Option<TimeRange>,
        row: impl FnMut(ShapePosition, i64, &'a [u8]),
    ) -> bool {
        let Some(address) = walk.address else { return false };
        let chunk = self.chunk_of(&walk.list, address);
        walk.address = chunk.next;
        if chunk.is_long {
            walk.state = self.first_state();
        }
        if time.is_none_or(|time| chunk.may_hold(time)) {
            rows_of(chunk.rows, &mut walk.state, row);
        }
        true
    }

    fn chunk_of(&self, list: &RowList, address: u32) -> Chunk<'_> {
        let bytes = self.chunk(address);
        let used = le_u32(bytes, 4);
        let is_long = used & LONG != 0;
        let is_tail = address == list.tail;
        let end = if is_tail { list.tail_used } else { used & !LONG } as usize;
        let start = if is_long { LONG_HEADER_BYTES } else { CHUNK_HEADER_BYTES };
        Chunk {
            rows: &bytes[start..end],
            next: (!is_tail).then(|| le_u32(bytes, 0)),
            is_long,
            span: (is_long && !is_tail).then(|| (le_i64(bytes, 24), le_i64(bytes, 32))),
        }
    }

    /// The least and the greatest timestamp in the list's tail; `None` when it is no long chunk.
    pub(super) fn tail_span(&self, list: &RowList) -> Option<(i64, i64)> {
        if !list.has_long_tail() {
            return None;
        }
        let rows = self.chunk_of(list, list.tail).rows;
        let (mut min, mut max) = (i64::MAX, list.last_time);
        if list.is_out_of_order() {
            rows_of(rows, &mut self.first_state(), |_, time, _| {
                min = min.min(time);
                max = max.max(time);
            });
        } else {
            let mut rows = rows;
            min = next_row(&mut rows, &mut self.first_state()).1;
        }
        Some((min, max))
    }
}

#[inline]
fn rows_of<'a>(mut rows: &'a [u8], state: &mut RowState, mut row: impl FnMut(ShapePosition, i64, &'a [u8])) {
    while !rows.is_empty() {
        let (shape, time, values) = next_row(&mut rows, state);
        row(shape, time, values);
    }
}

#[inline]
fn next_row<'a>(rows: &mut &'a [u8], state: &mut RowState) -> (ShapePosition, i64, &'a [u8]) {
    let shape = take(rows) - 1;
    state.step = state.step.wrapping_add(unzigzag(take(rows)));
    state.time = state.time.wrapping_add(state.step);
    if state.starts_anew {
        state.step = 0;
        state.starts_anew = false;
    }
    let length = take(rows) as usize;
    let (values, rest) = rows.split_at(length);
    *rows = rest;
    (shape as ShapePosition, state.time, values)
}

fn le_i64(bytes: &[u8], at: usize) -> i64 {
    i64::from_le_bytes(bytes[at..at + 8].try_into().expect("BUG: eight bytes"))
}
