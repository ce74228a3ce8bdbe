//! What may be stored after a load was cut short: the judge of the kill, power and simulation tests.
//!
//! Each batch has a list of candidates: what its points may be now. An operation adds its outcome before it is sent;
//! when it is acknowledged, its outcome is the only candidate left. What is stored must be a candidate, point by point:
//! an acknowledged write is there, an acknowledged delete is done, an unanswered one may be either, and nothing else is.

pub mod random;

use std::collections::BTreeMap;

pub use random::Random;

/// What a batch's points may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    Absent,
    /// Values made from this number.
    Version(u64),
}

/// The batches of a load: each writer has series and times of its own.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub series: u64,
    /// Lines of a batch; the series take turns.
    pub lines: u64,
    pub line_ns: u64,
    pub start_ns: u64,
}

/// A change of one batch.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    pub writer: u64,
    pub number: u64,
    pub content: Content,
}

/// The fields of a stored point.
pub type Row = (i64, f64, String);

/// Everything stored: (series, time) → fields.
pub type Stored = BTreeMap<(u64, u64), Row>;

/// All a load knows. Lives as long as the database it writes.
pub struct Book {
    pub shape: Shape,
    /// Candidates by writer and number. No batch without an entry was ever sent.
    batches: BTreeMap<(u64, u64), Vec<Content>>,
}

/// The integer of a point: a function of all that identifies it, so that a wrong one shows.
fn integer(series: u64, time: u64, version: u64) -> i64 {
    let mixed = series.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ time.wrapping_mul(0xc2b2_ae3d_27d4_eb4f)
        ^ version.wrapping_mul(0x1656_67b1_9e37_79f9);
    (mixed as i64) >> 20
}

fn row(series: u64, time: u64, version: u64) -> Row {
    let v = integer(series, time, version);
    (v, v as f64 / 4.0, format!("{v:x}"))
}

impl Shape {
    /// Series and time of each line of a batch.
    fn points(self, writer: u64, number: u64) -> impl Iterator<Item = (u64, u64)> {
        let time = move |line| self.start_ns + (number * self.lines + line) * self.line_ns;
        (0..self.lines).map(move |line| (writer * self.series + line % self.series, time(line)))
    }

    /// The batch as line protocol.
    pub fn lines(self, writer: u64, number: u64, version: u64) -> String {
        let mut text = String::new();
        for (series, time) in self.points(writer, number) {
            let (v, f, s) = row(series, time, version);
            text.push_str(&format!("m,writer={writer},sid={series} v={v}i,f={f},s=\"{s}\" {time}\n"));
        }
        text
    }

    /// The statement that deletes a batch.
    pub fn delete(self, writer: u64, number: u64) -> String {
        let start = self.start_ns + number * self.lines * self.line_ns;
        let end = start + self.lines * self.line_ns;
        format!("DELETE FROM m WHERE writer = '{writer}' AND time >= {start} AND time < {end}")
    }
}

impl Book {
    pub fn new(shape: Shape) -> Self {
        Self { shape, batches: BTreeMap::new() }
    }

    /// The writer's next change: mostly a new batch, now and then an old one again, or `with_deletes` its removal.
    pub fn begin(&mut self, writer: u64, with_deletes: bool, random: &mut Random) -> Change {
        let known = self.batches.range((writer, 0)..(writer + 1, 0)).count() as u64;
        let (number, content) = match random.below(8) {
            0 if known > 0 && with_deletes => (random.below(known), Content::Absent),
            1 | 2 if known > 0 => (random.below(known), Content::Version(random.below(1 << 30))),
            _ => (known, Content::Version(0)),
        };
        self.batches.entry((writer, number)).or_insert_with(|| vec![Content::Absent]).push(content);
        Change { writer, number, content }
    }

    /// The change was acknowledged.
    pub fn acknowledge(&mut self, change: Change) {
        self.batches.insert((change.writer, change.number), vec![change.content]);
    }

    /// Batches whose content is certain.
    pub fn certain(&self) -> usize {
        self.batches.values().filter(|candidates| candidates.len() == 1).count()
    }

    /// What is wrong with what is stored, if anything is.
    pub fn judge(&self, mut stored: Stored) -> Result<(), String> {
        for (&(writer, number), candidates) in &self.batches {
            for (series, time) in self.shape.points(writer, number) {
                let found = stored.remove(&(series, time));
                let is_possible = candidates.iter().any(|candidate| match (candidate, &found) {
                    (Content::Absent, None) => true,
                    (Content::Version(version), Some(found)) => *found == row(series, time, *version),
                    _ => false,
                });
                if !is_possible {
                    return Err(format!(
                        "batch {number} of writer {writer}, series {series}, time {time}: {found:?} is stored, but \
                         {candidates:?} may be"
                    ));
                }
            }
        }
        stored.first_key_value().map_or(Ok(()), |point| Err(format!("never sent: {point:?}")))
    }
}
