//! `[[udp]]`: line protocol in datagrams.
//!
//! Nobody hears of what goes wrong here, so it is counted: datagrams the kernel dropped, lines that are no points,
//! points that found no room. A wake-up takes all datagrams queued; their lines are gathered to `batch-size`, or for
//! `batch-timeout`, and written by a second task, so that the socket is emptied meanwhile. At most `batch-pending`
//! batches wait for it; what comes beyond is dropped.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tidemark_engine::pace::Pace;
use tidemark_net::socket::udp::Datagrams;

use crate::line_protocol::{Precision, complete_line};
use crate::runtime::{Priority, Runtime};
use crate::write::{Backend, Consistency, WriteError, WriteRequest, Writer};

/// Bytes after which a batch is written, however few lines it has.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Nanoseconds, about, that a byte of a datagram takes until its lines are counted.
const SCANNED_BYTE_NS: u64 = 1;
/// Pause after a receive that failed, so that a broken socket does not take a core.
const ERROR_WAIT: Duration = Duration::from_millis(100);
/// How long a batch waits before it asks a full node again, and how often it asks.
const BUSY_WAIT: Duration = Duration::from_millis(50);
const BUSY_TRIES_MAX: u32 = 100;

/// One `[[udp]]` section.
#[derive(Debug, Clone)]
pub struct Settings {
    pub database: String,
    /// Empty: the default policy.
    pub retention_policy: String,
    pub precision: Precision,
    /// Lines.
    pub batch_size: usize,
    /// Batches that may wait to be written.
    pub batch_pending: usize,
    pub batch_timeout: Duration,
    pub unsigned: bool,
    pub validate_keys: bool,
}

/// Where datagrams come from: the socket, or a test.
pub trait Source {
    /// Waits for datagrams and takes all that are queued.
    async fn receive_many(&self, into: &mut Datagrams) -> io::Result<usize>;
}

impl Source for tidemark_net::socket::uring::UdpSocket {
    async fn receive_many(&self, into: &mut Datagrams) -> io::Result<usize> {
        Self::receive_many(self, into).await
    }
}

/// Counters of one listener on one core.
#[derive(Debug, Default)]
pub struct UdpCounters {
    pub datagrams: Cell<u64>,
    pub bytes: Cell<u64>,
    pub lines: Cell<u64>,
    pub points_written: Cell<u64>,
    /// Lines that are no points, and points that may not be stored.
    pub points_failed: Cell<u64>,
    /// Lines dropped because too many batches waited.
    pub lines_dropped: Cell<u64>,
    /// Datagrams the kernel dropped for want of room in the socket's buffer.
    pub kernel_drops: Cell<u64>,
    pub receive_errors: Cell<u64>,
}

fn add(counter: &Cell<u64>, amount: u64) {
    counter.set(counter.get().wrapping_add(amount));
}

/// Lines gathered from datagrams.
#[derive(Default)]
struct Gathered {
    bytes: Vec<u8>,
    lines: usize,
}

impl Gathered {
    /// Adds the lines of a datagram; `false`, and nothing added, when its last line has no end (an open quote), which
    /// would swallow the next datagram.
    fn add(&mut self, datagram: &[u8]) -> bool {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(datagram);
        if self.bytes.last() != Some(&b'\n') {
            self.bytes.push(b'\n');
        }
        let mut at = start;
        let mut lines = 0;
        while at < self.bytes.len() {
            match complete_line(&self.bytes[at..]) {
                Some(end) => at += end + 1,
                None => {
                    self.bytes.truncate(start);
                    return false;
                }
            }
            lines += 1;
        }
        self.lines += lines;
        true
    }
}

/// One listener's part on one core.
pub struct UdpInput<B> {
    pub writer: Rc<Writer<B>>,
    pub runtime: Runtime,
    pub settings: Settings,
    pub counters: Rc<UdpCounters>,
}

