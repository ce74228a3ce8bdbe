//! Queries that would hurt: each is refused, or ended within its limits, while points come in.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Client, Node};

/// What the node may take, and how long a query.
const LIMITS: &str = "[engine]\nmemory = \"512m\"\n[coordinator]\nquery-timeout = \"3s\"\n";

/// Resident memory the node stays below: its limit, and as much again for code, stacks and what is being sent.
const RESIDENT_BYTES_MAX: u64 = 1 << 30;

/// An answer comes within this: `query-timeout`, and as much as a machine busy with other tests may add.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

const DEEP: &str = "query is nested too deeply";
const LARGE: &str = "query is too large";
const MEMORY: &str = "bytes of memory";
const TIMEOUT: &str = "query-timeout limit exceeded";
/// An ordinary answer.
const ANSWER: &str = "statement_id";

/// A query that runs until somebody ends it, on any machine: a fit of 200,000 points with a long season.
const ENDLESS: &str = "SELECT holt_winters_with_fit(mean(v), 10, 500) FROM m WHERE time >= 0s AND time < 20000s GROUP BY time(100ms) FILL(previous)";

/// Statements, each with the texts one of which its answer must have.
fn hostile() -> Vec<(String, &'static [&'static str])> {
    let either = |field: &str, count: usize| {
        (0..count).map(|at| format!("{field} = 'h{at}'")).collect::<Vec<_>>().join(" OR ")
    };
    let nested = |open: &str, inner: &str, close: &str, times: usize| {
        format!("{}{inner}{}", open.repeat(times), close.repeat(times))
    };
    let within = "WHERE time >= 0s AND time < 20000s";
    vec![
        (nested("SELECT v FROM (", "SELECT v FROM m", ")", 300), &[DEEP]),
        (format!("SELECT v FROM m WHERE {}", nested("(", "v > 1", ")", 100_000)), &[DEEP]),
        (
            format!(
                "SELECT {} FROM m {within} GROUP BY time(1s)",
                nested("derivative(", "mean(v)", ")", 5000)
            ),
            &[DEEP],
        ),
        (format!("SELECT v{} FROM m", " + v".repeat(50_000)), &[DEEP]),
        (format!("SELECT {}v FROM m", "-".repeat(100_000)), &["error parsing query"]),
        (format!("SELECT v FROM many WHERE {}", either("host", 50_000)), &[LARGE]),
        (format!("SELECT v FROM many WHERE {}", either("host", 5_000)), &[ANSWER]),
        (format!("SELECT v FROM m WHERE {}", either("s", 50_000)), &[LARGE]),
        (format!("SHOW TAG VALUES WITH KEY IN ({})", vec!["\"host\""; 90_000].join(", ")), &[ANSWER, LARGE]),
        (format!("SELECT mean(v) FROM m {within} GROUP BY time(1ns)"), &[MEMORY]),
        ("SELECT count(v) FROM m GROUP BY time(1ns)".to_owned(), &[MEMORY]),
        (format!("SELECT mean(v) FROM m {within} GROUP BY time(5ms) FILL(0)"), &[MEMORY, TIMEOUT, ANSWER]),
        (
            format!("SELECT mean(v) FROM many {within} GROUP BY time(10s), host FILL(1)"),
            &[MEMORY, TIMEOUT, ANSWER],
        ),
        (
            "SELECT v FROM many WHERE host =~ /((((a{100}){100}){100}){100})/".to_owned(),
            &["expression too large"],
        ),
        ("SELECT v FROM many WHERE host =~ /(a+)+(b+)+(c*)*(a|aa)+$/".to_owned(), &[ANSWER]),
        ("SELECT * FROM /(x+x+)+y|(.*)*/ LIMIT 1".to_owned(), &[ANSWER]),
        ("SELECT * FROM wide".to_owned(), &[ANSWER]),
        ("SELECT mean(*) FROM wide GROUP BY *".to_owned(), &[ANSWER, TIMEOUT]),
        (format!("SELECT v FROM {}", vec!["m"; 3_000].join(", ")), &[ANSWER, MEMORY, TIMEOUT]),
        (ENDLESS.to_owned(), &[TIMEOUT]),
        (
            format!("SELECT holt_winters(mean(v), 10, 100000) FROM m {within} GROUP BY time(100ms)"),
            &["holt_winters", ANSWER],
        ),
        ("SELECT top(v, 100000000) FROM many".to_owned(), &[ANSWER, MEMORY]),
        (format!("SELECT moving_average(v, 100000000) FROM m {within}"), &[ANSWER, MEMORY]),
        ("SELECT * INTO copy FROM many; SELECT * INTO again FROM copy GROUP BY *".to_owned(), &[ANSWER]),
        (vec!["SELECT count(v) FROM many"; 2_000].join(";"), &[ANSWER, TIMEOUT]),
        (format!("SELECT \"{}\" FROM m", "x".repeat(500_000)), &[ANSWER, "error parsing query"]),
    ]
}

fn prepared(limits: &str) -> Node {
    let node = Node::start(limits);
    let client = node.client();
    client.query("", "CREATE DATABASE db");
    let lines =
        |count: u64, line: &dyn Fn(u64) -> String| (0..count).map(line).collect::<Vec<_>>().join("\n");
    let second = 1_000_000_000;
    for body in [
        lines(20_000, &|at| format!("m,host=a v={},s=\"x\" {}", at % 100, at * second)),
        lines(5_000, &|at| format!("many,host=h{at},dc=d{} v={at} {}", at % 7, at * second)),
        format!("wide,host=a {} 1", (0..3_000).map(|at| format!("f{at}=1")).collect::<Vec<_>>().join(",")),
    ] {
        assert_eq!(client.write("db=db", &body).status, 204);
    }
    node
}

