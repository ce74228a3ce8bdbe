//! SHOW against a catalogue in memory, with answers recorded from influxd 1.6.7.

use std::cell::RefCell;

use futures_lite::future::{block_on, poll_once};
use tidemark_engine::Result as EngineResult;
use tidemark_engine::model::{FieldType, TimeRange, series_key};
use tidemark_engine::scan::request::{
    CatalogKind, CatalogReply, CatalogRequest, MeasurementSchema, ScanChunk, ScanCost, ScanRequest, TagFilter,
};

use super::*;
use crate::influxql::ast::Statement;
use crate::influxql::parse_statement;
use crate::meta::{self, Command};
use crate::query::result::Collected;
use crate::query::source::{ChunkStream, Place};

/// Series with their fields and one timestamp each, in the database `db0`.
pub struct Catalog {
    pub meta: RefCell<Data>,
    pub series: RefCell<Vec<(&'static str, Vec<(&'static str, FieldType)>, i64)>>,
}

pub struct NoStream;

impl ChunkStream for NoStream {
    async fn next(&mut self) -> EngineResult<Option<ScanChunk>> {
        Ok(None)
    }

    fn peak_bytes(&self) -> u64 {
        0
    }
}

fn passes(filter: &TagFilter, key: &[u8]) -> bool {
    let tag = |name: &[u8]| series_key::tag_value(key, name).unwrap_or_default().into_owned();
    let search =
        |pattern: &str, value: &[u8]| regex::bytes::Regex::new(pattern).expect("compiles").is_match(value);
    match filter {
        TagFilter::Equal { name, value } => tag(name) == *value,
        TagFilter::NotEqual { name, value } => tag(name) != *value,
        TagFilter::Matches { name, pattern } => search(pattern, &tag(name)),
        TagFilter::NotMatches { name, pattern } => !search(pattern, &tag(name)),
        TagFilter::And(all) => all.iter().all(|filter| passes(filter, key)),
        TagFilter::Or(any) => any.iter().any(|filter| passes(filter, key)),
        TagFilter::Constant(constant) => *constant,
    }
}

impl Catalog {
    /// What the recorded answers were asked of.
    pub fn recorded() -> Self {
        use FieldType::*;
        let mut meta = Data::default();
        let create = |name: &str| Command::CreateDatabase { name: name.into(), spec: None, autocreate: true };
        meta::apply::apply(&mut meta, &create("db0")).expect("created");
        let series = vec![
            ("cpu,host=server01", vec![("value", Float)], 1),
            ("cpu,host=server01,region=uswest", vec![("value", Float), ("s", String)], 2),
            ("cpu,host=server01,region=useast", vec![("value", Float)], 3),
            ("cpu,host=server02,region=useast", vec![("value", Float)], 4),
            ("gpu,host=server02,region=useast", vec![("value", Integer)], 5),
            ("gpu,host=server03,region=caeast", vec![("value", Integer)], 6),
            ("disk,host=server03,region=caeast", vec![("b", Boolean)], 7),
            ("notags", vec![("v", Float)], 8),
            ("we\\ ird,t\\ k=a\\,b", vec![("f f", Float)], 9),
        ];
        Self { meta: RefCell::new(meta), series: RefCell::new(series) }
    }
}

impl DataSource for Catalog {
    type Stream = NoStream;

    fn place(&self, database: &str, retention_policy: &str) -> Result<Place> {
        let meta = self.meta.borrow();
        let Some(info) = meta.database(database) else {
            return Err(QueryError::statement(format!("database not found: {database}")));
        };
        match info.retention_policy(retention_policy) {
            Some(policy) => Ok(Place { database: database.into(), retention_policy: policy.name.clone() }),
            None => Err(QueryError::statement(format!("retention policy not found: {retention_policy}"))),
        }
    }

    fn places(&self, database: &str) -> Result<Vec<Place>> {
        Ok(vec![self.place(database, "")?])
    }

    fn group_ranges(&self, _: &Place, _: TimeRange) -> Vec<TimeRange> {
        vec![TimeRange::ALL]
    }

    fn shard_count(&self, _: &Place, _: TimeRange) -> u64 {
        1
    }

