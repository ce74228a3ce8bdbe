//! The core's cache of checked pages and chunks, bounded by bytes. One per core; its entries are shared by `Rc`, so that
//! an entry thrown out lives as long as its reader needs it.
//!
//! Second chance: a hand goes round; what was used since it last passed stays, the rest goes.

use super::index::IndexPage;
use hashbrown::HashMap;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Something read from a file and found whole, or written to it.
#[derive(Debug, Clone)]
pub enum Cached {
    Page(Rc<IndexPage>),
    Bytes(Rc<[u8]>),
    Block(Rc<BlockBytes>),
}

/// The data of a block as it stands in its file.
#[derive(Debug)]
pub struct BlockBytes {
    pub bytes: Box<[u8]>,
    /// Which of the first 64 chunks were found whole.
    checked: Cell<u64>,
}

impl BlockBytes {
    /// As read; its chunks are still to be checked.
    pub fn read(bytes: &[u8]) -> Rc<Self> {
        Rc::new(Self { bytes: bytes.into(), checked: Cell::new(0) })
    }

    /// As written a moment ago.
    pub fn written(bytes: &[u8]) -> Rc<Self> {
        Rc::new(Self { bytes: bytes.into(), checked: Cell::new(u64::MAX) })
    }

    pub fn is_checked(&self, chunk: usize) -> bool {
        chunk < 64 && self.checked.get() >> chunk & 1 == 1
    }

    pub fn set_checked(&self, chunk: usize) {
        if chunk < 64 {
            self.checked.set(self.checked.get() | 1 << chunk);
        }
    }
}

/// Which file (a number given when it was opened) and which offset.
type Key = (u64, u64);

/// Bytes of an entry beyond its contents.
const ENTRY_BYTES: usize = 96;

/// What is written enters as long as the cache holds no more than this: what was just written is what is asked about most,
/// but a server that is only written to is not to grow by it.
const WRITTEN_BYTES_MAX: usize = 32 << 20;

#[derive(Debug, Default)]
pub struct BlockCache {
    inner: RefCell<Inner>,
    next_file: Cell<u64>,
    /// Files that were written through the cache and are not open yet, by path.
    written: RefCell<HashMap<String, u64>>,
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

    /// The number of a file that is written now: what is put under it is there for whoever opens the path.
    pub fn begin_file(&self, path: &str) -> u64 {
        self.forget_written(path);
        let file = self.register_file();
        self.written.borrow_mut().insert(path.to_owned(), file);
        file
    }

    /// The number for a file that is opened now.
    pub fn open_file(&self, path: &str) -> u64 {
        let written = self.written.borrow_mut().remove(path);
        written.unwrap_or_else(|| self.register_file())
    }

    /// Drops what is there of a file that was written and never opened.
    pub fn forget_written(&self, path: &str) {
        let written = self.written.borrow_mut().remove(path);
        if let Some(file) = written {
            self.forget_file(file);
        }
    }

    /// As [`put`](Self::put), of what is being written.
    pub fn put_written(&self, file: u64, offset: u64, value: impl FnOnce() -> Option<Cached>) {
        let bytes_max = self.inner.borrow().bytes_max;
        if self.bytes() < WRITTEN_BYTES_MAX.min(bytes_max / 4)
            && let Some(value) = value()
        {
            self.put(file, offset, value);
        }
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

    /// Whether it is there; that does not count as a use.
    pub fn has(&self, file: u64, offset: u64) -> bool {
        self.inner.borrow().entries.contains_key(&(file, offset))
    }

    pub fn put(&self, file: u64, offset: u64, value: Cached) {
        let bytes = ENTRY_BYTES
            + match &value {
                Cached::Page(page) => page.memory_bytes(),
                Cached::Bytes(bytes) => bytes.len(),
                Cached::Block(block) => block.bytes.len(),
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
    fn what_is_written_is_there_for_who_opens_the_file() {
        let cache = BlockCache::new(1 << 20);
        let file = cache.begin_file("a");
        cache.put_written(file, 7, || Some(bytes(100)));
        assert_eq!(cache.open_file("a"), file);
        assert!(cache.get(file, 7).is_some());
        // Once open, it is forgotten with its reader.
        cache.forget_written("a");
        assert!(cache.get(file, 7).is_some());
        assert_ne!(cache.open_file("a"), file);
    }

    #[test]
    fn a_file_begun_again_has_nothing_of_the_one_before() {
        let cache = BlockCache::new(1 << 20);
        let before = cache.begin_file("a");
        cache.put_written(before, 7, || Some(bytes(100)));
        let file = cache.begin_file("a");
        assert!(cache.get(file, 7).is_none() && cache.get(before, 7).is_none());
        cache.put_written(file, 7, || Some(bytes(100)));
        cache.forget_written("a");
        assert_eq!(cache.bytes(), 0);
    }

    #[test]
    fn writes_leave_most_of_the_room_to_reads() {
        let cache = BlockCache::new(100_000);
        let file = cache.begin_file("a");
        for offset in 0..100 {
            cache.put_written(file, offset, || Some(bytes(1000)));
        }
        assert!((25_000..27_000).contains(&cache.bytes()), "{}", cache.bytes());
    }

    #[test]
    fn what_is_too_big_is_not_kept() {
        let cache = BlockCache::new(10_000);
        cache.put(0, 0, bytes(9_000));
        assert_eq!(cache.bytes(), 0);
    }
}
