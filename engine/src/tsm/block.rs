//! One block: up to [`BLOCK_ROWS_MAX`] rows of ONE series, in column groups that share a timestamp column.
//!
//! A block's bytes are its chunks end to end: for each group the timestamps, then the columns. Everything needed to read
//! them stands in the block's entry in the index page: the *shape* (which groups with which columns; kept once per page)
//! and the *chunk table* (lengths, checksums, null counts, statistics), so that a column is read without its neighbours.
//!
//! ```text
//! chunk table, in the order of the shape, per group
//!   not the first group: varint rows · scaled (its first time - the block's) · scaled (the block's last time - its)
//!   timestamps:          varint length · [u32 crc32c]
//!   per column:          varint length · [u32 crc32c] · nullable: varint rows without a value · [statistics]
//! column chunk
//!   rows without a value: varint length of the presence · presence (the boolean encoding)
//!   the present values (see codec)
//! ```
//! A checksum is left out for an empty chunk, and in blocks that live inside their index page: the page's own covers
//! them. Statistics are left out of blocks of fewer than [`STATISTICS_ROWS_MIN`] rows, where they would be as big as the
//! values.
//!
//! Groups: the columns present in at least half of the block's rows share the block's timestamps, with a presence
//! bitmap where needed; of the remaining columns the same again, on the rows that any of them has.

use super::FieldId;
use super::statistics::{self, Statistics};
use crate::checksum;
use crate::codec::varint::{
    put_scaled, put_varint, take_bytes, take_count, take_length, take_scaled, take_u32,
};
use crate::codec::{
    DecodeError, FloatHint, Temperature, Values, boolean, decode_column, encode_column, timestamp,
};
use crate::model::{Bitmap, Column, ColumnData, FieldType, StringColumn};

/// Rows of a block at most: one unit of decoding, small enough for the first cache level per column.
pub const BLOCK_ROWS_MAX: usize = 1024;
/// Bytes of strings after which a block is cut.
pub const BLOCK_STRING_BYTES_MAX: usize = 256 << 10;
/// Rows from which a block's columns have statistics.
pub const STATISTICS_ROWS_MIN: usize = 32;

/// Rows read from a block: strictly increasing times and one column per found field.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BlockRows {
    pub times: Vec<i64>,
    pub columns: Vec<(FieldId, Column)>,
}

/// Which groups and columns a block has.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct BlockShape {
    pub groups: Vec<Vec<ColumnShape>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ColumnShape {
    pub field: FieldId,
    pub field_type: FieldType,
    /// Some row of the group has no value.
    pub is_nullable: bool,
}

/// A stretch of a block's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// From the block's start.
    pub at: usize,
    pub length: usize,
    /// `None`: covered by the page, or empty.
    pub crc: Option<u32>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ColumnChunk {
    pub shape: ColumnShape,
    pub chunk: Chunk,
    pub nulls: usize,
    pub statistics: Option<Statistics>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct GroupChunks {
    pub rows: usize,
    pub min_time: i64,
    pub max_time: i64,
    pub times: Chunk,
    pub columns: Vec<ColumnChunk>,
}

impl BlockShape {
    pub fn columns(&self) -> impl Iterator<Item = &ColumnShape> {
        self.groups.iter().flatten()
    }

    pub fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.groups.len() as u64);
        for group in &self.groups {
            put_varint(out, group.len() as u64);
            for column in group {
                put_varint(out, u64::from(column.field.0));
                out.push((column.field_type as u8) << 1 | u8::from(column.is_nullable));
            }
        }
    }

    pub fn take(bytes: &mut &[u8]) -> Result<Self, DecodeError> {
        let mut groups = Vec::new();
        for _ in 0..take_length(bytes)? {
            let mut columns = Vec::new();
            for _ in 0..take_length(bytes)? {
                let field = take_count(bytes, u32::MAX as usize)?;
                let byte = crate::codec::varint::take_byte(bytes)?;
                let field_type = FieldType::from_byte(byte >> 1).ok_or(DecodeError("field type"))?;
                columns.push(ColumnShape {
                    field: FieldId(field as u32),
                    field_type,
                    is_nullable: byte & 1 == 1,
                });
            }
            groups.push(columns);
        }
        Ok(Self { groups })
    }
}

