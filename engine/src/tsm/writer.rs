//! Writes one TSM file: data and index pages as they fill, then tag pages, schema, top level and footer; under a temporary
//! name until all is durable.
//!
//! Series come in ascending key order, the rows of a series in ascending time order, across calls too. Memory held: a
//! write buffer, one page, the top level, and the tag postings ([`TsmWriter::memory_bytes`]).

use super::block::{
    BLOCK_ROWS_MAX, BLOCK_STRING_BYTES_MAX, BlockEncoder, BlockExtent, BlockShape, put_chunks,
};
use super::block_cache::{BlockBytes, BlockCache, Cached};
use super::followed::Followed;
use super::footer::{FOOTER_BYTES, FileMeta, Footer, MAGIC, Section, Version};
use super::index::{BlockEntry, IndexPage, PageBuilder, TopLevel, compress_page, shared_prefix};
use super::reader::TsmReader;
use super::schema::{FieldEntry, Schema, TagPageEntry};
use super::tags::TagBuilder;
use super::{FieldId, TEMPORARY_SUFFIX};
use crate::checksum;
use crate::codec::Temperature;
use crate::disk::{AlignedBuffer, BLOCK_BYTES, Disk, DiskFile, OpenMode};
use crate::error::{Error, Result};
use crate::model::{Column, ColumnData, FieldType, series_key};
use crate::pace::Pace;
use hashbrown::HashMap;
use std::rc::Rc;

/// Bytes of one write: large enough that the disk's throughput is reached, small enough for a core's memory.
const WRITE_BYTES: usize = 1 << 20;
/// A block of at most this many bytes lives in its index page: reading it costs nothing more, and it needs no checksums.
const INLINE_BYTES_MAX: usize = 160;

/// A file being written. Dropped without [`Self::finish`], it leaves a temporary file, which a start removes.
pub struct TsmWriter<D: Disk> {
    disk: D,
    path: String,
    file: D::File,
    buffer: AlignedBuffer,
    /// Bytes of the file before the buffer.
    written: u64,
    page: PageBuilder,
    top: TopLevel,
    top_bytes: usize,
    schema: Schema,
    /// (measurement, type, name) → number.
    fields: HashMap<Vec<u8>, FieldId>,
    field_key: Vec<u8>,
    /// The first field of the last series, and the one that is expected next; `None`: that first one.
    field_first: FieldId,
    field_guess: Option<FieldId>,
    tags: TagBuilder,
    encoder: BlockEncoder,
    chunk_table: Vec<u8>,
    /// The series under way.
    key: Vec<u8>,
    measurement: u32,
    /// Bytes of the key that are its measurement's.
    measurement_length: usize,
    has_blocks: bool,
    last_time: i64,
    meta: FileMeta,
    kept: Option<Kept>,
    /// As long as all series written have the same position there.
    followed: Option<Followed<D>>,
    /// Of the series under way.
    position_followed: Option<u32>,
    pace: Pace,
}

/// Nanoseconds, about, that encoding a value takes.
const ENCODED_NS: u64 = 12;

/// Where blocks and pages go on being known while they are written.
struct Kept {
    cache: Rc<BlockCache>,
    file: u64,
    path: String,
    is_finished: bool,
}

impl Kept {
    fn page(&self, bytes: &[u8], offset: u64) {
        self.cache.put_written(self.file, offset, || {
            let page = IndexPage::new(bytes.to_vec(), offset).ok()?;
            // One without data elsewhere is itself the data: of very many series, a few rows each.
            page.has_data().then(|| Cached::Page(Rc::new(page)))
        });
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if !self.is_finished {
            self.cache.forget_written(&self.path);
        }
    }
}

