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
use crate::codec::varint::{put_varint, take_bytes, take_count, take_length};
use crate::model::batch::shared_prefix;
use crate::postings;
use hashbrown::HashTable;
use std::cmp::Ordering;
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

/// A key of a tag page, taken apart; `tag_key` as [`key_prefix`] has it.
#[derive(Debug, Clone, Copy)]
pub struct TagKey<'a> {
    pub measurement: u32,
    pub tag_key: Option<u16>,
    pub value: &'a [u8],
}

impl<'a> TagKey<'a> {
    pub fn take_apart(key: &'a [u8]) -> Result<Self, DecodeError> {
        let (prefix, value) = key.split_first_chunk::<KEY_PREFIX_BYTES>().ok_or(DecodeError("tag page"))?;
        let [a, b, c, d, tag_key @ ..] = *prefix;
        let tag_key = u16::from_be_bytes(tag_key).checked_sub(1);
        Ok(Self { measurement: u32::from_be_bytes([a, b, c, d]), tag_key, value })
    }
}

/// Collects the postings of a file while its series pass in order.
///
/// Series come sorted, so the values of the first tag of a measurement, which often is the one with the most values, come
/// sorted too: as long as the values of a tag key ascend they are encoded at once, at about ten bytes each. From the
/// first one that does not on, they are found by their hashes.
#[derive(Default)]
pub struct TagBuilder {
    /// By measurement, then by tag key plus 1; the first are the measurements' own.
    columns: Vec<Vec<Values>>,
    hasher: hashbrown::DefaultHashBuilder,
    /// Of all columns.
    bytes: usize,
}

/// The values of one tag key, with the series that have them.
enum Values {
    Ascending(Ascending),
    Hashed(Hashed),
}

impl Values {
    #[inline]
    fn memory_bytes(&self) -> usize {
        match self {
            Self::Ascending(ascending) => ascending.entries.capacity() + ascending.before.capacity(),
            Self::Hashed(hashed) => {
                hashed.postings.capacity() * size_of::<(ValueSpan, Posting)>()
                    + hashed.table.capacity() * 5
                    + hashed.values.capacity()
                    + hashed.gap_bytes
            }
        }
    }
}

#[derive(Default)]
struct Ascending {
    /// The values before the last: each a prefix-compressed key · varint length · positions.
    entries: Vec<u8>,
    /// The last of them.
    before: Vec<u8>,
    last: Vec<u8>,
    posting: Option<Posting>,
    positions: Vec<u32>,
    encoded: Vec<u8>,
}

#[derive(Default)]
struct Hashed {
    /// Positions in `postings`.
    table: HashTable<u32>,
    postings: Vec<(ValueSpan, Posting)>,
    values: Vec<u8>,
    /// Memory of the postings' gaps.
    gap_bytes: usize,
    /// The posting of the series before: neighbours often share a value.
    last: u32,
}

#[derive(Clone, Copy)]
struct ValueSpan {
    at: usize,
    length: u32,
}

/// The series of one value: the first, and varint gaps to the others.
struct Posting {
    first: u32,
    last: u32,
    gaps: Vec<u8>,
}

impl Posting {
    fn new(position: u32) -> Self {
        Self { first: position, last: position, gaps: Vec::new() }
    }

    /// How many bytes its memory grew by.
    #[inline]
    fn add(&mut self, position: u32) -> usize {
        if position <= self.last {
            return 0;
        }
        let before = self.gaps.capacity();
        put_varint(&mut self.gaps, u64::from(position - self.last));
        self.last = position;
        self.gaps.capacity() - before
    }

    /// Appends the positions as a page has them; `positions` is a buffer.
    fn encode(&self, positions: &mut Vec<u32>, out: &mut Vec<u8>) {
        if self.gaps.is_empty() {
            return postings::encode_one(self.first, out);
        }
        positions.clear();
        positions.push(self.first);
        let (mut gaps, mut position) = (self.gaps.as_slice(), self.first);
        while let Some(gap) = crate::model::varint::take_varint(&mut gaps) {
            position += gap as u32;
            positions.push(position);
        }
        postings::encode(positions, out);
    }
}

impl Ascending {
    /// Notes a series; false when its value is less than one before.
    #[inline]
    fn add(&mut self, value: &[u8], position: u32) -> bool {
        match &mut self.posting {
            Some(posting) if self.last == value => _ = posting.add(position),
            Some(_) if self.last.as_slice() > value => return false,
            _ => {
                self.end_value();
                self.last.clear();
                self.last.extend_from_slice(value);
                self.posting = Some(Posting::new(position));
            }
        }
        true
    }

