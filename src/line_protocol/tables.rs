//! The distinct series and shapes of the bodies read so far, numbered in order of appearance.
//!
//! A series is found by the bytes of its key as sent: those are what the next line repeats, and the next body. Keys that
//! are canonical as sent stand once in an arena; the others have their canonical form there too, and share the number of
//! every other spelling of it. When a body begins and too much is remembered, all is forgotten.

use hashbrown::HashTable;
use tidemark_engine::model::{FieldType, series_key};

use super::recurrence::Recurrence;

/// Measurement and fields of a row, in order: one per distinct combination.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Number in these tables, from 0.
    pub id: u32,
    /// Name, unescaped.
    pub measurement: Vec<u8>,
    pub(super) measurement_id: u32,
    /// The bytes that tell it from other shapes; see [`Tables::shape_with`].
    pub(super) signature: Vec<u8>,
    /// Type and unescaped name of each field.
    pub fields: Vec<(FieldType, Vec<u8>)>,
    /// How the fast path recognises it; `None` when a name needs escapes.
    pub(super) pattern: Option<super::fast::Pattern>,
}

impl Shape {
    /// Types and names of the fields, as a batch wants them.
    pub fn field_refs(&self) -> impl ExactSizeIterator<Item = (FieldType, &[u8])> {
        self.fields.iter().map(|(field_type, name)| (*field_type, name.as_slice()))
    }
}

/// A stretch of the arena.
#[derive(Debug, Clone, Copy)]
struct Span {
    at: u32,
    length: u32,
}

/// One spelling of a series key.
#[derive(Debug, Clone, Copy)]
struct Spelling {
    hash: u64,
    raw: Span,
    series: u32,
    /// See [`Tables::may_be_guessed`].
    may_be_guessed: bool,
}

/// A series met.
#[derive(Debug, Clone, Copy)]
pub(super) struct Series {
    /// Placement hash.
    pub hash: u64,
    key: Span,
    pub measurement_id: u32,
}

/// What usually follows: lines of one sender repeat their order.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Habit {
    /// The spelling that came after this one, plus 1; 0 when none did yet.
    pub next: u32,
    /// The shape it last had, plus 1; 0 when none is known.
    pub shape: u32,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Tables {
    spellings: Vec<Spelling>,
    pub habits: Vec<Habit>,
    by_raw: HashTable<u32>,
    series: Vec<Series>,
    arena: Vec<u8>,
    measurements: Vec<Vec<u8>>,
    by_measurement: HashTable<u32>,
    shapes: Vec<Shape>,
    by_shape: HashTable<u32>,
    /// Lines whose key was remembered, and not, since all was forgotten last.
    known: u32,
    new: u32,
    /// While series are read without being remembered: whether they come again.
    passing: Option<Recurrence>,
}

/// A body begins with empty tables when they hold more than this: a sender of some ten thousand series finds all of them
/// again, one that never repeats itself costs no more memory than its largest body.
const KEPT_BYTES_MAX: usize = 4 << 20;
/// When less than one line in so many was of a remembered series until all had to be forgotten, series pass by.
pub(super) const KNOWN_PART_MIN: u32 = 4;
/// As [`KEPT_BYTES_MAX`], of shapes.
const KEPT_SHAPES_MAX: usize = 1_024;

impl Tables {
    /// Begins a body. When all is forgotten, numbers begin from 0 again.
    pub fn begin_body(&mut self) {
        let bytes = self.bytes();
        if self.passing.as_mut().is_some_and(Recurrence::is_found) {
            self.passing = None;
        }
        if bytes > KEPT_BYTES_MAX {
            if self.known < self.new / KNOWN_PART_MIN {
                self.let_series_pass();
            }
            (self.known, self.new) = (0, 0);
        }
        if bytes > 4 * KEPT_BYTES_MAX {
            // What was taken for one huge body is given back with it.
            *self = Self { passing: self.passing.take(), ..Self::default() };
        } else if bytes > KEPT_BYTES_MAX || self.shapes.len() > KEPT_SHAPES_MAX {
            self.spellings.clear();
            self.habits.clear();
            self.by_raw.clear();
            self.series.clear();
            self.arena.clear();
            self.measurements.clear();
            self.by_measurement.clear();
            self.shapes.clear();
            self.by_shape.clear();
        }
    }

    /// Remembers no series of the next bodies, until enough of them come again.
    pub fn let_series_pass(&mut self) {
        self.passing = Some(Recurrence::default());
    }

    /// Whether series are not to be remembered.
    #[inline]
    pub fn are_passing(&self) -> bool {
        self.passing.is_some()
    }

    /// Notes a line of a series that passed by, by its placement hash.
    #[inline]
    pub fn note_passed(&mut self, hash: u64) {
        if let Some(recurrence) = &mut self.passing {
            recurrence.note(hash);
        }
    }

    #[inline]
    pub fn note_known(&mut self) {
        self.known = self.known.wrapping_add(1);
    }

    #[inline]
    pub fn note_new(&mut self) {
        self.new = self.new.wrapping_add(1);
    }

    /// Memory of what is remembered, about, without the shapes.
    fn bytes(&self) -> usize {
        self.arena.len()
            + self.spellings.len() * (size_of::<Spelling>() + size_of::<Habit>() + size_of::<Series>() + 8)
            + self.measurements.iter().map(|name| name.len() + 32).sum::<usize>()
    }

