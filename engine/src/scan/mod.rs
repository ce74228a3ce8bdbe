//! The read path inside one core, step by step.
//!
//! [`Scan::start`] takes what it reads ([`ShardView`]s, consistent for its whole life) and a [`ScanRequest`];
//! [`Scan::next`] gives chunk after chunk. Dropping the scan ends it and gives its memory back.
//!
//! 1. [`source`]: the shards' files and caches as numbered sources; which series pass the tag filter, in key order.
//! 2. [`tag_sets`]: series are put into tag sets by the dimensions, tag sets into the order of the scan.
//! 3. [`cursor`]: one series in time order out of all its sources, blocks read as late as possible.
//! 4. [`projection`], [`filter`]: the row filter, the columns asked for in the types asked for.
//! 5. rows: [`rows`] merges the series of a tag set by time, or keeps the first rows only;
//!    partials: [`fold`] folds them into [`partial`]s per [`window`], from block statistics where these suffice.
//!
//! Work gives way after a fraction of a millisecond ([`crate::pace::Pace`]). Memory is counted in [`budget`].
//!
//! The query layer uses [`merge_partials`] and [`filter::Program`] by itself.

pub mod budget;
pub mod catalog;
pub mod cursor;
pub mod filter;
pub mod fold;
pub mod gather;
pub mod in_order;
pub mod partial;
pub mod passes;
pub mod projection;
pub mod request;
pub mod rows;
pub mod select;
pub mod source;
pub mod tag_sets;
pub mod window;

pub use catalog::catalog;
pub use partial::merge_partials;

use std::collections::VecDeque;

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::pool::Reservation;
use crate::shard::ShardView;

use budget::Budget;
use fold::Fold;
use in_order::InOrder;
use projection::Projection;
use request::{PartialColumn, ScanChunk, ScanGroup, ScanOutput, ScanRequest};
use rows::{CHUNK_ROWS, Merge, Reading, TOP_ROWS_MAX, Top};
use source::{FoundSeries, ShardSources, Sources};
use tag_sets::{BlockKeeping, Members, TagSets};

/// Nanoseconds, about, that it takes to get ready for a column or a call: there may be thousands of them.
const COLUMN_NS: u64 = 200;

/// A running scan of one core. See the module's head.
pub struct Scan<D: Disk> {
    sources: Sources<D>,
    request: ScanRequest,
    projection: Projection,
    budget: Budget,
    groups: TagSets<D>,
    /// Bytes that the series of the tag set at hand count for.
    group_held: u64,
    /// The tag set whose rows are being handed out.
    merging: Option<InOrder>,
    ready: VecDeque<ScanChunk>,
    series_found: u64,
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
        let sources = Sources::open(shards, &request.measurement, request.time).await?;
        sources.pace.spent(COLUMN_NS * request.columns.len() as u64).await;
        Ok(Self {
            sources,
            projection: Projection::new(&request)?,
            budget: Budget::new(request.budget_bytes, reservation),
            request,
            groups: TagSets::Unresolved,
            group_held: 0,
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
            if let Some(mut merging) = self.merging.take() {
                match merging.next(&self.reading()).await {
                    Ok(Some(chunk)) => {
                        self.merging = Some(merging);
                        return Ok(Some(chunk));
                    }
                    Ok(None) => merging.finish(&self.reading()),
                    Err(Error::Budget { .. }) if merging.has_another_way() => {
                        let passes = merging.in_passes(&self.reading());
                        self.forget_group();
                        self.merging = Some(passes);
                        continue;
                    }
                    Err(error) => return Err(error),
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
                    let merge = match self.merge(members, limit, ahead).await {
                        Ok(merge) => Some(merge),
                        Err(Error::Budget { .. }) if !ahead => {
                            self.forget_group();
                            None
                        }
                        Err(error) => return Err(error),
                    };
                    self.merging = Some(self.in_order(group, merge, limit));
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
        self.forget_group();
        let next = self.groups.next(&self.sources, &self.request, &self.budget).await?;
        Ok(next.map(|(group, members, held)| {
            self.group_held = held;
            (group, members)
        }))
    }

    /// Gives back what the series of the tag set at hand count for.
    fn forget_group(&mut self) {
        self.budget.give_back(std::mem::take(&mut self.group_held));
    }

    async fn next_member(&mut self, members: &mut Members<D>) -> Result<Option<FoundSeries>> {
        match members {
            Members::List(list) => Ok(list.pop_front()),
            Members::Stream { stream, counts } => {
                let found = stream.next(&self.sources).await?;
                if found.is_some() && *counts {
                    self.series_found += 1;
                    tag_sets::check_series(self.series_found, self.request.series_max)?;
                }
                Ok(found)
            }
        }
    }

    /// All series of a tag set at once.
    async fn merge(&mut self, mut members: Members<D>, limit: u64, ahead: bool) -> Result<Merge> {
        let found = match members {
            Members::List(list) => list.into(),
            Members::Stream { .. } => {
                let (mut found, mut keeping) = (Vec::new(), BlockKeeping::new(&self.budget));
                while let Some(mut series) = self.next_member(&mut members).await? {
                    keeping.pass(&mut series);
                    let bytes = series.bytes() as u64;
                    self.budget.take(bytes)?;
                    self.group_held += bytes;
                    found.push(series);
                }
                found
            }
        };
        Merge::new(&self.reading(), found, limit, ahead).await
    }

    async fn top(&mut self, group: ScanGroup, mut members: Members<D>, limit: u64) -> Result<()> {
        let mut top = Top::new(limit);
        while let Some(found) = self.next_member(&mut members).await? {
            match top.series(&self.reading(), found).await {
                Ok(()) => {}
                // So many rows do not fit.
                Err(Error::Budget { .. }) => {
                    top.give_up(&self.budget);
                    self.forget_group();
                    self.merging = Some(self.in_order(group, None, limit));
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        self.ready.extend(top.finish(&self.budget, &group));
        Ok(())
    }

    fn in_order(&self, group: ScanGroup, merge: Option<Merge>, limit: u64) -> InOrder {
        let filter = tag_sets::filter_of(&self.request, &group);
        InOrder::new(group, merge, filter, self.request.series_max, limit)
    }

    async fn fold(&mut self, group: ScanGroup, mut members: Members<D>) -> Result<()> {
        let ScanOutput::Partials { window, calls } = self.request.output.clone() else { return Ok(()) };
        let descending = self.request.descending;
        let mut state = None;
        while let Some(found) = self.next_member(&mut members).await? {
            let fold = self.folding(&calls, window);
            let state = state.get_or_insert_with(|| fold.state());
            self.sources.pace.spent(COLUMN_NS * calls.len() as u64).await;
            fold.series(state, &found).await?;
        }
        let Some(state) = state else { return Ok(()) };
        self.sources.pace.spent(COLUMN_NS * calls.len() as u64).await;
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
