//! The composition root: build, start order, stop order.
//!
//! Start: survey of the host → folders locked → addresses bound → one thread per core (catalogue on core 0, stores,
//! replay) → listeners → ready. Stop: listeners → connections → services → stores → catalogue. The thread that calls
//! [`run`] is the control thread: it waits for signals and for the cores.

mod inputs;
mod life;
mod log;
mod progress;
mod resources;
pub mod start;
mod tls;

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tidemark_engine::journal::JournalOptions;
use tidemark_net::socket::uring;

use crate::config::{Config, Effective, socket_address};
use crate::cores::Mesh;
use crate::cores::main_loop::{CatalogueExchange, CoreSetup, ReplayGauges, StoreSetup, checkpoints};
use crate::runtime::{glommio, host};
use life::{CoreLife, Event, Order, Sockets};
use progress::Progress;
pub use resources::wals_replayed;
use resources::{Folders, Resources};

/// A stop that takes longer is not waited for.
const STOP_MAX: Duration = Duration::from_secs(30);

/// How long a start waits for an address that is still taken, and how often it looks.
const TAKEN_ADDRESS_WAIT_MAX: Duration = Duration::from_secs(3);
const TAKEN_ADDRESS_RETRY: Duration = Duration::from_millis(20);

/// The live WAL of a core: bounds the time a start takes.
const WAL_BYTES_MAX: u64 = 256 << 20;

/// Of a core's memory, what request bodies may take.
const BODY_SHARE: u64 = 4;

/// Where the process was started with.
#[derive(Debug, Default)]
pub struct RunOptions {
    pub config: Option<PathBuf>,
    pub pidfile: Option<PathBuf>,
}

/// Runs a node until a signal ends it. The error is a sentence for the operator.
pub fn run(options: &RunOptions) -> Result<(), String> {
    let effective = Effective::load(options.config.as_deref(), |name| std::env::var(name).ok());
    let without_effect = effective.as_ref().map(Effective::without_effect).unwrap_or_default();
    let config = effective.and_then(|effective| effective.config()).map_err(|error| {
        format!(
            "{error}. To generate a valid configuration file run `tidemarkd config > tidemark.generated.conf`"
        )
    })?;
    let log = log::start(&config.logging).map_err(|error| format!("cannot start the log: {error}"))?;
    if options.config.is_none() {
        tracing::info!("no configuration provided, using default settings");
    }
    if !without_effect.is_empty() {
        tracing::warn!(keys = without_effect.join(", "), "set in the configuration, but without effect here");
    }
    // Before any thread is started, so that every thread leaves the signals to this one.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(|error| format!("signals: {error}"))?;
    let pidfile = options.pidfile.as_deref().map(Pidfile::write).transpose()?;

    let host = host::survey();
    let resources = Resources::divide(&config, &host)?;
    host::check(&host, resources.cores)?;
    let folders = Folders::open(&config)?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        cores = resources.cores,
        core_mib = resources.core_bytes >> 20,
        files = host.files,
        data = %folders.data.display(),
        "starting"
    );
    let access_log = match (config.http.log_enabled, config.http.access_log_path.as_str()) {
        (false, _) => None,
        (true, "") => Some(log.sender()),
        (true, path) => {
            let writer = log::LineWriter::start(Some(Path::new(path)));
            Some(writer.map_err(|error| format!("access log {path}: {error}"))?.sender())
        }
    };
    let result = run_cores(&config, &resources, &folders, &host, access_log, &mut signals);
    match &result {
        Ok(()) => tracing::info!("server shutdown completed"),
        Err(error) => tracing::error!(%error, "server ended"),
    }
    drop(pidfile);
    log.drain();
    result
}

