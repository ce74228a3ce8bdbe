//! The active series of one shard: key → position, the sorted order of the keys, and the shapes of their rows.
//!
//! A position is handed out in order of arrival and stays for the life of the index object; keys are never removed. When
//! most series have gone quiet the shard starts a new object with those that are left (a reader keeps its old one).
//!
//! Memory per series: 16 B (where the key stands, its hash) + 10 to 20 B (hash table) + 4 B (sorted order) + the key.

use std::cell::RefCell;
use std::rc::Rc;

use hashbrown::HashMap;

use super::slots::Slots;
use crate::limits::SORT_RUN_MAX;
use crate::model::{Batch, Field, FieldType, SeriesTable, ShapeRef};
use crate::pace::Pace;
use crate::prefetch::prefetch;

/// A series of one [`ActiveIndex`].
pub type SeriesPosition = u32;
/// A shape of one [`ActiveIndex`].
pub type ShapePosition = u32;

/// No series has it.
pub const NO_POSITION: SeriesPosition = u32::MAX;
/// As many misses as a core can wait for at once, and some.
const LOOKED_UP_TOGETHER: usize = 24;

/// A series that is looked up: where its key stands, and the first position with its hash.
#[derive(Debug, Clone, Copy, Default)]
struct Wanted {
    hash: u64,
    start: usize,
    end: usize,
    likely: Option<SeriesPosition>,
}

/// Bytes of a page of keys. A key longer than this has a page of its own.
const KEY_PAGE_BYTES: usize = 32 << 10;

/// A measurement and the fields of its rows, in the order of their values.
#[derive(Debug)]
pub struct Shape {
    pub measurement: Vec<u8>,
    pub fields: Vec<Field>,
}

/// One per shard that takes writes; ends when the shard goes cold.
#[derive(Debug, Default)]
pub struct ActiveIndex {
    slots: Slots,
    entries: Vec<Entry>,
    pages: Vec<Vec<u8>>,
    key_bytes: u64,
    /// All positions below `sorted.len()`, in the order of their keys.
    sorted: Rc<Vec<SeriesPosition>>,
    shapes: Vec<Rc<Shape>>,
    shape_positions: HashMap<Vec<u8>, ShapePosition>,
    shape_bytes: u64,
    /// Bits by position: those that were met with rows since the last delete.
    series_met: Vec<u64>,
    shapes_met: Vec<u64>,
}

/// Sets a bit; whether it was not set before.
fn set_bit(words: &mut Vec<u64>, at: u32) -> bool {
    let (word, bit) = (at as usize / 64, 1 << (at % 64));
    if words.len() <= word {
        words.resize(word + 1, 0);
    }
    let is_new = words[word] & bit == 0;
    words[word] |= bit;
    is_new
}

/// Whether a key is `beginning` (`None`: it is none) and then `end`.
#[inline]
fn is_key(key: &[u8], beginning: Option<&[u8]>, end: &[u8]) -> bool {
    beginning.is_some_and(|beginning| key.strip_prefix(beginning).is_some_and(|rest| rest == end))
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u64,
    page: u32,
    /// Offset in the page (below 2^15) in the upper bits, length (at most 2^17) in the lower 17.
    place: u32,
}

const LENGTH_BITS: u32 = 17;
/// Longest series key an index takes, in bytes. Line protocol allows 65,535.
pub const KEY_BYTES_MAX: usize = (1 << LENGTH_BITS) - 1;
const _: () = assert!(KEY_PAGE_BYTES <= 1 << (32 - LENGTH_BITS));

impl ActiveIndex {
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty index that will probably have so many series.
    pub fn expecting(series: usize) -> Self {
        Self { slots: Slots::expecting(series), ..Self::default() }
    }

    /// An empty index in which shapes keep their positions: for a shard most of whose series have gone quiet.
    pub fn successor(&self) -> Self {
        Self {
            shapes: self.shapes.clone(),
            shape_positions: self.shape_positions.clone(),
            shape_bytes: self.shape_bytes,
            ..Self::default()
        }
    }

    /// Number of series; positions are below it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Memory in use, in bytes.
    pub fn bytes(&self) -> u64 {
        (self.entries.capacity() * size_of::<Entry>() + self.sorted.capacity() * 4) as u64
            + self.slots.bytes()
            + self.key_bytes
            + self.shape_bytes
            + ((self.series_met.capacity() + self.shapes_met.capacity()) * 8) as u64
    }

