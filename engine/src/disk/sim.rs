//! The simulated disk: in memory, driven by a seed, the same on every run and under every executor.
//!
//! It is meaner than most disks, within the promises of [`super`]:
//! 1. Bytes written without a sync live in a volatile cache. A power cut ([`SimDisk::crash`]) keeps any subset of
//!    their 4 KiB blocks, a block torn at 512 B, and any length between the durable and the last one.
//! 2. Changes of a folder without `sync_dir` are kept up to a random one, folder by folder; a rename is atomic.
//! 3. After a failed sync the unsynced bytes are still read back, yet never become durable: what Linux does.
//! 4. A write whose future has not answered may be there, in part, or not at all.
//!
//! Faults: flipped bits, cut files, no room, EIO at the n-th write, sync or read, slowness, a pause, and a stop at the
//! n-th change, so that a test can cut the power at every one of them.

mod state;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use super::{AlignedBuffer, BLOCK_BYTES, DirEntry, Disk, DiskFile, OpenMode};
use crate::error::{Error, Result};
use state::{Entry, NameChange, Node, Random, State, Verdict, apply_names, normal, parent_of};

/// How a simulated disk behaves from its first moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct SimOptions {
    pub seed: u64,
    /// An operation answers after up to this many polls, as the seed decides; 0 answers at once.
    pub polls_max: u32,
    /// Room of the disk; none is endless.
    pub capacity_bytes: Option<u64>,
}

/// What an operation on a stopped disk does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Answers EIO.
    Fails,
    /// Never answers.
    Hangs,
}

/// A clone is another handle of the same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Rc<RefCell<State>>,
}

/// An open file of a [`SimDisk`].
pub struct SimFile {
    disk: SimDisk,
    path: String,
    node: Rc<RefCell<Node>>,
    mode: OpenMode,
}

impl SimDisk {
    /// An empty disk that answers at once.
    pub fn new(seed: u64) -> Self {
        Self::with_options(SimOptions { seed, ..SimOptions::default() })
    }

    pub fn with_options(options: SimOptions) -> Self {
        Self::from_names(options, BTreeMap::new())
    }

    fn from_names(options: SimOptions, names: BTreeMap<String, Entry>) -> Self {
        let state = State {
            options,
            random: Random(options.seed),
            durable_names: names.clone(),
            names,
            pending_names: Vec::new(),
            changes: 0,
            writes: 0,
            syncs: 0,
            reads: 0,
            stop_at_change: None,
            stopped: None,
            fail_write_at: None,
            fail_sync_at: None,
            fail_reads_at: 0..0,
            has_failed: false,
            is_paused: false,
            wakers: Vec::new(),
        };
        Self { state: Rc::new(RefCell::new(state)) }
    }

    /// Writes, syncs, creations, renames, removals and truncations so far.
    pub fn changes(&self) -> u64 {
        self.state.borrow().changes
    }

    pub fn writes(&self) -> u64 {
        self.state.borrow().writes
    }

    /// Syncs of files and folders so far.
    pub fn syncs(&self) -> u64 {
        self.state.borrow().syncs
    }

    pub fn reads(&self) -> u64 {
        self.state.borrow().reads
    }

    /// Stops the disk at change number `change` (counted as in [`SimDisk::changes`], the first is 0). That change may
    /// take effect in part, but is not answered.
    pub fn stop_at_change(&self, change: u64, stopped: Stopped) {
        self.state.borrow_mut().stop_at_change = Some((change, stopped));
    }

    /// Answers once the disk has stopped: raced against work on a disk that hangs.
    pub async fn stopped(&self) {
        self.wait_while(|state| state.stopped.is_none()).await;
    }

    /// The write that is `after` writes away (0 is the next) fails with EIO.
    pub fn fail_write(&self, after: u64) {
        let mut state = self.state.borrow_mut();
        state.fail_write_at = Some(state.writes + after);
    }

    /// The sync, of a file or a folder, that is `after` syncs away (0 is the next) fails with EIO.
    pub fn fail_sync(&self, after: u64) {
        let mut state = self.state.borrow_mut();
        state.fail_sync_at = Some(state.syncs + after);
    }

