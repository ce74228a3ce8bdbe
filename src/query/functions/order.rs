//! Rows in order of their values, equal ones as InfluxDB leaves them.
//!
//! `percentile` and `mode` show which of several equal values was chosen: by its time, or by the fields that come with
//! it. InfluxDB sorts with Go's `sort.Sort`, which is not stable, so the order of equals is that algorithm's: a
//! pattern-defeating quicksort that is insertion sort for up to twelve rows. Every choice of it below is therefore part
//! of the answer; none is a matter of taste.

/// Longest range that is sorted by insertion.
const INSERTION_MAX: usize = 12;
/// From here on the pivot is a median of medians, and sorted ranges are mended rather than partitioned.
const LONG: usize = 50;
/// Exchanges of a pivot's choice when all comparisons went against the order.
const EXCHANGES_MAX: usize = 12;
/// Neighbours out of order that are mended before a range counts as unsorted.
const MENDED_MAX: usize = 5;

/// Positions `0..length` in order; `less` compares two positions.
pub fn ordered(length: usize, less: &dyn Fn(usize, usize) -> bool) -> Vec<usize> {
    let mut rows = Rows { rows: (0..length).collect(), less };
    if length > 1 {
        rows.sort(0, length, usize::BITS - length.leading_zeros());
    }
    rows.rows
}

struct Rows<'a> {
    rows: Vec<usize>,
    less: &'a dyn Fn(usize, usize) -> bool,
}

#[derive(PartialEq)]
enum Hint {
    Unknown,
    Increasing,
    Decreasing,
}

