//! The limits of requests and queries: each refuses or cuts in InfluxDB's words, and says so in the log where it should.

use crate::support::{Client, Node, encode};

fn ask(client: &Client, parameters: &str, statement: &str) -> String {
    let path = format!("/query?db=db&epoch=ns&{parameters}&q={}", encode(statement));
    client.request("POST", &path, &[], b"").body.trim_end().to_owned()
}

fn with_rows(configuration: &str) -> Node {
    let node = Node::start(configuration);
    let client = node.client();
    client.query("", "CREATE DATABASE db");
    let lines: String = (0..50).map(|at| format!("m,t=a v={at} {at}\nm,t=b v={at} {at}\n")).collect();
    assert_eq!(client.write("db=db", &lines).status, 204);
    node
}

#[test]
fn rows_beyond_the_limit_are_cut_and_the_series_is_partial_unless_chunked() {
    let node = with_rows("max-row-limit = 3\n");
    let client = node.client();
    let rows = r#"[[0,0],[1,1],[2,2]]"#;
    assert_eq!(
        ask(&client, "", "SELECT v FROM m WHERE t = 'a'"),
        format!(
            r#"{{"results":[{{"statement_id":0,"series":[{{"name":"m","columns":["time","v"],"values":{rows},"partial":true}}]}}]}}"#
        )
    );
    // What follows is neither answered nor done.
    let more = ask(&client, "", "SELECT v FROM m WHERE t = 'a' LIMIT 3; SHOW DATABASES");
    assert_eq!(
        more,
        format!(
            r#"{{"results":[{{"statement_id":0,"series":[{{"name":"m","columns":["time","v"],"values":{rows}}}]}}]}}"#
        )
    );
    let path = format!("/query?db=db&q={}", encode("SELECT v FROM m WHERE t = 'a'; SHOW DATABASES"));
    let table = client.request("GET", &path, &[("Accept", "text/csv")], b"").body;
    assert_eq!(table, "name,tags,time,v\nm,,0,0\nm,,1,1\nm,,2,2\n");
    let chunked = ask(&client, "chunked=true&chunk_size=20", "SELECT v FROM m WHERE t = 'a'");
    let chunks: Vec<_> = chunked.lines().collect();
    assert_eq!(chunks.len(), 3);
    assert!(chunks[0].contains(r#""partial":true"#) && !chunks[2].contains("partial"), "{chunked}");
}

#[test]
fn an_answer_in_message_pack_is_held_within_the_memory_of_a_query_unless_chunked() {
    let node = Node::start("[engine]\ncores = 1\nmemory = \"64m\"\n");
    let client = node.client();
    client.query("", "CREATE DATABASE db");
    let text = "x".repeat(1_000);
    let lines: String = (0..4_000).map(|at| format!("m s=\"{text}\" {at}\n")).collect();
    assert_eq!(client.write("db=db", &lines).status, 204);
    let ask = |parameters: &str, accept: &str, statement: &str| {
        let path = format!("/query?db=db&{parameters}q={}", encode(statement));
        client.request_bytes("GET", &path, &[("Accept", accept)], b"").1
    };
    let has = |answer: &[u8], text: &str| answer.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    let packed = "application/x-msgpack";
    let refused = ask("", packed, "SELECT s FROM m");
    assert!(has(&refused, "bytes of memory") && refused.len() < 1_000, "{} bytes", refused.len());
    assert!(ask("", packed, "SELECT s FROM m LIMIT 1000").len() > 1_000_000);
    assert!(ask("chunked=true&chunk_size=500&", packed, "SELECT s FROM m").len() > 4_000_000);
    assert!(ask("", "application/json", "SELECT s FROM m").len() > 4_000_000);
}

#[test]
fn selects_beyond_their_limits_are_refused() {
    let node =
        with_rows("[coordinator]\nmax-select-point = 60\nmax-select-series = 1\nmax-select-buckets = 10\n");
    let client = node.client();
    let refused = |statement: &str| ask(&client, "", statement);
    assert!(refused("SELECT v FROM m").contains("max-select-series limit exceeded: (2/1)"));
    let buckets =
        refused("SELECT mean(v) FROM m WHERE t = 'a' AND time >= 0 AND time < 50 GROUP BY time(1ns)");
    assert!(buckets.contains("max-select-buckets limit exceeded: (49/10)"), "{buckets}");
    assert!(refused("SELECT v FROM m WHERE t = 'a' LIMIT 1").contains("[[0,0]]"));
}

#[test]
fn slow_queries_and_ended_ones_are_logged() {
    let mut node = with_rows("[coordinator]\nlog-queries-after = \"1ns\"\nlog-timedout-queries = true\n");
    ask(&node.client(), "", "SELECT mean(v) FROM m");
    node.stop();
    let log = node.log();
    assert!(log.contains("slow query") && log.contains("SELECT mean(v) FROM m"), "{log}");
}

#[test]
fn the_access_log_has_only_the_statuses_that_are_asked_for() {
    let mut node = with_rows("log-enabled = true\naccess-log-status-filters = [\"4xx\"]\n");
    let client = node.client();
    let headers = [("User-Agent", "a \"b\""), ("X-Forwarded-For", "10.1.1.1"), ("X-Request-Id", "mine")];
    assert_eq!(client.request("POST", "/write?db=none", &headers, b"m v=1").status, 404);
    node.stop();
    let log = node.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("HTTP/1.1")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].starts_with("10.1.1.1,127.0.0.1 - - ["), "{}", lines[0]);
    assert!(lines[0].contains("\"POST /write?db=none HTTP/1.1\" 404 "), "{}", lines[0]);
    assert!(lines[0].contains("\"-\" \"a  b \" mine "), "{}", lines[0]);
}

