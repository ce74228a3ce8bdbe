//! Pure: which core of this node owns a shard, for any number of cores.
//!
//! Nothing of it is ever written to disk: after a start with another number of cores, each shard is simply somewhere
//! else.

use tidemark_engine::model::ShardGroupId;

/// The core of the shard at `position` among the shards of its group. Consecutive groups begin at consecutive cores, so
/// that groups of one shard are spread too.
pub fn core_of(group: ShardGroupId, position: usize, cores: usize) -> usize {
    (first(group, cores) + position) % cores
}

/// The core that decides the types of a group's fields.
pub fn registrar_of(group: ShardGroupId, cores: usize) -> usize {
    first(group, cores)
}

fn first(group: ShardGroupId, cores: usize) -> usize {
    (group.0 % cores as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_with_a_shard_per_core_uses_every_core_once() {
        for cores in 1..9 {
            for group in 0..20 {
                let mut used: Vec<_> =
                    (0..cores).map(|position| core_of(ShardGroupId(group), position, cores)).collect();
                used.sort_unstable();
                assert_eq!(used, (0..cores).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn groups_of_one_shard_go_round() {
        let used: Vec<_> = (1..=4).map(|group| core_of(ShardGroupId(group), 0, 3)).collect();
        assert_eq!(used, [1, 2, 0, 1]);
    }
}
