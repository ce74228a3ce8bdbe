//! HTTP: the route table, and what every request goes through.
//!
//! connection → head → route → rights → handler → common headers, CORS, gzip → access log. One [`Http`] per core; it
//! ends with it.

mod access_log;
pub mod auth;
mod continuous_query;
mod debug;
pub mod encode;
mod parameters;
mod ping;
mod prometheus;
mod query;
mod reply;
pub mod request_track;
mod throttle;
mod write;

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response};
use tidemark_net::http1::{Answer, Connections, RequestBody};
use tidemark_net::pool::Pool;
use tidemark_net::socket::{BoxStream, Peer};

pub use access_log::AccessLog;
pub use parameters::Parameters;
pub use reply::INFLUXDB_VERSION;

use crate::config::Config;
use crate::cores::Cores;
use crate::cores::counters::{self, Active};
use crate::error::ApiError;
use crate::runtime::Priority;
use crate::statement::credentials::Credentials;
use crate::statement::executor::Executor;
use crate::write::{Owners, Writer};

const NO_HOST: &str = "400 Bad Request: missing required Host header";

/// Whole answers under this are sent as they are: compressing them costs more than it saves.
const GZIP_BYTES_MIN: u64 = 512;

/// What the HTTP side of a core is made of.
pub struct Http {
    pub cores: Cores,
    pub config: Rc<Config>,
    pub connections: Connections,
    /// Bytes of request bodies.
    pub bodies: Pool,
    pub access_log: Option<AccessLog>,
    /// Headers the configuration adds to every answer.
    extra_headers: Vec<(HeaderName, HeaderValue)>,
    throttle: throttle::Throttle,
    pub credentials: Rc<Credentials>,
    pub requests: request_track::RequestTrack,
    pub writer: Rc<Writer<Owners>>,
    pub executor: Executor,
    /// When the process started: wall clock, ns.
    started_ns: i64,
}

/// One request, its body apart.
pub(crate) struct Head {
    pub parts: Parts,
    pub parameters: Parameters,
    pub peer: Peer,
    pub request_id: HeaderValue,
    /// Of a form in the body, once it was read.
    pub form: OnceCell<Parameters>,
}

