//! Row expressions evaluated over columns, a chunk of rows at a time.
//!
//! Three steps: [`Program::compile`] once per query (regular expressions compiled, fields numbered);
//! [`Program::for_series`] once per series (tags become constants, what is constant is folded: often all of it); then
//! [`SeriesProgram::select`] or [`SeriesProgram::evaluate`] per chunk.
//!
//! The rules are InfluxDB 1.8's:
//! * numbers: with a float in it the operation is in floats; integer with unsigned compares by value and calculates in
//!   unsigned; everything wraps; division and integer modulo by zero give zero, float modulo by zero a NaN;
//! * integer by integer is integer division in conditions; the select list asks for [`Division::Float`];
//! * comparing unlike types, or an absent value, is false, `!=` too;
//! * `AND` and `OR` take what is no boolean, or absent, for false; other arithmetic on absent values is absent;
//! * bit operations are for integers and booleans.

use std::borrow::Cow;

use super::request::{BinaryOp, Expr};
use crate::error::{Error, Result};
use crate::model::{Bitmap, Column, ColumnData, FieldType, Value};

mod math;
mod operate;

use operate::Operand;

/// Most bytes a compiled regular expression may take.
const REGEX_BYTES_MAX: usize = 10 << 20;

/// What integer divided by integer gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Division {
    /// An integer, cut towards zero: conditions.
    Integer,
    /// A float: the select list.
    Float,
}

/// An expression ready to be specialised per series. One per query and core.
#[derive(Debug, Clone)]
pub struct Program {
    fields: Vec<Vec<u8>>,
    root: Node,
    division: Division,
}

/// A [`Program`] for one series: no tags left.
#[derive(Debug, Clone)]
pub struct SeriesProgram {
    root: Node,
    division: Division,
}

/// What a condition means for one series.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Every row passes.
    All,
    /// No row can pass.
    None,
    /// The rows decide.
    Rows(SeriesProgram),
}

#[derive(Debug, Clone)]
enum Node {
    Field(usize),
    Tag(Vec<u8>),
    Time,
    /// `None`: absent.
    Constant(Option<Value>),
    Binary {
        op: BinaryOp,
        left: Box<Node>,
        right: Box<Node>,
    },
    Matches {
        left: Box<Node>,
        pattern: Box<regex::bytes::Regex>,
        negated: bool,
    },
    Call {
        function: math::Function,
        arguments: Vec<Node>,
    },
}

impl Program {
    /// Numbers the fields and compiles the patterns. Errors: `Error::Invalid` for a bad pattern, an unknown function or a
    /// wrong number of arguments; the asker has checked these in the words of its clients.
    pub fn compile(expr: &Expr, division: Division) -> Result<Self> {
        let mut fields = Vec::new();
        let root = Node::compile(expr, &mut fields)?;
        Ok(Self { fields, root, division })
    }

    /// Names of the fields read, each once: the columns to hand to [`SeriesProgram::select`], in this order.
    pub fn fields(&self) -> &[Vec<u8>] {
        &self.fields
    }

    /// The program with the series' tags put in; `tag` gives an unescaped value, `None` when the series lacks the tag.
    pub fn for_series<'a>(&self, tag: &impl Fn(&[u8]) -> Option<Cow<'a, [u8]>>) -> SeriesProgram {
        SeriesProgram { root: self.root.specialised(tag, self.division), division: self.division }
    }

    /// The type of the expression, given its fields' types (by position in [`Program::fields`]); `None` when it is
    /// absent in every row.
    pub fn type_of(&self, types: &[Option<FieldType>]) -> Option<FieldType> {
        type_of(&self.root, types, self.division)
    }

    /// As a condition: whether the rows of the series need be looked at.
    pub fn verdict<'a>(&self, tag: &impl Fn(&[u8]) -> Option<Cow<'a, [u8]>>) -> Verdict {
        let program = self.for_series(tag);
        match &program.root {
            Node::Constant(Some(Value::Boolean(true))) => Verdict::All,
            Node::Constant(_) => Verdict::None,
            _ => Verdict::Rows(program),
        }
    }
}

