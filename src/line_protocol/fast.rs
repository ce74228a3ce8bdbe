//! The lines that look like one seen before.
//!
//! A sender repeats itself: the same series in the same order, each with the same fields. So a line is guessed before
//! it is read:
//!
//! 1. the key is the one that followed the last line's key the time before: one comparison of bytes; else it is looked
//!    up by its hash; else, if its tags are plain and in order, it is a new series
//! 2. the shape is the one the series had last: one comparison per field name, and the type says how the value reads
//! 3. the digits of integers and timestamps are converted eight at a time, so that their number, which differs from value
//!    to value, decides no branch
//!
//! The rule that keeps this honest: a line is either read exactly as `line` would read it, or not at all. Whatever
//! could be an error, an escape, or merely unusual is [`Read::Unknown`], and costs one reading more.

use tidemark_engine::model::{FieldType, series_key};

use super::canonical::{Canonical, Spelled};
use super::number;
use super::structure::Structure;
use super::tables::Tables;
use super::{Flow, Options, Point, Scratch, Sink};

/// What became of a line.
pub(super) enum Read {
    /// The sink has it; the next line begins at `next`.
    Taken { next: usize },
    /// The sink paused.
    Paused,
    /// Not recognised: it must be read the plain way.
    Unknown,
}

/// Names no longer than this, with their `=`, are compared as one number.
const SHORT: usize = 16;
/// Keys and field names up to this length cannot together reach the limit of keys.
pub(super) const KEY_BYTES_PLAIN: usize = 32_768;
const NAME_BYTES_PLAIN: usize = 16_384;

/// How a shape is recognised in a line.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    fields: Vec<FieldPattern>,
}

#[derive(Debug, Clone)]
struct FieldPattern {
    field_type: FieldType,
    name: NamePattern,
}

/// How a name and the `=` after it are recognised: compared as one number.
#[derive(Debug, Clone)]
pub(super) struct NamePattern {
    /// Bytes of the name and its `=`.
    pub length: u32,
    /// The first bytes of that, and which of 16 count.
    head: u128,
    mask: u128,
    /// All of it, when it does not fit `head`.
    long: Option<Box<[u8]>>,
}

impl Pattern {
    /// `None` when a name would be escaped in a line, or is so long that limits matter.
    pub fn new(fields: &[(FieldType, Vec<u8>)]) -> Option<Self> {
        let is_plain = |name: &[u8]| {
            name.len() <= NAME_BYTES_PLAIN
                && !name.iter().any(|byte| matches!(byte, b',' | b'=' | b' ' | b'"' | b'\\' | b'\n'))
                && !matches!(name.first(), None | Some(b'\t' | 0))
        };
        let pattern = |(field_type, name): &(FieldType, Vec<u8>)| FieldPattern {
            field_type: *field_type,
            name: NamePattern::new(name),
        };
        fields
            .iter()
            .all(|(_, name)| is_plain(name))
            .then(|| Self { fields: fields.iter().map(pattern).collect() })
    }
}

impl NamePattern {
    pub fn new(name: &[u8]) -> Self {
        let mut text = name.to_vec();
        text.push(b'=');
        let used = text.len().min(SHORT);
        let mut head = [0; SHORT];
        head[..used].copy_from_slice(&text[..used]);
        let mut mask = [0; SHORT];
        mask[..used].fill(0xff);
        Self {
            length: text.len() as u32,
            head: u128::from_le_bytes(head),
            mask: u128::from_le_bytes(mask),
            long: (text.len() > SHORT).then(|| text.into_boxed_slice()),
        }
    }

    /// The name and its `=` stand at `at`.
    #[inline(always)]
    pub fn matches(&self, body: &[u8], at: usize) -> bool {
        let Some(head) = body.get(at..).and_then(|rest| rest.first_chunk::<SHORT>()) else { return false };
        (u128::from_le_bytes(*head) ^ self.head) & self.mask == 0
            && self.long.as_ref().is_none_or(|long| body[at..].starts_with(long))
    }
}

/// Buffers and memory of the fast path.
#[derive(Debug, Default)]
pub(super) struct Fast {
    pub structure: Structure,
    /// The values of the line being read; only the first bytes count.
    pub values: Vec<u8>,
    pub habits: Habits,
    pub canonical: Canonical,
}

