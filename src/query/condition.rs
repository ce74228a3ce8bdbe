//! WHERE, taken apart: the time range, and what remains of the condition without it.
//!
//! Time comparisons are always intersected, wherever they stand: there is no such thing as OR with time.

use chrono::{LocalResult, NaiveDate, NaiveDateTime, TimeZone};
use chrono_tz::Tz;

use crate::influxql::ast::{BinaryOp, Call, Expr};

use super::columns::text;
use super::error::{QueryError, Result};
use super::types::{is_math_function, math_argument_count};

/// The least and greatest time of a query, both inclusive.
pub const MIN_TIME: i64 = i64::MIN + 2;
pub const MAX_TIME: i64 = i64::MAX - 1;

/// Bounds found in a condition, both inclusive; `None` where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    pub min: Option<i64>,
    pub max: Option<i64>,
}

impl Bounds {
    fn intersect(self, other: Self) -> Self {
        let both = |a: Option<i64>, b: Option<i64>, pick: fn(i64, i64) -> i64| match (a, b) {
            (Some(a), Some(b)) => Some(pick(a, b)),
            (a, b) => a.or(b),
        };
        Self { min: both(self.min, other.min, i64::max), max: both(self.max, other.max, i64::min) }
    }
}

/// What literals mean: now, and the zone of texts without one.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    pub now: i64,
    pub zone: Option<Tz>,
}

/// Splits a condition into what is not about time, and the time range.
pub fn split(condition: Option<&Expr>, clock: Clock) -> Result<(Option<Expr>, Bounds)> {
    match condition {
        None => Ok((None, Bounds::default())),
        Some(condition) => split_expr(condition, clock),
    }
}

/// Whether it is made of comparisons of names other than `time` with literals alone: [`split`] leaves it as it is.
pub fn is_plain(condition: &Expr) -> bool {
    let Expr::Binary(binary) = condition else { return false };
    match binary.op {
        BinaryOp::And | BinaryOp::Or => is_plain(&binary.left) && is_plain(&binary.right),
        BinaryOp::Equal
        | BinaryOp::NotEqual
        | BinaryOp::Less
        | BinaryOp::LessEqual
        | BinaryOp::Greater
        | BinaryOp::GreaterEqual
        | BinaryOp::Matches
        | BinaryOp::NotMatches => {
            let is_literal = matches!(
                binary.right,
                Expr::String(_) | Expr::Regex(_) | Expr::Integer(_) | Expr::Unsigned(_) | Expr::Number(_)
            );
            is_literal && matches!(&binary.left, Expr::VarRef(var) if !var.is_time())
        }
        _ => false,
    }
}

fn split_expr(condition: &Expr, clock: Clock) -> Result<(Option<Expr>, Bounds)> {
    match condition {
        Expr::Binary(binary) if matches!(binary.op, BinaryOp::And | BinaryOp::Or) => {
            let (left, left_time) = split_expr(&binary.left, clock)?;
            let (right, right_time) = split_expr(&binary.right, clock)?;
            let time = left_time.intersect(right_time);
            Ok((
                match (left, right) {
                    (Some(left), Some(right)) => Some(Expr::binary(binary.op, left, right)),
                    (left, right) => left.or(right),
                },
                time,
            ))
        }
        Expr::Binary(binary) => {
            if matches!(&binary.left, Expr::VarRef(var) if var.is_time()) {
                return Ok((None, time_range(binary.op, &binary.right, clock)?));
            }
            if matches!(&binary.right, Expr::VarRef(var) if var.is_time()) {
                let op = match binary.op {
                    BinaryOp::Greater => BinaryOp::Less,
                    BinaryOp::GreaterEqual => BinaryOp::LessEqual,
                    BinaryOp::Less => BinaryOp::Greater,
                    BinaryOp::LessEqual => BinaryOp::GreaterEqual,
                    op => op,
                };
                return Ok((None, time_range(op, &binary.left, clock)?));
            }
            Ok((Some(reduce(condition, Some(clock))?), Bounds::default()))
        }
        Expr::Paren(inner) => {
            let (expr, time) = split_expr(inner, clock)?;
            Ok((expr.map(|expr| Expr::Paren(Box::new(expr))), time))
        }
        Expr::Boolean(_) => Ok((Some(condition.clone()), Bounds::default())),
        other => Err(QueryError::statement(format!("invalid condition expression: {}", text(other)))),
    }
}

