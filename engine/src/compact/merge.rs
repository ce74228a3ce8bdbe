//! Several neighbouring files → one, minus what tombstones mask, in steps.
//!
//! 1. The files' series are walked together in the order of their keys.
//! 2. A series' blocks are taken in the order of their first times. A block that no other overlaps, no tombstone touches
//!    and that is at least half full is copied as it stands.
//! 3. All others are decoded and gathered; what lies before the next block's first time is final: of equal timestamps
//!    the later file's field has won. Final rows are written in full blocks, so that small blocks grow together.
//!
//! Memory: per file the blocks read ahead ([`READ_AHEAD_BYTES`], less where the pool is small), the rows that overlap at
//! one time, and what the writer holds. It is charged to the core's compaction pool; a merge of more than
//! [`FILES_MIN`] files that does not fit ends with [`Error::Full`], to be tried again with fewer.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::codec::Temperature;
use crate::compact::Pace;
use crate::compact::file::ShardFile;
use crate::compact::plan::FILES_MIN;
use crate::compact::snapshot::{work_of, write_rows};
use crate::compact::tombstone::{Tombstone, masks};
use crate::disk::Disk;
use crate::error::Result;
use crate::model::{ColumnData, Field, Rows, TimeRange};
use crate::pool::Pool;
use crate::tsm::{BLOCK_ROWS_MAX, BlockEntry, FileMeta, Schema, SeriesCursor, TsmReader, TsmWriter, Wanted};

/// Bytes of block data read ahead per file.
const READ_AHEAD_BYTES: u64 = 256 << 10;
const READ_AHEAD_BYTES_MIN: u64 = 32 << 10;
/// What all files together read ahead, and what is gathered before it is written, as parts of the pool.
const READ_AHEAD_PART: u64 = 4;
const GATHERED_PART: u64 = 4;
/// About what the entry of a block takes in memory.
const BLOCK_ENTRY_BYTES: u64 = 192;
/// A block of fewer rows is joined with its neighbours.
const COPY_ROWS_MIN: u32 = BLOCK_ROWS_MAX as u32 / 2;
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
    writer: TsmWriter<D>,
    tombstones: Rc<Vec<Rc<Tombstone>>>,
    /// Blocks of files with other encodings are written anew.
    is_cold: bool,
    read_ahead_bytes: u64,
    gathered_bytes_max: u64,
    charge: Charge,
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

/// One input file.
struct Lane<D: Disk> {
    id: u64,
    reader: TsmReader<D>,
    schema: Rc<Schema>,
    cursor: SeriesCursor<D>,
    ahead: VecDeque<Series>,
    /// Bytes of what was read ahead last, used up or not.
    held_bytes: u64,
    is_at_end: bool,
}

/// A series of a lane and its blocks, with their bytes where they were read ahead.
struct Series {
    key: Vec<u8>,
    blocks: VecDeque<(BlockEntry, Option<Vec<u8>>)>,
}

