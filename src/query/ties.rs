//! Rows of several series with equal times, in InfluxDB's order.
//!
//! InfluxDB merges the series of a tag set, shard group by shard group, with the binary heap of Go's library. A heap does
//! not keep equals in order: which of them comes first depends on all rows before. So the same heap is walked here, move
//! for move, over all series of all cores.
//!
//! The heap takes a series' next row as soon as one of it is given out, wherever that next row lies. The cores therefore
//! send rows ahead: each in the place of the row before it in its series, the first ones at once. What has been sent and
//! not been taken yet is one row per series.
//!
//! Equal times are further ordered by the texts that come along: column by column, up to the first that holds no text.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::rc::Rc;

use hashbrown::HashMap;
use tidemark_engine::model::{Column, TimeRange};
use tidemark_engine::scan::gather::{RowAt, gather};
use tidemark_engine::scan::request::ScanChunk;

use super::{heap, rows};

/// Most series whose rows of equal times are so ordered. Beyond it the heap would hold a row of each for little use, and
/// equal times come in the order of series keys.
pub const TIED_SERIES_MAX: u64 = 1000;

/// Rows given out at once.
const PIECE_ROWS: usize = 1024;

/// What the order depends on beside the rows.
#[derive(Debug, Clone)]
pub struct TieOrder {
    /// Columns compared on equal times; one that holds no text ends the comparison.
    pub texts: Vec<usize>,
    /// Shard groups' ranges, ascending.
    pub ranges: Vec<TimeRange>,
    pub descending: bool,
    /// Only the first two rows are wanted, by which InfluxDB decides on `first` and `last`.
    pub is_edge: bool,
}

/// A chunk's rows.
#[derive(Debug)]
struct Piece {
    times: Vec<i64>,
    columns: Vec<Column>,
}

/// One row of a piece, and the series it is of.
#[derive(Debug, Clone)]
struct Row {
    /// Grows in the direction of the query.
    time: i64,
    series: usize,
    piece: Rc<Piece>,
    at: usize,
}

/// The piece a core's stream is at.
struct Current {
    piece: Rc<Piece>,
    /// Per row, the number of its series here.
    series: Vec<usize>,
    at: usize,
}

struct Series {
    key: Vec<u8>,
    stream: usize,
    /// Time of the last row sent; its next one is sent in this one's place.
    sent: i64,
    /// Sent and neither in the heap nor in `later`.
    next: Option<Row>,
}

/// The merge of one tag set's rows.
pub struct Ties {
    order: TieOrder,
    series: Vec<Series>,
    /// By stream and key: a series may be in several streams, of one shard group each.
    numbers: HashMap<(usize, Vec<u8>), usize>,
    /// Per stream; `None` when its chunk is used up.
    currents: Vec<Option<Current>>,
    /// Streams without further rows of the tag set.
    ended: Vec<bool>,
    heap: Vec<Row>,
    /// The shard group of the heap's rows.
    group: usize,
    /// First rows in shard groups still to come, by the group's place in the direction of the query.
    later: BTreeMap<usize, Vec<Row>>,
    has_begun: bool,
    out: Vec<Row>,
}

/// What has to happen before more can be given out.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// The stream's next chunk is wanted, by [`Ties::take`], or [`Ties::end`].
    Chunk(usize),
    /// [`Ties::rows`] has enough, or all there are.
    Rows,
}

impl Ties {
    pub fn new(order: TieOrder, streams: usize) -> Self {
        Self {
            order,
            series: Vec::new(),
            numbers: HashMap::new(),
            currents: (0..streams).map(|_| None).collect(),
            ended: vec![false; streams],
            heap: Vec::new(),
            group: 0,
            later: BTreeMap::new(),
            has_begun: false,
            out: Vec::new(),
        }
    }

    pub fn is_edge(&self) -> bool {
        self.order.is_edge
    }

