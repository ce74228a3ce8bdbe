//! Operations over whole columns: what [`super::Node`] evaluates to, and the binary operators.
//!
//! An operand is a constant, a column, or absent throughout. Each pair of types gets one plain loop over slices.

use std::borrow::Cow;

use super::super::request::BinaryOp;
use super::{Division, is_comparison, is_logical};
use crate::model::{Bitmap, Column, ColumnData, FieldType, StringColumn, Value};

/// The value of an expression for the rows of a chunk.
pub(super) enum Operand<'a> {
    /// No row has a value.
    Absent,
    Constant(Cow<'a, Value>),
    Float(Cow<'a, [f64]>, Presence<'a>),
    Integer(Cow<'a, [i64]>, Presence<'a>),
    Unsigned(Cow<'a, [u64]>, Presence<'a>),
    Boolean(Cow<'a, [bool]>, Presence<'a>),
    String(&'a StringColumn, Presence<'a>),
}

/// Rows that have a value; `None`: all.
type Presence<'a> = Option<Cow<'a, Bitmap>>;

/// Which rows are true.
pub(super) enum Truth {
    Constant(bool),
    Rows(Vec<bool>),
}

impl<'a> Operand<'a> {
    pub fn of_column(column: &'a Column) -> Self {
        let present = column.present.as_ref().map(Cow::Borrowed);
        match &column.data {
            ColumnData::Float(values) => Self::Float(Cow::Borrowed(values), present),
            ColumnData::Integer(values) => Self::Integer(Cow::Borrowed(values), present),
            ColumnData::Unsigned(values) => Self::Unsigned(Cow::Borrowed(values), present),
            ColumnData::Boolean(values) => Self::Boolean(Cow::Borrowed(values), present),
            ColumnData::String(values) => Self::String(values, present),
        }
    }

    pub fn of_times(times: &'a [i64]) -> Self {
        Self::Integer(Cow::Borrowed(times), None)
    }

    fn field_type(&self) -> Option<FieldType> {
        Some(match self {
            Self::Absent => return None,
            Self::Constant(value) => value.field_type(),
            Self::Float(..) => FieldType::Float,
            Self::Integer(..) => FieldType::Integer,
            Self::Unsigned(..) => FieldType::Unsigned,
            Self::Boolean(..) => FieldType::Boolean,
            Self::String(..) => FieldType::String,
        })
    }

    fn presence(&self) -> Option<&Bitmap> {
        match self {
            Self::Absent | Self::Constant(_) => None,
            Self::Float(_, present) => present.as_deref(),
            Self::Integer(_, present) => present.as_deref(),
            Self::Unsigned(_, present) => present.as_deref(),
            Self::Boolean(_, present) => present.as_deref(),
            Self::String(_, present) => present.as_deref(),
        }
    }

