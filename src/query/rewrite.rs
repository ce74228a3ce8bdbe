//! From a checked SELECT to one that names what there is: sources found, wildcards and patterns spelled out, types
//! resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;

use hashbrown::HashMap;
use regex::Regex;
use tidemark_engine::model::TimeRange;
use tidemark_engine::pace::Pace;
use tidemark_engine::scan::request::{CatalogKind, CatalogReply, CatalogRequest, MeasurementSchema};

use crate::influxql::ast::{Dimension, Expr, Field, Measurement, MeasurementName, VarRef, WildcardKind};

use super::columns::{field_name, text};
use super::compile::{Compiled, CompiledSource};
use super::error::{QueryError, Result};
use super::merge::{merge_catalogs, merge_schemas};
use super::source::{DataSource, Place};
use super::types::{Type, data_type, is_math_function, type_of};

/// Nanoseconds, about, that a source takes to be looked up, a name of its schema, and a call that a pattern stands for.
const SOURCE_NS: u64 = 1_000;
const NAME_NS: u64 = 150;
const EXPANDED_NS: u64 = 400;

/// A SELECT with nothing left to look up.
#[derive(Debug, Clone)]
pub struct Resolved {
    pub compiled: Compiled,
    /// Fields after wildcards.
    pub fields: Vec<Field>,
    /// GROUP BY tags after wildcards, as written.
    pub dimensions: Vec<String>,
    pub sources: Vec<ResolvedSource>,
}

#[derive(Debug, Clone)]
pub enum ResolvedSource {
    Measurement(MeasurementAt),
    Subquery(Box<Resolved>),
}

/// A measurement where it lies, with what is known of it.
#[derive(Debug, Clone)]
pub struct MeasurementAt {
    pub place: Place,
    pub schema: MeasurementSchema,
    /// Names of the condition that are fields of the measurement elsewhere in its database, and nothing here.
    pub fields_elsewhere: Vec<String>,
}

/// What a query may take of the server; 0 is no limit.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub buckets_max: u64,
    pub series_max: u64,
    pub points_max: u64,
    /// Memory of one query on one core, bytes.
    pub budget_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { buckets_max: 0, series_max: 0, points_max: 0, budget_bytes: 256 << 20 }
    }
}

/// Names used where a statement gives none.
#[derive(Debug, Clone, Default)]
pub struct Defaults {
    pub database: String,
    pub retention_policy: String,
}

/// Inclusive bounds as a half-open range.
pub fn time_range(start: i64, end: i64) -> TimeRange {
    TimeRange::new(start, end.saturating_add(1))
}

/// The place of a measurement.
pub fn place_of<D: DataSource>(source: &D, defaults: &Defaults, measurement: &Measurement) -> Result<Place> {
    let database = measurement.database.as_deref().unwrap_or(&defaults.database);
    if database.is_empty() {
        return Err(QueryError::statement("database name required"));
    }
    let retention_policy = match &measurement.retention_policy {
        Some(name) => name.as_str(),
        // The default of a request goes with its database.
        None if measurement.database.is_none() => defaults.retention_policy.as_str(),
        None => "",
    };
    source.place(database, retention_policy)
}

/// Looks everything up.
pub fn resolve<'a, D: DataSource>(
    source: &'a D,
    defaults: &'a Defaults,
    limits: &'a Limits,
    compiled: Compiled,
) -> Pin<Box<dyn Future<Output = Result<Resolved>> + 'a>> {
    Box::pin(async move {
        let (mut sources, pace) = (Vec::new(), Pace::new());
        for from in compiled.sources.clone() {
            pace.spent_at_least(SOURCE_NS).await;
            match from {
                CompiledSource::Subquery(inner) => {
                    let inner = resolve(source, defaults, limits, *inner).await?;
                    sources.push(ResolvedSource::Subquery(Box::new(inner)));
                }
                CompiledSource::Measurement(measurement) => {
                    let place = place_of(source, defaults, &measurement)?;
                    let time = time_range(compiled.start, compiled.end);
                    let mut found = schemas(source, &place, &measurement.name, time, limits).await?;
                    // The index of a database is asked through the shards of the place.
                    let has_shards = !found.is_empty() || !source.group_ranges(&place, time).is_empty();
                    if has_shards && has_wildcard(&compiled) {
                        add_tags_of_database(source, &place, &measurement.name, &mut found, limits).await?;
                    }
                    let unknown = unknown_names(compiled.condition.as_deref(), &found);
                    let mut elsewhere = match unknown.is_empty() {
                        true => HashMap::new(),
                        false => fields_elsewhere(source, &place, &found, &unknown, limits).await?,
                    };
                    for schema in found {
                        let fields_elsewhere = elsewhere.remove(&schema.measurement).unwrap_or_default();
                        let place = place.clone();
                        sources.push(ResolvedSource::Measurement(MeasurementAt {
                            place,
                            schema,
                            fields_elsewhere,
                        }));
                    }
                }
            }
        }
        expand(compiled, sources, &pace).await
    })
}