    /// A stream's next chunk of the tag set.
    pub fn take(&mut self, stream: usize, chunk: ScanChunk) {
        let ScanChunk::Rows { times, columns, series, series_keys, .. } = chunk else { return };
        let mut numbers = Vec::with_capacity(series_keys.len());
        for key in series_keys {
            let number = self.numbers.entry((stream, key.clone())).or_insert_with(|| {
                self.series.push(Series { key, stream, sent: i64::MIN, next: None });
                self.series.len() - 1
            });
            numbers.push(*number);
        }
        let series: Vec<usize> = series.iter().map(|at| numbers[*at as usize]).collect();
        self.currents[stream] = Some(Current { piece: Rc::new(Piece { times, columns }), series, at: 0 });
    }

    /// The stream has no more rows of the tag set.
    pub fn end(&mut self, stream: usize) {
        self.ended[stream] = true;
    }

    /// Goes on until a chunk is wanted or a piece is full.
    pub fn step(&mut self) -> Step {
        if !self.has_begun {
            for stream in 0..self.currents.len() {
                if !self.receive(stream, i64::MIN) {
                    return Step::Chunk(stream);
                }
            }
            self.has_begun = true;
            if self.order.is_edge {
                self.begin_group();
                let first = heap::pop(&mut self.heap, &|a, b| Self::precedes(&self.order, a, b));
                // The next row of the same series has another time: it cannot stand between these.
                self.out.extend(first);
                self.out.extend(self.heap.first().cloned());
                return Step::Rows;
            }
        }
        if self.order.is_edge {
            return Step::Rows;
        }
        while self.out.len() < PIECE_ROWS {
            if self.heap.is_empty() && !self.begin_group() {
                break;
            }
            let Row { time, series, .. } = self.heap[0];
            // What comes after the row has to be known before it leaves the heap.
            let stream = self.series[series].stream;
            if !self.receive(stream, time) {
                return Step::Chunk(stream);
            }
            let Some(row) = heap::pop(&mut self.heap, &|a, b| Self::precedes(&self.order, a, b)) else {
                break;
            };
            if let Some(next) = self.series[series].next.take() {
                match self.group_of(&next) {
                    group if group == self.group => {
                        heap::push(&mut self.heap, next, &|a, b| Self::precedes(&self.order, a, b));
                    }
                    group => self.later.entry(group).or_default().push(next),
                }
            }
            self.out.push(row);
        }
        Step::Rows
    }

    /// The rows given out since the last call; `None` when there are none.
    pub fn rows(&mut self) -> Option<(Vec<i64>, Vec<Column>)> {
        let out = std::mem::take(&mut self.out);
        if out.is_empty() {
            return None;
        }
        let mut pieces: Vec<&[Column]> = Vec::new();
        let mut places: HashMap<*const Piece, u32> = HashMap::new();
        let mut order: Vec<RowAt> = Vec::with_capacity(out.len());
        for row in &out {
            let place = *places.entry(Rc::as_ptr(&row.piece)).or_insert_with(|| {
                pieces.push(&row.piece.columns);
                pieces.len() as u32 - 1
            });
            order.push((place, row.at as u32));
        }
        let times = out.iter().map(|row| row.piece.times[row.at]).collect();
        let columns = gather(&pieces, &order);
        Some((times, columns))
    }

    /// Takes the rows a stream sends in the place of rows up to `time`; `false` when its next chunk is wanted first.
    fn receive(&mut self, stream: usize, time: i64) -> bool {
        loop {
            let Some(current) = &mut self.currents[stream] else { return self.ended[stream] };
            while let Some(&number) = current.series.get(current.at) {
                let series = &mut self.series[number];
                if series.sent > time {
                    return true;
                }
                let at = current.at;
                let sent = current.piece.times[at];
                let sent = if self.order.descending { !sent } else { sent };
                let row = Row { time: sent, series: number, piece: current.piece.clone(), at };
                current.at += 1;
                if std::mem::replace(&mut series.sent, sent) == i64::MIN {
                    let group = group_of(&self.order, &row);
                    self.later.entry(group).or_default().push(row);
                } else {
                    series.next = Some(row);
                }
            }
            self.currents[stream] = None;
        }
    }