    #[inline]
    pub fn key(&self, position: SeriesPosition) -> &[u8] {
        let entry = self.entries[position as usize];
        let start = (entry.place >> LENGTH_BITS) as usize;
        let length = (entry.place & KEY_BYTES_MAX as u32) as usize;
        &self.pages[entry.page as usize][start..start + length]
    }

    /// Asks for what [`key`](Self::key) reads first.
    #[inline]
    pub fn prefetch_entry(&self, position: SeriesPosition) {
        prefetch(&self.entries, position as usize);
    }

    /// Asks for the bytes of a key, whose entry was asked for before.
    #[inline]
    pub fn prefetch_key(&self, position: SeriesPosition) {
        if let Some(entry) = self.entries.get(position as usize) {
            self.prefetch_key_of(entry);
        }
    }

    #[inline]
    fn prefetch_key_of(&self, entry: &Entry) {
        let (page, start) = (&self.pages[entry.page as usize], (entry.place >> LENGTH_BITS) as usize);
        prefetch(page, start);
        prefetch(page, start + 64);
    }

    #[inline]
    pub fn hash(&self, position: SeriesPosition) -> u64 {
        self.entries[position as usize].hash
    }

    #[inline]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<SeriesPosition> {
        self.slots.find(hash, |at| self.is(at, hash, key))
    }

    #[inline]
    fn is(&self, position: SeriesPosition, hash: u64, key: &[u8]) -> bool {
        self.entries[position as usize].hash == hash && self.key(position) == key
    }

    /// The positions of a batch's series, made when they are new; [`NO_POSITION`] of a key longer than [`KEY_BYTES_MAX`].
    ///
    /// A sender repeats the order of its series: the next one mostly has the next position, and is compared where it
    /// stands. Others are looked up in groups, so that what is not in the processor's caches is waited for once per group.
    pub fn positions_of(&mut self, batch: &Batch) -> Vec<SeriesPosition> {
        let mut found = Vec::with_capacity(batch.series_count());
        let mut table = batch.series();
        // The key before, then those of a group.
        let mut keys: Vec<u8> = Vec::new();
        loop {
            let last = self.take_recurring(&mut table, &mut found).map(|position| self.key(position));
            if let Some(last) = last {
                keys.clear();
                keys.extend_from_slice(last);
            }
            if !self.take_group(&mut table, &mut keys, &mut found) {
                return found;
            }
        }
    }

    /// Takes series from the table as long as each has the position after the one before; the last of them, if any.
    #[inline]
    fn take_recurring(
        &self,
        table: &mut SeriesTable<'_>,
        found: &mut Vec<SeriesPosition>,
    ) -> Option<SeriesPosition> {
        let mut before = found.last().copied().filter(|position| *position != NO_POSITION)?;
        let mut key_before = self.key(before);
        let mut last = None;
        while let Some(entry) = self.entries.get(before as usize + 1) {
            let mut rest = table.clone();
            let Some((hash, shared, end)) = rest.take() else { break };
            let key = self.key(before + 1);
            if entry.hash != hash || !is_key(key, key_before.get(..shared), end) {
                break;
            }
            *table = rest;
            (before, key_before) = (before + 1, key);
            found.push(before);
            last = Some(before);
        }
        last
    }

    /// Takes a group of series from the table, the key of the one before standing in `keys`, that of the last one
    /// afterwards; false when there is none left.
    fn take_group(
        &mut self,
        table: &mut SeriesTable<'_>,
        keys: &mut Vec<u8>,
        found: &mut Vec<SeriesPosition>,
    ) -> bool {
        let mut group = [Wanted::default(); LOOKED_UP_TOGETHER];
        let (mut count, mut before) = (0, 0);
        while count < LOOKED_UP_TOGETHER {
            let start = keys.len();
            let Some(hash) = table.next_into(keys, before) else { break };
            before = start;
            self.slots.prefetch(hash);
            group[count] = Wanted { hash, start, end: keys.len(), likely: None };
            count += 1;
        }
        let group = &mut group[..count];
        for wanted in group.iter_mut() {
            wanted.likely = self.slots.find(wanted.hash, |_| true);
            if let Some(likely) = wanted.likely {
                prefetch(&self.entries, likely as usize);
            }
        }
        for entry in group.iter().filter_map(|wanted| self.entries.get(wanted.likely? as usize)) {
            self.prefetch_key_of(entry);
        }
        for wanted in group.iter() {
            let key = &keys[wanted.start..wanted.end];
            let position = match wanted.likely {
                Some(likely) if self.is(likely, wanted.hash, key) => Some(likely),
                _ => self.position(wanted.hash, key),
            };
            found.push(position.unwrap_or(NO_POSITION));
        }
        keys.drain(..before);
        !group.is_empty()
    }

    /// The position of a series, made when it is new. `None` for a key longer than [`KEY_BYTES_MAX`].
    #[inline]
    pub fn position(&mut self, hash: u64, key: &[u8]) -> Option<SeriesPosition> {
        if let Some(position) = self.find(hash, key) {
            return Some(position);
        }
        self.insert(hash, key)
    }

    fn insert(&mut self, hash: u64, key: &[u8]) -> Option<SeriesPosition> {
        if key.len() > KEY_BYTES_MAX {
            return None;
        }
        let position = u32::try_from(self.entries.len()).ok().filter(|at| *at < NO_POSITION - 1)?;
        let has_room = self.pages.last().is_some_and(|page| page.len() + key.len() <= page.capacity());
        if !has_room {
            // Small shards stay small: the first pages are short, later ones full size.
            let page = KEY_PAGE_BYTES.min(1024 << self.pages.len().min(5)).max(key.len());
            self.pages.push(Vec::with_capacity(page));
            self.key_bytes += page as u64;
        }
        let page_at = self.pages.len() - 1;
        let page = &mut self.pages[page_at];
        let start = page.len() as u32;
        page.extend_from_slice(key);
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve(self.slots.to_come().max(1));
        }
        self.entries.push(Entry {
            hash,
            page: page_at as u32,
            place: start << LENGTH_BITS | key.len() as u32,
        });
        let entries = &self.entries;
        self.slots.insert(hash, position, |at| entries[at as usize].hash);
        Some(position)
    }

    /// Notes that a series has rows; whether it may have had none before.
    pub fn meet_series(&mut self, position: SeriesPosition) -> bool {
        set_bit(&mut self.series_met, position)
    }

    /// As [`meet_series`](Self::meet_series), of a shape.
    pub fn meet_shape(&mut self, position: ShapePosition) -> bool {
        set_bit(&mut self.shapes_met, position)
    }

    /// Any series and shape may be without rows now.
    pub fn forget_met(&mut self) {
        self.series_met.fill(0);
        self.shapes_met.fill(0);
    }

    pub fn shape(&self, position: ShapePosition) -> &Rc<Shape> {
        &self.shapes[position as usize]
    }

    pub fn shapes(&self) -> &[Rc<Shape>] {
        &self.shapes
    }

    /// The position of a shape, made when it is new.
    pub fn shape_position(&mut self, shape: ShapeRef<'_>) -> ShapePosition {
        let key = shape_key(shape);
        if let Some(&position) = self.shape_positions.get(&key) {
            return position;
        }
        let position = self.shapes.len() as ShapePosition;
        self.shapes.push(Rc::new(Shape {
            measurement: shape.measurement().to_vec(),
            fields: shape
                .fields()
                .map(|(field_type, name)| Field { name: name.to_vec(), field_type })
                .collect(),
        }));
        self.shape_bytes += 2 * key.len() as u64 + 48 * shape.field_count() as u64 + 128;
        self.shape_positions.insert(key, position);
        position
    }

    /// The fields of a measurement's shapes that pass, with their types, sorted, each once.
    pub fn fields_of(
        &self,
        measurement: &[u8],
        passes: impl Fn(ShapePosition) -> bool,
    ) -> Vec<(Vec<u8>, FieldType)> {
        let mut fields: Vec<_> = self
            .shapes
            .iter()
            .enumerate()
            .filter(|(at, shape)| shape.measurement == measurement && passes(*at as ShapePosition))
            .flat_map(|(_, shape)| shape.fields.iter().map(|field| (field.name.clone(), field.field_type)))
            .collect();
        fields.sort();
        fields.dedup();
        fields
    }

    /// Sorts positions whose keys all begin with the same `depth` bytes: eight bytes of each key are compared as one
    /// number, and only keys equal in them are looked at again.
    fn sort_by_key(&self, positions: &mut [SeriesPosition], depth: usize) {
        let Some(&first) = positions.first() else { return };
        if positions.len() == 1 {
            return;
        }
        let mut depth = depth;
        let first_key = self.key(first);
        let mut common = first_key.len();
        for &at in positions[1..].iter() {
            let key = self.key(at);
            common = common_prefix(&first_key[..common], key);
        }
        depth = depth.max(common);
        let mut cached: Vec<(u64, SeriesPosition)> =
            positions.iter().map(|&at| (eight_bytes(self.key(at), depth), at)).collect();
        cached.sort_unstable();
        for (slot, &(_, at)) in positions.iter_mut().zip(&cached) {
            *slot = at;
        }
        let mut start = 0;
        while start < cached.len() {
            let mut end = start + 1;
            while end < cached.len() && cached[end].0 == cached[start].0 {
                end += 1;
            }
            if end - start > 1 {
                // Padding with zeros may have made unequal keys equal; where a key ends here they are compared whole.
                let one_ends = positions[start..end].iter().any(|&at| self.key(at).len() <= depth + 8);
                if one_ends || end - start <= 8 {
                    positions[start..end].sort_unstable_by(|&a, &b| self.key(a).cmp(self.key(b)));
                } else {
                    self.sort_by_key(&mut positions[start..end], depth);
                }
            }
            start = end;
        }
    }
}