fn run_cores(
    config: &Config,
    resources: &Resources,
    folders: &Folders,
    host: &host::Host,
    access_log: Option<flume::Sender<String>>,
    signals: &mut Signals,
) -> Result<(), String> {
    let cores = resources.cores;
    let (http_tls, input_tls) = (tls::of_http(config)?, tls::of_inputs(config)?);
    let subscriber_tls = tls::of_subscriber(config)?;
    let (sockets, address) = bind(config, cores)?;
    let (gate, checkpoints) = checkpoints(cores);
    let (catalogue_senders, catalogue_receivers): (Vec<_>, Vec<_>) =
        (0..cores).map(|_| flume::unbounded()).unzip();
    let (events_sender, events) = flume::unbounded();
    let wals = folders.wal_ids();
    let replayed = ReplayGauges::new(cores);
    let progress = Progress::watch(replayed.clone());
    let mut orders = Vec::new();
    let mut threads = Vec::new();
    let parts =
        Mesh::new(cores).into_ends().into_iter().zip(checkpoints).zip(catalogue_receivers).zip(sockets);
    for (core, (((end, checkpoint), receiver), sockets)) in parts.enumerate() {
        let (order, core_orders) = flume::unbounded();
        orders.push(order);
        let life = CoreLife {
            config: config.clone(),
            setup: CoreSetup {
                end,
                node: life::NODE,
                write_timeout: config.coordinator.write_timeout.std(),
                store: store_setup(config, resources, core, &wals),
                catalogue: CatalogueExchange { senders: catalogue_senders.clone(), receiver },
                checkpoint,
                replayed: replayed.clone(),
            },
            data_folder: folders.data.clone(),
            meta_folder: folders.meta.clone(),
            body_bytes: resources.core_bytes / BODY_SHARE,
            sockets,
            tls: http_tls.clone(),
            input_tls: input_tls.clone(),
            subscriber_tls: subscriber_tls.clone(),
            http_address: address.map(|address| address.to_string()).unwrap_or_default(),
            access_log: access_log.clone(),
            events: events_sender.clone(),
            orders: core_orders,
        };
        let memlock = host.memlock_bytes / cores as u64;
        let seed = u64::from(std::process::id()) << 32 ^ core as u64 ^ now_ns();
        let thread =
            glommio::start_core(core, resources.cpus[core], memlock as usize, seed, move |runtime| {
                life.live(runtime)
            });
        threads.push(thread.map_err(|error| format!("cannot start core {core}: {error}"))?);
    }
    drop((events_sender, catalogue_senders));

    for _ in 0..start::GATES {
        futures_lite::future::block_on(gate.open_once())?;
    }
    drop(progress);
    wait_for(&events, cores, Event::Serving)?;
    if let Some(address) = address {
        tracing::info!(%address, "listening for HTTP");
        println!("tidemarkd is ready: HTTP on {address}");
    } else {
        println!("tidemarkd is ready");
    }

    wait_for_signal(signals, &events)?;
    let deadline = Instant::now() + STOP_MAX;
    spawn_hard_stop(signals.handle(), deadline);
    for (order, done) in [(Order::Finish, Event::Finished), (Order::Close, Event::Closed)] {
        for core in &orders {
            let _ = core.send(order);
        }
        wait_for(&events, cores, done)?;
    }
    for (core, thread) in threads.into_iter().enumerate() {
        thread.join().map_err(|error| format!("core {core}: {error}"))?;
    }
    Ok(())
}

fn now_ns() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64)
}

fn store_setup(config: &Config, resources: &Resources, core: usize, wals: &[u64]) -> StoreSetup {
    let cores = resources.cores as u64;
    StoreSetup {
        wal_id: core as u64,
        wal_ids_replayed: resources::wals_replayed(core, resources.cores, wals),
        bytes: resources.core_bytes - resources.core_bytes / BODY_SHARE,
        cache_bytes_max: config.data.cache_max_memory_size.0 / cores,
        cache_snapshot_bytes: config.data.cache_snapshot_memory_size.0,
        cache_cold_ns: config.data.cache_snapshot_write_cold_duration.0,
        full_cold_ns: config.data.compact_full_write_cold_duration.0,
        wal_segment_bytes: JournalOptions::preallocated().segment_bytes,
        wal_bytes_max: WAL_BYTES_MAX,
        cold_codec: config.engine.cold_codec == "pco",
        scrub_interval_ns: config.engine.scrub_interval.0,
    }
}

