//! When long work gives way.
//!
//! The engine cannot sleep and does not know the executor: long work counts its units with [`Pace`] and gives way by
//! returning `Pending` once; who runs next is decided outside. An executor that knows when a turn is over says so by
//! [`ask_whether_a_turn_is_over`]: what work costs is an estimate, which can be off by several times.

pub mod sorted;

use std::cell::Cell;

use crate::limits::{PACE_ASKED_UNITS, PACE_UNITS};

thread_local! {
    static IS_TURN_OVER: Cell<fn() -> bool> = const { Cell::new(|| false) };
}

/// From now on all work of this thread asks `is_over` every [`PACE_ASKED_UNITS`], and gives way when it says yes.
pub fn ask_whether_a_turn_is_over(is_over: fn() -> bool) {
    IS_TURN_OVER.set(is_over);
}

/// Counts work and gives way to others after every [`PACE_UNITS`], and earlier when the turn is over.
///
/// A unit is about a byte handled or a nanosecond of CPU, whichever is easier to know; between two yields lies well
/// under a millisecond.
#[derive(Debug, Default)]
pub struct Pace {
    /// Since the executor was last asked.
    unasked: Cell<u64>,
    /// Before that, since the work last gave way.
    asked: Cell<u64>,
}

impl Pace {
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts `units` of work done, and yields when it is time to.
    #[inline]
    pub async fn spent(&self, units: u64) {
        let unasked = self.unasked.get() + units;
        if unasked < PACE_ASKED_UNITS {
            self.unasked.set(unasked);
            return;
        }
        self.ask(unasked).await;
    }

    /// As [`spent`](Self::spent), of work that may have taken far longer: asks at once whether the turn is over.
    #[inline]
    pub async fn spent_at_least(&self, units: u64) {
        self.ask(self.unasked.get() + units).await;
    }

    async fn ask(&self, unasked: u64) {
        self.unasked.set(0);
        let all = self.asked.get() + unasked;
        if all < PACE_UNITS && !IS_TURN_OVER.get()() {
            self.asked.set(all);
        } else {
            self.asked.set(0);
            futures_lite::future::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, poll_once};

    use super::*;

    /// How many units, counted in hundreds, are spent until the work gives way.
    fn units_until_it_gives_way() -> u64 {
        let pace = Pace::new();
        let turns = (1..).find(|_| block_on(poll_once(pace.spent(100))).is_none());
        turns.expect("it gives way some time") * 100
    }

    #[test]
    fn work_gives_way_after_its_units_or_when_the_turn_is_over() {
        assert_eq!(units_until_it_gives_way(), PACE_UNITS.next_multiple_of(100));
        ask_whether_a_turn_is_over(|| true);
        assert_eq!(units_until_it_gives_way(), PACE_ASKED_UNITS.next_multiple_of(100));
        assert!(block_on(poll_once(Pace::new().spent_at_least(1))).is_none(), "nobody knows what it took");
        ask_whether_a_turn_is_over(|| false);
        assert_eq!(units_until_it_gives_way(), PACE_UNITS.next_multiple_of(100));
        assert!(block_on(poll_once(Pace::new().spent_at_least(1))).is_some());
    }
}
