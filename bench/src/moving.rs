//! Bodies that are written over and over with ever later timestamps, so that no point comes twice.

use crate::workload;

/// Digits of a timestamp in nanoseconds, until the year 2286.
const TIME_DIGITS: usize = 19;

/// A body whose timestamps can be moved.
pub struct Moving {
    pub bytes: Vec<u8>,
    pub lines: u64,
    /// Where the timestamps stand.
    times_at: Vec<u32>,
    times: Vec<i64>,
}

impl Moving {
    pub fn new(body: workload::Body) -> Self {
        let mut times_at = Vec::with_capacity(body.lines as usize);
        let mut times = Vec::with_capacity(body.lines as usize);
        for (at, byte) in body.bytes.iter().enumerate() {
            if *byte == b'\n' {
                let digits = &body.bytes[at - TIME_DIGITS..at];
                times_at.push((at - TIME_DIGITS) as u32);
                times.push(digits.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0')));
            }
        }
        Self { lines: u64::from(body.lines), bytes: body.bytes, times_at, times }
    }

    /// Hosts of one step share their timestamp: its digits are made once. What this takes of a CPU, a server on the same
    /// machine has not.
    pub fn move_to(&mut self, later_by: i64) {
        let (mut made, mut digits) = (None, [b'0'; TIME_DIGITS]);
        for (at, time) in self.times_at.iter().zip(&self.times) {
            if made != Some(*time) {
                made = Some(*time);
                let mut rest = time + later_by;
                for digit in digits.iter_mut().rev() {
                    *digit = b'0' + (rest % 10) as u8;
                    rest /= 10;
                }
            }
            self.bytes[*at as usize..*at as usize + TIME_DIGITS].copy_from_slice(&digits);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moved_bodies_differ_in_their_timestamps_alone() {
        let bytes = b"m v=1 1451606400000000000\nm v=2 1451606410000000000\n".to_vec();
        let mut body = Moving::new(workload::Body { bytes, lines: 2, values: 2 });
        body.move_to(90_000_000_000);
        let text = String::from_utf8(body.bytes.clone()).expect("digits");
        assert_eq!(text, "m v=1 1451606490000000000\nm v=2 1451606500000000000\n");
        body.move_to(0);
        assert!(body.bytes.ends_with(b"v=2 1451606410000000000\n"));
    }
}
