//! Questions to the catalogues of all cores, with the answers merged.

use tidemark_engine::model::TimeRange;
use tidemark_engine::pace::sorted::sorted;
use tidemark_engine::scan::request::{
    CatalogKind, CatalogReply, CatalogRequest, MeasurementSchema, ScanCost, TagFilter,
};

use crate::influxql::ast::{Expr, Measurement, MeasurementName, Source};
use crate::query::condition::{self, Clock};
use crate::query::error::{QueryError, Result};
use crate::query::merge::merge_catalogs;
use crate::query::source::{DataSource, Place};
use crate::query::tag_filter::{self, tag_filter};

use super::Request;

/// Which measurements a FROM clause names.
#[derive(Debug, Default)]
pub struct Names {
    /// No clause: all.
    all: bool,
    exact: Vec<Vec<u8>>,
    patterns: Vec<regex::bytes::Regex>,
}

impl Names {
    pub fn all() -> Self {
        Self { all: true, ..Self::default() }
    }

    /// Qualifiers are read over.
    pub fn new(sources: &[Source]) -> Result<Self> {
        if sources.is_empty() {
            return Ok(Self::all());
        }
        let mut names = Self::default();
        for source in sources {
            match source {
                Source::Measurement(measurement) => names.add(measurement)?,
                Source::Subquery(_) => return Err(QueryError::statement("invalid measurement")),
            }
        }
        Ok(names)
    }

    /// The places sources are in, each with its names. Qualifiers left out are `database` and the request's policy, or
    /// the default one.
    pub fn by_place(
        sources: &[Source],
        database: &str,
        request: &Request<'_>,
        source: &impl DataSource,
    ) -> Result<Vec<(Place, Self)>> {
        if sources.is_empty() {
            return Ok(vec![(source.place(database, request.retention_policy)?, Self::all())]);
        }
        let mut found: Vec<(Place, Self)> = Vec::new();
        for named in sources {
            let Source::Measurement(measurement) = named else {
                return Err(QueryError::statement("invalid measurement"));
            };
            let database = measurement.database.as_deref().unwrap_or(database);
            let policy = measurement.retention_policy.as_deref().unwrap_or(request.retention_policy);
            let place = source.place(database, policy)?;
            let at = match found.iter().position(|(known, _)| *known == place) {
                Some(at) => at,
                None => {
                    found.push((place, Self::default()));
                    found.len() - 1
                }
            };
            found[at].1.add(measurement)?;
        }
        Ok(found)
    }

    fn add(&mut self, measurement: &Measurement) -> Result<()> {
        match &measurement.name {
            MeasurementName::Name(name) if !name.is_empty() => self.exact.push(name.as_bytes().to_vec()),
            MeasurementName::Regex(regex) => {
                self.patterns.push(regex.compile().map_err(QueryError::statement)?)
            }
            _ => return Err(QueryError::statement("invalid measurement")),
        }
        Ok(())
    }

    pub fn contains(&self, name: &[u8]) -> bool {
        self.all
            || self.exact.iter().any(|exact| exact == name)
            || self.patterns.iter().any(|pattern| pattern.is_match(name))
    }

    /// As a list for the cores; `None` is all. Patterns are looked up first.
    async fn listed(
        &self,
        source: &impl DataSource,
        place: &Place,
        request: &Request<'_>,
    ) -> Result<Option<Vec<Vec<u8>>>> {
        if self.all {
            return Ok(None);
        }
        if self.patterns.is_empty() {
            let mut exact = self.exact.clone();
            exact.sort_unstable();
            exact.dedup();
            return Ok(Some(exact));
        }
        let mut found = all_measurements(source, place, request).await?;
        found.retain(|name| self.contains(name));
        Ok(Some(found))
    }
}

/// A WHERE clause in its two parts.
#[derive(Debug, Default)]
pub struct Condition {
    /// What is not about time.
    pub expr: Option<Expr>,
    pub time: Option<TimeRange>,
}

impl Condition {
    pub fn new(condition: Option<&Expr>, request: &Request<'_>) -> Result<Self> {
        let condition = Self::split(condition, request)?;
        // What cannot be asked of any series is refused even where there is none.
        if let Some(expr) = &condition.expr {
            tag_filter(expr, &|_| false)?;
        }
        Ok(condition)
    }

    fn split(condition: Option<&Expr>, request: &Request<'_>) -> Result<Self> {
        let (expr, bounds) = condition::split(condition, Clock { now: request.now, zone: None })?;
        let time = (bounds.min.is_some() || bounds.max.is_some()).then(|| {
            let all = TimeRange::ALL;
            TimeRange::new(
                bounds.min.map_or(all.start, |min| min.max(all.start)),
                bounds.max.map_or(all.end, |max| max.saturating_add(1).min(all.end)),
            )
        });
        Ok(Self { expr, time })
    }

    /// As [`Condition::new`], for a clause that may name fields: those are refused later, with a better reason.
    pub fn for_delete(condition: Option<&Expr>, request: &Request<'_>) -> Result<Self> {
        Self::split(condition, request)
    }

    pub fn time(&self) -> TimeRange {
        self.time.unwrap_or(TimeRange::ALL)
    }
}

async fn ask(
    source: &impl DataSource,
    place: &Place,
    request: &Request<'_>,
    measurements: Option<Vec<Vec<u8>>>,
    time: TimeRange,
    series: Option<TagFilter>,
    what: CatalogKind,
) -> Result<Option<CatalogReply>> {
    if measurements.as_ref().is_some_and(Vec::is_empty) || time.is_empty() {
        return Ok(None);
    }
    let budget_bytes = request.budget_bytes;
    let question =
        CatalogRequest { shards: Vec::new(), measurements, time, series, what, limit: 0, budget_bytes };
    Ok(merge_catalogs(source.catalog(place, &question).await?, request.pace).await)
}

