//! Data in memory behind [`DataSource`], for tests: plain maps, read the obvious way, spread over two pretended cores.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use tidemark_engine::Result as EngineResult;
use tidemark_engine::model::{Column, FieldType, TimeRange, Value, series_key};
use tidemark_engine::scan::filter::{Division, Program, Verdict};
use tidemark_engine::scan::partial::PartialTable;
use tidemark_engine::scan::request::{
    CatalogKind, CatalogReply, CatalogRequest, MeasurementSchema, ScanChunk, ScanColumn, ScanCost, ScanGroup,
    ScanOutput, ScanRequest, TagFilter,
};

use super::super::error::{QueryError, Result};
use super::{ChunkStream, DataSource, Place};

type Fields = BTreeMap<Vec<u8>, Value>;

/// Rows of every series of every place.
#[derive(Debug, Default)]
pub struct MemorySource {
    /// Database → (default retention policy, retention policies).
    databases: BTreeMap<String, (String, Vec<String>)>,
    rows: BTreeMap<Place, BTreeMap<Vec<u8>, BTreeMap<i64, Fields>>>,
    /// What a measurement's reading is said to cost, beside the series and values there are.
    pub files: ScanCost,
    /// Chunks of scans that are still given; after them the scans wait for ever. `None`: all there are.
    pub chunks_left: Rc<Cell<Option<usize>>>,
}

/// How many streams a scan gives.
const CORES: u64 = 2;
/// Rows of a chunk: few, so that tests cross chunks.
const CHUNK_ROWS: usize = 7;
/// Field types belong to spans of this length.
const GROUP_SPAN: i64 = 7 * 86_400_000_000_000;

impl MemorySource {
    pub fn create_database(&mut self, name: &str) {
        self.databases
            .entry(name.to_string())
            .or_insert_with(|| ("autogen".to_string(), vec!["autogen".to_string()]));
    }

    pub fn create_retention_policy(&mut self, database: &str, name: &str, default: bool) {
        self.create_database(database);
        if let Some((held, all)) = self.databases.get_mut(database) {
            if default {
                *held = name.to_string();
            }
            if !all.iter().any(|held| held == name) {
                all.push(name.to_string());
            }
        }
    }

    pub fn write(&mut self, place: &Place, key: &[u8], time: i64, fields: Fields) {
        let rows = self.rows.entry(place.clone()).or_default();
        let row = rows.entry(key.to_vec()).or_default().entry(time).or_default();
        row.extend(fields);
    }

    fn series<'a>(
        &'a self,
        place: &Place,
        measurement: &'a [u8],
    ) -> impl Iterator<Item = (&'a Vec<u8>, &'a BTreeMap<i64, Fields>)> {
        self.rows
            .get(place)
            .into_iter()
            .flatten()
            .filter(move |(key, _)| series_key::measurement(key).as_ref() == measurement)
    }

    fn schemas(&self, place: &Place, time: TimeRange) -> Vec<MeasurementSchema> {
        let mut found: BTreeMap<Vec<u8>, MeasurementSchema> = BTreeMap::new();
        for (key, rows) in self.rows.get(place).into_iter().flatten() {
            let measurement = series_key::measurement(key).into_owned();
            let near = |at: i64| {
                let start = at.div_euclid(GROUP_SPAN) * GROUP_SPAN;
                TimeRange::new(start, start.saturating_add(GROUP_SPAN)).overlaps(&time)
            };
            if !rows.keys().any(|at| near(*at)) {
                continue;
            }
            let schema = found.entry(measurement.clone()).or_default();
            schema.measurement = measurement;
            for (name, _) in series_key::tags(key) {
                schema.tag_keys.push(name.into_owned());
            }
            for (_, fields) in rows.iter().filter(|(at, _)| near(**at)) {
                for (name, value) in fields {
                    schema.fields.push((name.clone(), value.field_type()));
                }
            }
        }
        found
            .into_values()
            .map(|mut schema| {
                schema.fields.sort();
                schema.fields.dedup();
                schema.tag_keys.sort();
                schema.tag_keys.dedup();
                schema
            })
            .collect()
    }
}

