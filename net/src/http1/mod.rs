//! HTTP/1.1 connections over any stream.
//!
//! hyper keeps the protocol (heads, chunked bodies, `Expect: 100-continue`, pipelining, limits of heads); this module
//! keeps what a server on one core needs around it:
//!
//! 1. [`Connections`]: the open connections of a core, their silence measured by a clock the caller ticks, so that no
//!    connection costs a timer; and their orderly end.
//! 2. [`RequestBody`]: a body collected once into one buffer whose bytes are reserved before they are read.
//! 3. [`Answer`]: nothing, a whole body, or chunks made while they are sent; gzip on top.

mod answer;
mod body;
pub mod client;
mod io;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;

pub use answer::{Answer, ChunkSender, answer_length};
pub use body::{Body, Encoding, Pieces, RequestBody, content_length};

use crate::error::{Error, Result};
use crate::limits;
use crate::socket::{Peer, Stream};
use crate::stats::Stats;

/// The open connections of one core; cheap to clone.
#[derive(Clone, Default)]
pub struct Connections(Rc<Table>);

#[derive(Default)]
struct Table {
    now_ms: Cell<u64>,
    next: Cell<u64>,
    open: RefCell<HashMap<u64, Rc<Connection>>>,
    stats: Cell<Stats>,
    is_stopping: Cell<bool>,
}

/// What is known of one connection between two ticks.
struct Connection {
    table: Rc<Table>,
    /// Requests whose answer has not been handed over whole.
    requests_active: Cell<u32>,
    /// Bytes of a head have come, but not all of it; since when.
    head_since_ms: Cell<Option<u64>>,
    /// A body is being waited for.
    is_reading_body: Cell<bool>,
    /// The peer takes no more bytes for now.
    is_write_blocked: Cell<bool>,
    last_read_ms: Cell<u64>,
    last_write_ms: Cell<u64>,
    verdict: Cell<Verdict>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Serve,
    /// Answer what has begun, then close.
    Finish,
    Expired(&'static str),
}

impl Connections {
    pub fn new(now_ms: u64) -> Self {
        let connections = Self::default();
        connections.0.now_ms.set(now_ms);
        connections
    }

    pub fn open_count(&self) -> usize {
        self.0.open.borrow().len()
    }

    pub fn stats(&self) -> Stats {
        Stats { connections_open: self.open_count() as u64, ..self.0.stats.get() }
    }

    /// Sets the clock and ends the connections that were silent for too long. Call about once a second. How many of the
    /// open connections ask nothing at the moment.
    pub fn tick(&self, now_ms: u64) -> usize {
        self.0.now_ms.set(now_ms);
        let mut quiet = 0;
        for connection in self.0.open.borrow().values() {
            if let Some(phase) = connection.expired(now_ms) {
                self.0.count(|stats| stats.connections_timed_out += 1);
                connection.judge(Verdict::Expired(phase));
            }
            quiet += usize::from(connection.is_quiet(now_ms));
        }
        quiet
    }

    /// Lets every connection finish what it has begun and close. New ones close after their first answer.
    pub fn finish(&self) {
        self.0.is_stopping.set(true);
        for connection in self.0.open.borrow().values() {
            connection.judge(Verdict::Finish);
        }
    }

