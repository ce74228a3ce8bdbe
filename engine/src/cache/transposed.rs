//! Rows of a cache, shape and values, on their way into columns.

use std::collections::HashSet;
use std::rc::Rc;

use super::scattered::Scattered;
use super::take;
use crate::index::active::{Shape, ShapePosition};
use crate::model::batch::{take_value, value_length};
use crate::model::varint::unzigzag;
use crate::model::{Column, ColumnData, Field, FieldType, Rows, Value};

/// Rows of one series after the other in the same columns, as long as they are of one shape.
#[derive(Debug, Default)]
pub struct ReusedRows {
    pub(super) rows: Rows,
    /// Of a series whose rows are out of order.
    pub(super) scattered: Scattered,
    layout: Layout,
    capacity: usize,
}

impl std::ops::Deref for ReusedRows {
    type Target = Rows;

    fn deref(&self) -> &Rows {
        &self.rows
    }
}

impl ReusedRows {
    /// Begins a series of so many rows.
    pub(super) fn begin(&mut self, capacity: usize) {
        self.rows.times.clear();
        self.scattered.clear();
        if self.layout.is_mixed {
            self.rows = Rows::default();
            self.layout = Layout::default();
        }
        self.rows.columns.iter_mut().for_each(Column::clear);
        self.capacity = capacity;
    }

    /// To take more rows of the series.
    pub(super) fn go_on<'a>(
        &mut self,
        shapes: &'a [Rc<Shape>],
        wanted: Option<&'a [Vec<u8>]>,
    ) -> Transposed<'a> {
        let (rows, layout) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.layout));
        Transposed { shapes, wanted: wanted.map(Wanted::new), rows, capacity: self.capacity, layout }
    }

    pub fn into_rows(self) -> Rows {
        self.rows
    }

    pub(super) fn take_back(&mut self, rows: Transposed<'_>) {
        (self.rows, self.layout) = (rows.rows, rows.layout);
    }
}

/// How the rows of the shape last seen lie in columns.
#[derive(Debug, Default)]
struct Layout {
    shape: Option<ShapePosition>,
    /// Per field, its column.
    columns: Vec<Option<usize>>,
    /// Whether the shape fills every column, all integers: the plain loop.
    is_plain: bool,
    /// Whether the columns are those of more shapes than this one.
    is_mixed: bool,
}

/// Names up to which a look-up walks them all.
const WALKED_MAX: usize = 16;

/// The fields that are read.
enum Wanted<'a> {
    Few(&'a [Vec<u8>]),
    Many(HashSet<&'a [u8]>),
}

impl<'a> Wanted<'a> {
    fn new(names: &'a [Vec<u8>]) -> Self {
        if names.len() <= WALKED_MAX {
            return Self::Few(names);
        }
        Self::Many(names.iter().map(Vec::as_slice).collect())
    }

    fn has(&self, name: &[u8]) -> bool {
        match self {
            Self::Few(names) => names.iter().any(|wanted| wanted == name),
            Self::Many(names) => names.contains(name),
        }
    }
}

/// Rows on their way into columns.
pub(super) struct Transposed<'a> {
    shapes: &'a [Rc<Shape>],
    /// `None`: all fields.
    wanted: Option<Wanted<'a>>,
    rows: Rows,
    capacity: usize,
    layout: Layout,
}

impl<'a> Transposed<'a> {
    pub fn new(shapes: &'a [Rc<Shape>], wanted: Option<&'a [Vec<u8>]>, capacity: usize) -> Self {
        let rows = Rows { times: Vec::with_capacity(capacity), ..Rows::default() };
        let wanted = wanted.map(Wanted::new);
        Self { shapes, wanted, rows, capacity, layout: Layout::default() }
    }

