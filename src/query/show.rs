//! SHOW: what exists, from the cores' catalogues and from meta.
//!
//! Names, columns and errors are InfluxDB 1.8's. SHOW SERIES, FIELD KEYS and the cardinalities are about one retention
//! policy (of the source, or the default one); SHOW MEASUREMENTS, TAG KEYS and TAG VALUES about all of a database.

pub mod cardinality;
pub mod catalog;
pub mod meta;
pub mod tags;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet};

use tidemark_engine::model::{TimeRange, series_key};
use tidemark_engine::pace::Pace;
use tidemark_engine::pace::sorted::{let_go, sorted};

use crate::influxql::ast::{
    BinaryOp, Expr, NameOrAll, ShowFieldKeys, ShowMeasurements, ShowOn, ShowSeries, Source,
};
use crate::meta::{Data, Privilege, UserInfo};

use super::error::{QueryError, Result};
use super::result::{Cell, Cut, ResultSink, Series};
use super::source::DataSource;
use catalog::{Condition, Names};

/// What the request says beside the statement.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// May be empty.
    pub database: &'a str,
    /// That of sources which name none; empty: the database's default.
    pub retention_policy: &'a str,
    /// ns.
    pub now: i64,
    /// Bytes a core may hold for one question.
    pub budget_bytes: u64,
    pub pace: &'a Pace,
}

/// Rows of one piece of an answer, and nanoseconds, about, that one takes until it is encoded.
const PIECE_ROWS: usize = 1_000;
const ROW_NS: u64 = 300;

/// The statement's database, else the request's.
pub fn database<'a>(named: Option<&'a str>, request: &'a str) -> Result<&'a str> {
    match named.unwrap_or(request) {
        "" => Err(QueryError::statement("database name required")),
        name => Ok(name),
    }
}

/// LIMIT, where 0 is none, and OFFSET.
#[derive(Debug, Clone, Copy)]
struct Page {
    limit: u64,
    offset: u64,
}

/// Sends those rows of a series that are on the page, in pieces; a series without any is not sent.
async fn send(
    sink: &mut impl ResultSink,
    pace: &Pace,
    cut: Cut,
    name: &[u8],
    columns: &[&str],
    rows: impl Iterator<Item = Vec<Cell>>,
    page: Page,
) -> Result<()> {
    let (mut rows, mut at) = (rows, 0);
    let end = if page.limit == 0 { u64::MAX } else { page.offset.saturating_add(page.limit) };
    let mut piece = Vec::new();
    while at < end
        && let Some(row) = rows.next()
    {
        if at >= page.offset {
            piece.push(row);
        }
        at += 1;
        pace.spent(ROW_NS).await;
        if piece.len() == PIECE_ROWS {
            let piece = std::mem::take(&mut piece);
            sink.series(Series { cut, ..Series::from_rows(name, columns, piece) }).await?;
        }
    }
    if !piece.is_empty() {
        sink.series(Series { cut, ..Series::from_rows(name, columns, piece) }).await?;
    }
    let_go(rows, pace).await;
    Ok(())
}

/// A series' measurement and tags.
type Parts = (Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>);

fn parts(key: &[u8]) -> Parts {
    let tags = series_key::tags(key).map(|(tag, value)| (tag.into_owned(), value.into_owned()));
    (series_key::measurement(key).into_owned(), tags.collect())
}

pub async fn series(
    statement: &ShowSeries,
    request: &Request<'_>,
    source: &impl DataSource,
    sink: &mut impl ResultSink,
) -> Result<()> {
    let database = database(statement.database.as_deref(), request.database)?;
    let condition = Condition::new(statement.condition.as_ref(), request)?;
    // In order of names and tags as they are, not of the keys they are escaped in, unless a time range makes it a query
    // of what the shards hold.
    let mut keys: Vec<(Parts, Vec<u8>)> = Vec::new();
    for (place, names) in Names::by_place(&statement.sources, database, request, source)? {
        // InfluxDB's index is the database's: it lists all series, as soon as the policy has a shard.
        let places = match condition.time {
            Some(_) => vec![place],
            None if source.group_ranges(&place, TimeRange::ALL).is_empty() => Vec::new(),
            None => source.places(&place.database)?,
        };
        for place in places {
            let found = catalog::series(source, &place, &names, &condition, request).await?;
            let by_key = condition.time.is_some();
            keys.reserve(found.len());
            for key in found {
                keys.push((if by_key { (key.clone(), Vec::new()) } else { parts(&key) }, key));
                request.pace.spent(ROW_NS).await;
            }
        }
    }
    let keys = sorted(keys, request.pace).await;
    let rows = keys.into_iter().map(|(_, key)| vec![Cell::String(key)]);
    let page = Page { limit: statement.limit, offset: statement.offset };
    send(sink, request.pace, Cut::Rows, b"", &["key"], rows, page).await
}

