//! Whether series that pass by come again soon enough to be worth remembering.
//!
//! Of the keys one in so many is kept, chosen by its hash, so that a series is always kept or never. What is found among
//! the last of them was seen within about as many series as `tables` would remember.

use super::tables::KNOWN_PART_MIN;

/// One series in so many is sampled.
const SAMPLED: u64 = 256;
/// Sampled series kept: those of some ten thousand series before.
const KEPT: usize = 64;
/// Samples that a judgement takes.
const SAMPLES_MIN: u32 = 32;
/// After so many lines of which fewer were sampled, there are few series, again and again.
const LINES_MAX: u32 = 16_384;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Recurrence {
    /// The last sampled hashes, the oldest at `at`.
    recent: [u64; KEPT],
    at: usize,
    lines: u32,
    sampled: u32,
    again: u32,
}

impl Default for Recurrence {
    fn default() -> Self {
        Self { recent: [0; KEPT], at: 0, lines: 0, sampled: 0, again: 0 }
    }
}

impl Recurrence {
    /// Notes a line by the hash of its series.
    #[inline]
    pub fn note(&mut self, hash: u64) {
        self.lines += 1;
        // Not the lowest bits, which place a series: bodies may hold the series of one shard alone.
        if (hash >> 32).is_multiple_of(SAMPLED) {
            self.sample(hash);
        }
    }

    #[cold]
    fn sample(&mut self, hash: u64) {
        self.sampled += 1;
        if self.recent.contains(&hash) {
            self.again += 1;
        } else {
            self.recent[self.at] = hash;
            self.at = (self.at + 1) % KEPT;
        }
    }

    /// Whether enough of them come again. Once enough was seen to tell that they do not, it begins anew.
    pub fn is_found(&mut self) -> bool {
        let is_found = if self.sampled < SAMPLES_MIN {
            self.lines >= LINES_MAX
        } else {
            self.again >= self.sampled / KNOWN_PART_MIN
        };
        if self.sampled >= SAMPLES_MIN {
            (self.lines, self.sampled, self.again) = (0, 0, 0);
        }
        is_found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemark_engine::model::series_key;

    fn note(recurrence: &mut Recurrence, series: std::ops::Range<u32>) {
        series.for_each(|series| recurrence.note(series_key::hash(&series.to_le_bytes())));
    }

    #[test]
    fn series_that_never_come_again_are_not_found() {
        let mut recurrence = Recurrence::default();
        for body in 0..200 {
            note(&mut recurrence, 5_000 * body..5_000 * (body + 1));
            assert!(!recurrence.is_found(), "{body}");
        }
    }

    #[test]
    fn series_that_come_again_with_the_next_bodies_are_found() {
        let mut recurrence = Recurrence::default();
        note(&mut recurrence, 100_000..200_000);
        assert!(!recurrence.is_found());
        let bodies = (0..10).take_while(|_| {
            note(&mut recurrence, 0..5_000);
            !recurrence.is_found()
        });
        assert!(bodies.count() < 6);
    }

    #[test]
    fn series_that_come_again_after_more_than_are_remembered_are_not_found() {
        let mut recurrence = Recurrence::default();
        for _ in 0..10 {
            note(&mut recurrence, 0..100_000);
            assert!(!recurrence.is_found());
        }
    }

    #[test]
    fn a_handful_of_series_is_found_though_none_is_sampled() {
        let mut recurrence = Recurrence::default();
        let lines = (0..u64::from(LINES_MAX)).map(|line| (line % 3) << 50 | 1 << 32);
        lines.for_each(|hash| recurrence.note(hash));
        assert!(recurrence.is_found());
    }
}
