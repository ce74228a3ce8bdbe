//! SHOW TAG KEYS and SHOW TAG VALUES.
//!
//! Both are about all retention policies of a database: qualifiers of their sources are read over, and so are SLIMIT and
//! SOFFSET, as InfluxDB does.

use std::collections::{BTreeMap, BTreeSet};

use tidemark_engine::model::{TimeRange, series_key};

use crate::influxql::ast::{BinaryOp, Expr, ShowTagKeys, ShowTagValues, TagKeyMatch};
use crate::query::error::{QueryError, Result};
use crate::query::result::{Cell, Cut, ResultSink};
use crate::query::source::DataSource;

use super::catalog::{self, Condition, Names};
use super::{Page, ROW_NS, Request, database, send};

pub async fn tag_keys(
    statement: &ShowTagKeys,
    request: &Request<'_>,
    source: &impl DataSource,
    sink: &mut impl ResultSink,
) -> Result<()> {
    let database = database(statement.database.as_deref(), request.database)?;
    let places = source.places(database)?;
    let condition = Condition::new(statement.condition.as_ref(), request)?;
    let names = Names::new(&statement.sources)?;
    let mut keys: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for place in places {
        if condition.expr.is_none() {
            for schema in catalog::schema(source, &place, &names, condition.time(), request).await? {
                keys.entry(schema.measurement).or_default().extend(schema.tag_keys);
            }
        } else {
            for key in catalog::series(source, &place, &names, &condition, request).await? {
                let of_measurement = keys.entry(series_key::measurement(&key).into_owned()).or_default();
                of_measurement.extend(series_key::tags(&key).map(|(tag, _)| tag.into_owned()));
                request.pace.spent(ROW_NS).await;
            }
        }
    }
    for (measurement, keys) in keys {
        let rows = keys.into_iter().map(|key| vec![Cell::String(key)]);
        let page = Page { limit: statement.limit, offset: statement.offset };
        send(sink, request.pace, Cut::Series, &measurement, &["tagKey"], rows, page).await?;
    }
    Ok(())
}

pub async fn tag_values(
    statement: &ShowTagValues,
    request: &Request<'_>,
    source: &impl DataSource,
    sink: &mut impl ResultSink,
) -> Result<()> {
    let database = database(statement.database.as_deref(), request.database)?;
    let places = source.places(database)?;
    let mut condition = Condition::new(statement.condition.as_ref(), request)?;
    // `value` is the column of the answer, not a tag.
    let of_value = condition.expr.as_ref().and_then(|expr| part(expr, true));
    condition.expr = condition.expr.as_ref().and_then(|expr| part(expr, false));
    let names = Names::new(&statement.sources)?;
    let mut values: BTreeMap<Vec<u8>, BTreeSet<(Vec<u8>, Vec<u8>)>> = BTreeMap::new();
    for place in places {
        let keys = keys_matching(&statement.keys, source, &place, &names, request).await?;
        if keys.is_empty() {
            continue;
        }
        let found = catalog::tag_values_where(source, &place, &names, &keys, &condition, request).await?;
        for (measurement, key, value) in found {
            if match &of_value {
                Some(expr) => value_holds(expr, &value)?,
                None => true,
            } {
                values.entry(measurement).or_default().insert((key, value));
            }
            request.pace.spent(ROW_NS).await;
        }
    }
    for (measurement, pairs) in values {
        let rows = pairs.into_iter().map(|(key, value)| vec![Cell::String(key), Cell::String(value)]);
        let page = Page { limit: statement.limit, offset: statement.offset };
        send(sink, request.pace, Cut::Series, &measurement, &["key", "value"], rows, page).await?;
    }
    Ok(())
}

/// The tag keys a `WITH KEY` clause asks for, where they have to be looked up.
pub(super) async fn keys_matching(
    wanted: &TagKeyMatch,
    source: &impl DataSource,
    place: &crate::query::Place,
    names: &Names,
    request: &Request<'_>,
) -> Result<Vec<Vec<u8>>> {
    let pattern;
    let matches: &dyn Fn(&[u8]) -> bool = match wanted {
        TagKeyMatch::Equal(key) => return Ok(vec![key.as_bytes().to_vec()]),
        TagKeyMatch::In(keys) => {
            let mut keys: Vec<&String> = keys.iter().collect();
            keys.sort_unstable();
            keys.dedup();
            return Ok(keys.into_iter().map(|key| key.as_bytes().to_vec()).collect());
        }
        TagKeyMatch::NotEqual(key) => &|tag| tag != key.as_bytes(),
        TagKeyMatch::Matches(regex) => {
            pattern = regex.compile().map_err(QueryError::statement)?;
            &|tag| pattern.is_match(tag)
        }
        TagKeyMatch::NotMatches(regex) => {
            pattern = regex.compile().map_err(QueryError::statement)?;
            &|tag| !pattern.is_match(tag)
        }
    };
    let schemas = catalog::schema(source, place, names, TimeRange::ALL, request).await?;
    let keys: BTreeSet<Vec<u8>> = schemas.into_iter().flat_map(|schema| schema.tag_keys).collect();
    Ok(keys.into_iter().filter(|key| matches(key)).collect())
}

/// The comparisons of `value`, or all others; what is left out leaves its sibling alone.
fn part(expr: &Expr, of_value: bool) -> Option<Expr> {
    match expr {
        Expr::Paren(inner) => part(inner, of_value).map(|inner| Expr::Paren(Box::new(inner))),
        Expr::Binary(binary) if matches!(binary.op, BinaryOp::And | BinaryOp::Or) => {
            match (part(&binary.left, of_value), part(&binary.right, of_value)) {
                (Some(left), Some(right)) => Some(Expr::binary(binary.op, left, right)),
                (left, right) => left.or(right),
            }
        }
        Expr::Binary(binary) => {
            let is_value = |side: &Expr| matches!(side, Expr::VarRef(var) if var.name == "value");
            (of_value == (is_value(&binary.left) || is_value(&binary.right))).then(|| expr.clone())
        }
        other => (!of_value).then(|| other.clone()),
    }
}

/// Whether a condition made of comparisons of `value` holds. A comparison with anything but text is false.
fn value_holds(expr: &Expr, value: &[u8]) -> Result<bool> {
    let binary = match expr {
        Expr::Paren(inner) => return value_holds(inner, value),
        Expr::Binary(binary) => binary,
        _ => return Ok(true),
    };
    let other = if matches!(binary.left, Expr::VarRef(_)) { &binary.right } else { &binary.left };
    Ok(match (binary.op, other) {
        (BinaryOp::And, _) => value_holds(&binary.left, value)? && value_holds(&binary.right, value)?,
        (BinaryOp::Or, _) => value_holds(&binary.left, value)? || value_holds(&binary.right, value)?,
        (BinaryOp::Equal, Expr::String(text)) => text.as_bytes() == value,
        (BinaryOp::NotEqual, Expr::String(text)) => text.as_bytes() != value,
        (BinaryOp::Matches, Expr::Regex(regex)) => {
            regex.compile().map_err(QueryError::statement)?.is_match(value)
        }
        (BinaryOp::NotMatches, Expr::Regex(regex)) => {
            !regex.compile().map_err(QueryError::statement)?.is_match(value)
        }
        _ => false,
    })
}
