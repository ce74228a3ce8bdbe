//! What a simulated disk holds: bytes and names as they are read, what of them is durable, and what a power cut leaves.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;
use std::task::Waker;

use super::{SimOptions, Stopped};
use crate::disk::BLOCK_BYTES;

/// Unit of a torn block.
const SECTOR_BYTES: usize = 512;

#[derive(Default)]
pub(super) struct Node {
    /// What reads see.
    pub(super) bytes: Vec<u8>,
    /// What a power cut leaves for sure.
    pub(super) durable: Vec<u8>,
    /// Blocks that differ and may still become durable.
    pub(super) dirty: BTreeSet<usize>,
    /// The length differs and may still become durable.
    pub(super) length_is_dirty: bool,
}

#[derive(Clone)]
pub(super) enum Entry {
    Dir,
    File(Rc<RefCell<Node>>),
}

/// One atomic change of names: each path gets the entry, or loses it.
pub(super) type NameChange = Vec<(String, Option<Entry>)>;

pub(super) struct State {
    pub(super) options: SimOptions,
    pub(super) random: Random,
    pub(super) names: BTreeMap<String, Entry>,
    pub(super) durable_names: BTreeMap<String, Entry>,
    /// Changes of names no `sync_dir` has made durable, oldest first.
    pub(super) pending_names: Vec<NameChange>,
    /// Writes, syncs and changes of names so far.
    pub(super) changes: u64,
    pub(super) writes: u64,
    pub(super) syncs: u64,
    pub(super) reads: u64,
    pub(super) stop_at_change: Option<(u64, Stopped)>,
    pub(super) stopped: Option<Stopped>,
    pub(super) fail_write_at: Option<u64>,
    pub(super) fail_sync_at: Option<u64>,
    /// By number of the read.
    pub(super) fail_reads_at: Range<u64>,
    pub(super) has_failed: bool,
    pub(super) is_paused: bool,
    pub(super) wakers: Vec<Waker>,
}

/// What the fault plan says about one operation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Proceeds,
    Fails,
    /// The operation may take effect, but the disk stops before it answers.
    IsTheLast,
}

impl Node {
    pub(super) fn sync_range(&mut self, start: usize, end: usize) {
        let end = end.min(self.bytes.len());
        if end > self.durable.len() {
            self.durable.resize(end, 0);
        }
        if start < end {
            self.durable[start..end].copy_from_slice(&self.bytes[start..end]);
        }
        for block in start / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES) {
            self.dirty.remove(&block);
        }
        self.length_is_dirty = self.durable.len() != self.bytes.len();
    }

    pub(super) fn sync_length(&mut self) {
        if self.length_is_dirty {
            self.durable.resize(self.bytes.len(), 0);
            self.length_is_dirty = false;
        }
    }

    /// A failed sync: some blocks made it, the rest never will, though reads still show them.
    pub(super) fn forget_dirty(&mut self, random: &mut Random) {
        for block in std::mem::take(&mut self.dirty) {
            if random.below(2) == 0 {
                self.sync_range(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES);
            }
        }
        self.length_is_dirty = false;
    }

    pub(super) fn after_crash(&self, random: &mut Random) -> Node {
        let mut bytes = self.durable.clone();
        if self.length_is_dirty {
            let (low, high) = (bytes.len().min(self.bytes.len()), bytes.len().max(self.bytes.len()));
            let length = match random.below(3) {
                0 => bytes.len(),
                1 => self.bytes.len(),
                _ => low + random.below((high - low) as u64 + 1) as usize,
            };
            bytes.resize(length, 0);
        }
        for &block in &self.dirty {
            let keep = random.below(4);
            for sector in 0..BLOCK_BYTES / SECTOR_BYTES {
                let start = block * BLOCK_BYTES + sector * SECTOR_BYTES;
                let end = (start + SECTOR_BYTES).min(bytes.len()).min(self.bytes.len());
                let is_kept = match keep {
                    0 => false,
                    1 | 2 => true,
                    _ => random.below(2) == 0,
                };
                if is_kept && start < end {
                    bytes[start..end].copy_from_slice(&self.bytes[start..end]);
                }
            }
        }
        Node { durable: bytes.clone(), bytes, ..Node::default() }
    }
}

impl State {
    pub(super) fn is_dir(&self, path: &str) -> bool {
        path.is_empty() || matches!(self.names.get(path), Some(Entry::Dir))
    }

    pub(super) fn used_bytes(&self) -> u64 {
        let files = self.names.values().filter_map(|entry| match entry {
            Entry::File(node) => Some(node.borrow().bytes.len().next_multiple_of(BLOCK_BYTES) as u64),
            Entry::Dir => None,
        });
        files.sum()
    }

