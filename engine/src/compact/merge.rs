//! Several neighbouring files → one, minus what tombstones mask, in steps.
//!
//! 1. The files' series are walked together in the order of their keys.
//! 2. A series of one small block per file is put together in small.rs. Else a series' blocks are taken in the order of their first times. A block that no other overlaps, no tombstone touches
//!    and that is at least half full is copied as it stands.
//! 3. All others are decoded and gathered; what lies before the next block's first time is final: of equal timestamps
//!    the later file's field has won. Final rows are written in full blocks, so that small blocks grow together.
//!
//! Memory: per file the blocks read ahead ([`READ_AHEAD_BYTES`], less where the pool is small), the rows that overlap at
//! one time, and what the writer holds. It is charged to the core's compaction pool; a merge of more than
//! [`FILES_MIN`] files that does not fit ends with [`Error::Full`], to be tried again with fewer.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::rc::Rc;

use smallvec::SmallVec;

use crate::cache::Cache;
use crate::codec::Temperature;
use crate::compact::cache_lane::CacheLane;
use crate::compact::file::ShardFile;
use crate::compact::lane::{Lane, Series};
use crate::compact::ordering::in_order;
use crate::compact::plan::FILES_MIN;
use crate::compact::small::SmallRows;
use crate::compact::snapshot::{work_of, write_rows};
use crate::compact::tombstone::{Tombstone, masks};
use crate::disk::Disk;
use crate::error::Result;
use crate::index::active::ActiveIndex;
use crate::model::{ColumnData, Rows, TimeRange};
use crate::pace::Pace;
use crate::pool::Pool;
use crate::tsm::{BLOCK_ROWS_MAX, BlockCache, FileMeta, TsmWriter};

/// Bytes of block data read ahead per file.
const READ_AHEAD_BYTES: u64 = 256 << 10;
const READ_AHEAD_BYTES_MIN: u64 = 32 << 10;
/// What all files together read ahead, and what is gathered before it is written, as parts of the pool.
const READ_AHEAD_PART: u64 = 4;
const GATHERED_PART: u64 = 4;
/// A block of fewer rows is joined with its neighbours.
const COPY_ROWS_MIN: u32 = BLOCK_ROWS_MAX as u32 / 2;
/// Units of work (see [`Pace`]) of a small series, without its values.
const SMALL_SERIES_WORK: u64 = 800;
/// Rows gathered before final ones are written.
const GATHERED_ROWS_MAX: usize = 4 * BLOCK_ROWS_MAX;

/// What a merge did so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MergeCounts {
    pub bytes_read: u64,
    pub blocks_copied: u64,
    pub blocks_merged: u64,
}

/// A merge under way; `lanes` in order of age.
pub struct Merge<D: Disk> {
    lanes: Vec<Lane<D>>,
    /// Newer than all lanes.
    cache: Option<CacheLane>,
    writer: TsmWriter<D>,
    /// The lane whose tags serve again as long as all series are its own.
    followed: Option<usize>,
    tombstones: Rc<Vec<Rc<Tombstone>>>,
    /// Blocks of files with other encodings are written anew.
    is_cold: bool,
    read_ahead_bytes: u64,
    gathered_bytes_max: u64,
    charge: Charge,
    /// The key of the series at hand, and the lanes that have it.
    key: Vec<u8>,
    with_it: SmallVec<[usize; 16]>,
    /// A buffer: its rows, when it is small.
    small: SmallRows,
    pub counts: MergeCounts,
}

/// What the merge holds of the compaction pool; given back when it ends, however it does.
struct Charge {
    pool: Pool,
    bytes: u64,
}

impl Charge {
    fn set(&mut self, bytes: u64) {
        self.pool.charge(bytes);
        self.pool.give_back(self.bytes);
        self.bytes = bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.pool.give_back(self.bytes);
    }
}

