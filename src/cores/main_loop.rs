//! A core's life: open the store, hand over what a former core left, serve, work in the background, stop.
//!
//! 1. Core 0 opens the catalogue and gives its state to all.
//! 2. Every core opens its store; entries of its WALs that belong to other cores go to them; what is left of dropped
//!    shards is removed. Nobody serves before all have done so ([`Checkpoint`]).
//! 3. The mailbox is drained by a task that starts one task per request, in the queue of its kind.
//! 4. Background steps follow one another in their own queue, which gets what the others leave.
//! 5. The end: nothing new is taken, what was acknowledged is durable already, caches are written to files.
//!
//! The only place that touches a [`Store`].

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidemark_engine::disk::Disk;
use tidemark_engine::journal::{Damage, Progress, ReplayReport};
use tidemark_engine::model::{ShardGroupId, ShardId};
use tidemark_engine::pool::PoolLimits;
use tidemark_engine::scan::Scan;
use tidemark_engine::scan::request::{CatalogRequest, ScanChunk, ScanRequest, ShardRef};
use tidemark_engine::store::{
    ForeignEntry, LiveShards, Placement, ReplayedWal, ShardWrite, Step, Store, StoreOptions, WriteOutcome,
};
use tidemark_engine::{Error, Result};
use tidemark_net::socket::uring::Accepted;

use super::calls::answer;
use super::given_up::until_given_up;
use super::placement::registrar_of;
use super::request::{KillOutcome, LateMark, LateWatch, QueryInfo, SenderCount, TaggedStats};
use super::{
    CoreReply, CoreRequest, CoreStats, Cores, Letter, Local, LocalScan, MeshEnd, SCAN_PIECE_BYTES, ScanPiece,
    together,
};
use crate::meta::{Command, Data, MetaError, Outcome, View};
use crate::runtime::{Gauges, LocalFuture, Priority, Runtime};

/// Bytes of a merge between two looks at the other queues.
const BACKGROUND_STEP_BYTES: u64 = 256 << 10;

/// Fields of a write whose types are asked for at once: about half a millisecond of work.
const FIELDS_ASKED_AT_ONCE: usize = 1_024;

/// After a background step that failed: the disk may recover, the log must not fill.
const BACKGROUND_RETRY: Duration = Duration::from_secs(5);

/// What a core is made of; travels to its thread.
pub struct CoreSetup {
    pub end: MeshEnd,
    pub node: u64,
    pub write_timeout: Duration,
    pub store: StoreSetup,
    /// Core 0 sends the first catalogue here, to every core.
    pub catalogue: CatalogueExchange,
    pub checkpoint: Checkpoint,
    pub replayed: ReplayGauges,
}

/// How far the reading of the WALs is, in bytes per core; the control thread shows it.
#[derive(Clone)]
pub struct ReplayGauges {
    pub read: Gauges,
    pub total: Gauges,
}

impl ReplayGauges {
    pub fn new(cores: usize) -> Self {
        Self { read: Gauges::new(cores), total: Gauges::new(cores) }
    }

    /// What one core's store calls while it reads.
    fn of_core(self, core: usize) -> impl Fn(u64, Progress) {
        let told = RefCell::new(hashbrown::HashMap::<u64, (u64, u64)>::new());
        move |wal_id, progress| {
            let mut told = told.borrow_mut();
            let (read, total) = told.entry(wal_id).or_default();
            self.read.add(core, progress.bytes_read as i64 - *read as i64);
            self.total.add(core, progress.bytes_total as i64 - *total as i64);
            (*read, *total) = (progress.bytes_read, progress.bytes_total);
        }
    }
}

/// Where the first catalogue comes from.
pub struct CatalogueExchange {
    pub senders: Vec<flume::Sender<Arc<Data>>>,
    pub receiver: flume::Receiver<Arc<Data>>,
}

