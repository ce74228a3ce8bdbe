//! `[[collectd]]`: collectd's binary network protocol, in datagrams.
//!
//! A datagram is a row of parts, each a kind (u16), a length (u16, itself and the kind included) and bytes. Parts name host,
//! plugin, type and time until another part of their kind comes; a part of values makes points of what is named then:
//!
//!     0 host  1 time, s  2 plugin  3 its instance  4 type  5 its instance  6 values  8 time, s/2^30
//!
//! What follows a signature is signed, to the end; an encrypted part holds parts of its own, those behind it are plain again.
//! Names hold within one kind of protection: what nobody has signed names no values of a user. [`protection`] has the keys.
//!
//! `types.db` names the values of a type. A point has the measurement `plugin_name` and the field `value`; where
//! `parse-multivalue-plugin` says "join", the measurement `plugin` and a field for each value.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use tidemark_engine::model::{TIME_MAX, Value};
use tidemark_net::socket::udp::Datagrams;

use self::auth_file::AuthFile;
use self::protection::{Level, Protection};
use super::batch::{Batches, add};
use super::udp::Source;
use crate::line_protocol::format;
use crate::runtime::Runtime;

pub mod auth_file;
pub mod protection;

/// Pause after a receive that failed, so that a broken socket does not take a core.
const ERROR_WAIT: Duration = Duration::from_millis(100);

/// Bytes of the points of one datagram. Names are written out for every value, so that few bytes could ask for a thousand
/// times as many; the largest datagrams that collectd sends are points of a few hundred KiB.
const POINTS_BYTES_MAX: usize = 1 << 20;

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

/// How a listener reads datagrams.
#[derive(Clone, Default)]
pub struct Settings {
    pub types: Types,
    /// A point has all values of a part.
    pub joins: bool,
    pub protection: Protection,
}

