//! The blocks of a file: read whole or by their wanted columns, checked, and kept in the core's block cache.

use std::rc::Rc;

use super::{ColumnSummary, TsmReader, Wanted};
use crate::checksum;
use crate::codec::{DecodeError, Values};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::tsm::block::{
    BlockRows, Chunk, ColumnChunk, GroupChunks, decode_group_column, decode_present, decode_times,
    join_groups,
};
use crate::tsm::block_cache::{BlockBytes, Cached};
use crate::tsm::index::BlockEntry;
use crate::tsm::statistics::statistics_of;

/// Bytes of one read of neighbouring blocks at most.
const RUN_BYTES_MAX: u64 = 1 << 20;
/// A block of at most this many bytes is read and kept whole: its columns lie within a few blocks of the disk.
const WHOLE_BYTES_MAX: u64 = 32 << 10;
/// Bytes read at once when the blocks that follow are to be read too: a second read costs about as much as these.
const ALONG_BYTES_MAX: u64 = 32 << 10;
/// Chunks of a block this far apart are still read at once: a seek costs more.
const GAP_BYTES_MAX: usize = 64 << 10;

impl<D: Disk> TsmReader<D> {
    /// The chunk table of a block.
    pub fn chunks(&self, block: &BlockEntry) -> Result<(Vec<GroupChunks>, Vec<u8>)> {
        let (groups, data) = self.damaged(block.page_offset(), block.chunks())?;
        Ok((groups, data.to_vec()))
    }

    /// What the entry knows of the block's columns. No read; of small blocks that live in their page, statistics are made
    /// from the values.
    pub fn summaries(&self, block: &BlockEntry) -> Result<Vec<ColumnSummary>> {
        let (groups, data) = self.damaged(block.page_offset(), block.chunks())?;
        let mut summaries = Vec::new();
        for group in &groups {
            for column in &group.columns {
                let mut statistics = column.statistics;
                if block.is_inline && statistics.is_none() {
                    let bytes = &data[column.chunk.at..column.chunk.at + column.chunk.length];
                    let dense = decode_present(column, group.rows, bytes);
                    statistics = statistics_of(Values::of(&self.damaged(block.page_offset(), dense)?));
                }
                summaries.push(ColumnSummary {
                    field: column.shape.field,
                    field_type: column.shape.field_type,
                    count: (group.rows - column.nulls) as u64,
                    statistics,
                });
            }
        }
        Ok(summaries)
    }

    /// Rows of a block with the wanted columns: one read for what is not in the cache. Rows in which none of the wanted
    /// columns has a value may be missing or there; without any wanted column in the block there are none.
    pub async fn read_block(&self, block: &BlockEntry, wanted: Wanted<'_>) -> Result<BlockRows> {
        self.read_first(std::slice::from_ref(block), wanted).await
    }

    /// As [`Self::read_block`], of the first of `blocks`, which are of one series and in order. The others will be wanted
    /// too: when there is a read, some of them come along into the cache.
    pub async fn read_first(&self, blocks: &[BlockEntry], wanted: Wanted<'_>) -> Result<BlockRows> {
        let Some(block) = blocks.first() else { return Ok(BlockRows::default()) };
        let (groups, inline) = self.damaged(block.page_offset(), block.chunks())?;
        let chosen = choose(&groups, wanted);
        if chosen.is_empty() {
            return Ok(BlockRows::default());
        }
        if block.is_inline {
            return self.damaged(
                block.page_offset(),
                decode_chosen(&chosen, |chunk| Ok(&inline[chunk.at..chunk.at + chunk.length])),
            );
        }
        if block.data_length <= WHOLE_BYTES_MAX && matches!(wanted, Wanted::Fields(_)) {
            let whole = self.whole(blocks).await?;
            self.check_wanted(block, &groups, wanted, &whole)?;
            let decoded = decode_chosen(&chosen, |chunk| Ok(&whole.bytes[chunk.at..chunk.at + chunk.length]));
            return self.damaged(block.data_at, decoded);
        }
        let chunks = self.fetch(block, &chosen, matches!(wanted, Wanted::Fields(_))).await?;
        let decoded = decode_chosen(&chosen, |chunk| {
            if chunk.length == 0 {
                return Ok(&[][..]);
            }
            let found = chunks.binary_search_by_key(&chunk.at, |(at, _)| *at);
            found.map(|at| &*chunks[at].1).map_err(|_| DecodeError("chunk"))
        });
        self.damaged(block.data_at, decoded)
    }

