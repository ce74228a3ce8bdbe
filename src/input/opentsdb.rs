//! `[[opentsdb]]`: `put` lines, as over telnet, and HTTP's `/api/put`, on one port.
//!
//! The first bytes of a connection tell which it is. Timestamps are seconds of 10 digits or milliseconds of 13; the value
//! becomes the float field `value`. Bad lines are counted, and logged if `log-point-errors` says so.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use http::{Method, Request, Response, StatusCode};
use serde_json::Value as Json;
use tidemark_engine::model::Value;
use tidemark_net::http1::{Answer, Connections, Encoding, RequestBody};
use tidemark_net::pool::Pool;
use tidemark_net::socket::{BoxStream, Peer, Stream};

use super::batch::{Batches, add};
use crate::line_protocol::format;

/// A line longer than this ends its connection: a stream has no other bound.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Bytes asked of the socket at once.
const READ_BYTES: usize = 16 << 10;

/// A body of `/api/put` may not be larger, as sent or decompressed.
const BODY_BYTES_MAX: u64 = 25_000_000;

/// Counters of one listener on one core.
#[derive(Debug, Default)]
pub struct OpenTsdbCounters {
    pub http_connections: Cell<u64>,
    pub telnet_connections: Cell<u64>,
    pub telnet_connections_open_now: Cell<u64>,
    pub telnet_points: Cell<u64>,
    pub telnet_bytes: Cell<u64>,
    pub telnet_read_errors: Cell<u64>,
    pub telnet_bad_lines: Cell<u64>,
    pub telnet_bad_times: Cell<u64>,
    pub telnet_bad_tags: Cell<u64>,
    pub telnet_bad_floats: Cell<u64>,
    pub points_invalid: Cell<u64>,
}

/// One listener's part on one core.
pub struct OpenTsdbInput {
    pub batches: Rc<Batches>,
    pub connections: Connections,
    pub bodies: Pool,
    pub log_errors: bool,
    pub counters: OpenTsdbCounters,
}

/// One point, as `put` and `/api/put` have it.
#[derive(Debug, Clone, PartialEq)]
struct Put {
    metric: String,
    timestamp: i64,
    value: f64,
    tags: BTreeMap<String, String>,
}

/// Why a line is no point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bad {
    Line,
    Time,
    Float,
}

impl OpenTsdbInput {
    /// Serves one connection to its end.
    pub async fn serve(self: &Rc<Self>, mut stream: BoxStream) -> io::Result<()> {
        let mut first = vec![0; READ_BYTES];
        let count = stream.read(&mut first).await?;
        first.truncate(count);
        if is_http(&first) {
            add(&self.counters.http_connections, 1);
            let stream: BoxStream = Box::new(Again { bytes: first, at: 0, stream });
            let served = self.connections.serve(stream, |_, request| {
                let input = Rc::clone(self);
                async move { input.answer(request).await }
            });
            return served.await.map_err(io::Error::other);
        }
        add(&self.counters.telnet_connections, 1);
        let open = &self.counters.telnet_connections_open_now;
        open.set(open.get() + 1);
        let served = self.telnet(&mut stream, first).await;
        open.set(open.get() - 1);
        served
    }

    async fn telnet(&self, stream: &mut BoxStream, mut bytes: Vec<u8>) -> io::Result<()> {
        let mut chunk = vec![0; READ_BYTES];
        loop {
            while let Some(end) = memchr::memchr(b'\n', &bytes) {
                let line: Vec<u8> = bytes.drain(..=end).collect();
                if let Some(answer) = self.line(&line).await {
                    stream.write_all(answer).await?;
                    stream.flush().await?;
                }
            }
            if bytes.len() > LINE_BYTES_MAX {
                add(&self.counters.telnet_read_errors, 1);
                return Err(io::Error::other("a line without end"));
            }
            let count = stream.read(&mut chunk).await?;
            if count == 0 {
                self.line(&bytes).await;
                return Ok(());
            }
            bytes.extend_from_slice(&chunk[..count]);
        }
    }

