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
            let signed: Vec<i64> = values.iter().map(|&value| value as i64).collect();
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
    Ok(match field_type {
        FieldType::Float => {
            let mut values = Vec::with_capacity(count);
            float::decode(bytes, count, &mut values)?;
            ColumnData::Float(values)
        }
        FieldType::Integer => {
            let mut values = Vec::with_capacity(count);
            integer::decode(bytes, count, &mut values)?;
            ColumnData::Integer(values)
        }
        FieldType::Unsigned => {
            let mut values = Vec::with_capacity(count);
            integer::decode(bytes, count, &mut values)?;
            // Collected in place: the same allocation.
            ColumnData::Unsigned(values.into_iter().map(|value| value as u64).collect())
        }
        FieldType::Boolean => {
            let mut values = Vec::with_capacity(count);
            boolean::decode(bytes, count, &mut values)?;
            ColumnData::Boolean(values)
        }
        FieldType::String => {
            let mut values = StringColumn::default();
            string::decode(bytes, count, &mut values)?;
            ColumnData::String(values)
        }
    })
}