    /// The data of the first of `blocks`; what is read along goes into the cache, unchecked like the first.
    async fn whole(&self, blocks: &[BlockEntry]) -> Result<Rc<BlockBytes>> {
        let inner = &*self.inner;
        let first = &blocks[0];
        if let Some(Cached::Block(block)) = inner.cache.get(inner.cache_file, first.data_at) {
            return Ok(block);
        }
        let mut end = first.data_at + first.data_length;
        let mut count = 1;
        for next in &blocks[1..] {
            let next_end = next.data_at + next.data_length;
            let is_next =
                !next.is_inline && next.data_at == end && next_end - first.data_at <= ALONG_BYTES_MAX;
            if !is_next || inner.cache.has(inner.cache_file, next.data_at) {
                break;
            }
            (end, count) = (next_end, count + 1);
        }
        let bytes = self.read(first.data_at, (end - first.data_at) as usize).await?;
        let mut wanted = None;
        for block in &blocks[..count] {
            let at = (block.data_at - first.data_at) as usize;
            let whole = BlockBytes::read(&bytes[at..at + block.data_length as usize]);
            inner.cache.put(inner.cache_file, block.data_at, Cached::Block(whole.clone()));
            wanted.get_or_insert(whole);
        }
        wanted.ok_or_else(|| Error::Invalid("BUG: no block to read".to_owned()))
    }

    /// Checks the chunks that are wanted of a block, each at its first use.
    fn check_wanted(
        &self,
        block: &BlockEntry,
        groups: &[GroupChunks],
        wanted: Wanted<'_>,
        whole: &BlockBytes,
    ) -> Result<()> {
        let check = |number: usize, chunk: &Chunk| {
            if !whole.is_checked(number) {
                self.check_chunk(block, chunk, &whole.bytes[chunk.at..chunk.at + chunk.length])?;
                whole.set_checked(number);
            }
            Ok(())
        };
        let mut number = 0;
        for group in groups {
            let times = number;
            let mut is_wanted = false;
            for column in &group.columns {
                number += 1;
                if wanted.has(column.shape.field) {
                    is_wanted = true;
                    check(number, &column.chunk)?;
                }
            }
            if is_wanted {
                check(times, &group.times)?;
            }
            number += 1;
        }
        Ok(())
    }

    /// The checked bytes of the chosen chunks, by their place in the block.
    async fn fetch(
        &self,
        block: &BlockEntry,
        chosen: &[(&GroupChunks, Vec<&ColumnChunk>)],
        is_cached: bool,
    ) -> Result<Vec<(usize, Rc<[u8]>)>> {
        let inner = &*self.inner;
        let mut found = Vec::new();
        let mut missing: Vec<Chunk> = Vec::new();
        let wanted = chosen.iter().flat_map(|(group, columns)| {
            std::iter::once(group.times).chain(columns.iter().map(|column| column.chunk))
        });
        for chunk in wanted.filter(|chunk| chunk.length > 0) {
            match inner.cache.get(inner.cache_file, block.data_at + chunk.at as u64) {
                Some(Cached::Bytes(bytes)) if bytes.len() == chunk.length => found.push((chunk.at, bytes)),
                _ => missing.push(chunk),
            }
        }
        // Chunks come in the order of their places: each run of near ones is one read.
        for run in missing.chunk_by(|a, b| b.at - (a.at + a.length) <= GAP_BYTES_MAX) {
            let start = run[0].at;
            let end = run[run.len() - 1].at + run[run.len() - 1].length;
            let bytes = self.read(block.data_at + start as u64, end - start).await?;
            for chunk in run {
                let piece = &bytes[chunk.at - start..chunk.at - start + chunk.length];
                self.check_chunk(block, chunk, piece)?;
                let piece: Rc<[u8]> = piece.into();
                if is_cached {
                    let offset = block.data_at + chunk.at as u64;
                    inner.cache.put(inner.cache_file, offset, Cached::Bytes(piece.clone()));
                }
                found.push((chunk.at, piece));
            }
        }
        found.sort_unstable_by_key(|(at, _)| *at);
        Ok(found)
    }

    fn check_chunk(&self, block: &BlockEntry, chunk: &Chunk, bytes: &[u8]) -> Result<()> {
        if chunk.crc.is_some_and(|crc| !checksum::is(bytes, crc)) {
            return Err(self.corrupted(block.data_at + chunk.at as u64, "chunk: checksum"));
        }
        Ok(())
    }

