//! THE batch: the same bytes for mailbox, WAL, peer and hint. Drawn in docs/formats/batch.md.
//!
//! [`BatchBuilder`] makes one, point by point; [`Batch`] is the validated bytes, and reading it cannot fail: all
//! lengths are checked once, in [`Batch::from_bytes`]. Series and rows are told by their difference to the one before, so
//! they are read in order only.

use super::field::{FieldType, Value};
use super::series_key;
use super::varint::{put_varint, take_varint, unzigzag, write_varint, zigzag};
use crate::index::active::KEY_BYTES_MAX;

/// Bytes of the header.
pub const HEADER_BYTES: usize = 48;
const MAGIC: u16 = 0x4254;
const FORMAT: u8 = 2;
/// Most bytes of a row before its values: four varints.
const ROW_HEADER_MAX: usize = 5 + 5 + 10 + 5;
/// Least bytes of a series: hash, and the two lengths of its key.
const SERIES_BYTES_MIN: usize = 8 + 2;

/// Why bytes are not a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchError(pub &'static str);

impl std::fmt::Display for BatchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "malformed batch: {}", self.0)
    }
}

impl std::error::Error for BatchError {}

/// A validated batch: owned bytes and where its tables stand.
#[derive(Debug, Clone)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Offset of each shape entry.
    shapes: Vec<u32>,
    rows_at: u32,
}

/// One shape of a batch: a measurement and the fields of its rows, in order.
#[derive(Debug, Clone, Copy)]
pub struct ShapeRef<'a> {
    bytes: &'a [u8],
}

/// One row of a batch.
#[derive(Debug, Clone, Copy)]
pub struct RowRef<'a> {
    /// Position in the series table.
    pub series: u32,
    /// Position in the shape table.
    pub shape: u32,
    pub timestamp: i64,
    /// The values' bytes, in the order of the shape.
    pub values: &'a [u8],
}

impl Batch {
    /// Checks every length and takes the bytes over. Accepts exactly one batch, with nothing after it.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, BatchError> {
        let header = Header::read(&bytes)?;
        if header.length as usize != bytes.len() {
            return Err(BatchError("length"));
        }
        let series_at = HEADER_BYTES;
        let shapes_at = series_at + header.series_bytes as usize;
        let rows_at = shapes_at + header.shape_bytes as usize;
        if rows_at + header.row_bytes as usize != bytes.len() {
            return Err(BatchError("tables do not fill the batch"));
        }
        check_series(&bytes[series_at..shapes_at], header.series)?;
        let mut at = shapes_at;
        let mut shapes = Vec::with_capacity((header.shapes as usize).min(bytes.len() / 4 + 1));
        for _ in 0..header.shapes {
            shapes.push(at as u32);
            at = check_shape(&bytes, at, rows_at)?;
        }
        if at != rows_at {
            return Err(BatchError("shape table"));
        }
        let batch = Self { bytes, shapes, rows_at: rows_at as u32 };
        batch.check_rows(&header)?;
        Ok(batch)
    }

    fn check_rows(&self, header: &Header) -> Result<(), BatchError> {
        let mut rest = &self.bytes[self.rows_at as usize..];
        let mut before = RowStart::default();
        for _ in 0..header.rows {
            let (row, after) = take_row(rest, &mut before).ok_or(BatchError("row"))?;
            if row.series >= header.series || row.shape as usize >= self.shapes.len() {
                return Err(BatchError("row reference"));
            }
            check_values(self.shape(row.shape), row.values)?;
            rest = after;
        }
        if !rest.is_empty() {
            return Err(BatchError("rows"));
        }
        Ok(())
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// (hybrid clock, node): the greater wins.
    pub fn version(&self) -> (u64, u64) {
        (le_u64(&self.bytes, 8), le_u64(&self.bytes, 16))
    }

    pub fn series_count(&self) -> usize {
        le_u32(&self.bytes, 24) as usize
    }

    pub fn shape_count(&self) -> usize {
        self.shapes.len()
    }

    pub fn row_count(&self) -> usize {
        le_u32(&self.bytes, 32) as usize
    }

    /// The series in the order of their positions.
    pub fn series(&self) -> SeriesTable<'_> {
        let length = le_u32(&self.bytes, 36) as usize;
        SeriesTable { rest: &self.bytes[HEADER_BYTES..HEADER_BYTES + length] }
    }

    pub fn shape(&self, position: u32) -> ShapeRef<'_> {
        ShapeRef { bytes: &self.bytes[self.shapes[position as usize] as usize..self.rows_at as usize] }
    }

    /// The rows in arrival order.
    pub fn rows(&self) -> Rows<'_> {
        Rows { rest: &self.bytes[self.rows_at as usize..], before: RowStart::default() }
    }
}