    /// One line; what is answered to it.
    async fn line(&self, line: &[u8]) -> Option<&'static [u8]> {
        add(&self.counters.telnet_bytes, line.len() as u64);
        let text = String::from_utf8_lossy(line);
        let words: Vec<&str> = text.split_whitespace().collect();
        match words[..] {
            [] => None,
            ["version"] => Some(b"InfluxDB TSDB proxy"),
            _ => {
                add(&self.counters.telnet_points, 1);
                let (put, bad_tags) = read_put(&words);
                add(&self.counters.telnet_bad_tags, bad_tags);
                match put {
                    Ok(put) => self.store(&put).await,
                    Err(bad) => {
                        let counter = match bad {
                            Bad::Line => &self.counters.telnet_bad_lines,
                            Bad::Time => &self.counters.telnet_bad_times,
                            Bad::Float => &self.counters.telnet_bad_floats,
                        };
                        add(counter, 1);
                        if self.log_errors {
                            tracing::info!(line = %text.trim(), what = ?bad, "an opentsdb line is no point");
                        }
                    }
                }
                None
            }
        }
    }

    async fn store(&self, put: &Put) {
        match line_of(put) {
            Some(line) => self.batches.add(&line).await,
            None => add(&self.counters.points_invalid, 1),
        }
    }

    async fn answer(self: Rc<Self>, request: Request<RequestBody>) -> Response<Answer> {
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/api/put") => match self.put(request).await {
                Ok(()) => reply(StatusCode::NO_CONTENT, ""),
                Err((status, text)) => reply(status, text),
            },
            (_, "/api/put") => reply(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n"),
            (_, "/api/metadata/put") => reply(StatusCode::NO_CONTENT, ""),
            _ => reply(StatusCode::NOT_FOUND, "404 page not found\n"),
        }
    }

    async fn put(&self, request: Request<RequestBody>) -> Result<(), (StatusCode, &'static str)> {
        let (parts, body) = request.into_parts();
        let too_large = (StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large\n");
        let busy = (StatusCode::SERVICE_UNAVAILABLE, "no room for the body now\n");
        let first = RequestBody::first_reservation(&parts.headers, BODY_BYTES_MAX).map_err(|_| too_large)?;
        let room = self.bodies.try_reserve(first).map_err(|_| busy)?;
        let collected = body.collect(Encoding::of(&parts.headers), BODY_BYTES_MAX, room).await;
        let body = collected.map_err(|error| match error {
            tidemark_net::Error::PoolFull { .. } => busy,
            tidemark_net::Error::TooLarge { .. } => too_large,
            _ => (StatusCode::BAD_REQUEST, "could not read the body\n"),
        })?;
        let start = body.trim_ascii_start().first();
        let problem = match start {
            Some(b'[') => "json array decode error\n",
            Some(b'{') => "json object decode error\n",
            _ => return Err((StatusCode::BAD_REQUEST, "expected JSON array or hash\n")),
        };
        let bad = (StatusCode::BAD_REQUEST, problem);
        let json: Json = serde_json::from_slice(&body).map_err(|_| bad)?;
        for put in Put::all_of(&json).ok_or(bad)? {
            self.store(&put).await;
        }
        Ok(())
    }
}

impl Put {
    /// An object is one point, an array many.
    fn all_of(json: &Json) -> Option<Vec<Self>> {
        match json {
            Json::Array(all) => all.iter().map(Self::of).collect(),
            one => Some(vec![Self::of(one)?]),
        }
    }

    fn of(json: &Json) -> Option<Self> {
        let tags = match json.get("tags") {
            None | Some(Json::Null) => BTreeMap::new(),
            Some(tags) => {
                let pairs = tags.as_object()?.iter();
                pairs
                    .map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                    .collect::<Option<_>>()?
            }
        };
        Some(Self {
            metric: json.get("metric")?.as_str()?.to_owned(),
            timestamp: json.get("timestamp")?.as_i64()?,
            value: json.get("value")?.as_f64()?,
            tags,
        })
    }
}

fn reply(status: StatusCode, text: &'static str) -> Response<Answer> {
    let mut reply = Response::new(if text.is_empty() { Answer::empty() } else { Answer::whole(text) });
    *reply.status_mut() = status;
    reply
}

