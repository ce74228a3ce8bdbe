//! Tag postings of a file: which series have which tag value, in sorted pages found through the schema's directory.
//!
//! ```text
//! key:   u32 measurement, big endian · u16 tag key + 1, big endian · value, unescaped
//!        (tag key 0 and no value: all series of the measurement)
//! page:  per key: varint shared · varint suffix length · suffix · varint length · positions (see postings.rs)
//! ```

use super::index::{PAGE_BYTES, put_key, take_key};
use super::schema::TagPageEntry;
use crate::codec::DecodeError;
use crate::codec::varint::{put_varint, take_bytes, take_length};
use crate::postings;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use std::hash::BuildHasher;

/// Bytes of a key before the value.
pub const KEY_PREFIX_BYTES: usize = 6;

/// The prefix of all keys of a tag key; `None` for the measurement's own.
pub fn key_prefix(measurement: u32, tag_key: Option<u16>) -> [u8; KEY_PREFIX_BYTES] {
    let mut key = [0; KEY_PREFIX_BYTES];
    key[..4].copy_from_slice(&measurement.to_be_bytes());
    key[4..].copy_from_slice(&tag_key.map_or(0, |tag_key| tag_key + 1).to_be_bytes());
    key
}

/// Collects the postings of a file while its series pass in order. One entry of about 40 bytes and the value per distinct
/// (tag key, value); positions after the first are kept as varint gaps.
#[derive(Default)]
pub struct TagBuilder {
    table: HashTable<Posting>,
    keys: Vec<u8>,
    hasher: hashbrown::DefaultHashBuilder,
    key: Vec<u8>,
    gap_bytes: usize,
}

struct Posting {
    key_at: usize,
    key_length: u32,
    first: u32,
    last: u32,
    gaps: Vec<u8>,
}

impl TagBuilder {
    /// Notes that the series at `position`, not less than any before, has the value.
    pub fn add(&mut self, measurement: u32, tag_key: Option<u16>, value: &[u8], position: u32) {
        self.key.clear();
        self.key.extend_from_slice(&key_prefix(measurement, tag_key));
        self.key.extend_from_slice(value);
        let (keys, key, hasher) = (&self.keys, &self.key, &self.hasher);
        let key_of = |posting: &Posting| &keys[posting.key_at..posting.key_at + posting.key_length as usize];
        let hash = hasher.hash_one(key.as_slice());
        match self.table.entry(
            hash,
            |posting| key_of(posting) == key.as_slice(),
            |posting| hasher.hash_one(key_of(posting)),
        ) {
            Entry::Occupied(mut entry) => {
                let posting = entry.get_mut();
                if position > posting.last {
                    let before = posting.gaps.capacity();
                    put_varint(&mut posting.gaps, u64::from(position - posting.last));
                    self.gap_bytes += posting.gaps.capacity() - before;
                    posting.last = position;
                }
            }
            Entry::Vacant(entry) => {
                let key_at = self.keys.len();
                entry.insert(Posting {
                    key_at,
                    key_length: key.len() as u32,
                    first: position,
                    last: position,
                    gaps: Vec::new(),
                });
                self.keys.extend_from_slice(key);
            }
        }
    }

    /// Bytes held in memory.
    pub fn memory_bytes(&self) -> usize {
        self.table.capacity() * size_of::<Posting>() + self.keys.capacity() + self.gap_bytes
    }

    /// The pages in key order, handed to `emit` with an entry that lacks offset and checksum.
    pub fn into_pages(self) -> impl Iterator<Item = (Vec<u8>, TagPageEntry)> {
        let Self { table, keys, .. } = self;
        let mut postings: Vec<Posting> = table.into_iter().collect();
        let key_range = |posting: &Posting| posting.key_at..posting.key_at + posting.key_length as usize;
        postings.sort_unstable_by(|a, b| keys[key_range(a)].cmp(&keys[key_range(b)]));
        let mut rest = postings.into_iter().peekable();
        std::iter::from_fn(move || {
            let first_key = keys[key_range(rest.peek()?)].to_vec();
            let (mut page, mut before) = (Vec::new(), 0..0);
            let (mut positions, mut encoded) = (Vec::new(), Vec::new());
            while page.len() < PAGE_BYTES
                && let Some(posting) = rest.next()
            {
                positions.clear();
                positions.push(posting.first);
                let mut gaps = posting.gaps.as_slice();
                let mut position = posting.first;
                while let Some(gap) = crate::model::batch::take_varint(&mut gaps) {
                    position += gap as u32;
                    positions.push(position);
                }
                encoded.clear();
                postings::encode(&positions, &mut encoded);
                let range = key_range(&posting);
                put_key(&mut page, &keys[before], &keys[range.clone()]);
                put_varint(&mut page, encoded.len() as u64);
                page.extend_from_slice(&encoded);
                before = range;
            }
            let length = page.len() as u32;
            Some((page, TagPageEntry { first_key, offset: 0, length, crc: 0 }))
        })
    }
}

/// Calls `visit` with each key of a page and the bytes of its positions; stops when it answers false.
pub fn visit_page(
    mut bytes: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool, DecodeError>,
) -> Result<(), DecodeError> {
    let mut key = Vec::new();
    while !bytes.is_empty() {
        take_key(&mut bytes, &mut key)?;
        let length = take_length(&mut bytes)?;
        if !visit(&key, take_bytes(&mut bytes, length)?)? {
            break;
        }
    }
    Ok(())
}
