//! Strictly increasing timestamps of a block. The first and last are kept by the block's entry, not here.
//!
//! ```text
//! nothing       regular: the rows divide the span evenly
//! 1 runs        scaled unit · varint runs · (varint difference / unit · varint length) each
//! 2 differences scaled unit · the integer encoding of (difference / unit), one fewer than timestamps
//! 3 linear      scaled unit · varint slope · zigzag base · u8 width · packed (residual - base)
//! ```
//! The unit is the greatest of 1 ns, 1 us, 1 ms and 1 s that divides all differences. Linear: `timestamp = first + unit × (slope × row +
//! residual)`: jitter around a grid costs one bit less than its differences, and any row can be read alone.

use super::bitpack::{pack, unpack, width_of};
use super::delta::{accumulate, min_max};
use super::integer;
use super::varint::{put_scaled, put_varint, put_zigzag, take_byte, take_scaled, take_varint, take_zigzag};
use super::{DecodeError, Few};

const RUNS: u8 = 1;
const DIFFERENCES: u8 = 2;
const LINEAR: u8 = 3;

/// Up to so many differences, runs are taken without comparing when they are a third as many.
const FEW_DIFFERENCES: usize = 32;
/// More runs than this are never the smallest form that matters.
const RUNS_MAX: usize = 64;

/// Appends the timestamps, strictly increasing.
pub fn encode(times: &[i64], out: &mut Vec<u8>) {
    if times.len() < 2 {
        return;
    }
    let deltas: Few<u64> = times.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]) as u64).collect();
    if deltas.iter().all(|&delta| delta == deltas[0]) {
        return;
    }
    let (unit, scaled) = scale(&deltas);

    // A few rows on a grid with a gap: nothing else comes near, and small series are many.
    if scaled.len() <= FEW_DIFFERENCES && 3 * scaled.chunk_by(|a, b| a == b).count() <= scaled.len() {
        return encode_runs(unit, &scaled, out);
    }
    let start = out.len();
    out.push(DIFFERENCES);
    put_scaled(out, unit);
    integer::encode(&scaled, out);
    keep_shorter(start, out, |out| encode_linear(unit, &scaled, out));
    keep_shorter(start, out, |out| encode_runs(unit, &scaled, out));
}

/// Of what stands from `start` and what `encode` appends, the shorter stays; of equals the latter. `encode` may append
/// nothing.
fn keep_shorter(start: usize, out: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>)) {
    let middle = out.len();
    encode(out);
    let length = out.len() - middle;
    if length == 0 || length > middle - start {
        return out.truncate(middle);
    }
    out.copy_within(middle.., start);
    out.truncate(start + length);
}

fn encode_runs(unit: u64, scaled: &[i64], out: &mut Vec<u8>) {
    let runs = || scaled.chunk_by(|a, b| a == b);
    let count = runs().take(RUNS_MAX + 1).count();
    if count > RUNS_MAX {
        return;
    }
    out.push(RUNS);
    put_scaled(out, unit);
    put_varint(out, count as u64);
    for run in runs() {
        put_varint(out, run[0] as u64);
        put_varint(out, run.len() as u64);
    }
}

fn encode_linear(unit: u64, scaled: &[i64], out: &mut Vec<u8>) {
    let span = scaled.iter().fold(0u64, |sum, &delta| sum.wrapping_add(delta as u64));
    let slope = span / scaled.len() as u64;
    let mut residual = 0i64;
    let mut residuals: Few<i64> = Few::with_capacity(scaled.len());
    for &delta in scaled {
        residual = residual.wrapping_add(delta).wrapping_sub(slope as i64);
        residuals.push(residual);
    }
    let (min, max) = min_max(&residuals);
    let width = width_of(max.wrapping_sub(min) as u64);
    out.push(LINEAR);
    put_scaled(out, unit);
    put_varint(out, slope);
    put_zigzag(out, min);
    out.push(width as u8);
    let packed: Few<u64> = residuals.iter().map(|value| value.wrapping_sub(min) as u64).collect();
    pack(&packed, width, out);
}

/// Divides the differences by the greatest unit of time that divides them all. Only units people's clocks have: a division
/// by a constant is a multiplication, and what a common divisor would win beyond them, runs win too.
fn scale(deltas: &[u64]) -> (u64, Few<i64>) {
    fn divided<const UNIT: u64>(deltas: &[u64]) -> Option<(u64, Few<i64>)> {
        let fits = deltas.iter().all(|delta| delta.is_multiple_of(UNIT));
        fits.then(|| (UNIT, deltas.iter().map(|delta| (delta / UNIT) as i64).collect()))
    }
    divided::<1_000_000_000>(deltas)
        .or_else(|| divided::<1_000_000>(deltas))
        .or_else(|| divided::<1_000>(deltas))
        .unwrap_or_else(|| (1, deltas.iter().map(|&delta| delta as i64).collect()))
}

/// Appends `count` timestamps from `first` to `last` to `out`. They are strictly increasing and end with `last`, or
/// this is an error.
pub fn decode(
    bytes: &[u8],
    count: usize,
    first: i64,
    last: i64,
    out: &mut Vec<i64>,
) -> Result<(), DecodeError> {
    let start = out.len();
    decode_any(bytes, count, first, last, out)?;
    let times = &out[start..];
    // Reads rely on the order; the checksum makes this a proof of our own work rather than of the disk's.
    let falls = times.windows(2).fold(0u64, |falls, pair| falls + u64::from(pair[0] >= pair[1]));
    if times.len() != count || falls > 0 || times.last().is_some_and(|&time| time != last) {
        return Err(DecodeError("timestamps are out of order"));
    }
    Ok(())
}