    async fn catalog(&self, _: &Place, request: &CatalogRequest) -> Result<Vec<CatalogReply>> {
        let all = self.series.borrow();
        let chosen = all.iter().filter(|(key, _, time)| {
            let measurement = series_key::measurement(key.as_bytes());
            request.time.contains(*time)
                && request
                    .measurements
                    .as_ref()
                    .is_none_or(|names| names.iter().any(|name| *name == *measurement))
                && request.series.as_ref().is_none_or(|filter| passes(filter, key.as_bytes()))
        });
        // Two cores, to be merged.
        let mut replies = Vec::new();
        for core in 0..2 {
            let mine: Vec<_> = chosen.clone().filter(|(key, ..)| key.len() % 2 == core).collect();
            let measurement = |key: &str| series_key::measurement(key.as_bytes()).into_owned();
            let mut names: Vec<_> = mine.iter().map(|(key, ..)| measurement(key)).collect();
            names.sort();
            names.dedup();
            replies.push(match &request.what {
                CatalogKind::Measurements => CatalogReply::Measurements(names),
                CatalogKind::Series => {
                    let mut keys: Vec<_> = mine.iter().map(|(key, ..)| key.as_bytes().to_vec()).collect();
                    keys.sort();
                    CatalogReply::Series(keys)
                }
                CatalogKind::TagValues { keys } => {
                    let mut values = Vec::new();
                    for (key, ..) in mine {
                        for (tag, value) in series_key::tags(key.as_bytes()) {
                            if keys.iter().any(|wanted| *wanted == *tag) {
                                values.push((measurement(key), tag.into_owned(), value.into_owned()));
                            }
                        }
                    }
                    values.sort();
                    values.dedup();
                    CatalogReply::TagValues(values)
                }
                CatalogKind::Schema => CatalogReply::Schema(
                    names
                        .into_iter()
                        .map(|name| {
                            let mut schema =
                                MeasurementSchema { measurement: name.clone(), ..Default::default() };
                            for (key, fields, _) in mine.iter().filter(|(key, ..)| measurement(key) == name) {
                                let fields =
                                    fields.iter().map(|(name, kind)| (name.as_bytes().to_vec(), *kind));
                                schema.fields.extend(fields);
                                let tags = series_key::tags(key.as_bytes()).map(|(tag, _)| tag.into_owned());
                                schema.tag_keys.extend(tags);
                            }
                            schema.fields.sort();
                            schema.fields.dedup();
                            schema.tag_keys.sort();
                            schema.tag_keys.dedup();
                            schema
                        })
                        .collect(),
                ),
                CatalogKind::Cost => CatalogReply::Cost(ScanCost::default()),
            });
        }
        Ok(replies)
    }

    async fn scan(&self, _: &Place, _: &ScanRequest) -> Result<Vec<NoStream>> {
        Ok(Vec::new())
    }
}

/// An answer on one line: `name{tags}: a b, c d`.
pub fn print(answer: &Collected) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut out = Vec::new();
    for series in &answer.series {
        let mut name = text(&series.name);
        if !series.tags.is_empty() {
            let tags: Vec<_> =
                series.tags.iter().map(|(key, value)| format!("{}={}", text(key), text(value))).collect();
            name += &format!("{{{}}}", tags.join(","));
        }
        let cell = |cell: Cell| match cell {
            Cell::String(bytes) => text(&bytes),
            Cell::Integer(integer) => integer.to_string(),
            Cell::Boolean(boolean) => boolean.to_string(),
            Cell::List(all) => all.iter().map(|bytes| text(bytes)).collect::<Vec<_>>().join("|"),
            other => format!("{other:?}"),
        };
        let row =
            |row: usize| series.values.iter().map(|cells| cell(cells.get(row))).collect::<Vec<_>>().join(" ");
        out.push(format!("{name}: {}", (0..series.rows()).map(row).collect::<Vec<_>>().join(", ")));
    }
    out.join("; ")
}

