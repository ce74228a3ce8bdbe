//! pco for numbers of blocks that are written once and read rarely: about a third smaller than the hot encodings, and
//! several times slower to decode.
//!
//! ```text
//! u8 128 · pco's wrapped header, the metadata of one chunk, its one page
//! ```

use super::{DecodeError, Values};
use crate::model::{ColumnData, FieldType};
use pco::ChunkConfig;
use pco::data_types::Number;
use pco::wrapped::{FileCompressor, FileDecompressor};

/// The first byte of a cold column; hot encodings number theirs from 0.
pub const PCO: u8 = 128;

const LEVEL: usize = 8;
/// Fewer values than this never win back the metadata.
const VALUES_MIN: usize = 64;

/// Puts pco's bytes in the place of `out[start..]`, when they are fewer.
pub fn replace_if_smaller(values: Values<'_>, start: usize, out: &mut Vec<u8>) {
    let encoded = match values {
        Values::Float(values) => encode(values),
        Values::Integer(values) => encode(values),
        Values::Unsigned(values) => encode(values),
        Values::Boolean(_) | Values::String(_) => None,
    };
    if let Some(encoded) = encoded
        && encoded.len() < out.len() - start
    {
        out.truncate(start);
        out.extend_from_slice(&encoded);
    }
}

/// Also proves that the bytes decode: an encoding we did not write ourselves is not believed.
fn encode<T: Number>(values: &[T]) -> Option<Vec<u8>> {
    if values.len() < VALUES_MIN {
        return None;
    }
    let config = ChunkConfig::default().with_compression_level(LEVEL);
    let compressor = FileCompressor::default();
    let mut chunk = compressor.chunk_compressor(values, &config).ok()?;
    let mut out = compressor.write_header(vec![PCO]).ok()?;
    out = chunk.write_meta(out).ok()?;
    out = chunk.write_page(0, out).ok()?;
    let read = decode_values::<T>(&out, values.len()).ok()?;
    let is_same = read.iter().zip(values).all(|(a, b)| a.to_latent_ordered() == b.to_latent_ordered());
    is_same.then_some(out)
}

pub fn decode(field_type: FieldType, bytes: &[u8], count: usize) -> Result<ColumnData, DecodeError> {
    Ok(match field_type {
        FieldType::Float => ColumnData::Float(decode_values(bytes, count)?),
        FieldType::Integer => ColumnData::Integer(decode_values(bytes, count)?),
        FieldType::Unsigned => ColumnData::Unsigned(decode_values(bytes, count)?),
        FieldType::Boolean | FieldType::String => return Err(DecodeError("cold column")),
    })
}

fn decode_values<T: Number>(bytes: &[u8], count: usize) -> Result<Vec<T>, DecodeError> {
    const BAD: DecodeError = DecodeError("cold column");
    let bytes = bytes.get(1..).ok_or(BAD)?;
    let (file, bytes) = FileDecompressor::new(bytes).map_err(|_| BAD)?;
    let (mut chunk, bytes) = file.chunk_decompressor::<T, _>(bytes).map_err(|_| BAD)?;
    let mut page = chunk.page_decompressor(bytes, count).map_err(|_| BAD)?;
    let mut values = vec![T::default(); count];
    let progress = page.read(&mut values).map_err(|_| BAD)?;
    if progress.n_processed != count { Err(BAD) } else { Ok(values) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{FloatHint, Temperature, decode_column, encode_column};

    #[test]
    fn cold_numbers_are_smaller_and_come_back() {
        let mut state = 7u64;
        let mut level = 50i64;
        let walk: Vec<i64> = (0..1024)
            .map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                level = (level + (state >> 60).count_ones() as i64 - 2).clamp(0, 100);
                level
            })
            .collect();
        let mut hint = FloatHint::default();
        let (mut hot, mut cold) = (Vec::new(), Vec::new());
        encode_column(Values::Integer(&walk), Temperature::Hot, &mut hint, &mut hot);
        encode_column(Values::Integer(&walk), Temperature::Cold, &mut hint, &mut cold);
        assert!(cold.len() < hot.len(), "{} {}", cold.len(), hot.len());
        assert_eq!(cold[0], PCO);
        assert_eq!(decode_column(FieldType::Integer, &cold, 1024), Ok(ColumnData::Integer(walk)));
    }

    #[test]
    fn mutated_cold_bytes_never_panic() {
        let values: Vec<f64> = (0..500).map(|at| (at * at % 977) as f64 / 10.0).collect();
        let bytes = encode(&values).expect("encodes");
        for at in 0..bytes.len() {
            for byte in [0, 1, 0x7f, 0x80, 0xff, bytes[at] ^ 0x10] {
                let mut bytes = bytes.clone();
                bytes[at] = byte;
                let _ = decode(FieldType::Float, &bytes, 500);
            }
            let _ = decode(FieldType::Float, &bytes[..at], 500);
        }
    }
}