    /// Serves one connection until it ends. The handler gets each request with its body unread.
    pub async fn serve<S, H, F>(&self, stream: S, handler: H) -> Result<()>
    where
        S: Stream,
        H: Fn(Peer, Request<RequestBody>) -> F,
        F: Future<Output = Response<Answer>>,
    {
        let entry = Entry::new(&self.0);
        let connection = &entry.connection;
        let peer = stream.peer();
        let service = service_fn(|request: Request<Incoming>| {
            let active = Active::new(connection);
            let request = request.map(|incoming| RequestBody::new(incoming, Rc::clone(connection)));
            let answer = handler(peer, request);
            async move {
                let answer = answer.await;
                Ok::<_, Infallible>(answer.map(|answer| answer.holding(active)))
            }
        });
        let served = Builder::new()
            .max_buf_size(limits::READ_BUFFER_BYTES_MAX)
            .max_headers(limits::HEADERS_MAX)
            .header_read_timeout(None)
            .title_case_headers(true)
            // Not `pipeline_flush`: while unread bytes are left it holds answers back, also the last one, which tells what
            // was wrong with them.
            .serve_connection(io::HyperIo::new(stream, Rc::clone(connection)), service);
        let mut served = pin!(served);
        let mut is_told = false;
        poll_fn(|cx| {
            connection.remember(cx.waker());
            match connection.verdict.get() {
                Verdict::Expired(phase) => return Poll::Ready(Err(Error::Timeout(phase))),
                Verdict::Finish if !is_told => {
                    is_told = true;
                    served.as_mut().graceful_shutdown();
                }
                _ => {}
            }
            served.as_mut().poll(cx).map_err(Error::from)
        })
        .await
    }
}

impl Table {
    fn count(&self, change: impl FnOnce(&mut Stats)) {
        let mut stats = self.stats.get();
        change(&mut stats);
        self.stats.set(stats);
    }
}

/// A connection's place in the table; dropped, the place is free.
struct Entry {
    number: u64,
    connection: Rc<Connection>,
}

impl Entry {
    fn new(table: &Rc<Table>) -> Self {
        let now_ms = table.now_ms.get();
        let connection = Rc::new(Connection {
            table: Rc::clone(table),
            requests_active: Cell::new(0),
            head_since_ms: Cell::new(None),
            is_reading_body: Cell::new(false),
            is_write_blocked: Cell::new(false),
            last_read_ms: Cell::new(now_ms),
            last_write_ms: Cell::new(now_ms),
            verdict: Cell::new(if table.is_stopping.get() { Verdict::Finish } else { Verdict::Serve }),
            waker: RefCell::default(),
        });
        let number = table.next.replace(table.next.get() + 1);
        table.open.borrow_mut().insert(number, Rc::clone(&connection));
        table.count(|stats| stats.connections_accepted += 1);
        Self { number, connection }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.connection.table.open.borrow_mut().remove(&self.number);
    }
}

/// A request from its head to the last byte of its answer.
struct Active(Rc<Connection>);

impl Active {
    fn new(connection: &Rc<Connection>) -> Self {
        connection.requests_active.set(connection.requests_active.get() + 1);
        connection.head_since_ms.set(None);
        Self(Rc::clone(connection))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.requests_active.set(self.0.requests_active.get() - 1);
        self.0.last_read_ms.set(self.0.table.now_ms.get());
    }
}

impl Connection {
    fn now_ms(&self) -> u64 {
        self.table.now_ms.get()
    }

    fn remember(&self, waker: &Waker) {
        let mut slot = self.waker.borrow_mut();
        if !slot.as_ref().is_some_and(|old| old.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    fn judge(&self, verdict: Verdict) {
        self.verdict.set(verdict);
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The phase in which the peer was silent for too long.
    fn expired(&self, now_ms: u64) -> Option<&'static str> {
        let silent = |since_ms: u64, most: std::time::Duration| {
            now_ms.saturating_sub(since_ms) > most.as_millis() as u64
        };
        if self.is_write_blocked.get() && silent(self.last_write_ms.get(), limits::WRITE_SILENCE_TIMEOUT) {
            return Some("the peer does not take the answer");
        }
        if self.requests_active.get() > 0 {
            let is_late =
                self.is_reading_body.get() && silent(self.last_read_ms.get(), limits::BODY_SILENCE_TIMEOUT);
            return is_late.then_some("the body does not come");
        }
        if let Some(since_ms) = self.head_since_ms.get() {
            return silent(since_ms, limits::HEAD_TIMEOUT).then_some("the head does not come");
        }
        silent(self.last_read_ms.get(), limits::IDLE_TIMEOUT).then_some("idle")
    }

    fn is_quiet(&self, now_ms: u64) -> bool {
        let silent_ms = now_ms.saturating_sub(self.last_read_ms.get());
        self.requests_active.get() == 0 && silent_ms >= limits::QUIET_AFTER.as_millis() as u64
    }

    fn note_read(&self, count: usize) {
        let now_ms = self.now_ms();
        self.last_read_ms.set(now_ms);
        if self.requests_active.get() == 0 && count > 0 && self.head_since_ms.get().is_none() {
            self.head_since_ms.set(Some(now_ms));
        }
        self.table.count(|stats| stats.bytes_read += count as u64);
    }

    fn note_written(&self, count: usize) {
        self.is_write_blocked.set(false);
        self.last_write_ms.set(self.now_ms());
        self.table.count(|stats| stats.bytes_written += count as u64);
    }

    fn note_write_blocked(&self) {
        if !self.is_write_blocked.replace(true) {
            self.last_write_ms.set(self.now_ms());
        }
    }
}

#[cfg(all(test, feature = "sim"))]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests;
