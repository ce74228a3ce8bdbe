//! The core's WAL: the journal that protects its caches. One per core, many shards in it.
//!
//! 1. [`Wal::append`] writes all entries of a group commit as ONE record: durable when it answers, and after a crash
//!    all of them are there or none.
//! 2. The caller puts them into caches, snapshots a shard's cache now and then, and says how far with
//!    [`Wal::snapshotted`].
//! 3. A segment goes when every shard in it is snapshotted past it. [`Wal::laggard`] names the shard that holds the
//!    oldest one back: the store snapshots it before the WAL is full.
//! 4. At start [`WalReplay`] hands the entries back in order, of this WAL and of those whose core is no more.
//!
//! What it does not know: what a batch means, which core owns a shard, when it is time for a snapshot.

mod entry;
mod replay;
#[cfg(test)]
mod tests;
mod watermark;

use std::cell::{Cell, RefCell};

pub use entry::{ENTRY_HEADER_BYTES, Entry};
pub use replay::{ReplayedGroup, WalReplay};

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::journal::{Journal, JournalOptions, Record};
use crate::model::ShardId;
use crate::wait::Signal;
use watermark::Watermarks;

/// How a WAL is laid out and bounded.
#[derive(Debug, Clone, Copy)]
pub struct WalOptions {
    pub journal: JournalOptions,
    /// Bytes of records not released, at most: bounds the time a start takes. Several segments, so that the oldest
    /// can go while the newest fills.
    pub live_bytes_max: u64,
}

impl Default for WalOptions {
    /// 256 MiB are replayed in about a second.
    fn default() -> Self {
        Self { journal: JournalOptions::preallocated(), live_bytes_max: 256 << 20 }
    }
}

/// What a WAL has done and holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WalStats {
    pub records: u64,
    pub entries: u64,
    /// Bytes of the entries, before compression and padding.
    pub entry_bytes: u64,
    pub live_bytes_now: u64,
    pub segments_now: u64,
    pub spares_now: u64,
}

/// A core's WAL, open for writing. Its methods may be called by many tasks of the core.
pub struct Wal<D: Disk> {
    journal: Journal<D>,
    options: WalOptions,
    watermarks: RefCell<Watermarks>,
    /// Raised when there is upkeep to do, and on close.
    upkeep_wanted: Signal,
    is_closed: Cell<bool>,
    stats: Cell<WalStats>,
}

/// The folder of a WAL.
pub fn folder(wal_id: u64) -> String {
    format!("wal/{wal_id}")
}

impl<D: Disk> Wal<D> {
    fn new(journal: Journal<D>, options: WalOptions, watermarks: Watermarks) -> Self {
        assert!(
            options.live_bytes_max >= 4 * options.journal.segment_bytes,
            "BUG: a WAL needs room for a few segments"
        );
        Self {
            journal,
            options,
            watermarks: RefCell::new(watermarks),
            upkeep_wanted: Signal::new(),
            is_closed: Cell::new(false),
            stats: Cell::new(WalStats::default()),
        }
    }