/// One listener's part on one core.
pub struct CollectdInput {
    pub settings: RefCell<Settings>,
    /// Has the users of the settings.
    pub auth_file: AuthFile,
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
                            // The largest take most of a millisecond.
                            futures_lite::future::yield_now().await;
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
        if let Some(users) = self.auth_file.changed(&self.runtime).await {
            self.settings.borrow_mut().protection.users = users;
        }
        let mut reader = Reader { now: self.runtime.wall_ns(), ..Reader::default() };
        if reader.read(datagram, &self.settings.borrow(), Level::None).is_none() {
            add(&self.counters.datagrams_bad, 1);
            return;
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
    /// Of the lines.
    bytes: usize,
    invalid: u64,
}

impl Reader {
    /// Reads the parts of a datagram, or what is signed or encrypted in it; `None` when something is cut, malformed or not
    /// from whom it says, or when its points are more than [`POINTS_BYTES_MAX`]. Then nothing of the datagram is to be taken.
    fn read(&mut self, mut bytes: &[u8], settings: &Settings, level: Level) -> Option<()> {
        let asked = &settings.protection;
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
                6 => {
                    let values = values(body)?;
                    if level >= asked.level {
                        self.points(&values, &settings.types, settings.joins);
                    } else {
                        self.invalid += values.len() as u64;
                    }
                    if self.bytes > POINTS_BYTES_MAX {
                        return None;
                    }
                }
                8 => {
                    let time = (u128::from(number(body)?) * 1_000_000_000) >> 30;
                    self.time = Some(i64::try_from(time).ok()?);
                }
                // Once in a datagram, so that its bytes are not signed over and over.
                0x0200 if level == Level::None && asked.users.is_signed(body, bytes) => {
                    return self.read_inner(bytes, settings, Level::Sign);
                }
                // No deeper than once.
                0x0210 if level < Level::Encrypt => {
                    let parts = asked.users.decrypt(body)?;
                    self.read_inner(&parts, settings, Level::Encrypt)?;
                }
                0x0200 | 0x0210 => return None,
                _ => {}
            }
        }
        Some(())
    }

    /// Reads what is protected; nothing outside has named it, and it names nothing outside.
    fn read_inner(&mut self, bytes: &[u8], settings: &Settings, level: Level) -> Option<()> {
        let mut inner = Self { now: self.now, bytes: self.bytes, ..Self::default() };
        inner.read(bytes, settings, level)?;
        self.bytes = inner.bytes;
        self.lines.append(&mut inner.lines);
        self.invalid += inner.invalid;
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
        if self.bytes > POINTS_BYTES_MAX {
            return;
        }
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
        self.bytes += line.len();
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
    use super::protection::Users;
    use super::*;
    use ofb::cipher::{KeyIvInit, StreamCipher};
    use proptest::prelude::*;
    use ring::{digest, hmac};

    // The host h, one load of 1.5, as the user alice with the password w0nderl4nd sends it: made with Python's hmac and
    // hashlib and with `openssl enc -aes-256-ofb`, the IV being the bytes from 0 to 15.
    const PLAIN: &str = "0000000668000001000c0000000059682f00000200096c6f616400000400096c6f6164000006000f\
                         000101000000000000f83f";
    const SIGNED: &str = "02000029ea63387bc52ad8f76247abba6c31f83a0f7832d68f2538d54bc37847d9b7f92a616c6963\
                          650000000668000001000c0000000059682f00000200096c6f616400000400096c6f616400000600\
                          0f000101000000000000f83f";
    const ENCRYPTED: &str = "021000620005616c696365000102030405060708090a0b0c0d0e0f9e8aade0bc35ccbb2a5b145b86\
                             4bce36ffe1d5e9ee44653cff07dac443a9b4ffa8f195202c6ec4f1fce529689ad47142c7dd4ee5bc\
                             e3ac5a810cf96ef47030dc2cf5133b665b13";
    const POINT: &str = "load_value,host=h,type=load value=1.5 1500000000000000000";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(digits).collect()
    }

    /// A listener that knows alice.
    fn asking(level: Level) -> Settings {
        let users = Users::parse(b"alice: w0nderl4nd\n").unwrap();
        Settings { protection: Protection { level, users }, ..Settings::default() }
    }

    /// The points, or that the datagram is refused, and the values that were not taken.
    fn read(datagram: &[u8], settings: &Settings) -> (Option<Vec<String>>, u64) {
        let mut reader = Reader::default();
        let read = reader.read(datagram, settings, Level::None);
        let lines = reader.lines.iter().map(|line| String::from_utf8_lossy(line).trim_end().to_owned());
        (read.map(|()| lines.collect()), reader.invalid)
    }

    fn signed(user: &str, password: &str, rest: &[u8]) -> Vec<u8> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, password.as_bytes());
        let code = hmac::sign(&key, &[user.as_bytes(), rest].concat());
        [part(0x0200, &[code.as_ref(), user.as_bytes()].concat()), rest.to_vec()].concat()
    }

    fn encrypted(user: &str, password: &str, parts: &[u8]) -> Vec<u8> {
        let key: [u8; 32] = digest::digest(&digest::SHA256, password.as_bytes()).as_ref().try_into().unwrap();
        let sum = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, parts);
        let mut text = [sum.as_ref(), parts].concat();
        ofb::Ofb::<aes::Aes256>::new(&key.into(), &[7; 16].into()).apply_keystream(&mut text);
        part(0x0210, &[&(user.len() as u16).to_be_bytes()[..], user.as_bytes(), &[7; 16], &text].concat())
    }

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
        let settings = Settings { types, joins, ..Settings::default() };
        let (lines, invalid) = read(&datagram(), &settings);
        assert_eq!(lines.unwrap(), want);
        assert_eq!(invalid, 1, "not a number is no value");
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
    fn a_datagram_whose_points_are_far_longer_than_itself_is_refused() {
        let value = part(6, &[&[0, 1, 1][..], &2f64.to_le_bytes()].concat());
        let named = |name: usize, values: usize| {
            [part(0, &[vec![b'h'; name], vec![0]].concat()), part(2, b"p\0"), value.repeat(values)].concat()
        };
        assert_eq!(read(&named(100, 2_000), &Settings::default()).0.unwrap().len(), 2_000);
        let long = named(20_000, 100);
        assert_eq!(read(&long, &Settings::default()).0, None);
        // In pieces, each of which would pass.
        let piece = encrypted("alice", "w0nderl4nd", &named(10_000, 60));
        assert_eq!(read(&piece, &asking(Level::None)).0.unwrap().len(), 60);
        assert_eq!(read(&piece.repeat(2), &asking(Level::None)).0, None);
        let mut reader = Reader::default();
        assert_eq!(reader.read(&long, &Settings::default(), Level::None), None);
        assert!(reader.bytes <= POINTS_BYTES_MAX + 21_000, "no more is made than that");
    }

    #[test]
    fn cut_datagrams_are_refused() {
        let whole = datagram();
        assert_eq!(read(&whole[..whole.len() - 1], &Settings::default()).0, None);
        assert_eq!(read(&[0, 0, 0, 0], &Settings::default()).0, None);
    }

    #[test]
    fn what_a_user_has_signed_or_encrypted_is_taken() {
        let settings = asking(Level::None);
        for datagram in [PLAIN, SIGNED, ENCRYPTED] {
            assert_eq!(read(&bytes(datagram), &settings), (Some(vec![POINT.to_owned()]), 0));
        }
        assert_eq!(
            signed("alice", "w0nderl4nd", &bytes(PLAIN)),
            bytes(SIGNED),
            "what tests sign is what others sign"
        );
    }

    #[test]
    fn with_a_byte_changed_it_is_refused() {
        let settings = asking(Level::None);
        for good in [bytes(SIGNED), bytes(ENCRYPTED)] {
            // But for the kind: one that is not known is skipped, and what is signed behind it then is plain.
            for at in 2..good.len() {
                for bit in 0..8 {
                    let mut changed = good.clone();
                    changed[at] ^= 1 << bit;
                    assert_eq!(read(&changed, &settings).0, None, "byte {at}, bit {bit}");
                }
            }
            for length in 1..good.len() {
                assert_eq!(read(&good[..length], &settings).0, None, "cut to {length}");
            }
        }
    }

    #[test]
    fn a_wrong_password_and_an_unknown_user_are_refused() {
        let plain = bytes(PLAIN);
        for (user, password) in
            [("alice", "wonderland"), ("alice", ""), ("bob", "w0nderl4nd"), ("", "w0nderl4nd")]
        {
            for datagram in [signed(user, password, &plain), encrypted(user, password, &plain)] {
                assert_eq!(read(&datagram, &asking(Level::None)), (None, 0), "{user} {password}");
            }
        }
        for datagram in [SIGNED, ENCRYPTED] {
            assert_eq!(read(&bytes(datagram), &Settings::default()), (None, 0), "nobody is known");
        }
    }

    #[test]
    fn data_protected_less_than_asked_is_dropped() {
        let taken = [(Level::None, [1, 1, 1]), (Level::Sign, [0, 1, 1]), (Level::Encrypt, [0, 0, 1])];
        for (level, counts) in taken {
            for (datagram, count) in [PLAIN, SIGNED, ENCRYPTED].iter().zip(counts) {
                let (lines, dropped) = read(&bytes(datagram), &asking(level));
                assert_eq!(
                    (lines.unwrap().len(), dropped),
                    (count, 1 - count as u64),
                    "{level:?} {datagram}"
                );
            }
        }
    }

    #[test]
    fn what_is_behind_an_encrypted_part_is_plain_again() {
        let datagram = [bytes(ENCRYPTED), bytes(PLAIN), bytes(ENCRYPTED)].concat();
        assert_eq!(read(&datagram, &asking(Level::None)).0.unwrap().len(), 3);
        for level in [Level::Sign, Level::Encrypt] {
            let (lines, dropped) = read(&datagram, &asking(level));
            assert_eq!((lines.unwrap().len(), dropped), (2, 1), "{level:?}");
        }
        let inside = signed("alice", "w0nderl4nd", &datagram);
        assert_eq!(read(&inside, &asking(Level::Sign)).0.unwrap().len(), 3, "all of it is signed");
        assert_eq!(read(&inside, &asking(Level::Encrypt)).0.unwrap().len(), 2);
    }

    #[test]
    fn names_do_not_cross_a_protection() {
        let other = [part(0, b"other\0"), part(3, b"0\0")].concat();
        for protected in [SIGNED, ENCRYPTED] {
            let datagram = [other.clone(), bytes(protected)].concat();
            assert_eq!(read(&datagram, &asking(Level::Sign)).0.unwrap(), [POINT]);
        }
        let value = part(6, &[&[0, 1, 1][..], &2f64.to_le_bytes()].concat());
        let datagram = [part(1, &1u64.to_be_bytes()), part(2, b"p\0"), bytes(ENCRYPTED), value].concat();
        assert_eq!(read(&datagram, &asking(Level::None)).0.unwrap(), [POINT, "p_value value=2 1000000000"]);
    }

    #[test]
    fn a_protection_inside_its_like_is_refused() {
        let (user, password, plain) = ("alice", "w0nderl4nd", bytes(PLAIN));
        let (sign, encrypt) =
            (|inner: &[u8]| signed(user, password, inner), |inner: &[u8]| encrypted(user, password, inner));
        for datagram in [sign(&sign(&plain)), encrypt(&encrypt(&plain)), encrypt(&sign(&plain))] {
            assert_eq!(read(&datagram, &asking(Level::None)).0, None);
        }
        assert_eq!(read(&sign(&encrypt(&plain)), &asking(Level::Encrypt)).0.unwrap(), [POINT]);
        assert_eq!(
            read(&encrypt(&[]), &asking(Level::Encrypt)),
            (Some(vec![]), 0),
            "nothing, well encrypted"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..400), framing in 0..6, cut in 0usize..500,
        ) {
            let (user, password) = ("alice", "w0nderl4nd");
            // As they are, as what a known user protects, and as what only claims to be that.
            let mut datagram = match framing {
                0 => bytes,
                1 => signed(user, password, &bytes),
                2 => encrypted(user, password, &bytes),
                3 => signed(user, password, &encrypted(user, password, &bytes)),
                4 => part(0x0200, &bytes),
                _ => part(0x0210, &[&[0, 5][..], user.as_bytes(), &bytes].concat()),
            };
            let _ = Reader::default().read(&datagram, &asking(Level::None), Level::None);
            datagram.truncate(cut);
            let _ = Reader::default().read(&datagram, &asking(Level::None), Level::None);
        }
    }
}