/// The options of a store that do not depend on the catalogue.
#[derive(Debug, Clone)]
pub struct StoreSetup {
    /// The WAL this core writes.
    pub wal_id: u64,
    /// The WALs it reads at start.
    pub wal_ids_replayed: Vec<u64>,
    /// Its share of the process's memory.
    pub bytes: u64,
    /// Its caches may not take more, whatever its share is.
    pub cache_bytes_max: u64,
    pub cache_snapshot_bytes: u64,
    pub cache_cold_ns: u64,
    pub full_cold_ns: u64,
    pub wal_segment_bytes: u64,
    pub wal_bytes_max: u64,
    pub cold_codec: bool,
    pub scrub_interval_ns: u64,
}

/// Where all cores wait for the slowest.
pub struct Checkpoint {
    arrived: flume::Sender<Result<usize, String>>,
    go: flume::Receiver<()>,
}

/// The control thread's side of [`Checkpoint`].
pub struct Gate {
    arrivals: flume::Receiver<Result<usize, String>>,
    go: Vec<flume::Sender<()>>,
}

/// A gate for `cores` cores, and the checkpoint of each.
pub fn checkpoints(cores: usize) -> (Gate, Vec<Checkpoint>) {
    let (arrived, arrivals) = flume::unbounded();
    let (go, waiting): (Vec<_>, Vec<_>) = (0..cores).map(|_| flume::unbounded()).unzip();
    let checkpoints = waiting.into_iter().map(|go| Checkpoint { arrived: arrived.clone(), go }).collect();
    (Gate { arrivals, go }, checkpoints)
}

impl Gate {
    /// Waits until every core has arrived and lets them go on. The error is that of a core that will not.
    pub async fn open_once(&self) -> Result<(), String> {
        for _ in &self.go {
            self.arrivals.recv_async().await.map_err(|_| "a core ended early".to_owned())??;
        }
        for go in &self.go {
            go.send(()).map_err(|_| "a core ended early".to_owned())?;
        }
        Ok(())
    }
}

impl Checkpoint {
    /// Waits for all others. Fails when one of them is gone.
    pub async fn pass(&self, core: usize) -> Result<()> {
        self.arrived.send(Ok(core)).map_err(|_| Error::Closed)?;
        self.go.recv_async().await.map_err(|_| Error::Closed)
    }

    /// Tells the control thread that this core will not arrive.
    pub fn failed(&self) -> impl FnOnce(&str) + use<> {
        let arrived = self.arrived.clone();
        move |error| {
            let _ = arrived.send(Err(error.to_owned()));
        }
    }
}

/// Decides commands and makes them durable; lives on core 0.
pub trait Decider: 'static {
    /// The state after the command, and its answer.
    fn decide(&self, command: Command) -> LocalFuture<Result<(Outcome, Arc<Data>), MetaError>>;
    /// Why nothing can be decided any more, if so.
    fn refusal(&self) -> Option<Error>;
}

/// What other cores may ask of the floors above this one.
pub trait Upstairs: 'static {
    /// Fills in what those floors count.
    fn count(&self, stats: &mut CoreStats);
    /// The queries that run on this core.
    fn queries(&self) -> Vec<QueryInfo>;
    fn kill_query(&self, id: u64) -> KillOutcome;
    /// This core has a newer catalogue.
    fn catalogue_changed(&self);
    fn exchange_late(&self, watches: Vec<LateWatch>) -> Vec<LateMark>;
    /// Resolves when they have run; the error is for whoever asked.
    fn run_continuous_queries(
        &self,
        database: String,
        name: String,
        time: i64,
    ) -> LocalFuture<Result<(), String>>;
    fn count_senders(&self, begin: bool) -> Vec<SenderCount>;
    fn tagged_stats(&self) -> Vec<TaggedStats>;
}

/// A core that has opened its store.
pub struct Core<D: Disk> {
    pub cores: Cores,
    store: Store<D>,
    runtime: Runtime,
    /// Connections other cores hand over.
    pub connections: flume::Receiver<Accepted>,
    pub checkpoint: Checkpoint,
    commit_ended: flume::Receiver<()>,
}

