//! The newest few rows of a series told apart from all others, for those who ask for the last one alone: chunks are read from
//! the last one back until none before can hold a newer row.

use std::cmp::Reverse;

use super::read::Walk;
use super::transposed::Transposed;
use super::{Cache, RowList};
use crate::index::active::{ActiveIndex, SeriesPosition, ShapePosition};
use crate::model::{Rows, TimeRange};

/// Rows that are told apart, and how many times as many there must be.
const NEWEST_ROWS: usize = 4;
const NEWEST_FACTOR: usize = 4;
/// Chunks that are looked into. More are rows that came newest first: they are read as a whole.
const CHUNKS_MAX: usize = 16;
/// Chunks that are passed over, because all their rows are older than some found by then.
const PASSED_MAX: usize = 512;

/// The same where one row is asked for.
const CHUNKS_MAX_OF_ONE: usize = 8;

/// The newest few rows of a series, and what is left.
#[derive(Debug)]
pub struct Newest {
    /// In time order, merged.
    pub rows: Rows,
    pub older: Older,
    /// Rows that were looked at.
    pub looked_at: usize,
}

/// The rows of a series but the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Older {
    /// No row is before the one or after the other.
    pub time_min: i64,
    pub time_max: i64,
    /// At most, duplicates counted.
    pub rows: usize,
}

/// A generation being looked through.
struct Looked<'a> {
    cache: &'a Cache,
    generation: usize,
    list: RowList,
    /// What reads the chunks that were looked into, up to which address; the last ones first.
    walks: Vec<(Walk, u32)>,
    /// The next chunk to look into, where there is one, and the greatest timestamp in it and before.
    before: Option<(u32, i64)>,
}

/// The newest few rows within `time`, of the fields in `wanted`, of these generations together, the oldest first. `None` when
/// they are not worth telling apart. `rows`: how many are asked for, as far as that is known.
pub fn newest(
    caches: &[&Cache],
    index: &ActiveIndex,
    position: SeriesPosition,
    time: TimeRange,
    wanted: &[Vec<u8>],
    rows: usize,
) -> Option<Newest> {
    let count: usize = caches.iter().map(|cache| cache.row_count(position)).sum();
    if count <= NEWEST_FACTOR * NEWEST_ROWS {
        return None;
    }
    if rows == 1
        && let Some(last) = last(caches, index, position, time, wanted)
    {
        return Some(last);
    }
    let mut seen = Seen::default();
    let mut all: Vec<Looked<'_>> =
        caches.iter().enumerate().map(|(at, cache)| Looked::new(cache, at, position)).collect();
    // The one that may hold the newest row of those not looked at.
    while let Some((at, time_max)) = all
        .iter()
        .enumerate()
        .filter_map(|(at, looked)| Some((at, looked.before?.1)))
        .max_by_key(|(_, time_max)| *time_max)
    {
        if time_max < time.start || seen.newest_from().is_some_and(|from| from > time_max) {
            break;
        }
        let walks: usize = all.iter().map(|looked| looked.walks.len()).sum();
        if walks >= CHUNKS_MAX || seen.passed >= PASSED_MAX {
            return None;
        }
        all[at].go_back(time, &mut seen);
    }
    let newest_from = seen.newest_from()?;
    let older = older(&all, &seen, time, newest_from, count - NEWEST_ROWS)?;
    let mut rows = Transposed::new(index.shapes(), Some(wanted), NEWEST_ROWS);
    if seen.span.is_some_and(|(_, max)| max == newest_from) {
        let within = TimeRange::new(newest_from, time.end);
        all.iter().for_each(|looked| looked.read(within, &mut rows));
    } else {
        seen.newest.sort_unstable_by_key(|row| row.arrival);
        seen.newest.iter().for_each(|row| rows.push(row.shape, row.time, row.values));
    }
    let mut rows = rows.finish();
    rows.bring_to_order();
    Some(Newest { rows, older, looked_at: seen.count })
}

