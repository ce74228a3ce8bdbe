//! Folds over dense typed slices, shared by block statistics and scans so that both give the same bits.
//!
//! Rules, all of them visible in answers:
//! * **Order of a float sum**: from the first value to the last, one addition at a time, starting at `-0.0` (the
//!   neutral element of float addition). It is what InfluxDB gives for one series, bit for bit. From [`LONG_SUM`] values
//!   on it is the sum of the sums of four quarters, which a processor adds at once: three times as fast, nearer to the
//!   true sum, and other in the last digits. A block's sum is this kernel over the block's present values.
//! * Integer sums wrap.
//! * Least and greatest: the first row of those equal. A NaN never wins over a number.
//!
//! `present` is the rows' bitmap, or `None` when every row has a value; slots without a value may hold anything.

use std::ops::Range;

use super::column::Bitmap;

/// Rows taken together by the lane kernels: four AVX2 registers of 64-bit values, enough to hide latency.
const LANES: usize = 16;

/// Present rows within `rows`.
pub fn count_present(present: Option<&Bitmap>, rows: Range<usize>) -> usize {
    match present {
        None => rows.len(),
        Some(bits) => words_of(bits, rows).map(|(_, word)| word.count_ones() as usize).sum(),
    }
}

/// The first present row within `rows`.
pub fn first_present(present: Option<&Bitmap>, rows: Range<usize>) -> Option<usize> {
    match present {
        None => (!rows.is_empty()).then_some(rows.start),
        Some(bits) => words_of(bits, rows)
            .find(|(_, word)| *word != 0)
            .map(|(base, word)| base + word.trailing_zeros() as usize),
    }
}

/// The last present row within `rows`.
pub fn last_present(present: Option<&Bitmap>, rows: Range<usize>) -> Option<usize> {
    match present {
        None => rows.end.checked_sub(1).filter(|_| !rows.is_empty()),
        Some(bits) => words_of(bits, rows)
            .rev()
            .find(|(_, word)| *word != 0)
            .map(|(base, word)| base + 63 - word.leading_zeros() as usize),
    }
}

/// Calls `each` with every present row within `rows`, ascending.
#[inline]
pub fn for_each_present(present: Option<&Bitmap>, rows: Range<usize>, mut each: impl FnMut(usize)) {
    match present {
        None => rows.for_each(each),
        Some(bits) => {
            for (base, mut word) in words_of(bits, rows) {
                while word != 0 {
                    each(base + word.trailing_zeros() as usize);
                    word &= word - 1;
                }
            }
        }
    }
}

/// The bitmap's words that touch `rows`, masked to them, with the row of their lowest bit.
fn words_of(bits: &Bitmap, rows: Range<usize>) -> impl DoubleEndedIterator<Item = (usize, u64)> + '_ {
    let words = if rows.is_empty() { 0..0 } else { rows.start / 64..rows.end.div_ceil(64) };
    words.map(move |at| {
        let base = at * 64;
        let mut word = bits.words[at];
        if base < rows.start {
            word &= !0 << (rows.start - base);
        }
        if base + 64 > rows.end {
            word &= !0 >> (base + 64 - rows.end);
        }
        (base, word)
    })
}

/// So many floats are summed in quarters.
const LONG_SUM: usize = 512;

/// The sum of the present values within `rows`, in the order told above; `None` without any.
pub fn sum_floats(values: &[f64], present: Option<&Bitmap>, rows: Range<usize>) -> Option<f64> {
    let count = count_present(present, rows.clone());
    let quarter = count / TOGETHER;
    match present {
        _ if count == 0 => None,
        None if count < LONG_SUM => Some(values[rows].iter().fold(-0.0, |sum, value| sum + value)),
        None => {
            let start = |at: usize| rows.start + at * quarter;
            let [a, b, c, d] = [start(0), start(1), start(2), start(3)];
            Some(sum_of_quarters(sums_in_step(values, &[a..b, b..c, c..d, d..rows.end])))
        }
        Some(_) if count < LONG_SUM => {
            let mut sum = -0.0;
            for_each_present(present, rows, |at| sum += values[at]);
            Some(sum)
        }
        Some(_) => {
            let (mut sums, mut now, mut left) = ([-0.0; TOGETHER], 0, quarter);
            for_each_present(present, rows, |at| {
                if left == 0 && now + 1 < TOGETHER {
                    (now, left) = (now + 1, quarter);
                }
                left = left.saturating_sub(1);
                sums[now] += values[at];
            });
            Some(sum_of_quarters(sums))
        }
    }
}

