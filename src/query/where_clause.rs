//! A WHERE clause for one measurement: a choice of series, by their tags, and a choice of rows.

use tidemark_engine::scan::request::{Expr as ScanExpr, TagFilter};

use crate::influxql::ast::{BinaryOp, DataType, Expr, VarRef};

use super::error::Result;
use super::eval::scan_expr;
use super::rewrite::MeasurementAt;

/// A condition as a choice of series and a choice of rows.
pub fn split_condition(
    condition: &Expr,
    at: &MeasurementAt,
) -> Result<(Option<TagFilter>, Option<ScanExpr>)> {
    let mut conjuncts = Vec::new();
    gather(condition, &mut conjuncts);
    let mut series = Vec::new();
    let mut rows: Option<ScanExpr> = None;
    for conjunct in conjuncts {
        if let Some(filter) = tag_filter(conjunct, at) {
            series.push(filter);
            continue;
        }
        let expr = row_expr(conjunct, at)?;
        rows = Some(match rows {
            None => expr,
            Some(before) => ScanExpr::Binary {
                op: tidemark_engine::scan::request::BinaryOp::And,
                left: Box::new(before),
                right: Box::new(expr),
            },
        });
    }
    let series = match series.len() {
        0 => None,
        1 => series.pop(),
        _ => Some(TagFilter::And(series)),
    };
    Ok((series, rows))
}

fn gather<'a>(condition: &'a Expr, out: &mut Vec<&'a Expr>) {
    match condition.unparenthesized() {
        Expr::Binary(binary) if binary.op == BinaryOp::And => {
            gather(&binary.left, out);
            gather(&binary.right, out);
        }
        other => out.push(other),
    }
}

/// Whether a name means a tag here: one that is no field.
fn is_tag(var: &VarRef, at: &MeasurementAt) -> bool {
    match var.data_type {
        Some(DataType::Tag) => true,
        None => {
            let is_field =
                at.schema.fields.binary_search_by(|(name, _)| name.as_slice().cmp(var.name.as_bytes()));
            is_field.is_err() && !at.fields_elsewhere.contains(&var.name)
        }
        Some(_) => false,
    }
}

fn row_expr(condition: &Expr, at: &MeasurementAt) -> Result<ScanExpr> {
    scan_expr(condition, &|expr| match expr {
        Expr::VarRef(var) if var.is_time() => Some(ScanExpr::Time),
        Expr::VarRef(var) if is_tag(var, at) => Some(ScanExpr::Tag(var.name.clone().into_bytes())),
        Expr::VarRef(var) => Some(ScanExpr::Field(var.name.clone().into_bytes())),
        _ => None,
    })
}

/// A condition on tags alone, if it is one.
pub fn tag_filter(condition: &Expr, at: &MeasurementAt) -> Option<TagFilter> {
    match condition.unparenthesized() {
        Expr::Boolean(constant) => Some(TagFilter::Constant(*constant)),
        Expr::Binary(binary) => match binary.op {
            BinaryOp::And => {
                Some(TagFilter::all([tag_filter(&binary.left, at)?, tag_filter(&binary.right, at)?]))
            }
            BinaryOp::Or => {
                Some(TagFilter::any([tag_filter(&binary.left, at)?, tag_filter(&binary.right, at)?]))
            }
            op => {
                let (var, value) = match (binary.left.unparenthesized(), binary.right.unparenthesized()) {
                    (Expr::VarRef(var), value) | (value, Expr::VarRef(var)) => (var, value),
                    _ => return None,
                };
                if !is_tag(var, at) || var.is_time() {
                    return None;
                }
                let name = var.name.clone().into_bytes();
                match (op, value) {
                    (BinaryOp::Equal, Expr::String(value)) => {
                        Some(TagFilter::Equal { name, value: value.clone().into_bytes() })
                    }
                    (BinaryOp::NotEqual, Expr::String(value)) => {
                        Some(TagFilter::NotEqual { name, value: value.clone().into_bytes() })
                    }
                    (BinaryOp::Matches, Expr::Regex(regex)) => {
                        Some(TagFilter::Matches { name, pattern: regex.pattern.clone() })
                    }
                    (BinaryOp::NotMatches, Expr::Regex(regex)) => {
                        Some(TagFilter::NotMatches { name, pattern: regex.pattern.clone() })
                    }
                    _ => None,
                }
            }
        },
        _ => None,
    }
}
