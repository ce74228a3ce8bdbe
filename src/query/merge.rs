//! Joins what the cores answer: rows by group, time and series; partials by group and window; catalogues by name.
//!
//! Every core gives its chunks in order, so one chunk per core is held at a time.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::rc::Rc;

use tidemark_engine::model::Column;
use tidemark_engine::pace::Pace;
use tidemark_engine::pace::sorted::union;
use tidemark_engine::scan::gather::{RowAt, gather};
use tidemark_engine::scan::partial::merge_partials;
use tidemark_engine::scan::request::{
    CatalogReply, MeasurementSchema, PartialColumn, PartialKind, ScanChunk, ScanCost, ScanGroup,
};

use super::error::Result;
use super::rows;
use super::source::ChunkStream;
use super::ties::{Step, TieOrder, Ties};

/// Merged chunks of one scan. One per scan of a query.
pub struct MergedScan<S> {
    heads: Vec<Head<S>>,
    descending: bool,
    kinds: Vec<PartialKind>,
    /// The start of a single window, whatever part of its range a stream is of.
    whole: Option<i64>,
    /// Rows come ahead, and those of equal times are to be ordered.
    tie_order: Option<TieOrder>,
    /// The tag set whose rows are being so merged.
    ties: Option<(ScanGroup, Ties)>,
}

struct Head<S> {
    stream: S,
    /// The tag sets to be handed on, by their first values; `None`: all.
    only: Option<Rc<BTreeSet<Vec<Vec<u8>>>>>,
    chunk: Option<ScanChunk>,
    /// Rows of the chunk already taken.
    at: usize,
    ended: bool,
}

/// A merged piece.
#[derive(Debug)]
pub enum Merged {
    Rows { group: ScanGroup, times: Vec<i64>, columns: Vec<Column> },
    Partials { group: ScanGroup, windows: Vec<i64>, partials: Vec<PartialColumn> },
}

impl<S: ChunkStream> Head<S> {
    async fn fill(&mut self, descending: bool) -> Result<()> {
        while self.chunk.is_none() && !self.ended {
            match self.stream.next().await? {
                None => self.ended = true,
                Some(chunk) => {
                    let (group, empty) = match &chunk {
                        ScanChunk::Rows { group, times, .. } => (group, times.is_empty()),
                        ScanChunk::Partials { group, windows, .. } => (group, windows.is_empty()),
                    };
                    if !empty && self.only.as_ref().is_none_or(|only| is_among(only, group)) {
                        self.chunk = Some(if descending { ties_reversed(chunk) } else { chunk });
                        self.at = 0;
                    }
                }
            }
        }
        Ok(())
    }

    fn group(&self) -> Option<&ScanGroup> {
        self.chunk.as_ref().map(|chunk| match chunk {
            ScanChunk::Rows { group, .. } | ScanChunk::Partials { group, .. } => group,
        })
    }

    /// Times and columns of a chunk of rows; nothing of any other.
    fn times(&self) -> &[i64] {
        match &self.chunk {
            Some(ScanChunk::Rows { times, .. }) => times,
            _ => &[],
        }
    }

    fn columns(&self) -> &[Column] {
        match &self.chunk {
            Some(ScanChunk::Rows { columns, .. }) => columns,
            _ => &[],
        }
    }
}

impl<S: ChunkStream> MergedScan<S> {
    /// `kinds`: those of the request's partial calls.
    pub fn new(streams: Vec<S>, descending: bool, kinds: Vec<PartialKind>) -> Self {
        let head = |stream| Head { stream, only: None, chunk: None, at: 0, ended: false };
        Self {
            heads: streams.into_iter().map(head).collect(),
            descending,
            kinds,
            whole: None,
            tie_order: None,
            ties: None,
        }
    }

    /// Streams of parts of a range, each to be restricted to some tag sets. `whole`: the start of the range, where it is
    /// one window.
    pub fn limited(
        streams: Vec<(S, Rc<BTreeSet<Vec<Vec<u8>>>>)>,
        descending: bool,
        kinds: Vec<PartialKind>,
        whole: Option<i64>,
    ) -> Self {
        let head = |(stream, only)| Head { stream, only: Some(only), chunk: None, at: 0, ended: false };
        Self {
            heads: streams.into_iter().map(head).collect(),
            descending,
            kinds,
            whole,
            tie_order: None,
            ties: None,
        }
    }

    /// For streams of rows ahead.
    pub fn with_ties(mut self, order: TieOrder) -> Self {
        self.tie_order = Some(order);
        self
    }

    /// The most memory the scans held, all cores together, as far as they have ended.
    pub fn peak_bytes(&self) -> u64 {
        self.heads.iter().map(|head| head.stream.peak_bytes()).sum()
    }