/// Steps 1 and 2. `decider` is given on core 0 alone, with the state it starts from.
pub async fn open<D: Disk>(
    runtime: Runtime,
    disk: D,
    setup: CoreSetup,
    decider: Option<(Rc<dyn Decider>, Arc<Data>)>,
    upstairs: Rc<dyn Upstairs>,
) -> Result<Core<D>> {
    let CoreSetup { end, node, write_timeout, store: store_setup, catalogue, checkpoint, replayed } = setup;
    if let Some((_, data)) = &decider {
        for sender in &catalogue.senders {
            let _ = sender.send(Arc::clone(data));
        }
    }
    let data = catalogue.receiver.recv_async().await.map_err(|_| Error::Closed)?;
    let view = View::new(Arc::clone(&data));
    let cores = Cores::new(&end, runtime.clone(), view, node, write_timeout);
    let mut options = store_options(&cores, &data, store_setup);
    options.on_replay = Rc::new(replayed.of_core(end.core));
    let (store, foreign) = Store::open(disk, options).await?;
    log_replays(&store);
    log_field_damages(&store);

    let (commit_end, commit_ended) = flume::bounded(1);
    let committing = store.clone();
    runtime.spawn(Priority::Ingest, async move {
        committing.commit_loop().await;
        let _ = commit_end.send(());
    });
    let server = Rc::new(Server {
        store: store.clone(),
        cores: cores.clone(),
        decider: decider.map(|(decider, _)| decider),
        upstairs,
    });
    assert!(cores.0.local.set(Rc::new(Rc::clone(&server))).is_ok(), "BUG: a core opened twice");
    let (handed, connections) = flume::unbounded();
    runtime.spawn(Priority::Control, drain(end.receiver, server, runtime.clone(), handed));

    // Everybody drains: what was left by former cores can be delivered.
    checkpoint.pass(end.core).await?;
    deliver_foreign(&cores, &store, foreign).await?;
    sweep(&store, &data).await?;
    checkpoint.pass(end.core).await?;

    runtime.spawn(Priority::Background, background(store.clone(), runtime.clone()));
    runtime.spawn(Priority::Control, spread_refusal(store.clone(), cores.clone()));
    Ok(Core { cores, store, runtime, connections, checkpoint, commit_ended })
}

impl<D: Disk> Core<D> {
    /// Memory of this core for queries.
    pub fn query_bytes(&self) -> u64 {
        self.store.pools().query.max()
    }

    /// Step 5. Everything that writes has ended before.
    pub async fn close(self, time_max: Duration) -> Result<()> {
        let closed = self.runtime.timeout(time_max, self.store.close(true)).await;
        let _ = self.runtime.timeout(time_max, self.commit_ended.recv_async()).await;
        // Not finished in time is no loss: a start replays.
        closed.unwrap_or(Ok(()))
    }
}

fn store_options(cores: &Cores, data: &Data, setup: StoreSetup) -> StoreOptions {
    let placements = cores.placements(data);
    let (this, count) = (cores.this(), cores.count());
    let shards = data
        .live_shards()
        .filter(|(_, _, _, shard)| placements.get(&shard.id) == Some(&this))
        .map(|(_, _, group, shard)| ShardRef { shard: shard.id, group: group.id })
        .collect();
    let mut pools = PoolLimits::split(setup.bytes);
    pools.write_bytes = pools.write_bytes.min(setup.cache_bytes_max);
    StoreOptions {
        pools,
        wal_ids_replayed: setup.wal_ids_replayed,
        shards,
        placement: Rc::new(move |shard| match placements.get(&shard.shard) {
            Some(core) if *core == this => Placement::Here,
            Some(_) => Placement::Elsewhere,
            None => Placement::Gone,
        }),
        is_registrar: Rc::new(move |group| registrar_of(group, count) == this),
        cache_snapshot_bytes: setup.cache_snapshot_bytes,
        cache_cold_ns: setup.cache_cold_ns,
        full_cold_ns: setup.full_cold_ns,
        wal_segment_bytes: setup.wal_segment_bytes,
        wal_bytes_max: setup.wal_bytes_max,
        cold_codec: setup.cold_codec,
        scrub_interval_ns: setup.scrub_interval_ns,
        ..StoreOptions::new(setup.wal_id, setup.bytes)
    }
}

