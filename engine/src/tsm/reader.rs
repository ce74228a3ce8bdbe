//! Reads one TSM file. Opening reads the footer and the top level; everything else is read when asked for, checked against
//! its checksum, and kept in the core's block cache.

mod blocks;
mod cursor;
mod tag_values;

pub use cursor::SeriesCursor;
pub use tag_values::TagValues;

use super::block_cache::{BlockCache, Cached};
use super::footer::{FOOTER_BYTES, FileMeta, Footer, MAGIC};
use super::index::{BlockEntry, IndexPage, NewestBlocks, TopLevel, decompress_page};
use super::key_set::{KeySet, KeySets};
use super::schema::{Schema, TagPageEntry};
use super::statistics::Statistics;
use super::tags::{TagKey, find_in_page, key_prefix, visit_page};
use super::{FieldId, KEY_PREFIX_BYTES};
use crate::checksum;
use crate::codec::DecodeError;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::{Error, Result};
use crate::model::{FieldType, TimeRange};
use crate::pace::Pace;
use crate::postings::{self, Positions};
use std::cell::OnceCell;
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

/// Read with the footer, in the hope that the top level lies in it.
const TAIL_BYTES: u64 = 16 << 10;
/// Index pages are read together up to this size, when hardly anything stands between them.
const PAGES_BYTES_MAX: u64 = 128 << 10;
const PAGE_GAP_BYTES_MAX: u64 = 4 << 10;

/// An open file: a handle, cheap to clone. The file closes when the last clone goes.
pub struct TsmReader<D: Disk> {
    inner: Rc<Inner<D>>,
}

impl<D: Disk> Clone for TsmReader<D> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

struct Inner<D: Disk> {
    path: String,
    file: D::File,
    footer: Footer,
    top: TopLevel,
    schema: OnceCell<Rc<Schema>>,
    key_sets: KeySets,
    cache: Rc<BlockCache>,
    cache_file: u64,
}

impl<D: Disk> Drop for Inner<D> {
    fn drop(&mut self) {
        self.cache.forget_file(self.cache_file);
    }
}

/// One series of a file.
#[derive(Debug, Clone, Default)]
pub struct SeriesEntry {
    /// Canonical.
    pub key: Vec<u8>,
    /// In this file, in key order from 0.
    pub position: u32,
    /// In time order, without overlaps.
    pub blocks: Vec<BlockEntry>,
}

/// The blocks of a series as they stand in index pages. Cheap to clone; keeps a page or two in memory.
#[derive(Debug, Clone)]
pub struct UnlistedBlocks {
    page: Rc<IndexPage>,
    entries: Range<usize>,
    /// Where they go on in other pages.
    rest: Option<Rc<RestOfBlocks>>,
}

/// The blocks of a series behind those in the page in which it starts.
#[derive(Debug)]
struct RestOfBlocks {
    /// Numbers of pages with nothing but blocks of this series.
    between: Range<usize>,
    /// The page they end in.
    page: Rc<IndexPage>,
    entries: Range<usize>,
}

impl UnlistedBlocks {
    /// Bytes held: of a page that series share, a part.
    pub fn bytes(&self) -> usize {
        let part_of = |page: &IndexPage| page.bytes.len() / page.series.max(1) as usize;
        let rest = self.rest.as_ref().map_or(0, |rest| size_of::<RestOfBlocks>() + part_of(&rest.page));
        part_of(&self.page) + rest
    }
}

/// A column of a block, without its values.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnSummary {
    pub field: FieldId,
    pub field_type: FieldType,
    /// Rows with a value.
    pub count: u64,
    /// `None` for strings, for small blocks, and where there are NaNs.
    pub statistics: Option<Statistics>,
}

/// Which columns of a block are wanted.
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'a> {
    /// All, for merging: what is read is not kept in the cache.
    All,
    /// These, ascending. Columns come in the block's order; one that the block does not have is missing.
    Fields(&'a [FieldId]),
}

impl Wanted<'_> {
    fn has(&self, field: FieldId) -> bool {
        match self {
            Self::All => true,
            Self::Fields(fields) => fields.binary_search(&field).is_ok(),
        }
    }
}

/// Positions as they stand in a tag page.
struct EncodedPositions<'a> {
    bytes: &'a [u8],
    series: u32,
}

