//! `[[collectd]]`: collectd's binary network protocol, in datagrams.
//!
//! A datagram is a row of parts, each a kind (u16), a length (u16, itself and the kind included) and bytes. Parts name host,
//! plugin, type and time until another part of their kind comes; a part of values makes points of what is named then:
//!
//!     0 host  1 time, s  2 plugin  3 its instance  4 type  5 its instance  6 values  8 time, s/2^30
//!
//! `types.db` names the values of a type. A point has the measurement `plugin_name` and the field `value`; where
//! `parse-multivalue-plugin` says "join", the measurement `plugin` and a field for each value.

use std::cell::Cell;
use std::collections::HashMap;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use tidemark_engine::model::{TIME_MAX, Value};
use tidemark_net::socket::udp::Datagrams;

use super::batch::{Batches, add};
use super::udp::Source;
use crate::line_protocol::format;
use crate::runtime::Runtime;

/// Pause after a receive that failed, so that a broken socket does not take a core.
const ERROR_WAIT: Duration = Duration::from_millis(100);

/// Values of one part; no type has nearly as many.
const VALUES_MAX: usize = 256;

/// Names of the values of each type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Types(HashMap<String, Vec<String>>);

impl Types {
    /// Adds what a `types.db` says: `type  name:KIND:min:max, name:KIND:min:max`.
    pub fn add(&mut self, text: &str) {
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let Some((name, sources)) = line.split_once(char::is_whitespace) else { continue };
            let names = sources.split([',', ' ', '\t']).filter(|source| !source.is_empty());
            let names = names.map(|source| source.split(':').next().unwrap_or_default().to_owned());
            self.0.insert(name.to_owned(), names.collect());
        }
    }

    /// The name of the value at a position of `count`.
    fn name(&self, of: &str, at: usize, count: usize) -> String {
        match self.0.get(of).and_then(|names| names.get(at)) {
            Some(name) => name.clone(),
            None if count == 1 => "value".to_owned(),
            None => at.to_string(),
        }
    }
}

/// Counters of one listener on one core.
#[derive(Debug, Default)]
pub struct CollectdCounters {
    pub points: Cell<u64>,
    pub bytes: Cell<u64>,
    pub datagrams_bad: Cell<u64>,
    pub receive_errors: Cell<u64>,
    pub points_invalid: Cell<u64>,
}

/// One listener's part on one core.
pub struct CollectdInput {
    pub types: Types,
    /// A point has all values of a part.
    pub joins: bool,
    pub batches: Rc<Batches>,
    pub runtime: Runtime,
    pub counters: CollectdCounters,
}

impl CollectdInput {
    /// Receives until `stop` is done.
    pub async fn receive<S: Source>(&self, source: S, stop: impl Future<Output = ()>) {
        let receiving = async {
            let mut datagrams = Datagrams::default();
            loop {
                match source.receive_many(&mut datagrams).await {
                    Ok(_) => {
                        for datagram in datagrams.iter() {
                            self.take(datagram).await;
                        }
                    }
                    Err(error) => {
                        add(&self.counters.receive_errors, 1);
                        tracing::warn!(%error, "a collectd datagram was not received");
                        self.runtime.sleep(ERROR_WAIT).await;
                    }
                }
            }
        };
        futures_lite::future::or(receiving, stop).await;
        self.batches.hand_over().await;
    }

    async fn take(&self, datagram: &[u8]) {
        add(&self.counters.bytes, datagram.len() as u64);
        let mut reader = Reader { now: self.runtime.wall_ns(), ..Reader::default() };
        let read = reader.read(datagram, &self.types, self.joins);
        if read.is_none() {
            add(&self.counters.datagrams_bad, 1);
        }
        add(&self.counters.points, reader.lines.len() as u64);
        add(&self.counters.points_invalid, reader.invalid);
        for line in &reader.lines {
            self.batches.add(line).await;
        }
    }
}

/// What the parts so far have named.
#[derive(Default)]
struct Reader {
    now: i64,
    host: String,
    plugin: String,
    plugin_instance: String,
    kind: String,
    kind_instance: String,
    time: Option<i64>,
    lines: Vec<Vec<u8>>,
    invalid: u64,
}

impl Reader {
    /// Reads a datagram; `None` when it is cut or malformed. Points before that count.
    fn read(&mut self, mut bytes: &[u8], types: &Types, joins: bool) -> Option<()> {
        while !bytes.is_empty() {
            let (kind, rest) = bytes.split_first_chunk::<2>()?;
            let (length, _) = rest.split_first_chunk::<2>()?;
            let length = usize::from(u16::from_be_bytes(*length));
            let body = bytes.get(4..length)?;
            bytes = &bytes[length..];
            match u16::from_be_bytes(*kind) {
                0 => self.host = text(body)?,
                1 => self.time = number(body)?.checked_mul(1_000_000_000)?.try_into().ok(),
                2 => self.plugin = text(body)?,
                3 => self.plugin_instance = text(body)?,
                4 => self.kind = text(body)?,
                5 => self.kind_instance = text(body)?,
                6 => self.points(&values(body)?, types, joins),
                8 => {
                    let time = (u128::from(number(body)?) * 1_000_000_000) >> 30;
                    self.time = Some(i64::try_from(time).ok()?);
                }
                // Signed or encrypted: what follows is not to be believed without the key.
                0x0200 | 0x0210 => return None,
                _ => {}
            }
        }
        Some(())
    }

