//! `[[tcp]]`: line protocol over TCP, a stream of lines.
//!
//! * Lines are written in batches of `batch-size`, or as many as came within `batch-timeout`. While one is being written
//!   nothing is read: the socket holds the sender back.
//! * A bad line is answered by one line of text, the error, and the stream goes on.
//! * An empty line asks for an acknowledgement. Once every line before it is durable the answer is `ok <lines>`: the
//!   lines of the connection since the last one.
//! * A node without room makes the stream wait. What waiting cannot mend (no database, a failed disk) is answered by
//!   its error, and ends the connection; lines since the last `ok` may not be there.
//! * Where HTTP clients have to say who they are, senders have to as well: see [`login`].

use std::io;
use std::rc::Rc;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use tidemark_net::socket::BoxStream;

use super::login;
use crate::line_protocol::{Precision, complete_line};
use crate::runtime::Runtime;
use crate::write::{Backend, Consistency, WriteError, WriteRequest, Writer};

/// A line longer than this ends its connection: a stream has no other bound.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Bytes after which a batch is written, however few lines it has.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Bytes asked of the socket at once.
const READ_BYTES: usize = 128 << 10;
/// How long a stream waits before it asks a full node again.
const BUSY_WAIT: Duration = Duration::from_millis(50);
/// Text of errors sent back after one batch; a sender of nonsense does not get all of it back.
const ERROR_BYTES_MAX: usize = 64 << 10;

/// One `[[tcp]]` section.
#[derive(Debug, Clone)]
pub struct Settings {
    pub database: String,
    /// Empty: the default policy.
    pub retention_policy: String,
    pub precision: Precision,
    /// Lines.
    pub batch_size: usize,
    pub batch_timeout: Duration,
    pub unsigned: bool,
    pub validate_keys: bool,
}

/// One listener's part on one core.
pub struct TcpInput<B> {
    pub writer: Rc<Writer<B>>,
    pub runtime: Runtime,
    pub settings: Settings,
    /// Asks who sends, where that matters.
    pub login: Option<login::Check>,
}

/// What a connection did, for its last log line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Served {
    pub lines: u64,
    pub points: u64,
    pub batches: u64,
    pub lines_bad: u64,
}

/// Bytes that came and are not written yet.
#[derive(Default)]
struct Incoming {
    bytes: Vec<u8>,
    /// Up to here whole lines stand, none of them empty.
    whole: usize,
    /// As many.
    lines: usize,
}

/// What the bytes at hand ask for.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// More of them.
    Read,
    /// A batch is full.
    Write,
    /// An empty line.
    Acknowledge,
    /// A line without end.
    TooLong,
}

impl Incoming {
    fn next(&mut self, batch_size: usize) -> Next {
        loop {
            if self.lines >= batch_size || self.whole >= BATCH_BYTES_MAX {
                return Next::Write;
            }
            let rest = &self.bytes[self.whole..];
            let Some(end) = complete_line(rest) else {
                return if rest.len() > LINE_BYTES_MAX { Next::TooLong } else { Next::Read };
            };
            if matches!(&rest[..end], b"" | b"\r") {
                return Next::Acknowledge;
            }
            self.whole += end + 1;
            self.lines += 1;
        }
    }

    /// The whole lines were written, or refused.
    fn written(&mut self) {
        self.bytes.drain(..self.whole);
        self.whole = 0;
        self.lines = 0;
    }

    /// The empty line at the front was answered.
    fn acknowledged(&mut self) {
        let end = memchr::memchr(b'\n', &self.bytes).map_or(self.bytes.len(), |end| end + 1);
        self.bytes.drain(..end);
    }

    /// The sender is done: what is left is a line too.
    fn close(&mut self) {
        if self.whole < self.bytes.len() {
            self.whole = self.bytes.len();
            self.lines += 1;
        }
    }
}

impl<B: Backend> TcpInput<B> {
    /// Serves one connection to its end.
    pub async fn serve(&self, mut stream: BoxStream) -> io::Result<Served> {
        let mut served = Served::default();
        let mut incoming = Incoming::default();
        if let Some(check) = &self.login {
            incoming.bytes = login::login(&mut stream, check, &self.runtime).await?;
        }
        let mut since_ok = 0;
        let mut chunk = vec![0; READ_BYTES];
        let mut oldest_ms = self.runtime.monotonic_ms();
        loop {
            match incoming.next(self.settings.batch_size.max(1)) {
                Next::Read => {
                    let wait = self.wait(&incoming, oldest_ms);
                    let read = match wait {
                        Some(wait) => self.runtime.timeout(wait, stream.read(&mut chunk)).await,
                        None => Some(stream.read(&mut chunk).await),
                    };
                    match read {
                        None => self.write(&mut incoming, &mut stream, &mut served, &mut since_ok).await?,
                        Some(Ok(0)) => break,
                        Some(Ok(count)) => {
                            if incoming.lines == 0 {
                                oldest_ms = self.runtime.monotonic_ms();
                            }
                            incoming.bytes.extend_from_slice(&chunk[..count]);
                        }
                        Some(Err(error)) => return Err(error),
                    }
                }
                Next::Write => {
                    self.write(&mut incoming, &mut stream, &mut served, &mut since_ok).await?;
                    oldest_ms = self.runtime.monotonic_ms();
                }
                Next::Acknowledge => {
                    self.write(&mut incoming, &mut stream, &mut served, &mut since_ok).await?;
                    incoming.acknowledged();
                    stream.write_all(format!("ok {since_ok}\n").as_bytes()).await?;
                    stream.flush().await?;
                    since_ok = 0;
                }
                Next::TooLong => {
                    self.write(&mut incoming, &mut stream, &mut served, &mut since_ok).await?;
                    let text = format!("line longer than {LINE_BYTES_MAX} bytes\n");
                    stream.write_all(text.as_bytes()).await?;
                    stream.close().await?;
                    return Ok(served);
                }
            }
        }
        incoming.close();
        self.write(&mut incoming, &mut stream, &mut served, &mut since_ok).await?;
        stream.close().await?;
        Ok(served)
    }

