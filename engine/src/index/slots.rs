//! Hash → position: an open-addressing table with linear probing, eight bytes a slot. It can be asked ahead: a group of
//! look-ups first prefetches its slots, then learns the likely positions, and so waits for memory once per step, not once
//! per look-up.

use crate::prefetch::prefetch;

/// Slots of the smallest table.
const SLOTS_MIN: usize = 16;
/// A table is doubled when more than this part of it is used.
const FULL: (usize, usize) = (4, 5);
/// A table that holds this part of what is expected grows to room for all of it.
const EXPECTED_PART: usize = 16;

/// What a free slot holds. Not 0: a table of zeros begins as one page of the kernel read everywhere, and each part of it is
/// then mapped a second time when it is first written to.
const FREE: u64 = u64::MAX;

/// See the head of this file. The caller compares keys: two series may have one hash.
#[derive(Debug, Default)]
pub struct Slots {
    /// [`FREE`], or the low half of the hash, then the position. A power of two of them.
    slots: Vec<u64>,
    used: usize,
    expected: usize,
}

impl Slots {
    /// An empty table that will probably hold so many.
    pub fn expecting(expected: usize) -> Self {
        Self { expected, ..Self::default() }
    }

    /// Memory in use, in bytes.
    pub fn bytes(&self) -> u64 {
        (self.slots.capacity() * size_of::<u64>()) as u64
    }

    /// How many more will probably come; 0 while there is nothing to tell it by but the past.
    pub fn to_come(&self) -> usize {
        if self.used < self.expected / EXPECTED_PART { 0 } else { self.expected.saturating_sub(self.used) }
    }

    /// Where a hash's probe begins. The lowest bits chose the shard, so that they are alike here.
    #[inline]
    fn start(&self, hash: u64) -> usize {
        (hash >> 20) as usize & self.slots.len().wrapping_sub(1)
    }

    #[inline]
    pub fn prefetch(&self, hash: u64) {
        prefetch(&self.slots, self.start(hash));
    }

    /// The first position with this hash that `is_it` accepts.
    #[inline]
    pub fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let mut at = self.start(hash);
        loop {
            let slot = self.slots[at];
            if slot == FREE {
                return None;
            }
            if slot as u32 == hash as u32 {
                let position = (slot >> 32) as u32;
                if is_it(position) {
                    return Some(position);
                }
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// Adds a position that is not in the table; `hash_of` tells the hash of those that are. Positions are given out from
    /// 0, and below `u32::MAX`.
    pub fn insert(&mut self, hash: u64, position: u32, hash_of: impl Fn(u32) -> u64) {
        if !has_room(self.slots.len(), self.used + 1) {
            let mut count = (2 * self.slots.len()).max(SLOTS_MIN);
            while !has_room(count, self.used + self.to_come()) {
                count *= 2;
            }
            let before = std::mem::replace(&mut self.slots, vec![FREE; count]);
            for position in before.into_iter().filter(|slot| *slot != FREE).map(|slot| (slot >> 32) as u32) {
                self.put(hash_of(position), position);
            }
        }
        self.put(hash, position);
        self.used += 1;
    }

    fn put(&mut self, hash: u64, position: u32) {
        let mut at = self.start(hash);
        while self.slots[at] != FREE {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = u64::from(position) << 32 | u64::from(hash as u32);
    }
}

/// Whether so many slots have room for so many positions.
fn has_room(slots: usize, positions: usize) -> bool {
    positions * FULL.1 <= slots * FULL.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_table_grows_to_what_is_expected_once_a_part_of_it_came() {
        let (mut slots, mut grown) = (Slots::expecting(1_000), Vec::new());
        for position in 0..1_000 {
            slots.insert(u64::from(position) << 20, position, |at| u64::from(at) << 20);
            grown.push(slots.slots.len());
        }
        grown.dedup();
        assert_eq!(grown, [16, 32, 64, 128, 2048]);
    }

    proptest! {
        /// Hashes that collide in part or whole: each position is found, and only among those of its hash.
        #[test]
        fn what_was_inserted_is_found(hashes in prop::collection::vec(
            prop_oneof![any::<u64>(), (0u64..4).prop_map(|n| n << 60), (0u64..4).prop_map(|n| 7 | n << 20)],
            0..300,
        ), expected in 0usize..1_000) {
            let mut slots = Slots::expecting(expected);
            for (position, &hash) in hashes.iter().enumerate() {
                slots.insert(hash, position as u32, |at| hashes[at as usize]);
            }
            for (position, &hash) in hashes.iter().enumerate() {
                prop_assert_eq!(slots.find(hash, |at| at == position as u32), Some(position as u32));
            }
            prop_assert_eq!(slots.find(0x1234_5678_9abc, |at| hashes[at as usize] == 0x1234_5678_9abc), None);
        }
    }
}