fn sum_of_quarters([a, b, c, d]: [f64; TOGETHER]) -> f64 {
    (a + b) + (c + d)
}

/// Ranges whose floats are summed at once.
pub const TOGETHER: usize = 4;

/// [`sum_floats`] of several ranges of values that are all present; `-0.0` of an empty one.
pub fn sums_of_floats(values: &[f64], rows: &[Range<usize>; TOGETHER]) -> [f64; TOGETHER] {
    if rows.iter().any(|rows| rows.len() >= LONG_SUM) {
        return rows.clone().map(|rows| sum_floats(values, None, rows).unwrap_or(-0.0));
    }
    sums_in_step(values, rows)
}

/// The sums from left to right. In one range every addition waits for the one before; those of another range do not, and
/// go on meanwhile.
fn sums_in_step(values: &[f64], rows: &[Range<usize>; TOGETHER]) -> [f64; TOGETHER] {
    let mut rest = rows.clone().map(|rows| &values[rows]);
    let mut sums = [-0.0; TOGETHER];
    loop {
        let mut open = [0; TOGETHER];
        let mut count = 0;
        for at in (0..TOGETHER).filter(|at| !rest[*at].is_empty()) {
            open[count] = at;
            count += 1;
        }
        match open {
            _ if count == 0 => return sums,
            [a, ..] if count == 1 => add_together([a], &mut rest, &mut sums),
            [a, b, ..] if count == 2 => add_together([a, b], &mut rest, &mut sums),
            [a, b, c, _] if count == 3 => add_together([a, b, c], &mut rest, &mut sums),
            all => add_together(all, &mut rest, &mut sums),
        }
    }
}

/// Adds as many values of the ranges named as the shortest of them has.
#[inline]
#[expect(clippy::needless_range_loop, reason = "a row of all the pieces at a time")]
fn add_together<const N: usize>(
    lanes: [usize; N],
    rest: &mut [&[f64]; TOGETHER],
    sums: &mut [f64; TOGETHER],
) {
    let shortest = lanes.iter().map(|lane| rest[*lane].len()).min().unwrap_or(0);
    let pieces = lanes.map(|lane| &rest[lane][..shortest]);
    let mut held = lanes.map(|lane| sums[lane]);
    for at in 0..shortest {
        for lane in 0..N {
            held[lane] += pieces[lane][at];
        }
    }
    for (lane, sum) in lanes.into_iter().zip(held) {
        sums[lane] = sum;
        rest[lane] = &rest[lane][shortest..];
    }
}

/// The wrapping sum of the present values within `rows`; `None` without any.
pub fn sum_integers(values: &[i64], present: Option<&Bitmap>, rows: Range<usize>) -> Option<i64> {
    if count_present(present, rows.clone()) == 0 {
        return None;
    }
    let mut sum = 0i64;
    match present {
        None => {
            for value in &values[rows] {
                sum = sum.wrapping_add(*value);
            }
        }
        Some(_) => for_each_present(present, rows, |at| sum = sum.wrapping_add(values[at])),
    }
    Some(sum)
}

/// The wrapping sum of the present values within `rows`; `None` without any.
pub fn sum_unsigned(values: &[u64], present: Option<&Bitmap>, rows: Range<usize>) -> Option<u64> {
    if count_present(present, rows.clone()) == 0 {
        return None;
    }
    let mut sum = 0u64;
    match present {
        None => {
            for value in &values[rows] {
                sum = sum.wrapping_add(*value);
            }
        }
        Some(_) => for_each_present(present, rows, |at| sum = sum.wrapping_add(values[at])),
    }
    Some(sum)
}

/// What least and greatest are taken of.
pub trait Scalar: Copy + PartialOrd {
    /// Whether any order of comparing gives the same: a plain loop over such values vectorises, of floats only one that
    /// spells out its lanes does.
    const IS_TOTAL: bool;
}

impl Scalar for f64 {
    const IS_TOTAL: bool = false;
}

impl Scalar for i64 {
    const IS_TOTAL: bool = true;
}

impl Scalar for u64 {
    const IS_TOTAL: bool = true;
}

