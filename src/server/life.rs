//! One core of a running node, from its thread's first to its last moment.

use std::cell::{Cell, OnceCell};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidemark_engine::disk::uring::UringDisk;
use tidemark_net::socket::tls::Tls;
use tidemark_net::socket::uring::{Accepted, SocketListener};
use tidemark_net::socket::{BoxStream, Listener, Peer, Stream};

use crate::config::Config;
use crate::cores::main_loop::{Core, CoreSetup, Upstairs};
use crate::cores::{CoreStats, Cores, KillOutcome, LateMark, LateWatch, QueryInfo, SenderCount, TaggedStats};
use crate::http::{AccessLog, Http};
use crate::runtime::{LocalFuture, Priority, Runtime};
use crate::service::continuous_query::{self, RunRequest};
use crate::service::subscriber::{self, Subscriber};
use crate::service::{monitor, precreate, retention};

use super::inputs;
use super::start::{Disks, Started, start};

/// This node's id: a single node is a cluster of one.
pub const NODE: u64 = 1;

/// How long connections may finish what they have begun.
const FINISH_MAX: Duration = Duration::from_secs(10);

/// How long a store may write its caches.
const CLOSE_MAX: Duration = Duration::from_secs(15);

/// Between two looks at silent connections.
const TICK: Duration = Duration::from_secs(1);

/// Wishes to run continuous queries that may wait; more wait to wait.
const RUN_REQUESTS_MAX: usize = 16;

/// A peer that does not finish its handshake by then is not heard.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// After an accept that failed: the process may be out of descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What a core tells the control thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Serving,
    Finished,
    Closed,
    Failed(String),
}

/// What the control thread tells a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Take nothing new, finish what has begun.
    Finish,
    /// Close the store.
    Close,
}

/// Bound, not yet listening.
#[derive(Default)]
pub struct Sockets {
    pub http: Option<OwnedFd>,
    pub unix: Option<OwnedFd>,
    pub inputs: inputs::InputSockets,
}

/// All a core needs; travels to its thread.
pub struct CoreLife {
    pub config: Config,
    pub setup: CoreSetup,
    pub data_folder: PathBuf,
    pub meta_folder: PathBuf,
    pub body_bytes: u64,
    pub sockets: Sockets,
    /// Serves HTTPS instead of HTTP.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    pub input_tls: inputs::InputTls,
    /// For subscribers behind `https://`.
    pub subscriber_tls: Option<Arc<rustls::ClientConfig>>,
    pub http_address: String,
    pub access_log: Option<flume::Sender<String>>,
    pub events: flume::Sender<Event>,
    pub orders: flume::Receiver<Order>,
}

impl CoreLife {
    pub async fn live(self, runtime: Runtime) {
        let (events, failed) = (self.events.clone(), self.setup.checkpoint.failed());
        let core = self.setup.end.core();
        if let Err(error) = self.run(runtime).await {
            let error = format!("core {core}: {error}");
            failed(&error);
            let _ = events.send(Event::Failed(error));
        }
    }

    async fn run(self, runtime: Runtime) -> Result<(), String> {
        let told = |error: tidemark_engine::Error| error.to_string();
        let above: Rc<Above> = Rc::default();
        let disks =
            Disks { data: UringDisk::new(&self.data_folder), meta: UringDisk::new(&self.meta_folder) };
        let upstairs = Rc::clone(&above) as _;
        let Started { core, meta } = start(&runtime, disks, self.setup, &self.http_address, upstairs).await?;

        let access_log = self.access_log.map(|lines| AccessLog::new(lines, &self.config.http));
        let config = Rc::new(self.config);
        let serving = Rc::new(Http::new(
            core.cores.clone(),
            Rc::clone(&config),
            self.body_bytes,
            core.query_bytes(),
            access_log,
        ));
        let _ = above.http.set(Rc::clone(&serving));
        above.start_subscriber(&serving, &config, self.subscriber_tls);
        let Sockets { http: http_socket, unix, inputs: input_sockets } = self.sockets;
        let stop = start_listening(&core, &serving, http_socket, unix, self.tls)?;
        inputs::start(&serving, &config, input_sockets, &self.input_tls, &stop, &above.listeners)?;
        if core.cores.this() == 0 {
            start_services(&serving, &config);
            above.start_continuous_queries(&serving, &config);
        }
        let _ = self.events.send(Event::Serving);

        // A control thread that is gone means: stop.
        let _ = self.orders.recv_async().await;
        drop(stop.0);
        serving.executor.tracker().end_all();
        serving.connections.finish();
        let finished = async {
            while serving.connections.open_count() > 0 {
                runtime.sleep(Duration::from_millis(5)).await;
            }
        };
        if runtime.timeout(FINISH_MAX, finished).await.is_none() {
            tracing::warn!(open = serving.connections.open_count(), "connections did not end in time");
        }
        let _ = self.events.send(Event::Finished);

        let _ = self.orders.recv_async().await;
        if let Err(error) = core.close(CLOSE_MAX).await {
            tracing::warn!(%error, "the store did not close cleanly; the next start replays");
        }
        if let Some(meta) = meta {
            meta.close().await.map_err(told)?;
        }
        let _ = self.events.send(Event::Closed);
        Ok(())
    }
}