    /// Puts the first rows of the next shard group into the heap.
    fn begin_group(&mut self) -> bool {
        let Some((group, mut rows)) = self.later.pop_first() else { return false };
        self.group = group;
        rows.sort_by(|a, b| {
            let by_key = self.series[a.series].key.cmp(&self.series[b.series].key);
            if self.order.descending { by_key.reverse() } else { by_key }
        });
        self.heap = rows;
        heap::init(&mut self.heap, &|a, b| Self::precedes(&self.order, a, b));
        true
    }

    fn group_of(&self, row: &Row) -> usize {
        group_of(&self.order, row)
    }

    fn precedes(order: &TieOrder, a: &Row, b: &Row) -> bool {
        if a.time != b.time {
            return a.time < b.time;
        }
        for &column in &order.texts {
            let (Some(a), Some(b)) = (text(a, column), text(b, column)) else { return false };
            match a.cmp(b) {
                Ordering::Equal => {}
                Ordering::Less => return !order.descending,
                Ordering::Greater => return order.descending,
            }
        }
        false
    }
}

/// The place of a row's shard group, in the direction of the query.
fn group_of(order: &TieOrder, row: &Row) -> usize {
    let time = row.piece.times[row.at];
    let at = order.ranges.partition_point(|range| range.end <= time);
    if order.descending { order.ranges.len() - at.min(order.ranges.len()) } else { at }
}