impl EncodedPositions<'_> {
    /// Appends the positions, ascending.
    fn decode(&self, out: &mut Positions) -> Result<(), DecodeError> {
        let mut bytes = self.bytes;
        postings::decode(&mut bytes, self.series, out)?;
        if bytes.is_empty() { Ok(()) } else { Err(DecodeError("positions")) }
    }
}

impl<D: Disk> TsmReader<D> {
    /// Opens a file: one read, two when its top level is big.
    pub async fn open(disk: &D, path: &str, cache: Rc<BlockCache>) -> Result<Self> {
        let file = disk.open(path, OpenMode::Read).await?;
        let corrupted = |offset, what: DecodeError| Error::Corrupted {
            file: path.to_owned(),
            offset,
            what: what.0.to_owned(),
        };
        let length = file.length().await?;
        let tail_at = length.saturating_sub(TAIL_BYTES);
        let tail = file.read_at(tail_at, (length - tail_at) as usize).await?;
        let footer_at = length.saturating_sub(FOOTER_BYTES as u64);
        let footer = Footer::from_bytes(&tail[tail.len().saturating_sub(FOOTER_BYTES)..], length)
            .map_err(|what| corrupted(footer_at, what))?;
        let section = footer.top;
        let read;
        let top = if section.offset >= tail_at {
            let start = (section.offset - tail_at) as usize;
            tail.get(start..start + section.length as usize).unwrap_or_default()
        } else {
            read = file.read_at(section.offset, section.length as usize).await?;
            &read
        };
        if top.len() != section.length as usize || !checksum::is(top, section.crc) {
            return Err(corrupted(section.offset, DecodeError("top level of the index: checksum")));
        }
        let top = TopLevel::take(top, length).map_err(|what| corrupted(section.offset, what))?;
        let cache_file = cache.open_file(path);
        let (schema, key_sets) = Default::default();
        let inner = Inner { path: path.to_owned(), file, footer, top, schema, key_sets, cache, cache_file };
        Ok(Self { inner: Rc::new(inner) })
    }

    pub fn path(&self) -> &str {
        &self.inner.path
    }

    pub fn meta(&self) -> &FileMeta {
        &self.inner.footer.meta
    }

