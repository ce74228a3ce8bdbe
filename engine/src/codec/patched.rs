//! Bit-packing of mostly small numbers: the low bits of all at one width, the high bits of the few others apart.
//!
//! ```text
//! u8 width · packed low bits · varint patches · u8 high width · patch positions, packed · high bits, packed
//! ```
//! Positions have as many bits as the count needs. The width is chosen from a histogram of the numbers' widths.

use super::DecodeError;
use super::bitpack::{pack, packed_len, unpack, width_of};
use super::varint::{put_varint, take_byte, take_bytes, take_count};

/// How many numbers need each width.
pub type Histogram = [u32; 65];

/// Counts in four lanes: neighbours mostly have the same width, and adding to one counter waits for the last addition.
pub fn histogram(values: &[u64]) -> Histogram {
    let mut lanes = [[0u32; 65]; 4];
    let (groups, rest) = values.as_chunks::<4>();
    for group in groups {
        for (lane, &value) in lanes.iter_mut().zip(group) {
            lane[width_of(value) as usize] += 1;
        }
    }
    for &value in rest {
        lanes[0][width_of(value) as usize] += 1;
    }
    std::array::from_fn(|width| lanes.iter().map(|lane| lane[width]).sum())
}

/// The width to pack at and the bytes it gives.
pub fn best_width(widths: &Histogram, count: usize) -> (u32, usize) {
    let greatest = widths.iter().rposition(|&numbers| numbers > 0).unwrap_or(0) as u32;
    let position_width = width_of(count as u64);
    let (mut best, mut best_len) = (greatest, packed_len(count, greatest) + 3);
    let mut patches = 0;
    for width in (0..greatest).rev() {
        patches += widths[width as usize + 1] as usize;
        let length = packed_len(count, width)
            + packed_len(patches, position_width)
            + packed_len(patches, greatest - width)
            + 4;
        if length < best_len {
            (best, best_len) = (width, length);
        }
    }
    (best, best_len)
}

/// `values` are used up as scratch.
pub fn encode(values: &mut [u64], width: u32, out: &mut Vec<u8>) {
    out.push(width as u8);
    let mut positions = Vec::new();
    let mut highs = Vec::new();
    let mut all = 0;
    if width < 64 {
        for (at, value) in values.iter_mut().enumerate() {
            let high = *value >> width;
            if high != 0 {
                positions.push(at as u64);
                highs.push(high);
                all |= high;
                *value &= (1 << width) - 1;
            }
        }
    }
    pack(values, width, out);
    put_varint(out, positions.len() as u64);
    if !positions.is_empty() {
        let high_width = width_of(all);
        out.push(high_width as u8);
        pack(&positions, width_of(values.len() as u64), out);
        pack(&highs, high_width, out);
    }
}

/// Appends `count` numbers (as i64 bits) to `out`, and takes their bytes off the front of `bytes`.
pub fn decode(bytes: &mut &[u8], count: usize, out: &mut Vec<i64>) -> Result<(), DecodeError> {
    let width = u32::from(take_byte(bytes)?);
    if width > 64 {
        return Err(DecodeError("patched width"));
    }
    let start = out.len();
    unpack(take_bytes(bytes, packed_len(count, width))?, width, count, out)?;
    let patches = take_count(bytes, count)?;
    if patches == 0 {
        return Ok(());
    }
    let high_width = u32::from(take_byte(bytes)?);
    if high_width == 0 || width + high_width > 64 {
        return Err(DecodeError("patched width"));
    }
    let position_width = width_of(count as u64);
    let mut positions = Vec::with_capacity(patches);
    unpack(take_bytes(bytes, packed_len(patches, position_width))?, position_width, patches, &mut positions)?;
    let mut highs = Vec::with_capacity(patches);
    unpack(take_bytes(bytes, packed_len(patches, high_width))?, high_width, patches, &mut highs)?;
    for (&position, &high) in positions.iter().zip(&highs) {
        let slot = out[start..].get_mut(position as usize).ok_or(DecodeError("patch position"))?;
        *slot |= high << width;
    }
    Ok(())
}
