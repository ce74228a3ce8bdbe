//! Plays the SELECTs of the conformance data against [`super::source::memory`]: writes, queries, answers as JSON text.
//!
//! The folder is named by `TIDEMARK_CONFORMANCE`; without it the test says so and passes. Cases that change or show
//! what there is (SHOW, DROP, DELETE, INTO…) belong to the tests of the whole server.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use tidemark_engine::model::{Value, series_key};

use super::source::memory::MemorySource;
use super::{Context, Control, DataSource, Defaults, Limits, result::Collected, select};
use crate::http::encode::{Encoder, Epoch, Options};
use crate::influxql::{Statement, parse_query};

const NOW: i64 = 1_700_000_000_000_000_000;

/// Line protocol through a second implementation: this test is not about the parser.
pub fn write(source: &mut MemorySource, database: &str, retention_policy: &str, unit: i64, data: &str) {
    let Ok(place) = source.place(database, retention_policy) else { return };
    for line in influxdb_line_protocol::parse_lines(data).flatten() {
        let tags: Vec<(String, String)> = line
            .series
            .tag_set
            .iter()
            .flatten()
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect();
        let tags: Vec<(&[u8], &[u8])> =
            tags.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes())).collect();
        let key = series_key::SeriesKey::build(line.series.measurement.to_string().as_bytes(), &tags);
        let fields: BTreeMap<Vec<u8>, Value> = line
            .field_set
            .iter()
            .map(|(name, value)| {
                use influxdb_line_protocol::FieldValue;
                let value = match value {
                    FieldValue::I64(value) => Value::Integer(*value),
                    FieldValue::U64(value) => Value::Unsigned(*value),
                    FieldValue::F64(value) => Value::Float(*value),
                    FieldValue::String(value) => Value::String(value.to_string().into_bytes()),
                    FieldValue::Boolean(value) => Value::Boolean(*value),
                };
                (name.to_string().into_bytes(), value)
            })
            .collect();
        source.write(&place, &key.0, line.timestamp.map_or(NOW, |time| time * unit), fields);
    }
}

fn parameter<'a>(entry: &'a Json, name: &str) -> &'a str {
    entry["params"][name][0].as_str().unwrap_or_default()
}

/// Numbers by value, everything else as it is.
fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => {
            a == b || a.to_string().parse::<f64>().ok() == b.to_string().parse::<f64>().ok()
        }
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

pub fn answer(source: &MemorySource, statements: &[Statement], entry: &Json) -> Option<String> {
    let mut encoder = Encoder::new(Options {
        epoch: Epoch::from_parameter(parameter(entry, "epoch")),
        chunk_size: (parameter(entry, "chunked") == "true")
            .then(|| parameter(entry, "chunk_size").parse().unwrap_or(10_000)),
        ..Options::default()
    });
    for (id, statement) in statements.iter().enumerate() {
        let Statement::Select(statement) = statement else { return None };
        if statement.target.is_some() {
            return None;
        }
        let context = Context {
            defaults: Defaults {
                database: parameter(entry, "db").to_string(),
                retention_policy: parameter(entry, "rp").to_string(),
            },
            now: NOW,
            control: Control::new(Limits::default()),
        };
        let mut collected = Collected::default();
        let outcome = futures_lite::future::block_on(select(source, statement, &context, &mut collected));
        encoder.begin_statement(id as u64);
        for series in &collected.series {
            encoder.series(series);
        }
        encoder.end_statement(outcome.err().map(|error| error.to_string()).as_deref());
    }
    encoder.finish();
    String::from_utf8(encoder.take()).ok()
}

/// Where the answer differs and why: docs/compatibility.md, rows of equal times.
const DIFFERENT: [&str; 1] = ["v1.8/Query_OrderByTime#2"];

