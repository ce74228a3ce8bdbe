//! Where the structural bytes of a key stand: comma, equals sign, blank, quote, backslash, newline.
//!
//! A table look-up by low nibble tells five of the six apart 32 bytes at a time, a comparison finds the sixth; the
//! bits of the answer become positions. The vectors are compiled in where the target has AVX2 (ours always asks for
//! it, see .cargo/config.toml); elsewhere a plain loop gives the same positions.

/// Positions kept for one key. A line whose key has more is read the plain way.
pub(super) const POSITIONS_MAX: usize = 512;

/// Bytes looked at in one go.
const BLOCK: usize = 64;

/// Positions written in one go.
const AT_ONCE: usize = 8;

/// The structural bytes of one key.
#[derive(Debug)]
pub(super) struct Structure {
    /// Positions in the body, ascending. A block writes its positions in whole groups, hence the room beyond the limit.
    positions: Box<[u32; POSITIONS_MAX + BLOCK]>,
}

impl Default for Structure {
    fn default() -> Self {
        Self { positions: Box::new([0; POSITIONS_MAX + BLOCK]) }
    }
}

impl Structure {
    /// Finds the structural bytes from `at` to the first blank, which is the last of them. `None` when a backslash or a
    /// newline comes before it, when the body ends before the last block does, or there are too many: then the plain way
    /// is taken.
    #[inline]
    pub fn find(&mut self, body: &[u8], at: usize) -> Option<&[u32]> {
        let mut count = 0;
        let mut at = at;
        loop {
            let block: &[u8; BLOCK] = body.get(at..at + BLOCK)?.try_into().ok()?;
            let (structural, ends) = masks(block);
            let room: &mut [u32; BLOCK] = (&mut self.positions[count..count + BLOCK]).try_into().ok()?;
            // The bits up to the first end.
            count += spread(structural & (ends ^ ends.wrapping_sub(1)), at as u32, room);
            if ends != 0 {
                let is_blank = block[ends.trailing_zeros() as usize] == b' ';
                return is_blank.then(|| &self.positions[..count]);
            }
            if count > POSITIONS_MAX {
                return None;
            }
            at += BLOCK;
        }
    }
}

/// Writes the positions of the set bits, and some arbitrary numbers after them; how many are set.
#[inline]
fn spread(mut bits: u64, base: u32, out: &mut [u32; BLOCK]) -> usize {
    let count = bits.count_ones() as usize;
    // So many at once without a branch: most blocks have fewer, and a loop that ends at another count each time costs
    // more than the writes.
    for slot in &mut out[..AT_ONCE] {
        *slot = base + bits.trailing_zeros();
        bits &= bits.wrapping_sub(1);
    }
    let mut at = AT_ONCE;
    while bits != 0 {
        out[at] = base + bits.trailing_zeros();
        bits &= bits.wrapping_sub(1);
        at += 1;
    }
    count
}

/// Bits of the structural bytes, and of those among them that end a key or make it unusual: blank, newline, backslash.
#[cfg(not(all(target_arch = "x86_64", target_feature = "avx2")))]
#[inline]
fn masks(block: &[u8; BLOCK]) -> (u64, u64) {
    plain_masks(block)
}

#[cfg(any(test, not(all(target_arch = "x86_64", target_feature = "avx2"))))]
fn plain_masks(block: &[u8; BLOCK]) -> (u64, u64) {
    let (mut structural, mut ends) = (0, 0);
    for (at, byte) in block.iter().enumerate() {
        structural |= u64::from(matches!(byte, b',' | b'=' | b' ' | b'"' | b'\\' | b'\n')) << at;
        ends |= u64::from(matches!(byte, b' ' | b'\n' | b'\\')) << at;
    }
    (structural, ends)
}

