//! The math functions of InfluxQL over columns.
//!
//! `abs`, `floor`, `ceil` and `round` keep their argument's type; all others give floats. Arguments that are no numbers
//! make the result absent.

use std::borrow::Cow;

use super::operate::{Operand, both, map2};
use crate::model::{FieldType, Value};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Abs,
    Floor,
    Ceil,
    Round,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Exp,
    Ln,
    Log2,
    Log10,
    Sqrt,
    Atan2,
    Pow,
    Log,
}

impl Function {
    pub fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "abs" => Self::Abs,
            "floor" => Self::Floor,
            "ceil" => Self::Ceil,
            "round" => Self::Round,
            "sin" => Self::Sin,
            "cos" => Self::Cos,
            "tan" => Self::Tan,
            "asin" => Self::Asin,
            "acos" => Self::Acos,
            "atan" => Self::Atan,
            "exp" => Self::Exp,
            "ln" => Self::Ln,
            "log2" => Self::Log2,
            "log10" => Self::Log10,
            "sqrt" => Self::Sqrt,
            "atan2" => Self::Atan2,
            "pow" => Self::Pow,
            "log" => Self::Log,
            _ => return None,
        })
    }

    pub fn arguments(self) -> usize {
        match self {
            Self::Atan2 | Self::Pow | Self::Log => 2,
            _ => 1,
        }
    }

    fn keeps_type(self) -> bool {
        matches!(self, Self::Abs | Self::Floor | Self::Ceil | Self::Round)
    }

    pub fn type_of(self, arguments: &[FieldType]) -> Option<FieldType> {
        use FieldType::*;
        if arguments.iter().any(|argument| matches!(argument, Boolean | String)) {
            return None;
        }
        Some(if self.keeps_type() { *arguments.first()? } else { Float })
    }
}

pub(super) fn call(function: Function, arguments: Vec<Operand<'_>>, rows: usize) -> Operand<'_> {
    let mut arguments = arguments.into_iter();
    let Some(first) = arguments.next() else { return Operand::Absent };
    match arguments.next() {
        None => of_one(function, first, rows),
        Some(second) => of_two(function, &first, &second, rows).unwrap_or(Operand::Absent),
    }
}

fn of_one(function: Function, argument: Operand<'_>, rows: usize) -> Operand<'_> {
    // Whole numbers are their own floor; only their sign can change.
    if function.keeps_type() {
        match argument {
            Operand::Integer(values, present) if function == Function::Abs => {
                let values = values.iter().map(|value| value.wrapping_abs()).collect();
                return Operand::Integer(Cow::Owned(values), present);
            }
            Operand::Constant(value) if matches!(*value, Value::Integer(_)) => {
                return Operand::Constant(match (&*value, function) {
                    (Value::Integer(number), Function::Abs) => {
                        Cow::Owned(Value::Integer(number.wrapping_abs()))
                    }
                    _ => value,
                });
            }
            Operand::Constant(value) if matches!(*value, Value::Unsigned(_)) => {
                return Operand::Constant(value);
            }
            Operand::Integer(..) | Operand::Unsigned(..) => return argument,
            _ => {}
        }
    }
    let Some(numbers) = argument.floats() else { return Operand::Absent };
    let each: fn(f64) -> f64 = match function {
        Function::Abs => f64::abs,
        Function::Floor => f64::floor,
        Function::Ceil => f64::ceil,
        Function::Round => f64::round,
        Function::Sin => f64::sin,
        Function::Cos => f64::cos,
        Function::Tan => f64::tan,
        Function::Asin => f64::asin,
        Function::Acos => f64::acos,
        Function::Atan => f64::atan,
        Function::Exp => f64::exp,
        Function::Ln => f64::ln,
        Function::Log2 => f64::log2,
        Function::Log10 => f64::log10,
        Function::Sqrt => f64::sqrt,
        Function::Atan2 | Function::Pow | Function::Log => return Operand::Absent,
    };
    let values = map2(&numbers, &super::operate::Side::One(()), rows, |number, ()| each(number));
    let present = both(&argument, &Operand::Absent);
    Operand::Float(Cow::Owned(values), present)
}

fn of_two<'a>(
    function: Function,
    first: &Operand<'_>,
    second: &Operand<'_>,
    rows: usize,
) -> Option<Operand<'a>> {
    let (a, b) = (first.floats()?, second.floats()?);
    let values = match function {
        Function::Atan2 => map2(&a, &b, rows, f64::atan2),
        Function::Pow => map2(&a, &b, rows, f64::powf),
        Function::Log => map2(&a, &b, rows, |number, base| number.ln() / base.ln()),
        _ => return None,
    };
    Some(Operand::Float(Cow::Owned(values), both(first, second)))
}