/// Chunks made beforehand.
pub struct MemoryStream {
    chunks: VecDeque<ScanChunk>,
    left: Rc<Cell<Option<usize>>>,
}

impl ChunkStream for MemoryStream {
    async fn next(&mut self) -> EngineResult<Option<ScanChunk>> {
        match self.left.get() {
            Some(0) => std::future::pending().await,
            left => self.left.set(left.map(|left| left - 1)),
        }
        Ok(self.chunks.pop_front())
    }

    fn peak_bytes(&self) -> u64 {
        0
    }
}

impl DataSource for MemorySource {
    type Stream = MemoryStream;

    fn place(&self, database: &str, retention_policy: &str) -> Result<Place> {
        let Some((default, all)) = self.databases.get(database) else {
            return Err(QueryError::statement(format!("database not found: {database}")));
        };
        let name = if retention_policy.is_empty() { default } else { retention_policy };
        if !all.iter().any(|held| held == name) {
            return Err(QueryError::statement(format!("retention policy not found: {name}")));
        }
        Ok(Place { database: database.to_string(), retention_policy: name.to_string() })
    }

    fn places(&self, database: &str) -> Result<Vec<Place>> {
        let Some((_, all)) = self.databases.get(database) else {
            return Err(QueryError::statement(format!("database not found: {database}")));
        };
        Ok(all
            .iter()
            .map(|name| Place { database: database.to_string(), retention_policy: name.clone() })
            .collect())
    }

    fn group_ranges(&self, _place: &Place, _time: TimeRange) -> Vec<TimeRange> {
        vec![TimeRange::ALL]
    }

    fn shard_count(&self, _place: &Place, _time: TimeRange) -> u64 {
        1
    }

    async fn catalog(&self, place: &Place, request: &CatalogRequest) -> Result<Vec<CatalogReply>> {
        let mut schemas = self.schemas(place, request.time);
        if let Some(names) = &request.measurements {
            schemas.retain(|schema| names.contains(&schema.measurement));
        }
        Ok(vec![match &request.what {
            CatalogKind::Measurements => {
                CatalogReply::Measurements(schemas.into_iter().map(|schema| schema.measurement).collect())
            }
            CatalogKind::Schema => CatalogReply::Schema(schemas),
            CatalogKind::Series => {
                let named = |key: &[u8]| {
                    let wanted = request.measurements.as_ref();
                    wanted.is_none_or(|names| names.iter().any(|name| *name == *series_key::measurement(key)))
                };
                let keys = self.rows.get(place).into_iter().flatten().map(|(key, _)| key);
                let holds = |key: &&Vec<u8>| request.series.as_ref().is_none_or(|filter| passes(filter, key));
                CatalogReply::Series(keys.filter(|key| named(key)).filter(holds).cloned().collect())
            }
            CatalogKind::TagValues { keys } => {
                let mut values = Vec::new();
                for key in self.rows.get(place).into_iter().flatten().map(|(key, _)| key) {
                    for (name, value) in series_key::tags(key) {
                        if keys.iter().any(|wanted| wanted == name.as_ref()) {
                            values.push((
                                series_key::measurement(key).into_owned(),
                                name.into_owned(),
                                value.into_owned(),
                            ));
                        }
                    }
                }
                values.sort();
                values.dedup();
                CatalogReply::TagValues(values)
            }
            CatalogKind::Cost => {
                let wanted = request.measurements.as_deref().unwrap_or_default();
                let chosen =
                    |key: &&Vec<u8>| request.series.as_ref().is_none_or(|filter| passes(filter, key));
                let mut cost = self.files;
                for (_, rows) in
                    wanted.iter().flat_map(|name| self.series(place, name)).filter(|row| chosen(&row.0))
                {
                    let rows = rows.range(request.time.start..request.time.end.max(request.time.start));
                    cost.series += 1;
                    cost.cached_values += rows.map(|(_, fields)| fields.len() as u64).sum::<u64>();
                }
                CatalogReply::Cost(cost)
            }
        }])
    }