impl<D: Disk> TsmWriter<D> {
    /// Starts the file that [`Self::finish`] names `path`. Its folder exists.
    pub async fn create(disk: &D, path: &str, temperature: Temperature) -> Result<Self> {
        let temporary = temporary_path(path);
        // A leftover of the same name could be longer than what is written now.
        disk.remove_file(&temporary).await?;
        let file = disk.open(&temporary, OpenMode::Write).await?;
        let mut buffer = AlignedBuffer::new();
        buffer.extend_from_slice(MAGIC);
        let mut writer = Self {
            disk: disk.clone(),
            path: path.to_owned(),
            file,
            buffer,
            written: 0,
            page: PageBuilder::default(),
            top: TopLevel::default(),
            top_bytes: 0,
            schema: Schema::default(),
            fields: HashMap::new(),
            field_key: Vec::new(),
            field_first: FieldId(0),
            field_guess: None,
            tags: TagBuilder::default(),
            encoder: BlockEncoder::new(temperature),
            chunk_table: Vec::new(),
            key: Vec::new(),
            measurement: 0,
            measurement_length: 0,
            has_blocks: false,
            last_time: 0,
            pace: Pace::new(),
            meta: FileMeta {
                min_time: i64::MAX,
                max_time: i64::MIN,
                is_cold: temperature == Temperature::Cold,
                ..FileMeta::default()
            },
            kept: None,
            followed: None,
            position_followed: None,
        };
        writer.page.start(writer.offset(), 0, false);
        Ok(writer)
    }

    /// Has the cache know what is written, for whoever opens the finished file. Call it before anything is written.
    pub fn keep_in(mut self, cache: &Rc<BlockCache>) -> Self {
        let file = cache.begin_file(&self.path);
        self.kept = Some(Kept { cache: cache.clone(), file, path: self.path.clone(), is_finished: false });
        self
    }

    /// Takes the tags of series from a file that mostly has the same ones; see followed.rs. All its series come, each with
    /// its position there. Call it before anything is written.
    pub async fn follow(mut self, reader: &TsmReader<D>) -> Result<Self> {
        let followed = Followed::new(reader).await?;
        self.schema = Schema::with_measurements_of(&followed.schema);
        self.followed = Some(followed);
        Ok(self)
    }

    /// As [`Self::begin_series`], of a series that stands at `position` in the file that is followed, if it has it.
    pub fn begin_series_at(&mut self, key: &[u8], position: Option<u32>) -> Result<()> {
        self.begin_series(key)?;
        self.position_followed = position;
        Ok(())
    }

    /// Starts a series; keys are canonical and strictly ascending. A series that gets no rows is left out.
    pub fn begin_series(&mut self, key: &[u8]) -> Result<()> {
        let shared = shared_prefix(&self.key, key);
        if self.key.get(shared) >= key.get(shared) {
            return Err(Error::Invalid("BUG: series written out of order".to_owned()));
        }
        self.page.end_series(&self.key);
        if self.page.is_empty() {
            self.page.start(self.offset(), self.meta.series, false);
        }
        // Neighbours are mostly of one measurement. One that ends in a backslash could go on behind an escaped comma.
        let length = self.measurement_length;
        let is_known = length > 0
            && shared >= length
            && key[length - 1] != b'\\'
            && matches!(key.get(length), None | Some(b','));
        if !is_known {
            self.measurement = self.schema.add_measurement(&series_key::measurement(key));
            self.measurement_length = series_key::measurement_escaped(key).len();
        }
        self.key.truncate(shared);
        self.key.extend_from_slice(&key[shared..]);
        self.has_blocks = false;
        self.field_guess = None;
        self.position_followed = None;
        Ok(())
    }

    /// The number of a field of the series' measurement in this file; the same for all its series.
    pub fn field(&mut self, name: &[u8], field_type: FieldType) -> FieldId {
        // Series of a measurement mostly have the same fields in the same order.
        let guess = self.field_guess.unwrap_or(self.field_first);
        let field = match self.schema.fields.get(guess.0 as usize) {
            Some(entry)
                if entry.measurement == self.measurement
                    && entry.field_type == field_type
                    && entry.name == name =>
            {
                guess
            }
            _ => self.find_field(name, field_type),
        };
        if self.field_guess.is_none() {
            self.field_first = field;
        }
        self.field_guess = Some(FieldId(field.0 + 1));
        field
    }

