//! THE WRITE PATH in one screen: a body of line protocol in, durable points or an exact error out.
//!
//! 1. the catalogue names the retention policy
//! 2. `line_protocol` reads the body, a slice at a time, into
//! 3. the [`router`]: time to shard group (made when missing), hash to shard, one batch per shard
//! 4. the batches go to the cores that own the shards, all at once, and come back durable
//! 5. what was dropped is told in the words of the lowest line
//! 6. who wants to know of what was stored is told: late points ([`late`]), copies ([`tap`])
//!
//! Nothing is written before the whole body is there; the caller sees to that by having it, or hands it over as it comes
//! in ([`early`]). A body of many megabytes is sent in several rounds, so that its batches never need as much memory again.

pub mod consistency;
pub mod early;
pub mod error;
pub mod late;
pub mod owners;
pub mod router;
pub mod tap;

#[cfg(test)]
pub(crate) mod tests;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use tidemark_engine::model::ShardGroupId;
use tidemark_engine::store::{ShardWrite, WriteOutcome};

pub use consistency::Consistency;
pub use early::Early;
pub use error::WriteError;
pub use late::Late;
pub use owners::Owners;
pub use tap::Taps;

use crate::line_protocol::{Options, Parser, Precision, Scratch, Sink, Step};
use crate::meta::{Data, MetaError};
use router::{Drops, RoutedLines, Router};

/// Bytes read before other tasks get their turn: well under a millisecond, even of lines read the plain way.
const SLICE_BYTES: usize = 64 << 10;
/// Readers kept for the next bodies of a core.
const SPARE_MAX: usize = 4;

/// What the write path needs of the node around it.
pub trait Backend {
    /// The catalogue as this core knows it.
    fn catalogue(&self) -> Arc<Data>;

    /// Makes the shard group that holds `timestamp`; [`catalogue`](Self::catalogue) has it when this answers.
    async fn create_shard_group(&self, database: &str, policy: &str, timestamp: i64)
    -> Result<(), MetaError>;

    /// The core that owns the shard at `position` of the `shards` of a group.
    fn core_of(&self, group: ShardGroupId, position: usize, shards: usize) -> usize;

    /// Version and node of a batch made now.
    fn version(&self) -> (u64, u64);

    /// Writes batches whose shards `core` owns; durable when it answers, one outcome per batch.
    async fn write(
        &self,
        core: usize,
        writes: Vec<ShardWrite>,
    ) -> Result<Vec<WriteOutcome>, tidemark_engine::Error>;

    /// Lets other tasks run.
    async fn give_way(&self);
}

/// Where a body goes and how it is to be read.
#[derive(Debug, Clone, Copy)]
pub struct WriteRequest<'a> {
    pub database: &'a str,
    /// Empty: the default policy.
    pub retention_policy: &'a str,
    pub precision: Precision,
    pub consistency: Consistency,
    /// Receive time, ns.
    pub now: i64,
    /// Accept unsigned numbers (`1u`).
    pub unsigned: bool,
    /// Drop points whose keys are not printable.
    pub validate_keys: bool,
}

impl WriteRequest<'_> {
    fn options(&self) -> Options {
        Options {
            precision: self.precision,
            now: self.now,
            unsigned: self.unsigned,
            validate_keys: self.validate_keys,
        }
    }
}

/// What became of a body that was wholly stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    pub points: u64,
}

/// Buffers that go from body to body.
#[derive(Default)]
struct Spare {
    scratch: Scratch,
    router: Router,
}

/// The write path of one core.
pub struct Writer<B> {
    backend: B,
    spare: RefCell<Vec<Spare>>,
    /// Bodies that are read while they come in.
    early: Cell<usize>,
    pub late: Late,
    pub taps: Taps,
}

impl<B: Backend> Writer<B> {
    pub fn new(backend: B) -> Self {
        let (late, taps) = (Late::default(), Taps::default());
        Self { backend, spare: RefCell::default(), early: Cell::default(), late, taps }
    }

    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Stores every point of `body` that can be; durable when it answers.
    pub async fn write_lines(&self, request: &WriteRequest<'_>, body: &[u8]) -> Result<Written, WriteError> {
        let mut spare = self.take_spare();
        let result = self.write_with(request, body, &mut spare).await;
        self.tell(request, body, &mut spare, &result).await;
        self.keep_spare(spare);
        result
    }

    fn take_spare(&self) -> Spare {
        self.spare.borrow_mut().pop().unwrap_or_default()
    }

    fn keep_spare(&self, spare: Spare) {
        let mut kept = self.spare.borrow_mut();
        if kept.len() < SPARE_MAX {
            kept.push(spare);
        }
    }

    async fn write_with(
        &self,
        request: &WriteRequest<'_>,
        body: &[u8],
        spare: &mut Spare,
    ) -> Result<Written, WriteError> {
        let Spare { scratch, router } = spare;
        router.begin(self.policy(request)?, request.now);
        let mut parser = Parser::new(request.options(), std::mem::take(scratch));
        self.read_to_end(request, body, &mut parser, router).await?;
        let errors;
        (errors, *scratch) = parser.into_errors();
        answer(router.points(), &router.drops, errors)
    }

    /// Reads what the parser has not read of a body, or of its last piece, and sends everything.
    async fn read_to_end(
        &self,
        request: &WriteRequest<'_>,
        body: &[u8],
        parser: &mut Parser,
        router: &mut Router,
    ) -> Result<(), WriteError> {
        loop {
            match parser.step(body, router, SLICE_BYTES) {
                Step::Paused | Step::More if router.is_full() => self.send(router).await?,
                Step::Paused => self.make_group(request, router).await?,
                Step::More => self.backend.give_way().await,
                Step::Done => break,
            }
        }
        self.send(router).await
    }