    /// As floats; `None` for what is no number.
    pub fn floats(&self) -> Option<Side<'_, f64>> {
        Some(match self {
            Self::Constant(value) => Side::One(match value.as_ref() {
                Value::Float(value) => *value,
                Value::Integer(value) => *value as f64,
                Value::Unsigned(value) => *value as f64,
                _ => return None,
            }),
            Self::Float(values, _) => Side::Many(Cow::Borrowed(values)),
            Self::Integer(values, _) => Side::Many(values.iter().map(|value| *value as f64).collect()),
            Self::Unsigned(values, _) => Side::Many(values.iter().map(|value| *value as f64).collect()),
            _ => return None,
        })
    }

    fn integers(&self) -> Option<Side<'_, i64>> {
        Some(match self {
            Self::Constant(value) => match value.as_ref() {
                Value::Integer(value) => Side::One(*value),
                _ => return None,
            },
            Self::Integer(values, _) => Side::Many(Cow::Borrowed(values)),
            _ => return None,
        })
    }

    /// Unsigned values; integers wrap, as in mixed arithmetic.
    fn unsigned(&self) -> Option<Side<'_, u64>> {
        Some(match self {
            Self::Constant(value) => Side::One(match value.as_ref() {
                Value::Unsigned(value) => *value,
                Value::Integer(value) => *value as u64,
                _ => return None,
            }),
            Self::Unsigned(values, _) => Side::Many(Cow::Borrowed(values)),
            Self::Integer(values, _) => Side::Many(values.iter().map(|value| *value as u64).collect()),
            _ => return None,
        })
    }

    /// Integers and unsigned values in a type that holds both.
    fn wide(&self) -> Option<Side<'_, i128>> {
        Some(match self {
            Self::Constant(value) => Side::One(match value.as_ref() {
                Value::Unsigned(value) => i128::from(*value),
                Value::Integer(value) => i128::from(*value),
                _ => return None,
            }),
            Self::Unsigned(values, _) => Side::Many(values.iter().map(|value| i128::from(*value)).collect()),
            Self::Integer(values, _) => Side::Many(values.iter().map(|value| i128::from(*value)).collect()),
            _ => return None,
        })
    }

    fn booleans(&self) -> Option<Side<'_, bool>> {
        Some(match self {
            Self::Constant(value) => match value.as_ref() {
                Value::Boolean(value) => Side::One(*value),
                _ => return None,
            },
            Self::Boolean(values, _) => Side::Many(Cow::Borrowed(values)),
            _ => return None,
        })
    }

    fn string_at(&self, row: usize) -> Option<&[u8]> {
        match self {
            Self::Constant(value) => match value.as_ref() {
                Value::String(text) => Some(text),
                _ => None,
            },
            Self::String(values, _) => Some(values.get(row)),
            _ => None,
        }
    }

    /// As a condition: what is no boolean, or absent, is false.
    pub fn truth(self) -> Truth {
        match self {
            Self::Constant(value) => Truth::Constant(matches!(value.as_ref(), Value::Boolean(true))),
            Self::Boolean(values, present) => {
                let mut values = values.into_owned();
                clear_absent(&mut values, present.as_deref());
                Truth::Rows(values)
            }
            _ => Truth::Constant(false),
        }
    }

    pub fn into_column(self, rows: usize) -> Column {
        fn column(data: ColumnData, present: Presence<'_>) -> Column {
            Column { data, present: present.map(Cow::into_owned) }
        }
        match self {
            Self::Absent => Column::absent(FieldType::Float, rows),
            Self::Constant(value) => {
                let mut column = Column::empty(value.field_type());
                for _ in 0..rows {
                    column.push(Some(&value));
                }
                column
            }
            Self::Float(values, present) => column(ColumnData::Float(values.into_owned()), present),
            Self::Integer(values, present) => column(ColumnData::Integer(values.into_owned()), present),
            Self::Unsigned(values, present) => column(ColumnData::Unsigned(values.into_owned()), present),
            Self::Boolean(values, present) => column(ColumnData::Boolean(values.into_owned()), present),
            Self::String(values, present) => column(ColumnData::String(values.clone()), present),
        }
    }
}

/// One side of an operation.
pub(super) enum Side<'a, T: Copy> {
    One(T),
    Many(Cow<'a, [T]>),
}

/// Applies `each` row by row; constants are not spread out.
#[inline]
pub(super) fn map2<A: Copy, B: Copy, R: Clone>(
    left: &Side<'_, A>,
    right: &Side<'_, B>,
    rows: usize,
    each: impl Fn(A, B) -> R,
) -> Vec<R> {
    match (left, right) {
        (Side::One(a), Side::One(b)) => vec![each(*a, *b); rows],
        (Side::One(a), Side::Many(b)) => b.iter().map(|b| each(*a, *b)).collect(),
        (Side::Many(a), Side::One(b)) => a.iter().map(|a| each(*a, *b)).collect(),
        (Side::Many(a), Side::Many(b)) => a.iter().zip(b.iter()).map(|(a, b)| each(*a, *b)).collect(),
    }
}

/// Rows in which both have a value.
pub(super) fn both<'a>(left: &Operand<'_>, right: &Operand<'_>) -> Presence<'a> {
    match (left.presence(), right.presence()) {
        (None, None) => None,
        (Some(one), None) | (None, Some(one)) => Some(Cow::Owned(one.clone())),
        (Some(left), Some(right)) => {
            let words = left.words.iter().zip(&right.words).map(|(left, right)| left & right).collect();
            Some(Cow::Owned(Bitmap { words, len: left.len }))
        }
    }
}

fn clear_absent(values: &mut [bool], present: Option<&Bitmap>) {
    if let Some(present) = present {
        for (row, value) in values.iter_mut().enumerate() {
            *value &= present.get(row);
        }
    }
}

pub(super) fn binary<'a>(
    op: BinaryOp,
    left: Operand<'a>,
    right: Operand<'a>,
    rows: usize,
    division: Division,
) -> Operand<'a> {
    if is_logical(op) {
        return logical(op, left.truth(), right.truth());
    }
    if is_comparison(op) {
        let mut values = compare(op, &left, &right, rows).unwrap_or_else(|| vec![false; rows]);
        clear_absent(&mut values, both(&left, &right).as_deref());
        return Operand::Boolean(Cow::Owned(values), None);
    }
    arithmetic(op, &left, &right, rows, division)
}

