//! What a block's entry knows of a column without its bytes.
//!
//! ```text
//! integer   zigzag min · varint max-min · first-min · last-min · sum - count·min        (all wrapping)
//! unsigned  the same, min as a varint
//! float     u8 places: zigzag digits of min · varint max-min · first-min · last-min in digits · sum, 8 bytes
//!           u8 255: min, max, sum, first, last, 8 bytes each
//!           u8 254: nothing (there are NaNs)
//! boolean   u8: min, max, first, last from the lowest bit
//! string    nothing
//! ```

use crate::codec::alp::Places;
use crate::codec::varint::{put_varint, put_zigzag, take_byte, take_u64, take_varint, take_zigzag};
use crate::codec::{DecodeError, Values};
use crate::model::{FieldType, kernel};

/// Of the present values, in time order. Sums of integers wrap; a float sum is made in the order of [`sum_of_floats`];
/// booleans have none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extent<T> {
    pub min: T,
    pub max: T,
    pub sum: T,
    pub first: T,
    pub last: T,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Statistics {
    Float(Extent<f64>),
    Integer(Extent<i64>),
    Unsigned(Extent<u64>),
    Boolean(Extent<bool>),
}

const FLOAT_RAW: u8 = 255;
const FLOAT_NONE: u8 = 254;

/// The sum of floats as statistics keep it: in the order in which a scan adds the rows, which so gives the same bits.
#[inline]
pub fn sum_of_floats(values: &[f64]) -> f64 {
    kernel::sum_floats(values, None, 0..values.len()).unwrap_or(0.0)
}

/// The statistics of present values; `None` for strings, for no values, and when there are NaNs.
pub fn statistics_of(values: Values<'_>) -> Option<Statistics> {
    match values {
        Values::Float(values) => {
            let (&first, &last) = (values.first()?, values.last()?);
            if values.iter().fold(false, |any, value| any | value.is_nan()) {
                return None;
            }
            let (min, max) = extremes(values, first);
            Some(Statistics::Float(Extent { min, max, sum: sum_of_floats(values), first, last }))
        }
        Values::Integer(values) => {
            let (&first, &last) = (values.first()?, values.last()?);
            let (min, max) = extremes(values, first);
            let sum = values.iter().fold(0i64, |sum, value| sum.wrapping_add(*value));
            Some(Statistics::Integer(Extent { min, max, sum, first, last }))
        }
        Values::Unsigned(values) => {
            let (&first, &last) = (values.first()?, values.last()?);
            let (min, max) = extremes(values, first);
            let sum = values.iter().fold(0u64, |sum, value| sum.wrapping_add(*value));
            Some(Statistics::Unsigned(Extent { min, max, sum, first, last }))
        }
        Values::Boolean(values) => {
            let (&first, &last) = (values.first()?, values.last()?);
            let (min, max) = extremes(values, first);
            Some(Statistics::Boolean(Extent { min, max, sum: false, first, last }))
        }
        Values::String(_) => None,
    }
}

fn extremes<T: Copy + PartialOrd>(values: &[T], first: T) -> (T, T) {
    values.iter().fold((first, first), |(min, max), &value| {
        (if value < min { value } else { min }, if value > max { value } else { max })
    })
}

/// Appends the statistics of a column of `count` values.
pub fn put(
    field_type: FieldType,
    statistics: Option<&Statistics>,
    count: u64,
    places: Option<Places>,
    out: &mut Vec<u8>,
) {
    match (field_type, statistics) {
        (FieldType::Integer, Some(Statistics::Integer(extent))) => {
            put_zigzag(out, extent.min);
            put_offsets(extent, extent.min as u64, count, |value| value as u64, out);
        }
        (FieldType::Unsigned, Some(Statistics::Unsigned(extent))) => {
            put_varint(out, extent.min);
            put_offsets(extent, extent.min, count, |value| value, out);
        }
        (FieldType::Boolean, Some(Statistics::Boolean(extent))) => {
            let bits = [extent.min, extent.max, extent.first, extent.last];
            out.push(bits.iter().enumerate().fold(0, |byte, (at, &bit)| byte | u8::from(bit) << at));
        }
        (FieldType::Float, Some(Statistics::Float(extent))) => put_floats(extent, places, out),
        (FieldType::Float, _) => out.push(FLOAT_NONE),
        // Strings have none; for the others a count above zero always has statistics.
        _ => debug_assert_eq!(field_type, FieldType::String, "BUG: statistics of another type"),
    }
}

