//! `/query`: statements in, results out while they are made.
//!
//! parameters → who asks → parsed → rights → executed in the query queue → encoded → chunks. An answer that is done before
//! it fills a buffer is sent whole. A client that goes ends the query: the connection drops the answer, which drops
//! what keeps the query going.

use std::borrow::Cow;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_lite::{Stream, StreamExt};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Response};
use tidemark_net::http1::{Answer, RequestBody};

use super::encode::{Encoder, Epoch, Format, Options};
use super::{Head, Http, Parameters, reply};
use crate::cores::counters;
use crate::error::ApiError;
use crate::influxql::{Parameter, Query, Statement, parse_query};
use crate::query::error::{QueryError, Result as QueryResult};
use crate::query::result::{ResultSink, Series, Unseen};
use crate::runtime::Priority;
use crate::statement::executor::{Asked, Executor};
use crate::statement::privilege;

/// Rows of a chunk unless the client says otherwise.
const CHUNK_ROWS: usize = 10_000;

/// Encoded bytes that are sent on before an answer is whole.
const BUFFER_BYTES: usize = 64 << 10;

/// Pieces of an answer waiting for the connection.
const PIECES_AHEAD: usize = 2;

/// Bytes of a query's text up to which it is read in well under a millisecond.
const PARSED_HERE_MAX: usize = 32 << 10;

const TOO_MANY_LONG: &str = "too many long queries at once";

type Bound = crate::influxql::Parameters;

enum Piece {
    More(Bytes),
    Last(Bytes),
}

impl Http {
    pub(super) async fn query(
        self: &Rc<Self>,
        head: &Head,
        body: RequestBody,
    ) -> Result<Response<Answer>, ApiError> {
        let counters = self.cores.counters();
        counters::add(&counters.query_requests, 1);
        let started_ns = self.cores.runtime().monotonic_ns();
        let answer = self.query_answer(head, body).await;
        counters::add(&counters.query_requests_ns, self.cores.runtime().monotonic_ns() - started_ns);
        answer
    }

    async fn query_answer(
        self: &Rc<Self>,
        head: &Head,
        body: RequestBody,
    ) -> Result<Response<Answer>, ApiError> {
        let mut parameters = Cow::Borrowed(&head.parameters);
        if head.parts.method == Method::POST
            && let Some(form) = self.form(head, body).await?
        {
            let _ = head.form.set(form.clone());
            parameters.to_mut().prepend(form);
        }
        let user = match self.config.http.auth_enabled {
            false => None,
            true => self.authenticate_with(head, &parameters).await?,
        };
        let text = parameters.get("q");
        if text.trim().is_empty() {
            return Err(ApiError::bad_request("missing required parameter \"q\""));
        }
        let bound = bound(parameters.get("params"))
            .map_err(|error| ApiError::bad_request(format!("error parsing query parameters: {error}")))?;
        let is_long = text.len() > PARSED_HERE_MAX;
        let query = self.parsed(text, bound).await?;
        let database = parameters.get("db").to_owned();
        if self.config.http.auth_enabled {
            let data = self.cores.view().current();
            privilege::authorize(&query.statements, &database, user.as_ref(), &data)
                .map_err(|refusal| ApiError::forbidden(format!("error authorizing query: {refusal}")))?;
        }
        let asked = Asked {
            database,
            retention_policy: parameters.get("rp").to_owned(),
            user,
            read_only: head.parts.method == Method::GET,
            since_ns: Some(self.cores.runtime().monotonic_ns()),
        };
        if parameters.is_true("async") {
            let executor = self.executor.clone();
            self.cores.runtime().spawn(Priority::Query, run_unseen(executor, query.statements, asked));
            return Ok(reply::no_content());
        }
        let options = self.options(head, &parameters);
        self.stream(query.statements, is_long, asked, options).await
    }