/// The newest row, where it is found without looking far and no other is as new.
fn last(
    caches: &[&Cache],
    index: &ActiveIndex,
    position: SeriesPosition,
    time: TimeRange,
    wanted: &[Vec<u8>],
) -> Option<Newest> {
    let (mut count, mut looked_at) = (0, 0);
    let mut newest: Option<Row<'_>> = None;
    for &cache in caches {
        let list = cache.lists.get(position).copied().unwrap_or_default();
        if list.rows() == 0 {
            continue;
        }
        count += list.rows();
        let row = newest_of(cache, &list, &mut looked_at)?;
        newest = match newest {
            Some(other) if other.time == row.time => return None,
            Some(other) if other.time > row.time => Some(other),
            _ => Some(row),
        };
    }
    let newest = newest.filter(|row| time.contains(row.time))?;
    let time_min = caches.iter().filter(|cache| cache.rows > 0).map(|cache| cache.time_min).min()?;
    let older = Older { time_min: time_min.max(time.start), time_max: newest.time - 1, rows: count - 1 };
    if older.time_min > older.time_max {
        return None;
    }
    let mut rows = Transposed::new(index.shapes(), Some(wanted), 1);
    rows.push(newest.shape, newest.time, newest.values);
    Some(Newest { rows: rows.finish(), older, looked_at })
}

/// The newest row of a list: the last one, or where rows came out of order one of the last chunks; `None` where it is neither,
/// or not alone.
fn newest_of<'a>(cache: &'a Cache, list: &RowList, looked_at: &mut usize) -> Option<Row<'a>> {
    if !list.is_out_of_order() {
        *looked_at += 1;
        let (shape, values) = cache.last_row(list);
        return Some(Row { time: list.last_time, shape, values, ..Row::default() });
    }
    let (mut newest, mut is_alone) = (None::<Row<'_>>, true);
    let mut address = list.tail;
    for _ in 0..CHUNKS_MAX_OF_ONE {
        let (walk, span, before) = match cache.long_chunk(*list, address) {
            None => (cache.walk(*list), None, None),
            Some((walk, head)) => {
                (walk, head.span, (head.before != 0).then_some((head.before, head.time_max_before)))
            }
        };
        if span.is_none_or(|(_, max)| newest.is_none_or(|found| found.time <= max)) {
            cache.walk_up_to(walk, address, TimeRange::ALL, |shape, time, values| {
                *looked_at += 1;
                match &newest {
                    Some(found) if found.time > time => {}
                    Some(found) if found.time == time => is_alone = false,
                    _ => (newest, is_alone) = (Some(Row { time, shape, values, ..Row::default() }), true),
                }
            });
        }
        address = match before {
            Some((address, time_max)) if newest.is_none_or(|found| found.time <= time_max) => address,
            _ => return newest.filter(|_| is_alone),
        };
    }
    None
}

/// A row as it stands in a cache.
#[derive(Default, Clone, Copy)]
struct Row<'a> {
    time: i64,
    /// Grows with the order in which rows came.
    arrival: (usize, Reverse<usize>, usize),
    shape: ShapePosition,
    values: &'a [u8],
}

/// The rows that were looked at.
#[derive(Default)]
struct Seen<'a> {
    count: usize,
    /// Chunks that were passed over.
    passed: usize,
    /// The newest ones, the oldest of them first.
    newest: [Row<'a>; NEWEST_ROWS],
    /// First and last timestamp of all others.
    span: Option<(i64, i64)>,
}

impl<'a> Seen<'a> {
    fn add(&mut self, row: Row<'a>) {
        let (newest, is_full) = (&mut self.newest, self.count >= NEWEST_ROWS);
        self.count += 1;
        let mut left = row;
        if !is_full || row.time > newest[0].time {
            left = std::mem::replace(&mut newest[0], row);
            let mut at = 0;
            // Places not yet taken stay in front.
            let first = NEWEST_ROWS.saturating_sub(self.count);
            while at + 1 < NEWEST_ROWS && (at < first || newest[at].time > newest[at + 1].time) {
                newest.swap(at, at + 1);
                at += 1;
            }
        }
        if is_full {
            self.add_span((left.time, left.time));
        }
    }

    fn add_span(&mut self, span: (i64, i64)) {
        let (min, max) = self.span.unwrap_or(span);
        self.span = Some((min.min(span.0), max.max(span.1)));
    }

    /// The timestamp from which on a row is one of the newest.
    fn newest_from(&self) -> Option<i64> {
        (self.count >= NEWEST_ROWS).then_some(self.newest[0].time)
    }
}

