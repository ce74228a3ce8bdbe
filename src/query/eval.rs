//! Expressions of the select list and conditions over rows the query layer holds, on the engine's column evaluator.

use tidemark_engine::model::{Column, ColumnData, Value};
use tidemark_engine::scan::filter::{Division, Program, SeriesProgram};
use tidemark_engine::scan::request::{BinaryOp as ScanOp, Expr as ScanExpr};

use crate::influxql::ast::{BinaryOp, Expr, VarRef};

use super::error::{QueryError, Result};

/// An expression over the columns of a [`super::rows::RowBatch`], compiled once.
#[derive(Debug, Clone)]
pub struct ColumnExpr {
    program: SeriesProgram,
    /// Positions of the columns it reads, as the program numbers them.
    columns: Vec<usize>,
}

impl ColumnExpr {
    /// `column_of` gives the position of a reference's or call's column; `None`: absent in every row.
    pub fn compile(
        expr: &Expr,
        division: Division,
        column_of: &dyn Fn(&Expr) -> Option<Option<usize>>,
    ) -> Result<Self> {
        let expr = scan_expr(expr, &|leaf| {
            column_of(leaf).map(|at| match at {
                Some(at) => ScanExpr::Field(at.to_string().into_bytes()),
                // A field nobody has is absent in every row.
                None => ScanExpr::Field(b"-".to_vec()),
            })
        })?;
        let program = Program::compile(&expr, division)?;
        let columns = program
            .fields()
            .iter()
            .map(|name| {
                std::str::from_utf8(name).ok().and_then(|name| name.parse().ok()).unwrap_or(usize::MAX)
            })
            .collect();
        Ok(Self { program: program.for_series(&|_| None), columns })
    }

    /// The value per row.
    pub fn evaluate(&self, times: &[i64], columns: &[Column]) -> Column {
        let inputs: Vec<Option<&Column>> = self.columns.iter().map(|at| columns.get(*at)).collect();
        self.program.evaluate(times, &inputs)
    }

    /// Which rows pass.
    pub fn select(&self, times: &[i64], columns: &[Column]) -> tidemark_engine::model::Bitmap {
        let inputs: Vec<Option<&Column>> = self.columns.iter().map(|at| columns.get(*at)).collect();
        self.program.select(times, &inputs)
    }
}

/// The engine's form of an expression. `leaf` translates references, and calls that are not math functions.
pub fn scan_expr(expr: &Expr, leaf: &dyn Fn(&Expr) -> Option<ScanExpr>) -> Result<ScanExpr> {
    if let Some(found) = leaf(expr) {
        return Ok(found);
    }
    let unsupported =
        || QueryError::statement(format!("unsupported expression: {}", super::columns::text(expr)));
    Ok(match expr {
        Expr::Paren(inner) => scan_expr(inner, leaf)?,
        Expr::Binary(binary) => {
            let left = scan_expr(&binary.left, leaf)?;
            if let (BinaryOp::Matches | BinaryOp::NotMatches, Expr::Regex(regex)) = (binary.op, &binary.right)
            {
                return Ok(ScanExpr::Matches {
                    left: Box::new(left),
                    pattern: regex.pattern.clone(),
                    negated: binary.op == BinaryOp::NotMatches,
                });
            }
            let op = scan_op(binary.op).ok_or_else(unsupported)?;
            let right = scan_expr(&binary.right, leaf)?;
            ScanExpr::Binary { op, left: Box::new(left), right: Box::new(right) }
        }
        Expr::Call(call) => {
            let mut arguments = Vec::with_capacity(call.args.len());
            for argument in &call.args {
                arguments.push(scan_expr(argument, leaf)?);
            }
            ScanExpr::Call { name: call.name.clone(), arguments }
        }
        Expr::VarRef(VarRef { name, .. }) if name.eq_ignore_ascii_case("time") => ScanExpr::Time,
        Expr::Number(number) => ScanExpr::Literal(Value::Float(*number)),
        Expr::Integer(integer) | Expr::Duration(integer) | Expr::Time(integer) => {
            ScanExpr::Literal(Value::Integer(*integer))
        }
        Expr::Unsigned(unsigned) => ScanExpr::Literal(Value::Unsigned(*unsigned)),
        Expr::String(text) => ScanExpr::Literal(Value::String(text.clone().into_bytes())),
        Expr::Boolean(boolean) => ScanExpr::Literal(Value::Boolean(*boolean)),
        _ => return Err(unsupported()),
    })
}

fn scan_op(op: BinaryOp) -> Option<ScanOp> {
    Some(match op {
        BinaryOp::Or => ScanOp::Or,
        BinaryOp::And => ScanOp::And,
        BinaryOp::Equal => ScanOp::Equal,
        BinaryOp::NotEqual => ScanOp::NotEqual,
        BinaryOp::Less => ScanOp::Less,
        BinaryOp::LessEqual => ScanOp::LessEqual,
        BinaryOp::Greater => ScanOp::Greater,
        BinaryOp::GreaterEqual => ScanOp::GreaterEqual,
        BinaryOp::Add => ScanOp::Add,
        BinaryOp::Subtract => ScanOp::Subtract,
        BinaryOp::Multiply => ScanOp::Multiply,
        BinaryOp::Divide => ScanOp::Divide,
        BinaryOp::Modulo => ScanOp::Modulo,
        BinaryOp::BitAnd => ScanOp::BitAnd,
        BinaryOp::BitOr => ScanOp::BitOr,
        BinaryOp::BitXor => ScanOp::BitXor,
        BinaryOp::Matches | BinaryOp::NotMatches => return None,
    })
}

/// The value of an expression of literals, where it has one.
pub fn constant(expr: &Expr) -> Option<Expr> {
    let compiled = ColumnExpr::compile(expr, Division::Float, &|_| None).ok()?;
    let column = compiled.evaluate(&[0], &[]);
    if !column.is_present(0) {
        return None;
    }
    Some(match &column.data {
        ColumnData::Float(values) => Expr::Number(*values.first()?),
        ColumnData::Integer(values) => Expr::Integer(*values.first()?),
        ColumnData::Unsigned(values) => Expr::Unsigned(*values.first()?),
        ColumnData::Boolean(values) => Expr::Boolean(*values.first()?),
        ColumnData::String(_) => return None,
    })
}
