//! Numbers and booleans of line protocol: the exact rules and texts, and the fast conversions.

use std::borrow::Cow;

use super::line::Reason;

/// As InfluxDB says it; the limits are `TIME_MIN` and `TIME_MAX`.
pub(super) const TIME_OUT_OF_RANGE: &str = "time outside range -9223372036854775806 - 9223372036854775806";
const INVALID_NUMBER: Reason = Cow::Borrowed("invalid number");
const INVALID_BOOLEAN: Reason = Cow::Borrowed("invalid boolean");

/// Characters from which an integer may not fit: only those are converted while a line is checked.
const INTEGER_CHARACTERS_SAFE: usize = 19;
const UNSIGNED_CHARACTERS_SAFE: usize = 20;
/// A decimal number of fewer characters without an exponent is always finite.
const FLOAT_CHARACTERS_SAFE: usize = 309;

/// Checks the number at `start`; where the comma or blank after it stands.
pub(super) fn check_number(line: &[u8], start: usize, accept_unsigned: bool) -> Result<usize, Reason> {
    let mut at = start;
    let is_negative = line[at] == b'-';
    if is_negative {
        at += 1;
        if at == line.len() {
            return Err(INVALID_NUMBER);
        }
    }
    let (mut is_integer, mut is_unsigned) = (false, false);
    let (mut has_point, mut has_exponent) = (false, false);
    while at < line.len() && !matches!(line[at], b',' | b' ') {
        match line[at] {
            b'i' if at > start && !is_integer && !is_unsigned => is_integer = true,
            b'u' if at > start && !is_integer && !is_unsigned => is_unsigned = true,
            b'.' if has_point => return Err(INVALID_NUMBER),
            b'.' => has_point = true,
            b'e' | b'E' if at > start => has_exponent = true,
            b'+' | b'-' if matches!(line[at - 1], b'e' | b'E') => {}
            b'0'..=b'9' => {}
            _ => return Err(INVALID_NUMBER),
        }
        at += 1;
    }
    if (is_integer || is_unsigned) && (has_point || has_exponent) {
        return Err(INVALID_NUMBER);
    }
    let digits =
        (at - start) as isize - isize::from(is_integer) - isize::from(has_point) - isize::from(is_negative);
    if digits <= 0 {
        return Err(INVALID_NUMBER);
    }
    if is_integer {
        if line[at - 1] != b'i' {
            return Err(INVALID_NUMBER);
        }
        let text = &line[start..at - 1];
        if text.len() >= INTEGER_CHARACTERS_SAFE
            && let Err(reason) = read_i64(text)
        {
            return Err(format!("unable to parse integer {}: {reason}", String::from_utf8_lossy(text)).into());
        }
    } else if is_unsigned {
        if !accept_unsigned || line[at - 1] != b'u' || is_negative || at - 1 == start {
            return Err(INVALID_NUMBER);
        }
        let text = &line[start..at - 1];
        if text.len() >= UNSIGNED_CHARACTERS_SAFE
            && let Err(reason) = read_u64(text)
        {
            return Err(
                format!("unable to parse unsigned {}: {reason}", String::from_utf8_lossy(text)).into()
            );
        }
    } else if has_exponent || at - start >= FLOAT_CHARACTERS_SAFE {
        read_f64(&line[start..at])?;
    }
    Ok(at)
}

/// Checks the boolean at `start`; where the comma or blank after it stands.
pub(super) fn check_boolean(line: &[u8], start: usize) -> Result<usize, Reason> {
    let rest = &line[start..];
    let end = rest.iter().position(|byte| matches!(byte, b',' | b' ')).unwrap_or(rest.len());
    match &rest[..end] {
        b"t" | b"T" | b"true" | b"True" | b"TRUE" | b"f" | b"F" | b"false" | b"False" | b"FALSE" => {
            Ok(start + end)
        }
        _ => Err(INVALID_BOOLEAN),
    }
}