impl<D: Disk> Lane<D> {
    /// Reads ahead when nothing is left; the lane's next series afterwards, if any, is `ahead[0]`.
    async fn fill(&mut self, read_ahead_bytes: u64, counts: &mut MergeCounts) -> Result<()> {
        if !self.ahead.is_empty() || self.is_at_end {
            return Ok(());
        }
        self.held_bytes = 0;
        let mut bytes = 0;
        while bytes < read_ahead_bytes {
            let Some(series) = self.cursor.next().await? else {
                self.is_at_end = true;
                break;
            };
            let length: u64 = series.blocks.iter().map(|block| block.data_length).sum();
            bytes += 1024 + length;
            self.held_bytes += series.key.len() as u64 + BLOCK_ENTRY_BYTES * series.blocks.len() as u64;
            let blocks = series.blocks.into_iter().map(|block| (block, None)).collect();
            self.ahead.push_back(Series { key: series.key, blocks });
            if bytes > read_ahead_bytes {
                break;
            }
        }
        // The last one may be far too large: its blocks are read as they are needed.
        let mut wanted: Vec<BlockEntry> = Vec::new();
        let mut taken = 0;
        for (block, _) in self.ahead.iter().flat_map(|series| &series.blocks) {
            taken += block.data_length;
            if taken > read_ahead_bytes && !wanted.is_empty() {
                break;
            }
            wanted.push(block.clone());
        }
        counts.bytes_read += taken;
        self.held_bytes += taken;
        let mut slots = self.ahead.iter_mut().flat_map(|series| &mut series.blocks);
        let mut rest = wanted.as_slice();
        while !rest.is_empty() {
            let run = self.reader.read_run_bytes(rest).await?;
            rest = rest.get(run.len()..).unwrap_or_default();
            for (bytes, slot) in run.into_iter().zip(&mut slots) {
                slot.1 = Some(bytes);
            }
        }
        Ok(())
    }

    /// The bytes of the first block of `blocks`; reads a run of them when it was not read ahead.
    async fn bytes(
        &self,
        blocks: &mut VecDeque<(BlockEntry, Option<Vec<u8>>)>,
        read_ahead_bytes: u64,
        counts: &mut MergeCounts,
    ) -> Result<Option<(BlockEntry, Vec<u8>)>> {
        if blocks.front().is_some_and(|(_, bytes)| bytes.is_none()) {
            let mut length = 0;
            let wanted: Vec<BlockEntry> = blocks
                .iter()
                .take_while(|(block, bytes)| {
                    let is_taken = bytes.is_none() && (length == 0 || length < read_ahead_bytes);
                    length += block.data_length.max(1);
                    is_taken
                })
                .map(|(block, _)| block.clone())
                .collect();
            let run = self.reader.read_run_bytes(&wanted).await?;
            for (bytes, slot) in run.into_iter().zip(blocks.iter_mut()) {
                counts.bytes_read += bytes.len() as u64;
                slot.1 = Some(bytes);
            }
        }
        Ok(blocks.pop_front().and_then(|(block, bytes)| Some((block, bytes?))))
    }

    fn decode(&self, block: &BlockEntry, bytes: &[u8]) -> Result<Rows> {
        let decoded = self.reader.decode_block(block, bytes, Wanted::All)?;
        let mut rows = Rows { times: decoded.times, ..Rows::default() };
        for (field, column) in decoded.columns {
            let entry = self
                .schema
                .field(field)
                .ok_or_else(|| self.reader.corrupted(block.page_offset(), "block entry: unknown field"))?;
            rows.fields.push(Field { name: entry.name.clone(), field_type: entry.field_type });
            rows.columns.push(column);
        }
        Ok(rows)
    }
}

impl<D: Disk> Merge<D> {
    /// Starts merging `files` (oldest first) into the file `path`, with memory of `pool`.
    pub async fn start(
        disk: &D,
        pool: &Pool,
        path: &str,
        files: &[Rc<ShardFile<D>>],
        tombstones: Rc<Vec<Rc<Tombstone>>>,
        temperature: Temperature,
    ) -> Result<Self> {
        let mut lanes = Vec::with_capacity(files.len());
        for file in files {
            let reader = file.reader().await?;
            lanes.push(Lane {
                id: file.entry.id,
                schema: reader.schema().await?,
                cursor: reader.cursor(b""),
                reader,
                ahead: VecDeque::new(),
                held_bytes: 0,
                is_at_end: false,
            });
        }
        let read_ahead_bytes = pool.max() / READ_AHEAD_PART / lanes.len().max(1) as u64;
        let writer = TsmWriter::create(disk, path, temperature).await?;
        let is_cold = temperature == Temperature::Cold;
        Ok(Self {
            lanes,
            writer,
            tombstones,
            is_cold,
            read_ahead_bytes: read_ahead_bytes.clamp(READ_AHEAD_BYTES_MIN, READ_AHEAD_BYTES),
            gathered_bytes_max: pool.max() / GATHERED_PART,
            charge: Charge { pool: pool.clone(), bytes: 0 },
            counts: MergeCounts::default(),
        })
    }