pub async fn field_keys(
    statement: &ShowFieldKeys,
    request: &Request<'_>,
    source: &impl DataSource,
    sink: &mut impl ResultSink,
) -> Result<()> {
    let database = database(statement.database.as_deref(), request.database)?;
    let mut fields: BTreeMap<Vec<u8>, BTreeSet<_>> = BTreeMap::new();
    for (place, names) in Names::by_place(&statement.sources, database, request, source)? {
        for schema in catalog::schema(source, &place, &names, TimeRange::ALL, request).await? {
            fields.entry(schema.measurement).or_default().extend(schema.fields);
        }
    }
    for (measurement, fields) in fields {
        let row = |(name, kind): (Vec<u8>, tidemark_engine::model::FieldType)| {
            vec![Cell::String(name), Cell::text(kind.name())]
        };
        let columns = ["fieldKey", "fieldType"];
        let page = Page { limit: statement.limit, offset: statement.offset };
        let rows = fields.into_iter().map(row);
        send(sink, request.pace, Cut::Rows, &measurement, &columns, rows, page).await?;
    }
    Ok(())
}

/// `meta` and `user` are for `ON *.*`, which lists what the user may read.
pub async fn measurements(
    statement: &ShowMeasurements,
    request: &Request<'_>,
    source: &impl DataSource,
    meta: &Data,
    user: Option<&UserInfo>,
    sink: &mut impl ResultSink,
) -> Result<()> {
    if statement.condition.as_ref().is_some_and(Expr::mentions_time) {
        return Err(QueryError::statement("SHOW MEASUREMENTS doesn't support time in WHERE clause"));
    }
    let (scope, qualified) = scope(statement, request, meta, user)?;
    let sources: Vec<Source> = statement.source.iter().cloned().map(Source::Measurement).collect();
    let names = Names::new(&sources)?;
    let mut rows = BTreeSet::new();
    for (database, retention_policy) in scope {
        let places = match &retention_policy {
            Some(policy) => vec![source.place(&database, policy)?],
            None => source.places(&database)?,
        };
        let holding = match &statement.condition {
            Some(condition) => Some(measurements_where(condition, source, &places, request).await?),
            None => None,
        };
        for place in places {
            let mut found = catalog::measurements(source, &place, &names, request).await?;
            if let Some(holding) = &holding {
                found.retain(|name| holding.contains(name));
            }
            rows.extend(found.into_iter().map(|name| match qualified {
                true => {
                    vec![name, database.clone().into_bytes(), place.retention_policy.clone().into_bytes()]
                }
                false => vec![name],
            }));
        }
    }
    let rows = rows.into_iter().map(|row| row.into_iter().map(Cell::String).collect());
    let page = Page { limit: statement.limit, offset: statement.offset };
    let columns: &[&str] = if qualified { &["name", "database", "retention policy"] } else { &["name"] };
    send(sink, request.pace, Cut::Never, b"measurements", columns, rows, page).await
}

