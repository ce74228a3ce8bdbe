//! A request's body, whole or in the pieces it comes in, whose bytes are reserved before they are read.
//!
//! The length is known (no compression, Content-Length): the caller reserves it all. Else the reservation grows by steps of
//! 1 MiB. Limits count decompressed bytes too.

use std::future::poll_fn;
use std::io::{self, Write};
use std::ops::Deref;
use std::pin::Pin;
use std::rc::Rc;

use flate2::write::MultiGzDecoder;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use hyper::body::{Body as _, Incoming};

use super::Connection;
use crate::error::{Error, Result};
use crate::limits::{BODY_STEP_BYTES, INFLATE_STEP_BYTES};
use crate::pool::Reservation;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Identity,
    Gzip,
}

impl Encoding {
    /// Anything but gzip is taken as it is, as InfluxDB does.
    pub fn of(headers: &HeaderMap) -> Self {
        match headers.get(CONTENT_ENCODING) {
            Some(value) if value.as_bytes().eq_ignore_ascii_case(b"gzip") => Self::Gzip,
            _ => Self::Identity,
        }
    }
}

/// The Content-Length header, if there is a good one.
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A body that has not been read.
pub struct RequestBody {
    incoming: Incoming,
    connection: Rc<Connection>,
}

/// A whole body; its bytes go back to the pool when it is dropped.
pub struct Body {
    bytes: Vec<u8>,
    reservation: Reservation,
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Body {
    /// Bytes reserved for it.
    pub fn reserved(&self) -> u64 {
        self.reservation.bytes()
    }
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, connection: Rc<Connection>) -> Self {
        Self { incoming, connection }
    }

