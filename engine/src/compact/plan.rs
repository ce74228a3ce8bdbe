//! Pure: a shard's files → what to merge next.
//!
//! Files stand in order of age, and of equal timestamps the later file wins, so only neighbours are merged and the
//! result takes their place. Levels keep rewriting rare: [`FAN_IN`] neighbours of a level become one of the next, so that
//! a value is rewritten about once per factor of [`FAN_IN`] in the shard's size. A shard that has gone cold is made one
//! file.
//!
//! Every plan makes [`measure`] smaller, so that planning ends; a property test holds it to that.

use crate::limits::COMPACTION_FILES_MAX;

/// Neighbours of one level that are merged into the next. Larger means fewer rewrites and more files to read.
pub const FAN_IN: usize = 8;
/// The level of snapshots.
pub const LEVEL_SNAPSHOT: u8 = 1;
/// The highest level of partial merges; above it only full compaction merges.
pub const LEVEL_MAX: u8 = 4;
/// The level of a shard's only file.
pub const LEVEL_FULL: u8 = 5;
/// A cold shard is compacted fully when this part of its bytes is not yet.
pub const FULL_UNFULL_PART: u64 = 8;
/// So many tombstones make even a hot shard rewrite the files they mask: each costs every scan a comparison per series.
pub const TOMBSTONES_MAX: usize = 64;

/// What the plan must know of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileFacts {
    pub level: u8,
    pub bytes: u64,
    /// Tombstones that mask rows of it.
    pub tombstones: usize,
}

/// Files a merge may always have, however little memory there is: with fewer, a plan might not shrink [`measure`].
pub const FILES_MIN: usize = 3;

/// What the plan must know of the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardFacts {
    /// No write for long enough to make it full.
    pub is_cold: bool,
    /// It has been cold so long that it is made full whatever it costs.
    pub is_overdue: bool,
    /// Files that fit into the memory of a merge, as far as is known.
    pub files_max: usize,
}

/// Merge `count` files from position `start` into one of `level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    pub start: usize,
    pub count: usize,
    pub level: u8,
}

/// The next thing to do, or `None` when the files are as they should be.
pub fn plan(files: &[FileFacts], shard: ShardFacts) -> Option<Plan> {
    let files_max = shard.files_max.clamp(FILES_MIN, COMPACTION_FILES_MAX);
    if shard.is_cold
        && let Some(plan) = plan_full(files, shard.is_overdue, files_max)
    {
        return Some(plan);
    }
    plan_level(files, files_max).or_else(|| plan_masked(files))
}

/// What every plan makes smaller: files, files not full, and tombstones on files.
pub fn measure(files: &[FileFacts]) -> usize {
    let unfull = files.iter().filter(|file| file.level < LEVEL_FULL).count();
    files.len() + unfull + files.iter().map(|file| file.tombstones).sum::<usize>()
}

/// All files into one. More than fit in one merge are brought together in several, the oldest first.
fn plan_full(files: &[FileFacts], is_overdue: bool, files_max: usize) -> Option<Plan> {
    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    let unfull: u64 = files.iter().filter(|file| file.level < LEVEL_FULL).map(|file| file.bytes).sum();
    let is_masked = files.iter().any(|file| file.tombstones > 0);
    let is_due =
        is_masked || unfull > bytes / FULL_UNFULL_PART || (is_overdue && (unfull > 0 || files.len() > 1));
    if !is_due || files.is_empty() {
        return None;
    }
    if files.len() > files_max {
        // The newest files are the smallest: bringing them together first rewrites least.
        let start = files.len() - files_max;
        return Some(Plan { start, count: files_max, level: LEVEL_MAX });
    }
    Some(Plan { start: 0, count: files.len(), level: LEVEL_FULL })
}

/// The first run of neighbours of the lowest level that is long enough. Files of lower levels in between go along.
fn plan_level(files: &[FileFacts], files_max: usize) -> Option<Plan> {
    for level in LEVEL_SNAPSHOT..LEVEL_MAX {
        let mut start = 0;
        for at in 0..=files.len() {
            if at < files.len() && files[at].level <= level {
                continue;
            }
            if at - start >= FAN_IN {
                let count = (at - start).min(files_max);
                return Some(Plan { start, count, level: level + 1 });
            }
            start = at + 1;
        }
    }
    None
}

