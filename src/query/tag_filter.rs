//! Conditions about series alone, as SHOW and DELETE have them: a WHERE clause without its time range to a filter of
//! tags.

use tidemark_engine::scan::request::TagFilter;

use crate::influxql::ast::{Binary, BinaryOp, Expr};

use super::error::{QueryError, Result};

/// `is_field` says which names are fields: a comparison of a field tells nothing about a series and holds for all, as
/// does one with anything but a text or a regex.
pub fn tag_filter(condition: &Expr, is_field: &dyn Fn(&str) -> bool) -> Result<TagFilter> {
    match condition {
        Expr::Paren(inner) => tag_filter(inner, is_field),
        Expr::Boolean(boolean) => Ok(TagFilter::Constant(*boolean)),
        Expr::Binary(binary) => match binary.op {
            BinaryOp::And | BinaryOp::Or => {
                let both = [tag_filter(&binary.left, is_field)?, tag_filter(&binary.right, is_field)?];
                Ok(if binary.op == BinaryOp::And { TagFilter::all(both) } else { TagFilter::any(both) })
            }
            _ => comparison(binary, is_field),
        },
        other => Err(QueryError::statement(format!("invalid condition expression: {other}"))),
    }
}

fn comparison(binary: &Binary, is_field: &dyn Fn(&str) -> bool) -> Result<TagFilter> {
    refuse_calls(&binary.left)?;
    refuse_calls(&binary.right)?;
    let (var, value) = match (binary.left.unparenthesized(), binary.right.unparenthesized()) {
        (Expr::VarRef(_), Expr::VarRef(_)) => {
            let Binary { op, left, right } = binary;
            let text = format!("tags cannot be compared with each other: {left} {} {right}", op.symbol());
            return Err(QueryError::statement(text));
        }
        (Expr::VarRef(var), value) | (value, Expr::VarRef(var)) => (var, value),
        _ => return Err(QueryError::statement("invalid tag comparison operator")),
    };
    let negated = match binary.op {
        BinaryOp::Equal | BinaryOp::Matches => false,
        BinaryOp::NotEqual | BinaryOp::NotMatches => true,
        _ => return Err(QueryError::statement("invalid tag comparison operator")),
    };
    if is_field(&var.name) {
        return Ok(TagFilter::Constant(true));
    }
    let name = var.name.as_bytes().to_vec();
    Ok(match value {
        Expr::String(value) if negated => TagFilter::NotEqual { name, value: value.as_bytes().to_vec() },
        Expr::String(value) => TagFilter::Equal { name, value: value.as_bytes().to_vec() },
        Expr::Regex(regex) if negated => TagFilter::NotMatches { name, pattern: regex.translated() },
        Expr::Regex(regex) => TagFilter::Matches { name, pattern: regex.translated() },
        _ => TagFilter::Constant(true),
    })
}

fn refuse_calls(expr: &Expr) -> Result<()> {
    let mut call = None;
    expr.walk(&mut |expr| {
        if let Expr::Call(found) = expr {
            call.get_or_insert(found);
        }
    });
    match call {
        Some(call) => Err(QueryError::statement(format!("invalid function call in condition: {call}"))),
        None => Ok(()),
    }
}

/// The names a condition compares.
pub fn names(condition: &Expr) -> Vec<&str> {
    let mut names = Vec::new();
    condition.walk(&mut |expr| {
        if let Expr::VarRef(var) = expr {
            names.push(var.name.as_str());
        }
    });
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::influxql::parse_expr;

    fn filter(text: &str) -> Result<TagFilter, String> {
        let expr = parse_expr(text).expect("parses");
        tag_filter(&expr, &|name| name == "kind").map_err(|error| error.to_string())
    }

    #[test]
    fn comparisons_of_tags_become_filters() {
        let equal = |name: &str, value: &str| TagFilter::Equal { name: name.into(), value: value.into() };
        assert_eq!(filter("a = 'x'"), Ok(equal("a", "x")));
        assert_eq!(filter("'x' = a"), Ok(equal("a", "x")));
        assert_eq!(
            filter("a = 'x' AND (b = '' OR true)"),
            Ok(TagFilter::And(vec![
                equal("a", "x"),
                TagFilter::Or(vec![equal("b", ""), TagFilter::Constant(true)])
            ]))
        );
        assert_eq!(
            filter("a !~ /x\\d/"),
            Ok(TagFilter::NotMatches { name: "a".into(), pattern: "x[0-9]".into() })
        );
        assert_eq!(filter("kind = 'x'"), Ok(TagFilter::Constant(true)));
        assert_eq!(filter("a = 5"), Ok(TagFilter::Constant(true)));
    }

    #[test]
    fn what_cannot_be_asked_of_tags_is_refused() {
        for (text, want) in [
            ("a > 'x'", "invalid tag comparison operator"),
            ("kind > 5", "invalid tag comparison operator"),
            ("f(a) = 'x'", "invalid function call in condition: f(a)"),
            ("a", "invalid condition expression: a"),
        ] {
            assert_eq!(filter(text), Err(want.to_string()), "{text}");
        }
    }
}
