//! The simulated side of the network door: pipes in memory, driven by a seed.
//!
//! Bytes arrive in order, in pieces of a size the seed chooses; a read or write may find nothing to do although there
//! is (it is tried again); and a pipe may be cut after a number of bytes, as when a cable is pulled. One thread, no
//! clock: a delay is a poll that says "later".

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures_lite::{AsyncRead, AsyncWrite};

use super::{BoxStream, Listener, Peer, Stream};

/// Bytes one direction holds before a writer must wait, like a socket's send buffer.
const PIPE_BYTES_MAX: usize = 64 << 10;

/// What goes wrong on a pipe.
#[derive(Debug, Clone, Copy)]
pub struct Faults {
    /// Most bytes one read or write moves; the seed chooses from 1 to this.
    pub piece_bytes_max: usize,
    /// Polls in a hundred that say "later".
    pub delay_percent: u64,
    /// Cuts the connection once this many bytes went through one direction.
    pub cut_after_bytes: Option<u64>,
}

impl Default for Faults {
    fn default() -> Self {
        Self { piece_bytes_max: 16 << 10, delay_percent: 20, cut_after_bytes: None }
    }
}

#[derive(Default)]
struct Direction {
    bytes: VecDeque<u8>,
    passed: u64,
    is_closed: bool,
    is_cut: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Direction {
    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

struct Wire {
    directions: [Direction; 2],
    faults: Faults,
    random: u64,
}

impl Wire {
    /// splitmix64.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn delays(&mut self) -> bool {
        self.random() % 100 < self.faults.delay_percent
    }

    fn piece(&mut self, wanted: usize) -> usize {
        let most = self.faults.piece_bytes_max.max(1) as u64;
        wanted.min((self.random() % most) as usize + 1)
    }
}

/// One end of a simulated connection.
pub struct Pipe {
    wire: Rc<RefCell<Wire>>,
    /// The direction this end writes to; it reads from the other.
    side: usize,
    peer: Peer,
}

/// Two joined ends: the client's, the server's.
pub fn pair(seed: u64, faults: Faults) -> (Pipe, Pipe) {
    let wire = Rc::new(RefCell::new(Wire { directions: Default::default(), faults, random: seed }));
    let client = Pipe { wire: Rc::clone(&wire), side: 0, peer: Peer::Simulated(seed) };
    (client, Pipe { wire, side: 1, peer: Peer::Simulated(seed) })
}

impl Pipe {
    /// Cuts both directions: everybody gets an error, nothing more arrives.
    pub fn cut(&self) {
        for direction in &mut self.wire.borrow_mut().directions {
            direction.is_cut = true;
            direction.bytes.clear();
            direction.wake();
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let mut wire = self.wire.borrow_mut();
        for direction in &mut wire.directions {
            direction.is_closed = true;
            direction.wake();
        }
    }
}

fn reset() -> io::Error {
    io::Error::from(io::ErrorKind::ConnectionReset)
}

impl Stream for Pipe {
    fn peer(&self) -> Peer {
        self.peer
    }
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut wire = self.wire.borrow_mut();
        if wire.delays() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let most = wire.piece(buffer.len());
        let from = &mut wire.directions[1 - self.side];
        if from.is_cut {
            return Poll::Ready(Err(reset()));
        }
        if from.bytes.is_empty() {
            if from.is_closed {
                return Poll::Ready(Ok(0));
            }
            from.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = most.min(from.bytes.len());
        for (slot, byte) in buffer.iter_mut().zip(from.bytes.drain(..count)) {
            *slot = byte;
        }
        from.wake();
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let mut wire = self.wire.borrow_mut();
        if wire.delays() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let most = wire.piece(buffer.len());
        let cut_after = wire.faults.cut_after_bytes;
        let to = &mut wire.directions[self.side];
        if to.is_cut || to.is_closed {
            return Poll::Ready(Err(reset()));
        }
        let room = PIPE_BYTES_MAX - to.bytes.len();
        if room == 0 {
            to.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = most.min(room);
        to.bytes.extend(&buffer[..count]);
        to.passed += count as u64;
        let cuts = cut_after.is_some_and(|after| to.passed >= after);
        to.wake();
        drop(wire);
        if cuts {
            self.cut();
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.wire.borrow_mut();
        let to = &mut wire.directions[self.side];
        to.is_closed = true;
        to.wake();
        Poll::Ready(Ok(()))
    }
}

/// Accepts the pipes that its clients connect.
#[derive(Clone, Default)]
pub struct PipeListener(Rc<RefCell<Backlog>>);

#[derive(Default)]
struct Backlog {
    pipes: VecDeque<Pipe>,
    waiter: Option<Waker>,
}

impl PipeListener {
    pub fn connect(&self, seed: u64, faults: Faults) -> Pipe {
        let (client, server) = pair(seed, faults);
        let mut backlog = self.0.borrow_mut();
        backlog.pipes.push_back(server);
        if let Some(waiter) = backlog.waiter.take() {
            waiter.wake();
        }
        client
    }
}

impl Listener for PipeListener {
    type Accepted = Pipe;

    async fn accept(&self) -> io::Result<Pipe> {
        std::future::poll_fn(|cx| {
            let mut backlog = self.0.borrow_mut();
            match backlog.pipes.pop_front() {
                Some(pipe) => Poll::Ready(Ok(pipe)),
                None => {
                    backlog.waiter = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn open(&self, accepted: Pipe) -> io::Result<BoxStream> {
        Ok(Box::new(accepted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, zip};
    use futures_lite::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn bytes_arrive_in_order_whatever_the_seed() {
        for seed in 0..50 {
            block_on(async {
                let (mut client, mut server) = pair(seed, Faults { piece_bytes_max: 7, ..Faults::default() });
                let sent: Vec<u8> = (0..5000u32).map(|n| n as u8).collect();
                let mut got = Vec::new();
                zip(
                    async {
                        client.write_all(&sent).await.unwrap();
                        client.close().await.unwrap();
                    },
                    async { server.read_to_end(&mut got).await.unwrap() },
                )
                .await;
                assert_eq!(got, sent, "seed {seed}");
            });
        }
    }

    #[test]
    fn a_cut_pipe_is_an_error_on_both_ends() {
        block_on(async {
            let faults = Faults { cut_after_bytes: Some(10), delay_percent: 0, ..Faults::default() };
            let (mut client, mut server) = pair(1, faults);
            let error = client.write_all(&[0; 100_000]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            assert!(server.read(&mut [0; 10]).await.is_err());
        });
    }
}