fn is_http(first: &[u8]) -> bool {
    [&b"GET "[..], b"POST ", b"PUT ", b"HEAD ", b"DELETE ", b"OPTIONS "]
        .iter()
        .any(|method| first.starts_with(method))
}

/// The point of a line, and how many of its tags were none.
fn read_put(words: &[&str]) -> (Result<Put, Bad>, u64) {
    let ["put", metric, time, value, tags @ ..] = words else { return (Err(Bad::Line), 0) };
    if !matches!(time.len(), 10 | 13) {
        return (Err(Bad::Time), 0);
    }
    let Ok(timestamp) = time.parse() else { return (Err(Bad::Time), 0) };
    let Ok(value) = value.parse() else { return (Err(Bad::Float), 0) };
    let mut put = Put { metric: (*metric).to_owned(), timestamp, value, tags: BTreeMap::new() };
    let mut bad_tags = 0;
    for tag in tags {
        match tag.split_once('=') {
            Some((key, value)) if !key.is_empty() && !value.is_empty() => {
                put.tags.insert(key.to_owned(), value.to_owned());
            }
            _ => bad_tags += 1,
        }
    }
    (Ok(put), bad_tags)
}

/// As line protocol; `None` for what cannot be stored.
fn line_of(put: &Put) -> Option<Vec<u8>> {
    // Seconds end long before milliseconds of any use begin.
    const SECONDS_MAX: i64 = 10_000_000_000;
    if !put.value.is_finite() || put.metric.is_empty() {
        return None;
    }
    let unit = if put.timestamp < SECONDS_MAX { 1_000_000_000 } else { 1_000_000 };
    let timestamp = put.timestamp.checked_mul(unit)?;
    let mut out = Vec::new();
    format::put_measurement(&mut out, put.metric.as_bytes());
    for (key, value) in &put.tags {
        format::put_tag(&mut out, key.as_bytes(), value.as_bytes());
    }
    out.extend_from_slice(b" value=");
    format::put_value(&mut out, &Value::Float(put.value));
    out.push(b' ');
    out.extend_from_slice(itoa::Buffer::new().format(timestamp).as_bytes());
    out.push(b'\n');
    // A line break in a name would begin another point.
    (memchr::memchr(b'\n', &out[..out.len() - 1]).is_none()).then_some(out)
}

/// A stream whose first bytes were read already.
struct Again {
    bytes: Vec<u8>,
    at: usize,
    stream: BoxStream,
}

impl Stream for Again {
    fn peer(&self) -> Peer {
        self.stream.peer()
    }
}

impl AsyncRead for Again {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Again {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, want: Result<&str, Bad>) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let got =
            read_put(&words).0.map(|put| String::from_utf8(line_of(&put).expect("a point")).expect("text"));
        assert_eq!(got, want.map(|text| format!("{text}\n")), "{line}");
    }

    #[test]
    fn put_lines_become_points() {
        check(
            "put sys.cpu 1500000000 1.5 host=a cpu=0",
            Ok("sys.cpu,cpu=0,host=a value=1.5 1500000000000000000"),
        );
        check("put sys.cpu 1500000000123 2", Ok("sys.cpu value=2 1500000000123000000"));
        check("put sys.cpu 1500000000 1 bad host=", Ok("sys.cpu value=1 1500000000000000000"));
        check("put sys.cpu 15 1", Err(Bad::Time));
        check("put sys.cpu 150000000x 1", Err(Bad::Time));
        check("put sys.cpu 1500000000 x", Err(Bad::Float));
        check("put sys.cpu", Err(Bad::Line));
        check("get sys.cpu 1500000000 1", Err(Bad::Line));
    }

    #[test]
    fn json_is_one_point_or_many() {
        let one = r#"{"metric":"a","timestamp":1500000000,"value":1,"tags":{"h":"x"}}"#;
        let read = |text: &str| Put::all_of(&serde_json::from_str(text).expect("JSON"));
        assert_eq!(read(one).expect("a point")[0].tags["h"], "x");
        assert_eq!(read(&format!("[{one},{one}]")).expect("points").len(), 2);
        assert_eq!(read(r#"{"metric":"a"}"#), None);
    }
}
