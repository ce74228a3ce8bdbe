//! Listeners beside HTTP: bound by the control thread, served on every core.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::Future;
use tidemark_net::socket::uring::{self, SocketListener, UdpSocket};
use tidemark_net::socket::{BoxStream, Listener};

use super::life::{self, Stop};
use super::wait_until_free;
use crate::config::{self, Config, socket_address};
use crate::cores::{TaggedStats, counters};
use crate::http::Http;
use crate::input::batch::{self, BatchCounters, Batches};
use crate::input::collectd::auth_file::AuthFile;
use crate::input::collectd::protection::{Level, Protection, Users};
use crate::input::collectd::{self, Types};
use crate::input::graphite::template::Templates;
use crate::input::{graphite, login, opentsdb, tcp, udp};
use crate::line_protocol::Precision;
use crate::meta::{Command, Privilege};
use crate::runtime::Priority;

/// After an accept that failed: the process may be out of descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Bound sockets of one core, by position of their sections.
#[derive(Default)]
pub struct InputSockets {
    tcp: Vec<(usize, OwnedFd)>,
    udp: Vec<(usize, OwnedFd)>,
    /// TCP or UDP, as the section says.
    graphite: Vec<(usize, OwnedFd)>,
    opentsdb: Vec<(usize, OwnedFd)>,
    collectd: Vec<(usize, OwnedFd, collectd::Settings)>,
}

/// By position of the sections.
#[derive(Clone, Default)]
pub struct InputTls {
    pub tcp: Vec<Option<Arc<rustls::ServerConfig>>>,
    pub opentsdb: Vec<Option<Arc<rustls::ServerConfig>>>,
}

/// What the listeners of a core count.
#[derive(Default)]
pub struct Listeners(RefCell<Vec<Box<dyn Fn() -> TaggedStats>>>);

impl Listeners {
    pub fn statistics(&self) -> Vec<TaggedStats> {
        self.0.borrow().iter().map(|count| count()).collect()
    }

    fn add(&self, count: impl Fn() -> TaggedStats + 'static) {
        self.0.borrow_mut().push(Box::new(count));
    }
}

/// Binds what is switched on, once for every core.
pub fn bind(config: &Config, cores: usize) -> Result<Vec<InputSockets>, String> {
    let mut all: Vec<InputSockets> = (0..cores).map(|_| InputSockets::default()).collect();
    let tcp = |address: &str| bind_all(address, cores, true, 0);
    for (position, section) in config.tcp.iter().enumerate().filter(|(_, section)| section.enabled) {
        let sockets = tcp(&section.bind_address)?;
        all.iter_mut().zip(sockets).for_each(|(core, socket)| core.tcp.push((position, socket)));
    }
    for (position, section) in config.udp.iter().enumerate().filter(|(_, section)| section.enabled) {
        let sockets = bind_all(&section.bind_address, cores, false, section.read_buffer.0 as usize)?;
        all.iter_mut().zip(sockets).for_each(|(core, socket)| core.udp.push((position, socket)));
    }
    for (position, section) in config.graphite.iter().enumerate().filter(|(_, section)| section.enabled) {
        templates(section)?;
        let is_tcp = match section.protocol.to_ascii_lowercase().as_str() {
            "tcp" => true,
            "udp" => false,
            _ => return Err(format!("unrecognized Graphite input protocol {}", section.protocol)),
        };
        let buffer = section.udp_read_buffer.0 as usize;
        let sockets = bind_all(&section.bind_address, cores, is_tcp, buffer)?;
        all.iter_mut().zip(sockets).for_each(|(core, socket)| core.graphite.push((position, socket)));
    }
    for (position, section) in config.opentsdb.iter().enumerate().filter(|(_, section)| section.enabled) {
        let sockets = tcp(&section.bind_address)?;
        all.iter_mut().zip(sockets).for_each(|(core, socket)| core.opentsdb.push((position, socket)));
    }
    for (position, section) in config.collectd.iter().enumerate().filter(|(_, section)| section.enabled) {
        let settings = collectd_settings(section)?;
        let sockets = bind_all(&section.bind_address, cores, false, section.read_buffer.0 as usize)?;
        all.iter_mut()
            .zip(sockets)
            .for_each(|(core, socket)| core.collectd.push((position, socket, settings.clone())));
    }
    Ok(all)
}

