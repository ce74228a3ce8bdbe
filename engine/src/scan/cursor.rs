//! One series, any set of its columns, in time order: the blocks of several files overlaid by later files and by the
//! cache, what is deleted taken out.
//!
//! Each occurrence of the series in a source (a file, or a shard's cache) is a lane: blocks in time order that do not
//! overlap each other. [`Cursor::next`] looks at the lane whose next row comes first:
//! 1. when its block ends before every other lane begins and no tombstone touches it, it is handed over UNREAD: the
//!    taker may answer from its statistics, read only some columns, or skip it;
//! 2. else the lanes it overlaps are read and merged up to the time at which the first of them ends.
//!
//! A lane's blocks are listed from the file's index only when the cursor comes near the file's time range. The order of
//! lanes is the order of age: of equal times the later lane's field wins.
//!
//! Descending cursors give the last piece first; rows within a piece ascend always.

use std::collections::VecDeque;

use super::source::{Block, Found, Occurrence, Sources};
use crate::compact::ordering::in_order;
use crate::disk::Disk;
use crate::error::Result;
use crate::model::{Rows, TimeRange};

/// A piece of a series.
pub enum Piece {
    /// A block that no other source and no tombstone overlaps; read it with [`Cursor::read`].
    Unread(Unread),
    /// Rows within the time range, none of them deleted; never empty.
    Rows(Rows),
}

/// See [`Piece::Unread`].
pub struct Unread {
    pub occurrence: Occurrence,
    pub block: Block,
    /// All its rows lie within the cursor's time range.
    pub is_whole: bool,
}

/// See the module's head. One per series of a scan; holds at most one read block per lane.
pub struct Cursor {
    lanes: Vec<Lane>,
    time: TimeRange,
    descending: bool,
    /// Rows that are wanted, as far as that is known.
    rows_wanted: usize,
}

struct Lane {
    found: Found,
    /// No row lies outside; narrower once the blocks are listed.
    span: TimeRange,
    blocks: Option<VecDeque<Block>>,
    /// Where blocks lie that were left out when these were listed; they are listed when these are done with.
    older: Option<TimeRange>,
    is_listed_before: bool,
    /// What is left of the block read last.
    head: Option<Rows>,
    /// Deleted in this lane's source.
    removed: Vec<TimeRange>,
}

/// The order of a cursor: times as they are, or turned round.
#[inline]
fn directed(time: i64, descending: bool) -> i64 {
    if descending { !time } else { time }
}

impl Lane {
    /// Directed times of the first and last row that may come next; `None` at the end.
    fn extent(&self, time: TimeRange, descending: bool) -> Option<(i64, i64)> {
        let (first, last) = if let Some(rows) = &self.head {
            (*rows.times.first()?, *rows.times.last()?)
        } else if let Some(blocks) = &self.blocks {
            let block = blocks.front()?;
            (block.time_min.max(time.start), block.time_max.min(time.end - 1))
        } else {
            (self.span.start.max(time.start), (self.span.end - 1).min(time.end - 1))
        };
        Some(if descending { (!last, !first) } else { (first, last) })
    }
}

impl Cursor {
    /// Occurrences outside `time` are left out. `rows_wanted`: that many rows may be all that is read.
    pub fn new<D: Disk>(
        sources: &Sources<D>,
        occurrences: impl IntoIterator<Item = Found>,
        time: TimeRange,
        descending: bool,
        rows_wanted: usize,
    ) -> Self {
        let lanes = occurrences
            .into_iter()
            .map(|found| (sources.span(found.occurrence), found))
            .filter(|(span, _)| span.overlaps(&time))
            .map(|(span, found)| Lane {
                found,
                span,
                blocks: None,
                older: None,
                is_listed_before: false,
                head: None,
                removed: Vec::new(),
            })
            .collect();
        Self { lanes, time, descending, rows_wanted }
    }

    /// The time before which (after which, when descending) no further row lies; `None` at the end.
    pub async fn bound<D: Disk>(
        &mut self,
        sources: &Sources<D>,
        key: &[u8],
        wanted: &[Vec<u8>],
    ) -> Result<Option<i64>> {
        loop {
            let Some((lane, near, _)) = self.nearest() else { return Ok(None) };
            if self.lanes[lane].blocks.is_some() {
                return Ok(Some(directed(near, self.descending)));
            }
            self.list(lane, sources, key, wanted).await?;
        }
    }

