//! The block index: pages of about [`PAGE_BYTES`] with sorted, prefix-compressed series keys and the entries of their
//! blocks, under a sparse top level that is all a reader keeps.
//!
//! Pages stand among the data: each directly behind the blocks it describes, so that a writer holds one page and the top
//! level, however many series there are. A series whose blocks do not fit a page goes on as the first series of the next.
//!
//! ```text
//! page
//!   i64 base time · u64 data offset · u32 first series position · u32 series · u32 shapes at · u32 flags (1: the first
//!   series goes on from the page before)
//!   per series: varint bytes shared with the key before · varint suffix length · suffix · varint length of the rest
//!               · varint blocks × 2 + has data · [varint data offset from the page's] · entries
//!   shapes:     varint shapes · each (see block.rs)
//! entry
//!   u8 flags (1 inline, 2 starts before the base time) · varint rows · scaled start · scaled (max time - min time)
//!   · varint shape · inline: varint length of table and data · table · data
//!                  · else:   varint length of table · varint length of data · table
//! start: of a series' first block its distance from the base time, of the others from the max time of the one before
//!
//! On disk a page is lz4 of this when that is smaller: keys repeat each other beyond their prefixes.
//!
//! top level, per page
//!   varint shared · varint suffix length · suffix · varint page offset - end of the page before · varint length · u32 crc32c
//!   · varint length when decompressed, 0 if it is not compressed · varint series that start in it · u8 flags (1 goes on) · i64 min time · varint (max time - min time)
//! ```

use super::block::{BLOCK_ROWS_MAX, BlockExtent, BlockShape, GroupChunks, take_chunks};
use crate::codec::DecodeError;
use crate::codec::varint::{
    put_scaled, put_varint, take_byte, take_bytes, take_count, take_length, take_scaled, take_u32, take_u64,
    take_varint,
};
use crate::model::TimeRange;
pub(super) use crate::model::batch::shared_prefix;
use std::collections::VecDeque;
use std::ops::{Deref, Range};
use std::rc::Rc;

/// One read of a page is one series found; smaller pages make the top level bigger, which stays in memory.
pub const PAGE_BYTES: usize = 16 << 10;
const PAGE_HEADER_BYTES: usize = 32;
const CONTINUES: u32 = 1;

const INLINE: u8 = 1;
const BEFORE: u8 = 2;

/// Takes the next of a run of prefix-compressed keys; `key` holds the one before.
pub(super) fn take_key(bytes: &mut &[u8], key: &mut Vec<u8>) -> Result<(), DecodeError> {
    let shared = take_count(bytes, key.len())?;
    let length = take_length(bytes)?;
    key.truncate(shared);
    key.extend_from_slice(take_bytes(bytes, length)?);
    Ok(())
}

pub(super) fn put_key(out: &mut Vec<u8>, before: &[u8], key: &[u8]) {
    let shared = shared_prefix(before, key);
    put_varint(out, shared as u64);
    put_varint(out, (key.len() - shared) as u64);
    out.extend_from_slice(&key[shared..]);
}

/// Collects one index page.
#[derive(Debug, Default)]
pub struct PageBuilder {
    /// Entries of finished series, without the header.
    entries: Vec<u8>,
    series: u32,
    shapes: Vec<BlockShape>,
    /// The last finished series.
    key: Vec<u8>,
    /// The series under way; `head` is a buffer.
    blocks: Vec<u8>,
    head: Vec<u8>,
    block_count: u64,
    data_offset: Option<u64>,
    last_max_time: i64,
    base_time: Option<i64>,
    data_base: u64,
    first_position: u32,
    continues: bool,
    first_key: Vec<u8>,
    min_time: i64,
    max_time: i64,
}

impl PageBuilder {
    /// A page whose data starts at `data_base` of the file; `first_position` is that of its first series.
    pub fn start(&mut self, data_base: u64, first_position: u32, continues: bool) {
        self.entries.clear();
        self.shapes.clear();
        self.series = 0;
        self.key.clear();
        self.blocks.clear();
        self.block_count = 0;
        self.data_offset = None;
        self.base_time = None;
        self.data_base = data_base;
        self.first_position = first_position;
        self.continues = continues;
        self.first_key.clear();
        (self.min_time, self.max_time) = (i64::MAX, i64::MIN);
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.block_count == 0
    }

    pub fn is_full(&self) -> bool {
        self.entries.len() + self.blocks.len() >= PAGE_BYTES
    }