fn collectd_settings(section: &config::Collectd) -> Result<collectd::Settings, String> {
    let joins = match section.parse_multivalue_plugin.as_str() {
        "split" => false,
        "join" => true,
        _ => return Err("collectd.parse-multivalue-plugin must be \"split\" or \"join\"".to_owned()),
    };
    let types =
        types(Path::new(&section.typesdb)).map_err(|error| format!("{}: {error}", section.typesdb))?;
    Ok(collectd::Settings { types, joins, protection: protection(section)? })
}

fn protection(section: &config::Collectd) -> Result<Protection, String> {
    let Some(level) = Level::from_token(&section.security_level) else {
        return Err("collectd.security-level must be \"none\", \"sign\" or \"encrypt\"".to_owned());
    };
    let (users, is_there) = match std::fs::read(&section.auth_file) {
        Ok(text) => (Users::parse(&text), true),
        Err(error) => (Err(error.to_string()), error.kind() != ErrorKind::NotFound),
    };
    let told = |error| format!("collectd.auth-file {}: {error}", section.auth_file);
    match users.map_err(told) {
        Ok(users) => Ok(Protection { level, users }),
        Err(error) if level > Level::None => Err(error),
        // Plain data needs no users. The file of the default may be another program's, and not for our eyes.
        Err(error) => {
            if is_there {
                tracing::warn!(%error, "signed and encrypted collectd data is not taken");
            }
            Ok(Protection::default())
        }
    }
}

/// Reads a file of types, or all files of a folder.
fn types(path: &Path) -> std::io::Result<Types> {
    let mut all = Types::default();
    if !path.is_dir() {
        all.add(&std::fs::read_to_string(path)?);
        return Ok(all);
    }
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        if path.is_file() {
            all.add(&std::fs::read_to_string(path)?);
        }
    }
    Ok(all)
}

fn bind_all(address: &str, cores: usize, is_tcp: bool, read_buffer: usize) -> Result<Vec<OwnedFd>, String> {
    let address = socket_address(address).map_err(|error| error.to_string())?;
    let told = |error| format!("cannot listen on {address}: {error}");
    if is_tcp {
        wait_until_free(address).map_err(told)?;
    }
    let bind = |_| if is_tcp { uring::bind_tcp(address) } else { uring::bind_udp(address, read_buffer) };
    (0..cores).map(bind).collect::<Result<_, _>>().map_err(told)
}

fn templates(section: &config::Graphite) -> Result<Templates, String> {
    Templates::new(&section.templates, &section.tags, &section.separator)
}

/// Starts this core's part of every listener.
pub fn start(
    http: &Rc<Http>,
    config: &Config,
    sockets: InputSockets,
    tls: &InputTls,
    stop: &Stop,
    listeners: &Listeners,
) -> Result<(), String> {
    for (position, socket) in sockets.tcp {
        let tls = tls.tcp.get(position).cloned().flatten();
        start_tcp(http, config, &config.tcp[position], socket, tls, stop)?;
    }
    for (position, socket) in sockets.udp {
        start_udp(http, config, &config.udp[position], socket, stop, listeners)?;
    }
    for (position, socket) in sockets.graphite {
        start_graphite(http, &config.graphite[position], socket, stop, listeners)?;
    }
    for (position, socket) in sockets.opentsdb {
        let tls = tls.opentsdb.get(position).cloned().flatten();
        start_opentsdb(http, &config.opentsdb[position], socket, tls, stop, listeners)?;
    }
    for (position, socket, settings) in sockets.collectd {
        start_collectd(http, &config.collectd[position], socket, settings, stop, listeners);
    }
    Ok(())
}