    /// Bytes that stay in memory while the file is open, but for the schema once it was asked for.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Inner<D>>() + self.inner.path.len() + self.inner.top.memory_bytes()
    }

    /// Index pages; a step of a scrub is one of them.
    pub fn page_count(&self) -> usize {
        self.inner.top.pages.len()
    }

    /// The error for damage in this file.
    pub fn corrupted(&self, offset: u64, what: &str) -> Error {
        Error::Corrupted { file: self.inner.path.clone(), offset, what: what.to_owned() }
    }

    fn damaged<T>(&self, offset: u64, result: Result<T, DecodeError>) -> Result<T> {
        result.map_err(|what| self.corrupted(offset, what.0))
    }

    async fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let bytes = self.inner.file.read_at(offset, length).await?;
        if bytes.len() != length {
            return Err(self.corrupted(offset, "the file is shorter than its footer says"));
        }
        Ok(bytes)
    }

    async fn read_checked(&self, offset: u64, length: u32, crc: u32, what: &str) -> Result<Vec<u8>> {
        let bytes = self.read(offset, length as usize).await?;
        if !checksum::is(&bytes, crc) {
            return Err(self.corrupted(offset, &format!("{what}: checksum")));
        }
        Ok(bytes)
    }

    // ---- series -------------------------------------------------------------------------------------------------

    async fn page(&self, at: usize) -> Result<Rc<IndexPage>> {
        let inner = &*self.inner;
        let entry = &inner.top.pages[at];
        if let Some(Cached::Page(page)) = inner.cache.get(inner.cache_file, entry.offset) {
            return Ok(page);
        }
        let page = self.read_page(at).await?;
        inner.cache.put(inner.cache_file, entry.offset, Cached::Page(page.clone()));
        Ok(page)
    }

    async fn read_page(&self, at: usize) -> Result<Rc<IndexPage>> {
        let entry = &self.inner.top.pages[at];
        let bytes = self.read(entry.offset, entry.length as usize).await?;
        self.check_page(at, bytes)
    }

    /// The page at `at` and those after it that follow it closely, read at once.
    async fn read_pages(&self, at: usize) -> Result<VecDeque<Rc<IndexPage>>> {
        let pages = &self.inner.top.pages;
        let start = pages[at].offset;
        let mut end = start + u64::from(pages[at].length);
        let mut count = 1;
        while let Some(next) = pages.get(at + count) {
            let next_end = next.offset + u64::from(next.length);
            if next.offset - end > PAGE_GAP_BYTES_MAX || next_end - start > PAGES_BYTES_MAX {
                break;
            }
            (end, count) = (next_end, count + 1);
        }
        let bytes = self.read(start, (end - start) as usize).await?;
        let mut read = VecDeque::with_capacity(count);
        for (at, entry) in pages.iter().enumerate().skip(at).take(count) {
            let from = (entry.offset - start) as usize;
            read.push_back(self.check_page(at, bytes[from..from + entry.length as usize].to_vec())?);
        }
        Ok(read)
    }

    /// An index page out of its bytes as they stand in the file.
    fn check_page(&self, at: usize, bytes: Vec<u8>) -> Result<Rc<IndexPage>> {
        let entry = &self.inner.top.pages[at];
        if !checksum::is(&bytes, entry.crc) {
            return Err(self.corrupted(entry.offset, "index page: checksum"));
        }
        let bytes = self.damaged(entry.offset, decompress_page(bytes, entry.raw_length))?;
        let page = self.damaged(entry.offset, IndexPage::new(bytes, entry.offset))?;
        if page.first_position != entry.first_position
            || page.series != entry.series + u32::from(entry.continues)
        {
            return Err(self.corrupted(entry.offset, "index page: another page's place"));
        }
        Ok(Rc::new(page))
    }

    /// The blocks, as [`SeriesCursor::next`] lists them; those in pages outside of `time` are left out, others are not
    /// filtered.
    pub async fn list(&self, unlisted: &UnlistedBlocks, time: TimeRange) -> Result<Vec<BlockEntry>> {
        let mut blocks = Vec::new();
        let UnlistedBlocks { page, entries, rest } = unlisted;
        self.damaged(page.offset, page.blocks(entries.clone(), &mut blocks))?;
        let Some(rest) = rest else { return Ok(blocks) };
        for at in rest.between.clone() {
            let entry = &self.inner.top.pages[at];
            if entry.max_time < time.start || entry.min_time >= time.end {
                continue;
            }
            let page = self.page(at).await?;
            let mut key = Vec::new();
            let step = self.damaged(page.offset, page.step(page.series_start(), &mut key))?;
            let Some((entries, _)) = step.filter(|_| key == entry.key) else {
                return Err(self.corrupted(page.offset, "index page: another series goes on here"));
            };
            self.damaged(page.offset, page.blocks(entries, &mut blocks))?;
        }
        self.damaged(rest.page.offset, rest.page.blocks(rest.entries.clone(), &mut blocks))?;
        Ok(blocks)
    }

    /// The last of the blocks that overlap `time`: as few as have `rows` rows, or not many more.
    pub async fn list_newest(
        &self,
        unlisted: &UnlistedBlocks,
        time: TimeRange,
        rows: usize,
    ) -> Result<NewestBlocks> {
        let UnlistedBlocks { page, entries, rest } = unlisted;
        let Some(rest) = rest else {
            return self.damaged(page.offset, page.newest_blocks(entries.clone(), time, rows));
        };
        let newest =
            self.damaged(rest.page.offset, rest.page.newest_blocks(rest.entries.clone(), time, rows))?;
        let found: usize = newest.blocks.iter().map(|block| block.rows as usize).sum();
        if found < rows || newest.blocks.is_empty() {
            return Ok(NewestBlocks { blocks: self.list(unlisted, time).await?, older: None });
        }
        // Behind the blocks in all pages before come those found.
        let start = self.inner.top.pages[rest.between.start - 1].min_time;
        let end = newest.older.map_or(newest.blocks[0].min_time, |older| older.end);
        let older = TimeRange::new(start, end);
        Ok(NewestBlocks { blocks: newest.blocks, older: older.overlaps(&time).then_some(older) })
    }

    /// Which series of a measurement there are, when somebody has walked them all before.
    pub fn key_set(&self, measurement: &[u8]) -> Option<KeySet> {
        self.inner.key_sets.get(measurement)
    }

    /// Keeps what a walk over all series of a measurement has found.
    pub fn keep_key_set(&self, measurement: &[u8], set: KeySet) {
        self.inner.key_sets.keep(measurement, set);
    }

    /// The keys of ascending positions, each page read once.
    pub async fn keys_at(&self, positions: &[u32]) -> Result<Vec<Vec<u8>>> {
        let mut keys = Vec::with_capacity(positions.len());
        let mut rest = positions;
        while let Some(&position) = rest.first() {
            let Some(page_at) = self.inner.top.page_at(position) else {
                return Err(Error::Invalid(format!("BUG: no series {position} in {}", self.inner.path)));
            };
            let page = self.page(page_at).await?;
            let (mut at, mut in_page, mut key) = (page.series_start(), page.first_position, Vec::new());
            let before = rest.len();
            while let Some(&wanted) = rest.first()
                && let Some((_, next)) = self.damaged(page.offset, page.step(at, &mut key))?
            {
                if in_page == wanted {
                    keys.push(key.clone());
                    rest = &rest[1..];
                }
                in_page += 1;
                at = next;
            }
            if rest.len() == before {
                return Err(self.corrupted(page.offset, "index page: fewer series than its header says"));
            }
        }
        Ok(keys)
    }

    // ---- schema and tags ----------------------------------------------------------------------------------------

    /// Measurements, fields and tag keys; read once, then kept.
    pub async fn schema(&self) -> Result<Rc<Schema>> {
        if let Some(schema) = self.inner.schema.get() {
            return Ok(schema.clone());
        }
        let section = self.inner.footer.schema;
        let bytes = self.read_checked(section.offset, section.length, section.crc, "schema").await?;
        let schema = Rc::new(self.damaged(section.offset, Schema::take(&bytes, section.offset))?);
        // Another task may have been faster; one of the two stays.
        let _ = self.inner.schema.set(schema.clone());
        Ok(schema)
    }

    async fn tag_page(&self, schema: &Schema, at: usize) -> Result<Rc<[u8]>> {
        let inner = &*self.inner;
        let entry = &schema.tag_pages[at];
        if let Some(Cached::Bytes(bytes)) = inner.cache.get(inner.cache_file, entry.offset) {
            return Ok(bytes);
        }
        let bytes: Rc<[u8]> =
            self.read_checked(entry.offset, entry.length, entry.crc, "tag page").await?.into();
        inner.cache.put(inner.cache_file, entry.offset, Cached::Bytes(bytes.clone()));
        Ok(bytes)
    }

    /// The tag page at `at` and those that follow it, as many as one read gives; past the block cache.
    pub(super) async fn read_tag_pages(&self, schema: &Schema, at: usize) -> Result<Vec<Vec<u8>>> {
        let start = schema.tag_pages[at].offset;
        let mut end = start;
        let follows = |page: &&TagPageEntry| {
            let begins = page.offset == end;
            end += u64::from(page.length);
            begins && (page.offset == start || end - start <= PAGES_BYTES_MAX)
        };
        let pages: Vec<&TagPageEntry> = schema.tag_pages[at..].iter().take_while(follows).collect();
        let length = pages.iter().map(|page| page.length as usize).sum();
        let bytes = self.read(start, length).await?;
        let mut rest = bytes.as_slice();
        let mut read = Vec::with_capacity(pages.len());
        for page in pages {
            let (bytes, behind) = rest.split_at(page.length as usize);
            if !checksum::is(bytes, page.crc) {
                return Err(self.corrupted(page.offset, "tag page: checksum"));
            }
            read.push(bytes.to_vec());
            rest = behind;
        }
        Ok(read)
    }

    /// Calls `visit` with each key of the tag page at `at`, whose bytes are `page`, and its positions; the sum of what it
    /// answers.
    pub(super) fn visit_postings(
        &self,
        schema: &Schema,
        at: usize,
        page: &[u8],
        mut visit: impl FnMut(TagKey<'_>, &Positions) -> u64,
    ) -> Result<u64> {
        let (mut positions, mut sum) = (Vec::new(), 0);
        let visited = visit_page(page, |key, bytes| {
            let key = TagKey::take_apart(key)?;
            if !schema.has(&key) {
                return Err(DecodeError("tag page: unknown tag key"));
            }
            positions.clear();
            EncodedPositions { bytes, series: self.meta().series }.decode(&mut positions)?;
            sum += visit(key, &positions);
            Ok(true)
        });
        self.damaged(schema.tag_pages[at].offset, visited)?;
        Ok(sum)
    }

    /// Positions of all series of a measurement.
    pub async fn measurement_positions(&self, measurement: &[u8]) -> Result<Positions> {
        let schema = self.schema().await?;
        let Some(number) = schema.measurement(measurement) else { return Ok(Vec::new()) };
        self.positions_of(&schema, &key_prefix(number, None)).await
    }

    /// Positions of the series that have exactly this tag value.
    pub async fn tag_positions(&self, measurement: &[u8], key: &[u8], value: &[u8]) -> Result<Positions> {
        let schema = self.schema().await?;
        let Some(prefix) = tag_prefix(&schema, measurement, key) else { return Ok(Vec::new()) };
        self.positions_of(&schema, &[&prefix[..], value].concat()).await
    }

    async fn positions_of(&self, schema: &Schema, wanted: &[u8]) -> Result<Positions> {
        let mut positions = Vec::new();
        let at = schema.tag_pages.partition_point(|page| page.first_key.as_slice() <= wanted);
        let Some(at) = at.checked_sub(1) else { return Ok(positions) };
        let page = self.tag_page(schema, at).await?;
        let offset = schema.tag_pages[at].offset;
        if let Some(bytes) = self.damaged(offset, find_in_page(&page, wanted))? {
            let series = self.meta().series;
            self.damaged(offset, EncodedPositions { bytes, series }.decode(&mut positions))?;
        }
        Ok(positions)
    }

    // ---- verification -------------------------------------------------------------------------------------------

    /// Reads and checks one index page and all blocks it describes; nothing is taken from the cache or kept in it. The
    /// bytes that were read.
    pub async fn verify_page(&self, at: usize, pace: &Pace) -> Result<u64> {
        let page = self.read_page(at).await?;
        let mut read = page.bytes.len() as u64;
        let (mut from, mut key, mut series, mut blocks) = (page.series_start(), Vec::new(), 0, Vec::new());
        while let Some((entries, next)) = self.damaged(page.offset, page.step(from, &mut key))? {
            self.damaged(page.offset, page.blocks(entries, &mut blocks))?;
            from = next;
            series += 1;
        }
        if series != page.series {
            return Err(self.corrupted(page.offset, "index page: number of series"));
        }
        let mut rest = blocks.as_slice();
        while !rest.is_empty() {
            let run = self.read_run_bytes(rest).await?;
            for (bytes, block) in run.iter().zip(rest) {
                let decoded = self.decode_block(block, bytes, Wanted::All)?;
                read += block.data_length;
                pace.spent(block.data_length + (decoded.times.len() * (1 + decoded.columns.len())) as u64)
                    .await;
            }
            rest = &rest[run.len()..];
        }
        Ok(read)
    }

    /// Reads and checks all that does not belong to an index page: the head, the schema and the tag pages.
    pub async fn verify_sections(&self) -> Result<u64> {
        if self.read(0, MAGIC.len()).await? != MAGIC {
            return Err(self.corrupted(0, "head: not a TSM file of ours"));
        }
        let section = self.inner.footer.schema;
        let bytes = self.read_checked(section.offset, section.length, section.crc, "schema").await?;
        let schema = self.damaged(section.offset, Schema::take(&bytes, section.offset))?;
        let mut read = (MAGIC.len() + bytes.len()) as u64;
        let mut positions = Vec::new();
        for page in &schema.tag_pages {
            read += u64::from(page.length);
            let bytes = self.read_checked(page.offset, page.length, page.crc, "tag page").await?;
            let visited = visit_page(&bytes, |_, bytes| {
                positions.clear();
                EncodedPositions { bytes, series: self.meta().series }.decode(&mut positions)?;
                Ok(true)
            });
            self.damaged(page.offset, visited)?;
        }
        Ok(read)
    }

    /// Checks everything at once. Long; see scrub.rs for steps.
    pub async fn verify(&self) -> Result<()> {
        self.verify_sections().await?;
        for at in 0..self.page_count() {
            self.verify_page(at, &Pace::new()).await?;
        }
        Ok(())
    }
}

fn tag_prefix(schema: &Schema, measurement: &[u8], key: &[u8]) -> Option<[u8; KEY_PREFIX_BYTES]> {
    let number = schema.measurement(measurement)?;
    let keys = &schema.measurements[number as usize].tag_keys;
    let at = keys.iter().position(|other| other == key)?;
    Some(key_prefix(number, Some(at as u16)))
}