fn is_wild(expr: &Expr) -> bool {
    matches!(expr, Expr::Wildcard(_) | Expr::Regex(_))
}

fn has_wildcard(compiled: &Compiled) -> bool {
    let mut found = compiled.statement.dimensions.iter().any(|dimension| is_wild(&dimension.expr));
    for field in &compiled.statement.fields {
        field.expr.walk(&mut |expr| found |= is_wild(expr));
    }
    found
}

/// A wildcard stands for the tags a measurement has anywhere in its database, and a pattern for measurements anywhere in
/// it: InfluxDB's index knows no retention policies. Fields are those of the place and time range.
async fn add_tags_of_database<D: DataSource>(
    source: &D,
    place: &Place,
    name: &MeasurementName,
    found: &mut Vec<MeasurementSchema>,
    limits: &Limits,
) -> Result<()> {
    let (measurements, pattern) = match name {
        MeasurementName::Regex(regex) => (None, Some(compile_pattern(&regex.pattern)?)),
        MeasurementName::Name(name) => (Some(vec![name.clone().into_bytes()]), None),
        MeasurementName::BackReference => return Ok(()),
    };
    for mut schema in schemas_of_database(source, place, measurements, limits).await? {
        let name = String::from_utf8_lossy(&schema.measurement);
        if pattern.as_ref().is_none_or(|pattern| pattern.is_match(&name)) {
            schema.fields.clear();
            merge_schemas(found, vec![schema]);
        }
    }
    Ok(())
}

/// What measurements have in all policies of a database, at any time; each policy's for itself.
async fn schemas_of_database<D: DataSource>(
    source: &D,
    place: &Place,
    measurements: Option<Vec<Vec<u8>>>,
    limits: &Limits,
) -> Result<Vec<MeasurementSchema>> {
    let request = CatalogRequest {
        shards: Vec::new(),
        measurements,
        time: TimeRange::ALL,
        series: None,
        what: CatalogKind::Schema,
        limit: 0,
        budget_bytes: limits.budget_bytes,
    };
    let mut found = Vec::new();
    for place in source.places(&place.database)? {
        let replies = source.catalog(&place, &request).await?;
        if let Some(CatalogReply::Schema(schemas)) = merge_catalogs(replies, &Pace::new()).await {
            found.extend(schemas);
        }
    }
    Ok(found)
}

/// Names of a condition, without a type of their own, that are neither fields nor tags of some measurement.
fn unknown_names(condition: Option<&Expr>, found: &[MeasurementSchema]) -> Vec<String> {
    let mut unknown: Vec<String> = Vec::new();
    if let Some(condition) = condition {
        condition.walk(&mut |expr| {
            if let Expr::VarRef(var) = expr
                && var.data_type.is_none()
                && !var.is_time()
                && found.iter().any(|schema| type_at(schema, &var.name) == Type::Unknown)
                && !unknown.contains(&var.name)
            {
                unknown.push(var.name.clone());
            }
        });
    }
    unknown
}

/// Which of the names are fields of the measurements, in any policy at any time: InfluxDB's index takes such a name for
/// that of a field, not of a tag that series lack. By measurement.
async fn fields_elsewhere<D: DataSource>(
    source: &D,
    place: &Place,
    found: &[MeasurementSchema],
    unknown: &[String],
    limits: &Limits,
) -> Result<HashMap<Vec<u8>, Vec<String>>> {
    let names = found.iter().map(|schema| schema.measurement.clone()).collect();
    let mut elsewhere: HashMap<Vec<u8>, Vec<String>> = HashMap::new();
    for schema in schemas_of_database(source, place, Some(names), limits).await? {
        let is_field = |name: &&String| schema.fields.iter().any(|(field, _)| field == name.as_bytes());
        let fields: Vec<String> = unknown.iter().filter(is_field).cloned().collect();
        elsewhere.entry(schema.measurement).or_default().extend(fields);
    }
    Ok(elsewhere)
}

