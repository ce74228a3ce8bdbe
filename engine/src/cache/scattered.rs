//! Where the rows of a series lie that came out of order.

use std::ops::Range;

use crate::index::active::ShapePosition;
use crate::model::TimeOrder;

/// A row of a cache: its shape, and its values within a chunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub shape: ShapePosition,
    pub chunk: u32,
    /// From the chunk's beginning.
    pub start: u32,
    pub length: u32,
}

/// Rows whose memory is kept for the next series: 7 MB.
const ROWS_KEPT: usize = 1 << 18;

/// Rows in order of arrival, and the order of their times.
#[derive(Debug, Default)]
pub(super) struct Scattered {
    times: Vec<i64>,
    places: Vec<Place>,
    order: TimeOrder,
}

impl Scattered {
    /// Begins anew, with room for so many rows.
    pub fn begin(&mut self, rows: usize) {
        self.clear();
        self.times.reserve(rows);
        self.places.reserve(rows);
    }

    pub fn clear(&mut self) {
        if self.times.len() > ROWS_KEPT {
            *self = Self::default();
        }
        self.times.clear();
        self.places.clear();
        self.order.clear();
    }

    #[inline]
    pub fn push(&mut self, time: i64, place: Place) {
        self.times.push(time);
        self.places.push(place);
    }

    /// Goes on bringing them to order for a while, after the last one: the nanoseconds, about, that it took.
    pub fn order_on(&mut self) -> u64 {
        self.order.step(&self.times)
    }

    pub fn is_in_order(&self) -> bool {
        self.order.is_whole(self.times.len())
    }

    /// Rows by their place in the order of times, those of one time in order of arrival.
    pub fn part(&self, rows: Range<usize>) -> impl Iterator<Item = (i64, Place)> {
        self.order.positions()[rows].iter().map(|&at| (self.times[at as usize], self.places[at as usize]))
    }
}

#[cfg(test)]
mod tests {
    use crate::cache::{Cache, Part, ReusedRows};
    use crate::index::active::ActiveIndex;
    use crate::model::batch::put_value;
    use crate::model::{BatchBuilder, FieldType, Rows, SeriesKey, TimeRange, Value};

    /// 20,000 rows in pieces of ten, every second piece late by up to 400 rows, each hundredth row written twice.
    fn cache() -> (ActiveIndex, Cache) {
        let mut pieces: Vec<i64> = (0..2_000).collect();
        pieces.sort_by_key(|piece| if piece % 2 == 0 { *piece } else { piece + piece % 40 });
        cache_of(pieces.into_iter().flat_map(|piece| piece * 10..piece * 10 + 10))
    }

    /// Fields `a` and, in rows of even times, `b`.
    fn cache_of(times: impl Iterator<Item = i64>) -> (ActiveIndex, Cache) {
        let (mut index, mut cache) = (ActiveIndex::new(), Cache::new());
        let key = SeriesKey::build(b"m", &[]);
        for times in times.collect::<Vec<_>>().chunks(400) {
            let mut builder = BatchBuilder::new();
            let series = builder.add_series(key.hash(), &key.0);
            for &time in times {
                for again in 0..=i64::from(time % 100 == 7) {
                    let fields = [(FieldType::Integer, &b"a"[..]), (FieldType::Integer, b"b")];
                    let fields = &fields[..1 + usize::from(time % 2 == 0)];
                    let shape = builder.add_shape(b"m", fields.iter().copied());
                    let mut values = Vec::new();
                    fields.iter().for_each(|_| put_value(&mut values, &Value::Integer(2 * time + again)));
                    builder.add_row(series, shape, time, &values);
                }
            }
            cache.insert(&mut index, &builder.finish(1, 1), &[]);
        }
        (index, cache)
    }

    #[test]
    fn rows_out_of_order_that_are_read_in_steps_equal_those_read_at_once() {
        let (index, cache) = cache();
        let position = index.find(SeriesKey::build(b"m", &[]).hash(), b"m").expect("it was written");
        let all = cache.read(&index, position, TimeRange::new(0, i64::MAX), None).expect("there are rows");
        assert_eq!(all.times, (0..20_000).collect::<Vec<_>>());
        assert_eq!(all.columns[0].get(107), Some(Value::Integer(215)), "the later one of a time");
        let mut reused = ReusedRows::default();
        for _ in 0..2 {
            let mut walk =
                cache.begin_reading(&index, position, Part::ALL, &mut reused).expect("there are rows");
            let mut steps = 1;
            while !walk.is_at_end() {
                cache.read_on(&index, &mut walk, Part::ALL, &mut reused);
                steps += 1;
            }
            assert!(steps > 20, "it gives way in between: {steps}");
            assert_eq!(*reused, all);
        }
    }

    #[test]
    fn of_rows_out_of_order_those_within_a_span_are_read_in_steps() {
        let (index, cache) = cache();
        let position = index.find(SeriesKey::build(b"m", &[]).hash(), b"m").expect("it was written");
        let mut reused = ReusedRows::default();
        for (start, end) in [(0, 1), (104, 108), (5_000, 15_000), (19_999, 30_000), (20_000, 30_000)] {
            let span = TimeRange::new(start, end);
            let part = Part { time: Some(span), wanted: None };
            let mut walk = cache.begin_reading(&index, position, part, &mut reused).expect("there are rows");
            while !walk.is_at_end() {
                cache.read_on(&index, &mut walk, part, &mut reused);
            }
            let times: Vec<i64> = (start..end.min(20_000)).collect();
            assert_eq!(reused.times, times);
            let newest = times.iter().map(|time| 2 * time + i64::from(time % 100 == 7));
            let read = (0..times.len()).map(|at| reused.columns[0].get(at));
            assert!(read.eq(newest.map(|value| Some(Value::Integer(value)))), "{start} to {end}");
        }
    }

    /// Each time is there several times over, one of them more often than rows are read in a step.
    #[test]
    fn many_rows_anywhere_are_ordered_and_merged_in_short_steps_and_half_way_may_be_given_up() {
        let anywhere = (0..100_000).map(|row: i64| row * 7_919 % 40_009);
        let (index, cache) = cache_of(anywhere.chain((0..2_500).map(|_| 77)));
        let position = index.find(SeriesKey::build(b"m", &[]).hash(), b"m").expect("it was written");
        let all = cache.read(&index, position, TimeRange::ALL, None).expect("there are rows");
        assert_eq!(all.len(), 40_009);
        let mut reused = ReusedRows::default();
        let mut read = |steps_max: usize| -> (usize, Rows) {
            let mut walk =
                cache.begin_reading(&index, position, Part::ALL, &mut reused).expect("there are rows");
            let (mut steps, mut step_ns_max) = (1, walk.found_ns());
            while !walk.is_at_end() && steps < steps_max {
                let before = walk.found_ns();
                cache.read_on(&index, &mut walk, Part::ALL, &mut reused);
                steps += 1;
                step_ns_max = step_ns_max.max(walk.found_ns() - before);
            }
            assert!(step_ns_max < 400_000, "a step of {step_ns_max} ns");
            (steps, Rows::clone(&reused))
        };
        let (steps, rows) = read(usize::MAX);
        assert!(rows == all);
        for steps in [5, steps / 3, steps / 2, steps - 1] {
            read(steps);
            assert!(read(usize::MAX).1 == all, "after {steps} steps that led nowhere");
        }
    }
}
