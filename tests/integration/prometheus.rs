//! Prometheus remote write and read, as Prometheus sends them.

use prost::Message;

use crate::support::{Client, Node};

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Series {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

/// A write request, and a result of an answer: the same bytes.
#[derive(Clone, PartialEq, Message)]
struct AllSeries {
    #[prost(message, repeated, tag = "1")]
    series: Vec<Series>,
}

#[derive(Clone, PartialEq, Message)]
struct Matcher {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Query {
    #[prost(int64, tag = "1")]
    start_ms: i64,
    #[prost(int64, tag = "2")]
    end_ms: i64,
    #[prost(message, repeated, tag = "3")]
    matchers: Vec<Matcher>,
}

#[derive(Clone, PartialEq, Message)]
struct ReadRequest {
    #[prost(message, repeated, tag = "1")]
    queries: Vec<Query>,
}

#[derive(Clone, PartialEq, Message)]
struct ReadAnswer {
    #[prost(message, repeated, tag = "1")]
    results: Vec<AllSeries>,
}

const HEADERS: [(&str, &str); 2] =
    [("Content-Encoding", "snappy"), ("Content-Type", "application/x-protobuf")];

fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Series {
    Series {
        labels: labels
            .iter()
            .map(|(name, value)| Label { name: name.to_string(), value: value.to_string() })
            .collect(),
        samples: samples.iter().map(|&(timestamp, value)| Sample { value, timestamp }).collect(),
    }
}

fn compressed(message: &impl Message) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(&message.encode_to_vec()).expect("compresses")
}

fn read(client: &Client, start_ms: i64, end_ms: i64, matchers: &[(i32, &str, &str)]) -> Vec<Series> {
    let matchers =
        matchers.iter().map(|&(kind, name, value)| Matcher { kind, name: name.into(), value: value.into() });
    let request = ReadRequest { queries: vec![Query { start_ms, end_ms, matchers: matchers.collect() }] };
    let reply = client.request_bytes("POST", "/api/v1/prom/read?db=prom", &HEADERS, &compressed(&request));
    assert_eq!(reply.0.status, 200, "{}", reply.0.body);
    assert_eq!(reply.0.header("content-type"), Some("application/x-protobuf"));
    assert_eq!(reply.0.header("content-encoding"), Some("snappy"));
    let bytes = snap::raw::Decoder::new().decompress_vec(&reply.1).expect("decompresses");
    ReadAnswer::decode(bytes.as_slice()).expect("an answer").results.remove(0).series
}

#[test]
fn what_is_written_is_read_back_by_matchers() {
    let node = Node::start("");
    let client = node.client();
    client.query("", "CREATE DATABASE prom");
    let up = |instance, samples: &[_]| {
        series(&[("__name__", "up"), ("instance", instance), ("job", "node")], samples)
    };
    let all = AllSeries {
        series: vec![
            up("a:1", &[(1000, 1.0), (2000, 0.0), (3000, f64::NAN)]),
            up("b:1", &[(1000, 1.0), (2500, f64::INFINITY)]),
            series(&[("__name__", "load"), ("instance", "a:1")], &[(1000, 0.25)]),
        ],
    };
    let written = client.request("POST", "/api/v1/prom/write?db=prom", &HEADERS, &compressed(&all));
    assert_eq!(written.status, 204, "{}", written.body);
    assert_eq!(
        client.query("prom", "SELECT * FROM up WHERE instance = 'a:1'"),
        r#"{"results":[{"statement_id":0,"series":[{"name":"up","columns":["time","__name__","instance","job","value"],"values":[[1000000000,"up","a:1","node",1],[2000000000,"up","a:1","node",0]]}]}]}"#
    );
    const EQUAL: i32 = 0;
    const NOT_EQUAL: i32 = 1;
    const MATCHES: i32 = 2;
    const NOT_MATCHES: i32 = 3;
    let name = (EQUAL, "__name__", "up");
    assert_eq!(read(&client, 0, 1500, &[name]), [up("a:1", &[(1000, 1.0)]), up("b:1", &[(1000, 1.0)])]);
    assert_eq!(
        read(&client, 0, 9000, &[name, (NOT_EQUAL, "instance", "b:1")]),
        [up("a:1", &[(1000, 1.0), (2000, 0.0)])]
    );
    // Patterns match whole values.
    assert_eq!(read(&client, 0, 9000, &[name, (MATCHES, "instance", "a|b")]), []);
    assert_eq!(
        read(&client, 0, 9000, &[name, (NOT_MATCHES, "instance", "a:.*")]),
        [up("b:1", &[(1000, 1.0)])]
    );
    assert_eq!(
        read(&client, 0, 9000, &[(MATCHES, "__name__", "up|load"), (EQUAL, "instance", "a:1")]).len(),
        2
    );
    // A measurement of any writer is a metric.
    client.write("db=prom", "plain,host=x value=5 1000000000\n");
    assert_eq!(
        read(&client, 0, 9000, &[(EQUAL, "__name__", "plain")]),
        [series(&[("__name__", "plain"), ("host", "x")], &[(1000, 5.0)])]
    );
}

#[test]
fn bad_requests_are_refused() {
    let node = Node::start("max-body-size = 100000\n");
    let client = node.client();
    client.query("", "CREATE DATABASE prom");
    let write = |path: &str, body: &[u8]| client.request("POST", path, &HEADERS, body);
    assert_eq!(write("/api/v1/prom/write", b"").status, 400);
    assert_eq!(write("/api/v1/prom/write?db=nope", b"\0").status, 404);
    assert_eq!(write("/api/v1/prom/write?db=prom", b"no snappy at all").status, 400);
    let no_message = snap::raw::Encoder::new().compress_vec(b"\xff\xff\xff").expect("compresses");
    assert_eq!(write("/api/v1/prom/write?db=prom", &no_message).status, 400);
    // A header that claims 4 GB, and a bomb of zeros.
    assert_eq!(write("/api/v1/prom/write?db=prom", b"\xff\xff\xff\xff\x0f\0").status, 413);
    let bomb = snap::raw::Encoder::new().compress_vec(&vec![0; 1 << 20]).expect("compresses");
    assert!(bomb.len() < 100_000);
    assert_eq!(write("/api/v1/prom/write?db=prom", &bomb).status, 413);
    let two = ReadRequest { queries: vec![Query::default(), Query::default()] };
    let reply = client.request("POST", "/api/v1/prom/read?db=prom", &HEADERS, &compressed(&two));
    let text = r#"{"error":"Prometheus read endpoint currently only supports one query at a time"}"#;
    assert_eq!((reply.status, reply.body.trim_end()), (400, text));
}