/// See [`Batch::series`].
#[derive(Debug, Clone)]
pub struct SeriesTable<'a> {
    rest: &'a [u8],
}

/// The series of a batch side by side; see [`SeriesTable::whole`].
#[derive(Debug, Default)]
pub struct SeriesKeys {
    keys: Vec<u8>,
    /// Hash, and where the key ends.
    ends: Vec<(u64, usize)>,
}

impl SeriesKeys {
    /// Hash and canonical key of the series at a position of the table.
    pub fn get(&self, position: u32) -> (u64, &[u8]) {
        let at = position as usize;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before].1);
        let (hash, end) = self.ends[at];
        (hash, &self.keys[start..end])
    }
}

impl<'a> SeriesTable<'a> {
    /// All of the rest, for those that do not read it in order.
    pub fn whole(mut self) -> SeriesKeys {
        let (mut all, mut last) = (SeriesKeys::default(), 0);
        loop {
            let start = all.keys.len();
            let Some(hash) = self.next_into(&mut all.keys, last) else { return all };
            last = start;
            all.ends.push((hash, all.keys.len()));
        }
    }

    /// Brings `key` from the canonical key of the series before (empty before the first) to that of the next; its hash.
    #[inline]
    pub fn next(&mut self, key: &mut Vec<u8>) -> Option<u64> {
        let (hash, shared, rest) = self.take()?;
        key.truncate(shared);
        key.extend_from_slice(rest);
        Some(hash)
    }

    /// As [`Self::next`], with the key appended to the keys in `arena`, the one before standing at `before..`.
    #[inline]
    pub fn next_into(&mut self, arena: &mut Vec<u8>, before: usize) -> Option<u64> {
        let (hash, shared, rest) = self.take()?;
        arena.reserve(shared + rest.len());
        arena.extend_from_within(before..before + shared);
        arena.extend_from_slice(rest);
        Some(hash)
    }

    /// Hash, length of what the key has in common with the one before, and the rest of the key of the next series.
    #[inline]
    pub fn take(&mut self) -> Option<(u64, usize, &'a [u8])> {
        let (hash, rest) = self.rest.split_first_chunk::<8>()?;
        let mut rest = rest;
        let shared = take_varint(&mut rest)? as usize;
        let length = take_varint(&mut rest)? as usize;
        let (key, rest) = rest.split_at_checked(length)?;
        self.rest = rest;
        Some((u64::from_le_bytes(*hash), shared, key))
    }
}

/// What a row is told from: the row before.
#[derive(Debug, Clone, Copy, Default)]
struct RowStart {
    /// The position after the series of the row before.
    series: u32,
    timestamp: i64,
}

/// Takes the row at the front of `bytes`; what is left. `None` when it is cut or malformed.
#[inline]
fn take_row<'a>(mut bytes: &'a [u8], before: &mut RowStart) -> Option<(RowRef<'a>, &'a [u8])> {
    let step = unzigzag(take_varint(&mut bytes)?);
    let series = u32::try_from(i64::from(before.series).checked_add(step)?).ok()?;
    let shape = u32::try_from(take_varint(&mut bytes)?).ok()?;
    let timestamp = before.timestamp.wrapping_add(unzigzag(take_varint(&mut bytes)?));
    let length = usize::try_from(take_varint(&mut bytes)?).ok()?;
    let (values, rest) = bytes.split_at_checked(length)?;
    *before = RowStart { series: series.wrapping_add(1), timestamp };
    Some((RowRef { series, shape, timestamp, values }, rest))
}

/// See [`Batch::rows`].
#[derive(Debug, Clone)]
pub struct Rows<'a> {
    rest: &'a [u8],
    before: RowStart,
}

impl<'a> Iterator for Rows<'a> {
    type Item = RowRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<RowRef<'a>> {
        let (row, rest) = take_row(self.rest, &mut self.before)?;
        self.rest = rest;
        Some(row)
    }
}

