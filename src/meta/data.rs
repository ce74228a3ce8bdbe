//! The state itself: plain values, in order of creation, as SHOW statements list them.

use std::sync::Arc;

use tidemark_engine::model::{DatabaseId, NodeId, RetentionPolicyId, ShardGroupId, ShardId, TimeRange};
use tidemark_engine::scan::request::TagFilter;

/// All that the cluster agrees on. Cloning is cheap where nothing changes: databases are shared.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Data {
    /// Number of commands applied; a reader waits for an index, never for a time.
    pub index: u64,
    /// Random, made with the first command; 0 before it.
    pub cluster_id: u64,
    pub nodes: Vec<NodeInfo>,
    pub databases: Vec<Arc<DatabaseInfo>>,
    pub users: Vec<UserInfo>,
    /// Deletes that not every owner is known to have carried out.
    pub pending_deletes: Vec<PendingDelete>,
    /// What is known of continuous queries that have run; those that never did are not in it.
    pub continuous_query_runs: Vec<ContinuousQueryRun>,
    /// The last id given out, one sequence for all kinds of things.
    pub last_id: u64,
    pub last_shard_group_id: u64,
    pub last_shard_id: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    pub id: NodeId,
    /// Where clients reach it over HTTP.
    pub http_address: String,
    /// Where other nodes reach it.
    pub tcp_address: String,
    pub is_meta: bool,
    pub is_data: bool,
    /// Engine cores; the slices of new shard groups follow the largest data node.
    pub cores: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub struct DatabaseInfo {
    pub id: DatabaseId,
    pub name: String,
    /// Name of the default retention policy; empty when there is none.
    pub default_retention_policy: String,
    pub retention_policies: Vec<Arc<RetentionPolicyInfo>>,
    pub continuous_queries: Vec<ContinuousQueryInfo>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RetentionPolicyInfo {
    pub id: RetentionPolicyId,
    pub name: String,
    /// How long points are kept, in ns; 0 is for ever.
    pub duration: i64,
    /// The span of new shard groups, in ns.
    pub shard_group_duration: i64,
    pub replica_n: u32,
    /// By start time. Deleted groups stay until they are pruned.
    pub shard_groups: Vec<ShardGroupInfo>,
    pub subscriptions: Vec<SubscriptionInfo>,
}

/// All shards of one retention policy for `[start, end)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardGroupInfo {
    pub id: ShardGroupId,
    pub start: i64,
    pub end: i64,
    /// When it was marked deleted, ns.
    pub deleted_at: Option<i64>,
    pub shards: Vec<ShardInfo>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardInfo {
    pub id: ShardId,
    /// Data nodes that hold it.
    pub owners: Vec<NodeId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContinuousQueryInfo {
    pub name: String,
    /// The whole CREATE CONTINUOUS QUERY statement, canonical.
    pub query: String,
}

/// How far a continuous query has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContinuousQueryRun {
    pub database: DatabaseId,
    pub name: String,
    /// The end of the last window a regular run has computed, ns.
    pub last_run: i64,
    /// What is to be computed again: points came late, or a run failed. Apart, ascending.
    pub due_again: Vec<TimeRange>,
    /// Why the last run failed; empty when it did not.
    pub error: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionMode {
    All,
    Any,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionInfo {
    pub name: String,
    pub mode: SubscriptionMode,
    pub destinations: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserInfo {
    pub name: String,
    /// argon2id, in PHC text form.
    pub hash: String,
    pub admin: bool,
    /// (database, privilege), in order of granting; `None` after a REVOKE.
    pub privileges: Vec<(String, Privilege)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Privilege {
    None,
    Read,
    Write,
    All,
}

/// A delete all owners must carry out. Idempotent; finished by a command of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingDelete {
    pub id: u64,
    pub database: DatabaseId,
    /// `None`: every retention policy.
    pub retention_policy: Option<RetentionPolicyId>,
    /// `None`: every measurement.
    pub measurements: Option<Vec<Vec<u8>>>,
    pub series: Option<TagFilter>,
    pub time: TimeRange,
    /// The measurements themselves go, with their field types.
    pub whole_measurements: bool,
}

impl Data {
    pub fn database(&self, name: &str) -> Option<&Arc<DatabaseInfo>> {
        self.databases.iter().find(|database| database.name == name)
    }

    pub fn database_by_id(&self, id: DatabaseId) -> Option<&Arc<DatabaseInfo>> {
        self.databases.iter().find(|database| database.id == id)
    }

    /// The policy named, or the default one for an empty name.
    pub fn retention_policy(&self, database: &str, name: &str) -> Option<&Arc<RetentionPolicyInfo>> {
        self.database(database)?.retention_policy(name)
    }

    pub fn user(&self, name: &str) -> Option<&UserInfo> {
        self.users.iter().find(|user| user.name == name)
    }

    /// How far a continuous query has come; `None`: it never ran.
    pub fn continuous_query_run(&self, database: DatabaseId, name: &str) -> Option<&ContinuousQueryRun> {
        self.continuous_query_runs.iter().find(|run| run.database == database && run.name == name)
    }

    pub fn has_admin(&self) -> bool {
        self.users.iter().any(|user| user.admin)
    }

    /// Every live shard with its group and retention policy, for stores at start and for statistics.
    pub fn live_shards(
        &self,
    ) -> impl Iterator<Item = (&DatabaseInfo, &RetentionPolicyInfo, &ShardGroupInfo, &ShardInfo)> {
        self.databases.iter().flat_map(|database| {
            database.retention_policies.iter().flat_map(move |policy| {
                policy.live_groups().flat_map(move |group| {
                    group.shards.iter().map(move |shard| (&**database, &**policy, group, shard))
                })
            })
        })
    }

    /// Most engine cores of a data node: the slices of a new shard group unless configured.
    pub fn cores_max(&self) -> u32 {
        self.nodes.iter().filter(|node| node.is_data).map(|node| node.cores).max().unwrap_or(1).max(1)
    }
}

impl DatabaseInfo {
    /// The policy named, or the default one for an empty name.
    pub fn retention_policy(&self, name: &str) -> Option<&Arc<RetentionPolicyInfo>> {
        let name = if name.is_empty() { &self.default_retention_policy } else { name };
        self.retention_policies.iter().find(|policy| policy.name == *name)
    }
}

impl RetentionPolicyInfo {
    pub fn live_groups(&self) -> impl Iterator<Item = &ShardGroupInfo> {
        self.shard_groups.iter().filter(|group| group.deleted_at.is_none())
    }

    /// The live group that holds `timestamp`.
    pub fn group_at(&self, timestamp: i64) -> Option<&ShardGroupInfo> {
        let after = self.shard_groups.partition_point(|group| group.start <= timestamp);
        self.shard_groups[..after]
            .iter()
            .rev()
            .find(|group| group.deleted_at.is_none() && timestamp < group.end)
    }

    /// Live groups that overlap `time`, by start.
    pub fn groups_in(&self, time: TimeRange) -> impl Iterator<Item = &ShardGroupInfo> {
        self.live_groups().filter(move |group| group.range().overlaps(&time))
    }

    /// Points before this are beyond the policy; `i64::MIN` when it keeps for ever.
    pub fn oldest_kept(&self, now: i64) -> i64 {
        if self.duration == 0 { i64::MIN } else { now.saturating_sub(self.duration) }
    }
}

impl ShardGroupInfo {
    pub fn range(&self) -> TimeRange {
        TimeRange::new(self.start, self.end)
    }

    /// The shard of a series by its placement hash.
    pub fn shard_for(&self, hash: u64) -> &ShardInfo {
        &self.shards[shard_position(hash, self.shards.len())]
    }
}

/// Which of a group's shards a series belongs to: each has an equal span of hashes, which takes no division (Lemire, Fast
/// Random Integer Generation in an Interval, 2019). Frozen: shards on disk depend on it.
#[inline]
pub fn shard_position(hash: u64, shards: usize) -> usize {
    ((u128::from(hash) * shards as u128) >> 64) as usize
}

impl UserInfo {
    /// What the user may do on a database; `None` where nothing was ever granted.
    pub fn privilege(&self, database: &str) -> Option<Privilege> {
        self.privileges.iter().find(|(name, _)| name == database).map(|(_, privilege)| *privilege)
    }

    pub fn may(&self, wanted: Privilege, database: &str) -> bool {
        self.admin
            || match self.privilege(database) {
                Some(Privilege::All) => true,
                Some(privilege) => privilege == wanted && wanted != Privilege::None,
                None => false,
            }
    }
}

impl Privilege {
    /// As SHOW GRANTS prints it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "NO PRIVILEGES",
            Self::Read => "READ",
            Self::Write => "WRITE",
            Self::All => "ALL PRIVILEGES",
        }
    }
}
