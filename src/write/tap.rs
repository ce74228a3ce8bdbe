//! Copies of what is written, for those who want it: lines with their timestamps in ns, a database and policy at a time.
//!
//! One per core; ends with it. Nobody waits for a taker: who does not keep up loses whole bodies, which are counted.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;

use crate::line_protocol::{Flow, Point, Refusal, Sink};

/// The points of a body that was stored.
#[derive(Debug, Clone)]
pub struct Lines {
    pub bytes: Bytes,
    pub points: u64,
}

/// Where lines of a database and policy go.
#[derive(Clone)]
pub struct Tap {
    pub database: String,
    pub retention_policy: String,
    pub sender: flume::Sender<Lines>,
    /// Bytes on their way to the taker, and how many may be.
    pub bytes: Rc<Cell<u64>>,
    pub bytes_max: u64,
    /// Points the taker lost.
    pub points_lost: Rc<Cell<u64>>,
}

/// The taps of a core.
#[derive(Default)]
pub struct Taps(RefCell<Vec<Tap>>);

impl Taps {
    pub fn replace(&self, taps: Vec<Tap>) {
        self.0.replace(taps);
    }

    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    pub fn concerns(&self, database: &str, retention_policy: &str) -> bool {
        self.0.borrow().iter().any(|tap| tap.database == database && tap.retention_policy == retention_policy)
    }

    /// Hands lines to all who want them.
    pub fn give(&self, database: &str, retention_policy: &str, lines: &Lines) {
        for tap in self.0.borrow().iter() {
            if tap.database != database || tap.retention_policy != retention_policy {
                continue;
            }
            let bytes = tap.bytes.get() + lines.bytes.len() as u64;
            if bytes <= tap.bytes_max && tap.sender.try_send(lines.clone()).is_ok() {
                tap.bytes.set(bytes);
            } else {
                tap.points_lost.set(tap.points_lost.get() + lines.points);
            }
        }
    }
}

/// Collects the points of one body as lines.
#[derive(Default)]
pub struct Copying {
    bytes: Vec<u8>,
    points: u64,
}

impl Copying {
    pub fn copy(&mut self, point: &Point<'_>) {
        self.bytes.extend_from_slice(without_timestamp(point.text));
        self.bytes.push(b' ');
        self.bytes.extend_from_slice(itoa::Buffer::new().format(point.timestamp).as_bytes());
        self.bytes.push(b'\n');
        self.points += 1;
    }

    pub fn into_lines(self) -> Lines {
        Lines { bytes: self.bytes.into(), points: self.points }
    }
}

impl Sink for Copying {
    fn point(&mut self, point: &Point<'_>) -> Flow {
        self.copy(point);
        Flow::Continue
    }

    fn refuse(&mut self, _: u32, _: &Refusal<'_>) {}
}

/// The line up to its last field. What follows the last blank is the timestamp if it is a number: a field has a `=`.
fn without_timestamp(line: &[u8]) -> &[u8] {
    let line = line.trim_ascii();
    match line.iter().rposition(|byte| *byte == b' ') {
        Some(blank) => {
            let last = &line[blank + 1..];
            let digits = last.strip_prefix(b"-").unwrap_or(last);
            let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
            if is_number { line[..blank].trim_ascii_end() } else { line }
        }
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line_protocol::{Options, Parser, Precision, Scratch};

    #[test]
    fn copies_carry_their_timestamps_in_nanoseconds() {
        let body = "m,t=a v=1 5\nm v=2\nm s=\"a 1\"\r\n# no point\nbad\nm s=\"x, y=1 7\",v=3i  -9 \n";
        let options = Options {
            precision: Precision::Second,
            now: 77_000_000_001,
            unsigned: false,
            validate_keys: false,
        };
        let mut copying = Copying::default();
        Parser::new(options, Scratch::default()).step(body.as_bytes(), &mut copying, usize::MAX);
        let lines = copying.into_lines();
        assert_eq!(lines.points, 4);
        assert_eq!(
            String::from_utf8_lossy(&lines.bytes),
            "m,t=a v=1 5000000000\nm v=2 77000000000\nm s=\"a 1\" 77000000000\n\
             m s=\"x, y=1 7\",v=3i -9000000000\n"
        );
    }

    #[test]
    fn who_does_not_keep_up_loses_whole_bodies() {
        let (sender, receiver) = flume::bounded(1);
        let tap = Tap {
            database: "db".into(),
            retention_policy: "rp".into(),
            sender,
            bytes: Rc::default(),
            bytes_max: 100,
            points_lost: Rc::default(),
        };
        let taps = Taps::default();
        taps.replace(vec![tap.clone()]);
        let lines = |bytes: usize| Lines { bytes: vec![0; bytes].into(), points: 3 };
        taps.give("db", "rp", &lines(101));
        assert_eq!(tap.points_lost.get(), 3);
        taps.give("db", "other", &lines(10));
        taps.give("db", "rp", &lines(10));
        taps.give("db", "rp", &lines(10));
        assert_eq!((tap.points_lost.get(), tap.bytes.get(), receiver.len()), (6, 10, 1));
    }
}
