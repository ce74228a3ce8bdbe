//! Where shard groups begin and end, and who owns their shards. Pure.

use tidemark_engine::model::{NodeId, TIME_MAX};

const HOUR: i64 = 3_600 * 1_000_000_000;
const DAY: i64 = 24 * HOUR;

/// The shortest a retention policy or a shard group may last.
pub const DURATION_MIN: i64 = HOUR;

/// ns from 0001-01-01 to 1970-01-01: groups are aligned to the year 1, so that a week starts on a Monday.
const YEAR_ONE: i128 = 62_135_596_800 * 1_000_000_000;

/// The span of a policy's groups when nobody said otherwise.
pub fn default_duration(policy_duration: i64) -> i64 {
    if policy_duration == 0 || policy_duration >= 180 * DAY {
        7 * DAY
    } else if policy_duration >= 2 * DAY {
        DAY
    } else {
        HOUR
    }
}

/// The span that is used for the one asked for (0: none was).
pub fn normalised_duration(asked: i64, policy_duration: i64) -> i64 {
    match asked {
        0 => default_duration(policy_duration),
        asked => asked.max(DURATION_MIN),
    }
}

/// `[start, end)` of the group that holds `timestamp`.
pub fn bounds(timestamp: i64, duration: i64) -> (i64, i64) {
    let since = timestamp as i128 + YEAR_ONE;
    let start = since - since.rem_euclid(duration as i128) - YEAR_ONE;
    let end = (start + duration as i128).min(TIME_MAX as i128 + 1);
    (start.max(i64::MIN as i128) as i64, end as i64)
}

/// The owners of each shard of a new group: as many shards as make every data node hold equally many, times `slices`.
///
/// `rotation` (a number that grows from group to group) chooses the node to begin with.
pub fn place(nodes: &[NodeId], replica_n: u32, slices: u32, rotation: u64) -> Vec<Vec<NodeId>> {
    if nodes.is_empty() {
        return Vec::new();
    }
    let replicas = (replica_n.max(1) as usize).min(nodes.len());
    let positions = (1..=nodes.len())
        .find(|n| (n * replicas).is_multiple_of(nodes.len()))
        .expect("as many positions as nodes always divide evenly");
    let first = (rotation % nodes.len() as u64) as usize;
    (0..positions * slices.max(1) as usize)
        .map(|shard| {
            let mut owners: Vec<NodeId> =
                (0..replicas).map(|copy| nodes[(first + shard * replicas + copy) % nodes.len()]).collect();
            owners.sort_unstable();
            owners
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weeks_start_on_monday() {
        // 2000-01-01 was a Saturday; its week began on 1999-12-27.
        let (start, end) = bounds(946_684_800_000_000_000, 7 * DAY);
        assert_eq!(start, 946_252_800_000_000_000);
        assert_eq!(end - start, 7 * DAY);
    }

    #[test]
    fn the_limits_of_time_have_groups() {
        for timestamp in [tidemark_engine::model::TIME_MIN, -1, 0, TIME_MAX] {
            let (start, end) = bounds(timestamp, 7 * DAY);
            assert!(start <= timestamp && timestamp < end, "{timestamp}");
        }
    }

    #[test]
    fn every_node_holds_equally_many_shards() {
        let nodes: Vec<NodeId> = (1..=3).map(NodeId).collect();
        for (replicas, shards) in [(1, 3), (2, 3), (3, 1), (5, 1)] {
            let placed = place(&nodes, replicas, 1, 7);
            assert_eq!(placed.len(), shards);
            for node in &nodes {
                let held = placed.iter().filter(|owners| owners.contains(node)).count();
                assert_eq!(held, placed.len() * placed[0].len() / 3);
            }
        }
        assert_eq!(place(&nodes[..1], 2, 4, 0), vec![vec![NodeId(1)]; 4]);
    }
}