impl<'a> ShapeRef<'a> {
    /// The measurement's name, unescaped.
    pub fn measurement(&self) -> &'a [u8] {
        let length = le_u16(self.bytes, 0) as usize;
        &self.bytes[2..2 + length]
    }

    pub fn field_count(&self) -> usize {
        le_u16(self.bytes, 2 + le_u16(self.bytes, 0) as usize) as usize
    }

    /// Types and names of the fields, in the order of the values.
    pub fn fields(&self) -> impl Iterator<Item = (FieldType, &'a [u8])> + use<'a> {
        let bytes = self.bytes;
        let mut at = 4 + le_u16(bytes, 0) as usize;
        (0..self.field_count()).map(move |_| {
            let field_type = FieldType::from_byte(bytes[at]).expect("types are checked when a batch is read");
            let length = le_u16(bytes, at + 1) as usize;
            let name = &bytes[at + 3..at + 3 + length];
            at += 3 + length;
            (field_type, name)
        })
    }
}

/// Collects points of one shard and writes them as a batch.
///
/// The caller keeps its own map from keys to the positions that [`add_series`](Self::add_series) and
/// [`add_shape`](Self::add_shape) return.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    /// Room for the header, then the series table: what the batch begins with. Empty before the first series.
    head: Vec<u8>,
    series_count: u32,
    shapes: Vec<u8>,
    shape_count: u32,
    /// The rows are the first `rows_length` bytes.
    rows: Vec<u8>,
    rows_length: usize,
    row_count: u32,
    /// Key of the last series, and the last row.
    key: Vec<u8>,
    before: RowStart,
    /// Bytes of the last batch, which the next one will probably have, too.
    expected: usize,
}

impl BatchBuilder {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn is_empty(&self) -> bool {
        self.row_count == 0
    }

    pub fn row_count(&self) -> usize {
        self.row_count as usize
    }

    /// Bytes the finished batch will have.
    pub fn byte_len(&self) -> usize {
        self.head.len().max(HEADER_BYTES) + self.shapes.len() + self.rows_length
    }

    /// Adds a series that is not in the table yet; its position.
    #[inline]
    pub fn add_series(&mut self, hash: u64, key: &[u8]) -> u32 {
        debug_assert_eq!(hash, series_key::hash(key), "BUG: a series with another series' hash");
        if self.head.is_empty() {
            self.begin();
        }
        let shared = shared_prefix(&self.key, key);
        self.head.extend_from_slice(&hash.to_le_bytes());
        put_varint(&mut self.head, shared as u64);
        put_varint(&mut self.head, (key.len() - shared) as u64);
        self.head.extend_from_slice(&key[shared..]);
        self.key.truncate(shared);
        self.key.extend_from_slice(&key[shared..]);
        self.series_count += 1;
        self.series_count - 1
    }

    /// Adds a shape that is not in the table yet; its position. Names are unescaped and at most 65,535 bytes.
    pub fn add_shape<'a>(
        &mut self,
        measurement: &[u8],
        fields: impl ExactSizeIterator<Item = (FieldType, &'a [u8])>,
    ) -> u32 {
        self.shapes.extend_from_slice(&(measurement.len() as u16).to_le_bytes());
        self.shapes.extend_from_slice(measurement);
        self.shapes.extend_from_slice(&(fields.len() as u16).to_le_bytes());
        for (field_type, name) in fields {
            self.shapes.push(field_type as u8);
            self.shapes.extend_from_slice(&(name.len() as u16).to_le_bytes());
            self.shapes.extend_from_slice(name);
        }
        self.shape_count += 1;
        self.shape_count - 1
    }

    /// Adds a row whose values are already encoded in the order of the shape.
    #[inline]
    pub fn add_row(&mut self, series: u32, shape: u32, timestamp: i64, values: &[u8]) {
        let room = self.rows_length + ROW_HEADER_MAX + values.len();
        if self.rows.len() < room {
            self.rows.resize(2 * room, 0);
        }
        let out = &mut self.rows[self.rows_length..];
        let mut length = 0;
        let step = i64::from(series) - i64::from(self.before.series);
        write_varint(out, &mut length, zigzag(step));
        write_varint(out, &mut length, u64::from(shape));
        write_varint(out, &mut length, zigzag(timestamp.wrapping_sub(self.before.timestamp)));
        write_varint(out, &mut length, values.len() as u64);
        copy_values(&mut out[length..length + values.len()], values);
        self.before = RowStart { series: series.wrapping_add(1), timestamp };
        self.rows_length += length + values.len();
        self.row_count += 1;
    }

    #[cold]
    fn begin(&mut self) {
        self.head.reserve(self.expected.max(HEADER_BYTES));
        self.head.resize(HEADER_BYTES, 0);
    }