    /// Adds a block of the series under way: its data stands at `offset` of the file, or comes here when it is inline.
    pub fn add_block(
        &mut self,
        shape: &BlockShape,
        extent: BlockExtent,
        chunk_table: &[u8],
        offset: u64,
        data: &[u8],
    ) {
        let base = *self.base_time.get_or_insert(extent.min_time);
        let shape_at = self.shapes.iter().rposition(|other| other == shape).unwrap_or_else(|| {
            self.shapes.push(shape.clone());
            self.shapes.len() - 1
        });
        let out = &mut self.blocks;
        let from = if self.block_count == 0 { base } else { self.last_max_time };
        let is_before = extent.min_time < from;
        out.push((u8::from(extent.is_inline) * INLINE) | (u8::from(is_before) * BEFORE));
        put_varint(out, extent.rows as u64);
        put_scaled(out, extent.min_time.abs_diff(from));
        put_scaled(out, extent.max_time.abs_diff(extent.min_time));
        put_varint(out, shape_at as u64);
        if extent.is_inline {
            put_varint(out, (chunk_table.len() + data.len()) as u64);
            out.extend_from_slice(chunk_table);
            out.extend_from_slice(data);
        } else {
            put_varint(out, chunk_table.len() as u64);
            put_varint(out, data.len() as u64);
            out.extend_from_slice(chunk_table);
            self.data_offset.get_or_insert(offset - self.data_base);
        }
        self.block_count += 1;
        self.last_max_time = extent.max_time;
        self.min_time = self.min_time.min(extent.min_time);
        self.max_time = self.max_time.max(extent.max_time);
    }

    /// Closes the series under way, if it has blocks here.
    pub fn end_series(&mut self, key: &[u8]) {
        if self.block_count == 0 {
            return;
        }
        if self.series == 0 {
            self.first_key = key.to_vec();
        }
        self.head.clear();
        put_varint(&mut self.head, self.block_count * 2 + u64::from(self.data_offset.is_some()));
        if let Some(offset) = self.data_offset {
            put_varint(&mut self.head, offset);
        }
        put_key(&mut self.entries, &self.key, key);
        put_varint(&mut self.entries, (self.head.len() + self.blocks.len()) as u64);
        self.entries.extend_from_slice(&self.head);
        self.entries.extend_from_slice(&self.blocks);
        self.key.clear();
        self.key.extend_from_slice(key);
        self.series += 1;
        self.blocks.clear();
        self.block_count = 0;
        self.data_offset = None;
    }

    /// The page's bytes before compression, and its entry of the top level, which lacks all about their place.
    pub fn finish(&mut self) -> (Vec<u8>, TopEntry) {
        debug_assert!(self.block_count == 0, "BUG: a page ends within a series");
        let mut out = Vec::with_capacity(PAGE_HEADER_BYTES + self.entries.len() + 64);
        out.extend_from_slice(&self.base_time.unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&self.data_base.to_le_bytes());
        out.extend_from_slice(&self.first_position.to_le_bytes());
        out.extend_from_slice(&self.series.to_le_bytes());
        out.extend_from_slice(&((PAGE_HEADER_BYTES + self.entries.len()) as u32).to_le_bytes());
        out.extend_from_slice(&(u32::from(self.continues) * CONTINUES).to_le_bytes());
        out.extend_from_slice(&self.entries);
        put_varint(&mut out, self.shapes.len() as u64);
        for shape in &self.shapes {
            shape.put(&mut out);
        }
        let top = TopEntry {
            key: std::mem::take(&mut self.first_key),
            offset: 0,
            length: 0,
            crc: 0,
            raw_length: 0,
            first_position: self.first_position,
            series: self.series - u32::from(self.continues),
            continues: self.continues,
            min_time: self.min_time,
            max_time: self.max_time,
        };
        (out, top)
    }
}

/// One page as the top level knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct TopEntry {
    /// Of the first series.
    pub key: Vec<u8>,
    pub offset: u64,
    /// On disk.
    pub length: u32,
    pub crc: u32,
    /// When decompressed; 0 of a page that is not compressed.
    pub raw_length: u32,
    /// Position of the first series.
    pub first_position: u32,
    /// Series that start in this page.
    pub series: u32,
    /// The first series goes on from the page before.
    pub continues: bool,
    /// Least and greatest time of a row.
    pub min_time: i64,
    pub max_time: i64,
}

impl TopEntry {
    /// Bytes held in memory.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.key.capacity()
    }
}

/// The sparse level: one entry per page, in key order. All that stays in memory of an open file's index.
#[derive(Debug, Default)]
pub struct TopLevel {
    pub pages: Vec<TopEntry>,
}

