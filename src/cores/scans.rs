//! The asking side of scans: streams of chunks.

use tidemark_engine::scan::request::ScanChunk;
use tidemark_engine::{Error, Result};

use super::given_up::{GivenUp, part};
use super::{LocalScan, ScanPiece};
use crate::runtime::Runtime;

/// Pieces of a scan made ahead of whoever merges them.
const PIECES_AHEAD: usize = 2;

/// The chunks of a scan, wherever it runs. Dropping it ends the scan.
pub struct ScanStream(Source);

enum Source {
    Pulled(Box<dyn LocalScan>),
    Sent(Sent),
}

struct Sent {
    pieces: flume::Receiver<Result<ScanPiece>>,
    chunks: std::vec::IntoIter<ScanChunk>,
    is_last: bool,
    peak_bytes: u64,
    /// Whoever scans ends at a word, and holds the other end until then.
    end: flume::Sender<()>,
    given_up: GivenUp,
    runtime: Runtime,
    /// See [`ScanStream::expect_soon`].
    is_soon: bool,
}

impl Drop for Sent {
    fn drop(&mut self) {
        if !self.is_last {
            self.given_up.add(&self.end);
        }
    }
}

impl ScanStream {
    pub(super) fn pulled(scan: Box<dyn LocalScan>) -> Self {
        Self(Source::Pulled(scan))
    }

    /// A stream, and the scan's ends of it: where its pieces go, and where it is told that they are wanted no more. The
    /// scan drops the second when it holds nothing any more.
    pub(super) fn sent(
        given_up: &GivenUp,
        runtime: &Runtime,
    ) -> (Self, flume::Sender<Result<ScanPiece>>, flume::Receiver<()>) {
        let (sender, pieces) = flume::bounded(PIECES_AHEAD);
        let (end, cancel) = part();
        let sent = Sent {
            pieces,
            chunks: Vec::new().into_iter(),
            is_last: false,
            peak_bytes: 0,
            end,
            given_up: given_up.clone(),
            runtime: runtime.clone(),
            is_soon: false,
        };
        (Self(Source::Sent(sent)), sender, cancel)
    }

    /// Another core works on the first piece now, and this one has nothing else to do for the query.
    pub(super) fn expect_soon(&mut self) {
        if let Source::Sent(sent) = &mut self.0 {
            sent.is_soon = true;
        }
    }

    /// The most memory the scan held, as far as is known here.
    pub fn peak_bytes(&self) -> u64 {
        match &self.0 {
            Source::Pulled(scan) => scan.peak_bytes(),
            Source::Sent(sent) => sent.peak_bytes,
        }
    }

    pub async fn next(&mut self) -> Result<Option<ScanChunk>> {
        match &mut self.0 {
            Source::Pulled(scan) => scan.next().await,
            Source::Sent(sent) => sent.next().await,
        }
    }
}

impl Sent {
    async fn next(&mut self) -> Result<Option<ScanChunk>> {
        loop {
            if let Some(chunk) = self.chunks.next() {
                return Ok(Some(chunk));
            }
            if self.is_last {
                return Ok(None);
            }
            let piece = match std::mem::take(&mut self.is_soon) {
                true => self.runtime.received_soon(&self.pieces).await,
                false => self.pieces.recv_async().await.ok(),
            };
            // When nothing can come, the core is gone, and with it the process ends.
            let piece = piece.ok_or(Error::Closed)??;
            (self.chunks, self.is_last) = (piece.chunks.into_iter(), piece.is_last);
            self.peak_bytes = piece.peak_bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, poll_once};

    use super::super::calls::tests::Tasks;
    use super::*;

    fn runtime() -> Runtime {
        Runtime::new(std::rc::Rc::new(Tasks::default()))
    }

    fn piece(is_last: bool) -> Result<ScanPiece> {
        Ok(ScanPiece { chunks: Vec::new(), is_last, peak_bytes: 7 })
    }

    #[test]
    fn a_scan_that_is_given_up_is_told_and_waited_for_until_it_is_over() {
        let given_up = GivenUp::default();
        block_on(given_up.are_over());
        let (stream, sender, cancel) = ScanStream::sent(&given_up, &runtime());
        sender.send(piece(false)).unwrap();
        assert!(block_on(poll_once(cancel.recv_async())).is_none());
        drop(stream);
        assert!(sender.is_disconnected(), "what it has sent is gone");
        assert!(block_on(poll_once(cancel.recv_async())).is_some(), "the scan learns of it");
        assert_eq!(block_on(poll_once(given_up.are_over())), None, "it may hold memory");
        drop(cancel);
        block_on(given_up.are_over());
        assert!(given_up.is_empty());
    }

    #[test]
    fn a_scan_that_came_to_its_end_or_failed_is_not_waited_for() {
        let given_up = GivenUp::default();
        let (mut stream, sender, _cancel) = ScanStream::sent(&given_up, &runtime());
        sender.send(piece(true)).unwrap();
        assert!(block_on(stream.next()).unwrap().is_none());
        assert_eq!(stream.peak_bytes(), 7);
        drop(stream);
        assert!(given_up.is_empty());
        let (mut stream, sender, cancel) = ScanStream::sent(&given_up, &runtime());
        sender.send(Err(Error::Cancelled)).unwrap();
        drop((sender, cancel));
        assert!(block_on(stream.next()).is_err());
        drop(stream);
        block_on(given_up.are_over());
    }
}