async fn deliver_foreign<D: Disk>(cores: &Cores, store: &Store<D>, foreign: Vec<ForeignEntry>) -> Result<()> {
    if foreign.is_empty() {
        return Ok(());
    }
    let placements = cores.placements(&cores.view().current());
    let mut by_core: Vec<Vec<ForeignEntry>> = (0..cores.count()).map(|_| Vec::new()).collect();
    for entry in foreign {
        if let Some(&core) = placements.get(&entry.shard.shard) {
            by_core[core].push(entry);
        }
    }
    for (core, entries) in by_core.into_iter().enumerate() {
        if !entries.is_empty() {
            tracing::info!(core, entries = entries.len(), "handing over WAL entries of another core");
            cores.ask(core, CoreRequest::Adopt(entries)).await?;
        }
    }
    store.release_foreign().await
}

/// Removes what is left of shards that were dropped.
async fn sweep<D: Disk>(store: &Store<D>, data: &Data) -> Result<()> {
    if data.databases.is_empty() {
        if store.has_data().await? {
            tracing::error!(
                "there is data on the disk, but the catalogue knows no database: nothing is removed"
            );
        }
        return Ok(());
    }
    let mut live = LiveShards {
        last_group: ShardGroupId(data.last_shard_group_id),
        last_shard: ShardId(data.last_shard_id),
        ..LiveShards::default()
    };
    for (_, _, group, shard) in data.live_shards() {
        live.groups.entry(group.id).or_default().push(shard.id);
    }
    let swept = store.sweep(&live).await?;
    for folder in swept.removed {
        tracing::info!(folder, "removed what was left of a dropped shard");
    }
    for folder in swept.unknown {
        tracing::error!(
            folder,
            "the catalogue does not know this folder, it is left alone; is the catalogue older?"
        );
    }
    Ok(())
}

/// What the start found in the WALs. Damage is lost writes that were acknowledged: one line each.
fn log_replays<D: Disk>(store: &Store<D>) {
    for ReplayedWal { wal_id, report } in store.replays() {
        let ReplayReport { damages, damages_unlisted, torn, records, segments } = report;
        tracing::info!(wal_id, records, segments, "WAL read");
        if let Some((file, offset)) = torn {
            tracing::info!(
                file,
                offset,
                "the last record is cut: a write under way when the server stopped, not acknowledged"
            );
        }
        for Damage { file, offset, sequences, what } in damages {
            let lost = sequences.end.saturating_sub(sequences.start);
            tracing::error!(file, offset, what, lost, "WAL damaged");
        }
        if damages_unlisted > 0 {
            tracing::error!(wal_id, damages_unlisted, "WAL damaged in more places than are listed");
        }
    }
}

/// Field types that are lost: what they were may be decided otherwise now.
fn log_field_damages<D: Disk>(store: &Store<D>) {
    for Damage { file, offset, what, .. } in store.take_damages() {
        tracing::error!(file, offset, what, "journal of field types damaged: some types are forgotten");
    }
}

/// Step 3. Never waits for anything but the mailbox.
async fn drain<D: Disk>(
    mailbox: flume::Receiver<Letter>,
    server: Rc<Server<D>>,
    runtime: Runtime,
    connections: flume::Sender<Accepted>,
) {
    while let Ok(letter) = mailbox.recv_async().await {
        match letter {
            Letter::Call { request, reply, cancel } => {
                let server = Rc::clone(&server);
                runtime.spawn(request.priority(), async move {
                    answer(server.serve(request), reply, cancel).await;
                });
            }
            Letter::Scan { request, is_long, pieces, cancel } => {
                runtime.spawn_query(is_long, server.send_scan(request, pieces, cancel));
            }
            Letter::Connection(connection) => {
                let _ = connections.send(connection);
            }
        }
    }
}

