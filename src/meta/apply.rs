//! From one state to the next. Pure: the same commands give the same state on every node.
//!
//! A refused command changes nothing but is counted: the index grows with every command, so that a reader who waits for
//! an index has seen the refusal's cause too.

use std::sync::Arc;

use tidemark_engine::model::{DatabaseId, RetentionPolicyId, ShardGroupId, ShardId};

use super::command::{Command, DeleteTarget, Outcome, RetentionPolicyChange, RetentionPolicySpec};
use super::data::*;
use super::error::MetaError;
use super::shard_group;

/// Name of the policy a new database gets.
pub const AUTOMATIC_POLICY: &str = "autogen";
/// Copies an automatic policy keeps at most.
const AUTOMATIC_REPLICAS_MAX: u32 = 3;
const NAME_BYTES_MAX: usize = 255;

/// Applies one command.
pub fn apply(data: &mut Data, command: &Command) -> Result<Outcome, MetaError> {
    data.index += 1;
    match command {
        Command::Found { cluster_id } => {
            if data.cluster_id == 0 {
                data.cluster_id = *cluster_id;
            }
            Ok(Outcome { id: data.cluster_id, ..Outcome::default() })
        }
        Command::SetNode { id, http_address, tcp_address, is_meta, is_data, cores } => {
            let node = NodeInfo {
                id: *id,
                http_address: http_address.clone(),
                tcp_address: tcp_address.clone(),
                is_meta: *is_meta,
                is_data: *is_data,
                cores: *cores,
            };
            match data.nodes.iter_mut().find(|known| known.id == *id) {
                Some(known) => *known = node,
                None => data.nodes.push(node),
            }
            data.nodes.sort_by_key(|node| node.id);
            data.last_id = data.last_id.max(id.0);
            Ok(Outcome { id: id.0, ..Outcome::default() })
        }
        Command::CreateDatabase { name, spec, autocreate } => {
            create_database(data, name, spec.as_ref(), *autocreate)
        }
        Command::DropDatabase { name } => Ok(drop_database(data, name)),
        Command::CreateRetentionPolicy { database, spec, make_default } => {
            create_retention_policy(data, database, spec, *make_default)
        }
        Command::AlterRetentionPolicy { database, name, change } => {
            alter_retention_policy(data, database, name, change)
        }
        Command::DropRetentionPolicy { database, name } => drop_retention_policy(data, database, name),
        Command::CreateShardGroup { database, retention_policy, timestamp, slices } => {
            create_shard_group(data, database, retention_policy, *timestamp, *slices)
        }
        Command::DeleteShardGroup { id, now } => Ok(delete_shard_group(data, *id, *now)),
        Command::DropShard { id, now } => Ok(drop_shard(data, *id, *now)),
        Command::PruneShardGroups { before } => {
            for_each_policy(data, |policy| {
                policy.shard_groups.retain(|group| group.deleted_at.is_none_or(|at| at >= *before));
            });
            Ok(Outcome::default())
        }
        Command::CreateUser { name, hash, admin } => create_user(data, name, hash, *admin),
        Command::SetPassword { name, hash } => {
            user_mut(data, name)?.hash.clone_from(hash);
            Ok(Outcome::default())
        }
        Command::DropUser { name } => {
            user_mut(data, name)?;
            data.users.retain(|user| user.name != *name);
            Ok(Outcome::default())
        }
        Command::SetPrivilege { user, database, privilege } => {
            if data.database(database).is_none() {
                user_mut(data, user)?;
                return Err(MetaError::DatabaseNotFound(database.clone()));
            }
            let user = user_mut(data, user)?;
            match user.privileges.iter_mut().find(|(name, _)| name == database) {
                Some((_, known)) => *known = *privilege,
                None => user.privileges.push((database.clone(), *privilege)),
            }
            Ok(Outcome::default())
        }
        Command::SetAdmin { user, admin } => {
            user_mut(data, user)?.admin = *admin;
            Ok(Outcome::default())
        }
        Command::CreateContinuousQuery { database, name, query } => {
            let database = database_mut(data, database)?;
            match database.continuous_queries.iter().find(|known| known.name == *name) {
                Some(known) if known.query.eq_ignore_ascii_case(query) => {}
                Some(_) => return Err(MetaError::ContinuousQueryExists),
                None => database
                    .continuous_queries
                    .push(ContinuousQueryInfo { name: name.clone(), query: query.clone() }),
            }
            Ok(Outcome::default())
        }
        Command::DropContinuousQuery { database, name } => {
            let database = database_mut(data, database)?;
            database.continuous_queries.retain(|known| known.name != *name);
            let id = database.id;
            data.continuous_query_runs.retain(|run| run.database != id || run.name != *name);
            Ok(Outcome::default())
        }
        Command::NoteContinuousQueryRuns { runs } => {
            note_runs(data, runs);
            Ok(Outcome::default())
        }
        Command::CreateSubscription { database, retention_policy, name, mode, destinations } => {
            let policy = policy_mut(data, database, retention_policy)?;
            if policy.subscriptions.iter().any(|known| known.name == *name) {
                return Err(MetaError::SubscriptionExists);
            }
            policy.subscriptions.push(SubscriptionInfo {
                name: name.clone(),
                mode: *mode,
                destinations: destinations.clone(),
            });
            Ok(Outcome::default())
        }
        Command::DropSubscription { database, retention_policy, name } => {
            let policy = policy_mut(data, database, retention_policy)?;
            let before = policy.subscriptions.len();
            policy.subscriptions.retain(|known| known.name != *name);
            if policy.subscriptions.len() == before {
                return Err(MetaError::SubscriptionNotFound);
            }
            Ok(Outcome::default())
        }
        Command::StartDelete(target) => Ok(start_delete(data, target)),
        Command::FinishDelete { id } => {
            data.pending_deletes.retain(|delete| delete.id != *id);
            Ok(Outcome::default())
        }
    }
}

