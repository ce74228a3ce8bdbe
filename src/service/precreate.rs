//! Pre-creation: the next shard group of a policy in use exists before its first point arrives, so that the turn of an
//! hour or a day costs writers nothing.

use std::time::Duration;

use crate::cores::Cores;
use crate::meta::{Command, Data};

/// Runs until the core ends.
pub async fn run(cores: Cores, check_interval: Duration, advance: Duration, slices: u32) {
    loop {
        cores.runtime().sleep(check_interval).await;
        let now = cores.runtime().wall_ns();
        for command in due(&cores.view().current(), now, advance.as_nanos() as i64, slices) {
            if let Err(error) = cores.propose(command).await {
                tracing::warn!(%error, "a shard group was not made ahead of time");
            }
        }
    }
}

/// A command for each policy whose last group ends within `advance` from now.
fn due(data: &Data, now: i64, advance: i64, slices: u32) -> Vec<Command> {
    let mut commands = Vec::new();
    for database in &data.databases {
        for policy in &database.retention_policies {
            let Some(last) = policy.live_groups().last() else { continue };
            if now < last.end && last.end < now.saturating_add(advance) && policy.group_at(last.end).is_none()
            {
                commands.push(Command::CreateShardGroup {
                    database: database.name.clone(),
                    retention_policy: policy.name.clone(),
                    timestamp: last.end,
                    slices,
                });
            }
        }
    }
    commands
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::meta::apply::apply;
    use crate::meta::{RetentionPolicySpec, ShardGroupInfo};
    use tidemark_engine::model::NodeId;

    pub const HOUR: i64 = 3_600 * 1_000_000_000;

    /// A database with one policy that has one group.
    pub fn with_group(duration: i64, timestamp: i64) -> (Data, ShardGroupInfo) {
        let mut data = Data::default();
        let spec = RetentionPolicySpec { duration: Some(duration), ..RetentionPolicySpec::default() };
        let commands = [
            Command::SetNode {
                id: NodeId(1),
                http_address: String::new(),
                tcp_address: String::new(),
                is_meta: true,
                is_data: true,
                cores: 1,
            },
            Command::CreateDatabase { name: "db".to_owned(), spec: Some(spec), autocreate: true },
            Command::CreateShardGroup {
                database: "db".to_owned(),
                retention_policy: String::new(),
                timestamp,
                slices: 1,
            },
        ];
        for command in commands {
            apply(&mut data, &command).expect("applies");
        }
        let group = data.retention_policy("db", "").expect("policy").shard_groups[0].clone();
        (data, group)
    }

    #[test]
    fn the_next_group_is_due_shortly_before_the_last_one_ends() {
        let (mut data, group) = with_group(48 * HOUR, 10 * 24 * HOUR);
        let half_an_hour = HOUR / 2;
        assert_eq!(due(&data, group.end - HOUR, half_an_hour, 0), vec![]);
        let commands = due(&data, group.end - 1_000, half_an_hour, 0);
        assert_eq!(commands.len(), 1);
        apply(&mut data, &commands[0]).expect("made");
        assert_eq!(due(&data, group.end - 1_000, half_an_hour, 0), vec![]);
        let policy = data.retention_policy("db", "").expect("policy");
        assert_eq!(policy.shard_groups[1].start, group.end);
    }
}
