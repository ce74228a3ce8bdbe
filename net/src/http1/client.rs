//! One connection to a server, one request at a time: what a node needs to pass points on.
//!
//! No redirects, no pools, no retries: those are the caller's decisions, as are its deadlines.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{Connection, SendRequest, handshake};

use super::io::HyperIo;
use crate::socket::BoxStream;

/// Bytes of an answer that are read; a longer one is an error.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// A connection that can be asked.
pub struct Client {
    sender: SendRequest<Full<Bytes>>,
    connection: Pin<Box<Connection<HyperIo<BoxStream>, Full<Bytes>>>>,
}

impl Client {
    pub async fn new(stream: BoxStream) -> io::Result<Self> {
        let (sender, connection) = handshake(HyperIo::outgoing(stream)).await.map_err(io::Error::other)?;
        Ok(Self { sender, connection: Box::pin(connection) })
    }

    /// Sends a request and reads the answer. After an error, or when it is dropped before its end, the connection is
    /// of no use any more.
    pub async fn ask(&mut self, request: Request<Full<Bytes>>) -> io::Result<(StatusCode, Bytes)> {
        let Self { sender, connection } = self;
        let exchange = async {
            let answer = sender.send_request(request).await.map_err(io::Error::other)?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            Ok((status, body.map_err(io::Error::other)?.to_bytes()))
        };
        let mut exchange = pin!(exchange);
        let mut is_open = true;
        // The connection moves only while it is polled, and nobody else does it.
        poll_fn(|cx| {
            if is_open && connection.as_mut().poll(cx).is_ready() {
                is_open = false;
            }
            match exchange.as_mut().poll(cx) {
                Poll::Pending if !is_open => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
                answer => answer,
            }
        })
        .await
    }
}
