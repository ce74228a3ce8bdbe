//! Rows of one series as columns, and how rows of several sources become one.
//!
//! The rule of the whole engine, in one place: rows of one timestamp are one row; of each field the value that came
//! last stays; a field absent in the later row keeps the earlier value.

use std::collections::HashMap;
use std::ops::Range;

use super::column::{Bitmap, Column, ColumnData, StringColumn};
use super::field::FieldType;
use super::row_order::time_order;
use super::time::TimeRange;

/// Name and type of a field.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Field {
    pub name: Vec<u8>,
    pub field_type: FieldType,
}

/// Rows of ONE series: `columns[i]` holds the values of `fields[i]`, one slot per timestamp.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rows {
    pub times: Vec<i64>,
    pub fields: Vec<Field>,
    pub columns: Vec<Column>,
}

/// Fields up to which a look-up walks them all.
const WALKED_MAX: usize = 16;

/// Finds fields by their names: a measurement may have thousands.
pub enum FieldFinder<'a> {
    Few(&'a [Field]),
    Many(HashMap<&'a [u8], usize>),
}

impl<'a> FieldFinder<'a> {
    pub fn new(fields: &'a [Field]) -> Self {
        if fields.len() <= WALKED_MAX {
            return Self::Few(fields);
        }
        Self::Many(fields.iter().enumerate().map(|(at, field)| (field.name.as_slice(), at)).collect())
    }

    /// Position of a field; its type is not compared.
    pub fn position(&self, name: &[u8]) -> Option<usize> {
        match self {
            Self::Few(fields) => fields.iter().position(|field| field.name == name),
            Self::Many(at) => at.get(name).copied(),
        }
    }
}

impl Rows {
    pub fn len(&self) -> usize {
        self.times.len()
    }

    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Position of a field; its type is not compared.
    pub fn field(&self, name: &[u8]) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }

    /// For many look-ups by name.
    pub fn finder(&self) -> FieldFinder<'_> {
        FieldFinder::new(&self.fields)
    }

    /// Appends rows that came later. Fields of the same name must have the same type; a value of another type is
    /// left out, as the field would have been refused.
    pub fn append(&mut self, later: &Rows) {
        let before = self.len();
        for (field, column) in later.fields.iter().zip(&later.columns) {
            let at = self.field(&field.name).unwrap_or_else(|| {
                self.fields.push(field.clone());
                self.columns.push(Column::absent_rows(field.field_type, before));
                self.fields.len() - 1
            });
            self.columns[at].append(column);
        }
        self.times.extend_from_slice(&later.times);
        let after = self.len();
        for column in &mut self.columns {
            column.append_absent(after - column.len());
        }
    }

    /// Whether times are strictly increasing: what TSM files and scans need.
    pub fn is_in_order(&self) -> bool {
        self.times.windows(2).all(|pair| pair[0] < pair[1])
    }

    /// Brings rows given in order of arrival to strictly increasing times, merging those of one timestamp.
    pub fn bring_to_order(&mut self) {
        if self.is_in_order() {
            return;
        }
        let order = time_order(&self.times);
        if order.windows(2).all(|pair| self.times[pair[0] as usize] < self.times[pair[1] as usize]) {
            self.permute(&order);
            return;
        }
        // `ends[i]` is where the i-th timestamp's rows end in `order`.
        let mut ends = Vec::with_capacity(order.len());
        for at in 1..=order.len() {
            if at == order.len() || self.times[order[at] as usize] != self.times[order[at - 1] as usize] {
                ends.push(at as u32);
            }
        }
        for column in &mut self.columns {
            *column = column.gather_last(&order, &ends);
        }
        self.times = ends.iter().map(|&end| self.times[order[end as usize - 1] as usize]).collect();
    }

    /// Appends the rows at these positions of `from`, which has the same fields in the same order.
    pub(crate) fn append_picked(&mut self, from: &Rows, picked: &[u32]) {
        let ends: Vec<u32> = (1..=picked.len() as u32).collect();
        for (column, from) in self.columns.iter_mut().zip(&from.columns) {
            column.append(&from.gather_last(picked, &ends));
        }
        self.times.extend(picked.iter().map(|&at| from.times[at as usize]));
    }

    /// Merges rows of one timestamp from row `start` on, where rows of one stand side by side. What it costs depends on
    /// the rows from there on alone.
    pub(crate) fn merge_from(&mut self, start: usize) {
        if self.times[start..].windows(2).all(|pair| pair[0] < pair[1]) {
            return;
        }
        let mut merged = self.part(start, self.len());
        merged.bring_to_order();
        self.times.truncate(start);
        self.times.extend_from_slice(&merged.times);
        for (column, merged) in self.columns.iter_mut().zip(&merged.columns) {
            column.truncate(start);
            column.append(merged);
            // The rows without a value may have been merged away.
            if column.present.as_ref().is_some_and(|bits| bits.count() == bits.len) {
                column.present = None;
            }
        }
    }

    /// Row `at` becomes the former row `order[at]`. Rows mostly come nearly in order, so only the stretches that are not
    /// are moved.
    fn permute(&mut self, order: &[u32]) {
        let mut stretches = Vec::new();
        let (mut start, mut highest) = (0, 0);
        for (at, &from) in order.iter().enumerate() {
            highest = highest.max(from as usize);
            // All rows up to here came from rows up to here.
            if highest == at {
                if start < at {
                    stretches.push(Stretch::new(start, &order[start..=at]));
                }
                start = at + 1;
            }
        }
        move_in(&mut self.times, &stretches);
        for column in &mut self.columns {
            column.permute(order, &stretches);
        }
    }

    /// Keeps the rows whose timestamps lie in `range`; the rows must be in order.
    pub fn cut_to(&mut self, range: TimeRange) {
        let start = self.times.partition_point(|&time| time < range.start);
        let end = self.times.partition_point(|&time| time < range.end).max(start);
        if start == 0 && end == self.len() {
            return;
        }
        self.times = self.times[start..end].to_vec();
        for column in &mut self.columns {
            *column = column.slice(start, end);
        }
    }

    /// Rows `start..end`.
    pub fn part(&self, start: usize, end: usize) -> Rows {
        Rows {
            times: self.times[start..end].to_vec(),
            fields: self.fields.clone(),
            columns: self.columns.iter().map(|column| column.slice(start, end)).collect(),
        }
    }

    /// Takes out the rows whose timestamps lie in `range`; the rows must be in order.
    pub fn remove(&mut self, range: TimeRange) {
        let start = self.times.partition_point(|&time| time < range.start);
        let end = self.times.partition_point(|&time| time < range.end).max(start);
        if start == end {
            return;
        }
        self.times.drain(start..end);
        for column in &mut self.columns {
            let mut kept = column.slice(0, start);
            kept.append(&column.slice(end, column.len()));
            *column = kept;
        }
    }

    /// Removes columns without any value, and rows without any value.
    pub fn drop_absent(&mut self) {
        let mut at = 0;
        while at < self.columns.len() {
            if self.columns[at].present.as_ref().is_some_and(|bits| bits.count() == 0) {
                self.columns.remove(at);
                self.fields.remove(at);
            } else {
                at += 1;
            }
        }
        if self.columns.is_empty() {
            self.times.clear();
            return;
        }
        if self.columns.iter().any(|column| column.present.is_none()) {
            return;
        }
        let keep: Vec<u32> = (0..self.len() as u32)
            .filter(|&at| self.columns.iter().any(|column| column.is_present(at as usize)))
            .collect();
        if keep.len() < self.len() {
            let ends: Vec<u32> = (1..=keep.len() as u32).collect();
            for column in &mut self.columns {
                *column = column.gather_last(&keep, &ends);
            }
            self.times = keep.iter().map(|&at| self.times[at as usize]).collect();
        }
    }
}