fn create_database(
    data: &mut Data,
    name: &str,
    spec: Option<&RetentionPolicySpec>,
    autocreate: bool,
) -> Result<Outcome, MetaError> {
    check_name(name)?;
    if let Some(spec) = spec {
        check_policy_duration(spec.duration)?;
        check_name_or_empty(&spec.name)?;
        let policy = new_policy(data, spec);
        check_policy(&policy)?;
        if let Some(database) = data.database(name)
            && !database.retention_policies.is_empty()
        {
            let same = database
                .retention_policies
                .iter()
                .find(|known| known.name == policy.name)
                .is_some_and(|known| spec_matches(spec, known));
            if !same || database.default_retention_policy != policy.name {
                return Err(MetaError::RetentionPolicyConflict);
            }
            return Ok(Outcome { id: database.id.0, ..Outcome::default() });
        }
    }
    if let Some(database) = data.database(name)
        && spec.is_none()
    {
        return Ok(Outcome { id: database.id.0, ..Outcome::default() });
    }
    let id = match data.database(name) {
        Some(database) => database.id,
        None => {
            let id = DatabaseId(next_id(data));
            data.databases.push(Arc::new(DatabaseInfo {
                id,
                name: name.to_owned(),
                default_retention_policy: String::new(),
                retention_policies: Vec::new(),
                continuous_queries: Vec::new(),
            }));
            id
        }
    };
    if spec.is_some() || autocreate {
        let automatic = RetentionPolicySpec::default();
        let mut policy = new_policy(data, spec.unwrap_or(&automatic));
        policy.id = RetentionPolicyId(next_id(data));
        let database = database_mut(data, name)?;
        database.default_retention_policy.clone_from(&policy.name);
        database.retention_policies.push(Arc::new(policy));
    }
    Ok(Outcome { id: id.0, ..Outcome::default() })
}

fn drop_database(data: &mut Data, name: &str) -> Outcome {
    let Some(at) = data.databases.iter().position(|database| database.name == name) else {
        return Outcome::default();
    };
    let database = data.databases.remove(at);
    data.pending_deletes.retain(|delete| delete.database != database.id);
    data.continuous_query_runs.retain(|run| run.database != database.id);
    for user in &mut data.users {
        user.privileges.retain(|(database, _)| database != name);
    }
    let dropped_shards = database.retention_policies.iter().flat_map(|policy| shards_of(policy)).collect();
    Outcome { id: database.id.0, dropped_shards }
}

fn note_runs(data: &mut Data, runs: &[ContinuousQueryRun]) {
    for run in runs {
        let exists = data
            .database_by_id(run.database)
            .is_some_and(|database| database.continuous_queries.iter().any(|query| query.name == run.name));
        if !exists {
            continue;
        }
        let known = data.continuous_query_runs.iter_mut();
        match known.into_iter().find(|known| known.database == run.database && known.name == run.name) {
            Some(known) => known.clone_from(run),
            None => data.continuous_query_runs.push(run.clone()),
        }
    }
}