#[test]
fn browsers_of_other_origins_may_ask_and_ids_come_back() {
    let node = with_rows("");
    let client = node.client();
    let headers = [("Origin", "http://grafana.example"), ("Request-Id", "abc")];
    let reply = client.request("OPTIONS", "/query", &headers, b"");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("access-control-allow-origin"), Some("http://grafana.example"));
    assert_eq!(reply.header("access-control-allow-methods"), Some("DELETE, GET, OPTIONS, POST, PUT"));
    assert_eq!((reply.header("request-id"), reply.header("x-request-id")), (Some("abc"), Some("abc")));
    let other = client.request("GET", "/ping", &[], b"");
    assert_eq!(other.header("request-id").map(str::len), Some(36));
    assert_eq!(other.header("access-control-allow-origin"), None);
}

/// A query that runs until somebody ends it.
const ENDLESS: &str = "SELECT holt_winters_with_fit(mean(v), 10, 500) FROM m WHERE time >= 0s AND time < 20000s \
                       GROUP BY time(100ms) FILL(previous)";

#[test]
fn an_administrator_finds_a_place_where_queries_are_too_many_and_can_end_one() {
    let node = Node::start("auth-enabled = true\n[coordinator]\nmax-concurrent-queries = 1\n");
    let client = node.client();
    let (root, user) = ("u=root&p=root", "u=alice&p=alice");
    ask(&client, "", "CREATE USER root WITH PASSWORD 'root' WITH ALL PRIVILEGES");
    ask(
        &client,
        root,
        "CREATE DATABASE db; CREATE USER alice WITH PASSWORD 'alice'; GRANT ALL ON db TO alice",
    );
    assert_eq!(client.write(&format!("{user}&db=db"), "m v=1 1\nm v=2 10000000000000\n").status, 204);
    std::thread::scope(|scope| {
        let endless = scope.spawn(|| ask(&node.client(), user, ENDLESS));
        let mut id = None;
        let begun = std::time::Instant::now();
        while id.is_none() {
            assert!(begun.elapsed() < std::time::Duration::from_secs(60), "the query is listed");
            std::thread::sleep(std::time::Duration::from_millis(50));
            // Looking is never refused, nor does it take the place.
            let listed = ask(&client, user, "SHOW QUERIES");
            let json: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
            let rows = json["results"][0]["series"][0]["values"].as_array().cloned().unwrap_or_default();
            let endless =
                |row: &&serde_json::Value| row[1].as_str().is_some_and(|text| text.contains("holt"));
            id = rows.iter().find(endless).and_then(|row| row[0].as_u64());
        }
        let refused =
            r#"{"results":[{"statement_id":0,"error":"max-concurrent-queries limit exceeded(1, 1)"}]}"#;
        assert_eq!(ask(&client, user, "SELECT v FROM m"), refused);
        assert!(ask(&client, root, "SELECT v FROM m").contains("[1,1]"));
        assert!(!ask(&client, root, &format!("KILL QUERY {}", id.unwrap_or(0))).contains("error"));
        assert!(endless.join().expect("an answer").contains("query interrupted"));
    });
    assert!(ask(&client, user, "SELECT v FROM m").contains("[1,1]"));
}
