//! From stored columns to the columns a request asks for: which fields to decode, the row filter, types.

use hashbrown::HashMap;

use super::filter::{Division, Program, SeriesProgram, Verdict, keep_selected};
use super::request::{ScanColumn, ScanRequest};
use crate::error::Result;
use crate::model::{Bitmap, Column, ColumnData, FieldType, Rows, StringColumn, Value, series_key};

/// What to decode and how to hand it on. One per scan.
pub struct Projection {
    /// Names of the stored fields to decode, each once.
    pub wanted: Vec<Vec<u8>>,
    positions: HashMap<Vec<u8>, usize>,
    pub outputs: Vec<Output>,
    /// Names of the tags among the outputs, ascending, each with its output.
    tags: Vec<(Vec<u8>, usize)>,
    /// Per output: no later one needs the same field.
    is_last_use: Vec<bool>,
    filter: Option<Program>,
    /// Per field of the filter, its position in `wanted`.
    filter_fields: Vec<usize>,
}

/// One output column.
pub enum Output {
    Field { wanted: usize, as_type: FieldType, cast: bool },
    Tag { name: Vec<u8> },
}

/// How the rows of one series are filtered and what its tags are.
pub struct SeriesProjection {
    /// `None`: all rows pass.
    filter: Option<SeriesProgram>,
    /// Per output: the tag's value, if it is a tag the series has.
    tags: Vec<Option<Vec<u8>>>,
}

/// Rows ready to be handed over: one column per output.
#[derive(Debug, Clone, Default)]
pub struct OutputRows {
    pub times: Vec<i64>,
    pub columns: Vec<Column>,
}

impl Projection {
    pub fn new(request: &ScanRequest) -> Result<Self> {
        let mut wanted: Vec<Vec<u8>> = Vec::new();
        let mut positions: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut position = |name: &Vec<u8>| {
            *positions.entry_ref(name).or_insert_with(|| {
                wanted.push(name.clone());
                wanted.len() - 1
            })
        };
        let outputs: Vec<Output> = request
            .columns
            .iter()
            .map(|column| match column {
                ScanColumn::Field { name, as_type, cast } => {
                    Output::Field { wanted: position(name), as_type: *as_type, cast: *cast }
                }
                ScanColumn::Tag { name } => Output::Tag { name: name.clone() },
            })
            .collect();
        let mut tags: Vec<(Vec<u8>, usize)> = Vec::new();
        for (at, output) in outputs.iter().enumerate() {
            if let Output::Tag { name } = output {
                tags.push((name.clone(), at));
            }
        }
        tags.sort_unstable();
        let filter =
            request.rows.as_ref().map(|expr| Program::compile(expr, Division::Integer)).transpose()?;
        let filter_fields = filter.iter().flat_map(Program::fields).map(position).collect();
        let mut is_used = vec![false; wanted.len()];
        let mut is_last_use: Vec<bool> = outputs
            .iter()
            .rev()
            .map(|output| output.wanted().is_some_and(|at| !std::mem::replace(&mut is_used[at], true)))
            .collect();
        is_last_use.reverse();
        Ok(Self { wanted, positions, outputs, tags, is_last_use, filter, filter_fields })
    }

    /// Types of the outputs.
    pub fn types(&self) -> Vec<FieldType> {
        self.outputs.iter().map(Output::field_type).collect()
    }

    /// For the series with this canonical key; `None` when no row of it can pass.
    pub fn for_series(&self, key: &[u8]) -> Option<SeriesProjection> {
        let filter = match &self.filter {
            None => None,
            Some(program) => match program.verdict(&|name| series_key::tag_value(key, name)) {
                Verdict::All => None,
                Verdict::None => return None,
                Verdict::Rows(program) => Some(program),
            },
        };
        let mut tags = vec![None; self.outputs.len()];
        if !self.tags.is_empty() {
            // Both are in order, but for names with escapes.
            let mut near = 0;
            for (name, value) in series_key::tags(key) {
                if self.tags.get(near).is_none_or(|(wanted, _)| *wanted != name.as_ref()) {
                    near = self.tags.partition_point(|(wanted, _)| wanted.as_slice() < name.as_ref());
                }
                while let Some((_, at)) = self.tags.get(near).filter(|(wanted, _)| *wanted == name.as_ref()) {
                    tags[*at].get_or_insert_with(|| value.to_vec());
                    near += 1;
                }
            }
        }
        Some(SeriesProjection { filter, tags })
    }