fn create_retention_policy(
    data: &mut Data,
    database: &str,
    spec: &RetentionPolicySpec,
    make_default: bool,
) -> Result<Outcome, MetaError> {
    check_policy_duration(spec.duration)?;
    check_name(&spec.name)?;
    let mut policy = new_policy(data, spec);
    check_policy(&policy)?;
    let Some(known) = data.database(database) else {
        return Err(MetaError::DatabaseNotFound(database.to_owned()));
    };
    if let Some(same) = known.retention_policies.iter().find(|known| known.name == policy.name) {
        if same.replica_n != policy.replica_n
            || same.duration != policy.duration
            || same.shard_group_duration != policy.shard_group_duration
        {
            return Err(MetaError::RetentionPolicyExists);
        }
        if make_default && known.default_retention_policy != policy.name {
            return Err(MetaError::RetentionPolicyConflict);
        }
        return Ok(Outcome::default());
    }
    policy.id = RetentionPolicyId(next_id(data));
    let database = database_mut(data, database)?;
    if make_default {
        database.default_retention_policy.clone_from(&policy.name);
    }
    database.retention_policies.push(Arc::new(policy));
    Ok(Outcome::default())
}

fn alter_retention_policy(
    data: &mut Data,
    database: &str,
    name: &str,
    change: &RetentionPolicyChange,
) -> Result<Outcome, MetaError> {
    check_policy_duration(change.duration)?;
    let policy = policy_mut(data, database, name)?;
    let duration = change.duration.unwrap_or(policy.duration);
    let span = change.shard_group_duration.unwrap_or(policy.shard_group_duration);
    if (change.duration.is_some() || change.shard_group_duration.is_some()) && duration > 0 && duration < span
    {
        return Err(MetaError::IncompatibleDurations);
    }
    if change.replica_n == Some(0) {
        return Err(MetaError::ReplicationFactorTooLow);
    }
    policy.duration = duration;
    policy.replica_n = change.replica_n.unwrap_or(policy.replica_n);
    if let Some(span) = change.shard_group_duration {
        policy.shard_group_duration = shard_group::normalised_duration(span, duration);
    }
    if change.make_default {
        let name = policy.name.clone();
        database_mut(data, database)?.default_retention_policy = name;
    }
    Ok(Outcome::default())
}

fn drop_retention_policy(data: &mut Data, database: &str, name: &str) -> Result<Outcome, MetaError> {
    if data.database(database).is_none() {
        return Ok(Outcome::default());
    }
    let database = database_mut(data, database)?;
    let Some(at) = database.retention_policies.iter().position(|policy| policy.name == name) else {
        return Ok(Outcome::default());
    };
    let policy = database.retention_policies.remove(at);
    if database.default_retention_policy == name {
        database.default_retention_policy.clear();
    }
    Ok(Outcome { id: policy.id.0, dropped_shards: shards_of(&policy) })
}

fn create_shard_group(
    data: &mut Data,
    database: &str,
    retention_policy: &str,
    timestamp: i64,
    slices: u32,
) -> Result<Outcome, MetaError> {
    let nodes: Vec<_> = data.nodes.iter().filter(|node| node.is_data).map(|node| node.id).collect();
    let slices = if slices == 0 { data.cores_max() } else { slices };
    let group_id = ShardGroupId(data.last_shard_group_id + 1);
    let first_shard = data.last_shard_id + 1;
    let policy = policy_mut(data, database, retention_policy)?;
    if let Some(group) = policy.group_at(timestamp) {
        return Ok(Outcome { id: group.id.0, ..Outcome::default() });
    }
    if nodes.is_empty() {
        return Err(MetaError::NodeNotFound);
    }
    let (mut start, mut end) = shard_group::bounds(timestamp, policy.shard_group_duration);
    // The span may have been altered: a new group fills the gap its neighbours leave.
    for group in policy.live_groups() {
        if group.end <= timestamp {
            start = start.max(group.end);
        } else if group.start > timestamp {
            end = end.min(group.start);
        }
    }
    let shards: Vec<ShardInfo> = shard_group::place(&nodes, policy.replica_n, slices, group_id.0)
        .into_iter()
        .zip(first_shard..)
        .map(|(owners, id)| ShardInfo { id: ShardId(id), owners })
        .collect();
    let last_shard = first_shard + shards.len() as u64 - 1;
    policy.shard_groups.push(ShardGroupInfo { id: group_id, start, end, deleted_at: None, shards });
    policy.shard_groups.sort_by_key(|group| (group.start, group.end));
    data.last_shard_group_id = group_id.0;
    data.last_shard_id = last_shard;
    Ok(Outcome { id: group_id.0, ..Outcome::default() })
}