    async fn scan(&self, place: &Place, request: &ScanRequest) -> Result<Vec<MemoryStream>> {
        let mut streams = Vec::new();
        for core in 0..CORES {
            let (chunks, left) = (self.scan_core(place, request, core)?, self.chunks_left.clone());
            streams.push(MemoryStream { chunks, left });
        }
        Ok(streams)
    }
}

impl MemorySource {
    fn scan_core(&self, place: &Place, request: &ScanRequest, core: u64) -> Result<VecDeque<ScanChunk>> {
        let program = match &request.rows {
            None => None,
            Some(expr) => Some(Program::compile(expr, Division::Integer)?),
        };
        // Group → rows as (time, key, values).
        let mut groups: BTreeMap<ScanGroup, Vec<(i64, Vec<u8>, Vec<Option<Value>>)>> = BTreeMap::new();
        for (key, rows) in self.series(place, &request.measurement) {
            if series_key::hash(key) % CORES != core
                || !request.series.as_ref().is_none_or(|filter| passes(filter, key))
            {
                continue;
            }
            let tag =
                |name: &[u8]| series_key::tag_value(key, name).map(|value| Cow::Owned(value.into_owned()));
            let verdict = program.as_ref().map(|program| program.verdict(&tag));
            let group = ScanGroup {
                values: request
                    .dimensions
                    .iter()
                    .map(|name| series_key::tag_value(key, name).unwrap_or_default().into_owned())
                    .collect(),
            };
            for (time, fields) in rows.range(request.time.start..request.time.end.max(request.time.start)) {
                let pass = match (&program, &verdict) {
                    (Some(program), Some(Verdict::Rows(series))) => {
                        let columns: Vec<Option<Column>> = program
                            .fields()
                            .iter()
                            .map(|name| {
                                fields.get(name).map(|value| {
                                    let mut column = Column::empty(value.field_type());
                                    column.push(Some(value));
                                    column
                                })
                            })
                            .collect();
                        let columns: Vec<Option<&Column>> = columns.iter().map(Option::as_ref).collect();
                        series.select(&[*time], &columns).get(0)
                    }
                    (_, Some(Verdict::None)) => false,
                    _ => true,
                };
                if !pass {
                    continue;
                }
                let mut any = false;
                let values: Vec<Option<Value>> = request
                    .columns
                    .iter()
                    .map(|column| match column {
                        ScanColumn::Tag { name } => {
                            series_key::tag_value(key, name).map(|value| Value::String(value.into_owned()))
                        }
                        ScanColumn::Field { name, as_type, .. } => {
                            let value = fields.get(name).and_then(|value| convert(value, *as_type));
                            any |= value.is_some();
                            value
                        }
                    })
                    .collect();
                if any {
                    groups.entry(group.clone()).or_default().push((*time, key.clone(), values));
                }
            }
        }
        let mut chunks = VecDeque::new();
        for (group, mut rows) in groups {
            rows.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
            match &request.output {
                ScanOutput::Partials { window, calls } => {
                    let types: Vec<FieldType> = request.columns.iter().map(column_type).collect();
                    let mut table = PartialTable::new(*window, request.time.start, calls, &types);
                    rows.sort_by(|a, b| (&a.1, a.0).cmp(&(&b.1, b.0)));
                    for series in rows.chunk_by(|a, b| a.1 == b.1) {
                        let times: Vec<i64> = series.iter().map(|row| row.0).collect();
                        table.fold_rows(&times, &columns_of(request, series));
                    }
                    let (windows, partials) = table.finish(request.descending);
                    chunks.push_back(ScanChunk::Partials { group, windows, partials });
                }
                ScanOutput::Rows { ahead, .. } => {
                    if request.descending {
                        rows.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
                    }
                    if *ahead {
                        sent_ahead(&mut rows);
                    }
                    for rows in rows.chunks(CHUNK_ROWS) {
                        let mut series_keys: Vec<Vec<u8>> = Vec::new();
                        let mut series = Vec::new();
                        for (_, key, _) in rows {
                            let at = series_keys.iter().position(|held| held == key).unwrap_or_else(|| {
                                series_keys.push(key.clone());
                                series_keys.len() - 1
                            });
                            series.push(at as u32);
                        }
                        chunks.push_back(ScanChunk::Rows {
                            group: group.clone(),
                            times: rows.iter().map(|row| row.0).collect(),
                            columns: columns_of(request, rows),
                            series,
                            series_keys,
                        });
                    }
                }
            }
        }
        if request.descending {
            let mut by_group: Vec<ScanChunk> = chunks.into();
            by_group.sort_by(|a, b| group_of(b).cmp(group_of(a)));
            chunks = by_group.into();
        }
        Ok(chunks)
    }
}