impl TopLevel {
    pub fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.pages.len() as u64);
        let mut key: &[u8] = &[];
        let mut end = 0;
        for page in &self.pages {
            put_key(out, key, &page.key);
            put_varint(out, page.offset - end);
            put_varint(out, u64::from(page.length));
            out.extend_from_slice(&page.crc.to_le_bytes());
            put_varint(out, u64::from(page.raw_length));
            put_varint(out, u64::from(page.series));
            out.push(u8::from(page.continues));
            out.extend_from_slice(&page.min_time.to_le_bytes());
            put_varint(out, page.max_time.wrapping_sub(page.min_time) as u64);
            key = &page.key;
            end = page.offset + u64::from(page.length);
        }
    }

    /// Reads the level; pages lie before `limit` in the file.
    pub fn take(mut bytes: &[u8], limit: u64) -> Result<Self, DecodeError> {
        const BAD: DecodeError = DecodeError("top level of the index");
        let bytes = &mut bytes;
        let count = take_length(bytes)?;
        let mut pages: Vec<TopEntry> = Vec::with_capacity(count);
        let (mut key, mut end, mut position) = (Vec::new(), 0u64, 0u32);
        for _ in 0..count {
            take_key(bytes, &mut key)?;
            let offset = end.checked_add(take_varint(bytes)?).ok_or(BAD)?;
            let length = take_count(bytes, u32::MAX as usize)? as u32;
            let crc = take_u32(bytes)?;
            let raw_length = take_count(bytes, u32::MAX as usize)? as u32;
            let series = take_count(bytes, (u32::MAX - position) as usize)? as u32;
            let continues = take_byte(bytes)? != 0;
            let min_time = take_u64(bytes)? as i64;
            let max_time = min_time.wrapping_add(take_varint(bytes)? as i64);
            end = offset.checked_add(u64::from(length)).ok_or(BAD)?;
            let is_ordered = pages.last().is_none_or(|before| match continues {
                true => before.key <= key,
                false => before.key < key,
            });
            if end > limit || !is_ordered || (continues && pages.is_empty()) {
                return Err(BAD);
            }
            pages.push(TopEntry {
                key: key.clone(),
                offset,
                length,
                crc,
                raw_length,
                first_position: position.saturating_sub(u32::from(continues)),
                series,
                continues,
                min_time,
                max_time,
            });
            position += series;
        }
        if bytes.is_empty() { Ok(Self { pages }) } else { Err(BAD) }
    }

    /// The page in which the first series with a key of at least `key` starts, or the one before: a scan from there
    /// meets it.
    pub fn page_for(&self, key: &[u8]) -> usize {
        let mut at = self.pages.partition_point(|page| page.key.as_slice() <= key);
        // The pages that start with this very key: the first of them that does not merely go on has it, else the page
        // before them.
        while at > 0 && self.pages[at - 1].key == key && self.pages[at - 1].continues {
            at -= 1;
        }
        at.saturating_sub(1)
    }

    /// The page in which a series starts.
    pub fn page_at(&self, position: u32) -> Option<usize> {
        let mut at = self.pages.partition_point(|page| page.first_position <= position);
        while at > 0 && self.pages[at - 1].continues && self.pages[at - 1].first_position == position {
            at -= 1;
        }
        let at = at.checked_sub(1)?;
        let page = &self.pages[at];
        (position - page.first_position < page.series + u32::from(page.continues)).then_some(at)
    }

    /// Bytes held in memory.
    pub fn memory_bytes(&self) -> usize {
        self.pages.iter().map(TopEntry::memory_bytes).sum()
    }
}

/// A page's bytes as they go to the disk: compressed if that saves an eighth. And the length to undo it, else 0.
pub fn compress_page(bytes: Vec<u8>) -> (Vec<u8>, u32) {
    let compressed = lz4_flex::block::compress(&bytes);
    if compressed.len() < bytes.len() - bytes.len() / 8 {
        (compressed, bytes.len() as u32)
    } else {
        (bytes, 0)
    }
}

/// The opposite of [`compress_page`].
pub fn decompress_page(bytes: Vec<u8>, raw_length: u32) -> Result<Vec<u8>, DecodeError> {
    const BAD: DecodeError = DecodeError("index page: compression");
    if raw_length == 0 {
        return Ok(bytes);
    }
    // lz4 cannot do better than 255 to 1: a bound on what a lie can make us reserve.
    if raw_length as usize / 255 > bytes.len() {
        return Err(BAD);
    }
    let raw = lz4_flex::block::decompress(&bytes, raw_length as usize).map_err(|_| BAD)?;
    if raw.len() == raw_length as usize { Ok(raw) } else { Err(BAD) }
}

