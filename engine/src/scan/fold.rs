//! Folding the series of one tag set into partials per window.
//!
//! Per series the pieces of its cursor in time order. A block that nobody overlaps and that lies inside one window is
//! answered from its statistics as far as they go; what is left of it decodes only the columns that are still needed.
//! Two ways of reading less:
//! * the block with a window's least or greatest value is not read until it is known that no later block of the series
//!   has a better one;
//! * `first` and `last` without windows walk from that end and stop as soon as every call has its value, or cannot get a
//!   better one than the tag set's other series gave.

use std::collections::HashSet;

use super::budget::Budget;
use super::cursor::{Cursor, Piece, Unread};
use super::partial::PartialTable;
use super::projection::{Output, Projection, SeriesProjection, converted};
use super::request::{PartialCall, PartialKind};
use super::source::{ColumnFacts, FoundSeries, Sources};
use super::window::start_of_both;
use crate::disk::Disk;
use crate::error::Result;
use crate::model::{Rows, TimeRange, Value, Window, kernel};

/// What all series of a scan are folded by.
pub struct Fold<'a, D: Disk> {
    pub sources: &'a Sources<D>,
    pub projection: &'a Projection,
    pub calls: &'a [PartialCall],
    pub window: Option<Window>,
    pub time: TimeRange,
    pub budget: &'a Budget,
}

/// The table of one tag set and what it holds of the budget.
pub struct FoldState {
    pub table: PartialTable,
    held: u64,
}

/// A block that may have a window's extreme value, not yet read.
struct Candidate {
    slot: usize,
    value: Value,
    unread: std::rc::Rc<Unread>,
}

/// How a call fares with a block's statistics.
enum Answer {
    /// The statistics said it all.
    Done,
    /// As [`Answer::Done`], and the call now has a value of this series.
    Found,
    /// The block may have an extreme value.
    Extreme(Value),
    /// The column must be read.
    Read,
}

/// Nanoseconds, about, that folding a value takes: what is told to the pace.
const FOLD_UNITS: u64 = 2;
/// Units of a call, however few rows it is given.
const FOLD_CALL_UNITS: u64 = 100;
/// Units of a call that is answered from what is known of a block.
const ANSWER_UNITS: u64 = 60;

