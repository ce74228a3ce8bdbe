//! kill -9 at random moments under load: every acknowledged point is there with its value, nothing is invented.
//!
//! `TIDEMARK_KILL_CYCLES` sets how often (20 by default; the long tests ask for more).

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::support::{Client, Node};

const WRITERS: u64 = 3;
const LINES: u64 = 200;
const SERIES: u64 = 40;

/// The value of a point: a function of what identifies it, so that a wrong one shows.
fn value(series: u64, time: u64) -> i64 {
    (series.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ time.wrapping_mul(0xc2b2_ae3d_27d4_eb4f)) as i64 >> 20
}

/// Batch `number` of a writer covers times of its own; its lines hit every series.
fn batch(writer: u64, number: u64) -> (String, Vec<(u64, u64)>) {
    let mut text = String::new();
    let mut points = Vec::new();
    for line in 0..LINES {
        let series = writer * SERIES + line % SERIES;
        let time = number * LINES + line;
        text.push_str(&format!("m,sid={series} v={}i {}\n", value(series, time), time * 1_000_000_000));
        points.push((series, time));
    }
    (text, points)
}

struct Shared {
    stop: AtomicBool,
    /// Per writer, the next batch's number: never one that was sent before.
    next: [AtomicU64; WRITERS as usize],
    acknowledged: Mutex<Vec<(u64, u64)>>,
}

fn write_until_stopped(client: &Client, writer: u64, shared: &Shared) {
    while !shared.stop.load(Ordering::Relaxed) {
        let (text, points) = batch(writer, shared.next[writer as usize].fetch_add(1, Ordering::Relaxed));
        match client.try_request("POST", "/write?db=db", &[], text.as_bytes()) {
            Some(reply) if reply.status == 204 => {
                shared.acknowledged.lock().expect("no writer panics").extend(points);
            }
            Some(reply) => assert_eq!(reply.status, 503, "{}", reply.body),
            None => return,
        }
    }
}

/// All points as they can be read: (series, time) → value.
fn read_all(client: &Client) -> BTreeMap<(u64, u64), i64> {
    let json: serde_json::Value =
        serde_json::from_str(&client.query("db", "SELECT v FROM m GROUP BY sid")).expect("JSON");
    let mut points = BTreeMap::new();
    for one in json["results"][0]["series"].as_array().unwrap_or(&Vec::new()) {
        let series: u64 = one["tags"]["sid"].as_str().expect("a tag").parse().expect("a number");
        for row in one["values"].as_array().expect("rows") {
            let time = row[0].as_i64().expect("a time") as u64 / 1_000_000_000;
            points.insert((series, time), row[1].as_i64().expect("an integer"));
        }
    }
    points
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_invented_by_kill_9() {
    let cycles: u64 =
        std::env::var("TIDEMARK_KILL_CYCLES").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    // Small snapshots, so that kills meet snapshots and compactions too.
    let mut node = Node::start("");
    node.client().query("", "CREATE DATABASE db");
    let shared = Shared {
        stop: AtomicBool::new(false),
        next: Default::default(),
        acknowledged: Mutex::new(Vec::new()),
    };
    for cycle in 0..cycles {
        shared.stop.store(false, Ordering::Relaxed);
        let client = node.client();
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (client, shared) = (client.clone(), &shared);
                scope.spawn(move || write_until_stopped(&client, writer, shared));
            }
            std::thread::sleep(Duration::from_millis(30 + cycle * 37 % 400));
            node.kill();
            shared.stop.store(true, Ordering::Relaxed);
        });
        node.start_again();
        let stored = read_all(&node.client());
        let acknowledged = shared.acknowledged.lock().expect("no writer panics");
        for point in acknowledged.iter() {
            assert!(stored.contains_key(point), "cycle {cycle}: {point:?} was acknowledged and is lost");
        }
        for (&(series, time), &stored) in &stored {
            assert_eq!(stored, value(series, time), "cycle {cycle}: series {series}, time {time}");
        }
    }
    assert!(shared.acknowledged.lock().expect("no writer panics").len() > 1_000, "the load was no load");
}