    /// The read that is `after` reads away (0 is the next) fails with EIO.
    pub fn fail_read(&self, after: u64) {
        self.fail_reads(after, 1);
    }

    /// So many reads fail with EIO, from the one on that is `after` reads away.
    pub fn fail_reads(&self, after: u64, count: u64) {
        let mut state = self.state.borrow_mut();
        let first = state.reads + after;
        state.fail_reads_at = first..first + count;
    }

    /// Operations answer after up to `polls_max` polls from now on.
    pub fn slow(&self, polls_max: u32) {
        self.state.borrow_mut().options.polls_max = polls_max;
    }

    /// No operation answers until [`SimDisk::resume`].
    pub fn pause(&self) {
        self.state.borrow_mut().is_paused = true;
    }

    pub fn resume(&self) {
        let mut state = self.state.borrow_mut();
        state.is_paused = false;
        state.wake();
    }

    /// None is endless.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.borrow_mut().options.capacity_bytes = bytes;
    }

    /// Bytes taken by the files that have a name.
    pub fn used_bytes(&self) -> u64 {
        self.state.borrow().used_bytes()
    }

    /// The disk as after a power cut now. This one answers nothing any more.
    pub fn crash(&self) -> SimDisk {
        let seed = self.state.borrow_mut().random.next();
        self.crash_with_seed(seed)
    }

    /// The disk as after a kill of the process: the kernel keeps what was written, durable or not. This one answers
    /// nothing any more.
    pub fn kill(&self) -> SimDisk {
        let mut state = self.state.borrow_mut();
        if state.stopped.is_none() {
            state.stopped = Some(Stopped::Fails);
            state.wake();
        }
        let options = SimOptions { seed: state.random.next(), ..state.options };
        let next = Self::from_names(options, state.names.clone());
        {
            let mut next = next.state.borrow_mut();
            next.durable_names = state.durable_names.clone();
            next.pending_names = state.pending_names.clone();
        }
        next
    }

    /// Whether a fault asked for has struck.
    pub fn has_failed(&self) -> bool {
        self.state.borrow().has_failed
    }

    /// As [`SimDisk::crash`], with the subset of unsynced changes that `seed` picks: one state, many images.
    pub fn crash_with_seed(&self, seed: u64) -> SimDisk {
        let mut state = self.state.borrow_mut();
        if state.stopped.is_none() {
            state.stopped = Some(Stopped::Fails);
            state.wake();
        }
        let mut random = Random(seed);
        let names = state.names_after_crash(&mut random);
        let options = SimOptions { seed: random.next(), ..state.options };
        Self::from_names(options, names)
    }

    /// Every file with its bytes as reads see them.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        let state = self.state.borrow();
        let mut files = Vec::new();
        for (path, entry) in &state.names {
            if let Entry::File(node) = entry {
                files.push((path.clone(), node.borrow().bytes.clone()));
            }
        }
        files
    }

    /// Replaces a file's bytes, durably and without counting as a change; creates it when missing.
    pub fn put_file(&self, path: &str, bytes: Vec<u8>) {
        let path = normal(path);
        let node = Node { durable: bytes.clone(), bytes, ..Node::default() };
        let entry = Entry::File(Rc::new(RefCell::new(node)));
        let mut state = self.state.borrow_mut();
        let mut parent = parent_of(&path);
        while !parent.is_empty() {
            state.names.insert(parent.to_owned(), Entry::Dir);
            state.durable_names.insert(parent.to_owned(), Entry::Dir);
            parent = parent_of(parent);
        }
        state.names.insert(path.clone(), entry.clone());
        state.durable_names.insert(path, entry);
    }

    /// Flips bits of a byte at rest.
    pub fn flip(&self, path: &str, offset: usize, mask: u8) {
        self.damage(path, |node| {
            for bytes in [&mut node.bytes, &mut node.durable] {
                if let Some(byte) = bytes.get_mut(offset) {
                    *byte ^= mask;
                }
            }
        });
    }

    /// Cuts a file at rest.
    pub fn cut(&self, path: &str, length: usize) {
        self.damage(path, |node| {
            node.bytes.truncate(length);
            node.durable.truncate(length);
            node.dirty.retain(|&block| block * BLOCK_BYTES < length);
        });
    }

    fn damage(&self, path: &str, change: impl FnOnce(&mut Node)) {
        let state = self.state.borrow();
        match state.names.get(&normal(path)) {
            Some(Entry::File(node)) => change(&mut node.borrow_mut()),
            _ => panic!("BUG: the test damages {path}, which is no file"),
        }
    }

    async fn wait_while(&self, condition: impl Fn(&State) -> bool) {
        poll_fn(|context| {
            let mut state = self.state.borrow_mut();
            if !condition(&state) {
                return Poll::Ready(());
            }
            state.wakers.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// The time an operation takes: polls as the seed decides, and the pause.
    async fn delay(&self) {
        let mut polls = {
            let mut state = self.state.borrow_mut();
            match state.options.polls_max {
                0 => 0,
                max => state.random.below(u64::from(max) + 1),
            }
        };
        poll_fn(|context| {
            if polls == 0 {
                return Poll::Ready(());
            }
            polls -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        self.wait_while(|state| state.is_paused && state.stopped.is_none()).await;
    }

    /// The answer of a disk that has stopped; `Ok` while it runs.
    async fn while_running(&self, operation: &'static str, path: &str) -> Result<()> {
        let stopped = self.state.borrow().stopped;
        match stopped {
            None => Ok(()),
            Some(Stopped::Fails) => Err(io_error(operation, path, libc::EIO)),
            Some(Stopped::Hangs) => std::future::pending().await,
        }
    }

    /// Waits, then answers for an operation that took effect, unless the disk stopped meanwhile.
    async fn answer(&self, verdict: Verdict, operation: &'static str, path: &str) -> Result<()> {
        if verdict == Verdict::IsTheLast {
            self.state.borrow_mut().stop();
        } else {
            self.delay().await;
        }
        self.while_running(operation, path).await?;
        match verdict {
            Verdict::Fails => {
                self.state.borrow_mut().has_failed = true;
                Err(io_error(operation, path, libc::EIO))
            }
            _ => Ok(()),
        }
    }

    async fn change_names(&self, operation: &'static str, path: &str, change: NameChange) -> Result<()> {
        self.while_running(operation, path).await?;
        let verdict = {
            let mut state = self.state.borrow_mut();
            let verdict = state.count_change();
            apply_names(&mut state.names, &change);
            state.pending_names.push(change);
            verdict
        };
        self.answer(verdict, operation, path).await
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    async fn open(&self, path: &str, mode: OpenMode) -> Result<SimFile> {
        let path = normal(path);
        self.while_running("open", &path).await?;
        let found = self.state.borrow().names.get(&path).cloned();
        let node = match found {
            Some(Entry::File(node)) => {
                self.delay().await;
                node
            }
            Some(Entry::Dir) => return Err(io_error("open", &path, libc::EISDIR)),
            None if mode == OpenMode::Read => return Err(io_error("open", &path, libc::ENOENT)),
            None => {
                if !self.state.borrow().is_dir(parent_of(&path)) {
                    return Err(io_error("open", &path, libc::ENOENT));
                }
                let node = Rc::new(RefCell::new(Node::default()));
                let change = vec![(path.clone(), Some(Entry::File(node.clone())))];
                self.change_names("open", &path, change).await?;
                node
            }
        };
        Ok(SimFile { disk: self.clone(), path, node, mode })
    }

    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (from, to) = (normal(from), normal(to));
        let found = self.state.borrow().names.get(&from).cloned();
        let entry = match found {
            Some(Entry::File(node)) => Entry::File(node),
            Some(Entry::Dir) => return Err(Error::Invalid(format!("BUG: {from} is a folder: not renamed"))),
            None => return Err(io_error("rename", &from, libc::ENOENT)),
        };
        if !self.state.borrow().is_dir(parent_of(&to)) {
            return Err(io_error("rename", &to, libc::ENOENT));
        }
        let change = vec![(from.clone(), None), (to, Some(entry))];
        self.change_names("rename", &from, change).await
    }

    async fn remove_file(&self, path: &str) -> Result<()> {
        let path = normal(path);
        let is_there = self.state.borrow().names.contains_key(&path);
        match is_there {
            true => self.change_names("remove", &path, vec![(path.clone(), None)]).await,
            false => self.while_running("remove", &path).await,
        }
    }

    async fn remove_dir_all(&self, path: &str) -> Result<()> {
        let path = normal(path);
        let prefix = format!("{path}/");
        loop {
            // The deepest name first; each is a change of its own.
            let last = {
                let state = self.state.borrow();
                let inside = state.names.keys().rev().find(|name| name.starts_with(&prefix)).cloned();
                inside.or_else(|| state.names.contains_key(&path).then(|| path.clone()))
            };
            let Some(last) = last else {
                return self.while_running("remove", &path).await;
            };
            self.change_names("remove", &last, vec![(last.clone(), None)]).await?;
        }
    }

    async fn create_dir_all(&self, path: &str) -> Result<()> {
        let path = normal(path);
        self.while_running("create folder", &path).await?;
        let mut ends: Vec<usize> = path.match_indices('/').map(|(at, _)| at).collect();
        ends.push(path.len());
        for end in ends {
            let part = &path[..end];
            if !self.state.borrow().is_dir(part) {
                let change = vec![(part.to_owned(), Some(Entry::Dir))];
                self.change_names("create folder", part, change).await?;
            }
            self.sync_dir(parent_of(part)).await?;
        }
        Ok(())
    }

    async fn sync_dir(&self, path: &str) -> Result<()> {
        let path = normal(path);
        self.while_running("sync folder", &path).await?;
        if !self.state.borrow().is_dir(&path) {
            return Err(io_error("sync folder", &path, libc::ENOENT));
        }
        let verdict = {
            let mut state = self.state.borrow_mut();
            state.count_sync()
        };
        let pending = self.state.borrow().pending_names.len();
        self.answer(verdict, "sync folder", &path).await?;
        self.state.borrow_mut().sync_names(&path, pending);
        Ok(())
    }

    async fn sync_all(&self) -> Result<()> {
        self.while_running("sync all", "").await?;
        let verdict = self.state.borrow_mut().count_sync();
        self.answer(verdict, "sync all", "").await?;
        let mut state = self.state.borrow_mut();
        for change in std::mem::take(&mut state.pending_names) {
            apply_names(&mut state.durable_names, &change);
        }
        for entry in state.names.values() {
            if let Entry::File(node) = entry {
                let mut node = node.borrow_mut();
                for block in std::mem::take(&mut node.dirty) {
                    node.sync_range(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES);
                }
                node.sync_length();
            }
        }
        Ok(())
    }

    async fn list(&self, path: &str) -> Result<Vec<DirEntry>> {
        let path = normal(path);
        self.while_running("list", &path).await?;
        self.delay().await;
        let state = self.state.borrow();
        let mut entries = Vec::new();
        for (name, entry) in &state.names {
            if parent_of(name) != path || name.is_empty() {
                continue;
            }
            let short = name.rsplit('/').next().unwrap_or(name).to_owned();
            entries.push(match entry {
                Entry::Dir => DirEntry { name: short, is_dir: true, length: 0 },
                Entry::File(node) => {
                    DirEntry { name: short, is_dir: false, length: node.borrow().bytes.len() as u64 }
                }
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    async fn free_bytes(&self) -> Result<u64> {
        self.while_running("free bytes", "").await?;
        Ok(self.state.borrow().free_bytes())
    }
}

impl SimFile {
    /// Puts bytes into the volatile cache, growing the file.
    fn cache_write(&self, offset: usize, bytes: &[u8]) {
        let mut node = self.node.borrow_mut();
        let end = offset + bytes.len();
        if end > node.bytes.len() {
            node.bytes.resize(end, 0);
            node.length_is_dirty = true;
        }
        node.bytes[offset..end].copy_from_slice(bytes);
        node.dirty.extend(offset / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES));
    }
}

impl DiskFile for SimFile {
    async fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        self.disk.while_running("read", &self.path).await?;
        let verdict = self.disk.state.borrow_mut().count_read();
        self.disk.answer(verdict, "read", &self.path).await?;
        let node = self.node.borrow();
        let start = (offset as usize).min(node.bytes.len());
        let end = start.saturating_add(length).min(node.bytes.len());
        Ok(node.bytes[start..end].to_vec())
    }

    async fn write_at(&self, offset: u64, buffer: AlignedBuffer) -> Result<AlignedBuffer> {
        assert!(self.mode != OpenMode::Read, "BUG: write to {}, opened for reading", self.path);
        assert!(offset.is_multiple_of(BLOCK_BYTES as u64), "BUG: write to {} is not aligned", self.path);
        assert!(buffer.len().is_multiple_of(BLOCK_BYTES), "BUG: write to {} is not whole blocks", self.path);
        self.disk.while_running("write", &self.path).await?;
        let offset = offset as usize;
        let bytes = buffer.as_slice();
        let (verdict, room) = {
            let mut state = self.disk.state.borrow_mut();
            let verdict = state.count_write();
            let grown = (offset + bytes.len()).saturating_sub(self.node.borrow().bytes.len());
            (verdict, state.free_bytes() >= grown as u64)
        };
        let part = match (room, verdict) {
            // A full or failing disk may have taken a part.
            (false, _) | (_, Verdict::Fails) => {
                let blocks = (bytes.len() / BLOCK_BYTES) as u64;
                let fitting = self.disk.state.borrow().free_bytes() / BLOCK_BYTES as u64;
                let taken = self.disk.state.borrow_mut().random.below(blocks.min(fitting) + 1);
                &bytes[..taken as usize * BLOCK_BYTES]
            }
            _ => bytes,
        };
        self.cache_write(offset, part);
        self.disk.answer(verdict, "write", &self.path).await?;
        if !room {
            return Err(Error::DiskFull { free_bytes: self.disk.state.borrow().free_bytes() });
        }
        if self.mode == OpenMode::WriteDurable {
            self.node.borrow_mut().sync_range(offset, offset + bytes.len());
        }
        Ok(buffer)
    }

    async fn sync(&self) -> Result<()> {
        self.disk.while_running("sync", &self.path).await?;
        let verdict = self.disk.state.borrow_mut().count_sync();
        if verdict == Verdict::Fails {
            self.node.borrow_mut().forget_dirty(&mut self.disk.state.borrow_mut().random);
        }
        // Only what was written before the sync began is promised.
        let blocks: Vec<usize> = self.node.borrow().dirty.iter().copied().collect();
        self.disk.answer(verdict, "sync", &self.path).await?;
        let mut node = self.node.borrow_mut();
        for block in blocks {
            node.sync_range(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES);
        }
        node.sync_length();
        Ok(())
    }

    async fn length(&self) -> Result<u64> {
        self.disk.while_running("length", &self.path).await?;
        Ok(self.node.borrow().bytes.len() as u64)
    }

    async fn truncate(&self, length: u64) -> Result<()> {
        self.disk.while_running("truncate", &self.path).await?;
        let verdict = self.disk.state.borrow_mut().count_change();
        {
            let mut node = self.node.borrow_mut();
            let length = length as usize;
            node.bytes.resize(length, 0);
            node.length_is_dirty = true;
            node.dirty.retain(|&block| block * BLOCK_BYTES < length);
            if !length.is_multiple_of(BLOCK_BYTES) {
                node.dirty.insert(length / BLOCK_BYTES);
            }
        }
        self.disk.answer(verdict, "truncate", &self.path).await
    }

    async fn close(self) -> Result<()> {
        Ok(())
    }
}

fn io_error(operation: &'static str, path: &str, errno: i32) -> Error {
    Error::Io { operation, path: path.to_owned(), errno }
}
