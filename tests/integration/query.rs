//! Answers of InfluxDB that are easily got wrong, as influxd 1.6.7 gave them.

use crate::support::{Node, wait_until};

const LINES: &str = "\
cpu,dc=x,host=a f=4,i=7i,s=\"s0\" 0\n\
cpu,dc=x,host=a f=1,i=7i,s=\"s1\" 10000000000\n\
cpu,dc=x,host=a f=1,i=2i,s=\"s0\" 20000000000\n\
cpu,dc=x,host=a f=3,i=9i,s=\"s1\" 30000000000\n\
cpu,dc=x,host=a f=2,i=4i,s=\"s0\" 40000000000\n\
cpu,dc=x,host=a f=5,i=4i,s=\"s1\" 50000000000\n\
cpu,host=b f=0.5,i=10i 5000000000\n\
cpu,host=b f=2.5,i=12i 25000000000\n\
cpu,host=b f=4.5,i=14i 45000000000\n\
odd,tag=z only=\"x\" 3000000000\n";

/// What is shown, the query, the answer.
const ANSWERS: &[(&str, &str, &str)] = &[
    (
        "groups of a descending answer come in descending order",
        "SELECT f FROM cpu WHERE time < 11s GROUP BY host ORDER BY time DESC",
        r#""series":[{"name":"cpu","tags":{"host":"b"},"columns":["time","f"],"values":[[5000000000,0.5]]},{"name":"cpu","tags":{"host":"a"},"columns":["time","f"],"values":[[10000000000,1],[0,4]]}]"#,
    ),
    (
        "SLIMIT takes tag sets in the order of the tags they have",
        "SELECT count(f) FROM cpu GROUP BY dc, host SLIMIT 1",
        r#""series":[{"name":"cpu","tags":{"dc":"x","host":"a"},"columns":["time","count"],"values":[[0,6]]}]"#,
    ),
    ("SOFFSET without SLIMIT leaves nothing", "SELECT f FROM cpu GROUP BY host SOFFSET 1", ""),
    (
        "a subquery's raw rows fall into the windows of the query around",
        "SELECT sum(x) FROM (SELECT f * 2 AS x FROM cpu) WHERE time >= 0 AND time < 40s GROUP BY time(20s)",
        r#""series":[{"name":"cpu","columns":["time","sum"],"values":[[0,11],[20000000000,13]]}]"#,
    ),
    (
        "a zone is not that of the subquery's windows",
        "SELECT * FROM (SELECT count(f) AS x FROM cpu WHERE time >= 0 AND time < 60s GROUP BY time(5h)) tz('Asia/Kolkata')",
        r#""series":[{"name":"cpu","columns":["time","x"],"values":[[0,9]]}]"#,
    ),
    (
        "one window more is read for a moving average",
        "SELECT moving_average(mean(f), 3) FROM cpu WHERE time >= 20s AND time < 60s GROUP BY time(10s)",
        r#""series":[{"name":"cpu","columns":["time","moving_average"],"values":[[30000000000,1.9166666666666667],[40000000000,2.6666666666666665],[50000000000,3.75]]}]"#,
    ),
    (
        "top gives its rows in ascending order",
        "SELECT top(f, 3) FROM cpu ORDER BY time DESC",
        r#""series":[{"name":"cpu","columns":["time","top"],"values":[[0,4],[45000000000,4.5],[50000000000,5]]}]"#,
    ),
    (
        "distinct gives its values in ascending order",
        "SELECT distinct(i) FROM cpu WHERE host = 'a' ORDER BY time DESC",
        r#""series":[{"name":"cpu","columns":["time","distinct"],"values":[[0,7],[0,2],[0,9],[0,4]]}]"#,
    ),
    (
        "bottom sees as many rows as LIMIT and one more",
        "SELECT bottom(f, 1) FROM cpu LIMIT 1",
        r#""series":[{"name":"cpu","columns":["time","bottom"],"values":[[5000000000,0.5]]}]"#,
    ),
    (
        "the deviation of one value is a number that is none",
        "SELECT stddev(f) - 1 FROM cpu WHERE time >= 0 AND time < 30s GROUP BY time(10s) fill(0)",
        r#""series":[{"name":"cpu","columns":["time","stddev"],"values":[[0,1.4748737341529163],[10000000000,null],[20000000000,0.06066017177982119]]}]"#,
    ),
    (
        "LIMIT counts the rows of each call",
        "SELECT cumulative_sum(f), difference(i) FROM cpu WHERE host = 'a' LIMIT 2",
        r#""series":[{"name":"cpu","columns":["time","cumulative_sum","difference"],"values":[[0,4,null],[10000000000,5,0],[20000000000,null,-5]]}]"#,
    ),
    (
        "a number fills text columns too",
        "SELECT max(f), s FROM cpu WHERE time >= 0 AND time < 80s AND host = 'a' GROUP BY time(20s) fill(7)",
        r#""series":[{"name":"cpu","columns":["time","max","s"],"values":[[0,4,"s0"],[20000000000,3,"s1"],[40000000000,5,"s1"],[60000000000,7,7]]}]"#,
    ),
    (
        "fill(previous) carries fields along",
        "SELECT max(f), s FROM cpu WHERE time >= 0 AND time < 80s AND host = 'a' GROUP BY time(20s) fill(previous)",
        r#""series":[{"name":"cpu","columns":["time","max","s"],"values":[[0,4,"s0"],[20000000000,3,"s1"],[40000000000,5,"s1"],[60000000000,5,"s1"]]}]"#,
    ),
    (
        "types that do not fit are shown",
        "SELECT f * s FROM cpu",
        r#""error":"type error: f::float * s::string: incompatible types: float and string""#,
    ),
    (
        "a window that begins before the range ends the answer",
        "SELECT mean(x) FROM (SELECT max(f) AS x FROM cpu GROUP BY time(20s)) WHERE time >= 30s",
        "",
    ),
    (
        "a percentile without a value ends the answer",
        "SELECT percentile(f, 10) FROM cpu WHERE time >= 0 AND time < 60s GROUP BY time(10s)",
        "",
    ),
    (
        "inner tags come window by window",
        "SELECT x FROM (SELECT last(f) AS x FROM cpu WHERE time >= 0 AND time < 40s GROUP BY time(20s), host)",
        r#""series":[{"name":"cpu","columns":["time","x"],"values":[[0,1],[0,0.5],[20000000000,3],[20000000000,2.5]]}]"#,
    ),
    (
        "inner series without windows come by their tags",
        "SELECT x FROM (SELECT max(f) AS x FROM cpu GROUP BY host)",
        r#""series":[{"name":"cpu","columns":["time","x"],"values":[[50000000000,5],[45000000000,4.5]]}]"#,
    ),
    (
        "a fill of an inner series begins anew at every change of tags",
        "SELECT count(x) FROM (SELECT max(f) AS x FROM cpu WHERE time >= 0 AND time < 60s GROUP BY time(20s), host fill(0))",
        r#""series":[{"name":"cpu","columns":["time","count"],"values":[[0,18]]}]"#,
    ),
    (
        "integers divided are integers to the query around",
        "SELECT x FROM (SELECT i / 4 AS x FROM cpu WHERE host = 'a')",
        r#""series":[{"name":"cpu","columns":["time","x"],"values":[[0,1],[10000000000,1],[20000000000,0],[30000000000,2],[40000000000,1],[50000000000,1]]}]"#,
    ),
    (
        "an integral of integers stands at the beginning of its range",
        "SELECT integral(i) FROM cpu WHERE host = 'a' AND time >= 10s",
        r#""series":[{"name":"cpu","columns":["time","integral"],"values":[[10000000000,205]]}]"#,
    ),
    (
        "an integral of floats stands at zero",
        "SELECT integral(f) FROM cpu WHERE host = 'a' AND time >= 10s",
        r#""series":[{"name":"cpu","columns":["time","integral"],"values":[[0,90]]}]"#,
    ),
    (
        "a wildcard knows the tags of all retention policies",
        "SELECT * FROM other.cpu GROUP BY *",
        r#""series":[{"name":"cpu","tags":{"dc":"y","host":""},"columns":["time","f"],"values":[[1000000000,1]]}]"#,
    ),
    (
        "a pattern knows the measurements of all retention policies",
        "SELECT f FROM other./.*/ GROUP BY *",
        r#""series":[{"name":"cpu","tags":{"dc":"y","host":"","tag":""},"columns":["time","f"],"values":[[1000000000,1]]}]"#,
    ),
    ("a field of one measurement is none of another's tags", "SELECT f FROM cpu, odd WHERE only != 'y'", ""),
    (
        "SHOW SERIES lists all retention policies",
        "SHOW SERIES",
        r#""series":[{"columns":["key"],"values":[["cpu,dc=x,host=a"],["cpu,dc=y"],["cpu,host=b"],["odd,tag=z"]]}]"#,
    ),
    (
        "LIMIT counts the windows a running sum is left with",
        "SELECT cumulative_sum(sum(f)) FROM cpu WHERE host = 'b' AND time >= 0 AND time < 100s GROUP BY time(10s) LIMIT 2",
        r#""series":[{"name":"cpu","columns":["time","cumulative_sum"],"values":[[0,0.5],[20000000000,3]]}]"#,
    ),
    (
        "SELECT INTO writes no empty windows",
        "SELECT count(f) INTO copy FROM cpu WHERE time >= 0 AND time < 100s GROUP BY time(10s) fill(null)",
        r#""series":[{"name":"result","columns":["time","written"],"values":[[0,6]]}]"#,
    ),
];