fn text(row: &Row, column: usize) -> Option<&[u8]> {
    rows::text(row.piece.columns.get(column)?, row.at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemark_engine::model::Value;
    use tidemark_engine::scan::request::ScanGroup;

    fn plain(descending: bool) -> TieOrder {
        TieOrder { texts: Vec::new(), ranges: vec![TimeRange::ALL], descending, is_edge: false }
    }

    /// Series of `(key, times)` on one core, sent ahead; the series of the rows given out.
    fn merged(series: &[(&str, &[i64])], descending: bool) -> Vec<String> {
        merged_by(series, &[], plain(descending))
    }

    /// As [`merged`], with these texts of each series in the columns behind its number.
    fn merged_by(series: &[(&str, &[i64])], texts: &[&[Option<&str>]], order: TieOrder) -> Vec<String> {
        let descending = order.descending;
        let mut sent: Vec<(i64, usize, i64)> = Vec::new();
        for (number, (_, times)) in series.iter().enumerate() {
            let mut before = i64::MIN;
            for &time in *times {
                sent.push((before, number, time));
                before = if descending { !time } else { time };
            }
        }
        sent.sort_by_key(|(before, number, _)| (*before, *number));
        let mut numbers = Column::empty(tidemark_engine::model::FieldType::Integer);
        sent.iter().for_each(|(_, number, _)| numbers.push(Some(&Value::Integer(*number as i64))));
        let mut columns = vec![numbers];
        for texts in texts {
            let mut column = Column::empty(tidemark_engine::model::FieldType::String);
            let text = |number: usize| texts[number].map(|text| Value::String(text.into()));
            sent.iter().for_each(|(_, number, _)| column.push(text(*number).as_ref()));
            columns.push(column);
        }
        let mut ties = Ties::new(order, 1);
        let chunk = ScanChunk::Rows {
            group: ScanGroup { values: Vec::new() },
            times: sent.iter().map(|row| row.2).collect(),
            columns,
            series: sent.iter().map(|row| row.1 as u32).collect(),
            series_keys: series.iter().map(|(key, _)| key.as_bytes().to_vec()).collect(),
        };
        assert_eq!(ties.step(), Step::Chunk(0));
        ties.take(0, chunk);
        let (mut all, mut out) = (Vec::new(), Vec::new());
        loop {
            while ties.step() == Step::Chunk(0) {
                ties.end(0);
            }
            let Some((times, columns)) = ties.rows() else { break };
            assert!(times.len() <= PIECE_ROWS, "{} rows at once", times.len());
            all.extend(times);
            out.extend((0..columns[0].len()).map(|row| match columns[0].get(row) {
                Some(Value::Integer(number)) => series[number as usize].0.to_owned(),
                _ => String::new(),
            }));
        }
        assert!(all.windows(2).all(|pair| if descending { pair[0] >= pair[1] } else { pair[0] <= pair[1] }));
        assert_eq!(all.len(), series.iter().map(|one| one.1.len()).sum::<usize>());
        out
    }

    /// What series have before a time, or from it on.
    fn part<'a>(series: &[(&'a str, Vec<i64>)], is_meant: impl Fn(i64) -> bool) -> Vec<(&'a str, Vec<i64>)> {
        let times = |times: &Vec<i64>| times.iter().copied().filter(|time| is_meant(*time)).collect();
        series.iter().map(|(key, all)| (*key, times(all))).collect()
    }

    fn order_of(series: &[(&str, Vec<i64>)], order: TieOrder) -> String {
        let series: Vec<(&str, &[i64])> =
            series.iter().map(|(key, times)| (*key, times.as_slice())).collect();
        merged_by(&series, &[], order).concat()
    }

    #[test]
    fn every_shard_group_has_a_heap_of_its_own() {
        for descending in [false, true] {
            let times = |times: &[i64]| match descending {
                false => times.to_vec(),
                true => times.iter().rev().copied().collect(),
            };
            // The second group begins at 10, where some series have a row.
            let series = [
                ("a", times(&[1, 2, 9, 10, 11, 12])),
                ("b", times(&[2, 9, 10, 12])),
                ("c", times(&[1, 2, 9, 11, 12])),
                ("d", times(&[2, 10, 11, 12])),
                ("e", times(&[11, 12])),
            ];
            let ranges = vec![TimeRange::new(0, 10), TimeRange::new(10, 20)];
            let both = order_of(&series, TieOrder { ranges, ..plain(descending) });
            let alone =
                |is_meant: &dyn Fn(i64) -> bool| order_of(&part(&series, is_meant), plain(descending));
            let (early, late) = (alone(&|time| time < 10), alone(&|time| time >= 10));
            let want = if descending { format!("{late}{early}") } else { format!("{early}{late}") };
            assert_eq!(both, want);
            assert_ne!(both, order_of(&series, plain(descending)), "one heap for both tells nothing");
        }
    }

    #[test]
    fn texts_order_equal_times_up_to_the_first_column_that_holds_none() {
        let series: [(&str, &[i64]); 4] = [("a", &[1]), ("b", &[1]), ("c", &[1]), ("d", &[1])];
        let by = |texts: &[&[Option<&str>]], descending| {
            let columns = (1..=texts.len()).collect();
            merged_by(&series, texts, TieOrder { texts: columns, ..plain(descending) }).concat()
        };
        let (falling, same) = ([Some("4"), Some("3"), Some("2"), Some("1")], [Some("x"); 4]);
        assert_eq!(by(&[&falling], false), "dcba");
        assert_eq!(by(&[&falling], true), "abcd");
        assert_eq!(by(&[&same, &falling], false), "dcba", "equal ones leave it to the next");
        let untold = by(&[], false);
        assert_eq!(by(&[&[None; 4], &falling], false), untold);
        assert_ne!(untold, "dcba");
    }

    #[test]
    fn rows_are_given_out_in_pieces() {
        let times: Vec<i64> = (0..1_500).collect();
        let order = merged(&[("a", &times), ("b", &times)], false).concat();
        assert_eq!(order.matches('a').count(), 1_500);
    }

    /// As influxd 1.6.7 answers.
    #[test]
    fn equal_times_come_as_the_heap_has_them() {
        let all: &[i64] = &[1, 2, 3];
        let aligned = [("a", all), ("b", all), ("c", all), ("d", all)];
        assert_eq!(merged(&aligned, false).concat(), "adbcbcadadcb");
        let back: &[i64] = &[3, 2, 1];
        let aligned = [("a", back), ("b", back), ("c", back), ("d", back)];
        assert_eq!(merged(&aligned, true).concat(), "dacbcbdadabc");
        let mixed: [(&str, &[i64]); 4] =
            [("a", &[1, 2, 5]), ("b", &[2, 3, 5]), ("c", &[1, 2, 3, 5]), ("d", &[2, 5])];
        assert_eq!(merged(&mixed, false).concat(), "acacbdbcbcad");
    }
}
