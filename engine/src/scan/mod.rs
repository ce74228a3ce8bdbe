//! The read path inside one core, step by step.
//!
//! [`Scan::start`] takes what it reads ([`ShardView`]s, consistent for its whole life) and a [`ScanRequest`];
//! [`Scan::next`] gives chunk after chunk. Dropping the scan ends it and gives its memory back.
//!
//! 1. [`source`]: the shards' files and caches as numbered sources; which series pass the tag filter, in key order.
//! 2. series are put into tag sets by the dimensions, tag sets into the order of the scan. Without dimensions there is one tag
//!    set, and its series are streamed, never listed.
//! 3. [`cursor`]: one series in time order out of all its sources, blocks read as late as possible.
//! 4. [`projection`], [`filter`]: the row filter, the columns asked for in the types asked for.
//! 5. rows: [`rows`] merges the series of a tag set by time, or keeps the first rows only;
//!    partials: [`fold`] folds them into [`partial`]s per [`window`], from block statistics where these suffice.
//!
//! Work gives way after a fraction of a millisecond ([`crate::compact::Pace`]). Memory is counted in [`budget`].
//!
//! The query layer uses [`merge_partials`] and [`filter::Program`] by itself.

pub mod budget;
pub mod catalog;
pub mod cursor;
pub mod filter;
pub mod fold;
pub mod gather;
pub mod partial;
pub mod projection;
pub mod request;
pub mod rows;
pub mod select;
pub mod source;
pub mod window;

pub use catalog::catalog;
pub use partial::merge_partials;

use std::collections::{BTreeMap, VecDeque};

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::model::series_key;
use crate::pool::Reservation;
use crate::shard::ShardView;

use budget::Budget;
use fold::Fold;
use projection::Projection;
use request::{PartialColumn, ScanChunk, ScanGroup, ScanOutput, ScanRequest};
use rows::{CHUNK_ROWS, Merge, Reading, TOP_ROWS_MAX, Top};
use source::{FoundSeries, SeriesStream, ShardSources, Sources};

/// Series of a listed tag set whose blocks are kept as they were found; those of the rest are looked up once more, so
/// that the index pages of a million series are not held at once.
const BLOCKS_KEPT_SERIES_MAX: u64 = 20_000;

/// A running scan of one core. See the module's head.
pub struct Scan<D: Disk> {
    sources: Sources<D>,
    request: ScanRequest,
    projection: Projection,
    budget: Budget,
    groups: Groups<D>,
    /// The tag set whose rows are being merged.
    merging: Option<(ScanGroup, Merge)>,
    ready: VecDeque<ScanChunk>,
    series_found: u64,
}

/// The tag sets still to come.
enum Groups<D: Disk> {
    Unresolved,
    /// One tag set, its series streamed.
    One(Option<SeriesStream<D>>),
    Many(VecDeque<(ScanGroup, Vec<FoundSeries>)>),
}

/// The series of one tag set.
enum Members<D: Disk> {
    Stream(SeriesStream<D>),
    List(VecDeque<FoundSeries>),
}

impl<D: Disk> Scan<D> {
    /// A scan over these shards; opens the files that overlap its time. `reservation` is the scan's part of the core's query pool, grown as
    /// it goes. Errors: `Error::Invalid` for a row filter that does not compile.
    pub async fn start(
        views: Vec<ShardView<D>>,
        request: ScanRequest,
        reservation: Option<Reservation>,
    ) -> Result<Self> {
        let shards = ShardSources::open_all(views, request.time).await?;
        Self::over(shards, request, reservation).await
    }

    /// As [`Scan::start`], over sources that are open already.
    pub async fn over(
        shards: Vec<ShardSources<D>>,
        request: ScanRequest,
        reservation: Option<Reservation>,
    ) -> Result<Self> {
        if let ScanOutput::Partials { calls, window } = &request.output {
            let is_bad = calls.iter().any(|call| call.column >= request.columns.len());
            if is_bad || window.is_some_and(|window| window.every <= 0) {
                return Err(Error::Invalid("a partial call without a column, or an empty window".to_owned()));
            }
        }
        Ok(Self {
            sources: Sources::open(shards, &request.measurement, request.time).await?,
            projection: Projection::new(&request)?,
            budget: Budget::new(request.budget_bytes, reservation),
            request,
            groups: Groups::Unresolved,
            merging: None,
            ready: VecDeque::new(),
            series_found: 0,
        })
    }