impl Rows<'_> {
    fn less(&self, a: usize, b: usize) -> bool {
        (self.less)(self.rows[a], self.rows[b])
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.rows.swap(a, b);
    }

    /// Sorts `start..end`; after `bad_left` bad pivots by heap.
    fn sort(&mut self, mut start: usize, mut end: usize, mut bad_left: u32) {
        let mut was_balanced = true;
        let mut was_partitioned = true;
        loop {
            let length = end - start;
            if length <= INSERTION_MAX {
                return self.insertion(start, end);
            }
            if bad_left == 0 {
                return self.heap(start, end);
            }
            if !was_balanced {
                self.scatter(start, end);
                bad_left -= 1;
            }
            let (mut pivot, mut hint) = self.pivot(start, end);
            if hint == Hint::Decreasing {
                self.rows[start..end].reverse();
                pivot = (end - 1) - (pivot - start);
                hint = Hint::Increasing;
            }
            if was_balanced && was_partitioned && hint == Hint::Increasing && self.mended(start, end) {
                return;
            }
            // All that is left is not less than what stands before: rows equal to the pivot are done with.
            if start > 0 && !self.less(start - 1, pivot) {
                start = self.partition_equal(start, end, pivot);
                continue;
            }
            let (middle, already) = self.partition(start, end, pivot);
            was_partitioned = already;
            let (left, right) = (middle - start, end - middle);
            if left < right {
                was_balanced = left >= length / 8;
                self.sort(start, middle, bad_left);
                start = middle + 1;
            } else {
                was_balanced = right >= length / 8;
                self.sort(middle + 1, end, bad_left);
                end = middle;
            }
        }
    }

    fn insertion(&mut self, start: usize, end: usize) {
        for at in start + 1..end {
            let mut to = at;
            while to > start && self.less(to, to - 1) {
                self.swap(to, to - 1);
                to -= 1;
            }
        }
    }

    fn heap(&mut self, start: usize, end: usize) {
        let length = end - start;
        for root in (0..=(length - 1) / 2).rev() {
            self.sift(root, length, start);
        }
        for last in (0..length).rev() {
            self.swap(start, start + last);
            self.sift(0, last, start);
        }
    }

    fn sift(&mut self, mut root: usize, length: usize, start: usize) {
        loop {
            let mut child = 2 * root + 1;
            if child >= length {
                return;
            }
            if child + 1 < length && self.less(start + child, start + child + 1) {
                child += 1;
            }
            if !self.less(start + root, start + child) {
                return;
            }
            self.swap(start + root, start + child);
            root = child;
        }
    }

    /// Rows below the pivot, it, the others; its place, and whether they stood so already.
    fn partition(&mut self, start: usize, end: usize, pivot: usize) -> (usize, bool) {
        self.swap(start, pivot);
        let (mut low, mut high) = (start + 1, end - 1);
        let mut already = true;
        loop {
            while low <= high && self.less(low, start) {
                low += 1;
            }
            while low <= high && !self.less(high, start) {
                high -= 1;
            }
            if low > high {
                self.swap(high, start);
                return (high, already);
            }
            already = false;
            self.swap(low, high);
            low += 1;
            high -= 1;
        }
    }

    /// Rows equal to the pivot, then the greater ones; there are no smaller ones. Where the latter begin.
    fn partition_equal(&mut self, start: usize, end: usize, pivot: usize) -> usize {
        self.swap(start, pivot);
        let (mut low, mut high) = (start + 1, end - 1);
        loop {
            while low <= high && !self.less(start, low) {
                low += 1;
            }
            while low <= high && self.less(start, high) {
                high -= 1;
            }
            if low > high {
                return low;
            }
            self.swap(low, high);
            low += 1;
            high -= 1;
        }
    }

    /// Mends a few neighbours out of order; whether the range is sorted then.
    fn mended(&mut self, start: usize, end: usize) -> bool {
        let mut at = start + 1;
        for _ in 0..MENDED_MAX {
            while at < end && !self.less(at, at - 1) {
                at += 1;
            }
            if at == end {
                return true;
            }
            if end - start < LONG {
                return false;
            }
            self.swap(at, at - 1);
            if at - start >= 2 {
                let mut to = at - 1;
                while to >= 1 && self.less(to, to - 1) {
                    self.swap(to, to - 1);
                    to -= 1;
                }
            }
            if end - at >= 2 {
                let mut to = at + 1;
                while to < end && self.less(to, to - 1) {
                    self.swap(to, to - 1);
                    to += 1;
                }
            }
        }
        false
    }

    /// Exchanges a few rows, to break the pattern that made a pivot bad.
    fn scatter(&mut self, start: usize, end: usize) {
        let length = end - start;
        let mask = (1u64 << (usize::BITS - length.leading_zeros())) - 1;
        let mut random = length as u64;
        let first = start + length / 4 * 2 - 1;
        for at in first..first + 3 {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            let mut other = (random & mask) as usize;
            if other >= length {
                other -= length;
            }
            self.swap(at, start + other);
        }
    }

    fn pivot(&self, start: usize, end: usize) -> (usize, Hint) {
        let quarter = (end - start) / 4;
        let (mut a, mut b, mut c) = (start + quarter, start + quarter * 2, start + quarter * 3);
        let mut exchanges = 0;
        if end - start >= LONG {
            a = self.median(a - 1, a, a + 1, &mut exchanges);
            b = self.median(b - 1, b, b + 1, &mut exchanges);
            c = self.median(c - 1, c, c + 1, &mut exchanges);
        }
        let pivot = self.median(a, b, c, &mut exchanges);
        let hint = match exchanges {
            0 => Hint::Increasing,
            EXCHANGES_MAX => Hint::Decreasing,
            _ => Hint::Unknown,
        };
        (pivot, hint)
    }

    fn median(&self, a: usize, b: usize, c: usize, exchanges: &mut usize) -> usize {
        let mut in_order = |a: usize, b: usize| {
            if self.less(b, a) {
                *exchanges += 1;
                (b, a)
            } else {
                (a, b)
            }
        };
        let (a, b) = in_order(a, b);
        let (b, _) = in_order(b, c);
        let (_, b) = in_order(a, b);
        b
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[i64]) {
        let order = ordered(values.len(), &|a, b| values[a] < values[b]);
        let mut sorted = values.to_vec();
        sorted.sort_unstable();
        assert_eq!(order.iter().map(|row| values[*row]).collect::<Vec<_>>(), sorted);
        let mut rows = order.clone();
        rows.sort_unstable();
        assert_eq!(rows, (0..values.len()).collect::<Vec<_>>());
    }

    #[test]
    fn every_pattern_is_sorted() {
        for length in [0, 1, 2, 12, 13, 49, 50, 200, 1000] {
            let length = length as i64;
            check(&(0..length).collect::<Vec<_>>());
            check(&(0..length).rev().collect::<Vec<_>>());
            check(&(0..length).map(|at| at * 7919 % 31).collect::<Vec<_>>());
            check(&(0..length).map(|at| (at - length / 2).abs()).collect::<Vec<_>>());
            check(&(0..length).map(|at| at * at % (length + 1)).collect::<Vec<_>>());
            check(&vec![1; length as usize]);
        }
    }

    /// As a program in Go sorts them.
    #[test]
    fn few_equal_rows_keep_their_order_and_many_do_not() {
        let few = [2, 1, 2, 1, 1];
        assert_eq!(ordered(5, &|a, b| few[a] < few[b]), [1, 3, 4, 0, 2]);
        let many: Vec<i64> = (0..20).map(|at| (at * 7 + 3) % 4).collect();
        let stable = {
            let mut rows: Vec<usize> = (0..20).collect();
            rows.sort_by_key(|row| many[*row]);
            rows
        };
        assert_ne!(ordered(20, &|a, b| many[a] < many[b]), stable);
    }
}
