//! The rows of one tag set in the order of time: merged from all its series at once where memory allows, else in
//! [`Passes`], which go on behind the last row handed out.

use super::passes::{Passes, Position};
use super::request::{ScanChunk, ScanGroup, TagFilter};
use super::rows::{Merge, Reading, directed};
use crate::disk::Disk;
use crate::error::Result;

/// See the module's head. One per tag set of a scan for rows.
pub struct InOrder {
    group: ScanGroup,
    /// Finds the tag set's series again, and most of them there may be (0: any number).
    filter: Option<TagFilter>,
    series_max: u64,
    left: u64,
    last: Option<Position>,
    way: Way,
}

enum Way {
    Merge(Merge),
    Passes(Passes),
}

impl InOrder {
    /// `merge` `None`: not all series fit into memory. `limit` 0: all rows.
    pub fn new(
        group: ScanGroup,
        merge: Option<Merge>,
        filter: Option<TagFilter>,
        series_max: u64,
        limit: u64,
    ) -> Self {
        let way = merge.map_or_else(|| Way::Passes(Passes::new(None)), Way::Merge);
        let left = if limit == 0 { u64::MAX } else { limit };
        Self { group, filter, series_max, left, last: None, way }
    }

    /// Whether it may go on in passes when there is no memory left: passes cannot tell which rows come ahead.
    pub fn has_another_way(&self) -> bool {
        matches!(&self.way, Way::Merge(merge) if !merge.is_ahead())
    }

    /// Goes on in passes.
    pub fn in_passes<D: Disk>(mut self, reading: &Reading<'_, D>) -> Self {
        let passes = Way::Passes(Passes::new(self.last.clone()));
        if let Way::Merge(merge) = std::mem::replace(&mut self.way, passes) {
            merge.finish(reading.budget);
        }
        self
    }

    pub async fn next<D: Disk>(&mut self, reading: &Reading<'_, D>) -> Result<Option<ScanChunk>> {
        let (filter, series_max) = (self.filter.as_ref(), self.series_max);
        let chunk = match &mut self.way {
            Way::Merge(merge) => merge.next(reading, &self.group).await?,
            Way::Passes(passes) => passes.next(reading, filter, series_max, &self.group, self.left).await?,
        };
        if let Some(ScanChunk::Rows { times, series, series_keys, .. }) = &chunk
            && let (Some(time), Some(series)) = (times.last(), series.last())
        {
            self.left = self.left.saturating_sub(times.len() as u64);
            let key = series_keys.get(*series as usize).cloned().unwrap_or_default();
            self.last = Some(Position { time: directed(*time, reading.descending), key });
        }
        Ok(chunk)
    }

    /// Gives back what is held.
    pub fn finish<D: Disk>(self, reading: &Reading<'_, D>) {
        match self.way {
            Way::Merge(merge) => merge.finish(reading.budget),
            Way::Passes(passes) => passes.finish(reading),
        }
    }
}
