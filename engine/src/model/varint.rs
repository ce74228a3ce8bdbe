//! Numbers of as many bytes as they need: seven bits each, the least first, the top bit set in all but the last. Signed ones
//! are folded first, so that small ones stay short (zigzag, as in Protocol Buffers).

#[inline]
pub fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[inline]
pub fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes of a varint.
#[inline]
pub fn varint_length(value: u64) -> usize {
    // A seventh of the bits, rounded up.
    let bits = u64::BITS - (value | 1).leading_zeros();
    (9 * bits as usize + 64) / 64
}

/// Writes a varint at `length` of a buffer that has room for it, and moves `length` on.
#[inline]
pub fn write_varint(out: &mut [u8], length: &mut usize, mut value: u64) {
    while value >= 0x80 {
        out[*length] = value as u8 | 0x80;
        *length += 1;
        value >>= 7;
    }
    out[*length] = value as u8;
    *length += 1;
}

/// Takes a varint off the front; `None`, and nothing is taken, where the bytes end within it or it has more than 64 bits.
#[inline(always)]
pub fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    if let [first, second, ..] = **bytes {
        // Small numbers have one byte or two, in an order that no processor guesses: no branch tells them apart.
        let is_long = first >> 7;
        if is_long & (second >> 7) == 0 {
            let more = (u64::from(second) << 7) * u64::from(is_long);
            *bytes = &bytes[1 + usize::from(is_long)..];
            return Some(u64::from(first & 0x7f) | more);
        }
    }
    take_any_varint(bytes)
}

#[inline(never)]
fn take_any_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (at, &byte) in bytes.iter().enumerate().take(10) {
        if at == 9 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            *bytes = &bytes[at + 1..];
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_length_of_a_varint_is_known_before_it_is_written() {
        for value in (0..64).flat_map(|bit| [1u64 << bit, (1 << bit) - 1, u64::MAX >> bit]) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            assert_eq!(varint_length(value), bytes.len(), "{value}");
        }
    }

    proptest! {
        /// Whatever their lengths: all lengths are as likely.
        #[test]
        fn varints_come_back_one_after_another(values in prop::collection::vec((any::<i64>(), 0..64u32), 1..20)) {
            let values: Vec<i64> = values.into_iter().map(|(value, shift)| value >> shift).collect();
            let (mut out, mut written, mut length) = (Vec::new(), [0; 200], 0);
            for &value in &values {
                put_varint(&mut out, zigzag(value));
                write_varint(&mut written, &mut length, zigzag(value));
            }
            prop_assert_eq!(&out, &written[..length]);
            let mut rest = out.as_slice();
            for &value in &values {
                prop_assert_eq!(take_varint(&mut rest).map(unzigzag), Some(value));
            }
            prop_assert!(rest.is_empty());
        }

        /// Short numbers take a way of their own; it tells the same of any bytes, and takes nothing of those it refuses.
        #[test]
        fn both_ways_to_read_a_varint_agree(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let (mut one, mut other) = (bytes.as_slice(), bytes.as_slice());
            prop_assert_eq!(take_varint(&mut one), take_any_varint(&mut other));
            prop_assert_eq!(one, other);
        }
    }
}
