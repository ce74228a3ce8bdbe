//! THE batch: the same bytes for mailbox, WAL, peer and hint. Drawn in docs/formats/batch.md.
//!
//! [`BatchBuilder`] makes one, point by point; [`Batch`] is the validated bytes, and reading it cannot fail: all
//! lengths are checked once, in [`Batch::from_bytes`].

use super::field::{FieldType, Value};
use super::series_key;

/// Bytes of the header.
pub const HEADER_BYTES: usize = 48;
const MAGIC: u16 = 0x4254;
const FORMAT: u8 = 1;
/// Bytes of a row before its values.
pub const ROW_HEADER_BYTES: usize = 20;

/// Why bytes are not a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchError(pub &'static str);

impl std::fmt::Display for BatchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "malformed batch: {}", self.0)
    }
}

impl std::error::Error for BatchError {}

/// A validated batch: owned bytes and where its tables' entries stand.
#[derive(Debug, Clone)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Offset of each series entry.
    series: Vec<u32>,
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
        let mut series = Vec::with_capacity((header.series as usize).min(bytes.len() / 12 + 1));
        let mut at = series_at;
        for _ in 0..header.series {
            series.push(at as u32);
            let length = read_u32(&bytes, at + 8, shapes_at)? as usize;
            at += 12 + length;
            if at > shapes_at {
                return Err(BatchError("series key"));
            }
        }
        if at != shapes_at {
            return Err(BatchError("series table"));
        }
        let mut shapes = Vec::with_capacity((header.shapes as usize).min(bytes.len() / 4 + 1));
        for _ in 0..header.shapes {
            shapes.push(at as u32);
            at = check_shape(&bytes, at, rows_at)?;
        }
        if at != rows_at {
            return Err(BatchError("shape table"));
        }
        let batch = Self { bytes, series, shapes, rows_at: rows_at as u32 };
        batch.check_rows(header.rows)?;
        Ok(batch)
    }

    fn check_rows(&self, rows: u32) -> Result<(), BatchError> {
        let end = self.bytes.len();
        let mut at = self.rows_at as usize;
        for _ in 0..rows {
            let series = read_u32(&self.bytes, at, end)?;
            let shape = read_u32(&self.bytes, at + 4, end)?;
            let length = read_u32(&self.bytes, at + 16, end)? as usize;
            let values = self
                .bytes
                .get(at + ROW_HEADER_BYTES..at + ROW_HEADER_BYTES + length)
                .ok_or(BatchError("row"))?;
            if series as usize >= self.series.len() || shape as usize >= self.shapes.len() {
                return Err(BatchError("row reference"));
            }
            check_values(self.shape(shape), values)?;
            at += ROW_HEADER_BYTES + length;
        }
        if at != end {
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
        self.series.len()
    }

    pub fn shape_count(&self) -> usize {
        self.shapes.len()
    }

    pub fn row_count(&self) -> usize {
        le_u32(&self.bytes, 32) as usize
    }

    /// Hash and canonical key of one series.
    #[inline]
    pub fn series(&self, position: u32) -> (u64, &[u8]) {
        let at = self.series[position as usize] as usize;
        let length = le_u32(&self.bytes, at + 8) as usize;
        (le_u64(&self.bytes, at), &self.bytes[at + 12..at + 12 + length])
    }

    pub fn shape(&self, position: u32) -> ShapeRef<'_> {
        ShapeRef { bytes: &self.bytes[self.shapes[position as usize] as usize..self.rows_at as usize] }
    }

    /// The rows in arrival order.
    pub fn rows(&self) -> Rows<'_> {
        Rows { rest: &self.bytes[self.rows_at as usize..] }
    }
}