/// What is known of the measurements of one source.
pub async fn schemas<D: DataSource>(
    source: &D,
    place: &Place,
    name: &MeasurementName,
    time: TimeRange,
    limits: &Limits,
) -> Result<Vec<MeasurementSchema>> {
    let (measurements, pattern) = match name {
        MeasurementName::Name(name) => (Some(vec![name.clone().into_bytes()]), None),
        MeasurementName::Regex(regex) => (None, Some(compile_pattern(&regex.pattern)?)),
        MeasurementName::BackReference => return Err(QueryError::statement("invalid measurement")),
    };
    let request = CatalogRequest {
        shards: Vec::new(),
        measurements,
        time,
        series: None,
        what: CatalogKind::Schema,
        limit: 0,
        budget_bytes: limits.budget_bytes,
    };
    let replies = source.catalog(place, &request).await?;
    let mut found = match merge_catalogs(replies, &Pace::new()).await {
        Some(CatalogReply::Schema(schemas)) => {
            // Of each measurement once, whatever the cores say.
            let mut merged = Vec::new();
            merge_schemas(&mut merged, schemas);
            merged
        }
        _ => Vec::new(),
    };
    if let Some(pattern) = pattern {
        found.retain(|schema| pattern.is_match(&String::from_utf8_lossy(&schema.measurement)));
    }
    Ok(found)
}

/// A pattern of the language, compiled within bounds.
pub fn compile_pattern(pattern: &str) -> Result<Regex> {
    regex::RegexBuilder::new(pattern)
        .size_limit(10 << 20)
        .build()
        .map_err(|error| QueryError::statement(format!("invalid regular expression: {error}")))
}

/// The type a name has in some sources.
pub fn type_in(sources: &[ResolvedSource], var: &VarRef) -> Type {
    if let Some(explicit) = var.data_type
        && explicit != crate::influxql::ast::DataType::AnyField
    {
        return explicit.into();
    }
    sources.iter().fold(Type::Unknown, |found, source| {
        found.stronger(match source {
            ResolvedSource::Measurement(measurement) => type_at(&measurement.schema, &var.name),
            ResolvedSource::Subquery(inner) => inner.type_of_column(&var.name),
        })
    })
}

/// The type of a field or tag of a measurement.
pub fn type_at(schema: &MeasurementSchema, name: &str) -> Type {
    let name = name.as_bytes();
    let mut found = Type::Unknown;
    // Both lists are sorted, and may be long.
    let first = schema.fields.partition_point(|(field, _)| field.as_slice() < name);
    for (_, field_type) in schema.fields[first..].iter().take_while(|(field, _)| field == name) {
        found = found.stronger((*field_type).into());
    }
    if found == Type::Unknown && schema.tag_keys.binary_search_by(|key| key.as_slice().cmp(name)).is_ok() {
        found = Type::Tag;
    }
    found
}

impl Resolved {
    pub fn type_of(&self, expr: &Expr) -> Result<Type> {
        type_of(expr, &|var| type_in(&self.sources, var))
    }

    /// The type of a column this query gives to one around it.
    fn type_of_column(&self, name: &str) -> Type {
        for field in &self.fields {
            if field_name(field) == name {
                return self.type_of(&field.expr).unwrap_or(Type::Unknown);
            }
            if let Expr::Call(call) = &field.expr
                && matches!(call.name.as_str(), "top" | "bottom")
                && call.args.len() > 2
            {
                for argument in &call.args[1..call.args.len() - 1] {
                    if matches!(argument, Expr::VarRef(var) if var.name == name) {
                        return self.type_of(argument).unwrap_or(Type::Unknown);
                    }
                }
            }
        }
        if self.dimensions.iter().any(|dimension| dimension == name) { Type::Tag } else { Type::Unknown }
    }
}