fn delete_shard_group(data: &mut Data, id: ShardGroupId, now: i64) -> Outcome {
    let mut dropped_shards = Vec::new();
    for_each_group(data, |group| {
        if group.id == id && group.deleted_at.is_none() {
            group.deleted_at = Some(now);
            dropped_shards.extend(group.shards.iter().map(|shard| (id, shard.id)));
        }
    });
    Outcome { id: id.0, dropped_shards }
}

fn drop_shard(data: &mut Data, id: ShardId, now: i64) -> Outcome {
    let mut dropped_shards = Vec::new();
    for_each_group(data, |group| {
        if group.deleted_at.is_some() || !group.shards.iter().any(|shard| shard.id == id) {
            return;
        }
        dropped_shards.push((group.id, id));
        if group.shards.len() == 1 {
            group.deleted_at = Some(now);
        } else {
            // Its slot stays, so that the hashes of its neighbours' series still find them; a new id holds what comes.
            group.shards.iter_mut().filter(|shard| shard.id == id).for_each(|shard| shard.id = ShardId(0));
        }
    });
    // The slot of a dropped shard gets an id that was never used.
    let mut next = data.last_shard_id;
    for_each_group(data, |group| {
        for shard in group.shards.iter_mut().filter(|shard| shard.id == ShardId(0)) {
            next += 1;
            shard.id = ShardId(next);
        }
    });
    data.last_shard_id = next;
    Outcome { id: id.0, dropped_shards }
}

fn create_user(data: &mut Data, name: &str, hash: &str, admin: bool) -> Result<Outcome, MetaError> {
    if name.is_empty() {
        return Err(MetaError::UsernameRequired);
    }
    if data.user(name).is_some() {
        return Err(MetaError::UserExists);
    }
    data.users.push(UserInfo { name: name.to_owned(), hash: hash.to_owned(), admin, privileges: Vec::new() });
    Ok(Outcome::default())
}

fn start_delete(data: &mut Data, target: &DeleteTarget) -> Outcome {
    let id = next_id(data);
    data.pending_deletes.push(PendingDelete {
        id,
        database: target.database,
        retention_policy: target.retention_policy,
        measurements: target.measurements.clone(),
        series: target.series.clone(),
        time: target.time,
        whole_measurements: target.whole_measurements,
    });
    Outcome { id, ..Outcome::default() }
}

/// A policy as a specification describes it, without an id.
fn new_policy(data: &Data, spec: &RetentionPolicySpec) -> RetentionPolicyInfo {
    let duration = spec.duration.unwrap_or(0);
    let data_nodes = data.nodes.iter().filter(|node| node.is_data).count() as u32;
    RetentionPolicyInfo {
        id: RetentionPolicyId(0),
        name: if spec.name.is_empty() { AUTOMATIC_POLICY.to_owned() } else { spec.name.clone() },
        duration,
        shard_group_duration: shard_group::normalised_duration(
            spec.shard_group_duration.unwrap_or(0),
            duration,
        ),
        replica_n: spec.replica_n.unwrap_or(data_nodes.clamp(1, AUTOMATIC_REPLICAS_MAX)),
        shard_groups: Vec::new(),
        subscriptions: Vec::new(),
    }
}

fn spec_matches(spec: &RetentionPolicySpec, known: &RetentionPolicyInfo) -> bool {
    let span = shard_group::normalised_duration(spec.shard_group_duration.unwrap_or(0), known.duration);
    spec.duration.is_none_or(|duration| duration == known.duration)
        && spec.replica_n.is_none_or(|replicas| replicas == known.replica_n)
        && span == known.shard_group_duration
}

fn check_policy_duration(duration: Option<i64>) -> Result<(), MetaError> {
    match duration {
        Some(duration) if duration != 0 && duration < shard_group::DURATION_MIN => {
            Err(MetaError::RetentionPolicyDurationTooLow)
        }
        _ => Ok(()),
    }
}