impl Column {
    /// A column of `rows` absent values, made in one go.
    pub fn absent_rows(field_type: FieldType, rows: usize) -> Self {
        let mut column = Self::empty(field_type);
        column.append_absent(rows);
        column
    }

    /// Makes room for so many rows more.
    pub(crate) fn reserve(&mut self, rows: usize) {
        match &mut self.data {
            ColumnData::Float(values) => values.reserve(rows),
            ColumnData::Integer(values) => values.reserve(rows),
            ColumnData::Unsigned(values) => values.reserve(rows),
            ColumnData::Boolean(values) => values.reserve(rows),
            ColumnData::String(values) => values.ends.reserve(rows),
        }
    }

    /// Adds `rows` absent values.
    pub fn append_absent(&mut self, rows: usize) {
        if rows == 0 {
            return;
        }
        let before = self.len();
        let len = before + rows;
        match &mut self.data {
            ColumnData::Float(values) => values.resize(len, 0.0),
            ColumnData::Integer(values) => values.resize(len, 0),
            ColumnData::Unsigned(values) => values.resize(len, 0),
            ColumnData::Boolean(values) => values.resize(len, false),
            ColumnData::String(values) => values.ends.resize(len, values.bytes.len() as u32),
        }
        let present = self.present.get_or_insert_with(|| Bitmap::filled(before, true));
        present.words.resize(len.div_ceil(64), 0);
        present.len = len;
    }

