//! Which cores have series with a tag's value: a question about few series asks those cores alone.
//!
//! A core that is asked and finds nothing still costs a short question two wake-ups, as much as its own work. What is known
//! here may name a core too many, never one too few.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap};
use tidemark_engine::model::series_key;
use tidemark_engine::pace::Pace;
use tidemark_engine::scan::request::TagFilter;

/// Most series of a core that are looked at.
pub const SERIES_MAX: usize = 4096;

/// Tags that are kept of all cores together.
const TAGS_MAX: usize = 40_000;

/// Parts of a condition that are looked at; one with more is a question to all cores.
const PARTS_MAX: u32 = 1_000;

/// Nanoseconds, about, that a tag takes to be noted.
const NOTED_NS: u64 = 100;

/// A set of cores, one bit each; cores 64 apart share theirs.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct CoreSet(u64);

impl CoreSet {
    pub const NONE: Self = Self(0);
    pub const ALL: Self = Self(u64::MAX);

    fn add(&mut self, core: usize) {
        self.0 |= 1 << (core % 64);
    }

    /// Whether the core may be one of them.
    pub fn has(self, core: usize) -> bool {
        self.0 & (1 << (core % 64)) != 0
    }
}

/// Of a measurement, in some shards.
#[derive(Debug, Default)]
pub struct TagCores {
    /// By the hash of a tag's name and value; two tags with the same hash share an entry.
    cores: HashMap<u64, CoreSet>,
    hasher: DefaultHashBuilder,
    /// Those with too many series, or tags, to look at.
    unknown: CoreSet,
}

impl TagCores {
    /// Notes the series of a core, given by at least the first `SERIES_MAX + 1` of their keys.
    pub async fn note(&mut self, core: usize, keys: &[Vec<u8>], pace: &Pace) {
        for key in keys {
            if keys.len() > SERIES_MAX || self.cores.len() > TAGS_MAX {
                self.unknown.add(core);
                return;
            }
            let mut tags = 0;
            for (name, value) in series_key::tags(key) {
                let hash = self.hash(&name, &value);
                self.cores.entry(hash).or_default().add(core);
                tags += 1;
            }
            pace.spent(NOTED_NS * tags).await;
        }
    }

    fn hash(&self, name: &[u8], value: &[u8]) -> u64 {
        self.hasher.hash_one((name, value))
    }

    /// Bytes in use, about.
    pub fn bytes(&self) -> usize {
        self.cores.capacity() * 2 * size_of::<u64>()
    }

    /// The cores that may have series that fulfil the condition.
    pub fn of(&self, filter: &TagFilter) -> CoreSet {
        let found = self.find(filter, &mut PARTS_MAX.clone());
        CoreSet(found.0 | self.unknown.0)
    }

    /// Whether a condition can be told by tags' values at all.
    pub fn can_tell(filter: &TagFilter) -> bool {
        Self::default().of(filter) != CoreSet::ALL
    }

    fn find(&self, filter: &TagFilter, parts_left: &mut u32) -> CoreSet {
        let Some(left) = parts_left.checked_sub(1) else { return CoreSet::ALL };
        *parts_left = left;
        match filter {
            // The empty value is that of series without the tag.
            TagFilter::Equal { name, value } if !value.is_empty() => {
                self.cores.get(&self.hash(name, value)).copied().unwrap_or(CoreSet::NONE)
            }
            TagFilter::And(parts) => {
                let all = parts.iter().map(|part| self.find(part, parts_left).0);
                CoreSet(all.fold(CoreSet::ALL.0, |found, part| found & part))
            }
            TagFilter::Or(parts) => {
                let mut any = CoreSet::NONE;
                for part in parts {
                    any.0 |= self.find(part, parts_left).0;
                    if any == CoreSet::ALL {
                        break;
                    }
                }
                any
            }
            TagFilter::Constant(false) => CoreSet::NONE,
            _ => CoreSet::ALL,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::block_on;

    use super::*;

    fn known(cores: &[&[&str]]) -> TagCores {
        let mut known = TagCores::default();
        for (core, keys) in cores.iter().enumerate() {
            let keys: Vec<Vec<u8>> = keys.iter().map(|key| key.as_bytes().to_vec()).collect();
            block_on(known.note(core, &keys, &Pace::new()));
        }
        known
    }

    fn is(name: &str, value: &str) -> TagFilter {
        TagFilter::Equal { name: name.into(), value: value.into() }
    }

    fn cores(known: &TagCores, filter: &TagFilter) -> Vec<usize> {
        let found = known.of(filter);
        (0..3).filter(|core| found.has(*core)).collect()
    }

    #[test]
    fn a_condition_on_values_names_the_cores_that_have_them() {
        let known = known(&[&["m,h=a,r=x", r"m,h=b\ c"], &["m,h=d,r=x"], &["m"]]);
        assert_eq!(cores(&known, &is("h", "a")), [0]);
        assert_eq!(cores(&known, &is("h", "b c")), [0]);
        assert!(cores(&known, &is("h", "e")).is_empty());
        assert_eq!(cores(&known, &is("r", "x")), [0, 1]);
        assert_eq!(cores(&known, &TagFilter::And(vec![is("r", "x"), is("h", "d")])), [1]);
        assert_eq!(cores(&known, &TagFilter::Or(vec![is("h", "a"), is("h", "d")])), [0, 1]);
        assert!(cores(&known, &TagFilter::Or(Vec::new())).is_empty());
        assert_eq!(cores(&known, &TagFilter::And(Vec::new())), [0, 1, 2]);
    }

    #[test]
    fn what_values_do_not_tell_is_asked_of_all_cores() {
        let known = known(&[&["m,h=a"], &["m,h=b"], &["m"]]);
        let not = TagFilter::NotEqual { name: b"h".to_vec(), value: b"a".to_vec() };
        let like = TagFilter::Matches { name: b"h".to_vec(), pattern: "a".to_owned() };
        for filter in [is("h", ""), not, like.clone(), TagFilter::Constant(true)] {
            assert_eq!(cores(&known, &filter), [0, 1, 2]);
            assert!(!TagCores::can_tell(&filter));
        }
        assert_eq!(cores(&known, &TagFilter::Or(vec![is("h", "a"), like.clone()])), [0, 1, 2]);
        let both = TagFilter::And(vec![is("h", "a"), like]);
        assert!(cores(&known, &both) == [0] && TagCores::can_tell(&both));
        let many = TagFilter::Or(vec![is("h", "a"); PARTS_MAX as usize]);
        assert_eq!(cores(&known, &many), [0, 1, 2]);
    }

    #[test]
    fn a_core_with_many_series_is_always_asked() {
        let mut known = known(&[&["m,h=a"]]);
        let keys: Vec<Vec<u8>> = (0..=SERIES_MAX).map(|host| format!("m,h={host}").into_bytes()).collect();
        block_on(known.note(2, &keys, &Pace::new()));
        assert_eq!(cores(&known, &is("h", "a")), [0, 2]);
        assert_eq!(cores(&known, &is("h", "none")), [2]);
    }
}
