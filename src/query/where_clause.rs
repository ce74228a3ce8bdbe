//! A WHERE clause for one measurement: a choice of series, by their tags, and a choice of rows.

use std::borrow::Cow;

use tidemark_engine::scan::request::{Expr as ScanExpr, TagFilter};

use crate::influxql::ast::{BinaryOp, DataType, Expr, VarRef};

use super::error::Result;
use super::eval::scan_expr;
use super::rewrite::{MeasurementAt, ResolvedSource, type_in};
use super::types::{Type, data_type};

/// A condition whose names that are fields in any of the sources are so in all.
pub fn typed<'a>(condition: &'a Expr, sources: &[ResolvedSource]) -> Cow<'a, Expr> {
    let kind_of = |var: &VarRef| {
        let kind = type_in(sources, var);
        (var.data_type.is_none() && !var.is_time() && kind != Type::Tag).then(|| data_type(kind))?
    };
    let mut is_typed = true;
    condition.walk(&mut |expr| is_typed &= !matches!(expr, Expr::VarRef(var) if kind_of(var).is_some()));
    if is_typed {
        return Cow::Borrowed(condition);
    }
    let mut typed = condition.clone();
    typed.walk_mut(&mut |expr| {
        if let Expr::VarRef(var) = expr
            && let Some(kind) = kind_of(var)
        {
            var.data_type = Some(kind);
        }
    });
    Cow::Owned(typed)
}

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
            op @ (BinaryOp::And | BinaryOp::Or) => {
                let operands = condition.unparenthesized().operands(op).into_iter();
                let filters: Option<Vec<_>> = operands.map(|operand| tag_filter(operand, at)).collect();
                filters.map(if op == BinaryOp::And { TagFilter::all } else { TagFilter::any })
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

#[cfg(test)]
mod tests {
    use tidemark_engine::model::FieldType;
    use tidemark_engine::scan::request::MeasurementSchema;

    use super::*;
    use crate::influxql::parse_expr;
    use crate::query::source::Place;

    fn measurement() -> MeasurementAt {
        let schema = MeasurementSchema {
            measurement: b"m".to_vec(),
            fields: vec![(b"v".to_vec(), FieldType::Integer)],
            tag_keys: vec![b"a".to_vec(), b"b".to_vec()],
        };
        let place = Place { database: "db".to_owned(), retention_policy: "autogen".to_owned() };
        MeasurementAt { place, schema, fields_elsewhere: Vec::new() }
    }

    #[test]
    fn a_condition_on_tags_alone_is_not_copied_and_names_of_fields_get_their_type() {
        let at = measurement();
        let sources = [ResolvedSource::Measurement(at)];
        let condition = parse_expr("a = 'x' OR b = 'y' OR v::float > 1").expect("parses");
        assert!(matches!(typed(&condition, &sources), Cow::Borrowed(_)));
        let condition = parse_expr("a = 'x' OR v > 1").expect("parses");
        let expected = parse_expr("a = 'x' OR v::integer > 1").expect("parses");
        assert_eq!(typed(&condition, &sources).into_owned(), expected);
    }

    #[test]
    fn chains_of_one_operator_are_one_list() {
        let equal = |name: &str, value: &str| TagFilter::Equal {
            name: name.as_bytes().to_vec(),
            value: value.as_bytes().to_vec(),
        };
        let or = |values: &[&str]| TagFilter::Or(values.iter().map(|value| equal("a", value)).collect());
        let filter = |text: &str| tag_filter(&parse_expr(text).expect("parses"), &measurement());
        assert_eq!(
            filter("a = '1' OR a = '2' OR a = '3' OR (a = '4' OR a = '5')"),
            Some(or(&["1", "2", "3", "4", "5"]))
        );
        let both = TagFilter::And(vec![equal("b", "0"), or(&["1", "2"])]);
        assert_eq!(filter("b = '0' AND (a = '1' OR a = '2')"), Some(both));
        assert_eq!(filter("a = '1' OR v = 2"), None);
    }
}
