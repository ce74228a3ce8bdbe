//! Aggregates and selectors: the points of a window become one point, or some.
//!
//! Count, sum, mean and spread fold as rows come; selectors keep the best row seen; the others hold a window's
//! points until it ends.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::ops::Range;

use tidemark_engine::model::{Column, ColumnData, FieldType, Value};

use super::super::rows;
use super::super::window::Windows;
use super::Points;
use super::order::ordered;

#[derive(Debug, Clone, PartialEq)]
pub enum Reduce {
    Count,
    Sum,
    Mean,
    Spread,
    Min,
    Max,
    First,
    Last,
    Median,
    Mode,
    Stddev,
    Percentile(f64),
    Distinct,
    Sample(usize),
    Top(usize),
    Bottom(usize),
}

impl Reduce {
    /// The type of the points, given that of the argument.
    pub fn output(&self, input: FieldType) -> FieldType {
        match self {
            Self::Count => FieldType::Integer,
            Self::Mean | Self::Median | Self::Stddev => FieldType::Float,
            _ => input,
        }
    }

    /// Whether the function can be computed for the type.
    pub fn accepts(&self, input: FieldType) -> bool {
        let number = matches!(input, FieldType::Float | FieldType::Integer | FieldType::Unsigned);
        match self {
            Self::Count | Self::Mode | Self::First | Self::Last | Self::Distinct | Self::Sample(_) => true,
            Self::Min | Self::Max => number || input == FieldType::Boolean,
            _ => number,
        }
    }

    fn keeps_one(&self) -> bool {
        matches!(self, Self::Min | Self::Max | Self::First | Self::Last)
    }
}

/// Rows held before a selector's buffer is cut back to its best row.
const SELECTOR_ROWS: usize = 4096;

/// One call in one series.
#[derive(Debug)]
pub struct Reducer {
    function: Reduce,
    windows: Windows,
    /// The times of the result are window starts, else those of the chosen points.
    at_window: bool,
    window: Option<(i64, i64)>,
    fold: Fold,
    times: Vec<i64>,
    values: Column,
    aux: Vec<Column>,
    random: u64,
    /// Results there were before each window whose points gave none.
    pub holes: Vec<usize>,
    pub out: Points,
}

#[derive(Debug, Clone, Default)]
struct Fold {
    count: i64,
    float: f64,
    integer: i64,
    unsigned: u64,
    min: Option<Value>,
    max: Option<Value>,
}

impl Reducer {
    pub fn new(
        function: Reduce,
        windows: Windows,
        at_window: bool,
        input: FieldType,
        aux: &[FieldType],
        seed: u64,
    ) -> Self {
        Self {
            out: Points::empty(function.output(input), aux),
            function,
            windows,
            at_window,
            window: None,
            fold: Fold::default(),
            times: Vec::new(),
            values: Column::empty(input),
            aux: aux.iter().map(|field_type| Column::empty(*field_type)).collect(),
            random: seed | 1,
            holes: Vec::new(),
        }
    }

    /// Takes rows in order; those without a value are passed over.
    pub fn push(&mut self, times: &[i64], values: &Column, aux: &[&Column]) {
        let windows = self.windows;
        windows.runs(times, |start, end, rows| {
            // A window begins with its first value, so that none is made of absent ones alone.
            if self.window != Some((start, end)) {
                self.close();
                self.window = Some((start, end));
            }
            self.fold(times, values, aux, rows);
        });
    }

    /// Ends the series.
    pub fn finish(&mut self) {
        self.close();
    }

    pub fn bytes(&self) -> u64 {
        (self.times.len() + self.holes.len()) as u64 * 8 + rows::column_bytes(&self.values) + self.out.bytes()
    }

