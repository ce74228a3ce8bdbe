//! The data of this node's cores, as queries see it.
//!
//! A place in time is a list of shards; each core that owns some of them gets the request with its own shards in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemark_engine::Result as EngineResult;
use tidemark_engine::model::TimeRange;
use tidemark_engine::scan::request::{CatalogReply, CatalogRequest, ScanChunk, ScanRequest, ShardRef};

use super::error::{QueryError, Result};
use super::source::{ChunkStream, DataSource, Place};
use crate::cores::main_loop::together;
use crate::cores::{Cores, ScanStream};
use crate::meta::{Data, RetentionPolicyInfo};

/// One per core; cheap to clone.
#[derive(Clone)]
pub struct FanOut {
    cores: Cores,
}

impl FanOut {
    pub fn new(cores: Cores) -> Self {
        Self { cores }
    }

    /// The shards of a place that overlap a time range, by owning core.
    fn shards(&self, place: &Place, time: TimeRange) -> BTreeMap<usize, Vec<ShardRef>> {
        let data = self.cores.view().current();
        let mut by_core: BTreeMap<usize, Vec<ShardRef>> = BTreeMap::new();
        // Gone since the statement was checked: there is nothing to read.
        let Some(policy) = data.retention_policy(&place.database, &place.retention_policy) else {
            return by_core;
        };
        for group in policy.groups_in(time) {
            for (position, shard) in group.shards.iter().enumerate() {
                let core = self.cores.core_of(group.id, position);
                by_core.entry(core).or_default().push(ShardRef { shard: shard.id, group: group.id });
            }
        }
        by_core
    }
}

fn policy<'a>(data: &'a Arc<Data>, database: &str, name: &str) -> Result<&'a Arc<RetentionPolicyInfo>> {
    let Some(info) = data.database(database) else {
        return Err(QueryError::statement(format!("database not found: {database}")));
    };
    if name.is_empty() && info.default_retention_policy.is_empty() {
        return Err(QueryError::statement(format!("default retention policy not set for: {database}")));
    }
    info.retention_policy(name).ok_or_else(|| {
        let name = if name.is_empty() { &info.default_retention_policy } else { name };
        QueryError::statement(format!("retention policy not found: {name}"))
    })
}

impl DataSource for FanOut {
    type Stream = ScanStream;

    fn place(&self, database: &str, retention_policy: &str) -> Result<Place> {
        let data = self.cores.view().current();
        let policy = policy(&data, database, retention_policy)?;
        Ok(Place { database: database.to_owned(), retention_policy: policy.name.clone() })
    }

    fn places(&self, database: &str) -> Result<Vec<Place>> {
        let data = self.cores.view().current();
        let Some(info) = data.database(database) else {
            return Err(QueryError::statement(format!("database not found: {database}")));
        };
        let place = |policy: &Arc<RetentionPolicyInfo>| Place {
            database: database.to_owned(),
            retention_policy: policy.name.clone(),
        };
        Ok(info.retention_policies.iter().map(place).collect())
    }

    fn group_ranges(&self, place: &Place, time: TimeRange) -> Vec<TimeRange> {
        let data = self.cores.view().current();
        let policy = data.retention_policy(&place.database, &place.retention_policy);
        let mut ranges: Vec<TimeRange> =
            policy.into_iter().flat_map(|policy| policy.groups_in(time)).map(|group| group.range()).collect();
        ranges.sort_unstable_by_key(|range| range.start);
        ranges
    }

    fn shard_count(&self, place: &Place, time: TimeRange) -> u64 {
        self.shards(place, time).values().map(|shards| shards.len() as u64).sum()
    }

    async fn catalog(&self, place: &Place, request: &CatalogRequest) -> Result<Vec<CatalogReply>> {
        let asked = self.shards(place, request.time).into_iter().map(|(core, shards)| {
            let request = CatalogRequest { shards, ..request.clone() };
            self.cores.catalog(core, request)
        });
        together(asked.collect()).await.into_iter().map(|reply| reply.map_err(QueryError::Engine)).collect()
    }

    async fn scan(&self, place: &Place, request: &ScanRequest) -> Result<Vec<ScanStream>> {
        let started = self.shards(place, request.time).into_iter().map(|(core, shards)| {
            let request = ScanRequest { shards, ..request.clone() };
            self.cores.scan(core, request)
        });
        together(started.collect())
            .await
            .into_iter()
            .map(|stream| stream.map_err(QueryError::Engine))
            .collect()
    }
}

impl ChunkStream for ScanStream {
    async fn next(&mut self) -> EngineResult<Option<ScanChunk>> {
        ScanStream::next(self).await
    }
}
