//! The requests that well-known clients send, with the answers of a real InfluxDB.
//!
//! `cases/*.case` hold requests one after the other, a file for each client:
//!
//!     -- a comment
//!     POST /write?db=x            blanks and quotes need no escapes
//!     Content-Type: text/plain    headers; with `Content-Encoding: gzip` the body is compressed
//!     | m v=1                     lines of the body
//!     & q=SHOW DATABASES          or fields of a form
//!     => 204                      the status
//!     X-Influxdb-Version:         headers; without a value, any
//!     | {"results":…}             the body; without lines, none
//!
//! The answers are recorded: `TIDEMARK_CASES_RECORD=HOST:PORT` plays the files against the server there and writes what it
//! answers into them. Requests that begin with `1.8` are not for the older server that is at hand; their answers are
//! written by hand.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::support::{Client, Node, encode};

#[derive(Default)]
struct Case {
    comments: Vec<String>,
    is_new: bool,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<String>,
    form: Vec<String>,
    status: u16,
    wanted_headers: Vec<(String, String)>,
    wanted_body: Vec<String>,
}

fn header(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    Some((name.to_owned(), value.trim().to_owned()))
}

fn parse(text: &str) -> Vec<Case> {
    let blocks = text.split("\n\n").map(str::trim).filter(|block| !block.is_empty());
    blocks
        .map(|block| {
            let mut case = Case::default();
            for line in block.lines() {
                let is_answer = case.status != 0;
                if line.starts_with("--") {
                    case.comments.push(line.to_owned());
                } else if let Some(status) = line.strip_prefix("=> ") {
                    case.status = status.parse().expect("a status");
                } else if let Some(text) = line.strip_prefix("| ").or((line == "|").then_some("")) {
                    if is_answer { &mut case.wanted_body } else { &mut case.body }.push(text.to_owned());
                } else if let Some(field) = line.strip_prefix("& ") {
                    case.form.push(field.to_owned());
                } else if case.method.is_empty() {
                    let request = line.strip_prefix("1.8 ");
                    case.is_new = request.is_some();
                    let (method, path) = request.unwrap_or(line).split_once(' ').expect("method and path");
                    (case.method, case.path) = (method.to_owned(), path.to_owned());
                } else {
                    let header = header(line).unwrap_or_else(|| panic!("{line:?} is no header"));
                    if is_answer { &mut case.wanted_headers } else { &mut case.headers }.push(header);
                }
            }
            case
        })
        .collect()
}

impl Case {
    /// Encodes what may not stand in a request line.
    fn target(&self) -> String {
        let plain = |c: char| c.is_ascii_graphic() && !"\"<>{}|\\^`+;".contains(c);
        self.path.chars().map(|c| if plain(c) { c.to_string() } else { encode(&c.to_string()) }).collect()
    }

    fn play(&self, client: &Client) -> crate::support::client::Reply {
        let mut headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut body = self.body.join("\n").into_bytes();
        if !self.form.is_empty() {
            headers.push(("Content-Type", "application/x-www-form-urlencoded"));
            let fields = self.form.iter().map(|field| {
                let (name, value) = field.split_once('=').expect("a field");
                format!("{name}={}", encode(value))
            });
            body = fields.collect::<Vec<_>>().join("&").into_bytes();
        }
        if headers.contains(&("Content-Encoding", "gzip")) {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(&body).expect("a vector takes all");
            body = encoder.finish().expect("a vector takes all");
        }
        client.request(&self.method, &self.target(), &headers, &body)
    }

    fn check(&self, client: &Client) {
        let reply = self.play(client);
        let what = format!("{} {}", self.method, self.path);
        assert_eq!(reply.status, self.status, "{what}: {}", reply.body);
        for (name, value) in &self.wanted_headers {
            let got = reply.header(&name.to_lowercase());
            assert!(got.is_some_and(|got| value.is_empty() || got == value), "{what}: {name} is {got:?}");
        }
        assert_eq!(reply.body.lines().collect::<Vec<_>>(), self.wanted_body, "{what}");
    }