    /// Whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.incoming.is_end_stream()
    }

    /// What to reserve before [`collect`](Self::collect): all of a body of known length, else one step.
    pub fn first_reservation(headers: &HeaderMap, bytes_max: u64) -> Result<u64> {
        let length = content_length(headers);
        if let Some(length) = length
            && length > bytes_max
        {
            return Err(Error::TooLarge { bytes_max });
        }
        Ok(match (Encoding::of(headers), length) {
            (Encoding::Identity, Some(length)) => length,
            _ => BODY_STEP_BYTES,
        })
    }

    /// To read the body as it is, piece by piece. `reservation` is what was reserved for it so far.
    pub fn pieces(self, bytes_max: u64, reservation: Reservation) -> Pieces {
        self.connection.is_reading_body.set(true);
        Pieces { body: self, allowance: Allowance { bytes: 0, bytes_max, reservation } }
    }

    /// Reads the body to its end. `reservation` is what was reserved for it so far.
    pub async fn collect(
        mut self,
        encoding: Encoding,
        bytes_max: u64,
        reservation: Reservation,
    ) -> Result<Body> {
        let mut buffer = Buffer::new(bytes_max, reservation);
        self.connection.is_reading_body.set(true);
        let read = match encoding {
            Encoding::Identity => self.copy_into(&mut buffer).await,
            Encoding::Gzip => {
                let mut inflate = MultiGzDecoder::new(buffer);
                let read = self.inflate_into(&mut inflate).await;
                let finished = match read {
                    Ok(is_empty) if is_empty => Ok(()),
                    Ok(_) => inflate.try_finish().map_err(|error| gzip_error(inflate.get_mut(), error)),
                    Err(error) => Err(error),
                };
                // What is in the buffer is whole only if all went well.
                buffer = std::mem::replace(inflate.get_mut(), Buffer::spent());
                finished
            }
        };
        self.connection.is_reading_body.set(false);
        read?;
        buffer.into_body()
    }

    async fn frame(&mut self) -> Result<Option<bytes::Bytes>> {
        loop {
            match poll_fn(|cx| Pin::new(&mut self.incoming).poll_frame(cx)).await {
                None => return Ok(None),
                Some(Err(error)) => return Err(Error::Protocol(error.to_string())),
                // Trailers are of no use here.
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    async fn copy_into(&mut self, buffer: &mut Buffer) -> Result<()> {
        while let Some(data) = self.frame().await? {
            buffer.push(&data)?;
        }
        Ok(())
    }

    /// Whether there was no byte at all.
    async fn inflate_into(&mut self, inflate: &mut MultiGzDecoder<Buffer>) -> Result<bool> {
        let mut is_empty = true;
        while let Some(data) = self.frame().await? {
            for piece in data.chunks(INFLATE_STEP_BYTES) {
                is_empty = false;
                inflate.write_all(piece).map_err(|error| gzip_error(inflate.get_mut(), error))?;
                // Inflating is work: let other tasks of the core have their turn.
                futures_lite::future::yield_now().await;
            }
        }
        Ok(is_empty)
    }
}

/// The refusal of the buffer if it was that, else the text Go's reader gives.
fn gzip_error(buffer: &mut Buffer, error: io::Error) -> Error {
    match buffer.refusal.take() {
        Some(refusal) => refusal,
        None if error.kind() == io::ErrorKind::UnexpectedEof => Error::Gzip("unexpected EOF"),
        None => Error::Gzip("gzip: invalid header"),
    }
}

/// A body that is read piece by piece; its bytes go back to the pool when it is dropped.
pub struct Pieces {
    body: RequestBody,
    allowance: Allowance,
}

impl Pieces {
    /// The bytes that came next; `None` at the end of the body.
    pub async fn next(&mut self) -> Result<Option<bytes::Bytes>> {
        let next = match self.body.frame().await {
            Ok(Some(piece)) => self.allowance.take(piece.len()).map(|()| Some(piece)),
            end => end,
        };
        if !matches!(next, Ok(Some(_))) {
            self.body.connection.is_reading_body.set(false);
        }
        next
    }

    /// Bytes read so far.
    pub fn bytes(&self) -> u64 {
        self.allowance.bytes
    }
}

/// Bytes of a body that have come, and how many may.
struct Allowance {
    bytes: u64,
    bytes_max: u64,
    reservation: Reservation,
}

impl Allowance {
    /// Counts bytes that came, and reserves more when it must.
    fn take(&mut self, count: usize) -> Result<()> {
        let wanted = self.bytes + count as u64;
        if wanted > self.bytes_max {
            return Err(Error::TooLarge { bytes_max: self.bytes_max });
        }
        if wanted > self.reservation.bytes() {
            let missing = wanted - self.reservation.bytes();
            self.reservation.grow(missing.next_multiple_of(BODY_STEP_BYTES))?;
        }
        self.bytes = wanted;
        Ok(())
    }
}

/// Grows only by what was reserved.
struct Buffer {
    bytes: Vec<u8>,
    /// `None` once its bytes are taken.
    allowance: Option<Allowance>,
    refusal: Option<Error>,
}

impl Buffer {
    fn new(bytes_max: u64, reservation: Reservation) -> Self {
        let bytes = Vec::with_capacity(reservation.bytes() as usize);
        Self { bytes, allowance: Some(Allowance { bytes: 0, bytes_max, reservation }), refusal: None }
    }

    fn spent() -> Self {
        Self { bytes: Vec::new(), allowance: None, refusal: None }
    }

    fn push(&mut self, data: &[u8]) -> Result<()> {
        let wanted = (self.bytes.len() + data.len()) as u64;
        let allowance = self.allowance.as_mut().ok_or(Error::PoolFull { wanted, limit: 0 })?;
        allowance.take(data.len())?;
        if self.bytes.capacity() < wanted as usize {
            self.bytes.reserve_exact(allowance.reservation.bytes() as usize - self.bytes.len());
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    fn into_body(self) -> Result<Body> {
        let allowance = self.allowance.ok_or(Error::PoolFull { wanted: 0, limit: 0 })?;
        Ok(Body { bytes: self.bytes, reservation: allowance.reservation })
    }
}

impl Write for Buffer {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self.push(data) {
            Ok(()) => Ok(data.len()),
            Err(refusal) => {
                self.refusal = Some(refusal);
                Err(io::Error::other("refused"))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
