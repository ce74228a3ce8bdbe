//! Functions that turn points into points, one after the other: differences, rates, running sums.

use tidemark_engine::model::{Column, FieldType, Value};

use super::super::condition::MIN_TIME;
use super::super::window::Windows;
use super::technical::Technical;
use super::{Points, float_at};

#[derive(Debug, Clone)]
pub enum Transform {
    /// Per `unit` ns.
    Derivative {
        unit: i64,
        non_negative: bool,
    },
    Difference {
        non_negative: bool,
    },
    MovingAverage {
        size: usize,
    },
    CumulativeSum,
    /// In `unit` ns.
    Elapsed {
        unit: i64,
    },
    /// Area per `unit` ns, cut at the borders of windows.
    Integral {
        unit: i64,
    },
    Technical(Technical),
}

impl Transform {
    pub fn output(&self, input: FieldType) -> FieldType {
        match self {
            Self::Difference { .. } | Self::CumulativeSum => input,
            Self::Elapsed { .. } => FieldType::Integer,
            _ => FieldType::Float,
        }
    }

    pub fn accepts(&self, input: FieldType) -> bool {
        matches!(self, Self::Elapsed { .. })
            || matches!(input, FieldType::Float | FieldType::Integer | FieldType::Unsigned)
    }
}

/// One transformation in one series.
#[derive(Debug)]
pub struct Transformer {
    transform: Transform,
    windows: Windows,
    ascending: bool,
    previous: Option<(i64, Value)>,
    buffer: Vec<Value>,
    position: usize,
    sum: f64,
    integer_sum: i64,
    unsigned_sum: u64,
    window: Option<(i64, i64)>,
    pub out: Points,
}

impl Transformer {
    pub fn new(transform: Transform, windows: Windows, ascending: bool, input: FieldType) -> Self {
        Self {
            out: Points::empty(transform.output(input), &[]),
            transform,
            windows,
            ascending,
            previous: None,
            buffer: Vec::new(),
            position: 0,
            sum: 0.0,
            integer_sum: 0,
            unsigned_sum: 0,
            window: None,
        }
    }

    /// Takes points in order; absent values are passed over.
    pub fn push(&mut self, times: &[i64], values: &Column) {
        for (row, &time) in times.iter().enumerate() {
            if let Some(value) = values.get(row) {
                self.point(time, value, float_at(values, row).unwrap_or(0.0));
            }
        }
    }

