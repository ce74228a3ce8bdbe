//! Linear bit-packing: value `i` of width `w` stands at bits `[i·w, (i+1)·w)`, least significant bit first.
//!
//! Any length, so that a block of five rows costs five values; and any value can be read alone. Unpacking runs over
//! groups of eight values, which start on a byte: with the width a constant, several values are one load, and shifts and
//! masks, which vectorise.

use std::mem::MaybeUninit;

use super::DecodeError;

/// Bits needed for `value`.
#[inline]
pub fn width_of(value: u64) -> u32 {
    64 - value.leading_zeros()
}

/// Bytes of `count` values of `width` bits.
#[inline]
pub fn packed_len(count: usize, width: u32) -> usize {
    (count * width as usize).div_ceil(8)
}

/// Appends the low `width` bits of each value; the bits above must be zero.
pub fn pack(values: &[u64], width: u32, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    let start = out.len();
    let length = packed_len(values.len(), width);
    out.resize(start + length.next_multiple_of(8), 0);
    let mut words = out[start..].chunks_exact_mut(8);
    let (mut word, mut bits) = (0u64, 0u32);
    for &value in values {
        debug_assert!(width == 64 || value >> width == 0, "BUG: a value wider than its width");
        word |= value << bits;
        bits += width;
        if bits >= 64 {
            if let Some(slot) = words.next() {
                slot.copy_from_slice(&word.to_le_bytes());
            }
            bits -= 64;
            word = if bits == 0 { 0 } else { value >> (width - bits) };
        }
    }
    if let Some(slot) = words.next() {
        slot.copy_from_slice(&word.to_le_bytes());
    }
    out.truncate(start + length);
}

/// Appends `count` values to `out`. `bytes` must be exactly as long as they need.
pub fn unpack(bytes: &[u8], width: u32, count: usize, out: &mut Vec<i64>) -> Result<(), DecodeError> {
    if width > 64 || bytes.len() != packed_len(count, width) {
        return Err(DecodeError("packed values"));
    }
    out.reserve(count);
    let length = out.len();
    unpack_slice(bytes, width, &mut out.spare_capacity_mut()[..count]);
    // SAFETY: there is room for `count` more, and `unpack_slice` writes every slot it is given.
    unsafe { out.set_len(length + count) };
    Ok(())
}

/// Writes every slot of `out`.
fn unpack_slice(bytes: &[u8], width: u32, out: &mut [MaybeUninit<i64>]) {
    macro_rules! dispatch {
        ($($w:literal)*) => {
            match width {
                0 => {
                    out.fill(MaybeUninit::new(0));
                }
                $($w => unpack_groups::<$w>(bytes, out),)*
                _ => {
                    for (at, slot) in out.iter_mut().enumerate() {
                        slot.write(get(bytes, width, at) as i64);
                    }
                }
            }
        };
    }
    dispatch!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37
        38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57);
}

/// The widths whose values lie within eight bytes of the byte they start in. Writes every slot of `out`.
fn unpack_groups<const W: usize>(bytes: &[u8], out: &mut [MaybeUninit<i64>]) {
    // A group's loads may reach eight bytes beyond it: the last ones are unpacked from a copy with room behind.
    let whole = (bytes.len().saturating_sub(8) / W).min(out.len() / 8);
    let (fast, rest) = out.split_at_mut(whole * 8);
    for (group, slots) in fast.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *slots = unpack_group::<W>(&bytes[group * W..group * W + W + 8]).map(MaybeUninit::new);
    }
    let mut bytes = &bytes[whole * W..];
    for slots in rest.chunks_mut(8) {
        let mut padded = [0; 72];
        let (group, behind) = bytes.split_at(bytes.len().min(W));
        padded[..group.len()].copy_from_slice(group);
        bytes = behind;
        let values = unpack_group::<W>(&padded[..W + 8]);
        slots.iter_mut().zip(values).for_each(|(slot, value)| {
            slot.write(value);
        });
    }
}

/// Eight values out of `W` bytes, with as few loads as give every value whole: all these are constants.
#[inline(always)]
fn unpack_group<const W: usize>(group: &[u8]) -> [i64; 8] {
    let mut slots = [0; 8];
    let mask = (1u64 << W) - 1;
    let word = |at: usize| u64::from_le_bytes(group[at..at + 8].try_into().expect("eight bytes"));
    // Values of one load: its first may start at bit 7.
    let loaded = if W <= 8 {
        8
    } else if W <= 14 {
        4
    } else {
        1
    };
    for first in (0..8).step_by(loaded) {
        let (bytes, bits) = (word(first * W / 8), first * W % 8);
        for at in 0..loaded {
            slots[first + at] = (bytes >> (bits + at * W) & mask) as i64;
        }
    }
    slots
}

/// Value `at` alone. Bits behind the end of `bytes` are zero.
#[inline]
pub fn get(bytes: &[u8], width: u32, at: usize) -> u64 {
    if width == 0 {
        return 0;
    }
    let bit = at * width as usize;
    let start = bytes.len().min(bit / 8);
    let end = bytes.len().min(start + 16);
    let mut wide = [0u8; 16];
    wide[..end - start].copy_from_slice(&bytes[start..end]);
    let value = (u128::from_le_bytes(wide) >> (bit % 8)) as u64;
    if width == 64 { value } else { value & ((1 << width) - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn values_of_every_width_come_back(width in 0u32..=64, values in proptest::collection::vec(any::<u64>(), 0..200)) {
            let mask = if width == 64 { u64::MAX } else { (1 << width) - 1 };
            let values: Vec<u64> = values.into_iter().map(|value| value & mask).collect();
            let mut out = vec![7];
            pack(&values, width, &mut out);
            prop_assert_eq!(out.len(), 1 + packed_len(values.len(), width));
            let mut read = Vec::new();
            unpack(&out[1..], width, values.len(), &mut read).expect("packed above");
            for (at, value) in values.iter().enumerate() {
                prop_assert_eq!(read[at] as u64, *value);
                prop_assert_eq!(get(&out[1..], width, at), *value);
            }
        }
    }

    #[test]
    fn a_wrong_length_is_refused() {
        assert!(unpack(&[0; 4], 3, 8, &mut Vec::new()).is_err());
        assert!(unpack(&[0; 520], 65, 64, &mut Vec::new()).is_err());
    }
}
