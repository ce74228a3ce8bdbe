//! Typed columns: one slot per row, with a bitmap of the rows that have a value.
//!
//! Kernels run over the dense slices; a slot without a value holds the type's zero (an empty string).

use super::field::{FieldType, Value};

/// One bit per row, least significant first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bitmap {
    pub words: Vec<u64>,
    pub len: usize,
}

impl Bitmap {
    pub fn filled(len: usize, bit: bool) -> Self {
        let mut words = vec![if bit { !0 } else { 0 }; len.div_ceil(64)];
        if bit
            && !len.is_multiple_of(64)
            && let Some(last) = words.last_mut()
        {
            *last = (1 << (len % 64)) - 1;
        }
        Self { words, len }
    }

    #[inline]
    pub fn get(&self, at: usize) -> bool {
        self.words[at / 64] >> (at % 64) & 1 == 1
    }

    #[inline]
    pub fn set(&mut self, at: usize, bit: bool) {
        let mask = 1 << (at % 64);
        if bit {
            self.words[at / 64] |= mask;
        } else {
            self.words[at / 64] &= !mask;
        }
    }

    #[inline]
    pub fn push(&mut self, bit: bool) {
        if self.len.is_multiple_of(64) {
            self.words.push(0);
        }
        self.len += 1;
        if bit {
            self.set(self.len - 1, true);
        }
    }

    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }
}

/// Strings end to end; string `i` is `bytes[ends[i-1]..ends[i]]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StringColumn {
    pub ends: Vec<u32>,
    pub bytes: Vec<u8>,
}

impl StringColumn {
    pub fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.ends.push(self.bytes.len() as u32);
    }

    #[inline]
    pub fn get(&self, at: usize) -> &[u8] {
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.bytes[start..self.ends[at] as usize]
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

/// The values of a column, one slot per row.
#[derive(Debug, Clone, PartialEq)]
pub enum ColumnData {
    Float(Vec<f64>),
    Integer(Vec<i64>),
    Unsigned(Vec<u64>),
    Boolean(Vec<bool>),
    String(StringColumn),
}

/// One column of some rows. `present` is `None` when every row has a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub data: ColumnData,
    pub present: Option<Bitmap>,
}

impl Column {
    pub fn empty(field_type: FieldType) -> Self {
        Self::absent(field_type, 0)
    }

    /// A column of one value.
    pub fn of(value: &Value) -> Self {
        let mut column = Self::empty(value.field_type());
        column.push(Some(value));
        column
    }

    /// A column of `rows` absent values.
    pub fn absent(field_type: FieldType, rows: usize) -> Self {
        let data = match field_type {
            FieldType::Float => ColumnData::Float(vec![0.0; rows]),
            FieldType::Integer => ColumnData::Integer(vec![0; rows]),
            FieldType::Unsigned => ColumnData::Unsigned(vec![0; rows]),
            FieldType::Boolean => ColumnData::Boolean(vec![false; rows]),
            FieldType::String => ColumnData::String(StringColumn { ends: vec![0; rows], bytes: Vec::new() }),
        };
        Self { data, present: (rows > 0).then(|| Bitmap::filled(rows, false)) }
    }

    pub fn field_type(&self) -> FieldType {
        match self.data {
            ColumnData::Float(_) => FieldType::Float,
            ColumnData::Integer(_) => FieldType::Integer,
            ColumnData::Unsigned(_) => FieldType::Unsigned,
            ColumnData::Boolean(_) => FieldType::Boolean,
            ColumnData::String(_) => FieldType::String,
        }
    }

    pub fn len(&self) -> usize {
        match &self.data {
            ColumnData::Float(values) => values.len(),
            ColumnData::Integer(values) => values.len(),
            ColumnData::Unsigned(values) => values.len(),
            ColumnData::Boolean(values) => values.len(),
            ColumnData::String(values) => values.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    pub fn is_present(&self, at: usize) -> bool {
        self.present.as_ref().is_none_or(|bits| bits.get(at))
    }

    /// Takes all rows out; the memory stays.
    pub fn clear(&mut self) {
        match &mut self.data {
            ColumnData::Float(values) => values.clear(),
            ColumnData::Integer(values) => values.clear(),
            ColumnData::Unsigned(values) => values.clear(),
            ColumnData::Boolean(values) => values.clear(),
            ColumnData::String(values) => {
                values.ends.clear();
                values.bytes.clear();
            }
        }
        self.present = None;
    }

    /// The value of row `at`, or `None` when it is absent. For tests and slow paths.
    pub fn get(&self, at: usize) -> Option<Value> {
        if !self.is_present(at) {
            return None;
        }
        Some(match &self.data {
            ColumnData::Float(values) => Value::Float(values[at]),
            ColumnData::Integer(values) => Value::Integer(values[at]),
            ColumnData::Unsigned(values) => Value::Unsigned(values[at]),
            ColumnData::Boolean(values) => Value::Boolean(values[at]),
            ColumnData::String(values) => Value::String(values.get(at).to_vec()),
        })
    }

    /// Adds one row. A value of another type than the column's counts as absent.
    pub fn push(&mut self, value: Option<&Value>) {
        let rows = self.len();
        let pushed = match (&mut self.data, value) {
            (ColumnData::Float(values), Some(Value::Float(value))) => {
                values.push(*value);
                true
            }
            (ColumnData::Integer(values), Some(Value::Integer(value))) => {
                values.push(*value);
                true
            }
            (ColumnData::Unsigned(values), Some(Value::Unsigned(value))) => {
                values.push(*value);
                true
            }
            (ColumnData::Boolean(values), Some(Value::Boolean(value))) => {
                values.push(*value);
                true
            }
            (ColumnData::String(values), Some(Value::String(value))) => {
                values.push(value);
                true
            }
            (data, _) => {
                match data {
                    ColumnData::Float(values) => values.push(0.0),
                    ColumnData::Integer(values) => values.push(0),
                    ColumnData::Unsigned(values) => values.push(0),
                    ColumnData::Boolean(values) => values.push(false),
                    ColumnData::String(values) => values.push(b""),
                }
                false
            }
        };
        if !pushed && self.present.is_none() {
            self.present = Some(Bitmap::filled(rows, true));
        }
        if let Some(present) = &mut self.present {
            present.push(pushed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_of_absent_values_is_one_that_got_them_one_by_one() {
        let types = [
            FieldType::Float,
            FieldType::Integer,
            FieldType::Unsigned,
            FieldType::Boolean,
            FieldType::String,
        ];
        for field_type in types {
            for rows in [0, 1, 64, 65] {
                let mut pushed = Column::empty(field_type);
                (0..rows).for_each(|_| pushed.push(None));
                assert_eq!(Column::absent(field_type, rows), pushed, "{rows} of {field_type:?}");
            }
        }
    }
}