impl Scalar for bool {
    const IS_TOTAL: bool = true;
}

/// The row of the least present value within `rows`, the first of those equal.
#[inline]
pub fn least<T: Scalar>(values: &[T], present: Option<&Bitmap>, rows: Range<usize>) -> Option<usize> {
    extreme(values, present, rows, |a, b| a < b)
}

/// The row of the greatest present value within `rows`, the first of those equal.
#[inline]
pub fn greatest<T: Scalar>(values: &[T], present: Option<&Bitmap>, rows: Range<usize>) -> Option<usize> {
    extreme(values, present, rows, |a, b| a > b)
}

/// Two passes over dense rows, both of which vectorise: the best value, then where it first stands.
#[inline]
fn extreme<T: Scalar>(
    values: &[T],
    present: Option<&Bitmap>,
    rows: Range<usize>,
    better: impl Fn(T, T) -> bool,
) -> Option<usize> {
    if present.is_some() {
        let mut best: Option<usize> = None;
        for_each_present(present, rows, |at| match best {
            Some(held) if !replaces(values[at], values[held], &better) => {}
            _ => best = Some(at),
        });
        return best;
    }
    let slice = &values[rows.clone()];
    let best = best_of(slice, &better)?;
    if let Some(at) = position_of(slice, best) {
        return Some(rows.start + at);
    }
    // The first value is a NaN, which nothing beat: look again, letting any number win.
    let mut held = 0;
    for at in 1..slice.len() {
        if replaces(slice[at], slice[held], &better) {
            held = at;
        }
    }
    Some(rows.start + held)
}

/// The best value, of floats in lanes; the first one when it is a NaN.
#[inline]
fn best_of<T: Scalar>(slice: &[T], better: &impl Fn(T, T) -> bool) -> Option<T> {
    let mut best = *slice.first()?;
    if T::IS_TOTAL {
        return Some(slice.iter().fold(best, |best, value| if better(*value, best) { *value } else { best }));
    }
    let (chunks, tail) = slice.as_chunks::<LANES>();
    let mut lanes = [best; LANES];
    for chunk in chunks {
        for at in 0..LANES {
            lanes[at] = if better(chunk[at], lanes[at]) { chunk[at] } else { lanes[at] };
        }
    }
    for value in lanes.iter().chain(tail) {
        best = if better(*value, best) { *value } else { best };
    }
    Some(best)
}

/// Where a value first stands: chunks without it are passed over as a whole.
#[inline]
fn position_of<T: Copy + PartialEq>(slice: &[T], wanted: T) -> Option<usize> {
    let (chunks, tail) = slice.as_chunks::<LANES>();
    let has = |chunk: &[T; LANES]| chunk.iter().fold(false, |found, value| found | (*value == wanted));
    let before = chunks.iter().position(has).unwrap_or(chunks.len()) * LANES;
    let near = if before < slice.len() - tail.len() { &slice[before..before + LANES] } else { tail };
    Some(before + near.iter().position(|value| *value == wanted)?)
}

/// The greatest (least) of dense rows without where it stands; `None` without rows and when it may be a NaN.
#[inline]
pub fn extreme_value<T: Scalar>(slice: &[T], is_greatest: bool) -> Option<T> {
    let best = if is_greatest { best_of(slice, &|a, b| a > b) } else { best_of(slice, &|a, b| a < b) };
    best.filter(|best| best.partial_cmp(best).is_some())
}

