//! One loop per CPU, and the handle by which the rest of the server asks any core.
//!
//! A core owns its shards, its WAL, its connections. Whoever wants something of it sends a [`CoreRequest`] and awaits the
//! [`CoreReply`]; the own core is called directly. Between two cores:
//!
//! * Bytes are taken from the pair's credits before a request is sent, and given back with the reply, whose room they
//!   include: a mailbox is bounded and a reply never waits.
//! * Whoever drains a mailbox starts a task per request and never waits for another core itself.
//! * A scan is a stream of its own; dropping it ends the work on the other core at its next step. So does dropping a
//!   question; what changes anything runs to its end.

mod calls;
pub mod counters;
mod given_up;
pub mod main_loop;
pub mod placement;
pub mod request;
mod scans;
mod together;

use std::cell::{Cell, OnceCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use futures_lite::future::poll_once;
use tidemark_engine::index::fields::FieldDefinition;
use tidemark_engine::model::{ShardGroupId, ShardId};
use tidemark_engine::scan::request::{CatalogReply, CatalogRequest, ScanChunk, ScanRequest, ShardRef};
use tidemark_engine::stats::ShardsStats;
use tidemark_engine::store::{ShardWrite, WriteOutcome};
use tidemark_engine::{Error, Result};
use tidemark_net::pool::Pool;
use tidemark_net::socket::uring::Accepted;

use calls::Answered;
pub use counters::{CoreStats, CounterValues, Counters};
use given_up::GivenUp;
pub use request::{
    CoreReply, CoreRequest, KillOutcome, LateMark, LateWatch, QueryInfo, SenderCount, TaggedStats,
};
pub use scans::ScanStream;
pub use together::together;

use crate::meta::{Command, Data, MetaError, Outcome, ShardGroupInfo, View};
use crate::runtime::{Gauges, LocalFuture, Runtime};

/// Bytes one core may have in flight to another: a few of the largest usual batches. More only moves the queue.
const PAIR_BYTES_MAX: u64 = 32 << 20;

/// Bytes of chunks that travel together: waking another core costs as much as copying this.
const SCAN_PIECE_BYTES: u64 = 64 << 10;

/// What travels between cores.
enum Letter {
    Call {
        request: CoreRequest,
        reply: flume::Sender<CoreReply>,
        /// Of a question; as a scan's.
        cancel: Option<flume::Receiver<()>>,
    },
    Scan {
        request: ScanRequest,
        /// Whether the query has worked for long already.
        is_long: bool,
        pieces: flume::Sender<Result<ScanPiece>>,
        /// A word, or its end: the answer is wanted no more.
        cancel: flume::Receiver<()>,
    },
    /// A connection this core is to serve.
    Connection(Accepted),
}

/// Chunks of a scan that travel together.
struct ScanPiece {
    chunks: Vec<ScanChunk>,
    is_last: bool,
    /// The most memory the scan held so far.
    peak_bytes: u64,
}

/// What a core does with what it is asked; implemented by the main loop.
trait Local {
    fn serve(&self, request: CoreRequest) -> LocalFuture<CoreReply>;
    fn scan(&self, request: ScanRequest) -> LocalFuture<Result<Box<dyn LocalScan>>>;
    /// A scan that sends its pieces until it ends or `cancel` says so, or closes.
    fn send_scan(
        &self,
        request: ScanRequest,
        pieces: flume::Sender<Result<ScanPiece>>,
        cancel: flume::Receiver<()>,
    ) -> LocalFuture<()>;
}

/// A scan on its own core.
trait LocalScan {
    fn peak_bytes(&self) -> u64;
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Option<ScanChunk>>> + '_>>;
}

/// One core's way to all cores; cheap to clone, never leaves its core.
#[derive(Clone)]
pub struct Cores(Rc<Inner>);

struct Inner {
    this: usize,
    mailboxes: Vec<flume::Sender<Letter>>,
    /// Per core, what may still be sent to it.
    credits: Vec<Pool>,
    local: OnceCell<Rc<dyn Local>>,
    runtime: Runtime,
    view: View,
    counters: Counters,
    /// Connections per core.
    connections: Gauges,
    quiet_connections: Gauges,
    /// Changes of what the catalogue would say, per core.
    schema_changes: Gauges,
    /// Queries running per core.
    queries: Gauges,
    given_up: GivenUp,
    write_timeout: Duration,
    last_version: Cell<u64>,
    node: u64,
}

/// The ends of all mailboxes, made before the cores start.
pub struct Mesh {
    senders: Vec<flume::Sender<Letter>>,
    receivers: Vec<flume::Receiver<Letter>>,
    connections: Gauges,
    quiet_connections: Gauges,
    schema_changes: Gauges,
    queries: Gauges,
}

/// One core's part of the [`Mesh`].
pub struct MeshEnd {
    core: usize,
    senders: Vec<flume::Sender<Letter>>,
    receiver: flume::Receiver<Letter>,
    connections: Gauges,
    quiet_connections: Gauges,
    schema_changes: Gauges,
    queries: Gauges,
}

impl MeshEnd {
    /// The number of this core.
    pub fn core(&self) -> usize {
        self.core
    }

    /// How many cores there are.
    pub fn cores(&self) -> usize {
        self.senders.len()
    }
}

impl Mesh {
    pub fn new(cores: usize) -> Self {
        // Bounded by the credits of each pair, in bytes.
        let (senders, receivers) = (0..cores).map(|_| flume::unbounded()).unzip();
        Self {
            senders,
            receivers,
            connections: Gauges::new(cores),
            quiet_connections: Gauges::new(cores),
            schema_changes: Gauges::new(cores),
            queries: Gauges::new(cores),
        }
    }

    /// The part of each core, in order.
    pub fn into_ends(self) -> Vec<MeshEnd> {
        let Self { senders, receivers, connections, quiet_connections, schema_changes, queries } = self;
        let ends = receivers.into_iter().enumerate().map(|(core, receiver)| MeshEnd {
            core,
            senders: senders.clone(),
            receiver,
            connections: connections.clone(),
            quiet_connections: quiet_connections.clone(),
            schema_changes: schema_changes.clone(),
            queries: queries.clone(),
        });
        ends.collect()
    }
}

impl Cores {
    fn new(end: &MeshEnd, runtime: Runtime, view: View, node: u64, write_timeout: Duration) -> Self {
        Self(Rc::new(Inner {
            this: end.core,
            mailboxes: end.senders.clone(),
            credits: end.senders.iter().map(|_| Pool::new(PAIR_BYTES_MAX)).collect(),
            local: OnceCell::new(),
            runtime,
            view,
            counters: Counters::default(),
            connections: end.connections.clone(),
            quiet_connections: end.quiet_connections.clone(),
            schema_changes: end.schema_changes.clone(),
            queries: end.queries.clone(),
            given_up: GivenUp::default(),
            write_timeout,
            last_version: Cell::new(0),
            node,
        }))
    }

    pub fn count(&self) -> usize {
        self.0.mailboxes.len()
    }

    /// The number of this core.
    pub fn this(&self) -> usize {
        self.0.this
    }

    pub fn runtime(&self) -> &Runtime {
        &self.0.runtime
    }

    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    pub fn connections(&self) -> &Gauges {
        &self.0.connections
    }

    /// Those of them that ask nothing at the moment, as each core last saw.
    pub fn quiet_connections(&self) -> &Gauges {
        &self.0.quiet_connections
    }

    /// A number that grows with every change of series, fields or tag keys on any core that was acknowledged.
    pub fn schema_changes(&self) -> u64 {
        self.0.schema_changes.sum()
    }

    /// Queries running on each core.
    pub fn query_counts(&self) -> &Gauges {
        &self.0.queries
    }

    /// This core's copy of the catalogue.
    pub fn view(&self) -> &View {
        &self.0.view
    }

    /// This node's id.
    pub fn node(&self) -> u64 {
        self.0.node
    }

    /// The version of a batch made now: the clock, but always greater than the last.
    pub fn version(&self) -> u64 {
        let version = (self.0.runtime.wall_ns() as u64).max(self.0.last_version.get() + 1);
        self.0.last_version.set(version);
        version
    }

    /// The core that owns the shard at `position` of the `shards` of a group.
    pub fn core_of(&self, group: ShardGroupId, position: usize, shards: usize) -> usize {
        placement::core_of(group, position, shards, self.count())
    }

    /// As [`core_of`](Self::core_of), by id.
    pub fn core_of_shard(&self, group: &ShardGroupInfo, shard: ShardId) -> Option<usize> {
        let position = group.shards.iter().position(|info| info.id == shard)?;
        Some(self.core_of(group.id, position, group.shards.len()))
    }

    /// Asks a core. `Error::Full`: its mailbox had no room for as long as a write may take.
    pub async fn call(&self, core: usize, request: CoreRequest) -> Result<CoreReply> {
        let inner = &*self.0;
        if core == inner.this {
            return Ok(inner.local.get().ok_or(Error::Closed)?.serve(request).await);
        }
        counters::add(&inner.counters.mailbox_requests, 1);
        let bytes = request.bytes().min(PAIR_BYTES_MAX);
        let credit = match inner.credits[core].try_reserve(bytes) {
            Ok(credit) => credit,
            Err(_) => {
                let waited =
                    inner.runtime.timeout(inner.write_timeout, inner.credits[core].reserve(bytes)).await;
                match waited {
                    Some(Ok(credit)) => credit,
                    _ => {
                        counters::add(&inner.counters.mailbox_full, 1);
                        return Err(Error::Full { what: "mailbox of a core" });
                    }
                }
            }
        };
        let (letter, answered) = Answered::to(request, credit, &inner.given_up, &inner.runtime);
        inner.mailboxes[core].send(letter).map_err(|_| Error::Closed)?;
        answered.wait().await
    }

    /// Writes batches whose shards are owned by `core`; durable when it answers.
    pub async fn write(&self, core: usize, writes: Vec<ShardWrite>) -> Result<Vec<WriteOutcome>> {
        match self.call(core, CoreRequest::Write { writes }).await? {
            CoreReply::Written(outcomes) => outcomes,
            _ => Err(mismatch()),
        }
    }

    /// The types that hold for fields of a group, decided by its registrar.
    pub async fn register_fields(
        &self,
        group: ShardGroupId,
        asked: Vec<FieldDefinition>,
    ) -> Result<Vec<FieldDefinition>> {
        let core = placement::registrar_of(group, self.count());
        match self.call(core, CoreRequest::RegisterFields { group, asked }).await? {
            CoreReply::Fields(fields) => fields,
            _ => Err(mismatch()),
        }
    }

    pub async fn catalog(&self, core: usize, request: CatalogRequest) -> Result<CatalogReply> {
        match self.call(core, CoreRequest::Catalog(request)).await? {
            CoreReply::Catalog(reply) => reply,
            _ => Err(mismatch()),
        }
    }

    /// A request that is answered by "done".
    pub async fn ask(&self, core: usize, request: CoreRequest) -> Result<()> {
        match self.call(core, request).await? {
            CoreReply::Done(done) => done,
            _ => Err(mismatch()),
        }
    }

    pub async fn stats(&self, core: usize) -> Result<CoreStats> {
        match self.call(core, CoreRequest::Stats).await? {
            CoreReply::Stats(stats) => Ok(*stats),
            _ => Err(mismatch()),
        }
    }

    /// The queries that run on a core.
    pub async fn queries(&self, core: usize) -> Result<Vec<QueryInfo>> {
        match self.call(core, CoreRequest::Queries).await? {
            CoreReply::Queries(queries) => Ok(queries),
            _ => Err(mismatch()),
        }
    }

    pub async fn kill_query(&self, core: usize, id: u64) -> Result<KillOutcome> {
        match self.call(core, CoreRequest::KillQuery { id }).await? {
            CoreReply::Killed(outcome) => Ok(outcome),
            _ => Err(mismatch()),
        }
    }

    /// Gives a core newer watches for late points; what was noted for its former ones.
    pub async fn exchange_late(&self, core: usize, watches: Vec<LateWatch>) -> Result<Vec<LateMark>> {
        match self.call(core, CoreRequest::ExchangeLate(watches)).await? {
            CoreReply::Late(marks) => Ok(marks),
            _ => Err(mismatch()),
        }
    }

    /// Has continuous queries run as if it were `time`; empty names are all.
    pub async fn run_continuous_queries(
        &self,
        database: String,
        name: String,
        time: i64,
    ) -> Result<Result<(), String>> {
        match self.call(0, CoreRequest::RunContinuousQueries { database, name, time }).await? {
            CoreReply::Ran(ran) => Ok(ran),
            _ => Err(mismatch()),
        }
    }

    /// Begins or ends counting requests by sender on a core; the counts so far.
    pub async fn count_senders(&self, core: usize, begin: bool) -> Result<Vec<SenderCount>> {
        match self.call(core, CoreRequest::CountSenders(begin)).await? {
            CoreReply::Senders(counts) => Ok(counts),
            _ => Err(mismatch()),
        }
    }

    /// A core's numbers that have tags.
    pub async fn tagged_stats(&self, core: usize) -> Result<Vec<TaggedStats>> {
        match self.call(core, CoreRequest::TaggedStats).await? {
            CoreReply::Tagged(stats) => Ok(stats),
            _ => Err(mismatch()),
        }
    }

    /// What these shards of a core hold.
    pub async fn shard_stats(&self, core: usize, shards: Vec<ShardRef>) -> Result<ShardsStats> {
        match self.call(core, CoreRequest::ShardStats(shards)).await? {
            CoreReply::Shards(stats) => stats,
            _ => Err(mismatch()),
        }
    }

    /// Has the catalogue changed. When it answers, every core of this node has the new state.
    pub async fn propose(&self, command: Command) -> Result<Outcome, MetaError> {
        match self.call(0, CoreRequest::Propose(command)).await {
            Ok(CoreReply::Proposed(outcome)) => outcome,
            Ok(_) => Err(MetaError::Unavailable(mismatch().to_string())),
            Err(error) => Err(MetaError::Unavailable(error.to_string())),
        }
    }

    /// Starts scans of several cores' shards, which then run side by side. One of this core alone is pulled.
    pub async fn scan(&self, requests: Vec<(usize, ScanRequest)>) -> Result<Vec<ScanStream>> {
        let inner = &*self.0;
        let local = inner.local.get().ok_or(Error::Closed)?;
        let is_alone = requests.len() == 1;
        let is_long = inner.runtime.is_long_query();
        let (mut streams, mut own) = (Vec::with_capacity(requests.len()), None);
        for (core, request) in requests {
            if core == inner.this && is_alone {
                return Ok(vec![ScanStream::pulled(local.scan(request).await?)]);
            }
            let (stream, pieces, cancel) = ScanStream::sent(&inner.given_up, &inner.runtime);
            if core == inner.this {
                own = Some(local.send_scan(request, pieces, cancel));
            } else {
                counters::add(&inner.counters.scans_elsewhere, 1);
                let letter = Letter::Scan { request, is_long, pieces, cancel };
                inner.mailboxes[core].send(letter).map_err(|_| Error::Closed)?;
            }
            streams.push(stream);
        }
        // While the others wake up. What is left of it is a task that a core which looks for their answers would hold up.
        if let Some(mut own) = own
            && (!inner.runtime.is_calm() || poll_once(&mut own).await.is_none())
        {
            inner.runtime.spawn_query(is_long, own);
        } else {
            streams.iter_mut().for_each(ScanStream::expect_soon);
        }
        Ok(streams)
    }

    /// Waits until the scans and questions this core gave up have given their memory back.
    pub async fn given_up_are_over(&self) {
        self.0.given_up.are_over().await;
    }

    /// Hands a connection over. The counts of both cores are the caller's task.
    pub fn hand_over(&self, core: usize, connection: Accepted) {
        // A core whose mailbox is gone is stopping, and so are we: the connection closes.
        let _ = self.0.mailboxes[core].send(Letter::Connection(connection));
    }

    /// Where each live shard is on this node.
    pub fn placements(&self, data: &Data) -> hashbrown::HashMap<ShardId, usize> {
        let mut placements = hashbrown::HashMap::new();
        for database in &data.databases {
            for policy in &database.retention_policies {
                for group in policy.live_groups() {
                    for (position, shard) in group.shards.iter().enumerate() {
                        let core = self.core_of(group.id, position, group.shards.len());
                        placements.insert(shard.id, core);
                    }
                }
            }
        }
        placements
    }
}

fn mismatch() -> Error {
    Error::Invalid("BUG: a core answered another question".to_owned())
}
