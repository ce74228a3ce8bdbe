//! The order of many rows by time, found in steps: who wants it can give way in between.
//!
//! 1. Pieces of [`ROWS_OF_A_PIECE`] rows are brought to order each by itself.
//! 2. Neighbours are merged until one is left. Only where their times overlap are rows touched, so that what came nearly
//!    in order costs little more than a look at each piece.
//!
//! Rows of one time stay in the order of arrival throughout. The times must be the same at every step, up to
//! [`TimeOrder::clear`]; dropping it half way leaves nothing behind.

use super::row_order::time_order;

/// Rows ordered in one step, and those merged or copied: a quarter of a millisecond at most.
const ROWS_OF_A_PIECE: usize = 4_096;
const ROWS_MERGED_IN_A_STEP: usize = 16_384;

/// Nanoseconds, about, that a row in random order takes in its piece, and in each merge.
const PIECE_NS: usize = 50;
const MERGE_NS: usize = 12;

/// See the head of this file. One per series whose rows are brought to order.
#[derive(Debug, Default)]
pub(crate) struct TimeOrder {
    /// Positions of rows, by time within each of the neighbouring pieces of `width` rows; the last one may be shorter.
    positions: Vec<u32>,
    width: usize,
    /// Where the pieces begin that are merged next.
    at: usize,
    merging: Option<Merging>,
    /// The earlier one of the pieces being merged, as far as the other overlaps it.
    earlier: Vec<u32>,
}

/// Two neighbouring pieces, cut to where they overlap: `start..middle` and `middle..end`.
#[derive(Debug)]
struct Merging {
    start: usize,
    middle: usize,
    end: usize,
    /// Rows taken from either.
    taken_earlier: usize,
    taken_later: usize,
}

impl TimeOrder {
    pub fn clear(&mut self) {
        self.positions.clear();
        self.earlier.clear();
        (self.width, self.at, self.merging) = (0, 0, None);
    }

    /// Whether it orders so many rows.
    pub fn is_whole(&self, rows: usize) -> bool {
        self.positions.len() == rows && self.width >= rows
    }

    /// The rows' positions by time, once it [`is_whole`](Self::is_whole).
    pub fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// Goes on for a while: the nanoseconds, about, that it took.
    pub fn step(&mut self, times: &[i64]) -> u64 {
        let work = if self.positions.len() < times.len() {
            self.order_piece(times)
        } else if let Some(merging) = self.merging.take() {
            self.merge(times, merging)
        } else {
            self.begin_merging(times);
            0
        };
        work as u64
    }

    fn order_piece(&mut self, times: &[i64]) -> usize {
        let start = self.positions.len();
        // Growing later would move all of them in one step.
        self.positions.reserve(times.len() - start);
        let piece = &times[start..times.len().min(start + ROWS_OF_A_PIECE)];
        self.positions.extend(time_order(piece).iter().map(|at| start as u32 + at));
        self.width = ROWS_OF_A_PIECE;
        PIECE_NS * piece.len()
    }

    fn begin_merging(&mut self, times: &[i64]) {
        let (start, middle) = (self.at, self.at + self.width);
        if middle >= self.positions.len() {
            (self.at, self.width) = (0, 2 * self.width);
            return;
        }
        let end = self.positions.len().min(middle + self.width);
        self.at = end;
        let time = |at: &u32| times[*at as usize];
        let (earlier, later) = (&self.positions[start..middle], &self.positions[middle..end]);
        let (last, first) = (time(&earlier[earlier.len() - 1]), time(&later[0]));
        if last > first {
            let start = start + earlier.partition_point(|at| time(at) <= first);
            let end = middle + later.partition_point(|at| time(at) < last);
            self.earlier.clear();
            self.merging = Some(Merging { start, middle, end, taken_earlier: 0, taken_later: 0 });
        }
    }

    /// Merges into the place of the earlier piece, which is copied away first.
    fn merge(&mut self, times: &[i64], mut merging: Merging) -> usize {
        let Merging { start, middle, end, .. } = merging;
        let copied = start + self.earlier.len();
        if copied < middle {
            self.earlier.reserve(middle - copied);
            let upto = middle.min(copied + ROWS_MERGED_IN_A_STEP);
            self.earlier.extend_from_slice(&self.positions[copied..upto]);
            self.merging = Some(merging);
            return upto - copied;
        }
        let time = |at: u32| times[at as usize];
        let (mut left, mut right) = (merging.taken_earlier, middle + merging.taken_later);
        let (from, left_end) = (left + merging.taken_later, self.earlier.len());
        let until = (from + ROWS_MERGED_IN_A_STEP).min(end - start);
        let mut rows = from;
        // What is left of the later piece at the end stands where it belongs.
        while rows < until && left < left_end {
            let mut next = self.earlier[left];
            if right < end && time(self.positions[right]) < time(next) {
                next = self.positions[right];
                right += 1;
            } else {
                left += 1;
            }
            self.positions[start + rows] = next;
            rows += 1;
        }
        (merging.taken_earlier, merging.taken_later) = (left, right - middle);
        self.merging = (left < left_end).then_some(merging);
        MERGE_NS * (rows - from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Orders the rows; steps it took, and the most work of one.
    fn check(times: &[i64]) -> (usize, u64) {
        let (mut order, mut steps, mut work_max) = (TimeOrder::default(), 0, 0);
        // The second time from the middle of the first.
        for _ in 0..steps_of(times) / 2 {
            order.step(times);
        }
        order.clear();
        while !order.is_whole(times.len()) {
            work_max = work_max.max(order.step(times));
            steps += 1;
        }
        let mut expected: Vec<u32> = (0..times.len() as u32).collect();
        expected.sort_by_key(|at| times[*at as usize]);
        assert!(order.positions() == expected, "it is that of a stable sort");
        (steps, work_max)
    }

    fn steps_of(times: &[i64]) -> usize {
        let mut order = TimeOrder::default();
        (0..).take_while(|_| !order.is_whole(times.len()) && order.step(times) < u64::MAX).count()
    }

    /// Times below `span`, in no order.
    fn anywhere(rows: usize, span: u64) -> Vec<i64> {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % span
        };
        (0..rows).map(|_| next() as i64).collect()
    }

    #[test]
    fn rows_in_any_order_are_ordered_as_by_a_stable_sort_in_short_steps() {
        for rows in [1, 2, ROWS_OF_A_PIECE, ROWS_OF_A_PIECE + 1, 100_000, 9 * ROWS_OF_A_PIECE] {
            for span in [3, 1_000, 1 << 30] {
                let (_, work_max) = check(&anywhere(rows, span));
                assert!(work_max <= 250_000, "of {rows} rows below {span}: {work_max} ns");
            }
        }
        check(&(0..50_000).rev().collect::<Vec<_>>());
        check(&(0..30_000).chain(10_000..60_000).chain(0..20_000).collect::<Vec<_>>());
    }

    #[test]
    fn of_rows_nearly_in_order_only_those_that_overlap_are_merged() {
        let mut times: Vec<i64> = (0..100_000).collect();
        times.chunks_mut(10).for_each(|rows| rows.reverse());
        let pieces = times.len().div_ceil(ROWS_OF_A_PIECE);
        let mut order = TimeOrder::default();
        for _ in 0..pieces {
            order.step(&times);
        }
        let mut work = 0;
        while !order.is_whole(times.len()) {
            work += order.step(&times);
        }
        assert!(work <= (pieces * 10 * (MERGE_NS + 1)) as u64, "{work} ns for {pieces} pieces");
        check(&times);
    }
}
