//! Reading a WAL back: groups in the order they became durable.
//!
//! Pulled by the store, which may have to snapshot in between: the entries of a whole WAL need not fit in a cache.

use super::entry::entries_of;
use super::watermark::Watermarks;
use super::{Entry, Wal, WalOptions, folder};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::journal::{JournalOptions, Progress, Replay, ReplayReport};
use crate::model::ShardId;

/// A WAL being read.
pub struct WalReplay<D: Disk> {
    journal: Replay<D>,
    folder: String,
    options: WalOptions,
    watermarks: Watermarks,
    entries: u64,
}

/// The entries of one record.
#[derive(Debug)]
pub struct ReplayedGroup<'a> {
    pub sequence: u64,
    pub entries: Vec<Entry<'a>>,
}

impl<D: Disk> WalReplay<D> {
    /// A WAL that does not exist is an empty one.
    pub async fn open(disk: D, wal_id: u64, options: WalOptions) -> Result<Self> {
        let folder = folder(wal_id);
        let journal = Replay::open(disk, &folder, options.journal).await?;
        Ok(Self { journal, folder, options, watermarks: Watermarks::default(), entries: 0 })
    }

    /// The next group; none at the end. All its entries count as needed until [`WalReplay::snapshotted`] or
    /// [`Wal::snapshotted`] says otherwise.
    pub async fn next(&mut self) -> Result<Option<ReplayedGroup<'_>>> {
        let Some(record) = self.journal.next().await? else {
            return Ok(None);
        };
        // The checksum was right: a later version of this program wrote it, and guessing would lose it.
        let Some(entries) = entries_of(record.body) else {
            let what = format!("record {} does not consist of entries this version knows", record.sequence);
            return Err(Error::Corrupted { file: self.folder.clone(), offset: 0, what });
        };
        for entry in &entries {
            self.watermarks.note(entry.shard(), record.segment.epoch, record.sequence);
        }
        self.entries += entries.len() as u64;
        Ok(Some(ReplayedGroup { sequence: record.sequence, entries }))
    }

    /// As [`Wal::snapshotted`], while still reading.
    pub fn snapshotted(&mut self, shard: ShardId, through: u64) {
        self.watermarks.snapshotted(shard, through);
    }

    pub fn progress(&self) -> Progress {
        self.journal.progress()
    }

    /// Entries handed out.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Damage and torn tail found so far; all of it once [`WalReplay::next`] answered none.
    pub fn report(&self) -> &ReplayReport {
        self.journal.report()
    }

    /// The WAL that goes on behind the last record.
    ///
    /// `known`: the highest sequence of this WAL that any manifest names. Should the tail with it be lost, later
    /// entries must not get its number, for they would be taken for entries already in files.
    pub async fn finish(mut self, known: u64) -> Result<(Wal<D>, ReplayReport)> {
        while self.next().await?.is_some() {}
        let (journal, report) = self.journal.finish(known).await?;
        Ok((Wal::new(journal, self.options, self.watermarks), report))
    }

    /// For a WAL whose core is no more, once all its entries are elsewhere: leaves an empty one, that keeps its
    /// sequence for the day when the core is back.
    pub async fn retire(self, known: u64) -> Result<()> {
        let (journal, _) = self.journal.with_options(JournalOptions::growing()).finish(known).await?;
        journal.roll().await?;
        journal.release(u64::MAX).await?;
        journal.drop_spares().await?;
        journal.close().await
    }
}
