//! The data of this node's cores, as queries see it.
//!
//! A place in time is a list of shards; each core that owns some of them gets the request with its own shards in it.
//! What exists is told of whole shards, as InfluxDB does, whatever part of their time is asked about. What the cores said
//! of a measurement is [`kept`](super::kept); those that have no series with the tags asked for are then left out.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use tidemark_engine::Result as EngineResult;
use tidemark_engine::model::TimeRange;
use tidemark_engine::pace::Pace;
use tidemark_engine::pace::sorted::let_go;
use tidemark_engine::scan::request::{
    CatalogKind, CatalogReply, CatalogRequest, ScanChunk, ScanRequest, ShardRef, TagFilter,
};

use super::error::{QueryError, Result};
use super::kept::{Answer, Kept, Question, What};
use super::merge::merge_catalogs;
use super::source::{ChunkStream, DataSource, Place};
use super::tag_cores::{SERIES_MAX, TagCores};
use crate::cores::together;
use crate::cores::{Cores, ScanStream};
use crate::meta::{Data, RetentionPolicyInfo};
use crate::runtime::Priority;

/// Memory that finding out where series are may take on a core.
const FINDING_BYTES_MAX: u64 = 4 << 20;

/// After finding out where series are, so many times as long there is no other: new series may make all of it void.
const FINDING_PAUSE: u64 = 20;

/// Shards by the core that owns them.
type ByCore = BTreeMap<usize, Vec<ShardRef>>;

/// One per core; cheap to clone.
#[derive(Clone)]
pub struct FanOut {
    cores: Cores,
    kept: Rc<RefCell<Kept>>,
    /// When it may be found out again where series are; `u64::MAX` meanwhile.
    next_finding_ns: Rc<Cell<u64>>,
}

impl FanOut {
    pub fn new(cores: Cores) -> Self {
        Self { cores, kept: Rc::default(), next_finding_ns: Rc::default() }
    }

    /// Leaves out cores that are known to have no series that fulfil the condition.
    fn leave_out(&self, by_core: &mut ByCore, measurement: &[u8], filter: Option<&TagFilter>) {
        let Some(filter) = filter.filter(|_| by_core.len() > 1) else { return };
        let shards = by_core.values().flatten().map(|shard| shard.shard).collect();
        let question = Question { measurement: measurement.to_vec(), shards, what: What::TagCores };
        if let Some(Answer::TagCores(known)) = self.kept.borrow().get(&question, self.cores.schema_changes())
        {
            let found = known.of(filter);
            by_core.retain(|core, _| found.has(*core));
        } else if TagCores::can_tell(filter)
            && self.cores.runtime().monotonic_ns() >= self.next_finding_ns.get()
        {
            self.next_finding_ns.set(u64::MAX);
            let (fan_out, by_core) = (self.clone(), by_core.clone());
            self.cores.runtime().spawn(Priority::Query, fan_out.find_out(question, by_core));
        }
    }

    /// Finds out which cores have which series, for questions to come.
    async fn find_out(self, question: Question, by_core: ByCore) {
        let now_ns = || self.cores.runtime().monotonic_ns();
        let (begun_ns, changes) = (now_ns(), self.cores.schema_changes());
        // What fails leaves all cores to be asked.
        if let Ok(known) = self.tag_cores(&question.measurement, by_core).await {
            self.kept.borrow_mut().keep(question, changes, Answer::TagCores(Rc::new(known)));
        }
        self.next_finding_ns.set(now_ns() + FINDING_PAUSE * (now_ns() - begun_ns));
    }

    async fn tag_cores(&self, measurement: &[u8], by_core: ByCore) -> EngineResult<TagCores> {
        let (mut known, pace) = (TagCores::default(), Pace::new());
        for (core, shards) in by_core {
            let request = CatalogRequest {
                shards,
                measurements: Some(vec![measurement.to_vec()]),
                time: TimeRange::ALL,
                series: None,
                what: CatalogKind::Series,
                limit: SERIES_MAX as u64 + 1,
                budget_bytes: FINDING_BYTES_MAX,
            };
            if let CatalogReply::Series(keys) = self.cores.catalog(core, request).await? {
                known.note(core, &keys, &pace).await;
                let_go(keys, &pace).await;
            }
        }
        Ok(known)
    }

    /// The shards of a place that overlap a time range, by owning core.
    fn shards(&self, place: &Place, time: TimeRange) -> ByCore {
        let data = self.cores.view().current();
        let mut by_core = ByCore::new();
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
        let mut by_core = self.shards(place, request.time);
        let question = Question::of(request, by_core.values().flatten().map(|shard| shard.shard));
        let changes = self.cores.schema_changes();
        if let Some(question) = &question
            && let Some(Answer::Catalog(reply)) = self.kept.borrow().get(question, changes)
        {
            return Ok(vec![reply.clone()]);
        }
        // Costs tell how many shards there are, too.
        if let Some([measurement]) = request.measurements.as_deref()
            && request.what != CatalogKind::Cost
        {
            self.leave_out(&mut by_core, measurement, request.series.as_ref());
        }
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
            self.kept.borrow_mut().keep(question, changes, Answer::Catalog(reply.clone()));
        }
        Ok(merged.into_iter().collect())
    }

    async fn scan(&self, place: &Place, request: &ScanRequest) -> Result<Vec<ScanStream>> {
        let mut by_core = self.shards(place, request.time);
        self.leave_out(&mut by_core, &request.measurement, request.series.as_ref());
        let requests =
            by_core.into_iter().map(|(core, shards)| (core, ScanRequest { shards, ..request.clone() }));
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