    fn fold(&mut self, times: &[i64], values: &Column, aux: &[&Column], rows: Range<usize>) {
        match self.function {
            Reduce::Count => {
                self.fold.count += match &values.present {
                    None => rows.len() as i64,
                    Some(_) => rows.filter(|row| values.is_present(*row)).count() as i64,
                };
            }
            Reduce::Sum | Reduce::Mean => self.fold.add(values, rows),
            Reduce::Spread => self.fold.widen(values, rows),
            _ => {
                for row in rows {
                    if !values.is_present(row) {
                        continue;
                    }
                    self.times.push(times[row]);
                    rows::append(&mut self.values, values, row..row + 1);
                    for (to, from) in self.aux.iter_mut().zip(aux) {
                        rows::append(to, from, row..row + 1);
                    }
                }
                if self.function.keeps_one() && self.times.len() > SELECTOR_ROWS {
                    let best = self.best();
                    self.times = vec![self.times[best]];
                    self.values = rows::slice(&self.values, best..best + 1);
                    self.aux = self.aux.iter().map(|column| rows::slice(column, best..best + 1)).collect();
                }
            }
        }
    }

    /// Ends the current window and puts its points out.
    fn close(&mut self) {
        let Some((start, _)) = self.window.take() else { return };
        let start = if start <= super::super::condition::MIN_TIME { 0 } else { start };
        let fold = std::mem::take(&mut self.fold);
        let input = self.values.field_type();
        match self.function {
            Reduce::Count => {
                if fold.count > 0 {
                    self.out.push(start, Some(Value::Integer(fold.count)));
                }
                return;
            }
            Reduce::Sum | Reduce::Mean | Reduce::Spread => {
                if fold.count > 0 {
                    let value = match self.function {
                        Reduce::Sum => fold.sum(input),
                        Reduce::Mean => fold.mean(input),
                        _ => fold.spread(),
                    };
                    self.out.push(start, value);
                }
                return;
            }
            _ => {}
        }
        if self.times.is_empty() {
            return;
        }
        let at = |row: usize| if self.at_window { start } else { self.times[row] };
        match &self.function {
            Reduce::Min | Reduce::Max | Reduce::First | Reduce::Last => {
                let best = self.best();
                let time = at(best);
                self.out.push_row(time, &self.values, &self.aux, best);
            }
            Reduce::Median => self.out.push(start, median(&self.values).map(Value::Float)),
            Reduce::Mode => {
                let row = mode(&self.times, &self.values);
                self.out.push_row(start, &self.values, &self.aux, row);
            }
            Reduce::Stddev => self.out.push(start, stddev(&self.values).map(Value::Float)),
            Reduce::Percentile(percentile) => {
                let length = self.times.len();
                let position = (length as f64 * percentile / 100.0 + 0.5).floor() - 1.0;
                if position >= 0.0 && position < length as f64 {
                    let row = sorted_rows(&self.values)[position as usize];
                    let time = at(row);
                    self.out.push_row(time, &self.values, &self.aux, row);
                } else {
                    self.holes.push(self.out.times.len());
                }
            }
            Reduce::Distinct => {
                for row in distinct(&self.times, &self.values) {
                    let time = at(row);
                    self.out.push_row(time, &self.values, &self.aux, row);
                }
            }
            Reduce::Sample(size) => {
                for row in sample(self.times.len(), *size, &mut self.random) {
                    let time = self.times[row];
                    self.out.push_row(time, &self.values, &self.aux, row);
                }
            }
            Reduce::Top(n) | Reduce::Bottom(n) => {
                let top = matches!(self.function, Reduce::Top(_));
                for row in best_rows(&self.times, &self.values, *n, top) {
                    let time = self.times[row];
                    self.out.push_row(time, &self.values, &self.aux, row);
                }
            }
            Reduce::Count | Reduce::Sum | Reduce::Mean | Reduce::Spread => {}
        }
        self.times.clear();
        self.values = Column::empty(input);
        for column in &mut self.aux {
            *column = Column::empty(column.field_type());
        }
    }

    /// The row a selector chooses among those held.
    fn best(&self) -> usize {
        let mut best = 0;
        for row in 1..self.times.len() {
            let by_value = rows::compare(&self.values, row, &self.values, best);
            let by_time = self.times[row].cmp(&self.times[best]);
            let better = match self.function {
                Reduce::Min => by_value.then(by_time).is_lt(),
                Reduce::Max => by_value.reverse().then(by_time).is_lt(),
                Reduce::First => by_time.then(self.prefer_on_tie(by_value, true)).is_lt(),
                _ => by_time.reverse().then(self.prefer_on_tie(by_value, false)).is_lt(),
            };
            if better {
                best = row;
            }
        }
        best
    }