fn start_tcp(
    http: &Rc<Http>,
    config: &Config,
    section: &config::Tcp,
    socket: OwnedFd,
    tls: Option<Arc<rustls::ServerConfig>>,
    stop: &Stop,
) -> Result<(), String> {
    let settings = tcp::Settings {
        database: section.database.clone(),
        retention_policy: section.retention_policy.clone(),
        precision: precision(&section.precision)?,
        batch_size: section.batch_size as usize,
        batch_timeout: section.batch_timeout.std(),
        unsigned: false,
        validate_keys: config.data.validate_keys,
    };
    let input = Rc::new(tcp::TcpInput {
        login: config.http.auth_enabled.then(|| login_of(http, &settings.database)),
        writer: Rc::clone(&http.writer),
        runtime: http.cores.runtime().clone(),
        settings,
    });
    let counting = Rc::clone(http);
    accept(http, socket, tls, stop, move |stream| {
        let (input, http) = (Rc::clone(&input), Rc::clone(&counting));
        async move {
            let served = input.serve(stream).await?;
            counters::add(&http.cores.counters().tcp_points, served.points);
            Ok(())
        }
    })
}

fn start_udp(
    http: &Rc<Http>,
    config: &Config,
    section: &config::Udp,
    socket: OwnedFd,
    stop: &Stop,
    listeners: &Listeners,
) -> Result<(), String> {
    let settings = udp::Settings {
        database: section.database.clone(),
        retention_policy: section.retention_policy.clone(),
        precision: precision(&section.precision)?,
        batch_size: section.batch_size as usize,
        batch_pending: section.batch_pending as usize,
        batch_timeout: section.batch_timeout.std(),
        unsigned: false,
        validate_keys: config.data.validate_keys,
    };
    make_database(http, &section.database);
    let input = Rc::new(udp::UdpInput {
        writer: Rc::clone(&http.writer),
        runtime: http.cores.runtime().clone(),
        settings,
        counters: Rc::default(),
    });
    let (counted, bind) = (Rc::clone(&input.counters), section.bind_address.clone());
    listeners.add(move || TaggedStats {
        name: "udp",
        tags: vec![("bind", bind.clone())],
        values: vec![
            ("bytesRx", counted.bytes.get()),
            ("pointsParseFail", counted.points_failed.get()),
            ("pointsRx", counted.lines.get()),
            ("pointsTx", counted.points_written.get()),
            ("readFail", counted.receive_errors.get()),
            ("pointsDropped", counted.lines_dropped.get()),
            ("datagramsDropped", counted.kernel_drops.get()),
        ],
    });
    http.cores.runtime().spawn(Priority::Ingest, input.run(UdpSocket::new(socket), stop.wait()));
    Ok(())
}

