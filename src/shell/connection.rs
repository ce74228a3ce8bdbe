//! The server as the shell speaks to it: ping, query, write. One [`Connection`] per `connect`; cheap to clone, clones
//! share their sockets.

use std::io::{BufReader, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ureq::Agent;
use ureq::http::Response;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector, RustlsConnector};

use super::answer::Answer;
use super::interrupt::Interrupt;
use super::socket::{SocketConnector, Waiting};

/// Of an error body that is no JSON, what is shown.
const ERROR_BYTES_MAX: u64 = 64 << 10;

/// Where Linux distributions keep the certificates they trust.
const CERTIFICATE_FILES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// How a server is reached.
#[derive(Debug, Clone, PartialEq)]
pub struct Address {
    pub ssl: bool,
    pub host: String,
    pub port: u32,
    /// Without slashes at its ends; empty for none.
    pub path_prefix: String,
}

impl Address {
    /// Reads `host`, `host:port`, `[v6]:port`, each with or without `http://` or `https://` before and a path behind.
    pub fn parse(text: &str, ssl: bool) -> Result<Self, String> {
        let (ssl, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => (ssl, text),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let has_port = authority.rfind(':').is_some_and(|colon| !authority[colon..].contains(']'))
            && (authority.starts_with('[') || authority.matches(':').count() == 1);
        let (host, port) = match authority.rsplit_once(':').filter(|_| has_port) {
            Some((host, port)) => {
                let port = port.parse().map_err(|_| format!("invalid port number {port:?} in {text:?}"))?;
                (host, port)
            }
            None => (authority, 8086),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let host = if host.is_empty() { "localhost" } else { host };
        Ok(Self { ssl, host: host.to_owned(), port, path_prefix: path.trim_matches('/').to_owned() })
    }

    /// The address as a URL, without a slash at its end.
    pub fn url(&self) -> String {
        let scheme = if self.ssl { "https" } else { "http" };
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        let prefix = match self.path_prefix.as_str() {
            "" => String::new(),
            prefix => format!("/{prefix}"),
        };
        format!("{scheme}://{host}:{}{prefix}", self.port)
    }
}

/// Everything a connection is made of.
#[derive(Debug, Clone)]
pub struct Target {
    pub address: Address,
    pub unix: Option<PathBuf>,
    pub unsafe_ssl: bool,
    pub username: String,
    pub password: String,
}

/// Why a request has no answer.
#[derive(Debug)]
pub enum Failure {
    /// Ctrl-C.
    Interrupted,
    /// The server was not reached, or the connection broke.
    Unreachable(String),
    /// The server refused, with its status and words; `body` is the answer as it came.
    Refused { status: u16, message: String, body: String, retry_after: Option<Duration> },
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Interrupted => f.write_str("aborted by user"),
            Self::Unreachable(message) | Self::Refused { message, .. } => f.write_str(message),
        }
    }
}

/// A query with what goes with it.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    pub text: String,
    pub database: String,
    pub retention_policy: String,
    /// `ns` and so on; empty for RFC 3339.
    pub epoch: String,
    pub chunked: bool,
    pub chunk_size: u64,
    pub node: i64,
    pub limit: Option<Duration>,
}

/// Where lines are written.
#[derive(Debug, Clone, Default)]
pub struct WriteTo {
    pub database: String,
    pub retention_policy: String,
    /// Empty: nanoseconds.
    pub precision: String,
    pub consistency: String,
}

#[derive(Clone)]
pub struct Connection {
    agent: Agent,
    target: Arc<Target>,
    pub waiting: Waiting,
}