fn unexpected<T>() -> Result<T> {
    debug_assert!(false, "BUG: a core answered another question");
    Err(QueryError::statement("BUG: a core answered another question"))
}

async fn all_measurements(
    source: &impl DataSource,
    place: &Place,
    request: &Request<'_>,
) -> Result<Vec<Vec<u8>>> {
    match ask(source, place, request, None, TimeRange::ALL, None, CatalogKind::Measurements).await? {
        None => Ok(Vec::new()),
        Some(CatalogReply::Measurements(names)) => Ok(names),
        Some(_) => unexpected(),
    }
}

pub async fn measurements(
    source: &impl DataSource,
    place: &Place,
    names: &Names,
    request: &Request<'_>,
) -> Result<Vec<Vec<u8>>> {
    let mut found = all_measurements(source, place, request).await?;
    found.retain(|name| names.contains(name));
    Ok(found)
}

pub async fn schema(
    source: &impl DataSource,
    place: &Place,
    names: &Names,
    time: TimeRange,
    request: &Request<'_>,
) -> Result<Vec<MeasurementSchema>> {
    let listed = names.listed(source, place, request).await?;
    match ask(source, place, request, listed, time, None, CatalogKind::Schema).await? {
        None => Ok(Vec::new()),
        Some(CatalogReply::Schema(schemas)) => Ok(schemas),
        Some(_) => unexpected(),
    }
}

/// Measurements with the filter that is to be asked of their series: fields differ from measurement to measurement.
async fn filters(
    source: &impl DataSource,
    place: &Place,
    names: &Names,
    condition: &Condition,
    request: &Request<'_>,
) -> Result<Vec<(Option<TagFilter>, Option<Vec<Vec<u8>>>)>> {
    let Some(expr) = &condition.expr else {
        return Ok(vec![(None, names.listed(source, place, request).await?)]);
    };
    let compared = tag_filter::names(expr);
    let mut found: Vec<(Option<TagFilter>, Option<Vec<Vec<u8>>>)> = Vec::new();
    for schema in schema(source, place, names, TimeRange::ALL, request).await? {
        let is_field = |name: &str| {
            compared.contains(&name)
                && schema.fields.iter().any(|(field, _)| field == name.as_bytes())
                && !schema.tag_keys.iter().any(|tag| tag == name.as_bytes())
        };
        let filter = Some(tag_filter(expr, &is_field)?);
        match found.iter_mut().find(|(known, _)| *known == filter) {
            Some((_, measurements)) => measurements.get_or_insert_default().push(schema.measurement),
            None => found.push((filter, Some(vec![schema.measurement]))),
        }
    }
    Ok(found)
}

/// One list of all; a single one is not copied.
fn joined<T>(lists: Vec<Vec<T>>) -> Vec<T> {
    let mut lists = lists.into_iter();
    let mut first = lists.next().unwrap_or_default();
    lists.for_each(|list| first.extend(list));
    first
}

/// Canonical keys of the series for which a condition holds, sorted.
pub async fn series(
    source: &impl DataSource,
    place: &Place,
    names: &Names,
    condition: &Condition,
    request: &Request<'_>,
) -> Result<Vec<Vec<u8>>> {
    let mut keys = Vec::new();
    for (filter, measurements) in filters(source, place, names, condition, request).await? {
        match ask(source, place, request, measurements, condition.time(), filter, CatalogKind::Series).await?
        {
            None => {}
            Some(CatalogReply::Series(found)) => keys.push(found),
            Some(_) => return unexpected(),
        }
    }
    Ok(sorted(joined(keys), request.pace).await)
}

/// (measurement, tag, value) of the series for which a condition holds.
pub async fn tag_values_where(
    source: &impl DataSource,
    place: &Place,
    names: &Names,
    keys: &[Vec<u8>],
    condition: &Condition,
    request: &Request<'_>,
) -> Result<Vec<(Vec<u8>, Vec<u8>, Vec<u8>)>> {
    let mut values: Vec<Vec<_>> = Vec::new();
    for (filter, measurements) in filters(source, place, names, condition, request).await? {
        let what = CatalogKind::TagValues { keys: keys.to_vec() };
        match ask(source, place, request, measurements, condition.time(), filter, what).await? {
            None => {}
            Some(CatalogReply::TagValues(found)) => values.push(found),
            Some(_) => return unexpected(),
        }
    }
    Ok(joined(values))
}

/// (measurement, tag, value) of all series.
pub async fn tag_values(
    source: &impl DataSource,
    place: &Place,
    keys: Vec<Vec<u8>>,
    request: &Request<'_>,
) -> Result<Vec<(Vec<u8>, Vec<u8>, Vec<u8>)>> {
    tag_values_where(source, place, &Names::all(), &keys, &Condition::default(), request).await
}

/// What the cores would have to read for everything; its number of series counts a series once per shard.
pub async fn cost(source: &impl DataSource, place: &Place, request: &Request<'_>) -> Result<ScanCost> {
    match ask(source, place, request, None, TimeRange::ALL, None, CatalogKind::Cost).await? {
        None => Ok(ScanCost::default()),
        Some(CatalogReply::Cost(cost)) => Ok(cost),
        Some(_) => unexpected(),
    }
}