/// Lines of a batch. Small ones wait for turns most of all; figures are taken of large ones, too.
fn batch_lines() -> u64 {
    std::env::var("TIDEMARK_BATCH_LINES").map_or(1_000, |lines| lines.parse().expect("a number of lines"))
}

/// Writes batches until told to stop, `from` this one on; how long each took until it was acknowledged.
fn ingest(client: &Client, from: u64, ended: &AtomicBool) -> Vec<Duration> {
    let mut took = Vec::new();
    while !ended.load(Ordering::Relaxed) {
        let round = from + took.len() as u64;
        let line = |at: u64| format!("flow,host=h{} v={round} {}", at % 100, round * 1_000_000 + at);
        let body = (0..batch_lines()).map(line).collect::<Vec<_>>().join("\n");
        let sent = Instant::now();
        let reply = client.write("db=db", &body);
        took.push(sent.elapsed());
        assert_eq!(reply.status, 204, "{}", reply.body);
        std::thread::sleep(Duration::from_millis(20));
    }
    took
}

/// Median and 99th percentile in milliseconds, for people: nothing is judged by them.
fn latency(mut took: Vec<Duration>) -> String {
    took.sort_unstable();
    let at = |part: usize| took[(took.len() * part / 100).min(took.len() - 1)].as_secs_f64() * 1e3;
    format!("p50 {:.1} ms, p99 {:.1} ms of {} batches", at(50), at(99), took.len())
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn hostile_queries_end_within_their_limits_while_points_come_in() {
    let node = prepared(LIMITS);
    let client = node.client();
    let ended = AtomicBool::new(false);
    let alone = std::thread::scope(|scope| {
        let writing = scope.spawn(|| ingest(&client, 0, &ended));
        std::thread::sleep(Duration::from_secs(3));
        ended.store(true, Ordering::Relaxed);
        writing.join().expect("every batch was taken")
    });
    let ended = AtomicBool::new(false);
    let from = alone.len() as u64;
    let beside = std::thread::scope(|scope| {
        let writing = scope.spawn(|| ingest(&client, from, &ended));
        // The writer ends with the test, also with one that fails.
        let stop = Stop(&ended);
        for (statement, texts) in hostile() {
            let shown: String = statement.chars().take(100).collect();
            let asked = Instant::now();
            let answer = client.request(
                "POST",
                "/query?db=db",
                &[("Content-Type", "application/x-www-form-urlencoded")],
                format!("q={}", crate::support::client::encode(&statement)).as_bytes(),
            );
            let body: String = answer.body.chars().take(300).chain(" … ".chars()).collect::<String>()
                + &answer.body[answer.body.len().saturating_sub(300)..];
            assert!(texts.iter().any(|text| answer.body.contains(text)), "{shown}: {} {body}", answer.status);
            assert!(asked.elapsed() < ANSWER_WITHIN, "{shown} took {:?}", asked.elapsed());
            assert!(node.resident_bytes() < RESIDENT_BYTES_MAX, "{shown}: {}", node.resident_bytes());
        }
        drop(stop);
        writing.join().expect("every batch was taken")
    });
    let batches = from + beside.len() as u64;
    println!("writes alone: {}; beside the queries: {}", latency(alone), latency(beside));
    let count = client.query("db", "SELECT count(v) FROM flow");
    assert!(count.contains(&format!("[0,{}]", batches * batch_lines())), "{count}, {batches} batches");
}

fn running(client: &Client, text: &str) -> Option<u64> {
    let answer = client.query("db", "SHOW QUERIES");
    let json: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    let rows = json["results"][0]["series"][0]["values"].as_array()?.clone();
    rows.iter().find(|row| row[1].as_str().is_some_and(|query| query.contains(text)))?[0].as_u64()
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < ANSWER_WITHIN, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_killed_query_ends_in_the_midst_of_its_work() {
    let node = prepared("");
    let client = node.client();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| node.client().query("db", ENDLESS));
        let mut id = None;
        wait_until("the query is listed", || {
            id = running(&client, "holt_winters");
            id.is_some()
        });
        let id = id.expect("waited for");
        assert_eq!(client.query("db", &format!("KILL QUERY {id}")), r#"{"results":[{"statement_id":0}]}"#);
        let answer = asking.join().expect("an answer");
        assert_eq!(answer, r#"{"results":[{"statement_id":0,"error":"query interrupted"}]}"#);
    });
    assert_eq!(running(&client, "holt_winters"), None);
}

#[test]
fn a_query_whose_client_is_gone_ends() {
    use std::io::Write;
    let node = prepared("");
    let client = node.client();
    let mut stream = std::net::TcpStream::connect(&client.address).expect("connects");
    let path = format!("/query?db=db&q={}", crate::support::client::encode(ENDLESS));
    write!(stream, "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").expect("sent");
    wait_until("the query is listed", || running(&client, "holt_winters").is_some());
    drop(stream);
    wait_until("the query is gone", || running(&client, "holt_winters").is_none());
}
