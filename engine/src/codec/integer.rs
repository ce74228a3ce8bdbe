//! Columns of i64, and of u64 seen as i64 (all arithmetic wraps).
//!
//! ```text
//! 0 constant       zigzag value
//! 1 FOR            zigzag base · u8 width · packed (value - base)
//! 2 delta FOR      zigzag first · zigzag base · u8 width · packed (difference - base), one fewer than values
//! 3 patched delta  zigzag first · patched zigzag differences, one fewer than values
//! 4 patched FOR    zigzag base · patched (value - base)
//! ```
//! The smallest is chosen per block; of equals the first, which decodes fastest.

use super::bitpack::{pack, packed_len, unpack, width_of};
use super::delta::{accumulate, accumulate_zigzag, differences, min_max};
use super::patched;
use super::varint::{put_zigzag, take_byte, take_zigzag, zigzag};
use super::{DecodeError, Few};

const CONSTANT: u8 = 0;
const FRAME: u8 = 1;
const DELTA: u8 = 2;
const PATCHED_DELTA: u8 = 3;
const PATCHED_FRAME: u8 = 4;

/// Fewer values than this are not worth a search for patches.
const PATCHED_VALUES_MIN: usize = 16;

/// Appends the column; nothing for no values.
pub fn encode(values: &[i64], out: &mut Vec<u8>) {
    let count = values.len();
    if count == 0 {
        return;
    }
    let (min, max) = min_max(values);
    if min == max {
        out.push(CONSTANT);
        put_zigzag(out, min);
        return;
    }
    let mut deltas = Few::new();
    let (delta_min, delta_max) = differences(values, &mut deltas);
    let frame_width = width_of(max.wrapping_sub(min) as u64);
    let delta_width = width_of(delta_max.wrapping_sub(delta_min) as u64);

    let mut best = (packed_len(count, frame_width) + 1, FRAME, frame_width);
    let mut consider = |length: usize, encoding: u8, width: u32| {
        if length < best.0 {
            best = (length, encoding, width);
        }
    };
    consider(packed_len(count - 1, delta_width) + 2, DELTA, delta_width);
    let (mut zigzags, mut residuals): (Few<u64>, Few<u64>) = (Few::new(), Few::new());
    // Of few bits there are no outliers to cut off.
    if count >= PATCHED_VALUES_MIN && delta_width.min(frame_width) > 1 {
        zigzags = deltas.iter().map(|&delta| zigzag(delta)).collect();
        let (width, length) = patched::best_width(&patched::histogram(&zigzags), count - 1);
        consider(length, PATCHED_DELTA, width);
        if frame_width > 8 {
            residuals = residuals_of(values, min);
            let (width, length) = patched::best_width(&patched::histogram(&residuals), count);
            consider(length, PATCHED_FRAME, width);
        }
    }
    let (_, encoding, width) = best;
    out.push(encoding);
    match encoding {
        FRAME | PATCHED_FRAME => {
            put_zigzag(out, min);
            if residuals.is_empty() {
                residuals = residuals_of(values, min);
            }
            put_residuals(encoding == PATCHED_FRAME, &mut residuals, width, out);
        }
        DELTA => {
            put_zigzag(out, values[0]);
            put_zigzag(out, delta_min);
            put_residuals(false, &mut residuals_of(&deltas, delta_min), width, out);
        }
        _ => {
            put_zigzag(out, values[0]);
            put_residuals(true, &mut zigzags, width, out);
        }
    }
}

fn residuals_of(values: &[i64], base: i64) -> Few<u64> {
    values.iter().map(|&value| value.wrapping_sub(base) as u64).collect()
}

fn put_residuals(is_patched: bool, residuals: &mut [u64], width: u32, out: &mut Vec<u8>) {
    if is_patched {
        patched::encode(residuals, width, out);
    } else {
        out.push(width as u8);
        pack(residuals, width, out);
    }
}