    /// The next piece; `None` at the end.
    pub async fn next<D: Disk>(
        &mut self,
        sources: &Sources<D>,
        key: &[u8],
        wanted: &[Vec<u8>],
    ) -> Result<Option<Piece>> {
        loop {
            let Some((lane, _, far)) = self.nearest() else { return Ok(None) };
            let beside: Vec<usize> = (0..self.lanes.len())
                .filter(|other| {
                    let extent = self.lanes[*other].extent(self.time, self.descending);
                    *other != lane && extent.is_some_and(|(near, _)| near <= far)
                })
                .collect();
            if let Some(unlisted) =
                beside.iter().chain([&lane]).copied().find(|at| self.lanes[*at].blocks.is_none())
            {
                self.list(unlisted, sources, key, wanted).await?;
                continue;
            }
            if beside.is_empty() {
                if let Some(piece) = self.take_alone(lane, sources, wanted).await? {
                    return Ok(Some(piece));
                }
                continue;
            }
            if self.rows_wanted == 1
                && let Some(row) = self.take_first_row(lane, &beside, sources, wanted)
            {
                return Ok(Some(Piece::Rows(row)));
            }
            let mut merging = beside;
            merging.push(lane);
            merging.sort_unstable();
            let mut is_all_read = true;
            for at in &merging {
                is_all_read &= self.lanes[*at].head.is_some();
                self.read_head(*at, sources, wanted).await?;
            }
            // Reading may have shown that tombstones or the time range leave less: look again before merging.
            if is_all_read {
                let merged = in_order(self.take_up_to_horizon(&merging), &sources.pace).await;
                return Ok(Some(Piece::Rows(merged)));
            }
        }
    }

    /// Reads an unread block, as far as it lies within the time range.
    pub async fn read<D: Disk>(
        &self,
        sources: &Sources<D>,
        unread: &Unread,
        wanted: &[Vec<u8>],
    ) -> Result<Rows> {
        let mut rows = sources.read(&unread.block, wanted).await?;
        if !unread.is_whole {
            rows.cut_to(self.time);
        }
        Ok(rows)
    }

    /// Puts a block back that [`next`](Self::next) gave, its rows up to `resume` (in the cursor's direction) done with:
    /// what comes next is the rest of it.
    pub fn put_back(&mut self, unread: Unread, resume: i64) {
        self.go_past(resume);
        let lane = self.lanes.iter_mut().find(|lane| lane.found.occurrence == unread.occurrence);
        if let Some(blocks) = lane.and_then(|lane| lane.blocks.as_mut()) {
            blocks.push_front(unread.block);
        }
    }

    /// The lane whose next row may come first, with its directed extent.
    fn nearest(&mut self) -> Option<(usize, i64, i64)> {
        let (time, descending) = (self.time, self.descending);
        for lane in &mut self.lanes {
            // What `put_back` narrowed away ends the lane's front.
            while lane.head.is_none()
                && let Some(blocks) = &mut lane.blocks
                && blocks
                    .front()
                    .is_some_and(|block| block.time_max < time.start || block.time_min >= time.end)
            {
                blocks.pop_front();
            }
            if lane.head.is_none()
                && lane.blocks.as_ref().is_some_and(VecDeque::is_empty)
                && let Some(older) = lane.older.take()
            {
                (lane.span, lane.blocks) = (older, None);
            }
        }
        self.lanes
            .iter()
            .enumerate()
            .filter_map(|(at, lane)| lane.extent(time, descending).map(|(near, far)| (at, near, far)))
            .min_by_key(|(_, near, _)| *near)
    }

    async fn list<D: Disk>(
        &mut self,
        lane: usize,
        sources: &Sources<D>,
        key: &[u8],
        wanted: &[Vec<u8>],
    ) -> Result<()> {
        let Lane { found, span, is_listed_before, .. } = &self.lanes[lane];
        // When the newest were not enough, all others may be wanted.
        let newest = (self.descending && !is_listed_before).then_some(self.rows_wanted);
        let time = TimeRange::new(self.time.start.max(span.start), self.time.end.min(span.end));
        let listed = sources.list(found, key, wanted, time, newest).await?;
        let mut blocks = VecDeque::from(listed.blocks);
        if self.descending {
            blocks.make_contiguous().reverse();
        }
        let lane = &mut self.lanes[lane];
        if listed.older.is_none() {
            lane.found.blocks = None;
        }
        (lane.blocks, lane.older, lane.is_listed_before) = (Some(blocks), listed.older, true);
        lane.removed = listed.removed;
        Ok(())
    }