/// What other cores may ask of this core's HTTP side, which exists only once its store is open.
#[derive(Default)]
struct Above {
    http: OnceCell<Rc<Http>>,
    /// On core 0, if they are switched on.
    continuous_queries: OnceCell<flume::Sender<RunRequest>>,
    subscriber: OnceCell<Subscriber>,
    listeners: inputs::Listeners,
}

impl Above {
    fn start_subscriber(&self, http: &Rc<Http>, config: &Config, tls: Option<Arc<rustls::ClientConfig>>) {
        let section = &config.subscriber;
        if !section.enabled {
            return;
        }
        let share = |total: u64| (total as usize).div_ceil(http.cores.count()).max(1);
        let settings = subscriber::Settings {
            timeout: section.http_timeout.std(),
            concurrency: share(section.write_concurrency),
            queue: share(section.write_buffer_size),
            tls,
        };
        let subscriber = Subscriber::new(http.cores.clone(), Rc::clone(&http.writer), settings);
        subscriber.follow(&http.cores.view().current());
        let _ = self.subscriber.set(subscriber);
    }

    fn start_continuous_queries(&self, http: &Rc<Http>, config: &Config) {
        let section = &config.continuous_queries;
        if !section.enabled {
            return;
        }
        let statistics = section.query_stats_enabled && config.monitor.store_enabled;
        let settings = continuous_query::Settings {
            run_interval: section.run_interval.std(),
            log_enabled: section.log_enabled,
            statistics_database: statistics.then(|| config.monitor.store_database.clone()),
        };
        let (cores, executor, writer) = (http.cores.clone(), http.executor.clone(), Rc::clone(&http.writer));
        let service = continuous_query::Service::new(cores, executor, writer, settings);
        let (sender, requests) = flume::bounded(RUN_REQUESTS_MAX);
        let _ = self.continuous_queries.set(sender);
        http.cores.runtime().spawn(Priority::Control, service.run(requests));
    }
}

impl Upstairs for Above {
    fn count(&self, stats: &mut CoreStats) {
        if let Some(http) = self.http.get() {
            stats.net = http.connections.stats();
            stats.body_pool_used = http.bodies.used();
            stats.body_pool_limit = http.bodies.limit();
        }
    }

    fn queries(&self) -> Vec<QueryInfo> {
        self.http
            .get()
            .map_or_else(Vec::new, |http| http.executor.tracker().list(http.cores.runtime().monotonic_ns()))
    }

    fn exchange_late(&self, watches: Vec<LateWatch>) -> Vec<LateMark> {
        self.http.get().map_or_else(Vec::new, |http| http.writer.late.exchange(watches))
    }

    fn run_continuous_queries(
        &self,
        database: String,
        name: String,
        time: i64,
    ) -> LocalFuture<Result<(), String>> {
        let service = self.continuous_queries.get().cloned();
        Box::pin(async move {
            let off = || "continuous queries are not run here".to_owned();
            let (done, ran) = flume::bounded(1);
            let request = RunRequest { database, name, time, done };
            service.ok_or_else(off)?.send_async(request).await.map_err(|_| off())?;
            ran.recv_async().await.map_err(|_| off())?
        })
    }

    fn count_senders(&self, begin: bool) -> Vec<SenderCount> {
        self.http.get().map_or_else(Vec::new, |http| http.requests.count(begin))
    }

    fn tagged_stats(&self) -> Vec<TaggedStats> {
        let mut all = self.listeners.statistics();
        all.extend(self.subscriber.get().into_iter().flat_map(Subscriber::statistics));
        all
    }

    fn catalogue_changed(&self) {
        if let (Some(subscriber), Some(http)) = (self.subscriber.get(), self.http.get()) {
            subscriber.follow(&http.cores.view().current());
        }
    }

    fn kill_query(&self, id: u64) -> KillOutcome {
        self.http.get().map_or(KillOutcome::Unknown, |http| http.executor.tracker().kill(id))
    }
}

/// Starts the periodic work of the node; it runs on core 0 and ends with it.
fn start_services(http: &Rc<Http>, config: &Rc<Config>) {
    let cores = &http.cores;
    let runtime = cores.runtime();
    if config.retention.enabled {
        runtime
            .spawn(Priority::Control, retention::run(cores.clone(), config.retention.check_interval.std()));
    }
    if config.shard_precreation.enabled {
        let precreation = &config.shard_precreation;
        let (interval, advance) = (precreation.check_interval.std(), precreation.advance_period.std());
        runtime
            .spawn(Priority::Control, precreate::run(cores.clone(), interval, advance, config.engine.slices));
    }
    if config.monitor.store_enabled {
        let stored = monitor::run(cores.clone(), Rc::clone(&http.writer), Rc::clone(config));
        runtime.spawn(Priority::Control, stored);
    }
}

/// Ends what accepts when its sender is dropped; the receiver is for those who wait for that.
pub struct Stop(flume::Sender<()>, flume::Receiver<()>);

