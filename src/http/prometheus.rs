//! Prometheus: `/api/v1/prom/write` and `/api/v1/prom/read`, protobuf under snappy.
//!
//! A sample of a metric is a point of the measurement of its name: every label a tag (the name too, as InfluxDB has it),
//! the value the float field `value`. A query reads that field of the series that its matchers choose.

mod message;

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http::header::{CONTENT_ENCODING, HeaderValue};
use prost::Message;
use tidemark_engine::model::Value;
use tidemark_net::http1::{Answer, RequestBody};
use tidemark_net::pool::Reservation;

use super::write::Target;
use super::{Head, Http, reply};
use crate::cores::counters;
use crate::error::ApiError;
use crate::influxql::ast::*;
use crate::line_protocol::{Precision, format};
use crate::query::error::{QueryError, Result as QueryResult};
use crate::query::result::{Cell, ResultSink, Series};
use crate::statement::executor::Asked;
use crate::statement::privilege;
use crate::write::WriteError;
use message::{Label, LabelMatcher, MatcherKind, Query, ReadRequest, ReadResponse, Sample, TimeSeries};

/// The label that holds a metric's name.
const NAME: &str = "__name__";

/// Measurement of samples without a name.
const NO_NAME: &str = "prom_metric_not_specified";

const FIELD: &[u8] = b"value";

/// Samples are written in pieces of about so many bytes of lines: labels are repeated for each.
const PIECE_BYTES: usize = 1 << 20;

/// Bytes of memory one sample or label of an answer takes, with room for its encoding.
const SAMPLE_BYTES: u64 = 48;

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");

impl Http {
    /// Samples in, points stored; NaN and infinite values are left out, as InfluxDB does.
    pub(super) async fn prometheus_write(
        self: &Rc<Self>,
        head: &Head,
        body: RequestBody,
    ) -> Result<Response<Answer>, ApiError> {
        let _place = self.throttle.enter(self.cores.runtime()).await?;
        counters::add(&self.cores.counters().prometheus_writes, 1);
        let target = Target {
            database: head.parameters.get("db"),
            retention_policy: head.parameters.get("rp"),
            precision: Precision::Millisecond,
        };
        if target.database.is_empty() {
            return Err(WriteError::DatabaseRequired.into());
        }
        let consistency = self.authorized_target(head, &target).await?;
        let (bytes, _room) = self.snappy_body(head, body).await?;
        let request = message::WriteRequest::decode(bytes).map_err(bad_message)?;
        let mut lines = Vec::new();
        for series in &request.timeseries {
            let key = key(&series.labels);
            for sample in series.samples.iter().filter(|sample| sample.value.is_finite()) {
                put_sample(&mut lines, &key, sample);
                if lines.len() >= PIECE_BYTES {
                    self.write_body(&target, consistency, &lines).await?;
                    lines.clear();
                }
            }
            futures_lite::future::yield_now().await;
        }
        self.write_body(&target, consistency, &lines).await?;
        Ok(reply::no_content())
    }

    /// One query's series and samples.
    pub(super) async fn prometheus_read(
        self: &Rc<Self>,
        head: &Head,
        body: RequestBody,
    ) -> Result<Response<Answer>, ApiError> {
        counters::add(&self.cores.counters().prometheus_reads, 1);
        let user = match self.config.http.auth_enabled {
            false => None,
            true => self.authenticate(head).await?,
        };
        let (bytes, room) = self.snappy_body(head, body).await?;
        let request = ReadRequest::decode(bytes).map_err(bad_message)?;
        drop(room);
        let [query] = request.queries.as_slice() else {
            return Err(ApiError::bad_request(
                "Prometheus read endpoint currently only supports one query at a time",
            ));
        };
        let (database, policy) = (head.parameters.get("db"), head.parameters.get("rp"));
        let statement = select(query, database, policy).map_err(ApiError::bad_request)?;
        if self.config.http.auth_enabled {
            let data = self.cores.view().current();
            privilege::authorize(std::slice::from_ref(&statement), database, user.as_ref(), &data)
                .map_err(|refusal| ApiError::forbidden(format!("error authorizing query: {refusal}")))?;
        }
        let asked = Asked { database: database.to_owned(), user, ..Asked::default() };
        let mut sink = SeriesSink { room: self.bodies.empty(), series: Vec::new() };
        self.executor
            .execute(&statement, &asked, &mut sink)
            .await
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
        let SeriesSink { room: _room, series } = sink;
        let answer = ReadResponse { results: vec![message::QueryResult { timeseries: series }] };
        let compressed = snap::raw::Encoder::new()
            .compress_vec(&answer.encode_to_vec())
            .map_err(|error| ApiError::internal(error.to_string()))?;
        let mut reply = reply::whole(200, PROTOBUF, compressed);
        reply.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        Ok(reply)
    }