/// What is remembered from line to line.
#[derive(Debug, Default)]
pub(super) struct Habits {
    /// The last line's spelling and shape, plus 1; 0 at the beginning.
    last_spelling: u32,
    pub last_shape: u32,
    /// By shape: the shape a series had after it, plus 1. For senders whose lines take turns.
    shape_after: Vec<u32>,
    /// By shape: that of the line after it, plus 1. Kept of lines that pass by.
    pub line_after: Vec<u32>,
}

impl Fast {
    pub fn begin_body(&mut self) {
        self.habits.last_spelling = 0;
        self.habits.last_shape = 0;
        self.habits.shape_after.clear();
        self.habits.line_after.clear();
    }

    /// Remembers a line for the guesses to come.
    pub fn learn(&mut self, tables: &mut Tables, spelling: u32, shape: u32) {
        if tables.are_passing() {
            self.habits.note_line(shape);
        }
        self.habits.learn(tables, spelling, shape);
    }
}

impl Habits {
    /// Notes the shape of a line that passes by.
    #[inline]
    pub fn note_line(&mut self, shape: u32) {
        if self.last_shape == shape + 1 {
            return;
        }
        if let Some(last) = self.last_shape.checked_sub(1) {
            let last = last as usize;
            if self.line_after.len() <= last {
                self.line_after.resize(last + 1, 0);
            }
            self.line_after[last] = shape + 1;
        }
        self.last_shape = shape + 1;
    }

    #[inline]
    fn learn(&mut self, tables: &mut Tables, spelling: u32, shape: u32) {
        if let Some(last) = self.last_spelling.checked_sub(1) {
            tables.habits[last as usize].next = spelling + 1;
        }
        let habit = &mut tables.habits[spelling as usize];
        if habit.shape != shape + 1 {
            if let Some(before) = habit.shape.checked_sub(1) {
                let before = before as usize;
                if self.shape_after.len() <= before {
                    self.shape_after.resize(before + 1, 0);
                }
                self.shape_after[before] = shape + 1;
            }
            habit.shape = shape + 1;
        }
        self.last_spelling = spelling + 1;
        self.last_shape = shape + 1;
    }
}

/// Reads the line at `at`, if it is one of the usual kind, and hands it to the sink.
#[inline]
pub(super) fn read_line<S: Sink>(
    body: &[u8],
    at: usize,
    line: u32,
    now: i64,
    options: &Options,
    scratch: &mut Scratch,
    sink: &mut S,
) -> Read {
    let Scratch { tables, fast: Fast { structure, values, habits, canonical }, .. } = scratch;
    let Some((spelling, fields_at)) = read_key(body, at, options, tables, structure, habits, canonical)
    else {
        return Read::Unknown;
    };
    let series = tables.series_of(spelling);
    let known = tables.series(series);
    let mut guess = tables.habits[spelling as usize].shape;
    if guess == 0 {
        // A new series: most likely the shape of its neighbour, if it is one of the same measurement.
        guess = habits.last_shape;
    }
    for _ in 0..2 {
        let Some(id) = guess.checked_sub(1) else { return Read::Unknown };
        let shape = tables.shape(id);
        if shape.measurement_id == known.measurement_id
            && let Some(pattern) = &shape.pattern
            && let Some(rest) = read_rest(body, fields_at, pattern, options, now, values)
        {
            let point = Point {
                line,
                series,
                hash: known.hash,
                key: tables.key(series),
                shape,
                timestamp: rest.timestamp,
                values: &values[..rest.values],
                text: &body[at..rest.end],
            };
            if sink.point(&point) == Flow::Pause {
                return Read::Paused;
            }
            habits.learn(tables, spelling, id);
            return Read::Taken { next: rest.end + 1 };
        }
        guess = habits.shape_after.get(id as usize).copied().unwrap_or(0);
    }
    Read::Unknown
}