    fn enter(&mut self, position: ShapePosition) {
        if self.rows.times.is_empty() {
            // Columns of an earlier series with another shape.
            self.rows.fields.clear();
            self.rows.columns.clear();
            self.layout.is_mixed = false;
        } else {
            self.layout.is_mixed = true;
        }
        let mut columns = std::mem::take(&mut self.layout.columns);
        columns.clear();
        let shape = &self.shapes[position as usize];
        let mut new = Vec::new();
        let known = self.rows.finder();
        for field in &shape.fields {
            if self.wanted.as_ref().is_some_and(|wanted| !wanted.has(&field.name)) {
                columns.push(None);
                continue;
            }
            // A shape has a field once, so that what is new here need not be looked for.
            columns.push(Some(known.position(&field.name).unwrap_or_else(|| {
                new.push(field);
                self.rows.fields.len() + new.len() - 1
            })));
        }
        drop(known);
        for field in new {
            self.rows.fields.push(field.clone());
            self.rows.columns.push(column_with(field, self.rows.times.len(), self.capacity));
        }
        self.layout.is_plain = columns.iter().enumerate().all(|(at, column)| *column == Some(at))
            && columns.len() == self.rows.columns.len()
            && shape.fields.iter().all(|field| field.field_type == FieldType::Integer)
            && self
                .rows
                .columns
                .iter()
                .all(|column| column.present.is_none() && column.field_type() == FieldType::Integer);
        self.layout.columns = columns;
        self.layout.shape = Some(position);
    }

    #[inline]
    pub fn push(&mut self, shape: ShapePosition, timestamp: i64, mut values: &[u8]) {
        if self.layout.shape != Some(shape) {
            self.enter(shape);
        }
        if self.layout.is_plain {
            for column in &mut self.rows.columns {
                if let ColumnData::Integer(out) = &mut column.data {
                    out.push(unzigzag(take(&mut values)));
                }
            }
            self.rows.times.push(timestamp);
            return;
        }
        let rows = self.rows.times.len();
        for (field, column) in self.shapes[shape as usize].fields.iter().zip(&self.layout.columns) {
            let Some(at) = *column else {
                let length = value_length(values, field.field_type).unwrap_or(values.len());
                values = &values[length..];
                continue;
            };
            push_value(&mut self.rows.columns[at], field.field_type, &mut values);
        }
        self.rows.times.push(timestamp);
        for column in &mut self.rows.columns {
            if column.len() == rows {
                column.push(None);
            }
        }
    }

    pub fn len(&self) -> usize {
        self.rows.times.len()
    }

    pub fn finish(self) -> Rows {
        self.rows
    }
}

fn column_with(field: &Field, absent: usize, capacity: usize) -> Column {
    let mut column = Column::empty(field.field_type);
    column.reserve(capacity);
    column.append_absent(absent);
    column
}

/// Takes one value off the front of `values` and onto the end of `column`.
#[inline]
fn push_value(column: &mut Column, field_type: FieldType, values: &mut &[u8]) {
    match (&mut column.data, field_type) {
        (ColumnData::Integer(out), FieldType::Integer) => out.push(unzigzag(take(values))),
        (ColumnData::Unsigned(out), FieldType::Unsigned) => out.push(take(values)),
        (ColumnData::Float(out), FieldType::Float) => {
            let (head, rest) = values.split_first_chunk::<8>().expect("BUG: a float of the cache is cut");
            *values = rest;
            out.push(f64::from_le_bytes(*head));
        }
        (ColumnData::Boolean(out), FieldType::Boolean) => {
            let (head, rest) = values.split_first().expect("BUG: a boolean of the cache is cut");
            *values = rest;
            out.push(*head != 0);
        }
        (ColumnData::String(out), FieldType::String) => {
            let length = take(values) as usize;
            let (head, rest) = values.split_at(length);
            *values = rest;
            out.push(head);
        }
        // A field whose type changed after its measurement was dropped: the other type's values count as absent.
        _ => {
            let value: Option<Value> = take_value(values, field_type);
            column.push(value.as_ref());
            return;
        }
    }
    if let Some(present) = &mut column.present {
        present.push(true);
    }
}
