//! The order of rows by time, found in one go: by merging runs, or by a sort, whichever is cheaper for how they came. For
//! many rows see [`super::time_order`].

/// Runs are merged as long as so many rows move per row; then a sort is cheaper.
const MOVES_PER_ROW: usize = 8;

/// Rows copied in one piece for what one move costs.
const COPIED_PER_MOVE: usize = 8;

/// The positions of `times` by time, those of equal times in order of arrival.
pub(super) fn time_order(times: &[i64]) -> Vec<u32> {
    order_of_runs(times).unwrap_or_else(|| {
        let mut order: Vec<u32> = (0..times.len() as u32).collect();
        order.sort_by_key(|&at| times[at as usize]);
        order
    })
}

/// The same for rows that came in runs of ascending times, each a little late: two clients beside each other, and pieces of
/// two requests on their way to one core, leave rows so. Each run is merged with those before it that are later. `None` when
/// that takes too many moves.
fn order_of_runs(times: &[i64]) -> Option<Vec<u32>> {
    let time = |at: u32| times[at as usize];
    let rows = times.len() as u32;
    let mut order: Vec<u32> = Vec::with_capacity(times.len());
    let mut moves_left = MOVES_PER_ROW * times.len();
    // The rows before the run that belong behind its first one.
    let mut later: Vec<u32> = Vec::new();
    let mut at = 0;
    while at < rows {
        let first = time(at);
        let mut end = at + 1;
        while end < rows && time(end - 1) <= time(end) {
            end += 1;
        }
        let place = place_after(&order, |other| time(other) <= first);
        later.clear();
        later.extend_from_slice(&order[place..]);
        order.truncate(place);
        let mut waiting = later.as_slice();
        while let [other, rest @ ..] = waiting
            && at < end
        {
            // Of one time those that came first.
            if time(*other) <= time(at) {
                order.push(*other);
                waiting = rest;
            } else {
                order.push(at);
                at += 1;
            }
            moves_left = moves_left.checked_sub(1)?;
        }
        order.extend_from_slice(waiting);
        order.extend(at..end);
        moves_left = moves_left.checked_sub(waiting.len() / COPIED_PER_MOVE)?;
        at = end;
    }
    Some(order)
}

/// How many of `order` are not after something, which are the first ones; looked for from the end in steps that double.
fn place_after(order: &[u32], is_not_after: impl Fn(u32) -> bool) -> usize {
    let (mut high, mut step) = (order.len(), 1);
    while let Some(at) = high.checked_sub(step)
        && !is_not_after(order[at])
    {
        high = at;
        step *= 2;
    }
    let low = high.saturating_sub(step);
    low + order[low..high].partition_point(|&at| is_not_after(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::ops::Range;

    #[test]
    fn runs_are_merged_and_rows_of_one_time_keep_the_order_of_arrival() {
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
        let interleaved: Vec<i64> = (0..40).step_by(2).chain((1..40).step_by(2)).collect();
        let alternating = (0..20).flat_map(|at| [at, at + 20]).collect();
        assert_eq!(order_of_runs(&interleaved), Some(alternating));
    }

    #[test]
    fn rows_that_are_very_late_are_left_to_a_sort() {
        assert_eq!(order_of_runs(&(0..1_000).rev().collect::<Vec<_>>()), None);
        let far_behind: Vec<i64> = (1_000..2_000).chain((0..100).rev()).collect();
        assert_eq!(order_of_runs(&far_behind), None);
        assert_eq!(time_order(&far_behind)[..100], (1_000..1_100).rev().collect::<Vec<_>>());
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
            for order in [order_of_runs(&times), Some(time_order(&times))].into_iter().flatten() {
                prop_assert_eq!(&order, &expected);
            }
        }
    }
}
