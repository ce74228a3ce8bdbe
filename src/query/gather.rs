//! The rows of a subquery that groups by more tags than the query around it, brought together to the outer series.
//!
//! InfluxDB hands them over window by window, and within a window by the inner tags. Its fills then walk that sequence
//! and begin anew whenever the tags change, so that windows come repeatedly: `min()` of such a subquery with `fill(0)`
//! sees all those zeros, and so it does here. Rows of a subquery without calls come in the order of time.
//!
//! One per running subquery; it holds one outer series.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::ops::Range;
use std::rc::Rc;

use tidemark_engine::model::{Column, Value};

use crate::influxql::ast::Fill;

use super::condition::MIN_TIME;
use super::control::Control;
use super::error::{QueryError, Result};
use super::exec::project;
use super::fill::{between, fill_value_or_zero};
use super::plan::{CallNode, Plan};
use super::rows::{self, RowBatch, SeriesId};

/// Rows between two looks at whether to give way.
const STEP_ROWS: usize = 1024;
/// Nanoseconds, about, that a cell takes.
const CELL_NS: u64 = 20;
/// Nanoseconds, about, that a row takes to be put in order among those of other series.
const ORDERED_NS: u64 = 60;

/// Rows of one inner series: the calls' values, then what is carried along with them.
struct Part {
    series: Rc<SeriesId>,
    times: Vec<i64>,
    columns: Vec<Column>,
}

impl Part {
    fn bytes(&self) -> u64 {
        self.times.len() as u64 * 8 + self.columns.iter().map(rows::column_bytes).sum::<u64>()
    }
}

/// The rows of an outer series, so far.
#[derive(Default)]
pub struct Gathered {
    parts: Vec<Part>,
    bytes: u64,
}

/// A row of the sequence: one that is there, or one a fill has made.
#[derive(Debug, Clone)]
enum Slot {
    Row { part: usize, row: usize },
    Filled { part: usize, time: i64, value: Option<Value> },
}

impl Slot {
    fn part(&self) -> usize {
        match self {
            Self::Row { part, .. } | Self::Filled { part, .. } => *part,
        }
    }
}

impl Gathered {
    /// Whether the series belongs to the outer series gathered so far.
    pub fn continues(&self, plan: &Plan, series: &SeriesId) -> bool {
        self.parts.first().is_none_or(|first| {
            let outer = ..plan.outer_dimensions;
            first.series.name == series.name && first.series.tags[outer] == series.tags[outer]
        })
    }

