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
