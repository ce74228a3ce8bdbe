//! Block encodings: how the values of one column of one block become bytes, and back.
//!
//! | type | encodings |
//! |---|---|
//! | timestamps | regular (no bytes), runs, differences, linear ([`timestamp`]) |
//! | integer, unsigned | constant, FOR, delta FOR, patched delta, patched FOR ([`integer`]) |
//! | float | constant, ALP, ALP-RD, raw ([`float`]) |
//! | boolean, presence | bitmap, runs ([`boolean`]) |
//! | string | dictionary with packed ids, list with lz4 ([`string`]) |
//! | integer, unsigned, float, cold | pco ([`cold`]) |
//!
//! Encoders choose by size, block by block. Each encoding begins with a byte that names it; how many values there are is
//! known from outside. Decoders take any bytes: they answer an error or exactly the wanted number of values, never panic,
//! and never reserve more than the count or the bytes justify. All integers are little endian.

pub mod alp;
pub mod bitpack;
pub mod boolean;
pub mod cold;
pub mod delta;
pub mod dictionary;
pub mod float;
pub mod integer;
pub mod patched;
pub mod string;
pub mod timestamp;
pub mod varint;

pub use float::FloatHint;

use crate::model::{ColumnData, FieldType, StringColumn};
use std::fmt;

/// Why bytes are not a column. The caller knows the file and offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeError(pub &'static str);

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed {}", self.0)
    }
}

impl std::error::Error for DecodeError {}

/// A buffer of numbers that stays off the heap for a block of a few rows: of millions of small series the allocations
/// would cost more than the encoding.
type Few<T> = smallvec::SmallVec<[T; 32]>;

/// The present values of one column of one block.
#[derive(Debug, Clone, Copy)]
pub enum Values<'a> {
    Float(&'a [f64]),
    Integer(&'a [i64]),
    Unsigned(&'a [u64]),
    Boolean(&'a [bool]),
    String(&'a StringColumn),
}

impl<'a> Values<'a> {
    pub fn of(data: &'a ColumnData) -> Self {
        match data {
            ColumnData::Float(values) => Self::Float(values),
            ColumnData::Integer(values) => Self::Integer(values),
            ColumnData::Unsigned(values) => Self::Unsigned(values),
            ColumnData::Boolean(values) => Self::Boolean(values),
            ColumnData::String(values) => Self::String(values),
        }
    }
}

/// How columns are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Temperature {
    /// Encodings that decode at memory speed.
    #[default]
    Hot,
    /// Where it is smaller, an encoding that decodes several times slower.
    Cold,
}

/// Appends a column.
pub fn encode_column(values: Values<'_>, temperature: Temperature, hint: &mut FloatHint, out: &mut Vec<u8>) {
    let start = out.len();
    match values {
        Values::Float(values) => float::encode(values, hint, out),
        Values::Integer(values) => integer::encode(values, out),
        Values::Unsigned(values) => {
            let signed: Few<i64> = values.iter().map(|&value| value as i64).collect();
            integer::encode(&signed, out);
        }
        Values::Boolean(values) => boolean::encode(values, out),
        Values::String(values) => string::encode(values, out),
    }
    if temperature == Temperature::Cold {
        cold::replace_if_smaller(values, start, out);
    }
}

/// Exactly `count` values of a type; `bytes` must hold nothing else.
pub fn decode_column(field_type: FieldType, bytes: &[u8], count: usize) -> Result<ColumnData, DecodeError> {
    if bytes.first() == Some(&cold::PCO) {
        return cold::decode(field_type, bytes, count);
    }
    let mut data = match field_type {
        FieldType::Float => ColumnData::Float(Vec::with_capacity(count)),
        FieldType::Integer => ColumnData::Integer(Vec::with_capacity(count)),
        FieldType::Boolean => ColumnData::Boolean(Vec::with_capacity(count)),
        FieldType::String => ColumnData::String(StringColumn::default()),
        FieldType::Unsigned => {
            let mut values = Vec::with_capacity(count);
            integer::decode(bytes, count, &mut values)?;
            // Collected in place: the same allocation.
            return Ok(ColumnData::Unsigned(values.into_iter().map(|value| value as u64).collect()));
        }
    };
    append_column(bytes, count, field_type, &mut data)?;
    Ok(data)
}

/// Appends exactly `count` values to a column of their type; `bytes` must hold nothing else.
pub fn append_column(
    bytes: &[u8],
    count: usize,
    field_type: FieldType,
    data: &mut ColumnData,
) -> Result<(), DecodeError> {
    if bytes.first() == Some(&cold::PCO) {
        return append(data, cold::decode(field_type, bytes, count)?);
    }
    match (data, field_type) {
        (ColumnData::Float(values), FieldType::Float) => float::decode(bytes, count, values),
        (ColumnData::Integer(values), FieldType::Integer) => integer::decode(bytes, count, values),
        (ColumnData::Boolean(values), FieldType::Boolean) => boolean::decode(bytes, count, values),
        (ColumnData::String(values), FieldType::String) => string::decode(bytes, count, values),
        (ColumnData::Unsigned(values), FieldType::Unsigned) => {
            let mut signed = Vec::with_capacity(count);
            integer::decode(bytes, count, &mut signed)?;
            values.extend(signed.into_iter().map(|value| value as u64));
            Ok(())
        }
        _ => Err(DecodeError("column of another type")),
    }
}

fn append(data: &mut ColumnData, more: ColumnData) -> Result<(), DecodeError> {
    match (data, more) {
        (ColumnData::Float(values), ColumnData::Float(more)) => values.extend(more),
        (ColumnData::Integer(values), ColumnData::Integer(more)) => values.extend(more),
        (ColumnData::Unsigned(values), ColumnData::Unsigned(more)) => values.extend(more),
        _ => return Err(DecodeError("column of another type")),
    }
    Ok(())
}
