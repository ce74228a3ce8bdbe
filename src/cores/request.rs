//! The closed list of what may be asked of a core: owned plain values only.

use std::sync::Arc;

use tidemark_engine::Error;
use tidemark_engine::index::fields::FieldDefinition;
use tidemark_engine::model::{ShardGroupId, TimeRange};
use tidemark_engine::scan::request::{CatalogReply, CatalogRequest, ShardRef};
use tidemark_engine::stats::ShardsStats;
use tidemark_engine::store::{DeleteRequest, ForeignEntry, ShardWrite, WriteOutcome};

use super::counters::CoreStats;
use crate::meta::{Command, Data, MetaError, Outcome};
use crate::runtime::Priority;

/// Room a request without a body of its own takes in a mailbox, and room kept for each reply.
const SMALL_BYTES: u64 = 256;

/// What one core asks of another, or of itself.
pub enum CoreRequest {
    /// Batches for shards of the core.
    Write {
        writes: Vec<ShardWrite>,
    },
    /// Asked of a group's registrar: the types that hold.
    RegisterFields {
        group: ShardGroupId,
        asked: Vec<FieldDefinition>,
    },
    Delete(DeleteRequest),
    /// Asked of every core: those that own one of them remove its data.
    DropShards(Vec<ShardRef>),
    /// Asked of every core after DROP MEASUREMENT.
    ForgetMeasurement {
        group: ShardGroupId,
        measurement: Vec<u8>,
    },
    Catalog(CatalogRequest),
    /// Asked of core 0, where the catalogue is decided.
    Propose(Command),
    /// A newer catalogue. The one value that is shared: it never changes.
    Install(Arc<Data>),
    /// The disk has failed a write of another core: the whole node writes no more.
    Refuse(Error),
    /// At start: entries the asker found in its WAL.
    Adopt(Vec<ForeignEntry>),
    Stats,
    /// Fails as a write would now.
    CheckWritable,
    /// The queries that run on the core.
    Queries,
    KillQuery {
        id: u64,
    },
    /// Newer watches for late points, against what was noted for the former ones.
    ExchangeLate(Vec<LateWatch>),
    /// Asked of core 0, where continuous queries run: has those of a name run as if it were this time. Empty names are
    /// all databases, all queries.
    RunContinuousQueries {
        database: String,
        name: String,
        time: i64,
    },
    /// Counts requests by who sends them: `true` begins, `false` ends. The counts so far are the answer.
    CountSenders(bool),
    /// Numbers that are kept per listener, destination or database.
    TaggedStats,
    /// What these shards of the core hold.
    ShardStats(Vec<ShardRef>),
}

/// Asks for points of a measurement before a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LateWatch {
    /// The asker's.
    pub number: u32,
    pub database: String,
    pub retention_policy: String,
    /// `None`: any.
    pub measurement: Option<Vec<u8>>,
    pub before: i64,
    /// Points are noted as ranges of this length, ns.
    pub grain: i64,
}

/// Where late points were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LateMark {
    /// Of the watch.
    pub number: u32,
    pub ranges: Vec<TimeRange>,
}

/// Writes and queries by one sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SenderCount {
    /// "user:address", or the address.
    pub who: String,
    pub writes: u64,
    pub queries: u64,
}

/// Numbers under tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaggedStats {
    pub name: &'static str,
    pub tags: Vec<(&'static str, String)>,
    pub values: Vec<(&'static str, u64)>,
}

/// A running query as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryInfo {
    pub id: u64,
    pub text: String,
    pub database: String,
    pub duration_ns: u64,
    pub is_killed: bool,
}

/// What became of a kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillOutcome {
    Killed,
    AlreadyKilled,
    /// No such query on this core.
    Unknown,
}

/// The answer to each kind.
pub enum CoreReply {
    Written(Result<Vec<WriteOutcome>, Error>),
    Fields(Result<Vec<FieldDefinition>, Error>),
    Done(Result<(), Error>),
    Catalog(Result<CatalogReply, Error>),
    Proposed(Result<Outcome, MetaError>),
    Stats(Box<CoreStats>),
    Queries(Vec<QueryInfo>),
    Killed(KillOutcome),
    Late(Vec<LateMark>),
    Ran(Result<(), String>),
    Senders(Vec<SenderCount>),
    Tagged(Vec<TaggedStats>),
    Shards(Result<ShardsStats, Error>),
}

impl CoreRequest {
    /// The queue it is served in.
    pub fn priority(&self) -> Priority {
        match self {
            Self::Write { .. } => Priority::Ingest,
            Self::Catalog(_) | Self::ShardStats(_) => Priority::Query,
            Self::DropShards(_) => Priority::Background,
            Self::Delete(_) => Priority::Ingest,
            Self::RegisterFields { .. }
            | Self::ForgetMeasurement { .. }
            | Self::Propose(_)
            | Self::Install(_)
            | Self::Refuse(_)
            | Self::Adopt(_)
            | Self::Stats
            | Self::CheckWritable
            | Self::Queries
            | Self::KillQuery { .. }
            | Self::ExchangeLate(_)
            | Self::RunContinuousQueries { .. }
            | Self::CountSenders(_)
            | Self::TaggedStats => Priority::Control,
        }
    }

    /// Whether it does nothing but answer, and that may take long: it ends when nobody waits for it any more.
    pub fn is_question(&self) -> bool {
        matches!(self, Self::Catalog(_) | Self::ShardStats(_))
    }

    /// Bytes it holds in the mailbox, with room for its reply.
    pub fn bytes(&self) -> u64 {
        SMALL_BYTES
            + match self {
                Self::Write { writes } => {
                    writes.iter().map(|write| write.batch.as_bytes().len() as u64 + 64).sum()
                }
                Self::RegisterFields { asked, .. } => asked
                    .iter()
                    .map(|field| 2 * (field.measurement.len() + field.field.len()) as u64 + 128)
                    .sum(),
                Self::Catalog(request) => request.budget_bytes.min(1 << 20),
                Self::Adopt(entries) => entries.iter().map(|entry| entry.body.len() as u64).sum(),
                _ => 0,
            }
    }
}