    /// How long the lines at hand may still wait for company; `None` when there are none.
    fn wait(&self, incoming: &Incoming, oldest_ms: u64) -> Option<Duration> {
        let waited = Duration::from_millis(self.runtime.monotonic_ms().saturating_sub(oldest_ms));
        (incoming.lines > 0).then(|| self.settings.batch_timeout.saturating_sub(waited))
    }

    /// Writes the whole lines at hand and sends their errors back.
    async fn write(
        &self,
        incoming: &mut Incoming,
        stream: &mut BoxStream,
        served: &mut Served,
        since_ok: &mut u64,
    ) -> io::Result<()> {
        if incoming.lines == 0 {
            return Ok(());
        }
        let request = WriteRequest {
            database: &self.settings.database,
            retention_policy: &self.settings.retention_policy,
            precision: self.settings.precision,
            consistency: Consistency::One,
            now: self.runtime.wall_ns(),
            unsigned: self.settings.unsigned,
            validate_keys: self.settings.validate_keys,
        };
        let written = loop {
            match self.writer.write_lines(&request, &incoming.bytes[..incoming.whole]).await {
                Err(WriteError::Busy(_)) => self.runtime.sleep(BUSY_WAIT).await,
                written => break written,
            }
        };
        served.lines += incoming.lines as u64;
        served.batches += 1;
        *since_ok += incoming.lines as u64;
        incoming.written();
        let error = match written {
            Ok(written) => {
                served.points += written.points;
                return Ok(());
            }
            Err(error) => error,
        };
        let mut text = one_line_each(&error);
        text.push('\n');
        stream.write_all(text.as_bytes()).await?;
        stream.flush().await?;
        match error {
            WriteError::Unparsable(_) => {}
            WriteError::Partial { written, .. } => served.points += written,
            error => {
                stream.close().await?;
                return Err(io::Error::other(error.to_string()));
            }
        }
        served.lines_bad += text.lines().count() as u64;
        Ok(())
    }
}