    /// Writes the entries as one record and answers its sequence, durable.
    ///
    /// Nothing was acknowledged when it fails. [`Error::Full`]: too much is live, snapshot [`Wal::laggard`] and try
    /// again. [`Error::DiskFull`]: try again when there is room, no restart needed. [`Error::ReadOnly`]: a write or
    /// sync failed, only a restart helps. A future dropped before it answers leaves all entries there, or none.
    pub async fn append(&self, entries: &[Entry<'_>]) -> Result<u64> {
        let mut record = Record::with_room(entries.iter().map(Entry::bytes).sum());
        for entry in entries {
            entry.put(&mut record);
        }
        let bytes = record.body_len() as u64;
        // A delete frees room in the end: it is never refused for want of it.
        let has_writes = entries.iter().any(|entry| matches!(entry, Entry::Write { .. }));
        if has_writes && !self.has_room(bytes) {
            return Err(Error::Full { what: "the WAL" });
        }
        let appended = self.journal.append_record(record).await?;
        {
            let mut watermarks = self.watermarks.borrow_mut();
            for entry in entries {
                watermarks.note(entry.shard(), appended.segment.epoch, appended.sequence);
            }
        }
        let mut stats = self.stats.get();
        stats.records += 1;
        stats.entries += entries.len() as u64;
        stats.entry_bytes += bytes;
        self.stats.set(stats);
        if self.journal.wants_spare() {
            self.upkeep_wanted.raise();
        }
        Ok(appended.sequence)
    }

    /// Whether a group of so many bytes would be taken now.
    pub fn has_room(&self, bytes: u64) -> bool {
        self.journal.live_bytes() + bytes <= self.options.live_bytes_max
    }

    /// Entries of the shard up to `through` are in its files, durably, or of no use any more.
    pub fn snapshotted(&self, shard: ShardId, through: u64) {
        self.watermarks.borrow_mut().snapshotted(shard, through);
        self.upkeep_wanted.raise();
    }

    /// The shard is gone from this core, and nothing of it needs replay.
    pub fn forget_shard(&self, shard: ShardId) {
        self.snapshotted(shard, u64::MAX);
    }

    /// The lowest sequence of the shard that would need replay.
    pub fn low_water(&self, shard: ShardId) -> Option<u64> {
        self.watermarks.borrow().low(shard)
    }

    /// The shard that holds the oldest segment back, and its lowest sequence.
    pub fn laggard(&self) -> Option<(ShardId, u64)> {
        self.watermarks.borrow().lowest()
    }

    /// The highest sequence given.
    pub fn last_sequence(&self) -> u64 {
        self.journal.next_sequence() - 1
    }

    /// Bytes of the records that would need replay, and those of records that share a segment with them.
    pub fn live_bytes(&self) -> u64 {
        self.journal.live_bytes()
    }

    pub fn live_bytes_max(&self) -> u64 {
        self.options.live_bytes_max
    }

    /// Why nothing is written any more, if so.
    pub fn refusal(&self) -> Option<Error> {
        self.journal.refusal()
    }

    pub fn stats(&self) -> WalStats {
        WalStats {
            live_bytes_now: self.journal.live_bytes(),
            segments_now: self.journal.segments() as u64,
            spares_now: self.journal.spares() as u64,
            ..self.stats.get()
        }
    }

    /// Releases segments and zeroes spares as they are due; a task for the WAL's whole life, beside the one that
    /// appends, so that no append waits for it. Ends after [`Wal::close`]. What fails is told, and tried again when
    /// there is something to do again.
    pub async fn upkeep_loop(&self, failed: impl Fn(Error)) {
        loop {
            let seen = self.upkeep_wanted.count();
            if self.is_closed.get() {
                return;
            }
            if let Err(error) = self.upkeep().await {
                failed(error);
            }
            self.upkeep_wanted.after(seen).await;
        }
    }

    /// One round of what [`Wal::upkeep_loop`] does.
    pub async fn upkeep(&self) -> Result<()> {
        let spare = self.journal.make_spare().await;
        // Room that is given back may be what the spare wanted.
        self.journal.release(self.needed_from()).await?;
        match spare {
            Err(Error::DiskFull { .. }) => Ok(()),
            spare => spare,
        }
    }

    /// Whether [`Wal::rest`] would give room back: nothing in it needs replay, and its files take room.
    pub fn can_rest(&self) -> bool {
        self.laggard().is_none() && self.journal.refusal().is_none() && !self.journal.is_resting()
    }

    /// Gives all room back: what an idle core does. What is left is one empty file, whose name carries the sequence on;
    /// the next append makes a segment again. Appends meanwhile are safe: what they write is kept.
    pub async fn rest(&self) -> Result<()> {
        self.journal.rest().await?;
        self.journal.release(self.needed_from()).await?;
        self.journal.drop_spares().await
    }

    /// Ends the WAL. When nothing in it needs replay, it is left empty.
    pub async fn close(&self) -> Result<()> {
        self.is_closed.set(true);
        self.upkeep_wanted.raise();
        if self.can_rest() {
            match self.rest().await {
                // Then the next start replays what it would not have to.
                Ok(()) | Err(Error::DiskFull { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.journal.close().await
    }

    /// Sequences below need no replay.
    fn needed_from(&self) -> u64 {
        self.laggard().map_or(self.journal.next_sequence(), |(_, sequence)| sequence)
    }
}