/// A page in memory: its bytes, checked, and the header.
#[derive(Debug)]
pub struct IndexPage {
    pub bytes: Vec<u8>,
    /// Where the page stands in the file, for errors.
    pub offset: u64,
    base_time: i64,
    data_base: u64,
    pub first_position: u32,
    pub series: u32,
    entries: Range<usize>,
    pub shapes: Vec<BlockShape>,
}

impl IndexPage {
    pub fn new(bytes: Vec<u8>, offset: u64) -> Result<Self, DecodeError> {
        let mut rest = bytes.as_slice();
        let base_time = take_u64(&mut rest)? as i64;
        let data_base = take_u64(&mut rest)?;
        let first_position = take_u32(&mut rest)?;
        let series = take_u32(&mut rest)?;
        let shapes_at = take_u32(&mut rest)? as usize;
        let mut tail = bytes.get(shapes_at..).ok_or(DecodeError("index page"))?;
        if shapes_at < PAGE_HEADER_BYTES || data_base > offset {
            return Err(DecodeError("index page"));
        }
        let mut shapes = Vec::new();
        for _ in 0..take_length(&mut tail)? {
            shapes.push(BlockShape::take(&mut tail)?);
        }
        Ok(Self {
            base_time,
            data_base,
            first_position,
            series,
            entries: PAGE_HEADER_BYTES..shapes_at,
            shapes,
            bytes,
            offset,
        })
    }

    pub fn memory_bytes(&self) -> usize {
        let shapes: usize =
            self.shapes.iter().flat_map(|shape| &shape.groups).map(|group| group.len() * 8 + 24).sum();
        self.bytes.len() + shapes + size_of::<Self>()
    }

    /// Whether any of its blocks may have data outside of it.
    pub fn has_data(&self) -> bool {
        self.data_base < self.offset
    }

    /// Where the series stand.
    pub fn series_start(&self) -> usize {
        self.entries.start
    }

    /// Where they end.
    pub fn series_end(&self) -> usize {
        self.entries.end
    }

    /// Reads the series at `at`: `key` holds the one before and becomes this one's. Where its entries stand, and where
    /// the next series does. `None` at the page's end.
    pub fn step(&self, at: usize, key: &mut Vec<u8>) -> Result<Option<(Range<usize>, usize)>, DecodeError> {
        if at >= self.entries.end {
            return Ok(None);
        }
        let mut rest = &self.bytes[at..self.entries.end];
        take_key(&mut rest, key)?;
        let length = take_length(&mut rest)?;
        let start = self.entries.end - rest.len();
        Ok(Some((start..start + length, start + length)))
    }

    /// The entries of a series, as [`Self::step`] found them.
    pub fn blocks(
        self: &Rc<Self>,
        entries: Range<usize>,
        out: &mut Vec<BlockEntry>,
    ) -> Result<(), DecodeError> {
        self.each_block(entries, |block| out.push(BlockEntry { page: self.clone(), block }))
    }

    /// The last entries of a series that overlap `time`: as few as have `rows` rows.
    pub fn newest_blocks(
        self: &Rc<Self>,
        entries: Range<usize>,
        time: TimeRange,
        rows: usize,
    ) -> Result<NewestBlocks, DecodeError> {
        let (mut newest, mut newest_rows) = (VecDeque::<PlacedBlock>::new(), 0);
        let mut older: Option<TimeRange> = None;
        self.each_block(entries, |block| {
            if !block.overlaps(&time) {
                return;
            }
            newest_rows += block.rows as usize;
            newest.push_back(block);
            while let Some(first) = newest.front().copied()
                && newest_rows - first.rows as usize >= rows
            {
                newest_rows -= first.rows as usize;
                let start = older.map_or(first.min_time, |older| older.start);
                older = Some(TimeRange::new(start, first.max_time.saturating_add(1)));
                newest.pop_front();
            }
        })?;
        let entry = |block| BlockEntry { page: self.clone(), block };
        Ok(NewestBlocks { blocks: newest.into_iter().map(entry).collect(), older })
    }

