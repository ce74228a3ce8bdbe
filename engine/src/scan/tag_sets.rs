//! The tag sets of a scan, in its order, and the series of each.
//!
//! Without dimensions there is one tag set, and its series are streamed, never listed. Else all series are walked and listed
//! by tag set, as far as half of the free budget goes: tag sets that come later are let go of, and listed when those before
//! them are done. One that is too large by itself is not listed either: its series are looked up when it is its turn.

use std::collections::{BTreeMap, VecDeque};

use super::budget::Budget;
use super::request::{PartialKind, ScanGroup, ScanOutput, ScanRequest, TagFilter};
use super::rows::TOP_ROWS_MAX;
use super::source::{FoundSeries, Reads, SeriesStream, Sources};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::model::series_key;

/// Share of the free budget that lists of series may take.
const BUDGET_SHARE: u64 = 2;

/// Share of it that what is known of the listed series' blocks may take beside: index pages are 16 KiB each.
const BLOCKS_SHARE: u64 = 8;

/// See the module's head. One per scan.
pub enum TagSets<D: Disk> {
    Unresolved,
    /// One tag set, its series streamed.
    One(Option<SeriesStream<D>>),
    Many {
        listed: BTreeMap<Vec<Vec<u8>>, Listed>,
        /// The last of them, when more come behind it.
        more_after: Option<Vec<Vec<u8>>>,
    },
}

/// The series of a tag set.
#[derive(Default)]
pub struct Listed {
    /// `None`: too many.
    series: Option<Vec<FoundSeries>>,
    /// Counted against the budget.
    bytes: u64,
}

/// The series of the tag set whose turn it is.
pub enum Members<D: Disk> {
    /// `counts`: they are met for the first time.
    Stream {
        stream: SeriesStream<D>,
        counts: bool,
    },
    List(VecDeque<FoundSeries>),
}

/// A tag set, its members, and the bytes they count for.
pub type TagSet<D> = (ScanGroup, Members<D>, u64);

impl<D: Disk> TagSets<D> {
    pub async fn next(
        &mut self,
        sources: &Sources<D>,
        request: &ScanRequest,
        budget: &Budget,
    ) -> Result<Option<TagSet<D>>> {
        loop {
            match self {
                Self::Unresolved => *self = Self::resolve(sources, request, budget, None).await?,
                Self::One(stream) => {
                    let group = ScanGroup { values: Vec::new() };
                    let stream = stream.take().map(|stream| Members::Stream { stream, counts: true });
                    return Ok(stream.map(|members| (group, members, 0)));
                }
                Self::Many { listed, more_after } => match (
                    if request.descending { listed.pop_last() } else { listed.pop_first() },
                    more_after.take(),
                ) {
                    (Some((values, Listed { series, bytes })), more) => {
                        *more_after = more;
                        let group = ScanGroup { values };
                        let members = match series {
                            Some(list) => Members::List(list.into()),
                            None => {
                                let filter = filter_of(request, &group);
                                let stream = sources.series(filter.as_ref(), reads(request)).await?;
                                Members::Stream { stream, counts: false }
                            }
                        };
                        return Ok(Some((group, members, bytes)));
                    }
                    (None, Some(after)) => {
                        *self = Self::resolve(sources, request, budget, Some(after)).await?;
                    }
                    (None, None) => return Ok(None),
                },
            }
        }
    }

    /// The tag sets behind `after`, as far as there is room for them.
    async fn resolve(
        sources: &Sources<D>,
        request: &ScanRequest,
        budget: &Budget,
        after: Option<Vec<Vec<u8>>>,
    ) -> Result<Self> {
        if request.time.is_empty() {
            return Ok(Self::One(None));
        }
        let mut stream = sources.series(request.series.as_ref(), reads(request)).await?;
        if request.dimensions.is_empty() {
            return Ok(Self::One(Some(stream)));
        }
        let bytes_max = budget.free() / BUDGET_SHARE;
        let mut lists = Lists { descending: request.descending, ..Lists::default() };
        let mut keeping = BlockKeeping::new(budget);
        let mut series_found = 0;
        while let Some(mut found) = stream.next(sources).await? {
            series_found += 1;
            check_series(series_found, request.series_max)?;
            keeping.pass(&mut found);
            sources.pace.spent(500).await;
            let values: Vec<Vec<u8>> = request
                .dimensions
                .iter()
                .map(|name| series_key::tag_value(&found.key, name).unwrap_or_default().into_owned())
                .collect();
            if after.as_ref().is_none_or(|after| lists.comes_after(&values, after)) {
                lists.add(values, found, bytes_max, budget)?;
            }
        }
        let more_after = if lists.is_cut { lists.last().cloned() } else { None };
        Ok(Self::Many { listed: lists.sets, more_after })
    }
}