impl Connection {
    pub fn new(target: Target, waiting: Waiting) -> Self {
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(match target.unsafe_ssl || !target.address.ssl {
                true => RootCerts::Specific(Arc::new(Vec::new())),
                false => RootCerts::Specific(Arc::new(trusted_certificates())),
            })
            .disable_verification(target.unsafe_ssl)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .user_agent(concat!("TidemarkShell/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls)
            .build();
        let connector = SocketConnector { unix: target.unix.clone(), waiting: waiting.clone() }
            .chain(RustlsConnector::default());
        let agent = Agent::with_parts(config, connector, DefaultResolver::default());
        Self { agent, target: Arc::new(target), waiting }
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    /// A further connection to the same server for another user.
    pub fn with_user(&self, username: &str, password: &str) -> Self {
        let target =
            Target { username: username.to_owned(), password: password.to_owned(), ..(*self.target).clone() };
        Self { target: Arc::new(target), ..self.clone() }
    }

    /// The server's version; `None` if it names none.
    pub fn ping(&self) -> Result<Option<String>, Failure> {
        let response = self.send("GET", "ping", &[], None, None)?;
        let version = response.headers().get("x-influxdb-version");
        Ok(version.and_then(|value| value.to_str().ok()).map(str::to_owned))
    }

    /// Sends a query; its answer comes in parts.
    pub fn query(&self, ask: &Ask) -> Result<Answers, Failure> {
        let chunk_size = ask.chunk_size.to_string();
        let node = ask.node.to_string();
        let mut parameters = vec![("db", ask.database.as_str())];
        let mut add = |wanted: bool, name, value| {
            if wanted {
                parameters.push((name, value));
            }
        };
        add(!ask.retention_policy.is_empty(), "rp", ask.retention_policy.as_str());
        add(!ask.epoch.is_empty(), "epoch", ask.epoch.as_str());
        add(ask.chunked, "chunked", "true");
        add(ask.chunked && ask.chunk_size > 0, "chunk_size", &chunk_size);
        add(ask.node > 0, "node_id", &node);
        // The text goes in the body: it may be longer than an address may be.
        let body = format!("q={}", encoded(&ask.text));
        let response = self.send(
            "POST",
            "query",
            &parameters,
            Some((body.as_bytes(), "application/x-www-form-urlencoded")),
            ask.limit,
        )?;
        Ok(Answers::new(response, ask.chunked, self.waiting.interrupt.clone()))
    }

    /// A query whose whole answer is small.
    pub fn query_whole(&self, ask: &Ask) -> Result<Answer, Failure> {
        let mut whole = Answer::default();
        for answer in self.query(ask)? {
            let answer = answer?;
            whole.results.extend(answer.results);
            whole.error = whole.error.or(answer.error);
        }
        Ok(whole)
    }

    pub fn write(&self, to: &WriteTo, lines: &[u8]) -> Result<(), Failure> {
        let parameters = [
            ("db", to.database.as_str()),
            ("rp", to.retention_policy.as_str()),
            ("precision", to.precision.as_str()),
            ("consistency", to.consistency.as_str()),
        ];
        let response =
            self.send("POST", "write", &parameters, Some((lines, "text/plain; charset=utf-8")), None)?;
        let status = response.status().as_u16();
        if status == 204 || status == 200 {
            return Ok(());
        }
        let retry_after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let body = text_of(response);
        Err(Failure::Refused { status, message: error_in(&body), body, retry_after })
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        parameters: &[(&str, &str)],
        body: Option<(&[u8], &str)>,
        limit: Option<Duration>,
    ) -> Result<Response<ureq::Body>, Failure> {
        let mut url = match &self.target.unix {
            // The address is not looked up for a Unix socket, but it must be one.
            Some(_) => format!("http://127.0.0.1/{path}"),
            None => format!("{}/{path}", self.target.address.url()),
        };
        for (at, (name, value)) in parameters.iter().enumerate() {
            url.push(if at == 0 { '?' } else { '&' });
            url.push_str(&format!("{name}={}", encoded(value)));
        }
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        if !self.target.username.is_empty() {
            let user = format!("{}:{}", self.target.username, self.target.password);
            request = request.header("Authorization", format!("Basic {}", BASE64_STANDARD.encode(user)));
        }
        if let Some((_, content_type)) = body {
            request = request.header("Content-Type", content_type);
        }
        let bad = |error: ureq::http::Error| Failure::Unreachable(error.to_string());
        let sent = match body {
            Some((bytes, _)) => {
                let request = self.agent.configure_request(request.body(bytes).map_err(bad)?);
                self.agent.run(request.timeout_global(limit).build())
            }
            None => {
                let request = self.agent.configure_request(request.body(()).map_err(bad)?);
                self.agent.run(request.timeout_global(limit).build())
            }
        };
        sent.map_err(|error| self.failure(&error))
    }

    fn failure(&self, error: &ureq::Error) -> Failure {
        match self.waiting.interrupt.is_set() {
            true => Failure::Interrupted,
            false => Failure::Unreachable(match error {
                ureq::Error::Io(error) => error.to_string(),
                other => other.to_string(),
            }),
        }
    }
}

/// The documents of an answer, as they arrive. Dropping it early closes the connection, and the server ends the query.
pub struct Answers {
    status: u16,
    documents: Documents,
    is_chunked: bool,
    is_over: bool,
    has_error: bool,
    interrupt: Interrupt,
}

type Documents =
    serde_json::StreamDeserializer<'static, serde_json::de::IoRead<BufReader<Box<dyn Read + Send>>>, Answer>;

impl Answers {
    fn new(response: Response<ureq::Body>, is_chunked: bool, interrupt: Interrupt) -> Self {
        let status = response.status().as_u16();
        let is_json = response
            .headers()
            .get("content-type")
            .and_then(|value| value.to_str().ok())
            .is_none_or(|kind| kind.contains("json"));
        let reader: Box<dyn Read + Send> = match is_json {
            true => Box::new(response.into_body().into_reader()),
            false => {
                let text = serde_json::json!({ "error": error_in(&text_of(response)) });
                Box::new(std::io::Cursor::new(text.to_string().into_bytes()))
            }
        };
        let documents = serde_json::Deserializer::from_reader(BufReader::with_capacity(64 << 10, reader));
        Self {
            status,
            documents: documents.into_iter(),
            is_chunked,
            is_over: false,
            has_error: false,
            interrupt,
        }
    }
}

impl Iterator for Answers {
    type Item = Result<Answer, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        match self.documents.next() {
            Some(Ok(answer)) => {
                self.has_error |= answer.first_error().is_some();
                self.is_over = answer.error.is_some() || !self.is_chunked;
                Some(Ok(answer))
            }
            Some(Err(error)) => {
                self.is_over = true;
                Some(Err(match error.io_error_kind() {
                    // Whatever the layers between make of it.
                    _ if self.interrupt.is_set() => Failure::Interrupted,
                    Some(_) => Failure::Unreachable(format!("the connection broke: {error}")),
                    None => Failure::Unreachable(format!("unreadable answer: {error}")),
                }))
            }
            None => {
                self.is_over = true;
                let refused = self.status != 200 && !self.has_error;
                refused.then(|| {
                    Err(Failure::Refused {
                        status: self.status,
                        message: format!("received status code {} from server", self.status),
                        body: String::new(),
                        retry_after: None,
                    })
                })
            }
        }
    }
}

/// The body of a refusal.
fn text_of(response: Response<ureq::Body>) -> String {
    let mut bytes = Vec::new();
    let _ = response.into_body().into_reader().take(ERROR_BYTES_MAX).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What it says: its `error`, or all of it.
fn error_in(text: &str) -> String {
    match serde_json::from_str::<Answer>(text) {
        Ok(Answer { error: Some(error), .. }) => error,
        _ => text.trim_end().to_owned(),
    }
}

/// The certificates the machine trusts.
fn trusted_certificates() -> Vec<Certificate<'static>> {
    let named = std::env::var("SSL_CERT_FILE").ok();
    for path in named.iter().map(String::as_str).chain(CERTIFICATE_FILES) {
        let Ok(pem) = std::fs::read(path) else { continue };
        let found: Vec<_> = rustls_pemfile::certs(&mut pem.as_slice())
            .flatten()
            .map(|der| Certificate::from_der(&der).to_owned())
            .collect();
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}

/// Percent-encoded, as a parameter.
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_every_form() {
        for (text, want) in [
            ("localhost:8086", "http://localhost:8086"),
            ("h", "http://h:8086"),
            ("h:1", "http://h:1"),
            ("https://h:1/", "https://h:1"),
            ("http://h:1/a/b/", "http://h:1/a/b"),
            ("[::1]:9", "http://[::1]:9"),
            ("::1", "http://[::1]:8086"),
            (":9", "http://localhost:9"),
        ] {
            assert_eq!(Address::parse(text, false).unwrap().url(), want);
        }
        assert_eq!(Address::parse("h", true).unwrap().url(), "https://h:8086");
        assert!(Address::parse("h:x", false).is_err());
    }

    /// A server that answers one request with this text and then waits for the client to close.
    fn server(answer: &'static str) -> (Connection, std::thread::JoinHandle<String>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::parse(&listener.local_addr().unwrap().to_string(), false).unwrap();
        let serving = std::thread::spawn(move || {
            use std::io::Write;
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 4096];
            let count = stream.read(&mut asked).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            // The end comes when the client closes; it may have sent a body before.
            while stream.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {}
            String::from_utf8_lossy(&asked[..count]).into_owned()
        });
        let target =
            Target { address, unix: None, unsafe_ssl: false, username: "u".into(), password: "p:ä".into() };
        (Connection::new(target, Waiting::default()), serving)
    }

    #[test]
    fn chunks_are_read_one_by_one() {
        let (connection, serving) = server(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
             30\r\n{\"results\":[{\"statement_id\":0,\"partial\":true}]}\n\r\n\
             2d\r\n{\"results\":[{\"statement_id\":0,\"error\":\"e\"}]}\n\r\n0\r\n\r\n",
        );
        let ask = Ask { text: "SELECT 'é'".into(), chunked: true, ..Ask::default() };
        let answers: Vec<Answer> = connection.query(&ask).unwrap().map(Result::unwrap).collect();
        assert_eq!(answers.len(), 2);
        assert_eq!(answers[1].first_error(), Some("e"));
        drop(connection);
        let asked = serving.join().unwrap();
        assert!(asked.starts_with("POST /query?db=&chunked=true HTTP/1.1\r\n"), "{asked}");
        assert!(asked.to_lowercase().contains("authorization: basic dtpwosok\r\n"), "{asked}");
    }

    #[test]
    fn a_refusal_that_is_no_json_is_told() {
        let (connection, _serving) = server(
            "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\nnot here\n",
        );
        let answer = connection.query_whole(&Ask::default()).unwrap();
        assert_eq!(answer.first_error(), Some("not here"));
    }

    #[test]
    fn ctrl_c_ends_a_wait_and_closes_the_connection() {
        let (connection, serving) = server("");
        let interrupt = connection.waiting.interrupt.clone();
        let pressed = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            interrupt.set();
        });
        assert!(matches!(connection.query(&Ask::default()), Err(Failure::Interrupted)));
        pressed.join().unwrap();
        serving.join().unwrap();
    }

    #[test]
    fn ctrl_c_in_the_middle_of_an_answer_ends_it() {
        let (connection, serving) = server(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
             30\r\n{\"results\":[{\"statement_id\":0,\"partial\":true}]}\n\r\n",
        );
        let mut answers = connection.query(&Ask { chunked: true, ..Ask::default() }).unwrap();
        assert!(answers.next().unwrap().is_ok());
        connection.waiting.interrupt.set();
        assert!(matches!(answers.next(), Some(Err(Failure::Interrupted))));
        drop(answers);
        serving.join().unwrap();
    }
}