/// Appends `count` values to `out`; `bytes` must hold them exactly.
pub fn decode(mut bytes: &[u8], count: usize, out: &mut Vec<i64>) -> Result<(), DecodeError> {
    if count == 0 {
        return if bytes.is_empty() { Ok(()) } else { Err(DecodeError("integers")) };
    }
    let start = out.len();
    let bytes = &mut bytes;
    match take_byte(bytes)? {
        CONSTANT => {
            let value = take_zigzag(bytes)?;
            out.resize(start + count, value);
        }
        FRAME => {
            let base = take_zigzag(bytes)?;
            take_packed(bytes, count, out)?;
            add(&mut out[start..], base);
        }
        PATCHED_FRAME => {
            let base = take_zigzag(bytes)?;
            patched::decode(bytes, count, out)?;
            add(&mut out[start..], base);
        }
        DELTA => {
            let first = take_zigzag(bytes)?;
            let base = take_zigzag(bytes)?;
            out.push(first);
            take_packed(bytes, count - 1, out)?;
            accumulate(&mut out[start + 1..], first, base);
        }
        PATCHED_DELTA => {
            let first = take_zigzag(bytes)?;
            out.push(first);
            patched::decode(bytes, count - 1, out)?;
            accumulate_zigzag(&mut out[start + 1..], first);
        }
        _ => return Err(DecodeError("integer encoding")),
    }
    if bytes.is_empty() { Ok(()) } else { Err(DecodeError("integers are followed by more bytes")) }
}

fn take_packed(bytes: &mut &[u8], count: usize, out: &mut Vec<i64>) -> Result<(), DecodeError> {
    let width = u32::from(take_byte(bytes)?);
    unpack(bytes, width, count, out)?;
    *bytes = &[];
    Ok(())
}

#[inline]
fn add(values: &mut [i64], base: i64) {
    for value in values {
        *value = value.wrapping_add(base);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(values: &[i64]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(values, &mut out);
        // Behind values that are there already.
        let mut read = vec![7, -7];
        decode(&out, values.len(), &mut read).expect("encoded above");
        assert_eq!(read, [&[7, -7], values].concat());
        out
    }

    #[test]
    fn each_shape_of_numbers_finds_its_encoding() {
        assert_eq!(check(&[5; 1000])[0], CONSTANT);
        let noise: Vec<i64> = (0..1000).map(|at| (at * 7919) % 128).collect();
        assert_eq!(check(&noise)[0], FRAME);
        let counter: Vec<i64> = (0..1000).map(|at| at * 1000 + at * 7 % 5).collect();
        assert_eq!(check(&counter)[0], DELTA);
        let mut reset = counter.clone();
        for value in &mut reset[500..] {
            *value -= 500_000;
        }
        let mut jumps: Vec<i64> = (0..1000).map(|at| at % 3).collect();
        jumps[700] = 1 << 40;
        assert_eq!(check(&reset)[0], DELTA.max(check(&reset)[0]));
        assert!(check(&jumps).len() < 300);
    }

    #[test]
    fn the_ends_of_the_range_come_back() {
        check(&[i64::MIN, i64::MAX, 0, -1, 1, i64::MAX, i64::MIN]);
        check(&[i64::MAX]);
        let mut wide = vec![0; 100];
        wide[3] = i64::MIN;
        wide[4] = i64::MAX;
        check(&wide);
    }

    proptest! {
        #[test]
        fn any_numbers_come_back(values in proptest::collection::vec(any::<i64>(), 0..300), shift in 0u32..64) {
            check(&values);
            let small: Vec<i64> = values.iter().map(|value| value >> shift).collect();
            check(&small);
            let walk: Vec<i64> = small.iter().scan(0i64, |sum, value| {
                *sum = sum.wrapping_add(*value);
                Some(*sum)
            }).collect();
            check(&walk);
        }

        #[test]
        fn mutated_bytes_never_panic(values in proptest::collection::vec(-1000i64..1000, 1..200), at: usize, byte: u8, cut: usize, count in 0usize..300) {
            let mut out = Vec::new();
            encode(&values, &mut out);
            let at = at % out.len();
            out[at] = byte;
            let _ = decode(&out, values.len(), &mut Vec::new());
            out.truncate(cut % (out.len() + 1));
            let _ = decode(&out, count, &mut Vec::new());
        }

        #[test]
        fn any_bytes_never_panic(bytes: Vec<u8>, tag in 0u8..6, count in 0usize..1100) {
            let mut bytes = bytes;
            bytes.insert(0, tag);
            let mut out = Vec::new();
            let _ = decode(&bytes, count, &mut out);
            prop_assert!(out.len() <= count);
        }
    }
}