    fn each_block(
        &self,
        entries: Range<usize>,
        mut each: impl FnMut(PlacedBlock),
    ) -> Result<(), DecodeError> {
        const BAD: DecodeError = DecodeError("block entry");
        let end = entries.end;
        let mut bytes = self.bytes.get(entries).ok_or(BAD)?;
        let head = take_varint(&mut bytes)?;
        let mut data_at = self.data_base;
        if head & 1 == 1 {
            data_at = data_at.checked_add(take_varint(&mut bytes)?).ok_or(BAD)?;
        }
        let mut from = self.base_time;
        for _ in 0..head >> 1 {
            let flags = take_byte(&mut bytes)?;
            let rows = take_count(&mut bytes, BLOCK_ROWS_MAX)?;
            let distance = take_scaled(&mut bytes)?;
            let min_time = match flags & BEFORE {
                0 => from.checked_add_unsigned(distance),
                _ => from.checked_sub_unsigned(distance),
            };
            let min_time = min_time.ok_or(BAD)?;
            let max_time = min_time.checked_add_unsigned(take_scaled(&mut bytes)?).ok_or(BAD)?;
            let shape = take_count(&mut bytes, self.shapes.len().saturating_sub(1))?;
            let is_inline = flags & INLINE != 0;
            let table_length = take_count(&mut bytes, self.bytes.len())?;
            let data_length = if is_inline { 0 } else { take_varint(&mut bytes)? };
            let table_at = end - bytes.len();
            take_bytes(&mut bytes, table_length)?;
            if rows == 0 || data_at.checked_add(data_length).is_none_or(|data_end| data_end > self.offset) {
                return Err(BAD);
            }
            each(PlacedBlock {
                table_at: table_at as u32,
                table_length: table_length as u32,
                shape: shape as u32,
                rows: rows as u32,
                is_inline,
                min_time,
                max_time,
                data_at,
                data_length,
            });
            data_at += data_length;
            from = max_time;
        }
        if bytes.is_empty() && !self.shapes.is_empty() { Ok(()) } else { Err(BAD) }
    }
}

/// What [`IndexPage::newest_blocks`] finds.
pub struct NewestBlocks {
    /// In time order.
    pub blocks: Vec<BlockEntry>,
    /// Where the others lie that overlap the time asked for, if there are any.
    pub older: Option<TimeRange>,
}

/// One block, as its entry describes it. Cheap to clone; keeps its page in memory.
#[derive(Debug, Clone)]
pub struct BlockEntry {
    page: Rc<IndexPage>,
    block: PlacedBlock,
}

/// What an entry says of its block.
#[derive(Debug, Clone, Copy)]
pub struct PlacedBlock {
    table_at: u32,
    table_length: u32,
    shape: u32,
    /// Rows of the block, 1 at least.
    pub rows: u32,
    /// The data stands in the page.
    pub is_inline: bool,
    /// Time of the first row.
    pub min_time: i64,
    /// Time of the last row.
    pub max_time: i64,
    /// Offset of the data in the file; of an inline block nothing.
    pub data_at: u64,
    /// Bytes of the data; 0 when inline.
    pub data_length: u64,
}

impl Deref for BlockEntry {
    type Target = PlacedBlock;

    fn deref(&self) -> &PlacedBlock {
        &self.block
    }
}

impl PlacedBlock {
    /// Whether some row may lie in the range.
    pub fn overlaps(&self, range: &TimeRange) -> bool {
        self.min_time < range.end && self.max_time >= range.start
    }
}

impl BlockEntry {
    pub fn shape(&self) -> &BlockShape {
        &self.page.shapes[self.shape as usize]
    }

    pub fn extent(&self) -> BlockExtent {
        BlockExtent {
            rows: self.rows as usize,
            min_time: self.min_time,
            max_time: self.max_time,
            is_inline: self.is_inline,
        }
    }

    /// Where the entry's page stands in the file, for errors.
    pub fn page_offset(&self) -> u64 {
        self.page.offset
    }

    /// The chunk table, and behind it the data of an inline block.
    pub(super) fn table_bytes(&self) -> &[u8] {
        let start = self.table_at as usize;
        &self.page.bytes[start..start + self.table_length as usize]
    }

    /// The chunk table, and the data of an inline block.
    pub fn chunks(&self) -> Result<(Vec<GroupChunks>, &[u8]), DecodeError> {
        let mut bytes = self.table_bytes();
        let (groups, length) = take_chunks(self.shape(), self.extent(), &mut bytes)?;
        let want = if self.is_inline { bytes.len() as u64 } else { self.data_length };
        if length as u64 != want || (!self.is_inline && !bytes.is_empty()) {
            return Err(DecodeError("chunk table"));
        }
        Ok((groups, bytes))
    }
}
