//! Sockets for the HTTP client: TCP or a Unix socket, and reads that can be interrupted. A read waits in short turns;
//! between two of them whoever wants to can look at the clock, and Ctrl-C ends the wait. The connection is closed then,
//! and a server ends the query of a client that is gone.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

use super::interrupt::Interrupt;

/// Longest wait before Ctrl-C and the clock are looked at.
const TURN: Duration = Duration::from_millis(50);

/// Longest time a server may take to accept a connection.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// What a read ends with after Ctrl-C. Not `Interrupted`: readers try again after that.
const INTERRUPTED: ErrorKind = ErrorKind::ConnectionAborted;

/// What happens while a request waits. One per connection settings; shared with its sockets.
#[derive(Clone, Default)]
pub struct Waiting {
    pub interrupt: Interrupt,
    on_turn: Arc<Mutex<Option<Box<dyn FnMut() + Send>>>>,
}

impl Waiting {
    pub fn new(interrupt: Interrupt) -> Self {
        Self { interrupt, on_turn: Arc::default() }
    }

    /// Called at every turn from here on.
    pub fn on_turn(&self, call: Option<Box<dyn FnMut() + Send>>) {
        if let Ok(mut on_turn) = self.on_turn.lock() {
            *on_turn = call;
        }
    }

    fn turn(&self) -> io::Result<()> {
        if self.interrupt.is_set() {
            return Err(io::Error::new(INTERRUPTED, "interrupted"));
        }
        if let Ok(mut on_turn) = self.on_turn.lock()
            && let Some(call) = on_turn.as_mut()
        {
            call();
        }
        Ok(())
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waiting")
    }
}

/// Opens sockets.
#[derive(Debug)]
pub struct SocketConnector {
    /// Instead of the address.
    pub unix: Option<PathBuf>,
    pub waiting: Waiting,
}

impl Connector<()> for SocketConnector {
    type Out = SocketTransport;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let socket = match &self.unix {
            Some(path) => Socket::Unix(UnixStream::connect(path)?),
            None => connect_tcp(details)?,
        };
        socket.set_read_timeout(TURN)?;
        let buffers =
            LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(SocketTransport { socket, buffers, waiting: self.waiting.clone() }))
    }
}

/// The first address that answers.
fn connect_tcp(details: &ConnectionDetails<'_>) -> Result<Socket, ureq::Error> {
    let limit = details.timeout.not_zero().map_or(CONNECT_MAX, |after| (*after).min(CONNECT_MAX));
    let mut last = io::Error::new(ErrorKind::NotFound, "the host has no address");
    for address in &details.addrs {
        match TcpStream::connect_timeout(address, limit) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(Socket::Tcp(stream));
            }
            Err(error) => last = error,
        }
    }
    Err(ureq::Error::Io(last))
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(Some(timeout)),
            Self::Unix(stream) => stream.set_read_timeout(Some(timeout)),
        }
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_nonblocking(nonblocking),
            Self::Unix(stream) => stream.set_nonblocking(nonblocking),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Unix(stream) => stream.write_all(bytes),
        }
    }
}

pub struct SocketTransport {
    socket: Socket,
    buffers: LazyBuffers,
    waiting: Waiting,
}

impl fmt::Debug for SocketTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SocketTransport")
    }
}

impl Transport for SocketTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        self.waiting.turn()?;
        let output = &self.buffers.output()[..amount];
        Ok(self.socket.write_all(output)?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let limit = timeout.not_zero().map(|after| *after);
        let started = Instant::now();
        loop {
            self.waiting.turn()?;
            match self.socket.read(self.buffers.input_append_buf()) {
                Ok(count) => {
                    self.buffers.input_appended(count);
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if limit.is_some_and(|limit| started.elapsed() >= limit) {
                        return Err(ureq::Error::Timeout(timeout.reason));
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Still open if there is nothing to read: bytes nobody asked for, or an end, make it useless.
    fn is_open(&mut self) -> bool {
        let probe = |socket: &mut Socket| -> io::Result<bool> {
            socket.set_nonblocking(true)?;
            let nothing = match socket.read(&mut [0]) {
                Err(error) => error.kind() == ErrorKind::WouldBlock,
                Ok(_) => false,
            };
            socket.set_nonblocking(false)?;
            Ok(nothing)
        };
        probe(&mut self.socket).unwrap_or(false)
    }
}