/// All positions of the index in the order of their keys, at the moment of the call. Newcomers since the last call are
/// sorted in runs and merged in, giving way to other work in between.
pub async fn sorted_positions(index: &RefCell<ActiveIndex>, pace: &Pace) -> Rc<Vec<SeriesPosition>> {
    let (sorted, count) = {
        let index = index.borrow();
        (index.sorted.clone(), index.len())
    };
    if sorted.len() == count {
        return sorted;
    }
    let newcomers: Vec<SeriesPosition> = (sorted.len() as u32..count as u32).collect();
    let mut runs: Vec<Vec<SeriesPosition>> = Vec::new();
    for run in newcomers.chunks(SORT_RUN_MAX) {
        let mut run = run.to_vec();
        index.borrow().sort_by_key(&mut run, 0);
        pace.spent(64 * run.len() as u64).await;
        runs.push(run);
    }
    // Pairwise, so that each position moves as often as the logarithm of the runs.
    while runs.len() > 1 {
        let mut merged = Vec::with_capacity(runs.len().div_ceil(2));
        let mut pairs = runs.into_iter();
        while let Some(left) = pairs.next() {
            merged.push(match pairs.next() {
                Some(right) => merge_positions(index, &left, &right, pace).await,
                None => left,
            });
        }
        runs = merged;
    }
    let newcomers = runs.pop().unwrap_or_default();
    let all =
        if sorted.is_empty() { newcomers } else { merge_positions(index, &sorted, &newcomers, pace).await };
    let all = Rc::new(all);
    let mut index = index.borrow_mut();
    if index.sorted.len() < all.len() {
        index.sorted = all.clone();
    }
    all
}