#[test]
fn queries_answer_as_influxdb_does() {
    let node = Node::start("");
    let client = node.client();
    client.query("", "CREATE DATABASE db");
    client.query("", "CREATE RETENTION POLICY other ON db DURATION INF REPLICATION 1");
    assert_eq!(client.write("db=db", LINES).status, 204);
    assert_eq!(client.write("db=db&rp=other", "cpu,dc=y f=1 1000000000\n").status, 204);
    for (shown, query, answer) in ANSWERS {
        let comma = if answer.is_empty() { "" } else { "," };
        let expected = format!(r#"{{"results":[{{"statement_id":0{comma}{answer}}}]}}"#);
        assert_eq!(client.query("db", query), expected, "{shown}: {query}");
    }
}

/// Series that share timestamps: the order is that of InfluxDB's heap, on however many cores the series are.
#[test]
fn rows_of_equal_times_come_in_influxdbs_order() {
    let node = Node::start("");
    let client = node.client();
    client.query("", "CREATE DATABASE db");
    let mut lines = String::new();
    for (number, host) in ["a", "b", "c", "d"].iter().enumerate() {
        for time in 1..4 {
            lines.push_str(&format!("m,h={host} v={number} {time}\n"));
        }
    }
    for (number, times) in [&[1, 2, 5][..], &[2, 3, 5], &[1, 2, 3, 5], &[2, 5]].iter().enumerate() {
        for time in *times {
            lines.push_str(&format!("n,h={number} v={number} {time}\n"));
        }
    }
    assert_eq!(client.write("db=db", &lines).status, 204);
    for (query, answer) in [
        ("SELECT v FROM m", "0 3 1 2 1 2 0 3 0 3 2 1"),
        ("SELECT v FROM m ORDER BY time DESC", "3 0 2 1 2 1 3 0 3 0 1 2"),
        ("SELECT v FROM m LIMIT 5", "0 3 1 2 1"),
        ("SELECT v FROM m LIMIT 4 OFFSET 5", "2 0 3 0"),
        ("SELECT v FROM n", "0 2 0 2 1 3 1 2 1 2 0 3"),
        ("SELECT v FROM n ORDER BY time DESC", "3 0 2 1 2 1 2 1 3 0 2 0"),
    ] {
        let reply = client.query("db", query);
        let values: Vec<&str> = reply
            .split("],[")
            .filter_map(|row| row.trim_end_matches([']', '}']).rsplit(',').next())
            .collect();
        assert_eq!(values.join(" "), answer, "{query}: {reply}");
    }
}

#[test]
fn explain_tells_what_is_read_with_its_type() {
    let node = Node::start("");
    let client = node.client();
    client.query("", "CREATE DATABASE db");
    assert_eq!(client.write("db=db", LINES).status, 204);
    let plan = |select: &str| client.query("db", &format!("EXPLAIN {select}"));
    assert!(plan("SELECT f, host FROM cpu").contains(
        r#"[["EXPRESSION: \u003cnil\u003e"],["AUXILIARY FIELDS: f::float, host::tag"],["NUMBER OF SHARDS: "#
    ));
    assert!(
        plan("SELECT max(f), s FROM cpu")
            .contains(r#"[["EXPRESSION: max(f::float)"],["AUXILIARY FIELDS: s::string"],["#)
    );
    assert!(
        plan("SELECT mean(x) FROM (SELECT max(i) AS x FROM cpu GROUP BY host)")
            .contains(r#"[["EXPRESSION: max(i::integer)"],["NUMBER OF SHARDS: "#)
    );
}

#[test]
fn the_measurement_stands_as_a_tag_in_conditions() {
    let mut node = Node::start("");
    let client = node.client();
    client.query("", "CREATE DATABASE db");
    assert_eq!(client.write("db=db", LINES).status, 204);
    // In a cache, and in a file.
    for _ in 0..2 {
        let keys = |condition: &str| client.query("db", &format!("SHOW SERIES WHERE {condition}"));
        assert!(keys("_name = 'odd'").contains(r#""values":[["odd,tag=z"]]"#));
        assert!(keys("_name != 'odd'").contains(r#""values":[["cpu,dc=x,host=a"],["cpu,host=b"]]"#));
        assert!(keys("_name =~ /^c/ AND host = 'b'").contains(r#""values":[["cpu,host=b"]]"#));
        node.stop();
        node.start_again();
    }
    let client = node.client();
    assert_eq!(client.query("db", "DELETE WHERE _name != 'cpu'"), "{\"results\":[{\"statement_id\":0}]}");
    let left = client.query("db", "SHOW SERIES");
    assert!(left.contains(r#""values":[["cpu,dc=x,host=a"],["cpu,host=b"]]"#), "{left}");
}

const DAY: i64 = 86_400_000_000_000;

#[test]
fn show_tag_values_honours_time_by_shard_group() {
    let node = Node::start("");
    let client = node.client();
    client.query("", "CREATE DATABASE db");
    // Shard groups are weeks that begin on Monday: 1970 began on a Thursday.
    let lines = format!("m,h=first v=1 {}\nm,h=second v=1 {}\nm,h=late v=1 {}\n", DAY, 2 * DAY, 20 * DAY);
    assert_eq!(client.write("db=db", &lines).status, 204);
    let values = |condition: &str| -> Vec<String> {
        let answer = client.query("db", &format!("SHOW TAG VALUES WITH KEY = h {condition}"));
        let json: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
        let rows = json["results"][0]["series"][0]["values"].as_array().cloned().unwrap_or_default();
        rows.iter().map(|row| row[1].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(values(""), ["first", "late", "second"]);
    // `second` is later than what is asked for, and in the same group.
    assert_eq!(values("WHERE time < 2d"), ["first", "second"]);
    assert_eq!(values("WHERE time > 10d"), ["late"]);
    assert_eq!(values("WHERE time > 10d AND h != 'late'"), [""; 0]);
    assert_eq!(values("WHERE time >= 7d AND time < 14d"), [""; 0]);
    assert_eq!(values("WHERE time >= 3d AND time < 22d LIMIT 2"), ["first", "late"]);
}

#[test]
fn an_estimate_tells_what_a_select_would_read_before_anything_runs() {
    let node = Node::start("");
    let client = node.client();
    client.query("", "CREATE DATABASE db");
    let lines: String = (0..40).map(|at| format!("m,h=h{} v={at} {at}\n", at % 8)).collect();
    assert_eq!(client.write("db=db", &lines).status, 204);
    let estimate = |statement: &str| -> Vec<String> {
        let answer = client.query("db", &format!("EXPLAIN ESTIMATE {statement}"));
        let json: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
        assert_eq!(json["results"][0]["series"][0]["columns"][0], "QUERY ESTIMATE", "{answer}");
        let rows = json["results"][0]["series"][0]["values"].as_array().cloned().unwrap_or_default();
        rows.iter().map(|row| row[0].as_str().unwrap_or_default().to_owned()).collect()
    };
    let lines = estimate("SELECT mean(v) FROM m");
    let names: Vec<&str> = lines.iter().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(
        names,
        ["shards", "series", "files", "blocks", "block_bytes", "cached_values", "expected_time"]
    );
    assert!(lines.contains(&"series: 8".to_owned()), "{lines:?}");
    assert!(estimate("SELECT mean(v) FROM m WHERE h = 'h1'").contains(&"series: 1".to_owned()));
    assert!(estimate("SELECT mean(v) FROM m WHERE time > 100d").contains(&"series: 0".to_owned()));
    let wrong = client.query("db", "EXPLAIN ESTIMATE SELECT mean(v), v FROM m");
    assert!(wrong.contains("mixing aggregate and non-aggregate queries is not supported"), "{wrong}");
}

#[test]
fn of_one_series_the_core_that_has_it_is_asked_alone_and_a_new_one_is_seen_at_once() {
    const HOSTS: usize = 12;
    let node = Node::start("[engine]\ncores = 3\n");
    let client = node.client();
    client.query("", "CREATE DATABASE db");
    let elsewhere = || -> u64 {
        let metrics = client.request("GET", "/metrics", &[], b"").body;
        let lines = metrics.lines().filter(|line| line.starts_with("tidemark_scans_elsewhere"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    };
    let write = |host: usize| {
        assert_eq!(client.write("db=db", &format!("m,h=h{host},dc=x v={host} 1\n")).status, 204);
    };
    let sees = |condition: &str, wanted: &str| {
        let answer = client.query("db", &format!("SELECT v FROM m WHERE {condition}"));
        let found = answer.matches("],[").count() + usize::from(answer.contains("[["));
        assert_eq!(found.to_string(), wanted, "{condition}: {answer}");
    };
    let scans_of_each = || {
        let before = elsewhere();
        (0..HOSTS).for_each(|host| sees(&format!("h = 'h{host}'"), "1"));
        elsewhere() - before
    };
    for host in 0..HOSTS {
        write(host);
        // Whatever was found out by the questions before.
        sees(&format!("h = 'h{host}'"), "1");
        sees(&format!("h = 'h{}'", host + 1), "0");
        sees("dc = 'x'", &(host + 1).to_string());
    }
    // Two of three cores are elsewhere; only one of all has the series.
    wait_until("it is known where series are", || scans_of_each() <= HOSTS as u64);
    sees("h = 'h0' OR h = 'h1' OR h = 'h2' AND dc = 'x'", "3");
    sees("h != 'h0'", &(HOSTS - 1).to_string());
    sees("h =~ /h1$/ AND dc = 'x'", "1");
    sees("none = ''", &HOSTS.to_string());
    client.query("db", "DROP SERIES WHERE h = 'h3'");
    sees("h = 'h3'", "0");
    write(3);
    sees("h = 'h3'", "1");
}