    /// Adds all rows of `later`; where the types differ they count as absent.
    pub fn append(&mut self, later: &Column) {
        let before = self.len();
        match (&mut self.data, &later.data) {
            (ColumnData::Float(values), ColumnData::Float(more)) => values.extend_from_slice(more),
            (ColumnData::Integer(values), ColumnData::Integer(more)) => values.extend_from_slice(more),
            (ColumnData::Unsigned(values), ColumnData::Unsigned(more)) => values.extend_from_slice(more),
            (ColumnData::Boolean(values), ColumnData::Boolean(more)) => values.extend_from_slice(more),
            (ColumnData::String(values), ColumnData::String(more)) => {
                let base = values.bytes.len() as u32;
                values.bytes.extend_from_slice(&more.bytes);
                values.ends.extend(more.ends.iter().map(|end| base + end));
            }
            _ => {
                self.append_absent(later.len());
                return;
            }
        }
        match (&mut self.present, &later.present) {
            (None, None) => {}
            (present, later_present) => {
                let bits = present.get_or_insert_with(|| Bitmap::filled(before, true));
                for at in 0..later.len() {
                    bits.push(later_present.as_ref().is_none_or(|bits| bits.get(at)));
                }
            }
        }
    }

    fn truncate(&mut self, rows: usize) {
        match &mut self.data {
            ColumnData::Float(values) => values.truncate(rows),
            ColumnData::Integer(values) => values.truncate(rows),
            ColumnData::Unsigned(values) => values.truncate(rows),
            ColumnData::Boolean(values) => values.truncate(rows),
            ColumnData::String(values) => {
                values.ends.truncate(rows);
                values.bytes.truncate(values.ends.last().map_or(0, |end| *end as usize));
            }
        }
        if let Some(present) = &mut self.present {
            for at in rows..present.len {
                present.set(at, false);
            }
            present.words.truncate(rows.div_ceil(64));
            present.len = rows;
        }
    }

    /// Rows `start..end`.
    pub fn slice(&self, start: usize, end: usize) -> Self {
        let data = match &self.data {
            ColumnData::Float(values) => ColumnData::Float(values[start..end].to_vec()),
            ColumnData::Integer(values) => ColumnData::Integer(values[start..end].to_vec()),
            ColumnData::Unsigned(values) => ColumnData::Unsigned(values[start..end].to_vec()),
            ColumnData::Boolean(values) => ColumnData::Boolean(values[start..end].to_vec()),
            ColumnData::String(values) => {
                let from = if start == 0 { 0 } else { values.ends[start - 1] };
                let to = if end == start { from } else { values.ends[end - 1] };
                ColumnData::String(StringColumn {
                    ends: values.ends[start..end].iter().map(|at| at - from).collect(),
                    bytes: values.bytes[from as usize..to as usize].to_vec(),
                })
            }
        };
        let present = self.present.as_ref().and_then(|bits| {
            let mut cut = Bitmap::default();
            for at in start..end {
                cut.push(bits.get(at));
            }
            (cut.count() < end - start).then_some(cut)
        });
        Self { data, present }
    }