/// The time and size of a block, as its entry has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockExtent {
    pub rows: usize,
    pub min_time: i64,
    pub max_time: i64,
    pub is_inline: bool,
}

/// Reads a chunk table; the length of the block's data comes with it.
pub fn take_chunks(
    shape: &BlockShape,
    extent: BlockExtent,
    bytes: &mut &[u8],
) -> Result<(Vec<GroupChunks>, usize), DecodeError> {
    let mut at = 0usize;
    let mut take_chunk = |bytes: &mut &[u8]| -> Result<Chunk, DecodeError> {
        let length = take_count(bytes, u32::MAX as usize)?;
        let crc = if extent.is_inline || length == 0 { None } else { Some(take_u32(bytes)?) };
        let chunk = Chunk { at, length, crc };
        at += length;
        Ok(chunk)
    };
    let mut groups = Vec::with_capacity(shape.groups.len());
    for (position, group) in shape.groups.iter().enumerate() {
        let (mut rows, mut min_time, mut max_time) = (extent.rows, extent.min_time, extent.max_time);
        if position > 0 {
            rows = take_count(bytes, extent.rows)?;
            min_time = min_time.wrapping_add(take_scaled(bytes)? as i64);
            max_time = max_time.wrapping_sub(take_scaled(bytes)? as i64);
        }
        let times = take_chunk(bytes)?;
        let mut columns = Vec::with_capacity(group.len());
        for &column in group {
            let chunk = take_chunk(bytes)?;
            let nulls = if column.is_nullable { take_count(bytes, rows)? } else { 0 };
            let statistics = if extent.rows < STATISTICS_ROWS_MIN {
                None
            } else {
                statistics::take(column.field_type, (rows - nulls) as u64, bytes)?
            };
            columns.push(ColumnChunk { shape: column, chunk, nulls, statistics });
        }
        groups.push(GroupChunks { rows, min_time, max_time, times, columns });
    }
    Ok((groups, at))
}

/// Appends a chunk table. `crc_of` is asked for the checksum of each chunk that is not empty.
pub fn put_chunks(groups: &[GroupChunks], extent: BlockExtent, hints: &[FloatHint], out: &mut Vec<u8>) {
    let put_chunk = |chunk: &Chunk, out: &mut Vec<u8>| {
        put_varint(out, chunk.length as u64);
        if !extent.is_inline && chunk.length > 0 {
            debug_assert!(chunk.crc.is_some(), "BUG: a chunk without its checksum");
            out.extend_from_slice(&chunk.crc.unwrap_or(0).to_le_bytes());
        }
    };
    for (position, group) in groups.iter().enumerate() {
        if position > 0 {
            put_varint(out, group.rows as u64);
            put_scaled(out, group.min_time.wrapping_sub(extent.min_time) as u64);
            put_scaled(out, extent.max_time.wrapping_sub(group.max_time) as u64);
        }
        put_chunk(&group.times, out);
        for column in &group.columns {
            put_chunk(&column.chunk, out);
            if column.shape.is_nullable {
                put_varint(out, column.nulls as u64);
            }
            if extent.rows >= STATISTICS_ROWS_MIN {
                let places = hints.get(column.shape.field.0 as usize).and_then(FloatHint::places);
                let count = (group.rows - column.nulls) as u64;
                statistics::put(column.shape.field_type, column.statistics.as_ref(), count, places, out);
            }
        }
    }
}

/// Rows of one series on their way into a block. Kept by the writer, so that its buffers serve every block.
#[derive(Debug, Default)]
pub struct BlockEncoder {
    /// Per field.
    pub hints: Vec<FloatHint>,
    pub temperature: Temperature,
    /// The chunks of the encoded block.
    pub data: Vec<u8>,
    pub shape: BlockShape,
    pub groups: Vec<GroupChunks>,
    /// Lists of a group's columns, kept for their memory.
    spare: (Vec<ColumnShape>, Vec<ColumnChunk>),
}

impl BlockEncoder {
    pub fn new(temperature: Temperature) -> Self {
        Self { temperature, ..Self::default() }
    }

