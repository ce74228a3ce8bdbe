//! A query that is killed, whose client is gone, or whose time is over ends in whatever phase it is, on every core.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use crate::support::{Client, Node, encode, wait_until};

/// A query has come to its phase after this.
const INTO_THE_PHASE: Duration = Duration::from_millis(300);

/// What a node that has nothing to do may take of a CPU in [`IDLE_WINDOW`].
const IDLE_CPU: Duration = Duration::from_millis(50);
const IDLE_WINDOW: Duration = Duration::from_millis(250);

/// How a query is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Kill,
    ClientGone,
    /// `query-timeout`.
    Timeout,
}

fn lines(count: u64, line: impl Fn(u64) -> String) -> String {
    (0..count).map(line).collect::<Vec<_>>().join("\n")
}

fn prepared(configuration: &str) -> Node {
    let node = Node::start(configuration);
    let client = node.client();
    client.query("", "CREATE DATABASE db");
    let second = 1_000_000_000;
    let text = "ab".repeat(300);
    for body in [
        lines(2_000, |at| format!("text,host=h{} s=\"{text}\" {}", at % 20, at * second)),
        lines(20_000, |at| format!("m,host=a v={} {}", at % 100, at * second)),
        lines(2_000, |at| format!("kind{at},host=a v=1 1")),
        lines(10_000, |at| format!("tagged,t={} v=1 1", unlike(at))),
    ] {
        assert_eq!(client.write("db=db", &body).status, 204);
    }
    node
}

/// 600 times a or b, as the number says.
fn unlike(number: u64) -> String {
    let mut state = number;
    let words = std::iter::repeat_with(|| {
        // The generator SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    });
    let bits = words.flat_map(|word| (0..64).map(move |bit| word >> bit & 1));
    bits.take(600).map(|bit| if bit == 0 { 'a' } else { 'b' }).collect()
}

/// Lists all series of `tagged`, after milliseconds for each.
fn listing() -> String {
    // None matches; no letter that a value lacks tells so at once.
    let differs = (500..503).map(|length| format!("t !~ /[ab]*a[ab]{{{length}}}[c-z]/"));
    format!("SHOW SERIES FROM tagged WHERE {}", differs.collect::<Vec<_>>().join(" AND "))
}

/// A statement for each phase that is busy with it for minutes.
fn statements() -> Vec<(&'static str, String)> {
    let times = |source: &str, count: usize| vec![source; count].join(", ");
    // No row matches, and to see that takes a step per state and byte.
    let pattern = "[ab]*a[ab]{500}c";
    vec![
        ("listing", listing()),
        ("planning", format!("SELECT v FROM {}", times("/kind/", 50))),
        ("scanning", format!("SELECT count(s) FROM {} WHERE s =~ /{pattern}/", times("text", 1_000))),
        (
            "aggregating",
            "SELECT holt_winters_with_fit(mean(v), 10, 500) FROM m WHERE time >= 0s AND time < 20000s \
             GROUP BY time(100ms) FILL(previous)"
                .to_owned(),
        ),
        // Nobody reads the answer.
        ("encoding", format!("SELECT v FROM {}", times("m", 1_000))),
    ]
}

fn running(client: &Client) -> Vec<u64> {
    let answer = client.query("", "SHOW QUERIES");
    let json: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    let rows = json["results"][0]["series"][0]["values"].as_array().cloned().unwrap_or_default();
    let others = rows.iter().filter(|row| row[1] != "SHOW QUERIES");
    others.filter_map(|row| row[0].as_u64()).collect()
}

fn is_idle(node: &Node) -> bool {
    let before = node.cpu_time();
    std::thread::sleep(IDLE_WINDOW);
    node.cpu_time() - before < IDLE_CPU
}

fn check(node: &Node, phase: &str, statement: &str, how: End) {
    let client = node.client();
    let mut stream = TcpStream::connect(&client.address).expect("connects");
    let body = format!("q={}", encode(statement));
    write!(
        stream,
        "POST /query?db=db HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("sent");
    let mut ids = Vec::new();
    wait_until(&format!("{phase}: the query is listed"), || {
        ids = running(&client);
        !ids.is_empty()
    });
    match how {
        End::Kill => {
            std::thread::sleep(INTO_THE_PHASE);
            client.query("", &format!("KILL QUERY {}", ids[0]));
        }
        End::ClientGone => {
            std::thread::sleep(INTO_THE_PHASE);
            drop(stream);
        }
        End::Timeout => {}
    }
    wait_until(&format!("{phase}, {how:?}: the query is gone"), || running(&client).is_empty());
    wait_until(&format!("{phase}, {how:?}: no core goes on with it"), || is_idle(node));
}

#[test]
fn killed_queries_end_in_every_phase_on_every_core() {
    let node = prepared("");
    for (phase, statement) in statements() {
        check(&node, phase, &statement, End::Kill);
    }
}

#[test]
fn queries_whose_client_is_gone_end_in_every_phase_on_every_core() {
    let node = prepared("");
    for (phase, statement) in statements() {
        check(&node, phase, &statement, End::ClientGone);
    }
}

#[test]
fn queries_whose_time_is_over_end_in_every_phase_on_every_core() {
    let node = prepared("[coordinator]\nquery-timeout = \"1s\"\n");
    for (phase, statement) in statements() {
        check(&node, phase, &statement, End::Timeout);
    }
}

/// Memory each core holds for queries.
fn query_bytes(client: &Client) -> Vec<u64> {
    let metrics = client.request("GET", "/metrics", &[], b"").body;
    let lines = metrics.lines().filter_map(|line| line.strip_prefix("tidemark_query_pool_bytes"));
    lines.filter_map(|rest| rest.rsplit(' ').next()?.parse().ok()).collect()
}

#[test]
fn a_killed_listing_is_answered_when_all_cores_have_given_its_memory_back() {
    let node = prepared("[engine]\ncores = 2\n");
    let client = node.client();
    for _ in 0..3 {
        assert_eq!(query_bytes(&client), [0, 0]);
        let asking = node.client();
        let asked = std::thread::spawn(move || asking.query("db", &listing()));
        wait_until("both cores hold series", || query_bytes(&client).iter().all(|bytes| *bytes > 0));
        client.query("", &format!("KILL QUERY {}", running(&client)[0]));
        let answer = asked.join().expect("answered");
        assert!(answer.contains("query interrupted"), "{answer}");
        assert_eq!(query_bytes(&client), [0, 0], "memory is still held");
    }
}