impl<D: Disk> Fold<'_, D> {
    pub fn state(&self) -> FoldState {
        let table = PartialTable::new(self.window, self.time.start, self.calls, &self.projection.types());
        FoldState { table, held: 0 }
    }

    /// Folds one series in.
    pub async fn series(&self, state: &mut FoldState, found: &FoundSeries) -> Result<()> {
        let Some(series) = self.projection.for_series(&found.key) else { return Ok(()) };
        let is_end = |kind: PartialKind| matches!(kind, PartialKind::First | PartialKind::Last);
        if self.window.is_none() && self.calls.iter().all(|call| is_end(call.kind)) {
            for kind in [PartialKind::First, PartialKind::Last] {
                if self.calls.iter().any(|call| call.kind == kind) {
                    self.end(state, found, &series, kind).await?;
                }
            }
        } else {
            self.whole(state, found, &series).await?;
        }
        let bytes = state.table.bytes() as u64;
        self.budget.change(&mut state.held, bytes)
    }

    /// Gives the budget back what the tag set held.
    pub fn finish(
        &self,
        state: FoldState,
        descending: bool,
    ) -> (Vec<i64>, Vec<super::request::PartialColumn>) {
        self.budget.give_back(state.held);
        state.table.finish(descending)
    }

    /// All pieces of a series, ascending.
    async fn whole(
        &self,
        state: &mut FoldState,
        found: &FoundSeries,
        series: &SeriesProjection,
    ) -> Result<()> {
        let mut cursor =
            Cursor::new(self.sources, found.occurrences.iter().cloned(), self.time, false, usize::MAX);
        let mut candidates: Vec<Option<Candidate>> = self.calls.iter().map(|_| None).collect();
        let all: Vec<usize> = (0..self.calls.len()).collect();
        while let Some(piece) = cursor.next(self.sources, &found.key, &self.projection.wanted).await? {
            match piece {
                Piece::Rows(rows) => {
                    self.rows(state, series, rows).await;
                }
                Piece::Unread(unread) => {
                    self.unread(state, series, &cursor, unread, &all, &mut candidates, &mut []).await?;
                }
            }
            let bytes = state.table.bytes() as u64;
            self.budget.change(&mut state.held, bytes)?;
        }
        for (call, candidate) in candidates.into_iter().enumerate() {
            if let Some(candidate) = candidate {
                self.read_candidate(state, &cursor, call, candidate).await?;
            }
        }
        Ok(())
    }

    /// The calls of one kind, first or last, without windows: from that end, until all are found.
    async fn end(
        &self,
        state: &mut FoldState,
        found: &FoundSeries,
        series: &SeriesProjection,
        kind: PartialKind,
    ) -> Result<()> {
        let mut cursor = Cursor::new(
            self.sources,
            found.occurrences.iter().cloned(),
            self.time,
            kind == PartialKind::Last,
            1,
        );
        let mut is_found: Vec<bool> = self.calls.iter().map(|call| call.kind != kind).collect();
        let mut candidates: Vec<Option<Candidate>> = self.calls.iter().map(|_| None).collect();
        let slot = state.table.slot(self.time.start);
        loop {
            let Some(bound) = cursor.bound(self.sources, &found.key, &self.projection.wanted).await? else {
                break;
            };
            for (call, is_found) in is_found.iter_mut().enumerate() {
                *is_found |= !state.table.could_win_at(slot, call, bound, bound);
            }
            let missing: Vec<usize> = (0..self.calls.len()).filter(|call| !is_found[*call]).collect();
            if missing.is_empty() {
                break;
            }
            match cursor.next(self.sources, &found.key, &self.projection.wanted).await? {
                None => break,
                Some(Piece::Rows(rows)) => {
                    let there = self.rows(state, series, rows).await;
                    is_found.iter_mut().zip(there).for_each(|(found, there)| *found |= there);
                }
                Some(Piece::Unread(unread)) => {
                    self.unread(state, series, &cursor, unread, &missing, &mut candidates, &mut is_found)
                        .await?;
                }
            }
        }
        Ok(())
    }

    /// Folds read rows; says which calls they had a value for.
    async fn rows(&self, state: &mut FoldState, series: &SeriesProjection, rows: Rows) -> Vec<bool> {
        let rows = self.projection.project(series, rows);
        state.table.fold_rows(&rows.times, &rows.columns);
        self.sources
            .pace
            .spent(300 + (FOLD_CALL_UNITS + FOLD_UNITS * rows.len() as u64) * self.calls.len() as u64)
            .await;
        self.calls
            .iter()
            .map(|call| {
                let column = &rows.columns[call.column];
                kernel::first_present(column.present.as_ref(), 0..column.len()).is_some()
            })
            .collect()
    }

    /// Folds a block for the given calls. `is_found` is told of calls that got a value; it may be empty.
    async fn unread(
        &self,
        state: &mut FoldState,
        series: &SeriesProjection,
        cursor: &Cursor,
        unread: Unread,
        calls: &[usize],
        candidates: &mut [Option<Candidate>],
        is_found: &mut [bool],
    ) -> Result<()> {
        if let Some(filter) = series.filter() {
            let bounds = |at: usize| {
                self.projection.filter_field(at).and_then(|name| self.sources.bounds(&unread.block, name))
            };
            if !filter.may_pass(&bounds) {
                return Ok(());
            }
        }
        let block = &unread.block;
        let start = start_of_both(self.window, self.time.start, block.time_min, block.time_max);
        let Some(start) = start.filter(|_| series.filter().is_none() && unread.is_whole) else {
            let rows = cursor.read(self.sources, &unread, &self.projection.wanted).await?;
            let there = self.rows(state, series, rows).await;
            is_found.iter_mut().zip(there).for_each(|(found, there)| *found |= there);
            return Ok(());
        };
        let slot = state.table.slot(start);
        let mut read = Vec::new();
        let mut extremes = Vec::new();
        for call in calls.iter().copied() {
            self.sources.pace.spent(ANSWER_UNITS).await;
            match self.answer(state, slot, call, &unread) {
                Answer::Done => {}
                Answer::Found => {
                    if let Some(found) = is_found.get_mut(call) {
                        *found = true;
                    }
                }
                Answer::Extreme(value) => extremes.push((call, value)),
                Answer::Read => read.push(call),
            }
        }
        if !read.is_empty() {
            // The columns are read anyway: an extreme value of the same column comes along.
            let columns: HashSet<_> = read.iter().map(|call| self.calls[*call].column).collect();
            extremes.retain(|(call, _)| {
                let is_along = columns.contains(&self.calls[*call].column);
                if is_along {
                    read.push(*call);
                }
                !is_along
            });
            let there = self.read_calls(state, cursor, slot, &read, &unread).await?;
            for (call, there) in read.iter().zip(there) {
                if let Some(found) = is_found.get_mut(*call) {
                    *found |= there;
                }
            }
        }
        if extremes.is_empty() {
            return Ok(());
        }
        let unread = std::rc::Rc::new(unread);
        for (call, value) in extremes {
            let kind = self.calls[call].kind;
            match &candidates[call] {
                Some(held) if held.slot == slot && !is_better(kind, &value, &held.value) => continue,
                Some(held) if held.slot != slot => {
                    if let Some(held) = candidates[call].take() {
                        self.read_candidate(state, cursor, call, held).await?;
                    }
                }
                _ => {}
            }
            candidates[call] = Some(Candidate { slot, value, unread: unread.clone() });
        }
        Ok(())
    }

    async fn read_candidate(
        &self,
        state: &mut FoldState,
        cursor: &Cursor,
        call: usize,
        candidate: Candidate,
    ) -> Result<()> {
        let block = &candidate.unread.block;
        if state.table.could_win(candidate.slot, call, &candidate.value, block.time_min, block.time_max) {
            self.read_calls(state, cursor, candidate.slot, &[call], &candidate.unread).await?;
        }
        Ok(())
    }

    /// Reads the columns of some calls of a block that lies in one window, and folds them; says which had a value.
    async fn read_calls(
        &self,
        state: &mut FoldState,
        cursor: &Cursor,
        slot: usize,
        calls: &[usize],
        unread: &Unread,
    ) -> Result<Vec<bool>> {
        let mut wanted: Vec<Vec<u8>> = Vec::new();
        let mut is_wanted = HashSet::new();
        for call in calls {
            if let Output::Field { wanted: at, .. } = &self.projection.outputs[self.calls[*call].column]
                && is_wanted.insert(*at)
            {
                wanted.push(self.projection.wanted[*at].clone());
            }
        }
        let rows = cursor.read(self.sources, unread, &wanted).await?;
        let finder = rows.finder();
        let mut there = Vec::with_capacity(calls.len());
        for call in calls {
            self.sources.pace.spent(FOLD_CALL_UNITS + FOLD_UNITS * rows.len() as u64).await;
            let Output::Field { wanted, as_type, cast } = &self.projection.outputs[self.calls[*call].column]
            else {
                there.push(false);
                continue;
            };
            let name = &self.projection.wanted[*wanted];
            let stored = finder.position(name).map(|at| &rows.columns[at]);
            let column = stored.and_then(|column| {
                if column.field_type() == *as_type {
                    Some(std::borrow::Cow::Borrowed(column))
                } else {
                    converted(column.clone(), *as_type, *cast).map(std::borrow::Cow::Owned)
                }
            });
            there.push(column.is_some_and(|column| {
                state.table.fold_call(slot, *call, &rows.times, &column);
                kernel::first_present(column.present.as_ref(), 0..column.len()).is_some()
            }));
        }
        Ok(there)
    }

    /// Answers a call from what is known of a block inside one window.
    fn answer(&self, state: &mut FoldState, slot: usize, call: usize, unread: &Unread) -> Answer {
        let PartialCall { column, kind } = self.calls[call];
        let Output::Field { wanted, as_type, cast } = &self.projection.outputs[column] else {
            return Answer::Done;
        };
        let block = &unread.block;
        let facts = match self.sources.facts(block, &self.projection.wanted[*wanted]) {
            None => return Answer::Read,
            Some(None) => return Answer::Done,
            Some(Some(facts)) => facts,
        };
        if facts.count == 0 {
            return Answer::Done;
        }
        if facts.field_type != *as_type {
            let none = crate::model::Column::empty(facts.field_type);
            return match converted(none, *as_type, *cast) {
                None => Answer::Done,
                Some(_) if kind == PartialKind::Count => {
                    state.table.add_count(slot, call, facts.count as u64);
                    Answer::Found
                }
                Some(_) => Answer::Read,
            };
        }
        let ColumnFacts { count, min, max, sum, first, last, .. } = facts;
        let (earliest, latest) = (block.time_min, block.time_max);
        let is_full = count == block.rows;
        match kind {
            PartialKind::Count => {
                state.table.add_count(slot, call, count as u64);
                Answer::Found
            }
            PartialKind::Sum => match sum {
                Some(sum) => {
                    state.table.add_sum(slot, call, &sum);
                    Answer::Found
                }
                None => Answer::Read,
            },
            PartialKind::Min | PartialKind::Max => {
                let value = if kind == PartialKind::Min { min } else { max };
                match value {
                    None => Answer::Read,
                    Some(value) if state.table.could_win(slot, call, &value, earliest, latest) => {
                        Answer::Extreme(value)
                    }
                    Some(_) => Answer::Done,
                }
            }
            PartialKind::First | PartialKind::Last => {
                let (value, time) =
                    if kind == PartialKind::First { (first, earliest) } else { (last, latest) };
                if !state.table.could_win_at(slot, call, earliest, latest) {
                    return Answer::Done;
                }
                match value {
                    Some(value) if is_full => {
                        state.table.offer(slot, call, time, &value);
                        Answer::Found
                    }
                    _ => Answer::Read,
                }
            }
        }
    }
}

/// Whether a later block's extreme takes the place of one held: on equal values the earlier stays.
fn is_better(kind: PartialKind, new: &Value, held: &Value) -> bool {
    use std::cmp::Ordering;
    let order = match (new, held) {
        (Value::Float(new), Value::Float(held)) => new.partial_cmp(held),
        (Value::Integer(new), Value::Integer(held)) => Some(new.cmp(held)),
        (Value::Unsigned(new), Value::Unsigned(held)) => Some(new.cmp(held)),
        (Value::Boolean(new), Value::Boolean(held)) => Some(new.cmp(held)),
        _ => None,
    };
    order == Some(if kind == PartialKind::Min { Ordering::Less } else { Ordering::Greater })
}
