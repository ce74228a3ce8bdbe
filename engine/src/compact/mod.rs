//! From the cache to TSM files, and from many files to few.
//!
//! * [`snapshot`]: a shard's sealed cache → one level-1 TSM file.
//! * [`plan`]: pure: a shard's files → which of them to merge next.
//! * [`merge`]: several files → one, minus what tombstones cover, in steps; its inputs are lanes, and series of a few rows
//!   take a path of their own.
//! * `ordering`: rows brought to order, giving way in between where there are many.
//! * [`tombstone`]: deletes, by predicate.
//! * [`manifest`]: which files are the shard's; one switch makes new files valid and old ones rubbish.

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
