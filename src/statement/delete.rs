//! DELETE, DROP SERIES, DROP MEASUREMENT.
//!
//! A delete is numbered by the catalogue before any core hears of it, and finished there when every owner has answered. One
//! that a crash cut short may be done in part: the next start says so and forgets it, for its client heard of no success.

use tidemark_engine::model::TimeRange;

use super::{Context, Environment, Result};
use crate::influxql::ast::{BinaryOp, DeleteStatement, DropSeriesStatement, Expr, MeasurementName, Source};
use crate::meta::{Command, DatabaseInfo, DeleteTarget};
use crate::query::DataSource;
use crate::query::error::QueryError;
use crate::query::show::Request;
use crate::query::show::catalog::{self, Condition, Names};
use crate::query::tag_filter::{names, tag_filter};

pub async fn delete(
    statement: &DeleteStatement,
    context: &Context,
    source: &impl DataSource,
    environment: &impl Environment,
) -> Result<()> {
    remove(&statement.sources, statement.condition.as_ref(), context, source, environment).await
}

pub async fn drop_series(
    statement: &DropSeriesStatement,
    context: &Context,
    source: &impl DataSource,
    environment: &impl Environment,
) -> Result<()> {
    if statement.condition.as_ref().is_some_and(Expr::mentions_time) {
        return Err(QueryError::statement("DROP SERIES doesn't support time in WHERE clause"));
    }
    remove(&statement.sources, statement.condition.as_ref(), context, source, environment).await
}

pub async fn drop_measurement(name: &str, context: &Context, environment: &impl Environment) -> Result<()> {
    let meta = environment.meta();
    let Some(database) = meta.database(&context.database) else {
        return Err(QueryError::statement(format!("database not found: {}", context.database)));
    };
    let target = DeleteTarget {
        database: database.id,
        retention_policy: None,
        measurements: Some(vec![name.as_bytes().to_vec()]),
        series: None,
        time: TimeRange::ALL,
        whole_measurements: true,
    };
    carry_out(target, environment).await
}

/// Deletes in every retention policy of the request's database.
async fn remove(
    sources: &[Source],
    condition: Option<&Expr>,
    context: &Context,
    source: &impl DataSource,
    environment: &impl Environment,
) -> Result<()> {
    let meta = environment.meta();
    let Some(database) = meta.database(&context.database) else {
        return Err(QueryError::statement(format!("database not found: {}", context.database)));
    };
    let request = context.request();
    let condition = Condition::for_delete(condition, &request)?;
    let measurements = measurements(sources, database, source, &request).await?;
    if measurements.as_ref().is_some_and(Vec::is_empty) || condition.time().is_empty() {
        return Ok(());
    }
    let series = match &condition.expr {
        None => None,
        Some(expr) => {
            refuse_fields(expr, measurements.as_deref(), database, source, &request).await?;
            refuse_values(expr)?;
            Some(tag_filter(expr, &|_| false)?)
        }
    };
    let target = DeleteTarget {
        database: database.id,
        retention_policy: None,
        measurements,
        series,
        time: condition.time(),
        whole_measurements: false,
    };
    carry_out(target, environment).await
}

/// The measurements named; `None` is all. Patterns are looked up, so that what is deleted is what there was.
async fn measurements(
    sources: &[Source],
    database: &DatabaseInfo,
    source: &impl DataSource,
    request: &Request<'_>,
) -> Result<Option<Vec<Vec<u8>>>> {
    if sources.is_empty() {
        return Ok(None);
    }
    let mut found = Vec::new();
    let mut has_pattern = false;
    for named in sources {
        match named {
            Source::Measurement(measurement) => match &measurement.name {
                MeasurementName::Name(name) => found.push(name.as_bytes().to_vec()),
                _ => has_pattern = true,
            },
            Source::Subquery(_) => return Err(QueryError::statement("invalid measurement")),
        }
    }
    if has_pattern {
        let names = Names::new(sources)?;
        for place in source.places(&database.name)? {
            found.extend(catalog::measurements(source, &place, &names, request).await?);
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(Some(found))
}

/// A condition on a field would have to look at every row; it is refused, naming a shard as InfluxDB does.
async fn refuse_fields(
    expr: &Expr,
    measurements: Option<&[Vec<u8>]>,
    database: &DatabaseInfo,
    source: &impl DataSource,
    request: &Request<'_>,
) -> Result<()> {
    let compared = names(expr);
    for place in source.places(&database.name)? {
        for schema in catalog::schema(source, &place, &Names::all(), TimeRange::ALL, request).await? {
            if measurements
                .is_some_and(|measurements| measurements.binary_search(&schema.measurement).is_err())
            {
                continue;
            }
            let is_field = |name: &&str| {
                schema.fields.iter().any(|(field, _)| field == name.as_bytes())
                    && !schema.tag_keys.iter().any(|tag| tag == name.as_bytes())
            };
            if compared.iter().any(is_field) {
                let policies = database.retention_policies.iter();
                let groups = policies.flat_map(|policy| policy.live_groups());
                let shard = groups.flat_map(|group| &group.shards).map(|shard| shard.id.0).min().unwrap_or(0);
                return Err(QueryError::statement(format!(
                    "shard {shard}: fields not supported in WHERE clause during deletion"
                )));
            }
        }
    }
    Ok(())
}

/// What no tag can be compared with must not turn into a delete of everything.
fn refuse_values(expr: &Expr) -> Result<()> {
    let mut comparable = true;
    expr.walk(&mut |expr| {
        if let Expr::Binary(binary) = expr
            && !matches!(binary.op, BinaryOp::And | BinaryOp::Or)
        {
            let sides = [binary.left.unparenthesized(), binary.right.unparenthesized()];
            comparable &= sides.iter().any(|side| matches!(side, Expr::String(_) | Expr::Regex(_)));
        }
    });
    if comparable {
        Ok(())
    } else {
        Err(QueryError::statement("fields not supported in WHERE clause during deletion"))
    }
}

async fn carry_out(target: DeleteTarget, environment: &impl Environment) -> Result<()> {
    let id = environment.propose(Command::StartDelete(target)).await?.id;
    let pending = environment.meta().pending_deletes.iter().find(|delete| delete.id == id).cloned();
    // Another owner's report may have finished it already.
    let Some(pending) = pending else { return Ok(()) };
    let carried_out = environment.carry_out(pending).await;
    // One that failed is finished too: the client hears of it.
    let finished = environment.propose(Command::FinishDelete { id }).await;
    carried_out?;
    finished?;
    Ok(())
}