/// A decimal integer with an optional sign; the error is the one of Go's strconv.
pub(super) fn read_i64(text: &[u8]) -> Result<i64, Reason> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let magnitude = read_digits(digits).map_err(|problem| strconv("ParseInt", text, problem))?;
    let value =
        if is_negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() };
    value.ok_or_else(|| strconv("ParseInt", text, OUT_OF_RANGE))
}

pub(super) fn read_u64(text: &[u8]) -> Result<u64, Reason> {
    read_digits(text).map_err(|problem| strconv("ParseUint", text, problem))
}

const OUT_OF_RANGE: &str = "value out of range";

fn read_digits(digits: &[u8]) -> Result<u64, &'static str> {
    let mut value = 0u64;
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err("invalid syntax");
    }
    for digit in digits {
        value = value
            .checked_mul(10)
            .and_then(|value| value.checked_add(u64::from(digit - b'0')))
            .ok_or(OUT_OF_RANGE)?;
    }
    Ok(value)
}

fn strconv(function: &str, text: &[u8], problem: &str) -> Reason {
    format!("strconv.{function}: parsing \"{}\": {problem}", String::from_utf8_lossy(text)).into()
}

/// A finite decimal float.
pub(super) fn read_f64(text: &[u8]) -> Result<f64, Reason> {
    match fast_float2::parse::<f64, _>(text) {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err("invalid float".into()),
    }
}

const ZEROS: u64 = 0x3030_3030_3030_3030;

/// How many of eight bytes are digits before the first that is not, and the eight with their zero taken off.
#[inline(always)]
fn leading_digits(text: [u8; 8]) -> (usize, u64) {
    let digits = u64::from_le_bytes(text) ^ ZEROS;
    // The highest bit of a byte is set where it is above nine; a carry only reaches bytes after the first such.
    let above_nine = (digits.wrapping_add(0x7676_7676_7676_7676) | digits) & 0x8080_8080_8080_8080;
    (above_nine.trailing_zeros() as usize / 8, digits)
}

/// The number that the first `count` (1 to 8) of eight digits make.
#[inline(always)]
fn join_digits(digits: u64, count: usize) -> u64 {
    // Zeros come before: the first digit stands in the lowest byte.
    let digits = digits << (64 - 8 * count);
    // Neighbours are joined: eight digits to four pairs, to two fours, to one number.
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let low = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
    let rest = ((pairs >> 16) & 0x0000_00ff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
    low.wrapping_add(rest) >> 32
}

#[inline(always)]
fn eight_at(body: &[u8], at: usize) -> Option<[u8; 8]> {
    body.get(at..)?.first_chunk().copied()
}

/// The digits at `at`, and where they end; `None` when there are none, when they do not fit, or when fewer than eight
/// bytes follow.
#[inline(always)]
pub(super) fn read_plain_u63(body: &[u8], at: usize) -> Option<(i64, usize)> {
    let (count, digits) = leading_digits(eight_at(body, at)?);
    if count == 8 {
        return read_long_u63(body, at + 8, join_digits(digits, 8));
    }
    (count > 0).then(|| (join_digits(digits, count) as i64, at + count))
}

/// As [`read_plain_u63`], after the first eight digits.
#[inline]
fn read_long_u63(body: &[u8], at: usize, first: u64) -> Option<(i64, usize)> {
    const POWERS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];
    let (count, digits) = leading_digits(eight_at(body, at)?);
    if count == 0 {
        return Some((first as i64, at));
    }
    let value = first * POWERS[count] + join_digits(digits, count);
    if count < 8 {
        return Some((value as i64, at + count));
    }
    let at = at + 8;
    let (count, digits) = leading_digits(eight_at(body, at)?);
    match count {
        0 => Some((value as i64, at)),
        // At most 19 digits are below 2^64.
        1..=3 => i64::try_from(value * POWERS[count] + join_digits(digits, count))
            .ok()
            .map(|value| (value, at + count)),
        _ => None,
    }
}