/// A merge that takes longer tells how far it is, this often.
const MERGE_TOLD_EVERY_NS: u64 = 10_000_000_000;

/// Says now and then how far a long merge is.
#[derive(Default)]
struct MergeWatch {
    shard: Option<ShardId>,
    told_ns: u64,
}

impl MergeWatch {
    fn look<D: Disk>(&mut self, store: &Store<D>, now_ns: u64) {
        let progress = store.merge_progress();
        let shard = progress.map(|(shard, ..)| shard);
        if shard != self.shard {
            *self = Self { shard, told_ns: now_ns };
        } else if let Some((shard, read, total)) = progress
            && now_ns >= self.told_ns + MERGE_TOLD_EVERY_NS
        {
            self.told_ns = now_ns;
            let percent = read * 100 / total.max(1);
            tracing::info!(shard = shard.0, percent, bytes_read = read, bytes_total = total, "compacting");
        }
    }
}

/// Step 4.
async fn background<D: Disk>(store: Store<D>, runtime: Runtime) {
    let mut watch = MergeWatch::default();
    loop {
        log_field_damages(&store);
        while let Some(error) = store.take_scrub_damage() {
            tracing::error!(%error, "reading the files again: damage");
        }
        let now_ns = runtime.monotonic_ns();
        match store.background_step(now_ns, BACKGROUND_STEP_BYTES).await {
            Ok(Step::More) => {
                watch.look(&store, now_ns);
                futures_lite::future::yield_now().await;
            }
            Ok(Step::IdleUntil(until_ns)) => {
                let wait = Duration::from_nanos(until_ns.saturating_sub(runtime.monotonic_ns()));
                futures_lite::future::or(store.background_wanted(), runtime.sleep(wait)).await;
            }
            Err(Error::Closed) => return,
            Err(error) => {
                tracing::error!(%error, "background work failed");
                runtime.sleep(BACKGROUND_RETRY).await;
            }
        }
    }
}

/// A disk that has failed one core is trusted by none: what one writes may be what another needs.
async fn spread_refusal<D: Disk>(store: Store<D>, cores: Cores) {
    let reason = store.refused().await;
    tracing::error!(%reason, core = cores.this(), "no more writes are taken, reads go on; restart to write again");
    let told = (0..cores.count()).filter(|&core| core != cores.this()).map(|core| {
        let (cores, reason) = (cores.clone(), reason.clone());
        async move { cores.ask(core, CoreRequest::Refuse(reason)).await }
    });
    // A core that is gone ends the process.
    let _ = together(told.collect()).await;
}

/// Answers what a core is asked.
struct Server<D: Disk> {
    store: Store<D>,
    cores: Cores,
    decider: Option<Rc<dyn Decider>>,
    upstairs: Rc<dyn Upstairs>,
}

impl<D: Disk> Local for Rc<Server<D>> {
    fn serve(&self, request: CoreRequest) -> LocalFuture<CoreReply> {
        let server = Rc::clone(self);
        Box::pin(async move { server.answer(request).await })
    }

    fn scan(&self, request: ScanRequest) -> LocalFuture<Result<Box<dyn LocalScan>>> {
        let server = Rc::clone(self);
        Box::pin(async move { server.open_scan(request).await })
    }

    fn send_scan(
        &self,
        request: ScanRequest,
        pieces: flume::Sender<Result<ScanPiece>>,
        cancel: flume::Receiver<()>,
    ) -> LocalFuture<()> {
        let server = Rc::clone(self);
        Box::pin(async move {
            // Ends as soon as the asker has dropped its stream.
            until_given_up(server.send_pieces(request, pieces), cancel).await;
        })
    }
}

