//! Hash → position: an open-addressing table with linear probing, eight bytes a slot. It can be asked ahead: a group of
//! look-ups first prefetches its slots, then learns the likely positions, and so waits for memory once per step, not once
//! per look-up.

use crate::prefetch::prefetch;

/// Slots of the smallest table.
const SLOTS_MIN: usize = 16;
/// A table is doubled when more than this part of it is used.
const FULL: (usize, usize) = (4, 5);

/// See the head of this file. The caller compares keys: two series may have one hash.
#[derive(Debug, Default)]
pub struct Slots {
    /// 0: free; else the low half of the hash, then the position + 1. A power of two of them.
    slots: Vec<u64>,
    used: usize,
}

impl Slots {
    /// Memory in use, in bytes.
    pub fn bytes(&self) -> u64 {
        (self.slots.capacity() * size_of::<u64>()) as u64
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
            if slot == 0 {
                return None;
            }
            if slot as u32 == hash as u32 {
                let position = (slot >> 32) as u32 - 1;
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
        if (self.used + 1) * FULL.1 > self.slots.len() * FULL.0 {
            let count = (2 * self.slots.len()).max(SLOTS_MIN);
            let before = std::mem::replace(&mut self.slots, vec![0; count]);
            for position in before.into_iter().filter(|slot| *slot != 0).map(|slot| (slot >> 32) as u32 - 1) {
                self.put(hash_of(position), position);
            }
        }
        self.put(hash, position);
        self.used += 1;
    }

    fn put(&mut self, hash: u64, position: u32) {
        let mut at = self.start(hash);
        while self.slots[at] != 0 {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = u64::from(position + 1) << 32 | u64::from(hash as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Hashes that collide in part or whole: each position is found, and only among those of its hash.
        #[test]
        fn what_was_inserted_is_found(hashes in prop::collection::vec(
            prop_oneof![any::<u64>(), (0u64..4).prop_map(|n| n << 60), (0u64..4).prop_map(|n| 7 | n << 20)],
            0..300,
        )) {
            let mut slots = Slots::default();
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