    /// Encodes rows `from..to`. Rows without any value are left out; the extent that is left, `None` if nothing is.
    /// Whether the block becomes inline is the writer's choice.
    pub fn encode(
        &mut self,
        times: &[i64],
        columns: &[(FieldId, &Column)],
        from: usize,
        to: usize,
    ) -> Option<BlockExtent> {
        self.data.clear();
        // The first group's lists serve the next block too: most have one group of the same columns.
        let chunks = self.groups.pop().map(|group| group.columns);
        self.spare = (self.shape.groups.pop().unwrap_or_default(), chunks.unwrap_or_default());
        self.shape.groups.clear();
        self.groups.clear();
        let rows = to - from;
        if !columns.is_empty() && columns.iter().all(|(_, column)| column.present.is_none()) {
            let all = columns.iter().map(|&(field, column)| (field, column, rows));
            self.encode_group(&times[from..to], all, |_| None, from, to);
        } else {
            self.encode_groups(times, columns, from, to)?;
        }
        let first = self.groups.first()?;
        Some(BlockExtent {
            rows: first.rows,
            min_time: first.min_time,
            max_time: first.max_time,
            is_inline: false,
        })
    }

    fn encode_groups(
        &mut self,
        times: &[i64],
        columns: &[(FieldId, &Column)],
        from: usize,
        to: usize,
    ) -> Option<()> {
        let presence_of = |column: &Column| {
            let mut bits = Bitmap::filled(to - from, column.present.is_none());
            if let Some(present) = &column.present {
                (from..to).filter(|&row| present.get(row)).for_each(|row| bits.set(row - from, true));
            }
            bits
        };
        let mut left: Vec<(FieldId, &Column, Bitmap, usize)> = columns
            .iter()
            .map(|&(field, column)| {
                let bits = presence_of(column);
                let count = bits.count();
                (field, column, bits, count)
            })
            .filter(|(_, _, _, count)| *count > 0)
            .collect();
        if left.is_empty() {
            return None;
        }
        let mut is_first = true;
        while !left.is_empty() {
            let mut rows = left[0].2.clone();
            for (_, _, bits, _) in &left[1..] {
                rows.words.iter_mut().zip(&bits.words).for_each(|(all, word)| *all |= word);
            }
            let row_count = rows.count();
            // The first group always has every row, whatever its columns: the block's extent is the first group's.
            let mut chosen: Vec<usize> = (0..left.len()).filter(|&at| left[at].3 * 2 >= row_count).collect();
            if chosen.is_empty() {
                let fullest = (0..left.len()).max_by_key(|&at| left[at].3)?;
                chosen = (0..left.len()).filter(|&at| left[at].2 == left[fullest].2).collect();
                if !is_first {
                    rows = left[fullest].2.clone();
                }
            }
            is_first = false;
            let positions: Vec<usize> = (0..to - from).filter(|&row| rows.get(row)).collect();
            let group_times: Vec<i64> = positions.iter().map(|&row| times[from + row]).collect();
            let mut group = Vec::with_capacity(chosen.len());
            let mut presences = Vec::with_capacity(chosen.len());
            for &at in &chosen {
                let (field, column, bits, count) = &left[at];
                group.push((*field, *column, *count));
                let present: Vec<bool> = positions.iter().map(|&row| bits.get(row)).collect();
                presences.push(present);
            }
            self.encode_group(
                &group_times,
                group.into_iter(),
                |at| Some((&presences[at], &left[chosen[at]].2)),
                from,
                to,
            );
            let mut at = 0;
            left.retain(|_| {
                at += 1;
                !chosen.contains(&(at - 1))
            });
        }
        Some(())
    }

