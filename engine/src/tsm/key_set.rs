//! Which series of a measurement a file has, in a few bytes: files of one shard mostly have the same ones, and of those
//! with equal sets only one has to be walked.
//!
//! Keys are digested under two secrets of the process, so that nobody can name series that pass for others.

use std::cell::RefCell;
use std::collections::hash_map::{DefaultHasher, RandomState};
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::LazyLock;

static SECRETS: LazyLock<[RandomState; 2]> = LazyLock::new(Default::default);

/// Measurements of a file whose sets are kept.
const KEPT_MAX: usize = 16;

/// The series of one measurement in one file, which stand there one after the other.
#[derive(Debug, Clone, Copy)]
pub struct KeySet {
    digest: [u64; 2],
    /// Position of the first one.
    pub first: u32,
    count: u32,
}

impl KeySet {
    /// Whether the other file has the same series, in the same order.
    pub fn equals(&self, other: &Self) -> bool {
        self.count == other.count && self.digest == other.digest
    }
}

/// A [`KeySet`] in the making: all series of the measurement pass by.
pub struct KeySetWalk {
    hashers: [DefaultHasher; 2],
    first: u32,
    count: u32,
    has_gap: bool,
}

impl Default for KeySetWalk {
    fn default() -> Self {
        Self {
            hashers: SECRETS.each_ref().map(BuildHasher::build_hasher),
            first: 0,
            count: 0,
            has_gap: false,
        }
    }
}

impl KeySetWalk {
    pub fn pass(&mut self, position: u32, key: &[u8]) {
        if self.count == 0 {
            self.first = position;
        }
        self.has_gap |= position != self.first + self.count;
        self.count += 1;
        self.hashers.iter_mut().for_each(|hasher| key.hash(hasher));
    }

    /// `None` where another measurement's series stand between: `m!` between `m` and `m,a=1`.
    pub fn finish(self) -> Option<KeySet> {
        let Self { hashers, first, count, has_gap } = self;
        (count > 0 && !has_gap).then(|| KeySet {
            digest: hashers.map(|hasher| hasher.finish()),
            first,
            count,
        })
    }
}

/// The sets of a file that are known.
#[derive(Default)]
pub(super) struct KeySets(RefCell<Vec<(Vec<u8>, KeySet)>>);

impl KeySets {
    pub fn get(&self, measurement: &[u8]) -> Option<KeySet> {
        self.0.borrow().iter().find(|(name, _)| name == measurement).map(|(_, set)| *set)
    }

    pub fn keep(&self, measurement: &[u8], set: KeySet) {
        let mut kept = self.0.borrow_mut();
        if kept.len() < KEPT_MAX && !kept.iter().any(|(name, _)| name == measurement) {
            kept.push((measurement.to_vec(), set));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(first: u32, keys: &[&str]) -> KeySet {
        let mut walk = KeySetWalk::default();
        (first..).zip(keys).for_each(|(position, key)| walk.pass(position, key.as_bytes()));
        walk.finish().expect("series without a gap")
    }

    #[test]
    fn sets_are_equal_when_they_hold_the_same_series_wherever_they_stand() {
        assert!(set(0, &["m,a=1", "m,a=2"]).equals(&set(7, &["m,a=1", "m,a=2"])));
        assert!(!set(0, &["m,a=1", "m,a=2"]).equals(&set(0, &["m,a=1", "m,a=3"])));
        assert!(!set(0, &["m,a=1", "m,a=2"]).equals(&set(0, &["m,a=1"])));
        assert!(
            !set(0, &["m,a=12", "m,a=3"]).equals(&set(0, &["m,a=1", "2m,a=3"])),
            "keys end where they end"
        );
    }

    #[test]
    fn series_with_others_between_are_no_set() {
        let mut walk = KeySetWalk::default();
        walk.pass(0, b"m");
        walk.pass(2, b"m,a=1");
        assert!(walk.finish().is_none());
        assert!(KeySetWalk::default().finish().is_none());
    }
}
