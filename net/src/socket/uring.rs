//! The real side of the network door: glommio sockets made from socket2 sockets.
//!
//! Sockets are made with socket2 because every core listens on the same address (SO_REUSEPORT) and a restart must not
//! wait for old connections (SO_REUSEADDR), which glommio's own constructors do not ask for.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_lite::{AsyncRead, AsyncWrite};
use glommio::net as glommio_net;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::udp::Datagrams;
use super::{BoxStream, Listener, Peer, Stream};
use crate::limits::ACCEPT_BACKLOG;

fn io_error(error: glommio::GlommioError<()>) -> io::Error {
    match error {
        glommio::GlommioError::IoError(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

fn tcp_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `:8086` means both families, as in Go.
        socket.set_only_v6(false)?;
    }
    Ok(socket)
}

/// Fails when somebody listens on the address. Sockets that share a port would share it with another process too.
pub fn check_free(address: SocketAddr) -> io::Result<()> {
    tcp_socket(address)?.bind(&SockAddr::from(address))
}

/// A bound TCP socket before it belongs to a core; it does not listen yet.
pub fn bind_tcp(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = tcp_socket(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket.into())
}

/// The address a bound socket has; tells the port when 0 was asked for.
pub fn local_address(socket: &OwnedFd) -> io::Result<SocketAddr> {
    socket2::SockRef::from(socket)
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::Error::other("not an internet socket"))
}

/// A UDP socket before it belongs to a core; `read_buffer_bytes` 0 keeps the system's default.
pub fn bind_udp(address: SocketAddr, read_buffer_bytes: usize) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    if read_buffer_bytes > 0 {
        socket.set_recv_buffer_size(read_buffer_bytes)?;
    }
    socket.bind(&SockAddr::from(address))?;
    let socket = OwnedFd::from(socket);
    super::udp::count_drops(socket.as_fd())?;
    Ok(socket)
}

/// A bound unix socket that does not listen yet; a stale socket file is replaced. With a group id, the file is that
/// group's.
pub fn bind_unix(path: &Path, mode: u32, group: Option<u32>) -> io::Result<OwnedFd> {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("{} exists and is no socket", path.display()),
            ));
        }
        Err(_) => {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
        }
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    if group.is_some() {
        std::os::unix::fs::chown(path, None, group)?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(socket.into())
}

/// Listens on this core, for TCP or on a unix socket.
pub struct SocketListener {
    listener: glommio_net::TcpListener,
    is_unix: bool,
}

impl SocketListener {
    /// Takes over a socket of [`bind_tcp`] and listens. Call it on the core that will accept.
    pub fn tcp(socket: OwnedFd) -> io::Result<Self> {
        Self::new(socket, false)
    }

    /// Takes over a socket of [`bind_unix`] and listens. Call it on the core that will accept.
    pub fn unix(socket: OwnedFd) -> io::Result<Self> {
        Self::new(socket, true)
    }

    fn new(socket: OwnedFd, is_unix: bool) -> io::Result<Self> {
        socket2::SockRef::from(&socket).listen(ACCEPT_BACKLOG)?;
        // SAFETY: the descriptor is owned, listening, and given away here. glommio only ever accepts on it, which is
        // the same for both families.
        let listener = unsafe { glommio_net::TcpListener::from_raw_fd(socket.into_raw_fd()) };
        Ok(Self { listener, is_unix })
    }
}

/// An accepted connection on its way to a core. Closed when dropped on one.
pub struct Accepted {
    socket: Option<glommio_net::AcceptedTcpStream>,
    is_unix: bool,
}

impl Drop for Accepted {
    fn drop(&mut self) {
        if let Some(socket) = self.socket.take() {
            drop(socket.bind_to_executor());
        }
    }
}

impl Accepted {
    /// Makes the stream on this core. No byte has been read before.
    pub fn open(mut self) -> io::Result<BoxStream> {
        let socket = self.socket.take().ok_or_else(|| io::Error::other("BUG: opened twice"))?;
        let stream = socket.bind_to_executor();
        let peer = if self.is_unix {
            Peer::Unix
        } else {
            // SAFETY: the descriptor stays open as long as `stream`, which outlives this borrow.
            let raw = unsafe { std::os::fd::BorrowedFd::borrow_raw(stream.as_raw_fd()) };
            let socket = socket2::SockRef::from(&raw);
            socket.set_tcp_nodelay(true)?;
            let address = socket.peer_addr()?.as_socket();
            Peer::Tcp(address.ok_or_else(|| io::Error::other("a peer without an address"))?)
        };
        Ok(Box::new(SocketStream { stream, peer }))
    }
}

impl Listener for SocketListener {
    type Accepted = Accepted;

    async fn accept(&self) -> io::Result<Accepted> {
        let socket = self.listener.shared_accept().await.map_err(io_error)?;
        Ok(Accepted { socket: Some(socket), is_unix: self.is_unix })
    }

    fn open(&self, accepted: Accepted) -> io::Result<BoxStream> {
        accepted.open()
    }
}

/// A connected socket of this core.
pub struct SocketStream {
    stream: glommio_net::TcpStream,
    peer: Peer,
}

impl SocketStream {
    /// Connects to a peer.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = glommio_net::TcpStream::connect(address).await.map_err(io_error)?;
        stream.set_nodelay(true).map_err(io_error)?;
        Ok(Self { stream, peer: Peer::Tcp(address) })
    }
}

impl Stream for SocketStream {
    fn peer(&self) -> Peer {
        self.peer
    }

    fn read_now(&mut self, memory: &mut [MaybeUninit<u8>]) -> Option<io::Result<usize>> {
        // SAFETY: the descriptor stays open as long as `stream`, which outlives this borrow.
        let raw = unsafe { std::os::fd::BorrowedFd::borrow_raw(self.stream.as_raw_fd()) };
        match socket2::SockRef::from(&raw).recv_with_flags(memory, libc::MSG_DONTWAIT) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                None
            }
            read => Some(read),
        }
    }
}

impl AsyncRead for SocketStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for SocketStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

/// A UDP socket of this core.
pub struct UdpSocket(glommio_net::UdpSocket);

impl UdpSocket {
    /// Takes over a socket of [`bind_udp`]. Call it on the core that will read.
    pub fn new(socket: OwnedFd) -> Self {
        // SAFETY: the descriptor is owned, bound, and given away here.
        Self(unsafe { glommio_net::UdpSocket::from_raw_fd(socket.into_raw_fd()) })
    }

    /// One datagram and who sent it; what does not fit the buffer is lost.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.0.recv_from(buffer).await.map_err(io_error)
    }

    /// Waits for datagrams and takes all that are queued, up to a bound.
    pub async fn receive_many(&self, into: &mut Datagrams) -> io::Result<usize> {
        // SAFETY: the descriptor stays open as long as this socket, which outlives the borrow.
        let socket = unsafe { std::os::fd::BorrowedFd::borrow_raw(self.0.as_raw_fd()) };
        loop {
            // Looking at the first one is how to wait without taking it from the batch.
            self.0.peek_from(&mut [0]).await.map_err(io_error)?;
            match into.take(socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                taken => return taken,
            }
        }
    }

    /// Sends one datagram.
    pub async fn send(&self, bytes: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.0.send_to(bytes, to).await.map_err(io_error)
    }
}
