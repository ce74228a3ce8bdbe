//! Decimals as integers, after ALP (Afroozeh, Kuffo, Boncz: "ALP: Adaptive Lossless floating-Point Compression", 2023):
//! most floats people store are decimals, and a decimal is an integer divided by a power of ten.
//!
//! `digits = round(v · 10^places)`, and back `v' = digits / 10^places`. A value whose bits do not come back is an
//! exception and stands apart, bits and all. The paper multiplies by an inverse power instead, and needs a second exponent
//! to be lucky with the rounding; a division is correctly rounded, so that every decimal of up to fifteen digits comes
//! back, and its cost hides behind the loads. The number of places is searched on a sample and kept per column.
//!
//! ALP-RD ("real doubles") is for values that are no decimals: the left 16 bits or fewer of neighbours are mostly one of
//! few patterns, so they become ids of a dictionary; the right bits are packed as they are.

use std::mem::ManuallyDrop;

use super::bitpack::{pack, packed_len, unpack, width_of};
use super::integer;
use super::varint::{put_varint, take_byte, take_bytes, take_count};
use super::{DecodeError, Few};

const POWERS: [f64; 16] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
/// Added to a float of less than 2^51, it leaves the nearest integer in the low bits; and the other way round.
const ROUND: f64 = (1u64 << 52) as f64 + (1u64 << 51) as f64;
/// Values looked at when searching places.
const SAMPLE: usize = 64;
/// Bits of an exception: the value and its position.
const EXCEPTION_BITS: u64 = 64 + 16;
/// Left bits at most, so that a pattern fits a u16.
const LEFT_BITS_MAX: u32 = 16;
/// Patterns of the left bits' dictionary.
const PATTERNS_MAX: usize = 8;

/// Decimal places of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places(u8);

impl Places {
    /// The byte a format keeps them in.
    pub fn to_byte(self) -> u8 {
        self.0
    }

    pub fn from_byte(byte: u8) -> Option<Self> {
        ((byte as usize) < POWERS.len()).then_some(Self(byte))
    }

    #[inline]
    fn power(self) -> f64 {
        POWERS[self.0 as usize & 15]
    }

    /// The digits of a value, when they give back exactly its bits.
    #[inline]
    pub fn digits(self, value: f64) -> Option<i64> {
        let digits = to_digits(value, self.power());
        is_exact(digits, value, self.power()).then_some(digits)
    }

    #[inline]
    pub fn value(self, digits: i64) -> f64 {
        from_digits(digits, self.power())
    }
}

/// Only additions and a multiplication, so that it vectorises; of values out of range the digits do not come back.
#[inline]
fn to_digits(value: f64, power: f64) -> i64 {
    (value * power + ROUND).to_bits().wrapping_sub(ROUND.to_bits()) as i64
}

#[inline]
fn from_digits(digits: i64, power: f64) -> f64 {
    divide(f64::from_bits((digits as u64).wrapping_add(ROUND.to_bits())) - ROUND, power)
}

/// The quotient as a division rounds it, of an integer below 2^52 and a power of ten: by the inverse and one correction,
/// a third of a division's time.
///
/// Why it is the same: the first quotient is less than 1.5 units of the last place off, and a power of ten is five to the
/// same, which has 35 bits at most, and twos. So the remainder is a multiple of one unit times those twos and fits a
/// float: it is exact. The corrected quotient, before it is rounded, is then within 2^-52 units of the true one, which is
/// no middle between two floats (those have 54 bits, and times five to any they would not be an integer below 2^52) and
/// not nearer than 2^-36 units to one.
#[cfg(any(target_feature = "fma", target_arch = "aarch64"))]
#[inline]
fn divide(value: f64, power: f64) -> f64 {
    let inverse = 1.0 / power;
    let quotient = value * inverse;
    let remainder = quotient.mul_add(-power, value);
    remainder.mul_add(inverse, quotient)
}

#[cfg(not(any(target_feature = "fma", target_arch = "aarch64")))]
#[inline]
fn divide(value: f64, power: f64) -> f64 {
    value / power
}

/// Whether the digits give back the value. Infinities and NaN would, by way of digits far out of range, and spoil the
/// frame of all others.
#[inline]
fn is_exact(digits: i64, value: f64, power: f64) -> bool {
    const HALF: i64 = 1 << 51;
    (from_digits(digits, power).to_bits() == value.to_bits()) & (digits.wrapping_add(HALF) as u64 >> 52 == 0)
}