    /// The next chunk; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<ScanChunk>> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Ok(Some(chunk));
            }
            if let Some((group, mut merge)) = self.merging.take() {
                match merge.next(&self.reading(), &group).await? {
                    Some(chunk) => {
                        self.merging = Some((group, merge));
                        return Ok(Some(chunk));
                    }
                    None => merge.finish(&self.budget),
                }
            }
            let Some((group, members)) = self.next_group().await? else { return Ok(None) };
            match &self.request.output {
                ScanOutput::Partials { .. } => self.fold(group, members).await?,
                ScanOutput::Rows { limit, ahead: false } if (1..=TOP_ROWS_MAX).contains(limit) => {
                    self.top(group, members, *limit).await?;
                }
                ScanOutput::Rows { limit, ahead } => {
                    let (limit, ahead) = (*limit, *ahead);
                    let found = self.listed(members).await?;
                    let merge = Merge::new(&self.reading(), found, limit, ahead).await?;
                    self.merging = Some((group, merge));
                }
            }
        }
    }

    fn reading(&self) -> Reading<'_, D> {
        Reading {
            sources: &self.sources,
            projection: &self.projection,
            time: self.request.time,
            descending: self.request.descending,
            budget: &self.budget,
        }
    }

    async fn next_group(&mut self) -> Result<Option<(ScanGroup, Members<D>)>> {
        if let Groups::Unresolved = self.groups {
            self.groups = self.resolve().await?;
        }
        Ok(match &mut self.groups {
            Groups::Unresolved => None,
            Groups::One(stream) => {
                stream.take().map(|stream| (ScanGroup { values: Vec::new() }, Members::Stream(stream)))
            }
            Groups::Many(groups) => {
                let next = groups.pop_front();
                next.map(|(group, list)| (group, Members::List(list.into())))
            }
        })
    }

    async fn resolve(&mut self) -> Result<Groups<D>> {
        if self.request.time.is_empty() {
            return Ok(Groups::One(None));
        }
        let series = self.request.series.as_ref();
        let mut stream = self.sources.series(series).await?;
        if self.request.dimensions.is_empty() {
            return Ok(Groups::One(Some(stream)));
        }
        let mut groups: BTreeMap<Vec<Vec<u8>>, Vec<FoundSeries>> = BTreeMap::new();
        while let Some(mut found) = stream.next(&self.sources).await? {
            self.count_series()?;
            if self.series_found > BLOCKS_KEPT_SERIES_MAX {
                found.forget_blocks();
            }
            let values: Vec<Vec<u8>> = self
                .request
                .dimensions
                .iter()
                .map(|name| series_key::tag_value(&found.key, name).unwrap_or_default().into_owned())
                .collect();
            let text: usize = values.iter().map(|value| value.len() + 24).sum();
            self.budget.take((text + found.bytes()) as u64)?;
            self.sources.pace.spent(500).await;
            groups.entry(values).or_default().push(found);
        }
        let groups = groups.into_iter().map(|(values, list)| (ScanGroup { values }, list));
        Ok(Groups::Many(if self.request.descending { groups.rev().collect() } else { groups.collect() }))
    }

    fn count_series(&mut self) -> Result<()> {
        self.series_found += 1;
        let max = self.request.series_max;
        if max > 0 && self.series_found > max {
            return Err(Error::Limit { name: "max-select-series", wanted: self.series_found, max });
        }
        Ok(())
    }

    async fn next_member(&mut self, members: &mut Members<D>) -> Result<Option<FoundSeries>> {
        match members {
            Members::List(list) => Ok(list.pop_front()),
            Members::Stream(stream) => {
                let found = stream.next(&self.sources).await?;
                if found.is_some() {
                    self.count_series()?;
                }
                Ok(found)
            }
        }
    }

    /// All series of a tag set at once.
    async fn listed(&mut self, mut members: Members<D>) -> Result<Vec<FoundSeries>> {
        if let Members::List(list) = members {
            return Ok(list.into());
        }
        let mut found = Vec::new();
        while let Some(mut series) = self.next_member(&mut members).await? {
            if self.series_found > BLOCKS_KEPT_SERIES_MAX {
                series.forget_blocks();
            }
            self.budget.take(series.bytes() as u64)?;
            found.push(series);
        }
        Ok(found)
    }

    async fn top(&mut self, group: ScanGroup, mut members: Members<D>, limit: u64) -> Result<()> {
        let mut top = Top::new(limit);
        while let Some(found) = self.next_member(&mut members).await? {
            top.series(&self.reading(), found).await?;
        }
        self.ready.extend(top.finish(&self.budget, &group));
        Ok(())
    }

    async fn fold(&mut self, group: ScanGroup, mut members: Members<D>) -> Result<()> {
        let ScanOutput::Partials { window, calls } = self.request.output.clone() else { return Ok(()) };
        let descending = self.request.descending;
        let mut state = None;
        while let Some(found) = self.next_member(&mut members).await? {
            let fold = self.folding(&calls, window);
            let state = state.get_or_insert_with(|| fold.state());
            fold.series(state, &found).await?;
        }
        let Some(state) = state else { return Ok(()) };
        let (windows, partials) = self.folding(&calls, window).finish(state, descending);
        for start in (0..windows.len()).step_by(CHUNK_ROWS) {
            let end = (start + CHUNK_ROWS).min(windows.len());
            self.ready.push_back(ScanChunk::Partials {
                group: group.clone(),
                windows: windows[start..end].to_vec(),
                partials: partials.iter().map(|partial| part_of(partial, start, end)).collect(),
            });
        }
        Ok(())
    }

    fn folding<'a>(
        &'a self,
        calls: &'a [request::PartialCall],
        window: Option<crate::model::Window>,
    ) -> Fold<'a, D> {
        Fold {
            sources: &self.sources,
            projection: &self.projection,
            calls,
            window,
            time: self.request.time,
            budget: &self.budget,
        }
    }

    /// Bytes held now.
    pub fn held_bytes(&self) -> u64 {
        self.budget.held()
    }

    /// The most bytes held at once so far.
    pub fn peak_bytes(&self) -> u64 {
        self.budget.peak()
    }
}

fn part_of(partial: &PartialColumn, start: usize, end: usize) -> PartialColumn {
    let times = partial.times.get(start..end).unwrap_or_default().to_vec();
    PartialColumn { values: partial.values.slice(start, end), times, tied: partial.tied }
}

#[cfg(all(test, feature = "sim"))]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests;