    /// A long text is read by the helper thread: it would hold this core's writes up for milliseconds.
    async fn parsed(&self, text: &str, bound: Bound) -> Result<Query, ApiError> {
        let parsed = if text.len() <= PARSED_HERE_MAX {
            parse_query(text, &bound)
        } else {
            let text = text.to_owned();
            let parsed = self.cores.runtime().offload(move || parse_query(&text, &bound)).await;
            parsed.ok_or_else(|| ApiError::overload(TOO_MANY_LONG))?
        };
        parsed.map_err(|error| ApiError::bad_request(format!("error parsing query: {error}")))
    }

    fn options(&self, head: &Head, parameters: &Parameters) -> Options {
        let format = match Format::from_accept(head.header(http::header::ACCEPT)) {
            // Of the address alone, as in InfluxDB.
            Format::Json { .. } => Format::Json { pretty: head.parameters.is_true("pretty") },
            other => other,
        };
        let chunk_size = parameters.is_true("chunked").then(|| {
            parameters.get("chunk_size").parse().ok().filter(|&rows: &usize| rows > 0).unwrap_or(CHUNK_ROWS)
        });
        Options {
            format,
            epoch: Epoch::from_parameter(parameters.get("epoch")),
            chunk_size,
            row_max: if chunk_size.is_some() { 0 } else { self.config.http.max_row_limit as usize },
        }
    }

    /// Starts the statements and waits for the first bytes.
    async fn stream(
        self: &Rc<Self>,
        statements: Vec<Statement>,
        is_long: bool,
        asked: Asked,
        options: Options,
    ) -> Result<Response<Answer>, ApiError> {
        let (pieces, receiver) = flume::bounded(PIECES_AHEAD);
        let (keep_going, gone) = flume::bounded::<()>(1);
        let (executor, http) = (self.executor.clone(), Rc::clone(self));
        let query = async move {
            let sink = EncodeSink {
                encoder: Encoder::new(options),
                pieces,
                is_chunked: options.chunk_size.is_some(),
                http: Rc::clone(&http),
            };
            let run = run_statements(&executor, &statements, &asked, sink);
            let gone = async {
                let _ = gone.recv_async().await;
            };
            futures_lite::future::or(run, gone).await;
            if is_long {
                // Where they were made: their hundreds of thousands of parts are that thread's memory.
                http.cores.runtime().offload(move || drop(statements)).await;
            }
        };
        let answered = receiver.clone();
        self.cores.runtime().begin_query(query, move || !answered.is_empty()).await;
        let first = receiver.recv_async().await;
        let content_type = HeaderValue::from_static(options.format.content_type());
        match first {
            Ok(Piece::Last(bytes)) => Ok(reply::whole(200, content_type, bytes)),
            Ok(Piece::More(bytes)) => {
                let rest =
                    Pieces { receiver: receiver.into_stream(), is_last: false, _keep_going: keep_going };
                let all = futures_lite::stream::once(Ok(bytes)).chain(rest);
                let mut reply = Response::new(Answer::chunks(all));
                reply.headers_mut().insert(CONTENT_TYPE, content_type);
                Ok(reply)
            }
            Err(_) => Err(ApiError::internal("the query ended without an answer")),
        }
    }

    /// The parameters of a form; `None` when the body is none.
    async fn form(&self, head: &Head, body: RequestBody) -> Result<Option<Parameters>, ApiError> {
        let content_type = head.header(CONTENT_TYPE);
        let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match kind.as_str() {
            "application/x-www-form-urlencoded" => {
                let body = self.body(head, body).await?;
                if body.len() <= PARSED_HERE_MAX {
                    return Ok(Some(Parameters::parse(&String::from_utf8_lossy(&body))));
                }
                // The copy is as large as the body, whose place in the pool is held meanwhile.
                let bytes = body.to_vec();
                let parse = move || Parameters::parse(&String::from_utf8_lossy(&bytes));
                let parsed = self.cores.runtime().offload(parse).await;
                parsed.map(Some).ok_or_else(|| ApiError::overload(TOO_MANY_LONG))
            }
            "multipart/form-data" => {
                let boundary = content_type.split("boundary=").nth(1).unwrap_or_default().trim_matches('"');
                let boundary = boundary.to_owned();
                let body = self.body(head, body).await?;
                Ok(Some(multipart(&body, &boundary)))
            }
            _ => Ok(None),
        }
    }
}