/// The places with the smallest estimate on a sample of `values`; `None` when they do not pay.
pub fn search(values: &[f64]) -> Option<Places> {
    let step = (values.len() / SAMPLE).max(1);
    let sample: Vec<f64> = values.iter().copied().step_by(step).take(SAMPLE).collect();
    let mut best = None;
    let mut best_bits = sample.len() as u64 * 60;
    for places in (0..POWERS.len() as u8).map(Places) {
        let (mut min, mut max, mut exceptions) = (i64::MAX, i64::MIN, 0);
        for &value in &sample {
            match places.digits(value) {
                Some(digits) => {
                    min = min.min(digits);
                    max = max.max(digits);
                }
                None => exceptions += 1,
            }
        }
        let width = if min <= max { u64::from(width_of(max.wrapping_sub(min) as u64)) } else { 0 };
        let bits = sample.len() as u64 * width + exceptions * EXCEPTION_BITS;
        if bits < best_bits {
            (best, best_bits) = (Some(places), bits);
        }
    }
    best
}

/// `digits` become those of all values, exceptions filled with a neighbour's; where the exceptions are.
pub fn digits_of(values: &[f64], places: Places, digits: &mut Few<i64>) -> Vec<u16> {
    let power = places.power();
    digits.clear();
    digits.extend(values.iter().map(|&value| to_digits(value, power)));
    let mut failed = 0u64;
    for (&digits, &value) in digits.iter().zip(values) {
        failed += u64::from(!is_exact(digits, value, power));
    }
    let mut exceptions = Vec::new();
    if failed > 0 {
        let mut fill =
            digits.iter().zip(values).find(|&(&d, &v)| is_exact(d, v, power)).map_or(0, |(&d, _)| d);
        for (at, (slot, &value)) in digits.iter_mut().zip(values).enumerate() {
            if is_exact(*slot, value, power) {
                fill = *slot;
            } else {
                exceptions.push(at as u16);
                *slot = fill;
            }
        }
    }
    exceptions
}

/// `u8 places · varint exceptions · their positions (u16) · their bits (u64) · integer encoding of the digits`
pub fn encode(values: &[f64], places: Places, digits: &[i64], exceptions: &[u16], out: &mut Vec<u8>) {
    out.push(places.to_byte());
    put_varint(out, exceptions.len() as u64);
    for position in exceptions {
        out.extend_from_slice(&position.to_le_bytes());
    }
    for &position in exceptions {
        out.extend_from_slice(&values[position as usize].to_bits().to_le_bytes());
    }
    integer::encode(digits, out);
}

pub fn decode(mut bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), DecodeError> {
    let bytes = &mut bytes;
    let places = Places::from_byte(take_byte(bytes)?).ok_or(DecodeError("decimal places"))?;
    let exceptions = take_count(bytes, count)?;
    let positions = take_bytes(bytes, exceptions * 2)?;
    let bits = take_bytes(bytes, exceptions * 8)?;
    let start = out.len();
    let power = places.power();
    with_bits(out, |out| {
        integer::decode(bytes, count, out)?;
        for slot in &mut out[start..] {
            *slot = from_digits(*slot, power).to_bits() as i64;
        }
        Ok(())
    })?;
    let (positions, bits) = (positions.as_chunks::<2>().0, bits.as_chunks::<8>().0);
    for (position, bits) in positions.iter().zip(bits) {
        let at = start + u16::from_le_bytes(*position) as usize;
        *out.get_mut(at).ok_or(DecodeError("exception position"))? =
            f64::from_bits(u64::from_le_bytes(*bits));
    }
    Ok(())
}

/// Right bits and patterns that suit `values` best.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    right: u32,
    patterns: Vec<u16>,
}

/// The best cut on a sample, and its estimated bits per value.
pub fn search_cut(values: &[f64]) -> (Cut, u64) {
    let step = (values.len() / 256).max(1);
    let sample: Vec<u64> = values.iter().step_by(step).map(|value| value.to_bits()).collect();
    let mut best = (Cut { right: 64 - LEFT_BITS_MAX, patterns: vec![0] }, u64::MAX);
    for left in 1..=LEFT_BITS_MAX {
        let right = 64 - left;
        let mut lefts: Vec<u16> = sample.iter().map(|bits| (bits >> right) as u16).collect();
        lefts.sort_unstable();
        let mut counts: Vec<(usize, u16)> =
            lefts.chunk_by(|a, b| a == b).map(|run| (run.len(), run[0])).collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        counts.truncate(PATTERNS_MAX);
        let covered: usize = counts.iter().map(|(count, _)| count).sum();
        let exceptions = (sample.len() - covered) as u64;
        let id_width = u64::from(width_of(counts.len().saturating_sub(1) as u64));
        let bits = (sample.len() as u64 * (u64::from(right) + id_width) + exceptions * 32)
            / (sample.len() as u64).max(1);
        if bits < best.1 {
            let patterns = counts.into_iter().map(|(_, pattern)| pattern).collect();
            best = (Cut { right, patterns }, bits);
        }
    }
    best
}