    fn put(&self, out: &mut String) {
        for comment in &self.comments {
            *out += &format!("{comment}\n");
        }
        *out += &format!("{}{} {}\n", if self.is_new { "1.8 " } else { "" }, self.method, self.path);
        let line = |(name, value): &(String, String)| format!("{name}: {value}").trim_end().to_owned() + "\n";
        let text = |prefix: &str, text: &String| format!("{prefix} {text}").trim_end().to_owned() + "\n";
        *out += &self.headers.iter().map(line).collect::<String>();
        *out += &self.body.iter().map(|body| text("|", body)).collect::<String>();
        *out += &self.form.iter().map(|field| text("&", field)).collect::<String>();
        *out += &format!("=> {}\n", self.status);
        *out += &self.wanted_headers.iter().map(line).collect::<String>();
        *out += &self.wanted_body.iter().map(|body| text("|", body)).collect::<String>();
    }
}

/// Asks a real server and keeps what it says.
fn record(file: &Path, mut cases: Vec<Case>, client: &Client) {
    let mut out = String::new();
    for case in &mut cases {
        if !case.is_new {
            let reply = case.play(client);
            case.status = reply.status;
            case.wanted_body = reply.body.lines().map(str::to_owned).collect();
        }
        if !out.is_empty() {
            out.push('\n');
        }
        case.put(&mut out);
    }
    std::fs::write(file, out).expect("the file can be written");
}

fn play(name: &str) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/integration/cases/{name}.case"));
    let cases = parse(&std::fs::read_to_string(&file).expect("a file of cases"));
    if let Ok(address) = std::env::var("TIDEMARK_CASES_RECORD") {
        return record(&file, cases, &Client { address });
    }
    let node = Node::start("[engine]\nslices = 1\n");
    cases.iter().for_each(|case| case.check(&node.client()));
}

#[test]
fn grafana() {
    play("grafana");
}

#[test]
fn telegraf() {
    play("telegraf");
}

#[test]
fn home_assistant() {
    play("home_assistant");
}

#[test]
fn proxmox() {
    play("proxmox");
}

#[test]
fn chronograf() {
    play("chronograf");
}

#[test]
fn kapacitor() {
    play("kapacitor");
}

#[test]
fn answers_that_clients_match_on() {
    play("answers");
}

/// What Telegraf's `inputs.influxdb` reads: an object of statistics, and numbers of memory that are integers.
#[test]
fn debug_vars_have_the_shape_that_telegraf_reads() {
    let node = Node::start("");
    let client = node.client();
    client.query("", "CREATE DATABASE db");
    client.write("db=db", "m v=1 1\n");
    let reply = client.request("GET", "/debug/vars", &[], b"");
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let vars: serde_json::Value = serde_json::from_str(&reply.body).expect("JSON");
    let members = vars.as_object().expect("an object");
    for member in ["system", "cmdline", "memstats", "queryExecutor", "write", "cq"] {
        assert!(members.contains_key(member), "{member}: {}", reply.body);
    }
    for (name, value) in members["memstats"].as_object().expect("an object") {
        assert!(value.is_u64(), "memstats.{name} is {value}");
    }
    let statistics: Vec<_> = members.values().filter(|value| value.get("values").is_some()).collect();
    assert!(statistics.len() >= 5);
    for statistic in statistics {
        assert!(statistic["name"].is_string() && statistic["tags"].is_object(), "{statistic}");
        assert!(statistic["values"].as_object().expect("values").values().all(serde_json::Value::is_number));
    }
    assert_eq!(members["write"]["values"]["writeOk"], 1);
}

/// Requests of all connections, whichever core serves them.
#[test]
fn debug_requests_count_by_user_and_address() {
    let node = Node::start("[engine]\ncores = 2\n");
    let client = node.client();
    client.query("", "CREATE DATABASE db");
    let counting = {
        let client = client.clone();
        std::thread::spawn(move || client.request("GET", "/debug/requests?seconds=2", &[], b"").body)
    };
    std::thread::sleep(std::time::Duration::from_millis(700));
    for _ in 0..8 {
        assert_eq!(client.write("db=db&u=me&p=x", "m v=1 1\n").status, 204);
    }
    client.query("db", "SELECT * FROM m");
    let counts = counting.join().expect("no panic");
    assert_eq!(
        counts.trim_end(),
        r#"{"127.0.0.1":{"writes":0,"queries":1},"me:127.0.0.1":{"writes":8,"queries":0}}"#
    );
}