fn put_offsets<T: Copy>(
    extent: &Extent<T>,
    min: u64,
    count: u64,
    bits: impl Fn(T) -> u64,
    out: &mut Vec<u8>,
) {
    put_varint(out, bits(extent.max).wrapping_sub(min));
    put_varint(out, bits(extent.first).wrapping_sub(min));
    put_varint(out, bits(extent.last).wrapping_sub(min));
    put_varint(out, bits(extent.sum).wrapping_sub(min.wrapping_mul(count)));
}

fn put_floats(extent: &Extent<f64>, places: Option<Places>, out: &mut Vec<u8>) {
    let digits = |places: Places| {
        Some((
            places.digits(extent.min)?,
            places.digits(extent.max)?,
            places.digits(extent.first)?,
            places.digits(extent.last)?,
        ))
    };
    if let Some(places) = places
        && let Some((min, max, first, last)) = digits(places)
    {
        out.push(places.to_byte());
        put_zigzag(out, min);
        for digits in [max, first, last] {
            put_varint(out, digits.wrapping_sub(min) as u64);
        }
        out.extend_from_slice(&extent.sum.to_bits().to_le_bytes());
        return;
    }
    out.push(FLOAT_RAW);
    for value in [extent.min, extent.max, extent.sum, extent.first, extent.last] {
        out.extend_from_slice(&value.to_bits().to_le_bytes());
    }
}

/// Takes the statistics of a column of `count` values off the front of `bytes`.
pub fn take(field_type: FieldType, count: u64, bytes: &mut &[u8]) -> Result<Option<Statistics>, DecodeError> {
    Ok(match field_type {
        FieldType::Integer => {
            let min = take_zigzag(bytes)?;
            let extent = take_offsets(min as u64, count, bytes)?;
            Some(Statistics::Integer(Extent {
                min,
                max: extent.max as i64,
                sum: extent.sum as i64,
                first: extent.first as i64,
                last: extent.last as i64,
            }))
        }
        FieldType::Unsigned => {
            let min = take_varint(bytes)?;
            Some(Statistics::Unsigned(take_offsets(min, count, bytes)?))
        }
        FieldType::Boolean => {
            let byte = take_byte(bytes)?;
            let bit = |at: u8| byte >> at & 1 == 1;
            let (min, max, first, last) = (bit(0), bit(1), bit(2), bit(3));
            Some(Statistics::Boolean(Extent { min, max, sum: false, first, last }))
        }
        FieldType::Float => take_floats(bytes)?.map(Statistics::Float),
        FieldType::String => None,
    })
}

fn take_offsets(min: u64, count: u64, bytes: &mut &[u8]) -> Result<Extent<u64>, DecodeError> {
    let mut next = || Ok(take_varint(bytes)?.wrapping_add(min));
    let (max, first, last) = (next()?, next()?, next()?);
    let sum = take_varint(bytes)?.wrapping_add(min.wrapping_mul(count));
    Ok(Extent { min, max, sum, first, last })
}