/// Fields with their types, and tags, of all sources.
async fn fields_and_tags(
    sources: &[ResolvedSource],
    pace: &Pace,
) -> Result<(BTreeMap<String, Type>, BTreeSet<String>)> {
    let mut fields: BTreeMap<String, Type> = BTreeMap::new();
    let mut tags = BTreeSet::new();
    let mut add = |name: String, found: Type| {
        let held = fields.entry(name).or_insert(Type::Unknown);
        *held = held.stronger(found);
    };
    for source in sources {
        match source {
            ResolvedSource::Measurement(measurement) => {
                for (name, field_type) in &measurement.schema.fields {
                    add(String::from_utf8_lossy(name).into_owned(), (*field_type).into());
                    pace.spent(NAME_NS).await;
                }
                for key in &measurement.schema.tag_keys {
                    tags.insert(String::from_utf8_lossy(key).into_owned());
                }
            }
            ResolvedSource::Subquery(inner) => {
                for field in &inner.fields {
                    let found = inner.type_of(&field.expr)?;
                    add(field_name(field), found);
                    if let Expr::Call(call) = &field.expr
                        && matches!(call.name.as_str(), "top" | "bottom")
                        && call.args.len() > 2
                    {
                        for argument in &call.args[1..call.args.len() - 1] {
                            if let Expr::VarRef(var) = argument {
                                add(var.name.clone(), inner.type_of(argument)?);
                            }
                        }
                    }
                }
                tags.extend(inner.dimensions.iter().cloned());
            }
        }
    }
    Ok((fields, tags))
}

fn typed(name: &str, found: Type) -> Expr {
    Expr::VarRef(VarRef { name: name.to_string(), data_type: data_type(found) })
}

/// Spells wildcards and patterns out.
async fn expand(compiled: Compiled, sources: Vec<ResolvedSource>, pace: &Pace) -> Result<Resolved> {
    let mut field_wildcard = false;
    for field in &compiled.statement.fields {
        field.expr.walk(&mut |expr| field_wildcard |= is_wild(expr));
    }
    let dimension_wildcard = compiled.statement.dimensions.iter().any(|dimension| is_wild(&dimension.expr));
    let mut fields = compiled.statement.fields.clone();
    let mut dimensions: Vec<String> = Vec::new();
    let (mut known, mut tags) = Default::default();
    if field_wildcard || dimension_wildcard {
        (known, tags) = fields_and_tags(&sources, pace).await?;
    }
    // Tags that are grouped by are no columns.
    let mut candidates: Vec<(String, Type)> = Vec::new();
    if !known.is_empty() {
        candidates.extend(known);
        if !dimension_wildcard {
            let grouped: BTreeSet<&str> = compiled
                .statement
                .dimensions
                .iter()
                .filter_map(|dimension| match &dimension.expr {
                    Expr::VarRef(var) => Some(var.name.as_str()),
                    _ => None,
                })
                .collect();
            candidates.extend(
                tags.iter().filter(|tag| !grouped.contains(tag.as_str())).map(|tag| (tag.clone(), Type::Tag)),
            );
        }
        candidates.sort_by(|a, b| a.0.cmp(&b.0));
    }
    pace.spent(NAME_NS * candidates.len() as u64).await;
    if field_wildcard {
        let mut expanded = Vec::with_capacity(fields.len() + candidates.len());
        for field in fields {
            expand_field(field, &candidates, &mut expanded, pace).await?;
        }
        fields = expanded;
    }
    for Dimension { expr } in &compiled.statement.dimensions {
        match expr {
            Expr::VarRef(var) => dimensions.push(var.name.clone()),
            Expr::Wildcard(_) => dimensions.extend(tags.iter().cloned()),
            Expr::Regex(regex) => {
                let pattern = compile_pattern(&regex.pattern)?;
                dimensions.extend(tags.iter().filter(|tag| pattern.is_match(tag)).cloned());
            }
            _ => {}
        }
    }
    Ok(Resolved { compiled, fields, dimensions, sources })
}

