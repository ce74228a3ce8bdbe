//! DOOR 2: the network.
//!
//! A [`Stream`] is an ordered pipe of bytes to a peer; a [`Listener`] hands out what was accepted before a byte of it
//! was read, so that another core may take it. [`uring`] is the real side, `sim` the seeded one.

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;

use futures_lite::{AsyncRead, AsyncWrite};

#[cfg(feature = "sim")]
pub mod sim;
pub mod tls;
pub mod udp;
pub mod uring;

/// A connection of one core. Dropping it closes it.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + 'static {
    fn peer(&self) -> Peer;

    /// Reads what is there without waiting, into memory that need not be set. `None`: nothing is there, or only
    /// [`AsyncRead::poll_read`] can tell. Some count (0 at the end): so many bytes of the memory are set, from its first.
    fn read_now(&mut self, _memory: &mut [MaybeUninit<u8>]) -> Option<io::Result<usize>> {
        None
    }
}

/// Any stream: one indirect call beside a system call is nothing.
pub type BoxStream = Box<dyn Stream>;

impl Stream for BoxStream {
    fn peer(&self) -> Peer {
        (**self).peer()
    }

    fn read_now(&mut self, memory: &mut [MaybeUninit<u8>]) -> Option<io::Result<usize>> {
        (**self).read_now(memory)
    }
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    Tcp(SocketAddr),
    Unix,
    /// A simulated peer by its number.
    Simulated(u64),
}

impl Peer {
    /// Whether it is on this machine.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix => true,
            Self::Simulated(_) => false,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{}", address.ip()),
            Self::Unix => f.write_str("@"),
            Self::Simulated(number) => write!(f, "peer-{number}"),
        }
    }
}

/// Accepts connections.
pub trait Listener: 'static {
    /// What an accepted connection is before it belongs to a core.
    type Accepted;

    async fn accept(&self) -> io::Result<Self::Accepted>;

    /// Makes the stream on the core that is going to use it.
    fn open(&self, accepted: Self::Accepted) -> io::Result<BoxStream>;
}