async fn merge_positions(
    index: &RefCell<ActiveIndex>,
    left: &[SeriesPosition],
    right: &[SeriesPosition],
    pace: &Pace,
) -> Vec<SeriesPosition> {
    let mut out = Vec::with_capacity(left.len() + right.len());
    let (mut l, mut r) = (0, 0);
    while l < left.len() && r < right.len() {
        {
            let index = index.borrow();
            let until = out.len() + SORT_RUN_MAX;
            while l < left.len() && r < right.len() && out.len() < until {
                if index.key(left[l]) < index.key(right[r]) {
                    out.push(left[l]);
                    l += 1;
                } else {
                    out.push(right[r]);
                    r += 1;
                }
            }
        }
        pace.spent(64 * SORT_RUN_MAX as u64).await;
    }
    out.extend_from_slice(&left[l..]);
    out.extend_from_slice(&right[r..]);
    out
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The eight bytes from `at` as a number that sorts as they do; zeros behind the end.
#[inline]
fn eight_bytes(key: &[u8], at: usize) -> u64 {
    let rest = key.get(at..).unwrap_or_default();
    let mut bytes = [0; 8];
    let length = rest.len().min(8);
    bytes[..length].copy_from_slice(&rest[..length]);
    u64::from_be_bytes(bytes)
}

/// A shape's bytes for the map: names with their lengths, so that no two shapes share them.
fn shape_key(shape: ShapeRef<'_>) -> Vec<u8> {
    let mut key = Vec::with_capacity(16 + 16 * shape.field_count());
    let measurement = shape.measurement();
    key.extend_from_slice(&(measurement.len() as u16).to_le_bytes());
    key.extend_from_slice(measurement);
    for (field_type, name) in shape.fields() {
        key.push(field_type as u8);
        key.extend_from_slice(&(name.len() as u16).to_le_bytes());
        key.extend_from_slice(name);
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BatchBuilder, series_key};
    use proptest::prelude::*;

    #[test]
    fn a_position_is_found_again_by_its_key_and_only_by_it() {
        let mut index = ActiveIndex::new();
        for n in 0..10_000u32 {
            let key = format!("cpu,host=h{n}");
            assert_eq!(index.position(series_key::hash(key.as_bytes()), key.as_bytes()), Some(n));
        }
        // A key with another one's hash is another series.
        let hash = series_key::hash(b"cpu,host=h7");
        assert_eq!(index.find(hash, b"cpu,host=h7"), Some(7));
        assert_eq!(index.find(hash, b"cpu,host=h8"), None);
        assert_eq!(index.position(hash, b"cpu,host=h7"), Some(7));
        assert_eq!(index.key(4321), b"cpu,host=h4321");
        assert_eq!(index.position(1, &vec![b'x'; KEY_BYTES_MAX + 1]), None);
        let long = vec![b'x'; KEY_BYTES_MAX];
        let position = index.position(1, &long).expect("fits");
        assert_eq!(index.key(position), long);
    }

    #[test]
    fn a_million_active_series_take_less_than_150_mb() {
        let mut index = ActiveIndex::new();
        for n in 0..1_000_000u32 {
            let key = format!("cpu,host=host_{n},region=eu-central-1,rack=12,service=3,team=LON");
            index.position(series_key::hash(key.as_bytes()), key.as_bytes());
        }
        let per_series = index.bytes() as f64 / 1e6;
        assert!(per_series < 150.0, "{per_series} B per series");
    }

    proptest! {
        /// Whatever the order of the series in a batch: that of the first one, parts of it, or another with newcomers.
        #[test]
        fn series_of_a_batch_are_found_as_one_by_one(
            batches in prop::collection::vec(prop::collection::vec((0u32..200, 1u32..60), 1..6), 1..6),
        ) {
            let (mut together, mut one_by_one) = (ActiveIndex::new(), ActiveIndex::new());
            for runs in batches {
                let mut builder = BatchBuilder::new();
                let mut wanted = Vec::new();
                for series in runs.iter().flat_map(|&(first, count)| first..first + count) {
                    let key = format!("cpu,host=h{series:03}");
                    let hash = series_key::hash(key.as_bytes());
                    builder.add_series(hash, key.as_bytes());
                    wanted.push(one_by_one.position(hash, key.as_bytes()).expect("short"));
                }
                prop_assert_eq!(together.positions_of(&builder.finish(1, 1)), wanted);
            }
        }

        /// Positions come out in the order of their keys, however the newcomers arrive.
        #[test]
        fn sorted_positions_follow_the_keys(
            keys in prop::collection::vec("(cpu|disk)?,[a\0]{0,20}[a-c]{0,3}", 1..200),
            parts in 1usize..5,
        ) {
            let index = RefCell::new(ActiveIndex::new());
            let pace = Pace::new();
            for part in keys.chunks(keys.len().div_ceil(parts)) {
                for key in part {
                    index.borrow_mut().position(series_key::hash(key.as_bytes()), key.as_bytes());
                }
                let sorted = futures_lite::future::block_on(sorted_positions(&index, &pace));
                let index = index.borrow();
                prop_assert_eq!(sorted.len(), index.len());
                prop_assert!(sorted.windows(2).all(|pair| index.key(pair[0]) < index.key(pair[1])));
            }
        }
    }
}
