//! Few distinct strings: each once, and packed ids.
//!
//! ```text
//! varint strings · a list of strings · u8 id width · packed ids
//! list: varint length of each · u8 0 raw, 1 lz4 · (lz4: varint length) · bytes
//! ```

use super::DecodeError;
use super::bitpack::{pack, unpack, width_of};
use super::string::{put_list, take_list};
use super::varint::{put_varint, take_byte, take_count};
use crate::model::StringColumn;
use hashbrown::HashMap;

/// The distinct strings in order of first appearance and the id of each value; `None` when there are too many of them
/// to pay.
pub fn build(values: &StringColumn) -> Option<(Vec<&[u8]>, Vec<u64>)> {
    let strings_max = values.len() / 2;
    let mut ids_of: HashMap<&[u8], u64> = HashMap::new();
    let mut strings = Vec::new();
    let mut ids = Vec::with_capacity(values.len());
    for at in 0..values.len() {
        let value = values.get(at);
        let next = strings.len() as u64;
        let id = *ids_of.entry(value).or_insert(next);
        if id == next {
            if strings.len() >= strings_max {
                return None;
            }
            strings.push(value);
        }
        ids.push(id);
    }
    Some((strings, ids))
}

pub fn encode(strings: &[&[u8]], ids: &[u64], out: &mut Vec<u8>) {
    put_varint(out, strings.len() as u64);
    put_list(strings.iter().copied(), out);
    let width = width_of(strings.len() as u64 - 1);
    out.push(width as u8);
    pack(ids, width, out);
}

pub fn decode(
    mut bytes: &[u8],
    count: usize,
    bytes_max: usize,
    out: &mut StringColumn,
) -> Result<(), DecodeError> {
    let bytes = &mut bytes;
    let strings = take_count(bytes, count)?;
    let list = take_list(bytes, strings, bytes_max)?;
    let width = u32::from(take_byte(bytes)?);
    let mut ids = Vec::with_capacity(count);
    unpack(bytes, width, count, &mut ids)?;
    // The length first, so that a lie cannot make the column grow past its bound.
    let mut total = out.bytes.len();
    for &id in &ids {
        if id as u64 >= strings as u64 {
            return Err(DecodeError("dictionary id"));
        }
        total += list.get(id as usize).len();
        if total > bytes_max {
            return Err(DecodeError("strings are too long"));
        }
    }
    out.bytes.reserve(total - out.bytes.len());
    for &id in &ids {
        out.push(list.get(id as usize));
    }
    Ok(())
}