    fn find_field(&mut self, name: &[u8], field_type: FieldType) -> FieldId {
        self.field_key.clear();
        self.field_key.extend_from_slice(&self.measurement.to_le_bytes());
        self.field_key.push(field_type as u8);
        self.field_key.extend_from_slice(name);
        if let Some(&field) = self.fields.get(&self.field_key) {
            return field;
        }
        let field = FieldId(self.schema.fields.len() as u32);
        self.schema.fields.push(FieldEntry {
            measurement: self.measurement,
            name: name.to_vec(),
            field_type,
        });
        self.fields.insert(self.field_key.clone(), field);
        field
    }

    /// Adds rows to the series under way: as many blocks as they need. Times are strictly ascending and after all times
    /// written before; each column has as many slots as there are times. Rows without any value are left out.
    pub async fn write_rows(&mut self, times: &[i64], columns: &[(FieldId, &Column)]) -> Result<()> {
        let mut from = 0;
        while from < times.len() {
            let to = block_end(columns, from, times.len());
            self.check_times(times[from], times[to - 1])?;
            if let Some(extent) = self.encoder.encode(times, columns, from, to) {
                let values = count_values(&self.encoder.groups);
                let mut encoder = std::mem::take(&mut self.encoder);
                let written = self.add_block(&mut encoder, extent, values).await;
                self.encoder = encoder;
                written?;
                self.pace.spent(ENCODED_NS * values).await;
            }
            from = to;
        }
        Ok(())
    }

    /// Adds a block of another file to the series under way as it is, checked but not decoded.
    pub async fn copy_block(&mut self, source: &TsmReader<D>, block: &BlockEntry) -> Result<()> {
        let data = source.read_block_bytes(block).await?;
        self.copy_block_bytes(source, block, data).await
    }

    /// As [`Self::copy_block`], of bytes that [`TsmReader::read_block_bytes`] or
    /// [`TsmReader::read_run_bytes`] gave.
    pub async fn copy_block_bytes(
        &mut self,
        source: &TsmReader<D>,
        block: &BlockEntry,
        data: Vec<u8>,
    ) -> Result<()> {
        self.check_times(block.min_time, block.max_time)?;
        let schema = source.schema().await?;
        let (mut groups, _) = source.chunks(block)?;
        let mut shape = BlockShape::default();
        for group in &mut groups {
            for column in &mut group.columns {
                let field = schema
                    .field(column.shape.field)
                    .ok_or_else(|| source.corrupted(block.page_offset(), "block entry: unknown field"))?;
                column.shape.field = self.field(&field.name, field.field_type);
            }
            shape.groups.push(group.columns.iter().map(|column| column.shape).collect());
        }
        let mut encoder = std::mem::take(&mut self.encoder);
        encoder.data = data;
        encoder.shape = shape;
        encoder.groups = groups;
        let values = count_values(&encoder.groups);
        let written = self.add_block(&mut encoder, block.extent(), values).await;
        self.encoder = encoder;
        written
    }

    fn check_times(&self, first: i64, last: i64) -> Result<()> {
        if self.key.is_empty() || last < first || (self.has_blocks && first <= self.last_time) {
            return Err(Error::Invalid("BUG: rows written out of order".to_owned()));
        }
        Ok(())
    }

    /// Writes the encoder's block into the data or the page.
    async fn add_block(
        &mut self,
        encoder: &mut BlockEncoder,
        mut extent: BlockExtent,
        values: u64,
    ) -> Result<()> {
        extent.is_inline = encoder.data.len() <= INLINE_BYTES_MAX;
        if !extent.is_inline {
            encoder.checksum();
        }
        self.chunk_table.clear();
        put_chunks(&encoder.groups, extent, &encoder.hints, &mut self.chunk_table);
        let offset = self.offset();
        if !self.has_blocks {
            self.add_series().await?;
        }
        self.page.add_block(&encoder.shape, extent, &self.chunk_table, offset, &encoder.data);
        if !extent.is_inline {
            if let Some(kept) = &self.kept {
                let block = || Some(Cached::Block(BlockBytes::written(&encoder.data)));
                kept.cache.put_written(kept.file, offset, block);
            }
            self.append(&encoder.data).await?;
        }
        self.has_blocks = true;
        self.last_time = extent.max_time;
        self.meta.blocks += 1;
        self.meta.rows += extent.rows as u64;
        self.meta.values += values;
        self.meta.min_time = self.meta.min_time.min(extent.min_time);
        self.meta.max_time = self.meta.max_time.max(extent.max_time);
        if self.page.is_full() {
            self.page.end_series(&self.key);
            self.write_page().await?;
            self.page.start(self.offset(), self.meta.series - 1, true);
        }
        Ok(())
    }