    fn permute(&mut self, order: &[u32], stretches: &[Stretch]) {
        match &mut self.data {
            ColumnData::Float(values) => move_in(values, stretches),
            ColumnData::Integer(values) => move_in(values, stretches),
            ColumnData::Unsigned(values) => move_in(values, stretches),
            ColumnData::Boolean(values) => move_in(values, stretches),
            ColumnData::String(values) => {
                let mut out = StringColumn::default();
                order.iter().for_each(|&at| out.push(values.get(at as usize)));
                *values = out;
            }
        }
        if let Some(present) = &mut self.present {
            let former = present.clone();
            for at in stretches.iter().flat_map(Stretch::rows) {
                present.set(at, former.get(order[at] as usize));
            }
        }
    }

    /// One row per entry of `ends`: the last present one of the rows `order[ends[i-1]..ends[i]]`.
    pub(crate) fn gather_last(&self, order: &[u32], ends: &[u32]) -> Self {
        let mut picked: Vec<u32> = Vec::with_capacity(ends.len());
        let mut present = Bitmap::filled(ends.len(), true);
        let mut absent = 0;
        let mut start = 0;
        for (slot, &end) in ends.iter().enumerate() {
            let rows = &order[start..end as usize];
            start = end as usize;
            let last = rows.iter().rev().find(|&&at| self.is_present(at as usize));
            if last.is_none() {
                present.set(slot, false);
                absent += 1;
            }
            // An absent slot takes the zero that stands at any absent row.
            picked.push(last.or(rows.last()).copied().unwrap_or(0));
        }
        let data = match &self.data {
            ColumnData::Float(values) => ColumnData::Float(pick(values, &picked)),
            ColumnData::Integer(values) => ColumnData::Integer(pick(values, &picked)),
            ColumnData::Unsigned(values) => ColumnData::Unsigned(pick(values, &picked)),
            ColumnData::Boolean(values) => ColumnData::Boolean(pick(values, &picked)),
            ColumnData::String(values) => {
                let mut out = StringColumn::default();
                for &at in &picked {
                    out.push(values.get(at as usize));
                }
                ColumnData::String(out)
            }
        };
        Self { data, present: (absent > 0).then_some(present) }
    }
}

/// Rows that change places among themselves.
struct Stretch {
    start: usize,
    /// The rows they come from, one piece after the other.
    pieces: Vec<Range<usize>>,
}

impl Stretch {
    fn new(start: usize, order: &[u32]) -> Self {
        let pieces = order.chunk_by(|before, after| before + 1 == *after);
        let pieces = pieces.map(|piece| piece[0] as usize..piece[0] as usize + piece.len()).collect();
        Self { start, pieces }
    }

    fn rows(&self) -> Range<usize> {
        self.start..self.start + self.pieces.iter().map(Range::len).sum::<usize>()
    }
}

/// Brings the values of each stretch into its order.
fn move_in<T: Copy>(values: &mut [T], stretches: &[Stretch]) {
    let mut moved = Vec::new();
    for stretch in stretches {
        moved.clear();
        for piece in &stretch.pieces {
            moved.extend_from_slice(&values[piece.clone()]);
        }
        values[stretch.start..stretch.start + moved.len()].copy_from_slice(&moved);
    }
}

fn pick<T: Copy>(values: &[T], picked: &[u32]) -> Vec<T> {
    picked.iter().map(|&at| values[at as usize]).collect()
}

#[cfg(test)]
mod tests {
    use super::super::field::Value;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const TYPES: [FieldType; 5] =
        [FieldType::Float, FieldType::Integer, FieldType::Unsigned, FieldType::Boolean, FieldType::String];

    fn value(field_type: FieldType, seed: u8) -> Value {
        match field_type {
            FieldType::Float => Value::Float(f64::from(seed)),
            FieldType::Integer => Value::Integer(-i64::from(seed)),
            FieldType::Unsigned => Value::Unsigned(u64::from(seed)),
            FieldType::Boolean => Value::Boolean(seed % 2 == 1),
            FieldType::String => Value::String(vec![b'x'; seed as usize % 7]),
        }
    }

    type Model = BTreeMap<i64, BTreeMap<Vec<u8>, Value>>;