    /// Takes rows; the bytes they take.
    pub fn push(&mut self, series: &Rc<SeriesId>, times: Vec<i64>, columns: Vec<Column>) -> u64 {
        if times.is_empty() {
            return 0;
        }
        let part = Part { series: series.clone(), times, columns };
        let bytes = part.bytes();
        self.bytes += bytes;
        self.parts.push(part);
        bytes
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The outer series' rows, as the query around reads them. `rows_max`: most rows a fill may make.
    pub async fn finish(self, plan: &Plan, rows_max: u64, control: &Control) -> Result<Option<RowBatch>> {
        let Some(first) = self.parts.first() else { return Ok(None) };
        let series = Rc::new(SeriesId {
            name: first.series.name.clone(),
            tags: first.series.tags[..plan.outer_dimensions].to_vec(),
        });
        let mut sequence = self.sequence(plan, control).await?;
        if !plan.calls.is_empty() {
            if let Some(fill) = pending_fill(plan) {
                sequence = self.filled(&sequence, plan, fill, rows_max, control).await?;
            }
            sequence = self.paged(sequence, plan);
        }
        let (times, columns) = self.rows(&sequence, control).await?;
        if times.is_empty() {
            return Ok(None);
        }
        let tag = |dimension: usize, row: usize| {
            let tags = &self.parts[sequence[row].part()].series.tags;
            tags.get(dimension).map_or(&[][..], Vec::as_slice)
        };
        let columns = project(plan, &tag, &times, columns);
        Ok(Some(RowBatch { series, times, columns }))
    }

    /// OFFSET and LIMIT count anew whenever the inner tags change.
    fn paged(&self, sequence: Vec<Slot>, plan: &Plan) -> Vec<Slot> {
        if plan.offset == 0 && plan.limit == 0 {
            return sequence;
        }
        let mut kept = Vec::new();
        let mut at = 0;
        while at < sequence.len() {
            let part = sequence[at].part();
            let end = at + sequence[at..].iter().take_while(|slot| self.is_same(slot.part(), part)).count();
            kept.extend_from_slice(&sequence[at..end][page(plan, end - at)]);
            at = end;
        }
        kept
    }

    fn is_same(&self, a: usize, b: usize) -> bool {
        a == b || self.parts[a].series == self.parts[b].series
    }

    /// Bytes the order of the rows takes while it is made, beside the rows.
    pub fn ordering_bytes(&self) -> u64 {
        let rows: u64 = self.parts.iter().map(|part| part.times.len() as u64).sum();
        rows * (size_of::<Slot>() + size_of::<(i64, usize)>()) as u64
    }

    /// All rows: by window (or by time, where rows are not of windows), then by inner tags in ascending order.
    async fn sequence(&self, plan: &Plan, control: &Control) -> Result<Vec<Slot>> {
        let by_time = match plan.calls.first().map(|call| &call.node) {
            Some(CallNode::Reduce { windows, .. }) => windows.interval.is_some(),
            _ => true,
        };
        // Least first, whichever way time goes.
        let key = |time: i64| {
            let window = match (by_time, plan.windows.interval) {
                (false, _) => 0,
                (true, None) => time,
                (true, Some(_)) => plan.windows.start_of(time),
            };
            if plan.ascending { window } else { !window }
        };
        let ranks = self.ranks(plan);
        let mut parts: Vec<Vec<(i64, usize)>> = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let mut keyed: Vec<(i64, usize)> = Vec::with_capacity(part.times.len());
            let mut is_ordered = true;
            for times in part.times.chunks(STEP_ROWS) {
                let before = keyed.len();
                keyed.extend(times.iter().enumerate().map(|(row, time)| (key(*time), before + row)));
                is_ordered &= keyed[before.saturating_sub(1)..].is_sorted();
                control.spent(times.len() as u64 * CELL_NS).await?;
            }
            // They are in order but for calls that give times of their own, which are few.
            if !is_ordered {
                keyed.sort_unstable();
            }
            parts.push(keyed);
        }
        let mut sequence = Vec::with_capacity(parts.iter().map(Vec::len).sum());
        let mut heads: BinaryHeap<Reverse<(i64, usize, usize, usize)>> = parts
            .iter()
            .enumerate()
            .filter_map(|(at, keyed)| Some(Reverse((keyed.first()?.0, ranks[at], at, 0))))
            .collect();
        while let Some(mut head) = heads.peek_mut() {
            let Reverse((_, rank, part, next)) = *head;
            sequence.push(Slot::Row { part, row: parts[part][next].1 });
            match parts[part].get(next + 1) {
                Some((key, _)) => *head = Reverse((*key, rank, part, next + 1)),
                None => _ = PeekMut::pop(head),
            }
            if sequence.len().is_multiple_of(STEP_ROWS) {
                control.spent(STEP_ROWS as u64 * ORDERED_NS).await?;
            }
        }
        Ok(sequence)
    }

    /// Per part, where its tags stand among those of all parts. Rows that are not folded keep the order of their series.
    fn ranks(&self, plan: &Plan) -> Vec<usize> {
        if plan.calls.is_empty() {
            return vec![0; self.parts.len()];
        }
        let all: BTreeSet<&[Vec<u8>]> = self.parts.iter().map(|part| &part.series.tags[..]).collect();
        let ranks: HashMap<&[Vec<u8>], usize> = all.into_iter().zip(0..).collect();
        self.parts.iter().map(|part| ranks.get(&part.series.tags[..]).copied().unwrap_or(0)).collect()
    }