fn decode_any(
    mut bytes: &[u8],
    count: usize,
    first: i64,
    last: i64,
    out: &mut Vec<i64>,
) -> Result<(), DecodeError> {
    if count == 0 {
        return if bytes.is_empty() { Ok(()) } else { Err(DecodeError("timestamps")) };
    }
    let start = out.len();
    if bytes.is_empty() {
        let step = match count {
            1 => 0,
            _ => (last.wrapping_sub(first) as u64 / (count as u64 - 1)) as i64,
        };
        let mut next = first;
        out.extend((0..count).map(|_| {
            let time = next;
            next = next.wrapping_add(step);
            time
        }));
        return Ok(());
    }
    let bytes = &mut bytes;
    let encoding = take_byte(bytes)?;
    let unit = take_scaled(bytes)? as i64;
    out.push(first);
    match encoding {
        RUNS => {
            for _ in 0..take_varint(bytes)?.min(RUNS_MAX as u64) {
                let delta = (take_varint(bytes)? as i64).wrapping_mul(unit);
                let length = take_varint(bytes)?;
                if length > (count - (out.len() - start)) as u64 {
                    return Err(DecodeError("run of timestamps"));
                }
                out.resize(out.len() + length as usize, delta);
            }
            if !bytes.is_empty() {
                return Err(DecodeError("timestamps are followed by more bytes"));
            }
        }
        DIFFERENCES => {
            integer::decode(bytes, count - 1, out)?;
            multiply(&mut out[start + 1..], unit);
        }
        LINEAR => {
            let slope = take_varint(bytes)? as i64;
            let base = take_zigzag(bytes)?;
            let width = u32::from(take_byte(bytes)?);
            unpack(bytes, width, count - 1, out)?;
            let residuals = &mut out[start + 1..];
            multiply(residuals, unit);
            let step = slope.wrapping_mul(unit);
            let mut grid = first.wrapping_add(base.wrapping_mul(unit));
            for slot in residuals {
                grid = grid.wrapping_add(step);
                *slot = slot.wrapping_add(grid);
            }
            return Ok(());
        }
        _ => return Err(DecodeError("timestamp encoding")),
    }
    accumulate(&mut out[start + 1..], first, 0);
    Ok(())
}

#[inline]
fn multiply(values: &mut [i64], unit: i64) {
    if unit != 1 {
        for value in values {
            *value = value.wrapping_mul(unit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(times: &[i64]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(times, &mut out);
        // Behind times that are there already.
        let mut read = vec![9, -9];
        let (first, last) = (times.first().copied().unwrap_or(0), times.last().copied().unwrap_or(0));
        decode(&out, times.len(), first, last, &mut read).expect("encoded above");
        assert_eq!(read, [&[9, -9], times].concat());
        out
    }

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn a_regular_grid_takes_no_bytes_and_a_gap_a_few() {
        let grid: Vec<i64> = (0..1000).map(|row| 1_700_000_000 * SECOND + row * 10 * SECOND).collect();
        assert_eq!(check(&grid).len(), 0);
        let gap: Vec<i64> =
            grid.iter().map(|&time| if time > grid[500] { time + SECOND } else { time }).collect();
        assert!(check(&gap).len() < 16);
    }

    #[test]
    fn jitter_in_milliseconds_takes_its_bits() {
        let jitter: Vec<i64> =
            (0..1024).map(|row: i64| row * 10 * SECOND + (row * row * 7919 % 101) * 1_000_000).collect();
        let bytes = check(&jitter);
        assert!(bytes.len() < 1024, "{}", bytes.len());
        assert_eq!(bytes[0], LINEAR);
    }

    #[test]
    fn the_ends_of_time_come_back() {
        check(&[i64::MIN, -1, 0, 1, i64::MAX]);
        check(&[i64::MIN, i64::MAX]);
        check(&[i64::MIN]);
        check(&[]);
    }

    proptest! {
        #[test]
        fn any_times_come_back(times in proptest::collection::btree_set(any::<i64>(), 0..200), scale in 0u32..40) {
            let times: Vec<i64> = times.into_iter().collect();
            check(&times);
            let near: std::collections::BTreeSet<i64> = times.iter().map(|time| time >> scale).collect();
            check(&near.iter().copied().collect::<Vec<_>>());
            let mut units: Vec<i64> = near.iter().map(|time| (time >> 24).wrapping_mul(1_000_000)).collect();
            units.dedup();
            if units.is_sorted() {
                check(&units);
            }
        }

        #[test]
        fn any_bytes_never_panic(mut bytes: Vec<u8>, tag in 0u8..5, count in 0usize..1100, first: i64, last: i64) {
            bytes.insert(0, tag);
            let mut out = Vec::new();
            if decode(&bytes, count, first, last, &mut out).is_ok() {
                prop_assert!(out.is_sorted_by(|a, b| a < b));
            }
            prop_assert!(out.len() <= count.max(1));
        }

        #[test]
        fn mutated_bytes_never_panic(steps in proptest::collection::vec(1i64..1000, 1..200), at: usize, byte: u8) {
            let times: Vec<i64> = steps.iter().scan(0, |sum, step| { *sum += step; Some(*sum) }).collect();
            let mut out = Vec::new();
            encode(&times, &mut out);
            if !out.is_empty() {
                let at = at % out.len();
                out[at] = byte;
                let _ = decode(&out, times.len(), times[0], times[times.len() - 1], &mut Vec::new());
            }
        }
    }
}
