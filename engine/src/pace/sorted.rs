//! Lists of any length put in order, merged and let go of, giving way in between: an answer may name a million series.

use super::Pace;

/// Items handled in one go.
const RUN: usize = 256;
/// Nanoseconds, about, that an item takes to be compared and moved, or dropped.
const ITEM_NS: u64 = 60;

/// The items in ascending order, each once. Quick where they are in order, or made of a few parts that are.
pub async fn sorted<T: Ord>(items: Vec<T>, pace: &Pace) -> Vec<T> {
    let mut in_order = 1;
    while in_order < items.len() && items[in_order - 1] < items[in_order] {
        in_order += 1;
        pace.spent(ITEM_NS / 4).await;
    }
    if in_order >= items.len() {
        return items;
    }
    let mut runs: Vec<Vec<T>> = Vec::new();
    let mut items = items.into_iter().peekable();
    while items.peek().is_some() {
        // A list that grows is copied at once, however long it is.
        let mut run: Vec<T> = Vec::with_capacity(if runs.is_empty() { in_order } else { RUN });
        while let Some(next) = items.next_if(|next| run.last().is_none_or(|last| last < next)) {
            run.push(next);
            pace.spent(ITEM_NS).await;
        }
        if run.len() < RUN {
            run.extend(items.by_ref().take(RUN - run.len()));
            run.sort_unstable();
            run.dedup();
            pace.spent(ITEM_NS * run.len() as u64).await;
        }
        runs.push(run);
    }
    // Pairwise, so that each item moves as often as the logarithm of the runs.
    while runs.len() > 1 {
        let mut merged = Vec::with_capacity(runs.len().div_ceil(2));
        let mut pairs = runs.into_iter();
        while let Some(left) = pairs.next() {
            merged.push(match pairs.next() {
                Some(right) => union(left, right, pace).await,
                None => left,
            });
        }
        runs = merged;
    }
    runs.pop().unwrap_or_default()
}

/// What is in either of two ascending lists, each item once.
pub async fn union<T: Ord>(left: Vec<T>, right: Vec<T>, pace: &Pace) -> Vec<T> {
    if left.is_empty() || right.is_empty() {
        return if left.is_empty() { right } else { left };
    }
    let mut all: Vec<T> = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    loop {
        let from = match (left.peek(), right.peek()) {
            (None, None) => return all,
            (Some(next), Some(other)) if next > other => &mut right,
            (None, Some(_)) => &mut right,
            _ => &mut left,
        };
        if let Some(next) = from.next()
            && all.last() != Some(&next)
        {
            all.push(next);
        }
        pace.spent(ITEM_NS).await;
    }
}

/// Drops items.
pub async fn let_go<T>(items: impl IntoIterator<Item = T>, pace: &Pace) {
    for item in items {
        drop(item);
        pace.spent(ITEM_NS).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, poll_once};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    use super::*;
    use crate::limits::PACE_UNITS;

    proptest! {
        #[test]
        fn items_come_in_order_each_once(
            parts in prop::collection::vec((prop::collection::vec(0u16..2_000, 0..600), any::<bool>()), 0..5),
        ) {
            let items: Vec<u16> = parts
                .into_iter()
                .flat_map(|(mut part, is_sorted)| {
                    if is_sorted {
                        part.sort_unstable();
                    }
                    part
                })
                .collect();
            let wanted: Vec<u16> = BTreeSet::from_iter(items.iter().copied()).into_iter().collect();
            prop_assert_eq!(block_on(sorted(items, &Pace::new())), wanted);
        }

        #[test]
        fn a_union_has_what_either_list_has(left: BTreeSet<u8>, right: BTreeSet<u8>) {
            let wanted: Vec<u8> = left.union(&right).copied().collect();
            let of = |set: BTreeSet<u8>| set.into_iter().collect();
            prop_assert_eq!(block_on(union(of(left), of(right), &Pace::new())), wanted);
        }
    }

    #[test]
    fn long_lists_give_way() {
        let many = || (0..PACE_UNITS).rev().collect::<Vec<_>>();
        assert!(block_on(poll_once(sorted(many(), &Pace::new()))).is_none());
        assert!(block_on(poll_once(let_go(many(), &Pace::new()))).is_none());
        let ascending = || (0..PACE_UNITS).collect::<Vec<_>>();
        assert!(block_on(poll_once(union(ascending(), ascending(), &Pace::new()))).is_none());
    }
}