    /// The sequence with windows made by a fill; see the head of the module.
    async fn filled(
        &self,
        sequence: &[Slot],
        plan: &Plan,
        fill: Fill,
        rows_max: u64,
        control: &Control,
    ) -> Result<Vec<Slot>> {
        let (windows, ascending) = (&plan.windows, plan.ascending);
        let Some(every) = windows.interval.map(|interval| interval.every) else {
            return Ok(sequence.to_vec());
        };
        let (from, to) = if ascending { (windows.start, windows.end) } else { (windows.end, windows.start) };
        let (begin, end) = (windows.start_of(from), windows.start_of(to));
        let row_of = |slot: &Slot| match slot {
            Slot::Row { part, row } => (*part, self.parts[*part].times[*row], *row),
            Slot::Filled { part, time, .. } => (*part, *time, 0),
        };
        let begin_at = |time: i64| if begin == MIN_TIME { windows.start_of(time) } else { begin };
        let mut out = Vec::with_capacity(sequence.len());
        let Some(first) = sequence.first().map(row_of) else { return Ok(out) };
        let field_type = self.parts[first.0].columns[0].field_type();
        let (mut part, mut expected) = (first.0, begin_at(first.1));
        let mut offset = windows.zone_offset(expected);
        let mut previous: Option<(i64, Option<Value>)> = None;
        let mut at = 0;
        let mut steps = 0;
        loop {
            steps += 1;
            if steps % STEP_ROWS == 0 {
                control.spent((STEP_ROWS as u64) * CELL_NS).await?;
            }
            let next = sequence.get(at).map(row_of);
            let mut here = next.filter(|next| self.is_same(next.0, part));
            if here.is_none() {
                let is_inside = if ascending { expected <= end } else { expected >= end && end != MIN_TIME };
                if !is_inside {
                    let Some(next) = next else { break };
                    (part, expected, previous) = (next.0, begin_at(next.1), None);
                    offset = windows.zone_offset(expected);
                    here = Some(next);
                }
            }
            match here {
                Some((held, time, row)) if if ascending { time <= expected } else { time >= expected } => {
                    out.push(Slot::Row { part: held, row });
                    previous = Some((time, self.parts[held].columns[0].get(row)));
                    at += 1;
                }
                _ => {
                    if out.len() as u64 >= rows_max {
                        return Err(QueryError::BucketsMax { wanted: out.len() as u64 + 1, max: rows_max });
                    }
                    let value = match fill {
                        Fill::Null | Fill::None => None,
                        Fill::Integer(_) | Fill::Number(_) => fill_value_or_zero(fill, field_type),
                        Fill::Previous => previous.as_ref().and_then(|(_, value)| value.clone()),
                        Fill::Linear => match (&previous, here) {
                            (Some((before, Some(left))), Some((held, after, row))) => {
                                self.parts[held].columns[0].get(row).and_then(|right| {
                                    between(expected / every, (before / every, left), (after / every, &right))
                                })
                            }
                            _ => None,
                        },
                    };
                    out.push(Slot::Filled { part, time: expected, value });
                }
            }
            windows.step(&mut expected, &mut offset, ascending);
        }
        Ok(out)
    }

    /// The sequence as columns.
    async fn rows(&self, sequence: &[Slot], control: &Control) -> Result<(Vec<i64>, Vec<Column>)> {
        let mut columns: Vec<Column> =
            self.parts[0].columns.iter().map(|column| Column::empty(column.field_type())).collect();
        for part in &self.parts {
            for (to, from) in columns.iter_mut().zip(&part.columns) {
                // A column without values has no type of its own.
                if to.field_type() != from.field_type() && from.present.as_ref().is_none_or(|p| p.count() > 0)
                {
                    *to = Column::empty(from.field_type());
                }
            }
        }
        let mut times = Vec::with_capacity(sequence.len());
        for slot in sequence {
            if times.len() % STEP_ROWS == STEP_ROWS - 1 {
                control.spent((STEP_ROWS * (columns.len() + 1)) as u64 * CELL_NS).await?;
            }
            match slot {
                Slot::Row { part, row } => {
                    times.push(self.parts[*part].times[*row]);
                    for (to, from) in columns.iter_mut().zip(&self.parts[*part].columns) {
                        rows::append(to, from, *row..*row + 1);
                    }
                }
                Slot::Filled { time, value, .. } => {
                    times.push(*time);
                    for (at, to) in columns.iter_mut().enumerate() {
                        to.push(value.as_ref().filter(|_| at == 0));
                    }
                }
            }
        }
        Ok((times, columns))
    }
}

/// The fill that has to wait until the inner series are together: that of a plan's only call.
pub fn pending_fill(plan: &Plan) -> Option<Fill> {
    match plan.calls.as_slice() {
        [call] if plan.is_gathered() => match &call.node {
            CallNode::Reduce { fill, .. } => *fill,
            _ => None,
        },
        _ => None,
    }
}

/// The rows OFFSET and LIMIT leave of so many.
pub fn page(plan: &Plan, length: usize) -> Range<usize> {
    let length = length as u64;
    let skip = plan.offset.min(length);
    let keep = if plan.limit == 0 { length - skip } else { plan.limit.min(length - skip) };
    skip as usize..(skip + keep) as usize
}