    /// Gives the series under way its position and notes its tags.
    async fn add_series(&mut self) -> Result<()> {
        let position = self.meta.series;
        self.meta.series += 1;
        if let Some(followed) = self.followed.take_if(|_| self.position_followed != Some(position)) {
            followed.note_tags(position, &mut self.tags, &self.pace).await?;
        }
        if self.followed.is_some() {
            return Ok(());
        }
        self.tags.add(self.measurement, None, b"", position);
        let keys = &mut self.schema.measurements[self.measurement as usize].tag_keys;
        for (nth, (name, value)) in series_key::tags_behind(&self.key, self.measurement_length).enumerate() {
            // Series of a measurement mostly have the same tags.
            let at = match keys.get(nth) {
                Some(key) if key[..] == name[..] => nth,
                _ => keys.iter().position(|key| key[..] == name[..]).unwrap_or_else(|| {
                    keys.push(name.to_vec());
                    keys.len() - 1
                }),
            };
            self.tags.add(self.measurement, Some(at as u16), &value, position);
        }
        Ok(())
    }

    /// Writes the tag pages: those of the file that was followed to its end, else what was collected.
    async fn write_tags(&mut self) -> Result<()> {
        let series = self.meta.series;
        if let Some(followed) = self.followed.take_if(|followed| followed.series() != series) {
            followed.note_tags(series, &mut self.tags, &self.pace).await?;
        }
        let Some(followed) = self.followed.take() else {
            for (bytes, entry) in std::mem::take(&mut self.tags).into_pages() {
                let crc = checksum::of(&bytes);
                self.write_tag_page(&bytes, TagPageEntry { crc, ..entry }).await?;
            }
            return Ok(());
        };
        let mut entries = followed.schema.tag_pages.iter();
        while !entries.as_slice().is_empty() {
            let at = followed.schema.tag_pages.len() - entries.len();
            for (bytes, entry) in followed.pages(at).await?.iter().zip(&mut entries) {
                self.write_tag_page(bytes, entry.clone()).await?;
            }
        }
        Ok(())
    }

    async fn write_tag_page(&mut self, bytes: &[u8], entry: TagPageEntry) -> Result<()> {
        self.schema.tag_pages.push(TagPageEntry { offset: self.offset(), ..entry });
        self.append(bytes).await
    }

    async fn write_page(&mut self) -> Result<()> {
        let (bytes, mut entry) = self.page.finish();
        if let Some(kept) = &self.kept {
            kept.page(&bytes, self.offset());
        }
        let (bytes, raw_length) = compress_page(bytes);
        entry.offset = self.offset();
        entry.length = bytes.len() as u32;
        entry.raw_length = raw_length;
        entry.crc = checksum::of(&bytes);
        self.append(&bytes).await?;
        self.top_bytes += entry.memory_bytes();
        self.top.pages.push(entry);
        self.meta.index_pages += 1;
        Ok(())
    }

    /// Ends the file, makes it durable and gives it its name. `None`, and no file, when nothing was written to it. What
    /// cannot be finished is removed: on a full disk it is in its own way.
    pub async fn finish(self, version_min: Version, version_max: Version) -> Result<Option<FileMeta>> {
        let (disk, temporary) = (self.disk.clone(), temporary_path(&self.path));
        let finished = self.finish_file(version_min, version_max).await;
        if finished.is_err() {
            let _ = disk.remove_file(&temporary).await;
        }
        finished
    }

