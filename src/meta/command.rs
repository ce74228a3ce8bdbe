//! Every change to the state. Time, random numbers and password hashes are arguments.

use tidemark_engine::model::{DatabaseId, NodeId, RetentionPolicyId, ShardGroupId, ShardId, TimeRange};
use tidemark_engine::scan::request::TagFilter;

use super::data::{ContinuousQueryRun, Privilege, SubscriptionMode};

/// What CREATE may say of a retention policy; what it leaves out gets its default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetentionPolicySpec {
    /// Empty: the name of an automatic policy.
    pub name: String,
    /// ns; 0 is for ever.
    pub duration: Option<i64>,
    pub replica_n: Option<u32>,
    /// ns.
    pub shard_group_duration: Option<i64>,
}

/// What ALTER changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetentionPolicyChange {
    pub duration: Option<i64>,
    pub replica_n: Option<u32>,
    pub shard_group_duration: Option<i64>,
    pub make_default: bool,
}

/// What a delete takes away; see [`super::PendingDelete`].
#[derive(Debug, Clone, PartialEq)]
pub struct DeleteTarget {
    pub database: DatabaseId,
    pub retention_policy: Option<RetentionPolicyId>,
    pub measurements: Option<Vec<Vec<u8>>>,
    pub series: Option<TagFilter>,
    pub time: TimeRange,
    pub whole_measurements: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// The first command of a cluster.
    Found {
        cluster_id: u64,
    },
    /// Adds a node, or updates the one with this id.
    SetNode {
        id: NodeId,
        http_address: String,
        tcp_address: String,
        is_meta: bool,
        is_data: bool,
        cores: u32,
    },
    /// `spec`: as given WITH the statement. Without it an automatic policy is made when `autocreate` says so.
    CreateDatabase {
        name: String,
        spec: Option<RetentionPolicySpec>,
        autocreate: bool,
    },
    DropDatabase {
        name: String,
    },
    CreateRetentionPolicy {
        database: String,
        spec: RetentionPolicySpec,
        make_default: bool,
    },
    AlterRetentionPolicy {
        database: String,
        name: String,
        change: RetentionPolicyChange,
    },
    DropRetentionPolicy {
        database: String,
        name: String,
    },
    /// Makes the group that holds `timestamp`, unless there is a live one. `slices`: shards per node position, 0
    /// follows the largest data node.
    CreateShardGroup {
        database: String,
        retention_policy: String,
        timestamp: i64,
        slices: u32,
    },
    DeleteShardGroup {
        id: ShardGroupId,
        now: i64,
    },
    /// Takes one shard out of its group; the last one takes the group along.
    DropShard {
        id: ShardId,
        now: i64,
    },
    /// Forgets groups that were deleted before `before`.
    PruneShardGroups {
        before: i64,
    },
    CreateUser {
        name: String,
        hash: String,
        admin: bool,
    },
    SetPassword {
        name: String,
        hash: String,
    },
    DropUser {
        name: String,
    },
    SetPrivilege {
        user: String,
        database: String,
        privilege: Privilege,
    },
    SetAdmin {
        user: String,
        admin: bool,
    },
    CreateContinuousQuery {
        database: String,
        name: String,
        query: String,
    },
    DropContinuousQuery {
        database: String,
        name: String,
    },
    /// Takes over how far continuous queries have come; those that are gone are left aside.
    NoteContinuousQueryRuns {
        runs: Vec<ContinuousQueryRun>,
    },
    CreateSubscription {
        database: String,
        retention_policy: String,
        name: String,
        mode: SubscriptionMode,
        destinations: Vec<String>,
    },
    DropSubscription {
        database: String,
        retention_policy: String,
        name: String,
    },
    StartDelete(DeleteTarget),
    FinishDelete {
        id: u64,
    },
}

/// What a command answers beyond "applied".
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// The number of a started delete, or the id of a node, group or database that was made or found.
    pub id: u64,
    /// Shards that are gone: their owners remove them.
    pub dropped_shards: Vec<(ShardGroupId, ShardId)>,
}
