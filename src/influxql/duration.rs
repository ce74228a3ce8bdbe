//! Durations as InfluxQL writes them: `1h30m`, `10s`, `4u`.

pub const MICROSECOND: i64 = 1_000;
pub const MILLISECOND: i64 = 1_000 * MICROSECOND;
pub const SECOND: i64 = 1_000 * MILLISECOND;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;
pub const WEEK: i64 = 7 * DAY;

const INVALID: &str = "invalid duration";

/// Nanoseconds of a duration text. The error is InfluxDB's wording.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    if text.chars().count() < 2 {
        return Err(INVALID.into());
    }
    let mut total = 0i64;
    while !rest.is_empty() {
        let digits = rest.find(|char: char| !char.is_ascii_digit()).ok_or(INVALID)?;
        let count: i64 = rest[..digits].parse().map_err(|_| INVALID)?;
        rest = &rest[digits..];
        let (unit, nanoseconds) = UNITS.iter().find(|(unit, _)| rest.starts_with(unit)).ok_or(INVALID)?;
        rest = &rest[unit.len()..];
        total = count
            .checked_mul(*nanoseconds)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(|| format!("overflowed duration {count}{unit}: choose a smaller duration or INF"))?;
    }
    Ok(if negative { -total } else { total })
}

/// Two-letter units first.
const UNITS: [(&str, i64); 9] = [
    ("ns", 1),
    ("ms", MILLISECOND),
    ("u", MICROSECOND),
    ("µ", MICROSECOND),
    ("s", SECOND),
    ("m", MINUTE),
    ("h", HOUR),
    ("d", DAY),
    ("w", WEEK),
];

/// In the greatest unit that leaves no rest: `90m`, `2w`, `0s`.
pub fn format_duration(nanoseconds: i64) -> String {
    if nanoseconds == 0 {
        return "0s".into();
    }
    let units = [
        (WEEK, "w"),
        (DAY, "d"),
        (HOUR, "h"),
        (MINUTE, "m"),
        (SECOND, "s"),
        (MILLISECOND, "ms"),
        (MICROSECOND, "u"),
    ];
    for (unit, name) in units {
        if nanoseconds % unit == 0 {
            return format!("{}{name}", nanoseconds / unit);
        }
    }
    format!("{nanoseconds}ns")
}

/// As Go prints durations, which SHOW RETENTION POLICIES and SHOW QUERIES do: `168h0m0s`, `1m30s`, `1.5ms`, `0s`.
pub fn format_duration_go(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let total = nanoseconds.unsigned_abs();
    let (unit, name) = match total {
        0 => return "0s".into(),
        1..1_000 => return format!("{sign}{total}ns"),
        1_000..1_000_000 => (1_000, "µs"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    let (whole, rest) = (total / unit, total % unit);
    let mut fraction = String::new();
    if rest > 0 {
        let width = unit.ilog10() as usize;
        fraction = format!(".{rest:0width$}").trim_end_matches('0').to_string();
    }
    if name != "s" || whole < 60 {
        return format!("{sign}{whole}{fraction}{name}");
    }
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    if hours > 0 {
        format!("{sign}{hours}h{minutes}m{seconds}{fraction}s")
    } else {
        format!("{sign}{minutes}m{seconds}{fraction}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_every_unit() {
        let cases = [
            ("10ns", 10),
            ("10u", 10_000),
            ("10µ", 10_000),
            ("10ms", 10 * MILLISECOND),
            ("1h30m", 90 * MINUTE),
            ("2w1d", 15 * DAY),
            ("-5s", -5 * SECOND),
        ];
        for (text, want) in cases {
            assert_eq!(parse_duration(text), Ok(want), "{text}");
        }
        for text in ["", "1", "s", "1x", "1y", "h1", "1h2", "99999999999999999999s"] {
            assert_eq!(parse_duration(text), Err(INVALID.to_string()), "{text}");
        }
        let overflow = "overflowed duration 15251w: choose a smaller duration or INF";
        assert_eq!(parse_duration("15251w"), Err(overflow.to_string()));
    }

    #[test]
    fn durations_are_printed_both_ways() {
        let cases = [
            (0, "0s", "0s"),
            (90 * MINUTE, "90m", "1h30m0s"),
            (7 * DAY, "1w", "168h0m0s"),
            (1500 * MICROSECOND, "1500u", "1.5ms"),
            (61 * SECOND, "61s", "1m1s"),
            (-5 * SECOND, "-5s", "-5s"),
            (17, "17ns", "17ns"),
            (HOUR + 1, "3600000000001ns", "1h0m0.000000001s"),
        ];
        for (nanoseconds, ours, go) in cases {
            assert_eq!(format_duration(nanoseconds), ours);
            assert_eq!(format_duration_go(nanoseconds), go);
        }
    }
}