    /// Merges about `budget` bytes of input; whether there is more. [`Error::Full`]: the memory is too little for so many
    /// files.
    pub async fn step(&mut self, budget: u64, pace: &Pace) -> Result<bool> {
        let until = self.counts.bytes_read + budget;
        loop {
            for lane in &mut self.lanes {
                lane.fill(self.read_ahead_bytes, &mut self.counts).await?;
            }
            self.charge(0)?;
            let Some(key) =
                self.lanes.iter().filter_map(|lane| Some(&lane.ahead.front()?.key)).min().cloned()
            else {
                return Ok(false);
            };
            self.merge_series(&key, pace).await?;
            if self.counts.bytes_read > until {
                return Ok(true);
            }
        }
    }

    /// Ends the new file, durable and named; `None` when nothing was left.
    pub async fn finish(self) -> Result<(Option<FileMeta>, MergeCounts)> {
        let metas = || self.lanes.iter().map(|lane| lane.reader.meta());
        let version_min = metas().map(|meta| meta.version_min).min().unwrap_or_default();
        let version_max = metas().map(|meta| meta.version_max).max().unwrap_or_default();
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

    async fn merge_series(&mut self, key: &[u8], pace: &Pace) -> Result<()> {
        let mut parts: Vec<Part> = Vec::new();
        for (lane_at, lane) in self.lanes.iter_mut().enumerate() {
            if lane.ahead.front().is_some_and(|series| series.key == key)
                && let Some(series) = lane.ahead.pop_front()
            {
                let masks: Vec<TimeRange> = masks(&self.tombstones, lane.id, key).collect();
                parts.push(Part { lane: lane_at, blocks: series.blocks, masks });
            }
        }
        self.writer.begin_series(key)?;
        let mut gathered = Gathered::default();
        while let Some(at) = first_part(&parts) {
            let lane = &self.lanes[parts[at].lane];
            let taken = lane.bytes(&mut parts[at].blocks, self.read_ahead_bytes, &mut self.counts).await?;
            let Some((block, bytes)) = taken else { break };
            let span = TimeRange::new(block.min_time, block.max_time.saturating_add(1));
            let next = first_part(&parts).map(|at| parts[at].blocks[0].0.min_time);
            let is_masked = parts[at].masks.iter().any(|mask| mask.overlaps(&span));
            let is_alone =
                gathered.time_max() < block.min_time && next.is_none_or(|next| next > block.max_time);
            let is_large = block.rows >= COPY_ROWS_MIN || (gathered.is_empty() && next.is_none());
            let is_fit = self.is_cold == lane.reader.meta().is_cold || !self.is_cold;
            if is_alone && is_large && is_fit && !is_masked {
                let rows = gathered.take_before(i64::MAX, true);
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
                let rows = gathered.take_before(next.unwrap_or(i64::MAX), false);
                write_rows(&mut self.writer, &rows).await?;
            }
            pace.spent(2 * work).await;
        }
        let rows = gathered.take_before(i64::MAX, true);
        write_rows(&mut self.writer, &rows).await
    }
}

/// What is left of a series in one lane.
struct Part {
    lane: usize,
    blocks: VecDeque<(BlockEntry, Option<Vec<u8>>)>,
    masks: Vec<TimeRange>,
}

/// The part whose next block begins first; of equal ones the oldest.
fn first_part(parts: &[Part]) -> Option<usize> {
    let next = |part: &Part| part.blocks.front().map(|(block, _)| block.min_time);
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
    fn take_before(&mut self, cutoff: i64, with_rest: bool) -> Rows {
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
        merged.bring_to_order();
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
