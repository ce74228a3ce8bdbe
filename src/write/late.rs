//! Points that come late: for windows of time somebody has computed already.
//!
//! A continuous query names what it reads and up to where it has read ([`LateWatch`]); the write path notes which windows
//! before that were written to again, and gives the notes away when it is given newer watches. One per core; ends with
//! it. Whether a body holds late points is decided once it is stored: whoever moved a watch before reading then either
//! reads the points or is told of them.

use std::cell::{Cell, RefCell};

use tidemark_engine::model::TimeRange;

use crate::cores::request::{LateMark, LateWatch};
use crate::line_protocol::{Flow, Point, Refusal, Sink};

/// Ranges kept apart. More become one with their nearest neighbour: what is computed again grows, memory does not.
const RANGES_MAX: usize = 256;

/// Ranges of time: apart, ascending, at most [`RANGES_MAX`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges(Vec<TimeRange>);

impl Ranges {
    pub fn new(ranges: &[TimeRange]) -> Self {
        let mut all = Self::default();
        ranges.iter().for_each(|range| all.add(*range));
        all
    }

    pub fn as_slice(&self) -> &[TimeRange] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a range; those it touches become one with it.
    pub fn add(&mut self, range: TimeRange) {
        if range.is_empty() {
            return;
        }
        let from = self.0.partition_point(|known| known.end < range.start);
        let to = self.0.partition_point(|known| known.start <= range.end);
        let touched = &self.0[from..to];
        let start = touched.first().map_or(range.start, |first| first.start.min(range.start));
        let end = touched.last().map_or(range.end, |last| last.end.max(range.end));
        self.0.splice(from..to, [TimeRange::new(start, end)]);
        if self.0.len() > RANGES_MAX {
            self.join_nearest();
        }
    }

    /// Takes a range away.
    pub fn remove(&mut self, range: TimeRange) {
        let cut = self.0.iter().flat_map(|known| {
            let before = TimeRange::new(known.start, known.end.min(range.start));
            let behind = TimeRange::new(known.start.max(range.end), known.end);
            if known.overlaps(&range) { [Some(before), Some(behind)] } else { [Some(*known), None] }
        });
        self.0 = cut.flatten().filter(|range| !range.is_empty()).collect();
    }

    /// Forgets what is before a time.
    pub fn forget_before(&mut self, time: i64) {
        self.remove(TimeRange::new(i64::MIN, time));
    }

    fn join_nearest(&mut self) {
        let gap = |pair: &[TimeRange]| i128::from(pair[1].start) - i128::from(pair[0].end);
        let nearest = (0..self.0.len() - 1).min_by_key(|&at| gap(&self.0[at..at + 2]));
        if let Some(at) = nearest {
            self.0[at].end = self.0[at + 1].end;
            self.0.remove(at + 1);
        }
    }
}

/// The watches of one core, and what was noted for each.
#[derive(Default)]
pub struct Late {
    watched: RefCell<Vec<(LateWatch, Ranges)>>,
    /// Grows with every exchange.
    generation: Cell<u64>,
}

impl Late {
    /// Takes over other watches. What was noted for the former ones is theirs to whom their numbers mean something.
    pub fn exchange(&self, watches: Vec<LateWatch>) -> Vec<LateMark> {
        self.generation.set(self.generation.get() + 1);
        let watches = watches.into_iter().map(|watch| (watch, Ranges::default())).collect();
        let former = self.watched.replace(watches).into_iter();
        former
            .filter(|(_, noted)| !noted.is_empty())
            .map(|(watch, noted)| LateMark { number: watch.number, ranges: noted.0 })
            .collect()
    }

    pub fn is_empty(&self) -> bool {
        self.watched.borrow().is_empty()
    }

    /// Whether a point of this time may be late for somebody.
    pub fn concerns(&self, database: &str, retention_policy: &str, earliest: i64) -> bool {
        self.watched.borrow().iter().any(|(watch, _)| {
            earliest < watch.before
                && watch.database == database
                && watch.retention_policy == retention_policy
        })
    }

    /// Notes points of a body that is being read a second time.
    pub fn noting<'a>(&'a self, database: &'a str, retention_policy: &'a str) -> Noting<'a> {
        Noting { late: self, database, retention_policy, generation: 0, shapes: Vec::new() }
    }
}

