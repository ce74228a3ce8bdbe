//! Listeners of line protocol besides HTTP: bound by the control thread, served on every core.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use tidemark_net::socket::Listener;
use tidemark_net::socket::uring::{SocketListener, UdpSocket};

use super::life::{self, Stop};
use crate::config::Config;
use crate::cores::counters;
use crate::http::Http;
use crate::input::{tcp, udp};
use crate::line_protocol::Precision;
use crate::runtime::Priority;

/// Starts this core's part of every listener.
pub fn start(
    http: &Rc<Http>,
    config: &Config,
    tcp_sockets: Vec<(usize, OwnedFd)>,
    tcp_tls: &[Option<Arc<rustls::ServerConfig>>],
    udp_sockets: Vec<(usize, OwnedFd)>,
    stop: &Stop,
) -> Result<(), String> {
    let runtime = http.cores.runtime();
    let validate_keys = config.data.validate_keys;
    for (position, socket) in tcp_sockets {
        let section = &config.tcp[position];
        let settings = tcp::Settings {
            database: section.database.clone(),
            retention_policy: section.retention_policy.clone(),
            precision: precision(&section.precision)?,
            batch_size: section.batch_size as usize,
            batch_timeout: section.batch_timeout.std(),
            unsigned: false,
            validate_keys,
        };
        let input =
            Rc::new(tcp::TcpInput { writer: Rc::clone(&http.writer), runtime: runtime.clone(), settings });
        let listener = SocketListener::tcp(socket).map_err(|error| format!("cannot listen: {error}"))?;
        let (stopped, http) = (stop.1.clone(), Rc::clone(http));
        let tls = tcp_tls.get(position).cloned().flatten();
        runtime.spawn(Priority::Ingest, async move {
            let stop = async {
                let _ = stopped.recv_async().await;
            };
            futures_lite::future::or(accept(&listener, &input, &http, &tls), stop).await;
        });
    }
    for (position, socket) in udp_sockets {
        let section = &config.udp[position];
        let settings = udp::Settings {
            database: section.database.clone(),
            retention_policy: section.retention_policy.clone(),
            precision: precision(&section.precision)?,
            batch_size: section.batch_size as usize,
            batch_pending: section.batch_pending as usize,
            batch_timeout: section.batch_timeout.std(),
            unsigned: false,
            validate_keys,
        };
        let input = Rc::new(udp::UdpInput {
            writer: Rc::clone(&http.writer),
            runtime: runtime.clone(),
            settings,
            counters: Rc::default(),
        });
        let stopped = stop.1.clone();
        let source = UdpSocket::new(socket);
        runtime.spawn(
            Priority::Ingest,
            input.run(source, async move {
                let _ = stopped.recv_async().await;
            }),
        );
    }
    Ok(())
}

fn precision(token: &str) -> Result<Precision, String> {
    Precision::from_token(token).ok_or_else(|| format!("invalid precision {token:?} of a listener"))
}

async fn accept(
    listener: &SocketListener,
    input: &Rc<tcp::TcpInput<crate::write::Owners>>,
    http: &Rc<Http>,
    tls: &Option<Arc<rustls::ServerConfig>>,
) {
    let runtime = http.cores.runtime();
    loop {
        let accepted = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                runtime.sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let (input, http, tls) = (Rc::clone(input), Rc::clone(http), tls.clone());
        runtime.spawn(Priority::Ingest, async move {
            let stream = match life::open(accepted, tls, http.cores.runtime()).await {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::debug!(%error, "a TCP sender was gone before it began");
                    return;
                }
            };
            match input.serve(stream).await {
                Ok(served) => counters::add(&http.cores.counters().tcp_points, served.points),
                Err(error) => tracing::debug!(%error, "a TCP sender is gone"),
            }
        });
    }
}