    fn end_value(&mut self) {
        let Some(posting) = self.posting.take() else { return };
        put_key(&mut self.entries, &self.before, &self.last);
        std::mem::swap(&mut self.before, &mut self.last);
        self.encoded.clear();
        posting.encode(&mut self.positions, &mut self.encoded);
        put_varint(&mut self.entries, self.encoded.len() as u64);
        self.entries.extend_from_slice(&self.encoded);
    }

    fn into_hashed(mut self, hasher: &hashbrown::DefaultHashBuilder) -> Hashed {
        self.end_value();
        let mut hashed = Hashed::default();
        let mut positions = Vec::new();
        visit_page(&self.entries, |value, mut encoded| {
            positions.clear();
            postings::decode(&mut encoded, u32::MAX, &mut positions)?;
            for &position in &positions {
                hashed.add(value, position, hasher);
            }
            Ok(true)
        })
        .expect("BUG: entries this builder made do not read back");
        hashed
    }
}

impl Hashed {
    fn value(&self, span: ValueSpan) -> &[u8] {
        &self.values[span.at..span.at + span.length as usize]
    }

    #[inline]
    fn add(&mut self, value: &[u8], position: u32, hasher: &hashbrown::DefaultHashBuilder) {
        if let Some((span, _)) = self.postings.get(self.last as usize)
            && self.value(*span) == value
        {
            self.gap_bytes += self.postings[self.last as usize].1.add(position);
            return;
        }
        let hash = hasher.hash_one(value);
        if let Some(&at) = self.table.find(hash, |&at| self.value(self.postings[at as usize].0) == value) {
            self.gap_bytes += self.postings[at as usize].1.add(position);
            self.last = at;
            return;
        }
        self.last = self.postings.len() as u32;
        let span = ValueSpan { at: self.values.len(), length: value.len() as u32 };
        self.values.extend_from_slice(value);
        self.postings.push((span, Posting::new(position)));
        let (postings, values) = (&self.postings, &self.values);
        self.table.insert_unique(hash, self.last, |&at| {
            let span = postings[at as usize].0;
            hasher.hash_one(&values[span.at..span.at + span.length as usize])
        });
    }
}

impl TagBuilder {
    /// Notes that the series at `position`, not less than any before, has the value.
    #[inline]
    pub fn add(&mut self, measurement: u32, tag_key: Option<u16>, value: &[u8], position: u32) {
        let column = tag_key.map_or(0, |tag_key| usize::from(tag_key) + 1);
        if self.columns.len() <= measurement as usize {
            self.columns.resize_with(measurement as usize + 1, Vec::new);
        }
        let columns = &mut self.columns[measurement as usize];
        if columns.len() <= column {
            columns.resize_with(column + 1, || Values::Ascending(Ascending::default()));
        }
        let values = &mut columns[column];
        self.bytes -= values.memory_bytes();
        match values {
            Values::Hashed(hashed) => hashed.add(value, position, &self.hasher),
            Values::Ascending(ascending) => {
                if !ascending.add(value, position) {
                    let mut hashed = std::mem::take(ascending).into_hashed(&self.hasher);
                    hashed.add(value, position, &self.hasher);
                    *values = Values::Hashed(hashed);
                }
            }
        }
        self.bytes += values.memory_bytes();
    }

    /// Bytes held in memory, about.
    pub fn memory_bytes(&self) -> usize {
        self.bytes
    }

    /// The pages in key order, handed to `emit` with an entry that lacks offset and checksum.
    pub fn into_pages(self) -> impl Iterator<Item = (Vec<u8>, TagPageEntry)> {
        let mut entries = Entries { columns: Columns::new(self.columns), ..Entries::default() };
        let mut more = entries.next();
        std::iter::from_fn(move || {
            if !more {
                return None;
            }
            let (mut page, mut before) = (Vec::new(), Vec::new());
            let first_key = entries.key.clone();
            while more && page.len() < PAGE_BYTES {
                put_key(&mut page, &before, &entries.key);
                put_varint(&mut page, entries.encoded.len() as u64);
                page.extend_from_slice(&entries.encoded);
                std::mem::swap(&mut before, &mut entries.key);
                more = entries.next();
            }
            let length = page.len() as u32;
            Some((page, TagPageEntry { first_key, offset: 0, length, crc: 0 }))
        })
    }
}