fn check_policy(policy: &RetentionPolicyInfo) -> Result<(), MetaError> {
    if policy.replica_n < 1 {
        return Err(MetaError::ReplicationFactorTooLow);
    }
    if policy.duration > 0 && policy.duration < policy.shard_group_duration {
        return Err(MetaError::IncompatibleDurations);
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), MetaError> {
    if name.is_empty() { Err(MetaError::InvalidName) } else { check_name_or_empty(name) }
}

fn check_name_or_empty(name: &str) -> Result<(), MetaError> {
    if name.len() > NAME_BYTES_MAX {
        return Err(MetaError::NameTooLong);
    }
    let printable = name.chars().all(|c| !c.is_control() && (c == ' ' || !c.is_whitespace()));
    if !printable || name == "." || name == ".." || name.contains(['/', '\\']) {
        return Err(MetaError::InvalidName);
    }
    Ok(())
}

fn next_id(data: &mut Data) -> u64 {
    data.last_id += 1;
    data.last_id
}

fn database_mut<'a>(data: &'a mut Data, name: &str) -> Result<&'a mut DatabaseInfo, MetaError> {
    data.databases
        .iter_mut()
        .find(|database| database.name == name)
        .map(Arc::make_mut)
        .ok_or_else(|| MetaError::DatabaseNotFound(name.to_owned()))
}

fn policy_mut<'a>(
    data: &'a mut Data,
    database: &str,
    name: &str,
) -> Result<&'a mut RetentionPolicyInfo, MetaError> {
    let database = database_mut(data, database)?;
    let name = if name.is_empty() { database.default_retention_policy.clone() } else { name.to_owned() };
    database
        .retention_policies
        .iter_mut()
        .find(|policy| policy.name == name)
        .map(Arc::make_mut)
        .ok_or(MetaError::RetentionPolicyNotFound(name))
}

fn user_mut<'a>(data: &'a mut Data, name: &str) -> Result<&'a mut UserInfo, MetaError> {
    data.users.iter_mut().find(|user| user.name == name).ok_or(MetaError::UserNotFound)
}

fn for_each_policy(data: &mut Data, mut f: impl FnMut(&mut RetentionPolicyInfo)) {
    for database in &mut data.databases {
        for policy in &mut Arc::make_mut(database).retention_policies {
            f(Arc::make_mut(policy));
        }
    }
}

fn for_each_group(data: &mut Data, mut f: impl FnMut(&mut ShardGroupInfo)) {
    for_each_policy(data, |policy| policy.shard_groups.iter_mut().for_each(&mut f));
}