    pub(super) fn free_bytes(&self) -> u64 {
        match self.options.capacity_bytes {
            Some(capacity) => capacity.saturating_sub(self.used_bytes()),
            None => u64::MAX,
        }
    }

    pub(super) fn stop(&mut self) {
        if self.stopped.is_none() {
            self.stopped = Some(self.stop_at_change.map_or(Stopped::Fails, |(_, stopped)| stopped));
        }
        self.wake();
    }

    pub(super) fn wake(&mut self) {
        for waker in self.wakers.drain(..) {
            waker.wake();
        }
    }

    pub(super) fn count_change(&mut self) -> Verdict {
        let change = self.changes;
        self.changes += 1;
        match self.stop_at_change {
            Some((at, _)) if change >= at => Verdict::IsTheLast,
            _ => Verdict::Proceeds,
        }
    }

    pub(super) fn count_write(&mut self) -> Verdict {
        let verdict = self.count_change();
        let write = self.writes;
        self.writes += 1;
        match verdict {
            Verdict::Proceeds if self.fail_write_at == Some(write) => Verdict::Fails,
            verdict => verdict,
        }
    }

    pub(super) fn count_sync(&mut self) -> Verdict {
        let verdict = self.count_change();
        let sync = self.syncs;
        self.syncs += 1;
        match verdict {
            Verdict::Proceeds if self.fail_sync_at == Some(sync) => Verdict::Fails,
            verdict => verdict,
        }
    }

    pub(super) fn count_read(&mut self) -> Verdict {
        let read = self.reads;
        self.reads += 1;
        if self.fail_reads_at.contains(&read) { Verdict::Fails } else { Verdict::Proceeds }
    }

    /// Makes the first `pending` changes durable that touch the folder.
    pub(super) fn sync_names(&mut self, folder: &str, pending: usize) {
        let mut kept = Vec::new();
        for (position, change) in std::mem::take(&mut self.pending_names).into_iter().enumerate() {
            if position < pending && change.iter().any(|(path, _)| parent_of(path) == folder) {
                apply_names(&mut self.durable_names, &change);
            } else {
                kept.push(change);
            }
        }
        self.pending_names = kept;
    }

    pub(super) fn names_after_crash(&self, random: &mut Random) -> BTreeMap<String, Entry> {
        // How many of its unsynced changes each folder keeps.
        let mut changes_by_folder: BTreeMap<&str, u64> = BTreeMap::new();
        for change in &self.pending_names {
            let folders: BTreeSet<&str> = change.iter().map(|(path, _)| parent_of(path)).collect();
            for folder in folders {
                *changes_by_folder.entry(folder).or_default() += 1;
            }
        }
        for count in changes_by_folder.values_mut() {
            *count = random.below(*count + 1);
        }
        let mut names = self.durable_names.clone();
        for change in &self.pending_names {
            let folders: BTreeSet<&str> = change.iter().map(|(path, _)| parent_of(path)).collect();
            if folders.iter().all(|folder| changes_by_folder[folder] > 0) {
                apply_names(&mut names, change);
            }
            for folder in folders {
                if let Some(left) = changes_by_folder.get_mut(folder) {
                    *left = left.saturating_sub(1);
                }
            }
        }
        let mut after: BTreeMap<String, Entry> = BTreeMap::new();
        // Parents sort before what they hold; a name without its folder is gone.
        for (path, entry) in names {
            let parent = parent_of(&path);
            if !parent.is_empty() && !matches!(after.get(parent), Some(Entry::Dir)) {
                continue;
            }
            let entry = match entry {
                Entry::Dir => Entry::Dir,
                Entry::File(node) => Entry::File(Rc::new(RefCell::new(node.borrow().after_crash(random)))),
            };
            after.insert(path, entry);
        }
        after
    }
}

pub(super) fn apply_names(names: &mut BTreeMap<String, Entry>, change: &NameChange) {
    for (path, entry) in change {
        match entry {
            Some(entry) => {
                names.insert(path.clone(), entry.clone());
            }
            None => {
                names.remove(path);
                let prefix = format!("{path}/");
                names.retain(|name, _| !name.starts_with(&prefix));
            }
        }
    }
}

pub(super) fn normal(path: &str) -> String {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join("/")
}

pub(super) fn parent_of(path: &str) -> &str {
    path.rfind('/').map_or("", |at| &path[..at])
}

/// SplitMix64: small, seeded, good enough to choose faults.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}
