//! Differences of neighbours, in arithmetic that wraps: exact for every i64 and for u64 seen as i64.

use super::Few;

/// `out` becomes the `values.len() - 1` differences; their least and greatest.
pub fn differences(values: &[i64], out: &mut Few<i64>) -> (i64, i64) {
    out.clear();
    out.extend(values.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])));
    min_max(out)
}

/// Least and greatest; (0, 0) of nothing.
pub fn min_max(values: &[i64]) -> (i64, i64) {
    let Some(&first) = values.first() else { return (0, 0) };
    values.iter().fold((first, first), |(min, max), &value| (min.min(value), max.max(value)))
}

/// Turns residuals into values in place: each becomes the sum of `first` and all residuals up to it, each plus `base`.
#[inline]
pub fn accumulate(residuals: &mut [i64], first: i64, base: i64) {
    #[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
    let (residuals, first) = accumulate_lanes(residuals, first, base);
    let mut value = first;
    for slot in residuals {
        value = value.wrapping_add(slot.wrapping_add(base));
        *slot = value;
    }
}

/// [`accumulate`] of all whole groups of four; what is left of them, and the last value.
///
/// One after the other, every value would wait for the one before. The sums within a group do not, and one addition a
/// group is all that is carried on.
#[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
#[inline]
fn accumulate_lanes(residuals: &mut [i64], first: i64, base: i64) -> (&mut [i64], i64) {
    use std::arch::x86_64::*;

    let (groups, rest) = residuals.as_chunks_mut::<4>();
    // SAFETY: AVX2 is enabled for the whole build, which the cfg above checks. Loads and stores are of a group's 32 bytes
    // and need no alignment; all else computes on registers.
    unsafe {
        let base = |times: i64| base.wrapping_mul(times);
        let bases = _mm256_setr_epi64x(base(1), base(2), base(3), base(4));
        let mut carried = _mm256_set1_epi64x(first);
        for group in groups {
            let at = group.as_mut_ptr().cast::<__m256i>();
            // a b c d, then a ab c cd, then a ab abc abcd.
            let ones = _mm256_loadu_si256(at);
            let pairs = _mm256_add_epi64(ones, _mm256_slli_si256::<8>(ones));
            let low_half_above = _mm256_permute2x128_si256::<0x08>(pairs, pairs);
            let sums = _mm256_add_epi64(pairs, _mm256_unpackhi_epi64(low_half_above, low_half_above));
            let sums = _mm256_add_epi64(sums, bases);
            _mm256_storeu_si256(at, _mm256_add_epi64(sums, carried));
            carried = _mm256_add_epi64(carried, _mm256_permute4x64_epi64::<0xff>(sums));
        }
        (rest, _mm256_extract_epi64::<0>(carried))
    }
}

/// As [`accumulate`], of zigzag residuals.
#[inline]
pub fn accumulate_zigzag(residuals: &mut [i64], first: i64) {
    // In a pass of its own, the first half vectorises.
    for slot in residuals.iter_mut() {
        *slot = super::varint::unzigzag(*slot as u64);
    }
    accumulate(residuals, first, 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn residuals_are_added_up_as_one_by_one(residuals in prop::collection::vec(any::<i64>(), 0..40), first: i64, base: i64) {
            let mut sum = first;
            let wanted: Vec<i64> = residuals
                .iter()
                .map(|residual| {
                    sum = sum.wrapping_add(*residual).wrapping_add(base);
                    sum
                })
                .collect();
            let mut values = residuals;
            accumulate(&mut values, first, base);
            prop_assert_eq!(values, wanted);
        }
    }
}
