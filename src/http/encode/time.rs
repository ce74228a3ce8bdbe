//! Times as text: RFC 3339 with up to nine digits of a second, trailing zeros cut.

use chrono_tz::Tz;

use crate::query::window::zone_offset;

const SECOND: i64 = 1_000_000_000;

/// Appends `2006-01-02T15:04:05.999999999Z`, or with the zone's offset in place of the `Z`.
pub fn put_rfc3339(out: &mut Vec<u8>, time: i64, zone: Option<Tz>) {
    let offset = zone.map_or(0, |zone| zone_offset(zone, time) / SECOND);
    let seconds = time.div_euclid(SECOND) + offset;
    let nanos = time.rem_euclid(SECOND) as u32;
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400) as u32);
    let (year, month, day) = civil(days);
    put_digits(out, year as u32, 4);
    out.push(b'-');
    put_digits(out, month, 2);
    out.push(b'-');
    put_digits(out, day, 2);
    out.push(b'T');
    put_digits(out, of_day / 3600, 2);
    out.push(b':');
    put_digits(out, of_day / 60 % 60, 2);
    out.push(b':');
    put_digits(out, of_day % 60, 2);
    if nanos > 0 {
        out.push(b'.');
        put_digits(out, nanos, 9);
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
    if zone.is_none() || offset == 0 {
        out.push(b'Z');
        return;
    }
    out.push(if offset < 0 { b'-' } else { b'+' });
    let minutes = (offset.unsigned_abs() / 60) as u32;
    put_digits(out, minutes / 60, 2);
    out.push(b':');
    put_digits(out, minutes % 60, 2);
}

fn put_digits(out: &mut Vec<u8>, value: u32, width: usize) {
    let mut digits = [b'0'; 10];
    let mut rest = value;
    for at in (0..width).rev() {
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&digits[..width]);
}

/// Year, month and day of a day since 1970-01-01, in the Gregorian calendar: eras of 400 years that begin in March.
fn civil(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = (of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(time: i64, zone: Option<Tz>, want: &str) {
        let mut out = Vec::new();
        put_rfc3339(&mut out, time, zone);
        assert_eq!(String::from_utf8_lossy(&out), want);
    }

    #[test]
    fn times_are_written_as_go_writes_them() {
        check(0, None, "1970-01-01T00:00:00Z");
        check(951_782_400_000_000_000, None, "2000-02-29T00:00:00Z");
        check(1_500_000_000, None, "1970-01-01T00:00:01.5Z");
        check(-1, None, "1969-12-31T23:59:59.999999999Z");
        check(i64::MIN + 2, None, "1677-09-21T00:12:43.145224194Z");
        check(946_728_000_000_000_000, Some(chrono_tz::America::Los_Angeles), "2000-01-01T04:00:00-08:00");
    }
}