fn take_floats(bytes: &mut &[u8]) -> Result<Option<Extent<f64>>, DecodeError> {
    let form = take_byte(bytes)?;
    if form == FLOAT_NONE {
        return Ok(None);
    }
    if form == FLOAT_RAW {
        let mut next = || Ok(f64::from_bits(take_u64(bytes)?));
        let (min, max, sum, first, last) = (next()?, next()?, next()?, next()?, next()?);
        return Ok(Some(Extent { min, max, sum, first, last }));
    }
    let places = Places::from_byte(form).ok_or(DecodeError("statistics"))?;
    let min = take_zigzag(bytes)?;
    let mut next = || Ok(places.value(min.wrapping_add(take_varint(bytes)? as i64)));
    let (max, first, last) = (next()?, next()?, next()?);
    let sum = f64::from_bits(take_u64(bytes)?);
    Ok(Some(Extent { min: places.value(min), max, sum, first, last }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(values: Values<'_>, field_type: FieldType, count: usize, places: Option<Places>) -> usize {
        let statistics = statistics_of(values);
        let mut out = Vec::new();
        put(field_type, statistics.as_ref(), count as u64, places, &mut out);
        let mut rest = out.as_slice();
        assert_eq!(take(field_type, count as u64, &mut rest).expect("put above"), statistics);
        assert!(rest.is_empty());
        out.len()
    }

    #[test]
    fn a_gauge_of_small_integers_costs_ten_bytes_at_most() {
        let values: Vec<i64> = (0..1024).map(|at| 40 + at * 7919 % 60).collect();
        assert!(check(Values::Integer(&values), FieldType::Integer, values.len(), None) <= 10);
    }

    #[test]
    fn floats_with_a_nan_have_no_statistics() {
        for values in [[f64::NAN, 1.0, 2.0], [1.0, f64::NAN, 2.0], [1.0, 2.0, f64::NAN]] {
            assert_eq!(statistics_of(Values::Float(&values)), None);
            assert_eq!(check(Values::Float(&values), FieldType::Float, 3, None), 1);
        }
        let infinite = [1.0, f64::INFINITY, f64::NEG_INFINITY, 2.0];
        let Some(Statistics::Float(extent)) = statistics_of(Values::Float(&infinite)) else {
            panic!("there")
        };
        assert_eq!((extent.min, extent.max), (f64::NEG_INFINITY, f64::INFINITY));
    }

    #[test]
    fn statistics_are_of_all_values_and_know_both_ends() {
        let integers = [5, -3, 9, i64::MAX, 1];
        let wanted = Extent { min: -3, max: i64::MAX, sum: i64::MIN + 11, first: 5, last: 1 };
        assert_eq!(statistics_of(Values::Integer(&integers)), Some(Statistics::Integer(wanted)));
        let wanted = Extent { min: 1, max: u64::MAX, sum: 14, first: 5, last: 1 };
        assert_eq!(statistics_of(Values::Unsigned(&[5, u64::MAX, 9, 1])), Some(Statistics::Unsigned(wanted)));
        let wanted = Extent { min: -0.25, max: 2.0, sum: 3.25, first: 1.5, last: -0.25 };
        assert_eq!(statistics_of(Values::Float(&[1.5, 2.0, -0.25])), Some(Statistics::Float(wanted)));
        let wanted = Extent { min: false, max: true, sum: false, first: true, last: false };
        assert_eq!(statistics_of(Values::Boolean(&[true, true, false])), Some(Statistics::Boolean(wanted)));
        assert_eq!(statistics_of(Values::Integer(&[])), None);
    }

    proptest! {
        #[test]
        fn statistics_come_back(integers in proptest::collection::vec(any::<i64>(), 1..50), places in 0u8..16) {
            let count = integers.len();
            check(Values::Integer(&integers), FieldType::Integer, count, None);
            let unsigned: Vec<u64> = integers.iter().map(|&value| value as u64).collect();
            check(Values::Unsigned(&unsigned), FieldType::Unsigned, count, None);
            let floats: Vec<f64> = integers.iter().map(|&value| (value >> 40) as f64 / 100.0).collect();
            check(Values::Float(&floats), FieldType::Float, count, Places::from_byte(places));
            check(Values::Float(&floats), FieldType::Float, count, None);
            let booleans: Vec<bool> = integers.iter().map(|&value| value % 2 == 0).collect();
            check(Values::Boolean(&booleans), FieldType::Boolean, count, None);
        }
    }
}