fn time_range(op: BinaryOp, value: &Expr, clock: Clock) -> Result<Bounds> {
    let mut value = value.clone();
    if let Expr::String(text) = &value
        && is_time_literal(text)
    {
        value = time_literal_expr(text, clock.zone)?;
    }
    let time = match reduce(&value, Some(clock))? {
        Expr::Time(time) | Expr::Duration(time) | Expr::Integer(time) => time,
        Expr::Number(number) => number as i64,
        other => {
            return Err(QueryError::statement(format!(
                "invalid operation: time and {} are not compatible",
                go_type(&other)
            )));
        }
    };
    Ok(match op {
        BinaryOp::Greater => Bounds { min: Some(time.saturating_add(1)), max: None },
        BinaryOp::GreaterEqual => Bounds { min: Some(time), max: None },
        BinaryOp::Less => Bounds { min: None, max: Some(time.saturating_sub(1)) },
        BinaryOp::LessEqual => Bounds { min: None, max: Some(time) },
        BinaryOp::Equal => Bounds { min: Some(time), max: Some(time) },
        other => {
            return Err(QueryError::statement(format!(
                "invalid time comparison operator: {}",
                other.symbol()
            )));
        }
    })
}

/// The name clients see for a kind of expression: that of InfluxDB's own syntax tree.
pub fn go_type(expr: &Expr) -> &'static str {
    match expr {
        Expr::VarRef(_) => "*influxql.VarRef",
        Expr::Call(_) => "*influxql.Call",
        Expr::Binary(_) => "*influxql.BinaryExpr",
        Expr::Paren(_) => "*influxql.ParenExpr",
        Expr::Wildcard(_) => "*influxql.Wildcard",
        Expr::Regex(_) => "*influxql.RegexLiteral",
        Expr::Distinct(_) => "*influxql.Distinct",
        Expr::Number(_) => "*influxql.NumberLiteral",
        Expr::Integer(_) => "*influxql.IntegerLiteral",
        Expr::Unsigned(_) => "*influxql.UnsignedLiteral",
        Expr::String(_) => "*influxql.StringLiteral",
        Expr::Boolean(_) => "*influxql.BooleanLiteral",
        Expr::Duration(_) => "*influxql.DurationLiteral",
        Expr::Time(_) => "*influxql.TimeLiteral",
    }
}

/// Whether only math functions, with the right number of arguments, are called.
pub fn validate(condition: &Expr) -> Result<()> {
    match condition {
        Expr::Binary(binary) => {
            validate(&binary.left)?;
            validate(&binary.right)
        }
        Expr::Paren(inner) => validate(inner),
        Expr::Call(Call { name, args }) => {
            if !is_math_function(name) {
                return Err(QueryError::statement(format!(
                    "invalid function call in condition: {}",
                    text(condition)
                )));
            }
            let expected = math_argument_count(name);
            if args.len() != expected {
                return Err(QueryError::statement(format!(
                    "invalid number of arguments for {name}, expected {expected}, got {}",
                    args.len()
                )));
            }
            args.iter().try_for_each(validate)
        }
        _ => Ok(()),
    }
}

