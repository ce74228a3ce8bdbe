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
