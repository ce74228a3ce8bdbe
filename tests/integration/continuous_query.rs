//! Continuous queries run by themselves, again for late points, and go on after a restart.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::support::{Client, Node};

const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as i64
}

fn process(client: &Client, name: &str, time: i64) {
    let path = format!("/data/process_continuous_queries?db=db&name={name}&time={time}");
    let reply = client.request("POST", &path, &[], b"");
    assert_eq!(reply.status, 204, "{}", reply.body);
}

/// (window in minutes, value) of a measurement.
fn windows(client: &Client, measurement: &str) -> Vec<(i64, f64)> {
    let answer = client.query("db", &format!("SELECT * FROM {measurement}"));
    let json: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    let rows = json["results"][0]["series"][0]["values"].as_array().cloned().unwrap_or_default();
    rows.iter()
        .map(|row| (row[0].as_i64().expect("a time") / MINUTE, row[1].as_f64().expect("a number")))
        .collect()
}

#[test]
fn a_run_at_a_given_time_computes_its_window_and_late_points_come_with_the_next() {
    // The rounds by themselves are far apart: those asked for are seen alone.
    let node = Node::start("[continuous_queries]\nrun-interval = \"1h\"\n");
    let client = node.client();
    client.query("", "CREATE DATABASE db");
    client.query(
        "",
        "CREATE CONTINUOUS QUERY cq ON db BEGIN SELECT mean(v) INTO n FROM m GROUP BY time(1m) END",
    );
    client.write("db=db", &format!("m v=1 {}\nm v=3 {}\n", 10 * MINUTE, 10 * MINUTE + 1));
    process(&client, "cq", 11 * MINUTE);
    assert_eq!(windows(&client, "n"), [(10, 2.0)]);
    // Late: into a window that was computed, and into one that never was.
    client.write("db=db", &format!("m v=8 {}\nm v=7 {}\n", 10 * MINUTE + 2, 4 * MINUTE));
    client.write("db=db", &format!("m v=5 {}\n", 11 * MINUTE));
    process(&client, "cq", 12 * MINUTE);
    assert_eq!(windows(&client, "n"), [(4, 7.0), (10, 4.0), (11, 5.0)]);
    let stats = client.query("", "SHOW STATS FOR 'cq'");
    assert!(stats.contains(r#""columns":["pointsWritten","queryFail","queryOk"]"#), "{stats}");
    let reply = client.request("POST", "/data/process_continuous_queries?db=nope", &[], b"");
    assert_eq!(reply.status, 400);
}

#[test]
fn what_fails_is_counted_and_shown_and_made_up_for() {
    let node = Node::start("[continuous_queries]\nrun-interval = \"1h\"\n");
    let client = node.client();
    client.query("", "CREATE DATABASE db; CREATE DATABASE target");
    client.query(
        "",
        "CREATE CONTINUOUS QUERY cq ON db BEGIN SELECT mean(v) INTO target.autogen.n FROM m GROUP BY time(1m) END",
    );
    client.query("", "DROP DATABASE target");
    client.write("db=db", &format!("m v=1 {}\n", 10 * MINUTE));
    process(&client, "cq", 11 * MINUTE);
    let shown = client.query("", "SHOW DIAGNOSTICS FOR 'continuous_queries'");
    assert!(shown.contains("database not found: target"), "{shown}");
    assert!(client.query("", "SHOW STATS FOR 'cq'").contains("[0,1,0]"));
    client.query("", "CREATE DATABASE target");
    process(&client, "cq", 12 * MINUTE);
    assert!(client.query("target", "SELECT * FROM n").contains("[600000000000,1]"));
    assert!(!client.query("", "SHOW DIAGNOSTICS").contains("database not found"));
}

/// The window ends, most times, before the service first sees the query.
#[test]
fn the_window_a_query_was_created_in_is_computed() {
    let node = Node::start("[continuous_queries]\nrun-interval = \"1s\"\n");
    let client = node.client();
    client.query("", "CREATE DATABASE db");
    let into_second = now() % SECOND;
    std::thread::sleep(Duration::from_nanos(((1_900_000_000 - into_second) % SECOND) as u64));
    client.query(
        "",
        "CREATE CONTINUOUS QUERY cq ON db BEGIN SELECT sum(v) INTO n FROM m GROUP BY time(1s) END",
    );
    assert_eq!(client.write("db=db", &format!("m v=7i {}\n", now())).status, 204);
    let deadline = Instant::now() + Duration::from_secs(30);
    while !client.query("db", "SELECT sum(sum) FROM n").contains("[0,7]") {
        assert!(Instant::now() < deadline, "{}", client.query("", "SHOW DIAGNOSTICS"));
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Windows of a second: a restart, late points before and after it, and the windows of the time it was down.
#[test]
fn after_a_kill_it_goes_on_where_it_was() {
    let mut node = Node::start("[continuous_queries]\nrun-interval = \"100ms\"\n");
    let client = node.client();
    client.query("", "CREATE DATABASE db");
    client.query(
        "",
        "CREATE CONTINUOUS QUERY cq ON db BEGIN SELECT sum(v) INTO n FROM m GROUP BY time(1s) END",
    );
    let started = now();
    let mut written = 0;
    let mut write = |client: &Client, time: i64| {
        assert_eq!(client.write("db=db", &format!("m,n={written} v=1i {time}\n")).status, 204);
        written += 1;
    };
    for _ in 0..5 {
        write(&client, now());
        write(&client, started - 100 * SECOND);
        std::thread::sleep(Duration::from_millis(400));
    }
    // The note of late points follows within a round.
    std::thread::sleep(Duration::from_millis(300));
    node.kill();
    std::thread::sleep(Duration::from_millis(1500));
    node.start_again();
    // The first round tells the cores what is late.
    std::thread::sleep(Duration::from_millis(1000));
    let client = node.client();
    write(&client, now() - SECOND);
    write(&client, started - 50 * SECOND);
    let wanted = format!("[0,{}]", 12);
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let sum = client.query("db", "SELECT sum(sum) FROM n");
        if sum.contains(&wanted) {
            break;
        }
        assert!(Instant::now() < deadline, "{sum}");
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(node);
}