fn logical<'a>(op: BinaryOp, left: Truth, right: Truth) -> Operand<'a> {
    let is_and = op == BinaryOp::And;
    let values = match (left, right) {
        (Truth::Constant(left), Truth::Constant(right)) => {
            let value = if is_and { left && right } else { left || right };
            return Operand::Constant(Cow::Owned(Value::Boolean(value)));
        }
        (Truth::Constant(constant), Truth::Rows(rows)) | (Truth::Rows(rows), Truth::Constant(constant)) => {
            if constant == is_and {
                rows
            } else {
                return Operand::Constant(Cow::Owned(Value::Boolean(constant)));
            }
        }
        (Truth::Rows(mut left), Truth::Rows(right)) => {
            for (left, right) in left.iter_mut().zip(&right) {
                *left = if is_and { *left & *right } else { *left | *right };
            }
            left
        }
    };
    Operand::Boolean(Cow::Owned(values), None)
}

/// Per row whether the comparison holds, absent rows not looked at; `None` for types that do not compare.
fn compare(op: BinaryOp, left: &Operand<'_>, right: &Operand<'_>, rows: usize) -> Option<Vec<bool>> {
    use FieldType::*;
    Some(match (left.field_type()?, right.field_type()?) {
        (Float, Float | Integer | Unsigned) | (Integer | Unsigned, Float) => {
            ordered(op, &left.floats()?, &right.floats()?, rows)
        }
        (Integer, Integer) => ordered(op, &left.integers()?, &right.integers()?, rows),
        (Unsigned, Unsigned) => ordered(op, &left.unsigned()?, &right.unsigned()?, rows),
        (Integer, Unsigned) | (Unsigned, Integer) => ordered(op, &left.wide()?, &right.wide()?, rows),
        (Boolean, Boolean) => match op {
            BinaryOp::Equal => map2(&left.booleans()?, &right.booleans()?, rows, |a, b| a == b),
            BinaryOp::NotEqual => map2(&left.booleans()?, &right.booleans()?, rows, |a, b| a != b),
            _ => return None,
        },
        // Strings are equal or not; InfluxDB knows no order of them.
        (String, String) => match op {
            BinaryOp::Equal => (0..rows).map(|row| left.string_at(row) == right.string_at(row)).collect(),
            BinaryOp::NotEqual => (0..rows).map(|row| left.string_at(row) != right.string_at(row)).collect(),
            _ => return None,
        },
        _ => return None,
    })
}

fn ordered<T: Copy + PartialOrd>(
    op: BinaryOp,
    left: &Side<'_, T>,
    right: &Side<'_, T>,
    rows: usize,
) -> Vec<bool> {
    match op {
        BinaryOp::Equal => map2(left, right, rows, |a, b| a == b),
        BinaryOp::NotEqual => map2(left, right, rows, |a, b| a != b),
        BinaryOp::Less => map2(left, right, rows, |a, b| a < b),
        BinaryOp::LessEqual => map2(left, right, rows, |a, b| a <= b),
        BinaryOp::Greater => map2(left, right, rows, |a, b| a > b),
        BinaryOp::GreaterEqual => map2(left, right, rows, |a, b| a >= b),
        _ => vec![false; rows],
    }
}

/// The type of arithmetic on these types; `None` when there is none.
pub(super) fn type_of_arithmetic(
    op: BinaryOp,
    left: FieldType,
    right: FieldType,
    division: Division,
) -> Option<FieldType> {
    use FieldType::*;
    let is_bitwise = matches!(op, BinaryOp::BitAnd | BinaryOp::BitOr | BinaryOp::BitXor);
    match (left, right) {
        (Boolean, Boolean) if is_bitwise => Some(Boolean),
        (Float, Float | Integer | Unsigned) | (Integer | Unsigned, Float) if !is_bitwise => Some(Float),
        (Integer, Integer) if op == BinaryOp::Divide && division == Division::Float => Some(Float),
        (Integer, Integer) => Some(Integer),
        (Unsigned, Unsigned) | (Integer, Unsigned) | (Unsigned, Integer) => Some(Unsigned),
        _ => None,
    }
}