/// `u8 right bits · u8 patterns · patterns (u16) · varint exceptions · positions (u16) · left bits (u16) · packed ids ·
/// packed right bits`
pub fn encode_cut(values: &[f64], cut: &Cut, out: &mut Vec<u8>) {
    let mask = (1u64 << cut.right) - 1;
    let mut ids = Vec::with_capacity(values.len());
    let mut exceptions: Vec<(u16, u16)> = Vec::new();
    for (at, value) in values.iter().enumerate() {
        let left = (value.to_bits() >> cut.right) as u16;
        let id = cut.patterns.iter().position(|&pattern| pattern == left);
        if id.is_none() {
            exceptions.push((at as u16, left));
        }
        ids.push(id.unwrap_or(0) as u64);
    }
    out.push(cut.right as u8);
    out.push(cut.patterns.len() as u8);
    for pattern in &cut.patterns {
        out.extend_from_slice(&pattern.to_le_bytes());
    }
    put_varint(out, exceptions.len() as u64);
    for (position, _) in &exceptions {
        out.extend_from_slice(&position.to_le_bytes());
    }
    for (_, left) in &exceptions {
        out.extend_from_slice(&left.to_le_bytes());
    }
    pack(&ids, width_of(cut.patterns.len() as u64 - 1), out);
    let rights: Vec<u64> = values.iter().map(|value| value.to_bits() & mask).collect();
    pack(&rights, cut.right, out);
}

pub fn decode_cut(mut bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), DecodeError> {
    let bytes = &mut bytes;
    let right = u32::from(take_byte(bytes)?);
    let patterns = usize::from(take_byte(bytes)?);
    if !(64 - LEFT_BITS_MAX..64).contains(&right) || !(1..=PATTERNS_MAX).contains(&patterns) {
        return Err(DecodeError("cut"));
    }
    // They lie above the right bits, of which there are 48 or more: in the upper half of a float.
    let mut lefts = [0u32; PATTERNS_MAX];
    for (slot, pattern) in lefts.iter_mut().zip(take_bytes(bytes, patterns * 2)?.as_chunks::<2>().0) {
        *slot = (u64::from(u16::from_le_bytes(*pattern)) << right >> 32) as u32;
    }
    let exceptions = take_count(bytes, count)?;
    let positions = take_bytes(bytes, exceptions * 2)?;
    let exception_lefts = take_bytes(bytes, exceptions * 2)?;
    let id_width = width_of(patterns as u64 - 1);
    let mut ids = Vec::with_capacity(count);
    unpack(take_bytes(bytes, packed_len(count, id_width))?, id_width, count, &mut ids)?;
    let start = out.len();
    with_bits(out, |out| {
        unpack(bytes, right, count, out)?;
        join(&mut out[start..], &ids, &lefts);
        Ok(())
    })?;
    for (position, left) in positions.as_chunks::<2>().0.iter().zip(exception_lefts.as_chunks::<2>().0) {
        let at = u16::from_le_bytes(*position) as usize;
        let slot = out[start..].get_mut(at).ok_or(DecodeError("exception position"))?;
        let right_bits = slot.to_bits() & ((1 << right) - 1);
        *slot = f64::from_bits(u64::from(u16::from_le_bytes(*left)) << right | right_bits);
    }
    Ok(())
}

/// Lets `work` append to floats by their bits, so that what is unpacked becomes floats where it stands.
fn with_bits<R>(floats: &mut Vec<f64>, work: impl FnOnce(&mut Vec<i64>) -> R) -> R {
    let mut held = ManuallyDrop::new(std::mem::take(floats));
    // SAFETY: the parts are those of a vector that nobody else drops; an i64 has the size and the alignment of an f64, and
    // any bits are one.
    let mut bits = unsafe { Vec::from_raw_parts(held.as_mut_ptr().cast(), held.len(), held.capacity()) };
    let result = work(&mut bits);
    let mut held = ManuallyDrop::new(bits);
    // SAFETY: as above, and any bits are an f64, too.
    *floats = unsafe { Vec::from_raw_parts(held.as_mut_ptr().cast(), held.len(), held.capacity()) };
    result
}

