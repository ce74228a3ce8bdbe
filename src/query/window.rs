//! GROUP BY time windows, in a time zone when there is one.

use std::ops::Range;

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::Tz;
use tidemark_engine::model::Window;

use super::condition::{MAX_TIME, MIN_TIME};

/// `time(every, offset)` in ns, `every > 0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    pub every: i64,
    pub offset: i64,
}

/// How times fall into windows. Without an interval there is one window: the range.
#[derive(Debug, Clone, Copy)]
pub struct Windows {
    pub interval: Option<Interval>,
    pub zone: Option<Tz>,
    /// Inclusive.
    pub start: i64,
    /// Inclusive.
    pub end: i64,
}

impl Windows {
    /// `[start, end)` of the window that holds `time`.
    pub fn bounds(&self, time: i64) -> (i64, i64) {
        let Some(Interval { every, offset }) = self.interval else {
            return (self.start, self.end.saturating_add(1));
        };
        let time = time.saturating_sub(offset);
        let zone = self.zone_offset(time);
        let into = (time.saturating_add(zone)).rem_euclid(every);
        let mut start = if MIN_TIME.saturating_add(into) >= time { MIN_TIME } else { time - into };
        start = start.saturating_add(offset);
        if self.zone.is_some() {
            start = start.saturating_add(self.correction(zone, start, every));
        }
        let rest = every - into;
        let mut end = if MAX_TIME - rest <= time { MAX_TIME } else { time + rest };
        end = end.saturating_add(offset);
        if self.zone.is_some() {
            end = end.saturating_add(self.correction(zone, end, every));
        }
        (start, end)
    }

    /// The start of the window that holds `time`.
    pub fn start_of(&self, time: i64) -> i64 {
        self.bounds(time).0
    }

    /// How far the clock of the zone is ahead of UTC at `time`, ns.
    pub fn zone_offset(&self, time: i64) -> i64 {
        self.zone.map_or(0, |zone| zone_offset(zone, time))
    }

    /// Moves a window's start on to that of the next one, over changes of the clock. `offset` is the zone's at the start.
    pub fn step(&self, start: &mut i64, offset: &mut i64, ascending: bool) {
        let every = self.interval.map_or(0, |interval| interval.every);
        *start = if ascending { start.saturating_add(every) } else { start.saturating_sub(every) };
        if self.zone.is_some() {
            let now = self.zone_offset(start.saturating_sub(1));
            if now != *offset {
                let moved = *offset - now;
                if moved.abs() < every {
                    *start = start.saturating_add(moved);
                }
                *offset = now;
            }
        }
    }

    /// The move of a border where the clock was changed within the window, unless the change is longer than it.
    fn correction(&self, zone: i64, border: i64, every: i64) -> i64 {
        let moved = zone - self.zone_offset(border);
        if moved != 0 && moved.abs() < every { moved } else { 0 }
    }

    /// The engine's form, where the windows need no calendar.
    pub fn plain(&self) -> Option<Window> {
        match (self.interval, self.zone) {
            (Some(Interval { every, offset }), None) => Some(Window { every, offset }),
            _ => None,
        }
    }

    /// Runs of rows in the same window: (window start, rows). `times` ascend or descend.
    pub fn runs(&self, times: &[i64], mut visit: impl FnMut(i64, i64, Range<usize>)) {
        let mut at = 0;
        while at < times.len() {
            let (start, end) = self.bounds(times[at]);
            let first = at;
            at += 1;
            if self.interval.is_none() {
                at = times.len();
            }
            while at < times.len() && start <= times[at] && times[at] < end {
                at += 1;
            }
            visit(start, end, first..at);
        }
    }
}

/// How far a zone's clock is ahead of UTC at `time`, both in ns.
pub fn zone_offset(zone: Tz, time: i64) -> i64 {
    let utc = DateTime::from_timestamp_nanos(time).naive_utc();
    i64::from(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc()) * 1_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000_000_000;
    const HOUR: i64 = 3_600_000_000_000;

    #[test]
    fn days_follow_the_clock_of_the_zone_across_its_changes() {
        let windows = Windows {
            interval: Some(Interval { every: DAY, offset: 0 }),
            zone: Some(chrono_tz::America::Los_Angeles),
            start: 0,
            end: i64::MAX - 1,
        };
        // 2000-04-02 has 23 hours there: 08:00Z to 07:00Z of the next day.
        let day = 954_662_400_000_000_000 + HOUR;
        let (start, end) = windows.bounds(day);
        assert_eq!(start, 954_662_400_000_000_000);
        assert_eq!(end - start, 23 * HOUR);
    }

    #[test]
    fn windows_before_the_epoch_start_below_their_times() {
        let windows = Windows {
            interval: Some(Interval { every: 10, offset: 3 }),
            zone: None,
            start: MIN_TIME,
            end: MAX_TIME,
        };
        assert_eq!(windows.bounds(-1), (-7, 3));
        assert_eq!(windows.bounds(3), (3, 13));
    }
}