/// Databases and retention policies (`None`: all) to list, and whether rows name them. A database that does not exist
/// has no measurements.
fn scope(
    statement: &ShowMeasurements,
    request: &Request<'_>,
    meta: &Data,
    user: Option<&UserInfo>,
) -> Result<(Vec<(String, Option<String>)>, bool)> {
    let name = match &statement.on {
        Some(ShowOn { database: NameOrAll::All, retention_policy: Some(NameOrAll::All) }) => {
            let readable = |name: &str| user.is_none_or(|user| user.may(Privilege::Read, name));
            let all = meta.databases.iter().filter(|database| readable(&database.name));
            return Ok((all.map(|database| (database.name.clone(), None)).collect(), true));
        }
        Some(ShowOn { database: NameOrAll::All, .. }) => {
            return Err(QueryError::statement(
                "query 'SHOW MEASUREMENTS ON *' not supported. use 'ON *.*' or specify a database",
            ));
        }
        Some(ShowOn { database: NameOrAll::Name(name), .. }) => Some(name.as_str()),
        None => None,
    };
    let name = database(name, request.database)?;
    if meta.database(name).is_none() {
        return Ok((Vec::new(), false));
    }
    Ok(match statement.on.as_ref().and_then(|on| on.retention_policy.as_ref()) {
        Some(NameOrAll::Name(policy)) => (vec![(name.to_owned(), Some(policy.clone()))], true),
        Some(NameOrAll::All) => (vec![(name.to_owned(), None)], true),
        None => (vec![(name.to_owned(), None)], false),
    })
}

/// Measurements for which a condition holds. It is about measurements, not series: `a = 'x'` holds where any series has
/// it, `a != 'x'` where there is the tag and no series has that value, in any of the places.
async fn measurements_where(
    condition: &Expr,
    source: &impl DataSource,
    places: &[super::Place],
    request: &Request<'_>,
) -> Result<BTreeSet<Vec<u8>>> {
    let tags = super::tag_filter::names(condition).into_iter().filter(|name| *name != "_name");
    let tags = tags.map(|name| name.as_bytes().to_vec()).collect::<Vec<_>>();
    let mut values: TagValues = BTreeMap::new();
    let mut names = BTreeSet::new();
    for place in places {
        names.extend(catalog::measurements(source, place, &Names::all(), request).await?);
        if tags.is_empty() {
            continue;
        }
        for (measurement, tag, value) in catalog::tag_values(source, place, tags.clone(), request).await? {
            values.entry(tag).or_default().entry(measurement).or_default().push(value);
            request.pace.spent(ROW_NS).await;
        }
    }
    let names: Vec<Vec<u8>> = names.into_iter().collect();
    holding(condition, &names, &values)
}

/// Values by tag and measurement.
type TagValues = BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Vec<Vec<u8>>>>;

fn holding(condition: &Expr, names: &[Vec<u8>], values: &TagValues) -> Result<BTreeSet<Vec<u8>>> {
    let binary = match condition {
        Expr::Paren(inner) => return holding(inner, names, values),
        Expr::Binary(binary) => binary,
        // InfluxDB prints its syntax tree here.
        Expr::Boolean(value) => {
            return Err(QueryError::statement(format!("&influxql.BooleanLiteral{{Val:{value}}}")));
        }
        other => return Err(QueryError::statement(format!("invalid condition expression: {other}"))),
    };
    let negated = match binary.op {
        BinaryOp::And => {
            let right = holding(&binary.right, names, values)?;
            return Ok(holding(&binary.left, names, values)?.intersection(&right).cloned().collect());
        }
        BinaryOp::Or => {
            let right = holding(&binary.right, names, values)?;
            return Ok(holding(&binary.left, names, values)?.union(&right).cloned().collect());
        }
        BinaryOp::Equal | BinaryOp::Matches => false,
        BinaryOp::NotEqual | BinaryOp::NotMatches => true,
        _ => return Err(QueryError::statement("invalid tag comparison operator")),
    };
    let symbol = binary.op.symbol();
    let Expr::VarRef(tag) = &binary.left else {
        return Err(QueryError::statement(format!("left side of '{symbol}' must be a tag key")));
    };
    let regex;
    let matches: &dyn Fn(&[u8]) -> bool = match &binary.right {
        Expr::String(wanted) => &|value| value == wanted.as_bytes(),
        Expr::Regex(pattern) => {
            regex = pattern.compile().map_err(QueryError::statement)?;
            &|value| regex.is_match(value)
        }
        _ => {
            return Err(QueryError::statement(format!(
                "right side of '{symbol}' must be a tag value string"
            )));
        }
    };
    if tag.name == "_name" {
        return Ok(names.iter().filter(|name| matches(name) != negated).cloned().collect());
    }
    let by_measurement = values.get(tag.name.as_bytes()).into_iter().flatten();
    Ok(by_measurement
        .filter(|(_, values)| values.iter().any(|value| matches(value)) != negated)
        .map(|(measurement, _)| measurement.clone())
        .collect())
}
