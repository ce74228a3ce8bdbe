//! A server that keeps what is posted to it: what a subscriber is.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Certificate and key of 127.0.0.1, PEM.
pub const LOCALHOST: &str = include_str!("localhost.pem");

fn tls() -> Arc<rustls::ServerConfig> {
    let chain = rustls_pemfile::certs(&mut LOCALHOST.as_bytes()).flatten().collect();
    let key = rustls_pemfile::private_key(&mut LOCALHOST.as_bytes()).expect("PEM").expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().expect("known versions");
    Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).expect("a key of the certificate"))
}

/// A request as it came: its head and its body.
#[derive(Debug, Clone)]
pub struct Posted {
    pub head: String,
    pub body: String,
}

/// Listens until it is dropped; its thread ends with the process.
pub struct Receiver {
    pub port: u16,
    posted: Arc<Mutex<Vec<Posted>>>,
}

impl Receiver {
    /// Answers everything with this status.
    pub fn start(status: u16) -> Self {
        Self::start_with(move |stream, kept| serve(stream, status, kept))
    }

    /// Speaks TLS, with the certificate of [`LOCALHOST`].
    pub fn start_tls(status: u16) -> Self {
        let config = tls();
        Self::start_with(move |stream, kept| {
            if let Ok(connection) = rustls::ServerConnection::new(Arc::clone(&config)) {
                serve(rustls::StreamOwned::new(connection, stream), status, kept);
            }
        })
    }

    fn start_with(serve: impl Fn(TcpStream, &Mutex<Vec<Posted>>) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a local address").port();
        let posted = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&posted);
        let serve = Arc::new(serve);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (serve, kept) = (Arc::clone(&serve), Arc::clone(&kept));
                std::thread::spawn(move || serve(stream, &kept));
            }
        });
        Self { port, posted }
    }

    /// All requests so far.
    pub fn posted(&self) -> Vec<Posted> {
        self.posted.lock().expect("no server panics").clone()
    }

    /// Waits until the bodies that came hold so many lines; all requests.
    pub fn wait_for_lines(&self, lines: usize) -> Vec<Posted> {
        let started = Instant::now();
        loop {
            let posted = self.posted();
            let count: usize = posted.iter().map(|one| one.body.lines().count()).sum();
            if count >= lines {
                return posted;
            }
            assert!(started.elapsed() < Duration::from_secs(30), "only {count} lines came: {posted:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Requests with a `Content-Length`, one after the other.
fn serve(mut stream: impl Read + Write, status: u16, kept: &Mutex<Vec<Posted>>) {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let Ok(count @ 1..) = stream.read(&mut chunk) else { return };
        bytes.extend_from_slice(&chunk[..count]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let whole = end + 4 + length.unwrap_or(0);
        if bytes.len() < whole {
            continue;
        }
        let body = String::from_utf8_lossy(&bytes[end + 4..whole]).into_owned();
        kept.lock().expect("no server panics").push(Posted { head, body });
        bytes.drain(..whole);
        if stream.write_all(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").as_bytes()).is_err() {
            return;
        }
    }
}