fn start_graphite(
    http: &Rc<Http>,
    section: &config::Graphite,
    socket: OwnedFd,
    stop: &Stop,
    listeners: &Listeners,
) -> Result<(), String> {
    let runtime = http.cores.runtime();
    make_database(http, &section.database);
    let settings = batch::Settings {
        database: section.database.clone(),
        retention_policy: section.retention_policy.clone(),
        batch_size: section.batch_size as usize,
        batch_pending: section.batch_pending as usize,
        batch_timeout: section.batch_timeout.std(),
    };
    let input = Rc::new(graphite::GraphiteInput {
        templates: templates(section)?,
        batches: Batches::start(settings, Rc::clone(&http.writer), runtime),
        runtime: runtime.clone(),
        counters: graphite::GraphiteCounters::default(),
    });
    let protocol = section.protocol.to_ascii_lowercase();
    let (counted, bind, proto) = (Rc::clone(&input), section.bind_address.clone(), protocol.clone());
    listeners.add(move || {
        let counters = &counted.counters;
        let mut values = vec![
            ("pointsRx", counters.points.get()),
            ("bytesRx", counters.bytes.get()),
            ("pointsParseFail", counters.points_bad.get()),
            ("pointsNaNFail", counters.points_nan.get()),
            ("connsActive", counters.connections_open_now.get()),
            ("connsHandled", counters.connections.get()),
        ];
        values.extend(of_batches(&counted.batches.counters));
        TaggedStats { name: "graphite", tags: vec![("bind", bind.clone()), ("proto", proto.clone())], values }
    });
    if protocol == "tcp" {
        return accept(http, socket, None, stop, move |stream| {
            let input = Rc::clone(&input);
            async move { input.serve(stream).await }
        });
    }
    let stop = stop.wait();
    runtime.spawn(Priority::Ingest, async move { input.receive(UdpSocket::new(socket), stop).await });
    Ok(())
}

fn start_opentsdb(
    http: &Rc<Http>,
    section: &config::OpenTsdb,
    socket: OwnedFd,
    tls: Option<Arc<rustls::ServerConfig>>,
    stop: &Stop,
    listeners: &Listeners,
) -> Result<(), String> {
    make_database(http, &section.database);
    let settings = batch::Settings {
        database: section.database.clone(),
        retention_policy: section.retention_policy.clone(),
        batch_size: section.batch_size as usize,
        batch_pending: section.batch_pending as usize,
        batch_timeout: section.batch_timeout.std(),
    };
    let input = Rc::new(opentsdb::OpenTsdbInput {
        batches: Batches::start(settings, Rc::clone(&http.writer), http.cores.runtime()),
        connections: http.connections.clone(),
        bodies: http.bodies.clone(),
        log_errors: section.log_point_errors,
        counters: opentsdb::OpenTsdbCounters::default(),
    });
    let (counted, bind) = (Rc::clone(&input), section.bind_address.clone());
    listeners.add(move || {
        let counters = &counted.counters;
        let mut values = vec![
            ("httpConnsHandled", counters.http_connections.get()),
            ("tlConnsActive", counters.telnet_connections_open_now.get()),
            ("tlConnsHandled", counters.telnet_connections.get()),
            ("tlPointsRx", counters.telnet_points.get()),
            ("tlBytesRx", counters.telnet_bytes.get()),
            ("tlReadErr", counters.telnet_read_errors.get()),
            ("tlBadLine", counters.telnet_bad_lines.get()),
            ("tlBadTime", counters.telnet_bad_times.get()),
            ("tlBadTag", counters.telnet_bad_tags.get()),
            ("tlBadFloat", counters.telnet_bad_floats.get()),
            ("connsActive", counters.telnet_connections_open_now.get()),
            ("connsHandled", counters.telnet_connections.get() + counters.http_connections.get()),
            ("droppedPointsInvalid", counters.points_invalid.get()),
        ];
        values.extend(of_batches(&counted.batches.counters));
        TaggedStats { name: "opentsdb", tags: vec![("bind", bind.clone())], values }
    });
    accept(http, socket, tls, stop, move |stream| {
        let input = Rc::clone(&input);
        async move { input.serve(stream).await }
    })
}

