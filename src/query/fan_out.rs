//! The data of this node's cores, as queries see it.
//!
//! A place in time is a list of shards; each core that owns some of them gets the request with its own shards in it.
//! What exists is told of whole shards, as InfluxDB does, whatever part of their time is asked about. The schema and the series
//! of a measurement are kept for as long as no core has seen a change of any: a question about known measurements then asks no
//! core before it scans.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use hashbrown::HashMap;
use tidemark_engine::Result as EngineResult;
use tidemark_engine::model::{ShardId, TimeRange};
use tidemark_engine::pace::Pace;
use tidemark_engine::scan::request::{
    CatalogKind, CatalogReply, CatalogRequest, ScanChunk, ScanRequest, ShardRef,
};

use super::error::{QueryError, Result};
use super::merge::merge_catalogs;
use super::source::{ChunkStream, DataSource, Place};
use crate::cores::together;
use crate::cores::{Cores, ScanStream};
use crate::meta::{Data, RetentionPolicyInfo};

/// Bytes of replies kept per core, about; when there are more, all are dropped.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// Bytes of a kept reply, about.
const REPLY_BYTES_MAX: usize = 256 << 10;

/// Bytes a name takes in a reply beyond its text.
const NAME_BYTES: usize = 32;

/// One per core; cheap to clone.
#[derive(Clone)]
pub struct FanOut {
    cores: Cores,
    kept: Rc<RefCell<Kept>>,
}

/// Replies of the cores, joined.
#[derive(Default)]
struct Kept {
    replies: HashMap<Question, KeptReply>,
    bytes: usize,
}

/// What was asked about a measurement in some shards.
#[derive(PartialEq, Eq, Hash)]
struct Question {
    measurement: Vec<u8>,
    shards: Vec<ShardId>,
    /// Its series, at most so many of a core; `None`: its schema.
    series: Option<u64>,
}

struct KeptReply {
    /// [`Cores::schema_changes`] before the cores were asked.
    changes: u64,
    reply: CatalogReply,
}

impl Question {
    fn of(request: &CatalogRequest, by_core: &BTreeMap<usize, Vec<ShardRef>>) -> Option<Self> {
        let Some([measurement]) = request.measurements.as_deref() else { return None };
        let series = match request.what {
            _ if request.series.is_some() => return None,
            CatalogKind::Schema => None,
            CatalogKind::Series => Some(request.limit),
            _ => return None,
        };
        let shards = by_core.values().flatten().map(|shard| shard.shard).collect();
        Some(Self { measurement: measurement.clone(), shards, series })
    }

    fn bytes(&self) -> usize {
        self.measurement.len() + 8 * self.shards.len() + 4 * NAME_BYTES
    }
}

/// Bytes of a reply that may be kept, about.
fn reply_bytes(reply: &CatalogReply) -> Option<usize> {
    let bytes = match reply {
        CatalogReply::Schema(schemas) => {
            let names = schemas.iter().flat_map(|schema| {
                schema
                    .fields
                    .iter()
                    .map(|field| &field.0)
                    .chain(&schema.tag_keys)
                    .chain([&schema.measurement])
            });
            names.map(|name| NAME_BYTES + name.len()).sum()
        }
        CatalogReply::Series(keys) => keys.iter().map(|key| NAME_BYTES + key.len()).sum(),
        _ => return None,
    };
    (bytes <= REPLY_BYTES_MAX).then_some(bytes)
}

impl Kept {
    fn keep(&mut self, question: Question, kept: KeptReply) {
        let Some(bytes) = reply_bytes(&kept.reply).map(|bytes| bytes + question.bytes()) else { return };
        if self.bytes + bytes > KEPT_BYTES_MAX {
            *self = Self::default();
        }
        self.bytes += bytes;
        if let Some((question, before)) = self.replies.remove_entry(&question) {
            self.bytes -= reply_bytes(&before.reply).unwrap_or(0) + question.bytes();
        }
        self.replies.insert(question, kept);
    }
}

impl FanOut {
    pub fn new(cores: Cores) -> Self {
        Self { cores, kept: Rc::default() }
    }

    fn kept(&self, question: &Question) -> Option<CatalogReply> {
        let kept = self.kept.borrow();
        let kept = kept.replies.get(question).filter(|kept| kept.changes == self.cores.schema_changes())?;
        Some(kept.reply.clone())
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
                let core = self.cores.core_of(group.id, position, group.shards.len());
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
        let question = Question::of(request, &by_core);
        if let Some(reply) = question.as_ref().and_then(|question| self.kept(question)) {
            return Ok(vec![reply]);
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
        let Some(question) = question else { return Ok(replies) };
        let merged = merge_catalogs(replies, &Pace::new()).await;
        if let Some(reply) = &merged {
            self.kept.borrow_mut().keep(question, KeptReply { changes, reply: reply.clone() });
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

#[cfg(test)]
mod tests {
    use super::*;
    use tidemark_engine::scan::request::TagFilter;

    fn question(measurement: &str) -> Question {
        Question { measurement: measurement.into(), shards: vec![ShardId(1)], series: Some(0) }
    }

    fn keep(kept: &mut Kept, measurement: &str, key_bytes: usize) {
        let reply = CatalogReply::Series(vec![vec![b'k'; key_bytes]]);
        kept.keep(question(measurement), KeptReply { changes: 1, reply });
    }

    #[test]
    fn replies_are_kept_up_to_a_number_of_bytes_and_the_latest_of_a_question_alone() {
        let mut kept = Kept::default();
        keep(&mut kept, "m", 1_000);
        let bytes = kept.bytes;
        keep(&mut kept, "m", 1_000);
        assert_eq!((kept.replies.len(), kept.bytes), (1, bytes), "one reply a question");
        keep(&mut kept, "large", REPLY_BYTES_MAX);
        assert_eq!(kept.replies.len(), 1, "a large one is not kept");
        let many = KEPT_BYTES_MAX / 100_000 + 2;
        for number in 0..many {
            keep(&mut kept, &format!("m{number}"), 100_000);
            assert!(kept.bytes <= KEPT_BYTES_MAX);
        }
        assert!(kept.replies.len() < many && kept.replies.contains_key(&question(&format!("m{}", many - 1))));
    }

    #[test]
    fn questions_with_a_condition_on_tags_are_not_kept() {
        let request = |series| CatalogRequest {
            shards: Vec::new(),
            measurements: Some(vec![b"m".to_vec()]),
            time: TimeRange::ALL,
            series,
            what: CatalogKind::Series,
            limit: 7,
            budget_bytes: 0,
        };
        let is_a = TagFilter::Equal { name: b"t".to_vec(), value: b"a".to_vec() };
        assert!(Question::of(&request(None), &BTreeMap::new()).is_some_and(|found| found.series == Some(7)));
        assert!(Question::of(&request(Some(is_a)), &BTreeMap::new()).is_none());
    }
}
