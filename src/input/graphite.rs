//! `[[graphite]]`: `path value [timestamp]` lines over TCP, or in datagrams over UDP.
//!
//! A path becomes measurement, field and tags by the templates of the section; the value is a float, the timestamp counts
//! seconds, with a fraction if need be; -1, or none, is now. Bad lines are counted and logged, the stream goes on.

pub mod template;

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use futures_lite::AsyncReadExt;
use tidemark_engine::model::{TIME_MAX, TIME_MIN, Value};
use tidemark_net::socket::BoxStream;
use tidemark_net::socket::udp::Datagrams;

use super::batch::{Batches, add};
use super::udp::Source;
use crate::line_protocol::format;
use crate::runtime::Runtime;
use template::Templates;

/// A line longer than this ends its connection: a stream has no other bound.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Bytes asked of the socket at once.
const READ_BYTES: usize = 64 << 10;

/// Pause after a receive that failed, so that a broken socket does not take a core.
const ERROR_WAIT: Duration = Duration::from_millis(100);

/// Counters of one listener on one core.
#[derive(Debug, Default)]
pub struct GraphiteCounters {
    pub points: Cell<u64>,
    pub bytes: Cell<u64>,
    pub points_bad: Cell<u64>,
    pub points_nan: Cell<u64>,
    pub connections: Cell<u64>,
    pub connections_open_now: Cell<u64>,
}

/// One listener's part on one core.
pub struct GraphiteInput {
    pub templates: Templates,
    pub batches: Rc<Batches>,
    pub runtime: Runtime,
    pub counters: GraphiteCounters,
}

/// What became of a line.
#[derive(Debug, PartialEq)]
enum Line {
    /// In line protocol, with its newline.
    Point(Vec<u8>),
    /// The value is no number that can be kept.
    NotFinite,
    Bad(String),
}

impl GraphiteInput {
    /// Serves one connection to its end.
    pub async fn serve(&self, mut stream: BoxStream) -> io::Result<()> {
        add(&self.counters.connections, 1);
        add(&self.counters.connections_open_now, 1);
        let served = self.read(&mut stream).await;
        self.counters.connections_open_now.set(self.counters.connections_open_now.get() - 1);
        served
    }

    async fn read(&self, stream: &mut BoxStream) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut chunk = vec![0; READ_BYTES];
        loop {
            let count = stream.read(&mut chunk).await?;
            if count == 0 {
                self.lines(&bytes).await;
                return Ok(());
            }
            bytes.extend_from_slice(&chunk[..count]);
            let whole = memchr::memrchr(b'\n', &bytes).map_or(0, |end| end + 1);
            self.lines(&bytes[..whole]).await;
            bytes.drain(..whole);
            if bytes.len() > LINE_BYTES_MAX {
                return Err(io::Error::other("a line without end"));
            }
        }
    }

    /// Receives datagrams until `stop` is done.
    pub async fn receive<S: Source>(&self, source: S, stop: impl Future<Output = ()>) {
        let receiving = async {
            let mut datagrams = Datagrams::default();
            loop {
                match source.receive_many(&mut datagrams).await {
                    Ok(_) => {
                        for datagram in datagrams.iter() {
                            self.lines(datagram).await;
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a graphite datagram was not received");
                        self.runtime.sleep(ERROR_WAIT).await;
                    }
                }
            }
        };
        futures_lite::future::or(receiving, stop).await;
        self.batches.hand_over().await;
    }

    async fn lines(&self, bytes: &[u8]) {
        add(&self.counters.bytes, bytes.len() as u64);
        for line in bytes.split(|byte| *byte == b'\n') {
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            add(&self.counters.points, 1);
            match read_line(&self.templates, line, self.runtime.wall_ns()) {
                Line::Point(line) => self.batches.add(&line).await,
                Line::NotFinite => add(&self.counters.points_nan, 1),
                Line::Bad(error) => {
                    add(&self.counters.points_bad, 1);
                    tracing::debug!(error, "a graphite line is no point");
                }
            }
        }
    }
}

/// `path value [timestamp]`; `now` in ns.
fn read_line(templates: &Templates, line: &[u8], now: i64) -> Line {
    let text = String::from_utf8_lossy(line);
    let words: Vec<&str> = text.split_whitespace().collect();
    let (path, value, time) = match words[..] {
        [path, value] => (path, value, None),
        [path, value, time] => (path, value, Some(time)),
        _ => return Line::Bad(format!("received {text:?} which doesn't have required fields")),
    };
    let Ok(value) = value.parse::<f64>() else {
        return Line::Bad(format!(
            "field \"{path}\" value: strconv.ParseFloat: parsing {value:?}: invalid syntax"
        ));
    };
    if !value.is_finite() {
        return Line::NotFinite;
    }
    let timestamp = match time.map(str::parse::<f64>) {
        None => now,
        Some(Ok(-1.0)) => now,
        // Far beyond any time that can be kept, and far from the limits of the sums below.
        Some(Ok(seconds)) if seconds.abs() > 1e12 => return Line::Bad("timestamp out of range".to_owned()),
        Some(Ok(seconds)) if seconds.is_finite() => {
            // Whole seconds stay exact.
            let nanoseconds = seconds.trunc() as i128 * 1_000_000_000 + (seconds.fract() * 1e9) as i128;
            match i64::try_from(nanoseconds) {
                Ok(time) if (TIME_MIN..=TIME_MAX).contains(&time) => time,
                _ => return Line::Bad("timestamp out of range".to_owned()),
            }
        }
        _ => return Line::Bad(format!("field \"{path}\" time: {:?} is no time", time.unwrap_or_default())),
    };
    let named = templates.apply(path);
    let mut out = Vec::with_capacity(line.len() + 32);
    format::put_measurement(&mut out, named.measurement.as_bytes());
    for (key, value) in &named.tags {
        format::put_tag(&mut out, key.as_bytes(), value.as_bytes());
    }
    out.push(b' ');
    format::put_field_key(&mut out, named.field.as_bytes());
    out.push(b'=');
    format::put_value(&mut out, &Value::Float(value));
    out.push(b' ');
    out.extend_from_slice(itoa::Buffer::new().format(timestamp).as_bytes());
    out.push(b'\n');
    Line::Point(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, want: &str) {
        let templates = Templates::new(&["measurement.host".to_owned()], &[], ".").expect("templates");
        let got = match read_line(&templates, line.as_bytes(), 7) {
            Line::Point(point) => String::from_utf8(point).expect("text"),
            Line::NotFinite => "not finite".to_owned(),
            Line::Bad(error) => error,
        };
        assert_eq!(got.trim_end(), want, "{line}");
    }

    #[test]
    fn lines_become_points() {
        check("cpu.a 1.5 1500000000", "cpu,host=a value=1.5 1500000000000000000");
        check("cpu.a 2 1500000000.25", "cpu,host=a value=2 1500000000250000000");
        check("cpu.a 2 -1", "cpu,host=a value=2 7");
        check("cpu.a 2", "cpu,host=a value=2 7");
        check("cpu.a NaN 5", "not finite");
        check("cpu.a 2 1e30", "timestamp out of range");
        check("cpu.a", "received \"cpu.a\" which doesn't have required fields");
        check("cpu.a x", "field \"cpu.a\" value: strconv.ParseFloat: parsing \"x\": invalid syntax");
    }
}