#[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
#[inline]
fn masks(block: &[u8; BLOCK]) -> (u64, u64) {
    use std::arch::x86_64::*;

    // The byte wanted at each low nibble. Where none is, 0: no byte with another low nibble than 0 is 0, and the blank
    // holds nibble 0.
    const WANTED: [i8; 16] = {
        let mut table = [0; 16];
        table[0x0] = b' ' as i8;
        table[0x2] = b'"' as i8;
        table[0xa] = b'\n' as i8;
        table[0xc] = b',' as i8;
        table[0xd] = b'=' as i8;
        table
    };
    // SAFETY: the loads read 32 bytes at offsets 0 and 32 of an array of 64 bytes, and need no alignment; AVX2 is
    // enabled for the whole build, which the cfg above checks. The rest computes on registers.
    unsafe {
        let wanted = _mm256_setr_epi8(
            WANTED[0], WANTED[1], WANTED[2], WANTED[3], WANTED[4], WANTED[5], WANTED[6], WANTED[7],
            WANTED[8], WANTED[9], WANTED[10], WANTED[11], WANTED[12], WANTED[13], WANTED[14], WANTED[15],
            WANTED[0], WANTED[1], WANTED[2], WANTED[3], WANTED[4], WANTED[5], WANTED[6], WANTED[7],
            WANTED[8], WANTED[9], WANTED[10], WANTED[11], WANTED[12], WANTED[13], WANTED[14], WANTED[15],
        );
        let backslash = _mm256_set1_epi8(b'\\' as i8);
        let (blank, newline) = (_mm256_set1_epi8(b' ' as i8), _mm256_set1_epi8(b'\n' as i8));
        let half = |offset: usize| {
            let bytes = _mm256_loadu_si256(block.as_ptr().add(offset).cast());
            let looked_up = _mm256_cmpeq_epi8(_mm256_shuffle_epi8(wanted, bytes), bytes);
            let backslashes = _mm256_cmpeq_epi8(bytes, backslash);
            let breaks = _mm256_or_si256(_mm256_cmpeq_epi8(bytes, blank), _mm256_cmpeq_epi8(bytes, newline));
            let structural = _mm256_or_si256(looked_up, backslashes);
            let ends = _mm256_or_si256(breaks, backslashes);
            (_mm256_movemask_epi8(structural) as u32, _mm256_movemask_epi8(ends) as u32)
        };
        let (low, low_ends) = half(0);
        let (high, high_ends) = half(32);
        (u64::from(low) | u64::from(high) << 32, u64::from(low_ends) | u64::from(high_ends) << 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_byte_at_every_place_is_told_apart() {
        for byte in 0..=u8::MAX {
            for at in 0..BLOCK {
                let mut block = [b'x'; BLOCK];
                block[at] = byte;
                assert_eq!(masks(&block), plain_masks(&block), "{byte} at {at}");
            }
        }
    }

    #[test]
    fn a_line_that_is_not_followed_by_a_block_is_left_to_the_plain_way() {
        let mut structure = Structure::default();
        assert_eq!(structure.find(b"m v=1 1\n", 0), None);
        let body = format!("m v=1 1\n{}", "x".repeat(BLOCK));
        assert_eq!(structure.find(body.as_bytes(), 0), Some([1].as_slice()));
        assert_eq!(structure.find(body.as_bytes(), 2), Some([3, 5].as_slice()));
    }

    #[test]
    fn a_line_with_too_many_structural_bytes_is_left_to_the_plain_way() {
        let body = ",".repeat(POSITIONS_MAX * 3);
        assert_eq!(Structure::default().find(body.as_bytes(), 0), None);
    }

    proptest! {
        #[test]
        fn positions_are_those_a_plain_loop_finds(
            bytes in prop::collection::vec(prop::sample::select(b"ab,= \"\\\n\xc2\x00\x2b".to_vec()), 64..400),
            start in 0usize..64,
        ) {
            let mut structure = Structure::default();
            let found = structure.find(&bytes, start);
            let end = bytes[start..].iter().position(|b| matches!(b, b' ' | b'\n' | b'\\')).map(|end| start + end);
            let block_end = |end: usize| start + ((end - start) / BLOCK + 1) * BLOCK;
            let is_plain = end.is_some_and(|end| bytes[end] == b' ' && block_end(end) <= bytes.len());
            prop_assert_eq!(found.is_some(), is_plain);
            if let (Some(positions), Some(end)) = (found, end) {
                let wanted: Vec<u32> = (start..=end)
                    .filter(|&at| matches!(bytes[at], b',' | b'=' | b' ' | b'"' | b'\\' | b'\n'))
                    .map(|at| at as u32)
                    .collect();
                prop_assert_eq!(positions, wanted.as_slice());
            }
        }
    }
}
