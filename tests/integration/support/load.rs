//! Writes, overwrites, deletes and queries over HTTP, until the server is interrupted, judged by the oracle.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Client;
use crate::oracle::{Book, Change, Content, Random, Shape, Stored};

const WRITERS: u64 = 3;

/// A hundred batches are some weeks, that is several shard groups.
const SHAPE: Shape = Shape { series: 40, lines: 200, line_ns: 120_000_000_000, start_ns: 0 };

/// A load and all it knows. Lives as long as the database `db`.
pub struct Load {
    seed: u64,
    rounds: u64,
    book: Mutex<Book>,
}

impl Load {
    pub fn new(seed: u64) -> Self {
        Self { seed, rounds: 0, book: Mutex::new(Book::new(SHAPE)) }
    }

    /// Writes, overwrites, deletes and asks until `interrupt` has returned; it may kill the server.
    pub fn run(&mut self, client: &Client, interrupt: impl FnOnce()) {
        self.rounds += 1;
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let random = Random::new(self.seed ^ self.rounds << 8 ^ writer);
                let (load, stop) = (&*self, &stop);
                scope.spawn(move || load.change_until(client, writer, random, stop));
            }
            let stopped = &stop;
            scope.spawn(move || ask_until(client, stopped));
            interrupt();
            stop.store(true, Ordering::Relaxed);
        });
    }

    fn change_until(&self, client: &Client, writer: u64, mut random: Random, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let change = self.book.lock().expect("no writer panics").begin(writer, true, &mut random);
            match send(client, change) {
                Some(true) => self.book.lock().expect("no writer panics").acknowledge(change),
                Some(false) => {}
                None => return,
            }
        }
    }

    /// Reads everything and compares it with what may be; `when` stands in the message of a failure.
    pub fn check(&self, client: &Client, when: &str) {
        let judged = self.book.lock().expect("no writer panics").judge(read_all(client));
        judged.unwrap_or_else(|wrong| panic!("{when}: {wrong}"));
    }

    /// Batches whose content is certain.
    pub fn acknowledged(&self) -> usize {
        self.book.lock().expect("no writer panics").certain()
    }
}

/// Sends one change; whether it was acknowledged, `None` when the server is gone.
fn send(client: &Client, change: Change) -> Option<bool> {
    let Change { writer, number, content } = change;
    let reply = match content {
        Content::Version(version) => {
            let lines = SHAPE.lines(writer, number, version);
            client.try_request("POST", "/write?db=db", &[], lines.as_bytes())?
        }
        Content::Absent => client.try_query("db", &SHAPE.delete(writer, number))?,
    };
    match (reply.status, reply.body.contains("\"error\"")) {
        (204, _) | (200, false) => Some(true),
        // A disk that goes away refuses; whatever it says, it does not acknowledge.
        (500.., _) | (200, true) => Some(false),
        (status, _) => panic!("{status}: {}", reply.body),
    }
}

fn ask_until(client: &Client, stop: &AtomicBool) {
    let asked =
        ["SELECT mean(v), count(s) FROM m GROUP BY sid", "SHOW SERIES LIMIT 10", "SELECT last(f) FROM m"];
    for statement in asked.iter().cycle() {
        if stop.load(Ordering::Relaxed) || client.try_query("db", statement).is_none() {
            return;
        }
    }
}

fn read_all(client: &Client) -> Stored {
    let text = client.query("db", "SELECT v, f, s FROM m GROUP BY sid");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert!(json["results"][0]["error"].is_null(), "{text}");
    let mut stored = Stored::new();
    for one in json["results"][0]["series"].as_array().unwrap_or(&Vec::new()) {
        let series: u64 = one["tags"]["sid"].as_str().expect("a tag").parse().expect("a number");
        for row in one["values"].as_array().expect("rows") {
            let fields = (row[1].as_i64(), row[2].as_f64(), row[3].as_str());
            let (Some(v), Some(f), Some(s)) = fields else { panic!("a row without a field: {row}") };
            stored.insert((series, row[0].as_u64().expect("a time")), (v, f, s.to_owned()));
        }
    }
    stored
}
