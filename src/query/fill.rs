//! Fill of empty windows: `fill(null)`, a number, `previous`, `linear`.
//!
//! A series that has a point anywhere in the range gets one for every window of it.

use tidemark_engine::model::{Column, ColumnData, FieldType, Value};

use crate::influxql::ast::Fill;

use super::condition::MIN_TIME;
use super::control::Control;
use super::error::{QueryError, Result};
use super::functions::Points;
use super::window::Windows;

/// A number as a value of a column's type; strings and booleans have none.
pub fn fill_value(fill: Fill, field_type: FieldType) -> Option<Value> {
    match (fill, field_type) {
        (Fill::Integer(value), FieldType::Float) => Some(Value::Float(value as f64)),
        (Fill::Integer(value), FieldType::Integer) => Some(Value::Integer(value)),
        (Fill::Integer(value), FieldType::Unsigned) => Some(Value::Unsigned(value as u64)),
        (Fill::Number(value), FieldType::Float) => Some(Value::Float(value)),
        (Fill::Number(value), FieldType::Integer) => Some(Value::Integer(value as i64)),
        (Fill::Number(value), FieldType::Unsigned) => Some(Value::Unsigned(value as u64)),
        _ => None,
    }
}

/// As [`fill_value`], for windows: strings and booleans are made empty and false.
pub fn fill_value_or_zero(fill: Fill, field_type: FieldType) -> Option<Value> {
    fill_value(fill, field_type).or(match field_type {
        FieldType::String => Some(Value::String(Vec::new())),
        FieldType::Boolean => Some(Value::Boolean(false)),
        _ => None,
    })
}

/// Rows between two looks at whether to give way.
const STEP_ROWS: u64 = 1024;
/// Nanoseconds, about, that a row takes.
const ROW_NS: u64 = 30;

/// Fills one series' points. `buckets_max`: most windows; 0 is no limit.
pub async fn fill(
    points: Points,
    fill: Fill,
    windows: &Windows,
    ascending: bool,
    buckets_max: u64,
    control: &Control,
) -> Result<Points> {
    let (Some(interval), Some(&first)) = (windows.interval, points.times.first()) else { return Ok(points) };
    let every = interval.every;
    let (from, to) = if ascending { (windows.start, windows.end) } else { (windows.end, windows.start) };
    let (begin, end) = (windows.start_of(from), windows.start_of(to));
    let unbounded_begin = ascending && begin <= MIN_TIME;
    let unbounded_end = !ascending && end <= MIN_TIME;
    let mut expected = if unbounded_begin { windows.start_of(first) } else { begin };
    // All windows present, in the usual case of dense data.
    if !unbounded_end && windows.zone.is_none() {
        let count = (end as i128 - expected as i128).unsigned_abs() / every as u128 + 1;
        if buckets_max > 0 && count > u128::from(buckets_max) {
            return Err(QueryError::BucketsMax {
                wanted: u64::try_from(count).unwrap_or(u64::MAX),
                max: buckets_max,
            });
        }
        if count == points.times.len() as u128 && first == expected && points.times.last() == Some(&end) {
            return Ok(points);
        }
    }
    let field_type = points.values.field_type();
    let aux: Vec<FieldType> = points.aux.iter().map(Column::field_type).collect();
    let mut out = Points::empty(field_type, &aux);
    let mut offset = windows.zone_offset(expected);
    // The last point put out that was there, for `previous` and `linear`.
    let mut previous: Option<(i64, Option<Value>)> = None;
    let mut made: u64 = 0;
    let mut row = 0;
    let mut rows = 0;
    loop {
        rows += 1;
        if rows % STEP_ROWS == 0 {
            control.spent(STEP_ROWS * ROW_NS).await?;
        }
        let next = points.times.get(row).copied();
        let inside = if ascending { expected <= end } else { expected >= end && !unbounded_end };
        if next.is_none() && !inside {
            break;
        }
        let here = match next {
            Some(time) if ascending => time <= expected,
            Some(time) => time >= expected,
            None => false,
        };
        if here {
            out.push_row(points.times[row], &points.values, &points.aux, row);
            previous = Some((points.times[row], points.values.get(row)));
            row += 1;
        } else {
            made += 1;
            if buckets_max > 0 && made > buckets_max {
                return Err(QueryError::BucketsMax { wanted: made, max: buckets_max });
            }
            let value = match fill {
                Fill::Null | Fill::None => None,
                Fill::Integer(_) | Fill::Number(_) => fill_value_or_zero(fill, field_type),
                Fill::Previous => previous.as_ref().and_then(|(_, value)| value.clone()),
                Fill::Linear => match (&previous, next) {
                    (Some((before, Some(left))), Some(after)) => points.values.get(row).and_then(|right| {
                        between(expected / every, (before / every, left), (after / every, &right))
                    }),
                    _ => None,
                },
            };
            out.push(expected, value);
        }
        windows.step(&mut expected, &mut offset, ascending);
    }
    Ok(out)
}

/// The value at `at` on the line between two points; integers are cut. Strings and booleans have no line.
pub fn between(at: i64, (before, left): (i64, &Value), (after, right): (i64, &Value)) -> Option<Value> {
    let line = |left: f64, right: f64| {
        let slope = (right - left) / (after - before) as f64;
        slope * (at - before) as f64 + left
    };
    Some(match (left, right) {
        (Value::Float(left), Value::Float(right)) => Value::Float(line(*left, *right)),
        (Value::Integer(left), Value::Integer(right)) => {
            Value::Integer(line(*left as f64, *right as f64) as i64)
        }
        (Value::Unsigned(left), Value::Unsigned(right)) => {
            Value::Unsigned(line(*left as f64, *right as f64) as u64)
        }
        _ => return None,
    })
}

/// A column with its absent values replaced, for fills with a number.
pub fn fill_absent(column: Column, fill: Fill) -> Column {
    if column.present.is_none() {
        return column;
    }
    let Some(value) = fill_value(fill, column.field_type()) else { return column };
    let Column { mut data, present } = column;
    let is_absent = |row: usize| present.as_ref().is_some_and(|bits| !bits.get(row));
    macro_rules! put {
        ($values:expr, $value:expr) => {
            $values
                .iter_mut()
                .enumerate()
                .filter(|(row, _)| is_absent(*row))
                .for_each(|(_, slot)| *slot = $value)
        };
    }
    match (&mut data, value) {
        (ColumnData::Float(values), Value::Float(value)) => put!(values, value),
        (ColumnData::Integer(values), Value::Integer(value)) => put!(values, value),
        (ColumnData::Unsigned(values), Value::Unsigned(value)) => put!(values, value),
        // Strings and booleans have no fill value.
        _ => return Column { data, present },
    }
    Column { data, present: None }
}