    async fn finish_file(mut self, version_min: Version, version_max: Version) -> Result<Option<FileMeta>> {
        if self.meta.series == 0 {
            self.abandon().await?;
            return Ok(None);
        }
        self.page.end_series(&self.key);
        if !self.page.is_empty() {
            self.write_page().await?;
        }
        self.write_tags().await?;
        let mut bytes = Vec::new();
        self.schema.put(&mut bytes);
        let schema = self.append_section(&bytes).await?;
        bytes.clear();
        self.top.put(&mut bytes);
        let top = self.append_section(&bytes).await?;

        // The footer ends the last block of the disk.
        let end = (self.buffer.len() + FOOTER_BYTES).next_multiple_of(BLOCK_BYTES);
        self.buffer.resize(end - FOOTER_BYTES);
        self.meta.bytes = self.written + end as u64;
        (self.meta.version_min, self.meta.version_max) = (version_min, version_max);
        self.buffer.extend_from_slice(&Footer { meta: self.meta, top, schema }.to_bytes());
        self.file.write_at(self.written, self.buffer).await?;
        self.file.sync().await?;
        self.file.close().await?;
        self.disk.rename(&temporary_path(&self.path), &self.path).await?;
        let folder = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        self.disk.sync_dir(folder).await?;
        if let Some(kept) = &mut self.kept {
            kept.is_finished = true;
        }
        Ok(Some(self.meta))
    }

    /// Gives up and removes what was written.
    pub async fn abandon(self) -> Result<()> {
        self.file.close().await?;
        self.disk.remove_file(&temporary_path(&self.path)).await
    }

    /// Bytes of the file so far.
    pub fn bytes(&self) -> u64 {
        self.offset()
    }

    /// Series with rows so far.
    pub fn series_count(&self) -> u32 {
        self.meta.series
    }

    /// Bytes of memory that grow with what is written.
    pub fn memory_bytes(&self) -> usize {
        self.tags.memory_bytes() + self.top_bytes + WRITE_BYTES
    }

    fn offset(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    async fn append_section(&mut self, bytes: &[u8]) -> Result<Section> {
        let section = Section { offset: self.offset(), length: bytes.len() as u32, crc: checksum::of(bytes) };
        self.append(bytes).await?;
        Ok(section)
    }

    async fn append(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let (head, rest) = bytes.split_at(bytes.len().min(WRITE_BYTES - self.buffer.len()));
            self.buffer.extend_from_slice(head);
            bytes = rest;
            if self.buffer.len() == WRITE_BYTES {
                let buffer = std::mem::take(&mut self.buffer);
                self.buffer = self.file.write_at(self.written, buffer).await?;
                self.buffer.clear();
                self.written += WRITE_BYTES as u64;
            }
        }
        Ok(())
    }
}

fn temporary_path(path: &str) -> String {
    format!("{path}{TEMPORARY_SUFFIX}")
}

fn count_values(groups: &[super::block::GroupChunks]) -> u64 {
    groups
        .iter()
        .flat_map(|group| group.columns.iter().map(|column| (group.rows - column.nulls) as u64))
        .sum()
}

/// Where the block that starts with row `from` ends: after as many rows as a block may have, or earlier when strings make
/// it heavy.
fn block_end(columns: &[(FieldId, &Column)], from: usize, rows: usize) -> usize {
    let mut end = rows.min(from + BLOCK_ROWS_MAX);
    let strings = columns.iter().filter_map(|(_, column)| match &column.data {
        ColumnData::String(strings) => Some(strings),
        _ => None,
    });
    let strings: Vec<_> = strings.collect();
    let bytes_until = |row: usize| -> usize {
        let start_of = |ends: &[u32]| if from == 0 { 0 } else { ends[from - 1] as usize };
        strings.iter().map(|strings| strings.ends[row - 1] as usize - start_of(&strings.ends)).sum()
    };
    while end > from + 1 && bytes_until(end) > BLOCK_STRING_BYTES_MAX {
        end = from + (end - from) / 2;
    }
    end
}