async fn expand_field(
    field: Field,
    candidates: &[(String, Type)],
    out: &mut Vec<Field>,
    pace: &Pace,
) -> Result<()> {
    match &field.expr {
        Expr::Wildcard(kind) => {
            for (name, found) in candidates {
                let wanted = match kind {
                    WildcardKind::All => true,
                    WildcardKind::Field => *found != Type::Tag,
                    WildcardKind::Tag => *found == Type::Tag,
                };
                if wanted {
                    out.push(Field { expr: typed(name, *found), alias: None });
                    pace.spent(NAME_NS).await;
                }
            }
        }
        Expr::Regex(regex) => {
            let pattern = compile_pattern(&regex.pattern)?;
            for (name, found) in candidates.iter().filter(|(name, _)| pattern.is_match(name)) {
                out.push(Field { expr: typed(name, *found), alias: None });
            }
        }
        Expr::Call(_) => {
            let Some((name, wild)) = innermost(&field.expr) else {
                out.push(field);
                return Ok(());
            };
            let pattern = match wild {
                Expr::Wildcard(WildcardKind::Tag) => {
                    return Err(QueryError::statement(format!("unable to use tag wildcard in {name}()")));
                }
                Expr::Wildcard(_) => None,
                Expr::Regex(regex) => Some(compile_pattern(&regex.pattern)?),
                _ => {
                    out.push(field);
                    return Ok(());
                }
            };
            let prefix = field_name(&field);
            for (candidate, found) in candidates {
                if !is_expandable(name, *found)
                    || pattern.as_ref().is_some_and(|pattern| !pattern.is_match(candidate))
                {
                    continue;
                }
                let mut expr = field.expr.clone();
                replace_innermost(&mut expr, typed(candidate, *found));
                out.push(Field { expr, alias: Some(format!("{prefix}_{candidate}")) });
                pace.spent(EXPANDED_NS).await;
            }
        }
        Expr::Binary(_) | Expr::Paren(_) => {
            let (mut wildcard, mut regex) = (false, false);
            field.expr.walk(&mut |expr| {
                wildcard |= matches!(expr, Expr::Wildcard(_));
                regex |= matches!(expr, Expr::Regex(_));
            });
            if wildcard {
                return Err(QueryError::statement(format!(
                    "unsupported expression with wildcard: {}",
                    text(&field.expr)
                )));
            }
            if regex {
                return Err(QueryError::statement(format!(
                    "unsupported expression with regex field: {}",
                    text(&field.expr)
                )));
            }
            out.push(field);
        }
        _ => out.push(field),
    }
    Ok(())
}

/// The innermost first argument of nested calls, and the call it stands in.
fn innermost(expr: &Expr) -> Option<(&str, &Expr)> {
    let Expr::Call(call) = expr else { return None };
    let first = call.args.first()?;
    match first {
        Expr::Call(_) => innermost(first),
        other => Some((&call.name, other)),
    }
}

fn replace_innermost(expr: &mut Expr, with: Expr) {
    if let Expr::Call(call) = expr
        && let Some(first) = call.args.first_mut()
    {
        if matches!(first, Expr::Call(_)) {
            replace_innermost(first, with);
        } else {
            *first = with;
        }
    }
}

/// Which fields `f(*)` is spelled out to.
fn is_expandable(function: &str, found: Type) -> bool {
    match found {
        Type::Float | Type::Integer => true,
        Type::Unsigned => !function.starts_with("holt_winters"),
        Type::String => {
            matches!(function, "count" | "first" | "last" | "distinct" | "elapsed" | "mode" | "sample")
        }
        Type::Boolean => matches!(
            function,
            "count" | "first" | "last" | "distinct" | "elapsed" | "mode" | "sample" | "min" | "max"
        ),
        Type::Tag | Type::Unknown => false,
    }
}

/// Calls of an expression that are no math functions, outermost only.
pub fn calls_in<'a>(expr: &'a Expr, found: &mut Vec<&'a Expr>) {
    match expr {
        Expr::Call(call) if is_math_function(&call.name) => {
            call.args.iter().for_each(|argument| calls_in(argument, found));
        }
        Expr::Call(_) => found.push(expr),
        Expr::Binary(binary) => {
            calls_in(&binary.left, found);
            calls_in(&binary.right, found);
        }
        Expr::Paren(inner) => calls_in(inner, found),
        _ => {}
    }
}

/// References of an expression that stand outside of calls (math functions are looked into).
pub fn refs_in<'a>(expr: &'a Expr, found: &mut Vec<&'a VarRef>) {
    match expr {
        Expr::Call(call) if is_math_function(&call.name) => {
            call.args.iter().for_each(|argument| refs_in(argument, found));
        }
        Expr::VarRef(var) => found.push(var),
        Expr::Binary(binary) => {
            refs_in(&binary.left, found);
            refs_in(&binary.right, found);
        }
        Expr::Paren(inner) => refs_in(inner, found),
        _ => {}
    }
}