    /// Writes the batch and leaves the builder empty.
    pub fn finish(&mut self, version: u64, node: u64) -> Batch {
        if self.head.is_empty() {
            self.begin();
        }
        let length = self.byte_len();
        // Nothing but the rows is copied: keys are most of a batch of many series.
        let mut bytes = std::mem::take(&mut self.head);
        let series_bytes = bytes.len() - HEADER_BYTES;
        let header = Header {
            length: length as u32,
            series: self.series_count,
            shapes: self.shape_count,
            rows: self.row_count,
            series_bytes: series_bytes as u32,
            shape_bytes: self.shapes.len() as u32,
            row_bytes: self.rows_length as u32,
        };
        bytes[..HEADER_BYTES].copy_from_slice(&header.to_bytes(version, node));
        bytes.reserve_exact(length - bytes.len());
        bytes.extend_from_slice(&self.shapes);
        bytes.extend_from_slice(&self.rows[..self.rows_length]);
        // Batches are accounted for by their length.
        if bytes.capacity() - length > length / 4 {
            bytes.shrink_to_fit();
        }
        let batch = Batch {
            shapes: positions(self.shape_count, HEADER_BYTES + series_bytes, |at| shape_length(&bytes[at..])),
            rows_at: (HEADER_BYTES + series_bytes + self.shapes.len()) as u32,
            bytes,
        };
        self.expected = length;
        self.clear();
        batch
    }

    pub fn clear(&mut self) {
        self.head.clear();
        self.shapes.clear();
        self.rows_length = 0;
        self.key.clear();
        self.before = RowStart::default();
        (self.series_count, self.shape_count, self.row_count) = (0, 0, 0);
    }
}

fn positions(count: u32, start: usize, length_at: impl Fn(usize) -> usize) -> Vec<u32> {
    let mut at = start;
    (0..count)
        .map(|_| {
            let here = at as u32;
            at += length_at(at);
            here
        })
        .collect()
}

fn shape_length(shape: &[u8]) -> usize {
    let mut at = 4 + le_u16(shape, 0) as usize;
    for _ in 0..le_u16(shape, at - 2) {
        at += 3 + le_u16(shape, at + 1) as usize;
    }
    at
}

/// Appends one value as it stands in a row.
pub fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Float(value) => out.extend_from_slice(&value.to_le_bytes()),
        Value::Integer(value) => put_varint(out, zigzag(*value)),
        Value::Unsigned(value) => put_varint(out, *value),
        Value::Boolean(value) => out.push(u8::from(*value)),
        Value::String(value) => {
            put_varint(out, value.len() as u64);
            out.extend_from_slice(value);
        }
    }
}

/// Takes one value of a row off the front of `bytes`; `None` when they are too short or malformed.
pub fn take_value(bytes: &mut &[u8], field_type: FieldType) -> Option<Value> {
    Some(match field_type {
        FieldType::Float => {
            let (head, rest) = bytes.split_first_chunk::<8>()?;
            *bytes = rest;
            Value::Float(f64::from_le_bytes(*head))
        }
        FieldType::Integer => Value::Integer(unzigzag(take_varint(bytes)?)),
        FieldType::Unsigned => Value::Unsigned(take_varint(bytes)?),
        FieldType::Boolean => {
            let (head, rest) = bytes.split_first()?;
            *bytes = rest;
            Value::Boolean(*head != 0)
        }
        FieldType::String => {
            let length = usize::try_from(take_varint(bytes)?).ok()?;
            let (head, rest) = bytes.split_at_checked(length)?;
            *bytes = rest;
            Value::String(head.to_vec())
        }
    })
}

