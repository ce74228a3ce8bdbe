//! Line protocol: text to points with an error per line; values to text.
//!
//! A body goes through [`Parser`] line by line:
//!
//! 1. `fast` reads the lines that look like one seen before: a known series, a known shape, no escapes. It compares names,
//!    takes digits eight at a time, and finds the end of a key it has not met with SIMD (`structure`). Whatever it does not
//!    recognise at once it leaves, unread, to
//! 2. `line`, the plain scalar reading of one line. It defines what line protocol is here, and it alone makes errors.
//! 3. `passing` reads the lines of senders that never repeat a series, without remembering them, until `recurrence` tells
//!    that they come again.
//! 4. `tables` gives every distinct series and shape of the body a small number, so that a [`Sink`] keeps what it
//!    knows about them in plain vectors.
//!
//! What is NOT here: retention policies, shards, types already stored, any waiting. Bytes of names and strings
//! are not required to be UTF-8.

mod canonical;
mod fast;
pub mod format;
mod line;
mod number;
mod parse;
mod passing;
mod recurrence;
mod structure;
mod tables;

#[cfg(test)]
mod tests;

use std::fmt;

pub use parse::{Parser, Scratch, Step};
pub use tables::Shape;

use tidemark_engine::model::{TIME_MAX, TIME_MIN};

/// The longest series key, and the longest series key, separator and field key together, as in InfluxDB.
pub const KEY_BYTES_MAX: usize = 65_535;

/// Fields of one row. A line with more becomes several rows of one timestamp, which merge again when they are
/// read; the batch counts fields in a `u16`, and a shape should not outgrow a page.
pub const ROW_FIELDS_MAX: usize = 4_096;

/// The unit of timestamps in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    #[default]
    Nanosecond,
    Microsecond,
    Millisecond,
    Second,
    Minute,
    Hour,
}

impl Precision {
    /// Reads the `precision` parameter of a write; the empty text is nanoseconds.
    pub fn from_token(token: &str) -> Option<Self> {
        Some(match token {
            "" | "n" | "ns" => Self::Nanosecond,
            "u" | "us" | "µ" => Self::Microsecond,
            "ms" => Self::Millisecond,
            "s" => Self::Second,
            "m" => Self::Minute,
            "h" => Self::Hour,
            _ => return None,
        })
    }

    /// Nanoseconds of one unit.
    pub fn nanoseconds(self) -> i64 {
        match self {
            Self::Nanosecond => 1,
            Self::Microsecond => 1_000,
            Self::Millisecond => 1_000_000,
            Self::Second => 1_000_000_000,
            Self::Minute => 60_000_000_000,
            Self::Hour => 3_600_000_000_000,
        }
    }

    /// A count of units as a timestamp in ns; `None` outside the range of time.
    #[inline]
    pub fn timestamp(self, units: i64) -> Option<i64> {
        let timestamp = units.checked_mul(self.nanoseconds())?;
        (TIME_MIN..=TIME_MAX).contains(&timestamp).then_some(timestamp)
    }

    /// `now` in ns, cut to whole units: the timestamp of points that have none.
    pub fn truncate(self, now: i64) -> i64 {
        now - now.rem_euclid(self.nanoseconds())
    }
}

/// How a body is to be read.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub precision: Precision,
    /// Receive time in ns, for points without a timestamp.
    pub now: i64,
    /// Accept `1u`. Off, it is an invalid number, as in InfluxDB's released builds.
    pub unsigned: bool,
    /// Drop points whose key is not printable text (`validate-keys`).
    pub validate_keys: bool,
}

/// The number of every series that is not remembered: the next line may be of the same one.
pub const PASSING: u32 = u32::MAX;

/// One point, as a [`Sink`] gets it. All but the numbers is borrowed for the call.
#[derive(Debug, Clone, Copy)]
pub struct Point<'a> {
    /// Number of its line in the body, from 0.
    pub line: u32,
    /// Number of the series in this body, from 0, in order of first appearance; [`PASSING`] of one that is not remembered.
    pub series: u32,
    /// Placement hash of the canonical key.
    pub hash: u64,
    /// The canonical series key.
    pub key: &'a [u8],
    pub shape: &'a Shape,
    /// ns, within the range of time.
    pub timestamp: i64,
    /// Values in the order of the shape, encoded as in a batch.
    pub values: &'a [u8],
    /// The line as it was sent, without its newline.
    pub text: &'a [u8],
}

/// What a [`Sink`] says to a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Taken, or dropped and noted.
    Continue,
    /// Not taken: the parser stops before this line and will offer it again.
    Pause,
}

/// Takes the points of a body.
pub trait Sink {
    fn point(&mut self, point: &Point<'_>) -> Flow;

    /// A well-formed line that may not be stored.
    fn refuse(&mut self, line: u32, reason: &Refusal<'_>);
}

/// Why a well-formed point may not be stored. Its text is InfluxDB's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal<'a> {
    /// A tag is called `time`.
    TimeTag { measurement: &'a [u8] },
    /// No field but `time`.
    TimeFieldOnly { measurement: &'a [u8] },
    /// A key is not printable UTF-8.
    InvalidUnicode { key: &'a [u8] },
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimeTag { measurement } => {
                let name = String::from_utf8_lossy(measurement);
                write!(f, "invalid tag key: input tag \"time\" on measurement \"{name}\" is invalid")
            }
            Self::TimeFieldOnly { measurement } => {
                let name = String::from_utf8_lossy(measurement);
                write!(f, "invalid field name: input field \"time\" on measurement \"{name}\" is invalid")
            }
            Self::InvalidUnicode { key } => {
                write!(f, "key contains invalid unicode: \"{}\"", String::from_utf8_lossy(key))
            }
        }
    }
}

/// Where the first line of `bytes` ends, when that is certain: the position of its newline. `None` when more bytes may
/// belong to it. For streams, which must be cut between lines.
pub fn complete_line(bytes: &[u8]) -> Option<usize> {
    let newline = memchr::memchr(b'\n', bytes)?;
    if memchr::memchr2(b'"', b'\\', &bytes[..newline]).is_none() {
        return Some(newline);
    }
    let end = line::end_of_line(bytes, 0);
    line::ends_surely(bytes, end).then_some(end)
}

/// Runs a body through the parser, fast path and plain reading side by side: what a fuzzer calls.
///
/// # Panics
/// When the two disagree, or a point is malformed.
pub fn fuzz(body: &[u8]) {
    parse::fuzz(body);
}
