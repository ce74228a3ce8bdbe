//! The order of rows by time, found in one go: by merging runs, by moving rows a few places, or by a sort, whichever is
//! cheapest for how they came. For many rows see [`super::time_order`].

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

/// Merging runs of rows in pieces of fewer rows on average is not worth it.
const ROWS_PER_PIECE_MIN: usize = 4;

/// Rows are brought to order by moving them one by one as long as they move so many places on average; then a sort is
/// cheaper.
const MOVES_PER_ROW: usize = 8;

/// The positions of `times` by time, those of equal times in order of arrival.
pub(super) fn time_order(times: &[i64]) -> Vec<u32> {
    order_of_runs(times).or_else(|| order_by_moves(times)).unwrap_or_else(|| {
        let mut order: Vec<u32> = (0..times.len() as u32).collect();
        order.sort_by_key(|&at| times[at as usize]);
        order
    })
}

/// The same for rows that stand a few places from where they belong: moving them there one by one takes less than a sort
/// does. `None` when it takes too many moves.
fn order_by_moves(times: &[i64]) -> Option<Vec<u32>> {
    let mut order: Vec<u32> = (0..times.len() as u32).collect();
    let mut moves_left = MOVES_PER_ROW * times.len();
    for at in 1..times.len() {
        let time = times[at];
        let mut to = at;
        while to > 0 && times[order[to - 1] as usize] > time {
            moves_left = moves_left.checked_sub(1)?;
            order[to] = order[to - 1];
            to -= 1;
        }
        order[to] = at as u32;
    }
    Some(order)
}

/// The same for rows that came in runs of ascending times: two clients beside each other, and pieces of two requests on
/// their way to one core, leave rows so. The runs are merged a piece at a time, up to where the next run goes on. `None`
/// when the pieces are short.
fn order_of_runs(times: &[i64]) -> Option<Vec<u32>> {
    let time = |at: u32| times[at as usize];
    let pieces_max = times.len() / ROWS_PER_PIECE_MIN;
    let mut ends = Vec::new();
    for (at, pair) in (1..).zip(times.windows(2)) {
        if pair[0] > pair[1] {
            if ends.len() == pieces_max {
                return None;
            }
            ends.push(at);
        }
    }
    ends.push(times.len() as u32);
    let begins = std::iter::once(0).chain(ends.iter().copied());
    // The next row of each run, the earliest first; of one time that which came first, which is in the earlier run.
    let mut heads: BinaryHeap<Reverse<(i64, u32, u32)>> =
        begins.zip(&ends).map(|(begin, &end)| Reverse((time(begin), begin, end))).collect();
    let mut order = Vec::with_capacity(times.len());
    let mut pieces = 0;
    while let Some(Reverse((_, begin, end))) = heads.pop() {
        if pieces == pieces_max {
            return None;
        }
        pieces += 1;
        let upto = match heads.peek() {
            None => end,
            Some(&Reverse((other, other_begin, _))) => {
                let is_first = |at| time(at) < other || (time(at) == other && begin < other_begin);
                reach(begin..end, is_first)
            }
        };
        order.extend(begin..upto);
        if upto < end {
            heads.push(Reverse((time(upto), upto, end)));
        }
    }
    Some(order)
}

/// The end of the positions for which `is_before` holds, which are the first ones of `span`, found in steps that double.
fn reach(span: Range<u32>, is_before: impl Fn(u32) -> bool) -> u32 {
    let (mut low, mut step) = (span.start, 1);
    while low + step < span.end && is_before(low + step) {
        low += step;
        step *= 2;
    }
    let mut high = (low + step).min(span.end);
    // All before `low` are, none from `high` on.
    while low < high {
        let middle = low + (high - low) / 2;
        if is_before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn runs_are_merged_in_pieces_and_rows_of_one_time_keep_the_order_of_arrival() {
        let run = |times: Range<i64>| times.collect::<Vec<_>>();
        let merged = |runs: &[Vec<i64>]| order_of_runs(&runs.concat());
        let positions = |pieces: &[Range<u32>]| Some(pieces.iter().cloned().flatten().collect::<Vec<_>>());
        let (early, middle, late) = (run(0..10), run(10..20), run(20..30));
        assert_eq!(merged(&[middle.clone(), late.clone(), early.clone()]), positions(&[20..30, 0..20]));
        assert_eq!(merged(&[early, late.clone(), middle.clone()]), positions(&[0..10, 20..30, 10..20]));
        assert_eq!(merged(&[late, run(0..11), middle.clone()]), positions(&[10..31, 0..10]), "20 after 20");
        assert_eq!(
            merged(&[middle, run(0..11)]),
            positions(&[10..20, 0..1, 20..21, 1..10]),
            "the first 10 first"
        );
        assert_eq!(order_of_runs(&[3, 2, 1, 0]), None, "runs of one row each");
        let interleaved: Vec<i64> = (0..40).step_by(2).chain((1..40).step_by(2)).collect();
        assert_eq!(order_of_runs(&interleaved), None, "pieces of one row each");
    }

    proptest! {
        /// Whichever way is taken, it is that of a stable sort.
        #[test]
        fn every_way_to_order_rows_is_that_of_a_stable_sort(
            runs in prop::collection::vec((0i64..60, 1i64..20), 1..20),
            singles in prop::collection::vec(0i64..60, 0..20),
        ) {
            let runs = runs.into_iter().flat_map(|(start, length)| start..start + length);
            let times: Vec<i64> = runs.chain(singles).collect();
            let mut expected: Vec<u32> = (0..times.len() as u32).collect();
            expected.sort_by_key(|&at| times[at as usize]);
            for order in [order_of_runs(&times), order_by_moves(&times), Some(time_order(&times))].into_iter().flatten() {
                prop_assert_eq!(&order, &expected);
            }
        }
    }
}