/// Puts the pattern that each id names, of which only three bits count, above each value's right bits.
fn join(rights: &mut [i64], ids: &[i64], lefts: &[u32; PATTERNS_MAX]) {
    #[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
    let (rights, ids) = join_lanes(rights, ids, lefts);
    for (value, id) in rights.iter_mut().zip(ids) {
        *value |= i64::from(lefts[*id as usize % PATTERNS_MAX]) << 32;
    }
}

/// [`join`] of all whole groups of four, and what is left of them: the patterns stay in a register.
#[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
fn join_lanes<'a>(
    rights: &'a mut [i64],
    ids: &'a [i64],
    lefts: &[u32; PATTERNS_MAX],
) -> (&'a mut [i64], &'a [i64]) {
    use std::arch::x86_64::*;

    let (rights, rights_rest) = rights.as_chunks_mut::<4>();
    let (ids, ids_rest) = ids.as_chunks::<4>();
    // SAFETY: AVX2 is enabled for the whole build, which the cfg above checks. Loads and stores are of a group's 32 bytes,
    // or of the table's, and need no alignment; all else computes on registers.
    unsafe {
        let lefts = _mm256_loadu_si256(lefts.as_ptr().cast());
        for (rights, ids) in rights.iter_mut().zip(ids) {
            let at = rights.as_mut_ptr().cast::<__m256i>();
            let ids = _mm256_loadu_si256(ids.as_ptr().cast());
            let lefts = _mm256_slli_epi64::<32>(_mm256_permutevar8x32_epi32(lefts, ids));
            _mm256_storeu_si256(at, _mm256_or_si256(_mm256_loadu_si256(at), lefts));
        }
    }
    (rights_rest, ids_rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(digits: i64, power: f64) -> Result<(), TestCaseError> {
        let (ours, divided) = (from_digits(digits, power), digits as f64 / power);
        prop_assert_eq!(ours.to_bits(), divided.to_bits(), "{} / {}", digits, power);
        Ok(())
    }

    #[test]
    fn digits_at_the_ends_of_their_range_are_divided_exactly() {
        for power in POWERS {
            for near in 0..2_000 {
                for digits in [near, (1 << 51) - 1 - near, (1 << 50) + near, power as i64 + near] {
                    check(digits, power).expect("as a division");
                    check(-digits, power).expect("as a division");
                }
            }
        }
    }

    #[test]
    fn bits_are_appended_to_the_floats_there_are() {
        let mut floats = Vec::with_capacity(1);
        floats.push(1.5);
        with_bits(&mut floats, |bits| {
            assert_eq!(bits, &[1.5f64.to_bits() as i64]);
            bits.extend([2.5f64.to_bits() as i64; 9]);
        });
        assert_eq!((floats.len(), floats[0], floats[9]), (10, 1.5, 2.5));
    }

    proptest! {
        #[test]
        fn digits_are_divided_as_by_a_division(digits in -(1i64 << 51)..1 << 51, shift in 0u32..51, place in 0usize..16) {
            check(digits >> shift, POWERS[place])?;
        }

        /// Quotients next to the middle between two floats are where a rounding goes wrong first.
        #[test]
        fn quotients_near_a_middle_are_rounded_as_by_a_division(digits in 1i64..1 << 51, place in 0usize..16) {
            let power = POWERS[place];
            let quotient = digits as f64 / power;
            let next = f64::from_bits(quotient.to_bits() + 1);
            let middle = (quotient * power + next * power) / 2.0;
            for near in -3..=3 {
                check((middle as i64 + near).clamp(0, (1 << 51) - 1), power)?;
            }
        }

        #[test]
        fn patterns_are_joined_as_one_by_one(values in prop::collection::vec((0i64..1 << 48, 0i64..8), 0..70), lefts: [u16; 8]) {
            let lefts = lefts.map(|left| u32::from(left) << 16);
            let (mut rights, ids): (Vec<i64>, Vec<i64>) = values.iter().copied().unzip();
            join(&mut rights, &ids, &lefts);
            for (at, (right, id)) in values.iter().enumerate() {
                prop_assert_eq!(rights[at] as u64, *right as u64 | u64::from(lefts[*id as usize]) << 32);
            }
        }
    }
}
