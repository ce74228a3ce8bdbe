//! Timestamps in nanoseconds since 1970-01-01T00:00:00Z, half-open ranges, windows.

/// The least timestamp a point may carry.
pub const TIME_MIN: i64 = i64::MIN + 2;
/// The greatest timestamp a point may carry. One less than `i64::MAX`, so that a half-open range can hold it.
pub const TIME_MAX: i64 = i64::MAX - 1;

/// `[start, end)` in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeRange {
    pub start: i64,
    pub end: i64,
}

impl TimeRange {
    pub const ALL: Self = Self { start: TIME_MIN, end: TIME_MAX + 1 };

    pub fn new(start: i64, end: i64) -> Self {
        Self { start, end }
    }

    pub fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    pub fn contains(&self, timestamp: i64) -> bool {
        self.start <= timestamp && timestamp < self.end
    }

    pub fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    pub fn intersect(&self, other: &Self) -> Self {
        Self { start: self.start.max(other.start), end: self.end.min(other.end) }
    }
}

/// `GROUP BY time(every, offset)`: windows start at `offset + k * every`. Both in nanoseconds, `every > 0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub every: i64,
    pub offset: i64,
}

impl Window {
    /// The start of the window that holds `timestamp`, saturating at the limits of time.
    pub fn start_of(&self, timestamp: i64) -> i64 {
        let shifted = timestamp as i128 - self.offset as i128;
        let start = shifted.div_euclid(self.every as i128) * self.every as i128 + self.offset as i128;
        start.max(i64::MIN as i128) as i64
    }
}