    /// Checks every chunk of a block whose data is `bytes`.
    fn check_block(&self, block: &BlockEntry, bytes: &[u8]) -> Result<()> {
        let (groups, _) = self.damaged(block.page_offset(), block.chunks())?;
        for group in &groups {
            for chunk in std::iter::once(&group.times).chain(group.columns.iter().map(|column| &column.chunk))
            {
                self.check_chunk(block, chunk, &bytes[chunk.at..chunk.at + chunk.length])?;
            }
        }
        Ok(())
    }

    /// The whole data of a block as it stands, checked: for copying.
    pub async fn read_block_bytes(&self, block: &BlockEntry) -> Result<Vec<u8>> {
        if block.is_inline {
            return Ok(self.chunks(block)?.1);
        }
        let bytes = self.read(block.data_at, block.data_length as usize).await?;
        self.check_block(block, &bytes)?;
        Ok(bytes)
    }

    /// As [`Self::read_block_bytes`] of the first blocks that lie close enough together for one read; at least one. Give
    /// blocks in file order.
    pub async fn read_run_bytes(&self, blocks: &[BlockEntry]) -> Result<Vec<Vec<u8>>> {
        let Some(first) = blocks.iter().find(|block| !block.is_inline) else {
            return blocks.iter().map(|block| Ok(self.chunks(block)?.1)).collect();
        };
        let start = first.data_at;
        let (mut end, mut count) = (start, 0);
        for block in blocks {
            if !block.is_inline {
                let block_end = block.data_at + block.data_length;
                let is_near = block.data_at >= end
                    && block.data_at - end <= GAP_BYTES_MAX as u64
                    && block_end - start <= RUN_BYTES_MAX;
                if !is_near && end > start {
                    break;
                }
                end = block_end;
            }
            count += 1;
        }
        let bytes = self.read(start, (end - start) as usize).await?;
        let mut run = Vec::with_capacity(count);
        for block in &blocks[..count] {
            if block.is_inline {
                run.push(self.chunks(block)?.1);
                continue;
            }
            let at = (block.data_at - start) as usize;
            let data = &bytes[at..at + block.data_length as usize];
            self.check_block(block, data)?;
            run.push(data.to_vec());
        }
        Ok(run)
    }

    /// Rows of the first of `blocks` that lie close enough together for one read; at least one. Give blocks in file order.
    pub async fn read_blocks(&self, blocks: &[BlockEntry], wanted: Wanted<'_>) -> Result<Vec<BlockRows>> {
        let run = self.read_run_bytes(blocks).await?;
        run.iter().zip(blocks).map(|(bytes, block)| self.decode_block(block, bytes, wanted)).collect()
    }

    /// Rows of a block whose checked data is `bytes`.
    pub fn decode_block(&self, block: &BlockEntry, bytes: &[u8], wanted: Wanted<'_>) -> Result<BlockRows> {
        let (groups, _) = self.damaged(block.page_offset(), block.chunks())?;
        let decoded = decode_chosen(&choose(&groups, wanted), |chunk| {
            bytes.get(chunk.at..chunk.at + chunk.length).ok_or(DecodeError("chunk"))
        });
        self.damaged(if block.is_inline { block.page_offset() } else { block.data_at }, decoded)
    }
}

/// The groups that have wanted columns, with those columns.
fn choose<'a>(groups: &'a [GroupChunks], wanted: Wanted<'_>) -> Vec<(&'a GroupChunks, Vec<&'a ColumnChunk>)> {
    groups
        .iter()
        .map(|group| {
            (group, group.columns.iter().filter(|column| wanted.has(column.shape.field)).collect::<Vec<_>>())
        })
        .filter(|(_, columns)| !columns.is_empty())
        .collect()
}

fn decode_chosen<'b>(
    chosen: &[(&GroupChunks, Vec<&ColumnChunk>)],
    bytes_of: impl Fn(&Chunk) -> Result<&'b [u8], DecodeError>,
) -> Result<BlockRows, DecodeError> {
    let mut groups = Vec::with_capacity(chosen.len());
    for (group, columns) in chosen {
        let times = decode_times(group, bytes_of(&group.times)?)?;
        let mut decoded = Vec::with_capacity(columns.len());
        for column in columns {
            let values = decode_group_column(column, group.rows, bytes_of(&column.chunk)?)?;
            decoded.push((column.shape.field, values));
        }
        groups.push(BlockRows { times, columns: decoded });
    }
    Ok(join_groups(groups))
}
