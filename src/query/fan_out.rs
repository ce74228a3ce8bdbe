//! The data of this node's cores, as queries see it.
//!
//! A place in time is a list of shards; each core that owns some of them gets the request with its own shards in it.
//! What exists is told of whole shards, as InfluxDB does, whatever part of their time is asked about. Schemas are kept
//! for as long as no core has seen a change of any: a question about known measurements then asks no core before it scans.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use hashbrown::HashMap;
use tidemark_engine::Result as EngineResult;
use tidemark_engine::model::{ShardId, TimeRange};
use tidemark_engine::scan::request::{
    CatalogKind, CatalogReply, CatalogRequest, MeasurementSchema, ScanChunk, ScanRequest, ShardRef,
};

use super::error::{QueryError, Result};
use super::merge::merge_catalogs;
use super::source::{ChunkStream, DataSource, Place};
use crate::cores::main_loop::together;
use crate::cores::{Cores, ScanStream};
use crate::meta::{Data, RetentionPolicyInfo};

/// Schemas kept per core; when there are more, all are dropped.
const SCHEMAS_KEPT_MAX: usize = 1024;

/// Fields and tag keys of a kept schema: together with the number above, some MiB.
const SCHEMA_NAMES_KEPT_MAX: usize = 256;

/// One per core; cheap to clone.
#[derive(Clone)]
pub struct FanOut {
    cores: Cores,
    schemas: Rc<RefCell<HashMap<SchemaKey, KeptSchema>>>,
}

/// A measurement in some shards.
#[derive(PartialEq, Eq, Hash)]
struct SchemaKey {
    measurement: Vec<u8>,
    shards: Vec<ShardId>,
}

struct KeptSchema {
    /// [`Cores::schema_changes`] before the cores were asked.
    changes: u64,
    schemas: Vec<MeasurementSchema>,
}

impl FanOut {
    pub fn new(cores: Cores) -> Self {
        Self { cores, schemas: Rc::default() }
    }

    fn kept_schema(&self, key: &SchemaKey) -> Option<Vec<MeasurementSchema>> {
        let schemas = self.schemas.borrow();
        let kept = schemas.get(key).filter(|kept| kept.changes == self.cores.schema_changes())?;
        Some(kept.schemas.clone())
    }

    fn keep_schema(&self, key: SchemaKey, changes: u64, schemas: &[MeasurementSchema]) {
        let names: usize = schemas.iter().map(|schema| schema.fields.len() + schema.tag_keys.len()).sum();
        if names > SCHEMA_NAMES_KEPT_MAX {
            return;
        }
        let mut kept = self.schemas.borrow_mut();
        if kept.len() >= SCHEMAS_KEPT_MAX {
            kept.clear();
        }
        kept.insert(key, KeptSchema { changes, schemas: schemas.to_vec() });
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
        let by_core = self.shards(place, request.time);
        let key = match (&request.what, request.measurements.as_deref(), &request.series) {
            (CatalogKind::Schema, Some([measurement]), None) => Some(SchemaKey {
                measurement: measurement.clone(),
                shards: by_core.values().flatten().map(|shard| shard.shard).collect(),
            }),
            _ => None,
        };
        if let Some(schemas) = key.as_ref().and_then(|key| self.kept_schema(key)) {
            return Ok(vec![CatalogReply::Schema(schemas)]);
        }
        let changes = self.cores.schema_changes();
        // Costs are of blocks, and those are chosen by time.
        let time = if request.what == CatalogKind::Cost { request.time } else { TimeRange::ALL };
        let asked = by_core.into_iter().map(|(core, shards)| {
            let request = CatalogRequest { shards, time, ..request.clone() };
            self.cores.catalog(core, request)
        });
        let mut replies = Vec::new();
        for reply in together(asked.collect()).await {
            replies.push(reply.map_err(QueryError::Engine)?);
        }
        let Some(key) = key else { return Ok(replies) };
        let merged = merge_catalogs(replies);
        if let Some(CatalogReply::Schema(schemas)) = &merged {
            self.keep_schema(key, changes, schemas);
        }
        Ok(merged.into_iter().collect())
    }

    async fn scan(&self, place: &Place, request: &ScanRequest) -> Result<Vec<ScanStream>> {
        let by_core = self.shards(place, request.time).into_iter();
        let requests = by_core.map(|(core, shards)| (core, ScanRequest { shards, ..request.clone() }));
        self.cores.scan(requests.collect()).await.map_err(QueryError::Engine)
    }
}

impl ChunkStream for ScanStream {
    async fn next(&mut self) -> EngineResult<Option<ScanChunk>> {
        ScanStream::next(self).await
    }

    fn peak_bytes(&self) -> u64 {
        ScanStream::peak_bytes(self)
    }
}