    /// Filters rows and gives them the shape asked for. Rows without any field asked for are left out.
    pub fn project(&self, series: &SeriesProjection, rows: Rows) -> OutputRows {
        let mut times = rows.times;
        let mut stored: Vec<Option<Column>> = vec![None; self.wanted.len()];
        for (field, column) in rows.fields.into_iter().zip(rows.columns) {
            if let Some(at) = self.positions.get(&field.name) {
                stored[*at] = Some(column);
            }
        }
        if let Some(filter) = &series.filter {
            let fields: Vec<Option<&Column>> =
                self.filter_fields.iter().map(|at| stored[*at].as_ref()).collect();
            let selected = filter.select(&times, &fields);
            let count = selected.count();
            if count < times.len() {
                times = super::filter::selected_rows(&selected).iter().map(|row| times[*row]).collect();
                for column in stored.iter_mut().flatten() {
                    *column = keep_selected(column, &selected);
                }
            }
        }
        let mut columns: Vec<Column> = Vec::with_capacity(self.outputs.len());
        for (at, output) in self.outputs.iter().enumerate() {
            columns.push(match output {
                Output::Field { wanted, as_type, cast } => {
                    let column =
                        if self.is_last_use[at] { stored[*wanted].take() } else { stored[*wanted].clone() };
                    column
                        .and_then(|column| converted(column, *as_type, *cast))
                        .unwrap_or_else(|| Column::absent_rows(*as_type, times.len()))
                }
                Output::Tag { .. } => tag_column(series.tags[at].as_deref(), times.len()),
            });
        }
        let mut rows = OutputRows { times, columns };
        self.drop_rows_without_field(&mut rows);
        rows
    }

    /// The one row of a series at `time`, without a row filter. `value` says what a stored field has there: `None` when it is
    /// not known, `Some(None)` when it has none. `None` when a value is not known, or when the row may be one to be left
    /// out.
    pub fn project_one(
        &self,
        series: &SeriesProjection,
        time: i64,
        value: impl Fn(&[u8]) -> Option<Option<Value>>,
    ) -> Option<OutputRows> {
        let mut is_kept = false;
        let mut columns: Vec<Column> = Vec::with_capacity(self.outputs.len());
        for (output, tag) in self.outputs.iter().zip(&series.tags) {
            columns.push(match output {
                Output::Field { wanted, as_type, cast } => {
                    let column = value(&self.wanted[*wanted])?.map(|value| Column::of(&value));
                    let column = column.and_then(|column| converted(column, *as_type, *cast));
                    is_kept |= column.is_some();
                    column.unwrap_or_else(|| Column::absent_rows(*as_type, 1))
                }
                Output::Tag { .. } => tag_column(tag.as_deref(), 1),
            });
        }
        is_kept.then(|| OutputRows { times: vec![time], columns })
    }

    /// Whether some output has a value in each of these rows, so that none of them is left out.
    pub fn keeps_every_row(&self, rows: &Rows) -> bool {
        let finder = rows.finder();
        self.outputs.iter().any(|output| match output {
            Output::Field { wanted, as_type, .. } => {
                let column = finder.position(&self.wanted[*wanted]).map(|at| &rows.columns[at]);
                column.is_some_and(|column| column.present.is_none() && column.field_type() == *as_type)
            }
            Output::Tag { .. } => false,
        })
    }

    fn drop_rows_without_field(&self, rows: &mut OutputRows) {
        let mut any = Bitmap::filled(rows.times.len(), false);
        for (output, column) in self.outputs.iter().zip(&rows.columns) {
            if matches!(output, Output::Tag { .. }) {
                continue;
            }
            let Some(present) = &column.present else { return };
            for (word, more) in any.words.iter_mut().zip(&present.words) {
                *word |= more;
            }
        }
        if any.count() == rows.times.len() {
            return;
        }
        rows.times = super::filter::selected_rows(&any).iter().map(|row| rows.times[*row]).collect();
        for column in &mut rows.columns {
            *column = keep_selected(column, &any);
        }
    }
}

