//! Variable-length integers, and the small readers every encoding shares.
//!
//! * *varint*: LEB128, the batch's own; *zigzag*: a varint of `(n << 1) ^ (n >> 63)`.
//! * *scaled*: an unsigned number as mantissa × 10^(3s), s in 0..=3. The first byte holds s in its two low bits, five
//!   bits of the mantissa above them and a continuation bit; the rest of the mantissa follows as a varint. Time spans
//!   in nanoseconds are mostly whole seconds: a minute takes two bytes instead of six.

use super::DecodeError;
pub use crate::model::varint::{put_varint, unzigzag, zigzag};

type Result<T> = std::result::Result<T, DecodeError>;

#[inline]
pub fn take_varint(bytes: &mut &[u8]) -> Result<u64> {
    crate::model::varint::take_varint(bytes).ok_or(DecodeError("varint"))
}

/// A varint that counts something: at most `max`.
#[inline]
pub fn take_count(bytes: &mut &[u8], max: usize) -> Result<usize> {
    let count = take_varint(bytes)?;
    if count > max as u64 { Err(DecodeError("count")) } else { Ok(count as usize) }
}

/// A varint that counts bytes or things of a byte at least: at most as many as there are bytes.
#[inline]
pub fn take_length(bytes: &mut &[u8]) -> Result<usize> {
    let max = bytes.len();
    take_count(bytes, max)
}

#[inline]
pub fn put_zigzag(out: &mut Vec<u8>, value: i64) {
    put_varint(out, zigzag(value));
}

#[inline]
pub fn take_zigzag(bytes: &mut &[u8]) -> Result<i64> {
    take_varint(bytes).map(unzigzag)
}

#[inline]
pub fn take_byte(bytes: &mut &[u8]) -> Result<u8> {
    let (&byte, rest) = bytes.split_first().ok_or(DecodeError("truncated"))?;
    *bytes = rest;
    Ok(byte)
}

#[inline]
pub fn take_bytes<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(length).ok_or(DecodeError("truncated"))?;
    *bytes = rest;
    Ok(head)
}

#[inline]
pub fn take_u32(bytes: &mut &[u8]) -> Result<u32> {
    let (head, rest) = bytes.split_first_chunk::<4>().ok_or(DecodeError("truncated"))?;
    *bytes = rest;
    Ok(u32::from_le_bytes(*head))
}

#[inline]
pub fn take_u64(bytes: &mut &[u8]) -> Result<u64> {
    let (head, rest) = bytes.split_first_chunk::<8>().ok_or(DecodeError("truncated"))?;
    *bytes = rest;
    Ok(u64::from_le_bytes(*head))
}

pub fn put_scaled(out: &mut Vec<u8>, value: u64) {
    let mut mantissa = value;
    let mut scale = 0;
    while scale < 3 && mantissa != 0 && mantissa.is_multiple_of(1000) {
        mantissa /= 1000;
        scale += 1;
    }
    let head = (mantissa & 0x1f) as u8;
    let rest = mantissa >> 5;
    out.push(scale | head << 2 | u8::from(rest != 0) << 7);
    if rest != 0 {
        put_varint(out, rest);
    }
}

pub fn take_scaled(bytes: &mut &[u8]) -> Result<u64> {
    let head = take_byte(bytes)?;
    let mut mantissa = u64::from(head >> 2 & 0x1f);
    if head & 0x80 != 0 {
        let rest = take_varint(bytes)?;
        if rest >> 59 != 0 {
            return Err(DecodeError("scaled number"));
        }
        mantissa |= rest << 5;
    }
    mantissa.checked_mul(1000u64.pow(u32::from(head & 3))).ok_or(DecodeError("scaled number"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_minute_takes_two_bytes() {
        let mut out = Vec::new();
        put_scaled(&mut out, 60_000_000_000);
        assert_eq!(out.len(), 2);
    }

    proptest! {
        #[test]
        fn scaled_numbers_come_back(value: u64, scale in 0u32..12) {
            for value in [value, (value % 1_000_000).saturating_mul(10u64.pow(scale)), u64::MAX] {
                let mut out = Vec::new();
                put_scaled(&mut out, value);
                let mut rest = out.as_slice();
                prop_assert_eq!(take_scaled(&mut rest), Ok(value));
                prop_assert!(rest.is_empty());
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let _ = take_scaled(&mut bytes.as_slice());
            let _ = take_varint(&mut bytes.as_slice());
        }
    }
}
