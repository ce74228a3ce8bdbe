//! Names made whole: the database and retention policy a measurement leaves out are filled in, and must exist.

use super::Result;
use crate::influxql::ast::{Measurement, MeasurementName, SelectStatement, Source};
use crate::meta::Data;
use crate::query::error::QueryError;

/// Every measurement of a SELECT and its subqueries, and the target.
pub fn select(select: &mut SelectStatement, meta: &Data, database: &str) -> Result<()> {
    for source in &mut select.sources {
        match source {
            Source::Measurement(name) => measurement(name, meta, database)?,
            // The parser bounds the nesting.
            Source::Subquery(inner) => self::select(inner, meta, database)?,
        }
    }
    match &mut select.target {
        Some(target) => measurement(&mut target.measurement, meta, database),
        None => Ok(()),
    }
}

fn measurement(measurement: &mut Measurement, meta: &Data, database: &str) -> Result<()> {
    if measurement.name == MeasurementName::Name(String::new()) {
        return Err(QueryError::statement("invalid measurement"));
    }
    let database = measurement.database.get_or_insert_with(|| database.to_owned());
    if database.is_empty() {
        return Err(QueryError::statement("database name required"));
    }
    let Some(info) = meta.database(database) else {
        return Err(QueryError::statement(format!("database not found: {database}")));
    };
    if measurement.retention_policy.is_none() {
        if info.default_retention_policy.is_empty() {
            return Err(QueryError::statement(format!("default retention policy not set for: {database}")));
        }
        measurement.retention_policy = Some(info.default_retention_policy.clone());
    }
    Ok(())
}
