//! SHOW … CARDINALITY.
//!
//! Without EXACT and without any clause, series and measurements are counted over the whole database into one number. All
//! other forms count per measurement and tags grouped by, in one retention policy.

use std::collections::{BTreeMap, BTreeSet};

use tidemark_engine::model::{TimeRange, series_key};
use tidemark_engine::pace::sorted::{let_go, union};

use crate::influxql::ast::{CardinalityOf, Dimension, Expr, ShowCardinality};
use crate::query::error::{QueryError, Result};
use crate::query::result::{Cell, Cut, ResultSink, Series};
use crate::query::source::DataSource;

use super::catalog::{self, Condition, Names};
use super::tags::keys_matching;
use super::{ROW_NS, Request, database};

pub async fn cardinality(
    statement: &ShowCardinality,
    request: &Request<'_>,
    source: &impl DataSource,
    sink: &mut impl ResultSink,
) -> Result<()> {
    let has_clause = !statement.sources.is_empty()
        || statement.condition.is_some()
        || !statement.dimensions.is_empty()
        || statement.limit > 0
        || statement.offset > 0;
    let is_estimate = !statement.exact
        && !has_clause
        && matches!(statement.of, CardinalityOf::Series | CardinalityOf::Measurement);
    if statement.condition.as_ref().is_some_and(Expr::mentions_time) {
        let what = match &statement.of {
            CardinalityOf::Series => "SHOW SERIES EXACT CARDINALITY",
            CardinalityOf::Measurement => "SHOW MEASUREMENT EXACT CARDINALITY",
            CardinalityOf::TagKey => "SHOW TAG KEY EXACT CARDINALITY",
            CardinalityOf::TagValues(_) => "SHOW TAG VALUES EXACT CARDINALITY",
            CardinalityOf::FieldKey => "SHOW FIELD KEY CARDINALITY",
        };
        return Err(QueryError::statement(format!("{what} doesn't support time in WHERE clause")));
    }
    let database = database(statement.database.as_deref(), request.database)?;
    if is_estimate {
        let count = estimate(statement, database, request, source).await?;
        return sink.series(counted(b"", Vec::new(), "cardinality estimation", count)).await;
    }
    let groups = count(statement, database, request, source).await?;
    // Every series has one row, and OFFSET skips rows.
    if statement.offset > 0 {
        return Ok(());
    }
    for ((measurement, tags), things) in groups {
        if !things.is_empty() {
            sink.series(counted(&measurement, tags, "count", things.len() as u64)).await?;
        }
        let_go(things, request.pace).await;
    }
    Ok(())
}

fn counted(name: &[u8], tags: Vec<(Vec<u8>, Vec<u8>)>, column: &str, count: u64) -> Series {
    let count = Cell::Integer(i64::try_from(count).unwrap_or(i64::MAX));
    Series { tags, cut: Cut::Rows, ..Series::from_rows(name, &[column], vec![vec![count]]) }
}

/// Exact while the list fits a query's memory; beyond that each shard's own number of series, added up.
async fn estimate(
    statement: &ShowCardinality,
    database: &str,
    request: &Request<'_>,
    source: &impl DataSource,
) -> Result<u64> {
    // A database that does not exist has nothing to count.
    let Ok(places) = source.places(database) else { return Ok(0) };
    let mut found = Vec::new();
    let mut beyond_memory = 0;
    for place in places {
        if statement.of == CardinalityOf::Measurement {
            let names = catalog::measurements(source, &place, &Names::all(), request).await?;
            found = union(found, names, request.pace).await;
            continue;
        }
        match catalog::series(source, &place, &Names::all(), &Condition::default(), request).await {
            Ok(keys) => {
                found = union(found, keys, request.pace).await;
            }
            Err(QueryError::Memory { .. }) => {
                beyond_memory += catalog::cost(source, &place, request).await?.series;
            }
            Err(error) => return Err(error),
        }
    }
    let count = found.len() as u64;
    let_go(found, request.pace).await;
    Ok(count + beyond_memory)
}

/// Measurement (empty where it is what is counted) and tags.
type Group = (Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>);

/// The distinct things per group.
async fn count(
    statement: &ShowCardinality,
    database: &str,
    request: &Request<'_>,
    source: &impl DataSource,
) -> Result<BTreeMap<Group, BTreeSet<Vec<u8>>>> {
    let condition = Condition::new(statement.condition.as_ref(), request)?;
    let mut groups: BTreeMap<Group, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for (place, names) in Names::by_place(&statement.sources, database, request, source)? {
        let wanted_keys = match &statement.of {
            CardinalityOf::TagValues(keys) => keys_matching(keys, source, &place, &names, request).await?,
            _ => Vec::new(),
        };
        let needs_schema = statement.of == CardinalityOf::FieldKey || !statement.dimensions.is_empty();
        let schemas = match needs_schema {
            true => catalog::schema(source, &place, &names, TimeRange::ALL, request).await?,
            false => Vec::new(),
        };
        let all_tags: BTreeSet<&[u8]> =
            schemas.iter().flat_map(|schema| &schema.tag_keys).map(Vec::as_slice).collect();
        let grouping = dimensions(&statement.dimensions, &all_tags)?;
        for key in catalog::series(source, &place, &names, &condition, request).await? {
            let measurement = series_key::measurement(&key).into_owned();
            let tags = grouping
                .iter()
                .map(|tag| (tag.clone(), series_key::tag_value(&key, tag).unwrap_or_default().into_owned()))
                .collect();
            let name =
                if statement.of == CardinalityOf::Measurement { Vec::new() } else { measurement.clone() };
            request.pace.spent(ROW_NS).await;
            let things = groups.entry((name, tags)).or_default();
            match &statement.of {
                CardinalityOf::Series => {
                    things.insert(key);
                }
                CardinalityOf::Measurement => {
                    things.insert(measurement);
                }
                CardinalityOf::TagKey => {
                    things.extend(series_key::tags(&key).map(|(tag, _)| tag.into_owned()))
                }
                CardinalityOf::TagValues(_) => things.extend(
                    series_key::tags(&key)
                        .filter(|(tag, _)| wanted_keys.iter().any(|wanted| wanted == tag.as_ref()))
                        .map(|(_, value)| value.into_owned()),
                ),
                CardinalityOf::FieldKey => {
                    let schema = schemas.iter().find(|schema| schema.measurement == measurement);
                    things.extend(
                        schema.into_iter().flat_map(|schema| &schema.fields).map(|(name, _)| name.clone()),
                    );
                }
            }
        }
    }
    Ok(groups)
}

/// The tags of a GROUP BY clause, sorted.
fn dimensions(dimensions: &[Dimension], all_tags: &BTreeSet<&[u8]>) -> Result<Vec<Vec<u8>>> {
    let mut tags: BTreeSet<Vec<u8>> = BTreeSet::new();
    for dimension in dimensions {
        match &dimension.expr {
            Expr::VarRef(var) => {
                tags.insert(var.name.as_bytes().to_vec());
            }
            Expr::Wildcard(_) => tags.extend(all_tags.iter().map(|tag| tag.to_vec())),
            Expr::Regex(regex) => {
                let regex = regex.compile().map_err(QueryError::statement)?;
                tags.extend(all_tags.iter().filter(|tag| regex.is_match(tag)).map(|tag| tag.to_vec()));
            }
            _ => return Err(QueryError::statement("only time and tag dimensions allowed")),
        }
    }
    Ok(tags.into_iter().collect())
}
