//! A key without escapes → its canonical form: tags in the order of their names, none twice.
//!
//! A sender's keys have the same tag names in the same order, line after line: what was found out about them holds for
//! every key in which the same names stand in the same places.

use super::Options;
use super::fast::{KEY_BYTES_PLAIN, NamePattern};

/// Pieces up to this length are copied as one vector.
const PIECE: usize = 32;

/// How a key was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelled {
    Canonical,
    /// Its tags are in another order: its canonical form is [`Canonical::key`].
    Otherwise,
}

/// Buffers, and what the last key was like.
#[derive(Debug, Default)]
pub(super) struct Canonical {
    tags: Vec<Tag>,
    /// The canonical key is the first `length` bytes.
    buffer: Vec<u8>,
    length: usize,
    /// The tag names of the last good key as sent, and the order they have in its canonical form; no order when that is
    /// as sent.
    names: Vec<NamePattern>,
    order: Vec<u32>,
}

/// Where the name of a tag stands in the body, and the equals sign after it.
#[derive(Debug, Clone, Copy)]
struct Tag {
    start: u32,
    equals: u32,
}

impl Canonical {
    /// The canonical form of the last key that was [`Spelled::Otherwise`].
    #[inline]
    pub fn key(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    /// Reads a key; `positions` are those of its commas and equals signs, then of the blank after it. `None` when anything
    /// about it is unusual.
    #[inline]
    pub fn read(&mut self, body: &[u8], at: usize, positions: &[u32], options: &Options) -> Option<Spelled> {
        let (&end, marks) = positions.split_last()?;
        let name_end = positions[0] as usize;
        if name_end == at
            || end as usize - at > KEY_BYTES_PLAIN
            || options.validate_keys
            || matches!(body[at], b'\t' | 0 | b'#')
            || marks.len() % 2 != 0
        {
            return None;
        }
        if !self.is_like_the_last(body, positions) {
            self.learn(body, positions)?;
        }
        if self.order.is_empty() {
            return Some(Spelled::Canonical);
        }
        let bytes = end as usize - at + PIECE;
        if self.buffer.len() < bytes {
            self.buffer.resize(2 * bytes, 0);
        }
        self.length = 0;
        self.put(body, at, name_end);
        for nth in 0..self.order.len() {
            // A tag with the comma before it.
            let tag = 2 * self.order[nth] as usize;
            self.put(body, positions[tag] as usize, positions[tag + 2] as usize);
        }
        Some(Spelled::Otherwise)
    }

    /// The names of the tags, none of them escaped, are those of the last key, and each tag has a value.
    #[inline]
    fn is_like_the_last(&self, body: &[u8], positions: &[u32]) -> bool {
        positions.len() == 2 * self.names.len() + 1
            && positions.windows(3).step_by(2).zip(&self.names).all(|(marks, name)| {
                let (comma, equals, end) = (marks[0], marks[1], marks[2]);
                comma + name.length == equals
                    && body[comma as usize] == b','
                    && equals + 1 < end
                    && name.matches(body, comma as usize + 1)
            })
    }

    /// Reads the tags of a key of another kind than the last.
    fn learn(&mut self, body: &[u8], positions: &[u32]) -> Option<()> {
        self.tags.clear();
        self.names.clear();
        self.order.clear();
        let mut is_ascending = true;
        let mut last_key: &[u8] = b"";
        for marks in positions.windows(3).step_by(2) {
            let (comma, equals, end) = (marks[0] as usize, marks[1] as usize, marks[2] as usize);
            let tag_key = &body[comma + 1..equals];
            let is_tag = body[comma] == b',' && body[equals] == b'=' && equals + 1 < end;
            if !is_tag || tag_key.is_empty() || tag_key == b"time" {
                return None;
            }
            is_ascending &= tag_key > last_key;
            last_key = tag_key;
            self.tags.push(Tag { start: marks[0] + 1, equals: marks[1] });
        }
        let tags = &self.tags;
        let key_of = |at: u32| {
            let tag = &tags[at as usize];
            &body[tag.start as usize..tag.equals as usize]
        };
        if !is_ascending {
            self.order.extend(0..tags.len() as u32);
            self.order.sort_unstable_by(|a, b| key_of(*a).cmp(key_of(*b)));
            if self.order.windows(2).any(|pair| key_of(pair[0]) == key_of(pair[1])) {
                self.order.clear();
                return None;
            }
        }
        self.names.extend((0..tags.len() as u32).map(|at| NamePattern::new(key_of(at))));
        Some(())
    }

    /// Appends `body[from..to]` to the key.
    #[inline]
    fn put(&mut self, body: &[u8], from: usize, to: usize) {
        let (at, length) = (self.length, to - from);
        self.length += length;
        if length <= PIECE
            && let Some(piece) = body.get(from..from + PIECE)
        {
            // What is copied beyond is written over by the next piece, or lies beyond the key.
            self.buffer[at..at + PIECE].copy_from_slice(piece);
        } else {
            self.buffer[at..at + length].copy_from_slice(&body[from..to]);
        }
    }
}
