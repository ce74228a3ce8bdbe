//! A futures stream as hyper wants it.
//!
//! hyper lends memory that may be uninitialised. It is zeroed before a stream sees it, so that nothing here depends on a
//! stream's good manners; and no more of it is lent on than reads have lately filled, because a request is mostly far
//! smaller than the memory, and a stream with nothing to read is asked in vain.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::Connection;
use crate::socket::Stream;

/// Memory lent to a stream's first read, and at least.
const LENT_BYTES_MIN: usize = 8 << 10;

pub(super) struct HyperIo<S> {
    stream: S,
    /// Memory lent to the next read at most.
    lent_bytes: usize,
    /// The last read found nothing: the next one is asked with little, and mostly in vain.
    is_waiting: bool,
    /// Keeps the books of an accepted connection.
    connection: Option<Rc<Connection>>,
}

impl<S: Stream> HyperIo<S> {
    pub(super) fn new(stream: S, connection: Rc<Connection>) -> Self {
        Self { stream, lent_bytes: LENT_BYTES_MIN, is_waiting: false, connection: Some(connection) }
    }

    /// Of a connection this side has opened.
    pub(super) fn outgoing(stream: S) -> Self {
        Self { stream, lent_bytes: LENT_BYTES_MIN, is_waiting: false, connection: None }
    }
}

impl<S: Stream> hyper::rt::Read for HyperIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        // SAFETY: the memory is only written to, never made uninitialised.
        let memory = unsafe { cursor.as_mut() };
        let lent = if self.is_waiting { LENT_BYTES_MIN } else { self.lent_bytes };
        let lent = memory.len().min(lent);
        let memory = &mut memory[..lent];
        memory.fill(MaybeUninit::new(0));
        // SAFETY: every byte has just been set.
        let buffer = unsafe { &mut *(std::ptr::from_mut(memory) as *mut [u8]) };
        let length = buffer.len();
        let was_waiting = std::mem::replace(&mut self.is_waiting, true);
        let count = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.is_waiting = false;
        assert!(count <= length, "BUG: a stream read more than the buffer holds");
        // SAFETY: `count` bytes were set by the stream, and by us before.
        unsafe { cursor.advance(count) };
        self.lent_bytes = match count {
            _ if was_waiting => self.lent_bytes,
            _ if count == self.lent_bytes => self.lent_bytes * 2,
            _ if count < length / 4 => (self.lent_bytes / 2).max(LENT_BYTES_MIN),
            _ => self.lent_bytes,
        };
        if let Some(connection) = &self.connection {
            connection.note_read(count);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> HyperIo<S> {
    fn noted(&self, written: Poll<std::io::Result<usize>>) -> Poll<std::io::Result<usize>> {
        match (&self.connection, &written) {
            (Some(connection), Poll::Ready(Ok(count))) => connection.note_written(*count),
            (Some(connection), Poll::Pending) => connection.note_write_blocked(),
            (_, Poll::Ready(Err(_))) | (None, _) => {}
        }
        written
    }
}

impl<S: Stream> hyper::rt::Write for HyperIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buffer);
        self.noted(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, buffers);
        self.noted(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