/// The named parts of a multipart body, files among them.
fn multipart(body: &[u8], boundary: &str) -> Parameters {
    let mut parameters = Parameters::default();
    if boundary.is_empty() {
        return parameters;
    }
    let text = String::from_utf8_lossy(body);
    let delimiter = format!("--{boundary}");
    for part in text.split(delimiter.as_str()).skip(1) {
        let Some((head, value)) = part.trim_start_matches("\r\n").split_once("\r\n\r\n") else { continue };
        let name = head.split("name=\"").nth(1).and_then(|rest| rest.split('"').next());
        if let Some(name) = name {
            parameters.push(name, value.strip_suffix("\r\n").unwrap_or(value).to_owned());
        }
    }
    parameters
}

/// Bound parameters out of a JSON object.
fn bound(text: &str) -> Result<Bound, String> {
    if text.is_empty() {
        return Ok(Bound::new());
    }
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| json_error(text, &error))?;
    let kind = match value {
        serde_json::Value::Object(values) => return bound_values(values),
        serde_json::Value::Null => return Ok(Bound::new()),
        serde_json::Value::Array(_) => "array",
        serde_json::Value::String(_) => "string",
        serde_json::Value::Number(_) => "number",
        serde_json::Value::Bool(_) => "bool",
    };
    Err(format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"))
}

/// In Go's words where it is cut short, or no JSON from its first character.
fn json_error(text: &str, error: &serde_json::Error) -> String {
    let first = text.trim_start().chars().next().unwrap_or(' ');
    match (error.classify(), first) {
        (serde_json::error::Category::Eof, _) => "unexpected EOF".to_owned(),
        (_, '{' | '[' | '"' | '-' | '0'..='9' | 't' | 'f' | 'n') => error.to_string(),
        (_, first) => format!("invalid character '{first}' looking for beginning of value"),
    }
}

fn bound_values(values: serde_json::Map<String, serde_json::Value>) -> Result<Bound, String> {
    values.into_iter().map(|(name, value)| Ok((name, bound_value(value)?))).collect()
}

fn bound_value(value: serde_json::Value) -> Result<Parameter, String> {
    use serde_json::Value;
    Ok(match value {
        Value::String(text) => Parameter::String(text),
        Value::Bool(boolean) => Parameter::Boolean(boolean),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => Parameter::Integer(integer),
            None => Parameter::Number(number.as_f64().ok_or("a number out of range")?),
        },
        Value::Object(object) if object.len() == 1 => {
            let (kind, value) = object.into_iter().next().ok_or("an empty object")?;
            Parameter::typed(&kind, bound_value(value)?)
        }
        Value::Object(_) => Parameter::Invalid("expected json object with a single key".to_owned()),
        Value::Null => Parameter::Invalid("unable to bind parameter with type <nil>".to_owned()),
        Value::Array(_) => Parameter::Invalid("unable to bind parameter with type []interface {}".to_owned()),
    })
}

async fn run_statements(executor: &Executor, statements: &[Statement], asked: &Asked, mut sink: EncodeSink) {
    let mut is_failed = false;
    for (id, statement) in statements.iter().enumerate() {
        sink.encoder.begin_statement(id as u64);
        if is_failed {
            sink.encoder.end_statement(Some("not executed"));
            continue;
        }
        match executor.execute(statement, asked, &mut sink).await {
            Ok(()) => sink.encoder.end_statement(None),
            // `max-row-limit`: whatever follows would not be sent.
            Err(QueryError::Aborted) if sink.encoder.is_full() => {
                sink.encoder.end_statement(None);
                break;
            }
            // Nobody is left to tell.
            Err(QueryError::Aborted) => return,
            Err(error) => {
                is_failed = true;
                sink.encoder.end_statement(Some(&error.to_string()));
            }
        }
        if sink.pass_on(sink.is_chunked).await.is_err() {
            return;
        }
    }
    sink.encoder.finish();
    let rest = sink.encoder.take();
    sink.count(rest.len());
    let _ = sink.pieces.send_async(Piece::Last(rest.into())).await;
}