fn arithmetic<'a>(
    op: BinaryOp,
    left: &Operand<'_>,
    right: &Operand<'_>,
    rows: usize,
    division: Division,
) -> Operand<'a> {
    let calculated = || {
        let field_type = type_of_arithmetic(op, left.field_type()?, right.field_type()?, division)?;
        let present = both(left, right);
        Some(match field_type {
            FieldType::Float => {
                let values = float_arithmetic(op, &left.floats()?, &right.floats()?, rows)?;
                Operand::Float(Cow::Owned(values), present)
            }
            FieldType::Integer => {
                let values = integer_arithmetic(op, &left.integers()?, &right.integers()?, rows)?;
                Operand::Integer(Cow::Owned(values), present)
            }
            FieldType::Unsigned => {
                let values = unsigned_arithmetic(op, &left.unsigned()?, &right.unsigned()?, rows)?;
                Operand::Unsigned(Cow::Owned(values), present)
            }
            FieldType::Boolean => {
                let (left, right) = (left.booleans()?, right.booleans()?);
                let values = match op {
                    BinaryOp::BitAnd => map2(&left, &right, rows, |a, b| a & b),
                    BinaryOp::BitOr => map2(&left, &right, rows, |a, b| a | b),
                    _ => map2(&left, &right, rows, |a, b| a ^ b),
                };
                Operand::Boolean(Cow::Owned(values), present)
            }
            FieldType::String => return None,
        })
    };
    calculated().unwrap_or(Operand::Absent)
}

fn float_arithmetic(
    op: BinaryOp,
    left: &Side<'_, f64>,
    right: &Side<'_, f64>,
    rows: usize,
) -> Option<Vec<f64>> {
    Some(match op {
        BinaryOp::Add => map2(left, right, rows, |a, b| a + b),
        BinaryOp::Subtract => map2(left, right, rows, |a, b| a - b),
        BinaryOp::Multiply => map2(left, right, rows, |a, b| a * b),
        BinaryOp::Divide => map2(left, right, rows, |a, b| if b == 0.0 { 0.0 } else { a / b }),
        BinaryOp::Modulo => map2(left, right, rows, |a, b| a % b),
        _ => return None,
    })
}

fn integer_arithmetic(
    op: BinaryOp,
    left: &Side<'_, i64>,
    right: &Side<'_, i64>,
    rows: usize,
) -> Option<Vec<i64>> {
    Some(match op {
        BinaryOp::Add => map2(left, right, rows, i64::wrapping_add),
        BinaryOp::Subtract => map2(left, right, rows, i64::wrapping_sub),
        BinaryOp::Multiply => map2(left, right, rows, i64::wrapping_mul),
        BinaryOp::Divide => map2(left, right, rows, |a, b| if b == 0 { 0 } else { a.wrapping_div(b) }),
        BinaryOp::Modulo => map2(left, right, rows, |a, b| if b == 0 { 0 } else { a.wrapping_rem(b) }),
        BinaryOp::BitAnd => map2(left, right, rows, |a, b| a & b),
        BinaryOp::BitOr => map2(left, right, rows, |a, b| a | b),
        BinaryOp::BitXor => map2(left, right, rows, |a, b| a ^ b),
        _ => return None,
    })
}

fn unsigned_arithmetic(
    op: BinaryOp,
    left: &Side<'_, u64>,
    right: &Side<'_, u64>,
    rows: usize,
) -> Option<Vec<u64>> {
    Some(match op {
        BinaryOp::Add => map2(left, right, rows, u64::wrapping_add),
        BinaryOp::Subtract => map2(left, right, rows, u64::wrapping_sub),
        BinaryOp::Multiply => map2(left, right, rows, u64::wrapping_mul),
        BinaryOp::Divide => map2(left, right, rows, |a, b| a.checked_div(b).unwrap_or(0)),
        BinaryOp::Modulo => map2(left, right, rows, |a, b| a.checked_rem(b).unwrap_or(0)),
        BinaryOp::BitAnd => map2(left, right, rows, |a, b| a & b),
        BinaryOp::BitOr => map2(left, right, rows, |a, b| a | b),
        BinaryOp::BitXor => map2(left, right, rows, |a, b| a ^ b),
        _ => return None,
    })
}

/// Whether each string matches; what is absent or no string does not, negated or not.
pub(super) fn matches<'a>(
    left: Operand<'a>,
    pattern: &regex::bytes::Regex,
    negated: bool,
    rows: usize,
) -> Operand<'a> {
    let values = match &left {
        Operand::Constant(value) => {
            let holds = match value.as_ref() {
                Value::String(text) => pattern.is_match(text) != negated,
                _ => false,
            };
            return Operand::Constant(Cow::Owned(Value::Boolean(holds)));
        }
        Operand::String(strings, present) => (0..rows)
            .map(|row| {
                present.as_ref().is_none_or(|bits| bits.get(row))
                    && pattern.is_match(strings.get(row)) != negated
            })
            .collect(),
        _ => vec![false; rows],
    };
    Operand::Boolean(Cow::Owned(values), None)
}