/// A file with too many tombstones is rewritten where it stands.
fn plan_masked(files: &[FileFacts]) -> Option<Plan> {
    let start = files.iter().position(|file| file.tombstones > TOMBSTONES_MAX)?;
    Some(Plan { start, count: 1, level: files[start].level })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(level: u8, bytes: u64) -> FileFacts {
        FileFacts { level, bytes, tombstones: 0 }
    }

    const HOT: ShardFacts = ShardFacts { is_cold: false, is_overdue: false, files_max: COMPACTION_FILES_MAX };
    const COLD: ShardFacts = ShardFacts { is_cold: true, ..HOT };

    #[test]
    fn neighbours_of_a_level_become_one_of_the_next() {
        let snapshots = vec![file(1, 10); FAN_IN];
        assert_eq!(plan(&snapshots, HOT), Some(Plan { start: 0, count: FAN_IN, level: 2 }));
        assert_eq!(plan(&snapshots[1..], HOT), None);
        let mut mixed = vec![file(3, 100), file(2, 50)];
        mixed.extend(snapshots);
        assert_eq!(plan(&mixed, HOT), Some(Plan { start: 2, count: FAN_IN, level: 2 }));
    }

    #[test]
    fn a_cold_shard_is_made_full_only_when_enough_of_it_is_not() {
        assert_eq!(plan(&[file(1, 1)], COLD), Some(Plan { start: 0, count: 1, level: LEVEL_FULL }));
        assert_eq!(plan(&[file(LEVEL_FULL, 1)], COLD), None);
        assert_eq!(plan(&[file(LEVEL_FULL, 100), file(1, 5)], COLD), None);
        let overdue = ShardFacts { is_overdue: true, ..COLD };
        let full = Some(Plan { start: 0, count: 2, level: LEVEL_FULL });
        assert_eq!(plan(&[file(LEVEL_FULL, 100), file(1, 5)], overdue), full);
        assert_eq!(plan(&[file(LEVEL_FULL, 100), file(1, 50)], COLD), full);
        assert_eq!(plan(&[], COLD), None);
    }

    #[test]
    fn tombstones_are_applied_when_the_shard_is_cold_or_has_many() {
        let masked = FileFacts { level: LEVEL_FULL, bytes: 10, tombstones: 1 };
        assert_eq!(plan(&[masked], COLD), Some(Plan { start: 0, count: 1, level: LEVEL_FULL }));
        assert_eq!(plan(&[masked], HOT), None);
        let masked = FileFacts { tombstones: TOMBSTONES_MAX + 1, ..masked };
        assert_eq!(plan(&[file(1, 1), masked], HOT), Some(Plan { start: 1, count: 1, level: LEVEL_FULL }));
    }

    proptest! {
        /// From any files, doing what is planned makes the measure smaller each time, until there is nothing to do; a
        /// cold and overdue shard ends as one file without tombstones.
        #[test]
        fn every_plan_shrinks_the_measure(
            files in prop::collection::vec((1u8..=LEVEL_FULL, 1u64..1000, 0usize..100), 0..80),
            is_cold: bool,
            is_overdue: bool,
            files_max in 0usize..20,
        ) {
            let shard = ShardFacts { is_cold, is_overdue, files_max };
            let mut files: Vec<FileFacts> = files
                .into_iter()
                .map(|(level, bytes, tombstones)| FileFacts { level, bytes, tombstones })
                .collect();
            while let Some(plan) = plan(&files, shard) {
                let before = measure(&files);
                prop_assert!(plan.count >= 1 && plan.count <= COMPACTION_FILES_MAX);
                let merged = &files[plan.start..plan.start + plan.count];
                let bytes = merged.iter().map(|file| file.bytes).sum();
                let merged = FileFacts { level: plan.level, bytes, tombstones: 0 };
                files.splice(plan.start..plan.start + plan.count, [merged]);
                prop_assert!(measure(&files) < before, "{plan:?} {files:?}");
            }
            if is_cold && is_overdue && !files.is_empty() {
                prop_assert_eq!(files.len(), 1);
                prop_assert_eq!((files[0].level, files[0].tombstones), (LEVEL_FULL, 0));
            }
        }
    }
}