impl SeriesProgram {
    /// Which rows pass. `columns` stand for [`Program::fields`]; `None` is a field that is absent throughout.
    pub fn select(&self, times: &[i64], columns: &[Option<&Column>]) -> Bitmap {
        let rows = times.len();
        match self.root.evaluate(times, columns, self.division).truth() {
            operate::Truth::Constant(all) => Bitmap::filled(rows, all),
            operate::Truth::Rows(bits) => {
                let mut bitmap = Bitmap::filled(rows, false);
                for (word, bits) in bitmap.words.iter_mut().zip(bits.chunks(64)) {
                    for (at, bit) in bits.iter().enumerate() {
                        *word |= u64::from(*bit) << at;
                    }
                }
                bitmap
            }
        }
    }

    /// The expression's value per row. An expression that is absent throughout gives absent floats.
    pub fn evaluate(&self, times: &[i64], columns: &[Option<&Column>]) -> Column {
        self.root.evaluate(times, columns, self.division).into_column(times.len())
    }

    /// Whether a block may hold a row that passes, from the least and greatest values of its columns (`None`: not
    /// known, or no number). Only what is certain rules a block out.
    pub fn may_pass(&self, bounds: &impl Fn(usize) -> Option<(f64, f64)>) -> bool {
        self.root.may_pass(bounds)
    }
}

/// Keeps the selected rows of a column.
pub fn keep_selected(column: &Column, selected: &Bitmap) -> Column {
    let rows: Vec<usize> = selected_rows(selected);
    take_rows(column, &rows)
}

/// Positions of the set bits, ascending.
pub fn selected_rows(selected: &Bitmap) -> Vec<usize> {
    let mut rows = Vec::with_capacity(selected.count());
    crate::model::kernel::for_each_present(Some(selected), 0..selected.len, |row| rows.push(row));
    rows
}

/// The given rows of a column, in that order.
pub fn take_rows(column: &Column, rows: &[usize]) -> Column {
    fn pick<T: Copy>(values: &[T], rows: &[usize]) -> Vec<T> {
        rows.iter().map(|row| values[*row]).collect()
    }
    let data = match &column.data {
        ColumnData::Float(values) => ColumnData::Float(pick(values, rows)),
        ColumnData::Integer(values) => ColumnData::Integer(pick(values, rows)),
        ColumnData::Unsigned(values) => ColumnData::Unsigned(pick(values, rows)),
        ColumnData::Boolean(values) => ColumnData::Boolean(pick(values, rows)),
        ColumnData::String(values) => {
            let mut strings = crate::model::StringColumn::default();
            rows.iter().for_each(|row| strings.push(values.get(*row)));
            ColumnData::String(strings)
        }
    };
    let present = column.present.as_ref().map(|bits| {
        let mut kept = Bitmap::default();
        rows.iter().for_each(|row| kept.push(bits.get(*row)));
        kept
    });
    Column { data, present: present.filter(|bits| bits.count() != rows.len()) }
}

impl Node {
    fn compile(expr: &Expr, fields: &mut Vec<Vec<u8>>) -> Result<Self> {
        Ok(match expr {
            Expr::Field(name) => {
                let known = fields.iter().position(|field| field == name);
                Self::Field(known.unwrap_or_else(|| {
                    fields.push(name.clone());
                    fields.len() - 1
                }))
            }
            Expr::Tag(name) => Self::Tag(name.clone()),
            Expr::Time => Self::Time,
            Expr::Literal(value) => Self::Constant(Some(value.clone())),
            Expr::Binary { op, left, right } => Self::Binary {
                op: *op,
                left: Box::new(Self::compile(left, fields)?),
                right: Box::new(Self::compile(right, fields)?),
            },
            Expr::Matches { left, pattern, negated } => Self::Matches {
                left: Box::new(Self::compile(left, fields)?),
                pattern: Box::new(compile_pattern(pattern)?),
                negated: *negated,
            },
            Expr::Call { name, arguments } => {
                let function = math::Function::by_name(name)
                    .filter(|function| function.arguments() == arguments.len())
                    .ok_or_else(|| {
                        Error::Invalid(format!("no function {name} of {} arguments", arguments.len()))
                    })?;
                let arguments = arguments
                    .iter()
                    .map(|argument| Self::compile(argument, fields))
                    .collect::<Result<_>>()?;
                Self::Call { function, arguments }
            }
        })
    }