    /// The body, decompressed. What it says its size is, is reserved before it is believed.
    async fn snappy_body(&self, head: &Head, body: RequestBody) -> Result<(Bytes, Reservation), ApiError> {
        let compressed = self.body(head, body).await?;
        let bad = |error: snap::Error| ApiError::bad_request(error.to_string());
        let length = snap::raw::decompress_len(&compressed).map_err(bad)?;
        let limit = self.config.http.max_body_size.0;
        if limit > 0 && length as u64 > limit {
            return Err(ApiError::body_too_large());
        }
        // The message is about as large again as its bytes.
        let room = self.bodies.try_reserve(2 * length as u64)?;
        let bytes = snap::raw::Decoder::new().decompress_vec(&compressed).map_err(bad)?;
        Ok((bytes.into(), room))
    }
}

fn bad_message(error: prost::DecodeError) -> ApiError {
    ApiError::bad_request(error.to_string())
}

/// Measurement and tags of a metric's labels, as line protocol.
fn key(labels: &[Label]) -> Vec<u8> {
    let name = labels.iter().rev().find(|label| label.name == NAME).map_or(NO_NAME, |label| &label.value);
    let mut key = Vec::new();
    format::put_measurement(&mut key, one_line(name).as_bytes());
    let mut labels: Vec<_> = labels.iter().collect();
    labels.sort();
    for label in labels {
        format::put_tag(&mut key, one_line(&label.name).as_bytes(), one_line(&label.value).as_bytes());
    }
    key
}

/// Line protocol has no way to write a line break in a tag.
fn one_line(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains('\n') { text.replace('\n', "\\n").into() } else { text.into() }
}

fn put_sample(lines: &mut Vec<u8>, key: &[u8], sample: &Sample) {
    lines.extend_from_slice(key);
    lines.push(b' ');
    lines.extend_from_slice(FIELD);
    lines.push(b'=');
    format::put_value(lines, &Value::Float(sample.value));
    lines.push(b' ');
    lines.extend_from_slice(itoa::Buffer::new().format(sample.timestamp).as_bytes());
    lines.push(b'\n');
}

/// The SELECT a query asks for.
fn select(query: &Query, database: &str, policy: &str) -> Result<Statement, String> {
    let mut name = MeasurementName::Regex(Regex { pattern: ".*".to_owned() });
    let mut conditions = Vec::new();
    for matcher in &query.matchers {
        match (matcher.name.as_str(), MatcherKind::try_from(matcher.kind)) {
            (_, Err(_)) => return Err(format!("unknown match type {}", matcher.kind)),
            // A metric is a measurement, whoever wrote it.
            (NAME, Ok(MatcherKind::Equal)) => name = MeasurementName::Name(matcher.value.clone()),
            (NAME, Ok(MatcherKind::Matches)) => name = MeasurementName::Regex(anchored(&matcher.value)?),
            (_, Ok(kind)) => conditions.push(condition(matcher, kind)?),
        }
    }
    let time = |op, ms: i64| Expr::binary(op, Expr::var("time"), Expr::Time(ms.saturating_mul(1_000_000)));
    conditions.push(time(BinaryOp::GreaterEqual, query.start_timestamp_ms));
    conditions.push(time(BinaryOp::LessEqual, query.end_timestamp_ms));
    let value = VarRef { name: "value".to_owned(), data_type: Some(DataType::Float) };
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let measurement = Measurement { database: some(database), retention_policy: some(policy), name };
    Ok(Statement::Select(Box::new(SelectStatement {
        fields: vec![Field { expr: Expr::VarRef(value), alias: None }],
        sources: vec![Source::Measurement(measurement)],
        condition: conditions
            .into_iter()
            .reduce(|all, next| Expr::binary(BinaryOp::And, all, next))
            .map(Arc::new),
        dimensions: vec![Dimension { expr: Expr::Wildcard(WildcardKind::All) }],
        ..SelectStatement::default()
    })))
}

