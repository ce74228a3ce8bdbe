//! Types of expressions: what a column will hold, and which operands do not go together.

use crate::influxql::ast::{Binary, BinaryOp, Call, DataType, Expr};
use tidemark_engine::model::FieldType;

use super::error::{QueryError, Result};

/// The type of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    Unknown,
    Float,
    Integer,
    Unsigned,
    String,
    Boolean,
    Tag,
}

impl Type {
    /// Which of two types a column of both has: float over integer over unsigned over string over boolean over tag.
    pub fn stronger(self, other: Self) -> Self {
        if self.rank() >= other.rank() { self } else { other }
    }

    fn rank(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Tag => 1,
            Self::Boolean => 2,
            Self::String => 3,
            Self::Unsigned => 4,
            Self::Integer => 5,
            Self::Float => 6,
        }
    }

    /// As error texts say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Float => "float",
            Self::Integer => "integer",
            Self::Unsigned => "unsigned",
            Self::String => "string",
            Self::Boolean => "boolean",
            Self::Tag => "tag",
        }
    }

    /// The column type that carries it; tags are strings.
    pub fn field_type(self) -> Option<FieldType> {
        Some(match self {
            Self::Unknown => return None,
            Self::Float => FieldType::Float,
            Self::Integer => FieldType::Integer,
            Self::Unsigned => FieldType::Unsigned,
            Self::String | Self::Tag => FieldType::String,
            Self::Boolean => FieldType::Boolean,
        })
    }

    pub fn is_number(self) -> bool {
        matches!(self, Self::Float | Self::Integer | Self::Unsigned)
    }
}

impl From<FieldType> for Type {
    fn from(field_type: FieldType) -> Self {
        match field_type {
            FieldType::Float => Self::Float,
            FieldType::Integer => Self::Integer,
            FieldType::Unsigned => Self::Unsigned,
            FieldType::Boolean => Self::Boolean,
            FieldType::String => Self::String,
        }
    }
}

impl From<DataType> for Type {
    fn from(data_type: DataType) -> Self {
        match data_type {
            DataType::Float => Self::Float,
            DataType::Integer => Self::Integer,
            DataType::Unsigned => Self::Unsigned,
            DataType::String => Self::String,
            DataType::Boolean => Self::Boolean,
            DataType::Tag => Self::Tag,
            DataType::AnyField => Self::Unknown,
        }
    }
}

/// The written form of a type, for references that carry it.
pub fn data_type(of: Type) -> Option<DataType> {
    Some(match of {
        Type::Unknown => return None,
        Type::Float => DataType::Float,
        Type::Integer => DataType::Integer,
        Type::Unsigned => DataType::Unsigned,
        Type::String => DataType::String,
        Type::Boolean => DataType::Boolean,
        Type::Tag => DataType::Tag,
    })
}

/// Functions that work row by row, anywhere in an expression.
pub fn is_math_function(name: &str) -> bool {
    matches!(
        name,
        "abs"
            | "sin"
            | "cos"
            | "tan"
            | "asin"
            | "acos"
            | "atan"
            | "atan2"
            | "exp"
            | "log"
            | "ln"
            | "log2"
            | "log10"
            | "sqrt"
            | "pow"
            | "floor"
            | "ceil"
            | "round"
    )
}

/// How many arguments a math function takes.
pub fn math_argument_count(name: &str) -> usize {
    if matches!(name, "atan2" | "pow" | "log") { 2 } else { 1 }
}

/// Calls that choose points rather than fold them.
pub fn is_selector(name: &str) -> bool {
    matches!(name, "first" | "last" | "min" | "max" | "percentile" | "sample" | "top" | "bottom")
}

/// The type of an expression; `resolve` gives that of a reference. Fails where operands do not go together.
pub fn type_of(expr: &Expr, resolve: &dyn Fn(&crate::influxql::ast::VarRef) -> Type) -> Result<Type> {
    Ok(match expr {
        Expr::VarRef(var) => resolve(var),
        Expr::Call(call) => return call_type(call, resolve),
        Expr::Binary(binary) => return binary_type(binary, resolve),
        Expr::Paren(inner) => return type_of(inner, resolve),
        Expr::Number(_) => Type::Float,
        Expr::Integer(_) => Type::Integer,
        Expr::Unsigned(_) => Type::Unsigned,
        Expr::String(_) => Type::String,
        Expr::Boolean(_) => Type::Boolean,
        Expr::Distinct(name) => resolve(&crate::influxql::ast::VarRef::new(name.as_str())),
        _ => Type::Unknown,
    })
}