/// What is known of the blocks of listed series, as far as there is room for it; blocks of others are looked up again.
pub struct BlockKeeping {
    left: u64,
}

impl BlockKeeping {
    pub fn new(budget: &Budget) -> Self {
        Self { left: budget.free() / BLOCKS_SHARE }
    }

    /// Has the next series that is listed let go of its blocks where there is no room.
    pub fn pass(&mut self, found: &mut FoundSeries) {
        match self.left.checked_sub(found.blocks_bytes() as u64) {
            Some(left) => self.left = left,
            None => found.forget_blocks(),
        }
    }
}

/// What a scan is going to read of its series.
fn reads(request: &ScanRequest) -> Reads {
    let towards = |newest| if newest { Reads::Newest } else { Reads::Oldest };
    match &request.output {
        // A condition may pass over any number of blocks.
        ScanOutput::Rows { limit: 1..=TOP_ROWS_MAX, .. } if request.rows.is_none() => {
            towards(request.descending)
        }
        ScanOutput::Partials { window: None, calls } => {
            let all = |kind| calls.iter().all(|call| call.kind == kind);
            match (all(PartialKind::First), all(PartialKind::Last)) {
                (false, false) => Reads::Everything,
                (_, newest) => towards(newest),
            }
        }
        _ => Reads::Everything,
    }
}

/// Fails when a scan has met more series than it may.
pub fn check_series(found: u64, max: u64) -> Result<()> {
    if max > 0 && found > max {
        return Err(Error::Limit { name: "max-select-series", wanted: found, max });
    }
    Ok(())
}

/// What finds the series of a tag set again.
pub fn filter_of(request: &ScanRequest, group: &ScanGroup) -> Option<TagFilter> {
    if request.dimensions.is_empty() {
        return request.series.clone();
    }
    let is =
        |(name, value): (&Vec<u8>, &Vec<u8>)| TagFilter::Equal { name: name.clone(), value: value.clone() };
    let tags = request.dimensions.iter().zip(&group.values).map(is);
    Some(TagFilter::And(request.series.iter().cloned().chain(tags).collect()))
}

/// Tag sets while they are being listed.
#[derive(Default)]
struct Lists {
    sets: BTreeMap<Vec<Vec<u8>>, Listed>,
    descending: bool,
    bytes: u64,
    /// Those that come after the last one were let go of.
    is_cut: bool,
}

impl Lists {
    /// In the order of the scan.
    fn comes_after(&self, values: &Vec<Vec<u8>>, other: &Vec<Vec<u8>>) -> bool {
        if self.descending { values < other } else { values > other }
    }

    fn last(&self) -> Option<&Vec<Vec<u8>>> {
        if self.descending { self.sets.keys().next() } else { self.sets.keys().next_back() }
    }

    fn add(
        &mut self,
        values: Vec<Vec<u8>>,
        found: FoundSeries,
        bytes_max: u64,
        budget: &Budget,
    ) -> Result<()> {
        if self.is_cut && self.last().is_some_and(|last| self.comes_after(&values, last)) {
            return Ok(());
        }
        let text: u64 = values.iter().map(|value| value.len() as u64 + 24).sum();
        let is_new = !self.sets.contains_key(&values);
        let wanted = if is_new { text } else { 0 } + found.bytes() as u64;
        if is_new {
            self.sets.insert(values.clone(), Listed { series: Some(Vec::new()), bytes: 0 });
        }
        while self.bytes + wanted > bytes_max && self.let_go(budget) {}
        // It may have been let go of itself.
        let Some(set) = self.sets.get_mut(&values) else { return Ok(()) };
        if let Some(list) = &mut set.series {
            budget.take(wanted)?;
            list.push(found);
            set.bytes += wanted;
            self.bytes += wanted;
        }
        Ok(())
    }

    /// Lets go of the last tag set, or of the list of the only one; `false` when there is none.
    fn let_go(&mut self, budget: &Budget) -> bool {
        let freed = if self.sets.len() > 1 {
            self.is_cut = true;
            let last = if self.descending { self.sets.pop_first() } else { self.sets.pop_last() };
            last.map(|(_, set)| set.bytes)
        } else {
            let only = self.sets.values_mut().find(|set| set.series.is_some());
            only.map(|set| {
                set.series = None;
                std::mem::take(&mut set.bytes)
            })
        };
        let bytes = freed.unwrap_or(0);
        budget.give_back(bytes);
        self.bytes -= bytes;
        freed.is_some()
    }
}
