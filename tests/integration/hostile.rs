//! Queries that would hurt: each is refused, or ended within its limits, while points come in. What writes beside them take is
//! measured by `tidemark-bench hostile`.

#[path = "../../bench/src/hostile/statements.rs"]
mod statements;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use statements::{ENDLESS, data, hostile};

use crate::support::{Client, Node, wait_until};

/// What the node may take, and how long a query.
const LIMITS: &str = "[engine]\nmemory = \"512m\"\n[coordinator]\nquery-timeout = \"3s\"\n";

/// Resident memory the node stays below: its limit, and as much again for code, stacks and what is being sent.
const RESIDENT_BYTES_MAX: u64 = 1 << 30;

/// An answer comes within this: `query-timeout`, and as much as a machine busy with other tests may add.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

fn prepared(limits: &str) -> Node {
    let node = Node::start(limits);
    let client = node.client();
    client.query("", "CREATE DATABASE db");
    for body in data() {
        assert_eq!(client.write("db=db", &body).status, 204);
    }
    node
}

const BATCH_LINES: u64 = 1_000;

/// Writes batches until told to stop; how many.
fn ingest(client: &Client, ended: &AtomicBool) -> u64 {
    let mut batches = 0;
    while !ended.load(Ordering::Relaxed) {
        let line = |at: u64| format!("flow,host=h{} v={batches} {}", at % 100, batches * 1_000_000 + at);
        let body = (0..BATCH_LINES).map(line).collect::<Vec<_>>().join("\n");
        let reply = client.write("db=db", &body);
        assert_eq!(reply.status, 204, "{}", reply.body);
        batches += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    batches
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
    let batches = std::thread::scope(|scope| {
        let writing = scope.spawn(|| ingest(&client, &ended));
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
    let count = client.query("db", "SELECT count(v) FROM flow");
    assert!(count.contains(&format!("[0,{}]", batches * BATCH_LINES)), "{count}, {batches} batches");
}

fn running(client: &Client, text: &str) -> Option<u64> {
    let answer = client.query("db", "SHOW QUERIES");
    let json: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    let rows = json["results"][0]["series"][0]["values"].as_array()?.clone();
    rows.iter().find(|row| row[1].as_str().is_some_and(|query| query.contains(text)))?[0].as_u64()
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