/// The key's spelling, and where the fields begin.
#[inline]
fn read_key(
    body: &[u8],
    at: usize,
    options: &Options,
    tables: &mut Tables,
    structure: &mut Structure,
    habits: &Habits,
    canonical: &mut Canonical,
) -> Option<(u32, usize)> {
    if let Some(last) = habits.last_spelling.checked_sub(1)
        && let Some(guess) = tables.habits[last as usize].next.checked_sub(1)
        && tables.may_be_guessed(guess)
    {
        let raw = tables.raw(guess);
        let end = at + raw.len();
        if body.get(end) == Some(&b' ') && body[at..end] == *raw {
            tables.note_known();
            return Some((guess, end + 1));
        }
    }
    let positions = structure.find(body, at)?;
    let end = *positions.last()? as usize;
    let raw = &body[at..end];
    let hash = series_key::hash(raw);
    let spelling = match tables.find(hash, raw) {
        Some(spelling) => {
            tables.note_known();
            spelling
        }
        None => {
            tables.note_new();
            add_series(body, at, positions, hash, options, tables, canonical)?
        }
    };
    Some((spelling, end + 1))
}

/// Adds a series whose key has no escapes; `None` when anything about it is unusual. The last of `positions` is the blank
/// after the key.
fn add_series(
    body: &[u8],
    at: usize,
    positions: &[u32],
    hash: u64,
    options: &Options,
    tables: &mut Tables,
    canonical: &mut Canonical,
) -> Option<u32> {
    let (raw, name) = (&body[at..*positions.last()? as usize], &body[at..positions[0] as usize]);
    Some(match canonical.read(body, at, positions, options)? {
        Spelled::Canonical => tables.add_canonical(raw, hash, name),
        Spelled::Otherwise => tables.add_other(raw, hash, canonical.key(), name),
    })
}

/// What follows the key.
pub(super) struct Rest {
    pub timestamp: i64,
    /// Bytes of the values.
    pub values: usize,
    /// Where the newline stands.
    pub end: usize,
}

/// Reads fields of exactly this pattern and the timestamp. Where a name ends is known; where a value ends its digits
/// say, so that nothing is searched for.
#[inline]
pub(super) fn read_rest(
    body: &[u8],
    at: usize,
    pattern: &Pattern,
    options: &Options,
    now: i64,
    values: &mut Vec<u8>,
) -> Option<Rest> {
    let mut at = at;
    let mut out = Output::new(values, pattern.fields.len());
    let mut delimiter = b',';
    for field in &pattern.fields {
        if delimiter != b',' || !field.name.matches(body, at) {
            return None;
        }
        at += field.name.length as usize;
        let end = match field.field_type {
            FieldType::Integer => {
                let (value, is_negative, end) = read_whole(body, at, b'i')?;
                // Zigzag of a size and a sign; there is one zero.
                out.put_varint(2 * value - u64::from(is_negative & (value > 0)));
                end
            }
            FieldType::Unsigned => {
                let (value, is_negative, end) = read_whole(body, at, b'u')?;
                if is_negative {
                    return None;
                }
                out.put_varint(value);
                end
            }
            FieldType::Float => {
                let (value, end) = number::read_plain_f64(body, at)?;
                out.put(&value.to_le_bytes());
                end
            }
            FieldType::Boolean => {
                let (value, end) = read_boolean(body, at)?;
                out.put(&[u8::from(value)]);
                end
            }
            FieldType::String => {
                if *body.get(at)? != b'"' {
                    return None;
                }
                let text = &body[at + 1..];
                let length = memchr::memchr2(b'"', b'\\', text)?;
                if text[length] != b'"' {
                    return None;
                }
                out.put_string(&text[..length]);
                at + length + 2
            }
        };
        delimiter = *body.get(end)?;
        at = end + 1;
    }
    let length = out.length;
    match delimiter {
        b'\n' => Some(Rest { timestamp: now, values: length, end: at - 1 }),
        b' ' => {
            let (units, end) = number::read_plain_u63(body, at)?;
            if *body.get(end)? != b'\n' {
                return None;
            }
            Some(Rest { timestamp: options.precision.timestamp(units)?, values: length, end })
        }
        _ => None,
    }
}

/// The whole number at `at` that ends with `letter`: its size, its sign, and where the byte after the letter stands.
#[inline(always)]
fn read_whole(body: &[u8], at: usize, letter: u8) -> Option<(u64, bool, usize)> {
    let is_negative = *body.get(at)? == b'-';
    let (value, end) = number::read_plain_u63(body, at + usize::from(is_negative))?;
    (*body.get(end)? == letter).then_some((value as u64, is_negative, end + 1))
}