    /// The next piece; groups in order, each group's rows in order.
    pub async fn next(&mut self) -> Result<Option<Merged>> {
        if self.ties.is_some()
            && let Some(rows) = self.tied_rows().await?
        {
            return Ok(Some(rows));
        }
        // Those ahead are not in order of time, and need no other.
        let reverses_ties = self.descending && self.tie_order.is_none();
        for head in &mut self.heads {
            head.fill(reverses_ties).await?;
        }
        let mut least: Option<&ScanGroup> = None;
        for head in &self.heads {
            if let Some(group) = head.group()
                && least.is_none_or(|least| {
                    group.cmp(least) == if self.descending { Ordering::Greater } else { Ordering::Less }
                })
            {
                least = Some(group);
            }
        }
        let Some(group) = least.cloned() else { return Ok(None) };
        if let Some(order) = &self.tie_order {
            self.ties = Some((group, Ties::new(order.clone(), self.heads.len())));
            return self.tied_rows().await;
        }
        let mut holders = Vec::new();
        for (at, head) in self.heads.iter().enumerate() {
            if head.group() == Some(&group) {
                holders.push(at);
            }
        }
        match self.heads[holders[0]].chunk {
            Some(ScanChunk::Partials { .. }) => self.partials(group, &holders).await.map(Some),
            _ => Ok(Some(self.rows(group, &holders))),
        }
    }

    /// Rows of the tag set at hand; `None` at its end.
    async fn tied_rows(&mut self) -> Result<Option<Merged>> {
        let Some((group, ties)) = &mut self.ties else { return Ok(None) };
        while let Step::Chunk(stream) = ties.step() {
            let head = &mut self.heads[stream];
            head.fill(false).await?;
            if head.group() == Some(&*group)
                && let Some(chunk) = head.chunk.take()
            {
                ties.take(stream, chunk);
            } else {
                ties.end(stream);
            }
        }
        match ties.rows() {
            Some((times, columns)) => Ok(Some(Merged::Rows { group: group.clone(), times, columns })),
            None => {
                let Some((group, ties)) = self.ties.take() else { return Ok(None) };
                // Of an edge, what the cores sent beyond it is of no use.
                for head in self.heads.iter_mut().filter(|_| ties.is_edge()) {
                    while head.group() == Some(&group) {
                        head.chunk = None;
                        head.fill(false).await?;
                    }
                }
                Ok(None)
            }
        }
    }

    /// All partials of a group: every core's, to the last chunk.
    async fn partials(&mut self, group: ScanGroup, holders: &[usize]) -> Result<Merged> {
        let mut parts: Vec<(Vec<i64>, Vec<PartialColumn>)> = Vec::new();
        for &holder in holders {
            let head = &mut self.heads[holder];
            while head.group() == Some(&group) {
                if let Some(ScanChunk::Partials { mut windows, partials, .. }) = head.chunk.take() {
                    if let Some(start) = self.whole {
                        windows.fill(start);
                    }
                    parts.push((windows, partials));
                }
                head.fill(self.descending).await?;
            }
        }
        if parts.len() == 1
            && let Some((windows, partials)) = parts.pop()
        {
            return Ok(Merged::Partials { group, windows, partials });
        }
        let parts: Vec<(&[i64], &[PartialColumn])> =
            parts.iter().map(|(windows, partials)| (windows.as_slice(), partials.as_slice())).collect();
        let (windows, partials) = merge_partials(&self.kinds, self.descending, &parts, &Pace::new()).await;
        Ok(Merged::Partials { group, windows, partials })
    }

    /// Rows of a group up to where the first core's chunk ends.
    fn rows(&mut self, group: ScanGroup, holders: &[usize]) -> Merged {
        if let [holder] = holders {
            let head = &mut self.heads[*holder];
            let at = head.at;
            if let Some(ScanChunk::Rows { mut times, mut columns, .. }) = head.chunk.take() {
                if at > 0 {
                    columns = columns.iter().map(|column| rows::slice(column, at..times.len())).collect();
                    times.drain(..at);
                }
                return Merged::Rows { group, times, columns };
            }
            return Merged::Rows { group, times: Vec::new(), columns: Vec::new() };
        }
        let descending = self.descending;
        // The order first, then every column in one go.
        let mut order: Vec<RowAt> = Vec::new();
        let mut at: Vec<usize> = self.heads.iter().map(|head| head.at).collect();
        loop {
            // The head whose row is first, and the second one, up to which the first may run on.
            let mut first: Option<usize> = None;
            let mut second: Option<usize> = None;
            for &holder in holders {
                let before = |other: usize| {
                    precedes(&self.heads, (holder, at[holder]), (other, at[other]), descending)
                };
                if first.is_none_or(before) {
                    second = first;
                    first = Some(holder);
                } else if second.is_none_or(before) {
                    second = Some(holder);
                }
            }
            let Some(first) = first else { break };
            let times = self.heads[first].times();
            let mut end = at[first] + 1;
            if let Some(second) = second {
                let limit = self.heads[second].times()[at[second]];
                while end < times.len() && (if descending { times[end] > limit } else { times[end] < limit })
                {
                    end += 1;
                }
            }
            order.extend((at[first]..end).map(|row| (first as u32, row as u32)));
            at[first] = end;
            if end >= times.len() {
                // What follows in this core's stream may come before the others' rows.
                break;
            }
        }
        let times =
            order.iter().map(|(head, row)| self.heads[*head as usize].times()[*row as usize]).collect();
        let chunks: Vec<&[Column]> = self.heads.iter().map(Head::columns).collect();
        let columns = gather(&chunks, &order);
        for (head, at) in self.heads.iter_mut().zip(at) {
            head.at = at;
            if head.at >= head.times().len() {
                head.chunk = None;
            }
        }
        Merged::Rows { group, times, columns }
    }
}