    fn point(&mut self, time: i64, value: Value, float: f64) {
        match &mut self.transform {
            Transform::Derivative { unit, non_negative } => {
                let (unit, non_negative) = (*unit, *non_negative);
                // Only the first of several points of one time counts.
                let Some((before, previous)) = &self.previous else {
                    self.previous = Some((time, value));
                    return;
                };
                if *before == time {
                    return;
                }
                let change = match (previous, &value) {
                    (Value::Unsigned(previous), Value::Unsigned(value)) if value < previous => {
                        -((previous - value) as f64)
                    }
                    (Value::Unsigned(previous), Value::Unsigned(value)) => (value - previous) as f64,
                    (Value::Integer(previous), Value::Integer(value)) => value.wrapping_sub(*previous) as f64,
                    (Value::Float(previous), _) => float - previous,
                    _ => 0.0,
                };
                let elapsed =
                    if self.ascending { time.wrapping_sub(*before) } else { before.wrapping_sub(time) };
                self.previous = Some((time, value));
                if !(non_negative && change < 0.0) {
                    self.out.push(time, Some(Value::Float(change / (elapsed as f64 / unit as f64))));
                }
            }
            Transform::Difference { non_negative } => {
                let non_negative = *non_negative;
                let Some((before, previous)) = &self.previous else {
                    self.previous = Some((time, value));
                    return;
                };
                if *before == time {
                    return;
                }
                let (difference, negative) = match (previous, &value) {
                    (Value::Float(previous), Value::Float(value)) => {
                        (Value::Float(value - previous), value - previous < 0.0)
                    }
                    (Value::Integer(previous), Value::Integer(value)) => {
                        let difference = value.wrapping_sub(*previous);
                        (Value::Integer(difference), difference < 0)
                    }
                    (Value::Unsigned(previous), Value::Unsigned(value)) => {
                        (Value::Unsigned(value.wrapping_sub(*previous)), value < previous)
                    }
                    _ => return,
                };
                self.previous = Some((time, value));
                if !(non_negative && negative) {
                    self.out.push(time, Some(difference));
                }
            }
            Transform::MovingAverage { size } => {
                let size = *size;
                // The oldest leaves before the newest enters: the order decides the last bits of a float.
                if self.buffer.len() < size {
                    self.add(&value, float);
                    self.buffer.push(value);
                } else {
                    let old = std::mem::replace(&mut self.buffer[self.position], value.clone());
                    match old {
                        Value::Float(old) => self.sum -= old,
                        Value::Integer(old) => self.integer_sum = self.integer_sum.wrapping_sub(old),
                        Value::Unsigned(old) => self.unsigned_sum = self.unsigned_sum.wrapping_sub(old),
                        _ => {}
                    }
                    self.add(&value, float);
                    self.position = (self.position + 1) % size;
                }
                if self.buffer.len() == size {
                    let average = self.total(&self.buffer[0]) / size as f64;
                    self.out.push(time, Some(Value::Float(average)));
                }
            }
            Transform::CumulativeSum => {
                self.add(&value, float);
                let sum = match value {
                    Value::Float(_) => Value::Float(self.sum),
                    Value::Integer(_) => Value::Integer(self.integer_sum),
                    _ => Value::Unsigned(self.unsigned_sum),
                };
                self.out.push(time, Some(sum));
            }
            Transform::Elapsed { unit } => {
                let unit = *unit;
                if let Some((before, _)) = &self.previous {
                    self.out.push(time, Some(Value::Integer(time.wrapping_sub(*before) / unit.max(1))));
                }
                self.previous = Some((time, value));
            }
            Transform::Integral { unit } => {
                let unit = *unit as f64;
                // Without windows the result stands at the beginning of the range, that of floats at 0: so InfluxDB has it.
                let is_float = matches!(value, Value::Float(_));
                let start = if is_float || self.windows.start <= MIN_TIME { 0 } else { self.windows.start };
                self.integral(time, float, unit, start);
            }
            Transform::Technical(technical) => {
                if let Some(result) = technical.next(float) {
                    self.out.push(time, Some(Value::Float(result)));
                }
            }
        }
    }

    fn add(&mut self, value: &Value, float: f64) {
        match value {
            Value::Float(_) => self.sum += float,
            Value::Integer(value) => self.integer_sum = self.integer_sum.wrapping_add(*value),
            Value::Unsigned(value) => self.unsigned_sum = self.unsigned_sum.wrapping_add(*value),
            _ => {}
        }
    }

    fn total(&self, like: &Value) -> f64 {
        match like {
            Value::Integer(_) => self.integer_sum as f64,
            Value::Unsigned(_) => self.unsigned_sum as f64,
            _ => self.sum,
        }
    }

    /// `(start, end)` of the window in the direction of time's walk.
    fn directed_window(&self, time: i64) -> (i64, i64) {
        let (start, end) = self.windows.bounds(time);
        if self.ascending { (start, end) } else { (end, start) }
    }

    fn integral(&mut self, time: i64, value: f64, unit: f64, start: i64) {
        let windowed = self.windows.interval.is_some();
        let Some((mut before, Value::Float(mut previous))) = self.previous.clone() else {
            self.previous = Some((time, Value::Float(value)));
            self.window = Some(if windowed { self.directed_window(time) } else { (start, 0) });
            return;
        };
        if before == time {
            self.previous = Some((time, Value::Float(value)));
            return;
        }
        let (start, end) = self.window.unwrap_or((0, 0));
        if windowed && (if self.ascending { time >= end } else { time <= end }) {
            // The area up to the border belongs to the window before it.
            if before != end {
                let at_border =
                    previous + (value - previous) * ((end - before) as f64 / (time - before) as f64);
                self.sum += 0.5 * (at_border + previous) * ((end - before) as f64 / unit);
                previous = at_border;
                before = end;
            }
            self.out.push(start, Some(Value::Float(self.sum)));
            self.window = Some(self.directed_window(time));
            self.sum = 0.0;
        }
        self.sum += 0.5 * (value + previous) * (time.wrapping_sub(before) as f64 / unit);
        self.previous = Some((time, Value::Float(value)));
    }

    /// Ends the series.
    pub fn finish(&mut self) {
        if matches!(self.transform, Transform::Integral { .. })
            && let (Some((before, _)), Some((start, _))) = (&self.previous, self.window)
            && *before != start
        {
            self.out.push(start, Some(Value::Float(self.sum)));
        }
    }
}
