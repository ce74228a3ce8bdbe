//! Pure: which core of this node owns a shard, for any number of cores.
//!
//! Nothing of it is ever written to disk: after a start with another number of cores, each shard is simply somewhere
//! else.

use tidemark_engine::model::ShardGroupId;

/// The core of the shard at `position` among the `shards` of its group.
///
/// A series has the same position in every group of so many shards. Where each core gets as many of them as every other, it
/// therefore stays on one core: a question about its last row, or about all its rows, is one core's. Other groups begin at
/// consecutive cores, so that those of one shard are spread too.
pub fn core_of(group: ShardGroupId, position: usize, shards: usize, cores: usize) -> usize {
    if shards.is_multiple_of(cores) { position % cores } else { (first(group, cores) + position) % cores }
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
    fn where_each_core_has_as_many_shards_as_every_other_a_series_stays_on_its_core() {
        for cores in 1..9 {
            for (group, shards) in [(0, cores), (1, cores), (2, cores), (1, 2 * cores), (2, 2 * cores)] {
                for position in 0..shards {
                    assert_eq!(core_of(ShardGroupId(group), position, shards, cores), position % cores);
                }
            }
        }
    }

    #[test]
    fn groups_of_one_shard_go_round() {
        let used: Vec<_> = (1..=4).map(|group| core_of(ShardGroupId(group), 0, 1, 3)).collect();
        assert_eq!(used, [1, 2, 0, 1]);
    }

    #[test]
    fn shards_that_do_not_go_into_the_cores_evenly_take_turns() {
        let used = |group| (0..3).map(|at| core_of(ShardGroupId(group), at, 3, 2)).collect::<Vec<_>>();
        assert_eq!((used(1), used(2)), (vec![1, 0, 1], vec![0, 1, 0]));
    }
}