    /// One group. `presence` gives a column's presence among the group's rows and among `from..to`; `None` when it has
    /// them all.
    fn encode_group<'p, 'c>(
        &mut self,
        times: &[i64],
        columns: impl Iterator<Item = (FieldId, &'c Column, usize)>,
        presence: impl Fn(usize) -> Option<(&'p Vec<bool>, &'p Bitmap)>,
        from: usize,
        to: usize,
    ) {
        let at = self.data.len();
        timestamp::encode(times, &mut self.data);
        let time_chunk = self.chunk_since(at);
        let (mut shapes, mut chunks) = std::mem::take(&mut self.spare);
        shapes.clear();
        chunks.clear();
        for (position, (field, column, count)) in columns.enumerate() {
            let at = self.data.len();
            let nulls = times.len() - count;
            let bits = presence(position);
            if nulls > 0
                && let Some((present, _)) = bits
            {
                let mut encoded = Vec::new();
                boolean::encode(present, &mut encoded);
                put_varint(&mut self.data, encoded.len() as u64);
                self.data.extend_from_slice(&encoded);
            }
            if self.hints.len() <= field.0 as usize {
                self.hints.resize_with(field.0 as usize + 1, FloatHint::default);
            }
            let gathered;
            let values = match (&column.data, bits.map(|(_, bits)| bits).filter(|_| count < to - from)) {
                (ColumnData::Float(values), None) => Values::Float(&values[from..to]),
                (ColumnData::Integer(values), None) => Values::Integer(&values[from..to]),
                (ColumnData::Unsigned(values), None) => Values::Unsigned(&values[from..to]),
                (ColumnData::Boolean(values), None) => Values::Boolean(&values[from..to]),
                (data, bits) => {
                    gathered = gather(data, bits, from, to);
                    Values::of(&gathered)
                }
            };
            encode_column(values, self.temperature, &mut self.hints[field.0 as usize], &mut self.data);
            let shape = ColumnShape { field, field_type: column.field_type(), is_nullable: nulls > 0 };
            shapes.push(shape);
            chunks.push(ColumnChunk {
                shape,
                chunk: self.chunk_since(at),
                nulls,
                statistics: if to - from < STATISTICS_ROWS_MIN {
                    None
                } else {
                    statistics::statistics_of(values)
                },
            });
        }
        self.shape.groups.push(shapes);
        self.groups.push(GroupChunks {
            rows: times.len(),
            min_time: times[0],
            max_time: times[times.len() - 1],
            times: time_chunk,
            columns: chunks,
        });
    }

    fn chunk_since(&self, at: usize) -> Chunk {
        Chunk { at, length: self.data.len() - at, crc: None }
    }

    /// Computes the checksums of all chunks: for a block that lives outside its page.
    pub fn checksum(&mut self) {
        let data = &self.data;
        let set =
            |chunk: &mut Chunk| chunk.crc = Some(checksum::of(&data[chunk.at..chunk.at + chunk.length]));
        for group in &mut self.groups {
            set(&mut group.times);
            group.columns.iter_mut().for_each(|column| set(&mut column.chunk));
        }
    }
}

/// The values of the set rows of `from..to`, end to end.
fn gather(data: &ColumnData, bits: Option<&Bitmap>, from: usize, to: usize) -> ColumnData {
    fn pick<T: Copy>(values: &[T], bits: Option<&Bitmap>) -> Vec<T> {
        match bits {
            None => values.to_vec(),
            Some(bits) => (0..values.len()).filter(|&row| bits.get(row)).map(|row| values[row]).collect(),
        }
    }
    match data {
        ColumnData::Float(values) => ColumnData::Float(pick(&values[from..to], bits)),
        ColumnData::Integer(values) => ColumnData::Integer(pick(&values[from..to], bits)),
        ColumnData::Unsigned(values) => ColumnData::Unsigned(pick(&values[from..to], bits)),
        ColumnData::Boolean(values) => ColumnData::Boolean(pick(&values[from..to], bits)),
        ColumnData::String(values) => {
            let mut out = StringColumn::default();
            for row in from..to {
                if bits.is_none_or(|bits| bits.get(row - from)) {
                    out.push(values.get(row));
                }
            }
            ColumnData::String(out)
        }
    }
}

/// The timestamps of a group.
pub fn decode_times(group: &GroupChunks, bytes: &[u8]) -> Result<Vec<i64>, DecodeError> {
    let mut times = Vec::with_capacity(group.rows);
    timestamp::decode(bytes, group.rows, group.min_time, group.max_time, &mut times)?;
    Ok(times)
}

/// The present values of a column of a group of `rows`.
pub fn decode_present(
    column: &ColumnChunk,
    rows: usize,
    mut bytes: &[u8],
) -> Result<ColumnData, DecodeError> {
    if column.nulls > 0 {
        take_presence(&mut bytes)?;
    }
    decode_column(column.shape.field_type, bytes, rows - column.nulls)
}

/// A column of a group of `rows`.
pub fn decode_group_column(
    column: &ColumnChunk,
    rows: usize,
    mut bytes: &[u8],
) -> Result<Column, DecodeError> {
    if column.nulls == 0 {
        return Ok(Column { data: decode_column(column.shape.field_type, bytes, rows)?, present: None });
    }
    let mut present = Vec::with_capacity(rows);
    boolean::decode(take_presence(&mut bytes)?, rows, &mut present)?;
    let mut bits = Bitmap::filled(rows, false);
    present.iter().enumerate().filter(|(_, bit)| **bit).for_each(|(row, _)| bits.set(row, true));
    if bits.count() != rows - column.nulls {
        return Err(DecodeError("presence"));
    }
    let dense = decode_column(column.shape.field_type, bytes, rows - column.nulls)?;
    let rows_of: Vec<u32> = (0..rows as u32).filter(|&row| bits.get(row as usize)).collect();
    Ok(Column { data: scatter(&dense, &rows_of, rows), present: Some(bits) })
}

fn take_presence<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], DecodeError> {
    let length = take_length(bytes)?;
    take_bytes(bytes, length)
}