/// Refuses an address that another process listens on. The kernel takes down the rings of a process that was killed a
/// little after its end, and its sockets with them: a node that is started again at once has to wait for that.
fn wait_until_free(address: SocketAddr) -> std::io::Result<()> {
    let deadline = Instant::now() + TAKEN_ADDRESS_WAIT_MAX;
    loop {
        match uring::check_free(address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(TAKEN_ADDRESS_RETRY);
            }
            result => return result,
        }
    }
}

/// Binds what every core listens on. Nothing listens yet: a node that replays must not keep clients waiting.
fn bind(config: &Config, cores: usize) -> Result<(Vec<Sockets>, Option<SocketAddr>), String> {
    let mut sockets: Vec<Sockets> = (0..cores).map(|_| Sockets::default()).collect();
    let mut bound = None;
    if config.http.enabled {
        let asked = socket_address(&config.http.bind_address).map_err(|error| error.to_string())?;
        let told = |error| format!("cannot listen on {asked}: {error}");
        wait_until_free(asked).map_err(told)?;
        let mut address = asked;
        for core in &mut sockets {
            let socket = uring::bind_tcp(address).map_err(told)?;
            // Port 0: the first socket got one, the others take the same.
            address = uring::local_address(&socket).map_err(told)?;
            core.http = Some(socket);
        }
        bound = Some(address);
    }
    if config.http.unix_socket_enabled {
        let path = &config.http.bind_socket;
        let mode = u32::from_str_radix(config.http.unix_socket_permissions.trim_start_matches("0o"), 8);
        let group = resources::group_id(&config.http.unix_socket_group)?;
        let socket: Result<OwnedFd, _> = uring::bind_unix(path, mode.unwrap_or(0o777), group);
        // One core accepts and hands over to the others.
        sockets[0].unix = Some(socket.map_err(|error| format!("{}: {error}", path.display()))?);
    }
    for (core, inputs) in sockets.iter_mut().zip(inputs::bind(config, cores)?) {
        core.inputs = inputs;
    }
    Ok((sockets, bound))
}

/// Waits until every core has said `wanted`.
fn wait_for(events: &flume::Receiver<Event>, cores: usize, wanted: Event) -> Result<(), String> {
    let mut missing = cores;
    while missing > 0 {
        match events.recv() {
            Ok(Event::Failed(error)) => return Err(error),
            Ok(event) if event == wanted => missing -= 1,
            Ok(_) => {}
            Err(_) => return Err("a core ended early".to_owned()),
        }
    }
    Ok(())
}

/// Returns at the first SIGINT or SIGTERM.
fn wait_for_signal(signals: &mut Signals, events: &flume::Receiver<Event>) -> Result<(), String> {
    loop {
        for signal in signals.wait() {
            if signal == SIGHUP {
                tracing::info!("SIGHUP: nothing is read again by this version");
                continue;
            }
            tracing::info!(signal, "signal received, initializing clean shutdown");
            return Ok(());
        }
        if let Ok(Event::Failed(error)) = events.try_recv() {
            return Err(error);
        }
    }
}

/// A second signal, or too long a stop, ends the process at once.
fn spawn_hard_stop(handle: signal_hook::iterator::Handle, deadline: Instant) {
    drop(handle);
    let watch = std::thread::Builder::new().name("hard-stop".to_owned()).spawn(move || {
        let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else { return };
        while Instant::now() < deadline {
            if signals.pending().next().is_some() {
                eprintln!("second signal received, initializing hard shutdown");
                std::process::exit(1);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        eprintln!("time limit reached, initializing hard shutdown");
        std::process::exit(1);
    });
    // Without the watch a stop that hangs needs a SIGKILL.
    if let Err(error) = watch {
        tracing::warn!(%error, "no watch over the shutdown");
    }
}

/// The file with this process's number; removed at the end.
struct Pidfile(PathBuf);

impl Pidfile {
    fn write(path: &Path) -> Result<Self, String> {
        let told = |error| format!("write pid file: {}: {error}", path.display());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(told)?;
        }
        fs::write(path, std::process::id().to_string()).map_err(told)?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