fn ask(text: &str, on: &str) -> std::string::String {
    let catalog = Catalog::recorded();
    let pace = Pace::new();
    let (now, budget_bytes) = (1_000_000, 1 << 20);
    let request = Request { database: on, retention_policy: "", now, budget_bytes, pace: &pace };
    let meta = catalog.meta.borrow().clone();
    let mut sink = Collected::default();
    let statement = parse_statement(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let result = block_on(async {
        match &statement {
            Statement::ShowMeasurements(show) => {
                measurements(show, &request, &catalog, &meta, None, &mut sink).await
            }
            Statement::ShowSeries(show) => series(show, &request, &catalog, &mut sink).await,
            Statement::ShowFieldKeys(show) => field_keys(show, &request, &catalog, &mut sink).await,
            Statement::ShowTagKeys(show) => tags::tag_keys(show, &request, &catalog, &mut sink).await,
            Statement::ShowTagValues(show) => tags::tag_values(show, &request, &catalog, &mut sink).await,
            Statement::ShowCardinality(show) => {
                cardinality::cardinality(show, &request, &catalog, &mut sink).await
            }
            other => panic!("not a SHOW of data: {other}"),
        }
    });
    match result {
        Ok(()) => print(&sink),
        Err(error) => format!("error: {error}"),
    }
}

fn check(cases: &[(&str, &str)]) {
    for (text, want) in cases {
        assert_eq!(ask(text, "db0"), *want, "{text}");
    }
}

#[test]
fn measurements_are_listed_by_what_holds_for_them() {
    check(&[
        ("SHOW MEASUREMENTS", "measurements: cpu, disk, gpu, notags, we ird"),
        ("SHOW MEASUREMENTS LIMIT 2 OFFSET 1", "measurements: disk, gpu"),
        ("SHOW MEASUREMENTS OFFSET 10", ""),
        ("SHOW MEASUREMENTS ON nope", ""),
        ("SHOW MEASUREMENTS WITH MEASUREMENT = cpu", "measurements: cpu"),
        ("SHOW MEASUREMENTS WITH MEASUREMENT =~ /c|g/", "measurements: cpu, gpu, notags"),
        ("SHOW MEASUREMENTS WHERE host = 'server01'", "measurements: cpu"),
        ("SHOW MEASUREMENTS WHERE host != 'server01'", "measurements: disk, gpu"),
        ("SHOW MEASUREMENTS WHERE host != 'server03'", "measurements: cpu"),
        ("SHOW MEASUREMENTS WHERE host !~ /server0[12]/", "measurements: disk"),
        ("SHOW MEASUREMENTS WHERE host = ''", ""),
        ("SHOW MEASUREMENTS WHERE host != ''", "measurements: cpu, disk, gpu"),
        ("SHOW MEASUREMENTS WHERE host = 'server03' AND region = 'caeast'", "measurements: disk, gpu"),
        ("SHOW MEASUREMENTS WHERE (host = 'server01') OR region = 'caeast'", "measurements: cpu, disk, gpu"),
        ("SHOW MEASUREMENTS WHERE _name = 'cpu'", "measurements: cpu"),
        ("SHOW MEASUREMENTS WHERE _name != 'cpu'", "measurements: disk, gpu, notags, we ird"),
        ("SHOW MEASUREMENTS WHERE _name =~ /^.pu$/", "measurements: cpu, gpu"),
        ("SHOW MEASUREMENTS WHERE _name !~ /u/", "measurements: disk, notags, we ird"),
        ("SHOW MEASUREMENTS WHERE _name = 'gpu' OR host = 'server01'", "measurements: cpu, gpu"),
        ("SHOW MEASUREMENTS WHERE value > 10", "error: invalid tag comparison operator"),
        ("SHOW MEASUREMENTS WHERE value = 10", "error: right side of '=' must be a tag value string"),
        ("SHOW MEASUREMENTS WHERE 'server01' = host", "error: left side of '=' must be a tag key"),
        ("SHOW MEASUREMENTS WHERE time > 0", "error: SHOW MEASUREMENTS doesn't support time in WHERE clause"),
        ("SHOW MEASUREMENTS ON *.* LIMIT 1", "measurements: cpu db0 autogen"),
        ("SHOW MEASUREMENTS ON db0.autogen LIMIT 1", "measurements: cpu db0 autogen"),
        (
            "SHOW MEASUREMENTS ON *",
            "error: query 'SHOW MEASUREMENTS ON *' not supported. use 'ON *.*' or specify a database",
        ),
    ]);
    assert_eq!(ask("SHOW MEASUREMENTS", ""), "error: database name required");
}

#[test]
fn series_are_listed_by_their_tags() {
    let caeast = ": disk,host=server03,region=caeast, gpu,host=server03,region=caeast";
    check(&[
        (
            "SHOW SERIES LIMIT 2 OFFSET 2",
            ": cpu,host=server01,region=uswest, cpu,host=server02,region=useast",
        ),
        ("SHOW SERIES OFFSET 100", ""),
        ("SHOW SERIES FROM nope", ""),
        ("SHOW SERIES FROM db0.autogen.disk", ": disk,host=server03,region=caeast"),
        ("SHOW SERIES FROM db0.nope.cpu", "error: retention policy not found: nope"),
        ("SHOW SERIES FROM nope..cpu", "error: database not found: nope"),
        ("SHOW SERIES WHERE region = 'caeast'", caeast),
        ("SHOW SERIES WHERE region =~ /^ca/ AND time > 0", caeast),
        ("SHOW SERIES WHERE host = ''", ": notags, we\\ ird,t\\ k=a\\,b"),
        ("SHOW SERIES FROM /n/ WHERE host = ''", ": notags"),
        ("SHOW SERIES WHERE false", ""),
        ("SHOW SERIES WHERE time < 0", ""),
        ("SHOW SERIES WHERE host", "error: invalid condition expression: host"),
        ("SHOW SERIES WHERE host < 'a'", "error: invalid tag comparison operator"),
        ("SHOW SERIES WHERE f(host) = 'a'", "error: invalid function call in condition: f(host)"),
        // A field tells nothing about a series.
        (
            "SHOW SERIES FROM gpu, disk WHERE value = 'x'",
            ": gpu,host=server02,region=useast, gpu,host=server03,region=caeast",
        ),
        ("SHOW SERIES FROM disk WHERE value = 100", ": disk,host=server03,region=caeast"),
    ]);
    assert_eq!(ask("SHOW SERIES", "nope"), "error: database not found: nope");
}

#[test]
fn tag_keys_and_values_are_listed_per_measurement() {
    check(&[
        ("SHOW TAG KEYS", "cpu: host, region; disk: host, region; gpu: host, region; we ird: t k"),
        ("SHOW TAG KEYS OFFSET 1", "cpu: region; disk: region; gpu: region"),
        ("SHOW TAG KEYS FROM cpu, gpu LIMIT 1", "cpu: host; gpu: host"),
        ("SHOW TAG KEYS WHERE region = ''", "cpu: host; we ird: t k"),
        ("SHOW TAG KEYS WHERE value = 'x'", "cpu: host, region; gpu: host, region"),
        ("SHOW TAG KEYS WHERE value > 10", "error: invalid tag comparison operator"),
        ("SHOW TAG KEYS FROM nope", ""),
        ("SHOW TAG KEYS ON nope", "error: database not found: nope"),
        (
            "SHOW TAG VALUES WITH KEY = host",
            "cpu: host server01, host server02; disk: host server03; gpu: host server02, host server03",
        ),
        ("SHOW TAG VALUES WITH KEY = host OFFSET 1", "cpu: host server02; gpu: host server03"),
        (
            "SHOW TAG VALUES FROM gpu WITH KEY IN (host, region) LIMIT 3",
            "gpu: host server02, host server03, region caeast",
        ),
        ("SHOW TAG VALUES FROM disk, /we/ WITH KEY != host", "disk: region caeast; we ird: t k a,b"),
        ("SHOW TAG VALUES FROM disk WITH KEY !~ /host/", "disk: region caeast"),
        ("SHOW TAG VALUES FROM disk WITH KEY =~ /ho/", "disk: host server03"),
        ("SHOW TAG VALUES WITH KEY = nope", ""),
        ("SHOW TAG VALUES WITH KEY = host WHERE region = ''", "cpu: host server01"),
        (
            "SHOW TAG VALUES WITH KEY = host WHERE region = 'caeast' AND time > 0",
            "disk: host server03; gpu: host server03",
        ),
        (
            "SHOW TAG VALUES WITH KEY = host WHERE value = 'server03'",
            "disk: host server03; gpu: host server03",
        ),
        ("SHOW TAG VALUES WITH KEY = host WHERE value = 5000", ""),
        ("SHOW TAG VALUES WITH KEY = host WHERE value > 10", "error: invalid tag comparison operator"),
    ]);
}

#[test]
fn field_keys_have_their_types() {
    check(&[
        (
            "SHOW FIELD KEYS",
            "cpu: s string, value float; disk: b boolean; gpu: value integer; notags: v float; we ird: f f float",
        ),
        ("SHOW FIELD KEYS FROM cpu, /d$|i/ LIMIT 1", "cpu: s string; disk: b boolean; we ird: f f float"),
        ("SHOW FIELD KEYS OFFSET 1", "cpu: value float"),
        ("SHOW FIELD KEYS FROM db0.nope.cpu", "error: retention policy not found: nope"),
    ]);
}

#[test]
fn things_are_counted_per_measurement_and_tags() {
    check(&[
        ("SHOW SERIES CARDINALITY", ": 9"),
        ("SHOW SERIES CARDINALITY ON nope", ": 0"),
        ("SHOW SERIES EXACT CARDINALITY", "cpu: 4; disk: 1; gpu: 2; notags: 1; we ird: 1"),
        ("SHOW SERIES CARDINALITY FROM cpu", "cpu: 4"),
        ("SHOW SERIES EXACT CARDINALITY OFFSET 1", ""),
        (
            "SHOW SERIES EXACT CARDINALITY FROM gpu, notags GROUP BY host",
            "gpu{host=server02}: 1; gpu{host=server03}: 1; notags{host=}: 1",
        ),
        ("SHOW SERIES EXACT CARDINALITY FROM disk GROUP BY *", "disk{host=server03,region=caeast}: 1"),
        (
            "SHOW SERIES EXACT CARDINALITY WHERE time > 0",
            "error: SHOW SERIES EXACT CARDINALITY doesn't support time in WHERE clause",
        ),
        ("SHOW MEASUREMENT CARDINALITY", ": 5"),
        ("SHOW MEASUREMENT EXACT CARDINALITY FROM /c|g/", ": 3"),
        ("SHOW MEASUREMENT EXACT CARDINALITY FROM nope", ""),
        (
            "SHOW MEASUREMENT EXACT CARDINALITY GROUP BY host",
            "{host=}: 2; {host=server01}: 1; {host=server02}: 2; {host=server03}: 2",
        ),
        ("SHOW TAG KEY CARDINALITY", "cpu: 2; disk: 2; gpu: 2; we ird: 1"),
        ("SHOW TAG VALUES CARDINALITY WITH KEY IN (host, region)", "cpu: 4; disk: 2; gpu: 4"),
        ("SHOW TAG VALUES EXACT CARDINALITY WITH KEY = host WHERE region = 'caeast'", "disk: 1; gpu: 1"),
        ("SHOW FIELD KEY CARDINALITY", "cpu: 2; disk: 1; gpu: 1; notags: 1; we ird: 1"),
    ]);
}

#[test]
fn pages_of_many_series_come_in_pieces_and_give_way() {
    let catalog = Catalog::recorded();
    let keys: Vec<&'static str> = (0..5_000).map(|at| &*format!("m,host=h{at:04}").leak()).collect();
    *catalog.series.borrow_mut() = keys.iter().map(|key| (*key, vec![("v", FieldType::Float)], 1)).collect();
    let ask = |statement: &str| {
        let pace = Pace::new();
        let request = Request { database: "db0", retention_policy: "", now: 1, budget_bytes: 0, pace: &pace };
        let Statement::ShowSeries(show) = parse_statement(statement).expect("parses") else { panic!() };
        let mut sink = Collected::default();
        let is_at_once = block_on(poll_once(series(&show, &request, &catalog, &mut sink))).is_some();
        sink.series.clear();
        block_on(series(&show, &request, &catalog, &mut sink)).expect("an answer");
        let cells =
            sink.series.iter().flat_map(|piece| (0..piece.rows()).map(|row| piece.values[0].get(row)));
        let listed: Vec<_> = cells.collect();
        (listed, sink.series.iter().map(Series::rows).collect::<Vec<_>>(), is_at_once)
    };
    let wanted = |range: std::ops::Range<usize>| -> Vec<Cell> {
        keys[range].iter().map(|key| Cell::String(key.as_bytes().to_vec())).collect()
    };
    assert_eq!(ask("SHOW SERIES"), (wanted(0..5_000), vec![1_000; 5], false));
    assert_eq!(ask("SHOW SERIES LIMIT 1200 OFFSET 600"), (wanted(600..1_800), vec![1_000, 200], false));
    assert_eq!(ask("SHOW SERIES LIMIT 10 OFFSET 4995"), (wanted(4_995..5_000), vec![5], false));
    assert_eq!(ask("SHOW SERIES OFFSET 5000"), (Vec::new(), Vec::new(), false));
    catalog.series.borrow_mut().truncate(3);
    assert_eq!(ask("SHOW SERIES"), (wanted(0..3), vec![3], true));
}