impl<D: Disk> Merge<D> {
    /// Starts merging `files` (oldest first) into the file `path`, known to `blocks`, with memory of `pool`.
    pub async fn start(
        disk: &D,
        pool: &Pool,
        blocks: &Rc<BlockCache>,
        path: &str,
        files: &[Rc<ShardFile<D>>],
        tombstones: Rc<Vec<Rc<Tombstone>>>,
        temperature: Temperature,
    ) -> Result<Self> {
        let mut lanes = Vec::with_capacity(files.len());
        for file in files {
            lanes.push(Lane::open(file).await?);
        }
        let read_ahead_bytes = pool.max() / READ_AHEAD_PART / lanes.len().max(1) as u64;
        let mut writer = TsmWriter::create(disk, path, temperature).await?.keep_in(blocks);
        // Where rows are deleted, some of its series may not come.
        let followed = (0..lanes.len()).rev().max_by_key(|at| lanes[*at].reader.meta().series);
        let followed = followed.filter(|_| tombstones.is_empty());
        if let Some(at) = followed {
            writer = writer.follow(&lanes[at].reader).await?;
        }
        let is_cold = temperature == Temperature::Cold;
        Ok(Self {
            lanes,
            cache: None,
            writer,
            followed,
            tombstones,
            is_cold,
            read_ahead_bytes: read_ahead_bytes.clamp(READ_AHEAD_BYTES_MIN, READ_AHEAD_BYTES),
            gathered_bytes_max: pool.max() / GATHERED_PART,
            charge: Charge { pool: pool.clone(), bytes: 0 },
            key: Vec::new(),
            with_it: SmallVec::new(),
            small: SmallRows::default(),
            counts: MergeCounts::default(),
        })
    }

    /// Takes a sealed generation of the shard as the newest input. Call it before the first step.
    pub async fn add_cache(
        &mut self,
        index: Rc<RefCell<ActiveIndex>>,
        sealed: Rc<RefCell<Cache>>,
        pace: &Pace,
    ) {
        self.cache = Some(CacheLane::open(index, sealed, pace).await);
    }

    /// Merges about `budget` bytes of input; whether there is more. [`Error::Full`]: the memory is too little for so many
    /// files.
    pub async fn step(&mut self, budget: u64, pace: &Pace) -> Result<bool> {
        let until = self.counts.bytes_read + budget;
        loop {
            let mut is_filled = false;
            for lane in &mut self.lanes {
                is_filled |= lane.fill(self.read_ahead_bytes, &mut self.counts).await?;
            }
            if is_filled {
                self.charge(0)?;
                if self.counts.bytes_read > until {
                    return Ok(true);
                }
            }
            let Some(is_cached) = self.find_next() else { return Ok(false) };
            let followed = self.followed.filter(|at| self.with_it.contains(at));
            let position = followed.and_then(|at| Some(self.lanes[at].next()?.position));
            self.writer.begin_series_at(&self.key, position)?;
            if !self.merge_small(is_cached, pace).await? {
                self.merge_series(is_cached, pace).await?;
            }
            if let Some(cache) = self.cache.as_mut().filter(|_| is_cached) {
                cache.advance(pace).await;
            }
        }
    }

    /// Finds the next series, its key and the lanes that have it; whether the cache has it, too. `None` at the end.
    fn find_next(&mut self) -> Option<bool> {
        self.with_it.clear();
        let mut next: Option<&Vec<u8>> = None;
        for (at, lane) in self.lanes.iter().enumerate() {
            let Some(series) = lane.next() else { continue };
            match next.map_or(Ordering::Less, |next| series.key.cmp(next)) {
                Ordering::Less => {
                    next = Some(&series.key);
                    self.with_it.clear();
                    self.with_it.push(at);
                }
                Ordering::Equal => self.with_it.push(at),
                Ordering::Greater => {}
            }
        }
        let mut is_cached = false;
        if let Some((key, _)) = self.cache.as_ref().and_then(CacheLane::series) {
            let order = next.map_or(Ordering::Less, |next| key.cmp(next));
            is_cached = order.is_le();
            if order.is_lt() {
                next = Some(key);
                self.with_it.clear();
            }
        }
        self.key.clear();
        self.key.extend_from_slice(next?);
        Some(is_cached)
    }

    /// The rows of the series at hand in the cache.
    fn cached(&self, is_cached: bool) -> Option<&Rows> {
        self.cache.as_ref().filter(|_| is_cached)?.series().map(|(_, rows)| rows)
    }

