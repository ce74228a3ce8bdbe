//! From the cache to TSM files, and from many files to few.
//!
//! * [`snapshot`]: a shard's sealed cache → one level-1 TSM file.
//! * [`plan`]: pure: a shard's files → which of them to merge next.
//! * [`merge`]: several files → one, minus what tombstones cover, in steps; its inputs are lanes, and series of a few rows
//!   take a path of their own.
//! * `ordering`: rows brought to order, giving way in between where there are many.
//! * [`tombstone`]: deletes, by predicate.
//! * [`manifest`]: which files are the shard's; one switch makes new files valid and old ones rubbish.
//!
//! The engine cannot sleep and does not know the executor: long work counts its units with [`Pace`] and gives way by
//! returning `Pending` once; who runs next is decided outside.

mod cache_lane;
pub mod file;
mod lane;
pub mod manifest;
pub mod merge;
pub(crate) mod ordering;
pub mod plan;
mod small;
pub mod snapshot;
pub mod tombstone;

use std::cell::Cell;

use crate::limits::PACE_UNITS;

/// Counts background work and gives way to others after every [`PACE_UNITS`].
///
/// A unit is about a byte handled or a nanosecond of CPU, whichever is easier to know; between two yields lies well
/// under a millisecond.
#[derive(Debug, Default)]
pub struct Pace {
    units: Cell<u64>,
}

impl Pace {
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts `units` of work done, and yields when it is time to.
    pub async fn spent(&self, units: u64) {
        let units = self.units.get() + units;
        if units < PACE_UNITS {
            self.units.set(units);
        } else {
            self.units.set(0);
            futures_lite::future::yield_now().await;
        }
    }
}