/// See [`Batch::rows`].
pub struct Rows<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Rows<'a> {
    type Item = RowRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<RowRef<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let (head, tail) = self.rest.split_at(ROW_HEADER_BYTES);
        let length = le_u32(head, 16) as usize;
        let (values, rest) = tail.split_at(length);
        self.rest = rest;
        Some(RowRef {
            series: le_u32(head, 0),
            shape: le_u32(head, 4),
            timestamp: le_u64(head, 8) as i64,
            values,
        })
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
    series: Vec<u8>,
    series_count: u32,
    shapes: Vec<u8>,
    shape_count: u32,
    rows: Vec<u8>,
    row_count: u32,
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
        HEADER_BYTES + self.series.len() + self.shapes.len() + self.rows.len()
    }

    /// Adds a series that is not in the table yet; its position.
    #[inline]
    pub fn add_series(&mut self, hash: u64, key: &[u8]) -> u32 {
        debug_assert_eq!(hash, series_key::hash(key), "BUG: a series with another series' hash");
        self.series.extend_from_slice(&hash.to_le_bytes());
        self.series.extend_from_slice(&(key.len() as u32).to_le_bytes());
        self.series.extend_from_slice(key);
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
        let mut head = [0; ROW_HEADER_BYTES];
        head[0..4].copy_from_slice(&series.to_le_bytes());
        head[4..8].copy_from_slice(&shape.to_le_bytes());
        head[8..16].copy_from_slice(&timestamp.to_le_bytes());
        head[16..20].copy_from_slice(&(values.len() as u32).to_le_bytes());
        self.rows.extend_from_slice(&head);
        self.rows.extend_from_slice(values);
        self.row_count += 1;
    }

    /// Writes the batch and leaves the builder empty, its buffers kept.
    pub fn finish(&mut self, version: u64, node: u64) -> Batch {
        let length = self.byte_len();
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(&MAGIC.to_le_bytes());
        bytes.push(FORMAT);
        bytes.push(0);
        bytes.extend_from_slice(&(length as u32).to_le_bytes());
        bytes.extend_from_slice(&version.to_le_bytes());
        bytes.extend_from_slice(&node.to_le_bytes());
        for count in [
            self.series_count,
            self.shape_count,
            self.row_count,
            self.series.len() as u32,
            self.shapes.len() as u32,
            self.rows.len() as u32,
        ] {
            bytes.extend_from_slice(&count.to_le_bytes());
        }
        bytes.extend_from_slice(&self.series);
        bytes.extend_from_slice(&self.shapes);
        bytes.extend_from_slice(&self.rows);
        let batch = Batch {
            series: positions(self.series_count, HEADER_BYTES, |at| 12 + le_u32(&bytes, at + 8) as usize),
            shapes: positions(self.shape_count, HEADER_BYTES + self.series.len(), |at| {
                shape_length(&bytes[at..])
            }),
            rows_at: (HEADER_BYTES + self.series.len() + self.shapes.len()) as u32,
            bytes,
        };
        self.clear();
        batch
    }

    pub fn clear(&mut self) {
        self.series.clear();
        self.shapes.clear();
        self.rows.clear();
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

#[inline]
pub fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[inline]
pub fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline]
pub fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (at, &byte) in bytes.iter().enumerate().take(10) {
        if at == 9 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            *bytes = &bytes[at + 1..];
            return Some(value);
        }
    }
    None
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

fn read_u32(bytes: &[u8], at: usize, end: usize) -> Result<u32, BatchError> {
    if at + 4 > end { Err(BatchError("truncated")) } else { Ok(le_u32(bytes, at)) }
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Batch {
        let mut builder = BatchBuilder::new();
        let key = b"cpu,host=a";
        let series = builder.add_series(series_key::hash(key), key);
        let shape = builder.add_shape(
            b"cpu",
            [(FieldType::Integer, b"i".as_slice()), (FieldType::String, b"s"), (FieldType::Float, b"f")]
                .into_iter(),
        );
        let mut values = Vec::new();
        put_value(&mut values, &Value::Integer(-3));
        put_value(&mut values, &Value::String(b"x".to_vec()));
        put_value(&mut values, &Value::Float(1.5));
        builder.add_row(series, shape, 42, &values);
        builder.finish(7, 1)
    }

    #[test]
    fn a_batch_reads_back_as_it_was_built() {
        let batch = Batch::from_bytes(sample().into_bytes()).expect("valid");
        assert_eq!(batch.version(), (7, 1));
        assert_eq!(batch.series(0), (series_key::hash(b"cpu,host=a"), b"cpu,host=a".as_slice()));
        let shape = batch.shape(0);
        assert_eq!(shape.measurement(), b"cpu");
        let row = batch.rows().next().expect("one row");
        assert_eq!(row.timestamp, 42);
        let mut values = row.values;
        let read: Vec<_> = shape.fields().map(|(t, _)| take_value(&mut values, t).expect("value")).collect();
        assert_eq!(read, vec![Value::Integer(-3), Value::String(b"x".to_vec()), Value::Float(1.5)]);
    }

    #[test]
    fn a_truncated_batch_is_refused_at_every_length() {
        let bytes = sample().into_bytes();
        for length in 0..bytes.len() {
            assert!(Batch::from_bytes(bytes[..length].to_vec()).is_err(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn changed_bytes_never_panic(at in 0usize..200, byte: u8) {
            let mut bytes = sample().into_bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(batch) = Batch::from_bytes(bytes) {
                for row in batch.rows() {
                    batch.series(row.series);
                    let mut values = row.values;
                    for (field_type, _) in batch.shape(row.shape).fields() {
                        take_value(&mut values, field_type).expect("checked");
                    }
                }
            }
        }

        #[test]
        fn varints_round_trip(value: u64, signed: i64) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            put_varint(&mut out, zigzag(signed));
            let mut rest = out.as_slice();
            prop_assert_eq!(take_varint(&mut rest), Some(value));
            prop_assert_eq!(take_varint(&mut rest).map(unzigzag), Some(signed));
            prop_assert!(rest.is_empty());
        }
    }
}