    /// Merges the series at hand if it is small and nothing of it is deleted.
    async fn merge_small(&mut self, is_cached: bool, pace: &Pace) -> Result<bool> {
        if self.is_cold || !self.tombstones.is_empty() {
            return Ok(false);
        }
        let lanes: SmallVec<[&Lane<D>; 16]> = self.with_it.iter().map(|&at| &self.lanes[at]).collect();
        let cache = self.cache.as_ref().filter(|_| is_cached).and_then(CacheLane::series);
        if !self.small.gather(&lanes, cache.map(|(_, rows)| rows), &mut self.writer)? {
            return Ok(false);
        }
        self.counts.blocks_merged += lanes.len() as u64;
        drop(lanes);
        self.small.write(&mut self.writer).await?;
        for &at in &self.with_it {
            let lane = &mut self.lanes[at];
            if let Some(series) = lane.ahead.pop_front() {
                lane.recycle(series);
            }
        }
        pace.spent(SMALL_SERIES_WORK + 10 * self.small.len() as u64).await;
        Ok(true)
    }

    /// Ends the new file, durable and named; `None` when nothing was left.
    pub async fn finish(self) -> Result<(Option<FileMeta>, MergeCounts)> {
        let metas = self.lanes.iter().map(|lane| lane.reader.meta());
        let cache = self.cache.as_ref().map(CacheLane::versions);
        let versions = || metas.clone().map(|meta| (meta.version_min, meta.version_max)).chain(cache);
        let version_min = versions().map(|(min, _)| min).min().unwrap_or_default();
        let version_max = versions().map(|(_, max)| max).max().unwrap_or_default();
        let meta = self.writer.finish(version_min, version_max).await?;
        Ok((meta, self.counts))
    }

    /// Gives up; what was written is removed.
    pub async fn abandon(self) -> Result<()> {
        self.writer.abandon().await
    }

    /// Charges what the merge holds now, `gathered` bytes of rows among it.
    fn charge(&mut self, gathered: u64) -> Result<()> {
        let ahead: u64 = self.lanes.iter().map(|lane| lane.held_bytes).sum();
        self.charge.set(ahead + gathered + self.writer.memory_bytes() as u64);
        let pool = &self.charge.pool;
        match self.lanes.len() > FILES_MIN && pool.used() > pool.max() {
            true => Err(pool.refuse()),
            false => Ok(()),
        }
    }

    async fn merge_series(&mut self, is_cached: bool, pace: &Pace) -> Result<()> {
        let mut parts: Vec<Part> = Vec::new();
        for &at in &self.with_it {
            let lane = &mut self.lanes[at];
            if let Some(series) = lane.ahead.pop_front() {
                let masks: Vec<TimeRange> = masks(&self.tombstones, lane.id, &self.key).collect();
                parts.push(Part { lane: at, series, masks });
            }
        }
        let mut gathered = Gathered::default();
        if let Some(rows) = self.cached(is_cached) {
            gathered.add(self.lanes.len(), rows.clone());
        }
        while let Some(at) = first_part(&parts) {
            let lane = &self.lanes[parts[at].lane];
            let taken = lane
                .take_block(&mut parts[at].series.blocks, self.read_ahead_bytes, &mut self.counts)
                .await?;
            let Some((block, bytes)) = taken else { break };
            let span = TimeRange::new(block.min_time, block.max_time.saturating_add(1));
            let next = first_part(&parts).map(|at| parts[at].series.blocks[0].0.min_time);
            let is_masked = parts[at].masks.iter().any(|mask| mask.overlaps(&span));
            let is_alone =
                gathered.time_max() < block.min_time && next.is_none_or(|next| next > block.max_time);
            let is_large = block.rows >= COPY_ROWS_MIN || (gathered.is_empty() && next.is_none());
            let is_fit = self.is_cold == lane.reader.meta().is_cold || !self.is_cold;
            if is_alone && is_large && is_fit && !is_masked {
                let rows = gathered.take_before(i64::MAX, true, pace).await;
                write_rows(&mut self.writer, &rows).await?;
                let length = bytes.len() as u64;
                self.writer.copy_block_bytes(&lane.reader, &block, bytes).await?;
                self.counts.blocks_copied += 1;
                pace.spent(1024 + length + work_of(&rows)).await;
                continue;
            }
            let mut rows = lane.decode(&block, &bytes)?;
            self.counts.blocks_merged += 1;
            for mask in &parts[at].masks {
                rows.remove(*mask);
            }
            let work = work_of(&rows);
            gathered.add(parts[at].lane, rows);
            self.charge(gathered.bytes)?;
            let is_much = gathered.rows >= GATHERED_ROWS_MAX || gathered.bytes >= self.gathered_bytes_max;
            if is_much && next.is_some() {
                let rows = gathered.take_before(next.unwrap_or(i64::MAX), false, pace).await;
                write_rows(&mut self.writer, &rows).await?;
            }
            pace.spent(2 * work).await;
        }
        for part in parts {
            self.lanes[part.lane].recycle(part.series);
        }
        let rows = gathered.take_before(i64::MAX, true, pace).await;
        write_rows(&mut self.writer, &rows).await
    }
}