impl SeriesProjection {
    pub fn filter(&self) -> Option<&SeriesProgram> {
        self.filter.as_ref()
    }
}

impl Projection {
    /// Name of the `at`-th field of the filter.
    pub fn filter_field(&self, at: usize) -> Option<&[u8]> {
        self.filter_fields.get(at).map(|wanted| self.wanted[*wanted].as_slice())
    }
}

impl Output {
    fn wanted(&self) -> Option<usize> {
        match self {
            Self::Field { wanted, .. } => Some(*wanted),
            Self::Tag { .. } => None,
        }
    }

    pub fn field_type(&self) -> FieldType {
        match self {
            Self::Field { as_type, .. } => *as_type,
            Self::Tag { .. } => FieldType::String,
        }
    }
}

impl OutputRows {
    pub fn len(&self) -> usize {
        self.times.len()
    }

    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Memory in use, in bytes.
    pub fn bytes(&self) -> u64 {
        let columns: usize = self.columns.iter().map(column_bytes).sum();
        (self.times.len() * 8 + columns) as u64
    }

    /// Keeps the first rows, or the last.
    pub fn cut(&mut self, start: usize, end: usize) {
        if start == 0 && end == self.len() {
            return;
        }
        self.times = self.times[start..end].to_vec();
        for column in &mut self.columns {
            *column = column.slice(start, end);
        }
    }
}

pub fn column_bytes(column: &Column) -> usize {
    let rows = column.len();
    let data = match &column.data {
        ColumnData::Float(_) | ColumnData::Integer(_) | ColumnData::Unsigned(_) => 8 * rows,
        ColumnData::Boolean(_) => rows,
        ColumnData::String(strings) => 4 * rows + strings.bytes.len(),
    };
    data + column.present.as_ref().map_or(0, |bits| bits.words.len() * 8)
}

fn tag_column(value: Option<&[u8]>, rows: usize) -> Column {
    let Some(value) = value else { return Column::absent_rows(FieldType::String, rows) };
    let ends = (1..=rows).map(|row| (row * value.len()) as u32).collect();
    let data = ColumnData::String(StringColumn { ends, bytes: value.repeat(rows) });
    Column { data, present: None }
}

/// A column in the type asked for; `None` when its values do not pass.
pub fn converted(column: Column, as_type: FieldType, cast: bool) -> Option<Column> {
    if column.field_type() == as_type {
        return Some(column);
    }
    let data = match (&column.data, as_type) {
        (ColumnData::Integer(values), FieldType::Float) => {
            ColumnData::Float(values.iter().map(|value| *value as f64).collect())
        }
        (ColumnData::Unsigned(values), FieldType::Float) => {
            ColumnData::Float(values.iter().map(|value| *value as f64).collect())
        }
        (ColumnData::Float(values), FieldType::Integer) if cast => {
            ColumnData::Integer(values.iter().map(|value| *value as i64).collect())
        }
        (ColumnData::Float(values), FieldType::Unsigned) if cast => {
            ColumnData::Unsigned(values.iter().map(|value| *value as u64).collect())
        }
        (ColumnData::Integer(values), FieldType::Unsigned) if cast => {
            ColumnData::Unsigned(values.iter().map(|value| *value as u64).collect())
        }
        (ColumnData::Unsigned(values), FieldType::Integer) if cast => {
            ColumnData::Integer(values.iter().map(|value| *value as i64).collect())
        }
        _ => return None,
    };
    Some(Column { data, present: column.present })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Value;

    #[test]
    fn numbers_convert_as_asked_and_other_types_do_not_pass() {
        let mut floats = Column::empty(FieldType::Float);
        floats.push(Some(&Value::Float(-2.7)));
        floats.push(None);
        assert_eq!(converted(floats.clone(), FieldType::Integer, false), None);
        let integers = converted(floats.clone(), FieldType::Integer, true).expect("a cast");
        assert_eq!((integers.get(0), integers.get(1)), (Some(Value::Integer(-2)), None));
        let back = converted(integers, FieldType::Float, false).expect("a promotion");
        assert_eq!(back.get(0), Some(Value::Float(-2.0)));
        assert_eq!(converted(floats, FieldType::String, true), None);
    }
}