    fn read(rows: &Rows) -> Model {
        let mut model = Model::new();
        for (at, &time) in rows.times.iter().enumerate() {
            for (field, column) in rows.fields.iter().zip(&rows.columns) {
                assert_eq!(column.len(), rows.len());
                if let Some(value) = column.get(at) {
                    model.entry(time).or_default().insert(field.name.clone(), value);
                }
            }
        }
        model
    }

    /// Rows of all times from 0 on, in an order made of `times`; two columns, one of them with gaps.
    fn rows_at(times: &[i64]) -> Rows {
        let mut rows = Rows { times: times.to_vec(), ..Rows::default() };
        for (name, field_type) in [(b"i", FieldType::Integer), (b"s", FieldType::String)] {
            let mut column = Column::empty(field_type);
            for &time in times {
                let value = value(field_type, time as u8);
                column.push((field_type == FieldType::Integer || time % 3 > 0).then_some(&value));
            }
            rows.fields.push(Field { name: name.to_vec(), field_type });
            rows.columns.push(column);
        }
        let mut gaps = Column::empty(FieldType::Float);
        for &time in times {
            gaps.push((time % 5 > 0).then_some(&value(FieldType::Float, time as u8)));
        }
        rows.fields.push(Field { name: b"f".to_vec(), field_type: FieldType::Float });
        rows.columns.push(gaps);
        rows
    }

    proptest! {
        /// Rows of different times come to the same whether few of them are a little late or all of them anywhere.
        #[test]
        fn rows_of_different_times_in_any_order_equal_those_given_in_order(
            late in prop::collection::vec((0usize..200, 1usize..9), 0..20),
            shuffled in Just((0..200).collect::<Vec<i64>>()).prop_shuffle(),
            pieces in Just((0..20).collect::<Vec<i64>>()).prop_shuffle(),
            way in 0..3,
        ) {
            let expected: Vec<i64> = (0..200).collect();
            let mut times = match way {
                0 => shuffled,
                1 => pieces.iter().flat_map(|piece| piece * 10..piece * 10 + 10).collect(),
                _ => expected.clone(),
            };
            for (at, by) in late {
                let end = (at + 2 * by).min(times.len());
                times[at..end].rotate_left(by.min(end - at));
            }
            let mut rows = rows_at(&times);
            rows.bring_to_order();
            prop_assert_eq!(rows, rows_at(&expected));
        }
    }

    proptest! {
        /// Several sources appended in order of age and brought to order equal a map written row by row.
        #[test]
        fn merged_rows_equal_a_map(
            sources in prop::collection::vec(
                prop::collection::vec((0i64..30, prop::collection::vec((0usize..5, any::<u8>()), 1..4)), 0..20),
                1..4,
            ),
            cut in (0i64..30, 0i64..30),
        ) {
            let mut model = Model::new();
            let mut rows = Rows::default();
            for source in &sources {
                let mut one = Rows::default();
                for (time, fields) in source {
                    let mut row = Rows { times: vec![*time], ..Rows::default() };
                    for (kind, seed) in fields {
                        let field_type = TYPES[*kind];
                        let name = vec![b'a' + *kind as u8];
                        if row.field(&name).is_none() {
                            let mut column = Column::empty(field_type);
                            column.push(Some(&value(field_type, *seed)));
                            model.entry(*time).or_default().insert(name.clone(), value(field_type, *seed));
                            row.fields.push(Field { name, field_type });
                            row.columns.push(column);
                        }
                    }
                    one.append(&row);
                }
                rows.append(&one);
            }
            rows.bring_to_order();
            prop_assert!(rows.is_in_order());
            prop_assert_eq!(read(&rows), model.clone());

            let range = TimeRange::new(cut.0, cut.1);
            let mut removed = rows.clone();
            removed.remove(range);
            removed.drop_absent();
            let mut kept = rows.clone();
            kept.cut_to(range);
            kept.drop_absent();
            let (inside, outside): (Model, Model) =
                model.into_iter().partition(|(time, _)| range.contains(*time));
            prop_assert_eq!(read(&kept), inside);
            prop_assert_eq!(read(&removed), outside);
        }
    }
}