    async fn take_alone<D: Disk>(
        &mut self,
        at: usize,
        sources: &Sources<D>,
        wanted: &[Vec<u8>],
    ) -> Result<Option<Piece>> {
        let time = self.time;
        let lane = &mut self.lanes[at];
        if lane.head.is_none()
            && let Some(block) = lane.blocks.as_mut().and_then(VecDeque::pop_front)
        {
            let span = TimeRange::new(block.time_min, block.time_max.saturating_add(1));
            if !lane.removed.iter().any(|removed| removed.overlaps(&span)) {
                let is_whole = time.start <= span.start && span.end <= time.end;
                let block = match block.rows {
                    1 if is_whole => match block.into_rows() {
                        Ok(rows) => return Ok(Some(Piece::Rows(rows))),
                        Err(block) => block,
                    },
                    _ => block,
                };
                return Ok(Some(Piece::Unread(Unread {
                    occurrence: lane.found.occurrence,
                    block,
                    is_whole,
                })));
            }
            if let Some(blocks) = &mut lane.blocks {
                blocks.push_front(block);
            }
        }
        self.read_head(at, sources, wanted).await?;
        Ok(self.lanes[at].head.take().map(Piece::Rows))
    }

    /// The first row of a lane's block by itself, where it is known without reading the block and the first row of every
    /// lane beside comes later.
    fn take_first_row<D: Disk>(
        &mut self,
        at: usize,
        beside: &[usize],
        sources: &Sources<D>,
        wanted: &[Vec<u8>],
    ) -> Option<Rows> {
        let near = |at: usize| self.lanes[at].extent(self.time, self.descending).map(|extent| extent.0);
        let first = near(at)?;
        if beside.iter().any(|other| near(*other).is_none_or(|near| near <= first)) {
            return None;
        }
        let (lane, time) = (&self.lanes[at], directed(first, self.descending));
        let block = lane.blocks.as_ref().filter(|_| lane.head.is_none())?.front()?;
        let is_edge = time == if self.descending { block.time_max } else { block.time_min };
        if !is_edge || lane.removed.iter().any(|removed| removed.contains(time)) {
            return None;
        }
        let row = sources.edge(block, wanted, self.descending)?;
        self.go_past(time);
        Some(row)
    }

    /// Rows up to this time, in the direction, are done with.
    fn go_past(&mut self, time: i64) {
        if self.descending {
            self.time.end = time;
        } else {
            self.time.start = time.saturating_add(1);
        }
    }

    /// Reads the lane's next block into its head, unless there is one; the head stays empty when no row is left of it.
    async fn read_head<D: Disk>(
        &mut self,
        at: usize,
        sources: &Sources<D>,
        wanted: &[Vec<u8>],
    ) -> Result<()> {
        let lane = &mut self.lanes[at];
        if lane.head.is_some() {
            return Ok(());
        }
        let Some(block) = lane.blocks.as_mut().and_then(VecDeque::pop_front) else { return Ok(()) };
        let mut rows = sources.read(&block, wanted).await?;
        rows.cut_to(self.time);
        let lane = &mut self.lanes[at];
        for removed in &lane.removed {
            rows.remove(*removed);
        }
        lane.head = (!rows.is_empty()).then_some(rows);
        Ok(())
    }

    /// Takes the rows of the heads of these lanes up to where the first of them ends, lane after lane. All overlap the
    /// nearest.
    fn take_up_to_horizon(&mut self, lanes: &[usize]) -> Rows {
        let descending = self.descending;
        let horizon = lanes
            .iter()
            .filter_map(|at| self.lanes[*at].extent(self.time, descending).map(|(_, far)| far))
            .min()
            .expect("BUG: lanes to merge have rows");
        let mut merged: Option<Rows> = None;
        for at in lanes {
            let lane = &mut self.lanes[*at];
            let Some(rows) = lane.head.take() else { continue };
            let (done, left) = split(rows, directed(horizon, descending), descending);
            lane.head = (!left.is_empty()).then_some(left);
            if done.is_empty() {
                continue;
            }
            match &mut merged {
                None => merged = Some(done),
                Some(merged) => merged.append(&done),
            }
        }
        merged.expect("BUG: the nearest lane has rows before the horizon")
    }
}

/// Rows up to and with `horizon` in the direction, and the rest.
fn split(rows: Rows, horizon: i64, descending: bool) -> (Rows, Rows) {
    let (low, high) = if descending {
        let at = rows.times.partition_point(|time| *time < horizon);
        cut(rows, at)
    } else {
        let at = rows.times.partition_point(|time| *time <= horizon);
        cut(rows, at)
    };
    if descending { (high, low) } else { (low, high) }
}

fn cut(rows: Rows, at: usize) -> (Rows, Rows) {
    let length = rows.len();
    if at == 0 {
        return (Rows::default(), rows);
    }
    if at == length {
        return (rows, Rows::default());
    }
    let part = |start: usize, end: usize| Rows {
        times: rows.times[start..end].to_vec(),
        fields: rows.fields.clone(),
        columns: rows.columns.iter().map(|column| column.slice(start, end)).collect(),
    };
    (part(0, at), part(at, length))
}