/// Puts value `i` into slot `rows_of[i]` of `rows`.
fn scatter(dense: &ColumnData, rows_of: &[u32], rows: usize) -> ColumnData {
    fn place<T: Copy + Default>(dense: &[T], rows_of: &[u32], rows: usize) -> Vec<T> {
        let mut out = vec![T::default(); rows];
        for (&row, &value) in rows_of.iter().zip(dense) {
            out[row as usize] = value;
        }
        out
    }
    match dense {
        ColumnData::Float(values) => ColumnData::Float(place(values, rows_of, rows)),
        ColumnData::Integer(values) => ColumnData::Integer(place(values, rows_of, rows)),
        ColumnData::Unsigned(values) => ColumnData::Unsigned(place(values, rows_of, rows)),
        ColumnData::Boolean(values) => ColumnData::Boolean(place(values, rows_of, rows)),
        ColumnData::String(values) => {
            let mut out = StringColumn { ends: Vec::with_capacity(rows), bytes: values.bytes.clone() };
            let mut end = 0;
            let mut next = rows_of.iter().zip(&values.ends).peekable();
            for row in 0..rows as u32 {
                if let Some((_, value_end)) = next.next_if(|(at, _)| **at == row) {
                    end = *value_end;
                }
                out.ends.push(end);
            }
            ColumnData::String(out)
        }
    }
}

/// Joins groups of one block: the union of their times, each column spread over it.
pub fn join_groups(groups: Vec<BlockRows>) -> BlockRows {
    let mut groups = groups.into_iter();
    let Some(mut joined) = groups.next() else { return BlockRows::default() };
    for group in groups {
        if group.times == joined.times {
            joined.columns.extend(group.columns);
            continue;
        }
        let mut times: Vec<i64> = joined.times.iter().chain(&group.times).copied().collect();
        times.sort_unstable();
        times.dedup();
        let mut columns = spread(joined, &times);
        columns.extend(spread(group, &times));
        joined = BlockRows { times, columns };
    }
    joined
}

fn spread(rows: BlockRows, times: &[i64]) -> Vec<(FieldId, Column)> {
    if rows.times == times {
        return rows.columns;
    }
    let mut at = 0;
    let rows_of: Vec<u32> = rows
        .times
        .iter()
        .map(|time| {
            at += times[at..].partition_point(|other| other < time);
            at as u32
        })
        .collect();
    let spread_one = |column: Column| {
        let mut bits = Bitmap::filled(times.len(), false);
        for (from, &to) in rows_of.iter().enumerate() {
            if column.is_present(from) {
                bits.set(to as usize, true);
            }
        }
        Column { data: scatter(&column.data, &rows_of, times.len()), present: Some(bits) }
    };
    rows.columns.into_iter().map(|(field, column)| (field, spread_one(column))).collect()
}
