//! A futures stream as hyper wants it.
//!
//! hyper lends memory that may be uninitialised. What a socket has is read into it as it is; before a stream sees memory
//! otherwise, it is zeroed, so that nothing here depends on a stream's good manners, and therefore little is lent.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::Connection;
use crate::socket::Stream;

/// Memory zeroed and lent to a stream that must be waited for, or that cannot read otherwise.
const LENT_BYTES_MAX: usize = 8 << 10;

pub(super) struct HyperIo<S> {
    stream: S,
    /// The last read found nothing: the next one is mostly in vain, unless the stream has been woken.
    is_waiting: bool,
    /// Keeps the books of an accepted connection.
    connection: Option<Rc<Connection>>,
}

impl<S: Stream> HyperIo<S> {
    pub(super) fn new(stream: S, connection: Rc<Connection>) -> Self {
        Self { stream, is_waiting: false, connection: Some(connection) }
    }

    /// Of a connection this side has opened.
    pub(super) fn outgoing(stream: S) -> Self {
        Self { stream, is_waiting: false, connection: None }
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
        let there = if self.is_waiting { None } else { self.stream.read_now(memory) };
        let (count, most) = match there {
            Some(count) => (count?, memory.len()),
            None => {
                let lent = memory.len().min(LENT_BYTES_MAX);
                let memory = &mut memory[..lent];
                memory.fill(MaybeUninit::new(0));
                // SAFETY: every byte has just been set.
                let buffer = unsafe { &mut *(std::ptr::from_mut(memory) as *mut [u8]) };
                self.is_waiting = true;
                let count = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
                self.is_waiting = false;
                (count, lent)
            }
        };
        assert!(count <= most, "BUG: a stream read more than the buffer holds");
        // SAFETY: `count` bytes were set, by the stream, or by the kernel as `read_now` promises.
        unsafe { cursor.advance(count) };
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
