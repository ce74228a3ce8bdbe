//! The newest few rows of a series told apart from all others, for those who ask for the last one alone: chunks are read from
//! the last one back until none before can hold a newer row.

use super::read::Walk;
use super::transposed::Transposed;
use super::{Cache, RowList};
use crate::index::active::{ActiveIndex, SeriesPosition};
use crate::model::{Rows, TimeRange};

/// Rows that are told apart, and how many times as many there must be.
const NEWEST_ROWS: usize = 4;
const NEWEST_FACTOR: usize = 4;
/// Chunks that are looked into. More are rows that came newest first: they are read as a whole.
const CHUNKS_MAX: usize = 16;

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
    list: RowList,
    /// What reads the chunks that were looked into, up to which address; the last ones first.
    walks: Vec<(Walk, u32)>,
    /// The next chunk to look into, where there is one, and the greatest timestamp in it and before.
    before: Option<(u32, i64)>,
}

/// The newest few rows within `time`, of the fields in `wanted`, of these generations together, the oldest first. `None` when
/// they are not worth telling apart.
pub fn newest(
    caches: &[&Cache],
    index: &ActiveIndex,
    position: SeriesPosition,
    time: TimeRange,
    wanted: &[Vec<u8>],
) -> Option<Newest> {
    let count: usize = caches.iter().map(|cache| cache.row_count(position)).sum();
    if count <= NEWEST_FACTOR * NEWEST_ROWS {
        return None;
    }
    let mut times = Vec::new();
    let mut all: Vec<Looked<'_>> = caches.iter().map(|cache| Looked::new(cache, position)).collect();
    // The one that may hold the newest row of those not looked at.
    while let Some((at, time_max)) = all
        .iter()
        .enumerate()
        .filter_map(|(at, looked)| Some((at, looked.before?.1)))
        .max_by_key(|(_, time_max)| *time_max)
    {
        if time_max < time.start || times.iter().filter(|&&read| read > time_max).count() >= NEWEST_ROWS {
            break;
        }
        if all.iter().map(|looked| looked.walks.len()).sum::<usize>() >= CHUNKS_MAX {
            return None;
        }
        all[at].go_back(time, &mut times);
    }
    let looked_at = times.len();
    let at = looked_at.checked_sub(NEWEST_ROWS)?;
    let newest_from = *times.select_nth_unstable(at).1;
    let older = older(&all, &times, time, newest_from, count - NEWEST_ROWS)?;
    let within = TimeRange::new(newest_from, time.end);
    let mut rows = Rows::default();
    for looked in all {
        let read = looked.read(index, within, wanted);
        if rows.is_empty() {
            rows = read;
        } else if !read.is_empty() {
            rows.append(&read);
        }
    }
    rows.bring_to_order();
    Some(Newest { rows, older, looked_at })
}

fn older(all: &[Looked<'_>], times: &[i64], time: TimeRange, newest_from: i64, rows: usize) -> Option<Older> {
    let read = times.iter().copied().filter(|older| *older < newest_from);
    let behind = || {
        let spans = all.iter().filter_map(|looked| Some((looked.cache.time_min, looked.before?.1)));
        spans.filter(|span| span.1 >= time.start)
    };
    let time_min = read.clone().chain(behind().map(|span| span.0.max(time.start))).min()?;
    let time_max = read.chain(behind().map(|span| span.1.min(time.end - 1))).max()?;
    (time_min <= time_max).then_some(Older { time_min, time_max, rows })
}

impl<'a> Looked<'a> {
    fn new(cache: &'a Cache, position: SeriesPosition) -> Self {
        let list = cache.lists.get(position as usize).copied().unwrap_or_default();
        let before = (list.rows() > 0).then_some((list.tail, cache.time_max));
        Self { cache, list, walks: Vec::new(), before }
    }

    fn go_back(&mut self, time: TimeRange, times: &mut Vec<i64>) {
        if let Some((address, _)) = self.before {
            self.look_into(address, time, times);
        }
    }

    /// Short chunks stand at the list's start, and are read from there.
    fn look_into(&mut self, address: u32, time: TimeRange, times: &mut Vec<i64>) {
        let (cache, list) = (self.cache, self.list);
        let walk = match cache.long_chunk(list, address) {
            None => {
                self.before = None;
                cache.walk(list)
            }
            Some((walk, head)) => {
                self.before = (head.before != 0).then_some((head.before, head.time_max_before));
                walk
            }
        };
        self.walks.push((walk, address));
        cache.walk_up_to(walk, address, time, |_, timestamp, _| {
            if time.contains(timestamp) {
                times.push(timestamp);
            }
        });
    }

    /// The rows of what was looked into, in order of arrival.
    fn read(&self, index: &ActiveIndex, within: TimeRange, wanted: &[Vec<u8>]) -> Rows {
        let mut rows = Transposed::new(index.shapes(), Some(wanted), NEWEST_ROWS);
        for (walk, address) in self.walks.iter().rev() {
            self.cache.walk_up_to(*walk, *address, within, |shape, timestamp, values| {
                if within.contains(timestamp) {
                    rows.push(shape, timestamp, values);
                }
            });
        }
        rows.finish()
    }
}