    /// Step 6: reads the body a second time if anybody wants to know of it.
    async fn tell(
        &self,
        request: &WriteRequest<'_>,
        body: &[u8],
        spare: &mut Spare,
        result: &Result<Written, WriteError>,
    ) {
        if self.late.is_empty() && self.taps.is_empty() {
            return;
        }
        let Some(earliest) = spare.router.earliest() else { return };
        let Ok(policy) = self.policy(request) else { return };
        let (database, policy) = (request.database, policy.name.as_str());
        // A write that failed may have stored some of its points.
        let is_late = self.late.concerns(database, policy, earliest);
        let is_stored = matches!(result, Ok(_) | Err(WriteError::Partial { .. }));
        let is_wanted = is_stored && self.taps.concerns(database, policy);
        if is_late {
            self.read_again(request, body, spare, &mut self.late.noting(database, policy)).await;
        }
        if is_wanted {
            let mut copying = tap::Copying::default();
            self.read_again(request, body, spare, &mut copying).await;
            self.taps.give(database, policy, &copying.into_lines());
        }
    }

    async fn read_again(
        &self,
        request: &WriteRequest<'_>,
        body: &[u8],
        spare: &mut Spare,
        sink: &mut impl Sink,
    ) {
        let mut parser = Parser::new(request.options(), std::mem::take(&mut spare.scratch));
        while parser.step(body, sink, SLICE_BYTES) == Step::More {
            self.backend.give_way().await;
        }
        spare.scratch = parser.into_errors().1;
    }

    fn policy(
        &self,
        request: &WriteRequest<'_>,
    ) -> Result<Arc<crate::meta::RetentionPolicyInfo>, WriteError> {
        let catalogue = self.backend.catalogue();
        let database = catalogue
            .database(request.database)
            .ok_or_else(|| WriteError::DatabaseNotFound(request.database.to_owned()))?;
        let name = match request.retention_policy {
            "" => &database.default_retention_policy,
            name => name,
        };
        let policy = database.retention_policy(name);
        Ok(policy.ok_or_else(|| WriteError::RetentionPolicyNotFound(name.to_owned()))?.clone())
    }

    /// Makes the group the router paused for.
    async fn make_group(&self, request: &WriteRequest<'_>, router: &mut Router) -> Result<(), WriteError> {
        let Some(timestamp) = router.missing() else { return Ok(()) };
        let policy = self.policy(request)?;
        if policy.group_at(timestamp).is_none() {
            self.backend.create_shard_group(request.database, &policy.name, timestamp).await?;
        }
        let policy = self.policy(request)?;
        if policy.group_at(timestamp).is_none_or(|group| group.shards.is_empty()) {
            return Err(WriteError::Failed(format!("no shard group for timestamp {timestamp}")));
        }
        router.renew(policy);
        Ok(())
    }

    /// Sends what the router holds to its owners and waits for all of them.
    async fn send(&self, router: &mut Router) -> Result<(), WriteError> {
        let (version, node) = self.backend.version();
        let mut by_core: Vec<(usize, Vec<ShardWrite>, Vec<RoutedLines>)> = Vec::new();
        for routed in router.take(version, node) {
            let core = self.backend.core_of(routed.write.group, routed.position, routed.shards);
            let (write, lines) = routed.split();
            match by_core.iter_mut().find(|(known, ..)| *known == core) {
                Some((_, writes, all)) => {
                    writes.push(write);
                    all.push(lines);
                }
                None => by_core.push((core, vec![write], vec![lines])),
            }
        }
        let mut calls = Vec::with_capacity(by_core.len());
        let mut lines = Vec::with_capacity(by_core.len());
        for (core, writes, of_core) in by_core {
            calls.push(self.backend.write(core, writes));
            lines.push(of_core);
        }
        let mut failed = None;
        for (result, lines) in all(calls).await.into_iter().zip(&lines) {
            match result {
                Ok(outcomes) => lines
                    .iter()
                    .zip(&outcomes)
                    .for_each(|(lines, outcome)| router.note_outcome(lines, outcome)),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// What the client is told: drops before bad lines, as InfluxDB does.
fn answer(taken: u64, drops: &Drops, errors: Option<String>) -> Result<Written, WriteError> {
    if let Some(reason) = drops.reason() {
        let reason = reason.to_owned();
        let written = taken.saturating_sub(drops.count);
        return Err(WriteError::Partial { reason, dropped: drops.count, written });
    }
    match errors {
        Some(errors) if taken == 0 => Err(WriteError::Unparsable(errors)),
        Some(reason) => Err(WriteError::Partial { reason, dropped: 0, written: taken }),
        None => Ok(Written { points: taken }),
    }
}

/// Runs all futures at once; their values in order.
async fn all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut running: Vec<Pin<Box<F>>> = futures.into_iter().map(Box::pin).collect();
    let mut values: Vec<Option<F::Output>> = running.iter().map(|_| None).collect();
    std::future::poll_fn(move |cx| {
        let mut is_done = true;
        for (future, value) in running.iter_mut().zip(&mut values) {
            if value.is_none() {
                match future.as_mut().poll(cx) {
                    Poll::Ready(ready) => *value = Some(ready),
                    Poll::Pending => is_done = false,
                }
            }
        }
        if is_done {
            Poll::Ready(values.iter_mut().filter_map(Option::take).collect())
        } else {
            Poll::Pending
        }
    })
    .await
}