    fn points(&mut self, values: &[f64], types: &Types, joins: bool) {
        let name = |at| types.name(&self.kind, at, values.len());
        let good = |(_, value): &(usize, &f64)| value.is_finite();
        let named: Vec<(String, f64)> =
            values.iter().enumerate().filter(good).map(|(at, value)| (name(at), *value)).collect();
        self.invalid += (values.len() - named.len()) as u64;
        if joins {
            let measurement = self.plugin.clone();
            self.point(&measurement, &named);
            return;
        }
        for (name, value) in named {
            let measurement = format!("{}_{name}", self.plugin);
            self.point(&measurement, &[("value".to_owned(), value)]);
        }
    }

    fn point(&mut self, measurement: &str, fields: &[(String, f64)]) {
        let timestamp = self.time.unwrap_or(self.now);
        let tags = [
            ("host", &self.host),
            ("instance", &self.plugin_instance),
            ("type", &self.kind),
            ("type_instance", &self.kind_instance),
        ];
        // A line break in a name would begin another point.
        let is_one_line = !measurement.contains('\n') && tags.iter().all(|(_, value)| !value.contains('\n'));
        if fields.is_empty() || timestamp > TIME_MAX || !is_one_line {
            self.invalid += 1;
            return;
        }
        let mut line = Vec::new();
        format::put_measurement(&mut line, measurement.as_bytes());
        for (key, value) in tags {
            format::put_tag(&mut line, key.as_bytes(), value.as_bytes());
        }
        for (at, (name, value)) in fields.iter().enumerate() {
            line.push(if at == 0 { b' ' } else { b',' });
            format::put_field_key(&mut line, name.as_bytes());
            line.push(b'=');
            format::put_value(&mut line, &Value::Float(*value));
        }
        line.push(b' ');
        line.extend_from_slice(itoa::Buffer::new().format(timestamp).as_bytes());
        line.push(b'\n');
        self.lines.push(line);
    }
}

/// Text ends with a zero byte.
fn text(body: &[u8]) -> Option<String> {
    let body = body.strip_suffix(&[0])?;
    Some(String::from_utf8_lossy(body).into_owned())
}

fn number(body: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(body.try_into().ok()?))
}

/// A count (u16), a byte of kind for each, then eight bytes for each.
fn values(body: &[u8]) -> Option<Vec<f64>> {
    let (count, rest) = body.split_first_chunk::<2>()?;
    let count = usize::from(u16::from_be_bytes(*count));
    if count > VALUES_MAX {
        return None;
    }
    let (kinds, rest) = rest.split_at_checked(count)?;
    if rest.len() != 8 * count {
        return None;
    }
    let values = kinds.iter().zip(rest.chunks_exact(8)).map(|(kind, bytes)| {
        let bytes: [u8; 8] = bytes.try_into().ok()?;
        Some(match kind {
            // Counters, and absolute values.
            0 | 3 => u64::from_be_bytes(bytes) as f64,
            1 => f64::from_le_bytes(bytes),
            2 => i64::from_be_bytes(bytes) as f64,
            _ => return None,
        })
    });
    values.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = body.len() as u16 + 4;
        [&kind.to_be_bytes()[..], &length.to_be_bytes(), body].concat()
    }

    fn datagram() -> Vec<u8> {
        let load = [&2u16.to_be_bytes()[..], &[1, 2], &1.5f64.to_le_bytes(), &(-3i64).to_be_bytes()].concat();
        let odd = [&2u16.to_be_bytes()[..], &[0, 1], &7u64.to_be_bytes(), &f64::NAN.to_le_bytes()].concat();
        [
            part(0, b"h 1\0"),
            part(8, &((1_500_000_000u64 << 30) + (1 << 29)).to_be_bytes()),
            part(2, b"load\0"),
            part(4, b"pair\0"),
            part(6, &load),
            part(1, &1_500_000_001u64.to_be_bytes()),
            part(3, b"0\0"),
            part(5, b"x\0"),
            part(6, &odd),
            part(0x0100, b"a message\0"),
        ]
        .concat()
    }

    fn check(joins: bool, want: &[&str]) {
        let mut types = Types::default();
        types.add("# comment\npair  rx:GAUGE:0:U, tx:DERIVE:0:U\n");
        let mut reader = Reader::default();
        assert_eq!(reader.read(&datagram(), &types, joins), Some(()));
        let lines: Vec<_> =
            reader.lines.iter().map(|line| String::from_utf8_lossy(line).trim_end().to_owned()).collect();
        assert_eq!(lines, want);
        assert_eq!(reader.invalid, 1, "not a number is no value");
    }

    #[test]
    fn values_become_points_each_or_joined() {
        check(
            false,
            &[
                "load_rx,host=h\\ 1,type=pair value=1.5 1500000000500000000",
                "load_tx,host=h\\ 1,type=pair value=-3 1500000000500000000",
                "load_rx,host=h\\ 1,instance=0,type=pair,type_instance=x value=7 1500000001000000000",
            ],
        );
        check(
            true,
            &[
                "load,host=h\\ 1,type=pair rx=1.5,tx=-3 1500000000500000000",
                "load,host=h\\ 1,instance=0,type=pair,type_instance=x rx=7 1500000001000000000",
            ],
        );
    }

    #[test]
    fn signed_and_cut_datagrams_are_refused() {
        let types = Types::default();
        let signed = [part(0x0200, &[0; 40]), datagram()].concat();
        assert_eq!(Reader::default().read(&signed, &types, false), None);
        let whole = datagram();
        assert_eq!(Reader::default().read(&whole[..whole.len() - 1], &types, false), None);
        assert_eq!(Reader::default().read(&[0, 0, 0, 0], &types, false), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Reader::default().read(&bytes, &Types::default(), false);
        }
    }
}