impl<D: Disk> Server<D> {
    async fn serve(self: &Rc<Self>, request: CoreRequest) -> CoreReply {
        self.answer(request).await
    }

    async fn answer(&self, request: CoreRequest) -> CoreReply {
        let reply = self.reply_to(request).await;
        // Whoever sees the reply sees the number too.
        self.cores.0.schema_changes.set(self.cores.this(), self.store.schema_changes());
        reply
    }

    async fn reply_to(&self, request: CoreRequest) -> CoreReply {
        match request {
            CoreRequest::Write { writes } => CoreReply::Written(self.write(writes).await),
            CoreRequest::RegisterFields { group, asked } => {
                CoreReply::Fields(self.store.register_fields(group, asked).await)
            }
            CoreRequest::Delete(request) => CoreReply::Done(self.store.delete(request, self.now_ns()).await),
            CoreRequest::DropShards(shards) => CoreReply::Done(self.drop_shards(shards).await),
            CoreRequest::ForgetMeasurement { group, measurement } => {
                CoreReply::Done(self.store.forget_measurement(group, &measurement).await)
            }
            CoreRequest::Catalog(request) => CoreReply::Catalog(self.catalog(request).await),
            CoreRequest::Propose(command) => CoreReply::Proposed(self.propose(command).await),
            CoreRequest::Install(data) => {
                self.cores.view().install(data);
                self.upstairs.catalogue_changed();
                CoreReply::Done(Ok(()))
            }
            CoreRequest::Refuse(reason) => {
                self.store.refuse(&reason);
                CoreReply::Done(Ok(()))
            }
            CoreRequest::Adopt(entries) => CoreReply::Done(self.store.adopt(entries).await),
            CoreRequest::Stats => CoreReply::Stats(Box::new(self.stats())),
            CoreRequest::CheckWritable => CoreReply::Done(self.store.check_writable().await),
            CoreRequest::Queries => CoreReply::Queries(self.upstairs.queries()),
            CoreRequest::KillQuery { id } => CoreReply::Killed(self.upstairs.kill_query(id)),
            CoreRequest::ExchangeLate(watches) => CoreReply::Late(self.upstairs.exchange_late(watches)),
            CoreRequest::RunContinuousQueries { database, name, time } => {
                CoreReply::Ran(self.upstairs.run_continuous_queries(database, name, time).await)
            }
            CoreRequest::CountSenders(begin) => CoreReply::Senders(self.upstairs.count_senders(begin)),
            CoreRequest::TaggedStats => CoreReply::Tagged(self.upstairs.tagged_stats()),
            CoreRequest::ShardStats(shards) => CoreReply::Shards(self.store.shard_stats(&shards).await),
        }
    }

    fn now_ns(&self) -> u64 {
        self.cores.runtime().monotonic_ns()
    }

    async fn write(&self, writes: Vec<ShardWrite>) -> Result<Vec<WriteOutcome>> {
        for write in &writes {
            let unknown = self.store.unknown_fields(write.group, &write.batch);
            for asked in unknown.chunks(FIELDS_ASKED_AT_ONCE) {
                let known = self.cores.register_fields(write.group, asked.to_vec()).await?;
                self.store.learn_fields(write.group, &known);
            }
        }
        // A full pool has as long as a write may take to get room by snapshots; then the store itself refuses.
        self.cores.runtime().timeout(self.cores.0.write_timeout, self.store.write_room()).await;
        self.store.write(writes, self.now_ns()).await
    }

    async fn drop_shards(&self, shards: Vec<ShardRef>) -> Result<()> {
        for shard in shards {
            self.store.drop_shard(shard).await?;
        }
        Ok(())
    }