impl Stop {
    /// Waits for the end.
    pub fn wait(&self) -> impl Future<Output = ()> + use<> {
        let stopped = self.1.clone();
        async move {
            let _ = stopped.recv_async().await;
        }
    }
}

/// Starts what accepts connections.
fn start_listening(
    core: &Core<UringDisk>,
    http: &Rc<Http>,
    tcp: Option<OwnedFd>,
    unix: Option<OwnedFd>,
    tls: Option<Arc<rustls::ServerConfig>>,
) -> Result<Stop, String> {
    let (stop, stopped) = flume::bounded::<()>(0);
    let runtime = core.cores.runtime().clone();
    let tcp = tcp.map(SocketListener::tcp);
    let unix = unix.map(SocketListener::unix);
    for listener in [tcp, unix].into_iter().flatten() {
        let listener = listener.map_err(|error| format!("cannot listen: {error}"))?;
        let (http, stopped, tls) = (Rc::clone(http), stopped.clone(), tls.clone());
        runtime.spawn(Priority::Ingest, async move {
            let stop = async {
                let _ = stopped.recv_async().await;
            };
            futures_lite::future::or(accept(&listener, &http, &tls), stop).await;
        });
    }
    // Connections that other cores accepted for this one.
    let (handed, serving) = (core.connections.clone(), Rc::clone(http));
    runtime.spawn(Priority::Ingest, async move {
        while let Ok(accepted) = handed.recv_async().await {
            serve(&serving, accepted, &tls);
        }
    });
    let (ticking, cores) = (http.connections.clone(), core.cores.clone());
    runtime.spawn(Priority::Control, async move {
        loop {
            cores.runtime().sleep(TICK).await;
            let quiet = ticking.tick(cores.runtime().monotonic_ms());
            cores.quiet_connections().set(cores.this(), quiet as u64);
        }
    });
    Ok(Stop(stop, stopped))
}

/// Accepts for ever; each connection goes to the core that has the fewest that are in use.
async fn accept(listener: &SocketListener, http: &Rc<Http>, tls: &Option<Arc<rustls::ServerConfig>>) {
    let cores = &http.cores;
    let limit = http.config.http.max_connection_limit;
    loop {
        let accepted = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                cores.runtime().sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        if limit > 0 && cores.connections().sum() >= limit {
            drop(accepted);
            continue;
        }
        let target = least_loaded(cores);
        cores.connections().add(target, 1);
        if target == cores.this() {
            serve(http, accepted, tls);
        } else {
            cores.hand_over(target, accepted);
        }
    }
}

fn least_loaded(cores: &Cores) -> usize {
    let load = |core| {
        let open = cores.connections().get(core);
        (open.saturating_sub(cores.quiet_connections().get(core)), open)
    };
    place(cores.count(), cores.this(), load)
}

/// The core with the least load; of equals the one that asks.
fn place(cores: usize, this: usize, load: impl Fn(usize) -> (u64, u64)) -> usize {
    (0..cores).min_by_key(|&core| (load(core), core != this)).unwrap_or(this)
}

/// Serves a connection that is already counted for this core.
fn serve(http: &Rc<Http>, accepted: Accepted, tls: &Option<Arc<rustls::ServerConfig>>) {
    let (http, tls) = (Rc::clone(http), tls.clone());
    let runtime = http.cores.runtime().clone();
    let place = Rc::new(Cell::new(Priority::Ingest));
    runtime.spawn_moving(Rc::clone(&place), async move {
        let opened = open(accepted, tls, http.cores.runtime()).await;
        match opened {
            Ok(stream) => http.serve(stream, &place).await,
            Err(error) => tracing::debug!(%error, "a connection ended before it began"),
        }
        http.cores.connections().add(http.cores.this(), -1);
    });
}

/// Makes the stream of an accepted connection, under TLS if the listener has it.
pub async fn open(
    accepted: Accepted,
    tls: Option<Arc<rustls::ServerConfig>>,
    runtime: &Runtime,
) -> std::io::Result<BoxStream> {
    match (accepted.open()?, tls) {
        // A socket of this machine needs no TLS.
        (stream, Some(config)) if stream.peer() != Peer::Unix => {
            let shaken = runtime.timeout(HANDSHAKE_MAX, Tls::accept(stream, config)).await;
            let late = || Err(std::io::Error::from(std::io::ErrorKind::TimedOut));
            shaken.unwrap_or_else(late).map(|stream| Box::new(stream) as BoxStream)
        }
        (stream, _) => Ok(stream),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn connections_that_ask_nothing_do_not_decide_where_a_new_one_goes() {
        // Awake and open connections of each core.
        let place = |this, load: [(u64, u64); 2]| super::place(2, this, |core| load[core]);
        assert_eq!(place(1, [(0, 3), (1, 1)]), 0);
        assert_eq!(place(1, [(2, 2), (1, 9)]), 1);
        assert_eq!(place(0, [(1, 3), (1, 2)]), 1, "of equally awake ones the fewer");
        assert_eq!((place(0, [(1, 1), (1, 1)]), place(1, [(1, 1), (1, 1)])), (0, 1));
    }
}
