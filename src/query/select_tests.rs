//! SELECTs against [`super::source::memory`], with answers recorded from influxd 1.6.7 where its rules are hard to guess.

use std::pin::{Pin, pin};

use futures_lite::future::{block_on, or, poll_once};
use serde_json::json;

use super::conformance_tests::{answer, write};
use super::control::End;
use super::error::QueryError;
use super::exec::SelectStream;
use super::result::{Cell, Cells, Collected, Series};
use super::select::prepare;
use super::source::memory::MemorySource;
use super::{Context, Control, Defaults, Limits, select};
use crate::influxql::{Statement, parse_query, parse_statement};

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

/// Four series that share their times, two of which share a tag.
fn shared_times() -> MemorySource {
    source(
        "t,h=a,r=x v=1,w=5,s=\"a\" 10\nt,h=b,r=x v=2,s=\"c\" 10\nt,h=c,r=y v=3,w=7,s=\"b\" 10\nt,h=d,r=y v=9,w=8,s=\"d\" 10\n\
         t,h=a,r=x v=4 20\nt,h=b,r=x v=8,w=1 20\nt,h=c,r=y v=5,w=2 20\nt,h=d,r=y v=7 20\n\
         t,h=b,r=x v=6,w=3,s=\"e\" 30\nt,h=c,r=y v=2,w=9,s=\"f\" 30\nt,h=d,r=y v=1,w=4,s=\"b\" 30",
        "",
    )
}

#[test]
fn every_call_meets_equal_times_in_the_order_of_its_own_fields_rows() {
    let source = shared_times();
    for (query, expected) in [
        (
            "SELECT difference(v), cumulative_sum(w) FROM t",
            "[[10,null,5],[10,null,13],[10,null,20],[20,7,21],[20,null,23],[30,-6,26],[30,null,35],[30,null,39",
        ),
        (
            "SELECT difference(v), cumulative_sum(w) FROM t ORDER BY time DESC",
            "[[30,null,4],[30,null,13],[30,null,16],[20,4,18],[20,null,19],[10,-4,26],[10,null,34],[10,null,39",
        ),
        ("SELECT mode(v) FROM t", "[[0,2"),
        ("SELECT top(v, 2), w FROM t", "[[10,9,8],[20,8,1"),
        ("SELECT percentile(v, 50), h FROM t", "[[20,4,\"a\""),
    ] {
        assert_eq!(values(&source, query), expected, "{query}");
    }
}