    /// On equal times the larger value wins; of booleans, `first` takes the smaller.
    fn prefer_on_tie(&self, by_value: Ordering, first: bool) -> Ordering {
        let is_boolean = matches!(self.values.data, ColumnData::Boolean(_));
        if is_boolean && first { by_value } else { by_value.reverse() }
    }
}

impl Fold {
    fn add(&mut self, values: &Column, rows: Range<usize>) {
        macro_rules! each {
            ($slice:expr, $add:expr) => {
                for row in rows {
                    if values.is_present(row) {
                        self.count += 1;
                        $add($slice[row]);
                    }
                }
            };
        }
        match &values.data {
            ColumnData::Float(slice) => each!(slice, |value: f64| self.float += value),
            ColumnData::Integer(slice) => {
                each!(slice, |value: i64| self.integer = self.integer.wrapping_add(value))
            }
            ColumnData::Unsigned(slice) => {
                each!(slice, |value: u64| self.unsigned = self.unsigned.wrapping_add(value))
            }
            _ => {}
        }
    }

    fn widen(&mut self, values: &Column, rows: Range<usize>) {
        for row in rows {
            let Some(value) = values.get(row) else { continue };
            self.count += 1;
            if self.min.as_ref().is_none_or(|min| compare_numbers(&value, min).is_lt()) {
                self.min = Some(value.clone());
            }
            if self.max.as_ref().is_none_or(|max| compare_numbers(&value, max).is_gt()) {
                self.max = Some(value);
            }
        }
    }

    fn sum(&self, input: FieldType) -> Option<Value> {
        Some(match input {
            FieldType::Float => Value::Float(self.float),
            FieldType::Integer => Value::Integer(self.integer),
            FieldType::Unsigned => Value::Unsigned(self.unsigned),
            _ => return None,
        })
    }

    fn mean(&self, input: FieldType) -> Option<Value> {
        let sum = match input {
            FieldType::Float => self.float,
            FieldType::Integer => self.integer as f64,
            FieldType::Unsigned => self.unsigned as f64,
            _ => return None,
        };
        Some(Value::Float(sum / self.count as f64))
    }

    fn spread(&self) -> Option<Value> {
        spread(self.min.as_ref()?, self.max.as_ref()?)
    }
}

/// `max - min` of one type.
pub fn spread(min: &Value, max: &Value) -> Option<Value> {
    Some(match (min, max) {
        (Value::Float(min), Value::Float(max)) => Value::Float(max - min),
        (Value::Integer(min), Value::Integer(max)) => Value::Integer(max.wrapping_sub(*min)),
        (Value::Unsigned(min), Value::Unsigned(max)) => Value::Unsigned(max.wrapping_sub(*min)),
        _ => return None,
    })
}

fn compare_numbers(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
        (Value::Integer(a), Value::Integer(b)) => a.cmp(b),
        (Value::Unsigned(a), Value::Unsigned(b)) => a.cmp(b),
        _ => Ordering::Equal,
    }
}

/// Rows in order of their values.
fn sorted_rows(values: &Column) -> Vec<usize> {
    ordered(values.len(), &|a, b| rows::compare(values, a, values, b).is_lt())
}

fn median(values: &Column) -> Option<f64> {
    match &values.data {
        ColumnData::Float(values) => {
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            let middle = sorted.len() / 2;
            if sorted.len() % 2 == 1 {
                return Some(sorted[middle]);
            }
            let (low, high) = (sorted[middle - 1], sorted[middle]);
            Some(low + (high - low) / 2.0)
        }
        ColumnData::Integer(values) => {
            let mut sorted = values.clone();
            sorted.sort_unstable();
            let middle = sorted.len() / 2;
            if sorted.len() % 2 == 1 {
                return Some(sorted[middle] as f64);
            }
            let (low, high) = (sorted[middle - 1], sorted[middle]);
            Some(low as f64 + high.wrapping_sub(low) as f64 / 2.0)
        }
        ColumnData::Unsigned(values) => {
            let mut sorted = values.clone();
            sorted.sort_unstable();
            let middle = sorted.len() / 2;
            if sorted.len() % 2 == 1 {
                return Some(sorted[middle] as f64);
            }
            let (low, high) = (sorted[middle - 1], sorted[middle]);
            Some(low as f64 + (high - low) as f64 / 2.0)
        }
        _ => None,
    }
}

