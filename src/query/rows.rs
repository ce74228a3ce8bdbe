//! Rows between the stages of a query: typed columns under one series' name and tags.

use std::ops::Range;
use std::rc::Rc;

use tidemark_engine::model::{Bitmap, Column, ColumnData, FieldType};

/// A series of an intermediate or final answer. Shared by all its batches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId {
    pub name: Vec<u8>,
    /// Values of the dimensions, in the plan's order.
    pub tags: Vec<Vec<u8>>,
}

/// Some rows of one series, in order of time.
#[derive(Debug, Clone)]
pub struct RowBatch {
    pub series: Rc<SeriesId>,
    pub times: Vec<i64>,
    pub columns: Vec<Column>,
}

impl RowBatch {
    /// Bytes held, for the query's budget.
    pub fn bytes(&self) -> u64 {
        self.times.len() as u64 * 8 + self.columns.iter().map(column_bytes).sum::<u64>()
    }

    /// Keeps some rows.
    pub fn slice(&mut self, rows: Range<usize>) {
        if rows == (0..self.times.len()) {
            return;
        }
        self.times = self.times[rows.clone()].to_vec();
        for column in &mut self.columns {
            *column = slice(column, rows.clone());
        }
    }
}

/// Bytes a column holds.
pub fn column_bytes(column: &Column) -> u64 {
    let data = match &column.data {
        ColumnData::Float(values) => values.len() * 8,
        ColumnData::Integer(values) => values.len() * 8,
        ColumnData::Unsigned(values) => values.len() * 8,
        ColumnData::Boolean(values) => values.len(),
        ColumnData::String(values) => values.bytes.len() + values.ends.len() * 4,
    };
    data as u64 + column.present.as_ref().map_or(0, |bits| bits.words.len() as u64 * 8)
}

/// A copy of some rows of a column.
pub fn slice(column: &Column, rows: Range<usize>) -> Column {
    let mut out = Column::empty(column.field_type());
    append(&mut out, column, rows);
    out
}

/// Adds rows of a column of the same type; a column of another type adds absent values.
pub fn append(to: &mut Column, from: &Column, rows: Range<usize>) {
    let held = to.len();
    let added = rows.len();
    match (&mut to.data, &from.data) {
        (ColumnData::Float(to), ColumnData::Float(from)) => to.extend_from_slice(&from[rows.clone()]),
        (ColumnData::Integer(to), ColumnData::Integer(from)) => to.extend_from_slice(&from[rows.clone()]),
        (ColumnData::Unsigned(to), ColumnData::Unsigned(from)) => to.extend_from_slice(&from[rows.clone()]),
        (ColumnData::Boolean(to), ColumnData::Boolean(from)) => to.extend_from_slice(&from[rows.clone()]),
        (ColumnData::String(to), ColumnData::String(from)) => {
            for row in rows.clone() {
                to.push(from.get(row));
            }
        }
        _ => {
            for _ in 0..added {
                to.push(None);
            }
            return;
        }
    }
    match (&mut to.present, &from.present) {
        (None, None) => {}
        (Some(to), None) => {
            for _ in 0..added {
                to.push(true);
            }
        }
        (to, Some(from)) => {
            let to = to.get_or_insert_with(|| Bitmap::filled(held, true));
            for row in rows {
                to.push(from.get(row));
            }
        }
    }
}

/// The text in a row of a column.
pub fn text(column: &Column, row: usize) -> Option<&[u8]> {
    match &column.data {
        ColumnData::String(values) if column.is_present(row) => Some(values.get(row)),
        _ => None,
    }
}

/// Adds one absent value.
pub fn push_absent(to: &mut Column) {
    to.push(None);
}

/// Keeps rows by position, in the given order.
pub fn take(column: &Column, rows: &[usize]) -> Column {
    tidemark_engine::scan::filter::take_rows(column, rows)
}

/// An all-absent column of some type.
pub fn absent(field_type: Option<FieldType>, rows: usize) -> Column {
    Column::absent(field_type.unwrap_or(FieldType::Float), rows)
}

/// Orders two slots of columns of one type; absent ones come out equal to everything, as InfluxDB has it.
pub fn compare(a: &Column, at_a: usize, b: &Column, at_b: usize) -> std::cmp::Ordering {
    use std::cmp::Ordering::Equal;
    if !a.is_present(at_a) || !b.is_present(at_b) {
        return Equal;
    }
    match (&a.data, &b.data) {
        (ColumnData::Float(a), ColumnData::Float(b)) => a[at_a].partial_cmp(&b[at_b]).unwrap_or(Equal),
        (ColumnData::Integer(a), ColumnData::Integer(b)) => a[at_a].cmp(&b[at_b]),
        (ColumnData::Unsigned(a), ColumnData::Unsigned(b)) => a[at_a].cmp(&b[at_b]),
        (ColumnData::Boolean(a), ColumnData::Boolean(b)) => a[at_a].cmp(&b[at_b]),
        (ColumnData::String(a), ColumnData::String(b)) => a.get(at_a).cmp(b.get(at_b)),
        _ => Equal,
    }
}