/// The boolean at `at`, and where it ends.
#[inline]
fn read_boolean(body: &[u8], at: usize) -> Option<(bool, usize)> {
    let text = body.get(at..at + 6)?;
    let length = text.iter().position(|byte| matches!(byte, b',' | b' ' | b'\n'))?;
    match &text[..length] {
        b"t" | b"T" | b"true" | b"True" | b"TRUE" => Some((true, at + length)),
        b"f" | b"F" | b"false" | b"False" | b"FALSE" => Some((false, at + length)),
        _ => None,
    }
}

/// Encoded values, written into a buffer that is longer than they are: at every moment there is room for all numbers
/// still to come.
struct Output<'a> {
    bytes: &'a mut Vec<u8>,
    length: usize,
    fields: usize,
}

impl<'a> Output<'a> {
    #[inline]
    fn new(bytes: &'a mut Vec<u8>, fields: usize) -> Self {
        let mut out = Self { bytes, length: 0, fields };
        out.make_room(0);
        out
    }

    /// Room for `extra` bytes, and then all numbers.
    #[inline]
    fn make_room(&mut self, extra: usize) {
        // A varint has at most ten bytes; the widest single write has eight.
        let wanted = self.length + extra + 10 * self.fields + 8;
        if self.bytes.len() < wanted {
            self.bytes.resize(2 * wanted, 0);
        }
    }

    #[inline(always)]
    fn put<const N: usize>(&mut self, bytes: &[u8; N]) {
        self.bytes[self.length..self.length + N].copy_from_slice(bytes);
        self.length += N;
    }

    fn put_string(&mut self, text: &[u8]) {
        self.make_room(text.len() + 10);
        self.put_varint(text.len() as u64);
        self.bytes[self.length..self.length + text.len()].copy_from_slice(text);
        self.length += text.len();
    }

    /// LEB128. One and two bytes without a branch between them: gauges are small, but not equally small.
    #[inline(always)]
    fn put_varint(&mut self, value: u64) {
        if value < 1 << 14 {
            let v = value as u16;
            let more = u16::from(v >= 0x80);
            let spread = (v & 0x7f) | (v << 1 & 0x7f00) | more << 7;
            self.bytes[self.length..self.length + 2].copy_from_slice(&spread.to_le_bytes());
            self.length += 1 + usize::from(more);
        } else {
            self.put_long_varint(value);
        }
    }

    fn put_long_varint(&mut self, value: u64) {
        let mut rest = value;
        let mut at = self.length;
        while rest >= 0x80 {
            self.bytes[at] = rest as u8 | 0x80;
            rest >>= 7;
            at += 1;
        }
        self.bytes[at] = rest as u8;
        self.length = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tidemark_engine::model::varint::put_varint;

    proptest! {
        #[test]
        fn varints_are_those_of_the_batch(value: u64, shift in 0u32..64) {
            let (mut bytes, mut wanted) = (Vec::new(), Vec::new());
            let mut out = Output::new(&mut bytes, 1);
            out.put_varint(value >> shift);
            let length = out.length;
            put_varint(&mut wanted, value >> shift);
            prop_assert_eq!(&bytes[..length], wanted.as_slice());
        }
    }

    #[test]
    fn a_pattern_knows_its_own_names_only() {
        let names = [
            (FieldType::Float, b"abc".to_vec()),
            (FieldType::Float, b"a_name_of_more_than_sixteen".to_vec()),
        ];
        let pattern = Pattern::new(&names).expect("plain names");
        let check = |field: usize, text: &[u8], want: bool| {
            assert_eq!(
                pattern.fields[field].name.matches(text, 0),
                want,
                "{}",
                String::from_utf8_lossy(text)
            );
        };
        check(0, b"abc=1,more text after it", true);
        check(0, b"abd=1,more text after it", false);
        check(0, b"abcd=1,more text after it", false);
        check(0, b"ab=c=1,more text after it", false);
        check(1, b"a_name_of_more_than_sixteen=1", true);
        check(1, b"a_name_of_more_than_sixteem=1", false);
        assert!(Pattern::new(&[(FieldType::Float, b"a b".to_vec())]).is_none());
        assert!(Pattern::new(&[(FieldType::Float, b"\ta".to_vec())]).is_none());
    }
}