/// All keys of a builder in order, with their positions.
#[derive(Default)]
struct Entries {
    columns: Columns,
    current: Option<Reading>,
    prefix: [u8; KEY_PREFIX_BYTES],
    /// The key at hand, and its positions encoded.
    key: Vec<u8>,
    encoded: Vec<u8>,
    positions: Vec<u32>,
}

/// The tag keys of a builder that are left, in order.
#[derive(Default)]
struct Columns {
    rest: std::vec::IntoIter<(u32, Option<u16>, Values)>,
}

impl Columns {
    fn new(columns: Vec<Vec<Values>>) -> Self {
        let all: Vec<_> = columns
            .into_iter()
            .enumerate()
            .flat_map(|(measurement, columns)| {
                columns.into_iter().enumerate().map(move |(column, values)| {
                    (measurement as u32, column.checked_sub(1).map(|tag_key| tag_key as u16), values)
                })
            })
            .collect();
        Self { rest: all.into_iter() }
    }
}

/// The values of one tag key that are left.
enum Reading {
    Ascending {
        entries: Vec<u8>,
        at: usize,
        value: Vec<u8>,
    },
    /// In descending order, so that the next one is the last.
    Hashed(Hashed, Vec<u32>),
}

impl Reading {
    fn new(values: Values) -> Self {
        match values {
            Values::Ascending(mut ascending) => {
                ascending.end_value();
                Self::Ascending { entries: ascending.entries, at: 0, value: Vec::new() }
            }
            Values::Hashed(hashed) => {
                let mut order: Vec<u32> = (0..hashed.postings.len() as u32).collect();
                let value = |at: &u32| hashed.value(hashed.postings[*at as usize].0);
                // Stable: it finds the runs that ascending keys leave.
                order.sort_by(|a, b| value(a).cmp(value(b)));
                order.reverse();
                Self::Hashed(hashed, order)
            }
        }
    }
}

impl Entries {
    /// Goes to the next key; false at the end.
    fn next(&mut self) -> bool {
        loop {
            let Some(current) = &mut self.current else {
                let Some((measurement, tag_key, values)) = self.columns.rest.next() else { return false };
                self.prefix = key_prefix(measurement, tag_key);
                self.current = Some(Reading::new(values));
                continue;
            };
            self.key.clear();
            self.key.extend_from_slice(&self.prefix);
            self.encoded.clear();
            match current {
                Reading::Ascending { entries, at, value } if *at < entries.len() => {
                    let mut rest = &entries[*at..];
                    let encoded = take_entry(&mut rest, value)
                        .expect("BUG: entries this builder made do not read back");
                    self.key.extend_from_slice(value);
                    self.encoded.extend_from_slice(encoded);
                    *at = entries.len() - rest.len();
                    return true;
                }
                Reading::Hashed(hashed, order) if !order.is_empty() => {
                    if let Some(at) = order.pop() {
                        let (span, posting) = &hashed.postings[at as usize];
                        self.key.extend_from_slice(hashed.value(*span));
                        posting.encode(&mut self.positions, &mut self.encoded);
                    }
                    return true;
                }
                _ => self.current = None,
            }
        }
    }
}

/// Calls `visit` with each key of a page and the bytes of its positions; stops when it answers false.
pub fn visit_page(
    mut bytes: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool, DecodeError>,
) -> Result<(), DecodeError> {
    let mut key = Vec::new();
    while !bytes.is_empty() {
        let positions = take_entry(&mut bytes, &mut key)?;
        if !visit(&key, positions)? {
            break;
        }
    }
    Ok(())
}

/// The bytes of a key's positions in a page; `None` where the page does not have the key.
///
/// No key is put together on the way: one that shares more with the key before than that one does with the wanted key
/// stands where that one stood, before it.
pub fn find_in_page<'a>(mut bytes: &'a [u8], wanted: &[u8]) -> Result<Option<&'a [u8]>, DecodeError> {
    // Of the key before, and of its bytes those that the wanted key begins with, too.
    let (mut length, mut matched) = (0, 0);
    while !bytes.is_empty() {
        let shared = take_count(&mut bytes, length)?;
        let suffix_length = take_length(&mut bytes)?;
        let suffix = take_bytes(&mut bytes, suffix_length)?;
        let positions_length = take_length(&mut bytes)?;
        let positions = take_bytes(&mut bytes, positions_length)?;
        length = shared + suffix.len();
        if shared > matched {
            continue;
        }
        let rest = &wanted[shared..];
        let common = shared_prefix(suffix, rest);
        match suffix[common..].first().cmp(&rest[common..].first()) {
            Ordering::Less => matched = shared + common,
            Ordering::Equal => return Ok(Some(positions)),
            Ordering::Greater => break,
        }
    }
    Ok(None)
}