    #[inline]
    fn span(&self, span: Span) -> &[u8] {
        &self.arena[span.at as usize..span.at as usize + span.length as usize]
    }

    fn store(&mut self, bytes: &[u8]) -> Span {
        let span = Span { at: self.arena.len() as u32, length: bytes.len() as u32 };
        self.arena.extend_from_slice(bytes);
        span
    }

    /// The key of a spelling as sent.
    #[inline]
    pub fn raw(&self, spelling: u32) -> &[u8] {
        self.span(self.spellings[spelling as usize].raw)
    }

    /// A line that begins with these very bytes and a blank has this key, wherever it ends. Not so with two backslashes
    /// in a row: the end of a line and the end of a key read those differently.
    #[inline]
    pub fn may_be_guessed(&self, spelling: u32) -> bool {
        self.spellings[spelling as usize].may_be_guessed
    }

    #[inline]
    pub fn series_of(&self, spelling: u32) -> u32 {
        self.spellings[spelling as usize].series
    }

    #[inline]
    pub fn series(&self, series: u32) -> &Series {
        &self.series[series as usize]
    }

    /// The canonical key of a series.
    #[inline]
    pub fn key(&self, series: u32) -> &[u8] {
        self.span(self.series[series as usize].key)
    }

    #[inline]
    pub fn shape(&self, shape: u32) -> &Shape {
        &self.shapes[shape as usize]
    }

    /// The spelling with these raw bytes, whose hash is `hash`.
    #[inline]
    pub fn find(&self, hash: u64, raw: &[u8]) -> Option<u32> {
        self.by_raw
            .find(hash, |&at| {
                let spelling = &self.spellings[at as usize];
                spelling.hash == hash && self.span(spelling.raw) == raw
            })
            .copied()
    }

    /// Adds a series whose key is canonical as sent.
    pub fn add_canonical(&mut self, raw: &[u8], hash: u64, measurement: &[u8]) -> u32 {
        let span = self.store(raw);
        let measurement_id = self.measurement_id(measurement);
        self.series.push(Series { hash, key: span, measurement_id });
        self.add_spelling(hash, span, self.series.len() as u32 - 1)
    }

    /// Adds the spelling `raw` of the series with the canonical key `key`, and the series if it is new.
    pub fn add_other(&mut self, raw: &[u8], hash: u64, key: &[u8], measurement: &[u8]) -> u32 {
        let key_hash = series_key::hash(key);
        let series = match self.find(key_hash, key) {
            Some(spelling) => self.series_of(spelling),
            None => {
                let spelling = self.add_canonical(key, key_hash, measurement);
                self.series_of(spelling)
            }
        };
        let span = self.store(raw);
        self.add_spelling(hash, span, series)
    }

    fn add_spelling(&mut self, hash: u64, raw: Span, series: u32) -> u32 {
        let at = self.spellings.len() as u32;
        let may_be_guessed = may_be_guessed(self.span(raw));
        self.spellings.push(Spelling { hash, raw, series, may_be_guessed });
        self.habits.push(Habit::default());
        let spellings = &self.spellings;
        self.by_raw.insert_unique(hash, at, |&at| spellings[at as usize].hash);
        at
    }

    pub fn measurement_id(&mut self, name: &[u8]) -> u32 {
        let hash = series_key::hash(name);
        if let Some(&at) = self.by_measurement.find(hash, |&at| self.measurements[at as usize] == name) {
            return at;
        }
        let at = self.measurements.len() as u32;
        self.measurements.push(name.to_vec());
        let measurements = &self.measurements;
        self.by_measurement.insert_unique(hash, at, |&at| series_key::hash(&measurements[at as usize]));
        at
    }

    /// The shape with this signature (see [`start_signature`]), made when new; its `id` is set here.
    pub fn shape_with(&mut self, signature: &[u8], make: impl FnOnce() -> Shape) -> u32 {
        let hash = series_key::hash(signature);
        if let Some(&at) = self.by_shape.find(hash, |&at| self.shapes[at as usize].signature == signature) {
            return at;
        }
        let id = self.shapes.len() as u32;
        self.shapes.push(Shape { id, signature: signature.to_vec(), ..make() });
        let shapes = &self.shapes;
        self.by_shape.insert_unique(hash, id, |&at| series_key::hash(&shapes[at as usize].signature));
        id
    }
}

fn may_be_guessed(raw: &[u8]) -> bool {
    let mut backslashes = memchr::memchr_iter(b'\\', raw);
    backslashes.all(|at| raw.get(at + 1) != Some(&b'\\'))
}

/// The bytes that tell two shapes apart: measurement first.
pub(super) fn start_signature(out: &mut Vec<u8>, measurement_id: u32) {
    out.extend_from_slice(&measurement_id.to_le_bytes());
}

/// One more field of a signature.
pub(super) fn extend_signature(out: &mut Vec<u8>, field_type: FieldType, name: &[u8]) {
    out.push(field_type as u8);
    out.extend_from_slice(&(name.len() as u32).to_le_bytes());
    out.extend_from_slice(name);
}
