//! One input file of a merge: its series in key order, some read ahead. Series that are done give their memory to those
//! read next.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::compact::file::ShardFile;
use crate::compact::merge::MergeCounts;
use crate::disk::Disk;
use crate::error::Result;
use crate::model::{Field, Rows};
use crate::tsm::{BlockEntry, Schema, SeriesCursor, SeriesEntry, TsmReader, Wanted};

/// About what the entry of a block takes in memory.
const BLOCK_ENTRY_BYTES: u64 = 192;
/// What a series counts for beyond its blocks' data when a stretch is read ahead.
const SERIES_BYTES: u64 = 256;

/// See the head of this file.
pub(super) struct Lane<D: Disk> {
    pub id: u64,
    pub reader: TsmReader<D>,
    pub schema: Rc<Schema>,
    cursor: SeriesCursor<D>,
    pub ahead: VecDeque<Series>,
    spare: Vec<Series>,
    entry: SeriesEntry,
    /// Bytes of what was read ahead last, used up or not.
    pub held_bytes: u64,
    is_at_end: bool,
}

/// A block, and its data where it was read ahead; that of an inline block never is.
pub(super) type Block = (BlockEntry, Option<Vec<u8>>);

/// A series of a lane and its blocks.
#[derive(Default)]
pub(super) struct Series {
    pub key: Vec<u8>,
    /// In the lane's file.
    pub position: u32,
    pub blocks: VecDeque<Block>,
}

impl<D: Disk> Lane<D> {
    pub async fn open(file: &ShardFile<D>) -> Result<Self> {
        let reader = file.reader().await?;
        Ok(Self {
            id: file.entry.id,
            schema: reader.schema().await?,
            cursor: reader.walk(),
            reader,
            ahead: VecDeque::new(),
            spare: Vec::new(),
            entry: SeriesEntry::default(),
            held_bytes: 0,
            is_at_end: false,
        })
    }

    /// The lane's next series.
    pub fn next(&self) -> Option<&Series> {
        self.ahead.front()
    }

    /// Reads ahead when nothing is left; whether it did.
    pub async fn fill(&mut self, read_ahead_bytes: u64, counts: &mut MergeCounts) -> Result<bool> {
        if !self.ahead.is_empty() || self.is_at_end {
            return Ok(false);
        }
        self.held_bytes = 0;
        let mut bytes = 0;
        while bytes < read_ahead_bytes {
            if !self.cursor.next_into(&mut self.entry).await? {
                self.is_at_end = true;
                break;
            }
            let entry = &mut self.entry;
            let length: u64 = entry.blocks.iter().map(|block| block.data_length).sum();
            bytes += SERIES_BYTES + length;
            counts.bytes_read += (entry.key.len() + entry.blocks.len()) as u64;
            self.held_bytes += entry.key.len() as u64 + BLOCK_ENTRY_BYTES * entry.blocks.len() as u64;
            let mut series = self.spare.pop().unwrap_or_default();
            series.key.clear();
            series.key.extend_from_slice(&entry.key);
            series.position = entry.position;
            series.blocks.extend(entry.blocks.drain(..).map(|block| (block, None)));
            self.ahead.push_back(series);
        }
        self.read_data(read_ahead_bytes, counts).await?;
        Ok(true)
    }

    /// Reads the data of the blocks ahead. The last one may be far too large: what is beyond is read as it is needed.
    async fn read_data(&mut self, read_ahead_bytes: u64, counts: &mut MergeCounts) -> Result<()> {
        let mut taken = 0;
        let mut wanted: Vec<BlockEntry> = Vec::new();
        for (block, _) in self.ahead.iter().flat_map(|series| &series.blocks) {
            if block.is_inline {
                continue;
            }
            if taken + block.data_length > read_ahead_bytes && !wanted.is_empty() {
                break;
            }
            taken += block.data_length;
            wanted.push(block.clone());
        }
        counts.bytes_read += taken;
        self.held_bytes += taken;
        let blocks = self.ahead.iter_mut().flat_map(|series| &mut series.blocks);
        let mut slots = blocks.filter(|(block, _)| !block.is_inline);
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

    /// Takes back a series that is done.
    pub fn recycle(&mut self, mut series: Series) {
        series.blocks.clear();
        self.spare.push(series);
    }

    /// Takes the first block of `blocks` with its bytes; reads a run of them when it was not read ahead.
    pub async fn take_block(
        &self,
        blocks: &mut VecDeque<Block>,
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

    pub fn decode(&self, block: &BlockEntry, bytes: &[u8]) -> Result<Rows> {
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