    /// Tags put in, and every part without fields and time calculated.
    fn specialised<'a>(&self, tag: &impl Fn(&[u8]) -> Option<Cow<'a, [u8]>>, division: Division) -> Self {
        let special = match self {
            Self::Tag(name) => {
                return Self::Constant(Some(Value::String(tag(name).unwrap_or_default().into_owned())));
            }
            Self::Field(_) | Self::Time | Self::Constant(_) => return self.clone(),
            Self::Binary { op, left, right } => {
                let left = Box::new(left.specialised(tag, division));
                let right = Box::new(right.specialised(tag, division));
                if let Some(simple) = simplified(*op, &left, &right) {
                    return simple;
                }
                Self::Binary { op: *op, left, right }
            }
            Self::Matches { left, pattern, negated } => Self::Matches {
                left: Box::new(left.specialised(tag, division)),
                pattern: pattern.clone(),
                negated: *negated,
            },
            Self::Call { function, arguments } => Self::Call {
                function: *function,
                arguments: arguments.iter().map(|argument| argument.specialised(tag, division)).collect(),
            },
        };
        let is_constant = match &special {
            Self::Binary { left, right, .. } => left.is_constant() && right.is_constant(),
            Self::Matches { left, .. } => left.is_constant(),
            Self::Call { arguments, .. } => arguments.iter().all(Self::is_constant),
            _ => false,
        };
        if is_constant {
            return Self::Constant(special.evaluate(&[0], &[], division).into_column(1).get(0));
        }
        special
    }

    fn is_constant(&self) -> bool {
        matches!(self, Self::Constant(_))
    }

    /// Whether the node's value is never anything but true or false.
    fn is_truth(&self) -> bool {
        match self {
            Self::Binary { op, .. } => is_logical(*op) || is_comparison(*op),
            Self::Matches { .. } | Self::Constant(Some(Value::Boolean(_))) => true,
            _ => false,
        }
    }

    fn evaluate<'a>(
        &'a self,
        times: &'a [i64],
        columns: &[Option<&'a Column>],
        division: Division,
    ) -> Operand<'a> {
        match self {
            Self::Field(at) => {
                columns.get(*at).copied().flatten().map_or(Operand::Absent, Operand::of_column)
            }
            // Only a program that skipped `for_series` still has tags; its series has none.
            Self::Tag(_) => Operand::Constant(Cow::Owned(Value::String(Vec::new()))),
            Self::Time => Operand::of_times(times),
            Self::Constant(Some(value)) => Operand::Constant(Cow::Borrowed(value)),
            Self::Constant(None) => Operand::Absent,
            Self::Binary { op, left, right } => {
                let left = left.evaluate(times, columns, division);
                let right = right.evaluate(times, columns, division);
                operate::binary(*op, left, right, times.len(), division)
            }
            Self::Matches { left, pattern, negated } => {
                operate::matches(left.evaluate(times, columns, division), pattern, *negated, times.len())
            }
            Self::Call { function, arguments } => {
                let arguments =
                    arguments.iter().map(|argument| argument.evaluate(times, columns, division)).collect();
                math::call(*function, arguments, times.len())
            }
        }
    }

    fn may_pass(&self, bounds: &impl Fn(usize) -> Option<(f64, f64)>) -> bool {
        let Self::Binary { op, left, right } = self else { return true };
        match op {
            BinaryOp::And => return left.may_pass(bounds) && right.may_pass(bounds),
            BinaryOp::Or => return left.may_pass(bounds) || right.may_pass(bounds),
            _ => {}
        }
        let (field, literal, op) = match (left.as_ref(), right.as_ref()) {
            (Self::Field(field), Self::Constant(Some(literal))) => (*field, literal, *op),
            (Self::Constant(Some(literal)), Self::Field(field)) => (*field, literal, mirrored(*op)),
            _ => return true,
        };
        let Some((least, greatest)) = bounds(field) else { return true };
        let literal = match literal {
            Value::Float(value) => *value,
            // Beyond 2^53 a float is not exact, and nothing is certain.
            Value::Integer(value) if value.unsigned_abs() < 1 << 53 => *value as f64,
            Value::Unsigned(value) if *value < 1 << 53 => *value as f64,
            _ => return true,
        };
        match op {
            BinaryOp::Equal => least <= literal && literal <= greatest,
            BinaryOp::Less => least < literal,
            BinaryOp::LessEqual => least <= literal,
            BinaryOp::Greater => greatest > literal,
            BinaryOp::GreaterEqual => greatest >= literal,
            _ => true,
        }
    }
}