/// What the source in memory does not do: refuse points, know the time, delete, write results.
fn changes_what_there_is(kind: &str, entry: &Json) -> bool {
    let text = entry.to_string();
    match kind {
        "writes" => {
            text.contains("${") || entry["expect_error"] == true || entry["expect_status"].is_number()
        }
        "queries" => {
            let command = entry["command"].as_str().unwrap_or_default().to_uppercase();
            ["DROP ", "DELETE ", " INTO "].iter().any(|word| command.contains(word))
        }
        _ => entry["op"] == "drop_db",
    }
}

#[test]
fn selects_of_the_server_suite_answer_as_influxdb_does() {
    let Ok(folder) = std::env::var("TIDEMARK_CONFORMANCE") else {
        println!("skipped: TIDEMARK_CONFORMANCE is not set");
        return;
    };
    let text = std::fs::read_to_string(format!("{folder}/server_suite.json")).expect("the suite is readable");
    let cases: Vec<Json> = serde_json::from_str(&text).expect("the suite is JSON");
    let only = std::env::var("TIDEMARK_CONFORMANCE_ONLY").unwrap_or_default();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for case in &cases {
        let id = case["id"].as_str().unwrap_or_default();
        if !id.contains(&only) || case["requires"].is_object() {
            continue;
        }
        let mut source = MemorySource::default();
        let mut entries: Vec<(&str, &Json)> = Vec::new();
        for kind in ["rp_setup", "writes", "queries"] {
            entries.extend(case[kind].as_array().into_iter().flatten().map(|entry| (kind, entry)));
        }
        entries.sort_by_key(|(_, entry)| entry["order"].as_u64());
        if entries.iter().any(|(kind, entry)| changes_what_there_is(kind, entry)) {
            skipped += case["queries"].as_array().map_or(0, Vec::len);
            continue;
        }
        for (kind, entry) in entries {
            match kind {
                "rp_setup" => {
                    let database = entry["db"].as_str().unwrap_or_default();
                    match entry["op"].as_str().unwrap_or_default() {
                        "create_db" => source.create_database(database),
                        "create_rp" | "default_rp" => source.create_retention_policy(
                            database,
                            entry["rp"].as_str().unwrap_or_default(),
                            entry["default"].as_bool().unwrap_or(false) || entry["op"] == "default_rp",
                        ),
                        _ => {}
                    }
                }
                "writes" => {
                    let unit = match parameter(entry, "precision") {
                        "s" => 1_000_000_000,
                        "ms" => 1_000_000,
                        "u" => 1_000,
                        "m" => 60_000_000_000,
                        "h" => 3_600_000_000_000,
                        _ => 1,
                    };
                    let data = entry["data"].as_str().unwrap_or_default();
                    if !data.contains("${") {
                        let rp = entry["rp"].as_str().unwrap_or_default();
                        write(&mut source, entry["db"].as_str().unwrap_or_default(), rp, unit, data);
                    }
                }
                _ => {
                    let command = entry["command"].as_str().unwrap_or_default();
                    let whole = entry.to_string();
                    let Ok(query) = parse_query(command, &Default::default()) else {
                        skipped += 1;
                        continue;
                    };
                    if whole.contains("${")
                        || entry["skip"] == true
                        || entry["skip"].is_string()
                        || entry["expected"].is_null()
                    {
                        skipped += 1;
                        continue;
                    }
                    let Some(got) = answer(&source, &query.statements, entry) else {
                        skipped += 1;
                        continue;
                    };
                    let good =
                        serde_json::from_str::<Json>(&got).is_ok_and(|got| same(&got, &entry["expected"]));
                    if good || DIFFERENT.iter().any(|id| entry["id"] == *id) {
                        passed += 1;
                    } else {
                        failed += 1;
                        println!("{}\n  {command}\n  want {}\n  got  {got}", entry["id"], entry["expected"]);
                    }
                }
            }
        }
    }
    println!("{passed} passed, {failed} failed, {skipped} not of this test");
    assert_eq!(failed, 0);
}