/// Brings rows, each with its time, key and values, to the places of the rows before them in their series.
fn sent_ahead(rows: &mut Vec<(i64, Vec<u8>, Vec<Option<Value>>)>) {
    let mut last: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    // Positions are in order of time, and keys for one time: none comes before all.
    let mut placed: Vec<(Option<usize>, usize)> = Vec::new();
    for (at, (_, key, _)) in rows.iter().enumerate() {
        placed.push((last.insert(key.clone(), at), at));
    }
    placed.sort();
    let sent: Vec<_> = placed.iter().map(|(_, at)| rows[*at].clone()).collect();
    *rows = sent;
}

fn group_of(chunk: &ScanChunk) -> &ScanGroup {
    match chunk {
        ScanChunk::Rows { group, .. } | ScanChunk::Partials { group, .. } => group,
    }
}

fn column_type(column: &ScanColumn) -> FieldType {
    match column {
        ScanColumn::Tag { .. } => FieldType::String,
        ScanColumn::Field { as_type, .. } => *as_type,
    }
}

fn columns_of(request: &ScanRequest, rows: &[(i64, Vec<u8>, Vec<Option<Value>>)]) -> Vec<Column> {
    let mut columns: Vec<Column> =
        request.columns.iter().map(|column| Column::empty(column_type(column))).collect();
    for (_, _, values) in rows {
        for (column, value) in columns.iter_mut().zip(values) {
            column.push(value.as_ref());
        }
    }
    columns
}

fn convert(value: &Value, to: FieldType) -> Option<Value> {
    Some(match (value, to) {
        (value, to) if value.field_type() == to => value.clone(),
        (Value::Integer(value), FieldType::Float) => Value::Float(*value as f64),
        (Value::Unsigned(value), FieldType::Float) => Value::Float(*value as f64),
        (Value::Float(value), FieldType::Integer) => Value::Integer(*value as i64),
        (Value::Unsigned(value), FieldType::Integer) => Value::Integer(*value as i64),
        (Value::Float(value), FieldType::Unsigned) => Value::Unsigned(*value as u64),
        (Value::Integer(value), FieldType::Unsigned) => Value::Unsigned(*value as u64),
        _ => return None,
    })
}

fn passes(filter: &TagFilter, key: &[u8]) -> bool {
    let value = |name: &[u8]| series_key::tag_value(key, name).unwrap_or_default().into_owned();
    let matches = |name: &[u8], pattern: &str| {
        regex::bytes::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(&value(name)))
    };
    match filter {
        TagFilter::Equal { name, value: wanted } => value(name) == *wanted,
        TagFilter::NotEqual { name, value: wanted } => value(name) != *wanted,
        TagFilter::Matches { name, pattern } => matches(name, pattern),
        TagFilter::NotMatches { name, pattern } => !matches(name, pattern),
        TagFilter::And(all) => all.iter().all(|filter| passes(filter, key)),
        TagFilter::Or(any) => any.iter().any(|filter| passes(filter, key)),
        TagFilter::Constant(constant) => *constant,
    }
}