fn call_type(call: &Call, resolve: &dyn Fn(&crate::influxql::ast::VarRef) -> Type) -> Result<Type> {
    let mut types = Vec::with_capacity(call.args.len());
    for argument in &call.args {
        types.push(type_of(argument, resolve)?);
    }
    let first = types.first().copied().unwrap_or(Type::Unknown);
    if is_math_function(&call.name) {
        return math_type(&call.name, &types);
    }
    Ok(match call.name.as_str() {
        "mean"
        | "median"
        | "integral"
        | "stddev"
        | "derivative"
        | "non_negative_derivative"
        | "moving_average"
        | "exponential_moving_average"
        | "double_exponential_moving_average"
        | "triple_exponential_moving_average"
        | "relative_strength_index"
        | "triple_exponential_derivative"
        | "kaufmans_efficiency_ratio"
        | "kaufmans_adaptive_moving_average"
        | "chande_momentum_oscillator"
        | "holt_winters"
        | "holt_winters_with_fit" => Type::Float,
        "count" | "elapsed" => Type::Integer,
        _ => first,
    })
}

fn math_type(name: &str, types: &[Type]) -> Result<Type> {
    const ORDINALS: [&str; 2] = ["first", "second"];
    let wrong = |at: usize| {
        QueryError::statement(format!(
            "invalid argument type for the {} argument in {name}(): {}",
            ORDINALS[at.min(1)],
            types[at].name()
        ))
    };
    for (at, &argument) in types.iter().enumerate() {
        let good = match name {
            "asin" | "acos" => matches!(argument, Type::Float | Type::Unknown),
            _ => argument.is_number() || argument == Type::Unknown,
        };
        if !good {
            return Err(wrong(at));
        }
    }
    Ok(match name {
        "abs" | "floor" | "ceil" | "round" => types.first().copied().unwrap_or(Type::Unknown),
        "pow" => types.iter().copied().fold(Type::Unknown, Type::stronger),
        _ => Type::Float,
    })
}

fn is_number_literal(expr: &Expr) -> bool {
    matches!(expr.unparenthesized(), Expr::Integer(_) | Expr::Unsigned(_))
}

fn binary_type(binary: &Binary, resolve: &dyn Fn(&crate::influxql::ast::VarRef) -> Type) -> Result<Type> {
    let left = type_of(&binary.left, resolve)?;
    let right = type_of(&binary.right, resolve)?;
    let op = binary.op;
    let mixed = matches!((left, right), (Type::Integer, Type::Unsigned) | (Type::Unsigned, Type::Integer));
    if mixed && !op.is_comparison() {
        // A literal takes the type of the other side, unless it cannot be represented there.
        let literal_left = is_number_literal(&binary.left);
        let literal_right = is_number_literal(&binary.right);
        if literal_left || literal_right {
            let literal = if literal_left { left } else { right };
            if literal == Type::Unsigned {
                let text = format!("cannot use {} with an integer and unsigned literal", op.symbol());
                return Err(type_error(binary, resolve, &text));
            }
            return Ok(Type::Unsigned);
        }
        let text = format!(
            "cannot use {} between an integer and unsigned, an explicit cast is required",
            op.symbol()
        );
        return Err(type_error(binary, resolve, &text));
    }
    if left == Type::Unknown {
        return Ok(right);
    }
    if right == Type::Unknown {
        return Ok(left);
    }
    let result = match op {
        BinaryOp::And | BinaryOp::Or => {
            (left == Type::Boolean && right == Type::Boolean).then_some(Type::Boolean)
        }
        _ if op.is_comparison() => Some(Type::Boolean),
        BinaryOp::BitAnd | BinaryOp::BitOr | BinaryOp::BitXor => match (left, right) {
            (Type::Integer, Type::Integer) => Some(Type::Integer),
            (Type::Unsigned, Type::Unsigned) => Some(Type::Unsigned),
            (Type::Boolean, Type::Boolean) => Some(Type::Boolean),
            _ => None,
        },
        BinaryOp::Divide => match (left, right) {
            // Although the select list divides integers to a float: a query around reads it as an integer.
            (Type::Integer, Type::Integer) => Some(Type::Integer),
            (Type::Unsigned, Type::Unsigned) => Some(Type::Unsigned),
            _ => (left.is_number() && right.is_number()).then_some(Type::Float),
        },
        _ => (left.is_number() && right.is_number()).then(|| left.stronger(right)),
    };
    result.ok_or_else(|| {
        type_error(binary, resolve, &format!("incompatible types: {} and {}", left.name(), right.name()))
    })
}

/// What is wrong with an expression's types, with the expression and the types of its references.
fn type_error(
    binary: &Binary,
    resolve: &dyn Fn(&crate::influxql::ast::VarRef) -> Type,
    text: &str,
) -> QueryError {
    let mut shown = Expr::binary(binary.op, binary.left.clone(), binary.right.clone());
    shown.walk_mut(&mut |expr| {
        if let Expr::VarRef(var) = expr
            && let Some(known) = data_type(resolve(var))
        {
            var.data_type = Some(known);
        }
    });
    QueryError::statement(format!("type error: {shown}: {text}"))
}
