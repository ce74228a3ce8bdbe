//! The core's cache of checked pages and chunks, bounded by bytes. One per core; its entries are shared by `Rc`, so that
//! an entry thrown out lives as long as its reader needs it.
//!
//! Second chance: a hand goes round; what was used since it last passed stays, the rest goes.

use super::index::IndexPage;
use hashbrown::HashMap;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Something read from a file and found whole.
#[derive(Debug, Clone)]
pub enum Cached {
    Page(Rc<IndexPage>),
    Bytes(Rc<[u8]>),
}

/// Which file (a number given when it was opened) and which offset.
type Key = (u64, u64);

/// Bytes of an entry beyond its contents.
const ENTRY_BYTES: usize = 96;

#[derive(Debug, Default)]
pub struct BlockCache {
    inner: RefCell<Inner>,
    next_file: Cell<u64>,
    hits: Cell<u64>,
    misses: Cell<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    bytes_max: usize,
    bytes: usize,
    entries: HashMap<Key, usize>,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    hand: usize,
}

#[derive(Debug)]
struct Slot {
    key: Key,
    value: Cached,
    bytes: usize,
    is_used: bool,
}

impl BlockCache {
    pub fn new(bytes_max: usize) -> Rc<Self> {
        let cache = Self::default();
        cache.inner.borrow_mut().bytes_max = bytes_max;
        Rc::new(cache)
    }

    /// A number for a file that is opened now, never given again.
    pub fn register_file(&self) -> u64 {
        self.next_file.replace(self.next_file.get() + 1)
    }

    pub fn get(&self, file: u64, offset: u64) -> Option<Cached> {
        let mut inner = self.inner.borrow_mut();
        let slot = inner.entries.get(&(file, offset)).copied();
        let found = slot.and_then(|at| inner.slots[at].as_mut());
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.set(counter.get() + 1);
        found.map(|slot| {
            slot.is_used = true;
            slot.value.clone()
        })
    }

    pub fn put(&self, file: u64, offset: u64, value: Cached) {
        let bytes = ENTRY_BYTES
            + match &value {
                Cached::Page(page) => page.memory_bytes(),
                Cached::Bytes(bytes) => bytes.len(),
            };
        let mut inner = self.inner.borrow_mut();
        let key = (file, offset);
        if bytes > inner.bytes_max / 8 || inner.entries.contains_key(&key) {
            return;
        }
        inner.make_room(bytes);
        let slot = Some(Slot { key, value, bytes, is_used: false });
        let at = match inner.free.pop() {
            Some(at) => {
                inner.slots[at] = slot;
                at
            }
            None => {
                inner.slots.push(slot);
                inner.slots.len() - 1
            }
        };
        inner.entries.insert(key, at);
        inner.bytes += bytes;
    }

    /// Drops everything of a file that is gone.
    pub fn forget_file(&self, file: u64) {
        let mut inner = self.inner.borrow_mut();
        for at in 0..inner.slots.len() {
            if inner.slots[at].as_ref().is_some_and(|slot| slot.key.0 == file) {
                inner.remove(at);
            }
        }
    }

    /// Bytes held now; at most the bound it was made with.
    pub fn bytes(&self) -> usize {
        self.inner.borrow().bytes
    }

    /// Found and not found since the start.
    pub fn hits_and_misses(&self) -> (u64, u64) {
        (self.hits.get(), self.misses.get())
    }
}

impl Inner {
    fn make_room(&mut self, bytes: usize) {
        // Twice round at most: the first round takes every entry's second chance.
        let mut steps = self.slots.len() * 2;
        while self.bytes + bytes > self.bytes_max && steps > 0 {
            steps -= 1;
            self.hand = if self.hand + 1 >= self.slots.len() { 0 } else { self.hand + 1 };
            match &mut self.slots[self.hand] {
                Some(slot) if slot.is_used => slot.is_used = false,
                Some(_) => self.remove(self.hand),
                None => {}
            }
        }
    }

    fn remove(&mut self, at: usize) {
        if let Some(slot) = self.slots[at].take() {
            self.entries.remove(&slot.key);
            self.bytes -= slot.bytes;
            self.free.push(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(length: usize) -> Cached {
        Cached::Bytes(vec![1; length].into())
    }

    #[test]
    fn it_stays_within_its_bound_and_keeps_what_is_used() {
        let cache = BlockCache::new(100_000);
        cache.put(0, 0, bytes(1000));
        for offset in 1..1000 {
            assert!(cache.get(0, 0).is_some(), "{offset}");
            cache.put(0, offset, bytes(1000));
            assert!(cache.bytes() <= 100_000);
        }
        assert!(cache.get(0, 1).is_none());
        assert!(cache.get(0, 999).is_some());
        cache.forget_file(0);
        assert_eq!(cache.bytes(), 0);
        assert!(cache.get(0, 0).is_none());
    }

    #[test]
    fn what_is_too_big_is_not_kept() {
        let cache = BlockCache::new(10_000);
        cache.put(0, 0, bytes(9_000));
        assert_eq!(cache.bytes(), 0);
    }
}