fn condition(matcher: &LabelMatcher, kind: MatcherKind) -> Result<Expr, String> {
    let tag = Expr::VarRef(VarRef { name: matcher.name.clone(), data_type: Some(DataType::Tag) });
    let text = || Expr::String(matcher.value.clone());
    Ok(match kind {
        MatcherKind::Equal => Expr::binary(BinaryOp::Equal, tag, text()),
        MatcherKind::NotEqual => Expr::binary(BinaryOp::NotEqual, tag, text()),
        MatcherKind::Matches => Expr::binary(BinaryOp::Matches, tag, Expr::Regex(anchored(&matcher.value)?)),
        MatcherKind::NotMatches => {
            Expr::binary(BinaryOp::NotMatches, tag, Expr::Regex(anchored(&matcher.value)?))
        }
    })
}

/// Prometheus's patterns match whole values.
fn anchored(pattern: &str) -> Result<Regex, String> {
    let regex = Regex { pattern: format!("^(?:{pattern})$") };
    regex.compile()?;
    Ok(regex)
}

/// Gathers series as Prometheus has them, within the memory for bodies.
struct SeriesSink {
    room: Reservation,
    series: Vec<TimeSeries>,
}

impl ResultSink for SeriesSink {
    async fn series(&mut self, piece: Series) -> QueryResult<()> {
        let [times, values] = piece.values.as_slice() else { return Ok(()) };
        let labels = labels(&piece);
        let label_bytes: usize = labels.iter().map(|label| label.name.len() + label.value.len()).sum();
        let bytes = SAMPLE_BYTES * (times.len() + labels.len()) as u64 + 2 * label_bytes as u64;
        self.room.grow(bytes).map_err(|error| QueryError::statement(error.to_string()))?;
        let samples = (0..times.len()).filter_map(|row| match (times.get(row), values.get(row)) {
            (Cell::Time(time), Cell::Float(value)) => {
                Some(Sample { value, timestamp: time.div_euclid(1_000_000) })
            }
            _ => None,
        });
        match self.series.last_mut() {
            Some(last) if last.labels == labels => last.samples.extend(samples),
            _ => self.series.push(TimeSeries { samples: samples.collect(), labels }),
        }
        Ok(())
    }

    async fn message(&mut self, _: &str, _: &str) -> QueryResult<()> {
        Ok(())
    }
}

/// Tags a series has, and its measurement as the metric's name; sorted.
fn labels(series: &Series) -> Vec<Label> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let tags = series.tags.iter().filter(|(name, value)| !value.is_empty() && name != NAME.as_bytes());
    let mut labels: Vec<_> =
        tags.map(|(name, value)| Label { name: text(name), value: text(value) }).collect();
    labels.push(Label { name: NAME.to_owned(), value: text(&series.name) });
    labels.sort();
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(name: &str, value: &str) -> Label {
        Label { name: name.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn samples_become_points_of_their_metric() {
        let mut lines = Vec::new();
        let labels = [label(NAME, "up"), label("job", "a b"), label("instance", "h:1"), label("none", "")];
        put_sample(&mut lines, &key(&labels), &Sample { value: 1.0, timestamp: 1500 });
        put_sample(&mut lines, &key(&[label("note", "a\nb")]), &Sample { value: 0.5, timestamp: -1 });
        assert_eq!(
            String::from_utf8_lossy(&lines),
            "up,__name__=up,instance=h:1,job=a\\ b value=1 1500\n\
             prom_metric_not_specified,note=a\\nb value=0.5 -1\n"
        );
    }

    #[test]
    fn matchers_become_conditions_on_tags() {
        let matcher = |kind: MatcherKind, name: &str, value: &str| LabelMatcher {
            kind: kind as i32,
            name: name.to_owned(),
            value: value.to_owned(),
        };
        let query = |matchers| Query { start_timestamp_ms: 1000, end_timestamp_ms: 2000, matchers };
        let text = |matchers| select(&query(matchers), "db", "").map(|statement| statement.to_string());
        assert_eq!(
            text(vec![
                matcher(MatcherKind::Equal, NAME, "up"),
                matcher(MatcherKind::NotEqual, "job", "x"),
                matcher(MatcherKind::Matches, "instance", "a|b"),
            ])
            .expect("a statement"),
            "SELECT value::float FROM db..up WHERE job::tag != 'x' AND instance::tag =~ /^(?:a|b)$/ AND time >= \
             '1970-01-01T00:00:01Z' AND time <= '1970-01-01T00:00:02Z' GROUP BY *"
        );
        assert!(text(vec![matcher(MatcherKind::Matches, "a", "(")]).is_err());
    }
}