/// `AND` and `OR` with a constant side.
fn simplified(op: BinaryOp, left: &Node, right: &Node) -> Option<Node> {
    if !is_logical(op) {
        return None;
    }
    let (constant, other) = match (left, right) {
        (Node::Constant(constant), other) | (other, Node::Constant(constant)) => (constant, other),
        _ => return None,
    };
    let holds = matches!(constant, Some(Value::Boolean(true)));
    match (op, holds) {
        (BinaryOp::And, false) => Some(Node::Constant(Some(Value::Boolean(false)))),
        (BinaryOp::Or, true) => Some(Node::Constant(Some(Value::Boolean(true)))),
        _ if other.is_truth() => Some(other.clone()),
        _ => None,
    }
}

fn is_logical(op: BinaryOp) -> bool {
    matches!(op, BinaryOp::And | BinaryOp::Or)
}

fn is_comparison(op: BinaryOp) -> bool {
    use BinaryOp::*;
    matches!(op, Equal | NotEqual | Less | LessEqual | Greater | GreaterEqual)
}

fn mirrored(op: BinaryOp) -> BinaryOp {
    match op {
        BinaryOp::Less => BinaryOp::Greater,
        BinaryOp::LessEqual => BinaryOp::GreaterEqual,
        BinaryOp::Greater => BinaryOp::Less,
        BinaryOp::GreaterEqual => BinaryOp::LessEqual,
        other => other,
    }
}

fn compile_pattern(pattern: &str) -> Result<regex::bytes::Regex> {
    regex::bytes::RegexBuilder::new(pattern)
        .size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|error| Error::Invalid(format!("regular expression {pattern}: {error}")))
}

fn type_of(node: &Node, types: &[Option<FieldType>], division: Division) -> Option<FieldType> {
    match node {
        Node::Field(at) => types.get(*at).copied().flatten(),
        Node::Tag(_) => Some(FieldType::String),
        Node::Time => Some(FieldType::Integer),
        Node::Constant(value) => value.as_ref().map(Value::field_type),
        Node::Matches { .. } => Some(FieldType::Boolean),
        Node::Binary { op, .. } if is_logical(*op) || is_comparison(*op) => Some(FieldType::Boolean),
        Node::Binary { op, left, right } => {
            let left = type_of(left, types, division)?;
            let right = type_of(right, types, division)?;
            operate::type_of_arithmetic(*op, left, right, division)
        }
        Node::Call { function, arguments } => {
            let types: Option<Vec<FieldType>> =
                arguments.iter().map(|argument| type_of(argument, types, division)).collect();
            function.type_of(&types?)
        }
    }
}

#[cfg(test)]
mod tests;
