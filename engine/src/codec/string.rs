//! Columns of strings.
//!
//! ```text
//! 0 list        varint length of each · u8 0 raw, 1 lz4 · (lz4: varint length) · bytes
//! 1 dictionary  distinct strings as a list, packed ids
//! ```

use super::DecodeError;
use super::dictionary;
use super::varint::{put_varint, take_byte, take_bytes, take_count, take_length};
use crate::model::StringColumn;

const LIST: u8 = 0;
const DICTIONARY: u8 = 1;

const RAW: u8 = 0;
const LZ4: u8 = 1;

/// Fewer bytes than this are not worth a try at compression.
const LZ4_BYTES_MIN: usize = 64;

/// Bytes of strings one decoded column may hold. A block holds at most a few hundred KiB of strings, or one long one;
/// a request body is the bound of that.
pub const STRING_BYTES_MAX: usize = 256 << 20;

/// Appends the column; nothing for no values.
pub fn encode(values: &StringColumn, out: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    if let Some((strings, ids)) = dictionary::build(values) {
        out.push(DICTIONARY);
        dictionary::encode(&strings, &ids, out);
    } else {
        out.push(LIST);
        put_list((0..values.len()).map(|at| values.get(at)), out);
    }
}

/// Lengths, then the bytes, compressed when that is smaller.
pub(super) fn put_list<'a>(strings: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    let mut bytes = Vec::new();
    for string in strings {
        put_varint(out, string.len() as u64);
        bytes.extend_from_slice(string);
    }
    if bytes.len() >= LZ4_BYTES_MIN {
        let compressed = lz4_flex::block::compress(&bytes);
        if compressed.len() + 10 < bytes.len() {
            out.push(LZ4);
            put_varint(out, compressed.len() as u64);
            out.extend_from_slice(&compressed);
            return;
        }
    }
    out.push(RAW);
    out.extend_from_slice(&bytes);
}

/// Takes a list of `count` strings off the front of `bytes`.
pub(super) fn take_list(
    bytes: &mut &[u8],
    count: usize,
    bytes_max: usize,
) -> Result<StringColumn, DecodeError> {
    // A length takes a byte at least: a count beyond the bytes is a lie, seen before anything is reserved.
    if count > bytes.len() {
        return Err(DecodeError("count"));
    }
    let mut list = StringColumn { ends: Vec::with_capacity(count), bytes: Vec::new() };
    let mut total = 0;
    for _ in 0..count {
        total += take_count(bytes, bytes_max - total)?;
        list.ends.push(total as u32);
    }
    list.bytes = match take_byte(bytes)? {
        RAW => take_bytes(bytes, total)?.to_vec(),
        LZ4 => {
            let length = take_length(bytes)?;
            let compressed = take_bytes(bytes, length)?;
            // lz4 cannot do better than 255 to 1: a bound on what a lie can make us reserve.
            if total / 255 > length {
                return Err(DecodeError("compressed strings"));
            }
            let strings = lz4_flex::block::decompress(compressed, total)
                .map_err(|_| DecodeError("compressed strings"))?;
            if strings.len() != total {
                return Err(DecodeError("compressed strings"));
            }
            strings
        }
        _ => return Err(DecodeError("string list")),
    };
    Ok(list)
}

/// Appends `count` values to `out`, which then holds at most [`STRING_BYTES_MAX`]; `bytes` must hold them exactly.
pub fn decode(mut bytes: &[u8], count: usize, out: &mut StringColumn) -> Result<(), DecodeError> {
    if count == 0 {
        return if bytes.is_empty() { Ok(()) } else { Err(DecodeError("strings")) };
    }
    let bytes = &mut bytes;
    match take_byte(bytes)? {
        LIST => {
            let list = take_list(bytes, count, STRING_BYTES_MAX)?;
            if !bytes.is_empty() {
                return Err(DecodeError("strings are followed by more bytes"));
            }
            if out.is_empty() {
                *out = list;
            } else {
                for at in 0..list.len() {
                    out.push(list.get(at));
                }
            }
            Ok(())
        }
        DICTIONARY => dictionary::decode(bytes, count, STRING_BYTES_MAX, out),
        _ => Err(DecodeError("string encoding")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn column<T: AsRef<[u8]>>(values: &[T]) -> StringColumn {
        let mut column = StringColumn::default();
        for value in values {
            column.push(value.as_ref());
        }
        column
    }

    fn check<T: AsRef<[u8]>>(values: &[T]) -> Vec<u8> {
        let values = column(values);
        let mut out = Vec::new();
        encode(&values, &mut out);
        // Behind values that are there already.
        let mut read = column(&["there", ""]);
        decode(&out, values.len(), &mut read).expect("encoded above");
        let mut all = column(&["there", ""]);
        (0..values.len()).for_each(|at| all.push(values.get(at)));
        assert_eq!(read, all);
        out
    }

    #[test]
    fn few_distinct_strings_take_their_ids() {
        let states = ["ok", "warning", "critical", "unknown"];
        let values: Vec<&str> = (0..1024).map(|at| states[at * 7919 % 4]).collect();
        assert!(check(&values).len() < 300);
        assert!(check(&["same"; 1000]).len() < 16);
    }

    #[test]
    fn lines_of_text_are_compressed() {
        let lines: Vec<String> =
            (0..500).map(|at| format!("GET /item/{at} answered 200 in {} ms", at % 17)).collect();
        let raw: usize = lines.iter().map(String::len).sum();
        assert!(check(&lines).len() < raw / 2);
        check(&["", "", ""]);
        check::<&str>(&[]);
        check(&["x"]);
    }

    proptest! {
        #[test]
        fn any_strings_come_back(values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..100)) {
            check(&values);
        }

        #[test]
        fn any_bytes_never_panic(mut bytes: Vec<u8>, tag in 0u8..3, count in 0usize..1100) {
            bytes.insert(0, tag);
            let _ = decode(&bytes, count, &mut StringColumn::default());
        }

        #[test]
        fn mutated_bytes_never_panic(values in proptest::collection::vec("[a-c]{0,30}", 1..60), at: usize, byte: u8, cut: usize) {
            let mut out = Vec::new();
            encode(&column(&values), &mut out);
            let at = at % out.len();
            out[at] = byte;
            let _ = decode(&out, values.len(), &mut StringColumn::default());
            out.truncate(cut % out.len().max(1));
            let _ = decode(&out, values.len(), &mut StringColumn::default());
        }
    }
}