/// Whether a text looks like a date, or a date and a time.
pub fn is_time_literal(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 10
        && bytes[..10].iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

/// Whether a text is a date, a blank, and a time without a zone, the hour of one digit or two.
fn is_date_and_time(text: &str) -> bool {
    let is_number = |part: &str, least: usize, most: usize| {
        (least..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    let Some((date, time)) = text.split_once(' ') else { return false };
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = time.splitn(3, ':');
    let mut is_part = |least| parts.next().is_some_and(|part| is_number(part, least, 2));
    date.len() == 10
        && is_time_literal(date)
        && is_part(1)
        && is_part(2)
        && is_part(2)
        && is_number(fraction, 1, usize::MAX)
}

fn time_literal_expr(text: &str, zone: Option<Tz>) -> Result<Expr> {
    time_literal(text, zone).map(Expr::Time)
}

/// Nanoseconds of a time literal. A text with no zone of its own is in `zone`, else in UTC.
pub fn time_literal(text: &str, zone: Option<Tz>) -> Result<i64> {
    let invalid = || QueryError::statement("invalid timestamp string");
    let local = if text.len() == 10 {
        NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().and_then(|date| date.and_hms_opt(0, 0, 0))
    } else if is_date_and_time(text) {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").ok()
    } else {
        let time = chrono::DateTime::parse_from_rfc3339(text).map_err(|_| invalid())?;
        if text.as_bytes().get(10) != Some(&b'T') {
            return Err(invalid());
        }
        return nanos(time.naive_utc(), text);
    };
    let local = local.ok_or_else(invalid)?;
    let utc = match zone {
        None => local,
        Some(zone) => match zone.from_local_datetime(&local) {
            LocalResult::Single(time) => time.naive_utc(),
            // Twice there: the first; never there: as if the clock had not been changed yet.
            LocalResult::Ambiguous(first, _) => first.naive_utc(),
            LocalResult::None => {
                let before = zone.from_utc_datetime(&(local - chrono::Duration::hours(24)));
                let offset = before.naive_local() - before.naive_utc();
                local - offset
            }
        },
    };
    nanos(utc, text)
}

fn nanos(utc: NaiveDateTime, _text: &str) -> Result<i64> {
    let utc = utc.and_utc();
    let text = || utc.format("%Y-%m-%dT%H:%M:%SZ");
    let value = utc.timestamp() as i128 * 1_000_000_000 + utc.timestamp_subsec_nanos() as i128;
    if value > MAX_TIME as i128 {
        return Err(QueryError::statement(format!("time {} overflows time literal", text())));
    }
    if value < MIN_TIME as i128 + 1 {
        return Err(QueryError::statement(format!("time {} underflows time literal", text())));
    }
    Ok(value as i64)
}

/// Folds what is constant; `now()` when there is a clock.
pub fn reduce(expr: &Expr, clock: Option<Clock>) -> Result<Expr> {
    Ok(match expr {
        Expr::Call(call) => {
            if let Some(clock) = clock
                && call.name == "now"
                && call.args.is_empty()
            {
                return Ok(Expr::Time(clock.now));
            }
            let mut args = Vec::with_capacity(call.args.len());
            for argument in &call.args {
                args.push(reduce(argument, clock)?);
            }
            let all_numbers = !args.is_empty()
                && args.iter().all(|a| matches!(a, Expr::Number(_) | Expr::Integer(_) | Expr::Unsigned(_)));
            let call = Expr::call(call.name.clone(), args);
            if all_numbers && let Some(value) = super::eval::constant(&call) {
                return Ok(value);
            }
            call
        }
        Expr::Paren(inner) => match reduce(inner, clock)? {
            inner @ Expr::Binary(_) => Expr::Paren(Box::new(inner)),
            inner => inner,
        },
        Expr::Binary(binary) => {
            let left = reduce(&binary.left, clock)?;
            let right = reduce(&binary.right, clock)?;
            match fold(binary.op, &left, &right, clock.and_then(|clock| clock.zone))? {
                Some(folded) => folded,
                None => Expr::binary(binary.op, left, right),
            }
        }
        other => other.clone(),
    })
}

/// The value of an operation on two literals, where it has one.
fn fold(op: BinaryOp, left: &Expr, right: &Expr, zone: Option<Tz>) -> Result<Option<Expr>> {
    use BinaryOp::{
        Add, And, Divide, Equal, Greater, GreaterEqual, Less, LessEqual, Multiply, NotEqual, Or, Subtract,
    };
    let compare = |ordering: std::cmp::Ordering| -> Option<Expr> {
        Some(Expr::Boolean(match op {
            Equal => ordering.is_eq(),
            NotEqual => ordering.is_ne(),
            Less => ordering.is_lt(),
            LessEqual => ordering.is_le(),
            Greater => ordering.is_gt(),
            GreaterEqual => ordering.is_ge(),
            _ => return None,
        }))
    };
    Ok(match (left, right) {
        (Expr::Boolean(a), Expr::Boolean(b)) => match op {
            And => Some(Expr::Boolean(*a && *b)),
            Or => Some(Expr::Boolean(*a || *b)),
            Equal => Some(Expr::Boolean(a == b)),
            NotEqual => Some(Expr::Boolean(a != b)),
            _ => None,
        },
        (Expr::Boolean(literal), other) | (other, Expr::Boolean(literal)) if matches!(op, And | Or) => {
            match (op, literal) {
                (And, true) | (Or, false) => Some(other.clone()),
                (And, _) => Some(Expr::Boolean(false)),
                _ => Some(Expr::Boolean(true)),
            }
        }
        (Expr::Time(a), Expr::Duration(b)) => match op {
            Add => Some(Expr::Time(a.saturating_add(*b))),
            Subtract => Some(Expr::Time(a.saturating_sub(*b))),
            _ => None,
        },
        (Expr::Time(a), Expr::Integer(b)) if matches!(op, Add | Subtract) => {
            fold(op, &Expr::Time(*a), &Expr::Duration(*b), zone)?
        }
        (Expr::Time(a), Expr::Time(b)) => match op {
            Subtract => Some(Expr::Duration(a.saturating_sub(*b))),
            _ => compare(a.cmp(b)),
        },
        (Expr::Duration(a) | Expr::Integer(a), Expr::Time(b)) if op == Add => {
            Some(Expr::Time(a.saturating_add(*b)))
        }
        (Expr::Duration(a), Expr::Duration(b)) => match op {
            Add => Some(Expr::Duration(a.wrapping_add(*b))),
            Subtract => Some(Expr::Duration(a.wrapping_sub(*b))),
            _ => compare(a.cmp(b)),
        },
        (Expr::Duration(a), Expr::Integer(b)) => match op {
            Multiply => Some(Expr::Duration(a.wrapping_mul(*b))),
            Divide => Some(Expr::Duration(if *b == 0 { 0 } else { a.wrapping_div(*b) })),
            _ => None,
        },
        (Expr::Duration(a), Expr::Number(b)) => match op {
            Multiply => Some(Expr::Duration((*a as f64 * b) as i64)),
            Divide => Some(Expr::Duration(if *b == 0.0 { 0 } else { (*a as f64 / b) as i64 })),
            _ => None,
        },
        (Expr::Integer(a), Expr::Duration(b)) => match op {
            Add => Some(Expr::Time(a.saturating_add(*b))),
            Subtract => Some(Expr::Time(a.saturating_sub(*b))),
            Multiply => Some(Expr::Duration(a.wrapping_mul(*b))),
            _ => None,
        },
        (Expr::Number(a), Expr::Duration(b)) if op == Multiply => {
            Some(Expr::Duration((a * *b as f64) as i64))
        }
        (Expr::String(a), Expr::String(b)) => match op {
            Add => Some(Expr::String(format!("{a}{b}"))),
            Equal | NotEqual if is_time_literal(a) && is_time_literal(b) => {
                fold(op, &time_literal_expr(a, zone)?, &time_literal_expr(b, zone)?, zone)?
            }
            Equal | NotEqual => compare(a.cmp(b)),
            _ => None,
        },
        (Expr::String(a), other @ (Expr::Duration(_) | Expr::Time(_) | Expr::Integer(_)))
            if is_time_literal(a) =>
        {
            fold(op, &time_literal_expr(a, zone)?, other, zone)?
        }
        (other @ (Expr::Duration(_) | Expr::Time(_) | Expr::Integer(_)), Expr::String(b))
            if is_time_literal(b) =>
        {
            fold(op, other, &time_literal_expr(b, zone)?, zone)?
        }
        (
            Expr::Integer(_) | Expr::Number(_) | Expr::Unsigned(_),
            Expr::Integer(_) | Expr::Number(_) | Expr::Unsigned(_),
        ) => super::eval::constant(&Expr::binary(op, left.clone(), right.clone())),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;
    use crate::influxql::parse_expr;

    #[test]
    fn a_time_literal_is_a_date_a_date_and_a_time_or_a_full_timestamp() {
        let day = 1_451_606_400_000_000_000;
        for (text, wanted) in [
            ("2016-01-01", Some(day)),
            ("2016-01-01 00:00:01", Some(day + 1_000_000_000)),
            ("2016-01-01 1:00:00", Some(day + 3_600_000_000_000)),
            ("2016-01-01 00:00:00.5", Some(day + 500_000_000)),
            ("2016-01-01T00:00:00Z", Some(day)),
            ("2016-01-01T02:00:00.000000001+02:00", Some(day + 1)),
            ("2016-01-01 00:00:00Z", None),
            ("2016-01-01 00:00:00.", None),
            ("2016-01-01 00:00", None),
            ("2016-01-01 24:00:00", None),
            ("2016-13-01", None),
            ("2016-1-01 00:00:00", None),
        ] {
            assert_eq!(time_literal(text, None).ok(), wanted, "{text}");
        }
    }

    #[test]
    fn a_condition_of_comparisons_with_literals_alone_is_known_to_stay_as_it_is() {
        let clock = Clock { now: 1, zone: None };
        for (text, is_left) in [
            ("a = 'x' OR b != 'y' AND c =~ /z/ OR v > 1 AND v <= 2.5", true),
            ("host = 'h' OR day = '2016-01-01'", true),
            ("(a = 'x' OR b = 'y')", false),
            ("time > 0 AND a = 'x'", false),
            ("'x' = a", false),
            ("v > 1 + 1", false),
            ("v > -w", false),
            ("a = true", false),
            ("abs(v) > 1", false),
            ("a AND b = 'x'", false),
        ] {
            let condition = parse_expr(text).expect("parses");
            assert_eq!(is_plain(&condition), is_left, "{text}");
            if is_left {
                assert_eq!(validate(&condition), Ok(()));
                assert_eq!(
                    split(Some(&condition), clock),
                    Ok((Some(condition), Bounds::default())),
                    "{text}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn a_date_and_a_time_are_told_as_a_regular_expression_would(
            text in "[0-9]{3,4}-[0-9]{2}-[0-9]{2}[ T]{1,2}[0-9]{0,3}:[0-9:]{1,3}:?[0-9]{1,3}[.]{0,2}[0-9]{0,3}[ Zé]?",
        ) {
            let pattern = Regex::new(r"^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{1,2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?$");
            prop_assert_eq!(is_date_and_time(&text), pattern.expect("a pattern").is_match(&text), "{}", text);
        }
    }
}
