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
    let mut value = first;
    for slot in residuals {
        value = value.wrapping_add(slot.wrapping_add(base));
        *slot = value;
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