const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// The float at `at` as `check_number` and `read_f64` together would read it, and where it ends; `None` for what they
/// refuse and what has a type letter. The caller checks the byte after it.
#[inline]
pub(super) fn read_plain_f64(body: &[u8], at: usize) -> Option<(f64, usize)> {
    let is_negative = *body.get(at)? == b'-';
    let start = at + usize::from(is_negative);
    // Up to 19 digits fit; both numbers of the quotient are exact below 2^53 and 10^22, so it is rounded once.
    let (mut mantissa, mut point_at, mut end) = (0u64, None, start);
    loop {
        let byte = *body.get(end)?;
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
        } else if byte == b'.' && point_at.is_none() {
            point_at = Some(end);
        } else {
            break;
        }
        end += 1;
    }
    let count = end - start - usize::from(point_at.is_some());
    if !matches!(body[end], b',' | b' ' | b'\n') || count > 19 || mantissa > 1 << 53 {
        return read_any_f64(body, at);
    }
    if count == 0 {
        return None;
    }
    let fraction = point_at.map_or(0, |point| end - point - 1);
    let value = mantissa as f64 / POWERS_OF_TEN[fraction];
    Some((if is_negative { -value } else { value }, end))
}

/// A longer float than this is left to the plain way.
const FLOAT_BYTES_MAX: usize = 64;

#[cold]
fn read_any_f64(body: &[u8], at: usize) -> Option<(f64, usize)> {
    let rest = &body[at..];
    let length = rest.iter().take(FLOAT_BYTES_MAX).position(|byte| matches!(byte, b',' | b' ' | b'\n'))?;
    let text = &rest[..length];
    if matches!(text.last(), None | Some(b'i' | b'u')) || !matches!(text[0], b'0'..=b'9' | b'.' | b'-') {
        return None;
    }
    match check_number(text, 0, false) {
        Ok(end) if end == length => read_f64(text).ok().map(|value| (value, at + length)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The number at the front of `text`, where it is all of it.
    fn plain_u63(text: &str) -> Option<i64> {
        let body = format!("{text}i,next=1 2345");
        read_plain_u63(body.as_bytes(), 0).filter(|(_, end)| *end == text.len()).map(|(value, _)| value)
    }

    #[test]
    fn digits_of_every_count_are_read_and_everything_else_is_not() {
        for count in 1..=18 {
            let text = &"1234567890123456789"[..count];
            assert_eq!(plain_u63(text), text.parse().ok());
            for at in 0..count {
                for byte in ["/", ":", "-", " ", "\0", "\u{7f}", "\u{e9}"] {
                    let mut broken = text.to_owned();
                    broken.replace_range(at..at + 1, byte);
                    assert_eq!(plain_u63(&broken), None, "{broken:?}");
                }
            }
        }
        assert_eq!(plain_u63("9223372036854775807"), Some(i64::MAX));
        assert_eq!(plain_u63("9223372036854775808"), None);
        assert_eq!(plain_u63(""), None);
        assert_eq!(plain_u63("00000000000000000001"), None);
    }

    proptest! {
        #[test]
        fn whole_numbers_are_read(value: u64, shift in 1u32..64) {
            let value = (value >> shift) as i64;
            prop_assert_eq!(plain_u63(&value.to_string()), Some(value));
        }

        #[test]
        fn plain_floats_are_those_of_the_library(text in "-?[0-9]{0,22}(\\.[0-9]{0,22})?([eE][+-]?[0-9]{1,3})?") {
            let body = format!("{text} 1");
            let plain = read_plain_f64(body.as_bytes(), 0);
            let exact = match check_number(body.as_bytes(), 0, false) {
                Ok(_) if matches!(body.as_bytes()[0], b'0'..=b'9' | b'.' | b'-') => read_f64(text.as_bytes()).ok(),
                _ => None,
            };
            prop_assert_eq!(plain.map(|(value, _)| value.to_bits()), exact.map(f64::to_bits), "{}", text);
            prop_assert!(plain.is_none_or(|(_, end)| end == text.len()));
        }
    }
}
