//! An answer's body: nothing, a whole, or chunks made while they are sent.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_lite::Stream;
use hyper::body::{Body, Frame, SizeHint};

use super::Active;

/// Whole answers above this are compressed piece by piece while they are sent.
const GZIP_STEP_BYTES: usize = 64 << 10;

type Chunks = Pin<Box<dyn Stream<Item = io::Result<Bytes>>>>;

/// The body of an answer.
pub struct Answer {
    kind: Kind,
    /// Ends the request when the answer is gone.
    active: Option<Active>,
}

enum Kind {
    Whole(Option<Bytes>),
    Chunks(Chunks),
}

/// Bytes of a whole answer; `None` for one made of chunks.
pub fn answer_length(answer: &Answer) -> Option<u64> {
    match &answer.kind {
        Kind::Whole(bytes) => Some(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
        Kind::Chunks(_) => None,
    }
}

/// The other end of [`Answer::channel`]. A failed send says that nobody listens any more.
pub struct ChunkSender(flume::Sender<io::Result<Bytes>>);

impl ChunkSender {
    /// Waits while the peer is slow. `false`: the connection is gone.
    pub async fn send(&self, chunk: Bytes) -> bool {
        self.0.send_async(Ok(chunk)).await.is_ok()
    }

    /// Breaks the answer off: the connection is cut, so that the peer cannot take it for whole.
    pub async fn fail(&self, why: &str) {
        let _ = self.0.send_async(Err(io::Error::other(why.to_owned()))).await;
    }

    /// Whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.0.is_disconnected()
    }
}

impl Answer {
    pub fn empty() -> Self {
        Self { kind: Kind::Whole(None), active: None }
    }

    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { kind: Kind::Whole((!bytes.is_empty()).then_some(bytes)), active: None }
    }

    /// Chunks as they are made; an error cuts the connection.
    pub fn chunks(chunks: impl Stream<Item = io::Result<Bytes>> + 'static) -> Self {
        Self { kind: Kind::Chunks(Box::pin(chunks)), active: None }
    }

    /// A sender and the answer that passes its chunks on; at most two wait for the peer.
    pub fn channel() -> (ChunkSender, Self) {
        let (sender, receiver) = flume::bounded(2);
        (ChunkSender(sender), Self::chunks(receiver.into_stream()))
    }

    pub fn is_empty(&self) -> bool {
        matches!(self.kind, Kind::Whole(None))
    }

    /// The same answer compressed; an empty one stays empty.
    pub fn gzip(self) -> Self {
        let kind = match self.kind {
            Kind::Whole(None) => Kind::Whole(None),
            Kind::Whole(Some(bytes)) if bytes.len() <= GZIP_STEP_BYTES => {
                let mut encoder =
                    GzEncoder::new(Vec::with_capacity(bytes.len() / 4 + 64), Compression::fast());
                let compressed = encoder.write_all(&bytes).and_then(|()| encoder.finish());
                Kind::Whole(Some(compressed.expect("writing to memory cannot fail").into()))
            }
            Kind::Whole(Some(bytes)) => {
                let pieces = (0..bytes.len()).step_by(GZIP_STEP_BYTES);
                let pieces: Vec<_> =
                    pieces.map(|at| Ok(bytes.slice(at..(at + GZIP_STEP_BYTES).min(bytes.len())))).collect();
                Kind::Chunks(Box::pin(Gzip::new(Box::pin(futures_lite::stream::iter(pieces)), false)))
            }
            Kind::Chunks(chunks) => Kind::Chunks(Box::pin(Gzip::new(chunks, true))),
        };
        Self { kind, active: self.active }
    }

    pub(super) fn holding(mut self, active: Active) -> Self {
        self.active = Some(active);
        self
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let chunk = match &mut self.kind {
            Kind::Whole(bytes) => bytes.take().map(Ok),
            Kind::Chunks(chunks) => ready!(chunks.as_mut().poll_next(cx)),
        };
        Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.kind, Kind::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Chunks(_) => SizeHint::default(),
        }
    }
}

/// Compresses chunks on their way. With `flushes` the peer can read each chunk when it arrives.
struct Gzip {
    chunks: Chunks,
    encoder: Option<GzEncoder<Vec<u8>>>,
    flushes: bool,
}

impl Gzip {
    fn new(chunks: Chunks, flushes: bool) -> Self {
        Self { chunks, encoder: Some(GzEncoder::new(Vec::new(), Compression::fast())), flushes }
    }
}

impl Stream for Gzip {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            let this = &mut *self;
            let Some(encoder) = &mut this.encoder else { return Poll::Ready(None) };
            match ready!(this.chunks.as_mut().poll_next(cx)) {
                Some(Ok(chunk)) => {
                    encoder.write_all(&chunk)?;
                    if this.flushes {
                        encoder.flush()?;
                    }
                    let compressed = std::mem::take(encoder.get_mut());
                    if !compressed.is_empty() {
                        return Poll::Ready(Some(Ok(compressed.into())));
                    }
                }
                Some(Err(error)) => {
                    this.encoder = None;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    let last = this.encoder.take().map(GzEncoder::finish);
                    return Poll::Ready(last.map(|last| last.map(Bytes::from)));
                }
            }
        }
    }
}