/// `newest_from`: rows from there on are told apart, and may be more than few.
fn older(
    all: &[Looked<'_>],
    seen: &Seen<'_>,
    time: TimeRange,
    newest_from: i64,
    rows: usize,
) -> Option<Older> {
    let behind = all.iter().filter_map(|looked| Some((looked.cache.time_min, looked.before?.1)));
    let behind = behind.filter(|span| span.1 >= time.start);
    let behind = behind.map(|(min, max)| (min.max(time.start), max.min(time.end - 1)));
    let seen = seen.span.filter(|(min, _)| *min < newest_from);
    let (time_min, time_max) =
        behind.chain(seen).reduce(|all, span| (all.0.min(span.0), all.1.max(span.1)))?;
    let time_max = time_max.min(newest_from - 1);
    (time_min <= time_max).then_some(Older { time_min, time_max, rows })
}

impl<'a> Looked<'a> {
    fn new(cache: &'a Cache, generation: usize, position: SeriesPosition) -> Self {
        let list = cache.lists.get(position).copied().unwrap_or_default();
        let before = (list.rows() > 0).then_some((list.tail, cache.time_max));
        Self { cache, generation, list, walks: Vec::new(), before }
    }

    fn go_back(&mut self, time: TimeRange, seen: &mut Seen<'a>) {
        if let Some((address, _)) = self.before {
            self.look_into(address, time, seen);
        }
    }

    /// Short chunks stand at the list's start, and are read from there.
    fn look_into(&mut self, address: u32, time: TimeRange, seen: &mut Seen<'a>) {
        let (cache, list) = (self.cache, self.list);
        let walk = match cache.long_chunk(list, address) {
            None => {
                self.before = None;
                cache.walk(list)
            }
            Some((walk, head)) => {
                self.before = (head.before != 0).then_some((head.before, head.time_max_before));
                if let (Some((min, max)), Some(from)) = (head.span, seen.newest_from())
                    && max < from
                {
                    seen.passed += 1;
                    if max >= time.start {
                        seen.add_span((min.max(time.start), max));
                    }
                    return;
                }
                walk
            }
        };
        self.walks.push((walk, address));
        let (generation, back, mut at) = (self.generation, Reverse(self.walks.len()), 0);
        cache.walk_up_to(walk, address, time, |shape, timestamp, values| {
            if time.contains(timestamp) {
                seen.add(Row { time: timestamp, arrival: (generation, back, at), shape, values });
                at += 1;
            }
        });
    }

    /// The rows of what was looked into, in order of arrival.
    fn read(&self, within: TimeRange, rows: &mut Transposed<'_>) {
        for (walk, address) in self.walks.iter().rev() {
            self.cache.walk_up_to(*walk, *address, within, |shape, timestamp, values| {
                if within.contains(timestamp) {
                    rows.push(shape, timestamp, values);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::batch::put_value;
    use crate::model::{BatchBuilder, FieldType, SeriesKey, Value};

    fn cache_of(times: impl Iterator<Item = i64>) -> (Cache, ActiveIndex) {
        let (mut cache, mut index, mut builder) = (Cache::new(), ActiveIndex::new(), BatchBuilder::new());
        let key = SeriesKey::build(b"m", &[]);
        let series = builder.add_series(key.hash(), &key.0);
        let shape = builder.add_shape(b"m", [(FieldType::Integer, &b"f"[..])].into_iter());
        for time in times {
            let mut values = Vec::new();
            put_value(&mut values, &Value::Integer(time));
            builder.add_row(series, shape, time, &values);
        }
        cache.insert(&mut index, &builder.finish(1, 1), &[]);
        (cache, index)
    }

    fn newest_times(times: impl Iterator<Item = i64>, rows: usize) -> Option<(Vec<i64>, Older)> {
        let (cache, index) = cache_of(times);
        let newest = newest(&[&cache], &index, 0, TimeRange::ALL, &[b"f".to_vec()], rows)?;
        let values: Vec<Option<Value>> =
            (0..newest.rows.len()).map(|row| newest.rows.columns[0].get(row)).collect();
        let times = newest.rows.times.clone();
        assert_eq!(values, times.iter().map(|time| Some(Value::Integer(*time))).collect::<Vec<_>>());
        Some((times, newest.older))
    }

    #[test]
    fn the_newest_rows_are_found_far_behind_many_that_came_later() {
        let late = (0..100_000).chain([500_000, 500_001, 500_002, 500_003, 500_004]).chain(100_000..250_000);
        let (times, older) = newest_times(late, usize::MAX).expect("found");
        assert_eq!(times, [500_001, 500_002, 500_003, 500_004]);
        assert_eq!((older.time_min, older.time_max), (0, 500_000));
    }

    #[test]
    fn of_many_rows_of_the_newest_time_every_field_has_its_last_value() {
        let (mut cache, mut index, mut builder) = (Cache::new(), ActiveIndex::new(), BatchBuilder::new());
        let key = SeriesKey::build(b"m", &[]);
        let series = builder.add_series(key.hash(), &key.0);
        let shapes =
            [b"f", b"g"].map(|name| builder.add_shape(b"m", [(FieldType::Integer, &name[..])].into_iter()));
        for number in 0..48 {
            let mut values = Vec::new();
            put_value(&mut values, &Value::Integer(number));
            let time = if number < 40 { number } else { 99 };
            builder.add_row(series, shapes[number as usize % 2], time, &values);
        }
        cache.insert(&mut index, &builder.finish(1, 1), &[]);
        let fields = [b"f".to_vec(), b"g".to_vec()];
        for rows in [1, usize::MAX] {
            let newest = newest(&[&cache], &index, 0, TimeRange::ALL, &fields, rows).expect("found").rows;
            assert_eq!(newest.times, [99]);
            let value = |name: &[u8]| {
                let at = newest.fields.iter().position(|field| field.name == name)?;
                newest.columns[at].get(0)
            };
            assert_eq!((value(b"f"), value(b"g")), (Some(Value::Integer(46)), Some(Value::Integer(47))));
        }
    }

    #[test]
    fn rows_that_came_newest_first_are_not_looked_through() {
        assert_eq!(newest_times((0..200_000).rev(), usize::MAX), None);
    }

    #[test]
    fn one_row_is_told_apart_alone_where_it_came_last_or_shortly_before() {
        let alone = Older { time_min: 0, time_max: 998, rows: 999 };
        assert_eq!(newest_times(0..1_000, 1), Some((vec![999], alone)));
        let late = Older { rows: 1_000, ..alone };
        assert_eq!(newest_times((0..1_000).chain([5]), 1), Some((vec![999], late)));
        let short = Older { time_max: 18, rows: 20, ..alone };
        assert_eq!(newest_times((0..20).chain([5]), 1), Some((vec![19], short)), "all chunks are short");
        let before = Older { rows: 2_600 - 1, ..alone };
        let late = || (0..1_000).chain(100..900).chain(100..900);
        assert_eq!(newest_times(late(), 1), Some((vec![999], before)), "some chunks before the last row");
        let others = |times: &mut dyn Iterator<Item = i64>| newest_times(times, 1).expect("found").0;
        let far = (0..10).flat_map(|_| 100..900);
        assert_eq!(others(&mut (0..1_000).chain(far)), [996, 997, 998, 999], "far before the last row");
        assert_eq!(others(&mut (0..1_000).chain([999])), [997, 998, 999], "twice");
        assert_eq!(others(&mut late().chain([999])), [997, 998, 999], "twice, in two chunks");
    }

    #[test]
    fn of_two_generations_the_newer_row_is_told_apart_and_rows_of_one_time_are_not() {
        let newest_of_both = |times: [&[i64]; 2]| {
            let (mut index, key) = (ActiveIndex::new(), SeriesKey::build(b"m", &[]));
            let caches = times.map(|times| {
                let (mut cache, mut builder) = (Cache::new(), BatchBuilder::new());
                let series = builder.add_series(key.hash(), &key.0);
                let shape = builder.add_shape(b"m", [(FieldType::Integer, &b"f"[..])].into_iter());
                for time in times {
                    let mut values = Vec::new();
                    put_value(&mut values, &Value::Integer(*time));
                    builder.add_row(series, shape, *time, &values);
                }
                cache.insert(&mut index, &builder.finish(1, 1), &[]);
                cache
            });
            let caches: Vec<&Cache> = caches.iter().collect();
            newest(&caches, &index, 0, TimeRange::ALL, &[b"f".to_vec()], 1).map(|newest| newest.rows.times)
        };
        let (early, late): (Vec<i64>, Vec<i64>) = ((0..50).collect(), (50..100).chain([60]).collect());
        assert_eq!(newest_of_both([&early, &late]), Some(vec![99]));
        assert_eq!(newest_of_both([&late, &early]), Some(vec![99]), "the older generation has the newer row");
        assert_eq!(newest_of_both([&late, &late]).map(|times| times.len() > 1), Some(true));
    }
}
