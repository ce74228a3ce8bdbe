//! SELECTs against [`super::source::memory`], with answers recorded from influxd 1.6.7 where its rules are hard to guess.

use serde_json::json;

use super::conformance_tests::{answer, write};
use super::source::memory::MemorySource;
use crate::influxql::parse_query;

const SECOND: i64 = 1_000_000_000;

fn source(default: &str, other: &str) -> MemorySource {
    let mut source = MemorySource::default();
    source.create_database("db");
    source.create_retention_policy("db", "other", false);
    write(&mut source, "db", "", SECOND, default);
    write(&mut source, "db", "other", SECOND, other);
    source
}

fn ask(source: &MemorySource, query: &str) -> String {
    let entry = json!({"params": {"db": ["db"], "epoch": ["s"]}});
    let statements = parse_query(query, &Default::default()).expect("parses").statements;
    answer(source, &statements, &entry).expect("an answer").trim().to_owned()
}

/// The values of the only series.
fn values(source: &MemorySource, query: &str) -> String {
    let text = ask(source, query);
    let values = text.split_once("\"values\":").map_or(text.as_str(), |(_, values)| values);
    values.trim_end_matches(['}', ']']).to_owned()
}

#[test]
fn windows_without_a_percentile_end_the_answer_when_there_are_too_many_in_a_row() {
    // Per series, the windows: with a percentile, without one, without points. What is shown, `-` for null.
    for (series, rest, shown) in [
        ("VEV", "fill(none)", "s0:0,2"),
        ("VEEV", "fill(none)", "s0:0"),
        ("EV", "fill(none)", ""),
        ("V E V", "fill(none)", "s0:0 s2:0"),
        ("V E E V", "fill(none)", "s0:0"),
        ("VE EV", "", "s0:0,1- s1:0-,1"),
        ("VEE EEV", "", "s0:0,1-,2-"),
        ("VEE EVE", "", "s0:0,1-,2- s1:0-,1,2-"),
        ("VNE EEV", "", "s0:0,1-,2- s1:0-,1-,2"),
        ("VEE EEV", "ORDER BY time DESC", "s1:2,1-,0-"),
    ] {
        let mut lines = String::new();
        for (at, windows) in series.split(' ').enumerate() {
            for (window, kind) in windows.bytes().enumerate() {
                let points =
                    [(b'V', 10), (b'E', 1)].iter().find(|(of, _)| *of == kind).map_or(0, |found| found.1);
                (0..points).for_each(|point| {
                    lines += &format!("m,t=s{at} v={point} {}\n", window * 100 + point);
                });
            }
        }
        let end = series.split(' ').next().map_or(0, str::len) * 100;
        let text = ask(
            &source(&lines, ""),
            &format!(
                "SELECT percentile(v, 10) FROM m WHERE time >= 0s AND time < {end}s GROUP BY time(100s), t {rest}"
            ),
        );
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let windows = |one: &serde_json::Value| {
            let all = one["values"].as_array().expect("rows").iter().map(|row| {
                let window = row[0].as_i64().expect("a time") / 100;
                format!("{window}{}", if row[1].is_null() { "-" } else { "" })
            });
            format!("{}:{}", one["tags"]["t"].as_str().expect("a tag"), all.collect::<Vec<_>>().join(","))
        };
        let found = json["results"][0]["series"].as_array().into_iter().flatten().map(windows);
        assert_eq!(found.collect::<Vec<_>>().join(" "), shown, "{series} {rest}");
    }
}

fn two_policies() -> MemorySource {
    source(
        "m v=2,s=\"a\" 10\nm v=3,s=\"a\" 20\nm v=4 30\nonly,host=a v=1 10\nn,host=b v=5,text=\"x\" 10",
        "m v=15,s=\"a\" 10\nm v=12,s=\"c\" 20\nm v=13 30\nm v=14 40\nn,host=b v=6 10",
    )
}

#[test]
fn rows_of_equal_times_of_several_sources_come_as_the_heap_has_them() {
    let source = two_policies();
    for (query, expected) in [
        ("SELECT v FROM other.m, m", "[[10,15],[10,2],[20,12],[20,3],[30,13],[30,4],[40,14"),
        (
            "SELECT v, s FROM m, other.m",
            "[[10,2,\"a\"],[10,15,\"a\"],[20,3,\"a\"],[20,12,\"c\"],[30,4,null],[30,13,null],[40,14,null",
        ),
        (
            "SELECT v FROM m, other.m, m, m",
            "[[10,2],[10,2],[10,15],[10,2],[20,12],[20,3],[20,3],[20,3],[30,4],[30,4],[30,4],[30,13],[40,14",
        ),
        (
            "SELECT v FROM m, m, other.m ORDER BY time DESC",
            "[[40,14],[30,4],[30,13],[30,4],[20,12],[20,3],[20,3],[10,2],[10,2],[10,15",
        ),
    ] {
        assert_eq!(values(&source, query), expected, "{query}");
    }
}

#[test]
fn calls_of_a_certain_type_are_filled_even_if_there_is_nothing_to_read() {
    let source = two_policies();
    let calls = "mean(nothing), count(nothing) + 1, last(nothing), derivative(last(nothing)), mean(v)";
    let rest = "FROM m WHERE time >= 0s AND time < 40s GROUP BY time(20s)";
    let filled = values(&source, &format!("SELECT {calls} {rest} fill(7)"));
    assert_eq!(filled, "[[0,7,8,null,7,2],[20,7,8,null,7,3.5");
    assert_eq!(values(&source, &format!("SELECT mean(nothing), mean(v) {rest}")), "[[0,null,2],[20,null,3.5");
}

#[test]
fn a_wildcard_stands_for_tags_of_measurements_that_are_in_other_policies_only() {
    let source = two_policies();
    let text = ask(&source, "SELECT * FROM other.m, other.only");
    assert!(text.contains(r#""columns":["time","host","s","v"]"#), "{text}");
    let text = ask(&source, "SELECT sum(v) FROM other.m, other.only GROUP BY *");
    assert!(text.contains(r#""tags":{"host":""}"#), "{text}");
}

#[test]
fn a_name_that_is_a_field_elsewhere_in_the_database_is_no_tag() {
    let source = two_policies();
    let nothing = r#"{"results":[{"statement_id":0}]}"#;
    assert_eq!(ask(&source, "SELECT v FROM other.n WHERE text = ''"), nothing);
    assert_eq!(ask(&source, "SELECT v FROM other.n WHERE text != 'y'"), nothing);
    assert_eq!(values(&source, "SELECT v FROM other.n WHERE nothing = ''"), "[[10,6");
}