impl<B: Backend + 'static> UdpInput<B> {
    /// Receives until `stop` is done; then what was gathered is written.
    pub async fn run<S: Source>(self: Rc<Self>, source: S, stop: impl Future<Output = ()>) {
        let (batches, waiting) = flume::bounded::<Gathered>(self.settings.batch_pending.max(1));
        let writer = Rc::clone(&self);
        let (done, is_done) = flume::bounded::<()>(1);
        self.runtime.spawn(Priority::Ingest, async move {
            while let Ok(batch) = waiting.recv_async().await {
                writer.write(&batch).await;
            }
            drop(done);
        });
        futures_lite::future::or(self.receive(&source, &batches), stop).await;
        drop(batches);
        let _ = is_done.recv_async().await;
    }

    async fn receive<S: Source>(&self, source: &S, batches: &flume::Sender<Gathered>) {
        let mut datagrams = Datagrams::default();
        let mut gathered = Gathered::default();
        let mut oldest_ms = 0;
        let mut kernel_drops = 0u32;
        let pace = Pace::new();
        loop {
            let received = if gathered.lines == 0 {
                Some(source.receive_many(&mut datagrams).await)
            } else {
                let waited = Duration::from_millis(self.runtime.monotonic_ms().saturating_sub(oldest_ms));
                let rest = self.settings.batch_timeout.saturating_sub(waited);
                self.runtime.timeout(rest, source.receive_many(&mut datagrams)).await
            };
            match received {
                None => self.hand_over(&mut gathered, batches),
                Some(Err(error)) => {
                    add(&self.counters.receive_errors, 1);
                    tracing::warn!(%error, "udp receive failed");
                    self.runtime.sleep(ERROR_WAIT).await;
                }
                Some(Ok(_)) => {
                    if gathered.lines == 0 {
                        oldest_ms = self.runtime.monotonic_ms();
                    }
                    add(
                        &self.counters.kernel_drops,
                        u64::from(datagrams.dropped().wrapping_sub(kernel_drops)),
                    );
                    kernel_drops = datagrams.dropped();
                    for datagram in datagrams.iter() {
                        self.take(datagram, &mut gathered, batches);
                        pace.spent(datagram.len() as u64 * SCANNED_BYTE_NS).await;
                    }
                }
            }
        }
    }

    fn take(&self, datagram: &[u8], gathered: &mut Gathered, batches: &flume::Sender<Gathered>) {
        add(&self.counters.datagrams, 1);
        add(&self.counters.bytes, datagram.len() as u64);
        if !gathered.add(datagram) {
            // On its own it harms nobody; its whole lines are stored, the last is a bad one.
            let mut alone = Gathered { bytes: datagram.to_vec(), lines: 1 };
            self.hand_over(&mut alone, batches);
        }
        if gathered.lines >= self.settings.batch_size || gathered.bytes.len() >= BATCH_BYTES_MAX {
            self.hand_over(gathered, batches);
        }
    }

    fn hand_over(&self, gathered: &mut Gathered, batches: &flume::Sender<Gathered>) {
        let batch = std::mem::take(gathered);
        let lines = batch.lines as u64;
        add(&self.counters.lines, lines);
        if lines > 0 && batches.try_send(batch).is_err() {
            add(&self.counters.lines_dropped, lines);
        }
    }

    async fn write(&self, batch: &Gathered) {
        let request = WriteRequest {
            database: &self.settings.database,
            retention_policy: &self.settings.retention_policy,
            precision: self.settings.precision,
            consistency: Consistency::One,
            now: self.runtime.wall_ns(),
            unsigned: self.settings.unsigned,
            validate_keys: self.settings.validate_keys,
        };
        for _ in 0..BUSY_TRIES_MAX {
            let lines = batch.lines as u64;
            match self.writer.write_lines(&request, &batch.bytes).await {
                Ok(written) => add(&self.counters.points_written, written.points),
                Err(WriteError::Busy(_)) => {
                    self.runtime.sleep(BUSY_WAIT).await;
                    continue;
                }
                Err(WriteError::Partial { reason, dropped, written }) => {
                    add(&self.counters.points_written, written);
                    add(&self.counters.points_failed, lines.saturating_sub(written).max(dropped));
                    tracing::info!(%reason, dropped, "udp lines not stored");
                }
                Err(error) => {
                    add(&self.counters.points_failed, lines);
                    tracing::info!(%error, lines, "udp lines not stored");
                }
            }
            return;
        }
        add(&self.counters.lines_dropped, batch.lines as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_are_joined_as_lines_and_open_quotes_stay_alone() {
        let mut gathered = Gathered::default();
        assert!(gathered.add(b"m v=1"));
        assert!(gathered.add(b"m v=2\nm v=3\n"));
        assert!(!gathered.add(b"m v=4\nm s=\"open"));
        assert!(gathered.add(b"m s=\"a\nb\""));
        assert_eq!(gathered.lines, 4);
        assert_eq!(gathered.bytes, b"m v=1\nm v=2\nm v=3\nm s=\"a\nb\"\n");
    }
}