/// Whether a group's first values are one of the tag sets.
fn is_among(only: &BTreeSet<Vec<Vec<u8>>>, group: &ScanGroup) -> bool {
    only.first().is_some_and(|any| only.contains(&group.values[..any.len().min(group.values.len())]))
}

/// Cores send rows of one time in order of their series; walking backwards they are to come in reverse order of it.
fn ties_reversed(chunk: ScanChunk) -> ScanChunk {
    let ScanChunk::Rows { group, times, columns, series, series_keys } = chunk else { return chunk };
    if !times.windows(2).any(|pair| pair[0] == pair[1]) {
        return ScanChunk::Rows { group, times, columns, series, series_keys };
    }
    let mut order: Vec<usize> = (0..times.len()).collect();
    let mut at = 0;
    while at < times.len() {
        let end = at + times[at..].iter().take_while(|time| **time == times[at]).count();
        order[at..end].reverse();
        at = end;
    }
    let columns = columns.iter().map(|column| rows::take(column, &order)).collect();
    let series = order.iter().filter_map(|row| series.get(*row).copied()).collect();
    ScanChunk::Rows { group, times, columns, series, series_keys }
}

/// Whether row `a` (of which head, which row) comes before `b`: by time, then by series key; both backwards when
/// descending.
fn precedes<S>(heads: &[Head<S>], a: (usize, usize), b: (usize, usize), descending: bool) -> bool {
    let (
        Some(ScanChunk::Rows { times, series, series_keys, .. }),
        Some(ScanChunk::Rows { times: b_times, series: b_series, series_keys: b_keys, .. }),
    ) = (&heads[a.0].chunk, &heads[b.0].chunk)
    else {
        return false;
    };
    let by_time = times[a.1].cmp(&b_times[b.1]);
    let order =
        by_time.then_with(|| series_keys.get(series[a.1] as usize).cmp(&b_keys.get(b_series[b.1] as usize)));
    if descending { order.is_gt() } else { order.is_lt() }
}

/// One catalogue from those of all cores (of one place). Series are merged without duplicates.
pub async fn merge_catalogs(replies: Vec<CatalogReply>, pace: &Pace) -> Option<CatalogReply> {
    let mut replies = replies.into_iter();
    let mut merged = replies.next()?;
    for reply in replies {
        match (&mut merged, reply) {
            (CatalogReply::Measurements(into), CatalogReply::Measurements(from)) => {
                *into = union(std::mem::take(into), from, pace).await;
            }
            (CatalogReply::Series(into), CatalogReply::Series(from)) => {
                *into = union(std::mem::take(into), from, pace).await;
            }
            (CatalogReply::TagValues(into), CatalogReply::TagValues(from)) => {
                *into = union(std::mem::take(into), from, pace).await;
            }
            (CatalogReply::Schema(into), CatalogReply::Schema(from)) => merge_schemas(into, from),
            (CatalogReply::Cost(into), CatalogReply::Cost(from)) => add_costs(into, &from),
            _ => debug_assert!(false, "cores answered different questions"),
        }
    }
    Some(merged)
}

/// Joins schemas by measurement: all fields with all their types, all tag keys.
pub fn merge_schemas(into: &mut Vec<MeasurementSchema>, from: Vec<MeasurementSchema>) {
    for schema in from {
        match into.binary_search_by(|held| held.measurement.cmp(&schema.measurement)) {
            Ok(at) => {
                let held = &mut into[at];
                held.fields.extend(schema.fields);
                held.fields.sort_unstable();
                held.fields.dedup();
                held.tag_keys.extend(schema.tag_keys);
                held.tag_keys.sort_unstable();
                held.tag_keys.dedup();
            }
            Err(at) => into.insert(at, schema),
        }
    }
}

fn add_costs(into: &mut ScanCost, from: &ScanCost) {
    into.shards += from.shards;
    into.series += from.series;
    into.cached_values += from.cached_values;
    into.files += from.files;
    into.blocks += from.blocks;
    into.block_bytes += from.block_bytes;
}