/// `async=true`: errors are only logged.
async fn run_unseen(executor: Executor, statements: Vec<Statement>, asked: Asked) {
    for statement in &statements {
        if let Err(error) = executor.execute(statement, &asked, &mut Unseen).await {
            tracing::info!(%error, "error while running an async query");
            return;
        }
    }
}

/// Encodes pieces and passes the bytes on.
struct EncodeSink {
    encoder: Encoder,
    pieces: flume::Sender<Piece>,
    is_chunked: bool,
    http: Rc<Http>,
}

impl EncodeSink {
    /// Sends what is ready if it is enough, or anyway.
    async fn pass_on(&mut self, anyway: bool) -> QueryResult<()> {
        let ready = self.encoder.ready();
        if ready == 0 || (ready < BUFFER_BYTES && !anyway) {
            return Ok(());
        }
        let bytes = self.encoder.take();
        self.count(bytes.len());
        self.pieces.send_async(Piece::More(bytes.into())).await.map_err(|_| QueryError::Aborted)
    }

    fn count(&self, bytes: usize) {
        counters::add(&self.http.cores.counters().query_response_bytes, bytes as u64);
    }
}

impl ResultSink for EncodeSink {
    async fn series(&mut self, series: Series) -> QueryResult<()> {
        self.encoder.series(&series);
        let (wanted, max) = (self.encoder.held_bytes(), self.http.executor.query_bytes_max());
        if wanted > max {
            return Err(QueryError::Memory { wanted, max });
        }
        self.pass_on(self.is_chunked).await?;
        if self.encoder.is_full() { Err(QueryError::Aborted) } else { Ok(()) }
    }

    async fn message(&mut self, level: &str, text: &str) -> QueryResult<()> {
        self.encoder.message(level, text);
        Ok(())
    }
}

/// What follows the first piece. A query that ends without a last piece breaks the answer off.
struct Pieces {
    receiver: flume::r#async::RecvStream<'static, Piece>,
    is_last: bool,
    /// The query sees it go.
    _keep_going: flume::Sender<()>,
}

impl Stream for Pieces {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_last {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(Pin::new(&mut self.receiver).poll_next(cx)) {
            Some(Piece::More(bytes)) => Some(Ok(bytes)),
            Some(Piece::Last(bytes)) => {
                self.is_last = true;
                (!bytes.is_empty()).then_some(Ok(bytes))
            }
            None => Some(Err(std::io::Error::other("the query ended before its answer"))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bound_parameters_come_as_values_or_typed_objects() {
        let bound = bound(r#"{"s":"x","i":5,"f":1.5,"b":true,"id":{"identifier":"a b"},"bad":[1]}"#).unwrap();
        assert_eq!(bound["s"], Parameter::String("x".into()));
        assert_eq!(bound["i"], Parameter::Integer(5));
        assert_eq!(bound["f"], Parameter::Number(1.5));
        assert_eq!(bound["b"], Parameter::Boolean(true));
        assert_eq!(bound["id"], Parameter::Identifier("a b".into()));
        assert!(matches!(bound["bad"], Parameter::Invalid(_)));
        for (text, told) in [
            ("[1]", "json: cannot unmarshal array into Go value of type map[string]interface {}"),
            ("zz", "invalid character 'z' looking for beginning of value"),
            ("{\"a\":", "unexpected EOF"),
        ] {
            assert_eq!(super::bound(text).unwrap_err(), told);
        }
        assert!(super::bound("null").unwrap().is_empty());
    }

    #[test]
    fn a_query_in_a_file_of_a_form_is_found() {
        let body = b"--X\r\nContent-Disposition: form-data; name=\"q\"; filename=\"q.txt\"\r\n\
            Content-Type: application/octet-stream\r\n\r\nSHOW DATABASES\r\n--X\r\n\
            Content-Disposition: form-data; name=\"db\"\r\n\r\nd\r\n--X--\r\n";
        let parameters = multipart(body, "X");
        assert_eq!((parameters.get("q"), parameters.get("db")), ("SHOW DATABASES", "d"));
    }
}
