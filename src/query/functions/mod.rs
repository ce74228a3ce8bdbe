//! The functions of the select list, over the points of one series at a time.
//!
//! * [`reduce`]: aggregates and selectors, a window at a time;
//! * [`transform`]: point by point, with memory of the points before;
//! * [`technical`]: the moving averages and oscillators of technical analysis;
//! * `holt_winters`: forecasts;
//! * [`order`]: rows by value.

pub mod holt_winters;
pub mod order;
pub mod reduce;
pub mod technical;
pub mod transform;

use tidemark_engine::model::{Column, FieldType, Value};

use super::rows;

/// Points of one call in one series: a time, a value that may be absent, and the fields chosen along with it.
#[derive(Debug, Clone)]
pub struct Points {
    pub times: Vec<i64>,
    pub values: Column,
    pub aux: Vec<Column>,
}

impl Points {
    pub fn empty(field_type: FieldType, aux: &[FieldType]) -> Self {
        Self {
            times: Vec::new(),
            values: Column::empty(field_type),
            aux: aux.iter().map(|field_type| Column::empty(*field_type)).collect(),
        }
    }

    pub fn push(&mut self, time: i64, value: Option<Value>) {
        self.times.push(time);
        self.values.push(value.as_ref());
        self.aux.iter_mut().for_each(rows::push_absent);
    }

    pub fn push_row(&mut self, time: i64, values: &Column, aux: &[Column], row: usize) {
        self.times.push(time);
        rows::append(&mut self.values, values, row..row + 1);
        for (to, from) in self.aux.iter_mut().zip(aux) {
            rows::append(to, from, row..row + 1);
        }
    }

    /// Keeps some points.
    pub fn keep(&mut self, points: std::ops::Range<usize>) {
        if points == (0..self.times.len()) {
            return;
        }
        self.times = self.times[points.clone()].to_vec();
        self.values = rows::slice(&self.values, points.clone());
        self.aux = self.aux.iter().map(|column| rows::slice(column, points.clone())).collect();
    }

    /// Takes what is there, leaving none.
    pub fn drain(&mut self) -> Self {
        let types: Vec<FieldType> = self.aux.iter().map(Column::field_type).collect();
        let empty = Self::empty(self.values.field_type(), &types);
        std::mem::replace(self, empty)
    }

    pub fn bytes(&self) -> u64 {
        self.times.len() as u64 * 8
            + rows::column_bytes(&self.values)
            + self.aux.iter().map(rows::column_bytes).sum::<u64>()
    }
}

/// The number in a column as a float; integers are converted.
pub fn float_at(column: &Column, row: usize) -> Option<f64> {
    use tidemark_engine::model::ColumnData;
    if !column.is_present(row) {
        return None;
    }
    match &column.data {
        ColumnData::Float(values) => Some(values[row]),
        ColumnData::Integer(values) => Some(values[row] as f64),
        ColumnData::Unsigned(values) => Some(values[row] as f64),
        _ => None,
    }
}