/// Whether `new` takes the place of `held`: it is better, or `held` is a NaN and it is not.
#[inline]
#[expect(clippy::eq_op, reason = "only a NaN differs from itself")]
fn replaces<T: Scalar>(new: T, held: T, better: &impl Fn(T, T) -> bool) -> bool {
    better(new, held) || (held != held && new == new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_float_sum_goes_from_left_to_right_and_keeps_the_sign_of_zero() {
        let values = [0.1, 0.2, 0.3, 1e16, -1e16];
        let mut want = 0.1;
        for value in &values[1..] {
            want += value;
        }
        assert_eq!(sum_floats(&values, None, 0..5), Some(want));
        assert!(sum_floats(&[-0.0], None, 0..1).expect("one value").is_sign_negative());
        assert_eq!(sum_floats(&values, None, 2..2), None);
        assert_eq!(sum_floats(&values, Some(&Bitmap::filled(5, false)), 0..5), None);
    }

    /// Sums as the rule at the top of this file tells.
    fn sum_by_rule(values: &[f64]) -> Option<f64> {
        let plain = |values: &[f64]| values.iter().fold(-0.0, |sum, value| sum + value);
        let quarter = values.len() / 4;
        let quarters = || {
            let ((a, b), (c, d)) =
                (values[..2 * quarter].split_at(quarter), values[2 * quarter..].split_at(quarter));
            (plain(a) + plain(b)) + (plain(c) + plain(d))
        };
        match values.len() {
            0 => None,
            1..LONG_SUM => Some(plain(values)),
            _ => Some(quarters()),
        }
    }

    #[test]
    fn integer_sums_wrap() {
        assert_eq!(sum_integers(&[i64::MAX, 1], None, 0..2), Some(i64::MIN));
        assert_eq!(sum_unsigned(&[u64::MAX, 2], None, 0..2), Some(1));
    }

    #[test]
    fn a_nan_never_wins_over_a_number() {
        assert_eq!(least(&[f64::NAN, 3.0, 2.0, 2.0], None, 0..4), Some(2));
        assert_eq!(greatest(&[f64::NAN, 3.0, f64::NAN], Some(&Bitmap::filled(3, true)), 0..3), Some(1));
        assert_eq!(least(&[f64::NAN], None, 0..1), Some(0));
        assert_eq!(extreme_value(&[f64::NAN, 3.0], true), None, "for the look that finds the 3");
        assert_eq!(extreme_value(&[2.0, f64::NAN, 3.0], true), Some(3.0));
        assert_eq!(extreme_value(&[4i64, 1, 9, 1], false), Some(1));
        assert_eq!(extreme_value::<i64>(&[], true), None);
    }

    proptest! {
        #[test]
        fn kernels_equal_plain_loops(
            rows in prop::collection::vec((-4i64..4, any::<bool>()), 0..1_200),
            dense: bool,
            bounds in (0usize..600, 0usize..1_200),
        ) {
            let values: Vec<i64> = rows.iter().map(|row| row.0).collect();
            let mut bits = Bitmap::default();
            rows.iter().for_each(|row| bits.push(row.1));
            let end = bounds.1.min(rows.len());
            let range = bounds.0.min(end)..end;
            let present = (!dense).then_some(&bits);
            let there: Vec<usize> = range.clone().filter(|at| dense || rows[*at].1).collect();
            prop_assert_eq!(count_present(present, range.clone()), there.len());
            prop_assert_eq!(first_present(present, range.clone()), there.first().copied());
            prop_assert_eq!(last_present(present, range.clone()), there.last().copied());
            let sum = (!there.is_empty()).then(|| there.iter().map(|at| values[*at]).sum::<i64>());
            prop_assert_eq!(sum_integers(&values, present, range.clone()), sum);
            let least_at = there.iter().copied().min_by_key(|at| (values[*at], *at));
            prop_assert_eq!(least(&values, present, range.clone()), least_at);
            let greatest_at = there.iter().copied().max_by_key(|at| (values[*at], usize::MAX - *at));
            prop_assert_eq!(greatest(&values, present, range.clone()), greatest_at);
            let floats: Vec<f64> = values.iter().map(|value| *value as f64 / 3.0).collect();
            prop_assert_eq!(least(&floats, present, range.clone()), least_at);
            let summed: Vec<f64> = there.iter().map(|at| floats[*at]).collect();
            let sum = sum_floats(&floats, present, range).map(f64::to_bits);
            prop_assert_eq!(sum, sum_by_rule(&summed).map(f64::to_bits));
        }

        #[test]
        fn sums_of_several_ranges_are_those_of_each_bit_for_bit(
            values in prop::collection::vec(-1e9f64..1e9, 1..1_200),
            bounds: [(prop::sample::Index, prop::sample::Index); TOGETHER],
        ) {
            let rows = bounds.map(|(a, b)| {
                let (a, b) = (a.index(values.len() + 1), b.index(values.len() + 1));
                a.min(b)..a.max(b)
            });
            let sums = sums_of_floats(&values, &rows);
            for (sum, rows) in sums.into_iter().zip(rows) {
                prop_assert_eq!(sum.to_bits(), sum_floats(&values, None, rows).unwrap_or(-0.0).to_bits());
            }
        }
    }
}
