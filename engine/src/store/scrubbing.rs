//! All files are read again now and then, when there is nothing else to do, and what is damaged is told.
//!
//! A round goes through the files of all shards there are when it begins, slowly: for every piece it waits as long as its
//! bytes take at [`BYTES_PER_SECOND`].

use std::collections::VecDeque;

use super::Store;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::model::ShardId;
use crate::tsm::Scrub;

/// A terabyte a core takes three days; it costs a core about a hundredth of its time.
const BYTES_PER_SECOND: u64 = 4 << 20;
/// What a piece counts for at least.
const PIECE_BYTES_MIN: u64 = 4 << 10;
/// Nanoseconds, about, that looking a shard's files up takes.
const LOOKED_UP_NS: u64 = 1_000;
/// The first round begins so long after the start: there is other work then.
const FIRST_NS: u64 = 3600 * 1_000_000_000;
/// Damages kept until somebody takes them; beyond it they are only counted. A disk that is going to pieces has thousands.
const DAMAGES_MAX: usize = 100;

/// The round under way, and the time of the next.
pub(super) struct Scrubbing<D: Disk> {
    /// When the next piece is due; `None` before the first look.
    due_ns: Option<u64>,
    is_running: bool,
    shards: Vec<ShardId>,
    /// Ids of the files of the shard at hand: held themselves, they would stay on the disk after a merge.
    files: Vec<u64>,
    shard: Option<ShardId>,
    file: Option<Scrub<D>>,
    damages: VecDeque<Error>,
}

impl<D: Disk> Default for Scrubbing<D> {
    fn default() -> Self {
        let (due_ns, is_running, shards, files, shard, damages) = Default::default();
        Self { due_ns, is_running, shards, files, shard, file: None, damages }
    }
}

impl<D: Disk> Store<D> {
    /// When the next piece is due; `None`: never.
    pub(super) fn scrub_due(&self) -> Option<u64> {
        self.0.scrubbing.borrow().due_ns
    }

    /// Checks a piece, when one is due.
    pub(super) async fn scrub(&self, now_ns: u64) -> bool {
        let inner = &*self.0;
        let interval_ns = inner.options.scrub_interval_ns;
        if interval_ns == 0 {
            return false;
        }
        // Only background steps come here, one at a time; what a dropped one has taken along begins anew in the next round.
        let mut scrubbing = inner.scrubbing.take();
        let due_ns = *scrubbing.due_ns.get_or_insert(now_ns.saturating_add(FIRST_NS.min(interval_ns)));
        let is_due = now_ns >= due_ns;
        if is_due {
            let wait_ns = match self.scrub_piece(&mut scrubbing).await {
                None => {
                    scrubbing.is_running = false;
                    inner.stats.borrow_mut().scrubs += 1;
                    interval_ns
                }
                Some(checked) => self.note_piece(&mut scrubbing, checked),
            };
            scrubbing.due_ns = Some(now_ns.saturating_add(wait_ns));
        }
        *inner.scrubbing.borrow_mut() = scrubbing;
        is_due
    }

    /// The next piece of the round; `None` at its end.
    async fn scrub_piece(&self, scrubbing: &mut Scrubbing<D>) -> Option<Result<u64>> {
        let inner = &*self.0;
        if !scrubbing.is_running {
            scrubbing.is_running = true;
            scrubbing.shards = inner.shards.borrow().keys().copied().collect();
            scrubbing.shards.sort_unstable_by(|a, b| b.cmp(a));
        }
        loop {
            if let Some(file) = &mut scrubbing.file {
                if let Some(checked) = file.step(&inner.pace).await {
                    return Some(checked);
                }
                scrubbing.file = None;
                inner.stats.borrow_mut().scrub_files += 1;
            }
            let next = scrubbing.files.pop();
            if next.is_none() {
                scrubbing.shard = Some(scrubbing.shards.pop()?);
            }
            // There may be thousands of shards without files.
            inner.pace.spent(LOOKED_UP_NS).await;
            // What was dropped or merged meanwhile is passed over.
            let shard = scrubbing.shard.and_then(|shard| inner.shards.borrow().get(&shard).cloned());
            let Some(shard) = shard else {
                scrubbing.files.clear();
                continue;
            };
            let files = match shard.file_set(&inner.disk, &inner.block_cache).await {
                Ok(set) => set.files,
                Err(error) => return Some(Err(error)),
            };
            let Some(next) = next else {
                scrubbing.files = files.iter().rev().map(|file| file.entry.id).collect();
                continue;
            };
            let Some(file) = files.iter().find(|file| file.entry.id == next) else { continue };
            match file.reader_for_once().await {
                Ok(reader) => scrubbing.file = Some(Scrub::new(reader)),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Nanoseconds to wait until the next piece.
    fn note_piece(&self, scrubbing: &mut Scrubbing<D>, checked: Result<u64>) -> u64 {
        let mut stats = self.0.stats.borrow_mut();
        let bytes = match checked {
            Ok(bytes) => bytes,
            Err(error) => {
                stats.scrub_damaged += 1;
                if scrubbing.damages.len() < DAMAGES_MAX {
                    scrubbing.damages.push_back(error);
                }
                0
            }
        };
        stats.scrub_bytes += bytes;
        bytes.max(PIECE_BYTES_MIN).saturating_mul(1_000_000_000) / BYTES_PER_SECOND
    }

    /// The next damage that was found and not taken yet.
    pub fn take_scrub_damage(&self) -> Option<Error> {
        self.0.scrubbing.borrow_mut().damages.pop_front()
    }
}