impl Head {
    pub fn header(&self, name: HeaderName) -> &str {
        self.parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// What answers a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Options,
    Write,
    WriteV2,
    Query,
    Ping,
    Status,
    Health,
    Ready,
    Metrics,
    DebugVars,
    DebugRequests,
    ProcessContinuousQueries,
    PrometheusWrite,
    PrometheusRead,
    FluxOff,
    V2Off,
}

/// Path, methods, what answers.
const ROUTES: [(&str, &[Method], Route); 19] = [
    ("/write", &[Method::OPTIONS], Route::Options),
    ("/query", &[Method::OPTIONS], Route::Options),
    ("/write", &[Method::POST], Route::Write),
    ("/query", &[Method::GET, Method::POST], Route::Query),
    ("/api/v2/write", &[Method::POST], Route::WriteV2),
    ("/api/v1/prom/write", &[Method::POST], Route::PrometheusWrite),
    ("/api/v1/prom/read", &[Method::POST], Route::PrometheusRead),
    ("/api/v2/query", &[Method::GET, Method::POST], Route::FluxOff),
    ("/api/v2/query/analyze", &[Method::POST], Route::FluxOff),
    ("/api/v2/query/ast", &[Method::POST], Route::FluxOff),
    ("/data/process_continuous_queries", &[Method::POST], Route::ProcessContinuousQueries),
    ("/ping", &[Method::GET, Method::HEAD], Route::Ping),
    ("/status", &[Method::GET, Method::HEAD], Route::Status),
    ("/health", &[Method::GET, Method::HEAD], Route::Health),
    ("/ready", &[Method::GET, Method::HEAD], Route::Ready),
    ("/metrics", &[Method::GET], Route::Metrics),
    ("/debug/vars", &[Method::GET], Route::DebugVars),
    ("/debug/requests", &[Method::GET], Route::DebugRequests),
    ("/debug/vars/", &[Method::GET], Route::DebugVars),
];

fn route(method: &Method, path: &str) -> Result<Route, Response<Answer>> {
    let mut allowed = Vec::new();
    for (known, methods, route) in ROUTES {
        if known == path {
            if methods.contains(method) {
                return Ok(route);
            }
            allowed.extend(methods.iter().map(Method::as_str));
        }
    }
    if allowed.is_empty() && path.starts_with("/api/v2/") {
        return Ok(Route::V2Off);
    }
    if allowed.is_empty() {
        return Err(reply::text_error(404, "404 page not found\n"));
    }
    let mut refusal = reply::text_error(405, "Method Not Allowed\n");
    if let Ok(value) = HeaderValue::from_str(&allowed.join(", ")) {
        refusal.headers_mut().insert(header::ALLOW, value);
    }
    Err(refusal)
}

impl Http {
    /// `body_bytes_max` and `query_bytes_max`: this core's memory for request bodies and for queries.
    pub fn new(
        cores: Cores,
        config: Rc<Config>,
        body_bytes_max: u64,
        query_bytes_max: u64,
        access_log: Option<AccessLog>,
    ) -> Self {
        let extra_headers = config.http.headers.iter().filter_map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_str(value).ok()?))
        });
        let started_ns = cores.runtime().wall_ns();
        let writer = Rc::new(Writer::new(Owners::new(cores.clone(), config.engine.slices)));
        Self {
            executor: Executor::new(cores.clone(), &config, Rc::clone(&writer), query_bytes_max),
            writer,
            extra_headers: extra_headers.collect(),
            throttle: throttle::Throttle::new(&config.http, cores.count()),
            credentials: Rc::default(),
            requests: request_track::RequestTrack::default(),
            connections: Connections::new(cores.runtime().monotonic_ms()),
            bodies: Pool::new(body_bytes_max),
            cores,
            config,
            access_log,
            started_ns,
        }
    }

    /// Serves a connection to its end. `place`: the queue it belongs to, by what it asked for last.
    pub async fn serve(self: &Rc<Self>, stream: BoxStream, place: &Cell<Priority>) {
        let peer = stream.peer();
        let served = self.connections.serve(stream, |peer, request| {
            match request.uri().path() {
                "/query" | "/api/v1/prom/read" => place.set(Priority::Answer),
                _ => place.set(Priority::Ingest),
            }
            let http = Rc::clone(self);
            async move { http.answer(peer, request).await }
        });
        if let Err(error) = served.await {
            tracing::debug!(%peer, %error, "connection ended");
        }
    }

    async fn answer(self: Rc<Self>, peer: Peer, request: Request<RequestBody>) -> Response<Answer> {
        let runtime = self.cores.runtime();
        let counters = self.cores.counters();
        let started_ns = runtime.monotonic_ns();
        counters::add(&counters.requests, 1);
        let _active = Active::new(&counters.requests_active_now);

        let (parts, body) = request.into_parts();
        let request_id = reply::request_id(&parts.headers, runtime);
        let parameters = Parameters::parse(parts.uri.query().unwrap_or_default());
        let head = Head { parts, parameters, peer, request_id, form: OnceCell::new() };

        if let path @ ("/write" | "/query" | "/api/v2/write" | "/api/v1/prom/write" | "/api/v1/prom/read") =
            head.parts.uri.path()
        {
            let who = || match head.parameters.get("u") {
                "" => format!("{}", head.peer),
                user => format!("{user}:{}", head.peer),
            };
            self.requests.note(who, path.ends_with("/write"));
        }
        let mut reply = match route(&head.parts.method, head.parts.uri.path()) {
            _ if lacks_host(&head.parts) => reply::whole(400, reply::TEXT, NO_HOST),
            Ok(route) => self
                .handle(route, &head, body)
                .await
                .unwrap_or_else(|error| reply::error(&error, &self.config.http.realm)),
            Err(refusal) => refusal,
        };
        self.finish(&head, &mut reply);

        let took_ns = runtime.monotonic_ns() - started_ns;
        counters::add(&counters.requests_ns, took_ns);
        match reply.status().as_u16() {
            401 => counters::add(&counters.auth_failures, 1),
            400..=499 => counters::add(&counters.client_errors, 1),
            500..=599 => counters::add(&counters.server_errors, 1),
            _ => {}
        }
        if let Some(log) = &self.access_log {
            log.write(&self.config.http, &head, &reply, runtime.wall_ns(), took_ns);
        }
        if zips(&head.parts.headers, head.parts.uri.path(), &reply) {
            let (mut parts, answer) = reply.into_parts();
            parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            parts.headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
            return Response::from_parts(parts, answer.gzip());
        }
        reply
    }

    async fn handle(
        self: &Rc<Self>,
        route: Route,
        head: &Head,
        body: RequestBody,
    ) -> Result<Response<Answer>, ApiError> {
        match route {
            Route::Options => Ok(reply::whole(200, reply::TEXT, "")),
            Route::Query => self.query(head, body).await,
            Route::Write => self.write(head, body).await,
            Route::WriteV2 => self.write_v2(head, body).await,
            Route::Ping => self.ping(head).await,
            Route::Status => self.status(),
            Route::Health => self.health(head).await,
            Route::Ready => self.ready(head).await,
            Route::Metrics => self.metrics(head).await,
            Route::DebugVars => self.debug_vars(head).await,
            Route::DebugRequests => self.debug_requests(head).await,
            Route::ProcessContinuousQueries => self.process_continuous_queries(head).await,
            Route::PrometheusWrite => self.prometheus_write(head, body).await,
            Route::PrometheusRead => self.prometheus_read(head, body).await,
            Route::FluxOff => Err(ApiError::forbidden(
                "Flux query service disabled. Flux is not part of this server: ask /query in InfluxQL.",
            )),
            Route::V2Off => Err(ApiError::not_found(format!(
                "{} is not served: of the API of InfluxDB 2 there is /api/v2/write",
                head.parts.uri.path()
            ))),
        }
    }

    fn finish(&self, head: &Head, reply: &mut Response<Answer>) {
        let headers = reply.headers_mut();
        reply::add_common(headers, &head.request_id);
        if let Some(origin) = head.parts.headers.get(header::ORIGIN) {
            reply::add_cors(headers, origin);
        }
        for (name, value) in &self.extra_headers {
            headers.insert(name.clone(), value.clone());
        }
    }
}

/// HTTP/1.1 asks for it.
fn lacks_host(parts: &Parts) -> bool {
    parts.version == http::Version::HTTP_11
        && parts.uri.authority().is_none()
        && !parts.headers.contains_key(header::HOST)
}

/// Whether an answer is to be compressed.
fn zips(headers: &HeaderMap, path: &str, reply: &Response<Answer>) -> bool {
    use tidemark_net::http1::answer_length;
    let accepts = headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains("gzip"));
    let compressible =
        path == "/query" || path == "/metrics" || path == "/debug/vars" || path.starts_with("/api/");
    accepts
        && compressible
        && !reply.headers().contains_key(header::CONTENT_ENCODING)
        && answer_length(reply.body()).is_none_or(|length| length >= GZIP_BYTES_MIN)
}
