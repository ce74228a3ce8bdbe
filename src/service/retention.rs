//! Retention: shard groups whose every point is older than their policy keeps are deleted, data and all.

use std::time::Duration;

use tidemark_engine::model::ShardGroupId;

use crate::cores::Cores;
use crate::meta::{Command, Data};

/// A deleted group is remembered this long, so that late messages about it are understood: two weeks.
const REMEMBERED_NS: i64 = 14 * 24 * 3_600 * 1_000_000_000;

/// Runs until the core ends.
pub async fn run(cores: Cores, check_interval: Duration) {
    loop {
        cores.runtime().sleep(check_interval).await;
        enforce(&cores, cores.runtime().wall_ns()).await;
    }
}

/// One round.
pub async fn enforce(cores: &Cores, now: i64) {
    let data = cores.view().current();
    for id in expired(&data, now) {
        tracing::info!(shard_group = id.0, "deleting an expired shard group");
        if let Err(error) = cores.propose(Command::DeleteShardGroup { id, now }).await {
            tracing::warn!(shard_group = id.0, %error, "an expired shard group stays until the next round");
        }
    }
    let before = now.saturating_sub(REMEMBERED_NS);
    if forgettable(&data, before)
        && let Err(error) = cores.propose(Command::PruneShardGroups { before }).await
    {
        tracing::warn!(%error, "deleted shard groups stay listed until the next round");
    }
}

/// Live groups that end before everything their policy keeps.
fn expired(data: &Data, now: i64) -> Vec<ShardGroupId> {
    policies(data)
        .filter(|policy| policy.duration > 0)
        .flat_map(|policy| {
            policy
                .live_groups()
                .filter(move |group| group.end.saturating_add(policy.duration) < now)
                .map(|group| group.id)
        })
        .collect()
}

fn forgettable(data: &Data, before: i64) -> bool {
    policies(data)
        .any(|policy| policy.shard_groups.iter().any(|group| group.deleted_at.is_some_and(|at| at < before)))
}

fn policies(data: &Data) -> impl Iterator<Item = &crate::meta::RetentionPolicyInfo> {
    data.databases.iter().flat_map(|database| database.retention_policies.iter().map(|policy| &**policy))
}

#[cfg(test)]
mod tests {
    use super::super::precreate::tests::{HOUR, with_group};
    use super::*;

    #[test]
    fn a_group_goes_when_its_last_point_is_too_old_and_not_before() {
        let (data, group) = with_group(48 * HOUR, 10 * 24 * HOUR);
        let kept_until = group.end + 48 * HOUR;
        assert_eq!(expired(&data, kept_until), vec![]);
        assert_eq!(expired(&data, kept_until + 1), vec![group.id]);
    }

    #[test]
    fn a_policy_that_keeps_for_ever_loses_nothing() {
        let (data, _) = with_group(0, 0);
        assert_eq!(expired(&data, i64::MAX), vec![]);
    }
}