/// What is left of a series in one lane.
struct Part {
    lane: usize,
    series: Series,
    masks: Vec<TimeRange>,
}

/// The part whose next block begins first; of equal ones the oldest.
fn first_part(parts: &[Part]) -> Option<usize> {
    let next = |part: &Part| part.series.blocks.front().map(|(block, _)| block.min_time);
    (0..parts.len()).filter(|at| next(&parts[*at]).is_some()).min_by_key(|at| next(&parts[*at]))
}

/// Decoded rows that are not written yet, with the lane they came from.
#[derive(Default)]
struct Gathered {
    parts: Vec<(usize, Rows)>,
    rows: usize,
    bytes: u64,
}

/// Bytes of rows in memory.
fn bytes_of(rows: &Rows) -> u64 {
    let columns = rows.columns.iter().map(|column| match &column.data {
        ColumnData::Float(_) | ColumnData::Integer(_) | ColumnData::Unsigned(_) => 8 * rows.len(),
        ColumnData::Boolean(_) => rows.len(),
        ColumnData::String(strings) => 4 * rows.len() + strings.bytes.len(),
    });
    (8 * rows.len() + columns.sum::<usize>()) as u64
}

impl Gathered {
    fn is_empty(&self) -> bool {
        self.rows == 0
    }

    fn time_max(&self) -> i64 {
        self.parts.iter().filter_map(|(_, rows)| rows.times.last()).copied().max().unwrap_or(i64::MIN)
    }

    fn add(&mut self, lane: usize, rows: Rows) {
        if !rows.is_empty() {
            self.rows += rows.len();
            self.bytes += bytes_of(&rows);
            self.parts.push((lane, rows));
        }
    }

    /// Takes out the rows before `cutoff` (all of them for `i64::MAX`), merged; unless `with_rest`, only so many that
    /// they make full blocks.
    async fn take_before(&mut self, cutoff: i64, with_rest: bool, pace: &Pace) -> Rows {
        // By age; a lane's own parts keep their order.
        self.parts.sort_by_key(|(lane, _)| *lane);
        let mut merged = Rows::default();
        let mut kept = Vec::new();
        for (lane, mut rows) in std::mem::take(&mut self.parts) {
            if cutoff < i64::MAX && rows.times.last().is_some_and(|&last| last >= cutoff) {
                let mut later = rows.clone();
                later.cut_to(TimeRange::new(cutoff, i64::MAX));
                rows.cut_to(TimeRange::new(i64::MIN, cutoff));
                kept.push((lane, later));
            }
            if merged.is_empty() {
                merged = rows;
            } else {
                merged.append(&rows);
            }
        }
        let mut merged = in_order(merged, pace).await;
        if !with_rest && merged.len() % BLOCK_ROWS_MAX != 0 {
            let full = merged.len() - merged.len() % BLOCK_ROWS_MAX;
            // Nothing later overlaps these rows, so they may count as the oldest lane's.
            kept.insert(0, (0, merged.part(full, merged.len())));
            merged = merged.part(0, full);
        }
        self.rows = kept.iter().map(|(_, rows)| rows.len()).sum();
        self.bytes = kept.iter().map(|(_, rows)| bytes_of(rows)).sum();
        self.parts = kept;
        merged
    }
}