/// Length of the prefix two keys share.
#[inline]
pub fn shared_prefix(a: &[u8], b: &[u8]) -> usize {
    let mut at = 0;
    // Neighbouring keys share much: eight bytes at a time.
    while let (Some(left), Some(right)) = (a[at..].first_chunk::<8>(), b[at..].first_chunk::<8>()) {
        let differs = u64::from_le_bytes(*left) ^ u64::from_le_bytes(*right);
        if differs != 0 {
            return at + differs.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at + a[at..].iter().zip(&b[at..]).take_while(|(a, b)| a == b).count()
}

/// Copies the values of a row: a single number, the most common one, without a call.
#[inline]
pub fn copy_values(to: &mut [u8], values: &[u8]) {
    match (to.first_chunk_mut::<8>(), values.first_chunk::<8>()) {
        (Some(to), Some(number)) if values.len() == 8 => *to = *number,
        _ => to.copy_from_slice(values),
    }
}

/// Bytes the first value of `values` takes; `None` when malformed.
#[inline]
pub fn value_length(values: &[u8], field_type: FieldType) -> Option<usize> {
    let length = match field_type {
        FieldType::Float => 8,
        FieldType::Boolean => 1,
        FieldType::Integer | FieldType::Unsigned => {
            let mut rest = values;
            take_varint(&mut rest)?;
            values.len() - rest.len()
        }
        FieldType::String => {
            let mut rest = values;
            let length = usize::try_from(take_varint(&mut rest)?).ok()?;
            (values.len() - rest.len()).checked_add(length)?
        }
    };
    (length <= values.len()).then_some(length)
}

struct Header {
    length: u32,
    series: u32,
    shapes: u32,
    rows: u32,
    series_bytes: u32,
    shape_bytes: u32,
    row_bytes: u32,
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Self, BatchError> {
        if bytes.len() < HEADER_BYTES {
            return Err(BatchError("shorter than its header"));
        }
        if le_u16(bytes, 0) != MAGIC {
            return Err(BatchError("magic"));
        }
        if bytes[2] != FORMAT || bytes[3] != 0 {
            return Err(BatchError("unknown format"));
        }
        let at = |offset| le_u32(bytes, offset);
        Ok(Self {
            length: at(4),
            series: at(24),
            shapes: at(28),
            rows: at(32),
            series_bytes: at(36),
            shape_bytes: at(40),
            row_bytes: at(44),
        })
    }

    fn to_bytes(&self, version: u64, node: u64) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..2].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[2] = FORMAT;
        bytes[4..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..16].copy_from_slice(&version.to_le_bytes());
        bytes[16..24].copy_from_slice(&node.to_le_bytes());
        let counts =
            [self.series, self.shapes, self.rows, self.series_bytes, self.shape_bytes, self.row_bytes];
        for (out, count) in bytes[24..].chunks_exact_mut(4).zip(counts) {
            out.copy_from_slice(&count.to_le_bytes());
        }
        bytes
    }
}

/// Checks a series table: `count` entries and nothing else.
fn check_series(mut bytes: &[u8], count: u32) -> Result<(), BatchError> {
    if count as usize > bytes.len() / SERIES_BYTES_MIN {
        return Err(BatchError("series table"));
    }
    let mut key_length = 0;
    for _ in 0..count {
        let mut rest = bytes.get(8..).ok_or(BatchError("series key"))?;
        let shared = take_varint(&mut rest).filter(|shared| *shared <= key_length);
        let shared = shared.ok_or(BatchError("series key"))?;
        let length = take_varint(&mut rest).filter(|length| *length <= rest.len() as u64);
        let length = length.ok_or(BatchError("series key"))?;
        key_length = shared + length;
        // A few bytes may stand for a long key: a batch from elsewhere must not unfold without bound.
        if key_length > KEY_BYTES_MAX as u64 {
            return Err(BatchError("series key"));
        }
        bytes = &rest[length as usize..];
    }
    if bytes.is_empty() { Ok(()) } else { Err(BatchError("series table")) }
}

/// Checks the shape at `at`; where the next one starts.
fn check_shape(bytes: &[u8], at: usize, end: usize) -> Result<usize, BatchError> {
    let short = BatchError("shape");
    let u16_at = |at: usize| (at + 2 <= end).then(|| le_u16(bytes, at) as usize).ok_or(short.clone());
    let mut at = at + 2 + u16_at(at)?;
    let fields = u16_at(at)?;
    at += 2;
    for _ in 0..fields {
        if at >= end || FieldType::from_byte(bytes[at]).is_none() {
            return Err(BatchError("field type"));
        }
        at += 3 + u16_at(at + 1)?;
    }
    if at > end { Err(short) } else { Ok(at) }
}

fn check_values(shape: ShapeRef<'_>, mut values: &[u8]) -> Result<(), BatchError> {
    for (field_type, _) in shape.fields() {
        let length = value_length(values, field_type).ok_or(BatchError("value"))?;
        values = &values[length..];
    }
    if values.is_empty() { Ok(()) } else { Err(BatchError("values are longer than their shape")) }
}

#[inline]
fn le_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

#[inline]
fn le_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

#[inline]
fn le_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests;