fn shards_of(policy: &RetentionPolicyInfo) -> Vec<(ShardGroupId, ShardId)> {
    policy
        .live_groups()
        .flat_map(|group| group.shards.iter().map(move |shard| (group.id, shard.id)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemark_engine::model::NodeId;

    const HOUR: i64 = 3_600 * 1_000_000_000;

    fn one_node() -> Data {
        let mut data = Data::default();
        let node = Command::SetNode {
            id: NodeId(1),
            http_address: String::new(),
            tcp_address: String::new(),
            is_meta: true,
            is_data: true,
            cores: 2,
        };
        apply(&mut data, &node).expect("node");
        data
    }

    fn create(data: &mut Data, name: &str) -> Result<Outcome, MetaError> {
        apply(data, &Command::CreateDatabase { name: name.to_owned(), spec: None, autocreate: true })
    }

    fn group(data: &mut Data, timestamp: i64) -> u64 {
        let command = Command::CreateShardGroup {
            database: "db".to_owned(),
            retention_policy: String::new(),
            timestamp,
            slices: 0,
        };
        apply(data, &command).expect("group").id
    }

    #[test]
    fn a_new_database_has_an_automatic_policy_and_creating_it_again_is_no_error() {
        let mut data = one_node();
        create(&mut data, "db").expect("created");
        create(&mut data, "db").expect("again");
        assert_eq!(data.databases.len(), 1);
        let policy = data.retention_policy("db", "").expect("default policy");
        assert_eq!((policy.name.as_str(), policy.duration, policy.replica_n), ("autogen", 0, 1));
        assert_eq!(policy.shard_group_duration, 7 * 24 * HOUR);
    }

    #[test]
    fn names_that_could_escape_a_folder_are_refused() {
        let mut data = one_node();
        for name in ["..", ".", "a/b", "a\\b", "a\u{0}", "tab\t"] {
            assert_eq!(create(&mut data, name), Err(MetaError::InvalidName), "{name:?}");
        }
        assert_eq!(create(&mut data, &"x".repeat(256)), Err(MetaError::NameTooLong));
        assert_eq!(create(&mut data, ""), Err(MetaError::InvalidName));
        assert!(data.databases.is_empty());
    }

    #[test]
    fn a_shard_group_has_a_slice_per_core_and_is_made_once() {
        let mut data = one_node();
        create(&mut data, "db").expect("created");
        let first = group(&mut data, 0);
        assert_eq!(group(&mut data, 1), first);
        let policy = data.retention_policy("db", "autogen").expect("policy");
        assert_eq!(policy.shard_groups[0].shards.len(), 2);
        assert_ne!(group(&mut data, 8 * 24 * HOUR), first);
    }

    #[test]
    fn a_group_made_after_the_span_changed_does_not_overlap_its_neighbours() {
        let mut data = one_node();
        create(&mut data, "db").expect("created");
        group(&mut data, 0);
        let change = RetentionPolicyChange {
            shard_group_duration: Some(30 * 24 * HOUR),
            ..RetentionPolicyChange::default()
        };
        let alter =
            Command::AlterRetentionPolicy { database: "db".to_owned(), name: "autogen".to_owned(), change };
        apply(&mut data, &alter).expect("altered");
        group(&mut data, 10 * 24 * HOUR);
        group(&mut data, -10 * 24 * HOUR);
        let policy = data.retention_policy("db", "autogen").expect("policy");
        assert_eq!(policy.shard_groups.len(), 3);
        for pair in policy.shard_groups.windows(2) {
            assert!(pair[0].end <= pair[1].start, "{pair:?}");
        }
    }

    #[test]
    fn policies_follow_the_rules_of_durations() {
        let mut data = one_node();
        create(&mut data, "db").expect("created");
        let make = |data: &mut Data, duration, span| {
            let spec = RetentionPolicySpec {
                name: "rp".to_owned(),
                duration: Some(duration),
                replica_n: Some(1),
                shard_group_duration: span,
            };
            apply(
                data,
                &Command::CreateRetentionPolicy { database: "db".to_owned(), spec, make_default: false },
            )
        };
        assert_eq!(make(&mut data, 60, None), Err(MetaError::RetentionPolicyDurationTooLow));
        assert_eq!(make(&mut data, 2 * HOUR, Some(3 * HOUR)), Err(MetaError::IncompatibleDurations));
        make(&mut data, 2 * HOUR, None).expect("created");
        make(&mut data, 2 * HOUR, None).expect("the same again");
        assert_eq!(make(&mut data, 3 * HOUR, None), Err(MetaError::RetentionPolicyExists));
    }

    #[test]
    fn dropping_a_database_names_the_shards_that_go() {
        let mut data = one_node();
        create(&mut data, "db").expect("created");
        group(&mut data, 0);
        let outcome = apply(&mut data, &Command::DropDatabase { name: "db".to_owned() }).expect("dropped");
        assert_eq!(outcome.dropped_shards.len(), 2);
        assert_eq!(data.live_shards().count(), 0);
    }

    #[test]
    fn what_is_known_of_a_continuous_query_ends_with_it() {
        let mut data = one_node();
        create(&mut data, "db").expect("created");
        let database = data.databases[0].id;
        let run = |name: &str| ContinuousQueryRun {
            database,
            name: name.to_owned(),
            last_run: 60,
            due_again: Vec::new(),
            error: String::new(),
        };
        let create_query = Command::CreateContinuousQuery {
            database: "db".to_owned(),
            name: "cq".to_owned(),
            query: "CREATE".to_owned(),
        };
        apply(&mut data, &create_query).expect("created");
        let note = Command::NoteContinuousQueryRuns { runs: vec![run("cq"), run("gone")] };
        apply(&mut data, &note).expect("noted");
        apply(&mut data, &note).expect("noted again");
        assert_eq!(data.continuous_query_runs, vec![run("cq")]);
        let drop = Command::DropContinuousQuery { database: "db".to_owned(), name: "cq".to_owned() };
        apply(&mut data, &drop).expect("dropped");
        assert_eq!(data.continuous_query_runs, vec![]);
    }

    #[test]
    fn a_dropped_shard_leaves_its_slot_with_a_new_id() {
        let mut data = one_node();
        create(&mut data, "db").expect("created");
        group(&mut data, 0);
        apply(&mut data, &Command::DropShard { id: ShardId(1), now: 5 }).expect("dropped");
        let policy = data.retention_policy("db", "").expect("policy");
        let ids: Vec<u64> = policy.shard_groups[0].shards.iter().map(|shard| shard.id.0).collect();
        assert_eq!(ids, vec![3, 2]);
    }
}
