//! What a query asks of the cores, whoever they are.
//!
//! [`DataSource`] is the only way from the query layer to data: the server's side fans out to the cores that own the
//! shards of a place in time; the side in memory serves tests. Merging is not its task: it hands over one stream or
//! reply per core, and [`super::merge`] joins them.

use tidemark_engine::Result as EngineResult;
use tidemark_engine::model::TimeRange;
use tidemark_engine::scan::request::{CatalogReply, CatalogRequest, ScanChunk, ScanRequest};

use super::error::Result;

#[cfg(any(test, feature = "sim"))]
pub mod memory;

/// A retention policy of a database, both by name and both known to exist.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub database: String,
    pub retention_policy: String,
}

/// The data of all cores. One per query or per core; cheap to borrow.
pub trait DataSource {
    type Stream: ChunkStream;

    /// Resolves names; an empty retention policy is the database's default. Fails with "database not found: x",
    /// "default retention policy not set for: x" or "retention policy not found: x".
    fn place(&self, database: &str, retention_policy: &str) -> Result<Place>;

    /// Every retention policy of a database, for statements that are about all of them.
    fn places(&self, database: &str) -> Result<Vec<Place>>;

    /// The ranges of the place's shard groups that overlap a time range, ascending.
    fn group_ranges(&self, place: &Place, time: TimeRange) -> Vec<TimeRange>;

    /// How many shards of the place overlap the request's time range: EXPLAIN tells.
    fn shard_count(&self, place: &Place, time: TimeRange) -> u64;

    /// One reply per core. `request.shards` is filled in by the source: all shards of the place that overlap
    /// `request.time`.
    async fn catalog(&self, place: &Place, request: &CatalogRequest) -> Result<Vec<CatalogReply>>;

    /// One stream per core that owns shards of the place in `request.time`; `request.shards` is filled in by the
    /// source. Dropping a stream ends its scan.
    async fn scan(&self, place: &Place, request: &ScanRequest) -> Result<Vec<Self::Stream>>;
}

/// A scan's chunks from one core, in the order [`ScanChunk`] promises.
pub trait ChunkStream {
    async fn next(&mut self) -> EngineResult<Option<ScanChunk>>;

    /// The most memory the scan held at once, bytes; known when it has ended.
    fn peak_bytes(&self) -> u64;
}