/// The row of the most frequent value. Of equally frequent ones that whose first point is earliest, except that a
/// value with one point only never takes the place of one before it: so InfluxDB has it. Of booleans as often true as
/// false, true.
fn mode(times: &[i64], values: &Column) -> usize {
    if let ColumnData::Boolean(values) = &values.data {
        let trues = values.iter().filter(|value| **value).count();
        let wanted = trues >= values.len() - trues;
        return values.iter().position(|value| *value == wanted).unwrap_or(0);
    }
    let order = sorted_rows(values);
    let mut best = order[0];
    let mut best_frequency = 0;
    let mut best_time = times[order[0]];
    let mut frequency = 0;
    let mut first = order[0];
    for &row in &order {
        if rows::compare(values, first, values, row).is_ne() {
            frequency = 1;
            first = row;
            continue;
        }
        frequency += 1;
        if best_frequency > frequency || (best_frequency == frequency && times[first] > best_time) {
            continue;
        }
        best_frequency = frequency;
        best = row;
        best_time = times[row];
    }
    best
}

fn stddev(values: &Column) -> Option<f64> {
    let floats: Vec<f64> = (0..values.len()).filter_map(|row| super::float_at(values, row)).collect();
    // Of one point there is no deviation: a number that is none, which calculations go on with and answers show as null.
    if floats.len() < 2 {
        return Some(f64::NAN);
    }
    let mut mean = 0.0;
    let mut count = 0.0;
    for value in floats.iter().filter(|value| !value.is_nan()) {
        count += 1.0;
        mean += (value - mean) / count;
    }
    let variance: f64 =
        floats.iter().filter(|value| !value.is_nan()).map(|value| (value - mean).powi(2)).sum();
    Some((variance / (count - 1.0)).sqrt())
}

/// Rows of the first point of each value, by ascending time whatever the query's order, then value.
fn distinct(times: &[i64], values: &Column) -> Vec<usize> {
    #[derive(PartialEq, Eq, Hash)]
    enum Key {
        Bits(u64),
        Text(Vec<u8>),
    }
    let mut seen = HashSet::new();
    let mut kept = Vec::new();
    for row in 0..values.len() {
        let key = match &values.data {
            ColumnData::Float(values) => {
                Key::Bits(if values[row] == 0.0 { 0 } else { values[row].to_bits() })
            }
            ColumnData::Integer(values) => Key::Bits(values[row] as u64),
            ColumnData::Unsigned(values) => Key::Bits(values[row]),
            ColumnData::Boolean(values) => Key::Bits(u64::from(values[row])),
            ColumnData::String(values) => Key::Text(values.get(row).to_vec()),
        };
        if seen.insert(key) {
            kept.push(row);
        }
    }
    kept.sort_by(|a, b| times[*a].cmp(&times[*b]).then_with(|| rows::compare(values, *a, values, *b)));
    kept
}

/// `size` of `length` rows, each as likely, in order.
fn sample(length: usize, size: usize, random: &mut u64) -> Vec<usize> {
    let mut chosen: Vec<usize> = (0..length.min(size)).collect();
    for row in size..length {
        // xorshift64*: fair enough for a sample, and repeatable from its seed.
        *random ^= *random >> 12;
        *random ^= *random << 25;
        *random ^= *random >> 27;
        let draw = (random.wrapping_mul(0x2545_f491_4f6c_dd1d) % (row as u64 + 1)) as usize;
        if draw < size {
            chosen[draw] = row;
        }
    }
    chosen.sort_unstable();
    chosen
}

/// The `n` best rows by value, earlier ones among equals, in ascending order of time whatever the query's.
fn best_rows(times: &[i64], values: &Column, n: usize, top: bool) -> Vec<usize> {
    let mut order: Vec<usize> = (0..times.len()).collect();
    order.sort_by(|a, b| {
        let by_value = rows::compare(values, *a, values, *b);
        let by_value = if top { by_value.reverse() } else { by_value };
        by_value.then_with(|| times[*a].cmp(&times[*b]))
    });
    order.truncate(n);
    order.sort_by_key(|row| times[*row]);
    order
}