fn start_collectd(
    http: &Rc<Http>,
    section: &config::Collectd,
    socket: OwnedFd,
    settings: collectd::Settings,
    stop: &Stop,
    listeners: &Listeners,
) {
    let runtime = http.cores.runtime();
    make_database(http, &section.database);
    let batching = batch::Settings {
        database: section.database.clone(),
        retention_policy: section.retention_policy.clone(),
        batch_size: section.batch_size as usize,
        batch_pending: section.batch_pending as usize,
        batch_timeout: section.batch_timeout.std(),
    };
    let input = Rc::new(collectd::CollectdInput {
        settings: RefCell::new(settings),
        auth_file: AuthFile::new(&section.auth_file),
        batches: Batches::start(batching, Rc::clone(&http.writer), runtime),
        runtime: runtime.clone(),
        counters: collectd::CollectdCounters::default(),
    });
    let (counted, bind) = (Rc::clone(&input), section.bind_address.clone());
    listeners.add(move || {
        let counters = &counted.counters;
        let mut values = vec![
            ("pointsRx", counters.points.get()),
            ("bytesRx", counters.bytes.get()),
            ("pointsParseFail", counters.datagrams_bad.get()),
            ("readFail", counters.receive_errors.get()),
            ("droppedPointsInvalid", counters.points_invalid.get()),
        ];
        values.extend(of_batches(&counted.batches.counters));
        TaggedStats { name: "collectd", tags: vec![("bind", bind.clone())], values }
    });
    let stop = stop.wait();
    runtime.spawn(Priority::Ingest, async move { input.receive(UdpSocket::new(socket), stop).await });
}

fn of_batches(counters: &BatchCounters) -> [(&'static str, u64); 3] {
    [
        ("batchesTx", counters.batches.get()),
        ("pointsTx", counters.points.get()),
        ("batchesTxFail", counters.batches_failed.get()),
    ]
}

/// A listener's senders cannot make their database.
fn make_database(http: &Rc<Http>, name: &str) {
    let cores = http.cores.clone();
    if cores.this() != 0 || cores.view().current().database(name).is_some() {
        return;
    }
    let command = Command::CreateDatabase { name: name.to_owned(), spec: None, autocreate: true };
    http.cores.runtime().spawn(Priority::Control, async move {
        if let Err(error) = cores.propose(command).await {
            tracing::warn!(%error, "the database of a listener was not made");
        }
    });
}

/// Users are those of HTTP; they need the right to write to the listener's database.
fn login_of(http: &Rc<Http>, database: &str) -> login::Check {
    let (http, database) = (Rc::clone(http), database.to_owned());
    Rc::new(move |user, password| {
        let (http, database) = (Rc::clone(&http), database.clone());
        Box::pin(async move {
            let checked = http.credentials.check(&http.cores, &user, password).await;
            match checked.map_err(|denied| denied.to_string())? {
                user if user.may(Privilege::Write, &database) => Ok(()),
                user => Err(format!(
                    "\"{}\" user is not authorized to write to database \"{database}\"",
                    user.name
                )),
            }
        })
    })
}

fn precision(token: &str) -> Result<Precision, String> {
    Precision::from_token(token).ok_or_else(|| format!("invalid precision {token:?} of a listener"))
}

/// Accepts connections until the end; each is served by a task of its own.
fn accept<F>(
    http: &Rc<Http>,
    socket: OwnedFd,
    tls: Option<Arc<rustls::ServerConfig>>,
    stop: &Stop,
    serve: impl Fn(BoxStream) -> F + 'static,
) -> Result<(), String>
where
    F: Future<Output = std::io::Result<()>> + 'static,
{
    let listener = SocketListener::tcp(socket).map_err(|error| format!("cannot listen: {error}"))?;
    let runtime = http.cores.runtime().clone();
    let (own, serve) = (runtime.clone(), Rc::new(serve));
    let accepting = async move {
        loop {
            let accepted = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    own.sleep(ACCEPT_RETRY).await;
                    continue;
                }
            };
            let (runtime, tls, serve) = (own.clone(), tls.clone(), Rc::clone(&serve));
            own.spawn(Priority::Ingest, async move {
                let served = match life::open(accepted, tls, &runtime).await {
                    Ok(stream) => serve(stream).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = served {
                    tracing::debug!(%error, "a sender is gone");
                }
            });
        }
    };
    runtime.spawn(Priority::Ingest, futures_lite::future::or(accepting, stop.wait()));
    Ok(())
}