/// The error's text, cut to a bounded number of whole lines.
fn one_line_each(error: &WriteError) -> String {
    let mut text = match error {
        // Bad lines only: each has a line of its own, without the words around them.
        WriteError::Partial { reason, dropped: 0, .. } => reason.clone(),
        error => error.to_string(),
    };
    if text.len() > ERROR_BYTES_MAX {
        let mut end = ERROR_BYTES_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(text[..end].rfind('\n').unwrap_or(end));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incoming(text: &str) -> Incoming {
        Incoming { bytes: text.as_bytes().to_vec(), ..Incoming::default() }
    }

    #[test]
    fn batches_end_at_their_size_and_at_empty_lines() {
        let mut lines = incoming("m v=1\nm v=2\nm v=3\n\nm v=4\nm");
        assert_eq!(lines.next(2), Next::Write);
        assert_eq!((lines.lines, lines.whole), (2, 12));
        lines.written();
        assert_eq!(lines.next(2), Next::Acknowledge);
        assert_eq!(lines.lines, 1);
        lines.written();
        lines.acknowledged();
        assert_eq!(lines.next(2), Next::Read);
        assert_eq!(lines.lines, 1);
        lines.close();
        assert_eq!((lines.lines, lines.whole), (2, 7));
    }

    #[test]
    fn an_empty_line_inside_a_string_asks_for_nothing() {
        let mut lines = incoming("m s=\"a\n\nb\"\n\r\n");
        assert_eq!(lines.next(9), Next::Acknowledge);
        assert_eq!(lines.lines, 1);
    }

    #[test]
    fn a_line_without_end_is_noticed() {
        let mut lines = incoming("m v=1\n");
        lines.bytes.extend(std::iter::repeat_n(b'x', LINE_BYTES_MAX + 1));
        assert_eq!(lines.next(9), Next::TooLong);
    }

    #[test]
    fn many_errors_are_cut_between_lines() {
        let error = WriteError::Unparsable("unable to parse 'é': missing fields\n".repeat(10_000));
        let text = one_line_each(&error);
        assert!(text.len() <= ERROR_BYTES_MAX);
        assert!(text.ends_with("missing fields"));
    }

    #[cfg(feature = "sim")]
    mod streams {
        use futures_lite::future::zip;
        use futures_lite::io::{AsyncBufReadExt, BufReader};
        use tidemark_engine::Error;
        use tidemark_net::socket::sim::{Faults, Pipe, pair};

        use super::*;
        use crate::runtime::sim::Simulation;
        use crate::write::tests::{Fake, fake, rows};

        fn input(simulation: &Simulation, database: &str) -> TcpInput<Fake> {
            let settings = Settings {
                database: database.to_owned(),
                retention_policy: String::new(),
                precision: Precision::Second,
                batch_size: 100,
                batch_timeout: Duration::from_secs(1),
                unsigned: false,
                validate_keys: false,
            };
            TcpInput {
                writer: Rc::new(Writer::new(fake(0))),
                runtime: simulation.runtime(),
                settings,
                login: None,
            }
        }

        async fn line(client: &mut BufReader<Pipe>) -> String {
            let mut text = String::new();
            client.read_line(&mut text).await.expect("an answer");
            text
        }

        #[test]
        fn a_stream_is_acknowledged_and_hears_of_its_bad_lines() {
            for seed in 0..20 {
                let simulation = Simulation::new(seed);
                let (client, server) = pair(seed, Faults { piece_bytes_max: 40, ..Faults::default() });
                let input = input(&simulation, "db");
                let writer = Rc::clone(&input.writer);
                let served = simulation.block_on(async move {
                    let talk = async move {
                        let mut client = BufReader::new(client);
                        let body: String = (0..250).map(|at| format!("m,t=a v={at}i {at}\n")).collect();
                        client
                            .get_mut()
                            .write_all(format!("{body}bad\nm v=1,\n\n").as_bytes())
                            .await
                            .expect("sent");
                        assert_eq!(line(&mut client).await, "unable to parse 'bad': missing fields\n");
                        assert_eq!(
                            line(&mut client).await,
                            "unable to parse 'm v=1,': invalid field format\n"
                        );
                        assert_eq!(line(&mut client).await, "ok 252\n");
                        client.get_mut().write_all(b"\nm v=1 1000").await.expect("sent");
                        assert_eq!(line(&mut client).await, "ok 0\n");
                        client.get_mut().close().await.expect("closed");
                        assert_eq!(line(&mut client).await, "");
                    };
                    zip(input.serve(Box::new(server)), talk).await.0.expect("served")
                });
                assert_eq!((served.points, served.lines, served.lines_bad), (251, 253, 2));
                assert_eq!(rows(&writer).len(), 251);
            }
        }

        #[test]
        fn lines_do_not_wait_longer_than_the_batch_timeout() {
            let simulation = Simulation::new(3);
            let (mut client, server) = pair(3, Faults::default());
            let input = input(&simulation, "db");
            let writer = Rc::clone(&input.writer);
            let runtime = simulation.runtime();
            simulation.block_on(async move {
                let talk = async move {
                    client.write_all(b"m v=1 1\nm v=2 2").await.expect("sent");
                    runtime.sleep(Duration::from_millis(500)).await;
                    assert_eq!(rows(&writer).len(), 0);
                    runtime.sleep(Duration::from_millis(700)).await;
                    assert_eq!(rows(&writer).len(), 1, "the line that has no end yet waits");
                    client.close().await.expect("closed");
                };
                zip(input.serve(Box::new(server)), talk).await.0.expect("served");
            });
        }

        #[test]
        fn a_full_node_makes_the_stream_wait_and_a_missing_database_ends_it() {
            let simulation = Simulation::new(5);
            let (mut client, server) = pair(5, Faults::default());
            let input = input(&simulation, "db");
            let writer = Rc::clone(&input.writer);
            let runtime = simulation.runtime();
            *writer.backend().fail.borrow_mut() = Some(Error::Full { what: "write pool" });
            simulation.block_on(async move {
                let talk = async move {
                    client.write_all(b"m v=1 1\n\n").await.expect("sent");
                    runtime.sleep(Duration::from_secs(2)).await;
                    *writer.backend().fail.borrow_mut() = None;
                    let mut client = BufReader::new(client);
                    assert_eq!(line(&mut client).await, "ok 1\n");
                };
                zip(input.serve(Box::new(server)), talk).await.0.expect("served");
            });

            let simulation = Simulation::new(6);
            let (mut client, server) = pair(6, Faults::default());
            let input = self::input(&simulation, "nope");
            simulation.block_on(async move {
                let talk = async move {
                    client.write_all(b"m v=1 1\n\n").await.expect("sent");
                    let mut client = BufReader::new(client);
                    assert_eq!(line(&mut client).await, "database not found: \"nope\"\n");
                    assert_eq!(line(&mut client).await, "");
                };
                assert!(zip(input.serve(Box::new(server)), talk).await.0.is_err());
            });
        }
    }
}