/// Notes the late points of one body.
pub struct Noting<'a> {
    late: &'a Late,
    database: &'a str,
    retention_policy: &'a str,
    generation: u64,
    /// By number of the shape in the body: the watches of its measurement, with the window that was noted last.
    shapes: Vec<Option<Vec<(usize, TimeRange)>>>,
}

impl Noting<'_> {
    pub fn note(&mut self, point: &Point<'_>) {
        let mut watched = self.late.watched.borrow_mut();
        if self.generation != self.late.generation.get() {
            self.generation = self.late.generation.get();
            self.shapes.clear();
        }
        let shape = point.shape.id as usize;
        if self.shapes.len() <= shape {
            self.shapes.resize(shape + 1, None);
        }
        let of_measurement = self.shapes[shape].get_or_insert_with(|| {
            let matching = watched.iter().enumerate().filter(|(_, (watch, _))| {
                watch.database == self.database
                    && watch.retention_policy == self.retention_policy
                    && watch.measurement.as_ref().is_none_or(|name| *name == *point.shape.measurement)
            });
            matching.map(|(at, _)| (at, TimeRange::new(0, 0))).collect()
        });
        for (at, last) in of_measurement {
            let (watch, noted) = &mut watched[*at];
            if point.timestamp >= watch.before || last.contains(point.timestamp) {
                continue;
            }
            let start = point.timestamp - point.timestamp.rem_euclid(watch.grain);
            *last = TimeRange::new(start, start.saturating_add(watch.grain));
            noted.add(*last);
        }
    }
}

impl Sink for Noting<'_> {
    fn point(&mut self, point: &Point<'_>) -> Flow {
        self.note(point);
        Flow::Continue
    }

    fn refuse(&mut self, _: u32, _: &Refusal<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line_protocol::{Options, Parser, Precision, Scratch};

    fn ranges(pairs: &[(i64, i64)]) -> Vec<TimeRange> {
        pairs.iter().map(|(start, end)| TimeRange::new(*start, *end)).collect()
    }

    #[test]
    fn ranges_that_touch_become_one() {
        let mut all = Ranges::default();
        for (start, end) in [(10, 20), (40, 50), (20, 30), (0, 5), (45, 60), (7, 7)] {
            all.add(TimeRange::new(start, end));
        }
        assert_eq!(all.0, ranges(&[(0, 5), (10, 30), (40, 60)]));
        all.remove(TimeRange::new(15, 45));
        assert_eq!(all.0, ranges(&[(0, 5), (10, 15), (45, 60)]));
        all.forget_before(12);
        assert_eq!(all.0, ranges(&[(12, 15), (45, 60)]));
    }

    #[test]
    fn too_many_ranges_join_their_neighbours_and_lose_nothing() {
        let mut all = Ranges::default();
        for at in 0..10_000 {
            all.add(TimeRange::new(at * 10, at * 10 + 1 + at % 7));
        }
        assert_eq!(all.0.len(), RANGES_MAX);
        assert!((0..10_000).all(|at| all.0.iter().any(|range| range.contains(at * 10))));
    }

    fn write(late: &Late, body: &str) {
        let options =
            Options { precision: Precision::Nanosecond, now: 0, unsigned: false, validate_keys: false };
        let mut parser = Parser::new(options, Scratch::default());
        parser.step(body.as_bytes(), &mut late.noting("db", "rp"), usize::MAX);
    }

    #[test]
    fn only_late_points_of_what_is_watched_are_noted() {
        let watch = |number, measurement: Option<&str>| LateWatch {
            number,
            database: "db".into(),
            retention_policy: "rp".into(),
            measurement: measurement.map(Into::into),
            before: 100,
            grain: 10,
        };
        let late = Late::default();
        assert_eq!(late.exchange(vec![watch(0, Some("m")), watch(1, None)]), vec![]);
        assert!(late.concerns("db", "rp", 99));
        assert!(!late.concerns("db", "rp", 100) && !late.concerns("db", "other", 0));
        write(&late, "m v=1 5\nm v=1 7\nm v=1 42\nm v=1 100\nother v=1 61\n");
        let mut marks = late.exchange(vec![]);
        marks.sort_by_key(|mark| mark.number);
        assert_eq!(
            marks,
            vec![
                LateMark { number: 0, ranges: ranges(&[(0, 10), (40, 50)]) },
                LateMark { number: 1, ranges: ranges(&[(0, 10), (40, 50), (60, 70)]) },
            ]
        );
        write(&late, "m v=1 5\n");
        assert_eq!(late.exchange(vec![]), vec![]);
    }
}
