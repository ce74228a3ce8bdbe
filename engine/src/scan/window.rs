//! Windows over sorted times: which rows of a chunk fall into the same `GROUP BY time` window.
//!
//! Times ascend, so a window's rows are one run; its end is found by galloping, and a run that follows its
//! predecessor's window directly costs no division. Starts before the least `i64` are shown as that (see
//! [`Window::start_of`]); the arithmetic here never overflows.

use std::ops::Range;

use crate::model::Window;

/// The rows of one window within a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The window's start; without windows the start given to [`runs`].
    pub start: i64,
    pub rows: Range<usize>,
}

/// The runs of ascending `times`, in order. Without windows all rows are one run that starts at `unwindowed`.
pub fn runs(window: Option<Window>, unwindowed: i64, times: &[i64]) -> Runs<'_> {
    Runs { window, unwindowed, times, at: 0, next: None }
}

/// See [`runs`].
pub struct Runs<'a> {
    window: Option<Window>,
    unwindowed: i64,
    times: &'a [i64],
    at: usize,
    /// Where the window before ended, which is where the next one starts when no window is empty.
    next: Option<i64>,
}

impl Iterator for Runs<'_> {
    type Item = Run;

    #[inline]
    fn next(&mut self) -> Option<Run> {
        let first = self.at;
        let time = *self.times.get(first)?;
        let Some(window) = self.window else {
            self.at = self.times.len();
            return Some(Run { start: self.unwindowed, rows: first..self.times.len() });
        };
        let (start, end) = match self.next.and_then(|start| Some((start, start.checked_add(window.every)?))) {
            Some((start, end)) if time < end => (start, Some(end)),
            _ => bounds_of(window, time),
        };
        self.next = end;
        self.at = match end {
            Some(end) => first + count_below(&self.times[first..], end),
            None => self.times.len(),
        };
        Some(Run { start, rows: first..self.at })
    }
}

/// Start and end of the window that holds `time`; no end when it lies beyond the greatest `i64`.
pub fn bounds_of(window: Window, time: i64) -> (i64, Option<i64>) {
    let fast = time
        .checked_sub(window.offset)
        .and_then(|shifted| time.checked_sub(shifted.rem_euclid(window.every)))
        .and_then(|start| Some((start, start.checked_add(window.every)?)));
    if let Some((start, end)) = fast {
        return (start, Some(end));
    }
    let shifted = i128::from(time) - i128::from(window.offset);
    let start = i128::from(time) - shifted.rem_euclid(i128::from(window.every));
    let end = start + i128::from(window.every);
    (start.max(i128::from(i64::MIN)) as i64, i64::try_from(end).ok())
}

/// The start of the window that holds both `first` and `last`, if one does; always without windows.
pub fn start_of_both(window: Option<Window>, unwindowed: i64, first: i64, last: i64) -> Option<i64> {
    let Some(window) = window else { return Some(unwindowed) };
    let (start, end) = bounds_of(window, first);
    end.is_none_or(|end| last < end).then_some(start)
}

/// How many of the ascending `times` are below `end`; the first is.
fn count_below(times: &[i64], end: i64) -> usize {
    if times.last().is_some_and(|last| *last < end) {
        return times.len();
    }
    let mut step = 1;
    while step < times.len() && times[step] < end {
        step *= 2;
    }
    let low = step / 2;
    low + times[low..step.min(times.len())].partition_point(|time| *time < end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{TIME_MAX, TIME_MIN};
    use proptest::prelude::*;

    #[test]
    fn without_windows_all_rows_are_one_run() {
        let all: Vec<Run> = runs(None, 7, &[1, 2, 3]).collect();
        assert_eq!(all, vec![Run { start: 7, rows: 0..3 }]);
        assert_eq!(runs(None, 7, &[]).count(), 0);
    }

    #[test]
    fn windows_at_the_limits_of_time_do_not_overflow() {
        let window = Window { every: i64::MAX, offset: 5 };
        let all: Vec<Run> = runs(Some(window), 0, &[TIME_MIN, 0, 5, TIME_MAX]).collect();
        assert_eq!(all.iter().map(|run| run.rows.len()).collect::<Vec<_>>(), vec![1, 1, 2]);
        assert_eq!(all[0].start, window.start_of(TIME_MIN));
        assert_eq!(start_of_both(Some(window), 0, 5, TIME_MAX), Some(5));
        assert_eq!(start_of_both(Some(window), 0, 4, 5), None);
    }

    proptest! {
        #[test]
        fn runs_equal_a_division_per_row(
            mut times in prop::collection::vec(-2000i64..2000, 0..200),
            every in 1i64..700,
            offset in -1000i64..1000,
        ) {
            times.sort();
            times.dedup();
            let window = Window { every, offset };
            let mut want: Vec<Run> = Vec::new();
            for (at, time) in times.iter().enumerate() {
                let start = window.start_of(*time);
                match want.last_mut() {
                    Some(run) if run.start == start => run.rows.end = at + 1,
                    _ => want.push(Run { start, rows: at..at + 1 }),
                }
            }
            prop_assert_eq!(runs(Some(window), 0, &times).collect::<Vec<_>>(), want);
        }
    }
}