#[test]
fn first_and_last_of_a_whole_range_are_the_better_of_the_two_rows_on_top_of_the_heap() {
    let source = shared_times();
    for (query, expected) in [
        ("SELECT first(v) FROM t", "[[10,9"),
        ("SELECT last(v) FROM t", "[[30,2"),
        ("SELECT first(s), w FROM t", "[[10,\"d\",8"),
        ("SELECT first(s), last(s), first(w), last(w) FROM t", "[[0,\"d\",\"f\",8,9"),
        ("SELECT first(v) FROM t WHERE r = 'y' GROUP BY r", "[[10,9"),
        ("SELECT max(v) FROM (SELECT last(v) AS v FROM t GROUP BY h)", "[[30,6"),
        ("SELECT first(s) FROM t WHERE time >= 0s AND time < 40s GROUP BY time(20s)", "[[0,\"d\"],[20,\"f\""),
    ] {
        assert_eq!(values(&source, query), expected, "{query}");
    }
    let text = ask(&source, "SELECT last(v) FROM t GROUP BY r ORDER BY time DESC");
    assert!(text.contains(r#""tags":{"r":"y"},"columns":["time","last"],"values":[[30,2]]},{"#), "{text}");
    assert!(text.contains(r#""tags":{"r":"x"},"columns":["time","last"],"values":[[30,6]]}]"#), "{text}");
}

#[test]
fn a_subquery_of_plain_rows_gives_all_series_of_an_outer_tag_set_in_the_order_of_one_heap() {
    let source = shared_times();
    for (query, expected) in [
        (
            "SELECT v, h FROM (SELECT v FROM t WHERE time < 15s GROUP BY h)",
            "[[10,1,\"a\"],[10,9,\"d\"],[10,3,\"c\"],[10,2,\"b\"",
        ),
        (
            "SELECT v, h FROM (SELECT v FROM t GROUP BY h) WHERE time > 15s ORDER BY time DESC",
            "[[30,1,\"d\"],[30,2,\"c\"],[30,6,\"b\"],[20,5,\"c\"],[20,8,\"b\"],[20,7,\"d\"],[20,4,\"a\"",
        ),
        ("SELECT v, q FROM (SELECT v FROM t GROUP BY h, q) LIMIT 2", "[[10,1,\"\"],[10,9,\"\""),
        ("SELECT sum(v) FROM (SELECT v FROM t GROUP BY h) WHERE h = 'd'", "[[0,17"),
    ] {
        assert_eq!(values(&source, query), expected, "{query}");
    }
}

#[test]
fn a_column_that_is_nowhere_ends_the_comparison_of_rows_and_is_filled_with_numbers() {
    let source = shared_times();
    for (query, expected) in [
        (
            "SELECT s, nothing FROM t WHERE time < 15s",
            "[[10,\"a\",null],[10,\"d\",null],[10,\"b\",null],[10,\"c\",null",
        ),
        ("SELECT nothing, v FROM t fill(0) LIMIT 2", "[[10,0,1],[10,0,9"),
        ("SELECT min(v), nothing FROM t WHERE r = 'x' GROUP BY nothing fill(3)", "[[10,1,3"),
    ] {
        assert_eq!(values(&source, query), expected, "{query}");
    }
}

#[test]
fn an_empty_window_of_an_inner_call_ends_its_answer_beside_other_calls_too() {
    // The first window has too few points for the percentile.
    let lines: String = (0..30).map(|at| format!("p v={at},w={at} {}\n", 10 + at * 3)).collect();
    let source = source(&lines, "");
    let rest = "FROM p WHERE time >= 0s AND time < 100s GROUP BY time(20s)";
    assert_eq!(
        values(&source, &format!("SELECT difference(percentile(v, 8)), difference(max(w)) {rest}")),
        "[[20,null,6],[40,null,7],[60,null,7],[80,null,6"
    );
}

#[test]
fn a_call_without_a_value_in_the_windows_of_a_limit_is_filled_if_it_has_one_later() {
    let source = source("m v=1 10\nm v=2 20\nm v=3 30\nm w=4 40", "");
    let rest = "FROM m WHERE time >= 10s AND time < 60s GROUP BY time(10s)";
    let rows = values(&source, &format!("SELECT count(v), count(w), last(w) {rest} LIMIT 2"));
    assert_eq!(rows, "[[10,1,0,null],[20,1,0,null");
    let rows = values(&source, &format!("SELECT count(v), count(w), last(w) {rest} fill(9) LIMIT 2"));
    assert_eq!(rows, "[[10,1,9,9],[20,1,9,9");
    let rows = values(&source, &format!("SELECT sum(v), sum(w) {rest} fill(none) LIMIT 2"));
    assert_eq!(rows, "[[10,1,null],[20,2,null],[40,null,4");
}

#[test]
fn windows_without_a_percentile_put_off_its_column_beside_other_calls() {
    // Eight windows; those before the last have too few points for the percentile.
    let lines: String = (0..7)
        .map(|window| format!("m v={window},w=1 {}\n", window * 10))
        .chain((0..10).map(|point| format!("m v={point},w=1 {}\n", 70 + point)))
        .collect();
    let source = source(&lines, "");
    let rest = "FROM m WHERE time >= 0s AND time < 80s GROUP BY time(10s)";
    assert_eq!(
        values(&source, &format!("SELECT last(w), percentile(v, 10) {rest}")),
        "[[0,1,null],[10,1,null],[20,1,null],[30,1,null],[0,null,null],[10,null,null],[20,null,null],[30,null,null],\
         [40,1,null],[50,1,null],[60,1,null],[70,1,0"
    );
}

/// Tags, times and values of the only value column, of every piece; and how many points were read.
fn pieces(source: &MemorySource, query: &str) -> (Vec<(String, Vec<i64>, Vec<String>)>, u64) {
    let Ok(Statement::Select(statement)) = parse_statement(query) else { panic!("{query}") };
    let control = Control::new(Limits::default());
    let defaults = Defaults { database: "db".to_owned(), ..Defaults::default() };
    let context = Context { defaults, now: 0, control: control.clone() };
    let mut collected = Collected::default();
    block_on(select(source, &statement, &context, &mut collected)).expect("an answer");
    let piece = |series: Series| {
        let [Cells::Times(times), values, ..] = series.values.as_slice() else { panic!("times come first") };
        let shown = (0..times.len()).map(|row| match values.get(row) {
            Cell::Float(value) => value.to_string(),
            Cell::Integer(value) => value.to_string(),
            other => format!("{other:?}"),
        });
        let tags = series.tags.iter().map(|(_, value)| String::from_utf8_lossy(value).into_owned());
        (
            tags.collect::<Vec<_>>().join(","),
            times.iter().map(|time| time / SECOND).collect(),
            shown.collect(),
        )
    };
    (collected.series.into_iter().map(piece).collect(), control.points())
}

#[test]
fn a_long_answer_comes_in_pieces_that_have_all_its_rows_in_order() {
    let source = source("m v=1 0\nm v=2 2047\nm v=3 2048\nm v=4 8191\nm v=5 8192\nm v=6 19999", "");
    let rest = "FROM m WHERE time >= 0s AND time < 20000s GROUP BY time(1s) fill(0)";
    // One column in pieces of so many rows; more columns in shorter ones.
    for (calls, lengths) in [(1, vec![8_192, 8_192, 3_616]), (31, [vec![2_048; 9], vec![1_568]].concat())] {
        let calls = vec!["sum(v)"; calls].join(", ");
        let (pieces, _) = pieces(&source, &format!("SELECT {calls} {rest}"));
        assert_eq!(pieces.iter().map(|piece| piece.1.len()).collect::<Vec<_>>(), lengths);
        let times = pieces.iter().flat_map(|piece| &piece.1).copied();
        assert!(times.eq(0..20_000));
        let rows = pieces.iter().flat_map(|(_, times, values)| times.iter().zip(values));
        let there: Vec<_> = rows.filter(|(_, value)| *value != "0").collect();
        let want = [(0, "1"), (2_047, "2"), (2_048, "3"), (8_191, "4"), (8_192, "5"), (19_999, "6")];
        assert!(there.into_iter().map(|(time, value)| (*time, value.as_str())).eq(want));
    }
}

#[test]
fn limit_and_offset_count_over_the_chunks_of_each_series() {
    // Chunks have seven rows.
    let line = |at: i64| format!("m,h=a v={at} {at}\nm,h=b v={} {at}\n", 100 + at);
    let source = source(&(0..40).map(line).collect::<String>(), "");
    let rows = |query: &str| {
        let mut all: Vec<(String, String)> = Vec::new();
        for (tags, times, values) in pieces(&source, query).0 {
            let rows = times.iter().zip(values).map(|(time, value)| format!("{time}:{value}"));
            let rows = rows.collect::<Vec<_>>().join(" ");
            match all.last_mut().filter(|last| last.0 == tags) {
                Some(last) => last.1 += &format!(" {rows}"),
                None => all.push((tags, rows)),
            }
        }
        all
    };
    let series = |host: &str, first: i64, step: i64, value: &dyn Fn(i64) -> i64| {
        let times = (0..10).map(|at| first + step * at);
        let rows = times.map(|time| format!("{time}:{}", value(time)));
        (host.to_owned(), rows.collect::<Vec<_>>().join(" "))
    };
    let both = |first, step| {
        let plain = |more: i64| move |time| time + more;
        [series("a", first, step, &plain(0)), series("b", first, step, &plain(100))]
    };
    let limited = "GROUP BY h LIMIT 10 OFFSET 9";
    assert_eq!(rows(&format!("SELECT v FROM m {limited}")), both(9, 1));
    let backwards: Vec<_> = both(30, -1).into_iter().rev().collect();
    assert_eq!(rows("SELECT v FROM m GROUP BY h ORDER BY time DESC LIMIT 10 OFFSET 9"), backwards);
    let sums = |more: i64| move |time: i64| time * (time + 1) / 2 + more * (time + 1);
    assert_eq!(
        rows(&format!("SELECT cumulative_sum(v) FROM m {limited}")),
        [series("a", 9, 1, &sums(0)), series("b", 9, 1, &sums(100))]
    );
    assert_eq!(
        rows("SELECT v FROM m WHERE h = 'b' LIMIT 10 OFFSET 9"),
        [series("", 9, 1, &|time| time + 100)]
    );
    assert_eq!(rows("SELECT v FROM m GROUP BY h LIMIT 10 OFFSET 40"), []);
}

#[test]
fn nothing_is_read_beyond_the_limit_of_the_only_series() {
    let source = source(&(0..700).map(|at| format!("m v={at} {at}\n")).collect::<String>(), "");
    let read = |query: &str| pieces(&source, query).1;
    assert!(read("SELECT v FROM m LIMIT 3") <= 14);
    assert_eq!(read("SELECT v FROM m"), 700);
}

#[test]
fn the_inner_series_of_each_outer_one_are_gathered_apart() {
    let source = shared_times();
    let sums = |rest: &str| {
        let (pieces, _) =
            pieces(&source, &format!("SELECT sum(x) FROM (SELECT max(v) AS x FROM t GROUP BY h, r) {rest}"));
        pieces.into_iter().map(|(tags, _, values)| format!("{tags}={}", values.join(" "))).collect::<Vec<_>>()
    };
    // The greatest of a, b, c, d are 4, 8, 5, 9; the first two share a tag, and the others.
    assert_eq!(sums(""), ["=26"]);
    assert_eq!(sums("GROUP BY r"), ["x=12", "y=14"]);
    assert_eq!(sums("GROUP BY h"), ["a=4", "b=8", "c=5", "d=9"]);
}

/// Whether a statement is planned without giving way.
fn is_planned_at_once(source: &MemorySource, query: &str) -> bool {
    let Statement::Select(statement) = parse_statement(query).expect("parses") else { panic!("{query}") };
    let context = Context {
        defaults: Defaults { database: "db".into(), ..Defaults::default() },
        now: 0,
        control: Control::new(Limits::default()),
    };
    block_on(poll_once(prepare(source, &statement, &context))).is_some()
}

#[test]
fn planning_gives_way_where_a_wildcard_stands_for_thousands_of_fields() {
    let fields: Vec<String> = (0..3_000).map(|at| format!("f{at}=1")).collect();
    let source = source(&format!("narrow v=1 1\nwide,host=a {} 1\n", fields.join(",")), "");
    for (query, at_once) in [
        ("SELECT * FROM narrow", true),
        ("SELECT mean(*) FROM narrow", true),
        ("SELECT * FROM wide", false),
        ("SELECT mean(*) FROM wide GROUP BY *", false),
        ("SELECT max(f7) FROM (SELECT * FROM wide)", false),
    ] {
        assert_eq!(is_planned_at_once(&source, query), at_once, "{query}");
    }
}

/// Polls until there is a result: how often, and the result.
fn polled<T>(mut future: Pin<&mut (impl Future<Output = T> + ?Sized)>) -> (usize, T) {
    (1..).find_map(|polls| Some((polls, block_on(poll_once(future.as_mut()))?))).expect("a result")
}

/// Each open source may hold a thousand rows and buffers of other cores.
#[test]
fn a_query_of_many_sources_that_fails_or_is_ended_while_it_waits_lets_go_of_them_in_steps() {
    let source = source("m v=1 10", "");
    let text = format!("SELECT v FROM {}", ["m"; 1_000].join(", "));
    let Ok(Statement::Select(statement)) = parse_statement(&text) else { panic!("a SELECT") };
    for is_waiting in [false, true] {
        let control = Control::new(Limits::default());
        let defaults = Defaults { database: "db".to_owned(), ..Defaults::default() };
        let context = Context { defaults, now: 0, control: control.clone() };
        source.chunks_left.set(None);
        let (plan, _) = block_on(prepare(&source, &statement, &context)).expect("it can be planned");
        let mut stream = SelectStream::new(&plan, &source, control.clone(), 0);
        source.chunks_left.set(is_waiting.then_some(1_500));
        if !is_waiting {
            assert!(block_on(stream.next()).is_ok_and(|batch| batch.is_some()), "all are open");
        }
        // As a statement is run: who waits for the end as well must leave it the time.
        let mut ending = pin!(or(stream.next(), async { Err(control.ended().await) }));
        if is_waiting {
            for _ in 0..10_000 {
                assert!(block_on(poll_once(ending.as_mut())).is_none(), "half of them are open");
            }
        }
        control.end(End::Killed);
        let (steps, end) = polled(ending);
        assert_eq!(end.err(), Some(QueryError::Killed));
        assert!(steps > 20, "{steps} steps, waiting: {is_waiting}");
    }
}