/// Takes an entry off the front of a page: its key, over the one before it, and the bytes of its positions.
pub fn take_entry<'a>(bytes: &mut &'a [u8], key: &mut Vec<u8>) -> Result<&'a [u8], DecodeError> {
    take_key(bytes, key)?;
    let length = take_length(bytes)?;
    take_bytes(bytes, length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Want = BTreeMap<Vec<u8>, Vec<u32>>;

    fn pages_of(builder: TagBuilder) -> Want {
        let mut found = Want::new();
        let mut last = Vec::new();
        for (page, entry) in builder.into_pages() {
            let mut is_first = true;
            visit_page(&page, |key, mut encoded| {
                assert!(!is_first || key == entry.first_key);
                assert!(last.as_slice() < key, "keys out of order");
                last = key.to_vec();
                is_first = false;
                let mut positions = Vec::new();
                postings::decode(&mut encoded, u32::MAX, &mut positions)?;
                found.insert(key.to_vec(), positions);
                Ok(true)
            })
            .expect("pages read back");
        }
        found
    }

    proptest! {
        /// Whatever order the values of a tag key come in, each ends with the series that have it.
        #[test]
        fn every_value_keeps_its_series(
            series in prop::collection::vec((0u32..2, prop::collection::vec(0u16..30, 1..4), any::<bool>()), 1..200),
        ) {
            let mut builder = TagBuilder::default();
            let mut want = Want::new();
            for (position, (measurement, values, is_ascending)) in series.iter().enumerate() {
                let position = position as u32;
                builder.add(*measurement, None, b"", position);
                want.entry(key_prefix(*measurement, None).to_vec()).or_default().push(position);
                for (tag_key, value) in values.iter().enumerate() {
                    let value = match *is_ascending && tag_key == 0 {
                        true => format!("{position:05}"),
                        false => format!("v{value}"),
                    };
                    builder.add(*measurement, Some(tag_key as u16), value.as_bytes(), position);
                    let mut key = key_prefix(*measurement, Some(tag_key as u16)).to_vec();
                    key.extend_from_slice(value.as_bytes());
                    want.entry(key).or_default().push(position);
                }
            }
            prop_assert_eq!(pages_of(builder), want);
        }

        /// And none but those that are there: not the beginning of one, nor one that begins with it.
        #[test]
        fn a_key_is_found_by_itself_as_among_all(keys in prop::collection::btree_set("[a-c]{0,12}", 1..80)) {
            let mut builder = TagBuilder::default();
            for (position, value) in keys.iter().enumerate() {
                builder.add(0, Some(0), value.as_bytes(), position as u32);
            }
            let others = keys.iter().flat_map(|key| [format!("{key}b"), key[..key.len() / 2].to_owned()]);
            let wanted: Vec<String> = keys.iter().cloned().chain(others).collect();
            for (page, _) in builder.into_pages() {
                for value in &wanted {
                    let key = [&key_prefix(0, Some(0))[..], value.as_bytes()].concat();
                    let mut among_all = None;
                    let visited = visit_page(&page, |found, positions| {
                        if found == key {
                            among_all = Some(positions.to_vec());
                        }
                        Ok(true)
                    });
                    prop_assert!(visited.is_ok());
                    let found = find_in_page(&page, &key).expect("it reads back");
                    prop_assert_eq!(found.map(<[u8]>::to_vec), among_all, "{}", value);
                }
            }
        }
    }

    #[test]
    fn ascending_values_of_one_series_each_take_few_bytes() {
        let mut builder = TagBuilder::default();
        for position in 0..100_000u32 {
            builder.add(0, Some(0), format!("host_{position:07}").as_bytes(), position);
        }
        assert!(builder.memory_bytes() < 4_000_000, "{} bytes", builder.memory_bytes());
        assert_eq!(pages_of(builder).len(), 100_000);
    }
}