    /// Decides, and answers once every core has the new state. Shards that are gone with it are removed meanwhile.
    async fn propose(&self, command: Command) -> Result<Outcome, MetaError> {
        let unavailable = |error: Error| MetaError::Unavailable(error.to_string());
        let decider = self.decider.as_ref().ok_or_else(|| unavailable(Error::Closed))?;
        if let Some(refusal) = self.store.refusal() {
            return Err(unavailable(refusal));
        }
        let (outcome, data) = decider.decide(command).await.inspect_err(|_| {
            if let Some(refusal) = decider.refusal() {
                self.store.refuse(&refusal);
            }
        })?;
        // All are asked before the first is waited for.
        let installs = (0..self.cores.count()).map(|core| {
            let (cores, data) = (self.cores.clone(), Arc::clone(&data));
            async move { cores.ask(core, CoreRequest::Install(data)).await }
        });
        for installed in together(installs.collect()).await {
            installed.map_err(unavailable)?;
        }
        if !outcome.dropped_shards.is_empty() {
            self.remove(&outcome);
        }
        Ok(outcome)
    }

    fn remove(&self, outcome: &Outcome) {
        let gone: Vec<_> =
            outcome.dropped_shards.iter().map(|&(group, shard)| ShardRef { shard, group }).collect();
        for core in 0..self.cores.count() {
            let (cores, gone) = (self.cores.clone(), gone.clone());
            self.cores.runtime().spawn(Priority::Background, async move {
                if let Err(error) = cores.ask(core, CoreRequest::DropShards(gone)).await {
                    tracing::warn!(%error, core, "dropped shards stay on disk until the next start");
                }
            });
        }
    }

    fn stats(&self) -> CoreStats {
        let mut stats = CoreStats {
            counters: self.cores.counters().values(),
            store: self.store.stats(),
            ..CoreStats::default()
        };
        self.upstairs.count(&mut stats);
        stats
    }

    async fn catalog(&self, request: CatalogRequest) -> Result<tidemark_engine::scan::request::CatalogReply> {
        let views = self.store.views(&request.shards).await?;
        let reservation = self.store.pools().query.reserve(0)?;
        tidemark_engine::scan::catalog(views, &request, Some(reservation)).await
    }

    async fn open_scan(&self, request: ScanRequest) -> Result<Box<dyn LocalScan>> {
        let views = self.store.views(&request.shards).await?;
        let reservation = self.store.pools().query.reserve(0)?;
        Ok(Box::new(Scan::<D>::start(views, request, Some(reservation)).await?))
    }

    /// Sends a scan's chunks on, many small ones at once.
    async fn send_pieces(&self, request: ScanRequest, pieces: flume::Sender<Result<ScanPiece>>) {
        let failed = match self.scan_into(request, &pieces).await {
            Ok(()) => return,
            Err(error) => error,
        };
        let _ = pieces.send_async(Err(failed)).await;
    }

    async fn scan_into(&self, request: ScanRequest, pieces: &flume::Sender<Result<ScanPiece>>) -> Result<()> {
        let mut scan = self.open_scan(request).await?;
        let (mut chunks, mut bytes) = (Vec::new(), 0);
        loop {
            let chunk = scan.next().await?;
            let is_last = chunk.is_none();
            if let Some(chunk) = chunk {
                bytes += chunk.bytes();
                chunks.push(chunk);
            }
            let peak_bytes = scan.peak_bytes();
            if is_last {
                // Whoever has the last chunk finds the memory of the scan free.
                drop(scan);
                let _ = pieces.send_async(Ok(ScanPiece { chunks, is_last, peak_bytes })).await;
                return Ok(());
            }
            if bytes >= SCAN_PIECE_BYTES {
                let piece = ScanPiece { chunks: std::mem::take(&mut chunks), is_last, peak_bytes };
                bytes = 0;
                if pieces.send_async(Ok(piece)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

impl<D: Disk> LocalScan for Scan<D> {
    fn peak_bytes(&self) -> u64 {
        Scan::peak_bytes(self)
    }

    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Option<ScanChunk>>> + '_>> {
        Box::pin(Scan::next(self))
    }
}
